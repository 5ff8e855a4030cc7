"""Rendering: a view run in a fresh request context, on behalf of nobody, under the recorder.

A load has three phases in one `contextvars.Context`, which starts empty:

    open   (executor)  push the fresh request context, arm the recorder, URL preprocessors
    run    (loop)      the view's coroutine, as a task in that Context
    close  (executor)  make_response or error handler, freeze the body, verdict, teardown, pop

A plain function runs all three on one executor thread. The user's synchronous code never runs on
the loop; a phase in which there is none (`quiet`) may.
May know Flask, the recorder and the engine's values; must not know the manager or the decorators.
"""

import asyncio
import inspect
import io
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response
from flask.ctx import RequestContext
from flask.globals import _cv_app
from flask.signals import got_request_exception, request_finished, request_started
from werkzeug.exceptions import HTTPException
from werkzeug.sansio.utils import host_is_trusted

from . import conditions, http, quiet
from .bodies import StreamTooLong, freeze
from .checks import Tags, tag_tuple
from .codec import Answer, Entry
from .coding import encoded
from .emission import Emission
from .errors import LoadError, as_exception
from .flight import Fate, Flight, Loaded
from .freshness import said
from .inputs import Inputs
from .keys import VariantKey, ViewKey
from .names import Kind, describe, explained, names_of_vary
from .notes import Notes
from .options import Plan
from .recorded import RecordedNames
from .recorder import Recorder, record_g, recorded_context, writes_session
from .runtime import thread_sensitive

log = logging.getLogger("aswr.render")

Fields = list[tuple[str, str]]

WRITES = "writes session"


@dataclass(frozen=True, slots=True)
class Target:
    """What a render runs: a view or the compute function that stands in for it.

    ``args`` is None where routing gives the arguments. ``whole``: of a public view, what Flask
    calls where that is more than ``view`` itself, whose wrapper then finds what to run in
    `Flight.body`.
    """

    name: str
    function: Callable[..., Any]
    is_async: bool
    plan: Plan
    tags: Tags
    store_if: Callable[[Response], bool] | None
    notes: Notes
    args: tuple[tuple[Any, ...], Mapping[str, Any]] | None = None
    instance: Callable[[], Any] | None = None  # makes the `self` of a class-based view
    view: object = None
    whole: Callable[..., Any] | None = None


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """Where a render pretends to be: what nobody who agrees with the key can tell apart."""

    scheme: str
    host: str
    script_name: str = ""

    @classmethod
    def of(cls, app: Flask, base_url: str | None) -> "BaseUrl":
        """``ASWR_BASE_URL``, else ``SERVER_NAME``, else localhost (or the first trusted host)."""
        if base_url is not None:
            parts = urlsplit(base_url)
            if not parts.scheme or not parts.netloc:
                raise ValueError(
                    f"ASWR_BASE_URL must be scheme and host, got {base_url!r}; "
                    "write 'https://example.com'"
                )
            return cls(parts.scheme, parts.netloc, parts.path.rstrip("/"))
        host = app.config["SERVER_NAME"] or "localhost"
        trusted = app.config["TRUSTED_HOSTS"] or app.request_class.trusted_hosts
        if trusted and not host_is_trusted(host, trusted):
            host = trusted[0].lstrip(".")
        root = app.config["APPLICATION_ROOT"].rstrip("/")
        return cls(app.config["PREFERRED_URL_SCHEME"], host, root)


def environ_of(key: ViewKey, base: BaseUrl) -> dict[str, Any]:
    """The WSGI environ (PEP 3333) that says what the key says, and nothing else."""
    host, url = key.host or base.host, key.url
    name, _, port = host.partition(":")
    script_name, path = (
        text.encode("utf-8", "surrogatepass").decode("latin-1")
        for text in (key.script_name, key.path)
    )
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": script_name,
        "PATH_INFO": path,
        "QUERY_STRING": key.query,
        "REQUEST_URI": url,
        "RAW_URI": url,
        "SERVER_NAME": name,
        "SERVER_PORT": port or ("443" if base.scheme == "https" else "80"),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": host,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": base.scheme,
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


class Rendering:
    """One render, through its phases.

    ``inputs`` is what the load's caller brings besides the key; ``scoped``: the render sees all of
    it. ``prior`` is the entry to be renewed, if the view may answer that it is (304);
    `repeat` tells that it was gone by then. ``still`` gives the entry that is stored now.
    """

    def __init__(
        self,
        app: Flask,
        key: ViewKey,
        base: BaseUrl,
        target: Target,
        flight: Flight,
        inputs: Inputs,
        *,
        scoped: bool = False,
        prior: Entry | None = None,
        still: Callable[[], Entry | None] = lambda: None,
    ) -> None:
        self._app = app
        self._key = key
        self._base = base
        self._target = target
        self._flight = flight
        self._inputs = inputs
        self._scoped = scoped
        self._prior = prior
        self._still = still
        self._context: RequestContext | None = None
        self._value: Any = None
        self._error: Exception | None = None
        self._call: tuple[tuple[Any, ...], Mapping[str, Any]] = ((), {})
        self._rules = target.plan.rules
        self.repeat = False
        self.recorder = Recorder(self._rules, partial(note_read, target, flight), scoped=scoped)

    def on_thread(self) -> Loaded:
        """All three phases, on the calling executor thread."""
        context = self._flight.context()
        context.run(self._open)
        if self._wants_run:
            context.run(self._run_sync)
        return context.run(self._close)

    async def on_loop(self) -> Loaded:
        """Open and close on the executor, unless quiet, the coroutine in between on the loop."""
        runtime, context = self._flight.runtime, self._flight.context()
        await runtime.phase(context, self._open, self._opens_quietly)
        if self._wants_run:
            try:
                self._value = await self._flight.run(self._run_async(), context)
            except asyncio.CancelledError as error:  # draining: nobody waits for more than this
                runtime.finish(partial(context.run, self._tear_down, error))
                raise
            except Exception as error:
                self._error = error
        return await runtime.phase(context, self._close, self._closes_quietly)

    @property
    def _opens_quietly(self) -> bool:
        """Will `_open` run nothing of the user's?"""
        plan, hooks = self._target.plan, self._target.instance is not None
        hooks = hooks or self._scoped or plan.public or plan.run_before_request
        return not hooks and quiet.opens_request_context(self._app)

    @property
    def _closes_quietly(self) -> bool:
        """Will `_close` run nothing of the user's, and nothing that takes long?"""
        target, context = self._target, self._context
        return (
            self._error is None
            and quiet.is_short(self._value)
            and context is not None
            and not context._after_request_functions
            and not (self._scoped or target.plan.public or target.plan.compress)
            and quiet.decides_nothing(target.tags, target.store_if)
            and quiet.closes_request_context(self._app)
        )

    def blocking(self) -> Loaded:
        """As `on_thread`, the coroutine on an event loop of the thread's own."""
        context = self._flight.context()
        context.run(self._open)
        if self._wants_run:
            try:
                with asyncio.Runner() as runner:
                    self._value = runner.run(self._run_async(), context=context)
            except BaseException as error:
                self._error = as_exception(self._target.name, error)
        return context.run(self._close)

    # open

    def _open(self) -> None:
        context = recorded_context(self._app, self._environ(), self.recorder)
        self._context = context
        self.recorder.arm()  # Flask's push matches the URL, with the app's own converters
        try:
            context.push()
            self._value = self._hooked(record_g(_cv_app.get(), self.recorder, {}))
            self._call = self._arguments()
        except BaseException as error:
            self._error = as_exception(self._target.name, error)

    def _hooked(self, names: RecordedNames) -> Any:
        """What the hooks answer; as in a request, ``g`` is empty when they begin."""
        plan = self._target.plan
        self.recorder.makes_g = plan.run_before_request
        try:
            return self._preprocess()
        finally:
            if not plan.public:  # else all that could leave something in g runs in the render
                self.recorder.makes_g = False
                names.show(self._inputs.simple_g())

    def _environ(self) -> dict[str, Any]:
        key = self._key
        if self._rules.query == "read":
            key = key._replace(query=self._inputs.query)
        environ = environ_of(key, self._base)
        environ.update(self._inputs.visible())
        if self._scoped:
            environ.update(self._inputs.person())
        if self._prior is not None:
            environ.update(Emission.validators(self._prior.value))
        return environ

    def _preprocess(self) -> Any:
        """URL value preprocessors; with ``run_before_request`` all that Flask does first."""
        app, request = self._app, self._request
        if request.routing_exception is not None and self._target.args is None:
            app.raise_routing_exception(request)
        if self._target.plan.public:
            request_started.send(app, _async_wrapper=app.ensure_sync)
        if self._target.plan.run_before_request:
            return app.preprocess_request()
        for name in (None, *reversed(request.blueprints)):
            for function in app.url_value_preprocessors.get(name, ()):
                function(request.endpoint, request.view_args)
        return None

    def _arguments(self) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        args, kwargs = self._target.args or ((), self._request.view_args or {})
        if self._target.args is not None and not args:
            self._request.view_args = dict(kwargs)  # a hook has changed them
        if self._target.whole is not None:
            self._flight.body = (self._target.view, self._target.function)
        elif self._target.instance is not None:
            args = (self._target.instance(), *args)
        return args, kwargs

    @property
    def _request(self) -> Any:
        assert self._context is not None
        return self._context.request

    @property
    def _function(self) -> Callable[..., Any]:
        return self._target.whole or self._target.function

    # run

    @property
    def _wants_run(self) -> bool:
        return self._error is None and self._value is None

    def _run_sync(self) -> None:
        args, kwargs = self._call
        try:
            self._value = self._function(*args, **kwargs)
            refuse_awaitable(self._target.name, self._value)
        except BaseException as error:
            self._error = as_exception(self._target.name, error)

    async def _run_async(self) -> Any:
        args, kwargs = self._call
        try:
            async with thread_sensitive():
                return await self._function(*args, **kwargs)
        except (Exception, asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            raise LoadError.of(self._target.name, error) from error

    # close

    def _close(self) -> Loaded:
        error: Exception | None = None
        try:
            return self._judge(self._respond())
        except BaseException as raised:
            error = as_exception(self._target.name, raised)
            return self._raised(error)
        finally:
            self._tear_down(error)

    def _respond(self) -> Response:
        """The view's answer as Flask makes one, less what belongs to the app's own hooks."""
        value = self._value
        if self._error is not None:
            if not isinstance(self._error, HTTPException):
                raise self._error
            value = self._app.handle_user_exception(self._error)
        if isinstance(value, HTTPException):
            value = value.get_response()  # make_response would run it as WSGI: reads everything
        app = self._app
        response = app.make_response(value)
        assert self._context is not None
        if self._target.plan.public:
            response = app.process_response(response)
            request_finished.send(app, _async_wrapper=app.ensure_sync, response=response)
            return response
        for function in self._context._after_request_functions:  # this answer's own
            response = app.ensure_sync(function)(response)
        return response

    def _judge(self, response: Response) -> Loaded:
        """The verdict: may this be stored, and may it be given to somebody else?"""
        promised = Emission.length(response.headers)  # reading a stream sets its length
        try:
            body = freeze(response, self._target.plan.max_body, self._flight)
        except StreamTooLong as error:
            return Loaded(None, Fate.PASS, detail=str(error))
        whole = promised in (None, len(body))  # RFC 9111 §3.3
        fields, status, forwarded = self._fields(response), response.status_code, 0
        if status == 304 and self._prior is not None:
            self.repeat, old = not self._still_holds(fields), self._prior.value
            forwarded, status, body, whole = 304, old.status, old.body, True
            fields = Emission.renewed(old, fields)
        never = self.never
        if self._scoped and self._context is not None and writes_session(self._context):
            never = [WRITES]
            self._target.notes.passes(never, lambda _: Kind.PERSONAL)  # not never: now and then
        if never:
            return Loaded(None, Fate.PASS, names=self._names(), detail=describe(never))
        return self._ruling(response, status, fields, body, whole, forwarded)

    def _fields(self, response: Response) -> Fields:
        """The header fields; of a public answer, which meets no response again, as they go out."""
        if self._target.plan.public:
            return list(response.get_wsgi_headers(self._request.environ))
        return list(response.headers)

    def _still_holds(self, fields: Fields) -> bool:
        """Is what a 304 speaks of still stored (RFC 9111 §4.3.4)?"""
        assert self._prior is not None
        stored, new = self._still(), http.lines(fields, "etag")
        old = Emission.validators(self._prior.value).get("HTTP_IF_NONE_MATCH", "")
        same = stored is not None and stored.value == self._prior.value
        return same and conditions.speaks_of(old, new[0] if new else "")

    def _ruling(
        self,
        response: Response,
        status: int,
        fields: Fields,
        body: bytes,
        whole: bool,
        forwarded: int,
    ) -> Loaded:
        """What becomes of an answer, by its status and by what it says (RFC 9111 §3)."""
        target, flight = self._target, self._flight
        now = flight.clock()
        says = said(status, fields, now)
        emission = Emission(target.plan, says, status, scoped=self._scoped)
        fate, detail = self._fate(emission, status, len(body), whole)
        tags: tuple[str, ...] = ()
        if fate is Fate.STORE:
            given = target.tags
            tags = tag_tuple(given(response)) if callable(given) else given
            tags = (*tags, *(group for group in says.groups if group not in tags))
            if target.store_if is not None and not target.store_if(response):
                fate, detail = Fate.KEEP, "store_if"
        names = self._names(says.vary)
        cost = max(0.0, now - flight.began)
        age = says.age + (cost if http.lines(fields, "age") else 0.0)  # RFC 9111 §4.2.3
        ends = target.plan.times.deadlines(now, cost, flight.draw, emission.lifetime(age))
        fields = conditions.end_to_end(http.without_ours(fields))
        if fate is Fate.STORE:
            fields, ours = emission.dress(fields, body, now - age, ends, self._known(names))
        else:
            ours = ()
        answer = Answer(status, tuple(fields), body, ours, ", ".join(says.vary))
        if fate is Fate.STORE and target.plan.compress:  # takes milliseconds: on the executor
            answer = encoded(answer, target.plan.compress)
        return Loaded(
            answer, fate, len(body), tags, names, ends, now - age,
            emission.strict, detail,
            alone=bool(emission.alone) or (emission.lone and fate is not Fate.FAILED),
            status=forwarded,
        )  # fmt: skip

    def _fate(self, emission: Emission, status: int, length: int, whole: bool) -> tuple[Fate, str]:
        if emission.alone:
            self._target.notes.answers(emission.alone)
        if status >= 500:
            return Fate.FAILED, f"status {status}"
        if not whole:
            return Fate.FAILED, "body is not complete"  # it broke off: a failed load
        if emission.alone:
            return Fate.ONE, emission.alone
        if emission.unfit:
            return Fate.DROP, emission.unfit
        if length > self._target.plan.max_body:
            return Fate.DROP, "body over max_body"
        return Fate.STORE, ""

    @property
    def never(self) -> list[str]:
        """What it read, or did, that makes its answer nobody else's."""
        return [name for name in self.recorder.names if self._rules.kind(name) is Kind.NEVER]

    def _names(self, vary: tuple[str, ...] = ()) -> tuple[str, ...]:
        """What the answer depends on: what was read, and what its ``Vary`` says besides."""
        names = set(self.recorder.names) - set(self.never)
        if self._rules.vary == "response":
            names |= {"host", "scheme", *names_of_vary(vary)}
        elif self._rules.vary == "read":
            names.update(names_of_vary([field for field in vary if not explained(field, names)]))
        return tuple(sorted(names))

    def _known(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """What its URL is known to read, by now."""
        key = self._flight.key
        known = key.names if isinstance(key, VariantKey) else ()
        return tuple(sorted({*known, *names}))

    def _raised(self, error: Exception) -> Loaded:
        if never := self.never:  # it was shown less than its caller has: let it see everything
            names = self._names()
            return Loaded(error, Fate.PASS, names=names, detail=describe(never), failed=True)
        # Who brought something of his own was released, and may have done well without.
        own = [name for name in self.recorder.names if self._is_own(name)]
        if not self._flight.attended and not own:
            tell_monitors(self._app, error)
        return Loaded(error, Fate.FAILED, names=self._names())

    def _is_own(self, name: str) -> bool:
        return name.startswith("g.") or self._rules.kind(name) is Kind.PERSONAL

    def _tear_down(self, error: BaseException | None) -> None:
        assert self._context is not None
        self.recorder.disarm()
        try:
            self._context.pop(error)
        except Exception as failure:
            if self._target.notes.first("teardown"):
                name = self._target.name
                extra = {"aswr_view": name, "aswr_key": self._flight.key}
                log.exception("%s: a teardown function failed (%r)", name, failure, extra=extra)


def note_read(target: Target, flight: Flight, name: str, kind: Kind, place: str) -> None:
    """A render reads an input: tell the log and who waits.

    Knows no `Rendering`, whose recorder calls it: cycles would leave every load to the collector.
    """
    rules = target.plan.rules
    target.notes.read_at(name, place)
    if kind is Kind.NEVER:
        target.notes.passes([name], rules.kind)
        flight.release(describe([name]))
    else:
        flight.note_read(name, rules.bars(name))


def tell_monitors(app: Flask, error: BaseException) -> None:
    """A failure that no request raises: error monitors hear of it by Flask's own signal."""
    try:
        got_request_exception.send(app, _async_wrapper=app.ensure_sync, exception=error)
    except Exception as failure:
        extra = {"aswr_app": app.name}
        log.exception("a receiver of got_request_exception failed (%r)", failure, extra=extra)


def fitting(function: Callable[..., Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Of these keyword arguments the ones that the function's signature accepts."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(kwargs)
    names = {p.name for p in parameters if p.kind is not p.POSITIONAL_ONLY}
    return {name: value for name, value in kwargs.items() if name in names}


def refuse_awaitable(name: str, value: Any) -> None:
    """Raise `TypeError` for what a plain function returned and nobody would await."""
    if inspect.iscoroutine(value):
        value.close()
    elif not inspect.isawaitable(value):
        return
    raise TypeError(
        f"{name} is a plain function that returned an awaitable, which nobody awaits: "
        "write it, or the function that wraps it, as async def"
    )
