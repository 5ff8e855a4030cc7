"""The view decorator: key, peek, decide, and then answer, wait or pass.

Runs in the caller's request, on the caller's thread or loop; a hit reads a dictionary and builds a
response. What waits or loads is the engine's; what is rendered is the render's.
"""

import copy
import functools
import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from dataclasses import replace as replaced
from typing import Any, NamedTuple

from flask import Response
from flask.ctx import RequestContext
from flask.globals import _cv_app, _cv_request
from flask.views import View
from werkzeug.datastructures import Headers

from . import http
from .answers import keep_from_others, respond, unsatisfied
from .calls import changed, compute_body, instance_maker, is_async, routed
from .checks import Tags
from .codec import Answer, Entry
from .emission import Emission
from .errors import UnkeyedInput
from .flight import How, Load, Result, current_flight
from .freshness import Asks, asks, said
from .inputs import Inputs, Rules, vary_fields
from .keys import Unkeyable, VariantKey, ViewKey, canonical
from .loading import ViewLoad
from .notes import Notes
from .options import Plan
from .passing import Passing
from .policy import Decision, Verdict, heed
from .recorder import differs_from_cookie, inputs_of, recorder_of
from .render import Target, tell_monitors
from .site import MARK, Site, find_view, query_of


@dataclass(frozen=True, slots=True)
class Pass:
    """Run the view as Flask would, in the caller's request.

    ``detail`` and ``fwd`` say why in ``Cache-Status``; ``names`` are the inputs that the URL is
    known to read; ``body``: a render calls, and this is what it wants run.
    """

    detail: str = ""
    fwd: str = "bypass"
    names: tuple[str, ...] = ()
    body: Callable[..., Any] | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """A miss: the load to wait for, and the reason in RFC 9211's words.

    ``force``: the request does not take what is stored.
    """

    load: Load
    fwd: str
    force: bool = False


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
        self._notes = Notes(name)
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

    def answer_sync(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The answer for a caller on a thread without a running loop."""
        context = _cv_request.get(None)
        if context is None:
            return Passing(self.name, None, False, self._body, args, kwargs).run()
        step = self._begin(context, args, kwargs)
        if type(step) is Pending:
            twin = f"await asyncio.to_thread({self.name.rpartition('.')[2]}, ...)"
            engine = self._site(context).engine
            result = engine.fetch(step.load, twin, force=step.force)
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
            result = await self._site(context).engine.afetch(step.load, force=step.force)
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
        site = self._site(context)
        if not site.enabled:
            return Pass()
        if context.request.method not in ("GET", "HEAD"):
            return Pass(fwd="method")
        if self._unless is not None and self._unless():
            return Pass("unless")
        asked = self._asked(site, context, args, kwargs)
        if asked is None:
            return Pass("an argument cannot be keyed")
        if asked.scoped and differs_from_cookie(context):
            return Pass("writes session")
        step = self._decide(asked)
        if asked.wants is not None and asked.wants.only_if_cached and type(step) is Pass:
            return unsatisfied(context)
        return step

    def _asked(
        self, site: Site, context: RequestContext, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Asked | None:
        request, plan = context.request, site.plan_of(self)
        cls = type(args[0]) if args and isinstance(args[0], View) else None
        call: Any = ()
        given = args if cls is None else args[1:]
        if not routed(request.view_args, given, kwargs) or changed(context, kwargs):
            try:
                call = (canonical(given), canonical(kwargs))
            except Unkeyable:
                return None
        scope = None if self._scope is None else self._scope()
        # In a render of another view this is a read.
        query = b"" if plan.rules.query in ("read", ()) else request.query_string
        key = ViewKey(
            self.key_name(cls), request.root_path, request.path,
            query_of(plan.rules, query), request.host if site.by_host else "",
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
        engine, key, rules = asked.site.engine, asked.key, asked.plan.rules
        entry, inputs = engine.store.peek(key), None
        where: Hashable = key
        learned: tuple[str, ...] = ()
        if entry is not None and entry.names:
            note, learned = entry, entry.names
            inputs = inputs_of(asked.context, rules)
            inputs.scoped = asked.scoped
            values, why = inputs.under(learned)
            self._note_reads(learned)
            if why:
                self._notes.passes(inputs.carried(learned), rules.kind)
                return Pass(why, names=learned)
            where = VariantKey(key, learned, values)
            entry = engine.store.peek(where)
            if entry is None and note.fewer:
                entry = engine.urls.under_fewer(note, lambda names: _variant(key, names, inputs))
        now, decision = engine.judge(where, entry)
        if entry is not None and decision.verdict is Verdict.PASS:
            return Pass(entry.passing, names=learned)
        if asked.wants is not None:
            decision = heed(decision, entry, now, asked.wants)
        if rules.vary == "response" and not _may_share(asked.context, rules, entry, decision):
            return Pass("sends credentials", names=learned)
        if entry is not None and decision.serve:
            if decision.load and engine.wants(where):
                engine.start(self._load(asked, inputs, where))
            return self._hit(asked.context, entry, now, decision.load and not engine.closed)
        return self._miss(asked, where, entry, inputs)

    def _miss(
        self,
        asked: Asked,
        where: Hashable,
        entry: Entry | None,
        inputs: Inputs | None,
    ) -> Response | Pending | Pass:
        engine, wants = asked.site.engine, asked.wants
        learned = where.names if isinstance(where, VariantKey) else ()
        if wants is not None and wants.only_if_cached:
            return unsatisfied(asked.context)
        if wants is not None and wants.no_store:
            return Pass("no-store", fwd="request", names=learned)
        if passing := asked.site.sharing.passes(asked.key.view, engine.clock()):
            return Pass(passing, names=learned)
        engine.misses += 1
        if engine.closed:
            return Pass("closed")
        if entry is None or entry.passing:
            fwd = "vary-miss" if learned and engine.store.keys_of(asked.key)[1:] else "uri-miss"
            force = False
        else:
            force = engine.clock() < entry.fresh_until  # it is the request that will not have it
            fwd = "request" if force else "stale"
        return Pending(self._load(asked, inputs, where), fwd, force)

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

    def _load(self, asked: Asked, inputs: Inputs | None, where: Hashable) -> Load:
        site, context, args = asked.site, asked.context, asked.args
        function = context.app.view_functions.get(context.request.endpoint or "")
        target = self._whole(self._target(asked.plan, None), function)
        if args and isinstance(args[0], View):
            target = replaced(target, instance=instance_maker(args[0], function))
            args = args[1:]
        if target.whole is None and (asked.key.args or context.request.url_rule is None):
            target = replaced(target, args=(args, asked.kwargs))
        if inputs is None:
            inputs = inputs_of(context, asked.plan.rules)
            inputs.scoped = asked.scoped
        kept = inputs.snapshot()
        return ViewLoad(context.app, site, asked.key, target, kept, asked.scoped).load(where)

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
            self._notes,
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
                raise engine.waited_out(pending.load)
            return older
        entry = engine.store.glance(pending.load.base)
        names = () if entry is None else entry.names
        self._note_reads(names)
        if result.how is How.PASS:
            return Pass(result.detail, names=names)
        if result.how is How.FAILED:
            return self._failed(context, pending, result, now)
        return self._loaded(context, pending, result, now)

    def _older(
        self, context: RequestContext, pending: Pending, now: float, detail: str
    ) -> Response | None:
        """The older answer that ``stale_if_error`` covers."""
        engine = self._site(context).engine
        entry = engine.fallback(pending.load)
        if entry is None or not isinstance(entry.value, Answer):
            return None
        engine.hits += 1
        engine.stale_hits += 1
        return self._stored(context, entry, now, detail)

    def _failed(
        self, context: RequestContext, pending: Pending, result: Result, now: float
    ) -> Response:
        if (older := self._older(context, pending, now, "stale-if-error")) is not None:
            if result.first and isinstance(result.value, BaseException):
                tell_monitors(context.app, result.value)
            return older
        if isinstance(result.value, BaseException):
            raise result.value
        answer = result.value
        status = answer.status
        return self._respond(context, answer, None, now, fwd=pending.fwd, fwd_status=status)

    def _loaded(
        self, context: RequestContext, pending: Pending, result: Result, now: float
    ) -> Response:
        if result.how is How.HIT and result.entry is not None:
            return self._hit(context, result.entry, now, True)
        stored = result.how in (How.STORED, How.COLLAPSED)
        entry = result.entry if stored else None
        return self._respond(
            context, result.value, entry, now,
            fwd=pending.fwd, fwd_status=result.status or False,
            stored=result.how is How.STORED, collapsed=result.how is How.COLLAPSED,
            detail=result.detail,
        )  # fmt: skip

    def _hit(
        self, context: RequestContext, entry: Entry, now: float, revalidating: bool
    ) -> Response:
        engine = self._site(context).engine
        engine.hits += 1
        detail = ""
        if now >= entry.fresh_until:
            engine.stale_hits += 1
            detail = "revalidating" if revalidating else "held-back"
        return self._stored(context, entry, now, detail)

    def _stored(self, context: RequestContext, entry: Entry, now: float, detail: str) -> Response:
        ttl = math.floor(entry.fresh_until - now)
        return self._respond(context, entry.value, entry, now, hit=True, ttl=ttl, detail=detail)

    def _respond(
        self,
        context: RequestContext,
        answer: Answer,
        entry: Entry | None,
        now: float,
        **status: str | int | bool,
    ) -> Response:
        if context.app.debug:
            query = dict.get(context.request.environ, "QUERY_STRING", "")  # not a read
            path = context.request.path
            status["key"] = f"{self.name} {path}?{query}" if query else f"{self.name} {path}"
        public = self._site(context).plan_of(self).public
        served = context.app.view_functions.get(context.request.endpoint or "")
        part = served is not self.wrapper and find_view(served) is not self
        return respond(
            context, answer, http.cache_status(**status), now,
            since=now if entry is None else entry.stored, kept=entry is not None, public=public,
            part=part,
        )  # fmt: skip

    # Passing.

    def _passing(
        self, context: RequestContext, step: Pass, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Passing:
        """How to run the view here; under ``ASWR_STRICT`` what can never be shared is an error."""
        site = self._site(context)
        if site.config["ASWR_STRICT"] and (cause := self._notes.never(step.detail)):
            raise UnkeyedInput(cause)
        blocking = site.plan_of(self).blocking
        return Passing(self.name, site, blocking, step.body or self._body, args, kwargs)

    def _passed(self, context: RequestContext, step: Pass, value: Any) -> Any:
        site = self._site(context)
        if step.body is not None:
            return value
        site.engine.passes += 1
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
        response.headers.add("Cache-Status", status)
        return response

    @property
    def _body(self) -> Callable[..., Any]:
        return self.view if self._compute is None else compute_body(self._compute)


def _variant(key: ViewKey, names: tuple[str, ...], inputs: Inputs) -> tuple[Hashable, str]:
    values, why = inputs.under(names)
    return VariantKey(key, names, values), why


def _may_share(
    context: RequestContext, rules: Rules, entry: Entry | None, decision: Decision
) -> bool:
    """May a request with credentials be given a stored answer (RFC 9111 §3.5)?

    Also with cookies: what a proxy-like view passes on may depend on them and not say so.
    """
    environ = context.request.environ
    if not any(map(rules.is_credential, environ)):
        return True
    if entry is None or not decision.serve:
        return False
    return said(entry.value.status, Emission.own(entry.value), entry.stored).credentials
