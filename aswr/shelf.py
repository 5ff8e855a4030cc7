"""Entries in Redis: under which names they lie, how they are sealed, looked at and stored.

Owns no state but a count. Loop only, and the executor for what takes long. Knows nothing of leases
but where they lie.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from typing import Any

from msgspec.structs import replace

from . import codec
from .backplane import Backplane
from .codec import Answer, Entry
from .envelope import LARGEST, Envelopes, Unreadable, number_in
from .keys import CallKey, digest
from .link import GONE, MOST_COMMANDS, Link, Refused, Unreachable
from .packed import pack, unpack
from .runtime import Runtime
from .scripts import DROP, LENGTH, LOOK, STORE
from .stamps import MICRO, NEVER, Stamps
from .tier import Listing

log = logging.getLogger("aswr.fleet")

LONGEST = 2**45  # milliseconds that Redis is asked to keep anything
MOST_TOLD = 100  # workers that are told of everything; in larger fleets only what they must know
AHEAD = 60 * MICRO  # what was born later than that after now was born nowhere
BATCH_BYTES = 2**20  # of entries that are read at a time for who looks on, or one that is larger
LISTED_BYTES = 2**28  # of entries that are read for one list
LIST_LIMIT = 20.0  # seconds that a list may take

Unpacker = Callable[[bytes], object]


class Shelf:
    """The entries under one prefix; times are in the server's clock there, in ``clock``'s here."""

    def __init__(
        self,
        prefix: str,
        link: Link,
        back: Backplane,
        envelopes: Envelopes,
        stamps: Stamps,
        clock: Callable[[], float],
        runtime: Runtime,
        unpacker: Callable[[Hashable], Unpacker | None],
    ) -> None:
        self._prefix = prefix
        self.link = link
        self.back = back
        self._envelopes = envelopes
        self._stamps = stamps
        self._clock = clock
        self._runtime = runtime
        self._unpacker = unpacker
        self.unreadable = 0

    def names(self, key: Hashable) -> tuple[str, str, str, str]:
        """Where a key's entry lies, and what else there is of it."""
        return names_beside(f"{self._prefix}{{{digest(key)}}}")

    async def look(self, key: Hashable) -> Entry | None:
        """What lies at a key, if it lives; raises as `Link.run`."""
        name = self.names(key)[:1]
        data = await self.link.run(LOOK, name, LARGEST, parse=bytes_in)
        return None if data is None else await self.opened(key, data)

    async def opened(self, key: Hashable, data: bytes) -> Entry | None:
        """The living entry in what was found at a key; raises as `Link.run`.

        What is no entry is dropped there if the next one would not take its place.
        """
        try:
            entry, epoch = await self._off_loop(partial(self._open, key, data), len(data))
        except (Unreadable, ValueError) as error:
            self.unreadable += 1
            log.debug("what lies at %r is no entry (%s)", key, error, extra={"aswr_key": key})
            if not data or number_in(data) >= self._stamps.now():
                await self.drop(key, NEVER)
            return None
        if entry.born > self._latest():
            await self.drop(key, NEVER)
            return None
        self._stamps.observe(entry.born)
        return entry if self._lives(key, entry, epoch) else None

    def _lives(self, key: Hashable, entry: Entry, epoch: int) -> bool:
        return epoch == self.back.epoch and self._stamps.latest(key, entry.tags) <= entry.born

    def _latest(self) -> int:
        return max(self._stamps.now(), self.back.told) + AHEAD

    def _open(self, key: Hashable, data: bytes) -> tuple[Entry, int]:
        number, payload = self._envelopes.open(self.names(key)[0].encode(), data)
        return codec.decode(payload, number, self._stamps.offset / MICRO, self._unpacker(key))

    async def store(
        self, key: Hashable, entry: Entry, plain: bytes | None, token: str, told: bool
    ) -> bool:
        """Store an entry and give its lease back, unless something newer is there; was it stored?

        ``plain`` is a memoized result as bytes, ``told`` whether the others are. Raises as
        `Link.run`, and what `codec.encode` and `Envelopes.seal` do.
        """
        milliseconds = min(LONGEST, int((entry.error_until - self._clock()) * 1000))
        if milliseconds < 1:
            raise Refused("it has ended by now: nobody would find it")
        data = await self._sealed(key, entry, plain)
        back = self.back
        self._stamps.horizon = max(self._stamps.horizon, 1000 * milliseconds)
        who = "none" if not told else "all" if back.workers <= MOST_TOLD else "some"
        message = back.message("stored", pack(key), number=entry.born)
        words = (token, entry.born, data, milliseconds, back.channel, message, who)
        return bool(await self.link.run(STORE, self.names(key), *words, parse=int, bulk=True))

    async def _sealed(self, key: Hashable, entry: Entry, plain: bytes | None) -> bytes:
        offset = self._stamps.offset
        payload = codec.encode(entry, plain, self.back.epoch, offset / MICRO, pack(key))
        ends = entry.error_until if entry.names or entry.passing else entry.fresh_until
        name, until = self.names(key)[0].encode(), int(ends * MICRO) + offset
        seal = partial(self._envelopes.seal, name, entry.born, until, payload)
        data: bytes = await self._off_loop(seal, len(payload))
        return data

    async def everything(self, most: int) -> Listing:
        """The living entries, of at most so many; raises `Unreachable` where there is no answer."""
        names, why = await self.link.scan(f"{self._prefix}{{", "}", most)
        listing = await self._listing(names)
        if listing.partial or not why:
            return listing
        partial = f"only the first {len(names):,} entries were looked at: {why}"
        return Listing(listing.entries, partial, why == GONE)

    async def under(self, ids: Iterable[str]) -> Listing:
        """Those of the entries with these digests that live; raises `Unreachable`."""
        return await self._listing([f"{self._prefix}{{{one}}}" for one in ids])

    async def _listing(self, names: list[str]) -> Listing:
        """What lies there, read a little at a time: nobody else waits for it."""
        found: list[tuple[Hashable, Entry]] = []
        done, partial, silent = 0, "", False
        try:
            async with asyncio.timeout(LIST_LIMIT):
                sizes = await self._sizes(names)
                if sum(sizes.values()) > LISTED_BYTES:
                    partial = f"more would be over {LISTED_BYTES >> 20} MiB"
                for batch in _batches(sizes):
                    listed = await asyncio.gather(*map(self._listed, batch))
                    found += [pair for pair in listed if pair is not None]
                    done += len(batch)
        except (Unreachable, TimeoutError) as error:
            if not done:
                raise Unreachable from None
            silent = isinstance(error, Unreachable)
            partial = GONE if silent else f"it took {LIST_LIMIT:g} s"
        if partial:
            partial = f"only {done:,} of {len(names):,} entries were looked at: {partial}"
        return Listing(found, partial, silent)

    async def _sizes(self, names: list[str]) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for first in range(0, len(names), MOST_COMMANDS):
            batch = names[first : first + MOST_COMMANDS]
            asked = (self.link.run(LENGTH, (name,), parse=int, aside=True) for name in batch)
            sizes.update(zip(batch, await asyncio.gather(*asked), strict=True))
        return {name: size for name, size in sizes.items() if 0 < size <= LARGEST}

    async def _listed(self, name: str) -> tuple[Hashable, Entry] | None:
        try:
            data = await self.link.run(LOOK, (name,), LARGEST, parse=bytes_in, aside=True)
        except Refused:
            return None
        if data is None:
            return None
        try:
            opened = await self._off_loop(partial(self._open_unknown, name, data), len(data))
        except (Unreadable, ValueError):
            return None
        key, entry, epoch = opened
        if self.names(key)[0] != name or entry.born > self._latest():
            return None
        return (key, entry) if self._lives(key, entry, epoch) else None

    def _open_unknown(self, name: str, data: bytes) -> tuple[Hashable, Entry, int]:
        """The entry at a name, less what it carries, and its key. Raises as `_open`."""
        number, payload = self._envelopes.open(name.encode(), data)
        key = unpack(codec.key_in(payload))
        as_bytes = bytes if isinstance(key, CallKey) else None  # only its function can unpack it
        offset = self._stamps.offset / MICRO
        entry, epoch = codec.decode(payload, number, offset, as_bytes)
        value = entry.value
        bare = Answer(value.status, (), b"") if isinstance(value, Answer) else None
        return key, replace(entry, value=bare), epoch

    async def drop(self, key: Hashable, number: int) -> None:
        """Drop what lies at a key, unless it is newer than that; raises as `Link.run`."""
        await self.link.run(DROP, self.names(key)[:1], number, parse=int)

    async def _off_loop(self, call: Callable[[], Any], size: int) -> Any:
        return await self._runtime.work(call) if self._envelopes.is_large(size) else call()


def names_beside(name: str) -> tuple[str, str, str, str]:
    """The name of an entry, of its lease, and of what is told of its load; see `scripts`."""
    return name, f"{name}:lease", f"{name}:awaited", f"{name}:read"


def _batches(sizes: dict[str, int]) -> Iterator[list[str]]:
    """Names, so many at a time as may be read together, and no more than may be read in all."""
    batch: list[str] = []
    size = total = 0
    for name, length in sizes.items():
        if total + length > LISTED_BYTES:
            break
        if batch and (size + length > BATCH_BYTES or len(batch) == MOST_COMMANDS):
            yield batch
            batch, size = [], 0
        batch.append(name)
        size, total = size + length, total + length
    if batch:
        yield batch


def bytes_in(reply: Any) -> bytes | None:
    """A reply that is bytes or nothing; raises `TypeError` for any other."""
    if reply is not None and not isinstance(reply, bytes):
        raise TypeError(f"{type(reply).__name__} where an entry was asked for")
    return reply
