"""What loads cost, in one process: ``python tests/benchmarks/loads.py``.

A miss against the same view under plain Flask, which makes a loop and a thread for it; many stale
keys at once; a crowd at one cold key; many cold keys. The best of rounds in turn, since the machine
is shared. The event loop of the crowds is a foreign one, as a server's.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from flask import Flask, request
from hits import environ

from aswr import CacheManager

BODY = "x" * 1024
READS = 20


def ask(app: Flask, path: str, query: str = "") -> bytes:
    """The body of an answer, through ``app.wsgi_app``."""
    asked = environ(path) | {"QUERY_STRING": query}
    response = app.wsgi_app(asked, lambda *arguments: lambda data: None)
    body = b"".join(response)
    getattr(response, "close", int)()
    return body


def miss(rounds: int = 15, calls: int = 200) -> dict[str, float]:
    """Seconds that a miss takes by kind of view, and the ratio of the async one to plain Flask."""
    plain, app = Flask("plain"), Flask("cached")
    manager = CacheManager(app)

    async def view() -> str:
        return BODY

    def sync() -> str:
        return BODY

    plain.add_url_rule("/async", view_func=view)
    for path, function, public in (
        ("/async", view, False), ("/sync", sync, False), ("/public", view, True),
    ):  # fmt: skip
        app.add_url_rule(path, path, manager.cacher(3600, public=public)(function))
    contestants: dict[str, tuple[Flask, str]] = {
        "plain": (plain, "/async"), "async": (app, "/async"), "sync": (app, "/sync"),
        "public": (app, "/public"),
    }  # fmt: skip
    best = dict.fromkeys(contestants, float("inf"))
    for turn in range(rounds):
        for name, (contestant, path) in contestants.items():
            begun = time.perf_counter()
            for number in range(calls):
                assert len(ask(contestant, path, f"n={turn}-{number}")) == len(BODY)
            best[name] = min(best[name], (time.perf_counter() - begun) / calls)
    manager.close()
    return best | {"ratio": best["async"] / best["plain"]}


def stale(count: int = 10_000, kind: str = "memo") -> dict[str, Any]:
    """Seconds per key to revalidate so many at once, per hit meanwhile, and loads at a time.

    ``kind`` is "memo" or "view", async ones. Every tenth key is hot: ``hot_mean`` tells where, from
    0 to 1, these were in the order of loads; it is 0.5 where heat does not count.
    """
    now, app = [1e6], Flask("stale")
    manager = CacheManager(app, clock=lambda: now[0], max_bytes=2**28)
    began: list[int] = []
    most = under_way = 0

    async def load(number: int) -> str:
        nonlocal most, under_way
        under_way += 1
        most = max(most, under_way)
        began.append(number)
        await asyncio.sleep(0)
        under_way -= 1
        return BODY

    if kind == "memo":
        hit: Callable[[int], Any] = manager.memoize(100, refresh_margin=50)(load).sync
    else:
        app.add_url_rule("/<int:number>", "view", manager.cacher(100, refresh_margin=50)(load))

        def hit(number: int) -> Any:
            return ask(app, f"/{number}")

    with app.app_context():
        for number in range(count):
            hit(number)
        for number in range(0, count, 10):  # the hot ones
            for _ in range(3):
                hit(number)
        now[0] += 60
        began.clear()
        begun = time.perf_counter()
        for number in range(count):
            hit(number)
        hits = time.perf_counter() - begun
        assert manager.join(120)
        total = time.perf_counter() - begun
    assert len(began) == count
    manager.close()
    hot = [index for index, number in enumerate(began) if number % 10 == 0]
    return {
        "each": total / count,
        "hit": hits / count,
        "most": most,
        "hot_mean": _mean(hot) / count,
    }


def _mean(numbers: list[int]) -> float:
    return sum(numbers) / len(numbers)


def crowd(clients: int = 1000, load: float = 1.0) -> dict[str, float]:
    """Seconds until the last of a crowd at one cold public key has its answer, and loads."""
    return _cold(clients, 1, load)


def cold(keys: int = 1000, load: float = 1.0) -> dict[str, float]:
    """Seconds until so many cold public keys are all loaded, and threads."""
    return _cold(keys, keys, load)


def _cold(clients: int, keys: int, load: float) -> dict[str, float]:
    app = Flask("cold")
    manager = CacheManager(app)

    @app.get("/")
    @manager.cacher(100, public=True)
    async def view() -> str:
        for number in range(READS):
            request.headers.get(f"X-Header-{number}")
        await asyncio.sleep(load)
        return BODY

    site = manager._sites[app]
    loads = [site.load_of(f"/?n={number % keys}") for number in range(clients)]

    async def visit() -> tuple[float, int]:
        begun = time.perf_counter()
        await asyncio.gather(*(site.engine.afetch(load) for load in loads))
        return time.perf_counter() - begun, threading.active_count()

    seconds, threads = asyncio.run(visit())
    made = site.engine.stats()["loads"]
    manager.close()
    return {"seconds": seconds, "threads": threads, "loads": made}


def main() -> None:
    rows: dict[str, Callable[[], dict[str, Any]]] = {
        "miss": miss, "stale memo": stale, "stale view": lambda: stale(kind="view"),
        "crowd": crowd, "cold": cold,
    }  # fmt: skip
    for name in sys.argv[1:] or rows:
        figures = rows[name]()
        print(f"{name:12}", *(f"{what} {figure:.6g}" for what, figure in figures.items()), sep="  ")


if __name__ == "__main__":
    main()
