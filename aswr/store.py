"""Where entries live in this process: memory, bounded, with indexes over it.

Owns the memory, the stamps, the indexes from paths and URLs to keys, and which entries were
compared with a shared store since it was last in doubt. Any thread may `peek` and `glance`;
everything else runs on the loop. Must not know Flask, nor what store is shared (`tier`).
"""

import collections
from collections.abc import Callable, Hashable
from typing import Any

from msgspec.structs import replace

from .codec import Entry
from .kept import Commons, Kept, size_of_key
from .keys import VariantKey, ViewKey, base_of
from .stamps import MICRO, Stamps

TIRE_AFTER = 16  # times as many variants as a URL has were displaced: then all count as less used
MOST_MOUNTS = 100  # paths at which the app was seen to be mounted
MOST_READY = 256  # entries, of half a kilobyte beyond what memory counts
LARGEST_READY = 2**16  # bytes of a body: one may be held a while after it has left memory
URL_BYTES = 56  # of a URL in the index from paths to URLs; 32 to 88, as full as that is
VARIANT_BYTES = 40  # of a variant in its URL's index, less what its URL's note shares with others
INDEX_BYTES: dict[type, int] = {ViewKey: URL_BYTES, VariantKey: URL_BYTES + VARIANT_BYTES}


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
    """The entries of one app in this process's memory."""

    def __init__(self, clock: Callable[[], float], max_bytes: int, max_variants: int = 64) -> None:
        self.stamps = Stamps(clock)
        self._clock = clock
        self._max_bytes = max_bytes
        self._max_variants = max_variants
        self.on_evict: Callable[[Hashable], None] | None = None
        self.forget()

    def forget(self) -> None:
        """Start empty: in a forked child the parent may have been in the midst of a change."""
        from .memory import (
            MemoryCache,  # it loads aiocache, and that Redis' client, if there is one
        )

        self.stamps.forget()
        self.memory = MemoryCache(self._max_bytes, clock=self._clock, on_evict=self._evicted)
        self._commons = Commons()
        self._ready: dict[Hashable, tuple[Kept, Entry]] = {}  # what was peeked of late, as it is
        self._paths: dict[str, ViewKey | set[ViewKey]] = {}  # most paths have one URL
        self._urls: dict[ViewKey, Variants] = {}
        self.mounts: set[str] = set()  # script names of what was stored, for who names a URL
        self._confirmed: dict[Hashable, int] = {}  # in which doubt it was compared

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
        return kept if kept.born > self.stamps.newest else self._weighed(key, kept)

    def _weighed(self, key: Hashable, kept: Any) -> Any:
        """An entry that a purge or a doubt may concern: as it is, as a stale one, or None."""
        stamps, born = self.stamps, kept.born
        if stamps.shut or (
            born <= stamps.hard.newest and stamps.hard.latest(key, kept.tags) > born
        ):
            return None
        softly = born <= stamps.soft.newest and stamps.soft.latest(key, kept.tags) > born
        if softly or self.suspects(key, born):
            entry = kept.entry() if type(kept) is Kept else kept
            return replace(entry, fresh_until=min(entry.stored, self._clock()))
        return kept

    def suspects(self, key: Hashable, born: int) -> bool:
        """Is it in doubt whether the shared store has something newer than what was born then?"""
        doubt = self.stamps.suspect
        return born <= doubt and self._confirmed.get(key) != doubt

    def confirm(self, key: Hashable) -> None:
        """The shared store has nothing newer than what is in memory."""
        if key in self.memory and self.stamps.suspect:
            self._confirmed[key] = self.stamps.suspect

    def lower(self, most: int) -> None:
        """No number is above this: they were of a clock that was ahead."""
        for key in list(self.memory.keys()):
            entry = self.original(key)
            if entry is not None and entry.born > most:
                self.discard(key)
                self.publish(key, replace(entry, born=most))

    def original(self, key: Hashable) -> Entry | None:
        """What memory holds of a key, purged, in doubt or not; no use of it."""
        kept: Any = self.memory.glance(key)
        return kept.entry() if type(kept) is Kept else kept

    def publish(self, key: Hashable, entry: Entry) -> bool:
        """Put an entry in memory unless it is purged or older than what is there.

        One assignment: readers see the old entry or the new one.
        """
        if self.stamps.hard.latest(key, entry.tags) > entry.born:
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
        self._confirmed.pop(key, None)
        if not self.memory.put(key, kept, size, key_size=key_size):
            self._unindex(key)  # what it would have replaced is gone too
            return False
        self._index(key, entry.born)
        lives = int((entry.error_until - entry.stored) * MICRO)
        self.stamps.horizon = max(self.stamps.horizon, lives)
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
        """Who makes room first: ended or not looked for, under fewer inputs, less used, newer."""
        entry, note = self.glance(key), self.glance(key.base)
        current = note is not None and note.names == key.names
        found = note is None or current or key.names in note.fewer  # else nobody comes to it
        live = entry is not None and now < entry.error_until and found
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
        if url.script_name and len(self.mounts) < MOST_MOUNTS:
            self.mounts.add(url.script_name)
        known = self._paths.setdefault(url.path, url)
        if isinstance(known, set):
            known.add(url)
        elif known != url:
            self._paths[url.path] = {known, url}
        if type(key) is VariantKey:
            self._urls.setdefault(url, Variants()).keys.setdefault(key, born)

    def _evicted(self, key: Hashable) -> None:
        self._unindex(key)
        if self.on_evict is not None:
            self.on_evict(key)

    def _unindex(self, key: Hashable) -> None:
        """Forget a key that is no longer in memory, and its URL with its last one."""
        self._ready.pop(key, None)
        self._confirmed.pop(key, None)
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
