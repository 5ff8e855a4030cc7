"""The door: public answers, given before Flask exists for a request, to WSGI and to ASGI alike.

A public view promises that its app's hooks need not run for an answer, so all that is left to find
out is where a URL leads. Flask's routing is asked that once; the answer, a `Place`, is remembered
under everything that routing sees of a request. From there on it is the same look as in the app.

Any thread. Owns the places of one app; belongs to that app, through the WSGI door, and to nobody
who outlives it. What is not public, not known, or not a plain GET or HEAD is left to Flask.
"""

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any, NamedTuple

from flask import Flask
from werkzeug.routing import BaseConverter

from . import http
from .environ import Environ
from .flight import How, Load
from .freshness import asks
from .inputs import Inputs, Rules
from .keys import ViewKey, canonical_query
from .lookup import Awaited, Found, hit, loaded, look, missed
from .options import Plan
from .replies import Given, Reply, negotiated, reply_to
from .site import Decorated, Site, find_method, query_of

MOST_PLACES = 16_384  # URLs, less their queries; past it, all are asked for anew
LONGEST_PLACE = 2048  # characters; where a longer URL leads is not remembered
_UNKNOWN: Any = object()


class Place(NamedTuple):
    """Where a URL leads: to a public view, by the function that Flask would call."""

    view: Decorated
    plan: Plan
    url: ViewKey  # less the query
    endpoint: str
    function: Callable[..., Any]


class Visit(NamedTuple):
    """One request at the door: what it asks for, and what lies there."""

    place: Place
    url: ViewKey
    found: Found
    environ: Environ
    whole: Callable[[], Environ]


class Door:
    """The public answers of one app. ``knows``: is this a view of the app's own manager?"""

    def __init__(self, app: Flask, site: Site, knows: Callable[[Decorated], bool]) -> None:
        self._site = site
        self._knows = knows
        self._functions = app.view_functions
        self._config = app.config
        self._places: dict[Hashable, Place | None] = {}
        self._asking: tuple[str, ...] | None = None
        _when_routes_change(app, self._forget)

    def _forget(self) -> None:
        self._places, self._asking = {}, None

    def visit(self, environ: Environ, whole: Callable[[], Environ]) -> Visit | None:
        """What a request asks for, where that is a public view; None leaves it to Flask.

        ``environ`` need not have more than the method, the URL and the headers; ``whole`` gives
        all that Flask would get to see.
        """
        place = self._place(environ, whole)
        if place is None:
            return None
        plan, url = place.plan, place.url
        query = environ.get("QUERY_STRING", "")
        if query and (kept := query_of(plan.rules, query.encode("latin-1"))):
            url = ViewKey(url.view, url.script_name, url.path, kept, url.host, ())
        wants = asks(environ.get("HTTP_CACHE_CONTROL")) if plan.request_directives else None
        found = look(self._site.engine, plan.rules, url, wants, _inputs, (whole, plan.rules))
        if found.why or (wants is not None and (wants.only_if_cached or wants.no_store)):
            return None
        return Visit(place, url, found, environ, whole)

    def stored(self, visit: Visit) -> Reply | None:
        """The reply out of the cache; where it is stale, a load begins. None: nothing will do."""
        engine, found = self._site.engine, visit.found
        entry, decision = found.entry, found.decision
        if entry is None or not decision.serve:
            return None
        if decision.load and engine.wants(found.key):
            engine.start(self._load(visit))
        loads = decision.load and not engine.closed
        given = hit(engine, entry, found.now, revalidating=loads, **self._more(visit))
        return reply_to(visit.environ, negotiated(visit.environ, given), found.now)

    async def load(self, visit: Visit) -> Reply | Awaited:
        """Wait for the load of what is missing, on any event loop; the reply that it brings.

        Or what is for Flask to deal with: an error, a pass, no result in time.
        """
        engine = self._site.engine
        load, why = self._load(visit), missed(engine, visit.url, visit.found)
        result = await engine.afetch(load, force=why.force)
        if result is None or result.how in (How.PASS, How.FAILED):
            return Awaited(load, why, result)
        engine.misses += 1
        now = engine.clock()
        given: Given = loaded(engine, result, now, why, **self._more(visit))
        reply = reply_to(visit.environ, negotiated(visit.environ, given), now)
        if http.lines(reply.fields, "set-cookie"):  # one person's: nothing of ours goes with it
            reply.fields[:] = http.without_ours(reply.fields)
        return reply

    def may_load(self, visit: Visit) -> bool:
        """Would the app itself load here?"""
        engine = self._site.engine
        return not engine.closed and not self._site.sharing.passes(visit.url.view, engine.clock())

    def _load(self, visit: Visit) -> Load:
        place = visit.place
        inputs = visit.found.inputs or _inputs((visit.whole, place.plan.rules))
        load = place.view.load_url(self._site, visit.url, place.function, None, inputs.snapshot())
        return replace(load, key=visit.found.key)

    def _more(self, visit: Visit) -> dict[str, str]:
        if not self._config["DEBUG"]:
            return {}
        return {
            "key": visit.place.view.shown(visit.url.path, visit.environ.get("QUERY_STRING", ""))
        }

    # Where a URL leads.

    def _place(self, environ: Environ, whole: Callable[[], Environ]) -> Place | None:
        where = (
            environ["REQUEST_METHOD"], environ["wsgi.url_scheme"], environ.get("HTTP_HOST"),
            environ.get("SCRIPT_NAME"), environ.get("PATH_INFO"),
        )  # fmt: skip
        place = self._places.get(where, _UNKNOWN)
        if place is _UNKNOWN or (
            place and self._functions.get(place.endpoint) is not place.function
        ):
            place = self._ask(where, whole)
        return None if place is None or _is_more(environ) else place

    def _ask(self, where: tuple[str | None, ...], whole: Callable[[], Environ]) -> Place | None:
        places = self._places  # those of the routes that are asked
        if len(places) >= MOST_PLACES:
            places.clear()
        place = self._route(whole())
        if sum(len(part or "") for part in where) <= LONGEST_PLACE:
            places[where] = place
        return place

    def _route(self, environ: Environ) -> Place | None:
        """What Flask's routing says; None where it leads to no public view, or nowhere."""
        app = self._site.app
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD") or "HTTP_HOST" not in environ:
            return None
        if type(app).create_url_adapter is not Flask.create_url_adapter:
            return None  # routing may look at more than a place is remembered under
        if self._asking is None:
            self._asking = _prefixes_that_ask(app)
        try:
            context = app.request_context({**environ, "HTTP_UPGRADE": ""})
            if context.request.path.startswith(self._asking):
                return None
            if context.url_adapter is not None:
                context.match_request()
        except Exception:  # Flask will meet it too, and has an answer to it
            return None
        request = context.request
        function = app.view_functions.get(request.endpoint or "")
        view, cls = find_method(function)
        if function is None or view is None or not self._knows(view):
            return None
        plan = self._site.plan_of(view)
        if not plan.public or (request.method == "HEAD" and hasattr(cls, "head")):
            return None
        host = request.host if self._site.by_host else ""
        url = ViewKey(view.key_name(cls), request.root_path, request.path, "", host, ())
        return Place(view, plan, url, request.endpoint or "", function)


def _inputs(request: tuple[Callable[[], Environ], Rules]) -> Inputs:
    """What a request brings, before any hook has left something of its own."""
    whole, rules = request
    environ = whole()
    query = ""
    if rules.query == "read":
        query = canonical_query(environ.get("QUERY_STRING", "").encode("latin-1"))
    return Inputs(environ, {}, {}, rules, query)


def _is_more(environ: Environ) -> bool:
    """Has the request a body, or asks it for another protocol, which routing heeds?"""
    length = environ.get("CONTENT_LENGTH")
    if length is not None and length not in ("", "0"):
        return True
    return "HTTP_TRANSFER_ENCODING" in environ or "HTTP_UPGRADE" in environ


def _prefixes_that_ask(app: Flask) -> tuple[str, ...]:
    """How the paths begin that a converter of the app's own may look at.

    It may ask a database, or the session, whether there is such a thing: that is for Flask to do,
    each time.
    """
    return tuple(
        rule.rule.partition("<")[0]
        for rule in app.url_map.iter_rules()
        if any(_asks(converter) for converter in rule._converters.values())
    )


def _asks(converter: BaseConverter) -> bool:
    return type(converter).to_python.__module__ != BaseConverter.__module__


def _when_routes_change(app: Flask, act: Callable[[], None]) -> None:
    add = app.url_map.add

    def add_and_act(rulefactory: Any) -> None:
        add(rulefactory)
        act()

    app.url_map.add = add_and_act  # type: ignore[method-assign]
