"""The hook of Flask's tutorial, which leaves the user, or None, in ``g``."""

from dataclasses import dataclass

import pytest
from flask import Blueprint, Flask, flash, g, redirect, render_template_string, request, session

PAGE = """
{%- if g.user %}as {{ g.user.name }}{% else %}Log In{% endif %}
{%- for message in get_flashed_messages() %} {{ message }}{% endfor %} {{ number }}"""


@dataclass
class User:
    name: str


@pytest.fixture
def auth(app: Flask) -> Blueprint:
    auth = Blueprint("auth", __name__)

    @auth.before_app_request
    def load_logged_in_user():
        name = session.get("user_id")
        g.user = None if name is None else User(name)

    @auth.route("/login/<name>")
    def log_in(name):
        session.clear()
        session["user_id"] = name
        return "welcome"

    @auth.route("/complain")
    def complain():
        flash("Incorrect password.")
        return redirect("/")

    app.register_blueprint(auth)
    return auth


@pytest.fixture
def page(app, auth, cached, counter):
    @app.route("/")
    @cached()
    def page():
        return render_template_string(PAGE, number=counter())


def logged_in(app, name):
    client = app.test_client()
    client.get(f"/login/{name}")
    return client


def test_anonymous_visitors_share(app, page, told):
    """None in ``g`` is a value like any other."""
    first, second = app.test_client().get("/"), app.test_client().get("/")
    assert first.text == second.text == "Log In 1"
    assert told.hit(second)


def test_who_is_logged_in_passes(app, page, told):
    """An object in ``g`` is one request's own."""
    anonymous = app.test_client().get("/").text
    ann, bob = logged_in(app, "ann"), logged_in(app, "bob")
    answers = [client.get("/") for client in (ann, bob, ann)]
    assert [answer.text[:6] for answer in answers] == ["as ann", "as bob", "as ann"]
    assert len({answer.text for answer in answers}) == 3
    assert "g.user" in told(answers[0])
    assert app.test_client().get("/").text == anonymous


def test_who_is_logged_in_may_come_first(app, page):
    """What is rendered for a logged-in visitor is not given to anybody, not even to him."""
    ann = logged_in(app, "ann")
    assert ann.get("/").text.startswith("as ann")
    assert app.test_client().get("/").text.startswith("Log In")
    assert ann.get("/").text.startswith("as ann")


def test_a_message_reaches_who_it_is_for_once(app, page):
    """A flashed message is in the session, whose owner passes; it is shown once."""
    app.test_client().get("/")
    client = app.test_client()
    client.get("/complain")
    assert "Incorrect password." in client.get("/").text
    assert "Incorrect password." not in client.get("/").text
    assert app.test_client().get("/").text == "Log In 1"


def test_a_view_that_needs_the_user(app, auth, cached, told):
    """A view that fails without the object passes for who has it, and is no error for him."""

    @app.route("/me")
    @cached()
    def me():
        return f"I am {g.user.name}"

    ann = logged_in(app, "ann")
    answers = [ann.get("/me") for _ in range(2)]
    assert [answer.text for answer in answers] == ["I am ann"] * 2
    assert all(told.passed(answer) for answer in answers)
    assert app.test_client().get("/me").status_code == 500
    assert ann.get("/me").text == "I am ann"


def test_a_public_page_runs_the_hook_in_its_render(app, auth, cached, counter, told):
    """The hook reads the session in the render, so that the page is anonymous visitors' only."""

    @app.route("/")
    @cached(public=True)
    def page():
        return render_template_string(PAGE, number=counter())

    first, second = app.test_client().get("/"), app.test_client().get("/")
    assert first.text == second.text == "Log In 1"
    assert told.hit(second)
    assert logged_in(app, "ann").get("/").text.startswith("as ann")
    assert app.test_client().get("/").text == "Log In 1"


def test_a_page_whose_render_runs_the_hook(app, auth, cached, counter, told):
    """With ``run_before_request`` too, anonymous visitors share and others pass."""

    @app.route("/")
    @cached(run_before_request=True)
    def page():
        return render_template_string(PAGE, number=counter())

    first, second = app.test_client().get("/"), app.test_client().get("/")
    assert first.text == second.text == "Log In 1"
    assert told.hit(second)
    assert logged_in(app, "ann").get("/").text.startswith("as ann")


def test_a_session_that_a_hook_begins(app, cached, counter):
    """Who has a session since a moment ago has no cookie yet, and passes all the same."""

    @app.before_request
    def greet():
        session.setdefault("visitor", request.headers.get("X-Visitor"))

    @app.route("/")
    @cached()
    def page():
        return f"{session.get('visitor')} {counter()}"

    def get(visitor):
        return app.test_client().get("/", headers={"X-Visitor": visitor}).text.split()[0]

    assert [get(visitor) for visitor in ("ann", "bob", "ann")] == ["ann", "bob", "ann"]


def test_a_session_that_a_hook_changes_under_a_scope(app, cached):
    """A scoped render opens the session as it came, so that who has a changed one passes."""

    @app.before_request
    def greet():
        session["visitor"] = request.headers.get("X-Visitor")

    @app.route("/")
    @cached(scope=lambda: "members")
    def page():
        return str(session.get("visitor"))

    def get(visitor):
        return app.test_client().get("/", headers={"X-Visitor": visitor}).text

    assert [get(visitor) for visitor in ("ann", "bob", "ann")] == ["ann", "bob", "ann"]
