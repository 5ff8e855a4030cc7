"""scope=: a value stands for the person; his own entries, rendered from his whole request."""

import logging
import threading

import pytest
from flask import Flask, g, get_flashed_messages, request, session

from aswr import CacheManager


def status(response) -> str:
    return response.headers.get("Cache-Status", "")


def is_hit(response) -> bool:
    return status(response).startswith("aswr; hit")


def logged_in(app, user: str):
    """A client whose session has this user."""
    client = app.test_client()
    with client.session_transaction() as stored:
        stored["user"] = user
    return client


def user():
    return session.get("user")


@pytest.fixture
def view(app, manager, counter):
    """Makes a view at /x that shows the session's user, scoped by him."""

    def make(**options):
        @app.route("/x")
        @manager.cacher(**{"timeout": 20, "refresh_margin": 10, "scope": user, **options})
        async def view():
            return f"{session.get('user')} {counter()}"

        return view

    return make


class TestPersons:
    def test_each_person_has_entries_of_his_own(self, app, view):
        """What one person is answered is stored, for him alone; two never mix."""
        view()
        ann, bob = logged_in(app, "ann"), logged_in(app, "bob")
        for _ in range(2):
            assert [client.get("/x").text for client in (ann, bob)] == ["ann 1", "bob 2"]
        assert is_hit(ann.get("/x"))
        assert is_hit(logged_in(app, "ann").get("/x"))

    def test_nobody_in_particular_is_unscoped(self, app, view):
        """None from scope= is the view without scope: shared by all for whom it is None."""
        view()
        ann = logged_in(app, "ann")
        assert [app.test_client().get("/x").text for _ in range(2)] == ["None 1", "None 1"]
        assert ann.get("/x").text == "ann 2"
        assert is_hit(app.test_client().get("/x"))

    def test_unscoped_requests_that_are_personal_pass(self, app, manager, counter):
        """Where scope= says nobody, who brings a cookie that the view reads passes as ever."""

        @app.route("/x")
        @manager.cacher(timeout=20, scope=lambda: session.get("user"))
        async def view():
            return f"{request.cookies.get('theme')} {counter()}"

        client = app.test_client()
        assert client.get("/x").text == "None 1"
        client.set_cookie("theme", "dark")
        assert [client.get("/x").text for _ in range(2)] == ["dark 2", "dark 3"]

    @pytest.mark.parametrize("value", ["", 0, False, (), b""])
    def test_a_value_that_is_false_is_a_person(self, app, manager, counter, value):
        """Only None is nobody: a user with the id 0 has entries of his own."""
        who = [value]

        @app.route("/x")
        @manager.cacher(timeout=20, scope=lambda: who[0])
        async def view():
            return counter()

        client = app.test_client()
        assert client.get("/x").text == "1"
        who[0] = None
        assert client.get("/x").text == "2"
        who[0] = value
        assert is_hit(client.get("/x"))

    def test_values_of_different_types_are_different_persons(self, app, manager, counter):
        """The ids 1 and "1" and True are three persons."""
        values = iter([1, "1", True, 1, "1", True])

        @app.route("/x")
        @manager.cacher(timeout=20, scope=lambda: next(values))
        async def view():
            return counter()

        client = app.test_client()
        assert [client.get("/x").text for _ in range(6)] == list("123") * 2

    def test_key_and_scope_are_different_things(self, app, manager, counter):
        """key="a" with scope=None is not key=None with scope="a"."""
        pairs = iter([("a", None), (None, "a"), ("a", "a"), ("a", None), (None, "a"), ("a", "a")])
        pair = [None, None]

        @app.before_request
        def draw():
            pair[:] = next(pairs)

        @app.route("/x")
        @manager.cacher(timeout=20, key=lambda: pair[0], scope=lambda: pair[1])
        async def view():
            return counter()

        client = app.test_client()
        assert [client.get("/x").text for _ in range(6)] == list("123") * 2

    def test_a_value_that_cannot_be_keyed_is_an_error_with_the_cure(self, app, manager):
        """scope= that returns an object is a TypeError that says what to return."""
        app.testing = True

        @app.route("/x")
        @manager.cacher(timeout=20, scope=object)
        async def view():
            return "x"

        with pytest.raises(TypeError, match="such as the user's id"):
            app.test_client().get("/x")

    def test_persons_who_wait_at_once_do_not_mix(self, app, manager, gate, background):
        """Concurrent cold requests of two persons are two loads, each with its own session."""

        @app.route("/x")
        @manager.cacher(timeout=20, scope=user)
        async def view():
            await gate.ahold()
            return session["user"]

        calls = [
            background(lambda who=who: logged_in(app, who).get("/x").text)
            for who in ("ann", "bob", "ann", "bob")
        ]
        for _ in range(2):
            gate.await_arrival()
        while manager.stats()["waiting"] < 4:
            pass
        gate.open()
        assert [call.result() for call in calls] == ["ann", "bob", "ann", "bob"]
        assert manager.stats()["loads"] == 2

    def test_no_browser_or_proxy_may_share_it(self, app, view):
        """A scoped answer leaves as private, on a miss and on a hit."""
        view()
        ann = logged_in(app, "ann")
        for _ in range(2):
            assert ann.get("/x").headers["Cache-Control"] == "private, no-cache"

    def test_it_may_be_kept_by_the_persons_browser(self, app, view):
        """emit_cache_control=True: private, with the windows of the entry."""
        view(emit_cache_control=True)
        ann = logged_in(app, "ann")
        said = "private, max-age=10, stale-while-revalidate=10"
        assert [ann.get("/x").headers["Cache-Control"] for _ in range(2)] == [said] * 2

    def test_what_the_view_says_to_all_is_made_private(self, app, manager, counter):
        """A scoped view that says "public" is one person's all the same."""

        @app.route("/x")
        @manager.cacher(timeout=20, scope=lambda: "ann")
        async def view():
            return counter(), {"Cache-Control": "public, max-age=60", "Expires": "0"}

        client = app.test_client()
        for _ in range(2):
            response = client.get("/x")
            assert response.headers.getlist("Cache-Control") == ["private, no-cache"]
            assert "Expires" not in response.headers
        assert counter.count == 1

    def test_private_is_no_reason_not_to_store_for_the_person(self, app, manager, counter):
        """A scoped view may say private: its answer is stored, and leaves as it says."""

        @app.route("/x")
        @manager.cacher(timeout=20, scope=lambda: "ann")
        async def view():
            return counter(), {"Cache-Control": "private, max-age=5"}

        client = app.test_client()
        said = [client.get("/x") for _ in range(2)]
        assert [response.text for response in said] == ["1", "1"]
        assert [r.headers["Cache-Control"] for r in said] == ["private, max-age=5"] * 2

    @pytest.mark.parametrize("fields", [{"Cache-Control": "no-store"}, {"Set-Cookie": "a=b"}])
    def test_no_store_and_cookies_hold_for_a_person_too(self, app, manager, counter, fields):
        """A scoped answer that says no-store or sets a cookie is not stored."""

        @app.route("/x")
        @manager.cacher(timeout=20, scope=lambda: "ann")
        async def view():
            return counter(), fields

        client = app.test_client()
        assert [client.get("/x").text for _ in range(2)] == ["1", "2"]


class TestWholeRequest:
    READS = {
        "session": lambda: session.get("user"),
        "cookie": lambda: request.cookies.get("theme"),
        "cookies": lambda: sorted(request.cookies) == ["session", "theme"],
        "authorization": lambda: str(request.authorization),
        "address": lambda: request.remote_addr,
        "forwarded": lambda: request.headers.get("X-Forwarded-For"),
        "environ": lambda: request.environ.get("my.user"),
        "agent": lambda: request.headers.get("User-Agent"),
        "host": lambda: request.host,
    }

    @pytest.mark.parametrize("what", READS)
    def test_the_render_sees_the_callers_whole_request(self, app, manager, what, caplog):
        """A scoped render reads what its caller sent, and is stored all the same."""
        read = self.READS[what]

        @app.route("/x")
        @manager.cacher(timeout=20, scope=user)
        async def view():
            return repr(read())

        client = logged_in(app, "ann")
        client.set_cookie("theme", "dark")
        kwargs = {
            "headers": {
                "Authorization": "Bearer t", "X-Forwarded-For": "1.2.3.4", "User-Agent": "me",
            },
            "environ_overrides": {"my.user": "ann"},
        }  # fmt: skip
        cookie = client.get_cookie("session").value
        with app.test_request_context(
            "/x",
            headers={**kwargs["headers"], "Cookie": f"session={cookie}; theme=dark"},
            environ_overrides={"my.user": "ann", "REMOTE_ADDR": "127.0.0.1"},
        ):
            expected = repr(read())
        assert "None" not in expected
        answers = [client.get("/x", **kwargs) for _ in range(2)]
        assert [answer.text for answer in answers] == [expected] * 2
        assert is_hit(answers[1])
        assert caplog.records == []

    def test_what_is_learned_is_learned_within_the_scope(self, app, manager, counter):
        """A header that is not personal splits a person's entries by its value."""

        @app.route("/x")
        @manager.cacher(timeout=20, scope=user)
        async def view():
            return f"{session['user']} {request.headers.get('Accept-Language')} {counter()}"

        ann, bob = logged_in(app, "ann"), logged_in(app, "bob")

        def get(client, language):
            return client.get("/x", headers={"Accept-Language": language}).text

        assert get(ann, "de") == "ann de 1"
        assert get(ann, "en") == "ann en 2"
        assert get(bob, "de") == "bob de 3"
        assert get(ann, "de") == "ann de 1"
        assert get(bob, "de") == "bob de 3"

    def test_other_cookies_of_the_person_do_not_split(self, app, manager, counter):
        """The scope stands for all that is personal: a changed cookie is the same person."""

        @app.route("/x")
        @manager.cacher(timeout=20, scope=user)
        async def view():
            return f"{request.cookies.get('_ga')} {counter()}"

        client = logged_in(app, "ann")
        client.set_cookie("_ga", "1")
        assert client.get("/x").text == "1 1"
        client.set_cookie("_ga", "2")
        assert client.get("/x").text == "1 1"

    def test_a_hooks_object_passes_unless_the_hooks_run_in_renders(self, app, manager, counter):
        """scope= with run_before_request=True: g.user is made anew from the person's session."""

        class User:
            def __init__(self, name):
                self.name = name

        @app.before_request
        def load_user():
            g.user = User(session["user"])

        @app.route("/x")
        @manager.cacher(timeout=20, scope=lambda: g.user.name, run_before_request=True)
        async def view():
            return f"{g.user.name} {counter()}"

        ann, bob = logged_in(app, "ann"), logged_in(app, "bob")
        for _ in range(2):
            assert [client.get("/x").text for client in (ann, bob)] == ["ann 1", "bob 2"]

    def test_without_the_hooks_an_object_in_g_passes(self, app, manager, counter):
        """scope= does not carry a hook's object into the render: its reader passes."""

        @app.before_request
        def load_user():
            g.user = {"name": session["user"]}

        @app.route("/x")
        @manager.cacher(timeout=20, scope=lambda: g.user["name"])
        async def view():
            return f"{g.user['name']} {counter()}"

        ann = logged_in(app, "ann")
        texts = [ann.get("/x").text for _ in range(2)]
        assert [text.split()[0] for text in texts] == ["ann", "ann"]
        assert texts[0] != texts[1]

    def test_who_sends_a_body_that_is_read_passes(self, app, manager):
        """The scope stands for the person, not for what he posts: a GET with a body passes."""

        @app.route("/x")
        @manager.cacher(timeout=20, scope=lambda: "ann")
        async def view():
            return request.get_data() or b"none"

        client = app.test_client()
        for _ in range(2):
            assert client.get("/x", data=b"evil").data == b"evil"
            assert client.get("/x").data == b"none"

    def test_who_has_an_attribute_of_a_hooks_that_is_read_passes(self, app, manager):
        """request.user, set by a hook, is not in a scoped render: its reader passes."""

        @app.before_request
        def load_user():
            if (name := session.get("user")) is not None:
                request.user = name

        @app.route("/x")
        @manager.cacher(timeout=20, scope=user)
        async def view():
            return getattr(request, "user", "nobody")

        for _ in range(2):
            assert logged_in(app, "ann").get("/x").text == "ann"
            assert app.test_client().get("/x").text == "nobody"

    def test_who_has_an_object_in_the_environ_that_is_read_passes(self, app, manager):
        """An object that middleware left in the environ is not carried: its reader passes."""

        @app.route("/x")
        @manager.cacher(timeout=20, scope=lambda: "ann")
        async def view():
            return ",".join(request.environ.get("my.groups", ["none"]))

        client = app.test_client()
        for _ in range(2):
            got = client.get("/x", environ_overrides={"my.groups": ["staff", "all"]})
            assert got.text == "staff,all"
            assert client.get("/x").text == "none"


class TestWrites:
    def test_a_render_that_writes_the_session_passes(self, app, manager, counter):
        """What a scoped view writes into the session reaches the person's own, each time."""

        @app.route("/x")
        @manager.cacher(timeout=20, scope=user)
        async def view():
            session["visits"] = session.get("visits", 0) + 1
            return str(session["visits"])

        ann = logged_in(app, "ann")
        assert [ann.get("/x").text for _ in range(3)] == ["1", "2", "3"]
        assert 'detail="writes session"' not in status(app.test_client().get("/nowhere"))

    def test_it_is_one_persons_url_that_passes(self, app, manager, counter):
        """A write for one person leaves the others' entries alone."""

        @app.route("/x")
        @manager.cacher(timeout=20, scope=user)
        async def view():
            if session["user"] == "ann":
                session["seen"] = counter()
            return f"{session['user']} {counter()}"

        ann, bob = logged_in(app, "ann"), logged_in(app, "bob")
        ann.get("/x")
        first = bob.get("/x").text
        assert first.startswith("bob ")
        assert bob.get("/x").text == first
        assert ann.get("/x").text != ann.get("/x").text

    def test_flashed_messages_are_shown_once(self, app, manager):
        """A scoped page that shows flashed messages consumes them in the person's session."""

        @app.route("/x")
        @manager.cacher(timeout=20, scope=user)
        async def view():
            return ",".join(get_flashed_messages())

        ann = logged_in(app, "ann")
        with ann.session_transaction() as stored:
            stored["_flashes"] = [("message", "saved")]
        assert [ann.get("/x").text for _ in range(2)] == ["saved", ""]

    def test_why_it_passes_is_in_the_log(self, app, manager, caplog):
        """A scoped view that writes the session is named in the log, as any that cannot share."""
        caplog.set_level(logging.WARNING)

        @app.route("/x")
        @manager.cacher(timeout=20, scope=lambda: "ann")
        async def view():
            session["seen"] = 1
            return "x"

        client = app.test_client()
        for _ in range(2):
            client.get("/x")
        [line] = [r.getMessage() for r in caplog.records if r.name == "aswr.render"]
        assert "writes session" in line
        assert "view" in line


class TestRefresh:
    def test_a_stale_entry_is_renewed_by_the_callers_own_request(self, app, view, manager, clock):
        """In the margin the person's own request refreshes his entry, and sees his session."""
        view()
        ann, bob = logged_in(app, "ann"), logged_in(app, "bob")
        assert [client.get("/x").text for client in (ann, bob)] == ["ann 1", "bob 2"]
        clock.tick(12)
        assert ann.get("/x").text == "ann 1"
        assert manager.join(5)
        assert ann.get("/x").text == "ann 3"
        assert bob.get("/x").text == "bob 2"

    def test_verbs_do_not_load_it(self, app, view, manager, counter):
        """refresh loads for nobody in particular: no entry of a person's, used as it may be."""
        view()
        ann = logged_in(app, "ann")
        for _ in range(3):
            ann.get("/x")
        assert manager.peek("/x") is None
        assert manager.refresh("/x").value.body == b"None 2"
        assert manager.join(5)
        assert ann.get("/x").text == "ann 1"
        assert counter.count == 2

    def test_jobs_do_not_load_it(self, app, manager):
        """A job loads for nobody in particular."""
        ran, seen = threading.Semaphore(0), []

        @app.route("/x")
        @manager.cacher(timeout=100, scope=user)
        async def view():
            seen.append(session.get("user"))
            ran.release()
            return "x"

        ann = logged_in(app, "ann")
        for _ in range(2):
            ann.get("/x")
        assert ran.acquire(timeout=10)
        manager.schedule_periodic_refresh("/x", 50)
        manager.start()
        assert ran.acquire(timeout=10)
        assert manager.join(5)
        assert seen == ["ann", None]

    def test_invalidation_takes_every_persons_entries(self, app, view, manager):
        """invalidate(path), tags and clear() purge scoped entries, too."""
        cached = view(tags=("pages",))
        ann, bob = logged_in(app, "ann"), logged_in(app, "bob")
        purges = [
            lambda: manager.invalidate("/x"),
            lambda: manager.invalidate_tags("pages"),
            lambda: cached.invalidate(),
            manager.clear,
        ]
        number = 0
        for purge in purges:
            for client, who in ((ann, "ann"), (bob, "bob")):
                number += 1
                assert client.get("/x").text == f"{who} {number}"
            purge()

    def test_the_scope_is_asked_at_every_request(self, app, view):
        """Who logs out, or in as somebody else, has another's entries from then on."""
        view()
        client = logged_in(app, "ann")
        assert client.get("/x").text == "ann 1"
        with client.session_transaction() as stored:
            stored["user"] = "bob"
        assert client.get("/x").text == "bob 2"
        with client.session_transaction() as stored:
            del stored["user"]
        assert client.get("/x").text == "None 3"

    def test_an_older_answer_stands_in_for_its_own_person_only(self, app, manager, clock):
        """stale_if_error gives a person his own older answer, and another none."""
        broken = []

        @app.route("/x")
        @manager.cacher(timeout=20, scope=user, stale_if_error=100)
        async def view():
            if broken:
                raise ValueError("broken")
            return session["user"]

        ann, bob = logged_in(app, "ann"), logged_in(app, "bob")
        ann.get("/x")
        broken.append(1)
        clock.tick(30)
        assert ann.get("/x").text == "ann"
        assert bob.get("/x").status_code == 500


class TestConditions:
    def test_the_person_is_answered_with_304(self, app, view):
        """A person who holds his answer is told so; another who sends its tag is not."""
        view()
        ann, bob = logged_in(app, "ann"), logged_in(app, "bob")
        etag = ann.get("/x").headers["ETag"]
        assert etag.startswith('W/"')
        bob.get("/x")
        held = ann.get("/x", headers={"If-None-Match": etag})
        assert (held.status_code, held.data) == (304, b"")
        assert held.headers["Cache-Control"] == "private, no-cache"
        other = bob.get("/x", headers={"If-None-Match": etag})
        assert (other.status_code, other.text) == (200, "bob 2")


class TestNested:
    def test_a_scoped_view_in_another_render(self, app, manager, counter):
        """A page that calls a scoped view is as personal as what the scope reads."""

        @manager.cacher(timeout=20, scope=user)
        async def corner():
            return f"{session.get('user')} {counter()}"

        @app.route("/page")
        @manager.cacher(timeout=20)
        async def page():
            return "page " + (await corner()).get_data(as_text=True)

        ann, bob = logged_in(app, "ann"), logged_in(app, "bob")
        nobody = app.test_client()
        assert [nobody.get("/page").text for _ in range(2)] == ["page None 1"] * 2
        found = [client.get("/page").text for client in (ann, bob, ann)]
        assert [text.split()[1] for text in found] == ["ann", "bob", "ann"]
        assert found[0] == found[2]
        assert nobody.get("/page").text == "page None 1"

    def test_a_view_in_a_scoped_render(self, app, manager, counter):
        """A shared view that a scoped one calls stays shared, and sees no one."""

        @manager.cacher(timeout=20)
        async def news():
            return f"news {counter()}"

        @app.route("/page")
        @manager.cacher(timeout=20, scope=user)
        async def page():
            return f"{session['user']} " + (await news()).get_data(as_text=True)

        found = [logged_in(app, who).get("/page").text for who in ("ann", "bob")]
        assert found == ["ann news 1", "bob news 1"]

    def test_a_personal_view_in_a_scoped_render(self, app, manager, counter):
        """A view that reads the session, called in a scoped render, runs for that person."""

        @manager.cacher(timeout=20)
        async def corner():
            return f"corner of {session.get('user')}"

        @app.route("/page")
        @manager.cacher(timeout=20, scope=user)
        async def page():
            return (await corner()).get_data(as_text=True) + f" {counter()}"

        ann, bob = logged_in(app, "ann"), logged_in(app, "bob")
        for _ in range(2):
            found = [client.get("/page").text for client in (ann, bob)]
            assert found == ["corner of ann 1", "corner of bob 2"]


def test_scoped_entries_of_a_shared_store_are_the_persons(clock, counter):
    """A second process over one store serves a person his entry, and nobody else."""
    from aiocache import SimpleMemoryCache

    backend = SimpleMemoryCache(namespace="scoped")

    def make():
        app = Flask("shop")
        app.secret_key = "secret"
        manager = CacheManager(app, cache=backend, clock=clock)

        @app.route("/x")
        @manager.cacher(timeout=100, scope=user)
        async def view():
            return f"{session.get('user')} {counter()}"

        return app, manager

    app, manager = make()
    assert logged_in(app, "ann").get("/x").text == "ann 1"
    assert manager.join(5)
    manager.close()
    app, manager = make()
    assert logged_in(app, "ann").get("/x").text == "ann 1"
    assert logged_in(app, "bob").get("/x").text == "bob 2"
    assert app.test_client().get("/x").text == "None 3"
    manager.close()


@pytest.mark.parametrize("option", ["unless", "store_if"])
def test_unless_and_store_if_beside_it(app, manager, counter, option):
    """unless= and store_if= hold for a person as for everybody."""
    options = {"unless": lambda: True} if option == "unless" else {"store_if": lambda _: False}

    @app.route("/x")
    @manager.cacher(timeout=20, scope=user, **options)
    async def view():
        return f"{session.get('user')} {counter()}"

    ann = logged_in(app, "ann")
    assert [ann.get("/x").text for _ in range(2)] == ["ann 1", "ann 2"]
