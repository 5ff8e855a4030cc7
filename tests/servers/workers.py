"""Workers of one fleet in one process: each is an app with a manager of its own, over one Redis.

What they share is the event loop's thread, so no load here may block it. A `Worker` serves a few
pages and counts its loads; `Workers` are several of them, with one list of loads, closed together.
"""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import redis
from flask import Flask, Response, abort, request

from aswr import CacheManager

from .harness import wait_until

LIMIT = 10.0  # seconds for what should be soon
# A busy machine is no outage; where one is tested, it is noticed as early as by default, or nearly.
PATIENT = {"ASWR_STORE_TIMEOUT": 4.0, "ASWR_PROPAGATION": 8.0}
SILENCE: dict[str, Any] = {"ASWR_STORE_TIMEOUT": 0.5, "ASWR_PROPAGATION": 1.0}
_numbers = itertools.count()

Define = Callable[["Worker"], None]


class Worker:
    """An app and its manager. ``define`` may add pages and functions of a test's own."""

    def __init__(
        self,
        all_of_them: "Workers",
        cache: Any,
        clock: Callable[[], float] = time.time,
        define: Define | None = None,
        **config: Any,
    ) -> None:
        self.all = all_of_them
        self.app = Flask(all_of_them.name)
        self.app.config.update({"SECRET_KEY": "secret", **PATIENT, **config})
        self.manager = CacheManager(self.app, cache=cache, clock=clock)
        self.functions: dict[str, Any] = {}
        self._define()
        if define is not None:
            define(self)

    def count(self, name: str) -> str:
        """Count a load; the name, and how many of it there were by now in all workers."""
        return self.all.count(name)

    def _define(self) -> None:
        app, cacher = self.app, self.manager.cacher

        def tags(response: Response) -> tuple[str, ...]:
            return ("all", f"tag-{request.path.rpartition('/')[2]}")

        @app.get("/page/<name>")
        @cacher(timeout=60, refresh_margin=30, tags=tags)
        async def page(name: str) -> str:
            return self.count(name)

        @app.get("/slow/<name>")
        @cacher(timeout=60, refresh_margin=30)
        async def slow(name: str) -> str:
            answer = self.count(name)
            await asyncio.sleep(0.4)
            return answer

        @app.get("/tongue/<name>")
        @cacher(timeout=60, refresh_margin=30)
        async def tongue(name: str) -> str:
            return f"{request.headers.get('Accept-Language')} {self.count(name)}"

        @app.get("/large/<name>")
        @cacher(timeout=60, refresh_margin=30)
        async def large(name: str) -> str:
            return self.count(name) + " and so on" * 10_000

        @app.get("/corner/<name>")
        @cacher(timeout=60, refresh_margin=30)
        async def corner(name: str) -> str:
            if name == "late":
                await asyncio.sleep(0.3)
            who = request.cookies.get("who", "nobody")
            answer = self.count(name)
            await asyncio.sleep(0.4)
            return f"{who} {answer}"

        @app.get("/unstored/<name>")
        @cacher(timeout=60, refresh_margin=30, store_if=lambda response: False)
        async def unstored(name: str) -> str:
            answer = self.count(name)
            await asyncio.sleep(0.4)
            return answer

        @app.get("/failing/<name>")
        @cacher(timeout=60, refresh_margin=30)
        async def failing(name: str) -> str:
            self.count(name)
            await asyncio.sleep(0.4)
            abort(503)

    def ask(self, path: str, **headers: str) -> Any:
        """The answer; ``Accept_Language="de"`` is a header."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.app.test_client(use_cookies=False).get(path, headers=fields)

    def get(self, path: str, **headers: str) -> str:
        """The body of an answer, which must be a 200."""
        response = self.ask(path, **headers)
        assert response.status_code == 200, (path, response.status, response.text)
        text: str = response.text
        return text

    def wait_for(self, path: str, holds: Callable[[str], bool], limit: float = LIMIT) -> float:
        """Ask until the body is as it should be; the seconds that it took."""
        began, bodies = time.monotonic(), [""]

        def right() -> bool:
            bodies.append(self.get(path))
            return holds(bodies[-1])

        wait_until(right, limit, lambda: f"{path} answers {bodies[-1]!r}, {self.stats}")
        return time.monotonic() - began

    @property
    def stats(self) -> dict[str, int]:
        return self.manager.stats()

    @property
    def reachable(self) -> bool:
        """Has it a store that answers?"""
        return bool(self.stats.get("store_reachable"))

    def wait_reachable(self, answers: bool = True, limit: float = LIMIT) -> None:
        """Wait until its store answers, or does not."""
        wait_until(lambda: self.reachable is answers, limit, lambda: str(self.stats))

    def settle(self) -> None:
        """Wait until all its loads are over and saved."""
        assert self.manager.join(LIMIT), f"loads go on: {self.stats}"

    def close(self) -> None:
        self.manager.close(timeout=0.5)


class Workers:
    """Several workers, one for each cache; the options are for each of them."""

    def __init__(self, *caches: Any, name: str = "", **options: Any) -> None:
        self.name = name or f"shop{next(_numbers)}"
        self.loads: list[str] = []
        self._lock = threading.Lock()
        self._workers: list[Worker] = []
        self._options = options
        for cache in caches:
            self.join(cache)

    def join(self, cache: Any, **more: Any) -> Worker:
        """One more worker."""
        worker = Worker(self, cache, **{**self._options, **more})
        self._workers.append(worker)
        return worker

    def count(self, name: str) -> str:
        with self._lock:
            self.loads.append(name)
            return f"{name} {self.loads.count(name)}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for worker in self._workers:
            worker.close()

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._workers)

    def __len__(self) -> int:
        return len(self._workers)

    def settle(self) -> None:
        """Wait until all their loads are over and saved."""
        for worker in self:
            worker.settle()

    def connect(self) -> None:
        """Have every worker connected to its store."""
        for worker in self:
            worker.get("/page/to-connect")
            worker.wait_reachable()
        self.settle()

    def warm_one(self, worker: Worker, *paths: str) -> None:
        """Have these pages in the memory of one worker, and in the store."""
        for path in paths:
            worker.get(path)
            worker.settle()

    def warm(self, *paths: str) -> None:
        """Have these pages in the memory of every worker, fresh and not in doubt."""
        self.connect()
        for path in paths:
            for worker in self:
                self.warm_one(worker, path)
            bodies = {worker.get(path) for worker in self}
            self.settle()
            assert len(bodies) == 1, bodies


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """The results of calls that begin together."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(30) for future in [pool.submit(call) for call in calls]]


def keys_of(client: redis.Redis, pattern: str = "*") -> list[bytes]:
    """The keys that a server has, sorted."""
    return sorted(client.scan_iter(pattern, count=1000))


def entries_of(client: redis.Redis, app: str) -> list[bytes]:
    """The keys of an app's entries, sorted."""
    return [key for key in keys_of(client, f"*aswr:{app}:*") if key.endswith(b"}")]


def soonest(times: Sequence[float]) -> float:
    """The best of several: what the code takes, less what the machine was busy with."""
    return min(times)
