"""Header text: what a response says about storing it, and what we say about it."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aswr.http import (
    STORABLE,
    cache_status,
    directives,
    forbids_storing,
    lines,
    media_type,
    storable,
    without_ours,
)

quick = settings(deadline=None)


# Reading


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
    ],
)
def test_directives(values: list[str], expected: dict[str, str]) -> None:
    """Names are in lower case, values unquoted, lines are one list, the first of a name counts."""
    assert directives(values) == expected


@pytest.mark.parametrize(
    "value",
    ['no-store, ext="unclosed', '"", no-store', "=, no-store", "a b, no-store", "x; y, no-store"],
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
    forbids_storing([(name, value) for name in ("cache-control", "vary") for value in values])
    media_type([("Content-Type", value) for value in values])


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
    ("field", "value", "words"),
    [
        ("Set-Cookie", "a=1", "sets a cookie"),
        ("set-cookie", "", "sets a cookie"),
        ("Cache-Control", "no-store", "Cache-Control no-store"),
        ("cache-control", "public, No-Store", "Cache-Control no-store"),
        ("Cache-Control", "private", "Cache-Control private"),
        ("Cache-Control", 'private="x-user"', "Cache-Control private"),
        ("Cache-Control", "max-age=5, PRIVATE", "Cache-Control private"),
        ("Vary", "*", "Vary *"),
        ("vary", "Accept, *", "Vary *"),
        ("Cache-Control", "no-cache", ""),  # to browsers: Flask's send_file says so
        ("Cache-Control", "max-age=0, must-revalidate", ""),
        ("Cache-Control", 'ext="no-store"', ""),
        ("Cache-Control", "no-storey", ""),
        ("Pragma", "no-cache", ""),
        ("Vary", "Accept-Encoding", ""),
        ("X-Cache-Control", "no-store", ""),
    ],
)
def test_forbids_storing(field: str, value: str, words: str) -> None:
    """A cookie, ``no-store``, ``private`` and ``Vary: *`` forbid to store, in any spelling."""
    assert forbids_storing([("Content-Type", "text/html"), (field, value)]) == words


def test_every_line_of_a_field_counts() -> None:
    """A second line of a field forbids as the first does, and fields may come from an iterator."""
    fields = [("Cache-Control", "public"), ("Vary", "Accept"), ("cache-control", "no-store")]
    assert forbids_storing(iter(fields)) == "Cache-Control no-store"
    assert forbids_storing([*fields[:2], ("VARY", "*")]) == "Vary *"
    assert lines(fields, "cache-control") == ["public", "no-store"]


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
