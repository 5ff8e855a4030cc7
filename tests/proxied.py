"""A proxy that caches, for the tests that speak HTTP to it: raw bytes in, raw bytes out.

`Origin` says what its test wants and remembers what it was asked. `Proxy` is a Flask app on a
threaded server of its own, one cached view per way of decorating it. `Corner` is one test's part of
a proxy: an origin and URLs that no other test has. `Wire` is an answer as it came, line for line.
"""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from flask import Flask, Response, request
from werkzeug.datastructures import Headers
from werkzeug.serving import WSGIRequestHandler, make_server

from aswr import CacheManager

HOST = "shop.example"
SOCKET_LIMIT = 10.0  # seconds for one exchange
ALL_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "X-ODD")
WITHOUT_CONTENT = (204, 304)

Body = bytes | Callable[[], Iterable[bytes]] | BaseException


def date(seconds: float) -> str:
    """An HTTP-date."""
    return formatdate(seconds, usegmt=True)


@dataclass(frozen=True)
class Wire:
    """One answer: its status, its header lines in order, and all bytes after them."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes

    @classmethod
    def read(cls, data: bytes) -> "Wire":
        """The answer in these bytes."""
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        fields = tuple((name, value.strip()) for name, _, value in pairs)
        return cls(int(first.split(" ")[1]), fields, body)

    def lines(self, name: str) -> list[str]:
        """Every value of a field, line by line."""
        return [value for field, value in self.fields if field.lower() == name.lower()]

    def line(self, name: str) -> str:
        """The values of a field in one text; empty where it has none."""
        return ", ".join(self.lines(name))

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def cache(self) -> str:
        """What aswr says in ``Cache-Status``."""
        ours = [line for line in self.lines("Cache-Status") if line.startswith("aswr")]
        assert len(ours) < 2, f"aswr speaks twice: {ours}"
        return ours[0] if ours else ""

    @property
    def hit(self) -> bool:
        """Was it answered from what is stored?"""
        return self.cache.startswith("aswr; hit")

    @property
    def age(self) -> int | None:
        """The Age, of which there is one line or none."""
        ages = self.lines("Age")
        assert len(ages) < 2, f"several ages: {ages}"
        return int(ages[0]) if ages else None


@dataclass(frozen=True)
class Asked:
    """What reached the origin."""

    method: str
    target: str
    fields: Mapping[str, str]


@dataclass(frozen=True)
class Reply:
    """What the origin says; ``first`` is called before. A body of None counts the answers."""

    lines: tuple[str, ...]
    status: int = 200
    body: Body | None = None
    first: Callable[[], object] | None = None


@dataclass
class Origin:
    """What stands behind the proxy: answers in the order in which it was told, the last for ever.

    An answer without a body of its own has its number, from 1 on, for one.
    """

    asked: list[Asked] = field(default_factory=list)
    _replies: dict[str, list[Reply]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def says(
        self,
        *lines: str,
        status: int = 200,
        body: Body | None = None,
        path: str = "",
        first: Callable[[], object] | None = None,
    ) -> None:
        """Add an answer at a path: header lines as they are, a status, a body."""
        self._replies.setdefault(path, []).append(Reply(lines, status, body, first))

    def breaks(self, path: str = "", first: Callable[[], object] | None = None) -> None:
        """Add an answer that never comes: the view raises."""
        self.says(path=path, body=ConnectionError("the origin is down"), first=first)

    @property
    def count(self) -> int:
        """How often it was asked."""
        return len(self.asked)

    def answer(self, path: str) -> Response:
        """The next answer; called in a view."""
        fields = dict(request.headers)
        with self._lock:
            self.asked.append(Asked(request.method, request.full_path.rstrip("?"), fields))
            number = len(self.asked)
            replies = self._replies[path]
            reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if reply.first is not None:
            reply.first()
        if isinstance(reply.body, BaseException):
            raise reply.body.with_traceback(None)
        return _response(reply, number)


def _response(reply: Reply, number: int) -> Response:
    pairs = (line.partition(":") for line in reply.lines)
    fields = [(name, value.strip()) for name, _, value in pairs]
    whole = reply.status not in WITHOUT_CONTENT
    if whole and "content-type" not in {name.lower() for name, _ in fields}:
        fields.append(("Content-Type", "text/plain"))
    body: Any = reply.body() if callable(reply.body) else reply.body
    if body is None:
        body = str(number).encode() if whole else b""
    response = Response(body, reply.status)
    response.headers = Headers(fields)
    return response


class Proxy:
    """The app and its server: ``/<view>/<corner>/<path>`` answers what that corner's origin says.

    ``views`` gives the options of each view's decorator. Used with ``with``, which serves.
    """

    def __init__(self, clock: Callable[[], float], views: Mapping[str, Mapping[str, Any]]) -> None:
        self.clock = clock
        self.app = Flask("proxy")
        self.manager = CacheManager(self.app, clock=clock)
        self._origins: list[Origin] = []
        for name, options in views.items():
            self._add(name, options)

    def _add(self, name: str, options: Mapping[str, Any]) -> None:
        @self.app.route(f"/{name}/<int:number>/", endpoint=name, methods=ALL_METHODS)
        @self.app.route(f"/{name}/<int:number>/<path:path>", endpoint=name, methods=ALL_METHODS)
        @self.manager.cacher(**options)
        def proxied(number: int, path: str = "") -> Response:
            return self._origins[number].answer(path)

    @contextmanager
    def serving(self) -> Iterator["Proxy"]:
        """Serve on a free port; afterwards nothing is left."""
        server = make_server("127.0.0.1", 0, self.app, threaded=True, request_handler=_Quiet)
        self._port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join(SOCKET_LIMIT)
            server.server_close()
            self.manager.close(timeout=1.0)

    def corner(self, view: str) -> "Corner":
        """A new test's part, behind one of the views."""
        self._origins.append(Origin())
        return Corner(self, view, len(self._origins) - 1, self._origins[-1])

    def send(self, data: bytes) -> Wire:
        """What the server answers to these bytes, up to the end of the connection."""
        address = ("127.0.0.1", self._port)
        with socket.create_connection(address, timeout=SOCKET_LIMIT) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            chunks = list(iter(lambda: connection.recv(65536), b""))
        return Wire.read(b"".join(chunks))


@dataclass(frozen=True)
class Corner:
    """One test's view of the proxy."""

    proxy: Proxy
    view: str
    number: int
    origin: Origin

    def target(self, path: str = "") -> str:
        """The URL path under which the origin's ``path`` is found here."""
        return f"/{self.view}/{self.number}/{path}"

    def ask(
        self,
        *lines: str,
        path: str = "",
        method: str = "GET",
        body: bytes = b"",
        host: str = HOST,
    ) -> Wire:
        """One request with these header lines, byte for byte."""
        head = [f"{method} {self.target(path)} HTTP/1.1", f"Host: {host}", *lines]
        if body:
            head.append(f"Content-Length: {len(body)}")
        head += ["Connection: close", "", ""]
        return self.proxy.send("\r\n".join(head).encode("latin-1") + body)

    def settle(self) -> None:
        """Wait until what goes on in the background is over."""
        assert self.proxy.manager.join(SOCKET_LIMIT)

    @property
    def now(self) -> float:
        """The clock's time."""
        return self.proxy.clock()


class _Quiet(WSGIRequestHandler):
    """Writes no line for each request."""

    def log_request(self, *args: Any, **options: Any) -> None:
        pass
