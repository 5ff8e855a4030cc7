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
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from aswr import codec
from aswr.codec import Answer, Entry
from aswr.keys import CallKey, VariantKey, ViewKey, digest
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


def variant(value: object, base: ViewKey | None = None, name: str = "header Accept") -> VariantKey:
    return VariantKey(base or url(), (name,), (value,))


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
    assert names_of(variant(1, url("/a", "b=1"))) == ("/a", ("/a", "b=1"))


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
    known |= {
        f"{name} to one": (variant("one", key), tags)
        for name, (key, tags) in known.items()
        if isinstance(key, ViewKey)
    }
    dead = dead | {f"{name} to one" for name in dead if name != "call"}
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


# Variants of one URL

MOST = 4


@pytest.fixture
def few(time: Clock) -> Store:
    """A store of four variants to a URL."""
    return Store("shop", time, 1_000_000, max_variants=MOST)


def variants_in(store: Store, base: ViewKey | None = None) -> set[object]:
    """The values of a URL's variants in memory, which the index must know, and no others."""
    base = base or url()
    held = store.memory.keys()
    found = {key for key in held if isinstance(key, VariantKey) and key.base == base}
    assert set(store.keys_of(base)) == {base, *found}
    assert {key for key in store.variants(base.path) if isinstance(key, VariantKey)} >= found
    assert (base in store._urls) is bool(found)
    return {key.values[0] for key in found}


def fill(store: Store, *values: object, **changes: Any) -> None:
    for value in values:
        assert store.publish(variant(value), entry_of(store, value, **changes))


def test_the_keys_of_a_url(store: Store) -> None:
    """A URL's own key and its variants' are known; other URLs', and calls', are their own."""
    other = url("/a", "b=1")
    for key in (url(), variant(1), variant(2), variant(3, other), KEY):
        store.publish(key, entry_of(store))
    assert set(store.keys_of(url())) == {url(), variant(1), variant(2)}
    assert set(store.keys_of(other)) == {other, variant(3, other)}
    assert store.keys_of(url("/none")) == [url("/none")]
    assert store.keys_of(KEY) == [KEY]


def test_variants_are_known_under_their_path(store: Store) -> None:
    """A path's purge reaches every variant of each of its URLs, a URL's purge its own."""
    other = url("/a", "b=1")
    keys = [url(), variant(1), other, variant(1, other), variant(2, other)]
    for key in keys:
        store.publish(key, entry_of(store))
    assert set(store.variants("/a")) == set(keys)
    assert set(store.variants("/a", "")) == set(keys[:2])
    assert set(store.variants("/a", "b=1")) == set(keys[2:])


def test_a_new_variant_past_the_bound_is_stored_when_asked_for_twice(few: Store) -> None:
    """What is asked for once may be anybody's junk; twice, and it gets its place."""
    fill(few, *range(MOST))
    assert not few.publish(variant("new"), entry_of(few))
    assert variants_in(few) == set(range(MOST))
    assert few.publish(variant("new"), entry_of(few))
    assert len(variants_in(few)) == MOST
    assert "new" in variants_in(few)
    evicted = ({*range(MOST)} - variants_in(few)).pop()
    assert not few.publish(variant(evicted), entry_of(few)), "its place cost it one ask again"


def test_the_least_used_variant_makes_room(few: Store) -> None:
    """Of variants that all may still be served the one that is asked for least often goes."""
    fill(few, *range(MOST))
    for value in (0, 0, 0, 1, 3, 3):
        few.peek(variant(value))
    for _ in range(2):
        few.publish(variant("new"), entry_of(few))
    assert variants_in(few) == {0, 1, 3, "new"}


def test_of_equally_used_variants_the_last_to_come_makes_room(few: Store) -> None:
    """Who has been there for long, refreshed or not, is not displaced by a quarrel of newcomers."""
    fill(few, 3, 1, 2, 0)
    fill(few, 3)
    for _ in range(2):
        few.publish(variant("new"), entry_of(few, stored=START + 1))
    assert variants_in(few) == {1, 2, 3, "new"}


def test_looking_after_variants_is_no_use_of_them(few: Store) -> None:
    """A refresh reads its own entry without asking for it: that makes no variant popular."""
    fill(few, *range(MOST))
    for _ in range(3):
        few.glance(variant(2))
        few.publish(variant(2), entry_of(few, stored=START + 1))
    for value in (0, 1, 3):
        few.peek(variant(value))
    for _ in range(2):
        few.publish(variant("new"), entry_of(few))
    assert variants_in(few) == {0, 1, 3, "new"}


def test_an_ended_variant_goes_first_and_at_once(few: Store, time: Clock) -> None:
    """However often it was read: past its last deadline an entry holds no newcomer up."""
    fill(few, 0, 1, 3)
    few.publish(variant(2), entry_of(few, error_until=START + 30))
    for _ in range(3):
        few.peek(variant(2))
    time.now = START + 29
    assert not few.publish(variant("early"), entry_of(few))
    time.now = START + 30
    assert few.publish(variant("new"), entry_of(few))
    assert variants_in(few) == {0, 1, 3, "new"}


def test_a_purged_variant_goes_first_and_at_once(few: Store) -> None:
    """A tag's purge leaves its entries lying: they make room before any other."""
    fill(few, 0, 1, 2)
    fill(few, 3, tags=("news",))
    for _ in range(3):
        few.peek(variant(3))
    few.stamps.purge_tags(["news"])
    assert few.publish(variant("new"), entry_of(few))
    assert variants_in(few) == {0, 1, 2, "new"}


def test_a_known_variant_is_always_refreshed(few: Store) -> None:
    """The bound is for new ones: who has a place keeps it, with every refresh."""
    fill(few, *range(MOST))
    newer = entry_of(few, "newer")
    assert few.publish(variant(0), newer)
    assert few.peek(variant(0)) is newer
    assert variants_in(few) == set(range(MOST))


def test_a_flood_of_variants_asked_for_once_displaces_none(few: Store) -> None:
    """Invariant 7 of one URL: whatever a client sends, known variants keep hitting."""
    fill(few, *range(MOST))
    for number in range(5_000):
        assert not few.publish(variant(f"junk {number}"), entry_of(few))
    assert variants_in(few) == set(range(MOST))
    assert len(few.memory) == MOST


def test_who_is_in_demand_gets_in_through_a_flood(few: Store) -> None:
    """What is asked for again before as many others as there are places were is remembered."""
    fill(few, *range(MOST))
    few.publish(variant("new"), entry_of(few))
    for number in range(MOST - 1):
        few.publish(variant(f"junk {number}"), entry_of(few))
    assert few.publish(variant("new"), entry_of(few))
    few.publish(variant("late"), entry_of(few))
    for number in range(MOST):
        few.publish(variant(f"more junk {number}"), entry_of(few))
    assert not few.publish(variant("late"), entry_of(few)), "that was too long ago"


def test_each_url_has_its_own_bound(few: Store) -> None:
    """One URL's flood takes no other's places; URLs that read nothing and calls have no bound."""
    other = url("/a", "b=1")
    fill(few, *range(MOST))
    for number in range(MOST):
        assert few.publish(variant(number, other), entry_of(few))
        assert few.publish(url("/a", f"c={number}"), entry_of(few))
        assert few.publish(CallKey("shop:price", (number,)), entry_of(few))
    assert few.publish(url(), entry_of(few)), "its own key is no variant"
    assert variants_in(few) == variants_in(few, other) == set(range(MOST))


def test_what_reads_more_counts_for_the_same_url(few: Store) -> None:
    """Variants under fewer inputs are never found again: unused, they make room for the others."""
    fill(few, *range(MOST))
    for value in range(MOST):
        few.peek(variant(value))
    fresh = [variant(value, name="host") for value in range(MOST)]
    for key in fresh:
        few.publish(key, entry_of(few))
        assert few.publish(key, entry_of(few))
    assert len(few.keys_of(url())) == 1 + MOST


@pytest.mark.parametrize("way", ["discard", "sweep", "sweep all", "too large"])
def test_a_variant_that_leaves_frees_its_place(few: Store, way: str) -> None:
    """However an entry goes, the next one needs to be asked for only once."""
    fill(few, *range(MOST))
    if way == "discard":
        few.discard(variant(0))
    elif way == "sweep":
        few.sweep(variant(0), few.stamps.tick())
    elif way == "sweep all":
        few.sweep_all(few.stamps.purge_all())
    else:
        assert not few.publish(variant(0), entry_of(few, size=1_000_000))
    assert variants_in(few) == (set() if way == "sweep all" else {1, 2, 3})
    assert few.publish(variant("new"), entry_of(few))
    assert "new" in variants_in(few)


def test_a_bound_of_one(time: Clock) -> None:
    """A single variant may be replaced, too, and leaves nothing behind."""
    store = Store("shop", time, 1_000_000, max_variants=1)
    fill(store, "old")
    assert not store.publish(variant("new"), entry_of(store))
    assert store.publish(variant("new"), entry_of(store))
    assert variants_in(store) == {"new"}
    store.discard(variant("new"))
    assert (store._urls, store._paths) == ({}, {})


def test_what_is_too_large_displaces_no_variant(few: Store) -> None:
    """An answer that cannot be kept anyway makes nobody leave, however often it is asked for."""
    fill(few, *range(MOST))
    for _ in range(4):
        assert not few.publish(variant("huge"), entry_of(few, size=1_000_000))
    assert variants_in(few) == set(range(MOST))


def test_evicted_variants_leave_no_trace(time: Clock) -> None:
    """Under many URLs with many variants each, the indexes know what is in memory, no more."""
    store = Store("shop", time, 20_000)
    for number in range(50):
        for value in range(5):
            assert store.publish(variant(value, url(f"/{number}")), entry_of(store, size=500))
    held = set(store.memory.keys())
    assert 0 < len(held) < 40
    assert {key for known in store._urls.values() for key in known.keys} == held
    assert {key for path in store._paths for key in store.variants(path)} == held
    assert set(store._urls) == {key.base for key in held if isinstance(key, VariantKey)}
    assert all(known.keys for known in store._urls.values())


def test_a_flood_does_not_grow_the_memory(few: Store) -> None:
    """What is remembered of those asked for once is bounded like those that are stored."""
    fill(few, *range(MOST))
    for number in range(100):
        few.publish(variant(f"junk {number}"), entry_of(few))
    assert len(few._urls[url()]._once) == MOST


def test_variants_count_for_the_bytes_they_take(store: Store) -> None:
    """A variant's place in the indexes is paid for out of the bound on memory, as a URL's is."""
    store.publish(url(), entry_of(store, size=0))
    alone = store.memory.bytes
    store.publish(variant("x"), entry_of(store, size=0))
    assert store.memory.bytes - alone > alone


values_of_variants = st.integers(0, 8)
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("publish"), values_of_variants, st.sampled_from([10, 3_000, 30_000]),
            st.sampled_from([0.0, 5.0, 60.0]),
        ),
        st.tuples(st.sampled_from(["peek", "discard", "sweep", "note"]), values_of_variants),
        st.tuples(st.sampled_from(["purge path", "purge tag", "purge all", "sweep all", "tick"])),
    ),
    max_size=40,
)  # fmt: skip


@given(steps, st.integers(1, 3), st.sampled_from([12_000, 1_000_000]))
@settings(deadline=None, max_examples=300)
def test_any_sequence_keeps_the_bound_and_the_indexes(
    steps: list[Any], most: int, max_bytes: int
) -> None:
    """At no time are there more variants than the bound, nor an index that differs from memory."""
    time = Clock()
    store = Store("shop", time, max_bytes, max_variants=most)
    bases = url(), url("/z")
    for name, *rest in steps:
        key = variant(rest[0], bases[rest[0] % 2]) if rest else None
        held = store.memory.keys()
        live = {
            one for one in held
            if (found := store.glance(one)) is not None and time.now < found.error_until
        }  # fmt: skip
        if name == "publish":
            size, lifetime = rest[1:]
            ends = dict.fromkeys(("fresh_until", "stale_until", "error_until"), time.now + lifetime)
            entry = entry_of(store, size=size, tags=("news",), stored=time.now, **ends)
            known = store.memory.glance(key) is not None
            if store.publish(key, entry):
                assert store.glance(key) is entry
            elif size == 10:
                siblings = {one for one in live if getattr(one, "base", None) == key.base}
                assert not known
                assert len(siblings) == most, "there was room, or something ended"
                assert siblings <= set(store.memory.keys())
        elif name == "peek":
            store.peek(key)
        elif name == "discard":
            store.discard(key)
        elif name == "sweep":
            store.sweep(key, store.stamps.tick())
        elif name == "note":
            store.publish(key.base, entry_of(store, None, names=key.names))
        elif name == "purge path":
            store.stamps.purge_key("/a")
        elif name == "purge tag":
            store.stamps.purge_tags(["news"])
        elif name == "purge all":
            store.stamps.purge_all()
        elif name == "sweep all":
            store.sweep_all(store.stamps.tick())
        else:
            time.now += 4
        for base in bases:
            assert len(variants_in(store, base)) <= most
        known = {key for path in store._paths for key in store.variants(path)}
        assert known == set(store.memory.keys())
        assert store.memory.bytes <= max_bytes


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


# Notes of what URLs read


def note_of(store: Store, *names: str, **changes: Any) -> Entry:
    ends = dict.fromkeys(("fresh_until", "stale_until", "error_until"), START)
    return entry_of(store, None, **{**ends, "names": names, **changes})


async def saved_note(store: Store, entry: Entry, key: ViewKey | None = None) -> Entry | None:
    await store.save_note(key or url(), entry)
    return await store.fetch(key or url(), store.stamps.tick())


def test_a_note_lives_as_long_as_the_variant(shared: Store) -> None:
    """Past in memory, in the backend it has the variant's end: so long others can learn of it."""
    shared.publish(url(), note_of(shared, "host"))
    found = run(saved_note(shared, entry_of(shared, error_until=START + 60)))
    assert found is not None
    assert (found.names, found.value) == (("host",), None)
    assert (found.stored, found.fresh_until, found.stale_until) == (START, START, START)
    assert found.error_until == START + 60
    held = shared.glance(url())
    assert held is not None
    assert held.error_until == START


def test_notes_of_two_processes_become_one(shared: Store, foreign: Store) -> None:
    """Each has seen the URL read something else: the backend knows both, to the later end."""
    shared.publish(url(), note_of(shared, "cookie a", "host"))
    foreign.publish(url(), note_of(foreign, "header Accept", "host"))

    async def main() -> Entry | None:
        await foreign.save_note(url(), entry_of(foreign, error_until=START + 90))
        return await saved_note(shared, entry_of(shared, error_until=START + 60))

    found = run(main())
    assert found is not None
    assert found.names == ("cookie a", "header Accept", "host")
    assert found.error_until == START + 90


def test_a_note_takes_the_place_of_a_value(shared: Store, foreign: Store) -> None:
    """Another process's answer from before anything was read gives way, even one that lasts."""
    shared.publish(url(), note_of(shared, "host"))

    async def main() -> Entry | None:
        await foreign.save(url(), entry_of(foreign, "page", error_until=START + 90))
        return await saved_note(shared, entry_of(shared))

    found = run(main())
    assert found is not None
    assert (found.names, found.value) == (("host",), None)


def test_a_purged_note_in_the_backend_is_not_merged(shared: Store) -> None:
    """What a purge has ended teaches nobody."""

    async def main() -> Entry | None:
        shared.publish(url(), note_of(shared, "cookie a"))
        await shared.save_note(url(), entry_of(shared))
        shared.stamps.purge_key("/a")
        shared.publish(url(), note_of(shared, "host"))
        return await saved_note(shared, entry_of(shared))

    found = run(main())
    assert found is not None
    assert found.names == ("host",)


@pytest.mark.parametrize("state", ["nothing", "a value", "a passing note", "purged"])
def test_where_there_is_no_note_none_is_saved(
    shared: Store, backend: BaseCache, state: str
) -> None:
    """Only what memory knows now is told to others."""
    if state == "a value":
        shared.publish(url(), entry_of(shared))
    elif state == "a passing note":
        shared.publish(url(), entry_of(shared, None, passing="reads body"))
    elif state == "purged":
        shared.publish(url(), note_of(shared, "host"))
        shared.stamps.purge_key("/a")
    assert run(saved_note(shared, entry_of(shared))) is None
    assert not backend._cache


def test_garbage_under_a_note_is_replaced(shared: Store, backend: BaseCache) -> None:
    """What lies there and is no entry is counted, and written over."""
    shared.publish(url(), note_of(shared, "host"))

    async def main() -> Entry | None:
        await backend.set(digest("shop", url()), b"garbage")
        return await saved_note(shared, entry_of(shared))

    found = run(main())
    assert found is not None
    assert found.names == ("host",)
    assert shared.errors == 1


def test_a_note_learned_during_the_save_is_not_written_over(time: Clock) -> None:
    """A slow save of a note that is outdated by then leaves the newer one in the backend."""
    store = Store("shop", time, 1_000_000, slow := Gated())

    async def main() -> Entry | None:
        store.publish(url(), note_of(store, "host"))
        first = asyncio.ensure_future(store.save_note(url(), entry_of(store)))
        await slow.began.wait()
        store.publish(url(), note_of(store, "cookie a", "host"))
        second = asyncio.ensure_future(store.save_note(url(), entry_of(store)))
        await asyncio.sleep(0)
        slow.go.set()
        await asyncio.gather(first, second)
        return await store.fetch(url(), store.stamps.tick())

    found = run(main())
    assert found is not None
    assert found.names == ("cookie a", "host")


class Gated(aiocache.SimpleMemoryCache):  # type: ignore[misc]
    """Its first look-up waits until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.go = asyncio.Event(), asyncio.Event()

    async def _get(self, key: str, **rest: Any) -> Any:
        first = not self.began.is_set()
        self.began.set()
        if first:
            await self.go.wait()
        return await super()._get(key, **rest)


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
