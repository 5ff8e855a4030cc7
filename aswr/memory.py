"""The embedded default backend: an aiocache cache that is bounded in bytes and resists scans.

Owns the entries of one process and the decision which of them leave when the room runs out.
``peek``, ``uses``, ``keys``, ``len`` and the counters are for any thread; everything that writes
(``put``, ``discard`` and all of aiocache's coroutines) is for one thread, that of aswr's loop.
Imports aiocache and msgspec, of aswr only keys, and never a lock, a thread or a timer.

The algorithm is S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache
eviction", SOSP 2023), in bytes because web pages are not of one size:

    put ──┬──► small, 10% ──┬── read since? ──► main, 90% ──┬── read since? ──► main, freq - 1
          │                 └── no: gone, its hash ─► ghost └── no: gone
          └──► main, if the ghost knows the hash

Most keys that arrive are never asked for again, so a new one has only the small queue to prove
itself: a crawler that walks a million URLs turns over a tenth of the room and leaves the rest
alone. A key that comes back soon after it was dropped is found in the ghost and goes straight to
main. In main a node goes round once more for each read counted (``freq``, 0 to 3). A hit moves
nothing: it writes two fields of its own node. That was preferred by measurement, which
``tests/benchmarks/eviction.py`` repeats: it hits as often as W-TinyLFU (within 1.3 points, either
way) and 5 to 10 points more often than LRU. (SIEVE, tried on requests like these, was up to a point
behind.) And W-TinyLFU has a sketch that readers update, LRU moves a node per hit: both take a
lock, or a buffer to be drained.

The ghost is an array of 30-bit hashes, each found by its low bits. A new one overwrites what was
there, which ages the ghost at random instead of in order; that costs at most 0.4 points of hits,
and takes 4 to 8 bytes per entry where an ordered set takes 150. A false match merely puts a key
into main. When the number of entries outgrows the array, or falls below a quarter of it, the ghost
starts anew, empty: that is rare, and all it costs is a few second chances.

Three things keep ``put`` short. It spares 10,000 nodes for having been read and 8 more for each it
evicts, then no more, so neither a million hot entries nor readers faster than the eviction hold it
up. A put that evicts makes a little more room than it needs, so that most need not. And a
discarded node stays in its queue as an empty tombstone (``size`` 0); the queues are swept when a
fifth of them is dead, so that discard and put in turn do not grow them.

Why readers need no lock: there is one writer, and between any two of its steps the cache is one
that a reader may see. ``dict.get`` is atomic: one C call under the GIL, a lock per dict without it.
(A key whose ``__eq__`` is Python code lets other threads in; CPython looks again if the dict has
changed.) What it returns is a node, and **a node belongs to one key for ever**: it is never reused
for another, so whoever still holds one that was just evicted reads the last value of the right key.
Attribute stores are single pointer writes. A replace writes the value before its deadline and
readers look in the other order, so no value is seen under a later deadline than its own. A discard
empties the node; who comes in between gets None, a miss. ``freq`` and ``uses`` are read, then
written, and may lose an update: one read more or less is counted, no more than that. Only ``main``,
``size`` and the totals must be exact, and only the writer touches those.
"""

import time
from array import array
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from sys import getsizeof
from typing import Any

import msgspec
from aiocache.base import BaseCache
from aiocache.serializers import NullSerializer

from .keys import key_bytes

# What the cache adds to key and value: the node 80, its size 32, its place in a queue 8, in the
# ghost 4 to 8, in the dict 30 to 120 (as full as that happens to be), what the allocator cannot use
# 50. Checked, with what the store adds, by `tests/benchmarks/memory.py`.
ENTRY_OVERHEAD = 248
_SPARED = 10_000  # nodes that one put may pass over because they were read: some milliseconds
_SLACK = 64 * 1024  # bytes, at most, of room that an evicting put leaves for the next ones
_DIGEST = 2**30 - 1  # as much of a hash as the ghost keeps: one digit of a Python int


def entry_bytes(key: Hashable, size: int) -> int:
    """What an entry counts for: its value's ``size``, its key, and what the cache adds. In bytes.

    All the text in a key counts, through nested tuples too; other objects in it count as small.
    """
    return size + ENTRY_OVERHEAD + key_bytes(key)


# Made in a third of the time of a class with slots. The garbage collector does not look into nodes,
# a million of them would hold it up: a value that refers to its own cache keeps that alive.
class _Node(msgspec.Struct, gc=False):
    key: Hashable
    value: object
    size: int  # as counted, key and overhead included; 0: a tombstone
    deadline: float | None
    main: bool = False
    freq: int = 0
    uses: int = 0  # since the last put


class MemoryCache(BaseCache):  # type: ignore[misc]  # aiocache is not typed
    """A cache of at most ``max_bytes``, readable from any thread without waiting.

    ``clock`` gives the time in seconds to which deadlines are compared. ``on_evict`` is called on
    the loop thread with each key that had to make room, when the ``put`` that needed it is done;
    not for what is replaced, discarded, expired or cleared; it may use the cache, and must not
    raise. Everything else is aiocache's, with
    ``timeout=None`` and ``NullSerializer`` by default (a timeout costs 17 µs per call). Its
    coroutines estimate sizes with ``sys.getsizeof``, which sees a container, not its contents.

    To be read by anyone and written by nobody else: ``bytes`` (in use), ``max_bytes``,
    ``evictions`` (a count). Entries past their deadline count until evicted, replaced or noticed.
    """

    NAME = "aswr"

    def __init__(
        self,
        max_bytes: int = 64 * 2**20,
        *,
        clock: Callable[[], float] = time.time,
        on_evict: Callable[[Hashable], None] | None = None,
        serializer: Any = None,
        timeout: float | None = None,
        **aiocache_kwargs: Any,
    ) -> None:
        super().__init__(
            serializer=serializer or NullSerializer(), timeout=timeout, **aiocache_kwargs
        )
        if max_bytes < 0:
            raise ValueError(f"max_bytes must not be negative, got {max_bytes!r}; 0 stores nothing")
        self.max_bytes = max_bytes
        self.evictions = 0
        self._clock = clock
        self._on_evict = on_evict
        self._small_share = max_bytes // 10
        self._goal = max_bytes - min(max_bytes >> 10, _SLACK)
        self._largest = self._goal - self._small_share
        self._reset()

    def _reset(self) -> None:
        # The state, all of it written by the loop thread; other threads read only _nodes.
        self._nodes: dict[Hashable, _Node] = {}
        self._small: deque[_Node] = deque()
        self._main: deque[_Node] = deque()
        self._ghost = array("i", [-1])  # 30 bits of a hash, found by its low bits
        self._mask = 0  # len(_ghost) - 1
        self.bytes = 0
        self._small_bytes = 0
        self._dead = 0  # tombstones in both queues

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, key: object) -> bool:
        return key in self._nodes

    def __repr__(self) -> str:
        return (
            f"<MemoryCache {len(self)} entries, {self.bytes} of {self.max_bytes} bytes, "
            f"{self.evictions} evictions>"
        )

    def keys(self) -> list[Hashable]:
        """A snapshot of the keys, in no promised order. Any thread."""
        return list(self._nodes)

    def peek(self, key: Hashable) -> object | None:
        """The value under ``key``, or None; counts as a use. Any thread, never waits."""
        node = self._nodes.get(key)
        if node is None or (node.deadline is not None and node.deadline <= self._clock()):
            return None
        if node.freq < 3:
            node.freq += 1
        node.uses += 1
        return node.value

    def glance(self, key: Hashable) -> object | None:
        """As `peek`, but not a use: for who looks after entries, not for who needs them."""
        node = self._nodes.get(key)
        if node is None or (node.deadline is not None and node.deadline <= self._clock()):
            return None
        return node.value

    def uses(self, key: Hashable) -> int:
        """How often ``key`` was peeked since it was last put. Any thread, never waits."""
        node = self._nodes.get(key)
        return 0 if node is None else node.uses

    def used(self, key: Hashable) -> bool:
        """Whether ``key`` was peeked since it was last put. Any thread, never waits."""
        return self.uses(key) > 0

    def frequency(self, key: Hashable) -> int:
        """How often ``key`` was peeked of late, 0 to 3. Any thread, never waits."""
        node = self._nodes.get(key)
        return 0 if node is None else node.freq

    def tire(self, key: Hashable) -> None:
        """Forget one of the uses that `frequency` counts. Loop thread only."""
        node = self._nodes.get(key)
        if node is not None:
            node.freq = max(node.freq - 1, 0)

    def put(
        self,
        key: Hashable,
        value: object,
        size: int,
        *,
        key_size: int | None = None,
        deadline: float | None = None,
    ) -> bool:
        """Insert or replace ``key``, evicting what must go. Loop thread only.

        ``size`` is the value's own bytes; the cache's own share is added to it, and the key:
        ``key_size`` bytes, or, where that is not known, all the text in it. From ``deadline`` (in
        the clock's seconds) on, the key reads as absent. False if the value takes more than nine
        tenths of ``max_bytes``: then it is not kept, nor is the one it replaces.
        """
        cost = size + ENTRY_OVERHEAD + (key_bytes(key) if key_size is None else key_size)
        if cost > self._largest:
            self.discard(key)
            return False
        new = _Node(key, value, cost, deadline)
        node = self._nodes.setdefault(key, new)  # one look-up where get and set are two
        if node is not new:
            return self._replace(node, value, cost, deadline)
        victims = self._make_room(cost) if self.bytes + cost > self.max_bytes else None
        self.bytes += cost
        digest = hash(key) & _DIGEST
        if self._ghost[digest & self._mask] == digest:
            self._ghost[digest & self._mask] = -1
            node.main = True
            self._main.append(node)
        else:
            self._small.append(node)
            self._small_bytes += cost
        if victims:
            self._report(victims)
        return True

    def discard(self, key: Hashable) -> bool:
        """Drop ``key``; whether it was there. Loop thread only."""
        node = self._nodes.get(key)
        if node is None:
            return False
        del self._nodes[key]
        self.bytes -= node.size
        if not node.main:
            self._small_bytes -= node.size
        node.size, node.key, node.value = 0, None, None
        self._dead += 1
        if self._dead * 4 > len(self._nodes) + 64:
            self._sweep()
        return True

    def _replace(self, node: _Node, value: object, cost: int, deadline: float | None) -> bool:
        growth = cost - node.size
        victims = self._make_room(growth, node) if self.bytes + growth > self.max_bytes else None
        node.value = value  # before the deadline: readers look in the other order
        node.deadline = deadline
        node.uses = 0
        node.size = cost
        self.bytes += growth
        if not node.main:
            self._small_bytes += growth
        if victims:
            self._report(victims)
        return True

    def _make_room(self, growth: int, keep: _Node | None = None) -> list[Hashable]:
        """Evict until ``growth`` more bytes fit, never ``keep``; returns the keys that left.

        A live node is always found: what is asked for takes at most nine tenths, so with the small
        queue inside its share and nothing else in main there is room already.
        """
        victims: list[Hashable] = []
        nodes, small, main, ghost, mask = (
            self._nodes, self._small, self._main, self._ghost, self._mask,
        )  # fmt: skip
        excess = self.bytes + growth - self._goal
        small_excess = self._small_bytes - self._small_share
        spared = 0
        while excess > 0:
            over = small_excess > 0
            node = (small if over else main).popleft()
            size, freq = node.size, node.freq
            if not size:
                self._dead -= 1
            elif node is keep or (freq and spared < _SPARED + 8 * len(victims)):
                spared += 1
                if over:
                    node.main = True
                    small_excess -= size
                node.freq = 0 if over or not freq else freq - 1
                main.append(node)
            else:
                key = node.key
                del nodes[key]
                excess -= size
                victims.append(key)
                if over:
                    small_excess -= size
                    digest = hash(key) & _DIGEST
                    ghost[digest & mask] = digest
        self.bytes = self._goal + excess - growth
        self._small_bytes = self._small_share + small_excess
        return victims

    def _report(self, victims: list[Hashable]) -> None:
        self.evictions += len(victims)
        slots = self._mask + 1
        if not slots >> 2 <= len(self._nodes) <= slots:
            self._mask = (1 << len(self._nodes).bit_length()) - 1
            self._ghost = array("i", [-1]) * (self._mask + 1)
        if self._on_evict is not None:
            for key in victims:
                self._on_evict(key)

    def _sweep(self) -> None:
        self._small = deque(node for node in self._small if node.size)
        self._main = deque(node for node in self._main if node.size)
        self._dead = 0

    # What aiocache.base.BaseCache asks of a backend. `async def`: loop thread only. It also passes
    # `encoding` and `_conn`, which mean nothing here.

    def _live(self, key: Hashable) -> _Node | None:
        node = self._nodes.get(key)
        if node is not None and node.deadline is not None and node.deadline <= self._clock():
            self.discard(key)
            return None
        return node

    def _store(self, key: Hashable, value: object, ttl: float | None) -> bool:
        return self.put(key, value, getsizeof(value), deadline=self._deadline(ttl))

    def _deadline(self, ttl: float | None) -> float | None:
        return self._clock() + ttl if ttl else None

    async def _get(self, key: Hashable, **_: object) -> Any:
        return self.peek(key)

    _gets = _get  # the token of a compare-and-set is the value itself

    async def _multi_get(self, keys: Iterable[Hashable], **_: object) -> list[Any]:
        return [self.peek(key) for key in keys]

    async def _set(
        self,
        key: Hashable,
        value: object,
        ttl: float | None = None,
        _cas_token: object = None,
        **_: object,
    ) -> bool | int:
        if _cas_token is not None and _cas_token != self.peek(key):
            return 0
        return self._store(key, value, ttl)

    async def _multi_set(
        self, pairs: Iterable[tuple[Hashable, object]], ttl: float | None = None, **_: object
    ) -> bool:
        for key, value in pairs:
            self._store(key, value, ttl)
        return True

    async def _add(
        self, key: Hashable, value: object, ttl: float | None = None, **_: object
    ) -> bool:
        if self._live(key) is not None:
            raise ValueError(f"Key {key} already exists, use .set to update the value")
        return self._store(key, value, ttl)

    async def _exists(self, key: Hashable, **_: object) -> bool:
        return self._live(key) is not None

    async def _increment(self, key: Hashable, delta: int, **_: object) -> int:
        node = self._live(key)
        if node is None:
            self._store(key, delta, None)
            return delta
        try:
            value = int(node.value) + delta  # type: ignore[call-overload]
        except ValueError:
            raise TypeError("Value is not an integer") from None
        self.put(key, value, getsizeof(value), deadline=node.deadline)
        return int(value)

    async def _expire(self, key: Hashable, ttl: float, **_: object) -> bool:
        node = self._live(key)
        if node is not None:
            node.deadline = self._deadline(ttl)
        return node is not None

    async def _delete(self, key: Hashable, **_: object) -> int:
        return int(self._live(key) is not None and self.discard(key))

    async def _clear(self, namespace: str | None = None, **_: object) -> bool:
        """Drop the given namespace, else the cache's own, else everything."""
        prefix = self.namespace if namespace is None else namespace
        if not prefix:
            self._reset()
            return True
        for key in self.keys():
            if isinstance(key, str) and key.startswith(prefix):
                self.discard(key)
        return True

    async def _raw(self, command: str, *args: Any, **_: object) -> Any:
        if command not in ("get", "peek", "uses", "put", "discard", "keys"):
            raise ValueError(f"no raw command {command!r}: get, peek, uses, put, discard, keys")
        return getattr(self, "peek" if command == "get" else command)(*args)

    async def _redlock_release(self, key: Hashable, value: object) -> int:
        return int(self.peek(key) == value and self.discard(key))

    @classmethod
    def parse_uri_path(cls, path: str) -> dict[str, object]:
        """No options in the path of a URL; called by ``aiocache.Cache.from_url``."""
        return {}
