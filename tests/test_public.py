"""public=True: rendered through the app's whole dispatch, and its answer is final."""

import asyncio
import functools
import threading

import flask
import pytest
from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    after_this_request,
    g,
    redirect,
    request,
    session,
)  # fmt: skip
from flask.views import MethodView, View

from aswr import CacheManager


def status(response) -> str:
    return response.headers.get("Cache-Status", "")


def is_hit(response) -> bool:
    return status(response).startswith("aswr; hit")


@pytest.fixture(params=["async", "def"])
def kind(request) -> str:
    return request.param


def public(app, manager, counter, kind="async", **options):
    """A public view at /x that tells the number of its render."""
    if kind == "async":

        @app.route("/x")
        @manager.cacher(timeout=60, public=True, **options)
        async def view():
            return counter()
    else:

        @app.route("/x")
        @manager.cacher(timeout=60, public=True, **options)
        def view():
            return counter()

    return view


class TestAnswers:
    def test_a_miss_and_a_hit_are_the_same(self, app, manager, counter, kind):
        """A hit has the bytes and fields of the miss before it, but for Cache-Status."""
        public(app, manager, counter, kind)
        client = app.test_client()
        first, second = client.get("/x"), client.get("/x")
        fields = [
            [field for field in response.headers if field[0] != "Cache-Status"]
            for response in (first, second)
        ]
        assert fields[0] == fields[1]
        assert (first.text, second.text) == ("1", "1")
        assert status(first) == "aswr; fwd=uri-miss; stored"
        assert is_hit(second)
        assert first.headers["Cache-Control"].startswith("public, max-age=")
        assert first.headers["ETag"].startswith('"')

    @pytest.mark.parametrize(
        "answer",
        [
            lambda: {"a": 1},
            lambda: ("x", 203, {"X-A": "1"}),
            lambda: redirect("/y", 301),
            lambda: Response(iter(["a", "b"])),
            lambda: b"\x00\xff",
        ],
    )
    def test_every_return_type(self, app, manager, kind, answer):
        """Whatever Flask takes from a view is stored and comes back the same."""
        calls = []

        def body():
            calls.append(1)
            return answer()

        async def async_body():
            return body()

        view = async_body if kind == "async" else body
        app.add_url_rule("/x", "x", manager.cacher(timeout=60, public=True)(view))
        client = app.test_client()
        first, second = client.get("/x"), client.get("/x")
        assert first.data == second.data
        assert first.status_code == second.status_code
        assert first.headers.get("Location") == second.headers.get("Location")
        assert len(calls) == 1

    def test_verbs(self, app, manager, counter, kind):
        """refresh, peek and invalidate work as for any view."""
        view = public(app, manager, counter, kind)
        client = app.test_client()
        assert client.get("/x").text == "1"
        assert manager.peek("/x").value.body == b"1"
        assert view.refresh().value.body == b"2"
        assert client.get("/x").text == "2"
        view.invalidate()
        assert client.get("/x").text == "3"

    def test_a_job(self, app, manager):
        """A job renders through the whole dispatch, too."""
        ran = threading.Semaphore(0)

        @app.after_request
        def mark(response):
            response.headers.add("X-Hook", "1")
            return response

        @app.route("/x")
        @manager.cacher(timeout=60, public=True)
        async def view():
            ran.release()
            return "x"

        manager.schedule_periodic_refresh("/x", 50)
        manager.start()
        assert ran.acquire(timeout=10)
        assert manager.join(5)
        response = app.test_client().get("/x")
        assert is_hit(response)
        assert response.headers.getlist("X-Hook") == ["1"]

    def test_in_the_margin_it_is_renewed(self, app, manager, clock, counter, kind):
        """A stale public answer is served while it is rendered anew, by all the hooks."""
        calls = []
        app.before_request(lambda: calls.append(request.path))
        public(app, manager, counter, kind, refresh_margin=30)
        client = app.test_client()
        client.get("/x")
        clock.tick(40)
        assert client.get("/x").text == "1"
        assert manager.join(5)
        assert client.get("/x").text == "2"

    def test_a_failure_is_raised_in_the_callers_request(self, app, manager, kind):
        """An exception of a public view reaches the app's handlers once, in each request."""
        handled = []

        @app.errorhandler(KeyError)
        def handler(error):
            handled.append(1)
            return "handled", 400

        def body():
            raise KeyError("k")

        async def async_body():
            raise KeyError("k")

        view = async_body if kind == "async" else body
        app.add_url_rule("/x", "x", manager.cacher(timeout=60, public=True)(view))
        response = app.test_client().get("/x")
        assert (response.status_code, response.text) == (400, "handled")
        assert len(handled) == 1

    def test_an_abort_goes_through_the_error_handler(self, app, manager, counter):
        """An HTTPException is answered by the app's own handler in the render, and stored so."""

        @app.errorhandler(404)
        def handler(error):
            return f"custom {counter()}", 404

        @app.route("/x")
        @manager.cacher(timeout=60, public=True, statuses={404: 30})
        async def view():
            abort(404)

        client = app.test_client()
        found = [client.get("/x") for _ in range(2)]
        assert [(r.status_code, r.text) for r in found] == [(404, "custom 1")] * 2

    def test_compute_func_stands_in_for_the_body(self, app, manager, counter, kind):
        """compute_func of a public view gets the arguments, inside of all decorators."""
        if kind == "async":

            async def compute(name):
                return f"{name} {counter()}"
        else:

            def compute(name):
                return f"{name} {counter()}"

        def around(view):
            @functools.wraps(view)
            def outer(**kwargs):
                return flask.current_app.ensure_sync(view)(**kwargs)

            return outer

        @app.route("/<name>/<int:page>")
        @around
        @manager.cacher(timeout=60, public=True, compute_func=compute)
        async def view(name, page):
            raise AssertionError("the body does not run")

        client = app.test_client()
        assert [client.get("/a/1").text for _ in range(2)] == ["a 1", "a 1"]
        assert view.refresh(name="a", page=1).value.body == b"a 2"


class TestHooks:
    def test_all_hooks_run_in_the_render(self, app, manager, counter, kind):
        """before_request, URL preprocessors, after_request and teardown run for the entry."""
        order = []
        pages = Blueprint("pages", __name__)

        def note(name):
            def hook(*args):
                order.append(name)
                return args[0] if name.startswith("after") else None

            return hook

        app.before_request(note("before"))
        app.after_request(note("after"))
        pages.before_request(note("before pages"))
        pages.after_request(note("after pages"))
        app.url_value_preprocessor(lambda endpoint, values: order.append("values"))

        async def async_view():
            order.append("view")
            return "x"

        def view():
            order.append("view")
            return "x"

        cached = manager.cacher(timeout=60, public=True)(async_view if kind == "async" else view)
        pages.add_url_rule("/x", "x", cached)
        app.register_blueprint(pages)
        manager.refresh("/x")
        assert order == [
            "values", "before", "before pages", "view", "after pages", "after",
        ]  # fmt: skip

    def test_after_request_hooks_run_once_for_an_answer(self, app, manager, counter, kind):
        """What a hook adds is on every answer once: on the miss, on hits, on a 304, on a part."""

        @app.after_request
        def stamp(response):
            response.headers.add("X-Hook", counter())
            return response

        pages = Blueprint("pages", __name__)

        @pages.after_request
        async def stamp_pages(response):
            response.headers.add("X-Pages", "1")
            return response

        if kind == "async":

            @pages.route("/x")
            @manager.cacher(timeout=60, public=True)
            async def view():
                return "0123"
        else:

            @pages.route("/x")
            @manager.cacher(timeout=60, public=True)
            def view():
                return "0123"

        app.register_blueprint(pages)
        client = app.test_client()
        etag = client.get("/x").headers["ETag"]
        for headers in ({}, {}, {"If-None-Match": etag}, {"Range": "bytes=0-1"}):
            response = client.get("/x", headers=headers)
            assert response.headers.getlist("X-Hook") == ["1"]
            assert response.headers.getlist("X-Pages") == ["1"]
        assert client.head("/x").headers.getlist("X-Hook") == ["1"]

    def test_a_hook_that_changes_the_body_changes_the_stored_one(self, app, manager):
        """The tag is that of the bytes as the hooks left them."""

        @app.after_request
        def shout(response):
            response.set_data(response.get_data().upper() + b"!")
            return response

        @app.route("/x")
        @manager.cacher(timeout=60, public=True)
        async def view():
            return "text"

        client = app.test_client()
        first, second = client.get("/x"), client.get("/x")
        assert (first.text, second.text) == ("TEXT!", "TEXT!")
        assert first.headers["ETag"] == second.headers["ETag"]
        assert second.headers["Content-Length"] == "5"

    def test_after_this_request_in_the_view(self, app, manager, kind):
        """after_this_request of a public view is part of what is stored, once."""

        def body():
            @after_this_request
            def mark(response):
                response.headers.add("X-Mark", "1")
                return response

            return "x"

        async def async_body():
            return body()

        view = async_body if kind == "async" else body
        app.add_url_rule("/x", "x", manager.cacher(timeout=60, public=True)(view))
        client = app.test_client()
        assert [client.get("/x").headers.getlist("X-Mark") for _ in range(3)] == [["1"]] * 3

    def test_after_this_request_in_a_hook(self, app, manager, counter):
        """after_this_request of a before_request hook is on the answer once."""

        @app.before_request
        def hook():
            @after_this_request
            def mark(response):
                response.headers.add("X-Mark", "1")
                return response

        public(app, manager, counter)
        client = app.test_client()
        assert [client.get("/x").headers.getlist("X-Mark") for _ in range(3)] == [["1"]] * 3

    def test_what_hooks_leave_in_g_is_the_renders_own(self, app, manager, counter):
        """Objects that hooks make are made in the render, and no input."""

        @app.before_request
        def hook():
            g.config = {"title": "shop"}

        @app.route("/x")
        @manager.cacher(timeout=60, public=True)
        async def view():
            return f"{g.config['title']} {counter()}"

        client = app.test_client()
        assert [client.get("/x").text for _ in range(2)] == ["shop 1", "shop 1"]

    def test_a_hook_that_looks_for_its_own_name(self, app, manager, counter):
        """A hook that connects unless g.db is there makes nobody pass."""

        @app.before_request
        def connect():
            if "db" not in g:
                g.db = object()

        public(app, manager, counter)
        client = app.test_client()
        assert [client.get("/x").text for _ in range(2)] == ["1", "1"]

    def test_what_hooks_read_is_learned(self, app, manager, counter):
        """A header that a hook reads splits the URL, and shows in Vary."""

        @app.before_request
        def tenant():
            g.tenant = request.headers.get("X-Tenant")

        @app.route("/x")
        @manager.cacher(timeout=60, public=True)
        async def view():
            return f"{g.tenant} {counter()}"

        client = app.test_client()
        sent = [{"X-Tenant": tenant} for tenant in "aba"]
        found = [client.get("/x", headers=headers) for headers in sent]
        assert [response.text for response in found] == ["a 1", "b 2", "a 1"]
        assert {response.headers["Vary"] for response in found} == {"X-Tenant"}

    def test_what_after_request_hooks_read_is_learned(self, app, manager, counter):
        """An after_request hook that answers by Origin splits the URL by Origin."""

        @app.after_request
        def cors(response):
            if (origin := request.headers.get("Origin")) is not None:
                response.headers["Access-Control-Allow-Origin"] = origin
            return response

        public(app, manager, counter)
        client = app.test_client()
        for _ in range(2):
            for origin in ("http://a", "http://b"):
                headers = client.get("/x", headers={"Origin": origin}).headers
                assert headers["Access-Control-Allow-Origin"] == origin
                assert headers["Vary"] == "Origin"
            assert "Access-Control-Allow-Origin" not in client.get("/x").headers
        assert counter.count == 3

    def test_a_hook_that_answers_is_the_answer(self, app, manager, counter):
        """A before_request hook that returns a response answers in place of the view."""

        @app.before_request
        def maintenance():
            return f"closed {counter()}", 503

        public(app, manager, counter)
        response = app.test_client().get("/x")
        assert (response.status_code, response.text.split()[0]) == (503, "closed")

    @pytest.mark.parametrize("options", [{"public": True}, {"run_before_request": True}])
    @pytest.mark.parametrize("where", ["before", "error"])
    def test_a_cached_view_that_a_hook_calls(self, app, manager, counter, options, where):
        """What a cached view reads that a hook calls in the render, the outer view reads."""

        @manager.cacher(timeout=60)
        def nav():
            return f"nav {request.headers.get('X-A')}"

        @app.before_request
        def before():
            if where == "error":
                abort(404)
            g.nav = nav().get_data(as_text=True)

        @app.errorhandler(404)
        def handler(error):
            return f"{nav().get_data(as_text=True)} {counter()}"

        @app.route("/x")
        @manager.cacher(timeout=60, **options)
        def view():
            return f"{g.nav} {counter()}"

        if where == "error":  # else the hook answers in each real request, too
            app.before_request_funcs[None] = [
                lambda: before() if dict.get(request.environ, "REMOTE_ADDR") is None else None
            ]
        client = app.test_client()
        for value in "121":
            assert client.get("/x", headers={"X-A": value}).text.startswith(f"nav {value} ")

    def test_teardown_functions_run_for_every_render(self, app, manager, counter, caplog):
        """Each render tears its contexts down; one that fails is logged once, and fails nothing.

        A hit has none: there is no Flask in it.
        """
        torn = []

        @app.teardown_request
        def over(error):
            torn.append(1)
            if dict.get(request.environ, "REMOTE_ADDR") is None:
                raise ValueError("teardown")

        view = public(app, manager, counter)
        client = app.test_client()
        assert client.get("/x").text == "1"
        assert view.refresh().value.body == b"2"
        assert client.get("/x").text == "2"
        assert len(torn) == 3
        assert len([r for r in caplog.records if "teardown" in r.getMessage()]) == 1


class TestPersonal:
    def test_a_hook_that_guards_by_a_header(self, app, manager, counter):
        """A hook that aborts by Authorization makes the answer personal: the door guards itself."""

        @app.before_request
        def guard():
            if request.headers.get("Authorization") != "Bearer good":
                abort(401)

        public(app, manager, counter)
        client = app.test_client()
        good = {"Authorization": "Bearer good"}
        for _ in range(2):
            assert client.get("/x").status_code == 401
            inside = client.get("/x", headers=good)
            assert inside.status_code == 200
            assert inside.headers["Cache-Control"] == "private, no-cache"
            assert client.get("/x", headers={"Authorization": "bad"}).status_code == 401
        assert manager.peek("/x") is None

    def test_a_hook_that_guards_by_the_session(self, app, manager, counter):
        """A hook that sends strangers to the login page never has its guest's page shared."""

        @app.before_request
        def guard():
            return None if "user" in session else redirect("/login")

        public(app, manager, counter, statuses={302: 30})
        ann = app.test_client()
        with ann.session_transaction() as stored:
            stored["user"] = "ann"
        for _ in range(2):
            assert app.test_client().get("/x").status_code == 302
            assert ann.get("/x").status_code == 200

    def test_a_hook_that_reads_the_address_makes_all_pass(self, app, manager, counter):
        """Nothing is shared where a hook reads what everybody has."""
        app.before_request(lambda: request.remote_addr and None)
        public(app, manager, counter)
        client = app.test_client()
        found = [client.get("/x") for _ in range(2)]
        assert found[0].text != found[1].text
        assert all("bypass" in status(response) for response in found)
        assert all(r.headers["Cache-Control"] == "private, no-cache" for r in found)

    @pytest.mark.parametrize("where", ["before", "view", "after"])
    def test_a_session_that_is_written_passes(self, app, manager, counter, where):
        """A session written in the dispatch is written for each caller, in his own."""

        def write(*args):
            session["visits"] = session.get("visits", 0) + 1
            return args[0] if args else None

        if where == "before":
            app.before_request(write)
        if where == "after":
            app.after_request(write)

        @app.route("/x")
        @manager.cacher(timeout=60, public=True)
        async def view():
            if where == "view":
                write()
            return counter()

        client = app.test_client()
        for number in (1, 2, 3):
            response = client.get("/x")
            assert not is_hit(response)
            with client.session_transaction() as stored:
                assert stored["visits"] == number
        assert manager.peek("/x") is None

    @pytest.mark.parametrize("where", ["view", "after", "this"])
    def test_a_cookie_that_is_set_is_not_shared(self, app, manager, counter, where):
        """An answer with a Set-Cookie, whoever set it, goes to one caller and is not stored."""

        def add(response):
            response.set_cookie("token", counter())
            return response

        if where == "after":
            app.after_request(add)

        @app.route("/x")
        @manager.cacher(timeout=60, public=True)
        async def view():
            if where == "this":
                after_this_request(add)
            return add(Response("x")) if where == "view" else "x"

        found = [app.test_client().get("/x") for _ in range(4)]
        tokens = [response.headers.getlist("Set-Cookie") for response in found]
        assert [len(token) for token in tokens] == [1] * 4
        assert len({token[0] for token in tokens}) == 4
        assert manager.peek("/x") is None
        for response in found:
            assert "public" not in response.headers.get("Cache-Control", "")
            assert "Cache-Status" not in response.headers

    def test_who_brings_what_the_view_reads_passes_and_leaves_private(self, app, manager, counter):
        """A pass of a public URL is private, whole, and has been through the hooks once."""

        @app.after_request
        def stamp(response):
            response.headers.add("X-Hook", "1")
            return response

        @app.route("/x")
        @manager.cacher(timeout=60, public=True)
        async def view():
            return f"{session.get('user')} {counter()}"

        ann = app.test_client()
        with ann.session_transaction() as stored:
            stored["user"] = "ann"
        assert app.test_client().get("/x").text == "None 1"
        for number in "23":
            own = ann.get("/x")
            assert own.text == f"ann {number}"
            assert own.headers["Cache-Control"] == "private, no-cache"
            assert own.headers["Vary"] == "Cookie"
            assert own.headers.getlist("X-Hook") == ["1"]
        assert is_hit(app.test_client().get("/x"))

    def test_the_first_caller_may_be_the_one_who_passes(self, app, manager, counter):
        """A cold public URL asked for by a person leaves private, and nothing of his stays."""

        @app.route("/x")
        @manager.cacher(timeout=60, public=True)
        async def view():
            return f"{session.get('user')} {counter()}"

        ann = app.test_client()
        with ann.session_transaction() as stored:
            stored["user"] = "ann"
        own = ann.get("/x")
        assert own.text.startswith("ann ")
        assert own.headers["Cache-Control"] == "private, no-cache"
        assert manager.join(5)
        assert app.test_client().get("/x").text.startswith("None ")


class TestDecorators:
    """Decorators above ours are part of what a public view is."""

    @staticmethod
    def sync_outer(view):
        @functools.wraps(view)
        def outer(*args, **kwargs):
            value = flask.current_app.ensure_sync(view)(*args, **kwargs)
            response = flask.make_response(value)
            response.headers.add("X-Outer", "1")
            return response

        return outer

    @staticmethod
    def async_outer(view):
        @functools.wraps(view)
        async def outer(*args, **kwargs):
            await asyncio.sleep(0)
            response = flask.make_response(await view(*args, **kwargs))
            response.headers.add("X-Outer", "1")
            return response

        return outer

    @pytest.mark.parametrize("outer", ["sync", "async", "both"])
    def test_what_they_add_is_stored(self, app, manager, counter, outer):
        """The entry of a public view has been through its outer decorators."""

        @manager.cacher(timeout=60, public=True)
        async def view():
            return counter()

        wrapped = view
        if outer in ("async", "both"):
            wrapped = self.async_outer(wrapped)
        if outer in ("sync", "both"):
            wrapped = self.sync_outer(wrapped)
        app.add_url_rule("/x", "x", wrapped)
        assert manager.refresh("/x").value.body == b"1"
        stored = manager.peek("/x").value.headers
        assert [value for name, value in stored if name == "X-Outer"] == (
            ["1"] * (2 if outer == "both" else 1)
        )

    @pytest.mark.parametrize("outer", ["sync", "async"])
    def test_they_are_on_an_answer_once(self, app, manager, counter, outer):
        """What an outer decorator adds is on every answer once, miss or hit."""
        decorate = self.sync_outer if outer == "sync" else self.async_outer

        @app.route("/x")
        @decorate
        @manager.cacher(timeout=60, public=True)
        async def view():
            return counter()

        client = app.test_client()
        found = [client.get("/x") for _ in range(3)]
        assert [response.text for response in found] == ["1"] * 3
        assert [r.headers.getlist("X-Outer") for r in found] == [["1"]] * 3

    @pytest.mark.parametrize("outer", ["sync", "async"])
    def test_a_guard_makes_the_answer_personal(self, app, manager, counter, outer):
        """A login_required that looks at a credential is read in the render: who has one passes."""

        def allowed():
            if request.headers.get("Authorization") != "Bearer good":
                abort(401)

        def sync_guard(view):
            @functools.wraps(view)
            def guarded(*args, **kwargs):
                allowed()
                return flask.current_app.ensure_sync(view)(*args, **kwargs)

            return guarded

        def async_guard(view):
            @functools.wraps(view)
            async def guarded(*args, **kwargs):
                allowed()
                return await view(*args, **kwargs)

            return guarded

        @app.route("/x")
        @(sync_guard if outer == "sync" else async_guard)
        @manager.cacher(timeout=60, public=True)
        async def view():
            return counter()

        client = app.test_client()
        good = {"Authorization": "Bearer good"}
        for _ in range(2):
            assert client.get("/x").status_code == 401
            assert client.get("/x", headers=good).status_code == 200
        assert manager.peek("/x") is None

    def test_a_decorator_that_gives_arguments(self, app, manager, counter):
        """A decorator that adds an argument of its own gives it in the render as well."""

        def with_site(view):
            @functools.wraps(view)
            async def outer(*args, **kwargs):
                return await view(*args, site="main", **kwargs)

            return outer

        @app.route("/<name>")
        @with_site
        @manager.cacher(timeout=60, public=True)
        async def view(name, site):
            return f"{name} {site} {counter()}"

        client = app.test_client()
        assert [client.get("/a").text for _ in range(2)] == ["a main 1"] * 2

    def test_one_that_answers_itself(self, app, manager, counter):
        """A decorator that does not call the view in the render is what is stored."""

        def by_language(view):
            @functools.wraps(view)
            async def outer(*args, **kwargs):
                if request.headers.get("Accept-Language") == "xx":
                    return "no such language", 404
                return await view(*args, **kwargs)

            return outer

        @app.route("/x")
        @by_language
        @manager.cacher(timeout=60, public=True)
        async def view():
            return counter()

        client = app.test_client()
        assert client.get("/x", headers={"Accept-Language": "xx"}).status_code == 404
        assert client.get("/x").text == "1"

    def test_inner_decorators_are_the_views_own(self, app, manager, counter):
        """What is below ours is cached with the view, once."""

        @app.route("/x")
        @manager.cacher(timeout=60, public=True)
        @self.async_outer
        async def view():
            return counter()

        client = app.test_client()
        found = [client.get("/x") for _ in range(2)]
        assert [response.headers.getlist("X-Outer") for response in found] == [["1"]] * 2
        assert counter.count == 1


class TestClasses:
    def test_a_decorated_method(self, app, manager, counter, kind):
        """A public method of a view class is rendered on an instance of its own."""

        class Page(MethodView):
            def __init__(self, title):
                self.title = title

            if kind == "async":

                @manager.cacher(timeout=60, public=True)
                async def get(self, name):
                    return f"{self.title} {name} {counter()}"
            else:

                @manager.cacher(timeout=60, public=True)
                def get(self, name):
                    return f"{self.title} {name} {counter()}"

        app.add_url_rule("/a/<name>", view_func=Page.as_view("a", "A"))
        app.add_url_rule("/b/<name>", view_func=Page.as_view("b", "B"))
        client = app.test_client()
        urls = ["/a/x", "/b/x", "/a/x", "/b/x"]
        assert [client.get(url).text for url in urls] == ["A x 1", "B x 2", "A x 1", "B x 2"]
        assert manager.refresh("/b/x").value.body == b"B x 3"

    @pytest.mark.parametrize("public", [True, False])
    def test_decorators_of_the_class(self, app, manager, counter, kind, public):
        """decorators = [cached]: the class's view function is what is cached."""

        class Page(View):
            decorators = [manager.cacher(timeout=60, public=public)]

            if kind == "async":

                async def dispatch_request(self, name):
                    return f"{name} {counter()}"
            else:

                def dispatch_request(self, name):
                    return f"{name} {counter()}"

        app.add_url_rule("/<name>", view_func=Page.as_view("page"))
        client = app.test_client()
        assert [client.get(f"/{name}").text for name in "aba"] == ["a 1", "b 2", "a 1"]
        assert manager.refresh("/a").value.body == b"a 3"

    @pytest.mark.parametrize("public", [True, False])
    def test_decorators_around_a_cached_method(self, app, manager, counter, kind, public):
        """The class's own decorators are around the cached method in the render, too."""
        seen = []

        def note(view):
            @functools.wraps(view)
            def outer(*args, **kwargs):
                seen.append(1)
                return view(*args, **kwargs)

            return outer

        class Page(MethodView):
            decorators = [note]

            if kind == "async":

                @manager.cacher(timeout=60, public=public)
                async def get(self):
                    return counter()
            else:

                @manager.cacher(timeout=60, public=public)
                def get(self):
                    return counter()

        app.add_url_rule("/x", view_func=Page.as_view("x"))
        assert manager.refresh("/x").value.body == b"1"
        assert len(seen) == (1 if public else 0)
        client = app.test_client()
        assert [client.get("/x").text for _ in range(2)] == ["1", "1"]

    def test_one_shared_instance(self, app, manager, counter):
        """init_every_request = False keeps its one instance."""

        class Page(View):
            init_every_request = False

            @manager.cacher(timeout=60, public=True)
            async def dispatch_request(self):
                return counter()

        app.add_url_rule("/x", view_func=Page.as_view("x"))
        client = app.test_client()
        assert [client.get("/x").text for _ in range(2)] == ["1", "1"]


class TestNested:
    def test_a_page_of_public_parts(self, app, manager, counter):
        """A public view that a page calls is a part of it, and the page stays as it is."""

        @manager.cacher(timeout=60, public=True)
        async def part():
            return f"part {counter()}"

        @app.after_request
        def stamp(response):
            response.headers.add("X-Hook", "1")
            return response

        @app.route("/page")
        async def page():
            return "page with " + (await part()).get_data(as_text=True)

        client = app.test_client()
        for _ in range(2):
            response = client.get("/page")
            assert response.text == "page with part 1"
            assert response.headers.getlist("X-Hook") == ["1"]

    def test_a_part_that_is_the_whole_answer_of_a_guarded_page(self, app, manager, counter):
        """A page that returns a public view's response is answered through its own hooks."""

        @manager.cacher(timeout=60, public=True)
        async def part():
            return counter()

        @app.after_request
        def stamp(response):
            response.headers["X-Hook"] = "1"
            return response

        @app.route("/page")
        async def page():
            session["seen"] = 1
            return await part()

        client = app.test_client()
        for _ in range(2):
            response = client.get("/page")
            assert (response.text, response.headers["X-Hook"]) == ("1", "1")
            assert "Set-Cookie" in response.headers

    def test_a_public_page_of_public_parts(self, app, manager, counter):
        """Public views may call each other."""

        @app.route("/part")
        @manager.cacher(timeout=60, public=True)
        async def part():
            return f"{request.headers.get('X-A')} {counter()}"

        @app.route("/page")
        @manager.cacher(timeout=60, public=True)
        async def page():
            return "page " + (await part()).get_data(as_text=True)

        client = app.test_client()
        sent = [{"X-A": value} for value in "121"]
        found = [client.get("/page", headers=headers) for headers in sent]
        assert [response.text for response in found] == ["page 1 1", "page 2 2", "page 1 1"]
        assert {response.headers["Vary"] for response in found} == {"X-A"}


class TestOptions:
    @pytest.mark.parametrize(
        "options",
        [
            {"scope": lambda: "a"},
            {"key": lambda: "a"},
            {"unless": lambda: False},
            {"emit_cache_control": True},
            {"run_before_request": False},
        ],
        ids=lambda options: next(iter(options)),
    )
    def test_what_makes_no_sense_beside_it(self, manager, options):
        """What is asked in the request cannot decide of an answer that is given before it."""
        with pytest.raises(ValueError, match="make no sense together"):
            manager.cacher(timeout=60, public=True, **options)

    def test_query_and_vary_go_with_it(self, app, manager, counter):
        """query="read" and vary=[...] hold for public views, hooks included."""
        seen = []

        @app.before_request
        def look():
            seen.append(request.headers.get("X-B"))

        @app.route("/x")
        @manager.cacher(timeout=60, public=True, query="read", vary=["X-A"])
        async def view():
            return f"{request.headers.get('X-A')} {request.args.get('a')} {counter()}"

        client = app.test_client()
        one = client.get("/x?a=1&utm=1", headers={"X-A": "1", "X-B": "1"})
        two = client.get("/x?a=1&utm=2", headers={"X-A": "1", "X-B": "2"})
        assert (one.text, two.text) == ("1 1 1", "1 1 1")
        assert one.headers["Vary"] == "X-A"
        assert seen == ["1", None]  # the request that missed, and the render

    def test_store_if_sees_the_answer_as_it_leaves(self, app, manager, counter):
        """store_if and tags are asked with the response that went through the hooks."""

        @app.after_request
        def stamp(response):
            response.headers["X-Group"] = "news"
            return response

        @app.route("/x")
        @manager.cacher(
            timeout=60,
            public=True,
            store_if=lambda response: "X-Group" in response.headers,
            tags=lambda response: (response.headers["X-Group"],),
        )
        async def view():
            return counter()

        client = app.test_client()
        assert [client.get("/x").text for _ in range(2)] == ["1", "1"]
        manager.invalidate_tags("news")
        assert client.get("/x").text == "2"

    def test_signals_are_sent_for_a_render(self, app, manager, counter):
        """request_started and request_finished are sent in the render of a public view."""
        sent = []

        def started(sender, **extra):
            sent.append("started")

        def finished(sender, response, **extra):
            sent.append("finished")

        flask.request_started.connect(started, app)
        flask.request_finished.connect(finished, app)
        view = public(app, manager, counter)
        view.refresh()
        assert sent == ["started", "finished"]


def test_a_public_view_of_another_app_stays_with_it(clock, counter):
    """Hooks of one app are not those of another that has the same view."""
    manager = CacheManager(clock=clock)

    @manager.cacher(timeout=60, public=True)
    async def view():
        return counter()

    for name in ("a", "b"):
        app = Flask(name)
        manager.init_app(app)
        app.add_url_rule("/x", "x", view)

        @app.after_request
        def stamp(response, name=name):
            response.headers["X-App"] = name
            return response

        client = app.test_client()
        assert [client.get("/x").headers["X-App"] for _ in range(2)] == [name] * 2
    assert counter.count == 2
    manager.close()
