"""The door: public answers, given before Flask exists for a request, to WSGI and to ASGI alike.

A public view promises that its app's hooks need not run for an answer, so all that is left to find
out is where a URL leads, which `places` remembers. From there on it is the same look as in the app.

Any thread. Belongs to its app, through the WSGI door, and to nobody who outlives it. What is not
public, not known, or not a plain GET or HEAD is left to Flask.
"""

from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from flask import Flask

from . import http
from .codec import Entry
from .environ import Environ
from .flight import How, Load
from .freshness import asks
from .inputs import Inputs, Rules
from .keys import ViewKey, canonical_query
from .lookup import Awaited, Found, loaded, look, missed, serve
from .options import Plan
from .places import Place, Places, when_routes_change
from .policy import Verdict
from .replies import Given, Reply, negotiated, reply_to
from .site import Decorated, Site, query_of
from .store import LARGEST_READY, MOST_READY
from .tally import Tally


class Missing(NamedTuple):
    """A request for a public page of which nothing is stored that will do."""

    place: Place
    url: ViewKey
    found: Found
    environ: Environ
    whole: Callable[[], Environ]


class Ready:
    """A reply that is right for every plain request for a URL, from one moment to another.

    Plain is one whose headers ask nothing of a cache. ``lines`` is the reply's head in the form
    that a door hands on, once it has made one.
    """

    __slots__ = ("entry", "lines", "place", "reply", "since", "tally", "until", "url")

    def __init__(
        self, place: Place, tally: Tally, url: ViewKey, entry: Entry, now: float, reply: Reply
    ) -> None:
        self.place = place
        self.tally = tally
        self.url = url
        self.entry = entry
        self.reply = reply._replace(fields=list(reply.fields))  # that one is the server's to change
        self.lines: list[tuple[bytes, bytes]] | None = None
        self.since = now
        # Until ``ttl`` counts down or ``Age`` up, or the entry is stale.
        rest, age = entry.fresh_until - now, now - entry.stored
        self.until = now + min(rest % 1.0, 1.0 - age % 1.0)

    def holds(self, now: float) -> bool:
        """Is it right at this time?"""
        return self.since <= now < self.until or now == self.since


class Door:
    """The public answers of one app. ``knows``: is this a view of the app's own manager?"""

    def __init__(self, app: Flask, site: Site, knows: Callable[[Decorated], bool]) -> None:
        self._site = site
        self._config = app.config
        self._find_places = partial(Places, app, site, knows)
        self._functions = app.view_functions
        self._ready: dict[Hashable, Ready] = {}
        self._places: Places | None = None
        self._changes = 0
        when_routes_change(app, self._forget)

    def _forget(self) -> None:
        self._changes += 1
        self._places, self._ready = None, {}

    def _remember(self) -> Places:
        changes, places = self._changes, self._find_places()
        if changes == self._changes:  # else it may be of routes that have changed meanwhile
            self._places = places
        return places

    def leads(self, path: str) -> bool:
        """May a ``PATH_INFO`` lead to a public view? Most of an app's paths do not."""
        places = self._places
        return (
            places is None or places.count != len(self._functions) or path.startswith(places.begins)
        )

    def ready(self, plain: Hashable) -> Ready | None:
        """What was answered a moment ago to the same plain request, where it still is right.

        Counted as a hit. ``plain`` is all that routing sees of it, and its query.
        """
        ready = self._ready.get(plain)
        if ready is None:
            return None
        engine, place = self._site.engine, ready.place
        if not ready.holds(engine.clock()):
            return None
        if self._functions.get(place.endpoint) is not place.function:
            return None
        if engine.store.peek(ready.url) is not ready.entry:  # renewed, purged or evicted
            return None
        tally = ready.tally
        tally.fresh_hits += 1
        tally.saved += ready.entry.cost
        if "hit" in engine.events.wanted:
            age = engine.clock() - ready.entry.stored
            engine.events.tell("hit", tally.view, ready.url, seconds=age)
        return ready

    def answer(
        self, environ: Environ, whole: Callable[[], Environ], plain: Hashable = None
    ) -> Reply | Missing | None:
        """The reply out of the cache, fresh or stale; None leaves the request to Flask.

        ``environ`` need not have more than the method, the URL and the headers; ``whole`` gives
        all that Flask would get to see. ``plain``, where the request is plain, as for `ready`.
        """
        places = self._places
        if places is None or places.count != len(self._functions):
            places = self._remember()
        place = places.find(environ, whole)
        if place is None or is_more(environ):
            return None
        plan, url, engine = place.plan, place.url, self._site.engine
        query = environ.get("QUERY_STRING", "")
        if query and (kept := query_of(plan.rules, query.encode("latin-1"))):
            url = ViewKey(url.view, url.script_name, url.path, kept, url.host, ())
        wants = asks(environ.get("HTTP_CACHE_CONTROL")) if plan.request_directives else None
        found = look(engine, plan.rules, url, wants, _inputs, (whole, plan.rules))
        if found.why or (wants is not None and (wants.only_if_cached or wants.no_store)):
            return None
        more = self._more(place, environ)
        missing = Missing(place, url, found, environ, whole)
        tally = engine.tallies[place.view.name]
        given = serve(engine, tally, found, lambda: self._load(missing), more)
        if given is None:
            return missing
        reply = reply_to(environ, negotiated(environ, given), found.now)
        if plain is not None and found.key is url and _says_all(found, plan):
            assert found.entry is not None
            self._make_ready(plain, Ready(place, tally, url, found.entry, found.now, reply))
        return reply

    def _make_ready(self, plain: Hashable, ready: Ready) -> None:
        if len(self._ready) >= MOST_READY:
            self._ready.clear()
        self._ready[plain] = ready

    async def load(self, missing: Missing) -> Reply | Awaited:
        """Wait for the load of what is missing, on any event loop; the reply that it brings.

        Or what is for Flask to deal with: an error, a pass, no result in time.
        """
        engine = self._site.engine
        load, why = self._load(missing), missed(engine, missing.url, missing.found)
        result = await engine.afetch(load, force=why.force)
        if result is None or result.how in (How.PASS, How.FAILED):
            return Awaited(load, why, result)
        view, more = missing.place.view.name, self._more(missing.place, missing.environ)
        now = engine.clock()
        given: Given = loaded(engine, engine.tallies[view], load.key, result, now, why, **more)
        reply = reply_to(missing.environ, negotiated(missing.environ, given), now)
        if http.lines(reply.fields, "set-cookie"):  # one person's: nothing of ours goes with it
            reply.fields[:] = http.without_ours(reply.fields)
        return reply

    def may_load(self, missing: Missing) -> bool:
        """Would the app itself load here?"""
        engine = self._site.engine
        return not engine.closed and not self._site.sharing.passes(missing.url.view, engine.clock())

    def _load(self, missing: Missing) -> Load:
        place = missing.place
        inputs = missing.found.inputs or _inputs((missing.whole, place.plan.rules))
        load = place.view.load_url(self._site, missing.url, place.function, None, inputs.snapshot())
        return replace(load, key=missing.found.key)

    def _more(self, place: Place, environ: Environ) -> dict[str, str]:
        """What ``Cache-Status`` says besides, in debug mode: which key it is."""
        if not self._config["DEBUG"]:
            return {}
        return {"key": place.view.shown(place.url.path, environ.get("QUERY_STRING", ""))}


def _inputs(request: tuple[Callable[[], Environ], Rules]) -> Inputs:
    """What a request brings, before any hook has left something of its own."""
    whole, rules = request
    environ = whole()
    query = ""
    if rules.query == "read":
        query = canonical_query(environ.get("QUERY_STRING", "").encode("latin-1"))
    return Inputs(environ, {}, {}, rules, query)


def _says_all(found: Found, plan: Plan) -> bool:
    """Is what lies at a URL the same for every plain request, and small enough to hold on to?"""
    entry = found.entry
    return (
        found.decision.verdict is Verdict.FRESH
        and entry is not None
        and not entry.value.codings
        and len(entry.value.body) <= LARGEST_READY
        and not plan.request_directives
        and plan.rules.vary != "response"
    )


def is_more(environ: Environ) -> bool:
    """Has it a body, asks it for another protocol, or does a test client look at its context?"""
    length = environ.get("CONTENT_LENGTH")
    if length is not None and length not in ("", "0"):
        return True
    if "HTTP_TRANSFER_ENCODING" in environ or "HTTP_UPGRADE" in environ:
        return True
    return "werkzeug.debug.preserve_context" in environ
