"""Which phases of an async load run nobody's synchronous code but Flask's own, and ours.

These may run on the loop: to hand one to a thread and back takes longer than the phase itself. In
doubt it goes to a thread. Any thread may ask; must not know renders, flights or loops.
"""

from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.ctx import _AppCtxGlobals
from flask.sessions import SessionInterface
from flask.signals import (
    appcontext_popped,
    appcontext_pushed,
    appcontext_tearing_down,
    request_tearing_down,
)
from flask.wrappers import Request, Response
from werkzeug.routing import Map

from .checks import Tags

MOST = 64 * 1024  # characters of text; to encode and to hash more than that takes the loop too long

_CONTEXT_METHODS = frozenset({"app_context", "create_url_adapter", "do_teardown_appcontext"})
_REQUEST_METHODS = frozenset({"raise_routing_exception", "make_response", "do_teardown_request"})
_SCALARS = frozenset({type(None), bool, int, float})


def _is_flasks(app: Flask, methods: frozenset[str]) -> bool:
    """Are these methods of the app Flask's own?"""
    return type(app) is Flask and methods.isdisjoint(vars(app))


def opens_app_context(app: Flask) -> bool:
    """Does pushing an app context call nothing of the user's?"""
    return (
        _is_flasks(app, _CONTEXT_METHODS)
        and app.app_ctx_globals_class is _AppCtxGlobals
        and not appcontext_pushed.receivers
    )


def closes_app_context(app: Flask) -> bool:
    """Does popping one?"""
    return (
        _is_flasks(app, _CONTEXT_METHODS)
        and not app.teardown_appcontext_funcs
        and not appcontext_tearing_down.receivers
        and not appcontext_popped.receivers
    )


def opens_request_context(app: Flask) -> bool:
    """Does pushing a request context, with its URL and no session of the app's, call nothing?"""
    return (
        opens_app_context(app)
        and _is_flasks(app, _REQUEST_METHODS)
        and app.request_class is Request
        and type(app.session_interface).get_cookie_name is SessionInterface.get_cookie_name
        and not any(app.url_value_preprocessors.values())
        and type(app.url_map) is Map
        and all(_is_werkzeugs(cls) for cls in app.url_map.converters.values())
    )


def _is_werkzeugs(converter: Callable[..., Any]) -> bool:
    return converter.__module__ == "werkzeug.routing.converters"


def closes_request_context(app: Flask) -> bool:
    """Does making a response of text and popping a request context?"""
    return (
        closes_app_context(app)
        and _is_flasks(app, _REQUEST_METHODS)
        and app.response_class is Response
        and not any(app.teardown_request_funcs.values())
        and not request_tearing_down.receivers
    )


def is_small(value: object) -> bool:
    """Is this a plain value about which nothing takes long?"""
    return type(value) in _SCALARS or is_short(value)


def is_short(value: object) -> bool:
    """Is this plain text, and not much?"""
    return isinstance(value, (str, bytes)) and type(value) in (str, bytes) and len(value) <= MOST


def decides_nothing(tags: Tags, store_if: Callable[..., Any] | None) -> bool:
    """Does none of the decorator's functions look at what is loaded?"""
    return store_if is None and not callable(tags)
