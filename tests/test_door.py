"""The door: what it answers is what the app would, and what it must not answer goes to Flask."""

import asyncio
import functools
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import flask
import pytest
from flask import (
    Blueprint,
    Flask,
    Request,
    Response,
    abort,
    g,
    make_response,
    redirect,
    request,
    session,
    url_for,
)
from flask.views import MethodView
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.routing import BaseConverter, MapAdapter, Rule, ValidationError

from aswr import CacheManager
from aswr import door as door_module
from aswr import places as places_module
from aswr.replies import Reply
from aswr.wsgi import door_of

from .conftest import Clock
from .ways import WAYS, Ask, Build, Call, Got, Shop, by_asgi, by_wsgi

LONG = "0123456789abcdef" * 64


class Fair:
    """An app with one view of every kind; each answer tells how often its path was made."""

    def __init__(self) -> None:
        self.made: Tally[str] = Tally()
        self.known = {"a", "b"}
        self.app: Any = None

    def say(self, read: Callable[[], object] = lambda: "") -> str:
        """Counted before anything is read: who cannot share that is let go at once."""
        self.made[request.path] += 1
        return f"{request.path} {self.made[request.path]} {read()}"

    def __call__(self, app: Flask, manager: CacheManager) -> None:
        self.app = app
        public = functools.partial(manager.cacher, timeout=60, refresh_margin=30, public=True)
        self._hooks(app)
        self._readers(app, public)
        self._routes(app, manager, public)
        self._answers(app, manager, public)

    def _hooks(self, app: Flask) -> None:
        @app.before_request
        def guard() -> None:
            g.theme = request.headers.get("X-Theme")
            if request.path == "/guarded" and request.headers.get("Authorization") != "Basic eA==":
                abort(401)

        @app.after_request
        def stamp(response: Response) -> Response:
            response.headers.add("X-Stamp", "1")
            return response

        @app.errorhandler(KeyError)
        def failed(error: KeyError) -> Any:
            return f"failed {error}", 500

        @app.errorhandler(404)
        def missing(error: Any) -> Any:
            return f"nothing at {request.path}", 404

    def _readers(self, app: Flask, public: Any) -> None:
        reads: dict[str, Callable[[], object]] = {
            "plain": lambda: "",
            "guarded": lambda: "",
            "theme": lambda: g.theme,
            "language": lambda: request.headers.get("Accept-Language"),
            "best": lambda: request.accept_languages.best_match(["de", "en"]),
            "cookie": lambda: request.cookies.get("user"),
            "session": lambda: session.get("user"),
            "host": lambda: request.host,
            "external": lambda: url_for("plain", _external=True),
            "root": lambda: url_for("plain"),
            "args": lambda: sorted(request.args.items(multi=True)),
            "größe": lambda: "",
        }
        for name, read in reads.items():
            view = _named(name, functools.partial(self.say, read))
            app.add_url_rule(f"/{name}", name, public()(view))
        for name, query in (("read", "read"), ("listed", ["a"])):
            view = _named(name, lambda: self.say(lambda: request.args.get("a")))
            app.add_url_rule(f"/{name}", name, public(query=query)(view))

    def _routes(self, app: Flask, manager: CacheManager, public: Any) -> None:
        fair = self

        class Known(BaseConverter):
            def to_python(self, value: str) -> str:
                if value not in fair.known:
                    raise ValidationError
                return value

        app.url_map.converters["known"] = Known
        args = public()(_named("rest", lambda **args: self.say(lambda: sorted(args.items()))))
        app.add_url_rule("/int/<int:n>", "int", args)
        app.add_url_rule("/path/<path:rest>", "path", args)
        app.add_url_rule("/known/<known:name>", "known", args)
        app.add_url_rule("/page/", "page", args, defaults={"n": 1})
        app.add_url_rule("/page/<int:n>", "page", args)
        app.add_url_rule("/slash/", "slash", public()(_named("slash", self.say)))
        app.add_url_rule("/own", "own", manager.cacher(timeout=60)(_named("own", self.say)))
        app.add_url_rule("/bare", "bare", _named("bare", self.say), methods=["GET", "POST"])

        class Page(MethodView):
            @public()
            def get(self) -> str:
                return fair.say()

            def post(self) -> str:
                return fair.say()

        class Headed(Page):
            def head(self) -> Any:
                return "", 203

        app.add_url_rule("/class", view_func=Page.as_view("class"))
        app.add_url_rule("/headed", view_func=Headed.as_view("headed"))

    def _answers(self, app: Flask, manager: CacheManager, public: Any) -> None:
        answers: dict[str, Callable[[], Any]] = {
            "moved": lambda: redirect("/plain?größe=1", 301),
            "gone": lambda: abort(404),
            "broken": lambda: {}["broken"],
            "busy": lambda: (self.say(), 503),
            "empty": lambda: ("", 204),
            "nothing": lambda: ("text", 204),
            "stream": lambda: Response(iter(["a", "b"])),
            "tagged": lambda: (self.say(), {"ETag": '"v1"', "Last-Modified": DATE}),
        }
        for name, answer in answers.items():
            cached = public(statuses={404: 40})
            app.add_url_rule(f"/{name}", name, cached(_named(name, answer)))

        @app.get("/big")
        @public(compress=("gzip",))
        async def big() -> str:
            return self.say(lambda: LONG)

        @app.get("/asked")
        @public(request_directives=True)
        async def asked() -> str:
            return self.say()

        @app.get("/sets")
        @public()
        async def sets() -> Response:
            response = make_response(self.say())
            response.set_cookie("seen", "1")
            return response

        @app.get("/type")
        @public()
        async def kind() -> str:
            return self.say(lambda: (request.content_type, request.get_data()))


DATE = "Thu, 01 Jan 2026 00:00:00 GMT"


def _named(name: str, view: Callable[..., Any]) -> Callable[..., Any]:
    def named(**args: Any) -> Any:
        return view(**args)

    named.__name__ = named.__qualname__ = name
    return named


PATHS = (
    "/plain /guarded /theme /language /best /cookie /session /host /external /root /args /größe "
    "/read /listed /int/1 /int/01 /int/x /path/a /path/a/b /path/ä%2Fb /known/a /known/c /page/ "
    "/page/1 /page/2 /page /slash /slash/ /own /bare /class /headed /moved /gone /broken /busy "
    "/empty /nothing /stream /tagged /big /asked /sets /type /unknown //plain /plain/ /int//1 "
    "/known//a //known/a /PLAIN / "
).split()
HEADERS = {
    "Accept-Language": ["de", "en;q=0.5, de", "xx", ""],
    "Accept-Encoding": ["gzip", "gzip;q=0, *", "identity", ""],
    "Authorization": ["Basic eA==", "Bearer x"],
    "Cache-Control": ["no-cache", "no-store", "max-age=0", "only-if-cached", "max-stale=9"],
    "Connection": ["Upgrade"],
    "Content-Type": ["text/plain"],
    "Cookie": ["user=ann", "other=1", "user=ann; user=bob", "session=x", ";;"],
    "If-Modified-Since": [DATE, "soon"],
    "If-None-Match": ['"v1"', "*", 'W/"v1"', '"other"'],
    "If-Range": ['"v1"', DATE],
    "Range": ["bytes=0-1", "bytes=-1", "bytes=900-", "bytes=9-1", "lines=1-2"],
    "Upgrade": ["websocket", "h2c"],
    "X-Theme": ["dark"],
}
QUERIES = [
    "",
    "a=1",
    "a=1&b=2",
    "b=2&a=1",
    "a=2&a=1",
    "a=%C3%A4",
    "a=\xe4",
    "utm=1",
    "&&",
    "?",
    "a",
]
HOSTS = ["localhost", "LOCALHOST", "localhost:80", "other.test", "bad host", "localhost:81"]

# Some of these at once; most are absent.
header_fields = st.lists(
    st.sampled_from([(name, value) for name, values in HEADERS.items() for value in values]),
    max_size=3,
    unique_by=lambda line: line[0],
).map(tuple)
asks = st.builds(
    Ask,
    path=st.sampled_from(PATHS),
    method=st.sampled_from(["GET"] * 6 + ["HEAD"] * 3 + ["POST", "OPTIONS", "PUT"]),
    headers=header_fields,
    query=st.sampled_from([""] * 8 + QUERIES),
    host=st.sampled_from(["localhost"] * 8 + HOSTS),
    root=st.sampled_from([""] * 8 + ["/mounted", "/größe"]),
    scheme=st.sampled_from(["http"] * 8 + ["https"]),
    body=st.sampled_from([b""] * 9 + [b"body"]),
)


def essence(ask: Ask, got: Got) -> tuple[int, list[tuple[str, str]], bytes]:
    """What every way has to answer alike: all of it, but for the order of the fields.

    In the app a hook that answers does so before the cache is asked. Who is let go in the middle
    of a load, since it reads something of his, may or may not be told what else it reads.
    """
    apart = {"cache-status"} if ask.path == "/guarded" else set()
    if "fwd=bypass" in got.cache:
        apart = {"vary"}
    return got.status, sorted(f for f in got.fields if f[0] not in apart), got.body


@st.composite
def visits(draw: st.DrawFn) -> list[Ask | float]:
    """Requests and pauses; a request is often made again, as it was or a little otherwise."""
    steps: list[Ask | float] = []
    for _ in range(draw(st.integers(1, 4))):
        ask = draw(asks)
        plain = Ask(ask.path)
        steps += draw(st.permutations([ask, plain, ask, plain]))
        steps.append(draw(st.sampled_from([0.0, 1.0, 40.0, 70.0])))
        steps += draw(st.sampled_from([[ask], [plain, ask], []]))
    return steps


class TestAlike:
    @settings(max_examples=40, deadline=None)
    @given(visits())
    def test_every_way_answers_alike(self, steps: list[Ask | float]) -> None:
        """By a door or not: the same status, fields, Age, Cache-Status, body, and counters."""
        clock = Clock()
        with ExitStack() as stack:
            shops = [stack.enter_context(Shop(way, Fair(), clock)) for way in WAYS]
            for step in steps:
                if isinstance(step, float):
                    clock.tick(step)
                    continue
                found = [essence(step, shop.ask(step)) for shop in shops]
                assert found[0] == found[1], step
                assert found[0] == found[2], step
            if Ask("/guarded") not in map(_plain, steps):
                counts = [counters(shop) for shop in shops]
                assert counts[0] == counts[1] == counts[2]


def _plain(step: Ask | float) -> Ask | float:
    return step if isinstance(step, float) else Ask(step.path)


def counters(shop: Shop) -> dict[str, int]:
    return {
        name: number
        for name, number in shop.manager.stats().items()
        if name in ("hits", "stale_hits", "loads", "load_failures", "passes")
    }


# One view, and what happens around it.


class Page:
    """A public view at /x that tells the number of its render, and who came to Flask."""

    def __init__(self, **options: Any) -> None:
        self.made = 0
        self.seen: list[str] = []
        self.options = {"timeout": 60, "refresh_margin": 30, "public": True, **options}

    def __call__(self, app: Flask, manager: CacheManager) -> None:
        app.before_request(self.note)
        app.add_url_rule("/x", "x", manager.cacher(**self.options)(self.view))

    def view(self, **args: Any) -> Any:
        self.made += 1
        return str(self.made)

    def note(self) -> None:
        if dict.get(request.environ, "REMOTE_ADDR") is not None:  # else it is a render
            self.seen.append(request.method)


DOORS = ("wsgi", "asgi")


@pytest.fixture
def open_shop(clock: Clock) -> Iterator[Callable[..., Shop]]:
    """Makes shops, and closes them."""
    with ExitStack() as stack:

        def make(way: str, build: Build, **config: Any) -> Shop:
            return stack.enter_context(Shop(way, build, clock, **config))

        yield make


@pytest.fixture(params=DOORS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def alike(
    open_shop: Callable[..., Shop], build: Callable[[], Build], asks: Any, **config: Any
) -> list[Got]:
    """What the three ways answer to each of these, which is the same."""
    shops = [open_shop(way, build(), **config) for way in WAYS]
    found = [[shop.ask(ask) for shop in shops] for ask in asks]
    for ask, answers in zip(asks, found, strict=True):
        assert essence(ask, answers[0]) == essence(ask, answers[1]), ask
        assert essence(ask, answers[0]) == essence(ask, answers[2]), ask
    return [answers[0] for answers in found]


class TestHits:
    def test_nothing_of_flask_runs(self, open_shop, way, clock):
        """A hit, fresh or stale, pushes no context, sends no signal and runs no hook."""
        page, noted = Page(), []
        shop = open_shop(way, page)
        assert shop.get().text == "1"
        page.seen.clear()

        def note(sender, **extra):
            noted.append(1)

        signals = (flask.appcontext_pushed, flask.request_started, flask.request_tearing_down)
        with ExitStack() as stack:
            for signal in signals:
                stack.enter_context(signal.connected_to(note, shop.app))
            assert [shop.get().text for _ in range(3)] == ["1"] * 3
            assert (page.seen, noted) == ([], [])
        clock.tick(40)
        assert shop.get().cache == "aswr; hit; ttl=-10; detail=revalidating"
        assert page.seen == []

    @pytest.mark.parametrize("header", ["", "X-Theme"])
    def test_a_stale_hit_starts_one_load(self, open_shop, way, clock, gate, header):
        """While a load is under way, who gets the stale answer starts no second one."""

        class Themed(Page):
            def view(self, **args: Any) -> Any:
                request.headers.get(header)
                return super().view()

        shop, asked = open_shop(way, Themed()), Ask(headers=(("X-Theme", "dark"),))
        assert [shop.ask(asked).text for _ in range(2)] == ["1", "1"]
        clock.tick(40)
        door = door_of(shop.app)
        assert door is not None
        shop.app.before_request_funcs[None].append(gate.hold)  # a render has the hooks around it
        for number in range(5):
            reply = door.answer(asked.environ(), asked.environ)
            assert isinstance(reply, Reply)
            assert reply.body == b"1"
            if number == 0:
                gate.await_arrival()
        assert shop.manager.stats()["flights"] == 1
        gate.open()
        assert shop.manager.join(5)
        assert shop.manager.stats()["loads"] == 2
        assert shop.ask(asked).text == "2"

    def test_a_stale_hit_loads_with_its_own_inputs(self, open_shop, way, clock):
        """Each variant is renewed with the header under which it was asked for."""

        def build(app: Flask, manager: CacheManager) -> None:
            @app.get("/x")
            @manager.cacher(timeout=60, refresh_margin=30, public=True)
            def view() -> str:
                made.append(request.headers["X-Theme"])
                return made[-1]

        made: list[str] = []
        shop = open_shop(way, build)
        themes = [(("X-Theme", name),) for name in ("dark", "light")]
        for headers in themes:
            shop.get(headers=headers)
        made.clear()
        clock.tick(40)
        assert shop.get(headers=themes[1]).text == "light"
        assert made == ["light"]
        assert shop.get(headers=themes[0]).text == "dark"
        assert made == ["light", "dark"]

    def test_no_body_with_204(self, open_shop, way):
        """A 204 has no body, whatever the view returned: the next response would begin with it."""

        class Silent(Page):
            def view(self, **args: Any) -> Any:
                return "text", 204

        shop = open_shop(way, Silent())
        found = [shop.get() for _ in range(2)]
        assert [(got.status, got.body) for got in found] == [(204, b"")] * 2
        assert found[1].is_hit

    def test_head(self, open_shop, way):
        """HEAD has the fields of GET, its length too, and no body."""
        shop = open_shop(way, Page())
        shop.get()
        got, head = shop.get(), shop.get(method="HEAD")
        assert head.fields == got.fields
        assert (head["Content-Length"], head.body) == ("1", b"")

    def test_the_counters(self, open_shop, way, clock):
        """Hits, stale hits, misses and loads count as in the app."""
        shops = [open_shop(name, Page()) for name in ("in-app", way)]
        for shop in shops:
            shop.get()
            shop.get()
        clock.tick(40)
        for shop in shops:
            shop.get()
        clock.tick(100)
        stats = []
        for shop in shops:
            shop.get()
            told = shop.manager.stats()
            stats.append({name: told[name] for name in told if "seconds" not in name})
        assert stats[0] == stats[1]
        names = ("hits", "stale_hits", "misses", "loads")
        assert [stats[0][name] for name in names] == [2, 1, 2, 3]


class TestReady:
    """A reply is made once for all plain requests of a moment, and is right in that moment only."""

    @given(ticks=st.lists(st.sampled_from([0.0, 0.001, 0.25, 0.5, 0.749, 1.0, 7.3, 40.0])))
    @settings(max_examples=40, deadline=None)
    def test_it_says_what_the_app_would(self, ticks):
        """Age, ttl and verdict are right at every moment, at both doors."""
        clock = Clock(1_000_000.4)
        with ExitStack() as stack:
            pages = [Page(refresh_margin=29.7) for _ in WAYS]
            shops = [
                stack.enter_context(Shop(way, page, clock))
                for way, page in zip(WAYS, pages, strict=True)
            ]
            for tick in (0.0, *ticks):
                clock.tick(tick)
                answers = [shop.get() for shop in shops]
                for answer in answers[1:]:
                    assert (answer.cache, answer["Age"]) == (answers[0].cache, answers[0]["Age"])
            counted = [shop.manager.stats() for shop in shops]
        for name in ("hits", "stale_hits", "misses", "loads"):
            assert len({of[name] for of in counted}) == 1

    @pytest.mark.parametrize("change", ["refresh", "invalidate", "clear"])
    def test_what_is_renewed_or_purged_is_not_given_again(self, open_shop, way, change):
        """In the same moment already."""
        shop = open_shop(way, Page())
        assert [shop.get().text for _ in range(3)] == ["1", "1", "1"]
        with shop.app.app_context():
            getattr(shop.manager, change)(*([] if change == "clear" else ["/x"]))
        assert [shop.get().text for _ in range(2)] == ["2", "2"]

    def test_each_hit_is_a_use(self, open_shop, way):
        """What is given without a look is in use all the same, and is not evicted as idle."""
        shop = open_shop(way, Page())
        for _ in range(5):
            shop.get()
        site = shop.app.extensions["aswr.site"]
        assert site.store.uses(site.plain_key("/x")) >= 4

    def test_who_asks_more_gets_more(self, open_shop, way):
        """Conditions, ranges, HEAD and another query are not those of the plain request before."""
        shop = open_shop(way, Page())
        shop.get()
        etag = shop.get()["ETag"]
        assert shop.get(headers=(("If-None-Match", etag),)).status == 304
        assert shop.get(headers=(("Range", "bytes=0-0"),)).status == 206
        head = shop.get(method="HEAD")
        assert (head.status, head.body, head["Content-Length"]) == (200, b"", "1")
        assert shop.get(query="a=1").text == "2"
        assert shop.get(host="other.test").is_hit
        assert shop.get().text == "1"

    def test_directives_are_obeyed_each_time(self, open_shop, way):
        """Where the view obeys what the request says, it is asked of each."""
        shop = open_shop(way, Page(request_directives=True))
        assert [shop.get().text for _ in range(3)] == ["1", "1", "1"]
        assert shop.get(headers=(("Cache-Control", "no-cache"),)).text == "2"

    def test_credentials_are_seen_each_time(self, open_shop, way):
        """Where the response's Vary decides, who sends credentials passes."""
        shop = open_shop(way, Page(vary="response"))
        assert [shop.get().text for _ in range(3)] == ["1", "1", "1"]
        assert shop.get(headers=(("Authorization", "me"),)).text == "2"

    def test_stale_hits_are_counted_each(self, open_shop, way, clock):
        """What is stale is looked at each time: a load may be due."""

        class Fails(Page):
            def view(self, **args: Any) -> Any:
                assert not self.made, "only the first succeeds"
                return super().view()

        shop = open_shop(way, Fails())
        shop.get()
        clock.tick(40)
        assert [shop.get().text for _ in range(3)] == ["1", "1", "1"]
        assert shop.manager.stats()["stale_hits"] == 3

    def test_the_lists_are_the_servers_to_change(self, open_shop, way):
        """What a server does to the head of one reply is not in the next."""
        shop = open_shop(way, Page())
        shop.get()
        for _ in range(3):
            if way == "wsgi":
                heads: list[Any] = []
                shop.app.wsgi_app(Ask().environ(), lambda *head, heads=heads: heads.append(head))
                heads[0][1].append(("X-Server", "1"))
            else:
                call = Call(Ask().scope())
                asyncio.run(call.of(shop._asgi))
                call.sent[0]["headers"].append((b"x-server", b"1"))
            assert shop.get()["X-Server"] == ""

    def test_large_bodies_are_not_held(self, open_shop, way):
        """What was evicted may be held a while: of large bodies that would be beyond the bound."""

        class Large(Page):
            def view(self, **args: Any) -> Any:
                return "x" * (door_module.LARGEST_READY + 1)

        shop = open_shop(way, Large())
        assert [shop.get().status for _ in range(3)] == [200, 200, 200]
        assert door_of(shop.app)._ready == {}

    def test_codings_are_chosen_each_time(self, open_shop, way):
        """Of a page in several codings everybody gets his."""

        class Long(Page):
            def view(self, **args: Any) -> Any:
                return LONG

        shop = open_shop(way, Long(compress=["gzip"]))
        plain, gzipped = (), (("Accept-Encoding", "gzip"),)
        found = [shop.get(headers=headers) for headers in (plain, gzipped, plain, gzipped)]
        assert [got["Content-Encoding"] for got in found] == ["", "gzip", "", "gzip"]

    def test_there_are_never_more_than_so_many(self, open_shop, way, monkeypatch):
        """Whatever queries are asked for."""
        monkeypatch.setattr(door_module, "MOST_READY", 8)
        shop = open_shop(way, Page())
        for number in range(30):
            assert [shop.get(query=f"a={number}").status for _ in range(2)] == [200, 200]
            assert len(door_of(shop.app)._ready) <= 8


class TestLeftToFlask:
    @pytest.mark.parametrize(
        "ask",
        [
            Ask(method="POST"),
            Ask(method="PUT", body=b"x"),
            Ask(body=b"body"),
            Ask(headers=(("Transfer-Encoding", "chunked"),)),
            Ask(method="OPTIONS"),
            Ask(host=None),
            Ask("/unknown"),
            Ask(headers=(("Upgrade", "h2c"),)),
        ],
        ids=str,
    )
    def test_what_is_not_a_plain_get(self, open_shop, way, ask):
        """Other methods, bodies, upgrades and requests without Host are Flask's, warm or not."""
        page = Page()
        shop = open_shop(way, page)
        shop.get()
        page.seen.clear()
        for number in (1, 2):
            shop.ask(ask)
            assert page.seen == [ask.method] * number

    def test_an_upgrade_spoils_nothing(self, open_shop, way):
        """Routing heeds an upgrade: who asks for one finds no page, and takes it from nobody."""
        page = Page()
        shop = open_shop(way, page)
        upgrade = (("Connection", "Upgrade"), ("Upgrade", "websocket"))
        assert shop.get(headers=upgrade).status == 400
        assert shop.get().text == "1"
        page.seen.clear()
        assert shop.get().is_hit
        assert page.seen == []
        assert shop.get(headers=upgrade).status == 400

    def test_a_head_of_the_apps_own(self, open_shop, way):
        """A method view with a head() of its own answers HEAD itself."""

        def build(app: Flask, manager: CacheManager) -> None:
            class View(MethodView):
                @manager.cacher(timeout=60, public=True)
                def get(self) -> str:
                    return "get"

                def head(self) -> Any:
                    return "", 203

            app.add_url_rule("/x", view_func=View.as_view("x"))

        shop = open_shop(way, build)
        assert [shop.get().status for _ in range(2)] == [200, 200]
        assert [shop.get(method="HEAD").status for _ in range(2)] == [203, 203]

    def test_what_is_not_public(self, open_shop, way):
        """A view that is cached in the app has its hooks around every hit."""
        page = Page(public=False)
        shop = open_shop(way, page)
        assert [shop.get().text for _ in range(3)] == ["1"] * 3
        assert page.seen == ["GET"] * 3

    @pytest.mark.parametrize("prefix", ["/shop/", "/größe/"])
    @pytest.mark.parametrize("slashes", ["", "/"])
    def test_a_converter_that_asks(self, open_shop, way, prefix, slashes):
        """What a converter of the app's own says of a path holds for one request."""
        known = {"a"}

        class Known(BaseConverter):
            def to_python(self, value: str) -> str:
                if value not in known:
                    raise ValidationError
                return value

        class Goods(Page):
            def __call__(self, app: Flask, manager: CacheManager) -> None:
                super().__call__(app, manager)
                app.url_map.converters["known"] = Known
                app.url_map.add(Rule(f"{prefix}<known:name>", endpoint="x"))

        shop = open_shop(way, Goods())
        for _ in range(2):
            assert shop.get(f"{slashes}{prefix}a").status == 200
        known.clear()
        assert shop.get(f"{slashes}{prefix}a").status == 404
        known.add("a")
        assert shop.get(f"{slashes}{prefix}a").status == 200
        assert shop.get().status == 200

    def test_an_app_that_routes_in_its_own_way(self, clock, way):
        """Where the app chooses its routes by what it likes, every request is routed by it."""

        class Tenants(Flask):
            def create_url_adapter(self, request: Any) -> Any:
                if request is None:
                    return super().create_url_adapter(request)
                tenant = request.headers.get("X-Tenant", "a")
                return self.url_map.bind("host", subdomain=tenant, path_info=request.path)

        app = Tenants("tenants")
        manager = CacheManager(app, clock=clock)
        for name in "ab":
            view = manager.cacher(timeout=60, public=True)(_named(name, lambda name=name: name))
            app.add_url_rule("/x", name, view, subdomain=name)
        for name in "aabb":
            ask = Ask(headers=(("X-Tenant", name),))
            got = by_wsgi(app, ask) if way == "wsgi" else by_asgi(manager.asgi(), ask)
            assert got.text == name
        manager.close(timeout=0.5)

    def test_when_the_manager_is_closed(self, open_shop, way):
        """After close() what is stored is answered, and what is not runs in the app."""
        page = Page()
        shop = open_shop(way, page)
        shop.get()
        shop.manager.close(timeout=0.5)
        page.seen.clear()
        assert shop.get().is_hit
        assert page.seen == []
        got = shop.get(query="a=1")
        assert (got.text, got.cache) == ("2", "aswr; fwd=bypass; detail=closed")
        assert page.seen == ["GET"]

    def test_a_stale_answer_of_a_closed_manager(self, open_shop, way, clock):
        """Nothing is renewed after close(), and nobody is told so."""
        page = Page()
        shop = open_shop(way, page)
        shop.get()
        shop.manager.close(timeout=0.5)
        clock.tick(40)
        assert shop.get().cache == "aswr; hit; ttl=-10; detail=held-back"
        assert page.made == 1

    def test_strict(self, open_shop, way):
        """Under ASWR_STRICT a public view that nobody can share is an error, by every way."""

        class Addressed(Page):
            def view(self, **args: Any) -> Any:
                return f"{request.remote_addr}"

        shop = open_shop(way, Addressed(), ASWR_STRICT=True, PROPAGATE_EXCEPTIONS=False)
        assert [shop.get().status for _ in range(2)] == [500, 500]

    def test_switched_off(self, open_shop, way):
        """ASWR_ENABLED=False puts no door in, and every request is Flask's."""
        page = Page()
        shop = open_shop(way, page, ASWR_ENABLED=False)
        assert "wsgi_app" not in vars(shop.app)
        assert door_of(shop.app) is None
        assert [shop.get().text for _ in range(2)] == ["1", "2"]
        assert page.seen == ["GET", "GET"]


class TestRules:
    """Every rule of the key holds at the doors: the same requests, one after another."""

    @pytest.mark.parametrize("warm", [True, False])
    @pytest.mark.parametrize(
        "directives", ["no-cache", "no-store", "only-if-cached", "max-age=0", "min-fresh=99"]
    )
    def test_what_the_request_says_of_caches(self, open_shop, directives, warm):
        """A view that heeds the request's Cache-Control heeds it at the doors (RFC 9111 §5.2.1)."""
        asked = Ask(headers=(("Cache-Control", directives),))
        asks = [Ask(), asked, asked, Ask()] if warm else [asked, asked, Ask()]
        alike(open_shop, lambda: Page(request_directives=True), asks)

    def test_who_brings_a_cookie_that_is_read(self, open_shop):
        """Who carries what the view reads runs it himself, at every door; others share."""

        class Greeting(Page):
            def view(self, **args: Any) -> Any:
                self.made += 1
                return f"{request.cookies.get('user')} {self.made}"

        ann = Ask(headers=(("Cookie", "user=ann"),))
        found = alike(open_shop, Greeting, [Ask(), ann, Ask(), ann])
        assert [got.text for got in found] == ["None 1", "ann 2", "None 1", "ann 3"]

    def test_codings(self, open_shop):
        """Each gets the coding that he accepts, of one load; conditions are of that one."""

        class Long(Page):
            def view(self, **args: Any) -> Any:
                self.made += 1
                return LONG

        values = ("gzip", "br;q=0", "gzip", "identity, gzip;q=0.5")
        asks = [Ask(headers=(("Accept-Encoding", value),)) for value in values]
        found = alike(open_shop, lambda: Long(compress=("gzip",)), [*asks, *asks])
        assert [got["Content-Encoding"] for got in found[:4]] == ["gzip", "", "gzip", ""]
        same = (("Accept-Encoding", "gzip"), ("If-None-Match", found[0]["ETag"]))
        asks = [Ask(), Ask(headers=same), Ask(headers=same[1:])]
        found = alike(open_shop, lambda: Long(compress=("gzip",)), asks)
        assert [got.status for got in found] == [200, 304, 200]

    def test_parameters_that_are_read(self, open_shop):
        """Under query="read" only what the view reads splits the URL."""

        class Searching(Page):
            def view(self, **args: Any) -> Any:
                self.made += 1
                return f"{request.args.get('q')} {self.made}"

        queries = ("q=1", "q=1&utm=1", "q=2", "utm=2&q=2", "", "utm=3")
        asks = [Ask(query=query) for query in queries]
        found = alike(open_shop, lambda: Searching(query="read"), asks)
        expected = ["1 1", "1 1", "2 2", "2 2", "None 3", "None 3"]
        assert [got.text for got in found] == expected

    def test_a_view_that_nobody_can_share(self, open_shop, way, clock):
        """No door renders in vain, URL after URL: now and then a load is tried."""

        class Addressed(Page):
            def view(self, **args: Any) -> Any:
                return f"{request.remote_addr}"

        shop = open_shop(way, Addressed())
        for number in range(20):
            assert shop.get(query=f"a={number}").text == "127.0.0.1"
            clock.tick(0.1)
        assert 3 <= shop.manager.stats()["loads"] < 9

    def test_a_url_that_nobody_can_share(self, open_shop, way):
        """Where an answer is one caller's own, the next ones run the view, and load nothing."""

        class Counted(Page):
            def view(self, **args: Any) -> Any:
                self.made += 1
                return str(self.made), {"Set-Cookie": f"visit={self.made}"}

        shop = open_shop(way, Counted())
        found = [shop.get() for _ in range(3)]
        assert [got["Set-Cookie"] for got in found] == ["visit=1", "visit=2", "visit=3"]
        assert [got.cache for got in found] == ["", "", ""]
        assert shop.manager.stats()["loads"] == 1

    def test_what_the_server_adds(self, open_shop, way):
        """What is not in the URL or the headers is seen too, where a view reads it."""

        class Ported(Page):
            def view(self, **args: Any) -> Any:
                self.made += 1
                return f"{request.environ.get('REMOTE_PORT')} {self.made}"

        more = (("REMOTE_PORT", "5000"),)  # the scope has it anyway
        shop = open_shop(way, Ported())
        for number in (2, 3, 4):
            assert shop.get(more=more).text == f"5000 {number}"

    def test_methods_of_classes(self, open_shop, way):
        """A public method of a view class is answered by the door, and known to the verbs."""
        made: list[str] = []

        def build(app: Flask, manager: CacheManager) -> None:
            class Base(MethodView):
                @manager.cacher(timeout=60, public=True)
                def get(self) -> str:
                    made.append(type(self).__name__)
                    return f"{made[-1]} {len(made)}"

            class First(Base):
                pass

            class Second(Base):
                pass

            app.add_url_rule("/1", view_func=First.as_view("first"))
            app.add_url_rule("/2", view_func=Second.as_view("second"))

        shop = open_shop(way, build)
        found = [shop.get(path).text for path in ("/1", "/2", "/1", "/2")]
        assert found == ["First 1", "Second 2", "First 1", "Second 2"]
        assert shop.manager.peek("/1").value.body == b"First 1"
        shop.manager.invalidate("/1")
        assert shop.get("/1").text == "First 3"


class TestPlaces:
    def test_routing_is_asked_once(self, open_shop, way, monkeypatch):
        """Where a URL leads is found out once for each of its queries and callers."""
        asked = []
        original = MapAdapter.match

        def match(adapter: MapAdapter, *args: Any, **kwargs: Any) -> Any:
            asked.append(args)
            return original(adapter, *args, **kwargs)

        monkeypatch.setattr(MapAdapter, "match", match)
        shop = open_shop(way, Page())
        shop.get()
        assert asked
        asked.clear()
        for headers in ((), (("Cookie", "a=1"),), (("If-None-Match", "*"),)):
            assert shop.get(headers=headers).is_hit
        assert asked == []

    @pytest.mark.parametrize("own", ["create_url_adapter", "request_context", "request_class"])
    def test_an_app_that_routes_in_its_own_way(self, open_shop, way, own):
        """What may look at more than the URL, as a router by tenant does, is asked each time."""

        class Tenants(Page):
            def __call__(self, app: Flask, manager: CacheManager) -> None:
                super().__call__(app, manager)
                if own == "request_class":

                    class Own(Request):
                        def __init__(self, *args: Any, **kwargs: Any) -> None:
                            super().__init__(*args, **kwargs)

                    app.request_class = Own
                else:
                    setattr(app, own, functools.partial(getattr(app, own)))

        page = Tenants()
        shop = open_shop(way, page)
        shop.get()
        page.seen.clear()
        assert shop.get().is_hit
        assert page.seen  # its hooks ran

    def test_a_view_function_that_is_replaced(self, open_shop, way):
        """A new function at an endpoint answers at once, and by the door where it is public."""
        page, other = Page(), Page()
        shop = open_shop(way, page)
        assert [shop.get().text for _ in range(2)] == ["1", "1"]
        other.made = 10
        view = shop.manager.cacher(**other.options)(_named("other", other.view))
        shop.app.view_functions["x"] = view
        assert shop.get().text == "11"
        page.seen.clear()
        assert shop.get().text == "11"
        assert page.seen == []
        shop.app.view_functions["x"] = lambda: "plain"
        assert shop.get().text == "plain"

    def test_a_rule_that_shadows_another(self, open_shop, way):
        """A rule that is added later takes its paths from a catch-all that answered before."""

        class Catching(Page):
            def __call__(self, app: Flask, manager: CacheManager) -> None:
                super().__call__(app, manager)
                app.url_map.add(Rule("/<path:rest>", endpoint="x"))

        shop = open_shop(way, Catching())
        assert [shop.get("/y").text for _ in range(2)] == ["1", "1"]
        shop.app.view_functions["y"] = lambda: "y"
        shop.app.url_map.add(Rule("/y", endpoint="y"))
        assert shop.get("/y").text == "y"
        assert shop.get("/z").text == "2"

    def test_a_view_that_is_added_later(self, open_shop, way):
        """A path that led nowhere leads to a view as soon as there is one."""
        shop = open_shop(way, Page())
        assert shop.get("/y").status == 404
        shop.app.url_map.add(Rule("/y", endpoint="x"))
        assert [shop.get("/y").text for _ in range(2)] == ["1", "1"]

    def test_there_are_never_more_than_so_many(self, open_shop, way, monkeypatch):
        """Whatever URLs are asked for, a bounded number of places is remembered."""
        monkeypatch.setattr(places_module, "MOST_PLACES", 8)
        shop = open_shop(way, Page())
        door = door_of(shop.app)
        for number in range(30):
            shop.get(f"/x{number}")
            assert len(door._places._known) <= 8
        assert [shop.get().text for _ in range(2)] == ["1", "1"]

    def test_long_urls_are_not_remembered(self, open_shop, way):
        """Long paths and hosts are answered like any, and take no memory."""
        shop = open_shop(way, Page())
        door = door_of(shop.app)
        length = places_module.LONGEST
        shop.get("/x" + "a" * length)
        shop.get(host="a" * length)
        assert door._places._known == {}
        shop.get()
        assert len(door._places._known) == 1

    def test_two_endpoints_of_one_view(self, open_shop):
        """One view under two paths has two answers; under two rules of a path, one."""

        class Twice(Page):
            def __call__(self, app: Flask, manager: CacheManager) -> None:
                super().__call__(app, manager)
                app.add_url_rule("/y", "y", app.view_functions["x"])

        asks = [Ask(path) for path in ("/x", "/y", "/x", "/y")]
        found = alike(open_shop, Twice, asks)
        assert [got.text for got in found] == ["1", "2", "1", "2"]

    def test_two_apps(self, clock, way):
        """One manager's view in two apps is answered by each app's own door."""
        manager, page = CacheManager(clock=clock), Page()
        view = manager.cacher(**page.options)(page.view)
        apps = [Flask("one"), Flask("two")]
        for app in apps:
            manager.init_app(app)
            app.add_url_rule("/x", "x", view)
        for _ in range(2):
            for number, app in enumerate(apps, 1):
                got = by_wsgi(app, Ask()) if way == "wsgi" else by_asgi(manager.asgi(app), Ask())
                assert got.text == str(number)
        manager.close(timeout=0.5)

    def test_a_view_of_another_manager(self, open_shop, way, clock):
        """A view that is not of the app's manager is none of the door's."""
        other = CacheManager(clock=clock)

        def build(app: Flask, manager: CacheManager) -> None:
            app.add_url_rule("/x", "x", other.cacher(timeout=60, public=True)(lambda: "x"))

        shop = open_shop(way, build, PROPAGATE_EXCEPTIONS=False)
        assert shop.get().status == 500
        other.close()

    def test_the_key_in_debug_mode(self, open_shop):
        """In debug mode Cache-Status names the same key by every way."""

        def debugging() -> Build:
            page = Page()

            def build(app: Flask, manager: CacheManager) -> None:
                page(app, manager)
                app.debug = True

            return build

        asks = [Ask(query=query) for query in ("", "", "a=1&b", "b&a=1")]
        found = alike(open_shop, debugging, asks)
        assert all("key=" in got.cache for got in found)


class TestWhere:
    """Which host, which mount: the door sees what routing sees."""

    HOSTS = ("localhost", "shop.test", "SHOP.test", "api.shop.test", "evil.test", "shop.test:80")

    # Werkzeug's own, of a host that is none of ours.
    @pytest.mark.filterwarnings("ignore:Current server name")
    @pytest.mark.parametrize(
        "config",
        [
            {},
            {"SERVER_NAME": "shop.test"},
            {"SERVER_NAME": "shop.test", "subdomain_matching": True},
            {"TRUSTED_HOSTS": ["shop.test"]},
            {"TRUSTED_HOSTS": [".shop.test"]},
            {"APPLICATION_ROOT": "/mounted"},
        ],
        ids=str,
    )
    def test_hosts_subdomains_and_blueprints(self, open_shop, config):
        """SERVER_NAME, subdomains, TRUSTED_HOSTS and blueprints lead where they lead in the app."""

        class Hosted(Page):
            def __call__(self, app: Flask, manager: CacheManager) -> None:
                super().__call__(app, manager)
                for name in ("api", "www"):
                    pages = Blueprint(name, name, url_prefix="/b", subdomain=name)
                    view = manager.cacher(**self.options)(_named(name, lambda: url_for(".x")))
                    pages.add_url_rule("/x", "x", view)
                    app.register_blueprint(pages)

        hosts = [host for host in self.HOSTS for _ in range(2)]
        asks = [
            Ask(path, host=host, root=root)
            for host in hosts
            for path in ("/x", "/b/x")
            for root in ("", "/mounted")
        ]
        alike(open_shop, Hosted, asks, **config)

    def test_host_matching(self, open_shop):
        """Under host matching each host has its own routes, and its own answers."""

        class Matched(Page):
            def __call__(self, app: Flask, manager: CacheManager) -> None:
                app.url_map.host_matching = True
                view = manager.cacher(**self.options)(self.view)
                for host in ("a.test", "b.test", "<any>.c.test"):
                    app.add_url_rule("/x", f"x{host}".replace(".", "-"), view, host=host)

        # The site looks at the map when it is made.
        shops = []
        for way in WAYS:
            app = Flask("shop", host_matching=True, static_host="static.test")
            manager = CacheManager(app, clock=Clock())
            if way == "in-app":
                del app.wsgi_app
            Matched()(app, manager)
            shops.append((way, app, manager))
        hosts = ("a.test", "b.test", "A.test", "x.c.test", "y.c.test", "d.test")
        for host in [host for host in hosts for _ in range(2)]:
            ask = Ask(host=host)
            found = [
                essence(ask, by_asgi(m.asgi(), ask) if way == "asgi" else by_wsgi(app, ask))
                for way, app, m in shops
            ]
            assert found[0] == found[1] == found[2]
        for _, _, manager in shops:
            manager.close(timeout=0.5)
