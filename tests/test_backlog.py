"""The queue of loads that nobody waits for."""

import pytest

from aswr import backlog as module
from aswr.backlog import Backlog
from aswr.flight import Load
from aswr.policy import Times


def load(name: str) -> Load:
    return Load((name,), name, Times(10), lambda flight: None, False)


def drained(backlog: Backlog) -> list[str]:
    names = []
    while (item := backlog.pop()) is not None:
        names.append(item[0].name)
    return names


def test_order() -> None:
    """The hottest first; of equals, who came first."""
    backlog = Backlog()
    for name, heat in [("a", 1), ("b", 5), ("c", 1), ("d", 0), ("e", 5)]:
        assert backlog.put(load(name), heat, False)
    assert drained(backlog) == ["b", "e", "a", "c", "d"]
    assert len(backlog) == 0


def test_one_of_a_key() -> None:
    """A key that is in it is not queued again, nor reordered; a later time it is."""
    backlog = Backlog()
    assert backlog.put(load("a"), 1, True)
    assert not backlog.put(load("a"), 9, False)
    assert ("a",) in backlog
    item = backlog.pop()
    assert item is not None
    assert item[1], "it was a tick that asked"
    assert ("a",) not in backlog
    assert backlog.put(load("a"), 1, False)


def test_a_dropped_load_is_not_popped() -> None:
    """What was begun otherwise leaves, and comes in again in its new place."""
    backlog = Backlog()
    for name, heat in [("a", 9), ("b", 5)]:
        backlog.put(load(name), heat, False)
    backlog.drop(("a",))
    backlog.drop(("never there",))
    assert (len(backlog), ("a",) in backlog) == (1, False)
    backlog.put(load("a"), 1, False)
    assert drained(backlog) == ["b", "a"]


def test_cleared() -> None:
    """Nothing is left."""
    backlog = Backlog()
    backlog.put(load("a"), 1, False)
    backlog.clear()
    assert (len(backlog), backlog.pop()) == (0, None)


def test_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """It grows neither by what is put in nor by what is dropped."""
    monkeypatch.setattr(module, "MOST", 3)
    backlog = Backlog()
    assert [backlog.put(load(name), 0, False) for name in "abcd"] == [True, True, True, False]
    for heat in range(100):
        backlog.drop(("a",))
        assert backlog.put(load("a"), heat, False)
        assert len(backlog._heap) <= 6
    assert drained(backlog) == ["a", "b", "c"]
