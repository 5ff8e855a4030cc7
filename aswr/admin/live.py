"""What changes, as it happens: a stream of server-sent events, or one answer for who polls.

Owns the count of streams of one app. Each holds a thread of the server while it lasts, so there
are few, of a WSGI server, which tells nobody how many threads it has, one; they are short (a
browser opens the next one by itself, and a server that stops waits for them), and where requests
come one at a time a stream is a single message.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from flask import Response, request

from ..desk import Desk
from ..environ import THREADS
from .history import History

EVERY = 1.0  # seconds between messages
LASTS = 15.0  # seconds of a stream
MOST_STREAMS = 8  # at a time, where nobody says otherwise
MOST_HAPPENED = 100  # things told of in one message; the last of them
ASK_AGAIN = 1.0  # seconds until a browser opens the next stream
POLL = 3.0  # the same, where a stream is a single message
LATE = 0.05  # seconds by which a thing may be known later than it happened


def pulse(desk: Desk, history: History, since: float) -> dict[str, Any]:
    """What there is to say now, and what happened after ``since``; ``since`` for the next time."""
    stats = desk.stats()
    until = stats["at"] - LATE
    happened = [one for one in desk.latest(MOST_HAPPENED) if since < one["at"] <= until]
    return {
        **stats,
        "flights": desk.flights(),
        "happened": happened,
        "samples": history.since(since),
        "since": until,
    }


class Streams:
    """The streams of one app: as many as ``limit`` says, else as its server can spare.

    ``pause`` and ``clock`` are for tests.
    """

    def __init__(
        self,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.open = 0
        self.limit: int | None = None
        self._pause = pause
        self._clock = clock
        self._lock = threading.Lock()

    def answer(self, tell: Callable[[float], dict[str, Any]], since: float) -> Response:
        """A stream of what ``tell(since)`` says; 503 where there are too many."""
        with self._lock:
            if self.open >= self._most():
                busy = Response(status=503, content_type="text/plain")
                busy.headers["Retry-After"] = f"{POLL:.0f}"
                return busy
            self.open += 1
        single = not request.environ.get("wsgi.multithread", False)
        response = Response(self._messages(tell, since, single), content_type="text/event-stream")
        response.headers["X-Accel-Buffering"] = "no"
        response.call_on_close(_once(self._leave))
        return response

    def _most(self) -> int:
        if self.limit is not None:
            return self.limit
        threads: int = request.environ.get(THREADS, 1)
        return max(1, min(MOST_STREAMS, threads // 2))

    def _leave(self) -> None:
        with self._lock:
            self.open -= 1

    def _messages(
        self, tell: Callable[[float], dict[str, Any]], since: float, single: bool
    ) -> Iterator[bytes]:
        ends = self._clock() + LASTS
        yield b"retry: %d\n\n" % (1000 * (POLL if single else ASK_AGAIN))
        while True:
            said = tell(since)
            since = said["since"]
            data = json.dumps(said, separators=(",", ":"), default=str)
            yield f"id: {since}\ndata: {data}\n\n".encode()
            if single or self._clock() + EVERY > ends:
                return
            self._pause(EVERY)


def since_asked() -> float:
    """From when on the asker knows nothing: as a reconnecting browser says, or the query."""
    given = request.headers.get("Last-Event-ID") or request.args.get("since") or "0"
    try:
        return float(given)
    except ValueError:
        return 0.0


def _once(call: Callable[[], None]) -> Callable[[], None]:
    calls = [call]
    return lambda: calls.pop()() if calls else None
