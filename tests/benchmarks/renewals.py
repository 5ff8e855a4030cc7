"""Ten thousand stale answers renewed at once: what each costs, in what order, and to whom else."""

import asyncio
import time
from collections.abc import Callable, Sequence
from statistics import median

from flask import Flask

from aswr import CacheManager

from .inprocess import BODY, answer, gets
from .processes import p99
from .rows import Outcome, Result, Row, benchmark

KEYS = 10_000
HOT = 100  # of these keys, used more than the others, and asked for last
ROUNDS = 3
MAX_LOADS = 32
HITS = 5_000
LIMIT = 60.0


class Shop:
    """An app with a page per number, whose time is moved by hand and whose loads can be held."""

    def __init__(self) -> None:
        self.app = Flask("shop")
        self.app.config["ASWR_MAX_LOADS"] = MAX_LOADS
        self.now = 1_000_000.0
        self.manager = CacheManager(self.app, clock=lambda: self.now)
        self.loaded: list[int] = []  # numbers, in the order in which their loads began
        self.at_once = self._under_way = 0
        self._open = asyncio.Event()
        self._open.set()
        cached = self.manager.cacher(100, refresh_margin=50)(self._page)
        self.app.add_url_rule("/page/<int:number>", "page", cached)
        self.app.add_url_rule("/other", "other", self.manager.cacher(10**9)(lambda: BODY))

    async def _page(self, number: int) -> str:
        self._loop = asyncio.get_running_loop()
        self.loaded.append(number)
        self._under_way += 1
        self.at_once = max(self.at_once, self._under_way)
        await self._open.wait()
        self._under_way -= 1
        return BODY

    def get(self, numbers: Sequence[int]) -> None:
        """GET each of these pages."""
        each = iter(numbers)
        gets(self.app, lambda: f"/page/{next(each)}")(len(numbers))

    def make_stale(self) -> None:
        """All are stale, were asked for, the hot ones last, and wait for their loads."""
        self.get([*range(KEYS - HOT, KEYS)] * 3)
        self.now += 60
        self.loaded.clear()
        self.at_once = 0
        self._loop.call_soon_threadsafe(self._open.clear)
        self.get(range(KEYS))
        until = time.monotonic() + LIMIT
        while len(self.loaded) < MAX_LOADS and time.monotonic() < until:
            time.sleep(0.01)

    def release(self) -> None:
        """Let the loads go on."""
        self._loop.call_soon_threadsafe(self._open.set)


def hit_times(shop: Shop, going: Callable[[], bool]) -> list[float]:
    """Microseconds of each of many hits on a page that is fresh, for as long as it goes on."""
    run, found = gets(shop.app, lambda: "/other"), []
    while len(found) < HITS and going():
        began = time.perf_counter()
        run(1)
        found.append((time.perf_counter() - began) * 1e6)
    return found


def meanwhile(shop: Shop) -> Result:
    """Hits before the loads begin, and while they go on in the other thread."""
    answer(shop.app, "/other")
    shop.make_stale()
    alone = hit_times(shop, lambda: True)
    shop.release()
    beside = hit_times(shop, lambda: len(shop.loaded) < KEYS)
    assert shop.manager.join(LIMIT)
    samples = {"meanwhile": beside, "alone": alone}
    figures = {
        f"{who} {name}": of(values)
        for who, values in samples.items()
        for name, of in (("p50", median), ("p99", p99))
    }
    return Result(median(beside) / median(alone), figures, "µs", samples)


@benchmark(
    "revalidate",
    Row(
        "10,000 stale memoized results revalidated at once, trivial load: each", "", 200, unit="µs"
    ),
    Row("10,000 stale answers of views, as well: each", "", 200, unit="µs"),
    Row("the same: loads at a time, `ASWR_MAX_LOADS` being 32", "", MAX_LOADS, unit="loads"),
    Row("the same: of the 100 hottest, loaded before all others", "", 100, unit="%", at_least=True),
    Row("the same: p50 of in-app hits meanwhile", "hits with nothing else to do", 1.25),
)
def revalidate() -> Sequence[Outcome]:
    """Async functions, and in-app async views, that only return.

    The views' loads are held until all are asked for. The first ones are under way by then, as many
    as may be; the order is that of the others.
    """
    from . import loads

    results = [loads.stale(KEYS, "memo")["each"] * 1e6 for _ in range(ROUNDS)]
    shop = Shop()
    shop.get(range(KEYS))
    each, order, most = [], [], 0
    for _ in range(ROUNDS):
        shop.make_stale()
        held = len(shop.loaded)
        began = time.perf_counter()
        shop.release()
        assert shop.manager.join(LIMIT)
        each.append((time.perf_counter() - began) / (KEYS - held) * 1e6)
        first = shop.loaded[held : held + HOT]
        order.append(100 * sum(number >= KEYS - HOT for number in first) / HOT)
        most = max(most, shop.at_once)
        assert len(shop.loaded) == KEYS
    hits = meanwhile(shop)
    shop.manager.close()
    return [
        Result(min(results), {"best": min(results)}, "µs", {"best": results}),
        Result(min(each), {"best": min(each)}, "µs", {"best": each}),
        Result(most), Result(min(order)), hits,
    ]  # fmt: skip
