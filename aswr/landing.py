"""What flights bring, and who gets it: the end of every load, on the loop.

A flight lands once: its URL's inputs are learned, its answer is published or its failure counted,
and its waiters get theirs. Before that, who cannot share what it reads, or waits too long, is let
go. All of it runs on the loop, unless it says otherwise, and changes state in one synchronous
step. Owns

    flights     key -> Flight             at most one per key (invariant 1); `Board` begins them
    failures    `Failures`                read from any thread, changed here
    crowded     URLs that were seen to read too many inputs, for the log

Must not know Flask, what begins a load, nor how a caller waits.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any

from .codec import Entry, Loader
from .errors import AswrError
from .failures import Failures
from .flight import Fate, Flight, How, Load, Loaded, Result, Waiter, result_for
from .here import process
from .keys import names_at
from .ledger import Ledger
from .policy import covers
from .store import Store
from .urls import MOST_NAMES, Urls

log = logging.getLogger("aswr.engine")

MOST_CROWDED = 10_000  # URLs that the log is told of


class Landing(ABC):
    """How the flights of one app over one store end."""

    def __init__(
        self, name: str, store: Store, clock: Callable[[], float], sender: Callable[[], Any]
    ) -> None:
        self.name = name
        self.store = store
        self.urls = Urls(store, clock)
        self.clock = clock
        self.ledger = Ledger(name, clock, sender)
        self.tallies, self.events = self.ledger.tallies, self.ledger.events
        store.on_evict = self.ledger.note_evicted

    def _forget_flights(self) -> None:
        self.closed = False  # begins nothing more
        self.flights: dict[Hashable, Flight] = {}
        self.failures = Failures(self.clock)
        self._crowded: set[Hashable] = set()

    @abstractmethod
    def _join(self, waiter: Waiter) -> None:
        """Let him look again, by what his URL is known to read by now."""

    def fallback(self, load: Load) -> Entry | None:
        """The entry that may stand in for a load that failed or takes too long. Any thread."""
        _, entry, why = self.urls.find(load)
        return entry if not why and covers(entry, self.clock()) else None

    # The landing.

    def _land(self, flight: Flight, loaded: Loaded) -> tuple[Loaded, Entry | None]:
        """Take in what the load brought: what it comes to, and the entry if it was stored."""
        entry = None
        try:
            names = self._names_of(flight, loaded)
            if len(names) > MOST_NAMES:
                loaded = self._too_many(flight, loaded)
            passes = self._why_all_pass(flight, loaded)
            self.ledger.note_ended(flight, loaded, passes)
            if self.flights.get(flight.key) is flight:
                entry = self._publish(flight, loaded, names, passes)
            # else given up: the loop it was on did not answer when the cache was closed
        except Exception as error:  # a clock, say: no waiter must be left standing
            extra = extra_of(flight.load, flight.key)
            log.exception("%s: landing failed (%r)", flight.load.name, error, extra=extra)
            self._settle(flight, Result(How.FAILED, value=error))
        return loaded, entry

    def _publish(
        self, flight: Flight, loaded: Loaded, names: tuple[str, ...], passes: str
    ) -> Entry | None:
        """Publish what the load brought and hand it to the waiters; the entry if it was stored.

        ``passes`` as of `_why_all_pass`.
        """
        key, crowded = flight.key, len(names) > MOST_NAMES
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
                    "published", flight.load.name, key, seconds=entry.cost,
                    reason="after its time was up" if flight.failed else "", token=flight,
                )  # fmt: skip
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

    # What a URL is seen to read.

    def _names_of(self, flight: Flight, loaded: Loaded) -> tuple[str, ...]:
        """The inputs that the URL is known to read, with this load."""
        # What raised told its names to the flight alone; a body that was renewed (``status`` is
        # then the view's 304) depends on what it was stored under.
        old = names_at(flight.key) if loaded.status else ()
        return self.urls.known(flight.load.base, (*loaded.names, *flight.names, *old))

    def _too_many(self, flight: Flight, loaded: Loaded) -> Loaded:
        """What reads more inputs than a key can have is nobody's to share."""
        detail = f"reads over {MOST_NAMES} inputs"
        if flight.load.base not in self._crowded and len(self._crowded) < MOST_CROWDED:
            self._crowded.add(flight.load.base)
            log.warning(
                "%s: a load %s; its answer is not stored", flight.load.name, detail,
                extra=extra_of(flight.load, flight.load.base),
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
            extra = extra_of(flight.load, flight.key)
            log.info("%s: loads succeed again", flight.load.name, extra=extra)

    def _count_failure(self, flight: Flight, why: object) -> None:
        if flight.expired:
            return  # counted when its time was up
        if flight.started is not None:  # else it is another process's load that took too long
            self.tallies[flight.load.name].load_failures += 1
        count = self.failures.count(flight.key, flight.load.times.retry_most)
        if count == 1 and (not flight.attended or self.fallback(flight.load) is not None):
            log.warning(
                "%s: a load failed (%s); what is stored stays, retries back off",
                flight.load.name, why, extra=extra_of(flight.load, flight.key),
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
        if flight.failed:  # its thread may never end
            self.ledger.note_ended(flight, timeout)
        for waiter in flight.dismiss():
            waiter.resolve(Result(How.FAILED, value=flight.timeout_error()))
        if flight.running is not None:
            flight.running.cancel()

    def _note_pass(self, load: Load, key: Hashable, born: int, detail: str) -> None:
        now = self.clock()
        until = now + load.times.retry_most
        entry = Entry(
            value=None, stored=now, fresh_until=until, stale_until=until, error_until=until,
            born=born, size=64 + len(detail), passing=detail or "pass",
        )  # fmt: skip
        self.store.publish(key, entry)


def extra_of(load: Load, key: Hashable) -> dict[str, Any]:
    """What a line of the log says of a load, for who reads it by machine."""
    return {"aswr_view": load.name, "aswr_key": key}
