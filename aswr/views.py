"""The view decorator: key, peek, decide, and then answer, wait or pass.

Runs in the caller's request, on the caller's thread or loop; a hit reads a dictionary and builds a
response. What waits or loads is the engine's; what is rendered is the render's.
"""

import copy
import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced
from typing import Any, NamedTuple

from flask import Response
from flask.ctx import RequestContext
from flask.globals import _cv_app, _cv_request
from flask.views import View
from werkzeug.datastructures import Headers

from . import http
from .answers import keep_from_others, mark, respond, unsatisfied
from .calls import changed, compute_body, instance_maker, is_async, routed
from .checks import Tags
from .codec import Answer
from .errors import UnkeyedInput
from .flight import How, Load, Result, current_flight
from .freshness import Asks, asks
from .inputs import Inputs, vary_fields
from .keys import Unkeyable, ViewKey, canonical
from .loading import ViewLoad
from .lookup import (
    AWAITED,
    Awaited,
    Found,
    Missed,
    failed,
    loaded,
    look,
    missed,
    serve,
    stand_in,
)
from .notes import Notes
from .options import Plan
from .passing import Passing
from .recorder import differs_from_cookie, inputs_of, recorder_of
from .render import Target, tell_monitors
from .replies import Given
from .site import MARK, Site, find_view, query_of


@dataclass(frozen=True, slots=True)
class Pass:
    """Run the view as Flask would, in the caller's request.

    ``detail`` and ``fwd`` say why in ``Cache-Status``; ``names`` are the inputs that the URL is
    known to read, and ``key`` is where its answer would lie, as far as that was looked for;
    ``body``: a render calls, and this is what it wants run.
    """

    detail: str = ""
    fwd: str = "bypass"
    names: tuple[str, ...] = ()
    key: Hashable = None
    body: Callable[..., Any] | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """A miss: the load to wait for, and why; ``awaited``: a door has done so already."""

    load: Load
    missed: Missed
    awaited: Awaited | None = None


class Asked(NamedTuple):
    """One request for the view: its key, what it brings besides, how the view is called."""

    site: Site
    plan: Plan
    context: RequestContext
    key: ViewKey
    scoped: bool
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    wants: Asks | None  # what the request's directives say, where the view obeys them


class CachedView:
    """What `CacheManager.cacher` makes of a view; ``wrapper`` is what Flask gets to see."""

    def __init__(
        self,
        view: Callable[..., Any],
        *,
        name: str,
        site: Callable[[RequestContext], Site],
        timeout: float | None,
        given: Mapping[str, Any],
        compute_func: Callable[..., Any] | None,
        tags: Tags,
        unless: Callable[[], Any] | None,
        store_if: Callable[[Response], bool] | None,
        key: Callable[[], Any] | None = None,
        scope: Callable[[], Any] | None = None,
    ) -> None:
        self.view = view
        self.name = name
        self.timeout = timeout
        self.given = given
        self._site = site
        self._compute = compute_func
        self._tags = tags
        self._unless = unless
        self._store_if = store_if
        self._key_of = key
        self._scope = scope
        self.notes = Notes(name)
        self.is_async = is_async(view)
        self.wrapper = self._wrap()
        setattr(self.wrapper, MARK, self)

    def _wrap(self) -> Callable[..., Any]:
        if self.is_async:

            @functools.wraps(self.view)
            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                return await self.answer(args, kwargs)
        else:

            @functools.wraps(self.view)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                return self.answer_sync(args, kwargs)

        return wrapper

    # The two ways in.

    def called(self, *args: Any, **kwargs: Any) -> Any:
        """As the wrapper, for an async view that is called without an event loop."""
        return self.answer_sync(args, kwargs)

    def answer_sync(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The answer for a caller on a thread without a running loop."""
        context = _cv_request.get(None)
        if context is None:
            return Passing(self.name, None, False, self._body, args, kwargs).run()
        step = self._begin(context, args, kwargs)
        if type(step) is Pending:
            twin = f"await asyncio.to_thread({self.name.rpartition('.')[2]}, ...)"
            engine, force = self._site(context).engine, step.missed.force
            if step.awaited is None:
                result = engine.fetch(step.load, twin, force=force)
            else:
                result = step.awaited.result
            step = self._finish(context, step, result)
        if type(step) is Pass:
            value = self._passing(context, step, args, kwargs).run()
            return self._passed(context, step, value)
        return step

    async def answer(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The answer for a caller on an event loop, his own or aswr's."""
        context = _cv_request.get(None)
        if context is None:
            return await Passing(self.name, None, False, self._body, args, kwargs).arun()
        step = self._begin(context, args, kwargs)
        if type(step) is Pending:
            engine, force = self._site(context).engine, step.missed.force
            if step.awaited is None:
                result = await engine.afetch(step.load, force=force)
            else:
                result = step.awaited.result
            step = self._finish(context, step, result)
        if type(step) is Pass:
            value = await self._passing(context, step, args, kwargs).arun()
            return self._passed(context, step, value)
        return step

    # Deciding. No I/O, no waiting.

    def _begin(
        self, context: RequestContext, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Response | Pending | Pass:
        flight = current_flight.get()
        if flight is not None and flight.body is not None and flight.body[0] is self:
            _, function = flight.body
            flight.body = None
            return Pass(body=function)
        if flight is not None and flight.trial:  # it reads for who called it, and nothing follows
            return Pass(body=self._body)
        asked = self.ask(self._site(context), context, args, kwargs)
        if isinstance(asked, Pass):
            return asked
        step = (_awaited(asked) if asked.plan.public else None) or self._decide(asked)
        if asked.wants is not None and asked.wants.only_if_cached and type(step) is Pass:
            return unsatisfied(context)
        return step

    def ask(
        self, site: Site, context: RequestContext, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Asked | Pass:
        """What a request asks for, or why it passes whatever is stored; in that request."""
        if not site.enabled:
            return Pass()
        method = context.request.method
        if method != "GET" and (method != "HEAD" or _takes_no_get(context)):
            return Pass(fwd="method")
        if self._unless is not None and self._unless():
            return Pass("unless")
        asked = self._asked(site, context, args, kwargs)
        if asked is None:
            return Pass("an argument cannot be keyed")
        if asked.scoped and differs_from_cookie(context):
            return Pass("writes session", key=asked.key)
        return asked

    def find(self, asked: Asked, uses: bool = True) -> Found:
        """What lies where the answer to a request would; ``uses``: is that a use of it?"""
        rules = asked.plan.rules
        return look(asked.site.engine, rules, asked.key, asked.wants, _inputs_of, asked, uses)

    def carried(self, asked: Asked, names: Sequence[str]) -> tuple[str, ...]:
        """Those of these inputs because of which a request must pass."""
        return _inputs_of(asked).carried(names)

    @property
    def asks_in_requests(self) -> tuple[str, ...]:
        """Those it has of `unless=`, `key=` and `scope=`, which are called in a request."""
        calls = {"unless=": self._unless, "key=": self._key_of, "scope=": self._scope}
        return tuple(name for name, call in calls.items() if call is not None)

    def _asked(
        self, site: Site, context: RequestContext, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Asked | None:
        request, plan = context.request, site.plan_of(self)
        cls = type(args[0]) if args and isinstance(args[0], View) else None
        call: Any = ()
        given = args if cls is None else args[1:]
        if (given or kwargs or request.view_args) and not _as_routed(context, given, kwargs):
            try:
                call = (canonical(given), canonical(kwargs))
            except Unkeyable:
                return None
        scope = None if self._scope is None else self._scope()
        # In a render of another view this is a read.
        query = ""
        if plan.rules.query not in ("read", ()) and (sent := request.query_string):
            query = query_of(plan.rules, sent)
        key = ViewKey(
            self.name if cls is None else self.key_name(cls), request.root_path, request.path,
            query, request.host if site.by_host else "",
            call, self.extra(scope),
        )  # fmt: skip
        wants = None
        if plan.request_directives:
            wants = asks(request.environ.get("HTTP_CACHE_CONTROL"))
        return Asked(site, plan, context, key, scope is not None, args, kwargs, wants)

    @property
    def asks(self) -> bool:
        """Is there a `key=` to be called in a request?"""
        return self._key_of is not None

    def extra(self, scope: Any = None) -> Hashable:
        """What ``key=`` and ``scope=`` add to a key; calls ``key=`` in the request at hand.

        Raises `TypeError`, with the cure, for a value that no key can stand for.
        """
        if self._key_of is None and scope is None:
            return ()
        parts: list[Hashable] = []
        try:
            if self._key_of is not None:
                parts.append(("key", canonical(self._key_of())))
            if scope is not None:
                parts.append(("scope", canonical(scope)))
        except Unkeyable as error:
            raise TypeError(
                f"{self.name}: what key= and scope= return becomes part of a cache key, and this "
                f"is {error}; return text, a number, or a tuple of these, such as the user's id"
            ) from None
        return tuple(parts)

    def _decide(self, asked: Asked) -> Response | Pending | Pass:
        engine, found = asked.site.engine, self.find(asked)
        if found.names:
            self._note_reads(found.names)
        if found.why:
            if found.inputs is not None:
                kind = asked.plan.rules.kind
                self.notes.passes(found.inputs.carried(found.names), kind)
            return Pass(found.why, names=found.names, key=found.key)
        more, tally = self._more(asked.context), engine.tallies[self.name]
        given = serve(engine, tally, found, lambda: self.load(asked, found), more)
        if given is None:
            return self._miss(asked, found)
        return self._respond(asked.context, given, found.now, asked.plan)

    def _miss(self, asked: Asked, found: Found) -> Response | Pending | Pass:
        engine, wants = asked.site.engine, asked.wants
        if wants is not None and wants.only_if_cached:
            return unsatisfied(asked.context)
        if wants is not None and wants.no_store:
            return Pass("no-store", fwd="request", names=found.names, key=found.key)
        if passing := asked.site.sharing.passes(asked.key.view, engine.clock()):
            return Pass(passing, names=found.names, key=found.key)
        if engine.closed:
            return Pass("closed", key=found.key)
        return Pending(self.load(asked, found), missed(engine, asked.key, found))

    def _note_reads(self, names: tuple[str, ...]) -> None:
        """In a render of another view, what this one's answer depends on is read by that one."""
        if (recorder := recorder_of(_cv_app.get().g)) is not None:
            for name in names:
                recorder.note(name)

    def key_name(self, cls: type | None) -> str:
        """The view's part of a key; a method's depends on the class that it is called on."""
        if cls is None or "." not in self.name:
            return self.name
        return f"{self.name}@{cls.__module__}.{cls.__qualname__}"

    # Loading.

    def load(self, asked: Asked, found: Found) -> Load:
        """The load of what a request asks for, on its behalf."""
        site, context, args = asked.site, asked.context, asked.args
        function = context.app.view_functions.get(context.request.endpoint or "")
        target = self._whole(self._target(asked.plan, None), function)
        if args and isinstance(args[0], View):
            target = replaced(target, instance=instance_maker(args[0], function))
            args = args[1:]
        if target.whole is None and (asked.key.args or context.request.url_rule is None):
            target = replaced(target, args=(args, asked.kwargs))
        kept = (found.inputs or _inputs_of(asked)).snapshot()
        return ViewLoad(context.app, site, asked.key, target, kept, asked.scoped).load(found.key)

    def load_url(
        self,
        site: Site,
        key: ViewKey,
        function: Callable[..., Any],
        compute_func: Callable[..., Any] | None,
        inputs: Inputs,
    ) -> Load:
        """The load of a URL on behalf of nobody, a refresh or a job.

        ``function`` is what Flask calls there: the wrapper, one around it, or a class's view.
        """
        target = self._target(site.plan_of(self), compute_func)
        if "@" in key.view and compute_func is None and self._compute is None:
            target = replaced(target, instance=instance_maker(None, function))
        return ViewLoad(site.app, site, key, self._whole(target, function), inputs).load(key)

    def _target(self, plan: Plan, compute_func: Callable[..., Any] | None) -> Target:
        compute = compute_func or self._compute
        function = self.view if compute is None else compute_body(compute)
        return Target(
            self.name, function, is_async(compute or self.view), plan, self._tags, self._store_if,
            self.notes,
        )  # fmt: skip

    def _whole(self, target: Target, function: Callable[..., Any] | None) -> Target:
        """Of a public view the decorators above ours are part of what is cached."""
        if not target.plan.public or function is self.wrapper or find_view(function) is not self:
            return target
        assert function is not None
        return replaced(target, view=self, whole=function, is_async=is_async(function))

    # Answering.

    def _finish(
        self, context: RequestContext, pending: Pending, result: Result | None
    ) -> Response | Pass:
        engine = self._site(context).engine
        now = engine.clock()
        if result is None:
            older = self._older(context, pending, now, "soft-timeout")
            if older is None:
                engine.ledger.note_miss(self.name, pending.load.key, pending.missed.seconds)
                raise engine.waited_out(pending.load)
            return older
        entry = engine.store.glance(pending.load.base)
        names = () if entry is None else entry.names
        self._note_reads(names)
        if result.how is How.PASS:
            return Pass(result.detail, names=names, key=pending.load.key)
        if result.how is How.FAILED:
            return self._failed(context, pending, result, now)
        tally, more = engine.tallies[self.name], self._more(context)
        given = loaded(engine, tally, pending.load.key, result, now, pending.missed, **more)
        return self._respond(context, given, now)

    def _older(
        self, context: RequestContext, pending: Pending, now: float, detail: str
    ) -> Response | None:
        """The older answer that ``stale_if_error`` covers."""
        engine = self._site(context).engine
        entry = engine.fallback(pending.load)
        if entry is None or not isinstance(entry.value, Answer):
            return None
        tally, more = engine.tallies[self.name], self._more(context)
        given = stand_in(engine, tally, pending.load.key, entry, now, detail, **more)
        return self._respond(context, given, now)

    def _failed(
        self, context: RequestContext, pending: Pending, result: Result, now: float
    ) -> Response:
        if (older := self._older(context, pending, now, "stale-if-error")) is not None:
            if result.first and isinstance(result.value, BaseException):
                tell_monitors(context.app, result.value)
            return older
        ledger = self._site(context).engine.ledger
        ledger.note_miss(self.name, pending.load.key, pending.missed.seconds)
        if isinstance(result.value, BaseException):
            raise result.value
        given = failed(result.value, pending.missed, **self._more(context))
        return self._respond(context, given, now)

    def _more(self, context: RequestContext) -> dict[str, str]:
        """What ``Cache-Status`` says besides, in debug mode: which key it is."""
        if not context.app.config["DEBUG"]:
            return {}
        query = dict.get(context.request.environ, "QUERY_STRING", "")  # not a read
        return {"key": self.shown(context.request.path, query)}

    def shown(self, path: str, query: str) -> str:
        """A URL of this view as ``Cache-Status`` shows it (RFC 9211 §2.7)."""
        return f"{self.name} {path}?{query}" if query else f"{self.name} {path}"

    def _respond(
        self, context: RequestContext, given: Given, now: float, plan: Plan | None = None
    ) -> Response:
        plan = plan or self._site(context).plan_of(self)
        served = context.app.view_functions.get(context.request.endpoint or "")
        part = served is not self.wrapper and find_view(served) is not self
        return respond(context, given, now, public=plan.public, part=part)

    # Passing.

    def _passing(
        self, context: RequestContext, step: Pass, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Passing:
        """How to run the view here; under ``ASWR_STRICT`` what can never be shared is an error."""
        site = self._site(context)
        if site.config["ASWR_STRICT"] and (cause := self.notes.never(step.detail)):
            raise UnkeyedInput(cause)
        if step.body is None:  # counted before it runs: it may raise
            site.engine.ledger.note_pass(self.name, step.key, step.detail or step.fwd)
        blocking = site.plan_of(self).blocking
        return Passing(self.name, site, blocking, step.body or self._body, args, kwargs)

    def _passed(self, context: RequestContext, step: Pass, value: Any) -> Any:
        site = self._site(context)
        if step.body is not None:
            return value
        if not step.detail and step.fwd == "bypass":
            return value
        # A copy: the view may return one object again and again.
        response = copy.copy(context.app.make_response(value))
        fields = http.without_ours(list(response.headers))
        fields = http.with_vary(fields, vary_fields(step.names, site.plan_of(self).rules))
        response.headers = Headers(fields)
        if step.fwd != "method":  # but nobody this answer
            keep_from_others(response)
        status = http.cache_status(fwd=step.fwd, detail=step.detail)
        mark(context, response, status)
        return response

    @property
    def _body(self) -> Callable[..., Any]:
        return self.view if self._compute is None else compute_body(self._compute)


def _takes_no_get(context: RequestContext) -> bool:
    """Is the route for HEAD alone? What would be loaded is an answer to GET."""
    rule = context.request.url_rule
    return rule is not None and rule.methods is not None and "GET" not in rule.methods


def _as_routed(context: RequestContext, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Is the view called with what is in the path? Then the path stands for it."""
    return routed(context.request.view_args, args, kwargs) and not changed(context, kwargs)


def _inputs_of(asked: Asked) -> Inputs:
    inputs = inputs_of(asked.context, asked.plan.rules)
    inputs.scoped = asked.scoped
    return inputs


def _awaited(asked: Asked) -> Pending | None:
    """What the ASGI door has waited for already, on behalf of this request."""
    awaited: Awaited | None = dict.pop(asked.context.request.environ, AWAITED, None)  # not a read
    if awaited is None or awaited.load.base != asked.key:
        return None
    return Pending(awaited.load, awaited.missed, awaited)
