"""What is stored, in plain values for people."""

import json
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from flask import Flask, request
from msgspec.structs import replace

from aswr import CacheManager
from aswr.codec import Answer, Entry, Loader
from aswr.keys import CallKey, VariantKey, ViewKey, canonical, digest
from aswr.store import Store
from aswr.survey import (
    LONGEST,
    STATES,
    Found,
    Wanted,
    check_sort,
    found_in,
    in_short,
    plain,
    renews,
    row,
    rows_of,
    url_of,
    variant_of,
)

from .conftest import Clock

NOW = 1000.0


def view_key(path: str = "/a", **more: Any) -> ViewKey:
    return ViewKey("shop:view", "", path, "", "", ())._replace(**more)


def entry(fresh: float = 60, stale: float = 90, error: float = 120, **more: Any) -> Entry:
    given: dict[str, Any] = {
        "value": Answer(200, (), b"x"), "stored": NOW, "fresh_until": NOW + fresh,
        "stale_until": NOW + stale, "error_until": NOW + error, "born": 1, "size": 1, "cost": 0.5,
        **more,
    }  # fmt: skip
    return Entry(**given)


@pytest.mark.parametrize(
    ("key", "url"),
    [
        (view_key("/a b/é%?#"), "/a%20b/%C3%A9%25%3F%23"),
        (view_key(query="x=1&y=2"), "/a?x=1&y=2"),
        (view_key(script_name="/shop"), "/shop/a"),
        (view_key(host="shop.example:8000"), "//shop.example:8000/a"),
        (VariantKey(view_key(), ("header X",), ("1",)), "/a"),
        (CallKey("shop:price", ()), "shop:price()"),
        (CallKey("shop:price", ("tea", ("int", 2))), "shop:price('tea', 2)"),
        (CallKey("shop:price", "tea"), "shop:price('tea')"),
        (CallKey("shop:price", canonical(3)), "shop:price(3)"),
        (CallKey("shop:price", canonical(("eu", 3))), "shop:price((eu, 3))"),
        (
            CallKey("shop:price", (canonical(["a"]), canonical(None), canonical(1.5))),
            "shop:price((a), None, 1.5)",
        ),
    ],
    ids=repr,
)
def test_urls(key: Any, url: str) -> None:
    """A key is shown as the URL that a browser would show, or as a call."""
    assert url_of(key) == url


def test_long_calls_are_cut() -> None:
    """What a caller may choose does not fill the page."""
    shown = url_of(CallKey("shop:price", ("x" * 5000,)))
    assert len(shown) == LONGEST
    assert shown.endswith("…")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("de", "de"), (None, "None"), (5, "5"), (True, "True"), (date(2026, 1, 2),
        "datetime.date(2026, 1, 2)"), (("x", "y"), "(x, y)"), (["a"], "(a)"), (1.5, "1.5"),
        (("int", 1), "(int, 1)"), (("a", ("b", "c")), "(a, (b, c))"),
    ],
    ids=repr,
)  # fmt: skip
def test_canonical_values(value: Any, text: str) -> None:
    """What stands in a key for a value is shown as that value."""
    assert plain(canonical(value)) == text


def test_absent() -> None:
    """A value that a variant's requests do not have is shown so."""
    assert plain(None) == "absent"


def test_what_a_variant_has() -> None:
    """By the names of inputs, as people call them; of `key=` and `scope=` as well."""
    base = view_key(extra=(("key", canonical(("eu", 2))), ("scope", "ann")))
    key = VariantKey(base, ("header X", "cookie who"), ("1", None))
    assert variant_of(key) == {
        "header X": "1", "cookie who": "absent", "key": "(eu, 2)", "scope": "ann",
    }  # fmt: skip
    assert variant_of(view_key()) == variant_of(CallKey("f", ())) == {}
    long = VariantKey(view_key(), ("header X",), ("x" * 5000,))
    assert len(variant_of(long)["header X"]) == LONGEST


@pytest.mark.parametrize(
    ("later", "state", "left"),
    [(0, "fresh", 60), (59, "fresh", 1), (60, "stale", 30), (90, "error", 30), (120, "gone", 0)],
)
def test_states(later: float, state: str, left: float) -> None:
    """A row has the state that its entry is in at that time, and what is left of it."""
    shown = row(view_key(), entry(), NOW + later)
    assert (shown["state"], shown["left"], shown["age"]) == (state, left, later)


def test_a_row() -> None:
    """It has all that is known of an entry, in values that JSON can carry."""
    key = VariantKey(view_key(query="x=1"), ("header X",), ("1",))
    shown = row(key, entry(tags=("t",), by=Loader("web1:7", "stale")), NOW, uses=3)
    assert shown == {
        "id": digest(key), "url_id": digest(key.base), "view": "shop:view", "url": "/a?x=1",
        "path": "/a", "query": "x=1", "variant": {"header X": "1"}, "state": "fresh",
        "stored": NOW, "fresh_until": NOW + 60, "stale_until": NOW + 90, "error_until": NOW + 120,
        "age": 0.0, "left": 60.0, "size": 1, "cost": 0.5, "by": "web1:7", "cause": "stale",
        "uses": 3, "renews": True, "tags": ["t"], "status": 200, "reads": [], "reason": "",
    }  # fmt: skip
    json.dumps(shown)


def test_notes() -> None:
    """A note says what a URL is known to read, a passing one why everybody passes."""
    note = row(view_key(), entry(value=None, names=("header X",)), NOW)
    assert (note["state"], note["reads"], note["status"]) == ("note", ["header X"], None)
    passing = row(view_key(), entry(value=None, passing="reads remote address"), NOW)
    assert (passing["state"], passing["reason"]) == ("pass", "reads remote address")


@pytest.fixture
def stored() -> list[Found]:
    entries = [
        (view_key("/b"), entry(size=3, cost=1.0, tags=("x",))),
        (view_key("/a"), entry(fresh=-1, size=5, cost=0.1)),
        (CallKey("shop:price", ()), entry(fresh=-9, stale=-5, error=-1, size=1, cost=9.0)),
        (view_key("/n"), entry(value=None, names=("header X",))),
    ]
    return [Found(key, one, uses) for uses, (key, one) in enumerate(entries)]


def asked_for(
    stored: list[Found], sort: str = "url", limit: int | None = None, **asked: Any
) -> tuple[list[dict[str, Any]], int]:
    wanted = Wanted(**asked)
    found = [one for one in stored if wanted.by_key(one.key) and wanted.by_entry(one.entry, NOW)]
    return rows_of(found, NOW, sort, limit)


def rows_in(store: Store, now: float, **asked: Any) -> list[dict[str, Any]]:
    return rows_of(found_in(store, now, Wanted(**{"notes": True, **asked})), now)[0]


@pytest.mark.parametrize(
    ("asked", "urls"),
    [
        ({}, ["/a", "/b", "shop:price()"]),
        ({"notes": True}, ["/a", "/b", "/n", "shop:price()"]),
        ({"state": "note"}, ["/n"]),
        ({"state": "gone"}, ["shop:price()"]),
        ({"tag": "x"}, ["/b"]),
        ({"view": "price"}, ["shop:price()"]),
        ({"search": "/A"}, ["/a"]),
        ({"search": "PRICE"}, ["shop:price()"]),
        ({"sort": "-url"}, ["shop:price()", "/b", "/a"]),
        ({"sort": "size"}, ["/a", "/b", "shop:price()"]),
        ({"sort": "-size"}, ["shop:price()", "/b", "/a"]),
        ({"sort": "cost"}, ["shop:price()", "/b", "/a"]),
        ({"sort": "state"}, ["/b", "/a", "shop:price()"]),
        ({"sort": "uses"}, ["shop:price()", "/a", "/b"]),
        ({"sort": "left"}, ["shop:price()", "/b", "/a"]),
    ],
    ids=repr,
)
def test_what_is_asked_for(stored: list[Found], asked: dict[str, Any], urls: list[str]) -> None:
    """What is asked for, in that order; the largest, oldest and dearest come first."""
    rows, count = asked_for(stored, **asked)
    assert ([one["url"] for one in rows], count) == (urls, len(urls))
    for limit in range(len(urls) + 1):
        first, count = asked_for(stored, limit=limit, **asked)
        assert ([one["url"] for one in first], count) == (urls[:limit], len(urls))


@pytest.mark.parametrize("asked", [{"state": "old"}, {"sort": "color"}, {"sort": "--url"}])
def test_mistakes(stored: list[Found], asked: dict[str, str]) -> None:
    """What there is not is an error that names what there is."""
    with pytest.raises(ValueError, match="fresh|url"):
        asked_for(stored, **asked)
    if "sort" in asked:
        with pytest.raises(ValueError, match="url"):
            check_sort(asked["sort"])


@pytest.mark.parametrize(
    ("asked", "urls"),
    [
        ({"search": "/a"}, ["/a"]), ({"view": "nobody"}, []), ({"tag": "x"}, ["/b"]),
        ({"state": "note"}, ["/n"]), ({}, ["/a", "/b", "shop:price()"]),
    ],
    ids=repr,
)  # fmt: skip
def test_memory(clock: Clock, stored: list[Found], asked: dict[str, Any], urls: list[str]) -> None:
    """What is wanted of memory is found there, among all of it and among given keys."""
    store, now = Store(clock, 1_000_000), clock()
    for key, one, _ in stored:
        ends = [getattr(one, end) - NOW for end in ("fresh_until", "stale_until", "error_until")]
        fresh, stale, error = (now + end for end in ends)
        store.publish(key, replace(
            one, stored=now - 50, fresh_until=fresh, stale_until=stale, error_until=error,
            born=store.stamps.tick(),
        ))  # fmt: skip
    rows, _ = rows_of(found_in(store, now, Wanted(**asked)), now)
    assert [one["url"] for one in rows] == urls
    at_keys = found_in(store, now, Wanted(**asked), [one.key for one in stored[:2]])
    rows, _ = rows_of(at_keys, now)
    assert [one["url"] for one in rows] == [url for url in urls if url in ("/a", "/b")]


def test_a_look_costs_what_is_shown(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many entries rows are made for those that are shown alone."""
    store, made = Store(clock, 10_000_000), 0
    for index in range(2000):
        store.publish(view_key(f"/{index}"), replace(entry(), born=store.stamps.tick()))

    def counting(key: Any) -> str:
        nonlocal made
        made += 1
        return digest(key)

    monkeypatch.setattr("aswr.survey.digest", counting)
    rows, count = rows_of(found_in(store, NOW, Wanted(search="/1")), NOW, "-url", 3)
    assert ([one["url"] for one in rows], count) == (["/1999", "/1998", "/1997"], 1111)
    assert made == 2 * 3, "the entry's and the URL's, of each row"


def test_every_state_has_its_place() -> None:
    """There is no state of an entry that rows cannot be sorted by."""
    assert len(set(STATES)) == len(STATES) == 6


def test_looking_is_no_use(clock: Clock) -> None:
    """Listing what is stored makes nothing look as if it was used."""
    store = Store(clock, 1_000_000)
    store.publish(view_key(), replace(entry(), born=store.stamps.tick()))
    rows_in(store, NOW)
    rows_in(store, NOW)
    assert [one["uses"] for one in rows_in(store, NOW)] == [0]
    store.peek(view_key())
    assert [one["uses"] for one in rows_in(store, NOW)] == [1]


@pytest.mark.parametrize(
    "purge",
    [lambda m: m.invalidate("/a"), lambda m: m.clear(), lambda m: m.invalidate_tags("t")],
)
def test_a_site(app: Flask, manager: CacheManager, purge: Callable[[CacheManager], Any]) -> None:
    """Rows are of what is stored now: what is purged has none, what is softly purged is stale."""

    @app.get("/a")
    @manager.cacher(timeout=60, refresh_margin=30, tags=("t",))
    def page() -> str:
        return str(request.accept_languages.best_match(["de", "en"]))

    app.test_client().get("/a", headers={"Accept-Language": "de"})
    site = manager.site_of(app)
    stored, note = sorted(rows_in(site.store, site.engine.clock()), key=lambda one: one["state"])
    assert (note["state"], stored["state"]) == ("note", "fresh")
    assert list(stored["variant"].values()) == ["de"]
    assert list(stored["variant"]) == ["best Accept-Language of de, en"]
    manager.invalidate_tags("t", stale=True)
    assert {one["state"] for one in rows_in(site.store, site.engine.clock())} == {"note", "stale"}
    purge(manager)
    rows = rows_in(site.store, site.engine.clock())
    assert [one for one in rows if one["state"] != "note"] == []


def test_what_renews() -> None:
    """What a key says all of may be loaded anew without its caller, and nothing else."""
    url = view_key()
    for key in (url, VariantKey(url, ("header X",), ("1",)), url._replace(extra=(("key", "a"),))):
        assert renews(key), key
    scoped = url._replace(extra=(("key", "a"), ("scope", "ann")))
    called = url._replace(args=(("x",), ()))
    for key in (scoped, VariantKey(scoped, (), ()), called, CallKey("shop:price", ()), "strange"):
        assert not renews(key), key


def test_loads_in_short() -> None:
    """Others are told of the first so many loads, and of no URL more than fits a line."""
    rows = [{"url": "/" + "x" * length, "age": 1.0} for length in (5, 5000, 5)]
    told = in_short(rows, 2)
    assert [len(one["url"]) for one in told] == [6, LONGEST]
    assert rows[1]["url"].endswith("x")
