"""Every example, started as its first lines say and used over HTTP. These take their real time."""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .servers.redises import Cluster, Redis, SentinelPair

EXAMPLES = Path(__file__).parent.parent / "examples"
COMPUTE = 10.0  # seconds, as the example says
REPORT = 3.0  # seconds, as the fleet's example says
AT_ONCE = 0.05

Fields = http.client.HTTPMessage

pytestmark = pytest.mark.timeout(120)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(*arguments: str, port: int, fails: bool = False, **env: str) -> Iterator[None]:
    """The server of these arguments, from accepting connections to SIGTERM.

    It logs a traceback if a load ``fails``, and else none.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": "", **env},
    )  # fmt: skip
    try:
        until = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, process.stderr.read().decode()
                assert time.monotonic() < until, "the server does not accept connections"
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=20)
        assert (b"Traceback" in errors) == fails, errors.decode()


def get(port: int) -> tuple[float, int, str, bytes]:
    """Seconds, status, Cache-Status and body of the example's page."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    begun = time.monotonic()
    connection.request("GET", "/delta_positions")
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return (
        time.monotonic() - begun,
        response.status,
        response.headers.get("Cache-Status", ""),
        body,
    )


def best_of_three(port: int) -> float:
    """The shortest of three answers: the machine is shared, one may be unlucky."""
    return min(get(port)[0] for _ in range(3))


def test_delta_positions() -> None:
    """The seed's example: the first answer takes ten seconds, and no other one ever waits."""
    port = free_port()
    example = str(EXAMPLES / "delta_positions")
    with running("flask", "--app", example, "run", "--port", str(port), port=port):
        seconds, status, said, first = get(port)
        assert status == 200
        assert b"delta_positions" in first
        assert COMPUTE / 2 < seconds < COMPUTE + 3, "the job began when the server did"
        assert said.startswith("aswr; fwd=uri-miss")
        assert best_of_three(port) < AT_ONCE
        until = time.monotonic() + 2.5 * COMPUTE
        slowest = 0.0
        while (body := get(port)[3]) == first:
            slowest = max(slowest, best_of_three(port))
            assert time.monotonic() < until, "nothing was renewed in the background"
            time.sleep(0.2)
        assert slowest < 0.5
        assert body != first


def test_gunicorn_conf() -> None:
    """The gunicorn example's one line starts the jobs: an answer is there before anybody asks."""
    pytest.importorskip("gunicorn")
    port = free_port()
    conf = str(EXAMPLES / "gunicorn.conf.py")
    with running(
        "gunicorn", "--chdir", str(EXAMPLES), "--config", conf, "--bind", f"127.0.0.1:{port}",
        "delta_positions:app", port=port,
    ):  # fmt: skip
        time.sleep(COMPUTE + 3)
        seconds, status, said, _ = get(port)
        assert (status, said.split(";")[1]) == (200, " hit")
        assert seconds < 0.5


def ask(port: int, path: str, **headers: str) -> tuple[str, str, http.client.HTTPMessage]:
    """Body, ``Cache-Status`` and fields of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(
        "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return body, response.headers.get("Cache-Status", ""), response.headers


def test_front_page() -> None:
    """Each visitor of the example gets what its first lines say."""
    port = free_port()
    example = str(EXAMPLES / "front_page")
    with running("flask", "--app", example, "run", "--port", str(port), port=port):
        german, _, _ = ask(port, "/", Accept_Language="de")
        english, _, _ = ask(port, "/")
        assert (german[:9], english[:5]) == ("Guten Tag", "Hello")
        shared, status, _ = ask(port, "/", Accept_Language="de-AT,de;q=0.9", Cookie="_ga=1")
        assert (shared, status[:9]) == (german, "aswr; hit")
        cookie = ask(port, "/login/ann")[2]["Set-Cookie"].partition(";")[0]
        own, status, _ = ask(port, "/", Cookie=cookie)
        assert own.startswith("Hello, ann")
        assert status == 'aswr; fwd=bypass; detail="reads cookie session"'
        mine = [ask(port, "/mine", Cookie=cookie) for _ in range(2)]
        assert mine[0][0] == mine[1][0]
        assert mine[0][0].startswith("for ann alone")
        assert mine[1][1].startswith("aswr; hit")
        assert ask(port, "/mine")[0].startswith("for None alone")
        fields = ask(port, "/prices")[2]
        assert fields["Cache-Control"].startswith("public, max-age=45")
        assert ask(port, "/prices")[1].startswith("aswr; hit")


def send(port: int, method: str, path: str, **options: Any) -> tuple[int, str, Fields]:
    """Status, body and fields of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, **options)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, body, response.headers


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def test_factory() -> None:
    """An article that is changed is purged, and with it each list that shows its title."""
    port = free_port()
    example = str(EXAMPLES / "factory")
    with running("flask", "--app", example, "run", "--port", str(port), port=port):
        for path in ("/articles/", "/articles/count", "/articles/1"):
            ask(port, path)
            assert ask(port, path)[1].startswith("aswr; hit")
        assert [send(port, "GET", "/articles/9")[0] for _ in range(2)] == [404, 404]
        assert ask(port, "/articles/9")[1].startswith("aswr; hit")
        changed = send(port, "PUT", "/articles/1", body="title=New", headers=FORM)
        assert changed[0] == 200
        titles, status, _ = ask(port, "/articles/")
        assert json.loads(titles) == {"titles": ["New", "On not waiting"]}
        assert status.startswith("aswr; fwd=")
        article, status, _ = ask(port, "/articles/1")
        assert json.loads(article) == {"number": 1, "title": "New"}
        assert status.startswith("aswr; fwd=")


def test_factory_with_the_cache_off() -> None:
    """The factory's config reaches the manager: an app may be made in which nothing is cached."""
    port = free_port()
    example = f"{EXAMPLES / 'factory'}:create_app({{'ASWR_ENABLED': False}})"
    with running("flask", "--app", example, "run", "--port", str(port), port=port):
        answers = [send(port, "GET", "/articles/") for _ in range(2)]
        assert [status for status, _, _ in answers] == [200, 200]
        assert not any("Cache-Status" in fields for _, _, fields in answers)


def test_dashboard() -> None:
    """The page is renewed in the background; its charts and the plain numbers are of one query."""
    port = free_port()
    example = str(EXAMPLES / "dashboard")
    with running("flask", "--app", example, "run", "--port", str(port), port=port):
        first, _, _ = ask(port, "/")
        until = time.monotonic() + 15
        while (page := ask(port, "/"))[0] == first:
            assert page[1].startswith("aswr; hit"), "somebody waited"
            assert time.monotonic() < until, "nothing was renewed in the background"
            time.sleep(0.1)
        begun = time.monotonic()
        series = [json.loads(ask(port, f"/series/{metal}")[0]) for metal in ("copper", "zinc")]
        assert time.monotonic() - begun < 0.5, "the series were queried again"
        for metal in series:
            assert f"<strong>{metal['prices'][-1]:.2f}</strong>" in page[0]
        lines = re.findall(r'<polyline points="([^"]*)"', page[0])
        assert [len(line.split()) for line in lines] == [200] * 3
        bars = [int(height) for height in re.findall(r'<rect [^>]*height="(\d+)"', page[0])]
        assert [sum(bars[i : i + 20]) for i in (0, 20, 40)] == [199] * 3, "each change is counted"


class Cdn:
    """A CDN: keeps what CDN-Cache-Control lets it, renews by ETag, purges by group."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stored: dict[str, tuple[float, str, str, str]] = {}
        self.later = 0.0  # seconds by which its clock is ahead

    def get(self, path: str) -> tuple[str, str]:
        """How it was come by, and the body."""
        now = time.monotonic() + self.later
        until, etag, group, body = self._stored.get(path, (0.0, "", "", ""))
        if now < until:
            return "hit", body
        conditions = {"If-None-Match": etag} if etag else {}
        status, new, fields = send(self._port, "GET", path, headers=conditions)
        assert status == 304 if new == "" else status == 200
        (lifetime,) = re.findall(r"^max-age=(\d+)$", fields["CDN-Cache-Control"])
        body, etag, group = new or body, fields["ETag"], fields["Cache-Groups"]
        self._stored[path] = (now + int(lifetime), etag, group, body)
        return ("confirmed", body) if status == 304 else ("fetched", body)

    def put(self, path: str, body: str) -> None:
        """Pass it on, and drop the group that it invalidates."""
        status, _, fields = send(self._port, "PUT", path, body=body, headers=FORM)
        assert status == 200
        gone = fields.get("Cache-Group-Invalidation")
        self._stored = {path: kept for path, kept in self._stored.items() if kept[2] != gone}


def test_behind_cdn() -> None:
    """A CDN keeps each page for its own time, hears of purges, and never sees an outage."""
    port = free_port()
    example = str(EXAMPLES / "behind_cdn")
    with running("flask", "--app", example, "run", "--port", str(port), port=port, fails=True):
        cdn, page = Cdn(port), "/products?page=1"
        how, first = cdn.get(page)
        assert (how, json.loads(first)) == ("fetched", {"1": 3, "2": 5})
        assert cdn.get(page) == ("hit", first)
        status, body, fields = send(port, "GET", f"{page}&utm_source=mail")
        assert (status, body, fields["Cache-Status"][:9]) == (200, first, "aswr; hit")
        assert re.fullmatch(
            r"public, max-age=[12], stale-while-revalidate=[12], stale-if-error=360[12]",
            fields["Cache-Control"],
        )
        status, body, _ = send(port, "GET", page, headers={"If-None-Match": fields["ETag"]})
        assert (status, body) == (304, "")
        cdn.later += 61
        assert cdn.get(page) == ("confirmed", first)

        cdn.put("/products/2", "price=9")
        how, second = cdn.get(page)
        assert (how, json.loads(second)) == ("fetched", {"1": 3, "2": 9})

        cdn.put("/outage", "")
        time.sleep(3.2)  # past the timeout
        cdn.later += 61
        assert cdn.get(page) == ("confirmed", second)
        assert ask(port, page)[1].startswith("aswr; hit; ttl=-"), "it is past its time"


def test_accounts() -> None:
    """What names nobody is shared by all, a team's page by the team, and orders are one's own."""
    pytest.importorskip("flask_login")
    port = free_port()
    example = str(EXAMPLES / "accounts")
    with running("flask", "--app", example, "run", "--port", str(port), port=port):
        cookies = {
            name: ask(port, f"/login/{name}")[2]["Set-Cookie"].partition(";")[0]
            for name in ("ann", "bob", "cleo")
        }

        def as_(name: str, path: str) -> tuple[str, str]:
            return ask(port, path, Cookie=cookies[name])[:2]

        shared = ask(port, "/catalogue")[0]
        assert as_("ann", "/catalogue")[0] == as_("bob", "/catalogue")[0] == shared

        visitor = ask(port, "/")[0]
        assert (ask(port, "/")[0], visitor[:13]) == (visitor, "hello visitor")
        greeting, status = as_("ann", "/")
        assert greeting.startswith("hello ann")
        assert status == 'aswr; fwd=bypass; detail="reads cookie session"'

        assert as_("ann", "/orders")[0].startswith("ann has []")
        again, status = as_("ann", "/orders")
        assert (again[:10], status[:9]) == ("ann has []", "aswr; hit")
        assert as_("bob", "/orders")[0].startswith("bob has []")

        red = as_("ann", "/team")[0]
        same, status = as_("bob", "/team")
        assert (same, status[:9], red[:13]) == (red, "aswr; hit", "red: ann, bob")
        assert as_("cleo", "/team")[0].startswith("blue: cleo,")

        headers = {**FORM, "Cookie": cookies["ann"]}
        assert send(port, "POST", "/orders", body="item=tea", headers=headers)[0] == 200
        ordered, status = as_("ann", "/orders")
        assert ordered.startswith("ann has ['tea']")
        assert status.startswith("aswr; fwd=")
        assert send(port, "GET", "/orders")[0] == 401


def test_asgi_site() -> None:
    """Under an ASGI site Flask's pages, its job and Starlette's endpoints use one cache."""
    pytest.importorskip("uvicorn")
    pytest.importorskip("starlette")
    port = free_port()
    with running(
        "uvicorn", "--app-dir", str(EXAMPLES), "--port", str(port), "asgi_site:site", port=port
    ):
        time.sleep(2)
        report, status, fields = ask(port, "/legacy/report")
        assert status.startswith("aswr; hit"), "the site's lifespan started no job"
        assert fields["Cache-Control"].startswith("public, max-age=45")
        assert ask(port, "/legacy/old")[0] == "as it always was\n"
        begun = time.monotonic()
        rate, status, _ = ask(port, "/rates/eur")
        assert time.monotonic() - begun < 0.5, "the report's rate was not used"
        assert json.loads(rate) == {"eur": json.loads(report)["eur"]}
        assert send(port, "POST", "/publish")[1] == '{"everybody_knows":true}'
        renewed, status, _ = ask(port, "/legacy/report")
        assert status.startswith("aswr; fwd=")
        assert renewed != report


@contextmanager
def fleet(**env: str) -> Iterator[tuple[int, int]]:
    """The ports of two servers of the fleet's example."""
    example = str(EXAMPLES / "fleet")
    one, other = free_port(), free_port()
    with (
        running("flask", "--app", example, "run", "--port", str(one), port=one, **env),
        running("flask", "--app", example, "run", "--port", str(other), port=other, **env),
    ):
        yield one, other


def publish(port: int) -> str:
    """What the fleet's example answers to who publishes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/publish")
    body = connection.getresponse().read().decode()
    connection.close()
    return body


def shared_report(one: int, other: int) -> str:
    """The report, which takes its time at the first server and none at the second."""
    begun = time.monotonic()
    first, status, _ = ask(one, "/report")
    assert time.monotonic() - begun > REPORT
    assert status.startswith("aswr; fwd=uri-miss")
    begun = time.monotonic()
    assert ask(other, "/report")[0] == first
    assert time.monotonic() - begun < REPORT / 2
    return first


def test_fleet(tmp_path: Path) -> None:
    """What one server has computed the other has at once, and publishing at one renews both."""
    with Redis(tmp_path) as redis, fleet(REDIS_URL=redis.url) as (one, other):
        first = shared_report(one, other)
        assert publish(other) == '{"everybody_knows":true}\n'
        second = shared_report(other, one)
        assert second != first
        assert ask(one, "/report")[1].startswith("aswr; hit")


def test_fleet_behind_sentinels(tmp_path: Path) -> None:
    """Sentinels name the master, and the example shares by it as by any Redis."""
    with SentinelPair(tmp_path) as pair:
        sentinels = ",".join(f"{host}:{port}" for host, port in pair.sentinels)
        with fleet(REDIS_SENTINELS=sentinels, REDIS_SERVICE=pair.service_name) as ports:
            shared_report(*ports)
            assert publish(ports[1]) == '{"everybody_knows":true}\n'


def test_fleet_on_a_cluster(tmp_path: Path) -> None:
    """On a cluster, too."""
    with Cluster(tmp_path) as cluster:
        nodes = ",".join(f"{host}:{port}" for host, port in cluster.startup_nodes)
        with fleet(REDIS_CLUSTER=nodes) as ports:
            shared_report(*ports)
            assert publish(ports[1]) == '{"everybody_knows":true}\n'
