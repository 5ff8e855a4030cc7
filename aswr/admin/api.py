"""What the desk says and does, as JSON: for the page's scripts, and for the command line.

Every answer is what the method of `Desk` of that name returns. Errors are ``{"error": text}``.
"""

import logging
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final, TypeVar, cast

from flask import Blueprint, Response, current_app, jsonify, request
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    InternalServerError,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
)
from werkzeug.wrappers import Response as AnyResponse

from ..desk import Desk
from ..events import Because
from ..questions import MOST_LISTED, MOST_SHOWN
from .guard import failure_text, in_words

log = logging.getLogger("aswr.admin")

MOST_URLS = 100  # in one request
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
READS: Final = ("about", "stats", "jobs", "flights", "workers", "routes", "tags", "doctor")
CAUSES: Final = ("warm", "refresh")  # of the loads that are asked for here
T = TypeVar("T")


def add_api(blueprint: Blueprint, desk: Callable[[], Desk]) -> None:
    """Give a blueprint the API, below ``api/``; ``desk`` is called in the request."""
    rule = _ruler(blueprint)

    def reader(name: str) -> Callable[[], Any]:
        return lambda: getattr(desk(), name)()

    for name in READS:
        rule(f"api/{name}", reader(name))
    rule("api/entries", lambda: desk().entries(**entries_asked()))
    rule("api/show", lambda: desk().show(**_shown_asked()), "GET", "POST")
    rule("api/entry/<id>", lambda id: desk().entry(id))
    rule("api/latest", lambda: desk().latest(_number("count", 50, 5000)))

    rule("api/why", lambda: _why(desk(), _body()), "POST")
    rule("api/refresh", lambda: _refresh(desk(), _body()), "POST")
    rule("api/load", lambda: _load(desk(), _body()), "POST")
    rule("api/purge", lambda: _purge(desk(), _body()), "POST")

    known = {*READS, "entries", "entry", "show", "latest", "pulse"}

    def unknown(rest: str) -> Any:
        name = rest.partition("/")[0]
        if name in known:
            raise MethodNotAllowed(["GET"], f"api/{name} is asked with GET")
        if name in ("why", "refresh", "load", "purge"):
            raise MethodNotAllowed(["POST"], f"api/{name} is asked with POST")
        raise NotFound(f"there is no api/{rest}: is the other side another version of aswr?")

    blueprint.add_url_rule("/api/<path:rest>", "api_unknown", unknown, methods=METHODS)


def _ruler(blueprint: Blueprint) -> Callable[..., None]:
    def rule(path: str, answer: Callable[..., Any], *methods: str) -> None:
        @wraps(answer)
        def view(**kwargs: Any) -> Response:
            return jsonify(answered(lambda: answer(**kwargs)))

        endpoint = path.partition("/<")[0].replace("/", "_")
        blueprint.add_url_rule(f"/{path}", endpoint, view, methods=methods or ("GET",))

    return rule


def answered(ask: Callable[[], T]) -> T:
    """What the desk says; its errors as those of HTTP."""
    try:
        return ask()
    except HTTPException:
        raise
    except LookupError as error:
        raise NotFound(str(error.args[0]) if error.args else repr(error)) from error
    except (ValueError, TypeError) as error:
        raise BadRequest(str(error)) from error
    except Exception as error:
        extra = {"aswr_app": current_app.name, "aswr_path": request.path}
        log.exception("the admin page could not answer %s", request.path, extra=extra)
        raise InternalServerError(f"{type(error).__name__}: {error}") from error


def failed(error: HTTPException) -> AnyResponse:
    """An error as JSON."""
    text = current_app.json.dumps({"error": failure_text(error)})
    return in_words(error, f"{text}\n", "application/json")


# What is asked.


def entries_asked() -> dict[str, Any]:
    """The arguments of `Desk.entries` in a request's query."""
    args = request.args
    asked: dict[str, Any] = {
        name: args[name] for name in ("view", "tag", "state", "search", "sort") if args.get(name)
    }
    asked["shared"] = _yes("shared")
    asked["limit"] = _number("limit", MOST_SHOWN, MOST_LISTED)
    return asked


def _shown_asked() -> dict[str, Any]:
    if request.method == "POST":  # a URL may be longer than a server takes in another's query
        body = _body()
        return {"url": _url(body.get("url")), "everything": _flag(body, "everything")}
    return {"url": _url(request.args.get("url")), "everything": _yes("everything")}


def _yes(name: str) -> bool:
    return request.args.get(name, "").lower() in ("1", "true", "yes", "on")


def _number(name: str, default: int, most: int) -> int:
    given = request.args.get(name, "")
    if not given:
        return default
    if not given.isascii() or not given.isdigit() or not 0 < int(given) <= most:
        raise BadRequest(f"{name} is a number from 1 to {most}, got {given!r}")
    return int(given)


def _body() -> Mapping[str, Any]:
    try:
        body = request.get_json(force=True, silent=True)
    except RecursionError:
        body = None
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body


def _url(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise BadRequest("which url? name the path as the browser shows it, '/report'")
    return value


def _texts(body: Mapping[str, Any], name: str) -> list[str]:
    value = body.get(name) or []
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise BadRequest(f"{name} is a list of texts, got {value!r}")
    if len(value) > MOST_URLS:
        raise RequestEntityTooLarge(f"at most {MOST_URLS} {name} at a time, got {len(value)}")
    return value


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name) or False
    if not isinstance(value, bool):
        raise BadRequest(f"{name} is true or false, got {value!r}")
    return value


def _why(desk: Desk, body: Mapping[str, Any]) -> Any:
    headers = body.get("headers") or {}
    if not isinstance(headers, dict) or not all(isinstance(v, str) for v in headers.values()):
        raise BadRequest(f"headers are texts by name, got {headers!r}")
    return desk.why(_url(body.get("url")), headers)


def _refresh(desk: Desk, body: Mapping[str, Any]) -> Any:
    urls, ids = _texts(body, "urls"), _texts(body, "ids")
    if not (urls or ids):
        raise BadRequest("refresh what? urls is a list of URLs or paths, ids of entries")
    return desk.refresh_all(urls, ids)


def _load(desk: Desk, body: Mapping[str, Any]) -> Any:
    why = body.get("why") or "warm"
    if why not in CAUSES:
        raise BadRequest(f"why is one of {', '.join(CAUSES)}, got {why!r}")
    return desk.load(_url(body.get("url")), force=_flag(body, "force"), why=cast(Because, why))


def _purge(desk: Desk, body: Mapping[str, Any]) -> Any:
    urls, tags, ids = (_texts(body, name) for name in ("urls", "tags", "ids"))
    everything, stale = _flag(body, "everything"), _flag(body, "stale")
    if not (urls or tags or ids or everything):
        raise BadRequest("purge what? urls, tags, ids, or everything: true")
    return desk.purge(urls=urls, tags=tags, ids=ids, everything=everything, stale=stale)
