"""Every example, started as its first lines say and used over HTTP. These take their real time."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .servers.redises import Cluster, Redis, SentinelPair

EXAMPLES = Path(__file__).parent.parent / "examples"
COMPUTE = 10.0  # seconds, as the example says
REPORT = 3.0  # seconds, as the fleet's example says
AT_ONCE = 0.05

pytestmark = pytest.mark.timeout(120)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(*arguments: str, port: int, **env: str) -> Iterator[None]:
    """The server of these arguments, from accepting connections to SIGTERM."""
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
        assert b"Traceback" not in errors, errors.decode()


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
