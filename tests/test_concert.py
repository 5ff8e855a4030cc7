"""Two engines over one shared store: who loads, who follows, and what each knows of the other.

The store is a `Tier` in memory, which keeps to the interface and nothing more: entries, leases,
numbers, and messages, which arrive some turns of the loop later. Every process has an engine, a
memory and stamps of its own; they share the loop, so that the tests can say in which order things
happen.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from msgspec.structs import replace as changed

from aswr.breaker import Breaker
from aswr.codec import Entry
from aswr.engine import Engine
from aswr.errors import LoadTimeout, WaitTimeout
from aswr.flight import Fate, How, Load, Result, Waiter
from aswr.options import CONFIG
from aswr.policy import Verdict, decide
from aswr.runtime import Runtime
from aswr.stamps import MICRO, Purge, Stamps
from aswr.store import Store
from aswr.tier import ALONE, Claim, Ending, Lease, Listener, Say, Tier
from aswr.tiers import Shared

from .conftest import Clock
from .test_engine import KEY, LIMIT, TWIN, Caller, Page, Source

SOON = 0.02  # seconds after which a follower asks again, where a test wants that
TURNS = 60  # of the loop, in which everything has happened that is going to


class Common:
    """What the processes of a fleet share."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.entries: dict[Hashable, Entry] = {}
        self.leases: dict[Hashable, str] = {}
        self.read: dict[Hashable, tuple[tuple[str, ...], str]] = {}  # by loads that have a lease
        self.members: list[Member] = []
        self.endings: list[tuple[Hashable, Ending, float]] = []
        self._last = 0

    def count(self) -> int:
        self._last = max(self._last + 1, int(self.clock() * MICRO))
        return self._last


class Member(Tier):
    """One process's part in it; while it is not ``up``, it neither asks nor hears anything."""

    fleet = True
    poll = 60.0

    def __init__(self, common: Common, stamps: Stamps) -> None:
        super().__init__(stamps, common.clock, {})
        self.breaker = Breaker("the common store", lambda: None)
        self._common = common
        self.up = True
        self.hears = True
        self.answers: asyncio.Event | None = None  # to what is read, once it is set
        self.claims = self.reads = self.saves = 0
        self.closed = False

    def attach(self, runtime: Callable[[], Runtime], listener: Listener) -> None:
        super().attach(runtime, listener)
        self._common.members.append(self)

    @property
    def reachable(self) -> bool:
        return self.up

    def _tell(self, name: str, *args: Any) -> None:
        loop = self.runtime().loop
        for other in self._common.members:
            if other is not self and other.up and other.hears and not other.closed:
                loop.call_soon(getattr(other.listener, name), *args)

    def _living(self, key: Hashable) -> Entry | None:
        entry = self._common.entries.get(key)
        if entry is None or entry.error_until <= self.clock():
            return None
        self.stamps.observe(entry.born)
        return None if self.stamps.latest(key, entry.tags) > entry.born else entry

    async def claim(
        self, key: Hashable, base: Hashable, seen: int, floor: int, token: str
    ) -> Claim:
        self.claims += 1
        await asyncio.sleep(0)
        if not self.up:
            return ALONE
        note = None if key == base else self._living(base)
        entry = self._living(key)
        there = self._common.entries[key].born if key in self._common.entries else 0
        names = () if note is None else note.names
        softened = entry is not None and self.stamps.soft.latest(key, entry.tags) > there
        is_note = entry is not None and bool(entry.names or entry.passing)
        lasts = entry is not None and (is_note or self.clock() < entry.fresh_until)
        lease = None
        if lasts and not softened and there > floor:
            say = Say.FRESH
        elif self._common.leases.setdefault(key, token) == token:
            say, lease = Say.LEAD, Lease(key, token)
        else:
            say = Say.BUSY
        if entry is not None and entry.names:
            return Claim(say, there, None, entry.names, lease)
        newer = entry if entry is not None and there > seen else None
        read = self._common.read.get(key, ((), "")) if say is Say.BUSY else ((), "")
        return Claim(say, there, newer, names, lease, *read)

    async def number(self, until: float) -> int:
        await asyncio.sleep(0)
        number = self._common.count() if self.up else self.stamps.tick()
        self.stamps.observe(number)
        return number

    async def read(self, key: Hashable) -> Entry | None:
        self.reads += 1
        await asyncio.sleep(0)
        found = self._living(key) if self.up else None
        if self.answers is not None:
            await self.answers.wait()
        return found

    async def save(self, key: Hashable, base: Hashable, entry: Entry, lease: Lease | None) -> None:
        self.saves += 1
        await asyncio.sleep(0)
        if not self.up:
            return
        note = self.listener.held(base) if key != base else None
        if note is not None and note.names:
            there = self._living(base)
            names = {*note.names, *(() if there is None else there.names)}
            note = changed(note, names=tuple(sorted(names)), error_until=entry.error_until)
            self._put(base, note)
        if lease is not None and lease.key != key:
            await self.release(lease, Ending.GONE)
        elif lease is not None:
            self._drop(lease)
        self._put(key, entry)

    def _put(self, key: Hashable, entry: Entry) -> None:
        there = self._common.entries.get(key)
        if there is None or there.born <= entry.born:
            self._common.entries[key] = entry
            self._tell("stored_elsewhere", key, entry.born)

    def _drop(self, lease: Lease) -> None:
        if self._common.leases.get(lease.key) == lease.token:
            del self._common.leases[lease.key]
            self._common.read.pop(lease.key, None)

    async def remove(self, key: Hashable, number: int) -> None:
        await asyncio.sleep(0)
        there = self._common.entries.get(key)
        if there is not None and there.born <= number:
            del self._common.entries[key]

    async def release(self, lease: Lease, ending: Ending, seconds: float = 0.0) -> None:
        await asyncio.sleep(0)
        self._drop(lease)
        self._common.endings.append((lease.key, ending, seconds))
        self._tell("ended_elsewhere", lease.key, ending, seconds)

    def tell_read(self, lease: Lease, base: Hashable, names: tuple[str, ...], passing: str) -> None:
        if self.up and self._common.leases.get(lease.key) == lease.token:
            self._common.read[lease.key] = names, passing
            self._tell("read_elsewhere", base, names, passing)

    async def purge(self, purge: Purge, number: int, keys: list[Hashable]) -> bool:
        await asyncio.sleep(0)
        if not self.up:
            return False
        number = self._common.count()
        self.stamps.purge(purge, number)
        for other in self._common.members:
            if other is not self and other.stamps.learn(purge, number):
                other.listener.purged_elsewhere(purge, number)
        return True

    def stats(self) -> dict[str, int]:
        return {"claims": self.claims}

    async def close(self) -> None:
        self.closed = True


class Given(Shared):
    """A shared store that is there already."""

    def __init__(self, member: Member) -> None:
        super().__init__("redis://none", "test", CONFIG, list, member.stamps, member.clock)
        self._member = member

    def _of(self, source: Any) -> Tier:
        return self._member


class Process:
    """One process of the fleet: an engine, and where its answers come from."""

    def __init__(self, bench: "Bench") -> None:
        self._bench = bench
        self.clock = bench.clock
        self.store = Store(bench.clock, 2**20)
        self.tier = Member(bench.common, self.store.stamps)
        self.engine = Engine(
            "test", self.store, lambda: bench.runtime, clock=bench.clock, random=lambda: 0.0,
            max_waiters=100, max_loads=100, shared=Given(self.tier),
        )  # fmt: skip

    async def open(self) -> None:
        """Hear from now on what the others tell."""
        assert self.engine.tier is self.tier

    def ask(self, source: "Source | Caller", *, force: bool = False) -> Waiter:
        """A waiter in his seat, once his flight has asked the store."""
        waiter = self.engine.enlist(source.load, force=force)
        self._bench.settle()
        return waiter

    def result(self, waiter: Waiter) -> Result:
        result = self.engine.wait(waiter, LIMIT, TWIN)
        assert result is not None, "nobody answered"
        return result

    def get(self, source: "Source | Caller", *, force: bool = False) -> Result:
        """What a caller gets where nothing needs to be loaded."""
        return self.result(self.ask(source, force=force))

    def start(self, load: Load) -> None:
        """As a stale hit: nobody waits for the load."""
        self.engine.start(load)
        self._bench.settle()

    def tick(self, load: Load, interval: float) -> bool:
        """A periodic refresh is due; did anything begin?"""

        async def due() -> bool:
            return self.engine.tick(load, interval)

        begun = self._bench.run(due)
        self._bench.settle()
        return begun

    def store_now(self, source: "Source | Caller", value: Any, **loaded: Any) -> Entry:
        """Load, store and tell."""
        waiter = self.ask(source, force=True)
        source.next().give(value, **loaded)
        entry = self.result(waiter).entry
        assert entry is not None
        self._bench.settle()
        return entry

    def purge(self, purge: Callable[[], Coroutine[Any, Any, bool]]) -> bool:
        """Run the clean-up of a purge; whether the others were told."""
        return self._bench.run(purge)

    def verdict(self, key: Hashable = KEY) -> Verdict:
        return decide(self.store.peek(key), self.clock()).verdict

    def value(self, key: Hashable = KEY) -> Any:
        """What memory holds and may be served."""
        entry = self.store.peek(key)
        served = entry is not None and decide(entry, self.clock()).serve
        return entry.value if entry is not None and served else None

    def drain(self, timeout: float = 0.0) -> None:
        self._bench.run(lambda: self.engine.drain(timeout))


class Bench:
    """Two processes of one fleet."""

    def __init__(self) -> None:
        self.clock = Clock(1_000.0)
        self.runtime = Runtime(2)
        self.common = Common(self.clock)
        self.processes = [Process(self), Process(self)]
        for process in self.processes:
            self.run(process.open)

    def run(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return self.runtime.submit(make, "test").result(LIMIT)

    def settle(self) -> None:
        """Until everything that was begun, and needs no test to go on, has come to its end."""

        async def turn() -> None:
            for _ in range(TURNS):
                await asyncio.sleep(0)

        self.run(turn)

    def join(self) -> None:
        """Until every flight is over."""
        for process in self.processes:
            process.engine.join().result(LIMIT)
        self.settle()

    def close(self) -> None:
        for process in self.processes:
            process.drain()
        self.runtime.stop()


@pytest.fixture
def bench(caplog: pytest.LogCaptureFixture) -> Iterator[Bench]:
    """A fleet; at its end no lease is left, but of processes that were cut off, and no error."""
    bench = Bench()
    yield bench
    bench.close()
    for process in bench.processes:
        assert not process.engine.flights
    if all(process.tier.up for process in bench.processes):
        assert bench.common.leases == {}
    assert [r for r in caplog.get_records("call") if r.levelno >= logging.ERROR] == []


@pytest.fixture
def one(bench: Bench) -> Process:
    return bench.processes[0]


@pytest.fixture
def two(bench: Bench) -> Process:
    return bench.processes[1]


# One load per fleet.


def test_who_comes_second_follows(bench: Bench, one: Process, two: Process) -> None:
    """While one process loads, the other waits for that load, and takes what it brings."""
    led, followed = Source(), Source()
    leader = one.ask(led)
    call = led.next()
    follower = two.ask(followed)
    assert not follower.future.done()
    assert list(bench.common.leases) == [KEY]
    call.give("page")
    first, second = one.result(leader), two.result(follower)
    bench.join()
    assert (first.how, first.entry and first.entry.value) == (How.STORED, "page")
    assert (second.how, second.entry and second.entry.value) == (How.HIT, "page")
    assert first.entry is not None
    assert second.entry is not None
    assert second.entry.born == first.entry.born
    assert (led.loads, followed.loads) == (1, 0)
    assert one.value() == two.value() == "page"
    assert one.verdict() is two.verdict() is Verdict.FRESH


def test_many_wait_in_both(bench: Bench, one: Process, two: Process) -> None:
    """However many wait in each process, there is one load."""
    led, followed = Source(), Source()
    leaders = [one.ask(led) for _ in range(5)]
    followers = [two.ask(followed) for _ in range(5)]
    led.next().give("page")
    results = [one.result(w) for w in leaders] + [two.result(w) for w in followers]
    assert [result.entry and result.entry.value for result in results] == ["page"] * 10
    assert (led.loads, followed.loads) == (1, 0)
    assert two.tier.claims == 2  # to begin with, and when it was told


def test_what_lies_there_needs_no_load(bench: Bench, one: Process, two: Process) -> None:
    """What another process has stored, and is fresh, is taken at the first request."""
    stored = one.store_now(Source(), "page")
    source = Source()
    result = two.get(source)
    assert (result.how, result.entry) == (How.HIT, stored)
    assert source.loads == 0
    assert two.value() == "page"


def test_what_lies_there_stale_is_given_at_once(bench: Bench, one: Process, two: Process) -> None:
    """What another process has stored, and is stale, is given at once, and loaded anew."""
    one.store_now(Source(), "old")
    bench.clock.tick(7)
    source = Source()
    result = two.get(source)
    assert (result.how, result.entry and result.entry.value) == (How.HIT, "old")
    source.next().give("new")
    bench.join()
    assert two.value() == "new"
    assert bench.common.entries[KEY].value == "new"


@pytest.mark.parametrize("asks", ["stale", "job"])
def test_why_what_lies_there_stale_is_loaded(
    bench: Bench, one: Process, two: Process, asks: str
) -> None:
    """Who was given the old answer waits for none; what a job asks for stays the job's."""
    one.store_now(Source(), "old")
    bench.clock.tick(7)
    source = Source()
    if asks == "job":
        assert two.tick(source.load, 5.0)
    else:
        two.get(source)
    source.next().give("new")
    bench.join()
    assert bench.common.entries[KEY].by.cause == asks


def test_what_is_over_is_not_given(bench: Bench, one: Process, two: Process) -> None:
    """What lies there beyond its time is waited for."""
    one.store_now(Source(stale_if_error=100), "old")
    bench.clock.tick(11)
    source = Source(stale_if_error=100)
    waiter = two.ask(source)
    assert not waiter.future.done()
    source.next().give("new")
    result = two.result(waiter)
    assert (result.how, result.entry and result.entry.value) == (How.STORED, "new")


def test_stale_everywhere_is_loaded_once(bench: Bench, one: Process, two: Process) -> None:
    """Where an entry goes stale in all memories, one process loads it and the rest take that."""
    one.store_now(Source(), "old")
    two.get(Source())
    bench.clock.tick(7)
    led, followed = Source(), Source()
    one.start(led.load)
    call = led.next()
    two.start(followed.load)
    assert two.value() == "old"
    call.give("new")
    bench.join()
    assert followed.loads == 0
    assert one.value() == two.value() == "new"


def test_loads_of_different_keys_go_on_beside_each_other(
    bench: Bench, one: Process, two: Process
) -> None:
    """A lease is for one key."""
    other = KEY._replace(path="/other")
    led, own = Source(), Source(other)
    waiters = one.ask(led), two.ask(own)
    calls = led.next(), own.next()
    assert list(bench.common.leases) == [KEY, other]
    for call in calls:
        call.give("page")
    for process, waiter in zip((one, two), waiters, strict=True):
        assert process.result(waiter).how is How.STORED


def test_what_is_not_shared_asks_nobody(bench: Bench, one: Process, two: Process) -> None:
    """A load that is for this process alone neither claims nor tells, before or after."""
    source = Source()
    source.load = replace(source.load, shared=False)
    one.store_now(source, "page")
    assert one.tier.claims == 0
    assert bench.common.entries == {}


# How the other's load ends.


def test_a_failure_elsewhere_is_not_ours(bench: Bench, one: Process, two: Process) -> None:
    """Who waits for a load that failed elsewhere has his own try, in his own process."""
    led, own = Source(), Source()
    leader, follower = one.ask(led), two.ask(own)
    led.next().fail(OSError("down"))
    assert isinstance(one.result(leader).value, OSError)
    own.next().give("page")
    result = two.result(follower)
    assert (result.how, result.value) == (How.STORED, "page")
    bench.settle()
    assert bench.common.entries[KEY].value == "page"


def test_a_failure_is_told_with_how_long_to_wait(bench: Bench, one: Process, two: Process) -> None:
    """With word of a failure goes the time until the next try."""
    source = Source()
    waiter = one.ask(source)
    source.next().fail(OSError("down"))
    one.result(waiter)
    bench.join()
    assert bench.common.endings == [(KEY, Ending.FAILED, 1.0)]


def test_a_failed_refresh_backs_off_in_the_fleet(bench: Bench, one: Process, two: Process) -> None:
    """A refresh that failed elsewhere is not tried here as well: it is held back as there."""
    one.store_now(Source(), "old")
    two.get(Source())
    bench.clock.tick(7)
    led, own = Source(), Source()
    one.start(led.load)
    call = led.next()
    two.start(own.load)
    call.fail(OSError("down"))
    bench.join()
    retry_at = two.engine.failures.retry_at(KEY)
    assert retry_at == one.engine.failures.retry_at(KEY)
    assert retry_at is not None
    two.start(own.load)
    assert own.loads == 0
    assert two.value() == "old"
    bench.clock.tick(retry_at - bench.clock())
    two.start(own.load)
    own.next().give("new")
    bench.join()
    assert one.value() == two.value() == "new"


@pytest.mark.parametrize("fate", [Fate.FAILED, Fate.KEEP])
def test_an_answer_that_tells_of_a_failure(
    bench: Bench, one: Process, two: Process, fate: Fate
) -> None:
    """An answer that is to leave what is stored counts as a failure in the other process, too."""
    one.store_now(Source(), "old")
    two.get(Source())
    bench.clock.tick(7)
    led, own = Source(), Source()
    one.start(led.load)
    call = led.next()
    two.start(own.load)
    call.give("503", fate)
    bench.join()
    assert KEY in two.engine.failures
    assert own.loads == 0
    assert two.value() == "old"


def test_an_unstored_answer_is_waited_for_by_nobody_else(
    bench: Bench, one: Process, two: Process
) -> None:
    """Where the answer is not to be stored, who waits elsewhere loads one for himself."""
    led, own = Source(), Source()
    leader, follower = one.ask(led), two.ask(own)
    led.next().give("his", Fate.DROP)
    assert one.result(leader).value == "his"
    own.next().give("mine", Fate.DROP)
    result = two.result(follower)
    assert (result.how, result.value) == (How.ANSWERED, "mine")
    bench.join()
    assert bench.common.entries == {}
    assert bench.common.endings == [(KEY, Ending.UNSTORED, 0.0)]  # the second was alone


def test_an_unstored_refresh_ends_here_too(bench: Bench, one: Process, two: Process) -> None:
    """Where nobody waits, an answer elsewhere that is not to be stored ends the flight here."""
    one.store_now(Source(), "old")
    two.get(Source())
    bench.clock.tick(7)
    led, own = Source(), Source()
    one.start(led.load)
    call = led.next()
    two.start(own.load)
    call.give("no-store", Fate.DROP)
    bench.join()
    assert own.loads == 0
    assert KEY not in two.engine.failures
    assert KEY not in bench.common.entries


def test_who_joins_a_lonely_flight_is_not_forgotten(
    bench: Bench, one: Process, two: Process
) -> None:
    """Who joins a flight that follows for nobody has his own try where the other's fails."""
    led, own = Source(), Source()
    leader = one.ask(led)
    call = led.next()
    two.start(own.load)
    follower = two.ask(own)
    call.fail(OSError("down"))
    assert one.result(leader).how is How.FAILED
    own.next().give("page")
    assert two.result(follower).value == "page"


def test_a_dropped_answer_leaves_the_store(bench: Bench, one: Process, two: Process) -> None:
    """An answer that outdates what was stored takes that out of the store, unless it is newer."""
    one.store_now(Source(), "old")
    bench.clock.tick(7)
    source = Source()
    one.start(source.load)
    source.next().give("no-store", Fate.DROP)
    bench.join()
    assert bench.common.entries == {}
    assert one.value() is None


@pytest.mark.parametrize("fate", [Fate.PASS, Fate.ONE])
def test_why_a_url_passes_is_shared(bench: Bench, one: Process, two: Process, fate: Fate) -> None:
    """That a URL passes is known in the other process without a load, with the same words."""
    source, own = Source(), Source()
    waiters = one.ask(source), two.ask(own)
    source.next().give("page", fate, detail="reads cookie session")
    one.result(waiters[0])
    result = two.result(waiters[1])
    assert (result.how, result.detail) == (How.PASS, "reads cookie session")
    bench.join()
    assert two.get(own).how is How.PASS
    assert own.loads == 0
    assert two.verdict() is Verdict.PASS


def test_a_leader_that_closes_hands_over(bench: Bench, one: Process, two: Process) -> None:
    """When the process that loads is closed, the lease is free, and who follows takes over."""
    led, own = Source(), Source()
    leader, follower = one.ask(led), two.ask(own)
    led.next()
    one.drain()
    assert isinstance(one.result(leader).value, WaitTimeout)
    own.next().give("page")
    assert two.result(follower).how is How.STORED
    assert bench.common.endings == [(KEY, Ending.GONE, 0.0)]


# When the other is not heard of.


def test_a_lease_that_ends_is_taken_over(bench: Bench, one: Process, two: Process) -> None:
    """When the process that loads is gone, and its lease has ended, who follows loads."""
    two.tier.poll = SOON
    led, own = Source(), Source()
    leader, follower = one.ask(led), two.ask(own)
    call = led.next()
    assert own.loads == 0
    bench.common.leases.clear()
    own.next().give("page")
    assert two.result(follower).how is How.STORED
    call.give("late")
    one.result(leader)


def test_word_that_is_lost_is_made_up_for(bench: Bench, one: Process, two: Process) -> None:
    """Who follows and hears nothing asks again after a while, and finds what was stored."""
    two.tier.poll, two.tier.hears = SOON, False
    led, own = Source(), Source()
    leader, follower = one.ask(led), two.ask(own)
    led.next().give("page")
    one.result(leader)
    result = two.result(follower)
    assert (result.how, result.entry and result.entry.value) == (How.HIT, "page")
    assert own.loads == 0


def test_without_a_store_each_loads(bench: Bench, one: Process, two: Process) -> None:
    """Where the store cannot be asked, each process loads for itself."""
    for process in bench.processes:
        process.tier.up = False
    led, own = Source(), Source()
    waiters = one.ask(led), two.ask(own)
    led.next().give("his")
    own.next().give("mine")
    assert one.result(waiters[0]).value == "his"
    assert two.result(waiters[1]).value == "mine"


def test_who_is_cut_off_while_he_follows(bench: Bench, one: Process, two: Process) -> None:
    """Where the store goes away nobody can be heard of: who follows loads for himself, at once."""
    led, own = Source(), Source()
    leader, follower = one.ask(led), two.ask(own)
    call = led.next()
    two.tier.up = False
    bench.runtime.post(two.engine.cut_off)
    own.next().give("mine")
    assert two.result(follower).value == "mine"
    call.give("his")
    assert one.result(leader).value == "his"


def test_a_late_leader_does_not_overwrite(bench: Bench, one: Process, two: Process) -> None:
    """What a leader brings whose lease had ended replaces nothing newer, nowhere."""
    two.tier.poll = SOON
    one.store_now(Source(), "old")
    two.get(Source())
    bench.clock.tick(7)
    led, own = Source(), Source()
    one.value()  # it is used there
    one.start(led.load)
    late = led.next()
    two.start(own.load)
    bench.common.leases.clear()
    own.next().give("new")
    bench.settle()
    two.engine.join().result(LIMIT)
    bench.settle()
    assert one.value() == "new"  # told, while its own load goes on
    late.give("late")
    bench.join()
    assert one.value() == two.value() == "new"
    assert bench.common.entries[KEY].value == "new"


# Refreshes that somebody wants.


def test_a_forced_refresh_loads_anew(bench: Bench, one: Process, two: Process) -> None:
    """Who wants it new is not content with what lies there, however fresh."""
    one.store_now(Source(), "old")
    source = Source()
    waiter = two.ask(source, force=True)
    assert not waiter.future.done()
    source.next().give("new")
    assert two.result(waiter).value == "new"
    bench.settle()
    assert one.value() is None or one.value() == "new"
    assert bench.common.entries[KEY].value == "new"


def test_a_forced_refresh_joins_a_load_elsewhere(bench: Bench, one: Process, two: Process) -> None:
    """Who wants it new takes what a load brings that another process is at."""
    one.store_now(Source(), "old")
    two.get(Source())
    bench.clock.tick(7)
    led, own = Source(), Source()
    one.start(led.load)
    call = led.next()
    waiter = two.ask(own, force=True)
    assert not waiter.future.done()
    call.give("new")
    result = two.result(waiter)
    assert (result.how, result.entry and result.entry.value) == (How.HIT, "new")
    assert own.loads == 0


def test_a_forced_refresh_is_not_put_off_with_something_older(
    bench: Bench, one: Process, two: Process
) -> None:
    """Who wants it new and follows a load that fails elsewhere loads, whatever lies there."""
    one.store_now(Source(), "old")
    led, own = Source(), Source()
    leader = one.ask(led, force=True)
    call = led.next()
    waiter = two.ask(own, force=True)
    call.fail(OSError("down"))
    one.result(leader)
    own.next().give("new")
    assert two.result(waiter).value == "new"


def test_a_forced_refresh_of_what_is_in_doubt(bench: Bench, one: Process, two: Process) -> None:
    """Who wants it new is not given what was only in doubt."""
    one.store_now(Source(), "old")
    one.store.stamps.distrust()
    bench.common.entries.clear()
    source = Source()
    waiter = one.ask(source, force=True)
    source.next().give("new")
    assert one.result(waiter).value == "new"


# Periodic refresh.


def test_a_tick_is_loaded_once(bench: Bench, one: Process, two: Process) -> None:
    """When a refresh is due in every process, the first to come loads, and the rest take that."""
    one.store_now(Source(), "old")
    two.get(Source())
    bench.clock.tick(5)
    led, own = Source(), Source()
    came: list[str] = []
    assert one.tick(replace(led.load, on_came=came.append), 5.0)
    call = led.next()
    two.tick(replace(own.load, on_came=came.append), 5.0)
    assert came == ["here"], "of what is under way elsewhere nobody knows what comes"
    call.give("new")
    bench.join()
    assert own.loads == 0
    assert came == ["here", "elsewhere"]
    assert one.value() == two.value() == "new"


@pytest.mark.parametrize(("later", "loads"), [(0.0, 0), (2.4, 0), (2.6, 1), (5.0, 1)])
def test_what_was_loaded_within_half_an_interval_will_do(
    bench: Bench, one: Process, two: Process, later: float, loads: int
) -> None:
    """A tick that comes up to half an interval after another process's load is done by that."""
    one.store_now(Source(), "page")
    bench.clock.tick(later)
    source = Source()
    two.tick(source.load, 5.0)
    assert source.loads == loads
    if loads:
        source.next().give("new")
    bench.join()
    assert bench.common.entries[KEY].value == ("new" if loads else "page")


def test_what_is_in_memory_already_is_not_asked_for(
    bench: Bench, one: Process, two: Process
) -> None:
    """A tick whose load another process has done, and which is known here, asks nobody."""
    one.store_now(Source(), "page")
    two.get(Source())
    claims = two.tier.claims
    source = Source()
    two.tick(source.load, 5.0)
    bench.join()
    assert (source.loads, two.tier.claims) == (0, claims)


def test_the_next_tick_is_whoevers_comes_first(bench: Bench, one: Process, two: Process) -> None:
    """When the process that loaded last is gone, the next tick is another's."""
    source = Source()
    one.tick(source.load, 5.0)
    source.next().give("page")
    bench.join()
    bench.clock.tick(5)
    own = Source()
    two.tick(own.load, 5.0)
    own.next().give("new")
    bench.join()
    assert bench.common.entries[KEY].value == "new"


# What a URL reads.


def test_what_is_read_is_known_everywhere(bench: Bench, one: Process, two: Process) -> None:
    """What renders in one process were seen to read is in the keys of the other's loads."""
    his, hers = Page().of(lang="de"), Page().of(lang="de")
    one.store_now(his, "Seite", names=("lang",))
    result = two.get(hers)
    assert (result.how, result.entry and result.entry.value) == (How.HIT, "Seite")
    assert hers.source.loads == 0
    assert two.value(hers.key("lang")) == "Seite"


def test_another_variant_is_loaded_under_its_own_key(
    bench: Bench, one: Process, two: Process
) -> None:
    """Who differs in what was read elsewhere loads his own, where his lies, and under its lease."""
    his, hers = Page().of(lang="de"), Page().of(lang="fr")
    one.store_now(his, "Seite", names=("lang",))
    waiter = two.ask(hers)
    assert list(bench.common.leases) == [hers.key("lang")]
    call = hers.next()
    call.read("lang")
    call.give("page")
    assert two.result(waiter).value == "page"
    bench.settle()
    variants = {his.key("lang"): "Seite", hers.key("lang"): "page"}
    assert {k: e.value for k, e in bench.common.entries.items() if k in variants} == variants


def test_who_carries_what_is_read_elsewhere_passes(
    bench: Bench, one: Process, two: Process
) -> None:
    """Who carries a personal input that renders elsewhere were seen to read passes, at once."""
    one.store_now(Page().of(), "page", names=("cookie session",))
    person = Page().of(**{"cookie session": "me"})
    result = two.get(person)
    assert (result.how, result.detail) == (How.PASS, "reads cookie session")
    visitor = two.get(Page().of())
    assert (visitor.how, visitor.entry and visitor.entry.value) == (How.HIT, "page")
    bench.join()
    assert person.source.loads == 0


def test_who_carries_what_is_read_elsewhere_waits_for_no_load(
    bench: Bench, one: Process, two: Process
) -> None:
    """Who learns only from the store that he cannot share the URL does not wait for its load."""
    his = Page().of()
    one.store_now(his, "page", names=("cookie session",))
    del bench.common.entries[his.key("cookie session")]
    person = Page().of(**{"cookie session": "me"})
    result = two.get(person)
    assert (result.how, result.detail) == (How.PASS, "reads cookie session")
    person.next().give("next page", names=("cookie session",))
    bench.join()
    assert two.value(his.key("cookie session")) == "next page"


def test_who_comes_after_it_was_read_elsewhere_passes(
    bench: Bench, one: Process, two: Process
) -> None:
    """Who carries what the leader read before he came need not wait for its end, nor for word."""
    page, other = Page(), Page()
    leader = one.ask(page.of())
    call = page.next()
    two.tier.hears = False
    call.read("cookie session")
    bench.settle()
    person, visitor = two.ask(other.of(**{"cookie session": "me"})), two.ask(other.of())
    result = two.result(person)
    assert (result.how, result.detail) == (How.PASS, "reads cookie session")
    late = two.get(other.of(**{"cookie session": "you"}))
    assert (late.how, late.detail) == (How.PASS, "reads cookie session")
    assert not visitor.future.done()
    two.tier.hears = True
    call.give("page")
    one.result(leader)
    assert two.result(visitor).how is How.HIT
    assert other.loads == 0


def test_a_lease_of_a_place_that_is_given_up(bench: Bench, one: Process, two: Process) -> None:
    """Who learns that his answer lies elsewhere gives the lease of its old place back."""
    his, hers = (Page().of(lang=lang, size="big") for lang in ("de", "fr"))
    one.store_now(his, "Seite", names=("lang",))
    two.get(Page().of(lang="de", size="big"))
    two.tier.hears = False
    one.store_now(his, "Grosse Seite", names=("lang", "size"))
    waiter = two.ask(hers)
    assert list(bench.common.leases) == [hers.key("lang", "size")]
    hers.next().give("big page", names=("lang", "size"))
    assert two.result(waiter).value == "big page"


def test_who_waits_while_it_is_read_looks_again(bench: Bench, one: Process, two: Process) -> None:
    """Who follows a load that reads what he differs in does not get its answer."""
    his, hers = Page().of(lang="de"), Page().of(lang="fr")
    leader, follower = one.ask(his), two.ask(hers)
    call = his.next()
    call.read("lang")
    call.give("Seite")
    assert one.result(leader).value == "Seite"
    other = hers.next()
    other.read("lang")
    other.give("page")
    assert two.result(follower).value == "page"


def test_who_agrees_while_it_is_read_gets_it(bench: Bench, one: Process, two: Process) -> None:
    """Who follows a load that reads what he agrees with gets its answer, from its new place."""
    his, hers = Page().of(lang="de"), Page().of(lang="de")
    leader, follower = one.ask(his), two.ask(hers)
    call = his.next()
    call.read("lang")
    call.give("Seite")
    one.result(leader)
    result = two.result(follower)
    assert (result.how, result.entry and result.entry.value) == (How.HIT, "Seite")
    assert hers.source.loads == 0


def test_a_personal_read_elsewhere_releases(bench: Bench, one: Process, two: Process) -> None:
    """Who carries what a render elsewhere is seen to read need not wait for its end."""
    page, other = Page(), Page()
    leader = one.ask(page.of())
    call = page.next()
    person = two.ask(other.of(**{"cookie session": "me"}))
    visitor = two.ask(other.of())
    call.read("cookie session")
    bench.settle()
    result = two.result(person)
    assert (result.how, result.detail) == (How.PASS, "reads cookie session")
    assert not visitor.future.done()
    call.give("page")
    assert one.result(leader).value == "page"
    shared = two.result(visitor)
    assert (shared.how, shared.entry and shared.entry.value) == (How.HIT, "page")
    assert other.loads == 0


def test_a_render_elsewhere_that_is_nobodys(bench: Bench, one: Process, two: Process) -> None:
    """Where a render elsewhere turns out to be for one request alone, all who follow pass."""
    page, other = Page(), Page()
    leader, follower = one.ask(page.of()), two.ask(other.of())
    call = page.next()
    call.flight.release("streams")
    bench.settle()
    for process, waiter in ((one, leader), (two, follower)):
        result = process.result(waiter)
        assert (result.how, result.detail) == (How.PASS, "streams")
    call.give("page", Fate.PASS, detail="streams")


def test_what_another_url_reads(bench: Bench, one: Process, two: Process) -> None:
    """What a render of another URL reads releases nobody."""
    page, other = Page(KEY._replace(path="/other")), Page()
    leader = one.ask(page.of())
    own = Page()
    other_leader = one.ask(own.of())
    follower = two.ask(other.of(**{"cookie session": "me"}))
    call = page.next()
    call.read("cookie session")
    bench.settle()
    assert not follower.future.done()
    call.give("page")
    own.next().give("plain")
    one.result(leader)
    one.result(other_leader)
    assert two.result(follower).how is How.HIT


# What another process stores.


def test_what_is_used_is_renewed(bench: Bench, one: Process, two: Process) -> None:
    """What another process has loaded anew is in this one's memory, where it was in use."""
    one.store_now(Source(), "old")
    two.get(Source())
    assert two.value() == "old"  # a use
    one.store_now(Source(), "new")
    assert two.value() == "new"
    assert two.verdict() is Verdict.FRESH


def test_what_is_not_used_makes_room(bench: Bench, one: Process, two: Process) -> None:
    """What another process has loaded anew is not fetched where nobody asked for the last."""
    one.store_now(Source(), "old")
    two.store_now(Source(), "mine")
    one.store_now(Source(), "new")
    assert two.store.original(KEY) is None


def test_what_is_not_known_here_is_not_fetched(bench: Bench, one: Process, two: Process) -> None:
    """What another process stores and nobody asked for here stays there."""
    one.store_now(Source(), "page")
    assert two.store.original(KEY) is None
    assert not two.engine.flights


def test_older_news_changes_nothing(bench: Bench, one: Process, two: Process) -> None:
    """Word of an entry that is older than what is here, or the same, changes nothing."""
    stored = one.store_now(Source(), "page")
    two.get(Source())
    for number in (stored.born, stored.born - 1):
        bench.runtime.post(two.engine.stored_elsewhere, KEY, number)
    bench.settle()
    assert two.value() == "page"


def test_news_of_one_key_is_fetched_once(bench: Bench, one: Process, two: Process) -> None:
    """However often it is told while an entry is being fetched, that is fetched once."""
    one.store_now(Source(), "page")
    stored = two.get(Source()).entry
    assert stored is not None
    assert two.value() == "page"

    async def heard() -> None:
        for more in (1, 2, 3):
            two.engine.stored_elsewhere(KEY, stored.born + more)

    bench.run(heard)
    bench.settle()
    assert two.tier.reads == 1


def test_news_of_what_is_being_renewed(bench: Bench, one: Process, two: Process) -> None:
    """What is told while an entry is renewed is newer than what is fetched, and fetched, too."""
    one.store_now(Source(), "old")
    two.get(Source())
    assert two.value() == "old"
    two.tier.answers = asyncio.Event()
    one.store_now(Source(), "new")
    assert two.tier.reads == 1
    for value in ("newer", "newest"):
        one.store_now(Source(), value)
    assert (two.tier.reads, two.value()) == (1, "old")

    async def answer() -> None:
        assert two.tier.answers is not None
        two.tier.answers.set()

    bench.run(answer)
    bench.settle()
    assert (two.tier.reads, two.value()) == (2, "newest")
    assert two.engine._renewing == {}


def test_a_renewal_that_finds_nothing(bench: Bench, one: Process, two: Process) -> None:
    """What is newer there and gone before it could be read is not to be served from here."""
    stored = one.store_now(Source(), "page")
    two.get(Source())
    assert two.value() == "page"
    bench.common.entries.clear()
    bench.runtime.post(two.engine.stored_elsewhere, KEY, stored.born + 1)
    bench.settle()
    assert two.store.original(KEY) is None


def test_a_renewal_that_cannot_be_asked(bench: Bench, one: Process, two: Process) -> None:
    """Where the store does not answer, what is here stays."""
    stored = one.store_now(Source(), "page")
    two.get(Source())
    assert two.value() == "page"
    two.tier.up = False
    bench.runtime.post(two.engine.stored_elsewhere, KEY, stored.born + 1)
    bench.settle()
    assert two.value() == "page"


def test_what_a_url_reads_is_renewed(bench: Bench, one: Process, two: Process) -> None:
    """A note of what a URL reads is added to what is known here."""
    his, hers = Page().of(lang="de", size="big"), Page().of(lang="de", size="big")
    one.store_now(his, "Seite", names=("lang",))
    two.get(hers)
    one.store_now(his, "Grosse Seite", names=("lang", "size"))
    result = two.get(hers)
    assert (result.how, result.entry and result.entry.value) == (How.HIT, "Grosse Seite")


# Doubt.


def test_what_is_in_doubt_is_checked_without_a_load(
    bench: Bench, one: Process, two: Process
) -> None:
    """After a gap what is in memory is served as stale until the store confirms it."""
    one.store_now(Source(), "page")
    two.get(Source())
    two.store.stamps.distrust()
    assert (two.verdict(), two.value()) == (Verdict.STALE, "page")
    source = Source()
    two.start(source.load)
    bench.join()
    assert (two.verdict(), two.value()) == (Verdict.FRESH, "page")
    assert source.loads == 0
    assert two.tier.saves == 0
    claims = two.tier.claims
    assert two.get(source).how is How.HIT
    assert two.tier.claims == claims
    two.store.stamps.distrust()
    assert two.verdict() is Verdict.STALE  # of each gap anew


def test_what_is_in_doubt_and_outdated_is_replaced(
    bench: Bench, one: Process, two: Process
) -> None:
    """After a gap what another process stored meanwhile takes the place of what is in memory."""
    one.store_now(Source(), "old")
    two.get(Source())
    two.tier.hears = False
    one.store_now(Source(), "new")
    assert two.value() == "old"
    two.store.stamps.distrust()
    source = Source()
    two.start(source.load)
    bench.join()
    assert (two.verdict(), two.value()) == (Verdict.FRESH, "new")
    assert source.loads == 0


def test_what_is_in_doubt_goes_back_to_an_empty_store(
    bench: Bench, one: Process, two: Process
) -> None:
    """Where the store has lost what is in memory, it gets that back, and nothing is loaded."""
    stored = one.store_now(Source(), "page")
    bench.common.entries.clear()
    one.store.stamps.distrust()
    source = Source()
    waiter = one.ask(source)
    assert one.result(waiter).entry == stored
    bench.join()
    assert source.loads == 0
    assert bench.common.entries[KEY] == stored
    assert one.verdict() is Verdict.FRESH
    assert two.get(Source()).entry == stored


def test_what_is_stale_anyway_does_not_go_back(bench: Bench, one: Process, two: Process) -> None:
    """What would be stale without any doubt is loaded."""
    one.store_now(Source(), "old")
    bench.common.entries.clear()
    bench.clock.tick(7)
    one.store.stamps.distrust()
    source = Source()
    one.start(source.load)
    source.next().give("new")
    bench.join()
    assert bench.common.entries[KEY].value == "new"


def test_what_is_purged_does_not_go_back(bench: Bench, one: Process, two: Process) -> None:
    """What was purged softly is not given back to a store that has lost it, but loaded."""
    one.store_now(Source(), "old")
    one.purge(one.engine.purge_path(KEY.path, None, soft=True))
    bench.common.entries.clear()
    one.store.stamps.distrust()
    source = Source()
    one.start(source.load)
    source.next().give("new")
    bench.join()
    assert bench.common.entries[KEY].value == "new"


def test_what_is_held(bench: Bench, one: Process, two: Process) -> None:
    """What is in memory is there for the tier in doubt or not, but not once it is purged."""
    stored = one.store_now(Source(), "page")
    assert one.engine.held(KEY) == stored
    one.store.stamps.distrust()
    assert one.engine.held(KEY) == stored
    one.store.stamps.purge(Purge(keys=(KEY.path,)))
    assert one.engine.held(KEY) is None
    assert one.engine.held(KEY._replace(path="/other")) is None


# Purges.


def purge_of(one: Process, kind: str) -> Callable[[], Coroutine[Any, Any, bool]]:
    engine = one.engine
    return {
        "path": lambda: engine.purge_path(KEY.path, None),
        "url": lambda: engine.purge_path(KEY.path, KEY.query),
        "tag": lambda: engine.purge_tags(["news"]),
        "all": lambda: engine.purge_all(),
    }[kind]()


@pytest.mark.parametrize("kind", ["path", "url", "tag", "all"])
def test_a_purge_is_for_all(bench: Bench, one: Process, two: Process, kind: str) -> None:
    """What one process purges no other serves, whatever it is called by."""
    two.store_now(Source(), "old", tags=("news",))
    assert one.get(Source()).how is How.HIT
    assert one.purge(purge_of(one, kind))
    assert one.value() is None
    assert two.value() is None
    source = Source()
    waiter = two.ask(source)
    assert not waiter.future.done()
    source.next().give("new", tags=("news",))
    assert two.result(waiter).value == "new"
    bench.settle()
    assert one.get(Source()).entry == bench.common.entries[KEY]


@pytest.mark.parametrize("kind", ["path", "url", "all"])
def test_a_purge_frees_memory_everywhere(
    bench: Bench, one: Process, two: Process, kind: str
) -> None:
    """What another process purges by its key is no longer in memory here."""
    two.store_now(Source(), "old")
    one.purge(purge_of(one, kind))
    assert two.store.original(KEY) is None


def test_a_soft_purge_is_served_while_it_is_renewed(
    bench: Bench, one: Process, two: Process
) -> None:
    """What another process purges softly is stale here: served, and loaded anew, once."""
    two.store_now(Source(), "old")
    one.get(Source())
    one.purge(one.engine.purge_path(KEY.path, None, soft=True))
    assert [process.verdict() for process in bench.processes] == [Verdict.STALE] * 2
    assert one.value() == two.value() == "old"
    led, own = Source(), Source()
    two.start(led.load)
    call = led.next()
    one.start(own.load)
    call.give("new")
    bench.join()
    assert own.loads == 0
    assert one.value() == two.value() == "new"
    assert one.verdict() is two.verdict() is Verdict.FRESH


def test_a_purge_that_cannot_be_told(bench: Bench, one: Process, two: Process) -> None:
    """A purge counts here at once, and says so where the store does not have it."""
    one.store_now(Source(), "old")
    one.tier.up = False
    assert not one.purge(one.engine.purge_path(KEY.path, None))
    assert one.value() is None


@pytest.mark.parametrize("purger", [0, 1])
def test_a_purge_while_it_is_loaded(bench: Bench, one: Process, two: Process, purger: int) -> None:
    """A load that began before a purge is nobody's who asked after it, in no process."""
    led, own = Source(), Source()
    before = one.ask(led)
    call = led.next()
    early = two.ask(own)
    process = bench.processes[purger]
    process.purge(process.engine.purge_path(KEY.path, None))
    call.give("old")
    assert one.result(before).value == "old"  # he asked before, and there is nothing else
    own.next().give("new")
    assert two.result(early).value == "new"
    bench.join()
    assert bench.common.endings == [(KEY, Ending.GONE, 0.0)]
    assert bench.common.entries[KEY].value == "new"
    assert one.get(Source()).entry == bench.common.entries[KEY]


def test_who_comes_after_a_purge_waits_for_a_newer_load(
    bench: Bench, one: Process, two: Process
) -> None:
    """Who asks after a purge elsewhere, and joins a load from before it, gets a newer one."""
    led, own = Source(), Source()
    before = one.ask(led)
    call = led.next()
    two.purge(two.engine.purge_path(KEY.path, None))
    after = one.ask(led)
    call.give("old")
    assert one.result(before).value == "old"
    led.next().give("new")
    assert one.result(after).value == "new"
    assert two.get(own).entry == bench.common.entries[KEY]


# Ends.


def test_who_follows_does_not_wait_for_ever(bench: Bench, one: Process, two: Process) -> None:
    """A flight that follows has its time, too; after it nothing is loaded for nobody."""
    led, own = Source(), Source(load_timeout=0.05)
    leader = one.ask(led)
    call = led.next()
    follower = two.ask(own)
    assert isinstance(two.result(follower).value, LoadTimeout)
    assert KEY in two.engine.flights  # one flight, and no more
    call.give("page")
    one.result(leader)
    bench.join()
    assert own.loads == 0
    assert two.get(own).how is How.HIT


def test_who_is_out_of_time_does_not_take_over(bench: Bench, one: Process, two: Process) -> None:
    """A flight whose time was up while it followed loads nothing when the leader is gone."""
    led, own = Source(), Source(sync=True, load_timeout=0.05)
    leader = one.ask(led)
    led.next()
    assert two.result(two.ask(own)).how is How.FAILED
    claims = two.tier.claims
    one.drain()
    one.result(leader)
    bench.settle()
    assert (own.loads, two.tier.claims) == (0, claims)
    assert not two.engine.flights


def test_a_leaders_time_begins_with_its_load(bench: Bench, one: Process, two: Process) -> None:
    """What was waited for another process's load is not taken off the time of an own one."""
    led, own = Source(), Source(load_timeout=LIMIT)
    leader, follower = one.ask(led), two.ask(own)
    call = led.next()
    flight = two.engine.flights[KEY]
    timer, born = flight.timer, flight.born
    bench.clock.tick(3)
    call.fail(OSError("down"))
    one.result(leader)
    loading = own.next()
    assert flight.timer is not timer
    loading.give("page")
    entry = two.result(follower).entry
    assert entry is not None
    assert (entry.cost, entry.born > born) == (0.0, True)


def test_a_lease_goes_back_when_the_time_is_up(bench: Bench, one: Process, two: Process) -> None:
    """A load that outlasts its time, and cannot be stopped, keeps nobody else from loading."""
    stuck, own = Source(sync=True, load_timeout=0.05), Source()
    leader, follower = one.ask(stuck), two.ask(own)
    call = stuck.next()
    assert one.result(leader).how is How.FAILED
    own.next().give("page")
    assert two.result(follower).value == "page"
    call.give("too late")
    bench.join()
    assert two.value() == bench.common.entries[KEY].value == "page"


def test_closing_while_following(bench: Bench, one: Process, two: Process) -> None:
    """Who follows when his process is closed is told so, and the other's load goes on."""
    led, own = Source(), Source()
    leader, follower = one.ask(led), two.ask(own)
    call = led.next()
    two.drain()
    assert isinstance(two.result(follower).value, WaitTimeout)
    assert not two.engine.flights
    call.give("page")
    assert one.result(leader).how is How.STORED
    assert own.loads == 0
    assert two.tier.closed


def test_closing_does_not_wait_for_the_others(bench: Bench, one: Process, two: Process) -> None:
    """A flight that follows for nobody is over at once when its process is closed."""
    led, own = Source(), Source()
    leader = one.ask(led)
    call = led.next()
    two.start(own.load)
    assert KEY in two.engine.flights
    two.drain(10 * LIMIT)  # the test's own limit is shorter
    assert not two.engine.flights
    assert own.loads == 0
    call.give("page")
    one.result(leader)


def test_a_closed_engine_opens_no_store(bench: Bench, one: Process, two: Process) -> None:
    """What comes to a closed engine does not make its store anew."""
    one.store_now(Source(), "page")
    one.drain()
    assert one.engine.tier is None
    assert not one.purge(one.engine.purge_all())
    assert one.engine.shares


def test_the_counters_of_a_store(bench: Bench, one: Process) -> None:
    """The counters of the shared store are among the engine's, once it is in use."""
    one.store_now(Source(), "page")
    assert one.engine.stats()["claims"] == 1
    assert "claims" not in Process(bench).engine.stats()


def test_following_takes_no_room(bench: Bench, one: Process, two: Process) -> None:
    """Flights that follow for nobody leave their room to loads of this process's own."""
    two.engine._max_loads = 1
    led, own = Source(), Source()
    leader = one.ask(led)
    call = led.next()
    two.start(own.load)
    other = Source(KEY._replace(path="/other"))
    two.start(other.load)
    other.next().give("other")
    call.give("page")
    one.result(leader)
    bench.join()
    assert own.loads == 0
    assert two.value(other.load.key) == "other"
