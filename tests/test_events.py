"""Events: what happens in a cache, told once, to whoever listens, and to nobody's harm."""

import asyncio
import ipaddress
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from flask import Flask, Response, abort, g, request
from flask.views import MethodView

from aswr import CacheManager, events, signals
from aswr.errors import LoadTimeout
from aswr.events import Event, Events
from aswr.keys import CallKey, VariantKey, ViewKey, base_of
from aswr.urls import MOST_NAMES

from .conftest import Background, Clock, Gate


class Heard(list[Event]):
    """What was told, in order."""

    def of(self, *kinds: str) -> list[Event]:
        return [event for event in self if event.kind in kinds]

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self]

    def one(self, kind: str) -> Event:
        """The only one of a kind."""
        (event,) = self.of(kind)
        return event


@pytest.fixture
def heard(manager: CacheManager) -> Heard:
    heard = Heard()
    manager.subscribe(heard.append)
    return heard


def define(app: Flask, manager: CacheManager, clock: Clock, **options: Any) -> None:
    """Views of each kind, and memoized functions; each load takes two seconds of the clock."""
    given = {"timeout": 60, "refresh_margin": 30, **options}

    @app.get("/def")
    @manager.cacher(**given)
    def sync_view() -> str:
        clock.tick(2)
        return "x"

    @app.get("/async")
    @manager.cacher(**given)
    async def async_view() -> str:
        clock.tick(2)
        return "x"

    class Method(MethodView):
        @manager.cacher(**given)
        def get(self) -> str:
            clock.tick(2)
            return "x"

    app.add_url_rule("/method", view_func=Method.as_view("method"))

    @app.get("/public")
    @manager.cacher(public=True, **given)
    def public_view() -> str:
        clock.tick(2)
        return "x"


def view_named(event: Event) -> str:
    return event.view.rpartition(".")[2]


def ask_wsgi(app: Flask, path: str, **options: Any) -> Any:
    return app.test_client().get(path, **options)


def ask_asgi(app: Flask, path: str) -> None:
    """One request by the ASGI door."""
    manager: CacheManager = app.extensions["aswr"]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
    }  # fmt: skip
    asyncio.run(manager.asgi(app)(scope, receive, send))
    assert sent[0]["status"] == 200


WAYS = [
    ("/def", "sync_view", ask_wsgi), ("/async", "async_view", ask_wsgi),
    ("/method", "Method.get", ask_wsgi), ("/public", "public_view", ask_wsgi),
    ("/public", "public_view", ask_asgi), ("/async", "async_view", ask_asgi),
]  # fmt: skip


class TestViews:
    @pytest.mark.parametrize(
        ("path", "view", "ask"), WAYS, ids=[f"{path} {ask.__name__}" for path, _, ask in WAYS]
    )
    def test_a_life(
        self, app: Flask, manager: CacheManager, clock: Clock, heard: Heard, path: str, view: str,
        ask: Callable[[Flask, str], Any],
    ) -> None:  # fmt: skip
        """Miss, load, hit, stale and renewal are told once each, whatever the way in."""
        define(app, manager, clock)
        began = clock.now
        ask(app, path)
        assert manager.join(5)
        assert sorted(heard.kinds) == ["load_finished", "load_started", "miss", "published"]
        assert {event.view.endswith(view) for event in heard} == {True}
        assert {event.app for event in heard} == {"shop"}
        (key,) = {event.key for event in heard}
        assert isinstance(key, ViewKey)
        assert key.path == path
        assert heard.one("load_started").cause.what == "miss"
        assert heard.one("load_started").at == began
        assert heard.one("load_finished").reason == "store"
        assert heard.one("published").seconds == 2
        tokens = {id(event.token) for event in heard.of("load_started", "load_finished")}
        assert len(tokens) == 1

        heard.clear()
        clock.tick(5)
        ask(app, path)
        ask(app, path)
        assert heard.kinds == ["hit", "hit"]
        assert heard[0].seconds == heard[1].seconds == 5
        assert heard[0].key == heard[1].key == key

        heard.clear()
        clock.tick(30)
        ask(app, path)
        assert manager.join(5)
        assert sorted(heard.kinds) == ["load_finished", "load_started", "published", "stale"]
        stale = heard.one("stale")
        assert (stale.seconds, stale.reason, stale.key) == (35, "revalidating", key)
        assert heard.one("load_started").cause.what == "stale"

    def test_variants(self, app: Flask, manager: CacheManager, heard: Heard) -> None:
        """What a URL is seen to read is told once; from then on keys are of its variants."""

        @app.get("/")
        @manager.cacher(timeout=60)
        def home() -> str:
            return str(request.headers.get("Accept-Language"))

        client = app.test_client()
        for tongue in ("de", "de", "en"):
            client.get("/", headers={"Accept-Language": tongue})
        learned = heard.one("learned")
        assert learned.reason == "header Accept-Language"
        assert isinstance(learned.key, ViewKey)
        (hit,) = heard.of("hit")
        assert isinstance(hit.key, VariantKey)
        assert hit.key.base == learned.key
        published = [event.key for event in heard.of("published")]
        assert len(set(published)) == 2
        assert hit.key in published

    def test_collapsed_waiters_miss_each(
        self, app: Flask, manager: CacheManager, heard: Heard, gate: Gate
    ) -> None:
        """Of five callers of one load each has missed, and there is one load."""

        @app.get("/")
        @manager.cacher(timeout=60)
        async def home() -> str:
            await gate.ahold()
            return "x"

        calls = [Background(lambda: ask_wsgi(app, "/")) for _ in range(5)]
        gate.await_arrival()
        until = time.monotonic() + 10
        while manager.stats()["waiting"] < 5:
            assert time.monotonic() < until, "they do not wait"
        gate.open()
        for call in calls:
            call.result()
        assert manager.join(5)
        assert len(heard.of("miss")) == 5
        assert len(heard.of("load_started")) == len(heard.of("load_finished")) == 1

    @pytest.mark.parametrize(
        ("ask", "reason", "path"),
        [
            (lambda client: client.post("/"), "method", ""),
            (lambda client: client.get("/?off=1"), "unless", ""),
            (lambda client: client.get("/", headers={"Cookie": "who=me"}), "reads cookie who", "/"),
        ],
    )
    def test_a_pass(
        self, app: Flask, manager: CacheManager, heard: Heard, ask: Callable[[Any], Any],
        reason: str, path: str,
    ) -> None:  # fmt: skip
        """A pass is told once, with its reason, and the URL's key where that was looked for."""

        @app.route("/", methods=["GET", "POST"])
        @manager.cacher(timeout=60, unless=lambda: "off" in request.args)
        def home() -> str:
            return request.cookies.get("who", "nobody")

        client = app.test_client(use_cookies=False)
        client.get("/")
        heard.clear()
        ask(client)
        told = heard.one("pass")
        assert (view_named(told), told.reason) == ("home", reason)
        assert (told.key.path if isinstance(told.key, ViewKey) else "") == path
        assert not heard.of("hit", "stale", "miss", "load_started")

    def test_a_pass_that_raises(self, app: Flask, manager: CacheManager, heard: Heard) -> None:
        """A view that aborts in its caller's request was run there all the same."""

        @app.route("/", methods=["POST", "GET"])
        @manager.cacher(timeout=60)
        def home() -> str:
            abort(404)

        assert app.test_client().post("/").status_code == 404
        assert heard.one("pass").reason == "method"
        assert manager.stats()["passes"] == 1

    @pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi])
    def test_a_door_that_passes(
        self, app: Flask, manager: CacheManager, heard: Heard, ask: Callable[[Flask, str], Any]
    ) -> None:
        """Who waits for a public page that turns out to be one caller's own passes, and no more."""

        @app.get("/")
        @manager.cacher(timeout=60, public=True)
        def home() -> str:
            return str(request.remote_addr)

        ask(app, "/")
        assert [event.kind for event in heard.of("miss", "pass")] == ["pass"]
        assert heard.one("pass").reason == "reads remote address"
        assert manager.join(5)
        heard.clear()
        ask(app, "/")
        assert heard.kinds == ["pass"]

    @pytest.mark.parametrize("options", [{}, {"public": True}], ids=repr)
    @pytest.mark.parametrize("how", ["def", "async def"])
    def test_a_pass_whose_render_raises(
        self, app: Flask, manager: CacheManager, clock: Clock, heard: Heard, how: str,
        options: dict[str, Any], caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        """A view that breaks on the address that no render has answers all, and fails nobody."""

        def home() -> str:
            return str(ipaddress.ip_address(request.remote_addr or None))

        async def ahome() -> str:
            return home()

        view = home if how == "def" else ahome
        app.add_url_rule("/", "home", manager.cacher(timeout=60, **options)(view))
        client = app.test_client()
        for _ in range(3):
            assert client.get("/").text == "127.0.0.1"
            assert manager.join(5)
            clock.tick(61)
        assert heard.of("load_failed") == []
        assert {event.reason for event in heard.of("load_finished")} == {"reads remote address"}
        assert all(event.error is None for event in heard.of("load_finished"))
        assert manager.stats()["load_failures"] == 0
        (record,) = caplog.records
        assert record.name == "aswr.render"
        assert "ignore=['remote_addr']" in record.getMessage()

    @pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi])
    @pytest.mark.parametrize("path", ["/", "/public"])
    def test_in_place_of_a_failure(
        self, app: Flask, manager: CacheManager, clock: Clock, heard: Heard, path: str,
        ask: Callable[[Flask, str], Any],
    ) -> None:  # fmt: skip
        """What stands in for a load that failed is stale; the failure is told with its error."""
        well = [True]

        def home() -> str:
            if not well[0]:
                raise RuntimeError("no database\nat all")
            return "x"

        app.add_url_rule("/", "home", manager.cacher(timeout=60, stale_if_error=600)(home))
        shown = manager.cacher(timeout=60, stale_if_error=600, public=True)(lambda: home())
        app.add_url_rule("/public", "public", shown)
        ask(app, path)
        clock.tick(61)
        well[0] = False
        heard.clear()
        ask(app, path)
        assert heard.one("stale").reason == "stale-if-error"
        assert heard.one("stale").seconds == 61
        assert not heard.of("miss"), "each request counts as one thing"
        failed = heard.one("load_failed")
        assert failed.reason == "RuntimeError: no database"
        assert isinstance(failed.error, RuntimeError)
        assert not heard.of("load_finished", "published")
        assert heard.one("load_started").token is failed.token

    def test_a_5xx_is_a_failed_load(self, app: Flask, manager: CacheManager, heard: Heard) -> None:
        """It has no error, and its status for a reason."""

        @app.get("/")
        @manager.cacher(timeout=60)
        def home() -> tuple[str, int]:
            return "x", 503

        ask_wsgi(app, "/")
        failed = heard.one("load_failed")
        assert (failed.reason, failed.error) == ("status 503", None)

    def test_what_a_load_comes_to(self, app: Flask, manager: CacheManager, heard: Heard) -> None:
        """The end of a load says why its answer is not stored."""

        @app.get("/")
        @manager.cacher(timeout=60, store_if=lambda response: False)
        def home() -> str:
            return "x"

        ask_wsgi(app, "/")
        assert heard.one("load_finished").reason == "store_if"
        assert not heard.of("published")

    def test_a_load_that_reads_too_much(
        self, app: Flask, manager: CacheManager, heard: Heard, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Its end says why everybody passes, as the passes do; it is no failure."""

        @app.get("/")
        @manager.cacher(timeout=60)
        def home() -> str:
            return "".join(request.headers.get(f"X-{n}", "x") for n in range(MOST_NAMES + 1))

        for _ in range(2):
            ask_wsgi(app, "/")
        assert heard.one("load_finished").reason == "reads over 64 inputs"
        assert [event.reason for event in heard.of("pass")] == ["reads over 64 inputs"] * 2
        assert not heard.of("published", "learned", "load_failed")
        stats = manager.stats()
        assert (stats["loads"], stats["passes"], stats["load_failures"]) == (1, 2, 0)
        assert len(caplog.records) == 1

    def test_a_load_that_takes_too_long(
        self, app: Flask, manager: CacheManager, heard: Heard
    ) -> None:
        """It fails for that reason, and for no other."""

        @app.get("/")
        @manager.cacher(timeout=60, load_timeout=0.05)
        async def home() -> str:
            await asyncio.sleep(30)
            return "x"

        assert ask_wsgi(app, "/").status_code == 504
        assert manager.join(5)
        assert heard.one("load_failed").reason.startswith("LoadTimeout: ")
        assert not heard.of("load_finished", "published")

    def test_a_thread_that_takes_too_long(
        self, app: Flask, manager: CacheManager, heard: Heard, gate: Gate
    ) -> None:
        """Its load has failed when its time is up, however long it takes; its answer is stored."""

        @app.get("/")
        @manager.cacher(timeout=60, load_timeout=0.05)
        def home() -> str:
            gate.hold()
            return "x"

        assert ask_wsgi(app, "/").status_code == 504
        failed = heard.one("load_failed")
        assert failed.reason.startswith("LoadTimeout: ")
        assert isinstance(failed.error, LoadTimeout)
        assert failed.token is heard.one("load_started").token
        counts = manager.stats()
        assert (counts["loads"], counts["load_failures"]) == (1, 1)
        took = counts["load_seconds"]
        assert took == failed.seconds
        gate.open()
        assert manager.join(5)
        assert heard.one("published").reason == "after its time was up"
        assert heard.one("published").token is failed.token
        assert heard.one("load_failed") is failed
        assert not heard.of("load_finished")
        counts = manager.stats()
        assert (counts["loads"], counts["load_failures"], counts["load_seconds"]) == (1, 1, took)

    def test_a_thread_that_fails_too_late(
        self, app: Flask, manager: CacheManager, heard: Heard, gate: Gate
    ) -> None:
        """What it raises when its load has failed already is no second failure."""

        @app.get("/")
        @manager.cacher(timeout=60, load_timeout=0.05)
        def home() -> str:
            gate.hold()
            raise RuntimeError("no database")

        assert ask_wsgi(app, "/").status_code == 504
        gate.open()
        assert manager.join(5)
        assert heard.one("load_failed").reason.startswith("LoadTimeout: ")
        assert not heard.of("load_finished", "published")

    @pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi])
    def test_a_miss_tells_the_wait(
        self, app: Flask, manager: CacheManager, heard: Heard, ask: Callable[[Flask, str], Any]
    ) -> None:
        """A miss has the seconds that its caller has waited, at whatever door."""

        @app.get("/")
        @manager.cacher(timeout=60, public=True)
        def home() -> str:
            return "x"

        ask(app, "/")
        assert heard.one("miss").seconds >= manager.stats()["seconds_waited"] > 0

    def test_closed(self, app: Flask, manager: CacheManager, clock: Clock, heard: Heard) -> None:
        """Once the cache is closed nobody waits for a load: who finds nothing passes."""
        define(app, manager, clock)
        ask_wsgi(app, "/def")
        manager.close()
        heard.clear()
        ask_wsgi(app, "/async")
        assert [(event.kind, event.reason) for event in heard] == [("pass", "closed")]


class TestCauses:
    def test_verbs_and_warm_ups(
        self, app: Flask, manager: CacheManager, clock: Clock, heard: Heard
    ) -> None:
        """Loads say who asked for them: a verb here, a warm-up there."""
        from aswr.desk import desk_of

        define(app, manager, clock)
        manager.refresh("/def")
        asyncio.run(manager.arefresh("/def"))
        desk_of(manager, app).load("/async", force=False, why="warm")
        causes = [event.cause.what for event in heard.of("load_started") if event.cause]
        assert causes == ["refresh", "refresh", "warm"]
        assert [event.cause for event in heard.of("load_finished")] == [
            event.cause for event in heard.of("load_started")
        ]

    def test_jobs(self, app: Flask, manager: CacheManager, clock: Clock, heard: Heard) -> None:
        """A periodic refresh that is due is told, and is the cause of its load."""
        define(app, manager, clock)
        done = threading.Event()
        manager.subscribe(lambda event: done.set(), "load_finished")
        manager.schedule_periodic_refresh("/def", 0.05)
        manager.start()
        assert done.wait(10)
        manager.close()
        job = heard.of("job")[0]
        assert (view_named(job), job.reason) == ("sync_view", "/def: began 1 load")
        assert isinstance(job.key, ViewKey)
        assert heard.of("load_started")[0].cause.what == "job"

    def test_what_a_tracer_knows(
        self, app: Flask, manager: CacheManager, clock: Clock, heard: Heard
    ) -> None:
        """The origin is asked for on the thread of who asks for the load."""
        define(app, manager, clock)
        asked: list[int] = []

        def origin() -> str:
            asked.append(threading.get_ident())
            return "span"

        manager.site_of(app).engine.events.origin = origin
        ask_wsgi(app, "/def")
        assert heard.one("load_started").cause == events.Cause("miss", "span")
        assert asked == [threading.get_ident()]


class TestFunctions:
    def test_a_life(self, app: Flask, manager: CacheManager, clock: Clock, heard: Heard) -> None:
        """Calls of memoized functions are told as requests are, under the keys of calls."""

        @manager.memoize(timeout=60, refresh_margin=30)
        def price(article: str) -> int:
            clock.tick(2)
            return 5

        with app.app_context():
            price.sync("tea")
            assert sorted(heard.kinds) == ["load_finished", "load_started", "miss", "published"]
            assert {view_named(event) for event in heard} == {"price"}
            (key,) = {event.key for event in heard}
            assert isinstance(key, CallKey)
            heard.clear()
            clock.tick(1)
            price.sync("tea")
            asyncio.run(price("tea"))
            assert [(e.kind, e.seconds, e.key) for e in heard] == [("hit", 1, key)] * 2
            heard.clear()
            clock.tick(34)
            price.sync("tea")
            assert manager.join(5)
            stale = heard.one("stale")
            assert (stale.seconds, stale.reason) == (35, "revalidating")
            heard.clear()
            price.refresh("tea")
            asyncio.run(price.arefresh("tea"))
            assert [e.cause.what for e in heard.of("load_started") if e.cause] == ["refresh"] * 2
            assert not heard.of("miss", "hit", "stale")

    @pytest.mark.parametrize("copies", [False, True])
    def test_copies(self, app: Flask, manager: CacheManager, heard: Heard, copies: bool) -> None:
        """Whether results are copied makes no difference to what is told."""

        @manager.memoize(timeout=60, copy=copies)
        async def price() -> list[int]:
            return [5]

        with app.app_context():
            price.sync()
            price.sync()
        assert [event.kind for event in heard.of("hit", "miss")] == ["miss", "hit"]

    def test_in_place_of_a_failure(
        self, app: Flask, manager: CacheManager, clock: Clock, heard: Heard
    ) -> None:
        """The older result that stands in for a failed load is a stale hit, told and counted."""
        well = [True]

        @manager.memoize(timeout=60, stale_if_error=600)
        def price() -> int:
            clock.tick(3)
            if not well[0]:
                raise RuntimeError("no database")
            return 5

        with app.app_context():
            price.sync()
            clock.tick(60)
            well[0] = False
            heard.clear()
            assert price.sync() == 5
            stale = heard.one("stale")
            assert (stale.reason, stale.seconds) == ("stale-if-error", 63)
            assert isinstance(stale.key, CallKey)
            counts = manager.view_stats()[stale.view]
            assert (counts["stale_hits"], counts["hits"], counts["misses"]) == (1, 1, 1)
            assert counts["seconds_saved"] == 3
            heard.clear()
            assert price.refresh() == 5
            assert not heard.of("stale", "hit", "miss"), "nobody asked but for a refresh"

    def test_closed(self, app: Flask, manager: CacheManager, heard: Heard) -> None:
        """Once the cache is closed a call that finds nothing runs as it is: a pass."""

        @manager.memoize(timeout=60)
        def price() -> int:
            return 5

        with app.app_context():
            price.sync()
            manager.close()
            manager.site_of(app).store.discard(heard[0].key)
            heard.clear()
            assert price.sync() == 5
            assert asyncio.run(price()) == 5
        assert [(event.kind, event.reason) for event in heard] == [("pass", "closed")] * 2
        assert {type(event.key) for event in heard} == {CallKey}

    def test_a_miss_tells_the_wait(self, app: Flask, manager: CacheManager, heard: Heard) -> None:
        """A miss has the seconds that its caller has waited, failed or not."""

        @manager.memoize(timeout=60)
        def price(fails: bool) -> int:
            return 5 // (not fails)

        with app.app_context():
            price.sync(False)
            with pytest.raises(ZeroDivisionError):
                asyncio.run(price(True))
        first, second = heard.of("miss")
        assert first.seconds + second.seconds >= manager.stats()["seconds_waited"] > 0

    def test_a_call_that_is_purged(self, app: Flask, manager: CacheManager, heard: Heard) -> None:
        """Its purge is told under its key, so that its life has it."""

        @manager.memoize(timeout=60)
        def price(article: str) -> int:
            return 5

        with app.app_context():
            price.sync("tea")
            key = heard[0].key
            price.invalidate("tea")
        purged = heard.one("purged")
        assert (purged.key, purged.view) == (key, heard[0].view)


class TestPurges:
    @pytest.mark.parametrize(
        ("purge", "reasons"),
        [
            (lambda m: m.invalidate("/a"), ["/a"]),
            (lambda m: m.invalidate("/a?b=1"), ["/a?b=1"]),
            (lambda m: m.invalidate("/a", stale=True), ["/a (stale)"]),
            (lambda m: m.invalidate_tags("x", "y"), ["tag x", "tag y"]),
            (lambda m: m.clear(), ["everything"]),
            (lambda m: m.clear(stale=True), ["everything (stale)"]),
        ],
    )
    def test_they_are_told(
        self, manager: CacheManager, heard: Heard, purge: Callable[[CacheManager], Any],
        reasons: list[str],
    ) -> None:  # fmt: skip
        """A purge says what is purged, each thing once."""
        purge(manager)
        assert [(event.kind, event.reason) for event in heard] == [("purged", r) for r in reasons]
        assert {event.cause for event in heard} == {events.Cause("code")}

    def test_who_purges(self, app: Flask, manager: CacheManager, heard: Heard) -> None:
        """A purge says who made it: an operator, an unsafe request, or the app's own code."""
        from aswr.desk import desk_of

        @app.route("/a", methods=["GET", "POST"])
        @manager.cacher(timeout=60)
        def page() -> Response:
            return Response("x", headers={"Cache-Group-Invalidation": '"x"'})

        @manager.memoize(timeout=60)
        def price() -> int:
            return 5

        client, desk = app.test_client(), desk_of(manager, app)
        client.get("/a")
        with app.app_context():
            price.sync()
        heard.clear()
        client.post("/a")
        assert {(e.reason, e.cause.what) for e in heard.of("purged") if e.cause} == {
            ("/a", "unsafe"), ("tag x", "unsafe"),
        }  # fmt: skip
        client.get("/a")
        rows = desk.entries()["entries"]
        heard.clear()
        desk.purge(urls=["/a"], tags=["x"], everything=True, stale=True)
        desk.purge(ids=[row["id"] for row in rows])
        assert len(heard.of("purged")) == 3 + len(rows) == 5
        assert {event.cause for event in heard.of("purged")} == {events.Cause("desk")}
        heard.clear()
        with app.app_context():
            price.invalidate()
            asyncio.run(manager.ainvalidate("/a"))
        assert [event.cause for event in heard] == [events.Cause("code")] * 2

    def test_evicted(self, app: Flask, clock: Clock) -> None:
        """What had to make room is told with its key; what was purged or replaced is not."""
        manager, heard = CacheManager(app, clock=clock, max_bytes=40_000), Heard()
        manager.subscribe(heard.append)

        @app.get("/<int:number>")
        @manager.cacher(timeout=60)
        def page(number: int) -> str:
            return "x" * 3000

        for number in range(30):
            ask_wsgi(app, f"/{number}")
        manager.refresh("/29")
        manager.invalidate("/29")
        manager.join(5)
        evicted = heard.of("evicted")
        assert len(evicted) == manager.stats()["evictions"] > 0
        paths = [base_of(event.key).path for event in evicted]  # type: ignore[attr-defined]
        assert len(set(paths)) == len(paths)
        assert {view_named(event) for event in evicted} == {"page"}
        assert "/29" not in paths
        manager.close()


class TestHooks:
    def test_kinds(self, app: Flask, manager: CacheManager, clock: Clock) -> None:
        """Who names kinds hears of no others; two subscriptions of one hook do not disturb."""
        define(app, manager, clock)
        heard = Heard()
        hook = heard.append
        end = manager.subscribe(hook, "hit")
        again = manager.subscribe(hook, "miss")
        ask_wsgi(app, "/def")
        ask_wsgi(app, "/def")
        assert heard.kinds == ["miss", "hit"]
        end()
        end()
        ask_wsgi(app, "/def")
        manager.clear()
        ask_wsgi(app, "/def")
        assert heard.kinds == ["miss", "hit", "miss"]
        again()

    @pytest.mark.parametrize(
        ("hook", "kinds", "error"),
        [(print, ("hits",), ValueError), (5, (), TypeError), (asyncio.sleep, (), TypeError)],
    )
    def test_mistakes(
        self, hook: Any, kinds: tuple[Any, ...], error: type[Exception], clock: Clock
    ) -> None:
        """What can never be called is an error when it is subscribed, app or no app."""
        manager = CacheManager(clock=clock)
        with pytest.raises(error):
            manager.subscribe(hook, *kinds)
        manager.init_app(Flask("later"))
        with pytest.raises(error):
            manager.subscribe(hook, *kinds)

    def test_one_that_raises_harms_nobody(
        self, app: Flask, manager: CacheManager, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is logged once; the request, the load and the other hooks do not notice."""
        define(app, manager, clock)
        heard = Heard()

        class Broken:
            __hash__ = None  # type: ignore[assignment]

            def __call__(self, event: Event) -> None:
                raise RuntimeError(event.kind)

        def cancelling(event: Event) -> None:
            raise asyncio.CancelledError

        def leaving(event: Event) -> None:
            raise SystemExit(3)

        manager.subscribe(Broken())
        manager.subscribe(cancelling)
        manager.subscribe(leaving)
        manager.subscribe(heard.append)
        with caplog.at_level(logging.ERROR, "aswr.events"):
            for _ in range(3):
                for path in ("/def", "/async", "/public"):
                    assert ask_wsgi(app, path).text == "x"
            manager.clear()
            assert manager.join(5)
        assert len(caplog.records) == 3
        assert "failed on" in caplog.records[0].getMessage()
        assert len(heard.of("hit")) == 6
        assert len(heard.of("load_finished")) == 3

    def test_what_it_reads_is_no_read_of_a_render(
        self, app: Flask, manager: CacheManager, heard: Heard
    ) -> None:
        """A hook that is called within a load may look at the request without being recorded."""

        @manager.memoize(timeout=60)
        def price() -> int:
            return 5

        @app.get("/")
        @manager.cacher(timeout=60)
        def home() -> str:
            price.sync()
            return str(request.headers.get("X-One"))

        def nosy(event: Event) -> None:
            if event.kind in ("hit", "miss") and event.view.endswith("price"):
                request.cookies.get("who")
                request.headers.get("User-Agent")
                g.get("user")

        manager.subscribe(nosy)
        for _ in range(2):
            ask_wsgi(app, "/", headers={"Cookie": "who=me"})
            manager.invalidate("/")
        assert heard.of("learned")
        assert {event.reason for event in heard.of("learned")} == {"header X-One"}
        assert not heard.of("pass")

    def test_it_may_use_the_cache(self, app: Flask, manager: CacheManager, clock: Clock) -> None:
        """A hook that asks for something stored is answered, and tells of that, too."""

        @manager.memoize(timeout=60)
        def price() -> int:
            return 5

        with app.app_context():
            price.sync()
        define(app, manager, clock)
        got = []

        def hook(event: Event) -> None:
            if not event.view.endswith("price"):
                with app.app_context():
                    got.append(price.sync())

        manager.subscribe(hook, "hit")
        ask_wsgi(app, "/def")
        ask_wsgi(app, "/def")
        assert got == [5]

    def test_coming_and_going_meanwhile(
        self, app: Flask, manager: CacheManager, clock: Clock
    ) -> None:
        """Who comes while something is told hears of the next; who goes hears no more."""
        define(app, manager, clock)
        heard, late = Heard(), Heard()
        ends: list[Callable[[], None]] = []

        def first(event: Event) -> None:
            heard.append(event)
            ends[0]()
            manager.subscribe(late.append, "hit")

        ends.append(manager.subscribe(first, "hit"))
        for _ in range(3):
            ask_wsgi(app, "/def")
        assert heard.kinds == ["hit"]
        assert late.kinds == ["hit"]

    def test_many_at_once(self) -> None:
        """Of subscriptions on many threads at once none is lost."""
        told = Events("shop", lambda: 0.0, lambda: None)
        heard = Heard()
        threads = [
            threading.Thread(target=lambda: [told.subscribe(heard.append) for _ in range(50)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        told.tell("hit")
        assert len(heard) == 400

    def test_apps_that_come_later(self, clock: Clock) -> None:
        """A subscription is for every app of the manager, and so is its end."""
        manager, heard = CacheManager(clock=clock), Heard()
        end = manager.subscribe(heard.append, "miss")
        apps = [Flask(name) for name in ("one", "two", "three")]
        for app in apps[:2]:
            manager.init_app(app)
        home = manager.cacher(timeout=60)(lambda: "x")
        for app in apps:
            app.add_url_rule("/", "home", home)
        for app in apps[:2]:
            ask_wsgi(app, "/")
        assert [event.app for event in heard] == ["one", "two"]
        end()
        manager.init_app(apps[2])
        for app in apps:
            manager.site_of(app).engine.purge_all()
            ask_wsgi(app, "/")
        assert len(heard) == 2
        manager.close()

    def test_events_are_values(self, app: Flask, heard: Heard, manager: CacheManager) -> None:
        """Nobody changes what the others are told."""
        manager.clear()
        with pytest.raises(FrozenInstanceError):
            heard[0].reason = "x"  # type: ignore[misc]


class TestNobody:
    def test_no_event_is_made(
        self, app: Flask, manager: CacheManager, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While nobody listens no event is made, whatever happens."""

        def made(*args: Any, **kwargs: Any) -> None:
            raise AssertionError("an event was made")

        monkeypatch.setattr(events, "Event", made)
        define(app, manager, clock, stale_if_error=60)

        @manager.memoize(timeout=60)
        def price() -> int:
            return 5

        for _ in range(3):
            for path, _, ask in WAYS:
                ask(app, path)
            with app.app_context():
                price.sync()
            clock.tick(40)
        app.test_client().post("/def")
        manager.refresh("/def")
        manager.clear()
        assert manager.join(5)

    def test_a_hit_asks_the_set_alone(
        self, app: Flask, manager: CacheManager, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A fresh hit calls nothing of the events' where nobody listens to hits."""

        def called(*args: Any, **kwargs: Any) -> None:
            raise AssertionError("a hit has called `tell`")

        @manager.memoize(timeout=60)
        def price() -> int:
            return 5

        define(app, manager, clock)
        manager.subscribe(print, "load_failed")
        for path, _, ask in WAYS:
            ask(app, path)
        with app.app_context():
            price.sync()
            monkeypatch.setattr(Events, "tell", called)
            price.sync()
            asyncio.run(price())
        for path, _, ask in WAYS:
            ask(app, path)

    def test_who_listens_is_known(self, app: Flask, manager: CacheManager) -> None:
        """``wanted`` has what somebody listens to, and is empty again when all have gone."""
        told = manager.site_of(app).engine.events
        assert told.wanted == frozenset()
        end = manager.subscribe(print, "hit", "miss")
        assert told.wanted == {"hit", "miss"}
        with signals.job.connected_to(print):
            assert told.wanted == {"hit", "miss", "job"}
            end()
            assert told.wanted == {"job"}
        assert told.wanted == frozenset()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child(app: Flask, manager: CacheManager, clock: Clock, heard: Heard) -> None:
    """A child tells its own hooks of what happens in it, though a thread held the locks."""
    from aswr import tally

    define(app, manager, clock)
    ask_wsgi(app, "/def")
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with events._lock, tally._lock:
            held.set()
            let_go.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            heard.clear()
            mine = Heard()
            end = manager.subscribe(mine.append, "miss", "pass")
            ask_wsgi(app, "/def")
            app.test_client().head("/def")
            app.test_client().post("/def")
            with app.app_context():
                counts = manager.stats()
            end()
            right = [event.kind for event in mine] == ["miss"]
            code = 0 if right and counts["misses"] == 1 and heard.of("miss") else 2
        finally:
            os._exit(code)
    let_go.set()
    thread.join()
    ended = Background(lambda: os.waitpid(child, 0)[1])
    if not ended.ends_within(10):
        os.kill(child, signal.SIGKILL)
    assert ended.result() == 0


def test_who_tells_waits_for_no_lock(app: Flask, manager: CacheManager) -> None:
    """Where a receiver is gone and somebody else looks who listens, telling goes on at once."""
    told = manager.site_of(app).engine.events
    with events._lock:
        told.wanted = frozenset({"hit"})  # as a receiver leaves it that was held weakly
        telling = Background(lambda: told.tell("hit"))
        assert telling.ends_within(5)
    telling.result()
    assert "hit" in told.wanted
    told.tell("hit")
    assert told.wanted == frozenset()
