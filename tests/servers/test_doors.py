"""What holds in-app holds at every door: one list of behaviours, asked over every way in.

A behaviour asserts what it says, and at each request which one answered: Flask, or a door before
it. Then all that its public pages said must be, field by field, what they say without a door.
"""

import contextlib
import functools
import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

import brotli
import pytest
import zstandard

from .ways import HOST, NO_DOOR, WAYS, WAYS_BELOW, Corner, Site, Way, Wire

MISSED = "fwd=uri-miss; stored"
SIZE_OF_BIG = 3_072_000


@dataclass(frozen=True)
class Behaviour:
    """``act`` asks and asserts, at the ways in for which there is such a thing."""

    act: Callable[[Corner], None]
    goes_for: Callable[[Way], bool]

    def __str__(self) -> str:
        return self.act.__name__.replace("_", "-")


BEHAVIOURS: list[Behaviour] = []
Act = Callable[[Corner], None]


def behaviour(act: Act, goes_for: Callable[[Way], bool] = lambda way: True) -> Act:
    """Add to the list what goes for every cached page."""
    BEHAVIOURS.append(Behaviour(act, goes_for))
    return act


def public_behaviour(act: Act) -> Act:
    """Add to the list what goes for public pages alone."""
    return behaviour(act, lambda way: way.pages == "public")


def behaviour_of_http_1(act: Act) -> Act:
    """Add to the list what goes for connections on which answers follow each other."""
    return behaviour(act, lambda way: way.http == "1.1")


def texts(*answers: Wire) -> list[str]:
    return [answer.text for answer in answers]


# What is asked again, and when.


@behaviour
def a_hit_is_its_miss(at: Corner) -> None:
    """A hit has the bytes and fields of its miss, and says how old it is."""
    for page in ("async", "def"):
        miss, hit = at.get(page), at.get(page)
        assert (miss.status, miss.text, miss.cache, miss["Age"]) == (200, "1", MISSED, "0")
        assert (hit.status, hit.text, hit.cache) == (200, "1", "hit; ttl=60")
        kept = [
            [field for field in answer.of_the_app[1] if field[0] != "cache-status"]
            for answer in (miss, hit)
        ]
        assert kept[0] == kept[1]
        assert hit["Content-Length"] == "1"
        assert hit["Content-Type"] == "text/html; charset=utf-8"


@behaviour
def it_grows_old(at: Corner) -> None:
    """Age and ttl follow the clock, and what has expired is loaded anew."""
    at.get("async")
    at.site.tick(59.5)
    old = at.get("async")
    assert (old.text, old["Age"], old.cache) == ("1", "59", "hit; ttl=0")
    at.site.tick(0.5)
    new = at.get("async")
    assert (new.text, new["Age"], new.cache) == ("2", "0", "fwd=stale; stored")


@behaviour
def what_is_stale_is_served_while_one_load_runs(at: Corner) -> None:
    """In the margin everybody is answered at once, and one load begins."""
    for page in ("stale", "stale-def"):
        at.get(page)
        at.site.tick(45)
        with at.held():
            stale = [at.get(page) for _ in range(3)]
            assert texts(*stale) == ["1", "1", "1"]
            assert {answer.cache for answer in stale} == {"hit; ttl=-5; detail=revalidating"}
        at.settle()
        renewed = at.get(page)
        assert (renewed.text, renewed["Age"]) == ("2", "0")


@behaviour
def the_margin_ends(at: Corner) -> None:
    """Nothing is served past its deadline."""
    at.get("stale")
    at.site.tick(60)
    assert at.get("stale").text == "2"


@behaviour
def an_error_of_a_load_is_stood_in_for(at: Corner) -> None:
    """With stale_if_error the old answer stands in for a load that failed, until its end."""
    at.get("stale-if-error")
    at.site.tick(70)
    with at.failing():
        # Who waited for the load that failed is Flask's to answer; it knows about the error.
        stood_in = at.get("stale-if-error", flask=True)
        assert (stood_in.status, stood_in.text) == (200, "1")
        assert stood_in.cache == "hit; ttl=-10; detail=stale-if-error"
        held_back = at.get("stale-if-error")
        assert (held_back.text, held_back.cache) == ("1", "hit; ttl=-10; detail=held-back")
        at.site.tick(60)
        assert at.get("stale-if-error", flask=True).status == 500


@behaviour
def each_who_waited_gets_the_apps_error_page(at: Corner) -> None:
    """An exception of the view is raised in each waiter's request; nothing is stored."""
    with at.failing():
        answers = at.together(3, "async")
    assert [(answer.status, answer.text) for answer in answers] == [(500, "our own page")] * 3
    assert all(answer.by_flask for answer in answers)
    assert not any(answer.cache for answer in answers)
    assert at.get("async").text == "2"


@behaviour
def many_wait_for_one_load(at: Corner) -> None:
    """Requests that come during a load get its answer."""
    answers = at.together(5, "async")
    assert texts(*answers) == ["1"] * 5
    said = sorted(answer.cache for answer in answers)
    assert said == ["fwd=uri-miss; collapsed"] * 4 + [MISSED]


@behaviour
def patience_ends(at: Corner) -> None:
    """Past wait_timeout the answer is 503 with Retry-After, and the load goes on."""
    with at.held():
        answer = at.get("impatient", flask=True)
        assert answer.status == 503
        assert int(answer["Retry-After"]) >= 1
        assert answer.cache == ""
    at.settle()
    assert (at.get("impatient").text, at.get("impatient").hit) == ("1", True)


# Methods, and what they change.


@behaviour
def head(at: Corner) -> None:
    """HEAD is answered from GET's entry with the same fields, and fills it."""
    filled = at.ask("async", method="HEAD")
    assert (filled.cache, filled.body) == (MISSED, b"")
    got, asked = at.get("async"), at.ask("async", method="HEAD")
    assert (got.text, got.cache) == ("1", "hit; ttl=60")
    assert asked.body == b""
    assert asked.of_the_app[:2] == got.of_the_app[:2]
    assert asked["Content-Length"] == "1"


@behaviour
def other_methods_pass(at: Corner) -> None:
    """What is neither GET nor HEAD reaches the view, each time."""
    for number, method in enumerate(("POST", "PUT", "DELETE"), 1):
        answer = at.ask("async", method=method, flask=True)
        assert (answer.text, answer.cache) == (str(number), "fwd=method")
    assert "GET" in at.ask("async", method="OPTIONS", flask=True)["Allow"]
    assert at.ask("async", method="PATCH", flask=True).status == 405


@behaviour
def a_post_invalidates(at: Corner) -> None:
    """A POST to a page makes what is stored of it void; the next GET is a miss."""
    at.get("async")
    at.get("async", more="?page=1")
    at.ask("async", method="POST", body=b"x=1", flask=True)
    new, other = at.get("async"), at.get("async", more="?page=1")
    assert (new.text, new.cache) == ("4", MISSED)
    assert (other.text, other.hit) == ("2", True)


@behaviour
def a_body_on_a_get(at: Corner) -> None:
    """A GET with a body passes where the view reads it, and is nobody else's answer."""
    # In HTTP/2 it is known only at a request's end that it has none: Flask answers the first.
    assert at.get("body", flask=None).text == " 1"
    at.settle()
    at.said.clear()
    fat = at.ask("body", body=b"fat", flask=True)
    assert (fat.text, fat.cache) == ("fat 2", 'fwd=bypass; detail="reads body"')
    assert (at.get("body").text, at.get("body").hit) == (" 1", True)


@behaviour
def a_body_of_unknown_length(at: Corner) -> None:
    """A body that comes in chunks, or of which HTTP/2 says nothing beforehand, is one as well."""
    at.get("body", flask=None)
    at.settle()
    at.said.clear()
    fat = at.ask("body", body=b"fat", sized=False, flask=True)
    assert (fat.text, fat.cache) == ("fat 2", 'fwd=bypass; detail="reads body"')
    at.get("async")
    assert at.ask("async", body=b"fat", sized=False, flask=None).hit


@behaviour
def a_body_that_is_not_read(at: Corner) -> None:
    """A GET with a body that the view does not read is answered as one without."""
    at.get("async")
    fat = at.ask("async", body=b"fat", flask=True)
    assert (fat.text, fat.hit) == ("1", True)


# Conditions and ranges.


@behaviour
def if_none_match(at: Corner) -> None:
    """Who holds the tag gets 304, by weak comparison, out of a list, or by "*"."""
    miss = at.get("async")
    tag = miss["ETag"]
    assert tag.startswith('"' if at.public else 'W/"')
    bare = tag.removeprefix("W/")
    for held in (tag, bare, f"W/{bare}", f'"other", {bare}', "*", f'"a,b" ,{tag}'):
        nothing = at.get("async", f"If-None-Match: {held}")
        assert (nothing.status, nothing.body, nothing["ETag"]) == (304, b"", tag)
        assert nothing["Cache-Control"] == miss["Cache-Control"]
        assert nothing.lines("Content-Type") == []
        assert nothing.hit
    for held in ('"other"', bare.strip('"'), ""):
        assert at.get("async", f"If-None-Match: {held}").text == "1"


@behaviour
def if_none_match_on_a_miss(at: Corner) -> None:
    """A condition on a miss is no part of the load, and what is stored is the whole."""
    tag = at.get("async")["ETag"]
    at.site.tick(60)
    at.get("async", 'If-None-Match: "none"')
    assert at.get("async", f"If-None-Match: {tag}").text == "2"
    other = at.get("def", "If-None-Match: *")
    assert (other.status, other.cache) == (304, MISSED)
    assert at.get("def").text == "1"


@behaviour
def if_modified_since(at: Corner) -> None:
    """Who has it since it was stored gets 304, unless a tag of his says otherwise."""
    at.get("async")
    since = formatdate(at.site.now + 1, usegmt=True)
    before = formatdate(at.site.now - 60, usegmt=True)
    assert at.get("async", f"If-Modified-Since: {since}").status == 304
    assert at.get("async", f"If-Modified-Since: {before}").status == 200
    assert at.get("async", "If-Modified-Since: yesterday").status == 200
    both = (f"If-Modified-Since: {since}", 'If-None-Match: "other"')
    assert at.get("async", *both).status == 200


@behaviour
def validators_of_the_views_own(at: Corner) -> None:
    """What the view says of itself leaves as it is, and conditions are weighed by it."""
    assert at.get("validated")["ETag"] == 'W/"mine"'
    assert at.get("validated", 'If-None-Match: "mine"').status == 304
    exactly = "If-Modified-Since: Mon, 13 Nov 2023 00:00:00 GMT"
    earlier = "If-Modified-Since: Sun, 12 Nov 2023 23:59:59 GMT"
    assert at.get("validated", exactly).status == 304
    assert at.get("validated", earlier).status == 200


@behaviour
def a_condition_of_a_head(at: Corner) -> None:
    """HEAD with a condition is 304, too."""
    tag = at.get("async")["ETag"]
    assert at.ask("async", f"If-None-Match: {tag}", method="HEAD").status == 304


@public_behaviour
def ranges(at: Corner) -> None:
    """One range of a stored answer is 206, from the middle, to the end, from the end."""
    whole = at.get("big").body
    for asked, first, last in (
        ("0-9", 0, 9), ("1000000-1000999", 1_000_000, 1_000_999), ("3071990-", 3_071_990, -1),
        ("-10", 3_071_990, -1), ("3071990-9999999", 3_071_990, -1), ("-9999999", 0, -1),
    ):  # fmt: skip
        part = at.get("big", f"Range: bytes={asked}")
        last %= SIZE_OF_BIG
        assert (part.status, part.body) == (206, whole[first : last + 1]), asked
        assert part["Content-Range"] == f"bytes {first}-{last}/{SIZE_OF_BIG}"
        assert part["Content-Length"] == str(last + 1 - first)
        assert part.hit


@public_behaviour
def ranges_that_are_none(at: Corner) -> None:
    """Past the end is 416; several ranges, other units, nonsense and HEAD get the whole."""
    at.get("long")
    size = at.get("long")["Content-Length"]
    for asked in ("999999-", "999999-9999999", "-0"):
        outside = at.get("long", f"Range: bytes={asked}")
        assert (outside.status, outside["Content-Range"]) == (416, f"bytes */{size}")
        assert outside["Content-Length"] == "0"
        assert outside["ETag"] == ""
    for asked in ("bytes=0-1,3-4", "lines=0-1", "bytes=5-1", "bytes=a-b", "bytes="):
        assert (answer := at.get("long", f"Range: {asked}")).status == 200, asked
        assert answer["Content-Length"] == size
    assert at.ask("long", "Range: bytes=0-9", method="HEAD").status == 200


@public_behaviour
def if_range(at: Corner) -> None:
    """A range is for who has the rest of the very same bytes."""
    tag = at.get("async")["ETag"]
    assert at.get("async", "Range: bytes=0-0", f"If-Range: {tag}").status == 206
    for other in (f"W/{tag}", '"other"', formatdate(at.site.now, usegmt=True)):
        whole = at.get("async", "Range: bytes=0-0", f"If-Range: {other}")
        assert (whole.status, whole.text) == (200, "1")


@public_behaviour
def a_range_on_a_miss(at: Corner) -> None:
    """Of a load that was asked for with a range the whole is stored."""
    part = at.get("big", "Range: bytes=0-9")
    assert (part.status, len(part.body), part.cache) == (206, 10, MISSED)
    assert len(at.get("big").body) == SIZE_OF_BIG


@behaviour
def a_condition_before_a_range(at: Corner) -> None:
    """If-None-Match is weighed before Range."""
    tag = at.get("async")["ETag"]
    assert at.get("async", "Range: bytes=0-0", f"If-None-Match: {tag}").status == 304


# Who shares an answer.


@behaviour
def variants(at: Corner) -> None:
    """Each value of a header that was read has its answer, and Vary says so."""
    sent = ([], ["X-Odd: a"], ["X-Odd: b"], ["x-ODD: a"], [], ["X-Odd: b", "X-Other: 1"])
    answers = [at.get("odd", *lines) for lines in sent]
    assert texts(*answers) == ["None 1", "a 2", "b 3", "a 2", "None 1", "b 3"]
    assert {answer["Vary"] for answer in answers} == {"X-Odd"}
    assert [answer.cache for answer in answers[:2]] == [MISSED, "fwd=vary-miss; stored"]


@behaviour
def a_header_twice(at: Corner) -> None:
    """The lines of a header are one value, to the key and to the view."""
    joined = at.get("odd", "X-Odd: a", "X-Odd: b")
    assert at.get("odd", "X-Odd: a").text == "a 2"
    assert at.get("odd", "X-Odd: a", "X-Odd: b").text == joined.text == "a,b 1"


@behaviour
def a_cookie_that_is_read(at: Corner) -> None:
    """Who brings the cookie that a view reads passes; all others share."""
    assert at.get("who").text == "None 1"
    mine = at.get("who", "Cookie: who=me", flask=True)
    assert (mine.text, mine.cache) == ("me 2", 'fwd=bypass; detail="reads cookie who"')
    assert mine["Cache-Control"] == "private, no-cache"
    assert mine.lines("Age") == []
    assert at.get("who", "Cookie: other=1").text == "None 1"


@behaviour
def a_cookie_on_a_miss(at: Corner) -> None:
    """Who brings the first request, and a cookie that the view reads, gets his own answer."""
    mine = at.get("who", "Cookie: a=1; who=me", flask=True)
    assert mine.text.startswith("me ")
    assert mine.cache == 'fwd=bypass; detail="reads cookie who"'
    assert at.get("who").text.startswith("None ")
    assert at.get("who").hit
    # He is let go while the load runs on: how much of it has happened when he leaves may differ.
    at.said.clear()


@behaviour
def credentials(at: Corner) -> None:
    """Who brings credentials that a view reads passes; where it does not, he shares."""
    assert at.get("authorization").text == "None 1"
    mine = at.get("authorization", "Authorization: Bearer me", flask=True)
    assert (mine.text, mine["Cache-Control"]) == ("Bearer me 2", "private, no-cache")
    assert at.get("authorization").hit
    at.get("async")
    assert at.get("async", "Authorization: Bearer me", "Cookie: who=me").hit


@behaviour
def the_session(at: Corner) -> None:
    """A page that reads the session is shared by all without one."""
    cookie = at.ask("login", flask=True)["Set-Cookie"].partition(";")[0]
    assert at.get("session").text == "None 1"
    mine = at.get("session", f"Cookie: {cookie}", flask=True)
    assert (mine.text, mine.cache) == ("me 2", 'fwd=bypass; detail="reads cookie session"')
    assert at.get("session").hit


@behaviour
def answers_that_set_a_cookie(at: Corner) -> None:
    """What sets a cookie, or writes the session, is nobody else's."""
    for page in ("sets-cookie", "login"):
        # Under ASGI the first one's load is all that it takes to know; then all pass.
        answers = [at.get(page, flask=None) for _ in range(3)]
        assert len({answer.text for answer in answers}) == 3
        assert all(answer["Set-Cookie"] for answer in answers)
        assert not any(answer.cache or answer["Age"] for answer in answers)


@behaviour
def hosts(at: Corner) -> None:
    """Where the view reads the host each has its own answer; elsewhere they share."""
    here, there = at.ask("host"), at.ask("host", host="127.0.0.1:81")
    assert here.text == "http://shop.example/static/x 1"
    assert there.text == "http://127.0.0.1:81/static/x 2"
    assert at.ask("host").text == here.text
    at.ask("async")
    assert at.ask("async", host="127.0.0.1").hit


@behaviour
def a_host_that_is_not_trusted(at: Corner) -> None:
    """TRUSTED_HOSTS holds for what is stored, too."""
    at.get("async")
    for host in ("evil.example", "shop.example.evil.example", "shop.example@evil"):
        assert at.ask("async", host=host, flask=True).status == 400
    assert at.get("async").hit


@behaviour
def the_order_of_parameters(at: Corner) -> None:
    """Parameters are sorted by name; those of one name keep their order, to key and view."""
    first = at.get("raw-query", more="?b=2&a=1&b=1")
    assert first.text == "a=1&b=2&b=1 1"
    assert at.get("raw-query", more="?a=1&b=2&b=1").text == first.text
    assert at.get("raw-query", more="?b=%32&b=1&%61=1").text == first.text
    assert at.get("raw-query", more="?a=1&b=1&b=2").text == "a=1&b=1&b=2 2"
    assert at.get("raw-query", more="?").text == at.get("raw-query").text


@behaviour
def odd_parameters(at: Corner) -> None:
    """However a parameter is written, key and view see the same."""
    asked = ["?page=1;page=2", "?page=1%26page=2", "?page=a+b", "?page=%C3%A9", "?page=%ff"]
    answers = [at.get("query", more=more) for more in asked]
    assert texts(*answers[:4]) == ["['1;page=2'] 1", "['1&page=2'] 2", "['a b'] 3", "['é'] 4"]
    assert [at.get("query", more=more).text for more in asked] == texts(*answers)
    assert at.get("query", more="?page=a%20b").text == answers[2].text


@behaviour
def parameters_that_do_not_count(at: Corner) -> None:
    """query=["page"] and query="read" share an answer however much else is in the query."""
    for page in ("query-page", "query-read"):
        first = at.get(page, more="?page=1")
        for junk in ("?page=1&utm_source=x", "?utm=1&page=1", "?page=1&&x", "?page=1&y=%ff"):
            answer = at.get(page, more=junk)
            assert (answer.text, answer.hit) == (first.text, True)
        assert at.get(page, more="?page=2").text != first.text


# Paths.


@behaviour
def encoded_paths(at: Corner) -> None:
    """A path is what it says decoded, however it is written."""
    for more, path in (("/a%20b", "a b"), ("/%C3%A9%E2%82%AC", "é€"), ("/x%3Fy%3D1", "x?y=1")):
        first = at.get("path", more=more)
        assert first.text.rpartition(" ")[0].endswith(ascii(path)[1:])
        assert at.get("path", more=more).hit
    assert at.get("path", more="/%61%20b").text == at.get("path", more="/a%20b").text
    assert at.get("path", more="/%C3%A9/").text != at.get("path", more="/%C3%A9").text


@behaviour
def double_slashes(at: Corner) -> None:
    """Flask's own redirect of slashes is as without a cache, and does not make a hit."""
    at.get("path", more="/a/b")
    answer = at.get("path", more="//a//b", flask=True)
    assert answer.status == 308
    assert answer["Location"].endswith(f"/path/{at.name}/a/b")


@behaviour
def paths_that_lead_nowhere(at: Corner) -> None:
    """What no route knows is the app's own 404."""
    at.get("async")
    for more in ("/", "/x", "%2f", ".css"):
        answer = at.get("async", more=more, flask=more != ".css")
        expected = (200, "1") if more == ".css" else (404, "nothing here")
        assert (answer.status, answer.text) == expected, more


# What an answer may be.


@behaviour
def statuses(at: Corner) -> None:
    """What is stored is stored with its status: by the usual list, and by statuses=."""
    for status in (200, 203, 300, 308, 404):
        answers = [at.get("status", more=f"/{status}") for _ in range(2)]
        assert [answer.status for answer in answers] == [status] * 2
        assert answers[1].hit
    for status in (201, 202, 400, 403, 410, 418):
        answers = [at.get("status", more=f"/{status}") for _ in range(2)]
        assert [answer.status for answer in answers] == [status] * 2
        assert answers[0].text != answers[1].text
        assert {a.cache for a in answers} == {f'fwd=uri-miss; detail="status {status}"'}


@behaviour
def statuses_of_failure(at: Corner) -> None:
    """A 5xx is passed on and not stored."""
    for status in (500, 503):
        more = f"/{status}"
        first, second = (at.get("status", more=more, flask=True) for _ in range(2))
        assert (first.status, second.status) == (status, status)
        assert first.text != second.text
        assert first.cache == f"fwd=uri-miss; fwd-status={status}"


@behaviour
def the_apps_own_404(at: Corner) -> None:
    """What a view aborts with is the app's own page, stored as statuses= says."""
    answers = [at.get("missing") for _ in range(2)]
    assert {(answer.status, answer.text) for answer in answers} == {(404, "nothing here")}
    assert answers[1].hit


@behaviour
def redirects(at: Corner) -> None:
    """A redirect is stored with its Location."""
    for answer in (at.get("redirect"), at.get("redirect")):
        assert (answer.status, answer["Location"]) == (301, "/public/async/elsewhere")
    assert answer.hit


@behaviour
def no_content(at: Corner) -> None:
    """204 has no body and no length of one; an empty body has length 0."""
    for page, status in (("nothing", 204), ("empty", 200)):
        for answer in (at.get(page), at.get(page), at.ask(page, method="HEAD")):
            assert (answer.status, answer.body) == (status, b"")
            assert answer["X-Number"] == "1"
            assert answer["Content-Length"] == ("0" if page == "empty" else "")
        assert answer.hit


@behaviour
def a_large_body(at: Corner) -> None:
    """Three megabytes arrive as they are, with their length."""
    for answer in (at.get("big"), at.get("big")):
        assert zlib.crc32(answer.body) == zlib.crc32(bytes(range(256)) * 12_000)
        assert answer["Content-Length"] == str(SIZE_OF_BIG)
    assert answer.hit
    assert at.ask("big", method="HEAD")["Content-Length"] == str(SIZE_OF_BIG)


@behaviour
def streams(at: Corner) -> None:
    """A stream that ends is stored whole."""
    at.get("stream")
    again = at.get("stream")
    assert (again.text, again.hit) == ("one two 1", True)
    assert again["Content-Length"] == "9"


@behaviour
def codings(at: Corner) -> None:
    """Each gets the coding that he accepts, with its own tag, out of one load."""
    decode: dict[str, Callable[[bytes], bytes]] = {
        "br": brotli.decompress, "zstd": zstandard.decompress, "gzip": gzip.decompress, "": bytes,
    }  # fmt: skip
    plain = at.get("long")
    tags = set()
    for coding, decoded in decode.items():
        line = f"Accept-Encoding: {coding or 'identity'}"
        for method in ("GET", "HEAD"):
            answer = at.ask("long", line, method=method)
            assert (answer["Content-Encoding"], answer.hit) == (coding, True)
            assert answer["Vary"] == "Accept-Encoding"
        tag = answer["ETag"]
        answer = at.get("long", line)
        assert decoded(answer.body) == plain.body
        assert answer["Content-Length"] == str(len(answer.body))
        assert at.get("long", line, f"If-None-Match: {tag}").status == 304
        tags.add(tag)
    assert len(tags) == (4 if at.public else 1)
    assert at.get("long", "Accept-Encoding: gzip;q=0, *;q=0")["Content-Encoding"] == ""
    assert at.get("long", "Accept-Encoding: br;q=0.5, zstd;q=0.9")["Content-Encoding"] == "zstd"


@public_behaviour
def a_range_of_a_coding(at: Corner) -> None:
    """A range is one of the bytes of the coding that is sent."""
    whole = at.get("long", "Accept-Encoding: gzip")
    part = at.get("long", "Accept-Encoding: gzip", "Range: bytes=2-9")
    assert (part.status, part.body) == (206, whole.body[2:10])
    assert part["ETag"] == whole["ETag"]


# What answers and requests say of caching.


@behaviour
def what_leaves(at: Corner) -> None:
    """Public answers say how long they live; what is inside is for nobody else to keep."""
    at.get("stale")
    said = at.get("stale")["Cache-Control"]
    public = "public, max-age=40, stale-while-revalidate=20"
    assert said == (public if at.public else "private, no-cache")


@behaviour
def what_answers_say(at: Corner) -> None:
    """no-store and private are not stored, s-maxage counts, and all leave as they were said."""
    for said in ("no-store", "private", "No-Store, max-age=9"):
        more = f"?Cache-Control={said.replace(' ', '%20')}"
        answers = [at.get("says", more=more) for _ in range(2)]
        assert [answer["Cache-Control"] for answer in answers] == [said] * 2
        assert answers[0].text != answers[1].text
    more = "?Cache-Control=s-maxage=10"
    at.get("says", more=more)
    at.site.tick(9)
    answer = at.get("says", more=more)
    assert (answer["Cache-Control"], answer.cache) == ("s-maxage=10", "hit; ttl=1")
    at.site.tick(1)
    assert not at.get("says", more=more).hit


@behaviour
def what_answers_say_alone(at: Corner) -> None:
    """Without timeout the answer alone decides, and Vary is what it says."""
    more = "?Cache-Control=max-age=10,stale-while-revalidate=10&Vary=X-Odd"
    assert texts(*(at.get("rfc", f"X-Odd: {v}", more=more) for v in "aba")) == ["1", "2", "1"]
    at.site.tick(15)
    assert at.get("rfc", "X-Odd: a", more=more).cache == "hit; ttl=-5; detail=revalidating"
    at.settle()
    assert at.get("rfc", "X-Odd: a", more=more).text == "3"
    assert [at.get("rfc").text for _ in range(2)] == ["4", "5"]
    fresh = "?Cache-Control=max-age=10"
    at.get("rfc", more=fresh)
    mine = at.get("rfc", "Cookie: a=1", more=fresh, flask=True)
    assert mine.cache == 'fwd=bypass; detail="sends credentials"'


@behaviour
def what_requests_say(at: Corner) -> None:
    """request_directives=True obeys the request; other pages do not."""
    at.get("heeding")
    at.site.tick(10)
    assert at.get("heeding", "Cache-Control: max-age=10").hit
    assert at.get("heeding", "Cache-Control: max-age=9").cache == "fwd=request; stored"
    assert at.get("heeding", "Cache-Control: no-cache").text == "3"
    assert at.get("heeding", "Cache-Control: min-fresh=61").text == "4"
    assert at.get("heeding", "Cache-Control: only-if-cached", flask=True).text == "4"
    at.site.tick(70)
    assert at.get("heeding", "Cache-Control: only-if-cached", flask=True).status == 504
    assert at.get("heeding", "Cache-Control: max-stale=10").text == "4"
    at.settle()
    assert at.get("heeding", "Cache-Control: no-store", flask=True).text == "5"
    at.site.tick(60)
    passed = at.get("heeding", "Cache-Control: no-store", flask=True)
    assert (passed.text, passed.cache) == ("6", "fwd=request; detail=no-store")
    assert at.get("heeding").text == "7"
    at.get("async")
    assert at.get("async", "Cache-Control: no-cache, no-store, max-age=0").hit


@behaviour
def hooks(at: Corner) -> None:
    """What an after_request hook adds is on every answer, once."""
    tag = at.get("async")["ETag"]
    lines = ([], [f"If-None-Match: {tag}"], ["Range: bytes=0-0"], ["If-None-Match: x"])
    for answer in (at.get("async", *line) for line in lines):
        assert answer.lines("X-Hook") == ["1"]
    assert at.ask("async", method="HEAD").lines("X-Hook") == ["1"]
    at.get("who")
    assert at.get("who", "Cookie: who=me", flask=True).lines("X-Hook") == ["1"]


# How they arrive.


@behaviour
def one_write(at: Corner) -> None:
    """A hit comes in one piece, or in two where the server writes the head by itself."""
    answers = [at.get("long") for _ in range(5)][1:]
    assert max(answer.pieces for answer in answers) <= 2
    assert not any(answer["Transfer-Encoding"] for answer in answers)


@behaviour_of_http_1
def one_connection(at: Corner) -> None:
    """What a door answers and what Flask does follow each other in step."""
    asked: list[tuple[str, str, dict[str, str], int, bytes]] = [
        ("GET", "async", {}, 200, b"1"), ("HEAD", "async", {}, 200, b""),
        ("GET", "async", {"If-None-Match": "*"}, 304, b""), ("GET", "nothing", {}, 204, b""),
        ("GET", "who", {"Cookie": "who=me"}, 200, b"me"), ("HEAD", "nothing", {}, 204, b""),
        ("GET", "empty", {}, 200, b""), ("PATCH", "async", {}, 405, b""),
        ("GET", "big", {"If-None-Match": "*"}, 304, b""), ("GET", "stream", {}, 200, b"one two 1"),
        ("GET", "async", {"Host": "evil.example"}, 400, b""), ("GET", "def", {}, 200, b"1"),
    ]  # fmt: skip
    with contextlib.closing(at.site.server.connection()) as connection:
        for method, page, fields, status, body in asked * 3:
            connection.request(method, at.target(page), headers={"Host": HOST, **fields})
            response = connection.getresponse()
            content = response.read()
            assert response.status == status, (method, page)
            assert content.startswith(body), (method, page)


@pytest.fixture(scope="module")
def site_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Way], Site]]:
    """The site of a way in. One runs at a time: the list goes way by way."""
    running: dict[Way, Site] = {}
    with contextlib.ExitStack() as stack:

        def site_of(way: Way) -> Site:
            if way not in running:
                running.clear()
                stack.close()
                running[way] = stack.enter_context(Site(way, tmp_path_factory.mktemp(way.name)))
            return running[way]

        yield site_of


@pytest.fixture(scope="module")
def without_a_door(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[Behaviour], list[Wire]]]:
    """What public pages behind no door say in a behaviour; asked once."""
    with Site(NO_DOOR, tmp_path_factory.mktemp("measure")) as site:
        yield functools.cache(lambda behaviour: act(behaviour, site))


def act(behaviour: Behaviour, site: Site) -> list[Wire]:
    corner = Corner(site, str(behaviour))
    behaviour.act(corner)
    return corner.said


EVERYTHING = [
    pytest.param(way, behaviour, id=f"{way}-{behaviour}")
    for way in WAYS
    for behaviour in BEHAVIOURS
    if behaviour.goes_for(way)
]


@pytest.mark.parametrize(("way", "behaviour"), EVERYTHING)
def test_every_way_in(
    way: Way,
    behaviour: Behaviour,
    site_of: Callable[[Way], Site],
    without_a_door: Callable[[Behaviour], list[Wire]],
) -> None:
    """What a behaviour says holds, and public pages say it byte for byte as without a door."""
    said = act(behaviour, site_of(way))
    if way.pages == "public":
        assert [wire.of_the_app for wire in said] == [
            wire.of_the_app for wire in without_a_door(behaviour)
        ]


@pytest.mark.parametrize("way", WAYS_BELOW, ids=str)
def test_below_a_path(way: Way, tmp_path: Path) -> None:
    """Below SCRIPT_NAME, or ASGI's root_path, pages are found and purged, and links lead there."""
    with Site(way, tmp_path) as site:
        at = Corner(site, "below")
        assert [at.get("redirect")["Location"] for _ in range(2)] == [
            "/shop/public/async/elsewhere"
        ] * 2
        assert at.said[-1].hit
        assert at.get("path", more="/x").text == f"'/public/path/{at.name}/x' 1"
        at.get("async")
        assert at.get("async").hit
        at.ask("async", method="POST", flask=True)
        assert at.get("async").text == "3"
