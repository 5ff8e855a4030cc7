"""The admin page: what is in the cache, what it does, and buttons; a blueprint that apps mount.

Leaf: nobody imports it. Requests of the app bring whoever looks; everything shown and done is the
desk's. Closed to all but whom ``authorize`` or the token lets in.
"""

import weakref
from collections.abc import Callable
from typing import Any, cast

from flask import Blueprint, Flask, Response, current_app, jsonify, request
from flask.blueprints import BlueprintSetupState
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from ..checks import check_limit
from ..desk import Desk, desk_of
from ..engine import Engine
from ..events import Event
from ..manager import CacheManager
from .api import add_api, failed
from .guard import Guard, dress
from .history import History
from .live import Streams, pulse, since_asked
from .pages import add_pages, refused

_STATE = "aswr.admin"  # an app's extension

__all__ = ["blueprint"]


def blueprint(
    manager: CacheManager,
    authorize: Any = None,
    *,
    name: str = "aswr_admin",
    token: str | None = None,
    streams: int | None = None,
) -> Blueprint:
    """The admin page of a manager: ``app.register_blueprint(..., url_prefix="/aswr")``.

    ``authorize`` is called without arguments in each request: only True opens the page, and a
    response, such as a redirect to the login, is what others get; else it is 403. ``token`` (else
    ``ASWR_ADMIN_TOKEN`` of the app's config or of the environment; 16 characters or more) opens it
    in its place to who sends it as ``Authorization: Bearer``. ``streams`` is how many pages of one
    process may each hold one of its threads to be live (the others poll): by default half of
    ``ASWR_THREADS`` under ``manager.asgi()``, at most 8, and one under a WSGI server. Raises
    `TypeError` without ``authorize``; mounting raises `RuntimeError` on an app that the manager was
    not given.
    """
    guard = Guard(authorize, token)
    limit = check_limit("streams", streams)
    made = Blueprint(name, __name__, static_folder=None)

    def desk() -> Desk:
        return desk_of(manager, current_app._get_current_object())  # type: ignore[attr-defined]

    def mount(state: BlueprintSetupState) -> None:
        app = cast(Flask, state.app)
        site = manager.site_of(app)
        guard.mount(app, made)
        if _STATE not in app.extensions:  # else it is mounted twice, under two names
            desk_of(manager, app).life.begin(site.engine.events)
            app.extensions[_STATE] = (_history(manager, site.engine), Streams())
        if limit is not None:
            app.extensions[_STATE][1].limit = limit

    made.record(mount)
    made.before_request(guard.check)
    made.after_request(dress)
    made.register_error_handler(HTTPException, _failed)
    add_api(made, desk)
    _add_live(made, desk)
    add_pages(made, desk)
    return made


def _history(manager: CacheManager, engine: Engine) -> History:
    """One that begins with the first load, or pass: where everything passes nothing is loaded."""
    history, myself = History(engine), weakref.ref(manager)

    def begin(event: Event) -> None:
        found = myself()
        if found is not None and not found.looks_on and not engine.closed:
            found.loop()

    manager.for_each_loop(history.begin)
    engine.events.subscribe(begin, "pass")
    return history


def _add_live(made: Blueprint, desk: Callable[[], Desk]) -> None:
    def live() -> Response:
        told, state = desk(), current_app.extensions[_STATE]
        history: History = state[0]
        streams: Streams = state[1]
        return streams.answer(lambda since: pulse(told, history, since), since_asked())

    def once() -> Response:
        return jsonify(pulse(desk(), current_app.extensions[_STATE][0], since_asked()))

    made.add_url_rule("/live", "live", live, methods=["GET"])
    made.add_url_rule("/api/pulse", "api_pulse", once, methods=["GET"])


def _failed(error: HTTPException) -> AnyResponse:
    endpoint = (request.endpoint or "").rpartition(".")[2]
    return failed(error) if endpoint.startswith("api_") else refused(error)
