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
    heed,
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


@dataclass(frozen=True)
class Weighed(Dated):
    """An entry, as far as a request's directives are weighed against it."""

    stored: float = 0.0
    strict: bool = False


@dataclass(frozen=True)
class Asks:
    """What a request's directives say."""

    no_cache: bool = False
    max_age: float | None = None
    min_fresh: float | None = None
    max_stale: float | None = None


ENTRY = Dated()
NOTE = Weighed(20.0, 20.0, 20.0, passing="reads cookie session")

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


FOREVER = Times(None, stale_if_error=60)  # answers alone decide


@pytest.mark.parametrize(
    ("given_times", "said", "expected"),
    [
        # How long it lives: the margin shrinks or grows in proportion.
        (Times(20, 5), Lifetime(total=40), (130, 140, 140)),
        (Times(20, 5), Lifetime(total=4), (103, 104, 104)),
        (Times(20, 5), Lifetime(total=0), (100, 100, 100)),
        (Times(20), Lifetime(total=40), (130, 140, 140)),
        # What it has spent of that elsewhere.
        (Times(20, 5), Lifetime(total=40, age=20), (115, 120, 120)),
        (Times(20, 5), Lifetime(total=40, age=50), (100, 100, 100)),
        (Times(20, 5), Lifetime(age=7), (115, 120, 120)),  # the timeout counts from here
        # For how long it may be stale: that is added to its lifetime, and no margin taken off.
        (Times(20, 5), Lifetime(total=40, stale=8), (140, 148, 148)),
        (Times(20, 5), Lifetime(total=40, stale=0), (140, 140, 140)),
        (Times(20, 5), Lifetime(total=40, stale=8, age=30), (110, 118, 118)),
        (Times(20, 5), Lifetime(stale=8), (115, 123, 123)),  # in the margin's place
        (Times(20, 5), Lifetime(stale=0), (115, 115, 115)),
        # For how long it covers errors.
        (Times(20, 5, stale_if_error=60), Lifetime(error=7), (115, 120, 122)),
        (Times(20, 5, stale_if_error=60), Lifetime(error=0), (115, 120, 120)),
        (Times(20, 5), Lifetime(40, 8, 7), (140, 148, 148)),
        # Jitter is taken off timeouts, not off what an answer grants for being stale.
        (Times(20, 5, jitter=0.5), Lifetime(total=40), (122.5, 130, 130)),
        (Times(20, 5, jitter=0.5), Lifetime(stale=8), (111.25, 119.25, 119.25)),
        # Without a timeout the answer alone decides, and what says nothing is not fresh.
        (FOREVER, Lifetime(), (100, 100, 160)),
        (FOREVER, Lifetime(total=30), (130, 130, 190)),
        (FOREVER, Lifetime(total=30, age=10), (120, 120, 180)),
        (FOREVER, Lifetime(total=30, stale=5), (130, 135, 195)),
        (FOREVER, Lifetime(stale=5), (100, 105, 165)),
        (FOREVER, Lifetime(total=30, error=0), (130, 130, 130)),
    ],
    ids=repr,
)
def test_what_an_answer_says_of_its_lifetime(
    given_times: Times, said: Lifetime, expected: tuple[float, ...]
) -> None:
    """Each field replaces what the decorator says, and nothing else."""
    ends = given_times.deadlines(100.0, 0.0, 0.5, said)
    assert (ends.fresh_until, ends.stale_until, ends.error_until) == expected


def test_retries_end_somewhere_without_a_timeout() -> None:
    """Where no timeout says when to try again at the latest, a minute does."""
    assert Times(7).retry_most == 7
    assert Times(None).retry_most == RETRY_MOST
    assert Times(None).margin(5.0) == 0.0


# What the request says

RECENT = Weighed()  # stored at 0, fresh until 10, stale until 20, gone at 50
STRICT = replace(RECENT, strict=True)

ASKED: list[tuple[Weighed | None, float, Asks, str]] = [
    # entry, now, what is asked: its own verdict ("same"), a load ("miss"), stored and a load
    (RECENT, 5, Asks(), "same"),
    (RECENT, 15, Asks(), "same"),
    (RECENT, 5, Asks(no_cache=True), "miss"),
    (RECENT, 15, Asks(no_cache=True), "miss"),
    (None, 5, Asks(no_cache=True), "same"),
    (NOTE, 5, Asks(no_cache=True), "same"),  # who passes has nothing to load
    (RECENT, 5, Asks(max_age=5), "same"),
    (RECENT, 5, Asks(max_age=4.9), "miss"),
    (RECENT, 0, Asks(max_age=0), "same"),  # it is no older than that
    (RECENT, 5, Asks(max_age=0), "miss"),
    (RECENT, 5, Asks(max_age=1, max_stale=100), "miss"),  # too old is not too stale
    (RECENT, 15, Asks(max_age=4), "miss"),
    (RECENT, 9.9, Asks(max_age=100), "same"),
    (RECENT, 10, Asks(max_age=100), "miss"),  # who names an age does not want it stale (§5.2.1.1)
    (RECENT, 10, Asks(max_age=100, max_stale=0), "same"),
    (RECENT, 30, Asks(max_age=100, max_stale=20), "stale"),
    (RECENT, 5, Asks(min_fresh=5), "same"),
    (RECENT, 5, Asks(min_fresh=5.1), "miss"),
    (RECENT, 5, Asks(min_fresh=6, max_stale=100), "miss"),
    (RECENT, 15, Asks(min_fresh=0), "miss"),
    (RECENT, 30, Asks(max_stale=20), "stale"),  # RFC 9111 counts from the end of freshness
    (RECENT, 30, Asks(max_stale=19.9), "same"),
    (RECENT, 60, Asks(max_stale=math.inf), "stale"),
    (RECENT, 5, Asks(max_stale=0), "same"),
    (RECENT, 15, Asks(max_stale=0), "same"),  # the server's own leave to serve it stale holds
    (STRICT, 30, Asks(max_stale=math.inf), "same"),  # must-revalidate
    (STRICT, 5, Asks(max_age=5), "same"),
    (None, 30, Asks(max_stale=math.inf), "same"),
]


@pytest.mark.parametrize(("entry", "now", "asks", "expected"), ASKED, ids=repr)
@pytest.mark.parametrize("trouble", RETRY)
def test_heed(entry: Weighed | None, now: float, asks: Asks, expected: str, trouble: str) -> None:
    """A request may want a newer answer than there is, or take an older one (RFC 9111 §5.2.1)."""
    retry = RETRY[trouble]
    own = decide(entry, now, None if retry is None else now + retry)
    if expected == "stale" and own.serve:
        expected = "same"  # after a failed load it is served anyway
    wanted = {
        "same": own,
        "miss": decision("MISS", *"011"),
        "stale": decision("STALE", *"110"),
    }
    assert heed(own, entry, now, asks) == wanted[expected]


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
    timeout = draw(st.none() | spans)
    return Times(
        timeout,
        None if timeout is None else draw(st.none() | shares.map(lambda share: share * timeout)),
        stale_if_error=draw(st.just(0.0) | spans),
        jitter=draw(st.floats(0, 0.5)),
    )


@st.composite
def lifetimes(draw: st.DrawFn) -> Lifetime:
    windows = st.none() | st.just(0.0) | spans
    return Lifetime(draw(windows), draw(windows), draw(windows), draw(st.just(0.0) | spans))


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


@given(all_times(), moments, st.floats(0, 1e7), shares, lifetimes())
@quick
def test_deadlines_are_ordered(
    times: Times, now: float, cost: float, draw: float, said: Lifetime
) -> None:
    """Fresh ends before stale, stale before the grace for errors, and jitter only shortens."""
    ends = times.deadlines(now, cost, draw, said)
    assert now <= ends.fresh_until <= ends.stale_until <= ends.error_until
    whole = replace(times, jitter=0.0).deadlines(now, cost, draw, said)
    assert ends.stale_until <= whole.stale_until
    assert ends.fresh_until - now >= (whole.fresh_until - now) / 2 - 1e-3


@given(all_times(), moments, st.floats(0, 1e7), shares, lifetimes())
@quick
def test_what_an_answer_says_holds(
    times: Times, now: float, cost: float, draw: float, said: Lifetime
) -> None:
    """No answer is fresh, or served without an error, for longer than it says that it may be."""
    ends = times.deadlines(now, cost, draw, said)
    total = times.timeout if said.total is None else max(0.0, said.total - said.age)
    end = now + (total or 0.0) + (said.stale or 0.0)
    assert ends.stale_until <= end or ends.stale_until == pytest.approx(end, abs=1e-3)
    assert ends.fresh_until - now <= (total or 0.0) + 1e-3
    if said.error is not None:
        assert ends.error_until == max(ends.stale_until, ends.fresh_until + said.error)
    if not times.jitter and said.stale is None:
        assert ends.stale_until == pytest.approx(now + (total or 0.0), rel=1e-9, abs=1e-3)


@given(
    questions(),
    st.builds(Asks, st.booleans(), st.none() | spans, st.none() | spans, st.none() | spans),
)
@quick
def test_who_heeds_serves_only_what_is_asked_for(
    question: tuple[Dated | None, float, float | None], asks: Asks
) -> None:
    """What is served is young, fresh and unstale enough, or the server's own word covers it."""
    found, now, retry_at = question
    entry = None if found is None else Weighed(**vars(found), stored=found.fresh_until - 100)
    own = decide(entry, now, retry_at)
    answer = heed(own, entry, now, asks)
    if answer.serve:
        assert entry is not None
        assert not asks.no_cache
        assert asks.max_age is None or now - entry.stored <= asks.max_age
        assert asks.min_fresh is None or entry.fresh_until - now >= asks.min_fresh
        assert own.serve or now - entry.fresh_until <= (asks.max_stale or 0.0)
    assert not (answer.serve and answer.wait)
    assert answer.load or not answer.wait


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
