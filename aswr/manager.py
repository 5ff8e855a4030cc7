"""`CacheManager`, the Flask extension: registration, jobs, life cycle.

Nothing starts at import, at decoration or in `init_app`. State that belongs to an app is in its
`Site`, held weakly; the manager keeps what was decorated and scheduled before there was an app.
Its decorators are in `decorators`, its verbs in `verbs`.
"""

import asyncio
import logging
import time
import warnings
import weakref
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from flask import Flask, Response
from flask.ctx import RequestContext
from flask.globals import _cv_request, request
from flask.signals import request_started

from . import backend, clocks, runtime
from .answers import keep_cookies_apart, leave_final_answers_alone
from .asgi import AsgiApp
from .bridge import Bridge
from .checks import Seconds, check_callable, seconds
from .coroutines import on_aswrs_loop
from .decorators import Decorators
from .executor import DaemonExecutor
from .jobs import JobInfo, Jobs
from .options import UNSET, UnsetType, read_config
from .serving import start_when_served
from .site import MARK, VERB_LIMIT, Site
from .unsafe import SAFE, outdate
from .verbs import which_app
from .views import CachedView
from .wsgi import put_door

if TYPE_CHECKING:
    from aiocache.base import BaseCache

log = logging.getLogger("aswr.manager")

SITE = "aswr.site"  # an app's extension: looked up on every hit, where a weak dictionary is slow

CacheSource: TypeAlias = "str | BaseCache | Callable[[], BaseCache] | None"


class CacheManager(Decorators):
    """A stale-while-revalidate cache for Flask apps.

    ``cache`` is None (memory alone, bounded by ``max_bytes``), what many processes share behind
    their memory: an address of Redis or Valkey (``redis://``, ``rediss://``, ``unix://``), an
    aiocache cache object, or a factory of one that is called on aswr's loop. ``clock`` gives the
    time in seconds since the epoch. What is not given here is read from the app's config in
    `init_app` (keys ``ASWR_...``).
    """

    def __init__(
        self,
        app: Flask | None = None,
        cache: CacheSource = None,
        *,
        max_bytes: int | UnsetType = UNSET,
        clock: Callable[[], float] | UnsetType = UNSET,
        base_url: str | UnsetType = UNSET,
        drain_timeout: Seconds | UnsetType = UNSET,
    ) -> None:
        super().__init__()
        self._cache = backend.check(cache)
        self._clock = check_callable("clock", clocks.default if clock is UNSET else clock)
        self._watchers, self._starters = [], []
        self._given = {
            "ASWR_MAX_BYTES": max_bytes,
            "ASWR_BASE_URL": base_url,
            "ASWR_DRAIN_TIMEOUT": drain_timeout,
        }
        self._sites: weakref.WeakKeyDictionary[Flask, Site] = weakref.WeakKeyDictionary()
        self._jobs = Jobs()
        self._runtime: runtime.Runtime | None = None
        self._refused = ""
        self._looks_on = False
        runtime.make_known(self)
        if app is not None:
            self.init_app(app)

    def __repr__(self) -> str:
        apps = ", ".join(site.name for site in self._live())
        return f"<CacheManager apps=[{apps}] {'closed' if self._runtime is None else 'running'}>"

    def __del__(self) -> None:
        if getattr(self, "_runtime", None) is None:
            return
        warnings.warn(
            f"unclosed {self!r}: call close()", ResourceWarning, source=self, stacklevel=2
        )
        runtime.abandon(self)

    # The extension.

    def init_app(self, app: Flask, cache: CacheSource = None) -> None:
        """Use this manager in an app. Reads the config; starts nothing.

        ``cache`` as in the constructor, for this app alone. Raises `RuntimeError` where another
        manager is registered, `ValueError` or `TypeError` for bad config, `ImportError` where
        ``ASWR_COMPRESS`` needs a library.
        """
        other = app.extensions.get("aswr")
        if other is self and app in self._sites:
            raise RuntimeError(
                f"this CacheManager is already registered on {app.name!r}: call init_app once"
            )
        if other is not None:
            raise RuntimeError(
                f"the app {app.name!r} already has a CacheManager: use "
                "app.extensions['aswr'], or create the second manager without this app"
            )
        given = {name: value for name, value in self._given.items() if value is not UNSET}
        config = read_config({**app.config, **given})
        sources = (cache, self._cache, config["ASWR_CACHE"])  # an empty cache object is falsy
        source = backend.check(next((s for s in sources if s is not None), None))
        site = Site(app, config, self._loop, lambda: self._runtime, self._clock, source)
        _ = site.base  # a bad ASWR_BASE_URL is an error here
        self.refuse_upside_down(app)
        app.extensions["aswr"] = self
        app.extensions[SITE] = site
        self._sites[app] = site
        jobs, where = self._jobs, weakref.ref(site)
        site.jobs = lambda: _shown_jobs(jobs, where())
        site.shared.counts = not self._looks_on
        for call in list(self._watchers):
            call(site.engine)
        self._install(app, site)

    def _install(self, app: Flask, site: Site) -> None:
        app.async_to_sync = partial(_async_to_sync, app.async_to_sync, site)  # type: ignore[method-assign]
        leave_final_answers_alone(app)
        wrapper = put_door(app, site, self._views.__contains__) if site.enabled else ""
        app.finalize_request = partial(_finalize, site, app.finalize_request)  # type: ignore[method-assign]
        myself = weakref.ref(self)

        def first_request(sender: Flask, **extra: Any) -> None:
            manager = myself()
            if manager is not None:
                manager._first_request(sender, wrapper)
            request_started.disconnect(first_request, sender)

        request_started.connect(first_request, app, weak=False)
        start_when_served(app, myself)

    def _first_request(self, app: Flask, wrapper: str) -> None:
        self.refuse_upside_down(app)
        if wrapper and self._has_public():
            log.warning(
                "%s: public pages are answered by the app and not before it, since %s lay around "
                "app.wsgi_app already at init_app and may be a guard; call manager.init_app(app) "
                "before that is put there", app.name, wrapper, extra={"aswr_app": app.name},
            )  # fmt: skip
        if self._jobs and not self._jobs.has_begun(self._sites[app]):
            self.start_unasked()

    def start_unasked(self) -> None:
        """`start`, where nobody would catch an error: a job that cannot run is logged, once."""
        try:
            self.start()
        except ValueError as error:
            if str(error) != self._refused:
                apps = ", ".join(engine.name for engine in self.engines())
                log.error("aswr runs no periodic refresh: %s", error, extra={"aswr_app": apps})
            self._refused = str(error)

    # Periodic refresh and life cycle.

    def schedule_periodic_refresh(
        self, path: str, interval: Seconds, compute_func: Callable[..., Any] | None = None
    ) -> None:
        """Refresh ``path`` (with optional ``?query``) every ``interval`` seconds, from serving on.

        ``compute_func`` serves this job in place of the view's body. Scheduling a path again
        replaces its job. Before `init_app` it goes for every app, later for the app it is called
        for. Raises `ValueError` for a bad path or interval; that no cached view answers the path
        is an error of `start`, since blueprints may come later.
        """
        site = self._for_verb() if list(self._sites) else None
        self._jobs.schedule(path, interval, compute_func, site)
        if self._jobs.started:
            self.start()

    def has_jobs(self) -> bool:
        """Is anything scheduled?"""
        return bool(self._jobs)

    def look_on(self) -> bool:
        """From now on this process serves nobody: for a command line, before anything is asked.

        No periodic refresh runs in it, whoever calls `start`, and it does not count as one of the
        workers that share a store. After `close` it may look on again. False, and nothing changes,
        where the manager is at work here.
        """
        if self._runtime is None:
            self._looks_on = True
            for site in self._live():
                site.shared.counts = site.engine.closed = False
        return self._looks_on

    @property
    def looks_on(self) -> bool:
        """Does this process serve nobody? See `look_on`."""
        return self._looks_on

    @property
    def ticking(self) -> bool:
        """Do periodic refreshes run in this process?"""
        return self._jobs.started

    def jobs(self) -> list[JobInfo]:
        """The periodic refreshes of every live app."""
        return self._jobs.infos(self._live())

    def start(self) -> None:
        """Start the loop thread and the periodic refreshes; idempotent.

        For a server's worker hook, where jobs should run before the first request. Raises
        `ValueError` for a job whose path no cached view answers (the others run all the same),
        `RuntimeError` where threads do not run or no app is there.
        """
        sites = self._live()
        if not sites:
            raise RuntimeError("no app: call manager.init_app(app) before manager.start()")
        sites = [site for site in sites if site.enabled]
        if not sites:
            return
        for app in list(self._sites):
            self.refuse_upside_down(app)
        if self._looks_on:
            return
        loop = self._loop()
        loop.refuse_on_loop("await asyncio.to_thread(manager.start)")
        good, errors = self._jobs.check(sites)

        async def begin() -> None:
            for site in sites:
                site.engine.closed = False
            self._jobs.begin(loop, sites, good)

        loop.call(begin, "aswr start", "asyncio.to_thread(manager.start)", VERB_LIMIT)
        if errors:
            raise errors[0]

    def join(self, timeout: Seconds | None = None) -> bool:
        """Wait until every load asked for so far is over; False when ``timeout`` came first."""
        if self._runtime is None:
            return True
        until = None
        if timeout is not None:
            until = time.monotonic() + seconds("timeout", timeout, zero=True)
        self._runtime.refuse_on_loop("await asyncio.to_thread(manager.join)")
        for site in self._live():
            rest = None if until is None else max(0.0, until - time.monotonic())
            try:
                site.engine.join().result(rest)
            except TimeoutError:
                return False
        return True

    def close(self, timeout: Seconds | None = None) -> None:
        """Stop refreshing, let loads end for ``timeout`` seconds, cancel the rest; idempotent.

        The default is ``ASWR_DRAIN_TIMEOUT``. Afterwards stored answers are still served and
        everything else passes, until `start`.
        """
        limit = None if timeout is None else seconds("timeout", timeout, zero=True)
        loop = self._runtime
        if loop is None:
            return
        loop.refuse_on_loop("await asyncio.to_thread(manager.close)")
        sites = self._live()
        if limit is None:
            limit = max((site.config["ASWR_DRAIN_TIMEOUT"] for site in sites), default=0.0)
        for site in sites:
            site.engine.closed = True
        drained = self._drain(loop, sites, limit)
        self._runtime = None
        if drained:
            runtime.release(self)
        else:  # user code holds the loop: its thread is a daemon and ends with the process
            for site in sites:
                site.engine.give_up()
            self._jobs.forget()
            runtime.abandon(self)

    def _drain(self, loop: runtime.Runtime, sites: list[Site], limit: float) -> bool:
        async def drain() -> None:
            self._jobs.stop()
            await asyncio.gather(*(site.engine.drain(limit) for site in sites))

        try:
            loop.submit(drain, "aswr drain").result(limit + 2.0)
        except (TimeoutError, RuntimeError):  # held, or dead
            return False
        return True

    def forget(self) -> None:
        """In a forked child: nothing of the parent's runs here."""
        self._runtime = None
        self._jobs.forget()
        for site in self._live():
            site.forget()

    def asgi(self, app: Flask | None = None) -> AsgiApp:
        """The ASGI application, for uvicorn, granian or hypercorn; lifespan starts and drains.

        Raises `RuntimeError` where it is not clear which app is meant.
        """
        if app is None:
            sites = self._live()
            if len(sites) != 1:
                raise RuntimeError(which_app(len(sites), "manager.asgi(app)"))
            app = sites[0].app
        site = self.site_of(app)
        bridge = Bridge(
            app, threads=site.config["ASWR_THREADS"],
            executor_factory=lambda: DaemonExecutor(1, "aswr-asgi"),
            startup=self.start if site.enabled else lambda: None, shutdown=self.close,
        )  # fmt: skip
        return AsgiApp(app, bridge, self._has_public)

    def _has_public(self) -> bool:
        return any(view.given.get("public", False) for view in self._views)

    # Which runtime, which app.

    def _loop(self) -> runtime.Runtime:
        """The loop thread, started if need be."""
        loop = self._runtime
        if loop is None or not loop.alive:
            workers = next((s.config["ASWR_WORKERS"] for s in self._live()), None)
            loop = runtime.current(self, workers or runtime.DEFAULT_WORKERS)
            self._runtime = loop
            for call in list(self._starters):
                call(loop)
        return loop

    @property
    def _running(self) -> runtime.Runtime | None:
        return self._runtime

    def loop(self) -> runtime.Runtime:
        """The loop thread, started if need be; for leaves."""
        return self._loop()

    def uses(self, loop: runtime.Runtime) -> bool:
        """Is this its loop thread, and not closed?"""
        return self._runtime is loop

    def site_of(self, app: Flask) -> Site:
        """The cache of an app; raises `RuntimeError` where the app is not this manager's."""
        if app not in self._sites:
            raise RuntimeError(
                f"the app {app.name!r} is not this manager's: call manager.init_app(app) first"
            )
        return self._sites[app]

    def _site_of(self, context: RequestContext) -> Site:
        known = context.app.extensions
        if known.get("aswr") is not self:
            raise RuntimeError(
                f"the app {context.app.name!r} serves a view of a CacheManager that it was not "
                "given: call manager.init_app(app)"
            )
        site: Site = known[SITE]
        return site


def _shown_jobs(jobs: Jobs, site: Site | None) -> list[dict[str, Any]]:
    return [] if site is None else [asdict(info) for info in jobs.infos([site])]


def _async_to_sync(
    previous: Callable[..., Any], site: Site, function: Callable[..., Any]
) -> Callable[..., Any]:
    """Flask's hook: how an async view is called. Ours needs neither a loop nor a thread for a hit.

    Only where the function *is* our wrapper: ``functools.wraps`` copies marks onto outer
    decorators, and an outer ``login_required`` must not be skipped.
    """
    inner = getattr(function, "__func__", function)
    view: CachedView | None = getattr(inner, MARK, None)
    if view is None or view.wrapper is not inner or not site.enabled:
        if site.enabled and site.config["ASWR_RUN_ASYNC_VIEWS"]:
            return on_aswrs_loop(site.engine, previous, function)
        return previous(function)  # type: ignore[no-any-return]
    if inner is function:
        return view.called
    return partial(view.called, function.__self__)  # type: ignore[attr-defined]


def _finalize(site: Site, previous: Callable[..., Response], *args: Any, **kwargs: Any) -> Response:
    """What holds for every answer of the app: no cookie beside our fields, no stale URL left.

    Around all hooks and receivers of ``request_finished``, which may still write cookies.
    """
    response = previous(*args, **kwargs)
    keep_cookies_apart(response)
    if _cv_request.get().request.method not in SAFE:
        outdate(site, request, response)
    return response
