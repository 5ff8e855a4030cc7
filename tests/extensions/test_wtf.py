"""Flask-WTF: a page with a CSRF token is made for each visitor, and no token is ever shared."""

import re

import pytest
from flask import Flask, g, render_template_string
from flask_wtf import CSRFProtect, FlaskForm
from wtforms import StringField

FORM = "<form method=post>{{ form.hidden_tag() }}</form> {{ number }}"
BARE = '<form method=post><input name=csrf_token value="{{ csrf_token() }}"></form> {{ number }}'
META = '<meta name=csrf-token content="{{ csrf_token() }}"> {{ number }}'


class Comment(FlaskForm):
    text = StringField()


@pytest.fixture
def protected(app: Flask) -> CSRFProtect:
    @app.post("/comments")
    def comment():
        return "thanks"

    return CSRFProtect(app)


@pytest.fixture(params=["form", "bare", "meta"])
def page(request, app, protected, cached, counter):
    """A page with a token, in each of the ways there are."""
    template = {"form": FORM, "bare": BARE, "meta": META}[request.param]

    @app.route("/")
    @cached()
    def page():
        form = Comment() if request.param == "form" else None
        return render_template_string(template, form=form, number=counter())


def token_of(response) -> str:
    found = re.search(r'(?:value|content)="([^"]+)"', response.text)
    assert found, response.text
    return found.group(1)


def test_no_token_is_shared(app, page):
    """Every visitor, and every request of his, gets an answer of its own."""
    clients = [app.test_client() for _ in range(3)]
    answers = [client.get("/") for client in clients + clients]
    numbers = {answer.text.rpartition(" ")[2] for answer in answers}
    assert len(numbers) == len(answers)
    assert len({token_of(answer).partition(".")[0] for answer in answers[:3]}) == 3


def test_each_token_is_good_for_its_owner(app, page):
    """The token goes with the session cookie of the same answer, and with no other."""
    ann, bob = app.test_client(), app.test_client()
    tokens = [token_of(client.get("/")) for client in (ann, bob)]
    assert ann.post("/comments", data={"csrf_token": tokens[0]}).text == "thanks"
    assert bob.post("/comments", data={"csrf_token": tokens[1]}).text == "thanks"
    assert bob.post("/comments", data={"csrf_token": tokens[0]}).status_code == 400
    assert ann.post("/comments", headers={"X-CSRFToken": tokens[1]}).status_code == 400


def test_a_page_with_a_token_is_never_stored(app, manager, page):
    """Each answer that has a token has a cookie beside it, and leaves as Flask made it."""
    for _ in range(3):
        answer = app.test_client().get("/")
        assert "session=" in answer.headers["Set-Cookie"]
        assert "Cache-Status" not in answer.headers
        assert "ETag" not in answer.headers
        assert "Age" not in answer.headers
    assert manager.stats()["hits"] == 0


def test_why_is_said_to_who_has_his_session_already(app, manager, page, told, caplog):
    """His session is not written again, so that ``Cache-Status`` stays; the log tells the rest."""
    client = app.test_client()
    client.get("/")
    again = client.get("/")
    assert told.passed(again)
    assert "session" in told(again)
    assert manager.join(5)  # who passes is released before the render is over
    assert "it writes session at" in caplog.text


def test_a_page_without_a_form_is_shared(app, protected, cached, counter, told):
    """That templates could ask for a token takes nothing from those that do not."""

    @app.route("/plain")
    @cached()
    def plain():
        return render_template_string("{{ number }}", number=counter())

    first, second = app.test_client().get("/plain"), app.test_client().get("/plain")
    assert first.text == second.text == "1"
    assert told.hit(second)


def test_a_form_without_a_token_is_shared(app, protected, cached, counter, told):
    """Of a form only its token is anybody's own."""

    class Search(FlaskForm):
        class Meta:
            csrf = False

        text = StringField()

    @app.route("/search")
    @cached()
    def search():
        return render_template_string(FORM + "{{ form.text() }}", form=Search(), number=counter())

    first, second = app.test_client().get("/search"), app.test_client().get("/search")
    assert first.text == second.text
    assert told.hit(second)


def test_a_public_page_with_a_token(app, manager, protected, cached, counter):
    """Nobody shares it, and no cache outside may keep it."""

    @app.route("/")
    @cached(public=True)
    def page():
        return render_template_string(BARE, number=counter())

    clients = [app.test_client(), app.test_client()]
    answers = [client.get("/") for client in clients * 2]
    assert len({token_of(answer) for answer in answers[:2]}) == 2
    for client, answer in zip(clients, answers, strict=False):
        assert client.post("/comments", data={"csrf_token": token_of(answer)}).text == "thanks"
    for answer in answers:
        assert "public" not in answer.headers.get("Cache-Control", "")
    assert manager.stats()["hits"] == 0


def test_a_hook_that_makes_the_token(app, protected, cached, counter):
    """A token that a hook leaves in ``g`` is text, and still goes to nobody else."""
    from flask_wtf.csrf import generate_csrf

    @app.before_request
    def make():
        generate_csrf()

    @app.route("/")
    @cached()
    def page():
        return render_template_string(BARE, number=counter())

    clients = [app.test_client() for _ in range(3)]
    tokens = [token_of(client.get("/")) for client in clients]
    assert len(set(tokens)) == 3
    for client, token in zip(clients, tokens, strict=True):
        assert client.post("/comments", data={"csrf_token": token}).text == "thanks"


def test_a_hook_that_puts_the_token_in_a_cookie(app, protected, cached, counter, told):
    """A cookie that an ``after_request`` hook sets goes with hits, each with its own token."""
    from flask_wtf.csrf import generate_csrf

    @app.after_request
    def put(response):
        response.set_cookie("csrf", generate_csrf())
        return response

    @app.route("/data")
    @cached()
    def data():
        return {"number": counter()}

    ann, bob = app.test_client(), app.test_client()
    first, second = ann.get("/data"), bob.get("/data")
    assert first.json == second.json == {"number": 1}
    tokens = [client.get_cookie("csrf").value for client in (ann, bob)]
    assert tokens[0] != tokens[1]
    assert bob.post("/comments", headers={"X-CSRFToken": tokens[1]}).text == "thanks"
    assert bob.post("/comments", headers={"X-CSRFToken": tokens[0]}).status_code == 400
    assert "ETag" not in second.headers


def test_posts_are_checked_above_the_cacher(app, protected, cached, counter):
    """A cached view that takes POST too is checked before it, and POST always passes."""

    @app.route("/both", methods=["GET", "POST"])
    @cached()
    def both():
        return f"{counter()} {g.get('csrf_valid', False)}"

    client = app.test_client()
    assert client.get("/both").text == client.get("/both").text == "1 False"
    assert client.post("/both").status_code == 400
