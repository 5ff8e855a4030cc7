"""Flask-Talisman: its headers are on every answer, and a nonce is good for one of them."""

import re

import pytest
from flask import Flask, render_template_string
from flask_talisman import Talisman

SCRIPT = "<script nonce={{ csp_nonce() }}></script> {{ number }}"
POLICY = {"default-src": "'self'", "script-src": "'self'"}
SECURE = "https://localhost"


def nonces(response) -> tuple[str, str]:
    """The nonce of the page and that of its policy."""
    page = re.search("nonce=([^>]+)>", response.text)
    policy = re.search("'nonce-([^']+)'", response.headers["Content-Security-Policy"])
    assert page
    assert policy
    return page.group(1), policy.group(1)


@pytest.fixture(params=[False, True], ids=["in-app", "public"])
def page(request, app, cached, counter):
    @app.route("/")
    @cached(public=request.param)
    def page():
        return render_template_string("{{ number }}", number=counter())


def test_the_headers_are_on_every_answer(app, page, told):
    """On what is stored and on hits, once each."""
    Talisman(app, force_https=False)
    answers = [app.test_client().get("/") for _ in range(3)]
    assert [answer.text for answer in answers] == ["1"] * 3
    assert told.hit(answers[2])
    for answer in answers:
        assert answer.headers.getlist("X-Frame-Options") == ["SAMEORIGIN"]
        assert answer.headers.getlist("Content-Security-Policy") == [
            "default-src 'self'; object-src 'none'"
        ]
        assert answer.headers.getlist("Referrer-Policy") == ["strict-origin-when-cross-origin"]


def test_plain_http_is_sent_to_https(app, page, told):
    """Whatever is stored for those who come by https."""
    Talisman(app)
    secure = [app.test_client().get("/", base_url=SECURE) for _ in range(2)]
    assert [answer.text for answer in secure] == ["1"] * 2
    assert told.hit(secure[1])
    for _ in range(2):
        sent = app.test_client().get("/")
        assert (sent.status_code, sent.headers["Location"]) == (302, "https://localhost/")
    assert told.hit(app.test_client().get("/", base_url=SECURE))


def test_who_came_by_plain_http_first(app, page):
    """The redirect is not what those who come by https get."""
    Talisman(app)
    assert app.test_client().get("/").status_code == 302
    assert app.test_client().get("/", base_url=SECURE).text == "1"
    assert app.test_client().get("/").status_code == 302


def test_transport_security_is_said_over_https_only(app, page):
    """The header is on every answer that left by https, and on no other."""
    Talisman(app, force_https=False)

    def said(**where):
        answer = app.test_client().get("/", **where)
        return answer.headers.getlist("Strict-Transport-Security")

    for _ in range(2):
        assert said() == []
        assert said(base_url=SECURE) == ["max-age=31556926; includeSubDomains"]
        assert said(headers={"X-Forwarded-Proto": "https"}) == [
            "max-age=31556926; includeSubDomains"
        ]


@pytest.fixture
def with_nonces(app: Flask) -> Talisman:
    return Talisman(
        app,
        force_https=False,
        content_security_policy=POLICY,
        content_security_policy_nonce_in=["script-src"],
    )


def test_a_nonce_is_good_for_one_answer(app, with_nonces, cached, counter, told):
    """A page with a nonce passes for everyone, and agrees with its policy."""

    @app.route("/")
    @cached()
    def page():
        return render_template_string(SCRIPT, number=counter())

    answers = [app.test_client().get("/") for _ in range(3)]
    pairs = [nonces(answer) for answer in answers]
    assert all(page == policy for page, policy in pairs)
    assert len(set(pairs)) == 3
    assert all("reads request.csp_nonce" in told(answer) for answer in answers)


def test_a_page_without_a_nonce_is_shared(app, with_nonces, cached, counter, told):
    """Beside pages that have one; its policy has a new one each time."""

    @app.route("/")
    @cached()
    def page():
        return render_template_string("{{ number }}", number=counter())

    answers = [app.test_client().get("/") for _ in range(2)]
    assert [answer.text for answer in answers] == ["1"] * 2
    assert told.hit(answers[1])
    assert len({answer.headers["Content-Security-Policy"] for answer in answers}) == 2


def test_a_public_page_agrees_with_its_policy(app, with_nonces, cached, counter):
    """Whether or not public pages share a nonce, the page never has another than its policy."""

    @app.route("/")
    @cached(public=True)
    def page():
        return render_template_string(SCRIPT, number=counter())

    for _ in range(3):
        page_nonce, policy_nonce = nonces(app.test_client().get("/"))
        assert page_nonce == policy_nonce


def test_options_of_one_view(app, cached, colour, manager, counter, told):
    """Talisman finds its own options on a cached view, whichever decorator is above."""
    talisman = Talisman(app, force_https=False)

    @app.route("/above")
    @talisman(frame_options="DENY")
    @cached()
    def above():
        return str(counter())

    @app.route("/below")
    @manager.cacher(20)
    @talisman(frame_options="DENY")
    @colour
    def below():
        return str(counter())

    for path in ("/above", "/below"):
        answers = [app.test_client().get(path) for _ in range(2)]
        assert [answer.headers["X-Frame-Options"] for answer in answers] == ["DENY"] * 2
        assert told.hit(answers[1])
