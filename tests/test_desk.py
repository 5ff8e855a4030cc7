"""The desk: what an operator asks of one app's cache, and what comes of what he does."""

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiocache import SimpleMemoryCache
from flask import Flask, abort, request
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from aswr import CacheManager
from aswr.desk import ELSEWHERE, OFF, Desk, desk_of
from aswr.keys import digest
from aswr.questions import MOST_SHOWN, local
from aswr.site import NoView

from .conftest import Background, Clock, Gate


@pytest.fixture
def desk(app: Flask, manager: CacheManager, clock: Clock) -> Desk:
    define(app, manager, clock)
    return desk_of(manager, app)


def define(app: Flask, manager: CacheManager, clock: Clock, **options: Any) -> None:
    given = {"timeout": 60, "refresh_margin": 30, **options}

    def page(name: str) -> str:
        clock.tick(2)
        if name == "broken":
            raise RuntimeError("no database")
        if name == "gone":
            abort(404)
        if name == "down":
            abort(503)
        return f"{name} {request.args.get('q')}"

    tags = lambda response: ("all", f"tag {request.path}")  # noqa: E731
    app.add_url_rule("/page/<name>", "page", manager.cacher(tags=tags, **given)(page))
    app.add_url_rule("/", "home", manager.cacher(**given)(lambda: "home"))
    address = manager.cacher(**given)(lambda: str(request.remote_addr))
    app.add_url_rule("/address", "address", address)
    tongue = manager.cacher(**given)(lambda: str(request.headers.get("X-One")))
    app.add_url_rule("/tongue", "tongue", tongue)
    app.add_url_rule("/plain", "plain", lambda: "plain")


def ask(app: Flask, path: str, **options: Any) -> Any:
    return app.test_client().get(path, **options)


def urls(found: Any) -> list[str]:
    return [one["url"] for one in found["entries"]]


class TestRefreshing:
    @pytest.mark.parametrize(
        ("url", "outcome", "reason"),
        [
            ("/page/a", "stored", ""),
            ("/page/a?q=1", "stored", ""),
            ("https://shop.example/page/a", "stored", ""),
            ("/page/caf%C3%A9", "stored", ""),
            ("/page/café", "stored", ""),
            ("https://shop.example", "stored", ""),
            ("/page/broken", "failed", "RuntimeError: no database"),
            ("/page/down", "failed", "status 503"),
            ("/page/gone", "pass", "status 404"),
            ("/address", "pass", "reads remote address"),
            ("/plain", "uncached", "is not cached"),
            ("/nowhere", "uncached", "no route matches"),
            ("relative", "uncached", "name the path as the browser shows it"),
            ("http://[", "uncached", "Invalid IPv6 URL"),
        ],
    )  # fmt: skip
    def test_outcomes(self, desk: Desk, url: str, outcome: str, reason: str) -> None:
        """Each says in a word what came of it, and why."""
        done = desk.refresh(url)
        assert (done["url"], done["outcome"]) == (url, outcome)
        assert reason in done["reason"]
        assert bool(done["reason"]) is bool(reason)
        assert done["seconds"] >= 0
        json.dumps(done)

    def test_what_is_fresh(self, desk: Desk, clock: Clock) -> None:
        """A load that is not forced leaves what is fresh; a refresh loads it anew."""
        assert desk.load("/page/a", force=False, why="warm")["outcome"] == "stored"
        before = desk.entries()["entries"][0]["stored"]
        assert desk.load("/page/a", force=False, why="warm")["outcome"] == "fresh"
        assert desk.entries()["entries"][0]["stored"] == before
        assert desk.refresh("/page/a")["outcome"] == "stored"
        assert desk.entries()["entries"][0]["stored"] > before

    def test_variants_in_use(self, app: Flask, desk: Desk, clock: Clock) -> None:
        """A refresh renews the variants that are in use as well."""
        for _ in range(2):
            ask(app, "/tongue", headers={"X-One": "1"})
        clock.tick(40)
        assert desk.refresh("/tongue")["outcome"] == "stored"
        states = {str(one["variant"]): one["state"] for one in desk.entries()["entries"]}
        assert states == {"{'header X-One': '1'}": "fresh", "{'header X-One': 'absent'}": "fresh"}

    def test_variants_that_fail(self, app: Flask, manager: CacheManager) -> None:
        """That one of several variants failed is told, though the plain one is well."""

        @app.get("/half")
        @manager.cacher(timeout=60)
        def half() -> str:
            one = str(request.headers.get("X-One"))
            if one in broken:
                raise RuntimeError("no database")
            return one

        broken: set[str] = set()
        desk = desk_of(manager, app)
        for one in ("1", "2", "2", "1"):
            ask(app, "/half", headers={"X-One": one})
        assert desk.refresh("/half")["outcome"] == "stored"
        for one in ("1", "2"):
            ask(app, "/half", headers={"X-One": one})
        broken.add("1")
        done = desk.refresh("/half")
        assert done["outcome"] == "failed"
        assert done["reason"] == "1 of 3 variants failed: RuntimeError: no database"

    def test_where_it_was_done(self, app: Flask, desk: Desk, clock: Clock) -> None:
        """With memory alone one process has it, which is named; with a store all may have it."""
        for done in (desk.refresh("/"), desk.load("/", force=False, why="warm")):
            assert (done["worker"]["pid"], done["alone"]) == (os.getpid(), True)
        other = Flask("other")
        manager = CacheManager(other, cache="redis://127.0.0.1:1", clock=clock)
        define(other, manager, clock)
        assert desk_of(manager, other).refresh("/")["alone"] is False
        manager.close()

    def test_a_load_that_takes_too_long(
        self, app: Flask, manager: CacheManager, clock: Clock, gate: Gate
    ) -> None:
        """It is waited for as long as a caller would, and goes on."""

        @app.get("/slow")
        @manager.cacher(timeout=60, wait_timeout=0.05)
        async def slow() -> str:
            await gate.ahold()
            return "x"

        desk = desk_of(manager, app)
        done = desk.refresh("/slow")
        assert (done["outcome"], "wait_timeout" in done["reason"]) == ("failed", True)
        (flight,) = desk.flights()
        assert (flight["url"], flight["cause"]) == ("/slow", "refresh")
        assert flight["waiters"] in (0, 1), "who left is on his way out"
        assert flight["view"].endswith("slow")
        assert (flight["elsewhere"], flight["leads"]) == (False, False)
        clock.tick(3)
        assert desk.flights()[0]["age"] == 3
        gate.open()
        assert desk.settle(5)
        assert desk.flights() == []
        assert urls(desk.entries()) == ["/slow"]


class TestRenewing:
    """A single entry is renewed by its id, and nothing else."""

    @staticmethod
    def stored(desk: Desk) -> dict[str, float]:
        """When each entry was stored, by its id."""
        return {one["id"]: one["stored"] for one in desk.entries()["entries"]}

    def renewed(self, desk: Desk, clock: Clock, id: str) -> set[str]:
        """The ids of what is newer after a refresh of one entry, which is well; none is added."""
        clock.tick(1)
        before = self.stored(desk)
        done = desk.refresh(id=id)
        assert (done["outcome"], done["reason"]) == ("stored", "")
        after = self.stored(desk)
        assert set(after) == set(before)
        return {id for id, at in after.items() if at > before[id]}

    def test_a_variant_that_is_not_in_use(self, app: Flask, desk: Desk, clock: Clock) -> None:
        """It is loaded as what it is a variant of, and the others stay as they are."""
        for one in ("1", "2"):
            ask(app, "/tongue", headers={"X-One": one})
        row = next(one for one in desk.entries()["entries"] if "2" in one["variant"].values())
        assert row["renews"]
        assert self.renewed(desk, clock, row["id"]) == {row["id"]}
        assert ask(app, "/tongue", headers={"X-One": "2"}).text == "2"

    def test_what_keys_say(self, app: Flask, manager: CacheManager, clock: Clock) -> None:
        """Any path, query, value of ``key=`` and mount is in the key: each is renewed by itself."""
        desk = desk_of(manager, app)
        define(app, manager, clock, key=lambda: request.headers.get("X-Plan"))
        for path in ("/page/caf%C3%A9%20%26%25?q=a%26b", "/page/a:b@c", "/"):
            ask(app, path, headers={"X-Plan": "paid"})
            ask(app, path)
        Client(DispatcherMiddleware(Flask("root"), {"/my shop": app.wsgi_app})).get("/my%20shop/")
        rows = desk.entries()["entries"]
        assert len(rows) == 7
        for row in rows:
            assert self.renewed(desk, clock, row["id"]) == {row["id"]}, row["url"]

    def test_hosts(self, clock: Clock) -> None:
        """Where an app routes by host, an entry of any host is renewed, by that host's view."""
        app = Flask("shop", host_matching=True, static_folder=None)
        manager = CacheManager(app, clock=clock, base_url="https://a.example")
        for host in ("a", "b"):
            view = manager.cacher(timeout=60)(lambda host=host: host)
            app.add_url_rule("/x", host, view, host=f"{host}.example")
        for host in ("a", "b"):
            app.test_client().get("/x", base_url=f"https://{host}.example")
        desk = desk_of(manager, app)
        for row in desk.entries()["entries"]:
            assert self.renewed(desk, clock, row["id"]) == {row["id"]}
        manager.close()

    def test_what_needs_its_caller(self, app: Flask, manager: CacheManager, clock: Clock) -> None:
        """What is one person's, or of arguments that nobody has, stays as it is: that is said."""

        @app.get("/s")
        @manager.cacher(timeout=60, scope=lambda: request.headers.get("X-User"))
        def mine() -> str:
            return "mine"

        @manager.memoize(60)
        def price(article: str) -> str:
            return article

        given = manager.cacher(timeout=60)(lambda name: name)
        app.add_url_rule("/given", "given", lambda: given("x"))
        desk = desk_of(manager, app)
        ask(app, "/s", headers={"X-User": "ann"})
        ask(app, "/given")
        with app.app_context():
            price.sync("tea")
        clock.tick(1)
        before = self.stored(desk)
        assert len(before) == 3
        for row in desk.entries()["entries"]:
            assert not row["renews"]
            done = desk.refresh(id=row["id"])
            assert (done["url"], done["outcome"]) == (row["url"], "kept")
            assert done["reason"] == "only its own caller can renew it; purge it"
        assert self.stored(desk) == before
        assert desk.refresh("/s")["outcome"] == "stored", "by its URL it is for nobody"

    def test_a_url_that_reads_more_by_now(self, app: Flask, manager: CacheManager) -> None:
        """What is loaded then lies elsewhere, and the entry is as it was, which is said."""
        more = []

        @app.get("/more")
        @manager.cacher(timeout=60)
        def page() -> str:
            return f"{request.headers.get('X-One')} {more and request.headers.get('X-Two')}"

        desk = desk_of(manager, app)
        ask(app, "/more", headers={"X-One": "1"})
        (row,) = desk.entries()["entries"]
        more.append(True)
        done = desk.refresh(id=row["id"])
        assert (done["outcome"], done["reason"]) == ("stored", ELSEWHERE)
        assert self.stored(desk)[row["id"]] == row["stored"]
        assert desk.entries()["count"] == 2

    def test_what_is_not_there(self, app: Flask, desk: Desk, manager: CacheManager) -> None:
        """An id of nothing, and an entry of a view that is gone, are told apart."""
        assert desk.refresh(id="f" * 32)["outcome"] == "unknown"
        assert desk.refresh(id="f" * 32)["reason"] == "no such entry is stored"
        ask(app, "/")
        (row,) = desk.entries()["entries"]
        app.view_functions["home"] = manager.cacher(timeout=60)(lambda: "x")
        done = desk.refresh(id=row["id"])
        assert (done["outcome"], "by now" in done["reason"]) == ("uncached", True)
        app.view_functions["home"] = lambda: "x"
        assert "is not cached" in desk.refresh(id=row["id"])["reason"]

    def test_a_query_that_is_not_looked_at_any_more(
        self, app: Flask, desk: Desk, manager: CacheManager
    ) -> None:
        """What lies where its view puts nothing by now is not loaded: nobody would be given it."""
        app.add_url_rule("/paged", "paged", manager.cacher(timeout=60, query=[])(lambda: "x"))
        ask(app, "/paged?q=1")
        site = manager.site_of(app)
        (key,) = site.store.variants("/paged")
        assert site.load_at(key) is not None
        with pytest.raises(NoView, match="by now"):
            site.load_at(key._replace(query="q=1"))

    def test_with_urls(self, app: Flask, desk: Desk) -> None:
        """URLs and ids are refreshed together, and told in that order."""
        ask(app, "/tongue", headers={"X-One": "1"})
        (row,) = desk.entries()["entries"]
        done = desk.refresh_all(["/", "/plain"], [row["id"], "0" * 32])
        assert [one["url"] for one in done] == ["/", "/plain", "/tongue", "0" * 32]
        assert [one["outcome"] for one in done] == ["stored", "uncached", "stored", "unknown"]


class TestPurging:
    @pytest.fixture
    def full(self, app: Flask, desk: Desk) -> Desk:
        for path in ("/page/a", "/page/a?q=1", "/page/a?q=2", "/page/b", "/", "/page/caf%C3%A9"):
            ask(app, path)
        return desk

    ALL = ("/", "/page/a", "/page/a?q=1", "/page/a?q=2", "/page/b", "/page/caf%C3%A9")

    @pytest.mark.parametrize(
        ("asked", "done", "left"),
        [
            ({"urls": ["/page/b"]}, ["/page/b"], {"/page/b"}),
            ({"urls": ["/page/a"]}, ["/page/a"], {"/page/a", "/page/a?q=1", "/page/a?q=2"}),
            ({"urls": ["/page/a?q=1"]}, ["/page/a?q=1"], {"/page/a?q=1"}),
            ({"urls": ["https://x.example/page/b"]}, ["https://x.example/page/b"], {"/page/b"}),
            ({"urls": ["/page/café"]}, ["/page/café"], {"/page/caf%C3%A9"}),
            ({"urls": ["/page/caf%C3%A9", "/"]}, ["/page/caf%C3%A9", "/"],
             {"/page/caf%C3%A9", "/"}),
            ({"tags": ["tag /page/b"]}, ["tag tag /page/b"], {"/page/b"}),
            ({"tags": ["all"]}, ["tag all"], set(ALL) - {"/"}),
            ({"everything": True}, ["everything"], set(ALL)),
            ({"urls": ["/nowhere"]}, ["/nowhere"], set()),
            ({"tags": ["nothing"]}, ["tag nothing"], set()),
        ],
        ids=repr,
    )  # fmt: skip
    def test_what_is_purged(
        self, full: Desk, asked: dict[str, Any], done: list[str], left: set[str]
    ) -> None:
        """What it names is gone, and nothing else; what was done is told."""
        assert urls(full.entries()) == sorted(self.ALL)
        told = full.purge(**asked)
        assert (told["purged"], told["stale"]) == (done, False)
        assert told["unknown"] == [name for name in done if name == "/nowhere"]
        assert set(self.ALL) - set(urls(full.entries())) == left

    def test_whom_it_reached(self, full: Desk) -> None:
        """With memory alone nobody can say that other workers purged it: which one did is told."""
        told = full.purge(urls=["/"])
        assert (told["everybody"], told["alone"]) == (False, True)
        assert told["worker"]["pid"] == os.getpid()

    def test_by_id(self, full: Desk) -> None:
        """An entry is purged by the id of its row, with no other; an id of none is told."""
        (row,) = (one for one in full.entries()["entries"] if one["url"] == "/page/a?q=1")
        told = full.purge(ids=[row["id"], row["id"], "0" * 32])
        assert (told["purged"], told["unknown"]) == (["/page/a?q=1"], ["0" * 32])
        assert set(self.ALL) - set(urls(full.entries())) == {"/page/a?q=1"}

    def test_variants_go_together(self, app: Flask, full: Desk) -> None:
        """The id of one variant, or of what a URL is known to read, purges all of the URL."""
        for known in range(2):
            for one in "12":
                ask(app, "/tongue", headers={"X-One": one})
            rows = full.show("/tongue")["entries"]
            assert sorted(row["state"] for row in rows) == ["fresh", "fresh", "note"]
            (id, *_) = (row["id"] for row in rows if (row["state"] == "note") is bool(known))
            assert full.purge(ids=[id])["purged"] == ["/tongue"]
            assert [one for one in urls(full.entries()) if one == "/tongue"] == []

    @pytest.mark.parametrize("stale", [False, True])
    @pytest.mark.parametrize("by", ["id", "url"])
    def test_calls(self, app: Flask, manager: CacheManager, by: str, stale: bool) -> None:
        """A memoized result is purged by its id, and as it is written, and no other is."""

        @manager.memoize(60, refresh_margin=30)
        async def rates(number: int, text: str = "x") -> int:
            return number

        with app.app_context():
            for number in (3, 4):
                asyncio.run(rates(number))
        desk = desk_of(manager, app)
        rows = {row["url"].partition("rates")[2]: row for row in desk.entries()["entries"]}
        assert set(rows) == {"(3, 'x')", "(4, 'x')"}
        told = desk.purge(ids=[rows["(3, 'x')"][by]], stale=stale)
        assert (told["purged"], told["unknown"]) == ([rows["(3, 'x')"]["url"]], [])
        states = {row["url"]: row["state"] for row in desk.entries()["entries"]}
        assert states.pop(rows["(4, 'x')"]["url"]) == "fresh"
        assert list(states.values()) == (["stale"] if stale else [])

    def test_what_nobody_answers(self, full: Desk) -> None:
        """A URL that no cached view answers is told, unless something is stored of it."""
        given = ["/plain", "/page/new", "/nowhere?q=1", "/page/a?q=7", "/"]
        assert full.purge(urls=given)["unknown"] == ["/plain", "/nowhere?q=1"]

    def test_softly(self, full: Desk) -> None:
        """What is softly purged is served while it is renewed."""
        assert full.purge(tags=["all"], stale=True)["stale"] is True
        states = {one["url"]: one["state"] for one in full.entries()["entries"]}
        assert set(states) == set(self.ALL)
        assert [url for url, state in states.items() if state == "fresh"] == ["/"]

    @pytest.mark.parametrize("url", ["relative", "http://["])
    def test_a_bad_url(self, full: Desk, url: str) -> None:
        """It is an error, and then nothing is purged at all."""
        with pytest.raises(ValueError):
            full.purge(urls=["/page/b", url], everything=True)
        assert urls(full.entries()) == sorted(self.ALL)

    def test_what_a_view_takes_of_the_query(self, app: Flask, manager: CacheManager) -> None:
        """A URL is purged by what its view has of it in the key."""
        view = manager.cacher(timeout=60, query=["q"])(lambda: "x")
        app.add_url_rule("/some", "some", view)
        ask(app, "/some?q=1&utm=2")
        desk = desk_of(manager, app)
        assert urls(desk.show("/some?utm=3&q=1")) == ["/some?q=1"]
        desk.purge(urls=["/some?utm=4&q=1"])
        assert desk.entries()["count"] == 0

    def test_a_store_that_is_not_told_of_purges(self, app: Flask, clock: Clock) -> None:
        """Where the shared store does not have it, that is said."""
        manager = CacheManager(app, cache=SimpleMemoryCache(), clock=clock)
        define(app, manager, clock)
        desk = desk_of(manager, app)
        desk.refresh("/")
        desk.settle()
        assert desk.purge(tags=["all"])["everybody"] is False
        manager.close()


class TestLooking:
    def test_entries(self, app: Flask, desk: Desk) -> None:
        """They are counted, limited and sorted as asked; a state that there is not is an error."""
        for name in "abc":
            ask(app, f"/page/{name}")
        found = desk.entries(sort="-url", limit=2)
        assert urls(found) == ["/page/c", "/page/b"]
        assert (found["count"], found["source"]) == (3, "memory")
        assert desk.tags() == ["all", "tag /page/a", "tag /page/b", "tag /page/c"]
        with pytest.raises(ValueError, match="no state"):
            desk.entries(state="old")
        json.dumps(found)

    def test_show(self, app: Flask, desk: Desk) -> None:
        """A path shows every query and variant of it, and what it reads; a URL that one alone."""
        for query in ("", "?q=1"):
            ask(app, f"/page/a{query}")
        ask(app, "/page/ab")
        ask(app, "/tongue", headers={"X-One": "1"})
        assert urls(desk.show("/page/a")) == ["/page/a", "/page/a?q=1"]
        assert urls(desk.show("http://shop.example/page/a?q=1")) == ["/page/a?q=1"]
        assert {one["state"] for one in desk.show("/tongue")["entries"]} == {"fresh", "note"}
        assert urls(desk.show("/nowhere")) == []
        with pytest.raises(ValueError):
            desk.show("relative")

    def test_an_entry_that_was_purged(self, app: Flask, manager: CacheManager, desk: Desk) -> None:
        """The page of an entry that is not there any more tells what purged it, by its path."""
        desk.life.begin(manager.site_of(app).engine.events)
        ask(app, "/page/a?q=1")
        (row,) = desk.entries()["entries"]
        manager.invalidate("/page/b")
        manager.invalidate("/page/a")
        said = desk.entry(row["id"])
        assert (said["entry"], said["source"]) == (None, "memory")
        purged = [one["reason"] for one in said["life"] if one["kind"] == "purged"]
        assert purged == ["/page/a"]

    def test_what_is_left_beside_an_entry(
        self, app: Flask, manager: CacheManager, desk: Desk
    ) -> None:
        """Other variants are found where the note of what their URL reads has made room as well."""
        desk.life.begin(manager.site_of(app).engine.events)
        for value in "12":
            ask(app, "/tongue", headers={"X-One": value})
        store, rows = manager.site_of(app).store, desk.show("/tongue")["entries"]
        gone, left = (one for one in rows if one["state"] != "note")
        for key in store.variants("/tongue"):
            if digest(key) != left["id"]:
                store.discard(key)
        said = desk.entry(gone["id"])
        assert said["entry"] is None
        assert [one["id"] for one in said["beside"]] == [left["id"]]

    def test_a_path_with_a_question_mark(self, app: Flask, desk: Desk) -> None:
        """An encoded one is part of the path, here as in a browser."""
        ask(app, "/page/a%3Fb?q=1")
        assert urls(desk.show("/page/a%3Fb")) == ["/page/a%3Fb?q=1"]
        assert urls(desk.show("/page/a%3Fb?q=1")) == ["/page/a%3Fb?q=1"]
        desk.purge(urls=["/page/a%3Fb?q=1"])
        assert desk.entries()["count"] == 0

    def test_not_all_of_very_many(self, app: Flask, desk: Desk) -> None:
        """Of a path with thousands of queries, which visitors choose, so many are shown."""
        for number in range(MOST_SHOWN + 1):
            ask(app, f"/page/a?q={number}")
        said = desk.show("/page/a")
        assert len(said["entries"]) == MOST_SHOWN
        assert said["partial"] == "of 1,001 entries these are the first 1,000"

    def test_what_is_shown_can_be_asked_for(self, app: Flask, desk: Desk) -> None:
        """The URL of a row is one by which it is shown, refreshed and purged."""
        for path in ("/page/caf%C3%A9%20%26%25?q=a%26b", "/page/a:b@c", "/"):
            ask(app, path)
        for row in desk.entries()["entries"]:
            assert urls(desk.show(row["url"])) == [row["url"]]
            assert desk.refresh(row["url"])["outcome"] == "stored"
            desk.purge(urls=[row["url"]])
            assert urls(desk.show(row["url"])) == []

    def test_stats(self, app: Flask, manager: CacheManager, desk: Desk) -> None:
        """The counters in all and by view are those of the manager."""
        ask(app, "/")
        ask(app, "/")
        shown = desk.stats()
        with app.app_context():
            assert shown["stats"] == manager.stats()
            assert shown["views"] == manager.view_stats()
        assert shown["worker"]["pid"] == os.getpid()
        assert (shown["app"], shown["fleet"]) == ("shop", False)
        json.dumps(shown)

    def test_one_worker(self, desk: Desk) -> None:
        """With memory alone there is this process, as it describes itself."""
        (worker,) = desk.workers()
        assert (worker["here"], worker["pid"]) == (True, os.getpid())
        assert worker["stats"]["hits"] == 0
        json.dumps(worker)

    def test_jobs(self, manager: CacheManager, desk: Desk) -> None:
        """Its own app's jobs, before they begin and after."""
        manager.schedule_periodic_refresh("/page/a", 100)
        (job,) = desk.jobs()
        assert (job["path"], job["interval"], job["next_run"]) == ("/page/a", 100, None)
        manager.start()
        assert desk.jobs()[0]["next_run"] is not None
        json.dumps(desk.jobs())

    def test_routes(self, desk: Desk) -> None:
        """Those of cached views that take no arguments."""
        assert desk.routes() == ["/", "/address", "/tongue"]

    def test_routes_with_defaults(self, app: Flask, desk: Desk, manager: CacheManager) -> None:
        """Nor those whose arguments all have defaults are left out, and each is one to warm."""
        view = manager.cacher(timeout=60)(lambda number, kind="x": f"{number} {kind}")
        app.add_url_rule("/list", "list", view, defaults={"number": 1})
        app.add_url_rule("/list/<int:number>", "list", view)
        app.add_url_rule("/of/<kind>", "of", view, defaults={"number": 1})
        app.add_url_rule("/caf\u00e9", "cafe", manager.cacher(timeout=60)(lambda: "x"))
        assert desk.routes() == ["/", "/address", "/caf%C3%A9", "/list", "/tongue"]
        assert desk.refresh("/list")["outcome"] == "stored"
        assert desk.refresh("/caf%C3%A9")["outcome"] == "stored"

    def test_a_store_that_cannot_be_listed(self, desk: Desk) -> None:
        """Who asks for a list of the shared store where there is none is told so."""
        assert "no shared store" in desk.entries(shared=True)["partial"]
        assert desk.entries()["partial"] == desk.show("/")["partial"] == ""

    def test_about(self, desk: Desk) -> None:
        """It says what runs."""
        assert desk.about()["app"] == "shop"
        json.dumps(desk.about())


class TestMounts:
    @pytest.fixture(params=["APPLICATION_ROOT", "ASWR_BASE_URL"])
    def mounted(self, request: Any, clock: Clock) -> Iterator[tuple[Flask, Desk]]:
        app = Flask("shop")
        root = "https://x.example/my shop" if request.param == "ASWR_BASE_URL" else "/my shop"
        app.config[request.param] = root
        manager = CacheManager(app, clock=clock)
        define(app, manager, clock)
        yield app, desk_of(manager, app)
        manager.close()

    def test_paths(self, mounted: tuple[Flask, Desk]) -> None:
        """Where the app is mounted is part of what a browser shows, and of no path in the app."""
        app, desk = mounted
        root = DispatcherMiddleware(Flask("root"), {"/my shop": app.wsgi_app})
        client = Client(root)
        assert client.get("/my%20shop/page/a").status_code == 200
        (row,) = desk.entries()["entries"]
        assert row["url"] == "/my%20shop/page/a"
        for url in (row["url"], "http://localhost/my%20shop/page/a", "/page/a"):
            assert urls(desk.show(url)) == [row["url"]], url
            assert desk.why(url, {"Host": "localhost"})["verdict"] == "hit", url
        assert desk.refresh(row["url"])["outcome"] == "stored"
        assert desk.entries()["count"] == 1
        desk.purge(urls=[row["url"]])
        assert desk.entries()["count"] == 0
        assert desk.refresh("/my%20shop")["outcome"] == "stored"
        assert urls(desk.entries()) == ["/my%20shop/"]

    def test_an_app_that_does_not_know(self, app: Flask, desk: Desk) -> None:
        """Where only the server knows the mount, entries under it are shown and purged all the
        same."""
        client = Client(DispatcherMiddleware(Flask("root"), {"/shop": app.wsgi_app}))
        client.get("/shop/page/a")
        (row,) = desk.entries()["entries"]
        assert row["url"] == "/shop/page/a"
        assert urls(desk.show(row["url"])) == [row["url"]]
        desk.purge(urls=[row["url"]])
        assert desk.entries()["count"] == 0

    def test_many_of_them(self, app: Flask, desk: Desk) -> None:
        """Where one entry told of a mount, URLs below it are known by it, stored or not."""
        client = Client(DispatcherMiddleware(Flask("root"), {"/shop": app.wsgi_app}))
        client.get("/shop/page/a")
        desk.purge(everything=True)
        assert desk.refresh("/shop/page/new")["outcome"] == "stored"
        (row,) = desk.entries()["entries"]
        assert row["path"] == "/page/new"

    def test_hosts(self, clock: Clock) -> None:
        """Where an app routes by host, the URL of a row has its host, and is asked by that."""
        app = Flask("shop", host_matching=True, static_folder=None)
        manager = CacheManager(app, clock=clock, base_url="https://a.example")
        view = manager.cacher(timeout=60)(lambda: "x")
        for host in ("a", "b"):
            app.add_url_rule("/x", host, view, host=f"{host}.example")
        app.add_url_rule("/only", "only", view, host="b.example")
        client, desk = app.test_client(), desk_of(manager, app)
        for host in ("a", "b"):
            client.get("/x", base_url=f"https://{host}.example")
        assert urls(desk.entries()) == ["//a.example/x", "//b.example/x"]
        for row in desk.entries()["entries"]:
            assert desk.why(row["url"])["verdict"] == "hit"
        desk.purge(urls=["//b.example/x"])
        assert desk.entries()["count"] == 0, "a path is purged on every host"
        client.get("/only", base_url="https://b.example")
        assert desk.purge(urls=["//b.example/only"])["unknown"] == []
        assert desk.purge(urls=["//b.example/other"])["unknown"] == ["//b.example/other"]
        manager.close()


class TestApps:
    def test_two_apps(self, clock: Clock) -> None:
        """Each app has a desk of its own, which shows and does nothing of the other's."""
        manager = CacheManager(clock=clock)
        apps = [Flask("one"), Flask("two")]
        for app in apps:
            manager.init_app(app)
            app.add_url_rule("/", "home", manager.cacher(timeout=60)(lambda: "x"))
        desks = [desk_of(manager, app) for app in apps]
        assert desk_of(manager, apps[0]) is desks[0] is not desks[1]
        for desk in desks:
            assert desk.refresh("/")["outcome"] == "stored"
        desks[0].purge(everything=True)
        assert [desk.entries()["count"] for desk in desks] == [0, 1]
        assert [desk.stats()["stats"]["loads"] for desk in desks] == [1, 1]
        with apps[0].app_context():
            manager.schedule_periodic_refresh("/", 100)
        assert [len(desk.jobs()) for desk in desks] == [1, 0]
        manager.close()

    def test_somebody_elses_app(self, manager: CacheManager) -> None:
        """An app that is not the manager's has no desk there."""
        with pytest.raises(RuntimeError, match="not this manager's"):
            desk_of(manager, Flask("other"))

    def test_before_any_request(self, desk: Desk, manager: CacheManager) -> None:
        """Looking at what is not there yet starts nothing; what needs the loop starts it."""
        assert desk.entries()["entries"] == desk.flights() == desk.jobs() == []
        assert desk.show("/")["entries"] == []
        assert desk.stats()["stats"]["entries"] == 0
        assert desk.latest() == []
        assert desk.workers()
        assert desk.settle(1)
        assert desk.purge(everything=True)["purged"] == ["everything"]
        assert manager._runtime is None
        assert desk.doctor()
        assert desk.why("/")["rendered"]

    def test_closed(self, app: Flask, manager: CacheManager, desk: Desk) -> None:
        """After `close` all questions are answered, and none starts the loop."""
        desk.refresh("/")
        manager.close()
        assert urls(desk.entries()) == ["/"]
        done = desk.refresh("/page/a")
        assert (done["outcome"], done["reason"]) == ("pass", "closed")
        assert desk.why("/page/a")["verdict"] == "pass"
        (line,) = [one for one in desk.doctor() if one["name"] == "loop"]
        assert line["state"] == "warning"
        assert "manager.start()" in line["cure"]
        assert desk.workers()
        assert desk.settle(1)
        assert desk.purge(urls=["/"])["purged"] == ["/"]
        assert desk.entries()["count"] == 0
        assert manager._runtime is None

    def test_closed_with_a_shared_store(self, app: Flask, clock: Clock) -> None:
        """Nor does one that would list a shared store."""
        manager = CacheManager(app, cache="redis://127.0.0.1:1", clock=clock)
        define(app, manager, clock)
        desk = desk_of(manager, app)
        ask(app, "/")
        manager.close()
        assert desk.entries(shared=True)["entries"] == []
        assert "closed" in desk.entries(shared=True)["partial"]
        assert [one["silent"] for one in desk.workers()] == [True]
        assert desk.show("/")["entries"]
        assert "closed" in desk.show("/")["partial"]
        assert desk.why("/page/a")["verdict"] == "pass"
        assert not desk.store_answers(0)
        assert desk.doctor()
        assert manager._runtime is None

    def test_switched_off(self, app: Flask, clock: Clock) -> None:
        """A cache that is off is said to be; nothing is loaded or stored."""
        app.config["ASWR_ENABLED"] = False
        manager = CacheManager(app, clock=clock)
        define(app, manager, clock)
        desk = desk_of(manager, app)
        done = desk.refresh("/")
        assert (done["outcome"], done["reason"]) == ("pass", OFF)
        assert desk.refresh(id="f" * 32)["reason"] == OFF
        assert desk.load("/", force=False, why="warm")["reason"] == OFF
        told = desk.purge(urls=["/"], everything=True)
        assert (told["purged"], told["reason"]) == ([], OFF)
        assert desk.entries()["entries"] == desk.show("/")["entries"] == []
        assert desk.stats()["stats"]["loads"] == 0
        assert any("switched off" in line["found"] for line in desk.doctor())
        assert desk.workers()
        assert manager._runtime is None or manager.close() is None

    @pytest.mark.parametrize(
        "call",
        [
            lambda desk: desk.refresh("/"),
            lambda desk: desk.load("/", force=True, why="warm"),
            lambda desk: desk.purge(everything=True),
            lambda desk: desk.why("/"),
            lambda desk: desk.doctor(),
            lambda desk: desk.settle(1),
        ],
    )
    def test_on_the_loop(
        self, manager: CacheManager, desk: Desk, call: Callable[[Desk], Any]
    ) -> None:
        """On aswr's own loop what waits would wait for itself: the error says what to write."""
        desk.refresh("/")

        async def ask() -> None:
            with pytest.raises(RuntimeError, match="asyncio.to_thread"):
                call(desk)

        manager.loop().submit(ask, "test").result(5)
        assert desk.entries()["count"] == 1, "nothing was done"

    def test_many_at_once(self, app: Flask, desk: Desk) -> None:
        """Operators who look while visitors load see what is there, and no errors."""

        def look() -> None:
            for _ in range(20):
                desk.entries(), desk.stats(), desk.flights(), desk.tags(), desk.workers()

        looking = [Background(look) for _ in range(3)]
        for index in range(60):
            ask(app, f"/page/{index}")
        for one in looking:
            one.result()
        assert desk.entries()["count"] == 60


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/a", "/a"), ("/a?b=1#c", "/a?b=1"), ("https://x.example/a?b", "/a?b"), ("", "/"),
        ("https://x.example", "/"), ("https://x.example?b=1", "/?b=1"), ("//x.example/a", "/a"),
    ],
)  # fmt: skip
def test_local(url: str, path: str) -> None:
    """Of a URL path and query count."""
    assert local(url) == path


def test_it_may_be_asked_from_async_code(manager: CacheManager, desk: Desk) -> None:
    """On a loop of one's own, on a thread, as the error says."""
    assert asyncio.run(asyncio.to_thread(desk.refresh, "/"))["outcome"] == "stored"
