"""The engine against a simple model: any order of asks, leaves, ends, purges and clock jumps.

The model is a list of purges, a dictionary of entries and one of flights, all changed by hand in
one thread. Loads are coroutines that end when the machine says so; after every rule the loop has
seen everything, and both must agree.
"""

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aswr.engine import Engine
from aswr.errors import LoadTimeout, WaitTimeout
from aswr.flight import Fate, Flight, How, Load, Loaded, Result, Waiter
from aswr.keys import CallKey, ViewKey
from aswr.policy import Times
from aswr.runtime import Runtime
from aswr.store import Store

LIMIT = 10.0  # seconds that anything here may wait
TIMEOUT, MARGIN, IF_ERROR = 10.0, 4.0, 6.0
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


@dataclass
class ModelEntry:
    value: object
    born: int
    stored: float
    tags: tuple[str, ...] = ()
    passing: bool = False

    def window(self, now: float) -> str:
        age = now - self.stored
        if self.passing:
            return "pass" if age < TIMEOUT else "gone"
        if age < TIMEOUT - MARGIN:
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
    passing: bool = False


class EngineMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0
        self.runtime = Runtime(2)
        self.store = Store("machine", lambda: self.now, 2**20)
        self.engine = Engine(
            "machine", self.store, lambda: self.runtime, clock=lambda: self.now,
            random=lambda: 0.0, max_waiters=1000,
        )  # fmt: skip
        self.begun: list[tuple[Flight, Future[Loaded]]] = []  # loads the model has not yet seen
        self.loads = {key: self.load_of(key) for key in KEYS}
        # The model.
        self.events = 0
        self.purges: list[tuple[int, str]] = []
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
        return entry.window(self.now) if entry else "gone"

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
        if flight.passing or fate in (Fate.PASS, Fate.ONE):
            self.note_pass(flight)
        elif fate is Fate.STORE and purged < flight.born:
            stored = True
            self.entries[key] = ModelEntry(value, flight.born, self.now, tags)
        elif fate is Fate.DROP and purged < flight.born:
            self.entries.pop(key, None)
        if fate is Fate.KEEP or (fate is Fate.FAILED and not flight.expired):
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
        self.runtime.post(self.engine.tick, self.loads[key])
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
            self.note_pass(flight)
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
        from aswr.policy import decide

        for key in KEYS:
            entry = self.store.peek(key)
            decision = decide(entry, self.now, self.engine.retry_at(key))
            served = entry.value if entry is not None and decision.serve else None
            assert served == self.served(key)
            assert decision.load == self.wants_load(key)
        assert {key: at for key, (_, at) in self.engine.failures.items()} == {
            key: at for key, (_, at) in self.failures.items()
        }

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
            assert self.store.stamps.keys == {}, "stamps outlive the loads from before them"
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
