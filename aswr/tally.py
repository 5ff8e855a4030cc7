"""What every process counts anyway, by view and memoized function.

Any thread counts, any thread reads: a plain ``+=`` on an attribute. CPython switches threads only
at calls and at jumps back, so an increment is not lost that has neither, on its right side either.
Imports nothing of aswr.
"""

import os
import threading
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Final

# Upper bounds of the classes of load times, in seconds; the last class is open.
BOUNDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
MOST_REASONS = 32  # of passes, by view; the others are "other"
_lock = threading.Lock()  # for what is counted seldom, and in a dictionary


def _forget() -> None:
    """In a forked child: a thread that is not there may have held it."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget)


class Tally:
    """The counters of one view or function, since the process began. Times are in seconds.

    None of them is another's part, so that none ever goes down, whenever it is read.
    """

    __slots__ = (
        "classes", "fresh_hits", "load_failures", "load_seconds", "loads", "misses", "passes",
        "reasons", "saved", "stale_hits", "view", "waited", "waits",
    )  # fmt: skip

    def __init__(self, view: str) -> None:
        self.view = view
        self.fresh_hits = 0
        self.stale_hits = 0
        self.misses = 0
        self.passes = 0
        self.reasons: dict[str, int] = {}  # of passes
        self.loads = 0  # begun
        self.load_failures = 0
        self.load_seconds = 0.0  # of those that ended
        self.classes = [0] * (len(BOUNDS) + 1)  # how many of these ended within which bound
        self.saved = 0.0  # what the loads took of which hits were the answers
        self.waits = 0  # callers who waited for a load
        self.waited = 0.0

    @property
    def hits(self) -> int:
        """Fresh and stale ones."""
        return self.fresh_hits + self.stale_hits

    def note_pass(self, reason: str) -> None:
        """A view was run in its caller's request."""
        with _lock:
            self.passes += 1
            if reason not in self.reasons and len(self.reasons) >= MOST_REASONS:
                reason = "other"
            self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def note_wait(self, seconds: float) -> None:
        """A caller has waited for a load."""
        self.waits += 1
        self.waited += seconds

    def note_load(self, seconds: float) -> None:
        """A load ended, well or not. On the loop."""
        self.load_seconds += seconds
        self.classes[bisect_left(BOUNDS, seconds)] += 1

    def counts(self) -> dict[str, Any]:
        """All of it, as of now, less the classes of load times."""
        return {
            "hits": self.hits,
            "stale_hits": self.stale_hits,
            "misses": self.misses,
            "passes": self.passes,
            "passes_by_reason": dict(self.reasons),
            "loads": self.loads,
            "load_failures": self.load_failures,
            "load_seconds": self.load_seconds,
            "seconds_saved": self.saved,
            "waits": self.waits,
            "seconds_waited": self.waited,
        }


class Tallies(dict[str, Tally]):
    """The counters of one app, by the names of its views and functions."""

    def __missing__(self, view: str) -> Tally:
        return self.setdefault(view, Tally(view))

    def total(self) -> dict[str, Any]:
        """The sums over all views."""
        total = Tally("")
        sums = total.counts()
        for tally in list(self.values()):
            _add(sums, tally.counts())
        return sums


def _add(sums: dict[str, Any], counts: Mapping[str, Any]) -> None:
    for name, value in counts.items():
        if isinstance(value, Mapping):
            for reason, count in value.items():
                sums[name][reason] = sums[name].get(reason, 0) + count
        else:
            sums[name] += value
