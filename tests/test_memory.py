"""The embedded backend: bounded in bytes, resistant to scans, readable from any thread."""

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import aiocache
import pytest
from aiocache.lock import OptimisticLock, OptimisticLockError, RedLock
from hypothesis import given, settings
from hypothesis import strategies as st

from aswr.memory import ENTRY_OVERHEAD, MemoryCache, entry_bytes


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


def room_for(entries: int, size: int = 100) -> int:
    """Bytes that hold this many entries under two-part keys, and the slack an eviction leaves."""
    return entries * entry_bytes(("k", 1), size) * 1001 // 1000


def fill(cache: MemoryCache, name: str, count: int, size: int = 100) -> None:
    for number in range(count):
        cache.put((name, number), number, size)


def recount(cache: MemoryCache, size: int = 100) -> int:
    return sum(entry_bytes(key, size) for key in keys(cache))


def keys(cache: MemoryCache) -> list[Any]:
    return cache.keys()


def queued(cache: MemoryCache) -> int:
    return len(cache._small) + len(cache._main)


# Reading and writing


def test_put_then_peek() -> None:
    """What was put is found, the same object, until it is discarded."""
    cache, value = MemoryCache(), object()
    assert cache.put("a", value, 10)
    assert cache.peek("a") is value
    assert cache.discard("a")
    assert cache.peek("a") is None
    assert not cache.discard("a")


def test_replace_counts_once() -> None:
    """A replaced value counts with its new size only, and is not an eviction."""
    evicted: list[object] = []
    cache = MemoryCache(on_evict=evicted.append)
    cache.put("a", 1, 500)
    cache.put("a", 2, 70)
    assert (cache.peek("a"), len(cache), cache.evictions, evicted) == (2, 1, 0, [])
    assert cache.bytes == entry_bytes("a", 70)


def test_uses_are_those_of_the_value_that_is_there() -> None:
    """`uses` counts all peeks since the last put, and `used` says if there were any."""
    cache = MemoryCache()
    cache.put("a", 1, 1)
    seen = []
    for _ in range(6):
        seen.append((cache.uses("a"), cache.used("a")))
        cache.peek("a")
    assert seen == [(0, False), (1, True), (2, True), (3, True), (4, True), (5, True)]
    cache.put("a", 2, 1)
    assert (cache.uses("a"), cache.used("a")) == (0, False)
    cache.peek("a")
    cache.discard("a")
    assert (cache.uses("a"), cache.used("a")) == (0, False)


def test_used_does_not_use() -> None:
    """Asking `used`, `keys`, `in` or `len` is not a read of the entry."""
    cache = MemoryCache()
    cache.put("a", 1, 1)
    assert cache.keys() == ["a"]
    assert "a" in cache
    assert "b" not in cache
    assert len(cache) == 1
    assert not cache.used("a")
    assert not cache.used("a")


def test_a_glance_is_no_use(clock: Clock) -> None:
    """`glance` finds what `peek` would, and is no reason to keep it."""
    cache = MemoryCache(clock=clock)
    cache.put("a", 1, 1, deadline=clock.now + 10)
    assert [cache.glance("a"), cache.glance("absent")] == [1, None]
    assert (cache.frequency("a"), cache.used("a")) == (0, False)
    clock.now += 10
    assert cache.glance("a") is None


def test_frequency_counts_peeks_up_to_three() -> None:
    """How much a key is in demand outlasts its value: a refreshed page is as popular as before."""
    cache = MemoryCache()
    assert cache.frequency("a") == 0
    cache.put("a", 1, 1)
    seen = []
    for _ in range(5):
        seen.append(cache.frequency("a"))
        cache.peek("a")
    assert seen == [0, 1, 2, 3, 3]
    cache.put("a", 2, 1)
    assert cache.frequency("a") == 3
    cache.discard("a")
    cache.put("a", 3, 1)
    assert cache.frequency("a") == 0


def test_repr_shows_state() -> None:
    """The representation tells how full the cache is and how much it had to evict."""
    cache = MemoryCache(1000)
    for name in "abcd":
        cache.put(name, name, 100)
    used = 2 * entry_bytes("a", 100)
    assert repr(cache) == f"<MemoryCache 2 entries, {used} of 1000 bytes, 2 evictions>"


def test_deadline(clock: Clock) -> None:
    """From its deadline on, an entry reads as absent; a replace without one lifts it."""
    cache = MemoryCache(clock=clock)
    cache.put("a", 1, 1, deadline=1010.0)
    clock.now = 1009.9
    assert cache.peek("a") == 1
    clock.now = 1010.0
    assert cache.peek("a") is None
    cache.put("a", 2, 1)
    assert cache.peek("a") == 2


def test_zero_bytes_stores_nothing() -> None:
    """A cache of no bytes keeps nothing, and one of less than that is refused with the cure."""
    cache = MemoryCache(0)
    assert not cache.put("a", 1, 0)
    assert (len(cache), cache.bytes) == (0, 0)
    with pytest.raises(
        ValueError, match="max_bytes must not be negative, got -1; 0 stores nothing"
    ):
        MemoryCache(-1)


# Room


def test_oversized_is_refused_and_outdates() -> None:
    """A value of more than nine tenths of the room is refused, and drops the one it outdates."""
    cache = MemoryCache(10_000)
    cache.put("small", 1, 10)
    cache.put("a", 1, 10)
    assert not cache.put("a", 2, 9_000)
    assert cache.keys() == ["small"]
    assert cache.bytes == entry_bytes("small", 10)


def test_largest_fits() -> None:
    """A value just under nine tenths is kept, whatever was there before."""
    cache = MemoryCache(10_000)
    fill(cache, "k", 100)
    for name in ("a", "b"):
        assert cache.put(name, name, 8_600)
        assert cache.peek(name) == name
        assert cache.bytes <= 10_000


@pytest.mark.parametrize("number", [0, 10, 19])
def test_growing_replace_stays(number: int) -> None:
    """An entry that grows pushes out others, never itself."""
    evicted: list[Any] = []
    cache = MemoryCache(room_for(20), on_evict=evicted.append)
    fill(cache, "k", 20)
    assert cache.put(("k", number), "grown", room_for(20) * 8 // 10)
    assert cache.peek(("k", number)) == "grown"
    assert evicted
    assert ("k", number) not in evicted
    assert cache.bytes <= cache.max_bytes


def test_on_evict_names_each_victim_once() -> None:
    """Whoever put what, the keys reported as evicted and those still there are all the keys."""
    evicted: list[Any] = []
    cache = MemoryCache(room_for(50), on_evict=evicted.append)
    fill(cache, "k", 400)
    assert len(evicted) == cache.evictions >= 350
    assert sorted(evicted + cache.keys()) == [("k", number) for number in range(400)]


def test_on_evict_may_use_the_cache() -> None:
    """When `on_evict` runs, the put that caused it is done, and the callback may write too."""
    seen: list[bool] = []

    def on_evict(key: Any) -> None:
        seen.append(cache.peek(newest) is not None and cache.peek(key) is None)
        cache.discard(("k", key[1] + 1))

    cache = MemoryCache(room_for(20), on_evict=on_evict)
    for number in range(100):
        newest = ("k", number)
        cache.put(newest, number, 100)
    assert seen
    assert all(seen)
    assert cache.bytes == recount(cache)


def test_keys_count() -> None:
    """Text in keys counts, nested too and as wide as Python stores it: long keys cannot hide."""
    long = "x" * 1000
    assert entry_bytes(long, 0) >= 1000 + ENTRY_OVERHEAD
    assert entry_bytes(("a", (long, ("b", long))), 0) >= 2000 + ENTRY_OVERHEAD
    assert entry_bytes(long + "\N{PILE OF POO}", 0) >= 4000 + ENTRY_OVERHEAD
    assert entry_bytes((b"x" * 1000,), 0) >= 1000 + ENTRY_OVERHEAD
    cache = MemoryCache(20_000)
    for number in range(100):
        cache.put((long, number), None, 0)
    assert len(cache) < 20


# What leaves


def test_hot_set_survives_scan() -> None:
    """A scan of a hundred times the room does not push out what is read all the time."""
    cache = MemoryCache(room_for(1000))
    fill(cache, "hot", 700)
    for _ in range(2):
        for number in range(700):
            cache.peek(("hot", number))
    for number in range(100_000):
        cache.put(("scan", number), number, 100)
        cache.peek(("hot", number % 700))
    held = sum(cache.peek(("hot", number)) is not None for number in range(700))
    assert held == 700


def test_once_hot_leaves_in_the_end() -> None:
    """What was read however often, but no longer is, makes room for what is read now."""
    cache = MemoryCache(room_for(100))
    fill(cache, "old", 90)
    for number in range(1_000):
        cache.put(("new", number), number, 100)
        cache.peek(("new", number))
        if number < 100:
            for old in range(270):
                cache.peek(("old", old % 90))
            assert max(node.freq for node in cache._nodes.values()) == 3
    assert {key[0] for key in keys(cache)} == {"new"}


def absent(cache: MemoryCache, name: str, count: int) -> list[Any]:
    held = set(keys(cache))
    return [key for key in ((name, number) for number in range(count)) if key not in held]


def test_second_chance_through_the_ghost() -> None:
    """A key put again soon after it left unread outlives those that come once."""
    cache = MemoryCache(room_for(100))
    fill(cache, "first", 150)
    back = absent(cache, "first", 150)[-5:]
    for key in back:
        cache.put(key, "back", 100)
    fill(cache, "scan", 300)
    assert all(cache.peek(key) == "back" for key in back)


def test_second_chance_is_given_once() -> None:
    """A key that used its second chance and left again starts over like any new one."""
    cache = MemoryCache(room_for(100))
    fill(cache, "first", 150)
    back = absent(cache, "first", 150)[-1]
    for name in ("back", "again"):
        cache.put(back, name, 100)
        cache.discard(back)
    cache.put(back, "again", 100)
    fill(cache, "scan", 300)
    assert cache.peek(back) is None


def test_one_put_spares_a_bounded_number() -> None:
    """However many entries were read, one put passes over a bounded number of them."""
    cache = MemoryCache(room_for(15_000))
    fill(cache, "k", 15_000)
    for key in keys(cache):
        cache.peek(key)
    before = cache.evictions
    while cache.evictions == before:
        cache.put(("new", len(cache)), 1, 100)
    moved = [node.freq for node in cache._nodes.values() if node.main]
    assert 10_000 <= len(moved) <= 10_000 + 8 * (cache.evictions - before)
    assert set(moved) == {0}


def test_churn_does_not_grow_the_queues() -> None:
    """Put and discard of the same keys, over and over, leave nothing behind."""
    cache = MemoryCache()
    fill(cache, "stay", 10)
    for number in range(10_000):
        cache.put("a", number, 10)
        cache.put(("b", number), number, 10)
        cache.discard(("b", number))
        cache.discard("a")
    assert len(cache) == 10
    assert cache._dead == queued(cache) - len(cache) <= 20
    assert cache.bytes == recount(cache)


def test_discard_frees_the_value() -> None:
    """A discarded value is let go at once, not when its place in the queue comes up."""

    class Value:
        pass

    cache, value = MemoryCache(), Value()
    gone = weakref.ref(value)
    cache.put("a", value, 10)
    del value
    cache.discard("a")
    assert gone() is None


def test_ghost_follows_the_number_of_entries() -> None:
    """The ghost takes a few bytes per entry, also after large entries took the place of small."""
    cache = MemoryCache(room_for(4_000))
    fill(cache, "k", 10_000)
    assert len(cache) <= len(cache._ghost) <= 4 * len(cache)
    fill(cache, "large", 1_000, size=50_000)
    assert len(cache) <= len(cache._ghost) <= 4 * len(cache) + 4


# Any sequence of calls

names = st.integers(0, 9)
sizes = st.sampled_from([0, 1, 50, 100, 400, 900, 1500, 4000])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), names, sizes),
        st.tuples(st.just("peek"), names, st.none()),
        st.tuples(st.just("discard"), names, st.none()),
    ),
    min_size=30,
    max_size=200,
)


def check(cache: MemoryCache, model: dict[Any, tuple[object, int]]) -> None:
    """Every count is what a recount gives."""
    assert cache.bytes == sum(entry_bytes(key, size) for key, (_, size) in model.items())
    assert cache.bytes <= cache.max_bytes
    assert set(cache.keys()) == set(model)
    small = [node for node in cache._small if node.size]
    live = small + [node for node in cache._main if node.size]
    assert sorted(map(id, live)) == sorted(map(id, cache._nodes.values()))
    assert cache._small_bytes == sum(node.size for node in small)
    assert cache._dead == queued(cache) - len(live) <= len(model) // 4 + 17


@settings(deadline=None, max_examples=150)
@given(steps, st.sampled_from([1000, 3000, 10_000]))
def test_any_sequence(steps: list[Any], max_bytes: int) -> None:
    """Present means: the last value put; the bytes are the sum of what is there, in the limit."""
    model: dict[Any, tuple[object, int]] = {}
    cache = MemoryCache(max_bytes, on_evict=model.pop)
    for action, name, size in steps:
        key = ("key", name)
        if action == "put":
            value = object()
            model[key] = (value, size)
            if not cache.put(key, value, size):
                del model[key]
                assert entry_bytes(key, size) > max_bytes * 0.89
        elif action == "peek":
            assert cache.peek(key) is model.get(key, (None, 0))[0]
        else:
            assert cache.discard(key) == (model.pop(key, None) is not None)
        check(cache, model)


# Threads


def test_readers_during_puts() -> None:
    """A reader gets None or a value of the key it asked for, whatever the writer does meanwhile."""
    cache = MemoryCache(room_for(50))
    wrong: list[object] = []
    start, done = threading.Barrier(4), threading.Event()

    def read() -> None:
        start.wait()
        while not done.is_set():
            for number in range(80):
                value = cache.peek(("k", number))
                if value is not None and value[0] != number:  # type: ignore[index]
                    wrong.append(value)
            cache.keys()

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    start.wait()
    for turn in range(20_000):
        number = turn * 7 % 80
        cache.put(("k", number), (number, turn), 100 + turn % 50)
        if turn % 5 == 0:
            cache.discard(("k", turn % 80))
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert cache.bytes == sum(node.size for node in cache._nodes.values()) <= cache.max_bytes


# As an aiocache cache


def test_aiocache_values() -> None:
    """`get`, `set`, `multi_*`, `exists` and `delete` behave as aiocache's own backends do."""

    async def main() -> None:
        cache = MemoryCache()
        assert await cache.get("a", default=5) == 5
        assert await cache.set("a", [1]) is True
        assert await cache.get("a") == [1]
        assert await cache.multi_set([("b", 2), ("c", 3)]) is True
        assert await cache.multi_get(["b", "x", "c"]) == [2, None, 3]
        assert await cache.exists("b") is True
        assert await cache.delete("b") == 1
        assert await cache.delete("b") == 0
        assert await cache.exists("b") is False

    run(main)


def test_aiocache_defaults() -> None:
    """No timeout and no serializer unless asked for; what is asked for reaches aiocache."""
    cache = MemoryCache()
    assert (cache.NAME, cache.timeout, cache.ttl, cache.namespace) == ("aswr", None, None, None)
    assert type(cache.serializer) is aiocache.serializers.NullSerializer
    json = aiocache.serializers.JsonSerializer()
    other = MemoryCache(serializer=json, timeout=2, ttl=3, namespace="n:")
    assert (other.serializer, other.timeout, other.ttl, other.namespace) == (json, 2, 3, "n:")


def test_aiocache_none() -> None:
    """A stored None exists and cannot be added again, but reads like a miss."""

    async def main() -> None:
        cache = MemoryCache()
        await cache.set("a", None)
        assert await cache.get("a", default="default") == "default"
        assert await cache.exists("a")
        with pytest.raises(ValueError, match=r"Key a already exists, use \.set to update"):
            await cache.add("a", 1)
        assert await cache.delete("a") == 1

    run(main)


def test_aiocache_ttl(clock: Clock) -> None:
    """A ttl ends when the clock says so, for every way to ask; the room is free again then."""

    async def main() -> None:
        cache = MemoryCache(clock=clock)
        await cache.set("a", 1, ttl=10)
        await cache.multi_set([("b", 2)], ttl=10)
        await cache.add("c", 3, ttl=0.5)
        await cache.set("stays", 4, ttl=0)
        clock.now += 0.5
        assert await cache.multi_get(["a", "b", "c"]) == [1, 2, None]
        clock.now += 9.5
        assert await cache.multi_get(["a", "b", "stays"]) == [None, None, 4]
        assert not await cache.exists("a")
        assert await cache.delete("b") == 0
        assert await cache.add("c", 5) is True
        assert sorted(map(str, cache.keys())) == ["c", "stays"]

    run(main)


def test_aiocache_ttl_is_the_last_one(clock: Clock) -> None:
    """A value set again lives by its own ttl, not by that of the one it replaced."""

    async def main() -> None:
        cache = MemoryCache(clock=clock, ttl=5)
        await cache.set("a", 1)
        clock.now += 4
        await cache.set("a", 2)
        clock.now += 4
        assert await cache.get("a") == 2
        await cache.set("a", 3, ttl=None)
        clock.now += 1000
        assert await cache.get("a") == 3

    run(main)


def test_aiocache_expire(clock: Clock) -> None:
    """`expire` sets the time left of what exists, and 0 lifts it."""

    async def main() -> None:
        cache = MemoryCache(clock=clock)
        await cache.set("a", 1)
        assert await cache.expire("a", 3) is True
        assert await cache.expire("absent", 3) is False
        clock.now += 2
        assert await cache.expire("a", 0) is True
        clock.now += 100
        assert await cache.get("a") == 1
        await cache.expire("a", 1)
        clock.now += 1
        assert await cache.expire("a", 0) is False

    run(main)


def test_aiocache_increment(clock: Clock) -> None:
    """`increment` starts at the delta, keeps the ttl, and refuses what is not a number."""

    async def main() -> None:
        cache = MemoryCache(clock=clock)
        assert await cache.increment("n", 2) == 2
        await cache.expire("n", 5)
        assert await cache.increment("n", -3) == -1
        assert await cache.get("n") == -1
        clock.now += 5
        assert await cache.increment("n") == 1
        await cache.set("text", "x")
        with pytest.raises(TypeError, match="Value is not an integer"):
            await cache.increment("text")

    run(main)


def test_aiocache_clear() -> None:
    """`clear` drops the namespace it is given, else the cache's own, else everything."""

    async def main() -> None:
        cache = MemoryCache(namespace="own:")
        await cache.multi_set([("a", 1), ("b", 2)])
        await cache.set("a", 3, namespace="other:")
        cache.put(("a", "tuple"), 4, 1)
        assert await cache.clear() is True
        assert set(cache.keys()) == {"other:a", ("a", "tuple")}
        await cache.clear(namespace="other:")
        assert cache.keys() == [("a", "tuple")]
        cache.put(12, "number", 1)
        await cache.clear(namespace="1")
        assert cache.keys() == [("a", "tuple"), 12]
        await cache.clear(namespace="")
        assert (cache.keys(), cache.bytes, queued(cache)) == ([], 0, 0)

    run(main)


def test_aiocache_oversized() -> None:
    """`set` says False for what was too large to keep, and `multi_set` keeps the rest."""

    async def main() -> None:
        cache = MemoryCache(2_000)
        assert await cache.set("a", "x" * 2_000) is False
        await cache.multi_set([("a", b"x" * 2_000), ("b", 1)])
        assert cache.keys() == ["b"]

    run(main)


def test_aiocache_raw() -> None:
    """`raw` reaches the cache's own calls, and names them when asked for another."""

    async def main() -> None:
        cache = MemoryCache()
        assert await cache.raw("put", "a", 1, 8) is True
        assert await cache.raw("get", "a") == 1
        assert await cache.raw("keys") == ["a"]
        with pytest.raises(ValueError, match="no raw command 'flushall': get, peek, uses, put"):
            await cache.raw("flushall")

    run(main)


def test_aiocache_locks(clock: Clock) -> None:
    """aiocache's locks work on it: one holder, released by its owner; compare-and-set refuses."""

    async def main() -> None:
        cache = MemoryCache(clock=clock)
        async with RedLock(cache, "job", lease=5):
            assert cache.keys() == ["job-lock"]
            assert await cache._redlock_release("job-lock", "somebody else") == 0
        assert cache.keys() == []
        await cache.set("a", 1)
        async with OptimisticLock(cache, "a") as lock:
            await lock.cas(2)
        assert await cache.get("a") == 2
        async with OptimisticLock(cache, "a") as lock:
            await cache.set("a", 3)
            with pytest.raises(OptimisticLockError):
                await lock.cas(4)
        assert await cache.get("a") == 3

    run(main)


def test_aiocache_makes_it() -> None:
    """aiocache's own factory and decorator accept the class."""

    async def main() -> None:
        calls: list[int] = []

        @aiocache.cached(cache=MemoryCache, namespace="f:")
        async def double(number: int) -> int:
            calls.append(number)
            return number * 2

        assert [await double(4), await double(4), calls] == [8, 8, [4]]
        cache = aiocache.Cache(MemoryCache, max_bytes=5000)
        assert (type(cache), cache.max_bytes) == (MemoryCache, 5000)

    run(main)
