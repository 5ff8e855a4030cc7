"""Time in a test's hands: the clock, and the ticker that goes by it."""

import time

import pytest

from aswr.standstill import ManualClock, ManualTicks


def test_the_machines_time_until_it_is_held():
    """It tells the time, stands still at a whole second while held, then tells the time again."""
    clock = ManualClock()
    before = time.time()
    assert before <= clock() <= time.time()
    assert "real" in repr(clock)
    clock.hold()
    held = clock()
    assert held == int(held)
    assert before <= held <= time.time() + 1
    assert "manual" in repr(clock)
    clock.advance(0.5)
    assert clock() == held + 0.5
    clock.let_go()
    assert before <= clock() <= time.time()


def test_it_is_held_by_each_who_holds_it():
    """A second hold moves nothing, and time goes on when the last has let go."""
    clock = ManualClock()
    clock.hold()
    clock.advance(1000)
    now = clock()
    clock.hold()
    assert clock() == now
    clock.let_go()
    assert clock() == now
    clock.let_go()
    assert clock() < now


@pytest.fixture
def ticked():
    return []


@pytest.fixture
def clock():
    clock = ManualClock()
    clock.hold()
    return clock


@pytest.fixture
def ticks(clock):
    return ManualTicks(clock)


def test_a_job_is_due_at_once_and_at_its_multiples(clock, ticks, ticked):
    """It runs once however often it was due, and is due again at the next multiple."""
    began = clock()
    ticks.add("a", 10.0, lambda: ticked.append("a"))
    assert ticks.next_run("a") == began
    for passed, runs, due in ((0, 1, 10), (9.5, 0, 10), (0.5, 1, 20), (25, 1, 40), (5, 1, 50)):
        clock.advance(passed)
        assert ticks.run_due() == runs
        assert ticks.next_run("a") == began + due
    assert ticked == ["a"] * 4


def test_adding_again_replaces(clock, ticks, ticked):
    """One name is one job, due at once when it is added again."""
    ticks.add("a", 10.0, lambda: ticked.append("old"))
    ticks.run_due()
    ticks.add("a", 10.0, lambda: ticked.append("new"), aligned=True)
    assert ticks.run_due() == 1
    assert ticked == ["old", "new"]


def test_what_is_removed_is_not_due(ticks, ticked):
    """Removed by itself, also while others run, or with all when it is stopped."""
    ticks.add("a", 10.0, lambda: ticks.remove("a"))
    ticks.add("b", 10.0, lambda: ticked.append("b"))
    assert ticks.run_due() == 2
    assert ticks.next_run("a") is None
    ticks.remove("a")
    ticks.stop()
    assert ticks.next_run("b") is None
    assert ticks.run_due() == 0
