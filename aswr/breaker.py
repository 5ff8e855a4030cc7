"""The breaker between aswr and its shared store: closed, open, or trying again.

Loop only. Knows the store's name and the log; must not know how the store is asked. While it is
open, asking costs nothing: who asks is told at once that nobody answers.
"""

import logging
import time
from collections.abc import Callable

log = logging.getLogger("aswr.store")

TRY_FIRST = 0.25  # seconds after which an open breaker is tried again
TRY_MOST = 2.0
CALM = 10.0  # seconds that it must stay closed for the next pauses to be short again


class Breaker:
    """Is the store to be asked? ``on_open`` is called, once a time, when it no longer is."""

    def __init__(
        self, name: str, on_open: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._clock = clock
        self._on_open = on_open
        self.on_change: Callable[[str], None] | None = None  # told what happened, in a word or two
        self.closed = True
        self.why = ""  # it is open, or was the last time
        self.errors = 0
        self._tries = 0
        self._mended_at = -CALM

    def trip(self, error: object) -> None:
        """The store does not answer, or not as it should: ask it no more for now."""
        self.errors += 1
        if self.closed:
            self.closed, self.why = False, str(error)
            if self._clock() - self._mended_at > CALM:
                self._tries = 0
            log.warning(
                "%s fails (%s); memory and loads carry on", self.name, error,
                extra={"aswr_store": self.name},
            )  # fmt: skip
            self._on_open()
            self._tell(f"open: {error}")

    def pause(self) -> float:
        """Seconds until it is tried the next time."""
        self._tries += 1
        return min(TRY_MOST, TRY_FIRST * 1.5 ** min(self._tries - 1, 10))

    def mend(self) -> None:
        """The store answers, and what was missed is known."""
        if not self.closed:
            self.closed = True
            self._mended_at = self._clock()
            log.warning("%s answers again", self.name, extra={"aswr_store": self.name})
            self._tell("closed")

    def _tell(self, what: str) -> None:
        if self.on_change is not None:
            self.on_change(what)
