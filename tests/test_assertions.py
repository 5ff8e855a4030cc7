"""What a response says in Cache-Status, read as RFC 8941 has it, and asserted."""

import contextlib

import httpx
import pytest
from flask import Response
from hypothesis import given
from hypothesis import strategies as st

from aswr import http
from aswr.assertions import (
    CacheStatus,
    assert_fresh,
    assert_hit,
    assert_miss,
    assert_passes,
    assert_stale,
    cache_status,
)


def saying(*lines: str) -> Response:
    response = Response()
    for line in lines:
        response.headers.add("Cache-Status", line)
    return response


# What the README shows, and what each is.
SAID = {
    "aswr; hit; ttl=7": CacheStatus(hit=True, ttl=7),
    "aswr; hit; ttl=0": CacheStatus(hit=True, ttl=0),
    "aswr; hit; ttl=-3; detail=revalidating": CacheStatus(hit=True, ttl=-3, detail="revalidating"),
    "aswr; hit; ttl=0; detail=held-back": CacheStatus(hit=True, ttl=0, detail="held-back"),
    "aswr; hit; ttl=-30; detail=stale-if-error": CacheStatus(
        hit=True, ttl=-30, detail="stale-if-error"
    ),
    "aswr; hit; ttl=5; detail=soft-timeout": CacheStatus(hit=True, ttl=5, detail="soft-timeout"),
    "aswr; fwd=uri-miss; stored": CacheStatus(fwd="uri-miss", stored=True),
    "aswr; fwd=vary-miss; stored": CacheStatus(fwd="vary-miss", stored=True),
    "aswr; fwd=uri-miss; collapsed": CacheStatus(fwd="uri-miss", collapsed=True),
    "aswr; fwd=stale; fwd-status=304; stored": CacheStatus(
        fwd="stale", fwd_status=304, stored=True
    ),
    'aswr; fwd=uri-miss; detail="status 404"': CacheStatus(fwd="uri-miss", detail="status 404"),
    "aswr; fwd=uri-miss; detail=no-store": CacheStatus(fwd="uri-miss", detail="no-store"),
    "aswr; fwd=request; stored": CacheStatus(fwd="request", stored=True),
    'aswr; fwd=bypass; detail="reads cookie session"': CacheStatus(
        fwd="bypass", detail="reads cookie session"
    ),
    "aswr; fwd=method": CacheStatus(fwd="method"),
    "aswr; fwd=request; detail=no-store": CacheStatus(fwd="request", detail="no-store"),
    'aswr; hit; ttl=7; key="shop:page /a?b=\\"c\\""': CacheStatus(
        hit=True, ttl=7, key='shop:page /a?b="c"'
    ),
}
KIND = dict(
    zip(
        SAID,
        ["fresh", "fresh", "stale", "stale", "stale", "fresh", *["miss"] * 7, *["pass"] * 3,
         "fresh"],
        strict=True,
    )
)  # fmt: skip


@pytest.mark.parametrize("line", SAID)
def test_what_aswr_writes_is_read(line):
    """Every form that aswr writes is a value with just that in it."""
    assert cache_status(saying(line)) == SAID[line]


@pytest.mark.parametrize("line", SAID)
@pytest.mark.parametrize(
    ("check", "kinds"),
    [
        (assert_hit, {"fresh", "stale"}),
        (assert_fresh, {"fresh"}),
        (assert_stale, {"stale"}),
        (assert_miss, {"miss"}),
        (assert_passes, {"pass"}),
    ],
)
def test_assertions_hold_where_they_should(line, check, kinds):
    """Each holds for its kinds, returning what was read, and else tells what the response said."""
    if KIND[line] in kinds:
        assert check(saying(line)) == SAID[line]
        return
    with pytest.raises(AssertionError) as caught:
        check(saying(line))
    assert str(caught.value).endswith(f"Cache-Status: {line}")
    assert str(caught.value).startswith("expected a ")


@pytest.mark.parametrize(
    ("check", "line", "text"),
    [
        (assert_miss, "aswr; hit; ttl=7", "expected a miss, got a fresh hit, for 7 more s"),
        (
            assert_fresh, "aswr; hit; ttl=-3; detail=revalidating",
            "expected a fresh hit, got a stale hit, since 3 s (revalidating)",
        ),
        (
            assert_stale, "aswr; fwd=uri-miss; stored",
            "expected a stale hit, got a miss (uri-miss), stored",
        ),
        (
            assert_hit, "aswr; fwd=uri-miss; collapsed",
            "expected a hit, got a miss (uri-miss), collapsed into another's load",
        ),
        (
            assert_hit, 'aswr; fwd=stale; detail="status 404"',
            "expected a hit, got a miss (stale), not stored (status 404)",
        ),
        (assert_hit, "aswr; fwd=method", "expected a hit, got a pass (method)"),
        (
            lambda response: assert_passes(response, "cookie a"),
            'aswr; fwd=bypass; detail="reads cookie b"',
            "expected a pass because of 'cookie a', got a pass (reads cookie b)",
        ),
    ],
)  # fmt: skip
def test_failures_say_what_the_response_said(check, line, text):
    """In words, and as it stands in the header."""
    with pytest.raises(AssertionError) as caught:
        check(saying(line))
    assert str(caught.value) == f"{text}: Cache-Status: {line}"


def test_fresh_can_be_asked_for_or_not():
    """``fresh`` of assert_hit says which kind, None either."""
    fresh, stale = saying("aswr; hit; ttl=1"), saying("aswr; hit; ttl=-1; detail=revalidating")
    assert assert_hit(fresh, fresh=True) == assert_hit(fresh) == assert_fresh(fresh)
    assert assert_hit(stale, fresh=False) == assert_hit(stale) == assert_stale(stale)
    for response, wrong in ((fresh, False), (stale, True)):
        with pytest.raises(AssertionError):
            assert_hit(response, fresh=wrong)


def test_a_reason_is_part_of_what_is_said():
    """Of the detail, or where there is none, of the word for it."""
    said = saying('aswr; fwd=bypass; detail="reads cookie session"')
    assert_passes(said, "cookie session")
    assert_passes(saying("aswr; fwd=method"), "method")
    with pytest.raises(AssertionError):
        assert_passes(said, "bypass")


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ((), "has no Cache-Status"),
        (("",), "has no Cache-Status"),
        (("nginx; hit",), "no aswr says anything in this Cache-Status: nginx; hit"),
        (("aswr; hit, ",), "is no list"),
        (("aswr; hit=",), "is no list"),
        (("aswr; hit nginx",), "is no list"),
        (("aswr; Hit",), "is no list"),
        (('"aswr; hit',), "is no list"),
        (("aswr; ttl=1234567890123456",), "is no list"),
    ],
)
def test_what_says_nothing_is_no_status(lines, text):
    """Without the field, without our member in it, or malformed, it is an assertion that fails."""
    with pytest.raises(AssertionError, match=text):
        cache_status(saying(*lines))


@pytest.mark.parametrize(
    "lines",
    [
        ("origin; fwd=uri-miss", "aswr; hit; ttl=1"),
        ('"a, b"; hit, aswr; hit; ttl=1',),
        ("aswr; fwd=stale; stored ,\t aswr; hit; ttl=1, cdn; fwd=bypass",),
        ("x; n=1.5; b=:aGk=:; t=?1; f=?0; d=-7; s=a/b:c, aswr; hit=?1; ttl=1",),
        ('"aswr"; hit; ttl=1',),
        ("aswr; ttl=3; hit; ttl=1",),
        ("aswr; hit; ttl=1; stored=?0; collapsed=?0; new-parameter=1",),
    ],
)
def test_other_caches_say_something_too(lines):
    """Other members are stepped over, whatever is in them; of several of ours the last counts."""
    assert cache_status(saying(*lines)) == CacheStatus(hit=True, ttl=1)


def test_values_of_the_wrong_type_count_as_not_said():
    """A ``ttl`` that is no integer is none, and ``hit`` must be true (RFC 9211 §2)."""
    said = cache_status(saying("aswr; hit=?0; ttl=1.5; fwd-status=a; stored=1"))
    assert said == CacheStatus()


def test_responses_of_httpx_and_plain_mappings():
    """Whatever has headers will do."""
    lines = [("Cache-Status", "cdn; hit"), ("Cache-Status", "aswr; hit; ttl=1")]
    assert_fresh(httpx.Response(200, headers=lines))

    class Joined:
        headers = {"Cache-Status": "cdn; hit, aswr; hit; ttl=1"}

    assert_fresh(Joined())


@given(
    st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"])),
    st.integers(-(10**15) + 1, 10**15 - 1),
    st.booleans(),
)
def test_what_is_written_is_read_back(detail, ttl, stored):
    """Whatever `http.cache_status` is given, this reads."""
    line = http.cache_status(hit=True, ttl=ttl, stored=stored, detail=detail)
    said = cache_status(saying(line))
    assert said == CacheStatus(hit=True, ttl=ttl, stored=stored, detail=detail)


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"]), max_size=30))
def test_anything_is_a_status_or_an_assertion(text):
    """No header text leads to another error."""
    with contextlib.suppress(AssertionError):
        assert isinstance(cache_status(saying(f"aswr{text}")), CacheStatus)
