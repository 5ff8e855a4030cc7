"""Where URLs lead: Flask's routing, remembered, for who asks before Flask exists for a request.

A `Place` is remembered under everything that routing sees of a request. Only paths that begin as
a route of a public view does are asked about at all; where a converter or a router of the app's own
has a say, which may look at anything, there is no place, and Flask answers.

Any thread; dictionary reads. Made anew when the routes change. Knows Flask's routing and the site;
must not know entries.
"""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from flask import Flask, Request
from werkzeug.routing import BaseConverter, Map, MapAdapter

from .environ import Environ
from .keys import ViewKey
from .options import Plan
from .site import Decorated, Site, find_method

MOST_PLACES = 8192  # URLs, less their queries; past it, all are asked for anew
MOST_FRONTS = 256
LONGEST = 512  # characters; where a longer URL leads is not remembered
_UNKNOWN: Any = object()


class Place(NamedTuple):
    """Where a URL leads: to a public view, by the function that Flask would call."""

    view: Decorated
    plan: Plan
    url: ViewKey  # less the query
    endpoint: str
    function: Callable[..., Any]


class Front(NamedTuple):
    """How Flask matches the paths under one scheme, host and mount point."""

    adapter: MapAdapter
    script_name: str
    host: str


class Places:
    """Where the URLs of one app lead. ``knows``: is this a view of the app's own manager?"""

    def __init__(self, app: Flask, site: Site, knows: Callable[[Decorated], bool]) -> None:
        self._site = site
        self._knows = knows
        self._functions = app.view_functions
        self._known: dict[Hashable, Place | None] = {}
        self._fronts: dict[Hashable, Front | None] = {}
        self.count = len(app.view_functions)  # a rule may come before its function
        self._public, self._asking = _beginnings(app, self._is_public)
        # The same as PEP 3333 has them.
        self.begins = tuple(begins.encode().decode("latin-1") for begins in self._public)

    def find(self, environ: Environ, whole: Callable[[], Environ]) -> Place | None:
        """The place of a request for GET or HEAD; None where it is for Flask to say.

        ``whole`` gives the environ that Flask would get to see.
        """
        where = (
            environ["REQUEST_METHOD"], environ["wsgi.url_scheme"], environ.get("HTTP_HOST"),
            environ.get("SCRIPT_NAME"), environ.get("PATH_INFO"),
        )  # fmt: skip
        place: Place | None = self._known.get(where, _UNKNOWN)
        if place is _UNKNOWN:
            return self._ask(where, whole)
        if place is None or self._functions.get(place.endpoint) is place.function:
            return place
        # The new one may be a guard around the old one, and what is stored is of that.
        path = place.url.path
        self._site.purge_soon(lambda engine: engine.purge_path(path, None))
        return self._ask(where, whole)

    def _ask(self, where: tuple[str | None, ...], whole: Callable[[], Environ]) -> Place | None:
        method, scheme, host, script_name, raw = where
        if not raw:  # Flask redirects to the slash
            return None
        path = "/" + _decoded(raw).lstrip("/")
        if not path.startswith(self._public) or path.startswith(self._asking):
            return None
        if method not in ("GET", "HEAD") or host is None:
            return None
        if len(self._known) >= MOST_PLACES:
            self._known.clear()
        front = self._front((scheme, host, script_name), whole)
        place = None if front is None else self._match(front, method, path)
        if sum(len(part or "") for part in where) <= LONGEST:
            self._known[where] = place
        return place

    def _front(self, where: tuple[str | None, ...], whole: Callable[[], Environ]) -> Front | None:
        front: Front | None = self._fronts.get(where, _UNKNOWN)
        if front is not _UNKNOWN:
            return front
        front = None
        try:
            # Of its own path and query the adapter would remember whatever came first.
            environ = {**whole(), "PATH_INFO": "/", "QUERY_STRING": ""}
            context = self._site.app.request_context(environ)
        except Exception:  # Flask will meet it too, and has an answer to it
            context = None
        if context is not None and context.url_adapter is not None:
            request = context.request
            host = request.host if self._site.by_host else ""
            front = Front(context.url_adapter, request.root_path, host)
        if len(self._fronts) >= MOST_FRONTS:
            self._fronts.clear()
        if sum(len(part or "") for part in where) <= LONGEST:
            self._fronts[where] = front
        return front

    def _match(self, front: Front, method: str, path: str) -> Place | None:
        try:
            rule, _ = front.adapter.match(path, method, return_rule=True, websocket=False)
        except Exception:  # no such page, a redirect, or an error: Flask meets it too
            return None
        if "GET" not in (rule.methods or ("GET",)):  # what is loaded is an answer to GET
            return None
        function = self._functions.get(rule.endpoint)
        view, cls = find_method(function)
        if function is None or view is None or not self._is_public(function):
            return None
        if method == "HEAD" and hasattr(cls, "head"):
            return None
        url = ViewKey(view.key_name(cls), front.script_name, path, "", front.host, ())
        return Place(view, self._site.plan_of(view), url, rule.endpoint, function)

    def _is_public(self, function: Callable[..., Any] | None) -> bool:
        view, _ = find_method(function)
        return view is not None and self._knows(view) and self._site.plan_of(view).public


def _decoded(text: str | None) -> str:
    """What PEP 3333 has as latin-1, as Werkzeug reads it."""
    if text is None or text.isascii():
        return text or ""
    return text.encode("latin-1").decode(errors="replace")


def _beginnings(
    app: Flask, is_public: Callable[[Callable[..., Any] | None], bool]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """How the paths begin that lead to public views, and those that the app's own code may look at.

    A converter may ask a database, or the session, whether there is such a thing, and a router may
    look at any header: that is for Flask to do, each time.
    """
    public, asking = set(), set()
    for rule in app.url_map.iter_rules():
        begins = rule.rule.partition("<")[0].rstrip("/")
        if is_public(app.view_functions.get(rule.endpoint)):
            public.add(begins)
        converters = rule._converters.values()
        if callable(rule.redirect_to) or any(_asks(converter) for converter in converters):
            asking.add(begins)
    if not _routes_as_flask(app):
        asking.add("/")
    return tuple(public), tuple(asking)


def _asks(converter: BaseConverter) -> bool:
    function = getattr(converter.to_python, "__func__", None)
    return getattr(function, "__module__", "") != BaseConverter.__module__


def _routes_as_flask(app: Flask) -> bool:
    """Does nothing of the app's own decide where a request goes, or whether it gets there?"""
    changed = any(getattr(type(app), name) is not getattr(Flask, name) for name in _ROUTING)
    if changed or not vars(app).keys().isdisjoint(_ROUTING):
        return False
    url_map = app.url_map
    if type(url_map) is not Map or not vars(url_map).keys().isdisjoint(("bind", "bind_to_environ")):
        return False
    return app.request_class.__init__ is Request.__init__


_ROUTING = ("create_url_adapter", "request_context", "full_dispatch_request", "dispatch_request")


def when_routes_change(app: Flask, act: Callable[[], None]) -> None:
    """Call ``act`` after each rule that is added to the app's URL map."""
    add = app.url_map.add

    def add_and_act(rulefactory: Any) -> None:
        add(rulefactory)
        act()

    app.url_map.add = add_and_act  # type: ignore[method-assign]
