"""Flask-Compress: each visitor gets a coding that he accepts, from one stored answer or several."""

import gzip
import zlib

import brotli
import pytest
from flask import Flask, request
from flask_compress import Compress

LONG = "words and words and words " * 100


@pytest.fixture
def compress(app: Flask) -> Compress:
    app.config["COMPRESS_ALGORITHM"] = ["gzip", "deflate"]
    return Compress(app)


@pytest.fixture(params=[False, True], ids=["in-app", "public"])
def public(request):
    return request.param


@pytest.fixture
def page(app, compress, cached, counter, public):
    @app.route("/")
    @cached(public=public)
    def page():
        return f"{LONG}{counter()}"


def get(app, accepts, **headers):
    if accepts is not None:
        headers["Accept-Encoding"] = accepts
    return app.test_client().get("/", headers=headers)


def number(response) -> int:
    """The number of the render, out of a body in whatever coding."""
    decode = {
        None: bytes, "gzip": gzip.decompress, "deflate": zlib.decompress, "br": brotli.decompress
    }  # fmt: skip
    text = decode[response.headers.get("Content-Encoding")](response.data).decode()
    assert text.startswith(LONG)
    return int(text[len(LONG) :])


def test_each_gets_what_he_accepts(app, page):
    """Hits too; what nobody compresses is sent as it is."""
    asked = ["gzip", None, "deflate", "br", "gzip, deflate", "identity"] * 2
    answers = [get(app, accepts) for accepts in asked]
    codings = [answer.headers.get("Content-Encoding") for answer in answers]
    assert codings == ["gzip", None, "deflate", None, "gzip", None] * 2
    assert all(number(answer) for answer in answers)
    assert all("Accept-Encoding" in answer.headers["Vary"] for answer in answers)


def test_in_app_all_share_one_load(app, compress, cached, counter, manager, told):
    """The hook compresses every answer anew."""

    @app.route("/")
    @cached()
    def page():
        return f"{LONG}{counter()}"

    answers = [get(app, accepts) for accepts in ("gzip", None, "deflate", "gzip")]
    assert [number(answer) for answer in answers] == [1] * 4
    assert told.hit(answers[3])
    assert manager.stats()["loads"] == 1


def test_in_public_each_coding_is_stored(app, compress, cached, counter, manager, told):
    """The hook compresses in the render; a hit costs no compression, and spellings share."""

    @app.route("/")
    @cached(public=True)
    def page():
        return f"{LONG}{counter()}"

    asked = ["gzip, deflate", None, "deflate;q=1.0,gzip", "GZIP , deflate"]
    answers = [get(app, accepts) for accepts in asked]
    assert [number(answer) for answer in answers] == [1, 2, 1, 1]
    assert told.hit(answers[2])
    assert answers[0].data == answers[3].data


def test_a_browser_asks_whether_it_changed(app, page):
    """What was sent in a coding is confirmed by 304 without a body, in the same coding only."""
    for accepts in ("gzip", None, "deflate"):
        etag = get(app, accepts).headers["ETag"]
        again = get(app, accepts, **{"If-None-Match": etag})
        assert (again.status_code, again.data) == (304, b"")
        assert get(app, accepts, **{"If-None-Match": '"other"'}).status_code == 200


def test_codings_have_strong_etags_of_their_own(app, compress, cached, counter):
    """Two bodies of different bytes never share a strong ETag (RFC 9110 §8.8.1)."""

    @app.route("/")
    @cached(public=True)
    def page():
        return LONG

    etags = [get(app, accepts).headers["ETag"] for accepts in ("gzip", None, "deflate")]
    assert len(set(etags)) == 3
    assert not any(etag.startswith("W/") for etag in etags)


def test_a_views_own_etag(app, compress, cached, counter, public, clock, manager):
    """A view that sets an ETag and answers 304 by it is renewed under every coding."""

    @app.route("/")
    @cached(public=public)
    def page():
        from flask import make_response

        response = make_response(f"{LONG}{counter()}")
        response.set_etag("version-1")
        return response.make_conditional(request)

    for _ in range(3):
        for accepts in ("gzip", None):
            answer = get(app, accepts)
            assert answer.headers.get("Content-Encoding") == accepts
            assert number(answer)
            again = get(app, accepts, **{"If-None-Match": answer.headers["ETag"]})
            assert (again.status_code, again.data) == (304, b"")
        clock.tick(25)


def test_a_refresh_keeps_the_coding(app, page, clock, manager):
    """A load in the background makes the coding of the variant that it renews."""
    for accepts in ("gzip", None):
        get(app, accepts)
    clock.tick(18)
    for accepts in ("gzip", None):
        get(app, accepts)
    assert manager.join(5)
    for accepts in ("gzip", None):
        answer = get(app, accepts)
        assert answer.headers.get("Content-Encoding") == accepts
        assert number(answer) > 1


def test_a_range_is_of_the_bytes_as_sent(app, page, public):
    """Parts of a coded body put together are the coded body; in-app nobody gets parts."""
    whole = get(app, "gzip")
    first = get(app, "gzip", Range="bytes=0-9")
    if not public:
        assert first.status_code == 200
        return
    rest = get(app, "gzip", Range="bytes=10-", **{"If-Range": whole.headers["ETag"]})
    assert (first.status_code, rest.status_code) == (206, 206)
    assert first.data + rest.data == whole.data


@pytest.fixture
def ready(app, compress, cached, counter, public):
    @app.route("/")
    @cached(public=public, compress=True)
    def page():
        return f"{LONG}{counter()}"


def test_beside_ready_made_codings(app, ready, public):
    """What is kept encoded is left alone by the hook; the rest it compresses as before."""
    asked = ["gzip", None, "deflate", "br", "gzip, br;q=0.5"] * 2
    answers = [get(app, accepts) for accepts in asked]
    codings = [answer.headers.get("Content-Encoding") for answer in answers]
    assert codings == ["gzip", None, "deflate", "br", "gzip"] * 2
    # In public the hook reads Accept-Encoding in the render: a load for each that it tells apart.
    loads = [1, 2, 3, 4, 5] if public else [1] * 5
    assert [number(answer) for answer in answers] == loads * 2
    assert all("Accept-Encoding" in answer.headers["Vary"] for answer in answers)


def test_a_ready_made_coding_is_not_made_again(app, compress, cached, monkeypatch):
    """In-app, a hit on a kept coding costs the hook nothing; one on another does."""

    @app.route("/")
    @cached(compress=True)
    def page():
        return LONG

    get(app, "gzip")
    calls, plain = [], zlib.compress
    monkeypatch.setattr(zlib, "compress", lambda *args, **kw: calls.append(1) or plain(*args, **kw))
    for _ in range(2):
        assert gzip.decompress(get(app, "gzip").data).decode() == LONG
    assert calls == []
    get(app, "deflate")
    assert calls == [1]


def test_ready_made_codings_are_confirmed(app, ready):
    """Each form is confirmed by the tag that it came with."""
    for accepts in ("gzip", None, "br", "deflate"):
        etag = get(app, accepts).headers["ETag"]
        again = get(app, accepts, **{"If-None-Match": etag})
        assert (again.status_code, again.data) == (304, b"")
