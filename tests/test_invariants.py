"""The invariants of the design, each with the tests that fail when it is broken."""

import ast
from pathlib import Path

import pytest

HERE = Path(__file__).parent

INVARIANTS = {
    "1. At most one load per key in flight per process": [
        "test_engine.py::test_fifty_waiters_share_one_load",
        "test_engine.py::test_stale_hits_start_one_load",
        "test_views.py::test_fifty_cold_requests_cause_one_load",
    ],
    "2. FRESH and STALE never wait": [
        "test_engine.py::test_a_blocked_loop_does_not_stop_hits",
        "test_views.py::test_stale_does_not_wait_for_a_load_that_hangs",
    ],
    "3. Nothing is served past its deadline, except under stale_if_error": [
        "test_engine.py::test_nothing_is_served_past_its_deadline",
        "test_engine.py::test_stale_if_error_serves_only_after_a_failed_load",
    ],
    "4. A failed load never replaces, shortens or drops a good entry; retries back off": [
        "test_engine.py::test_a_failed_load_leaves_the_entry_as_it_is",
        "test_engine.py::test_retries_back_off_and_a_good_load_ends_it",
    ],
    "5. A load from before an invalidation never publishes as fresh": [
        "test_engine.py::test_a_load_from_before_a_purge_is_not_stored",
        "test_engine.py::test_an_older_load_does_not_overwrite_a_newer_one",
        "test_manager.py::test_a_load_from_before_a_purge_never_publishes",
    ],
    "6. Nobody who waits is cancelled because somebody else left": [
        "test_engine.py::test_a_waiter_who_gives_up_takes_nothing_with_him",
        "test_engine.py::test_a_load_survives_everybody_who_waited_for_it",
    ],
    "7. Memory stays under its byte limit, whatever keys arrive": [
        "test_memory.py::test_any_sequence",
        "test_memory.py::test_keys_count",
    ],
    "8. A backend that is down, slow, or returns garbage never fails a request": [
        "test_engine.py::test_a_backend_in_trouble_fails_nobody",
    ],
    "9. Nobody gets an answer whose render read an input on which his request differs": [
        "test_invariant9.py::test_every_answer_is_the_one_that_the_view_gives",
        "test_views.py::test_what_is_read_is_part_of_the_key",
        "test_views.py::test_who_brings_what_is_personal_passes_and_is_logged",
        "test_views.py::test_what_hooks_left_anywhere_is_seen",
        "test_views.py::test_a_cookie_goes_to_one_caller",
    ],
    "10. The process exits within the drain deadline": [
        "test_runtime.py::test_the_process_exits_in_time",
    ],
    "11. Nothing of one request's context is visible in a load, a job, or another request": [
        "test_views.py::test_nothing_of_the_callers_context_is_in_a_render",
        "test_memo.py::test_an_inline_computation_sees_nothing_of_the_one_around_it",
        "test_manager.py::test_jobs_run_as_nobody",
    ],
    "12. No request waits for ever, and a cycle of loads is refused": [
        "test_views.py::test_wait_timeout_is_503_and_the_load_goes_on",
        "test_engine.py::test_a_cycle_of_loads_is_refused_and_named",
        "test_memo.py::test_a_cycle_is_refused_and_named",
    ],
}


@pytest.mark.parametrize("test", [test for tests in INVARIANTS.values() for test in tests])
def test_the_tests_of_the_invariants_are_there(test):
    """The table above names tests that exist."""
    file, _, name = test.partition("::")
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = ast.walk(ast.parse((HERE / file).read_text()))
    assert any(isinstance(node, functions) and node.name == name for node in found)
