"""Which phases of a load may run on the loop: those with nothing of the user's in them."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Request, Response, abort, after_this_request
from flask.ctx import _AppCtxGlobals
from flask.json.provider import DefaultJSONProvider
from flask.sessions import SecureCookieSessionInterface
from flask.signals import (
    appcontext_popped,
    appcontext_pushed,
    appcontext_tearing_down,
    request_tearing_down,
)
from flask.views import View
from werkzeug.routing import IntegerConverter, Map

from aswr import CacheManager, quiet


class Threads:
    """The names of the threads on which the user's synchronous code ran."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        self.names.append(threading.current_thread().name)


def on_signal(signal: Any) -> Callable[[Flask, Threads], None]:
    def connect(app: Flask, seen: Threads) -> None:
        signal.connect(seen, app)

    return connect


def request_class(app: Flask, seen: Threads) -> None:
    class Own(Request):
        def __init__(self, *args: Any) -> None:
            seen()
            super().__init__(*args)

    app.request_class = Own


def response_class(app: Flask, seen: Threads) -> None:
    class Own(Response):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            seen()
            super().__init__(*args, **kwargs)

    app.response_class = Own


def g_class(app: Flask, seen: Threads) -> None:
    class Own(_AppCtxGlobals):
        def __init__(self) -> None:
            seen()

    app.app_ctx_globals_class = Own


def session_interface(app: Flask, seen: Threads) -> None:
    class Own(SecureCookieSessionInterface):
        def get_cookie_name(self, app: Flask) -> str:
            seen()
            return "own"

    app.session_interface = Own()


def converter(app: Flask, seen: Threads) -> None:
    class Own(IntegerConverter):
        def to_python(self, value: str) -> int:
            seen()
            return int(value)

    app.url_map.converters["int"] = Own


def url_map(app: Flask, seen: Threads) -> None:
    class Own(Map):
        def bind_to_environ(self, *args: Any, **kwargs: Any) -> Any:
            seen()
            return super().bind_to_environ(*args, **kwargs)

    app.url_map = Own()


def patched(name: str) -> Callable[[Flask, Threads], None]:
    def patch(app: Flask, seen: Threads) -> None:
        method = getattr(app, name)

        def own(*args: Any, **kwargs: Any) -> Any:
            seen()
            return method(*args, **kwargs)

        setattr(app, name, own)

    return patch


def preprocessor(app: Flask, seen: Threads) -> None:
    app.url_value_preprocessor(seen)


def teardown_request(app: Flask, seen: Threads) -> None:
    app.teardown_request(seen)


def teardown_appcontext(app: Flask, seen: Threads) -> None:
    app.teardown_appcontext(seen)


OF_OPEN = [
    pytest.param(request_class, id="request_class"),
    pytest.param(g_class, id="g"),
    pytest.param(session_interface, id="session_interface"),
    pytest.param(converter, id="converter"),
    pytest.param(url_map, id="url_map"),
    pytest.param(preprocessor, id="url_value_preprocessor"),
    pytest.param(on_signal(appcontext_pushed), id="appcontext_pushed"),
    *(pytest.param(patched(name), id=name) for name in ("app_context", "create_url_adapter")),
]
OF_CLOSE = [
    pytest.param(response_class, id="response_class"),
    pytest.param(teardown_request, id="teardown_request"),
    pytest.param(teardown_appcontext, id="teardown_appcontext"),
    *(
        pytest.param(on_signal(signal), id=signal.name)
        for signal in (request_tearing_down, appcontext_tearing_down, appcontext_popped)
    ),
    *(
        pytest.param(patched(name), id=name)
        for name in ("make_response", "do_teardown_request", "do_teardown_appcontext")
    ),
]


def threads_of(manager: CacheManager) -> str:
    assert manager._runtime is not None
    return repr(manager._runtime.executor)


def test_what_is_quiet_needs_no_thread(app: Flask, manager: CacheManager) -> None:
    """An async view or function, and an app with nothing of its own, load on the loop alone."""

    @app.get("/<int:number>")
    @manager.cacher(20)
    async def view(number: int) -> str:
        return str(await double(number))

    @manager.memoize(20)
    async def double(number: int) -> int:
        return 2 * number

    assert app.test_client().get("/21").text == "42"
    assert "threads=0" in threads_of(manager)


@pytest.mark.parametrize("hook", [*OF_OPEN, *OF_CLOSE])
def test_hooks_never_run_on_the_loop(hook: Any, app: Flask, manager: CacheManager) -> None:
    """Synchronous code of the user's runs on the executor, in a render and in a compute."""
    seen = Threads()
    hook(app, seen)

    @app.get("/<int:number>")
    @manager.cacher(20)
    async def view(number: int) -> str:
        return str(await double(number))

    @manager.memoize(20)
    async def double(number: int) -> int:
        return 2 * number

    assert app.test_client().get("/21").text == "42"
    assert manager.join(5)
    assert "aswr-loop" not in seen.names
    assert [name for name in seen.names if name.startswith("aswr-worker")]


@pytest.mark.parametrize(
    "value",
    [
        Response("x"), {"a": 1}, ("x", 200), "x" * (quiet.MOST + 1),
        type("Text", (str,), {"__str__": lambda self: "own"})("x"),
    ],
    ids=["response", "dict", "tuple", "long", "subclass"],
)  # fmt: skip
def test_an_answer_that_takes_longer_is_made_on_the_executor(
    value: Any, app: Flask, manager: CacheManager
) -> None:
    """Only short text is made a response, hashed and judged on the loop."""

    @app.get("/")
    @manager.cacher(20)
    async def view() -> Any:
        return value

    assert app.test_client().get("/").status_code == 200
    assert "threads=0" not in threads_of(manager)


@pytest.mark.parametrize("name", ["tags", "store_if", "after", "compute", "json", "class"])
def test_the_views_own_functions_never_run_on_the_loop(
    name: str, app: Flask, manager: CacheManager
) -> None:
    """Tags, store_if, after_this_request, error handlers, JSON and view classes are the user's."""
    seen = Threads()
    options: dict[str, Any] = {
        "tags": {"tags": lambda response: seen() or ()},
        "store_if": {"store_if": lambda response: seen() or True},
    }.get(name, {})

    class Own(DefaultJSONProvider):
        def dumps(self, obj: Any, **kwargs: Any) -> str:
            seen()
            return super().dumps(obj, **kwargs)

    async def view() -> Any:
        if name == "after":

            @after_this_request
            def own(response: Response) -> Response:
                seen()
                return response

        if name == "compute":
            raise LookupError
        return {} if name == "json" else "x"

    app.json = Own(app)

    @app.errorhandler(LookupError)
    def handle(error: Exception) -> str:
        seen()
        return "handled"

    if name == "class":

        class Page(View):
            def __init__(self) -> None:
                seen()

            @manager.cacher(20)
            async def dispatch_request(self) -> str:
                return "x"

        app.add_url_rule("/", view_func=Page.as_view("page"))
    else:
        app.get("/")(manager.cacher(20, **options)(view))
    app.test_client().get("/")
    assert manager.join(5)
    assert "aswr-loop" not in seen.names
    if name != "compute":  # its error is raised in the caller's own request
        assert [thread for thread in seen.names if thread.startswith("aswr-worker")]


@pytest.mark.parametrize("name", ["tags", "store_if", "sizeof"])
def test_functions_that_look_at_results_never_run_on_the_loop(
    name: str, manager: CacheManager, app: Flask
) -> None:
    """The decorator's own functions, and measuring what may be large, take a thread."""
    seen = Threads()
    options: dict[str, Any] = {
        "tags": {"tags": lambda value: seen() or ()},
        "store_if": {"store_if": lambda value: seen() or True},
        "sizeof": {"sizeof": lambda value: seen() or 8},
    }[name]

    @manager.memoize(20, **options)
    async def compute() -> int:
        return 1

    with app.app_context():
        assert compute.sync() == 1
    assert [name.rpartition("-")[0] for name in seen.names] == ["aswr-worker"]


@pytest.mark.parametrize(
    ("value", "threads"), [(1, 0), (None, 0), ("x", 0), ([1], 1), ("x" * (quiet.MOST + 1), 1)],
    ids=["int", "None", "str", "list", "long"],
)  # fmt: skip
def test_a_result_that_may_be_large_is_measured_on_the_executor(
    value: Any, threads: int, manager: CacheManager, app: Flask
) -> None:
    """Only a scalar or short text is judged on the loop."""

    @manager.memoize(20)
    async def compute() -> Any:
        return value

    with app.app_context():
        assert compute.sync() == value
    assert f"threads={threads}" in threads_of(manager)


def test_hooks_that_a_view_asks_for_never_run_on_the_loop(
    app: Flask, manager: CacheManager
) -> None:
    """Nor does the handler of an error that comes after a hook has answered."""
    seen = Threads()
    app.before_request(lambda: seen() or "answered")

    @app.errorhandler(404)
    def handle(error: Exception) -> str:
        seen()
        return "handled"

    @app.get("/")
    @manager.cacher(20, run_before_request=True)
    async def view() -> str:
        return "x"

    class Page(View):
        def __init__(self) -> None:
            abort(404)

        @manager.cacher(20, run_before_request=True)
        async def dispatch_request(self) -> str:
            return "x"

    app.add_url_rule("/page", view_func=Page.as_view("page"))
    for path in ("/", "/page"):
        manager.refresh(path)
    assert "aswr-loop" not in seen.names
    assert len([name for name in seen.names if name.startswith("aswr-worker")]) == 3
