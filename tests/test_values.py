"""Results as bytes: what comes back equals what went in, and all else is refused."""

import collections
import dataclasses
import datetime as dt
import enum
import functools
import json
import math
import pickle
import struct
import subprocess
import sys
import typing
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aswr.codec import Uncarriable
from aswr.values import Carrier, Codec, check_codec

if typing.TYPE_CHECKING:
    from nowhere import Unknown

quick = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Row:
    name: str
    price: float = 0.0
    left: int | None = None


@dataclass
class Special(Row):
    """Of the same fields as its base."""


@dataclass(frozen=True, slots=True)
class Point:
    x: float
    y: float


@dataclass
class Page(Generic[T]):
    items: list[T]
    when: dt.datetime


class Circle(msgspec.Struct, tag=True, frozen=True):
    centre: Point
    radius: Decimal = Decimal(1)


class Square(msgspec.Struct, tag=True, frozen=True):
    corners: tuple[Point, ...]
    label: str | msgspec.UnsetType = msgspec.UNSET


class Tree(msgspec.Struct):
    value: Any
    kids: "list[Tree]" = []


class Pair(NamedTuple):
    key: str
    value: Decimal


class Options(TypedDict, total=False):
    depth: int
    title: str


class Text(str):
    pass


class Moment(dt.datetime):
    pass


@dataclass
class Unlike:
    """Equal to nothing, or to all."""

    value: Any
    equal: bool = True

    def __eq__(self, other: object) -> bool:
        return self.equal

    def __hash__(self) -> int:
        return 1


@dataclass
class Picky:
    value: Any

    def __post_init__(self) -> None:
        if self.value == "bad":
            raise RuntimeError("not this one")


@dataclass
class Counting:
    """Reading it back changes it."""

    count: int

    def __post_init__(self) -> None:
        self.count += 1


@dataclass
class Failure(Exception):
    code: int


@dataclass
class Table(dict[str, int]):
    name: str


class Slotted:
    __slots__ = ("cache",)


@dataclass(slots=True)
class Cached(Slotted):
    value: int


class Tagged(NamedTuple):
    value: int


class Marked(Tagged):
    """With a ``__dict__``."""


def returning(hint: Any) -> Callable[[], Any]:
    def function() -> None: ...

    function.__annotations__ = {"return": hint}
    return function


def carrier(hint: Any = Any) -> Carrier:
    return Carrier("shop:prices", returning(hint))


# The oracle: what pickle would keep of a value, as plain text; written without the module's help


def exact(value: Any) -> str:
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, float):
        return name + struct.pack(">d", value).hex()
    if kind in (type(None), bool, int, str, bytes, bytearray) or value is msgspec.UNSET:
        return name + repr(value)
    if kind in (list, tuple, collections.deque):
        return name + "[" + ",".join(map(exact, value)) + "]"
    if kind is dict:
        return name + ",".join(f"{exact(key)}:{exact(item)}" for key, item in value.items())
    if kind in (set, frozenset):
        return name + ",".join(sorted(map(exact, value)))
    if kind is memoryview:
        return name + repr((value.tobytes(), value.format, value.readonly))
    if isinstance(value, type | type(len) | type(exact)):
        return repr(value)
    made = value.__reduce_ex__(4)
    return name + (made if isinstance(made, str) else exact(list(made)))


def carries(hint: Any, value: Any) -> bool:
    """Is it carried? Raises `AssertionError` where it is altered on the way."""
    carrying, before = carrier(hint), exact(value)
    try:
        data = carrying.pack(value)
    except Uncarriable:
        return False
    assert type(data) is bytes
    assert exact(value) == before
    back = carrier(hint).unpack(data)
    assert exact(back) == before
    assert exact(carrying.unpack(data)) == before
    return True


# There and back

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
ints = st.integers(-(2**63), 2**64 - 1)
floats = st.floats(allow_nan=False)
decimals = st.decimals() | st.sampled_from(list(map(Decimal, ["1.00", "-0", "1E+9", "sNaN12"])))
instants = st.datetimes(timezones=st.none() | st.just(dt.UTC)).map(lambda at: at.replace(fold=0))
offsets = st.integers(-1439, 1439).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
times = st.times(timezones=st.none() | offsets).map(lambda at: at.replace(fold=0))
rows = st.builds(Row, words, floats, st.none() | ints)
points = st.builds(Point, floats, floats)
circles = st.builds(Circle, points, decimals)
squares = st.builds(Square, st.lists(points, max_size=2).map(tuple), words | st.just(msgspec.UNSET))
pairs = st.builds(Pair, words, decimals)
plain = st.recursive(
    st.none() | st.booleans() | ints | st.floats() | words | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
trees = st.recursive(
    st.builds(Tree, plain), lambda inner: st.builds(Tree, plain, st.lists(inner, max_size=2))
)

CARRIED: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (Any, plain),
    (Any, instants.map(lambda at: at.replace(tzinfo=dt.UTC))),
    (Any, st.dictionaries(st.tuples(ints, words), plain, max_size=2)),
    (None, st.none()),
    (list[Row], st.lists(rows, max_size=3)),
    (Sequence[Row], st.lists(rows, max_size=3)),
    (dict[str, Decimal], st.dictionaries(words, decimals, max_size=3)),
    (Mapping[str, int], st.dictionaries(words, ints, max_size=3)),
    (set[uuid.UUID], st.sets(st.uuids(), max_size=3)),
    (dict[uuid.UUID, bytes], st.dictionaries(st.uuids(), st.binary(max_size=3), max_size=3)),
    (frozenset[Colour], st.frozensets(st.sampled_from(Colour))),
    (tuple[int, ...], st.lists(ints, max_size=3).map(tuple)),
    (tuple[int, str] | None, st.none() | st.tuples(ints, words)),
    (dt.datetime, instants),
    (list[dt.date], st.lists(st.dates(), max_size=3)),
    (dt.time, times),
    (dt.timedelta, st.timedeltas()),
    (Decimal, decimals),
    (float, st.floats()),
    (float, ints),  # an int is a float to type checkers, but not to us
    (list[float], st.lists(ints | floats, max_size=3)),
    (bytearray, st.binary(max_size=3).map(bytearray)),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Right, st.sampled_from([Right.READ, Right.WRITE, Right.READ | Right.WRITE])),
    (dict[Level, list[Right]], st.dictionaries(st.sampled_from(Level), st.just([Right.READ]))),
    (Point | None, points | st.none()),
    (set[Point], st.sets(points, max_size=3)),
    (Circle | Square, circles | squares),
    (dict[str, list[Circle | Square]], st.dictionaries(words, st.lists(squares, max_size=2))),
    (Tree, trees),
    (list[Pair], st.lists(pairs, max_size=3)),
    (Options, st.just({"title": "a", "depth": 1}) | st.just({"depth": 1, "title": "a"})),
    (Page[Row], st.builds(Page, st.lists(rows, max_size=2), instants)),
    (Unlike, st.builds(Unlike, plain, st.booleans())),
    (Cached, st.builds(Cached, ints)),
    (Marked, st.builds(Marked, ints)),
    (typing.Annotated[int, msgspec.Meta(gt=0)], st.integers(1, 9)),
    (typing.Literal["a", 1], st.sampled_from(["a", 1])),
]  # fmt: skip


@pytest.mark.parametrize(
    ("hint", "values"),
    CARRIED,
    ids=[f"{index} {hint!r}" for index, (hint, _) in enumerate(CARRIED)],
)
def test_what_the_annotation_says_is_carried(hint: Any, values: st.SearchStrategy[Any]) -> None:
    """A result of the annotated type comes back equal, with its types at every depth."""

    @given(values)
    @settings(quick, max_examples=40)
    def check(value: Any) -> None:
        assert carries(hint, value)

    check()


def test_instances_of_attrs_are_carried() -> None:
    """Classes of attrs are carried as dataclasses are, slots or not."""
    attrs = pytest.importorskip("attrs")
    for slots in (True, False):
        made = attrs.make_class("Made", {"x": attrs.field(type=Any)}, slots=slots)
        value = made(x={"a": 1.0})
        back = carrier(made).unpack(carrier(made).pack(value))
        assert type(back) is made
        assert exact(back.x) == exact(value.x)
        assert not carries(made, made(x=(1,)))


def test_memory_is_carried() -> None:
    """A view of bytes comes back as one, but where msgspec 0.19 gives it a wrong length."""
    assert carries(memoryview, memoryview(b"ab")) or msgspec.__version__.startswith("0.19.")


def test_what_is_in_a_value_twice_comes_back_twice() -> None:
    """Shared parts are no cycle."""
    row = Row("a")
    assert carries(list[list[Row]], [[row, row], [row]])


# Wild values: carried the same, or refused


@dataclass
class Loose:
    value: Any
    more: int | str | list[int] | None = None


def with_attribute(value: Any, name: str = "extra", content: Any = 1) -> Any:
    setattr(value, name, content)
    return value


zones = st.timezones() | offsets | st.just(dt.UTC)
odd = (
    st.integers() | st.floats() | st.text(max_size=3) | st.complex_numbers() | decimals
    | st.text(st.characters(categories=["Cs"]), max_size=1) | st.builds(Text, words)
    | st.datetimes(timezones=st.none() | zones) | st.datetimes().map(lambda at: at.replace(fold=1))
    | st.times(timezones=zones) | st.dates() | st.timedeltas() | st.uuids() | st.builds(uuid.uuid1)
    | st.sampled_from([*Colour, *Level, *Right, Right(0), Right(3), ..., object(), int, len])
    | st.sampled_from([msgspec.UNSET, msgspec.NODEFAULT, msgspec.Raw(b"\x01"), True, -0.0, 1.0, 1])
    | st.just(msgspec.msgpack.Ext(5, b"a")) | st.just(range(3)) | st.just(ZoneInfo("Asia/Tokyo"))
    | st.binary(max_size=3).map(bytearray) | st.binary(max_size=3).map(memoryview)
    | st.builds(Moment, st.just(2026), st.just(1), st.just(1))
)  # fmt: skip
keys = st.none() | st.booleans() | ints | floats | words | st.builds(Text, words) | st.dates()


def around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, max_size=3)
    named = st.dictionaries(words, inner, max_size=3)
    return (
        some | named | some.map(tuple) | st.dictionaries(keys, inner, max_size=3)
        | st.sets(keys, max_size=3) | st.frozensets(keys | st.tuples(keys), max_size=3)
        | named.map(collections.OrderedDict) | some.map(collections.deque)
        | named.map(lambda made: collections.defaultdict(int, made))
        | st.builds(Loose, inner, inner) | st.builds(Row, inner, inner, inner)
        | st.builds(Special, inner) | st.builds(Loose, inner).map(with_attribute)
        | st.builds(Tree, inner, some) | st.builds(Tree, inner, st.lists(st.builds(Tree, inner)))
        | st.builds(Square, some.map(tuple), inner) | st.builds(Pair, inner, inner)
        | st.builds(Unlike, inner, st.booleans()) | st.builds(Page[Any], some, inner)
        | st.builds(Marked, inner).map(with_attribute) | st.builds(Point, inner, inner)
    )  # fmt: skip


wild = st.recursive(odd, around, max_leaves=6)
HINTS = [
    Any, object, None, typing.NoReturn, "nonsense(", int, float, str, bool, list[float],
    list[Loose], list[Row], list[Any], tuple[Any, ...], set[Any], frozenset[Any], dict[Any, Any],
    dict[str, Any], list[tuple[Any, ...]], Loose, Row, Tree, Circle | Square, Square, Pair, Point,
    Unlike, Page[Any], Page[int], Marked, Level, Colour, Right, uuid.UUID, Decimal, dt.datetime,
    dt.date, dt.time, dt.timedelta, bytes, bytearray, memoryview, int | str | None, Options,
    msgspec.Raw, msgspec.msgpack.Ext, collections.OrderedDict[str, Any], Iterator[Any], complex,
    Callable[[], None], Text, Moment, Awaitable[Loose], TypeVar("S"), int | Level,
]  # fmt: skip


@given(st.sampled_from(HINTS), wild)
@settings(quick, max_examples=600)
def test_carried_the_same_or_refused(hint: Any, value: Any) -> None:
    """Whatever is returned, and whatever is annotated, nothing comes back changed."""
    carries(hint, value)


@given(wild)
@settings(quick, max_examples=300)
def test_carried_the_same_or_refused_in_its_own_type(value: Any) -> None:
    """So it is where the annotation is the type of what is returned."""
    carries(type(value), value)
    carries(list[type(value)], [value])  # type: ignore[misc]


# What is refused


def endless(value: Any, put_in: Callable[[Any], None]) -> Any:
    put_in(value)
    return value


def nested(depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = [value]
    return value


BERLIN = dt.datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
PLUS_TWO = dt.timezone(dt.timedelta(hours=2))

# The annotation, the value, and what the error says of it
REFUSED: dict[str, tuple[Any, Any, str]] = {
    "tuple": (Any, (1,), "the result is a tuple and would come back as a list"),
    "set": (list[int], {1}, "the result is a set and would come back as a list"),
    "tuple as a list": (list[int], (1,), "a tuple and"),
    "list as a tuple": (tuple[set[int], ...], [{1}], "a list and"),
    "true": (set[int], {True}, "would not come back: ValidationError"),
    "in depth": (list[Row], [Row("a"), Row("b", 1.0, Level.LOW)], r"result\[1\].left is a Level"),
    "under a key": (dict[str, Any], {"a": [(1,)]}, r"result\['a'\]\[0\] is a tuple"),
    "in a key": (Any, {Level.LOW: 1}, "the result's key is a Level and would"),
    "in a set": (set[Any], {Level.LOW}, "the result's member is a Level and would"),
    "nan in a set": (set[float], {math.nan}, "a float, that would not be found again"),
    "unlike in a set": (set[Unlike], {Unlike(1, False)}, "an?y? ?.*not be found again"),
    "str subclass": (str, Text("a"), "objects of type Text is unsupported"),
    "str subclass in a list": (list[str], [Text("a")], "Text"),
    "int enum": (int, Level.LOW, "a Level and would come back as a int"),
    "ordered": (Any, collections.OrderedDict(a=1), "a OrderedDict and would"),
    "as ordered": (collections.OrderedDict[str, int], collections.OrderedDict(a=1), "OrderedDict"),
    "unannotated rows": (Any, [Row("a")], r"\[0\] is a Row and would come back as a dict"),
    "subclass": (Row, Special("a"), "a Special and would come back as a Row"),
    "int as float": (Row, Row("a", 1), ".price is a int and would come back as a float"),
    "zone": (dt.datetime, BERLIN, "a datetime with a ZoneInfo, which would come back as UTC"),
    "zone utc": (dt.datetime, BERLIN.replace(tzinfo=ZoneInfo("UTC")), "with a ZoneInfo"),
    "offset": (dt.datetime, BERLIN.replace(tzinfo=PLUS_TWO), "with a timezone, which would"),
    "zone of a time": (dt.time, dt.time(1, tzinfo=ZoneInfo("UTC")), "a time with a ZoneInfo"),
    "name": (dt.time, dt.time(1, tzinfo=dt.timezone(dt.timedelta(hours=1), "X")), "timezone"),
    "fold": (dt.datetime, dt.datetime(2026, 1, 1, fold=1), "a datetime with fold=1"),
    "datetime": (Any, dt.datetime(2026, 1, 1), "a datetime and would come back as a str"),
    "datetime as date": (dt.date, dt.datetime(2026, 1, 1), "come back: ValidationError"),
    "moment": (dt.datetime, Moment(2026, 1, 1), "objects of type Moment is unsupported"),
    "decimal": (Any, Decimal("1.0"), "a Decimal and would come back as a str"),
    "uuid": (Any, uuid.UUID(int=1), "a UUID and would come back as a bytes"),
    "safe": (uuid.UUID, uuid.UUID(int=1, is_safe=uuid.SafeUUID.safe), ".is_safe is a SafeUUID"),
    "large": (int, 2**64, "OverflowError"),
    "small": (Any, [-(2**63) - 1], "OverflowError"),
    "surrogate": (str, "a\ud800", "UnicodeEncodeError"),
    "surrogate in a key": (Any, {"\udfff": 1}, "UnicodeEncodeError"),
    "complex": (complex, 1j, "complex"),
    "object": (object, object(), "objects of type object"),
    "function": (Any, len, "builtin_function_or_method"),
    "raw": (msgspec.Raw, msgspec.Raw(b"\x01"), "a Raw, which may hold more"),
    "ext": (Any, msgspec.msgpack.Ext(5, b"a"), "a Ext, which may hold more"),
    "writable memory": (memoryview, memoryview(bytearray(b"a")), "a memoryview that would change"),
    "extra": (Row, with_attribute(Row("a")), "a Row with 'extra' beyond its fields"),
    "extra beside a tuple": (Marked, with_attribute(Marked(1)), "a Marked with 'extra' beyond"),
    "extra in a slot": (Cached, with_attribute(Cached(1), "cache"), ".cache is a int and would"),
    "exception": (Failure, Failure(1), "a Failure, which may hold more"),
    "dict beneath": (Table, Table("a"), "Table|ValidationError"),
    "raises": (Picky, with_attribute(Picky(1), "value", "bad"), "come back: RuntimeError: not th"),
    "counts": (Counting, Counting(1), ".count is a int that would change"),
    "odd equality": (Unlike, Unlike((1,)), ".value is a tuple and would come back as a list"),
    "too few": (Options, {"depth": 1, "other": {2}}, "has 2 keys, of which 1 would come back"),
    "endless list": (Any, endless([], lambda value: value.append(value)), "RecursionError"),
    "endless dict": (Any, endless({}, lambda value: value.update(a=value)), "RecursionError"),
    "endless tree": (Tree, endless(Tree(1, []), lambda tree: tree.kids.append(tree)), "Recursion"),
    "too deep": (Any, nested(100_000), "RecursionError"),
    "just too deep to compare": (Any, nested(900), "RecursionError"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    """What would come back changed is refused, with the function, the type, where it is and why."""
    hint, value, why = REFUSED[name]
    with pytest.raises(Uncarriable, match=why) as caught:
        carrier(hint).pack(value)
    assert str(caught.value).startswith(f"shop:prices returned a {type(value).__qualname__} that")
    assert "nnotat" in str(caught.value)
    assert "memoize(..., codec=...)" in str(caught.value)
    assert str(caught.value).endswith("memoize(..., shared=False)")


def test_the_cure_follows_from_the_annotation() -> None:
    """An annotation that is missing, of no use or wrong: the error says which."""
    for hint, cure in (
        (Any, ". Annotate the return type, say"),
        (list[int], ". Annotate what it returns, say"),
        ("Unknown", r". Mend the return annotation.*NameError: name 'Unknown' is not defined"),
        (int | Level, r". Mend the return annotation.*more than one int-like"),
    ):
        with pytest.raises(Uncarriable, match=cure):
            carrier(hint).pack((1,))


@dataclass
class Altered:
    """Reading it back puts something else into it."""

    value: Any

    def __post_init__(self) -> None:
        self.value = altered(self.value)


ALTERED: list[tuple[Any, Any]] = [
    (0.0, -0.0), (-0.0, 0.0), (math.nan, -math.nan), (1.0, 2.0), ("a", "b"), (1, 2), (1, True),
    (None, ...), ([1], [1, 2]), ([1, 2], [1]), ([1], [2]), ([[1]], [[1.0]]),
    ({"a": 1}, {"a": 1, "b": 2}), ({"a": 1}, {"a": 2}), ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({1}, {1, 2}), ({1}, {2}), ({1}, {True}), ({1, 2}, {1}), ((1,), (1, 2)), ((1,), (1.0,)),
    (Tagged(1), Tagged(2)), (Tagged(1), (1,)), (Point(1.0, 2.0), Point(1.0, 3.0)),
    (Row("a"), Row("b")), (Row("a"), with_attribute(Row("a"))), (Tree(1), Tree(2)),
    (Colour.RED, Colour.BLUE), (b"a", bytearray(b"a")),
    (bytearray(b"a"), bytearray(b"b")), (memoryview(b"a"), memoryview(b"b")),
    (memoryview(b"ab"), memoryview(b"ab").cast("h")), (Decimal("1.0"), Decimal("1.00")),
    (Decimal("NaN"), Decimal("sNaN")), (uuid.UUID(int=1), uuid.UUID(int=2)),
    (dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 2)), (dt.time(1), dt.time(1, fold=1)),
    (dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)), (dt.time(1), dt.time(2)),
    (dt.date(2026, 1, 1), dt.date(2026, 1, 2)), (dt.timedelta(1), dt.timedelta(2)),
    (dt.time(1, tzinfo=PLUS_TWO), dt.time(1, tzinfo=dt.UTC)),
]  # fmt: skip


def altered(_: Any) -> Any:
    raise NotImplementedError


@pytest.mark.parametrize(("before", "after"), ALTERED, ids=repr)
def test_every_difference_is_seen(before: Any, after: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little a type's own code alters as it is read, the result is refused."""
    for other in (after, before):
        monkeypatch.setattr(sys.modules[__name__], "altered", lambda _, other=other: other)
        value = object.__new__(Altered)
        value.value = before
        carrying = carrier(Altered)
        if other is before:
            assert exact(carrying.unpack(carrying.pack(value))) == exact(value)
        else:
            with pytest.raises(Uncarriable, match=r"the result(\.value|'s)"):
                carrying.pack(value)


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


@dataclass
class Breaks:
    """Its hash fails once it is read back, and so does the error."""

    value: int

    def __hash__(self) -> int:
        if sys._getframe(1).f_code.co_filename.endswith("aswr/values.py"):
            raise Broken
        return self.value


def test_errors_of_the_users_types_are_translated() -> None:
    """Whatever a type raises, its hash or the text of its error, pack raises `Uncarriable`."""
    with pytest.raises(Uncarriable, match="would not come back: Broken"):
        carrier(set[Breaks]).pack({Breaks(1)})


# Annotations, from every kind of function


class Shop:
    def rows(self) -> "list[Row]":
        return []

    async def arows(self) -> "list[Row]":
        return []

    def __call__(self, unknown: "Unknown") -> list[Row]:
        return []


def rows_later(unknown: "Unknown") -> Awaitable["list[Row]"]:
    raise NotImplementedError


def rows_in_coroutine() -> "Coroutine[Any, Any, list[Row]]":
    raise NotImplementedError


def rows_of(year: int, unknown: "Unknown | None" = None) -> "list[Row]":
    return []


@functools.wraps(rows_of)
def wrapped(*args: Any, **kwargs: Any) -> Any:
    return rows_of(*args, **kwargs)


@pytest.mark.parametrize(
    "function",
    [
        rows_of, Shop.rows, Shop().rows, Shop().arows, Shop(), wrapped, functools.cache(rows_of),
        functools.partial(rows_of, 2026), functools.partial(functools.partial(Shop()), None),
        rows_later, rows_in_coroutine,
    ],
    ids=repr,
)  # fmt: skip
def test_the_annotation_is_found(function: Any) -> None:
    """Of functions and coroutines, methods, partials and callable objects; awaitables unwrapped.

    Names that only type checkers know, at the parameters, do no harm.
    """
    carrying = Carrier("rows", function)
    assert carrying.unpack(carrying.pack([Row("a")])) == [Row("a")]


def unknown_to_us() -> "Unknown":
    raise NotImplementedError


def unannotated(a, b):  # type: ignore[no-untyped-def]
    raise NotImplementedError


@pytest.mark.parametrize(
    "function",
    [
        unknown_to_us, unannotated, len, dict, functools.partial(len),
        *map(returning, [
            None, typing.NoReturn, typing.Never, typing.Self, typing.Coroutine, Awaitable,
            "", "1 +", 5, typing.ClassVar[int], int | Level, dt.datetime | str, Iterator[int],
            Callable, complex, type, typing.Protocol, typing.Generic, T, typing.LiteralString,
            list["Unknown"], ..., str,
        ]),
    ],
    ids=lambda function: repr(getattr(function, "__annotations__", function)),
)  # fmt: skip
def test_a_useless_annotation_is_no_harm(function: Any) -> None:
    """Unresolved, unsupported, absent or wrong: plain values are carried all the same."""
    carrying = Carrier("odd", function)
    for value in (None, True, 1, 1.0, -0.0, "a", b"a", [1, {"a": [None]}], {"a": 1.5, "b": 2}):
        assert exact(carrying.unpack(carrying.pack(value))) == exact(value)
    with pytest.raises(Uncarriable):
        carrying.pack([(1,)])


def test_the_annotation_is_looked_at_late() -> None:
    """What it names may come to be after the function was decorated."""
    scope: dict[str, Any] = {}
    exec("def late() -> 'list[Late]': ...", scope)
    carrying = Carrier("late", scope["late"])
    scope["Late"] = Row
    assert carrying.unpack(carrying.pack([Row("a")])) == [Row("a")]


# Bytes of any origin

SOME: list[tuple[Any, Any]] = [
    (Any, {"a": [1, 2.5, None, b"x"]}),
    (list[Row], [Row("a", 1.0, 5), Row("b")]),
    (dict[str, Decimal], {"a": Decimal("1.00")}),
    (Circle | Square, Square((Point(1.0, 2.0),), "a")),
    (Picky, Picky("ok")),
    (set[uuid.UUID], {uuid.UUID(int=1)}),
    (dt.datetime, dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
    (Tree, Tree(1, [Tree(2)])),
    (float, 5),
]
CARRIERS = [(carrier(hint), carrier(hint).pack(value)) for hint, value in SOME]


def check_unpack(carrying: Carrier, data: Any) -> bool:
    """Does it refuse? Raises whatever else is raised."""
    try:
        carrying.unpack(data)
    except ValueError:
        return True
    return False


@st.composite
def mutated(draw: st.DrawFn) -> tuple[Carrier, bytes]:
    carrying, data = draw(st.sampled_from(CARRIERS))
    at = draw(st.integers(0, len(data)))
    cut = draw(st.integers(at, len(data)))
    new = draw(
        st.binary(max_size=4)
        | st.just(b"\x91" * 5000)
        | st.sampled_from([b"\xa3bad", b"\xc7\x01\x05a"])
    )
    return carrying, draw(
        st.sampled_from([data[:at] + new + data[cut:], data[:8] + new, data[:at]])
    )


@given(mutated())
@settings(quick, max_examples=500)
def test_mutated_bytes(case: tuple[Carrier, bytes]) -> None:
    """Bytes that were changed on the way raise `ValueError` or are a result, nothing else."""
    check_unpack(*case)


@given(st.binary(max_size=60))
@quick
def test_foreign_bytes(data: bytes) -> None:
    """Bytes of any other origin raise `ValueError`; behind a mark they may be a result."""
    for carrying, packed in CARRIERS:
        assert check_unpack(carrying, data)
        check_unpack(carrying, packed[:8] + data)


class Mine:
    """Unpickling it would call something."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xc0", b"\xc1", pickle.dumps(Mine()), pickle.dumps(Mine(), 0), b"\x91" * 200_000,
        b"\x81\xa1a" * 200_000, b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x05", b"\xc0\xc0", b"\xa1\xff",
    ],
    ids=lambda data: repr(data[:20]),
)  # fmt: skip
def test_hostile_bytes(data: bytes) -> None:
    """Pickles, deep nesting, promises of gigabytes: `ValueError`, behind a sound mark as well."""
    for carrying, packed in CARRIERS:
        assert check_unpack(carrying, data)
        assert check_unpack(carrying, packed[:8] + data) or data == b"\xc0"


@pytest.mark.parametrize("data", [None, "text", 5, [], {}], ids=repr)
def test_no_bytes(data: Any) -> None:
    """What is no bytes is no result."""
    assert check_unpack(carrier(), data)


def test_truncated_bytes() -> None:
    """No beginning of a result is a result."""
    for carrying, packed in CARRIERS:
        assert not check_unpack(carrying, packed)
        assert all(check_unpack(carrying, packed[:at]) for at in range(len(packed)))


def test_a_type_that_refuses_what_is_read() -> None:
    """An error out of the user's types is a `ValueError` with that as its cause."""
    carrying = carrier(Picky)
    why = "^shop:prices: no result in these bytes: RuntimeError: not this one$"
    with pytest.raises(ValueError, match=why) as caught:
        carrying.unpack(carrying.pack(Picky("ok!")).replace(b"ok!", b"bad"))
    assert isinstance(caught.value.__cause__, RuntimeError)


# Other code


def stored(*fields: Any) -> Any:
    return msgspec.defstruct("Stored", fields)


STORED = stored(("price", int, 0))


@pytest.mark.parametrize(
    "other",
    [
        Any, list[Row], dict[str, int], stored(("cost", int, 0)), stored(("price", float, 0)),
        stored(("price", int)), stored(("price", int, 0), ("more", int, 0)),
        msgspec.defstruct("Other", [("price", int, 0)]), list[STORED],
    ],
    ids=repr,
)  # fmt: skip
def test_bytes_of_other_code_are_no_result(other: Any) -> None:
    """After a change of the return type or its fields, what the other code packed is not taken."""
    assert not check_unpack(carrier(STORED), carrier(STORED).pack(STORED(5)))
    assert check_unpack(carrier(other), carrier(STORED).pack(STORED(5)))
    for plain_value in (1, [1.0]):  # in no need of an annotation
        assert check_unpack(carrier(other), carrier(STORED).pack(plain_value))
        assert check_unpack(carrier(STORED), carrier(other).pack(plain_value))


IN_ANOTHER_PROCESS = """
import sys
sys.path.insert(0, {path!r})
import test_values as tests
for hint, value in tests.SOME:
    print(tests.carrier(hint).pack(value).hex())
print(tests.carrier(tests.WITH_DEFAULTS).pack(tests.WITH_DEFAULTS()).hex()[:16])
"""
WITH_DEFAULTS: Any = dataclasses.make_dataclass(
    "WithDefaults",
    [
        ("roles", frozenset[str], dataclasses.field(default=frozenset(["a", "b", "c"]))),
        ("made", list[int], dataclasses.field(default_factory=lambda: [1])),
    ],
    namespace={"__module__": "test_values"},
)


def test_bytes_of_another_process_are_results() -> None:
    """The same code reads the bytes in every process, whatever its hash seed."""
    code = IN_ANOTHER_PROCESS.format(path=str(Path(__file__).parent))
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True,
            text=True, timeout=50, check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert runs[0] == runs[1]
    assert len(runs[0].split()) == len(SOME) + 1


# The user's own codec


class Json:
    def encode(self, value: Any) -> bytes:
        return json.dumps(value).encode()

    def decode(self, data: bytes) -> Any:
        return json.loads(data)


class Wrong(Json):
    def encode(self, value: Any) -> Any:
        return str(value)


def test_a_codec_takes_the_annotation_s_place() -> None:
    """Its bytes are taken as they are, and what it gives back is trusted."""
    carrying = Carrier("own", unknown_to_us, Json())
    assert carrying.pack((1, "a")) == b'[1, "a"]'
    assert carrying.unpack(b'[1, "a"]') == [1, "a"]
    module: Any = msgspec.json
    assert Carrier("own", rows_of, module).pack([Row("a")]).startswith(b'[{"name"')


def test_a_codec_s_errors_are_translated() -> None:
    """No bytes, or an exception: `Uncarriable`, which names the codec; `ValueError` on reading."""
    with pytest.raises(Uncarriable, match=r"was made a str, not bytes, by Wrong\.encode\. Mend"):
        Carrier("own", rows_of, Wrong()).pack(1)
    with pytest.raises(Uncarriable, match=r"a object .* TypeError: .*Mend Json") as caught:
        Carrier("own", rows_of, Json()).pack(object())
    assert isinstance(caught.value.__cause__, TypeError)
    for data in (b"", b"{", b"\xff"):
        with pytest.raises(ValueError, match="own: no result in these bytes"):
            Carrier("own", rows_of, Json()).unpack(data)


class Coroutines:
    async def encode(self, value: Any) -> bytes:
        return b""

    def decode(self, data: bytes) -> Any:
        return None


class Half:
    def encode(self, value: Any) -> bytes:
        return b""

    decode = None


def test_what_is_a_codec() -> None:
    """None, or an object with two methods; a class in its place is told to be called."""
    codec: Codec = Json()
    for good in (None, codec, msgspec.json):
        check_codec(good)
    for bad in (0, "json", pickle, object(), Half(), Coroutines(), Json, Half, json.dumps):
        with pytest.raises(TypeError, match=r"codec must be an object .*codec=MyCodec\(\)"):
            check_codec(bad)
