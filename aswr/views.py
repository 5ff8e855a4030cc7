"""The view decorator: key, peek, decide, and then answer, wait or pass.

Runs in the caller's request, on the caller's thread or loop; a hit reads a dictionary and builds a
response. What waits or loads is the engine's; what is rendered is the render's.
"""

import asyncio
import contextvars
import copy
import functools
import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from dataclasses import replace as replaced
from typing import Any

from asgiref.sync import async_to_sync
from flask import Response
from flask.ctx import RequestContext
from flask.globals import _cv_app, _cv_request
from flask.views import View
from werkzeug.datastructures import Headers

from . import http
from .calls import changed, compute_body, instance_maker, is_async, routed
from .codec import Answer, Entry
from .errors import LoadError
from .flight import Flight, How, Load, Result
from .recorder import recorder_of, set_in
from .keys import Unkeyable, ViewKey, canonical, canonical_query
from .options import Tags
from .policy import Verdict
from .render import Notes, Rendering, Target, tell_monitors
from .runtime import Runtime, thread_sensitive
from .site import MARK, Site


@dataclass(frozen=True, slots=True)
class Pass:
    """Run the view as Flask would, in the caller's request; ``detail`` says why."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Pending:
    """A miss: the load to wait for, and the reason in RFC 9211's words."""

    load: Load
    fwd: str


class CachedView:
    """What `CacheManager.cacher` makes of a view; ``wrapper`` is what Flask gets to see."""

    def __init__(
        self,
        view: Callable[..., Any],
        *,
        name: str,
        site: Callable[[RequestContext], Site],
        timeout: float,
        given: Mapping[str, Any],
        compute_func: Callable[..., Any] | None,
        tags: Tags,
        unless: Callable[[], Any] | None,
        store_if: Callable[[Response], bool] | None,
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
            return self._run_sync(None, args, kwargs)
        step = self._begin(context, args, kwargs)
        if type(step) is Pending:
            twin = f"await asyncio.to_thread({self.name.rpartition('.')[2]}, ...)"
            result = self._site(context).engine.fetch(step.load, twin)
            step = self._finish(context, step, result)
        if type(step) is Pass:
            value = self._run_sync(self._site(context), args, kwargs)
            return self._passed(context, step, value)
        return step

    async def answer(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The answer for a caller on an event loop, his own or aswr's."""
        context = _cv_request.get(None)
        if context is None:
            return await self._run(None, args, kwargs)
        step = self._begin(context, args, kwargs)
        if type(step) is Pending:
            result = await self._site(context).engine.afetch(step.load)
            step = self._finish(context, step, result)
        if type(step) is Pass:
            value = await self._run(self._site(context), args, kwargs)
            return self._passed(context, step, value)
        return step

    # Deciding. No I/O, no waiting.

    def _begin(
        self, context: RequestContext, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Response | Pending | Pass:
        site = self._site(context)
        if not site.enabled or context.request.method not in ("GET", "HEAD"):
            return Pass()
        if self._unless is not None and self._unless():
            return Pass("unless")
        key = self._key(site, context, args, kwargs)
        if key is None:
            return Pass("an argument cannot be keyed")
        engine = site.engine
        entry, now, decision = engine.judge(key)
        if entry is not None and decision.verdict is Verdict.PASS:
            return Pass(entry.passing)
        if entry is not None and decision.serve:
            if entry.reads and (disagrees := self._disagrees(entry.reads)):
                return disagrees
            if decision.load:
                engine.start(self._load(site, context, key, args, kwargs))
            return self._hit(context, entry, now, decision.load and not engine.closed)
        engine.misses += 1
        if engine.closed:
            return Pass("closed")
        fwd = "uri-miss" if entry is None or entry.passing else "stale"
        return Pending(self._load(site, context, key, args, kwargs), fwd)

    def _key(
        self, site: Site, context: RequestContext, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> ViewKey | None:
        request = context.request
        cls = type(args[0]) if args and isinstance(args[0], View) else None
        extra: Any = ()
        given = args if cls is None else args[1:]
        if not routed(request.view_args, given, kwargs) or changed(context, kwargs):
            try:
                extra = (canonical(given), canonical(kwargs))
            except Unkeyable:
                return None
        return ViewKey(
            self.key_name(cls), request.root_path, request.path,
            canonical_query(request.query_string), request.host if site.by_host else "", extra,
        )  # fmt: skip

    def key_name(self, cls: type | None) -> str:
        """The view's part of a key; a method's depends on the class that it is called on."""
        if cls is None or "." not in self.name:
            return self.name
        return f"{self.name}@{cls.__module__}.{cls.__qualname__}"

    def _disagrees(self, reads: tuple[str, ...]) -> Pass | None:
        """A pass where the caller's ``g`` has a name that the render found absent."""
        g = _cv_app.get().g
        if names := [name for name in reads if set_in(g, (name,))]:
            self._notes.reads_g(names)
            return Pass("reads " + ", ".join(f"g.{name}" for name in names))
        if (recorder := recorder_of(g)) is not None:
            for name in reads:
                recorder.note_g(name)
        return None

    # Loading.

    def _load(
        self,
        site: Site,
        context: RequestContext,
        key: ViewKey,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Load:
        target = self._target(site, None)
        if args and isinstance(args[0], View):
            function = context.app.view_functions.get(context.request.endpoint or "")
            target = replaced(target, instance=instance_maker(args[0], function))
            args = args[1:]
        if key.args or context.request.url_rule is None:
            target = replaced(target, args=(args, kwargs))
        return self._load_of(site, key, target)

    def load_url(
        self,
        site: Site,
        key: ViewKey,
        function: Callable[..., Any],
        compute_func: Callable[..., Any] | None,
    ) -> Load:
        """The load of a URL on behalf of nobody, a refresh or a job.

        ``function`` is what Flask calls there: the wrapper, one around it, or a class's view.
        """
        target = self._target(site, compute_func)
        if "@" in key.view and compute_func is None and self._compute is None:
            target = replaced(target, instance=instance_maker(None, function))
        return self._load_of(site, key, target)

    def _target(self, site: Site, compute_func: Callable[..., Any] | None) -> Target:
        compute = compute_func or self._compute
        function = self.view if compute is None else compute_body(compute)
        return Target(
            self.name, function, is_async(compute or self.view), site.plan_of(self), self._tags,
            self._store_if, self._notes,
        )  # fmt: skip

    def _load_of(self, site: Site, key: ViewKey, target: Target) -> Load:
        app, base = site.app, site.base

        def run(flight: Flight) -> Any:
            rendering = Rendering(app, key, base, target, flight)
            if not target.is_async:
                return rendering.on_thread()
            return rendering.blocking() if target.plan.blocking else rendering.on_loop()

        sync = not target.is_async or target.plan.blocking
        return Load(key, self.name, target.plan.times, run, sync)

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
        if result.how is How.PASS:
            return Pass(result.detail)
        reads = result.entry.reads if result.entry is not None else result.reads
        if reads and (disagrees := self._disagrees(reads)):
            engine.note_pass(pending.load, disagrees.detail)
            return disagrees
        if result.how is How.FAILED:
            return self._failed(context, pending, result, now)
        return self._loaded(context, pending, result, now)

    def _older(
        self, context: RequestContext, pending: Pending, now: float, detail: str
    ) -> Response | Pass | None:
        """The older answer that ``stale_if_error`` covers, if the caller agrees with its render."""
        entry = self._site(context).engine.fallback(pending.load.key)
        if entry is None:
            return None
        if entry.reads and (disagrees := self._disagrees(entry.reads)):
            return disagrees
        return self._stale(context, entry, now, detail)

    def _failed(
        self, context: RequestContext, pending: Pending, result: Result, now: float
    ) -> Response | Pass:
        if (older := self._older(context, pending, now, "stale-if-error")) is not None:
            if result.first and isinstance(result.value, BaseException):
                tell_monitors(context.app, result.value)
            return older
        if isinstance(result.value, BaseException):
            raise result.value
        status = http.cache_status(fwd=pending.fwd, fwd_status=result.value.status)
        return self._response(context, result.value, status, None)

    def _loaded(
        self, context: RequestContext, pending: Pending, result: Result, now: float
    ) -> Response:
        if result.how is How.HIT and result.entry is not None:
            return self._hit(context, result.entry, now, True)
        status = http.cache_status(
            fwd=pending.fwd,
            stored=result.how is How.STORED,
            collapsed=result.how is How.COLLAPSED,
            detail=result.detail,
        )
        stored = result.how in (How.STORED, How.COLLAPSED)
        entry = result.entry if stored else None
        age = max(0, int(now - entry.stored)) if entry is not None else None
        return self._response(context, result.value, status, age)

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

    def _stale(self, context: RequestContext, entry: Entry, now: float, detail: str) -> Response:
        engine = self._site(context).engine
        engine.hits += 1
        engine.stale_hits += 1
        return self._stored(context, entry, now, detail)

    def _stored(self, context: RequestContext, entry: Entry, now: float, detail: str) -> Response:
        ttl = math.floor(entry.fresh_until - now)
        status = http.cache_status(hit=True, ttl=ttl, detail=detail)
        response = self._response(context, entry.value, status, max(0, int(now - entry.stored)))
        if response.status_code == 200 and ("ETag" in response.headers or response.last_modified):
            response.make_conditional(context.request)
        return response

    def _response(
        self, context: RequestContext, answer: Answer, status: str, age: int | None
    ) -> Response:
        response = context.app.response_class(answer.body, status=answer.status)
        response.headers = Headers(answer.headers)
        response.headers.add("Cache-Status", status)
        if age is not None:
            response.headers["Age"] = str(age)
        return response

    # Passing.

    def _passed(self, context: RequestContext, step: Pass, value: Any) -> Any:
        site = self._site(context)
        site.engine.passes += 1
        if not step.detail:
            return value
        # A copy: the view may return one object again and again.
        response = copy.copy(context.app.make_response(value))
        response.headers = Headers(http.without_ours(list(response.headers)))
        response.headers.add("Cache-Status", http.cache_status(fwd="bypass", detail=step.detail))
        return response

    def _run_sync(self, site: Site | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        function = self._body
        if not is_async(function):
            return function(*args, **kwargs)
        if site is None or not site.enabled or site.engine.closed:
            return async_to_sync(function)(*args, **kwargs)
        if site.plan_of(self).blocking:
            with asyncio.Runner() as runner:
                return runner.run(function(*args, **kwargs))
        runtime = site.engine.runtime
        runtime.refuse_on_loop(f"await {self.name}(...)")
        return _outlast(runtime, self._submit(site, function, args, kwargs))

    async def _run(self, site: Site | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        function = self._body
        if not is_async(function):
            context = contextvars.copy_context()
            call = functools.partial(context.run, function, *args, **kwargs)
            return await asyncio.get_running_loop().run_in_executor(None, call)
        off = site is None or not site.enabled or site.engine.closed
        if site is None or off or site.engine.runtime.on_loop():
            return await function(*args, **kwargs)
        return await asyncio.wrap_future(self._submit(site, function, args, kwargs))

    def _submit(
        self,
        site: Site,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> "Future[Any]":
        """Run the view on aswr's loop, as a task in a copy of the caller's context."""
        passing = functools.partial(_alone, function, args, kwargs)
        kept = functools.partial(site.engine.keep, passing)
        context = contextvars.copy_context()
        return site.engine.runtime.submit(kept, f"pass {self.name}", context)

    @property
    def _body(self) -> Callable[..., Any]:
        return self.view if self._compute is None else compute_body(self._compute)


async def _alone(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """A passed view on aswr's loop: what would end the loop is an error of this caller's."""
    try:
        async with thread_sensitive():
            return await function(*args, **kwargs)
    except (Exception, asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as error:
        raise LoadError.of("the view", error) from error


def _outlast(runtime: Runtime, done: "Future[Any]") -> Any:
    """Wait for a passed view as long as it takes, but not for a loop that died."""
    while True:
        try:
            with runtime.executor.blocking():
                return done.result(1.0)
        except TimeoutError:
            if done.done():
                raise
            if not runtime.alive:
                raise RuntimeError("aswr's event loop ended while a view ran on it") from None
