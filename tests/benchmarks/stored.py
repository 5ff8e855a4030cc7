"""What the memory holds, and what it costs there: hits among many entries, bytes, insertion."""

import itertools
import random
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from flask import Flask

from aswr import CacheManager

from .inprocess import BODY, answer, gets
from .pace import Run, in_turn, times
from .rows import Missing, Outcome, Result, Row, benchmark

HOUR = 3600
MANY, FEW = 1_000_000, 1_000
MIB = 1024 * 1024


def filled(entries: int, public: bool) -> Run:
    """Hits on random ones of so many URLs; but for the first, none was ever rendered."""
    app = Flask("items")
    manager = CacheManager(app, max_bytes=4096 * MIB)
    view = manager.cacher(HOUR, public=public)(lambda number: f"{number}{BODY}"[: len(BODY)])
    app.add_url_rule("/item/<int:number>", "item", view)
    _, body = answer(app, "/item/0")
    store = manager._sites[app].engine.store
    (key,) = store.memory.keys()
    entry = store.peek(key)
    for number in range(1, entries):
        assert store.publish(key._replace(path=f"/item/{number}"), entry)
    assert answer(app, f"/item/{entries - 1}")[1] == body  # a load would have made another
    rng = random.Random(1)
    paths = itertools.cycle([f"/item/{rng.randrange(entries)}" for _ in range(100_000)])
    return gets(app, lambda: next(paths))


@benchmark(
    "entries",
    Row("in-app hit with 1,000,000 entries stored", "with 1,000", 1.3),
    Row("WSGI door hit with 1,000,000 entries stored", "with 1,000", 1.3),
)
def entries() -> Sequence[Outcome]:
    """Random URLs: what is far apart in memory is slower than what the processor has at hand."""

    def measured(public: bool) -> Outcome:
        found = in_turn({f"{number:,}": filled(number, public) for number in (MANY, FEW)})
        return times(found, f"{MANY:,}", f"{FEW:,}")

    return [measured(public) for public in (False, True)]


@benchmark(
    "memory",
    Row("memory per 1 KiB entry, above the body, as `tracemalloc` has it", "", 700, unit="bytes"),
    Row("the same, resident, after everything was turned over", "", 700, unit="bytes"),
    Row("the process's growth at the bound, off `max_bytes` by", "", 5, unit="%"),
)
def entry_memory() -> Sequence[Outcome]:
    """Pages as renders make them. Resident memory has what the allocator rounds up, too."""
    if not Path("/proc/self/statm").exists():
        raise Missing("no /proc on this machine")
    from . import memory

    # First, while the process has nothing to give back.
    grown, _, counted = memory.taken("page", 64 * MIB, 3)
    _, traced, _ = memory.taken("page", 256 * MIB, 0)
    figures = {"resident": grown, "counted": counted}
    return [
        Result(traced - memory.BODY),
        Result(grown - memory.BODY, figures, "bytes"),
        Result(100 * abs(grown / counted - 1)),  # the cache is full: counted is `max_bytes`
    ]


@benchmark(
    "insert",
    Row("insert with eviction, steady state at 1,000,000 entries", "a plain LRU dict", 3.0),
)
def insert() -> Sequence[Outcome]:
    """New keys into a full cache, of the kind of key that does worst beside `OrderedDict`."""
    from . import memory

    found = {kind: memory.insertion(kind, MANY) for kind in memory.KEYS}
    ratios = {kind: of["aswr"] / of["LRU dict"] for kind, of in found.items()}
    figures = {f"{who}, {kind}": ns for kind, of in found.items() for who, ns in of.items()}
    return [Result(max(ratios.values()), figures, "ns")]


@benchmark(
    "ratio",
    Row("hit ratio, Zipf(0.9) with scans, at 1% and 10% of the keys: the worse", "LRU", 1.0,
        at_least=True),
    Row("the same", "theine, a W-TinyLFU library", 0.97, at_least=True),
)  # fmt: skip
def hit_ratios() -> Sequence[Outcome]:
    """The same requests to each, with room for the same number of entries."""
    from . import eviction

    makes = {"aswr": eviction.ours, "LRU": eviction.ordered_dict}
    if find_spec("theine"):
        makes["theine"] = eviction.theine_wtinylfu
    trace = eviction.requests(scans=True)
    found = {
        name: [100 * eviction.hit_ratio(make, trace, eviction.KEYS // part) for part in (100, 10)]
        for name, make in makes.items()
    }

    def beside(peer: str) -> Outcome:
        if peer not in found:
            return Missing(f"no {peer} here")
        figures = {
            f"{who} at {part}": ratio
            for who in ("aswr", peer)
            for part, ratio in zip(("1%", "10%"), found[who], strict=True)
        }
        ratios = [own / other for own, other in zip(found["aswr"], found[peer], strict=True)]
        return Result(min(ratios), figures, "%")

    return [beside("LRU"), beside("theine")]
