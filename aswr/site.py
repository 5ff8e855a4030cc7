"""One app's part of a manager: its config, store, engine, and which URL leads to which view.

A site holds its app weakly: an app that is dropped takes its entries with it. Any thread may use
it. Knows Flask's routing and the render; must not know the doors or the decorators' wrappers, but
for the mark by which a wrapper is found.
"""

import asyncio
import importlib.metadata
import os
import platform
import random
import sys
import weakref
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any, Protocol

from flask import Flask
from flask.ctx import RequestContext
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.routing import RequestRedirect

from .engine import Cleaning, Engine
from .flight import Load
from .here import host
from .inputs import Inputs, Rules
from .keys import VariantKey, ViewKey, base_of, canonical_query, split_path
from .nobody import nobody
from .options import Plan, plan
from .render import BaseUrl, environ_of
from .runtime import Runtime
from .sharing import Sharing
from .store import Store
from .survey import flights_of, in_short, renews
from .tiers import Shared

MARK = "__aswr_view__"
MOST_DESCRIBED = 50  # views of which a process tells the others; those with the most hits
MOST_FLIGHTS = 20  # loads in progress of which it does; the oldest
SERVERS = ("gunicorn", "uvicorn", "granian", "hypercorn", "waitress", "uwsgi", "cheroot")
EMPTY: Mapping[str, str] = {}
VERB_LIMIT = 30.0  # seconds that a verb waits for the loop thread to see to it


class NoView(ValueError):
    """No cached view answers GET there: what there is in its place, and the cure."""

    def __init__(self, found: str, cure: str) -> None:
        super().__init__(f"{found}: {cure}")
        self.found = found
        self.cure = cure


class Decorated(Protocol):
    """What a decorator must give a site: its name, its options, how to load a URL of its own."""

    name: str
    timeout: float | None
    given: Mapping[str, Any]
    wrapper: Callable[..., Any]

    def key_name(self, cls: type | None) -> str: ...

    def load_url(
        self,
        site: "Site",
        key: ViewKey,
        function: Callable[..., Any],
        compute_func: Callable[..., Any] | None,
        inputs: Inputs,
    ) -> Load: ...

    @property
    def asks(self) -> bool: ...  # is there a `key=` to be called in a request?

    def extra(self, scope: Any = None) -> Hashable: ...

    def shown(self, path: str, query: str) -> str: ...


class Site:
    """The cache of one app."""

    def __init__(
        self,
        app: Flask,
        config: Mapping[str, Any],
        runtime: Callable[[], Runtime],
        running: Callable[[], Runtime | None],
        clock: Callable[[], float],
        cache: Any,
    ) -> None:
        self._app = weakref.ref(app)
        self._running = running
        self.name = app.name
        self.config = config
        self.enabled: bool = config["ASWR_ENABLED"]
        self.by_host = app.url_map.host_matching or app.subdomain_matching
        self.store = Store(clock, config["ASWR_MAX_BYTES"], config["ASWR_MAX_VARIANTS"])
        if cache is not None and config["ASWR_SIGN"]:
            secret_keys(app)  # an error now, if there is none
        self.shared = Shared(
            cache, app.name, config, partial(_keys_of, self._app), self.store.stamps, clock
        )
        self.engine = Engine(
            app.name, self.store, runtime, clock=clock, random=random.random, shared=self.shared,
            max_waiters=config["ASWR_MAX_WAITERS"], max_loads=config["ASWR_MAX_LOADS"],
            sender=self._app,
        )  # fmt: skip
        self._plans: dict[str, Plan] = {}  # by name: a view may hold its app
        self.sharing = Sharing()
        self._began = clock()
        self.jobs: Callable[[], list[dict[str, Any]]] = list  # what is said of this app's jobs
        self.shared.describe = partial(
            _described, weakref.ref(self)
        )  # no cycle: it goes with its app

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

    @property
    def running(self) -> Runtime | None:
        """The loop thread, if it runs."""
        return self._running()

    def forget(self) -> None:
        """In a forked child: start empty."""
        self.store.forget()
        self.engine.forget()
        self.sharing.forget()

    def describe(self) -> dict[str, Any]:
        """This process, for who looks at all that share the store: plain values, a few KiB."""
        tallies = sorted(self.engine.tallies.values(), key=lambda tally: -tally.hits)
        now = self.engine.clock()
        flights = flights_of(list(self.engine.flights.values()), now)
        return {
            "host": host(),
            "pid": os.getpid(),
            "server": server_kind(),
            "versions": versions(),
            "began": self._began,
            "at": now,
            "stats": self.engine.stats(),
            "views": {tally.view: tally.counts() for tally in tallies[:MOST_DESCRIBED]},
            "jobs": self.jobs(),
            "flights": in_short(flights, MOST_FLIGHTS),
        }

    def purge(self, purge: Callable[[Engine], Cleaning], twin: str) -> bool:
        """Purge at once, and clean up where a loop runs or others share the entries.

        Whether the shared store has it, if there is one. Raises `RuntimeError` on aswr's own loop,
        where ``twin`` is the form to use.
        """
        running = self._running()
        if running is not None:
            running.refuse_on_loop(twin)
        clean = purge(self.engine)
        if running is not None or self._tells_others:
            return self.engine.runtime.call(clean, "aswr purge", twin, VERB_LIMIT)
        return not self.shared

    async def apurge(self, purge: Callable[[Engine], Cleaning]) -> bool:
        """As `purge`, on any event loop."""
        clean = purge(self.engine)
        if self._running() is not None or self._tells_others:
            return await asyncio.wrap_future(self.engine.runtime.submit(clean, "aswr purge"))
        return not self.shared

    @property
    def _tells_others(self) -> bool:
        return self.engine.shares and not self.engine.closed

    def plan_of(self, decorated: Any) -> Plan:
        """The options of a decorated function as they hold here."""
        found = self._plans.get(decorated.name)
        if found is None:
            found = plan(decorated.timeout, decorated.given, self.config)
            self._plans[decorated.name] = found
        return found

    @property
    def base(self) -> BaseUrl:
        """Where renders pretend to be."""
        return BaseUrl.of(self.app, self.config["ASWR_BASE_URL"])

    def plain_key(self, path: str) -> Hashable:
        """Where the answer to a plain request for ``path`` lies, which may have a query.

        Raises `ValueError`, with the cure, where no cached view answers GET there.
        """
        return self.engine.urls.find(self.load_of(path))[0].key

    def load_of(self, path: str, compute_func: Callable[..., Any] | None = None) -> Load:
        """The load of a plain request for ``path``; raises as `plain_key`."""
        key, view, function = self._resolve(path)
        inputs = self._nobody((), (), self.plan_of(view).rules, split_path(path)[1] or "")
        assert inputs is not None  # only values can contradict each other
        return view.load_url(self, key, function, compute_func, inputs)

    def _nobody(
        self,
        names: tuple[str, ...],
        values: tuple[Hashable, ...],
        rules: Rules,
        query: str = "",
    ) -> Inputs | None:
        """The inputs of a load on behalf of nobody, who comes by the base URL."""
        inputs, base = nobody(names, values, rules, query), self.base
        if inputs is not None:
            inputs.environ.setdefault("HTTP_HOST", base.host)
            inputs.environ.setdefault("wsgi.url_scheme", base.scheme)
        return inputs

    def used_variants(
        self, path: str, plain: Load, compute_func: Callable[..., Any] | None = None
    ) -> list[Load]:
        """The loads of the path's other variants that were read since they were stored.

        Of every query, where ``path`` has none. Not of those that load with their caller only.
        """
        bare, query = split_path(path)
        assert isinstance(plain.base, ViewKey)
        _, view, function = self._resolve(path)
        loads = []
        here = self.engine.urls.find(plain)[0].key
        for key in self.store.variants(bare):
            url = base_of(key)
            assert isinstance(url, ViewKey)
            same = url._replace(query=plain.base.query, extra=()) == plain.base._replace(extra=())
            if not same or key == here or not self.store.used(key) or not renews(url):
                continue
            if query is not None and url.query != plain.base.query:
                continue
            entry = self.store.glance(key)
            if entry is None or entry.names or entry.passing:
                continue
            if (load := self._alone(key, view, function, compute_func)) is not None:
                loads.append(load)
        return loads

    def load_at(self, key: Hashable) -> Load | None:
        """The load of what lies at a key, with the inputs that the key says and no caller.

        None where its caller only has them. Raises `ValueError` where its view is not there.
        """
        url = base_of(key)
        if not renews(url):
            return None
        assert isinstance(url, ViewKey)
        path = url._replace(script_name="").url
        _, found, view, function = self.route(path, host=url.host)
        if (found.view, found.query) != (url.view, url.query):
            raise NoView(f"{path!r} is answered by {found.view} by now", "purge it")
        return self._alone(key, view, function)

    def _alone(
        self,
        key: Hashable,
        view: Decorated,
        function: Callable[..., Any],
        compute_func: Callable[..., Any] | None = None,
    ) -> Load | None:
        """The load of what lies at a view's key; None where no request has its inputs."""
        url = base_of(key)
        assert isinstance(url, ViewKey)
        names, values = (key.names, key.values) if isinstance(key, VariantKey) else ((), ())
        if (inputs := self._nobody(names, values, self.plan_of(view).rules)) is None:
            return None
        load = view.load_url(self, url, function, compute_func, inputs)
        return replace(load, key=key)

    def purge_names(self, path: str) -> tuple[str, str | None]:
        """The path, and the query as it stands in keys, of what a purge names; None: every query.

        A view that does not have the whole query in its key is purged by what it has.
        """
        bare, query = split_path(path)
        if not query:
            return bare, query
        try:
            return bare, self.route(path)[1].query
        except ValueError:
            return bare, query

    def purge_soon(self, purge: Callable[[Engine], Cleaning]) -> None:
        """Purge at once; the clean-up runs by itself, if any is needed. Any thread, never waits."""
        clean = purge(self.engine)
        if self.engine.closed:
            return
        if self._running() is not None or self.engine.shares:
            self.engine.runtime.submit(clean, "aswr purge")

    def knows(self, path: str) -> bool:
        """Is anything stored or loading under a path, or may it be in another process?"""
        if self.store.variants(path):
            return True
        if self.engine.shares:
            try:
                self.route(path)
            except ValueError:  # no cached view answers there
                return False
            return True
        bases = [flight.load.base for flight in list(self.engine.flights.values())]
        return any(isinstance(base, ViewKey) and base.path == path for base in bases)

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
        context, key, view, function = self.route(path)
        if view.asks:
            with context:
                key = key._replace(extra=view.extra())
        return key, view, function

    def route(
        self, path: str, fields: Mapping[str, str] = EMPTY, host: str = ""
    ) -> tuple[RequestContext, ViewKey, Decorated, Callable[..., Any]]:
        """A request for ``path`` with these environ entries, and where it leads, unless raised.

        ``host`` is another than the base URL's, where the app routes by it.
        Raises `ValueError`, with the cure, where no cached view answers GET there.
        """
        bare, query = split_path(path)
        app, base = self.app, self.base
        host = (host or base.host) if self.by_host else ""
        key = ViewKey("", base.script_name, bare, query or "", host, ())
        with app.app_context():
            context = app.request_context({**environ_of(key, base), **fields})
            if context.url_adapter is not None:
                context.match_request()
        request = context.request
        _refuse_unroutable(path, request.routing_exception)
        function = app.view_functions[request.endpoint or ""]
        view, cls = find_method(function)
        if view is None:
            raise NoView(
                f"the view at {path!r} ({request.endpoint}) is not cached",
                "put @manager.cacher(...) under its @app.route(...), and functools.wraps into "
                "decorators between them",
            )
        name = view.key_name(cls)
        kept = query_of(self.plan_of(view).rules, (query or "").encode())
        return context, key._replace(view=name, query=kept), view, function


def _described(site: "weakref.ref[Site]") -> dict[str, Any]:
    return {} if (found := site()) is None else found.describe()


def server_kind() -> str:
    """What serves in this process, by the modules that are loaded; empty if nothing is known."""
    return next((name for name in SERVERS if name in sys.modules), "")


@cache
def versions() -> dict[str, str]:
    """What runs in this process: of aswr, of Flask and of Python."""
    found = {name: importlib.metadata.version(name) for name in ("aswr", "flask")}
    return {**found, "python": platform.python_version()}


def secret_keys(app: Flask) -> list[str | bytes]:
    """The keys that an app signs with, the newest last; raises `ValueError` where it has none."""
    if not app.secret_key:
        raise ValueError("ASWR_SIGN needs a key to sign with: set app.secret_key")
    return [*reversed(app.config.get("SECRET_KEY_FALLBACKS") or ()), app.secret_key]


def _keys_of(app: "weakref.ref[Flask]") -> list[str | bytes]:
    if (found := app()) is None:
        raise RuntimeError("the app of this cache no longer exists")
    return secret_keys(found)


def query_of(rules: Rules, query_string: bytes) -> str:
    """A URL's query as it stands in the key: all of it, what ``query=[...]`` names, or nothing."""
    if rules.query == "read":
        return ""
    return canonical_query(query_string, None if rules.query is True else rules.query)


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
        raise NoView(
            f"the route of {path!r} does not take GET, so there is nothing to cache",
            "only answers to GET and HEAD are stored",
        )
    if isinstance(error, RequestRedirect):
        raise NoView(f"{path!r} redirects to {error.new_url!r}", "name that path instead")
    raise NoView(
        f"no route matches {path!r}",
        "name the path as the browser shows it, '/report', and register the view (and its "
        "blueprint) before the app serves",
    )


def find_view(function: Any) -> Decorated | None:
    """The cached view in or behind a view function, through wrappers and view classes."""
    return find_method(function)[0]


def find_method(function: Any) -> tuple[Decorated | None, type | None]:
    """As `find_view`, and the view class, where it is a method of it that is cached."""
    cls = method_of = None
    seen: set[int] = set()
    while function is not None and id(function) not in seen:
        seen.add(id(function))
        mark = getattr(function, MARK, None)
        if mark is not None and mark.wrapper is function:
            return mark, method_of
        cls = cls or getattr(function, "view_class", None)
        function = getattr(function, "__wrapped__", None)
        if function is None and method_of is None and cls is not None:
            method_of = cls
            function = getattr(cls, "get", None) or getattr(cls, "dispatch_request", None)
    return None, None
