"""``compress=True``: each gets the coding that he accepts, ready-made, and HTTP holds for each."""

import asyncio
import gzip
import threading
import zlib
from hashlib import sha256

import brotli
import flask
import pytest
import zstandard
from aiocache import SimpleMemoryCache
from flask import Flask, Response, make_response, request

from aswr import CacheManager

LONG = "words and words and words " * 100
ALL = "gzip, deflate, br, zstd"
CODINGS = ["br", "zstd", "gzip"]
DECODE = {
    "br": brotli.decompress,
    "zstd": zstandard.decompress,
    "gzip": gzip.decompress,
    None: bytes,
}


@pytest.fixture(params=[False, True], ids=["in-app", "public"])
def public(request) -> bool:
    return request.param


@pytest.fixture(params=["async", "def"])
def cached(app, manager, request):
    """Caches a view at /x with compress=True, in either colour."""

    def cached(**options):
        def decorate(function):
            decorator = manager.cacher(**{"timeout": 60, "compress": True, **options})
            if request.param == "def":
                return app.route("/x")(decorator(function))

            async def view():
                return function()

            return app.route("/x")(decorator(view))

        return decorate

    return cached


@pytest.fixture
def page(cached, counter, public):
    """A long page that ends with the number of its render."""

    @cached(public=public)
    def page():
        return LONG + counter()


def get(app, accepts=None, method="GET", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if accepts is not None:
        headers["Accept-Encoding"] = accepts
    return app.test_client(use_cookies=False).open("/x", method=method, headers=headers)


def coding(response) -> str | None:
    return response.headers.get("Content-Encoding")


def text(response) -> str:
    """The page, out of whatever coding."""
    return DECODE[coding(response)](response.data).decode()


def number(response) -> str:
    page = text(response)
    assert page.startswith(LONG)
    return page[len(LONG) :]


def hit(response) -> bool:
    return response.headers["Cache-Status"].startswith("aswr; hit")


class TestWhoGetsWhat:
    def test_each_gets_what_he_accepts(self, app, manager, page):
        """One load serves all, the first caller too, and who accepts nothing."""
        asked = {"gzip": "gzip", "br": "br", "zstd": "zstd", None: None, "deflate": None}
        asked |= {"gzip;q=0.2, br;q=0.1": "gzip", "identity, br;q=0.5": None, "br;q=0": None}
        answers = {accepts: get(app, accepts) for accepts in [*asked, *asked]}
        assert {accepts: coding(answer) for accepts, answer in answers.items()} == asked
        assert [number(answer) for answer in answers.values()] == ["1"] * len(asked)
        assert manager.stats()["loads"] == 1

    def test_of_equals_the_smallest(self, app, page):
        """A browser that likes all the same gets the fewest bytes."""
        sizes = [len(get(app, name).data) for name in CODINGS]
        assert len(get(app, ALL).data) == min(sizes)

    def test_everybody_is_told_what_it_depends_on(self, app, page):
        """Vary is on every form, and on its 304."""
        for accepts in (None, *CODINGS):
            answer = get(app, accepts)
            again = get(app, accepts, If_None_Match=answer.headers["ETag"])
            assert again.status_code == 304
            for response in (answer, again):
                assert response.headers.getlist("Vary") == ["Accept-Encoding"]

    def test_head_tells_what_get_would(self, app, page):
        """HEAD has the fields of the form that GET gets, and no body."""
        for accepts in (None, *CODINGS):
            head, whole = get(app, accepts, "HEAD"), get(app, accepts)
            assert head.data == b""
            assert coding(head) == accepts
            assert head.headers["Content-Length"] == str(len(whole.data))
            assert head.headers["ETag"] == whole.headers["ETag"]

    def test_other_codings_are_not_made(self, app, cached):
        """With names in ``compress`` these are all."""

        @cached(compress=["gzip"])
        def page():
            return LONG

        assert coding(get(app, "br, zstd")) is None
        assert coding(get(app, "br, zstd, gzip")) == "gzip"

    def test_for_all_views_of_an_app(self, clock, counter):
        """ASWR_COMPRESS holds where a view does not say otherwise."""
        app = Flask("shop")
        app.config["ASWR_COMPRESS"] = ["gzip"]
        manager = CacheManager(app, clock=clock)
        app.route("/x")(manager.cacher(60)(lambda: LONG))
        app.route("/y", endpoint="y")(manager.cacher(60, compress=False)(lambda: LONG))
        headers = {"Accept-Encoding": ALL}
        assert coding(app.test_client().get("/x", headers=headers)) == "gzip"
        assert coding(app.test_client().get("/y", headers=headers)) is None
        manager.close()

    def test_without_the_option_nothing_is_compressed(self, app, cached):
        """Nor does such an answer say that it varies."""

        @cached(compress=False)
        def page():
            return LONG

        for answer in (get(app, ALL), get(app, ALL)):
            assert coding(answer) is None
            assert "Vary" not in answer.headers


class TestValidators:
    def test_public_tags_are_of_one_form(self, app, counter, cached):
        """A strong tag confirms the form that it came with, and no other."""

        @cached(public=True)
        def page():
            return LONG

        etags = {accepts: get(app, accepts).headers["ETag"] for accepts in (None, *CODINGS)}
        assert len(set(etags.values())) == 4
        assert not any(etag.startswith("W/") for etag in etags.values())
        for accepts in etags:
            for other, etag in etags.items():
                code = get(app, accepts, If_None_Match=etag).status_code
                assert code == (304 if accepts == other else 200)

    def test_in_app_tags_are_weak_and_shared(self, app, cached):
        """Our own weak tag says that the answer is the same in every form."""

        @cached()
        def page():
            return LONG

        etags = {get(app, accepts).headers["ETag"] for accepts in (None, *CODINGS)}
        assert len(etags) == 1
        etag = etags.pop()
        assert etag.startswith("W/")
        for accepts in (None, *CODINGS):
            assert get(app, accepts, If_None_Match=etag).status_code == 304

    @pytest.mark.parametrize(
        ("own", "expected"), [('"v1"', '"v1-br"'), ('W/"v1"', 'W/"v1"')], ids=["strong", "weak"]
    )
    def test_the_views_own_tag(self, app, cached, public, own, expected):
        """The view's strong tag is made one of the form, its weak one stays."""

        @cached(public=public)
        def page():
            return Response(LONG, headers={"ETag": own})

        assert get(app, None).headers["ETag"] == own
        assert get(app, "br").headers["ETag"] == expected
        again = get(app, "br", If_None_Match=expected)
        assert (again.status_code, again.data) == (304, b"")
        assert coding(again) is None  # it describes the content, and a 304 has none

    def test_a_view_is_asked_about_its_own_tag(self, app, clock, cached, counter, public):
        """A view that answers 304 knows its own tag only; all forms are fresh again."""
        asked = []

        @cached(public=public, refresh_margin=0)
        def page():
            asked.append(request.headers.get("If-None-Match"))
            response = make_response(LONG + counter())
            response.set_etag("v1")
            return response.make_conditional(request)

        for accepts in (None, *CODINGS, *CODINGS):
            answer = get(app, accepts)
            assert (coding(answer), number(answer)) == (accepts, "1")
            tag = '"v1"' if accepts is None else f'"v1-{accepts}"'
            assert answer.headers["ETag"] == tag
            assert answer.headers["Content-Length"] == str(len(answer.data))
            clock.tick(61)
        assert asked == [None] + ['"v1"'] * 6

    def test_parts_are_of_the_form(self, app, cached):
        """Parts of a public form put together are the form, and of no other."""

        @cached(public=True)
        def page():
            return LONG

        for accepts in CODINGS:
            whole = get(app, accepts)
            etag = whole.headers["ETag"]
            first = get(app, accepts, Range="bytes=0-9")
            rest = get(app, accepts, Range="bytes=10-", If_Range=etag)
            assert [r.status_code for r in (first, rest)] == [206, 206]
            assert [coding(r) for r in (first, rest)] == [accepts, accepts]
            assert first.data + rest.data == whole.data
            assert first.headers["Content-Range"] == f"bytes 0-9/{len(whole.data)}"
            assert get(app, None, Range="bytes=10-", If_Range=etag).data == LONG.encode()
            none = get(app, accepts, Range=f"bytes={len(whole.data)}-")
            assert (none.status_code, none.data) == (416, b"")
            assert "Content-Encoding" not in none.headers


@pytest.fixture
def compressions(monkeypatch):
    """The threads on which a library was made to compress, once for each time."""
    threads = []

    def counted(function):
        def call(*args, **kwargs):
            threads.append(threading.current_thread())
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(brotli, "compress", counted(brotli.compress))
    monkeypatch.setattr(zlib, "compress", counted(zlib.compress))
    monkeypatch.setattr(zstandard, "ZstdCompressor", counted(zstandard.ZstdCompressor))
    return threads


class TestCost:
    def test_a_hit_never_compresses(self, app, manager, clock, page, compressions):
        """Once per load and coding, fresh and stale hits, 304s and HEADs never."""
        compressions.clear()  # decorating tries the libraries
        etag = get(app, "br").headers["ETag"]
        assert len(compressions) == 3
        for accepts in (None, ALL, *CODINGS):
            assert hit(get(app, accepts))
            assert hit(get(app, accepts, "HEAD"))
        get(app, "br", If_None_Match=etag)
        assert len(compressions) == 3
        clock.tick(50)
        assert number(get(app, "br")) == "1"
        assert manager.join(5)
        assert number(get(app, "br")) == "2"
        assert len(compressions) == 6

    def test_it_runs_on_the_executor(self, app, manager, clock, page, compressions):
        """Neither the caller nor the loop waits for it: the executor's threads do."""
        compressions.clear()
        get(app, ALL)
        clock.tick(50)
        get(app, ALL)
        assert manager.join(5)
        assert len(compressions) == 6
        assert threading.current_thread() not in compressions
        assert all(thread.name.startswith("aswr-worker") for thread in compressions)

    def test_what_is_not_stored_is_not_compressed(self, app, cached, compressions):
        """Neither an answer for one caller nor a failure is kept, so neither is encoded."""
        answers = iter([
            lambda: (LONG, 500),
            lambda: (LONG, 404),
            lambda: (LONG, {"Cache-Control": "private"}),
            lambda: (LONG, {"Set-Cookie": "a=b"}),
            lambda: (LONG, {"X-Not": "stored"}),
        ])  # fmt: skip

        @cached(store_if=lambda response: "X-Not" not in response.headers)
        def page():
            return next(answers)()

        compressions.clear()
        for _ in range(5):
            response = get(app, ALL)
            assert coding(response) is None
            assert response.text == LONG
        assert compressions == []

    def test_the_size_counts_every_form(self, app, manager, cached):
        """An entry weighs what all its forms weigh."""

        @cached()
        def page():  # half of it is left in each form
            return "".join(sha256(str(i).encode()).hexdigest() for i in range(1000))

        forms = sum(len(get(app, accepts).data) for accepts in (None, *CODINGS))
        assert 150_000 < forms < manager.stats()["bytes"] < forms + 8000


class TestWhatIsLeftAlone:
    @pytest.mark.parametrize(
        ("body", "headers"),
        [
            ("short", {}),
            (LONG, {"Content-Type": "image/png"}),
            (LONG, {"Cache-Control": "no-transform"}),
            (gzip.compress(LONG.encode()) * 20, {"Content-Encoding": "gzip"}),
        ],
        ids=["small", "image", "no-transform", "encoded"],
    )
    def test_it_is_sent_as_it_is(self, app, cached, public, body, headers):
        """Small, compressed and protected answers have one form, and no Vary."""

        @cached(public=public)
        def page():
            return Response(body, headers=headers)

        for _ in range(2):
            answer = get(app, ALL)
            assert answer.data == (body if isinstance(body, bytes) else body.encode())
            assert coding(answer) == headers.get("Content-Encoding")
            assert "Vary" not in answer.headers
            assert "-" not in answer.headers["ETag"]

    def test_a_long_error_page(self, app, cached):
        """What is stored because of ``statuses`` is encoded like the rest."""

        @cached(statuses={404: 30})
        def page():
            flask.abort(404, LONG)

        for answer in (get(app, "gzip"), get(app, "gzip")):
            assert (answer.status_code, coding(answer)) == (404, "gzip")
            assert LONG in text(answer)


class TestWhoSharesWhat:
    def test_variants_have_forms_of_their_own(self, app, cached, counter, public):
        """A learned header splits the answers, the coding does not."""

        @cached(public=public)
        def page():
            return LONG + counter() + request.headers.get("Accept-Language", "")

        for language, expected in [("en", "1en"), ("de", "2de"), ("en", "1en"), ("de", "2de")]:
            for accepts in (None, *CODINGS):
                answer = get(app, accepts, Accept_Language=language)
                assert (coding(answer), number(answer)) == (accepts, expected)
                assert answer.headers["Vary"] == "Accept-Language, Accept-Encoding"

    def test_a_personal_answer_is_the_views_own(self, app, cached, counter):
        """Who brings what the view reads passes, and gets what the view said."""

        @cached()
        def page():
            return LONG + counter() + request.cookies.get("user", "")

        assert number(get(app, "br")) == "1"
        mine = get(app, "br", Cookie="user=me")
        assert (coding(mine), number(mine)) == (None, "2me")
        assert number(get(app, "br")) == "1"

    def test_a_scoped_answer_is_encoded_for_its_person(self, app, cached, counter):
        """Each person has an entry, and its forms are private."""

        @cached(scope=lambda: request.cookies.get("user"))
        def page():
            return LONG + counter() + request.cookies.get("user", "")

        for user, expected in [("a", "1a"), ("b", "2b"), ("a", "1a")]:
            answer = get(app, "br", Cookie=f"user={user}")
            assert (coding(answer), number(answer)) == ("br", expected)
            assert answer.headers["Cache-Control"] == "private, no-cache"

    def test_a_view_that_reads_accept_encoding(self, app, cached, counter, public):
        """It learns the header, and its answers are right all the same."""

        @cached(public=public)
        def page():
            return LONG + counter() + request.headers.get("Accept-Encoding", "")

        for accepts, expected in [("br", "1br"), ("gzip", "2gzip"), ("br", "1br")]:
            answer = get(app, accepts)
            assert (coding(answer), number(answer)) == (accepts, expected)
            assert answer.headers.getlist("Vary") == ["Accept-Encoding"]

    def test_another_view_gets_the_plain_answer(self, app, cached, public):
        """Who calls a cached view in his own gets text, whatever the browser accepts."""

        @cached(public=public)
        def page():
            return LONG

        @app.route("/around")
        async def around():
            inner = app.ensure_sync(page)()
            return make_response(inner).get_data(as_text=True)[:5]

        headers = {"Accept-Encoding": ALL}
        for _ in range(2):
            assert app.test_client().get("/around", headers=headers).text == "words"


class TestHooks:
    def test_hooks_see_the_form(self, app, cached):
        """In-app hooks get the response as it leaves, hits too."""
        seen = []

        @app.after_request
        def look(response):
            seen.append((response.headers.get("Content-Encoding"), response.get_data()))
            return response

        @cached()
        def page():
            return LONG

        sent = [(accepts, get(app, accepts).data) for accepts in ("br", None, "br")]
        assert seen == sent

    def test_a_cookie_from_a_hook_leaves_the_coding(self, app, cached):
        """With a cookie nothing of ours leaves but what the bytes are."""

        @app.after_request
        def cookie(response):
            response.set_cookie("seen", "1")
            return response

        @cached()
        def page():
            return LONG

        for _ in range(2):
            answer = get(app, "gzip")
            assert coding(answer) == "gzip"
            assert gzip.decompress(answer.data).decode() == LONG
            assert "ETag" not in answer.headers
            assert "Accept-Encoding" in answer.headers["Vary"]

    def test_hooks_of_a_public_view_see_the_plain_answer(self, app, cached):
        """They run in the render, before anything is encoded; their fields are on every form."""

        @app.after_request
        def shout(response):
            response.set_data(response.get_data().upper())
            response.headers["X-Hook"] = "1"
            return response

        @cached(public=True)
        def page():
            return LONG

        for accepts in (None, *CODINGS):
            answer = get(app, accepts)
            assert text(answer) == LONG.upper()
            assert answer.headers.getlist("X-Hook") == ["1"]


def test_forms_come_out_of_a_shared_store(clock, counter):
    """Another process behind the same cache object serves the forms that the first one made."""
    cache, answers = SimpleMemoryCache(), []
    for _ in range(2):
        app = Flask("shop")
        manager = CacheManager(app, cache, clock=clock)

        @app.route("/x")
        @manager.cacher(60, compress=True)
        async def page():
            return LONG + counter()

        answers += [get(app, accepts) for accepts in ("br", None, "gzip")]
        assert manager.join(5)
        manager.close()
    assert [coding(answer) for answer in answers] == ["br", None, "gzip"] * 2
    assert [number(answer) for answer in answers] == ["1"] * 6


def at_the_asgi_door(manager, *headers) -> Response:
    """What the ASGI door sends for /x, as a response."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": "/x", "raw_path": b"/x", "query_string": b"", "root_path": "",
        "headers": [(b"host", b"localhost"), *headers],
        "client": ("127.0.0.1", 5), "server": ("localhost", 80),
    }  # fmt: skip
    asyncio.run(asyncio.wait_for(manager.asgi()(scope, receive, send), 10))
    fields = [(name.decode(), value.decode()) for name, value in sent[0]["headers"]]
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Response(body, sent[0]["status"], fields)


def test_at_the_asgi_door(manager, cached, counter):
    """Miss and hit, tags and parts are as at the other doors; lines of a field are one list."""

    @cached(public=True)
    def page():
        return LONG + counter()

    lines = [(b"accept-encoding", b"gzip;q=0.1"), (b"accept-encoding", b"zstd")]
    for _ in range(2):
        answer = at_the_asgi_door(manager, *lines)
        assert (coding(answer), number(answer)) == ("zstd", "1")
    assert coding(at_the_asgi_door(manager)) is None
    etag = answer.headers["ETag"].encode()
    assert at_the_asgi_door(manager, *lines, (b"if-none-match", etag)).status_code == 304
    assert at_the_asgi_door(manager, (b"if-none-match", etag)).status_code == 200
    part = at_the_asgi_door(manager, *lines, (b"range", b"bytes=0-4"), (b"if-range", etag))
    assert (part.status_code, part.data) == (206, answer.data[:5])
