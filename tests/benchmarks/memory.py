"""What the store costs by itself: ``python tests/benchmarks/memory.py [entries]``.

Per kind of entry: bytes above a value of 1 KiB, as growth of the process, by Python's own count and
by the cache's, with room to spare and at the bound after everything was turned over twice. Per kind
of key: nanoseconds per put with eviction, against an `OrderedDict` used as an LRU, and per peek,
among 1,000 entries and among all. Takes about two minutes for 1,000,000 entries; the best or the
median of rounds in turn, since the machine is shared.
"""

import gc
import itertools
import multiprocessing
import random
import sys
import time
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))

from aswr.codec import Answer, Entry, size_of
from aswr.kept import size_of_key
from aswr.keys import CallKey, VariantKey, ViewKey
from aswr.memory import ENTRY_OVERHEAD, MemoryCache
from aswr.store import Store

BODY = 1024
NAMES = ("header Accept-Language",)
Put = Callable[[Hashable, object], object]


def url(number: int) -> ViewKey:
    return ViewKey("shop:item", "", f"/item/{number}", "", "", ())


KEYS: dict[str, Callable[[int], Hashable]] = {
    "str": lambda number: f"/item/{number}",
    "CallKey": lambda number: CallKey("shop:price", (("int", number),)),
    "ViewKey": url,
}


def page(store: Store, number: int, value: object = None) -> Entry:
    """An entry as a render makes it: but for the names of fields, no object is another's."""
    body = b"%0*d" % (BODY, number)
    headers = (
        ("Content-Type", "text/html; " + f"charset={'utf-8'}"), ("Content-Length", str(len(body))),
        ("Cache-Control", f"private, {'no-cache'}"), ("ETag", f'W/"{number:032x}"'),
    )  # fmt: skip
    now = time.time()
    return Entry(
        value=value or Answer(200, headers, body, ("Cache-Control", "ETag")), stored=now,
        fresh_until=now + 2700, stale_until=now + 3600, error_until=now + 3600.0,
        born=store.stamps.tick(), cost=now / 1e12, size=size_of(value) if value else len(body),
    )  # fmt: skip


def publish_page(store: Store, number: int) -> None:
    store.publish(url(number), page(store, number))


def publish_variant(store: Store, number: int) -> None:
    """A page that reads a header: its URL has a note, and one variant."""
    entry = page(store, number)
    note = Entry(
        value=None, stored=entry.stored, fresh_until=entry.stored, stale_until=entry.stored,
        error_until=entry.stored, born=entry.born, names=NAMES,
    )  # fmt: skip
    store.publish(url(number), note)
    store.publish(VariantKey(url(number), NAMES, ("en",)), entry)


def publish_result(store: Store, number: int) -> None:
    store.publish(KEYS["CallKey"](number), page(store, number, f"{number:0{BODY}}"))


KINDS = {"page": publish_page, "page, one variant": publish_variant, "result": publish_result}


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def taken(kind: str, max_bytes: int, turnovers: int) -> tuple[float, float, float]:
    """Bytes per value: resident, as Python counts (0 where it did not), as the cache counts."""
    publish, store = KINDS[kind], Store(time.time, max_bytes)
    for number in range(100):
        publish(store, number)
    if not turnovers:
        tracemalloc.start()
    before, counted, held = resident(), store.memory.bytes, len(store.memory)
    traced = tracemalloc.get_traced_memory()[0] if not turnovers else 0
    puts = 50_000 if not turnovers else 2 * turnovers * max_bytes // (BODY + 800)
    for number in range(100, puts):
        publish(store, number)
    if turnovers:
        counted = held = 0  # the first ones are gone
    values = (len(store.memory) - held) / (2 if "variant" in kind else 1)
    if not turnovers:
        gc.collect()
        traced = tracemalloc.get_traced_memory()[0] - traced
        tracemalloc.stop()
    grown = resident() - before
    return tuple(total / values for total in (grown, traced, store.memory.bytes - counted))  # type: ignore


def put_into(entries: int, make: Callable[[int], Hashable]) -> Put:
    """Our cache with room for so many values of 1 KiB; sizes of keys as the store tells them."""
    key_size = size_of_key(make(entries))
    cache = MemoryCache(entries * (BODY + ENTRY_OVERHEAD + key_size))
    put = cache.put
    return lambda key, value: put(key, value, BODY, key_size=size_of_key(key))


def put_into_lru(entries: int) -> Put:
    cache: OrderedDict[Hashable, object] = OrderedDict()

    def put(key: Hashable, value: object) -> None:
        cache[key] = value
        cache.move_to_end(key)
        if len(cache) > entries:
            cache.popitem(last=False)

    return put


def insertion(kind: str, entries: int) -> dict[str, float]:
    """Nanoseconds per put of a new key, both full, in turn."""
    puts = {"aswr": put_into(entries, KEYS[kind]), "LRU dict": put_into_lru(entries)}
    numbers = itertools.count()
    spent: dict[str, list[float]] = {name: [] for name in puts}
    for size in [entries + entries // 10] + 20 * [20_000]:
        keys = [KEYS[kind](number) for number in itertools.islice(numbers, size)]
        for name, put in puts.items():
            begun = time.perf_counter()
            for key in keys:
                put(key, None)
            spent[name].append((time.perf_counter() - begun) / size * 1e9)
    return {name: median(times[1:]) for name, times in spent.items()}


def peeks(entries: int) -> dict[str, float]:
    """Nanoseconds per `Store.peek` of one page, of random ones of 1,000, and of all."""
    store = Store(time.time, 2**40)
    entry = page(store, 0)
    for number in range(entries):
        store.publish(url(number), entry)
    rng, found = random.Random(1), {}
    for among in (1, 1000, entries):
        keys = [url(rng.randrange(among)) for _ in range(20_000)]
        best = float("inf")
        for _ in range(7):
            begun = time.perf_counter()
            for key in keys:
                store.peek(key)
            best = min(best, (time.perf_counter() - begun) / len(keys) * 1e9)
        found[f"{among:,}"] = best
    return found


def main() -> None:
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, maxtasksperchild=1) as pool:  # each in a process of its own
        for kind in KINDS:
            python = pool.apply(taken, (kind, 2**40, 0))[1]
            for how, size, turnovers in (("with room", 2**28, 1), ("at the bound", 2**26, 3)):
                grown, _, counted = pool.apply(taken, (kind, size, turnovers))
                print(
                    f"{kind:18} {how:13} resident {grown - BODY:5.0f}, Python"
                    f" {python - BODY:5.0f}, counted {counted - BODY:5.0f};"
                    f" resident / counted {grown / counted:.3f}"
                )
        for kind in KEYS:
            found = pool.apply(insertion, (kind, entries))
            ratio = found["aswr"] / found["LRU dict"]
            print(
                f"put, {kind:8}", *(f"{n} {t:5.0f} ns" for n, t in found.items()), f"{ratio:.2f} x"
            )
        found = pool.apply(peeks, (entries,))
        print("peek of one of", *(f"{among}: {spent:4.0f} ns " for among, spent in found.items()))


if __name__ == "__main__":
    main()
