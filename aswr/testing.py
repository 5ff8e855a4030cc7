"""The test kit: time that stands still until a test moves it, loads held or made to fail, and what
the cache did, told; so that fresh and stale are tested without sleeping.

`Kit` is a test's hold on one manager; under pytest the fixture ``aswr_kit`` makes it (see
`pytest_plugin`). Assertions on ``Cache-Status`` are in `assertions`, a store that fails in
`failing`; both are had from here. Nothing in aswr imports this. Everything is for a test's thread
and blocks briefly; in async code write ``await asyncio.to_thread(cache.settle)`` and the like.
"""

import contextlib
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from flask import Flask
from werkzeug.exceptions import HTTPException

from . import memo
from .assertions import (
    CacheStatus,
    assert_fresh,
    assert_hit,
    assert_miss,
    assert_passes,
    assert_stale,
    cache_status,
)
from .checks import Seconds, seconds
from .engine import Engine
from .events import Event
from .flight import Flight
from .gates import PATIENCE, Fault, Gate
from .keys import ViewKey, split_path
from .manager import CacheManager
from .plain import Plain
from .site import Site, find_view
from .standstill import CLOCK, ManualClock, ManualTicks, install

if TYPE_CHECKING:
    from .failing import FailingStore

__all__ = [
    "CacheStatus", "FailingStore", "Fault", "Gate", "Kit", "MakeKit", "ManualClock",
    "assert_fresh", "assert_hit", "assert_miss", "assert_passes", "assert_stale", "cache_status",
    "install",
]  # fmt: skip

LEAVE = 1.0  # seconds that loads have to end when a test does

What = Callable[..., Any] | str | None
MakeKit = Callable[[Flask | CacheManager], "Kit"]  # the fixture `aswr_kit`, for annotations


def __getattr__(name: str) -> Any:
    if name == "FailingStore":  # it loads aiocache, and that Redis' client, if there is one
        from .failing import FailingStore

        return FailingStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Kit:
    """One manager in the hands of a test: its time, its loads and its periodic refreshes.

    Made of an app or of its manager; all apps of that manager are in its hands. While it is there
    the time of aswr stands still, in every manager of the process, and nothing refreshes by itself.
    It begins with an empty cache, and `close` (or the end of the ``with`` block) leaves an empty
    one, with real time; so it does with a `FailingStore`, which it mends as well. ``events`` is
    what has happened since, the oldest first.

    Raises `RuntimeError`, with the cure, for a manager whose time it cannot move: one with a clock
    of its own, one that is switched off, one behind a store that others share.
    """

    def __init__(self, app: Flask | CacheManager) -> None:
        self.manager = manager_of(app)
        _refuse_unfit(self.manager, app)
        self.clock = CLOCK
        self.events: list[Event] = []
        self._ticks = ManualTicks(CLOCK)
        self._real_ticks = self.manager._jobs.make_ticker
        self._ticked = self.manager.ticking
        self._gates: list[tuple[_Loads, Gate]] = []
        self._faults: list[tuple[_Loads, Fault]] = []
        self._closed = False
        _begin_anew(self.manager)
        CLOCK.hold()
        _kits[self.manager] = self
        self.manager._jobs.make_ticker = lambda: self._ticks
        self._let_go = self.manager.for_each_engine(self._take)
        self._unsubscribe = self.manager.subscribe(self.events.append)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _take(self, engine: Engine) -> None:
        engine.before_load = self._before_load

    @property
    def _sites(self) -> list[Site]:
        return self.manager._live()

    @property
    def _stores(self) -> list[Plain]:
        made = (site.shared.made for site in self._sites)
        return [store for store in made if isinstance(store, Plain)]

    # Time.

    def advance(self, by: Seconds) -> None:
        """Let ``by`` seconds (or a timedelta) pass, for every cache of the process.

        Nothing happens by itself: answers are older, and what is due waits for
        `run_due_refreshes`. Raises `ValueError` where it is negative, `RuntimeError` once the kit
        is closed.
        """
        passed = seconds("by", by, zero=True)
        if self._closed:
            raise RuntimeError("this kit is closed, and time is real again: make another")
        CLOCK.advance(passed)
        for store in self._stores:
            self.manager.loop().post(store.hasten, passed)

    def run_due_refreshes(self, *, wait: bool = True, timeout: float = PATIENCE) -> int:
        """Run the periodic refreshes that are due now; how many were.

        Due is each at first, and again when its interval has passed; one that was due several times
        runs once. Waits for their loads, unless ``wait`` is False. Raises as `CacheManager.start`
        where a job's path is answered by no cached view, and as `settle`.
        """
        if not self.manager.has_jobs():
            return 0
        self.manager.start()

        async def run() -> int:
            count = self._ticks.run_due()
            await self.manager._jobs.begun()
            return count

        twin = "await asyncio.to_thread(cache.run_due_refreshes)"
        count = self.manager.loop().call(run, "aswr test kit", twin, timeout)
        if wait:
            self.settle(timeout)
        return count

    def settle(self, timeout: float = PATIENCE) -> None:
        """Wait until all loads are over that were asked for so far, and a store was asked again.

        Raises `TimeoutError` after ``timeout`` seconds, naming the loads, as when one is held.
        """
        if not self.manager.join(timeout):
            flights = [f for site in self._sites for f in list(site.engine.flights.values())]
            held = [gate for _, gate in self._gates if gate.held]
            raise TimeoutError(
                f"still loading after {timeout:g} s: "
                + (", ".join(sorted({flight.load.name for flight in flights})) or "what just began")
                + (f"; release() first {', '.join(map(repr, held))}" if held else "")
            )
        for store in self._stores:
            twin = "await asyncio.to_thread(cache.settle)"
            self.manager.loop().call(store.settle, "aswr test kit", twin, timeout)

    def wait_for_callers(self, count: int = 1, timeout: float = PATIENCE) -> None:
        """Wait until so many wait for loads, on threads or as tasks of their own.

        Raises `TimeoutError` after ``timeout`` seconds.
        """
        until = time.monotonic() + timeout
        while (waiting := sum(site.engine.waiting for site in self._sites)) < count:
            if time.monotonic() > until:
                raise TimeoutError(f"{waiting} wait for loads after {timeout:g} s, not {count}")
            time.sleep(0.001)

    # Loads.

    def hold(self, what: What = None) -> Gate:
        """Hold loads from now on, until the gate's ``release()`` or the end of its ``with`` block.

        ``what`` is a cached view, a memoized function, a path (of every query, if it has none), or
        None: every load. Raises `TypeError` or `ValueError` for what is not cached.
        """
        loads = self._loads(what)
        gate = Gate(loads.text)
        self._gates.append((loads, gate))
        return gate

    def fail(
        self, what: What = None, error: BaseException | type[BaseException] | None = None
    ) -> Fault:
        """Make loads fail from now on, until the fault's ``mend()`` or the end of its ``with``.

        ``what`` as in `hold`. They raise ``error``, where the view would have been run.
        """
        loads = self._loads(what)
        if isinstance(error, type):
            error = error()
        if isinstance(error, HTTPException) and (error.code or 500) < 500:
            raise TypeError(
                f"{error!r} is an answer and no failure: views raise it, and it is judged by its "
                "status; give another exception"
            )
        fault = Fault(error or RuntimeError(f"the test kit makes {loads.text} fail"))
        self._faults.append((loads, fault))
        return fault

    async def _before_load(self, flight: Flight) -> None:
        for loads, gate in list(self._gates):
            if loads.meets(flight):
                await gate.go_through()
        for loads, fault in list(self._faults):
            if loads.meets(flight):
                fault.strike()

    def _loads(self, what: What) -> "_Loads":
        if what is None:
            return _Loads("every load", lambda flight: True)
        if isinstance(what, str):
            return self._loads_of_path(what)
        view = find_view(what)
        memoized: memo.Memoized | None = getattr(what, memo.MARK, None)
        if view is None and memoized is None:
            raise TypeError(
                f"{what!r} is not cached: give what @manager.cacher(...) or @manager.memoize(...) "
                "made of it, or a path such as '/report'"
            )
        name = view.name if view is not None else memoized.name if memoized else ""
        return _Loads(f"loads of {name}", lambda flight: flight.load.name == name)

    def _loads_of_path(self, path: str) -> "_Loads":
        wrong: ValueError | None = None
        for site in self._sites:
            try:
                url = site.route(path)[1]
            except ValueError as error:
                wrong = error
                continue
            query = None if split_path(path)[1] is None else url.query
            return _Loads(f"loads of {path}", partial(_is_of, url.path, query))
        assert wrong is not None
        raise wrong

    # The end.

    def close(self) -> None:
        """Open all gates, end loads, empty the cache, tell real time again; idempotent."""
        if self._closed:
            return
        self._closed = True
        for _, gate in self._gates:
            gate.release()
        for _, fault in self._faults:
            fault.mend()
        try:
            self._unsubscribe()
            self._let_go()
            _begin_anew(self.manager)
        finally:
            for site in self._sites:
                site.engine.before_load = None
            self.manager._jobs.make_ticker = self._real_ticks
            _kits.pop(self.manager, None)
            CLOCK.let_go()
        if self._ticked:
            self.manager.start_unasked()


_kits: "weakref.WeakKeyDictionary[CacheManager, Kit]" = weakref.WeakKeyDictionary()  # in use


@dataclass(frozen=True, slots=True)
class _Loads:
    """Some of a manager's loads."""

    text: str
    meets: Callable[[Flight], bool]


def _is_of(path: str, query: str | None, flight: Flight) -> bool:
    url = flight.load.base
    return isinstance(url, ViewKey) and url.path == path and query in (None, url.query)


def manager_of(app: Flask | CacheManager) -> CacheManager:
    """The manager that is meant; raises `RuntimeError` or `TypeError` where there is none."""
    if isinstance(app, CacheManager):
        return app
    if not isinstance(app, Flask):
        raise TypeError(f"a kit is made of a Flask app or its CacheManager, got {app!r}")
    manager = app.extensions.get("aswr")
    if manager is None:
        raise RuntimeError(
            f"the app {app.name!r} has no CacheManager: call manager.init_app(app) first"
        )
    assert isinstance(manager, CacheManager)
    return manager


def _refuse_unfit(manager: CacheManager, app: Flask | CacheManager) -> None:
    if manager in _kits:
        raise RuntimeError(f"{manager!r} has a kit already: use that, or close() it")
    if manager._clock is not CLOCK:
        raise RuntimeError(_EARLY if manager._clock is time.time else _OTHER)
    sites = [manager.site_of(app)] if isinstance(app, Flask) else manager._live()
    if not sites:
        raise RuntimeError("this CacheManager has no app: call manager.init_app(app) first")
    for site in sites:
        if not site.enabled:
            raise RuntimeError(
                f"the cache of the app {site.name!r} is switched off: set ASWR_ENABLED = True in "
                "the config of this test"
            )
        if site.shared and _failing_store_of(site) is None:
            raise RuntimeError(
                f"the app {site.name!r} has a shared store, whose time no test can move: in tests "
                "leave out cache= (and ASWR_CACHE), or give aswr.testing.FailingStore()"
            )


_EARLY = (
    "this CacheManager was made before the test kit was there, so its time cannot be moved. The "
    "pytest plugin is loaded by itself before any conftest, unless PYTEST_DISABLE_PLUGIN_AUTOLOAD "
    "is set: then run pytest -p aswr. Without pytest call aswr.testing.install() before the app is "
    "imported"
)
_OTHER = (
    "this CacheManager was made with a clock of its own, so the kit cannot move its time: leave "
    "out clock= in tests"
)


def _failing_store_of(site: Site) -> "FailingStore | None":
    if not site.shared:
        return None
    from .failing import FailingStore

    source = site.shared._source
    return source if isinstance(source, FailingStore) else None


def _begin_anew(manager: CacheManager) -> None:
    """As if the process had just begun: nothing runs, nothing is stored, nothing is counted."""
    with contextlib.ExitStack() as stack:
        stack.callback(manager.forget)
        for site in manager._live():
            stack.callback(site.store.stamps.clear)
            if (store := _failing_store_of(site)) is not None:
                stack.callback(store.reset)
        manager.close(LEAVE)
