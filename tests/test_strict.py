"""ASWR_STRICT: what can never be shared is an error, with the text of the log line."""

import threading

import pytest
from flask import Flask, flash, g, get_flashed_messages, request, session

from aswr import AswrError, CacheManager, UnkeyedInput


@pytest.fixture
def app(app) -> Flask:
    app.config["ASWR_STRICT"] = True
    app.testing = True
    return app


def bare_session() -> None:
    session["a"] = 1


def both() -> None:
    session["a"] = request.remote_addr


class TestNeverShared:
    READS = {
        "address": (lambda: request.remote_addr, "reads remote address"),
        "environ": (lambda: dict(request.environ), "reads environ"),
        "session": (bare_session, "writes session"),
        "flash": (lambda: flash("x"), "writes session"),
        "both": (both, ""),
    }

    @pytest.mark.parametrize("kind", ["async", "def"])
    @pytest.mark.parametrize("what", READS)
    def test_it_raises_every_time(self, app, manager, what, kind):
        """Every request of a view that can never be shared raises UnkeyedInput, not just one."""
        read, detail = self.READS[what]
        if kind == "async":

            @app.route("/x")
            @manager.cacher(timeout=20)
            async def view():
                return str(read())
        else:

            @app.route("/x")
            @manager.cacher(timeout=20)
            def view():
                return str(read())

        for _ in range(3):
            with pytest.raises(UnkeyedInput) as error:
                app.test_client().get("/x")
            assert manager.join(5)
        text = str(error.value)
        assert detail in text
        assert "test_strict.py:" in text
        assert "view" in text

    def test_the_text_is_the_log_lines(self, app, manager, caplog):
        """The error says what the log says: the view, the input, the line and the cures."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return request.remote_addr

        with pytest.raises(UnkeyedInput) as error:
            app.test_client().get("/x")
        [line] = [r.getMessage() for r in caplog.records if r.name == "aswr.render"]
        assert str(error.value) == line
        for cure in ("ignore=['remote_addr']", "scope=", "key=", "decorator off"):
            assert cure in line

    def test_a_view_that_passes_as_a_whole_raises(self, app, manager):
        """After three URLs the view is hardly rendered any more, and raises all the same."""

        @app.route("/<n>")
        @manager.cacher(timeout=20)
        async def view(n):
            return request.remote_addr

        for n in range(8):
            with pytest.raises(UnkeyedInput, match="remote address"):
                app.test_client().get(f"/{n}")
            assert manager.join(5)
        assert manager.stats()["loads"] < 6

    def test_a_nested_view_is_an_error_of_the_outer(self, app, manager):
        """A view that calls one that reads the address can never be shared either."""

        @manager.cacher(timeout=20)
        async def inner():
            return request.remote_addr or "none"

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def outer():
            return (await inner()).get_data(as_text=True)

        for _ in range(2):
            with pytest.raises(UnkeyedInput, match="remote address"):
                app.test_client().get("/x")

    def test_who_waits_is_told_too(self, app, manager, gate, background):
        """Everybody who waits for the load gets the error."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            await gate.ahold()
            return request.remote_addr

        calls = [background(lambda: app.test_client().get("/x")) for _ in range(3)]
        gate.await_arrival()
        while manager.stats()["waiting"] < 3:
            pass
        gate.open()
        for call in calls:
            with pytest.raises(UnkeyedInput):
                call.result()

    def test_it_can_be_handled(self, app, manager):
        """UnkeyedInput is an AswrError, which an app's error handler may answer."""
        app.testing = False

        @app.errorhandler(AswrError)
        def handler(error):
            return f"strict: {type(error).__name__}", 500

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return request.remote_addr

        response = app.test_client().get("/x")
        assert (response.status_code, response.text) == (500, "strict: UnkeyedInput")


class TestNoError:
    def test_who_brings_what_is_personal_only_passes(self, app, manager):
        """A cookie that is read makes its bearer pass, which is no error: others share."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return session.get("user", "nobody")

        client = app.test_client()
        assert client.get("/x").text == "nobody"
        with client.session_transaction() as stored:
            stored["user"] = "ann"
        assert [client.get("/x").text for _ in range(2)] == ["ann", "ann"]

    def test_a_foreign_environ_key_is_not_the_whole_environ(self, app, manager):
        """Reading the environ at one URL is no error of a URL that reads one key of it."""

        @app.route("/<how>")
        @manager.cacher(timeout=20)
        async def view(how):
            return str(dict(request.environ)) if how == "all" else request.environ.get("my.key", "")

        with pytest.raises(UnkeyedInput):
            app.test_client().get("/all")
        got = app.test_client().get("/one", environ_overrides={"my.key": "mine"})
        assert got.text == "mine"

    def test_an_object_in_g_is_no_error(self, app, manager):
        """Who has a hook's object that the view reads passes: those who have none may share."""

        @app.before_request
        def hook():
            if "X-Object" in request.headers:
                g.user = object()

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return str("user" in g)

        client = app.test_client()
        for _ in range(2):
            assert client.get("/x", headers={"X-Object": "1"}).text == "True"
            assert client.get("/x").text == "False"

    @pytest.mark.parametrize("answer", [("x", {"Set-Cookie": "a=b"}), ("x", 404), ("x", 500)])
    def test_an_answer_that_is_not_stored_is_no_error(self, app, manager, answer):
        """What an answer says of itself is the view's own word."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return answer

        for _ in range(2):
            code = answer[1] if isinstance(answer[1], int) else 200
            assert app.test_client().get("/x").status_code == code

    def test_a_write_in_a_scoped_render_is_no_error(self, app, manager):
        """scope= may meet a flashed message now and then: its caller passes, and that is all."""

        @app.route("/x")
        @manager.cacher(timeout=20, scope=lambda: "ann")
        async def view():
            return str(get_flashed_messages())

        client = app.test_client()
        with client.session_transaction() as stored:
            stored["_flashes"] = [("message", "saved")]
        assert [client.get("/x").text for _ in range(2)] == ["['saved']", "[]"]

    def test_unless_and_other_methods_are_no_error(self, app, manager):
        """What passes because the app or the method says so may read what it likes."""

        @app.route("/x", methods=["GET", "POST"])
        @manager.cacher(timeout=20, unless=lambda: "live" in request.args)
        async def view():
            return request.remote_addr

        client = app.test_client()
        assert client.post("/x").text == "127.0.0.1"
        assert client.get("/x?live").text == "127.0.0.1"

    def test_the_cure_cures(self, app, manager):
        """ignore=["remote_addr"], as the text advises, ends the error."""

        @app.route("/x")
        @manager.cacher(timeout=20, ignore=["remote_addr"])
        async def view():
            return str(request.remote_addr)

        assert app.test_client().get("/x").text == "None"

    def test_a_job_or_refresh_does_not_raise_in_anybodys_request(self, app, manager):
        """Nobody asks in a job: it says why nothing is stored, as without ASWR_STRICT."""
        ran = threading.Semaphore(0)

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            ran.release()
            return str(request.remote_addr)

        assert manager.refresh("/x") is None
        assert ran.acquire(timeout=10)
        manager.schedule_periodic_refresh("/x", 5)
        manager.start()
        assert ran.acquire(timeout=10)
        assert manager.join(5)
        assert "remote address" in manager.jobs()[0].error


def test_without_it_the_view_runs(clock):
    """ASWR_STRICT is off by default: the view runs as Flask would run it."""
    app = Flask("shop")
    manager = CacheManager(app, clock=clock)

    @app.route("/x")
    @manager.cacher(timeout=20)
    async def view():
        return request.remote_addr

    assert app.test_client().get("/x").text == "127.0.0.1"
    manager.close()
