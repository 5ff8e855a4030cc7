"""Flights in step with those of other processes, where a store is shared.

Runs on the loop, unless a method says otherwise, over what `Board` and `Landing` own. Before a load
its flight claims the key: what lies in the store may make the load needless, and if another process
loads, the flight follows that one's. Afterwards the others are told. Owns which keys are being
renewed, because another process has stored something newer. Must not know Flask, nor which store it
is.
"""

import asyncio
import contextvars
import logging
import uuid
from collections.abc import Hashable
from dataclasses import replace
from typing import Any

from .board import Board
from .codec import Entry
from .flight import Fate, Flight, How, Load, Loaded, Result, Word
from .keys import CallKey, view_of
from .policy import Verdict, decide
from .stamps import MICRO, NEVER, Purge
from .tier import Claim, Ending, Lease, Say, Tier
from .tiers import Shared
from .urls import MOST_NAMES

log = logging.getLogger("aswr.engine")


class Concert(Board):
    """The flights of one app."""

    def __init__(self, *args: Any, shared: Shared | None = None, **options: Any) -> None:
        self.shared = shared
        super().__init__(*args, **options)

    def _forget_flights(self) -> None:
        super()._forget_flights()
        self._renewing: dict[Hashable, int] = {}  # with the number that was told of
        if self.shared is not None:
            self.shared.forget()

    @property
    def tier(self) -> Tier | None:
        """The shared store; on the loop. None is there any more once this is closed."""
        if self.shared is None or (self.closed and self.shared.made is None):
            return None
        return self.shared.tier(self._runtime, self)

    @property
    def shares(self) -> bool:
        """Is there a store that others share? Any thread."""
        return bool(self.shared)

    def tick(self, load: Load, interval: float) -> bool:
        """A periodic refresh is due, ``interval`` seconds after the last; see `Board._want`.

        In a fleet the first process to come loads. What was loaded within half an interval counts
        as loaded for this tick, so clocks may differ by almost as much.
        """
        newer_than, tier = 0, self.tier
        if tier is not None and tier.fleet:
            stamps = self.store.stamps
            now, last = stamps.now(), stamps.last
            ahead = last > now + MICRO  # then numbers tell no times, and everybody loads
            newer_than = last if ahead else now - int(interval * MICRO / 2)
        load = replace(load.due_since(newer_than), cause=self.events.cause("job"))
        return self._want(load, periodic=True)

    # Before a load.

    async def _consult(self, flight: Flight) -> bool:
        tier = self.tier
        if tier is None:
            return False
        if not flight.load.shared:
            await tier.open()  # purges reach it all the same
            return False
        token, joined, began = uuid.uuid4().hex, None, asyncio.get_running_loop().time()
        while True:
            flight.follows = asyncio.get_running_loop().create_future()
            key, held = flight.key, self.store.original(flight.key)
            if flight.expired or self._is_done(flight, held):
                return self._needless(flight)
            floor = self._floor(flight, held, tier) if joined is None else joined
            seen = 0 if held is None else held.born
            until = asyncio.get_running_loop().time() + tier.timeout
            claim = await tier.claim(key, flight.load.base, seen, floor, token)
            flight.lease = claim.lease
            if claim.lease is not None:
                self.events.tell("lease", flight.load.name, key, reason="held", token=flight)
            if claim.names and self._learns(flight, claim.names):
                await self._give_back(flight)
                if flight.key == key:  # another flight has the key that it would move to
                    return self._needless(flight)
                joined = None
                continue
            if self._ends_with(flight, claim, held, joined):
                await self._give_back(flight)
                self._heed(flight)
                return True
            if claim.say is Say.LEAD and held and self._outlasts(flight, held, claim.number):
                return await self._restore(flight, tier, held)
            if claim.say is Say.ALONE and held and self._outlasts(flight, held, 0):
                return self._keeps(flight, held)  # there is nothing to compare it with
            if claim.say is Say.FRESH:  # purged meanwhile, or not new enough for who came meanwhile
                joined = claim.number
                continue
            if claim.say is not Say.BUSY or self._might_wait_for_itself(flight, tier, began):
                return await self._alone(flight, tier, until)
            joined = claim.number  # who loads there brings something newer than what lies there
            self._hear_of_reads(flight, claim.reads, claim.passing)
            word = await self._follow(flight, tier)
            if word is not None and word.ending in (Ending.UNSTORED, Ending.FAILED):
                if flight.attended:
                    return await self._alone(flight, tier, until)
                if word.ending is Ending.FAILED:
                    self.failures.count(flight.key, flight.load.times.retry_most)
                return self._needless(flight)

    def _floor(self, flight: Flight, held: Entry | None, tier: Tier) -> int:
        """What lies in the store must have a greater number to make the load needless."""
        least = 0
        if held is not None:
            least = held.born - self._stands(flight.key, held)
        if self._is_forced(flight):  # without a fleet numbers compare as well as clocks
            least = max(least, flight.born) if tier.fleet else NEVER
        return max(least, flight.load.newer_than)

    @staticmethod
    def _is_forced(flight: Flight) -> bool:
        return any(waiter.force for waiter in flight.waiters)

    def _stands(self, key: Hashable, held: Entry) -> bool:
        """Is it only in doubt: fresh, and not known to be purged?"""
        stamps = self.store.stamps
        purged = max(stamps.latest(key, held.tags), stamps.soft.latest(key, held.tags))
        fresh = decide(held, self.clock()).verdict is Verdict.FRESH
        return fresh and purged <= held.born and self.store.suspects(key, held.born)

    def _is_done(self, flight: Flight, held: Entry | None) -> bool:
        """Was the refresh that is due here done elsewhere, and is already in memory?"""
        since = flight.load.newer_than
        if not since or held is None or held.born <= since or flight.attended:
            return False
        return decide(self.store.glance(flight.key), self.clock()).verdict is Verdict.FRESH

    def _learns(self, flight: Flight, names: tuple[str, ...]) -> bool:
        """Learn what the URL is known to read elsewhere; does its answer lie elsewhere by that?"""
        key = flight.key
        self._learn(flight, names)
        self._let_pass(flight, names, "")
        note = self.store.glance(flight.load.base)
        return note is not None and flight.load.seen_by(note.names)[0] != key

    def _ends_with(
        self, flight: Flight, claim: Claim, held: Entry | None, joined: int | None
    ) -> bool:
        """Take in what lies in the store, and give it to who waits; was that all he needs?

        ``joined`` is the number of what lay there before the load that he waited for.
        """
        key, enough = flight.key, claim.say is Say.FRESH
        if joined is not None and claim.entry is not None and claim.number > joined:
            enough = True
        if claim.entry is not None:
            self._take_in(key, claim.entry)
            self.store.confirm(key)
        elif enough and held is not None and claim.number == held.born and not claim.names:
            self.store.confirm(key)  # the same lies there
        else:
            return False
        current = self.store.glance(key) or self._living(key, claim.entry)
        decision = decide(current, self.clock())
        if current is not None and decision.verdict is Verdict.PASS:
            self._end(flight)
            detail = current.passing
            self._hand_out(flight, lambda first: Result(How.PASS, detail=detail))
            return True
        if not decision.serve or (self._is_forced(flight) and not enough):
            return False
        if enough:
            self._end(flight)
        elif flight.load.cause.what == "miss":  # nobody waits any more: he has the old answer
            flight.load = replace(flight.load, cause=replace(flight.load.cause, what="stale"))
        self._hand_out(flight, lambda first: Result(How.HIT, current))
        return enough

    def _living(self, key: Hashable, entry: Entry | None) -> Entry | None:
        """An entry that memory did not take, unless it was purged meanwhile."""
        if entry is None or self.store.stamps.hard.latest(key, entry.tags) > entry.born:
            return None
        return entry

    def _heed(self, flight: Flight) -> None:
        """What was told while the flight took in something: it may be newer still."""
        if flight.follows is not None and flight.follows.done():
            self.stored_elsewhere(flight.key, flight.follows.result().number)

    async def _alone(self, flight: Flight, tier: Tier, until: float) -> bool:
        """The load begins now, by number and by time."""
        flight.follows = None
        flight.born = max(flight.born, await tier.number(until))
        flight.began = self.clock()
        if flight.timer is not None:
            flight.timer.cancel()
            self._arm(flight)
        return False

    def _outlasts(self, flight: Flight, held: Entry, number: int) -> bool:
        """Is what is in memory only in doubt, and does the store have nothing newer?"""
        wanted = self._is_forced(flight) or flight.load.newer_than
        return not wanted and number <= held.born and self._stands(flight.key, held)

    def _keeps(self, flight: Flight, held: Entry) -> bool:
        """What is in memory is all there is: who waits gets it."""
        self._end(flight)
        current = self.store.peek(flight.key) or held
        self._hand_out(flight, lambda first: Result(How.HIT, current))
        return True

    async def _restore(self, flight: Flight, tier: Tier, held: Entry) -> bool:
        """What is in memory stands: the store gets it once more."""
        self.store.confirm(flight.key)
        self._keeps(flight, held)
        lease, flight.lease = flight.lease, None
        if lease is not None:
            self._tell_released(flight, lease)
        await tier.save(flight.key, flight.load.base, held, lease)
        return True

    async def _follow(self, flight: Flight, tier: Tier) -> Word | None:
        """Wait for word of another process's load; None: none came in a while."""
        assert flight.follows is not None
        if (task := flight.task) in self._background:  # it costs nothing while it waits
            self._background.discard(task)
            self._begin_queued()
        await asyncio.wait({flight.follows}, timeout=tier.poll)
        return flight.follows.result() if flight.follows.done() else None

    def _might_wait_for_itself(self, flight: Flight, tier: Tier, began: float) -> bool:
        """Has a load's own code waited for long for that of another process, which may wait for it?

        To load here shows whether it is a cycle.
        """
        waited = asyncio.get_running_loop().time() - began
        return waited > tier.lease and any(waiter.parent for waiter in flight.waiters)

    def _needless(self, flight: Flight) -> bool:
        """There is nothing to load, and nobody waits; who does looks again."""
        self._end(flight)
        for waiter in flight.dismiss():
            self._join(waiter)
        return True

    async def _give_back(self, flight: Flight) -> None:
        lease, flight.lease = flight.lease, None
        if lease is not None and (tier := self.tier) is not None:
            self._tell_released(flight, lease)
            await tier.release(lease, Ending.GONE)

    def _tell_released(self, flight: Flight, lease: Lease) -> None:
        self.events.tell("lease", flight.load.name, lease.key, reason="released", token=flight)

    # After it.

    async def _conclude(self, flight: Flight, loaded: Loaded, entry: Entry | None) -> None:
        tier, lease = self.tier, flight.lease
        flight.lease = None
        if tier is None or not flight.load.shared:
            return
        if lease is not None:
            self._tell_released(flight, lease)
        if entry is None:
            note = self.store.original(flight.key)
            if note is not None and note.passing and note.born == flight.born:
                entry = note
        if entry is not None:
            await tier.save(flight.key, flight.load.base, entry, lease)
            return
        if loaded.fate is Fate.DROP:
            await tier.remove(flight.key, flight.born)
        if lease is not None:
            seconds = max(0.0, (self.failures.retry_at(flight.key) or 0.0) - self.clock())
            await tier.release(lease, self._ending(loaded), seconds)

    def _ending(self, loaded: Loaded) -> Ending:
        if self.closed or loaded.fate is Fate.STORE:
            return Ending.GONE
        if loaded.failed or loaded.fate in (Fate.FAILED, Fate.KEEP):
            return Ending.FAILED
        return Ending.UNSTORED

    def _expire(self, flight: Flight) -> None:
        super()._expire(flight)
        if flight.lease is not None:  # it may never end: others may try
            giving = self._give_back(flight)
            self.runtime.task(giving, "aswr lease", contextvars.Context())

    def _let_pass(self, flight: Flight, names: tuple[str, ...], passing: str) -> None:
        super()._let_pass(flight, names, passing)
        if flight.lease is not None and (tier := self.tier) is not None:
            tier.tell_read(flight.lease, flight.load.base, flight.names, passing)

    # What is told of other processes.

    def stored_elsewhere(self, key: Hashable, number: int) -> None:
        """Another process has stored an entry: who follows takes it, memory makes way for it."""
        flight = self.flights.get(key)
        if flight is not None and flight.follows is not None:
            flight.tell(Word(number=number))
            return
        held = self.store.original(key)
        if held is None or held.born >= number:
            return
        if key in self._renewing:
            self._renewing[key] = max(number, self._renewing[key])
        elif not self.store.used(key):
            self.store.discard(key)
        else:
            self._renewing[key] = number
            self.runtime.task(self._renew(key), "aswr renewal", contextvars.Context())

    async def adopt(self, key: Hashable) -> Entry | None:
        """Take in what lies in the shared store; the entry, or note, that lies there."""
        tier = self.tier
        entry = None if tier is None else await tier.read(key)
        if entry is None:
            return None
        if entry.names:
            self.urls.learn(key, self.urls.known(key, entry.names), entry.born)
        else:
            self._take_in(key, entry)
            self.store.confirm(key)
        return entry

    def _take_in(self, key: Hashable, entry: Entry) -> None:
        """Have in memory what another process has stored."""
        held = self.store.original(key)
        if self.store.publish(key, entry) and not (held is not None and held.born == entry.born):
            why = f"loaded by {entry.by.process or 'another process'}"
            self.events.tell("published", view_of(key), key, seconds=entry.cost, reason=why)

    async def _renew(self, key: Hashable) -> None:
        """Fetch what is newer than what is here, and if that is told meanwhile, what is newer."""
        wanted = 0
        try:
            while self._renewing[key] > wanted:
                wanted = self._renewing[key]
                await self._renew_once(key)
        finally:
            del self._renewing[key]

    async def _renew_once(self, key: Hashable) -> None:
        if (tier := self.tier) is None:
            return
        held = self.store.original(key)
        gone = await self.adopt(key) is None and tier.reachable
        if gone and held is not None and self.store.original(key) is held:
            self.store.discard(key)

    def ended_elsewhere(self, key: Hashable, ending: Ending, seconds: float) -> None:
        """Another process's load has ended, and nothing was stored at this key."""
        flight = self.flights.get(key)
        if flight is not None:
            flight.tell(Word(ending, seconds))

    def purged_elsewhere(self, purge: Purge, number: int, process: str = "") -> None:
        """Another process has purged, this one if that is known; it counts here already."""
        self.ledger.note_purged(purge, process)
        if not purge.soft:
            self.sweep(purge, number)

    def read_elsewhere(self, base: Hashable, names: tuple[str, ...], passing: str) -> None:
        """A render in another process has read something: who cannot share it waits no more."""
        for flight in list(self.flights.values()):
            if flight.load.base == base and flight.follows is not None:
                self._hear_of_reads(flight, names, passing)

    def _hear_of_reads(self, flight: Flight, names: tuple[str, ...], passing: str) -> None:
        if names or passing:
            flight.names = tuple(sorted({*flight.names, *names}))  # for who comes later
            flight.passing = flight.passing or passing
            self._let_pass(flight, flight.names, flight.passing)

    def clamped(self, most: int) -> None:
        """No number is above this: this process's clock was ahead when it drew them."""
        self.store.lower(most)
        for flight in self.flights.values():
            flight.born = min(flight.born, most)

    def cut_off(self) -> None:
        """Nobody can be heard of any more: who follows looks for himself."""
        for flight in list(self.flights.values()):
            flight.tell(Word())

    def breaker_changed(self, what: str) -> None:
        """The shared store fails, or answers again."""
        self.openings += what != "closed"
        self.events.tell("breaker", reason=what)

    def lease_lost(self, key: Hashable) -> None:
        """This process no longer loads for the fleet; what it loads counts by its number."""
        for flight in self.flights.values():
            if flight.lease is not None and flight.lease.key == key:
                flight.lease = None
        self.events.tell("lease", view_of(key), key, reason="lost")

    def held(self, key: Hashable) -> Entry | None:
        """What is in memory and not purged, in doubt or not."""
        entry = self.store.original(key)
        if entry is None or self.store.stamps.latest(key, entry.tags) > entry.born:
            return None
        return entry

    def known(self, base: Hashable, names: tuple[str, ...]) -> tuple[str, ...]:
        """What a URL is known to read here, and these inputs, if they are not too many together."""
        note = self.store.glance(base)
        own = () if note is None else note.names
        together = tuple(sorted({*own, *names}))
        return together if len(together) <= MOST_NAMES else own

    def sweep(self, purge: Purge, number: int) -> list[Hashable]:
        """Free the memory of what a purge killed; the keys that were known of it."""
        if purge.everything:
            self.store.sweep_all(number)
            self.failures.clear()
        keys = [key for name in purge.keys for key in self._named(name)]
        for key in keys:
            self.store.sweep(key, number)
            self.failures.forget(key)
        return keys

    def _named(self, name: Hashable) -> list[Hashable]:
        if isinstance(name, str):
            return self.store.variants(name)
        if isinstance(name, CallKey):
            return [name]
        path, query = _url(name)
        return self.store.variants(path, query)

    async def drain(self, timeout: float) -> None:
        self.closed = True
        for flight in list(self.flights.values()):
            if not flight.attended:  # what it follows goes on without it
                flight.tell(Word(Ending.UNSTORED))
        await super().drain(timeout)
        if self.shared is not None:
            await self.shared.close()


def _url(name: Any) -> tuple[str, str]:
    path, query = name
    return path, query
