"""Who may look at the admin page, and which of his requests are his own doing.

Owns the token, the cookie that makes forms safe, and the fields that every answer leaves with. Runs
in requests only; knows nothing of what is shown.
"""

import hashlib
import hmac
import inspect
import logging
import os
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from flask import Flask, current_app, g, request, url_for
from flask.signals import request_started
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, HTTPException, RequestEntityTooLarge, Unauthorized
from werkzeug.wrappers import Response

from ..checks import check_token

log = logging.getLogger("aswr.admin")

TOKEN = "ASWR_ADMIN_TOKEN"
COOKIE = "aswr_admin"
FIELD = "aswr_token"  # of a form
HEADER = "X-Aswr-Token"  # of a script
MAX_BODY = 1 << 20  # bytes

FIELDS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
    # With no-referrer a browser hides a form's Origin from the very site that it belongs to.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

Authorize = Callable[[], Any]

_CURE = (
    "aswr.admin.blueprint(manager, authorize=...) needs a function without arguments that says, in "
    "the request, whether its sender may see and purge the cache: authorize=lambda: "
    "current_user.is_authenticated and current_user.is_admin"
)


def check_authorize(authorize: Any) -> Authorize:
    """Something to call; raises `TypeError`, with the cure, for anything else."""
    if authorize is None:
        raise TypeError(_CURE)
    if not callable(authorize):
        raise TypeError(f"{_CURE}; got {authorize!r}")
    if any(map(inspect.iscoroutinefunction, (authorize, type(authorize).__call__))):
        raise TypeError(f"authorize must be a plain function, and {authorize!r} is async")
    return authorize  # type: ignore[no-any-return]


class Guard:
    """Opens the admin page of one blueprint to whom ``authorize`` or the token lets in."""

    def __init__(self, authorize: Any, token: str | None) -> None:
        self._authorize = check_authorize(authorize)
        self._given = check_token("token", token)
        self._tokens: dict[Flask, bytes | None] = {}
        self._warned: set[str] = set()

    def mount(self, app: Flask, blueprint: Any) -> None:
        """Read the token of an app; raises `ValueError` or `TypeError` for a bad one."""
        found = self._given or check_token(TOKEN, app.config.get(TOKEN))
        found = found or check_token(TOKEN, os.environ.get(TOKEN) or None)
        self._tokens[app] = None if found is None else found.encode()

        def leave_forms_to_us(sender: Flask, **extra: Any) -> None:
            known: Any = sender.extensions.get("csrf")
            if type(known).__module__.partition(".")[0] == "flask_wtf":
                known.exempt(blueprint)
            request_started.disconnect(leave_forms_to_us, sender)

        # Not before the first request: Flask-WTF's CSRFProtect may come after the blueprint.
        request_started.connect(leave_forms_to_us, app, weak=False)

    def check(self) -> Response | None:
        """Before every request: None lets it in, else what is answered, or raised."""
        request.max_content_length = MAX_BODY
        token = self._tokens.get(current_app._get_current_object())  # type: ignore[attr-defined]
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        bearer = kind.lower() == "bearer"
        if bearer and token and hmac.compare_digest(given.strip().encode(), token):
            return None
        # Any other bearer may be the app's own, or of a proxy that adds it to every request: also
        # to those that another site makes a browser send.
        answer = self._ask()
        if bearer and (isinstance(answer, str) or (answer and 300 <= answer.status_code < 400)):
            raise _no(token is not None)  # a login page is for people, who have no token
        if isinstance(answer, str):
            raise Forbidden(answer)
        if answer is None and request.method not in ("GET", "HEAD", "OPTIONS"):
            _check_own()
        return answer

    def _ask(self) -> Response | str | None:
        """What ``authorize`` says: None lets in, anything else is what others are told."""
        try:
            answer = self._authorize()
        except HTTPException:  # abort(403), abort(redirect(...)): a no, in its own words
            raise
        except Exception:
            extra = {"aswr_app": current_app.name}
            log.exception(
                "authorize() of the admin page failed: the page stays closed", extra=extra
            )
            return "authorize() failed, and its error is in the log"
        if answer is True:
            return None
        if isinstance(answer, Response):
            return answer
        if answer is not False and answer is not None:
            self._warn(answer)
        return "authorize() does not let you in; who has the token may use the API"

    def _warn(self, answer: object) -> None:
        if inspect.iscoroutine(answer):
            answer.close()
        kind = type(answer).__name__
        if kind not in self._warned:
            self._warned.add(kind)
            log.warning(
                "authorize() of the admin page returned a %s, which is neither True nor False nor "
                "a response: the page stays closed; write bool(...)", kind,
                extra={"aswr_app": current_app.name},
            )  # fmt: skip


def _no(known: bool) -> Unauthorized:
    text = (
        f"the token is wrong: {TOKEN} must be the same here and there"
        if known
        else f"no token opens this admin page: set {TOKEN} where the app runs"
    )
    return Unauthorized(text, www_authenticate=WWWAuthenticate("bearer"))


def _check_own() -> None:
    """Did a page of ours send this? Else another site may have made the browser do it."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None and site != "same-origin":
        raise Forbidden(f"this came from another site (Sec-Fetch-Site: {site})")
    if site is None and origin is not None and _host_in(origin) != request.host:
        raise Forbidden(
            f"this came from {origin}, and the app is at {request.host}; behind a proxy, "
            "werkzeug's ProxyFix tells the app what it is called"
        )
    given = request.headers.get(HEADER) or request.form.get(FIELD, "")
    cookie = request.cookies.get(COOKIE, "")
    if not cookie or not hmac.compare_digest(given.encode(), _signed(cookie).encode()):
        raise Forbidden("this page is too old, or cookies are off: load it anew, and try again")


def _host_in(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # "http://[::1"
        return ""


def failure_text(error: HTTPException) -> str:
    """What an error tells, with its cure."""
    if isinstance(error, RequestEntityTooLarge) and error.description == type(error).description:
        return "the body is too large: send fewer URLs at a time"
    return error.description or error.name


def in_words(error: HTTPException, body: str, content_type: str) -> Response:
    """An error with a body of ours; a redirect, or a response of the app's own, as it is."""
    plain: Response = error.get_response()
    if error.response is not None or error.code is None or error.code < 400:
        return plain
    response = Response(as_bytes(body), error.code, content_type=content_type)
    for name in ("Allow", "Retry-After", "WWW-Authenticate"):
        if name in plain.headers:
            response.headers[name] = plain.headers[name]
    return response


def as_bytes(text: str) -> bytes:
    """A text for a body; what was made of bytes that are no text is written as what it is."""
    return text.encode(errors="backslashreplace")


def form_token() -> str:
    """What a form must send back; the cookie beside it is set by `dress`."""
    if "aswr_cookie" not in g:
        g.aswr_cookie = request.cookies.get(COOKIE) or secrets.token_urlsafe(24)
    return _signed(g.aswr_cookie)


def _signed(cookie: str) -> str:
    """By the app's key, if it has one. Without, it is the cookie twice, which no other site reads.

    Who can plant a cookie here, from a sibling domain, cannot sign it.
    """
    key = current_app.secret_key or ""
    secret = key.encode() if isinstance(key, str) else key
    return hmac.new(secret, b"aswr.admin " + cookie.encode(), hashlib.sha256).hexdigest()


def dress(response: Response) -> Response:
    """After every request: nobody keeps the answer, frames it, or runs foreign code in it."""
    for name, value in FIELDS.items():
        response.headers[name] = value
    if g.get("aswr_lasting", False):
        response.headers["Cache-Control"] = "private, max-age=31536000, immutable"
    cookie = g.get("aswr_cookie")
    if cookie is not None and request.cookies.get(COOKIE) != cookie:
        path = url_for(f"{request.blueprint}.overview").rstrip("/")
        response.set_cookie(
            COOKIE, cookie, path=path or "/", httponly=True, secure=request.is_secure,
            samesite="Strict",
        )  # fmt: skip
    return response
