"""Flask-CORS: every answer has the headers that its own request's origin calls for."""

import pytest
from flask import Flask, abort
from flask_cors import CORS, cross_origin

SHOP, BANK, EVIL = "https://shop.test", "https://bank.test", "https://evil.test"


def get(app: Flask, origin: str | None, path: str = "/"):
    headers = {} if origin is None else {"Origin": origin}
    return app.test_client().get(path, headers=headers)


def allowed(response) -> str | None:
    found = response.headers.getlist("Access-Control-Allow-Origin")
    assert len(found) < 2
    return found[0] if found else None


@pytest.fixture(params=[False, True], ids=["in-app", "public"])
def page(request, app, cached, counter):
    @app.route("/")
    @cached(public=request.param)
    def page():
        return str(counter())

    return request.param


def test_each_origin_is_told_of_itself(app, page, told):
    """Hits too, and who comes without an origin is told of none."""
    CORS(app, origins=[SHOP, BANK], always_send=False)
    asked = [SHOP, None, BANK, EVIL] * 2
    answers = [get(app, origin) for origin in asked]
    assert [allowed(answer) for answer in answers] == [SHOP, None, BANK, None] * 2
    assert all(told.hit(answer) for answer in answers[4:])


def test_in_app_all_origins_share(app, cached, counter, manager):
    """The hook runs around every answer, so that the body is one load's."""
    CORS(app, origins=[SHOP, BANK], always_send=False)

    @app.route("/")
    @cached()
    def page():
        return str(counter())

    assert {get(app, origin).text for origin in (SHOP, BANK, EVIL, None)} == {"1"}
    assert manager.stats()["loads"] == 1


def test_in_public_the_origin_is_learned(app, cached, counter):
    """The hook runs in the render, so that each origin has a variant, and ``Vary`` says so."""
    CORS(app, origins=[SHOP, BANK], always_send=False)

    @app.route("/")
    @cached(public=True)
    def page():
        return str(counter())

    answers = [get(app, origin) for origin in (SHOP, BANK, SHOP, None)]
    assert [answer.text for answer in answers] == ["1", "2", "1", "3"]
    assert all("Origin" in answer.headers["Vary"] for answer in answers)


def test_any_origin(app, page, told):
    """Where all are allowed alike, the wildcard is on every answer."""
    CORS(app, send_wildcard=True)
    answers = [get(app, origin) for origin in (SHOP, BANK, SHOP)]
    assert [allowed(answer) for answer in answers] == ["*"] * 3
    assert told.hit(answers[2])


def test_credentials(app, page, told):
    """With credentials the origin is named, never another's."""
    CORS(app, supports_credentials=True)
    answers = [get(app, origin) for origin in (SHOP, BANK, SHOP, BANK)]
    assert [allowed(answer) for answer in answers] == [SHOP, BANK, SHOP, BANK]
    assert {answer.headers["Access-Control-Allow-Credentials"] for answer in answers} == {"true"}


def test_a_preflight_is_not_the_caches(app, page):
    """OPTIONS is Flask's and the extension's, before and after there is an answer."""
    CORS(app, origins=[SHOP])
    for _ in range(2):
        asked = app.test_client().options(
            "/", headers={"Origin": SHOP, "Access-Control-Request-Method": "GET"}
        )
        assert asked.status_code == 200
        assert allowed(asked) == SHOP
        assert "GET" in asked.headers["Access-Control-Allow-Methods"]
        assert get(app, SHOP).text == "1"


@pytest.mark.parametrize("public", [False, True], ids=["in-app", "public"])
def test_errors(app, cached, counter, public):
    """An error is told to each origin as its own, though the error handlers are wrapped."""
    CORS(app, origins=[SHOP, BANK], always_send=False)

    @app.route("/gone")
    @cached(public=public, statuses={404: 20})
    def gone():
        abort(404, description=f"number {counter()}")

    answers = [get(app, origin, "/gone") for origin in [SHOP, None, BANK] * 2]
    assert [answer.status_code for answer in answers] == [404] * 6
    assert [allowed(answer) for answer in answers] == [SHOP, None, BANK] * 2


def test_a_decorator_above_the_cacher(app, manager, counter):
    """It runs around every answer; it knows plain functions only."""

    @app.route("/")
    @cross_origin(origins=[SHOP, BANK], always_send=False)
    @manager.cacher(20)
    def page():
        return str(counter())

    answers = [get(app, origin) for origin in (SHOP, BANK, SHOP, None)]
    assert [allowed(answer) for answer in answers] == [SHOP, BANK, SHOP, None]
    assert {answer.text for answer in answers} == {"1"}


def test_a_decorator_below_the_cacher(app, manager, counter):
    """It runs in the render, which learns the origin."""

    def page():
        return str(counter())

    view = manager.cacher(20)(cross_origin(origins=[SHOP, BANK], always_send=False)(page))
    app.add_url_rule("/", view_func=view)
    answers = [get(app, origin) for origin in (SHOP, BANK, SHOP, None)]
    assert [allowed(answer) for answer in answers] == [SHOP, BANK, SHOP, None]
    assert [answer.text for answer in answers] == ["1", "2", "1", "3"]
