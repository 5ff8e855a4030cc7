"""What responses say to a shared cache, what requests ask of one, and what we say ourselves."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aswr.freshness import (
    IN_APP,
    UNDERSTOOD,
    Asks,
    Said,
    asks,
    emitted,
    said,
    storable_status,
)
from aswr.http import MOST_SECONDS, directives, format_date

quick = settings(deadline=None)
NOW = datetime(2026, 6, 15, 12, tzinfo=UTC).timestamp()
DAY = 86400.0
ETAG = '"xyzzy"'
MODIFIED = "Tue, 15 Nov 1994 12:45:26 GMT"


def at(seconds: float) -> str:
    return format_date(NOW + seconds)


def control(*values: str, status: int = 200) -> Said:
    return said(status, [("cache-control", value) for value in values], NOW)


SILENT = Said(
    alone="",
    lifetime=None,
    shared_lifetime=None,
    no_cache=False,
    no_stale=False,
    stale=None,
    error=None,
    public=False,
    credentials=False,
    age=0.0,
    etag="",
    last_modified="",
    vary=(),
    groups=(),
)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("Content-Type", "text/html"), ("X-Cache-Control", "no-store")],
        [("Cache-Control", "")],
        [("Cache-Control", 'ext="no-store, max-age=5"')],
        [("Cache-Control", "no-storey, xmax-age=5, immutable, no-transform")],
        [("Pragma", "no-cache")],  # RFC 9111 §5.4: it means nothing in a response
        [("Surrogate-Control", "max-age=5")],
        [("CDN-Cache-Control", "no-store")],  # RFC 9213: to others
        [("Age", "x"), ("Date", "x"), ("ETag", "x"), ("Last-Modified", "x"), ("Cache-Groups", "x")],
    ],
)
def test_what_says_nothing(fields: list[tuple[str, str]]) -> None:
    """Without a word to shared caches, and with none that can be read, nothing is said."""
    assert said(200, iter(fields), NOW) == SILENT


# Whether it may be shared


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("Set-Cookie", "a=1", "sets a cookie"),
        ("set-cookie", "", "sets a cookie"),
        ("Cache-Control", "no-store", "Cache-Control no-store"),
        ("cache-control", "public, No-StOrE", "Cache-Control no-store"),
        ("Cache-Control", "no-store=1", "Cache-Control no-store"),
        ("Cache-Control", "no-store; max-age=60", "Cache-Control no-store"),
        ("Cache-Control", "private", "Cache-Control private"),
        ("Cache-Control", 'private="x-user"', "Cache-Control private"),
        ("Cache-Control", "max-age=5, s-maxage=5, public, PRIVATE", "Cache-Control private"),
        ("Cache-Control", "max-age=60 private", "Cache-Control private"),
        ("Cache-Control", "private, no-store", "Cache-Control no-store"),
        ("Vary", "*", "Vary *"),
        ("vary", "Accept, *", "Vary *"),
        ("Cache-Control", "no-cache", ""),
        ("Cache-Control", "max-age=0, must-revalidate", ""),
        ("Vary", "Cookie", ""),
    ],
)
def test_alone(field: str, value: str, words: str) -> None:
    """A cookie, ``no-store``, ``private`` and ``Vary: *`` forbid to share, in any spelling."""
    fields = [("Content-Type", "text/html"), (field, value)]
    assert said(200, fields, NOW).alone == words


@pytest.mark.parametrize(
    ("value", "status", "words"),
    [
        ("must-understand, no-store", 200, ""),  # RFC 9111 §5.2.2.3
        ("no-store, must-understand, max-age=5", 404, ""),
        ("must-understand", 200, ""),
        ("must-understand, no-store", 299, "Cache-Control must-understand"),
        ("must-understand, max-age=5", 299, "Cache-Control must-understand"),
        ("must-understand, no-store", 206, "Cache-Control must-understand"),
        ("must-understand, no-store, private", 200, "Cache-Control private"),
        ("no-store", 299, "Cache-Control no-store"),
    ],
)
def test_must_understand(value: str, status: int, words: str) -> None:
    """``must-understand`` lifts ``no-store`` where the status is understood, else it forbids."""
    assert control(value, status=status).alone == words


def test_every_line_counts() -> None:
    """A second line of a field counts as the first does."""
    assert control("public", "max-age=5", "private").alone == "Cache-Control private"
    fields = [("Vary", "Accept"), ("VARY", "Cookie"), ("vary", "accept")]
    assert said(200, fields, NOW).vary == ("Accept", "Cookie")
    assert said(200, [*fields, ("Vary", "*")], NOW).vary == ("*",)


def test_statuses() -> None:
    """Final statuses below 500 are storable, but for parts and what RFC 6585 forbids."""
    stored = {status for status in range(1000) if storable_status(status)}
    assert stored == set(range(200, 500)) - {206, 304, 428, 429, 431}
    assert stored > UNDERSTOOD
    assert {200, 203, 204, 300, 301, 308, 404, 405, 410, 414} <= UNDERSTOOD  # RFC 9110 §15.1


@pytest.mark.parametrize(
    ("value", "public", "credentials"),
    [
        ("max-age=5", False, False),
        ("public", True, True),
        ("Public, max-age=5", True, True),
        ("s-maxage=5", False, True),
        ("must-revalidate", False, True),
        ("proxy-revalidate", False, False),
        ("no-cache", False, False),
    ],
)
def test_credentials(value: str, public: bool, credentials: bool) -> None:
    """``public``, ``s-maxage`` and ``must-revalidate`` alone let Authorization be shared over."""
    found = control(value)
    assert (found.public, found.credentials) == (public, credentials)


# How long


@pytest.mark.parametrize(
    ("value", "lifetime", "shared"),
    [
        ("max-age=5", 5.0, None),
        ("max-age=0", 0.0, None),
        ("MAX-AGE=5", 5.0, None),
        ("max-age = 5", 5.0, None),
        ('max-age="5"', 5.0, None),
        ("s-maxage=7", 7.0, 7.0),
        ("max-age=5, s-maxage=7", 7.0, 7.0),
        ("max-age=9, s-maxage=7", 7.0, 7.0),
        ("s-maxage=0, max-age=9", 0.0, 0.0),
        ("max-age=99999999999999999999", MOST_SECONDS, None),
        ("max-age=" + "9" * 9999, MOST_SECONDS, None),
        ("max-age=5, max-age=5", 5.0, None),
        ("max-age=5, max-age=3", 3.0, None),
        ("max-age=3, max-age=5", 3.0, None),
        ("max-age=5, max-age=x", 0.0, None),
        ("max-age", 0.0, None),
        ("max-age=", 0.0, None),
        ('max-age=""', 0.0, None),
        ("max-age=-1", 0.0, None),
        ("max-age=1.5", 0.0, None),
        ("max-age=+5", 0.0, None),
        ("max-age=5s", 0.0, None),
        ("max-age=5 5", 0.0, None),
        ("max-age='5'", 0.0, None),
        ("max-age=1e3", 0.0, None),
        ("max-age=\u00b2", 0.0, None),
        ("s-maxage=x, max-age=5", 0.0, 0.0),  # not max-age: that would be longer than was meant
        ("stale-while-revalidate=5", None, None),
    ],
)
def test_lifetimes(value: str, lifetime: float | None, shared: float | None) -> None:
    """``s-maxage`` beats ``max-age``, the most restrictive of several counts, odd ones are 0."""
    found = control(value)
    assert (found.lifetime, found.shared_lifetime) == (lifetime, shared)
    on_lines = control(*value.split(", "))
    assert (on_lines.lifetime, on_lines.shared_lifetime) == (lifetime, shared)
    fields = [("Cache-Control", value), ("Expires", at(DAY))]
    assert said(200, fields, NOW).lifetime == (DAY if lifetime is None else lifetime)


@pytest.mark.parametrize(
    ("expires", "sent", "lifetime"),
    [
        ([at(60)], [], 60.0),
        ([at(60)], [at(0)], 60.0),
        ([at(60)], [at(-30)], 90.0),
        ([at(60)], [at(30)], 30.0),
        ([at(60)], ["yesterday"], 60.0),
        ([at(60)], ["yesterday", at(-10), at(-30)], 90.0),
        ([at(0)], [], 0.0),
        ([at(-60)], [], 0.0),
        ([at(60)], [at(120)], 0.0),
        (["0"], [], 0.0),
        (["-1"], [], 0.0),
        ([""], [], 0.0),
        (["Thu, 18 Aug 2050 02:01:18"], [], 0.0),
        (["Thu, 18 Aug 2050 02:01:18 UTC"], [], 0.0),
        (["18 Aug 2050"], [], 0.0),
        ([at(60), at(30)], [], 30.0),
        ([at(60), "0"], [], 0.0),
        ([f"{at(60)}, {at(60)}"], [], 0.0),
        (["Monday, 15-Jun-26 12:01:00 GMT"], [], 60.0),
        (["Mon Jun 15 12:01:00 2026"], [], 60.0),
        (["Tuesday, 15-Jun-27 12:00:00 GMT"], [], 365 * DAY),
        (["Wednesday, 15-Jun-77 12:00:00 GMT"], [], 0.0),  # 1977
        ([at(60).lower()], [], 60.0),
    ],
)
def test_expires(expires: list[str], sent: list[str], lifetime: float) -> None:
    """``Expires`` counts from ``Date``, from now without one, and is past where it is no date."""
    fields = [("Expires", text) for text in expires] + [("Date", text) for text in sent]
    assert said(200, fields, NOW).lifetime == lifetime


@pytest.mark.parametrize(
    ("ages", "sent", "age"),
    [
        ([], [], 0.0),
        (["5"], [], 5.0),
        ([" 5 "], [], 5.0),
        (["0"], [], 0.0),
        ([], [at(-30)], 30.0),
        ([], [at(30)], 0.0),  # its clock is ahead
        (["5"], [at(-30)], 30.0),
        (["50"], [at(-30)], 50.0),
        (["5, 50"], [], 5.0),  # RFC 9111 §5.1: the first
        (["5", "50"], [], 5.0),
        (["x, 50"], [], 0.0),
        (["-5"], [], 0.0),
        (["5.5"], [], 0.0),
        (["5;x"], [], 0.0),
        (['"5"'], [], 0.0),
        ([""], [], 0.0),
        (["9" * 9999], [], MOST_SECONDS),
        (["x"], [at(-30)], 30.0),
        (["5"], ["x"], 5.0),
    ],
)
def test_age(ages: list[str], sent: list[str], age: float) -> None:
    """An answer is as old as its ``Age`` says, or its ``Date`` if that is more."""
    fields = [("Age", text) for text in ages] + [("Date", text) for text in sent]
    assert said(200, fields, NOW).age == age


# Stale


@pytest.mark.parametrize(
    ("value", "stale", "error"),
    [
        ("max-age=600, stale-while-revalidate=30", 30.0, None),  # RFC 5861 §3.1
        ("max-age=600, stale-if-error=1200", None, 1200.0),  # RFC 5861 §4.1
        ("stale-while-revalidate=30, stale-if-error=1200", 30.0, 1200.0),
        ('Stale-While-Revalidate="30"', 30.0, None),
        ("stale-while-revalidate=0", 0.0, None),
        ("stale-while-revalidate", 0.0, None),
        ("stale-while-revalidate=x, stale-if-error=-1", 0.0, 0.0),
        ("stale-while-revalidate=30, stale-while-revalidate=20", 20.0, None),
        ("stale-while-revalidate=30, stale-while-revalidate=x", 0.0, None),
        ("stale-if-error=99999999999", None, MOST_SECONDS),
    ],
)
def test_windows(value: str, stale: float | None, error: float | None) -> None:
    """The windows of RFC 5861 are read, and one that cannot be is empty."""
    found = control(value)
    assert (found.stale, found.error) == (stale, error)
    assert not found.no_stale


@pytest.mark.parametrize(
    ("value", "no_stale", "no_cache"),
    [
        ("max-age=5", False, False),
        ("max-age=5, must-revalidate", True, False),
        ("max-age=5, proxy-revalidate", True, False),
        ("max-age=5, Must-Revalidate=1", True, False),
        ("no-cache", True, True),
        ('no-cache="set-cookie"', True, True),
        ("no-cache, max-age=5", True, True),
        ("s-maxage=5", True, False),  # RFC 9111 §5.2.2.10
        ("s-maxage=x", True, False),
        ("s-maxage=5, stale-while-revalidate=5", False, False),
        ("s-maxage=5, stale-if-error=5", False, False),
        ("s-maxage=5, stale-while-revalidate=0", True, False),
        ("s-maxage=5, stale-if-error=x", True, False),
        ("s-maxage=5, stale-while-revalidate=5, must-revalidate", True, False),
        ("max-age=5, stale-while-revalidate=5, proxy-revalidate", True, False),
        ("stale-while-revalidate=5, stale-if-error=5, no-cache", True, True),
    ],
)
def test_never_stale(value: str, no_stale: bool, no_cache: bool) -> None:
    """What forbids stale answers does so beside any window, but ``s-maxage`` alone gives way."""
    found = control(value)
    assert (found.no_stale, found.no_cache) == (no_stale, no_cache)


# Validators and groups


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([ETAG], ETAG),
        ([f" {ETAG} "], ETAG),
        ([f"W/{ETAG}"], f"W/{ETAG}"),
        (['""'], '""'),
        ([ETAG, ETAG], ETAG),
        ([ETAG, '"other"'], ""),
        ([ETAG, f"W/{ETAG}"], ""),
        ([f'{ETAG}, "other"'], ""),
        (["xyzzy"], ""),
        (["*"], ""),
        ([""], ""),
        (['"unclosed'], ""),
        ([f"w/{ETAG}"], ""),
    ],
)
def test_etag(values: list[str], expected: str) -> None:
    """One well-formed entity tag is one; several that differ, or malformed ones, are none."""
    assert said(200, [("etag", value) for value in values], NOW).etag == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([MODIFIED], MODIFIED),
        ([f" {MODIFIED}\t"], MODIFIED),
        ([MODIFIED, MODIFIED], MODIFIED),
        ([MODIFIED, at(0)], ""),
        (["0"], ""),
        ([f"{MODIFIED}x"], ""),
        ([""], ""),
    ],
)
def test_last_modified(values: list[str], expected: str) -> None:
    """One date is kept as it is written; several that differ, or no date, are none."""
    fields = [("Last-Modified", value) for value in values]
    assert said(200, fields, NOW).last_modified == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (['"eshop"'], ("eshop",)),
        (['"eshop", "cart";x=1', '"x y"'], ("eshop", "cart", "x y")),
        (["eshop"], ()),
        (['"eshop", cart'], ()),
    ],
)
def test_groups(values: list[str], expected: tuple[str, ...]) -> None:
    """``Cache-Groups`` is a list of strings, and nothing where it is not (RFC 9875 §2)."""
    assert said(200, [("Cache-Groups", value) for value in values], NOW).groups == expected


FIELD = st.sampled_from(
    "Cache-Control Expires Date Age Vary ETag Last-Modified Cache-Groups Set-Cookie".split()
)
WORDS = (
    "max-age s-maxage no-store private must-understand stale-if-error stale-while-revalidate "
    'no-cache public , = ; " \\ 5 -1 * 99999999999999 W/ "x" ( é 0'
)
WORD = st.sampled_from([*WORDS.split(), at(0), at(60), " ", "\x00", "\n"])
TEXT = st.text(max_size=20) | st.lists(WORD, max_size=8).map("".join)


@given(st.lists(st.tuples(FIELD, TEXT), max_size=6), st.integers(), st.floats())
@settings(deadline=None, max_examples=300)
def test_no_response_is_too_odd_to_judge(
    fields: list[tuple[str, str]], status: int, now: float
) -> None:
    """Whatever a view writes is judged without an error, and no number of it is negative."""
    found = said(status, fields, now)
    for seconds in (found.lifetime, found.stale, found.error):
        assert seconds is None or seconds >= 0.0
    assert found.age >= 0.0
    assert found.alone or found.vary != ("*",)


# Requests


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no-cache", Asks(no_cache=True)),
        ("NO-CACHE=x", Asks(no_cache=True)),
        ("no-store", Asks(no_store=True)),
        ("only-if-cached", Asks(only_if_cached=True)),
        ("max-age=0", Asks(max_age=0.0)),
        ("max-age=5", Asks(max_age=5.0)),
        ('max-age="5"', Asks(max_age=5.0)),
        ("max-age=5, max-age=3", Asks(max_age=3.0)),
        ("max-age=x", Asks(max_age=0.0)),
        ("max-age", Asks(max_age=0.0)),
        ("max-age=-5", Asks(max_age=0.0)),
        ("min-fresh=5", Asks(min_fresh=5.0)),
        ("min-fresh=5, min-fresh=9, min-fresh=x", Asks(min_fresh=9.0)),
        ("max-stale", Asks(max_stale=math.inf)),
        ("max-stale=5", Asks(max_stale=5.0)),
        ("max-stale, max-stale=5", Asks(max_stale=5.0)),
        (
            "max-age=1, min-fresh=2, max-stale=3, no-cache, no-store, only-if-cached",
            Asks(True, True, True, 1.0, 2.0, 3.0),
        ),
        ("max-stale=5 " + "x" * 999, None),
        ("no-cache, " + "x" * 999, Asks(no_cache=True)),
        ("min-fresh=x", None),
        ("min-fresh", None),
        ("max-stale=x", None),
        ("max-stale=", None),
        ('max-stale=""', None),
        ("no-transform", None),
        ("s-maxage=5, must-revalidate", None),  # said by responses alone
        ('ext="no-cache"', None),
        (" ,, ", None),
        ("", None),
        (None, None),
    ],
)
def test_asks(text: str | None, expected: Asks | None) -> None:
    """What a request asks is read, the most restrictive counts, and ``None`` is nothing asked."""
    assert asks(text) == expected


def test_only_short_requests_are_remembered() -> None:
    """What requests usually ask is parsed once, and nobody fills memory by asking at length."""
    text, long = "max-age=5", "max-age=5, " + "x" * 999
    assert asks(text) is asks(text)
    assert asks(long) == asks(long)
    assert asks(long) is not asks(long)


@given(TEXT)
@quick
def test_no_request_is_too_odd_to_read(text: str) -> None:
    """Whatever a client writes is read without an error."""
    found = asks(text)
    assert found is None or found != Asks()


# Our own


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        ((60, 10, 3600), "max-age=60, stale-while-revalidate=10, stale-if-error=3600"),
        ((60.9, 0.9, 0), "max-age=60"),
        ((0, 0, 0), "max-age=0"),
        ((-5, -5, 5), "max-age=0, stale-if-error=5"),
        ((math.inf, math.inf, 0), f"max-age={2**31}, stale-while-revalidate={2**31}"),
        ((math.nan, math.nan, math.nan), "max-age=0"),
    ],
)
def test_emitted(windows: tuple[float, float, float], expected: str) -> None:
    """Windows are whole seconds rounded down, empty ones are left out but for ``max-age``."""
    fresh, stale, error = windows
    written = emitted(public=True, fresh=fresh, stale=stale, error=error)
    assert written == f"public, {expected}"
    written = emitted(public=False, fresh=fresh, stale=stale, error=error)
    assert written == f"private, {expected}"


whole = st.integers(0, 2**31)


@given(st.booleans(), whole, whole, whole)
@quick
def test_what_is_emitted_is_read(public: bool, fresh: int, stale: int, error: int) -> None:
    """What we say is read back as it was meant."""
    found = control(emitted(public=public, fresh=fresh, stale=stale, error=error))
    assert (found.lifetime, found.stale or 0, found.error or 0) == (fresh, stale, error)
    assert (found.public, found.alone) == (public, "" if public else "Cache-Control private")


def test_in_app() -> None:
    """In-app answers are for their caller, who asks again each time."""
    assert directives([IN_APP]) == {"private": "", "no-cache": ""}
