"""Flask-Login: pages are shared by anonymous visitors and made anew for whoever is logged in."""

import pytest
from flask import Flask, redirect, render_template_string, request, session
from flask_login import (
    LoginManager,
    UserMixin,
    current_user,
    login_required,
    login_user,
    logout_user,
)

from aswr import UnkeyedInput

CORNER = "{{ 'as ' ~ current_user.id if current_user.is_authenticated else 'anonymous' }}"
PAGE = CORNER + " {{ number }}"


class User(UserMixin):
    def __init__(self, name: str) -> None:
        self.id = name


@pytest.fixture(params=[None, "basic", "strong"])
def protection(request):
    return request.param


@pytest.fixture
def login(app: Flask) -> LoginManager:
    login = LoginManager(app)
    login.user_loader(User)

    @app.route("/login/<name>")
    def log_in(name):
        login_user(User(name), remember="remember" in request.args)
        return "welcome"

    @app.route("/logout")
    def log_out():
        logout_user()
        return "bye"

    return login


@pytest.fixture
def page(app, login, cached, counter):
    """A templated page with a "logged in as" corner, and nothing configured."""

    @app.route("/")
    @cached()
    def page():
        return render_template_string(PAGE, number=counter())


def logged_in(app, name, **how):
    client = app.test_client()
    assert client.get(f"/login/{name}", query_string=how.pop("query", ""), **how).text == "welcome"
    return client


class TestTheCorner:
    def test_anonymous_visitors_share(self, app, login, page, protection, told):
        """Whatever their agent and address, and though each template asks for both."""
        login.session_protection = protection
        first = app.test_client().get("/")
        second = app.test_client().get(
            "/", headers={"User-Agent": "other"}, environ_base={"REMOTE_ADDR": "10.0.0.9"}
        )
        third = app.test_client().get("/", headers={"X-Forwarded-For": "10.0.0.8, 10.0.0.7"})
        assert [first.text, second.text, third.text] == ["anonymous 1"] * 3
        assert told.stored(first)
        assert told.hit(second)
        assert told.hit(third)

    def test_who_is_logged_in_passes(self, app, login, page, protection, told):
        """Each gets a page of his own each time, and nobody ever gets another's."""
        login.session_protection = protection
        assert app.test_client().get("/").text == "anonymous 1"
        ann, bob = logged_in(app, "ann"), logged_in(app, "bob")
        answers = [ann.get("/"), bob.get("/"), ann.get("/"), app.test_client().get("/")]
        assert [answer.text for answer in answers] == [
            "as ann 2", "as bob 3", "as ann 4", "anonymous 1",
        ]  # fmt: skip
        assert [told.passed(answer) for answer in answers] == [True, True, True, False]
        assert told(answers[0]) == 'fwd=bypass; detail="reads cookie session"'

    def test_who_is_logged_in_may_come_first(self, app, login, page, protection, told):
        """A load that a logged-in visitor starts is rendered as nobody's, and he passes."""
        login.session_protection = protection
        ann = logged_in(app, "ann")
        assert ann.get("/").text.startswith("as ann")
        anonymous = app.test_client().get("/")
        assert anonymous.text.startswith("anonymous")
        assert app.test_client().get("/").text == anonymous.text
        assert ann.get("/").text.startswith("as ann")

    def test_whoever_logs_out_is_anonymous(self, app, page, told):
        """A visitor without a session shares again."""
        ann = logged_in(app, "ann")
        assert ann.get("/").text.startswith("as ann")
        ann.get("/logout")
        first = app.test_client().get("/")
        again = ann.get("/")
        assert again.text == first.text
        assert told.hit(again)

    def test_a_public_page(self, app, login, cached, counter, told):
        """Out of a public page's caches too: logged-in answers are private, all vary by cookie."""

        @app.route("/")
        @cached(public=True)
        def page():
            return render_template_string(PAGE, number=counter())

        ann = logged_in(app, "ann")
        anonymous = [app.test_client().get("/") for _ in range(2)]
        own = ann.get("/")
        assert [answer.text for answer in anonymous] == ["anonymous 1"] * 2
        assert told.hit(anonymous[1])
        assert own.text == "as ann 2"
        assert anonymous[1].headers["Cache-Control"].startswith("public, max-age=")
        assert "private" in own.headers["Cache-Control"]
        assert "Cookie" in anonymous[1].headers["Vary"]
        assert "Cookie" in own.headers["Vary"]

    def test_a_hook_that_looks_at_the_user(self, app, login, page, told):
        """A hook that asks who is there on every request takes nothing from anonymous visitors."""
        seen = []

        @app.before_request
        def last_seen():
            if current_user.is_authenticated:
                seen.append(current_user.id)

        ann = logged_in(app, "ann")
        assert ann.get("/").text.startswith("as ann")
        assert seen == ["ann"]
        first, second = app.test_client().get("/"), app.test_client().get("/")
        assert first.text.startswith("anonymous")
        assert second.text == first.text
        assert told.hit(second)

    def test_a_hook_that_looks_at_the_user_and_runs_in_renders(
        self, app, login, cached, counter, told
    ):
        """The cure that the log names, ``run_before_request=True``, cures this."""

        @app.before_request
        def last_seen():
            assert current_user is not None
            current_user.is_authenticated  # noqa: B018

        @app.route("/")
        @cached(run_before_request=True)
        def page():
            return render_template_string(PAGE, number=counter())

        ann = logged_in(app, "ann")
        assert ann.get("/").text.startswith("as ann")
        first, second = app.test_client().get("/"), app.test_client().get("/")
        assert second.text == first.text
        assert told.hit(second)


class TestThePreset:
    def test_it_does_not_blind_a_page_that_varies_by_agent(self, app, login, cached, counter, told):
        """The identifier's reads do not count; the view's own of the same header do."""

        @app.route("/")
        @cached()
        def page():
            agent = "{{ request.user_agent.string }} "
            return render_template_string(agent + PAGE, number=counter())

        def get(agent):
            return app.test_client().get("/", headers={"User-Agent": agent})

        answers = [get("old"), get("new"), get("old"), get("new")]
        assert [answer.text for answer in answers] == [
            "old anonymous 1", "new anonymous 2", "old anonymous 1", "new anonymous 2",
        ]  # fmt: skip
        assert "User-Agent" in answers[0].headers["Vary"]

    def test_it_does_not_blind_a_page_that_tells_the_address(
        self, app, login, cached, counter, told
    ):
        """Nobody shares a page that reads the address itself."""

        @app.route("/")
        @cached()
        def page():
            return render_template_string("{{ request.remote_addr }} " + PAGE, number=counter())

        def get(address):
            return app.test_client().get("/", environ_base={"REMOTE_ADDR": address})

        answers = [get("10.0.0.1"), get("10.0.0.2"), get("10.0.0.1")]
        addresses = [answer.text.split()[0] for answer in answers]
        assert addresses == ["10.0.0.1", "10.0.0.2", "10.0.0.1"]
        assert all("reads remote address" in told(answer) for answer in answers)

    def test_a_session_in_the_wrong_hands(self, app, login, page):
        """With strong protection a stolen cookie gets a page made for nobody, and passes."""
        login.session_protection = "strong"
        app.test_client().get("/")
        ann = logged_in(app, "ann", headers={"User-Agent": "hers"})
        assert ann.get("/", headers={"User-Agent": "hers"}).text.startswith("as ann")
        stolen = ann.get("/", headers={"User-Agent": "his"})
        assert stolen.text.startswith("anonymous")
        assert stolen.text != "anonymous 1"
        assert any(line.startswith("session=") for line in stolen.headers.getlist("Set-Cookie"))
        assert app.test_client().get("/").text == "anonymous 1"


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # Flask-Login's
class TestRememberMe:
    def test_the_cookie_alone_logs_in(self, app, page, told):
        """Who brings only the remember-me cookie passes, and gets his session."""
        assert app.test_client().get("/").text == "anonymous 1"
        ann = logged_in(app, "ann", query="remember")
        ann.delete_cookie("session")
        back = ann.get("/")
        assert back.text == "as ann 2"
        assert "session=" in back.headers["Set-Cookie"]
        assert "Cache-Status" not in back.headers
        anonymous = app.test_client().get("/")
        assert anonymous.text == "anonymous 1"
        assert told.hit(anonymous)
        assert "Set-Cookie" not in anonymous.headers

    def test_the_cookie_alone_may_come_first(self, app, page, told):
        """A page that is new is not stored as the one who is remembered sees it."""
        ann = logged_in(app, "ann", query="remember")
        ann.delete_cookie("session")
        assert ann.get("/").text.startswith("as ann")
        assert app.test_client().get("/").text.startswith("anonymous")


class TestLoginRequired:
    def test_above_the_cacher_it_guards_hits(self, app, login, cached, counter, told):
        """Who may see a plain page shares it; a hit lets nobody else in."""

        @app.route("/members")
        @login_required
        @cached()
        def members():
            return f"members {counter()}"

        ann, bob = logged_in(app, "ann"), logged_in(app, "bob")
        answers = [client.get("/members") for client in (app.test_client(), ann, bob)]
        assert [answer.status_code for answer in answers] == [401, 200, 200]
        assert [answer.text for answer in answers[1:]] == ["members 1"] * 2
        assert told.hit(answers[2])
        assert app.test_client().get("/members").status_code == 401

    def test_above_the_cacher_it_guards_a_page_with_a_corner(self, app, login, cached, counter):
        """A templated page below it is made for each member."""

        @app.route("/members")
        @login_required
        @cached()
        def members():
            return render_template_string(PAGE, number=counter())

        ann, bob = logged_in(app, "ann"), logged_in(app, "bob")
        assert app.test_client().get("/members").status_code == 401
        assert ann.get("/members").text.startswith("as ann")
        assert bob.get("/members").text.startswith("as bob")
        assert app.test_client().get("/members").status_code == 401

    def test_above_a_public_view_it_guards_every_answer(self, app, login, cached, counter):
        """What is public is rendered with the decorators above it, so that they keep guarding."""

        @app.route("/members")
        @login_required
        @cached(public=True)
        def members():
            return f"members {counter()}"

        ann = logged_in(app, "ann")
        assert ann.get("/members").status_code == 200
        refused = app.test_client().get("/members")
        assert refused.status_code == 401
        assert "members" not in refused.text

    def test_below_the_cacher_it_guards_too(self, app, login, cached, counter):
        """In the wrong order members pass and nobody else gets in."""

        @app.route("/members")
        @cached()
        @login_required
        def members():
            return f"members {counter()}"

        ann = logged_in(app, "ann")
        answers = [client.get("/members") for client in (app.test_client(), ann, ann)]
        assert [answer.status_code for answer in answers] == [401, 200, 200]
        assert app.test_client().get("/members").status_code == 401

    def test_a_redirect_with_a_message_is_for_one_person(self, app, login, cached, counter):
        """The message that sends to the login page is in the session of who was sent there."""
        login.login_view = "ask"

        @app.route("/ask")
        def ask():
            return " ".join(text for _, text in session.pop("_flashes", []))

        @app.route("/members")
        @cached()
        @login_required
        def members():
            return "members"

        for _ in range(2):
            client = app.test_client()
            sent = client.get("/members")
            assert (sent.status_code, sent.headers["Location"]) == (302, "/ask?next=%2Fmembers")
            assert client.get("/ask").text == "Please log in to access this page."


class TestTokens:
    def test_a_request_loader(self, app, login, cached, counter, told):
        """Who sends a token passes; who sends none shares."""

        @login.request_loader
        def load(incoming):
            token = incoming.headers.get("Authorization")
            return User(token) if token else None

        @app.route("/")
        @cached()
        def page():
            return render_template_string(PAGE, number=counter())

        def get(**headers):
            return app.test_client().get("/", headers=headers)

        answers = [get(), get(Authorization="ann"), get(Authorization="bob"), get()]
        assert [answer.text for answer in answers] == [
            "anonymous 1", "as ann 2", "as bob 3", "anonymous 1",
        ]  # fmt: skip
        assert told.hit(answers[3])

    def test_a_scope_stands_for_the_user(self, app, login, cached, counter, told):
        """With ``scope`` each has a cached page of his own, and anonymous visitors have theirs."""

        @app.route("/")
        @cached(scope=lambda: current_user.get_id())
        def page():
            return render_template_string(PAGE, number=counter())

        ann, bob = logged_in(app, "ann"), logged_in(app, "bob")
        again = logged_in(app, "ann")
        first, second, third, fourth = (client.get("/") for client in (ann, bob, again, ann))
        assert first.text.startswith("as ann")
        assert second.text.startswith("as bob")
        assert third.text == fourth.text == first.text
        assert told.hit(fourth)
        assert "private" in first.headers["Cache-Control"]
        assert app.test_client().get("/").text.startswith("anonymous")

    def test_a_scope_leaves_anonymous_visitors_cached(self, app, login, cached, counter, told):
        """Asking for the user in ``scope`` does not make everybody pass."""

        @app.route("/")
        @cached(scope=lambda: current_user.get_id())
        def page():
            return render_template_string(PAGE, number=counter())

        first, second = app.test_client().get("/"), app.test_client().get("/")
        assert first.text == second.text == "anonymous 1"
        assert told.hit(second)


class TestStrict:
    @pytest.fixture
    def app(self, app):
        app.config["ASWR_STRICT"] = True
        app.testing = True
        return app

    def test_a_page_that_anonymous_visitors_share_is_no_error(self, app, login, page):
        """That some pass is no mistake."""
        assert app.test_client().get("/").text == "anonymous 1"
        assert logged_in(app, "ann").get("/").text.startswith("as ann")

    def test_a_view_that_logs_in_is_named(self, app, login, cached):
        """It writes the session, so that nobody can share it."""

        @app.route("/in")
        @cached()
        def direct():
            login_user(User("ann"))
            return redirect("/")

        with pytest.raises(UnkeyedInput, match="writes session"):
            app.test_client().get("/in")
