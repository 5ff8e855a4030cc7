"""The doctor: each line is there when it is right to be, and no failing check hides another."""

import asyncio
import importlib.metadata
import json
import logging
import platform
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiocache import SimpleMemoryCache
from flask import Blueprint, Flask, request

from aswr import CacheManager, checkup, questions, site
from aswr.admin import blueprint
from aswr.desk import Desk, desk_of
from aswr.tier import Lease, Tier
from aswr.words import duration

from .conftest import Background, Clock, Gate

Lines = list[dict[str, str]]


@pytest.fixture
def make(clock: Clock) -> Iterator[Callable[..., Desk]]:
    """An app with one cached page, by config."""
    managers: list[CacheManager] = []

    def make(
        cache: Any = None, app: Flask | None = None, cached: bool = True, **config: Any
    ) -> Desk:
        app = app or Flask("shop")
        app.config.update(config)
        manager = CacheManager(app, cache=cache, clock=clock)
        managers.append(manager)
        if cached:
            app.add_url_rule("/", "home", manager.cacher(timeout=60)(lambda: "x"))
        return desk_of(manager, app)

    yield make
    for manager in managers:
        manager.close(timeout=0.5)


def of(lines: Lines, name: str, state: str = "") -> Lines:
    return [line for line in lines if line["name"] == name and state in ("", line["state"])]


def one(lines: Lines, name: str, state: str = "") -> dict[str, str]:
    (line,) = of(lines, name, state)
    return line


def test_all_is_well(make: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    """In good weather there is no warning, and every check has said something."""
    monkeypatch.setattr(checkup, "SLOW_LOOP", 60.0)  # a busy machine is not what is looked at here
    lines = make(ASWR_ENABLED=True).doctor()
    assert [line for line in lines if line["state"] in ("warning", "error")] == []
    names = {line["name"] for line in lines}
    assert names == {"versions", "configuration", "views", "server", "loop", "store", "memory"}
    for line in lines:
        assert set(line) == {"name", "state", "found", "cure"}
        assert line["state"] in ("ok", "note", "warning", "error")
        assert line["found"]
        assert line["cure"] or line["state"] == "ok"
    json.dumps(lines)


def test_versions(make: Callable[..., Desk]) -> None:
    """The versions of what aswr stands on are named."""
    found = one(make().doctor(), "versions")["found"]
    assert all(f"{name} " in found for name in ("Python", *checkup.VERSIONS))


class TestConfiguration:
    def test_how_long_callers_wait(self, make: Callable[..., Desk]) -> None:
        """It is said how long callers wait and a stop takes, for the server's own timeouts."""
        found = one(make(ASWR_WAIT_TIMEOUT=7, ASWR_DRAIN_TIMEOUT=3).doctor(), "configuration")
        assert found["state"] == "ok"
        assert "at most 7 s" in found["found"]
        assert "up to 10 s" in found["found"]

    def test_a_view_for_which_callers_wait_longer(self, make: Callable[..., Desk]) -> None:
        """The longest wait is that of all cached views, and whose it is."""
        app = Flask("shop")
        desk = make(app=app, ASWR_WAIT_TIMEOUT=7, ASWR_DRAIN_TIMEOUT=3)
        manager: CacheManager = app.extensions["aswr"]
        for name, wait in (("short", 2), ("long", 90)):

            def view() -> str:
                return "x"

            view.__qualname__ = name
            cached = manager.cacher(timeout=60, wait_timeout=wait)(view)
            app.add_url_rule(f"/{name}", name, cached)
        found = one(desk.doctor(), "configuration")["found"]
        assert f"callers wait at most 90 s ({__name__}:long)" in found
        assert "up to 93 s" in found

    def test_all_views_wait_less(self, make: Callable[..., Desk]) -> None:
        """Where every cached view has less patience than the configuration, that counts."""
        app = Flask("shop")
        desk = make(app=app, cached=False, ASWR_WAIT_TIMEOUT=7)
        cached = app.extensions["aswr"].cacher(timeout=60, wait_timeout=2)(lambda: "x")
        app.add_url_rule("/", "page", cached)
        assert "at most 2 s (" in one(desk.doctor(), "configuration")["found"]

    def test_the_default_wait(self, make: Callable[..., Desk]) -> None:
        """None means the default, and is said to."""
        found = one(make(ASWR_WAIT_TIMEOUT=None).doctor(), "configuration")
        assert "at most 25 s" in found["found"]

    def test_strict(self, make: Callable[..., Desk]) -> None:
        """ASWR_STRICT is for tests: elsewhere it is a warning."""
        assert one(make(ASWR_STRICT=True).doctor(), "configuration")["state"] == "warning"
        app = Flask("tested")
        app.testing = True
        assert one(make(app=app, ASWR_STRICT=True).doctor(), "configuration")["state"] == "ok"

    def test_switched_off(self, make: Callable[..., Desk]) -> None:
        """A cache that is off is a warning, with the cure."""
        line = one(make(ASWR_ENABLED=False).doctor(), "configuration")
        assert (line["state"], line["cure"]) == ("warning", "remove ASWR_ENABLED = False")


class TestViews:
    def test_how_many_are_cached(self, make: Callable[..., Desk]) -> None:
        """Of the app's own views: not of static files, nor of the admin page."""
        app = Flask("shop")
        desk = make(app=app)
        shelf = Blueprint("shelf", __name__, static_folder="static", url_prefix="/shelf")
        shelf.add_url_rule("/plain", "plain", lambda: "x")
        app.register_blueprint(shelf)
        page = blueprint(app.extensions["aswr"], authorize=lambda: False)
        app.register_blueprint(page, url_prefix="/aswr")
        assert len(app.view_functions) > 10
        assert one(desk.doctor(), "views")["found"] == "1 of 2 are cached"

    def test_none(self, make: Callable[..., Desk]) -> None:
        """An app without a cached view is told so."""
        line = one(make(cached=False).doctor(), "views")
        assert line["state"] == "warning"
        assert "@manager.cacher" in line["cure"]

    def test_upside_down(self, make: Callable[..., Desk]) -> None:
        """A view whose cache stands above its route is an error."""
        app = Flask("shop")
        desk = make(app=app)
        manager: CacheManager = app.extensions["aswr"]

        def upside() -> str:
            return "x"

        module = {"upside": manager.cacher(timeout=60)(upside)}  # where its name keeps it alive
        app.add_url_rule("/upside", "upside", upside)
        line = one(desk.doctor(), "views", "error")
        assert "upside" in line["found"]
        assert "stands above" in line["found"]
        assert line["cure"].startswith("put @app.route(...) on top")
        assert module

    def test_a_wrapper_around_the_door(self, make: Callable[..., Desk]) -> None:
        """Public pages behind a wrapper are answered by the app, which is worth a warning."""
        app = Flask("shop")

        class Proxy:
            def __init__(self, inner: Any) -> None:
                self.inner = inner

            def __call__(self, *args: Any) -> Any:
                return self.inner(*args)

        app.wsgi_app = Proxy(app.wsgi_app)  # type: ignore[method-assign]
        desk = make(app=app)
        manager: CacheManager = app.extensions["aswr"]
        assert not of(desk.doctor(), "views", "warning")
        view = manager.cacher(timeout=60, public=True)(lambda: "x")
        app.add_url_rule("/public", "public", view)
        line = one(desk.doctor(), "views", "warning")
        assert "Proxy" in line["found"]

    def test_a_view_that_passes_everywhere(
        self, make: Callable[..., Desk], caplog: pytest.LogCaptureFixture
    ) -> None:
        """A view that nobody can share is named, and why."""
        caplog.set_level(logging.CRITICAL, "aswr")
        app = Flask("shop")
        desk = make(app=app)
        manager: CacheManager = app.extensions["aswr"]
        view = manager.cacher(timeout=60)(lambda n: str(request.remote_addr))
        app.add_url_rule("/<n>", "address", view)
        for index in range(3):
            app.test_client().get(f"/{index}")
        line = one(desk.doctor(), "views", "warning")
        assert "reads remote address" in line["found"]
        assert "flask aswr why" in line["cure"]


class TestServer:
    def test_where_threads_do_not_run(
        self, make: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A server without threads is an error, with the cure, and hides nothing else."""

        def refuse() -> None:
            raise RuntimeError("uWSGI runs without threads")

        monkeypatch.setattr(checkup, "refuse_where_threads_do_not_run", refuse)
        lines = make().doctor()
        assert one(lines, "server")["state"] == "error"
        assert one(lines, "memory")

    @pytest.mark.parametrize(
        ("modules", "env", "kind"),
        [(("gunicorn",), {}, "gunicorn"), ((), {"FLASK_RUN_FROM_CLI": "true"}, "flask run"),
         ((), {}, "unknown")],
    )  # fmt: skip
    def test_kinds(
        self, make: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch, modules: tuple[str, ...],
        env: dict[str, str], kind: str,
    ) -> None:  # fmt: skip
        """It is told what serves here."""
        without_servers(monkeypatch)
        for name in modules:
            monkeypatch.setitem(sys.modules, name, asyncio)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        assert one(make().doctor(), "server")["found"].startswith(f"{kind}, process ")

    def test_gunicorn_with_jobs(
        self, make: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Jobs that have not begun under gunicorn are a warning, until they have."""
        without_servers(monkeypatch)
        monkeypatch.setitem(sys.modules, "gunicorn", asyncio)
        app = Flask("shop")
        desk = make(app=app)
        manager: CacheManager = app.extensions["aswr"]
        assert not of(desk.doctor(), "server", "warning")
        manager.schedule_periodic_refresh("/", 1000)
        assert "post_worker_init" in one(desk.doctor(), "server", "warning")["cure"]
        assert "not begun" in one(desk.doctor(), "jobs")["found"]
        manager.start()
        assert not of(desk.doctor(), "server", "warning")
        assert one(desk.doctor(), "jobs")["found"] == "1 scheduled, ticking"

    def test_a_command_line(self, make: Callable[..., Desk]) -> None:
        """Where nobody is served that is said, and how to ask who serves."""
        app = Flask("shop")
        desk = make(app=app)
        app.extensions["aswr"].look_on()
        line = one(desk.doctor(), "server")
        assert line["state"] == "note"
        assert "--server" in line["cure"]


def without_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    from aswr import site

    for name in site.SERVERS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delenv("FLASK_RUN_FROM_CLI", raising=False)


class TestLoop:
    def test_a_loop_that_is_held(
        self, make: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A loop that takes long for a turn is a warning."""
        monkeypatch.setattr(checkup, "SLOW_LOOP", -1.0)
        line = one(make().doctor(), "loop")
        assert line["state"] == "warning"
        assert "blocking=True" in line["cure"]

    def test_a_loop_that_does_not_turn(
        self, make: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch, gate: Gate
    ) -> None:
        """One that is held is an error after a while; the other checks are there all the same."""
        monkeypatch.setattr(questions, "CHECK_LIMIT", 0.1)
        app = Flask("shop")
        desk = make(app=app, cache="redis://127.0.0.1:1")

        async def hold() -> None:
            gate.hold()

        holding = app.extensions["aswr"].loop().submit(hold, "test")
        gate.await_arrival()
        lines = desk.doctor()
        gate.open()
        holding.result(5)
        assert "did not turn" in one(lines, "loop", "error")["found"]
        assert one(lines, "store", "error")
        assert one(lines, "memory")

    def test_many_wait(self, make: Callable[..., Desk]) -> None:
        """Many callers that wait are worth a note."""
        app = Flask("shop")
        desk = make(app=app)
        engine = app.extensions["aswr"].site_of(app).engine
        engine.waiting = 100
        assert "100 callers wait" in one(desk.doctor(), "loop", "note")["found"]
        engine.waiting = 0

    def test_closed(self, make: Callable[..., Desk]) -> None:
        """A cache that is closed is a warning, and its loop is not started by asking."""
        app = Flask("shop")
        desk = make(app=app)
        manager: CacheManager = app.extensions["aswr"]
        app.test_client().get("/")
        manager.close()
        assert "closed" in one(desk.doctor(), "loop", "warning")["found"]
        assert manager._runtime is None


def settings_in(cure: str) -> dict[str, float]:
    """The configuration that a cure says to write."""
    return {name: float(value) for name, value in re.findall(r"(ASWR_\w+) = ([\d.]+)", cure)}


WELL = {
    "name": "the store at redis://localhost", "reachable": True, "seconds": 0.001,
    "version": "7.2.4", "policy": "noeviction", "offset": 0.002, "workers": 3, "leases": 1,
}  # fmt: skip


class TestStore:
    def test_memory_alone(self, make: Callable[..., Desk]) -> None:
        """Without a shared store it is said what that means."""
        line = one(make().doctor(), "store")
        assert (line["state"], "aswr[redis]" in line["cure"]) == ("note", True)

    def test_one_that_shares_bytes(self, make: Callable[..., Desk]) -> None:
        """A cache without leases and purges is a warning."""
        line = one(make(cache=SimpleMemoryCache()).doctor(), "store")
        assert (line["state"], "Redis" in line["cure"]) == ("warning", True)

    def test_one_that_does_not_answer(
        self, make: Callable[..., Desk], caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is an error, soon, and its password is nowhere."""
        caplog.set_level(logging.DEBUG)
        lines = make(cache="redis://ann:SECRET@127.0.0.1:1/0").doctor()
        line = one(lines, "store")
        assert line["state"] == "error"
        assert "redis://127.0.0.1:1/0 does not answer within" in line["found"]
        assert "SECRET" not in json.dumps(lines) + caplog.text
        assert one(lines, "memory")

    @pytest.mark.parametrize(
        "config",
        [{}, {"ASWR_STORE_TIMEOUT": 0.5}, {"ASWR_PROPAGATION": 8},
         {"ASWR_STORE_TIMEOUT": 1 / 6, "ASWR_PROPAGATION": 1 / 3}],
        ids=repr,
    )  # fmt: skip
    def test_its_cure_is_taken(self, make: Callable[..., Desk], config: dict[str, Any]) -> None:
        """Whatever the configuration is, the cure gives the store more time, and is taken."""
        for _ in range(3):
            lines = make(cache="redis://127.0.0.1:1", **config).doctor()
            longer = settings_in(one(lines, "store")["cure"])
            assert longer["ASWR_STORE_TIMEOUT"] > config.get("ASWR_STORE_TIMEOUT", 0.25)
            config = {**config, **longer}
        make(cache="redis://127.0.0.1:1", **config)

    @pytest.mark.parametrize(
        ("timeout", "cure"),
        [(0.25, {"ASWR_STORE_TIMEOUT": 0.5}),
         (0.5, {"ASWR_STORE_TIMEOUT": 1, "ASWR_PROPAGATION": 2}), (0.9, {})],
    )  # fmt: skip
    def test_the_cure_of_a_slow_one(
        self, make: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch, timeout: float,
        cure: dict[str, float],
    ) -> None:  # fmt: skip
        """A store far away is to be given time, unless it has that; both keys are named."""

        async def slow(tier: Tier) -> dict[str, Any]:
            return {**WELL, "seconds": 0.2}

        propagation = max(1, 2 * timeout)
        desk = make(
            cache=SimpleMemoryCache(), ASWR_STORE_TIMEOUT=timeout, ASWR_PROPAGATION=propagation
        )
        monkeypatch.setattr("aswr.plain.Plain.health", slow, raising=False)
        line = one(desk.doctor(), "store", "warning")
        assert "nearer" in line["cure"]
        assert settings_in(line["cure"]) == cure

    def test_a_factory_that_fails(self, make: Callable[..., Desk]) -> None:
        """It is an error, and its text, which may tell a password, is nowhere."""

        def factory() -> Any:
            raise OSError("redis://ann:SECRET@host")

        lines = make(cache=factory).doctor()
        assert "factory" in one(lines, "store", "error")["found"]
        assert "SECRET" not in json.dumps(lines)

    @pytest.mark.parametrize(
        ("health", "name", "state", "says"),
        [
            ({}, "store", "ok", "version 7.2.4, answers in 1.0 ms"),
            ({"version": ""}, "store", "ok", "localhost, answers"),
            ({"seconds": 0.2}, "store", "warning", "200.0 ms"),
            ({"policy": "allkeys-lru"}, "store", "warning", "maxmemory-policy is allkeys-lru"),
            ({"offset": 0.002}, "clock", "ok", "+2 ms"),
            ({"offset": -3.5}, "clock", "warning", "-3.50 s"),
            ({"offset": 3.5}, "clock", "warning", "+3.50 s"),
            ({}, "lease", "ok", "3 workers share loads; this one holds 1"),
            ({"workers": 1}, "lease", "ok", "1 worker shares loads; this one holds 1"),
        ],
    )
    def test_what_it_says_of_itself(
        self, make: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch, health: dict[str, Any],
        name: str, state: str, says: str,
    ) -> None:  # fmt: skip
        """Time, policy, clock and workers of the store are each judged."""

        async def healthy(tier: Tier) -> dict[str, Any]:
            return {**WELL, **health}

        desk = make(cache=SimpleMemoryCache())
        monkeypatch.setattr("aswr.plain.Plain.health", healthy, raising=False)
        lines = of(desk.doctor(), name, state)
        assert any(says in line["found"] for line in lines), lines
        assert all(line["cure"] for line in lines) or state == "ok"


class TestFleet:
    @pytest.fixture
    def desk(self, make: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch) -> Desk:
        async def healthy(tier: Tier) -> dict[str, Any]:
            return WELL

        monkeypatch.setattr("aswr.plain.Plain.health", healthy, raising=False)
        return make(cache=SimpleMemoryCache())

    @pytest.mark.parametrize("name", ["aswr", "flask", "python"])
    def test_half_a_roll_out(self, desk: Desk, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """Workers of different versions are a warning, with how many have which."""
        mine = site.versions()
        fleet: list[dict[str, Any]] = [{"versions": mine}, {"versions": mine}, {"worker": "mute"}]

        async def workers(tier: Tier) -> list[dict[str, Any]]:
            return fleet

        monkeypatch.setattr("aswr.plain.Plain.workers", workers, raising=False)
        assert not of(desk.doctor(), "versions", "warning")
        fleet.append({"versions": {**mine, name: "0.0.9"}})
        line = one(desk.doctor(), "versions", "warning")
        assert f"{name} {mine[name]} in 2, 0.0.9 in 1" in line["found"]
        assert "roll-out" in line["cure"]

    def test_each_tells_its_versions(self, desk: Desk) -> None:
        """What a process says of itself has the versions of aswr, Flask and Python."""
        (said,) = desk.workers()
        assert said["versions"] == {
            "aswr": importlib.metadata.version("aswr"),
            "flask": importlib.metadata.version("flask"),
            "python": platform.python_version(),
        }


class TestLeases:
    @pytest.mark.parametrize(("age", "warned"), [(4.0, False), (9.0, False), (20.0, True)])
    def test_one_that_is_held_for_long(
        self, make: Callable[..., Desk], gate: Gate, clock: Clock, age: float, warned: bool
    ) -> None:
        """A load that outlasts all others by far, for which the fleet waits, is a warning."""
        app = Flask("shop")
        desk = make(app=app, cache=SimpleMemoryCache(), cached=False, ASWR_LEASE=5)
        manager: CacheManager = app.extensions["aswr"]

        def slow() -> str:
            gate.hold()
            return "x"

        app.add_url_rule("/", "slow", manager.cacher(timeout=60)(slow))
        engine = manager.site_of(app).engine
        asking = Background(lambda: app.test_client().get("/"))
        gate.await_arrival()
        (flight,) = engine.flights.values()
        flight.lease = Lease(flight.key, "token")
        clock.tick(age)
        assert not of(desk.doctor(), "lease", "warning"), "no load has ended: nobody knows"
        engine.tallies[flight.load.name].note_load(0.9)  # within a second
        assert [line["found"] for line in of(desk.doctor(), "lease", "warning")] == [
            f"{flight.load.name} is loading for {duration(age)}, and the fleet waits for it; none "
            "of its loads took more than 1.0 s so far"
        ] * warned
        flight.lease = None
        assert not of(desk.doctor(), "lease", "warning"), "nobody waits but here"
        gate.open()
        asking.result()

    def test_one_that_would_be_held_for_long(self, make: Callable[..., Desk]) -> None:
        """A long ASWR_LEASE where loads are quick lets a dead worker hold up the others."""
        app = Flask("shop")
        desk = make(app=app, cache=SimpleMemoryCache(), ASWR_LEASE=600)
        tally = app.extensions["aswr"].site_of(app).engine.tallies["view"]
        assert not of(desk.doctor(), "lease"), "no load has ended: nobody knows"
        tally.note_load(2.0)
        line = one(desk.doctor(), "lease", "warning")
        assert "the others wait 600 s" in line["found"]
        assert "none took more than 2.5 s" in line["found"]
        assert line["cure"].startswith("ASWR_LEASE = 5")
        tally.note_load(100.0)
        assert not of(desk.doctor(), "lease"), "one took longer than is counted"


class TestJobs:
    def test_one_that_cannot_run(self, make: Callable[..., Desk], gate: Gate) -> None:
        """A job whose path is not stored, or nowhere, is an error that names it."""
        app = Flask("shop")
        desk = make(app=app)
        manager: CacheManager = app.extensions["aswr"]
        view = manager.cacher(timeout=60)(lambda: str(request.remote_addr))
        app.add_url_rule("/address", "address", view)
        done = gate
        done.close()
        manager.subscribe(lambda event: done.open(), "job", "load_finished")
        manager.schedule_periodic_refresh("/address", 0.05)
        manager.start()
        for _ in range(2):
            done.hold()
            done.close()
        assert manager.join(5)
        line = one(desk.doctor(), "jobs")
        assert line["state"] == "error"
        assert line["found"] == "/address: not stored: reads remote address"
        assert line["cure"] == "flask aswr why /address"


class TestMemory:
    def test_evictions(self, make: Callable[..., Desk]) -> None:
        """Where more was evicted than is kept, it may be too small."""
        app = Flask("shop")
        desk = make(app=app, ASWR_MAX_BYTES=40_000)
        manager: CacheManager = app.extensions["aswr"]
        app.add_url_rule("/<n>", "page", manager.cacher(timeout=60)(lambda n: "x" * 3000))
        line = one(desk.doctor(), "memory")
        assert line["state"] == "ok"
        assert line["found"] == "0 entries, 0 B of 39.1 KiB (0 %), 0 evictions"
        for index in range(60):
            app.test_client().get(f"/{index}")
        line = one(desk.doctor(), "memory")
        assert line["state"] == "note"
        assert "ASWR_MAX_BYTES" in line["cure"]


@pytest.mark.parametrize("name", ["_versions", "_views", "_loop", "_store", "_memory"])
def test_a_check_that_fails_hides_no_other(
    make: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """One that raises is an error line of its own; all the others are there."""

    def broken(*args: Any) -> Any:
        yield checkup._line(name.strip("_"), "ok", "so far")
        raise RuntimeError("no luck")

    broken.__name__ = name
    monkeypatch.setattr(checkup, name, broken)
    lines = make().doctor()
    assert "no luck" in one(lines, name.strip("_"), "error")["found"]
    names = {"versions", "configuration", "views", "server", "loop", "store", "memory"}
    assert {line["name"] for line in lines} == names
