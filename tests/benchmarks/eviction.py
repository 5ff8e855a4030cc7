"""Compare the memory cache with other caches: ``python tests/benchmarks/eviction.py``.

Prints, per cache: the hit ratio on Zipf(0.9) requests, alone and mixed with scans (a fifth of all
requests is for keys that nobody asks for again), with room for 1% and for 10% of the keys;
nanoseconds per get (a key that is there) and per put (a new key, the cache full); the bytes that
an entry of 1 KiB takes beyond its body, as growth of the process. Other caches are bounded in
entries, ours in bytes, with room for the same number. Takes one to two minutes; ``--entries``
changes the size at which times are taken.
"""

import argparse
import gc
import importlib.util
import itertools
import multiprocessing
import random
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from aswr.memory import MemoryCache, entry_bytes

BODY = 1024
KEYS = 100_000
REQUESTS = 500_000
SCAN = 4  # requests per scanned key: one in five is for a scan


class Contestant(NamedTuple):
    """How to read (None: not there) and how to store."""

    get: Callable[[Any], Any]
    put: Callable[[Any, Any], Any]


def page(number: int) -> tuple[str, int]:
    return ("page", number)


def ours(entries: int) -> Contestant:
    cache = MemoryCache(entries * entry_bytes(page(0), BODY))
    return Contestant(cache.peek, lambda key, value: cache.put(key, value, BODY))


def ordered_dict(entries: int) -> Contestant:
    cache: OrderedDict[Any, Any] = OrderedDict()

    def get(key: Any) -> Any:
        if key in cache:
            cache.move_to_end(key)
            return cache[key]
        return None

    def put(key: Any, value: Any) -> None:
        cache[key] = value
        cache.move_to_end(key)
        if len(cache) > entries:
            cache.popitem(last=False)

    return Contestant(get, put)


def cachetools_lru(entries: int) -> Contestant:
    import cachetools

    cache: Any = cachetools.LRUCache(entries)
    return Contestant(cache.get, cache.__setitem__)


def theine_wtinylfu(entries: int) -> Contestant:
    import theine

    cache: Any = theine.Cache(entries)
    return Contestant(lambda key: cache.get(key)[0], cache.set)


def cachebox_lru(entries: int) -> Contestant:
    import cachebox

    cache: Any = cachebox.LRUCache(entries)
    return Contestant(cache.get, cache.insert)


def lru_dict(entries: int) -> Contestant:
    import lru

    cache: Any = lru.LRU(entries)
    return Contestant(cache.get, cache.__setitem__)


# name, the module it needs, how it is made
CONTESTANTS = (
    ("aswr (S3-FIFO)", "aswr", ours),
    ("OrderedDict LRU", "collections", ordered_dict),
    ("cachetools LRU", "cachetools", cachetools_lru),
    ("theine W-TinyLFU", "theine", theine_wtinylfu),
    ("cachebox LRU", "cachebox", cachebox_lru),
    ("lru-dict LRU", "lru", lru_dict),
)


def requests(scans: bool) -> list[tuple[str, int]]:
    """Zipf(0.9) over ``KEYS`` keys; with ``scans`` each run of 20,000 is followed by one of 5,000
    keys that come once."""
    rng = random.Random(1)
    weights = list(itertools.accumulate(rank**-0.9 for rank in range(1, KEYS + 1)))
    numbers = rng.choices(rng.sample(range(KEYS), KEYS), cum_weights=weights, k=REQUESTS)
    if not scans:
        return [page(number) for number in numbers]
    run, fresh = 20_000, itertools.count(KEYS)
    mixed: list[int] = []
    for start in range(0, REQUESTS, run):
        mixed += numbers[start : start + run]
        mixed += itertools.islice(fresh, run // SCAN)
    return [page(number) for number in mixed]


def hit_ratio(make: Callable[[int], Contestant], trace: list[Any], entries: int) -> float:
    """The share of requests that find their key; what is missing is put."""
    get, put = make(entries)
    hits = 0
    for key in trace:
        if get(key) is None:
            put(key, True)
        else:
            hits += 1
    return hits / len(trace)


def timed(call: Callable[..., Any], arguments: list[Any]) -> float:
    start = time.perf_counter()
    for args in arguments:
        call(*args)
    return (time.perf_counter() - start) / len(arguments) * 1e9


def batches(first: int, size: int) -> Iterator[list[tuple[Any, bool]]]:
    while True:
        yield [(page(number), True) for number in range(first, first + size)]
        first += size


def times(names: list[str], entries: int) -> dict[str, tuple[float, float]]:
    """Nanoseconds per get and put; the caches take turns, so that all see the same machine."""
    made = {name: make(entries) for name, _, make in CONTESTANTS if name in names}
    full = entries + entries // 10
    for contestant in made.values():
        for number in range(full):
            contestant.put(page(number), True)
    puts: dict[str, list[float]] = {name: [] for name in made}
    gets: dict[str, list[float]] = {name: [] for name in made}
    rng = random.Random(2)
    for batch in itertools.islice(batches(full, 5_000), 20):
        for name, contestant in made.items():
            puts[name].append(timed(contestant.put, batch))
            held = [(key,) for key, _ in batch if contestant.get(key) is not None]
            gets[name].append(timed(contestant.get, rng.choices(held or [(page(0),)], k=5_000)))
    return {name: (median(gets[name]), median(puts[name])) for name in made}


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def extra_bytes(name: str, entries: int = 50_000) -> float:
    """Growth of this process per entry of 1 KiB, without its body, after three turnovers."""
    make = next(make for known, _, make in CONTESTANTS if known == name)
    cache = make(entries)
    gc.collect()
    before = resident()
    for number in range(3 * entries):
        cache.put(page(number), bytes(BODY))
    gc.collect()
    grown = resident() - before
    held = sum(cache.get(page(number)) is not None for number in range(3 * entries))
    return grown / held - BODY


def measure_extra(names: list[str]) -> dict[str, float]:
    if not Path("/proc/self/statm").exists():
        print("no /proc here: bytes per entry are not measured")
        return {}
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, maxtasksperchild=1) as pool:
        return dict(zip(names, pool.map(extra_bytes, names, chunksize=1), strict=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=200_000)
    entries = parser.parse_args().entries
    names = []
    for name, module, _ in CONTESTANTS:
        if importlib.util.find_spec(module):
            names.append(name)
        else:
            print(f"{name}: skipped, {module} is not installed")
    extra = measure_extra(names)
    pace = times(names, entries)
    traces = [requests(scans=False), requests(scans=True)]
    print(f"hit ratios: {REQUESTS} requests, {KEYS} keys; times at {entries} entries")
    head = f"{'':18}{'zipf 1%':>9}{'10%':>8}{'+scan 1%':>10}{'10%':>8}"
    print(head + f"{'get ns':>9}{'put ns':>8}{'B/entry':>9}")
    for name, _, make in CONTESTANTS:
        if name not in names:
            continue
        ratios = [hit_ratio(make, trace, KEYS // part) for trace in traces for part in (100, 10)]
        widths = (9, 8, 10, 8)
        row = "".join(f"{ratio:>{width}.1%}" for ratio, width in zip(ratios, widths, strict=True))
        get, put = pace[name]
        more = f"{extra[name]:>9.0f}" if name in extra else f"{'-':>9}"
        print(f"{name:18}{row}{get:>9.0f}{put:>8.0f}{more}", flush=True)


if __name__ == "__main__":
    main()
