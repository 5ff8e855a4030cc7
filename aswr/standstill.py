"""Time that stands still until a test moves it: a clock, and a ticker that goes by it.

Owns the clock of managers that tests take in hand. The clock is for any thread, ticks are for
aswr's loop. Must not know managers.
"""

import math
import threading
import time
from collections.abc import Callable

from . import clocks


class ManualClock:
    """Seconds since the epoch: the machine's time, and while a `Kit` is there the test's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kits = 0
        self._now: float | None = None

    def __call__(self) -> float:
        now = self._now
        return time.time() if now is None else now

    def __repr__(self) -> str:
        return f"<ManualClock {self():.3f}, {'real' if self._now is None else 'manual'}>"

    def advance(self, by: float) -> None:
        """Let ``by`` seconds pass. Only while it is held."""
        with self._lock:
            assert self._now is not None
            self._now += by

    def hold(self) -> None:
        """Stand still from now on, at a whole second, so that ``ttl`` counts exactly."""
        with self._lock:
            self._kits += 1
            if self._now is None:
                self._now = float(math.ceil(time.time()))

    def let_go(self) -> None:
        """Tell the real time again, once for every `hold`."""
        with self._lock:
            self._kits -= 1
            if not self._kits:
                self._now = None


CLOCK = ManualClock()  # of every manager that is made without a clock=, once it is installed


def install() -> None:
    """Give the kit's clock to managers that are made from now on without ``clock=``.

    It tells the real time until a `Kit` is made. Under pytest the plugin has done it; else call it
    before the app is imported.
    """
    clocks.default = CLOCK


class ManualTicks:
    """Stands in for the `Ticker`: what is due is run when it is told to. On the loop."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._jobs: dict[str, tuple[float, Callable[[], None]]] = {}
        self._due: dict[str, float] = {}

    def add(
        self, name: str, interval: float, tick: Callable[[], None], aligned: bool = False
    ) -> None:
        self._jobs[name] = interval, tick
        self._due[name] = self._clock()

    def next_run(self, name: str) -> float | None:
        return self._due.get(name)

    def remove(self, name: str) -> None:
        self._jobs.pop(name, None)
        self._due.pop(name, None)

    def stop(self) -> None:
        self._jobs.clear()
        self._due.clear()

    def run_due(self) -> int:
        """Tick what is due, once each; how many."""
        now = self._clock()
        due = [name for name, at in self._due.items() if at <= now]
        for name in due:
            interval, tick = self._jobs[name]
            missed = (now - self._due[name]) // interval
            self._due[name] += (missed + 1) * interval
            tick()
        return len(due)
