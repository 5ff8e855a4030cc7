"""Where entries live: bounded memory in front, an aiocache backend behind where one is given.

Owns the memory, the purge stamps, the indexes from paths and URLs to keys, and the backend client.
Any thread may `peek`, `glance` and `purge`; everything else runs on the loop. The only module
(with `memory`) that speaks to aiocache: bytes in, bytes out, and whatever goes wrong there reads as
absent and is counted. Must not know Flask.
"""

import asyncio
import collections
import copy
import itertools
import logging
import math
import threading
import uuid
import weakref
from collections.abc import Callable, Coroutine, Hashable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from . import codec
from .codec import Entry
from .kept import Commons, Kept, size_of_key
from .keys import VariantKey, ViewKey, base_of, digest

if (
    TYPE_CHECKING
):  # aiocache is loaded for the first store: it brings Redis' client, where there is one
    from aiocache.base import BaseCache

log = logging.getLogger("aswr.store")

BACKEND_LIMIT = 0.25  # seconds; aiocache's own default of 5 would be paid by visitors
MOST_STAMPS = 10_000
TIRE_AFTER = 16  # times as many variants as a URL has were displaced: then all count as less used
MOST_READY = 256  # entries, of half a kilobyte beyond what memory counts
LARGEST_READY = 2**16  # bytes of a body: one may be held a while after it has left memory
URL_BYTES = 56  # of a URL in the index from paths to URLs; 32 to 88, as full as that is
VARIANT_BYTES = 40  # of a variant in its URL's index, less what its URL's note shares with others
INDEX_BYTES: dict[type, int] = {ViewKey: URL_BYTES, VariantKey: URL_BYTES + VARIANT_BYTES}


class Stamps:
    """Purges as sequence numbers, compared when an entry is read.

    An entry whose load began (``born``) before a stamp that concerns it is dead, wherever it is,
    and so is the result of a load still in flight. Purging is one dictionary write, however many
    entries it hits. Any thread; readers take no lock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._numbers = itertools.count(1)
        self._clock = clock
        self.forget()
        self.newest = 0  # of all stamps there ever were: none concerns what was born later
        self.purged_at = -math.inf  # when anything was last purged, for entries of other epochs
        self.floor = 0  # everything born before it is dead
        self.tags: dict[str, int] = {}
        self.latest_tag = 0  # the newest stamp of any tag
        self.keys: dict[Hashable, int] = {}  # of paths, URLs and calls; pruned once swept

    def forget(self) -> None:
        """Begin a numbering of its own: a forked child and its parent would count alike."""
        self._lock = threading.Lock()  # at the fork another thread may have held it
        self.epoch = uuid.uuid4().hex  # numbers compare within one epoch only

    def tick(self) -> int:
        """The next sequence number; unique and increasing over all threads."""
        return next(self._numbers)

    def purge_tags(self, tags: Iterable[str]) -> None:
        with self._lock:
            self.purged_at = self._clock()
            for tag in tags:
                self.tags[tag] = self.latest_tag = self._stamp()
            self._bound(self.tags)

    def purge_key(self, name: Hashable) -> int:
        with self._lock:
            self.purged_at = self._clock()
            number = self.keys[name] = self._stamp()
            self._bound(self.keys)
            return number

    def purge_all(self) -> int:
        with self._lock:
            self.purged_at = self._clock()
            number = self.floor = self._stamp()
            self.tags.clear()
            self.keys.clear()
            return number

    def prune(self, name: Hashable, number: int) -> None:
        """Forget a stamp whose entries are swept, unless it was purged again since."""
        with self._lock:
            if self.keys.get(name) == number:
                del self.keys[name]

    def latest(self, key: Hashable, tags: Iterable[str]) -> int:
        """The newest stamp that concerns an entry of ``key`` with ``tags``."""
        found = 0
        for name in names_of(key) if self.keys else ():
            found = max(found, self.keys.get(name, 0))
        for tag in tags if self.tags else ():
            found = max(found, self.tags.get(tag, 0))
        return max(found, self.floor)  # read last: it is raised before stamps are dropped

    def _bound(self, stamps: dict[Any, int]) -> None:
        # Too many to remember one by one: everything stored so far counts as purged. Costs
        # loads, never a stale answer.
        if len(stamps) > MOST_STAMPS:
            self.floor = self._stamp()
            stamps.clear()

    def _stamp(self) -> int:
        self.newest = number = self.tick()
        return number


def names_of(key: Hashable) -> tuple[Hashable, ...]:
    """The names under which a key can be purged: its path, its URL; a call's own key."""
    url = base_of(key)
    if isinstance(url, ViewKey):
        return (url.path, (url.path, url.query))
    return (url,)


class Variants:
    """The variants of one URL that are stored, and which others were asked for once.

    A client may send any header value, so their number is bounded: past the bound a new variant is
    stored when it is asked for a second time, and the least used makes room. Loop only.
    """

    __slots__ = ("_once", "displaced", "keys")

    def __init__(self) -> None:
        self.keys: dict[VariantKey, int] = {}  # with the numbers of their arrival
        self.displaced = 0
        self._once: collections.deque[int] | None = None  # it takes 700 bytes; few URLs need one

    def again(self, key: VariantKey, most: int) -> bool:
        """Was it asked for before, among the last ``most``?"""
        mark = hash(key)
        if self._once is None:
            self._once = collections.deque(maxlen=most)
        if mark in self._once:
            self._once.remove(mark)
            return True
        self._once.append(mark)
        return False


class Store:
    """The entries of one app.

    ``backend`` is an aiocache cache object, a factory of one (called on the loop), or None.
    """

    def __init__(
        self,
        namespace: str,
        clock: Callable[[], float],
        max_bytes: int,
        backend: "BaseCache | Callable[[], BaseCache] | None" = None,
        max_variants: int = 64,
    ) -> None:
        self.namespace = namespace
        self.stamps = Stamps(clock)
        self.errors = 0
        self._clock = clock
        self._max_bytes = max_bytes
        self._max_variants = max_variants
        self._given = backend
        self._backend: BaseCache | None = None
        self._reachable = True
        self.forget()

    def forget(self) -> None:
        """Start empty: in a forked child the parent may have been in the midst of a change."""
        from .memory import MemoryCache

        self.stamps.forget()
        self.memory = MemoryCache(self._max_bytes, clock=self._clock, on_evict=self._unindex)
        self._commons = Commons()
        self._ready: dict[Hashable, tuple[Kept, Entry]] = {}  # what was peeked of late, as it is
        self._paths: dict[str, ViewKey | set[ViewKey]] = {}  # most paths have one URL
        self._urls: dict[ViewKey, Variants] = {}
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._backend = None

    def peek(self, key: Hashable) -> Entry | None:
        """The entry of a key that no purge concerns; any thread, no lock, no await."""
        kept = self._living(key, self.memory.peek(key))
        if type(kept) is not Kept:
            return kept  # type: ignore[no-any-return]
        ready = self._ready.get(key)
        return ready[1] if ready is not None and ready[0] is kept else self._make_ready(key, kept)

    def _make_ready(self, key: Hashable, kept: Kept) -> Entry:
        entry = kept.entry()
        if len(kept.body) <= LARGEST_READY:
            if len(self._ready) >= MOST_READY:
                self._ready.clear()
            self._ready[key] = kept, entry  # readers may overwrite each other: with the same
        return entry

    def glance(self, key: Hashable) -> Entry | None:
        """As `peek`, but not a use of the entry: for who looks after entries."""
        kept = self._living(key, self.memory.glance(key))
        return kept.entry() if type(kept) is Kept else kept

    def _living(self, key: Hashable, kept: Any) -> Any:
        if kept is None:
            return None
        stamps = self.stamps
        if kept.born <= stamps.newest and stamps.latest(key, kept.tags) > kept.born:
            return None
        return kept

    def publish(self, key: Hashable, entry: Entry) -> bool:
        """Put an entry in memory unless it is purged or older than what is there.

        One assignment: readers see the old entry or the new one.
        """
        if self.stamps.latest(key, entry.tags) > entry.born:
            return False
        old: Any = self.memory.glance(key)
        if old is not None and old.born > entry.born:
            return False
        gives_way = self._gives_way(key) if old is None and type(key) is VariantKey else None
        if gives_way is key:
            return False
        kept, size = self._commons.short(entry)
        key_size = size_of_key(key) + INDEX_BYTES.get(type(key), 0)
        self._ready.pop(key, None)
        if not self.memory.put(key, kept, size, key_size=key_size):
            self._unindex(key)  # what it would have replaced is gone too
            return False
        self._index(key, entry.born)
        if gives_way is not None:
            self.discard(gives_way)
        return True

    def _gives_way(self, key: VariantKey) -> VariantKey | None:
        """The variant that makes room for a new one of its URL; itself where none does."""
        variants = self._urls.get(key.base)
        if variants is None or len(variants.keys) < self._max_variants:
            return None
        now = self._clock()
        worth = {known: self._worth(known, now) for known in variants.keys}
        least = min(worth, key=worth.__getitem__)
        live = worth[least][0]  # then all of them may still be served
        if live and not variants.again(key, self._max_variants):
            return key
        variants.displaced += 1
        if variants.displaced % (TIRE_AFTER * self._max_variants) == 0:
            for known in variants.keys:  # so that who was popular once does not stay for ever
                self.memory.tire(known)
        return least

    def _worth(self, key: VariantKey, now: float) -> tuple[bool, bool, int, int]:
        """The order of making room: ended, under fewer inputs than are known, used less, newer."""
        entry, note = self.glance(key), self.glance(key.base)
        live = entry is not None and now < entry.error_until
        current = note is not None and note.names == key.names
        return (live, current, self.memory.frequency(key), -self._urls[key.base].keys[key])

    def discard(self, key: Hashable) -> None:
        self.memory.discard(key)
        self._unindex(key)

    def variants(self, path: str, query: str | None = None) -> list[Hashable]:
        """The keys stored under a path, of every query or of the one given."""
        known = self._paths.get(path, set())
        urls = tuple(known) if isinstance(known, set) else (known,)  # a copy: the loop changes it
        keys = [key for url in urls if query in (None, url.query) for key in self.keys_of(url)]
        return [key for key in keys if key in self.memory]

    def keys_of(self, url: Hashable) -> list[Hashable]:
        """The keys stored for one URL: its own, and its variants'."""
        known = self._urls.get(url) if isinstance(url, ViewKey) else None
        return [url, *(known.keys if known is not None else ())]

    def uses(self, key: Hashable) -> int:
        """How often was the entry read since it was last published? Any thread."""
        return self.memory.uses(key)

    def used(self, key: Hashable) -> bool:
        """Was the entry read since it was last published? Any thread."""
        return self.memory.used(key)

    def sweep(self, key: Hashable, number: int) -> None:
        """Free the memory of an entry that the purge ``number`` killed; a newer one stays."""
        entry: Any = self.memory.glance(key)
        if entry is None or entry.born < number:
            self.discard(key)

    def sweep_all(self, number: int) -> None:
        """As `sweep`, for every key."""
        for key in list(self.memory.keys()):
            self.sweep(key, number)

    def _index(self, key: Hashable, born: int) -> None:
        url = base_of(key)
        if type(url) is not ViewKey:
            return
        known = self._paths.setdefault(url.path, url)
        if isinstance(known, set):
            known.add(url)
        elif known != url:
            self._paths[url.path] = {known, url}
        if type(key) is VariantKey:
            self._urls.setdefault(url, Variants()).keys.setdefault(key, born)

    def _unindex(self, key: Hashable) -> None:
        """Forget a key that is no longer in memory, and its URL with its last one."""
        self._ready.pop(key, None)
        url = base_of(key)
        if type(url) is not ViewKey:
            return
        if (variants := self._urls.get(url)) is not None:
            variants.keys.pop(key, None)  # type: ignore[call-overload]
            if variants.keys:
                return
            del self._urls[url]
        known = self._paths.get(url.path)
        if url in self.memory or known is None:
            return
        if isinstance(known, set):
            known.discard(url)
        if not known or known == url:
            del self._paths[url.path]

    # The backend. Every failure is a miss and a count; a change of state is one log line.

    @property
    def shared(self) -> bool:
        """Is there a backend behind the memory?"""
        return self._given is not None

    async def fetch(self, key: Hashable, born: int) -> Entry | None:
        """What the backend holds of a key; ``None`` for anything unknown, broken or purged.

        ``born`` is given to an entry of another process, whose numbers say nothing here. Such a
        one's load must have begun after whatever was purged here last: that may cost a load.
        """
        name = digest(self.namespace, key)
        data = await self._ask(lambda cache: cache.get(name, timeout=BACKEND_LIMIT))
        if data is None:
            return None
        entry, epoch = codec.decode(name, data)
        if entry is None:
            self.errors += 1
            return None
        if epoch == self.stamps.epoch:
            return entry if self.stamps.latest(key, entry.tags) <= entry.born else None
        began = entry.stored - entry.cost
        return replace(entry, born=born) if began > self.stamps.purged_at else None

    async def save(self, key: Hashable, entry: Entry) -> None:
        """Give the backend an entry until its last deadline, unless a newer one is here by then.

        A result that the codec cannot carry stays in memory. One write of a key at a time: a slow
        one must not land after its successor's.
        """
        name = digest(self.namespace, key)
        ttl = entry.error_until - self._clock()
        try:
            data = codec.encode(name, entry, self.stamps.epoch)
        except codec.Uncarriable:
            return
        async with self._turns.setdefault(name, asyncio.Lock()):
            held: Any = self.memory.glance(key)
            if ttl >= 0.001 and (held is None or held.born <= entry.born):
                await self._ask(lambda cache: cache.set(name, data, ttl=ttl, timeout=BACKEND_LIMIT))

    async def save_note(self, url: Hashable, entry: Entry) -> None:
        """Give the backend what a URL is known to read, for as long as one of its variants.

        Together with what the backend knows already: other processes learn, too.
        """
        note = self.glance(url)
        if note is None or not note.names:
            return
        held = await self.fetch(url, note.born)
        names = {*note.names, *(held.names if held is not None else ())}
        until = max(entry.error_until, held.error_until if held is not None else -math.inf)
        await self.save(
            url,
            replace(
                note, names=tuple(sorted(names)), stored=entry.stored, fresh_until=entry.stored,
                stale_until=entry.stored, error_until=until,
            ),
        )  # fmt: skip

    async def remove(self, keys: Iterable[Hashable]) -> None:
        for key in keys:
            await self._ask(partial(_delete, name=digest(self.namespace, key)))

    async def close(self) -> None:
        """Close the backend's connections, if it has any and was used."""
        if self._backend is not None:
            await self._ask(lambda cache: cache.close(timeout=BACKEND_LIMIT))
            self._backend = None

    async def _ask(self, what: "Callable[[BaseCache], Coroutine[Any, Any, Any]]") -> Any:
        try:
            if self._backend is None:
                self._backend = self._open()
            answer = await what(self._backend)
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and _cancelled():
                raise
            self.errors += 1
            if self._reachable:
                log.warning("the cache backend fails (%r); memory and loads carry on", error)
            self._reachable = False
            return None
        if not self._reachable:
            log.warning("the cache backend answers again")
        self._reachable = True
        return answer

    def _open(self) -> "BaseCache":
        from aiocache.base import BaseCache
        from aiocache.serializers import NullSerializer

        # A copy with a serializer of ours: the user's object may hold other data of other kinds.
        given = self._given if isinstance(self._given, BaseCache) else self._given()  # type: ignore[misc]
        cache = copy.copy(given)
        cache.serializer = NullSerializer(encoding=None)
        return cache


def _delete(cache: "BaseCache", name: str) -> Coroutine[Any, Any, Any]:
    return cache.delete(name, timeout=BACKEND_LIMIT)  # type: ignore[no-any-return]


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
