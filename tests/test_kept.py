"""What memory keeps of entries: as they were, in less room, and counted as what they take."""

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from aswr.codec import Answer, Coded, Entry, Loader
from aswr.kept import LARGEST_COMMON, MOST_COMMON, Commons, Kept, size_of_key
from aswr.keys import CallKey, VariantKey, ViewKey
from aswr.store import LARGEST_READY, MOST_READY, Store

BODY = b"x" * 1024
NOW = 1_795_418_270.4829345  # as odd as a real time


def page(number: int = 0, body: bytes = BODY, **changes: Any) -> Entry:
    """An entry as a render makes them: nothing in it is shared with the next one."""
    headers = [
        ("Content-Type", "text/" + "html"), ("Content-Length", str(len(body))),
        ("Cache-Control", "private, no-cache"), ("ETag", f'W/"{number:032x}"'),
    ]  # fmt: skip
    stored = NOW + number / 7
    fields: dict[str, Any] = {
        "value": Answer(200, tuple(headers), bytes(bytearray(body)), ("Cache-Control", "ETag")),
        "stored": stored, "fresh_until": stored + 2700, "stale_until": stored + 3600,
        "error_until": stored + 3600, "born": number + 1, "cost": number / 1e6,
        "by": Loader("web" + "1:4711", "miss"), "size": len(body),
    }  # fmt: skip
    return Entry(**{**fields, **changes})


def with_fields(*fields: tuple[str, str], **changes: Any) -> Entry:
    entry = page(**changes)
    return replace(entry, value=replace(entry.value, headers=fields))


LENGTH, ETAG = ("Content-Length", "1024"), ("ETag", '"a"')


def test_a_page_is_kept_short() -> None:
    """A page comes back equal, and shares with the next what is the same for both."""
    commons = Commons()
    first, _ = commons.short(page(1))
    second, _ = commons.short(page(2))
    assert isinstance(first, Kept)
    assert isinstance(second, Kept)
    assert (first.entry(), second.entry()) == (page(1), page(2))
    assert first.head is second.head
    assert first.windows is second.windows
    assert first.by is second.by


def test_tags_that_read_like_a_loader() -> None:
    """What is equal to another kind of thing does not stand for it."""
    commons = Commons()
    tags = ("web1:4711", "miss")
    for entry in (page(1, tags=tags), page(2)):
        kept, _ = commons.short(entry)
        assert isinstance(kept, Kept)
        assert (type(kept.by), kept.entry()) == (Loader, entry)


def test_pages_of_other_kinds_share_the_fields_that_are_equal() -> None:
    """A header field is one object for all who have it, whatever else they say."""
    commons = Commons()
    fields = [("Content-Type", "text/html"), LENGTH, ("X-Page", "one"), ETAG]
    one, one_size = commons.short(with_fields(*fields))
    two, two_size = commons.short(with_fields(*fields[:2], ("X-Page", "two"), ETAG))
    assert isinstance(one, Kept)
    assert isinstance(two, Kept)
    assert one.head is not two.head
    assert one.head.first[0] is two.head.first[0]
    assert two_size < one_size


@pytest.mark.parametrize(
    "entry",
    [
        page(value="a result"), page(value=None), page(strict=True), page(size=5),
        page(value=None, names=("host",), fewer=(("a",),)), page(value=None, passing="why"),
        page(stored=0.1, fresh_until=1e300, stale_until=1e300, error_until=float("inf")),
        page(fresh_until=float("nan")), page(tags=("a", "b")), page(-5), page(body=b""),
        with_fields(ETAG, LENGTH), with_fields(LENGTH), with_fields(ETAG), with_fields(),
        with_fields(LENGTH, ETAG), with_fields(LENGTH, ETAG, ETAG),
        with_fields(LENGTH, LENGTH, ETAG), with_fields(("Content-Length", "7"), ETAG),
        with_fields(("content-length", "1024"), ("Etag", "")),
        with_fields(("A", "1"), LENGTH, ("B", "2"), ("ETag", '"b"'), ("C", "3"), ("A", "4")),
        page(value=replace(page().value, codings=(Coded("br", page().value),))),
        page(value=replace(page().value, status=404, vary="Accept", ours=())),
    ],
    ids=lambda entry: "",
)  # fmt: skip
def test_whatever_is_kept_comes_back_as_it_was(entry: Entry) -> None:
    """Short or not, and however often its like was kept before: repr shows types too."""
    commons = Commons()
    for _ in range(2):
        kept, _ = commons.short(entry)
        assert repr(kept.entry() if isinstance(kept, Kept) else kept) == repr(entry)


field = st.tuples(st.sampled_from(["A", "ETag", "Content-Length"]), st.sampled_from("ab1"))
times = st.lists(st.floats(0, 4e9), min_size=4, max_size=4).map(sorted)


@given(st.lists(st.tuples(st.lists(field, max_size=5), st.binary(max_size=2), times), max_size=5))
@settings(deadline=None)
def test_any_answers_come_back(seen: list[tuple[Any, bytes, list[float]]]) -> None:
    """Whatever answers came before, each comes back with its own fields, body and times."""
    commons = Commons()
    for fields, body, ends in seen:
        entry = Entry(
            value=Answer(200, tuple(fields), body), stored=ends[0], fresh_until=ends[1],
            stale_until=ends[2], error_until=ends[3], born=1, size=len(body),
        )  # fmt: skip
        kept, size = commons.short(entry)
        assert (kept.entry() if isinstance(kept, Kept) else kept) == entry
        assert size > len(body)


def test_what_is_in_common_is_bounded() -> None:
    """Fields that no two pages share, and long ones, do not pile up."""
    commons = Commons()
    for number in range(3000):
        commons.short(with_fields(("X-Page", f"{number:0100}"), LENGTH, ETAG))
        assert commons._bytes <= MOST_COMMON
    assert 0 < len(commons._known) < MOST_COMMON / 100
    long = ("X-Long", "x" * LARGEST_COMMON)
    sizes = {commons.short(with_fields(long, LENGTH, ETAG))[1] for _ in range(2)}
    assert min(sizes) > 1024 + LARGEST_COMMON
    assert long not in commons._known


def url(number: int) -> ViewKey:
    return ViewKey("shop:page", "", f"/page/{number}", "", "", ())


def traced(act: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    act()
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return taken


KINDS: dict[str, Callable[[int], tuple[Any, Entry]]] = {
    "pages": lambda n: (url(n), page(n)),
    "pages with a field of their own": lambda n: (
        url(n), with_fields(LENGTH, ("X-Page", f"{n:032}"), ("ETag", f'"{n:032}"'), number=n)
    ),
    "pages that are not kept short": lambda n: (
        url(n), with_fields(*[(f"X-{n}-{at}", f"{n:032}") for at in range(4)], number=n)
    ),
    "results": lambda n: (
        CallKey("shop:price", (("int", n),)), page(n, value=f"{n:01024}", size=1024 + 49 + 16)
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_memory_counts_what_entries_take(kind: str) -> None:
    """The cache counts what Python does, and up to a fifth more, which the allocator takes."""
    store = Store(lambda: NOW, 2**30)

    def fill() -> None:
        for number in range(5_000):
            assert store.publish(*KINDS[kind](number))

    assert 0.82 < traced(fill) / store.memory.bytes < 1.02


def test_a_page_takes_little_more_than_its_body() -> None:
    """At most 700 bytes for everything but the 1024 of the body."""
    store = Store(lambda: NOW, 2**30)
    taken = traced(lambda: [store.publish(url(number), page(number)) for number in range(20_000)])
    assert taken / 20_000 - 1024 < 700


def test_the_size_of_a_key() -> None:
    """What a client may choose counts; the name of a view or function does not, nor inputs'."""
    for long in ("x" * 1000, "\N{PILE OF POO}" * 250):
        base = ViewKey("v", "", long, long, "", (), ("key", long))
        assert size_of_key(base) >= 3000
        assert size_of_key(VariantKey(base, ("header A",), (long,))) >= 4000
        assert size_of_key(CallKey("f", (long, ("tuple", (long,))))) >= 2000
        assert size_of_key(long) >= 1000
        assert size_of_key(ViewKey(long, "", "/", "", "", ())) < 500


def test_a_hot_entry_is_made_once() -> None:
    """Who peeks again gets the same entry, until another is published or it is gone."""
    store = Store(lambda: NOW, 2**20)
    store.publish(url(0), page(1))
    first = store.peek(url(0))
    assert store.peek(url(0)) is first == page(1)
    store.publish(url(0), page(2))
    assert store.peek(url(0)) == page(2)
    store.discard(url(0))
    assert store.peek(url(0)) is None
    assert not store._ready


def test_what_is_ready_is_bounded() -> None:
    """However many entries are peeked; none with a large body."""
    store = Store(lambda: NOW, 2**30)
    for number in range(MOST_READY + 10):
        store.publish(url(number), page(number))
        assert store.peek(url(number)) == page(number)
        assert 0 < len(store._ready) <= MOST_READY
    store.publish(url(-1), page(body=bytes(LARGEST_READY + 1)))
    assert store.peek(url(-1)) == page(body=bytes(LARGEST_READY + 1))
    assert url(-1) not in store._ready
