"""Stored answers as responses: conditions, ranges, HEAD, Age and Cache-Status."""

import functools
import re
from email.utils import formatdate

import pytest
from flask import Flask, Response, request

from aswr import CacheManager

DATE = "Thu, 01 Jan 2026 00:00:00 GMT"
EARLIER = "Wed, 31 Dec 2025 23:59:59 GMT"
LATER = "Thu, 01 Jan 2026 00:00:01 GMT"
BODY = b"0123456789"


def status(response) -> str:
    return response.headers.get("Cache-Status", "")


def is_hit(response) -> bool:
    return status(response).startswith("aswr; hit")


@pytest.fixture
def view(app, manager):
    """Makes a view at /x that answers the ten digits with the given fields."""

    def make(fields=(), code=200, **options):
        @app.route("/x")
        @manager.cacher(**{"timeout": 20, "refresh_margin": 10, **options})
        async def view():
            return BODY, code, dict(fields)

        return app.test_client()

    return make


class TestIfNoneMatch:
    MATCHING = ['"v1"', 'W/"v1"', '"a", "v1"', 'W/"a" , W/"v1"', "*", ' "v1" ', '"a,b", "v1"']
    OTHER = ['"v2"', '"v"', "v1", '"V1"', "", '"v1', 'w/"v1"']

    @pytest.mark.parametrize("own", ['"v1"', 'W/"v1"'])
    @pytest.mark.parametrize("given", MATCHING)
    def test_a_tag_that_matches_is_304(self, view, given, own):
        """Lists, weak tags and * match by weak comparison (RFC 9110 §13.1.2)."""
        client = view({"ETag": own})
        for _ in range(2):
            response = client.get("/x", headers={"If-None-Match": given})
            assert (response.status_code, response.data) == (304, b"")
            assert response.headers["ETag"] == own

    @pytest.mark.parametrize("given", OTHER)
    def test_another_tag_is_the_whole_answer(self, view, given):
        """What does not match, or is no tag, gets the answer."""
        client = view({"ETag": '"v1"'})
        for _ in range(2):
            response = client.get("/x", headers={"If-None-Match": given})
            assert (response.status_code, response.data) == (200, BODY)

    @pytest.mark.parametrize("public", [True, False])
    def test_a_tag_of_ours_matches(self, view, public):
        """The tag that we made is as good as the view's own, strong or weak."""
        client = view(public=public)
        etag = client.get("/x").headers["ETag"]
        assert etag.startswith('"' if public else 'W/"')
        for given in (etag, etag.removeprefix("W/"), f'"x", {etag}'):
            assert client.get("/x", headers={"If-None-Match": given}).status_code == 304

    def test_the_tag_changes_with_the_body(self, app, manager, counter):
        """A renewed answer has another tag, and an unchanged one the same."""
        bodies = ["a", "b", "a"]

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return bodies.pop(0)

        client = app.test_client()
        tags = [client.get("/x").headers["ETag"]]
        for _ in range(2):
            manager.refresh("/x")
            tags.append(client.get("/x").headers["ETag"])
        assert tags[0] != tags[1]
        assert tags[0] == tags[2]

    def test_the_load_does_not_see_the_callers_condition(self, app, manager):
        """A cold request with a condition loads the whole answer for everybody."""
        seen = []

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            seen.append(request.headers.get("If-None-Match"))
            return "x", {"ETag": '"v1"'}

        client = app.test_client()
        first = client.get("/x", headers={"If-None-Match": '"v1"'})
        assert (first.status_code, seen) == (304, [None])
        assert client.get("/x").text == "x"


class TestIfModifiedSince:
    @pytest.mark.parametrize(
        ("given", "code"),
        [(DATE, 304), (LATER, 304), (EARLIER, 200), ("yesterday", 200), ("", 200)],
    )
    def test_by_the_views_own_date(self, view, given, code):
        """Not modified since then: 304; an earlier or invalid date: the answer (§13.1.3)."""
        client = view({"Last-Modified": DATE})
        for _ in range(2):
            response = client.get("/x", headers={"If-Modified-Since": given})
            assert (response.status_code, response.data) == (code, BODY if code == 200 else b"")

    def test_a_tag_outweighs_a_date(self, view):
        """If-Modified-Since counts only where there is no If-None-Match (§13.1.3)."""
        client = view({"Last-Modified": DATE, "ETag": '"v1"'})
        headers = {"If-Modified-Since": LATER, "If-None-Match": '"v2"'}
        assert client.get("/x", headers=headers).status_code == 200

    def test_by_the_time_of_the_load(self, view, clock):
        """An answer without Last-Modified or Date is dated by its load (RFC 9111 §4.3.2)."""
        client = view()
        client.get("/x")
        clock.tick(5)
        for since, code in ((0, 304), (1, 304), (-1, 200)):
            text = formatdate(clock.now - 5 + since, usegmt=True)
            response = client.get("/x", headers={"If-Modified-Since": text})
            assert response.status_code == code


class TestNotModified:
    FIELDS = {
        "ETag": '"v1"', "Last-Modified": DATE, "Content-Location": "/y", "Expires": LATER,
        "Cache-Control": "max-age=5", "Vary": "Accept-Language", "Content-Language": "de",
        "X-Frame-Options": "DENY", "Link": "</a>; rel=next", "Content-Disposition": "inline",
    }  # fmt: skip

    def test_it_has_the_fields_of_the_200_that_guide_a_cache(self, view):
        """Cache-Control, Content-Location, ETag, Expires and Vary; none of the body (§15.4.5)."""
        client = view(self.FIELDS)
        client.get("/x")
        response = client.get("/x", headers={"If-None-Match": '"v1"'})
        for name in ("ETag", "Content-Location", "Expires", "Cache-Control", "Vary"):
            assert response.headers.getlist(name) == [self.FIELDS[name]]
        for name in ("Content-Type", "Content-Length", "Content-Language", "Last-Modified"):
            assert name not in response.headers
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["Age"] == "0"
        assert is_hit(response)

    def test_the_date_stays_where_there_is_no_tag(self, view):
        """Last-Modified is left out only beside an ETag."""
        client = view({"Last-Modified": DATE})
        etag = client.get("/x").headers.get("ETag")
        response = client.get("/x", headers={"If-Modified-Since": DATE})
        assert response.status_code == 304
        assert ("Last-Modified" in response.headers) is (etag is None)

    def test_head_is_conditional_too(self, view):
        """HEAD with a condition that holds is 304, as GET."""
        client = view({"ETag": '"v1"'})
        client.get("/x")
        assert client.head("/x", headers={"If-None-Match": '"v1"'}).status_code == 304
        assert client.head("/x", headers={"If-None-Match": '"v2"'}).status_code == 200

    @pytest.mark.parametrize("code", [404, 301, 410])
    def test_other_statuses_have_no_conditions(self, view, code):
        """Of an answer that is no 200 a condition is not asked (§13.2.1)."""
        client = view({"ETag": '"v1"'}, code, statuses={code: 10})
        for _ in range(2):
            assert client.get("/x", headers={"If-None-Match": "*"}).status_code == code

    def test_a_stale_answer_is_304_too(self, view, clock, manager):
        """In the margin a caller who holds the stale answer is told so."""
        client = view({"ETag": '"v1"'})
        client.get("/x")
        clock.tick(12)
        response = client.get("/x", headers={"If-None-Match": '"v1"'})
        assert response.status_code == 304
        assert status(response) == "aswr; hit; ttl=-2; detail=revalidating"
        assert manager.join(5)


class TestHead:
    @pytest.mark.parametrize("public", [True, False])
    def test_a_cold_head_loads_and_stores_gets_answer(self, view, public):
        """HEAD on a miss renders as GET; the entry has the whole body."""
        client = view(public=public)
        head = client.head("/x")
        assert (head.data, head.headers["Content-Length"]) == (b"", "10")
        got = client.get("/x")
        assert (got.data, is_hit(got)) == (BODY, True)
        assert head.headers["ETag"] == got.headers["ETag"]

    def test_its_fields_are_gets(self, view):
        """HEAD has the fields of GET, body or not (RFC 9110 §9.3.2)."""
        client = view({"X-A": "1"}, public=True)
        client.get("/x")
        assert dict(client.head("/x").headers) == dict(client.get("/x").headers)

    def test_a_passing_head_is_flasks_own(self, app, manager):
        """HEAD of a view that passes has no body and the length of GET's."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return request.remote_addr

        head = app.test_client().head("/x")
        assert (head.data, head.headers["Content-Length"]) == (b"", "9")


class TestRanges:
    PARTS = [
        ("bytes=0-3", b"0123", "bytes 0-3/10"),
        ("bytes=3-", b"3456789", "bytes 3-9/10"),
        ("bytes=-2", b"89", "bytes 8-9/10"),
        ("bytes=5-99", b"56789", "bytes 5-9/10"),
        ("bytes=-99", BODY, "bytes 0-9/10"),
        ("bytes=9-9", b"9", "bytes 9-9/10"),
        ("Bytes=0-0", b"0", "bytes 0-0/10"),
    ]

    @pytest.mark.parametrize(("asked", "body", "where"), PARTS)
    def test_a_part_of_a_public_answer(self, view, asked, body, where):
        """One range of a stored public answer is 206, with its place and length (§14.2)."""
        client = view(public=True)
        whole = client.get("/x")
        part = client.get("/x", headers={"Range": asked})
        assert (part.status_code, part.data) == (206, body)
        assert part.headers["Content-Range"] == where
        assert part.headers["Content-Length"] == str(len(body))
        for name in ("ETag", "Cache-Control", "Content-Type"):
            assert part.headers.getlist(name) == whole.headers.getlist(name)
        assert is_hit(part)

    def test_a_cold_range_loads_the_whole(self, view):
        """A range on a miss renders the whole for everybody, and gives the caller his part."""
        client = view(public=True)
        part = client.get("/x", headers={"Range": "bytes=0-1"})
        assert (part.status_code, part.data) == (206, b"01")
        whole = client.get("/x")
        assert (whole.status_code, whole.data, is_hit(whole)) == (200, BODY, True)

    @pytest.mark.parametrize("asked", ["bytes=10-", "bytes=99-100", "bytes=-0"])
    def test_a_range_outside_is_416(self, view, asked):
        """A range that lies outside is 416, which tells the length (§15.5.17)."""
        client = view(public=True)
        response = client.get("/x", headers={"Range": asked})
        assert (response.status_code, response.data) == (416, b"")
        assert response.headers["Content-Range"] == "bytes */10"
        assert client.get("/x").data == BODY

    @pytest.mark.parametrize("asked", ["bytes=10-", "bytes=-0"])
    def test_a_416_is_for_no_cache_to_keep(self, view, asked):
        """No cache may store a 416 as the answer of the URL: it has no lifetime and no tag."""
        client = view(public=True, cdn_timeout=60)
        response = client.get("/x", headers={"Range": asked})
        assert response.status_code == 416
        said = response.headers.get("Cache-Control", "")
        assert "max-age" not in said
        assert "public" not in said
        for name in ("CDN-Cache-Control", "ETag", "Expires", "Last-Modified"):
            assert name not in response.headers

    @pytest.mark.parametrize(
        "asked",
        ["bytes=0-1,3-4", "bytes=5-2", "bytes=a-b", "items=0-1", "bytes", "", "bytes=0-1, 8-"],
    )
    def test_several_or_malformed_ranges_get_the_whole(self, view, asked):
        """Several ranges, another unit, or what is malformed: 200 and everything (§14.2)."""
        client = view(public=True)
        for _ in range(2):
            response = client.get("/x", headers={"Range": asked})
            assert (response.status_code, response.data) == (200, BODY)
            assert "Content-Range" not in response.headers

    def test_if_range_with_the_tag(self, view):
        """If-Range with the answer's own strong tag gets the part, any other the whole."""
        client = view(public=True)
        etag = client.get("/x").headers["ETag"]
        for given, code in ((etag, 206), (f"W/{etag}", 200), ('"other"', 200), (DATE, 200)):
            headers = {"Range": "bytes=0-3", "If-Range": given}
            assert client.get("/x", headers=headers).status_code == code

    def test_if_range_with_a_weak_tag_of_the_views(self, view):
        """A weak tag never matches If-Range (§13.1.5)."""
        client = view({"ETag": 'W/"v1"'}, public=True)
        headers = {"Range": "bytes=0-3", "If-Range": 'W/"v1"'}
        assert client.get("/x", headers=headers).status_code == 200

    def test_a_condition_comes_before_a_range(self, view):
        """If-None-Match that matches is 304, whatever the range (§13.2.2)."""
        client = view(public=True)
        etag = client.get("/x").headers["ETag"]
        headers = {"Range": "bytes=0-3", "If-None-Match": etag}
        assert client.get("/x", headers=headers).status_code == 304

    def test_head_has_no_ranges(self, view):
        """Range is for GET alone (§14.2)."""
        client = view(public=True)
        response = client.head("/x", headers={"Range": "bytes=0-3"})
        assert (response.status_code, response.headers["Content-Length"]) == (200, "10")

    @pytest.mark.parametrize("asked", ["bytes=0-3", "bytes=99-"])
    def test_in_app_answers_have_none(self, view, asked):
        """What is not public may be changed by a hook: the whole is sent, and none announced."""
        client = view()
        for _ in range(2):
            response = client.get("/x", headers={"Range": asked})
            assert (response.status_code, response.data) == (200, BODY)

    def test_of_other_statuses_there_are_none(self, view):
        """A stored 404 is sent whole."""
        client = view(code=404, public=True, statuses={404: 10})
        for _ in range(2):
            response = client.get("/x", headers={"Range": "bytes=0-3"})
            assert (response.status_code, response.data) == (404, BODY)

    def test_an_empty_body(self, app, manager):
        """A range of nothing is 416; a suffix of nothing is the whole."""

        @app.route("/x")
        @manager.cacher(timeout=20, public=True)
        async def view():
            return ""

        client = app.test_client()
        assert client.get("/x", headers={"Range": "bytes=0-"}).status_code == 416
        assert client.get("/x", headers={"Range": "bytes=-1"}).status_code == 200


class TestNested:
    """What the caller of a page asks of the page is not asked of its parts."""

    @pytest.mark.parametrize(
        ("name", "value"),
        [("If-None-Match", "*"), ("If-Modified-Since", LATER), ("Range", "bytes=0-1")],
    )
    @pytest.mark.parametrize("cached", [True, False])
    @pytest.mark.parametrize("public", [True, False])
    def test_a_part_is_whole_whatever_the_pages_caller_asks(
        self, app, manager, name, value, cached, public
    ):
        """A cached view that another view calls gives it a whole answer."""

        @manager.cacher(timeout=20, public=public)
        async def part():
            return "part", {"Last-Modified": DATE}

        async def page():
            return f"page with {(await part()).get_data(as_text=True)}"

        app.add_url_rule("/x", "x", manager.cacher(timeout=20)(page) if cached else page)
        client = app.test_client()
        for _ in range(2):
            response = client.get("/x", headers={name: value})
            assert response.status_code == 304 or response.text == "page with part"
        assert client.get("/x").text == "page with part"

    def test_a_part_is_whole_when_the_page_is_revalidated(self, app, manager, clock):
        """The conditions of a page's own revalidation are not asked of its parts."""
        calls = []

        @manager.cacher(timeout=1000)
        async def part():
            return "part", {"Last-Modified": EARLIER}

        @app.route("/x")
        @manager.cacher(timeout=20, refresh_margin=0)
        async def page():
            calls.append(1)
            text = (await part()).get_data(as_text=True)
            return f"page {len(calls)} with {text}", {"Last-Modified": DATE}

        client = app.test_client()
        assert client.get("/x").text == "page 1 with part"
        clock.tick(21)
        assert client.get("/x").text == "page 2 with part"


class TestCacheStatus:
    """RFC 9211."""

    def test_the_reasons_of_forwards(self, app, manager, clock):
        """uri-miss, vary-miss, stale, method and bypass, each where RFC 9211 §2.2 says."""

        @app.route("/x", methods=["GET", "POST"])
        @manager.cacher(timeout=20, refresh_margin=0)
        async def view():
            return f"{request.headers.get('Accept-Language')} {request.cookies.get('user')}"

        client = app.test_client(use_cookies=False)

        def get(**headers):
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            return status(client.get("/x", headers=sent))

        assert get(Accept_Language="de") == "aswr; fwd=uri-miss; stored"
        assert get(Accept_Language="en") == "aswr; fwd=vary-miss; stored"
        assert get(Accept_Language="en") == "aswr; hit; ttl=20"
        assert get(Cookie="user=ann") == 'aswr; fwd=bypass; detail="reads cookie user"'
        assert status(client.post("/x")) == "aswr; fwd=method"
        # A method that is not safe has made the URL out of date.
        assert "fwd=" in get(Accept_Language="en")
        clock.tick(20)
        assert get(Accept_Language="en") == "aswr; fwd=stale; stored"

    def test_what_is_not_stored(self, app, manager):
        """A forwarded answer that is not stored does not say so."""

        @app.route("/<int:code>")
        @manager.cacher(timeout=20)
        async def view(code):
            return "x", code

        client = app.test_client()
        assert status(client.get("/404")).startswith("aswr; fwd=uri-miss")
        assert "stored" not in status(client.get("/404"))
        assert status(client.get("/503")) == "aswr; fwd=uri-miss; fwd-status=503"

    @pytest.mark.parametrize("debug", [True, False])
    def test_the_key_is_told_in_debug_only(self, clock, debug):
        """key names the view and URL where the app is in debug mode, and nowhere else."""
        app = Flask("shop")
        app.debug = debug
        manager = CacheManager(app, clock=clock)

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return "x"

        client = app.test_client()
        for _ in range(2):
            said = status(client.get("/x?a=1"))
            assert ("key=" in said) is debug
            assert not debug or re.search(r'key="[^"]*view /x\?a=1"', said)
        manager.close()

    @pytest.mark.parametrize("debug", [True, False])
    @pytest.mark.parametrize("query", ["read", []])
    def test_debug_changes_nothing_but_that(self, clock, debug, query):
        """A view that is called in another's render reads no query that it does not look at."""
        app = Flask("shop")
        app.debug = debug
        manager = CacheManager(app, clock=clock)

        @manager.cacher(timeout=20, query=query)
        async def part():
            return "part"

        @app.route("/x")
        @manager.cacher(timeout=20, query="read")
        async def view():
            return (await part()).get_data(as_text=True)

        client = app.test_client()
        client.get("/x?a=1")
        assert is_hit(client.get("/x?a=2"))
        manager.close()

    def test_members_of_upstream_caches_stay(self, app, manager):
        """A proxy-like view's own Cache-Status is kept in front of ours (RFC 9211 §2)."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return "x", {"Cache-Status": "Origin; hit"}

        client = app.test_client()
        for _ in range(2):
            said = client.get("/x").headers.getlist("Cache-Status")
            assert said[0] == "Origin; hit"
            assert len(said) == 2
            assert said[1].startswith("aswr; ")

    def test_age_grows_from_the_load(self, view, clock, manager):
        """Age is the whole seconds since the load, on hits and for who waited."""
        client = view()
        assert client.get("/x").headers["Age"] == "0"
        clock.tick(7.9)
        assert client.get("/x").headers["Age"] == "7"

    def test_a_pass_has_no_age(self, app, manager):
        """What is answered anew for a caller has no Age."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return request.remote_addr

        assert "Age" not in app.test_client().get("/x").headers


class TestResponses:
    def test_the_apps_own_response_class(self, app, manager):
        """Hits are of the app's response class, as its hooks expect."""

        class Own(Response):
            pass

        app.response_class = Own
        kinds = []

        @app.after_request
        def look(response):
            kinds.append(isinstance(response, Own))
            return response

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return "x"

        for _ in range(2):
            app.test_client().get("/x")
        assert kinds == [True, True]

    def test_hooks_may_change_a_hit(self, app, manager, counter):
        """What an after_request hook does to one answer is not done to the stored one."""

        @app.after_request
        def stamp(response):
            response.set_data(response.get_data() + b"!")
            response.headers["X-N"] = counter()
            return response

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return "x"

        client = app.test_client()
        found = [client.get("/x") for _ in range(3)]
        assert [response.text for response in found] == ["x!"] * 3
        assert [response.headers["X-N"] for response in found] == ["1", "2", "3"]
        assert all(len(response.headers.getlist("X-N")) == 1 for response in found)

    def test_several_lines_of_one_field_are_kept(self, app, manager):
        """Fields that occur more than once come back as often, in their order."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return Response("x", headers=[("Link", "<a>"), ("X-A", "1"), ("Link", "<b>")])

        client = app.test_client()
        for _ in range(2):
            assert client.get("/x").headers.getlist("Link") == ["<a>", "<b>"]

    def test_an_answer_without_content_type_stays_without(self, app, manager):
        """A field that the view took away does not come back on a hit."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            response = Response("x")
            del response.headers["Content-Type"]
            return response

        client = app.test_client()
        assert ["Content-Type" in client.get("/x").headers for _ in range(2)] == [False, False]


class TestWhatHooksLeave:
    """Of an in-app answer conditions are asked when everybody has done with it."""

    @pytest.fixture
    def client(self, app, manager):
        @app.after_request
        def add_corner(response):
            corner = request.headers.get("X-User", "")
            return (
                app.response_class(response.get_data(), headers=response.headers)
                if (corner == "made anew")
                else self.extended(response, corner)
            )

        @app.route("/x")
        @manager.cacher(timeout=60)
        def view():
            return "page"

        return app.test_client()

    def extended(self, response, corner):
        if corner:
            response.set_data(response.get_data() + corner.encode())
        return response

    def test_nobody_is_told_that_anothers_page_is_his(self, client):
        """What a hook adds for one person is in the tag that this person gets."""
        ann = client.get("/x", headers={"X-User": "ann"})
        tag = {"If-None-Match": ann.headers["ETag"]}
        assert client.get("/x", headers={"X-User": "ann", **tag}).status_code == 304
        bob = client.get("/x", headers={"X-User": "bob", **tag})
        assert (bob.status_code, bob.text) == (200, "pagebob")
        plain = client.get("/x", headers=tag)
        assert (plain.status_code, plain.text) == (200, "page")

    def test_when_it_was_made_says_nothing_of_what_a_hook_adds(self, client):
        """If-Modified-Since is not answered with 304 where the body is not the stored one."""
        client.get("/x")
        later = {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}
        assert client.get("/x", headers=later).status_code == 304
        assert client.get("/x", headers={"X-User": "ann", **later}).status_code == 200

    def test_a_response_of_a_hooks_own_is_the_hooks(self, client):
        """Of what is no answer of ours any more nothing is said."""
        every = {"If-None-Match": "*", "X-User": "made anew"}
        client.get("/x")
        assert client.get("/x", headers=every).status_code == 200

    def test_a_decorator_above_gets_the_whole_answer(self, app, manager):
        """What it makes of the answer is made of a page, never of a 304 without one."""

        def enveloped(view):
            @functools.wraps(view)
            def wrapper():
                return {"inner": view().get_data(as_text=True)}

            return wrapper

        @app.route("/api")
        @enveloped
        @manager.cacher(timeout=60)
        def api():
            return "data"

        client = app.test_client()
        for _ in range(2):
            answer = client.get("/api", headers={"If-None-Match": "*"})
            assert (answer.status_code, answer.json) == (200, {"inner": "data"})
