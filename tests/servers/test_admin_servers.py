"""The admin page's stream and buttons behind each kind of server."""

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from aswr.admin.live import LASTS, MOST_STREAMS

from .harness import (
    GRANIAN,
    GUNICORN_GTHREAD,
    GUNICORN_SYNC,
    HYPERCORN,
    UVICORN,
    Kind,
    Server,
    gunicorn,
    wait_until,
)
from .redises import Redis

STILL = " data-still>"  # of a page that does not fetch itself anew
BEARER = {"Authorization": "Bearer only-for-tests-too"}
pytestmark = pytest.mark.timeout(120)


def admin(kind: Kind) -> Kind:
    """The same server with the admin app."""
    names = {"app:app": "admin_app:app", "app:asgi_app": "admin_app:asgi_app"}
    return replace(kind, args=tuple(names.get(arg, arg) for arg in kind.args))


# How many streams each lets be open: the bridge knows its threads, of a WSGI server one is taken.
THREADED = [
    (admin(GUNICORN_GTHREAD), 1),
    *((admin(kind), MOST_STREAMS) for kind in (UVICORN, GRANIAN, HYPERCORN)),
]
TWO_THREADS = admin(gunicorn("two-threads", "-k", "gthread", "--threads", "2"))
SOON = 3.0  # seconds in which a hit is there on a busy machine; a stream lasts for many more


class Stream:
    """An open stream of a server."""

    def __init__(self, server: Server) -> None:
        self._connection: HTTPConnection = server.connection(timeout=LASTS + 10)
        self._connection.request("GET", "/aswr/live")
        self.response: HTTPResponse = self._connection.getresponse()

    def message(self) -> Any:
        """The next message; None at the end."""
        while line := self.response.readline():
            if line.startswith(b"data: "):
                return json.loads(line[6:])
        return None

    def close(self) -> None:
        self.response.close()
        self._connection.close()


@pytest.mark.parametrize(("kind", "most"), THREADED, ids=str)
def test_messages_come_one_by_one(kind: Kind, most: int, tmp_path: Path) -> None:
    """Messages arrive as they are told, and who leaves makes room for the next."""
    with Server(kind, tmp_path, ADMIN_QUIET="1") as server:
        server.get("/prices")
        streams = [Stream(server) for _ in range(most)]
        first, second = streams[0].message(), streams[0].message()
        assert first["worker"]["pid"] == second["worker"]["pid"]
        assert 0.5 < second["at"] - first["at"] < 5
        assert server.get("/aswr/live").status == 503
        # Whoever looks does not keep others from their answers.
        assert server.get("/prices").status == 200
        for stream in streams:
            stream.close()

        def free() -> bool:
            stream = Stream(server)
            stream.close()
            return stream.response.status == 200

        wait_until(free, 20, lambda: "the streams were not freed")


def test_hits_do_not_wait_for_who_looks(tmp_path: Path) -> None:
    """With two threads and many pages open a hit is there at once: all but one of them poll."""
    with Server(TWO_THREADS, tmp_path, ADMIN_QUIET="1") as server:
        server.get("/prices")
        pages = [threading.Thread(target=server.get, args=("/aswr/live",)) for _ in range(6)]
        for page in pages:
            page.start()
        try:
            wait_until(lambda: server.get("/aswr/live").status == 503, 10, lambda: "no stream")
            for _ in range(5):
                answer = server.get("/prices")
                assert answer.status == 200
                assert answer.seconds < SOON
                assert server.get("/aswr/api/pulse?since=0").seconds < SOON
        finally:
            for page in pages:
                page.join()


def test_one_at_a_time(tmp_path: Path) -> None:
    """A server without threads is free again after one message."""
    with Server(admin(GUNICORN_SYNC), tmp_path, ADMIN_QUIET="1") as server:
        answer = server.get("/aswr/live")
        assert answer.body.count(b"data: ") == 1
        assert b"retry: 3000" in answer.body
        assert answer.seconds < 5
        assert server.get("/aswr/").status == 200


def test_streams_end_by_themselves(tmp_path: Path) -> None:
    """A stream ends in time, so that a server that stops waits for no browser."""
    with Server(admin(UVICORN), tmp_path, ADMIN_QUIET="1") as server:
        stream = Stream(server)
        count = 0
        while stream.message() is not None:
            count += 1
        stream.close()
        assert LASTS / 2 < count <= LASTS + 1


def test_a_button_waits_for_its_load(tmp_path: Path) -> None:
    """Refreshing by the API answers with what came of it, under ASGI as elsewhere."""
    with Server(admin(UVICORN), tmp_path, ADMIN_QUIET="1") as server:
        body = json.dumps({"urls": ["/prices", "/whoami", "/nothing"]})
        answer = server.send("POST", "/aswr/api/refresh", body=body, headers=BEARER)
        outcomes = [one["outcome"] for one in answer.json]
        assert outcomes[:2] == ["stored", "pass"]
        assert outcomes[2] in ("failed", "uncached")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    with Redis(tmp_path) as redis:
        yield redis


def test_a_fleet_is_shown_whole(redis: Redis, tmp_path: Path) -> None:
    """With a shared store every worker's page lists all, and a purge reaches everybody."""
    kind = admin(UVICORN)
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    cache = {"ADMIN_CACHE": redis.url, "ADMIN_QUIET": "1"}
    with Server(kind, folders[0], **cache) as one, Server(kind, folders[1], **cache) as two:
        threads = [threading.Thread(target=each.get, args=("/prices",)) for each in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        def listed() -> bool:
            page = one.get("/aswr/workers").body.decode()
            pids = (one.process.pid, two.process.pid)
            return all(f"<b>{pid}</b> on" in page for pid in pids) and "Hit ratio of all" in page

        wait_until(listed, 20, lambda: one.get("/aswr/workers").body.decode())
        page = one.get("/aswr/entries?source=store").body.decode()
        assert "in the shared store as of" in page
        # Listing a store asks much of it: such a page does not fetch itself anew.
        assert STILL in page
        assert STILL not in one.get("/aswr/entries").body.decode()
        assert ">/prices</a>" in page
        assert "one of those that share a store" in page
        _, _, rest = page.partition('class="entry"><a href="')
        assert one.get(rest.partition('"')[0]).status == 200
        # What another worker has stored has a page here, too.
        two.get("/news")

        def known() -> bool:
            page = one.get("/aswr/entries?source=store&search=news").body.decode()
            _, _, rest = page.partition('class="entry"><a href="')
            entry = one.get(rest.partition('"')[0])
            html = entry.body.decode()
            return entry.status == 200 and '<h1 class="url">/news</h1>' in html and STILL in html

        wait_until(known, 10, lambda: "no page for what the other worker stored")
        body = json.dumps({"tags": ["prices"]})
        done = one.send("POST", "/aswr/api/purge", body=body, headers=BEARER).json
        assert done["everybody"]

        def gone() -> bool:
            return ">/prices</a>" not in two.get("/aswr/entries").body.decode()

        wait_until(gone, 10, lambda: two.get("/aswr/entries").body.decode())

        redis.kill()
        said = press(one, "/prices")
        assert "The shared store does not have it yet" in said
        page = one.get("/aswr/entries?source=store").body.decode()
        assert "Not all of it is here: " in page


def press(server: Server, url: str) -> str:
    """Purge a URL by the button, and what the page says then."""
    page = server.get("/aswr/entries")
    token = re.search(r'name="aswr_token" value="(\w+)"', page.body.decode())
    assert token is not None
    cookie = page.headers["Set-Cookie"].partition(";")[0]
    fields = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
    body = urlencode({"aswr_token": token[1], "url": url})
    done = server.send("POST", "/aswr/act/purge", body=body, headers=fields)
    cookie += "; " + done.headers["Set-Cookie"].partition(";")[0]
    return server.send("GET", "/aswr/", headers={"Cookie": cookie}).body.decode()
