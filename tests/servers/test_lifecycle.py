"""Start and end under every server: jobs without a first request, and an exit in time."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from .harness import (
    APP_RUN,
    APP_RUN_RELOADER,
    DRAIN,
    FLASK_RUN,
    FLASK_RUN_DEBUG,
    GUNICORN_GTHREAD,
    GUNICORN_GTHREAD_PRELOAD,
    HERE,
    SERVERS,
    UVICORN,
    Kind,
    Server,
    environment,
    gunicorn,
    wait_until,
)

WAIT = 1.0  # seconds that a request of /long waits
SLACK = 4.0  # seconds for a server's own stopping, on a busy machine


@pytest.mark.parametrize("kind", [*SERVERS, APP_RUN_RELOADER], ids=str)
def test_jobs_run_without_a_request(kind: Kind, tmp_path: Path) -> None:
    """Periodic refreshes run before any request, in the one process that serves."""
    with Server(kind, tmp_path, SERVERS_INTERVAL="0.5") as server:
        server.await_events("periodic", 3, "end")
        pids = {event.pid for event in server.events("periodic")}
        assert len(pids) == 1
        if "gunicorn" in kind.name or kind in (FLASK_RUN_DEBUG, APP_RUN_RELOADER):
            assert server.process.pid not in pids, "jobs ran in a master or a reloader's parent"
        answer = server.get("/periodic")
        assert answer.json["pid"] in pids
        assert "aswr; hit" in answer.cache_status
        assert answer.json["name"] == "periodic"
        assert server.stop() < DRAIN + SLACK
        assert "ERROR" not in server.aswr_log


def test_jobs_start_with_the_first_request_where_nobody_starts_them(tmp_path: Path) -> None:
    """Under gunicorn without the hook, periodic refreshes start with the first request."""
    plain = ("-m", "gunicorn", "-b", "127.0.0.1:{port}", "app:app")
    with Server(Kind("gunicorn-bare", plain, needs=("gunicorn",)), tmp_path) as server:
        server.get("/number/1")
        server.await_events("periodic", 2, "end")


def test_flask_routes_starts_nothing(tmp_path: Path) -> None:
    """No job runs under ``flask routes``, which ends at once."""
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "app", "routes"],
        cwd=HERE, env=environment(tmp_path), capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert "/periodic" in done.stdout
    assert done.stderr == ""
    assert not (tmp_path / "loads.log").exists()


EXITS = [(kind, signal.SIGTERM) for kind in SERVERS] + [
    (kind, signal.SIGINT) for kind in (APP_RUN, FLASK_RUN, GUNICORN_GTHREAD, UVICORN)
]


@pytest.mark.parametrize(("kind", "sign"), EXITS, ids=[f"{k}-{s.name}" for k, s in EXITS])
def test_it_exits_in_the_middle_of_a_load(kind: Kind, sign: signal.Signals, tmp_path: Path) -> None:
    """A server told to end does so while loads of sixty seconds and their callers are under way."""
    paths = ["/long/sync"] if kind.one_at_a_time else ["/long/sync", "/long/async"]

    def ask(path: str) -> None:
        with suppress(OSError):  # the server may end without an answer
            server.get(path)

    with Server(kind, tmp_path) as server, ThreadPoolExecutor(len(paths)) as pool:
        for path in paths:
            pool.submit(ask, path)
        for path in paths:
            server.await_events(path[1:], 1)
        assert server.stop(sign) < WAIT + DRAIN + SLACK
        assert "ERROR" not in server.aswr_log


# SIGTERM ends Werkzeug's server on the spot: Python runs nothing then.
DRAINS = [(kind, signal.SIGINT) for kind in (APP_RUN, FLASK_RUN)] + [
    (kind, signal.SIGTERM) for kind in SERVERS if kind.needs
]


@pytest.mark.parametrize(("kind", "sign"), DRAINS, ids=[f"{k}-{s.name}" for k, s in DRAINS])
def test_a_load_may_end_while_the_server_stops(
    kind: Kind, sign: signal.Signals, tmp_path: Path
) -> None:
    """A load under way when the server is told to end is let finish, within the drain deadline."""
    with Server(kind, tmp_path, SERVERS_DRAIN="5", SERVERS_INTERVAL="0") as server:
        assert server.get("/impatient").status == 503
        assert not server.events("impatient", "end")
        server.stop(sign)
        assert len(server.events("impatient", "end")) == 1


def test_a_fork_in_the_middle_of_a_load(tmp_path: Path) -> None:
    """A worker forked while its master loads waits for none of its loads, and ends in time."""
    # Python >= 3.12 says that forking a process with threads is risky: this is that test.
    quiet = "default,ignore:This process:DeprecationWarning"
    env = {"SERVERS_WARM": "1", "SERVERS_COMPUTE": "1", "PYTHONWARNINGS": quiet}
    with Server(GUNICORN_GTHREAD_PRELOAD, tmp_path, **env) as server:
        names = ["cold/async/warm", "cold/async/other", "cold/sync/other"]
        answers = server.get_all([f"/{name}" for name in names])
        assert [answer.json["name"] for answer in answers] == names
        master, worker = server.process.pid, answers[0].json["pid"]
        assert [event.pid for event in server.events(names[0])] == [master, worker]
        server.await_events("periodic", 2, "end")
        assert {event.pid for event in server.events("periodic")} == {worker}
        assert server.stop() < DRAIN + SLACK
        assert "ERROR" not in server.aswr_log


def test_a_worker_whose_timeout_is_too_short_recovers(tmp_path: Path) -> None:
    """Where gunicorn's timeout is below the compute, 503 comes in time and later the answer."""
    kind = gunicorn("short", "-k", "sync", "--threads", "1", "--timeout", "3")
    with Server(kind, tmp_path, SERVERS_COMPUTE="5", SERVERS_WAIT="1") as server:
        first = server.get("/cold/async/slow")
        assert first.status == 503
        assert int(first.headers["Retry-After"]) >= 1
        assert first.seconds < 3
        wait_until(lambda: server.get("/cold/async/slow").status == 200, 15, lambda: server.output)
        assert len(server.events("cold/async/slow")) == 1, "the worker was killed in between"


def test_gevent_is_refused_when_a_worker_starts_it(tmp_path: Path) -> None:
    """A gevent worker that starts the cache fails to boot, and the error names gthread."""
    kind = replace(gunicorn("gevent", "-k", "gevent"), needs=("gunicorn", "gevent"))
    server = Server(kind, tmp_path).start(await_port=False)
    try:
        server.process.wait(20)
    finally:
        server.kill()
    assert server.process.returncode != 0
    assert "RuntimeError: aswr needs real threads" in server.output
    assert "--worker-class gthread" in server.output


def test_gevent_is_refused_at_the_first_request(tmp_path: Path) -> None:
    """Under gevent without a start hook, a cached view fails at once, and the log names gthread."""
    args = ("-m", "gunicorn", "-k", "gevent", "-b", "127.0.0.1:{port}", "app:app")
    server = Server(Kind("gunicorn-gevent", args, needs=("gunicorn", "gevent")), tmp_path).start()
    try:
        answer = server.get("/cold/async/refused", timeout=10)
        assert answer.status == 500
        assert answer.seconds < 5
        assert "--worker-class gthread" in server.output
    finally:
        server.kill()
