"""Three fleets without a socket: their requests, their memory, and what they ask of one store.

Time is simulated: events in their order, by a clock of their own, and the same seed gives the same
figures. Verdicts, deadlines and the protocol's times are the product's own; the steps of a load are
those of `aswr.concert` over `aswr.fleet`, command by command, each half a round trip away from
Redis, which answers at once. Requests come at random (Poisson) to a random worker, for keys by
Zipf's law. Left out: variants, purges, failures, and the bound of a worker's memory.
"""

import itertools
import math
import random
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import Any

from aswr.backplane import HEARTBEAT, LIFE
from aswr.codec import Entry
from aswr.fleet import HELD
from aswr.policy import Deadlines, Times, decide
from aswr.stamps import MICRO

from .wire import START, Setup


def requests(setup: Setup) -> Iterator[tuple[float, int, int]]:
    """When, to which worker and for which key, in their order."""
    rng = random.Random(setup.seed)
    ranks = itertools.accumulate(rank**-setup.zipf for rank in range(1, setup.keys + 1))
    weights = list(ranks)
    total, ends, due = weights[-1], START + setup.timeout + setup.seconds, START
    while (due := due + rng.expovariate(setup.rate)) < ends:
        yield due, int(rng.random() * setup.workers), bisect(weights, rng.random() * total)


class Flight:
    """The load of a key in one worker."""

    __slots__ = ("asks", "joined", "key", "told", "turn", "worker")

    def __init__(self, worker: int, key: int) -> None:
        self.worker = worker
        self.key = key
        self.asks = False  # its claim is on the way
        self.told = False  # meanwhile, of a load elsewhere
        self.turn = 0  # how often it asked: a poll that an answer has overtaken is none
        self.joined: int | None = None


class Alone:
    """Memory alone: each worker loads for itself. Also what all fleets have in common."""

    name = "memory only"

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.times = Times(setup.timeout, setup.margin)
        self.random = random.Random(f"{setup.seed} beats")
        self.now = START
        self.begins = START + setup.timeout  # of what is counted
        self.counted: Counter[str] = Counter()
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._turn = itertools.count()
        # By key: worker -> what it holds; which workers have used that; until when, in seconds,
        # loads are of one refresh; how many there were of each.
        self.held: list[dict[int, Entry]] = [{} for _ in range(setup.keys)]
        self.used: list[set[int]] = [set() for _ in range(setup.keys)]
        self.refreshed_until = [0.0] * setup.keys
        self.refreshes = [0] * setup.keys
        self.loads = [0] * setup.keys
        self.flights: dict[tuple[int, int], Flight] = {}
        self._last = 0

    def at(self, seconds: float, call: Callable[..., None], *args: Any) -> None:
        """Call so many seconds from now."""
        heappush(self._events, (self.now + seconds, next(self._turn), call, args))

    def count(self, what: str, times: int = 1) -> None:
        if self.now >= self.begins:
            self.counted[what] += times

    def run(self) -> None:
        """All requests of the set-up, and what they bring about."""
        events, request = self._events, self.request
        for due, worker, key in requests(self.setup):
            while events and events[0][0] <= due:
                self.now, _, call, args = heappop(events)
                call(*args)
            self.now = due
            request(worker, key)

    def request(self, worker: int, key: int) -> None:
        """As a caller's thread does it: peek, judge, and start a flight if need be."""
        entry = self.held[key].get(worker)
        decision = decide(entry, self.now)
        self.count("requests")
        if entry is not None:
            self.used[key].add(worker)
        if not decision.serve:
            self.count("memory misses")
        if decision.load and (worker, key) not in self.flights:
            self.flights[worker, key] = flight = Flight(worker, key)
            self.consult(flight)

    def consult(self, flight: Flight) -> None:
        """Whom to ask before a load: here nobody."""
        self.load(flight, self.number())

    def number(self) -> int:
        self._last = max(self._last + 1, int(self.now * MICRO))
        return self._last

    def load(self, flight: Flight, born: int) -> None:
        """The load begins."""
        key = flight.key
        if self.now >= self.refreshed_until[key]:  # nobody anywhere has, or will soon have, news
            self.refreshed_until[key] = math.inf
            self.refreshes[key] += self.now >= self.begins
        self.loads[key] += self.now >= self.begins
        self.count("loads")
        self.at(self.setup.load, self.land, flight, born)

    def land(self, flight: Flight, born: int) -> None:
        """The load has ended: into memory, then to whom it may concern."""
        ends = self.times.deadlines(self.now, self.setup.load, 0.0)
        entry = Entry(value=None, stored=self.now, born=born, **asdict_of(ends))
        if self.refreshed_until[flight.key] == math.inf:
            self.refreshed_until[flight.key] = ends.fresh_until
        self.publish(flight.worker, flight.key, entry)
        self.end(flight)
        self.conclude(flight, entry)

    def conclude(self, flight: Flight, entry: Entry) -> None:
        """Whom to tell: here nobody."""

    def end(self, flight: Flight) -> None:
        del self.flights[flight.worker, flight.key]

    def publish(self, worker: int, key: int, entry: Entry) -> None:
        """Into a worker's memory, unless what is there is newer; nobody has used it yet."""
        held = self.held[key].get(worker)
        if held is None or held.born <= entry.born:
            self.held[key][worker] = entry
            self.used[key].discard(worker)

    # A command, half a round trip away.

    def ask(self, name: str, there: Callable[..., None], *args: Any) -> None:
        """Send a command; ``there`` is what it does in Redis."""
        self.count(name)
        self.at(self.setup.rtt / 2, there, *args)

    def reply(self, here: Callable[..., None], *args: Any) -> None:
        self.at(self.setup.rtt / 2, here, *args)


def asdict_of(ends: Deadlines) -> dict[str, float]:
    """As `asdict`, which takes ten times as long."""
    return {name: getattr(ends, name) for name in ends.__slots__}


class Sharing(Alone):
    """A shared store alone, as `aswr.plain`: who finds nothing fresh there loads for himself."""

    name = "no lease"

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.stored: dict[int, Entry] = {}

    def there(self, key: int) -> Entry | None:
        """What lies in the store; it is gone where nobody could serve it."""
        entry = self.stored.get(key)
        return entry if entry is not None and self.now < entry.error_until else None

    def consult(self, flight: Flight) -> None:
        self.ask("GET", self._look, flight)

    def _look(self, flight: Flight) -> None:
        entry = self.there(flight.key)
        if entry is not None:
            self.count("GET+")
        self.reply(self._looked, flight, entry)

    def _looked(self, flight: Flight, entry: Entry | None) -> None:
        if entry is not None:
            self.publish(flight.worker, flight.key, entry)
            if self.now < entry.fresh_until:
                self.end(flight)
                return
        self.load(flight, self.number())

    def conclude(self, flight: Flight, entry: Entry) -> None:
        self.ask("SET", self.stored.__setitem__, flight.key, entry)


class Leasing(Sharing):
    """Redis, as `aswr.concert` over `aswr.fleet`: claim, number, store, news, beats."""

    name = "fleet"

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.lease = setup.lease * HELD
        self.poll = setup.lease * (1 - HELD) / 2
        self.interval = max(0.02, 0.4 * setup.propagation)
        self.leases: dict[int, tuple[int, float]] = {}  # key -> who has it, until when
        self.awaited: dict[int, float] = {}  # key -> until when somebody waits for its load
        self.leading: list[dict[int, float]] = [{} for _ in range(setup.workers)]  # renewed when
        self.following: dict[int, dict[int, Flight]] = {}  # key -> worker -> its flight
        # When each said last that it is there: all did, over the last while.
        self.said_at = [self.now - self.random.uniform(0, LIFE) for _ in range(setup.workers)]
        for worker in range(setup.workers):
            self.at(self.random.uniform(0, self.interval), self._beat, worker)
            self.at(self.random.uniform(0, HEARTBEAT), self._ping)

    def _ping(self) -> None:
        self.count("PING")
        self.at(HEARTBEAT, self._ping)

    def _beat(self, worker: int) -> None:
        self.count("SYNC")
        if self.now - self.said_at[worker] > LIFE:
            self.said_at[worker] = self.now
            self.count("SYNC+")
        for key, renewed in self.leading[worker].items():
            if self.now - renewed > self.lease / 4:
                self.leading[worker][key] = self.now
                self.ask("RENEW", self._renew_lease, worker, key)
        self.at(self.interval * self.random.uniform(0.8, 1.0), self._beat, worker)

    def _renew_lease(self, worker: int, key: int) -> None:
        if self._leader(key) == worker:
            self.leases[key] = worker, self.now + self.lease

    def _leader(self, key: int) -> int | None:
        worker, until = self.leases.get(key, (None, 0.0))
        return worker if self.now < until else None

    # Before a load.

    def consult(self, flight: Flight) -> None:
        self.following.setdefault(flight.key, {})[flight.worker] = flight
        self._claim(flight)

    def _claim(self, flight: Flight) -> None:
        flight.turn += 1
        flight.asks, flight.told = True, False
        held = self.held[flight.key].get(flight.worker)
        seen = 0 if held is None else held.born
        floor = seen if flight.joined is None else flight.joined
        self.ask("CLAIM", self._claimed, flight, seen, floor)

    def _claimed(self, flight: Flight, seen: int, floor: int) -> None:
        """In Redis."""
        entry = self.there(flight.key)
        number = 0 if entry is None else entry.born
        if entry is not None and number > floor and self.now < entry.fresh_until:
            said = "fresh"
        elif self._leader(flight.key) in (None, flight.worker):
            said = "lead"
            self.leases[flight.key] = flight.worker, self.now + self.lease
        else:
            said = "busy"
            self.count("busy")
            self.awaited[flight.key] = self.now + self.lease
        found = entry if number > seen else None
        if found is not None:
            self.count("CLAIM+")
        self.reply(self._answered, flight, said, number, found)

    def _answered(self, flight: Flight, said: str, number: int, found: Entry | None) -> None:
        key, worker = flight.key, flight.worker
        flight.asks = False
        if found is not None:
            self.publish(worker, key, found)
        if said == "busy":
            flight.joined = number
            if flight.told:
                self._claim(flight)
            else:
                self.at(self.poll, self._poll, flight, flight.turn)
            return
        del self.following[key][worker]
        if said == "fresh":
            self.end(flight)
        else:
            self.leading[worker][key] = self.now
            self.ask("NUMBER", self._numbered, flight)

    def _numbered(self, flight: Flight) -> None:
        self.reply(self.load, flight, self.number())

    def _poll(self, flight: Flight, turn: int) -> None:
        if flight.turn == turn:
            self.count("polls")
            self._claim(flight)

    # After it.

    def conclude(self, flight: Flight, entry: Entry) -> None:
        self.ask("STORE", self._store, flight, entry)

    def _store(self, flight: Flight, entry: Entry) -> None:
        """In Redis."""
        key = flight.key
        if self._leader(key) == flight.worker:
            del self.leases[key]
        there = self.there(key)
        if there is None or there.born <= entry.born:
            self.stored[key] = entry
            awaited = self.now < self.awaited.pop(key, 0.0)
            fresh = there is not None and self.now < there.fresh_until
            if self.setup.told == "all" or awaited or fresh:
                self.count("message", self.setup.workers)
                self.reply(self._heard, flight.worker, key, entry.born)
        else:
            self.reply(self._hear, flight.worker, key, entry.born + 1)
        self.reply(self._saved, flight.worker, key)

    def _saved(self, worker: int, key: int) -> None:
        """Here, too, somebody may follow that load: he came after its end."""
        self.leading[worker].pop(key, None)
        if (flight := self.following.get(key, {}).get(worker)) is not None:
            self._tell(flight)

    def _tell(self, flight: Flight) -> None:
        self.count("told")
        if flight.asks:
            flight.told = True
        else:
            self._claim(flight)

    def _heard(self, sender: int, key: int, born: int) -> None:
        for worker in {**self.following.get(key, {}), **self.held[key]}:
            if worker != sender:
                self._hear(worker, key, born)

    def _hear(self, worker: int, key: int, born: int) -> None:
        """Who follows asks again, memory makes way or is renewed."""
        if (flight := self.following.get(key, {}).get(worker)) is not None:
            self._tell(flight)
            return
        held = self.held[key].get(worker)
        if held is None or held.born >= born:
            return
        if worker in self.used[key]:
            self.ask("LOOK", self._renew, worker, key)
        else:
            del self.held[key][worker]
            self.count("discarded")

    def _renew(self, worker: int, key: int) -> None:
        entry = self.there(key)
        if entry is not None:
            self.count("LOOK+")
            self.reply(self.publish, worker, key, entry)


FLEETS = (Leasing, Sharing, Alone)
