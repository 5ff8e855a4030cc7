"""What a stored answer becomes for one request: itself, 304, 206 or 416 (RFC 9110 §13, §14).

Pure: an answer and the text of a request in, status, fields and body out. Shared by every way in,
so that they cannot drift apart. No async, no threads, no clock; knows no framework. Header text of
the request is looked at only where the request has some.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from . import conditions, http
from .codec import Answer, Entry
from .coding import choose

# Not of a 416. A cache that kept one would give it to who asks for the whole, so it has
# no lifetime and no validator; and its own body, which is empty, is not encoded.
_OF_THE_WHOLE = frozenset(
    "cache-control cdn-cache-control expires etag last-modified content-encoding".split()
)

Fields = list[tuple[str, str]]


class Given(NamedTuple):
    """An answer to give, its entry where it is stored, and our member of ``Cache-Status``."""

    answer: Answer
    entry: Entry | None
    status: str


class Reply(NamedTuple):
    """A status code, the header fields (the list is the caller's to change), and the body."""

    status: int
    fields: Fields
    body: bytes


def negotiated(environ: Mapping[str, Any], given: Given) -> Given:
    """The same in the content coding that suits the request best, where there are several."""
    answer, entry, status = given
    if not answer.codings:
        return given
    return Given(choose(answer, environ.get("HTTP_ACCEPT_ENCODING")), entry, status)


def reply_to(environ: Mapping[str, Any], given: Given, now: float, *, whole: bool = True) -> Reply:
    """The reply to a GET or HEAD with these headers, with ``Age`` and ``Cache-Status``.

    ``whole``: what the request asks is asked of this answer, so that it may become a 304 or a part.
    """
    answer, entry, status = given
    reply = None
    if whole and answer.status == 200:
        reply = _asked(environ, answer, now if entry is None else entry.stored)
    if reply is None:
        body = b"" if answer.status == 204 else answer.body  # RFC 9110 §15.3.5
        reply = Reply(answer.status, list(answer.headers), body)
    reply.fields.append(("Cache-Status", status))
    if entry is not None:  # RFC 9111 §5.1
        reply.fields.append(("Age", str(max(0, int(now - entry.stored)))))
    return reply


def _asked(environ: Mapping[str, Any], answer: Answer, since: float) -> Reply | None:
    """A 304, 206 or 416, where the request asks for one; ``since``: when the answer was new."""
    if asks_if_changed(environ) and _still_has(environ, answer, since):
        return Reply(304, conditions.fields_of_304(answer.headers), b"")
    if "HTTP_RANGE" in environ and environ["REQUEST_METHOD"] == "GET":
        return _ranged(environ, answer)
    return None


def asks_if_changed(environ: Mapping[str, Any]) -> bool:
    """Does the request say what its sender holds?"""
    return "HTTP_IF_NONE_MATCH" in environ or "HTTP_IF_MODIFIED_SINCE" in environ


def _still_has(environ: Mapping[str, Any], answer: Answer, since: float) -> bool:
    etag, last_modified = validators(answer.headers)
    return conditions.not_modified(
        etag, last_modified or dated(answer.headers, since), environ.get("HTTP_IF_NONE_MATCH"),
        environ.get("HTTP_IF_MODIFIED_SINCE"),
    )  # fmt: skip


def _ranged(environ: Mapping[str, Any], answer: Answer) -> Reply | None:
    size = len(answer.body)
    etag, _ = validators(answer.headers)
    # Of a date nobody knows here whether it is strong (RFC 9110 §8.8.2.2); ours is always a tag.
    asked, if_range = environ["HTTP_RANGE"], environ.get("HTTP_IF_RANGE")
    part = conditions.byte_range(asked, if_range, etag, "", size)
    if part is None:
        return None
    fields = [field for field in answer.headers if field[0].lower() != "content-length"]
    if isinstance(part, conditions.Unsatisfiable):
        fields = [field for field in fields if field[0].lower() not in _OF_THE_WHOLE]
        fields += [("Content-Range", f"bytes */{size}"), ("Content-Length", "0")]
        return Reply(416, fields, b"")
    body = answer.body[part.first : part.last + 1]
    where = f"bytes {part.first}-{part.last}/{size}"
    fields += [("Content-Range", where), ("Content-Length", str(len(body)))]
    return Reply(206, fields, body)


def validators(fields: http.Fields) -> tuple[str, str]:
    """The ``ETag`` and the ``Last-Modified`` among header fields; "" where there is none."""
    etags, dates = http.lines(fields, "etag"), http.lines(fields, "last-modified")
    return etags[0] if etags else "", dates[0] if dates else ""


def dated(fields: http.Fields, since: float) -> str:
    """RFC 9111 §4.3.2: Date stands in for Last-Modified, else when the answer was received."""
    dates = http.lines(fields, "date")
    return dates[0] if dates else http.format_date(since)
