"""Keys and purges as bytes: what comes back is what went in, and other bytes are refused."""

import dataclasses
import datetime
import enum
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aswr.keys import CallKey, VariantKey, ViewKey, canonical, digest
from aswr.packed import names_in, pack, purge_of, unpack
from aswr.stamps import Purge, names_of

quick = settings(deadline=None)


class Colour(enum.Enum):
    RED = "red"


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclasses.dataclass(frozen=True)
class Order:
    number: int
    note: str


anything = st.text(st.characters(), max_size=6)  # lone surrogates are among it
whole = st.integers() | st.integers(2**63 - 2, 2**64 + 2) | st.integers(-(2**70), -(2**62))
simple = (
    st.none()
    | st.booleans()
    | whole
    | st.floats()
    | st.complex_numbers()
    | anything
    | st.binary(max_size=6)
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.uuids()
    | st.datetimes(timezones=st.none() | st.just(datetime.UTC))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.sampled_from([Colour.RED, Rights.READ | Rights.WRITE, range(3), range(1, 9, 2)])
    | st.builds(Order, whole, anything)
)
hashable = st.recursive(
    simple,
    lambda inner: (
        st.tuples(inner, inner)
        | st.lists(inner, max_size=3).map(tuple)
        | st.frozensets(inner, max_size=3)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=6,
)
arguments = st.recursive(
    hashable,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(hashable, inner, max_size=3)
        | st.sets(hashable, max_size=3)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=8,
)
canonicals: st.SearchStrategy[Hashable] = arguments.map(canonical)
calls = st.builds(CallKey, anything, canonicals)
urls = st.builds(
    ViewKey, anything, anything, anything, anything, anything,
    args=st.just(()) | st.tuples(canonicals, canonicals),
    extra=st.just(()) | st.lists(st.tuples(st.just("key"), canonicals), max_size=2).map(tuple),
)  # fmt: skip
# A value of an input: what its header says, whether it is there, or what a hook made.
seen = st.none() | anything | st.booleans() | st.tuples(st.just("g"), canonicals)
variants = st.lists(st.tuples(anything, seen), max_size=4).flatmap(
    lambda pairs: st.builds(
        VariantKey,
        urls,
        st.just(tuple(name for name, _ in pairs)),
        st.just(tuple(value for _, value in pairs)),
    )
)
keys: st.SearchStrategy[Hashable] = urls | variants | calls


def shape(value: Any) -> Any:
    """A value with the type of everything in it."""
    if isinstance(value, tuple):
        return type(value), tuple(map(shape, value))
    return type(value), value


@given(keys)
@example(CallKey("f", canonical([2**64, 2**64 - 1, -(2**63), -(2**63) - 1])))
@example(CallKey("f", canonical([2**5000, -(2**4000)])))
@example(CallKey("f", canonical([True, 1, 1.0, False, 0, -0.0])))
@example(CallKey("f", canonical(["\ud800", "ä\udfff", "\U0001f600", b"\xff"])))
@quick
def test_a_key_comes_back(key: Hashable) -> None:
    """What is unpacked equals what was packed, with the same types at every depth, and hash."""
    back = unpack(pack(key))
    assert back == key
    assert shape(back) == shape(key)
    assert hash(back) == hash(key)
    assert digest(back) == digest(key)
    assert names_of(back) == names_of(key)


@given(keys, keys)
@quick
def test_other_keys_are_other_bytes(one: Hashable, other: Hashable) -> None:
    """Two keys have the same bytes only where they are the same."""
    assert (pack(one) == pack(other)) == (shape(one) == shape(other))


def test_a_deep_key_comes_back() -> None:
    """As deep as a call's arguments may be, so deep a key may be packed."""
    value: list[Any] = []
    for _ in range(200):
        value = [value]
    key = CallKey("f", canonical(value))
    assert unpack(pack(key)) == key


# Other bytes.


def keys_or_none(read: Callable[[bytes], Any], data: bytes) -> Any:
    """What is read, None where that is refused; whatever else is raised is raised here."""
    try:
        return read(data)
    except ValueError:
        return None


def check_unpack(data: bytes) -> None:
    key = keys_or_none(unpack, data)
    hash(key)


def check_purge(data: bytes) -> None:
    purge = keys_or_none(purge_of, data)
    if purge is not None:
        hash((purge.tags, purge.keys))


foreign = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["v", "n", "c", "t", "i", "s", "0xff", "zz"])
    | st.binary(max_size=3)
    | st.datetimes(timezones=st.just(datetime.UTC)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=2), inner, max_size=2)
        | st.lists(st.sampled_from("vncti s") | inner, max_size=8)
    ),
    max_leaves=12,
).map(msgspec.msgpack.encode)


@given(st.binary(max_size=40) | foreign)
@example(msgspec.msgpack.encode({}))
@example(msgspec.msgpack.encode(["t", {}]))
@example(msgspec.msgpack.encode(["t", [[], 1]]))
@example(msgspec.msgpack.encode(["s", "text"]))
@example(msgspec.msgpack.encode(["s", b"\xff"]))
@example(msgspec.msgpack.encode(["s"]))
@example(msgspec.msgpack.encode(["i", "ten"]))
@example(msgspec.msgpack.encode(["i", 10]))
@example(msgspec.msgpack.encode(["v", "too", "few"]))
@example(msgspec.msgpack.encode([]))
@example(msgspec.msgpack.encode(["?"]))
@example(b"\x91" * 100_000)
@settings(deadline=None, max_examples=500)
def test_arbitrary_bytes_are_a_key_or_a_value_error(data: bytes) -> None:
    """Bytes of others are refused with `ValueError`, and what is not refused can be a key."""
    check_unpack(data)
    for mark in (b"hk", b"sk", b"ht", b"st", b"h*", b"s*", b"", b"x", b"h", b"hx"):
        check_purge(mark + data)


@given(keys, st.data())
@settings(deadline=None, max_examples=300)
def test_damaged_keys_are_a_key_or_a_value_error(key: Hashable, data: st.DataObject) -> None:
    """The same holds for the bytes of a key with some of them changed, missing or added."""
    changed = bytearray(pack(key))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(changed)))
        changed[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    check_unpack(bytes(changed))
    check_purge(b"hk" + changed)


# Purges.


@given(keys, st.booleans())
@quick
def test_every_name_of_a_key_makes_its_purge(key: Hashable, soft: bool) -> None:
    """A purge of what a key can be purged by comes back from its one name, hard or soft."""
    for purged in names_of(key):
        purge = Purge(keys=(purged,), soft=soft)
        (name,) = names_in(purge)
        assert purge_of(name) == purge
        assert shape(purge_of(name)) == shape(purge)


@given(
    st.lists(anything, max_size=3).map(tuple),
    st.lists(keys.map(names_of), max_size=3).map(lambda found: tuple(n for f in found for n in f)),
    st.booleans(),
    st.booleans(),
)
@quick
def test_a_purge_comes_back_in_parts(
    tags: tuple[str, ...], purged: tuple[Hashable, ...], everything: bool, soft: bool
) -> None:
    """A purge has one name for each of its tags and keys, and one for everything, of its kind."""
    purge = Purge(tags, purged, everything, soft)
    parts = [purge_of(name) for name in names_in(purge)]
    assert all(part.soft is soft for part in parts)
    assert tuple(tag for part in parts for tag in part.tags) == tags
    assert tuple(key for part in parts for key in part.keys) == purged
    assert [part.everything for part in parts].count(True) == everything
    assert len(parts) == len(tags) + len(purged) + everything


def test_names_tell_kinds_apart() -> None:
    """A tag, a path and everything have different names where they are spelt alike."""
    purges = [
        Purge(tags=("*",)), Purge(keys=("*",)), Purge(everything=True),
        Purge(tags=("k*",)), Purge(tags=("*",), soft=True), Purge(everything=True, soft=True),
    ]  # fmt: skip
    names = {name for purge in purges for name in names_in(purge)}
    assert len(names) == len(purges)


@pytest.mark.parametrize("name", [b"", b"h", b"s", b"!1", b"#", b"x*", b"hx", b"H*", b"st\xff"])
def test_what_is_no_purge_is_refused(name: bytes) -> None:
    """What else lies beside the purges in the store, and what is cut short, is `ValueError`."""
    with pytest.raises(ValueError):
        purge_of(name)


@pytest.mark.parametrize(
    "key",
    [
        5, None, b"/path", 1.5, (), ("/path",), ("/path", 5), (5, "a=1"), ("/path", "a=1", ""),
        ViewKey("view", "", "/path", "", "", ()),
        VariantKey(ViewKey("view", "", "/path", "", "", ()), (), ()),
    ],
)  # fmt: skip
def test_what_nothing_is_purged_by_is_refused(key: Hashable) -> None:
    """A purge is of a path, a URL or a call: any other key among the purges is `ValueError`."""
    with pytest.raises(ValueError):
        purge_of(b"hk" + pack(key))
