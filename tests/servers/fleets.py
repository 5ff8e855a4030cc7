"""Fleets for tests: servers of `fleet_app` over one Redis, and clients that know their worker."""

import http.client
import json
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self

from .harness import GUNICORN_CONF, Answer, Kind, Server, wait_until

CROWD = 24  # connections at once, to reach all workers
LIMIT = 20.0  # seconds for whatever the machine is slow at
_GUNICORN = ("-m", "gunicorn", "-c", str(GUNICORN_CONF), "-b", "127.0.0.1:{port}")
# A worker takes no more connections than this, so that a crowd is spread over all of them.
_GTHREAD = ("-k", "gthread", "--threads", "110", "--worker-connections", "130")
_KEPT = ("--keep-alive", "60")
_UVICORN = ("-m", "uvicorn", "--port", "{port}", "--log-level", "warning")


def gthread(workers: int, *args: str) -> Kind:
    """gunicorn with so many workers of threads: the WSGI door."""
    started = (*_GUNICORN, *_GTHREAD, *_KEPT, "-w", str(workers), *args, "fleet_app:app")
    return Kind("".join(("gthread", *args)), started, needs=("gunicorn",))


def uvicorn(workers: int) -> Kind:
    """uvicorn with so many workers: the ASGI door."""
    started = (*_UVICORN, "--workers", str(workers), "--timeout-keep-alive", "60")
    return Kind("uvicorn", (*started, "fleet_app:asgi_app"), needs=("uvicorn",), asgi=True)


@dataclass(frozen=True)
class Event:
    """A line of the load log, in seconds of the host's monotonic clock."""

    what: str  # begin, end, asked
    name: str
    at: float
    pid: int


class Fleet(Server):
    """Workers of one server, and the log of their loads."""

    def __init__(self, kind: Kind, folder: Path, redis: str, **env: Any) -> None:
        folder.mkdir(exist_ok=True)
        texts = {f"FLEET_{name.upper()}": str(value) for name, value in env.items()}
        super().__init__(kind, folder, FLEET_REDIS=redis, **texts)
        self._log = folder / "loads.log"
        self._lines: list[Line] = []

    def __exit__(self, failed: object, *exc_info: object) -> None:
        for line in self._lines:
            line.close()
        super().__exit__(failed, *exc_info)

    def told(self, what: str, name: str | None = None) -> list[Event]:
        """What its loads have noted so far, in order of time."""
        text = self._log.read_text() if self._log.exists() else ""
        split = (line.split() for line in text.splitlines())
        events = [Event(kind, page, float(at), int(pid)) for kind, page, at, pid in split]
        found = (one for one in events if one.what == what and name in (None, one.name))
        return sorted(found, key=lambda one: one.at)

    def loads(self, name: str) -> list[Event]:
        """The loads of a page that have begun."""
        return self.told("begin", name)

    def await_told(self, what: str, name: str, count: int, limit: float = LIMIT) -> list[Event]:
        """Wait until so many lines were noted; returns them."""
        wait_until(
            lambda: len(self.told(what, name)) >= count,
            limit,
            lambda: f"{self.told(what, name)}, not {count}\n{self.aswr_log}\n{self.output}",
        )
        return self.told(what, name)

    def lines(self, workers: int, each: int = 1) -> "list[Line]":
        """Kept connections to so many workers, so many to each of them."""
        found: dict[int, list[Line]] = {}

        def enough() -> bool:
            # At once: of those that come one by one, a worker that is quick takes all.
            with ThreadPoolExecutor(CROWD) as pool:
                opened = list(pool.map(Line, [self] * CROWD))
            for line in opened:
                mine = found.setdefault(line.pid, [])
                if len(mine) < each:
                    mine.append(line)
                    self._lines.append(line)
                else:
                    line.close()
            return [len(mine) for mine in found.values()] == [each] * workers

        wait_until(enough, LIMIT, lambda: f"workers {list(found)}\n{self.output}")
        return [line for mine in found.values() for line in mine]


class Line:
    """A kept connection, and so one worker of a server. One thread at a time."""

    def __init__(self, server: Server) -> None:
        self._connection: HTTPConnection = server.connection(LIMIT)
        self.pid: int = self.get("/worker").json["pid"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, path: str) -> dict[str, Any]:
        """What a verb's page says."""
        answer = self.ask("POST", path)
        assert answer.status == 200, answer
        said: dict[str, Any] = json.loads(answer.body)
        return said

    def ask(self, method: str, path: str) -> Answer:
        began = time.monotonic()
        self._connection.request(method, path)
        response = self._connection.getresponse()
        body = response.read()
        return Answer(response.status, response.headers, body, time.monotonic() - began)


Outcome = Answer | Exception


def outcome(server: Server, path: str, number: int) -> Outcome:
    """An answer over a connection of its own, or why there is none."""
    try:
        return server.send("GET", path, headers={"X-Number": str(number)})
    except (OSError, http.client.HTTPException) as error:
        return error


def versions(answers: Iterable[Answer]) -> set[float]:
    """When the loads began whose answers these are."""
    return {answer.json["began"] for answer in answers}
