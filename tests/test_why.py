"""Why: what it says of a URL is what a request for it then gets, and it changes nothing."""

import asyncio
import functools
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    g,
    got_request_exception,
    has_request_context,
    make_response,
    redirect,
    request,
    session,
)
from flask.views import MethodView, View

import aswr
from aswr import CacheManager, UnkeyedInput, questions
from aswr.cures import UNKNOWN
from aswr.desk import Desk, desk_of
from aswr.words import VERDICTS

from .conftest import PATIENCE, Background, Clock, Gate


@dataclass
class Shop:
    """An app of one page at "/", and its desk."""

    app: Flask
    manager: CacheManager
    clock: Clock

    @property
    def desk(self) -> Desk:
        return desk_of(self.manager, self.app)

    def page(self, view: Callable[..., Any], rule: str = "/", **options: Any) -> None:
        given = {"timeout": 60, "refresh_margin": 30, **options}
        methods = given.pop("methods", ["GET"])
        self.app.add_url_rule(rule, rule, self.manager.cacher(**given)(view), methods=methods)

    def get(self, url: str = "/", **headers: str) -> Any:
        response = self.app.test_client(use_cookies=False).get(url, headers=headers)
        assert self.manager.join(5)
        return response

    def why(self, url: str = "/", **headers: str) -> dict[str, Any]:
        """What is said; it can go as JSON, and has changed nothing."""
        before = self.state()
        said = self.desk.why(url, headers)
        assert self.state() == before, "to ask why changes nothing"
        json.dumps(said)
        assert set(said) == {"url", "verdict", "steps", "rendered", "cures"}
        return said

    def state(self) -> Any:
        site = self.manager.site_of(self.app)
        store, stats = site.store, site.engine.stats()
        stored = {key: (store.original(key), store.uses(key)) for key in store.memory.keys()}  # noqa: SIM118
        passing = {view: (set(p.urls), p.trial) for view, p in site.sharing._passing.items()}
        return stored, stats, dict(site.engine.failures.__dict__.get("_known", {})), passing

    def agree(self, url: str = "/", **headers: str) -> dict[str, Any]:
        """Ask why, then ask for the page: the verdict is what it gets. Returns what was said."""
        said = self.why(url, **headers)
        told: list[str] = []
        end = self.manager.subscribe(lambda event: told.append(event.kind), "miss", "pass")
        response = self.get(url, **headers)
        end()
        verdict = verdict_of(response)
        if "Set-Cookie" in response.headers:  # beside a cookie no answer speaks of the cache
            verdict = {"miss": "unstored"}.get(told[-1], told[-1])
        assert said["verdict"] == verdict, (said, response.headers)
        return said


def verdict_of(response: Response) -> str:
    """What a request got, by what its answer says of it."""
    said = response.headers.get("Cache-Status", "")
    if "; hit" in said:
        return "stale" if "ttl=-" in said or "detail=" in said else "hit"
    if "fwd=method" in said or "fwd=bypass" in said or "detail=no-store" in said:
        return "pass"
    if "fwd=" not in said:
        return "none"
    brought = any(part in said for part in ("stored", "collapsed")) or response.status_code >= 500
    return "miss" if brought else "unstored"


@pytest.fixture
def shop(app: Flask, manager: CacheManager, clock: Clock) -> Shop:
    return Shop(app, manager, clock)


def says(said: Mapping[str, Any], step: str) -> str:
    """The lines of a step, together; empty where there is none."""
    return "\n".join(line for one in said["steps"] if one["step"] == step for line in one["says"])


PAGES = [{}, {"public": True}, {"vary": "response"}, {"query": "read"}]


class TestTime:
    @pytest.mark.parametrize("options", PAGES, ids=repr)
    def test_a_life(self, shop: Shop, options: dict[str, Any]) -> None:
        """From nothing by fresh and stale to gone: each verdict is what a request gets."""
        shop.page(lambda: "x", **options)
        said = shop.agree()
        assert (said["verdict"], said["rendered"]) == ("miss", True)
        assert "would be stored, fresh for 30 s, gone after 1 min" in says(said, "render")
        assert "rendered once to find out" in says(said, "render")
        assert said["cures"] == []
        shop.clock.tick(5)
        said = shop.agree()
        assert (said["verdict"], said["rendered"]) == ("hit", False)
        assert "B, 5.0 s old, its load took 0 s" in says(said, "stored")
        assert "fresh for 25 s more" in says(said, "stored")
        shop.clock.tick(30)
        said = shop.agree()
        assert said["verdict"] == "stale"
        assert "a load is started" in says(said, "verdict")
        shop.clock.tick(300)
        said = shop.agree()
        assert (said["verdict"], said["rendered"]) == ("miss", True)
        assert "gone, status 200" in says(said, "stored")

    def test_held_back(self, shop: Shop) -> None:
        """After a failed load what is stored is served, and nothing loads until the retry."""
        failing = [False]

        def view() -> str:
            if failing[0]:
                raise RuntimeError("no database")
            return "x"

        shop.page(view, stale_if_error=600)
        shop.get()
        failing[0] = True
        shop.clock.tick(35)
        shop.get()
        said = shop.agree()
        assert said["verdict"] == "stale"
        assert "its last load failed; the next try is due in" in says(said, "verdict")
        assert "held back" in says(said, "verdict")
        shop.clock.tick(100)
        failing[0] = False
        said = shop.agree()
        assert said["verdict"] == "stale"
        assert "the next try is due" in says(said, "verdict")

    def test_gone_but_kept_for_failures(self, shop: Shop) -> None:
        """Past its timeout it is a miss, and it is said that failures would be covered."""
        shop.page(lambda: "x", stale_if_error=600)
        shop.get()
        shop.clock.tick(70)
        said = shop.agree()
        assert said["verdict"] == "miss"
        assert "stale_if_error" in says(said, "verdict")

    def test_purged(self, shop: Shop) -> None:
        """What is purged is not there; what is softly purged is stale."""
        shop.page(lambda: "x")
        shop.get()
        shop.manager.invalidate("/", stale=True)
        assert shop.agree()["verdict"] == "stale"
        shop.manager.invalidate("/")
        assert shop.agree()["verdict"] == "miss"

    def test_what_is_set_is_told_as_it_is_set(self, shop: Shop) -> None:
        """Times of the decorator are told to the digit; what they come to, as people say it."""
        shop.page(lambda: "x", timeout=2592000.25, refresh_margin=1.25, stale_if_error=1234567)
        said = shop.why()
        told = "timeout 2592000.25 s, refresh_margin 1.25 s\nstale_if_error 1234567 s"
        assert told in says(said, "policy")
        assert "gone after 30 d" in says(said, "render")

    def test_options_that_matter(self, shop: Shop) -> None:
        """What is set beside the defaults, and counts, is listed; defaults are not."""
        shop.page(lambda: "x", "/plain")
        assert says(shop.why("/plain"), "policy").count("\n") == 1
        shop.page(
            lambda: "x", load_timeout=2, soft_timeout=0.5, wait_timeout=5, jitter=0.1,
            statuses={404: 30}, max_body=1000, unless=lambda: False, scope=lambda: None,
        )  # fmt: skip
        assert says(shop.why(), "policy").splitlines()[2:] == [
            "load_timeout 2 s, soft_timeout 0.5 s, wait_timeout 5 s, jitter 0.1",
            "statuses 404 for 30 s",
            "max_body 1,000 bytes",
            "called in each request: unless= and scope=",
        ]

    @pytest.mark.parametrize("how", ["def", "async", "blocking"])
    def test_longer_than_a_load_may_take(self, shop: Shop, how: str) -> None:
        """A load that outlasts its limit is never stored, unless it is a thread's."""

        def view() -> str:
            shop.clock.tick(0.6)
            return "x"

        async def aview() -> str:
            return view()

        shop.page(view if how == "def" else aview, load_timeout=0.2, blocking=how == "blocking")
        said = shop.why()
        rendered = says(said, "render")
        assert said["verdict"] == "miss"
        assert "in 600 ms" in rendered
        assert "above load_timeout (0.2 s): who waits gets 504" in rendered
        assert ("it would not be stored" in rendered) is (how == "async")
        assert ("it would be stored" in rendered) is (how != "async")
        assert said["cures"] == ["raise load_timeout= above 600 ms, or let the view be done sooner"]

    def test_longer_than_anybody_waits(self, shop: Shop) -> None:
        """Who waits is turned away, and the load fills the cache all the same."""

        def view() -> str:
            shop.clock.tick(6)
            return "x"

        shop.page(view, wait_timeout=5, stale_if_error=600)
        said = shop.why()
        assert "above wait_timeout (5 s): who waits gets 503" in says(said, "render")
        assert "it would be stored" in says(said, "render")
        (cure,) = said["cures"]
        assert cure.startswith("raise wait_timeout= above 6.0 s")
        shop.get()
        shop.clock.tick(70)
        assert "who waits gets what is stored" in says(shop.why(), "render")

    @pytest.mark.parametrize(
        ("wait", "load", "given"),
        [(1, 3, "above wait_timeout (1 s): who waits gets 503"),
         (3, 1, "above load_timeout (1 s): who waits gets 504")],
    )  # fmt: skip
    def test_longer_than_both(self, shop: Shop, wait: int, load: int, given: str) -> None:
        """The limit that comes first says what is given; both are to be raised."""
        view = lambda: shop.clock.tick(6) or "x"  # noqa: E731
        shop.page(view, wait_timeout=wait, load_timeout=load)
        said = shop.why()
        assert given in says(said, "render")
        assert says(said, "render").count("that is above") == 1
        assert len(said["cures"]) == 2

    def test_within_its_limits(self, shop: Shop) -> None:
        """What is done in time is stored, and nothing is said of limits."""
        shop.page(lambda: shop.clock.tick(1) or "x", load_timeout=2, wait_timeout=2)
        said = shop.why()
        assert "that is above" not in says(said, "render")
        assert said["cures"] == []

    @pytest.mark.parametrize(
        ("control", "text"),
        [("", "fresh for 30 s (by jitter up to 15 s less), gone after 1 min"),
         ("s-maxage=20", "fresh for 10 s (by jitter up to 5.0 s less), gone after 20 s"),
         ("s-maxage=20, stale-while-revalidate=10", "fresh for 20 s, gone after 30 s")],
    )  # fmt: skip
    def test_jitter(self, shop: Shop, control: str, text: str) -> None:
        """How much less than that it may be is said; what the answer says itself holds."""
        fields = {"Cache-Control": control} if control else {}
        shop.page(lambda: ("x", fields), jitter=0.5)
        assert f"it would be stored, {text}" in says(shop.why(), "render")

    def test_without_a_timeout(self, shop: Shop) -> None:
        """Where the view's own Cache-Control decides, it is said so, with what it comes to."""
        shop.page(lambda: ("x", {"Cache-Control": "max-age=10"}), timeout=None, refresh_margin=None)
        said = shop.agree()
        assert "RFC 9111" in says(said, "policy")
        assert "fresh for 10 s" in says(said, "render")
        assert shop.agree()["verdict"] == "hit"

    def test_a_load_under_way(self, shop: Shop, gate: Gate) -> None:
        """A load that goes on is told of, and not done twice."""
        loads = []

        async def view() -> str:
            loads.append(1)
            await gate.ahold()
            return "x"

        shop.page(view)
        asking = Background(lambda: shop.app.test_client().get("/"))
        gate.await_arrival()
        said = shop.desk.why("/")
        assert (said["verdict"], said["rendered"]) == ("miss", False)
        assert "a load is under way" in says(said, "flight")
        gate.open()
        asking.result()
        assert loads == [1]


class TestPasses:
    def test_a_cookie(self, shop: Shop) -> None:
        """Who brings a cookie that the page reads passes, before anything is known and after."""
        shop.page(lambda: request.cookies.get("who", "nobody"))
        said = shop.agree(Cookie="who=me")
        assert (said["verdict"], said["rendered"]) == ("pass", True)
        assert len(said["cures"]) == 1
        assert "cookie who" in said["cures"][0]
        assert "test_why.py:" in said["cures"][0]
        said = shop.agree()
        assert said["verdict"] in ("miss", "hit")
        assert said["cures"] == []
        said = shop.agree(Cookie="who=me")
        assert (said["verdict"], said["rendered"]) == ("pass", False)
        assert len(said["cures"]) == 1
        assert shop.agree(Cookie="other=me")["verdict"] == "hit"

    def test_names_that_begin_alike(self, shop: Shop) -> None:
        """The cure is for what the request carries, not for what is called alike."""
        shop.page(lambda: f"{request.cookies.get('a')} {request.cookies.get('ab')}")
        (cure,) = shop.agree(Cookie="ab=1")["cures"]
        assert "cookie ab" in cure

    @pytest.mark.parametrize("options", [{}, {"public": True}], ids=repr)
    def test_an_address(self, shop: Shop, options: dict[str, Any]) -> None:
        """What every request has, nobody shares; the cure is there each time."""
        shop.page(lambda: str(request.remote_addr), **options)
        for rendered in (True, False):
            said = shop.agree()
            assert (said["verdict"], said["rendered"]) == ("pass", rendered)
            (cure,) = said["cures"]
            assert "remote_addr" in cure
            where = says(said, "render" if rendered else "reads")
            assert re.search(r"remote address at \S*test_why.py:\d+: every request has", where)
        shop.clock.tick(13)
        said = shop.why()
        assert says(said, "stored").startswith("that it passes: reads remote address")
        assert "no load is tried for 47 s" in says(said, "stored")
        assert "nothing more is known" not in says(said, "reads")
        (stored,) = [one for one in said["steps"] if one["step"] == "stored"]
        assert stored["entry"]["reason"] == "reads remote address"
        shop.clock.tick(47)
        assert shop.agree()["rendered"], "then it is tried again"

    def test_a_view_that_passes_as_a_whole(self, shop: Shop) -> None:
        """Where three URLs of a view pass, the fourth does, unrendered; and that is said."""
        shop.page(lambda n: str(request.remote_addr), "/<n>")
        for index in range(3):
            shop.get(f"/{index}")
        shop.get("/trial")
        said = shop.agree("/new")
        assert (said["verdict"], said["rendered"]) == ("pass", False)
        assert "several URLs of the view do" in says(said, "request")
        assert re.search(r"remote address at \S*test_why.py:\d+", says(said, "request"))
        (cure,) = said["cures"]
        assert "remote_addr" in cure

    def test_asking_is_no_evidence(self, shop: Shop) -> None:
        """That many URLs were asked about does not make their view pass as a whole."""
        shop.page(lambda n: str(request.remote_addr), "/<n>")
        for index in range(5):
            assert shop.why(f"/{index}")["rendered"]

    def test_a_session_that_is_written(self, shop: Shop) -> None:
        """A page that writes the session is nobody else's."""

        def view() -> str:
            session["seen"] = 1
            return "x"

        shop.page(view)
        said = shop.agree()
        assert said["verdict"] == "pass"
        (cure,) = said["cures"]
        assert "writes session" in cure
        said = shop.agree()
        assert re.search(r"writes session at \S*test_why.py:\d+: for each", says(said, "reads"))
        assert "because it writes session" in says(said, "verdict")

    def test_a_body(self, shop: Shop) -> None:
        """A page that reads the request's body, with a body and without."""
        shop.page(lambda: request.get_data(as_text=True))
        assert shop.agree()["verdict"] == "miss"
        assert shop.agree()["verdict"] == "hit"

    def test_unless(self, shop: Shop) -> None:
        """Where `unless=` says so, it passes, and that is where something can be done."""
        shop.page(lambda: "x", unless=lambda: "off" in request.args)
        said = shop.agree("/?off=1")
        assert said["verdict"] == "pass"
        (cure,) = said["cures"]
        assert cure.startswith("unless= says so")
        assert "passes: unless" in says(said, "request")
        assert shop.agree("/?on=1")["verdict"] == "miss"

    def test_no_store(self, shop: Shop) -> None:
        """What a request says of itself counts where the view obeys it."""
        shop.page(lambda: "x", request_directives=True)
        said = shop.agree(**{"Cache-Control": "no-store"})
        assert said["verdict"] == "pass"
        assert "request_directives=False" in said["cures"][0]
        said = shop.agree(**{"Cache-Control": "only-if-cached"})
        assert said["verdict"] == "none"
        assert "504" in says(said, "request")
        assert said["cures"]
        shop.get()
        assert shop.agree(**{"Cache-Control": "only-if-cached"})["verdict"] == "hit"
        assert shop.agree(**{"Cache-Control": "no-cache"})["verdict"] == "miss"

    def test_credentials(self, shop: Shop) -> None:
        """A proxy-like page shares nothing with who sends credentials."""
        shop.page(lambda: "x", vary="response")
        said = shop.agree(Authorization="Basic eA==")
        assert said["verdict"] == "pass"
        assert any("RFC 9111 section 3.5" in cure for cure in said["cures"])
        shop.get()
        assert shop.agree(Authorization="Basic eA==")["verdict"] == "pass"

    def test_an_answer_for_one_alone(self, shop: Shop) -> None:
        """An answer with a cookie of its own goes to one caller, and from then on all pass."""

        def view() -> Response:
            response = make_response("x")
            response.set_cookie("a", "b")
            return response

        shop.page(view)
        said = shop.agree()
        assert said["verdict"] == "unstored"
        assert "would not be stored: sets a cookie" in says(said, "render")
        assert "one caller gets it" in says(said, "render")
        assert "after_request hook" in said["cures"][0]
        said = shop.agree()
        assert said["verdict"] == "pass"
        assert "because it sets a cookie" in says(said, "verdict")
        assert "that it passes: sets a cookie" in says(said, "stored")
        assert "after_request hook" in said["cures"][0]

    def test_too_many_inputs(self, shop: Shop) -> None:
        """A page that reads more than a key can hold is nobody's to share."""
        shop.page(lambda: "".join(str(request.headers.get(f"X-{n}")) for n in range(70)))
        said = shop.agree()
        assert said["verdict"] == "pass"
        assert "over 64 inputs" in says(said, "render")
        assert any("vary=[...]" in cure for cure in said["cures"])

    def test_what_was_there_before_the_process(self, shop: Shop) -> None:
        """Cures are there though no render of this process has shown where the input is read."""
        shop.page(lambda: str(request.remote_addr))
        shop.get()
        view = shop.manager.site_of(shop.app).route("/")[2]
        view.notes.__init__(view.name)  # type: ignore[misc]
        (cure,) = shop.why()["cures"]
        assert "reads remote address at an unknown place" in cure


class TestKeys:
    @pytest.mark.parametrize(
        ("options", "first", "same", "other"),
        [
            ({"query": ["a"]}, "/?a=1&b=1", "/?b=2&a=1", "/?a=2"),
            ({"query": "read"}, "/?a=1&b=1", "/?b=2&a=1", "/?a=2"),
            ({"query": []}, "/?a=1", "/?a=2", None),
            ({}, "/?a=1&b=1", "/?b=1&a=1", "/?a=1"),
        ],
        ids=repr,
    )
    def test_queries(
        self, shop: Shop, options: dict[str, Any], first: str, same: str, other: str | None
    ) -> None:
        """Which queries share is what `query=` says."""
        shop.page(lambda: str(request.args.get("a")), **options)
        assert shop.agree(first)["verdict"] == "miss"
        assert shop.agree(same)["verdict"] == "hit"
        if other is not None:
            assert shop.agree(other)["verdict"] == "miss"

    @pytest.mark.parametrize("options", [{}, {"vary": ["X-One"]}, {"public": True}], ids=repr)
    def test_variants(self, shop: Shop, options: dict[str, Any]) -> None:
        """Requests that agree on what is read share; what was read, and where, is said."""
        shop.page(lambda: str(request.headers.get("X-One")), **options)
        said = shop.agree(**{"X-One": "1"})
        assert "header X-One at" in says(said, "render")
        assert "requests that agree on it share" in says(said, "render")
        said = shop.agree(**{"X-One": "1"})
        assert said["verdict"] == "hit"
        assert "header X-One at" in says(said, "reads")
        assert "is 1 here" in says(said, "reads")
        assert shop.agree(**{"X-One": "2"})["verdict"] == "miss"
        assert shop.agree()["verdict"] == "miss"

    def test_seen_to_read_more(self, shop: Shop) -> None:
        """What was stored before its URL was seen to read more is still found."""
        more = []

        def view() -> str:
            more and request.headers.get("X-Two")
            return str(request.headers.get("X-One"))

        shop.page(view)
        shop.get(**{"X-One": "1"})
        more.append(1)
        shop.get(**{"X-One": "2"})
        assert shop.agree(**{"X-One": "1"})["verdict"] == "hit"

    def test_a_key_of_ones_own(self, shop: Shop) -> None:
        """What `key=` says is in the key, and said."""
        shop.page(lambda: "x", key=lambda: request.cookies.get("country", "none"))
        said = shop.agree(Cookie="country=at")
        assert "key says at" in says(said, "key")
        assert shop.agree(Cookie="country=at")["verdict"] == "hit"
        assert shop.agree(Cookie="country=de")["verdict"] == "miss"

    def test_a_scope(self, shop: Shop) -> None:
        """What `scope=` says stands for the person."""
        shop.page(lambda: str(request.cookies.get("who")), scope=lambda: request.cookies.get("who"))
        said = shop.agree(Cookie="who=ann")
        assert said["verdict"] == "miss"
        assert "scope says ann" in says(said, "key")
        assert shop.agree(Cookie="who=ann")["verdict"] == "hit"
        assert shop.agree(Cookie="who=bob")["verdict"] == "miss"

    def test_statuses(self, shop: Shop) -> None:
        """Answers are judged by their status; what is not stored says why."""
        shop.page(lambda code: ("x", code), "/<int:code>", statuses={404: 30})
        for code in (200, 404):
            assert shop.agree(f"/{code}")["verdict"] == "miss"
            assert shop.agree(f"/{code}")["verdict"] == "hit"
        for code in (201, 403, 410, 429, 503):
            line, verdict, cure = "would not be stored", "unstored", f"statuses={{{code}: 30}}"
            if code == 503:
                line, verdict, cure = "status 503", "miss", "stale_if_error="
            elif code == 429:
                cure = "never stored"
            said = shop.agree(f"/{code}")
            assert said["verdict"] == verdict
            assert line in says(said, "render")
            assert cure in said["cures"][0]
            assert shop.agree(f"/{code}")["verdict"] == verdict

    @pytest.mark.parametrize(
        ("answer", "options", "why", "cure"),
        [
            (("x", {"Cache-Control": "private"}), {}, "Cache-Control private", "scope="),
            (("x", {"Cache-Control": "no-store"}), {}, "Cache-Control no-store", "no-store"),
            (("x", {"Vary": "*"}), {}, "Vary *", "name in Vary"),
            ("x", {"timeout": None, "refresh_margin": None}, "says no freshness", "timeout="),
            (("x", {"Cache-Control": "max-age=0"}), {"timeout": None, "refresh_margin": None},
             "is stale at once", "max-age"),
            (("x", {"Cache-Control": "s-maxage=0"}), {}, "is stale at once", "s-maxage"),
            ("x" * 100, {"max_body": 10}, "body over max_body", "max_body= (10 bytes here)"),
            ("x", {"store_if": lambda response: False}, "store_if", "store_if="),
        ],
        ids=lambda part: part if isinstance(part, str) and len(part) < 40 else "",
    )  # fmt: skip
    @pytest.mark.parametrize("public", [False, True])
    def test_what_is_not_to_be_stored(
        self, shop: Shop, answer: Any, options: dict[str, Any], why: str, cure: str, public: bool
    ) -> None:
        """It is computed for each who waits: the verdict says so, the render why, and the cure."""
        shop.page(lambda: answer, public=public, **options)
        said = shop.agree()
        assert said["verdict"] == "unstored"
        assert f"would not be stored: {why}" in says(said, "render")
        assert not says(said, "answer")
        (text,) = said["cures"]
        assert cure in text

    @pytest.mark.parametrize(
        ("pieces", "kind", "why", "cure"),
        [
            (["x" * 8, "y" * 8], "text/plain", "streams more than max_body", "(10 bytes here)"),
            (["x"], "text/event-stream", "streams events", "take the decorator off"),
        ],
    )
    def test_streams(self, shop: Shop, pieces: list[str], kind: str, why: str, cure: str) -> None:
        """A stream that is not to be stored passes, with what helps."""
        shop.page(lambda: Response(iter(pieces), content_type=kind), max_body=10)
        for step in ("render", "verdict"):
            said = shop.agree()
            assert said["verdict"] == "pass"
            assert f"it {why}" in says(said, step)
            assert cure in said["cures"][0]

    def test_store_if(self, shop: Shop) -> None:
        """What `store_if=` does not want is answered each time."""
        shop.page(lambda: "x", store_if=lambda response: False)
        for _ in range(2):
            said = shop.agree()
            assert "would not be stored: store_if" in says(said, "render")

    def test_http_errors(self, shop: Shop) -> None:
        """An error that is an answer is one."""
        shop.page(lambda: abort(404), statuses={404: 30})
        assert shop.agree()["verdict"] == "miss"
        assert shop.agree()["verdict"] == "hit"

    @pytest.mark.parametrize("how", ["def", "async"])
    def test_a_view_that_fails(self, shop: Shop, how: str) -> None:
        """A failure is told in a line; why itself does not fail."""

        def view() -> str:
            raise RuntimeError("no database\nat all")

        async def aview() -> str:
            return view()

        shop.page(view if how == "def" else aview)
        said = shop.why()
        assert (said["verdict"], said["rendered"]) == ("miss", True)
        assert says(said, "render").endswith("it failed: RuntimeError: no database")
        assert "stale_if_error=" in said["cures"][0]
        assert shop.get().status_code == 500

    def test_a_large_body_is_not_said(self, shop: Shop) -> None:
        """Of an answer that tells of a failure its status is said, not its body."""
        shop.page(lambda: ("x" * 100_000, 503))
        assert len(json.dumps(shop.why())) < 3000

    def test_validators(self, shop: Shop) -> None:
        """A page that renews what is stored, by a 304, is rendered as a load would."""

        def view() -> Response:
            response = make_response("x")
            response.set_etag("v1")
            return response.make_conditional(request)

        shop.page(view)
        shop.agree()
        shop.clock.tick(61)
        assert shop.agree()["verdict"] == "miss"


class TestRoutes:
    def test_no_route(self, shop: Shop) -> None:
        """What no route matches is answered by no cached view, and the cure is in the words."""
        said = shop.why("/nowhere")
        assert (said["verdict"], said["rendered"]) == ("none", False)
        assert says(said, "route") == "no route matches '/nowhere'"
        assert said["cures"][0].startswith("name the path as the browser shows it")

    def test_not_cached(self, shop: Shop) -> None:
        """A view without @cacher is named, and what to do about it."""
        shop.app.add_url_rule("/plain", "plain", lambda: "x")
        said = shop.agree("/plain")
        assert said["verdict"] == "none"
        assert "is not cached" in says(said, "route")
        assert said["cures"][0].startswith("put @manager.cacher(...) under")

    def test_a_redirect(self, shop: Shop) -> None:
        """A route that redirects names the path that it leads to."""
        shop.page(lambda: "x", "/dir/")
        shop.app.add_url_rule("/away", "away", lambda: redirect("/dir/"))
        said = shop.agree("/dir")
        assert said["verdict"] == "none"
        assert "/dir/" in says(said, "route")
        assert said["cures"] == ["name that path instead"]
        assert shop.agree("/away")["verdict"] == "none"

    def test_no_get(self, shop: Shop) -> None:
        """Where GET is not taken, there is nothing to cache."""
        shop.page(lambda: "x", methods=["POST"])
        said = shop.why()
        assert said["verdict"] == "none"
        assert "does not take GET" in says(said, "route")
        assert said["cures"] == ["only answers to GET and HEAD are stored"]

    @pytest.mark.parametrize("url", ["", "relative", "http://[", "\\"])
    def test_bad_urls(self, shop: Shop, url: str) -> None:
        """What is no URL is an error with the cure, or the front page."""
        if url == "":
            assert shop.why(url)["verdict"] == "none"
        else:
            with pytest.raises(ValueError):
                shop.desk.why(url)

    def test_a_blueprint(self, shop: Shop) -> None:
        """Views of blueprints are found under their prefix."""
        blueprint = Blueprint("blog", __name__, url_prefix="/blog")
        blueprint.add_url_rule(
            "/<slug>", "post", shop.manager.cacher(timeout=60)(lambda slug: slug)
        )
        shop.app.register_blueprint(blueprint)
        assert shop.agree("/blog/a")["verdict"] == "miss"
        said = shop.agree("/blog/a")
        assert said["verdict"] == "hit"
        assert "/blog/<slug> → blog.post" in says(said, "route")

    @pytest.mark.parametrize("init_every_request", [True, False])
    @pytest.mark.parametrize("options", [{}, {"public": True}], ids=repr)
    def test_class_views(
        self, shop: Shop, options: dict[str, Any], init_every_request: bool
    ) -> None:
        """A cached method of a view class has the key that requests for it have."""
        every = init_every_request

        class Base(MethodView):
            init_every_request = every

            def __init__(self, name: str) -> None:
                self.name = name

            @shop.manager.cacher(timeout=60, **options)
            def get(self, n: int) -> str:
                return f"{self.name} {n}"

        class Other(Base):
            pass

        for cls in (Base, Other):
            path = f"/{cls.__name__}/<int:n>"
            shop.app.add_url_rule(path, view_func=cls.as_view(cls.__name__, cls.__name__))
        for url in ("/Base/1", "/Other/1"):
            assert shop.agree(url)["verdict"] == "miss"
            assert shop.agree(url)["verdict"] == "hit"

    def test_a_class_that_is_decorated(self, shop: Shop) -> None:
        """A class whose ``decorators`` cache it."""

        class Page(View):
            decorators = [shop.manager.cacher(timeout=60)]

            def dispatch_request(self) -> str:
                return "x"

        shop.app.add_url_rule("/page", view_func=Page.as_view("page"))
        assert shop.agree("/page")["verdict"] == "miss"
        assert shop.agree("/page")["verdict"] == "hit"

    def test_host_matching(self, clock: Clock) -> None:
        """An app that routes by host is asked by that of the URL, else by its base URL's."""
        app = Flask("shop", host_matching=True, static_folder=None)
        app.config["ASWR_BASE_URL"] = "https://www.example"
        shop = Shop(app, CacheManager(app, clock=clock), clock)
        view = shop.manager.cacher(timeout=60)(lambda: str(request.host))
        app.add_url_rule("/", "www", view, host="www.example")
        app.add_url_rule("/", "api", view, host="api.example")
        client = app.test_client()
        for url in ("https://www.example/", "https://api.example/"):
            assert shop.why(url)["verdict"] == "miss"
            client.get(url)
            assert shop.why(url)["verdict"] == "hit"
            assert shop.why("/", Host=url.split("/")[2])["verdict"] == "hit"
        assert shop.why("/")["verdict"] == "hit"
        assert "www" in says(shop.why("/"), "route")
        assert shop.why("https://nobody.example/")["verdict"] == "none"
        shop.manager.close()

    def test_a_host_that_is_read(self, shop: Shop) -> None:
        """Host and scheme of a URL are what the view would see."""
        shop.page(lambda: request.host_url)
        said = shop.agree("https://a.example/")
        assert said["verdict"] == "miss"
        assert shop.agree("https://a.example/")["verdict"] == "hit"
        assert shop.why("http://a.example/")["verdict"] == "miss"
        assert shop.why("https://b.example/")["verdict"] == "miss"

    @pytest.mark.parametrize("url", ["/caf%C3%A9?q=%C3%A9", "/café?q=é", "/a%20b", "/%2525"])
    def test_encodings(self, shop: Shop, url: str) -> None:
        """However a path is written, it is the one that a browser asks for."""
        shop.page(lambda n: n, "/<n>")
        assert shop.agree(url)["verdict"] == "miss"
        assert shop.agree(url)["verdict"] == "hit"

    def test_a_converter_that_fails(self, shop: Shop) -> None:
        """What routing raises is told, not raised."""
        from werkzeug.routing import BaseConverter

        class Broken(BaseConverter):
            def to_python(self, value: str) -> Any:
                raise RuntimeError("no database")

        shop.app.url_map.converters["broken"] = Broken
        shop.page(lambda n: "x", "/<broken:n>")
        said = shop.why("/a")
        assert said["verdict"] == "none"
        assert "no database" in says(said, "route")

    def test_objects_in_the_path(self, shop: Shop) -> None:
        """Where a converter makes an object, the path stands for it."""
        from werkzeug.routing import BaseConverter

        class Thing(BaseConverter):
            def to_python(self, value: str) -> Any:
                return object()

        shop.app.url_map.converters["thing"] = Thing
        shop.page(lambda n: "x", "/<thing:n>")
        assert shop.agree("/a")["verdict"] == "miss"
        assert shop.agree("/a")["verdict"] == "hit"


class TestHooks:
    def test_they_are_not_run_and_that_is_said(self, shop: Shop) -> None:
        """What hooks leave in ``g`` is missing from this look, and it says so."""
        ran = []

        @shop.app.before_request
        def load_user() -> None:
            ran.append(1)
            g.user = "ann"

        shop.page(lambda: str(g.get("user")), rule="/page")
        said = shop.why("/page")
        assert ran == []
        assert "before_request hooks are not run" in says(said, "hooks")
        assert "what they leave in g is missing" in says(said, "hooks")

    def test_without_hooks_nothing_is_said(self, shop: Shop) -> None:
        """Where there are none, none are spoken of."""
        shop.page(lambda: "x")
        assert says(shop.why(), "hooks") == ""

    def test_of_a_blueprint(self, shop: Shop) -> None:
        """Those of the view's own blueprint count, those of another do not."""
        for name in ("one", "two"):
            blueprint = Blueprint(name, __name__, url_prefix=f"/{name}")
            blueprint.add_url_rule("/", "page", shop.manager.cacher(timeout=60)(lambda: "x"))
            if name == "one":
                blueprint.before_request(lambda: None)
            shop.app.register_blueprint(blueprint)
        assert says(shop.why("/one/"), "hooks")
        assert not says(shop.why("/two/"), "hooks")

    def test_a_teardown_that_counts_on_them(self, shop: Shop) -> None:
        """One that fails without its hook does not take the answer with it."""
        shop.app.before_request(lambda: setattr(g, "db", open))

        @shop.app.teardown_request
        def close(error: BaseException | None) -> None:
            assert g.db

        shop.page(lambda: "x")
        said = shop.desk.why("/")
        assert said["verdict"] == "miss"
        assert "a teardown function failed" in says(said, "hooks")

    @pytest.mark.parametrize("option", ["unless", "key", "scope"])
    def test_what_counts_on_them(self, shop: Shop, option: str) -> None:
        """`unless=`, `key=` or `scope=` that fails without the hooks is told of."""
        shop.app.before_request(lambda: setattr(g, "user", "ann"))
        shop.page(lambda: "x", **{option: lambda: g.user == "" or None})
        said = shop.why()
        assert (said["verdict"], said["cures"]) == ("unknown", [UNKNOWN])
        assert f"{option}= fails" in says(said, "request")
        assert "before_request hooks are not run" in says(said, "hooks")

    def test_what_fails_without_them_as_well(self, shop: Shop) -> None:
        """Where there are no hooks, what fails is what a request comes to."""
        shop.page(lambda: "x", unless=lambda: g.user)
        said = shop.why()
        assert (said["verdict"], said["cures"]) == ("none", [])

    @pytest.mark.parametrize("above", [False, True])
    @pytest.mark.parametrize(
        "view",
        [lambda: g.lang, lambda: g.get("lang", "en"), lambda: str(sorted(g)), lambda: abort(503)],
        ids=["fails", "shares", "all", "status"],
    )
    def test_a_render_that_counts_on_them(
        self, shop: Shop, view: Callable[[], str], above: bool
    ) -> None:
        """What a render without them came to is no verdict; that, and what to do, is said."""
        if above:
            page = shop.manager.cacher(timeout=60)(view)

            @functools.wraps(page)
            def guarded() -> Any:
                g.lang = "de"
                return page()

            shop.app.add_url_rule("/", "page", guarded)
        else:
            shop.app.before_request(lambda: setattr(g, "lang", "de"))
            shop.page(view)
        for _ in range(2):
            said = shop.why()
            assert (said["verdict"], said["cures"]) == ("unknown", [UNKNOWN])
            assert "unknown: it depends on what is not run" in says(said, "render")
            shop.clock.tick(100)
            shop.get()
            shop.clock.tick(100)

    def test_what_was_stored_without_them(self, shop: Shop) -> None:
        """A stored answer for who has nothing in ``g`` is not what a request would get."""
        lang: list[str] = []
        shop.app.before_request(lambda: setattr(g, "lang", lang[0]) if lang else None)
        shop.page(lambda: g.get("lang", "en"))
        shop.get()
        said = shop.why()
        assert (said["verdict"], said["cures"]) == ("unknown", [UNKNOWN])
        assert "it reads g.lang, which a before_request hook may set" in says(said, "verdict")
        assert "without it: hit" in says(said, "verdict")
        lang.append("de")
        assert verdict_of(shop.get()) == "miss"
        assert said["rendered"] is False

    def test_what_passes_all_the_same(self, shop: Shop) -> None:
        """What a request brings itself, or nobody can share, is known without any hook."""
        shop.app.before_request(lambda: setattr(g, "user", "ann"))
        shop.page(lambda: str(request.cookies.get("a")) + g.get("user", ""))
        shop.get()
        assert shop.why(Cookie="a=1")["verdict"] == "pass"

    @pytest.mark.parametrize("options", [{"public": True}, {"run_before_request": True}], ids=repr)
    def test_renders_that_run_them(self, shop: Shop, options: dict[str, Any]) -> None:
        """Where the render runs the hooks, it is known what they do."""
        shop.app.before_request(lambda: setattr(g, "lang", "de"))
        shop.page(lambda: g.lang, **options)
        assert shop.agree()["verdict"] == "miss"
        assert shop.agree()["verdict"] == "hit"

    def test_what_they_leave_out(self, shop: Shop) -> None:
        """Nor is there a doubt about what hooks that the render runs did not set."""
        shop.app.before_request(lambda: None)
        shop.page(lambda: g.get("lang", "en"), run_before_request=True)
        assert shop.agree()["verdict"] == "miss"
        assert shop.agree()["verdict"] == "hit"

    @pytest.mark.parametrize("options", [{"public": True}, {"run_before_request": True}], ids=repr)
    def test_renders_that_run_them_and_fail(self, shop: Shop, options: dict[str, Any]) -> None:
        """What fails with all that runs before it fails in a request, too."""
        shop.app.before_request(lambda: None)
        page = shop.manager.cacher(timeout=60, **options)(lambda: abort(503))
        above = functools.wraps(page)(lambda: page()) if "public" in options else page
        shop.app.add_url_rule("/", "page", above)
        said = shop.agree()
        assert said["verdict"] == "miss"
        assert "it failed: status 503" in says(said, "render")

    def test_whom_an_extension_makes_of_the_request(self, shop: Shop) -> None:
        """A hook does not set whom an extension keeps in ``g``: nobody is nobody without it."""
        shop.app.before_request(lambda: None)
        shop.page(lambda: str(hasattr(g, "_login_user")))
        assert shop.agree()["verdict"] == "miss"
        assert shop.agree()["verdict"] == "hit"

    def test_what_is_gone_is_a_miss_without_them_too(self, shop: Shop) -> None:
        """Only what may be given is in doubt; of what is gone the render says what there is."""
        shop.app.before_request(lambda: None)
        shop.page(lambda: g.get("lang", "en"), stale_if_error=600)
        shop.get()
        shop.clock.tick(100)
        said = shop.why()
        assert (said["verdict"], said["cures"]) == ("unknown", [UNKNOWN])
        assert says(said, "verdict").startswith("miss: ")
        assert "it reads g.lang, which a before_request hook may set" in says(said, "render")

    def test_what_the_render_sets_itself(self, shop: Shop) -> None:
        """A hook that has nothing to do with what is read makes no doubt."""
        shop.app.before_request(lambda: None)

        def view() -> str:
            g.lang = "de"
            return g.lang

        shop.page(view)
        assert shop.agree()["verdict"] == "miss"
        assert shop.agree()["verdict"] == "hit"

    def test_decorators_above(self, shop: Shop) -> None:
        """Decorators above the cache are not run, and it says so; of a public page they are."""
        ran = []

        def guard(view: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(view)
            def guarded(*args: Any, **kwargs: Any) -> Any:
                ran.append(1)
                return view(*args, **kwargs)

            return guarded

        shop.app.add_url_rule("/", "page", guard(shop.manager.cacher(timeout=60)(lambda: "x")))
        said = shop.agree()
        assert "decorators above @cacher are not run" in says(said, "hooks")
        assert shop.agree()["verdict"] == "hit"

    def test_url_values(self, shop: Shop) -> None:
        """A preprocessor of URL values is not run for the look, and that is said."""

        @shop.app.url_value_preprocessor
        def pull(endpoint: str | None, values: dict[str, Any] | None) -> None:
            g.lang = (values or {}).pop("lang", None)

        shop.page(lambda: str(g.lang), "/<lang>/")
        said = shop.agree("/de/")
        assert "url_value_preprocessors are not run" in says(said, "hooks")
        assert shop.agree("/de/")["verdict"] == "hit"
        assert shop.agree("/en/")["verdict"] == "miss"


class TestTrials:
    """What a render that is a trial asks of the cache: nothing follows of it."""

    @pytest.mark.parametrize("inner", ["def", "async"])
    @pytest.mark.parametrize("outer", ["def", "async", "blocking", "task", "thread"])
    def test_memoized_functions(self, shop: Shop, outer: str, inner: str) -> None:
        """What the view calls is run, nested too, and neither stored nor counted nor told."""
        calls: list[str] = []

        def price(n: int) -> int:
            calls.append("price")
            return n * (1 if has_request_context() else 2)

        async def aprice(n: int) -> int:
            return price(n)

        price_of: Any = shop.manager.memoize(timeout=60)(aprice if inner == "async" else price)

        @shop.manager.memoize(timeout=60)
        def total(n: int) -> int:
            calls.append("total")
            assert price_of.sync(n) == price_of.sync(n)
            return price_of.sync(n) + 1  # type: ignore[no-any-return]

        @shop.manager.memoize(timeout=60)
        async def atotal(n: int) -> int:
            calls.append("total")
            assert await price_of(n) == await price_of(n)
            return await price_of(n) + 1  # type: ignore[no-any-return]

        def view() -> str:
            return str(total.sync(3) + total.sync(3))

        async def aview() -> str:
            if outer == "thread":
                return await asyncio.to_thread(view)
            if outer == "task":
                return str(sum(await asyncio.gather(asyncio.create_task(both()), both())))
            return str(2 * await both())

        async def both() -> int:
            return await atotal(3)  # type: ignore[no-any-return]

        told: list[str] = []
        end = shop.manager.subscribe(lambda event: told.append(event.kind))
        shop.page(view if outer == "def" else aview, blocking=outer == "blocking")
        said = shop.why()
        assert "would be stored" in says(said, "render")
        assert calls.count("price") >= 1
        assert outer == "task" or calls == ["total", "price"], "as often as if it were stored"
        assert told == []
        end()
        calls.clear()
        assert shop.get().text == "14"
        assert calls == ["total", "price"], "it was stored nowhere"

    @pytest.mark.parametrize("copies", [False, True])
    @pytest.mark.parametrize("age", [0, 45])
    def test_what_is_stored_is_given(self, shop: Shop, age: int, copies: bool) -> None:
        """A stored result, be it stale, is given as ever: no hit is counted, no load begun."""
        calls: list[int] = []

        @shop.manager.memoize(timeout=60, refresh_margin=30, copy=copies)
        def price() -> list[int]:
            calls.append(1)
            return [1]

        @shop.manager.memoize(timeout=60, refresh_margin=30, copy=copies)
        async def aprice() -> list[int]:
            calls.append(1)
            return [1]

        async def view() -> str:
            return str(await price() + await aprice() + await asyncio.to_thread(price.sync))

        shop.page(view)
        with shop.app.app_context():
            price.sync()
            aprice.sync()
        shop.clock.tick(age)
        told: list[str] = []
        end = shop.manager.subscribe(lambda event: told.append(event.kind))
        stats = shop.manager.stats()
        assert shop.desk.why("/")["verdict"] == "miss"
        assert shop.manager.join(5)
        end()
        assert (len(calls), told) == (2, [])
        assert shop.manager.stats() == stats
        with shop.app.app_context():
            price.sync()
        assert shop.manager.stats()["hits"] == stats["hits"] + 1, "then it counts again"

    def test_what_goes_on_after_it(self, shop: Shop, gate: Gate) -> None:
        """A coroutine that the view starts is the trial's own, however long it runs."""
        over, calls, tasks = threading.Event(), [], set()

        @shop.manager.memoize(timeout=60)
        async def price() -> int:
            calls.append(1)
            return 1

        async def later() -> None:
            await gate.ahold()
            await price()
            over.set()

        async def view() -> str:
            tasks.add(asyncio.create_task(later()))
            return "x"

        shop.page(view)
        stats = shop.manager.stats()
        assert shop.why()["verdict"] == "miss"
        gate.await_arrival()
        gate.open()
        assert over.wait(PATIENCE)
        assert calls == [1]
        assert shop.manager.join(5)
        assert shop.manager.stats() == stats

    def test_errors(self, shop: Shop) -> None:
        """What a memoized function raises the view gets; monitors hear of none of it."""
        heard: list[str] = []

        def hear(app: Flask, exception: BaseException, **more: Any) -> None:
            heard.append(str(exception))

        @shop.manager.memoize(timeout=60)
        def price() -> int:
            raise ValueError("no price")

        def view(n: int) -> str:
            try:
                return str(price.sync())
            except ValueError:
                if n == 1:
                    raise
                return "none"

        shop.page(view, "/<int:n>")
        with got_request_exception.connected_to(hear, shop.app):
            assert "it failed: ValueError: no price" in says(shop.why("/1"), "render")
            assert "it would be stored" in says(shop.why("/2"), "render")
        assert heard == []

    @pytest.mark.parametrize("how", ["def", "async"])
    def test_cycles(self, shop: Shop, how: str) -> None:
        """Functions that call each other for ever end as they do in a load."""
        manager = shop.manager
        if how == "def":

            @manager.memoize(timeout=60)
            def one() -> int:
                return two.sync()  # type: ignore[no-any-return]

            @manager.memoize(timeout=60)
            def two() -> int:
                return one.sync()  # type: ignore[no-any-return]
        else:

            @manager.memoize(timeout=60)
            async def one() -> int:
                return await two()  # type: ignore[no-any-return]

            @manager.memoize(timeout=60)
            async def two() -> int:
                return await one()  # type: ignore[no-any-return]

        async def view() -> str:
            return str(await one())

        shop.page(view)
        assert "it failed: LoadCycle: these loads would wait" in says(shop.why(), "render")

    def test_a_call_that_blocks_the_loop(self, shop: Shop) -> None:
        """A coroutine that calls what it should await fails as it would in a load."""

        @shop.manager.memoize(timeout=60)
        def price() -> int:
            return 1

        async def view() -> str:
            return str(price.sync())

        shop.page(view)
        assert "it failed: RuntimeError: this call blocks" in says(shop.why(), "render")

    @pytest.mark.parametrize("how", ["def", "async"])
    def test_views_and_verbs(self, shop: Shop, how: str) -> None:
        """A cached view that the view calls, and what it refreshes, leave nothing behind either."""
        cached = shop.manager.cacher(timeout=60)

        @shop.app.get("/part")
        @cached
        def part() -> str:
            return str(request.headers.get("X-One"))

        @shop.app.get("/apart")
        @cached
        async def apart() -> str:
            return str(request.headers.get("X-One"))

        def view() -> str:
            shop.manager.refresh("/part")
            return part()  # type: ignore[no-any-return]

        async def aview() -> str:
            await shop.manager.arefresh("/apart")
            return await apart()  # type: ignore[no-any-return]

        told: list[str] = []
        end = shop.manager.subscribe(lambda event: told.append(event.kind))
        shop.page(view if how == "def" else aview)
        said = shop.why()
        end()
        assert told == []
        assert "header X-One at" in says(said, "render")
        assert "it would be stored" in says(said, "render")


class TestSwitches:
    def test_strict(self, app: Flask, clock: Clock) -> None:
        """With ASWR_STRICT, where a request is an error, why still answers."""
        app.config["ASWR_STRICT"] = True
        app.testing = True
        shop = Shop(app, CacheManager(app, clock=clock), clock)
        shop.page(lambda: str(request.remote_addr))
        for _ in range(2):
            said = shop.why()
            assert said["verdict"] == "pass"
            assert said["cures"]
            with pytest.raises(UnkeyedInput):
                shop.get()
            assert shop.manager.join(5), "its load may end later"
        shop.manager.close()

    def test_switched_off(self, app: Flask, clock: Clock) -> None:
        """A cache that is off passes everything, and says how it is switched on."""
        app.config["ASWR_ENABLED"] = False
        shop = Shop(app, CacheManager(app, clock=clock), clock)
        shop.page(lambda: "x")
        said = shop.why()
        assert (said["verdict"], said["rendered"]) == ("pass", False)
        assert "switched off" in says(said, "request")
        assert said["cures"] == ["remove ASWR_ENABLED = False"]
        assert shop.why("/nowhere")["verdict"] == "none"
        assert shop.get().text == "x"

    def test_closed(self, shop: Shop) -> None:
        """After `close` what is stored is a hit, and the rest passes; no loop is started."""
        shop.page(lambda n: n, "/<n>")
        shop.get("/a")
        shop.manager.close()
        assert shop.agree("/a")["verdict"] == "hit"
        said = shop.agree("/b")
        assert (said["verdict"], said["rendered"]) == ("pass", False)
        assert said["cures"] == ["manager.start() begins anew"]
        assert shop.manager._runtime is None

    def test_on_the_loop(self, shop: Shop) -> None:
        """On aswr's own loop it would wait for itself, and says what to write."""
        shop.page(lambda: "x")
        shop.get()
        runtime = shop.manager.loop()

        async def ask() -> Any:
            with pytest.raises(RuntimeError, match=r"await asyncio.to_thread\(desk.why"):
                shop.desk.why("/")

        runtime.submit(ask, "test").result(5)

    def test_a_slow_view(self, shop: Shop, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
        """A render that takes longer than anybody would wait is told of, and ends by itself."""
        monkeypatch.setattr(questions, "LIMIT", 2.0)

        async def view() -> str:
            shop.clock.tick(3)
            await gate.ahold()
            return "x"

        shop.page(view, load_timeout=2)
        said = shop.desk.why("/")
        assert (said["verdict"], said["rendered"]) == ("miss", True)
        assert "took too long" in says(said, "render")
        assert "load_timeout cancels it" in says(said, "render")
        assert said["cures"][0].startswith("raise load_timeout= above 3.0 s")


def test_the_key_is_the_request_s(shop: Shop) -> None:
    """What is looked at is what a request would find, key and all."""
    shop.page(lambda n: str(request.headers.get("X-One")), "/<n>", query=["a"])
    shop.get("/x?a=1&b=2", **{"X-One": "1"})
    said = shop.why("/x?b=3&a=1", **{"X-One": "1"})
    (stored,) = [one for one in said["steps"] if one["step"] == "stored"]
    rows = shop.desk.show("/x")["entries"]
    assert stored["entry"]["id"] in {one["id"] for one in rows}


def test_the_verdicts_are_explained() -> None:
    """The manual names every verdict, in order, and the admin page has a colour for each."""
    root = Path(aswr.__file__).parent
    manual = (Path(__file__).parent.parent / "docs" / "cli.md").read_text()
    sentence = manual.partition("The first word is the verdict")[2].partition("\n\n")[0]
    assert re.findall(r"`(\w+)`", sentence) == [*VERDICTS]
    style = (root / "admin" / "static" / "admin.css").read_text()
    coloured = {word for word in VERDICTS if f".v-{word}" in style}
    assert coloured == {*VERDICTS} - {"none"}, "that is grey, as what has no colour is"


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """What views of these tests do wrong they do on purpose."""
    caplog.set_level("CRITICAL", "aswr")
