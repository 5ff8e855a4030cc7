"""The test kit: time, loads and refreshes in the hands of a test, and nothing left behind."""

import re
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Blueprint, Flask
from flask.views import MethodView
from werkzeug.exceptions import NotFound, ServiceUnavailable

from aswr import CacheManager, clocks, testing
from aswr.testing import (
    FailingStore,
    Kit,
    assert_fresh,
    assert_miss,
    assert_passes,
    assert_stale,
    cache_status,
)

pytest_plugins = ["pytester"]

MANUAL = Path(__file__).parent.parent / "docs" / "testing.md"


class Shop:
    """An app with one view of each kind; ``loads`` are their renders in order."""

    def __init__(self, **config: object) -> None:
        self.loads: list[str] = []
        self.app = app = Flask("shop")
        app.config.update(config)
        self.manager = manager = CacheManager(app)
        loads = self.loads

        @app.route("/async")
        @manager.cacher(timeout=20, refresh_margin=10)
        async def an_async():
            loads.append("async")
            return str(len(loads))

        @app.route("/def/<name>")
        @manager.cacher(timeout=20, refresh_margin=10)
        def a_def(name):
            loads.append(f"def {name}")
            return str(len(loads))

        @app.route("/public")
        @manager.cacher(timeout=20, refresh_margin=10, public=True)
        async def a_public():
            loads.append("public")
            return str(len(loads))

        @app.route("/uncached")
        def uncached():
            return "x"

        class Listing(MethodView):
            decorators = [manager.cacher(timeout=20, refresh_margin=10)]

            def get(self):
                loads.append("class")
                return str(len(loads))

        @manager.memoize(timeout=20, refresh_margin=10)
        async def function(x=0):
            loads.append("function")
            return len(loads)

        app.add_url_rule("/class", view_func=Listing.as_view("listing"))
        self.views = {
            "/async": an_async, "/def/a": a_def, "/public": a_public,
            "/class": app.view_functions["listing"],
        }  # fmt: skip
        self.uncached, self.function = uncached, function
        self.client = app.test_client()

    def get(self, path="/async"):
        return self.app.test_client().get(path)


@pytest.fixture
def shop():
    shop = Shop()
    yield shop
    shop.manager.close()


@pytest.fixture
def kit(aswr_kit, shop):
    return aswr_kit(shop.app)


paths = pytest.mark.parametrize("path", ["/async", "/def/a", "/public", "/class"])


class TestTime:
    @paths
    def test_answers_age_by_the_tests_clock(self, shop, kit, path):
        """Every kind of view is fresh, stale, renewed and gone when the test says so."""
        assert_miss(shop.get(path))
        assert assert_fresh(shop.get(path)).ttl == 10
        kit.advance(9)
        assert assert_fresh(shop.get(path)).ttl == 1
        kit.advance(1)
        assert_stale(shop.get(path))
        kit.settle()
        assert assert_fresh(shop.get(path)).ttl == 10
        kit.advance(timedelta(seconds=20))
        assert_miss(shop.get(path))
        assert len(shop.loads) == 3

    def test_functions_age_too(self, shop, kit):
        """A memoized function's result is gone after its timeout."""
        assert shop.function.sync() == 1
        kit.advance(9)
        assert shop.function.sync() == 1
        kit.advance(11)
        assert shop.function.sync() == 2

    def test_time_stands_still_at_a_whole_second(self, kit):
        """Between two calls of advance no time passes, and it is about now."""
        now = kit.clock()
        assert now == int(now)
        assert 0 <= now - time.time() + 1 < 5
        time.sleep(0.002)
        assert kit.clock() == now
        kit.advance(0)
        assert kit.clock() == now
        kit.advance(0.5)
        assert kit.clock() == now + 0.5

    @pytest.mark.parametrize("by", [-1, timedelta(seconds=-1), float("nan"), float("inf")])
    def test_time_does_not_go_back(self, kit, by):
        """Only zero or more seconds can pass."""
        with pytest.raises(ValueError, match="by must be zero or more"):
            kit.advance(by)

    def test_a_closed_kit_moves_no_time(self, kit):
        """Whose time is real again cannot be moved."""
        kit.close()
        with pytest.raises(RuntimeError, match="this kit is closed"):
            kit.advance(1)

    def test_what_is_no_time_is_refused(self, kit):
        """advance takes seconds or a timedelta."""
        with pytest.raises(TypeError, match="by must be seconds"):
            kit.advance("1")

    def test_kits_of_one_test_share_their_time(self, aswr_kit, shop):
        """Two managers' answers age together, until the last kit is gone."""
        other = Shop()
        first = aswr_kit(shop.app)
        first.advance(1000)
        now = first.clock()
        second = aswr_kit(other.manager)
        assert second.clock() == now
        other.get()
        first.advance(15)
        assert_stale(other.get())
        second.settle()
        first.close()
        now = second.clock()
        time.sleep(0.002)
        assert second.clock() == now
        second.close()
        assert abs(second.clock() - time.time()) < 1

    def test_an_app_and_its_manager_have_one_kit(self, aswr_kit, shop):
        """Asking twice in a test gives the same kit."""
        assert aswr_kit(shop.app) is aswr_kit(shop.manager)

    def test_a_second_kit_is_refused(self, kit, shop):
        """A manager is in one kit's hands at a time."""
        with pytest.raises(RuntimeError, match="has a kit already"):
            Kit(shop.app)


class TestHold:
    @paths
    @pytest.mark.parametrize("by", ["view", "path", "all"])
    def test_a_held_load_waits(self, shop, kit, path, by):
        """A gate for a view, a path or everything holds its loads until it is released."""
        what = {"view": shop.views[path], "path": path, "all": None}[by]
        shop.get(path)
        kit.advance(10)
        with kit.hold(what) as gate:
            assert_stale(shop.get(path))
            gate.wait_for_load()
            assert gate.held == 1
            assert len(shop.loads) == 1
            assert_stale(shop.get(path))
        kit.settle()
        assert gate.held == 0
        assert_fresh(shop.get(path))
        assert len(shop.loads) == 2

    def test_a_held_function_waits(self, shop, kit):
        """A gate holds calls of a memoized function, and lets other loads pass."""
        with ThreadPoolExecutor() as pool, kit.hold(shop.function) as gate:
            call = pool.submit(shop.function.sync)
            gate.wait_for_load()
            assert_miss(shop.get())
            assert not call.done()
            gate.release()
            assert call.result(5) == 2

    def test_visitors_who_must_wait_share_the_load(self, shop, kit):
        """Whoever asks for a load that is held waits for that one."""
        with ThreadPoolExecutor() as pool, kit.hold() as gate:
            visits = [pool.submit(shop.get) for _ in range(3)]
            gate.wait_for_load()
            kit.wait_for_callers(3)
            gate.release()
            said = [cache_status(visit.result(5)) for visit in visits]
        assert sorted(status.collapsed for status in said) == [False, True, True]
        assert shop.loads == ["async"]

    def test_callers_who_do_not_come(self, kit):
        """Waiting for them ends with an error that says how many there are."""
        with pytest.raises(TimeoutError, match=r"0 wait for loads after 0.01 s, not 1"):
            kit.wait_for_callers(timeout=0.01)

    @pytest.mark.parametrize("what", ["/def/a", "/async?x=1"])
    def test_other_loads_are_not_held(self, shop, kit, what):
        """A gate for one path, or one URL, holds no other."""
        with kit.hold(what) as gate:
            assert_miss(shop.get("/def/b"))
            assert_miss(shop.get("/async?x=2"))
            assert shop.function.sync() == 3
            assert gate.held == 0

    def test_a_path_without_query_means_every_query(self, shop, kit):
        """As with invalidate."""
        shop.get("/async?x=1")
        kit.advance(10)
        with kit.hold("/async") as gate:
            shop.get("/async?x=1")
            gate.wait_for_load()

    def test_a_query_means_the_one_url(self, shop, kit):
        """However its parameters are sorted."""
        shop.get("/async?b=1&a=2")
        kit.advance(10)
        with kit.hold("/async?b=1&a=2") as gate:
            shop.get("/async?b=1&a=2")
            gate.wait_for_load()

    def test_a_query_is_what_the_view_has_of_it(self, aswr_kit):
        """Parameters that are no part of the key make no difference."""
        app = Flask("shop")
        manager = CacheManager(app)
        view = manager.cacher(timeout=20, refresh_margin=10, query=["page"])(lambda: "x")
        app.add_url_rule("/x", view_func=view)
        kit = aswr_kit(app)
        app.test_client().get("/x?page=1")
        kit.advance(10)
        with kit.hold("/x?page=1&utm_source=a") as gate:
            app.test_client().get("/x?page=1")
            gate.wait_for_load()

    def test_a_load_that_does_not_come(self, shop, kit):
        """Waiting for it ends with an error that says why that may be."""
        with kit.hold("/async") as gate, pytest.raises(TimeoutError) as caught:
            gate.wait_for_load(timeout=0.01)
        assert "no load came to the gate for loads of /async within 0.01 s" in str(caught.value)

    def test_a_released_gate_holds_nothing(self, shop, kit):
        """Released is released, also for loads that come later."""
        gate = kit.hold()
        gate.release()
        gate.release()
        assert_miss(shop.get())

    def test_settle_names_what_is_held(self, shop, kit):
        """Waiting for a load that is held ends with an error that names it and its gate."""
        shop.get()
        kit.advance(10)
        with kit.hold() as gate:
            shop.get()
            gate.wait_for_load()
            with pytest.raises(TimeoutError, match=r"0.01 s: .*an_async; release\(\) first <Gate"):
                kit.settle(0.01)

    def test_settle_when_nothing_ran(self, kit):
        """It waits for nothing where there is nothing, not even a loop."""
        kit.settle()

    def test_views_behind_decorators_are_found(self, shop, kit):
        """What stands in a route's place means the cached view behind it."""
        shop.get("/class")
        kit.advance(10)
        with kit.hold(shop.app.view_functions["listing"]) as gate:
            shop.get("/class")
            gate.wait_for_load()

    @pytest.mark.parametrize(
        ("what", "text"),
        [
            ("/nowhere", "no route matches '/nowhere'"),
            ("/uncached", "is not cached: put @manager.cacher"),
            ("async", "path"),
        ],
    )
    def test_a_path_that_is_not_cached_is_refused(self, kit, what, text):
        """A gate at which nothing can ever come is an error at once."""
        with pytest.raises(ValueError, match=re.escape(text)):
            kit.hold(what)

    def test_a_function_that_is_not_cached_is_refused(self, shop, kit):
        """So is one for a view that is not cached."""
        with pytest.raises(TypeError, match="is not cached: give what @manager.cacher"):
            kit.hold(shop.uncached)
        with pytest.raises(TypeError, match="is not cached"):
            kit.fail(3)


class TestFail:
    @paths
    def test_a_load_fails(self, shop, kit, path):
        """A fault makes the loads of a view raise, without running it, until it is mended."""
        with kit.fail(shop.views[path], ZeroDivisionError("x")):
            assert shop.get(path).status_code == 500
            assert shop.get(path).status_code == 500
        assert_miss(shop.get(path))
        assert len(shop.loads) == 1

    def test_a_failed_refresh_keeps_the_old_answer(self, shop, kit):
        """What is stored stays, and is renewed once loads succeed and the back-off is over."""
        shop.get()
        kit.advance(10)
        fault = kit.fail("/async")
        assert_stale(shop.get())
        kit.settle()
        assert cache_status(shop.get()).detail == "held-back"
        fault.mend()
        kit.advance(5)
        assert cache_status(shop.get()).detail == "revalidating"
        kit.settle()
        assert_fresh(shop.get())

    def test_the_callers_get_the_error_that_was_given(self, shop, kit):
        """An instance is raised as a copy for each, a class is made an instance."""
        error = KeyError("nobody")
        with kit.fail(shop.function, error):
            for _ in range(2):
                with pytest.raises(KeyError, match="nobody") as caught:
                    shop.function.sync()
                assert caught.value is not error
        with kit.fail(shop.function, OSError), pytest.raises(OSError):
            shop.function.sync()

    def test_without_an_error_it_says_what_it_is(self, shop, kit):
        """The error of its own names the kit and the loads."""
        with kit.fail(), pytest.raises(RuntimeError, match="the test kit makes every load fail"):
            shop.function.sync()

    def test_other_loads_succeed(self, shop, kit):
        """A fault concerns the loads that it is for."""
        with kit.fail("/def/a"):
            assert_miss(shop.get("/def/b"))

    def test_an_answer_is_no_failure(self, shop, kit):
        """A 404 is an answer and refused; a 503 is a failed load."""
        with pytest.raises(TypeError, match="is an answer and no failure"):
            kit.fail(error=NotFound)
        with kit.fail(error=ServiceUnavailable):
            assert shop.get().status_code == 503

    def test_held_and_then_failed(self, shop, kit):
        """A load comes to the gates first."""
        with ThreadPoolExecutor() as pool, kit.hold() as gate:
            call = pool.submit(shop.function.sync)
            gate.wait_for_load()
            kit.fail(shop.function, OSError)
            gate.release()
            with pytest.raises(OSError):
                call.result(5)


class TestRefreshes:
    def test_what_is_due_runs_once(self, shop, kit):
        """Each job is due at first, then when its interval has passed, however often it has."""
        shop.manager.schedule_periodic_refresh("/async", 10)
        shop.manager.schedule_periodic_refresh("/def/a", timedelta(seconds=25))
        ran = []
        for passed in (0, 0, 9, 1, 15, 3, 60):
            kit.advance(passed)
            shop.loads.clear()
            ran.append((kit.run_due_refreshes(), sorted(shop.loads)))
        both = (2, ["async", "def a"])
        assert ran == [both, (0, []), (0, []), (1, ["async"]), both, (0, []), both]

    def test_due_times_are_those_of_the_real_ticker(self, shop, kit):
        """What was run late is due again at the next multiple of its interval."""
        shop.manager.schedule_periodic_refresh("/async", 10)
        began = kit.clock()
        for passed, due in ((0, 10), (15, 20), (5, 30), (31, 60)):
            kit.advance(passed)
            assert kit.run_due_refreshes() == 1
            (info,) = shop.manager.jobs()
            assert info.next_run == began + due

    def test_nothing_ticks_by_itself(self, shop, kit):
        """A first request starts the jobs, and none of them runs before it is told to."""
        shop.manager.schedule_periodic_refresh("/def/a", 10)
        shop.get()
        assert shop.manager.ticking
        kit.advance(100)
        kit.settle()
        assert shop.loads == ["async"]
        assert kit.run_due_refreshes() == 1
        assert shop.loads == ["async", "def a"]

    def test_without_jobs_nothing_is_started(self, shop, kit):
        """Nothing is due where nothing is scheduled."""
        assert kit.run_due_refreshes() == 0
        assert "closed" in repr(shop.manager)

    def test_a_job_that_cannot_run_is_an_error(self, shop, kit):
        """As in manager.start()."""
        shop.manager.schedule_periodic_refresh("/nowhere", 10)
        with pytest.raises(ValueError, match="no route matches"):
            kit.run_due_refreshes()

    def test_loads_that_are_held_need_not_be_waited_for(self, shop, kit):
        """With wait=False it returns once the loads have begun; else it raises in the end."""
        shop.manager.schedule_periodic_refresh("/async", 10)
        with kit.hold() as gate:
            assert kit.run_due_refreshes(wait=False) == 1
            gate.wait_for_load()
            kit.advance(10)
            with pytest.raises(TimeoutError, match="an_async"):
                kit.run_due_refreshes(timeout=0.5)
        kit.settle()
        assert shop.loads == ["async"]

    def test_scheduling_again_replaces(self, shop, kit):
        """A job that is replaced is due at once, and runs in the other's place."""
        shop.manager.schedule_periodic_refresh("/async", 10)
        assert kit.run_due_refreshes() == 1
        shop.manager.schedule_periodic_refresh("/async", 5)
        assert kit.run_due_refreshes() == 1
        kit.advance(5)
        assert kit.run_due_refreshes() == 1

    def test_an_app_that_is_gone_has_no_jobs(self, shop, kit):
        """Its jobs are dropped when they would be due."""
        app = Flask("second")
        shop.manager.init_app(app)
        with app.app_context():
            shop.manager.schedule_periodic_refresh("/x", 10)
        app.add_url_rule("/x", view_func=shop.manager.cacher(timeout=20)(lambda: "x"))
        assert kit.run_due_refreshes() == 1


class TestEvents:
    def test_what_happened_is_told(self, shop, kit):
        """Events of every kind, since the kit was made, those of one thread in order."""
        shop.get()
        shop.get()
        kit.advance(10)
        shop.get()
        kit.settle()
        kinds = [event.kind for event in kit.events]
        load = ["load_started", "load_finished", "published"]
        answers = ["miss", "hit", "stale"]
        assert [kind for kind in kinds if kind in answers] == answers
        assert [kind for kind in kinds if kind not in answers] == load * 2
        assert all(event.app == "shop" for event in kit.events)

    def test_nothing_is_told_afterwards(self, shop, kit):
        """A kit that is closed hears of nothing more."""
        kit.close()
        shop.get()
        assert kit.events == []
        assert shop.manager._sites[shop.app].engine.events.wanted == frozenset()


class TestLeavingNothing:
    def test_a_kit_begins_with_an_empty_cache(self, shop):
        """What was stored and counted before is gone."""
        shop.get()
        with Kit(shop.app):
            assert shop.manager.stats()["hits"] == shop.manager.stats()["misses"] == 0
            assert_miss(shop.get())

    def test_a_kit_leaves_an_empty_cache(self, shop):
        """What was stored under manual time is gone, and what is stored next has real time."""
        with Kit(shop.app) as kit:
            kit.advance(3600)
            shop.get()
        assert shop.manager.peek("/async") is None
        assert_miss(shop.get())
        assert shop.manager.peek("/async").stored == pytest.approx(time.time(), abs=5)

    def test_failures_do_not_outlive_a_kit(self, shop):
        """No back-off of one test holds back another's loads."""
        with Kit(shop.app) as kit:
            shop.get()
            kit.advance(10)
            kit.fail()
            shop.get()
            kit.settle()
        with Kit(shop.app) as kit:
            shop.get()
            kit.advance(10)
            assert cache_status(shop.get()).detail == "revalidating"

    def test_purges_do_not_outlive_a_kit(self, shop):
        """Numbers drawn under manual time are forgotten, so later ones are of real time again."""
        with Kit(shop.app) as kit:
            kit.advance(3600)
            shop.get()
            shop.manager.clear()
        shop.get()
        assert shop.manager.peek("/async").born / 1e6 == pytest.approx(time.time(), abs=5)

    def test_views_found_to_be_nobodys_are_tried_again(self, aswr_kit):
        """That a view cannot be shared is learned anew in each test."""
        app = Flask("shop")
        manager = CacheManager(app)

        @app.route("/<name>")
        @manager.cacher(timeout=20)
        def view(name):
            from flask import request

            return str(request.remote_addr)

        for _ in range(2):
            with Kit(app):
                client = app.test_client()
                for name in "abc":
                    assert_passes(client.get(f"/{name}"), "reads remote address")
                assert manager.stats()["loads"] == 3

    def test_gates_and_faults_end_with_the_kit(self, shop):
        """A load that is held when a test ends is let go, and the next one's are not held."""
        with ThreadPoolExecutor() as pool:
            with Kit(shop.app) as kit:
                gate = kit.hold()
                visit = pool.submit(shop.get)
                gate.wait_for_load()
                kit.fail("/def/a")
            assert visit.result(5).status_code == 200
        assert_miss(shop.get("/def/a"))
        assert_miss(shop.get())

    def test_the_loop_is_stopped(self, shop):
        """A manager that a test made need not be closed: nothing warns when it goes."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            other = Shop()
            with Kit(other.app):
                other.get()
            assert "closed" in repr(other.manager)
            del other

    def test_real_time_is_back_even_if_closing_fails(self, shop, monkeypatch):
        """Whatever goes wrong at its end, a kit does not stop the time for good."""
        kit = Kit(shop.app)
        monkeypatch.setattr(shop.manager, "forget", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            kit.close()
        kit.close()
        assert abs(testing.CLOCK() - time.time()) < 1
        monkeypatch.undo()
        with Kit(shop.app):
            assert_miss(shop.get())

    def test_jobs_that_ticked_tick_again(self, shop):
        """A manager that refreshed periodically does so after the kit, by the real ticker."""
        shop.manager.schedule_periodic_refresh("/async", 3600)
        shop.manager.start()
        shop.manager.join()
        with Kit(shop.app) as kit:
            shop.loads.clear()
            assert not shop.manager.ticking
            kit.settle()
            assert shop.loads == []
        assert shop.manager.ticking
        (info,) = shop.manager.jobs()
        assert info.next_run == pytest.approx(time.time() + 3600, abs=30)

    def test_jobs_that_did_not_tick_do_not(self, shop):
        """A kit starts nothing that goes on after it."""
        shop.manager.schedule_periodic_refresh("/async", 3600)
        with Kit(shop.app) as kit:
            kit.run_due_refreshes()
        assert not shop.manager.ticking

    def test_a_test_may_close_its_manager(self, shop, aswr_kit):
        """A fixture of the user's own may do so before the kit does."""
        kit = aswr_kit(shop.app)
        shop.get()
        shop.manager.close()
        assert_fresh(shop.get())
        kit.close()
        assert_miss(shop.get())

    def test_a_manager_that_was_closed_works_again(self, shop, aswr_kit):
        """A kit opens what an earlier test has closed."""
        shop.get()
        shop.manager.close()
        kit = aswr_kit(shop.app)
        assert_miss(shop.get())
        kit.close()
        assert_miss(shop.get())


class TestRefused:
    def test_a_manager_of_real_time(self, monkeypatch):
        """One that was made before the plugin was there is refused, with the cure."""
        monkeypatch.setattr(clocks, "default", time.time)
        shop = Shop()
        with pytest.raises(RuntimeError, match=r"made before the test kit.*pytest -p aswr.*instal"):
            Kit(shop.app)

    def test_a_manager_with_a_clock_of_its_own(self, manager):
        """One that was given a clock= is refused."""
        with pytest.raises(RuntimeError, match="leave out clock= in tests"):
            Kit(manager)

    def test_an_app_without_a_manager(self):
        """The error says what to call."""
        with pytest.raises(RuntimeError, match="'bare' has no CacheManager: call manager.init_app"):
            Kit(Flask("bare"))

    def test_a_manager_without_an_app(self):
        """The error says what to call."""
        with pytest.raises(RuntimeError, match="has no app: call manager.init_app"):
            Kit(CacheManager())

    def test_what_is_neither(self):
        """A blueprint, say."""
        with pytest.raises(TypeError, match="a Flask app or its CacheManager"):
            Kit(Blueprint("x", __name__))

    def test_a_cache_that_is_switched_off(self):
        """There would be nothing to test."""
        with pytest.raises(RuntimeError, match="switched off: set ASWR_ENABLED = True"):
            Kit(Shop(ASWR_ENABLED=False).app)

    def test_other_apps_of_the_manager_do_not_matter(self, shop):
        """An app of another test that is still about may be as it likes; later ones are held."""
        off, later = Flask("off"), Flask("later")
        off.config["ASWR_ENABLED"] = False
        shop.manager.init_app(off)
        with Kit(shop.app) as kit, kit.hold() as gate, ThreadPoolExecutor() as pool:
            shop.manager.init_app(later)
            later.add_url_rule("/", view_func=shop.manager.cacher(timeout=20)(lambda: "x"))
            visit = pool.submit(later.test_client().get, "/")
            gate.wait_for_load()
            gate.release()
            assert_miss(visit.result(5))
        last = Flask("last")
        shop.manager.init_app(last)
        for app in (later, last):
            assert app.extensions["aswr.site"].engine.before_load is None
        with pytest.raises(RuntimeError, match="'off' is switched off"):
            Kit(off)

    @pytest.mark.parametrize("kind", ["address", "object", "factory"])
    def test_a_store_that_others_share(self, kind):
        """Time cannot be moved in a store outside."""
        from aiocache import SimpleMemoryCache

        cache = {
            "address": "redis://localhost:1", "object": SimpleMemoryCache(),
            "factory": SimpleMemoryCache,
        }[kind]  # fmt: skip
        shop = Shop(ASWR_CACHE=cache, ASWR_NAMESPACE="x")
        with pytest.raises(RuntimeError, match=r"time no test can move.*FailingStore"):
            Kit(shop.app)

    def test_nothing_has_changed(self, manager):
        """Who is refused changes nothing."""
        with pytest.raises(RuntimeError):
            Kit(manager)
        assert abs(testing.CLOCK() - time.time()) < 1


class TestStore:
    def test_answers_lie_in_it(self, aswr_kit):
        """A failing store that is well is a shared store."""
        store = FailingStore()
        shop = Shop(ASWR_CACHE=store)
        kit = aswr_kit(shop.app)
        assert_miss(shop.get())
        kit.settle()
        assert len(store) == 1
        shop.manager.close()
        other = Shop(ASWR_CACHE=store)
        assert cache_status(other.get()).hit
        assert other.loads == []
        other.manager.close()

    @pytest.mark.parametrize("outage", [FailingStore.fail, FailingStore.hang])
    def test_time_that_passes_lets_it_be_tried_again(self, aswr_kit, outage):
        """After an outage advance makes the next try due, and settle waits for it."""
        store = FailingStore()
        shop = Shop(ASWR_CACHE=store)
        kit = aswr_kit(shop.app)
        outage(store)
        shop.get()
        kit.settle()
        assert not shop.manager.stats()["store_reachable"]
        store.mend()
        shop.get("/def/a")
        kit.settle()
        kit.advance(10)
        shop.get("/def/b")
        kit.settle()
        assert shop.manager.stats()["store_reachable"]
        assert "breaker" in [event.kind for event in kit.events]

    def test_settle_waits_until_it_was_asked_again(self, aswr_kit):
        """What finds out whether the store answers again is over, if it does not, too."""
        store = FailingStore()
        shop = Shop(ASWR_CACHE=store)
        kit = aswr_kit(shop.app)
        store.fail()
        shop.get()
        kit.settle()
        store.hang()
        kit.advance(10)
        shop.get("/def/a")
        kit.settle()
        assert shop.manager.stats()["store_errors"] == 2

    def test_it_is_emptied_and_mended(self):
        """No entry and no outage of one test is in the next."""
        store = FailingStore()
        shop = Shop(ASWR_CACHE=store)
        with Kit(shop.app) as kit:
            shop.get()
            kit.settle()
            assert len(store) == 1
            store.hang()
        assert len(store) == 0
        assert store.mood == "well"


class TestInstall:
    def test_the_clock_tells_real_time(self):
        """Without a kit a manager has the machine's time."""
        clock = CacheManager()._clock
        assert clock is testing.CLOCK
        before = time.time()
        assert before <= clock() <= time.time()

    def test_install_sets_the_default(self, monkeypatch):
        """Managers that are made after it have the kit's clock."""
        monkeypatch.setattr(clocks, "default", time.time)
        testing.install()
        assert CacheManager()._clock is testing.CLOCK

    def test_what_is_not_there(self):
        """The module has what it says, and nothing else."""
        with pytest.raises(AttributeError, match="no attribute 'FailingStor'"):
            testing.FailingStor  # noqa: B018
        assert all(hasattr(testing, name) for name in testing.__all__)


APP = """
from flask import Flask
from aswr import CacheManager

app = Flask(__name__)
manager = CacheManager(app)
loads = []

@app.route("/")
@manager.cacher(timeout=20, refresh_margin=10)
def page():
    loads.append(1)
    return str(len(loads))
"""


@pytest.fixture
def project(pytester):
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    pytester.makepyfile(shop=APP)
    pytester.syspathinsert()
    return pytester


class TestPlugin:
    def test_it_is_there_for_an_app_made_at_import(self, project):
        """The clock is ours before a conftest imports the app; tests leak nothing into others."""
        project.makeconftest("import shop")
        project.makepyfile("""
            import shop, time
            from aswr.testing import assert_fresh, assert_miss, assert_stale

            def test_one(aswr_kit):
                kit = aswr_kit(shop.app)
                kit.advance(3600)
                assert_miss(shop.app.test_client().get("/"))
                kit.advance(15)
                assert_stale(shop.app.test_client().get("/"))

            def test_two():
                assert abs(shop.manager._clock() - time.time()) < 1
                assert_miss(shop.app.test_client().get("/"))
                assert_fresh(shop.app.test_client().get("/"))

            def test_three(aswr_kit):
                aswr_kit(shop.manager)
                assert_miss(shop.app.test_client().get("/"))
        """)
        result = project.runpytest_subprocess("-p", "no:cacheprovider")
        result.assert_outcomes(passed=3)

    def test_the_fixture_is_described(self, project):
        """``pytest --fixtures`` says what it gives."""
        result = project.runpytest_subprocess("--fixtures", "-p", "no:cacheprovider")
        result.stdout.fnmatch_lines(["aswr_kit*", "*`aswr.testing.Kit` of this test*"])

    def test_it_can_be_left_out_and_named(self, project, monkeypatch):
        """``-p no:aswr`` leaves it out; where plugins are not looked for ``-p aswr`` names it."""
        project.makepyfile("def test_one(aswr_kit): pass")
        without = project.runpytest_subprocess("-p", "no:aswr")
        without.assert_outcomes(errors=1)
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        project.runpytest_subprocess().assert_outcomes(errors=1)
        project.runpytest_subprocess("-p", "aswr").assert_outcomes(passed=1)

    def test_an_app_that_came_too_early_is_told_so(self, project):
        """A plugin that imports the app before ours leads to an error with the cure."""
        project.makepyfile(early="import shop")
        project.makepyfile("""
            import shop
            def test_one(aswr_kit):
                aswr_kit(shop.app)
        """)
        result = project.runpytest_subprocess("-p", "early")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*made before the test kit was there*"])

    def test_failures_show_the_test_and_not_the_kit(self, project):
        """An assertion that fails is shown where the test makes it, with what the response said."""
        project.makepyfile("""
            import shop
            from aswr.testing import assert_stale
            def test_one(aswr_kit):
                aswr_kit(shop.app)
                assert_stale(shop.app.test_client().get("/"))
        """)
        result = project.runpytest_subprocess()
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*expected a stale hit, got a miss (uri-miss), stored*"])
        assert "raise AssertionError" not in result.stdout.str()

    def test_it_loads_no_more_than_aswr(self, project):
        """In a run that does not use it neither aiocache nor a thread is there."""
        project.makepyfile("""
            import sys, threading
            def test_one():
                assert "aswr.pytest_plugin" in sys.modules
                assert not {"aiocache", "redis", "apscheduler", "aswr.failing"} & set(sys.modules)
                assert threading.active_count() == 1
        """)
        result = project.runpytest_subprocess("-p", "no:timeout", "-p", "no:hypothesispytest")
        result.assert_outcomes(passed=1)


def examples() -> dict[str, str]:
    """The files of the manual, by name."""
    blocks = re.findall(
        r"^```\{code-block\} python\n:caption: (\S+)\n\n(.*?)^```$",
        MANUAL.read_text(), re.DOTALL | re.MULTILINE,
    )  # fmt: skip
    assert len(dict(blocks)) == len(blocks)
    return dict(blocks)


ALONE = "test_without_pytest.py"


@pytest.fixture
def manual(pytester):
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    for name, text in examples().items():
        (pytester.path / name).write_text(text)
    pytester.syspathinsert()
    return pytester


def test_the_manuals_examples_hold(manual):
    """The files that the manual shows are run as they stand there, all in one process."""
    outcomes = manual.runpytest_subprocess("--ignore", ALONE).parseoutcomes()
    wanted = sum(text.count("def test_") for name, text in examples().items() if name != ALONE)
    assert set(outcomes) == {"passed"}
    assert outcomes["passed"] > wanted > 8


def test_the_manuals_example_without_pytest_holds(manual):
    """The kit does without pytest."""
    done = manual.runpython_c(f"import unittest; unittest.main('{ALONE[:-3]}')")
    assert done.ret == 0
    done.stderr.fnmatch_lines(["Ran 1 test in *", "OK"])


def test_everything_public_is_in_the_manual():
    """What the module offers, and what a kit can do, the manual shows."""
    text = MANUAL.read_text()
    kit = [name for name in vars(Kit) if not name.startswith("_")]
    for name in {*testing.__all__, *kit} - {"Fault", "Gate", "MakeKit", "ManualClock", "close"}:
        assert name in text
