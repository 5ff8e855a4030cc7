"""A soak at each door: all kinds of requests at once for a while, and nothing is left behind.

``ASWR_SOAK_SECONDS`` makes it longer than its 24 seconds a door. After the first third the memory
is full and all threads are there: from then on nothing may grow.
"""

import asyncio
import contextlib
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .harness import wait_until
from .ways import ASGI_DOOR, HOST, WSGI_DOOR, Site, Way

SECONDS = float(os.environ.get("ASWR_SOAK_SECONDS", "24"))
CLIENTS = 16
PACE = 4.0  # the server's seconds in one of ours
MAX_BYTES = 1 << 20
# What is bounded, but not full after a third: what is remembered of URLs, of header lines, of keys
# that were displaced. Thousands of loads follow; a leak of a body each would be twice as much.
MORE_KILOBYTES = 6_000
# Pools grow when by chance all of their threads are at work. What else is new was about to end.
MORE_OTHERS = {"threads": 8, "files": 2, "tasks": 2}

Headers = dict[str, str]


@dataclass
class Client:
    """One visitor after the other on a kept connection; what they saw goes into ``seen``."""

    port: int
    dice: random.Random
    seen: Counter[str]
    number: int
    _asked: int = 0
    _reader: asyncio.StreamReader | None = None
    _writer: asyncio.StreamWriter | None = None

    async def run(self, until: float) -> None:
        """Ask for this and that."""
        kinds: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (40, self.hot), (8, self.new), (8, self.old), (8, self.variant), (5, self.person),
            (5, self.purge), (5, self.condition), (5, self.coded), (4, self.failure),
            (4, self.inside), (4, self.leaves_while_waiting), (2, self.leaves_while_reading),
            (2, self.body),
        ]  # fmt: skip
        weights, acts = zip(*kinds, strict=True)
        while time.monotonic() < until:
            act = self.dice.choices(acts, weights)[0]
            async with asyncio.timeout(10):
                await act()
            self.seen[act.__name__] += 1
        self.close()

    # The kinds of requests.

    async def hot(self) -> None:
        page = self.dice.choice(["soak", "soak-def"])
        await self.named(f"/public/{page}/hot{int(self.dice.paretovariate(1)) % 50}")

    async def new(self) -> None:
        """A URL that nobody has asked for."""
        self._asked += 1
        await self.named(f"/public/soak/new?n={self.number}-{self._asked}")

    async def old(self) -> None:
        """One of so many that most have been displaced or have expired."""
        number = self.dice.randrange(2000)
        await self.named(f"/public/soak-def/old{number % 50}?n={number}")

    async def variant(self) -> None:
        odd = str(self.dice.randrange(200))
        await self.named(f"/public/soak/hot{self.dice.randrange(3)}", {"X-Odd": odd}, odd)

    async def person(self) -> None:
        me = str(self.dice.random())
        await self.named("/public/soak-def/hot1", {"Cookie": f"who={me}"}, me)

    async def purge(self) -> None:
        path = f"/public/soak/hot{self.dice.randrange(50)}"
        status, _ = await self.ask("POST", path, body=b"x=1")
        assert status == 200

    async def condition(self) -> None:
        fields = self.dice.choice([{"If-None-Match": "*"}, {"Range": "bytes=0-9"}])
        status, _ = await self.ask("GET", "/public/soak/hot1", fields)
        assert status in (304, 206)
        status, body = await self.ask("HEAD", "/public/soak/hot1")
        assert (status, body) == (200, b"")

    async def coded(self) -> None:
        coding = self.dice.choice(["gzip", "br", "zstd", "identity"])
        status, _ = await self.ask("GET", "/public/soak-long/hot", {"Accept-Encoding": coding})
        assert status == 200

    async def failure(self) -> None:
        page = self.dice.choice(["soak", "soak-def"])
        status, body = await self.ask("GET", f"/public/{page}/bad{self.dice.randrange(200)}")
        assert (status, body) == (500, b"our own page")

    async def inside(self) -> None:
        await self.named(f"/inside/soak/hot{self.dice.randrange(50)}")

    async def body(self) -> None:
        status, body = await self.ask("POST", "/inside/body/soak", body=b"x" * 100_000)
        assert (status, len(body) > 100_000) == (200, True)

    async def leaves_while_waiting(self) -> None:
        path = f"/public/soak-slow/{self.dice.randrange(100)}"
        await self.send("GET", path, {}, b"")
        await asyncio.sleep(self.dice.random() * 0.1)
        self.close()

    async def leaves_while_reading(self) -> None:
        await self.send("GET", "/public/big/soak", {}, b"")
        assert self._reader is not None
        await self._reader.readexactly(10_000)
        self.close()

    # HTTP.

    async def named(self, target: str, fields: Headers | None = None, more: str = "None") -> None:
        """A page that says whose it is: nobody may get another one."""
        status, body = await self.ask("GET", target, fields)
        path, _, query = target.partition("?")
        assert (status, body.decode()) == (200, f"{path}?{query} {more}\n" * 20)

    async def ask(
        self, method: str, target: str, fields: Headers | None = None, body: bytes = b""
    ) -> tuple[int, bytes]:
        """Status and body of an answer, which has a Content-Length if it has a body."""
        await self.send(method, target, fields or {}, body)
        assert self._reader is not None
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        answer = b""
        if method != "HEAD" and status != 304:
            length = int(head.partition("\r\ncontent-length: ")[2].partition("\r\n")[0])
            answer = await self._reader.readexactly(length)
        if "\r\nconnection: close" in head:
            self.close()
        return status, answer

    async def send(self, method: str, target: str, fields: Headers, body: bytes) -> None:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = {"Host": HOST, **fields, **({"Content-Length": str(len(body))} if body else {})}
        head = [f"{method} {target} HTTP/1.1", *(f"{n}: {v}" for n, v in lines.items()), "", ""]
        self._writer.write("\r\n".join(head).encode() + body)

    def close(self) -> None:
        """Leave at once, whatever is still to come."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None


@dataclass
class Soak:
    """A site under load; ``seen``: how many requests of each kind there were."""

    site: Site
    seen: Counter[str] = field(default_factory=Counter)
    rounds: int = 0

    def load(self, seconds: float) -> None:
        """Ask from all sides for so long, while the server's time goes fast."""
        asyncio.run(self._load(seconds))

    async def _load(self, seconds: float) -> None:
        self.rounds += 1
        until = time.monotonic() + seconds
        port = self.site.server.port
        numbers = range(self.rounds * CLIENTS, (self.rounds + 1) * CLIENTS)
        clients = [Client(port, random.Random(n), self.seen, n) for n in numbers]
        async with asyncio.TaskGroup() as group:
            clock = group.create_task(self._let_time_pass())
            async with asyncio.TaskGroup() as visitors:
                for client in clients:
                    visitors.create_task(client.run(until))
            clock.cancel()

    async def _let_time_pass(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(0.05)
                self.site.tick(0.05 * PACE)

    def weigh(self) -> dict[str, float]:
        """What the idle process holds, by medians."""
        wait_until(self._idle, 10, lambda: str(self.stats()))
        time.sleep(1)  # for connections that were left to be noticed
        samples = [self.site.server.get("/weight").json for _ in range(5)]
        return {name: statistics.median(s[name] for s in samples) for name in samples[0]}

    def _idle(self) -> bool:
        stats = self.stats()
        return not (stats["flights"] or stats["waiting"] or stats["queued"])

    def stats(self) -> dict[str, int]:
        stats: dict[str, int] = self.site.server.get("/stats").json
        return stats


@pytest.mark.timeout(SECONDS * 2 + 60)
@pytest.mark.parametrize("way", [WSGI_DOOR, ASGI_DOOR], ids=str)
def test_nothing_is_left_behind(way: Way, tmp_path: Path) -> None:
    """Hits, misses, refreshes, purges, errors and clients that leave: nothing grows, none fails."""
    with Site(way, tmp_path, DOORS_MAX_BYTES=str(MAX_BYTES)) as site:
        soak = Soak(site)
        soak.load(SECONDS / 3)
        before = soak.weigh()
        assert soak.stats()["evictions"] > 0, "the memory is not full yet"
        soak.load(SECONDS * 2 / 3)
        after, stats = soak.weigh(), soak.stats()
        print(before, after, stats, soak.seen, sep="\n")  # for who runs it with -rP
        assert after["kilobytes"] - before["kilobytes"] < MORE_KILOBYTES
        for name, more in MORE_OTHERS.items():
            assert after[name] - before[name] <= more, (name, before, after)
        assert stats["bytes"] <= MAX_BYTES
        assert min(stats[name] for name in ("hits", "stale_hits", "misses", "passes")) > 50
        assert "ERROR" not in site.server.aswr_log
