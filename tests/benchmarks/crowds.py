"""Many clients at once on loads of a second, and what a load in the background costs the others.

The crowd is a thousand sockets of one asyncio client: they connect first, since how fast a server
accepts is not the question, then all of them send, and each is timed from the first one's sending
to its own last byte.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from .pace import paired
from .processes import Server, gunicorn, p99, paced, uvicorn
from .rows import Outcome, Result, Row, benchmark

CLIENTS = 1000
FEW = 10
TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Crowd:
    """What happened to a crowd: seconds of each client, loads, the server's threads at most."""

    seconds: list[float]
    loads: int
    threads: int


async def _one(reader: asyncio.StreamReader, began: float) -> float:
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    length = head.lower().partition(b"content-length:")[2].split()[0]
    await reader.readexactly(int(length))
    return time.perf_counter() - began


async def _get(server: Server, path: str) -> bytes:
    """The body of one answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n\r\n")[2]


async def _crowd(server: Server, paths: Sequence[str]) -> Crowd:
    """A client for each path; how many threads is seen ten times a second."""
    loads = int(await _get(server, "/loads"))
    opened = [await asyncio.open_connection("127.0.0.1", server.port) for _ in paths]
    began = time.perf_counter()
    for path, (_, writer) in zip(paths, opened, strict=True):
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    answers = asyncio.gather(*(_one(reader, began) for reader, _ in opened))
    threads = [server.threads()]
    while not answers.done():
        await asyncio.wait([answers], timeout=0.1)
        threads.append(server.threads())
    seconds = answers.result()
    for _, writer in opened:
        writer.close()
    return Crowd(seconds, int(await _get(server, "/loads")) - loads, max(threads))


def crowd(server: Server, *paths: str) -> Crowd:
    """GET all of them at the same time."""
    return asyncio.run(asyncio.wait_for(_crowd(server, paths), TIMEOUT))


def result(few: Crowd, many: Crowd, value: float) -> Result:
    """A value beside the seconds that clients waited."""
    samples = {f"{FEW} clients": few.seconds, f"{CLIENTS:,}": many.seconds}
    return Result(value, {f"{who} p50": median(of) for who, of in samples.items()}, "s", samples)


@benchmark(
    "crowd",
    Row("1,000 clients on one cold `public` key, ASGI door: the slowest",
        "one load, 1 s", 1.3, unit="s"),
    Row("the same: loads", "", 1, unit="loads"),
    Row("the same: more threads than for 10 clients", "", 4, unit="threads"),
)  # fmt: skip
def one_key() -> Sequence[Outcome]:
    """One URL that nobody asked for before, awaited by all."""
    with uvicorn("asgi_app") as server:
        few = crowd(server, *["/slow/1"] * FEW)
        many = crowd(server, *["/slow/2"] * CLIENTS)
    slowest = result(few, many, max(many.seconds))
    return [slowest, Result(many.loads), Result(many.threads - few.threads)]


@benchmark(
    "cold",
    Row("1,000 distinct cold keys, `public`, ASGI door: the slowest",
        "one load, 1 s", 3.0, unit="s"),
    Row("the same: threads of the server", "", 100, unit="threads"),
)  # fmt: skip
def many_keys() -> Sequence[Outcome]:
    """A thousand URLs; at most `ASWR_THREADS` (64) and the executor's threads are there."""
    with uvicorn("asgi_app") as server:
        few = crowd(server, *(f"/slow/{number}" for number in range(FEW)))
        many = crowd(server, *(f"/slow/{number}" for number in range(FEW, FEW + CLIENTS)))
    assert many.loads == CLIENTS
    return [result(few, many, max(many.seconds)), Result(many.threads)]


KINDS = ("async", "sync")
RATE = 400  # per second: a tenth of what the slower server can do, so that nothing queues
ROUNDS = 10


def tail(server: Server, where: str) -> Result:
    """Fresh answers, then ones that are stale and being renewed, in turn, second by second.

    Both views behind the stale URLs wait for a second, one with `asyncio.sleep` and one with
    `time.sleep`, and are stale again a tenth of a second after that: one load of each kind is
    nearly always on its way, and nearly all answers are stale ones.
    """
    paths = {life: [f"/{where}/{life}/{kind}" for kind in KINDS] for life in ("fresh", "stale")}
    crowd(server, *paths["fresh"], *paths["stale"])
    found: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for life, of_life in paths.items():
            taken = [seconds * 1e3 for seconds in paced(server.port, of_life, RATE, 1)]
            found.setdefault(f"{life} p99", []).append(p99(taken))
            found.setdefault(f"{life} p50", []).append(median(taken))
        time.sleep(1.1)  # until the last load is over
    result = paired(found, "stale p99", "fresh p99", "ms")
    middles = {name: median(values) for name, values in found.items()}
    return replace(result, figures=middles, samples=found)


@benchmark(
    "tail",
    Row("p99 while 1 s loads run (async and sync), ASGI door, uvicorn", "all fresh", 1.25),
    Row("the same, in-app, gunicorn gthread", "all fresh", 1.25),
)
def tails() -> Sequence[Outcome]:
    """400 requests per second, half of them for a page whose load is `async`, half for a sync."""
    with uvicorn("asgi_app") as server:
        at_the_door = tail(server, "door")
    with gunicorn("app") as server:
        in_app = tail(server, "in-app")
    return [at_the_door, in_app]
