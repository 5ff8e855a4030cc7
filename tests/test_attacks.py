"""The attacks of `attacks` and `drills`, mounted on aswr; what only aswr could get wrong besides.

Each attack is first shown to hurt a cache that is careless, so that being safe from it means
something.
"""

import itertools
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from aiocache import SimpleMemoryCache
from flask import Flask, g, request, session

from aswr import CacheManager, UnkeyedInput

from .attacked import (
    EVIL,
    HOST,
    LIMIT,
    Ask,
    Aswr,
    Naive,
    Wire,
    directly,
    header,
    opened,
    tidy,
    verbatim,
)
from .attacks import ATTACKS, Attack, mount
from .drills import DRILLS, Drill
from .shops import PAGE, accounts, catalogue, hooked, storefront

ON_THE_WIRE = [attack for attack in ATTACKS if attack.wire]
PLAIN = [attack for attack in ATTACKS if not attack.wire]
# What a server says of the connection is on no wire.
SENDABLE = [a for a in PLAIN if not any(ask.server for ask in (*a.first, *a.second))]

modes = pytest.mark.parametrize("public", [False, True], ids=["in-app", "public"])


class Own(SimpleMemoryCache):
    """A backend with bytes of its own; the class's are one for all."""

    def __init__(self) -> None:
        super().__init__()
        self._cache: dict[str, bytes] = {}
        self._handlers: dict[str, Any] = {}


@pytest.fixture(scope="module")
def wires() -> Iterator[list[Wire]]:
    wires = [Wire(tidy), Wire(verbatim)]
    yield wires
    for wire in wires:
        wire.close()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What the attacks make Flask and aswr log is not of interest here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_the_table_has_no_attack_twice():
    """Each attack has a name of its own, so that a failure says which one it is."""
    names = [str(attack) for attack in (*ATTACKS, *DRILLS)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("attack", PLAIN, ids=str)
def test_the_attack_hurts_a_careless_cache(attack: Attack):
    """An attack does harm to a cache that keys by path and stores whatever comes."""
    assert mount(attack, Naive, directly)


@pytest.mark.parametrize("attack", ON_THE_WIRE, ids=str)
def test_the_attack_hurts_a_careless_cache_behind_some_server(attack: Attack, wires: list[Wire]):
    """An attack on the wire does harm behind at least one of the servers."""
    assert any(mount(attack, Naive, wire) for wire in wires)


@modes
@pytest.mark.parametrize("attack", PLAIN, ids=str)
def test_the_attack_fails(attack: Attack, public: bool):
    """Whatever one sends, the other gets what he would get alone, from memory where it was."""
    assert mount(attack, lambda: Aswr(public), directly) == ""


@modes
@pytest.mark.parametrize("attack", ON_THE_WIRE, ids=str)
def test_the_attack_fails_on_the_wire(attack: Attack, public: bool, wires: list[Wire]):
    """So it is with bytes that servers read in different ways."""
    for wire in wires:
        assert mount(attack, lambda: Aswr(public), wire) == ""


@modes
@pytest.mark.parametrize("attack", SENDABLE[::7], ids=str)
def test_a_sample_fails_over_sockets_too(attack: Attack, public: bool, wires: list[Wire]):
    """The attacks that need no special bytes fail in the same way over a socket."""
    assert mount(attack, lambda: Aswr(public), wires[0]) == ""


@pytest.mark.parametrize("drill", [drill for drill in DRILLS if drill.hurts_naive], ids=str)
def test_the_drill_hurts_a_careless_cache(drill: Drill):
    """A drill does harm to a cache without bounds that believes its store."""
    assert drill.run(Naive)


@modes
@pytest.mark.parametrize("drill", DRILLS, ids=str)
def test_the_drill_fails(drill: Drill, public: bool):
    """Memory stays bounded, known answers stay, and stored bytes are data."""
    assert drill.run(lambda: Aswr(public, Own())) == ""


class TestWaiting:
    """Somebody waits for a load that somebody else's request began."""

    @modes
    @pytest.mark.parametrize(
        ("headers", "marks"),
        [
            ((("X-Forwarded-Host", EVIL),), EVIL),
            ((("Host", EVIL),), EVIL),
            ((("Cookie", "who=alice"),), "alice"),
            ((("Authorization", "Basic YWxpY2U6"),), "alice"),
        ],
        ids=["header", "host", "cookie", "credentials"],
    )
    def test_who_waits_for_anothers_load_gets_his_own_answer(
        self, headers, marks, public, gate, background
    ):
        """Who joins a load whose render then reads what he has not sent gets another answer."""

        def build(app: Flask, cached: Any) -> None:
            @app.route("/")
            @cached()
            def front() -> str:
                gate.hold()
                who = request.authorization
                return " ".join(
                    [
                        request.headers.get("X-Forwarded-Host") or request.host,
                        request.cookies.get("who", "nobody"),
                        who.username if who is not None else "-",
                    ]
                )

        with opened(Aswr(public), build) as shop:
            theirs = background(lambda: shop.person().ask(Ask(headers=headers)))
            gate.await_arrival()
            ours = background(lambda: shop.person().ask(Ask()))
            while shop.subject.manager.stats()["waiting"] < 2:
                assert not theirs.done()
            gate.open()
            assert marks in theirs.result().text
            assert ours.result().status == 200
            assert marks not in ours.result().text


class TestWhatLeaves:
    """What a cache further out, or another person's browser, may do with an answer."""

    @modes
    @pytest.mark.parametrize("target", ["/account/x.css", "/tagged", "/basic", "/theme"])
    def test_a_persons_own_answer_may_be_kept_by_nobody_else(self, target, public):
        """What somebody's cookies or credentials went into says that it is private."""
        with opened(Aswr(public), accounts) as shop:
            person = shop.person()
            person.ask(Ask("/login/alice"))
            sent = (("Authorization", "Basic YWxpY2U6"), ("Cookie", "theme=dark"))
            for _ in range(3):
                got = person.ask(Ask(target, headers=sent))
                assert "private" in got.line("Cache-Control"), got.text
                assert "public" not in got.line("Cache-Control")

    def test_a_persons_own_answer_behind_a_hook_may_be_kept_by_nobody_else(self):
        """So it is where a hook knew who it is."""
        with opened(Aswr(), hooked) as shop:
            got = shop.person().ask(header("Cookie", "who=alice"))
            assert "secret-alice" in got.text
            assert "private" in got.line("Cache-Control"), got.text

    @modes
    def test_vary_names_what_an_answer_depends_on(self, public):
        """A cache further out is told which headers it must key by."""
        with opened(Aswr(public), storefront) as shop:
            for _ in range(2):
                vary = shop.person().ask(Ask()).line("Vary")
                for name in ("X-Forwarded-Host", "X-Original-Url", "User-Agent", "Forwarded"):
                    assert name in vary

    @modes
    def test_what_everybody_has_different_is_kept_by_nobody(self, public):
        """A token in a form never leaves as an answer that others may have."""
        with opened(Aswr(public), accounts) as shop:
            tokens = set()
            for _ in range(5):
                got = shop.person().ask(Ask("/form"))
                tokens.add(got.body)
                assert "hit" not in got.line("Cache-Status")
                assert "public" not in got.line("Cache-Control")
            assert len(tokens) == 5

    @modes
    def test_no_answer_leaves_with_a_cookie_and_a_lifetime(self, public):
        """Where a cookie is set, nothing says that the answer may be kept."""
        with opened(Aswr(public), accounts) as shop:
            for target in ("/cookie", "/late-cookie", "/form"):
                got = shop.person().ask(Ask(target))
                assert got.lines("Set-Cookie")
                assert "max-age" not in got.line("Cache-Control")
                assert not got.line("Cache-Status").endswith("stored")

    def test_the_key_is_shown_to_nobody(self):
        """Outside debug mode no answer tells the key, of which a header's value may be part."""
        with opened(Aswr(True), storefront) as shop:
            for _ in range(2):
                got = shop.person().ask(header("X-Forwarded-Host", "internal.example"))
                assert "key" not in got.line("Cache-Status")
                assert "internal" not in got.line("Cache-Status") + got.line("Vary")


class TestNamesOfTheVisitors:
    """A view that reads what a visitor names."""

    @modes
    @pytest.mark.parametrize(
        "name", ["a\r\nSet-Cookie: evil=1", 'a"; hit', "a\x00b", "é", "a" * 5000, "a, *", " "]
    )
    def test_no_name_breaks_out_of_a_field(self, name, public):
        """The names of inputs stay text in ``Cache-Status`` and tokens in ``Vary``."""

        def build(app: Flask, cached: Any) -> None:
            @app.route("/")
            @cached()
            def front() -> str:
                return f"{request.cookies.get(name)} {name in request.headers}"

        with opened(Aswr(public), build) as shop:
            for ask in (Ask(), Ask(), header("Cookie", "a=b")):
                got = shop.person().ask(ask)
                assert got.status == 200
                assert not got.lines("Set-Cookie")
                for field, value in got.headers:
                    assert not set(field + value) & set("\r\n\0")
                assert len(got.line("Cache-Status")) < 8192
                assert "*" not in got.line("Vary")

    @modes
    def test_no_name_forges_a_line_of_the_log(self, public, caplog):
        """A record of the log is one line, whatever a visitor makes the view read."""
        logging.disable(logging.NOTSET)

        def build(app: Flask, cached: Any) -> None:
            @app.route("/")
            @cached()
            def front() -> str:
                return str(request.cookies.get(request.args["name"]))

        with opened(Aswr(public), build) as shop:
            for sent in ("a", "a\r\nERROR forged=1", '"a\r\nERROR forged"=1', "a=1"):
                for name in ("a%0d%0aERROR+forged", "a%E2%80%A8ERROR+forged", "a%1b[2J"):
                    shop.person().ask(header("Cookie", sent, f"/?name={name}"))
                    shop.person().ask(header("Cookie", "x", f"/?name={name}"))
        assert caplog.records
        for record in caplog.records:
            assert record.getMessage().isprintable(), record.getMessage()

    def test_the_log_is_bounded(self, app, caplog):
        """A visitor who makes a view read a thousand names does not fill the log."""
        logging.disable(logging.NOTSET)
        manager = CacheManager(app)

        @app.route("/")
        @manager.cacher(timeout=60)
        def front() -> str:
            return str(request.cookies.get(request.args["name"]))

        client = app.test_client()
        for n in range(200):
            client.get(f"/?name=n{n}", headers={"Cookie": f"n{n}=1"})
            client.get(f"/?name=n{n}", headers={"Cookie": f"n{n}=1"})
        manager.close()
        assert len(caplog.records) < 100

    def test_no_number_of_names_silences_what_is_an_error(self, app):
        """Under ``ASWR_STRICT`` what nobody can share is an error, whatever was read before."""
        app.config["ASWR_STRICT"] = app.testing = True
        manager = CacheManager(app)

        @app.route("/address")
        @manager.cacher(timeout=60)
        def address() -> str:
            name = request.args.get("name")
            return str(request.cookies.get(name) if name else request.remote_addr)

        client = app.test_client(use_cookies=False)
        for n, _ in itertools.product(range(50), range(2)):
            client.get(f"/address?name=n{n}", headers={"Cookie": f"n{n}=1"})
        with pytest.raises(UnkeyedInput, match="remote address"):
            client.get("/address")
        manager.close()


class TestBounds:
    @modes
    def test_variants_are_bounded_in_number(self, public):
        """However many values are sent, a URL has at most ``ASWR_MAX_VARIANTS`` answers."""
        with opened(Aswr(public, ASWR_MAX_VARIANTS=8), catalogue) as shop:
            for n, _ in itertools.product(range(100), range(2)):
                shop.person().ask(header("User-Agent", f"agent/{n}"))
            shop.subject.settle()
            assert shop.subject.manager.stats()["entries"] <= 8 + 1  # and the note of what is read

    @modes
    def test_long_values_count_as_memory(self, public):
        """Values of headers are parts of keys, and what keys take is bounded, too."""

        def build(app: Flask, cached: Any) -> None:
            @app.route("/<name>")
            @cached()
            def front(name: str) -> str:
                return str(len(request.headers.get("X-Long", "")))

        with opened(Aswr(public, ASWR_MAX_BYTES=LIMIT), build) as shop:
            person = shop.person()
            for n in range(300):
                person.ask(header("X-Long", f"{n}" + "x" * PAGE, f"/{n % 10}"))
            shop.subject.settle()
            assert shop.subject.bytes() <= LIMIT
            assert shop.subject.manager.stats()["entries"] < 150

    def test_failures_of_random_urls_are_bounded(self):
        """URLs that fail are not remembered without end, and known answers stay."""

        def build(app: Flask, cached: Any) -> None:
            @app.route("/<name>")
            @cached()
            def page(name: str) -> str:
                if name != "known":
                    raise RuntimeError(name)
                return name

        with opened(Aswr(), build) as shop:
            person = shop.person()
            person.ask_all([Ask("/known")] * 2)
            held = shop.subject.bytes()
            for n in range(500):
                assert person.ask(Ask(f"/{n}")).status == 500
            assert "hit" in person.ask(Ask("/known")).line("Cache-Status")
            assert shop.subject.bytes() <= held + PAGE


class TestHostsAsKeys:
    def test_a_tenant_never_gets_anothers_page(self):
        """Where the app routes by host, the host is part of every key, with its port and case."""
        app = Flask("shop", subdomain_matching=True)
        app.config["SERVER_NAME"] = "example"
        manager = CacheManager(app)

        @app.route("/", subdomain="<tenant>")
        @manager.cacher(timeout=60)
        def front(tenant: str) -> str:
            return f"{tenant} of {g.get('tenant', tenant)}"

        expected = {
            "a.example": "a of a", "b.example": "b of b", "A.example": "a of a",
            "a.example:80": "a of a", "b.a.example": "b.a of b.a",
        }  # fmt: skip
        for _ in range(3):
            for host, text in expected.items():
                assert app.test_client().get("/", headers={"Host": host}).text == text
            for host in ("a.example.evil.example", "evil.example", "a.example:81"):
                warnings.simplefilter("ignore")  # Werkzeug's, of names that are not the app's
                assert app.test_client().get("/", headers={"Host": host}).text != "a of a"
        manager.close()


class TestPeopleWithAnswersOfTheirOwn:
    """`scope=` and `key=` put people into keys."""

    @pytest.mark.parametrize(
        ("one", "other"),
        [("1", 1), ("a", "A"), (("a", "b"), "('a', 'b')"), ("", None), ("None", None), (0, False)],
        ids=repr,
    )
    def test_two_scopes_that_look_alike_are_two(self, app, one, other):
        """What stands for a person is compared by type and value, not as text."""
        manager = CacheManager(app)
        values = iter([one, other, one, other])

        @app.route("/")
        @manager.cacher(timeout=60, scope=lambda: next(values))
        def front() -> str:
            return str(request.cookies.get("who"))

        client = app.test_client(use_cookies=False)
        texts = [client.get("/", headers={"Cookie": f"who={who}"}).text for who in "abab"]
        manager.close()
        assert texts[0] == texts[2] == "a"
        assert texts[1] == texts[3] == "b"

    def test_a_scope_and_a_key_of_one_value_are_two(self, app):
        """``key=`` and ``scope=`` of equal values do not meet."""
        manager = CacheManager(app)

        @app.route("/<kind>")
        @manager.cacher(
            timeout=60,
            key=lambda: request.cookies.get("key", ""),
            scope=lambda: request.cookies.get("scope"),
        )
        def front(kind: str) -> str:
            return str(session.get("user", request.cookies.get("scope")))

        client = app.test_client(use_cookies=False)
        scoped = client.get("/x", headers={"Cookie": "scope=a"})
        keyed = client.get("/x", headers={"Cookie": "key=a"})
        manager.close()
        assert (scoped.text, keyed.text) == ("a", "None")
        assert "private" in scoped.headers["Cache-Control"]


class TestUnsafeMethods:
    @modes
    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "PURGE", "BAN", "EVIL"])
    def test_a_refused_method_purges_nothing(self, method, public):
        """A method that the app does not take leaves what is stored."""
        with opened(Aswr(public), catalogue) as shop:
            shop.person().ask_all([Ask("/")] * 2)
            assert shop.person().ask(Ask("/", method=method)).status >= 400
            assert "hit" in shop.person().ask(Ask("/")).line("Cache-Status")

    @pytest.mark.parametrize(
        "where",
        [f"https://{EVIL}/known", f"//{EVIL}/known", f"http://{HOST}:81/known", "/%zz"],
    )
    def test_a_location_elsewhere_purges_nothing(self, where):
        """Of what an unsafe request's answer names, only URLs of its own origin are purged."""

        def build(app: Flask, cached: Any) -> None:
            @app.route("/leave", methods=["POST"])
            def leave() -> Any:
                return "", 200, {"Location": where, "Content-Location": where}

            catalogue(app, cached)

        with opened(Aswr(), build) as shop:
            shop.person().ask_all([Ask("/known")] * 2)
            assert shop.person().ask(Ask("/leave", method="POST")).status == 200
            assert "hit" in shop.person().ask(Ask("/known")).line("Cache-Status")
