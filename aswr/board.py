"""The flights in progress: the loop's half of the engine.

Owns what is in flight and who waits for it. Everything here runs on the loop, unless it says
otherwise, and changes state in one synchronous step:

    flights     key -> Flight             at most one per key (invariant 1)
    failures    `Failures`                read from any thread, changed here
    asked       keys that a STALE hit has posted and the loop has not yet seen
    backlog     `Backlog`: loads for nobody, beyond ``max_loads``; while there are any, no room is
    active      flights not quite over: one may still be saving to a shared store
    background  those of them that began for nobody: at most ``max_loads``
    passes      passing views that run on the loop
    crowded     URLs that were seen to read too many inputs, for the log
    prunable    purges whose stamp can go when no load from before them is in flight

Must not know Flask, nor how a caller waits. What a load *does* is a callable in `Load`.
"""

import asyncio
import contextvars
import logging
import math
from collections.abc import Callable, Coroutine, Hashable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any

from .backlog import Backlog
from .codec import Entry, Loader
from .errors import AswrError, LoadCycle, LoadError, WaitTimeout
from .executor import Rank
from .failures import Failures
from .flight import Fate, Flight, How, Load, Loaded, Result, Waiter, result_for
from .here import process
from .keys import names_at
from .ledger import Ledger
from .policy import Verdict, covers, decide
from .runtime import Runtime
from .store import Store
from .urls import MOST_NAMES, Urls

log = logging.getLogger("aswr.engine")

MOST_CROWDED = 10_000  # URLs that the log is told of
CLOSED = Result(How.PASS, detail="closed")


class Board:
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
        self.name = name
        self.store = store
        self.urls = Urls(store, clock)
        self.clock = clock
        self._runtime = runtime
        self._random = random
        self._max_waiters = max_waiters
        self._max_loads = max_loads
        self.ledger = Ledger(name, clock, sender)
        self.tallies, self.events = self.ledger.tallies, self.ledger.events
        store.on_evict = self.ledger.note_evicted
        # Awaited before each load, where somebody is to hold it: the test kit.
        self.before_load: Callable[[Flight], Coroutine[Any, Any, None]] | None = None
        self.forget()

    def forget(self) -> None:
        """Start anew: in a forked child no load of the parent's will ever end."""
        self.tallies.clear()
        self.purges = 0  # made here; a plain += on any thread, as for the tallies
        self.openings = 0  # of the breaker before the shared store
        self._forget_flights()

    def _forget_flights(self) -> None:
        self.closed = False
        self.waiting = 0
        self.flights: dict[Hashable, Flight] = {}
        self.failures = Failures(self.clock)
        self._asked: set[Hashable] = set()
        self._backlog = Backlog()
        self._active: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._joiners: list[Future[None]] = []
        self._prunable: dict[Hashable, int] = {}
        self._passes: set[asyncio.Task[Any]] = set()
        self._crowded: set[Hashable] = set()

    def __repr__(self) -> str:
        return f"<Engine {self.name} flights={list(self.flights.values())}>"

    @property
    def runtime(self) -> Runtime:
        """The loop thread, started if need be."""
        return self._runtime()

    def fallback(self, load: Load) -> Entry | None:
        """The entry that may stand in for a load that failed or takes too long."""
        _, entry, why = self.urls.find(load)
        return entry if not why and covers(entry, self.clock()) else None

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
                    "%s: could not begin (%r)", load.name, error, extra=_extra(load, load.key)
                )
                continue
            # What was in use and is purged meanwhile nobody asks for; who does will wait for it.
            purged = heat > 0 and due is not None and self.store.glance(due.key) is None
            if due is not None and (periodic or not purged):
                self._begin(due, background=True)

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

    async def _fly(self, flight: Flight) -> None:
        try:
            if await self._consult(flight):
                return
            self.ledger.note_started(flight)
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
        entry, passes = None, self._why_all_pass(flight, loaded)
        self.ledger.note_ended(flight, loaded, passes)
        try:
            entry = self._land(flight, loaded, passes)
        except Exception as error:  # a clock, say: no waiter must be left standing
            extra = _extra(flight.load, flight.key)
            log.exception("%s: landing failed (%r)", flight.load.name, error, extra=extra)
            self._settle(flight, Result(How.FAILED, value=error))
        await self._conclude(flight, loaded, entry)

    async def _consult(self, flight: Flight) -> bool:
        """Ask whom it may concern before loading; True where that made the load needless."""
        return False

    async def _conclude(self, flight: Flight, loaded: Loaded, entry: Entry | None) -> None:
        """Tell whom it may concern what a load came to; ``entry`` if it was stored."""

    async def trial(self, load: Load) -> tuple[Loaded, Flight]:
        """Run a load of which nothing is stored and nobody is told: what it came to, what it read.

        For who wants to know why.
        """
        flight = Flight(
            load, load.key, self.store.stamps.tick(), self.clock(), 0.0, self.clock, self.runtime,
            lambda flight: None, trial=True,
        )  # fmt: skip
        try:
            return await self._run(flight), flight
        except Exception as error:
            return Loaded(error, Fate.FAILED), flight

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

    def _land(self, flight: Flight, loaded: Loaded, passes: str) -> Entry | None:
        """Publish what the load brought and hand it to the waiters; the entry if it was stored.

        ``passes`` as of `_why_all_pass`.
        """
        if self.flights.get(flight.key) is not flight:
            return None  # given up: the loop it was on did not answer when the cache was closed
        # What raised told its names to the flight alone; a body that was renewed (``status`` is
        # then the view's 304) depends on what it was stored under.
        old = names_at(flight.key) if loaded.status else ()
        names = self.urls.known(flight.load.base, (*loaded.names, *flight.names, *old))
        key = flight.key
        crowded = len(names) > MOST_NAMES
        if crowded:
            loaded = self._too_many(flight, loaded)
        fate = loaded.fate
        failed = loaded.failed or fate in (Fate.FAILED, Fate.KEEP)
        # A failed load never drops a good entry; at the URL's own key a note would.
        if not crowded and not (failed and self.urls.is_good(flight.load.base)):
            self._learn(flight, names)
            key, _ = flight.load.seen_by(names)
        spares = self._spares(flight, loaded)
        purged = self.store.stamps.hard.latest(key, loaded.tags)
        entry = self._entry_of(flight, loaded)
        stored = False
        spares = spares or (crowded and self.urls.is_good(key))
        if (fate is Fate.PASS or flight.passing) and not spares:
            self._note_pass(flight.load, key, flight.born, loaded.detail or flight.passing)
        elif fate is Fate.ONE:
            self._note_pass(flight.load, key, flight.born, loaded.detail)
        elif fate is Fate.STORE:
            stored = self.store.publish(key, entry)
            if stored:
                self.events.tell(
                    "published", flight.load.name, key, seconds=entry.cost, token=flight
                )
        elif fate is Fate.DROP and purged < flight.born:
            self.store.discard(key)
        purged = max(purged, self.store.stamps.cut)
        if fate is not Fate.STORE:  # it tells no tags: any purged one might have been its own
            purged = max(purged, self.store.stamps.hard.latest_tag)
        self._end(flight)
        flight.key = key  # two flights may turn out to be one key's: then only one had it
        self._note_outcome(flight, loaded, passes)
        self._hand_out(
            flight, lambda first: result_for(loaded, entry, stored, first), names, purged
        )
        return entry if stored else None

    def _entry_of(self, flight: Flight, loaded: Loaded) -> Entry:
        now = self.clock()
        cost = max(0.0, now - flight.began)
        ends = loaded.ends or flight.load.times.deadlines(now, cost, flight.draw)
        return Entry(
            value=loaded.value, stored=now if loaded.stored is None else loaded.stored,
            fresh_until=ends.fresh_until, stale_until=ends.stale_until,
            error_until=ends.error_until, born=flight.born, cost=cost,
            by=Loader(process(), flight.load.cause.what), size=loaded.size, tags=loaded.tags,
            strict=loaded.strict,
        )  # fmt: skip

    # What a URL is seen to read.

    def _too_many(self, flight: Flight, loaded: Loaded) -> Loaded:
        """What reads more inputs than a key can have is nobody's to share."""
        detail = f"reads over {MOST_NAMES} inputs"
        if flight.load.base not in self._crowded and len(self._crowded) < MOST_CROWDED:
            self._crowded.add(flight.load.base)
            log.warning(
                "%s: a load %s; its answer is not stored", flight.load.name, detail,
                extra=_extra(flight.load, flight.load.base),
            )  # fmt: skip
        if loaded.fate is Fate.FAILED:
            return loaded
        return replace(loaded, fate=Fate.PASS, detail=detail)

    def _learn(self, flight: Flight, names: tuple[str, ...]) -> None:
        """Make these inputs part of the keys of the URL: of its entries, and of its flights."""
        base = flight.load.base
        if not names:
            return
        names = self.urls.known(base, names)
        if "learned" in self.events.wanted:
            note = self.store.glance(base)
            self.ledger.note_learned(flight, () if note is None else note.names, names)
        self.urls.learn(base, names, flight.born)
        for other in [f for f in self.flights.values() if f.load.base == base]:
            key = other.load.seen_by(names)[0]
            if key not in self.flights:
                del self.flights[other.key]
                self.flights[key] = other
                other.key = key

    def _heard(self, flight: Flight) -> None:
        """Its render has read something: who cannot share that need not wait for the rest."""
        if self.flights.get(flight.key) is not flight:
            return
        read = flight.names  # grows on other threads
        names, flight.heard = read[flight.heard :], len(read)
        if names or flight.passing:  # else told already: who has come since was asked about all
            self._let_pass(flight, names, flight.passing)

    def _let_pass(self, flight: Flight, names: tuple[str, ...], passing: str) -> None:
        """Release who cannot share a render that reads these inputs, or that nobody can."""
        waiters, flight.waiters = flight.waiters, []
        for waiter in waiters:
            why = passing or waiter.load.seen_by(names)[1]
            if why:
                flight.part([waiter])
                waiter.resolve(Result(How.PASS, detail=why))
            else:
                flight.waiters.append(waiter)

    # Handing out.

    def _hand_out(
        self,
        flight: Flight,
        give: Callable[[bool], Result],
        names: tuple[str, ...] | None = None,
        purged: int = 0,
    ) -> None:
        """Give every waiter what he agrees with; the others look again under their own keys."""
        if names is None:
            names = self.urls.known(flight.load.base, names_at(flight.key))
        made, _ = flight.load.seen_by(names)
        first = True
        for waiter in flight.dismiss():
            key, why = waiter.load.seen_by(names)
            if why:
                waiter.resolve(Result(How.PASS, detail=why))
            elif key != made or (waiter.late and flight.born < purged):
                # He differs in what was read; or he asked after a purge that this load began
                # before, and is owed a newer one.
                waiter.inline = False
                self._join(waiter)
            else:
                waiter.resolve(give(first))
                first = False

    def _settle(self, flight: Flight, result: Result) -> None:
        """End the flight and answer everybody who waits."""
        self._end(flight)
        for waiter in flight.dismiss():
            waiter.resolve(result)

    def _end(self, flight: Flight) -> None:
        if self.flights.get(flight.key) is flight:
            del self.flights[flight.key]
        if flight.timer is not None:
            flight.timer.cancel()
            flight.timer = None
        for nested in flight.waits_for:
            nested.forsaken_by(flight)

    def _over(self, task: "asyncio.Task[None]") -> None:
        self._active.discard(task)
        self._background.discard(task)
        self._begin_queued()
        self._prune()
        if not self._active:
            joiners, self._joiners = self._joiners, []
            for joiner in joiners:
                _tell(joiner)

    # Failures, time-outs, passes.

    def _spares(self, flight: Flight, loaded: Loaded) -> bool:
        """Did it fail, where something good is stored that may still be served?"""
        if not (loaded.failed or loaded.fate in (Fate.FAILED, Fate.KEEP)):
            return False
        _, found, _ = self.urls.find(flight.load)
        return found is not None and covers(found, self.clock())

    def _why_all_pass(self, flight: Flight, loaded: Loaded) -> str:
        """Why everybody passes from now on, if that is what a load came to; else empty.

        Then it is no failure that it raised: it was shown less than its callers have, and they get
        their answers all the same.
        """
        if flight.failed or not (flight.passing or loaded.fate is Fate.PASS):
            return ""
        return "" if self._spares(flight, loaded) else loaded.detail or flight.passing or "pass"

    def _note_outcome(self, flight: Flight, loaded: Loaded, passes: str) -> None:
        if loaded.fate is Fate.FAILED and self.closed and isinstance(loaded.value, AswrError):
            return  # cut short by the drain
        failed = loaded.fate is Fate.FAILED or loaded.failed
        if failed and passes:
            self.failures.forget(flight.key)
        elif failed:
            error = loaded.value if isinstance(loaded.value, BaseException) else None
            told = loaded.detail or loaded.value
            self._count_failure(flight, told if error is None else error)
        elif loaded.fate is Fate.KEEP:
            self.failures.count(flight.key, flight.load.times.retry_most)
        elif self.failures.forget(flight.key):
            extra = _extra(flight.load, flight.key)
            log.info("%s: loads succeed again", flight.load.name, extra=extra)

    def _count_failure(self, flight: Flight, why: object) -> None:
        if flight.expired:
            return  # counted when its time was up
        self.tallies[flight.load.name].load_failures += 1
        count = self.failures.count(flight.key, flight.load.times.retry_most)
        if count == 1 and (not flight.attended or self.fallback(flight.load) is not None):
            log.warning(
                "%s: a load failed (%s); what is stored stays, retries back off",
                flight.load.name, why, extra=_extra(flight.load, flight.key),
                exc_info=why if isinstance(why, BaseException) else None,
            )  # fmt: skip

    def _expire(self, flight: Flight) -> None:
        """The load's time is up: release who waits, and cancel it if it can be cancelled."""
        flight.timer = None
        timeout = Loaded(flight.timeout_error(), Fate.FAILED)
        flight.failed = not self._why_all_pass(flight, timeout)
        if flight.failed:
            self._count_failure(flight, timeout.value)
        flight.expired = True
        for waiter in flight.dismiss():
            waiter.resolve(Result(How.FAILED, value=flight.timeout_error()))
        if flight.running is not None:
            flight.running.cancel()
        if flight.task in self._background:  # a thread may never end: others take its place
            self._background.discard(flight.task)
            self._begin_queued()

    def _note_pass(self, load: Load, key: Hashable, born: int, detail: str) -> None:
        now = self.clock()
        until = now + load.times.retry_most
        entry = Entry(
            value=None, stored=now, fresh_until=until, stale_until=until, error_until=until,
            born=born, size=64 + len(detail), passing=detail or "pass",
        )  # fmt: skip
        self.store.publish(key, entry)

    def _leave(self, waiter: Waiter) -> None:
        flight = waiter.flight
        if flight is not None and waiter in flight.waiters:
            flight.waiters.remove(waiter)
            flight.part([waiter])

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


def _extra(load: Load, key: Hashable) -> dict[str, Any]:
    """What a line of the log says of a load, for who reads it by machine."""
    return {"aswr_view": load.name, "aswr_key": key}


def _tell(joiner: "Future[None]") -> None:
    if joiner.set_running_or_notify_cancel():
        joiner.set_result(None)
