"""Tells who holds the loop: a heartbeat from outside, and one log line with file, line, seconds.

Owns one daemon thread. It asks for a beat only while the loop has something to do; asyncio's own
debug mode would cost ten times more. Must never run anything on the loop but its beat.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

log = logging.getLogger("aswr.watchdog")

_OURS = ("asyncio", "aswr", "contextvars", "selectors", "threading")


class Watchdog:
    """Watches the thread ``ident``; ``post`` schedules a callable on its loop.

    ``busy()`` says whether a beat is worth asking for. ``limit`` is in seconds: a beat that takes
    longer is reported when the loop answers again, or after ``report_after`` while it is still
    held; each line of code once.
    """

    def __init__(
        self,
        ident: int,
        post: Callable[[Callable[[], None]], object],
        busy: Callable[[], bool],
        *,
        limit: float = 0.5,
        report_after: float = 10.0,
    ) -> None:
        self._ident = ident
        self._post = post
        self._busy = busy
        self._limit = limit
        self._report_after = report_after
        self._told: set[str] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="aswr-watchdog", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread at its next turn; does not wait."""
        self._stopped.set()

    def _watch(self) -> None:
        # Half the limit: what holds the loop for twice as long must not slip between two beats.
        while not self._stopped.wait(self._limit / 2):
            if self._busy():
                try:
                    self._one_beat()
                except RuntimeError:  # the loop is closed
                    return

    def _one_beat(self) -> None:
        answered = threading.Event()
        asked = time.monotonic()
        self._post(answered.set)
        if answered.wait(self._limit):
            return
        where = place_of(sys._current_frames().get(self._ident))
        answered.wait(self._report_after)
        if self._stopped.is_set():
            return
        if where not in self._told:
            self._told.add(where)
            self._tell(where, time.monotonic() - asked, answered.is_set())
        while not answered.wait(self._limit) and not self._stopped.is_set():
            pass

    def _tell(self, where: str, held: float, over: bool) -> None:
        state = "held" if over else "has been holding"
        log.warning(
            "%s %s the event loop for %.1f s: code that blocks belongs in a def function, in "
            "run_in_executor, or under cacher(..., blocking=True). Hits were not affected.",
            where, state, held, extra={"aswr_where": where, "aswr_seconds": held},
        )  # fmt: skip


def place_of(frame: FrameType | None) -> str:
    """``file:line in function`` of the outermost frame that is neither asyncio's nor ours."""
    stack = []
    while frame is not None:
        stack.append(frame)
        frame = frame.f_back
    for candidate in reversed(stack):
        if candidate.f_globals.get("__name__", "").partition(".")[0] not in _OURS:
            code = candidate.f_code
            return f"{code.co_filename}:{candidate.f_lineno} in {code.co_qualname}()"
    return "unknown code"
