"""Real servers as subprocesses on loopback, and a client that measures.

A `Server` is started with ``python -m ...`` in a session of its own, writes to files in a folder of
its own, and is stopped by its process id. Waiting is polling with a deadline.
"""

import contextlib
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
GUNICORN_CONF = HERE.parent.parent / "examples" / "gunicorn.conf.py"

AT_ONCE = 0.05  # seconds: an answer that waited for nothing
COMPUTE = 0.5  # seconds that a load takes
TIMEOUT = 20.0
FRESH = 1.0  # seconds before the margin
DRAIN = 1.0  # seconds that loads have to end in when the server stops
START_LIMIT = 20.0
STOP_LIMIT = 15.0

# gunicorn leaves its TCP sockets to the interpreter when a worker ends, with any app. aswr opens
# none, but for its loop's own pair, which is no TCP socket.
OWN_SOCKETS = re.compile(
    rf".*ResourceWarning: unclosed <socket.socket fd=\d+, family={socket.AF_INET:d}, .*\n"
    r".*Enable tracemalloc to get the object allocation traceback\n"
)


@dataclass(frozen=True)
class Kind:
    """How a server is started; ``{port}`` in an argument or in ``env`` is its port."""

    name: str
    args: tuple[str, ...]
    needs: tuple[str, ...] = ()  # modules that must be installed
    asgi: bool = False
    one_at_a_time: bool = False  # answers one request at a time
    env: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def gunicorn(name: str, *args: str, **options: Any) -> Kind:
    """gunicorn with one worker and the example's configuration, whose hook starts the jobs."""
    fixed = ("-m", "gunicorn", "-c", str(GUNICORN_CONF), "-b", "127.0.0.1:{port}", "-w", "1")
    return Kind(f"gunicorn-{name}", (*fixed, *args, "app:app"), needs=("gunicorn",), **options)


_FLASK = ("-m", "flask", "--app", "app")
_UVICORN = ("-m", "uvicorn", "--port", "{port}", "--log-level", "warning", "app:asgi_app")
_GRANIAN = ("-m", "granian", "--interface", "asgi", "--port", "{port}", "app:asgi_app")
_HYPERCORN = ("-m", "hypercorn", "--bind", "127.0.0.1:{port}", "app:asgi_app")

APP_RUN = Kind("app.run", ("app.py",), env={"SERVERS_PORT": "{port}"})
APP_RUN_RELOADER = Kind(
    "app.run-reloader", ("app.py",), env={"SERVERS_PORT": "{port}", "SERVERS_RELOAD": "1"}
)
FLASK_RUN = Kind("flask-run", (*_FLASK, "run", "--port", "{port}"))
# The reloader runs but watches nothing: a file saved while the tests run must not restart it.
FLASK_RUN_DEBUG = Kind(
    "flask-run-debug",
    (*_FLASK, "--debug", "run", "--port", "{port}", "--exclude-patterns", "*"),
)
GUNICORN_SYNC = gunicorn("sync", "-k", "sync", "--threads", "1", one_at_a_time=True)
GUNICORN_SYNC_PRELOAD = gunicorn(
    "sync-preload", "-k", "sync", "--threads", "1", "--preload", one_at_a_time=True
)
GUNICORN_GTHREAD = gunicorn("gthread", "-k", "gthread", "--threads", "64")
GUNICORN_GTHREAD_PRELOAD = gunicorn(
    "gthread-preload", "-k", "gthread", "--threads", "64", "--preload"
)
UVICORN = Kind("uvicorn", _UVICORN, needs=("uvicorn",), asgi=True)
GRANIAN = Kind("granian", _GRANIAN, needs=("granian",), asgi=True)
HYPERCORN = Kind("hypercorn", _HYPERCORN, needs=("hypercorn",), asgi=True)

SERVERS = (
    APP_RUN,
    FLASK_RUN,
    FLASK_RUN_DEBUG,
    GUNICORN_SYNC,
    GUNICORN_SYNC_PRELOAD,
    GUNICORN_GTHREAD,
    GUNICORN_GTHREAD_PRELOAD,
    UVICORN,
    GRANIAN,
    HYPERCORN,
)


@dataclass(frozen=True)
class Answer:
    """A response, and the seconds from the start of connecting to its last byte."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def cache_status(self) -> str:
        # In debug mode the key is there, too.
        return self.headers.get("Cache-Status", "").partition("; key=")[0]


@dataclass(frozen=True)
class Event:
    """A line of the load log."""

    what: str  # begin, end, fail
    name: str
    pid: int


class Server:
    """One server process and its log files, in ``folder``; ``env`` is added to its environment."""

    def __init__(self, kind: Kind, folder: Path, **env: str) -> None:
        for module in kind.needs:
            if find_spec(module) is None:
                pytest.skip(f"{module} is not installed")
        self.kind = kind
        self.port = free_port()
        self.fail_flag = folder / "fail"
        self._loads = folder / "loads.log"
        self._aswr = folder / "aswr.log"
        self._output = folder / "output.log"
        self._env = environment(folder, **kind.env, **env, SERVERS_FAIL=str(self.fail_flag))
        self._env = {name: self._filled(value) for name, value in self._env.items()}

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, failed: object, *exc_info: object) -> None:
        if failed:
            self.kill()
        else:
            self.stop()

    def start(self, *, await_port: bool = True) -> "Server":
        """Start the process and wait until it accepts connections; sends nothing."""
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a child would inherit it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *map(self._filled, self.kind.args)],
                cwd=HERE, env=self._env, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        if await_port:
            try:
                wait_until(self._accepts, START_LIMIT, lambda: f"no server\n{self.output}")
            except BaseException:
                self.kill()
                raise
        return self

    def _filled(self, text: str) -> str:
        return text.replace("{port}", str(self.port))

    def _accepts(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"{self.kind} ended at once\n{self.output}")
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> float:
        """Signal the process, by its id, and wait for its end; returns the seconds that took.

        Fails when it has to be killed, and on a traceback or a warning in its output.
        """
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(sign)
        try:
            self.process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.kind} did not end within {STOP_LIMIT:g} s\n{self.output}"
            ) from None
        finally:
            self.kill()
        seconds = time.monotonic() - began
        complaints = re.findall(r".*(?:Traceback|Warning\b).*", OWN_SOCKETS.sub("", self.output))
        assert not complaints, f"{self.kind} said {complaints}\n{self.output}"
        return seconds

    def kill(self) -> None:
        """Leave nothing of the server's session behind."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    # What it wrote.

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    @property
    def aswr_log(self) -> str:
        return self._aswr.read_text() if self._aswr.exists() else ""

    def events(self, name: str, what: str = "begin") -> list[Event]:
        """The lines of the load log about ``name``; by default one for each load."""
        text = self._loads.read_text() if self._loads.exists() else ""
        lines = (line.rsplit(" ", 1) for line in text.splitlines())
        split = ((*start.split(" ", 1), int(pid)) for start, pid in lines)
        events = [Event(*fields) for fields in split]
        return [event for event in events if event.name == name and event.what == what]

    def await_events(self, name: str, count: int, what: str = "begin", limit: float = 10.0) -> None:
        """Wait until the load log has ``count`` such lines."""
        wait_until(
            lambda: len(self.events(name, what)) >= count,
            limit,
            lambda: f"{self.kind}: {self.events(name, what)}, not {count}\n{self.output}",
        )

    # The client.

    def get(self, path: str, timeout: float = 30.0) -> Answer:
        """GET over a connection of its own."""
        return self.send("GET", path, timeout=timeout)

    def send(self, method: str, path: str, timeout: float = 30.0, **options: Any) -> Answer:
        began = time.monotonic()
        with contextlib.closing(self.connection(timeout)) as connection:
            connection.request(method, path, **options)
            response = connection.getresponse()
            body = response.read()
        return Answer(response.status, response.headers, body, time.monotonic() - began)

    def connection(self, timeout: float = 30.0) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def get_all(self, paths: list[str]) -> list[Answer]:
        """GET all of them at the same time."""
        with ThreadPoolExecutor(len(paths)) as pool:
            return list(pool.map(self.get, paths))

    def best_of(self, path: str, tries: int = 5) -> Answer:
        """The fastest of a few answers.

        The machine is shared: one slow answer may be its doing. An answer that waits for a load,
        or for a loop that is held, does so in every try.
        """
        return min((self.get(path) for _ in range(tries)), key=lambda answer: answer.seconds)


class KeepAlive:
    """A client so small that ten thousand requests cost the test little; connects when it must."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self.connections = 0

    def get(self, path: str) -> tuple[int, bytes]:
        """GET; returns status and body. The response must have a Content-Length."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), 30)
            self._file = self._socket.makefile("rb")
            self.connections += 1
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        status = int(self._file.readline().split()[1])
        headers = {}
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip().lower()
        body = self._file.read(int(headers[b"content-length"]))
        if headers.get(b"connection") == b"close":
            self.close()
        return status, body

    def close(self) -> None:
        """Close the connection; the next `get` opens another."""
        if self._socket is not None:
            self._file.close()
            self._socket.close()
            self._socket = None


def environment(folder: Path, **env: str) -> dict[str, str]:
    """The environment of a server: its files in ``folder``, Python's warnings shown."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FLASK_", "WERKZEUG_", "GUNICORN_", "PYTEST_"))
    }
    return {
        **inherited,
        "HOME": str(folder),  # where gunicorn puts a socket of its own
        "PYTHONWARNINGS": "default",
        "PYTHONUNBUFFERED": "1",
        "SERVERS_LOG": str(folder / "loads.log"),
        "SERVERS_ASWR_LOG": str(folder / "aswr.log"),
        "SERVERS_FAIL": str(folder / "fail"),
        "SERVERS_COMPUTE": str(COMPUTE),
        "SERVERS_TIMEOUT": str(TIMEOUT),
        "SERVERS_MARGIN": str(TIMEOUT - FRESH),
        "SERVERS_DRAIN": str(DRAIN),
        **env,
    }


def free_port() -> int:
    """A free port on loopback, outside the range from which the system takes clients' ports."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def wait_until(holds: Callable[[], bool], limit: float, why: Callable[[], str]) -> None:
    """Poll until it holds; fail, saying why, after ``limit`` seconds."""
    until = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < until, why()
        time.sleep(0.02)
