"""Entries, and entries as payloads for a shared store, which `envelope` seals.

Pure: no async, no threads, no clock. A payload is MessagePack; nothing is ever unpickled.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import msgspec

_INFLATES = 8  # bytes that an object takes for each of its bytes here, at the most usual
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


class Loader(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Who loaded an entry: the process, ``web1:4711``, and why, one of `events.Because`."""

    process: str = ""
    cause: str = ""


UNKNOWN: Final = Loader()


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
    born: int  # its load's number, drawn when that began: what a purge compares
    cost: float = 0.0  # seconds that its load took
    by: Loader = UNKNOWN
    size: int = 0  # bytes of the value, of an answer's body
    tags: tuple[str, ...] = ()
    strict: bool = False  # never served stale, whatever a request allows (must-revalidate)
    names: tuple[str, ...] = ()
    fewer: tuple[tuple[str, ...], ...] = ()  # what was known before, the latest first; not shared
    passing: str = ""


class _Wire(msgspec.Struct, frozen=True, array_like=True):
    epoch: int
    answer: Answer | None
    plain: bytes
    stored: float
    fresh_until: float
    stale_until: float
    error_until: float
    cost: float
    tags: tuple[str, ...]
    strict: bool
    names: tuple[str, ...]
    passing: str
    key: bytes = b""  # for who lists what is stored
    by: Loader = UNKNOWN


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Wire)


class Uncarriable(TypeError):
    """A value that would not come back as it went in."""


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


def encode(entry: Entry, plain: bytes | None, epoch: int, offset: float, key: bytes = b"") -> bytes:
    """An entry as a shared store's payload; raises `Uncarriable` for text that no bytes can carry.

    ``plain`` is a memoized result in bytes, None for an answer or a note. ``offset`` seconds are
    added to its times, for the store's own clock; ``epoch`` is the store's. ``key`` is the entry's.
    """
    answer = entry.value if isinstance(entry.value, Answer) else None
    wire = _Wire(
        epoch, answer, plain or b"", entry.stored + offset, entry.fresh_until + offset,
        entry.stale_until + offset, entry.error_until + offset, entry.cost, entry.tags,
        entry.strict, entry.names, entry.passing, key, entry.by,
    )  # fmt: skip
    try:
        return _encoder.encode(wire)
    except ValueError as error:  # a lone surrogate in a tag or a header
        raise Uncarriable(str(error)) from None


def decode(
    payload: bytes, number: int, offset: float, unpack: Callable[[bytes], Any] | None
) -> tuple[Entry, int]:
    """The entry in a payload, and its epoch; raises `ValueError` for bytes that are none.

    ``number`` was its load's. ``offset`` seconds are taken off its times. ``unpack`` makes a
    memoized result of bytes; None where the key is a view's.
    """
    try:
        wire = _decoder.decode(payload)
        if not _in_order(wire):
            raise ValueError("times that are in no order")
        value, size = _value_of(wire, unpack)
    except (msgspec.MsgspecError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"no entry: {error!r}") from None
    entry = Entry(
        value=value, stored=wire.stored - offset, fresh_until=wire.fresh_until - offset,
        stale_until=wire.stale_until - offset, error_until=wire.error_until - offset, born=number,
        cost=wire.cost, by=wire.by, size=size, tags=wire.tags, strict=wire.strict, names=wire.names,
        passing=wire.passing,
    )  # fmt: skip
    return entry, wire.epoch


def key_in(payload: bytes) -> bytes:
    """The bytes of the key that an entry lies at; raises `ValueError` for what is no entry."""
    try:
        return _decoder.decode(payload).key
    except msgspec.MsgspecError as error:
        raise ValueError(f"no entry: {error!r}") from None


def _value_of(wire: _Wire, unpack: Callable[[bytes], Any] | None) -> tuple[Any, int]:
    """What a wire carries, and the bytes that it takes in memory."""
    if wire.names or wire.passing:
        return None, 64 + sum(64 + len(name) for name in (*wire.names, wire.passing))
    if unpack is None:
        if wire.answer is None:
            raise ValueError("no answer at a view's key")
        return wire.answer, len(wire.answer.body)
    if wire.answer is not None:
        raise ValueError("an answer at a call's key")
    value = unpack(wire.plain)
    try:
        return value, size_of(value)
    except Uncarriable:
        return value, 64 + _INFLATES * len(wire.plain)


def _in_order(wire: _Wire) -> bool:
    """Are these times that `encode` may have written? Not a number is in no order."""
    ends = wire.fresh_until, wire.stale_until, wire.error_until
    in_order = wire.stored <= ends[0] <= ends[1] <= ends[2]
    return in_order and 0 <= wire.cost < math.inf and -math.inf < wire.stored and ends[2] < math.inf
