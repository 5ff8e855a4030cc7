"""`CacheManager`, the Flask extension: decorators, verbs, jobs, life cycle.

Nothing starts at import, at decoration or in `init_app`. State that belongs to an app is in its
`Site`, held weakly; the manager keeps what was decorated and scheduled before there was an app.
"""

import asyncio
import logging
import time
import warnings
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

from aiocache.base import BaseCache
from flask import Flask, Response
from flask.ctx import RequestContext
from flask.signals import request_finished, request_started

from . import http, runtime
from .asgi import AsgiApp
from .calls import is_async
from .codec import Entry
from .executor import DaemonExecutor
from .jobs import JobInfo, Jobs
from .keys import name_of
from .memo import Memoized, wrap
from .options import (
    UNSET,
    Seconds,
    UnsetType,
    check_callable,
    check_given,
    check_tags,
    read_config,
    refuse_undecoratable,
    seconds,
    timeout_of,
)
from .serving import start_when_served
from .site import MARK, VERB_LIMIT, Site, find_view
from .typing import CachedFunction, Memoizer
from .verbs import Verbs, which_app
from .views import CachedView

log = logging.getLogger("aswr.manager")

P = ParamSpec("P")
R = TypeVar("R")

Tagger = tuple[str, ...] | Callable[[Any], Any]
CacheSource: TypeAlias = BaseCache | Callable[[], BaseCache]


class CacheManager(Verbs):
    """A stale-while-revalidate cache for Flask apps.

    ``cache`` is None (memory, bounded by ``max_bytes``), an aiocache cache object, or a factory of
    one that is called on aswr's loop. ``clock`` gives the time in seconds since the epoch. What is
    not given here is read from the app's config in `init_app` (keys ``ASWR_...``).
    """

    def __init__(
        self,
        app: Flask | None = None,
        cache: CacheSource | None = None,
        *,
        max_bytes: int | UnsetType = UNSET,
        clock: Callable[[], float] = time.time,
        base_url: str | UnsetType = UNSET,
        drain_timeout: Seconds | UnsetType = UNSET,
    ) -> None:
        self._cache = _check_cache(cache)
        self._clock = check_callable("clock", clock)
        self._given = {
            "ASWR_MAX_BYTES": max_bytes,
            "ASWR_BASE_URL": base_url,
            "ASWR_DRAIN_TIMEOUT": drain_timeout,
        }
        self._sites: weakref.WeakKeyDictionary[Flask, Site] = weakref.WeakKeyDictionary()
        self._jobs = Jobs()
        self._views: weakref.WeakSet[CachedView] = weakref.WeakSet()  # a view may hold its app
        self._names: dict[str, int] = {}
        self._runtime: runtime.Runtime | None = None
        self._refused = ""
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

    def init_app(self, app: Flask, cache: CacheSource | None = None) -> None:
        """Use this manager in an app. Reads the config; starts nothing.

        ``cache`` as in the constructor, for this app alone. Raises `RuntimeError` where another
        manager is registered, `ValueError` or `TypeError` for bad config.
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
        source = _check_cache(next((s for s in sources if s is not None), None))
        site = Site(app, config, self._loop, lambda: self._runtime, self._clock, source)
        _ = site.base  # a bad ASWR_BASE_URL is an error here
        self._refuse_upside_down(app)
        app.extensions["aswr"] = self
        self._sites[app] = site
        self._install(app, site)

    def _install(self, app: Flask, site: Site) -> None:
        app.async_to_sync = partial(_async_to_sync, app.async_to_sync, site)  # type: ignore[method-assign]
        request_finished.connect(_keep_cookies_apart, app)
        myself = weakref.ref(self)

        def first_request(sender: Flask, **extra: Any) -> None:
            manager = myself()
            if manager is not None:
                manager._first_request(sender)
            request_started.disconnect(first_request, sender)

        request_started.connect(first_request, app, weak=False)
        start_when_served(app, myself)

    def _first_request(self, app: Flask) -> None:
        self._refuse_upside_down(app)
        if self._jobs and not self._jobs.has_begun(self._sites[app]):
            self.start_unasked()

    def start_unasked(self) -> None:
        """`start`, where nobody would catch an error: a job that cannot run is logged, once."""
        try:
            self.start()
        except ValueError as error:
            if str(error) != self._refused:
                log.error("aswr runs no periodic refresh: %s", error)
            self._refused = str(error)

    def _refuse_upside_down(self, app: Flask) -> None:
        served = list(app.view_functions.values())
        for view in list(self._views):
            raw = any(function is view.view for function in served)
            if raw and not any(find_view(function) is view for function in served):
                raise RuntimeError(_UPSIDE_DOWN.format(name=view.name))

    # Decorators.

    def cacher(
        self,
        timeout: Seconds,
        refresh_margin: Seconds | None | UnsetType = UNSET,
        compute_func: Callable[..., Any] | None = None,
        *,
        stale_if_error: Seconds | UnsetType = UNSET,
        jitter: float | UnsetType = UNSET,
        soft_timeout: Seconds | None | UnsetType = UNSET,
        load_timeout: Seconds | None | UnsetType = UNSET,
        wait_timeout: Seconds | None | UnsetType = UNSET,
        tags: Tagger = (),
        unless: Callable[[], Any] | None = None,
        store_if: Callable[[Response], bool] | None = None,
        statuses: Mapping[int, Seconds] | UnsetType = UNSET,
        max_body: int | UnsetType = UNSET,
        blocking: bool | UnsetType = UNSET,
        run_before_request: bool | UnsetType = UNSET,
    ) -> Callable[[Callable[P, R]], CachedFunction[P, R]]:
        """Cache a view, ``async def`` or ``def``; goes below ``@app.route``.

        An answer is fresh for ``timeout - refresh_margin`` seconds, then served stale while it is
        refreshed, and gone after ``timeout`` (RFC 5861 §3). Without ``refresh_margin`` it is chosen
        by the measured load time. ``compute_func`` stands in for the view's body.

        ``stale_if_error``: seconds past ``timeout`` in which the old answer stands in for a failed
        load (RFC 5861 §4). ``jitter``: a share of the timeout, 0 to 0.5, taken off at random.
        ``soft_timeout``: seconds a caller waits where an older answer can stand in;
        ``wait_timeout``: seconds a caller waits at all, then 503 while the load goes on;
        ``load_timeout``: seconds a load may take. ``tags``: names, or a callable of the Response.
        ``unless``: called in the request, true means pass. ``store_if``: called with the Response,
        false means answer and do not store. ``statuses``: lifetimes of other statuses, as
        ``{404: 30}``. ``max_body``: bytes. ``blocking``: the async view blocks; run it on a thread
        with a loop of its own. ``run_before_request``: the render runs the app's hooks too.

        Raises `TypeError` or `ValueError` for bad options, and for what is not a view.
        """
        limit = timeout_of("cacher", timeout)
        given = check_given(
            limit,
            {
                "refresh_margin": refresh_margin,
                "stale_if_error": stale_if_error,
                "jitter": jitter,
                "soft_timeout": soft_timeout,
                "load_timeout": load_timeout,
                "wait_timeout": wait_timeout,
                "statuses": statuses,
                "max_body": max_body,
                "blocking": blocking,
                "run_before_request": run_before_request,
            },
        )
        check_callable("compute_func", compute_func)
        options = {
            "compute_func": compute_func,
            "tags": check_tags(tags),
            "unless": check_callable("unless", unless),
            "store_if": check_callable("store_if", store_if),
        }

        def decorate(function: Callable[P, R]) -> CachedFunction[P, R]:
            refuse_undecoratable("cacher", function)
            view = CachedView(
                function, name=self._name(function), site=self._site_of, timeout=limit,
                given=given, **options,
            )  # fmt: skip
            self._views.add(view)
            for app in list(self._sites):
                self._refuse_upside_down(app)
            return cast(CachedFunction[P, R], self._with_verbs(view))

        return decorate

    def _with_verbs(self, view: CachedView) -> Any:
        wrapper: Any = view.wrapper

        def invalidate(**view_args: Any) -> None:
            for path in self._paths_of(view, view_args):
                self.invalidate(path)

        def refresh(**view_args: Any) -> Entry | None:
            entries = [self.refresh(path) for path in self._paths_of(view, view_args)]
            return entries[0] if entries else None

        async def ainvalidate(**view_args: Any) -> None:
            for path in self._paths_of(view, view_args):
                await self.ainvalidate(path)

        async def arefresh(**view_args: Any) -> Entry | None:
            entries = [await self.arefresh(path) for path in self._paths_of(view, view_args)]
            return entries[0] if entries else None

        for verb in (invalidate, refresh, ainvalidate, arefresh):
            verb.__qualname__ = f"{view.name.rpartition(':')[2]}.{verb.__name__}"
            setattr(wrapper, verb.__name__, verb)
        return wrapper

    def _paths_of(self, view: CachedView, view_args: Mapping[str, Any]) -> list[str]:
        site = self._for_verb()
        return [] if site is None else site.paths_of(view, view_args)

    def memoize(
        self,
        timeout: Seconds,
        refresh_margin: Seconds | None | UnsetType = UNSET,
        *,
        stale_if_error: Seconds | UnsetType = UNSET,
        jitter: float | UnsetType = UNSET,
        soft_timeout: Seconds | None | UnsetType = UNSET,
        load_timeout: Seconds | None | UnsetType = UNSET,
        wait_timeout: Seconds | None | UnsetType = UNSET,
        key: Callable[..., Any] | None = None,
        tags: Tagger = (),
        store_if: Callable[[Any], bool] | None = None,
        copy: bool = False,
        sizeof: Callable[[Any], int] | None = None,
    ) -> Memoizer:
        """Cache a function's results by its arguments; ``async def`` or ``def``.

        The decorated function is awaited, ``await fn(...)``, or called as ``fn.sync(...)``. It runs
        in a fresh app context, never in a request. Time options as in `cacher`. ``key`` is called
        with the arguments and gives what stands for them. ``copy`` hands out deep copies instead of
        the stored object. ``sizeof`` gives a result's bytes.

        Raises `TypeError` or `ValueError` for bad options; a call with an argument that cannot be
        keyed raises `TypeError`.
        """
        limit = timeout_of("memoize", timeout)
        given = check_given(
            limit,
            {
                "refresh_margin": refresh_margin,
                "stale_if_error": stale_if_error,
                "jitter": jitter,
                "soft_timeout": soft_timeout,
                "load_timeout": load_timeout,
                "wait_timeout": wait_timeout,
            },
        )
        options = {
            "key": check_callable("key", key),
            "tags": check_tags(tags),
            "store_if": check_callable("store_if", store_if),
            "sizeof": check_callable("sizeof", sizeof),
        }

        def decorate(function: Callable[..., Any]) -> Any:
            refuse_undecoratable("memoize", function)
            memoized = Memoized(
                function, name=self._name(function), is_async=is_async(function), timeout=limit,
                given=given, copies=copy, **options,
            )  # fmt: skip
            return wrap(memoized, self._for_verb)

        return cast(Memoizer, decorate)

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

    # Periodic refresh and life cycle; the verbs are in `Verbs`.

    def has_jobs(self) -> bool:
        """Is anything scheduled?"""
        return bool(self._jobs)

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
            self._refuse_upside_down(app)
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
        if app not in self._sites:
            raise RuntimeError(
                f"the app {app.name!r} is not this manager's: call manager.init_app(app) first"
            )
        site = self._sites[app]
        return AsgiApp(
            app, threads=site.config["ASWR_THREADS"],
            executor_factory=lambda: DaemonExecutor(1, "aswr-asgi"),
            startup=self.start if site.enabled else lambda: None, shutdown=self.close,
        )  # fmt: skip

    # Which runtime, which app.

    def _loop(self) -> runtime.Runtime:
        """The loop thread, started if need be."""
        loop = self._runtime
        if loop is None or not loop.alive:
            workers = next((s.config["ASWR_WORKERS"] for s in self._live()), None)
            loop = runtime.current(self, workers or runtime.DEFAULT_WORKERS)
            self._runtime = loop
        return loop

    @property
    def _running(self) -> runtime.Runtime | None:
        return self._runtime

    def _site_of(self, context: RequestContext) -> Site:
        try:
            return self._sites[context.app]
        except KeyError:
            raise RuntimeError(
                f"the app {context.app.name!r} serves a view of a CacheManager that it was not "
                "given: call manager.init_app(app)"
            ) from None

    def _name(self, function: Callable[..., Any]) -> str:
        cls = getattr(function, "view_class", None)
        name = name_of(cls or function)
        count = self._names[name] = self._names.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"


_UPSIDE_DOWN = (
    "{name}: @manager.cacher(...) stands above @app.route(...), so Flask serves the view without "
    "its cache; put @app.route(...) on top and @manager.cacher(...) below it"
)


def _check_cache(cache: Any) -> Any:
    if (
        cache is None
        or isinstance(cache, BaseCache)
        or (callable(cache) and not isinstance(cache, type))
    ):
        return cache
    if isinstance(cache, type) and issubclass(cache, BaseCache):
        return cache  # a class is a factory of its instances
    raise TypeError(
        f"cache must be None, an aiocache cache object or a factory of one, got {cache!r}; "
        "write CacheManager(app, cache=aiocache.SimpleMemoryCache())"
    )


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
        return previous(function)  # type: ignore[no-any-return]
    bound = (function.__self__,) if inner is not function else ()  # type: ignore[attr-defined]

    def call(*args: Any, **kwargs: Any) -> Any:
        return view.answer_sync(bound + args, kwargs)

    return call


def _keep_cookies_apart(sender: Flask, response: Response, **extra: Any) -> None:
    """No response leaves with both a cookie and our fields: a cookie makes it one person's."""
    if "Set-Cookie" in response.headers and "Cache-Status" in response.headers:
        fields = list(response.headers)
        if (kept := http.without_ours(fields)) != fields:
            response.headers = type(response.headers)(kept)
