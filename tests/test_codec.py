"""Entries as bytes: what goes in comes out the same, and garbage comes out as absent."""

import enum
import math
import pickle
import sys
from collections import OrderedDict
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from aswr.codec import VERSION, Answer, Coded, Entry, Uncarriable, decode, encode, pack, size_of

quick = settings(deadline=None)
KEY = "aswr:shop:0123456789abcdef"
EPOCH = "epoch"


def entry_of(value: Any, **changes: Any) -> Entry:
    fields = {
        "stored": 100.0, "fresh_until": 110.0, "stale_until": 120.0, "error_until": 150.0,
        "born": 7, "cost": 0.5, "tags": ("news",), "names": ("host",),
    }  # fmt: skip
    return Entry(value=value, **{**fields, **changes})


PAGE = entry_of(
    Answer(
        200, (("Content-Type", "text/html"), ("X-A", "ä \t;")), b"<p>\xff\x00", ("Vary",), "Accept"
    )
)
CODED = entry_of(
    replace(PAGE.value, codings=(Coded("gzip", replace(PAGE.value, body=b"\x1f\x8b")),))
)


# There and back

finite = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | words
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
header_name = st.text(st.sampled_from("abcXYZ019-_!"), min_size=1, max_size=6)
header_value = st.text(
    st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=8
)
plain_answers = st.builds(
    Answer,
    status=st.integers(100, 599),
    headers=st.lists(st.tuples(header_name, header_value), max_size=3).map(tuple),
    body=st.binary(max_size=20),
    ours=st.lists(header_name, max_size=2).map(tuple),
    vary=header_value,
)
forms = st.builds(Coded, coding=st.sampled_from(["br", "zstd", "gzip"]), answer=plain_answers)
answers = st.builds(replace, plain_answers, codings=st.lists(forms, max_size=2).map(tuple))


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    stored, fresh, stale, error = sorted(draw(st.lists(finite, min_size=4, max_size=4)))
    names = st.lists(words, max_size=2).map(tuple)
    return Entry(
        value=draw(answers | plain), stored=stored, fresh_until=fresh, stale_until=stale,
        error_until=error, born=draw(st.integers(0, 2**63)), cost=draw(st.floats(0, 1e9)),
        tags=draw(names), names=draw(names), strict=draw(st.booleans()),
    )  # fmt: skip


def exact(value: Any) -> str:
    """A text that differs where types or the sign of zero do."""
    return repr(value)


@given(entries(), words, words)
@settings(deadline=None, max_examples=300)
def test_round_trip(entry: Entry, key: str, epoch: str) -> None:
    """An entry comes back equal, types included, with its epoch and its value's size."""
    data = encode(key, entry, epoch)
    found, found_epoch = decode(key, data)
    assert found is not None
    value = found.value
    size = len(value.body) if isinstance(value, Answer) else size_of(value)
    assert exact(found) == exact(msgspec.structs.replace(entry, size=size))
    assert found_epoch == epoch


NOTE = entry_of(
    None, fresh_until=100.0, stale_until=100.0, tags=(), names=("cookie session", "host")
)


def test_what_a_url_reads_comes_back() -> None:
    """A note tells another process the inputs of a URL, whatever their names are made of."""
    names = ('best Accept-Language of ["en","dé"] else null', "g.user", "header X-\u2028")
    for note in (NOTE, msgspec.structs.replace(NOTE, names=names)):
        found, _ = decode(KEY, encode(KEY, note, EPOCH))
        assert found == msgspec.structs.replace(note, size=found.size if found else 0)


def test_a_note_that_a_url_passes_is_for_this_process_alone() -> None:
    """Why everybody passes is not sent: another process finds out for itself."""
    found, _ = decode(KEY, encode(KEY, entry_of(None, passing="reads cookie session"), EPOCH))
    assert found is not None
    assert found.passing == ""


@given(plain)
@quick
def test_a_packed_value_comes_back(value: Any) -> None:
    """A plain value that is packed comes back the same."""
    assert exact(msgspec.msgpack.decode(pack(value))) == exact(value)


def test_the_size_of_a_value_is_what_it_takes_in_memory() -> None:
    """All that is in it counts, at what Python takes for it; what is in it twice counts once."""
    text = "x" * 1000
    assert size_of(text) == 16 + sys.getsizeof(text)
    assert size_of({text: [text, text]}) == size_of(text) + size_of({"": 0}) + size_of([0, 0]) - (
        size_of("") + 2 * size_of(0)
    )
    rows = [{"name": number + 0.5, "other": None} for number in range(1000)]
    assert size_of(rows) > 1000 * (sys.getsizeof(rows[0]) + sys.getsizeof(0.5))
    assert size_of(None) == size_of(False) == 0


@pytest.mark.parametrize("value", [None, False, 0, 0.0, "", b"", [], {}], ids=repr)
def test_empty_values_are_values(value: Any) -> None:
    """None and everything empty come back as what they are, not as absent."""
    found, _ = decode(KEY, encode(KEY, entry_of(value), EPOCH))
    assert found is not None
    assert exact(found.value) == exact(value)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_odd_floats_are_values(value: float) -> None:
    """A result may be infinite or not a number, though a deadline may not."""
    found, _ = decode(KEY, encode(KEY, entry_of(value), EPOCH))
    assert found is not None
    assert repr(found.value) == repr(value)


# What does not fit


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Text(str):
    pass


class Numbers(list[int]):
    pass


def nested(depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = [value]
    return value


def endless() -> list[Any]:
    value: list[Any] = []
    value.append({"a": value})
    return value


REFUSED: dict[str, Any] = {
    "tuple": (1, 2), "nested tuple": [{"a": (1,)}], "set": {1}, "frozenset": frozenset(),
    "int above 64 bits": 2**64, "int below 64 bits": -(2**63) - 1, "nested int": [2**64],
    "int key": {1: "a"}, "bytes key": {b"a": 1}, "None key": {None: 1}, "tuple key": {(1,): 1},
    "bytearray": bytearray(b"a"), "memoryview": memoryview(b"a"), "complex": 1j,
    "object": object(), "function": len, "enum": Colour.RED, "int enum": Level.LOW,
    "str subclass": Text("a"), "list subclass": Numbers([1]), "dict subclass": OrderedDict(a=1),
    "subclass as key": {Text("a"): 1}, "answer": PAGE.value, "lone surrogate": "a\ud800",
    "surrogate in a key": {"\udfff": 1}, "too deep": nested(100_000), "endless": endless(),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_pack_refuses(name: str) -> None:
    """What would come back as something else, or not at all, is refused, never changed."""
    for refuse in (pack, size_of, lambda value: encode(KEY, entry_of(value), EPOCH)):
        if name == "answer" and refuse not in (pack, size_of):
            continue  # the one value besides the plain ones that an entry carries
        with pytest.raises(Uncarriable):
            refuse(REFUSED[name])


@pytest.mark.parametrize("value", [2**64 - 1, -(2**63), "\ud7ff\ue000", "ä", {"ä": [None]}])
def test_pack_takes_the_edges(value: Any) -> None:
    """The largest and smallest integers and all real characters fit."""
    assert msgspec.msgpack.decode(pack(value)) == value


def test_a_tag_without_bytes_is_refused() -> None:
    """An entry whose tag is no text that can be written is refused like its value would be."""
    with pytest.raises(Uncarriable):
        encode(KEY, entry_of(1, tags=("\ud800",)), EPOCH)


# Garbage


def absent(data: object, key: str = KEY) -> bool:
    return decode(key, data) == (None, "")


@pytest.mark.parametrize(
    "entry", [PAGE, CODED, entry_of({"a": [1, "b", b"c", None]})], ids=["page", "coded", "v"]
)
def test_every_truncation_is_absent(entry: Entry) -> None:
    """An entry cut short anywhere reads as absent."""
    data = encode(KEY, entry, EPOCH)
    assert not absent(data)
    assert all(absent(data[:end]) for end in range(len(data)))


def test_something_behind_is_absent() -> None:
    """An entry with bytes behind its end reads as absent."""
    assert absent(encode(KEY, PAGE, EPOCH) + b"\xc0")


def check_valid(data: bytes) -> None:
    """Absent, or an entry that a request can be answered with."""
    entry, epoch = decode(KEY, data)
    if entry is None:
        assert epoch == ""
        return
    assert type(epoch) is str
    ends = [entry.stored, entry.fresh_until, entry.stale_until, entry.error_until]
    assert all(math.isfinite(end) for end in [*ends, entry.cost])
    assert ends == sorted(ends)
    assert type(entry.born) is int
    assert all(type(name) is str for name in entry.tags + entry.names)
    assert type(entry.strict) is bool
    assert entry.passing == ""
    if isinstance(entry.value, Answer):
        check_answer(entry.value)


def check_answer(answer: Answer) -> None:
    assert 100 <= answer.status <= 599
    assert type(answer.body) is bytes
    assert all(type(name) is str for name in answer.ours)
    assert not set(answer.vary) & set("\r\n\0")
    for name, value in answer.headers:
        assert name
        assert not set(name) & set(" \t\r\n\0:,;")
        assert not set(value) & set("\r\n\0")
    for coded in answer.codings:
        assert coded.coding in ("br", "zstd", "gzip")
        check_answer(coded.answer)


def test_every_flipped_bit() -> None:
    """One bit turned anywhere leaves an entry that is absent or fit to answer with."""
    for entry in (PAGE, CODED, NOTE, entry_of([1.5, {"a": "b"}], strict=True)):
        data = encode(KEY, entry, EPOCH)
        for place in range(len(data)):
            for bit in range(8):
                turned = data[place] ^ (1 << bit)
                check_valid(data[:place] + bytes([turned]) + data[place + 1 :])


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_random_mutations(data: st.DataObject) -> None:
    """Bytes changed, lost or added anywhere are absent or fit to answer with, never an error."""
    changed = bytearray(encode(KEY, data.draw(entries()), EPOCH))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(changed)))
        changed[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    check_valid(bytes(changed))


foreign_plain = st.recursive(
    st.none() | st.integers(-5, 500) | st.floats() | st.sampled_from([KEY, "", b""]) | words,
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=6,
)


@given(
    st.binary(max_size=40)
    | foreign_plain.map(msgspec.msgpack.encode)
    | st.lists(foreign_plain, min_size=8, max_size=14)
    .map(lambda rest: [VERSION, KEY, *rest])
    .map(msgspec.msgpack.encode)
)
@settings(deadline=None, max_examples=300)
def test_foreign_bytes(data: bytes) -> None:
    """Bytes of any other origin are absent or fit to answer with, never an error."""
    check_valid(data)


class Mine:
    """Unpickling it would call something."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xc0", b"\xc1", b"aswr", b"{}", b"\x90", b"\x80", pickle.dumps(PAGE.stored),
        pickle.dumps(Mine()), pickle.dumps(Mine(), 0), msgspec.msgpack.encode(PAGE),
        msgspec.json.encode(PAGE.born), b"\x91" * 200_000, b"\x81" * 200_000,
        b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
        None, "text", 5, bytearray(b"\x90"), PAGE, [1], {"a": 1},
    ],
    ids=lambda data: repr(data)[:24],
)  # fmt: skip
def test_garbage_is_absent(data: object) -> None:
    """No bytes, pickles, deep nesting, promises of gigabytes: all read as absent."""
    assert absent(data)


def with_plain(plain: bytes) -> bytes:
    """An envelope around these bytes as its value."""
    data = encode(KEY, entry_of("value"), EPOCH)
    assert data.count(b"\xa5value") == 1
    return data.replace(b"\xa5value", plain)


@pytest.mark.parametrize(
    "plain",
    [b"\x91" * 200_000 + b"\xc0", b"\x81\xa1a" * 200_000 + b"\xc0", b"\xdd\xff\xff\xff\xff",
     b"\xc1", b"\xa1\xff", b"\x81\x80\x01"],
    ids=["lists", "maps", "gigabytes", "reserved", "no utf-8", "map as key"],
)  # fmt: skip
def test_a_hostile_value_is_absent(plain: bytes) -> None:
    """A sound envelope around a value that cannot be decoded reads as absent."""
    assert not absent(with_plain(b"\xc3"))
    assert absent(with_plain(plain))


def test_another_key_is_absent() -> None:
    """An entry that was stored for another key is absent, whatever the store says."""
    data = encode(KEY, PAGE, EPOCH)
    assert absent(data, KEY + "0")
    assert absent(data, "")


def test_another_version_is_absent() -> None:
    """An entry of another version of the envelope is absent."""
    wire = msgspec.msgpack.decode(encode(KEY, PAGE, EPOCH))
    assert wire[0] == VERSION
    assert not absent(msgspec.msgpack.encode(wire))
    for version in (VERSION + 1, VERSION - 1, None, str(VERSION)):
        assert absent(msgspec.msgpack.encode([version, *wire[1:]]))


@pytest.mark.parametrize(
    "changes",
    [
        {"stored": math.nan}, {"fresh_until": math.nan}, {"stale_until": math.nan},
        {"error_until": math.nan}, {"error_until": math.inf}, {"stored": -math.inf},
        {"fresh_until": 99.0}, {"fresh_until": 121.0}, {"stale_until": 151.0},
        {"cost": -1.0}, {"cost": math.nan}, {"cost": math.inf},
    ],
    ids=repr,
)  # fmt: skip
def test_impossible_times_are_absent(changes: dict[str, float]) -> None:
    """Deadlines out of order or not finite would be served wrongly; they read as absent."""
    assert absent(encode(KEY, entry_of(1, **changes), EPOCH))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(0, (), b""), Answer(99, (), b""), Answer(600, (), b""), Answer(-200, (), b""),
        Answer(200, (("", "a"),), b""), Answer(200, (("A b", "c"),), b""),
        Answer(200, (("A:", "b"),), b""), Answer(200, (("A\n", "b"),), b""),
        Answer(200, (("A", "b\r\nSet-Cookie: c"),), b""), Answer(200, (("A", "b\n"),), b""),
        Answer(200, (("A", "\0"),), b""), Answer(200, (), b"", vary="A\r\nSet-Cookie: c"),
    ],
    ids=repr,
)  # fmt: skip
def test_impossible_answers_are_absent(answer: Answer) -> None:
    """A status or a header that no response may have reads as absent."""
    assert absent(encode(KEY, entry_of(answer), EPOCH))


def test_nothing_stored_can_change() -> None:
    """Entries and answers are immutable: a refresh publishes another one."""
    with pytest.raises(AttributeError):
        PAGE.stale_until = 1e9  # type: ignore[misc]
    with pytest.raises(AttributeError):
        PAGE.value.body = b""
