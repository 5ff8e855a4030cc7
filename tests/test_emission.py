"""What answers say of themselves when they leave: Cache-Control, ETag, Vary and their kin."""

import pytest
from flask import Flask, Response, request, session

from aswr import CacheManager

IN_APP = "private, no-cache"


def status(response) -> str:
    return response.headers.get("Cache-Status", "")


@pytest.fixture
def view(app, manager):
    """Makes a view at /x that answers "x" with the given fields; gives a client."""

    def make(fields=(), code=200, **options):
        @app.route("/x")
        @manager.cacher(**{"timeout": 60, "refresh_margin": 10, **options})
        async def view():
            return Response("x", code, headers=list(dict(fields).items()))

        return app.test_client()

    return make


def said(client, name="Cache-Control", **kwargs) -> list[list[str]]:
    """A field's lines on a miss and on a hit."""
    return [client.get("/x", **kwargs).headers.getlist(name) for _ in range(2)]


class TestCacheControl:
    def test_in_app_answers_stay_in_the_app(self, view):
        """What hooks may guard is for no browser or CDN to keep unasked."""
        assert said(view()) == [[IN_APP]] * 2

    def test_public_answers_tell_the_windows(self, view):
        """Public answers say how long they are fresh, and stale while they are revalidated."""
        client = view(public=True, stale_if_error=3600)
        wanted = "public, max-age=50, stale-while-revalidate=10, stale-if-error=3610"
        assert said(client) == [[wanted]] * 2

    def test_it_is_the_whole_window_and_age_what_is_spent(self, view, clock):
        """max-age is as of the load, however old the answer; Age says how much is spent."""
        client = view(public=True)
        client.get("/x")
        clock.tick(55)
        response = client.get("/x")
        assert response.headers["Cache-Control"] == "public, max-age=50, stale-while-revalidate=10"
        assert response.headers["Age"] == "55"

    def test_windows_that_are_not_there_are_left_out(self, view):
        """Without a margin there is no stale-while-revalidate."""
        assert said(view(public=True, refresh_margin=0)) == [["public, max-age=60"]] * 2

    def test_emit_cache_control_is_for_the_askers_browser(self, view):
        """emit_cache_control=True: private, with the windows."""
        wanted = "private, max-age=50, stale-while-revalidate=10"
        assert said(view(emit_cache_control=True)) == [[wanted]] * 2

    def test_an_app_may_emit_for_all_its_views(self, clock):
        """ASWR_EMIT_CACHE_CONTROL holds for every view that says nothing else."""
        app = Flask("shop")
        app.config["ASWR_EMIT_CACHE_CONTROL"] = True
        manager = CacheManager(app, clock=clock)

        @app.route("/x")
        @manager.cacher(timeout=60, refresh_margin=10)
        async def view():
            return "x"

        @app.route("/y")
        @manager.cacher(timeout=60, refresh_margin=10, emit_cache_control=False)
        async def other():
            return "y"

        client = app.test_client()
        assert said(client) == [["private, max-age=50, stale-while-revalidate=10"]] * 2
        assert client.get("/y").headers["Cache-Control"] == IN_APP
        manager.close()

    OWN = [
        {"Cache-Control": "max-age=5"},
        {"Cache-Control": "public, s-maxage=30"},
        {"Cache-Control": "no-cache"},
        {"Expires": "Thu, 01 Jan 2099 00:00:00 GMT"},
    ]

    @pytest.mark.parametrize("fields", OWN)
    @pytest.mark.parametrize("options", [{}, {"public": True}, {"emit_cache_control": True}])
    def test_what_the_view_said_is_left_alone(self, view, fields, options):
        """An answer's own Cache-Control or Expires leaves as it is, and none of ours beside it."""
        client = view(fields, **options)
        for _ in range(2):
            headers = client.get("/x").headers
            for name in ("Cache-Control", "Expires"):
                assert headers.getlist(name) == ([fields[name]] if name in fields else [])

    def test_what_is_only_answered_is_as_the_view_made_it(self, view):
        """Of an answer that is not stored nothing is said."""
        client = view(code=404)
        assert said(client) == [[], []]
        assert said(client, "ETag") == [[], []]

    def test_a_status_with_its_own_lifetime_says_it(self, view):
        """statuses={404: 5}: the 404 leaves with its own, shorter window."""
        [first, second] = said(view(code=404, statuses={404: 5}, public=True, refresh_margin=0))
        assert first == second == ["public, max-age=5"]

    @pytest.mark.parametrize("public", [True, False])
    def test_jitter_is_in_what_is_said(self, app, manager, public, clock):
        """What is emitted is what holds: the lifetime after the jitter that was drawn."""

        @app.route("/x")
        @manager.cacher(
            timeout=1000,
            refresh_margin=0,
            jitter=0.5,
            public=public,
            **({} if public else {"emit_cache_control": True}),
        )
        async def view():
            return "x"

        client = app.test_client()
        age = int(client.get("/x").headers["Cache-Control"].partition("max-age=")[2])
        assert 500 <= age <= 1000
        clock.tick(age - 1)
        assert "hit" in status(client.get("/x"))
        clock.tick(2)
        assert "hit" not in status(client.get("/x"))


class TestCdn:
    def test_cdn_timeout_is_for_cdns(self, view):
        """cdn_timeout= emits CDN-Cache-Control beside the browser's lifetime (RFC 9213)."""
        client = view(public=True, cdn_timeout=3600)
        assert said(client, "CDN-Cache-Control") == [["max-age=3600"]] * 2
        assert said(client) == [["public, max-age=50, stale-while-revalidate=10"]] * 2

    def test_the_views_own_stays(self, view):
        """A view that says CDN-Cache-Control itself is left alone."""
        client = view({"CDN-Cache-Control": "no-store"}, public=True, cdn_timeout=3600)
        assert said(client, "CDN-Cache-Control") == [["no-store"]] * 2

    def test_an_app_may_set_it_for_its_public_views(self, clock):
        """ASWR_CDN_TIMEOUT holds for public views, and never for what hooks may guard."""
        app = Flask("shop")
        app.config["ASWR_CDN_TIMEOUT"] = 600
        manager = CacheManager(app, clock=clock)
        for path, public in (("/public", True), ("/guarded", False)):
            view = manager.cacher(timeout=60, public=public)(lambda: "x")
            app.add_url_rule(path, path, view)
        client = app.test_client()
        assert client.get("/public").headers["CDN-Cache-Control"] == "max-age=600"
        assert "CDN-Cache-Control" not in client.get("/guarded").headers
        manager.close()

    def test_it_is_in_a_304_and_not_in_a_pass(self, app, manager):
        """A 304 says it, so that a CDN renews what it has; a pass does not."""

        @app.route("/x")
        @manager.cacher(timeout=60, public=True, cdn_timeout=600)
        async def view():
            return request.cookies.get("user", "nobody")

        client = app.test_client(use_cookies=False)
        etag = client.get("/x").headers["ETag"]
        held = client.get("/x", headers={"If-None-Match": etag})
        assert (held.status_code, held.headers["CDN-Cache-Control"]) == (304, "max-age=600")
        passed = client.get("/x", headers={"Cookie": "user=ann"})
        assert "CDN-Cache-Control" not in passed.headers


class TestETag:
    def test_public_answers_have_a_strong_one(self, view):
        """What no hook can change any more has a strong tag, on a miss as on a hit."""
        [[first], [second]] = said(view(public=True), "ETag")
        assert first == second
        assert first.startswith('"')

    def test_in_app_answers_have_a_weak_one(self, view):
        """A hook may still change the body: the tag is weak."""
        [[first], [second]] = said(view(), "ETag")
        assert first == second
        assert first.startswith('W/"')

    @pytest.mark.parametrize("own", ['"v1"', 'W/"v1"'])
    @pytest.mark.parametrize("public", [True, False])
    def test_the_views_own_stays(self, view, own, public):
        """A view's own tag leaves as it is."""
        assert said(view({"ETag": own}, public=public), "ETag") == [[own]] * 2

    def test_representations_have_different_tags(self, app, manager):
        """The same bytes as another type or coding are another representation (RFC 9110 §8.8.3)."""
        kinds = [
            {"Content-Type": "text/plain"}, {"Content-Type": "text/html"},
            {"Content-Type": "text/plain", "Content-Encoding": "br"},
        ]  # fmt: skip

        @app.route("/<int:n>")
        @manager.cacher(timeout=60, public=True)
        async def view(n):
            return "x", kinds[n]

        client = app.test_client()
        assert len({client.get(f"/{n}").headers["ETag"] for n in range(3)}) == 3

    def test_only_a_200_has_one_of_ours(self, view):
        """A stored 404 or redirect gets no tag."""
        assert said(view(code=404, statuses={404: 5}), "ETag") == [[], []]


class TestVary:
    def make(self, app, manager, read, **options):
        @app.route("/x")
        @manager.cacher(timeout=60, public=True, **options)
        async def view():
            return str(read())

        return app.test_client(use_cookies=False)

    @pytest.mark.parametrize(
        ("read", "vary"),
        [
            (lambda: request.headers.get("accept-language"), "Accept-Language"),
            (lambda: request.user_agent.string, "User-Agent"),
            (lambda: request.accept_languages.best_match(["de", "en"]), "Accept-Language"),
            (lambda: session.get("user"), "Cookie"),
            (lambda: request.cookies.get("a"), "Cookie"),
            (lambda: request.authorization, "Authorization"),
            (lambda: request.host, ""),
            (lambda: request.is_secure, ""),
            (lambda: request.args.get("a"), ""),
            (lambda: (request.headers.get("X-B"), request.headers.get("X-A")), "X-A, X-B"),
            (lambda: "x", ""),
        ],
    )
    def test_what_was_read_is_in_vary(self, app, manager, read, vary):
        """Vary names the headers that the answer depends on; not host, scheme or query."""
        client = self.make(app, manager, read, query="read")
        assert said(client, "Vary") == [[vary] if vary else []] * 2

    def test_what_was_read_by_others_of_the_url_is_in_it(self, app, manager):
        """Vary has what was known of the URL by then; an older answer depends on no more."""

        def read():
            return request.headers.get("X-B") if request.headers.get("X-A") else "-"

        client = self.make(app, manager, read)
        assert client.get("/x").headers["Vary"] == "X-A"
        assert client.get("/x", headers={"X-A": "1"}).headers["Vary"] == "X-A, X-B"
        assert client.get("/x").headers["Vary"] == "X-A"
        manager.refresh("/x")
        assert client.get("/x").headers["Vary"] == "X-A, X-B"

    @pytest.mark.parametrize("own", ["X-Own", "x-own , Accept-language"])
    def test_the_views_own_is_joined(self, app, manager, own):
        """One Vary line with what the view said and what it read."""

        @app.route("/x")
        @manager.cacher(timeout=60, public=True)
        async def view():
            return request.headers.get("Accept-Language", "-"), {"Vary": own}

        [[first], [second]] = said(app.test_client(), "Vary")
        assert first == second
        names = [name.strip().lower() for name in first.split(",")]
        assert sorted(names) == ["accept-language", "x-own"]

    def test_what_the_views_own_vary_names_splits(self, app, manager):
        """An answer's own Vary is an input too, read or not: two caches are of one mind."""
        runs = []

        @app.route("/x")
        @manager.cacher(timeout=60)
        async def view():
            runs.append(1)
            return str(len(runs)), {"Vary": "X-Own"}

        client = app.test_client()
        sent = [{"X-Own": value} for value in "121"]
        assert [client.get("/x", headers=headers).text for headers in sent] == ["1", "2", "1"]

    def test_a_chosen_cookie_is_in_vary(self, app, manager):
        """vary=["cookie:theme"]: other caches must tell requests apart by their cookies."""
        client = self.make(app, manager, lambda: request.cookies.get("t"), vary=["cookie:t"])
        assert said(client, "Vary", headers={"Cookie": "t=1"}) == [["Cookie"]] * 2

    def test_what_is_ignored_is_not(self, app, manager):
        """ignore= takes a header out of Vary: the render does not see it."""
        client = self.make(app, manager, lambda: request.headers.get("X-A"), ignore=["X-A"])
        assert said(client, "Vary") == [[], []]

    def test_reading_all_headers_is_vary_star(self, app, manager):
        """Who lists the headers depends on all of them."""
        client = self.make(app, manager, lambda: len(list(request.headers)))
        assert said(client, "Vary") == [["*"]] * 2

    def test_a_304_has_it(self, app, manager):
        """Vary is among the fields of a 304."""
        client = self.make(app, manager, lambda: request.headers.get("X-A"))
        etag = client.get("/x").headers["ETag"]
        held = client.get("/x", headers={"If-None-Match": etag})
        assert (held.status_code, held.headers["Vary"]) == (304, "X-A")

    def test_a_pass_has_it(self, app, manager):
        """The pass of a public URL names what it is known to read, and is private."""
        client = self.make(app, manager, lambda: session.get("user"))
        client.get("/x")
        passed = client.get("/x", headers={"Cookie": "session=x"})
        assert passed.headers["Vary"] == "Cookie"
        assert passed.headers["Cache-Control"] == IN_APP

    def test_in_app_answers_have_it_too(self, app, manager):
        """Vary is true of in-app answers as well."""

        @app.route("/x")
        @manager.cacher(timeout=60)
        async def view():
            return request.headers.get("X-A", "-")

        assert said(app.test_client(), "Vary") == [["X-A"]] * 2


class TestCookies:
    """Nothing of ours leaves together with a Set-Cookie."""

    OURS = ("Cache-Status", "Age", "ETag", "Cache-Control", "CDN-Cache-Control")

    @pytest.mark.parametrize("options", [{}, {"emit_cache_control": True}])
    def test_a_hooks_cookie_takes_our_fields_away(self, app, manager, options):
        """A response to which a hook adds a cookie says nothing that aswr made up."""

        @app.after_request
        def add(response):
            response.set_cookie("a", "b")
            return response

        @app.route("/x")
        @manager.cacher(timeout=60, **options)
        async def view():
            return "x", {"X-Own": "1"}

        client = app.test_client()
        for _ in range(2):
            response = client.get("/x")
            assert [name for name in self.OURS if name in response.headers] == []
            assert response.headers["X-Own"] == "1"
            assert response.text == "x"

    def test_what_the_view_said_stays_beside_a_cookie(self, app, manager):
        """The view's own ETag, Cache-Control and Vary are its own responsibility."""

        @app.after_request
        def add(response):
            response.set_cookie("a", "b")
            return response

        @app.route("/x")
        @manager.cacher(timeout=60)
        async def view():
            return "x", {"ETag": '"v1"', "Cache-Control": "max-age=5", "Vary": "X-A"}

        client = app.test_client()
        for _ in range(2):
            headers = client.get("/x").headers
            assert headers["ETag"] == '"v1"'
            assert headers["Cache-Control"] == "max-age=5"
            assert headers["Vary"] == "X-A"
            assert "Cache-Status" not in headers

    def test_what_a_hook_said_stays_beside_a_cookie(self, app, manager):
        """A hook that sets Cache-Control with its cookie is left alone."""

        @app.after_request
        def add(response):
            response.set_cookie("a", "b")
            response.headers["Cache-Control"] = "no-store"
            response.headers["ETag"] = '"hook"'
            return response

        @app.route("/x")
        @manager.cacher(timeout=60)
        async def view():
            return "x"

        client = app.test_client()
        for _ in range(2):
            headers = client.get("/x").headers
            assert headers["Cache-Control"] == "no-store"
            assert headers["ETag"] == '"hook"'

    def test_a_session_that_is_saved_counts(self, app, manager):
        """The session cookie that Flask sets takes our fields away, too."""

        @app.before_request
        def visit():
            session["visits"] = session.get("visits", 0) + 1

        @app.route("/x")
        @manager.cacher(timeout=60)
        async def view():
            return "x"

        client = app.test_client()
        for _ in range(2):
            response = client.get("/x")
            assert "Set-Cookie" in response.headers
            assert [name for name in self.OURS if name in response.headers] == []

    def test_on_a_304_as_well(self, app, manager):
        """A 304 to which a hook adds a cookie has none of our fields."""

        @app.after_request
        def add(response):
            if "With-Cookie" in request.headers:
                response.set_cookie("a", "b")
            return response

        @app.route("/x")
        @manager.cacher(timeout=60)
        async def view():
            return "x"

        client = app.test_client()
        etag = client.get("/x").headers["ETag"]
        response = client.get("/x", headers={"If-None-Match": etag, "With-Cookie": "1"})
        assert response.status_code == 304
        assert [name for name in self.OURS if name in response.headers] == []

    def test_the_stored_answer_keeps_them(self, app, manager):
        """A cookie on one response leaves the stored answer, and the next caller's, whole."""

        @app.after_request
        def add(response):
            if "With-Cookie" in request.headers:
                response.set_cookie("a", "b")
            return response

        @app.route("/x")
        @manager.cacher(timeout=60)
        async def view():
            return "x"

        client = app.test_client()
        client.get("/x", headers={"With-Cookie": "1"})
        response = client.get("/x")
        assert "hit" in status(response)
        assert response.headers["ETag"].startswith('W/"')


class TestPasses:
    def test_a_pass_is_private(self, app, manager):
        """What one caller alone gets says so, and has neither tag nor age."""

        @app.route("/x")
        @manager.cacher(timeout=60)
        async def view():
            return request.remote_addr

        headers = app.test_client().get("/x").headers
        assert headers["Cache-Control"] == IN_APP
        assert [name for name in ("ETag", "Age", "Vary") if name in headers] == []

    def test_another_method_is_as_flask_answers_it(self, app, manager):
        """An answer to a POST gets Cache-Status and nothing else."""

        @app.route("/x", methods=["GET", "POST"])
        @manager.cacher(timeout=60)
        async def view():
            return "x"

        headers = app.test_client().post("/x").headers
        assert set(headers.keys()) == {"Content-Type", "Content-Length", "Cache-Status"}

    @pytest.mark.parametrize("public", [True, False])
    @pytest.mark.parametrize("name", ["Cookie", "Authorization"])
    def test_a_pass_of_a_shared_url_is_private(self, app, manager, name, public):
        """Where others share a URL, what one person gets says that it is his."""

        @app.route("/x")
        @manager.cacher(timeout=60, public=public)
        async def view():
            return f"{session.get('user')} {request.authorization}"

        client = app.test_client(use_cookies=False)
        client.get("/x")
        sent = {"Cookie": "session=x", "Authorization": "Basic eDp5"}
        passed = client.get("/x", headers={name: sent[name]})
        assert "bypass" in status(passed)
        assert passed.headers["Cache-Control"] == IN_APP

    def test_a_pass_by_request_is_private(self, app, manager):
        """Who asks with no-store gets the view's answer to himself, which may be personal."""

        @app.route("/x")
        @manager.cacher(timeout=60, public=True, request_directives=True)
        async def view():
            return str(session.get("user"))

        client = app.test_client()
        with client.session_transaction() as stored:
            stored["user"] = "ann"
        passed = client.get("/x", headers={"Cache-Control": "no-store"})
        assert (passed.text, passed.headers["Cache-Control"]) == ("ann", IN_APP)

    def test_what_such_a_view_says_itself_is_left_alone(self, app, manager):
        """A public view that says no-store to a person is heard."""

        @app.route("/x")
        @manager.cacher(timeout=60, public=True)
        async def view():
            user = session.get("user")
            return "x", {"Cache-Control": "no-store"} if user else {}

        client = app.test_client()
        client.get("/x")
        with client.session_transaction() as stored:
            stored["user"] = "ann"
        assert client.get("/x").headers.getlist("Cache-Control") == ["no-store"]
