"""Any aiocache cache behind the memory, shared as far as bytes under keys go.

Without lease and backplane: each process loads for itself, and hears of no purge but its own. Owns
the client and who is at it. Loop only. Every failure is a miss and a count.
"""

import asyncio
import contextlib
import contextvars
import logging
import weakref
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from msgspec.structs import replace

from . import backend, codec, memcached
from .breaker import Breaker
from .codec import Entry
from .envelope import Envelopes, TooLarge, Unreadable
from .keys import CallKey, digest
from .policy import covers
from .stamps import MICRO, Purge, Stamps
from .tier import Claim, Lease, Say, Tier
from .values import Carrier

if TYPE_CHECKING:
    from aiocache.base import BaseCache

log = logging.getLogger("aswr.store")

SKEW = 1.0  # seconds that clocks may differ: what was born so soon after a purge counts as before
MOST_HANGING = 8
LONGEST = 30 * 24 * 3600  # seconds; Memcached takes more for a date
TOO_LARGE = object()
LONGEST_PREFIX = 150  # characters; Memcached takes keys of 250, the cache may have its own prefix


class Plain(Tier):
    """Entries in an aiocache cache.

    ``source`` as `backend.check` takes it; ``timeout`` in seconds.
    """

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
        timeout: float,
    ) -> None:
        super().__init__(stamps, clock, carriers)
        self._source = source
        self._prefix = f"aswr:{quote(namespace, safe='')}:{quote(version, safe='')}:"
        if len(self._prefix) > LONGEST_PREFIX:
            self._prefix = f"aswr:{digest((namespace, version))}:"
        self._envelopes = envelopes
        self.timeout = timeout
        self._shown = f"the cache backend ({backend.shown(self._source)})"
        self.breaker = Breaker(self._shown, lambda: None)
        self._cache: BaseCache | None = None
        self._retry_at = 0.0
        self._trying: asyncio.Task[Any] | None = None
        self._closed = False
        self._hanging: set[asyncio.Task[Any]] = set()  # asked, and given up
        self._too_large: int | None = None  # bytes of the smallest that the cache did not take
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self.unreadable = 0

    @property
    def reachable(self) -> bool:
        return self.breaker.closed

    async def close(self) -> None:
        self._closed = True
        open_ = {*self._hanging, *([] if self._trying is None else [self._trying])}
        for task in open_:
            task.cancel()
        if open_:
            await asyncio.wait(open_, timeout=self.timeout)
        cache, self._cache = self._cache, None
        if cache is not None:
            with contextlib.suppress(Exception):  # in an outage, too
                async with asyncio.timeout(self.timeout):
                    await cache.close()

    def _name(self, key: Hashable) -> str:
        return f"{self._prefix}{digest(key)}"

    async def claim(
        self, key: Hashable, base: Hashable, seen: int, floor: int, token: str
    ) -> Claim:
        """As `Tier.claim`; there is no lease to be had."""
        note = await self.read(base)
        names = () if note is None else note.names
        entry = note if key == base else await self.read(key)
        if entry is None or entry.names:
            return Claim(Say.ALONE, names=names)
        now = self.clock()
        fresh = now < entry.fresh_until and self.stamps.soft.latest(key, entry.tags) <= entry.born
        wanted = entry.born > floor and (fresh or bool(entry.passing))
        newer = entry if entry.born > seen and (wanted or covers(entry, now)) else None
        return Claim(Say.FRESH if wanted else Say.ALONE, entry.born, newer, names)

    async def number(self, until: float) -> int:
        return self.stamps.tick()

    async def read(self, key: Hashable) -> Entry | None:
        name = self._name(key)
        data = await self._ask(lambda cache: cache.get(name))
        if data is None:
            return None
        try:
            number, payload = self._envelopes.open(name.encode(), data)
            entry, _ = codec.decode(payload, number, 0.0, self.unpacker(key))
        except (Unreadable, ValueError):
            self.unreadable += 1
            return None
        self.stamps.observe(entry.born)  # a purge here, from now on, is of this one, too
        purged = self.stamps.latest(key, entry.tags)
        return None if purged and entry.born <= purged + SKEW * MICRO else entry

    async def save(self, key: Hashable, base: Hashable, entry: Entry, lease: Lease | None) -> None:
        if key != base:
            await self._save_note(base, entry)
        await self._save(key, entry)

    async def _save_note(self, base: Hashable, entry: Entry) -> None:
        """What a URL is known to read, for as long as one of its variants; and what others know."""
        note = self.listener.held(base)
        if note is None or not note.names:
            return
        there = await self.read(base)
        names = self.listener.known(base, () if there is None else there.names)
        until = max(entry.error_until, there.error_until if there is not None else 0.0)
        note = replace(
            note, names=names, stored=entry.stored, fresh_until=entry.stored,
            stale_until=entry.stored, error_until=until,
        )  # fmt: skip
        await self._save(base, note)

    async def _save(self, key: Hashable, entry: Entry) -> None:
        # One write of a key at a time: a slow one must not land after its successor's.
        name, ttl = self._name(key), min(LONGEST, entry.error_until - self.clock())
        try:
            payload = codec.encode(entry, await self.packed(key, entry), 0, 0.0)
            data = self._envelopes.seal(name.encode(), entry.born, 0, payload)
        except (codec.Uncarriable, TooLarge):
            return
        async with self._turns.setdefault(name, asyncio.Lock()):
            held = self.listener.held(key)
            purged = self.stamps.latest(key, entry.tags) > entry.born
            if ttl < 0.001 or purged or (held is not None and held.born > entry.born):
                return
            if self._too_large is not None and len(data) >= self._too_large:
                await self._delete(name)  # others must not take an older one for it
            elif await self._ask(partial(_set, name=name, data=data, ttl=ttl)) is TOO_LARGE:
                if self._too_large is None:
                    log.warning(
                        "%s does not take %d bytes; what is so large stays in memory",
                        self._shown, len(data), extra={"aswr_store": self._shown, "aswr_key": key},
                    )  # fmt: skip
                self._too_large = len(data)

    async def remove(self, key: Hashable, number: int) -> None:
        name = self._name(key)
        async with self._turns.setdefault(name, asyncio.Lock()):
            await self._delete(name)

    async def _delete(self, name: str) -> None:
        await self._ask(lambda cache: cache.delete(name))

    async def purge(self, purge: Purge, number: int, keys: list[Hashable]) -> bool:
        """Take the keys that are known here out of the store; the others hear of nothing.

        False where there may be more that it concerns, or the store did not answer.
        """
        if purge.soft:
            return False
        for key in keys:
            await self.remove(key, number)
        exact = bool(purge.keys) and all(isinstance(name, CallKey) for name in purge.keys)
        return exact and self.breaker.closed

    def stats(self) -> dict[str, int]:
        return {
            "store_errors": self.breaker.errors + self.unreadable,
            "store_reachable": int(self.breaker.closed),
        }

    async def _ask(self, what: "Callable[[BaseCache], Coroutine[Any, Any, Any]]") -> Any:
        """The answer, or None in place of any failure; costs nothing while the breaker is open."""
        if self._closed:
            return None
        if not self.breaker.closed:
            self._try_again()
            return None
        return await self._try(what)

    async def _try(
        self, what: "Callable[[BaseCache], Coroutine[Any, Any, Any]]", probe: bool = False
    ) -> Any:
        try:
            if self._cache is None:
                self._cache = backend.open_cache(self._source, self.timeout)
            answer = await self._within_limit(what(self._cache))
        except Exception as error:
            first = self.breaker.closed
            self.breaker.trip(f"{type(error).__name__}: {error}")
            if first or probe:
                self._retry_at = asyncio.get_running_loop().time() + self.breaker.pause()
            return None
        self.breaker.mend()
        return answer

    def _try_again(self) -> None:
        """Ask something while nobody waits for it, if it is time."""
        if self._trying is None and asyncio.get_running_loop().time() >= self._retry_at:
            name = f"{self._prefix}probe"
            probe = self._try(partial(_set, name=name, data=b"", ttl=1.0), probe=True)
            self._trying = self.runtime().task(probe, "aswr store", contextvars.Context())
            self._trying.add_done_callback(self._tried)

    def hasten(self, seconds: float) -> None:
        """In a test so much time has passed, though not on the loop: it may be time to ask."""
        self._retry_at -= seconds

    async def settle(self) -> None:
        """Wait for the answer to whether it answers again, if that is being asked."""
        if self._trying is not None:
            await asyncio.wait({self._trying})

    def _tried(self, task: "asyncio.Task[Any]") -> None:
        self._trying = None

    def _give_up(self, task: "asyncio.Task[Any]") -> None:
        self._hanging.add(task)
        task.add_done_callback(self._hanging.discard)
        if self._cache is not None and backend.is_memcached(self._cache):
            task.cancel()  # its connection is given up with it

    async def _within_limit(self, asking: Coroutine[Any, Any, Any]) -> Any:
        # Not cancelled, in general: the late answer might be taken for that to the next question.
        if len(self._hanging) >= MOST_HANGING:
            asking.close()
            raise TimeoutError("the questions before got no answer yet")
        task = self.runtime().task(_quietly(asking), "aswr store", contextvars.Context())
        try:
            await asyncio.wait({task}, timeout=self.timeout)
        finally:
            if not task.done():
                self._give_up(task)
        if not task.done():
            raise TimeoutError(f"no answer in {self.timeout:g} s")
        answer, error = task.result()
        if error is not None:
            raise error
        return answer


async def _quietly(asking: Coroutine[Any, Any, Any]) -> tuple[Any, Exception | None]:
    try:
        return await asking, None
    except asyncio.CancelledError as error:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        return None, RuntimeError(f"the cache cancelled itself: {error!r}")
    except Exception as error:
        return None, error


async def _set(cache: "BaseCache", name: str, data: bytes, ttl: float) -> Any:
    if backend.is_memcached(cache):
        ttl = max(1, int(ttl))  # it takes whole seconds
    try:
        return await cache.set(name, data, ttl=ttl)
    except Exception as error:
        if backend.is_memcached(cache) and memcached.is_too_large(error):
            return TOO_LARGE
        raise
