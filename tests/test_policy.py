"""The verdict table as data, deadlines, back-off: pure functions, nothing to set up."""

import math
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aswr.policy import (
    RETRY_FIRST,
    RETRY_MOST,
    TABLE,
    Decision,
    Lifetime,
    Times,
    Trouble,
    Verdict,
    Window,
    backoff,
    covers,
    decide,
    window,
)

quick = settings(deadline=None)


@dataclass(frozen=True)
class Dated:
    """An entry, as far as the table looks at it."""

    fresh_until: float = 10.0
    stale_until: float = 20.0
    error_until: float = 50.0
    passing: str = ""


ENTRY = Dated()
NOTE = Dated(20.0, 20.0, 20.0, passing="reads cookie session")

# Where now is, what the last load came to: the verdict, and serve, load, wait as 1 or 0.
ROWS = """
    none     none    MISS   0 1 1
    none     held    MISS   0 1 1
    none     due     MISS   0 1 1
    fresh    none    FRESH  1 0 0
    fresh    held    FRESH  1 0 0
    fresh    due     FRESH  1 0 0
    margin   none    STALE  1 1 0
    margin   held    STALE  1 0 0
    margin   due     STALE  1 1 0
    error    none    MISS   0 1 1
    error    held    STALE  1 0 0
    error    due     STALE  1 1 0
    gone     none    MISS   0 1 1
    gone     held    MISS   0 1 1
    gone     due     MISS   0 1 1
    passing  none    PASS   0 0 0
    passing  held    PASS   0 0 0
    passing  due     PASS   0 0 0
"""
EXPECTED = [tuple(row.split()) for row in ROWS.strip().splitlines()]

# An entry and a time that fall in each window, and a retry_at for each trouble at that time.
EXAMPLES: dict[str, tuple[Dated | None, float]] = {
    "none": (None, 5.0),
    "fresh": (ENTRY, 5.0),
    "margin": (ENTRY, 15.0),
    "error": (ENTRY, 30.0),
    "gone": (ENTRY, 60.0),
    "passing": (NOTE, 5.0),
}
RETRY: dict[str, float | None] = {"none": None, "held": 1.0, "due": -1.0}  # from now


def decision(verdict: str, serve: str, load: str, wait: str) -> Decision:
    return Decision(Verdict[verdict], serve == "1", load == "1", wait == "1")


@pytest.mark.parametrize("row", EXPECTED, ids=lambda row: f"{row[0]}-{row[1]}")
def test_table(row: tuple[str, ...]) -> None:
    """Each window and trouble has the verdict that the design gives it."""
    assert TABLE[Window(row[0]), Trouble(row[1])] == decision(*row[2:])


def test_the_table_is_total() -> None:
    """No combination is missing from the table, and no row stands twice in the expected ones."""
    assert len({row[:2] for row in EXPECTED}) == len(EXPECTED) == len(Window) * len(Trouble)
    assert set(TABLE) == {(window, trouble) for window in Window for trouble in Trouble}


@pytest.mark.parametrize("row", EXPECTED, ids=lambda row: f"{row[0]}-{row[1]}")
def test_decide(row: tuple[str, ...]) -> None:
    """`decide` finds each row from an entry, a time and the next try's time."""
    entry, now = EXAMPLES[row[0]]
    retry = RETRY[row[1]]
    assert decide(entry, now, None if retry is None else now + retry) == decision(*row[2:])


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (-math.inf, Window.FRESH),
        (math.nextafter(10.0, 0), Window.FRESH),
        (10.0, Window.MARGIN),
        (math.nextafter(20.0, 0), Window.MARGIN),
        (20.0, Window.ERROR),
        (math.nextafter(50.0, 0), Window.ERROR),
        (50.0, Window.GONE),
        (math.inf, Window.GONE),
    ],
)
def test_window_boundaries(now: float, expected: Window) -> None:
    """A deadline itself is already past."""
    assert window(ENTRY, now) is expected


def test_a_note_that_a_url_passes_ends() -> None:
    """A note that a URL passes holds until its deadline, then there is nothing."""
    assert window(NOTE, math.nextafter(20.0, 0)) is Window.PASSING
    assert window(NOTE, 20.0) is Window.NONE


def test_a_retry_is_due_at_its_time() -> None:
    """The next try is held back until its time, not longer."""
    assert not decide(ENTRY, 15.0, math.nextafter(15.0, 16)).load
    assert decide(ENTRY, 15.0, 15.0).load


@pytest.mark.parametrize(
    ("entry", "now", "expected"),
    [
        (None, 5.0, False),
        (ENTRY, 5.0, True),
        (ENTRY, 15.0, True),
        (ENTRY, 49.0, True),
        (ENTRY, 50.0, False),
        (NOTE, 5.0, False),
    ],
)
def test_covers(entry: Dated | None, now: float, expected: bool) -> None:
    """An entry stands in for a failed load until its last deadline; a note never does."""
    assert covers(entry, now) is expected


@pytest.mark.parametrize(
    ("given_times", "cost", "draw", "lifetime", "expected"),
    [
        (Times(20, 5), 0, 0, None, (115, 120, 120)),
        (Times(20, 5, stale_if_error=60), 0, 0, None, (115, 120, 180)),
        (Times(20, 5, jitter=0.5), 0, 0.5, None, (111.25, 115, 115)),  # 25% off all
        (Times(20, 5, jitter=0.5, stale_if_error=60), 0, 0.5, None, (111.25, 115, 175)),
        (Times(20, 5), 0, 0, 40, (130, 140, 140)),  # a lifetime of its own, margin in proportion
        (Times(20, 5), 0, 0, 2, (101.5, 102, 102)),
        (Times(20, 5), 99, 0, None, (115, 120, 120)),  # a margin that was given stays
        (Times(20), 0, 0, None, (115, 120, 120)),  # automatic: a quarter at least
        (Times(20), 4, 0, None, (112, 120, 120)),  # twice the load
        (Times(20), 30, 0, None, (110, 120, 120)),  # half at most
    ],
)
def test_deadlines(
    given_times: Times,
    cost: float,
    draw: float,
    lifetime: float | None,
    expected: tuple[float, ...],
) -> None:
    """Deadlines are the timeout less the jitter's share, the margin before it, the grace after."""
    ends = given_times.deadlines(100.0, cost, draw, Lifetime(lifetime))
    assert (ends.fresh_until, ends.stale_until, ends.error_until) == expected


@pytest.mark.parametrize(
    ("failures", "timeout", "expected"),
    [
        (1, 600, 1), (2, 600, 2), (3, 600, 4), (7, 600, 60), (10**6, 600, 60),
        (1, 10, 1), (4, 10, 8), (5, 10, 10), (9, 10, 10), (1, 0.1, 1), (9, 0.1, 1),
    ],
)  # fmt: skip
def test_backoff(failures: int, timeout: float, expected: float) -> None:
    """Tries after failures are held back twice as long each, to a minute or the timeout."""
    assert backoff(failures, timeout) == expected


# What holds for all values

spans = st.floats(0.001, 1e6)
shares = st.floats(0, 1, exclude_max=True)
moments = st.floats(-1e9, 1e10)


@st.composite
def all_times(draw: st.DrawFn) -> Times:
    timeout = draw(spans)
    return Times(
        timeout,
        draw(st.none() | shares.map(lambda share: share * timeout)),
        stale_if_error=draw(st.just(0.0) | spans),
        jitter=draw(st.floats(0, 0.5)),
    )


@st.composite
def entries(draw: st.DrawFn) -> Dated:
    fresh, stale, error = sorted(draw(st.tuples(moments, moments, moments)))
    return Dated(fresh, stale, error, draw(st.sampled_from(["", "", "reads cookie"])))


around = st.none() | moments


@st.composite
def questions(draw: st.DrawFn) -> tuple[Dated | None, float, float | None]:
    """An entry, a time on or near one of its deadlines or anywhere, and a next try's time."""
    entry = draw(st.none() | entries())
    ends = [entry.fresh_until, entry.stale_until, entry.error_until] if entry else [0.0]
    now = draw(moments | st.sampled_from(ends))
    return entry, now, draw(around | st.just(now))


@given(all_times(), moments, st.floats(0, 1e7), shares, st.none() | spans)
@quick
def test_deadlines_are_ordered(
    times: Times, now: float, cost: float, draw: float, lifetime: float | None
) -> None:
    """Fresh ends before stale, stale before the grace for errors, and jitter only shortens."""
    ends = times.deadlines(now, cost, draw, lifetime)
    assert now <= ends.fresh_until <= ends.stale_until <= ends.error_until
    whole = replace(times, jitter=0.0).deadlines(now, cost, draw, lifetime)
    assert ends.stale_until <= whole.stale_until
    assert ends.stale_until - now >= (whole.stale_until - now) / 2 - 1e-3
    assert whole.stale_until == pytest.approx(now + (lifetime or times.timeout), rel=1e-9, abs=1e-3)


@given(spans, st.floats(0, 1e7))
@quick
def test_the_automatic_margin_has_room(timeout: float, cost: float) -> None:
    """An automatic margin is never above half the timeout and fits the load twice if it can."""
    margin = Times(timeout).margin(cost)
    assert 0 < margin <= timeout / 2
    assert margin >= min(2 * cost, timeout / 2)
    assert margin >= timeout / 4


@given(questions())
@quick
def test_decide_is_total_and_says_one_thing(
    question: tuple[Dated | None, float, float | None],
) -> None:
    """Every question has an answer, and who waits is not served and waits for a load."""
    answer = decide(*question)
    assert not (answer.serve and answer.wait)
    assert answer.load or not answer.wait
    assert answer.serve == (answer.verdict in (Verdict.FRESH, Verdict.STALE))


@given(questions())
@quick
def test_fresh_and_stale_never_wait(question: tuple[Dated | None, float, float | None]) -> None:
    """Invariant 2: who has a fresh or a stale answer does not wait, and only stale ones load."""
    answer = decide(*question)
    if answer.verdict in (Verdict.FRESH, Verdict.STALE):
        assert answer.serve
        assert not answer.wait
    if answer.verdict is Verdict.FRESH:
        assert not answer.load


@given(questions())
@quick
def test_nothing_is_served_past_its_deadline(
    question: tuple[Dated | None, float, float | None],
) -> None:
    """Invariant 3: past ``stale_until`` only after a failed load, past ``error_until`` never."""
    entry, now, retry_at = question
    if decide(entry, now, retry_at).serve:
        assert entry is not None
        assert not entry.passing
        assert now < entry.error_until
        assert now < entry.stale_until or retry_at is not None


@given(questions())
@quick
def test_a_failed_load_takes_nothing_away(
    question: tuple[Dated | None, float, float | None],
) -> None:
    """Invariant 4: whoever is served without a failed load is served after one too."""
    entry, now, retry_at = question
    if decide(entry, now).serve:
        assert decide(entry, now, retry_at).serve


@given(questions())
@quick
def test_what_is_served_also_covers(question: tuple[Dated | None, float, float | None]) -> None:
    """What may be served may stand in for a failed load."""
    entry, now, retry_at = question
    if decide(entry, now, retry_at).serve:
        assert covers(entry, now)


@given(st.integers(1, 10**9), spans)
@quick
def test_backoff_grows_within_bounds(failures: int, timeout: float) -> None:
    """The pause grows with every failure, from a second, to a minute or the timeout at most."""
    pause = backoff(failures, timeout)
    assert RETRY_FIRST <= pause <= max(RETRY_FIRST, min(RETRY_MOST, timeout))
    assert backoff(failures + 1, timeout) >= pause
