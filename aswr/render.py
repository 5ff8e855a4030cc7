"""Rendering: a view run in a fresh request context, on behalf of nobody, under the recorder.

A load has three phases in one `contextvars.Context`, which starts empty:

    open   (executor)  push the fresh request context, arm the recorder, URL preprocessors
    run    (loop)      the view's coroutine, as a task in that Context
    close  (executor)  make_response or error handler, freeze the body, verdict, teardown, pop

A plain function runs all three on one executor thread. Synchronous code never runs on the loop.
May know Flask, the recorder and the engine's values; must not know the manager or the decorators.
"""

import asyncio
import inspect
import io
import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response
from flask.ctx import RequestContext
from flask.globals import _cv_app
from flask.signals import got_request_exception
from werkzeug.exceptions import HTTPException
from werkzeug.sansio.utils import host_is_trusted

from . import http
from .codec import Answer
from .errors import LoadError, as_exception
from .flight import Fate, Flight, Loaded
from .recorder import Recorder, record_g, recorded_context
from .keys import ViewKey
from .options import Plan, Tags, tag_tuple
from .runtime import thread_sensitive

log = logging.getLogger("aswr.render")

MOST_TOPICS = 32  # log lines of one view: what it reads may be for the visitor to choose
STREAM_LIMIT = 5.0  # seconds a streamed body may take before its URL passes


class Notes:
    """What the log has been told of one view: each thing once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._told: set[str] = set()
        self.g_places: dict[str, str] = {}  # where renders looked for names in g

    def first(self, topic: str) -> bool:
        """Is this the first time that the topic comes up?"""
        if topic in self._told or len(self._told) >= MOST_TOPICS:
            return False
        self._told.add(topic)
        return True

    def reads(self, what: str, where: str) -> None:
        """The view reads something of the caller's."""
        self._not_cached(
            what,
            f"it reads {what} at {where}, which is one caller's own. If it need not, take the read "
            "out; if it must, take the decorator off",
        )

    def reads_g(self, names: Iterable[str]) -> None:
        """The view reads what a hook of the caller's request left in ``g``."""
        for name in names:
            self._not_cached(
                f"g.{name}",
                f"it reads g.{name} at {self.g_places.get(name)}, which a before_request hook made "
                "for one caller. If the hook looks at nothing of the caller's, write "
                "cacher(..., run_before_request=True); else take the read out or the decorator off",
            )

    def answers(self, reason: str) -> None:
        """The view's answer says that it must not be stored."""
        self._not_cached(reason, f"its answer says so ({reason})")

    def _not_cached(self, what: str, why: str) -> None:
        if self.first(what):
            extra = {"aswr_view": self._name, "aswr_input": what}
            log.warning("aswr does not cache %s: %s", self._name, why, extra=extra)


class StreamTooLong(Exception):
    """A streamed body that is no candidate for storing."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a render runs: a view or the compute function that stands in for it.

    ``args`` is None where routing gives the arguments.
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
    host = key.host or base.host
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
        "REQUEST_URI": key.url,
        "RAW_URI": key.url,
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
    """One render, through its phases."""

    def __init__(
        self, app: Flask, key: ViewKey, base: BaseUrl, target: Target, flight: Flight
    ) -> None:
        self._app = app
        self._key = key
        self._base = base
        self._target = target
        self._flight = flight
        self._context: RequestContext | None = None
        self._value: Any = None
        self._error: Exception | None = None
        self._call: tuple[tuple[Any, ...], Mapping[str, Any]] = ((), {})
        self.recorder = Recorder(self._personal)

    def on_thread(self) -> Loaded:
        """All three phases, on the calling executor thread."""
        context = self._flight.context()
        context.run(self._open)
        if self._wants_run:
            context.run(self._run_sync)
        return context.run(self._close)

    async def on_loop(self) -> Loaded:
        """Open and close on the executor, the coroutine in between on the loop."""
        runtime, context = self._flight.runtime, self._flight.context()
        await runtime.work(lambda: context.run(self._open))
        if self._wants_run:
            try:
                self._value = await self._flight.run(self._run_async(), context)
            except asyncio.CancelledError as error:  # draining: nobody waits for more than this
                runtime.executor.submit(context.run, self._tear_down, error)
                raise
            except Exception as error:
                self._error = error
        return await runtime.work(lambda: context.run(self._close))

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

    def _personal(self, what: str) -> None:
        self._flight.release(self.recorder.detail)
        self._target.notes.reads(what, self.recorder.reads[what])

    # open

    def _open(self) -> None:
        environ = environ_of(self._key, self._base)
        self._context = recorded_context(self._app, environ, self.recorder)
        self.recorder.arm()  # Flask's push matches the URL, with the app's own converters
        try:
            self._context.push()
            record_g(_cv_app.get(), self.recorder)
            self._value = self._preprocess()
            self._call = self._arguments()
        except BaseException as error:
            self._error = as_exception(self._target.name, error)

    def _preprocess(self) -> Any:
        """URL value preprocessors; with ``run_before_request`` all that Flask does first."""
        app, request = self._app, self._request
        if request.routing_exception is not None and self._target.args is None:
            app.raise_routing_exception(request)
        if self._target.plan.run_before_request:
            return app.preprocess_request()
        for name in (None, *reversed(request.blueprints)):
            for function in app.url_value_preprocessors.get(name, ()):
                function(request.endpoint, request.view_args)
        return None

    def _arguments(self) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        args, kwargs = self._target.args or ((), self._request.view_args or {})
        if self._target.instance is not None:
            args = (self._target.instance(), *args)
        return args, kwargs

    @property
    def _request(self) -> Any:
        assert self._context is not None
        return self._context.request

    # run

    @property
    def _wants_run(self) -> bool:
        return self._error is None and self._value is None

    def _run_sync(self) -> None:
        args, kwargs = self._call
        try:
            self._value = self._target.function(*args, **kwargs)
            refuse_awaitable(self._target.name, self._value)
        except BaseException as error:
            self._error = as_exception(self._target.name, error)

    async def _run_async(self) -> Any:
        args, kwargs = self._call
        try:
            async with thread_sensitive():
                return await self._target.function(*args, **kwargs)
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
        response = self._app.make_response(value)
        assert self._context is not None
        for function in self._context._after_request_functions:  # this answer's own
            response = self._app.ensure_sync(function)(response)
        return response

    def _judge(self, response: Response) -> Loaded:
        """The verdict: may this be stored, and may it be given to somebody else?"""
        try:
            body = freeze(response, self._target.plan.max_body, self._flight)
        except StreamTooLong as error:
            return self._passing(str(error))
        fields = http.without_ours(list(response.headers))
        answer = Answer(response.status_code, tuple(fields), body)
        plan = self._target.plan
        private = http.forbids_storing(fields)
        fate, detail = self._fate(response, private, len(body))
        tags: tuple[str, ...] = ()
        if fate is Fate.STORE:
            given = self._target.tags
            tags = tag_tuple(given(response)) if callable(given) else given
            if self._target.store_if is not None and not self._target.store_if(response):
                fate, detail = Fate.KEEP, "store_if"
        if self.recorder.reads:
            return self._passing(self.recorder.detail)
        return Loaded(
            answer, fate, size_of(answer), tags, self._absent_g,
            plan.statuses.get(answer.status), detail, bool(private),
        )  # fmt: skip

    def _fate(self, response: Response, private: str, length: int) -> tuple[Fate, str]:
        if private:
            self._target.notes.answers(private)
        if response.status_code >= 500:
            return Fate.FAILED, f"status {response.status_code}"
        if private:
            return Fate.ONE, private
        if not http.storable(response.status_code, self._target.plan.statuses):
            return Fate.DROP, f"status {response.status_code}"
        if length > self._target.plan.max_body:
            return Fate.DROP, "body over max_body"
        return Fate.STORE, ""

    def _passing(self, detail: str) -> Loaded:
        return Loaded(None, Fate.PASS, detail=detail)

    @property
    def _absent_g(self) -> tuple[str, ...]:
        self._target.notes.g_places.update(self.recorder.absent_g)
        return tuple(sorted(self.recorder.absent_g))

    def _raised(self, error: Exception) -> Loaded:
        if self.recorder.reads:  # it was shown less than its caller has: let it see everything
            return self._passing(self.recorder.detail)
        if not self._flight.attended:
            tell_monitors(self._app, error)
        return Loaded(error, Fate.FAILED, reads=self._absent_g)

    def _tear_down(self, error: BaseException | None) -> None:
        assert self._context is not None
        self.recorder.disarm()
        try:
            self._context.pop(error)
        except Exception as failure:
            if self._target.notes.first("teardown"):
                log.exception("%s: a teardown function failed (%r)", self._target.name, failure)


def tell_monitors(app: Flask, error: BaseException) -> None:
    """A failure that no request raises: error monitors hear of it by Flask's own signal."""
    try:
        got_request_exception.send(app, _async_wrapper=app.ensure_sync, exception=error)
    except Exception as failure:
        log.exception("a receiver of got_request_exception failed (%r)", failure)


def freeze(response: Response, max_body: int, flight: Flight) -> bytes:
    """The whole body, with the response left whole and closed.

    Raises `StreamTooLong` for event streams, and for streams over ``max_body`` bytes or
    `STREAM_LIMIT` seconds; those are closed.
    """
    try:
        if http.media_type(response.headers) == "text/event-stream":
            raise StreamTooLong("streams events")
        if response.is_sequence and not response.direct_passthrough:
            return response.get_data()
        body = _collect(response, max_body, flight)
        response.direct_passthrough = False
        response.set_data(body)
        return body
    finally:
        response.close()


def _collect(response: Response, max_body: int, flight: Flight) -> bytes:
    calm = flight.release_in(STREAM_LIMIT, "streams for too long")
    until = time.monotonic() + STREAM_LIMIT
    chunks: list[bytes] = []
    length = 0
    try:
        for chunk in response.iter_encoded():
            chunks.append(chunk)
            length += len(chunk)
            if length > max_body:
                raise StreamTooLong("streams more than max_body")
            if time.monotonic() > until:
                raise StreamTooLong("streams for too long")
    finally:
        calm()
        if hasattr(response.response, "close"):
            response.response.close()
    return b"".join(chunks)


def size_of(answer: Answer) -> int:
    """Bytes that an answer takes in memory."""
    fields = sum(len(name) + len(value) + 160 for name, value in answer.headers)
    return len(answer.body) + fields + 150


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
