"""The engine's invariants, with the real loop thread, a manual clock, and loads held by hand."""

import asyncio
import itertools
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiocache import SimpleMemoryCache
from aiocache.base import BaseCache

from aswr import breaker as breaker_module
from aswr import failures as failures_module
from aswr import stamps as stamps_module
from aswr.codec import Answer, Entry
from aswr.engine import Engine
from aswr.errors import LoadCycle, LoadError, LoadTimeout, WaitTimeout
from aswr.events import Event
from aswr.executor import Rank
from aswr.flight import Fate, Flight, How, Load, Loaded, Result, Waiter
from aswr.keys import CallKey, ViewKey
from aswr.options import CONFIG
from aswr.plain import SKEW
from aswr.policy import RETRY_FIRST, Times, Verdict, decide
from aswr.runtime import Runtime
from aswr.stamps import Purge
from aswr.store import Store
from aswr.tiers import Shared
from aswr.urls import MOST_NAMES
from aswr.values import Carrier

from .conftest import Brings

LIMIT = 10.0  # seconds that anything here may wait
INTERVAL = 5.0  # of periodic refreshes
TWIN = "await fn(...)"
KEY = ViewKey("app:page", "", "/page", "a=1", "", ())
CALL = CallKey("app:price", (1,))


def answer(text: str) -> Answer:
    """A page, as a shared store carries it."""
    return Answer(200, (), text.encode())


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Call:
    """One load in progress, which ends as the test says."""

    def __init__(self, flight: Flight) -> None:
        self.flight = flight
        self.outcome: Future[Loaded] = Future()

    def read(self, *names: str) -> None:
        for name in names:
            self.flight.note_read(name)

    def give(self, value: Any, fate: Fate = Fate.STORE, **loaded: Any) -> None:
        loaded = {"names": tuple(sorted({*self.flight.names})), **loaded}
        self.outcome.set_result(Loaded(value, fate, **loaded))

    def fail(self, error: BaseException) -> None:
        self.outcome.set_exception(error)


class Source:
    """Something that is loaded: each load appears in ``next()`` and is held there."""

    def __init__(self, key: Any = KEY, *, sync: bool = False, **times: Any) -> None:
        self.calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self.loads = 0
        run = self._sync if sync else self._async
        self.load = Load(
            key, f"load of {key}", Times(**{"timeout": 10, "refresh_margin": 4} | times), run, sync
        )

    def next(self) -> Call:
        return self.calls.get(timeout=LIMIT)

    def _begin(self, flight: Flight) -> Future[Loaded]:
        self.loads += 1
        call = Call(flight)
        self.calls.put(call)
        return call.outcome

    async def _body(self, flight: Flight) -> Loaded:
        return await asyncio.wrap_future(self._begin(flight))

    async def _async(self, flight: Flight) -> Any:
        return await flight.run(self._body(flight), flight.context())

    def _sync(self, flight: Flight) -> Loaded:
        return flight.context().run(lambda: self._begin(flight).result(LIMIT))


@dataclass(frozen=True)
class Caller:
    """One who asks for what a source loads; the load is made of what he brings."""

    source: Source
    load: Load

    def next(self) -> Call:
        call = self.source.next()
        assert call.flight.load.under == self.load.under, "the load is another caller's"
        return call

    def key(self, *names: str) -> Hashable:
        """Where his answer lies, once the URL is known to read these."""
        return self.load.seen_by(tuple(sorted(names)))[0]


class Page(Source):
    """A URL whose loads read what its callers bring."""

    def of(self, **inputs: str) -> Caller:
        assert isinstance(self.load.key, ViewKey)
        return Caller(self, replace(self.load, under=Brings(self.load.key, inputs)))


class Bench:
    """An engine over a store on a loop thread, and what tests do with them."""

    def __init__(
        self,
        *,
        workers: int = 4,
        max_waiters: int = 100,
        max_loads: int = 100,
        max_bytes: int = 2**20,
        backend: BaseCache | Callable[[], BaseCache] | None = None,
        max_variants: int = 64,
        store_timeout: float = LIMIT,
    ) -> None:
        self.clock = Clock()
        self.runtime = Runtime(workers)
        self.store = Store(self.clock, max_bytes, max_variants)
        limits = {"ASWR_STORE_TIMEOUT": store_timeout, "ASWR_PROPAGATION": 2 * store_timeout}
        self.shared = Shared(
            backend,
            "test",
            {**CONFIG, **limits},
            lambda: [b"secret"],
            self.store.stamps,
            self.clock,
        )
        self.shared.carriers[CALL.function] = Carrier(CALL.function, lambda: None)
        self.engine = Engine(
            "test", self.store, lambda: self.runtime, clock=self.clock, random=lambda: 0.0,
            max_waiters=max_waiters, max_loads=max_loads, shared=self.shared,
        )  # fmt: skip

    def barrier(self) -> None:
        """Until the loop has seen everything that was posted before."""

        async def nothing() -> None:
            await asyncio.sleep(0)

        self.runtime.submit(nothing, "barrier").result(LIMIT)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While inside, the loop does nothing."""
        held, release = threading.Event(), threading.Event()

        def hold() -> None:
            held.set()
            release.wait(LIMIT)

        self.runtime.post(hold)
        assert held.wait(LIMIT)
        try:
            yield
            assert not release.is_set()
        finally:
            release.set()

    def join(self) -> None:
        """Until every flight is over."""
        self.engine.join().result(LIMIT)

    def join_but(self, flights: int) -> None:
        """Until no more than so many flights are left."""
        _until(lambda: len(self.engine.flights) <= flights)
        self.barrier()

    def answered(self, waiter: Waiter) -> bool:
        """Has he got his result, now that the loop has done what there is to do?"""
        self.barrier()
        return waiter.future.done()

    def ask(self, source: "Source | Caller", *, force: bool = False) -> Waiter:
        """A waiter who has his seat."""
        waiter = self.engine.enlist(source.load, force=force)
        self.barrier()
        return waiter

    def wait(self, waiter: Waiter, patience: float | None = LIMIT) -> Result | None:
        return self.engine.wait(waiter, patience, TWIN)

    def result(self, waiter: Waiter) -> Result:
        result = self.wait(waiter)
        assert result is not None, "nobody answered"
        return result

    def store_now(self, source: "Source | Caller", value: Any, **loaded: Any) -> Entry:
        """Load and store a value."""
        waiter = self.ask(source, force=True)
        source.next().give(value, **loaded)
        entry = self.result(waiter).entry
        self.join()
        assert entry is not None
        return entry

    def fail_now(self, source: "Source | Caller") -> None:
        """A background load that fails."""
        self.runtime.post(self.engine.tick, source.load, INTERVAL)
        source.next().fail(OSError("down"))
        self.join()

    def tick(self, source: Source) -> bool:
        """A periodic refresh is due; does that begin a load, or queue one?"""
        due = _returning(self.engine.tick, source.load, INTERVAL)
        found: bool = self.runtime.submit(due, "tick").result(LIMIT)
        return found

    def purge(self, purge: Callable[[], Callable[[], Any]]) -> None:
        """Purge, and return when that has."""
        self.runtime.submit(purge(), "purge").result(LIMIT)

    def served(self, key: Any = KEY) -> Any:
        """What a request that does not wait gets now."""
        return self._served(key, self.store.peek(key))

    def _served(self, key: Any, entry: Any) -> Any:
        decision = decide(entry, self.clock(), self.retry_at(key))
        return entry.value if entry is not None and decision.serve else None

    def sees(self, caller: "Source | Caller") -> Any:
        """What this caller's request gets without waiting; who must pass, why."""
        load, entry, why = self.engine.urls.find(caller.load)
        if entry is not None and decide(entry, self.clock()).verdict is Verdict.PASS:
            why = why or entry.passing
        return why or self._served(load.key, entry)

    @property
    def errors(self) -> int:
        """Of the shared store's."""
        return self.engine.stats()["store_errors"]

    def retry_at(self, key: Any = KEY) -> float | None:
        return self.engine.failures.retry_at(key)

    def flight(self, load: Load, inline: "Future[Loaded] | None" = None) -> Flight:
        """A flight that the engine knows nothing of."""
        return Flight(
            load, load.key, 1, 0.0, 0.0, self.clock, self.runtime, lambda flight: None, inline
        )

    def close(self) -> None:
        self.runtime.submit(lambda: self.engine.drain(0.0), "drain").result(LIMIT)
        self.runtime.stop()


@pytest.fixture
def benches() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**options: Any) -> Bench:
        made.append(Bench(**options))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def bench(benches: Callable[..., Bench]) -> Bench:
    return benches()


def together(calls: list[Callable[[], Any]]) -> list[Any]:
    """The results of calls that run at the same time, each on a thread."""
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(call) for call in calls]
        return [future.result(LIMIT) for future in futures]


# 1. At most one load per key in flight.


@pytest.mark.parametrize("sync", [False, True])
def test_fifty_waiters_share_one_load(bench: Bench, sync: bool) -> None:
    """However many wait for a key, it is loaded once, and one of them counts as the cause."""
    source = Source(sync=sync)
    seated = threading.Barrier(51)

    def visitor() -> Result:
        waiter = bench.engine.enlist(source.load, sync=True)
        seated.wait(LIMIT)
        return bench.result(waiter)

    def lead() -> int:
        seated.wait(LIMIT)
        call = source.next()
        bench.barrier()
        waiting = len(call.flight.waiters)
        call.give("page")
        return waiting

    *results, waiting = together([visitor] * 50 + [lead])
    assert waiting == 50
    assert source.loads == bench.engine.stats()["loads"] == 1
    assert [result.value for result in results] == ["page"] * 50
    hows = [result.how for result in results]
    assert hows.count(How.STORED) == 1
    assert hows.count(How.COLLAPSED) == 49
    assert bench.engine.waiting == 0


def test_stale_hits_start_one_load(bench: Bench) -> None:
    """Any number of stale hits, ticks and waiters come to one flight."""
    source = Source()
    bench.store_now(source, "old")
    bench.clock.now += 7
    together([lambda: bench.engine.start(source.load)] * 20)
    call = source.next()
    waiter = bench.ask(source)
    bench.runtime.post(bench.engine.tick, source.load, INTERVAL)
    bench.engine.start(source.load)
    bench.barrier()
    assert len(bench.engine.flights) == 1
    call.give("new")
    assert bench.result(waiter).value == "new"
    bench.join()
    assert source.loads == 2


def test_a_stale_hit_and_a_waiter_at_once_share_one_load(bench: Bench) -> None:
    """Both posted before the loop has seen either: the second finds the flight of the first."""
    source = Source()
    bench.store_now(source, "old")
    bench.clock.now += 7
    with bench.held():
        waiter = bench.engine.enlist(source.load)
        bench.engine.start(source.load)
    source.next().give("new")
    assert bench.result(waiter).value == "new"
    bench.join()
    assert source.loads == 2


def test_different_keys_load_side_by_side(bench: Bench) -> None:
    """A load of one key does not hold up another's."""
    slow, quick = Source(("slow",)), Source(("quick",))
    bench.ask(slow)
    held = slow.next()
    waiter = bench.ask(quick)
    quick.next().give("quick")
    assert bench.result(waiter).value == "quick"
    held.give("slow")


def test_a_waiter_who_comes_too_late_for_the_flight_gets_what_it_stored(bench: Bench) -> None:
    """Between a miss and the waiter's arrival on the loop a load may end: no second one begins."""
    source = Source()
    bench.store_now(source, "page")
    result = bench.result(bench.engine.enlist(source.load))
    assert (result.how, source.loads) == (How.HIT, 1)


def test_a_start_finds_a_fresh_entry(bench: Bench) -> None:
    """A stale hit whose load another has done meanwhile starts none."""
    source = Source()
    bench.store_now(source, "page")
    bench.engine.start(source.load)
    bench.barrier()
    assert source.loads == 1


# 2. FRESH and STALE never wait.


def test_a_blocked_loop_does_not_stop_hits(bench: Bench) -> None:
    """With the loop held, fresh and stale answers are served, and the refresh waits its turn."""
    source = Source()
    bench.store_now(source, "page")
    with bench.held():
        assert bench.served() == "page"
        bench.clock.now += 7
        for _ in range(1000):
            assert bench.served() == "page"
            bench.engine.start(source.load)
        assert source.loads == 1
        waiting: Any = bench.runtime.loop
        assert len(waiting._ready) < 10, "each hit left something for the loop to do"
    source.next().give("new")
    bench.join()
    assert (bench.served(), source.loads) == ("new", 2)


# 3. Nothing is served past its deadline.


def test_nothing_is_served_past_its_deadline(bench: Bench) -> None:
    """Fresh to the margin, stale to the timeout, then gone; a deadline itself is past."""
    source = Source(timeout=10, refresh_margin=4, stale_if_error=5)
    entry = bench.store_now(source, "page")
    seen = {}
    for seconds in (0, 5.999, 6, 9.999, 10, 14.999, 15):
        bench.clock.now = entry.stored + seconds
        fallback = bench.engine.fallback(source.load)
        seen[seconds] = (
            decide(bench.store.peek(KEY), bench.clock()).verdict, bench.served(),
            fallback.value if fallback else None,
        )  # fmt: skip
    assert seen == {
        0: (Verdict.FRESH, "page", "page"),
        5.999: (Verdict.FRESH, "page", "page"),
        6: (Verdict.STALE, "page", "page"),
        9.999: (Verdict.STALE, "page", "page"),
        10: (Verdict.MISS, None, "page"),
        14.999: (Verdict.MISS, None, "page"),
        15: (Verdict.MISS, None, None),
    }


def test_stale_if_error_serves_only_after_a_failed_load(bench: Bench) -> None:
    """Past its timeout an entry is served once a load has failed, and only while covered."""
    source = Source(stale_if_error=60)
    bench.store_now(source, "page")
    bench.clock.now += 11
    assert bench.served() is None
    bench.fail_now(source)
    assert bench.served() == "page"
    bench.clock.now += 60
    assert bench.served() is None


def test_a_waiter_is_never_answered_from_the_stale_window(bench: Bench) -> None:
    """Who waits gets a fresh entry or a new load, to the very deadline."""
    source = Source()
    entry = bench.store_now(source, "old")
    bench.clock.now = entry.fresh_until
    waiter = bench.ask(source)
    source.next().give("new")
    assert bench.result(waiter).value == "new"


def test_a_clock_that_goes_back_keeps_deadlines(bench: Bench) -> None:
    """Deadlines are absolute: when the clock is put back, the entry waits for them again."""
    source = Source()
    entry = bench.store_now(source, "page")
    bench.clock.now = entry.stale_until
    assert bench.served() is None
    bench.clock.now = entry.stored - 5
    assert bench.served() == "page"
    waiter = bench.ask(source, force=True)
    call = source.next()
    bench.clock.now -= 3
    call.give("new")
    newer = bench.result(waiter).entry
    assert newer is not None
    assert newer.cost == 0.0


# 4. A failed load never replaces, shortens or drops a good entry; retries back off.


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize(
    "outcome", [ValueError("no"), Loaded("oops", Fate.FAILED), Loaded("no", Fate.KEEP)]
)
def test_a_failed_load_leaves_the_entry_as_it_is(bench: Bench, sync: bool, outcome: Any) -> None:
    """After an exception, a 5xx or an answer not to be stored, the same entry is still there."""
    source = Source(sync=sync)
    entry = bench.store_now(source, "page")
    bench.clock.now += 7
    bench.engine.start(source.load)
    call = source.next()
    if isinstance(outcome, Loaded):
        call.outcome.set_result(outcome)
    else:
        call.fail(outcome)
    bench.join()
    assert bench.store.peek(KEY) is entry


def test_retries_back_off_and_a_good_load_ends_it(bench: Bench) -> None:
    """In the background the waits double up to the bound; one good load, and all is forgotten."""
    source = Source(timeout=1000, refresh_margin=999, stale_if_error=10_000)
    bench.store_now(source, "page")
    bench.clock.now += 2
    waits = []
    for _ in range(9):
        bench.engine.start(source.load)
        source.next().fail(OSError("down"))
        bench.join()
        retry_at = bench.retry_at()
        assert retry_at is not None
        waits.append(retry_at - bench.clock())
        bench.clock.now = retry_at - 0.001
        bench.engine.start(source.load)
        assert not bench.runtime.submit(
            _returning(bench.engine.tick, source.load, INTERVAL), ""
        ).result(1)
        bench.barrier()
        assert bench.served() == "page"
        bench.clock.now = retry_at
    assert waits == [RETRY_FIRST * n for n in (1, 2, 4, 8, 16, 32, 60, 60, 60)]
    assert source.loads == bench.engine.stats()["load_failures"] + 1 == 10
    bench.engine.start(source.load)
    source.next().give("new")
    bench.join()
    assert (bench.retry_at(), bench.served()) == (None, "new")


def _returning(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    async def call() -> Any:
        return function(*args)

    return call


def test_a_failed_load_whose_caller_got_an_older_entry_is_logged(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """An error that no request sees is logged once per change of state, not per load."""
    source = Source(stale_if_error=60)
    bench.store_now(source, "page")
    bench.clock.now += 11
    waiter = bench.ask(source)
    with caplog.at_level(logging.WARNING, "aswr.engine"):
        source.next().fail(OSError("down"))
        assert bench.result(waiter).how is How.FAILED
        bench.join()
        bench.clock.now += 5
        bench.fail_now(source)
    assert [record.getMessage() for record in caplog.records] == [
        f"load of {KEY}: a load failed (down); what is stored stays, retries back off"
    ]


def test_failures_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of failures does not grow with the keys that fail."""
    monkeypatch.setattr(failures_module, "MOST", 3)
    for number in range(6):
        bench.fail_now(Source(("key", number)))
    held = [number for number in range(6) if ("key", number) in bench.engine.failures]
    assert (held, len(bench.engine.failures)) == ([3, 4, 5], 3)


# 5. A load that began before an invalidation never publishes as fresh.

PURGES = {
    "path": lambda engine: engine.purge_path("/page", None),
    "url": lambda engine: engine.purge_path("/page", "a=1"),
    "tag": lambda engine: engine.purge_tags(["news"]),
    "clear": lambda engine: engine.purge_all(),
}


@pytest.mark.parametrize("purge", PURGES.values(), ids=PURGES)
@pytest.mark.parametrize("sync", [False, True])
def test_a_load_from_before_a_purge_is_not_stored(bench: Bench, purge: Any, sync: bool) -> None:
    """Who asked before the purge gets the old load's answer, who asked after it a newer one."""
    source = Source(sync=sync)
    before = bench.ask(source)
    old = source.next()
    bench.purge(lambda: purge(bench.engine))
    after = [bench.ask(source), bench.ask(source, force=True)]
    assert len(bench.engine.flights) == 1
    old.give("old", tags=("news",))
    assert bench.result(before).how is How.ANSWERED
    assert bench.result(before).value == "old"
    new = source.next()
    assert bench.served() is None
    assert new.flight.waiters == after
    new.give("new", tags=("news",))
    assert [bench.result(waiter).value for waiter in after] == ["new", "new"]
    bench.join()
    assert (bench.served(), source.loads) == ("new", 2)


@pytest.mark.parametrize("purge", PURGES.values(), ids=PURGES)
def test_who_asks_between_two_purges_gets_a_newer_load(bench: Bench, purge: Any) -> None:
    """A second purge does not make him forget the first, which the load began before."""
    source = Source()
    before = bench.ask(source)
    old = source.next()
    bench.purge(lambda: purge(bench.engine))
    between = bench.ask(source)
    bench.purge(lambda: purge(bench.engine))
    old.give("old", tags=("news",))
    assert bench.result(before).value == "old"
    source.next().give("new", tags=("news",))
    assert bench.result(between).value == "new"


@pytest.mark.parametrize("purge", PURGES.values(), ids=PURGES)
def test_a_purged_entry_is_not_served(bench: Bench, purge: Any) -> None:
    """From the moment the stamp is set nobody gets the entry, before the loop has cleaned up."""
    source = Source(stale_if_error=60)
    bench.store_now(source, "page", tags=("news", "sport"))
    clean = purge(bench.engine)
    assert bench.store.peek(KEY) is None
    assert bench.engine.fallback(source.load) is None
    waiter = bench.ask(source)
    source.next().give("new", tags=("news", "sport"))
    assert bench.result(waiter).value == "new"
    bench.runtime.submit(clean, "clean").result(LIMIT)
    assert bench.served() == "new", "the clean-up took a newer entry"


@pytest.mark.parametrize(
    "purge",
    [
        lambda engine: engine.purge_path("/pages", None),
        lambda engine: engine.purge_path("/page", "a=2"),
        lambda engine: engine.purge_path("/page", ""),
        lambda engine: engine.purge_tags(["new"]),
        lambda engine: engine.purge_call(CallKey("app:page", ())),
    ],
)
def test_a_purge_of_something_else_leaves_the_entry(bench: Bench, purge: Any) -> None:
    """A purge concerns the named path with its queries, the URL, the tag or the call alone."""
    source = Source()
    bench.store_now(source, "page", tags=("news",))
    bench.purge(lambda: purge(bench.engine))
    assert bench.served() == "page"


@pytest.mark.parametrize("fate", [Fate.DROP, Fate.FAILED, Fate.KEEP])
def test_an_answer_that_tells_no_tags_may_have_been_purged(bench: Bench, fate: Fate) -> None:
    """What is not stored has no tags: after any tag's purge, who asked later gets a newer load."""
    source = Source()
    before = bench.ask(source)
    old = source.next()
    bench.purge(lambda: bench.engine.purge_tags(["news"]))
    after = bench.ask(source)
    old.give("not there yet", fate)
    assert bench.result(before).value == "not there yet"
    source.next().give("there", tags=("news",))
    assert bench.result(after).value == "there"


def test_an_older_load_does_not_overwrite_a_newer_one(bench: Bench) -> None:
    """Of two results the one whose load began later stays."""
    source = Source()
    entry = bench.store_now(source, "new")
    older = Entry(
        value="old", stored=entry.stored + 1, fresh_until=entry.fresh_until + 1,
        stale_until=entry.stale_until + 1, error_until=entry.error_until + 1, born=entry.born - 1,
    )  # fmt: skip
    publish = _returning(bench.store.publish, KEY, older)
    assert not bench.runtime.submit(publish, "publish").result(LIMIT)
    assert bench.store.peek(KEY) is entry


def test_stamps_are_forgotten_when_no_older_load_flies(bench: Bench) -> None:
    """A purge of a path leaves no memory behind, once every load from before it is over."""
    source = Source()
    bench.ask(source)
    old = source.next()
    bench.purge(lambda: bench.engine.purge_path("/page", None))
    bench.purge(lambda: bench.engine.purge_path("/page", "a=1"))
    bench.purge(lambda: bench.engine.purge_path("/other", None))
    assert set(bench.store.stamps.hard.keys) == {"/page", ("/page", "a=1"), "/other"}
    old.give("old")
    bench.join()
    assert bench.served() is None
    assert bench.store.stamps.hard.keys == {}


def test_stamps_are_forgotten_in_any_order(bench: Bench) -> None:
    """Two purges of one path may be cleaned up in the other order: no stamp stays behind."""
    bench.ask(source := Source(("other",)))
    call = source.next()
    first = bench.engine.purge_path("/page", None)
    bench.purge(lambda: bench.engine.purge_path("/page", None))
    bench.runtime.submit(first, "first").result(LIMIT)
    call.give("over")
    bench.join()
    assert bench.store.stamps.hard.keys == {}


def test_a_tag_that_the_answer_does_not_bear_costs_no_load(bench: Bench) -> None:
    """Who asked after another tag's purge takes part in the load that was under way."""
    source = Source()
    waiters = [bench.ask(source)]
    call = source.next()
    bench.purge(lambda: bench.engine.purge_tags(["sport"]))
    waiters.append(bench.ask(source))
    call.give("page", tags=("news",))
    assert [bench.result(waiter).how for waiter in waiters] == [How.STORED, How.COLLAPSED]


@pytest.mark.parametrize("kind", ["tags", "paths"])
def test_too_many_stamps_purge_everything(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """When purges overflow, what was stored before counts as purged: never the other way round."""
    monkeypatch.setattr(stamps_module, "MOST", 4)
    source, other = Source(), Source(("call",))
    bench.store_now(source, "page", tags=("news",))
    bench.store_now(other, "result")
    bench.ask(hold := Source(("hold",)))
    held = hold.next()  # keeps the stamps of paths from being pruned
    if kind == "tags":
        bench.purge(lambda: bench.engine.purge_tags(["news", *"abcdef"]))
    else:
        for name in ("/page", *"abcdef"):
            bench.purge(lambda name=name: bench.engine.purge_path(name, None))  # type: ignore[misc]
    assert (bench.served(), bench.served(("call",))) == (None, None)
    held.give("old")
    bench.join()
    assert bench.served(("hold",)) is None
    bench.store_now(source, "new", tags=("news",))
    assert bench.served() == "new"


def test_a_reader_amid_a_clear_sees_the_old_stamps_or_the_new_floor(bench: Bench) -> None:
    """A tag's purge stays in force while everything is cleared, at every step of it."""
    stamps = bench.store.stamps
    stamps.purge(Purge(tags=("news",)))

    class Tags(dict[str, int]):
        """As the reader finds it, when the clear comes between its two looks."""

        def get(self, name: str, default: Any = None) -> Any:
            stamps.hard.tags = {}
            stamps.purge(Purge(everything=True))
            return default

    before = stamps.tick()
    stamps.hard.tags = Tags(news=1)
    assert stamps.latest(KEY, ("news",)) > before


def test_a_purge_forgets_failures(bench: Bench) -> None:
    """After a purge the next periodic refresh is not held back by older failures."""
    source = Source()
    bench.store_now(source, "page")
    bench.fail_now(source)
    assert bench.retry_at() is not None
    bench.purge(lambda: bench.engine.purge_path("/page", None))
    assert bench.retry_at() is None


# 6. Nobody who waits is cancelled because somebody else left.


def test_a_waiter_who_gives_up_takes_nothing_with_him(bench: Bench) -> None:
    """One runs out of patience, one is cancelled, one's event loop ends: the others are served."""
    source = Source()
    stays = bench.ask(source)
    call = source.next()
    assert bench.wait(bench.ask(source), 0.01) is None

    async def cancelled() -> None:
        waiting = asyncio.create_task(bench.engine.await_(bench.engine.enlist(source.load), LIMIT))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    async def impatient() -> None:
        assert await bench.engine.await_(bench.engine.enlist(source.load), 0.01) is None

    asyncio.run(cancelled())
    asyncio.run(impatient())
    bench.barrier()
    assert call.flight.waiters == [stays]
    call.give("page")
    assert bench.result(stays).value == "page"
    assert bench.engine.waiting == 0


def test_a_load_survives_everybody_who_waited_for_it(bench: Bench) -> None:
    """A load goes on when all have left, and what it brings is stored."""
    source = Source()
    assert bench.wait(bench.ask(source), 0.01) is None
    bench.barrier()
    call = source.next()
    assert not call.flight.attended
    call.give("page")
    bench.join()
    assert bench.served() == "page"


def test_who_asks_on_his_own_event_loop_is_answered_there(bench: Bench) -> None:
    """`await_` works on the caller's loop, on a hit and on a miss, also many at once."""
    source = Source()

    async def ask() -> list[Any]:
        waiters = [bench.engine.enlist(source.load) for _ in range(10)]
        asking = asyncio.gather(*(bench.engine.await_(waiter, LIMIT) for waiter in waiters))
        call = await asyncio.to_thread(source.next)
        call.give("page")
        results = [*await asking, await bench.engine.await_(bench.engine.enlist(source.load), 5)]
        return [result.value or result.entry.value for result in results if result]

    assert asyncio.run(ask()) == ["page"] * 11


# 8. A backend that is down, slow, or returns garbage never fails a request.


class Down(SimpleMemoryCache):  # type: ignore[misc]  # aiocache is not typed
    async def _get(self, *args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("down")

    _set = _delete = _get


class Slow(SimpleMemoryCache):  # type: ignore[misc]
    async def _get(self, *args: Any, **kwargs: Any) -> Any:
        await asyncio.Event().wait()

    _set = _delete = _get


class Cancelling(SimpleMemoryCache):  # type: ignore[misc]
    async def _get(self, *args: Any, **kwargs: Any) -> Any:
        raise asyncio.CancelledError

    _set = _delete = _get


def garbage(data: object) -> type[BaseCache]:
    class Garbage(SimpleMemoryCache):  # type: ignore[misc]
        async def _get(self, *args: Any, **kwargs: Any) -> Any:
            return data

    return Garbage


def no_backend() -> BaseCache:
    raise OSError("no such host")


BACKENDS = {
    "down": Down,
    "slow": Slow,
    "cancelling": Cancelling,
    "no backend": no_backend,
    "text": garbage("page"),
    "bytes": garbage(b"\x00\xff"),
    "truncated": garbage(b"\x9d\x01"),
    "nested": garbage(b"\x91" * 100_000),
}


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_a_backend_in_trouble_fails_nobody(benches: Callable[..., Bench], backend: Any) -> None:
    """Loads, purges and the drain go on without the backend; each trouble is counted."""
    bench = benches(backend=backend, store_timeout=0.05)
    source = Source()
    assert bench.store_now(source, "page").value == "page"
    assert bench.served() == "page"
    bench.purge(lambda: bench.engine.purge_path("/page", None))
    assert bench.served() is None
    assert bench.store_now(source, "new").value == "new"
    assert bench.errors > 0


def test_trouble_with_the_backend_is_logged_once_per_change(
    benches: Callable[..., Bench], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line when the backend goes, one when it is back, however many requests there are."""
    monkeypatch.setattr(breaker_module, "TRY_FIRST", 0.0)
    ill = threading.Event()
    ill.set()

    class Ailing(SimpleMemoryCache):  # type: ignore[misc]
        async def _get(self, *args: Any, **kwargs: Any) -> Any:
            if ill.is_set():
                raise ConnectionError("down")

        async def _set(self, *args: Any, **kwargs: Any) -> Any:
            return await self._get()

    bench, name = benches(backend=Ailing), f"the cache backend ({Ailing.__qualname__})"
    with caplog.at_level(logging.WARNING, "aswr.store"):
        bench.store_now(Source(), 1)
        bench.store_now(Source(), 2)
        ill.clear()
        bench.store_now(Source(), 3)
    assert [record.getMessage() for record in caplog.records] == [
        f"{name} fails (ConnectionError: down); memory and loads carry on",
        f"{name} answers again",
    ]


@pytest.fixture
def shared() -> SimpleMemoryCache:
    """Memory behind two stores, as two processes share a server."""
    return SimpleMemoryCache()


@pytest.fixture
def pair(benches: Callable[..., Bench], shared: SimpleMemoryCache) -> tuple[Bench, Bench]:
    return benches(backend=shared), benches(backend=shared)


def test_what_another_process_stored_is_adopted(pair: tuple[Bench, Bench]) -> None:
    """A miss takes what the backend holds instead of loading; forced, it loads all the same."""
    here, there = pair
    source = Source(CALL)
    here.store_now(source, {"page": 1})
    result = there.result(there.ask(source))
    assert (result.how, result.entry and result.entry.value) == (How.HIT, {"page": 1})
    assert source.loads == 1
    there.join()
    assert there.served(CALL) == {"page": 1}
    there.store_now(source, "forced")
    assert source.loads == 2


def test_a_stale_entry_from_the_backend_answers_and_is_refreshed(
    pair: tuple[Bench, Bench],
) -> None:
    """Found stale, it is served at once, while the flight goes on to load."""
    here, there = pair
    source = Source(CALL)
    here.store_now(source, "old")
    there.clock.now += 7
    assert there.result(there.ask(source)).how is How.HIT
    source.next().give("new")
    there.join()
    assert there.served(CALL) == "new"


def test_what_was_stored_before_a_purge_is_not_adopted(pair: tuple[Bench, Bench]) -> None:
    """An entry of another process whose load began before its purge here costs a load."""
    here, there = pair
    source = Source(CALL)
    waiter = here.ask(source)
    call = source.next()
    here.clock.now = there.clock.now = 1_005.0
    there.purge(lambda: there.engine.purge_tags(["news"]))
    here.clock.now = there.clock.now = 1_006.0
    call.give("old", tags=("news",))
    here.result(waiter)
    here.join()
    waiter = there.ask(source)
    source.next().give("new")
    assert there.result(waiter).value == "new"


def test_what_another_purge_concerns_is_adopted(pair: tuple[Bench, Bench]) -> None:
    """A purge of something else costs no load of what another process stored before it."""
    here, there = pair
    source = Source(CALL)
    here.store_now(source, "page", tags=("news",))
    there.purge(lambda: there.engine.purge_tags(["sport"]))
    result = there.result(there.ask(source))
    assert (result.how, result.entry and result.entry.value) == (How.HIT, "page")
    assert source.loads == 1


def test_what_is_loaded_after_a_purge_is_adopted(pair: tuple[Bench, Bench]) -> None:
    """Once clocks cannot be mistaken any more, what another process loads is taken again."""
    here, there = pair
    source = Source(CALL)
    there.purge(lambda: there.engine.purge_tags(["news"]))
    here.clock.now = there.clock.now = here.clock.now + SKEW + 0.1
    here.store_now(source, "new", tags=("news",))
    assert there.result(there.ask(source)).how is How.HIT
    assert source.loads == 1


def test_what_is_outdated_leaves_the_backend_too(pair: tuple[Bench, Bench]) -> None:
    """After an answer that says the stored one is over, nobody finds the stored one again."""
    here, _ = pair
    source = Source(CALL)
    here.store_now(source, "page")
    waiter = here.ask(source, force=True)
    source.next().give("not found", Fate.DROP)
    assert here.result(waiter).value == "not found"
    here.join()
    for bench in pair:
        waiter = bench.ask(source)
        source.next().give("back", Fate.KEEP)
        assert bench.result(waiter).value == "back"
        bench.join()


def test_a_result_the_codec_cannot_carry_stays_in_memory(
    pair: tuple[Bench, Bench], shared: SimpleMemoryCache
) -> None:
    """An object is kept by reference and never reaches the backend."""
    here, _ = pair
    value = object()
    here.store_now(Source(CALL), value)
    assert here.served(CALL) is value
    assert shared._cache == {}
    assert here.errors == 0


def test_a_load_that_is_not_shared(pair: tuple[Bench, Bench], shared: SimpleMemoryCache) -> None:
    """What is meant for this process alone is neither looked for elsewhere nor sent."""
    here, there = pair
    source = Source(CALL)
    here.store_now(source, "shared")
    source.load = replace(source.load, shared=False)
    before = dict(shared._cache)
    there.store_now(source, "own")
    assert (there.served(CALL), here.served(CALL)) == ("own", "shared")
    assert shared._cache == before


def test_whether_a_purge_reached_the_backend(
    pair: tuple[Bench, Bench], benches: Callable[..., Bench]
) -> None:
    """A purge tells whether the shared store has it; where there is none, nothing is missing."""
    for bench, told in ((pair[0], True), (benches(), True), (benches(backend=Down), False)):
        bench.store_now(Source(CALL), "page")
        clean = bench.engine.purge_call(CALL)
        assert bench.runtime.submit(clean, "purge").result(LIMIT) is told
        assert bench.served(CALL) is None


@pytest.mark.parametrize("sharing", [False, True], ids=["alone", "shared"])
def test_a_soft_purge_serves_once_more_and_renews(
    benches: Callable[..., Bench], shared: SimpleMemoryCache, sharing: bool
) -> None:
    """What is purged softly answers who comes, while it is loaded anew; then it is fresh again."""
    bench = benches(backend=shared if sharing else None)
    source = Source(CALL)
    bench.store_now(source, "old", tags=("news",))
    bench.purge(lambda: bench.engine.purge_tags(["news"], soft=True))
    entry = bench.store.peek(CALL)
    assert entry is not None
    assert bench.engine.judge(CALL, entry)[1].verdict is Verdict.STALE
    assert bench.served(CALL) == "old"
    bench.engine.start(source.load)
    source.next().give("new", tags=("news",))
    bench.join()
    assert bench.served(CALL) == "new"
    assert bench.engine.judge(CALL, bench.store.peek(CALL))[1].verdict is Verdict.FRESH
    assert source.loads == 2


# 10. The drain keeps its deadline.


def test_the_drain_lets_loads_end(bench: Bench) -> None:
    """A load that ends within the time is stored and delivered; nothing new begins."""
    source, other = Source(), Source(("other",))
    waiter = bench.ask(source)
    call = source.next()
    draining = bench.runtime.submit(lambda: bench.engine.drain(LIMIT), "drain")
    bench.barrier()
    bench.engine.start(other.load)
    assert bench.result(bench.engine.enlist(other.load)) == Result(How.PASS, detail="closed")
    assert not bench.runtime.submit(_returning(bench.engine.tick, other.load, INTERVAL), "").result(
        LIMIT
    )
    call.give("page")
    draining.result(LIMIT)
    assert bench.result(waiter).value == "page"
    assert (bench.served(), other.loads) == ("page", 0)


def test_the_drain_lets_passing_views_end(bench: Bench) -> None:
    """A view that passes is waited for, from the moment in which it was posted."""
    gate = threading.Event()

    async def view() -> str:
        await asyncio.to_thread(gate.wait, LIMIT)
        return "page"

    with bench.held():
        passing = bench.runtime.submit(lambda: bench.engine.keep(view), "pass")
        draining = bench.runtime.submit(lambda: bench.engine.drain(LIMIT), "drain")
    bench.barrier()
    assert not draining.done()
    gate.set()
    draining.result(LIMIT)
    assert passing.result(0) == "page"


async def _stubborn() -> Loaded:
    for _ in range(2):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue
    return Loaded("never")


@pytest.mark.parametrize("kind", ["async", "sync", "stubborn"])
def test_the_drain_does_not_wait_for_a_load_that_hangs(bench: Bench, kind: str) -> None:
    """When the time is up loads are cancelled, waiters are told, and the drain is over."""
    source = Source(sync=kind == "sync")
    if kind == "stubborn":

        async def run(flight: Flight) -> Any:
            return await flight.run(_stubborn(), flight.context())

        source.load = Load(KEY, "stubborn", Times(10), run, False)
    waiter = bench.ask(source)
    call = source.next() if kind != "stubborn" else None
    began = time.monotonic()
    bench.runtime.submit(lambda: bench.engine.drain(0.05), "drain").result(3)
    assert time.monotonic() - began < 2
    result = bench.result(waiter)
    assert result.how is How.FAILED
    assert isinstance(result.value, WaitTimeout)
    assert "closing" in str(result.value)
    assert bench.engine.flights == {}
    assert len(bench.engine.failures) == 0, "who is cut short has not failed"
    if call is not None and kind == "async":
        bench.barrier()
        assert call.outcome.cancelled()
    elif call is not None:
        call.give("late")
        bench.barrier()
        assert bench.served() is None


def test_a_closed_engine_starts_no_loop(bench: Bench) -> None:
    """After the drain an ask is a pass that needs neither the loop nor a thread."""
    bench.runtime.submit(lambda: bench.engine.drain(0), "drain").result(LIMIT)
    source = Source()

    def refuse() -> Runtime:
        raise AssertionError("the loop was asked for")

    engine = bench.engine
    used, engine._runtime = engine._runtime, refuse
    try:
        waiter = engine.enlist(source.load, force=True)
        assert engine.wait(waiter, LIMIT, TWIN) == Result(How.PASS, detail="closed")
        result = asyncio.run(engine.await_(engine.enlist(source.load), LIMIT))
        assert result == Result(How.PASS, detail="closed")
        engine.start(source.load)
    finally:
        engine._runtime = used


# 12. No wait for ever.


def test_patience_is_shorter_where_an_older_entry_can_stand_in(bench: Bench) -> None:
    """`soft_timeout` holds while `stale_if_error` covers an entry, `wait_timeout` else."""
    source = Source(soft_timeout=0.5, wait_timeout=3, stale_if_error=20)
    waiter = Waiter(source.load)
    assert bench.engine.patience(waiter) == 3
    entry = bench.store_now(source, "page")
    bench.clock.now += 11
    assert bench.engine.patience(waiter) == 0.5
    bench.clock.now = entry.error_until - 0.4
    assert bench.engine.patience(waiter) == 3, "it will be gone when the patience is"
    parent = bench.flight(source.load)
    assert bench.engine.patience(Waiter(source.load, parent=parent)) is None


def test_impatience_is_a_503_that_says_when_to_come_again(bench: Bench) -> None:
    """`WaitTimeout` names the load and carries Retry-After."""
    error = bench.engine.impatient(Source(wait_timeout=4).load, "this took longer than 4 s")
    assert isinstance(error, WaitTimeout)
    assert error.code == 503
    assert ("Retry-After", "4") in error.get_headers()
    assert any("load of" in note for note in error.__notes__)


def test_a_result_that_comes_with_the_last_second_is_taken(bench: Bench) -> None:
    """Between the end of patience and the leaving a result may come: it is not thrown away."""

    class Late(Future[Result]):
        """The result comes in the moment in which patience ends."""

        def result(self, timeout: float | None = None) -> Result:
            if not self.done():
                self.set_result(Result(How.ANSWERED, value="just in time"))
                raise TimeoutError
            return super().result(0)

    waiter = Waiter(Source().load, Late())
    assert bench.result(waiter).value == "just in time"


def test_who_is_told_to_run_the_load_with_the_last_second_runs_it(bench: Bench) -> None:
    """Told so in the moment in which patience ends, he runs it: nobody else would."""
    ran = []

    def run(flight: Flight) -> Loaded:
        ran.append(flight)
        waiter.resolve(Result(How.ANSWERED, value="mine"))
        return Loaded("mine")

    load = Load(KEY, "mine", Times(10), run, True)
    flight = bench.flight(load, Future())

    class Late(Future[Result]):
        def result(self, timeout: float | None = None) -> Result:
            if not self.done():
                assert waiter.run_inline(flight)
                raise TimeoutError
            return super().result(0)

    waiter = Waiter(load, Late(), inline=True)
    assert bench.result(waiter).value == "mine"
    assert ran == [flight]


def test_who_ran_out_of_patience_can_be_given_nothing_more(bench: Bench) -> None:
    """Once `wait` has returned without a result, none is handed over that nobody would take."""
    waiter = Waiter(Source().load, inline=True)
    assert bench.wait(waiter, 0) is None
    assert waiter.future.cancelled()
    assert waiter.gone


def test_load_timeout_cancels_an_async_load(bench: Bench) -> None:
    """Its waiters get `LoadTimeout`, a 504, it is cancelled, and counted once as a failure."""
    source = Source(load_timeout=0.02)
    waiters = [bench.ask(source) for _ in range(3)]
    call = source.next()
    errors = [bench.result(waiter).value for waiter in waiters]
    assert all(isinstance(error, LoadTimeout) and error.code == 504 for error in errors)
    assert len({id(error) for error in errors}) == 3
    bench.join()
    assert call.outcome.cancelled()
    assert (bench.engine.stats()["load_failures"], bench.engine.flights) == (1, {})


def test_who_comes_while_a_load_is_being_cancelled_learns_why(bench: Bench) -> None:
    """Between the time-out and the end of the coroutine a waiter may take his seat."""
    source = Source(load_timeout=3600)
    bench.ask(source)
    flight = source.next().flight
    late = Waiter(source.load)

    def at_once() -> None:
        bench.engine._expire(flight)
        bench.engine._join(late)

    bench.runtime.post(at_once)
    assert isinstance(bench.result(late).value, LoadTimeout)


def test_a_sync_load_past_its_time_is_still_used(bench: Bench) -> None:
    """A thread cannot be stopped: waiters are released, nobody starts another, it is stored."""
    source = Source(sync=True, load_timeout=0.02)
    first = bench.ask(source)
    call = source.next()
    assert isinstance(bench.result(first).value, LoadTimeout)
    late = bench.ask(source)
    assert isinstance(bench.result(late).value, LoadTimeout), "a late waiter waits his own time"
    assert (source.loads, bench.engine.stats()["load_failures"]) == (1, 1)
    assert bench.retry_at() is not None
    call.give("late")
    bench.join()
    assert (bench.served(), bench.retry_at()) == ("late", None)


def test_a_load_whose_time_was_up_before_it_ran_is_cancelled(bench: Bench) -> None:
    """A load that was held up before its coroutine began does not go on without a limit."""
    source = Source(load_timeout=0.02)
    opening: queue.SimpleQueue[asyncio.Event] = queue.SimpleQueue()
    inner = source.load.run

    async def run(flight: Flight) -> Any:
        opened = asyncio.Event()
        opening.put(opened)
        await opened.wait()
        return await inner(flight)

    source.load = Load(KEY, "slow to open", source.load.times, run, False)
    waiter = bench.ask(source)
    opened = opening.get(timeout=LIMIT)
    assert isinstance(bench.result(waiter).value, LoadTimeout)
    bench.runtime.post(opened.set)
    bench.join()
    assert source.loads == 0


def followed(bench: Bench, elsewhere: bool) -> "queue.SimpleQueue[asyncio.Event]":
    """Before each load another process is waited for, until that is set; has it loaded then?"""
    opening: queue.SimpleQueue[asyncio.Event] = queue.SimpleQueue()

    async def consult(flight: Flight) -> bool:
        opened = asyncio.Event()
        opening.put(opened)
        await opened.wait()
        if elsewhere:
            bench.engine._end(flight)
        return elsewhere

    bench.engine._consult = consult  # type: ignore[method-assign]
    return opening


def test_another_process_that_takes_too_long_fails_no_load_here(bench: Bench) -> None:
    """Whose time is up before his load began has a `LoadTimeout`; retries back off all the same."""
    source = Source(load_timeout=0.02)
    opening = followed(bench, elsewhere=True)
    waiter = bench.ask(source)
    assert isinstance(bench.result(waiter).value, LoadTimeout)
    bench.runtime.post(opening.get(timeout=LIMIT).set)
    bench.join()
    stats = bench.engine.stats()
    assert (stats["loads"], stats["load_failures"], source.loads) == (0, 0, 0)
    assert bench.retry_at() is not None


def test_a_load_that_begins_when_its_time_is_up_has_failed(bench: Bench) -> None:
    """Another process held it up: it has failed whatever it brings, and what it brings is used."""
    source = Source(sync=True, load_timeout=0.02)
    opening = followed(bench, elsewhere=False)
    told: list[Event] = []
    bench.engine.events.subscribe(told.append, "load_started", "load_finished", "load_failed")
    waiter = bench.ask(source)
    assert isinstance(bench.result(waiter).value, LoadTimeout)
    bench.runtime.post(opening.get(timeout=LIMIT).set)
    source.next().give("late")
    bench.join()
    assert [event.kind for event in told] == ["load_started", "load_failed"]
    assert told[-1].reason.startswith("LoadTimeout: ")
    assert bench.served() == "late"


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize(
    "error", [SystemExit(1), KeyboardInterrupt(), StopIteration(), GeneratorExit(), BaseException()]
)
def test_whatever_a_load_raises_its_flight_ends(
    bench: Bench, sync: bool, error: BaseException
) -> None:
    """Not only exceptions: the waiters get an error, the key is free again, the loop goes on."""

    def raising(flight: Flight) -> Loaded:
        raise error

    async def araising(flight: Flight) -> Loaded:
        raise error

    load = Load(KEY, "bad", Times(10), raising if sync else araising, sync)
    result = bench.result(bench.engine.enlist(load))
    assert result.how is How.FAILED
    assert isinstance(result.value, RuntimeError)
    bench.join()
    assert bench.engine.flights == {}
    bench.store_now(Source(), "page")


@pytest.mark.parametrize("fate", [Fate.STORE, Fate.PASS])
def test_a_landing_that_fails_leaves_nobody_standing(bench: Bench, fate: Fate) -> None:
    """Where a result cannot even be dated, its waiters get the error and the key is free."""
    source = Source(stale_if_error=20)
    bench.store_now(source, "old")
    waiter = bench.ask(source, force=True)
    clock = bench.engine.clock

    def broken() -> float:
        raise ArithmeticError("no time")

    bench.engine.clock = broken
    source.next().give("page", fate, failed=fate is Fate.PASS)
    result = bench.result(waiter)
    assert (result.how, str(result.value)) == (How.FAILED, "no time")
    bench.join()
    bench.engine.clock = clock
    assert bench.store_now(source, "page").value == "page"


def test_too_many_waiters_are_turned_away(benches: Callable[..., Bench]) -> None:
    """Over the bound a caller fails at once, so that an older entry can stand in; loads begin."""
    bench = benches(max_waiters=1)
    source, other = Source(), Source(("other",))
    first = bench.ask(source)
    call = source.next()
    waiting = ThreadPoolExecutor(1)
    done = waiting.submit(bench.result, first)
    _until(lambda: bench.engine.waiting == 1)
    result = bench.result(bench.engine.enlist(other.load, sync=True))
    assert result.how is How.FAILED
    assert isinstance(result.value, WaitTimeout)
    other.next().give("other")
    call.give("page")
    assert done.result(LIMIT).value == "page"
    waiting.shutdown()
    assert bench.runtime.waiting == bench.engine.waiting == 0
    bench.join()
    assert bench.served(("other",)) == "other"


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.001)


def test_a_blocking_wait_on_the_loop_is_refused(bench: Bench) -> None:
    """It would wait for itself; the error names the async form, and no waiter stays behind."""
    source = Source()

    async def wrong() -> None:
        waiter = bench.engine.enlist(source.load)
        bench.engine.wait(waiter, LIMIT, TWIN)

    with pytest.raises(RuntimeError, match=r"await fn\(\.\.\.\)"):
        bench.runtime.submit(wrong, "wrong").result(LIMIT)
    bench.barrier()
    call = source.next()
    assert call.flight.waiters == []
    assert bench.engine.waiting == 0
    call.give("page")


# Loads that wait for loads.


def nest(bench: Bench, name: str, needs: Callable[[], Any], sync: bool) -> Load:
    """A load that, to be made, calls ``needs()``: a result, or an awaitable of one."""

    def run(flight: Flight) -> Loaded:
        return flight.context().run(lambda: Loaded(needs()))

    async def body() -> Loaded:
        return Loaded(await needs())

    async def arun(flight: Flight) -> Any:
        return await flight.run(body(), flight.context())

    return Load((name,), name, Times(10), run if sync else arun, sync)


def get(bench: Bench, load: Load) -> Any:
    """As a sync decorator would: raises what the load raised."""
    waiter = bench.engine.enlist(load, sync=True)
    result = bench.engine.wait(waiter, None if waiter.parent else LIMIT, TWIN)
    assert result is not None
    if result.how is How.FAILED:
        raise result.value
    assert result.how is not How.INLINE
    return result.value if result.entry is None else result.entry.value


async def aget(bench: Bench, load: Load) -> Any:
    """As an async decorator would."""
    result = await bench.engine.await_(bench.engine.enlist(load), LIMIT)
    assert result is not None
    if result.how is How.FAILED:
        raise result.value
    assert result.how is not How.INLINE
    return result.value if result.entry is None else result.entry.value


@pytest.mark.parametrize("sync", [False, True])
def test_a_cycle_of_loads_is_refused_and_named(bench: Bench, sync: bool) -> None:
    """a needs b needs a: the one who would close the circle gets an error that names it."""
    loads: dict[str, Load] = {}
    ask = get if sync else aget
    for name, needed in (("a", "b"), ("b", "c"), ("c", "a"), ("me", "me")):
        loads[name] = nest(bench, name, lambda needed=needed: ask(bench, loads[needed]), sync)  # type: ignore[misc]
    with pytest.raises(LoadCycle, match="c -> a -> b -> c"):
        get(bench, loads["a"])
    with pytest.raises(LoadCycle, match="me -> me"):
        get(bench, loads["me"])
    bench.join()
    assert bench.engine.flights == {}


def test_waiting_for_the_same_load_twice_is_no_cycle(bench: Bench) -> None:
    """A diamond, a needs b and c, both need d, is loaded, d once."""
    bottom = Source(("d",))
    b, c = (nest(bench, name, lambda: aget(bench, bottom.load), False) for name in "bc")

    async def both() -> list[Any]:
        return await asyncio.gather(aget(bench, b), aget(bench, c), aget(bench, b))

    waiter = bench.engine.enlist(nest(bench, "a", both, False))
    bottom.next().give("d")
    assert bench.result(waiter).value == ["d", "d", "d"]
    assert bottom.loads == 1


def test_one_worker_is_enough_for_nested_sync_loads(benches: Callable[..., Bench]) -> None:
    """A nested load runs on the compute thread that asked for it, to any depth."""
    bench = benches(workers=1)
    threads = set()

    def count(depth: int) -> Load:
        def needs() -> int:
            threads.add(threading.get_ident())
            return 0 if depth == 0 else get(bench, count(depth - 1)) + 1

        return nest(bench, f"depth {depth}", needs, True)

    assert get(bench, count(30)) == 30
    assert len(threads) == 1


def test_one_worker_is_enough_for_loads_that_wait_for_each_other(
    benches: Callable[..., Bench],
) -> None:
    """A thread that waits makes room: for a load begun by others, or one of its own event loop."""
    bench = benches(workers=1)
    shared = Source(("shared",))
    asked = threading.Semaphore(0)

    def needs() -> Any:
        asked.release()
        return get(bench, shared.load)

    outer = [nest(bench, name, needs, True) for name in "abc"]
    waiters = [bench.engine.enlist(load) for load in outer]
    call = shared.next()
    for _ in outer:
        assert asked.acquire(timeout=LIMIT)
    call.give("shared")
    assert [bench.result(waiter).value for waiter in waiters] == ["shared"] * 3

    inner = nest(bench, "inner", lambda: 7, True)
    looped = nest(bench, "looped", lambda: asyncio.run(aget(bench, inner)), True)
    assert get(bench, looped) == 7


def test_many_nested_loads_do_not_starve_few_workers(benches: Callable[..., Bench]) -> None:
    """Twenty loads on two workers, each of which needs three others, all end."""
    bench = benches(workers=2)
    leaves = [nest(bench, f"leaf {n}", lambda n=n: n, True) for n in range(6)]  # type: ignore[misc]

    def branch(n: int) -> Load:
        def needs() -> int:
            return sum(get(bench, leaves[(n + step) % 6]) for step in (0, 1, 2))

        return nest(bench, f"branch {n}", needs, True)

    results = together([lambda n=n: get(bench, branch(n)) for n in range(20)])  # type: ignore[misc]
    assert results == [sum((n + step) % 6 for step in (0, 1, 2)) for n in range(20)]
    assert bench.engine.stats()["loads"] == 26


def test_a_full_stack_leaves_no_flight_behind(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recursion too deep for Python is an error of the loads, wherever it strikes."""
    # It may strike where Python cannot raise, in a finaliser; pytest's hook for that needs stack.
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)

    def count(depth: int, start: int) -> Load:
        def needs() -> Any:
            return 0 if depth == 0 else get(bench, count(depth - 1, start)) + 1

        return nest(bench, f"{start}: depth {depth}", needs, True)

    def dig(depth: int, start: int) -> Any:
        return dig(depth - 1, start) if depth else get(bench, count(300, start))

    with ThreadPoolExecutor(1) as caller:
        for start in range(40):
            load = nest(bench, f"start {start}", lambda start=start: dig(start, start), True)  # type: ignore[misc]
            with pytest.raises((RecursionError, LoadError)):
                caller.submit(get, bench, load).result(LIMIT)
            bench.join()
            assert bench.engine.flights == {}


def test_an_inline_runner_who_left_is_not_waited_for(bench: Bench) -> None:
    """A caller who was to run the load himself and is gone is no runner: an executor thread is."""
    source = Source(sync=True)
    parent = bench.flight(Source(("parent",)).load)
    waiter = Waiter(source.load, parent=parent, inline=True)
    waiter.future.cancel()
    bench.runtime.post(bench.engine._join, waiter)
    source.next().give("page")
    bench.join()
    assert bench.served() == "page"


# Answers that belong to nobody, or to one.


def test_a_url_that_passes_is_remembered(bench: Bench) -> None:
    """A render that read something personal: all pass, now and until the timeout."""
    source = Source()
    waiters = [bench.ask(source) for _ in range(3)]
    source.next().give(None, Fate.PASS, detail="reads cookie session")
    for waiter in waiters:
        assert bench.result(waiter) == Result(How.PASS, detail="reads cookie session")
    bench.join()
    assert bench.result(bench.ask(source)).how is How.PASS
    bench.clock.now += 10
    bench.ask(source)
    source.next().give("page")
    bench.join()
    assert (source.loads, bench.served()) == (2, "page")


def test_an_answer_for_one_is_given_to_one(bench: Bench) -> None:
    """What may not be given to a second person goes to a single waiter, and is not stored."""
    source = Source()
    waiters = [bench.ask(source) for _ in range(3)]
    source.next().give("yours", Fate.ONE, detail="Set-Cookie")
    hows = [bench.result(waiter).how for waiter in waiters]
    assert hows == [How.ANSWERED, How.PASS, How.PASS]
    assert bench.served() is None


def test_waiters_are_released_while_the_load_goes_on(bench: Bench) -> None:
    """`release` lets everybody pass at once; the late result is neither stored nor delivered."""
    source = Source()
    waiters = [bench.ask(source) for _ in range(2)]
    call = source.next()
    call.flight.release("reads header Accept")
    call.flight.release("a second time")
    assert [bench.result(waiter).detail for waiter in waiters] == ["reads header Accept"] * 2
    assert bench.result(bench.ask(source)).how is How.PASS
    call.give("page")
    bench.join()
    assert bench.served() is None
    entry = bench.store.peek(KEY)
    assert entry is not None
    assert entry.passing == "reads header Accept"


def test_a_release_in_time_can_be_called_off(bench: Bench) -> None:
    """`release_in` releases after the given time unless it is told otherwise before."""
    source = Source()
    waiter = bench.ask(source)
    call = source.next()
    calm = call.flight.release_in(0.01, "streams for too long")
    calm()
    bench.barrier()
    assert not call.flight.passing
    call.flight.release_in(0.0, "streams for too long")
    assert bench.result(waiter).detail == "streams for too long"
    call.give("page")


def test_an_answer_too_big_for_the_memory_is_still_an_answer(bench: Bench) -> None:
    """What does not fit is answered and not stored; what it replaces is outdated and leaves."""
    source = Source()
    bench.store_now(source, "old")
    waiter = bench.ask(source, force=True)
    source.next().give("big", size=2**20)
    assert bench.result(waiter).how is How.ANSWERED
    assert bench.result(waiter).value == "big"
    assert bench.served() is None
    bench.join()
    assert bench.store.variants("/page") == []


def test_a_forced_load_runs_although_the_entry_is_fresh(bench: Bench) -> None:
    """`force` loads; when that fails, the entry is still there and the caller learns of it."""
    source = Source()
    entry = bench.store_now(source, "page")
    waiter = bench.ask(source, force=True)
    source.next().fail(OSError("down"))
    result = bench.result(waiter)
    assert (result.how, str(result.value)) == (How.FAILED, "down")
    assert bench.store.peek(KEY) is entry


@pytest.mark.parametrize("value", [None, "", 0, [], False])
def test_empty_results_are_cached_like_any_other(bench: Bench, value: Any) -> None:
    """A falsy value is a value."""
    source = Source()
    bench.store_now(source, value)
    result = bench.result(bench.ask(source))
    assert result.how is How.HIT
    assert result.entry is not None
    assert result.entry.value == value


# What a URL is seen to read.


@pytest.fixture
def page() -> Page:
    return Page(stale_if_error=60)


def learn(bench: Bench, caller: Caller, *names: str, value: Any = "page", **loaded: Any) -> Entry:
    """A load on this caller's behalf that reads these inputs, and is stored."""
    waiter = bench.ask(caller, force=True)
    call = caller.next()
    call.read(*names)
    call.give(value, **loaded)
    entry = bench.result(waiter).entry
    bench.join()
    assert entry is not None
    return entry


def names_at(bench: Bench) -> tuple[str, ...]:
    note = bench.store.glance(KEY)
    return () if note is None else note.names


@pytest.mark.parametrize("sync", [False, True])
def test_what_was_read_becomes_the_key(bench: Bench, sync: bool) -> None:
    """The answer lies under what its render read, and who differs there has a load of his own."""
    page = Page(sync=sync)
    german, english, nobody = page.of(lang="de"), page.of(lang="en"), page.of()
    entry = learn(bench, german, "lang", value="Seite")
    assert bench.store.peek(german.key("lang")) is entry
    note = bench.store.peek(KEY)
    assert note is not None
    assert (note.value, note.names, note.passing) == (None, ("lang",), "")
    assert bench.sees(page.of(lang="de", theme="dark")) == "Seite"
    assert (bench.sees(english), bench.sees(nobody)) == (None, None)
    for caller, value in ((english, "page"), (nobody, "?")):
        waiter = bench.ask(caller)
        call = caller.next()
        call.read("lang")
        call.give(value)
        assert bench.result(waiter).how is How.STORED
    bench.join()
    assert [bench.sees(caller) for caller in (german, english, nobody)] == ["Seite", "page", "?"]
    assert bench.result(bench.ask(german)).how is How.HIT
    assert page.loads == 3


def test_a_url_that_reads_nothing_is_shared_by_all(bench: Bench, page: Page) -> None:
    """One entry, at the URL's own key, and no note."""
    entry = learn(bench, page.of(lang="de", cookie="me"))
    assert bench.store.peek(KEY) is entry
    assert entry.names == ()
    assert bench.result(bench.ask(page.of(lang="en", cookie="you"))).entry is entry


def test_waiters_who_agree_share_and_the_others_look_again(bench: Bench, page: Page) -> None:
    """Each value of what was read is loaded once, on behalf of one who brings it."""
    waiters = {
        lang: [bench.ask(page.of(lang=lang, number=str(n))) for n in range(3)]
        for lang in ("de", "en", "fr")
    }
    assert page.loads == 1
    for number, lang in enumerate(waiters):
        call = page.next()
        assert page.loads == (1 if number == 0 else 3)
        call.read("lang")
        call.give(call.flight.load.under.inputs["lang"])  # type: ignore[union-attr]
        assert [bench.result(w).value for w in waiters[lang]] == [lang] * 3
    bench.join()
    assert page.loads == 3


def test_who_looks_again_is_answered_by_what_is_there(bench: Bench, page: Page) -> None:
    """Who differs from the render finds his own variant, if there is one, or its flight."""
    german, english = page.of(lang="de"), page.of(lang="en")
    learn(bench, english, "lang", value="page")
    bench.purge(lambda: bench.engine.purge_path("/page", None))
    old = bench.ask(german)
    waits = bench.ask(english)  # nothing is known any more: they share a flight
    assert len(bench.engine.flights) == 1
    call = german.next()
    call.read("lang")
    bench.runtime.submit(
        _returning(bench.store.publish, english.key("lang"), _fresh(bench, "stored meanwhile")), ""
    ).result(LIMIT)
    call.give("Seite")
    assert bench.result(old).value == "Seite"
    result = bench.result(waits)
    assert (result.how, result.entry and result.entry.value) == (How.HIT, "stored meanwhile")


def _fresh(bench: Bench, value: Any) -> Entry:
    now = bench.clock()
    return Entry(
        value=value, stored=now, fresh_until=now + 5, stale_until=now + 5, error_until=now + 5,
        born=bench.store.stamps.tick(),
    )  # fmt: skip


@pytest.mark.parametrize("sync", [False, True])
def test_who_carries_something_personal_is_released_at_the_read(bench: Bench, sync: bool) -> None:
    """He passes while the load goes on; those who do not carry it share what it brings."""
    page = Page(sync=sync)
    guest, member = page.of(), page.of(cookie="me")
    stays = bench.ask(guest)
    goes = [bench.ask(member), bench.ask(page.of(cookie="you"))]
    call = guest.next()
    call.read("lang")
    bench.barrier()
    assert call.flight.waiters == [stays, *goes]
    call.read("cookie")
    assert [bench.result(w) for w in goes] == [Result(How.PASS, detail="reads cookie")] * 2
    assert call.flight.waiters == [stays]
    newcomer = bench.ask(member)
    assert newcomer.future.done()
    assert bench.result(newcomer).detail == "reads cookie"
    late_guest = bench.ask(page.of())
    call.give("for guests")
    assert [bench.result(w).value for w in (stays, late_guest)] == ["for guests"] * 2
    bench.join()
    assert bench.result(bench.ask(member)).detail == "reads cookie"
    assert (bench.sees(guest), bench.sees(member), page.loads) == (
        "for guests", "reads cookie", 1,
    )  # fmt: skip


def test_who_began_the_load_may_be_released_by_it(bench: Bench, page: Page) -> None:
    """A render sees nobody's cookie: what the person who began it brings is not in it."""
    member, guest = page.of(cookie="me"), page.of()
    goes, stays = bench.ask(member), bench.ask(guest)
    call = member.next()
    call.read("cookie")
    assert bench.result(goes).detail == "reads cookie"
    call.give("for guests")
    assert bench.result(stays).value == "for guests"
    bench.join()
    assert bench.sees(guest) == "for guests"


def test_a_read_that_nobody_told_releases_at_the_end(bench: Bench, page: Page) -> None:
    """What a load says only with its result counts as much: no carrier gets the answer."""
    member, guest = page.of(cookie="me"), page.of()
    waiters = [bench.ask(guest), bench.ask(member)]
    page.next().give("for guests", names=("cookie",))
    results = [bench.result(waiter) for waiter in waiters]
    assert [result.how for result in results] == [How.STORED, How.PASS]
    assert results[1].detail == "reads cookie"


def test_a_release_by_a_read_frees_who_waits_in_a_load(bench: Bench, page: Page) -> None:
    """The flight whose code he is waits no more for this one, so it closes no cycle."""
    outer = bench.flight(Source(("outer",)).load)
    waiter = Waiter(page.of(cookie="me").load, parent=outer)
    bench.runtime.post(bench.engine._join, waiter)
    call = page.next()
    assert outer.waits_for == [call.flight]
    call.read("cookie")
    assert bench.result(waiter).how is How.PASS
    assert outer.waits_for == []
    call.give("for guests")


def test_who_left_is_not_looked_for_again(bench: Bench, page: Page) -> None:
    """A load is not begun for a waiter who differs but has run out of patience."""
    german, english = page.of(lang="de"), page.of(lang="en")
    stays, leaves = bench.ask(german), bench.ask(english)
    call = german.next()
    assert bench.wait(leaves, 0) is None
    bench.barrier()
    call.read("lang")
    call.give("Seite")
    assert bench.result(stays).value == "Seite"
    bench.join()
    assert page.loads == 1


def test_what_a_url_reads_only_grows(bench: Bench, page: Page) -> None:
    """A render that reads other inputs than the last one adds to them, in no one's order."""
    caller = page.of(lang="de", theme="dark")
    learn(bench, caller, "theme", value=1)
    learn(bench, caller, "lang", value=2)
    assert names_at(bench) == ("lang", "theme")
    learn(bench, caller, value=3)
    assert names_at(bench) == ("lang", "theme")
    assert bench.sees(caller) == 3
    assert bench.sees(page.of(lang="de")) is None


def test_an_answer_under_fewer_inputs_stops_matching(bench: Bench, page: Page) -> None:
    """It was made for all who agree in less, but its next render would tell them apart."""
    learn(bench, page.of(), value="one for all")
    assert bench.sees(page.of(lang="en")) == "one for all"
    german = page.of(lang="de")
    learn(bench, german, "lang", value="Seite")
    assert bench.sees(page.of(lang="en")) is None
    assert bench.engine.fallback(page.of(lang="en").load) is None
    assert bench.sees(german) == "Seite"


def test_an_older_load_teaches_what_a_newer_one_did_not_read(bench: Bench, page: Page) -> None:
    """What was read counts, whenever that load began: the newer answer is not for all, either."""
    german, english = page.of(lang="de"), page.of(lang="en")
    waiter = bench.ask(german)
    call = german.next()
    bench.runtime.submit(
        _returning(bench.store.publish, KEY, _fresh(bench, "newer, for all")), ""
    ).result(LIMIT)
    call.read("lang")
    call.give("Seite")
    assert bench.result(waiter).value == "Seite"
    assert names_at(bench) == ("lang",)
    assert (bench.sees(german), bench.sees(english)) == ("Seite", None)


def test_flights_of_a_url_move_when_it_is_seen_to_read_more(bench: Bench, page: Page) -> None:
    """Who asks next finds the flight under way for what he brings: no second load of one key."""
    learn(bench, page.of(lang="fr"), "lang")
    german = page.of(lang="de", theme="dark")
    english = page.of(lang="en", theme="dark")
    waiters = [bench.ask(german), bench.ask(english)]
    calls = [german.next(), english.next()]
    calls[0].read("theme")
    calls[0].give("Seite")
    assert bench.result(waiters[0]).value == "Seite"
    bench.join_but(1)
    assert list(bench.engine.flights) == [english.key("lang", "theme")]
    assert calls[1].flight.key == english.key("lang", "theme")
    again = bench.ask(english)
    assert calls[1].flight.waiters == [waiters[1], again]
    light = bench.ask(page.of(lang="en", theme="light"))
    assert page.loads == 4
    page.next().give("light page")
    calls[1].give("dark page")
    assert [bench.result(w).value for w in (*waiters[1:], again)] == ["dark page"] * 2
    assert bench.result(light).value == "light page"
    bench.join()
    assert bench.sees(english) == "dark page"


def test_who_waits_on_a_flight_that_moved_may_have_to_look_again(bench: Bench, page: Page) -> None:
    """A flight has one key; who sits in it and differs in what was learned meanwhile leaves it."""
    learn(bench, page.of(lang="fr"), "lang")
    dark, light = page.of(lang="en", theme="dark"), page.of(lang="en", theme="light")
    waiters = [bench.ask(dark), bench.ask(light)]
    call = dark.next()
    other = bench.ask(page.of(lang="de"))
    theme = page.next()
    theme.read("theme")
    theme.give("Seite")
    bench.result(other)
    call.give("dark page")  # it did not read the theme, but might have
    assert bench.result(waiters[0]).value == "dark page"
    light.next().give("light page")
    assert bench.result(waiters[1]).value == "light page"


def test_a_start_and_a_tick_find_the_variant(bench: Bench, page: Page) -> None:
    """A stale hit and a periodic refresh load the entry of those whose inputs they have."""
    german, english = page.of(lang="de"), page.of(lang="en")
    for caller in (german, english):
        learn(bench, caller, "lang", value="old")
    bench.clock.now += 7
    bench.engine.start(german.load)
    german.next().give("neu")
    bench.runtime.post(bench.engine.tick, english.load, INTERVAL)
    english.next().give("new")
    bench.join()
    assert [bench.sees(german), bench.sees(english)] == ["neu", "new"]


def test_a_stale_variant_is_loaded_once(bench: Bench, page: Page) -> None:
    """Hits under the variant's key and under the URL's come to one flight."""
    german = page.of(lang="de")
    learn(bench, german, "lang", value="old")
    bench.clock.now += 7
    found, _, _ = bench.engine.urls.find(german.load)
    together([lambda load=load: bench.engine.start(load) for load in [found, german.load] * 10])  # type: ignore[misc]
    waiter = bench.ask(german)
    german.next().give("new")
    assert bench.result(waiter).value == "new"
    bench.join()
    assert page.loads == 2


def test_failures_count_per_variant(bench: Bench, page: Page) -> None:
    """One variant's trouble holds back its own refresh, no other's."""
    german, english = page.of(lang="de"), page.of(lang="en")
    for caller in (german, english):
        learn(bench, caller, "lang", value="old")
    bench.fail_now(german)
    assert bench.retry_at(german.key("lang")) is not None
    assert bench.retry_at(english.key("lang")) is None
    assert bench.retry_at(KEY) is None
    bench.clock.now += 11
    assert (bench.sees(german), bench.sees(english)) == ("old", None)


def test_patience_and_fallback_are_of_the_callers_own_variant(bench: Bench) -> None:
    """An older entry stands in for those who agree with its render, and for nobody else."""
    page = Page(soft_timeout=0.5, wait_timeout=3, stale_if_error=20)
    german, english, member = page.of(lang="de"), page.of(lang="en"), page.of(lang="de", cookie="x")
    entry = learn(bench, german, "lang", "cookie")
    bench.clock.now += 11
    assert bench.engine.fallback(german.load) is entry
    assert bench.engine.fallback(english.load) is None
    assert bench.engine.fallback(member.load) is None
    assert bench.engine.patience(Waiter(german.load)) == 0.5
    assert bench.engine.patience(Waiter(english.load)) == 3


# A failed load, and one that must not be stored, of a URL that reads more than was known.

FAILURES = {
    "failed": Loaded("oops", Fate.FAILED, names=("lang", "theme")),
    "kept": Loaded("no", Fate.KEEP, names=("lang", "theme")),
    "failed pass": Loaded(None, Fate.PASS, names=("lang", "theme"), detail="why", failed=True),
    "failed with everything": Loaded(
        "oops", Fate.FAILED, names=("lang", *(f"name {n:02}" for n in range(MOST_NAMES)))
    ),
}


@pytest.mark.parametrize("outcome", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("known", [(), ("lang",)])
def test_a_failed_load_that_reads_more_drops_no_good_entry(
    bench: Bench, page: Page, known: tuple[str, ...], outcome: Loaded
) -> None:
    """Invariant 4: what was stored under fewer inputs is found by who agrees on them."""
    caller, other = page.of(lang="de", theme="dark"), page.of(lang="en")
    entry = learn(bench, caller, *known)
    bench.clock.now += 7
    bench.engine.start(caller.load)
    caller.next().outcome.set_result(outcome)
    bench.join()
    learns = known and len(outcome.names) < MOST_NAMES
    assert names_at(bench) == (tuple(sorted({*known, *outcome.names})) if learns else known)
    assert bench.store.peek(caller.key(*known)) is entry
    assert bench.sees(caller) == "page"
    assert bench.sees(other) == (None if known else "page")
    where = bench.engine.urls.find(caller.load)[0].key
    assert bench.retry_at(where) is not None, "it is not tried again at once"
    bench.clock.now += 4
    assert bench.sees(caller) == "page", "stale_if_error holds"


@pytest.mark.parametrize("outcome", FAILURES.values(), ids=FAILURES)
def test_waiters_of_a_failed_load_that_reads_more(
    bench: Bench, page: Page, outcome: Loaded
) -> None:
    """An error may tell what was read: who differs there gets another one, of his own load."""
    german, english = page.of(lang="de", theme="dark"), page.of(lang="en", theme="dark")
    learn(bench, german)
    bench.clock.now += 11
    waiters = [bench.ask(german), bench.ask(page.of(lang="de", theme="dark")), bench.ask(english)]
    german.next().outcome.set_result(outcome)
    assert bench.result(waiters[0]).how is bench.result(waiters[1]).how
    assert bench.result(waiters[0]).value == outcome.value
    assert not bench.answered(waiters[2])
    english.next().outcome.set_result(replace(outcome, value="his own"))
    assert bench.result(waiters[2]).value in ("his own", None)
    bench.join()
    assert bench.sees(english) == "page", "stale_if_error holds"


@pytest.mark.parametrize("gone", ["never there", "past its deadline", "purged"])
def test_a_failed_load_teaches_where_nothing_good_is_lost(
    bench: Bench, page: Page, gone: str
) -> None:
    """Then what it read is known, and the next callers need not wait for each other's errors."""
    caller = page.of(lang="de")
    if gone != "never there":
        learn(bench, caller, tags=("news",))
    if gone == "past its deadline":
        bench.clock.now += 100
    elif gone == "purged":
        bench.purge(lambda: bench.engine.purge_tags(["news"]))
    waiter = bench.ask(caller)
    call = caller.next()
    call.read("lang")
    call.give("oops", Fate.FAILED)
    assert bench.result(waiter).how is How.FAILED
    assert names_at(bench) == ("lang",)
    assert bench.retry_at(caller.key("lang")) is not None


def test_an_exception_is_given_to_those_who_agree_in_what_was_read(
    bench: Bench, page: Page
) -> None:
    """A load that raises tells no names with its result; what it told before it raised counts."""
    german, english = page.of(lang="de"), page.of(lang="en")
    waiters = [bench.ask(german), bench.ask(english)]
    call = german.next()
    call.read("lang")
    call.fail(ValueError("no such thing in de"))
    assert str(bench.result(waiters[0]).value) == "no such thing in de"
    assert not bench.answered(waiters[1])
    english.next().give("page")
    assert bench.result(waiters[1]).value == "page"


@pytest.mark.parametrize("good", [False, True])
def test_a_failed_pass(bench: Bench, page: Page, good: bool) -> None:
    """It raised, and what it read nobody may share: that counts where no good entry is lost."""
    caller = page.of()
    if good:
        learn(bench, caller)
    waiter = bench.ask(caller, force=True)
    caller.next().give(None, Fate.PASS, detail="writes session", failed=True)
    assert bench.result(waiter).how is How.PASS
    bench.join()
    assert bench.sees(caller) == ("page" if good else "writes session")
    assert bench.engine.stats()["load_failures"] == (1 if good else 0)


@pytest.mark.parametrize("good", [False, True])
@pytest.mark.parametrize("ends", ["by an error", "by its time"])
def test_a_load_that_fails_when_all_have_passed(
    bench: Bench, caplog: pytest.LogCaptureFixture, ends: str, good: bool
) -> None:
    """Nobody was given its error: it is a failure where something good is stored, else a pass."""
    caller = Page(sync=True, load_timeout=3600, stale_if_error=20).of()
    if good:
        learn(bench, caller)
    told: list[Event] = []
    bench.engine.events.subscribe(told.append, "load_finished", "load_failed")
    waiter = bench.ask(caller, force=True)
    call = caller.next()
    call.flight.release("reads remote address")
    assert bench.result(waiter).how is How.PASS
    if ends == "by its time":
        expire = _returning(bench.engine._expire, call.flight)
        bench.runtime.submit(expire, "test").result(LIMIT)
    call.fail(ValueError("None is no address"))
    bench.join()
    assert bench.sees(caller) == ("page" if good else "reads remote address")
    assert bench.engine.stats()["load_failures"] == good
    error = "ValueError: None is no address"
    if ends == "by its time":
        error = "LoadTimeout: 504 Gateway Timeout: The answer took longer than 3600 s to compute."
    kind, reason = ("load_failed", error) if good else ("load_finished", "reads remote address")
    assert [(event.kind, event.reason) for event in told] == [(kind, reason)]
    assert (told[0].error is None) is not good
    assert len(caplog.records) == good
    if good:
        assert caplog.records[0].exc_info is not None
        assert "reads remote address" not in caplog.text


def test_a_release_whose_load_fails_spares_a_good_entry(bench: Bench, page: Page) -> None:
    """Waiters pass at the read, but only a load that ends well says what the URL is now."""
    caller = page.of()
    learn(bench, caller)
    waiter = bench.ask(caller, force=True)
    call = caller.next()
    call.flight.release("writes session")
    assert bench.result(waiter).how is How.PASS
    call.fail(OSError("down"))
    bench.join()
    assert bench.sees(caller) == "page"
    waiter = bench.ask(caller, force=True)
    call = caller.next()
    call.flight.release("writes session")
    assert bench.result(waiter).how is How.PASS
    call.give("page")
    bench.join()
    assert bench.sees(caller) == "writes session"


@pytest.mark.parametrize("fate", [Fate.DROP, Fate.ONE])
def test_what_is_not_stored_teaches_all_the_same(bench: Bench, page: Page, fate: Fate) -> None:
    """It says what the URL is now: the older answer, under fewer inputs, is outdated."""
    german, english = page.of(lang="de"), page.of(lang="en")
    learn(bench, german)
    waiters = [bench.ask(german, force=True), bench.ask(english, force=True)]
    call = german.next()
    call.read("lang")
    call.give("gone", fate, detail="why")
    assert (bench.result(waiters[0]).how, bench.result(waiters[0]).value) == (How.ANSWERED, "gone")
    english.next().give("page")
    assert bench.result(waiters[1]).value == "page"
    bench.join()
    assert names_at(bench) == ("lang",)
    assert bench.sees(german) == (None if fate is Fate.DROP else "why")
    assert bench.sees(english) == "page"


def test_an_answer_for_one_makes_its_variant_pass(bench: Bench, page: Page) -> None:
    """That the German page sets a cookie says nothing about the English one."""
    german, english = page.of(lang="de"), page.of(lang="en")
    for caller in (german, english):
        learn(bench, caller, "lang")
    waiters = [bench.ask(german, force=True) for _ in range(3)]
    german.next().give("yours", Fate.ONE, detail="sets a cookie")
    hows = [bench.result(waiter).how for waiter in waiters]
    assert hows == [How.ANSWERED, How.PASS, How.PASS]
    assert (bench.sees(german), bench.sees(english)) == ("sets a cookie", "page")
    assert bench.result(bench.ask(german)).detail == "sets a cookie"
    bench.clock.now += 10
    assert bench.sees(german) is None


def test_dropping_one_variant_leaves_the_others(bench: Bench, page: Page) -> None:
    """An answer that says the stored one is over says so of its own variant."""
    german, english = page.of(lang="de"), page.of(lang="en")
    for caller in (german, english):
        learn(bench, caller, "lang")
    waiter = bench.ask(german, force=True)
    german.next().give("not found", Fate.DROP)
    assert bench.result(waiter).value == "not found"
    bench.join()
    assert (bench.sees(german), bench.sees(english)) == (None, "page")
    assert names_at(bench) == ("lang",)


@pytest.mark.parametrize("fate", [Fate.STORE, Fate.DROP, Fate.KEEP, Fate.FAILED])
def test_who_chooses_what_is_read_fills_no_key(bench: Bench, page: Page, fate: Fate) -> None:
    """Past 64 inputs a URL's key begins anew, and what was stored is found all the same."""
    names = [f"name {number:02}" for number in range(MOST_NAMES + 1)]
    most, more = page.of(**dict.fromkeys(names[:-1], "x")), page.of(**{names[-1]: "y"})
    learn(bench, most, *names[:-1])
    waiters = [bench.ask(more), bench.ask(page.of())]
    call = more.next()
    call.read(names[-1])
    call.give("too much", fate)
    assert bench.result(waiters[0]).value == "too much"
    assert not bench.answered(waiters[1]), "he differs in what it read"
    page.next().give("enough")
    assert bench.result(waiters[1]).value == "enough"
    bench.join()
    assert names_at(bench) == (names[-1],)
    assert bench.sees(most) == "enough", "which read nothing"


@pytest.mark.parametrize("fate", [Fate.STORE, Fate.DROP, Fate.KEEP, Fate.ONE, Fate.PASS])
def test_a_url_that_reads_too_much_at_once_stays_as_it_was(
    pair: tuple[Bench, Bench], page: Page, fate: Fate
) -> None:
    """Such an answer is nobody's to share; the one that is stored is still everybody's."""
    here, there = pair
    caller = page.of()
    learn(here, caller, value=answer("page"))
    told: list[Event] = []
    here.engine.events.subscribe(told.append, "load_finished", "load_failed")
    waiter = here.ask(caller, force=True)
    call = caller.next()
    call.read(*(f"name {number:02}" for number in range(MOST_NAMES + 1)))
    call.give("too much", fate, detail="its own")
    assert here.result(waiter).how is How.PASS
    assert here.result(waiter).detail == "reads over 64 inputs"
    here.join()
    assert [(event.kind, event.reason) for event in told] == [
        ("load_finished", "reads over 64 inputs")
    ]
    assert here.engine.stats()["load_failures"] == 0
    assert names_at(here) == ()
    assert here.sees(caller) == answer("page")
    entry = there.result(there.ask(caller)).entry
    assert entry is not None
    assert entry.value == answer("page")


@pytest.mark.parametrize("good", [False, True])
def test_a_pass_that_raises_and_reads_too_much(bench: Bench, page: Page, good: bool) -> None:
    """It is a failure where something good is stored, else a pass, as if it had read less."""
    caller = page.of()
    if good:
        learn(bench, caller)
    told: list[Event] = []
    bench.engine.events.subscribe(told.append, "load_finished", "load_failed")
    waiter = bench.ask(caller, force=True)
    call = caller.next()
    call.read(*(f"name {number:02}" for number in range(MOST_NAMES + 1)))
    call.give(None, Fate.PASS, detail="writes session", failed=True)
    assert bench.result(waiter).detail == "reads over 64 inputs"
    bench.join()
    kind = "load_failed" if good else "load_finished"
    assert [(event.kind, event.reason) for event in told] == [(kind, "reads over 64 inputs")]
    assert bench.engine.stats()["load_failures"] == good
    assert bench.sees(caller) == ("page" if good else "reads over 64 inputs")


def test_a_pass_is_of_the_variant(bench: Bench, page: Page) -> None:
    """That nobody may share the German page says nothing about the English one."""
    german, english = page.of(lang="de"), page.of(lang="en")
    for caller in (german, english):
        learn(bench, caller, "lang")
    waiters = [bench.ask(german, force=True) for _ in range(2)]
    german.next().give(None, Fate.PASS, detail="writes session")
    assert [bench.result(w) for w in waiters] == [Result(How.PASS, detail="writes session")] * 2
    bench.join()
    assert (bench.sees(german), bench.sees(english)) == ("writes session", "page")
    assert names_at(bench) == ("lang",)


def test_who_passes_may_be_shared_again(bench: Bench, page: Page) -> None:
    """A forced load that may be shared ends the note that everybody passes."""
    german = page.of(lang="de")
    waiter = bench.ask(german)
    german.next().give(None, Fate.PASS, detail="writes session")
    assert bench.result(waiter).how is How.PASS
    assert bench.sees(german) == "writes session"
    learn(bench, german, "lang", value="Seite")
    assert bench.sees(german) == "Seite"


# Purges, and what is forgotten.


@pytest.mark.parametrize("purge", [PURGES["path"], PURGES["url"], PURGES["clear"]])
def test_a_purge_takes_the_note_and_every_variant(bench: Bench, page: Page, purge: Any) -> None:
    """What is left of the URL is nothing: no entry, no note, no place in an index."""
    callers = [page.of(lang=lang) for lang in ("de", "en", "fr")]
    for caller in callers:
        learn(bench, caller, "lang")
    assert len(bench.store.memory) == 4
    clean = purge(bench.engine)
    assert [bench.sees(caller) for caller in callers] == [None] * 3
    assert bench.store.peek(KEY) is None
    bench.runtime.submit(clean, "clean").result(LIMIT)
    assert len(bench.store.memory) == 0
    assert (bench.store._paths, bench.store._urls) == ({}, {})
    assert bench.store.stamps.hard.keys == {}
    assert len(bench.engine.failures) == 0
    learn(bench, callers[0], value="new")
    assert [bench.sees(caller) for caller in callers] == ["new"] * 3


def test_a_tags_purge_takes_the_variants_that_bear_it(bench: Bench, page: Page) -> None:
    """The note bears no tags: what the URL reads is still known."""
    german, english = page.of(lang="de"), page.of(lang="en")
    learn(bench, german, "lang", tags=("german",))
    learn(bench, english, "lang", tags=("english",))
    bench.purge(lambda: bench.engine.purge_tags(["german"]))
    assert (bench.sees(german), bench.sees(english)) == (None, "page")
    assert names_at(bench) == ("lang",)


@pytest.mark.parametrize("purge", PURGES.values(), ids=PURGES)
def test_a_variants_load_from_before_a_purge_is_not_stored(
    bench: Bench, page: Page, purge: Any
) -> None:
    """Who asked before gets the old answer, who asked after it a newer one, of his variant."""
    german = page.of(lang="de")
    before = bench.ask(german)
    old = german.next()
    old.read("lang")
    bench.barrier()
    bench.purge(lambda: purge(bench.engine))
    after = bench.ask(german)
    other = bench.ask(page.of(lang="en"))
    assert len(bench.engine.flights) == 1
    old.give("alt", tags=("news",))
    assert bench.result(before).value == "alt"
    calls = [page.next()]
    calls[0].read("lang")
    calls[0].give("neu", tags=("news",))
    assert bench.result(after).value == "neu"
    calls.append(page.next())
    calls[1].read("lang")
    calls[1].give("new", tags=("news",))
    assert bench.result(other).value == "new"
    bench.join()
    assert [bench.sees(german), bench.sees(page.of(lang="en"))] == ["neu", "new"]
    assert page.loads == 3


def lose_note(bench: Bench, how: str) -> None:
    """What the URL reads is not known any more, while its flights go on."""
    if how == "purge":
        bench.purge(lambda: bench.engine.purge_path("/page", None))
    else:  # it had to make room
        bench.runtime.submit(_returning(bench.store.discard, KEY), "evict").result(LIMIT)


@pytest.mark.parametrize("how", ["purge", "evict"])
@pytest.mark.parametrize("first", ["old", "new"])
def test_nobody_gets_anothers_variant_where_the_note_was_lost_amid_a_load(
    bench: Bench, page: Page, how: str, first: str
) -> None:
    """Invariant 9: two flights may turn out to be one key's, but no answer lies at the URL's."""
    german, english = page.of(lang="de"), page.of(lang="en")
    learn(bench, german, "lang", value="old")
    waiters = {"old": bench.ask(german, force=True)}
    calls = {"old": german.next()}
    lose_note(bench, how)
    waiters["new"] = bench.ask(german, force=True)
    calls["new"] = german.next()
    for name in (first, "new" if first == "old" else "old"):
        calls[name].read("lang")
        calls[name].give(f"Seite, {name}")
        assert bench.result(waiters[name]).value == f"Seite, {name}"
        assert bench.sees(english) is None
    bench.join()
    assert bench.sees(german) == "Seite, new"
    assert bench.sees(english) is None
    assert bench.engine.flights == {}
    waiter = bench.ask(english)
    english.next().give("page")
    assert bench.result(waiter).value == "page"


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
@pytest.mark.parametrize("how", ["purge", "evict"])
def test_flights_that_turn_out_to_be_one_keys_leave_nobody_waiting(
    bench: Bench, page: Page, how: str, order: tuple[int, ...]
) -> None:
    """Of three flights two are for one key: in any order, all are answered, and rightly."""
    german, english = page.of(lang="de"), page.of(lang="en")
    learn(bench, german, "lang", value="old")
    waiters = [bench.ask(german, force=True), bench.ask(english, force=True)]
    calls = [german.next(), english.next()]
    lose_note(bench, how)
    waiters.append(bench.ask(german, force=True))
    calls.append(german.next())
    for number in order:
        calls[number].read("lang")
        calls[number].give(number)
        assert bench.result(waiters[number]).value == number
    bench.join()
    assert bench.engine.flights == {}
    assert bench.sees(german) == 2
    assert bench.sees(english) == (1 if how == "evict" else None)


def test_a_url_whose_note_was_evicted_is_learned_anew(bench: Bench, page: Page) -> None:
    """Its variants are found again when it has been seen to read the same."""
    german, english = page.of(lang="de"), page.of(lang="en")
    learn(bench, german, "lang", value="Seite")
    lose_note(bench, "evict")
    assert bench.sees(german) is None
    learn(bench, english, "lang", value="page")
    assert [bench.sees(german), bench.sees(english)] == ["Seite", "page"]


def test_a_flood_of_values_is_answered_and_not_stored(benches: Callable[..., Bench]) -> None:
    """Past the bound on variants a new one is loaded each time until it is asked for twice."""
    bench = benches(max_variants=2)
    page = Page()
    known = [page.of(lang="de"), page.of(lang="en")]
    for caller in known:
        learn(bench, caller, "lang")
    junk = [page.of(lang=f"x{number}") for number in range(5)]
    for caller in junk:
        waiter = bench.ask(caller)
        caller.next().give("junk")
        result = bench.result(waiter)
        assert (result.how, result.value) == (How.ANSWERED, "junk")
    bench.join()
    assert [bench.sees(caller) for caller in (*known, *junk)] == ["page"] * 2 + [None] * 5
    waiter = bench.ask(junk[4])
    junk[4].next().give("wanted")
    assert bench.result(waiter).how is How.STORED
    assert bench.sees(junk[4]) == "wanted"


# Forced refreshes.


def test_a_forced_refresh_is_of_ones_own_variant(bench: Bench, page: Page) -> None:
    """It loads what the caller brings; the others' answers stay, and theirs are not loaded."""
    german, english = page.of(lang="de"), page.of(lang="en")
    for caller in (german, english):
        learn(bench, caller, "lang", value="old")
    waiters = [bench.ask(german, force=True) for _ in range(3)]
    german.next().give("neu")
    assert [bench.result(waiter).value for waiter in waiters] == ["neu"] * 3
    bench.join()
    assert (bench.sees(german), bench.sees(english), page.loads) == ("neu", "old", 3)


def test_a_forced_caller_who_differs_gets_a_load_of_his_own(bench: Bench, page: Page) -> None:
    """Moved to his own variant he is still owed a load, even if a fresh entry lies there."""
    german, english = page.of(lang="de"), page.of(lang="en")
    waiters = [bench.ask(german, force=True), bench.ask(english, force=True)]
    call = german.next()
    call.read("lang")
    bench.runtime.submit(
        _returning(bench.store.publish, english.key("lang"), _fresh(bench, "fresh")), ""
    ).result(LIMIT)
    call.give("Seite")
    assert bench.result(waiters[0]).value == "Seite"
    english.next().give("page")
    assert bench.result(waiters[1]).value == "page"


def test_a_forced_caller_with_something_personal_passes(bench: Bench, page: Page) -> None:
    """Where the URL is known to read it, his own request is run, and nothing is loaded."""
    learn(bench, page.of(), "cookie")
    result = bench.result(bench.ask(page.of(cookie="me"), force=True))
    assert result == Result(How.PASS, detail="reads cookie")
    assert page.loads == 1


def test_a_forced_refresh_that_reads_more_moves_the_entry(bench: Bench, page: Page) -> None:
    """The answer under fewer inputs is gone with it, though it was fresh."""
    german, english = page.of(lang="de"), page.of(lang="en")
    learn(bench, german, value="one for all")
    learn(bench, german, "lang", value="Seite")
    assert (bench.sees(german), bench.sees(english)) == ("Seite", None)
    assert bench.store.keys_of(KEY) == [KEY, german.key("lang")]


# Loads that wait for loads, and the inputs that they read.


@pytest.mark.parametrize("sync", [False, True])
def test_loads_that_wait_for_differing_ones_all_end(bench: Bench, sync: bool) -> None:
    """Who differs in a nested flight looks again from within his own load, without a cycle."""
    page = Page()
    german, english = page.of(lang="de"), page.of(lang="en")
    ask = get if sync else aget
    outer = [
        nest(bench, name, lambda caller=caller: ask(bench, caller.load), sync)  # type: ignore[misc]
        for name, caller in (("outer de", german), ("outer en", english))
    ]
    waiters = [bench.engine.enlist(load) for load in outer]
    calls = [page.next()]
    _until(lambda: len(calls[0].flight.waiters) == 2)
    for answer in ("first", "second"):
        calls[-1].read("lang")
        calls[-1].give(answer)
        if answer == "first":
            calls.append(page.next())
    assert {bench.result(waiter).value for waiter in waiters} == {"first", "second"}
    bench.join()
    assert bench.engine.flights == {}
    assert page.loads == 2


def test_a_load_that_comes_back_to_itself_under_another_key_is_no_cycle(bench: Bench) -> None:
    """A German page that needs the English one: the URL is the same, the flight is not."""
    page = Page()
    german, english = page.of(lang="de"), page.of(lang="en")
    learn(bench, page.of(lang="fr"), "lang")
    inner = english.load

    async def body() -> Loaded:
        return Loaded(f"Seite neben {await aget(bench, inner)}", names=("lang",))

    async def run(flight: Flight) -> Any:
        return await flight.run(body(), flight.context())

    waiter = bench.engine.enlist(replace(german.load, run=run, sync=False))
    english.next().give("page")
    assert bench.result(waiter).value == "Seite neben page"


# A backend that is shared.


def test_what_a_url_reads_is_adopted(pair: tuple[Bench, Bench], page: Page) -> None:
    """Another process learns the inputs from the note, and takes its callers' variants."""
    here, there = pair
    german, english = page.of(lang="de"), page.of(lang="en")
    learn(here, german, "lang", value=answer("Seite"))
    result = there.result(there.ask(german))
    assert (result.how, result.entry and result.entry.value) == (How.HIT, answer("Seite"))
    there.join()
    assert names_at(there) == ("lang",)
    assert (there.sees(german), there.sees(english)) == (answer("Seite"), None)
    waiter = there.ask(english)
    english.next().give(answer("page"))
    assert there.result(waiter).value == answer("page")
    there.join()
    result = here.result(here.ask(english))
    assert result.entry is not None
    assert result.entry.value == answer("page")
    assert page.loads == 2


def test_who_differs_from_what_is_adopted_looks_again(
    pair: tuple[Bench, Bench], page: Page
) -> None:
    """A flight that adopts a variant gives it to those who agree; carriers pass, others load."""
    here, there = pair
    german, english, member = page.of(lang="de"), page.of(lang="en"), page.of(cookie="me")
    learn(here, german, "lang", "cookie", value=answer("Seite"))
    with there.held():
        waiters = [there.engine.enlist(caller.load) for caller in (german, english, member)]
    assert there.result(waiters[0]).how is How.HIT
    assert there.result(waiters[2]).detail == "reads cookie"
    english.next().give(answer("page"))
    assert there.result(waiters[1]).value == answer("page")


def test_notes_of_both_processes_are_merged(
    pair: tuple[Bench, Bench], benches: Callable[..., Bench], shared: SimpleMemoryCache, page: Page
) -> None:
    """Each has seen the URL read something else: a third one learns both at once."""
    here, there = pair
    caller = page.of(lang="de", theme="dark")
    calls = []
    for bench in pair:
        bench.ask(caller)
        calls.append(caller.next())
    for bench, call, name in zip(pair, calls, ("lang", "theme"), strict=True):
        call.read(name)
        call.give(answer("page"))
        bench.join()
    assert (names_at(here), names_at(there)) == (("lang",), ("theme",))
    third = benches(backend=shared)
    third.ask(caller)
    caller.next().give(answer("third"))
    third.join()
    assert names_at(third) == ("lang", "theme")
    assert third.sees(caller) == answer("third")
    here.ask(page.of(lang="de"), force=True)
    page.next().give(answer("page"))
    here.join()
    assert names_at(here) == ("lang", "theme")


def test_what_processes_have_seen_read_may_be_too_much_together(
    pair: tuple[Bench, Bench], benches: Callable[..., Bench], shared: SimpleMemoryCache
) -> None:
    """More inputs than a key can have, of which each knows some, keep nobody from an answer."""
    third = benches(backend=shared)
    page = Page()
    caller = page.of(lang="de")
    calls = []
    for bench in pair:
        bench.ask(caller)
        calls.append(caller.next())
    for bench, call, kind in zip(pair, calls, "ab", strict=True):
        call.read(*(f"{kind}{number}" for number in range(MOST_NAMES * 2 // 3)))
        call.give(answer("page"))
        bench.join()
    for bench in (third, *pair):
        bench.clock.now += 1
        waiter = bench.ask(caller, force=True)
        call = caller.next()
        call.read("lang")
        call.give(answer("new"))
        assert bench.result(waiter).value == answer("new")
        bench.join()
        assert bench.sees(caller) == answer("new")


def test_a_value_and_a_note_of_one_url_are_told_apart(
    pair: tuple[Bench, Bench], page: Page
) -> None:
    """Where one process saw nothing read and another something, no one is given the note."""
    here, there = pair
    german = page.of(lang="de")
    learn(here, page.of(), value=answer("for all"))
    there.store.stamps.purge(Purge(keys=("/page",)))  # what lies in the backend is too old for it
    here.clock.now = there.clock.now = here.clock.now + 11
    learn(there, german, "lang", value=answer("Seite"))
    result = here.result(here.ask(german))
    assert result.how in (How.HIT, How.STORED)
    assert (result.value or (result.entry and result.entry.value)) == answer("Seite")
    assert page.loads == 2


def test_an_adopted_answer_is_for_who_agrees_though_the_note_is_lost(
    benches: Callable[..., Bench], shared: SimpleMemoryCache, page: Page
) -> None:
    """What a flight's own key says is known, whatever memory had to forget meanwhile."""
    asked: list[str] = []
    begun = asyncio.Event()

    class Crowded(SimpleMemoryCache):  # type: ignore[misc]
        """While it is asked for the answer, memory has to make room."""

        async def _get(self, key: str, *args: Any, **kwargs: Any) -> Any:
            asked.append(key)
            await begun.wait()
            if len(asked) == 2:
                there.store.discard(KEY)
            return await super()._get(key, *args, **kwargs)

    crowded = Crowded()
    crowded._cache = shared._cache
    here, there = benches(backend=shared), benches(backend=crowded)
    german, english = page.of(lang="de"), page.of(lang="en")
    learn(here, german, "lang", value=answer("Seite"))
    waiters = [there.ask(german), there.ask(english)]
    there.runtime.post(begun.set)
    entry = there.result(waiters[0]).entry
    assert entry is not None
    assert entry.value == answer("Seite")
    call = english.next()
    call.read("lang")
    call.give(answer("page"))
    assert there.result(waiters[1]).value == answer("page")


def test_what_is_renewed_lies_where_it_lay(bench: Bench, page: Page) -> None:
    """A body that the view says still holds depends on more than the saying read."""
    german, english = page.of(lang="de"), page.of(lang="en")
    learn(bench, german, "lang", value=answer("Seite"))
    waiter = bench.ask(german, force=True)
    call = german.next()
    lose_note(bench, "evict")
    call.give(answer("Seite"), status=304)
    assert bench.result(waiter).value == answer("Seite")
    bench.join()
    assert (bench.sees(german), bench.sees(english)) == (answer("Seite"), None)


def test_a_note_is_never_adopted_as_an_answer(
    benches: Callable[..., Bench], shared: SimpleMemoryCache, page: Page
) -> None:
    """It may come to the backend between two look-ups, of a process whose clock is ahead."""
    missed: list[str] = []

    class Late(SimpleMemoryCache):  # type: ignore[misc]
        """What it is asked first it does not know yet."""

        async def _get(self, key: str, *args: Any, **kwargs: Any) -> Any:
            if not missed:
                missed.append(key)
                return None
            return await super()._get(key, *args, **kwargs)

    late = Late()
    late._cache = shared._cache
    here, there = benches(backend=shared), benches(backend=late)
    here.clock.now += 5
    german = page.of(lang="de")
    learn(here, german, "lang", value=answer("Seite"))
    waiter = there.ask(german)
    german.next().give(answer("neu"))
    result = there.result(waiter)
    assert (result.how, result.value) == (How.STORED, answer("neu"))


def test_a_forced_load_learns_from_the_backend_too(pair: tuple[Bench, Bench], page: Page) -> None:
    """What lies there is not given to him, but what the URL reads is known from the start."""
    here, there = pair
    german = page.of(lang="de")
    learn(here, german, "lang", value=answer("Seite"))
    there.clock.now += 1
    waiter = there.ask(german, force=True)
    german.next().give(answer("neu"))
    assert there.result(waiter).value == answer("neu")
    there.join()
    assert names_at(there) == ("lang",)
    assert there.sees(german) == answer("neu")


@pytest.mark.parametrize("purge", PURGES.values(), ids=PURGES)
def test_purged_variants_are_not_adopted_again(
    pair: tuple[Bench, Bench], page: Page, purge: Any
) -> None:
    """Neither here, where it was purged, nor from what another process had left there before."""
    here, there = pair
    german, english = page.of(lang="de"), page.of(lang="en")
    learn(here, german, "lang", value=answer("old"), tags=("news",))
    learn(there, english, "lang", value=answer("old"), tags=("news",))
    here.purge(lambda: purge(here.engine))
    for caller in (german, english):
        assert here.sees(caller) is None
        waiter = here.ask(caller)
        call = caller.next()
        call.read("lang")
        call.give(answer("new"), tags=("news",))
        assert here.result(waiter).value == answer("new")
    here.join()
    assert [here.sees(german), here.sees(english)] == [answer("new"), answer("new")]


def test_a_purged_url_leaves_the_backend(
    pair: tuple[Bench, Bench], shared: SimpleMemoryCache, page: Page
) -> None:
    """The note and all variants that are known here are removed there."""
    here, _ = pair
    for lang in ("de", "en"):
        learn(here, page.of(lang=lang), "lang", value=answer("page"))
    assert len(shared._cache) == 3
    here.purge(lambda: here.engine.purge_path("/page", None))
    assert shared._cache == {}


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_a_backend_in_trouble_keeps_nobody_from_learning(
    benches: Callable[..., Bench], page: Page, backend: Any
) -> None:
    """Notes and variants are in memory, whatever becomes of them elsewhere."""
    bench = benches(backend=backend, store_timeout=0.05)
    german, english = page.of(lang="de"), page.of(lang="en")
    learn(bench, german, "lang", value=answer("Seite"))
    learn(bench, english, "lang", value=answer("page"))
    assert [bench.sees(german), bench.sees(english)] == [answer("Seite"), answer("page")]
    assert bench.errors > 0


def test_what_is_learned_while_the_backend_is_asked(
    benches: Callable[..., Bench], page: Page
) -> None:
    """A flight that is re-keyed amid a look-up goes on under its new key, and leaks nothing."""
    gate, asked = asyncio.Event(), threading.Semaphore(0)

    class Slow(SimpleMemoryCache):  # type: ignore[misc]
        """Its look-ups wait until they are let go."""

        async def _get(self, key: str, *args: Any, **kwargs: Any) -> Any:
            asked.release()
            await gate.wait()
            return await super()._get(key, *args, **kwargs)

    bench = benches(backend=Slow)
    dark, light = page.of(theme="dark"), page.of(theme="light")
    waiters = [bench.ask(dark), bench.ask(light)]
    assert asked.acquire(timeout=LIMIT)
    (flight,) = bench.engine.flights.values()
    bench.runtime.post(bench.engine._learn, flight, ("theme",))
    bench.runtime.post(gate.set)
    call = dark.next()
    assert list(bench.engine.flights) == [dark.key("theme")]
    pages = [answer("dark page"), answer("light page")]
    call.give(pages[0])
    light.next().give(pages[1])
    assert [bench.result(waiter).value for waiter in waiters] == pages
    bench.join()
    assert [bench.sees(dark), bench.sees(light)] == pages


# Load on purpose: who waits goes first, then the hottest.


@pytest.fixture
def narrow(benches: Callable[..., Bench]) -> Bench:
    """One load in the background at a time, one worker."""
    return benches(max_loads=1, workers=1)


def stale(bench: Bench, *names: str, **options: Any) -> list[Source]:
    """Sources of stored entries that are due to be loaded anew."""
    sources = [Source((name,), **options) for name in names]
    for source in sources:
        bench.store_now(source, f"old {source.load.key[0]}")  # type: ignore[index]
    bench.clock.now += 7
    return sources


def start(bench: Bench, *sources: Source) -> None:
    for source in sources:
        bench.engine.start(source.load)
    bench.barrier()


def flying(bench: Bench) -> list[str]:
    return [key[0] for key in bench.engine.flights]  # type: ignore[index]


@pytest.mark.parametrize("sync", [False, True])
def test_loads_in_the_background_are_bounded(benches: Callable[..., Bench], sync: bool) -> None:
    """So many that nobody waits for are under way; the end of one is the beginning of another."""
    bench = benches(max_loads=2)
    sources = stale(bench, *"abcde", sync=sync)
    start(bench, *sources)
    assert (flying(bench), bench.engine.stats()["queued"]) == (["a", "b"], 3)
    for source in sources:
        call = source.next()
        bench.barrier()
        assert len(bench.engine.flights) <= 2
        call.give("new")
    bench.join()
    assert [bench.served(source.load.key) for source in sources] == ["new"] * 5
    assert bench.engine.stats()["queued"] == 0


def test_the_hottest_goes_first(narrow: Bench) -> None:
    """Of what is queued begins what was used most since it was stored; of equals the oldest."""
    first, *sources = stale(narrow, *"abcde")
    for source, uses in zip(sources, (1, 3, 1, 2), strict=True):
        for _ in range(uses):
            narrow.store.peek(source.load.key)
    start(narrow, first, *sources)
    order = []
    for _ in range(5):
        (name,) = flying(narrow)
        order.append(name)
        next(s for s in (first, *sources) if s.load.key == (name,)).next().give("new")
        narrow.join_but(0) if len(order) == 5 else _until(
            lambda name=name: flying(narrow) != [name]
        )
    assert order == ["a", "c", "e", "b", "d"]


def test_a_queued_key_is_asked_for_once(narrow: Bench) -> None:
    """Stale hits and ticks of a key that is queued change nothing."""
    held, source = stale(narrow, "held", "page")
    start(narrow, held)
    assert narrow.engine.wants(source.load.key)
    assert narrow.runtime.submit(_returning(narrow.engine.tick, source.load, INTERVAL), "").result(
        LIMIT
    )
    assert not narrow.engine.wants(source.load.key)
    start(narrow, source, source)
    assert not narrow.runtime.submit(
        _returning(narrow.engine.tick, source.load, INTERVAL), ""
    ).result(LIMIT)
    assert narrow.engine.stats()["queued"] == 1
    held.next().give("new")
    source.next().give("new")
    narrow.join()
    assert source.loads == 2


def test_who_waits_never_queues(narrow: Bench) -> None:
    """A miss begins at once, however full it is; so does a queued load, when somebody asks."""
    held, queued = stale(narrow, "held", "queued")
    start(narrow, held, queued)
    fresh = Source(("fresh",))
    waiters = [narrow.ask(source) for source in (fresh, queued)]
    assert flying(narrow) == ["held", "fresh", "queued"]
    assert narrow.engine.stats()["queued"] == 0
    for source in (fresh, queued, held):
        source.next().give("new")
    assert [narrow.result(waiter).value for waiter in waiters] == ["new", "new"]
    narrow.join()
    assert queued.loads == 2, "its place in the queue is not used again"


def test_who_joins_a_background_load_makes_no_room(narrow: Bench) -> None:
    """A load that began for nobody counts to its end: company makes it no cheaper."""
    held, queued = stale(narrow, "held", "queued")
    start(narrow, held, queued)
    waiter = narrow.ask(held)
    assert flying(narrow) == ["held"]
    held.next().give("new")
    assert narrow.result(waiter).value == "new"
    queued.next().give("new")


def test_what_is_queued_is_looked_at_again(narrow: Bench) -> None:
    """What is fresh by the time that there is room is not loaded, nor what was purged."""
    held, renewed, purged = stale(narrow, "held", "renewed", "purged")
    start(narrow, held, renewed, purged)
    born, until = narrow.store.stamps.tick(), narrow.clock() + 9
    new = Entry(
        value="newer", stored=narrow.clock(), fresh_until=until, stale_until=until,
        error_until=until, born=born,
    )  # fmt: skip
    narrow.runtime.submit(_returning(narrow.store.publish, renewed.load.key, new), "").result(LIMIT)
    narrow.store.stamps.purge(Purge(keys=(purged.load.key,)))
    held.next().give("new")
    narrow.join()
    assert [source.loads for source in (held, renewed, purged)] == [2, 1, 1]


def test_a_queued_load_that_cannot_begin_holds_up_nobody(narrow: Bench) -> None:
    """Whatever goes wrong with one when its turn comes, the next begins."""
    held, bad, good = stale(narrow, "held", "bad", "good")

    def fails(names: tuple[str, ...]) -> Any:
        raise OSError("a key function")

    bad.load = replace(bad.load, under=fails)
    start(narrow, held, bad, good)
    narrow.runtime.submit(
        _returning(narrow.engine.urls.learn, bad.load.key, ("lang",), 10**9), ""
    ).result(LIMIT)
    held.next().give("new")
    good.next().give("new")
    narrow.join()
    assert bad.loads == 1


def test_a_queued_load_has_all_its_time(narrow: Bench) -> None:
    """``load_timeout`` counts from where a load begins."""
    held, queued = stale(narrow, "held", "queued", load_timeout=LIMIT)
    start(narrow, held, queued)
    due = [handle.when() for handle in narrow.runtime.loop._scheduled]  # type: ignore[attr-defined]
    assert len(due) == 1
    held.next().give("new")
    queued.next().give("new")


def test_who_is_turned_away_does_not_queue(benches: Callable[..., Bench]) -> None:
    """He comes back for his answer: its load begins at once, however much is queued."""
    bench = benches(max_waiters=0, max_loads=1)
    held, queued = stale(bench, "held", "queued")
    start(bench, held, queued)
    fresh = Source(("fresh",))
    waiter = bench.engine.enlist(fresh.load, sync=True)
    assert waiter.future.result(LIMIT).how is How.FAILED
    bench.barrier()
    assert flying(bench) == ["held", "fresh"]
    for source in (fresh, held, queued):
        source.next().give("new")
    bench.join()
    assert bench.served(fresh.load.key) == "new"


def test_a_load_whose_time_is_up_makes_room(benches: Callable[..., Bench]) -> None:
    """A thread that never ends keeps its worker, and no place among the background loads."""
    bench = benches(max_loads=1, workers=2)
    held, queued = stale(bench, "held", "queued", sync=True, load_timeout=3600)
    start(bench, held, queued)
    hanging = held.next()
    (flight,) = bench.engine.flights.values()
    bench.runtime.submit(_returning(bench.engine._expire, flight), "").result(LIMIT)
    queued.next().give("new")
    hanging.give("late")
    bench.join()
    assert bench.served(queued.load.key) == "new"


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("outer", [False, True])
def test_background_loads_that_wait_for_loads_end(narrow: Bench, sync: bool, outer: bool) -> None:
    """One place and one worker are enough: who waits needs no place, and his thread makes room."""

    async def one() -> int:
        return 1

    inner = nest(narrow, "inner", (lambda: 1) if sync else one, sync)
    ask = get if outer else aget
    loads = [nest(narrow, f"outer {n}", lambda: ask(narrow, inner), outer) for n in range(3)]
    for load in (inner, *loads):
        narrow.engine.start(load)
    narrow.join()
    assert [narrow.served(load.key) for load in loads] == [1, 1, 1]


def test_a_waited_for_load_goes_before_background_ones(benches: Callable[..., Bench]) -> None:
    """On the executor too: begun for somebody, or joined before a thread took it up."""
    bench = benches(workers=1)
    held, other, joined = stale(bench, "held", "other", "joined", sync=True)
    fresh = Source(("fresh",), sync=True)
    start(bench, held, other, joined)
    call = held.next()
    waiters = [bench.ask(source) for source in (fresh, joined)]
    call.give("new")
    fresh.next().give("fresh")
    call = joined.next()
    assert other.loads == 1
    call.give("new")
    assert [bench.result(waiter).value for waiter in waiters] == ["fresh", "new"]
    other.next().give("new")


def test_join_waits_for_what_is_queued(narrow: Bench) -> None:
    """A load that was asked for is over when `join` is, wherever it was."""
    held, queued = stale(narrow, "held", "queued")
    start(narrow, held, queued)
    joined = narrow.engine.join()
    held.next().give("new")
    call = queued.next()
    narrow.barrier()
    assert not joined.done()
    call.give("new")
    joined.result(LIMIT)


def test_the_drain_begins_nothing_that_is_queued(narrow: Bench) -> None:
    """At the end what is queued is dropped: what is under way has all the time there is."""
    held, queued = stale(narrow, "held", "queued")
    start(narrow, held, queued)
    draining = narrow.runtime.submit(lambda: narrow.engine.drain(LIMIT), "drain")
    narrow.barrier()
    assert narrow.engine.stats()["queued"] == 0
    held.next().give("new")
    draining.result(LIMIT)
    assert queued.loads == 1


# Life cycle.


def test_join_outlives_a_joiner_who_left(bench: Bench) -> None:
    """A caller who cancels his join takes nobody's with him."""
    source = Source()
    bench.ask(source)
    call = source.next()
    left, stays = bench.engine.join(), bench.engine.join()
    bench.barrier()
    assert left.cancel()
    call.give("page")
    stays.result(LIMIT)


def test_a_forked_child_starts_empty(bench: Bench) -> None:
    """`forget` leaves no flight, no failure and no entry of the parent's, and a lock of its own."""
    source = Source()
    bench.store_now(source, "page")
    bench.fail_now(source)
    bench.ask(other := Source(("other",)))
    call = other.next()
    number, lock = bench.store.stamps.last, bench.store.stamps._lock
    flights, active = bench.engine.flights, bench.engine._active
    bench.engine.forget()
    bench.store.forget()
    assert (bench.engine.flights, bench.engine.waiting) == ({}, 0)
    assert len(bench.engine.failures) == 0
    assert bench.served() is None
    assert bench.store.stamps.tick() > number
    assert bench.store.stamps._lock is not lock
    bench.engine.flights, bench.engine._active = flights, active
    call.give("page")
    bench.join()


def test_stats_count(bench: Bench) -> None:
    """`stats` tells loads, failures, flights and entries as of now."""
    source = Source()
    bench.store_now(source, "page", size=100)
    bench.fail_now(source)
    stats = bench.engine.stats()
    assert stats["loads"] == 2
    assert stats["load_failures"] == 1
    assert stats["flights"] == stats["waiting"] == 0
    assert stats["entries"] == 1
    assert stats["bytes"] > 100


def test_the_engine_shows_its_state(bench: Bench) -> None:
    """`repr` names the flights and how many wait."""
    source = Source(("x",))
    bench.ask(source)
    call = source.next()
    assert "load of ('x',)" in repr(bench.engine)
    assert "waiters=1" in repr(bench.engine)
    call.give(1)


# Trials: what their code asks for.


def trial(bench: Bench, code: Callable[[], Any]) -> Any:
    """What the code of a trial, on a thread, gets."""

    def run(flight: Flight) -> Loaded:
        return Loaded(flight.context().run(code), Fate.ONE)

    load = Load(KEY, "trial", Times(10), run, True)
    loaded, _ = bench.runtime.submit(lambda: bench.engine.trial(load), "trial").result(LIMIT)
    return loaded.value


@pytest.mark.parametrize(
    ("raised", "kind"), [(OSError("down"), OSError), (StopIteration(), RuntimeError)], ids=repr
)
def test_a_trial_is_told_of_errors_as_a_load_is(
    bench: Bench, raised: Exception, kind: type[Exception]
) -> None:
    """Where what it asks for cannot even be run, that has failed, and is nobody's answer."""

    def run(flight: Flight) -> Loaded:
        raise raised

    inner = Load(CALL, "inner", Times(10), run, True)
    result = trial(bench, lambda: bench.engine.fetch(inner, TWIN))
    assert result.how is How.FAILED
    assert isinstance(result.value, kind)


@pytest.mark.parametrize(
    ("fate", "runs"), [(Fate.STORE, 1), (Fate.KEEP, 2), (Fate.ONE, 2), (Fate.FAILED, 2)]
)
@pytest.mark.parametrize("sync", [False, True])
def test_what_would_not_be_stored_is_run_again(
    bench: Bench, sync: bool, fate: Fate, runs: int
) -> None:
    """Code of a trial that asks twice has the same only of what a load would have stored."""
    ran: list[None] = []

    def loaded() -> Loaded:
        ran.append(None)
        return Loaded(OSError("down") if fate is Fate.FAILED else "x", fate)

    async def run(flight: Flight) -> Loaded:
        return loaded()

    inner = Load(CALL, "inner", Times(10), (lambda flight: loaded()) if sync else run, sync)
    trial(bench, lambda: [bench.engine.fetch(inner, TWIN) for _ in range(2)])
    assert len(ran) == runs


@pytest.mark.parametrize("sync", [False, True])
def test_a_trial_that_waits_holds_no_thread(benches: Callable[..., Bench], sync: bool) -> None:
    """What its code asks for may need a thread, and there may be no other one."""
    bench = benches(workers=1)

    async def run(flight: Flight) -> Loaded:
        work = bench.runtime.begin(lambda: "x", Rank.AWAITED)
        return Loaded(await asyncio.wrap_future(work), Fate.STORE)

    inner = Load(CALL, "inner", Times(10), run, False)

    def code() -> Any:
        if sync:
            return bench.engine.fetch(inner, TWIN)
        return asyncio.run(bench.engine.afetch(inner))

    assert trial(bench, code).value == "x"


def test_trials_at_once(bench: Bench) -> None:
    """While one goes on, what its code is given is not counted, though another has ended."""
    begun, go_on = threading.Event(), threading.Event()
    entry = bench.store_now(Source(CALL), 1)
    stats, plain = bench.engine.stats(), bench.engine.ledger

    def hit() -> None:
        bench.engine.ledger.note_hit("price", CALL, entry, bench.clock())

    def held() -> None:
        begun.set()
        assert go_on.wait(LIMIT)
        hit()

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(trial, bench, held)
        assert begun.wait(LIMIT)
        trial(bench, hit)
        go_on.set()
        first.result(LIMIT)
    assert bench.engine.stats() == stats
    assert bench.engine.ledger is plain, "no hit has to ask any more whose it is"


def test_who_cannot_be_asked_for_is_told(bench: Bench) -> None:
    """A load that failed before it began has come to nothing, and who asked knows it."""
    source, came = Source(), list[str]()
    source.load = replace(source.load, on_came=came.append)

    async def consult(flight: Flight) -> bool:
        raise ArithmeticError("no time")

    bench.engine._consult = consult  # type: ignore[method-assign]
    assert bench.tick(source)
    bench.join()
    assert (came, source.loads) == (["needless"], 0)


@pytest.mark.parametrize("why", ["it failed meanwhile", "it cannot be begun"])
def test_who_is_queued_in_vain_is_told(
    benches: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """A load that is not begun when its turn comes has come to nothing, and who asked knows it."""
    bench = benches(max_loads=1)
    first, second = Source(), Source(CALL)
    came: list[str] = []
    second.load = replace(second.load, on_came=came.append)
    assert bench.tick(first)
    assert bench.tick(second)
    assert came == []
    failures, retry_at = bench.engine.failures, bench.engine.failures.retry_at

    def broken(key: Hashable) -> float | None:
        if key == CALL:
            raise ArithmeticError("no time")
        return retry_at(key)

    if why == "it failed meanwhile":
        failures.count(CALL, 60.0)
    else:
        monkeypatch.setattr(failures, "retry_at", broken)
    first.next().give("page")
    bench.join()
    assert came == ["needless"]
    assert second.loads == 0
