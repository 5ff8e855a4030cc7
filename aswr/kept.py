"""Entries as memory keeps them, and what they take there.

No async, no threads, no clock, no I/O. A page of 1 KiB as an `Entry` is twice as large as its body:
objects for numbers and tuples for header fields, most of them equal to those of the next page. Kept
short, it has only what is its own (body, ``ETag``, when it was stored), and points to what it has
in common with others. A peek makes the `Entry` anew, in 0.3 µs. Only what comes back exactly as it
was is kept short; the rest, and memoized values, stay the `Entry` that they are.

Sizes are what CPython takes on a 64-bit machine, rounded up as its allocator does.
"""

from collections.abc import Hashable
from typing import Any, TypeVar

import msgspec

from .codec import Answer, Entry, Loader
from .keys import CallKey, VariantKey, ViewKey, key_bytes

ENTRY_BYTES = 288  # an `Entry`: itself 144, seven numbers 224, less a tuple's 80
# A `Kept`: itself 96, three numbers 96, what body and ETag are rounded up by 32, and 40 that its
# allocator's pools leave unused as entries come and go. Checked by `tests/benchmarks/memory.py`.
KEPT_BYTES = 264
WINDOWS_BYTES = 144
HEAD_BYTES = 208  # a `Head`: itself 64, its three tuples 48 each
MOST_COMMON = 2**18  # bytes of things in common; beyond, they are collected anew
LARGEST_COMMON = 2**9

T = TypeVar("T", bound=Hashable)
Fields = tuple[tuple[str, str], ...]


class Windows(msgspec.Struct, frozen=True, gc=False):
    """Seconds from when an entry was stored to its deadlines."""

    fresh: float
    stale: float
    error: float


class Head(msgspec.Struct, frozen=True, gc=False):
    """An answer less its body, and less the two fields that come between these."""

    status: int
    first: Fields
    middle: Fields  # after Content-Length
    last: Fields  # after ETag
    ours: tuple[str, ...]
    vary: str


class Kept(msgspec.Struct, frozen=True, gc=False):
    """An entry with an answer, in short."""

    body: bytes
    etag: str
    stored: float
    born: int
    cost: float
    by: Loader
    tags: tuple[str, ...]
    head: Head
    windows: Windows

    def entry(self) -> Entry:
        """The entry, made anew."""
        head, windows, body, stored = self.head, self.windows, self.body, self.stored
        headers = (
            *head.first, ("Content-Length", str(len(body))), *head.middle, ("ETag", self.etag),
            *head.last,
        )  # fmt: skip
        return Entry(
            value=Answer(head.status, headers, body, head.ours, head.vary), stored=stored,
            fresh_until=stored + windows.fresh, stale_until=stored + windows.stale,
            error_until=stored + windows.error, born=self.born, cost=self.cost, by=self.by,
            tags=self.tags, size=len(body),
        )  # fmt: skip


class Commons:
    """What entries have in common: of things that are equal, one. Loop only.

    The entry that first brings a thing pays for it, though others may outlive it.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, Any] = {}
        self._bytes = 0

    def short(self, entry: Entry) -> tuple[Kept | Entry, int]:
        """An entry as memory keeps it, and the bytes that it takes there."""
        answer = entry.value
        if type(answer) is not Answer:
            return entry, _entry_bytes(entry) + entry.size
        names = [name for name, _ in answer.headers]
        if "ETag" in names and "Content-Length" in names[: names.index("ETag")]:
            kept, size = self._kept(entry, answer, names)
            if kept.entry() == entry:
                return kept, size
        return entry, _entry_bytes(entry) + answer_bytes(answer)

    def _kept(self, entry: Entry, answer: Answer, names: list[str]) -> tuple[Kept, int]:
        fields, length, tag = answer.headers, names.index("Content-Length"), names.index("ETag")
        etag, stored = fields[tag][1], entry.stored
        head, head_size = self._head(
            Head(
                answer.status, fields[:length], fields[length + 1 : tag], fields[tag + 1 :],
                answer.ours, answer.vary,
            )
        )  # fmt: skip
        ends = entry.fresh_until - stored, entry.stale_until - stored, entry.error_until - stored
        windows, windows_size = self._one(Windows(*ends), WINDOWS_BYTES)
        tags, tags_size = self._one(entry.tags, key_bytes(entry.tags) if entry.tags else 0)
        by, by_size = self._one(entry.by, _loader_bytes(entry.by))
        kept = Kept(answer.body, etag, stored, entry.born, entry.cost, by, tags, head, windows)
        own = KEPT_BYTES + answer.body.__sizeof__() + key_bytes(etag)
        return kept, own + head_size + windows_size + tags_size + by_size

    def _head(self, head: Head) -> tuple[Head, int]:
        if (known := self._known.get(head)) is not None:
            return known, 0
        first, first_size = self._fields(head.first)
        middle, middle_size = self._fields(head.middle)
        last, last_size = self._fields(head.last)
        ours, ours_size = self._one(head.ours, key_bytes(head.ours) if head.ours else 0)
        pairs = first + middle + last
        size = HEAD_BYTES + 8 * len(pairs) + key_bytes(head.vary)
        new = Head(head.status, first, middle, last, ours, head.vary)
        if all(pair in self._known for pair in pairs):  # else it would hold on to a large one
            new, size = self._one(new, size)
        return new, size + first_size + middle_size + last_size + ours_size

    def _fields(self, fields: Fields) -> tuple[Fields, int]:
        pairs, total = [], 0
        for pair in fields:
            if pair not in self._known:
                name, size = self._one(pair[0], key_bytes(pair[0]))
                pair = name, pair[1]
                total += size
            same, size = self._one(pair, 64 + key_bytes(pair[1]))
            pairs.append(same)
            total += size
        return tuple(pairs), total

    def _one(self, thing: T, size: int) -> tuple[T, int]:
        """The one that stands for a thing, and the bytes that it adds: none if it was there."""
        if (known := self._known.get(thing)) is not None:
            return known, 0
        if size <= LARGEST_COMMON:
            if self._bytes + size > MOST_COMMON:
                self._known.clear()
                self._bytes = 0
            self._known[thing] = thing
            self._bytes += size
        return thing, size


def _entry_bytes(entry: Entry) -> int:
    common = entry.tags, entry.names, entry.fewer, entry.passing
    return ENTRY_BYTES + _loader_bytes(entry.by) + key_bytes(common)


def _loader_bytes(by: Loader) -> int:
    return 32 + key_bytes(by.process) + key_bytes(by.cause)


def answer_bytes(answer: Answer) -> int:
    """Bytes that an answer takes by itself, with all its codings."""
    codings = sum(64 + answer_bytes(coded.answer) for coded in answer.codings)
    return 112 + answer.body.__sizeof__() + key_bytes(answer.headers) + codings


def size_of_key(key: Hashable) -> int:
    """Bytes that a key takes, less what all keys of its view or function share."""
    if type(key) is VariantKey:
        return 64 + size_of_key(key.base) + key_bytes(key.values)
    if type(key) is CallKey:
        return 64 + key_bytes(key.args)
    if type(key) is ViewKey:
        return 8 + key_bytes(key[1:])
    return key_bytes(key)
