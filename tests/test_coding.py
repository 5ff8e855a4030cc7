"""Content codings: which answers are encoded, what their forms say, who gets which."""

import gzip
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from aswr import coding
from aswr.codec import Answer
from aswr.coding import CODINGS, LEAST, choose, encoded, require

BODY = b"words and words and words " * 100
HTML = ("Content-Type", "text/html; charset=utf-8")
DECODE = {"br": brotli.decompress, "zstd": zstandard.decompress, "gzip": gzip.decompress}

quick = settings(deadline=None)


def answer_of(*fields: tuple[str, str], body: bytes = BODY, status: int = 200) -> Answer:
    return Answer(status, (HTML, *fields), body, ("Cache-Control",), "Origin")


def forms(answer: Answer) -> dict[str, Answer]:
    return {coded.coding: coded.answer for coded in encoded(answer, CODINGS).codings}


def fields_of(answer: Answer, name: str) -> list[str]:
    return [value for field, value in answer.headers if field.lower() == name]


# What the forms are


def test_each_form_decodes_to_the_body() -> None:
    """Every coding's body is the plain one in that coding, and the plain one stays."""
    answer = encoded(answer_of(), CODINGS)
    assert answer.body == BODY
    assert {coded.coding for coded in answer.codings} == {"br", "zstd", "gzip"}
    for coded in answer.codings:
        assert DECODE[coded.coding](coded.answer.body) == BODY
        assert fields_of(coded.answer, "content-encoding") == [coded.coding]
    assert fields_of(answer, "content-encoding") == []


def test_only_what_was_asked_for_is_made() -> None:
    """Codings that the option does not name are not made."""
    assert [coded.coding for coded in encoded(answer_of(), ("gzip",)).codings] == ["gzip"]


def test_the_smallest_form_comes_first() -> None:
    """Of forms that somebody likes as much, `choose` then takes the smallest."""
    table = "".join(f"<tr><td>{i * i * 2654435761 % 10007}</td></tr>" for i in range(400))
    found = encoded(answer_of(body=table.encode()), CODINGS[::-1]).codings
    sizes = [len(coded.answer.body) for coded in found]
    assert len(sizes) == 3
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("name", CODINGS)
def test_the_same_body_gives_the_same_bytes(name: str) -> None:
    """A strong tag that is made of the plain one's names the same bytes in every process."""
    script = (
        "import sys; from aswr.codec import Answer; from aswr.coding import encoded\n"
        "fields = (('Content-Type', 'text/html'),)\n"
        "answer = encoded(Answer(200, fields, b'words and ' * 100), (sys.argv[1],))\n"
        "sys.stdout.buffer.write(answer.codings[0].answer.body)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, name], capture_output=True, check=True, timeout=50
    )
    here = encoded(Answer(200, (HTML,), b"words and " * 100), (name,))  # type: ignore[arg-type]
    assert done.stdout == here.codings[0].answer.body


def test_all_forms_say_that_they_vary() -> None:
    """Also the plain one has Vary, beside what it says already (RFC 9110 §12.5.5)."""
    answer = encoded(answer_of(("Vary", "Origin")), CODINGS)
    for one in (answer, *(coded.answer for coded in answer.codings)):
        assert fields_of(one, "vary") == ["Origin, Accept-Encoding"]


def test_a_form_has_a_length_of_its_own() -> None:
    """Content-Length follows the bytes, where there is one."""
    for form in forms(answer_of(("Content-Length", str(len(BODY))))).values():
        assert fields_of(form, "content-length") == [str(len(form.body))]
    for form in forms(answer_of()).values():
        assert fields_of(form, "content-length") == []


@pytest.mark.parametrize(
    ("etag", "expected"),
    [
        ('"abc"', '"abc-{}"'),
        ('""', '"-{}"'),
        ("abc", '"abc-{}"'),  # malformed, and yet not the same for two bodies
        ('W/"abc"', 'W/"abc"'),
    ],
)
def test_strong_tags_are_of_one_form(etag: str, expected: str) -> None:
    """A strong tag differs for each coding, a weak one is shared (RFC 9110 §8.8.3.3)."""
    answer = encoded(answer_of(("ETag", etag)), CODINGS)
    assert fields_of(answer, "etag") == [etag]
    for coded in answer.codings:
        assert fields_of(coded.answer, "etag") == [expected.format(coded.coding)]


def test_other_fields_stay() -> None:
    """What the answer says besides is the same in every form, but digests of the bytes."""
    fields = [("X-Shop", "a"), ("Last-Modified", "then"), ("x-shop", "b"), ("Set-Shop", "")]
    digests = [("Content-Digest", "sha-256=:x:"), ("Repr-Digest", "x"), ("Content-MD5", "x")]
    answer = encoded(answer_of(*fields, *digests, ("Digest", "x")), CODINGS)
    assert set(digests) <= set(answer.headers)
    for form in (coded.answer for coded in answer.codings):
        added = [("Content-Encoding", "gzip"), HTML, ("Vary", "Accept-Encoding")]
        names = {"content-encoding", "vary", "content-type"}
        assert [field for field in form.headers if field[0].lower() not in names] == fields
        assert len(form.headers) == len(fields) + len(added)
        assert (form.status, form.ours, form.vary) == (200, ("Cache-Control",), "Origin")
        assert form.codings == ()


# What is left alone


@pytest.mark.parametrize(
    "fields",
    [
        {"Content-Encoding": "gzip"},
        {"content-encoding": "identity"},
        {"Content-Range": "bytes 0-1/5000"},
        {"Cache-Control": "public, No-Transform"},  # RFC 9111 §5.2.2.6
    ],
)
def test_what_may_not_be_changed(fields: Mapping[str, str]) -> None:
    """Encoded answers, parts, and what forbids it stay as they are, without Vary."""
    answer = answer_of(*fields.items())
    assert encoded(answer, CODINGS) == answer


def test_small_bodies_are_left_alone() -> None:
    """Below 500 bytes nothing is gained; from there on it is."""
    small, large = answer_of(body=b"x" * (LEAST - 1)), answer_of(body=b"x" * LEAST)
    assert encoded(small, CODINGS) == small
    assert encoded(large, CODINGS).codings
    assert LEAST == 500


@pytest.mark.parametrize(
    ("kind", "compresses"),
    [
        ("text/html; charset=utf-8", True),
        ("TEXT/CSS", True),
        ("application/json", True),
        ("application/ld+json", True),
        ("application/rss+xml; charset=utf-8", True),
        ("application/manifest+json", True),
        ("image/svg+xml", True),
        ("application/javascript", True),
        ("application/wasm", True),
        ("application/x-ndjson", True),
        ("application/vnd.ms-fontobject", True),
        ("font/ttf", True),
        ("font/woff2", False),
        ("image/png", False),
        ("image/jpeg", False),
        ("video/mp4", False),
        ("application/zip", False),
        ("application/gzip", False),
        ("application/octet-stream", False),
        ("application/json2", False),
        ("", False),
    ],
)
def test_types_that_compress(kind: str, compresses: bool) -> None:
    """Types that are compressed already, and unknown ones, are left alone."""
    answer = Answer(200, (("Content-Type", kind),), BODY)
    assert bool(encoded(answer, CODINGS).codings) is compresses


def test_without_a_type_it_is_left_alone() -> None:
    """Nobody knows what the bytes are."""
    answer = Answer(200, (), BODY)
    assert encoded(answer, CODINGS) == answer


def test_what_saves_little_is_left_out() -> None:
    """A form that is hardly smaller, as of random text, is not kept; if none is, no Vary."""
    noise = bytes((i * i * 2654435761 >> 11) % 256 for i in range(4000))
    answer = answer_of(body=noise)
    assert encoded(answer, CODINGS) == answer
    # Three in a hundred: short of what is worth it.
    answer = answer_of(body=noise + b"x" * 120)
    assert len(gzip.compress(answer.body)) < len(answer.body)
    assert encoded(answer, ("gzip",)) == answer


def test_any_status_is_encoded() -> None:
    """A stored page of a 404 is as long as another."""
    assert encoded(answer_of(status=404), CODINGS).codings


# Who gets which


def offers(**sizes: int) -> Answer:
    """An answer in forms of these sizes, plain in 1000 bytes."""
    codings = sorted(sizes.items(), key=lambda item: item[1])
    made = tuple(
        coding.Coded(name, Answer(200, (("Content-Encoding", name),), b"x" * size))  # type: ignore[arg-type]
        for name, size in codings
    )
    return Answer(200, (), b"x" * 1000, codings=made)


ALL = offers(br=100, zstd=150, gzip=200)


def chosen(answer: Answer, accept_encoding: str | None) -> str:
    found = choose(answer, accept_encoding)
    return next(iter(fields_of(found, "content-encoding")), "plain")


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        (None, "plain"),
        ("", "plain"),
        (" ", "plain"),
        ("br", "br"),
        ("gzip", "gzip"),
        ("zstd", "zstd"),
        ("deflate", "plain"),
        ("identity", "plain"),
        ("gzip, deflate, br, zstd", "br"),  # equals: the smallest
        ("gzip, deflate", "gzip"),
        ("GZip", "gzip"),
        ("x-gzip", "gzip"),
        ("X-GZIP;q=0.5", "gzip"),
        ("x-br", "plain"),  # only gzip and compress have such a name
        ("gzip;q=1.0, br;q=0.5", "gzip"),
        ("gzip;q=0.5, br;q=0.8, zstd;q=0.9", "zstd"),
        ("gzip ; q=0.5 ,\tbr\t;\tQ=0.8", "br"),
        ("br;q=0", "plain"),
        ("br;q=0.000, gzip;q=0.001", "gzip"),
        ("*", "br"),
        ("*;q=0", "plain"),
        ("*, br;q=0", "zstd"),
        ("gzip;q=0.5, *;q=0.1", "gzip"),
        ("gzip, *;q=0", "gzip"),
        ("identity;q=0, gzip", "gzip"),
        ("identity;q=0, deflate", "plain"),  # rather that than 406
        ("identity;q=1, gzip;q=0.5", "plain"),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("identity;q=0.5, gzip;q=1", "gzip"),
        ("gzip;q=0.5, *", "br"),
        ("br, br;q=0", "plain"),
        ("br;q=0, br", "plain"),
        ("gzip, x-gzip;q=0", "plain"),
        (",,gzip,,", "gzip"),
        # What cannot be read is not accepted, by * neither.
        ("gzip;q=2", "plain"),
        ("gzip;q=-1", "plain"),
        ("gzip;q=", "plain"),
        ("gzip;q", "plain"),
        ("gzip;", "plain"),
        ("gzip;q=0.1234", "plain"),
        ("gzip;level=9", "plain"),
        ("gzip;q=1;q=1", "plain"),
        ("*, br;q=0.00000", "zstd"),
        ("br gzip", "plain"),
        ("gzip;q=\u0661", "plain"),
        ('"gzip"', "plain"),
        (";q=1, =, ;;,\0", "plain"),
    ],
)
def test_who_gets_which(accept_encoding: str | None, expected: str) -> None:
    """The most weight wins, then the smallest; who accepts nothing gets the plain answer."""
    assert chosen(ALL, accept_encoding) == expected


def test_what_is_not_kept_is_not_given() -> None:
    """The choice is among the forms that are there."""
    only = offers(gzip=200)
    assert chosen(only, "br, gzip;q=0.1") == "gzip"
    assert chosen(only, "br") == "plain"
    assert chosen(only, "gzip;q=0.1, *;q=0.5") == "plain"  # * speaks of identity, too
    assert chosen(offers(gzip=100, br=101), "gzip, br") == "gzip"


def test_an_answer_without_forms_is_itself() -> None:
    """Whatever the request says."""
    answer = answer_of()
    assert choose(answer, "br, gzip") is answer


def test_long_texts_are_read_and_not_remembered() -> None:
    """A stranger's long text costs him time, and nobody memory."""
    before = coding._weights.cache_info().currsize
    assert chosen(ALL, "x" * 100_000 + ", gzip") == "gzip"
    assert coding._weights.cache_info().currsize == before
    most = coding._weights.cache_info().maxsize
    assert most is not None
    assert most <= 1024


@given(st.text(max_size=40) | st.text(st.sampled_from("gzipbr*;q=0.1, \tx-"), max_size=40))
@quick
def test_no_text_raises(text: str) -> None:
    """Whatever somebody sends, he gets one of the forms."""
    assert chosen(ALL, text) in ("plain", *CODINGS)


weights = st.sampled_from(["0", "0.001", "0.25", "0.5", "1"])
members = st.dictionaries(st.sampled_from([*CODINGS, "identity", "deflate"]), weights, max_size=5)


@given(members)
@quick
def test_the_choice_is_the_best(given_weights: Mapping[str, str]) -> None:
    """No form that is there has more weight than the chosen one, nor as much in fewer bytes."""
    text = ", ".join(f"{name};q={weight}" for name, weight in given_weights.items())
    weight = {name: float(q) for name, q in given_weights.items()}
    sizes = {"br": 100, "zstd": 150, "gzip": 200, "identity": 1000}
    ranks = {name: (weight.get(name, 0.0), -size) for name, size in sizes.items()}
    acceptable = {name: rank for name, rank in ranks.items() if rank[0] > 0}
    best = max(acceptable, key=lambda name: acceptable[name], default="identity")
    assert chosen(ALL, text).replace("plain", "identity") == best


# The libraries


def test_gzip_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, gzip is there."""
    monkeypatch.setitem(sys.modules, "brotli", None)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    require("compress", ("gzip",))
    assert encoded(answer_of(), ("gzip",)).codings


@pytest.mark.parametrize(("name", "library"), [("br", "brotli"), ("zstd", "zstandard")])
def test_a_missing_library(monkeypatch: pytest.MonkeyPatch, name: Any, library: str) -> None:
    """The error says what is missing, what to install, and what needs nothing."""
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError) as caught:
        require("ASWR_COMPRESS", ("gzip", name))
    for words in (repr(name), library, "pip install 'aswr[compress]'", "ASWR_COMPRESS=('gzip',)"):
        assert words in str(caught.value)


PLAIN = """
import sys
import aswr, flask
app = flask.Flask("shop")
manager = aswr.CacheManager(app)

@app.route("/")
@manager.cacher(60)
def plain():
    return "x" * 1000

@app.route("/gzip")
@manager.cacher(60, compress=("gzip",))
async def compressed():
    return "x" * 1000

for path in "/", "/gzip":
    answer = app.test_client().get(path, headers={"Accept-Encoding": "br, zstd, gzip"})
    print(answer.status_code)
manager.close()
print({"brotli", "zstandard"} & set(sys.modules))
"""


def test_libraries_are_imported_only_when_asked_for() -> None:
    """A manager, cached views and gzip load no compression library."""
    done = subprocess.run(
        [sys.executable, "-c", PLAIN], capture_output=True, text=True, check=True, timeout=50
    )
    assert done.stdout.split("\n")[:3] == ["200", "200", "set()"]
