"""fetch → flight → publish: at most one load per key, and who waits for it.

The callers' half of the engine: peek and judge, start, wait, purge. Any thread, unless a method
says otherwise: they read dictionaries and post to the loop, where `Board` and `Concert` do the
rest.

Must not know Flask.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Hashable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from .board import CLOSED
from .codec import Entry
from .concert import Concert
from .errors import LoadCycle, WaitTimeout
from .events import Because, Purger
from .flight import Fate, Flight, How, Load, Loaded, Result, Waiter, current_flight, trial_here
from .keys import CallKey
from .policy import Decision, Verdict, covers, decide
from .runtime import Runtime, without_stop_iteration
from .stamps import Purge

Cleaning: TypeAlias = "Callable[[], Coroutine[Any, Any, bool]]"


class Engine(Concert):
    """The loads of one app over one store."""

    def judge(self, key: Hashable, entry: Entry | None) -> tuple[float, Decision]:
        """The time, and the verdict on what lies at a key. Any thread."""
        now = self.clock()
        decision = decide(entry, now)
        if decision.verdict is not Verdict.FRESH:
            decision = decide(entry, now, self.failures.retry_at(key))
        return now, decision

    # Starting and waiting.

    def wants(self, key: Hashable) -> bool:
        """Is there no flight of this key yet, nor one asked for or queued?"""
        known = key in self.flights or key in self._asked or key in self._backlog
        return not self.closed and not known

    def start(self, load: Load) -> None:
        """Load in the background if the entry wants it and none is under way; waits for nothing."""
        if not self.wants(load.key) or trial_here() is not None:
            return
        self._asked.add(load.key)
        self.runtime.post(self._start, replace(load, cause=self.events.cause("stale")))

    def enlist(
        self, load: Load, *, force: bool = False, sync: bool = False, why: Because = "miss"
    ) -> Waiter:
        """A waiter at the end of the load's flight, which begins if there is none.

        ``force`` loads even where the entry is fresh. ``sync`` says that `wait` will be called,
        which on a compute thread may run a nested load inline. Where too many wait already, he is
        turned away with a `WaitTimeout` as his result; the load begins all the same.
        """
        parent = current_flight.get()
        load = replace(load, cause=self.events.cause(why))
        waiter = Waiter(load, parent=parent, force=force)
        if self.closed or (parent is not None and parent.trial):
            waiter.resolve(CLOSED)
            return waiter
        runtime = self.runtime
        if parent is None and sync and runtime.waiting >= self._max_waiters:
            error = self.impatient(load, f"{runtime.waiting} requests wait already")
            waiter.resolve(Result(How.FAILED, value=error))
            runtime.post(self._start_unattended, load)
        else:
            nested = sync and load.sync and parent is not None
            waiter.inline = nested and runtime.executor.on_worker()
            runtime.post(self._join, waiter)
        return waiter

    def fetch(
        self, load: Load, twin: str, *, force: bool = False, why: Because = "miss"
    ) -> Result | None:
        """Enlist, and `wait` as long as the load's options say; for synchronous code.

        For the code of a trial the load is one, too: run here and now, and nothing follows of it.
        """
        if (trial := trial_here()) is not None:
            return self._fetch_tried(trial, load, twin)
        waiter = self.enlist(load, force=force, sync=True, why=why)
        patience = self.patience(waiter)
        result = self.wait(waiter, patience, twin)
        if result is None and (rest := self._rest(load, patience)) > 0:
            again = self.enlist(load, force=force, sync=True, why=why)
            result = self.wait(again, rest, twin)
        return result

    async def afetch(
        self, load: Load, *, force: bool = False, why: Because = "miss"
    ) -> Result | None:
        """As `fetch`, on any event loop."""
        if (trial := trial_here()) is not None:
            return await self._afetch_tried(trial, load)
        waiter = self.enlist(load, force=force, why=why)
        patience = self.patience(waiter)
        result = await self.await_(waiter, patience)
        if result is None and (rest := self._rest(load, patience)) > 0:
            result = await self.await_(self.enlist(load, force=force, why=why), rest)
        return result

    def _fetch_tried(self, outer: Flight, load: Load, twin: str) -> Result:
        runtime = self.runtime
        runtime.refuse_on_loop(twin)
        flight = _trial(outer, load)
        if isinstance(flight, Result):
            return flight
        if load.sync:
            try:
                return _noted(flight, without_stop_iteration(partial(load.run, flight)))
            except Exception as error:
                return Result(How.FAILED, value=error)
        with runtime.executor.blocking():
            loaded = runtime.submit(partial(self._try, flight), f"aswr {load.name}").result()
        return _noted(flight, loaded)

    async def _afetch_tried(self, outer: Flight, load: Load) -> Result:
        runtime, flight = self.runtime, _trial(outer, load)
        if isinstance(flight, Result):
            return flight
        if runtime.on_loop():
            return _noted(flight, await self._try(flight))
        with runtime.executor.blocking():
            future = runtime.submit(partial(self._try, flight), f"aswr {load.name}")
            return _noted(flight, await asyncio.wrap_future(future))

    def _rest(self, load: Load, waited: float | None) -> float:
        """Seconds still to wait for who lost patience, but what was to stand in is purged."""
        if waited is None or self.fallback(load) is not None:
            return 0.0
        return load.times.wait_timeout - waited

    def wait(self, waiter: Waiter, patience: float | None, twin: str) -> Result | None:
        """What the waiter gets, for synchronous code; None after ``patience`` seconds.

        The load goes on. Raises `LoadCycle`, `LoadTimeout`, and on aswr's own loop `RuntimeError`:
        ``twin`` is the form to use there.
        """
        began = time.monotonic()
        if waiter.future.done() and not waiter.inline:
            self._note_wait(waiter, began)
            return waiter.future.result()
        runtime = self.runtime
        runtime.waiting += 1
        self.waiting += 1
        try:
            runtime.refuse_on_loop(twin)
            with runtime.executor.blocking():
                result = _within(patience, waiter.future)
            if result and result.flight is not None and waiter.after_inline is not None:
                result.flight.run_inline()
                result = waiter.after_inline.result()
            return result
        finally:
            waiter.gone = True  # needs no room on the stack, which may be why he leaves
            self.waiting -= 1
            runtime.waiting -= 1
            self._note_wait(waiter, began)
            self._see_off(waiter, runtime)

    async def await_(self, waiter: Waiter, patience: float | None) -> Result | None:
        """As `wait`, on any event loop, the caller's or aswr's."""
        began = time.monotonic()
        if waiter.future.done():
            self._note_wait(waiter, began)
            return waiter.future.result()
        runtime = self.runtime
        self.waiting += 1
        try:
            future = asyncio.wrap_future(waiter.future)
            with runtime.executor.blocking():  # a compute thread with an event loop of its own
                await asyncio.wait({future}, timeout=patience)
            return waiter.future.result() if waiter.future.done() else None
        finally:
            self.waiting -= 1
            self._note_wait(waiter, began)
            self._see_off(waiter, runtime)

    def _note_wait(self, waiter: Waiter, began: float) -> None:
        if is_caller(waiter):
            self.tallies[waiter.load.name].note_wait(time.monotonic() - began)

    def _see_off(self, waiter: Waiter, runtime: Runtime) -> None:
        """He waits no more: where that is for want of patience, his flight must know."""
        if waiter.future.cancelled() or not waiter.future.done():
            with contextlib.suppress(RuntimeError):  # the loop has ended, and all flights with it
                runtime.post(self._leave, waiter)

    def patience(self, waiter: Waiter) -> float | None:
        """Seconds that a caller waits: fewer where an older entry can stand in at their end.

        Code of another load waits as long as that load's own callers let it.
        """
        times = waiter.load.times
        if waiter.parent is not None:
            return None
        if times.soft_timeout is not None:
            _, entry, _ = self.urls.find(waiter.load)
            if covers(entry, self.clock() + times.soft_timeout):
                return min(times.soft_timeout, times.wait_timeout)
        return times.wait_timeout

    def waited_out(self, load: Load) -> WaitTimeout:
        """The error of a caller whose ``wait_timeout`` is over; the load goes on."""
        return self.impatient(load, f"this took longer than {load.times.wait_timeout:g} s")

    # Purging: it counts at once here, for every entry and every load in flight. The coroutine that
    # is returned frees the memory and tells the others; its result is whether the shared store, if
    # there is one, has it. A soft purge lets what it concerns be served while it is renewed.

    def purge_path(
        self, path: str, query: str | None, soft: bool = False, why: Purger = "code"
    ) -> Cleaning:
        """Purge a path with all its queries, or one URL; returns the clean-up to run."""
        name = path if query is None else (path, query)
        return self._purge(Purge(keys=(name,), soft=soft, why=why))

    def purge_call(self, key: CallKey, soft: bool = False, why: Purger = "code") -> Cleaning:
        """Purge one call of a memoized function; returns the clean-up to run."""
        return self._purge(Purge(keys=(key,), soft=soft, why=why))

    def purge_tags(self, tags: Iterable[str], soft: bool = False, why: Purger = "code") -> Cleaning:
        """Purge every entry that bears one of the tags; returns the clean-up to run."""
        return self._purge(Purge(tags=tuple(tags), soft=soft, why=why))

    def purge_all(self, soft: bool = False, why: Purger = "code") -> Cleaning:
        """Purge everything; returns the clean-up to run."""
        return self._purge(Purge(everything=True, soft=soft, why=why))

    def _purge(self, purge: Purge) -> Cleaning:
        number = self.store.stamps.purge(purge)
        self.purges += 1
        self.ledger.note_purged(purge)
        return lambda: self._clean(purge, number)

    async def _clean(self, purge: Purge, number: int) -> bool:
        keys = [] if purge.soft else self.sweep(purge, number)
        if (tier := self.tier) is not None:
            return await tier.purge(purge, number, keys)
        if not purge.soft:
            for name in purge.keys:
                self._prunable[name] = max(number, self._prunable.get(name, 0))
            self._prune()
        if self.shared:
            self.shared.owe(purge, number)
        return not self.shared

    # Looking.

    def join(self) -> "Future[None]":
        """Ends when every load asked for before this call, queued ones too, is over and saved."""
        idle: Future[None] = Future()
        self.runtime.post(self._enjoin, idle)
        return idle

    def stats(self) -> dict[str, Any]:
        """Counters and sizes, as of now."""
        memory = self.store.memory
        return {
            **self.tallies.total(),
            "flights": len(self.flights),
            "queued": len(self._backlog),
            "waiting": self.waiting,
            "entries": len(memory),
            "bytes": memory.bytes,
            "max_bytes": memory.max_bytes,
            "evictions": memory.evictions,
            **({} if self.shared is None else self.shared.stats()),
        }


def _trial(outer: Flight, load: Load) -> Flight | Result:
    """The trial of what the code of another asks for; its result where there is one already."""
    if (known := outer.tried.get(load.key)) is not None:
        return _brought(known)
    try:
        return outer.trial_of(load)
    except LoadCycle as error:
        return Result(How.FAILED, value=error)


def _noted(flight: Flight, loaded: Loaded) -> Result:
    """What the code of a trial gets of a load that was one; the same if it asks again."""
    if loaded.fate is Fate.STORE:
        flight.tried[flight.load.key] = loaded
    return _brought(loaded)


def _brought(loaded: Loaded) -> Result:
    how = How.FAILED if loaded.fate is Fate.FAILED else How.ANSWERED
    return Result(how, value=loaded.value)


def is_caller(waiter: Waiter) -> bool:
    """Does a visitor, or the app's own code, wait: nobody's refresh or warm-up? Any thread.

    A load's code waits for whoever waits for that load, and a trial's for nobody.
    """
    if waiter.load.cause.what != "miss":
        return False
    return waiter.parent is None or any(map(is_caller, list(waiter.parent.waiters)))


def _within(patience: float | None, future: "Future[Result]") -> Result | None:
    """Its result; None after ``patience`` seconds, and then no result can come any more."""
    try:
        return future.result(patience)
    except TimeoutError:
        return None if future.cancel() else future.result()
