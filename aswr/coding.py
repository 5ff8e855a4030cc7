"""Content codings: which answers are worth encoding, their encoded forms, who gets which.

RFC 9110 §8.4, §12.5.3. Pure: answers and header text in, answers out. No async, no threads, no
clock; knows no framework. The optional libraries are imported by those who ask for their codings.
`encoded` takes milliseconds and belongs on the executor; `choose` is for every hit, and compresses
nothing. Malformed header text never raises.
"""

import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final, get_args

from . import http
from .codec import Answer, Coded, Coding

CODINGS: Final[tuple[Coding, ...]] = get_args(Coding)

LEAST = 500  # bytes; what is smaller fits in one packet as it is
WORTH = 0.95  # of the body's size; what saves less is not worth the memory

# What is not listed is compressed already, as images are, or nobody knows what it is.
_COMPRESSIBLE = re.compile(
    r"text/.+|.+\+(?:json|xml|yaml|text)"
    r"|application/(?:json|json-seq|jsonl|ndjson|x-ndjson|javascript|x-javascript|ecmascript|xml"
    r"|xml-dtd|wasm|yaml|x-yaml|toml|graphql|sql|rtf|x-sh|vnd\.apple\.mpegurl|vnd\.ms-fontobject"
    r"|x-font-ttf|x-font-otf)"
    r"|font/(?:ttf|otf|sfnt|collection)|image/(?:bmp|x-icon|vnd\.microsoft\.icon)"
)
# They are of the body's bytes (RFC 9530, and what it replaces).
_OF_THE_BYTES = frozenset("content-digest repr-digest digest content-md5".split())

_WEIGHT = re.compile(r"[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*", re.IGNORECASE)
_REMEMBERED_LENGTH = 256  # of an Accept-Encoding; longer ones are parsed every time


# Levels: one or two milliseconds each for 100 KB of HTML or JSON. A tenth less in size takes br and
# zstd six to nine times as long (levels 9 and 12); gzip has no level that saves as much.


def _br(body: bytes) -> bytes:
    import brotli

    data: bytes = brotli.compress(body, quality=5)
    return data


def _zstd(body: bytes) -> bytes:
    import zstandard

    # A window of 2 MB: RFC 9659 allows 8.
    data: bytes = zstandard.ZstdCompressor(level=6).compress(body)
    return data


def _gzip(body: bytes) -> bytes:
    return zlib.compress(body, 6, wbits=31)  # without a time: the same body, the same bytes


_ENCODERS: Mapping[Coding, Callable[[bytes], bytes]] = {"br": _br, "zstd": _zstd, "gzip": _gzip}


def require(option: str, codings: Iterable[Coding]) -> None:
    """Raise `ImportError` with the cure where the library of one of these is not installed."""
    for coding in codings:
        try:
            _ENCODERS[coding](b"")
        except ImportError as error:
            raise ImportError(
                f"{option}: nothing here makes {coding!r} ({error}); "
                f"pip install 'aswr[compress]', or write {option}=('gzip',), which needs nothing"
            ) from error


def encoded(answer: Answer, codings: Iterable[Coding]) -> Answer:
    """The answer with its encoded forms in ``codings``, those that pay; else as it came."""
    if not _compressible(answer):
        return answer
    bodies = {coding: _ENCODERS[coding](answer.body) for coding in codings}
    worth = [coding for coding in bodies if len(bodies[coding]) <= WORTH * len(answer.body)]
    if not worth:
        return answer
    worth.sort(key=lambda coding: len(bodies[coding]))
    # RFC 9110 §12.5.5: also of the plain one, which a cache would else give to everybody.
    fields = tuple(http.with_vary(answer.headers, ["Accept-Encoding"]))
    status, ours, vary = answer.status, answer.ours, answer.vary
    forms = (
        Answer(status, _fields(fields, coding, len(bodies[coding])), bodies[coding], ours, vary)
        for coding in worth
    )
    return Answer(status, fields, answer.body, ours, vary, tuple(map(Coded, worth, forms)))


def _compressible(answer: Answer) -> bool:
    fields = answer.headers
    if len(answer.body) < LEAST or not _COMPRESSIBLE.fullmatch(http.media_type(fields)):
        return False
    if http.lines(fields, "content-encoding") or http.lines(fields, "content-range"):
        return False
    # RFC 9111 §5.2.2.6
    return "no-transform" not in http.directives(http.lines(fields, "cache-control"))


def _fields(fields: http.Fields, coding: Coding, length: int) -> tuple[tuple[str, str], ...]:
    """The plain answer's fields as they are of an encoded form."""
    changed = [("Content-Encoding", str(coding))]
    for name, value in fields:
        lower = name.lower()
        if lower == "content-length":
            changed.append((name, str(length)))
        elif lower == "etag":
            changed.append((name, _etag(value, coding)))
        elif lower not in _OF_THE_BYTES:
            changed.append((name, value))
    return tuple(changed)


def _etag(etag: str, coding: Coding) -> str:
    """RFC 9110 §8.8.3.3: a strong tag is of the bytes; a weak one goes for all forms."""
    if etag.startswith("W/"):
        return etag
    opaque = etag.strip(' \t"')
    return f'"{opaque}-{coding}"'


def choose(answer: Answer, accept_encoding: str | None) -> Answer:
    """The form of a stored answer for who sends this ``Accept-Encoding``; RFC 9110 §12.5.3.

    The one of most weight, of equals the smallest. Who accepts none of them, or sends no such
    field, gets the plain answer, also where he refuses it: rather that than 406.
    """
    if not answer.codings or not accept_encoding:
        return answer
    if len(accept_encoding) > _REMEMBERED_LENGTH:
        weights = _weights.__wrapped__(accept_encoding)
    else:
        weights = _weights(accept_encoding)
    chosen, most = answer, 0.0
    for coded in answer.codings:  # the smallest first
        if weights[coded.coding] > most:
            chosen, most = coded.answer, weights[coded.coding]
    return answer if weights["identity"] > most else chosen


@lru_cache(maxsize=256)
def _weights(accept_encoding: str) -> dict[str, float]:
    """What each coding, and none at all ("identity"), is worth to the sender; 0 is refused.

    Of a name given twice the least counts; a weight that cannot be read is 0.
    """
    given: dict[str, float] = {}
    for member in accept_encoding.split(","):
        name, semicolon, parameter = member.partition(";")
        name = name.strip(" \t").lower()
        name = "gzip" if name == "x-gzip" else name  # RFC 9110 §8.4.1.3
        match = _WEIGHT.fullmatch(parameter)
        weight = float(match[1]) if match else float(not semicolon)
        given[name] = min(weight, given.get(name, weight))
    others = given.get("*", 0.0)
    return {name: given.get(name, others) for name in (*CODINGS, "identity")}
