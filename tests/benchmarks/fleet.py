"""What a shared store costs: hits, leases, purges, refreshes, over a Redis of the benchmark's own.

Workers are apps with managers of their own, in this process, as in a fleet they would be in others;
where one must see what another does as soon as it can, it is in a process of its own.
"""

import asyncio
import contextlib
import hashlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast

from flask import Flask

import aswr.shelf
from aswr import CacheManager, scripts
from aswr.backplane import PAGE, Backplane
from aswr.envelope import LARGEST, Checksum, Envelopes
from aswr.keys import ViewKey, digest
from aswr.options import MIB
from aswr.packed import pack
from aswr.shelf import names_beside

from .inprocess import BODY, HOUR, answer, gets
from .pace import Run, decile, in_turn, times
from .processes import p99, redis_server
from .rows import Outcome, Result, Row, benchmark
from .simulated import Leasing, requests
from .wire import START, Setup, sizes

Server = Any  # servers.redises.Redis, which is imported where there is pytest and redis-py
LIMIT = 20.0
PREFIX, SPACE = "aswr:shop::", "aswr:{shop:}:"
# No beats while commands are counted, and no outage where the machine is busy.
CALM: dict[str, Any] = {"ASWR_PROPAGATION": 600.0, "ASWR_STORE_TIMEOUT": 5.0}
FLEETS = (2, 4, 8)
STEPS = ("CLAIM", "NUMBER", "STORE", "RENEW", "LOOK")  # without beats
BRIEFLY = 1.0  # seconds that a brief page is fresh, before its margin
# Short, but with a few hundred refreshes, of which some are waited for and some are not.
REPLAYED = Setup(
    workers=3, keys=20, rate=60, timeout=4, margin=1, load=0.2, seconds=20, body=1024,
    propagation=CALM["ASWR_PROPAGATION"],
)  # fmt: skip


@contextlib.contextmanager
def redises(count: int = 1) -> Iterator[list[Server]]:
    """So many servers, until the block ends."""
    redis_server()
    from servers.redises import Redis

    with TemporaryDirectory(prefix="bench-") as folder, contextlib.ExitStack() as stack:
        paths = [Path(folder) / str(number) for number in range(count)]
        yield [stack.enter_context(Redis(path)) for path in paths]


class Worker:
    """A process of the fleet, as far as this one can be several: an app with pages of 1 KiB."""

    def __init__(
        self, url: str | None, timeout: float = HOUR, margin: float = HOUR - BRIEFLY, **config: Any
    ) -> None:
        self.app = Flask("shop")
        self.app.config.update(config)
        self.manager = CacheManager(self.app, cache=url)
        self.loads = 0
        self.pause = 0.0
        view = self.manager.cacher(HOUR, tags=("pages",))(self._page)
        self.app.add_url_rule("/page/<int:number>", "page", view)
        brief = self.manager.cacher(timeout, margin)(self._page)
        self.app.add_url_rule("/brief/<int:number>", "brief", brief)

    async def _page(self, number: int) -> str:
        self.loads += 1
        if self.pause:
            await asyncio.sleep(self.pause)
        return BODY

    def get(self, number: int, kind: str = "page") -> str:
        """Load a page or find it; what was said of where it came from."""
        fields, body = answer(self.app, f"/{kind}/{number}")
        assert len(body) == len(BODY)
        return fields["Cache-Status"]

    @property
    def store(self) -> Any:
        return self.manager._sites[self.app].engine.store

    @property
    def key(self) -> Any:
        """The key of page 0, which is in memory."""
        (key,) = self.store.variants("/page/0")
        return key

    def born(self, path: str = "/page/0") -> int:
        """The number of a page in memory, 0 where it is not there."""
        found = map(self.store.glance, self.store.variants(path))
        return max((entry.born for entry in found), default=0)

    def stats(self, name: str) -> int:
        return self.manager.stats()[name]

    def join(self) -> None:
        assert self.manager.join(LIMIT)


@contextlib.contextmanager
def workers(count: int, url: str | None, **config: Any) -> Iterator[list[Worker]]:
    """So many workers that know each other, each with page 0 in memory, from one load."""
    made = [Worker(url, **config) for _ in range(count)]
    try:
        for worker in made:
            worker.get(0)
            worker.get(0)  # used: else it makes way for the next one
            worker.join()
        refresh(made)  # what was loaded while they connected is in doubt
        yield made
    finally:
        for worker in made:
            worker.manager.close()


def new_pages(worker: Worker) -> Run:
    """GET pages that are not in memory."""
    numbers = itertools.count(1)
    return gets(worker.app, lambda: f"/page/{next(numbers)}")


def and_saved(worker: Worker) -> Run:
    """The same, until all of it is saved."""
    run = new_pages(worker)

    def joined(calls: int) -> None:
        run(calls)
        worker.join()

    return joined


def fill(server: Server, key: Any, start: int, end: int, at: int = 10_000) -> None:
    """Store pages under these numbers, each sealed as the product seals it."""
    client = server.client()
    name = f"{PREFIX}{{{digest(key)}}}".encode()
    data = client.get(name)
    number, payload = Envelopes(Checksum(), MIB, None).open(name, data)
    fresh = int.from_bytes(data[16:24], "big")
    seal = Envelopes(Checksum(), MIB, None).seal
    for first in range(start, end, at):
        pipeline = client.pipeline(transaction=False)
        for page in range(first, min(first + at, end)):
            entry = f"{PREFIX}{{{digest(key._replace(path=f'/page/{page}'))}}}"
            sealed = seal(entry.encode(), number, fresh, payload)
            pipeline.execute_command("SET", entry, sealed, "PX", HOUR * 1000)
        pipeline.execute()


def above(found: dict[str, list[float]], one: str, other: str) -> Result:
    """Microseconds that the one takes more than the other, by their first deciles."""
    firsts = {name: decile(found[name], 1) for name in (one, other)}
    return Result(firsts[one] - firsts[other], firsts, "µs", {name: found[name] for name in firsts})


# One worker.


def shared_hit(server: Server) -> list[Outcome]:
    """Pages that Redis holds and memory does not, beside a GET of the same bytes by redis-py."""
    with workers(1, server.url, **CALM) as (worker,):
        fill(server, worker.key, 1, 50_000)
        client = server.client()
        name = f"{PREFIX}{{{digest(worker.key)}}}"

        def plain(calls: int) -> None:
            for _ in range(calls):
                client.get(name)

        run, loads, sent = new_pages(worker), worker.loads, worker.stats("store_commands")
        run(1000)
        sent = worker.stats("store_commands") - sent
        found = in_turn({"shared hit": run, "redis-py GET": plain}, rounds=200)
        assert worker.loads == loads, "these were loads, not hits"
    return [above(found, "shared hit", "redis-py GET"), Result(sent / 1000)]


def lease(server: Server) -> Outcome:
    """Loads that only return, each of a new page, with all that is saved of it."""
    server.client().flushall()
    with workers(1, server.url, **CALM) as (leads,), workers(1, None) as (alone,):
        runs = {"with a lease": and_saved(leads), "without a store": and_saved(alone)}
        found = in_turn(runs, rounds=200)
        assert leads.loads > 200
    return above(found, "with a lease", "without a store")


def hit(server: Server) -> Outcome:
    """The same page from memory."""
    with workers(1, server.url) as (shares,), workers(1, None) as (alone,):
        each = {"shared store": shares, "memory alone": alone}
        found = in_turn({name: gets(of.app, lambda: "/page/0") for name, of in each.items()})
    return times(found, "shared store", "memory alone")


def broken(server: Server) -> Outcome:
    """Loads that only return, while Redis is gone; it is tried again now and then, as it is."""
    with workers(1, server.url) as (cut_off,), workers(1, None) as (alone,):
        server.kill()
        until = time.monotonic() + LIMIT
        for number in itertools.count(10**6):
            cut_off.get(number)
            if not cut_off.stats("store_reachable"):
                break
            assert time.monotonic() < until
        each = {"breaker open": cut_off, "no shared store": alone}
        found = in_turn({name: new_pages(of) for name, of in each.items()})
        assert not cut_off.stats("store_reachable")
    server.start()
    return times(found, "breaker open", "no shared store")


@benchmark(
    "fleet",
    Row("in-app hit from memory, with a shared store behind it", "without one", 1.05),
    Row("in-app miss that Redis holds, above a redis-py GET of the same bytes", "", 1000,
        unit="µs"),
    Row("the same: commands, and so round trips", "", 1, unit="commands"),
    Row("a load with lease, number and save, above the same load without a store", "", 2000,
        unit="µs"),
    Row("a miss while Redis is gone and the breaker open", "no shared store", 1.10),
    Row("purge of a tag with 10,000 entries in Redis", "with 10", 1.3),
    Row("the same with 1,000,000", "with 10", 1.3),
    Row("a refresh that 2, 4, 8 workers hold: messages to each of the others", "", 1,
        unit="messages"),
    Row("the same: commands, beside one of each other worker", "", 3, unit="commands"),
    Row("the same: bytes to and from Redis", "what `simulate_fleet.py` counts", 1.1),
    Row("a refresh that nobody waits for, in a fleet of more than `MOST_TOLD`: messages", "", 0,
        unit="messages"),
    Row("requests at random to 3 workers: commands, more or fewer",
        "what `simulate_fleet.py` counts", 1.1),
    Row("the same: messages, more or fewer", "what `simulate_fleet.py` counts", 1.1),
    Row("a cold page that 2, 4, 8 workers want at once: loads", "", 1, unit="loads"),
    Row("the same: commands of each worker, beside number and save", "", 2, unit="commands"),
    Row("until another process sees a purge: p50 of 200", "", 10, unit="ms"),
    Row("the same: p99", "", 50, unit="ms"),
    Row("news of a page that a worker does not have: what it costs the worker", "", 50,
        unit="µs"),
    Row("what one core of Redis does a second, one at a time: the slowest step", "", 20_000,
        unit="/s", at_least=True),
    Row("the same, a hundred in a pipeline", "", 50_000, unit="/s", at_least=True),
    Row("the same: messages that it delivers to 200 workers", "", 200_000, unit="/s",
        at_least=True),
)  # fmt: skip
def fleet() -> Sequence[Outcome]:
    """Everything over one Redis without persistence, but for the purges, which have three."""
    with redises() as (server,):
        one = [hit(server), *shared_hit(server), lease(server), broken(server)]
    purges = flat_purges()
    with redises() as (server,):
        many = [
            *refreshes(server), told(server), *replays(server), *crowds(server), *seen(server),
            unwanted(server),
        ]  # fmt: skip
    with redises() as (server,):
        steps = [redis_steps(server, 1), redis_steps(server, 100), deliveries(server)]
    return [*one, *purges, *many, *steps]


# Purges.

HELD = (10, 10_000, 1_000_000)


def flat_purges() -> list[Outcome]:
    """Each Redis has so many entries of the tag; they are dead after the first purge, and stay."""
    with redises(len(HELD)) as servers, contextlib.ExitStack() as stack:
        runs: dict[str, Run] = {}
        for server, count in zip(servers, HELD, strict=True):
            (worker,) = stack.enter_context(workers(1, server.url, **CALM))
            fill(server, worker.key, 1, count)
            assert server.client().dbsize() >= count
            loads = worker.loads
            worker.get(count - 1)
            assert worker.loads == loads, "Redis does not hold it"
            runs[f"{count:,}"] = purging(worker)
            runs[f"{count:,}"](1)
            worker.get(count - 2)
            assert worker.loads > loads, "it was not purged"
        found = in_turn(runs)
    few, *more = runs
    return [times(found, name, few) for name in more]


def purging(worker: Worker) -> Run:
    def run(calls: int) -> None:
        for _ in range(calls):
            assert worker.manager.invalidate_tags("pages")

    return run


# Several workers.


def refreshes(server: Server, count: int = 200) -> list[Outcome]:
    """One worker refreshes a page that all of them have used since the last time."""
    messages, commands, taken = {}, {}, {}
    wire = sizes(Setup(body=len(BODY)))
    for size in FLEETS:
        server.client().flushall()
        with workers(size, server.url, **CALM) as all_of_them:
            before = totals(server, all_of_them)
            for _ in range(count):
                refresh(all_of_them)
            heard, sent, moved = (
                (now - then) / count
                for now, then in zip(totals(server, all_of_them), before, strict=True)
            )
        name, others = f"{size} workers", size - 1
        messages[name], commands[name] = heard, sent
        asked = sum(sum(wire[one]) for one in ("CLAIM", "NUMBER", "STORE"))
        told = size * sum(wire["message"])
        taken[name] = moved
        taken[f"{size} simulated"] = (
            asked + told + others * sum(map(sum, (wire["LOOK"], wire["LOOK+"])))
        )
    each = [messages[f"{size} workers"] / (size - 1) for size in FLEETS]
    beside = [commands[f"{size} workers"] - (size - 1) for size in FLEETS]
    off = [taken[f"{size} workers"] / taken[f"{size} simulated"] for size in FLEETS]
    return [
        Result(max(each), messages, "messages"),
        Result(max(beside), commands, "commands"),
        Result(max(off), taken, "bytes"),
    ]


def refresh(all_of_them: Sequence[Worker]) -> None:
    """Refresh page 0 in the first worker; all others have the new one, and use it, by the end."""
    first, *others = all_of_them
    entry = first.manager.refresh("/page/0")
    assert entry is not None
    first.join()
    for other in others:
        wait_until(lambda other=other: other.born() >= entry.born)
        assert "hit" in other.get(0)


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < until, "it never came about"
        time.sleep(0.0005)


def totals(server: Server, all_of_them: Sequence[Worker]) -> tuple[int, int, int]:
    """Messages heard and commands sent by all workers, and bytes on the wire."""
    info = server.client().info("stats")
    return (
        sum(worker.stats("messages") for worker in all_of_them),
        sum(worker.stats("store_commands") for worker in all_of_them),
        info["total_net_input_bytes"] + info["total_net_output_bytes"],
    )


@contextlib.contextmanager
def as_if_large() -> Iterator[None]:
    """Until the block ends, any fleet has more than `MOST_TOLD` workers."""
    most, aswr.shelf.MOST_TOLD = aswr.shelf.MOST_TOLD, 0
    try:
        yield
    finally:
        aswr.shelf.MOST_TOLD = most


def told(server: Server, size: int = 4, count: int = 5) -> Outcome:
    """Messages of a refresh that nobody waits for; that somebody does; of what is still fresh."""
    server.client().flushall()
    with as_if_large(), workers(size, server.url, **CALM) as all_of_them:
        first, second, *_ = all_of_them

        def messages(refreshed: Callable[[], None]) -> float:
            before = totals(server, all_of_them)[0]
            for _ in range(count):
                for worker in all_of_them:  # after each other: nobody waits
                    worker.get(0, "brief")
                    worker.join()
                began = loads(all_of_them)
                refreshed()
                assert loads(all_of_them) == began + 1
            time.sleep(0.1)  # the last news may be on their way
            return (totals(server, all_of_them)[0] - before) / count

        def stale() -> None:
            time.sleep(BRIEFLY)
            first.get(0, "brief")
            first.join()

        def awaited() -> None:
            time.sleep(BRIEFLY)
            first.pause, began = 0.2, first.loads
            first.get(0, "brief")
            wait_until(lambda: first.loads > began)
            second.get(0, "brief")
            first.join()
            first.pause = 0.0
            wait_until(lambda: second.born("/brief/0") == first.born("/brief/0"))

        figures = {
            "nobody waits": messages(stale),
            "another waits": messages(awaited),
            "still fresh": messages(lambda: refresh(all_of_them)),
        }
    assert figures["another waits"] == figures["still fresh"] == size - 1
    return Result(figures["nobody waits"], figures, "messages")


def loads(all_of_them: Sequence[Worker]) -> int:
    return sum(worker.loads for worker in all_of_them)


def replays(server: Server) -> list[Outcome]:
    """The same requests at the same times, in earnest and simulated, of a small fleet and a large.

    What lies in between are milliseconds that something takes here, and nothing there.
    """
    commands, messages = {}, {}
    for name, most in ("small", REPLAYED.most_told), ("large", 0):
        setup = replace(REPLAYED, most_told=most)
        simulated = Leasing(setup)
        simulated.run()
        counted = simulated.counted
        commands[f"{name} simulated"] = sum(counted[one] for one in STEPS)
        # To all but who sent them: he does not count his own.
        messages[f"{name} simulated"] = counted["message"] * (setup.workers - 1) / setup.workers
        with contextlib.nullcontext() if most else as_if_large():
            heard, sent = replayed(server, setup)
        commands[name], messages[name] = sent, heard
    return [off(commands, "commands"), off(messages, "messages")]


def off(found: Mapping[str, float], unit: str) -> Result:
    """How far what was counted lies from what was simulated, on either side."""
    ratios = [found[name] / found[f"{name} simulated"] for name in ("small", "large")]
    return Result(max(max(ratio, 1 / ratio) for ratio in ratios), found, unit)


def replayed(server: Server, setup: Setup) -> tuple[int, int]:
    """Messages and commands of real workers, counted when the simulation counts."""
    server.client().flushall()
    kept: dict[str, Any] = {"timeout": setup.timeout, "margin": setup.margin}
    with (
        workers(setup.workers, server.url, **kept, **CALM) as all_of_them,
        ThreadPoolExecutor(16) as threads,
    ):
        for worker in all_of_them:
            worker.pause = setup.load
        begun, before, asked = time.monotonic(), None, []
        for due, number, key in requests(setup):
            time.sleep(max(0.0, begun + due - START - time.monotonic()))
            if before is None and due >= START + setup.timeout:
                before = totals(server, all_of_them)
            asked.append(threads.submit(all_of_them[number].get, key, "brief"))
        after = totals(server, all_of_them)
        for request in asked:
            request.result(LIMIT)
    assert before is not None
    return after[0] - before[0], after[1] - before[1]


def crowds(server: Server, count: int = 30) -> list[Outcome]:
    """Each time another page, of which a load takes 50 ms."""
    loads, commands = {}, {}
    for size in FLEETS:
        server.client().flushall()
        with (
            workers(size, server.url, **CALM) as all_of_them,
            ThreadPoolExecutor(size) as threads,
        ):
            for worker in all_of_them:
                worker.pause = 0.05
            before = [totals(server, all_of_them)[1], sum(of.loads for of in all_of_them)]
            for number in range(1, count + 1):
                list(threads.map(lambda worker, number=number: worker.get(number), all_of_them))
                for worker in all_of_them:
                    worker.join()
            after = [totals(server, all_of_them)[1], sum(of.loads for of in all_of_them)]
        sent, loaded = ((now - then) / count for now, then in zip(after, before, strict=True))
        commands[f"{size} workers"], loads[f"{size} workers"] = sent, loaded
    each = [(commands[f"{size} workers"] - 2) / size for size in FLEETS]
    return [
        Result(max(loads.values()), loads, "loads"),
        Result(max(each), commands, "commands"),
    ]


def seen(server: Server, count: int = 200) -> list[Outcome]:
    """Milliseconds from a purge in this process to the first request in another that misses."""
    server.client().flushall()
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=watch, args=(server.url, theirs), name="watch")
    found = []
    with workers(1, server.url) as (worker,):
        process.start()
        theirs.close()
        try:
            for _ in range(count):
                assert ours.poll(LIMIT), "the other process is mute"
                ours.recv()  # it has the page
                began = time.monotonic()
                assert worker.manager.invalidate_tags("pages")
                assert ours.poll(LIMIT), "the other process hears of no purge"
                found.append((ours.recv() - began) * 1e3)
        finally:
            ours.close()
            process.join(LIMIT)
            process.kill()
    figures = {"p50": median(found), "p99": p99(found)}
    samples = {"until seen": found}
    return [Result(value, figures, "ms", samples) for value in figures.values()]


def unwanted(server: Server, count: int = 10_000) -> Outcome:
    """Processor time of news about pages that are not in memory, less that of publishing."""
    client = server.client()
    with workers(1, server.url, **CALM) as (worker,):
        sender = cast(Backplane, SimpleNamespace(worker="web-0123:12345:89abcdef"))
        key = worker.key._replace(path="/page/1234567")
        message = Backplane.message(sender, "stored", pack(key), number=worker.store.stamps.tick())

        def taken(channel: str, listeners: int) -> float:
            began, heard = time.process_time(), worker.stats("messages")
            for _ in range(count // 100):
                pipeline = client.pipeline(transaction=False)
                for _ in range(100):
                    pipeline.publish(channel, message)
                assert pipeline.execute() == [listeners] * 100
            until = time.monotonic() + LIMIT
            while worker.stats("messages") < heard + listeners * count:
                assert time.monotonic() < until, "news were lost"
                time.sleep(0.01)
            return (time.process_time() - began) / count * 1e6

        figures = {"heard": taken(f"{SPACE}news", 1), "by nobody": taken("nobody", 0)}
    return Result(figures["heard"] - figures["by nobody"], figures, "µs")


def watch(url: str, parent: Connection) -> None:
    """In the other process: say when page 0 is there, then when a request began that missed."""
    with workers(1, url) as (worker,), contextlib.suppress(OSError):
        while True:
            worker.join()
            while "hit" not in worker.get(0):
                time.sleep(0.0002)
            parent.send(None)
            began = time.monotonic()
            while "hit" in worker.get(0):
                time.sleep(0.0002)
                began = time.monotonic()
            parent.send(began)


# Redis alone, per second of its own processor time: so the client's does not matter.


def steps_of(key: Any) -> dict[str, tuple[Any, ...]]:
    """The commands of the protocol, as they are when a worker leads a load of 1 KiB."""
    name = f"{PREFIX}{{{digest(key)}}}"
    keys = names_beside(name)
    control = (f"{SPACE}numbers", f"{SPACE}log")
    now = int(time.time() * 1e6)
    envelope = Envelopes(Checksum(), MIB, None).seal(name.encode(), now, now, BODY.encode())
    message = pack(key) + str(now).encode()
    worker = "web-0123:12345:89abcdef"

    def run(script: scripts.Script, keys: tuple[str, ...], *args: Any) -> tuple[Any, ...]:
        return ("EVAL", script.text, len(keys), *keys, *args)

    beat = (*control, f"{SPACE}workers")
    stored = ("0" * 32, now, envelope, HOUR, f"{SPACE}news", message, "all")
    return {
        "STORE": run(scripts.STORE, keys, *stored),
        "CLAIM": run(scripts.CLAIM, keys, now, 0, "0" * 32, 4000, LARGEST),
        "NUMBER": run(scripts.NUMBER, control, now, 0),
        "SYNC": run(scripts.SYNC, beat, now, 0, 0, now, "", 10_000_000, "", PAGE),
        "SYNC with a sign of life": run(
            scripts.SYNC, beat, now, 0, 0, now, worker, 10_000_000, "", PAGE
        ),
        "LOOK": run(scripts.LOOK, keys[:1], LARGEST),
        "GET": ("GET", name),
    }


def redis_steps(server: Server, depth: int) -> Outcome:
    """Of each command so many in a pipeline."""
    client, runs = server.client(), {}
    for name, words in steps_of(ViewKey("shop.page", "", "/page/0", "", "", ())).items():
        client.execute_command(*words)
        if words[0] == "EVAL":
            sha = hashlib.sha1(words[1].encode(), usedforsecurity=False).hexdigest()
            words = ("EVALSHA", sha, *words[2:])
        runs[name] = pipelined(client, words, depth)
    found = rates(client, runs, 250 if depth == 1 else 1000)
    figures = {name: decile(values, 9) for name, values in found.items()}
    return Result(min(figures.values()), figures, "/s", found)


def pipelined(client: Any, words: Sequence[Any], depth: int) -> Run:
    def run(calls: int) -> None:
        for _ in range(calls // depth):
            pipeline = client.pipeline(transaction=False)
            for _ in range(depth):
                pipeline.execute_command(*words)
            pipeline.execute()

    return run


def deliveries(server: Server, subscribers: int = 200, rounds: int = 50) -> Outcome:
    """Messages to all of many subscribers, one message at a time, and ten before they are read.

    The median: what the system takes to hand a message over is anything but steady.
    """
    client, found = server.client(max_connections=2 * subscribers), []
    with contextlib.ExitStack() as stack:
        heard = [stack.enter_context(client.pubsub()) for _ in range(subscribers)]
        for news in heard:
            news.subscribe("news")
            assert news.get_message(timeout=LIMIT)
        for _ in range(rounds):
            began = processor_time(client)
            for _ in range(10):
                assert client.publish("news", bytes(100)) == subscribers
            found.append(10 * subscribers / (processor_time(client) - began))
            for news in heard * 10:
                assert news.get_message(timeout=LIMIT)
    figures = {"first decile": decile(found, 1), "last": decile(found, 9)}
    return Result(median(found), figures, "/s", {"delivered": found})


def rates(client: Any, runs: Mapping[str, Run], calls: int) -> dict[str, list[float]]:
    """Calls per second of the server's processor time, in turn, a value per round."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(20):
        for name, run in runs.items():
            began = processor_time(client)
            run(calls)
            found[name].append(calls / (processor_time(client) - began))
    return found


def processor_time(client: Any) -> float:
    """Seconds that the server's process has used."""
    info = client.info("cpu")
    return float(info["used_cpu_user"] + info["used_cpu_sys"])
