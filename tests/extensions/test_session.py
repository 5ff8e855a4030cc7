"""Flask-Session: a session on the server is to the cache what the session cookie is."""

import pytest
from cachelib import SimpleCache
from flask import Flask, session
from flask_session import Session


@pytest.fixture
def kept() -> SimpleCache:
    return SimpleCache()


@pytest.fixture
def sessions(app: Flask, kept: SimpleCache) -> Session:
    app.config.update(SESSION_TYPE="cachelib", SESSION_CACHELIB=kept)

    @app.route("/login/<name>")
    def log_in(name):
        session["name"] = name
        return "welcome"

    @app.route("/logout")
    def log_out():
        session.clear()
        return "bye"

    return Session(app)


@pytest.fixture(params=[False, True], ids=["in-app", "public"])
def page(request, app, sessions, cached, counter):
    @app.route("/")
    @cached(public=request.param)
    def page():
        return f"{session.get('name', 'nobody')} {counter()}"


def logged_in(app, name):
    client = app.test_client()
    client.get(f"/login/{name}")
    return client


def test_visitors_without_a_session_share(app, page, told):
    """Who brings no session cookie reads an empty session, and that is one answer."""
    first, second = app.test_client().get("/"), app.test_client().get("/")
    assert first.text == second.text == "nobody 1"
    assert told.hit(second)


def test_visitors_with_a_session_pass(app, page, told):
    """Each reads his own session, every time."""
    app.test_client().get("/")
    ann, bob = logged_in(app, "ann"), logged_in(app, "bob")
    names = [client.get("/").text.split()[0] for client in (ann, bob, ann, bob)]
    assert names == ["ann", "bob"] * 2
    assert app.test_client().get("/").text == "nobody 1"


def test_a_visitor_with_a_session_may_come_first(app, page):
    """No render opens a session of anybody's."""
    ann = logged_in(app, "ann")
    assert ann.get("/").text.startswith("ann")
    assert app.test_client().get("/").text.startswith("nobody")
    assert ann.get("/").text.startswith("ann")


def test_renders_make_no_sessions(app, page, kept):
    """Nothing is kept on the server for a load, and no cookie leaves with what it made."""
    for _ in range(3):
        assert "Set-Cookie" not in app.test_client().get("/").headers
    assert not kept._cache


@pytest.mark.parametrize("public", [False, True], ids=["in-app", "public"])
def test_a_view_that_writes_passes_for_everyone(app, sessions, cached, counter, public):
    """What it writes is in the session of who asked, and in no other."""

    @app.route("/count")
    @cached(public=public)
    def count():
        session["visits"] = session.get("visits", 0) + 1
        return f"{session['visits']} {counter()}"

    ann, bob = app.test_client(), app.test_client()
    texts = [client.get("/count").text.split() for client in (ann, bob, ann, ann, bob)]
    assert [visits for visits, _ in texts] == ["1", "1", "2", "3", "2"]
    assert len({number for _, number in texts}) == 5
    assert ann.get_cookie("session").value != bob.get_cookie("session").value


@pytest.mark.parametrize("public", [False, True], ids=["in-app", "public"])
def test_a_view_that_tells_the_id_passes_for_everyone(app, sessions, cached, public):
    """Everybody has an id of his own, with a cookie or without, so that nobody shares."""

    @app.route("/id")
    @cached(public=public)
    def told_id():
        return session.sid

    answers = [app.test_client().get("/id") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.text for answer in answers}) == 3
    ann = logged_in(app, "ann")
    assert ann.get("/id").text == ann.get_cookie("session").value


@pytest.mark.parametrize("public", [False, True], ids=["in-app", "public"])
def test_a_page_that_reads_no_session_is_shared_by_all(
    app, sessions, cached, counter, told, public
):
    """Having a session costs nobody the answers that do not depend on it."""

    @app.route("/plain")
    @cached(public=public)
    def plain():
        return str(counter())

    ann = logged_in(app, "ann")
    first, second = app.test_client().get("/plain"), ann.get("/plain")
    assert first.text == second.text == "1"
    assert told.hit(second) or "Set-Cookie" in second.headers


def test_a_scope_opens_the_real_session(app, sessions, cached, counter):
    """A page made for one person reads his session, and is cached for him alone."""

    @app.route("/")
    @cached(scope=lambda: session.get("name"))
    def page():
        return f"{session.get('name', 'nobody')} {session.sid if session else ''} {counter()}"

    ann, bob = logged_in(app, "ann"), logged_in(app, "bob")
    mine = [client.get("/").text for client in (ann, bob, ann, bob)]
    assert mine[:2] == mine[2:]
    assert [text.split()[0] for text in mine[:2]] == ["ann", "bob"]
    assert app.test_client().get("/").text.startswith("nobody")


def test_who_logs_out_shares_again(app, page, told):
    """A cleared session is as none."""
    nobody = app.test_client().get("/").text
    ann = logged_in(app, "ann")
    assert ann.get("/").text.startswith("ann")
    ann.get("/logout")
    assert ann.get("/").text.startswith("nobody")
    assert app.test_client().get("/").text == nobody
