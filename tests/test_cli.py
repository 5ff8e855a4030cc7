"""The command line, in this process: what is printed, what is read, whom it asks, how it fails."""

import errno
import gzip
import http.server
import io
import json
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click
import pytest
from aiocache import SimpleMemoryCache
from click.testing import CliRunner, Result
from flask import Flask, request
from flask.cli import FlaskGroup, ScriptInfo
from hypothesis import given
from hypothesis import strategies as st

from aswr import CacheManager
from aswr.cli import aswr, remote, shown, urls
from aswr.cli import warm as warming
from aswr.cli.remote import Remote, RemoteError
from aswr.cli.screen import Cell, Column, Screen, clean, cut, fitted, width_of, wrap
from aswr.cli.source import NO_MEMORY, NOBODY, UNLISTED, Source
from aswr.cli.top import Rates, Top, lines
from aswr.cli.urls import BadList, Found, parse, read_all
from aswr.desk import desk_of
from aswr.here import process
from aswr.questions import local

from .conftest import Clock, Gate
from .servers.harness import wait_until

HOSTILE = "/a\x1b[31m\x07\r\n\u202e\u200b\x85\x7f\udc80"
IN = "http://www.sitemaps.org/schemas/sitemap/0.9"


def text_of(draw: Callable[[Screen], object], width: int = 80, **options: Any) -> str:
    """What is drawn on a terminal so wide."""
    out = io.StringIO()
    draw(Screen(out, terminal=True, width=width, colour=options.get("colour", False)))
    return out.getvalue()


# Text


@given(st.text())
def test_no_character_gets_through_that_moves_anything(text: str) -> None:
    """What is cleaned is one line of characters that are shown as they are, and is whole."""
    shown_text = clean(text)
    assert shown_text.isprintable()
    assert clean(shown_text) == shown_text
    if text.isprintable():
        assert shown_text == text


def test_hostile_text_is_escaped() -> None:
    """Escape sequences, bells, new lines, marks of direction and half characters are spelled."""
    assert clean(HOSTILE) == r"/a\x1b[31m\x07\r\n\u202e\u200b\x85\x7f\udc80"


@pytest.mark.parametrize(
    ("text", "columns"),
    [("abc", 3), ("日本", 4), ("e\u0301", 1), ("🙂", 2), ("", 0)],
)
def test_columns_of_wide_characters(text: str, columns: int) -> None:
    """Wide characters take two columns, marks above others none."""
    assert width_of(text) == columns


@given(st.text(st.sampled_from("ab日🙂e\u0301 ")), st.integers(0, 12))
def test_a_cut_fits(text: str, width: int) -> None:
    """A cut text takes at most so many columns, and one that fits is left alone."""
    for tail in (False, True):
        assert width_of(cut(text, width, tail=tail)) <= width
        if width_of(text) <= width:
            assert cut(text, width, tail=tail) == text
    assert cut("module:view", 6) == "modul…"
    assert cut("module:view", 6, tail=True) == "…:view"


@given(st.text(st.sampled_from("ab日 🙂")), st.integers(2, 20))
def test_wrapped_lines_fit_and_lose_nothing(text: str, width: int) -> None:
    """Wrapped lines are no wider than asked, and together have every letter, in order."""
    lines = wrap(text, width)
    assert all(width_of(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@given(
    st.lists(st.tuples(st.integers(0, 60), st.booleans(), st.integers(1, 9)), min_size=1),
    st.integers(1, 120),
)
def test_columns_fit_any_terminal(cells: list[tuple[int, bool, int]], width: int) -> None:
    """However narrow a terminal is, a table's columns fit, and at least one is left."""
    natural = [max(1, cell[0]) for cell in cells]
    columns = [Column("", gives=gives, worth=worth) for _, gives, worth in cells]
    widths = fitted(columns, natural, width)
    left = [each for each in widths if each]
    assert left
    assert sum(left) + 2 * (len(left) - 1) <= width
    assert all(each <= was for each, was in zip(widths, natural, strict=True)) or len(left) == 1


def test_columns_of_least_worth_go_first() -> None:
    """On a narrow terminal what gives is cut, then what is worth least is left out."""
    columns = [Column("A", worth=1), Column("B", gives=True, worth=9), Column("C", worth=5)]
    assert fitted(columns, [10, 40, 10], 100) == [10, 40, 10]
    assert fitted(columns, [10, 40, 10], 50) == [10, 26, 10]
    assert fitted(columns, [10, 40, 10], 44) == [0, 32, 10]
    assert fitted(columns, [10, 40, 10], 30) == [0, 30, 0]
    assert fitted(columns, [10, 40, 10], 9) == [0, 9, 0]
    assert fitted(columns, [10, 40, 10], None) == [10, 40, 10]


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5), st.integers(1, 60))
def test_no_line_of_a_table_is_too_wide(rows: list[tuple[str, str]], width: int) -> None:
    """No line of a table is wider than the terminal, whatever is in it."""
    columns = [Column("FIRST", right=True), Column("SECOND", gives=True, worth=2)]
    lines = text_of(lambda screen: screen.table(columns, rows), width).split("\n")
    assert len(lines) == len(rows) + 2
    assert all(width_of(line) <= width for line in lines)


def test_a_table_is_aligned_and_coloured() -> None:
    """Columns stand below their titles, colours change no width, and end where they began."""
    columns = [Column("STATE"), Column("URL")]
    rows = [[Cell("fresh", "green"), "/日本"], [Cell("no", "red"), "/b"]]
    plain = text_of(lambda screen: screen.table(columns, rows))
    assert plain == "STATE  URL\nfresh  /日本\nno     /b\n"
    coloured = text_of(lambda screen: screen.table(columns, rows), colour=True)
    assert click.unstyle(coloured) == plain
    assert coloured.count("\x1b[0m") == 4


def test_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR and a dumb terminal get no colours; a pipe never does."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert Screen(io.StringIO(), terminal=True).colour
    assert not Screen(io.StringIO()).colour
    monkeypatch.setenv("TERM", "dumb")
    assert not Screen(io.StringIO(), terminal=True).colour
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Screen(io.StringIO(), terminal=True).colour


def test_output_that_knows_ascii_alone() -> None:
    """Where the output's encoding has no such characters, signs have others, text is escaped."""
    data = io.BytesIO()
    out = io.TextIOWrapper(data, "ascii")
    Screen(out, terminal=True, width=80, colour=False).line("✓ all • is … 日")
    out.flush()
    assert data.getvalue() == b"+ all * is ~ \\u65e5\n"


# Lists and sitemaps


def sitemap(*locations: str, kind: str = "url", more: str = "") -> bytes:
    """A sitemap, or with ``kind`` an index."""
    outer = {"url": "urlset", "sitemap": "sitemapindex"}[kind]
    inner = "".join(f"<{kind}><loc> {each} </loc>{more}</{kind}>" for each in locations)
    return f'<?xml version="1.0"?><{outer} xmlns="{IN}">{inner}</{outer}>'.encode()


def found_in(files: Mapping[str, bytes], source: str, *hosts: str) -> Found:
    """What is found, of files by name."""
    return read_all(source, files.__getitem__, hosts)


def test_a_list() -> None:
    """A list has a URL or path on each line; blank lines, comments and a BOM do not count."""
    text = "\ufeff/one\n\n# two\n  https://shop.example/two?x=1  \n/one\nno path\n".encode()
    found = found_in({"list": text}, "list", "shop.example")
    assert [*found.paths] == ["/one", "/two?x=1"]
    assert found.wrong == ["no path"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
def test_a_sitemap(pack: Callable[[bytes], bytes]) -> None:
    """A sitemap's locations are read, compressed or not, and those of images are not."""
    image = "<i:image xmlns:i='urn:i'><i:loc>https://shop.example/i.png</i:loc></i:image>"
    data = sitemap("https://shop.example/a?x=1&amp;y=2", "https://shop.example", more=image)
    found = found_in({"s": pack(data)}, "s", "shop.example")
    assert [*found.paths] == ["/a?x=1&y=2", "/"]


def test_an_index_of_sitemaps() -> None:
    """The sitemaps that an index names are read, once each, if they are of the same host."""
    at = "https://shop.example"
    files = {
        f"{at}/index.xml": sitemap(
            f"{at}/1.xml", f"{at}/2.xml.gz", f"{at}/1.xml", "http://evil.example/3.xml",
            f"{at}/index.xml", kind="sitemap",
        ),
        f"{at}/1.xml": sitemap(f"{at}/one"),
        f"{at}/2.xml.gz": gzip.compress(sitemap(f"{at}/two", "https://other.example/x")),
    }  # fmt: skip
    found = found_in(files, f"{at}/index.xml")
    assert [*found.paths] == ["/one", "/two"]
    assert found.elsewhere == {"evil.example": 1, "other.example": 1}


def test_indexes_without_end() -> None:
    """Indexes that name ever more indexes are refused."""

    def read(url: str) -> bytes:
        return sitemap(f"{url}x", kind="sitemap")

    with pytest.raises(BadList, match="too many"):
        read_all("https://shop.example/", read, [])


@pytest.mark.parametrize(
    "declared",
    ['<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">', '<!ENTITY a SYSTEM "file:///etc/passwd">',
     '<!ENTITY % a SYSTEM "http://evil.example/x.dtd"> %a;'],
    ids=["billion-laughs", "file", "dtd"],
)  # fmt: skip
def test_entities_are_refused(declared: str) -> None:
    """A sitemap that declares entities is refused before any of them grows or is fetched."""
    data = f"<!DOCTYPE x [{declared}]><urlset><url><loc>&b;</loc></url></urlset>".encode()
    with pytest.raises(BadList, match="entities"):
        parse(data, "s")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"<urlset><url>", "no sitemap"),
        (b"\xff\xfe\x00", "no sitemap"),
        (b"\x80\x81", "neither"),
        (gzip.compress(b"/a")[:-9], "end is missing"),
        (b"\x1f\x8b" + bytes(20), "incorrect|Unknown"),
    ],
    ids=["cut", "utf-16", "binary", "cut-gz", "bad-gz"],
)
def test_what_is_no_list(data: bytes, why: str) -> None:
    """What is neither a sitemap nor a list is an error that says so, and where."""
    with pytest.raises(BadList, match=why):
        parse(data, "s")


def test_what_is_packed_unpacks_no_further_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file that would unpack into a huge one is refused on the way."""
    monkeypatch.setattr(urls, "MOST_BYTES", 1000)
    with pytest.raises(BadList, match="more than"):
        parse(gzip.compress(bytes(10**6)), "s")


def test_what_is_packed_in_pieces() -> None:
    """A compressed file may be several, one after the other: all of them are read, in bounds."""
    packed = gzip.compress(b"/a\n") + gzip.compress(b"/b\n") + bytes(9)
    assert parse(packed, "s") == (["/a", "/b"], [])
    with pytest.raises(BadList, match="Not a gzipped file"):
        parse(packed + b"/c", "s")


def test_pieces_together_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pieces that together unpack into more than is allowed are refused."""
    monkeypatch.setattr(urls, "MOST_BYTES", 1000)
    with pytest.raises(BadList, match="more than"):
        parse(gzip.compress(b"/a\n" * 200) * 2, "s")


def test_the_standard_input_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """More on the standard input than a file may have is refused, and never cut."""
    monkeypatch.setattr(urls, "MOST_BYTES", 1000)
    with pytest.raises(BadList, match="the standard input: more than"):
        urls.reader(lambda: bytes(1001))("-")


def test_a_sitemap_that_is_missing() -> None:
    """A sitemap of an index that cannot be read is noted, with the reason, and others are read."""
    at = "https://shop.example"

    def read(url: str) -> bytes:
        if url.endswith("1.xml"):
            raise BadList(f"{url}: the server says 404")
        index = url.endswith("index.xml")
        return (
            sitemap(f"{at}/1.xml", f"{at}/2.xml", kind="sitemap") if index else sitemap(f"{at}/two")
        )

    found = read_all(f"{at}/index.xml", read, [])
    assert [*found.paths] == ["/two"]
    assert found.unread == [f"{at}/1.xml: the server says 404"]


def test_a_path_that_looks_like_a_host() -> None:
    """A path that begins as a host would stays the path of its host."""
    found = found_in({"l": b"http://shop.example//evil.example/p\n"}, "l", "shop.example")
    (path,) = found.paths
    assert local(path) == "//evil.example/p"
    assert [*found_in({"l": path.encode()}, "l", "shop.example").paths] == [path]


@pytest.mark.parametrize(
    ("url", "kind"),
    [("http://shop.example:80/a", "paths"), ("HTTPS://SHOP.example/a", "paths"),
     ("//shop.example/a", "paths"), ("http://shop.example:8080/a", "elsewhere"),
     ("http://shop.example.evil/a", "elsewhere"), ("http://shop.example@evil/a", "elsewhere"),
     ("ftp://shop.example/a", "wrong"), ("javascript:alert(1)", "wrong"), ("a/b", "wrong"),
     ("http://[::1", "wrong"), ("/a b", "wrong"), ("/a\n/b", "wrong"), ("/a\x1b", "wrong")],
)  # fmt: skip
def test_whose_urls(url: str, kind: str) -> None:
    """Only URLs of the app's hosts are taken; others are counted, and what is none is named."""
    found = Found()
    found.take(url, ["shop.example"])
    assert [name for name in ("paths", "elsewhere", "wrong") if getattr(found, name)] == [kind]


def test_urls_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """More URLs than there may be are refused."""
    monkeypatch.setattr(urls, "MOST_URLS", 2)
    with pytest.raises(BadList, match="more than 2"):
        found_in({"l": b"/a\n/b\n/c\n"}, "l")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A file that cannot be read is an error that names it."""
    with pytest.raises(BadList, match="nothing: No such file"):
        urls.reader(bytes)(str(tmp_path / "nothing"))
    assert urls.reader(lambda: b"/a")("-") == b"/a"


# Warming


class Leaps:
    """A clock that a minute passes on whenever somebody looks."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 60.0
        return self.now


def came_of(url: str, outcome: str, reason: str = "") -> dict[str, Any]:
    return {"url": url, "outcome": outcome, "reason": reason, "seconds": 0.1}


def warm_up(
    paths: Sequence[str], load: warming.Load, *, concurrency: int = 2, retries: int = 2
) -> warming.Warming:
    bar = warming.Bar(Screen(io.StringIO()))
    return warming.Warming(
        paths, load, concurrency=concurrency, retries=retries, bar=bar, clock=Leaps()
    )


def test_all_are_loaded_once() -> None:
    """Every URL is loaded once, and counted by what came of it."""
    outcomes = {"/a": "stored", "/b": "fresh", "/c": "pass", "/d": "uncached"}
    run = warm_up([*outcomes], lambda url: came_of(url, outcomes[url]))
    run.run()
    assert sorted(one["url"] for one in run.results) == [*outcomes]
    assert run.counts == {"stored": 1, "fresh": 1, "pass": 1, "uncached": 1}
    assert (run.failed, run.left) == ([], [])


def test_what_fails_is_tried_again() -> None:
    """What fails is tried again as often as asked, and then is a failure with its reason."""
    tries: list[str] = []

    def load(url: str) -> dict[str, Any]:
        tries.append(url)
        good = url == "/good" or (url == "/late" and tries.count(url) == 3)
        return came_of(url, "stored" if good else "failed", "" if good else "no luck")

    run = warm_up(["/bad", "/late", "/good"], load, retries=2)
    run.run()
    assert {url: tries.count(url) for url in tries} == {"/bad": 3, "/late": 3, "/good": 1}
    assert [(one["url"], one["reason"], one["tries"]) for one in run.failed] == [
        ("/bad", "no luck", 3)
    ]
    assert run.counts == {"stored": 2, "failed": 1}


def test_so_many_at_a_time_and_stopping(gate: Gate) -> None:
    """No more loads run at a time than asked; once stopped none begins, and the rest is left."""
    running: list[int] = []
    lock = threading.Lock()

    def load(url: str) -> dict[str, Any]:
        with lock:
            running.append(running[-1] + 1 if running else 1)
        gate.hold()
        with lock:
            running.append(running[-1] - 1)
        return came_of(url, "failed" if url == "/1" else "stored", "x")

    run = warm_up([f"/{number}" for number in range(10)], load, concurrency=3)
    thread = threading.Thread(target=run.run)
    thread.start()
    for _ in range(3):
        gate.await_arrival()
    run.stop()
    gate.open()
    thread.join(10)
    assert max(running) == 3
    assert sorted(one["url"] for one in run.results) == ["/0", "/2"]
    assert [one["url"] for one in run.failed] == ["/1"]
    assert run.left == [f"/{number}" for number in range(3, 10)]


def test_what_is_no_failure_of_one_url_ends_it() -> None:
    """A token that is wrong ends the whole of it, rather than fail each URL."""

    def load(url: str) -> dict[str, Any]:
        raise RemoteError("401", wrong=True)

    with pytest.raises(RemoteError):
        warm_up(["/a", "/b"], load).run()


def test_the_bar() -> None:
    """The bar tells how far it is, the rate of late, failures, and the time that is left."""
    clock = Clock(0.0)
    bar = warming.Bar(Screen(io.StringIO(), terminal=True, width=200), clock)
    run = warming.Warming(
        [f"/{n}" for n in range(100)], lambda url: came_of(url, "stored"), concurrency=1,
        retries=0, bar=bar, clock=clock,
    )  # fmt: skip
    run.results = [came_of("/x", "stored")] * 50
    run.counts["failed"] = 3
    clock.tick(10)
    bar.draw(run)
    assert bar.text(run) == f"{'█' * 12}{'░' * 12} 50 of 100  5.0/s  3 failed  10 s left"
    run.stop()
    assert "ctrl-C again" in bar.text(run)


def test_the_log_stands_above_the_bar() -> None:
    """What is logged meanwhile takes the bar's line, and the bar goes on below it."""
    out = io.StringIO()
    bar = warming.Bar(Screen(out, terminal=True, width=80, colour=False))
    log = logging.getLogger("aswr")
    handlers, log.propagate = log.handlers, False
    try:
        with bar.below_the_log():
            bar.draw(warm_up(["/a"], lambda url: came_of(url, "stored")))
            logging.getLogger("aswr.views").warning("a view \x1b[2J reads too much")
    finally:
        log.propagate = True
    assert out.getvalue().endswith("\r\x1b[K" + r"a view \x1b[2J reads too much" + "\n")
    assert log.handlers == handlers == []


# A server's API


class Stub(http.server.BaseHTTPRequestHandler):
    """A foreign server, which answers as the test says, and notes what it was asked."""

    answers: Callable[[str], tuple[int, dict[str, str], bytes]]
    asked: list[tuple[str, str, str | None, bytes]]

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        said = self.rfile.read(length)
        self.asked.append((self.command, self.path, self.headers.get("Authorization"), said))
        status, fields, body = type(self).answers(self.path)
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        if "Content-Length" not in fields:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        return


@contextmanager
def serving(
    answers: Callable[[str], tuple[int, dict[str, str], bytes]],
) -> Iterator[tuple[str, list[tuple[str, str, str | None, bytes]]]]:
    """A stub's address, and what it was asked."""
    asked: list[tuple[str, str, str | None, bytes]] = []
    handler = type("Handler", (Stub,), {"answers": staticmethod(answers), "asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/aswr", asked
        finally:
            server.shutdown()
            thread.join()


def saying(value: Any, status: int = 200) -> Callable[[str], tuple[int, dict[str, str], bytes]]:
    return lambda path: (status, {"Content-Type": "application/json"}, json.dumps(value).encode())


WORKER = {"pid": 1409, "host": "web1\x1b"}
DONE = {"purged": ["/a"], "unknown": [], "everybody": False, "alone": True, "worker": WORKER}
LOADED = {"url": "/a", "outcome": "stored", "reason": "", "seconds": 0.1, "alone": True,
          "worker": WORKER}  # fmt: skip
SHARED = {"alone": False, "everybody": True}
VERDICT = {"url": "/a", "verdict": "hit", "steps": [{"step": "key", "says": ["/a"]}], "cures": [],
           "rendered": False}  # fmt: skip
ROW = {
    "id": "x", "url": "/a", "view": "v", "state": "fresh", "left": 1.0, "age": 1.0, "size": 1,
    "cost": 0.1, "by": "web1:7", "cause": "miss", "uses": 0, "variant": {}, "tags": [],
    "reads": [], "reason": "", "status": 200, "stored": 1.0, "fresh_until": 2.0,
    "stale_until": 3.0, "error_until": 3.0,
}  # fmt: skip


def test_what_is_asked_of_a_server() -> None:
    """Questions go below the mount point's api/, with the token; loads and purges as JSON."""
    answers = {"entries": saying({"entries": [], "count": 0}), "why": saying(VERDICT),
               "show": saying({"entries": [], "life": []}),
               "purge": saying({**DONE, **SHARED, "purged": ["x"]})}  # fmt: skip
    named = lambda path: answers[path.partition("?")[0].rpartition("/")[2]](path)  # noqa: E731
    with serving(named) as (url, asked):
        remote = Remote(f"{url}/", "secret-token-0123")
        remote.entries(view="a b", tag="", state="", search="", sort="age", shared=True, limit=5)
        remote.show("/x?y=1")
        remote.show("/x", everything=True)
        remote.why("/x?y=1", {"Cookie": "a=b"})
        done = remote.purge(urls=["/a"] * 150, tags=["t"], stale=True)
        remote.purge(everything=True)
    assert [one[:3] for one in asked] == [
        ("GET", "/aswr/api/entries?view=a+b&sort=age&shared=1&limit=5", "Bearer secret-token-0123"),
        *[("POST", "/aswr/api/show", "Bearer secret-token-0123")] * 2,
        ("POST", "/aswr/api/why", "Bearer secret-token-0123"),
        *[("POST", "/aswr/api/purge", "Bearer secret-token-0123")] * 3,
    ]
    shown = [json.loads(one[3]) for one in asked[1:3]]
    assert shown == [{"url": "/x?y=1", "everything": False}, {"url": "/x", "everything": True}]
    said = [json.loads(one[3]) for one in asked[3:]]
    assert said[0] == {"url": "/x?y=1", "headers": {"Cookie": "a=b"}}
    assert [len(one["urls"]) for one in said[1:]] == [100, 50, 0]
    assert [one["tags"] for one in said[1:]] == [[], ["t"], []]
    assert [one["everything"] for one in said[1:]] == [False, False, True]
    assert done == {
        "purged": ["x", "x"], "unknown": [], "everybody": True, "stale": True, "alone": False,
        "workers": [WORKER],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "token", "words"),
    [
        (saying({"error": "token wrong\x1b"}, 401), "t" * 16, r"401, token wrong\x1b"),
        (saying({}, 401), "t" * 16, "is the token in ASWR_ADMIN_TOKEN the server's?"),
        (saying({"error": "no"}, 403), "", "put the server's token into ASWR_ADMIN_TOKEN"),
        (lambda path: (302, {"Location": "/login"}, b""), "", "put the server's token"),
        (lambda path: (404, {}, b"<h1>Not Found</h1>"), "", "blueprint mounted"),
        (saying({"error": "no entry 'x'"}, 404), "", "404, no entry 'x'"),
        (lambda path: (200, {}, b"<html>"), "", "blueprint mounted"),
        (saying(["a list"]), "", "not an aswr admin API"),
        (lambda path: (500, {}, b""), "", "says 500"),
        (saying({"error": "no state 'x'"}, 400), "", "400, no state 'x'"),
    ],
    ids=["wrong", "silent-401", "no-token", "login", "no-mount", "no-entry", "html", "list", "500",
         "400"],
)  # fmt: skip
def test_a_server_that_refuses(
    answer: Callable[[str], tuple[int, dict[str, str], bytes]], token: str, words: str
) -> None:
    """Each refusal says what is wrong, and what would help; its text is cleaned."""
    with serving(answer) as (url, _), pytest.raises(RemoteError) as caught:
        Remote(url, token).about()
    assert words in str(caught.value)
    assert caught.value.wrong == ("500" not in words)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    """A redirect is never followed: neither the token nor a purge goes to another address."""
    with serving(saying({})) as (other, asked):
        to = lambda path: (status, {"Location": other}, b"")  # noqa: E731
        with serving(to) as (url, _), pytest.raises(RemoteError, match="not followed"):
            Remote(url, "t" * 16).purge(everything=True)
        assert asked == []


@pytest.mark.parametrize(
    ("url", "insecure", "fits"),
    [
        ("http://127.0.0.1/aswr", False, True), ("http://[::1]:8/aswr", False, True),
        ("http://localhost:5000", False, True), ("https://www.example.com/x", False, True),
        ("http://www.example.com/x", False, False), ("http://www.example.com/x", True, True),
        ("http://10.0.0.1/", False, False), ("http://localhost.example.com/", False, False),
        ("ftp://127.0.0.1/", True, False), ("127.0.0.1:5000", True, False), ("", True, False),
        ("http://me:pw@127.0.0.1/", True, False),
    ],
)  # fmt: skip
def test_where_the_token_may_go(url: str, insecure: bool, fits: bool) -> None:
    """The token leaves this host over TLS alone, unless told; bad addresses are refused."""
    if fits:
        Remote(url, "t" * 16, insecure=insecure)
        return
    with pytest.raises(RemoteError) as caught:
        Remote(url, "t" * 16, insecure=insecure)
    assert caught.value.wrong
    assert "pw" not in str(caught.value)


def test_a_token_cannot_smuggle_fields() -> None:
    """A token with a line break in it is refused."""
    with pytest.raises(RemoteError, match="no token has"):
        Remote("http://127.0.0.1/", "a\r\nX-Evil: 1")


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str, str | None, bytes]]]:
    """A proxy that the environment names; gives what it was asked."""
    with serving(lambda path: (200, {}, b"/of-the-proxy")) as (url, asked):
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, url)
        for name in ("no_proxy", "NO_PROXY", "REQUEST_METHOD"):
            monkeypatch.delenv(name, raising=False)
        yield asked


def test_no_proxy_is_told_the_token(proxy: list[Any]) -> None:
    """No proxy is asked for a server's answers, which would be told the token."""
    with serving(saying({"fleet": False})) as (url, asked):
        assert not Remote(url, "t" * 16).in_fleet
    assert len(asked) == 1
    with pytest.raises(RemoteError, match="no host"):
        Remote("http://shop.invalid", "t" * 16, insecure=True).about()
    assert proxy == []


def test_what_proxies_are_for(proxy: list[Any]) -> None:
    """A sitemap elsewhere is fetched by the proxy that the environment names, one here is not."""
    with serving(lambda path: (200, {}, b"/own")) as (url, _):
        assert urls.reader(bytes)(url) == b"/own"
    assert proxy == []
    assert urls.reader(bytes)("http://shop.invalid/sitemap.xml") == b"/of-the-proxy"
    assert [one[1] for one in proxy] == ["http://shop.invalid/sitemap.xml"]


@contextmanager
def dripping(beginning: bytes) -> Iterator[str]:
    """The address of a server that answers so, and then drips bytes without end."""
    over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.recv(2**16)
            connection.sendall(beginning)
            while not over.wait(0.02):
                connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "beginning",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nX-Long: "],
    ids=["body", "endless", "fields"],
)  # fmt: skip
def test_a_server_that_drips(beginning: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of time is that of a whole answer, be there always a next byte."""
    monkeypatch.setattr(remote, "LIMIT", 0.3)
    monkeypatch.setattr(urls, "LIMIT", 0.3)
    with dripping(beginning) as url, pytest.raises(RemoteError, match="not answer within 0.3 s"):
        Remote(url).about()
    with dripping(beginning) as url, pytest.raises(BadList, match="timed out"):
        urls.reader(bytes)(url)


def test_an_answer_that_ends_early() -> None:
    """An answer that breaks off is an error, and no shorter list."""
    cut = (200, {"Content-Length": "9"}, b"/a\n")
    with serving(lambda path: cut) as (url, _), pytest.raises(BadList, match="IncompleteRead"):
        urls.reader(bytes)(url)


@pytest.mark.parametrize(
    "answer",
    [{}, [], [{}], ["x"], None, 7, {"entries": [{}], "count": 1}, {"entries": 1, "count": 1},
     {"fleet": False, "at": "noon", "stats": {}, "views": {}, "app": "a", "worker": WORKER},
     {"fleet": False, "at": 1e300, "stats": {}, "views": {}, "app": "a", "worker": WORKER}],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize(
    "args",
    [["stats"], ["ls"], ["show", "/a"], ["why", "/a"], ["jobs"], ["top", "--count=1"], ["doctor"],
     ["refresh", "/a"], ["purge", "/a"], ["warm", "-"], ["warm", "--routes"]],
    ids=" ".join,
)  # fmt: skip
def test_answers_of_another_shape(args: list[str], answer: Any) -> None:
    """What is no answer of aswr, or one of another version, is an error that says so."""
    with serving(saying(answer)) as (url, _):
        result = asked_of(url, *args, input="/a\n")
    if result.exit_code == 0:
        assert (args, answer) == (["warm", "--routes"], [])
        return
    assert isinstance(result.exception, SystemExit), result.exception
    assert (result.exit_code, result.stdout) == (1, "")
    assert "this is not an aswr admin API, or one of another version" in result.stderr


def test_nobody_listens() -> None:
    """Where nobody listens the error says so, and another try may help."""
    with serving(saying({})) as (url, _):
        pass
    with pytest.raises(RemoteError, match="nobody listens") as caught:
        Remote(url).about()
    assert not caught.value.wrong


def test_tls_where_there_is_none() -> None:
    """https:// to a server without TLS says that."""
    with serving(saying({})) as (url, _), pytest.raises(RemoteError, match="TLS"):
        Remote(url.replace("http:", "https:")).about()


# Commands


@pytest.fixture
def shop(app: Flask, manager: CacheManager) -> Flask:
    """Pages of several kinds, and the cache at work in this process."""

    @app.route("/report")
    @manager.cacher(timeout=60, tags=("reports", "evil\x1b]0;title\x07"))
    def report() -> str:
        return "report"

    @app.route("/basket")
    @manager.cacher(timeout=60)
    def basket() -> str:
        return request.cookies.get("items", "0")

    @app.route("/broken")
    @manager.cacher(timeout=60)
    def broken() -> str:
        raise RuntimeError("no disk \x1b[2J")

    @app.route("/plain")
    def plain() -> str:
        return "plain"

    app.test_client().get("/report")  # first: whether this or the job loads it must not be chance
    manager.schedule_periodic_refresh("/report", 30)
    manager.start()
    wait_until(lambda: bool(manager.jobs()[0].history), 5, lambda: str(manager.jobs()))
    assert manager.join(5)
    return app


def run(app: Flask, *args: str, **options: Any) -> Result:
    """A command, in this process."""
    info = ScriptInfo(create_app=lambda: app, set_debug_flag=False)
    env = {"ASWR_ADMIN_URL": None, "ASWR_ADMIN_TOKEN": None, **options.pop("env", {})}
    result = CliRunner().invoke(aswr, [*args], obj=info, env=env, **options)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_ls(shop: Flask) -> None:
    """In a pipe ls prints a line an entry, its columns apart by tabs, nothing hostile in them."""
    result = run(shop, "ls")
    assert result.exit_code == 0
    (line,) = result.stdout.splitlines()
    cells = line.split("\t")
    assert len(cells) == 13
    assert (cells[0], cells[7]) == ("fresh", "/report")
    assert cells[6].endswith("report")
    assert cells[9] == r"reports,evil\x1b]0;title\x07"
    assert cells[11] == process()
    assert cells[12] in ("miss", "job")


def test_ls_as_json(shop: Flask) -> None:
    """With --json the answer is the desk's, in ASCII."""
    result = run(shop, "ls", "--json", "--sort=-age", "--tag", "reports")
    found = json.loads(result.stdout)
    assert result.stdout.replace("\n", "").isprintable()
    assert [one["url"] for one in found["entries"]] == ["/report"]
    assert found["entries"][0]["tags"][1] == "evil\x1b]0;title\x07"


@pytest.mark.parametrize(
    "args",
    [["ls", "--state", "odd"], ["ls", "--sort", "odd"], ["show", "report"], ["show"],
     ["why", "/report", "-H", "no colon"], ["why", "/report", "-H", "A: b\r\nC: d"],
     ["purge"], ["purge", "--all", "/report"], ["purge", "--tag", ""], ["purge", "--all"],
     ["refresh"], ["warm"], ["warm", "x", "--routes"], ["ls", "--limit", "0"],
     ["top", "--interval", "nan"], ["nothing"]],
    ids=" ".join,
)  # fmt: skip
def test_usage(shop: Flask, args: list[str]) -> None:
    """What cannot be understood is exit code 2, with a word on why, and nothing is done."""
    result = run(shop, *args)
    assert result.exit_code == 2
    assert "Error: " in result.stderr
    assert result.stdout == ""
    assert desk_of(shop.extensions["aswr"], shop).entries()["count"] == 1


def test_show(shop: Flask) -> None:
    """show tells all of an entry; where nothing is stored it says so, with exit code 1."""
    result = run(shop, "show", "http://localhost/report")
    assert result.exit_code == 0
    found = {line.split("\t")[1]: line.split("\t")[2] for line in result.stdout.splitlines()}
    assert (found["url"], found["state"], found["status"]) == ("/report", "fresh", "200")
    missing = run(shop, "show", "/basket")
    assert missing.exit_code == 1
    assert "nothing is stored of /basket" in missing.stderr


def test_why(shop: Flask) -> None:
    """why tells the verdict, the steps and the cures, of the request that is described."""
    result = run(shop, "why", "/report")
    assert result.stdout.splitlines()[0] == "verdict\thit\t/report"
    shop.test_client().get("/basket")
    result = run(shop, "why", "/basket", "-H", "Cookie: items=3")
    assert result.stdout.splitlines()[0] == "verdict\tpass\t/basket"
    assert "\ncure\t" in result.stdout
    found = json.loads(run(shop, "why", "/basket", "--json").stdout)
    assert (found["verdict"], found["asked"]) == ("hit", "here")


def test_why_where_the_store_does_not_answer() -> None:
    """It answers by itself, and says that it could not ask; no load of it waits for the store."""
    app = Flask("cut-off")
    manager = CacheManager(app, cache="redis://127.0.0.1:1")
    calls: list[int] = []

    @manager.memoize(timeout=60)
    def price() -> int:
        calls.append(1)
        return 1

    app.get("/")(manager.cacher(timeout=60)(lambda: str(price.sync())))
    result = run(app, "why", "/")
    assert result.exit_code == 0
    assert result.stdout.startswith("verdict\tmiss\t/\n")
    assert "store\tthe shared store does not answer: it could not be asked" in result.stdout
    assert "asked in a process of its own" in result.stderr
    assert calls == [1]
    assert json.loads(run(app, "why", "/", "--json").stdout)["asked"] == "alone"


def test_why_of_fields_of_one_name(shop: Flask) -> None:
    """A second -H of one name drops nothing of the first."""
    shop.test_client().get("/basket")
    fields = ("-H", "Cookie: items=3", "-H", "Cookie: other=1")
    assert run(shop, "why", "/basket", *fields).stdout.startswith("verdict\tpass\t")
    assert run(shop, "why", "/basket", *fields[2:]).stdout.startswith("verdict\thit\t")


def test_why_renders_once_and_stores_nothing(shop: Flask) -> None:
    """Where nothing is stored the view is run once, which is said, and nothing is stored."""
    result = run(shop, "why", "/basket")
    assert "rendered\tyes" in result.stdout
    assert run(shop, "show", "/basket").exit_code == 1


def test_refresh(shop: Flask, clock: Clock) -> None:
    """refresh loads anew; a load that fails, or that no view answers, is exit code 1."""
    clock.tick(5)
    result = run(shop, "refresh", "/report")
    assert (result.exit_code, result.stdout.split("\t")[0]) == (0, "stored")
    assert desk_of(shop.extensions["aswr"], shop).entries()["entries"][0]["age"] == 0
    result = run(shop, "refresh", "/report", "/broken", "/plain")
    assert result.exit_code == 1
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert [line[0] for line in lines] == ["stored", "failed", "uncached"]
    assert lines[1][3] == r"RuntimeError: no disk \x1b[2J"


def test_refresh_by_id(shop: Flask, clock: Clock) -> None:
    """A single entry is refreshed by its id; one that is not there is exit code 1."""
    clock.tick(5)
    desk = desk_of(shop.extensions["aswr"], shop)
    (row,) = desk.entries()["entries"]
    result = run(shop, "refresh", row["id"])
    assert (result.exit_code, result.stdout.split("\t")[0::2]) == (0, ["stored", "/report"])
    assert desk.entries()["entries"][0]["age"] == 0
    result = run(shop, "refresh", "f" * 32)
    said = result.stdout.rstrip("\n").split("\t")
    assert (result.exit_code, said[0], said[3]) == (1, "unknown", "no such entry is stored")


def test_refresh_by_id_through_a_server() -> None:
    """A server is asked for an entry as for a URL, and by the name that was given."""
    with serving(saying([{**LOADED, **SHARED}])) as (url, asked):
        result = asked_of(url, "refresh", "f" * 32)
    assert result.stdout.startswith("stored\t")
    assert json.loads(asked[0][3]) == {"ids": ["f" * 32]}


@pytest.mark.parametrize("args", [["/report"], ["--tag", "reports"], ["--all", "--yes"]])
def test_purge(shop: Flask, args: list[str]) -> None:
    """purge throws away what is named, at once."""
    result = run(shop, "purge", *args)
    assert result.exit_code == 0
    assert result.stdout.startswith("purged\t")
    assert run(shop, "ls").stdout == ""


def test_purge_stale(shop: Flask) -> None:
    """With --stale what is purged is still there, to be served while it is renewed."""
    assert run(shop, "purge", "--stale", "/report").stdout == "outdated\t/report\n"
    assert run(shop, "ls").stdout.startswith("stale\t")


def test_purge_all_asks(shop: Flask) -> None:
    """Nobody is there to be asked whether all is meant: then it must be said."""
    result = run(shop, "purge", "--all")
    assert "say --yes" in result.stderr
    assert run(shop, "ls").stdout != ""


def test_stats(shop: Flask) -> None:
    """stats has the counters in all and by view, as lines and as JSON."""
    shop.test_client().get("/report")
    lines = [line.split("\t") for line in run(shop, "stats").stdout.splitlines()]
    assert ["all", "hits", "1"] in lines
    assert any(line[0].endswith("report") and line[1:] == ["hits", "1"] for line in lines)
    found = json.loads(run(shop, "stats", "--json").stdout)
    assert (found["processes"], found["stats"]["hits"], found["app"]) == (1, 1, "shop")


def test_jobs(shop: Flask) -> None:
    """jobs has what is scheduled, and how it went."""
    (line,) = run(shop, "jobs").stdout.splitlines()
    assert line.split("\t")[:2] == ["/report", "30"]
    assert json.loads(run(shop, "jobs", "--json").stdout)["jobs"][0]["path"] == "/report"


def test_doctor(shop: Flask) -> None:
    """doctor prints a line a check, and is exit code 1 where there are errors."""
    result = run(shop, "doctor")
    states = {line.split("\t")[1]: line.split("\t")[0] for line in result.stdout.splitlines()}
    assert result.exit_code == 0
    assert states["versions"] == states["views"] == "ok"


def test_doctor_finds_errors() -> None:
    """An error that doctor finds is exit code 1, in a pipe and as JSON, with its cure."""
    app = Flask("cut-off")
    CacheManager(app, cache="redis://127.0.0.1:1")
    result = run(app, "doctor")
    assert result.exit_code == 1
    (line,) = [one for one in result.stdout.splitlines() if one.startswith("error\t")]
    assert line.split("\t")[1] == "store"
    assert "is it up" in line.split("\t")[3]
    assert "no server shares the store" not in result.stdout, "nobody knows that"
    result = run(app, "doctor", "--json")
    assert result.exit_code == 1
    assert "error" in {one["state"] for one in json.loads(result.stdout)}


def test_warm_a_list(shop: Flask, tmp_path: Path) -> None:
    """warm loads what a list names, skips other hosts, and tells what failed, for both readers."""
    names = tmp_path / "list"
    rest = tmp_path / "rest"
    names.write_text("/report\nhttp://localhost/basket\nhttp://other.example/x\n/broken\n/plain\n")
    result = run(shop, "warm", str(names), "--retries", "0", "--failed", str(rest))
    assert result.exit_code == 1
    came = {line.split("\t")[2]: line.split("\t")[0] for line in result.stdout.splitlines()}
    assert came == {"/report": "fresh", "/basket": "stored", "/broken": "failed",
                    "/plain": "uncached"}  # fmt: skip
    assert r"failed: /broken: RuntimeError: no disk \x1b[2J (1 try)" in result.stderr
    assert "skipped what is of other hosts (other.example: 1)" in result.stderr
    assert rest.read_text() == "/broken\n"
    again = run(shop, "warm", str(rest), "--retries", "0", "--json")
    found = json.loads(again.stdout)
    assert [one["url"] for one in found["failed"]] == ["/broken"]
    assert (found["total"], found["left"], again.exit_code) == (1, [], 1)


def test_warm_from_stdin_and_routes(shop: Flask) -> None:
    """- is the standard input; --routes are the cached views without arguments."""
    assert run(shop, "warm", "-", input="/basket\n").stdout.startswith("stored\t")
    found = json.loads(run(shop, "warm", "--routes", "--retries", "0", "--json").stdout)
    assert sorted(one["url"] for one in found["results"]) == ["/basket", "/broken", "/report"]


def test_warm_of_foreign_urls_alone(shop: Flask) -> None:
    """A list that names no URL of the app is an error; one that names nothing is not."""
    result = run(shop, "warm", "-", input="http://other.example/\n")
    assert (result.exit_code, "names no URL of localhost" in result.stderr) == (1, True)
    assert run(shop, "warm", "-", "--host", "other.example", input="http://other.example/report\n",
               ).exit_code == 0  # fmt: skip
    assert run(shop, "warm", "-", input="").exit_code == 0


def test_top_in_a_pipe(shop: Flask) -> None:
    """Without a terminal top prints a line each interval."""
    result = run(shop, "top", "--interval", "0.1", "--count", "2")
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert [len(line) for line in lines] == [11, 11]
    (line,) = run(shop, "top", "--interval=0.1", "--count=1", "--json").stdout.splitlines()
    assert json.loads(line)["processes"] == 1


# Whose process


def test_a_manager_at_work_is_left_alone(shop: Flask) -> None:
    """Where the app is at work in this very process its memory is asked, and it goes on."""
    manager = shop.extensions["aswr"]
    run(shop, "ls")
    assert not manager.looks_on
    assert manager.ticking
    assert shop.test_client().get("/report").headers["Cache-Status"].startswith("aswr; hit")


def fresh_app(starts: bool = False, cache: Any = None) -> Flask:
    """An app as a command loads it, with a job."""
    app = Flask("news")
    manager = CacheManager(app, cache=cache)

    @app.route("/front")
    @manager.cacher(timeout=60, public=True)
    def front() -> str:
        runs.append("front")
        return "front"

    manager.schedule_periodic_refresh("/front", 1)
    if starts:
        manager.start()
    return app


runs: list[str] = []


@pytest.mark.parametrize("starts", [False, True], ids=["as-is", "started-at-import"])
def test_a_command_starts_no_jobs(starts: bool) -> None:
    """A command never begins periodic refreshes, even of a module that calls manager.start()."""
    runs.clear()
    made: list[Flask] = []

    def create() -> Flask:
        made.append(fresh_app(starts))
        return made[0]

    info = ScriptInfo(create_app=create, set_debug_flag=False)
    result = CliRunner().invoke(aswr, ["why", "/front"], obj=info, env={"ASWR_ADMIN_URL": None})
    assert result.exit_code == 0
    assert "process of its own" in result.stderr
    manager = made[0].extensions["aswr"]
    assert runs == ["front"]  # for why, which says so
    assert manager.looks_on
    assert not manager.ticking
    assert "closed" in repr(manager)
    assert [job.ticks for job in manager.jobs()] == [0]


@pytest.mark.parametrize(
    "args",
    [["ls"], ["stats"], ["show", "/front"], ["jobs"], ["purge", "/front"], ["refresh", "/front"],
     ["warm", "--routes"], ["top"], ["ls", "--memory"]],
    ids=" ".join,
)  # fmt: skip
def test_nobody_to_ask(args: list[str]) -> None:
    """With the memory cache and no server named, commands say what to write, with exit code 2."""
    result = run(fresh_app(), *args)
    assert result.exit_code == 2
    for line in NOBODY.splitlines()[1:]:
        assert line.partition("{")[0] in result.stderr
    assert ("nobody else would have" in result.stderr) == (args[0] in ("refresh", "warm"))


@pytest.mark.parametrize(
    "args", [["ls"], ["stats"], ["show", "/front"], ["jobs"], ["purge", "/front"], ["top"]],
    ids=lambda args: args[0],
)  # fmt: skip
def test_a_store_that_tells_nobody_what_is_in_it(args: list[str]) -> None:
    """With a plain shared store commands do not say that the cache is in the server's memory."""
    result = run(fresh_app(cache=SimpleMemoryCache()), *args)
    assert result.exit_code == 2
    assert result.stderr == f"Error: {UNLISTED}\n"
    assert "in the memory of the app's server" not in result.stderr


def test_a_store_that_tells_nobody_is_loaded_all_the_same() -> None:
    """With a plain shared store what is loaded is there for all: refresh and warm work."""
    result = run(fresh_app(cache=SimpleMemoryCache()), "refresh", "/front")
    assert (result.exit_code, result.stdout.split("\t")[0]) == (0, "stored")


def test_doctor_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """doctor looks at the configuration without a server, and says that it is none."""
    result = run(fresh_app(), "doctor")
    assert result.exit_code == 0
    assert "note\tserver\tthis process is a command line, and serves nobody" in result.stdout


def test_an_app_without_a_cache() -> None:
    """An app without a manager is told how to get one; one that is switched off, that it is."""
    assert "CacheManager(app)" in run(Flask("bare"), "ls").stderr
    app = Flask("off")
    app.config["ASWR_ENABLED"] = False
    CacheManager(app)
    result = run(app, "ls")
    assert (result.exit_code, "ASWR_ENABLED" in result.stderr) == (2, True)
    assert run(app, "doctor").exit_code == 0


def test_a_server_is_asked_without_the_app() -> None:
    """With a server named no app is loaded, the option before the environment."""
    answer = {"entries": [], "count": 0, "source": "memory", "at": 1.0, "fleet": False}
    info = ScriptInfo(create_app=lambda: pytest.fail("the app was loaded"))
    with serving(saying(answer)) as (url, asked):
        env = {"ASWR_ADMIN_URL": "http://127.0.0.1:1/", "ASWR_ADMIN_TOKEN": "t" * 16}
        result = CliRunner().invoke(aswr, ["ls", "--server", url], obj=info, env=env)
        assert (result.exit_code, result.stderr) == (0, "nothing is stored\n")
        result = CliRunner().invoke(aswr, ["ls"], obj=info, env={**env, "ASWR_ADMIN_URL": url})
    assert result.exit_code == 0
    assert [one[1].partition("?")[0] for one in asked] == [
        "/aswr/api/about",
        "/aswr/api/entries",
    ] * 2


@pytest.mark.parametrize(
    ("args", "answer"),
    [(["purge", "/a"], DONE), (["refresh", "/a"], [LOADED]), (["warm", "-"], LOADED)],
    ids=["purge", "refresh", "warm"],
)
def test_a_server_s_worker_that_is_alone(args: list[str], answer: Any) -> None:
    """What a server did in one worker's memory is said to be so, once, and what would help."""
    with serving(saying(answer)) as (url, _):
        result = asked_of(url, *args, input="/a\n/b\n")
    said = [line for line in result.stderr.splitlines() if "alone" in line]
    assert result.exit_code == 0
    assert len(said) == 1
    assert said[0].startswith(r"in process 1409 on web1\x1b alone: other workers of this server")
    assert "Redis" in said[0]
    with serving(saying([{**LOADED, "outcome": "uncached"}])) as (url, _):
        assert "alone" not in asked_of(url, "refresh", "/a").stderr
    shared = [{**LOADED, **SHARED}] if isinstance(answer, list) else {**answer, **SHARED}
    with serving(saying(shared)) as (url, _):
        assert "alone" not in asked_of(url, *args, input="/a\n").stderr


def asked_of(url: str, *args: str, **options: Any) -> Result:
    """A command that asks a server; there is no app."""
    env = {"ASWR_ADMIN_URL": url, "ASWR_ADMIN_TOKEN": "t" * 16}
    return CliRunner().invoke(aswr, [*args], env=env, **options)


@pytest.mark.parametrize("args", [["ls", "--search", "\udce9"], ["show", "/\udce9"]])
def test_bytes_that_are_no_text(args: list[str]) -> None:
    """An argument that is not UTF-8 is asked for as what it is."""
    answer = {"entries": [], "count": 0, "life": [], "fleet": False}
    with serving(saying(answer)) as (url, asked):
        result = asked_of(url, *args)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert any("%E9" in path or b"\\udce9" in body for _, path, _, body in asked if body or path)


def test_a_server_that_tells_less() -> None:
    """One of a version before entries had their loader is understood: that is not known."""
    older = {name: value for name, value in ROW.items() if name not in ("by", "cause")}
    answer = {"entries": [older], "count": 1, "life": [], "fleet": False}
    with serving(saying(answer)) as (url, _):
        listed, shown = asked_of(url, "ls"), asked_of(url, "show", "/a")
    assert listed.stdout.rstrip("\n").split("\t")[10:] == ["x", "", ""]
    assert shown.exit_code == 0


def test_many_questions_to_many_workers() -> None:
    """Where a purge took several questions, each worker that answered one is named."""
    answers = (json.dumps({**DONE, "worker": {"pid": n, "host": "a"}}).encode() for n in (7, 8))
    with serving(lambda path: (200, {}, next(answers))) as (url, _):
        result = asked_of(url, "purge", *(f"/{number}" for number in range(150)))
    assert "in process 7 on a and process 8 on a alone" in result.stderr


def test_a_purge_that_did_nothing() -> None:
    """Where nothing was purged, the cache being switched off, that is an error, with its reason."""
    answer = {**DONE, "purged": [], "reason": "the cache is switched off"}
    with serving(saying(answer)) as (url, _):
        result = asked_of(url, "purge", "/a")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "nothing was purged: the cache is switched off\n"


def test_a_purge_of_what_is_not_there(shop: Flask) -> None:
    """A path that no cached view answers is told, be it purged: it may be written wrong."""
    result = run(shop, "purge", "/repotr")
    assert (result.exit_code, result.stdout) == (0, "purged\t/repotr\n")
    assert result.stderr == "/repotr: no cached view answers it\n"
    assert run(shop, "purge", "/report").stderr == ""


def test_what_a_purge_may_name() -> None:
    """Ids and calls, as ls shows them, are entries' names; everything else is a URL."""
    ids = ["0123456789abcdef" * 2, "shop:price('tea', 3)", "shop.views:Prices.of(3)", "a:f()"]
    urls = ["/report", "https://shop.example/a(b)", "//shop.example/x:y(1)", "/shop:price(3)"]
    stranger = {**DONE, "unknown": ids[:1], "partial": "the store did not answer"}
    with serving(saying(stranger)) as (url, asked):
        result = asked_of(url, "purge", *ids, *urls)
    said = json.loads(asked[0][3])
    assert (said["ids"], said["urls"]) == (ids, urls)
    assert result.exit_code == 1, "an entry that is not there is an error"
    lines = result.stderr.splitlines()
    assert lines[:2] == [f"{ids[0]}: no such entry", "the store did not answer"]


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize(
    "args", [["ls"], ["ls", "--json"], ["show", "/a"], ["show", "/a", "--json"]]
)
def test_what_is_not_all(args: list[str], silent: bool) -> None:
    """Why a listing is not all is told; that the store did not answer is an error."""
    answer = {
        "entries": [ROW], "count": 1, "life": [], "fleet": True, "partial": "only 1 of 9",
        "silent": silent,
    }  # fmt: skip
    with serving(saying(answer)) as (url, _):
        result = asked_of(url, *args)
    assert result.stdout
    assert (result.exit_code, result.stderr) == (int(silent), "only 1 of 9\n")


def test_variants_that_were_not_looked_for() -> None:
    """show says that there may be more, and how to see it, where the server says so."""
    answer = {"entries": [ROW], "count": 1, "life": [], "partial": "", "silent": False}
    for more in (True, False):
        with serving(saying({**answer, "more": more})) as (url, _):
            result = asked_of(url, "show", "/a")
        words = "other variants may lie in the shared store: --all looks for them\n"
        assert (result.exit_code, result.stderr) == (0, words if more else "")


def of_a_fleet(path: str) -> tuple[int, dict[str, str], bytes]:
    """A server whose store is silent, and whose memory has an entry."""
    silence = {"entries": [], "count": 0, "partial": "the store did not answer", "silent": True}
    memory = {"entries": [ROW], "count": 1, "source": "memory", "partial": "", "silent": False}
    if path.endswith("/about"):
        return saying({"fleet": True})(path)
    return saying(silence if "shared=1" in path else memory)(path)


def test_the_memory_of_a_server() -> None:
    """ls --memory lists what the server itself has, be it one of a fleet, and asks no store."""
    with serving(of_a_fleet) as (url, asked):
        result = asked_of(url, "ls", "--memory", "--state", "fresh")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.split("\t")[7] == "/a"
    assert not [one[1] for one in asked if "shared" in one[1]]
    assert [one[1] for one in asked if "state=fresh" in one[1]]


@pytest.mark.parametrize("args", [["ls"], ["ls", "--json"]], ids=" ".join)
def test_the_memory_of_a_server_in_an_outage(args: list[str]) -> None:
    """Where the store is silent the server's memory is listed, said to be that, exit code 1."""
    with serving(of_a_fleet) as (url, asked):
        result = asked_of(url, *args, "--search", "a")
    assert "/a" in result.stdout
    said = "the store did not answer: this is what the server's own memory has"
    assert (result.exit_code, result.stderr) == (1, f"{said}\n")
    assert all("search=a" in one[1] for one in asked if "entries" in one[1])
    if "--json" in args:
        found = json.loads(result.stdout)
        assert (found["source"], found["partial"], found["silent"]) == ("memory", said, True)


def test_a_command_has_no_memory(shop: Flask) -> None:
    """ls --memory without a server says what to write; in a process at work it lists that one's."""
    app = Flask("cut-off")
    CacheManager(app, cache="redis://127.0.0.1:1")
    result = run(app, "ls", "--memory")
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"Error: {NO_MEMORY}\n")
    assert run(shop, "ls", "--memory").stdout.split("\t")[7] == "/report"


def test_a_server_that_is_away_is_tried_again() -> None:
    """While it warms, a server that gives no answer is a failure that is tried again."""
    down = iter([True, False])

    def answers(path: str) -> tuple[int, dict[str, str], bytes]:
        if path.endswith("load") and next(down):
            return 503, {}, b""
        return 200, {}, json.dumps(LOADED).encode()

    with serving(answers) as (url, asked):
        result = CliRunner().invoke(
            aswr, ["warm", "-", "--server", url, "--json"], input="/a\n",
            env={"ASWR_ADMIN_TOKEN": None},
        )  # fmt: skip
    found = json.loads(result.stdout)
    assert (result.exit_code, found["retried"], found["counts"]) == (0, 1, {"stored": 1})
    assert [one[1] for one in asked] == ["/aswr/api/load"] * 2


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_an_error_in_the_midst(status: int, tmp_path: Path) -> None:
    """What was done before an error that ends it is told, and what is left is written."""
    rest = tmp_path / "rest"
    loads = iter([200, 503, 200, status])

    def answers(path: str) -> tuple[int, dict[str, str], bytes]:
        code = next(loads)
        return code, {}, json.dumps(LOADED if code == 200 else {"error": "no more"}).encode()

    args = ["warm", "-", "--concurrency=1", "--retries=0", "--failed", str(rest)]
    with serving(answers) as (url, asked):
        result = asked_of(url, *args, input="/a\n/b\n/c\n/d\n/e\n")
    assert [json.loads(one[3])["url"] for one in asked] == ["/a", "/b", "/c", "/d"]
    assert result.exit_code == 1
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == [
        "stored", "failed", "stored",
    ]  # fmt: skip
    assert rest.read_text() == "/b\n/d\n/e\n"
    assert "2 loaded, 0 fresh already, 1 failed, 2 left; of 5" in result.stderr
    assert "no more" in result.stderr.splitlines()[-1]


def test_an_index_with_a_sitemap_missing() -> None:
    """What the other sitemaps of an index name is warmed; that one is missing is exit code 1."""

    def answers(path: str) -> tuple[int, dict[str, str], bytes]:
        host = f"http://127.0.0.1:{address.rpartition(':')[2].partition('/')[0]}"
        if path.endswith("load"):
            return 200, {}, json.dumps(LOADED).encode()
        if path == "/index.xml":
            return 200, {}, sitemap(f"{host}/gone.xml", f"{host}/1.xml", kind="sitemap")
        return (200, {}, sitemap(f"{host}/a")) if path == "/1.xml" else (404, {}, b"")

    with serving(answers) as (address, _):
        index = address.replace("/aswr", "/index.xml")
        result = asked_of(address, "warm", index)
        told = json.loads(asked_of(address, "warm", index, "--json").stdout)
    assert result.exit_code == 1
    assert result.stdout.startswith("stored\t")
    gone = index.replace("index", "gone")
    assert f"failed: {gone}: the server says 404; what it names" in result.stderr
    assert told["unread"] == [f"{gone}: the server says 404"]


def test_flask_finds_the_commands() -> None:
    """`flask aswr` is there by its entry point, without an app."""
    result = CliRunner().invoke(FlaskGroup(), ["aswr", "--help"])
    assert result.exit_code == 0
    for name in ("stats", "ls", "show", "why", "refresh", "purge", "warm", "jobs", "top", "doctor"):
        assert f"\n  {name} " in result.stdout


# How answers look on a terminal


def test_entries_on_a_terminal() -> None:
    """A terminal gets titles, quantities for people, and only columns with something in them."""
    row = {
        "state": "fresh", "left": 100.0, "age": 2.0, "size": 2048, "cost": 0.5, "uses": 0,
        "url": HOSTILE, "variant": {"best Accept-Language of en, de": "de"}, "tags": [],
        "view": "v", "id": "x",
    }  # fmt: skip
    text = text_of(lambda screen: shown.entries(screen, [row]), 200)
    title, line = text.splitlines()
    assert title.split() == ["STATE", "LEFT", "AGE", "SIZE", "LOAD", "URL", "VARIANT", "VIEW"]
    assert "1 min 40 s" in line
    assert "500 ms" in line
    assert "Accept-Language: de" in line
    assert clean(HOSTILE) in line


@pytest.mark.parametrize("width", [10, 20, 40, 80])
def test_everything_fits_narrow_terminals(shop: Flask, width: int) -> None:
    """No answer has a line that is wider than the terminal."""
    desk = desk_of(shop.extensions["aswr"], shop)
    desk.life.begin(shop.extensions["aswr"].site_of(shop).engine.events)
    desk.refresh("/report")
    counted = shown.totals(desk.stats(), [])
    draws: Iterable[Callable[[Screen], None]] = (
        lambda screen: shown.entries(screen, desk.entries()["entries"]),
        lambda screen: shown.stats(screen, "x", counted),
        lambda screen: shown.doctor(screen, []),
        lambda screen: shown.jobs(screen, desk.jobs(), 0),
    )
    for draw in draws:
        for line in text_of(draw, width).splitlines():
            assert width_of(line) <= max(width, 18), line


@pytest.mark.parametrize("width", [10, 20, 40, 60])
def test_top_fits_narrow_terminals(shop: Flask, width: int) -> None:
    """No line of top is wider than the terminal, and colours are no part of a line's width."""
    top = Top(Source(desk_of(shop.extensions["aswr"], shop), "here", "this process", "localhost"))
    top.look()
    plain = text_of(lambda screen: top.draw(screen, 40), width)
    assert all(width_of(line) <= width for line in plain.splitlines()), plain
    assert click.unstyle(text_of(lambda screen: top.draw(screen, 40), width, colour=True)) == plain


def test_sums_over_workers() -> None:
    """Counters of workers add up, by view and by reason; the store answers if all say so."""
    one = {"stats": {"hits": 2, "passes_by_reason": {"a": 1}, "store_reachable": 1, "workers": 2},
           "views": {"v": {"hits": 2}}}  # fmt: skip
    two = {"stats": {"hits": 3, "passes_by_reason": {"a": 2}, "store_reachable": 0, "workers": 2},
           "views": {"v": {"hits": 1}, "w": {"hits": 2}}}  # fmt: skip
    found = shown.totals({}, [one, two])
    assert found["stats"] == {
        "hits": 5, "passes_by_reason": {"a": 3}, "store_reachable": 0, "workers": 2,
    }  # fmt: skip
    assert found["views"] == {"v": {"hits": 3}, "w": {"hits": 2}}


def test_jobs_of_several_workers_are_one_list() -> None:
    """A job is due in every worker and loads in one: times due are the most, loads add up."""
    job = {"path": "/a", "interval": 5.0, "error": "", "history": [(2.0, "no need")]}
    mine = {**job, "ticks": 3, "loads": 1, "next_run": 9.0}
    other = {**job, "ticks": 4, "loads": 2, "next_run": 8.0, "history": [(1.0, "began 1 load")]}
    (found,) = shown.merged([[mine], [other]])
    assert (found["ticks"], found["loads"], found["next_run"]) == (4, 3, 8.0)
    assert [what for _, what in found["history"]] == ["began 1 load", "no need"]


def test_an_entry_s_life_reads_as_on_the_page() -> None:
    """show tells a life in the page's words, a load in one line, the latest first, and bounded."""
    plain = {"id": "e", "url_id": "u", "view": "v", "url": "/a", "seconds": None, "reason": ""}
    load = [
        {**plain, "kind": "load_started", "at": 1.0, "cause": "job"},
        {**plain, "kind": "load_finished", "at": 2.0, "cause": "job", "seconds": 0.204,
         "reason": "store"},
        {**plain, "kind": "published", "at": 2.0, "cause": "", "seconds": 0.204},
    ]  # fmt: skip
    purge = {**plain, "kind": "purged", "at": 3.0, "cause": "", "reason": "tag \x1b[2J"}
    lines = text_of(lambda screen: shown.life(screen, [*load, purge])).splitlines()
    assert [line[23:].strip() for line in lines] == [
        r"purged        tag \x1b[2J", "loaded        a periodic refresh; took 204 ms",
    ]  # fmt: skip
    lines = text_of(lambda screen: shown.life(screen, [purge] * 50)).splitlines()
    assert len(lines) == shown.MOST_TOLD + 1
    assert lines[-1].strip() == "and 20 things before"


# Top


def report(at: float, hits: int, view: str = "v") -> dict[str, Any]:
    counts = {"hits": hits, "stale_hits": 1, "misses": 0, "passes": 0, "loads": 0}
    return {"at": at, "stats": {"flights": 0}, "views": {view: counts}}


def test_rates_are_of_a_process_s_own_reports() -> None:
    """A rate is what a process counted between two of its reports, however late they are read."""
    rates = Rates()
    rates.take("a", report(100.0, 10))
    assert not rates.known
    rates.take("a", report(110.0, 30))
    rates.take("a", report(110.0, 30))
    rates.take("b", report(105.0, 5))
    rates.take("b", report(107.0, 7))
    assert rates.known
    assert rates.by_view()["v"]["fresh_hits"] == pytest.approx(3.0)
    rates.forget(144.0)
    assert rates.by_view()["v"]["fresh_hits"] == pytest.approx(2.0)


def test_a_process_that_begins_anew_has_no_rate_below_zero() -> None:
    """Counters that went down, as of another process, are no negative rate."""
    rates = Rates()
    rates.take("a", report(100.0, 10))
    rates.take("a", report(110.0, 2))
    assert rates.by_view()["v"]["fresh_hits"] == 0


def test_top_draws(shop: Flask, clock: Clock) -> None:
    """top has a line a view with its rates, and how the store is."""
    desk = desk_of(shop.extensions["aswr"], shop)
    top = Top(Source(desk, "here", "this process", "localhost"))
    top.look()
    assert " - " in text_of(lambda screen: top.draw(screen, 24))
    for _ in range(20):
        shop.test_client().get("/report")
    clock.tick(2)
    top.look()
    text = text_of(lambda screen: top.draw(screen, 24))
    (line,) = [line for line in text.splitlines() if "report" in line and "aswr top" not in line]
    assert line.split()[1:] == ["10.0", "0", "0", "0", "0", "0"]
    assert "memory alone" in text
    assert top.line()[1] == "10.00"


def test_top_shows_the_loads_of_all_workers() -> None:
    """Those of the server that is asked are as of now, others' as of when they said so."""
    load = {"url": "/slow", "waiters": 2, "cause": "miss"}
    worker = {"host": "web1", "pid": 7}
    mine = {**report(100.0, 1), "worker": "a", "here": True, "flights": [{**load, "age": 1.0}]}
    other = {**report(92.0, 1), "worker": "b", "here": False, "host": "web2", "pid": 9}
    told = {
        "stats": {**report(100.0, 1), "app": "a", "worker": worker, "fleet": True},
        "workers": [mine, {**other, "flights": [{**load, "url": "/late", "age": 40.0}]}],
        "flights": [{**load, "age": 3.0}],
    }

    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, json.dumps(told[path.rpartition("/")[2]]).encode()

    with serving(answer) as (url, _):
        top = Top(Source(Remote(url), "server", "s", "s"))
        top.look()
        loads = [(one["url"], one["age"], one["process"], one["said"]) for one in top.flights]
        assert loads == [("/late", 40.0, "web2:9", 8.0), ("/slow", 3.0, "", 0.0)]
        lines = text_of(lambda screen: top.draw(screen, 24), 100).splitlines()
        late, slow = (next(one for one in lines if url in one) for url in ("/late", "/slow"))
        assert late.split() == ["/late", "40", "s", "2", "miss", "web2:9", "8.0", "s", "ago"]
        assert slow.split() == ["/slow", "3.0", "s", "2", "miss", "now"]
        assert top.line()[-2] == "40.0"
        told["workers"] = []
        top.look()
        assert "AS OF" not in text_of(lambda screen: top.draw(screen, 24), 100)


def test_top_goes_on_without_an_answer(clock: Clock) -> None:
    """An answer that is missed is said to be so, with its age, and drawn is what was known."""
    worker = {"host": "web1", "pid": 7}
    answers = iter([(200, report(100.0, 10)), (503, {}), (401, {"error": "x\x1b"}), (200, [])])

    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        if path.endswith("flights"):
            return 200, {}, b"[]"
        status, said = next(answers)
        found = (
            {**said, "app": "a", "worker": worker, "fleet": False}
            if status == 200 and said
            else said
        )
        return status, {}, json.dumps(found).encode()

    with serving(answer) as (url, _):
        top = Top(Source(Remote(url), "server", "s", "s"), clock)
        top.look()
        assert top.missed == ""
        clock.tick(4)
        top.look()
        text = text_of(lambda screen: top.draw(screen, 24), 60)
        assert "no answer since 4.0 s: 127.0.0.1:" in text
        assert "s: 1 process" in text
        assert all(width_of(line) <= 60 for line in text.splitlines())
        top.look()
        assert r"401, x\x1b" in top.missed
        top.look()
        assert "not an aswr admin API" in top.missed


def test_top_in_a_pipe_goes_on_without_an_answer() -> None:
    """In a pipe a look without an answer is no line, is said beside, and counts."""
    worker = {"host": "web1", "pid": 7}
    good = {**report(100.0, 10), "app": "a", "worker": worker, "fleet": False}
    up = iter([True, True, False, True])

    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        if path.endswith("flights"):
            return 200, {}, b"[]"
        return (200, {}, json.dumps(good).encode()) if next(up) else (503, {}, b"")

    shown_lines: list[int] = []
    said: list[str] = []
    with serving(answer) as (url, _):
        top = Top(Source(Remote(url), "server", "s", "s"))
        lines(top, lambda one: shown_lines.append(1), said.append, 0.0, 3)
    assert len(shown_lines) == 2
    assert len(said) == 1
    assert "says 503" in said[0]


@pytest.mark.parametrize("status", [401, 404, 503])
def test_top_ends_where_there_never_was_an_answer(status: int) -> None:
    """A token or an address that is wrong from the first is an error at once."""
    with serving(saying({}, status)) as (url, _):
        result = asked_of(url, "top", "--count", "1")
    assert result.exit_code == 1
    assert "Error: " in result.stderr


# Broken pipes


class Gone(io.StringIO):
    """A pipe that nobody reads any more."""

    def write(self, text: str) -> int:
        raise OSError(errno.EPIPE, "Broken pipe")


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_an_answer_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, or no standard output at all, is an error in words."""
    with pytest.raises(click.ClickException, match="cannot be written: No space left"):
        Screen(Full()).line("x")
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(click.ClickException, match="no standard output"):
        Screen()


def test_a_pipe_that_nobody_reads() -> None:
    """What nobody reads is an error that click turns into a quiet end."""
    with pytest.raises(OSError, match="Broken pipe"):
        Screen(Gone()).line("x")
