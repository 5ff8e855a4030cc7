"""Entries, and entries as bytes for a shared store.

Pure: no async, no threads, no clock. The envelope is MessagePack with a version; nothing is ever
unpickled. Bytes of another version, truncated or foreign, read as absent: `decode` gives ``None``.
"""

import math
from typing import Annotated, Any, Literal

import msgspec

VERSION = 3
_INTS = range(-(2**63), 2**64)

# Checked where bytes are decoded: what a response refuses must not come out of a shared store.
Status = Annotated[int, msgspec.Meta(ge=100, le=599)]
Field = Annotated[str, msgspec.Meta(pattern=r"\A[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")]  # RFC 9110 §5.1
Text = Annotated[str, msgspec.Meta(pattern=r"\A[^\0\r\n]*\Z")]  # RFC 9110 §5.5
Coding = Literal["br", "zstd", "gzip"]


class Answer(msgspec.Struct, frozen=True):
    """A finished HTTP answer: status code, header fields in order, body bytes.

    ``ours`` names the fields that the view did not set: aswr did. ``vary`` is what the view itself
    said in ``Vary``; among the headers is what the URL is known to read, besides. ``codings`` are
    the same answer ready-made in content codings, the smallest first.
    """

    status: Status
    headers: tuple[tuple[Field, Text], ...]
    body: bytes
    ours: tuple[str, ...] = ()
    vary: Text = ""
    codings: "tuple[Coded, ...]" = ()


class Coded(msgspec.Struct, frozen=True):
    """An answer in a content coding: complete, with header fields of its own (RFC 9110 §8.4)."""

    coding: Coding
    answer: Answer


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One stored value with its deadlines. Immutable: a refresh publishes another one.

    Times are in the manager's clock's seconds. ``value`` is an `Answer` or a memoized function's
    result. Two kinds of entry are notes without a value, at a URL's own key: ``names`` are the
    inputs that renders of the URL were seen to read, so that its answers lie under variant keys;
    ``passing`` says why everybody passes.
    """

    value: Any
    stored: float
    fresh_until: float
    stale_until: float
    error_until: float
    born: int  # the process's sequence number when its load began: what a purge compares
    cost: float = 0.0  # seconds that its load took
    size: int = 0  # bytes of the value, of an answer's body
    tags: tuple[str, ...] = ()
    strict: bool = False  # never served stale, whatever a request allows (must-revalidate)
    names: tuple[str, ...] = ()
    fewer: tuple[tuple[str, ...], ...] = ()  # what was known before, the latest first; not shared
    passing: str = ""


class _Wire(msgspec.Struct, frozen=True, array_like=True):
    version: int
    key: str
    epoch: str
    born: int
    answer: Answer | None
    plain: msgspec.Raw
    stored: float
    fresh_until: float
    stale_until: float
    error_until: float
    cost: float
    tags: tuple[str, ...]
    strict: bool
    names: tuple[str, ...]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Wire)


class Uncarriable(TypeError):
    """A value that would not come back as it went in."""


def pack(value: Any) -> bytes:
    """The bytes of a memoized value; raises `Uncarriable` where it would come back changed.

    Exactly None, bool, int (64 bits), float, str, bytes, and lists and str-keyed dicts of these.
    """
    _refuse_uncarriable(value)
    return _encoder.encode(value)


def _refuse_uncarriable(value: Any) -> None:
    try:
        if _carriable(value):
            return
    except RecursionError:
        raise Uncarriable(f"a {type(value).__qualname__} that is too deep") from None
    raise Uncarriable(f"a {type(value).__qualname__}")


def _carriable(value: Any) -> bool:
    kind = type(value)
    if kind is int:
        return value in _INTS
    if kind in (type(None), bool, float, bytes):
        return True
    if kind is str:
        return value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)
    if kind is list:
        return all(map(_carriable, value))
    if kind is dict:
        return all(
            type(key) is str and _carriable(key) and _carriable(item) for key, item in value.items()
        )
    return False


def size_of(value: Any) -> int:
    """Bytes that a memoized value takes in memory; raises `Uncarriable` as `pack` does.

    What is in a value twice, the names in a list of dicts, counts once.
    """
    _refuse_uncarriable(value)
    total, parts, seen = 0, [value], set[int]()
    for part in parts:  # containers add what is in them, which is then come to
        if id(part) in seen or part is None or part is True or part is False:
            continue
        seen.add(id(part))
        total += 16 + part.__sizeof__()  # the allocator's rounding, or the collector's header
        if type(part) is list:
            parts += part
        elif type(part) is dict:
            parts += part
            parts += part.values()
    return total


def encode(key: str, entry: Entry, epoch: str) -> bytes:
    """The envelope of an entry; raises `Uncarriable` for a result the codec cannot carry.

    ``epoch`` names the numbering in which ``born`` counts.
    """
    answer = entry.value if isinstance(entry.value, Answer) else None
    plain = b"\xc0" if answer is not None else pack(entry.value)
    wire = _Wire(
        VERSION, key, epoch, entry.born, answer, msgspec.Raw(plain), entry.stored,
        entry.fresh_until, entry.stale_until, entry.error_until, entry.cost, entry.tags,
        entry.strict, entry.names,
    )  # fmt: skip
    try:
        return _encoder.encode(wire)
    except ValueError as error:  # a lone surrogate in a tag or a header
        raise Uncarriable(str(error)) from None


def decode(key: str, data: object) -> tuple[Entry | None, str]:
    """The entry of ``key`` in ``data``, and the epoch of its ``born``.

    ``None`` for everything else: no bytes, another version, another key, garbage.
    """
    if not isinstance(data, bytes):
        return None, ""
    try:
        wire = _decoder.decode(data)
        if wire.version != VERSION or wire.key != key or not _in_order(wire):
            return None, ""
        if wire.answer is not None:
            value, size = wire.answer, len(wire.answer.body)
        else:
            value = msgspec.msgpack.decode(wire.plain)
            size = size_of(value)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError):
        return None, ""
    entry = Entry(
        value=value, stored=wire.stored, fresh_until=wire.fresh_until,
        stale_until=wire.stale_until, error_until=wire.error_until, born=wire.born,
        cost=wire.cost, size=size, tags=wire.tags, strict=wire.strict, names=wire.names,
    )  # fmt: skip
    return entry, wire.epoch


def _in_order(wire: _Wire) -> bool:
    """Are these times that `encode` may have written? Not a number is in no order."""
    ends = wire.fresh_until, wire.stale_until, wire.error_until
    in_order = wire.stored <= ends[0] <= ends[1] <= ends[2]
    return in_order and 0 <= wire.cost < math.inf and -math.inf < wire.stored and ends[2] < math.inf
