"""The engine against a simple model: any order of asks, leaves, ends, purges and clock jumps.

The model is a list of purges, a dictionary of entries and one of flights, all changed by hand in
one thread. Loads are coroutines that end when the machine says so; after every rule the loop has
seen everything, and both must agree.
"""

import asyncio
import itertools
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiocache import SimpleMemoryCache
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aswr.codec import Answer
from aswr.engine import Engine
from aswr.errors import LoadTimeout, WaitTimeout
from aswr.flight import Fate, Flight, How, Load, Loaded, Result, Waiter
from aswr.keys import CallKey, ViewKey
from aswr.options import CONFIG
from aswr.policy import Times, decide
from aswr.runtime import Runtime
from aswr.store import Store
from aswr.tiers import Shared

from .conftest import Brings

LIMIT = 10.0  # seconds that anything here may wait
TIMEOUT, MARGIN, IF_ERROR = 10.0, 4.0, 6.0
INTERVAL = 5.0  # of periodic refreshes
TAGS = ("red", "blue")


def url(path: str, query: str) -> ViewKey:
    return ViewKey("app:view", "", path, query, "", ())


CALL = CallKey("app:function", ())
KEYS: tuple[Hashable, ...] = (url("/a", ""), url("/a", "q=1"), url("/b", ""), CALL)
STUBBORN = {CALL, url("/b", "")}  # as a thread: cannot be stopped

# What can be purged: its name, whom it concerns, and how the engine is told.
Concerns = Callable[[Hashable, tuple[str, ...]], bool]
PURGES: dict[str, tuple[Concerns, Callable[[Engine], Callable[[], Any]]]] = {
    "path /a": (
        lambda key, tags: isinstance(key, ViewKey) and key.path == "/a",
        lambda engine: engine.purge_path("/a", None),
    ),
    "url /a?q=1": (
        lambda key, tags: key == url("/a", "q=1"),
        lambda engine: engine.purge_path("/a", "q=1"),
    ),
    "call": (lambda key, tags: key == CALL, lambda engine: engine.purge_call(CALL)),
    "tag red": (lambda key, tags: "red" in tags, lambda engine: engine.purge_tags(["red"])),
    "tag blue": (lambda key, tags: "blue" in tags, lambda engine: engine.purge_tags(["blue"])),
    "all": (lambda key, tags: True, lambda engine: engine.purge_all()),
}
# What can be purged softly: it ends freshness, and nothing else.
SOFT: dict[str, tuple[Concerns, Callable[[Engine], Callable[[], Any]]]] = {
    "path /a": (PURGES["path /a"][0], lambda engine: engine.purge_path("/a", None, soft=True)),
    "url /a?q=1": (
        PURGES["url /a?q=1"][0], lambda engine: engine.purge_path("/a", "q=1", soft=True),
    ),
    "tag red": (PURGES["tag red"][0], lambda engine: engine.purge_tags(["red"], soft=True)),
    "all": (PURGES["all"][0], lambda engine: engine.purge_all(soft=True)),
}  # fmt: skip


@dataclass
class ModelEntry:
    value: object
    born: int
    stored: float
    tags: tuple[str, ...] = ()
    passing: bool = False

    def window(self, now: float, softened: bool) -> str:
        age = now - self.stored
        if self.passing:
            return "pass" if age < TIMEOUT else "gone"
        if age < TIMEOUT - MARGIN and not softened:
            return "fresh"
        if age < TIMEOUT:
            return "stale"
        return "error" if age < TIMEOUT + IF_ERROR else "gone"


@dataclass(eq=False)
class ModelWaiter:
    real: Waiter
    key: Hashable
    asked: int
    force: bool
    expected: tuple[How, object] | None = None
    left: bool = False
    late: bool = False


@dataclass(eq=False)
class ModelFlight:
    key: Hashable
    born: int
    outcome: "Future[Loaded]"
    real: Flight
    waiters: list[ModelWaiter] = field(default_factory=list)
    armed: bool = True
    expired: bool = False
    failed: bool = False  # as it expired
    passing: bool = False


class EngineMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0
        self.runtime = Runtime(2)
        self.store = Store(lambda: self.now, 2**20)
        self.engine = Engine(
            "machine", self.store, lambda: self.runtime, clock=lambda: self.now,
            random=lambda: 0.0, max_waiters=1000, max_loads=1000,
        )  # fmt: skip
        self.begun: list[tuple[Flight, Future[Loaded]]] = []  # loads the model has not yet seen
        self.loads = {key: self.load_of(key) for key in KEYS}
        # The model.
        self.events = 0
        self.purges: list[tuple[int, str]] = []
        self.softened: list[tuple[int, str]] = []
        self.cleans: list[tuple[int, str, Callable[[], Any]]] = []
        self.entries: dict[Hashable, ModelEntry] = {}
        self.failures: dict[Hashable, tuple[int, float]] = {}
        self.flights: dict[Hashable, ModelFlight] = {}
        self.waiters: list[ModelWaiter] = []
        self.values: dict[object, tuple[int, tuple[str, ...]]] = {}  # value: born, tags

    # The real side.

    def load_of(self, key: Hashable) -> Load:
        async def stubborn(outcome: "Future[Loaded]") -> Loaded:
            ended = asyncio.wrap_future(outcome)
            while not ended.done():
                try:
                    await asyncio.wait({ended})
                except asyncio.CancelledError:
                    if self.engine.closed:
                        raise
            return ended.result()

        async def body(outcome: "Future[Loaded]") -> Loaded:
            return await asyncio.wrap_future(outcome)

        async def run(flight: Flight) -> Any:
            outcome: Future[Loaded] = Future()
            self.begun.append((flight, outcome))
            make = stubborn if key in STUBBORN else body
            return await flight.run(make(outcome), flight.context())

        times = Times(TIMEOUT, refresh_margin=MARGIN, stale_if_error=IF_ERROR, load_timeout=3600.0)
        return Load(key, f"load {KEYS.index(key)}", times, run, False)

    def settle(self) -> None:
        """Until the loop has nothing left to do."""

        async def turns() -> None:
            for _ in range(12):
                await asyncio.sleep(0)

        self.runtime.submit(turns, "settle").result(LIMIT)

    # The model's side.

    def event(self) -> int:
        self.events += 1
        return self.events

    def purged(self, key: Hashable, tags: tuple[str, ...]) -> int:
        return max((at for at, what in self.purges if PURGES[what][0](key, tags)), default=0)

    def tag_purged(self) -> int:
        return max((at for at, what in self.purges if what.startswith("tag")), default=0)

    def alive(self, key: Hashable) -> ModelEntry | None:
        entry = self.entries.get(key)
        return entry if entry and self.purged(key, entry.tags) < entry.born else None

    def window(self, key: Hashable) -> str:
        entry = self.alive(key)
        if entry is None:
            return "gone"
        softened = any(
            at > entry.born and SOFT[what][0](key, entry.tags) for at, what in self.softened
        )
        return entry.window(self.now, softened)

    def covers(self, key: Hashable) -> bool:
        return self.window(key) in ("fresh", "stale", "error")

    def held(self, key: Hashable) -> bool:
        return key in self.failures and self.now < self.failures[key][1]

    def served(self, key: Hashable) -> object:
        window = self.window(key)
        usable = window in ("fresh", "stale") or (window == "error" and key in self.failures)
        return self.entries[key].value if usable else None

    def wants_load(self, key: Hashable) -> bool:
        if self.window(key) in ("fresh", "pass"):
            return False
        return self.served(key) is None or not self.held(key)

    def begin(self, key: Hashable) -> ModelFlight:
        """The engine must have begun exactly this load."""
        self.settle()
        assert [flight.load.key for flight, _ in self.begun] == [key]
        real, outcome = self.begun.pop()
        self.flights[key] = ModelFlight(key, self.event(), outcome, real)
        return self.flights[key]

    def join(self, waiter: ModelWaiter) -> None:
        window = "gone" if waiter.force else self.window(waiter.key)
        if window == "fresh":
            waiter.expected = (How.HIT, self.entries[waiter.key].value)
        elif window == "pass":
            waiter.expected = (How.PASS, None)
        else:
            flight = self.flights.get(waiter.key) or self.begin(waiter.key)
            if flight.passing:
                waiter.expected = (How.PASS, None)
                return
            flight.waiters.append(waiter)
            flight.armed = True
            waiter.late = max(self.purged(waiter.key, ()), self.tag_purged()) > flight.born

    def count_failure(self, key: Hashable) -> None:
        count = self.failures.get(key, (0, 0.0))[0] + 1
        self.failures[key] = (count, self.now + min(2.0 ** (count - 1), TIMEOUT))

    def note_pass(self, flight: ModelFlight) -> None:
        if self.purged(flight.key, ()) < flight.born:
            self.entries[flight.key] = ModelEntry(None, flight.born, self.now, passing=True)

    def land(self, flight: ModelFlight, fate: Fate, value: object, tags: tuple[str, ...]) -> None:
        key, purged, stored = flight.key, self.purged(flight.key, tags), False
        del self.flights[key]
        failed = fate in (Fate.FAILED, Fate.KEEP)
        passes = flight.passing and not (failed and self.covers(key))
        if fate in (Fate.PASS, Fate.ONE) or passes:
            self.note_pass(flight)
        elif fate is Fate.STORE and purged < flight.born:
            stored = True
            self.entries[key] = ModelEntry(value, flight.born, self.now, tags)
        elif fate is Fate.DROP and purged < flight.born:
            self.entries.pop(key, None)
        if fate is Fate.FAILED and passes and not flight.failed:
            self.failures.pop(key, None)
        elif fate is Fate.KEEP or (fate is Fate.FAILED and not flight.expired):
            self.count_failure(key)
        elif fate is not Fate.FAILED:
            self.failures.pop(key, None)
        if fate is not Fate.STORE:
            purged = max(purged, self.tag_purged())
        first = True
        for waiter in flight.waiters:
            if waiter.late and flight.born < purged:
                self.join(waiter)
                continue
            if fate is Fate.PASS or (fate is Fate.ONE and not first):
                waiter.expected = (How.PASS, None)
            elif fate is Fate.FAILED:
                waiter.expected = (How.FAILED, value)
            elif fate is Fate.STORE and stored:
                waiter.expected = (How.STORED if first else How.COLLAPSED, value)
            else:
                waiter.expected = (How.ANSWERED, value)
            first = False

    # Rules: who asks and who leaves.

    @rule(key=st.sampled_from(KEYS), force=st.booleans(), count=st.integers(1, 3))
    def ask(self, key: Hashable, force: bool, count: int) -> None:
        for _ in range(count):
            real = self.engine.enlist(self.loads[key], force=force)
            waiter = ModelWaiter(real, key, self.event(), force)
            self.waiters.append(waiter)
            self.join(waiter)

    @precondition(lambda self: any(flight.waiters for flight in self.flights.values()))
    @rule(data=st.data(), on_a_loop=st.booleans())
    def leave(self, data: st.DataObject, on_a_loop: bool) -> None:
        waiting = [waiter for flight in self.flights.values() for waiter in flight.waiters]
        waiter = waiting[data.draw(st.integers(0, len(waiting) - 1))]
        if on_a_loop:
            left = asyncio.run(self.engine.await_(waiter.real, 0))
        else:
            left = self.engine.wait(waiter.real, 0, "")
        assert left is None
        waiter.left = True
        self.flights[waiter.key].waiters.remove(waiter)

    @rule(key=st.sampled_from(KEYS))
    def hit(self, key: Hashable) -> None:
        """What a request does that found something to serve."""
        if self.served(key) is not None and self.wants_load(key):
            self.engine.start(self.loads[key])
            self.engine.start(self.loads[key])
            if key not in self.flights:
                self.begin(key)

    @rule(key=st.sampled_from(KEYS))
    def tick(self, key: Hashable) -> None:
        self.runtime.post(self.engine.tick, self.loads[key], INTERVAL)
        if key not in self.flights and not self.held(key):
            self.begin(key)

    # Rules: how loads end.

    @precondition(lambda self: self.flights)
    @rule(
        data=st.data(),
        fate=st.sampled_from([Fate.STORE, Fate.STORE, Fate.STORE, *Fate]),
        tags=st.sets(st.sampled_from(TAGS)).map(lambda tags: tuple(sorted(tags))),
    )
    def finish(self, data: st.DataObject, fate: Fate, tags: tuple[str, ...]) -> None:
        flight = self.flights[data.draw(st.sampled_from(list(self.flights)))]
        value = f"value {self.event()}"
        self.values[value] = (flight.born, tags if fate is Fate.STORE else TAGS)
        flight.outcome.set_result(Loaded(value, fate, tags=tags if fate is Fate.STORE else ()))
        self.settle()
        self.land(flight, fate, value, tags if fate is Fate.STORE else ())

    @precondition(lambda self: self.flights)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        flight = self.flights[data.draw(st.sampled_from(list(self.flights)))]
        flight.outcome.set_exception(OSError("down"))
        self.settle()
        self.land(flight, Fate.FAILED, OSError, ())

    @precondition(lambda self: any(flight.armed for flight in self.flights.values()))
    @rule(data=st.data())
    def time_out(self, data: st.DataObject) -> None:
        armed = [key for key, flight in self.flights.items() if flight.armed]
        flight = self.flights[data.draw(st.sampled_from(armed))]

        def fire() -> None:
            assert flight.real.timer is not None
            flight.real.timer.cancel()
            self.engine._expire(flight.real)

        self.runtime.post(fire)
        self.settle()
        for waiter in flight.waiters:
            waiter.expected = (How.FAILED, LoadTimeout)
        flight.waiters, flight.armed = [], False
        if not flight.failed and (not flight.passing or self.covers(flight.key)):
            flight.failed = True
            if not flight.expired:
                self.count_failure(flight.key)
        flight.expired = True
        if flight.key not in STUBBORN:
            self.land(flight, Fate.FAILED, LoadTimeout, ())

    @precondition(lambda self: self.flights)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        flight = self.flights[data.draw(st.sampled_from(list(self.flights)))]
        flight.real.release("reads something personal")
        self.settle()
        if not flight.passing:
            flight.passing = True
            for waiter in flight.waiters:
                waiter.expected = (How.PASS, None)
            flight.waiters = []

    # Rules: purges and time.

    @rule(what=st.sampled_from(sorted(PURGES)), at_once=st.booleans())
    def purge(self, what: str, at_once: bool) -> None:
        """The stamp counts from now on; the clean-up may be late."""
        number = self.event()
        self.purges.append((number, what))
        self.cleans.append((number, what, PURGES[what][1](self.engine)))
        if at_once:
            self.clean()

    def soft_purges(self) -> list[str]:
        """Those that end the freshness of something."""
        fresh = [(key, self.entries[key].tags) for key in KEYS if self.window(key) == "fresh"]
        return [what for what in sorted(SOFT) if any(SOFT[what][0](*each) for each in fresh)]

    @precondition(lambda self: self.soft_purges())
    @rule(data=st.data())
    def soften(self, data: st.DataObject) -> None:
        """Purge softly: there is nothing to clean up."""
        what = data.draw(st.sampled_from(self.soft_purges()))
        self.softened.append((self.event(), what))
        assert self.runtime.submit(SOFT[what][1](self.engine), "clean").result(LIMIT)

    @precondition(lambda self: self.cleans)
    @rule()
    def clean(self) -> None:
        number, what, clean = self.cleans.pop()
        self.runtime.submit(clean, "clean").result(LIMIT)
        if what.startswith("tag"):
            return
        for key in KEYS:
            concerned = PURGES[what][0](key, ())
            if concerned and (key in self.entries or what in ("call", "all")):
                self.failures.pop(key, None)
            if concerned and key in self.entries and self.entries[key].born < number:
                del self.entries[key]

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0, 6.0, 10.0, 60.0, -2.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    # What always holds.

    @invariant()
    def flights_agree(self) -> None:
        """One flight per key, with those waiters who wait for it, and no load besides."""
        self.settle()
        assert self.begun == []
        real = {key: flight.waiters for key, flight in self.engine.flights.items()}
        model = {
            key: [waiter.real for waiter in flight.waiters] for key, flight in self.flights.items()
        }
        assert real == model
        assert self.engine.waiting == 0

    @invariant()
    def answers_agree(self) -> None:
        """What is served without waiting is what the model says, deadlines and purges obeyed."""
        for key in KEYS:
            entry = self.store.peek(key)
            decision = decide(entry, self.now, self.engine.failures.retry_at(key))
            served = entry.value if entry is not None and decision.serve else None
            assert served == self.served(key)
            assert decision.load == self.wants_load(key)
            failed = self.failures.get(key)
            assert self.engine.failures.retry_at(key) == (failed[1] if failed else None)
        assert len(self.engine.failures) == len(self.failures)

    @invariant()
    def waiters_agree(self) -> None:
        """Who waits no more has his result, and none that began before a purge before he asked."""
        for waiter in self.waiters:
            future = waiter.real.future
            if waiter.expected is None:
                assert waiter.left or not future.done()
                continue
            result = future.result(0)
            how, value = waiter.expected
            assert result.how is how
            assert _value(result) == value
            if how is not How.FAILED and value is not None:
                born, tags = self.values[value]
                for at, what in self.purges:
                    late = PURGES[what][0](waiter.key, tags) and born < at < waiter.asked
                    assert not late, f"{value} began before {what}, he asked after it"
        self.waiters = [w for w in self.waiters if w.expected is None and not w.left]

    def teardown(self) -> None:
        for _, _, clean in self.cleans:
            self.runtime.submit(clean, "clean").result(LIMIT)
        try:
            self.runtime.submit(lambda: self.engine.drain(0.0), "drain").result(LIMIT)
            assert self.engine.flights == {}
            for waiter in self.waiters:
                if waiter.expected is None and not waiter.left:
                    result = waiter.real.future.result(0)
                    assert result.detail == "closed" or isinstance(result.value, WaitTimeout)
            assert self.store.stamps.hard.keys == {}, "stamps outlive the loads from before them"
        finally:
            self.runtime.stop()


def _value(result: Result) -> object:
    if result.how is How.HIT:
        return result.entry.value if result.entry else None
    if result.how is How.PASS:
        return None
    return type(result.value) if isinstance(result.value, BaseException) else result.value


EngineMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],  # to explain, it would trace every line
    report_multiple_bugs=False,
)  # fmt: skip
TestEngineMachine = pytest.mark.timeout(300)(EngineMachine.TestCase)  # shrinking takes its time


# Variants: whatever is read, whoever asks.

PERSONAL = {"cookie"}
PAGE = url("/a", "")
# Everybody who may ask: few enough that they meet.
VISITORS = [
    {name: value for name, value in zip(("lang", "theme", "cookie"), values, strict=True) if value}
    for values in itertools.product(("x", "y"), ("", "x"), ("", "me"))
]
visitors = st.sampled_from([*VISITORS[:1] * 4, *VISITORS])  # one comes more often
# What the view reads, in this order; what is read may depend on what was read before.
VIEWS: dict[str, Callable[[Brings], list[str]]] = {
    "nothing": lambda brings: [],
    "lang": lambda brings: ["lang"],
    "lang, or both": lambda brings: ["lang", *["theme"] * (brings.inputs.get("lang") == "x")],
    "theme, or both": lambda brings: ["theme", *["lang"] * ("theme" not in brings.inputs)],
    "cookie": lambda brings: ["cookie", "lang"],
}


class Oops(Exception):
    """What a load raises; says which."""


class Timeless(SimpleMemoryCache):  # type: ignore[misc]  # aiocache is not typed
    """A backend that answers at once and forgets nothing: the real clock decides nothing here."""

    async def get(self, key: str, **_: Any) -> Any:
        return self._cache.get(key)

    async def set(self, key: str, value: Any, **_: Any) -> None:
        self._cache[key] = value

    async def delete(self, key: str, **_: Any) -> None:
        self._cache.pop(key, None)


@dataclass(eq=False, repr=False)
class Making:
    """One load in progress, and after it what it brought."""

    number: int
    at: int  # the event with which it began
    flight: Flight
    outcome: "Future[Loaded]"
    reads: dict[str, str | None] = field(default_factory=dict)  # as its render saw it
    taken: int = 0  # by how many waiters, of an answer for one
    alone: bool = False

    @property
    def brings(self) -> Brings:
        assert isinstance(self.flight.load.under, Brings)
        return self.flight.load.under

    def read(self, name: str, told: bool) -> None:
        self.reads[name] = None if name in PERSONAL else self.brings.inputs.get(name)
        if told:
            self.flight.note_read(name)


@dataclass(eq=False, repr=False)
class Visitor:
    """One who waits, what he brings, and when he came."""

    real: Waiter
    process: int
    brings: dict[str, str]
    at: int


class VariantsMachine(RuleBasedStateMachine):
    """No model: loads read what they like, and what everybody gets is held against the rules."""

    @initialize(
        shared=st.booleans(), most=st.sampled_from([1, 2, 64]), view=st.sampled_from(list(VIEWS))
    )
    def begin(self, shared: bool, most: int, view: str) -> None:
        self.view = view
        self.now = 1_000.0
        self.runtime = Runtime(2)
        backend = Timeless() if shared else None
        self.engines = [self.engine(backend, most) for _ in range(2 if shared else 1)]
        self.shared = shared
        self.events = 0
        self.making: list[Making] = []
        self.made: dict[int, Making] = {}
        self.visitors: list[Visitor] = []
        self.purges: list[tuple[int, int]] = []  # event, process
        self.forgetful = [False for _ in self.engines]  # has a note gone since a flight began?

    def engine(self, backend: SimpleMemoryCache | None, most: int) -> Engine:
        store = Store(lambda: self.now, 2**20, most)
        config = {**CONFIG, "ASWR_STORE_TIMEOUT": LIMIT, "ASWR_PROPAGATION": 2 * LIMIT}
        return Engine(
            "machine", store, lambda: self.runtime, clock=lambda: self.now, random=lambda: 0.0,
            max_waiters=1000, max_loads=1000,
            shared=Shared(backend, "machine", config, lambda: [], store.stamps, lambda: self.now),
        )  # fmt: skip

    def event(self) -> int:
        self.events += 1
        return self.events

    def load_of(self, brings: dict[str, str]) -> Load:
        async def body(outcome: "Future[Loaded]") -> Loaded:
            return await asyncio.wrap_future(outcome)

        async def run(flight: Flight) -> Any:
            making = Making(len(self.made), self.event(), flight, Future())
            self.making.append(making)
            self.made[making.number] = making
            return await flight.run(body(making.outcome), flight.context())

        times = Times(TIMEOUT, refresh_margin=MARGIN, stale_if_error=IF_ERROR, load_timeout=3600.0)
        return Load(PAGE, "load of /a", times, run, False, Brings(PAGE, brings))

    def settle(self) -> None:
        """Until the loop has nothing left to do but to wait for the loads in progress."""

        def busy() -> bool:
            active = sum(len(engine._active) for engine in self.engines)
            return active > sum(not making.outcome.done() for making in self.making)

        async def turns() -> None:
            quiet = 0
            while quiet < 20:
                await asyncio.sleep(0)
                quiet = 0 if busy() else quiet + 1

        self.runtime.submit(turns, "settle").result(LIMIT)
        self.making = [making for making in self.making if not making.outcome.done()]

    def sees(self, process: int, brings: dict[str, str]) -> Any:
        """What a request gets without waiting."""
        engine = self.engines[process]
        load, entry, why = engine.urls.find(self.load_of(brings))
        if why or entry is None:
            return None
        decision = decide(entry, self.now, engine.failures.retry_at(load.key))
        return entry.value if decision.serve else None

    def passes(self, process: int, number: int) -> bool:
        """Must this visitor pass, by what the URL is known to read?"""
        return bool(self.engines[process].urls.find(self.load_of(VISITORS[number]))[2])

    def all_seen(self) -> dict[Any, Any]:
        return {
            (process, number): self.sees(process, brings)
            for process in range(len(self.engines))
            for number, brings in enumerate(VISITORS)
        }

    def check(self, value: Any, process: int, brings: dict[str, str], at: int) -> Making:
        """May who brought this, then, get this value?"""
        making = self.made[int(value.body if isinstance(value, Answer) else value.args[0])]
        differs = [name for name, seen in making.reads.items() if brings.get(name) != seen]
        assert not differs, f"its render read {making.reads}, he brings {brings}"
        for purged, where in self.purges:
            if where == process:
                assert not making.at < purged < at, "it began before a purge, he asked after it"
        return making

    def one_of(self, data: st.DataObject, several: list[Any]) -> Any:
        return several[data.draw(st.integers(0, len(several) - 1))]

    # Rules: who asks and who leaves.

    @rule(
        data=st.data(), force=st.booleans(), several=st.lists(visitors, min_size=1, max_size=3),
    )  # fmt: skip
    def ask(self, data: st.DataObject, force: bool, several: list[dict[str, str]]) -> None:
        process = data.draw(st.integers(0, len(self.engines) - 1))
        seen = threading.Event()
        self.runtime.post(seen.wait, LIMIT)  # so that the loop sees all of them at once
        for brings in several:
            real = self.engines[process].enlist(self.load_of(brings), force=force)
            self.visitors.append(Visitor(real, process, brings, self.event()))
        seen.set()

    @rule(data=st.data(), brings=visitors, tick=st.booleans())
    def refresh(self, data: st.DataObject, brings: dict[str, str], tick: bool) -> None:
        engine = self.one_of(data, self.engines)
        load, _, why = engine.urls.find(self.load_of(brings))
        if tick:
            self.runtime.post(engine.tick, load, INTERVAL)
        elif not why:
            engine.start(load)

    # Rules: what loads do.

    @precondition(lambda self: self.making)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        """The first thing that the view reads, long before it ends."""
        making = self.one_of(data, self.making)
        for name in VIEWS[self.view](making.brings)[:1]:
            making.read(name, True)

    @precondition(lambda self: self.making)
    @rule(
        data=st.data(), told=st.booleans(),
        fate=st.sampled_from([Fate.STORE, Fate.STORE, Fate.STORE, Fate.STORE, Fate.STORE, *Fate]),
    )  # fmt: skip
    def finish(self, data: st.DataObject, told: bool, fate: Fate) -> None:
        making = self.one_of(data, self.making)
        before = self.all_seen()
        for name in VIEWS[self.view](making.brings):
            making.read(name, told)
        making.alone = fate is Fate.ONE
        self.land(making, fate)
        if fate in (Fate.FAILED, Fate.KEEP) and not self.shared:
            self.still_there(before)

    def land(self, making: Making, fate: Fate = Fate.STORE) -> None:
        names = tuple(sorted(making.reads))
        making.outcome.set_result(
            Loaded(Answer(200, (), b"%d" % making.number), fate, names=names, detail="why")
        )
        self.settle()

    @precondition(lambda self: self.making)
    @rule(data=st.data(), what=st.sampled_from(["raise", "raise", "expire", "release", "leave"]))
    def go_wrong(self, data: st.DataObject, what: str) -> None:
        making = self.one_of(data, self.making)
        if what == "raise":
            self.fail(making)
        elif what == "expire":
            self.expire(making)
        elif what == "release":
            making.flight.release("writes session")
        elif self.visitors:
            visitor = self.visitors.pop(data.draw(st.integers(0, len(self.visitors) - 1)))
            self.engines[visitor.process].wait(visitor.real, 0, "")

    def fail(self, making: Making) -> None:
        """It raises: of what it read only that is known which it told at once."""
        before = self.all_seen()
        for name in VIEWS[self.view](making.brings):
            making.read(name, True)
        making.reads = {name: making.reads[name] for name in making.flight.names}
        making.outcome.set_exception(Oops(making.number))
        self.settle()
        if not self.shared:
            self.still_there(before)

    def still_there(self, before: dict[Any, Any]) -> None:
        """Invariant 4: what was served before a load failed is served after it.

        But for who carries what the load was seen to read: his view runs in his own request.
        """
        after = self.all_seen()
        kept = {who: value for who, value in before.items() if value and not self.passes(*who)}
        assert {who: after[who] for who in kept} == kept

    def expire(self, making: Making) -> None:
        (engine,) = (e for e in self.engines if making.flight in e.flights.values())
        before = self.all_seen()
        self.runtime.post(engine._expire, making.flight)
        self.settle()
        if not self.shared:
            self.still_there(before)

    @precondition(lambda self: self.making)
    @rule()
    def finish_all(self) -> None:
        """Nobody waits for ever: as long as loads end, everybody is answered in the end."""
        for _ in range(4 * len(self.visitors) + 4):
            for making in self.making:
                for name in VIEWS[self.view](making.brings):
                    making.read(name, True)
                self.land(making)
        assert self.making == []
        assert all(visitor.real.future.done() for visitor in self.visitors)

    # Rules: what else happens.

    @rule(seconds=st.sampled_from([0.5, 3.0, 6.0, 10.0, 60.0]), view=st.sampled_from(list(VIEWS)))
    def time_passes(self, seconds: float, view: str) -> None:
        """What the view reads depends on the state of the world, too."""
        self.now += seconds
        self.view = view

    @rule(
        data=st.data(), how=st.sampled_from(["purge", "purge all", "evict", "evict", "evict one"])
    )
    def lose(self, data: st.DataObject, how: str) -> None:
        """The URL is purged, or an entry or what the URL reads has to make room."""
        process = data.draw(st.integers(0, len(self.engines) - 1))
        store = self.engines[process].store
        if how.startswith("purge"):
            self.purge(process, everything=how == "purge all")
        elif how == "evict":
            self.forgetful[process] = True
            self.runtime.post(store.discard, PAGE)
        else:
            variants = sorted(store.keys_of(PAGE)[1:], key=repr)
            if variants:
                self.runtime.post(store.discard, self.one_of(data, variants))

    def purge(self, process: int, everything: bool) -> None:
        engine = self.engines[process]
        clean = engine.purge_all() if everything else engine.purge_path("/a", None)
        self.purges.append((self.event(), process))
        self.forgetful[process] = True
        self.runtime.submit(clean, "clean").result(LIMIT)

    # What always holds.

    @invariant()
    def flights_are_in_order(self) -> None:
        """One flight per key, under its own key; every load in progress is one of them."""
        self.settle()
        flying = [flight for engine in self.engines for flight in engine.flights.values()]
        assert sorted(map(id, flying)) == sorted(id(making.flight) for making in self.making)
        for process, engine in enumerate(self.engines):
            assert all(flight.key == key for key, flight in engine.flights.items())
            keys = [engine.urls.find(flight.load)[0].key for flight in engine.flights.values()]
            if not keys:
                self.forgetful[process] = False
            assert self.forgetful[process] or len(set(keys)) == len(keys)

    @invariant()
    def waiters_are_answered_rightly(self) -> None:
        """Who waits has his seat; who does not was given what he may have (invariant 9)."""
        waiting = []
        for visitor in self.visitors:
            if not visitor.real.future.done():
                assert visitor.real.flight is not None
                assert visitor.real in visitor.real.flight.waiters
                waiting.append(visitor)
                continue
            result = visitor.real.future.result(0)
            value = result.entry.value if result.how is How.HIT and result.entry else result.value
            if result.how is How.PASS or isinstance(value, LoadTimeout):
                continue
            making = self.check(value, visitor.process, visitor.brings, visitor.at)
            making.taken += 1
            assert making.taken == 1 or not making.alone
        self.visitors = waiting

    @invariant()
    def hits_are_right(self) -> None:
        """Nobody is served what was read from another one's inputs, nor a note."""
        for (process, number), value in self.all_seen().items():
            if value is not None:
                self.check(value, process, VISITORS[number], self.events + 1)

    @invariant()
    def variants_are_bounded(self) -> None:
        for engine in self.engines:
            keys = engine.store.keys_of(PAGE)[1:]
            assert len(keys) <= engine.store._max_variants
            assert all(engine.store.memory.glance(key) is not None for key in keys)

    def teardown(self) -> None:
        try:
            for engine in self.engines:
                self.runtime.submit(lambda engine=engine: engine.drain(0.0), "").result(LIMIT)  # type: ignore[misc]
                assert engine.flights == {}
            assert all(visitor.real.future.done() for visitor in self.visitors)
        finally:
            self.runtime.stop()


VariantsMachine.TestCase.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None, derandomize=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink], report_multiple_bugs=False,
)  # fmt: skip
TestVariantsMachine = pytest.mark.timeout(300)(VariantsMachine.TestCase)
