"""The decorators of a manager, `cacher` and `memoize`: options in, a wrapped function out.

Options are checked when decorating, on the thread that imports the views; nothing starts. Must not
know the life cycle of a manager, nor the doors.
"""

import weakref
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, ParamSpec, TypeVar, cast

from flask import Flask, Response
from flask.ctx import RequestContext
from flask.globals import _cv_app

from .calls import is_async
from .checks import (
    Seconds,
    check_callable,
    check_flag,
    check_tags,
    refuse_undecoratable,
    timeout_of,
)
from .codec import Coding, Entry
from .keys import name_of
from .memo import Memoized, wrap
from .options import UNSET, UnsetType, check_given
from .site import Site, find_view
from .typing import CachedFunction, Memoizer
from .values import Codec, check_codec
from .verbs import Verbs
from .views import CachedView

P = ParamSpec("P")
R = TypeVar("R")

Tagger = tuple[str, ...] | Callable[[Any], Any]
Last = tuple[Callable[[], Flask | None], Callable[[], Site | None]]  # weak references


def _nobody() -> None:
    """As a weak reference to what is gone."""


class Decorators(Verbs):
    """What a manager makes of views and functions, and what it has made so far."""

    def __init__(self) -> None:
        self._views: weakref.WeakSet[CachedView] = weakref.WeakSet()  # a view may hold its app
        self._names: dict[str, int] = {}
        self._last: Last = _nobody, _nobody

    @abstractmethod
    def _site_of(self, context: RequestContext) -> Site:
        """The site of a request's app."""

    def cacher(
        self,
        timeout: Seconds | None = None,
        refresh_margin: Seconds | None | UnsetType = UNSET,
        compute_func: Callable[..., Any] | None = None,
        *,
        public: bool = False,
        query: Literal[True, "read"] | Collection[str] = True,
        vary: Literal["read", "response"] | Collection[str] = "read",
        ignore: Collection[str] = (),
        key: Callable[[], Any] | None = None,
        scope: Callable[[], Any] | None = None,
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
        emit_cache_control: bool | UnsetType = UNSET,
        request_directives: bool | UnsetType = UNSET,
        cdn_timeout: Seconds | None | UnsetType = UNSET,
        compress: bool | Collection[Coding] | UnsetType = UNSET,
    ) -> Callable[[Callable[P, R]], CachedFunction[P, R]]:
        """Cache a view, ``async def`` or ``def``; goes below ``@app.route``.

        An answer is fresh for ``timeout - refresh_margin`` seconds, then served stale while it is
        refreshed, and gone after ``timeout`` (RFC 5861 §3). What a view reads of a request is its
        key; a request that brings something personal which the view reads runs the view itself.

        ``timeout``: seconds that an answer lives; without it the response's own Cache-Control and
        Expires decide (RFC 9111 §4.2), and what says nothing is not stored. ``refresh_margin``:
        the last of these seconds, in which it is stale; without it chosen by the measured load
        time, and 0 means never stale. ``compute_func``: stands in for the view's body.

        ``public``: the app's hooks need not run for each answer, and browsers and CDNs may keep it.
        ``query``: True, all parameters are part of the key; a list, the view sees these only;
        ``"read"``, those that it reads. ``vary``: ``"read"``, every header may be read; a list of
        headers and ``"cookie:NAME"``, the view sees these only; ``"response"``, the response's
        Vary decides (RFC 9111 §4.1). ``ignore``: headers, ``"cookie:NAME"`` or ``"remote_addr"``
        that the view never sees, and ``"module:function"`` whose reads do not count. ``key``:
        called in the request, its value is part of the key. ``scope``: called in the request, its
        value stands for the person asking, whose whole request the view then sees; None means
        nobody in particular.

        ``stale_if_error``: seconds past ``timeout`` in which the old answer stands in for a failed
        load (RFC 5861 §4). ``jitter``: a share of the timeout, 0 to 0.5, taken off at random.
        ``soft_timeout``: seconds a caller waits where an older answer can stand in.
        ``load_timeout``: seconds a load may take. ``wait_timeout``: seconds a caller waits at all,
        then 503 while the load goes on. ``tags``: names, or a callable of the Response; its
        Cache-Groups are tags too (RFC 9875). ``unless``: called in the request, true means pass.
        ``store_if``: called with the Response, false means answer and do not store.
        ``statuses``: lifetimes of other statuses, as ``{404: 30}``. ``max_body``: bytes of the
        largest body that is stored. ``blocking``: the async view blocks; run it on a thread with a
        loop of its own. ``run_before_request``: the render runs the app's hooks too.
        ``emit_cache_control``: the asker's browser may keep the answer while it is fresh.
        ``request_directives``: heed the request's Cache-Control (RFC 9111 §5.2.1), by which any
        client can force loads. ``cdn_timeout``: seconds that CDNs may keep a public answer
        (CDN-Cache-Control, RFC 9213). ``compress``: True, or some of ``"br"``, ``"zstd"`` and
        ``"gzip"``: keep the answer encoded in these as well, for who accepts them
        (RFC 9110 §12.5.3).

        Raises `TypeError` or `ValueError` for bad options, for those that make no sense together,
        and for what is not a view; `ImportError` where ``compress`` needs a library. Under
        ``ASWR_STRICT`` a request raises `UnkeyedInput` where the view reads what can never be
        shared.
        """
        limit = None if timeout is None else timeout_of("cacher", timeout)
        options = {
            "compute_func": check_callable("compute_func", compute_func),
            "tags": check_tags(tags),
            "unless": check_callable("unless", unless),
            "store_if": check_callable("store_if", store_if),
            "key": check_callable("key", key),
            "scope": check_callable("scope", scope),
        }
        given = check_given(
            limit,
            {
                "public": public,
                "query": query,
                "vary": vary,
                "ignore": ignore,
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
                "emit_cache_control": emit_cache_control,
                "request_directives": request_directives,
                "cdn_timeout": cdn_timeout,
                "compress": compress,
            },
            options,
        )

        def decorate(function: Callable[P, R]) -> CachedFunction[P, R]:
            refuse_undecoratable("cacher", function)
            view = CachedView(
                function, name=self._name(function), site=self._site_of, timeout=limit,
                given=given, **options,
            )  # fmt: skip
            self._views.add(view)
            for app in list(self._sites):
                self.refuse_upside_down(app)
            return cast(CachedFunction[P, R], self._with_verbs(view))

        return decorate

    def _with_verbs(self, view: CachedView) -> Any:
        wrapper: Any = view.wrapper

        def invalidate(**view_args: Any) -> bool:
            told = [self.invalidate(path) for path in self._paths_of(view, view_args)]
            return all(told)

        def refresh(**view_args: Any) -> Entry | None:
            entries = [self.refresh(path) for path in self._paths_of(view, view_args)]
            return entries[0] if entries else None

        async def ainvalidate(**view_args: Any) -> bool:
            told = [await self.ainvalidate(path) for path in self._paths_of(view, view_args)]
            return all(told)

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
        shared: bool = True,
        codec: Codec | None = None,
    ) -> Memoizer:
        """Cache a function's results by its arguments; ``async def`` or ``def``.

        The decorated function is awaited, ``await fn(...)``, or called as ``fn.sync(...)``. It runs
        in a fresh app context, never in a request. Time options as in `cacher`.

        ``timeout``: seconds that a result lives. ``key``: called with the arguments, gives what
        stands for them. ``tags``: names, or a callable of the result. ``store_if``: called with the
        result, false means return and do not store. ``copy``: hand out deep copies instead of the
        stored object. ``sizeof``: called with a result, gives its bytes. ``shared``: False, results
        stay in this process's memory, whatever store is behind it. ``codec``: an object with
        ``encode(value) -> bytes`` and ``decode(bytes)``, by which results travel to a shared store.

        With a shared store, results without a ``codec`` travel as what their return annotation
        says, if they come back equal; else they stay in this process's memory, and the log names
        type and function once.

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
        check_codec(codec)
        options = {
            "key": check_callable("key", key),
            "tags": check_tags(tags),
            "store_if": check_callable("store_if", store_if),
            "sizeof": check_callable("sizeof", sizeof),
            "shared": check_flag("shared", shared),
            "codec": codec,
        }

        def decorate(function: Callable[..., Any]) -> Any:
            refuse_undecoratable("memoize", function)
            memoized = Memoized(
                function, name=self._name(function), is_async=is_async(function), timeout=limit,
                given=given, copies=copy, **options,
            )  # fmt: skip
            return wrap(memoized, self._for_call)

        return cast(Memoizer, decorate)

    def _for_call(self) -> Site | None:
        """As `_for_verb`, and faster for the app that the last call was for."""
        context = _cv_app.get(None)
        app_of, site_of = self._last
        app = app_of()
        if app is not None and (len(self._sites) == 1 if context is None else context.app is app):
            return site_of()
        site = self._for_verb()
        if site is not None:
            self._last = weakref.ref(site.app), weakref.ref(site)  # one write: never of two apps
        return site

    def _name(self, function: Callable[..., Any]) -> str:
        cls = getattr(function, "view_class", None)
        name = name_of(cls or function)
        count = self._names[name] = self._names.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"

    def refuse_upside_down(self, app: Flask) -> None:
        """Raise `RuntimeError`, with the cure, where a view's cache stands above its route."""
        served = list(app.view_functions.values())
        for view in list(self._views):
            raw = any(function is view.view for function in served)
            if raw and not any(find_view(function) is view for function in served):
                raise RuntimeError(_UPSIDE_DOWN.format(name=view.name))


_UPSIDE_DOWN = (
    "{name}: @manager.cacher(...) stands above @app.route(...), so Flask serves the view without "
    "its cache; put @app.route(...) on top and @manager.cacher(...) below it"
)
