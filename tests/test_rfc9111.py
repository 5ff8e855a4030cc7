"""HTTP as a shared cache: RFC 9111 §3 to §5, and what it takes from RFC 9110, 9211 and 5861.

A proxy-like app (`proxied`), whose views are decorated with ``vary="response"`` and no timeout, is
asked over real sockets. One test per sentence, which its docstring shortens and cites.

What says nothing to aswr, and why:

| RFC 9111 | sentence | why not here |
|---|---|---|
| §3 | final status codes only | WSGI has no interim answers |
| §3.1 | trailer fields | WSGI has none |
| §3.3, §3.4, §4.3.1 | completing and combining parts | neither parts nor halves are stored |
| §3.5, §5.2.2.7 | a private cache | aswr is a shared one; scope= has tests of its own |
| §4 | caches without a clock | aswr has one |
| §4.1 | Vary: Range, X-Request-Id and the like | no render is shown them: all are absent |
| §4.2 | clocks of less resolution than a date | a float is of more |
| §4.2.2 | heuristic freshness | there is none: what says nothing is not stored |
| §4.2.3 | response_delay without an Age | the view is the origin: its answer is new when made |
| §4.3.2 | the client's tags in a validation | MAY; no render is shown a client's conditions |
| §4.3.5 | a HEAD to the origin | aswr loads with GET, whatever was asked |
| §5.2.1.6, §5.2.2.6 | no-transform | no content is transformed |
| §5.4, §5.5 | Pragma, Warning | deprecated, obsolete |
| RFC 9110 §6.6.1 | a Date for what has none | servers write one as they answer; Age says the rest |
"""

from collections.abc import Iterator

import pytest

from .conftest import Background, Clock, Gate
from .proxied import Body, Corner, Proxy, Wire, date

VIEWS = {
    "public": {"vary": "response", "public": True},
    "inside": {"vary": "response"},
    "heeding": {"vary": "response", "public": True, "request_directives": True},
}
MINUTE = "Cache-Control: max-age=60"


@pytest.fixture(scope="module")
def time() -> Clock:
    """The clock of all tests here; each begins wherever the last one left it."""
    return Clock(1_700_000_000.0)


@pytest.fixture(scope="module")
def proxy(time: Clock) -> Iterator[Proxy]:
    with Proxy(time, VIEWS).serving() as proxy:
        yield proxy


@pytest.fixture(params=["public", "inside"])
def cache(proxy: Proxy, request: pytest.FixtureRequest) -> Corner:
    """A corner of the public view and one of the other."""
    return proxy.corner(request.param)


@pytest.fixture
def public(proxy: Proxy) -> Corner:
    return proxy.corner("public")


@pytest.fixture
def heeding(proxy: Proxy) -> Corner:
    return proxy.corner("heeding")


def texts(*answers: Wire) -> list[str]:
    """The bodies, by which a test tells which of the origin's answers it got."""
    return [answer.text for answer in answers]


def together(cache: Corner, gate: Gate, *headers: str) -> list[Wire]:
    """The answers to requests that all came before the origin had answered the first."""
    calls = [Background(lambda line=line: cache.ask(*([line] if line else []))) for line in headers]
    gate.await_arrival()
    while cache.proxy.manager.stats()["waiting"] < len(headers):
        pass
    gate.open()
    return [call.result() for call in calls]  # type: ignore[misc]


class TestStoring:
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
    def test_other_methods(self, cache: Corner, method: str) -> None:
        """MUST NOT store a response unless the request method is understood (§3)."""
        cache.origin.says(MINUTE)
        cache.ask(method=method)
        after = cache.ask()
        assert (after.text, after.hit) == ("2", False)

    @pytest.mark.parametrize(
        ("status", "lines"),
        [(206, ["Content-Range: bytes 0-0/9"]), (206, ["Content-Range: bytes 0-0/9", 'ETag: "a"']),
         (304, ['ETag: "a"'])],
    )  # fmt: skip
    def test_parts(self, cache: Corner, status: int, lines: list[str]) -> None:
        """MUST NOT store a 206 or 304 unless the cache understands it (§3)."""
        cache.origin.says(MINUTE, *lines, status=status)
        assert [cache.ask().status for _ in range(3)] == [status] * 3
        assert cache.origin.count == 3

    @pytest.mark.parametrize("status", [200, 203, 204, 301, 404, 410])
    def test_understood_statuses(self, cache: Corner, status: int) -> None:
        """SHOULD ignore no-store beside must-understand if the status is understood (§5.2.2.3)."""
        cache.origin.says("Cache-Control: no-store, must-understand, max-age=60", status=status)
        cache.ask()
        assert cache.ask().hit

    @pytest.mark.parametrize("status", [206, 226, 299, 418, 499])
    def test_statuses_that_are_not_understood(self, cache: Corner, status: int) -> None:
        """MUST NOT store a must-understand response whose status is not understood (§3)."""
        cache.origin.says("Cache-Control: must-understand, max-age=60", status=status)
        cache.ask()
        assert cache.ask().hit is False
        assert cache.origin.count == 2

    @pytest.mark.parametrize(
        "lines",
        [
            ["Cache-Control: no-store"],
            ["Cache-Control: max-age=60, no-store"],
            ["Cache-Control: max-age=60, No-StOrE"],
            ["Cache-Control: max-age=60", "cache-control: no-store"],
            ["Cache-Control: no-store=1, max-age=60"],
            ['Cache-Control: max-age="60", no-store'],
            ["Cache-Control: public, s-maxage=60, no-store"],
            ["Cache-Control: max-age=60,,\t,no-store"],
        ],
    )
    def test_no_store(self, cache: Corner, lines: list[str]) -> None:
        """MUST NOT store or reuse a response with no-store, in any spelling (§3, §5.2.2.5)."""
        cache.origin.says(*lines)
        answers = [cache.ask(), cache.ask(), cache.ask()]
        assert texts(*answers) == ["1", "2", "3"]
        assert not any("stored" in answer.cache for answer in answers)

    @pytest.mark.parametrize(
        "lines",
        [
            ["Cache-Control: private, max-age=60"],
            ["Cache-Control: max-age=60", "Cache-Control: PRIVATE"],
            ["Cache-Control: public, private, s-maxage=60"],
            ["Cache-Control: max-age=60; private"],
        ],
    )
    def test_private(self, cache: Corner, lines: list[str]) -> None:
        """A shared cache MUST NOT store a response with private (§3, §5.2.2.7)."""
        cache.origin.says(*lines)
        assert texts(cache.ask(), cache.ask(), cache.ask()) == ["1", "2", "3"]

    @pytest.mark.parametrize(
        "line",
        ["Cache-Control: max-age=60", "Cache-Control: s-maxage=60", "Expires: soon",
         "Cache-Control: public, max-age=60", "Cache-Control: x=1, MAX-AGE=60"],
    )  # fmt: skip
    def test_with_explicit_freshness(self, cache: Corner, line: str) -> None:
        """A response that says how long it is fresh may be stored and reused (§3)."""
        cache.origin.says(line.replace("soon", date(cache.now + 60)))
        first, second = cache.ask(), cache.ask()
        assert (second.text, second.hit) == ("1", True)
        assert first.cache == "aswr; fwd=uri-miss; stored"

    @pytest.mark.parametrize(
        "lines",
        [[], ['ETag: "a"'], ["Last-Modified: Mon, 02 Jan 2012 03:04:05 GMT"], ["Cache-Control: x"],
         ["Cache-Control: public"], ["Cache-Control: stale-while-revalidate=60"],
         ["Cache-Control: must-revalidate"]],
    )  # fmt: skip
    def test_without_explicit_freshness(self, cache: Corner, lines: list[str]) -> None:
        """MUST NOT store a response that says nothing by which it might be stored (§3)."""
        cache.origin.says(*lines)
        answers = [cache.ask(), cache.ask()]
        assert texts(*answers) == ["1", "2"]
        assert not any("stored" in answer.cache or answer.hit for answer in answers)

    @pytest.mark.parametrize(
        "status",
        [200, 201, 202, 203, 204, 226, 300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 410,
         414, 418, 422, 451],
    )  # fmt: skip
    def test_any_final_status(self, cache: Corner, status: int) -> None:
        """Whatever final status says explicitly how long it is fresh may be stored (§3, §4.2.1)."""
        cache.origin.says(MINUTE, "Location: /elsewhere", status=status)
        answers = [cache.ask(), cache.ask()]
        assert [answer.status for answer in answers] == [status] * 2
        assert [answer.hit for answer in answers] == [False, True]

    @pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 599])
    def test_failures(self, cache: Corner, status: int) -> None:
        """An answer of the 5xx class is passed on and not stored: it is a failed load (§3)."""
        cache.origin.says(MINUTE, status=status)
        assert [cache.ask().status, cache.ask().status] == [status, status]
        assert cache.origin.count == 2

    def test_cookies(self, cache: Corner) -> None:
        """A response that sets a cookie is nobody else's, whatever it says (§7.3)."""
        cache.origin.says("Cache-Control: public, max-age=60", "Set-Cookie: session=1")
        answers = [cache.ask(), cache.ask(), cache.ask()]
        assert texts(*answers) == ["1", "2", "3"]
        assert [answer.lines("Set-Cookie") for answer in answers] == [["session=1"]] * 3


class TestStoringFields:
    def test_every_field(self, cache: Corner) -> None:
        """MUST include all header fields, unrecognised ones too, when storing (§3.1)."""
        lines = ["x-oDD: a b;c=\"d, e\"", "X-Twice: 1", "X-Twice: 2", "x-twice: 3", "X-Empty:",
                 "Content-Language: de", "Link: </x>; rel=preload"]  # fmt: skip
        cache.origin.says(MINUTE, *lines)
        cache.ask()
        again = cache.ask()
        assert again.hit
        for line in lines:
            name, _, value = line.partition(":")
            assert (name, value.strip()) in again.fields
        assert again.lines("X-Twice") == ["1", "2", "3"]

    def test_fields_of_the_connection(self, cache: Corner) -> None:
        """Connection and the fields that it lists are not those of a reused response (§3.1)."""
        cache.origin.says(
            MINUTE, "Connection: X-Hop, keep-alive", "X-Hop: 1", "Keep-Alive: timeout=5",
            "Proxy-Connection: keep-alive", "Upgrade: h2c", "X-End: 1",
        )  # fmt: skip
        cache.ask()
        again = cache.ask()
        assert again.hit
        assert again.line("X-End") == "1"
        assert again.line("Connection") == "close"  # the server's own
        for name in ("X-Hop", "Keep-Alive", "Proxy-Connection", "Upgrade"):
            assert again.lines(name) == [], name

    @pytest.mark.parametrize(
        "name", ["Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization"]
    )
    def test_fields_of_the_proxy(self, cache: Corner, name: str) -> None:
        """Header fields that are specific to the proxy in use MUST NOT be stored (§3.1)."""
        cache.origin.says(MINUTE, f"{name}: Basic realm=x")
        cache.ask()
        again = cache.ask()
        assert (again.hit, again.lines(name)) == (True, [])

    @pytest.mark.parametrize("directive", ["no-cache", "private"])
    def test_fields_of_one_user(self, cache: Corner, directive: str) -> None:
        """MUST NOT reuse the fields that no-cache or private lists (§5.2.2.4, §5.2.2.7)."""
        cache.origin.says(f'Cache-Control: max-age=60, {directive}="X-User, x-b"', "X-User: ann")
        cache.ask()
        again = cache.ask()
        assert not (again.hit and again.line("X-User"))

    @pytest.mark.parametrize("body", [b"12345", lambda: iter([b"12", b"345"])])
    def test_a_body_shorter_than_it_says(self, cache: Corner, body: Body) -> None:
        """MUST NOT use an incomplete response to answer requests (§3.3)."""
        cache.origin.says(MINUTE, "Content-Length: 10", body=body)
        cache.origin.says(MINUTE, body=b"whole")
        cache.ask()
        again = cache.ask()
        assert (again.text, again.hit) == ("whole", False)

    def test_a_body_that_breaks_off(self, cache: Corner) -> None:
        """MUST NOT store what broke off in the midst of its body as if it were whole (§3.3)."""

        def body() -> Iterator[bytes]:
            yield b"half"
            raise ConnectionError("the origin is gone")

        cache.origin.says(MINUTE, "Content-Length: 8", body=body)
        cache.origin.says(MINUTE, body=b"whole")
        broken, again = cache.ask(), cache.ask()
        assert broken.status == 500
        assert (again.text, again.hit) == ("whole", False)

    def test_parts_are_marked(self, public: Corner) -> None:
        """MUST NOT send a part of a response without marking it with 206 (§3.3)."""
        public.origin.says(MINUTE, body=b"0123456789")
        answers = [public.ask("Range: bytes=2-4"), public.ask("Range: bytes=2-4")]
        for answer in answers:
            assert (answer.status, answer.text) == (206, "234")
            assert answer.line("Content-Range") == "bytes 2-4/10"
        assert public.ask().text == "0123456789"
        assert "Range" not in public.origin.asked[0].fields


class TestAuthorization:
    @pytest.mark.parametrize(
        "line", [MINUTE, "Expires: soon", "Cache-Control: max-age=60, proxy-revalidate"]
    )
    def test_what_it_brought(self, cache: Corner, line: str) -> None:
        """MUST NOT reuse the response to a request with Authorization unless it says so (§3.5)."""
        cache.origin.says(line.replace("soon", date(cache.now + 60)))
        cache.ask("Authorization: Basic YTpi")
        assert texts(cache.ask(), cache.ask("Authorization: Basic YTpi")) == ["2", "3"]

    @pytest.mark.parametrize(
        "line",
        ["Cache-Control: public, max-age=60", "Cache-Control: s-maxage=60",
         "Cache-Control: max-age=60, must-revalidate"],
    )  # fmt: skip
    def test_what_it_may_take(self, cache: Corner, line: str) -> None:
        """public, s-maxage and must-revalidate let requests with Authorization share (§3.5)."""
        cache.origin.says(line)
        cache.ask()
        again = cache.ask("authorization: Basic YTpi")
        assert (again.text, again.hit) == ("1", True)

    @pytest.mark.parametrize("directive", ["s-maxage=60", "max-age=60, must-revalidate"])
    def test_under_their_conditions(self, cache: Corner, time: Clock, directive: str) -> None:
        """A directive that lets Authorization share is obeyed in full: never stale (§3.5)."""
        cache.origin.says(f"Cache-Control: {directive}")
        cache.ask()
        time.tick(60)
        again = cache.ask("Authorization: Basic YTpi")
        assert (again.text, again.hit) == ("2", False)

    def test_what_the_origin_is_told(self, cache: Corner) -> None:
        """What is stored for everybody was asked for with nobody's credentials (§3.5)."""
        cache.origin.says("Cache-Control: s-maxage=60")
        cache.ask("X-Forwarded-For: 192.0.2.1", "X-Other: 1")
        assert cache.ask("X-Api-Key: secret").hit
        assert cache.origin.count == 1
        assert "X-Forwarded-For" not in cache.origin.asked[0].fields
        assert cache.origin.asked[0].fields["X-Other"] == "1"


class TestReuse:
    def test_the_target_uri(self, public: Corner) -> None:
        """MUST NOT reuse a response unless the presented target URI matches (§4)."""
        for path in ("", "b", "B"):
            public.origin.says(MINUTE, path=path)
        public.ask()
        others = [
            public.ask(path="?a=1"), public.ask(path="?a=2"), public.ask(path="b"),
            public.ask(path="B"), public.ask(host="other.example"), public.ask(host="x:8080"),
        ]  # fmt: skip
        assert texts(*others) == ["2", "3", "4", "5", "6", "7"]
        assert texts(public.ask(), public.ask(host="SHOP.example:80")) == ["1", "1"]

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
    def test_the_method(self, cache: Corner, method: str) -> None:
        """MUST NOT reuse a response unless its method allows it; unsafe ones write through (§4)."""
        cache.origin.says(MINUTE)
        cache.ask()
        answers = [cache.ask(method=method, body=b"x"), cache.ask(method=method, body=b"x")]
        assert texts(*answers) == ["2", "3"]
        assert [asked.method for asked in cache.origin.asked] == ["GET", method, method]
        assert {answer.cache for answer in answers} == {"aswr; fwd=method"}

    def test_head_from_get(self, cache: Corner) -> None:
        """The method of a stored GET allows it to be used for HEAD (§4; RFC 9110 §9.3.2)."""
        cache.origin.says(MINUTE, "X-End: 1", body=b"hello")
        get, head = cache.ask(), cache.ask(method="HEAD")
        assert (head.hit, head.status, head.body) == (True, 200, b"")
        assert head.line("Content-Length") == "5"
        assert head.line("ETag") == get.line("ETag") != ""
        assert cache.origin.count == 1

    def test_get_after_head(self, cache: Corner) -> None:
        """The answer that a HEAD brought is whole for the GET that follows (§4, §4.3.5)."""
        cache.origin.says(MINUTE, body=b"hello")
        head, get = cache.ask(method="HEAD"), cache.ask()
        assert (head.body, head.line("Content-Length")) == (b"", "5")
        assert (get.text, get.hit) == ("hello", True)
        assert [asked.method for asked in cache.origin.asked] == ["GET"]

    @pytest.mark.parametrize("given", [[], ["Age: 7"], ["age: 7", "Date: now"]])
    def test_age_is_generated(self, cache: Corner, time: Clock, given: list[str]) -> None:
        """MUST generate an Age, replacing any in the response, when reusing it (§4)."""
        cache.origin.says(MINUTE, *[line.replace("now", date(time.now)) for line in given])
        cache.ask()
        time.tick(20)
        assert cache.ask().age == (27 if given else 20)

    def test_equal_requests_share_one_load(self, cache: Corner, gate: Gate) -> None:
        """One response may satisfy several requests where each of them may reuse it (§4)."""
        cache.origin.says(MINUTE, first=gate.hold)
        answers = together(cache, gate, "", "", "")
        assert texts(*answers) == ["1", "1", "1"]
        assert sorted(answer.cache for answer in answers) == [
            "aswr; fwd=uri-miss; collapsed", "aswr; fwd=uri-miss; collapsed",
            "aswr; fwd=uri-miss; stored",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "lines",
        [
            ["Cache-Control: no-store"],
            ["Cache-Control: private, max-age=60"],
            ["Cache-Control: max-age=60", "Set-Cookie: a=1"],
            ["Cache-Control: max-age=60", "Vary: *"],
            ["Cache-Control: no-cache", 'ETag: "a"'],
            ["Cache-Control: max-age=60, no-cache"],
            ["Cache-Control: max-age=0, must-revalidate", 'ETag: "a"'],
        ],
    )
    def test_what_may_not_be_reused_is_forwarded(
        self, cache: Corner, gate: Gate, lines: list[str]
    ) -> None:
        """A collapsed request that cannot use the response is forwarded to be satisfied (§4)."""
        cache.origin.says(*lines, first=gate.hold)
        cache.origin.says(*lines)
        answers = together(cache, gate, "", "", "")
        assert sorted(texts(*answers)) == ["1", "2", "3"]
        for answer in answers:  # nothing of ours leaves together with a cookie
            assert answer.cache.startswith("aswr; fwd=") != bool(answer.lines("Set-Cookie"))

    def test_the_most_recent(self, cache: Corner, time: Clock) -> None:
        """MUST use the most recent one of several suitable responses (§4)."""
        cache.origin.says(MINUTE, "Date: " + date(time.now))
        cache.origin.says(MINUTE, "Date: " + date(time.now + 60), "Vary: Accept")
        cache.ask("Accept: text/x")
        time.tick(60)
        assert texts(cache.ask("Accept: text/x"), cache.ask("Accept: text/x")) == ["2", "2"]
        assert cache.ask("Accept: text/y").text == "3"


class TestVary:
    def test_nominated_fields_match(self, cache: Corner) -> None:
        """MUST NOT reuse a response unless all fields that its Vary nominates match (§4.1)."""
        cache.origin.says(MINUTE, "Vary: Accept-Language, X-Odd")
        requests = [("Accept-Language: de", "X-Odd: 1"), ("Accept-Language: en", "X-Odd: 1"),
                    ("Accept-Language: de", "X-Odd: 2")]  # fmt: skip
        assert [cache.ask(*lines).text for lines in requests] == ["1", "2", "3"]
        assert [cache.ask(*lines).text for lines in requests] == ["1", "2", "3"]
        assert cache.ask(*requests[0], "X-Other: 1").hit

    def test_absent_matches_absent_alone(self, cache: Corner) -> None:
        """A field that is absent from a request matches only where it is absent too (§4.1)."""
        cache.origin.says(MINUTE, "Vary: X-Odd")
        lines: list[list[str]] = [[], ["X-Odd: 1"], ["X-Odd:"]]
        assert [cache.ask(*given).text for given in lines] == ["1", "2", "3"]
        assert [cache.ask(*given).text for given in lines] == ["1", "2", "3"]

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (["Accept-Language: de,en"], ["accept-language:  de ,\ten  "]),
            (["Accept-Language: de, en"], ["Accept-Language: de", "Accept-Language: en"]),
            (["Accept-Language: DE;q=1.0"], ["Accept-Language: de"]),
            (["Accept-Encoding: gzip, br"], ["Accept-Encoding: br;q=1,gzip"]),
            (["X-Odd: a b"], ["x-odd: a b  "]),
        ],
    )
    def test_what_matches(self, cache: Corner, one: list[str], other: list[str]) -> None:
        """Fields match that whitespace, lines and known normal forms alone tell apart (§4.1)."""
        cache.origin.says(MINUTE, "Vary: Accept-Language, Accept-Encoding, X-Odd")
        cache.ask(*one)
        again = cache.ask(*other)
        assert (again.text, again.hit) == ("1", True)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("Accept-Language: de, en", "Accept-Language: en, de"),
            ("Accept-Language: de;q=0.5", "Accept-Language: de"),
            ("X-Odd: a", "X-Odd: A"),
            ("X-Odd: a b", "X-Odd: a  b"),
        ],
    )
    def test_what_does_not_match(self, cache: Corner, one: str, other: str) -> None:
        """Fields match only by what is known to change nothing of their meaning (§4.1)."""
        cache.origin.says(MINUTE, "Vary: Accept-Language, X-Odd")
        assert texts(cache.ask(one), cache.ask(other), cache.ask(one)) == ["1", "2", "1"]

    @pytest.mark.parametrize(
        "lines", [["Vary: *"], ["Vary: Accept, *"], ["Vary: Accept", "vary: *"], ["Vary: , * ,"]]
    )
    def test_star(self, cache: Corner, lines: list[str]) -> None:
        """A Vary with a member "*" always fails to match (§4.1)."""
        cache.origin.says(MINUTE, *lines)
        assert texts(cache.ask(), cache.ask(), cache.ask()) == ["1", "2", "3"]

    def test_every_line_of_vary(self, cache: Corner) -> None:
        """Each member of each Vary line nominates a field, in any case (§4.1; RFC 9110 §5.2)."""
        cache.origin.says(MINUTE, "vary: x-ONE", "Vary: , X-Two")
        assert texts(cache.ask(), cache.ask("X-One: 1"), cache.ask("X-Two: 1")) == ["1", "2", "3"]
        again = cache.ask("X-TWO: 1")
        assert (again.text, again.hit) == ("3", True)
        assert {name.strip().lower() for name in again.line("Vary").split(",")} >= {
            "x-one",
            "x-two",
        }

    def test_the_most_recent_with_vary(self, cache: Corner, time: Clock) -> None:
        """SHOULD choose the most recent response with a Vary over one that omits it (§4.1)."""
        cache.origin.says(MINUTE)
        cache.origin.says(MINUTE, "Vary: Accept-Language")
        cache.ask()
        time.tick(60)
        cache.ask("Accept-Language: de")
        assert texts(cache.ask("Accept-Language: de"), cache.ask()) == ["2", "3"]

    def test_collapsed_requests_match_too(self, cache: Corner, gate: Gate) -> None:
        """Requests that wait together share only what its Vary lets them share (§4, §4.1)."""
        cache.origin.says(MINUTE, "Vary: X-Odd", first=gate.hold)
        cache.origin.says(MINUTE, "Vary: X-Odd")
        one, two, three = together(cache, gate, "X-Odd: 1", "X-Odd: 1", "X-Odd: 2")
        sent = [asked.fields["X-Odd"] for asked in cache.origin.asked]
        assert sorted(sent) == ["1", "2"]
        assert one.text == two.text == str(sent.index("1") + 1)
        assert three.text == str(sent.index("2") + 1)

    @pytest.mark.parametrize("name", ["Cookie", "Authorization", "X-Api-Key", "Forwarded"])
    def test_personal_fields(self, cache: Corner, name: str) -> None:
        """Nobody who sends what Vary nominates and is personal shares (§4.1)."""
        cache.origin.says(MINUTE, f"Vary: {name}")
        sent = f"{name}: a=1"
        assert texts(cache.ask(), cache.ask(sent), cache.ask(sent)) == ["1", "2", "3"]
        assert cache.ask().text == "1"
        assert cache.origin.asked[1].fields[name] == "a=1"


def fresh_for(cache: Corner, time: Clock, seconds: float) -> bool:
    """Is what the origin says fresh for just so long? Nothing is stored for 0."""
    first = cache.ask()
    assert first.text == "1"
    if seconds:
        time.tick(seconds - 1)
        last = cache.ask()
        assert (last.text, last.hit) == ("1", True), last
        time.tick(1)
    return cache.ask().text == "2"


class TestFreshness:
    @pytest.mark.parametrize(
        ("control", "seconds"),
        [
            ("max-age=60", 60),
            ("s-maxage=30, max-age=60", 30),
            ("max-age=60, s-maxage=90", 90),
            ("s-maxage=0, max-age=60", 0),
            ("max-age=0", 0),
            ('max-age="60"', 60),
            ("MAX-AGE=60", 60),
            ('max-age=60, unheard-of, x=y, z="max-age=5"', 60),
            ("max-age=060", 60),
            ("max-age=60.5", 0),
            ("max-age=-60", 0),
            ("max-age=sixty", 0),
            ("max-age=", 0),
            ("max-age", 0),
            ("max-age=1e3", 0),
            ("max-age=60s", 0),
            ("max-age=60, no-cache", 0),
        ],
    )
    def test_cache_control(self, cache: Corner, time: Clock, control: str, seconds: float) -> None:
        """The lifetime is s-maxage, else max-age; what is malformed is stale (§4.2.1)."""
        cache.origin.says(f"Cache-Control: {control}")
        assert fresh_for(cache, time, seconds)

    @pytest.mark.parametrize("control", ["max-age=60, max-age=30", "s-maxage=60, s-maxage=30"])
    def test_repeated_directives(self, cache: Corner, time: Clock, control: str) -> None:
        """Of repeated directives no more than the first counts (§4.2.1)."""
        cache.origin.says(*(f"Cache-Control: {part}" for part in control.split(", ")))
        cache.ask()
        time.tick(60)
        assert cache.ask().text == "2"

    @pytest.mark.parametrize("seconds", ["2147483648", "2147483649", "9" * 40])
    def test_huge_numbers(self, cache: Corner, time: Clock, seconds: str) -> None:
        """A delta-seconds beyond the greatest integer MUST be taken for 2147483648 (§1.2.2)."""
        cache.origin.says(f"Cache-Control: max-age={seconds}")
        cache.ask()
        assert cache.ask().cache == "aswr; hit; ttl=2147483648"

    @pytest.mark.parametrize(
        ("expires", "sent", "seconds"),
        [(60, 0, 60), (60, None, 60), (60, -20, 60), (0, 0, 0), (-60, 0, 0), (60, 30, 30)],
    )
    def test_expires_less_date(
        self, cache: Corner, time: Clock, expires: float, sent: float | None, seconds: float
    ) -> None:
        """Else it is Expires less Date, or less the time of receipt if absent (§4.2.1)."""
        lines = [f"Expires: {date(time.now + expires)}"]
        if sent is not None:
            lines.append(f"Date: {date(time.now + sent)}")
        cache.origin.says(*lines)
        if sent is not None and sent < 0:
            seconds = expires  # 80 seconds, of which 20 are spent (§4.2.3)
        assert fresh_for(cache, time, seconds)

    def test_expires_is_ignored_beside_max_age(self, cache: Corner, time: Clock) -> None:
        """MUST ignore Expires beside max-age (§5.3)."""
        cache.origin.says("Cache-Control: max-age=30", f"Expires: {date(time.now + 600)}")
        assert fresh_for(cache, time, 30)

    @pytest.mark.parametrize("expires", ["0", "Thu, 01 Jan 1970 00:00:00 GMT"])
    def test_expires_is_ignored_beside_s_maxage(
        self, cache: Corner, time: Clock, expires: str
    ) -> None:
        """A shared cache MUST ignore Expires beside s-maxage, also one in the past (§5.3)."""
        cache.origin.says("Cache-Control: s-maxage=30", f"Expires: {expires}")
        assert fresh_for(cache, time, 30)

    @pytest.mark.parametrize(
        "expires",
        ["0", "-1", "", "never", "3600", "Fri, 01 Jan 2038", "2038-01-01T00:00:00Z",
         "Fri, 01 Jan 2038 00:00:00", "Fri, 01 Jan 2038 24:00:00 GMT",
         "Fri, 32 Jan 2038 00:00:00 GMT", "Fri, 1 Jan 2038 00:00:00 GMT",
         "Fri,  01 Jan 2038 00:00:00 GMT", "Fri, 01 Jan 2038 00:00:00 GMT x"],
    )  # fmt: skip
    def test_invalid_expires(self, cache: Corner, expires: str) -> None:
        """MUST take an invalid date, "0" above all, for a time in the past (§5.3)."""
        cache.origin.says(f"Expires: {expires}")
        assert texts(cache.ask(), cache.ask()) == ["1", "2"]

    @pytest.mark.parametrize("zone", ["UTC", "EST", "CET", "+0000", "Z", "gmtx"])
    def test_other_zones(self, cache: Corner, zone: str) -> None:
        """SHOULD take a date with a zone other than GMT for invalid (§4.2)."""
        cache.origin.says(f"Expires: Fri, 01 Jan 2038 00:00:00 {zone}")
        assert texts(cache.ask(), cache.ask()) == ["1", "2"]

    @pytest.mark.parametrize(
        "expires",
        ["Fri, 01 Jan 2038 00:00:00 GMT", "fri, 01 jan 2038 00:00:00 gmt",
         "FRI, 01 JAN 2038 00:00:00 GMT", "Friday, 01-Jan-38 00:00:00 GMT",
         "Fri Jan  1 00:00:00 2038"],
    )  # fmt: skip
    def test_forms_of_dates(self, cache: Corner, expires: str) -> None:
        """SHOULD match dates without case; the obsolete forms are dates (§4.2; RFC 9110 §5.6.7)."""
        cache.origin.says(f"Expires: {expires}")
        cache.ask()
        until = 2_145_916_800 - cache.now
        assert cache.ask().cache == f"aswr; hit; ttl={until:.0f}"

    def test_local_time_zones(
        self, cache: Corner, time: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """MUST NOT let local time zones influence an age or an expiration time (§4.2)."""
        import time as system

        with monkeypatch.context() as patch:
            patch.setenv("TZ", "Asia/Tokyo")
            system.tzset()
            try:
                cache.origin.says(f"Expires: {date(time.now + 60)}", f"Date: {date(time.now - 5)}")
                cache.ask()
                again = cache.ask()
            finally:
                patch.undo()
                system.tzset()
        assert (again.age, again.cache) == (5, "aswr; hit; ttl=60")

    @pytest.mark.parametrize("control", ["max-age=0", "s-maxage=0, max-age=600", "max-age=x"])
    def test_no_heuristics(self, cache: Corner, control: str) -> None:
        """MUST NOT use heuristics where an explicit expiration time is present (§4.2.2)."""
        old = date(cache.now - 100 * 86400)
        cache.origin.says(f"Cache-Control: {control}", f"Last-Modified: {old}")
        assert texts(cache.ask(), cache.ask()) == ["1", "2"]


class TestAge:
    @pytest.mark.parametrize(
        ("lines", "age"),
        [
            (["Age: 10"], 10),
            (["Age: 0"], 0),
            (["Age: 10, 20"], 10),
            (["Age: 10", "Age: 20"], 10),
            (["Age: x"], 0),
            (["Age: -10"], 0),
            (["Age: 10.5"], 0),
            (['Age: "10"'], 0),
            (["Age: x, 10"], 0),
            (["Date: -20"], 20),
            (["Date: 20"], 0),
            (["Date: -20", "Age: 10"], 20),
            (["Date: -20", "Age: 30"], 30),
            (["Date: yesterday", "Age: 7"], 7),
        ],
    )
    def test_the_initial_age(self, cache: Corner, time: Clock, lines: list[str], age: int) -> None:
        """The age begins at the Age, of a list the first member, or the Date (§4.2.3, §5.1)."""
        given = [
            f"Date: {date(time.now + float(line[6:]))}" if line[6:].lstrip("-").isdigit()
            and line.startswith("Date") else line for line in lines
        ]  # fmt: skip
        cache.origin.says(MINUTE, *given)
        first = cache.ask()
        assert first.age == age
        time.tick(5)
        again = cache.ask()
        assert (again.age, again.cache) == (age + 5, f"aswr; hit; ttl={55 - age}")

    def test_age_counts_as_lifetime(self, cache: Corner, time: Clock) -> None:
        """A response is fresh while its lifetime exceeds its current age (§4.2)."""
        cache.origin.says(MINUTE, "Age: 50")
        cache.ask()
        time.tick(9)
        assert cache.ask().text == "1"
        time.tick(1)
        assert cache.ask().text == "2"

    @pytest.mark.parametrize("age", ["60", "61", "99999999999999999999"])
    def test_older_than_its_lifetime(self, cache: Corner, age: str) -> None:
        """What was too old when it came is not fresh (§4.2, §4.2.3)."""
        cache.origin.says(MINUTE, f"Age: {age}")
        assert texts(cache.ask(), cache.ask()) == ["1", "2"]

    def test_the_delay_counts(self, cache: Corner, time: Clock) -> None:
        """MUST take an Age for the time when the request was initiated (§4.2.3)."""
        cache.origin.says(MINUTE, "Age: 10", first=lambda: time.tick(5))
        cache.origin.says(MINUTE)
        assert cache.ask().age == 15
        time.tick(44)
        assert cache.ask().age == 59
        time.tick(1)
        assert cache.ask().text == "2"


class TestStale:
    @pytest.mark.parametrize(
        "control",
        [
            "max-age=60, must-revalidate, stale-while-revalidate=600, stale-if-error=600",
            "max-age=60, proxy-revalidate, stale-while-revalidate=600, stale-if-error=600",
            "no-cache, max-age=60, stale-while-revalidate=600, stale-if-error=600",
            "s-maxage=60",
            "s-maxage=60, max-age=600",
        ],
    )
    @pytest.mark.parametrize("down", [False, True])
    def test_prohibited(self, cache: Corner, time: Clock, control: str, down: bool) -> None:
        """MUST NOT generate a stale response where a directive prohibits it (§4.2.4)."""
        cache.origin.says(f"Cache-Control: {control}", 'ETag: "a"')
        if down:
            cache.origin.breaks()
        cache.ask()
        time.tick(61)
        again = cache.ask()
        assert (again.status, again.hit) == (500 if down else 200, False)
        assert down or again.text == "2"

    @pytest.mark.parametrize("down", [False, True])
    def test_not_permitted(self, cache: Corner, time: Clock, down: bool) -> None:
        """MUST NOT generate a stale response that nobody has permitted (§4.2.4)."""
        cache.origin.says(MINUTE)
        if down:
            cache.origin.breaks()
        cache.ask()
        time.tick(60)
        again = cache.ask()
        assert (again.status, again.hit) == (500 if down else 200, False)
        assert down or again.text == "2"

    def test_permitted(self, cache: Corner, time: Clock) -> None:
        """A stale response is generated where the origin permits it by RFC 5861 (§4.2.4)."""
        cache.origin.says("Cache-Control: max-age=60, stale-while-revalidate=30")
        cache.ask()
        time.tick(75)
        stale = cache.ask()
        assert (stale.text, stale.age) == ("1", 75)
        assert stale.cache == "aswr; hit; ttl=-15; detail=revalidating"
        cache.settle()


class TestValidation:
    @pytest.mark.parametrize(
        ("lines", "sent"),
        [
            (['ETag: "a"'], {"If-None-Match": '"a"'}),
            (['ETag: W/"a"'], {"If-None-Match": 'W/"a"'}),
            (
                ['etag: "a"', "last-modified: Mon, 02 Jan 2012 03:04:05 GMT"],
                {
                    "If-None-Match": '"a"',
                    "If-Modified-Since": "Mon, 02 Jan 2012 03:04:05 GMT",
                },
            ),
            (
                ["Last-Modified: Mon, 02 Jan 2012 03:04:05 GMT"],
                {"If-Modified-Since": "Mon, 02 Jan 2012 03:04:05 GMT"},
            ),
            ([], {}),
        ],
    )
    def test_what_is_sent(
        self, cache: Corner, time: Clock, lines: list[str], sent: dict[str, str]
    ) -> None:
        """MUST send the entity tag, SHOULD send Last-Modified, of what is validated (§4.3.1)."""
        cache.origin.says(MINUTE, *lines)
        cache.ask()
        time.tick(60)
        cache.ask()
        fields = cache.origin.asked[1].fields
        conditions = {name: fields[name] for name in fields if name.startswith("If-")}
        assert conditions == sent

    def test_the_callers_conditions_stay_here(self, cache: Corner, time: Clock) -> None:
        """What is loaded for everybody does not depend on one caller's conditions (§4.3.1)."""
        cache.origin.says(MINUTE, 'ETag: "a"')
        cache.ask('If-None-Match: "b"', "If-Match: *", "Range: bytes=0-0")
        time.tick(60)
        cache.ask('If-None-Match: "c"', f"If-Modified-Since: {date(time.now)}")
        first, second = (asked.fields for asked in cache.origin.asked)
        assert not [name for name in first if name.startswith(("If-", "Range"))]
        assert {name: second[name] for name in second if name.startswith("If-")} == {
            "If-None-Match": '"a"'
        }

    @pytest.mark.parametrize(
        ("condition", "status"),
        [
            ('If-None-Match: "a"', 304),
            ('If-None-Match: W/"a"', 304),
            ('If-None-Match: "b", "a"', 304),
            ('if-none-match: "b,a" ,W/"a"', 304),
            ("If-None-Match: *", 304),
            ('If-None-Match: "b"', 200),
            ('If-None-Match: "A"', 200),
            ("If-None-Match: a", 200),
            ("If-None-Match:", 200),
        ],
    )
    def test_if_none_match(self, cache: Corner, condition: str, status: int) -> None:
        """SHOULD evaluate If-None-Match by weak comparison (§4.3.2; RFC 9110 §13.1.2)."""
        cache.origin.says(MINUTE, 'ETag: "a"', body=b"hello")
        for method in ("GET", "HEAD", "GET"):
            answer = cache.ask(condition, method=method)
            whole = status == 200 and method == "GET"
            assert (answer.status, answer.text) == (status, "hello" if whole else "")
        assert cache.origin.count == 1

    def test_several_lines(self, cache: Corner) -> None:
        """If-None-Match is one list, over however many lines (RFC 9110 §5.3, §13.1.2)."""
        cache.origin.says(MINUTE, 'ETag: "a"')
        cache.ask()
        assert cache.ask('If-None-Match: "x"', 'If-None-Match: "a"').status == 304

    @pytest.mark.parametrize(
        ("since", "status"),
        [(0, 304), (60, 304), (-1, 200), (-3600, 200)],
    )
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_if_modified_since(self, cache: Corner, since: float, status: int, method: str) -> None:
        """SHOULD evaluate If-Modified-Since against the stored Last-Modified (§4.3.2)."""
        modified = cache.now - 5000
        cache.origin.says(MINUTE, f"Last-Modified: {date(modified)}")
        cache.ask()
        answer = cache.ask(f"If-Modified-Since: {date(modified + since)}", method=method)
        assert (answer.status, answer.hit) == (status, True)

    @pytest.mark.parametrize(
        "since", ["yesterday", "", "0", "2038-01-01", "Fri, 01 Jan 2038 00:00:00 GMT, x",
                  "Fri, 01 Jan 2038 00:00:00 EST"],
    )  # fmt: skip
    def test_invalid_if_modified_since(self, cache: Corner, since: str) -> None:
        """MUST ignore an If-Modified-Since that is no valid date (RFC 9110 §13.1.3)."""
        cache.origin.says(MINUTE, f"Last-Modified: {date(cache.now - 5000)}")
        cache.ask()
        assert cache.ask(f"If-Modified-Since: {since}").status == 200

    def test_if_none_match_precedes(self, cache: Corner) -> None:
        """MUST ignore If-Modified-Since beside If-None-Match (RFC 9110 §13.1.3; §4.3.2)."""
        cache.origin.says(MINUTE, 'ETag: "a"', f"Last-Modified: {date(cache.now - 5000)}")
        cache.ask()
        since = f"If-Modified-Since: {date(cache.now)}"
        assert cache.ask('If-None-Match: "b"', since).status == 200
        old = f"If-Modified-Since: {date(cache.now - 9000)}"
        assert cache.ask('If-None-Match: "a"', old).status == 304

    def test_date_stands_in_for_last_modified(self, cache: Corner) -> None:
        """Without Last-Modified, SHOULD evaluate If-Modified-Since by the Date (§4.3.2)."""
        sent = cache.now - 10
        cache.origin.says(MINUTE, f"Date: {date(sent)}")
        cache.ask()
        assert cache.ask(f"If-Modified-Since: {date(sent - 1)}").status == 200
        assert cache.ask(f"If-Modified-Since: {date(sent)}").status == 304

    def test_the_time_of_receipt_stands_in_for_date(self, cache: Corner, time: Clock) -> None:
        """Without Date either, by the time that the response was received (§4.3.2)."""
        cache.origin.says(MINUTE)
        received = time.now
        cache.ask()
        time.tick(30)
        assert cache.ask(f"If-Modified-Since: {date(received - 1)}").status == 200
        assert cache.ask(f"If-Modified-Since: {date(received)}").status == 304

    @pytest.mark.parametrize(
        "condition", ['If-Match: "b"', "If-Unmodified-Since: Mon, 02 Jan 2012 03:04:05 GMT"]
    )
    def test_conditions_for_origins(self, cache: Corner, condition: str) -> None:
        """MUST NOT evaluate conditions that only apply to an origin server (§4.3.2)."""
        cache.origin.says(MINUTE, 'ETag: "a"', f"Last-Modified: {date(cache.now)}")
        assert [cache.ask(condition).status, cache.ask(condition).status] == [200, 200]

    @pytest.mark.parametrize("status", [301, 404, 410])
    def test_other_statuses(self, cache: Corner, status: int) -> None:
        """MUST ignore conditions where the answer without them is no success (RFC 9110 §13.2.1)."""
        cache.origin.says(MINUTE, 'ETag: "a"', status=status)
        cache.ask()
        assert cache.ask('If-None-Match: "a"').status == status

    @pytest.mark.parametrize("method", ["POST", "OPTIONS"])
    def test_other_methods(self, cache: Corner, method: str) -> None:
        """MUST NOT evaluate conditions of what no stored response can satisfy (§4.3.2)."""
        cache.origin.says(MINUTE, 'ETag: "a"')
        cache.ask()
        answer = cache.ask('If-None-Match: "a"', method=method)
        assert (answer.status, answer.text) == (200, "2")
        assert cache.origin.asked[1].fields["If-None-Match"] == '"a"'

    def test_nothing_stored(self, cache: Corner) -> None:
        """MUST NOT evaluate conditions for a target that nothing is stored for (§4.3.2)."""
        cache.origin.says("Cache-Control: no-store", 'ETag: "a"')
        cache.ask()  # from here on it is known that nothing ever is
        assert texts(cache.ask('If-None-Match: "a"'), cache.ask("If-None-Match: *")) == ["2", "3"]
        assert cache.origin.asked[1].fields["If-None-Match"] == '"a"'

    def test_a_304_lets_the_stored_be_reused(self, cache: Corner, time: Clock) -> None:
        """A 304 says that the stored response can be updated and reused (§4.3.3)."""
        cache.origin.says(MINUTE, 'ETag: "a"', body=b"hello")
        cache.origin.says(MINUTE, 'ETag: "a"', status=304)
        cache.ask()
        time.tick(60)
        again = cache.ask()
        assert (again.status, again.text) == (200, "hello")
        assert again.cache == "aswr; fwd=stale; fwd-status=304; stored"
        assert again.age == 0
        time.tick(59)
        assert cache.ask().cache == "aswr; hit; ttl=1"
        assert cache.origin.count == 2

    def test_a_full_response_replaces(self, cache: Corner, time: Clock) -> None:
        """MUST use a full response to a validation, and may store it (§4.3.3)."""
        cache.origin.says(MINUTE, 'ETag: "a"', "X-Old: 1")
        cache.origin.says(MINUTE, 'ETag: "b"')
        cache.ask()
        time.tick(60)
        answers = [cache.ask(), cache.ask()]
        assert texts(*answers) == ["2", "2"]
        assert [answer.line("ETag") for answer in answers] == ['"b"', '"b"']
        assert not answers[1].lines("X-Old")

    def test_a_full_response_that_is_not_stored(self, cache: Corner, time: Clock) -> None:
        """A full response that may not be stored outdates what was stored (§4.3.3)."""
        cache.origin.says(MINUTE, 'ETag: "a"')
        cache.origin.says()
        cache.ask()
        time.tick(60)
        assert texts(cache.ask(), cache.ask()) == ["2", "3"]
        assert "If-None-Match" not in cache.origin.asked[2].fields

    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    def test_a_failed_validation_is_forwarded(
        self, cache: Corner, time: Clock, status: int
    ) -> None:
        """A 5xx to a validation is forwarded where nothing stale may be sent (§4.3.3)."""
        cache.origin.says("Cache-Control: max-age=60, must-revalidate", 'ETag: "a"')
        cache.origin.says(status=status, body=b"down")
        cache.origin.says(MINUTE, 'ETag: "a"', status=304)
        cache.ask()
        time.tick(60)
        down = cache.ask()
        assert (down.status, down.text) == (status, "down")
        assert down.cache == f"aswr; fwd=stale; fwd-status={status}"
        time.tick(60)
        assert cache.ask().text == "1"

    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    def test_a_failed_validation_is_covered(self, cache: Corner, time: Clock, status: int) -> None:
        """A 5xx to a validation may be answered with what is stored (§4.3.3; RFC 5861 §4)."""
        cache.origin.says("Cache-Control: max-age=60, stale-if-error=60", 'ETag: "a"')
        cache.origin.says(status=status)
        cache.ask()
        time.tick(90)
        covered = cache.ask()
        assert (covered.status, covered.text, covered.age) == (200, "1", 90)
        assert covered.cache == "aswr; hit; ttl=-30; detail=stale-if-error"


class TestUpdating:
    def renewed(self, cache: Corner, time: Clock, old: list[str], new: list[str]) -> Wire:
        """What is served after a 304 with the new lines, for a stored answer with the old ones."""
        cache.origin.says(MINUTE, *old, body=b"hello")
        cache.origin.says(*new, status=304)
        cache.origin.says(MINUTE, body=b"other")
        cache.ask()
        time.tick(60)
        cache.ask()
        return cache.ask()

    def test_fields_are_replaced(self, cache: Corner, time: Clock) -> None:
        """MUST update the stored header fields with those of the 304 (§3.2, §4.3.4)."""
        answer = self.renewed(
            cache, time,
            ['ETag: "a"', "X-Kept: 1", "X-Changed: old", "x-changed: older", "Server-Timing: a"],
            ['ETag: "a"', "Cache-Control: max-age=30", "x-changed: new", "X-New: 1"],
        )  # fmt: skip
        assert (answer.hit, answer.text) == (True, "hello")
        assert answer.lines("X-Changed") == ["new"]
        assert (answer.line("X-Kept"), answer.line("X-New")) == ("1", "1")
        assert answer.line("Cache-Control") == "max-age=30"
        assert answer.cache == "aswr; hit; ttl=30"

    def test_fields_of_the_body_stay(self, cache: Corner, time: Clock) -> None:
        """The Content-Length, and what the stored body depends on, are not updated (§3.2)."""
        answer = self.renewed(
            cache, time,
            ['ETag: "a"', "Content-Type: text/x", "Content-Encoding: x"],
            ['ETag: "a"', MINUTE, "Content-Length: 99", "Content-Type: text/y",
             "Content-Encoding: y", "Content-Range: bytes 0-1/2"],
        )  # fmt: skip
        assert (answer.hit, answer.text) == (True, "hello")
        assert answer.line("Content-Length") == "5"
        assert answer.line("Content-Type") == "text/x"
        assert answer.line("Content-Encoding") == "x"
        assert not answer.lines("Content-Range")

    def test_fields_of_the_connection_are_not_added(self, cache: Corner, time: Clock) -> None:
        """Fields that are excepted from storage are excepted from an update (§3.2)."""
        answer = self.renewed(
            cache, time, ['ETag: "a"'],
            ['ETag: "a"', MINUTE, "Connection: X-Hop", "X-Hop: 1", "Keep-Alive: 5",
             "Proxy-Authenticate: x"],
        )  # fmt: skip
        assert (answer.hit, answer.text) == (True, "hello")
        for name in ("X-Hop", "Keep-Alive", "Proxy-Authenticate"):
            assert answer.lines(name) == []

    def test_age_and_date_are_the_new_ones(self, cache: Corner, time: Clock) -> None:
        """What is validated is as old as the 304 says, not as the stored one (§4.2.3, §4.3.4)."""
        answer = self.renewed(
            cache, time,
            ['ETag: "a"', "Age: 30", f"Date: {date(time.now - 30)}"],
            ['ETag: "a"', MINUTE, "Age: 10"],
        )  # fmt: skip
        assert (answer.text, answer.age, answer.cache) == ("hello", 10, "aswr; hit; ttl=50")

    def test_another_strong_validator(self, cache: Corner, time: Clock) -> None:
        """MUST NOT update with a 304 whose strong validator no stored response has (§4.3.4)."""
        answer = self.renewed(
            cache, time, ['ETag: "a"'], ['ETag: "b"', MINUTE, "X-New: 1"]
        )  # fmt: skip
        assert not answer.lines("X-New")
        assert answer.line("ETag") != '"b"'
        assert answer.text != "hello"

    def test_a_strong_validator_for_a_weak_one(self, cache: Corner, time: Clock) -> None:
        """A strong validator of a 304 identifies responses with that same strong one (§4.3.4)."""
        answer = self.renewed(cache, time, ['ETag: W/"a"'], ['ETag: "a"', MINUTE])
        assert (answer.text, answer.line("ETag")) != ("hello", '"a"')

    @pytest.mark.parametrize("stored", ['"a"', 'W/"a"'])
    def test_the_same_weak_validator(self, cache: Corner, time: Clock, stored: str) -> None:
        """A weak validator of a 304 identifies the response that it corresponds to (§4.3.4)."""
        answer = self.renewed(cache, time, [f"ETag: {stored}"], ['ETag: W/"a"', MINUTE])
        assert (answer.hit, answer.text) == (True, "hello")

    def test_no_validator(self, cache: Corner, time: Clock) -> None:
        """A 304 without a validator renews what it was asked about, tag and all (§4.3.4)."""
        answer = self.renewed(cache, time, ['ETag: "a"'], [MINUTE])
        assert (answer.hit, answer.text, answer.line("ETag")) == (True, "hello", '"a"')

    def test_the_same_last_modified(self, cache: Corner, time: Clock) -> None:
        """A stored response is validated by its Last-Modified alone, too (§4.3.4)."""
        modified = f"Last-Modified: {date(time.now - 5000)}"
        answer = self.renewed(cache, time, [modified], [modified, MINUTE])
        assert (answer.hit, answer.text) == (True, "hello")
        assert answer.lines("Last-Modified") == [modified.partition(": ")[2]]

    def test_what_a_304_does_not_say_stays(self, cache: Corner, time: Clock) -> None:
        """After a 304 that says nothing of freshness the stored lifetime begins anew (§4.3.4)."""
        answer = self.renewed(cache, time, ['ETag: "a"'], ['ETag: "a"'])
        assert (answer.text, answer.cache) == ("hello", "aswr; hit; ttl=60")

    def test_a_304_that_forbids_storing(self, cache: Corner, time: Clock) -> None:
        """After a 304 with no-store nothing is stored any longer (§3.2, §5.2.2.5)."""
        cache.origin.says(MINUTE, 'ETag: "a"', body=b"hello")
        cache.origin.says("Cache-Control: no-store", 'ETag: "a"', status=304)
        cache.origin.says(MINUTE, body=b"other")
        cache.ask()
        time.tick(60)
        assert cache.ask().text == "hello"
        again = cache.ask()
        assert (again.text, again.hit) == ("other", False)

    def test_what_is_gone_meanwhile(self, cache: Corner, time: Clock, gate: Gate) -> None:
        """A 304 updates nothing that was purged meanwhile: the origin is asked again (§4.3.4)."""
        cache.origin.says(MINUTE, 'ETag: "a"', body=b"old")
        cache.origin.says(MINUTE, 'ETag: "a"', status=304, first=gate.hold)
        cache.origin.says(MINUTE, 'ETag: "a"', body=b"new")
        cache.ask()
        time.tick(60)
        call = Background(cache.ask)
        gate.await_arrival()
        cache.proxy.manager.clear()
        gate.open()
        answer = call.result()
        assert isinstance(answer, Wire)
        assert (answer.status, answer.text) == (200, "new")
        assert "If-None-Match" not in cache.origin.asked[2].fields

    def test_a_304_that_varies_more(self, cache: Corner, time: Clock) -> None:
        """The Vary of a 304 counts for what it updates, too (§3.2, §4.1)."""
        cache.origin.says(MINUTE, 'ETag: "a"', "Vary: X-Odd", body=b"hello")
        cache.origin.says('ETag: "a"', "Vary: X-New", status=304)
        cache.origin.says(MINUTE, "Vary: X-New", body=b"other")
        cache.ask()
        time.tick(60)
        assert cache.ask().text == "hello"
        assert texts(cache.ask("X-New: 1"), cache.ask()) == ["other", "hello"]

    def test_each_variant_by_its_own_validator(self, cache: Corner, time: Clock) -> None:
        """What is validated has the cache key of the request (§4.3.1, §4.1)."""
        for language in ("de", "en"):
            cache.origin.says(MINUTE, "Vary: Accept-Language", f'ETag: "{language}"')
        cache.origin.says(MINUTE, "Vary: Accept-Language", status=304)
        cache.ask("Accept-Language: de")
        cache.ask("Accept-Language: en")
        time.tick(60)
        answers = [cache.ask("Accept-Language: en"), cache.ask("Accept-Language: de")]
        assert texts(*answers) == ["2", "1"]
        sent = [asked.fields["If-None-Match"] for asked in cache.origin.asked[2:]]
        assert sent == ['"en"', '"de"']


class TestInvalidation:
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "X-ODD"])
    @pytest.mark.parametrize("status", [200, 204, 303])
    def test_unsafe_methods(self, cache: Corner, method: str, status: int) -> None:
        """MUST invalidate the target URI after an unsafe or unknown method's success (§4.4)."""
        cache.origin.says("Cache-Control: max-age=60, stale-if-error=600")
        cache.origin.says(status=status)
        cache.origin.says(MINUTE)
        cache.ask()
        assert cache.ask(method=method).status == status
        again = cache.ask()
        assert (again.text, again.hit) == ("3", False)

    def test_every_variant(self, cache: Corner) -> None:
        """All stored responses whose target URI matches are invalidated (§4.4)."""
        cache.origin.says(MINUTE, "Vary: X-Odd")
        cache.ask("X-Odd: 1")
        cache.ask("X-Odd: 2")
        cache.ask(method="POST")
        assert texts(cache.ask("X-Odd: 1"), cache.ask("X-Odd: 2")) == ["4", "5"]

    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
    def test_safe_methods(self, cache: Corner, method: str) -> None:
        """A safe method invalidates nothing (§4.4)."""
        cache.origin.says(MINUTE)
        cache.ask()
        cache.ask("Cookie: a=1", method=method)
        assert cache.ask().text == "1"

    @pytest.mark.parametrize("status", [400, 403, 404, 409, 500, 503])
    def test_errors(self, cache: Corner, status: int) -> None:
        """An unsafe request that fails invalidates nothing (§4.4)."""
        cache.origin.says(MINUTE)
        cache.origin.says(status=status)
        cache.ask()
        assert cache.ask(method="POST").status == status
        assert cache.ask().text == "1"

    @pytest.mark.parametrize("name", ["Location", "Content-Location"])
    @pytest.mark.parametrize(
        "form", ["b", "/{}b", "http://shop.example{}b", "//SHOP.EXAMPLE:80{}b"]
    )
    def test_what_the_response_names(self, cache: Corner, name: str, form: str) -> None:
        """URIs of the same origin in Location and Content-Location are invalidated (§4.4)."""
        uri = form.replace("/{}", "{}").format(cache.target())
        cache.origin.says(f"{name}: {uri}", status=201)
        cache.origin.says(MINUTE, path="b")
        cache.ask(path="b")
        cache.ask(method="POST")
        assert cache.ask(path="b").text == "3"

    @pytest.mark.parametrize(
        "form", ["http://other.example{}b", "https://shop.example{}b", "//shop.example:8080{}b"]
    )
    def test_what_another_origin_has(self, cache: Corner, form: str) -> None:
        """MUST NOT invalidate a URI whose origin is another one (§4.4)."""
        cache.origin.says(f"Location: {form.format(cache.target())}", status=201)
        cache.origin.says(MINUTE, path="b")
        cache.ask(path="b")
        cache.ask(method="POST")
        assert cache.ask(path="b").text == "1"

    def test_loads_under_way(self, cache: Corner, gate: Gate) -> None:
        """A load that began before the unsafe request is not stored after it (§4.4)."""
        cache.origin.says(MINUTE, first=gate.hold)
        cache.origin.says(MINUTE)
        call = Background(cache.ask)
        gate.await_arrival()
        cache.ask(method="POST")
        gate.open()
        call.result()
        again = cache.ask()
        assert (again.text, again.hit) == ("3", False)


class TestDirectives:
    def test_passed_through(self, cache: Corner) -> None:
        """MUST pass cache directives through, whatever they mean to the cache (§5.2)."""
        control = 'Max-Age=60, x-new="a, b", immutable, no-transform'
        cache.origin.says(f"Cache-Control: {control}")
        asked = "no-transform, x-wish=1, max-age=600"
        answers = [cache.ask(f"Cache-Control: {asked}"), cache.ask()]
        assert [answer.lines("Cache-Control") for answer in answers] == [[control], [control]]
        assert cache.origin.asked[0].fields["Cache-Control"] == asked

    def test_unrecognised(self, cache: Corner, time: Clock) -> None:
        """MUST ignore unrecognised cache directives (§5.2.3)."""
        cache.origin.says('Cache-Control: no-stores, xprivate, a="no-store, private", max-age=60')
        assert fresh_for(cache, time, 60)

    @pytest.mark.parametrize("control", ["no-cache", "no-cache, max-age=60", 'no-cache="x"'])
    def test_no_cache(self, cache: Corner, control: str) -> None:
        """MUST NOT reuse a no-cache response without a successful validation (§5.2.2.4)."""
        cache.origin.says(f"Cache-Control: {control}", 'ETag: "a"', body=b"hello")
        cache.origin.says(f"Cache-Control: {control}", 'ETag: "a"', status=304)
        answers = [cache.ask(), cache.ask(), cache.ask()]
        assert texts(*answers) == ["hello"] * 3
        assert cache.origin.count == 3
        assert [asked.fields.get("If-None-Match") for asked in cache.origin.asked] == [
            None, '"a"', '"a"',
        ]  # fmt: skip
        assert not any(answer.hit for answer in answers)

    def test_no_cache_and_a_failed_validation(self, cache: Corner) -> None:
        """A no-cache response is not used where the validation fails (§5.2.2.4)."""
        cache.origin.says("Cache-Control: no-cache, stale-if-error=600", 'ETag: "a"')
        cache.origin.breaks()
        cache.ask()
        assert cache.ask().status == 500

    @pytest.mark.parametrize(
        "control",
        ["max-age=60, must-revalidate", "max-age=60, proxy-revalidate", "s-maxage=60",
         "max-age=60, MUST-REVALIDATE=1"],
    )  # fmt: skip
    def test_revalidation(self, cache: Corner, time: Clock, control: str) -> None:
        """Once stale, MUST NOT be reused until validated by the origin (§5.2.2.2, 8, 10)."""
        cache.origin.says(f"Cache-Control: {control}", 'ETag: "a"', body=b"hello")
        cache.origin.says('ETag: "a"', status=304)
        cache.ask()
        time.tick(59)
        assert cache.ask().hit
        time.tick(1)
        again = cache.ask()
        assert (again.text, again.cache) == ("hello", "aswr; fwd=stale; fwd-status=304; stored")

    @pytest.mark.parametrize("directive", ["must-revalidate", "proxy-revalidate"])
    def test_an_error_rather_than_stale(self, cache: Corner, time: Clock, directive: str) -> None:
        """MUST generate an error rather than reuse it stale when disconnected (§5.2.2.2)."""
        cache.origin.says(f"Cache-Control: max-age=60, {directive}, stale-if-error=600")
        cache.origin.breaks()
        cache.ask()
        time.tick(60)
        assert cache.ask().status >= 500

    def test_revalidated_with_a_window(self, cache: Corner, time: Clock) -> None:
        """A window beside s-maxage permits what s-maxage alone prohibits (RFC 5861 §3)."""
        cache.origin.says("Cache-Control: s-maxage=60, stale-while-revalidate=30")
        cache.ask()
        time.tick(80)
        assert cache.ask().cache == "aswr; hit; ttl=-20; detail=revalidating"
        cache.settle()


class TestRequestDirectives:
    def test_off_by_default(self, public: Corner) -> None:
        """Without request_directives=True no client can force a load (§5.2.1)."""
        public.origin.says(MINUTE)
        public.ask()
        for control in ("no-cache", "max-age=0", "no-store", "min-fresh=600", "only-if-cached"):
            assert public.ask(f"Cache-Control: {control}").text == "1"

    def test_max_age(self, heeding: Corner, time: Clock) -> None:
        """max-age: the client prefers a response no older than this (§5.2.1.1)."""
        heeding.origin.says(MINUTE)
        heeding.ask()
        time.tick(30)
        assert heeding.ask("Cache-Control: max-age=30").text == "1"
        forced = heeding.ask("cache-control: Max-Age=29")
        assert (forced.text, forced.cache) == ("2", "aswr; fwd=request; stored")
        assert heeding.ask().text == "2"

    def test_max_age_counts_the_whole_age(self, heeding: Corner) -> None:
        """The age that max-age limits is the current age, an origin's Age included (§5.2.1.1)."""
        heeding.origin.says(MINUTE, "Age: 40")
        heeding.ask()
        assert texts(
            heeding.ask("Cache-Control: max-age=40"), heeding.ask("Cache-Control: max-age=39")
        ) == ["1", "2"]

    def test_max_age_takes_nothing_stale(self, heeding: Corner, time: Clock) -> None:
        """Unless max-stale is there too, with max-age no stale response is wished (§5.2.1.1)."""
        heeding.origin.says("Cache-Control: max-age=60, stale-while-revalidate=600")
        heeding.ask()
        time.tick(90)
        assert heeding.ask("Cache-Control: max-age=600, max-stale=600").text == "1"
        heeding.settle()
        time.tick(90)
        assert heeding.ask("Cache-Control: max-age=600").text == "3"

    @pytest.mark.parametrize(
        ("control", "text"),
        [("max-stale=30", "1"), ("max-stale", "1"), ("max-stale=29", "2"), ("max-stale=x", "2"),
         ("max-stale=-1", "2")],
    )  # fmt: skip
    def test_max_stale(self, heeding: Corner, time: Clock, control: str, text: str) -> None:
        """max-stale: a response no more stale than this will do (§5.2.1.2)."""
        heeding.origin.says(MINUTE)
        heeding.ask()
        time.tick(90)
        assert heeding.ask(f"Cache-Control: {control}").text == text
        heeding.settle()

    @pytest.mark.parametrize("control", ["max-age=60, must-revalidate", "s-maxage=60"])
    def test_max_stale_is_overruled(self, heeding: Corner, time: Clock, control: str) -> None:
        """What the response prohibits, max-stale does not permit (§4.2.4)."""
        heeding.origin.says(f"Cache-Control: {control}")
        heeding.ask()
        time.tick(61)
        assert heeding.ask("Cache-Control: max-stale").text == "2"

    def test_min_fresh(self, heeding: Corner, time: Clock) -> None:
        """min-fresh: the response is to be fresh for this long yet (§5.2.1.3)."""
        heeding.origin.says(MINUTE)
        heeding.ask()
        time.tick(40)
        assert heeding.ask("Cache-Control: min-fresh=20").text == "1"
        assert heeding.ask("Cache-Control: min-fresh=21").text == "2"

    @pytest.mark.parametrize(
        "control", ["no-cache", "max-age=0, no-cache", "NO-CACHE", "max-age=x"]
    )
    def test_no_cache(self, heeding: Corner, time: Clock, control: str) -> None:
        """no-cache: nothing stored without successful validation on the origin (§5.2.1.4)."""
        heeding.origin.says(MINUTE, 'ETag: "a"', body=b"hello")
        heeding.origin.says(MINUTE, 'ETag: "a"', status=304)
        heeding.ask()
        time.tick(1)
        forced = heeding.ask(f"Cache-Control: {control}")
        assert (forced.text, forced.cache) == (
            "hello", "aswr; fwd=request; fwd-status=304; stored",
        )  # fmt: skip
        assert heeding.origin.asked[1].fields["If-None-Match"] == '"a"'

    def test_no_store(self, heeding: Corner) -> None:
        """no-store: MUST NOT store any part of the request or of a response to it (§5.2.1.5)."""
        heeding.origin.says(MINUTE, "Vary: X-Odd")
        quiet = heeding.ask("Cache-Control: no-store", "X-Odd: 1")
        assert (quiet.text, quiet.cache) == ("1", "aswr; fwd=request; detail=no-store")
        assert heeding.ask("X-Odd: 1").text == "2"
        assert heeding.ask("X-Odd: 1").hit

    def test_no_store_beside_no_cache(self, heeding: Corner) -> None:
        """Neither is what a forced load brings stored for a request with no-store (§5.2.1.5)."""
        heeding.origin.says(MINUTE)
        heeding.ask()
        assert heeding.ask("Cache-Control: no-cache, no-store").text == "2"
        assert heeding.ask().text == "1"

    def test_only_if_cached(self, heeding: Corner, time: Clock) -> None:
        """SHOULD answer only-if-cached with what is stored or with 504 (§5.2.1.7)."""
        heeding.origin.says(MINUTE)
        only = "Cache-Control: only-if-cached"
        assert heeding.ask(only).status == 504
        assert heeding.origin.count == 0
        heeding.ask()
        assert heeding.ask(only).text == "1"
        assert heeding.ask(f"{only}, max-age=10").status == 200
        time.tick(20)
        assert heeding.ask(f"{only}, max-age=10").status == 504
        assert heeding.ask(only, "Authorization: Basic YTpi").status == 504
        time.tick(40)
        assert heeding.ask(only).status == 504
        assert heeding.ask(f"{only}, max-stale").text == "1"
        heeding.settle()

    def test_several_lines(self, heeding: Corner) -> None:
        """Directives count over several lines and in any case (§5.2)."""
        heeding.origin.says(MINUTE)
        heeding.ask()
        assert heeding.ask("Cache-Control: x=1", "cache-control: No-Cache").text == "2"


class TestRanges:
    BODY = b"0123456789"

    @pytest.fixture
    def digits(self, public: Corner) -> Corner:
        """Ten stored bytes."""
        public.origin.says(MINUTE, 'ETag: "a"', "Content-Type: text/x", "Vary: X-Odd",
                           "Content-Location: /digits", body=self.BODY)  # fmt: skip
        assert public.ask().body == self.BODY
        return public

    @pytest.mark.parametrize(
        ("ranges", "part", "where"),
        [
            ("bytes=0-0", b"0", "0-0"),
            ("bytes=2-4", b"234", "2-4"),
            ("bytes=7-", b"789", "7-9"),
            ("bytes=-3", b"789", "7-9"),
            ("bytes=-99", b"0123456789", "0-9"),
            ("bytes=5-99", b"56789", "5-9"),
            ("BYTES=2-4", b"234", "2-4"),
        ],
    )
    def test_one_range(self, digits: Corner, ranges: str, part: bytes, where: str) -> None:
        """SHOULD send 206 with the part for a valid range that can be had (RFC 9110 §14.2)."""
        answer = digits.ask(f"Range: {ranges}")
        assert (answer.status, answer.body) == (206, part)
        assert answer.line("Content-Range") == f"bytes {where}/10"
        assert answer.line("Content-Length") == str(len(part))
        assert answer.hit

    def test_the_fields_of_a_206(self, digits: Corner) -> None:
        """A 206 MUST have the 200's Cache-Control, ETag, Vary and so on (RFC 9110 §15.3.7)."""
        whole, part = digits.ask(), digits.ask("Range: bytes=0-1")
        for name in ("Cache-Control", "Content-Location", "ETag", "Vary", "Content-Type", "Age"):
            assert part.lines(name) == whole.lines(name) != [], name
        assert part.lines("Date")

    @pytest.mark.parametrize("ranges", ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=99999999-"])
    def test_unsatisfiable(self, digits: Corner, ranges: str) -> None:
        """SHOULD send 416, with the length, where no range can be had (RFC 9110 §15.5.17)."""
        answer = digits.ask(f"Range: {ranges}")
        assert (answer.status, answer.body) == (416, b"")
        assert answer.line("Content-Range") == "bytes */10"

    @pytest.mark.parametrize(
        "ranges",
        ["items=0-1", "bytes", "bytes=", "bytes=a-b", "bytes=4-2", "bytes=1", "bytes:0-1", "0-1",
         "bytes=0-1,3-4", "bytes=0-0,-1"],
    )  # fmt: skip
    def test_the_whole_instead(self, digits: Corner, ranges: str) -> None:
        """MUST ignore unknown units, may ignore invalid and several ranges (RFC 9110 §14.2)."""
        answer = digits.ask(f"Range: {ranges}")
        assert (answer.status, answer.body) == (200, self.BODY)
        assert not answer.lines("Content-Range")

    def test_head(self, digits: Corner) -> None:
        """MUST ignore a Range of another method than GET (RFC 9110 §14.2)."""
        answer = digits.ask("Range: bytes=0-1", method="HEAD")
        assert (answer.status, answer.line("Content-Length")) == (200, "10")

    @pytest.mark.parametrize(
        ("condition", "status"),
        [
            ('If-Range: "a"', 206),
            ('If-Range: "b"', 200),
            ('If-Range: W/"a"', 200),
            ("If-Range: a", 200),
            ("If-Range: *", 200),
            ('If-Range: "b", "a"', 200),
            ("If-Range: Mon, 02 Jan 2012 03:04:05 GMT", 200),
        ],
    )
    def test_if_range(self, digits: Corner, condition: str, status: int) -> None:
        """MUST ignore the Range unless If-Range holds by strong comparison (RFC 9110 §13.1.5)."""
        answer = digits.ask("Range: bytes=0-1", condition)
        assert (answer.status, answer.body) == (status, b"01" if status == 206 else self.BODY)

    def test_if_range_and_a_weak_tag(self, public: Corner) -> None:
        """A weak entity tag never matches If-Range (RFC 9110 §13.1.5)."""
        public.origin.says(MINUTE, 'ETag: W/"a"', body=self.BODY)
        public.ask()
        for condition in ('If-Range: W/"a"', 'If-Range: "a"'):
            assert public.ask("Range: bytes=0-1", condition).status == 200

    def test_if_range_alone(self, digits: Corner) -> None:
        """MUST ignore an If-Range without Range (RFC 9110 §13.1.5)."""
        assert digits.ask('If-Range: "b"').status == 200

    def test_conditions_come_first(self, digits: Corner) -> None:
        """Range is evaluated after the other conditions (RFC 9110 §13.2.2, §14.2)."""
        assert digits.ask("Range: bytes=0-1", 'If-None-Match: "a"').status == 304
        assert digits.ask("Range: bytes=0-1", 'If-None-Match: "b"').status == 206

    def test_other_statuses(self, public: Corner) -> None:
        """A Range is for what is answered with 200 (RFC 9110 §14.2)."""
        public.origin.says(MINUTE, status=404, body=self.BODY)
        public.ask()
        answer = public.ask("Range: bytes=0-1")
        assert (answer.status, answer.body) == (404, self.BODY)

    def test_guarded_answers(self, proxy: Proxy) -> None:
        """An answer that hooks may still change is not cut in parts (RFC 9110 §14.2)."""
        inside = proxy.corner("inside")
        inside.origin.says(MINUTE, body=self.BODY)
        inside.ask()
        answer = inside.ask("Range: bytes=0-1")
        assert (answer.status, answer.body) == (200, self.BODY)


class TestNotModified:
    def test_its_fields(self, cache: Corner) -> None:
        """A 304 MUST have the 200's Cache-Control, ETag, Vary and so on (RFC 9110 §15.4.5)."""
        expires = date(cache.now + 60)
        cache.origin.says(
            "Cache-Control: max-age=60, x=1", 'ETag: "a"', "Vary: X-Odd", f"Expires: {expires}",
            f"Date: {date(cache.now)}", "Content-Location: /there", "Content-Language: de",
            f"Last-Modified: {date(cache.now - 9)}", "X-Own: 1", body=b"hello",
        )  # fmt: skip
        whole, nothing = cache.ask(), cache.ask('If-None-Match: "a"')
        assert (nothing.status, nothing.body) == (304, b"")
        for name in ("Cache-Control", "Content-Location", "Date", "ETag", "Expires", "Vary"):
            assert nothing.lines(name) == whole.lines(name) != [], name
        for name in ("Content-Type", "Content-Language", "Content-Length"):
            assert nothing.lines(name) == [], name
        assert nothing.age == 0

    def test_its_cache_status(self, cache: Corner, time: Clock) -> None:
        """A 304 that is based on a stored response says so (RFC 9211 §2)."""
        cache.origin.says(MINUTE, 'ETag: "a"')
        cache.ask()
        time.tick(10)
        answer = cache.ask('If-None-Match: "a"')
        assert (answer.cache, answer.age) == ("aswr; hit; ttl=50", 10)

    def test_our_own_tag(self, cache: Corner) -> None:
        """A client validates what it has by the tag that the cache made for it (§4.3.2)."""
        cache.origin.says(MINUTE, body=b"hello")
        tag = cache.ask().line("ETag")
        assert tag.startswith('"' if cache.view == "public" else 'W/"')
        assert cache.ask(f"If-None-Match: {tag}").status == 304
        assert cache.origin.count == 1

    def test_our_own_tag_changes_with_the_body(self, public: Corner, time: Clock) -> None:
        """A strong tag is the same for the same bytes alone (RFC 9110 §8.8.1)."""
        public.origin.says(MINUTE, body=b"same")
        public.origin.says(MINUTE, body=b"same")
        public.origin.says(MINUTE, body=b"other")
        tags = []
        for _ in range(3):
            tags.append(public.ask().line("ETag"))
            time.tick(60)
        assert tags[0] == tags[1] != tags[2]
        assert "If-None-Match" not in public.origin.asked[1].fields  # the view made none


class TestCacheStatus:
    def test_others_stay(self, cache: Corner) -> None:
        """Each cache adds its member at the end of the list (RFC 9211 §2)."""
        cache.origin.says(MINUTE, "Cache-Status: Origin; hit; ttl=9", 'cache-status: "b"; fwd=miss')
        for _ in range(2):
            members = cache.ask().lines("Cache-Status")
            assert members[:2] == ["Origin; hit; ttl=9", '"b"; fwd=miss']
            assert members[2].startswith("aswr; ")
            assert len(members) == 3

    def test_each_reason(self, cache: Corner, time: Clock) -> None:
        """fwd says why a request went to the origin, hit that it did not (RFC 9211 §2.1, §2.2)."""
        cache.origin.says(MINUTE, "Vary: X-Odd")
        said = [
            cache.ask().cache, cache.ask().cache, cache.ask("X-Odd: 1").cache,
            cache.ask("Cookie: a=1").cache, cache.ask(method="OPTIONS").cache,
        ]  # fmt: skip
        time.tick(60)
        said.append(cache.ask().cache)
        assert said == [
            "aswr; fwd=uri-miss; stored",
            "aswr; hit; ttl=60",
            "aswr; fwd=vary-miss; stored",
            'aswr; fwd=bypass; detail="sends credentials"',
            "aswr; fwd=method",
            "aswr; fwd=stale; stored",
        ]

    def test_not_stored(self, cache: Corner) -> None:
        """stored is said where it is true alone (RFC 9211 §2.5)."""
        cache.origin.says()
        answer = cache.ask()
        assert answer.cache.startswith("aswr; fwd=uri-miss")
        assert "stored" not in answer.cache
        assert answer.age is None

    def test_ttl(self, cache: Corner, time: Clock) -> None:
        """ttl is the rest of the freshness lifetime, less than zero when stale (RFC 9211 §2.4)."""
        cache.origin.says("Cache-Control: max-age=60, stale-while-revalidate=60", "Age: 5")
        cache.ask()
        time.tick(54.5)
        assert cache.ask().cache == "aswr; hit; ttl=0"
        time.tick(10.5)
        assert cache.ask().cache == "aswr; hit; ttl=-10; detail=revalidating"
        cache.settle()

    def test_key(self, cache: Corner) -> None:
        """The key, which may tell too much, is not said to everybody (RFC 9211 §2.7, §6)."""
        cache.origin.says(MINUTE)
        assert "key" not in cache.ask().cache + cache.ask().cache

    def test_what_no_cache_answered(self, heeding: Corner) -> None:
        """SHOULD NOT be said of what no stored response is the base of (RFC 9211 §2)."""
        answer = heeding.ask("Cache-Control: only-if-cached")
        assert (answer.status, answer.cache) == (504, "")


class TestEmission:
    @pytest.mark.parametrize(
        "lines",
        [["Cache-Control: max-age=60, s-maxage=60"], ["cache-control:  S-MaxAge=60 , x"],
         ["Cache-Control: max-age=60", "Cache-Control: public"], ["Expires: soon"]],
    )  # fmt: skip
    def test_what_the_origin_said(self, cache: Corner, lines: list[str]) -> None:
        """What the response says of its freshness leaves as it was said (§5.2)."""
        given = [line.replace("soon", date(cache.now + 60)) for line in lines]
        cache.origin.says(*given)
        wanted = [line.partition(":")[2].strip() for line in given]
        for answer in (cache.ask(), cache.ask()):
            assert answer.lines("Cache-Control") + answer.lines("Expires") == wanted

    def test_vary_is_kept(self, cache: Corner) -> None:
        """A response leaves with the fields that its Vary nominates, and no others (§4.1)."""
        cache.origin.says(MINUTE, "Vary: X-Odd, accept")
        cache.ask("X-Other: 1", "Accept: x/y")
        again = cache.ask("X-Other: 1", "Accept: x/y")
        assert again.hit
        assert {name.strip().lower() for name in again.line("Vary").split(",")} == {
            "x-odd", "accept",
        }  # fmt: skip
