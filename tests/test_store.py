"""Where entries live in a process: memory with indexes, judged by what was purged and doubted."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from aswr.codec import Answer, Entry
from aswr.keys import CallKey, VariantKey, ViewKey
from aswr.stamps import Purge
from aswr.store import Store

START = 1000.0
ALL = Purge(everything=True)


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
    return Store(time, 1_000_000)


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
PAGE = Answer(200, (("Content-Type", "text/html"),), b"<p>")


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
    store.stamps.purge(Purge(tags=("news",)))
    assert store.memory.peek(KEY) is not None
    assert store.peek(KEY) is None


def test_a_load_that_began_before_a_purge(store: Store) -> None:
    """Invariant 5: what was born before a purge is not published after it."""
    early = entry_of(store)
    store.stamps.purge(Purge(keys=(KEY,)))
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
    number = store.stamps.purge(ALL)
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
    store = Store(time, 20_000)
    for number in range(100):
        assert store.publish(url(f"/{number}"), entry_of(store, size=1000))
    known = {key for number in range(100) for key in store.variants(f"/{number}")}
    assert known == set(store.memory.keys())
    assert 0 < len(known) < 20


def test_what_is_too_large(time: Clock) -> None:
    """An entry that does not fit is not published, and its old one is no longer a variant."""
    store, key = Store(time, 20_000), url("/a")
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
    """What a child takes over is empty, knows what was purged, and is not locked for ever."""
    early = entry_of(store)
    store.publish(url(), early)
    store.stamps.distrust()
    store.confirm(url())
    number = store.stamps.purge(Purge(keys=("/z",)))
    with store.stamps._lock:  # as another thread of the parent may have, at the fork
        store.forget()  # what the runtime calls in the child
        store.stamps.purge(Purge(keys=("/y",)))
    assert store.peek(url()) is None
    assert store.variants("/a") == []
    assert store._confirmed == {}
    assert store.stamps.latest(url("/z"), ()) == number
    store.publish(url(), early)
    assert store.suspects(url(), early.born), "the parent had compared it, not the child"
    entry = entry_of(store)
    assert store.publish(KEY, entry)
    assert store.peek(KEY) is entry


# Soft purges


def is_stale(store: Store, key: Any, entry: Entry) -> bool:
    """Is it there, for readers and lookers alike, and to be renewed at once; or as it was?"""
    found, seen = store.peek(key), store.glance(key)
    assert found is not None
    assert found == seen
    if found.fresh_until == entry.fresh_until:
        assert found == entry
        return False
    assert found == replace(entry, fresh_until=entry.stored)
    return True


@pytest.mark.parametrize("value", ["value", PAGE], ids=["call", "page"])
@pytest.mark.parametrize(
    "purge", [Purge(tags=("news",)), Purge(keys=("/a",)), ALL], ids=["tag", "path", "all"]
)
def test_a_soft_purge_ends_freshness_alone(store: Store, purge: Purge, value: Any) -> None:
    """What it concerns is served until its deadlines, as stale, until a newer one is there."""
    entry, other = entry_of(store, value, tags=("news",)), entry_of(store, value)
    store.publish(url(), entry)
    store.publish(url("/z"), other)
    assert not is_stale(store, url(), entry)
    store.stamps.purge(purge._replace(soft=True))
    assert is_stale(store, url(), entry)
    assert is_stale(store, url("/z"), other) is (purge is ALL)
    newer = entry_of(store, value, tags=("news",))
    assert store.publish(url(), newer)
    assert not is_stale(store, url(), newer)


def test_a_load_that_began_before_a_soft_purge(store: Store) -> None:
    """Invariant 5: it may be stored and served once more, and does not count as fresh."""
    early = entry_of(store)
    store.stamps.purge(Purge(keys=(KEY,), soft=True))
    assert store.publish(KEY, early)
    assert is_stale(store, KEY, early)


def test_a_hard_purge_outranks_a_soft_one(store: Store) -> None:
    """What is dead stays so, whatever is purged softly before or after."""
    store.publish(KEY, entry_of(store))
    store.stamps.purge(ALL._replace(soft=True))
    store.stamps.purge(Purge(keys=(KEY,)))
    store.stamps.purge(ALL._replace(soft=True))
    assert store.peek(KEY) is None
    assert store.glance(KEY) is None


# Doubt


@pytest.mark.parametrize("value", ["value", PAGE], ids=["call", "page"])
def test_what_is_in_doubt_is_stale_until_it_is_compared(store: Store, value: Any) -> None:
    """It is served, as stale, until it is confirmed, or the next doubt comes."""
    entry = entry_of(store, value)
    store.publish(KEY, entry)
    assert not store.suspects(KEY, entry.born)
    for _ in range(2):
        store.stamps.distrust()
        assert store.suspects(KEY, entry.born)
        assert is_stale(store, KEY, entry)
        store.confirm(KEY)
        assert not store.suspects(KEY, entry.born)
        assert not is_stale(store, KEY, entry)


def test_what_comes_after_a_doubt_is_in_none(store: Store) -> None:
    """Who began to load when word was heard again has nothing to be compared with."""
    store.publish(KEY, entry_of(store))
    store.stamps.distrust()
    late = entry_of(store)
    store.publish(KEY, late)
    assert not store.suspects(KEY, late.born)
    assert not is_stale(store, KEY, late)


def test_each_key_is_compared_for_itself(store: Store) -> None:
    """What one entry was compared with says nothing of another."""
    one, other = entry_of(store), entry_of(store)
    store.publish(url("/a"), one)
    store.publish(url("/z"), other)
    store.stamps.distrust()
    store.confirm(url("/a"))
    assert not is_stale(store, url("/a"), one)
    assert is_stale(store, url("/z"), other)


@pytest.mark.parametrize("way", ["publish", "discard", "sweep"])
def test_a_comparison_is_of_the_entry_that_is_there(store: Store, way: str) -> None:
    """What takes the place of a compared entry, from before the doubt as well, is in doubt."""
    first, second = entry_of(store, "first"), entry_of(store, "second")
    store.publish(KEY, first)
    store.stamps.distrust()
    store.confirm(KEY)
    if way == "discard":
        store.discard(KEY)
    elif way == "sweep":
        store.sweep(KEY, store.stamps.tick())
    store.publish(KEY, second)
    assert is_stale(store, KEY, second)


def test_what_is_not_there_is_not_confirmed(store: Store, time: Clock) -> None:
    """What is known of comparisons is of entries in memory, and leaves with them."""
    store.confirm(KEY)
    store.stamps.distrust()
    store.confirm(KEY)
    assert store._confirmed == {}
    small = Store(time, 20_000)
    small.stamps.distrust()
    for number in range(100):
        small.publish(url(f"/{number}"), entry_of(small, size=1000))
        small.confirm(url(f"/{number}"))
    assert set(small._confirmed) == set(small.memory.keys())


def test_a_confirmed_entry_is_not_above_purges(store: Store) -> None:
    """That the shared store had nothing newer does not outlive a purge, hard or soft."""
    entry = entry_of(store)
    store.publish(KEY, entry)
    store.stamps.distrust()
    store.confirm(KEY)
    store.stamps.purge(ALL._replace(soft=True))
    assert is_stale(store, KEY, entry)
    store.stamps.purge(ALL)
    assert store.peek(KEY) is None


def test_what_lies_there_in_truth(store: Store) -> None:
    """The original of an entry can be had, purged, in doubt or not; that is no use of it."""
    entry = entry_of(store, PAGE)
    assert store.original(url()) is None
    store.publish(url(), entry)
    store.stamps.distrust()
    assert store.original(url()) == entry
    store.stamps.purge(ALL)
    assert store.original(url()) == entry
    assert not store.used(url())


def test_while_all_is_shut_nothing_is_served(store: Store) -> None:
    """Neither what is there nor what is loaded; afterwards both are, the newest of each."""
    entry, newer = entry_of(store), entry_of(store)
    store.publish(KEY, entry)
    store.stamps.close_down(True)
    assert store.peek(KEY) is None
    assert store.glance(KEY) is None
    assert store.publish(url(), newer)
    assert store.peek(url()) is None
    store.stamps.close_down(False)
    assert store.peek(KEY) is entry
    assert store.peek(url()) is newer


# Variants of one URL

MOST = 4


@pytest.fixture
def few(time: Clock) -> Store:
    """A store of four variants to a URL."""
    return Store(time, 1_000_000, max_variants=MOST)


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
    few.stamps.purge(Purge(tags=("news",)))
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


@pytest.mark.parametrize("fewer", [(), (("host",),)], ids=["forgotten", "remembered"])
def test_what_nobody_looks_under_makes_room_at_once(
    few: Store, fewer: tuple[tuple[str, ...], ...]
) -> None:
    """Variants under inputs that the URL's note no longer knows are found by nobody."""
    for value in range(MOST):
        few.publish(variant(value, name="host"), entry_of(few))
    few.publish(url(), entry_of(few, None, names=("header Accept",), fewer=fewer))
    assert few.publish(variant("new"), entry_of(few)) is (not fewer)


@pytest.mark.parametrize("way", ["discard", "sweep", "sweep all", "too large"])
def test_a_variant_that_leaves_frees_its_place(few: Store, way: str) -> None:
    """However an entry goes, the next one needs to be asked for only once."""
    fill(few, *range(MOST))
    if way == "discard":
        few.discard(variant(0))
    elif way == "sweep":
        few.sweep(variant(0), few.stamps.tick())
    elif way == "sweep all":
        few.sweep_all(few.stamps.purge(ALL))
    else:
        assert not few.publish(variant(0), entry_of(few, size=1_000_000))
    assert variants_in(few) == (set() if way == "sweep all" else {1, 2, 3})
    assert few.publish(variant("new"), entry_of(few))
    assert "new" in variants_in(few)


def test_a_bound_of_one(time: Clock) -> None:
    """A single variant may be replaced, too, and leaves nothing behind."""
    store = Store(time, 1_000_000, max_variants=1)
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
    store = Store(time, 20_000)
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
        st.tuples(
            st.sampled_from(["peek", "discard", "sweep", "note", "confirm"]), values_of_variants
        ),
        st.tuples(
            st.sampled_from(
                ["purge path", "purge tag", "purge all", "soften", "doubt", "sweep all", "tick"]
            )
        ),
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
    store = Store(time, max_bytes, max_variants=most)
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
                found = store.glance(key)
                assert found is not None
                assert replace(found, fresh_until=entry.fresh_until) == entry
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
            store.stamps.purge(Purge(keys=("/a",)))
        elif name == "purge tag":
            store.stamps.purge(Purge(tags=("news",)))
        elif name == "purge all":
            store.stamps.purge(ALL)
        elif name == "confirm":
            store.confirm(key)
        elif name == "soften":
            store.stamps.purge(Purge(tags=("news",), soft=True))
        elif name == "doubt":
            store.stamps.distrust()
        elif name == "sweep all":
            store.sweep_all(store.stamps.tick())
        else:
            time.now += 4
        for base in bases:
            assert len(variants_in(store, base)) <= most
        known = {key for path in store._paths for key in store.variants(path)}
        assert known == set(store.memory.keys())
        assert store._confirmed.keys() <= known
        assert store.memory.bytes <= max_bytes
