"""The loop thread: started lazily, one per process, forgotten by forks, ended in time."""

import asyncio
import contextvars
import importlib.util
import logging
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aswr import runtime as runtime_module
from aswr.runtime import Runtime, abandon, current, release, when

LIMIT = 10.0  # seconds that anything here may wait
person: contextvars.ContextVar[str] = contextvars.ContextVar("person", default="nobody")


class User:
    """Who uses the runtime, as a manager does."""

    def __init__(self) -> None:
        self.closed = 0

    def close(self, timeout: float | None = None) -> None:
        self.closed += 1
        release(self)

    def forget(self) -> None: ...


@pytest.fixture
def loop() -> Iterator[Runtime]:
    made = Runtime(2)
    yield made
    made.stop()


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No runtime and no users, whatever ran before."""
    monkeypatch.setattr(runtime_module, "_current", None)
    monkeypatch.setattr(runtime_module, "_users", weakref.WeakSet())


def script(code: str, *flags: str) -> tuple[str, str, float]:
    """Run a program of its own: its output, its errors, and the seconds it took to exit.

    It prints ``end`` and the time when it has nothing left to do.
    """
    done = subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=40,
    )  # fmt: skip
    ended = time.time()
    assert done.returncode == 0, done.stderr
    out, _, rest = done.stdout.partition("end ")
    at, _, after = rest.partition("\n")
    return out + after, done.stderr, ended - float(at)


# Starting.


def test_nothing_starts_at_import() -> None:
    """Importing, making a manager, decorating and scheduling start no thread and no loop."""
    out, errors, _ = script(
        """
        import threading
        from flask import Flask
        from aswr import CacheManager, runtime
        app = Flask("shop")
        manager = CacheManager(app)

        @app.route("/")
        @manager.cacher(timeout=10)
        async def view():
            return "page"

        manager.memoize(10)(lambda: 1)
        manager.schedule_periodic_refresh("/", 5)
        manager.stats(), manager.jobs()
        print(threading.active_count(), runtime._current, list(runtime._users))
        print("end", 0)
        """,
        "-Werror",
    )
    assert (out, errors) == ("1 None []\n", "")


def test_the_thread_is_a_named_daemon(loop: Runtime) -> None:
    """The loop runs on a daemon thread called aswr-loop, which has answered when it is ready."""
    threads = {thread.ident: thread for thread in threading.enumerate()}
    assert threads[loop.ident].name == "aswr-loop"
    assert threads[loop.ident].daemon
    assert loop.alive
    assert not loop.on_loop()

    async def inside() -> tuple[bool, asyncio.AbstractEventLoop]:
        return loop.on_loop(), asyncio.get_running_loop()

    assert loop.call(inside, "inside", "", LIMIT) == (True, loop.loop)


def test_a_thread_that_does_not_run_is_an_error_with_the_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a started thread never answers, starting fails in time and says what to set."""
    monkeypatch.setattr(runtime_module, "START_LIMIT", 0.05)
    monkeypatch.setattr(threading.Thread, "start", lambda self: None)
    with pytest.raises(RuntimeError, match=r"did not answer[^$]*enable-threads = true"):
        Runtime(1)
    runtime_module._forgotten.pop().loop.close()


def test_uwsgi_without_threads_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under uWSGI the option is asked for by name, before anything is started."""

    class Uwsgi:
        opt: dict[str, object] = {}

    monkeypatch.setitem(sys.modules, "uwsgi", Uwsgi)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="enable-threads = true"):
        Runtime(1)
    Uwsgi.opt["enable-threads"] = True
    Runtime(1).stop()


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_patched_threads_are_refused(library: str) -> None:
    """Under gevent or eventlet start-up fails, names gthread, and does not hang."""
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    patch = {
        "gevent": "from gevent import monkey; monkey.patch_all()",
        "eventlet": "import eventlet; eventlet.monkey_patch()",
    }[library]
    out, _, _ = script(
        f"""
        {patch}
        from flask import Flask
        from aswr import CacheManager
        app = Flask("shop")
        app.testing = True
        manager = CacheManager(app)

        @app.route("/")
        @manager.cacher(timeout=10)
        async def view():
            return "page"

        for start in (manager.start, lambda: app.test_client().get("/")):
            try:
                start()
            except RuntimeError as error:
                print(error)
        print("end", 0)
        """
    )
    assert out.count("--worker-class gthread") == 2
    assert out.count(f"but {library} has replaced them") == 2


# Crossing.


def test_call_brings_back_what_the_coroutine_returns_or_raises(loop: Runtime) -> None:
    """`call` waits, for so many seconds; what it waits for goes on."""
    ended = threading.Event()

    async def answer() -> int:
        return 42

    async def fail() -> None:
        raise ValueError("no")

    async def slow() -> None:
        await asyncio.to_thread(gate.wait, LIMIT)
        ended.set()

    gate = threading.Event()
    assert loop.call(answer, "answer", "", LIMIT) == 42
    with pytest.raises(ValueError, match="no"):
        loop.call(fail, "fail", "", LIMIT)
    with pytest.raises(TimeoutError):
        loop.call(slow, "slow", "", 0.01)
    gate.set()
    assert ended.wait(LIMIT)


def test_a_call_that_cannot_even_begin_fails(loop: Runtime) -> None:
    """What raises before there is a coroutine is an error of the Future's, not a wait for ever."""

    def broken() -> Any:
        raise LookupError("nothing to do")

    with pytest.raises(LookupError, match="nothing to do"):
        loop.submit(broken, "broken").result(LIMIT)


def test_a_blocking_call_on_the_loop_is_refused(loop: Runtime) -> None:
    """It would wait for itself: the error says what to write instead."""

    async def nothing() -> None: ...

    async def wrong() -> None:
        loop.call(nothing, "nothing", "await manager.arefresh(...)", LIMIT)

    with pytest.raises(RuntimeError, match=r"write await manager\.arefresh\(\.\.\.\)"):
        loop.call(wrong, "wrong", "", LIMIT)


def test_who_leaves_cancels_nothing(loop: Runtime) -> None:
    """A cancelled Future leaves its task alone, and its error is nobody's warning."""
    gate, ended = threading.Event(), threading.Event()

    async def work() -> None:
        await asyncio.to_thread(gate.wait, LIMIT)
        ended.set()
        raise ValueError("nobody cares")

    future = loop.submit(work, "work")
    assert future.cancel()
    gate.set()
    assert ended.wait(LIMIT)
    _barrier(loop)
    assert loop.tasks == set()


def test_tasks_are_named_and_tracked(loop: Runtime) -> None:
    """Every task of ours is in the set until it is over, under its name."""
    gate = threading.Event()

    async def work() -> None:
        await asyncio.to_thread(gate.wait, LIMIT)

    future = loop.submit(work, "a name")
    _barrier(loop)
    assert [task.get_name() for task in loop.tasks] == ["a name"]
    gate.set()
    future.result(LIMIT)
    _barrier(loop)
    assert loop.tasks == set()


def _barrier(loop: Runtime) -> None:
    async def nothing() -> None: ...

    loop.submit(nothing, "barrier").result(LIMIT)
    passed = threading.Event()
    loop.post(passed.set)
    assert passed.wait(LIMIT)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_the_loop_outlives_those_who_want_to_end_it(
    loop: Runtime, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """`SystemExit` and `KeyboardInterrupt` out of a task or a callback are logged, no more."""

    async def leave() -> None:
        raise error

    def leave_at_once() -> None:
        raise error

    with caplog.at_level(logging.ERROR, "aswr.runtime"), pytest.raises(type(error)):
        loop.submit(leave, "leave").result(LIMIT)
    loop.post(leave_at_once)
    loop.post(lambda: loop.loop.stop())
    _barrier(loop)
    assert loop.alive
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "the loop goes on" in caplog.text


# Contexts.


def test_a_callers_context_stays_with_the_caller(loop: Runtime) -> None:
    """Posted callbacks, tasks and work start in an empty context, and leave nothing behind."""
    person.set("Alice")
    seen: list[str] = []
    posted = threading.Event()

    def note() -> None:
        seen.append(person.get())
        person.set("Bob")

    def post() -> None:
        note()
        posted.set()

    async def task() -> None:
        note()
        for _ in range(4):
            await loop.work(note)
        await loop.loop.run_in_executor(None, person.set, "Carol")
        for _ in range(4):
            await loop.work(note)
        loop.loop.call_soon(note)
        await asyncio.sleep(0)

    loop.post(post)
    assert posted.wait(LIMIT)
    loop.submit(task, "task").result(LIMIT)
    assert seen == ["nobody"] * 10 + ["Bob"]  # the last one is the task's own callback
    assert person.get() == "Alice"


def test_a_context_can_be_given(loop: Runtime) -> None:
    """A pass runs in the context it is given: the caller's."""
    context = contextvars.Context()
    context.run(person.set, "Alice")

    async def who() -> str:
        return person.get()

    assert loop.submit(who, "who", context).result(LIMIT) == "Alice"


def test_work_takes_any_error(loop: Runtime) -> None:
    """Even a `StopIteration`, which no asyncio Future takes, comes out as an error, in time."""

    async def work(call: Callable[[], Any]) -> Any:
        return await loop.work(call)

    def stop() -> None:
        next(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration"):
        loop.submit(lambda: work(stop), "stop").result(LIMIT)
    assert loop.submit(lambda: work(lambda: 7), "seven").result(LIMIT) == 7


def test_work_goes_on_when_its_caller_is_cancelled() -> None:
    """Even work that still waits for a thread is done, though nobody waits for it."""
    loop = Runtime(1)
    gate, began, done = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        began.set()
        assert gate.wait(LIMIT)

    loop.executor.submit(hold)
    assert began.wait(LIMIT)

    async def leave() -> None:
        task = asyncio.ensure_future(loop.work(done.set))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})

    loop.submit(leave, "leave").result(LIMIT)
    gate.set()
    assert done.wait(LIMIT)
    loop.stop()


# The process's one runtime, and its users.


@pytest.mark.usefixtures("alone")
def test_the_last_release_ends_the_thread() -> None:
    """All users share one runtime; when the last is gone it ends, and the next one gets another."""
    first, second = User(), User()
    shared = current(first)
    assert current(second) is shared
    release(first)
    assert shared.alive
    release(first)
    assert shared.alive
    release(second)
    assert not shared.alive
    assert not shared._thread.is_alive()
    assert shared.loop.is_closed()
    another = current(first)
    assert another is not shared
    release(first)


@pytest.mark.usefixtures("alone")
def test_a_forgotten_user_ends_it_without_waiting() -> None:
    """`abandon` returns at once, although a load is under way; the thread ends soon after."""
    user = User()
    shared = current(user)
    held = threading.Event()

    async def hang() -> None:
        held.set()
        await asyncio.Event().wait()

    future = shared.submit(hang, "hang")
    assert held.wait(LIMIT)
    blocked, release_it = threading.Event(), threading.Event()
    shared.post(lambda: (blocked.set(), release_it.wait(LIMIT)))
    assert blocked.wait(LIMIT)
    began = time.monotonic()
    abandon(user)
    assert time.monotonic() - began < 1
    assert not shared.alive
    release_it.set()
    shared._thread.join(LIMIT)
    assert shared.loop.is_closed()
    with pytest.raises(RuntimeError, match="closing"):
        future.result(0)
    shared.end()


@pytest.mark.usefixtures("alone")
def test_a_manager_may_be_collected_at_any_moment() -> None:
    """The collector may call `abandon` while this very thread is in the midst of `current`."""
    lost = User()
    current(lost)

    class Untimely(User):
        def __hash__(self) -> int:  # called with the lock held
            abandon(lost)
            return id(self)

    user = Untimely()
    done = threading.Thread(target=current, args=(user,), daemon=True)
    done.start()
    done.join(LIMIT)
    assert not done.is_alive(), "deadlock"
    found = current(user)
    assert found.alive
    release(user)
    assert not found.alive


@pytest.mark.usefixtures("alone")
def test_who_could_not_start_it_does_not_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed start leaves no user behind for whose sake the next runtime would never end."""

    class Uwsgi:
        opt: dict[str, object] = {}

    failed, user = User(), User()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "uwsgi", Uwsgi)  # type: ignore[arg-type]
        with pytest.raises(RuntimeError):
            current(failed)
    shared = current(user)
    release(user)
    assert not shared.alive


@pytest.mark.usefixtures("alone")
def test_one_who_fails_to_drain_does_not_keep_others_from_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """At exit everybody is drained, and a failure is logged."""

    class Failing(User):
        def close(self, timeout: float | None = None) -> None:
            super().close()
            raise OSError("no")

    users = [Failing(), User(), Failing()]
    for user in users:
        current(user)
    runtime_module._drain()
    assert [user.closed for user in users] == [1, 1, 1]
    assert caplog.text.count("OSError") >= 2


def test_when_waits_for_a_condition(loop: Runtime) -> None:
    """`when` acts once the condition holds, and not at all past its limit."""
    ready, acted, late = threading.Event(), threading.Event(), threading.Event()
    when(ready.is_set, acted.set, LIMIT)
    when(lambda: False, late.set, 0.0)
    assert not acted.is_set()
    ready.set()
    assert acted.wait(LIMIT)
    assert not late.is_set()


# Fork.

FORK = """
import os, sys, threading, warnings
warnings.filterwarnings("ignore", category=DeprecationWarning)  # 3.12 on fork with threads
from flask import Flask
from aswr import CacheManager, runtime
app = Flask("shop")
manager = CacheManager(app)
gate, began = threading.Event(), threading.Event()

@manager.memoize(60)
def compute(n):
    if n == "held":
        began.set()
        assert gate.wait(20)
    return os.getpid()

@manager.memoize(60)
async def acompute(n):
    return os.getpid()

def ask(n):
    with app.app_context():
        return compute.sync(n)

def hold():
    site = next(iter(manager._sites.values()))
    ours, theirs = manager._runtime.executor._wake, manager._jobs._lock
    with runtime._lock, site.store.stamps._lock, ours, theirs:
        held.set()
        forked.wait(20)

assert ask(1) == ask(2) == os.getpid()
waiting = threading.Thread(target=ask, args=["held"])
waiting.start()
assert began.wait(20)
held, forked = threading.Event(), threading.Event()
holder = threading.Thread(target=hold)
holder.start()
assert held.wait(20)
pid = os.fork()
if pid == 0:
    code = 1
    try:
        assert manager.stats()["entries"] == manager.stats()["flights"] == 0
        assert not runtime._users and runtime._current is None
        assert ask(1) == acompute.sync(1) == os.getpid()
        gate.set()
        assert ask("held") == os.getpid()
        with app.app_context():
            compute.invalidate(1)
            manager.clear()
        assert ask(1) == os.getpid()
        assert manager.join(10)
        {ending}
        code = 0
    finally:
        sys.stderr.flush()
        {exit}(code)
forked.set()
_, status = os.waitpid(pid, 0)
assert status == 0, status
gate.set()
waiting.join(20)
assert ask("held") == ask(3) == acompute.sync(3) == os.getpid()
manager.close(1)
print("end", 0)
"""


@pytest.mark.parametrize("ending", ["manager.close(1)", "pass"])
@pytest.mark.parametrize("leave", ["os._exit", "sys.exit"])
def test_a_forked_child_makes_its_own(ending: str, leave: str) -> None:
    """With locks held, a flight in the air and a loop inherited, child and parent both work."""
    code = FORK.replace("{ending}", ending).replace("{exit}", leave)
    _, errors, _ = script(code, "-Werror")
    assert errors == ""


# Exit.

EXIT = """
import asyncio, threading, time
from flask import Flask
from aswr import CacheManager
app = Flask("shop")
app.config["ASWR_DRAIN_TIMEOUT"] = 0.3
manager = CacheManager(app)
began = threading.Event()

@app.route("/")
@manager.cacher(timeout=60, wait_timeout=0.05)
{view}

assert app.test_client().get("/").status_code == 503
assert began.wait(10)
print("end", time.time())
"""
SYNC = """
def view():
    began.set()
    time.sleep(60)
"""
ASYNC = """
async def view():
    began.set()
    try:
        await asyncio.sleep(60)
    finally:
        print("drained", flush=True)
"""
STUBBORN = """
async def view():
    began.set()
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
"""
BLOCKING = """
async def view():
    began.set()
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("view", "limit"),
    [(SYNC, 2.0), (ASYNC, 2.0), (STUBBORN, 4.0), (BLOCKING, 6.0)],
    ids=["sync", "async", "stubborn", "blocking"],
)
def test_the_process_exits_in_time(view: str, limit: float) -> None:
    """Whatever a load of a minute does, the process exits soon after the drain, and silently."""
    out, errors, seconds = script(EXIT.replace("{view}", view), "-Werror")
    assert seconds < limit
    assert out == ("drained\n" if view is ASYNC else "")
    assert errors == "" or view is STUBBORN  # a coroutine that nothing ends is Python's to report
