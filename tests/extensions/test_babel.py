"""Flask-Babel: one variant for each locale that is chosen, not for each header that is sent."""

from datetime import datetime

import pytest
from flask import Flask, g, render_template_string, request
from flask_babel import Babel, force_locale, format_decimal, get_locale

GERMAN = ["de", "de-DE,de;q=0.9,en;q=0.8", "de-AT, de;q=0.7", "fr, de;q=0.5"]
ENGLISH = ["en", "en-US,en;q=0.5", "en-GB,en;q=0.9,de;q=0.1"]
TEMPLATE = "{{ 1234.5|numberformat }} {{ number }}"


def chosen() -> str | None:
    return request.accept_languages.best_match(["de", "en"])


@pytest.fixture
def babel(app: Flask) -> Babel:
    return Babel(app, locale_selector=chosen)


@pytest.fixture
def page(app, babel, cached, counter):
    @app.route("/")
    @cached()
    def page():
        return render_template_string(TEMPLATE, number=counter())


def get(app, language, **more):
    headers = {} if language is None else {"Accept-Language": language}
    return app.test_client(use_cookies=False).get("/", headers=headers | more)


def test_one_variant_for_each_locale(app, page, manager):
    """However many spellings arrive, there are as many renders as there are locales."""
    german = {get(app, language).text for language in GERMAN}
    english = {get(app, language).text for language in ENGLISH}
    assert (german, english) == ({"1.234,5 1"}, {"1,234.5 2"})
    assert manager.stats()["loads"] == 2


def test_no_match_is_a_variant_too(app, page, manager):
    """Who asks for none of the languages, or for nothing, gets the default."""
    answers = {get(app, language).text for language in ("fr", "", "es, pt;q=0.5")}
    assert answers == {"1,234.5 1"}
    assert manager.stats()["loads"] == 1


def test_caches_outside_are_told(app, page):
    """``Vary`` names the header, since no cache outside knows how the choice is made."""
    assert "Accept-Language" in get(app, "de").headers["Vary"]


def test_any_number_of_headers(app, page, manager):
    """Headers that nobody sent before cost no render and no room."""
    get(app, "de")
    for number in range(100):
        assert get(app, f"x-{number:02}, de;q=0.9").text == "1.234,5 1"
    assert manager.stats()["loads"] == 1


def test_a_locale_that_a_cookie_chooses(app, cached, counter, told):
    """Who chose by cookie passes; the others share by their headers."""
    Babel(app, locale_selector=lambda: request.cookies.get("locale") or chosen())

    @app.route("/")
    @cached()
    def page():
        return render_template_string(TEMPLATE, number=counter())

    assert get(app, "de").text == "1.234,5 1"
    own = get(app, "de", Cookie="locale=en")
    assert own.text.startswith("1,234.5")
    assert told.passed(own)
    assert told.hit(get(app, "de"))


def test_a_locale_that_a_named_cookie_chooses(app, cached, counter):
    """Named in ``vary``, the cookie's values are variants."""
    Babel(app, locale_selector=lambda: request.cookies.get("locale") or chosen())

    @app.route("/")
    @cached(vary=["Accept-Language", "cookie:locale"])
    def page():
        return render_template_string(TEMPLATE, number=counter())

    asked = [("de", {}), ("de", {"Cookie": "locale=en"}), ("en", {"Cookie": "other=1; locale=de"})]
    texts = [get(app, language, **cookie).text for language, cookie in asked * 2]
    assert [text.split()[0] for text in texts] == ["1.234,5", "1,234.5", "1.234,5"] * 2
    assert texts[:3] == texts[3:]


def test_a_hook_that_leaves_the_locale_in_g(app, babel, cached, counter):
    """A page that reads text out of ``g`` has a variant for each of its values."""

    @app.before_request
    def before():
        g.locale = chosen() or "en"

    @app.route("/")
    @cached()
    def page():
        return f"{g.locale} {counter()}"

    texts = [get(app, language).text for language in GERMAN + ENGLISH]
    assert texts == ["de 1"] * len(GERMAN) + ["en 2"] * len(ENGLISH)


@pytest.fixture
def asked_early(app, babel):
    """A hook that asks for the locale, as Flask-Babel's own documentation has it."""

    @app.before_request
    def before():
        g.locale = str(get_locale())


def test_a_hook_that_asks_for_the_locale(app, asked_early, page):
    """What Flask-Babel keeps in ``g`` is an object, whose owner passes: nothing wrong is shared."""
    texts = [get(app, language).text for language in ("de", "en", "de", "en")]
    assert [text.split()[0] for text in texts] == ["1.234,5", "1,234.5"] * 2


def test_a_hook_that_asks_for_the_locale_and_runs_in_renders(app, asked_early, cached, counter):
    """With ``run_before_request=True``, as the log advises, the locales are variants again."""

    @app.route("/")
    @cached(run_before_request=True)
    def page():
        return render_template_string(TEMPLATE, number=counter())

    texts = [get(app, language).text for language in GERMAN + ENGLISH]
    assert texts == ["1.234,5 1"] * len(GERMAN) + ["1,234.5 2"] * len(ENGLISH)


def test_a_public_page_in_an_app_whose_hooks_ask(app, asked_early, cached, counter):
    """The hooks run in the render, and what they leave in the caller's ``g`` is nothing to it."""

    @app.route("/")
    @cached(public=True)
    def page():
        return render_template_string(TEMPLATE, number=counter())

    texts = [get(app, language).text for language in GERMAN + ENGLISH]
    assert texts == ["1.234,5 1"] * len(GERMAN) + ["1,234.5 2"] * len(ENGLISH)


def test_a_public_page(app, babel, cached, counter, manager):
    """Variants by result in public, too."""

    @app.route("/")
    @cached(public=True)
    def page():
        return render_template_string(TEMPLATE, number=counter())

    texts = [get(app, language).text for language in GERMAN + ENGLISH]
    assert texts == ["1.234,5 1"] * len(GERMAN) + ["1,234.5 2"] * len(ENGLISH)
    assert manager.stats()["loads"] == 2


def test_a_locale_that_is_forced_within(app, babel, cached, counter):
    """What the view sets itself is no input."""

    @app.route("/")
    @cached()
    def page():
        with force_locale("de"):
            return f"{format_decimal(1234.5)} {counter()}"

    assert {get(app, language).text for language in GERMAN + ENGLISH} == {"1.234,5 1"}


def test_a_timezone_of_the_users_own(app, cached, counter):
    """A time zone out of a cookie is its owner's: he passes, the others share the default."""
    Babel(app, timezone_selector=lambda: request.cookies.get("zone"))
    moment = "{{ when|datetimeformat('HH:mm') }} {{ number }}"

    @app.route("/")
    @cached()
    def page():
        when = datetime(2000, 1, 1, 12, 0)
        return render_template_string(moment, when=when, number=counter())

    assert get(app, "en").text.endswith("12:00 1")
    assert "13:00" in get(app, "en", Cookie="zone=Europe/Berlin").text
    assert get(app, "de").text.endswith("12:00 1")
