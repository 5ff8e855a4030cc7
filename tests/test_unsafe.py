"""What an unsafe request makes out of date, and what it leaves alone."""

import pytest
from flask import Flask, Response, request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from aswr import CacheManager
from aswr.unsafe import SAFE

UNSAFE = ("POST", "PUT", "PATCH", "DELETE", "MKCOL", "X-ODD")


@pytest.fixture
def shop(app, manager):
    """Cached pages at /x, /x/y and /ü, and /change, which answers as its test says."""

    @app.route("/x")
    @app.route("/x/y")
    @app.route("/x/z z")
    @app.route("/ü")
    @manager.cacher(timeout=100)
    async def page():
        return request.path

    @app.route("/x", methods=UNSAFE)
    @app.route("/change", methods=("GET", *UNSAFE))
    @app.route("/x/change", methods=("GET", *UNSAFE))
    def change():
        response = Response(status=app.config.get("status", 200))
        for name, value in app.config.get("fields", ()):
            response.headers.add(name, value)
        return response

    return app


def stored(manager, *urls):
    """Which of these URLs are stored."""
    return [url for url in urls if manager.peek(url) is not None]


def fill(app, *urls):
    """Ask for each URL, so that it is stored."""
    client = app.test_client()
    for url in urls:
        assert client.get(url).status_code == 200


class TestOwnUrl:
    @pytest.mark.parametrize("method", UNSAFE)
    def test_an_unsafe_method_purges_its_url(self, shop, manager, method):
        """An unsafe or unknown method purges the URL with its query in any spelling, no other.

        RFC 9111 §4.4: MUST invalidate the target URI.
        """
        fill(shop, "/x", "/x?a=1&b=2", "/x?a=2", "/x/y")
        shop.test_client().open("/x?b=2&a=%31", method=method)
        assert stored(manager, "/x", "/x?a=1&b=2", "/x?a=2", "/x/y") == ["/x", "/x?a=2", "/x/y"]
        shop.test_client().open("/x", method=method)
        assert stored(manager, "/x", "/x?a=2", "/x/y") == ["/x?a=2", "/x/y"]

    @pytest.mark.parametrize("method", sorted(SAFE))
    def test_a_safe_method_purges_nothing(self, shop, manager, method):
        """GET, HEAD, OPTIONS and TRACE leave everything alone, whatever they answer."""
        shop.config["fields"] = [
            ("Location", "/x/y"), ("Content-Location", "/x"), ("Cache-Group-Invalidation", '"g"'),
        ]  # fmt: skip
        fill(shop, "/x", "/x/y")
        for path in ("/x", "/change"):
            shop.test_client().open(path, method=method)
        assert stored(manager, "/x", "/x/y") == ["/x", "/x/y"]
        assert manager._sites[shop].store.stamps.hard.tags == {}

    @pytest.mark.parametrize(
        ("status", "purges"),
        [(200, True), (204, True), (303, True), (304, True), (400, False), (404, False),
         (500, False)],
    )  # fmt: skip
    def test_an_error_purges_nothing(self, shop, manager, status, purges):
        """Only 2xx and 3xx answers are no errors (RFC 9111 §4.4)."""
        shop.config["status"] = status
        shop.config["fields"] = [("Content-Location", "/x/y")]
        fill(shop, "/x", "/x/y")
        shop.test_client().post("/x")
        assert stored(manager, "/x", "/x/y") == ([] if purges else ["/x", "/x/y"])

    @pytest.mark.parametrize(
        ("query", "left"),
        [(True, ["/q", "/q?page=2&b=1"]), (["page"], ["/q"]), ("read", [])],
        ids=str,
    )
    def test_the_query_is_purged_as_the_view_has_it(self, app, manager, query, left):
        """Of a view with ``query=`` the URL is purged by what its key has of the query."""

        @app.route("/q", methods=["GET", "POST"])
        @manager.cacher(timeout=100, query=query)
        async def view():
            return "x"

        urls = ("/q", "/q?page=2&a=1", "/q?page=2&b=1")
        fill(app, *urls)
        app.test_client().post("/q?page=2&a=1")
        assert stored(manager, *urls) == left

    def test_a_hidden_view_is_purged_with_every_query(self, app, manager):
        """Where a wrapper hides the cached view, and so its options, its whole path is purged."""

        @manager.cacher(timeout=100, query=["page"])
        async def view():
            return "x"

        async def outer():
            return await view()

        app.add_url_rule("/h", "h", outer, methods=["GET", "POST"])
        client = app.test_client()
        client.get("/h?page=2")
        assert "hit" in client.get("/h?page=2").headers["Cache-Status"]
        client.post("/h?page=2&a=1")
        assert "hit" not in client.get("/h?page=2").headers["Cache-Status"]

    def test_a_load_under_way_does_not_outlive_it(self, app, manager, gate, background):
        """A load that began before the unsafe request is over is not published (invariant 5)."""
        renders = []

        @app.route("/x", methods=["GET"])
        @manager.cacher(timeout=100)
        def view():
            renders.append(1)
            number = len(renders)
            if number == 1:
                gate.hold()
            return str(number)

        app.add_url_rule("/x", "change", lambda: "ok", methods=["POST"])
        before = background(lambda: app.test_client().get("/x").text)
        gate.await_arrival()
        assert app.test_client().post("/x").text == "ok"
        gate.open()
        assert before.result() == "1"
        assert app.test_client().get("/x").text == "2"

    def test_it_waits_for_nothing(self, app, manager, gate, background):
        """An unsafe request purges at once while the loop is held, and is answered."""

        @app.route("/x", methods=["GET", "POST"])
        @manager.cacher(timeout=100)
        def page():
            return "x"

        @app.route("/hold")
        @manager.cacher(timeout=100)
        async def hold():
            gate.hold()
            return "x"

        fill(app, "/x")
        holding = background(lambda: app.test_client().get("/hold").text)
        gate.await_arrival()
        changing = background(lambda: app.test_client().post("/x").text)
        assert changing.result() == "x"
        assert stored(manager, "/x") == []
        gate.open()
        holding.result()

    def test_what_is_not_known_leaves_no_trace(self, shop, manager):
        """Paths under which nothing is stored are not remembered as purged."""
        fill(shop, "/x")
        shop.config["fields"] = [("Location", "/x/y")]
        for path in ("/change", "/x/change", "/nowhere"):
            shop.test_client().post(path)
        assert manager.join(5)
        assert manager._sites[shop].store.stamps.hard.keys == {}

    def test_nothing_is_done_where_the_cache_is_off(self, clock):
        """With ASWR_ENABLED off no purge is counted."""
        app = Flask("off")
        app.config["ASWR_ENABLED"] = False
        manager = CacheManager(app, clock=clock)
        app.add_url_rule("/x", view_func=manager.cacher(5)(lambda: "x"), methods=["GET", "POST"])
        app.add_url_rule(
            "/g", "g", lambda: ("", {"Cache-Group-Invalidation": '"g"'}), methods=["POST"]
        )
        assert app.test_client().post("/x").text == "x"
        assert app.test_client().post("/g").status_code == 200
        stamps = manager._sites[app].store.stamps
        assert stamps.all() == []


class TestNamedUrls:
    @pytest.mark.parametrize("field", ["Location", "Content-Location"])
    @pytest.mark.parametrize(
        ("reference", "purged"),
        [
            ("/x/y", "/x/y"),
            ("http://localhost/x/y", "/x/y"),
            ("HTTP://LOCALHOST:80/x/y", "/x/y"),
            ("http://user@localhost/x/y", "/x/y"),
            ("//localhost/x/y", "/x/y"),
            ("y", "/x/y"),
            ("./y", "/x/y"),
            ("../x/y", "/x/y"),
            ("../../../x/y", "/x/y"),
            ("http://localhost/x/../x/./y", "/x/y"),
            ("http://localhost//x/y", "/x/y"),
            ("/x/y#part", "/x/y"),
            ("  /x/y ", "/x/y"),
            ("/x/%79", "/x/y"),
            ("/x/z%20z", "/x/z z"),
            ("/%C3%BC", "/ü"),
            ("/%c3%bc", "/ü"),
            ("/x?b=2&a=1", "/x?a=1&b=2"),
            ("?", ""),
            ("", ""),
            ("https://localhost/x/y", ""),
            ("https://localhost:80/x/y", ""),
            ("http://localhost:8080/x/y", ""),
            ("http://other/x/y", ""),
            ("http://other@evil/x/y", ""),
            ("//other/x/y", ""),
            ("http://localhost.other/x/y", ""),
            ("mailto:x/y", ""),
        ],
    )
    def test_references(self, shop, manager, field, reference, purged):
        """A reference is resolved against the request's URL; only its own origin is purged."""
        urls = ["/x", "/x?a=1&b=2", "/x/y", "/x/z z", "/ü"]
        fill(shop, *urls)
        shop.config["fields"] = [(field, reference)]
        shop.test_client().post("/x/change")
        assert stored(manager, *urls) == [url for url in urls if url != purged]

    def test_several(self, shop, manager):
        """Both fields count, and every line of them."""
        fill(shop, "/x", "/x/y", "/ü", "/x?q=1")
        shop.config["fields"] = [
            ("Location", "/x"), ("Content-Location", "/x/y"), ("Content-Location", "/x?q=1"),
        ]  # fmt: skip
        shop.test_client().post("/change")
        assert stored(manager, "/x", "/x/y", "/ü", "/x?q=1") == ["/ü"]

    @pytest.mark.parametrize(
        ("reference", "purges"),
        [
            ("/shop/x", True),
            ("http://localhost/shop/x", True),
            ("/shop//x", True),
            ("x", True),
            ("/x", False),
            ("/shop/../x", False),
            ("/shop/x/..", False),
            ("/shop", False),
        ],
    )
    def test_the_mount_point(self, app, manager, reference, purges):
        """Under a ``SCRIPT_NAME`` its URLs are the app's, without it; others are not."""
        app.add_url_rule("/x", "x", manager.cacher(100)(lambda: "x"))
        app.add_url_rule(
            "/change", "change", lambda: ("", {"Content-Location": reference}), methods=["POST"]
        )
        client, mounted = app.test_client(), {"SCRIPT_NAME": "/shop"}
        client.get("/x", environ_overrides=mounted)
        assert client.post("/change", environ_overrides=mounted).status_code == 200
        status = client.get("/x", environ_overrides=mounted).headers["Cache-Status"]
        assert ("hit" in status) is not purges

    def test_a_mount_point_is_whole_segments(self, app, manager):
        """What only begins like the mount point lies outside it."""
        app.add_url_rule("/ping", "ping", manager.cacher(100)(lambda: "x"))
        app.add_url_rule(
            "/change", "change", lambda: ("", {"Location": "/shopping"}), methods=["POST"]
        )
        client, mounted = app.test_client(), {"SCRIPT_NAME": "/shop"}
        client.get("/ping", environ_overrides=mounted)
        client.post("/change", environ_overrides=mounted)
        status = client.get("/ping", environ_overrides=mounted).headers["Cache-Status"]
        assert "hit" in status

    @pytest.mark.parametrize(
        "text",
        ["http://[", "http://localhost:port/x", "http://localhost:99999/x", "http://[::1/x", "\\",
         "//", "///", "http:", "http:///x", "%", "%zz", "/%ff%fe", "é://ü", "\udcff", "a" * 9000,
         "http://localhost\\@other/x", ":", "?", "#", "/x/" + "../" * 500],
    )  # fmt: skip
    @pytest.mark.parametrize("field", ["Location", "Content-Location", "Cache-Group-Invalidation"])
    def test_odd_text(self, shop, manager, field, text):
        """Odd header text, and odd hosts, purge nothing and fail nothing."""
        fill(shop, "/x/y")
        shop.config["fields"] = [(field, text)]
        with shop.test_request_context("/change", method="POST"):
            assert shop.full_dispatch_request().status_code == 200
        for host in ("a b", "[", "local host:x", "", "é"):
            environ = {"HTTP_HOST": host, "SERVER_NAME": "", "SERVER_PORT": "x"}
            with shop.test_request_context("/change", method="POST", environ_overrides=environ):
                assert shop.full_dispatch_request().status_code == 200
        assert stored(manager, "/x/y") == ["/x/y"]

    @given(st.text(st.characters(exclude_characters="\r\n"), max_size=40))
    @settings(
        deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200
    )
    def test_any_text(self, shop, manager, text):
        """No text in these fields makes an answer fail."""
        shop.config["fields"] = [
            ("Location", text), ("Content-Location", f"http://localhost/{text}"),
            ("Cache-Group-Invalidation", text),
        ]  # fmt: skip
        with shop.test_request_context("/change", method="POST"):
            assert shop.full_dispatch_request().status_code == 200

    def test_a_converter_that_fails(self, shop, manager):
        """A path whose converter raises is not cached, and not an error of who named it."""

        class Broken(BaseConverter):
            def to_python(self, value):
                raise RuntimeError("broken")

        shop.url_map.converters["broken"] = Broken
        shop.add_url_rule("/b/<broken:name>", "broken", lambda name: name)
        manager._sites[shop].knows = lambda path: True
        shop.config["fields"] = [("Location", "/b/x")]
        assert shop.test_client().post("/change").status_code == 200


class TestGroups:
    @pytest.fixture
    def grouped(self, app, manager):
        """Pages with tags, and /change, which answers as its test says."""
        for name in ("a", "b"):
            app.add_url_rule(f"/{name}", name, manager.cacher(100, tags=(name,))(lambda: "x"))
        app.add_url_rule("/change", "change", lambda: app.config["answer"], methods=["POST", "GET"])
        fill(app, "/a", "/b")
        return app

    @pytest.mark.parametrize(
        ("lines", "left"),
        [
            (['"a"'], ["/b"]),
            (['"a", "b"'], []),
            (['"a"', '"b";x=1'], []),
            (['"A"'], ["/a", "/b"]),
            (['"c"'], ["/a", "/b"]),
            (["a"], ["/a", "/b"]),
            (['"a", b'], ["/a", "/b"]),
            ([""], ["/a", "/b"]),
        ],
    )
    def test_groups_are_tags(self, grouped, manager, lines, left):
        """Each string in Cache-Group-Invalidation purges a tag; no list of strings, none.

        RFC 9875 §3, RFC 8941 §3.1.
        """
        grouped.config["answer"] = ("", [("Cache-Group-Invalidation", line) for line in lines])
        assert grouped.test_client().post("/change").status_code == 200
        assert stored(manager, "/a", "/b") == left

    def test_not_of_a_safe_method_and_not_of_an_error(self, grouped, manager):
        """The field means nothing in an answer to a safe method, and nothing in an error."""
        client = grouped.test_client()
        grouped.config["answer"] = ("", {"Cache-Group-Invalidation": '"a"'})
        client.get("/change")
        grouped.config["answer"] = ("", 500, {"Cache-Group-Invalidation": '"a"'})
        client.post("/change")
        assert stored(manager, "/a", "/b") == ["/a", "/b"]

    def test_the_field_goes_on(self, grouped, manager):
        """Caches between us and the client get the field, too."""
        grouped.config["answer"] = ("", {"Cache-Group-Invalidation": '"a"'})
        response = grouped.test_client().post("/change")
        assert response.headers["Cache-Group-Invalidation"] == '"a"'


def test_errors_turned_into_answers(app, manager):
    """An error handler's answer counts by its own status."""
    app.add_url_rule("/x", "x", manager.cacher(100)(lambda: "x"))
    app.register_error_handler(HTTPException, lambda error: ("fine", 200))
    fill(app, "/x")
    assert app.test_client().post("/x").text == "fine"
    assert stored(manager, "/x") == []
