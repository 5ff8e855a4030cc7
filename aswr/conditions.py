"""Conditional requests and ranges, as the recipient of one: RFC 9110 §8.8, §13, §14.

Entity tags, 304 and its fields, what a 304 renews of a stored answer, and which part of a stored
body a ``Range`` asks for. Pure: header text in, values out. No async, no threads, no clock; knows
no framework. Malformed input never raises: the condition or the range then counts as not there.
"""

import re
from dataclasses import dataclass
from hashlib import blake2b

from . import http

# RFC 9110 §14.1.2. A range unit is compared without case (§14.1).
_RANGE = re.compile(
    r"bytes=[ \t,]*(?:([0-9]+)-([0-9]*)|-([0-9]+))[ \t,]*\Z", re.ASCII | re.IGNORECASE
)
_MOST_DIGITS = 18  # more than any size has

# RFC 9110 §15.4.5: of the fields that describe the representation or the content, a 304 has only
# those that guide the update of a cache.
_OF_CONTENT = frozenset(
    "content-type content-encoding content-language content-length content-range content-md5 "
    "content-digest repr-digest digest transfer-encoding trailer allow".split()
)
# RFC 9111 §3.1, RFC 9110 §7.6.1
_HOP_BY_HOP = frozenset(
    "connection proxy-connection keep-alive te trailer transfer-encoding upgrade "
    "proxy-authenticate proxy-authentication-info proxy-authorization".split()
)
# RFC 9111 §3.2: what the stored body depends on is not for a 304 to change.
_OF_THE_BODY = frozenset("content-length content-encoding content-type content-range".split())
# They belong to one message. What the stored one said of its own time would age the new one.
_OF_THE_MESSAGE = frozenset({"age", "date"})


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes from ``first`` to ``last``, both included, of a body that has both."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """The range lies outside of the body: 416."""


def strong_etag(*parts: bytes) -> str:
    """A strong entity tag of these bytes; parts that are cut elsewhere give another one."""
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return f'"{digest.hexdigest()}"'


def weak(etag: str) -> str:
    """The same tag as a weak one; "" stays ""."""
    return etag if not etag or etag.startswith("W/") else f"W/{etag}"


def not_modified(
    etag: str, last_modified: str, if_none_match: str | None, if_modified_since: str | None
) -> bool:
    """Does the caller of a GET or HEAD hold what is stored, so that it is answered with 304?

    ``etag`` and ``last_modified`` are those of the stored answer, "" where it has none; for the
    latter, its ``Date`` may stand in (RFC 9111 §4.3.2).
    """
    if if_none_match is not None:
        given = http.etags(if_none_match)
        if given == ("*",):
            return True  # RFC 9110 §13.1.2: there is a current representation
        # RFC 9110 §8.8.3.2, weak comparison
        return weak(etag) in {weak(tag) for tag in given}
    # RFC 9110 §13.1.3: only without If-None-Match, and ignored where it is no valid date.
    since = http.date(if_modified_since or "")
    modified = http.date(last_modified)
    return since is not None and modified is not None and modified <= since


def byte_range(
    value: str | None, if_range: str | None, etag: str, last_modified: str, size: int
) -> Part | Unsatisfiable | None:
    """The part of a complete body of ``size`` bytes that a GET asks for; ``None`` is the whole.

    Several ranges, other units and malformed ones get the whole, as RFC 9110 §14.2 allows. A
    ``last_modified`` that is no strong validator (RFC 9110 §8.8.2.2) is to be given as "".
    """
    match = _RANGE.match(value or "")
    if match is None or not (if_range is None or _unchanged(if_range, etag, last_modified)):
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        wanted = min(_number(suffix), size)
        if _number(suffix) == 0:
            return Unsatisfiable()  # RFC 9110 §14.1.2
        # A satisfiable range of a body without bytes: no Content-Range could say it.
        return Part(size - wanted, size - 1) if size else None
    start, end = _number(first), _number(last) if last else size
    if last and end < start:
        return None  # RFC 9110 §14.1.1: invalid
    return Part(start, min(end, size - 1)) if start < size else Unsatisfiable()


def _number(digits: str) -> int:
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS


def _unchanged(if_range: str, etag: str, last_modified: str) -> bool:
    """RFC 9110 §13.1.5: by strong comparison, or by exactly the same date."""
    text = if_range.strip(" \t")
    if text.startswith('"'):
        return bool(etag) and text == etag
    since = http.date(text)
    return since is not None and since == http.date(last_modified)


def end_to_end(fields: http.Fields) -> list[tuple[str, str]]:
    """The fields that may be stored: none of one connection or of a proxy's. RFC 9111 §3.1."""
    fields = list(fields)
    unfit = _HOP_BY_HOP | _named_by_connection(fields)
    return [(name, value) for name, value in fields if name.lower() not in unfit]


def _named_by_connection(fields: http.Fields) -> frozenset[str]:
    named = http.members(http.lines(fields, "connection"))
    return frozenset(member.lower() for member in named)


def speaks_of(old: str, new: str) -> bool:
    """Is a 304 with the entity tag ``new`` about an answer with ``old``? RFC 9111 §4.3.4.

    A strong tag speaks only of its equal, a weak one by weak comparison, none of anything.
    """
    if not new or new == old:
        return True
    return new.startswith("W/") and new[2:] == old.removeprefix("W/")


def fields_of_304(fields: http.Fields) -> list[tuple[str, str]]:
    """The fields of a 304 that stands for an answer with these. RFC 9110 §15.4.5."""
    fields = list(fields)
    dropped = _OF_CONTENT
    if http.lines(fields, "etag"):
        dropped = dropped | {"last-modified"}
    return [(name, value) for name, value in fields if name.lower() not in dropped]


def renewed(stored: http.Fields, fresh: http.Fields) -> list[tuple[str, str]]:
    """The fields of a stored answer after a 304 with the ``fresh`` ones. RFC 9111 §3.2.

    All lines of a name give way to all new ones; what the 304 does not name stays, but for
    ``Age`` and ``Date``.
    """
    fresh = list(fresh)
    unfit = _OF_THE_BODY | _HOP_BY_HOP | _named_by_connection(fresh)
    new = [(name, value) for name, value in fresh if name.lower() not in unfit]
    gone = _OF_THE_MESSAGE | {name.lower() for name, _ in new}
    return [*((name, value) for name, value in stored if name.lower() not in gone), *new]
