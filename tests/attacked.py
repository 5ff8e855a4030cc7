"""Where attacks on caches are mounted: a shop, people who ask, and the caches in between.

A `Subject` is a cache for Flask as an attack sees it; `Subject` itself is none, and says what the
shop answers when nothing is stored. `Naive` is one that every attack must harm.
"""

import functools
import http.client
import io
import pickle
import posixpath
import re
import socket
import socketserver
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.handlers import SimpleHandler

from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from aswr import CacheManager

HOST = "shop.example"
EVIL = "evil.example"
LIMIT = 1024 * 1024  # bytes that a cache may take, where it can be told
SOCKET_LIMIT = 5.0  # seconds
MOST_HEAD = 256 * 1024  # bytes of a request's head

# What may differ between two answers that say the same; the fields of caching are each cache's own.
VOLATILE = frozenset(
    """
    age cache-control cache-status cdn-cache-control connection content-length date etag expires
    server transfer-encoding vary
    """.split()
)

Fields = list[tuple[str, str]]
Environ = dict[str, Any]
Wsgi = Callable[..., Iterable[bytes]]


@dataclass(frozen=True)
class Ask:
    """One request, as it is written on the wire; ``Host`` is the shop's where none is given.

    ``server`` is what the server says of the connection, and reaches the app on no wire.
    """

    target: str = "/"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    server: tuple[tuple[str, str], ...] = ()
    version: str = "HTTP/1.1"

    @property
    def lines(self) -> Fields:
        """The header lines, with those that every client sends."""
        names = {name.lower() for name, _ in self.headers}
        usual = [("Host", HOST)] if "host" not in names and self.version != "HTTP/1.0" else []
        if self.body and not names & {"content-length", "transfer-encoding"}:
            usual.append(("Content-Length", str(len(self.body))))
        return [*usual, *((name, value) for name, value in self.headers if name != "No-Host")]

    @property
    def wire(self) -> bytes:
        """The bytes."""
        lines = [f"{self.method} {self.target} {self.version}"]
        lines += [f"{name}: {value}" for name, value in self.lines]
        head = "\r\n".join([*lines, "Connection: close", "", ""])
        return head.encode("latin-1") + self.body

    @property
    def environ(self) -> Environ:
        """What a server makes of it that changes nothing: no dots resolved, no slashes merged."""
        target = re.sub(r"\A[a-z]+://[^/?]*", "", self.target) or "/"
        path, _, query = target.partition("?")
        environ: Environ = {
            "REQUEST_METHOD": self.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "REQUEST_URI": self.target,
            "RAW_URI": self.target,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": self.version,
            "REMOTE_ADDR": "192.0.2.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(self.body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in self.lines:
            key = name.upper().replace("-", "_")
            key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
            environ[key] = f"{environ[key]},{value}" if key in environ else value
        return environ | dict(self.server)


@dataclass(frozen=True)
class Got:
    """An answer, its fields as they are written."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def lines(self, name: str) -> list[str]:
        """The values of a field."""
        return [value for field, value in self.headers if field.lower() == name.lower()]

    def line(self, name: str) -> str:
        """The values of a field in one text."""
        return ", ".join(self.lines(name))

    @property
    def text(self) -> str:
        """All that a client gets, fields and body."""
        head = "\r\n".join(f"{name}: {value}" for name, value in self.headers)
        return f"{self.status}\r\n{head}\r\n\r\n{self.body.decode('utf-8', 'replace')}"


def header(name: str, value: str, target: str = "/", **more: Any) -> Ask:
    """A request with one header."""
    return Ask(target, headers=((name, value),), **more)


def essence(got: Got, secret: str = "") -> tuple[Any, ...]:
    """What an answer says, less what differs from run to run."""
    body = got.body.decode("utf-8", "replace")
    fields = [(name.lower(), value) for name, value in got.headers if name.lower() not in VOLATILE]
    told = sorted(
        (name, value.partition("=")[0] if name == "set-cookie" else value) for name, value in fields
    )
    return got.status, told, re.sub(secret, "…", body) if secret else body


# How a request reaches an app.

Send = Callable[[Wsgi, Ask], Got]


def directly(app: Wsgi, ask: Ask) -> Got:
    """Call the app."""
    started: list[Any] = []

    def start_response(status: str, fields: Fields, error: Any = None) -> Callable[..., None]:
        started[:] = [int(status[:3]), tuple(fields)]
        return lambda data: None

    found = app(ask.environ, start_response)
    try:
        body = b"".join(found)
    finally:
        if hasattr(found, "close"):
            found.close()
    return Got(started[0], started[1], body)


class Wire:
    """A server on a free port of loopback; each request is a connection of its own."""

    def __init__(self, serve: Callable[["Wire"], Any]) -> None:
        self._app: Wsgi | None = None
        self._server = serve(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def run(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """The app that is asked just now."""
        assert self._app is not None
        return self._app(environ, start_response)

    def __call__(self, app: Wsgi, ask: Ask) -> Got:
        self._app = app
        with socket.create_connection(self._server.server_address[:2], SOCKET_LIMIT) as connection:
            connection.sendall(ask.wire)
            response = http.client.HTTPResponse(connection, method=ask.method)
            try:
                response.begin()
                return Got(response.status, tuple(response.getheaders()), response.read())
            except (http.client.HTTPException, ConnectionError):
                return Got(0, (), b"")  # the server hung up
            finally:
                response.close()

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(SOCKET_LIMIT)


class _Quiet(WSGIRequestHandler):
    def log(self, *args: Any) -> None:
        pass


def tidy(wire: Wire) -> Any:
    """Werkzeug's server: it merges leading slashes, and takes the host of an absolute target."""
    return make_server("127.0.0.1", 0, wire.run, threaded=True, request_handler=_Quiet)


class _Verbatim(socketserver.StreamRequestHandler):
    timeout = SOCKET_LIMIT

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n") and len(head) < MOST_HEAD:
            line = self.rfile.readline(MOST_HEAD)
            if not line:
                return
            head += line
        first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        method, target, version = first.split(" ")
        headers = [line.partition(":")[::2] for line in lines]
        fields = tuple((name, value.strip(" \t")) for name, value in headers)
        lengths = [value for name, value in fields if name.lower() == "content-length"]
        if not all(length.isdecimal() for length in lengths):
            return
        body = self.rfile.read(int(lengths[0])) if lengths else b""
        if "host" not in {name.lower() for name, _ in fields}:
            version = "HTTP/1.0"
        environ = Ask(target, method, fields, body, version=version).environ
        handler = SimpleHandler(environ["wsgi.input"], self.wfile, sys.stderr, environ)
        handler.os_environ = {}
        handler.http_version = "1.0"
        handler.run(self.server.run)  # type: ignore[attr-defined]


class _VerbatimServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, wire: Wire) -> None:
        super().__init__(("127.0.0.1", 0), _Verbatim)
        self.run = wire.run


def verbatim(wire: Wire) -> Any:
    """A server that hands everything on as it came."""
    return _VerbatimServer(wire)


# Caches.


class Subject:
    """No cache. ``wants_async``: its views are coroutine functions."""

    wants_async = False

    def install(self, app: Flask) -> None:
        """Be the cache of an app."""

    def cached(self, query: list[str] | None = None) -> Callable[..., Any]:
        """The decorator of a cached view; ``query`` names the parameters that it takes."""
        return lambda view: view

    def front(self, app: Flask) -> Wsgi:
        """What the server calls."""
        return app

    def settle(self) -> None:
        """Wait for what goes on in the background."""

    def wait(self, seconds: float) -> None:
        """Let time pass, where it can be told."""

    def bytes(self) -> int:
        """What is stored, in bytes."""
        return 0

    def corrupt(self, change: Callable[[bytes], bytes]) -> None:
        """Change every stored value behind the cache's back."""

    def heir(self) -> "Subject":
        """The same cache in a process that starts: it finds what is stored."""
        return self

    def close(self) -> None:
        """End."""


class Naive(Subject):
    """Stores whatever comes, for whoever asks for a path that looks alike."""

    def __init__(self) -> None:
        self._stored: dict[str, bytes] = {}

    def front(self, app: Flask) -> Wsgi:
        """A cache before the app, as a careless proxy is one."""

        def serve(environ: Environ, start_response: Any) -> Iterable[bytes]:
            path = tidied(environ["PATH_INFO"])
            if path.startswith("login"):
                return app(environ, start_response)
            if path not in self._stored:
                answer = _answer_of(app, environ)
                self._stored[path] = pickle.dumps(answer)
            status, fields, body = pickle.loads(self._stored[path])
            start_response(status, fields)
            return [body]

        return serve

    def bytes(self) -> int:
        """All that was ever asked for."""
        return sum(map(len, self._stored.values()))

    def corrupt(self, change: Callable[[bytes], bytes]) -> None:
        """Change what is stored."""
        self._stored = {path: change(data) for path, data in self._stored.items()}


def tidied(path: str) -> str:
    """A path as a proxy may tidy it up to make more hits: only letters and digits are left."""
    path = unquote_to_bytes(path.encode("latin-1")).decode("utf-8", "replace")
    path = unicodedata.normalize("NFKC", re.split(r"[?;#\0\r\n]", path)[0]).lower()
    path = posixpath.normpath("/" + path.replace("\\", "/").lstrip("/"))
    return re.sub(r"[\W_]", "", path)


def _answer_of(app: Wsgi, environ: Environ) -> tuple[str, Fields, bytes]:
    started: list[Any] = []

    def start_response(status: str, fields: Fields, error: Any = None) -> Callable[..., None]:
        started[:] = [status, fields]
        return lambda data: None

    found = app(environ, start_response)
    body = b"".join(found)
    if hasattr(found, "close"):
        found.close()
    return started[0], started[1], body


class Aswr(Subject):
    """Ours, in-app with plain views or public with async ones."""

    def __init__(self, public: bool = False, backend: Any = None, **config: Any) -> None:
        self._public = self.wants_async = public
        self._config = {"ASWR_MAX_BYTES": LIMIT, **config}
        self.backend = backend

    def install(self, app: Flask) -> None:
        """Register with the app, with a clock that `wait` moves."""
        app.config.update(self._config)
        self._now = 1_000_000.0
        self.manager = CacheManager(app, cache=self.backend, clock=lambda: self._now)

    def wait(self, seconds: float) -> None:
        """Move the clock."""
        self._now += seconds

    def cached(self, query: list[str] | None = None) -> Callable[..., Any]:
        """`cacher` with a timeout."""
        return self.manager.cacher(
            timeout=60, public=self._public, query=True if query is None else query
        )

    def settle(self) -> None:
        """Wait for loads."""
        assert self.manager.join(SOCKET_LIMIT)

    def bytes(self) -> int:
        """The memory's own count, which `tests/test_memory.py` compares with the process."""
        return self.manager.stats()["bytes"]

    def corrupt(self, change: Callable[[bytes], bytes]) -> None:
        """Change what the backend holds."""
        stored = self.backend._cache
        for key, data in stored.items():
            stored[key] = change(data)

    def heir(self) -> Subject:
        """Another one with the same backend."""
        return Aswr(self._public, self.backend, **self._config)

    def close(self) -> None:
        """Close the manager."""
        self.manager.close(timeout=0.5)


# The shop, and who asks there.

Decorator = Callable[..., Callable[..., Any]]
Build = Callable[[Flask, Decorator], None]


@dataclass
class Shop:
    """An app with cached views; counts how often one of them runs."""

    subject: Subject
    app: Flask
    serve: Wsgi
    send: Send
    renders: int = 0

    def cached(self, query: list[str] | None = None) -> Callable[..., Any]:
        """The decorator that views of the shop get."""

        def decorate(view: Callable[..., Any]) -> Any:
            @functools.wraps(view)
            def counted(*args: Any, **kwargs: Any) -> Any:
                self.renders += 1
                return view(*args, **kwargs)

            if not self.subject.wants_async:
                return self.subject.cached(query)(counted)

            @functools.wraps(view)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                return counted(*args, **kwargs)

            return self.subject.cached(query)(awaited)

        return decorate

    def person(self) -> "Person":
        """Somebody new."""
        return Person(self)


@contextmanager
def opened(subject: Subject, build: Build, send: Send = directly) -> Iterator[Shop]:
    """A shop behind a cache."""
    app = Flask("shop")
    app.secret_key = "secret"
    shop = Shop(subject, app, app, send)
    subject.install(app)
    try:
        build(app, shop.cached)
        shop.serve = subject.front(app)
        yield shop
    finally:
        subject.close()


class Person:
    """Who asks, and keeps the cookies that he is given."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.cookies: dict[str, str] = {}

    def ask(self, ask: Ask) -> Got:
        """One request, and its answer."""
        sent = [value for name, value in ask.headers if name == "Cookie"]
        if self.cookies:
            sent += [f"{name}={value}" for name, value in self.cookies.items()]
            others = [field for field in ask.headers if field[0] != "Cookie"]
            ask = replace(ask, headers=(*others, ("Cookie", "; ".join(sent))))
        self._shop.subject.wait(0.001)
        got = self._shop.send(self._shop.serve, ask)
        for line in got.lines("Set-Cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return got

    def ask_all(self, asks: Iterable[Ask]) -> list[Got]:
        """One after the other."""
        return [self.ask(ask) for ask in asks]
