"""Header text: the primitives of reading and writing it."""

import math
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aswr.http import (
    MOST_SECONDS,
    STORABLE,
    all_directives,
    by_name,
    cache_status,
    date,
    delta_seconds,
    directives,
    etags,
    format_date,
    lines,
    media_type,
    members,
    storable,
    string_list,
    vary_names,
    with_vary,
    without_ours,
)

quick = settings(deadline=None)


# Reading


def test_fields_by_name() -> None:
    """Names are in lower case, and the values of each in order."""
    fields = [("Vary", "a"), ("X", ""), ("VARY", "b")]
    assert by_name(iter(fields)) == {"vary": ["a", "b"], "x": [""]}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], {}),
        (["max-age=5"], {"max-age": "5"}),
        (["No-StOrE"], {"no-store": ""}),
        (["public, max-age=5"], {"public": "", "max-age": "5"}),
        (["public", "Max-Age=5"], {"public": "", "max-age": "5"}),  # over several lines
        (['max-age="5"'], {"max-age": "5"}),
        (['private="set-cookie, x"'], {"private": "set-cookie, x"}),
        (['a="b, c=d", max-age=5'], {"a": "b, c=d", "max-age": "5"}),
        (['ext="a \\"b\\" \\\\ c"'], {"ext": 'a "b" \\ c'}),
        (["max-age=5, max-age=9"], {"max-age": "5"}),  # the first counts
        (["max-age=5", "max-age=9"], {"max-age": "5"}),
        (["  public ,\tmax-age = 5  "], {"public": "", "max-age": "5"}),
        ([",,public,,"], {"public": ""}),
        (["max-age="], {"max-age": ""}),
        (["Accept-Encoding, *"], {"accept-encoding": "", "*": ""}),
        (['ext="no-store"'], {"ext": "no-store"}),  # a value is no directive
        (["max-age=5 9"], {"max-age": "", "9": ""}),  # neither 5 nor 9
        (['max-age="5"9'], {"max-age": '"5"9'}),
    ],
)
def test_directives(values: list[str], expected: dict[str, str]) -> None:
    """Names are in lower case, values unquoted, lines are one list, the first of a name counts."""
    assert directives(values) == expected


@pytest.mark.parametrize(
    "value",
    [
        'no-store, ext="unclosed',
        'ext="unclosed, no-store',
        '"", no-store',
        "=, no-store",
        "a b, no-store",
        "x; y, no-store",
        "no-store; max-age=60",
        "max-age=60; no-store",
        "no-store max-age=60",
        "max-age=60 no-store",
        'ext="a"b no-store',
        '"no-store',
    ],
)
def test_malformed_neighbours_hide_nothing(value: str) -> None:
    """A directive is found beside malformed ones."""
    assert "no-store" in directives([value])


parts = st.sampled_from(['"', "\\", "=", ",", ";", " ", "\t", "a", "no-store", "max-age", "5", "é"])
texts = st.text(max_size=20) | st.lists(parts, max_size=12).map("".join)


@given(st.lists(texts, max_size=3))
@settings(deadline=None, max_examples=300)
def test_no_text_is_too_odd_to_read(values: list[str]) -> None:
    """Whatever strangers write is read without an error, and no name has a separator in it."""
    for name in directives(values):
        assert name
        assert name == name.lower()
        assert not set(name) & set(' \t,=;"')
    fields = [("Vary", value) for value in values]
    assert all(member == member.strip() != "" for member in members(values))
    assert string_list(values) is None or all(value.isascii() for value in values)
    for name in vary_names(fields):
        assert name.isascii()
    for value in values:
        assert etags(value) == ("*",) or not set("".join(etags(value))) & set(" \t")
        assert date(value) is None
        delta_seconds(value)
    media_type([("Content-Type", value) for value in values])


@pytest.mark.parametrize(
    "unit",
    [
        '"',
        '\\"',
        '"\\',
        'a="',
        '"a,',
        '"a b,',
        '"a"b',
        "a= ",
        '";a="b"',
        '"x";a=a:',
        '"",',
        ",",
        "0",
    ],
)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    """A text made to send a parser back and forth is read in one go."""
    text = 'a="' + unit * (200_000 // len(unit)) + "\0"
    for value in (text, text[3:], text[2:]):
        all_directives([value])
        members([value])
        etags(value)
        string_list([value])
        vary_names([("Vary", value)])
        assert delta_seconds(value) is None
        assert date(value) is None


def test_every_value_of_a_directive() -> None:
    """Repeated directives are all there, and a value that is missing differs from an empty one."""
    assert all_directives(['a, A="", a=1', "a=2, b=x y"]) == {
        "a": [None, "", "1", "2"],
        "b": [""],  # two words are no value
        "y": [None],
    }


token = st.text(st.sampled_from("abcdefgxyz-"), min_size=1, max_size=8)
quotable = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=10)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(st.dictionaries(token, quotable, max_size=4), st.integers(0, 4))
@quick
def test_quoted_values_survive(wanted: dict[str, str], split: int) -> None:
    """Directives with quoted values are read as they were written, on one line or on two."""
    written = [f"{name}={quoted(value)}" for name, value in wanted.items()]
    found = directives([", ".join(written[:split]), ", ".join(written[split:])])
    assert found == wanted


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([""], []),
        (["a, b", "c"], ["a", "b", "c"]),
        ([" , a ,,\tb,"], ["a", "b"]),
        (['"a, b", c'], ['"a, b"', "c"]),
        (['x="a, \\", b";y, c'], ['x="a, \\", b";y', "c"]),
        (['a, "b, c', "d"], ["a", '"b, c,d']),  # not closed: to the end
        (['a, "b\\'], ["a", '"b\\']),
    ],
)
def test_members(values: list[str], expected: list[str]) -> None:
    """A list goes over lines, empty members count for nothing, quoted commas do not separate."""
    assert members(values) == expected


@given(st.lists(token | quotable.map(quoted), max_size=5))
@quick
def test_members_survive(wanted: list[str]) -> None:
    """What is joined by commas comes back as it was."""
    assert members([", ".join(wanted)]) == wanted
    assert members(wanted) == wanted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"xyzzy"', ['"xyzzy"']),  # RFC 9110 §8.8.3, §13.1.2
        ('W/"xyzzy"', ['W/"xyzzy"']),
        ('""', ['""']),
        ('"xyzzy", "r2d2xxxx", "c3piozzzz"', ['"xyzzy"', '"r2d2xxxx"', '"c3piozzzz"']),
        ('W/"xyzzy",W/"r2d2xxxx"\t, ,"c"', ['W/"xyzzy"', 'W/"r2d2xxxx"', '"c"']),
        ("*", ["*"]),
        (" * ", ["*"]),
        ('*, "a"', ['"a"']),  # a star stands alone
        ('"a,b", "c\\", "d"', ['"a,b"', '"c\\"', '"d"']),  # a backslash is a character
        ("", []),
        ("xyzzy", []),
        ("'xyzzy'", []),
        ('w/"xyzzy"', []),  # the mark has one case
        ('W /"xyzzy"', []),
        ('"a b"', []),
        ('"a\x00"', []),
        ('"unclosed', []),
        ('"a"b, "c"', ['"c"']),
        ('bad, "c", "x y", W/"d"', ['"c"', 'W/"d"']),
        ('"\xe9"', ['"\xe9"']),
    ],
)
def test_etags(text: str, expected: list[str]) -> None:
    """Well-formed tags are read as they are written, malformed members are left out."""
    assert etags(text) == tuple(expected)


opaque = st.text(st.sampled_from("!#,;\\az0\xe9"), max_size=5)
tag = st.builds('{}"{}"'.format, st.sampled_from(["", "W/"]), opaque)


@given(st.lists(tag, max_size=4))
@quick
def test_etags_survive(wanted: list[str]) -> None:
    """Tags joined by commas come back as they were, whatever characters they have."""
    assert etags(", ".join(wanted)) == tuple(wanted)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ()),
        ([""], ()),
        (['"sugar", "tea", "rum"'], ("sugar", "tea", "rum")),  # RFC 8941 §3.1
        (['"sugar"', '"tea",\t"rum"'], ("sugar", "tea", "rum")),
        (['"abc";a=1;b=2; c_-.*d, "ghi"; q="9;\\"";r="+w"'], ("abc", "ghi")),
        (['"a";x=?1;y=:cHJl:;z=-1.5;t=*a/b:c'], ("a",)),
        (['"a";x=@1659578233;y=%"f%c3%bc"'], ("a",)),  # RFC 9651
        (['"a \\"b\\" \\\\ , c"'], ('a "b" \\ , c',)),
        (['""'], ("",)),
        (["sugar"], None),  # a token
        (['"a", b'], None),
        (["1"], None),
        (["?1"], None),
        (['("a" "b")'], None),  # an inner list
        ([":cHJl:"], None),
        (['"a",'], None),
        (['"a",, "b"'], None),
        (['"a" "b"'], None),
        (['"a'], None),
        (['"\\a"'], None),
        (['"\xe9"'], None),
        (['"a\tb"'], None),
        (['"a";'], None),
        (['"a";X=1'], None),
        (['"a";x='], None),
        (['"a" ;x'], None),
        (["'a'"], None),
    ],
)
def test_string_list(values: list[str], expected: tuple[str, ...] | None) -> None:
    """A structured list of strings is read, anything else counts as no field at all."""
    assert string_list(values) == expected


@given(st.lists(quotable, max_size=4), st.sampled_from(["", ";a", ";a=1; b=?0"]))
@quick
def test_string_lists_survive(wanted: list[str], parameters: str) -> None:
    """Strings that are written as RFC 8941 §4.1.6 says come back as they were."""
    written = [quoted(text) + parameters for text in wanted]
    assert string_list([", ".join(written)]) == tuple(wanted)
    assert string_list(written) == tuple(wanted)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0.0),
        ("5", 5.0),
        ("0005", 5.0),
        ("2147483647", 2147483647.0),
        ("2147483648", MOST_SECONDS),
        ("99999999999", MOST_SECONDS),
        ("9" * 10_000, MOST_SECONDS),
        ("0" * 10_000 + "1", 1.0),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("1.5", None),
        ("1e3", None),
        ("1_000", None),
        (" 1", None),
        ("0x10", None),
        ("inf", None),
        ("\u0661", None),
        ("\u00b2", None),
    ],
)
def test_delta_seconds(text: str, expected: float | None) -> None:
    """Seconds are digits alone, and what is beyond 2**31 is 2**31."""
    assert delta_seconds(text) == expected


EXAMPLE = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC).timestamp()
NOW = datetime(2026, 6, 15, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",  # RFC 9110 §5.6.7
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun Nov 06 08:49:37 1994",
        "sun, 06 NOV 1994 08:49:37 gmt",  # RFC 9111 §4.2: in any case
        "Mon, 06 Nov 1994 08:49:37 GMT",  # the day's name need not be right
        "\tSun, 06 Nov 1994 08:49:37 GMT ",
    ],
)
def test_dates(text: str) -> None:
    """The three formats of an HTTP-date are read."""
    assert date(text) == EXAMPLE
    assert date(text, NOW) == EXAMPLE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-1",
        "now",
        "784111777",
        "1994-11-06T08:49:37Z",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37 -0100",
        "Sun, 06 Nov 1994 08:49:37 EST",
        "Sun, 06 Nov 1994 08:49:37 GMT; path=/",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT\n",
        "Sun, 06 Nov 1994 08:49 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06-Nov-1994 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sunday, 06 Nov 1994 08:49:37 GMT",
        "Sun,  06 Nov 1994 08:49:37 GMT",
        "Sun 06 Nov 1994 08:49:37 GMT",
        "06 Nov 1994 08:49:37 GMT",
        "Foo, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:60 GMT",
        "Sun, 06 Nov 1994 23:59:61 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov \u0661994 08:49:37 GMT",
        "\u017fun, 06 Nov 1994 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov  6 08:49:37 1994 GMT",
    ],
)
def test_no_dates(text: str) -> None:
    """Whatever else is written where a date belongs is none."""
    assert date(text) is None


@pytest.mark.parametrize(
    ("text", "year"),
    [
        ("Sunday, 06-Nov-94 08:49:37 GMT", 1994),
        ("Sunday, 06-Nov-27 08:49:37 GMT", 2027),
        ("Sunday, 06-Nov-75 08:49:37 GMT", 2075),
        ("Monday, 15-Jun-76 12:00:00 GMT", 2076),  # 50 years, not more
        ("Monday, 15-Jun-76 12:00:01 GMT", 1976),
        ("Sunday, 06-Nov-77 08:49:37 GMT", 1977),
    ],
)
def test_two_digits_of_a_year(text: str, year: int) -> None:
    """A year of two digits is in the past if it would be more than 50 years ahead."""
    found = date(text, NOW)
    assert found is not None
    assert datetime.fromtimestamp(found, UTC).year == year


def test_two_digits_of_a_year_without_a_clock() -> None:
    """Where nobody says what year it is, two digits are 1970 to 2069."""
    assert date("Thursday, 01-Jan-70 00:00:00 GMT") == 0.0
    assert date("Tuesday, 31-Dec-69 23:59:59 GMT") == date("Tue, 31 Dec 2069 23:59:59 GMT")


def test_a_leap_second_is_the_one_before() -> None:
    """A leap second is read as the nearest earlier one there is."""
    assert date("Sat, 31 Dec 2016 23:59:60 GMT") == date("Sat, 31 Dec 2016 23:59:59 GMT")
    assert date("Sat, 31 Dec 2016 23:58:60 GMT") is None


@given(st.floats(min_value=-62_135_596_800, max_value=253_402_300_799))
@quick
def test_dates_survive(seconds: float) -> None:
    """A moment that is written and read again is the same, rounded down to its second."""
    assert date(format_date(seconds)) == math.floor(seconds)
    assert date(format_date(seconds), NOW) == math.floor(seconds)


def test_format_date() -> None:
    """A date is written as an IMF-fixdate, and what is out of its range as the nearest one."""
    assert format_date(EXAMPLE) == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert format_date(0.9999999) == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert format_date(-0.5) == "Wed, 31 Dec 1969 23:59:59 GMT"
    assert format_date(math.inf) == "Fri, 31 Dec 9999 23:59:59 GMT"
    for odd in (-math.inf, math.nan):
        assert format_date(odd) == "Mon, 01 Jan 0001 00:00:00 GMT"


@given(st.text(max_size=40) | st.sampled_from("Sun, 06 Nov 1994 GMT-:08").map(str), st.floats())
@quick
def test_no_date_is_too_odd_to_read(text: str, now: float) -> None:
    """A text that is no date gives none, whatever the clock says."""
    assert date(text, now) is None
    date("Sunday, 29-Feb-00 08:49:37 GMT", now)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ()),
        ([""], ()),
        (["accept-encoding, accept-language"], ("Accept-Encoding", "Accept-Language")),
        (["Accept", "ACCEPT, x-y", "accept"], ("Accept", "X-Y")),
        (["*"], ("*",)),
        (["Accept, *"], ("*",)),
        (["Accept", " * , Cookie"], ("*",)),
        ([",, Accept ,"], ("Accept",)),
        (["Accept Cookie; Host"], ("Accept", "Cookie", "Host")),
        (['"Accept"'], ("Accept",)),
    ],
)
def test_vary_names(values: list[str], expected: tuple[str, ...]) -> None:
    """All lines are one list of names, each once; a star is all there is to say."""
    assert vary_names([("X", "y"), *(("vary", value) for value in values)]) == expected


@pytest.mark.parametrize(
    ("values", "names", "expected"),
    [
        ([], [], []),
        ([""], [], []),
        ([], ["accept", "Host"], ["Accept, Host"]),
        (["Cookie"], [], ["Cookie"]),
        (["Cookie", "accept"], ["Accept", "X-A"], ["Cookie, Accept, X-A"]),
        (["*"], ["Accept"], ["*"]),
        (["Cookie"], ["*"], ["*"]),
    ],
)
def test_with_vary(values: list[str], names: list[str], expected: list[str]) -> None:
    """One line says what was there and what is added, and none says nothing."""
    fields = [("A", "1"), *(("vary", value) for value in values), ("B", "2")]
    found = with_vary(iter(fields), names)
    assert lines(found, "vary") == expected
    assert [field for field in found if field[0] != "Vary"] == [("A", "1"), ("B", "2")]


@given(st.lists(texts, max_size=3), st.lists(token, max_size=3))
@quick
def test_with_vary_twice_is_once(values: list[str], names: list[str]) -> None:
    """Adding the same names again changes nothing, and no name that was there is lost."""
    fields = [("Vary", value) for value in values]
    once = with_vary(fields, names)
    assert with_vary(once, names) == once
    assert with_vary(once, []) == once
    assert set(vary_names(fields)) <= set(vary_names(once))


def test_statuses() -> None:
    """Some statuses are stored without saying, others where ``statuses=`` names them."""
    assert {status for status in range(100, 600) if storable(status, {})} == STORABLE
    assert frozenset({200, 203, 204, 300, 301, 308}) == STORABLE
    assert storable(404, {404: 30.0})


def test_media_type() -> None:
    """The media type comes in lower case without parameters, empty where there is none."""
    assert media_type([("content-type", "Text/Event-Stream; charset=utf-8")]) == "text/event-stream"
    assert media_type([("Content-Length", "1")]) == ""


# Writing


def test_cache_status() -> None:
    """The member is a token with parameters in their order; true is bare, false and empty go."""
    assert cache_status(hit=True, ttl=7) == "aswr; hit; ttl=7"
    assert cache_status(hit=True, ttl=-3, detail="revalidating") == (
        "aswr; hit; ttl=-3; detail=revalidating"
    )
    assert cache_status(fwd="uri-miss", stored=True, collapsed=False, detail="") == (
        "aswr; fwd=uri-miss; stored"
    )
    assert cache_status(fwd="stale", fwd_status=502) == "aswr; fwd=stale; fwd-status=502"
    assert cache_status(fwd="bypass", detail="reads cookie session") == (
        'aswr; fwd=bypass; detail="reads cookie session"'
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("stale-if-error", "stale-if-error"),
        ("a:b/c*!", "a:b/c*!"),
        ("*", "*"),
        ("1st", '"1st"'),  # a token begins with a letter
        ("two words", '"two words"'),
        ('say "no"', '"say \\"no\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("naïve", '"na?ve"'),
        ("a\r\nSet-Cookie: x=1", '"a??Set-Cookie: x=1"'),
        ("a\n", '"a?"'),
        ("a\x00\x7f", '"a??"'),
        (10**30, "999999999999999"),  # RFC 8941 §3.3.1 has fifteen digits
        (-(10**30), "-999999999999999"),
        (0, "0"),
    ],
)
def test_items(value: str | int, written: str) -> None:
    """A value is a token where it may be one, else a string of printable ASCII, quotes escaped."""
    assert cache_status(detail=value) == f"aswr; detail={written}"


ITEM = re.compile(
    r'-?[0-9]{1,15}|[A-Za-z*][A-Za-z0-9:/!#$%&\'*+.^_`|~-]*|"([ !#-\[\]-~]|\\["\\])*"'
)


@given(st.text(min_size=1) | st.integers())
@settings(deadline=None, max_examples=300)
def test_a_detail_is_always_one_item(value: str | int) -> None:
    """No text gets out of its parameter: what is written is one item of RFC 8941."""
    name, _, item = cache_status(detail=value).partition("; detail=")
    assert name == "aswr"
    assert ITEM.fullmatch(item)


def test_without_ours() -> None:
    """What we add goes, other caches' members and all other fields stay."""
    fields = [
        ("Content-Type", "text/html"),
        ("Age", "3"),
        ("Cache-Status", "aswr; hit; ttl=7"),
        ("cache-status", 'aswr; fwd=bypass; detail="a; b"'),
        ("Cache-Status", "aswr"),
        ("Cache-Status", "nginx; hit"),
        ("Cache-Status", "aswr-two; hit"),
        ("X-Age", "3"),
    ]
    assert without_ours(fields) == [fields[0], *fields[5:]]
    assert without_ours([]) == []
