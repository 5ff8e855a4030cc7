"""The ways in: servers that serve ``doors_app`` with and without a door, and clients of them.

A `Way` is a server, a protocol and a door or none. A `Site` is one that runs; its time, its gates
and its failures are files that the test writes and the app reads. A `Corner` is one test's own
part of a site, where it asks for pages that no other test asks for.
"""

import contextlib
import mmap
import socket
import struct
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import h2.config
import h2.connection
import h2.events

from .harness import GRANIAN, GUNICORN_GTHREAD, HYPERCORN, UVICORN, Kind, Server, wait_until

HOST = "shop.example"
SOCKET_LIMIT = 10.0
BEGIN = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
# What each server says of itself and of the connection.
NOT_OF_THE_APP = frozenset({"date", "server", "connection", "keep-alive", "transfer-encoding"})

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Wire:
    """An answer as it came, its fields with names in lower case.

    ``pieces``: in how many writes of the server it came, at least.
    """

    status: int
    fields: Fields
    body: bytes
    pieces: int
    by_flask: bool = False  # Flask got to see the request

    @property
    def text(self) -> str:
        return self.body.decode()

    def lines(self, name: str) -> list[str]:
        """Every value of a field, line by line."""
        return [value for field, value in self.fields if field == name.lower()]

    def __getitem__(self, name: str) -> str:
        """The values of a field in one text; empty where it has none."""
        return ", ".join(self.lines(name))

    @property
    def cache(self) -> str:
        """What aswr says in ``Cache-Status``, less its name."""
        return self["Cache-Status"].removeprefix("aswr; ")

    @property
    def hit(self) -> bool:
        return self.cache.startswith("hit")

    @property
    def of_the_app(self) -> tuple[int, list[tuple[str, str]], bytes]:
        """What must be the same whichever way it was asked for."""
        fields = [pair for pair in self.fields if pair[0] not in NOT_OF_THE_APP]
        # A session is signed with the time.
        fields = [(n, v.partition("=")[0] if n == "set-cookie" else v) for n, v in fields]
        return self.status, sorted(fields), self.body


@dataclass(frozen=True, eq=False)
class Way:
    """A way in. ``door``: of which kind, if any, the app's public pages are behind.

    ``pages``: ask for the public pages or for those inside the app, which are behind no door.
    """

    name: str
    kind: Kind
    door: str = ""
    pages: str = "public"
    http: str = "1.1"
    root: str = ""  # before each path that is asked for
    env: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def _with(kind: Kind, *args: str) -> Kind:
    return replace(kind, args=(*kind.args, *args))


def _serving_doors(kind: Kind) -> Kind:
    args = tuple(arg.replace("app:", "doors_app:") for arg in kind.args)
    return replace(kind, args=args)


_GTHREAD, _UVICORN, _GRANIAN, _HYPERCORN = map(
    _serving_doors, (GUNICORN_GTHREAD, UVICORN, GRANIAN, HYPERCORN)
)
# In-app, and so the measure of all others: nothing is answered before Flask.
NO_DOOR = Way("no-door", _GTHREAD, env={"DOORS_WRAPPED": "1"})
WSGI_DOOR = Way("wsgi-gthread", _GTHREAD, "wsgi")
ASGI_DOOR = Way("asgi-uvicorn", _UVICORN, "asgi")
WAYS = (
    NO_DOOR,
    WSGI_DOOR,
    ASGI_DOOR,
    Way("asgi-granian", _GRANIAN, "asgi"),
    Way("asgi-hypercorn", _HYPERCORN, "asgi"),
    Way("asgi-granian-h2", _GRANIAN, "asgi", http="2"),
    Way("asgi-hypercorn-h2", _HYPERCORN, "asgi", http="2"),
    Way("inside-gthread", _GTHREAD, pages="inside"),
    Way("inside-uvicorn", _UVICORN, pages="inside"),
)

# Below a path: uvicorn adds it to what a proxy before it has taken away, the others expect it.
_BELOW = {"SCRIPT_NAME": "/shop"}
WAYS_BELOW = (
    Way("no-door", _GTHREAD, root="/shop", env={"DOORS_WRAPPED": "1", **_BELOW}),
    Way("wsgi-gthread", _GTHREAD, "wsgi", root="/shop", env=_BELOW),
    Way("asgi-uvicorn", _with(_UVICORN, "--root-path", "/shop"), "asgi"),
    Way("asgi-granian", _with(_GRANIAN, "--url-path-prefix", "/shop"), "asgi", root="/shop"),
    Way("asgi-hypercorn", _with(_HYPERCORN, "--root-path", "/shop"), "asgi", root="/shop"),
)


class Site:
    """A way in with its server running, used with ``with``; ``more`` is for its environment."""

    def __init__(self, way: Way, folder: Path, **more: str) -> None:
        self.way = way
        self._asked = folder / "asked"
        self._flags = folder / "flags"
        clock = folder / "clock"
        self._asked.touch()
        self._flags.mkdir()
        clock.write_bytes(struct.pack("d", BEGIN))
        with clock.open("r+b") as file:
            self._clock = mmap.mmap(file.fileno(), 8)
        files = {"ASKED": self._asked, "FLAGS": self._flags, "CLOCK": clock}
        env = {f"DOORS_{name}": str(path) for name, path in files.items()}
        env |= {"PYTHONHASHSEED": "0", **way.env, **more}  # Allow is made of a set of methods
        self.server = Server(way.kind, folder, **env)

    def __enter__(self) -> "Site":
        self.server.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._clock.close()
        self.server.__exit__(*exc_info)

    @property
    def now(self) -> float:
        """The server's time."""
        now: float = struct.unpack("d", self._clock[:])[0]
        return now

    def tick(self, seconds: float) -> None:
        """Let time pass at the server."""
        self._clock[:] = struct.pack("d", self.now + seconds)

    def flag(self, name: str) -> Path:
        """The file with which a test tells the app what to do."""
        return self._flags / name

    @property
    def reached(self) -> int:
        """How many requests have reached Flask."""
        return self._asked.stat().st_size

    def send(self, method: str, target: str, fields: Fields, body: bytes) -> Wire:
        """One request on a connection of its own, its target and fields as they are."""
        before = self.reached
        send = _send_1 if self.way.http == "1.1" else _send_2
        address = ("127.0.0.1", self.server.port)
        with socket.create_connection(address, SOCKET_LIMIT) as connection:
            wire = send(connection, method, self.way.root + target, fields, body)
        return replace(wire, by_flask=self.reached > before)


@dataclass
class Corner:
    """One behaviour's part of a site. What is asked here, one after the other, is written down."""

    site: Site
    name: str
    said: list[Wire] = field(default_factory=list)

    @property
    def public(self) -> bool:
        return self.site.way.pages == "public"

    def target(self, page: str, more: str = "") -> str:
        """The URL of a page here; ``more`` is what follows: more path, a query."""
        return f"/{self.site.way.pages}/{page}/{self.name}{more}"

    def ask(
        self,
        page: str,
        *lines: str,
        more: str = "",
        method: str = "GET",
        body: bytes = b"",
        host: str = HOST,
        sized: bool = True,
        flask: bool | None = False,
    ) -> Wire:
        """The answer to a request with these header lines; ``sized``: it says its body's length.

        Asserts that it came by the way that it should: what is a hit, before Flask if there is a
        door, and under ASGI misses too. ``flask``: of this one it is Flask that knows the answer;
        None leaves it open.
        """
        wire = self._send(page, lines, more, method, body, host, sized)
        self.said.append(wire)
        if flask is not None:
            assert wire.by_flask is (flask or not self._before_flask(wire)), wire
        return wire

    def _send(
        self,
        page: str,
        lines: tuple[str, ...] = (),
        more: str = "",
        method: str = "GET",
        body: bytes = b"",
        host: str = HOST,
        sized: bool = True,
    ) -> Wire:
        if body and sized:
            lines = (*lines, f"Content-Length: {len(body)}")
        elif body and self.site.way.http == "1.1":
            lines, body = (*lines, "Transfer-Encoding: chunked"), _chunked(body)
        pairs = (line.partition(":") for line in (f"Host: {host}", *lines))
        fields = tuple((name, value.strip()) for name, _, value in pairs)
        return self.site.send(method, self.target(page, more), fields, body)

    def _before_flask(self, wire: Wire) -> bool:
        door = self.site.way.door if self.public else ""
        loaded = wire.cache.startswith("fwd") and "bypass" not in wire.cache
        return bool(door) and (wire.hit or (door == "asgi" and loaded))

    def get(self, page: str, *lines: str, more: str = "", flask: bool | None = False) -> Wire:
        """`ask` with GET."""
        return self.ask(page, *lines, more=more, flask=flask)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the loads of this corner meanwhile."""
        with self._flagged("hold"):
            yield

    @contextlib.contextmanager
    def failing(self) -> Iterator[None]:
        """Make the loads of this corner fail meanwhile."""
        with self._flagged("fail"):
            yield

    @contextlib.contextmanager
    def _flagged(self, what: str) -> Iterator[None]:
        flag = self.site.flag(f"{what}-{self.name}")
        flag.touch()
        try:
            yield
        finally:
            flag.unlink()

    def together(self, count: int, page: str) -> list[Wire]:
        """The answers to as many requests that all came before the load was over."""
        with ThreadPoolExecutor(count) as pool:
            with self.held():
                calls: list[Future[Wire]] = [pool.submit(self._send, page) for _ in range(count)]
                self.site_waits_for(count)
            return [call.result() for call in calls]

    def site_waits_for(self, count: int) -> None:
        """Wait until so many requests wait for loads."""
        wait_until(lambda: self._stats()["waiting"] == count, 5, lambda: str(self._stats()))

    def settle(self) -> None:
        """Wait until every load asked for so far is over."""
        assert self.site.server.get("/join").json["over"]

    def _stats(self) -> dict[str, int]:
        stats: dict[str, int] = self.site.server.get("/stats").json
        return stats


def _send_1(
    connection: socket.socket, method: str, target: str, fields: Fields, body: bytes
) -> Wire:
    """HTTP/1.1: one connection for one request; a piece is what `recv` gives."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    data = "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + body
    connection.sendall(data)
    pieces = list(iter(lambda: connection.recv(1 << 20), b""))
    head, _, rest = b"".join(pieces).partition(b"\r\n\r\n")
    first, *head_lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in head_lines)
    got = tuple((name.lower(), value.strip()) for name, _, value in pairs)
    if ("transfer-encoding", "chunked") in got:
        rest = b"".join(_chunks(rest))
    return Wire(int(first.split()[1]), got, rest, len(pieces))


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)


def _chunks(data: bytes) -> Iterator[bytes]:
    """The chunks of a chunked body."""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return
        yield data[:length]
        data = data[length + 2 :]


def _send_2(
    connection: socket.socket, method: str, target: str, fields: Fields, body: bytes
) -> Wire:
    """HTTP/2, by prior knowledge; a piece is a DATA frame that is not empty."""
    # Both servers' own fields differ in what h2 would call an error of theirs.
    protocol = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="latin-1"))
    protocol.initiate_connection()
    protocol.increment_flow_control_window(1 << 24)
    own = [(name.lower(), value) for name, value in fields if name.lower() != "host"]
    host = dict(fields)["Host"]
    pseudo = [(":method", method), (":scheme", "http"), (":authority", host), (":path", target)]
    protocol.send_headers(1, [*pseudo, *own], end_stream=not body)
    protocol.increment_flow_control_window(1 << 24, 1)
    if body:
        protocol.send_data(1, body, end_stream=True)
    got: list[tuple[str, str]] = []
    pieces: list[bytes] = []
    while True:
        connection.sendall(protocol.data_to_send())
        for event in protocol.receive_data(connection.recv(1 << 20)):
            if isinstance(event, h2.events.ResponseReceived):
                got = [(str(name), str(value)) for name, value in event.headers or ()]
            elif isinstance(event, h2.events.DataReceived) and event.data:
                pieces.append(event.data)
            elif isinstance(event, h2.events.StreamEnded):
                status = int(dict(got)[":status"])
                fields = tuple(pair for pair in got if pair[0] != ":status")
                return Wire(status, fields, b"".join(pieces), len(pieces))
            elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                raise ConnectionError(f"{method} {target}: {event}")
