"""Loading many URLs: so many at a time, each tried again when it fails, until all are done.

The first ctrl-C begins no more and lets end what is under way; the second one ends at once. Owns
the loads under way and the bar; runs on the main thread, which takes the signals.
"""

import logging
import random
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from heapq import heappop, heappush
from typing import Any

from ..executor import DaemonExecutor
from ..words import count, duration
from .screen import Screen, clean, cut

FIRST_PAUSE = 0.5  # seconds before the second try; each next one is twice as long
MOST_PAUSE = 30.0
LOOK = 0.1  # seconds between two looks at the bar and at ctrl-C
RECENT = 20.0  # seconds whose rate foretells how long the rest takes
BAR = 24  # columns

Load = Callable[[str], Mapping[str, Any]]


class Warming:
    """The loads of one command. ``load`` is called on threads, ``concurrency`` at a time."""

    def __init__(
        self, urls: Iterable[str], load: Load, *, concurrency: int, retries: int,
        bar: "Bar", clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._todo = deque(urls)
        self._load = load
        self._retries = retries
        self._concurrency = concurrency
        self._bar = bar
        self._clock = clock
        self._again: list[tuple[float, str, Mapping[str, Any]]] = []  # when each is due
        self._tries: Counter[str] = Counter()
        self._under_way: dict[Future[Mapping[str, Any]], str] = {}
        self.total = len(self._todo)
        self.results: list[Mapping[str, Any]] = []
        self.counts: Counter[str] = Counter()  # by outcome
        self.retried = 0
        self.stopping = False

    def stop(self) -> None:
        """Begin no more."""
        self.stopping = True

    def run(self) -> None:
        """Load all; raises what is no failure of one URL, such as a token that is wrong."""
        pool = DaemonExecutor(self._concurrency, "aswr-warm")
        try:
            while self._goes_on():
                self._begin(pool)
                ended = wait(self._under_way, timeout=LOOK, return_when=FIRST_COMPLETED)[0]
                if not self._under_way:
                    time.sleep(LOOK)
                self._take(ended)
                self._bar.draw(self)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            self._bar.end()

    def _goes_on(self) -> bool:
        waits = bool(self._todo or self._again) and not self.stopping
        return waits or bool(self._under_way)

    def _begin(self, pool: DaemonExecutor) -> None:
        while not self.stopping and len(self._under_way) < self._concurrency:
            if self._again and self._again[0][0] <= self._clock():
                url = heappop(self._again)[1]
            elif self._todo:
                url = self._todo.popleft()
            else:
                return
            self._tries[url] += 1
            self._under_way[pool.submit(self._load, url)] = url

    def _take(self, ended: Iterable[Future[Mapping[str, Any]]]) -> None:
        """Note what came of loads; one that raised is left, and raises after the others."""
        raised = None
        for future in ended:
            if (error := future.exception()) is None:
                self._note(self._under_way.pop(future), future.result())
            else:
                raised = error
        if raised is not None:
            raise raised

    def _note(self, url: str, result: Mapping[str, Any]) -> None:
        tries = self._tries[url]
        if result["outcome"] == "failed" and tries <= self._retries:
            pause = min(MOST_PAUSE, FIRST_PAUSE * 2 ** (tries - 1)) * random.uniform(0.75, 1.25)
            heappush(self._again, (self._clock() + pause, url, result))
            self.retried += 1
            return
        self.results.append({**result, "url": url, "tries": tries})
        self.counts[result["outcome"]] += 1

    @property
    def failed(self) -> list[Mapping[str, Any]]:
        """What failed for good, and what was to be tried again when it was stopped."""
        over = [result for result in self.results if result["outcome"] == "failed"]
        return over + [{**one, "tries": self._tries[url]} for _, url, one in sorted(self._again)]

    @property
    def stored(self) -> list[str]:
        """What was loaded now."""
        return [result["url"] for result in self.results if result["outcome"] == "stored"]

    @property
    def left(self) -> list[str]:
        """What did not come to an end: not begun, or cut short."""
        return [*self._under_way.values(), *self._todo]


class Bar:
    """How far it is: a line on a terminal that is drawn over, nothing elsewhere."""

    def __init__(self, screen: Screen, clock: Callable[[], float] = time.monotonic) -> None:
        self._screen = screen
        self._clock = clock
        self._began = clock()
        self._seen: deque[tuple[float, int]] = deque([(self._began, 0)])
        self._drawn = False

    def draw(self, warming: Warming) -> None:
        """Draw it as of now."""
        now, done = self._clock(), len(warming.results)
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[0][0] > RECENT:
            self._seen.popleft()
        if self._screen.terminal:
            text = self.text(warming)
            self._screen.line(
                f"\r{cut(text, (self._screen.width or 80) - 1)}\x1b[K", new_line=False
            )
            self._drawn = True

    @property
    def rate(self) -> float:
        """URLs a second, of late."""
        (began, first), (now, last) = self._seen[0], self._seen[-1]
        return (last - first) / (now - began) if now > began else 0.0

    def text(self, warming: Warming) -> str:
        """What it says."""
        done, total, rate = len(warming.results), warming.total, self.rate
        full = BAR * done // max(1, total)
        parts = [
            f"{'█' * full}{'░' * (BAR - full)} {count(done)} of {count(total)}",
            f"{rate:.1f}/s", f"{count(warming.counts['failed'])} failed",
        ]  # fmt: skip
        if warming.stopping:
            parts.append("stopping: ctrl-C again ends at once")
        elif rate > 0 and done < total:
            parts.append(f"{duration((total - done) / rate)} left")
        return "  ".join(parts)

    def end(self) -> None:
        """Leave the line."""
        if self._drawn:
            self._screen.line("\r\x1b[K", new_line=False)
            self._drawn = False

    @contextmanager
    def below_the_log(self) -> Iterator[None]:
        """While it lasts, what aswr logs, and nobody handles, stands above the bar."""
        log = logging.getLogger("aswr")
        if log.hasHandlers() or not self._screen.terminal:
            yield
            return
        handler = _Above(self)
        log.addHandler(handler)
        try:
            yield
        finally:
            log.removeHandler(handler)

    def above(self, text: str) -> None:
        """Write a line in the bar's place; the bar is drawn again, below it."""
        self.end()
        self._screen.line(clean(text))


class _Above(logging.Handler):
    """Writes what is logged above a bar."""

    def __init__(self, bar: Bar) -> None:
        super().__init__(logging.WARNING)
        self._bar = bar

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._bar.above(record.getMessage())
        except Exception:
            self.handleError(record)


@contextmanager
def gently(stop: Callable[[], None]) -> Iterator[None]:
    """While it lasts, the first ctrl-C calls ``stop``; the second raises `KeyboardInterrupt`."""

    def first(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop()

    try:
        before = signal.signal(signal.SIGINT, first)
    except ValueError:  # not on the main thread, which alone is told of signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def say_failures(screen: Screen, failed: Iterable[Mapping[str, Any]]) -> None:
    """What failed, one a line."""
    for one in failed:
        screen.line(f"failed: {clean(one['url'])}: {clean(one['reason'])} ({_tries(one['tries'])})")


def _tries(many: int) -> str:
    return "1 try" if many == 1 else f"{many} tries"


def errors() -> Screen:
    """Where people are told what is not the answer."""
    return Screen(sys.stderr)
