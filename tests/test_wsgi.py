"""The WSGI door: innermost or absent, and behind whatever is put around the app later."""

import functools
import gc
import logging
import threading
import weakref
from collections.abc import Iterable
from typing import Any

import pytest
from flask import Flask, request
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import Map, Rule

from aswr import CacheManager
from aswr.wsgi import WsgiDoor, door_of, wrapper_of

from .conftest import Clock, Counter
from .ways import Ask, Got, by_asgi, by_wsgi


class Guard:
    """A middleware that lets nobody in without a key."""

    def __init__(self, wsgi_app: Any) -> None:
        self._wsgi_app = wsgi_app

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        if environ.get("HTTP_X_KEY") != "good":
            start_response("403 FORBIDDEN", [])
            return [b"no"]
        return self._wsgi_app(environ, start_response)  # type: ignore[no-any-return]


def page(app: Flask, manager: CacheManager, counter: Counter, **options: Any) -> None:
    @app.get("/x")
    @manager.cacher(timeout=60, **{"public": True, **options})
    def x() -> str:
        return f"{request.script_root} {request.host_url} {counter()}"


def warnings_of(caplog: Any) -> list[str]:
    found = [record for record in caplog.records if record.levelno >= logging.WARNING]
    return [record.getMessage() for record in found]


class TestAnswers:
    def test_what_pep_3333_asks(self, app, manager, counter):
        """A hit is one start_response with native strings, and a list of the one stored body."""
        page(app, manager, counter)
        by_wsgi(app, Ask())
        started = []
        output = app.wsgi_app(Ask().environ(), lambda *args: started.append(args))
        [(status, fields)] = started
        assert status == "200 OK"
        assert type(fields) is list
        assert all(type(text) is str for field in fields for text in field)
        [body] = output
        assert body is manager.peek("/x").value.body

    def test_the_fields_are_the_servers_to_change(self, app, manager, counter):
        """Servers and middlewares may change the list they are given; the stored one stays."""
        page(app, manager, counter)
        first = by_wsgi(app, Ask())

        def start_response(status: str, fields: list[tuple[str, str]]) -> None:
            fields.clear()

        app.wsgi_app(Ask().environ(), start_response)
        assert by_wsgi(app, Ask())["ETag"] == first["ETag"]

    def test_a_head_has_no_body(self, app, manager, counter):
        """The output of a HEAD is empty."""
        page(app, manager, counter)
        by_wsgi(app, Ask())
        assert app.wsgi_app(Ask(method="HEAD").environ(), lambda *args: None) == []

    @pytest.mark.parametrize(
        ("code", "line"), [(203, "203 NON AUTHORITATIVE INFORMATION"), (299, "299 UNKNOWN")]
    )
    def test_status_lines(self, app, manager, code, line):
        """The status line has the code and its phrase, as Flask's has."""

        @app.get("/x")
        @manager.cacher(timeout=60, public=True, statuses={299: 60})
        def x() -> Any:
            return "x", code

        seen = []
        for _ in range(2):
            app.wsgi_app(Ask().environ(), lambda status, fields: seen.append(status))
        assert seen[0] == seen[1]
        assert seen[1].startswith(line)


class TestWrappers:
    def test_what_lay_around_the_app_before(self, app, clock, counter, caplog):
        """A wrapper from before init_app may be a guard: no door, hits in-app, one warning."""
        app.wsgi_app = Guard(app.wsgi_app)
        with CacheManagerOf(app, clock) as manager:
            page(app, manager, counter)
            assert door_of(app) is None
            good = Ask(headers=(("X-Key", "good"),))
            assert by_wsgi(app, good).status == 200
            assert by_wsgi(app, good).is_hit
            assert by_wsgi(app, Ask()).status == 403
        [text] = warnings_of(caplog)
        assert "tests.test_wsgi.Guard" in text
        assert "manager.init_app(app) before" in text

    def test_nobody_is_warned_without_public_views(self, app, clock, counter, caplog):
        """Where no view is public a wrapper changes nothing, and the log is silent."""
        app.wsgi_app = Guard(app.wsgi_app)
        with CacheManagerOf(app, clock) as manager:
            page(app, manager, counter, public=False)
            by_wsgi(app, Ask(headers=(("X-Key", "good"),)))
        assert warnings_of(caplog) == []

    def test_a_subclass_with_its_own_wsgi_app(self, clock, counter, caplog):
        """An app class that overrides wsgi_app() wraps it, too."""

        class Guarded(Flask):
            def wsgi_app(self, environ: Any, start_response: Any) -> Any:
                return Guard(super().wsgi_app)(environ, start_response)

        app = Guarded("guarded")
        with CacheManagerOf(app, clock) as manager:
            page(app, manager, counter)
            good = Ask(headers=(("X-Key", "good"),))
            assert [by_wsgi(app, good).status for _ in range(2)] == [200, 200]
            assert by_wsgi(app, Ask()).status == 403
        [text] = warnings_of(caplog)
        assert "Guarded.wsgi_app" in text

    def test_a_guard_that_is_put_there_later(self, app, manager, counter, caplog):
        """What is put around the app after init_app runs before the door, without a warning."""
        page(app, manager, counter)
        app.wsgi_app = Guard(app.wsgi_app)
        good = Ask(headers=(("X-Key", "good"),))
        assert [by_wsgi(app, good).status for _ in range(2)] == [200, 200]
        assert by_wsgi(app, Ask()).status == 403
        assert warnings_of(caplog) == []

    def test_proxy_fix(self, app, manager, counter):
        """ProxyFix after init_app: hosts and prefixes are those that it makes."""
        page(app, manager, counter)
        app.wsgi_app = ProxyFix(app.wsgi_app, x_host=1, x_proto=1, x_prefix=1)
        proxied = [
            (("X-Forwarded-Host", "a.test"), ("X-Forwarded-Proto", "https")),
            (("X-Forwarded-Host", "b.test"), ("X-Forwarded-Prefix", "/shop")),
        ]
        for _ in range(2):
            found = [by_wsgi(app, Ask(headers=headers)).text for headers in proxied]
            assert found == [" https://a.test/ 1", "/shop http://b.test/ 2"]

    def test_as_the_mounted_app(self, app, manager, counter):
        """Mounted twice, the app answers for each mount what belongs there."""
        page(app, manager, counter)
        outer = DispatcherMiddleware(app, {"/a": app, "/b": app})
        for _ in range(2):
            found = [by_wsgi(outer, Ask(f"{mount}/x")).text for mount in ("/a", "/b", "")]
            roots = [text.split(" ")[0] for text in found]
            assert roots == ["/a", "/b", ""]
        assert counter.count == 3

    def test_as_the_mounting_app(self, app, manager, clock, counter):
        """An app that is mounted in this one keeps its own door, and gets its own requests."""
        page(app, manager, counter)
        inner = Flask("inner")
        with CacheManagerOf(inner, clock) as other:
            page(inner, other, Counter())
            app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/inner": inner})
            for _ in range(2):
                assert by_wsgi(app, Ask()).text == " http://localhost/ 1"
                assert by_wsgi(app, Ask("/inner/x")).text == "/inner http://localhost/ 1"
            assert other.stats()["hits"] == manager.stats()["hits"] == 1


class TestNames:
    def test_of_a_class_and_of_a_function(self, app):
        """A wrapper is named as it would be imported."""
        assert wrapper_of(app) == ""
        app.wsgi_app = Guard(app.wsgi_app)
        assert wrapper_of(app) == "tests.test_wsgi.Guard"
        app.wsgi_app = warnings_of
        assert wrapper_of(app) == "tests.test_wsgi.warnings_of"

    def test_ours_is_none(self, app, manager):
        """Our own door is no wrapper."""
        assert wrapper_of(app) == ""
        assert type(app.wsgi_app) is WsgiDoor


def test_an_app_that_is_dropped_takes_its_door_along(clock, counter):
    """Nobody who outlives the app holds its door, nor its places."""
    app = Flask("gone")
    manager = CacheManager(app, clock=clock)
    page(app, manager, counter)
    by_wsgi(app, Ask())
    gone = threading.Event()
    weakref.finalize(door_of(app), gone.set)
    manager.close(timeout=0.5)
    del app
    for _ in range(500):  # a thread may still be letting go of the last load
        gc.collect()
        if gone.wait(0.02):
            break
    assert gone.is_set(), f"{manager} holds the door"


class CacheManagerOf:
    """A manager of an app that was wrapped before, closed at the end."""

    def __init__(self, app: Flask, clock: Clock) -> None:
        self._manager = CacheManager(app, clock=clock)

    def __enter__(self) -> CacheManager:
        return self._manager

    def __exit__(self, *error: object) -> None:
        self._manager.close(timeout=0.5)


GUARDED = ("full_dispatch_request", "dispatch_request", "finalize_request")


class TestTheAppsOwnDispatch:
    """What an app does around its requests besides hooks may be a guard: no door leads past it."""

    @pytest.fixture(params=["wsgi", "asgi"])
    def ask(self, request: pytest.FixtureRequest) -> Any:
        def ask(app: Flask, manager: CacheManager, one: Ask) -> Got:
            if request.param == "wsgi":
                return by_wsgi(app, one)
            return by_asgi(manager.asgi(), one)

        return ask

    @pytest.mark.parametrize("name", GUARDED)
    def test_of_its_class(self, name, ask, clock, counter, caplog):
        """An overridden method runs for every answer, and one warning names it."""

        class Own(Flask):
            pass

        def own(self: Flask, *args: Any) -> Any:
            if "X-Key" not in request.headers:
                return self.response_class("no", 401)
            return getattr(Flask, name)(self, *args)

        setattr(Own, name, own)
        app = Own("shop")
        manager = CacheManager(app, clock=clock)
        page(app, manager, counter)
        known = Ask(headers=(("X-Key", "1"),))
        assert [ask(app, manager, known).status for _ in range(2)] == [200, 200]
        assert ask(app, manager, Ask()).status == 401
        assert any(f"Own.{name}" in text for text in warnings_of(caplog))
        manager.close()

    @pytest.mark.parametrize("before", [True, False])
    @pytest.mark.parametrize("name", GUARDED[:2])
    def test_of_the_app_itself(self, name, before, ask, clock, counter):
        """So with one that is replaced on the app, before or after `init_app`."""
        app, manager = Flask("shop"), CacheManager(clock=clock)
        original = getattr(app, name)

        def own(*args: Any) -> Any:
            if "X-Key" not in request.headers:
                return app.response_class("no", 401)
            return original(*args)

        if not before:
            manager.init_app(app)
        setattr(app, name, own)
        if before:
            manager.init_app(app)
        page(app, manager, counter)
        known = Ask(headers=(("X-Key", "1"),))
        assert [ask(app, manager, known).status for _ in range(2)] == [200, 200]
        assert ask(app, manager, Ask()).status == 401
        manager.close()

    @pytest.mark.parametrize("by", ["class", "instance"])
    def test_of_its_url_map(self, by, ask, clock):
        """A URL map that binds by a header of its own is asked for each request."""

        def bind(self: Map, environ: Any, *args: Any, **kwargs: Any) -> Any:
            kwargs["subdomain"] = environ.get("HTTP_X_TENANT", "")
            return Map.bind_to_environ(self, environ, *args, **kwargs)

        class Tenants(Map):
            bind_to_environ = bind

        class Own(Flask):
            url_map_class = Tenants if by == "class" else Map

        app = Own("shop", subdomain_matching=True)
        if by == "instance":
            app.url_map.bind_to_environ = functools.partial(bind, app.url_map)
        manager = CacheManager(app, clock=clock)
        for name in ("a", "b"):
            view = manager.cacher(timeout=60, public=True)(lambda name=name: f"page of {name}")
            app.add_url_rule("/x", name, view, subdomain=name)
        asks = [Ask(headers=(("X-Tenant", name),)) for name in "abab"]
        assert [ask(app, manager, one).text for one in asks] == [f"page of {n}" for n in "abab"]
        manager.close()

    def test_a_redirect_of_a_rule(self, ask, app, manager, counter):
        """A rule that redirects by a function is Flask's to follow, errors and all."""
        page(app, manager, counter)

        def fails(adapter: Any, **values: Any) -> str:
            raise ValueError("of the app")

        app.url_map.add(Rule("/x/<name>", endpoint="y", redirect_to=fails))
        app.register_error_handler(500, lambda error: ("its own page", 500))
        for _ in range(2):
            got = ask(app, manager, Ask("/x/1"))
            assert (got.status, got.text) == (500, "its own page")


def test_below_a_mount_without_a_slash(app, manager, counter):
    """Without a path Flask redirects to the slash, since what the page links to is below it."""

    @app.get("/")
    @manager.cacher(timeout=60, public=True)
    def index() -> str:
        return counter()

    assert by_wsgi(app, Ask("/", root="/shop")).status == 200
    assert by_wsgi(app, Ask("", root="/shop")).status == 308


def test_a_test_client_that_keeps_its_context(app, manager, counter):
    """``with app.test_client()`` finds its request, whether or not the page is stored."""
    page(app, manager, counter)
    with app.test_client() as client:
        for _ in range(2):
            client.get("/x")
            assert request.path == "/x"


def test_a_guard_that_is_put_around_a_view_later(app, manager, counter):
    """What was stored before it is not given past it."""
    page(app, manager, counter)
    assert [by_wsgi(app, Ask()).status for _ in range(2)] == [200, 200]
    inner = app.view_functions["x"]

    @functools.wraps(inner)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if "X-Key" not in request.headers:
            return app.response_class("no", 403)
        return inner(*args, **kwargs)

    app.view_functions["x"] = guarded
    assert [by_wsgi(app, Ask()).status for _ in range(2)] == [403, 403]
    known = Ask(headers=(("X-Key", "1"),))
    assert [by_wsgi(app, known).status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize("public", [True, False])
def test_a_route_for_head_alone(app, manager, public):
    """What it answers is its own: neither is GET's answer given there, nor the other way round."""

    @manager.cacher(timeout=60, public=public)
    def view() -> str:
        return "secret"

    @functools.wraps(view)
    def guarded() -> Any:
        return app.response_class("no", 403)

    app.add_url_rule("/x", "head", view, methods=["HEAD"])
    app.add_url_rule("/x", "get", guarded, methods=["GET"])
    app.add_url_rule("/y", "only", view, methods=["HEAD"])
    for _ in range(2):
        assert by_wsgi(app, Ask(method="HEAD")).status == 200
        assert by_wsgi(app, Ask()).status == 403
        assert by_wsgi(app, Ask("/y", method="HEAD")).status == 200
