"""From a stored answer to a Flask response: conditions, ranges, ``Age``, ``Cache-Status``.

Any thread, in the caller's request; no I/O, no waiting. Header text of the request is looked at
only where the request has some. Must not know entries' keys, engines or renders.
"""

from functools import partial
from typing import Any

from flask import Flask, Response
from flask.ctx import RequestContext
from flask.globals import _cv_request

from . import conditions, http
from .codec import Answer
from .freshness import IN_APP
from .replies import Fields, Given, asks_if_changed, dated, negotiated, reply_to, validators
from .stored import headers_of, response_of

# On responses of ours: the answer they were made of, and that the app's hooks ran in its render.
_ANSWER, _OURS, _FINAL = "_aswr_answer", "_aswr_ours", "_aswr_final"
_SPEAKS = "_aswr_speaks"  # on the context of a request whose answer has fields of ours
_SINCE = "_aswr_since"  # of an in-app answer, which is weighed when the hooks have run


def respond(
    context: RequestContext, given: Given, now: float, *, public: bool, part: bool
) -> Response:
    """The response of a request: with the answer's status; of a public one also 304, 206 or 416.

    What is not public may still be changed by hooks and decorators: what the request's conditions
    say of it is seen afterwards, and no ranges are served of it (RFC 9110 §13.2.2, §14.2). A `part`
    is another view's to use: what the request asks is asked of the whole.
    """
    final = public and not part
    if not part:
        given = negotiated(context.request.environ, given)
    reply = reply_to(context.request.environ, given, now, whole=final)
    status, fields, body = reply
    if final:
        fields = list(fields)  # decorators above ours may add to those
    response = response_of(context.app.response_class, status, fields, body)
    setattr(context, _SPEAKS, True)
    setattr(response, _ANSWER, given.answer)
    if final:
        setattr(context, _FINAL, (response, reply))
    elif not part:
        setattr(response, _SINCE, now if given.entry is None else given.entry.stored)
    return response


def mark(context: RequestContext, response: Response, status: str) -> None:
    """Say in a response that is not of the cache why it is not."""
    setattr(context, _SPEAKS, True)
    response.headers.add("Cache-Status", status)


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
    if not hasattr(_cv_request.get(), _SPEAKS) or not _sets_cookies(response):
        return
    answer: Answer | None = getattr(response, _ANSWER, None)
    ours = getattr(response, _OURS, []) + ([] if answer is None else _ours(answer))
    fields = [f for f in http.without_ours(list(response.headers)) if f not in ours]
    if len(fields) != len(response.headers):
        response.headers = type(response.headers)(fields)


def _sets_cookies(response: Response) -> bool:
    return "set-cookie" in [name.lower() for name, _ in response.headers]


def _ours(answer: Answer) -> Fields:
    return [field for field in answer.headers if field[0] in answer.ours]


def leave_final_answers_alone(app: Flask) -> None:
    """Let no ``after_request`` hook run twice: a public answer went through them in its render."""
    app.process_response = partial(_process, app.process_response)  # type: ignore[method-assign]


def _process(previous: Any, response: Response) -> Response:
    final = getattr(_cv_request.get(), _FINAL, None)
    if final is not None and final[1].status == response.status_code:
        # The decorators above ours did what they do in its render: not twice.
        response, reply = final
        response.set_data(reply.body)
        response.headers = headers_of(reply.fields)
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
    if not changed and not asks_if_changed(environ):
        return
    fields = list(response.headers)
    etag, last_modified = validators(fields)
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
    since = last_modified or dated(fields, getattr(response, _SINCE))
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
