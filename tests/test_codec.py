"""Entries as payloads: what goes in comes out the same, and garbage is refused."""

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

from aswr.codec import Answer, Coded, Entry, Loader, Uncarriable, decode, encode, key_in, size_of

NUMBER = 7
EPOCH = 3


def entry_of(value: Any, **changes: Any) -> Entry:
    fields = {
        "stored": 100.0, "fresh_until": 110.0, "stale_until": 120.0, "error_until": 150.0,
        "born": NUMBER, "cost": 0.5, "tags": ("news",),
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


def unpack(data: bytes) -> Any:
    """As of a memoized function whose results are plain."""
    return msgspec.msgpack.decode(data)


def payload_of(entry: Entry, epoch: int = EPOCH, offset: float = 0.0) -> bytes:
    is_plain = not (isinstance(entry.value, Answer) or entry.names or entry.passing)
    plain = msgspec.msgpack.encode(entry.value) if is_plain else None
    return encode(entry, plain, epoch, offset)


def found_in(payload: bytes, entry: Entry, offset: float = 0.0) -> Entry:
    found, _ = decode(payload, entry.born, offset, None if is_view(entry) else unpack)
    return found


def is_view(entry: Entry) -> bool:
    return isinstance(entry.value, Answer) or bool(entry.names or entry.passing)


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
    kind = draw(st.sampled_from(["answer", "plain", "names", "passing"]))
    return Entry(
        value=draw({"answer": answers, "plain": plain}.get(kind, st.none())),
        stored=stored, fresh_until=fresh, stale_until=stale, error_until=error,
        born=draw(st.integers(0, 2**53)), cost=draw(st.floats(0, 1e9)),
        by=Loader(draw(words), draw(words)),
        tags=draw(st.lists(words, max_size=2).map(tuple)), strict=draw(st.booleans()),
        names=draw(st.lists(words, min_size=1, max_size=2).map(tuple)) if kind == "names" else (),
        passing=draw(words.filter(bool)) if kind == "passing" else "",
    )  # fmt: skip


def exact(value: Any) -> str:
    """A text that differs where types or the sign of zero do."""
    return repr(value)


@given(entries(), st.integers(0, 2**53))
@settings(deadline=None, max_examples=300)
def test_round_trip(entry: Entry, epoch: int) -> None:
    """An entry comes back equal, types included, with its epoch and its value's size."""
    found, found_epoch = decode(
        payload_of(entry, epoch), entry.born, 0.0, None if is_view(entry) else unpack
    )
    value = found.value
    if entry.names or entry.passing:
        assert found.size >= 64
    else:
        size = len(value.body) if isinstance(value, Answer) else size_of(value)
        assert found.size == size
    assert replace(found, size=0, value=None) == replace(entry, value=None)
    assert exact(found.value) == exact(entry.value)
    assert found_epoch == epoch


NOTE = entry_of(
    None, fresh_until=100.0, stale_until=100.0, tags=(), names=("cookie session", "host")
)
PASSING = entry_of(None, tags=(), passing="reads cookie session")


def test_what_a_url_reads_comes_back() -> None:
    """A note tells another process the inputs of a URL, whatever their names are made of."""
    names = ('best Accept-Language of ["en","dé"] else null', "g.user", "header X-\u2028")
    for note in (NOTE, replace(NOTE, names=names)):
        found = found_in(payload_of(note), note)
        assert replace(found, size=0) == note
        assert found.size > sum(map(len, note.names))


def test_why_a_url_passes_comes_back() -> None:
    """What one process found out, that nobody can share the URL, the others need not."""
    found = found_in(payload_of(PASSING), PASSING)
    assert replace(found, size=0) == PASSING
    assert found.size > len(PASSING.passing)


def test_what_was_known_before_stays_here() -> None:
    """Under which inputs a URL's answers lay before is this process's own business."""
    note = replace(NOTE, fewer=(("host",),))
    assert found_in(payload_of(note), note).fewer == ()


@pytest.mark.parametrize("offset", [0.0, 0.25, -3600.0, 1e6])
def test_times_are_in_the_store_s_clock(offset: float) -> None:
    """What is written with this clock's distance from the store's is read with another one's."""
    payload = payload_of(PAGE, offset=offset)
    assert found_in(payload, PAGE, offset) == replace(PAGE, size=len(PAGE.value.body))
    found = found_in(payload, PAGE)
    assert found.stored == PAGE.stored + offset
    assert found.fresh_until == PAGE.fresh_until + offset
    assert found.stale_until == PAGE.stale_until + offset
    assert found.error_until == PAGE.error_until + offset


def test_the_number_is_the_envelope_s() -> None:
    """Which load an entry is of says who opened it, not the payload."""
    assert decode(payload_of(PAGE), 99, 0.0, None)[0].born == 99


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


def test_a_value_whose_size_cannot_be_measured() -> None:
    """A result of other types than plain ones is taken for a multiple of its bytes."""
    payload = encode(entry_of(None), b"x" * 100, EPOCH, 0.0)
    found, _ = decode(payload, NUMBER, 0.0, lambda data: frozenset(data))
    assert found.value == {ord("x")}
    assert 100 < found.size < 2000


@pytest.mark.parametrize("value", [None, False, 0, 0.0, "", b"", [], {}], ids=repr)
def test_empty_values_are_values(value: Any) -> None:
    """None and everything empty come back as what they are, not as absent."""
    entry = entry_of(value)
    assert exact(found_in(payload_of(entry), entry).value) == exact(value)


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
def test_what_is_not_plain_has_no_size(name: str) -> None:
    """Of what is not plain, or not a tree, nobody here knows how much memory it takes."""
    with pytest.raises(Uncarriable):
        size_of(REFUSED[name])


@pytest.mark.parametrize("value", [2**64 - 1, -(2**63), "\ud7ff\ue000", "ä", {"ä": [None]}])
def test_the_edges_of_what_is_plain(value: Any) -> None:
    """The largest and smallest integers and all real characters have a size."""
    assert size_of(value) > 0


@pytest.mark.parametrize(
    "entry",
    [
        entry_of(PAGE.value, tags=("\ud800",)),
        entry_of(Answer(200, (("A", "\ud800"),), b"")),
        entry_of(None, names=("header \ud800",)),
    ],
    ids=["tag", "header", "name"],
)
def test_text_without_bytes_is_refused(entry: Entry) -> None:
    """An entry with text that cannot be written is refused, never changed."""
    with pytest.raises(Uncarriable):
        payload_of(entry)


# Garbage


def refused(data: Any, view: bool = False) -> bool:
    try:
        decode(data, NUMBER, 0.0, None if view else unpack)
    except ValueError:
        return True
    return False


VALUE = entry_of({"a": [1, "b", b"c", None]})


@pytest.mark.parametrize("entry", [PAGE, CODED, VALUE, NOTE], ids=["page", "coded", "v", "note"])
def test_every_truncation_is_refused(entry: Entry) -> None:
    """An entry cut short anywhere is none."""
    data, view = payload_of(entry), is_view(entry)
    assert not refused(data, view)
    assert all(refused(data[:end], view) for end in range(len(data)))


def test_something_behind_is_refused() -> None:
    """An entry with bytes behind its end is none."""
    assert refused(payload_of(PAGE) + b"\xc0", view=True)


def check_valid(data: bytes, view: bool) -> None:
    """Refused, or an entry that a request can be answered with."""
    try:
        entry, epoch = decode(data, NUMBER, 0.0, None if view else unpack)
    except ValueError:
        return
    assert type(epoch) is int
    ends = [entry.stored, entry.fresh_until, entry.stale_until, entry.error_until]
    assert all(math.isfinite(end) for end in [*ends, entry.cost])
    assert ends == sorted(ends)
    assert entry.born == NUMBER
    assert entry.size >= 0
    assert all(type(name) is str for name in entry.tags + entry.names)
    assert type(entry.strict) is bool
    assert type(entry.passing) is str
    if entry.names or entry.passing:
        assert entry.value is None
    elif view:
        check_answer(entry.value)
    else:
        assert not isinstance(entry.value, Answer)


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
    """One bit turned anywhere leaves nothing, or an entry fit to answer with."""
    for entry in (PAGE, CODED, NOTE, PASSING, entry_of([1.5, {"a": "b"}], strict=True)):
        data = payload_of(entry)
        for place in range(len(data)):
            for bit in range(8):
                turned = data[place] ^ (1 << bit)
                check_valid(data[:place] + bytes([turned]) + data[place + 1 :], is_view(entry))


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_random_mutations(data: st.DataObject) -> None:
    """Bytes changed, lost or added anywhere are no entry, or one fit to answer with."""
    entry = data.draw(entries())
    changed = bytearray(payload_of(entry))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(changed)))
        changed[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    check_valid(bytes(changed), is_view(entry))


foreign_plain = st.recursive(
    st.none() | st.integers(-5, 500) | st.floats() | st.sampled_from(["", b""]) | words,
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=6,
)


@given(
    st.binary(max_size=40)
    | foreign_plain.map(msgspec.msgpack.encode)
    | st.lists(foreign_plain, min_size=8, max_size=14)
    .map(lambda rest: [EPOCH, *rest])
    .map(msgspec.msgpack.encode),
    st.booleans(),
)
@settings(deadline=None, max_examples=300)
def test_foreign_bytes(data: bytes, view: bool) -> None:
    """Bytes of any other origin are no entry, or one fit to answer with."""
    check_valid(data, view)


class Mine:
    """Unpickling it would call something."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize("view", [False, True], ids=["call", "page"])
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
def test_garbage_is_refused(data: object, view: bool) -> None:
    """No bytes, pickles, deep nesting, promises of gigabytes: none of it is an entry."""
    assert refused(data, view)


@pytest.mark.parametrize(
    "plain",
    [b"\x91" * 200_000 + b"\xc0", b"\x81\xa1a" * 200_000 + b"\xc0", b"\xdd\xff\xff\xff\xff",
     b"\xc1", b"\xa1\xff", b"\x81\x80\x01", b""],
    ids=["lists", "maps", "gigabytes", "reserved", "no utf-8", "map as key", "nothing"],
)  # fmt: skip
def test_a_hostile_value_is_refused(plain: bytes) -> None:
    """A sound payload around a value that cannot be decoded is no entry."""
    assert not refused(encode(entry_of(None), b"\xc3", EPOCH, 0.0))
    assert refused(encode(entry_of(None), plain, EPOCH, 0.0))


@pytest.mark.parametrize("error", [ValueError, TypeError, RecursionError, OverflowError])
def test_what_no_result_can_be_made_of(error: type[Exception]) -> None:
    """However its function's own reading of the bytes fails, there is no entry."""

    def fail(data: bytes) -> Any:
        raise error("no")

    with pytest.raises(ValueError):
        decode(payload_of(VALUE), NUMBER, 0.0, fail)


def test_a_page_is_no_result_and_a_result_no_page() -> None:
    """What lies at a view's key is an answer, and at a call's key none: else it is no entry."""
    assert not refused(payload_of(PAGE), view=True)
    assert refused(payload_of(PAGE), view=False)
    assert not refused(payload_of(VALUE), view=False)
    assert refused(payload_of(VALUE), view=True)
    assert refused(encode(PAGE, b"\xc3", EPOCH, 0.0), view=False)


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
def test_impossible_times_are_refused(changes: dict[str, float]) -> None:
    """Deadlines out of order or not finite would be served wrongly; it is no entry."""
    assert refused(payload_of(entry_of(1, **changes)))


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
def test_impossible_answers_are_refused(answer: Answer) -> None:
    """A status or a header that no response may have makes it no entry."""
    assert refused(payload_of(entry_of(answer)), view=True)


def test_nothing_stored_can_change() -> None:
    """Entries and answers are immutable: a refresh publishes another one."""
    with pytest.raises(AttributeError):
        PAGE.stale_until = 1e9  # type: ignore[misc]
    with pytest.raises(AttributeError):
        PAGE.value.body = b""


@given(entries(), st.binary(max_size=200))
def test_the_key_comes_back(entry: Entry, key: bytes) -> None:
    """The bytes of the key that an entry was stored with are in its payload, and change no more."""
    plain = None if is_view(entry) else msgspec.msgpack.encode(entry.value)
    payload = encode(entry, plain, EPOCH, 0.0, key)
    assert key_in(payload) == key
    without = encode(entry, plain, EPOCH, 0.0)
    assert key_in(without) == b""
    read = None if is_view(entry) else unpack
    assert decode(payload, 1, 0.0, read) == decode(without, 1, 0.0, read)


def test_a_payload_without_a_key() -> None:
    """What was written before keys were is read all the same, and has none."""
    entry = entry_of(Answer(200, (), b"x"))
    parts = msgspec.msgpack.decode(encode(entry, None, EPOCH, 0.0, b"key"))
    assert parts[-2:] == [b"key", ["", ""]]
    older = msgspec.msgpack.encode(parts[:-2])
    assert key_in(older) == b""
    assert (
        decode(older, entry.born, 0.0, None)[0]
        == decode(encode(entry, None, EPOCH, 0.0), entry.born, 0.0, None)[0]
    )


@pytest.mark.parametrize("data", [b"", b"x", b"\xc1", b"\x90", b"\xff" * 100])
def test_no_key_in_garbage(data: bytes) -> None:
    """Bytes that are no entry have no key, and say so."""
    with pytest.raises(ValueError, match="no entry"):
        key_in(data)
