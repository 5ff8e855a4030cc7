"""``ASWR_RUN_ASYNC_VIEWS``: every async function that Flask calls runs on aswr's one loop."""

import asyncio
import contextvars
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import flask
import pytest
from asgiref.local import Local
from asgiref.sync import async_to_sync, sync_to_async
from flask import Flask, Response, g, request, session, stream_with_context
from flask.views import MethodView

from aswr import CacheManager, LoadError

ON_LOOP = "aswr-loop"
PATIENCE = 10.0  # seconds after which what does not come is a failure


def here() -> str:
    """The thread's name, which tells whose loop this is."""
    return threading.current_thread().name


@pytest.fixture
def app() -> Flask:
    app = Flask("shop")
    app.secret_key = "secret"
    app.config["ASWR_RUN_ASYNC_VIEWS"] = True
    return app


class Pool:
    """A client as they are: made on a loop, and lost on any other. One connection, in a queue."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.free: asyncio.Queue[int] = asyncio.Queue()
        self.lock = asyncio.Lock()
        self.beats = 0

    async def ask(self) -> str:
        if self.loop is None:
            self.loop = asyncio.get_running_loop()
            self.free.put_nowait(1)
            self.heart = asyncio.create_task(self.beat())
        assert self.loop is asyncio.get_running_loop()
        async with self.lock:
            connection = await self.free.get()
            waiting = asyncio.ensure_future(self.free.get())  # binds the queue to its loop
            await asyncio.sleep(0)
            self.free.put_nowait(connection)
            self.free.put_nowait(await waiting)
            return str(connection)

    async def beat(self) -> None:
        """What many clients have, and Flask ends with each request."""
        while True:
            self.beats += 1
            await asyncio.sleep(0)


class TestOneLoop:
    def test_a_client_made_in_one_request_works_in_the_next(self, app, manager, clock):
        """Connections, locks, queues and tasks live across requests, cached and uncached alike."""
        pool = Pool()

        @app.route("/plain")
        async def plain():
            return await pool.ask()

        @app.route("/cached")
        @manager.cacher(timeout=20)
        async def cached():
            return await pool.ask() + request.headers.get("X-A", "")

        @app.teardown_request
        async def give_back(error):
            await pool.ask()

        client = app.test_client()
        for _ in range(2):
            assert client.get("/plain").text == "1"
            assert client.get("/cached", headers={"X-A": "!"}).text == "1!"
            assert client.post("/plain").status_code == 405
            clock.tick(30)
        beats = pool.beats
        client.get("/plain")
        assert pool.beats > beats
        assert not pool.heart.done()

    def test_requests_share_it_at_the_same_time(self, app, manager, background):
        """Views of several requests await each other on the one loop, each on its caller's time."""
        opened: list[asyncio.Event] = []
        ready = threading.Event()

        @app.route("/wait")
        async def wait():
            opened.append(asyncio.Event())
            ready.set()
            await opened[0].wait()
            return "opened"

        @app.route("/open")
        async def open_():
            opened[0].set()
            return "open"

        waiting = background(lambda: app.test_client().get("/wait").text)
        assert ready.wait(PATIENCE)
        assert app.test_client().get("/open").text == "open"
        assert waiting.result() == "opened"

    def test_everything_async_that_flask_calls_runs_there(self, app, manager):
        """Views, hooks, error handlers, teardown, context processors and receivers, all of them."""
        ran: dict[str, str] = {}

        def note(name: str, value: Any = None) -> Callable[..., Any]:
            async def hook(*args: Any, **kwargs: Any) -> Any:
                await asyncio.sleep(0)
                ran[name] = here()
                return args[0] if value is args else value

            return hook

        async def pass_on(response: Response) -> Response:
            ran["after_request"] = here()
            return response

        async def after_this(response: Response) -> Response:
            ran["after_this_request"] = here()
            return response

        app.before_request(note("before_request"))
        app.after_request(pass_on)
        app.teardown_request(note("teardown_request"))
        app.teardown_appcontext(note("teardown_appcontext"))
        app.context_processor(note("context_processor", {}))
        app.register_error_handler(404, note("error_handler", "lost"))
        receiver = note("signal")
        flask.request_started.connect(receiver, app)

        @app.route("/view")
        async def view():
            ran["view"] = here()
            flask.after_this_request(after_this)
            return await sync_to_async(flask.render_template_string)("x")

        class Page(MethodView):
            async def get(self) -> str:
                ran["method"] = here()
                return "page"

        app.add_url_rule("/page", view_func=Page.as_view("page"))
        client = app.test_client()
        texts = [client.get(path).text for path in ("/view", "/page", "/no")]
        assert texts == ["x", "page", "lost"]
        assert ran == dict.fromkeys(ran, ON_LOOP)
        assert len(ran) == 10

    def test_without_the_option_all_is_as_flask_has_it(self, clock):
        """Not asked for, an uncached async view has a loop of its own that ends with it."""
        app = Flask("shop")
        manager = CacheManager(app, clock=clock)
        loops: list[asyncio.AbstractEventLoop] = []

        @app.route("/x")
        async def view():
            loops.append(asyncio.get_running_loop())
            return here()

        client = app.test_client()
        assert all(client.get("/x").text != ON_LOOP for _ in range(2))
        assert [loop.is_closed() for loop in loops] == [True, True]
        assert manager._runtime is None

    def test_it_leaves_alone_what_else_runs_on_the_thread(self, app, manager, background):
        """Afterwards `async_to_sync` on the caller's thread finds no loop, or the one it had."""

        async def where() -> str:
            return here()

        @app.route("/x")
        async def view():
            return await sync_to_async(lambda: async_to_sync(where)())()

        def request_and_more() -> str:
            assert app.test_client().get("/x").text == ON_LOOP, "while the view runs it does"
            return async_to_sync(where)()

        assert background(request_and_more).result() != ON_LOOP
        assert asyncio.run(sync_to_async(request_and_more)()) == here()

    def test_the_option_is_true_or_false(self, app):
        """Anything else is refused in `init_app`."""
        app.config["ASWR_RUN_ASYNC_VIEWS"] = "yes"
        with pytest.raises(TypeError, match="ASWR_RUN_ASYNC_VIEWS must be True or False"):
            CacheManager(app)


class TestContext:
    def test_request_g_and_session_are_the_callers(self, app, manager):
        """What hooks and views leave in ``g`` and the session is there for all that follows."""

        @app.before_request
        async def begin():
            g.steps = ["before"]
            session["visits"] = session.get("visits", 0) + 1

        @app.route("/x")
        async def view():
            g.steps.append(f"view {request.args['q']}")
            g.late = "set in the view"
            return str(session["visits"])

        @app.after_request
        def after(response: Response) -> Response:
            response.headers["X-Steps"] = "; ".join([*g.steps, g.late])
            return response

        client = app.test_client()
        response = client.get("/x?q=1")
        assert response.headers["X-Steps"] == "before; view 1; set in the view"
        assert (response.text, client.get("/x?q=2").text) == ("1", "2")

    @pytest.mark.parametrize("kind", ["uncached", "pass"])
    def test_context_variables_come_back(self, app, manager, kind):
        """What async code sets, whoever is called after it in the request sees; nobody else."""
        tenant = contextvars.ContextVar("tenant", default="nobody")
        trace = contextvars.ContextVar("trace", default="")
        seen: list[tuple[str, str]] = []

        @app.before_request
        async def begin():
            tenant.set(request.args["tenant"])

        async def view():
            seen.append((tenant.get(), trace.get()))
            trace.set(f"by {tenant.get()}")
            return "x"

        if kind == "pass":
            view = manager.cacher(timeout=20)(view)
        app.add_url_rule("/x", view_func=view, methods=["POST"])

        @app.teardown_request
        def end(error):
            seen.append((tenant.get(), trace.get()))

        client = app.test_client()
        for name in ("a", "b"):
            contextvars.Context().run(client.post, f"/x?tenant={name}")
        assert seen == [("a", ""), ("a", "by a"), ("b", ""), ("b", "by b")]

    def test_a_variable_set_on_the_way_to_an_error_comes_back(self, app, manager):
        """Also where the view raises, its error handler sees what it had set."""
        step = contextvars.ContextVar("step", default="none")

        @app.route("/x")
        async def view():
            step.set("second")
            raise LookupError

        @app.errorhandler(LookupError)
        def handle(error):
            return f"failed at the {step.get()} step"

        assert app.test_client().get("/x").text == "failed at the second step"

    def test_asgirefs_own_variables_stay_the_callers(self, app, manager):
        """A Local of the caller's thread is not hidden by one that the loop's thread has set."""
        local = Local()

        async def view():
            local.value = "the loop's"
            return await sync_to_async(here)()

        with app.app_context():
            local.value = "mine"
            app.ensure_sync(view)()
            assert local.value == "mine"

    @pytest.mark.parametrize("kind", ["uncached", "pass"])
    def test_sync_to_async_runs_on_the_callers_thread(self, app, manager, kind):
        """Sync code of an async view runs where the request's hooks ran, as under Flask."""
        threads: list[int] = []

        @app.before_request
        def begin():
            threads.append(threading.get_ident())

        def sync(value: str) -> str:
            threads.append(threading.get_ident())
            return value + request.method

        async def view():
            both = await asyncio.gather(sync_to_async(sync)("a"), sync_to_async(sync)("b"))
            return " ".join(both)

        if kind == "pass":
            view = manager.cacher(timeout=20)(view)
        app.add_url_rule("/x", view_func=view, methods=["POST"])
        assert app.test_client().post("/x").text == "aPOST bPOST"
        assert threads == [threading.get_ident()] * 3

    def test_sync_code_that_nobody_awaits_any_more_is_not_run(self, app, manager):
        """What was cancelled while the caller's thread was busy, that thread leaves out."""
        ran: list[str] = []
        cancelled = threading.Event()

        def first() -> None:
            ran.append("first")
            assert cancelled.wait(PATIENCE)

        @app.route("/x")
        async def view():
            calls = [sync_to_async(first)(), sync_to_async(ran.append)("second")]
            one, two = map(asyncio.ensure_future, calls)
            await asyncio.sleep(0)
            two.cancel()
            with pytest.raises(asyncio.CancelledError):
                await two
            cancelled.set()
            await one
            return str(ran)

        assert app.test_client().get("/x").text == "['first']"

    def test_from_the_loop_to_the_thread_and_back_again(self, app, manager):
        """Async code, sync code that it calls, async code that this calls, and on: no deadlock."""

        def down(depth: int) -> str:
            inner = app.ensure_sync(deeper)(depth - 1) if depth else ""
            return f"{here()} {inner}"

        async def deeper(depth: int) -> str:
            return f"{here()} {await sync_to_async(down)(depth)}"

        @app.route("/x")
        async def view():
            return await deeper(3)

        mine = here()
        assert app.test_client().get("/x").text.split() == [ON_LOOP, mine] * 4

    def test_the_exception_being_handled_is_the_callers(self, app, manager):
        """In an async error handler `sys.exc_info` and a bare raise are as in a sync one."""
        frames: list[list[str]] = []

        @app.errorhandler(LookupError)
        async def handle(error):
            await asyncio.sleep(0)
            assert sys.exc_info()[1] is error
            frames.append([f.name for f in traceback.extract_tb(sys.exc_info()[2])])
            await asyncio.sleep(0)
            raise

        @app.route("/x")
        def view():
            raise LookupError

        app.errorhandler(500)(lambda error: type(error.original_exception).__name__)
        assert app.test_client().get("/x").text == "LookupError"
        assert frames == [["full_dispatch_request", "dispatch_request", "view"]]

    def test_an_error_tells_where_it_was_raised(self, app, manager):
        """The traceback goes down to the view's own line."""
        app.testing = True

        @app.route("/x")
        async def view():
            raise LookupError("here")

        with pytest.raises(LookupError, match="here") as caught:
            app.test_client().get("/x")
        assert caught.traceback[-1].name == "view"


class TestWhatWouldEndTheLoop:
    @pytest.mark.parametrize(
        "error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr
    )
    @pytest.mark.parametrize("where", ["view", "sync_to_async", "pass"])
    def test_it_is_an_error_of_the_caller_alone(self, app, manager, error, where):
        """SystemExit, KeyboardInterrupt and a cancellation end one request and not the loop."""
        app.testing = True

        def sync():
            raise error

        async def view():
            if where == "sync_to_async":
                await sync_to_async(sync)()
            raise error

        if where == "pass":
            view = manager.cacher(timeout=20)(view)
        app.add_url_rule("/x", "x", view, methods=["POST"])

        @app.route("/good")
        async def good():
            return here()

        client = app.test_client()
        with pytest.raises(LoadError, match=type(error).__name__) as caught:
            client.post("/x")
        assert caught.value.__cause__ is not None
        assert client.get("/good").text == ON_LOOP

    def test_a_stop_iteration_of_sync_code_is_a_runtime_error(self, app, manager):
        """What no Future takes does not make the view wait for ever."""
        app.testing = True

        @app.route("/x")
        async def view():
            return await sync_to_async(lambda: next(iter(())))()

        with pytest.raises(RuntimeError, match="StopIteration"):
            app.test_client().get("/x")

    def test_who_waits_on_the_loop_itself_is_refused(self, app, manager):
        """A sync call of an async function on aswr's loop names what to write there."""

        async def other():
            return "other"

        @app.route("/x")
        async def view():
            with pytest.raises(RuntimeError, match=r"write await .*other\(\.\.\.\)"):
                app.ensure_sync(other)()
            return await other()

        assert app.test_client().get("/x").text == "other"


class TestBodies:
    def test_a_generator_streams_on_the_callers_thread(self, app, manager):
        """Chunks are made one by one, by the thread that sends them, with the request at hand."""
        made: list[str] = []

        @app.route("/plain")
        async def plain():
            return Response(chunk() for chunk in [lambda: made.append(here()) or "a"] * 2)

        @app.route("/context")
        async def context():
            @stream_with_context
            def chunks() -> Iterator[str]:
                made.append(here())
                yield request.args["q"]
                yield str(session.get("n"))

            return Response(chunks())

        client = app.test_client()
        response = client.get("/plain")
        assert made == [here()], "the test client asks for the first chunk, and no more"
        assert (response.text, made) == ("aa", [here()] * 2)
        assert client.get("/context?q=1").text == "1None"
        assert made[2:] == [here()]

    @pytest.mark.parametrize("form", ["response", "tuple"])
    def test_an_async_generator_is_refused_at_once(self, app, manager, form):
        """The error names the view and the cure, and comes where error handlers work."""
        app.testing = True

        async def chunks():
            yield b"x"

        @app.route("/x")
        async def view():
            response = Response(chunks())
            return response if form == "response" else (response, 201)

        with pytest.raises(TypeError, match=r"view returned .* async for chunk in chunks"):
            app.test_client().get("/x")

    def test_a_body_that_can_do_both_is_flasks_business(self, app, manager):
        """A body that is iterable in both ways is sent by the sync one."""

        class Both(list):
            def __aiter__(self):
                raise AssertionError

        @app.route("/x")
        async def view():
            return Response(Both([b"x"]))

        assert app.test_client().get("/x").text == "x"


class TestCachedViews:
    def guarded(self, app: Flask, manager: CacheManager, view: Any, **options: Any) -> list[str]:
        """The view at ``/x``, cached, under an async decorator as a login_required would be."""
        guards: list[str] = []

        def login_required(function: Any) -> Any:
            @wraps(function)
            async def guard(*args: Any, **kwargs: Any) -> Any:
                await asyncio.sleep(0)
                guards.append(here())
                return await function(*args, **kwargs)

            return guard

        cached = manager.cacher(timeout=20, refresh_margin=10, **options)(view)
        app.add_url_rule("/x", "x", login_required(cached), methods=["GET", "POST"])
        return guards

    @pytest.mark.parametrize("public", [False, True])
    def test_under_an_async_decorator(self, app, manager, clock, counter, public):
        """Miss, hit, stale and pass: the decorator awaits the cache on the loop that loads."""

        async def view():
            await asyncio.sleep(0)
            return f"{counter()} {here()}"

        guards = self.guarded(app, manager, view, public=public)
        client = app.test_client()
        texts = []
        for step in (0, 5, 6, 0, 0):
            clock.tick(step)
            texts.append(client.get("/x").text)
            assert manager.join(5)
        texts.append(client.post("/x").text)
        numbers = [text.split()[0] for text in texts]
        assert numbers == ["1", "1", "1", "2", "2", "3"]
        assert {text.split()[1] for text in texts} == {ON_LOOP}
        assert set(guards) == {ON_LOOP}

    def test_a_def_view_that_async_code_would_wait_for_is_refused(self, app, manager):
        """Called plainly on the loop it would hold it; the error names the call that works."""

        @manager.cacher(timeout=20)
        def view():
            return here()

        @app.route("/x")
        async def outer():
            with pytest.raises(RuntimeError, match=r"await asyncio\.to_thread\(view, \.\.\.\)"):
                view()
            return await asyncio.to_thread(view)

        assert app.test_client().get("/x").text.startswith("aswr-worker")

    def test_async_hooks_of_renders_cannot_starve_the_executor(self, clock):
        """A worker that waits for a hook makes room for the work that the hook itself wants."""
        app = Flask("shop")
        app.config.update(ASWR_RUN_ASYNC_VIEWS=True, ASWR_WORKERS=1)
        manager = CacheManager(app, clock=clock)

        @app.before_request
        async def begin():
            loop = asyncio.get_running_loop()
            g.thread = await loop.run_in_executor(None, here)

        @app.route("/x")
        @manager.cacher(timeout=20, run_before_request=True)
        def view():
            return g.thread

        response = app.test_client().get("/x")
        assert response.text.startswith("aswr-worker")
        assert response.headers["Cache-Status"] == "aswr; fwd=uri-miss; stored"
        manager.close()


class TestLife:
    def test_close_waits_for_it(self, app, manager, gate, background):
        """An async view under way is a request under way: the drain lets it end."""

        @app.route("/x")
        async def view():
            await gate.ahold()
            return "done"

        call = background(lambda: app.test_client().get("/x").text)
        gate.await_arrival()
        closing = background(lambda: manager.close(timeout=5))
        assert not closing.ends_within(0.3)
        gate.open()
        closing.result()
        assert call.result() == "done"

    def test_closed_it_is_as_flask_has_it_until_started_again(self, app, manager):
        """After `close` async views run as they did before the manager came."""

        @app.route("/x")
        async def view():
            return here()

        client = app.test_client()
        assert client.get("/x").text == ON_LOOP
        manager.close()
        assert client.get("/x").text != ON_LOOP
        assert manager._runtime is None
        manager.start()
        assert client.get("/x").text == ON_LOOP

    def test_switched_off_nothing_starts(self, app, clock):
        """With ``ASWR_ENABLED = False`` the option does nothing."""
        app.config["ASWR_ENABLED"] = False
        manager = CacheManager(app, clock=clock)

        @app.route("/x")
        async def view():
            return here()

        assert app.test_client().get("/x").text != ON_LOOP
        assert manager._runtime is None

    def test_the_apps_own_hook_is_what_it_falls_back_to(self, clock):
        """An app that brings its own ``async_to_sync`` keeps it for when the cache is closed."""

        class Own(Flask):
            def async_to_sync(self, func: Any) -> Any:
                return lambda *args, **kwargs: f"own {asyncio.run(func(*args, **kwargs))}"

        app = Own("shop")
        app.config["ASWR_RUN_ASYNC_VIEWS"] = True
        manager = CacheManager(app, clock=clock)

        @app.route("/<name>")
        async def view(name):
            return f"{name} {here()}"

        client = app.test_client()
        assert client.get("/x").text == f"x {ON_LOOP}"
        manager.close()
        assert client.get("/x").text == f"own x {here()}"

    @pytest.mark.parametrize("blocking", [False, True])
    def test_a_loop_that_dies_takes_nobody_with_it(self, app, manager, background, gate, blocking):
        """Who waits for a view when the loop ends gets an error, and the next one a new loop."""
        app.testing = True
        held = threading.Event()

        @app.route("/hold")
        async def hold():
            held.set()
            if blocking:
                gate.hold()
            await asyncio.Event().wait()

        @app.route("/x")
        async def view():
            return here()

        call = background(lambda: app.test_client().get("/hold"))
        assert held.wait(PATIENCE)
        ended = manager._runtime
        ended.end()
        with pytest.raises(RuntimeError, match="loop ended" if blocking else "closing"):
            call.result()
        assert app.test_client().get("/x").text == ON_LOOP
        assert manager._runtime is not ended

    def test_a_forked_child_has_a_loop_of_its_own(self, app, manager):
        """After a fork the next async view starts a loop; the parent's goes on."""

        @app.route("/x")
        async def view():
            return f"{here()} {os.getpid()}"

        client = app.test_client()
        assert client.get("/x").text == f"{ON_LOOP} {os.getpid()}"
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 on fork with threads
            pid = os.fork()
        if pid == 0:
            os.write(writing, client.get("/x").text.encode())
            os._exit(0)
        os.waitpid(pid, 0)
        assert os.read(reading, 100).decode() == f"{ON_LOOP} {pid}"
        os.close(reading)
        os.close(writing)
        assert client.get("/x").text == f"{ON_LOOP} {os.getpid()}"

    def test_under_asgi(self, app, manager):
        """Behind `manager.asgi()` views run on aswr's loop, and their sync code in their seat."""
        sent: list[dict[str, Any]] = []

        @app.before_request
        def begin():
            g.seat = threading.get_ident()

        @app.route("/x")
        async def view():
            same = await sync_to_async(threading.get_ident)() == g.seat
            return f"{here()} {same}"

        async def main() -> None:
            gone = asyncio.Event()
            feed = [{"type": "http.request", "body": b"", "more_body": False}]

            async def receive() -> dict[str, Any]:
                if not feed:
                    await gone.wait()
                return feed.pop() if feed else {"type": "http.disconnect"}

            async def send(message: Any) -> None:
                sent.append(message)

            scope = {
                "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1",
                "method": "GET", "scheme": "http", "path": "/x", "query_string": b"",
                "headers": [(b"host", b"example.test")],
            }  # fmt: skip
            await asyncio.wait_for(manager.asgi()(scope, receive, send), PATIENCE)
            gone.set()

        asyncio.run(main())
        assert sent[0]["status"] == 200
        assert b"".join(m.get("body", b"") for m in sent) == f"{ON_LOOP} True".encode()
