"""Loads that ask the view whether its answer still holds, and requests that say what they take."""

import asyncio
from pathlib import Path

import pytest
from flask import Flask, Response, request, send_file, session

from aswr import CacheManager

DATE = "Thu, 01 Jan 2026 00:00:00 GMT"
LATER = "Thu, 01 Jan 2026 00:00:01 GMT"


def status(response) -> str:
    return response.headers.get("Cache-Status", "")


def is_hit(response) -> bool:
    return status(response).startswith("aswr; hit")


class Page:
    """A page with a validator, whose check is cheap and whose rendering is not."""

    def __init__(self) -> None:
        self.version = 1
        self.asked: list[str | None] = []
        self.rendered = 0
        self.fields: dict[str, str] = {}

    @property
    def etag(self) -> str:
        return f'"v{self.version}"'

    def __call__(self):
        self.asked.append(request.headers.get("If-None-Match"))
        if request.if_none_match.contains(f"v{self.version}"):
            return "", 304, {"ETag": self.etag, **self.fields}
        self.rendered += 1
        return f"version {self.version}", {"ETag": self.etag, **self.fields}


@pytest.fixture
def page() -> Page:
    return Page()


def install(app, manager, page, kind="async", path="/x", **options):
    """The page as a view of that kind, cached for twenty seconds."""
    options = {"timeout": 20, "refresh_margin": 0, **options}

    def body():
        return page()

    async def async_body():
        await asyncio.sleep(0)
        return page()

    if kind == "blocking":
        options["blocking"] = True
    cached = manager.cacher(**options)(body if kind == "def" else async_body)
    app.add_url_rule(path, path, cached)
    return cached


@pytest.fixture(params=["async", "def", "blocking"])
def kind(request) -> str:
    return request.param


class TestRenewal:
    def test_a_304_renews_the_entry_and_keeps_the_body(self, app, manager, clock, page, kind):
        """The view is given its own tag; its 304 renews headers and freshness (§4.3.4)."""
        install(app, manager, page, kind)
        client = app.test_client()
        assert client.get("/x").text == "version 1"
        clock.tick(20)
        renewed = client.get("/x")
        assert (renewed.status_code, renewed.text) == (200, "version 1")
        assert status(renewed) == "aswr; fwd=stale; fwd-status=304; stored"
        assert renewed.headers["Age"] == "0"
        assert (page.rendered, page.asked) == (1, [None, '"v1"'])
        clock.tick(19)
        assert is_hit(client.get("/x"))

    def test_another_version_replaces_it(self, app, manager, clock, page, kind):
        """A view whose answer has changed renders it, and the new one is stored."""
        install(app, manager, page, kind)
        client = app.test_client()
        client.get("/x")
        clock.tick(20)
        page.version = 2
        changed = client.get("/x")
        assert changed.text == "version 2"
        assert status(changed) == "aswr; fwd=stale; stored"
        assert changed.headers["ETag"] == '"v2"'
        clock.tick(20)
        assert client.get("/x").text == "version 2"
        assert page.asked == [None, '"v1"', '"v2"']

    def test_in_the_margin_it_is_renewed_in_the_background(self, app, manager, clock, page, kind):
        """A stale hit starts a conditional load; the next hit is fresh, with the same body."""
        install(app, manager, page, kind, refresh_margin=10)
        client = app.test_client()
        client.get("/x")
        clock.tick(12)
        assert status(client.get("/x")) == "aswr; hit; ttl=-2; detail=revalidating"
        assert manager.join(5)
        fresh = client.get("/x")
        assert (fresh.text, status(fresh), fresh.headers["Age"]) == (
            "version 1", "aswr; hit; ttl=10", "0",
        )  # fmt: skip
        assert page.rendered == 1

    def test_the_fields_of_the_304_replace_the_stored_ones(self, app, manager, clock, page, kind):
        """A 304's fields are the entry's from then on, but those of the body (§3.2)."""
        page.fields = {"X-A": "old", "X-B": "old", "Content-Type": "text/plain"}
        install(app, manager, page, kind)
        client = app.test_client()
        client.get("/x")
        clock.tick(20)
        page.fields = {"X-A": "new", "Content-Type": "text/css"}
        for _ in range(2):
            headers = client.get("/x").headers
            assert headers.getlist("X-A") == ["new"]
            assert headers.getlist("X-B") == ["old"]
            assert headers.getlist("Content-Type") == ["text/plain"]
            assert headers.getlist("Cache-Control") == ["private, no-cache"]
            assert headers["Content-Length"] == "9"

    def test_a_304_may_say_how_long_it_lives(self, app, manager, clock, page):
        """s-maxage of a 304 is the renewed entry's lifetime."""
        page.fields = {"Cache-Control": "s-maxage=20"}
        install(app, manager, page)
        client = app.test_client()
        client.get("/x")
        clock.tick(20)
        page.fields = {"Cache-Control": "s-maxage=100"}
        client.get("/x")
        clock.tick(60)
        assert is_hit(client.get("/x"))

    def test_by_date(self, app, manager, clock, kind):
        """A view with Last-Modified is asked by If-Modified-Since."""
        asked = []

        def body():
            asked.append(request.headers.get("If-Modified-Since"))
            if request.if_modified_since is not None:
                return Response(status=304)
            return Response("x", headers={"Last-Modified": DATE})

        async def async_body():
            return body()

        options = {"blocking": True} if kind == "blocking" else {}
        view = body if kind == "def" else async_body
        cached = manager.cacher(timeout=20, refresh_margin=0, **options)(view)
        app.add_url_rule("/x", "x", cached)
        client = app.test_client()
        client.get("/x")
        clock.tick(20)
        renewed = client.get("/x")
        assert (renewed.text, renewed.headers["Last-Modified"]) == ("x", DATE)
        assert "fwd-status=304" in status(renewed)
        assert asked == [None, DATE]

    def test_make_conditional_is_enough(self, app, manager, clock):
        """A view that ends in response.make_conditional(request) is renewed."""
        renders = []

        @app.route("/x")
        @manager.cacher(timeout=20, refresh_margin=0)
        async def view():
            renders.append(1)
            response = Response("text")
            response.set_etag("v1")
            return response.make_conditional(request)

        client = app.test_client()
        client.get("/x")
        clock.tick(20)
        renewed = client.get("/x")
        assert (renewed.text, "fwd-status=304" in status(renewed)) == ("text", True)
        assert len(renders) == 2

    def test_a_sent_file_is_renewed(self, app, manager, clock, tmp_path: Path):
        """send_file answers its own conditions: a file that stays is not read again."""
        file = tmp_path / "a.txt"
        file.write_text("content")

        @app.route("/x")
        @manager.cacher(timeout=20, refresh_margin=0)
        async def view():
            return send_file(file)

        client = app.test_client()
        client.get("/x")
        clock.tick(20)
        renewed = client.get("/x")
        assert (renewed.text, "fwd-status=304" in status(renewed)) == ("content", True)

    def test_a_tag_of_ours_is_not_asked(self, app, manager, clock):
        """A view that set no validator is given none: it could not know our tag."""
        asked = []

        @app.route("/x")
        @manager.cacher(timeout=20, refresh_margin=0)
        async def view():
            asked.append(request.headers.get("If-None-Match"))
            return "x"

        client = app.test_client()
        client.get("/x")
        clock.tick(20)
        assert status(client.get("/x")) == "aswr; fwd=stale; stored"
        assert asked == [None, None]

    def test_the_callers_own_condition_is_answered_from_the_renewed(
        self, app, manager, clock, page
    ):
        """A caller with a condition waits for the renewal, and is told by its outcome."""
        install(app, manager, page)
        client = app.test_client()
        client.get("/x")
        clock.tick(20)
        held = client.get("/x", headers={"If-None-Match": '"v1"'})
        assert (held.status_code, held.data) == (304, b"")
        clock.tick(20)
        page.version = 2
        changed = client.get("/x", headers={"If-None-Match": '"v1"'})
        assert (changed.status_code, changed.text) == (200, "version 2")
        assert page.asked == [None, '"v1"', '"v1"']

    def test_many_waiters_get_the_renewed(self, app, manager, clock, gate, background):
        """Everybody who waits for a conditional load gets the whole answer."""
        asked = []

        @app.route("/x")
        @manager.cacher(timeout=20, refresh_margin=0)
        async def view():
            asked.append(1)
            if request.if_none_match:
                await gate.ahold()
                return "", 304
            return "text", {"ETag": '"v1"'}

        app.test_client().get("/x")
        clock.tick(20)
        calls = [background(lambda: app.test_client().get("/x")) for _ in range(5)]
        gate.await_arrival()
        while manager.stats()["waiting"] < 5:
            pass
        gate.open()
        results = [call.result() for call in calls]
        assert {result.text for result in results} == {"text"}
        assert {result.headers["ETag"] for result in results} == {'"v1"'}
        assert all("fwd-status=304" in status(result) for result in results)
        assert len(asked) == 2

    def test_verbs_and_jobs_ask_as_well(self, app, manager, page):
        """refresh() is a conditional load: a cheap check saves the page."""
        view = install(app, manager, page)
        app.test_client().get("/x")
        assert view.refresh().value.body == b"version 1"
        assert page.rendered == 1
        page.version = 2
        assert manager.refresh("/x").value.body == b"version 2"

    def test_variants_are_asked_for_their_own(self, app, manager, clock):
        """Each variant's load has the validators of that variant."""
        asked = []

        @app.route("/x")
        @manager.cacher(timeout=20, refresh_margin=0)
        async def view():
            language = request.headers.get("Accept-Language", "-")
            asked.append((language, request.headers.get("If-None-Match")))
            if request.if_none_match.contains(language):
                return "", 304
            return language, {"ETag": f'"{language}"'}

        client = app.test_client()
        for _ in range(2):
            for language in ("de", "en"):
                response = client.get("/x", headers={"Accept-Language": language})
                assert response.text == language
            clock.tick(20)
        assert asked == [("de", None), ("en", None), ("de", '"de"'), ("en", '"en"')]

    def test_a_scoped_view_is_asked_for_the_persons(self, app, manager, clock):
        """A person's entry is renewed by his own tag."""
        asked = []

        @app.route("/x")
        @manager.cacher(timeout=20, refresh_margin=0, scope=lambda: session.get("user"))
        async def view():
            asked.append(request.headers.get("If-None-Match"))
            if request.if_none_match.contains(session["user"]):
                return "", 304
            return session["user"], {"ETag": f'"{session["user"]}"'}

        clients = []
        for user in ("ann", "bob"):
            client = app.test_client()
            with client.session_transaction() as stored:
                stored["user"] = user
            clients.append(client)
        for _ in range(2):
            assert [client.get("/x").text for client in clients] == ["ann", "bob"]
            clock.tick(20)
        assert asked == [None, None, '"ann"', '"bob"']

    @pytest.mark.parametrize("kind", ["async", "def"])
    def test_a_public_view_is_renewed_through_the_hooks(self, app, manager, clock, page, kind):
        """A public view's 304 goes through the dispatch; what hooks add is there once."""

        @app.after_request
        def stamp(response):
            response.headers.add("X-Hook", "1")
            return response

        install(app, manager, page, kind, public=True)
        client = app.test_client()
        client.get("/x")
        clock.tick(20)
        for _ in range(2):
            renewed = client.get("/x")
            assert (renewed.status_code, renewed.text) == (200, "version 1")
            assert renewed.headers.getlist("X-Hook") == ["1"]
            assert renewed.headers["ETag"] == '"v1"'
            assert renewed.headers["Cache-Control"] == "public, max-age=20"
        assert page.rendered == 1

    def test_without_timeout_the_304_says_how_long(self, app, manager, clock, page):
        """RFC 9111 mode: no-cache answers with a tag are stored, and asked about each time."""
        page.fields = {"Cache-Control": "no-cache"}

        @app.route("/x")
        @manager.cacher()
        async def view():
            return page()

        client = app.test_client()
        for _ in range(3):
            assert client.get("/x").text == "version 1"
        assert page.rendered == 1
        assert page.asked == [None, '"v1"', '"v1"']
        page.version = 2
        assert client.get("/x").text == "version 2"


class TestGoneMeanwhile:
    @pytest.mark.parametrize("purge", ["path", "tag", "all"])
    def test_the_load_repeats_without_conditions(self, app, manager, clock, gate, background,
                                                 kind, purge):  # fmt: skip
        """An entry invalidated while its view is asked: the load repeats, and gets the whole."""
        asked = []

        def body():
            asked.append(request.headers.get("If-None-Match"))
            if request.if_none_match:
                gate.hold()
                return Response(status=304)
            return Response(f"render {len(asked)}", headers={"ETag": '"v1"'})

        async def async_body():
            return await asyncio.to_thread(body) if kind == "async" else body()

        options = {"blocking": True} if kind == "blocking" else {}
        cached = manager.cacher(timeout=20, refresh_margin=10, tags=("pages",), **options)(
            body if kind == "def" else async_body
        )
        app.add_url_rule("/x", "x", cached)
        client = app.test_client()
        client.get("/x")
        clock.tick(12)
        client.get("/x")
        gate.await_arrival()
        purges = {
            "path": lambda: manager.invalidate("/x"),
            "tag": lambda: manager.invalidate_tags("pages"),
            "all": manager.clear,
        }
        purges[purge]()
        late = background(lambda: app.test_client().get("/x"))
        while manager.stats()["waiting"] < 1:
            pass
        gate.open()
        response = late.result()
        assert response.status_code == 200
        assert response.text.startswith("render ")
        assert response.text != "render 1"
        assert asked[:3] == [None, '"v1"', None]

    def test_who_waits_gets_what_the_second_try_brings(self, app, manager, clock, gate, background):
        """Who waits for a load whose entry is purged gets what it brings without conditions."""
        asked = []

        @app.route("/x")
        @manager.cacher(timeout=20, refresh_margin=0)
        async def view():
            asked.append(request.headers.get("If-None-Match"))
            if request.if_none_match:
                await gate.ahold()
                return "", 304
            return f"render {len(asked)}", {"ETag": '"v1"'}

        app.test_client().get("/x")
        clock.tick(20)
        calls = [background(lambda: app.test_client().get("/x")) for _ in range(3)]
        gate.await_arrival()
        engine = manager._sites[app].engine
        while sum(len(flight.waiters) for flight in list(engine.flights.values())) < 3:
            pass  # who takes his seat after the purge is owed a newer answer still
        manager.invalidate("/x")
        gate.open()
        assert [(call.result().status_code, call.result().text) for call in calls] == [
            (200, "render 3")
        ] * 3
        assert asked == [None, '"v1"', None]


class TestOdd:
    def test_a_304_to_nobodys_question_is_not_stored(self, app, manager):
        """A view that says 304 without being asked is answered as it says, and not stored."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return "", 304

        client = app.test_client()
        assert [client.get("/x").status_code for _ in range(2)] == [304, 304]
        assert manager.peek("/x") is None

    def test_a_failing_check_keeps_the_entry(self, app, manager, clock, page):
        """A check that raises is a failed load: stale_if_error stands in."""
        install(app, manager, page, stale_if_error=100)
        client = app.test_client()
        client.get("/x")
        clock.tick(30)
        page.fields = None  # type: ignore[assignment]
        response = client.get("/x")
        assert (response.status_code, response.text) == (200, "version 1")
        page.fields = {}
        clock.tick(5)
        client.get("/x")
        assert manager.join(5)
        assert "fwd-status" not in status(client.get("/x"))
        assert is_hit(client.get("/x"))

    def test_a_304_with_a_cookie_is_one_persons(self, app, manager, clock, page):
        """A 304 that sets a cookie is not given to a second person."""
        install(app, manager, page)
        client = app.test_client()
        client.get("/x")
        clock.tick(20)
        page.fields = {"Set-Cookie": "a=b"}
        first = client.get("/x")
        assert first.text == "version 1"
        second = client.get("/x")
        assert second.text == "version 1"
        assert not is_hit(second)

    def test_a_passing_view_sees_the_callers_conditions(self, app, manager):
        """Who passes runs the view in his own request, his own conditions with it."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return f"{request.remote_addr} {request.headers.get('If-None-Match')}"

        headers = {"If-None-Match": '"mine"'}
        assert app.test_client().get("/x", headers=headers).text == '127.0.0.1 "mine"'

    def test_a_stored_status_of_its_own_is_kept(self, app, manager, clock):
        """A stored 404 with a tag is renewed as a 404."""

        @app.route("/x")
        @manager.cacher(timeout=20, refresh_margin=0, statuses={404: 20})
        async def view():
            if request.if_none_match:
                return "", 304
            return "none", 404, {"ETag": '"v1"'}

        client = app.test_client()
        client.get("/x")
        clock.tick(20)
        renewed = client.get("/x")
        assert (renewed.status_code, renewed.text) == (404, "none")

    def test_a_view_that_reads_more_now_is_asked_anew(self, app, manager, clock):
        """A 304 from a render that read a new input renews nothing under the old key."""
        reads = []

        @app.route("/x")
        @manager.cacher(timeout=20, refresh_margin=0)
        async def view():
            language = request.headers.get("Accept-Language") if reads else None
            if request.if_none_match:
                return "", 304
            return str(language), {"ETag": '"v1"'}

        client = app.test_client()
        assert client.get("/x", headers={"Accept-Language": "de"}).text == "None"
        clock.tick(20)
        reads.append(1)
        for _ in range(2):
            assert client.get("/x", headers={"Accept-Language": "de"}).text in ("None", "de")
            assert client.get("/x", headers={"Accept-Language": "en"}).text == "en"


class TestRequestDirectives:
    @pytest.fixture
    def view(self, app, manager):
        """Makes a view at /x that numbers its renders; fresh for 50 of 60 seconds."""

        def make(fields=(), **options):
            runs = []

            @app.route("/x")
            @manager.cacher(
                **{"timeout": 60, "refresh_margin": 10, "request_directives": True, **options}
            )
            async def view():
                runs.append(1)
                return str(len(runs)), dict(fields)

            client = app.test_client()

            def get(directives=None):
                return client.get(
                    "/x", headers={} if directives is None else {"Cache-Control": directives}
                )

            return get

        return make

    @pytest.mark.parametrize(
        "directives",
        ["no-cache", "no-store", "max-age=0", "min-fresh=100", "only-if-cached", "max-stale"],
    )
    def test_they_are_off_by_default(self, view, directives):
        """Any client could force loads: without request_directives nothing is heeded."""
        get = view(request_directives=False)
        assert get(directives).text == "1"
        assert is_hit(get(directives))

    def test_no_cache_loads_anew(self, view):
        """no-cache: the request does not take what is stored; the next one takes the new."""
        get = view()
        get()
        anew = get("no-cache")
        assert (anew.text, status(anew)) == ("2", "aswr; fwd=request; stored")
        assert (get().text, is_hit(get())) == ("2", True)

    def test_max_age(self, view, clock):
        """max-age=N: nothing older than N seconds (§5.2.1.1)."""
        get = view()
        get()
        clock.tick(10)
        assert is_hit(get("max-age=10"))
        assert status(get("max-age=9")) == "aswr; fwd=request; stored"

    def test_min_fresh(self, view, clock):
        """min-fresh=N: fresh for N seconds more (§5.2.1.3)."""
        get = view()
        get()
        clock.tick(10)
        assert is_hit(get("min-fresh=40"))
        assert status(get("min-fresh=41")) == "aswr; fwd=request; stored"

    @pytest.mark.parametrize(
        ("directives", "hit"),
        [("max-stale", True), ("max-stale=60", True), ("max-stale=40", False)],
    )
    def test_max_stale(self, view, clock, directives, hit):
        """max-stale=N: what is past its end by no more than N will do (§5.2.1.2)."""
        get = view()
        get()
        clock.tick(100)  # fresh until 50
        response = get(directives)
        assert is_hit(response) is hit
        assert response.text == ("1" if hit else "2")

    def test_only_if_cached(self, view):
        """only-if-cached: what is stored, or 504, and no load (§5.2.1.7)."""
        get = view()
        empty = get("only-if-cached")
        assert empty.status_code == 504
        assert get().text == "1"
        assert get("only-if-cached").text == "1"

    def test_only_if_cached_and_no_cache(self, view):
        """Together they can never be satisfied: 504."""
        get = view()
        get()
        assert get("only-if-cached, no-cache").status_code == 504

    def test_only_if_cached_where_the_url_passes(self, app, manager):
        """only-if-cached of a URL that passes is 504 too: nothing is stored for the caller."""
        runs = []

        @app.route("/x")
        @manager.cacher(timeout=60, request_directives=True)
        async def view():
            runs.append(1)
            return request.remote_addr

        client = app.test_client()
        client.get("/x")
        assert manager.join(5)
        count = len(runs)
        response = client.get("/x", headers={"Cache-Control": "only-if-cached"})
        assert response.status_code == 504
        assert len(runs) == count

    def test_no_store(self, view, manager):
        """no-store: what is stored may be used; else the view runs, and nothing is kept."""
        get = view()
        passed = get("no-store")
        assert (passed.text, status(passed)) == ("1", "aswr; fwd=request; detail=no-store")
        assert manager.peek("/x") is None
        get()
        assert is_hit(get("no-store"))

    @pytest.mark.parametrize("directives", ["", "foo", "max-age", "max-age=x", "no-cache=", ",,,"])
    def test_odd_ones_never_fail(self, view, directives):
        """Unknown or malformed directives cost a load at most."""
        get = view()
        assert [get(directives).status_code for _ in range(2)] == [200, 200]

    def test_max_age_wants_nothing_stale(self, view, clock, manager):
        """max-age=N without max-stale takes no stale answer, however young (§5.2.1.1)."""
        get = view()
        get()
        clock.tick(55)
        assert is_hit(get("max-age=60, max-stale"))
        assert manager.join(5)
        clock.tick(55)
        assert status(get("max-age=60")) == "aswr; fwd=stale; stored"

    def test_an_app_may_heed_them_everywhere(self, clock):
        """ASWR_REQUEST_DIRECTIVES heeds them for every view."""
        app = Flask("shop")
        app.config["ASWR_REQUEST_DIRECTIVES"] = True
        manager = CacheManager(app, clock=clock)

        @app.route("/x")
        @manager.cacher(timeout=60)
        async def view():
            return "x"

        client = app.test_client()
        client.get("/x")
        assert "fwd=request" in status(client.get("/x", headers={"Cache-Control": "no-cache"}))
        manager.close()

    def test_a_forced_load_that_fails_is_covered_by_stale_if_error(self, app, manager):
        """no-cache that meets a failing view gets what is stored, where stale_if_error covers."""
        broken = []

        @app.route("/x")
        @manager.cacher(timeout=60, request_directives=True, stale_if_error=60)
        async def view():
            if broken:
                raise ValueError("broken")
            return "x"

        client = app.test_client()
        client.get("/x")
        broken.append(1)
        response = client.get("/x", headers={"Cache-Control": "no-cache"})
        assert (response.status_code, response.text) == (200, "x")

    def test_concurrent_forced_loads_are_one(self, app, manager, gate, background):
        """Requests with no-cache that come together share one load."""
        runs = []

        @app.route("/x")
        @manager.cacher(timeout=60, request_directives=True)
        async def view():
            runs.append(1)
            if len(runs) > 1:
                await gate.ahold()
            return str(len(runs))

        app.test_client().get("/x")
        headers = {"Cache-Control": "no-cache"}
        calls = [
            background(lambda: app.test_client().get("/x", headers=headers).text) for _ in range(4)
        ]
        gate.await_arrival()
        while manager.stats()["waiting"] < 4:
            pass
        gate.open()
        assert [call.result() for call in calls] == ["2"] * 4


def test_a_full_executor_holds_up_no_hit_and_no_async_load(app, clock, counter, gate):
    """While sync loads hold every worker, stale answers are served, and async views load."""
    app.config["ASWR_WORKERS"] = 2
    manager = CacheManager(app, clock=clock)
    holding = False

    @app.get("/sync/<int:number>")
    @manager.cacher(timeout=20, refresh_margin=10)
    def sync(number):
        if holding:
            gate.hold()
        return counter()

    @app.get("/async")
    @manager.cacher(timeout=20, tags=lambda response: ["its close takes a thread"])
    async def view():
        return "loaded"

    client = app.test_client()
    try:
        old = [client.get(f"/sync/{n}").text for n in range(3)]
        holding = True
        clock.tick(15)
        for _ in range(2):
            assert [client.get(f"/sync/{n}").text for n in range(3)] == old
        gate.await_arrival()
        gate.await_arrival()
        assert client.get("/async").text == "loaded"
        assert [client.get(f"/sync/{n}").text for n in range(3)] == old
        assert counter.count == 3
        gate.open()
        assert manager.join(5)
        assert sorted(client.get(f"/sync/{n}").text for n in range(3)) == ["4", "5", "6"]
    finally:
        gate.open()
        manager.close(timeout=0.5)
