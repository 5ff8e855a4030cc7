"""The ASGI door: hits and misses on the server's loop, without a thread; the rest goes to Flask."""

import asyncio
import logging
import threading
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

import pytest
from flask import Flask, Response, got_request_exception, request
from werkzeug.middleware.proxy_fix import ProxyFix

from aswr import CacheManager
from aswr.environ import MAX_REPEATS
from aswr.lookup import AWAITED

from .conftest import PATIENCE
from .ways import LIMIT, WAYS, Ask, Call, Got, Shop, aby_asgi, by_asgi

T = TypeVar("T")
CROWD = 200


def run(test: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(test, 2 * PATIENCE))


def page(app: Flask, manager: CacheManager, view: Any, **options: Any) -> None:
    """A public view at /x."""
    view.__name__ = view.__qualname__ = "x"
    cached = manager.cacher(**{"timeout": 60, "public": True, **options})(view)
    app.add_url_rule("/x", "x", cached)


def seats_of(application: Any) -> str:
    return repr(application._bridge._seats)


def fields_of(message: Any) -> dict[bytes, bytes]:
    return dict(message["headers"])


async def until_waiting(manager: CacheManager, number: int) -> None:
    """Let the loop turn until so many callers wait for loads."""
    while manager.stats()["waiting"] < number:
        await asyncio.to_thread(int)


class TestHits:
    @pytest.fixture
    def warm(self, app, manager, counter):
        page(app, manager, lambda: counter())
        application = manager.asgi()
        by_asgi(application, Ask())
        return application

    def test_two_messages_and_no_copy(self, warm, manager):
        """A hit is exactly a head and a whole body, which is the stored object itself."""
        call = Call(Ask().scope())
        run(call.of(warm))
        head, body = call.sent
        assert (head["type"], head["status"]) == ("http.response.start", 200)
        assert body["type"] == "http.response.body"
        assert body["body"] is manager.peek("/x").value.body
        assert not body.get("more_body", False)

    def test_header_lines(self, warm):
        """Names are bytes in lower case, as the ASGI specification wants them; values bytes."""
        call = Call(Ask().scope())
        run(call.of(warm))
        lines = call.sent[0]["headers"]
        assert all(type(text) is bytes for line in lines for text in line)
        assert all(name == name.lower() for name, _ in lines)
        assert {b"etag", b"age", b"cache-status", b"content-length"} <= {name for name, _ in lines}

    def test_the_header_list_is_the_servers_to_change(self, warm):
        """A server or middleware may add to the list of one response; the next one has its own."""

        def spoil(message: Any) -> None:
            message.get("headers", []).append((b"x-spoilt", b"1"))

        run(Call(Ask().scope(), on_send=spoil).of(warm))
        assert by_asgi(warm, Ask())["X-Spoilt"] == ""

    def test_head(self, warm):
        """HEAD has the fields of GET and an empty body, in two messages."""
        call = Call(Ask(method="HEAD").scope())
        run(call.of(warm))
        assert [message["type"][14:] for message in call.sent] == ["start", "body"]
        assert call.sent[1]["body"] == b""
        assert fields_of(call.sent[0])[b"content-length"] == b"1"

    def test_204_has_no_body(self, app, manager):
        """What the view returned with a 204 is not sent."""
        page(app, manager, lambda: ("text", 204))
        application = manager.asgi()
        found = [by_asgi(application, Ask()) for _ in range(2)]
        assert [(got.status, got.body) for got in found] == [(204, b"")] * 2
        assert found[1].is_hit

    def test_on_the_servers_own_loop(self, warm, manager):
        """A hit takes no thread, and does not wait for aswr's loop, or any."""
        turns = []

        async def test() -> None:
            call = Call(Ask().scope())
            asyncio.get_running_loop().call_soon(turns.append, 1)
            await call.of(warm)
            assert turns == []

        run(test())
        assert "idle=0" in seats_of(warm)

    def test_without_reading_the_body(self, warm):
        """A hit does not ask the server for the request's body."""

        async def receive() -> Any:
            raise AssertionError("a hit reads no body")

        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        run(warm(Ask().scope(), receive, send))
        assert len(sent) == 2

    def test_a_client_that_is_gone(self, warm, caplog):
        """A send that says by OSError that the client left ends the request without a word."""

        def gone(message: Any) -> None:
            raise ConnectionResetError

        for fails_at in ("http.response.start", "http.response.body"):

            def on_send(message: Any, at: str = fails_at) -> None:
                if message["type"] == at:
                    gone(message)

            call = Call(Ask().scope(), on_send=on_send)
            run(warm(call.scope, call.receive, call.send))
        assert caplog.records == []

    def test_another_error_of_the_server_is_its_own(self, warm):
        """What else a server's send raises reaches the server."""

        def broken(message: Any) -> None:
            raise KeyError("server")

        with pytest.raises(KeyError):
            run(Call(Ask().scope(), on_send=broken).of(warm))


class TestMisses:
    @pytest.mark.parametrize("kind", ["async", "def"])
    def test_a_crowd_is_one_load_and_no_thread(self, app, manager, gate, counter, kind):
        """However many clients wait for one page: one load, and not one thread for them."""
        if kind == "async":

            async def view() -> str:
                await gate.ahold()
                return counter()
        else:

            def view() -> str:
                gate.hold()
                return counter()

        page(app, manager, view)
        application = manager.asgi()
        unmade, threads = seats_of(application), threading.active_count()

        async def test() -> list[Got]:
            clients = [asyncio.create_task(aby_asgi(application, Ask())) for _ in range(CROWD)]
            await until_waiting(manager, CROWD)
            assert threading.active_count() - threads < CROWD / 4
            gate.open()
            return await asyncio.gather(*clients)

        found = run(test())
        assert {got.text for got in found} == {"1"}
        assert seats_of(application) == unmade
        stats = manager.stats()
        assert (stats["loads"], stats["misses"], stats["waiting"]) == (1, CROWD, 0)
        words = sorted(got.cache.split("; ")[-1] for got in found)
        assert words == ["collapsed"] * (CROWD - 1) + ["stored"]

    def test_a_client_that_stops_waiting(self, app, manager, gate, counter):
        """A request's task that is cancelled leaves the load to the others, and to the store."""

        async def view() -> str:
            await gate.ahold()
            return counter()

        page(app, manager, view)
        application = manager.asgi()

        async def test() -> None:
            clients = [asyncio.create_task(aby_asgi(application, Ask())) for _ in range(3)]
            await until_waiting(manager, 3)
            clients[0].cancel()
            clients[1].cancel()
            await asyncio.wait(clients[:2])
            gate.open()
            assert (await clients[2]).text == "1"

        run(test())
        assert manager.stats()["waiting"] == 0
        assert by_asgi(application, Ask()).is_hit

    def test_all_of_them_stop_waiting(self, app, manager, gate, counter):
        """A load that nobody waits for any more is stored all the same."""

        async def view() -> str:
            await gate.ahold()
            return counter()

        page(app, manager, view)
        application = manager.asgi()

        async def test() -> None:
            client = asyncio.create_task(aby_asgi(application, Ask()))
            await until_waiting(manager, 1)
            client.cancel()
            await asyncio.wait([client])

        run(test())
        gate.open()
        assert manager.join(LIMIT)
        assert by_asgi(application, Ask()).text == "1"
        assert manager.stats()["loads"] == 1

    def test_variants_of_a_cold_page(self, app, manager, gate, counter):
        """Who differs in what the load reads gets an answer of his own, still without a thread."""

        async def view() -> str:
            await gate.ahold()
            return f"{request.headers.get('X-Theme')} {counter()}"

        page(app, manager, view)
        application = manager.asgi()
        unmade = seats_of(application)

        async def test() -> list[Got]:
            asks = [Ask(headers=(("X-Theme", str(number % 3)),)) for number in range(30)]
            clients = [asyncio.create_task(aby_asgi(application, ask)) for ask in asks]
            await until_waiting(manager, 30)
            gate.open()
            return await asyncio.gather(*clients)

        found = run(test())
        assert [got.text.split()[0] for got in found] == [str(n % 3) for n in range(30)]
        assert manager.stats()["loads"] == 3
        assert seats_of(application) == unmade


class TestHandedOver:
    """Results that are Flask's to deal with: each in its own request, none with a second load."""

    def test_an_exception_of_the_view(self, app, manager, gate):
        """The app's error handler answers each of those who waited, in his own request."""
        handled = []

        @app.errorhandler(KeyError)
        def failed(error: KeyError) -> Any:
            handled.append(request.headers["X-Number"])
            return f"failed for {request.headers['X-Number']}", 418

        async def view() -> str:
            await gate.ahold()
            raise KeyError("k")

        page(app, manager, view)
        application = manager.asgi()

        async def test() -> list[Got]:
            asks = [Ask(headers=(("X-Number", str(number)),)) for number in range(9)]
            clients = [asyncio.create_task(aby_asgi(application, ask)) for ask in asks]
            await until_waiting(manager, 9)
            gate.open()
            return await asyncio.gather(*clients)

        found = run(test())
        assert [(got.status, got.text) for got in found] == [
            (418, f"failed for {number}") for number in range(9)
        ]
        assert sorted(handled) == [str(number) for number in range(9)]
        stats = manager.stats()
        assert (stats["loads"], stats["misses"]) == (1, 9)

    def test_a_5xx_of_the_view(self, app, manager, gate, counter):
        """A 5xx is everybody's who waited, once loaded."""

        async def view() -> Any:
            await gate.ahold()
            return counter(), 503

        page(app, manager, view)
        application = manager.asgi()

        async def test() -> list[Got]:
            clients = [asyncio.create_task(aby_asgi(application, Ask())) for _ in range(9)]
            await until_waiting(manager, 9)
            gate.open()
            return await asyncio.gather(*clients)

        assert {(got.status, got.text) for got in run(test())} == {(503, "1")}
        assert manager.stats()["loads"] == 1

    def test_a_cookie_that_the_load_reads(self, app, manager, counter, gate):
        """Who brings what the load turns out to read is let go, and runs the view himself."""

        async def view() -> str:
            user = request.cookies.get("user")
            if user is None:
                await gate.ahold()
            return f"{user} {counter()}"

        page(app, manager, view)
        application = manager.asgi()

        async def test() -> None:
            anybody = asyncio.create_task(aby_asgi(application, Ask()))
            await asyncio.to_thread(gate.await_arrival)
            own = await aby_asgi(application, Ask(headers=(("Cookie", "user=ann"),)))
            assert own.text == "ann 1"
            assert own["Cache-Control"] == "private, no-cache"
            gate.open()
            assert (await anybody).text == "None 2"

        run(test())
        assert manager.stats()["loads"] == 1

    def test_who_waits_too_long(self, app, manager, gate, counter):
        """After wait_timeout the app's own page says 503, and the load goes on."""
        handled = []

        @app.errorhandler(503)
        def busy(error: Any) -> Any:
            handled.append(1)
            return "come again", 503, {"Retry-After": error.get_headers() and "7"}

        async def view() -> str:
            await gate.ahold()
            return counter()

        page(app, manager, view, wait_timeout=0.05)
        application = manager.asgi()
        got = by_asgi(application, Ask())
        assert (got.status, got.text, handled) == (503, "come again", [1])
        gate.open()
        assert manager.join(LIMIT)
        assert by_asgi(application, Ask()).text == "1"
        assert manager.stats()["loads"] == 1

    def test_who_need_not_wait_for_long(self, app, manager, gate, clock, counter):
        """After soft_timeout the older answer stands in, which stale_if_error allows."""
        calls = []

        async def view() -> str:
            calls.append(1)
            if len(calls) > 1:
                await gate.ahold()
            return counter()

        page(
            app, manager, view, refresh_margin=0, soft_timeout=0.05, stale_if_error=100,
        )  # fmt: skip
        application = manager.asgi()
        by_asgi(application, Ask())
        clock.tick(70)
        got = by_asgi(application, Ask())
        assert got.text == "1"
        assert got.cache == "aswr; hit; ttl=-10; detail=soft-timeout"
        assert len(calls) == 2
        gate.open()
        assert manager.join(LIMIT)
        assert by_asgi(application, Ask()).text == "2"

    def test_a_failed_load_that_the_old_answer_covers(self, app, manager, clock, counter):
        """stale_if_error holds for who waited at the door, too; one load."""
        calls = []

        def view() -> str:
            calls.append(1)
            if len(calls) > 1:
                raise KeyError
            return counter()

        page(app, manager, view, refresh_margin=0, stale_if_error=100)
        application = manager.asgi()
        by_asgi(application, Ask())
        clock.tick(70)
        got = by_asgi(application, Ask())
        assert (got.status, got.text) == (200, "1")
        assert got.is_hit
        assert len(calls) == 2

    @pytest.mark.parametrize("way", WAYS)
    def test_it_is_counted_and_told_as_in_the_app(self, way, clock):
        """Of a failed load that an old answer covers monitors hear once, and one miss counts."""
        renders, told = [], []

        def build(app, manager):
            got_request_exception.connect(
                lambda sender, exception, **_: told.append(exception), app, weak=False
            )

            @app.route("/x")
            @manager.cacher(timeout=60, refresh_margin=0, stale_if_error=100, public=True)
            def view():
                renders.append(1)
                if len(renders) > 1:
                    raise KeyError("boom")
                return "old"

        with Shop(way, build, clock) as shop:
            shop.get()
            clock.tick(70)
            assert shop.get().cache == "aswr; hit; ttl=-10; detail=stale-if-error"
            counted = shop.manager.stats()
        assert [type(error) for error in told] == [KeyError]
        assert [counted[name] for name in ("hits", "misses", "loads")] == [1, 1, 2]

    def test_views_do_not_see_it(self, app, manager):
        """What the door hands over is gone from the environ when anything of the app looks."""
        seen = []

        @app.errorhandler(KeyError)
        def failed(error: KeyError) -> str:
            seen.append(AWAITED in request.environ)
            return "failed"

        def view() -> str:
            raise KeyError

        page(app, manager, view)
        by_asgi(manager.asgi(), Ask())
        assert seen == [False]


class TestRequests:
    @pytest.mark.parametrize("public", [True, False])
    def test_a_body_that_http2_does_not_announce(self, app, manager, public):
        """In HTTP/2 a GET may have a body and no length: it is its sender's own, as any body."""

        @app.route("/x")
        @manager.cacher(timeout=60, public=public)
        def view():
            return f"got {request.get_data().decode()}"

        application = manager.asgi()
        for body, text in ((b"", "got "), (b"secret", "got secret"), (b"", "got ")):
            call = Call({**Ask().scope(), "http_version": "2"}, body)
            got = asyncio.run(asyncio.wait_for(call.of(application), LIMIT))
            assert got.text == text
            assert manager.join(LIMIT)

    """What servers send in their own ways is one request to the app, and one key."""

    def test_cookies_in_several_lines(self, app, manager, counter):
        """HTTP/2 may split a Cookie header: joined by "; " (RFC 9113 §8.2.3)."""

        def view() -> str:
            return f"{request.cookies.get('a')} {request.cookies.get('b')} {counter()}"

        page(app, manager, view, vary=["cookie:a", "cookie:b"])
        application = manager.asgi()
        scope = Ask().scope()
        scope["headers"] += [(b"cookie", b"a=1"), (b"cookie", b"b=2")]
        found = [run(Call(dict(scope)).of(application)).text for _ in range(2)]
        found.append(by_asgi(application, Ask(headers=(("Cookie", "a=1; b=2"),))).text)
        assert found == ["1 2 1"] * 3

    def test_too_many_lines_of_one_name(self, app, manager, counter):
        """A header repeated too often is answered with 400, warm or cold."""
        page(app, manager, lambda: counter())
        application = manager.asgi()
        scope = Ask().scope()
        scope["headers"] += [(b"x-a", b"1")] * (MAX_REPEATS + 1)
        for _ in range(2):
            assert run(Call(dict(scope)).of(application)).status == 400
            assert by_asgi(application, Ask()).status == 200

    def test_an_underscore_poses_as_nothing(self, app, manager, counter):
        """A header with an underscore is dropped, for the key as for the view."""
        page(app, manager, lambda: f"{request.headers.get('X-A')} {counter()}")
        application = manager.asgi()
        scope = Ask().scope()
        scope["headers"] += [(b"x_a", b"evil")]
        assert run(Call(scope).of(application)).text == "None 1"
        assert by_asgi(application, Ask()).text == "None 1"

    def test_root_paths(self, app, manager, counter):
        """root_path is SCRIPT_NAME: each mount has its own answers."""
        page(app, manager, lambda: f"{request.script_root} {counter()}")
        application = manager.asgi()
        for _ in range(2):
            found = [by_asgi(application, Ask(root=root)).text for root in ("", "/a", "/größe")]
            assert found == [" 1", "/a 2", "/größe 3"]

    def test_lifespan(self, app, manager):
        """Lifespan starts the manager and drains it: the bridge's business, through the door."""
        manager.schedule_periodic_refresh("/x", 50)
        page(app, manager, lambda: "x")
        events = ["lifespan.startup", "lifespan.shutdown"]
        sent: list[str] = []

        async def receive() -> Any:
            if len(events) == 1:
                assert [job.path for job in manager.jobs()] == ["/x"]
                assert manager.jobs()[0].next_run is not None
            return {"type": events.pop(0)}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        run(manager.asgi()({"type": "lifespan"}, receive, send))
        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    def test_jobs_without_lifespan(self, app, manager):
        """Where a server knows no lifespan, the first load at the door starts the jobs."""
        page(app, manager, lambda: "x")
        manager.schedule_periodic_refresh("/x", 50)
        by_asgi(manager.asgi(), Ask())
        assert manager.jobs()[0].next_run is not None

    def test_websockets_are_refused(self, app, manager):
        """A WebSocket is closed before it is accepted."""
        page(app, manager, lambda: "x")
        call = Call({"type": "websocket", "path": "/x", "headers": []})
        run(manager.asgi()(call.scope, call.receive, call.send))
        assert [message["type"] for message in call.sent] == ["websocket.close"]

    def test_an_unknown_kind(self, manager):
        """A connection of a kind that nobody knows is an error."""
        call = Call({"type": "carrier-pigeon"})
        with pytest.raises(ValueError, match="carrier-pigeon"):
            run(manager.asgi()(call.scope, call.receive, call.send))


class TestWrappers:
    @staticmethod
    def warnings_of(caplog: Any) -> list[str]:
        found = [record for record in caplog.records if record.levelno >= logging.WARNING]
        return [record.getMessage() for record in found]

    def test_what_lies_around_the_app(self, app, manager, counter, caplog):
        """Around app.wsgi_app may be a guard: it runs for every request, with one warning."""
        page(app, manager, lambda: counter())
        inner = app.wsgi_app

        def guard(environ: Any, start_response: Any) -> Iterable[bytes]:
            if environ.get("HTTP_X_KEY") == "good":
                return inner(environ, start_response)  # type: ignore[no-any-return]
            start_response("403 FORBIDDEN", [])
            return [b"no"]

        app.wsgi_app = guard
        application = manager.asgi()
        good = Ask(headers=(("X-Key", "good"),))
        for _ in range(2):
            assert by_asgi(application, good).text == "1"
            assert by_asgi(application, Ask()).status == 403
        [text] = self.warnings_of(caplog)
        assert "guard" in text
        assert "manager.asgi()" in text

    def test_one_that_comes_while_it_serves(self, app, manager, counter):
        """The door is shut in the moment that something is put around the app."""
        page(app, manager, lambda: counter())
        application = manager.asgi()
        assert [by_asgi(application, Ask()).status for _ in range(2)] == [200, 200]
        app.wsgi_app = Response("no", 403)
        assert by_asgi(application, Ask()).status == 403

    @pytest.mark.parametrize("public", [True, False])
    def test_proxy_fix(self, app, manager, counter, caplog, public):
        """ProxyFix works as ever; who has public pages is told once what it costs, nobody else."""
        page(app, manager, lambda: f"{request.host} {counter()}", public=public)
        app.wsgi_app = ProxyFix(app.wsgi_app, x_host=1)
        application = manager.asgi()
        for _ in range(2):
            for number, host in enumerate(("a.test", "b.test"), 1):
                got = by_asgi(application, Ask(headers=(("X-Forwarded-Host", host),)))
                assert got.text == f"{host} {number}"
        found = self.warnings_of(caplog)
        assert len(found) == public
        assert all("werkzeug.middleware.proxy_fix.ProxyFix" in text for text in found)
        assert all("--proxy-headers" in text for text in found)

    def test_a_subclass_with_its_own_call(self, clock, counter, caplog):
        """An app class that overrides __call__() may guard there: it is no door's to skip."""

        class Guarded(Flask):
            def __call__(self, environ: Any, start_response: Any) -> Any:
                if environ.get("HTTP_X_KEY") == "good":
                    return super().__call__(environ, start_response)
                start_response("403 FORBIDDEN", [])
                return [b"no"]

        app = Guarded("guarded")
        manager = CacheManager(app, clock=clock)
        page(app, manager, lambda: counter())
        application = manager.asgi()
        good = Ask(headers=(("X-Key", "good"),))
        for _ in range(2):
            assert by_asgi(application, good).text == "1"
            assert by_asgi(application, Ask()).status == 403
        [text] = self.warnings_of(caplog)
        assert "Guarded.__call__" in text
        manager.close(timeout=0.5)

    def test_nothing_is_said_where_it_is_switched_off(self, clock, counter, caplog):
        """ASWR_ENABLED=False: no door, no cache, no warning."""
        app = Flask("off")
        app.config["ASWR_ENABLED"] = False
        manager = CacheManager(app, clock=clock)
        page(app, manager, lambda: counter())
        application = manager.asgi()
        assert [by_asgi(application, Ask()).text for _ in range(2)] == ["1", "2"]
        assert self.warnings_of(caplog) == []
