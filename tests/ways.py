"""One request, three ways in: by the WSGI door, by the ASGI door, and through the app itself."""

import asyncio
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from flask import Flask
from werkzeug.test import run_wsgi_app

from aswr import CacheManager

LIMIT = 10.0  # seconds that anything here may wait

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Ask:
    """A request as a client sends it; ``more`` is put into the WSGI environ alone."""

    path: str = "/x"
    method: str = "GET"
    headers: Fields = ()
    query: str = ""
    host: str | None = "localhost"
    root: str = ""
    scheme: str = "http"
    body: bytes = b""
    more: Fields = ()

    def environ(self) -> dict[str, Any]:
        """The request as PEP 3333 has it."""
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.method,
            "SCRIPT_NAME": self.root.encode().decode("latin-1"),
            "PATH_INFO": self.path.encode().decode("latin-1"),
            "QUERY_STRING": self.query,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": self.scheme,
            "wsgi.input": io.BytesIO(self.body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        if self.host is not None:
            environ["HTTP_HOST"] = self.host
        for name, value in self._lines():
            key = name.upper().replace("-", "_")
            environ[key if key in ("CONTENT_LENGTH", "CONTENT_TYPE") else f"HTTP_{key}"] = value
        return environ | dict(self.more)

    def scope(self) -> dict[str, Any]:
        """The request as the ASGI specification has it: names in lower case, ``root`` in front."""
        lines = [(name.lower().encode(), value.encode("latin-1")) for name, value in self._lines()]
        if self.host is not None:
            lines.insert(0, (b"host", self.host.encode("latin-1")))
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": self.scheme,
            "path": self.root + self.path,
            "raw_path": quote(self.root + self.path).encode(),
            "root_path": self.root,
            "query_string": self.query.encode("latin-1"),
            "headers": lines,
            "client": ("127.0.0.1", 5000),
            "server": ("localhost", 80),
        }

    def _lines(self) -> Fields:
        length = (("Content-Length", str(len(self.body))),) if self.body else ()
        return (*self.headers, *length)


@dataclass(frozen=True)
class Got:
    """A response: names in lower case, in order."""

    status: int
    fields: Fields
    body: bytes

    def __getitem__(self, name: str) -> str:
        """The lines of a field, joined; empty where there is none."""
        return ", ".join(value for field, value in self.fields if field == name.lower())

    @property
    def cache(self) -> str:
        return self["Cache-Status"]

    @property
    def is_hit(self) -> bool:
        return self.cache.startswith("aswr; hit")

    @property
    def text(self) -> str:
        return self.body.decode()


def by_wsgi(app: Any, ask: Ask) -> Got:
    """The response of a WSGI application."""
    output, status, headers = run_wsgi_app(app, ask.environ())
    fields = tuple((name.lower(), value) for name, value in headers)
    return Got(int(status.split()[0]), fields, b"".join(output))


@dataclass
class Call:
    """One call of an ASGI application; keeps the messages that were sent."""

    scope: dict[str, Any]
    body: bytes = b""
    sent: list[dict[str, Any]] = field(default_factory=list)
    on_send: Callable[[Any], None] = lambda message: None

    def __post_init__(self) -> None:
        self._feed = [{"type": "http.request", "body": self.body}]
        self._over = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        if self._feed:
            return self._feed.pop()
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.on_send(message)
        self.sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._over.set()

    async def of(self, application: Any) -> Got:
        await application(self.scope, self.receive, self.send)
        return self.got

    @property
    def got(self) -> Got:
        head, *rest = self.sent
        lines = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in head["headers"]
        ]
        return Got(head["status"], tuple(lines), b"".join(part["body"] for part in rest))


async def aby_asgi(application: Any, ask: Ask) -> Got:
    """The response of an ASGI application, on its server's loop."""
    return await asyncio.wait_for(Call(ask.scope(), ask.body).of(application), LIMIT)


def by_asgi(application: Any, ask: Ask) -> Got:
    """As `aby_asgi`, for a test that has no loop."""
    return asyncio.run(aby_asgi(application, ask))


Build = Callable[[Flask, CacheManager], None]
WAYS = ("in-app", "wsgi", "asgi")


class Shop:
    """An app with its manager, entered one way; ``build`` puts the views in."""

    def __init__(self, way: str, build: Build, clock: Callable[[], float], **config: Any) -> None:
        self.app = Flask("shop", subdomain_matching=config.pop("subdomain_matching", False))
        self.app.secret_key = "secret"
        self.app.config.update(config)
        self.manager = CacheManager(self.app, clock=clock)
        if way == "in-app":
            del self.app.wsgi_app  # Flask's own is left
        build(self.app, self.manager)
        self._asgi = self.manager.asgi() if way == "asgi" else None

    def __enter__(self) -> "Shop":
        return self

    def __exit__(self, *error: object) -> None:
        self.manager.close(timeout=0.5)

    def ask(self, ask: Ask) -> Got:
        """The response, when all that it set going is over."""
        got = by_wsgi(self.app, ask) if self._asgi is None else by_asgi(self._asgi, ask)
        assert self.manager.join(LIMIT)
        return got

    def get(self, path: str = "/x", **more: Any) -> Got:
        return self.ask(Ask(path, **more))
