"""The ASGI entry, driven by in-process scopes; real servers are met in ``tests/servers``."""

import asyncio
import contextvars
import gc
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from typing import Any, TypeVar

import pytest
from asgiref.sync import sync_to_async
from flask import Flask, Response, request

from aswr.bridge import MEMORY_BODY, Bridge, _Seats
from aswr.environ import MAX_REPEATS, build_environ
from aswr.executor import DaemonExecutor

LIMIT = 10.0  # seconds that anything here may wait
OK = "200 OK"
T = TypeVar("T")


def run(test: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(test, LIMIT))


async def reached(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, LIMIT)


def asgi(wsgi: Callable[..., Iterable[bytes]], threads: int = 4, **hooks: Any) -> Bridge:
    def factory() -> DaemonExecutor:
        return DaemonExecutor(1, "test-asgi")

    hooks = {"startup": lambda: None, "shutdown": lambda: None, **hooks}
    return Bridge(wsgi, threads=threads, executor_factory=factory, **hooks)


def scope(path: str = "/", **fields: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "headers": [(b"host", b"example.test")],
        **fields,
    }


class Client:
    """One request as a server sees it: feeds the body, keeps what is sent, and may hang up."""

    def __init__(self, *body: bytes, ended: bool = True, **fields: Any) -> None:
        self.scope = scope(**fields)
        chunks = body or (b"",)
        self._feed = [
            {"type": "http.request", "body": chunk, "more_body": not ended or i + 1 < len(chunks)}
            for i, chunk in enumerate(chunks)
        ]
        self.sent: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self.watched = asyncio.Event()  # the body was read, and the wait for a thread has begun
        self.on_send: Callable[[Any], Awaitable[None]] | None = None

    async def receive(self) -> dict[str, Any]:
        if self._feed:
            return self._feed.pop(0)
        self.watched.set()
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if self.on_send is not None:
            await self.on_send(message)
        self.sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.gone.set()  # as servers do: nothing more can be received

    async def ask(self, app: Bridge) -> "Client":
        await app(self.scope, self.receive, self.send)
        return self

    def start(self, app: Bridge) -> "asyncio.Task[Client]":
        return asyncio.create_task(self.ask(app))

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return list(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(m["body"] for m in self.sent[1:])

    @property
    def complete(self) -> bool:
        last = self.sent[-1] if self.sent else {"type": "nothing"}
        return last["type"] == "http.response.body" and not last.get("more_body", False)


def get(wsgi: Callable[..., Iterable[bytes]], **fields: Any) -> Client:
    async def test() -> Client:
        return await Client(**fields).ask(asgi(wsgi))

    return run(test())


class Output:
    """A WSGI iterable that counts how often it was closed."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.closed = 0
        self.done = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)

    def close(self) -> None:
        self.closed += 1
        self.done.set()


def answering(
    chunks: Iterable[bytes], status: str = OK, headers: Iterable[tuple[str, str]] = ()
) -> Callable[..., Iterable[bytes]]:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response(status, list(headers))
        return chunks

    return app


class Held:
    """A WSGI application that stays in its call until `release`."""

    def __init__(self, then: Exception | None = None) -> None:
        self.output = Output([b"late"])
        self.entered = threading.Event()
        self.release = threading.Event()
        self.paths: list[str] = []
        self.most = self.inside = 0
        self._then = then

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        self.paths.append(environ["PATH_INFO"])
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.entered.set()
        assert self.release.wait(LIMIT)
        self.inside -= 1
        if self._then is not None:
            raise self._then
        start_response(OK, [])
        return self.output


# Threads and loops


def test_sync_views_run_at_once() -> None:
    """As many requests as there are threads are inside their views at the same time."""
    barrier = threading.Barrier(4)

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        barrier.wait(LIMIT)
        start_response(OK, [])
        return [b"met"]

    async def test() -> None:
        entry = asgi(app)
        clients = await asyncio.gather(*(Client().ask(entry) for _ in range(4)))
        assert [client.body for client in clients] == [b"met"] * 4

    run(test())


def test_async_views_run_at_once_on_the_servers_loop() -> None:
    """Undecorated async views run together, on the loop of the server."""
    flask = Flask(__name__)
    loops: list[asyncio.AbstractEventLoop] = []

    async def test() -> None:
        barrier = asyncio.Barrier(4)

        @flask.get("/")
        async def view() -> str:
            loops.append(asyncio.get_running_loop())
            await asyncio.wait_for(barrier.wait(), LIMIT)
            return "met"

        entry = asgi(flask.wsgi_app)
        clients = await asyncio.gather(*(Client().ask(entry) for _ in range(4)))
        assert [client.body for client in clients] == [b"met"] * 4
        assert set(loops) == {asyncio.get_running_loop()}

    run(test())


def test_sync_code_of_an_async_view_stays_in_the_requests_thread() -> None:
    """`sync_to_async` in a view runs in the thread in which the request's hooks ran."""
    flask = Flask(__name__)
    threads: list[int] = []
    flask.before_request(lambda: threads.append(threading.get_ident()))

    @flask.get("/")
    async def view() -> str:
        threads.append(await sync_to_async(threading.get_ident)())
        return ""

    assert get(flask.wsgi_app).status == 200
    assert threads[0] == threads[1] != threading.get_ident()


def test_requests_beyond_the_threads_wait_in_order() -> None:
    """A request that finds no thread free waits, and those who wait begin in order of arrival."""
    app = Held()

    async def test() -> None:
        entry = asgi(app, threads=1)
        asked = [Client(path=f"/{number}").start(entry) for number in range(5)]
        await reached(app.entered)
        assert app.paths == ["/0"]
        app.release.set()
        clients = await asyncio.gather(*asked)
        assert all(client.complete for client in clients)

    run(test())
    assert app.paths == [f"/{number}" for number in range(5)]
    assert app.most == 1


def test_threads_are_reused() -> None:
    """However many requests come, there are never more threads than the bound."""
    seen: set[int] = set()

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        seen.add(threading.get_ident())
        start_response(OK, [])
        return []

    async def test() -> None:
        entry = asgi(app, threads=2)
        await asyncio.gather(*(Client().ask(entry) for _ in range(50)))
        assert "idle=2 unmade=0 waiting=0" in repr(entry._seats)

    run(test())
    assert len(seen) <= 2


def test_a_thread_given_to_one_who_leaves() -> None:
    """A thread given to a request in the moment it is cancelled is not lost."""

    async def test() -> None:
        seats = _Seats(1, lambda: DaemonExecutor(1))
        seat = await seats.take()
        waiting = asyncio.create_task(seats.take())
        await asyncio.to_thread(int)  # several turns of the loop
        seats.give(seat)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert await seats.take() is seat

    run(test())


def test_a_turn_called_off_is_passed_over() -> None:
    """A thread goes to the first who still waits, not to one whose turn was called off."""

    async def test() -> None:
        seats = _Seats(1, lambda: DaemonExecutor(1))
        seat = await seats.take()
        gone, waiting = [asyncio.create_task(seats.take()) for _ in range(2)]
        await asyncio.to_thread(int)  # several turns of the loop
        assert next(iter(seats._line)).cancel()
        seats.give(seat)
        assert await waiting is seat
        await asyncio.wait([gone])
        assert repr(seats) == "<seats idle=0 unmade=0 waiting=0>"

    run(test())


def test_one_loop_after_another() -> None:
    """The same application serves a second event loop when the first is closed."""
    entry = asgi(answering([b"x"]), threads=1)
    for _ in range(2):
        assert run(body_of(entry)) == b"x"


async def body_of(entry: Bridge) -> bytes:
    return (await Client().ask(entry)).body


def test_keep_alive_chain() -> None:
    """A request whose task is created while the last response is sent is answered like any."""
    flask = Flask(__name__)

    @flask.get("/sync/<n>")
    def sync_view(n: str) -> str:
        return n

    @flask.get("/async/<n>")
    async def async_view(n: str) -> str:
        return n

    async def test() -> None:
        entry = asgi(flask.wsgi_app)
        clients = [Client(path=f"/{'a' if n % 2 else ''}sync/{n}") for n in range(100)]
        tasks: list[asyncio.Task[Client]] = []

        async def next_request(message: Any) -> None:
            if message["type"] == "http.response.body" and len(tasks) < len(clients):
                tasks.append(clients[len(tasks)].start(entry))

        for client in clients:
            client.on_send = next_request
        tasks.append(clients[0].start(entry))
        for number, client in enumerate(clients):
            await tasks[number]
            assert (client.status, client.body) == (200, str(number).encode())

    run(test())


def test_contexts_do_not_mix() -> None:
    """A view sees no context variable of the server, and the server sees none of a view."""
    var = contextvars.ContextVar("var", default="unset")
    seen: list[str] = []

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        seen.append(var.get())
        var.set("of the view")
        start_response(OK, [])
        return [b"x"]

    async def test() -> None:
        var.set("of the server")
        client = Client()
        sender = asyncio.current_task()

        async def on_send(message: Any) -> None:
            seen.append(var.get())
            assert asyncio.current_task() is sender

        client.on_send = on_send
        await client.ask(asgi(app))

    run(test())
    assert seen == ["unset", "of the server", "of the server", "of the server"]


def test_no_threads() -> None:
    """A bound below one thread is refused when the application is made."""
    with pytest.raises(ValueError, match="threads must be at least 1, not 0"):
        asgi(answering([]), threads=0)


# Closing and errors


def test_close_once_on_success() -> None:
    """The iterable is closed once after a complete response."""
    output = Output([b"a", b"b"])
    assert get(answering(output)).body == b"ab"
    assert output.closed == 1


def test_flask_callbacks_once() -> None:
    """`call_on_close` callbacks run once, for GET and HEAD, plain and streamed."""
    flask = Flask(__name__)
    closed: list[str] = []

    @flask.get("/<kind>")
    def view(kind: str) -> Response:
        line = f"{request.method} {kind}"
        response = Response(kind if kind == "plain" else iter([kind]))
        response.call_on_close(lambda: closed.append(line))
        return response

    asked = [f"{method} {kind}" for method in ("GET", "HEAD") for kind in ("plain", "streamed")]
    for line in asked:
        method, kind = line.split()
        assert get(flask.wsgi_app, method=method, path=f"/{kind}").complete
    assert closed == asked


def failing(chunks: int) -> Iterator[bytes]:
    for _ in range(chunks):
        yield b"x"
    raise LookupError("broken")


@pytest.mark.parametrize("chunks", [0, 1])
def test_close_once_on_error(chunks: int) -> None:
    """An error out of the iterable reaches the server once, and the iterable is closed once."""
    output = Output(failing(chunks))

    async def test() -> None:
        client = Client()
        with pytest.raises(LookupError, match="broken"):
            await client.ask(asgi(answering(output)))
        assert len(client.sent) == 2 * chunks
        assert not client.complete

    run(test())
    assert output.closed == 1


def test_error_in_the_call() -> None:
    """An error out of the application's call reaches the server, and the thread is free again."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        raise LookupError("broken")

    async def test() -> None:
        entry = asgi(app, threads=1)
        before = asyncio.all_tasks()
        for _ in range(2):
            client = Client()
            with pytest.raises(LookupError, match="broken"):
                await client.ask(entry)
            assert client.sent == []
        await asyncio.to_thread(int)  # several turns of the loop
        assert asyncio.all_tasks() == before

    run(test())


def test_error_in_close() -> None:
    """An error out of `close` reaches the server although the response is complete."""

    class Bad(Output):
        def close(self) -> None:
            raise LookupError("broken")

    async def test() -> None:
        client = Client()
        with pytest.raises(LookupError, match="broken"):
            await client.ask(asgi(answering(Bad([b"x"]))))
        assert client.complete

    run(test())


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
def test_exits_do_not_reach_the_loop(error: BaseException) -> None:
    """What would end the server's loop fails the one request instead."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        raise error

    with pytest.raises(RuntimeError, match=f"GET / ended with {type(error).__name__}"):
        get(app)


def test_send_fails() -> None:
    """An error of the server's own `send` reaches it; the iterable is closed."""
    output = Output([b"x"])

    async def test() -> None:
        client = Client()
        client.on_send = broken
        with pytest.raises(LookupError, match="broken"):
            await client.ask(asgi(answering(output)))
        await reached(output.done)

    async def broken(message: Any) -> None:
        raise LookupError("broken")

    run(test())
    assert output.closed == 1


# Clients who leave


def test_send_says_that_the_client_is_gone() -> None:
    """An `OSError` from `send` ends the request quietly; the iterable is closed."""
    output = Output([b"x"])

    async def test() -> None:
        client = Client()
        client.on_send = gone
        await client.ask(asgi(answering(output)))
        await reached(output.done)

    async def gone(message: Any) -> None:
        raise ConnectionResetError

    run(test())
    assert output.closed == 1


@pytest.mark.parametrize("how", ["disconnect", "cancel"])
def test_client_leaves_a_running_view(how: str) -> None:
    """The server's task ends at once; the view goes on to its end, and only then is its thread
    free."""
    app = Held()

    async def test() -> None:
        entry = asgi(app, threads=1)
        client, follower = Client(path="/first"), Client(path="/second")
        asked = client.start(entry)
        await reached(app.entered)
        if how == "disconnect":
            client.gone.set()
            await asked
        else:
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
        assert app.inside == 1
        following = follower.start(entry)
        await asyncio.to_thread(int)  # several turns of the loop
        assert app.paths == ["/first"]
        app.release.set()
        await following
        assert client.sent == []
        assert follower.body == b"late"

    run(test())
    assert app.output.closed == 2
    assert app.most == 1


def test_client_leaves_a_shared_load() -> None:
    """A client that leaves does not cancel what an async view of it awaits together with others."""
    flask = Flask(__name__)

    async def test() -> None:
        load: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        inside = asyncio.Semaphore(0)

        @flask.get("/")
        async def view() -> str:
            inside.release()
            return await load

        entry = asgi(flask.wsgi_app)
        leaver, stayer = Client(), Client()
        asked = [leaver.start(entry), stayer.start(entry)]
        await inside.acquire()
        await inside.acquire()
        asked[0].cancel()
        await asyncio.wait(asked[:1])
        assert not load.cancelled()
        load.set_result("shared")
        await asked[1]
        assert (leaver.sent, stayer.body) == ([], b"shared")

    run(test())


@pytest.mark.parametrize("how", ["disconnect", "cancel"])
def test_client_leaves_the_line(how: str) -> None:
    """A request whose client leaves before a thread is free never begins, and takes no thread."""
    app = Held()

    async def test() -> None:
        entry = asgi(app, threads=1)
        first = Client(path="/first").start(entry)
        await reached(app.entered)
        leaver = Client(path="/leaver")
        leaving = leaver.start(entry)
        await leaver.watched.wait()
        assert "waiting=1" in repr(entry._seats)
        if how == "disconnect":
            leaver.gone.set()
        else:
            leaving.cancel()
        await asyncio.wait([leaving])
        await asyncio.to_thread(int)  # several turns of the loop
        assert "waiting=0" in repr(entry._seats)
        app.release.set()
        await first
        await Client(path="/last").ask(entry)
        assert leaver.sent == []

    run(test())
    assert app.paths == ["/first", "/last"]


def test_client_leaves_an_endless_stream() -> None:
    """A stream whose client is gone is closed at its next chunk."""
    ended = threading.Event()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            ended.set()

    async def test() -> None:
        client = Client()

        async def hang_up_in_the_middle(message: Any) -> None:
            if len(client.sent) == 5:
                client.gone.set()

        client.on_send = hang_up_in_the_middle
        await client.ask(asgi(answering(endless())))
        await reached(ended)

    run(test())


def test_client_leaves_before_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    """An error nobody waits for any more is logged once, with the request."""
    app = Held(then=LookupError("broken"))

    async def test() -> None:
        entry = asgi(app, threads=1)
        client = Client(path="/left")
        asked = client.start(entry)
        await reached(app.entered)
        client.gone.set()
        await asked
        app.release.set()
        with pytest.raises(LookupError):
            await Client().ask(entry)

    with caplog.at_level(logging.ERROR):
        run(test())
    assert [record.getMessage() for record in caplog.records] == [
        "GET /left failed after its client had left"
    ]


def test_the_loop_ends_under_a_running_view() -> None:
    """A loop that shuts down does not wait for a view; its thread comes back when it has ended."""
    app = Held()
    entry = asgi(app, threads=1)

    async def cut_off() -> None:
        Client(path="/first").start(entry)
        await reached(app.entered)

    run(cut_off())
    assert app.inside == 1

    async def again() -> None:
        follower = Client(path="/second")
        following = follower.start(entry)
        await follower.watched.wait()
        assert "waiting=1" in repr(entry._seats)
        app.release.set()
        assert (await following).body == b"late"

    run(again())
    assert app.paths == ["/first", "/second"]
    assert (app.most, app.output.closed) == (1, 2)


def test_the_loop_ends_under_an_async_view(caplog: pytest.LogCaptureFixture) -> None:
    """Shutting the loop down cancels an undecorated async view on it, and logs nothing."""
    flask = Flask(__name__)
    cancelled = threading.Event()

    async def test() -> None:
        inside = asyncio.Event()

        @flask.get("/")
        async def view() -> str:
            inside.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise
            return ""

        asyncio.create_task(Client().ask(asgi(flask.wsgi_app)))  # noqa: RUF006
        await inside.wait()

    run(test())
    gc.collect()
    assert cancelled.is_set()
    assert caplog.records == []


# Lifespan and other scopes


class Server:
    """The server's side of the lifespan protocol."""

    def __init__(self, app: Bridge) -> None:
        self._events: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self.sent: list[Any] = []
        self._said: asyncio.Queue[Any] = asyncio.Queue()
        self.task = asyncio.ensure_future(app({"type": "lifespan"}, self._events.get, self._send))

    async def say(self, name: str) -> Any:
        self._events.put_nowait({"type": f"lifespan.{name}"})
        return await self._said.get()

    async def _send(self, message: Any) -> None:
        self._said.put_nowait(message)


def test_lifespan() -> None:
    """Startup and shutdown run once each, off the loop, before they are confirmed."""
    ran: list[str] = []
    threads: set[int] = set()

    def hook(name: str) -> Callable[[], None]:
        return lambda: (ran.append(name), threads.add(threading.get_ident()))[0]

    async def test() -> None:
        entry = asgi(answering([]), startup=hook("startup"), shutdown=hook("shutdown"))
        server = Server(entry)
        assert await server.say("startup") == {"type": "lifespan.startup.complete"}
        assert ran == ["startup"]
        assert await server.say("shutdown") == {"type": "lifespan.shutdown.complete"}
        await server.task

    run(test())
    assert ran == ["startup", "shutdown"]
    assert threading.get_ident() not in threads


def fail() -> None:
    raise LookupError("no backend")


def test_lifespan_startup_fails(caplog: pytest.LogCaptureFixture) -> None:
    """What startup raises refuses the start with its text, and nothing else is awaited."""

    async def test() -> None:
        server = Server(asgi(answering([]), startup=fail))
        assert await server.say("startup") == {
            "type": "lifespan.startup.failed",
            "message": "LookupError: no backend",
        }
        await server.task

    run(test())
    assert len(caplog.records) == 1


def test_lifespan_shutdown_fails(caplog: pytest.LogCaptureFixture) -> None:
    """What shutdown raises is told to the server and logged once."""

    async def test() -> None:
        server = Server(asgi(answering([]), shutdown=fail))
        await server.say("startup")
        assert (await server.say("shutdown"))["type"] == "lifespan.shutdown.failed"
        await server.task

    run(test())
    assert len(caplog.records) == 1


def test_shutdown_ends_the_threads() -> None:
    """After shutdown no idle thread is kept, and a new start serves again."""

    async def test() -> None:
        entry = asgi(answering([b"x"]), threads=2)
        for _ in range(2):
            server = Server(entry)
            await server.say("startup")
            assert (await Client().ask(entry)).body == b"x"
            assert "idle=1 unmade=1" in repr(entry._seats)
            await server.say("shutdown")
            assert "idle=0 unmade=2" in repr(entry._seats)

    run(test())


def test_shutdown_cancels_what_nobody_waits_for(caplog: pytest.LogCaptureFixture) -> None:
    """An async view whose client has left goes on until the shutdown, which cancels it quietly."""
    flask = Flask(__name__)

    async def test() -> None:
        inside, cancelled = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        @flask.teardown_request
        def end_after_the_loops_next_turn(error: BaseException | None) -> None:
            turned = threading.Event()
            loop.call_soon_threadsafe(turned.set)
            assert turned.wait(LIMIT)

        @flask.get("/")
        async def view() -> str:
            inside.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise
            return ""

        entry = asgi(flask.wsgi_app)
        server = Server(entry)
        await server.say("startup")
        client = Client()
        asked = client.start(entry)
        await inside.wait()
        client.gone.set()
        await asked
        assert not cancelled.is_set()
        (work,) = entry._working
        await server.say("shutdown")
        await asyncio.wait([work])
        assert cancelled.is_set()

    run(test())
    assert caplog.records == []


def test_websocket_is_refused() -> None:
    """A websocket is closed before it is accepted, without an error."""
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    run(asgi(answering([]))({"type": "websocket"}, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_unknown_scope_is_refused() -> None:
    """A scope type that the specification does not know is an error that names it."""

    async def never(*_: Any) -> Any:
        raise AssertionError

    with pytest.raises(ValueError, match="serves http and lifespan, not 'telepathy'"):
        run(asgi(answering([]))({"type": "telepathy"}, never, never))


# Request bodies


def echo(environ: Any, start_response: Any) -> Iterable[bytes]:
    assert environ["wsgi.input_terminated"] is True
    start_response(OK, [])
    yield environ["wsgi.input"].read()


def test_body_in_chunks() -> None:
    """A body arrives whole although no Content-Length says how long it is."""

    async def test() -> None:
        flask = Flask(__name__)
        flask.post("/")(lambda: request.get_data())
        client = Client(b"ab", b"", b"cd", method="POST")
        assert (await client.ask(asgi(flask.wsgi_app))).body == b"abcd"

    run(test())


@pytest.mark.parametrize(("size", "on_disk"), [(MEMORY_BODY, False), (MEMORY_BODY + 1, True)])
def test_large_body_goes_to_disk(size: int, on_disk: bool) -> None:
    """Up to `MEMORY_BODY` bytes of a body are held in memory; more goes to disk, and is closed."""
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        seen.append(environ["wsgi.input"])
        assert seen[0]._rolled is on_disk
        return echo(environ, start_response)

    async def test() -> None:
        half = size // 2
        client = await Client(b"x" * half, b"y" * (size - half)).ask(asgi(app))
        assert client.body == b"x" * half + b"y" * (size - half)

    run(test())
    assert seen[0].closed


def test_disk_is_not_the_loops_business() -> None:
    """What goes to disk is written in a thread, not on the loop."""
    submitted: list[int] = []

    class Recording(DaemonExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            submitted.append(1)
            return super().submit(fn, *args, **kwargs)

    async def test() -> None:
        entry = Bridge(
            echo,
            threads=1,
            executor_factory=lambda: Recording(1),
            startup=fail,
            shutdown=fail,
        )
        await Client(b"x").ask(entry)
        small = len(submitted)
        chunks = [b"x" * MEMORY_BODY] * 3
        assert (await Client(*chunks).ask(entry)).body == b"".join(chunks)
        assert len(submitted) - small == small + 2

    run(test())


def test_client_leaves_in_its_body() -> None:
    """A client that leaves before its body ends is forgotten: no call, no response, no error."""

    async def test() -> None:
        client = Client(b"ab", ended=False)
        client.gone.set()
        await client.ask(asgi(fail))  # type: ignore[arg-type]
        assert client.sent == []

    run(test())


# Environ


def environ_of(*headers: tuple[bytes, bytes], **fields: Any) -> dict[str, Any]:
    return build_environ(scope(**{"headers": headers, **fields}))


def test_headers_of_one_name_are_joined() -> None:
    """Cookies that HTTP/2 split are joined with "; ", all other repeated headers with ","."""
    environ = environ_of(
        (b"cookie", b"a=1"), (b"x-a", b"1"), (b"cookie", b"b=2"), (b"X-A", b"2, 3")
    )
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_X_A"] == "1,2, 3"


def test_headers_cannot_pose_as_others() -> None:
    """Names with an underscore are dropped, and so is `Proxy`."""
    environ = environ_of(
        (b"x-user", b"real"),
        (b"x_user", b"posed"),
        (b"content_length", b"7"),
        (b"X_Forwarded-For", b"posed"),
        (b"proxy", b"http://evil.test"),
    )
    assert environ["HTTP_X_USER"] == "real"
    names = {name for name in environ if name.startswith(("HTTP_", "CONTENT"))}
    assert names == {"HTTP_X_USER"}


def test_content_headers_have_no_prefix() -> None:
    """Content-Type and Content-Length have the names CGI gives them; values are latin-1."""
    environ = environ_of((b"content-type", b"text/\xe9"), (b"content-length", b"3"))
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("text/é", "3")


@pytest.mark.parametrize(("repeats", "status"), [(MAX_REPEATS, 200), (MAX_REPEATS + 1, 400)])
def test_absurd_repetition_is_a_bad_request(repeats: int, status: int) -> None:
    """More than `MAX_REPEATS` header lines of one name are answered 400, without a call."""
    app = Held()
    app.release.set()
    client = get(app, headers=[(b"x-a", b"1")] * repeats)
    assert (client.status, client.complete) == (status, True)
    assert len(app.paths) == (status == 200)


@pytest.mark.parametrize(
    ("root", "path", "script_name", "path_info"),
    [
        ("", "/a", "", "/a"),
        ("/", "/a", "", "/a"),
        ("/app", "/app/a", "/app", "/a"),
        ("/app/", "/app/a", "/app", "/a"),
        ("/app", "/app", "/app", ""),
        ("/app", "/apple", "/app", "/apple"),
        ("/app", "/a", "/app", "/a"),
        ("/é", "/é/ü", "/\xc3\xa9", "/\xc3\xbc"),
        ("", "/\udcff", "", "/\xff"),
        (None, "/a", "", "/a"),
    ],
)
def test_root_path(root: str, path: str, script_name: str, path_info: str) -> None:
    """`root_path` is SCRIPT_NAME, and is taken off the path only where a segment ends."""
    environ = environ_of(root_path=root, path=path)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script_name, path_info)


def test_text_beyond_ascii_reaches_flask() -> None:
    """Paths and query strings in UTF-8, encoded or raw, arrive as what they say."""
    flask = Flask(__name__)
    flask.get("/<name>")(lambda name: f"{name} {request.args['q']} {request.args['r']}")
    client = get(flask.wsgi_app, path="/é", query_string=b"q=%C3%BC&r=\xc3\xb6")
    assert client.body.decode() == "é ü ö"


@pytest.mark.parametrize(
    ("fields", "target"),
    [
        ({"path": "/a b"}, "/a%20b"),
        ({"path": "/é", "raw_path": None}, "/%C3%A9"),
        ({"path": "/a/b", "raw_path": b"/a%2fb"}, "/a%2fb"),
        ({"path": "/a", "raw_path": b"/\xff", "query_string": b"\xfe=%20"}, "/\xff?\xfe=%20"),
    ],
)
def test_request_target(fields: dict[str, Any], target: str) -> None:
    """REQUEST_URI and RAW_URI are the target as the client wrote it, where the server tells."""
    environ = environ_of(**fields)
    assert (environ["REQUEST_URI"], environ["RAW_URI"]) == (target, target)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ("localhost", "80", None, None)),
        ({"scheme": "https", "server": None, "client": None}, ("localhost", "443", None, None)),
        ({"server": ("/run/app.sock", None), "client": ("", 0)}, ("localhost", "80", None, None)),
        ({"server": ("::1", 8000), "client": ("::2", 9)}, ("::1", "8000", "::2", "9")),
        ({"server": ("h", 0), "client": ("10.0.0.1", None)}, ("h", "0", "10.0.0.1", None)),
    ],
)
def test_addresses(fields: dict[str, Any], expected: tuple[str | None, ...]) -> None:
    """Addresses may be unknown, IPv6 or a Unix socket; the required names are always there."""
    environ = environ_of(**fields)
    names = ("SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR", "REMOTE_PORT")
    assert tuple(environ.get(name) for name in names) == expected


def test_the_rest_of_the_environ() -> None:
    """Protocol, scheme and the facts about the server are what PEP 3333 wants."""
    environ = environ_of(http_version="2", scheme="https", method="PUT", query_string=b"a=1")
    expected = {
        "REQUEST_METHOD": "PUT",
        "QUERY_STRING": "a=1",
        "SERVER_PROTOCOL": "HTTP/2",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    assert {name: environ[name] for name in expected} == expected


# Responses


@pytest.mark.parametrize("status", ["299 ", "299", "299 Miscellaneous", "299 Très bien"])
def test_any_status(status: str) -> None:
    """A status needs no reason, and none that anybody knows."""
    assert get(answering([b"x"], status)).status == 299


def test_response_headers_are_latin_1() -> None:
    """Header text goes out as latin-1 with lower-case names, repeated ones kept apart."""
    headers = [("X-Name", "é"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    client = get(answering([b"x"], OK, headers))
    assert client.headers == [
        (b"x-name", b"\xe9"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
    ]


def test_a_plain_response_is_one_batch() -> None:
    """A response of known length is complete with its last byte: no empty message follows."""
    client = get(answering([b"ab", b"cd"], OK, [("Content-Length", "4")]))
    assert [(m["body"], m["more_body"]) for m in client.sent[1:]] == [(b"ab", True), (b"cd", False)]


def test_never_more_than_content_length() -> None:
    """What goes beyond Content-Length is cut off, the iteration stopped, the iterable closed."""
    output = Output(failing(5))
    client = get(answering(output, OK, [("Content-Length", "3")]))
    assert (client.body, client.complete, output.closed) == (b"xxx", True, 1)


@pytest.mark.parametrize("chunks", [[], [b"ab"]])
def test_less_than_content_length(chunks: list[bytes]) -> None:
    """A body that ends short of its Content-Length is an error, never a complete response."""

    async def test() -> None:
        client = Client()
        with pytest.raises(RuntimeError, match="less than its Content-Length"):
            await client.ask(asgi(answering(chunks, OK, [("Content-Length", "4")])))
        assert not client.complete

    run(test())


@pytest.mark.parametrize(
    ("method", "status", "kept"),
    [("HEAD", OK, True), ("GET", "204 No Content", False), ("GET", "304 Not Modified", False)],
)
def test_no_body(method: str, status: str, kept: bool) -> None:
    """HEAD, 204 and 304 have no body, whatever is yielded; only HEAD may tell a length."""
    output = Output([b"ab"])
    client = get(answering(output, status, [("Content-Length", "2")]), method=method)
    assert (client.body, client.complete, output.closed) == (b"", True, 1)
    assert client.headers == [(b"content-length", b"2")] * kept


def test_streams_chunk_by_chunk() -> None:
    """The next chunk is asked for only when the server has taken the one before."""
    made: list[int] = []
    taken: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number in range(4):
            assert taken == made
            made.append(number)
            yield b"x"

    async def test() -> None:
        client = Client()

        async def slowly(message: Any) -> None:
            if message["type"] == "http.response.body" and message["more_body"]:
                await asyncio.to_thread(int)  # the thread could go on meanwhile
                taken.append(len(taken))

        client.on_send = slowly
        await client.ask(asgi(answering(chunks())))
        assert [m["body"] for m in client.sent[1:]] == [b"x"] * 4 + [b""]

    run(test())
    assert made == taken == [0, 1, 2, 3]


def test_empty_chunks_start_nothing() -> None:
    """Headers go out with the first byte of the body, not before."""
    seen: list[int] = []

    async def test() -> None:
        client = Client()

        def chunks() -> Iterator[bytes]:
            yield b""
            seen.append(len(client.sent))
            yield b"x"
            seen.append(len(client.sent))

        await client.ask(asgi(answering(chunks())))
        assert client.body == b"x"

    run(test())
    assert seen == [0, 2]


def test_write() -> None:
    """The callable that `start_response` returns sends before what is iterated."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        write = start_response(OK, [])
        write(b"a")
        write(b"")
        write(b"b")
        return [b"c"]

    client = get(app)
    assert [m["body"] for m in client.sent[1:]] == [b"a", b"b", b"c", b""]


def test_start_response_again_before_the_start() -> None:
    """With exc_info, headers that were not yet sent are replaced."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response(OK, [("Content-Length", "100")])
        error = LookupError("broken")
        start_response("500 Oops", [], (LookupError, error, None))
        return [b"sorry"]

    client = get(app)
    assert (client.status, client.headers, client.body) == (500, [], b"sorry")


def test_start_response_again_after_the_start() -> None:
    """With exc_info, headers that were sent cannot be replaced: the error is raised."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response(OK, [])(b"x")
        error = LookupError("broken")
        start_response("500 Oops", [], (LookupError, error, None))
        return []

    with pytest.raises(LookupError, match="broken"):
        get(app)


def test_start_response_twice() -> None:
    """A second call without exc_info is an error of the application."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response(OK, [])
        start_response(OK, [])
        return []

    with pytest.raises(AssertionError, match="a second time without exc_info"):
        get(app)


@pytest.mark.parametrize("chunks", [[], [b"x"]])
def test_start_response_never(chunks: list[bytes]) -> None:
    """A response without `start_response` is an error of the application."""
    with pytest.raises(AssertionError, match=r"start_response\(\)"):
        get(lambda environ, start_response: chunks)
