"""The life of entries: what happened to each, remembered from when somebody begins to look."""

import json

import pytest
from flask import Flask, request

from aswr import CacheManager
from aswr.desk import desk_of
from aswr.events import Events
from aswr.keys import CallKey, ViewKey, digest
from aswr.ledger import Ledger
from aswr.life import LIVES, MOST, Life
from aswr.stamps import Purge

from .conftest import Clock

URL = ViewKey("shop:view", "", "/a", "", "", ())


@pytest.fixture
def ledger() -> Ledger:
    return Ledger("shop", lambda: 5.0, lambda: None)


@pytest.fixture
def events(ledger: Ledger) -> Events:
    return ledger.events


@pytest.fixture
def life(events: Events) -> Life:
    life = Life()
    life.begin(events)
    return life


def test_nobody_pays_before_it_begins(events: Events) -> None:
    """Nothing is listened to until somebody looks; beginning twice hears nothing twice."""
    life = Life()
    assert events.wanted == frozenset()
    life.begin(events)
    life.begin(events)
    assert events.wanted == frozenset(LIVES)
    assert not {"hit", "stale", "miss", "pass"} & events.wanted
    events.tell("published", "shop:view", URL, seconds=2.0)
    (one,) = life.latest(10)
    assert one.shown() == {
        "at": 5.0, "kind": "published", "view": "shop:view", "url": "/a", "id": digest(URL),
        "url_id": digest(URL), "seconds": 2.0, "reason": "", "cause": "", "by": "",
    }  # fmt: skip
    json.dumps(one.shown())


def test_it_is_bounded(events: Events, life: Life) -> None:
    """Of many happenings the last are remembered."""
    for index in range(MOST + 10):
        events.tell("published", str(index), URL)
    assert len(life.latest(10 * MOST)) == MOST
    assert [one.view for one in life.latest(2)] == [str(MOST + 8), str(MOST + 9)]
    assert life.latest(1)[0].view == str(MOST + 9)


@pytest.mark.parametrize(
    ("purge", "concerns"),
    [
        (Purge(keys=("/a",)), True), (Purge(keys=("/a",), soft=True), True),
        (Purge(keys=(("/a", "b=1"),), soft=True), True), (Purge(everything=True), True),
        (Purge(tags=("x",)), True), (Purge(tags=("y", "x"), soft=True), True),
        (Purge(tags=("x?y",)), False), (Purge(keys=("/ab",)), False),
        (Purge(keys=("/a (stale)",)), False), (Purge(tags=("x (stale)",)), False),
        (Purge(tags=("xy",)), False), (Purge(keys=("/",)), False),
    ],
    ids=str,
)  # fmt: skip
def test_which_purges_belong_to_a_life(
    ledger: Ledger, life: Life, purge: Purge, concerns: bool
) -> None:
    """Those of its path, of one of its tags, and of everything; no others, whatever they end in."""
    ledger.note_purged(purge)
    found = life.of({digest(URL)}, {"/a"}, ["x"])
    assert bool(found) is concerns


def test_a_tag_with_a_question_mark(ledger: Ledger, life: Life) -> None:
    """A tag's name is taken as it is."""
    ledger.note_purged(Purge(tags=("a?b",)))
    assert life.of({digest(URL)}, {"/a"}, ["a?b"])
    assert not life.of({digest(URL)}, {"/a"}, ["a"])


def test_calls_have_no_path(ledger: Ledger, events: Events, life: Life) -> None:
    """The purge of one call is of its own life alone, and of no other call's."""
    tea, milk = CallKey("shop:price", ("tea",)), CallKey("shop:price", ("milk",))
    events.tell("published", "shop:price", tea)
    events.tell("published", "shop:price", milk)
    ledger.note_purged(Purge(keys=(tea,)))
    assert [one.kind for one in life.of({digest(tea)})] == ["published", "purged"]
    assert [one.kind for one in life.of({digest(milk)})] == ["published"]


def test_who_purged(ledger: Ledger, life: Life) -> None:
    """With a purge stands who made it, and the process, if it was another one."""
    ledger.note_purged(Purge(keys=("/a",), why="desk"), "web1:7")
    ledger.note_purged(Purge(everything=True, why="unsafe"))
    assert [(one.cause, one.by) for one in life.latest(2)] == [("desk", "web1:7"), ("unsafe", "")]


def test_a_life(app: Flask, manager: CacheManager, clock: Clock) -> None:
    """Loads, failures, purges and who triggered them are in an entry's life, in order."""
    failing = [False]

    @app.get("/a")
    @manager.cacher(timeout=60, refresh_margin=30, stale_if_error=600, tags=("x",))
    def page() -> str:
        clock.tick(1)
        if failing[0]:
            raise RuntimeError("no database")
        return str(request.headers.get("X-One"))

    @app.get("/b")
    @manager.cacher(timeout=60)
    def other() -> str:
        return "x"

    desk = desk_of(manager, app)
    desk.life.begin(manager.site_of(app).engine.events)
    client = app.test_client()
    client.get("/a")
    client.get("/b")
    manager.invalidate("/b")
    (row,) = desk.show("/a")["entries"][:1]
    assert row["state"] == "fresh"
    manager.invalidate_tags("x", stale=True)
    failing[0] = True
    client.get("/a")
    manager.join(5)
    shown = desk.entry(row["id"])
    happened = [(one["kind"], one["cause"], one["reason"]) for one in shown["life"]]
    assert happened == [
        ("load_started", "miss", ""),
        ("load_finished", "miss", "store"),
        ("learned", "", "header X-One"),
        ("published", "", ""),
        ("purged", "code", "tag x (stale)"),
        ("load_started", "stale", ""),
        ("load_failed", "stale", "RuntimeError: no database"),
    ]
    assert shown["entry"]["id"] == row["id"]
    assert [one["state"] for one in shown["beside"]] == ["note"]
    assert desk.show("/a")["life"] == shown["life"]
    # Also of what is gone: by its life it is known.
    manager.clear()
    assert desk.entry(row["id"])["entry"] is None
    assert desk.entry(row["id"])["life"][-1]["reason"] == "everything"
    with pytest.raises(LookupError):
        desk.entry("nothing")
