"""The WSGI door: what `init_app` puts around ``app.wsgi_app``, to answer public pages before Flask.

Any thread. It is innermost or absent: what wraps it later, as ProxyFix does, runs before it as
before Flask; what was there before `init_app` would be skipped, so then there is none. Owns the
app's `Door`. Source: PEP 3333.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import Any

from flask import Flask
from werkzeug.http import HTTP_STATUS_CODES

from .door import Door, is_more
from .environ import Environ
from .lookup import AWAITED
from .replies import Reply
from .site import Decorated, Site

WsgiApp = Callable[..., Iterable[bytes]]

_STATUS_LINES = {code: f"{code} {phrase.upper()}" for code, phrase in HTTP_STATUS_CODES.items()}


# What of Flask's own methods runs around a request besides its hooks.
_DISPATCH = ("full_dispatch_request", "dispatch_request", "finalize_request")


class WsgiDoor:
    """A WSGI application that answers what the door can answer, and leaves the rest to Flask."""

    def __init__(self, door: Door, wsgi_app: WsgiApp) -> None:
        self.door = door
        self._wsgi_app = wsgi_app

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not self.door.leads(environ.get("PATH_INFO", "")):
            return self._wsgi_app(environ, start_response)
        plain = _plain(environ)
        ready = self.door.ready(plain)
        if ready is not None:
            code, fields, body = ready.reply
            fields = list(fields)  # the server's to change
        else:
            # What the ASGI door could not give has been looked for already.
            look = AWAITED not in environ
            reply = self.door.answer(environ, lambda: environ, plain) if look else None
            if type(reply) is not Reply:
                return self._wsgi_app(environ, start_response)
            code, fields, body = reply
        start_response(_STATUS_LINES.get(code) or f"{code} UNKNOWN", fields)
        return [body] if body and environ["REQUEST_METHOD"] != "HEAD" else []


def _plain(environ: Environ) -> Hashable:
    """What routing sees of a request, and its query; None where its headers ask more of a cache."""
    get = environ.get
    if get("HTTP_IF_NONE_MATCH") or get("HTTP_IF_MODIFIED_SINCE") or get("HTTP_RANGE"):
        return None
    if is_more(environ):
        return None
    return (
        environ["REQUEST_METHOD"], environ["wsgi.url_scheme"], get("HTTP_HOST"),
        get("SCRIPT_NAME"), get("PATH_INFO"), get("QUERY_STRING"),
    )  # fmt: skip


def put_door(app: Flask, site: Site, knows: Callable[[Decorated], bool]) -> str:
    """Put the door around Flask's own WSGI application.

    Where something else lies around that already nothing is done; returns its name, else "".
    """
    wrapper = wrapper_of(app) or next((name for name in _DISPATCH if name in vars(app)), "")
    if not wrapper:
        app.wsgi_app = WsgiDoor(Door(app, site, knows), app.wsgi_app)  # type: ignore[method-assign]
    return wrapper


def door_of(app: Flask) -> Door | None:
    """The app's door, where nothing lies around it."""
    found = vars(app).get("wsgi_app")
    return found.door if type(found) is WsgiDoor else None


def wrapper_of(app: Flask) -> str:
    """The name of what stands in the place of Flask's own WSGI application and of our door."""
    for name in _DISPATCH:
        if getattr(type(app), name) is not getattr(Flask, name):
            return f"{type(app).__qualname__}.{name}"
    found: Any = app.wsgi_app
    if type(found) is WsgiDoor or getattr(found, "__func__", None) is Flask.wsgi_app:
        return ""
    named = found if hasattr(found, "__qualname__") else type(found)
    return f"{named.__module__}.{named.__qualname__}"
