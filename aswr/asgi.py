"""The ASGI door: public pages on the server's own loop; what else there is goes to Flask.

Runs on the server's loop and never blocks it. A hit is a dictionary read; a miss waits for its
load without a thread, so ten thousand clients of one slow page are ten thousand awaits of one
load. It answers only while nothing but our own door lies around ``app.wsgi_app``: what lies there
may be a guard. Source: the ASGI specification (HTTP 2.5).
"""

import logging
from collections.abc import Callable, Hashable
from functools import lru_cache, partial

from flask import Flask

from .bridge import Bridge, Receive, Send
from .door import Door, Missing
from .environ import MAYBE_BODY, Scope, complete, request_environ
from .flight import How
from .lookup import AWAITED, Awaited
from .replies import Reply
from .wsgi import door_of, wrapper_of

log = logging.getLogger("aswr.asgi")

Lines = list[tuple[bytes, bytes]]


class AsgiApp:
    """An ASGI 3 application around a Flask app: its public pages, and a bridge to the rest."""

    def __init__(self, app: Flask, bridge: Bridge, has_public: Callable[[], bool]) -> None:
        self._app = app
        self._bridge = bridge
        self._has_public = has_public
        self._told = False
        self._plain_call = type(app).__call__ is Flask.__call__

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection; raises `ValueError` for a kind that is not served."""
        door = self._door() if scope["type"] == "http" else None
        if door is None:
            await self._bridge(scope, receive, send)
            return
        plain = _plain(scope)
        ready = door.ready(plain)
        if ready is not None:
            lines = ready.lines = ready.lines or _lines(ready.reply)
            await _send(send, ready.reply, list(lines), scope["method"] == "HEAD")
        elif (awaited := await _answer(door, scope, send, plain)) is not None:
            await self._bridge(scope, receive, send, awaited)

    def _door(self) -> Door | None:
        door = door_of(self._app)
        if door is not None and self._plain_call:
            return door
        if not self._told and self._has_public():
            self._told = True
            self._tell("" if door is None else f"{type(self._app).__qualname__}.__call__")
        return None

    def _tell(self, wrapper: str) -> None:
        if wrapper := wrapper or wrapper_of(self._app):
            log.warning(
                "%s: public pages are answered by the app and not before it, since %s lies around "
                "app.wsgi_app and may be a guard. Under ASGI a proxy's headers are the server's "
                "business (uvicorn --proxy-headers); put other middleware around manager.asgi()",
                self._app.name, wrapper, extra={"aswr_app": self._app.name},
            )  # fmt: skip


_NOTHING: dict[str, Awaited] = {}


async def _answer(
    door: Door, scope: Scope, send: Send, plain: Hashable
) -> dict[str, Awaited] | None:
    """Answer what the door can; else what Flask is to be given besides the request."""
    try:
        environ = request_environ(scope)
    except ValueError:
        return _NOTHING  # the bridge has an answer to it
    reply: Reply | Missing | Awaited | None
    reply = door.answer(environ, partial(complete, environ, scope), plain)
    if isinstance(reply, Missing):
        reply = await door.load(reply) if door.may_load(reply) else None
    if isinstance(reply, Awaited):
        # Who only may have had a body may have passed for it: Flask, who knows, looks again.
        return _NOTHING if MAYBE_BODY in environ and _passes(reply) else {AWAITED: reply}
    if reply is None:
        return _NOTHING
    await _send(send, reply, _lines(reply), scope["method"] == "HEAD")
    return None


def _passes(awaited: Awaited) -> bool:
    return awaited.result is not None and awaited.result.how is How.PASS


# Headers by which a request asks more of a cache than its URL says.
_MORE = frozenset(
    b"if-none-match if-modified-since range content-length transfer-encoding upgrade".split()
)


def _plain(scope: Scope) -> Hashable:
    """What routing sees of a request, and its query; None where its headers ask more of a cache."""
    host = None
    for name, value in scope["headers"]:
        if name in _MORE or (name == b"host" and host is not None):
            return None
        if name == b"host":
            host = value
    return (
        scope["method"], scope.get("scheme"), host, scope.get("root_path"), scope["path"],
        scope.get("query_string"),
    )  # fmt: skip


async def _send(send: Send, reply: Reply, lines: Lines, head: bool) -> None:
    try:
        await send({"type": "http.response.start", "status": reply.status, "headers": lines})
        await send({"type": "http.response.body", "body": b"" if head else reply.body})
    except OSError:  # how a server's send says that the client is gone
        return


def _lines(reply: Reply) -> Lines:
    return [
        _line(field) if len(field[1]) < _REMEMBERED else _line_of(field) for field in reply.fields
    ]


def _line_of(field: tuple[str, str]) -> tuple[bytes, bytes]:
    """A header field as ASGI wants it."""
    name, value = field
    return name.lower().encode("latin-1"), value.encode("latin-1")


_REMEMBERED = 64  # characters of a header field that may be the same in many answers
_line = lru_cache(1024)(_line_of)
