"""Servers on loopback, in processes of their own, and the clients that load them.

A server is started in a session of its own, writes to a folder of its own, and is gone when its
``with`` block ends: by SIGTERM, or after `STOP_LIMIT` seconds by SIGKILL, both by its process id.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory

from .rows import Missing

HERE = Path(__file__).parent
START_LIMIT = 20.0
STOP_LIMIT = 10.0

# What a browser sends, more or less; the same to everybody.
HEADERS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)",
    "Accept": "text/html,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br",
}


def program(name: str) -> str:
    """The path of a program; raises `Missing` where there is none."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        raise Missing(f"no {name} on this machine")
    return found


def redis_server() -> str:
    """The path of a server that speaks Redis, as the tests find it; raises `Missing`."""
    try:
        import pytest
        from servers.redises import binary
    except ImportError as error:
        raise Missing(f"no {error.name} here") from None
    try:
        return binary()
    except pytest.skip.Exception as why:
        raise Missing(str(why)) from None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A running server: its port and its process id."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.process = process

    def threads(self) -> int:
        """The threads of the process and of the workers that it started."""
        return sum(_threads(pid) for pid in _family(self.process.pid))


@contextlib.contextmanager
def serving(arguments: Sequence[str], port: int, **env: str) -> Iterator[Server]:
    """Run a server until the block ends; the block begins when the port answers."""
    with TemporaryDirectory(prefix="bench-") as folder, open(f"{folder}/out", "wb+") as output:
        process = subprocess.Popen(
            arguments, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env={**os.environ, "PYTHONPATH": _python_path(), "HOME": folder, **env},
            start_new_session=True,
        )  # fmt: skip
        try:
            _await_port(port, process, Path(output.name))
            yield Server(port, process)
        finally:
            _stop(process)


def _python_path() -> str:
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(HERE.parent), *([inherited] if inherited else [])])


def _await_port(port: int, process: subprocess.Popen[bytes], output: Path) -> None:
    until = time.monotonic() + START_LIMIT
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"{process.args} does not serve:\n{output.read_text()}")
        time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_LIMIT)
    with contextlib.suppress(ProcessLookupError):  # its session: nothing is left of it
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    if not children.exists():
        raise Missing("no /proc on this machine")
    return [pid, *(one for child in children.read_text().split() for one in _family(int(child)))]


def _threads(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("Threads:")[2].split()[0])


# Python servers, one worker each.


def uvicorn(app: str, *more: str) -> contextlib.AbstractContextManager[Server]:
    """``app`` is an attribute of ``served``, or "module:attribute" beside it."""
    port = free_port()
    asked = ["--port", str(port), "--log-level", "warning", *more, _path(app)]
    return serving([*_module("uvicorn"), *asked], port)


def granian(app: str, *more: str) -> contextlib.AbstractContextManager[Server]:
    """As `uvicorn`."""
    port = free_port()
    asked = ["--interface", "asgi", "--port", str(port), "--no-log", *more, _path(app)]
    return serving([*_module("granian"), *asked], port)


def gunicorn(app: str, *more: str) -> contextlib.AbstractContextManager[Server]:
    """gthread, as `uvicorn`."""
    port = free_port()
    asked = ["-b", f"127.0.0.1:{port}", "-w", "1", "-k", "gthread", "--threads", "8", *more]
    return serving([*_module("gunicorn"), *asked, _path(app)], port)


def _path(app: str) -> str:
    module, _, name = app.rpartition(":")
    return f"{HERE.name}.{module or 'served'}:{name}"


def _module(name: str) -> list[str]:
    if find_spec(name) is None:
        raise Missing(f"no {name} on this machine")
    return [sys.executable, "-m", name]


# Clients.


def _header_options(headers: Mapping[str, str]) -> list[str]:
    return [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]


def wrk(port: int, path: str, seconds: int, connections: int = 16) -> float:
    """Requests per second, all of them answered well: one thread, one core, keeps a worker busy."""
    asked = ["-t1", f"-c{connections}", f"-d{seconds}s", *_header_options(HEADERS)]
    done = subprocess.run(
        [program("wrk"), *asked, f"http://127.0.0.1:{port}{path}"],
        check=True, capture_output=True, text=True, timeout=seconds + 20,
    )  # fmt: skip
    bad = re.search(r"(?:Non-2xx|Socket errors).*", done.stdout)
    if bad:
        raise RuntimeError(f"{path}: {bad[0]}")
    rate = re.search(r"Requests/sec:\s*([\d.]+)", done.stdout)
    assert rate, done.stdout
    return float(rate[1])


def paced(port: int, paths: Sequence[str], per_second: int, seconds: int) -> list[float]:
    """Seconds of each answer, asked for at a fixed rate over four connections, path after path."""
    with TemporaryDirectory(prefix="bench-") as folder:
        log = Path(folder) / "log"
        asked = ["--h1", "-c4", f"--rps={per_second // 4}", f"-D{seconds}", f"--log-file={log}"]
        uris = [f"http://127.0.0.1:{port}{path}" for path in paths]
        subprocess.run(
            [program("h2load"), *asked, *_header_options(HEADERS), *uris],
            check=True, capture_output=True, timeout=seconds + 20,
        )  # fmt: skip
        lines = [line.split("\t") for line in log.read_text().splitlines()]
    assert all(status == "200" for _, status, _ in lines), lines[:3]
    return [int(taken) / 1e6 for _, _, taken in lines]


def p99(values: Sequence[float]) -> float:
    """The 99th percentile."""
    return quantiles(values, n=100)[98]
