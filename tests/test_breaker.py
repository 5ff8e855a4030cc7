"""The breaker: closed, open, closed again, and one line in the log for each change."""

import logging
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aswr.breaker import CALM, TRY_FIRST, TRY_MOST, Breaker


class Opened:
    """Counts how often it was called."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "aswr.store"]


def test_a_new_breaker_is_closed() -> None:
    """At first the store is asked, and nothing has gone wrong."""
    breaker = Breaker("the store", Opened())
    assert breaker.closed
    assert breaker.errors == 0


def test_one_line_for_each_change(caplog: pytest.LogCaptureFixture) -> None:
    """However often it fails, the log tells of it once, and once when it answers again."""
    caplog.set_level(logging.DEBUG)
    opened = Opened()
    breaker = Breaker("the store at redis://h", opened)
    breaker.mend()
    assert lines(caplog) == []
    for count in range(1, 4):
        breaker.trip("refused")
        assert not breaker.closed
        assert breaker.errors == count
    assert lines(caplog) == ["the store at redis://h fails (refused); memory and loads carry on"]
    assert opened.count == 1
    breaker.mend()
    breaker.mend()
    assert breaker.closed
    assert lines(caplog)[1:] == ["the store at redis://h answers again"]
    breaker.trip(OSError("hangs"))
    assert lines(caplog)[2:] == ["the store at redis://h fails (hangs); memory and loads carry on"]
    assert (opened.count, breaker.errors) == (2, 4)
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_why_it_is_open() -> None:
    """What is known is what an outage began with: later errors are of asking too early."""
    breaker = Breaker("the store", Opened())
    assert breaker.why == ""
    for reason in ("no memory", "no answer"):
        breaker.trip(reason)
    assert breaker.why == "no memory"
    breaker.mend()
    assert breaker.why == "no memory", "who was refused just before may still ask"
    breaker.trip("no rights")
    assert breaker.why == "no rights"


def test_it_is_open_before_anybody_is_told() -> None:
    """Who is told that it opened finds it open."""
    seen: list[bool] = []
    breaker = Breaker("the store", lambda: seen.append(breaker.closed))
    breaker.trip("refused")
    assert seen == [False]


def test_pauses_grow_and_are_bounded() -> None:
    """It is tried again soon, then ever later, never later than every two seconds."""
    breaker = Breaker("the store", Opened())
    breaker.trip("refused")
    pauses = [breaker.pause() for _ in range(20)]
    assert pauses[0] == TRY_FIRST
    assert all(one < next_ or one == TRY_MOST for one, next_ in pairwise(pauses))
    assert pauses[-1] == TRY_MOST


@pytest.mark.parametrize(("calm", "short"), [(CALM + 1, True), (CALM - 1, False)])
def test_a_new_outage_begins_with_short_pauses(calm: float, short: bool) -> None:
    """If the store was well for a while: one that answers now and then is not asked ever faster."""
    now = 100.0
    breaker = Breaker("the store", lambda: None, lambda: now)
    breaker.trip("refused")
    first = breaker.pause()
    for _ in range(9):
        breaker.pause()
    breaker.mend()
    now += calm
    breaker.trip("refused")
    assert (breaker.pause() == first) is short


def test_an_outage_of_a_day_is_tried_to_its_end() -> None:
    """However long the store is away, there is a next try."""
    breaker = Breaker("the store", Opened())
    breaker.trip("refused")
    assert {breaker.pause() for _ in range(50_000)} >= {TRY_FIRST, TRY_MOST}


class Machine(RuleBasedStateMachine):
    """Any order of failures, tries and answers, beside what is to be of it."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = Opened()
        self.breaker = Breaker("the store", self.opened)
        self.closed = True
        self.errors = self.outages = 0
        self.last = 0.0

    @rule()
    def trip(self) -> None:
        if self.closed:
            self.outages += 1
            self.last = 0.0
        self.closed = False
        self.errors += 1
        self.breaker.trip("refused")

    @rule()
    def mend(self) -> None:
        self.closed = True
        self.breaker.mend()

    @rule(tries=st.integers(1, 5))
    def wait(self, tries: int) -> None:
        if self.closed:
            return
        for _ in range(tries):
            pause = self.breaker.pause()
            assert TRY_FIRST <= pause <= TRY_MOST
            assert pause > self.last or pause == TRY_MOST
            self.last = pause

    @invariant()
    def agrees(self) -> None:
        assert self.breaker.closed is self.closed
        assert self.breaker.errors == self.errors
        assert self.opened.count == self.outages


class TestAnyOrder(Machine.TestCase):  # type: ignore[name-defined,misc]
    """In any order, it is open from a failure to the next answer, and tells of each once."""

    settings = settings(deadline=None, max_examples=50, stateful_step_count=20)


def test_each_change_is_told() -> None:
    """Who is to be told hears of each change once, why it opened, and finds it changed."""
    told: list[tuple[str, bool]] = []
    breaker = Breaker("the store", lambda: None)
    breaker.trip("nobody listens yet")
    breaker.mend()
    breaker.on_change = lambda what: told.append((what, breaker.closed))
    breaker.mend()
    breaker.trip("refused")
    breaker.trip("refused again")
    breaker.mend()
    breaker.mend()
    breaker.trip("hangs")
    assert told == [("open: refused", False), ("closed", True), ("open: hangs", False)]
