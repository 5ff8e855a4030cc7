"""Input names: what a render sees of a request, what stands for it in a key, who must pass."""

import enum
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.datastructures import CharsetAccept, LanguageAccept, MIMEAccept
from werkzeug.http import parse_accept_header
from werkzeug.wrappers import Request

from aswr.fieldtext import best_name, normal
from aswr.inputs import Inputs, Rules, vary_fields
from aswr.names import (
    BLANK,
    PERSONAL,
    PRESET_FUNCTIONS,
    Kind,
    describe,
    explained,
    input_name,
    names_of_vary,
)
from aswr.nobody import nobody

quick = settings(deadline=None)

READ = Rules()
QUERY = Rules(query="read")
CHOSEN = Rules(vary=frozenset({"header Accept-Language", "cookie theme", "host"}))
RESPONSE = Rules(vary="response")
IGNORING = Rules(
    ignore=frozenset({"header X-Foo", "header Authorization", "cookie bar", "remote address"})
)
NO_COOKIES = Rules(ignore=frozenset({"cookies"}))

LANGUAGES = best_name("Accept-Language", ["en", "de"], None)
TYPES = best_name("Accept", ["text/html", "application/json"], "text/html")


class Color(enum.Enum):
    RED = 1


class Size(enum.IntEnum):
    SMALL = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Proxy:
    """Resolves when anybody asks for its class, as Werkzeug's LocalProxy does."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise AssertionError("resolved")


class Watched(dict[str, Any]):
    """An environ that must not be read by its own methods."""

    def _read(self, *args: Any) -> Any:
        raise AssertionError("read")

    __getitem__ = __contains__ = __iter__ = __len__ = _read
    get = keys = values = items = copy = _read


def inputs(
    environ: dict[str, Any] | None = None,
    rules: Rules = READ,
    g: dict[str, Any] | None = None,
    attributes: dict[str, Any] | None = None,
    query: str = "",
) -> Inputs:
    return Inputs(environ or {}, g or {}, attributes or {}, rules, query)


# Kinds


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("header Accept-Language", Kind.LEARNED),
        ("header User-Agent", Kind.LEARNED),
        ("header Via", Kind.LEARNED),
        ("header X-Forwarded-Host", Kind.LEARNED),
        ("header X-Forwarded-Proto", Kind.LEARNED),
        ("header X-Original-Url", Kind.LEARNED),
        (LANGUAGES, Kind.LEARNED),
        ("host", Kind.LEARNED),
        ("scheme", Kind.LEARNED),
        ("query", Kind.LEARNED),
        ("query page", Kind.LEARNED),
        ("all headers", Kind.LEARNED),
        ("g.locale", Kind.LEARNED),
        ("g.*", Kind.LEARNED),
        ("header Authorization", Kind.PERSONAL),
        ("header X-Forwarded-For", Kind.PERSONAL),
        ("header X-Goog-Iap-Jwt-Assertion", Kind.PERSONAL),
        ("header Cf-Connecting-Ipv6", Kind.PERSONAL),
        ("header X-Ms-Client-Principal-Id", Kind.PERSONAL),
        ("header X-Auth-Request-User", Kind.PERSONAL),
        ("header Cookie", Kind.PERSONAL),
        ("cookie session", Kind.PERSONAL),
        ("cookies", Kind.PERSONAL),
        ("body", Kind.PERSONAL),
        ("request.user", Kind.PERSONAL),
        ("environ REMOTE_USER", Kind.PERSONAL),
        ("remote address", Kind.NEVER),
        ("environ", Kind.NEVER),
        ("writes session", Kind.NEVER),
        ("best X-Foo of [] else null", Kind.NEVER),
        ("of a later version", Kind.NEVER),
        ("", Kind.NEVER),
    ],
)
def test_kinds(name: str, kind: Kind) -> None:
    """Each name has one kind, and what nobody knows is never shared."""
    assert READ.kind(name) is kind


def test_every_personal_pattern_counts() -> None:
    """No pattern of the list is dead."""
    for pattern in PERSONAL:
        header = pattern.replace("*", "some").title()
        assert READ.kind(f"header {header}") is Kind.PERSONAL, pattern


def test_personal_headers_are_extended_never_shortened() -> None:
    """Configured patterns add to the list."""
    rules = Rules(personal=("x-tenant-*",))
    assert rules.kind("header X-Tenant-Id") is Kind.PERSONAL
    assert rules.kind("header Authorization") is Kind.PERSONAL
    assert READ.kind("header X-Tenant-Id") is Kind.LEARNED


def test_a_chosen_cookie_is_learned() -> None:
    """A cookie that `vary` names is learned, the others stay personal."""
    assert CHOSEN.kind("cookie theme") is Kind.LEARNED
    assert CHOSEN.kind("cookie session") is Kind.PERSONAL


# What is recorded


@pytest.mark.parametrize(
    ("rules", "key", "name"),
    [
        (READ, "HTTP_ACCEPT_LANGUAGE", "header Accept-Language"),
        (READ, "HTTP_AUTHORIZATION", "header Authorization"),
        (READ, "HTTP_COOKIE", "cookies"),
        (READ, "HTTP_HOST", "host"),
        (READ, "SERVER_NAME", "host"),
        (READ, "SERVER_PORT", "host"),
        (READ, "wsgi.url_scheme", "scheme"),
        (READ, "REMOTE_ADDR", "remote address"),
        (READ, "REMOTE_PORT", "remote address"),
        (READ, "CONTENT_TYPE", "body"),
        (READ, "wsgi.input", "body"),
        (READ, "HTTP_TRANSFER_ENCODING", "body"),
        (READ, "REMOTE_USER", "environ REMOTE_USER"),
        (READ, "PATH_INFO", ""),
        (READ, "QUERY_STRING", ""),
        (READ, "wsgi.errors", ""),
        (READ, "HTTP_IF_NONE_MATCH", ""),
        (READ, "HTTP_TRACEPARENT", ""),
        (Rules(query=("a",)), "QUERY_STRING", ""),
        (QUERY, "QUERY_STRING", "query"),
        (QUERY, "RAW_URI", "query"),
        (QUERY, "REQUEST_URI", "query"),
        (QUERY, "PATH_INFO", ""),
        (IGNORING, "HTTP_X_FOO", ""),
        (IGNORING, "HTTP_AUTHORIZATION", ""),
        (IGNORING, "REMOTE_ADDR", ""),
        (IGNORING, "HTTP_COOKIE", "cookies"),
        (NO_COOKIES, "HTTP_COOKIE", ""),
        (CHOSEN, "HTTP_ACCEPT_LANGUAGE", "header Accept-Language"),
        (CHOSEN, "HTTP_USER_AGENT", ""),
        (CHOSEN, "HTTP_HOST", "host"),
        (CHOSEN, "wsgi.url_scheme", ""),
        (CHOSEN, "HTTP_AUTHORIZATION", "header Authorization"),
        (CHOSEN, "CONTENT_TYPE", "body"),
        (RESPONSE, "HTTP_USER_AGENT", ""),
        (RESPONSE, "HTTP_AUTHORIZATION", ""),
        (RESPONSE, "HTTP_COOKIE", ""),
        (RESPONSE, "HTTP_HOST", "host"),
        (RESPONSE, "CONTENT_TYPE", "body"),
        (RESPONSE, "REMOTE_ADDR", "remote address"),
    ],
)
def test_input_of(rules: Rules, key: str, name: str) -> None:
    """An environ key has the name of what it says, or none where no render of the view sees it."""
    assert rules.input_of(key) == name


@pytest.mark.parametrize(
    ("rules", "name", "recorded"),
    [
        (READ, "cookie a", True),
        (READ, "query a", False),
        (QUERY, "query a", True),
        (NO_COOKIES, "cookie a", False),
        (IGNORING, "cookie bar", False),
        (IGNORING, "cookie a", True),
        (IGNORING, "header X-Foo", False),
        (CHOSEN, LANGUAGES, True),
        (CHOSEN, TYPES, False),
        (CHOSEN, "all headers", True),
        (CHOSEN, "cookie session", True),
        (CHOSEN, "g.x", True),
        (CHOSEN, "scheme", False),
        (RESPONSE, LANGUAGES, False),
        (RESPONSE, "all headers", False),
        (RESPONSE, "cookie a", False),
        (RESPONSE, "g.x", True),
        (RESPONSE, "writes session", True),
        (READ, "", False),
    ],
)
def test_records(rules: Rules, name: str, recorded: bool) -> None:
    """Reads count unless they are ignored, not this view's to see, or left to the response."""
    assert rules.records(name) is recorded


def test_the_preset_functions() -> None:
    """What Flask-Login and OpenTelemetry's instrumentation read for themselves does not count."""
    assert Rules().functions == PRESET_FUNCTIONS
    assert {name.partition(":")[0] for name in PRESET_FUNCTIONS} == {
        "flask_login.utils",
        "opentelemetry.instrumentation.flask",
    }


def test_rules_compare_by_what_they_say() -> None:
    """Rules with the same text are equal and hash alike, whatever they have looked up."""
    one, other = Rules(personal=("x",)), Rules(personal=("x",))
    inputs(rules=one).under(("host",))
    assert one == other
    assert hash(one) == hash(other)
    assert one != Rules()
    assert "lru_cache" not in repr(one)


# Values

ENVIRON = {
    "REQUEST_METHOD": "GET",
    "PATH_INFO": "/",
    "HTTP_HOST": "Shop.Example:8080",
    "SERVER_NAME": "10.0.0.1",
    "SERVER_PORT": "5000",
    "wsgi.url_scheme": "http",
    "wsgi.input": object(),
    "REMOTE_ADDR": "192.0.2.1",
    "HTTP_ACCEPT_LANGUAGE": "DE-at, en;q=0.80",
    "HTTP_ACCEPT": "Text/HTML;q=0.5, application/json",
    "HTTP_USER_AGENT": " curl/8 ",
    "HTTP_X_FOO": "foo",
    "HTTP_IF_NONE_MATCH": '"x"',
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("header Accept-Language", "de-at,en;q=0.8"),
        ("header User-Agent", "curl/8"),
        ("header X-Missing", None),
        ("header If-None-Match", None),
        (LANGUAGES, "en"),
        (best_name("Accept-Language", ["fr"], "x"), "x"),
        (best_name("Accept-Language", ["fr", "de-AT"], "x"), "de-AT"),
        (TYPES, "application/json"),
        (best_name("Accept-Charset", ["utf-8"], None), None),
        ("host", "shop.example:8080"),
        ("scheme", "http"),
        ("g.x", ("g", ("int", 1))),
        ("g.none", ("g", ("NoneType", None))),
        ("g.missing", None),
        ("g.*", (("none", ("NoneType", None)), ("x", ("int", 1)))),
        (
            "all headers",
            (
                ("Accept", "text/html;q=0.5,application/json"),
                ("Accept-Language", "de-at,en;q=0.8"),
                ("Host", "shop.example:8080"),
                ("User-Agent", "curl/8"),
                ("X-Foo", "foo"),
            ),
        ),
        ("query", None),
        ("query a", None),
        ("cookie session", None),
        ("cookies", None),
        ("body", None),
        ("request.user", None),
        ("environ REMOTE_USER", None),
    ],
)
def test_values(name: str, value: object) -> None:
    """A value is what a render sees, and nobody passes who carries nothing personal."""
    one = inputs(ENVIRON, g={"x": 1, "none": None})
    assert one.under([name]) == ((value,), "")
    assert one.carried([name]) == ()


@pytest.mark.parametrize(
    ("name", "brought"),
    [
        ("header Authorization", {"HTTP_AUTHORIZATION": "Basic x"}),
        ("header X-Forwarded-For", {"HTTP_X_FORWARDED_FOR": ""}),
        ("cookie session", {"HTTP_COOKIE": "a=1; session=x"}),
        ("cookie session", {"HTTP_COOKIE": 'session="x'}),  # Werkzeug sees no cookie there
        ("cookie session", {"HTTP_COOKIE": "=; session"}),
        ("cookies", {"HTTP_COOKIE": ""}),
        ("cookies", {"HTTP_COOKIE": "a=1"}),
        ("body", {"CONTENT_LENGTH": "1"}),
        ("body", {"CONTENT_LENGTH": "00"}),
        ("body", {"HTTP_TRANSFER_ENCODING": "chunked"}),
        ("body", {"CONTENT_TYPE": "application/json"}),
        ("environ REMOTE_USER", {"REMOTE_USER": ""}),
        ("environ SSL_CLIENT_CERT", {"SSL_CLIENT_CERT": object()}),
        ("all headers", {"HTTP_COOKIE": "a=1"}),
        ("all headers", {"HTTP_AUTHORIZATION": "x"}),
        ("all headers", {"HTTP_X_REAL_IP": "x"}),
        ("all headers", {"CONTENT_TYPE": "x"}),
        ("all headers", {"CONTENT_LENGTH": "5"}),
        ("remote address", {}),
        ("environ", {}),
        ("writes session", {}),
        ("of a later version", {}),
    ],
)
def test_who_passes(name: str, brought: dict[str, Any]) -> None:
    """Who brings what is personal passes, and nothing of it is in a value."""
    one = inputs({**ENVIRON, **brought})
    values, detail = one.under(["host", name])
    assert detail == describe([name])
    assert one.carried(["host", name]) == (name,)
    assert values == inputs(ENVIRON).under(["host", name])[0]


@pytest.mark.parametrize(
    ("name", "brought"),
    [
        ("cookie session", {"HTTP_COOKIE": "a=1; sessions=session"}),
        ("cookie session", {"HTTP_COOKIE": None}),
        ("cookie session", {"HTTP_COOKIE": "=; a"}),
        ("cookies", {"HTTP_AUTHORIZATION": "x"}),
        ("header Authorization", {"HTTP_COOKIE": "a=1"}),
        ("body", {"CONTENT_LENGTH": "0", "CONTENT_TYPE": ""}),
        ("body", {"CONTENT_LENGTH": "", "wsgi.input_terminated": True}),
        ("all headers", {"REMOTE_USER": "x", "CONTENT_LENGTH": "0"}),
        ("header Accept", {"HTTP_COOKIE": "a=1", "HTTP_AUTHORIZATION": "x", "CONTENT_TYPE": "x"}),
    ],
)
def test_who_need_not_pass(name: str, brought: dict[str, Any]) -> None:
    """What nobody reads never makes anybody pass."""
    assert inputs({**ENVIRON, **brought}).under([name])[1] == ""


def test_attributes_and_objects_in_g_are_their_owners() -> None:
    """An attribute that a hook set, or an object in g, is absent in a render; its owner passes."""
    one = inputs(g={"user": object(), "x": 1}, attributes={"user": None})
    assert one.under(["request.user", "g.user", "g.x"]) == (
        (None, None, ("g", ("int", 1))),
        "reads request.user, g.user",
    )
    assert one.under(["g.*"]) == (((("x", ("int", 1)),),), "reads g.*")
    assert one.simple_g() == {"x": 1}


@pytest.mark.parametrize("value", [[1], {}, (), object(), Color, int, string.Template("")])
def test_not_simple(value: object) -> None:
    """Everything but plain values is an object."""
    one = inputs(g={"x": value})
    assert one.under(["g.x"]) == ((None,), "reads g.x")
    assert one.simple_g() == {}


def test_proxies_stay_unresolved() -> None:
    """Looking at what is in g resolves no proxy."""
    one = inputs(g={"x": Proxy()})
    assert one.under(["g.x", "g.*"]) == ((None, ()), "reads g.x, g.*")
    assert one.snapshot().under(["g.x"]) == ((None,), "reads g.x")


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (0, None), ("", None), ("1", 1), (1, 1.0), (b"a", "a"), (Size.SMALL, 1),
     (Color.RED, "RED"), (0.0, -0.0), (Right.READ, Right.WRITE)],
)  # fmt: skip
def test_simple_values_differ(one: object, other: object) -> None:
    """Values in g that a view can tell apart have different values in a key."""
    assert inputs(g={"x": one}).under(["g.x"]) != inputs(g={"x": other}).under(["g.x"])
    assert inputs(g={"x": one}).under(["g.*"]) != inputs(g={"x": other}).under(["g.*"])


# Host


@pytest.mark.parametrize(
    ("environ", "host"),
    [
        ({"HTTP_HOST": "A.Example"}, "a.example"),
        ({"HTTP_HOST": "a:80", "wsgi.url_scheme": "http"}, "a"),
        ({"HTTP_HOST": "a:80", "wsgi.url_scheme": "https"}, "a:80"),
        ({"HTTP_HOST": "a:443", "wsgi.url_scheme": "https"}, "a"),
        ({"HTTP_HOST": "[::1]:443", "wsgi.url_scheme": "HTTPS"}, "[::1]"),
        ({"HTTP_HOST": "", "SERVER_NAME": "x"}, ""),
        ({"SERVER_NAME": "S", "SERVER_PORT": "5000"}, "s:5000"),
        ({"SERVER_NAME": "s", "SERVER_PORT": "80", "wsgi.url_scheme": "http"}, "s"),
        ({"SERVER_NAME": "::1", "SERVER_PORT": "81"}, "[::1]:81"),
        ({"SERVER_NAME": "s"}, "s"),
        ({"SERVER_NAME": "/run/x.sock", "SERVER_PORT": "unix"}, "/run/x.sock"),
        ({"HTTP_HOST": 5}, None),
        ({}, None),
    ],
)
def test_host(environ: dict[str, Any], host: str | None) -> None:
    """The host is the one of the URL: lower case, without its scheme's port, of one source."""
    assert inputs(environ).under(["host"])[0] == (host,)


@pytest.mark.parametrize(
    ("environ", "name", "port"),
    [
        ({"HTTP_HOST": "a:8080", "SERVER_NAME": "s", "SERVER_PORT": "1"}, "a", "8080"),
        ({"HTTP_HOST": "a", "SERVER_NAME": "s", "SERVER_PORT": "1"}, "a", "80"),
        ({"HTTP_HOST": "[::1]", "SERVER_NAME": "s", "SERVER_PORT": "1"}, "[::1]", "80"),
    ],
)
def test_the_server_is_the_hosts(environ: dict[str, Any], name: str, port: str) -> None:
    """A render sees nothing of the server that the host does not say."""
    seen = inputs(environ).visible()
    assert (seen["SERVER_NAME"], seen["SERVER_PORT"]) == (name, port)


# Query


def test_query_is_read_by_name() -> None:
    """With query="read" each parameter is an input, and so is the whole."""
    one = inputs(rules=QUERY, query="a=1&a=%C3%A9&b=&c=%FF")
    names = ["query a", "query b", "query c", "query d", "query"]
    assert one.under(names)[0] == (("1", "é"), ("",), ("%FF",), None, "a=1&a=%C3%A9&b=&c=%FF")


# Rules of the view


def test_vary_names_what_there_is() -> None:
    """With a set in `vary`, renders see only what is in it, and requests agree on no more."""
    environ = {**ENVIRON, "HTTP_COOKIE": 'session=x; theme="d\\303\\251k"; theme=2'}
    one = inputs(environ, CHOSEN)
    assert one.visible() == {
        "HTTP_ACCEPT_LANGUAGE": "de-at,en;q=0.8",
        "HTTP_HOST": "shop.example:8080",
        "SERVER_NAME": "shop.example",
        "SERVER_PORT": "8080",
        "HTTP_COOKIE": 'theme="\\144\\303\\251\\153"',
    }
    names = ["cookie theme", "header User-Agent", "scheme", "header Accept-Language", "host"]
    assert one.under(names) == (
        ("dék", None, None, "de-at,en;q=0.8", "shop.example:8080"), ""
    )  # fmt: skip


@pytest.mark.parametrize(
    ("cookies", "value", "passes"),
    [
        (None, None, False),
        ("", None, False),
        ("theme=dark", "theme=dark", False),
        ("theme=dark; theme=light", "theme=dark", False),
        ("theme=dark; session=x", "theme=dark", True),
        ("theme=dark; =x", "theme=dark", True),  # Werkzeug sees no cookie there, others may
        ("session=x", None, True),
    ],
)
def test_all_cookies_of_a_view_that_sees_some(
    cookies: str | None, value: str | None, passes: bool
) -> None:
    """Who has no cookies but those that `vary` names agrees on all of them."""
    one = inputs({"HTTP_COOKIE": cookies}, CHOSEN)
    assert one.under(["cookies"]) == ((value,), "reads cookies" if passes else "")
    assert bool(one.under(["all headers"])[1]) is passes


def test_vary_without_the_host() -> None:
    """A view whose `vary` does not name the host sees none, nor what it ignores besides."""
    rules = Rules(
        vary=frozenset({"header X-Foo", "cookie theme"}), ignore=frozenset({"cookie theme"})
    )
    one = inputs({**ENVIRON, "HTTP_COOKIE": "theme=1"}, rules)
    assert one.visible() == {"HTTP_X_FOO": "foo"}
    assert one.under(["host", "scheme", "cookie theme", "cookies"]) == ((None,) * 4, "")
    every = Rules(vary=frozenset({"cookie theme"}), ignore=frozenset({"cookies"}))
    assert inputs({"HTTP_COOKIE": "theme=1"}, every).visible() == {}


def test_what_is_ignored_is_absent() -> None:
    """An ignored input is in no render, in no value, and makes nobody pass."""
    environ = {**ENVIRON, "HTTP_AUTHORIZATION": "x", "HTTP_COOKIE": "bar=1"}
    one = inputs(environ, IGNORING)
    names = ["header X-Foo", "header Authorization", "cookie bar", "remote address", "cookies"]
    assert one.under(names) == ((None,) * 5, "")
    assert one.under(["all headers"])[1] == ""
    assert not {"HTTP_X_FOO", "HTTP_AUTHORIZATION", "HTTP_COOKIE"} & one.visible().keys()
    assert inputs({"HTTP_COOKIE": "bar=1; b=2"}, IGNORING).carried(["cookies"]) == ("cookies",)
    assert inputs({"HTTP_COOKIE": "a=1"}, NO_COOKIES).under(["cookie a", "cookies"])[1] == ""
    assert inputs({"HTTP_COOKIE": "a=1"}, NO_COOKIES).under(["all headers"]) == (((),), "")


def test_nothing_personal_is_visible() -> None:
    """No personal or blank header, address or body reaches a render, however vary is set."""
    personal = {f"HTTP_{p.replace('*', 'x').replace('-', '_').upper()}": "me" for p in PERSONAL}
    environ = {
        **personal, **dict.fromkeys(BLANK, "me"), "REMOTE_ADDR": "me", "CONTENT_TYPE": "me",
        "CONTENT_LENGTH": "me", "wsgi.input": "me", "REMOTE_USER": "me", "HTTP_CONTENT_TYPE": "me",
        "HTTP_TRANSFER_ENCODING": "me", "QUERY_STRING": "me", "PATH_INFO": "me", "HTTP_OK": "ok",
    }  # fmt: skip
    for rules in (READ, QUERY, RESPONSE):
        assert inputs(environ, rules).visible() == {"HTTP_OK": "ok"}
    assert inputs(environ, CHOSEN).visible() == {}
    long = {"HTTP_X_USER_" + "X" * 99: "me", "HTTP_X_" + "X" * 99: "ok"}
    assert list(inputs(long).visible().values()) == ["ok"]


def test_the_person_of_a_scope() -> None:
    """What says who asks is whole and as it was sent; what is learned, blank or the body is not."""
    said = {
        "HTTP_AUTHORIZATION": " x ", "HTTP_COOKIE": "session=x; bar=1", "REMOTE_ADDR": "192.0.2.1",
        "REMOTE_USER": "me", "HTTP_X_REAL_IP": "192.0.2.9",
    }  # fmt: skip
    environ = {**ENVIRON, **said, "CONTENT_TYPE": "x", "CONTENT_LENGTH": "5", "SSL": object()}
    assert inputs(environ).person() == said
    assert inputs(environ).snapshot().person() == said
    assert inputs(environ, IGNORING).person().keys() == said.keys() - {
        "HTTP_AUTHORIZATION", "REMOTE_ADDR",
    }  # fmt: skip


# Texts


@pytest.mark.parametrize(
    ("header", "text", "expected"),
    [
        ("User-Agent", "\t Mozilla , 5 ", "Mozilla , 5"),
        ("X-Foo", "A, B;q=1", "A, B;q=1"),
        ("Accept-Language", "en-US , en ; q=0.80,,en-us,DE;Q=1.000", "en-us,en;q=0.8,de"),
        ("Accept-Language", "en;q=0.000, *;q=0.010", "en;q=0,*;q=0.01"),
        ("Accept-Language", "de, en", "de,en"),
        ("Accept-Language", "", ""),
        ("Accept-Language", " , ", ""),
        ("Accept-Language", " en;q=2 ", "en;q=2"),
        ("Accept-Language", "EN;q=.5", "EN;q=.5"),
        ("Accept-Language", "EN;q=0.", "EN;q=0."),
        ("Accept-Language", "EN;q=0.1234", "EN;q=0.1234"),
        ("Accept-Language", "EN;q=1.001", "EN;q=1.001"),
        ("Accept-Language", "EN q", "EN q"),
        ("Accept-Language", "EN;level=1", "EN;level=1"),
        ("Accept-Language", "EN\n", "EN\n"),
        ("Accept-Encoding", "gzip, BR;q=1, deflate;q=0.50", "br,deflate;q=0.5,gzip"),
        ("Accept-Charset", "UTF-8, *;q=0.1", "utf-8,*;q=0.1"),
        ("Accept", "Text/HTML ; Level=A ; q=1.0, */*;q=0.8", "text/html;Level=A,*/*;q=0.8"),
        ("Accept", "text/html, TEXT/html", "text/html"),
        ("Accept", 'Text/x; a="b,c"', 'Text/x; a="b,c"'),
        ("Accept", "A/b;q=0.5;q=1", "A/b;q=0.5;q=1"),
        ("Accept", "A/b;q=1;ext=1", "A/b;q=1;ext=1"),
        ("Accept", "Text", "Text"),
        ("Accept", "A/b, *; q=.2", "A/b, *; q=.2"),  # Java's
        ("Accept-Language", "EN, " * 400 + "de", "en,de"),  # longer than what is kept
    ],
)
def test_normal(header: str, text: str, expected: str) -> None:
    """Only what no reader may tell apart is made equal; what is malformed is trimmed."""
    assert normal(header, text) == expected


HEADERS = ["Accept", "Accept-Language", "Accept-Charset", "Accept-Encoding", "User-Agent"]
pieces = st.sampled_from(
    ["en", "de-AT", "Text/HTML", "*/*", "*", "gzip", ",", ", ", ";", " ; ", "q=", "Q=1", "q=0.5",
     "q=0.500", "1.0", "0", ".", "level=B", '"', "\t", " ", "\\", "é", "\0", "=", "/", "x"]
)  # fmt: skip
header_text = st.one_of(
    st.text(max_size=20), st.lists(pieces, max_size=12).map("".join),
    st.lists(pieces, max_size=12).map(lambda found: "".join(found) * 100),
)  # fmt: skip


@quick
@given(st.sampled_from(HEADERS), header_text)
def test_normal_is_idempotent(header: str, text: str) -> None:
    """Normalising what is normal changes nothing, and no text raises."""
    once = normal(header, text)
    assert normal(header, once) == once
    assert normal(header, f" {text}\t") == once


@quick
@given(st.lists(pieces, max_size=12).map("".join))
def test_normal_means_the_same(text: str) -> None:
    """Werkzeug finds the same in a normalised header as in the one that was sent."""
    for header, kind in (("Accept", MIMEAccept), ("Accept-Language", LanguageAccept)):
        sent = parse_accept_header(text, kind)
        shown = parse_accept_header(normal(header, text), kind)
        for choice in ("text/html", "text/html;level=B", "x/y") if header == "Accept" else ("en",):
            assert shown.best_match([choice]) == sent.best_match([choice])


# best_match


def test_best_name() -> None:
    """The name of a derived input says header, choices and default, as JSON without spaces."""
    assert LANGUAGES == 'best Accept-Language of ["en","de"] else null'


@pytest.mark.parametrize("default", [None, "en", "xx"])
def test_best_name_survives_any_text(default: str | None) -> None:
    """Choices may hold any text and still make one name."""
    choices = ['a"] else "b', " else ", "é", ""]
    name = best_name("Accept-Language", choices, default)
    assert name.isascii()
    assert READ.kind(name) is Kind.LEARNED
    assert inputs().under([name])[0] == (default,)
    assert inputs({"HTTP_ACCEPT_LANGUAGE": "é"}).under([name])[0] == ("é",)


@pytest.mark.parametrize(
    "name",
    ["best", "best ", "best Accept", "best Accept of", "best Accept of [",
     "best Accept of [1] else 1", 'best Accept of ["a"] else 1', 'best Accept of "a" else null',
     'best X-Foo of ["a"] else null',
     "best Accept of " + "[" * 99_999,
     'best Accept of ["a"] else', "best Accept of [[]] else null", 'best Accept of ["a"] else 0'],
)  # fmt: skip
def test_no_best_name(name: str) -> None:
    """A name that says no choices is nobody's to share."""
    assert READ.kind(name) is Kind.NEVER
    assert inputs(ENVIRON).carried([name]) == (name,)


def test_best_match_that_raises_falls_back_to_the_text() -> None:
    """Where Werkzeug raises on what a client sent, requests agree on the text."""
    charsets = best_name("Accept-Charset", ["utf-8"], None)
    with pytest.raises(ValueError, match="null"):
        parse_accept_header("\0", CharsetAccept).best_match(["utf-8"])
    assert inputs({"HTTP_ACCEPT_CHARSET": "\0"}).under([charsets])[0] == (("header", "\0"),)
    types = best_name("Accept", ["json"], None)
    assert inputs({"HTTP_ACCEPT": "a/b"}).under([types])[0] == (("header", "a/b"),)


# Odd environs


def test_evaluating_is_not_a_read() -> None:
    """An environ that notes its readers notes none of ours."""
    environ = Watched({**ENVIRON, "HTTP_COOKIE": "theme=1"})
    for rules in (READ, QUERY, CHOSEN, RESPONSE, IGNORING):
        one = Inputs(environ, {}, {}, rules)
        one.under(NAMES)
        one.carried(NAMES)
        one.visible()
        one.snapshot()


NAMES = [
    "header Accept-Language", "header Accept", "header User-Agent", "header X-Foo",
    "header Authorization", "header X-Forwarded-For", LANGUAGES, TYPES, "host", "scheme",
    "query", "query a", "query b", "all headers", "cookie theme", "cookie session", "cookies",
    "g.x", "g.y", "g.*", "body", "request.user", "environ REMOTE_USER", "remote address", "environ",
    "writes session", best_name("Accept-Charset", ["utf-8", "latin-1"], None),
    best_name("Accept-Encoding", ["br", "gzip"], "identity"),
]  # fmt: skip
KEYS = [
    "HTTP_ACCEPT_LANGUAGE", "HTTP_ACCEPT", "HTTP_ACCEPT_CHARSET", "HTTP_ACCEPT_ENCODING",
    "HTTP_USER_AGENT", "HTTP_X_FOO", "HTTP_COOKIE", "HTTP_HOST", "SERVER_NAME", "SERVER_PORT",
    "wsgi.url_scheme", "HTTP_AUTHORIZATION", "CONTENT_LENGTH", "CONTENT_TYPE", "REMOTE_USER",
    "HTTP_IF_NONE_MATCH", "HTTP_X_FORWARDED_FOR", "HTTP_TRANSFER_ENCODING", "HTTP_",
]  # fmt: skip
cookie_pieces = st.sampled_from(
    ["theme", "session", "bar", "=", "; ", ";", '"', "dark", "\\303", "\\", ",", " ", "é", "\xff"]
)
wire = st.one_of(
    st.text(st.characters(max_codepoint=255), max_size=12),
    st.lists(pieces, max_size=8).map("".join),
    st.lists(cookie_pieces, max_size=12).map("".join),
    st.sampled_from(["http", "https", "a.example:80", "a.example:443", "[::1]:80", "8080", "0"]),
)
odd = st.one_of(wire, st.text(max_size=5), st.none(), st.integers(), st.binary(max_size=3))
simple = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers().map(lambda n: n + (1 << 5000)),
    st.floats(), st.complex_numbers(), st.text(max_size=5), st.binary(max_size=5),
    st.sampled_from([Color.RED, Size.SMALL, Right.READ, Right.READ | Right.WRITE, Right(0)]),
)  # fmt: skip
all_rules = st.sampled_from([READ, QUERY, CHOSEN, RESPONSE, IGNORING, NO_COOKIES])
names_of_any = st.lists(st.sampled_from(NAMES), max_size=5, unique=True)
queries = st.sampled_from(["", "a=1", "a=1&a=%26&b=", "a=%FF", "b=x&c=y+z"])


@st.composite
def requests(draw: st.DrawFn, text: st.SearchStrategy[Any] = wire) -> Inputs:
    environ = draw(st.dictionaries(st.sampled_from(KEYS), text, max_size=8))
    g = draw(st.dictionaries(st.sampled_from(["x", "y", "z"]), simple | st.builds(object)))
    return Inputs(environ, g, {}, draw(all_rules), draw(queries))


@quick
@given(requests(odd), names_of_any, st.text(max_size=9))
def test_never_raises(one: Inputs, names: list[str], odd_name: str) -> None:
    """No environ and no name makes evaluating raise."""
    values, detail = one.under([*names, odd_name])
    assert len(values) == len(names) + 1
    assert detail == describe(one.carried([*names, odd_name]))
    hash(values)
    one.visible()
    nobody(names, values[:-1], one.rules)


@quick
@given(requests(odd), st.lists(st.sampled_from(NAMES)))
def test_a_snapshot_says_the_same(one: Inputs, names: list[str]) -> None:
    """A snapshot has the request's values, carriers and sight, and none of its objects."""
    copy = one.snapshot()
    assert copy.under(names) == one.under(names)
    assert copy.visible() == one.visible()
    assert copy.simple_g().keys() == one.simple_g().keys()
    owned = {id(value) for values in (one.g, one.environ) for value in values.values()}
    kept = [value for values in (copy.g, copy.environ) for value in values.values()]
    assert not any(type(value) is object and id(value) in owned for value in kept)
    assert {type(value) for value in copy.environ.values()} <= {str, type(None), object}


def test_a_snapshot_outlives_its_request() -> None:
    """What the request changes after a snapshot is not in it."""
    environ, g, attributes = dict(ENVIRON), {"x": 1}, {"user": object()}
    copy = Inputs(environ, g, attributes, READ).snapshot()
    before = copy.under(["header X-Foo", "g.x", "request.user"])
    environ["HTTP_X_FOO"], g["x"] = "bar", 2
    attributes.clear()
    assert copy.under(["header X-Foo", "g.x", "request.user"]) == before
    assert before == (("foo", ("g", ("int", 1)), None), "reads request.user")


@quick
@given(requests(), st.lists(st.sampled_from(NAMES), unique=True))
def test_a_render_sees_what_the_key_says(one: Inputs, names: list[str]) -> None:
    """What is visible to a render has the request's own values, and carries nothing personal."""
    render = Inputs(one.visible(), one.simple_g(), {}, one.rules, one.query)
    assert render.under(names)[0] == one.under(names)[0]
    never = ("remote address", "environ", "writes session")
    expected = [name for name in names if name in never and not one.rules.blank(name)]
    assert list(render.carried(names)) == expected


@quick
@given(requests())
def test_werkzeug_reads_what_the_key_says(one: Inputs) -> None:
    """Flask's request shows the view of a render exactly the values that are in the key."""
    seen = one.visible()
    request = Request({"REQUEST_METHOD": "GET", "wsgi.url_scheme": "http", **seen})

    def value(name: str) -> Any:
        return one.under([name])[0][0]

    assert tuple(sorted(request.headers)) == value("all headers")
    assert request.headers.get("Accept-Language") == value("header Accept-Language")
    if not one.rules.blank(LANGUAGES):
        assert request.accept_languages.best_match(["en", "de"]) == value(LANGUAGES)
    if not one.rules.blank(TYPES):
        matched = request.accept_mimetypes.best_match(
            ["text/html", "application/json"], "text/html"
        )
        assert matched == value(TYPES)
    if one.rules.kind("cookie theme") is Kind.LEARNED:
        assert request.cookies.get("theme") == value("cookie theme")
        assert request.headers.get("Cookie") == value("cookies")
    assert request.cookies.get("session") is None


# Nobody

LEARNED = [name for name in NAMES if READ.kind(name) is Kind.LEARNED] + ["cookie theme"]


@quick
@given(requests(), st.lists(st.sampled_from(LEARNED), unique=True))
def test_nobody_round_trips(one: Inputs, names: list[str]) -> None:
    """A request made of the values of a key has these values; or there is none, where best_match
    is one of them."""
    values = one.under(names)[0]
    made = nobody(names, values, one.rules, "" if one.rules.query == "read" else one.query)
    if made is None:
        assert any(name.startswith("best ") for name in names)
    else:
        assert made.under(names)[0] == values
        assert made.under(["body", "cookie session", "g.z"])[1] == ""


@pytest.mark.parametrize(
    ("names", "values", "environ"),
    [
        ([LANGUAGES], ["de"], {"HTTP_ACCEPT_LANGUAGE": "de"}),
        ([LANGUAGES], [None], {}),
        ([TYPES], ["text/html"], {}),
        ([TYPES], ["application/json"], {"HTTP_ACCEPT": "application/json"}),
        ([LANGUAGES, "header Accept-Language"], ["de", "de,en;q=0.1"],
         {"HTTP_ACCEPT_LANGUAGE": "de,en;q=0.1"}),
        ([LANGUAGES, best_name("Accept-Language", ["fr", "de-AT"], "fr")], ["de", "de-AT"],
         {"HTTP_ACCEPT_LANGUAGE": "de,de-at"}),
        (["host"], ["a:80"], {"HTTP_HOST": "a:80", "SERVER_NAME": "a", "SERVER_PORT": "80",
                              "wsgi.url_scheme": "https"}),
        (["cookies", "body", "environ X", "request.y", "header Authorization"], [None] * 5, {}),
    ],
)  # fmt: skip
def test_nobody(names: list[str], values: list[Any], environ: dict[str, str]) -> None:
    """A load without a caller sees what the key says and nothing else."""
    made = nobody(names, values, READ)
    assert made is not None
    assert made.visible() == environ
    assert made.under(names) == (tuple(values), "")


@pytest.mark.parametrize(
    ("names", "values"),
    [
        (["host"], []),
        (["host"], [5]),
        (["host"], ["A"]),
        (["header Accept"], ["a/b , c/d"]),
        (["header Authorization"], ["x"]),
        (["cookie session"], ["x"]),
        (["all headers"], ["x"]),
        (["all headers"], [(("Authorization", "x"),)]),
        (["g.x"], ["x"]),
        (["g.x"], [("g", ("no.module", 1))]),
        (["g.x"], [("g", ("os.system", "true"))]),
        (["g.x"], [("g", ("test_inputs.Color", "BLUE"))]),
        (["g.*"], [5]),
        (["query a"], [("1",)]),
        ([LANGUAGES], ["fr"]),
        ([LANGUAGES, "header Accept-Language"], ["de", "en"]),
        (["writes session"], ["x"]),
    ],
)
def test_nobody_has_such_values(names: list[str], values: list[Any]) -> None:
    """Values that no request has, damaged ones too, make no request."""
    assert nobody(names, values, READ) is None


@quick
@given(simple)
def test_simple_values_come_back(value: object) -> None:
    """A load without a caller gets a simple value of g as the hook had set it, type and all."""
    for name in ("g.x", "g.*"):
        values = inputs(g={"x": value}).under([name])[0]
        made = nobody([name], values, READ)
        assert made is not None
        assert type(made.g["x"]) is type(value)
        assert repr(made.g["x"]) == repr(value)


def test_the_query_of_nobody() -> None:
    """The query of a load without a caller is what its key says of it."""
    made = nobody(["query b", "query a", "query c"], [("x y",), ("1", "&"), None], QUERY)
    assert made is not None
    assert made.query == "a=1&a=%26&b=x+y"
    whole = nobody(["query", "query a"], ["a=1&b=2", ("1",)], QUERY)
    assert whole is not None
    assert whole.query == "a=1&b=2"
    keyed = nobody([], [], READ, "page=2")
    assert keyed is not None
    assert keyed.query == "page=2"


# Vary


@pytest.mark.parametrize(
    ("rules", "names", "fields"),
    [
        (READ, [], ()),
        (READ, ["header User-Agent", LANGUAGES, "header Accept"],
         ("Accept", "Accept-Language", "User-Agent")),
        (READ, ["cookie session", "cookies"], ("Cookie",)),
        (READ, ["header Authorization"], ("Authorization",)),
        (READ, ["header Accept", "all headers"], ("*",)),
        (READ, ["host", "scheme", "query", "query Header", "g.x", "g.*", "request.x", "body",
                "environ X", "environ", "remote address", "writes session"], ()),
        (IGNORING, ["header X-Foo", "cookie bar"], ()),
        (CHOSEN, ["cookie theme", "header Accept-Language", "header Accept"],
         ("Accept-Language", "Cookie")),
        (RESPONSE, ["header Accept"], ("Accept",)),
    ],
)  # fmt: skip
def test_vary_fields(rules: Rules, names: list[str], fields: tuple[str, ...]) -> None:
    """Vary names the headers that were read, and nothing that is no header."""
    assert vary_fields(names, rules) == fields


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ([], ()),
        (["accept-language", "Accept-Language", "Cookie", "HOST", "Authorization"],
         ("header Accept-Language", "cookies", "host", "header Authorization")),
        (["Content-Type", "Content-Length", "Transfer-Encoding"], ("body",)),
        (["Range", "If-None-Match"], ()),
        (["*", "Accept"], ("all headers", "header Accept")),
    ],
)  # fmt: skip
def test_names_of_vary(fields: list[str], names: tuple[str, ...]) -> None:
    """What a response says it varies on has the names that reading it would have."""
    assert names_of_vary(fields) == names


@pytest.mark.parametrize(
    ("field", "names", "covered"),
    [
        ("Accept", ["header Accept"], True),
        ("accept", ["header Accept"], True),
        ("Accept", [TYPES], True),
        ("Accept", [LANGUAGES, "header Accept-Language"], False),
        ("Accept-Language", [LANGUAGES], True),
        ("Cookie", ["cookie session"], True),
        ("Cookie", ["cookies"], True),
        ("Cookie", ["header Accept"], False),
        ("Host", ["host"], True),
        ("Host", [], False),
        ("Range", [], True),
        ("User-Agent", ["all headers"], True),
        ("*", ["all headers"], False),
    ],
)
def test_explained(field: str, names: list[str], covered: bool) -> None:
    """A field of Vary is covered by the inputs that come from it."""
    assert explained(field, names) is covered


# Words


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["cookie session", "g.user"], "reads cookie session, g.user"),
        (["writes session"], "writes session"),
        (["writes session", "host"], "reads host; writes session"),
    ],
)
def test_describe(names: list[str], text: str) -> None:
    """The log and Cache-Status name what was read and say that a session was written."""
    assert describe(names) == text


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("Accept-Language", "header Accept-Language"),
        ("x-foo", "header X-Foo"),
        ("Authorization", "header Authorization"),
        ("If-None-Match", "header If-None-Match"),
        ("Host", "host"),
        ("host", "host"),
        ("scheme", "scheme"),
        ("Cookie", "cookies"),
        ("cookie:theme", "cookie theme"),
        ("Cookie:my_theme", "cookie my_theme"),
        ("cookie:a:b", "cookie a:b"),
        ("remote_addr", "remote address"),
        ("REMOTE_ADDR", "remote address"),
        ("Content-Type", "body"),
    ],
)
def test_input_name(spec: str, name: str) -> None:
    """Options name headers as HTTP does, cookies after a colon, and the address as Flask does."""
    assert input_name(spec) == name


@pytest.mark.parametrize(
    ("spec", "cure"),
    [
        ("", "cookie:NAME"),
        ("*", "cookie:NAME"),
        ("Accept Language", "cookie:NAME"),
        ("en;q=0.5", "cookie:NAME"),
        ("cookie:", "cookie:NAME"),
        ("cookie: theme", "cookie:NAME"),
        ("cookie:a=b", "cookie:NAME"),
        ("header:X", "cookie:NAME"),
        ("Größe", "cookie:NAME"),
        (5, "cookie:NAME"),
        ("accept_language", "'Accept-Language'"),
        ("HTTP_ACCEPT", "'Accept'"),
    ],
)
def test_no_input_name(spec: Any, cure: str) -> None:
    """What names no input is refused with the value and the cure."""
    with pytest.raises(ValueError, match=cure) as caught:
        input_name(spec)
    assert repr(spec) in str(caught.value)


@quick
@given(st.text(string.ascii_letters + "-", min_size=1, max_size=8))
def test_a_name_is_the_one_that_reading_has(header: str) -> None:
    """An option, a Vary field and a look-up in the environ give one header one name."""
    key = "HTTP_" + header.upper().replace("-", "_")
    assert (input_name(header),) == names_of_vary([header]) == (READ.input_of(key),)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("header Accept-Language", False), ("query page", False), ("host", False),
        (LANGUAGES, False), ("cookie session", True), ("header Authorization", True),
        ("remote address", True), ("body", True), ("g.user", True), ("all headers", True),
    ],
)  # fmt: skip
def test_what_reading_can_do_to_who_waits(name, expected):
    """Only what a request may carry as its own, or as an object, can make it pass."""
    assert Rules(query="read").bars(name) is expected
