"""One app's part of a manager: its config, store, engine, and which URL leads to which view.

A site holds its app weakly: an app that is dropped takes its entries with it. Any thread may use
it. Knows Flask's routing and the render; must not know the doors or the decorators' wrappers, but
for the mark by which a wrapper is found.
"""

import asyncio
import random
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from aiocache.base import BaseCache
from flask import Flask
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.routing import RequestRedirect

from .engine import Engine
from .flight import Load
from .keys import ViewKey, split_path
from .options import Plan, plan
from .render import BaseUrl, environ_of
from .runtime import Runtime
from .store import Store

MARK = "__aswr_view__"
VERB_LIMIT = 30.0  # seconds that a verb waits for the loop thread to see to it


class Decorated(Protocol):
    """What a decorator must give a site: its name, its options, how to load a URL of its own."""

    name: str
    timeout: float
    given: Mapping[str, Any]
    wrapper: Callable[..., Any]

    def key_name(self, cls: type | None) -> str: ...

    def load_url(
        self,
        site: "Site",
        key: ViewKey,
        function: Callable[..., Any],
        compute_func: Callable[..., Any] | None,
    ) -> Load: ...


class Site:
    """The cache of one app."""

    def __init__(
        self,
        app: Flask,
        config: Mapping[str, Any],
        runtime: Callable[[], Runtime],
        running: Callable[[], Runtime | None],
        clock: Callable[[], float],
        cache: BaseCache | Callable[[], BaseCache] | None,
    ) -> None:
        self._app = weakref.ref(app)
        self._running = running
        self.name = app.name
        self.config = config
        self.enabled: bool = config["ASWR_ENABLED"]
        self.by_host = app.url_map.host_matching or app.subdomain_matching
        namespace = config["ASWR_NAMESPACE"] or app.name
        self.store = Store(namespace, clock, config["ASWR_MAX_BYTES"], cache)
        self.engine = Engine(
            app.name, self.store, runtime, clock=clock, random=random.random,
            max_waiters=config["ASWR_MAX_WAITERS"],
        )  # fmt: skip
        self._plans: weakref.WeakKeyDictionary[Any, Plan] = weakref.WeakKeyDictionary()

    @property
    def app(self) -> Flask:
        """The app; raises `RuntimeError` once it is gone."""
        app = self._app()
        if app is None:
            raise RuntimeError(f"the app {self.name!r} of this cache no longer exists")
        return app

    @property
    def live(self) -> bool:
        return self._app() is not None

    def forget(self) -> None:
        """In a forked child: start empty."""
        self.store.forget()
        self.engine.forget()

    def purge(self, purge: Callable[[Engine], Callable[[], Any]], twin: str) -> None:
        """Purge at once, and clean up where a loop runs or a backend holds entries.

        Raises `RuntimeError` on aswr's own loop, where ``twin`` is the form to use.
        """
        running = self._running()
        if running is not None:
            running.refuse_on_loop(twin)
        clean = purge(self.engine)
        if running is not None or self._cleans_backend:
            self.engine.runtime.call(clean, "aswr purge", twin, VERB_LIMIT)

    async def apurge(self, purge: Callable[[Engine], Callable[[], Any]]) -> None:
        """As `purge`, on any event loop."""
        clean = purge(self.engine)
        if self._running() is not None or self._cleans_backend:
            await asyncio.wrap_future(self.engine.runtime.submit(clean, "aswr purge"))

    @property
    def _cleans_backend(self) -> bool:
        return self.store.shared and not self.engine.closed

    def plan_of(self, decorated: Any) -> Plan:
        """The options of a decorated function as they hold here."""
        found = self._plans.get(decorated)
        if found is None:
            found = self._plans[decorated] = plan(decorated.timeout, decorated.given, self.config)
        return found

    @property
    def base(self) -> BaseUrl:
        """Where renders pretend to be."""
        return BaseUrl.of(self.app, self.config["ASWR_BASE_URL"])

    def plain_key(self, path: str) -> ViewKey:
        """The key of a plain request for ``path``, which may have a query.

        Raises `ValueError`, with the cure, where no cached view answers GET there.
        """
        return self._resolve(path)[0]

    def load_of(self, path: str, compute_func: Callable[..., Any] | None = None) -> Load:
        """The load of a plain request for ``path``; raises as `plain_key`."""
        key, view, function = self._resolve(path)
        return view.load_url(self, key, function, compute_func)

    def used_variants(
        self, path: str, plain: Load, compute_func: Callable[..., Any] | None = None
    ) -> list[Load]:
        """The loads of the path's other queries that were read since they were stored."""
        bare, query = split_path(path)
        if query is not None or not isinstance(plain.key, ViewKey):
            return []
        _, view, function = self._resolve(path)
        loads = []
        for key in self.store.variants(bare):
            same = key._replace(query=plain.key.query) == plain.key
            if same and key != plain.key and self.store.used(key):
                loads.append(view.load_url(self, key, function, compute_func))
        return loads

    def paths_of(self, view: Decorated, view_args: Mapping[str, Any]) -> list[str]:
        """The paths under which routing reaches a view with these arguments.

        Raises `ValueError` where there is none.
        """
        app, paths = self.app, []
        takes: set[str] = set()
        for endpoint, function in app.view_functions.items():
            if find_view(function) is not view:
                continue
            with app.app_context():
                values = dict(view_args)
                app.inject_url_defaults(endpoint, values)
            for rule in app.url_map.iter_rules(endpoint):
                takes |= rule.arguments
                if set(view_args) <= rule.arguments and rule.suitable_for(values, "GET"):
                    built = rule.build(values, append_unknown=False)
                    paths += [] if built is None else [split_path(built[1])[0]]
        if not paths:
            raise ValueError(_no_path(self.name, view, view_args, takes))
        return paths

    def _resolve(self, path: str) -> tuple[ViewKey, Decorated, Callable[..., Any]]:
        """The key, the cached view and Flask's view function of a plain request for a path."""
        bare, query = split_path(path)
        app, base = self.app, self.base
        host = base.host if self.by_host else ""
        key = ViewKey("", base.script_name, bare, query or "", host, ())
        with app.app_context():
            context = app.request_context(environ_of(key, base))
            if context.url_adapter is not None:
                context.match_request()
        request = context.request
        _refuse_unroutable(path, request.routing_exception)
        function = app.view_functions[request.endpoint or ""]
        view = find_view(function)
        if view is None:
            raise ValueError(
                f"the view at {path!r} ({request.endpoint}) is not cached: put "
                "@manager.cacher(...) under its @app.route(...), and functools.wraps into "
                "decorators between them"
            )
        name = view.key_name(getattr(function, "view_class", None))
        return key._replace(view=name), view, function


def _no_path(app: str, view: Decorated, view_args: Mapping[str, Any], takes: set[str]) -> str:
    if view_args or takes:
        wants, got = (", ".join(sorted(names)) or "nothing" for names in (takes, view_args))
        return f"no route of {view.name} fits: its routes take {wants}, got {got}"
    return (
        f"{view.name} has no route in the app {app!r}: put @app.route(...) above "
        "@manager.cacher(...), and functools.wraps into decorators between them"
    )


def _refuse_unroutable(path: str, error: Exception | None) -> None:
    if error is None:
        return
    if isinstance(error, MethodNotAllowed):
        raise ValueError(f"the route of {path!r} does not take GET, so there is nothing to cache")
    if isinstance(error, RequestRedirect):
        raise ValueError(f"{path!r} redirects to {error.new_url!r}; name that path instead")
    raise ValueError(
        f"no route matches {path!r}; name the path as the browser shows it, '/report', "
        "and register the view (and its blueprint) before the app serves"
    )


def find_view(function: Any) -> Decorated | None:
    """The cached view in or behind a view function, through wrappers and view classes."""
    seen: set[int] = set()
    while function is not None and id(function) not in seen:
        seen.add(id(function))
        mark = getattr(function, MARK, None)
        if mark is not None and mark.wrapper is function:
            return mark  # type: ignore[no-any-return]
        following = getattr(function, "__wrapped__", None)
        if following is None and (cls := getattr(function, "view_class", None)) is not None:
            following = getattr(cls, "get", None) or getattr(cls, "dispatch_request", None)
        function = following
    return None
