"""Renders: where they pretend to be, and how a body is frozen."""

import gc
import threading
import weakref
from contextvars import ContextVar

import pytest
from flask import Flask, Response, request

from aswr import CacheManager
from aswr.keys import ViewKey
from aswr.render import BaseUrl, environ_of, fitting, refuse_awaitable


def base(**config) -> BaseUrl:
    app = Flask("shop")
    url = config.pop("ASWR_BASE_URL", None)
    app.config.update(config)
    return BaseUrl.of(app, url)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, ("http", "localhost", "")),
        ({"SERVER_NAME": "shop.example"}, ("http", "shop.example", "")),
        ({"SERVER_NAME": "a", "PREFERRED_URL_SCHEME": "https"}, ("https", "a", "")),
        ({"APPLICATION_ROOT": "/shop"}, ("http", "localhost", "/shop")),
        ({"TRUSTED_HOSTS": [".shop.example"]}, ("http", "shop.example", "")),
        ({"ASWR_BASE_URL": "https://a:8/b/"}, ("https", "a:8", "/b")),
    ],
)
def test_where_a_render_pretends_to_be(config, expected):
    """ASWR_BASE_URL, else SERVER_NAME, else localhost."""
    made = base(**config)
    assert (made.scheme, made.host, made.script_name) == expected


def test_the_environ_says_what_the_key_says():
    """Path and query are the key's, in PEP 3333's latin-1 form; nothing of anybody's is there."""
    key = ViewKey("v", "/root", "/ä b", "a=1", "", ())
    environ = environ_of(key, BaseUrl("https", "shop:8443"))
    assert environ["PATH_INFO"] == "/ä b".encode().decode("latin-1")
    assert (environ["SCRIPT_NAME"], environ["QUERY_STRING"]) == ("/root", "a=1")
    assert environ["REQUEST_URI"] == "/root/%C3%A4%20b?a=1"
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("shop", "8443")
    assert {name for name in environ if name.startswith(("HTTP_", "REMOTE"))} == {"HTTP_HOST"}


def test_fitting_arguments():
    """A compute function gets the arguments that its signature accepts."""
    arguments = {"a": 1, "b": 2}
    assert fitting(lambda: 0, arguments) == {}
    assert fitting(lambda b: 0, arguments) == {"b": 2}
    assert fitting(lambda **rest: 0, arguments) == arguments
    assert fitting(lambda a, /, b: 0, arguments) == {"b": 2}


def test_an_awaitable_from_a_plain_function_is_refused():
    """What nobody would await is an error that names the function and the cure."""

    async def coroutine():
        return 1

    with pytest.raises(TypeError, match=r"shop:view.*async def"):
        refuse_awaitable("shop:view", coroutine())
    refuse_awaitable("shop:view", "text")


def test_a_stream_that_takes_too_long_is_given_up(app, manager, monkeypatch, background):
    """A stream past five seconds releases who waits; he runs the view himself."""
    monkeypatch.setattr("aswr.bodies.STREAM_LIMIT", 0.05)
    hold = threading.Event()
    calls = []

    @app.route("/x")
    @manager.cacher(timeout=20)
    async def view():
        calls.append(1)
        if len(calls) > 1:
            return "own"

        def parts():
            yield "a"
            hold.wait(10)
            yield "b"

        return Response(parts())

    response = app.test_client().get("/x")
    assert response.text == "own"
    assert 'detail="streams for too long"' in response.headers["Cache-Status"]
    hold.set()
    assert manager.join(5)


class Held:
    """Something that a view puts into its context."""


def test_a_load_leaves_nothing_to_the_collector(app, manager: CacheManager):
    """When it is over, its request and its context are freed, without a collection."""
    left: list[weakref.ref] = []
    variable: ContextVar[Held] = ContextVar("variable")

    @app.route("/x")
    @manager.cacher(timeout=20)
    async def view():
        held = Held()
        variable.set(held)
        left.extend([weakref.ref(held), weakref.ref(request._get_current_object())])
        return request.headers.get("X-Read", "x")

    gc.disable()
    try:
        assert app.test_client().get("/x").text == "x"
        for _ in range(2):  # the second one's turn comes after the end of all that the first saw
            assert manager.join(5)
        assert [found() for found in left] == [None, None]
    finally:
        gc.enable()


def test_call_on_close_runs_once_per_render(app, manager: CacheManager):
    """What a view registers for the end of its response runs once, when it is frozen."""
    closed = []

    @app.route("/x")
    @manager.cacher(timeout=20)
    async def view():
        response = Response("x")
        response.call_on_close(lambda: closed.append(1))
        return response

    client = app.test_client()
    assert [client.get("/x").text for _ in range(3)] == ["x"] * 3
    assert closed == [1]
