"""What holds under every server: one process of each, shared by the tests of this file."""

import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from .harness import AT_ONCE, COMPUTE, FRESH, SERVERS, KeepAlive, Kind, Server, wait_until

VIEWS = ("async", "sync")


@pytest.fixture(scope="module", params=SERVERS, ids=str)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    kind: Kind = request.param
    with Server(kind, tmp_path_factory.mktemp(kind.name)) as running:
        yield running


@pytest.mark.parametrize("view", VIEWS)
def test_the_first_waits_and_the_second_does_not(server: Server, view: str) -> None:
    """The first request takes as long as the load, the following ones are answered at once."""
    first = server.get(f"/cold/{view}/first")
    assert (first.status, first.cache_status) == (200, "aswr; fwd=uri-miss; stored")
    assert first.seconds >= COMPUTE

    second = server.best_of(f"/cold/{view}/first")
    assert second.json == first.json
    assert "aswr; hit" in second.cache_status
    assert second.seconds < AT_ONCE
    assert len(server.events(f"cold/{view}/first")) == 1


def test_in_the_margin_nobody_waits_and_one_load_follows(server: Server) -> None:
    """A request in the margin is answered at once and followed by exactly one background load."""
    names = [f"margin/{view}/{number}" for view in VIEWS for number in range(3)]
    first = [answer.json for answer in server.get_all([f"/{name}" for name in names])]
    time.sleep(FRESH + 0.2)

    stale = [server.get(f"/{name}") for name in names]
    again = [server.get(f"/{name}") for name in names]
    assert [answer.json for answer in stale] == first
    assert all("detail=revalidating" in answer.cache_status for answer in stale)
    for answers in (stale[:3], stale[3:], again[:3], again[3:]):
        assert min(answer.seconds for answer in answers) < AT_ONCE  # as in best_of

    for name in names:
        server.await_events(name, 2, "end")
    time.sleep(0.2)  # for a load too many to show
    assert [len(server.events(name)) for name in names] == [2] * len(names)
    for name, old in zip(names, first, strict=True):
        assert server.get(f"/{name}").json["computed"] > old["computed"]


@pytest.mark.parametrize("view", VIEWS)
def test_fifty_cold_requests_cause_one_load(server: Server, view: str) -> None:
    """Fifty requests for a page that is not stored cause one load, and all get its answer."""
    name = f"cold/{view}/fifty"
    answers = server.get_all([f"/{name}"] * 50)
    assert [answer.status for answer in answers] == [200] * 50
    assert len({answer.body for answer in answers}) == 1
    assert len(server.events(name)) == 1


def test_a_failing_refresh_keeps_the_old_answer(server: Server) -> None:
    """While refreshes fail the old answer is served at once, and afterwards it is renewed."""
    first = server.get("/failing").json
    server.fail_flag.touch()
    try:
        time.sleep(FRESH + 0.2)
        assert server.get("/failing").json == first
        server.await_events("failing", 1, "fail")
        failed = server.best_of("/failing")
        assert (failed.status, failed.json) == (200, first)
        assert failed.seconds < AT_ONCE
    finally:
        server.fail_flag.unlink()

    def renewed() -> bool:
        return bool(server.get("/failing").json["computed"] > first["computed"])

    wait_until(renewed, 10, lambda: f"never renewed\n{server.aswr_log}")
    assert server.aswr_log.count(" load failed (") == 1


@pytest.mark.parametrize("view", VIEWS)
def test_who_leaves_takes_nothing_along(server: Server, view: str) -> None:
    """A client that disconnects does not cancel the load that others wait for."""
    name = f"cold/{view}/left"
    with socket.create_connection(("127.0.0.1", server.port)) as leaver:
        leaver.sendall(f"GET /{name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        server.await_events(name, 1)
        with ThreadPoolExecutor(2) as pool:
            others = [pool.submit(server.get, f"/{name}") for _ in range(2)]
            time.sleep(0.1)  # for their requests to arrive
            leaver.close()
            answers = [other.result() for other in others]
    assert [answer.status for answer in answers] == [200, 200]
    assert len(server.events(name)) == 1


def test_a_chunked_body_arrives(server: Server) -> None:
    """A request body without Content-Length reaches the view whole."""
    chunks = [bytes([65 + number]) * 3000 for number in range(20)]
    answer = server.send("POST", "/echo", body=iter(chunks), encode_chunked=True)
    assert (answer.status, answer.body) == (200, b"".join(chunks))


def test_a_held_loop_does_not_hold_hits(server: Server) -> None:
    """While a view holds aswr's loop, hits are answered at once, and one log line names it."""
    if server.kind.one_at_a_time:
        pytest.skip("answers one request at a time")
    server.get("/cold/async/hit")
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(server.get, "/holds-the-loop")
        server.await_events("holds-the-loop", 1)
        hit = server.best_of("/cold/async/hit")
        assert not server.events("holds-the-loop", "end"), "the loop was free again too soon"
        assert held.result().status == 200
    assert hit.seconds < AT_ONCE

    def lines() -> list[str]:
        return [line for line in server.aswr_log.splitlines() if "app.py:" in line]

    wait_until(lambda: bool(lines()), 5, lambda: f"no line\n{server.aswr_log}")
    assert len(lines()) == 1
    assert re.search(r"in holds_the_loop\(\) held the event loop for [01]\.\d s", lines()[0])


def test_slow_views_run_together(server: Server) -> None:
    """Concurrent views of one second, four of each kind, take about one second together."""
    if server.kind.one_at_a_time:
        pytest.skip("answers one request at a time")
    kinds = ("async", "sync", "cached-async", "cached-sync")
    began = time.monotonic()
    answers = server.get_all([f"/second/{kind}/{n}" for kind in kinds for n in range(4)])
    assert time.monotonic() - began < 2.5
    assert [answer.body for answer in answers] == [b"0", b"1", b"2", b"3"] * 4


@pytest.mark.timeout(120)
def test_ten_thousand_keep_alive_requests(server: Server) -> None:
    """Ten thousand requests on a few keep-alive connections give ten thousand right answers."""
    if not server.kind.asgi:
        pytest.skip("about the way from ASGI to Flask")
    paths = ("/number/{}", "/number/{}", "/number/{}", "/number/async/{}", "/cold/async/hit")
    hit = server.get("/cold/async/hit").json

    def client(start: int) -> tuple[int, int]:
        right, with_keep_alive = 0, KeepAlive(server.port)
        for number in range(start, start + 2500):
            path = paths[number % len(paths)]
            status, body = with_keep_alive.get(path.format(number))
            right += status == 200 and json.loads(body) == (
                {"number": number} if "{}" in path else hit
            )
        with_keep_alive.close()
        return right, with_keep_alive.connections

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(client, range(0, 10_000, 2500)))
    assert sum(right for right, _ in results) == 10_000
    assert all(connections <= 3 for _, connections in results)  # hypercorn ends one after 1000


def test_nothing_was_logged_as_an_error(server: Server) -> None:
    """After all that, aswr's log holds no error."""
    assert "ERROR" not in server.aswr_log
