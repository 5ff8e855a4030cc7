"""An aiocache cache behind the memory: what it is given comes back, and its troubles are misses."""

import asyncio
import logging
import pickle
from collections.abc import Callable, Coroutine, Hashable, Iterator
from typing import Any

import aiocache
import pytest
from aiocache.base import BaseCache
from aiocache.serializers import JsonSerializer
from msgspec.structs import replace

from aswr import breaker as breaker_module
from aswr.codec import Answer, Entry
from aswr.engine import Engine
from aswr.envelope import Checksum, Envelopes
from aswr.keys import CallKey, VariantKey, ViewKey, digest
from aswr.plain import LONGEST, MOST_HANGING, SKEW, Plain
from aswr.runtime import Runtime
from aswr.stamps import MICRO, Purge
from aswr.store import Store
from aswr.tier import Claim, Say
from aswr.values import Carrier

LIMIT = 10.0  # seconds after which anything here is a failure
TIMEOUT = 0.25  # seconds that a cache may take
START = 1000.0
KEY = CallKey("shop:price", ("a",))
PAGE = Answer(200, (("A", "b"),), b"\0<p>\xff")
ALL = Purge(everything=True)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def price(name: str): ...  # type: ignore[no-untyped-def]  # says nothing of what it returns


def url(path: str = "/a", query: str = "") -> ViewKey:
    return ViewKey("shop:view", "", path, query, "", ())


def variant(value: object, base: ViewKey | None = None) -> VariantKey:
    return VariantKey(base or url(), ("host",), (value,))


class Process:
    """One process's memory, and its part of the cache."""

    def __init__(
        self, runtime: Runtime, time: Clock, source: Any, timeout: float = TIMEOUT, **names: str
    ) -> None:
        self.store = Store(time, 1_000_000)
        self.stamps = self.store.stamps
        self.tier = Plain(
            self.stamps, time, source, **{"namespace": "shop", "version": "1", **names},
            envelopes=Envelopes(Checksum(), 1_000_000, 10_000), timeout=timeout,
            carriers={"shop:price": Carrier("shop:price", price)},
        )  # fmt: skip
        engine = Engine(
            "shop", self.store, lambda: runtime, clock=time, random=lambda: 0.0,
            max_waiters=9, max_loads=9,
        )  # fmt: skip
        self.tier.attach(lambda: runtime, engine)

    @property
    def errors(self) -> int:
        return self.tier.stats()["store_errors"]

    def entry(self, value: Any = "value", **changes: Any) -> Entry:
        """An entry whose load began now and took no time."""
        fields: dict[str, Any] = {
            "stored": START, "fresh_until": START + 10, "stale_until": START + 20,
            "error_until": START + 60, "born": self.stamps.tick(), "size": 10,
        }  # fmt: skip
        return Entry(value=value, **{**fields, **changes})

    def note(self, *names: str, **changes: Any) -> Entry:
        """What a URL was seen to read, as memory holds it: past from the start."""
        ends = dict.fromkeys(("fresh_until", "stale_until", "error_until"), START)
        return self.entry(None, **{**ends, "names": names, **changes})

    async def save(self, key: Hashable, entry: Entry, base: Hashable = None) -> None:
        await self.tier.save(key, base or key, entry, None)

    async def sent(self, key: Hashable, entry: Entry) -> Entry | None:
        await self.save(key, entry)
        return await self.tier.read(key)

    async def claim(
        self, key: Hashable, base: Hashable = None, seen: int = 0, floor: int = 0
    ) -> Claim:
        return await self.tier.claim(key, base or key, seen, floor, "token")

    async def tried(self) -> None:
        """Wait for the question that finds out whether the cache answers again."""
        assert self.tier._trying is not None
        await asyncio.wait({self.tier._trying})
        assert self.tier._trying is None


@pytest.fixture
def time() -> Clock:
    return Clock()


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    runtime = Runtime(2)
    yield runtime
    runtime.stop()


Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def run(runtime: Runtime) -> Run:
    """Runs a coroutine on the loop."""
    return lambda test: runtime.submit(lambda: test, "test").result(LIMIT)


Processes = Callable[..., Process]


@pytest.fixture
def processes(runtime: Runtime, time: Clock) -> Processes:
    """Makes a process over a cache."""
    return lambda source, **options: Process(runtime, time, source, **options)


@pytest.fixture
def cache() -> aiocache.SimpleMemoryCache:
    return aiocache.SimpleMemoryCache()


@pytest.fixture
def here(processes: Processes, cache: BaseCache) -> Process:
    return processes(cache)


@pytest.fixture
def there(processes: Processes, cache: BaseCache) -> Process:
    """Another process at the same cache."""
    return processes(cache)


def name_of(key: Hashable) -> str:
    return f"aswr:shop:1:{digest(key)}"


def at_once(asking: Coroutine[Any, Any, Any]) -> Any:
    """The answer, which it must have without waiting for anything."""
    with pytest.raises(StopIteration) as answer:
        asking.send(None)
    return answer.value.value


# There and back


@pytest.mark.parametrize("value", [None, 0, "ä", b"\xff", [1, {"a": 2.5}]], ids=repr)
def test_what_is_saved_is_read(run: Run, here: Process, value: Any) -> None:
    """A result comes back as it went in, its number too; its size is measured anew."""
    entry = here.entry(value, tags=("news",), cost=0.5)
    found = run(here.sent(KEY, entry))
    assert found == replace(entry, size=found.size)
    assert here.errors == 0


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_page_that_is_saved_is_read(run: Run, here: Process, cache: Any, size: int) -> None:
    """An answer comes back as it went in, however large; much of the same takes little room."""
    entry = here.entry(replace(PAGE, body=b"x" * size), strict=True, size=size)
    assert run(here.sent(url(), entry)) == entry
    assert len(cache._cache[name_of(url())]) < 1000


def test_bytes_in_bytes_out(run: Run, here: Process, cache: Any) -> None:
    """The cache sees bytes under a digest of the key, and no object of ours."""
    run(here.save(KEY, here.entry()))
    assert list(cache._cache) == [name_of(KEY)]
    assert all(type(data) is bytes for data in cache._cache.values())


def test_what_is_not_there(run: Run, here: Process) -> None:
    """A key that the cache does not know is absent, and that is no error."""
    assert run(here.tier.read(KEY)) is None
    assert here.errors == 0


def test_what_is_removed(run: Run, here: Process) -> None:
    """A removed entry is absent, and removing what is not there is no error."""

    async def main() -> Entry | None:
        await here.save(KEY, here.entry())
        await here.tier.remove(url("/none"), here.stamps.tick())
        await here.tier.remove(KEY, here.stamps.tick())
        return await here.tier.read(KEY)

    assert run(main()) is None
    assert here.errors == 0


class Noting(aiocache.SimpleMemoryCache):  # type: ignore[misc]
    """Notes for how long it is asked to keep something."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[float] = []

    async def _set(self, key: str, value: bytes, ttl: float = 0, **_: Any) -> bool:
        self.kept.append(ttl)
        return True


class MemcachedBackend(Noting):
    """Named like aiocache's, which takes whole seconds."""


@pytest.mark.parametrize(
    ("kind", "kept"), [(Noting, [48.0, 0.25, LONGEST]), (MemcachedBackend, [48, 1, LONGEST])]
)
def test_it_is_kept_until_its_last_deadline(
    run: Run, processes: Processes, time: Clock, kind: type[Noting], kept: list[float]
) -> None:
    """An entry is kept until ``error_until``, a month at most; one past it is not sent at all."""
    cache = kind()
    process = processes(cache)
    for now in (START + 12, START + 59.75, START + 60):
        time.now = now
        run(process.save(KEY, process.entry()))
    run(process.save(KEY, process.entry(error_until=START + 1e9)))
    assert cache.kept == kept
    assert all(type(ttl) is type(known) for ttl, known in zip(cache.kept, kept, strict=True))


def test_a_result_that_no_bytes_can_carry(
    run: Run, here: Process, cache: Any, log: Callable[[], list[str]]
) -> None:
    """It is not sent, which is no error; one line says so, once."""
    run(here.save(KEY, here.entry(object())))
    run(here.save(KEY, here.entry((1, 2))))
    run(here.save(KEY, here.entry("a", tags=("\ud800",))))
    assert not cache._cache
    assert here.errors == 0
    assert len(log()) == 1
    assert "stays in this process's memory: shop:price returned a object" in log()[0]
    run(here.save(KEY, here.entry("a")))
    run(here.save(KEY, here.entry(object())))
    assert len(log()) == 1


def test_a_result_of_a_function_that_nobody_knows(run: Run, here: Process, there: Process) -> None:
    """What was sent for a function that is not memoized here is absent."""
    run(here.save(KEY, here.entry()))
    there.tier.carriers.clear()
    assert run(there.tier.read(KEY)) is None
    assert there.errors == 1


def test_the_user_s_cache_is_his(run: Run, processes: Processes) -> None:
    """The cache object keeps its own serializer and its own data; only our keys are added."""
    given = aiocache.SimpleMemoryCache(serializer=JsonSerializer(), namespace="mine:")
    process = processes(given)

    async def main() -> tuple[Any, Entry | None]:
        await given.set("a", {"b": 1})
        found = await process.sent(KEY, process.entry())
        return await given.get("a"), found

    value, found = run(main())
    assert value == {"b": 1}
    assert found is not None
    assert isinstance(given.serializer, JsonSerializer)
    assert sorted(given._cache) == sorted(["mine:a", "mine:" + name_of(KEY)])


@pytest.mark.parametrize(
    "other",
    [{"namespace": "blog"}, {"version": "2"}, {"namespace": "shop:1", "version": ""},
     {"namespace": "shop" * 100}],
    ids=["app", "version", "colon", "long"],
)  # fmt: skip
def test_two_apps_share_a_cache(
    run: Run, processes: Processes, cache: BaseCache, other: dict[str, str]
) -> None:
    """Apps of different names, and versions of one app, never see each other's entries."""
    one, two = processes(cache), processes(cache, **other)
    run(one.save(KEY, one.entry()))
    assert run(two.tier.read(KEY)) is None
    assert run(one.tier.read(KEY)) is not None
    assert not any(name.startswith(two.tier._prefix) for name in cache._cache)


def test_long_names_fit(run: Run, processes: Processes, cache: BaseCache) -> None:
    """However long an app's name is, keys are what Memcached takes, and are the app's own."""
    long = [{"namespace": "ü" * 99 + end, "version": version} for end in "ab" for version in "12"]
    for names in long:
        process = processes(cache, **names)
        assert run(process.tier.read(KEY)) is None
        assert run(process.sent(KEY, process.entry())) is not None
    assert len(cache._cache) == len(long)
    assert all(len(name) <= 250 for name in cache._cache)


def test_it_is_closed_once(run: Run, processes: Processes) -> None:
    """A cache that was used is closed, and not opened again: `Shared` makes another store."""

    class Closing(aiocache.SimpleMemoryCache):  # type: ignore[misc]
        closed = 0

        async def _close(self, *_: Any, **__: Any) -> None:
            type(self).closed += 1

    unused = processes(Closing())
    run(unused.tier.close())
    assert Closing.closed == 0, "it was never opened"
    process = processes(Closing())
    assert run(process.sent(KEY, process.entry())) is not None
    run(process.tier.close())
    run(process.tier.close())
    assert Closing.closed == 1
    assert run(process.tier.read(KEY)) is None


# Claims


def test_a_claim_where_nothing_lies(run: Run, here: Process) -> None:
    """Who finds nothing loads for himself: there is no lease."""
    assert run(here.claim(KEY)) == Claim(Say.ALONE)
    assert not here.tier.fleet


def test_a_claim_where_something_fresh_lies(run: Run, here: Process) -> None:
    """It makes the load needless, and comes along unless the caller has it already."""
    entry = here.entry()
    run(here.save(KEY, entry))
    claim = run(here.claim(KEY, seen=entry.born - 1))
    assert (claim.say, claim.number, claim.lease) == (Say.FRESH, entry.born, None)
    assert claim.entry == replace(entry, size=claim.entry.size)
    claim = run(here.claim(KEY, seen=entry.born))
    assert claim == Claim(Say.FRESH, entry.born)


@pytest.mark.parametrize("seen", [0, -1])
def test_a_claim_of_something_newer(run: Run, here: Process, seen: int) -> None:
    """What is not newer than is asked for does not do, but stands in where it is not known."""
    entry = here.entry()
    run(here.save(KEY, entry))
    claim = run(here.claim(KEY, seen=entry.born if seen else 0, floor=entry.born))
    assert (claim.say, claim.number) == (Say.ALONE, entry.born)
    assert (claim.entry is None) is bool(seen)
    assert run(here.claim(KEY, floor=entry.born - 1)).say is Say.FRESH


@pytest.mark.parametrize(
    ("age", "say", "comes"),
    [(9, Say.FRESH, True), (10, Say.ALONE, True), (59, Say.ALONE, True), (60, Say.ALONE, False)],
)
def test_a_claim_of_something_old(
    run: Run, here: Process, time: Clock, age: float, say: Say, comes: bool
) -> None:
    """What is stale is to be loaded, and serves meanwhile, until its last deadline."""
    run(here.save(KEY, here.entry()))
    time.now = START + age
    claim = run(here.claim(KEY))
    assert (claim.say, claim.entry is not None) == (say, comes)


def test_a_claim_tells_what_the_url_reads(run: Run, here: Process, there: Process) -> None:
    """At the URL's own key and at any variant's: so another process finds the right one."""
    here.store.publish(url(), here.note("host"))
    run(here.save(variant("a"), here.entry(PAGE), url()))
    claim = run(there.claim(url()))
    assert (claim.say, claim.entry, claim.names) == (Say.ALONE, None, ("host",))
    claim = run(there.claim(variant("a"), url()))
    assert (claim.say, claim.entry is not None, claim.names) == (Say.FRESH, True, ("host",))
    claim = run(there.claim(variant("b"), url()))
    assert (claim.say, claim.entry, claim.names) == (Say.ALONE, None, ("host",))


def test_a_claim_where_everybody_passes(run: Run, here: Process, there: Process) -> None:
    """That nobody can share a URL is found out once, and holds until it ends or is loaded anew."""
    note = here.entry(None, passing="writes session", fresh_until=START, stale_until=START)
    run(here.save(url(), note))
    claim = run(there.claim(url()))
    assert claim.say is Say.FRESH
    assert (claim.entry.passing, claim.entry.value) == ("writes session", None)
    assert run(there.claim(url(), floor=note.born)).say is Say.ALONE


def test_numbers_are_the_process_s_own(run: Run, here: Process) -> None:
    """A load's number is drawn here, greater than those before."""
    before = here.stamps.tick()
    assert before < run(here.tier.number(0.0)) < here.stamps.tick()


# Purges


@pytest.mark.parametrize(
    "purge",
    [Purge(keys=("/a",)), Purge(keys=(("/a", "b=1"),)), Purge(tags=("news",)), ALL],
    ids=["path", "url", "tag", "all"],
)
def test_a_purged_entry_is_not_read(run: Run, here: Process, time: Clock, purge: Purge) -> None:
    """What was purged here does not come back from the cache; what was loaded since does."""
    key = url("/a", "b=1")
    old = here.entry(PAGE, tags=("news",))
    here.stamps.purge(purge)
    assert run(here.sent(key, old)) is None
    assert run(here.claim(key)) == Claim(Say.ALONE)
    time.now += SKEW + 0.1
    assert run(here.sent(key, here.entry(PAGE, tags=("news",)))) is not None
    assert here.errors == 0


def test_another_purge_leaves_it_alone(run: Run, here: Process) -> None:
    """A purge of something else, or a soft one, takes nothing of our own from the cache."""
    entry = here.entry(PAGE)
    here.stamps.purge(Purge(keys=("/z",), tags=("weather",)))
    here.stamps.purge(ALL._replace(soft=True))
    assert run(here.sent(url("/a"), entry)) is not None


@pytest.mark.parametrize(
    ("later", "adopted"),
    [(-MICRO, False), (0, False), (SKEW * MICRO, False), (SKEW * MICRO + 1, True)],
)
def test_an_entry_of_another_process_after_a_purge(
    run: Run, here: Process, there: Process, later: float, adopted: bool
) -> None:
    """It is adopted only if its load began after the purge, whatever their clocks differ."""
    number = here.stamps.purge(Purge(tags=("news",)))
    run(there.save(KEY, there.entry(tags=("news",), born=number + int(later))))
    assert (run(here.tier.read(KEY)) is not None) is adopted
    run(there.save(KEY, there.entry(tags=("weather",), born=number - MICRO)))
    assert run(here.tier.read(KEY)) is not None, "another tag's purge concerns it not"


def test_a_restarted_process_adopts_its_own(run: Run, here: Process, there: Process) -> None:
    """A process that has purged nothing takes what an earlier one left, however old."""
    entry = there.entry(stored=START - 500, cost=3.0, born=1)
    run(there.save(KEY, entry))
    assert run(here.tier.read(KEY)) is not None


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
def test_a_purge_takes_what_is_known_here(run: Run, here: Process, cache: Any, soft: bool) -> None:
    """The keys that are known leave the cache, for the others' sake; a soft one tells nobody.

    That is all only of a call: under a path others may have stored what is not known here.
    """
    run(here.save(url("/a"), here.entry(PAGE)))
    run(here.save(KEY, here.entry()))
    purge = Purge(keys=("/a",), soft=soft)
    assert not run(here.tier.purge(purge, here.stamps.purge(purge), [url("/a")]))
    left = {name_of(KEY), name_of(url("/a"))} if soft else {name_of(KEY)}
    assert set(cache._cache) == left
    call = Purge(keys=(KEY,), soft=soft)
    assert run(here.tier.purge(call, here.stamps.purge(call), [KEY])) is not soft
    assert (name_of(KEY) in cache._cache) is soft


@pytest.mark.parametrize(
    ("purge", "known"),
    [
        (Purge(keys=("/a",)), False),
        (Purge(tags=("news",)), True),
        (Purge(keys=("/a",), tags=("news",)), True),
        (ALL, True),
    ],
    ids=["unknown", "tag", "key and tag", "all"],
)
def test_a_purge_of_what_others_may_have(
    run: Run, here: Process, cache: Any, purge: Purge, known: bool
) -> None:
    """It is not said to have reached the cache, which may have more; what is known leaves it."""
    run(here.save(url("/a"), here.entry(PAGE)))
    keys: list[Hashable] = [url("/a")] if known else []
    assert run(here.tier.purge(purge, here.stamps.purge(purge), keys)) is False
    assert (name_of(url("/a")) in cache._cache) is not known
    assert here.tier.reachable


# Notes of what URLs read


async def saved_note(process: Process, entry: Entry) -> Entry | None:
    await process.save(variant("a"), entry, url())
    return await process.tier.read(url())


def test_a_note_lives_as_long_as_the_variant(run: Run, here: Process) -> None:
    """Past in memory, in the cache it has the variant's end: so long others can learn of it."""
    here.store.publish(url(), here.note("host"))
    found = run(saved_note(here, here.entry(PAGE, error_until=START + 60)))
    assert (found.names, found.value) == (("host",), None)
    assert (found.stored, found.fresh_until, found.stale_until) == (START, START, START)
    assert found.error_until == START + 60
    held = here.store.glance(url())
    assert held is not None
    assert held.error_until == START


def test_notes_of_two_processes_become_one(run: Run, here: Process, there: Process) -> None:
    """Each has seen the URL read something else: the cache knows both, to the later end."""
    here.store.publish(url(), here.note("cookie a", "host"))
    there.store.publish(url(), there.note("header Accept", "host"))
    run(saved_note(there, there.entry(PAGE, error_until=START + 90)))
    found = run(saved_note(here, here.entry(PAGE, error_until=START + 60)))
    assert found.names == ("cookie a", "header Accept", "host")
    assert found.error_until == START + 90


def test_a_note_takes_the_place_of_a_value(run: Run, here: Process, there: Process) -> None:
    """Another process's answer from before anything was read gives way, even one that lasts."""
    here.store.publish(url(), here.note("host"))
    run(there.save(url(), there.entry(PAGE, error_until=START + 90)))
    found = run(saved_note(here, here.entry(PAGE)))
    assert (found.names, found.value) == (("host",), None)


def test_a_purged_note_in_the_cache_is_not_merged(run: Run, here: Process, time: Clock) -> None:
    """What a purge has ended teaches nobody."""
    here.store.publish(url(), here.note("cookie a"))
    run(saved_note(here, here.entry(PAGE)))
    here.stamps.purge(Purge(keys=("/a",)))
    time.now += SKEW + 0.1
    here.store.publish(url(), here.note("host"))
    found = run(saved_note(here, here.entry(PAGE)))
    assert found.names == ("host",)


@pytest.mark.parametrize("state", ["nothing", "a value", "a passing note", "purged"])
def test_where_there_is_no_note_none_is_saved(
    run: Run, here: Process, cache: Any, state: str
) -> None:
    """Only what memory knows now is told to others."""
    if state == "a value":
        here.store.publish(url(), here.entry(PAGE))
    elif state == "a passing note":
        here.store.publish(url(), here.entry(None, passing="reads body"))
    elif state == "purged":
        here.store.publish(url(), here.note("host"))
        here.stamps.purge(Purge(keys=("/a",)))
    assert run(saved_note(here, here.entry(PAGE))) is None
    assert list(cache._cache) == [name_of(variant("a"))]


def test_garbage_under_a_note_is_replaced(run: Run, here: Process, cache: Any) -> None:
    """What lies there and is no entry is counted, and written over."""
    here.store.publish(url(), here.note("host"))
    run(cache.set(name_of(url()), b"garbage"))
    found = run(saved_note(here, here.entry(PAGE)))
    assert found.names == ("host",)
    assert here.errors == 1


class Gated(aiocache.SimpleMemoryCache):  # type: ignore[misc]
    """Its first look-up, or its first write, waits until it is let go."""

    def __init__(self, holds: str) -> None:
        super().__init__()
        self.holds = holds
        self.began, self.go = asyncio.Event(), asyncio.Event()

    async def _hold(self, what: str) -> None:
        if what == self.holds and not self.began.is_set():
            self.began.set()
            await self.go.wait()

    async def _get(self, key: str, **rest: Any) -> Any:
        await self._hold("get")
        return await super()._get(key, **rest)

    async def _set(self, key: str, value: Any, **rest: Any) -> Any:
        await self._hold("set")
        return await super()._set(key, value, **rest)


def test_a_note_learned_during_the_save_is_not_written_over(run: Run, processes: Processes) -> None:
    """A slow save of a note that is outdated by then leaves the newer one in the cache."""
    slow = Gated("get")
    process = processes(slow, timeout=LIMIT)

    async def main() -> Entry | None:
        process.store.publish(url(), process.note("host"))
        first = asyncio.ensure_future(process.save(variant("a"), process.entry(PAGE), url()))
        await slow.began.wait()
        process.store.publish(url(), process.note("cookie a", "host"))
        second = asyncio.ensure_future(process.save(variant("a"), process.entry(PAGE), url()))
        await asyncio.sleep(0)
        slow.go.set()
        await asyncio.gather(first, second)
        return await process.tier.read(url())

    found = run(main())
    assert found.names == ("cookie a", "host")


def test_a_slow_write_does_not_land_after_its_successors(run: Run, processes: Processes) -> None:
    """Writes of one key reach the cache in the order in which they were published."""
    slow = Gated("set")
    process = processes(slow, timeout=LIMIT)
    older, newer = process.entry(replace(PAGE, body=b"older")), process.entry(PAGE)

    async def main() -> Entry | None:
        process.store.publish(url(), older)
        first = asyncio.ensure_future(process.save(url(), older))
        await slow.began.wait()
        process.store.publish(url(), newer)
        second = asyncio.ensure_future(process.save(url(), newer))
        await asyncio.sleep(0)
        slow.go.set()
        await asyncio.gather(first, second)
        return await process.tier.read(url())

    assert run(main()).value == PAGE


def test_what_is_outdated_before_it_is_written_is_not(run: Run, here: Process, cache: Any) -> None:
    """Where memory holds something newer by then, that is what the cache gets."""
    older, newer = here.entry(PAGE), here.entry(PAGE)
    here.store.publish(url(), newer)
    run(here.save(url(), older))
    assert not cache._cache
    run(here.save(url(), newer))
    assert run(here.tier.read(url())) == replace(newer, size=len(PAGE.body))


# A cache that fails


Act = Callable[[], Coroutine[Any, Any, Any]]


class Broken(aiocache.SimpleMemoryCache):  # type: ignore[misc]
    """Fails, whatever it is asked, as long as there is an ``act`` in its list."""

    def __init__(self, act: Act) -> None:
        super().__init__()
        self.acts = [act]
        self.asked: list[None] = []  # shared with the copy that is asked

    async def _get(self, *args: Any, **kwargs: Any) -> Any:
        self.asked.append(None)
        return await (self.acts[0]() if self.acts else super()._get(*args, **kwargs))

    async def _set(self, *args: Any, **kwargs: Any) -> Any:
        self.asked.append(None)
        return await (self.acts[0]() if self.acts else super()._set(*args, **kwargs))

    async def _delete(self, *args: Any, **kwargs: Any) -> Any:
        self.asked.append(None)
        return await (self.acts[0]() if self.acts else super()._delete(*args, **kwargs))


def raising(error: BaseException) -> Act:
    async def act() -> None:
        raise error

    return act


async def hanging() -> None:
    await asyncio.Event().wait()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.DEBUG, "aswr.store")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture
def tried_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next question after a failure begins a try."""
    monkeypatch.setattr(breaker_module, "TRY_FIRST", 0.0)


@pytest.fixture
def never_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No try is due as long as a test lasts."""
    monkeypatch.setattr(breaker_module, "TRY_FIRST", 3600.0)
    monkeypatch.setattr(breaker_module, "TRY_MOST", 3600.0)


ACTS = {
    "refused": raising(ConnectionRefusedError("no server")),
    "runtime": raising(RuntimeError("Event loop is closed")),
    "key": raising(KeyError("odd")),
    "cancelled": raising(asyncio.CancelledError()),
    "timeout": raising(TimeoutError()),
    "hanging": hanging,
}


@pytest.mark.usefixtures("tried_at_once")
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_a_failing_cache_is_a_miss(
    run: Run, processes: Processes, log: Callable[[], list[str]], act: Act
) -> None:
    """Invariant 8: errors and silence are absent, counted, and logged once until it is mended."""
    broken = Broken(act)
    process = processes(broken, timeout=0.05)
    purge = Purge(keys=(KEY,))

    async def main() -> None:
        assert await process.sent(KEY, process.entry()) is None
        await process.tier.remove(KEY, 0)
        await process.tried()
        assert (process.errors, len(broken.asked)) == (2, 2)
        assert not process.tier.reachable
        assert process.tier.stats()["store_reachable"] == 0
        assert len(log()) == 1
        assert log()[0].startswith("the cache backend (Broken) fails (")
        assert not await process.tier.purge(purge, process.stamps.tick(), [KEY])
        await process.tried()
        assert await process.claim(KEY) == Claim(Say.ALONE)
        await process.tried()
        assert (process.errors, len(broken.asked)) == (4, 4)
        broken.acts.clear()
        assert await process.tier.read(KEY) is None
        await process.tried()
        assert log()[1:] == ["the cache backend (Broken) answers again"]
        assert process.tier.reachable
        for _ in range(2):
            assert await process.sent(KEY, process.entry()) is not None
        assert await process.tier.purge(purge, process.stamps.tick(), [KEY])
        assert await process.tier.read(KEY) is None
        assert process.errors == 4
        broken.acts.append(act)
        await process.tier.remove(KEY, 0)
        await process.tier.remove(KEY, 0)
        await process.tried()
        assert len(log()) == 3
        assert process.errors == 6

    run(main())


@pytest.mark.usefixtures("never_tried")
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_an_outage_is_paid_for_once(run: Run, processes: Processes, act: Act) -> None:
    """While the breaker is open the cache is not asked, so nobody waits for its silence."""
    broken = Broken(act)
    process = processes(broken, timeout=0.05)

    async def main() -> None:
        assert await process.tier.read(KEY) is None
        broken.acts.clear()
        assert await process.sent(KEY, process.entry()) is None
        assert await process.claim(variant("a"), url()) == Claim(Say.ALONE)
        assert process.tier._trying is None

    run(main())
    assert (len(broken.asked), process.errors) == (1, 1)


@pytest.mark.usefixtures("never_tried")
def test_time_can_be_made_to_pass(run: Run, processes: Processes) -> None:
    """A test need not wait for the next try: it says how much time has passed, and when it is done
    waits for the answer.
    """
    broken = Broken(raising(ConnectionRefusedError("no server")))
    process = processes(broken)

    async def main() -> None:
        await process.tier.settle()
        await process.tier.read(KEY)
        broken.acts.clear()
        process.tier.hasten(3500.0)
        await process.tier.read(KEY)
        await process.tier.settle()
        assert not process.tier.reachable
        process.tier.hasten(100.0)
        await process.tier.read(KEY)
        assert not process.tier.reachable
        await process.tier.settle()
        assert process.tier.reachable

    run(main())


@pytest.mark.usefixtures("tried_at_once")
def test_nobody_waits_for_a_try(run: Run, processes: Processes) -> None:
    """While the cache is silent one question at a time finds out when it is over, and all
    others are answered at once; then it is used again.
    """
    broken = Broken(raising(ConnectionRefusedError("no server")))
    process = processes(broken, timeout=LIMIT)

    def all_ask() -> None:
        assert at_once(process.tier.read(KEY)) is None
        assert at_once(process.claim(variant("a"), url())) == Claim(Say.ALONE)
        assert at_once(process.save(KEY, process.entry())) is None
        assert at_once(process.tier.remove(KEY, 0)) is None
        assert at_once(process.tier.purge(Purge(keys=(KEY,)), 1, [KEY])) is False

    async def main() -> None:
        assert await process.tier.read(KEY) is None
        asked, go = asyncio.Event(), asyncio.Event()

        async def silent() -> None:
            asked.set()
            await go.wait()

        broken.acts[:] = [silent]
        all_ask()
        await asked.wait()
        all_ask()
        assert len(broken.asked) == 2
        broken.acts.clear()
        go.set()
        await process.tried()
        assert process.tier.reachable
        assert await process.sent(KEY, process.entry()) is not None
        assert len(broken.asked) == 4
        assert process.tier._trying is None

    run(main())
    assert process.errors == 1


@pytest.mark.usefixtures("tried_at_once")
def test_a_try_that_is_cut_short(run: Run, processes: Processes) -> None:
    """It says nothing of the cache, and the next question begins another."""
    broken = Broken(raising(ConnectionRefusedError("no server")))
    process = processes(broken, timeout=LIMIT)

    async def main() -> None:
        assert await process.tier.read(KEY) is None
        asked, go = asyncio.Event(), asyncio.Event()

        async def silent() -> None:
            asked.set()
            await go.wait()

        broken.acts[:] = [silent]
        assert await process.tier.read(KEY) is None
        await asked.wait()
        assert process.tier._trying is not None
        process.tier._trying.cancel()
        await process.tried()
        assert (process.errors, process.tier.reachable) == (1, False)
        broken.acts.clear()
        go.set()
        assert await process.tier.read(KEY) is None
        await process.tried()
        assert process.tier.reachable

    run(main())


@pytest.mark.usefixtures("tried_at_once")
def test_a_cache_that_cannot_be_opened(
    run: Run, processes: Processes, log: Callable[[], list[str]]
) -> None:
    """It is a miss, and is tried again."""
    tries: list[None] = []

    class Late(aiocache.SimpleMemoryCache):  # type: ignore[misc]
        def __init__(self) -> None:
            tries.append(None)
            if len(tries) < 3:
                raise OSError("no route")
            super().__init__()

    process = processes(Late)

    async def main() -> None:
        assert await process.sent(KEY, process.entry()) is None
        await process.tried()
        assert process.errors == len(tries) == 2
        assert await process.tier.read(KEY) is None
        await process.tried()
        assert process.tier.reachable
        assert await process.sent(KEY, process.entry()) is not None

    run(main())
    assert len(tries) == 3
    assert len(log()) == 2
    assert "no route" in log()[0]


def test_a_caller_who_leaves_is_let_go(run: Run, processes: Processes) -> None:
    """Who is cancelled while the cache is silent ends cancelled; it is no error, and goes on."""
    asked, go, ended = (asyncio.Event() for _ in range(3))

    async def silent() -> None:
        asked.set()
        await go.wait()
        ended.set()

    process = processes(Broken(silent), timeout=LIMIT)

    async def main() -> None:
        task = asyncio.ensure_future(process.tier.read(KEY))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()
        await ended.wait()

    run(main())
    assert process.errors == 0


@pytest.mark.usefixtures("tried_at_once")
def test_unanswered_questions_are_bounded(run: Run, processes: Processes) -> None:
    """What hangs is not cut off, so past so many nothing more is asked, until one is answered."""
    go = asyncio.Event()

    async def silent() -> None:
        await go.wait()

    broken = Broken(silent)
    process = processes(broken, timeout=0.01)

    async def main() -> None:
        assert await process.tier.read(KEY) is None
        for _ in range(MOST_HANGING + 2):
            assert await process.tier.read(KEY) is None
            await process.tried()
        assert len(broken.asked) == MOST_HANGING
        assert process.errors == MOST_HANGING + 3
        hanging = set(process.tier._hanging)
        go.set()
        await asyncio.wait(hanging)
        broken.acts.clear()
        assert await process.tier.read(KEY) is None
        await process.tried()
        assert await process.sent(KEY, process.entry()) is not None

    run(main())
    assert not process.tier._hanging


def test_what_memcached_does_not_answer_is_cut_off(run: Run, processes: Processes) -> None:
    """Its question ends with the limit, and with it its connection; nothing is left hanging."""
    ended = asyncio.Event()

    async def silent() -> None:
        try:
            await hanging()
        finally:
            ended.set()

    class MemcachedBackend(Broken):
        pass

    process = processes(MemcachedBackend(silent), timeout=0.01)

    async def main() -> None:
        assert await process.tier.read(KEY) is None
        async with asyncio.timeout(LIMIT):
            await ended.wait()

    run(main())
    assert process.errors == 1
    assert not process.tier._hanging


# What is too large for Memcached


class Small(MemcachedBackend):
    """Takes no more than ``most`` bytes, and says so as Memcached does."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = [most]  # shared with the copy that is asked, like the next
        self.refused: list[int] = []

    async def _set(self, key: str, value: bytes, ttl: float = 0, **rest: Any) -> bool:
        if len(value) > self.most[0]:
            self.refused.append(len(value))
            raise RuntimeError("set failed", b"SERVER_ERROR object too large for cache")
        await super(Noting, self)._set(key, value, ttl=ttl, **rest)
        return True


def large_page(size: int) -> Answer:
    return replace(PAGE, body=b"x" * size)


def test_what_is_too_large_is_known(
    run: Run, processes: Processes, log: Callable[[], list[str]]
) -> None:
    """It is no failure, one line says it, and what is as large is not sent again."""
    small = Small(3000)
    process = processes(small)
    for key in ("/a", "/b", "/c"):
        assert run(process.sent(url(key), process.entry(large_page(4000)))) is None
    assert len(small.refused) == 1
    assert run(process.sent(url(), process.entry(large_page(2000)))) is not None
    small.most[0] = 1000
    for _ in range(2):
        assert run(process.sent(url("/d"), process.entry(large_page(1500)))) is None
    assert len(small.refused) == 2
    assert run(process.sent(url(), process.entry(large_page(500)))) is not None
    assert (process.errors, process.tier.reachable) == (0, True)
    assert len(log()) == 1
    assert "(Small) does not take" in log()[0]


def test_what_is_too_large_leaves_no_older_one(run: Run, processes: Processes) -> None:
    """The entry that it comes after leaves the cache: nobody must take that for it."""
    small = Small(3000)
    process = processes(small)
    large = large_page(4000)
    run(process.save(url("/b"), process.entry(large)))
    assert run(process.sent(url("/a"), process.entry(PAGE))) is not None
    assert run(process.sent(url("/a"), process.entry(large))) is None
    assert not small._cache
    assert len(small.refused) == 1


class Mine:
    """Unpickling it would call something."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize(
    "data",
    [b"", b"garbage", b"\x91" * 100_000, "text", 5, ["a"], pickle.dumps("page"),
     pickle.dumps(Mine()), b"aswr" + b"\0" * 100],
    ids=lambda data: repr(data)[:20],
)  # fmt: skip
def test_garbage_is_absent_and_counted(run: Run, here: Process, cache: Any, data: Any) -> None:
    """Bytes that are no entry of this key are absent and counted, and the next save mends it."""
    run(cache.set(name_of(KEY), data))
    assert run(here.tier.read(KEY)) is None
    assert here.errors == 1
    assert here.tier.reachable, "it answers, whatever it says"
    assert run(here.sent(KEY, here.entry())) is not None
    assert here.errors == 1


@pytest.mark.parametrize("key", [KEY, url()], ids=["call", "page"])
def test_an_entry_under_another_s_key(run: Run, here: Process, cache: Any, key: Any) -> None:
    """An entry that was stored under another key is garbage under this one."""
    other = CallKey("shop:price", ("b",)) if key is KEY else url("/b")

    async def main() -> Entry | None:
        await here.save(other, here.entry("value" if key is KEY else PAGE))
        await cache.set(name_of(key), await cache.get(name_of(other)))
        return await here.tier.read(key)

    assert run(main()) is None
    assert here.errors == 1


def test_every_flipped_bit_is_absent(run: Run, here: Process, cache: Any) -> None:
    """One bit turned anywhere leaves nothing that is taken for an entry."""
    run(here.save(KEY, here.entry()))
    data = cache._cache[name_of(KEY)]

    async def main() -> None:
        for place in range(8 * len(data)):
            turned = bytearray(data)
            turned[place // 8] ^= 1 << place % 8
            cache._cache[name_of(KEY)] = bytes(turned)
            assert await here.tier.read(KEY) is None

    run(main())
    assert here.errors == 8 * len(data)
