"""The recorder: every way to read an input is noted, and nothing else is."""

import copy

import pytest
from flask import Flask
from flask.globals import _cv_app

from aswr.recorder import (
    ALL,
    BLANK,
    KEYED,
    RecordedEnviron,
    Recorder,
    input_of,
    record_g,
    recorded_context,
    recorder_of,
    set_in,
)
from aswr.keys import ViewKey
from aswr.render import BaseUrl, environ_of


def recorder() -> Recorder:
    made = Recorder(lambda what: None)
    made.arm()
    return made


def environ(**values) -> RecordedEnviron:
    made = RecordedEnviron(values or {"HTTP_COOKIE": "a=b", "PATH_INFO": "/"})
    made.recorder = recorder()
    return made


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("HTTP_ACCEPT_LANGUAGE", "header Accept-Language"),
        ("HTTP_COOKIE", "cookies"),
        ("HTTP_HOST", "host"),
        ("SERVER_PORT", "host"),
        ("wsgi.url_scheme", "scheme"),
        ("REMOTE_ADDR", "remote address"),
        ("CONTENT_TYPE", "body"),
        ("wsgi.input", "body"),
        ("SSL_CLIENT_S_DN", "environ SSL_CLIENT_S_DN"),
        ("my.tenant", "environ my.tenant"),
        ("werkzeug.request", ""),
        ("wsgi.errors", ""),
        *((name, "") for name in sorted(KEYED | BLANK)),
    ],
)
def test_what_an_environ_key_means(name, what):
    """Keyed, blank and machinery keys are no inputs; every other key is one, with a name."""
    assert input_of(name) == what


READERS = {
    "[]": lambda e: e["HTTP_COOKIE"],
    "in": lambda e: "HTTP_COOKIE" in e,
    "get": lambda e: e.get("HTTP_COOKIE"),
    "pop": lambda e: e.pop("HTTP_COOKIE"),
    "setdefault": lambda e: e.setdefault("HTTP_COOKIE", ""),
}
WHOLE = {
    "iter": list,
    "len": len,
    "keys": lambda e: e.keys(),
    "values": lambda e: e.values(),
    "items": lambda e: e.items(),
    "copy": lambda e: e.copy(),
    "copy.copy": copy.copy,
    "dict": dict,
    "**": lambda e: {**e},
    "update": lambda e: {}.update(e),
    "|": lambda e: e | {},
    "r|": lambda e: {} | e,
    "|=": lambda e: {}.__ior__(e),
    "==": lambda e: e == {},
    "!=": lambda e: e != {},
    "bool": bool,
    "repr": repr,
    "popitem": lambda e: e.popitem(),
    "reversed": lambda e: list(reversed(e)),
    "match": lambda e: [1 for _ in e],
}


@pytest.mark.parametrize("how", READERS)
def test_reading_one_key_is_noted(how):
    """Each reader of one key notes that key's input."""
    e = environ()
    READERS[how](e)
    assert list(e.recorder.reads) == ["cookies"]


@pytest.mark.parametrize("how", WHOLE)
def test_reading_the_whole_environ_reads_everything(how):
    """Whatever walks, copies or compares the environ reads all of it."""
    e = environ()
    WHOLE[how](e)
    assert list(e.recorder.reads) == [ALL]


def test_every_reader_of_a_dict_is_overridden():
    """A method that dict gains one day must not open an unseen way to read."""
    writers = {"__setitem__", "__delitem__", "clear", "update", "__ior__", "fromkeys"}
    plumbing = {
        name
        for name in dir(dict)
        if name in dir(object) and name not in ("__eq__", "__ne__", "__repr__")
    }
    derived = {"__class_getitem__", "__reduce__", "__reduce_ex__", "__sizeof__"}
    readers = set(dir(dict)) - writers - plumbing - derived
    missing = {name for name in readers if name not in RecordedEnviron.__dict__}
    assert missing == set()


def test_disarmed_nothing_is_noted():
    """Before Flask's own push is over, and in teardown, reads do not count."""
    e = environ()
    e.recorder.disarm()
    e.get("HTTP_COOKIE")
    assert e.recorder.reads == {}


def test_the_place_of_a_read_is_the_users_own_line():
    """The log names the line that read, not Werkzeug's."""
    e = environ()
    e.get("HTTP_COOKIE")
    assert "test_recorder.py:" in e.recorder.reads["cookies"]


@pytest.fixture
def pushed():
    """A recorded request context of /x?a=1 that is pushed and armed."""
    app = Flask("shop")
    app.add_url_rule("/x", "x", lambda: "x")
    made = Recorder(lambda what: None)
    key = ViewKey("v", "", "/x", "a=1", "", ())
    context = recorded_context(app, environ_of(key, BaseUrl("http", "localhost")), made)
    context.push()
    record_g(_cv_app.get(), made)
    made.arm()
    yield context, made
    made.disarm()
    context.pop()


def test_what_the_key_says_is_free_to_read(pushed):
    """Method, path, query, arguments and endpoint are in the key: reading them is no input."""
    context, made = pushed
    request = context.request
    seen = (request.method, request.path, request.args["a"], request.full_path, request.endpoint)
    assert seen == ("GET", "/x", "1", "/x?a=1", "x")
    assert (request.view_args, request.root_path, request.blueprint) == ({}, "", None)
    assert context.url_adapter.build("x") == "/x"
    assert made.reads == {}


@pytest.mark.parametrize(
    ("attribute", "what"),
    [
        ("remote_addr", "remote address"),
        ("access_route", "header X-Forwarded-For"),
        ("host", "host"),
        ("server", "host"),
        ("scheme", "scheme"),
        ("is_secure", "scheme"),
        ("url", "scheme"),
        ("base_url", "scheme"),
        ("host_url", "scheme"),
        ("cookies", "cookies"),
        ("authorization", "header Authorization"),
        ("referrer", "header Referer"),
        ("accept_languages", "header Accept-Language"),
        ("data", "body"),
        ("form", "body"),
        ("is_json", "body"),
        ("content_length", "body"),
        ("stream", "body"),
    ],
)
def test_what_werkzeug_copies_from_the_environ_is_noted(pushed, attribute, what):
    """Request attributes, copied at construction or derived, count when they are read."""
    context, made = pushed
    getattr(context.request, attribute)
    assert what in made.reads


def test_conditions_and_tracing_are_blank(pushed):
    """Conditional, range and tracing headers are absent and no inputs."""
    context, made = pushed
    request = context.request
    assert request.headers.get("X-Request-Id") is None
    assert not request.if_none_match
    assert request.range is None
    assert made.reads == {}


def test_g_notes_names_that_nobody_set(pushed):
    """Looking for a name in g notes it unless the render set it itself."""
    _, made = pushed
    g = _cv_app.get().g
    g.own = 1
    assert (g.own, g.get("a"), "b" in g, g.pop("c", None), g.setdefault("d", 4)) == (
        1,
        None,
        False,
        None,
        4,
    )
    with pytest.raises(AttributeError):
        _ = g.e
    assert set(made.absent_g) == {"a", "b", "c", "d", "e"}
    assert "test_recorder.py:" in made.absent_g["a"]
    assert recorder_of(g) is made
    assert set(g) == {"own", "d"}
    assert set_in(g, ["d"])
    assert not set_in(g, ["a"])


def test_the_session_is_its_cookie(pushed):
    """Resolving the session is reading its cookie; asking whether it was accessed is not."""
    context, made = pushed
    assert context._session.accessed is False
    assert made.reads == {}
    context.session["a"] = 1
    assert list(made.reads) == ["cookie session"]
    assert context._session.accessed is True
