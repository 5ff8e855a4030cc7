"""What happens in the cache of one app, counted and told: the tallies and the events together.

Any thread, unless a method says otherwise; never waits. Knows flights and purges; must not know
what becomes of either. The hottest way, a view's fresh hit, counts for itself (`lookup`, `door`).
"""

from collections.abc import Callable, Hashable
from typing import Any

from .codec import Entry
from .events import Cause, Events, Kind
from .fieldtext import named
from .flight import Fate, Flight, Loaded, trial_here
from .keys import CallKey, view_of
from .stamps import Purge
from .tally import Tallies


class Ledger:
    """Of one app; ``sender()`` is the app, for who listens by signals."""

    def __init__(self, app: str, clock: Callable[[], float], sender: Callable[[], Any]) -> None:
        self.tallies = Tallies()
        self.events = Events(app, clock, sender)

    def note_miss(self, view: str, key: Hashable, seconds: float) -> None:
        """Nothing that is stored would do: the caller has waited so long. Any thread."""
        if trial_here() is not None:
            return
        self.tallies[view].misses += 1
        self.events.tell("miss", view, key, seconds=seconds)

    def note_pass(self, view: str, key: Hashable, reason: str) -> None:
        """A view was run in its caller's own request; ``key`` is None where none is made of that.

        Any thread.
        """
        self.tallies[view].note_pass(reason)
        self.events.tell("pass", view, key, reason=reason)

    def note_hit(self, view: str, key: Hashable, entry: Entry, now: float, stale: str = "") -> None:
        """What is stored was given; ``stale`` says why, where it is stale. Any thread.

        ``now`` is when that was decided: while this is told, the load of a newer may be over.
        """
        tally = self.tallies[view]
        tally.saved += entry.cost
        if stale:
            tally.stale_hits += 1
        else:
            tally.fresh_hits += 1
        kind: Kind = "stale" if stale else "hit"
        if kind in self.events.wanted:
            age = now - entry.stored
            self.events.tell(kind, view, key, seconds=age, reason=stale)

    def note_started(self, flight: Flight) -> None:
        """A load begins. On the loop."""
        load = flight.load
        flight.started = flight.runtime.loop.time()
        self.tallies[load.name].loads += 1
        self.events.tell("load_started", load.name, flight.key, cause=load.cause, token=flight)

    def note_ended(self, flight: Flight, loaded: Loaded, passes: str = "") -> None:
        """A load came to this; ``passes``: why everybody passes now, which is no failure.

        On the loop; told once, and nothing where it never began. One whose time is up has failed,
        whatever its code makes of being cancelled, or its thread brings at last.
        """
        if flight.started is None or flight.ended:
            return
        flight.ended = True
        load, seconds = flight.load, flight.runtime.loop.time() - flight.started
        self.tallies[load.name].note_load(seconds)
        failed = flight.failed or ((loaded.fate is Fate.FAILED or loaded.failed) and not passes)
        if failed and flight.expired:
            loaded = Loaded(flight.timeout_error(), Fate.FAILED)
        kind: Kind = "load_failed" if failed else "load_finished"
        if kind in self.events.wanted:
            reason = error_of(loaded) if failed else passes or loaded.detail or loaded.fate.value
            error = loaded.value if isinstance(loaded.value, BaseException) and failed else None
            self.events.tell(
                kind, load.name, flight.key, seconds=seconds, reason=reason, cause=load.cause,
                token=flight, error=error,
            )  # fmt: skip

    def note_evicted(self, key: Hashable) -> None:
        """An entry had to make room. On the loop."""
        if "evicted" in self.events.wanted:
            self.events.tell("evicted", view_of(key), key)

    def note_learned(self, flight: Flight, known: tuple[str, ...], names: tuple[str, ...]) -> None:
        """A URL was known to read the first, and is seen to read the others. On the loop."""
        if new := [name for name in names if name not in known]:
            base, reason = flight.load.base, ", ".join(map(named, new))
            self.events.tell("learned", flight.load.name, base, reason=reason, token=flight)

    def note_purged(self, purge: Purge, process: str = "") -> None:
        """Something is purged; ``process`` is the other one that did that. Any thread."""
        if "purged" not in self.events.wanted:
            return
        cause = Cause(purge.why, process=process)
        soft = " (stale)" if purge.soft else ""
        wide = ["everything"] if purge.everything else [f"tag {tag}" for tag in purge.tags]
        for name in wide:
            self.events.tell("purged", reason=f"{name}{soft}", cause=cause, token=(name,))
        for key in purge.keys:
            call = key if isinstance(key, CallKey) else None
            names = _names(key)
            reason = f"{names[0]}{soft}"
            self.events.tell("purged", view_of(call), call, reason=reason, cause=cause, token=names)


class Discreet(Ledger):
    """A ledger while there are trials: what their code is given of stored results is not noted.

    In its stead for that time only: a hit must not have to ask whose code it is for.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.tallies, self.events = ledger.tallies, ledger.events

    def note_hit(self, view: str, key: Hashable, entry: Entry, now: float, stale: str = "") -> None:
        if trial_here() is None:
            super().note_hit(view, key, entry, now, stale)


def error_of(loaded: Loaded) -> str:
    """What a failed load came to, in a line: the error's kind and text, or its status."""
    if not isinstance(loaded.value, BaseException):
        return loaded.detail or "failed"
    line = (str(loaded.value).splitlines() or [""])[0]
    return f"{type(loaded.value).__name__}: {line}" if line else type(loaded.value).__name__


def _names(name: Any) -> tuple[str, ...]:
    """What a purge names: a path, a call, or a URL and its path."""
    if isinstance(name, CallKey):
        return (name.function,)
    if isinstance(name, str):
        return (name,)
    path, query = name
    return (f"{path}?{query}", path) if query else (path,)
