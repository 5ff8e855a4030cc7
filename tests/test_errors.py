"""The errors that callers catch, and what they are as responses."""

import pytest
from flask import Flask
from werkzeug.exceptions import GatewayTimeout, HTTPException, ServiceUnavailable

import aswr
from aswr import AswrError, LoadCycle, LoadError, LoadTimeout, UnkeyedInput, WaitTimeout


@pytest.mark.parametrize("error", [LoadError, LoadCycle, LoadTimeout, UnkeyedInput, WaitTimeout])
def test_one_base(error: type[Exception]) -> None:
    """Everything that aswr raises for a caller to catch is an `AswrError`, and exported."""
    assert issubclass(error, AswrError)
    assert getattr(aswr, error.__name__) is error


def test_a_load_timeout_is_a_504() -> None:
    """`LoadTimeout` is Werkzeug's 504 at once, with its own text."""
    error = LoadTimeout("the load took longer than load_timeout=5 s")
    assert isinstance(error, GatewayTimeout)
    assert error.code == 504
    assert "load_timeout=5" in str(error)


def test_a_wait_timeout_is_a_503() -> None:
    """`WaitTimeout` is Werkzeug's 503 at once, and says when to come again."""
    error = WaitTimeout("this took longer than 25 s", retry_after=3)
    assert isinstance(error, ServiceUnavailable)
    assert error.code == 503
    assert error.get_response().headers["Retry-After"] == "3"


def test_they_answer_for_themselves(app: Flask) -> None:
    """Raised in a view without a handler, each is the response of its status."""

    @app.route("/load")
    def load() -> str:
        raise LoadTimeout("too long")

    @app.route("/wait")
    def wait() -> str:
        raise WaitTimeout("too long", retry_after=7)

    client = app.test_client()
    assert client.get("/load").status_code == 504
    response = client.get("/wait")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "7"


@pytest.mark.parametrize("handled", [AswrError, HTTPException, 503])
def test_they_are_caught_under_either_name(app: Flask, handled: type[Exception] | int) -> None:
    """A handler for `AswrError`, for `HTTPException` or for the status gets them."""
    app.register_error_handler(handled, lambda error: ("handled", 418))

    @app.route("/")
    def wait() -> str:
        raise WaitTimeout("too long", retry_after=7)

    assert app.test_client().get("/").status_code == 418
