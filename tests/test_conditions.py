"""Conditional requests, ranges, 304 and what it renews."""

from dataclasses import astuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aswr.conditions import (
    Part,
    Unsatisfiable,
    byte_range,
    fields_of_304,
    not_modified,
    renewed,
    strong_etag,
    weak,
)
from aswr.http import etags, lines

quick = settings(deadline=None)

OLDER = "Sat, 29 Oct 1994 19:43:30 GMT"
DATE = "Sat, 29 Oct 1994 19:43:31 GMT"  # RFC 9110 §13.1.3
NEWER = "Sat, 29 Oct 1994 19:43:32 GMT"
Fields = list[tuple[str, str]]


# Entity tags


def test_strong_etag() -> None:
    """A tag is 32 hexadecimal digits in quotes, the same for the same parts and no others."""
    tag = strong_etag(b"ab", b"c")
    assert etags(tag) == (tag,)
    assert len(tag) == 34
    assert set(tag[1:-1]) <= set("0123456789abcdef")
    assert tag == strong_etag(b"ab", b"c")
    parts = [(b"abc",), (b"a", b"bc"), (b"ab", b"c", b""), (b"ab",), (), (b"",)]
    assert len({tag, *(strong_etag(*other) for other in parts)}) == 7


def test_weak() -> None:
    """A tag is weakened once, and no tag stays none."""
    assert weak('"x"') == 'W/"x"'
    assert weak(weak('"x"')) == 'W/"x"'
    assert weak("") == ""


# 304


@pytest.mark.parametrize(
    ("etag", "given", "expected"),
    [
        ('W/"1"', 'W/"1"', True),  # the table of RFC 9110 §8.8.3.2
        ('W/"1"', 'W/"2"', False),
        ('W/"1"', '"1"', True),
        ('"1"', 'W/"1"', True),
        ('"1"', '"1"', True),
        ('"xyzzy"', '"xyzzy", "r2d2xxxx", "c3piozzzz"', True),  # RFC 9110 §13.1.2
        ('"c3piozzzz"', 'W/"xyzzy", W/"r2d2xxxx", W/"c3piozzzz"', True),
        ('"other"', '"xyzzy", "r2d2xxxx", "c3piozzzz"', False),
        ('"1"', "*", True),
        ("", "*", True),
        ("", '"1"', False),
        ("", '""', False),
        ("", "", False),
        ('""', '""', True),
        ('"a,b"', '"a,b"', True),
        ('"b"', '"a,b"', False),
        ('"1"', "1", False),
        ('"1"', '"1" "2"', False),
        ('"1"', '"2", junk, "1"', True),
        ('"1"', '*, "2"', False),
        ('"*"', "*", True),
        ('"1"', "'1'", False),
    ],
)
def test_if_none_match(etag: str, given: str, expected: bool) -> None:
    """Tags compare weakly, a star matches all there is, and malformed members match nothing."""
    assert not_modified(etag, "", given, None) is expected


@pytest.mark.parametrize(
    ("modified", "since", "expected"),
    [
        (DATE, DATE, True),
        (OLDER, DATE, True),
        (NEWER, DATE, False),
        (DATE, "Saturday, 29-Oct-94 19:43:31 GMT", True),
        (DATE, "Sat Oct 29 19:43:31 1994", True),
        (DATE, "Sat, 29 Oct 1994 19:43:31", False),
        (DATE, f"{DATE}; length=5", False),
        (DATE, f"{DATE}, {DATE}", False),
        (DATE, "0", False),
        (DATE, "", False),
        (DATE, None, False),
        ("", DATE, False),
        ("x", DATE, False),
        ("", "", False),
        ("x", "x", False),
    ],
)
def test_if_modified_since(modified: str, since: str | None, expected: bool) -> None:
    """Not modified since its own date or a later one; what is no date is not there."""
    assert not_modified("", modified, None, since) is expected
    assert not_modified('"1"', modified, None, since) is expected


@pytest.mark.parametrize("given", ['"2"', "", "junk"])
def test_if_none_match_goes_first(given: str) -> None:
    """``If-Modified-Since`` is ignored beside ``If-None-Match``, even a malformed one."""
    assert not_modified('"1"', DATE, given, DATE) is False
    assert not_modified('"1"', NEWER, '"1"', DATE) is True


# Ranges


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-499", (0, 499)),  # RFC 9110 §14.1.2, of 10000 bytes
        ("bytes=500-999", (500, 999)),
        ("bytes=-500", (9500, 9999)),
        ("bytes=9500-", (9500, 9999)),
        ("bytes=0-0", (0, 0)),
        ("bytes=-1", (9999, 9999)),
        ("bytes=0-", (0, 9999)),
        ("bytes=9999-", (9999, 9999)),
        ("bytes=0-99999", (0, 9999)),
        ("bytes=-99999", (0, 9999)),
        ("bytes=-" + "9" * 9999, (0, 9999)),
        ("bytes=0-" + "9" * 9999, (0, 9999)),
        ("bytes=" + "0" * 9999 + "1-2", (1, 2)),
        ("Bytes=0-4", (0, 4)),
        ("bytes= 0-4 ", (0, 4)),
        ("bytes=,0-4,", (0, 4)),
        ("bytes=10000-", None),
        ("bytes=10000-10001", None),
        ("bytes=" + "9" * 9999 + "-", None),
        ("bytes=-0", None),
        ("bytes=-000", None),
    ],
)
def test_ranges(value: str, expected: tuple[int, int] | None) -> None:
    """One range of bytes is cut to the body, and is unsatisfiable where it lies outside of it."""
    found = byte_range(value, None, "", "", 10_000)
    assert found == (Unsatisfiable() if expected is None else Part(*expected))


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=,",
        "bytes=5",
        "bytes=5-4",
        "bytes=10001-10000",
        "bytes=0-4,5-9",
        "bytes=0-0,-1",
        "bytes=x-5",
        "bytes=5-x",
        "bytes=0x0-4",
        "bytes=+0-4",
        "bytes=--4",
        "bytes=0--4",
        "bytes=1.0-4",
        "bytes=0 - 4",
        "bytes=\u0661-\u0664",
        "byte\u017f=0-4",
        "bytes:0-4",
        "bytes 0-4",
        "bytes =0-4",
        " bytes=0-4",
        "bytes=0-4\n",
        "lines=0-4",
        "=0-4",
        "0-4",
    ],
)
def test_no_range(value: str | None) -> None:
    """Several ranges, other units, invalid and malformed ones get the whole."""
    assert byte_range(value, None, "", "", 10_000) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-", Unsatisfiable()),
        ("bytes=0-0", Unsatisfiable()),
        ("bytes=-0", Unsatisfiable()),
        ("bytes=-5", None),
        ("bytes=1-0", None),
    ],
)
def test_ranges_of_nothing(value: str, expected: Unsatisfiable | None) -> None:
    """A body without bytes has no first byte, and its last five are all of it."""
    assert byte_range(value, None, "", "", 0) == expected


@pytest.mark.parametrize(
    ("if_range", "etag", "modified", "part"),
    [
        (None, "", "", True),
        (None, 'W/"1"', "", True),
        ('"1"', '"1"', "", True),
        (' "1" ', '"1"', "", True),
        ('"1"', '"2"', "", False),
        ('W/"1"', 'W/"1"', "", False),  # the table of RFC 9110 §8.8.3.2
        ('W/"1"', '"1"', "", False),
        ('"1"', 'W/"1"', "", False),
        ('"1", "2"', '"1"', "", False),
        ('"1"', "", "", False),
        ('""', "", "", False),
        ("*", '"1"', DATE, False),
        ("1", '"1"', "", False),
        ("", '"1"', DATE, False),
        ("", "", "", False),
        (DATE, "", DATE, True),
        (DATE, '"1"', DATE, True),
        ("Saturday, 29-Oct-94 19:43:31 GMT", "", DATE, True),
        (DATE, "", OLDER, False),
        (DATE, "", NEWER, False),
        (DATE, "", "", False),
        ("0", "", "0", False),
    ],
)
def test_if_range(if_range: str | None, etag: str, modified: str, part: bool) -> None:
    """A part goes with the same strong tag or the very same date, else the whole is sent."""
    found = byte_range("bytes=0-4", if_range, etag, modified, 10)
    assert found == (Part(0, 4) if part else None)
    found = byte_range("bytes=10-", if_range, etag, modified, 10)
    assert found == (Unsatisfiable() if part else None)


@given(st.integers(0, 30), st.integers(0, 30), st.binary(max_size=20))
@quick
def test_a_part_is_what_slicing_gives(first: int, last: int, body: bytes) -> None:
    """The part of a body is that of the same slice of it."""
    for value, wanted in (
        (f"bytes={first}-{first + last}", body[first : first + last + 1]),
        (f"bytes={first}-", body[first:]),
        (f"bytes=-{last}", body[max(0, len(body) - last) :]),
    ):
        found = byte_range(value, None, "", "", len(body))
        if isinstance(found, Part):
            start, end = astuple(found)
            assert 0 <= start <= end < len(body)
            assert body[start : end + 1] == wanted
        else:
            assert not wanted


# The fields of a 304, and what it renews


ANSWER: Fields = [
    ("Content-Type", "text/html"),
    ("Content-Length", "5"),
    ("Content-Encoding", "gzip"),
    ("Content-Language", "en"),
    ("Content-Location", "/x"),
    ("Content-Digest", "sha-256=:eA==:"),
    ("Cache-Control", "max-age=5"),
    ("Date", DATE),
    ("Last-Modified", OLDER),
    ("ETag", '"1"'),
    ("Expires", NEWER),
    ("Vary", "Accept"),
    ("Age", "3"),
    ("Content-Security-Policy", "default-src 'none'"),
    ("Access-Control-Allow-Origin", "*"),
    ("Set-Cookie", "a=1"),
    ("Set-Cookie", "b=2"),
    ("X-Own", "x"),
]


def test_fields_of_304() -> None:
    """A 304 has what updates a cache and what is about the message, not what is about content."""
    kept = [name for name, _ in fields_of_304(iter(ANSWER))]
    assert (
        kept
        == (
            "Content-Location Cache-Control Date ETag Expires Vary Age Content-Security-Policy "
            "Access-Control-Allow-Origin Set-Cookie Set-Cookie X-Own"
        ).split()
    )
    assert fields_of_304([("content-TYPE", "x"), ("Transfer-Encoding", "chunked")]) == []


def test_last_modified_stands_in_for_the_etag() -> None:
    """``Last-Modified`` is in a 304 where there is no entity tag."""
    without = [field for field in ANSWER if field[0] != "ETag"]
    assert lines(fields_of_304(without), "last-modified") == [OLDER]


def test_renewed() -> None:
    """All lines of a name give way to the new ones, and the rest stays as it was."""
    stored = [("X-A", "1"), ("ETag", '"1"'), ("x-a", "2"), ("X-B", "3"), ("Cache-Control", "a")]
    fresh = [("X-a", "9"), ("cache-control", "b"), ("X-A", "8"), ("X-New", "7")]
    assert renewed(iter(stored), iter(fresh)) == [("ETag", '"1"'), ("X-B", "3"), *fresh]
    assert renewed(stored, []) == stored
    assert renewed(stored, [("etag", '"2"')])[-1] == ("etag", '"2"')


@pytest.mark.parametrize(
    "name",
    [
        "Content-Length",
        "content-encoding",
        "Content-Type",
        "CONTENT-RANGE",
        "Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "Proxy-Connection",
        "Proxy-Authenticate",
        "Proxy-Authentication-Info",
        "X-Hop",
    ],
)
def test_what_a_304_cannot_renew(name: str) -> None:
    """What the stored body depends on, and what is between two hops, is not renewed."""
    fresh = [("Connection", "close, x-HOP"), (name, "new"), ("X-A", "2")]
    assert renewed([(name, "old")], fresh) == [(name, "old"), ("X-A", "2")]
    assert renewed([], fresh) == [("X-A", "2")]


def test_a_renewed_answer_has_a_new_age() -> None:
    """``Age`` and ``Date`` of the stored answer go, so that they do not age the renewed one."""
    stored = [("Age", "50"), ("Date", OLDER), ("Expires", NEWER)]
    assert renewed(stored, []) == [("Expires", NEWER)]
    fresh = [("Age", "1"), ("Date", DATE)]
    assert renewed(stored, fresh) == [("Expires", NEWER), *fresh]


names = st.sampled_from([*{name for name, _ in ANSWER}, "Connection", "x-own", "TE"])
values = st.sampled_from(["1", "x-own, date", '"', "", "close"]) | st.text(max_size=5)
some_fields = st.lists(st.tuples(names, values), max_size=8)


@given(some_fields, some_fields)
@quick
def test_renewing_twice_is_once(stored: Fields, fresh: Fields) -> None:
    """The same 304 again changes nothing, and a 304's own fields lose nothing by being cut."""
    once = renewed(stored, fresh)
    assert renewed(once, fresh) == once
    short = fields_of_304(stored)
    assert fields_of_304(short) == short
    assert renewed(ANSWER, fields_of_304(ANSWER))[:4] == ANSWER[:4]


odd = st.text(max_size=20) | st.lists(
    st.sampled_from(["bytes", "=", "-", ",", "0", "5", '"', "W/", "*", " ", "\\", DATE, "\x00"]),
    max_size=8,
).map("".join)


@given(odd, odd, odd, odd, st.integers(0, 10))
@settings(deadline=None, max_examples=300)
def test_no_condition_is_too_odd_to_judge(
    one: str, two: str, tag: str, when: str, size: int
) -> None:
    """Whatever a client sends is judged without an error."""
    not_modified(tag, when, one, two)
    not_modified(tag, when, None, two)
    found = byte_range(one, two, tag, when, size)
    assert not isinstance(found, Part) or 0 <= found.first <= found.last < size
