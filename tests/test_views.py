"""Views in real apps: what is cached, what passes, and what the caller sees."""

import asyncio
import functools
import io
import threading
from datetime import date, timedelta
from pathlib import Path

import flask
import jinja2
import pytest
from flask import Blueprint, Flask, abort, g, jsonify, redirect, request, send_file, session
from flask.views import MethodView, View

from aswr import CacheManager, WaitTimeout


def status(response) -> str:
    return response.headers.get("Cache-Status", "")


def answers(client, *urls: str) -> list[str]:
    return [client.get(url).text for url in urls]


class TestVerdicts:
    def test_a_second_request_is_a_hit(self, app, manager, counter):
        """A fresh answer is served from memory, with its age and remaining freshness."""

        @app.route("/x")
        @manager.cacher(timeout=20, refresh_margin=10)
        async def view():
            return counter()

        client = app.test_client()
        first, second = client.get("/x"), client.get("/x")
        assert (first.text, second.text) == ("1", "1")
        assert status(first) == "aswr; fwd=uri-miss; stored"
        assert status(second) == "aswr; hit; ttl=10"
        assert second.headers["Age"] == "0"

    def test_in_the_margin_the_old_answer_is_served_and_one_load_renews_it(
        self, app, manager, clock, counter
    ):
        """A stale answer is served at once while exactly one load renews it."""

        @app.route("/x")
        @manager.cacher(timeout=20, refresh_margin=10)
        async def view():
            return counter()

        client = app.test_client()
        client.get("/x")
        clock.tick(13)
        stale = client.get("/x")
        assert stale.text == "1"
        assert status(stale) == "aswr; hit; ttl=-3; detail=revalidating"
        assert stale.headers["Age"] == "13"
        assert manager.join(5)
        assert client.get("/x").text == "2"
        assert manager.stats()["loads"] == 2

    def test_past_the_timeout_the_caller_waits(self, app, manager, clock, counter):
        """Past its timeout an entry is not served, and the caller is told why he waited."""

        @app.route("/x")
        @manager.cacher(timeout=20, refresh_margin=10)
        async def view():
            return counter()

        client = app.test_client()
        client.get("/x")
        clock.tick(20)
        again = client.get("/x")
        assert (again.text, status(again)) == ("2", "aswr; fwd=stale; stored")

    def test_stale_does_not_wait_for_a_load_that_hangs(
        self, app, manager, clock, gate, background, counter
    ):
        """In the margin nobody waits, however long the load takes."""

        @app.route("/x")
        @manager.cacher(timeout=20, refresh_margin=10)
        def view():
            if counter.count:
                gate.hold()
            return counter()

        client = app.test_client()
        client.get("/x")
        clock.tick(11)
        assert answers(client, "/x", "/x", "/x") == ["1", "1", "1"]
        gate.await_arrival()
        assert answers(client, "/x") == ["1"]
        assert manager.stats()["loads"] == 2
        gate.open()
        assert manager.join(5)
        assert answers(client, "/x") == ["2"]

    def test_fifty_cold_requests_cause_one_load(self, app, manager, gate, background, counter):
        """Concurrent requests for one URL wait for one load; one stored it, the rest collapsed."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            await gate.ahold()
            return counter()

        calls = [background(lambda: app.test_client().get("/x")) for _ in range(50)]
        gate.await_arrival()
        while manager.stats()["waiting"] < 50:
            pass
        gate.open()
        results = [call.result() for call in calls]
        assert {result.text for result in results} == {"1"}
        said = sorted(status(result) for result in results)
        assert said.count("aswr; fwd=uri-miss; stored") == 1
        assert said.count("aswr; fwd=uri-miss; collapsed") == 49

    def test_head_is_answered_from_gets_entry(self, app, manager, counter):
        """HEAD shares GET's entry and has no body."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return counter()

        client = app.test_client()
        client.get("/x")
        head = client.head("/x")
        assert (head.data, head.headers["Content-Length"]) == (b"", "1")
        assert status(head).startswith("aswr; hit")

    def test_other_methods_run_as_flask_would(self, app, manager, counter):
        """A POST is never cached, sees its own body, and says why."""

        @app.route("/x", methods=["GET", "POST"])
        @manager.cacher(timeout=20)
        async def view():
            return counter() + request.get_data(as_text=True)

        client = app.test_client()
        assert client.post("/x", data="a").text == "1a"
        assert client.post("/x", data="b").text == "2b"
        assert status(client.post("/x")) == "aswr; fwd=method"

    def test_disabled_means_every_decorator_passes(self, clock, counter):
        """With ASWR_ENABLED=False nothing is stored, no thread starts, verbs do nothing."""
        app = Flask("shop")
        app.config["ASWR_ENABLED"] = False
        manager = CacheManager(app, clock=clock)

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return counter()

        manager.schedule_periodic_refresh("/x", 5)
        client = app.test_client()
        assert answers(client, "/x", "/x") == ["1", "2"]
        manager.start()
        manager.invalidate("/x")
        assert manager.refresh("/x") is None
        assert manager.peek("/x") is None
        manager.close()


class TestShapes:
    """The shapes that real apps have."""

    @pytest.mark.parametrize(
        ("make", "body", "kind"),
        [
            (lambda: "text", b"text", "text/html; charset=utf-8"),
            (lambda: b"bytes", b"bytes", "text/html; charset=utf-8"),
            (lambda: {"a": 1}, b'{"a":1}\n', "application/json"),
            (lambda: [1, 2], b"[1,2]\n", "application/json"),
            (lambda: ("t", {"X-A": "b"}), b"t", "text/html; charset=utf-8"),
            (lambda: ("t", 203), b"t", "text/html; charset=utf-8"),
            (lambda: jsonify(1), b"1\n", "application/json"),
            (lambda: (part for part in ("a", "b")), b"ab", "text/html; charset=utf-8"),
            (lambda: "", b"", "text/html; charset=utf-8"),
        ],
    )
    @pytest.mark.parametrize("kind_of_view", ["async", "def"])
    def test_every_return_type(self, app, manager, make, body, kind, kind_of_view):
        """Whatever a Flask view may return is stored and comes back the same."""
        calls = []

        if kind_of_view == "async":

            @app.route("/x")
            @manager.cacher(timeout=20)
            async def view():
                calls.append(1)
                return make()
        else:

            @app.route("/x")
            @manager.cacher(timeout=20)
            def view():
                calls.append(1)
                return make()

        first, second = app.test_client().get("/x"), app.test_client().get("/x")
        assert first.data == second.data == body
        assert first.headers["Content-Type"] == second.headers["Content-Type"] == kind
        assert first.status_code == second.status_code
        assert first.headers["Content-Length"] == str(len(body))
        assert len(calls) == 1
        assert "hit" in status(second)

    def test_send_file_is_stored_and_answers_conditions(self, app, manager, tmp_path: Path):
        """A sent file is stored whole, and a matching condition gets 304."""
        file = tmp_path / "a.txt"
        file.write_text("content")

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return send_file(file)

        client = app.test_client()
        first = client.get("/x", headers={"Range": "bytes=0-1"})
        assert (first.status_code, first.data) == (200, b"content")
        second = client.get("/x", headers={"If-None-Match": first.headers["ETag"]})
        assert (second.status_code, second.data) == (304, b"")

    def test_redirects_and_aborts(self, app, manager, counter):
        """301 is stored; 302 and 404 are answered and not stored, unless statuses= says so."""

        @app.route("/moved")
        @manager.cacher(timeout=20)
        async def moved():
            counter()
            return redirect("/new", 301)

        @app.route("/found")
        @manager.cacher(timeout=20)
        async def found():
            counter()
            return redirect("/new")

        @app.route("/none")
        @manager.cacher(timeout=20, statuses={404: 5})
        async def none():
            counter()
            abort(404)

        client = app.test_client()
        assert [client.get("/moved").location for _ in range(2)] == ["/new", "/new"]
        assert counter.count == 1
        assert [client.get("/found").status_code for _ in range(2)] == [302, 302]
        assert counter.count == 3
        assert [client.get("/none").status_code for _ in range(2)] == [404, 404]
        assert counter.count == 4

    def test_a_status_has_its_own_lifetime(self, app, manager, clock, counter):
        """statuses={404: 5} keeps a 404 for five seconds, whatever the timeout."""

        @app.route("/none")
        @manager.cacher(timeout=100, statuses={404: 5})
        async def none():
            counter()
            return "none", 404

        client = app.test_client()
        client.get("/none")
        clock.tick(5)
        assert status(client.get("/none")) == "aswr; fwd=stale; stored"

    def test_an_abort_goes_through_the_apps_error_handler(self, app, manager):
        """An HTTPException is answered by the app's own handler, inside the render."""

        @app.errorhandler(404)
        async def handler(error):
            return "custom", 404

        @app.route("/x")
        @manager.cacher(timeout=20, statuses={404: 5})
        async def view():
            abort(404)

        response = app.test_client().get("/x")
        assert (response.text, response.status_code) == ("custom", 404)

    def test_abort_with_a_response(self, app, manager):
        """abort(Response), which has no code, is that response."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            abort(flask.Response("teapot", 418))

        response = app.test_client().get("/x")
        assert (response.text, response.status_code) == ("teapot", 418)

    def test_path_arguments_and_converters(self, app, manager, counter):
        """Each path is an entry of its own, whatever its converters make of it."""

        class DateConverter(flask.Flask.url_map_class().converters["default"]):
            def to_python(self, value):
                return date.fromisoformat(value)

            def to_url(self, value):
                return value.isoformat()

        app.url_map.converters["date"] = DateConverter

        @app.route("/<int:number>/<date:day>")
        @manager.cacher(timeout=20)
        async def view(number, day):
            return f"{number} {day.year} {counter()}"

        client = app.test_client()
        assert answers(client, "/1/2026-01-01", "/2/2026-01-01", "/1/2026-01-01") == [
            "1 2026 1",
            "2 2026 2",
            "1 2026 1",
        ]

    def test_query_parameters_in_any_order_are_one_url(self, app, manager, counter):
        """Parameters are sorted by name; the order of equal names counts."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return f"{request.args.getlist('a')} {request.query_string.decode()} {counter()}"

        client = app.test_client()
        one, two, three = answers(client, "/x?b=1&a=1&a=2", "/x?a=1&a=2&b=1", "/x?a=2&a=1&b=1")
        assert one == two == "['1', '2'] a=1&a=2&b=1 1"
        assert three == "['2', '1'] a=2&a=1&b=1 2"

    def test_a_blueprint_with_url_value_preprocessors(self, app, manager, counter):
        """/de/about and /en/about are different pages, also when the language is popped into g."""
        pages = Blueprint("pages", __name__, url_prefix="/<lang>")

        @pages.url_value_preprocessor
        def pull_lang(endpoint, values):
            g.lang = values.pop("lang")

        @pages.route("/about")
        @manager.cacher(timeout=20)
        async def about():
            return f"{g.lang} {counter()}"

        app.register_blueprint(pages)
        client = app.test_client()
        assert answers(client, "/de/about", "/en/about", "/de/about") == ["de 1", "en 2", "de 1"]
        assert manager.refresh("/en/about").value.body == b"en 3"

    def test_an_async_class_based_view_with_a_decorated_method(self, app, manager, counter):
        """A decorated method is cached by class, and each render has an instance of its own."""

        class Page(MethodView):
            def __init__(self, title):
                self.title = title

            @manager.cacher(timeout=20)
            async def get(self):
                return f"{self.title} {counter()}"

        app.add_url_rule("/a", view_func=Page.as_view("a", "A"))
        app.add_url_rule("/b", view_func=Page.as_view("b", "B"))
        client = app.test_client()
        assert answers(client, "/a", "/b", "/a", "/b") == ["A 1", "B 2", "A 1", "B 2"]
        assert manager.refresh("/b").value.body == b"B 3"

    def test_a_class_based_view_with_decorators(self, app, manager, counter):
        """decorators = [cached] hands the decorator a sync function that calls an async method."""

        class Page(MethodView):
            decorators = [manager.cacher(timeout=20)]

            async def get(self, name):
                await asyncio.sleep(0)
                return f"{name} {counter()}"

        app.add_url_rule("/<name>", view_func=Page.as_view("page"))
        client = app.test_client()
        assert answers(client, "/a", "/b", "/a") == ["a 1", "b 2", "a 1"]

    def test_a_view_class_with_one_shared_instance(self, app, manager, counter):
        """init_every_request = False keeps its one instance in renders too."""

        class Page(View):
            init_every_request = False

            @manager.cacher(timeout=20)
            async def dispatch_request(self):
                return counter()

        app.add_url_rule("/x", view_func=Page.as_view("x"))
        assert answers(app.test_client(), "/x", "/x") == ["1", "1"]

    def test_one_cached_view_calls_another(self, app, manager, clock, counter):
        """A view may await another cached view; each has an entry of its own."""

        @app.route("/inner")
        @manager.cacher(timeout=5, refresh_margin=1)
        async def inner():
            return f"inner {counter()}"

        @app.route("/outer")
        @manager.cacher(timeout=100)
        async def outer():
            response = await inner()
            return "outer " + response.get_data(as_text=True)

        client = app.test_client()
        assert answers(client, "/outer", "/outer") == ["outer inner 1", "outer inner 1"]
        assert answers(client, "/inner") == ["inner 2"]

    def test_what_an_inner_view_reads_its_caller_reads(self, app, manager):
        """A view that awaits one that reads the session passes as well."""

        @manager.cacher(timeout=5)
        async def inner():
            return f"for {session.get('user')}"

        @app.route("/outer")
        @manager.cacher(timeout=100)
        async def outer():
            return (await inner()).get_data(as_text=True)

        client = app.test_client()
        with client.session_transaction() as stored:
            stored["user"] = "ann"
        assert client.get("/outer").text == "for ann"
        assert app.test_client().get("/outer").text == "for None"

    def test_a_plain_view_called_with_other_arguments_is_another_entry(self, app, manager, counter):
        """Arguments that routing did not give are part of the key."""

        @manager.cacher(timeout=5)
        def part(name):
            return f"{name} {counter()}"

        @app.route("/x")
        def page():
            return "".join(part(name).get_data(as_text=True) + ";" for name in "aba")

        assert answers(app.test_client(), "/x") == ["a 1;b 2;a 1;"]

    @pytest.mark.parametrize("kind", ["sync", "async"])
    def test_an_outer_login_required_guards_every_hit(self, app, manager, counter, kind):
        """A decorator outside of ours runs for hits too, though it copies our mark."""

        def sync_login_required(view):
            @functools.wraps(view)
            def guarded(*args, **kwargs):
                if request.headers.get("X-User") is None:
                    abort(401)
                return flask.current_app.ensure_sync(view)(*args, **kwargs)

            return guarded

        def async_login_required(view):
            @functools.wraps(view)
            async def guarded(*args, **kwargs):
                if request.headers.get("X-User") is None:
                    abort(401)
                return await view(*args, **kwargs)

            return guarded

        guard = sync_login_required if kind == "sync" else async_login_required

        @app.route("/x")
        @guard
        @manager.cacher(timeout=20)
        async def view():
            return counter()

        client = app.test_client()
        assert client.get("/x", headers={"X-User": "ann"}).text == "1"
        assert client.get("/x").status_code == 401
        assert client.get("/x", headers={"X-User": "bob"}).text == "1"
        assert manager.refresh("/x").value.body == b"2"

    def test_the_wrapper_keeps_the_views_kind_name_and_signature(self, manager):
        """An async view stays a coroutine function, with its name and signature."""
        import inspect

        @manager.cacher(timeout=20)
        async def view(name: str) -> str:
            return name

        assert inspect.iscoroutinefunction(view)
        assert view.__name__ == "view"
        assert str(inspect.signature(view)) == "(name: str) -> str"

    def test_host_matching_keeps_hosts_apart(self, clock, counter):
        """Where routing depends on the host, the host is part of the key."""
        app = Flask("shop", host_matching=True, static_host="static")
        manager = CacheManager(app, clock=clock)

        @app.route("/", host="<name>.example")
        @manager.cacher(timeout=20)
        async def view(name):
            return f"{name} {counter()}"

        client = app.test_client()
        urls = ["http://a.example/", "http://b.example/", "http://a.example/"]
        assert [client.get("/", base_url=url).text for url in urls] == ["a 1", "b 2", "a 1"]
        manager.close()

    def test_script_name_is_part_of_the_key(self, app, manager, counter):
        """The same app mounted twice keeps its mounts apart."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return f"{request.root_path} {counter()}"

        client = app.test_client()
        roots = ["http://localhost/a", "http://localhost/b", "http://localhost/a"]
        assert [client.get("/x", base_url=root).text for root in roots] == ["/a 1", "/b 2", "/a 1"]


class TestInputs:
    """What a view reads is part of its key, or keeps those who send it from sharing."""

    # read, its name, and two requests that differ in it
    LEARNED = {
        "header": (
            lambda: request.headers.get("Accept-Language"),
            [{"headers": {"Accept-Language": "de"}}, {"headers": {"Accept-Language": "en"}}],
        ),
        "agent": (
            lambda: request.user_agent.string,
            [{"headers": {"User-Agent": "a"}}, {"headers": {"User-Agent": "b"}}],
        ),
        "best": (
            lambda: request.accept_languages.best_match(["de", "en"]),
            [{"headers": {"Accept-Language": "de"}}, {"headers": {"Accept-Language": "en"}}],
        ),
        "host": (lambda: request.host, [{"base_url": "http://a/"}, {"base_url": "http://b/"}]),
        "url": (lambda: request.url, [{"base_url": "http://a/"}, {"base_url": "https://a/"}]),
        "scheme": (
            lambda: request.is_secure,
            [{"base_url": "http://a/"}, {"base_url": "https://a/"}],
        ),
        "external": (
            lambda: flask.url_for("view", _external=True),
            [{"base_url": "http://a/"}, {"base_url": "http://b/"}],
        ),
        "all": (
            lambda: sorted(item for item in request.headers.items() if item[0] != "User-Agent"),
            [{"headers": {"X-A": "1"}}, {"headers": {"X-A": "2"}}],
        ),
    }

    @pytest.mark.parametrize("what", LEARNED)
    def test_what_is_read_is_part_of_the_key(self, app, manager, what):
        """Requests that differ in what was read get their own answers, and each of them hits."""
        read, requests = self.LEARNED[what]
        runs = []

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            runs.append(1)
            return repr(read())

        def bare():
            with app.test_request_context("/x", **kwargs):
                return repr(read())

        client = app.test_client()
        for kwargs in requests * 2:
            assert client.get("/x", **kwargs).text == bare()
        assert len(runs) == 2
        assert all(
            status(client.get("/x", **kwargs)).startswith("aswr; hit") for kwargs in requests
        )

    # read, what the log says, and a request that brings it
    PERSONAL = {
        "cookie": (
            lambda: request.cookies.get("a"), "cookie a", {"headers": {"Cookie": "b=1; a=2"}},
        ),
        "cookies": (
            lambda: dict(request.cookies), "cookies", {"headers": {"Cookie": "b=1"}},
        ),
        "session": (
            lambda: session.get("a"), "cookie session", {"headers": {"Cookie": "session=x"}},
        ),
        "authorization": (
            lambda: request.authorization, "header Authorization",
            {"headers": {"Authorization": "Bearer x"}},
        ),
        "forwarded": (
            lambda: request.headers.get("X-Forwarded-For"), "header X-Forwarded-For",
            {"headers": {"X-Forwarded-For": "1.2.3.4"}},
        ),
        "body": (lambda: request.get_data(), "body", {"data": b"x"}),
        "environ": (
            lambda: request.environ.get("my.user"), "environ my.user",
            {"environ_overrides": {"my.user": "ann"}},
        ),
        "flash": (
            lambda: flask.get_flashed_messages(), "cookie session",
            {"headers": {"Cookie": "session=x"}},
        ),
    }  # fmt: skip

    @pytest.mark.parametrize("what", PERSONAL)
    def test_who_brings_what_is_personal_passes_and_is_logged(self, app, manager, caplog, what):
        """Who does not send what was read shares the answer; who does gets his own."""
        read, name, kwargs = self.PERSONAL[what]
        runs = []

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            runs.append(read())
            return str(len(runs))

        client = app.test_client(use_cookies=False)
        assert [client.get("/x").text, client.get("/x").text] == ["1", "1"]
        assert [r for r in caplog.records if r.name == "aswr.render"] == []
        for count in (2, 3):
            own = client.get("/x", **kwargs)
            assert own.text == str(count)
            assert status(own) == f'aswr; fwd=bypass; detail="reads {name}"'
        assert client.get("/x").text == "1"
        [line] = [r.getMessage() for r in caplog.records if r.name == "aswr.render"]
        assert name in line
        assert "test_views.py:" in line
        assert "view" in line
        for cure in ("vary=", "ignore=", "key=", "scope="):
            assert cure in line

    EVERYBODY = {
        "address": (lambda: request.remote_addr, "reads remote address"),
        "route": (lambda: request.access_route, "reads header X-Forwarded-For, remote address"),
        "copy": (lambda: dict(request.environ), "reads environ"),
        "session": (lambda: session.update(a=1), "writes session"),
        "flash": (lambda: flask.flash("x"), "writes session"),
    }

    @pytest.mark.parametrize("what", EVERYBODY)
    def test_what_everybody_has_makes_everybody_pass(self, app, manager, caplog, what):
        """What every request has, and what is done for each caller anew, cannot be shared."""
        read, detail = self.EVERYBODY[what]
        seen = []

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            read()
            seen.append(1)
            return str(len(seen))

        client = app.test_client(use_cookies=False)
        first = client.get("/x")
        assert manager.join(5)
        second = client.get("/x")
        detail = detail.replace("header X-Forwarded-For, ", "")
        if "Set-Cookie" not in first.headers:
            assert status(first) == status(second) == f'aswr; fwd=bypass; detail="{detail}"'
        assert first.text != second.text
        assert manager.peek("/x") is None
        [line] = [r.getMessage() for r in caplog.records if r.name == "aswr.render"]
        assert "test_views.py:" in line
        assert "view" in line

    def test_the_caller_sees_his_own_values(self, app, manager):
        """A passing view runs in the real request, with the caller's cookies and session."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            session["visits"] = session.get("visits", 0) + 1
            return f"{session['visits']}"

        ann, bob = app.test_client(), app.test_client()
        assert [ann.get("/x").text, ann.get("/x").text, bob.get("/x").text] == ["1", "2", "1"]

    def test_waiters_are_released_at_the_read(self, app, manager, gate, background):
        """Who waits for a load that turns out personal runs the view himself, at once."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            if request.headers.get("X-User") is None:
                await gate.ahold()
                return "nobody"
            return request.headers["X-User"]

        call = background(lambda: app.test_client().get("/x", headers={"X-User": "ann"}))
        gate.await_arrival()
        assert call.result().text == "ann"

    def test_unread_inputs_do_not_matter(self, app, manager, counter):
        """Cookies and headers that no view reads never split or prevent the cache."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return counter()

        client = app.test_client()
        client.set_cookie("_ga", "1")
        client.get("/x", headers={"X-Anything": "1"})
        client.set_cookie("_ga", "2")
        assert "hit" in status(client.get("/x", headers={"X-Anything": "2"}))

    def test_a_template_is_cacheable(self, app, manager, counter):
        """A templated page that shows nothing of the visitor is cached."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return flask.render_template_string("{{ n }} {{ url_for('view') }}", n=counter())

        assert answers(app.test_client(), "/x", "/x") == ["1 /x", "1 /x"]

    def test_a_read_in_a_template_names_the_templates_line(
        self, app, manager, caplog, tmp_path: Path
    ):
        """The log names the line of the template's text, not of its compiled code."""
        (tmp_path / "p.html").write_text("one\ntwo\n{{ session.user }}\n")
        app.jinja_loader = jinja2.FileSystemLoader(tmp_path)

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return flask.render_template("p.html")

        client = app.test_client(use_cookies=False)
        client.get("/x", headers={"Cookie": "session=x"})
        assert "p.html:3," in caplog.text

    def test_the_g_database_pattern_is_cacheable(self, app, manager, counter):
        """Looking for a name in g that nobody set, and setting it, is no input."""

        def get_db():
            if "db" not in g:
                g.db = io.StringIO()
            return g.db

        @app.teardown_appcontext
        def close_db(error):
            db = g.pop("db", None)
            if db is not None:
                db.close()

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            get_db().write("x")
            return counter()

        assert answers(app.test_client(), "/x", "/x") == ["1", "1"]

    def test_a_simple_value_that_a_hook_made_is_learned(self, app, manager, counter):
        """g.tenant set by a before_request hook is given to the render, and part of the key."""

        @app.before_request
        def find_tenant():
            g.tenant = request.headers.get("X-Tenant")

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return f"{g.tenant} {counter()}"

        client = app.test_client()
        for _ in range(2):
            texts = [client.get("/x", headers={"X-Tenant": who}).text for who in ("ann", "bob")]
            assert texts == ["ann 1", "bob 2"]

    def test_an_object_that_a_hook_made_passes(self, app, manager, caplog):
        """A view that misses an object of a hook's in its render passes, and does not fail."""

        class User:
            name = "ann"

        @app.before_request
        def load_user():
            g.user = User()

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return g.user.name

        client = app.test_client()
        for _ in range(2):
            answer = client.get("/x")
            assert (answer.status_code, answer.text) == (200, "ann")
            assert status(answer) == 'aswr; fwd=bypass; detail="reads g.user"'
        [line] = [r.getMessage() for r in caplog.records if r.name == "aswr.render"]
        assert "g.user" in line
        assert "test_views.py:" in line
        assert "run_before_request=True" in line

    def test_a_hit_respects_a_name_that_a_hook_made(self, app, manager):
        """An entry whose render found g.user absent does not answer a caller who has one."""

        @app.before_request
        def load_user():
            if (user := request.headers.get("X-User")) is not None:
                g.user = user

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return f"hello {g.get('user', 'nobody')}"

        client = app.test_client()
        assert client.get("/x").text == "hello nobody"
        assert "hit" in status(client.get("/x"))
        assert client.get("/x", headers={"X-User": "ann"}).text == "hello ann"
        assert client.get("/x").text == "hello nobody"

    def test_hooks_run_around_every_answer(self, app, manager, counter):
        """before_request and after_request run once per request, hits too, never in a render."""
        calls = []

        @app.before_request
        def before():
            calls.append("before")

        @app.after_request
        def after(response):
            calls.append("after")
            response.headers.add("X-Hook", "1")
            return response

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return counter()

        client = app.test_client()
        for _ in range(2):
            assert client.get("/x").headers.getlist("X-Hook") == ["1"]
        assert calls == ["before", "after"] * 2

    def test_run_before_request_gives_hooks_to_the_render(self, app, manager, counter):
        """With run_before_request=True what hooks leave in g is the render's own."""

        @app.before_request
        def config():
            g.site = "shop"

        @app.route("/x")
        @manager.cacher(timeout=20, run_before_request=True)
        async def view():
            return f"{g.site} {counter()}"

        assert answers(app.test_client(), "/x", "/x")[0] == "shop 1"

    def test_after_this_request_belongs_to_the_answer(self, app, manager):
        """What a view registers with after_this_request is part of what is stored."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            @flask.after_this_request
            def mark(response):
                response.headers["X-Mark"] = "1"
                return response

            return "x"

        client = app.test_client()
        assert [client.get("/x").headers["X-Mark"] for _ in range(2)] == ["1", "1"]

    def test_nothing_of_the_callers_context_is_in_a_render(self, app, manager):
        """A render sees no context variable of the request that caused it (invariant 11)."""
        import contextvars

        tenant = contextvars.ContextVar("tenant", default="none")

        @app.before_request
        def enter():
            tenant.set("acme")

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return tenant.get()

        assert app.test_client().get("/x").text == "none"


class TestAgreement:
    """What one caller has must not answer another (invariant 9)."""

    def test_a_pass_is_not_for_ever(self, app, manager, clock):
        """A view that passed is rendered again after its timeout: a change of heart is possible."""
        personal = [True]

        @app.route("/x")
        @manager.cacher(timeout=60)
        async def view():
            return request.remote_addr if personal[0] else "shared"

        client = app.test_client()
        assert "bypass" in status(client.get("/x"))
        assert manager.join(5)
        personal[0] = False
        assert "bypass" in status(client.get("/x"))
        clock.tick(61)
        assert status(client.get("/x")) == "aswr; fwd=uri-miss; stored"

    @pytest.mark.parametrize("code", [200, 503])
    def test_a_cookie_goes_to_one_caller(self, app, manager, gate, background, code):
        """An answer that sets a cookie is given to one of those who wait, a failure too."""
        made = []

        @app.route("/x")
        @manager.cacher(timeout=60)
        async def view():
            made.append(1)
            number = len(made)
            if number == 1:
                await gate.ahold()
            return "x", code, {"Set-Cookie": f"token={number}"}

        calls = [background(lambda: app.test_client().get("/x")) for _ in range(3)]
        gate.await_arrival()
        while manager.stats()["waiting"] < 3:
            pass
        gate.open()
        cookies = [call.result().headers["Set-Cookie"] for call in calls]
        assert len(set(cookies)) == 3

    def test_arguments_that_a_hook_changed_are_in_the_key(self, app, manager):
        """view_args changed by before_request are not the path's: each value is its own entry."""

        @app.before_request
        def who():
            request.view_args["user"] = request.headers.get("X-User", "nobody")

        @app.route("/profile/<user>")
        @manager.cacher(timeout=60)
        async def view(user):
            return user

        client = app.test_client()
        for user in ("ann", "bob", "ann"):
            assert client.get("/profile/me", headers={"X-User": user}).text == user

    @pytest.mark.parametrize(
        "read",
        [
            lambda: ",".join(g),
            lambda: str(vars(g)),
            lambda: str(g.__dict__),
            lambda: getattr(request, "user", "-"),
            lambda: request.environ.get("werkzeug.proxy_fix.orig"),
        ],
    )
    def test_what_hooks_left_anywhere_is_seen(self, app, manager, read):
        """Whatever way a view finds what a hook left, its answer is the caller's own."""

        @app.before_request
        def load_user():
            if (user := request.headers.get("X-User")) is not None:
                g.user = user
                request.user = user

        @app.route("/x")
        @manager.cacher(timeout=60)
        async def view():
            read()
            return request.headers.get("X-User", "-") if g.get("user") else "nobody"

        client = app.test_client()
        assert client.get("/x").text == "nobody"
        assert client.get("/x", headers={"X-User": "ann"}).text == "ann"
        assert client.get("/x", headers={"X-User": "bob"}).text == "bob"

    def test_an_attribute_that_a_hook_made_of_the_request_is_seen(self, app, manager):
        """request.user set by a hook is the caller's own, asked for with a default or without."""

        @app.before_request
        def load_user():
            if (user := request.headers.get("X-User")) is not None:
                request.user = user

        @app.route("/x")
        @manager.cacher(timeout=60)
        async def view():
            return getattr(request, "user", "nobody")

        client = app.test_client()
        assert client.get("/x").text == "nobody"
        assert client.get("/x", headers={"X-User": "ann"}).text == "ann"

    @pytest.mark.parametrize("trouble", ["fails", "hangs"])
    def test_an_older_answer_stands_in_only_where_the_caller_agrees(
        self, app, manager, clock, gate, trouble
    ):
        """What stale_if_error covers is given to nobody whose g holds what its render missed."""

        @app.before_request
        def load_user():
            if (user := request.headers.get("X-User")) is not None:
                g.user = user

        broken = []

        @app.route("/x")
        @manager.cacher(timeout=20, stale_if_error=100, soft_timeout=0.05)
        async def view():
            user = g.get("user")
            if broken and user is None:
                if trouble == "hangs":
                    await gate.ahold()
                raise ValueError("broken")
            return f"hello {user}"

        client = app.test_client()
        assert client.get("/x").text == "hello None"
        broken.append(1)
        clock.tick(30)
        assert client.get("/x", headers={"X-User": "ann"}).text == "hello ann"
        if trouble == "hangs":  # after a failure the URL has passed, for everybody
            assert client.get("/x").text == "hello None"

    def test_converters_are_recorded(self, app, manager):
        """A converter that reads a cookie is part of the view."""

        class Me(app.url_map.converters["default"]):
            def to_python(self, value):
                return f"{value}-{request.cookies.get('user')}"

        app.url_map.converters["me"] = Me

        @app.route("/<me:who>")
        @manager.cacher(timeout=60)
        async def view(who):
            return who

        for user in ("ann", "bob"):
            client = app.test_client()
            client.set_cookie("user", user)
            assert client.get("/me").text == f"me-{user}"

    def test_an_error_that_carries_a_response_is_each_callers_own(
        self, app, manager, gate, background
    ):
        """Waiters of one failed load do not write their cookies into one response."""

        class ApiError(Exception):
            def __init__(self, text):
                super().__init__(text)
                self.response = flask.Response(text)

        @app.before_request
        def visit():
            session["user"] = request.args["u"]

        app.register_error_handler(ApiError, lambda error: (error.response, 403))

        @manager.memoize(60)
        async def compute():
            await gate.ahold()
            raise ApiError("no")

        @app.route("/x")
        def view():
            return str(compute.sync())

        calls = [background(lambda u=u: app.test_client().get(f"/x?u={u}")) for u in "abc"]
        gate.await_arrival()
        while manager.stats()["waiting"] < 3:
            pass
        gate.open()
        assert [len(call.result().headers.getlist("Set-Cookie")) for call in calls] == [1, 1, 1]

    def test_a_response_that_is_returned_again_and_again_stays_as_it_is(self, app, manager):
        """A passing view may return one object for ever: our field is not added to it."""
        response = flask.Response("x")

        @app.route("/x")
        @manager.cacher(timeout=60)
        async def view():
            request.cookies.get("a")
            return response

        client = app.test_client()
        said = [client.get("/x").headers.getlist("Cache-Status") for _ in range(3)]
        assert [len(values) for values in said] == [1, 1, 1]
        assert "Cache-Status" not in response.headers


class TestStoring:
    """What is stored, and what is only answered."""

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("Set-Cookie", "a=b"),
            ("Cache-Control", "No-Store"),
            ("Cache-Control", "max-age=5, private"),
            ("Vary", "*"),
        ],
    )
    def test_some_answers_are_not_shared(self, app, manager, counter, caplog, name, value):
        """An answer that is one person's is not stored or given to another; the log says so."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return counter(), {name: value}

        client = app.test_client()
        assert answers(client, "/x", "/x") == ["1", "2"]
        assert manager.peek("/x") is None
        assert len([r for r in caplog.records if r.name == "aswr.render"]) == 1

    def test_no_cookie_leaves_with_our_fields(self, app, manager, counter):
        """A response to which a hook adds a cookie says nothing of the cache."""

        @app.after_request
        def add(response):
            response.set_cookie("a", "b")
            return response

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return counter()

        client = app.test_client()
        for _ in range(2):
            response = client.get("/x")
            assert response.text == "1"
            assert "Cache-Status" not in response.headers
            assert "Age" not in response.headers

    def test_unless_passes(self, app, manager, counter):
        """unless= is asked in the real request, and true means pass."""

        @app.route("/x")
        @manager.cacher(timeout=20, unless=lambda: request.args.get("live") == "1")
        async def view():
            return counter()

        client = app.test_client()
        assert answers(client, "/x?live=1", "/x?live=1", "/x", "/x") == ["1", "2", "3", "3"]

    def test_store_if_answers_without_storing(self, app, manager, clock, counter):
        """store_if= false: everybody who waits gets the answer, what was stored stays."""

        @app.route("/x")
        @manager.cacher(timeout=20, refresh_margin=10, store_if=lambda r: r.data != b"2")
        async def view():
            return counter()

        client = app.test_client()
        assert client.get("/x").text == "1"
        clock.tick(11)
        client.get("/x")
        assert manager.join(5)
        assert client.get("/x").text == "1"

    def test_streams_within_bounds_are_stored(self, app, manager, counter):
        """A stream that ends within max_body is stored; a longer one passes and is closed."""
        closed = []

        def parts(count):
            try:
                for _ in range(count):
                    yield "x" * 10
            finally:
                closed.append(count)

        @app.route("/<int:count>")
        @manager.cacher(timeout=20, max_body=100)
        async def view(count):
            counter()
            return parts(count)

        client = app.test_client()
        assert answers(client, "/5", "/5") == ["x" * 50] * 2
        assert (counter.count, closed) == (1, [5])
        long = client.get("/50")
        assert long.text == "x" * 500
        assert 'detail="streams more than max_body"' in status(long)
        assert (counter.count, closed) == (3, [5, 50, 50])

    def test_event_streams_pass(self, app, manager):
        """text/event-stream is never collected."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            events = (f"data: {n}\n\n" for n in range(2))
            return flask.Response(events, mimetype="text/event-stream")

        response = app.test_client().get("/x")
        assert response.text == "data: 0\n\ndata: 1\n\n"
        assert 'detail="streams events"' in status(response)

    def test_an_async_generator_body_fails_like_in_flask(self, app, manager):
        """A body that Flask cannot send is an error in the caller's request, not in the cache."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            async def parts():
                yield "x"

            return flask.Response(parts())

        assert app.test_client().get("/x").status_code == 500


class TestErrors:
    def test_an_exception_is_raised_in_each_callers_request(self, app, manager):
        """A failed load is raised where the app's error handlers can see it."""

        @app.errorhandler(KeyError)
        def handler(error):
            return f"handled {error} {request.headers['X-Id']}", 400

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            raise KeyError("k")

        response = app.test_client().get("/x", headers={"X-Id": "7"})
        assert (response.text, response.status_code) == ("handled 'k' 7", 400)

    def test_a_failing_refresh_keeps_the_old_answer(self, app, manager, clock, counter, caplog):
        """A failed background load drops nothing, is signalled and logged once, and backs off."""
        sent = []

        def note(sender, exception, **extra):
            sent.append(exception)

        flask.got_request_exception.connect(note, app)

        @app.route("/x")
        @manager.cacher(timeout=100, refresh_margin=50)
        async def view():
            if counter.count:
                counter()
                raise ValueError("broken")
            return counter()

        client = app.test_client()
        client.get("/x")
        clock.tick(51)
        assert client.get("/x").text == "1"
        assert manager.join(5)
        held = client.get("/x")
        assert (held.text, status(held)) == ("1", "aswr; hit; ttl=-1; detail=held-back")
        assert manager.join(5)
        assert counter.count == 2
        clock.tick(1)
        client.get("/x")
        assert manager.join(5)
        assert counter.count == 3
        assert [type(error) for error in sent] == [ValueError, ValueError]
        assert len([r for r in caplog.records if r.name == "aswr.engine"]) == 1

    @pytest.mark.parametrize("how", ["raise", "status"])
    def test_stale_if_error_stands_in(self, app, manager, clock, counter, how):
        """Past the timeout a failing load's own caller gets what stale_if_error covers."""

        @app.route("/x")
        @manager.cacher(timeout=20, stale_if_error=60)
        async def view():
            if not counter.count:
                return counter()
            if how == "raise":
                raise ValueError("broken")
            return "broken", 503

        client = app.test_client()
        client.get("/x")
        clock.tick(30)
        response = client.get("/x")
        assert (response.text, response.status_code) == ("1", 200)
        clock.tick(60)
        assert client.get("/x").status_code in (500, 503)

    def test_a_5xx_is_answered_and_not_stored(self, app, manager, counter):
        """A 5xx reaches every waiter and is stored by nobody."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return counter(), 500

        client = app.test_client()
        assert answers(client, "/x", "/x") == ["1", "2"]

    def test_soft_timeout_serves_the_older_answer(self, app, manager, clock, gate, counter):
        """Who has waited soft_timeout gets an older answer that stale_if_error still covers."""

        @app.route("/x")
        @manager.cacher(timeout=20, stale_if_error=60, soft_timeout=0.05)
        async def view():
            if counter.count:
                await gate.ahold()
            return counter()

        client = app.test_client()
        client.get("/x")
        clock.tick(30)
        soft = client.get("/x")
        assert (soft.text, status(soft)) == ("1", "aswr; hit; ttl=-15; detail=soft-timeout")
        gate.open()
        assert manager.join(5)
        assert client.get("/x").text == "2"

    def test_soft_timeout_waits_on_where_the_older_answer_is_purged(
        self, app, manager, clock, gate, background, counter
    ):
        """Who counted on an older answer that was purged meanwhile waits for the load."""

        @app.route("/x")
        @manager.cacher(timeout=20, stale_if_error=60, soft_timeout=0.1)
        def view():
            if counter.count:
                gate.hold()
            return counter()

        client = app.test_client()
        client.get("/x")
        clock.tick(30)
        call = background(lambda: app.test_client().get("/x").text)
        gate.await_arrival()
        manager.clear()
        assert not call.ends_within(0.4)
        gate.open()
        assert call.result() in ("2", "3")

    def test_wait_timeout_is_503_and_the_load_goes_on(self, app, manager, gate, counter):
        """Who has waited wait_timeout gets 503 with Retry-After; the load is not lost."""

        @app.route("/x")
        @manager.cacher(timeout=20, wait_timeout=0.05)
        def view():
            gate.hold()
            return counter()

        client = app.test_client()
        late = client.get("/x")
        assert (late.status_code, late.headers["Retry-After"]) == (503, "1")
        gate.open()
        assert manager.join(5)
        assert client.get("/x").text == "1"

    def test_load_timeout_cancels_an_async_load(self, app, manager):
        """An async load past load_timeout is cancelled, and its caller gets 504."""
        cancelled = threading.Event()

        @app.route("/x")
        @manager.cacher(timeout=20, load_timeout=0.05)
        async def view():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        assert app.test_client().get("/x").status_code == 504
        assert cancelled.wait(5)

    def test_load_timeout_releases_who_waits_for_a_sync_load(self, app, manager, gate, counter):
        """A sync load is not cancelled: its caller gets 504, its result is used when it comes."""

        @app.route("/x")
        @manager.cacher(timeout=20, load_timeout=0.05)
        def view():
            gate.hold()
            return counter()

        client = app.test_client()
        assert client.get("/x").status_code == 504
        gate.open()
        assert manager.join(5)
        assert (client.get("/x").text, counter.count) == ("1", 1)

    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
    @pytest.mark.parametrize("kind", ["async", "def"])
    def test_system_exit_is_a_failed_load(self, app, manager, error, kind):
        """SystemExit out of a view fails its load and leaves the loop alive."""

        @app.route("/bad")
        @manager.cacher(timeout=20)
        async def bad():
            raise error

        @app.route("/bad_def")
        @manager.cacher(timeout=20)
        def bad_def():
            raise error

        @app.route("/good")
        @manager.cacher(timeout=20)
        async def good():
            return "good"

        client = app.test_client()
        assert client.get("/bad" if kind == "async" else "/bad_def").status_code == 500
        assert client.get("/good").text == "good"

    @pytest.mark.parametrize("kind", ["async", "def"])
    def test_whatever_a_view_raises_its_contexts_are_torn_down(self, app, manager, kind):
        """A BaseException with a broken repr fails one load, is torn down, and blocks nothing."""

        class Evil(BaseException):
            def __repr__(self):
                raise ValueError

        torn = []
        app.teardown_appcontext(lambda error: torn.append(1))

        @app.route("/async")
        @manager.cacher(timeout=20)
        async def asynchronous():
            raise Evil

        @app.route("/def")
        @manager.cacher(timeout=20)
        def synchronous():
            raise Evil

        client = app.test_client()
        for _ in range(2):
            assert client.get(f"/{kind}").status_code == 500
        assert manager.join(5)
        assert manager.stats()["flights"] == 0
        assert len(torn) == 4

    def test_callables_that_are_no_functions(self, app, manager, counter):
        """A partial is decorated as the function it is made of."""

        async def page(prefix):
            return prefix + counter()

        cached = manager.cacher(timeout=20)(functools.partial(page, prefix="n"))
        app.add_url_rule("/x", "x", cached)
        assert answers(app.test_client(), "/x", "/x") == ["n1", "n1"]

    def test_too_many_waiting_threads_are_refused(self, clock, gate, background):
        """The number of waiting threads is bounded; the next gets 503 at once."""
        app = Flask("shop")
        app.config["ASWR_MAX_WAITERS"] = 2
        manager = CacheManager(app, clock=clock)

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            await gate.ahold()
            return "x"

        calls = [background(lambda: app.test_client().get("/x")) for _ in range(2)]
        gate.await_arrival()
        while manager.stats()["waiting"] < 2:
            pass
        assert app.test_client().get("/x").status_code == 503
        gate.open()
        assert [call.result().text for call in calls] == ["x", "x"]
        manager.close()

    def test_a_failing_teardown_fails_nothing(self, app, manager, caplog):
        """A teardown function that fails in a render is logged once and fails no request."""

        @app.teardown_request
        def broken(error):
            if not request.environ.get("REMOTE_ADDR"):
                raise ValueError("teardown")

        @app.route("/<name>")
        @manager.cacher(timeout=20)
        async def view(name):
            return name

        assert answers(app.test_client(), "/a", "/b") == ["a", "b"]
        assert len([r for r in caplog.records if "teardown" in r.getMessage()]) == 1


class TestAsyncCallers:
    def test_await_works_from_a_users_own_loop(self, app, manager, counter):
        """From a running loop of the user's, await works on a miss and on a hit."""

        @manager.cacher(timeout=20)
        async def view():
            return counter()

        async def main():
            with app.test_request_context("/x"):
                return [(await view()).get_data(as_text=True) for _ in range(2)]

        assert asyncio.run(main()) == ["1", "1"]

    def test_a_cancelled_caller_does_not_cancel_the_load(self, app, manager, gate, counter):
        """A caller who leaves takes nothing with him (invariant 6)."""

        @manager.cacher(timeout=20)
        async def view():
            await gate.ahold()
            return counter()

        async def main():
            with app.test_request_context("/x"):
                task = asyncio.ensure_future(view())
                await asyncio.to_thread(gate.await_arrival)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

        asyncio.run(main())
        gate.open()
        assert manager.join(5)
        assert manager.stats()["entries"] == 1
        assert counter.count == 1

    def test_a_passing_view_runs_on_aswrs_loop(self, app, manager):
        """Passes run on aswr's loop too: a client object made in a load meets no second loop."""
        loops = set()

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            loops.add(id(asyncio.get_running_loop()))
            return request.headers.get("X-A", "")

        client = app.test_client()
        assert client.get("/x", headers={"X-A": "1"}).text == "1"
        assert client.get("/x", headers={"X-A": "2"}).text == "2"
        assert len(loops) == 1

    def test_a_wait_in_sync_code_on_the_loop_is_refused(self, app, manager):
        """A def view that would wait on aswr's own loop raises with the async form to use."""

        @manager.cacher(timeout=20)
        def inner():
            return "inner"

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def outer():
            with pytest.raises(RuntimeError, match=r"asyncio\.to_thread"):
                inner()
            return (await asyncio.to_thread(inner)).get_data(as_text=True)

        assert app.test_client().get("/x").text == "inner"

    def test_sync_to_async_works_in_a_view(self, app, manager):
        """asgiref's sync_to_async has a thread of its own in every load."""
        from asgiref.sync import async_to_sync, sync_to_async

        async def deep():
            return threading.current_thread().name

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            name = await sync_to_async(lambda: threading.current_thread().daemon)()
            return f"{name} {await sync_to_async(lambda: async_to_sync(deep)())()}"

        assert app.test_client().get("/x").text == "True aswr-loop"

    def test_a_blocking_view_runs_on_a_thread_with_a_loop_of_its_own(self, app, manager):
        """blocking=True keeps a view that blocks off aswr's loop."""

        @app.route("/x")
        @manager.cacher(timeout=20, blocking=True)
        async def view():
            await asyncio.sleep(0)
            return threading.current_thread().name

        assert app.test_client().get("/x").text.startswith("aswr-worker")


class TestComputeFunc:
    @pytest.mark.parametrize("kind", ["async", "def"])
    def test_it_stands_in_for_the_views_body(self, app, manager, counter, kind):
        """compute_func gets the view arguments its signature accepts, in the render's request."""
        if kind == "async":

            async def compute(name):
                return {"name": name, "q": request.args.get("q"), "n": counter()}
        else:

            def compute(name):
                return {"name": name, "q": request.args.get("q"), "n": counter()}

        @app.route("/<name>/<int:page>")
        @manager.cacher(timeout=20, compute_func=compute)
        async def view(name, page):
            raise AssertionError("the body does not run")

        client = app.test_client()
        assert client.get("/a/1?q=z").json == {"name": "a", "q": "z", "n": "1"}
        assert "hit" in status(client.get("/a/1?q=z"))

    def test_a_sync_function_that_returns_a_coroutine_is_refused(self, app, manager):
        """A plain function whose coroutine nobody would await is an error that says so."""

        async def real():
            return "x"

        @app.route("/x")
        @manager.cacher(timeout=20, compute_func=lambda: real())
        async def view():
            pass

        app.testing = True
        with pytest.raises(TypeError, match="async def"):
            app.test_client().get("/x")


def test_a_margin_of_zero_is_a_plain_timeout(app, manager, clock, counter):
    """refresh_margin=0: fresh until the timeout, then gone."""

    @app.route("/x")
    @manager.cacher(timeout=20, refresh_margin=0)
    async def view():
        return counter()

    client = app.test_client()
    client.get("/x")
    clock.tick(19)
    assert status(client.get("/x")) == "aswr; hit; ttl=1"
    clock.tick(1)
    assert status(client.get("/x")) == "aswr; fwd=stale; stored"


def test_durations_may_be_timedeltas(app, manager, clock, counter):
    """Every duration is seconds or a timedelta."""

    @app.route("/x")
    @manager.cacher(timedelta(seconds=20), timedelta(seconds=10), wait_timeout=timedelta(minutes=1))
    async def view():
        return counter()

    client = app.test_client()
    client.get("/x")
    assert status(client.get("/x")) == "aswr; hit; ttl=10"


def test_wait_timeout_is_an_http_503():
    """WaitTimeout can be caught as an AswrError and answers as 503."""
    assert WaitTimeout("x").code == 503
