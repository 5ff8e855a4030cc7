"""Canonical keys: equal requests and equal calls share one, all others do not."""

import dataclasses
import datetime
import enum
import functools
import re
import uuid
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
from flask import Request
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import create_environ

from aswr.keys import (
    LARGEST_KNOWN,
    MOST_KNOWN,
    CallKey,
    Signature,
    Unkeyable,
    VariantKey,
    ViewKey,
    base_of,
    canonical,
    canonical_query,
    digest,
    name_of,
    split_path,
)

quick = settings(deadline=None)


# The query


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", ""),
        (b"b=2&a=1", "a=1&b=2"),
        (b"a=2&b=x&a=1", "a=2&a=1&b=x"),  # equal names keep their order
        (b"a", "a="),
        (b"a=", "a="),
        (b"%41=%41", "A=A"),
        (b"a=1+2%203", "a=1+2+3"),
        (b"a=%2b", "a=%2B"),
        (b"a=%c3%a9", "a=%C3%A9"),
        (b"a=\xc3\xa9", "a=%C3%A9"),  # raw bytes, as some clients send them
        (b"&&a=1&", "a=1"),
        (b"=", "="),
        (b"a=b=c", "a=b%3Dc"),
        (b"a=1;b=2", "a=1%3Bb%3D2"),  # a semicolon separates nothing
    ],
)
def test_canonical_query(query: bytes, expected: str) -> None:
    """Parameters are sorted by name, equal names in their order, in one encoding."""
    assert canonical_query(query) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"a=1&a=2", b"a=2&a=1"),
        (b"a=1&b=2", b"a=1%26b=2"),
        (b"a=1", b"a=1&a=1"),
        (b"a%3D=1", b"a==1"),
        (b"a=%2B", b"a=+"),
        (b"a=%FF", b"a=%FE"),
        (b"a=%FF", b"a=\xef\xbf\xbd"),  # not the replacement character either
        (b"a", b"A"),
        (b"a=", b""),
    ],
)
def test_queries_that_differ(one: bytes, other: bytes) -> None:
    """Queries that a view could tell apart have different keys."""
    assert canonical_query(one) != canonical_query(other)


def test_bytes_that_are_not_utf8_stay_encoded() -> None:
    """A byte that is no text stays percent-encoded, in every spelling, and never raises."""
    assert canonical_query(b"a=\xff") == canonical_query(b"a=%FF") == canonical_query(b"a=%ff")


@pytest.mark.parametrize(
    ("query", "only", "expected"),
    [
        (b"b=2&a=1&c=3", {"a", "b"}, "a=1&b=2"),
        (b"a=2&b=x&a=1", {"a"}, "a=2&a=1"),
        (b"%61=1&b=2", {"a"}, "a=1"),  # by the name that the view sees
        (b"a=1", {"A"}, ""),
        (b"a+b=1&ab=2", {"a b"}, "a+b=1"),
        (b"%FF=1&b=2", {"%FF"}, "%25FF=1"),
        (b"a=1", set(), ""),
        (b"", {"a"}, ""),
    ],
)
def test_a_query_of_some_parameters_only(query: bytes, only: set[str], expected: str) -> None:
    """Parameters that are not named do not exist: they split nothing."""
    assert canonical_query(query, only) == expected


ENVIRON = create_environ()


def parsed(query: bytes) -> list[tuple[str, str]]:
    """What a view finds in ``request.args``, in order."""
    environ = {**ENVIRON, "QUERY_STRING": query.decode("latin-1")}
    return list(Request(environ).args.items(multi=True))


def by_name(pairs: list[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    names = sorted({name for name, _ in pairs})
    return [(name, [value for other, value in pairs if other == name]) for name in names]


odd_text = st.text(alphabet="ab=&;+% %é\x00\n\u2028\ufffd#?/", max_size=4)
pieces = st.sampled_from([b"a", b"b", b"=", b"&", b"%", b"%4", b"%41", b"%FF", b"+", b";", b"%26"])
queries = st.lists(pieces, max_size=12).map(b"".join)


@given(queries | st.text(max_size=20).map(lambda text: text.encode()))
@quick
def test_a_canonical_query_means_the_same(query: bytes) -> None:
    """The canonical query gives a view the parameters of the original, and stays as it is."""
    text = canonical_query(query)
    assert text.isascii()
    assert canonical_query(text.encode()) == text
    assert by_name(parsed(text.encode())) == by_name(parsed(query))


@given(queries, queries)
@quick
def test_queries_share_a_key_when_a_view_sees_no_difference(one: bytes, other: bytes) -> None:
    """Two queries have one key exactly where they have the same values under each name."""
    same = by_name(parsed(one)) == by_name(parsed(other))
    assert (canonical_query(one) == canonical_query(other)) is same


@given(st.binary(max_size=30))
@quick
def test_any_bytes_have_a_canonical_query(query: bytes) -> None:
    """Whatever a client sends has a canonical query, in printable ASCII."""
    text = canonical_query(query)
    assert text.isascii()
    assert not text or text.isprintable()
    assert canonical_query(text.encode()) == text


@given(st.lists(st.tuples(odd_text, odd_text), max_size=4), st.randoms())
@quick
def test_the_order_of_names_is_free(pairs: list[tuple[str, str]], random: Any) -> None:
    """Parameters of different names may come in any order."""
    unique = list(dict(pairs).items())
    shuffled = random.sample(unique, len(unique))
    assert canonical_query(urlencode(unique).encode()) == canonical_query(
        urlencode(shuffled).encode()
    )


# Paths


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("//report", ("/report", None)),
        ("/", ("/", None)),
        ("/a?", ("/a", "")),
        ("/a?b=1&a=2", ("/a", "a=2&b=1")),
        ("/caf%C3%A9", ("/café", None)),
        ("/café?ü", ("/café", "%C3%BC=")),
        ("/a#top", ("/a", None)),
        ("/a?b=1#top?c", ("/a", "b=1")),
        ("/a%3Fb", ("/a?b", None)),
    ],
)
def test_split_path(path: str, expected: tuple[str, str | None]) -> None:
    """A path is decoded, its query canonical, and no query differs from an empty one."""
    assert split_path(path) == expected


@pytest.mark.parametrize("path", ["", "report", "http://shop/report", "?a=1", None, 7, b"/report"])
def test_split_path_refuses(path: Any) -> None:
    """What is not a path gets an error that shows it and how to write one."""
    with pytest.raises(ValueError, match="starts with '/'") as error:
        split_path(path)
    assert repr(path) in str(error.value)
    assert "'/report?year=2026'" in str(error.value)


def test_a_view_key_shows_its_url() -> None:
    """A key's URL is what one would write in a browser, the mount point included."""
    key = ViewKey("app:view", "/shop", "/café 1", "a=1", "", ())
    assert key.url == "/shop/caf%C3%A9%201?a=1"
    assert key._replace(query="").url == "/shop/caf%C3%A9%201"


# Calls


class Colour(enum.Enum):
    RED = 1
    CRIMSON = 1
    BLUE = 2


class Level(enum.IntEnum):
    RED = 1


class Rights(enum.IntFlag):
    READ = 4


@dataclasses.dataclass
class Point:
    x: int
    y: Any = 0


@dataclasses.dataclass
class Place:
    x: int
    y: Any = 0


class Named(NamedTuple):
    x: int
    y: int


Pair = namedtuple("Pair", "x y")


class Labelled(Point):
    """Not a dataclass itself, so what it holds beside the fields is unknown."""

    def __init__(self, x: int, label: str) -> None:
        super().__init__(x)
        self.label = label


class Opaque:
    def __repr__(self) -> str:
        return "Opaque()"


DISTINCT: list[Any] = [
    1, True, 1.0, "1", b"1", None, 0, False, 0.0, -0.0, "", b"", "None", "True", 1j,
    Decimal(1), Fraction(1), Decimal("1.0"), float("inf"),
    (), [], set(), frozenset(), {}, (1,), [1], {1}, frozenset({1}), {1: 1}, {"1": 1}, {1: "1"},
    ((1, 2), 3), (1, (2, 3)), (1, 2, 3), [[1], [2]], [[1, 2]], [["1"]], ("int", 1), ["int", 1],
    (("int", 1),), "('int', 1)", {"a": [1]}, {"a": (1,)}, {("a", 1)}, [("a", 1)],
    Colour.RED, Colour.BLUE, Level.RED, Rights.READ, Rights(0), Rights(8), Rights(16), Rights(12),
    Point(1, 2), Point(1, 2.0), Place(1, 2), Named(1, 2), Pair(1, 2), (1, 2), {"x": 1, "y": 2},
    Point(1, Point(1)), Point(1, [Point(1)]),
    datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1), datetime.time(0),
    datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    datetime.datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")),
    datetime.datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")),
    datetime.datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
    datetime.timedelta(1), datetime.timedelta(0, 1), "2026-01-01",
    uuid.UUID(int=1), str(uuid.UUID(int=1)), range(1), range(2), 2**64, -(2**64),
    10**5000, 10**5000 + 1, hex(10**5000),
]  # fmt: skip


def test_values_that_differ_have_keys_that_differ() -> None:
    """Values, types and structures that differ never share a canonical form or a digest."""
    keys = [canonical(value) for value in DISTINCT]
    assert len(set(keys)) == len(DISTINCT)
    assert len({digest(CallKey("f", key)) for key in keys}) == len(DISTINCT)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({0, 8}, {8, 0}),  # equal hashes modulo 8: the order of a set is that of insertion
        (Colour.RED, Colour.CRIMSON),
        (Point(1, [2]), Point(1, [2])),
        ([1, (2, {"a": None})], [1, (2, {"a": None})]),
        (float("nan"), float("nan")),
        (10**5000, 10**5000),
    ],
    ids=["dict", "set", "enum", "dataclass", "nested", "nan", "huge"],
)
def test_equal_values_have_equal_keys(one: Any, other: Any) -> None:
    """The order of a dict or a set, an alias of a member, another equal object: one key."""
    assert canonical(one) == canonical(other)
    assert hash(canonical(one)) == hash(canonical(other))


class Text(str):
    pass


class Count(int):
    pass


UNKEYABLE: list[Any] = [
    Opaque(), object(), Text("a"), Count(1), OrderedDict(a=1), bytearray(b"a"), memoryview(b"a"),
    lambda: 0, int, iter([]), Labelled(1, "a"), [1, [Opaque()]], {"a": Opaque()}, {Opaque(): 1},
    Point(1, Opaque()),
]  # fmt: skip


@pytest.mark.parametrize("value", UNKEYABLE, ids=lambda value: type(value).__name__)
def test_what_cannot_be_keyed(value: Any) -> None:
    """What may hold more than it shows is a `TypeError`, also deep inside."""
    with pytest.raises(Unkeyable):
        canonical(value)


def key_of(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return Signature(function, "shop:price").key(args, kwargs)


def price(item: Any, amount: int = 1, *, currency: str = "EUR") -> None: ...


def plain(item: Any, amount: int = 1) -> None: ...


def loose(item: Any, /, *more: Any, **named: Any) -> None: ...


def test_every_spelling_of_a_call() -> None:
    """Positional, keyword, default and keyword order make no difference."""
    assert len({
        key_of(price, "a"), key_of(price, "a", 1), key_of(price, item="a"),
        key_of(price, amount=1, item="a"), key_of(price, "a", currency="EUR"),
        key_of(price, currency="EUR", amount=1, item="a"),
    }) == 1  # fmt: skip
    assert key_of(plain, "a") == key_of(plain, "a", 1) == key_of(plain, amount=1, item="a")


def test_calls_that_differ() -> None:
    """Another value, type or place of an argument is another call."""
    keys = [
        key_of(price, "a"), key_of(price, "b"), key_of(price, "a", 2), key_of(price, "a", True),
        key_of(price, b"a"), key_of(price, 1), key_of(price, "1"), key_of(price, 1.0),
        key_of(price, None), key_of(price, "a", currency="USD"), key_of(price, ("a", 1)),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)


def test_variable_arguments() -> None:
    """``*args`` keep their order, ``**kwargs`` do not, and neither passes for the other."""
    assert key_of(loose, 1, a=1, b=2) == key_of(loose, 1, b=2, a=1)
    keys = [
        key_of(loose, 1), key_of(loose, 1, 2), key_of(loose, 1, 2, 3), key_of(loose, 1, 3, 2),
        key_of(loose, 1, (2, 3)), key_of(loose, 1, a=2), key_of(loose, 1, item=2),
        key_of(loose, 1, {"a": 2}),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)


class Mimic(str):
    """Equal to a str, and hashed like it."""


class Rank(enum.IntEnum):
    ONE = 1


def test_a_remembered_call_stands_for_no_other() -> None:
    """A key is remembered for calls of the same exact types only, not for all equal ones."""
    signature = Signature(plain, "shop:price")
    one, text = signature.key((1,), {}), signature.key(("1",), {})
    assert signature.key((1,), {}) is one
    for other in (True, 1.0, Decimal(1), Rank.ONE, "1"):
        assert signature.key((other,), {}) != one
    assert signature.key((b"1",), {}) != text
    with pytest.raises(TypeError, match="holds a Mimic"):
        signature.key((Mimic("1"),), {})


def test_a_remembered_call_is_every_spelling_of_it() -> None:
    """Positional, keyword and default come to one key, whichever came first."""
    signature = Signature(plain, "shop:price")
    spellings: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        (("a",), {}), (("a", 1), {}), (("a",), {"amount": 1}), ((), {"amount": 1, "item": "a"}),
    ]  # fmt: skip
    assert len({signature.key(*spelling) for spelling in spellings * 2}) == 1


def test_a_default_that_changes_is_another_call() -> None:
    """A call is not remembered where the function's defaults may change."""
    default = ["a"]

    def listed(item: Any, more: Any = default) -> None: ...

    signature = Signature(listed, "shop:price")
    before = signature.key((1,), {})
    default.append("b")
    assert signature.key((1,), {}) != before


def test_remembered_calls_are_bounded() -> None:
    """Only so many calls of a function are remembered, and none with long arguments."""
    signature = Signature(plain, "shop:price")
    first = signature.key((0,), {})
    for number in range(1, MOST_KNOWN):
        signature.key((number,), {})
    assert signature.key((0,), {}) is first
    signature.key((MOST_KNOWN,), {})
    assert signature.key((0,), {}) is not first
    long = "a" * LARGEST_KNOWN
    for args in ((long,), (1 << 5000,), (1, long)):
        assert signature.key(args, {}) == signature.key(args, {})
        assert signature.key(args, {}) is not signature.key(args, {})


def test_calls_that_the_function_does_not_take() -> None:
    """A call that the function would refuse is Python's own `TypeError`."""
    with pytest.raises(TypeError, match="missing a required argument: 'item'"):
        key_of(price)
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        key_of(price, 1, colour=2)


def endless() -> list[Any]:
    values: list[Any] = []
    values.append(values)
    return values


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Opaque(), "a Opaque"),
        ([1, {"a": Opaque()}], "a Opaque"),
        (endless(), "a list that is too deep"),
        (Fraction(10**5000), "a Fraction that is too deep or too large"),
    ],
    ids=["object", "nested", "endless", "huge"],
)
def test_the_error_names_the_argument(value: Any, words: str) -> None:
    """An argument that cannot be keyed is named, with what it holds and the cure."""
    for function, args in ((price, (value,)), (plain, (value, 1))):
        with pytest.raises(TypeError) as error:
            key_of(function, *args)
        text = str(error.value)
        assert text.startswith("shop:price: argument 'item'")
        assert words in text
        assert "key=" in text


# For all plain values: a small pool, so that equal ones and near misses are drawn often

leaves = st.sampled_from([None, True, False, 0, 1, -1, 0.0, -0.0, 1.0, "", "0", "1", b"", b"1"])
hashables = st.recursive(leaves, lambda inner: st.lists(inner, max_size=2).map(tuple), max_leaves=3)
values = st.recursive(
    hashables,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.lists(inner, max_size=2).map(tuple)
        | st.dictionaries(hashables, inner, max_size=2)
        | st.sets(hashables, max_size=2)
        | st.frozensets(hashables, max_size=2)
    ),
    max_leaves=5,
)


def same(one: Any, other: Any) -> bool:
    """The same types and values, all the way down; the order of sets and dicts aside."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        one, other = list(one.items()), list(other.items())
    elif not isinstance(one, (set, frozenset)):
        return repr(one) == repr(other)
    return len(one) == len(other) and all(any(same(a, b) for b in other) for a in one)


@given(values, values)
@settings(deadline=None, max_examples=400)
def test_keys_are_equal_exactly_where_values_are_the_same(one: Any, other: Any) -> None:
    """Two plain values share a key if and only if their types and values are the same."""
    assert (canonical(one) == canonical(other)) is same(one, other)
    assert (digest(canonical(one)) == digest(canonical(other))) is same(one, other)


@given(st.lists(values, max_size=2), st.lists(values, max_size=2))
@quick
def test_calls_are_equal_exactly_where_their_arguments_are(
    one: list[Any], other: list[Any]
) -> None:
    """One signature, whatever it remembers, gives equal keys to the same arguments only."""
    signature = Signature(loose, "shop:price")
    keys = [signature.key((None, *args), {}) for args in (one, other) * 2]
    assert (keys[0] == keys[1]) is (keys[2] == keys[3]) is same(one, other)
    assert keys[:2] == keys[2:]


@given(st.lists(st.tuples(st.text(min_size=1, max_size=3), values), max_size=4), st.randoms())
@quick
def test_keyword_order_never_matters(pairs: list[tuple[str, Any]], random: Any) -> None:
    """Keywords in any order are the same call."""
    named = dict(pairs)
    shuffled = dict(random.sample(list(named.items()), len(named)))
    assert key_of(loose, 1, **named) == key_of(loose, 1, **shuffled)


# Names


def test_a_digest_stands_for_a_key() -> None:
    """It is 32 hexadecimal digits, of the key's values alone, whatever text they are made of."""
    key = ViewKey("app:view", "", "/", "", "", ())
    assert re.fullmatch("[0-9a-f]{32}", digest(key))
    assert digest(key) == digest(ViewKey(*key))
    assert digest(key._replace(path="\ud800")) != digest(key)  # no text is too odd


def test_parts_of_a_key_do_not_run_together() -> None:
    """What ends one part of a key never passes for the beginning of the next."""
    keys = [
        ViewKey("a", "", "/b", "c", "", ()), ViewKey("a", "/b", "", "c", "", ()),
        ViewKey("a", "", "/bc", "", "", ()), ViewKey("a", "", "/b", "", "c", ()),
        ViewKey("a/b", "", "", "c", "", ()), ViewKey("a", "", "/b', 'c", "", "", ()),
    ]  # fmt: skip
    assert len({digest(key) for key in keys}) == len(keys)


# Variants

BASE = ViewKey("app:view", "", "/", "", "", ())
input_values = st.none() | odd_text | st.tuples(st.just("g"), leaves.map(canonical))
variants = st.dictionaries(st.sampled_from(["host", "cookie a", "g.user"]), input_values).map(
    lambda read: VariantKey(BASE, tuple(sorted(read)), tuple(read[name] for name in sorted(read)))
)


@pytest.mark.parametrize("key", [BASE, CallKey("app:price", (1,)), ("a", "b", "c"), "text", None])
def test_what_is_no_variant_is_its_own_base(key: Any) -> None:
    """Only variants lie under another key's URL."""
    assert base_of(key) is key
    if isinstance(key, ViewKey):
        assert base_of(VariantKey(key, ("host",), ("shop",))) is key


@given(variants, variants)
@quick
def test_variants_are_the_same_exactly_where_they_read_the_same(
    one: VariantKey, other: VariantKey
) -> None:
    """Keys and digests differ wherever a name or a value does; absent is a value."""
    same = (one.names, one.values) == (other.names, other.values)
    assert (one == other) is same
    assert (digest(one) == digest(other)) is same
    assert digest(one) != digest(BASE)
    assert base_of(one) == base_of(other) == BASE


class Callee:
    def __call__(self) -> None: ...

    def method(self) -> None: ...


def test_names() -> None:
    """Functions, methods, partials and callable objects are named by module and qualname."""
    here = __name__
    assert name_of(price) == f"{here}:price"
    assert name_of(Callee.method) == name_of(Callee().method) == f"{here}:Callee.method"
    assert name_of(Callee()) == f"{here}:Callee"
    assert name_of(functools.partial(functools.partial(price, 1), 2)) == f"{here}:price"
    assert name_of(len) == "builtins:len"
