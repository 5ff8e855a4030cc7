"""The extension: registration, verbs, jobs, life cycle, and errors that name the cure."""

import asyncio
import gc
import threading
import warnings
import weakref

import aiocache
import flask
import pytest
from flask import Blueprint, Flask, g

from aswr import CacheManager
from aswr.memory import MemoryCache


@pytest.fixture
def counted(app, manager):
    """A cached view at /x/<name> whose answers tell the number of their render."""
    renders = []

    @app.route("/x/<name>")
    @manager.cacher(timeout=100, refresh_margin=50, tags=("pages",))
    async def counted(name):
        renders.append(name)
        return str(len(renders))

    return counted


class TestRegistration:
    def test_a_second_manager_is_refused(self, app, manager):
        """One app has one manager."""
        with pytest.raises(RuntimeError, match=r"already has a CacheManager.*extensions"):
            CacheManager(app)

    def test_registering_twice_is_refused(self, app, manager):
        """init_app is called once for an app."""
        with pytest.raises(RuntimeError, match="call init_app once"):
            manager.init_app(app)

    def test_the_manager_is_in_the_apps_extensions(self, app, manager):
        """app.extensions['aswr'] is the manager."""
        assert app.extensions["aswr"] is manager

    def test_decorate_first_init_later(self, clock):
        """Views are decorated at import, before there is an app."""
        manager = CacheManager(clock=clock)
        pages = Blueprint("pages", __name__)

        @pages.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return "x"

        app = Flask("late")
        manager.init_app(app)
        app.register_blueprint(pages)
        client = app.test_client()
        client.get("/x")
        assert "hit" in client.get("/x").headers["Cache-Status"]
        manager.close()

    def test_an_app_without_its_manager_says_so(self, clock):
        """Serving a cached view in an app that was not registered names init_app."""
        manager = CacheManager(clock=clock)
        app = Flask("forgotten")
        app.testing = True

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return "x"

        with pytest.raises(RuntimeError, match="init_app"):
            app.test_client().get("/x")

    def test_apps_have_their_own_entries(self, clock):
        """One manager serves many apps, and none sees another's entries."""
        manager = CacheManager(clock=clock)

        def view():
            return flask.current_app.name

        cached = manager.cacher(timeout=20)(view)
        apps = [Flask("a"), Flask("b")]
        for app in apps:
            manager.init_app(app)
            app.add_url_rule("/x", view_func=cached)
        assert [app.test_client().get("/x").text for app in apps * 2] == ["a", "b", "a", "b"]
        with pytest.raises(RuntimeError, match=r"2 apps.*app_context"):
            manager.peek("/x")
        with apps[0].app_context():
            assert manager.peek("/x").value.body == b"a"
        manager.close()

    def test_apps_are_held_weakly(self, clock):
        """An app that is dropped is collected, with its entries."""
        manager = CacheManager(clock=clock)
        app = Flask("gone")
        manager.init_app(app)

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return "x"

        app.test_client().get("/x")
        assert manager.join(5)
        manager.close()
        gone = weakref.ref(app)
        del app, view
        for _ in range(3):
            gc.collect()
        assert gone() is None, "the manager's list of views holds no app"
        with pytest.raises(RuntimeError, match="init_app"):
            manager.stats()

    def test_config_is_read_in_init_app(self):
        """ASWR_ keys hold the defaults of constructor and decorators; a typo is an error."""
        app = Flask("shop")
        app.config.update(ASWR_MAX_BYTES=1_000_000, ASWR_STALE_IF_ERROR=60)
        manager = CacheManager(app)
        assert manager.stats()["max_bytes"] == 1_000_000
        other = Flask("typo")
        other.config["ASWR_MAXBYTES"] = 1
        with pytest.raises(ValueError, match="ASWR_MAX_BYTES"):
            CacheManager(other)
        bad = Flask("bad")
        bad.config["ASWR_BASE_URL"] = "example.com"
        with pytest.raises(ValueError, match="https://example.com"):
            CacheManager(bad)

    @pytest.mark.parametrize("cache", ["object", "factory", "class", "ours"])
    def test_an_aiocache_cache_behind(self, clock, cache):
        """A user's aiocache object, or a factory of one, holds the entries too."""
        backend = aiocache.SimpleMemoryCache()
        given = {
            "object": backend,
            "factory": lambda: backend,
            "class": aiocache.SimpleMemoryCache,
            "ours": MemoryCache(max_bytes=100_000),
        }[cache]
        app = Flask("shop")
        manager = CacheManager(app, given, clock=clock)
        renders = []

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            renders.append(1)
            return str(len(renders))

        client = app.test_client()
        assert [client.get("/x").text for _ in range(2)] == ["1", "1"]
        assert manager.join(5)
        if cache in ("object", "factory"):
            assert len(backend._cache) == 1
        manager.clear()
        assert client.get("/x").text == "2"
        manager.invalidate("/x")
        assert client.get("/x").text == "3"
        manager.close()

    def test_an_entry_of_the_backend_is_adopted_without_a_load(self, clock):
        """What the backend still holds is served without a load when memory lost it."""
        backend = aiocache.SimpleMemoryCache()
        renders = []

        def make():
            app = Flask("shop")
            manager = CacheManager(app, backend, clock=clock)

            @app.route("/x")
            @manager.cacher(timeout=20)
            async def view():
                renders.append(1)
                return "x"

            return app, manager

        app, manager = make()
        app.test_client().get("/x")
        assert manager.join(5)
        manager.close()
        again, second = make()
        response = again.test_client().get("/x")
        assert response.text == "x"
        assert response.headers["Cache-Status"].startswith("aswr; hit")
        assert len(renders) == 1
        second.close()

    def test_a_bad_cache_is_refused(self, app):
        """What is no cache is refused with an example of one."""
        with pytest.raises(TypeError, match="got a int; write .*cache='redis://localhost'"):
            CacheManager(app, cache=3)

    def test_a_view_of_each_app_follows_its_config(self, clock):
        """One view ignores in each app what that app's config says."""
        manager = CacheManager(clock=clock)
        view = manager.cacher(timeout=20)(lambda: flask.request.headers.get("User-Agent", "none"))
        apps = [Flask("plain"), Flask("blind")]
        apps[1].config["ASWR_IGNORE"] = ["User-Agent"]
        for app in apps:
            manager.init_app(app)
            app.add_url_rule("/x", view_func=view)
        agent = {"User-Agent": "curl"}
        assert [app.test_client().get("/x", headers=agent).text for app in apps] == ["curl", "none"]
        manager.close()


class TestVerbs:
    def test_invalidate_covers_every_query_of_a_path(self, app, manager, counted):
        """'/x/a' covers all its queries, '/x/a?q=1' that URL alone, in any spelling."""
        client = app.test_client()
        for url in ("/x/a", "/x/a?q=1", "/x/a?q=2", "/x/b"):
            client.get(url)
        manager.invalidate("/x/a?q=1")
        assert manager.peek("/x/a?q=1") is None
        assert manager.peek("/x/a") is not None
        manager.invalidate("/x/a")
        assert manager.peek("/x/a?q=2") is None
        assert manager.peek("/x/b") is not None
        assert manager.stats()["entries"] == 1

    def test_invalidate_tags_and_clear(self, app, manager, counted):
        """A purged tag takes its entries at once; clear takes all."""
        client = app.test_client()
        client.get("/x/a")
        manager.invalidate_tags("other")
        assert manager.peek("/x/a") is not None
        manager.invalidate_tags("pages")
        assert manager.peek("/x/a") is None
        assert client.get("/x/a").text == "2"
        manager.clear()
        assert manager.peek("/x/a") is None
        assert manager.stats()["entries"] == 0

    @pytest.mark.parametrize("verb", ["invalidate", "invalidate_tags", "clear", "view", "call"])
    @pytest.mark.parametrize("twin", [False, True], ids=["blocking", "awaited"])
    def test_purges_say_whether_the_shared_store_has_them(self, clock, verb, twin):
        """True where it has, or none is shared; False where it fails or cannot be told.

        In this process a purge holds either way.
        """

        class Down(aiocache.SimpleMemoryCache):
            async def _get(self, *args, **kwargs):
                raise OSError("down")

            _set = _delete = _get

        def purged(source, close):
            app = Flask("shop")
            manager = CacheManager(app, source, clock=clock)

            @app.route("/x")
            @manager.cacher(timeout=100, tags=("pages",))
            async def view():
                return "x"

            @manager.memoize(timeout=100)
            def call():
                return 1

            app.test_client().get("/x")
            call.sync()
            assert manager.join(5)
            if close:
                manager.close()
            owner, name, arguments = {
                "invalidate": (manager, "invalidate", ["/x"]),
                "invalidate_tags": (manager, "invalidate_tags", ["pages"]),
                "clear": (manager, "clear", []),
                "view": (view, "invalidate", []),
                "call": (call, "invalidate", []),
            }[verb]
            method = getattr(owner, f"a{name}" if twin else name)
            told = asyncio.run(method(*arguments)) if twin else method(*arguments)
            assert (call.peek() if verb == "call" else manager.peek("/x")) is None
            manager.close()
            return told

        assert purged(None, False) is True
        assert purged(None, True) is True
        knows = verb == "call"  # all keys that it concerns
        assert purged(aiocache.SimpleMemoryCache(), False) is knows
        assert purged(aiocache.SimpleMemoryCache(), True) is False
        assert purged(Down(), False) is False

    def test_a_purge_where_the_cache_is_off(self, app):
        """There is nothing that anybody has not."""
        app.config["ASWR_ENABLED"] = False
        manager = CacheManager(app, aiocache.SimpleMemoryCache())
        assert manager.invalidate("/x") is manager.clear(stale=True) is True
        assert manager.invalidate_tags("pages") is asyncio.run(manager.aclear()) is True

    @pytest.mark.parametrize("twin", [False, True], ids=["blocking", "awaited"])
    @pytest.mark.parametrize("verb", ["invalidate", "invalidate_tags", "clear"])
    def test_a_stale_purge_serves_once_more(self, app, manager, counted, verb, twin):
        """With stale=True what is stored answers once more, at once, while it is renewed."""
        client = app.test_client()
        client.get("/x/a")
        client.get("/x/b")
        arguments = {"invalidate": ["/x/a"], "invalidate_tags": ["pages"], "clear": []}[verb]
        if twin:
            assert asyncio.run(getattr(manager, f"a{verb}")(*arguments, stale=True))
        else:
            assert getattr(manager, verb)(*arguments, stale=True)
        stale = client.get("/x/a")
        assert (stale.text, stale.headers["Cache-Status"].split(";")[1]) == ("1", " hit")
        assert manager.join(5)
        assert client.get("/x/a").text == "3"
        assert manager.stats()["loads"] == 3, "it is fresh again, and nothing else was loaded"
        other = manager.peek("/x/b")
        assert (other.fresh_until == other.stored) is (verb != "invalidate")

    def test_a_load_from_before_a_purge_never_publishes(self, app, manager, gate, background):
        """Who asked before gets the old result, who asks after a newer one (invariant 5)."""
        renders = []

        @app.route("/x")
        @manager.cacher(timeout=100)
        def view():
            renders.append(1)
            number = len(renders)
            if number == 1:
                gate.hold()
            return str(number)

        before = background(lambda: app.test_client().get("/x").text)
        gate.await_arrival()
        manager.invalidate("/x")
        after = background(lambda: app.test_client().get("/x").text)
        while manager.stats()["waiting"] < 2:
            pass
        gate.open()
        assert (before.result(), after.result()) == ("1", "2")
        assert manager.peek("/x").value.body == b"2"

    def test_refresh_loads_and_returns_the_entry(self, app, manager, counted):
        """refresh loads the plain URL, fresh or not, and its other queries that were hit."""
        client = app.test_client()
        for url in ("/x/a", "/x/a?q=1", "/x/a?q=2", "/x/a?q=1"):
            client.get(url)
        entry = manager.refresh("/x/a")
        assert entry == manager.peek("/x/a")
        assert manager.join(5)
        assert client.get("/x/a?q=2").text == "3"
        assert client.get("/x/a?q=1").text in ("4", "5")

    def test_refresh_raises_what_the_load_raises(self, app, manager):
        """A failing refresh is raised to who asked for it."""

        @app.route("/x")
        @manager.cacher(timeout=100)
        async def view():
            raise KeyError("k")

        with pytest.raises(KeyError):
            manager.refresh("/x")

    def test_a_views_own_verbs_take_its_arguments(self, app, manager, counted):
        """view.invalidate and view.refresh name the URL by the view's arguments."""
        client = app.test_client()
        client.get("/x/a")
        client.get("/x/b")
        counted.invalidate(name="a")
        assert manager.peek("/x/a") is None
        assert manager.peek("/x/b") is not None
        assert counted.refresh(name="a").value.body == b"3"

        async def main():
            await counted.ainvalidate(name="a")
            assert manager.peek("/x/a") is None
            assert (await counted.arefresh(name="a")).value.body == b"4"

        asyncio.run(main())

    def test_a_views_verbs_reach_every_route_of_it(self, app, manager):
        """A view with two routes is purged under both; arguments that fit no route are an error."""
        renders = []

        @app.route("/a/<int:n>")
        @app.route("/b/<int:n>")
        @manager.cacher(timeout=100)
        async def view(n):
            renders.append(n)
            return str(n)

        client = app.test_client()
        for url in ("/a/1", "/b/1", "/a/2"):
            client.get(url)
        view.invalidate(n=1)
        assert manager.peek("/a/1") is None
        assert manager.peek("/b/1") is None
        assert manager.peek("/a/2") is not None
        with pytest.raises(ValueError, match="take n, got year"):
            view.invalidate(year=1)

    def test_tags_that_are_no_names(self, manager):
        """A list of tags is refused with the form to write."""
        with pytest.raises(TypeError, match="invalidate_tags"):
            manager.invalidate_tags(["a", "b"])

    def test_the_twins_work_in_async_code(self, app, manager, counted):
        """arefresh, ainvalidate, ainvalidate_tags and aclear do in async code what theirs do."""

        async def main():
            assert (await manager.arefresh("/x/a")).value.body == b"1"
            await manager.ainvalidate("/x/a")
            assert manager.peek("/x/a") is None
            await manager.arefresh("/x/a")
            await manager.ainvalidate_tags("pages")
            assert manager.peek("/x/a") is None
            await manager.arefresh("/x/a")
            await manager.aclear()
            assert manager.peek("/x/a") is None

        asyncio.run(main())

    def test_blocking_verbs_on_aswrs_loop_name_their_twin(self, app, manager, counted):
        """A blocking verb in a cached async view raises with the twin to await."""

        @app.route("/verbs")
        @manager.cacher(timeout=100)
        async def verbs():
            for verb in (
                lambda: manager.invalidate("/x/a"),
                lambda: manager.refresh("/x/a"),
                lambda: manager.invalidate_tags("t"),
                manager.clear,
            ):
                with pytest.raises(RuntimeError, match=r"await manager\.a"):
                    verb()
            await manager.ainvalidate("/x/a")
            return "ok"

        assert app.test_client().get("/verbs").text == "ok"

    @pytest.mark.parametrize(
        ("path", "words"),
        [
            ("x", "starts with '/'"),
            ("http://host/x", "starts with '/'"),
            ("/none", "no route matches"),
            ("/plain", "not cached"),
            ("/post", "does not take GET"),
            ("/slash", "redirects to"),
        ],
    )
    def test_paths_that_cannot_be_refreshed(self, app, manager, path, words):
        """A path that no cached view answers is an error that says why."""
        app.add_url_rule("/plain", "plain", lambda: "x")
        app.add_url_rule("/post", "post", manager.cacher(5)(lambda: "x"), methods=["POST"])
        app.add_url_rule("/slash/", "slash", manager.cacher(5)(lambda: "x"))
        with pytest.raises(ValueError, match=words):
            manager.refresh(path)

    def test_stats_of_a_shared_store(self, clock):
        """Its errors are counted where one is shared, from the first time that it is needed."""
        manager = CacheManager(app := Flask("shop"), aiocache.SimpleMemoryCache(), clock=clock)
        manager.memoize(timeout=5)(lambda: 1).sync()
        assert manager.join(5)
        assert app.extensions["aswr"].stats()["store_errors"] == 0
        manager.close()

    def test_stats_are_plain_numbers(self, app, manager, counted):
        """stats() is a dict of counters and sizes."""
        client = app.test_client()
        client.get("/x/a")
        client.get("/x/a")
        stats = manager.stats()
        assert (stats["hits"], stats["misses"], stats["loads"], stats["entries"]) == (1, 1, 1, 1)
        assert 0 < stats["bytes"] < stats["max_bytes"]


class TestJobs:
    def test_a_job_loads_and_keeps_loading(self, app, manager, clock):
        """A job's first tick is at once; the job's compute_func serves the path's own key."""
        loaded = threading.Semaphore(0)

        def compute(name):
            loaded.release()
            return f"job {name}"

        @app.route("/x/<name>")
        @manager.cacher(timeout=100)
        async def view(name):
            return "view"

        manager.schedule_periodic_refresh("/x/a", interval=0.05, compute_func=compute)
        manager.start()
        for _ in range(3):
            assert loaded.acquire(timeout=10)
        assert app.test_client().get("/x/a").text == "job a"
        job = manager.jobs()[0]
        assert (job.app, job.path, job.interval, job.error) == ("shop", "/x/a", 0.05, "")
        assert job.ticks >= 3
        assert job.next_run is not None

    def test_starting_twice_loads_once(self, app, manager, clock):
        """start is idempotent: jobs that tick already are left to their interval."""
        loaded = threading.Semaphore(0)

        @app.route("/x")
        @manager.cacher(timeout=100)
        async def view():
            loaded.release()
            return "x"

        manager.schedule_periodic_refresh("/x", 50)
        manager.start()
        assert loaded.acquire(timeout=10)
        manager.start()
        manager.start()
        assert manager.join(5)
        assert manager.jobs()[0].ticks == 1
        manager.close()
        manager.start()
        assert loaded.acquire(timeout=10), "a closed manager that is started again ticks again"

    def test_scheduling_again_replaces(self, app, manager, counted):
        """One path has one job."""
        manager.schedule_periodic_refresh("/x/a", 50)
        manager.schedule_periodic_refresh("/x/a", 60)
        assert [job.interval for job in manager.jobs()] == [60]

    def test_jobs_from_before_init_app_go_to_every_app(self, clock):
        """What is scheduled before there is an app is every app's."""
        manager = CacheManager(clock=clock)
        view = manager.cacher(timeout=100)(lambda: "x")
        manager.schedule_periodic_refresh("/x", 50)
        apps = [Flask("a"), Flask("b")]
        for app in apps:
            manager.init_app(app)
            app.add_url_rule("/x", "x", view)
        assert [job.app for job in manager.jobs()] == ["a", "b"]

    def test_every_apps_first_request_starts_its_jobs(self, clock):
        """A second app of the manager has its jobs started, too."""
        manager = CacheManager(clock=clock)
        loaded = threading.Semaphore(0)

        @manager.cacher(timeout=100)
        def view():
            loaded.release()
            return "x"

        manager.schedule_periodic_refresh("/x", 50)
        for name in ("a", "b"):
            app = Flask(name)
            manager.init_app(app)
            app.add_url_rule("/x", "x", view)
            app.test_client().get("/nowhere")
            assert loaded.acquire(timeout=10)
        manager.close()

    def test_the_first_request_starts_the_jobs(self, app, manager):
        """Where no server hook starts them, jobs start with the first request."""
        loaded = threading.Event()

        @app.route("/x")
        @manager.cacher(timeout=100)
        async def view():
            loaded.set()
            return "x"

        manager.schedule_periodic_refresh("/x", 50)
        app.test_client().get("/nowhere")
        assert loaded.wait(10)

    @pytest.mark.parametrize(
        ("path", "words"), [("/none", "no route matches"), ("/post", "does not take GET")]
    )
    def test_path_errors_come_when_the_app_serves(self, app, manager, path, words):
        """A job's path is checked by start(), since blueprints may come later."""
        app.add_url_rule("/post", "post", manager.cacher(5)(lambda: "x"), methods=["POST"])
        manager.schedule_periodic_refresh(path, 5)
        with pytest.raises(ValueError, match=words):
            manager.start()

    def test_an_interval_beyond_the_timeout_is_warned_of(self, app, manager, counted, caplog):
        """A job whose interval is not below its entry's timeout gets a warning."""
        manager.schedule_periodic_refresh("/x/a", 100)
        manager.start()
        assert "shorter than timeout" in caplog.text

    def test_a_job_whose_view_passes_says_so(self, app, manager):
        """A job of a view that reads the address shows that nothing is stored, and why."""
        ran = threading.Semaphore(0)

        @app.route("/x")
        @manager.cacher(timeout=100)
        async def view():
            _ = flask.request.remote_addr
            ran.release()
            return "x"

        manager.schedule_periodic_refresh("/x", 50)
        manager.start()
        assert ran.acquire(timeout=10)
        assert manager.join(5)
        assert manager.jobs()[0].error == "not stored: reads remote address"

    def test_a_job_that_cannot_run_is_logged_once(self, app, manager, caplog):
        """Started by the first request a bad job is one log line, and no failed request."""
        manager.schedule_periodic_refresh("/none", 50)
        client = app.test_client()
        assert client.get("/nowhere").status_code == 404
        manager.start_unasked()
        lines = [r for r in caplog.records if "no route matches '/none'" in r.getMessage()]
        assert len(lines) == 1

    def test_jobs_run_as_nobody(self, app, manager):
        """A job scheduled in a request runs in nobody's context (invariant 11)."""
        import contextvars

        user = contextvars.ContextVar("user", default="nobody")
        seen = []
        ran = threading.Event()

        def compute():
            seen.append((user.get(), g.get("user")))
            ran.set()
            return "x"

        @app.route("/x")
        @manager.cacher(timeout=100)
        async def view():
            return "x"

        @app.route("/schedule")
        def schedule():
            g.user = "ann"
            user.set("ann")
            manager.schedule_periodic_refresh("/x", 50, compute)
            manager.start()
            return "ok"

        app.test_client().get("/schedule")
        assert ran.wait(10)
        assert seen == [("nobody", None)]


class TestLifeCycle:
    def test_nothing_starts_before_the_first_miss(self, clock):
        """Import, decoration and init_app start no thread."""
        before = set(threading.enumerate())
        app = Flask("shop")
        manager = CacheManager(app, clock=clock)
        manager.cacher(timeout=20)(lambda: "x")
        assert set(threading.enumerate()) <= before
        manager.close()

    def test_close_is_idempotent_and_leaves_hits(self, app, manager, counted):
        """After close stored answers are served, the rest passes; start opens again."""
        client = app.test_client()
        client.get("/x/a")
        manager.close()
        manager.close()
        assert "hit" in client.get("/x/a").headers["Cache-Status"]
        assert client.get("/x/b").headers["Cache-Status"] == "aswr; fwd=bypass; detail=closed"
        assert not [t for t in threading.enumerate() if t.name == "aswr-loop"]
        manager.start()
        assert client.get("/x/c").headers["Cache-Status"] == "aswr; fwd=uri-miss; stored"

    def test_forgetting_to_close_is_a_resource_warning(self, clock):
        """A running manager that is collected says what was forgotten, and ends its thread."""
        app = Flask("shop")
        manager = CacheManager(app, clock=clock)
        manager.memoize(timeout=5)(lambda: 1).sync()
        assert manager.join(5)
        gone = threading.Event()
        weakref.finalize(manager, gone.set)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del app, manager
            for _ in range(500):  # a thread may still be letting go of the last load
                gc.collect()
                if gone.wait(0.02):
                    break
        assert any("close()" in str(w.message) for w in caught if w.category is ResourceWarning)

    def test_close_waits_for_loads_until_the_deadline(self, app, manager, gate, background):
        """Loads in progress have until the deadline; then close returns all the same."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        def view():
            gate.hold()
            return "x"

        call = background(lambda: app.test_client().get("/x").status_code)
        gate.await_arrival()
        manager.close(timeout=0.05)
        assert call.result() == 503

    def test_close_with_a_held_loop_leaves_nothing_behind(self, app, manager, gate, background):
        """Where user code holds the loop, close gives up; start begins anew, with a new loop."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            gate.hold()  # blocks the loop
            return "x"

        call = background(lambda: app.test_client().get("/x").status_code)
        gate.await_arrival()
        held = next(t for t in threading.enumerate() if t.name == "aswr-loop")
        manager.close(timeout=0)
        assert call.result() == 503
        assert manager.stats()["flights"] == 0
        gate.open()
        held.join(10)
        assert manager.stats()["load_failures"] == 0, "what was given up does not land"
        manager.start()
        response = app.test_client().get("/x")
        assert response.headers["Cache-Status"] == "aswr; fwd=uri-miss; stored"

    def test_close_waits_for_passing_views(self, app, manager, gate, background):
        """A view that passes is a request under way: the drain lets it end."""

        @app.route("/x", methods=["POST"])
        @manager.cacher(timeout=20)
        async def view():
            await gate.ahold()
            return "done"

        call = background(lambda: app.test_client().post("/x").text)
        gate.await_arrival()
        closing = background(lambda: manager.close(timeout=5))
        assert not closing.ends_within(0.3)
        gate.open()
        closing.result()
        assert call.result() == "done"

    def test_bad_durations(self, manager):
        """close and join take seconds or a timedelta, not text and not less than nothing."""
        with pytest.raises(TypeError, match="timedelta"):
            manager.close("5")
        with pytest.raises(ValueError, match="zero or more"):
            manager.close(-5)

    def test_join_says_whether_all_is_over(self, app, manager, gate, background):
        """join waits for every load, and is False when its time came first."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        def view():
            gate.hold()
            return "x"

        call = background(lambda: app.test_client().get("/x").text)
        gate.await_arrival()
        assert manager.join(0.01) is False
        gate.open()
        assert manager.join(5) is True
        assert call.result() == "x"


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"timeout": 0}, "more than zero"),
            ({"timeout": -1}, "more than zero"),
            ({"timeout": "60"}, "timedelta"),
            ({"timeout": 10, "refresh_margin": 10}, "below timeout"),
            ({"timeout": 10, "jitter": 0.6}, "0 to 0.5"),
            ({"timeout": 10, "statuses": {500: 3}}, "stale_if_error"),
            ({"timeout": 10, "tags": "a"}, r"\('a',\)"),
            ({"timeout": 10, "public": True, "scope": lambda: 1}, "public=True and scope"),
            ({"timeout": 10, "query": "page"}, r"query=\['page'\]"),
            ({"jitter": 0.1}, "timeout=60"),
        ],
    )
    def test_bad_options(self, manager, arguments, words):
        """A bad option is an error at decoration that says what to write."""
        with pytest.raises((TypeError, ValueError), match=words):
            manager.cacher(**arguments)

    def test_bare_decorators(self, manager):
        """@manager.cacher without parentheses says so, and so does memoize."""
        for decorator in ("cacher", "memoize"):
            with pytest.raises(TypeError, match=rf"@manager\.{decorator}\(timeout=60\)"):
                getattr(manager, decorator)(lambda: "x")

    def test_classes_and_generators(self, manager):
        """A class and a generator function cannot be decorated, and the text says what can."""

        class Page:
            pass

        def generate():
            yield "x"

        with pytest.raises(TypeError, match="decorators = "):
            manager.cacher(5)(Page)
        with pytest.raises(TypeError, match="generator"):
            manager.cacher(5)(generate)

    def test_cacher_above_route(self, app, manager):
        """@manager.cacher above @app.route is found at decoration."""
        with pytest.raises(RuntimeError, match="put @app.route"):

            @manager.cacher(5)
            @app.route("/x")
            async def view():
                return "x"

    def test_cacher_above_a_blueprints_route(self, app, manager):
        """@manager.cacher above @blueprint.route is found when the app serves."""
        pages = Blueprint("pages", __name__)

        @manager.cacher(5)
        @pages.route("/x")
        async def view():
            return "x"

        app.register_blueprint(pages)
        app.testing = True
        with pytest.raises(RuntimeError, match="put @app.route"):
            app.test_client().get("/x")

    @pytest.mark.parametrize(
        ("path", "interval", "words"),
        [("x", 5, "starts with"), ("/x", 0, "more than zero"), ("/x", "5", "timedelta")],
    )
    def test_bad_jobs(self, manager, path, interval, words):
        """A job's path and interval are checked when it is scheduled."""
        with pytest.raises((TypeError, ValueError), match=words):
            manager.schedule_periodic_refresh(path, interval)

    def test_a_manager_without_an_app(self):
        """Verbs and start of a manager without an app name the cure."""
        manager = CacheManager()
        with pytest.raises(RuntimeError, match="init_app"):
            manager.start()
        with pytest.raises(RuntimeError, match="init_app"):
            manager.refresh("/x")
        with pytest.raises(RuntimeError, match="init_app"):
            manager.asgi()
