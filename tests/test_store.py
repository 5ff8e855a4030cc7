"""Where entries live: purges as stamps, memory in front, an aiocache backend behind."""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

import aiocache
import pytest
from aiocache.base import BaseCache
from aiocache.serializers import JsonSerializer
from msgspec.structs import replace

from aswr import codec
from aswr.codec import Answer, Entry
from aswr.keys import CallKey, ViewKey, digest
from aswr.store import MOST_STAMPS, Stamps, Store, names_of

LIMIT = 10.0  # seconds after which anything here is a failure
START = 1000.0


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Clock:
    return Clock()


@pytest.fixture
def store(time: Clock) -> Store:
    return Store("shop", time, 1_000_000)


@pytest.fixture
def stamps(time: Clock) -> Stamps:
    return Stamps(time)


def url(path: str = "/a", query: str = "") -> ViewKey:
    return ViewKey("shop:view", "", path, query, "", ())


def entry_of(store: Store, value: Any = "value", **changes: Any) -> Entry:
    """An entry whose load began now and took no time."""
    fields: dict[str, Any] = {
        "stored": START, "fresh_until": START + 10, "stale_until": START + 20,
        "error_until": START + 60, "born": store.stamps.tick(), "size": 10,
    }  # fmt: skip
    return Entry(value=value, **{**fields, **changes})


KEY = CallKey("shop:price", ("a",))


# Stamps


def test_numbers_increase(stamps: Stamps) -> None:
    """Every number is greater than those before, on all threads, and none comes twice."""
    start, drawn = threading.Barrier(4), list[list[int]]()

    def draw() -> None:
        start.wait(LIMIT)
        drawn.append([stamps.tick() for _ in range(500)])

    threads = [threading.Thread(target=draw, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert all(numbers == sorted(numbers) for numbers in drawn)
    assert len({number for numbers in drawn for number in numbers}) == 2000


def test_names() -> None:
    """A page is purged by its path or its URL, a call by its own key."""
    assert names_of(url("/a", "b=1")) == ("/a", ("/a", "b=1"))
    assert names_of(KEY) == (KEY,)


@pytest.mark.parametrize(
    ("purge", "dead"),
    [
        (lambda stamps: stamps.purge_key("/a"), {"/a", "/a?b=1"}),
        (lambda stamps: stamps.purge_key(("/a", "b=1")), {"/a?b=1"}),
        (lambda stamps: stamps.purge_key(("/a", "")), {"/a"}),
        (lambda stamps: stamps.purge_key(KEY), {"call"}),
        (lambda stamps: stamps.purge_tags(["news"]), {"/a?b=1", "call"}),
        (lambda stamps: stamps.purge_tags(["sport", "weather"]), {"/z"}),
        (lambda stamps: stamps.purge_tags([]), set()),
        (lambda stamps: stamps.purge_all(), {"/a", "/a?b=1", "/z", "call"}),
    ],
    ids=["path", "url", "plain url", "call", "tag", "tags", "no tags", "all"],
)
def test_what_a_purge_concerns(
    stamps: Stamps, purge: Callable[[Stamps], object], dead: set[str]
) -> None:
    """A purge concerns what was born before it and bears the name, and nothing else."""
    known: dict[str, tuple[Hashable, tuple[str, ...]]] = {
        "/a": (url("/a"), ()),
        "/a?b=1": (url("/a", "b=1"), ("news", "politics")),
        "/z": (url("/z"), ("weather",)),
        "call": (KEY, ("news",)),
    }
    born = stamps.tick()
    purge(stamps)
    later = stamps.tick()
    for name, (key, tags) in known.items():
        assert (stamps.latest(key, tags) > born) is (name in dead)
        assert stamps.latest(key, tags) < later


def test_a_swept_stamp_is_forgotten(stamps: Stamps) -> None:
    """A stamp is forgotten when its entries are swept, unless it was set again since."""
    first = stamps.purge_key("/a")
    second = stamps.purge_key("/a")
    stamps.prune("/a", first)
    assert stamps.latest(url("/a"), ()) == second
    stamps.prune("/a", second)
    assert stamps.latest(url("/a"), ()) == 0
    stamps.prune("/a", second)


@pytest.mark.parametrize("kind", ["keys", "tags"])
def test_stamps_are_bounded(stamps: Stamps, kind: str) -> None:
    """Beyond so many stamps they become one that concerns everything: no purge is lost."""
    born = stamps.tick()
    for number in range(MOST_STAMPS + 1):
        if kind == "keys":
            stamps.purge_key(f"/{number}")
        else:
            stamps.purge_tags([f"tag-{number}"])
    assert stamps.latest(url("/0"), ("tag-0",)) > born
    assert stamps.latest(url("/other"), ()) > born
    assert len(stamps.keys) + len(stamps.tags) == 0
    assert stamps.latest(url("/0"), ("tag-0",)) < stamps.tick()


def test_the_latest_tag(stamps: Stamps) -> None:
    """The newest stamp of any tag is known, for loads that tell no tags."""
    assert stamps.latest_tag == 0
    stamps.purge_tags(["news", "weather"])
    after = stamps.tick()
    stamps.purge_key("/a")
    assert stamps.latest(url("/z"), ("weather",)) == stamps.latest_tag == after - 1


def test_purging_all_forgets_the_rest(stamps: Stamps) -> None:
    """One stamp stands for all the others after everything was purged."""
    stamps.purge_key("/a")
    stamps.purge_tags(["news"])
    born = stamps.tick()
    stamps.purge_all()
    assert not stamps.keys
    assert not stamps.tags
    assert stamps.latest(url("/b"), ()) > born


class Interrupting(str):
    """A name that, when it is looked up, gives way to another thread's purge."""

    def __new__(cls, name: str, purge: Callable[[], object]) -> "Interrupting":
        self = super().__new__(cls, name)
        self.purge = purge
        return self

    purge: Callable[[], object]

    def __hash__(self) -> int:
        self.purge()
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)


def test_a_reader_between_two_purges(stamps: Stamps) -> None:
    """Stamps that are replaced by a general one while a reader looks are not missed by him."""
    born = stamps.tick()
    stamps.purge_tags(["news"])
    assert stamps.latest(url(), (Interrupting("news", stamps.purge_all),)) > born


# Memory


def test_publish_and_peek(store: Store) -> None:
    """What is published is read until it is discarded, the same object."""
    assert store.peek(KEY) is None
    entry = entry_of(store)
    assert store.publish(KEY, entry)
    assert store.peek(KEY) is entry
    store.discard(KEY)
    assert store.peek(KEY) is None


def test_a_purge_takes_effect_at_once(store: Store) -> None:
    """A purged entry is gone the moment the stamp is set, before anything is swept."""
    store.publish(KEY, entry_of(store, tags=("news",)))
    store.stamps.purge_tags(["news"])
    assert store.memory.peek(KEY) is not None
    assert store.peek(KEY) is None


def test_a_load_that_began_before_a_purge(store: Store) -> None:
    """Invariant 5: what was born before a purge is not published after it."""
    early = entry_of(store)
    store.stamps.purge_key(KEY)
    assert not store.publish(KEY, early)
    assert store.peek(KEY) is None
    late = entry_of(store)
    assert store.publish(KEY, late)
    assert store.peek(KEY) is late


def test_older_never_overwrites_newer(store: Store) -> None:
    """Invariant 5: a slower, older load leaves the newer entry alone; a newer one replaces it."""
    older, newer, newest = entry_of(store), entry_of(store), entry_of(store)
    assert store.publish(KEY, newer)
    assert not store.publish(KEY, older)
    assert store.peek(KEY) is newer
    assert store.publish(KEY, newest)
    assert store.peek(KEY) is newest


def test_variants(store: Store) -> None:
    """The keys under a path are known, of every query or of one, until they are discarded."""
    keys = [url("/a"), url("/a", "b=1"), url("/a", "b=2"), url("/z")]
    for key in keys:
        store.publish(key, entry_of(store))
    store.publish(KEY, entry_of(store))
    assert sorted(store.variants("/a")) == keys[:3]
    assert store.variants("/a", "b=1") == [keys[1]]
    assert store.variants("/a", "") == [keys[0]]
    assert store.variants("/none") == []
    store.discard(keys[1])
    assert sorted(store.variants("/a")) == [keys[0], keys[2]]


def test_sweeping(store: Store) -> None:
    """A sweep drops what was born before its purge, and leaves what was published since."""
    keys = [url("/a"), url("/z"), KEY]
    for key in keys:
        store.publish(key, entry_of(store, "old"))
    number = store.stamps.purge_all()
    later = entry_of(store, "new")
    store.publish(keys[1], later)
    store.sweep_all(number)
    assert store.memory.keys() == [keys[1]]
    assert store.variants("/a") == []
    assert store.variants("/z") == [keys[1]]
    store.sweep(keys[1], number)
    assert store.peek(keys[1]) is later
    store.sweep(keys[1], store.stamps.tick())
    store.sweep(keys[1], store.stamps.tick())
    assert store.memory.keys() == []


def test_what_is_evicted_is_no_variant(time: Clock) -> None:
    """An entry that made room for others is no longer known under its path."""
    store = Store("shop", time, 20_000)
    for number in range(100):
        assert store.publish(url(f"/{number}"), entry_of(store, size=1000))
    known = {key for number in range(100) for key in store.variants(f"/{number}")}
    assert known == set(store.memory.keys())
    assert 0 < len(known) < 20


def test_what_is_too_large(time: Clock) -> None:
    """An entry that does not fit is not published, and its old one is no longer a variant."""
    store, key = Store("shop", time, 20_000), url("/a")
    assert store.publish(key, entry_of(store))
    assert not store.publish(key, entry_of(store, size=20_000))
    assert store.peek(key) is None
    assert store.variants("/a") == []


def test_use_is_noted(store: Store) -> None:
    """An entry is in use when it was read since it was last published."""
    store.publish(KEY, entry_of(store))
    assert not store.used(KEY)
    store.peek(KEY)
    assert store.used(KEY)
    store.publish(KEY, entry_of(store))
    assert not store.used(KEY)


def test_a_forked_child_starts_anew(store: Store) -> None:
    """What a child takes over is empty, numbers on its own, and is not locked for ever."""
    store.publish(url(), entry_of(store))
    epoch = store.stamps.epoch
    store.stamps.purge_key("/z")
    purged_at = store.stamps.purged_at
    with store.stamps._lock:  # as another thread of the parent may have, at the fork
        store.forget()  # what the runtime calls in the child
        store.stamps.purge_key("/a")
    assert store.peek(url()) is None
    assert store.variants("/a") == []
    assert store.stamps.epoch != epoch
    assert store.stamps.purged_at == purged_at
    entry = entry_of(store)
    assert store.publish(KEY, entry)
    assert store.peek(KEY) is entry


# The backend


@pytest.fixture
def backend() -> aiocache.SimpleMemoryCache:
    return aiocache.SimpleMemoryCache()


@pytest.fixture
def shared(time: Clock, backend: BaseCache) -> Store:
    return Store("shop", time, 1_000_000, backend)


def run(test: Coroutine[Any, Any, Any]) -> Any:
    async def limited() -> Any:
        return await asyncio.wait_for(test, LIMIT)

    return asyncio.run(limited())


async def sent(store: Store, key: Hashable, entry: Entry) -> Entry | None:
    await store.save(key, entry)
    return await store.fetch(key, store.stamps.tick())


@pytest.mark.parametrize(
    "value",
    [None, 0, "ä", b"\xff", [1, {"a": 2.5}], Answer(200, (("A", "b"),), b"\0<p>\xff")],
    ids=repr,
)
def test_what_is_saved_is_fetched(shared: Store, value: Any) -> None:
    """An entry comes back from the backend as it went in, its size in bytes aside."""
    entry = entry_of(shared, value, tags=("news",), names=("host",), strict=True, cost=0.5)
    found = run(sent(shared, KEY, entry))
    assert found == replace(entry, size=found.size)
    assert shared.errors == 0
    assert shared.shared


def test_bytes_in_bytes_out(shared: Store, backend: BaseCache) -> None:
    """The backend sees bytes under a digest of the key, and no object of ours."""
    run(shared.save(KEY, entry_of(shared)))
    assert list(backend._cache) == [digest("shop", KEY)]
    assert all(type(data) is bytes for data in backend._cache.values())


def test_without_a_backend(store: Store) -> None:
    """A store in memory alone is not shared."""
    assert not store.shared


def test_what_is_not_there(shared: Store) -> None:
    """A key that the backend does not know is absent, and that is no error."""
    assert run(shared.fetch(KEY, 1)) is None
    assert shared.errors == 0


def test_what_is_removed(shared: Store) -> None:
    """A removed entry is absent, and removing what is not there is no error."""

    async def main() -> Entry | None:
        await shared.save(KEY, entry_of(shared))
        await shared.remove([url("/none"), KEY])
        return await shared.fetch(KEY, 1)

    assert run(main()) is None
    assert shared.errors == 0


def test_it_is_kept_until_its_last_deadline(time: Clock) -> None:
    """The backend keeps an entry until ``error_until``; one past it is not sent at all."""
    kept: list[float] = []

    class Noting(aiocache.SimpleMemoryCache):  # type: ignore[misc]
        async def _set(self, key: str, value: bytes, ttl: float = 0, **_: Any) -> bool:
            kept.append(ttl)
            return True

    store = Store("shop", time, 1_000_000, Noting())
    time.now = START + 12
    run(store.save(KEY, entry_of(store)))
    time.now = START + 60
    run(store.save(KEY, entry_of(store)))
    assert kept == [48.0]


def test_a_result_that_no_bytes_can_carry(shared: Store, backend: BaseCache) -> None:
    """A result that the codec cannot carry is not sent, and that is no error."""
    run(shared.save(KEY, entry_of(shared, object())))
    run(shared.save(KEY, entry_of(shared, (1, 2))))
    run(shared.save(KEY, entry_of(shared, "a", tags=("\ud800",))))
    assert not backend._cache
    assert shared.errors == 0


def test_the_user_s_cache_is_his(time: Clock) -> None:
    """The cache object keeps its own serializer and its own data; only our keys are added."""
    given = aiocache.SimpleMemoryCache(serializer=JsonSerializer(), namespace="mine:")
    store = Store("shop", time, 1_000_000, given)

    async def main() -> tuple[Any, Entry | None]:
        await given.set("a", {"b": 1})
        found = await sent(store, KEY, entry_of(store))
        return await given.get("a"), found

    value, found = run(main())
    assert value == {"b": 1}
    assert found is not None
    assert isinstance(given.serializer, JsonSerializer)
    assert sorted(given._cache) == sorted(["mine:a", "mine:" + digest("shop", KEY)])


def test_a_factory(time: Clock) -> None:
    """A factory is called once, at first use, on the loop, and its cache closed at the end."""
    made: list[Any] = []

    class Closing(aiocache.SimpleMemoryCache):  # type: ignore[misc]
        closed = 0

        async def _close(self, *_: Any, **__: Any) -> None:
            type(self).closed += 1

    def factory() -> Any:
        made.append(asyncio.get_running_loop())
        return Closing()

    store = Store("shop", time, 1_000_000, factory)
    assert made == []
    assert store.shared

    async def main() -> None:
        assert await sent(store, KEY, entry_of(store)) is not None
        assert made == [asyncio.get_running_loop()]
        await store.close()
        await store.close()

    run(main())
    assert len(made) == 1
    assert Closing.closed == 1


def test_two_apps_share_a_backend(time: Clock, backend: BaseCache) -> None:
    """Apps of different names never see each other's entries."""
    one, other = (Store(name, time, 1_000_000, backend) for name in ("shop", "blog"))

    async def main() -> Entry | None:
        await one.save(KEY, entry_of(one))
        return await other.fetch(KEY, 1)

    assert run(main()) is None


# Purges and the backend


@pytest.mark.parametrize(
    "purge",
    [
        lambda stamps: stamps.purge_key("/a"),
        lambda stamps: stamps.purge_key(("/a", "b=1")),
        lambda stamps: stamps.purge_tags(["news"]),
        lambda stamps: stamps.purge_all(),
    ],
    ids=["path", "url", "tag", "all"],
)
def test_a_purged_entry_is_not_fetched(shared: Store, purge: Callable[[Stamps], object]) -> None:
    """What was purged here does not come back from the backend; what was loaded since does."""
    key = url("/a", "b=1")
    old = entry_of(shared, "old", tags=("news",))
    purge(shared.stamps)
    assert run(sent(shared, key, old)) is None
    found = run(sent(shared, key, entry_of(shared, "new", tags=("news",))))
    assert found is not None
    assert found.value == "new"


def test_another_purge_leaves_it_alone(shared: Store) -> None:
    """A purge of something else takes nothing of our own from the backend."""
    entry = entry_of(shared)
    shared.stamps.purge_key("/z")
    shared.stamps.purge_tags(["weather"])
    assert run(sent(shared, url("/a"), entry)) is not None


@pytest.fixture
def foreign(time: Clock, backend: BaseCache) -> Store:
    """Another process at the same backend."""
    return Store("shop", time, 1_000_000, backend)


def taken_over(foreign: Store, store: Store, entry: Entry) -> Entry | None:
    async def main() -> Entry | None:
        await foreign.save(KEY, entry)
        found: Entry | None = await store.fetch(KEY, 77)
        return found

    found: Entry | None = run(main())
    return found


def test_an_entry_of_another_process(shared: Store, foreign: Store) -> None:
    """Another process's entry is adopted under a number of our own, since its say nothing here."""
    found = taken_over(foreign, shared, entry_of(foreign, born=10**6))
    assert found is not None
    assert found.born == 77
    assert found.value == "value"


@pytest.mark.parametrize(
    ("stored", "cost", "adopted"),
    [
        (START - 1, 0.0, False),  # over before the purge
        (START, 0.0, False),
        (START + 1, 2.0, False),  # its load began before the purge
        (START + 1, 1.0, False),
        (START + 1, 0.5, True),
        (START + 1, 0.0, True),
    ],
)
def test_an_entry_of_another_process_after_a_purge(
    shared: Store, foreign: Store, stored: float, cost: float, adopted: bool
) -> None:
    """Another process's entry is adopted only if its load began after the last purge here."""
    shared.stamps.purge_tags(["anything"])
    entry = entry_of(foreign, stored=stored, cost=cost, born=10**6)
    assert (taken_over(foreign, shared, entry) is not None) is adopted


def test_a_restarted_process_adopts_its_own(shared: Store, foreign: Store) -> None:
    """A process that has purged nothing takes what an earlier one left, however old."""
    entry = entry_of(foreign, stored=START - 500)
    assert taken_over(foreign, shared, replace(entry, cost=3.0)) is not None


# A backend that fails


Act = Callable[[], Coroutine[Any, Any, Any]]


class Broken(aiocache.SimpleMemoryCache):  # type: ignore[misc]
    """Fails, whatever it is asked, as long as there is an ``act`` in its list."""

    def __init__(self, act: Act) -> None:
        super().__init__()
        self.acts = [act]

    async def _get(self, *args: Any, **kwargs: Any) -> Any:
        return await (self.acts[0]() if self.acts else super()._get(*args, **kwargs))

    async def _set(self, *args: Any, **kwargs: Any) -> Any:
        return await (self.acts[0]() if self.acts else super()._set(*args, **kwargs))

    async def _delete(self, *args: Any, **kwargs: Any) -> Any:
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


@pytest.mark.parametrize(
    "act",
    [
        raising(ConnectionRefusedError("no Redis")),
        raising(RuntimeError("Event loop is closed")),
        raising(KeyError("odd")),
        raising(asyncio.CancelledError()),
        raising(TimeoutError()),
        hanging,
    ],
    ids=["refused", "runtime", "key", "cancelled", "timeout", "hanging"],
)
def test_a_failing_backend_is_a_miss(time: Clock, log: Callable[[], list[str]], act: Act) -> None:
    """Invariant 8: errors and silence are absent, counted, and logged once until it is mended."""
    broken = Broken(act)
    store = Store("shop", time, 1_000_000, broken)

    async def main() -> None:
        async with asyncio.timeout(4):  # less than aiocache's own limit for a single call
            assert await sent(store, KEY, entry_of(store)) is None
            await store.remove([KEY])
        assert store.errors == 3
        assert len(log()) == 1
        assert log()[0].startswith("the cache backend fails (")
        broken.acts.clear()
        for _ in range(2):
            assert await sent(store, KEY, entry_of(store)) is not None
        assert log()[1:] == ["the cache backend answers again"]
        broken.acts.append(act)
        await store.remove([KEY])
        await store.remove([KEY])
        assert len(log()) == 3
        assert store.errors == 5

    run(main())


def test_a_factory_that_fails(time: Clock, log: Callable[[], list[str]]) -> None:
    """A backend that cannot even be made is a miss, and is tried again."""
    tries: list[None] = []

    def factory() -> Any:
        tries.append(None)
        if len(tries) < 3:
            raise OSError("no route")
        return aiocache.SimpleMemoryCache()

    store = Store("shop", time, 1_000_000, factory)

    async def main() -> None:
        assert await sent(store, KEY, entry_of(store)) is None
        assert store.errors == 2
        assert await sent(store, KEY, entry_of(store)) is not None

    run(main())
    assert len(log()) == 2
    assert "no route" in log()[0]


def test_a_caller_who_leaves_is_let_go(time: Clock) -> None:
    """A task that is cancelled while the backend is silent ends cancelled; that is no error."""
    asked = asyncio.Event()

    async def silent() -> None:
        asked.set()
        await asyncio.Event().wait()

    store = Store("shop", time, 1_000_000, Broken(silent))

    async def main() -> None:
        task = asyncio.create_task(store.fetch(KEY, 1))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert store.errors == 0


@pytest.mark.parametrize(
    "data", [b"", b"garbage", b"\x91" * 100_000, "text", 5, ["a"], b"\x80\x04K\x01."], ids=repr
)
def test_garbage_is_absent_and_counted(shared: Store, backend: BaseCache, data: Any) -> None:
    """Bytes that are no entry of this key are absent and counted, and the next save mends it."""

    async def main() -> Entry | None:
        await backend.set(digest("shop", KEY), data)
        assert await shared.fetch(KEY, 1) is None
        assert shared.errors == 1
        return await sent(shared, KEY, entry_of(shared))

    assert run(main()) is not None
    assert shared.errors == 1


def test_an_entry_under_another_s_key(shared: Store, backend: BaseCache) -> None:
    """An entry that was stored under another key is garbage under this one."""
    name = digest("shop", KEY)
    data = codec.encode(digest("shop", url()), entry_of(shared), shared.stamps.epoch)

    async def main() -> Entry | None:
        await backend.set(name, data)
        return await shared.fetch(KEY, 1)

    assert run(main()) is None
    assert shared.errors == 1


def test_a_slow_write_does_not_land_after_its_successors(time: Clock) -> None:
    """Writes of one key reach the backend in the order in which they were published."""

    began, go = asyncio.Event(), asyncio.Event()

    class Slow(aiocache.SimpleMemoryCache):  # type: ignore[misc]
        """Its first write waits until it is let go."""

        async def _set(self, key: str, value: Any, **rest: Any) -> Any:
            first, self.busy = not hasattr(self, "busy"), True
            if first:
                began.set()
                await go.wait()
            return await super()._set(key, value, **rest)

    store = Store("shop", time, 1_000_000, Slow())

    async def main() -> Entry | None:
        older, newer = entry_of(store, "older"), entry_of(store, "newer")
        store.publish(url(), older)
        first = asyncio.ensure_future(store.save(url(), older))
        await began.wait()
        store.publish(url(), newer)
        second = asyncio.ensure_future(store.save(url(), newer))
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(first, second)
        return await store.fetch(url(), store.stamps.tick())

    found = run(main())
    assert found is not None
    assert found.value == "newer"
