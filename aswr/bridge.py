"""From ASGI to Flask: each request as a task in an empty context, on a bounded set of threads.

Owns, per application, a bounded set of one-thread executors ("seats") and the requests that work
in them. The server's task alone calls `receive` and `send`; the WSGI application runs in the
request's seat, called through asgiref in an empty `contextvars.Context`, so that nothing of one
request reaches another or the server. `Bridge` may be called on any loop; `_Call` lives in a
seat's thread; `_Exchange` is where the two meet. Must never import the engine, the render or
Flask: standard library, asgiref and `environ` only.

Why not asgiref's own `WsgiToAsgi`: one thread for all requests, no `close()`, no lifespan, each
message sent as a task that carries the view's context into the server (which then runs the next
keep-alive request in it), lossy headers. What stays of asgiref is the crossing itself
(`sync_to_async` in a `ThreadSensitiveContext`), by which an `async def` view that the cache does
not wrap finds the server's own loop.

Sources: the ASGI specification (HTTP 2.5, lifespan 2.0), PEP 3333.
"""

import asyncio
import contextlib
import contextvars
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import Executor, Future
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async

from .environ import MAYBE_BODY, THREADS, Environ, Scope, build_environ

log = logging.getLogger("aswr.bridge")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
WsgiApp = Callable[..., Iterable[bytes]]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
Body = SpooledTemporaryFile[bytes]

MEMORY_BODY = 65536  # bytes of a request body held in memory; the rest goes to disk


class Bridge:
    """An ASGI 3 application that answers HTTP by calling ``wsgi_app`` in its own threads.

    ``threads`` bounds the requests at work; more wait in order of arrival. ``executor_factory``
    makes an executor of exactly one daemon thread: one per request at work, made when first
    needed, and one more for disk writes, ``startup`` and ``shutdown``. These two may block; what
    they raise makes the lifespan event fail with that text.

    A client that leaves frees the server's task at once. Its request, if it had begun, goes on to
    its end and gives its thread back only then; if it still waited for a thread, it never begins.
    """

    def __init__(
        self,
        wsgi_app: WsgiApp,
        *,
        threads: int,
        executor_factory: Callable[[], Executor],
        startup: Callable[[], None],
        shutdown: Callable[[], None],
    ) -> None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads!r}")
        self._wsgi_app = wsgi_app
        self._startup = startup
        self._shutdown = shutdown
        self._threads = threads
        self._seats = _Seats(threads, executor_factory)
        self._aside = executor_factory()
        self._working: set[asyncio.Task[None]] = set()  # requests; some outlive their client

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, more: Environ | None = None
    ) -> None:
        """Answer one ASGI connection; raises `ValueError` for a kind that is not served.

        ``more`` is put into the environ of a request.
        """
        if scope["type"] == "http":
            await self._flask(scope, receive, send, more or {})
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await _refuse(scope, receive, send)

    async def _flask(self, scope: Scope, receive: Receive, send: Send, more: Environ) -> None:
        try:
            environ = build_environ(scope)
        except ValueError as error:
            await _bad_request(send, str(error))
            return
        body = await self._read_body(receive)
        if body is not None:
            environ |= {**more, "wsgi.input": body, THREADS: self._threads}
            if environ.pop(MAYBE_BODY, False) and (length := _length(body)):
                environ["CONTENT_LENGTH"] = str(length)
            await self._answer(environ, body, receive, send)

    async def _read_body(self, receive: Receive) -> Body | None:
        """The whole body, at its start; None when the client left before its end."""
        body: Body = SpooledTemporaryFile(max_size=MEMORY_BODY)  # noqa: SIM115 - outlives us
        try:
            while (message := await receive())["type"] == "http.request":
                await self._store(body, message.get("body", b""))
                if not message.get("more_body", False):
                    body.seek(0)
                    return body
        except BaseException:
            body.close()
            raise
        body.close()
        return None

    async def _store(self, body: Body, chunk: bytes) -> None:
        if body.tell() + len(chunk) <= MEMORY_BODY:
            body.write(chunk)
        else:  # a disk may stall, the loop must not
            await self._run_aside(lambda: body.write(chunk))

    async def _answer(self, environ: Environ, body: Body, receive: Receive, send: Send) -> None:
        exchange = _Exchange()
        call = _Call(self._wsgi_app, environ, exchange)
        work = self._spawn(call, body)
        watch = asyncio.create_task(exchange.watch(receive), name="aswr.asgi watch")
        try:
            await exchange.relay(send, work)
        finally:
            watch.cancel()
            exchange.leave()
            if not call.seated:
                work.cancel()
                body.close()
        if work.done():
            work.result()

    def _spawn(self, call: "_Call", body: Body) -> asyncio.Task[None]:
        empty = contextvars.Context()
        work = asyncio.create_task(self._work(call, body), name="aswr.asgi work", context=empty)
        self._working.add(work)
        work.add_done_callback(self._working.discard)
        return work

    async def _work(self, call: "_Call", body: Body) -> None:
        seat = await self._seats.take()
        call.seated = True
        try:
            await _run_in(seat, call)
        except Exception:
            if not call.exchange.left:
                raise
            extra = {"aswr_path": call.path}
            log.exception("%s failed after its client had left", call, extra=extra)
        finally:
            if call.ended:
                self._release(seat, body)
            else:  # cancelled: queue behind what the thread is still doing
                seat.submit(self._release, seat, body)

    def _release(self, seat: Executor, body: Body) -> None:
        body.close()
        self._seats.give(seat)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        if await self._lifespan_event("startup", self._startup, send):
            await receive()  # lifespan.shutdown
            await self._lifespan_event("shutdown", self._drain, send)

    async def _lifespan_event(self, name: str, act: Callable[[], None], send: Send) -> bool:
        try:
            await self._run_aside(act)
        except Exception as error:
            log.exception("lifespan %s failed", name)
            text = f"{type(error).__name__}: {error}"
            await send({"type": f"lifespan.{name}.failed", "message": text})
            return False
        await send({"type": f"lifespan.{name}.complete"})
        return True

    def _drain(self) -> None:
        try:
            self._shutdown()
        finally:
            for work in list(self._working):  # their clients have left; nobody waits for these
                work.get_loop().call_soon_threadsafe(work.cancel)
            self._seats.dismiss()

    async def _run_aside(self, act: Callable[[], Any]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._aside, act)


async def _run_in(seat: Executor, call: "_Call") -> None:
    async with ThreadSensitiveContext(executor=seat):
        error = await sync_to_async(call.run)()
    try:
        shutdown = isinstance(error, asyncio.CancelledError) and _is_being_cancelled()
        if error is not None and (shutdown or isinstance(error, Exception)):
            raise error
        if error is not None:  # as it is, it would end the server's loop, or look like its own
            raise RuntimeError(f"{call} ended with {error!r}") from error
    finally:
        del error  # whose traceback holds this frame


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _Seats:
    """A bounded set of one-thread executors; who finds none free waits in order of arrival.

    `take` on any loop; the rest on any thread.
    """

    def __init__(self, size: int, make: Callable[[], Executor]) -> None:
        self._make = make
        self._lock = threading.Lock()
        # State, guarded by _lock: idle executors, how many may still be made, who waits.
        self._idle: list[Executor] = []
        self._unmade = size
        self._line: OrderedDict[Future[Executor], None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<seats idle={len(self._idle)} unmade={self._unmade} waiting={len(self._line)}>"

    async def take(self) -> Executor:
        """A free executor; the caller must `give` it back."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
            if self._unmade:
                seat = self._make()
                self._unmade -= 1
                return seat
            turn: Future[Executor] = Future()
            self._line[turn] = None
        try:
            return await asyncio.wrap_future(turn)
        except asyncio.CancelledError:
            with self._lock:
                self._line.pop(turn, None)
            if not turn.cancel():  # given in the same moment
                self.give(turn.result())
            raise

    def give(self, seat: Executor) -> None:
        """Pass ``seat`` to the first who waits, or keep it for the next who comes."""
        while (turn := self._next_or_keep(seat)) is not None:
            if turn.set_running_or_notify_cancel():
                turn.set_result(seat)
                return

    def dismiss(self) -> None:
        """End the threads of idle executors; a later `take` makes new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._unmade += len(idle)
        for seat in idle:
            seat.shutdown(wait=False)

    def _next_or_keep(self, seat: Executor) -> Future[Executor] | None:
        with self._lock:
            if self._line:
                return self._line.popitem(last=False)[0]
            self._idle.append(seat)
            return None


class _Exchange:
    """Where a request's thread hands messages to the server's task, one batch at a time.

    `put` is the thread's; all else belongs to the loop it was made on.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._hung_up = False
        self._answered = False
        self._lock = threading.Lock()
        # State, guarded by _lock: whether the server's task is gone, and what it has yet to send.
        self.left = False
        self._batch: tuple[list[Message], Future[None]] | None = None

    def put(self, messages: list[Message]) -> None:
        """Block until the server has taken ``messages``; throw them away once it has `left`."""
        taken: Future[None] = Future()
        with self._lock:
            if self.left:
                return
            self._batch = messages, taken
        self._loop.call_soon_threadsafe(self._wake.set)
        taken.result()

    async def relay(self, send: Send, work: asyncio.Task[None]) -> None:
        """Send what is put until ``work`` is done or the client gone."""
        work.add_done_callback(lambda _: self._wake.set())
        with contextlib.suppress(OSError):  # how a server's send says that the client is gone
            while not (work.done() or self._hung_up):
                await self._wake.wait()
                self._wake.clear()
                await self._forward(send)

    async def watch(self, receive: Receive) -> None:
        """Note a disconnect. A server's "disconnect" after the whole response is not one."""
        message = await receive()
        if message["type"] == "http.disconnect" and not self._answered:
            self._hung_up = True
            self._wake.set()

    def leave(self) -> None:
        """The server's task goes: let the thread run on, its output unsent. Idempotent."""
        with self._lock:
            self.left = True
        self._taken()

    async def _forward(self, send: Send) -> None:
        if self._batch is None:
            return
        for message in self._batch[0]:
            self._answered = not message.get("more_body", True)
            await send(message)
        self._taken()

    def _taken(self) -> None:
        with self._lock:
            batch, self._batch = self._batch, None
        if batch is not None:
            batch[1].set_result(None)


class _Call:
    """One call of the WSGI application, from the seat's thread (PEP 3333, server side)."""

    def __init__(self, app: WsgiApp, environ: Environ, exchange: _Exchange) -> None:
        self._app = app
        self._environ = environ
        self.exchange = exchange
        self.seated = False  # has a thread: the client can no longer call it off
        self.ended = False  # its thread has finished
        self._head: Message | None = None
        self._room: int | None = None  # body bytes still to come; None: unknown
        self._started = False
        self._complete = False

    @property
    def path(self) -> str:
        return str(self._environ["PATH_INFO"])

    def __str__(self) -> str:
        return f"{self._environ['REQUEST_METHOD']} {self.path}"

    def run(self) -> BaseException | None:
        """Call the application and hand over its response; returns what it raised.

        Raised, it would stay unread in asgiref's future when the loop shuts down.
        """
        try:
            self._respond()
        except BaseException as error:
            return error
        finally:
            self.ended = True
        return None

    def _respond(self) -> None:
        output = self._app(self._environ, self._start_response)
        try:
            for chunk in output:
                self._write(chunk)
                if self._complete or self.exchange.left:
                    return
            self._finish()
        finally:
            close = getattr(output, "close", None)
            if close is not None:
                close()

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None and self._started:
            raise exc_info[1].with_traceback(exc_info[2])
        if exc_info is None and self._head is not None:
            raise AssertionError("start_response() called a second time without exc_info")
        self._head, self._room = _response_head(status, headers, self._environ["REQUEST_METHOD"])
        return self._write

    def _write(self, chunk: bytes) -> None:
        if self._head is None:
            raise AssertionError("the WSGI application sent a body before start_response()")
        if not chunk or self._complete:
            return
        if self._room is not None:
            chunk = chunk[: self._room]
            self._room -= len(chunk)
        self._put(self._head, chunk, more=self._room != 0)

    def _finish(self) -> None:
        if self._complete:
            return
        if self._head is None:
            raise AssertionError("the WSGI application ended without start_response()")
        if self._room:  # sent as it is, the client would read the next response as its rest
            raise RuntimeError(f"{self} sent {self._room} bytes less than its Content-Length")
        self._put(self._head, b"", more=False)

    def _put(self, head: Message, chunk: bytes, *, more: bool) -> None:
        body: Message = {"type": "http.response.body", "body": chunk, "more_body": more}
        messages = [body] if self._started else [head, body]
        self._started = True
        self._complete = not more
        self.exchange.put(messages)


def _response_head(
    status: str, headers: list[tuple[str, str]], method: str
) -> tuple[Message, int | None]:
    """The message that starts a response, and how many bytes may follow (None: any number)."""
    code = int(status.split(" ", 1)[0])
    bare = code < 200 or code in (204, 304)
    if bare:  # RFC 9110 §8.6; servers count bytes against the header even here
        headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
    lines = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    room = next((int(value) for name, value in lines if name == b"content-length"), None)
    head: Message = {"type": "http.response.start", "status": code, "headers": lines}
    return head, 0 if bare or method == "HEAD" else room


def _length(body: Body) -> int:
    length = body.seek(0, os.SEEK_END)
    body.seek(0)
    return length


async def _bad_request(send: Send, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "websocket":
        raise ValueError(f"an aswr application serves http and lifespan, not {scope['type']!r}")
    await receive()  # websocket.connect; closing before it is accepted answers 403
    await send({"type": "websocket.close", "code": 1000})
