"""Redis behind the memory of many processes: one load per key and fleet, and one past for all.

Owns the leases that this process holds, and what it could not save. Loop only. The protocol, whose
steps are the scripts in `scripts`:

    claim    what lies at the key, or the lease to load it: one round trip. Who finds it leased
             waits to be told, and asks again now and then in case nobody is left to tell him.
    number   drawn from the fleet's counter when a lease is had, before the load begins
    save     unless what lies there has a greater number; the lease goes back; the others are told
    purge    a greater number than that of every load begun before it, told to all

A leader that is paused past his lease, and finds another's newer entry there, changes nothing. One
whose number is below a purge's stores what every reader holds for dead. So leases only save work,
and numbers alone decide what is right.

Times of entries are in the server's clock there: each process knows how far it is from its own.
"""

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace as changed
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from . import backend, codec
from .backplane import Backplane, owe, reads_in
from .breaker import Breaker
from .codec import Entry
from .envelope import LARGEST, Envelopes, TooLarge
from .keys import base_of
from .link import Link, Refused, Unreachable
from .packed import pack
from .scripts import CLAIM, CLOCK, NUMBER, READ, RELEASE, RENEW
from .shelf import Shelf, bytes_in
from .stamps import MICRO, NEVER, Purge, Stamps
from .tier import ALONE, SILENT, Claim, Ending, Lease, Listing, Say, Tier
from .values import Carrier

log = logging.getLogger("aswr.fleet")

MOST_UNSAVED = 10_000
MOST_BEAT = 0.8  # seconds between two looks for purges: who is cut off notices within two
HELD = 0.8  # of the lease time: the rest is for the others to notice that it ended
TRIES = 4  # looks at a key where what lies there turns out to be dead, each time


class Fleet(Tier):
    """An app's entries in Redis.

    ``source`` as `backend.check` takes it. ``lease``, ``timeout`` and ``propagation`` in seconds.
    ``refuse``: while Redis is out of reach, nothing is served that might have been purged.
    """

    fleet = True

    def __init__(
        self,
        stamps: Stamps,
        clock: Callable[[], float],
        source: Any,
        *,
        namespace: str,
        version: str,
        envelopes: Envelopes,
        carriers: dict[str, Carrier],
        lease: float,
        timeout: float,
        propagation: float,
        refuse: bool,
    ) -> None:
        super().__init__(stamps, clock, carriers)
        self._source = source
        self._space = f"{_quoted(namespace)}:{_quoted(version)}"
        self._envelopes = envelopes
        self._lease_ms = int(lease * HELD * 1000)
        self.timeout = timeout
        self._interval = min(MOST_BEAT, max(0.02, 0.4 * propagation))
        self._refuse = refuse
        self.lease = lease
        self.poll = lease * (1 - HELD) / 2  # seconds after which who waits asks again
        self.breaker = Breaker(f"the shared store at {backend.shown(self._source)}", self._opened)
        self._shelf: Shelf | None = None
        self._opening: asyncio.Future[None] | None = None  # done, once it is open
        self._retry_at = 0.0
        self._held: dict[str, Lease] = {}  # by token: to be renewed
        self._unsaved: dict[Hashable, None] = {}
        self._doubtful: dict[str, Lease] = {}  # that Redis may hold for us, unasked or unheard
        self._untold: dict[bytes, int] = {}  # purges that were made before there was a link
        self._too_large: set[str] = set()  # views and functions of which the log was told
        self._keeping: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def reachable(self) -> bool:
        return self.breaker.closed and self._shelf is not None

    def _opened(self) -> None:
        if self._refuse:
            self.stamps.close_down(True)
        self.listener.cut_off()

    # Opening.

    async def open(self) -> None:
        """Connect, catch up with the fleet, and listen; waits for that once, and not long."""
        if self._opening is not None:
            await asyncio.shield(self._opening)
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._retry_at:
            return
        opening = self._opening = loop.create_future()
        try:
            await self._connect()
        except Exception as error:  # its text may tell a password
            self.breaker.trip(type(error).__name__)
            self._retry_at = loop.time() + self.breaker.pause()
            self._opening = None
        finally:
            opening.set_result(None)

    async def _connect(self) -> None:
        runtime = self.runtime()
        cache = backend.open_cache(self._source, self.timeout)
        client = backend.client_of(cache)
        if client is None:
            raise TypeError(f"a {type(cache).__qualname__} has no redis-py client")
        own = str(cache.build_key("")) if cache.namespace else ""
        self.breaker.mend()
        link = Link(client, self.timeout, self.breaker, runtime.task)
        back = Backplane(
            link, self.breaker, self.stamps, self.clock, f"{own}aswr:{{{self._space}}}:",
            self._interval, self.listener, self._untold,
            (lambda: self.describe()) if self.counts else None,
        )  # fmt: skip
        self._shelf = Shelf(
            f"{own}aswr:{self._space}:", link, back, self._envelopes, self.stamps, self.clock,
            runtime, self.unpacker,
        )  # fmt: skip
        back.begin(runtime, self._recovered)
        keep = self._keep_leases(self._shelf)
        self._keeping = runtime.task(keep, "aswr leases", contextvars.Context())
        await back.ready(self.timeout)

    async def _ready(self) -> Shelf:
        """What there is in Redis; raises `Unreachable`."""
        await self.open()
        shelf = self._shelf
        if shelf is None or not self.breaker.closed or not shelf.back.caught_up:
            raise Unreachable
        return shelf

    async def close(self) -> None:
        for lease in list(self._held.values()):
            await self.release(lease, Ending.GONE)
        self._closed = True  # from now on nothing is reached, however often it is tried
        if self._keeping is not None:
            self._keeping.cancel()
        if self._shelf is not None:
            await self._shelf.back.close()
            await self._shelf.link.close()
        self.stamps.close_down(False)

    # Loads.

    async def claim(
        self, key: Hashable, base: Hashable, seen: int, floor: int, token: str
    ) -> Claim:
        try:
            shelf = await self._ready()
        except Unreachable:
            return ALONE
        try:
            if key == base:
                return await self._claim(shelf, key, seen, floor, token)
            note, claim = await asyncio.gather(
                self.read(base), self._claim(shelf, key, seen, floor, token)
            )
            return _with_names(claim, note)
        except Unreachable:
            self._doubt(Lease(key, token))
        except Refused as error:
            log.debug("%r could not be claimed (%s)", key, error, extra={"aswr_key": key})
        return ALONE

    def _doubt(self, lease: Lease) -> None:
        """Nobody knows whether Redis got to hear of it: it is given back when Redis answers."""
        self._held.pop(lease.token, None)
        if len(self._doubtful) < MOST_UNSAVED:
            self._doubtful[lease.token] = lease

    async def _claim(self, shelf: Shelf, key: Hashable, seen: int, floor: int, token: str) -> Claim:
        for _ in range(TRIES):
            words = (floor, seen, token, self._lease_ms, LARGEST)
            say, there, data, reads = await shelf.link.run(
                CLAIM, shelf.names(key), *words, parse=_claimed
            )
            lease = Lease(key, token) if say is Say.LEAD else None
            entry = None if data is None else await shelf.opened(key, data)
            if entry is not None and entry.names:
                return self._holding(Claim(say, there, None, entry.names, lease))
            softened = self.stamps.soft.latest(key, () if entry is None else entry.tags) > there
            unwanted = say is Say.FRESH and there > seen and (entry is None or softened)
            if not unwanted:
                return self._holding(Claim(say, there, entry, (), lease, *reads))
            floor = max(floor, min(there, NEVER - 1))
        return ALONE

    def _holding(self, claim: Claim) -> Claim:
        """From now on the lease is kept, until it is given back."""
        if claim.lease is not None:
            self._held[claim.lease.token] = claim.lease
        return claim

    async def number(self, until: float) -> int:
        try:
            shelf = await self._ready()
            async with asyncio.timeout_at(until):
                number, _, _ = await shelf.back.count(NUMBER)
        except (Unreachable, Refused, TimeoutError):
            return self.stamps.tick()
        return number

    async def read(self, key: Hashable) -> Entry | None:
        try:
            shelf = await self._ready()
            return await shelf.look(key)
        except (Unreachable, Refused):
            return None

    async def save(self, key: Hashable, base: Hashable, entry: Entry, lease: Lease | None) -> None:
        own = lease if lease is not None and lease.key == key else None
        stored = False
        try:
            if key != base:
                await self._save_note(base, entry)
            stored = await self._store(key, entry, own.token if own else "", told=True)
        except codec.Uncarriable:
            log.debug("%r stays in memory", key, extra={"aswr_key": key})  # `packed` has said why
        except TooLarge as error:
            self._say_too_large(key, error)
        finally:
            if own is not None and stored:
                self._held.pop(own.token, None)
                self.listener.ended_elsewhere(own.key, Ending.GONE, 0.0)
            elif lease is not None:
                await self.release(lease, Ending.GONE if own is None else Ending.UNSTORED)

    def _say_too_large(self, key: Hashable, error: Exception) -> None:
        name: str = getattr(base_of(key), "view", "") or getattr(key, "function", "?")
        if name not in self._too_large and len(self._too_large) < MOST_UNSAVED:
            self._too_large.add(name)
            log.warning(
                "%s: what is larger than %d MiB stays in each process's memory, and each loads it "
                "(%s)", name, LARGEST >> 20, error, extra={"aswr_view": name, "aswr_key": key},
            )  # fmt: skip

    async def _store(self, key: Hashable, entry: Entry, token: str, told: bool) -> bool:
        """Was it given to Redis, or will be once that answers? Raises as `Shelf.store`."""
        plain = await self.packed(key, entry)
        try:
            shelf = await self._ready()
            if not await shelf.store(key, entry, plain, token, told):
                # While this was loaded, or paused, another process has loaded a newer one.
                self.listener.stored_elsewhere(key, entry.born + 1)
        except Unreachable:
            if token:
                self._doubt(Lease(key, token))
            self._unsaved.pop(key, None)
            self._unsaved[key] = None
            while len(self._unsaved) > MOST_UNSAVED:
                del self._unsaved[next(iter(self._unsaved))]
        except Refused as error:
            log.debug("%r could not be stored (%s)", key, error, extra={"aswr_key": key})
            return False
        return True

    async def _save_note(self, base: Hashable, entry: Entry) -> None:
        """What a URL is known to read, for as long as one of its variants, and then as long again.

        Together with what the store knows already: other processes learn, too.
        """
        note = self.listener.held(base)
        if note is None or not note.names:
            return
        there = await self.read(base)
        known = () if there is None else there.names
        names = self.listener.known(base, known)
        if there is not None and names == known and entry.error_until <= there.error_until:
            return
        now = self.clock()
        born = max(note.born, 0 if there is None else there.born)
        until = max(now, 2 * entry.error_until - now)
        note = replace(
            note, names=names, born=born, stored=now, fresh_until=now, stale_until=now,
            error_until=until,
        )  # fmt: skip
        await self._store(base, note, "", told=names != known)

    async def remove(self, key: Hashable, number: int) -> None:
        with contextlib.suppress(Unreachable, Refused):
            shelf = await self._ready()
            await shelf.drop(key, number)

    async def release(self, lease: Lease, ending: Ending, seconds: float = 0.0) -> None:
        self._held.pop(lease.token, None)
        try:
            shelf = await self._ready()
            back, names = shelf.back, shelf.names(lease.key)
            message = back.message("ended", pack(lease.key), ending.value, seconds, number=0)
            await shelf.link.run(RELEASE, names, lease.token, back.channel, message, parse=int)
        except Unreachable:
            self._doubt(lease)
        except Refused as error:
            extra = {"aswr_key": lease.key}
            log.debug("the lease of %r could not be given back (%s)", lease.key, error, extra=extra)
        # Here, too, somebody may have come since, and follow it.
        self.listener.ended_elsewhere(lease.key, Ending.GONE, 0.0)

    def tell_read(self, lease: Lease, base: Hashable, names: tuple[str, ...], passing: str) -> None:
        async def tell() -> None:
            with contextlib.suppress(Unreachable, Refused):
                shelf = await self._ready()
                reads = msgspec.msgpack.encode((names, passing))
                message = shelf.back.message("read", pack(base), reads, number=0)
                words = (lease.token, reads, self._lease_ms, shelf.back.channel, message)
                await shelf.link.run(READ, shelf.names(lease.key), *words, parse=int)

        self.runtime().task(tell(), "aswr news", contextvars.Context())

    async def purge(self, purge: Purge, number: int, keys: list[Hashable]) -> bool:
        await self.open()
        if self._shelf is None:
            self.owe(purge, number)
            return False
        return await self._shelf.back.purge(purge, number)

    def owe(self, purge: Purge, number: int) -> None:
        """A purge that could not be told is told when that is possible."""
        owe(self._untold, purge, number)

    # The beat.

    async def _keep_leases(self, shelf: Shelf) -> None:
        while True:
            await asyncio.sleep(self._lease_ms / 4000)
            await asyncio.gather(*(self._keep(shelf, lease) for lease in list(self._held.values())))

    async def _keep(self, shelf: Shelf, lease: Lease) -> None:
        words = (lease.token, self._lease_ms)
        with contextlib.suppress(Unreachable, Refused):
            kept = await shelf.link.run(RENEW, shelf.names(lease.key), *words, parse=int)
            if not kept and self._held.pop(lease.token, None) is not None:
                log.debug(
                    "the lease of %r was lost; what it loads counts by its number", lease.key,
                    extra={"aswr_key": lease.key},
                )  # fmt: skip
                self.listener.lease_lost(lease.key)

    def _recovered(self) -> None:
        self.runtime().task(self._catch_up(), "aswr catch up", contextvars.Context())

    async def _catch_up(self) -> None:
        """Do what could not be done while Redis was out of reach.

        Give leases back, and store what was loaded, unless something newer is there.
        """
        while self._doubtful and self.breaker.closed and not self._closed:
            _, lease = self._doubtful.popitem()
            await self.release(lease, Ending.GONE)
        while self._unsaved and self.breaker.closed and not self._closed:
            key = next(iter(self._unsaved))
            del self._unsaved[key]
            entry = self.listener.held(key)
            if entry is None or entry.names:
                continue  # a note goes with its variants
            with contextlib.suppress(codec.Uncarriable, TooLarge):
                if (base := base_of(key)) != key:
                    await self._save_note(base, entry)
                await self._store(key, entry, "", told=True)

    async def health(self) -> dict[str, Any]:
        """``name``, ``reachable``, and where it is not ``why``, as far as that is known; else
        ``version``, ``policy`` (maxmemory-policy) and ``full``, the share of its maxmemory that is
        used; ``seconds`` of a round trip, ``offset`` in seconds of its clock, ``workers``,
        ``leases``.
        """
        name = f"the store at {backend.shown(self._source)}"
        try:
            shelf = await self._ready()
            loop = asyncio.get_running_loop()
            began = loop.time()
            await shelf.link.run(CLOCK, shelf.names("")[:1], parse=int)
            seconds = loop.time() - began
            said = await shelf.link.info()
        except (Unreachable, Refused):
            return {"name": name, "reachable": False, "why": self.breaker.why}
        return {
            "name": name,
            "reachable": True,
            "seconds": seconds,
            "version": str(said.get("redis_version", "")),
            "policy": str(said.get("maxmemory_policy", "")),
            "full": _share(said.get("used_memory"), said.get("maxmemory")),
            "offset": self.stamps.offset / MICRO,
            "workers": shelf.back.workers,
            "leases": len(self._held),
        }

    async def workers(self) -> list[dict[str, Any]]:
        try:
            shelf = await self._ready()
            return await shelf.back.described()
        except (Unreachable, Refused):
            return []

    async def listing(self, most: int) -> Listing:
        try:
            return await (await self._ready()).everything(most)
        except (Unreachable, Refused):
            return Listing([], SILENT, True)

    async def under(self, ids: Iterable[str]) -> Listing:
        try:
            return await (await self._ready()).under(ids)
        except (Unreachable, Refused):
            return Listing([], SILENT, True)

    def stats(self) -> dict[str, int]:
        shelf = self._shelf
        return {
            "store_errors": self.breaker.errors + (0 if shelf is None else shelf.unreadable),
            "store_commands": 0 if shelf is None else shelf.link.commands,
            "store_reachable": int(self.breaker.closed),
            "workers": 0 if shelf is None else shelf.back.workers,
            "messages": 0 if shelf is None else shelf.back.messages,
            "leases": len(self._held),
            "unsaved": len(self._unsaved),
        }


def _claimed(reply: Any) -> tuple[Say, int, bytes | None, tuple[tuple[str, ...], str]]:
    say, there, data, *more = reply
    reads = reads_in(more[0]) if more and more[0] else ((), "")
    return Say(say.decode()), int(there), bytes_in(data), reads


def _with_names(claim: Claim, note: Entry | None) -> Claim:
    return claim if note is None or not note.names else changed(claim, names=note.names)


def _quoted(text: str) -> str:
    """No colon and no brace is left: no namespace begins another, and none moves a hash tag."""
    return quote(text, safe="")


def _share(used: Any, most: Any) -> float:
    """Of what may be used; 0 where that has no bound, or is not told."""
    numbers = isinstance(used, int) and isinstance(most, int)
    return used / most if numbers and most > 0 else 0.0
