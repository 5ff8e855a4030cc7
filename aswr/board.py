"""The flights in progress: what begins them, who takes a seat, and when all are over.

The loop's half of the engine, with `Landing`: how they end. Everything here runs on the loop,
unless it says otherwise, and changes state in one synchronous step. Owns, beside that one's,

    asked       keys that a STALE hit has posted and the loop has not yet seen
    backlog     `Backlog`: loads for nobody, beyond ``max_loads``; while there are any, no room is
    active      flights not quite over: one may still be saving to a shared store
    background  those of them that began for nobody: at most ``max_loads``
    passes      passing views that run on the loop
    trials      loads of which nothing is to follow; while there are any, the ledger is discreet
    prunable    purges whose stamp can go when no load from before them is in flight

Must not know Flask, nor how a caller waits. What a load *does* is a callable in `Load`.
"""

import asyncio
import contextvars
import logging
import math
from collections.abc import Callable, Coroutine, Hashable
from concurrent.futures import Future
from functools import partial
from typing import Any

from .backlog import Backlog
from .codec import Entry
from .errors import LoadCycle, LoadError, WaitTimeout
from .executor import Rank
from .flight import Fate, Flight, How, Load, Loaded, Result, Waiter
from .landing import Landing, extra_of
from .ledger import Discreet
from .policy import Verdict, decide
from .runtime import Runtime
from .store import Store

log = logging.getLogger("aswr.engine")

CLOSED = Result(How.PASS, detail="closed")


class Board(Landing):
    """The flights of one app over one store.

    ``runtime()`` gives the loop thread, starting it if need be; ``random()`` draws from [0, 1);
    ``sender()`` is the app, for who listens to its events by signals.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        runtime: Callable[[], Runtime],
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
        max_waiters: int,
        max_loads: int,
        sender: Callable[[], Any] = lambda: None,
    ) -> None:
        super().__init__(name, store, clock, sender)
        self._runtime = runtime
        self._random = random
        self._max_waiters = max_waiters
        self._max_loads = max_loads
        # Awaited before each load, where somebody is to hold it: the test kit.
        self.before_load: Callable[[Flight], Coroutine[Any, Any, None]] | None = None
        self._ledgers = self.ledger, Discreet(self.ledger)
        self.forget()

    def forget(self) -> None:
        """Start anew: in a forked child no load of the parent's will ever end."""
        self.tallies.clear()
        self.purges = 0  # made here; a plain += on any thread, as for the tallies
        self.openings = 0  # of the breaker before the shared store
        self._forget_flights()

    def _forget_flights(self) -> None:
        super()._forget_flights()
        self.waiting = 0
        self._asked: set[Hashable] = set()
        self._backlog = Backlog()
        self._active: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._joiners: list[Future[None]] = []
        self._prunable: dict[Hashable, int] = {}
        self._passes: set[asyncio.Task[Any]] = set()
        self._trials: set[Flight] = set()
        self.ledger = self._ledgers[0]

    def __repr__(self) -> str:
        return f"<Engine {self.name} flights={list(self.flights.values())}>"

    @property
    def runtime(self) -> Runtime:
        """The loop thread, started if need be."""
        return self._runtime()

    def impatient(self, load: Load, why: str) -> WaitTimeout:
        """The error of a caller who cannot wait, or no longer; the load goes on."""
        error = WaitTimeout(
            f"The answer is being computed, and {why}; try again soon.",
            retry_after=max(1, round(min(load.times.wait_timeout, 10.0))),
        )
        error.add_note(f"The load: {load.name}")  # for the log; visitors see the text above
        return error

    # Flights.

    def _start(self, load: Load) -> None:
        self._asked.discard(load.key)
        self._want(load, periodic=False)

    def _start_unattended(self, load: Load) -> None:
        """Begin a load whose caller was turned away: he comes back for it, so it has no bound."""
        load, _, _ = self.urls.find(load)
        if not self.closed and load.key not in self.flights:
            self._begin(load)

    def _want(self, load: Load, periodic: bool) -> bool:
        """Begin a load that nobody waits for, or queue it while there is no room."""
        due = self._due(load, periodic)
        if due is None:
            return False
        if len(self._background) >= self._max_loads:
            return self._backlog.put(due, self.store.uses(due.key), periodic)
        self._begin(due, background=True)
        return True

    def _due(self, load: Load, periodic: bool) -> Load | None:
        """The load under the key that it has by now; None where there is nothing to do."""
        load, entry, _ = self.urls.find(load)
        now, retry_at = self.clock(), self.failures.retry_at(load.key)
        if self.closed or load.key in self.flights:
            return None
        if periodic:
            return load if retry_at is None or now >= retry_at else None
        return load if decide(entry, now, retry_at).load else None

    def _begin_queued(self) -> None:
        """Begin what is queued, as far as there is room: much may have changed meanwhile."""
        while len(self._background) < self._max_loads and (item := self._backlog.pop()):
            load, periodic, heat = item
            try:
                due = self._due(load, periodic)
            except Exception as error:  # a clock, say: the others must not wait for ever
                log.exception(
                    "%s: could not begin (%r)", load.name, error, extra=extra_of(load, load.key)
                )
                load.came("needless")
                continue
            # What was in use and is purged meanwhile nobody asks for; who does will wait for it.
            purged = heat > 0 and due is not None and self.store.glance(due.key) is None
            if due is not None and (periodic or not purged):
                self._begin(due, background=True)
            else:
                load.came("needless")

    def _join(self, waiter: Waiter) -> None:
        waiter.load, entry, why = self.urls.find(waiter.load)
        verdict = decide(entry, self.clock()).verdict
        flight = self.flights.get(waiter.load.key)
        if why:
            waiter.resolve(Result(How.PASS, detail=why))
        elif entry is not None and verdict is Verdict.FRESH and not waiter.force:
            waiter.resolve(Result(How.HIT, entry))
        elif entry is not None and verdict is Verdict.PASS and not waiter.force:
            waiter.resolve(Result(How.PASS, detail=entry.passing))
        elif self.closed:
            waiter.resolve(CLOSED)
        elif flight is None:
            self._seat(waiter, self._begin(waiter.load, waiter.inline))
        else:
            waiter.inline = False
            self._seat(waiter, flight)

    def _seat(self, waiter: Waiter, flight: Flight) -> None:
        if why := flight.refuses(waiter.load):
            waiter.resolve(Result(How.PASS, detail=why))
            return
        try:
            flight.refuse_cycle(waiter)
        except LoadCycle as error:
            waiter.resolve(Result(How.FAILED, value=error))
            return
        if waiter.parent is not None:
            waiter.parent.waits_for.append(flight)
        flight.waiters.append(waiter)
        waiter.flight = flight
        if flight.work is not None:
            self.runtime.executor.promote(flight.work)
        stamps = self.store.stamps  # which tags the answer will bear nobody knows yet
        purged = max(stamps.hard.latest(flight.key, ()), stamps.hard.latest_tag, stamps.cut)
        waiter.late = purged > flight.born
        if flight.expired and flight.timer is None:
            self._arm(flight)  # this one waits for a load whose time is already up

    def _leave(self, waiter: Waiter) -> None:
        flight = waiter.flight
        if flight is not None and waiter in flight.waiters:
            flight.waiters.remove(waiter)
            flight.part([waiter])

    def _begin(self, load: Load, inline: bool = False, background: bool = False) -> Flight:
        self._backlog.drop(load.key)  # who waits is never queued
        flight = Flight(
            load, load.key, self.store.stamps.tick(), self.clock(), self._random(), self.clock,
            self.runtime, self._heard, Future() if inline else None, enter=self.events.enter,
        )  # fmt: skip
        self.flights[load.key] = flight
        name = f"aswr flight {load.name}"
        task = self.runtime.task(self._fly(flight), name, contextvars.Context())
        flight.task = task
        self._active.add(task)
        if background:  # to its end, whoever joins: that makes it no cheaper
            self._background.add(task)
        task.add_done_callback(self._over)
        self._arm(flight)
        return flight

    def _arm(self, flight: Flight) -> None:
        limit = flight.load.times.load_timeout
        if limit is not None:
            flight.timer = self.runtime.loop.call_later(
                limit, self._expire, flight, context=contextvars.Context()
            )

    def _expire(self, flight: Flight) -> None:
        super()._expire(flight)
        if flight.task in self._background:  # a thread may never end: others take its place
            self._background.discard(flight.task)
            self._begin_queued()

    async def _fly(self, flight: Flight) -> None:
        try:
            if await self._consult(flight):
                flight.load.came("elsewhere")
                return
            self.ledger.note_started(flight)
            flight.load.came("here")
            if self.before_load is not None:
                await self.before_load(flight)
            loaded = await self._run(flight)
        except asyncio.CancelledError:  # ours: the user's own end in their task or thread
            closing = self.impatient(flight.load, "the cache is closing")
            loaded = Loaded(closing, Fate.FAILED)
        except Exception as error:
            loaded = Loaded(error, Fate.FAILED)
        except BaseException as error:  # whatever it is, the flight must land
            loaded = Loaded(LoadError.of(flight.load.name, error), Fate.FAILED)
        if flight.started is None:
            flight.load.came("needless")
        await self._conclude(flight, *self._land(flight, loaded))

    async def _consult(self, flight: Flight) -> bool:
        """Ask whom it may concern before loading; True where that made the load needless."""
        return False

    async def _conclude(self, flight: Flight, loaded: Loaded, entry: Entry | None) -> None:
        """Tell whom it may concern what a load came to; ``entry`` if it was stored."""

    async def trial(self, load: Load) -> tuple[Loaded, Flight]:
        """Run a load of which nothing is stored and nobody is told: what it came to, what it read.

        Nor is anything of what its code asks of this cache; see `Engine.fetch`. For who wants to
        know why.
        """
        flight = Flight(
            load, load.key, self.store.stamps.tick(), self.clock(), 0.0, self.clock, self.runtime,
            lambda flight: None, trial=True,
        )  # fmt: skip
        self._trials.add(flight)
        self.ledger = self._ledgers[1]
        try:
            return await self._try(flight), flight
        finally:
            self._trials.discard(flight)
            if not self._trials:
                self.ledger = self._ledgers[0]

    async def _try(self, flight: Flight) -> Loaded:
        try:
            return await self._run(flight)
        except Exception as error:
            return Loaded(error, Fate.FAILED)

    async def _run(self, flight: Flight) -> Loaded:
        load = flight.load
        if flight.inline is not None and any(w.run_inline(flight) for w in flight.waiters):
            flight.inline_end = asyncio.wrap_future(flight.inline)
            loaded = await asyncio.shield(flight.inline_end)
        elif load.sync:
            rank = Rank.AWAITED if flight.attended else Rank.BACKGROUND
            flight.work = self.runtime.begin(partial(load.run, flight), rank)
            loaded = await asyncio.shield(asyncio.wrap_future(flight.work))
        else:
            loaded = await load.run(flight)
        return loaded

    def _over(self, task: "asyncio.Task[None]") -> None:
        self._active.discard(task)
        self._background.discard(task)
        self._begin_queued()
        self._prune()
        if not self._active:
            joiners, self._joiners = self._joiners, []
            for joiner in joiners:
                _tell(joiner)

    def _prune(self) -> None:
        if not self._prunable:
            return
        oldest = min((flight.born for flight in self.flights.values()), default=math.inf)
        for name, number in list(self._prunable.items()):
            if oldest > number:
                self.store.stamps.prune(name, number)
                del self._prunable[name]

    # The end.

    async def keep(self, passing: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run a view that passes, a task of its own: the drain waits for it as for a load."""
        task = asyncio.current_task()
        assert task is not None
        self._passes.add(task)
        task.add_done_callback(self._passes.discard)
        del task  # what fails would hold this frame, and this frame the task that it failed in
        return await passing()

    def _enjoin(self, idle: "Future[None]") -> None:
        if self._active:
            self._joiners.append(idle)
        else:
            _tell(idle)

    async def drain(self, timeout: float) -> None:
        """Begin nothing more, let flights end for ``timeout`` seconds, cancel the rest.

        On the loop.
        """
        self.closed = True
        self._backlog.clear()
        under_way: set[asyncio.Task[Any]] = {*self._active, *self._passes}
        if under_way:
            await asyncio.wait(under_way, timeout=timeout)
        rest = set(self._active)
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest, timeout=1.0)
        for flight in list(self.flights.values()):  # its load does not let itself be cancelled
            closing = self.impatient(flight.load, "the cache is closing")
            self._settle(flight, Result(How.FAILED, value=closing))

    def give_up(self) -> None:
        """The loop is held and cannot drain: forget its flights. Any thread; after `closed`."""
        flights = list(self.flights.values())
        waiting = self.waiting
        self._forget_flights()
        self.closed, self.waiting = True, waiting
        for flight in flights:
            error = self.impatient(flight.load, "the cache is closing")
            for waiter in list(flight.waiters):
                waiter.resolve(Result(How.FAILED, value=error))


def _tell(joiner: "Future[None]") -> None:
    if joiner.set_running_or_notify_cancel():
        joiner.set_result(None)
