"""From a stored answer to a Flask response: conditions, ranges, ``Age``, ``Cache-Status``.

Any thread, in the caller's request; no I/O, no waiting. Header text of the request is looked at
only where the request has some. Must not know entries' keys, engines or renders.
"""

from functools import partial
from typing import Any

from flask import Flask, Response
from flask.ctx import RequestContext
from flask.globals import _cv_request
from werkzeug.datastructures import Headers

from . import conditions, http
from .codec import Answer
from .freshness import IN_APP

# On responses of ours: the answer they were made of, and that the app's hooks ran in its render.
_ANSWER, _OURS, _FINAL = "_aswr_answer", "_aswr_ours", "_aswr_final"
_SINCE = "_aswr_since"  # of an in-app answer, which is weighed when the hooks have run

# A cache that kept a 416 would give it to who asks for the whole: it has no lifetime, no validator.
_OF_WHAT_IS_KEPT = frozenset(
    {"cache-control", "cdn-cache-control", "expires", "etag", "last-modified"}
)

Fields = list[tuple[str, str]]


def respond(
    context: RequestContext,
    answer: Answer,
    status: str,
    now: float,
    *,
    since: float,
    kept: bool,
    public: bool,
    part: bool = False,
) -> Response:
    """The response of a request: with the answer's status; of a public one also 304, 206 or 416.

    ``status`` is our member of ``Cache-Status``; ``since`` is when the answer was new, ``kept``
    whether it is stored. What is not public may still be changed by hooks and decorators: what the
    request's conditions say of it is seen afterwards, and no ranges are served of it (RFC 9110
    §13.2.2, §14.2). A `part` is another view's to use: what the request asks is asked of the whole.
    """
    code, fields, body = answer.status, list(answer.headers), answer.body
    if code == 200 and public and not part:
        environ = context.request.environ
        if _asks_if_changed(environ):
            code, fields, body = _conditional(environ, answer, since)
        if code == 200 and "HTTP_RANGE" in environ and environ["REQUEST_METHOD"] == "GET":
            code, fields, body = _ranged(environ, answer)
    fields.append(("Cache-Status", status))
    if kept:
        fields.append(("Age", str(max(0, int(now - since)))))
    headers = Headers()
    headers[:] = fields
    response = context.app.response_class(body, status=code, headers=headers)
    if len(headers) > len(fields):  # Werkzeug's own Content-Type, where the view gave none
        headers[:] = fields
    setattr(response, _ANSWER, answer)
    if public and not part:
        setattr(context, _FINAL, (response, code, fields, body))
    elif not part:
        setattr(response, _SINCE, since)
    return response


def _conditional(
    environ: dict[str, Any], answer: Answer, since: float
) -> tuple[int, Fields, bytes]:
    fields = list(answer.headers)
    etag, last_modified = _validators(fields)
    if conditions.not_modified(
        etag, last_modified or _dated(fields, since), environ.get("HTTP_IF_NONE_MATCH"),
        environ.get("HTTP_IF_MODIFIED_SINCE"),
    ):  # fmt: skip
        return 304, conditions.fields_of_304(fields), b""
    return 200, fields, answer.body


def _ranged(environ: dict[str, Any], answer: Answer) -> tuple[int, Fields, bytes]:
    fields, size = list(answer.headers), len(answer.body)
    etag, _ = _validators(fields)
    # Of a date nobody knows here whether it is strong (RFC 9110 §8.8.2.2); ours is always a tag.
    asked, if_range = environ["HTTP_RANGE"], environ.get("HTTP_IF_RANGE")
    part = conditions.byte_range(asked, if_range, etag, "", size)
    if part is None:
        return 200, fields, answer.body
    fields = [(name, value) for name, value in fields if name.lower() != "content-length"]
    if isinstance(part, conditions.Unsatisfiable):
        fields = [field for field in fields if field[0].lower() not in _OF_WHAT_IS_KEPT]
        return 416, [*fields, ("Content-Range", f"bytes */{size}")], b""
    where = ("Content-Range", f"bytes {part.first}-{part.last}/{size}")
    return 206, [*fields, where], answer.body[part.first : part.last + 1]


def _validators(fields: Fields) -> tuple[str, str]:
    etags, dates = http.lines(fields, "etag"), http.lines(fields, "last-modified")
    return etags[0] if etags else "", dates[0] if dates else ""


def keep_from_others(response: Response) -> None:
    """Let no other cache keep an answer that is one caller's, where it says nothing itself."""
    if "Cache-Control" not in response.headers and "Expires" not in response.headers:
        response.headers["Cache-Control"] = IN_APP
        setattr(response, _OURS, [("Cache-Control", IN_APP)])


def unsatisfied(context: RequestContext) -> Response:
    """The answer to ``only-if-cached`` where nothing is stored: 504 (RFC 9111 §5.2.1.7).

    It has no ``Cache-Status``: no cache's answer is in it (RFC 9211 §2).
    """
    return context.app.response_class("", status=504)


def keep_cookies_apart(response: Response) -> None:
    """No response leaves with both a cookie and our fields: a cookie makes it one person's.

    ``Vary`` stays: it is true all the same, and keeps others from sharing.
    """
    if "Set-Cookie" not in response.headers or "Cache-Status" not in response.headers:
        return
    answer: Answer | None = getattr(response, _ANSWER, None)
    ours = getattr(response, _OURS, []) + ([] if answer is None else _ours(answer))
    fields = [f for f in http.without_ours(list(response.headers)) if f not in ours]
    if len(fields) != len(response.headers):
        response.headers = type(response.headers)(fields)


def _ours(answer: Answer) -> Fields:
    return [field for field in answer.headers if field[0] in answer.ours]


def leave_final_answers_alone(app: Flask) -> None:
    """Let no ``after_request`` hook run twice: a public answer went through them in its render."""
    app.process_response = partial(_process, app.process_response)  # type: ignore[method-assign]


def _process(previous: Any, response: Response) -> Response:
    final = getattr(_cv_request.get(), _FINAL, None)
    if final is not None and final[1] == response.status_code:
        # The decorators above ours did what they do in its render: not twice.
        response, _, fields, body = final
        response.set_data(body)
        response.headers[:] = fields
        return response
    response = previous(response)
    if hasattr(response, _SINCE) and response.status_code == 200:
        _weigh(response)
    return response


def _weigh(response: Response) -> None:
    """What an in-app answer's tag and the request's conditions say of what the hooks left of it."""
    answer: Answer = getattr(response, _ANSWER)
    environ = _cv_request.get().request.environ
    changed = not _holds(response, answer.body)
    if not changed and not _asks_if_changed(environ):
        return
    fields = list(response.headers)
    etag, last_modified = _validators(fields)
    ours = "ETag" in answer.ours and ("ETag", etag) in answer.headers
    if changed and ours:
        del response.headers["ETag"]
        if not response.is_sequence or response.direct_passthrough:
            return
        etag = conditions.weak(conditions.strong_etag(response.get_data()))
        response.headers["ETag"] = etag
        setattr(response, _OURS, [("ETag", etag)])
    if_none_match = environ.get("HTTP_IF_NONE_MATCH")
    if_modified_since = None if changed else environ.get("HTTP_IF_MODIFIED_SINCE")
    if (if_none_match or if_modified_since) is None or (changed and not ours):
        return
    since = last_modified or _dated(fields, getattr(response, _SINCE))
    if conditions.not_modified(etag, since, if_none_match, if_modified_since):
        fields = conditions.fields_of_304(list(response.headers))
        response.status_code = 304
        response.set_data(b"")
        response.headers[:] = fields


def _holds(response: Response, body: bytes) -> bool:
    """Is this still the body of a response?"""
    parts = response.response
    if isinstance(parts, list) and len(parts) == 1 and parts[0] is body:
        return True
    return response.is_sequence and response.get_data() == body


def _asks_if_changed(environ: dict[str, Any]) -> bool:
    return "HTTP_IF_NONE_MATCH" in environ or "HTTP_IF_MODIFIED_SINCE" in environ


def _dated(fields: Fields, since: float) -> str:
    """RFC 9111 §4.3.2: Date stands in for Last-Modified, else when the answer was received."""
    dates = http.lines(fields, "date")
    return dates[0] if dates else http.format_date(since)
