"""What a call of a memoized function costs, beside other caches' decorators."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from flask import Flask

from aswr import CacheManager

from .pace import Run, in_turn, times
from .rows import Missing, Outcome, Row, benchmark

HOUR = 3600


def memoized(app: Flask) -> dict[str, Callable[[int], Any]]:
    """A function of a number, under each cache; ours is that of the app."""
    try:
        import advanced_caching
        import aiocache
        import cashews
    except ImportError as error:
        raise Missing(f"no {error.name} here") from None
    manager = CacheManager(app)
    other = cashews.Cache()
    other.setup("mem://")

    async def double(number: int) -> int:
        return 2 * number

    return {
        "aswr": manager.memoize(HOUR)(double),
        "advanced-caching": advanced_caching.cache(HOUR, key="double:{}")(double),
        "aiocache": aiocache.cached(ttl=HOUR)(double),
        "cashews": other(ttl=HOUR, key="double:{number}")(double),
    }


@benchmark(
    "memo",
    Row("`await memoized(x)` hit", 'advanced-caching `@cache(key="double:{}")`', 1.0),
    Row("the same", "aiocache `@cached`", 1 / 25),
    Row("the same", "cashews `@cache`", 1 / 25),
)
def memo() -> Sequence[Outcome]:
    """Hits of one memoized function, on one loop."""
    app = Flask("aswr")
    with asyncio.Runner() as runner:

        def calling(function: Callable[[int], Any]) -> Run:
            async def repeat(calls: int) -> None:
                for _ in range(calls):
                    await function(21)

            def run(calls: int) -> None:
                runner.run(repeat(calls))

            runner.run(repeat(1))
            return run

        runs = {name: calling(function) for name, function in memoized(app).items()}
        found = in_turn(runs)
    return [times(found, "aswr", peer) for peer in ("advanced-caching", "aiocache", "cashews")]
