"""The ledger: what becomes of flights, entries and purges, counted and told in one place."""

from typing import Any

import pytest

from aswr.codec import Entry
from aswr.events import Cause, Event
from aswr.flight import Fate, Loaded
from aswr.keys import CallKey, VariantKey, ViewKey
from aswr.ledger import Ledger, error_of
from aswr.stamps import Purge

from .conftest import Clock

URL = ViewKey("shop:view", "", "/a", "", "", ())
CALL = CallKey("shop:price", ("tea",))


@pytest.fixture
def ledger(clock: Clock) -> Ledger:
    return Ledger("shop", clock, lambda: None)


@pytest.fixture
def heard(ledger: Ledger) -> list[Event]:
    heard: list[Event] = []
    ledger.events.subscribe(heard.append)
    return heard


def entry(clock: Clock, cost: float = 2.0) -> Entry:
    now = clock()
    return Entry(
        value=5, stored=now, fresh_until=now + 60, stale_until=now + 60, error_until=now + 60,
        born=1, cost=cost,
    )  # fmt: skip


def test_a_hit_saves_what_its_load_took(ledger: Ledger, clock: Clock, heard: list[Event]) -> None:
    """Fresh or stale, a hit counts its entry's cost as saved, and tells what age it was given at:
    the renewal that it began may take its time before the hit is told."""
    stored = entry(clock)
    clock.tick(7)
    given = clock()
    clock.tick(2)
    ledger.note_hit("shop:price", CALL, stored, given)
    ledger.note_hit("shop:price", CALL, stored, given, "revalidating")
    counts = ledger.tallies["shop:price"].counts()
    assert (counts["hits"], counts["stale_hits"], counts["seconds_saved"]) == (2, 1, 4.0)
    assert [(e.kind, e.seconds, e.reason) for e in heard] == [
        ("hit", 7, ""), ("stale", 7, "revalidating"),
    ]  # fmt: skip


def test_what_is_evicted_names_its_view(ledger: Ledger, heard: list[Event]) -> None:
    """Whatever kind of key has to make room, the view or function is told with it."""
    variant = VariantKey(URL, ("header X",), ("1",))
    for key in (URL, variant, CALL):
        ledger.note_evicted(key)
    assert [(e.view, e.key) for e in heard] == [
        ("shop:view", URL), ("shop:view", variant), ("shop:price", CALL),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("purge", "process", "told"),
    [
        (Purge(keys=("/a", ("/b", "c=1"), ("/d", "")), why="code"), "", ["/a", "/b?c=1", "/d"]),
        (Purge(tags=("x", "y"), soft=True, why="desk"), "", ["tag x (stale)", "tag y (stale)"]),
        (Purge(everything=True), "", ["everything"]),
        (Purge(keys=(CALL,), soft=True, why="unsafe"), "web1:7", ["shop:price (stale)"]),
    ],
    ids=repr,
)
def test_what_is_purged(
    ledger: Ledger, heard: list[Event], purge: Purge, process: str, told: list[str]
) -> None:
    """Each thing that a purge names is told of, who purged it, and how."""
    ledger.note_purged(purge, process)
    assert [event.reason for event in heard] == told
    assert {event.cause for event in heard} == {Cause(purge.why, process=process)}
    keys = {event.key for event in heard}
    assert keys == ({CALL} if CALL in purge.keys else {None})


@pytest.mark.parametrize(
    ("value", "detail", "line"),
    [
        (RuntimeError("no database\nat all"), "", "RuntimeError: no database"),
        (RuntimeError(), "", "RuntimeError"),
        (KeyError("x"), "ignored", "KeyError: 'x'"),
        (None, "status 503", "status 503"),
        (None, "", "failed"),
    ],
    ids=repr,
)
def test_a_failure_in_a_line(value: Any, detail: str, line: str) -> None:
    """An error is told by its kind and the first line of its text, an answer by its status."""
    assert error_of(Loaded(value, Fate.FAILED, detail=detail)) == line
