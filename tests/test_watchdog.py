"""The watchdog names the line that holds a loop, and is silent otherwise."""

import asyncio
import inspect
import logging
import re
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from aswr.watchdog import Watchdog, place_of

LIMIT = 10.0  # seconds after which anything here is a failure


class Loop:
    """A loop on a thread of its own, and what a watchdog asks of it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.busy = True
        self.beats = threading.Semaphore(0)
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        assert self._thread.ident is not None
        self.ident = self._thread.ident

    def post(self, callback: Callable[[], None]) -> None:
        """As a runtime does; a test may count the beats."""

        def beat() -> None:
            callback()
            self.beats.release()

        self.loop.call_soon_threadsafe(beat)

    def await_beat(self) -> None:
        assert self.beats.acquire(timeout=LIMIT)

    def run(self, view: Coroutine[Any, Any, None]) -> "Future[None]":
        return asyncio.run_coroutine_threadsafe(view, self.loop)

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(LIMIT)
        self.loop.close()


class Told(logging.Handler):
    """The watchdog's log lines, and a way to wait for the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self._more = threading.Semaphore(0)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self._more.release()

    def next(self) -> logging.LogRecord:
        assert self._more.acquire(timeout=LIMIT), "the watchdog said nothing"
        return self.records[-1]


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.end()


@pytest.fixture
def told() -> Iterator[Told]:
    handler, log = Told(), logging.getLogger("aswr.watchdog")
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)


@pytest.fixture
def watch(loop: Loop) -> Iterator[Callable[..., Watchdog]]:
    started: list[Watchdog] = []

    def start(**limits: float) -> Watchdog:
        dog = Watchdog(loop.ident, loop.post, lambda: loop.busy, **limits)
        started.append(dog)
        dog.start()
        return dog

    yield start
    for dog in started:
        dog.stop()


HELD = threading.Event()  # never set: holds a loop for as long as one waits for it


async def blocks(seconds: float, until: threading.Event = HELD) -> None:
    """A view that holds its loop."""
    blocking_call(seconds, until)


def blocking_call(seconds: float, until: threading.Event) -> None:
    until.wait(seconds)


def place() -> str:
    """Where the view, the outermost code of the user's, stands while it blocks."""
    lines, first = inspect.getsourcelines(blocks)
    return f"{__file__}:{first + len(lines) - 1} in blocks()"


def test_it_names_the_line_that_holds_the_loop(
    loop: Loop, told: Told, watch: Callable[..., Watchdog]
) -> None:
    """A loop that was held is reported with file, line, seconds and the cure."""
    watch(limit=0.2)
    loop.await_beat()
    began = loop.loop.time()
    loop.run(blocks(0.8))
    record: Any = told.next()
    text = record.getMessage()
    assert record.levelno == logging.WARNING
    assert re.match(rf"{re.escape(place())} held the event loop for \d\.\d s: ", text)
    assert "run_in_executor" in text
    assert "blocking=True" in text
    assert record.aswr_where == place()
    assert 0.2 <= record.aswr_seconds <= loop.loop.time() - began


def test_a_line_is_reported_once(loop: Loop, told: Told, watch: Callable[..., Watchdog]) -> None:
    """A line that holds the loop again is not reported again; another line is."""
    watch(limit=0.2)
    loop.await_beat()
    loop.run(blocks(0.8))
    assert place() in told.next().getMessage()
    loop.await_beat()

    async def other() -> None:
        HELD.wait(0.8)

    loop.run(blocks(0.8))
    loop.await_beat()
    loop.run(other())
    assert "other()" in told.next().getMessage()
    assert len(told.records) == 2


def test_a_loop_that_stays_held_is_reported_while_it_is(
    loop: Loop, told: Told, watch: Callable[..., Watchdog]
) -> None:
    """A loop held for longer than ``report_after`` is reported then, and not once more later."""
    watch(limit=0.2, report_after=0.05)
    loop.await_beat()
    go = threading.Event()
    loop.run(blocks(LIMIT, go))
    text = told.next().getMessage()
    assert re.match(rf"{re.escape(place())} has been holding the event loop for \d\.\d s", text)
    go.set()
    loop.await_beat()
    loop.await_beat()
    assert len(told.records) == 1


def test_a_healthy_loop_is_not_reported(
    loop: Loop, told: Told, watch: Callable[..., Watchdog]
) -> None:
    """A loop whose coroutines wait as they should answers every beat, and nothing is said."""
    watch(limit=0.5)
    go = threading.Event()

    async def patient() -> None:
        await asyncio.to_thread(go.wait, LIMIT)

    running = loop.run(patient())
    loop.await_beat()
    loop.await_beat()
    go.set()
    running.result(LIMIT)
    assert told.records == []


def test_an_idle_loop_is_left_alone(watch: Callable[..., Watchdog], loop: Loop) -> None:
    """While there is nothing to do the loop is asked for nothing."""
    loop.busy = False
    asked = threading.Semaphore(0)

    def busy() -> bool:
        asked.release()
        return False

    dog = Watchdog(loop.ident, loop.post, busy, limit=0.01)
    dog.start()
    for _ in range(5):
        assert asked.acquire(timeout=LIMIT)
    dog.stop()
    assert not loop.beats.acquire(blocking=False)


def test_it_ends_with_its_loop(loop: Loop, told: Told) -> None:
    """A loop that is closed ends the watch without an error, and `stop` does too."""
    over = threading.Event()

    def closed(callback: Callable[[], None]) -> None:
        over.set()
        raise RuntimeError("Event loop is closed")

    dog = Watchdog(loop.ident, closed, lambda: True, limit=0.01)
    dog.start()
    assert over.wait(LIMIT)
    dog._thread.join(LIMIT)
    assert not dog._thread.is_alive()
    stopped = Watchdog(loop.ident, loop.post, lambda: False, limit=0.01)
    stopped.start()
    stopped.stop()
    stopped._thread.join(LIMIT)
    assert not stopped._thread.is_alive()
    assert dog._thread.daemon
    assert told.records == []


def test_places() -> None:
    """A place is the outermost line that is neither asyncio's nor ours, if there is one."""
    frame = inspect.currentframe()
    assert frame is not None
    assert re.fullmatch(r"\S.*:\d+ in \S+\(\)", place_of(frame))
    assert place_of(None) == "unknown code"


def test_a_loop_that_only_waits_is_not_blamed(loop: Loop) -> None:
    """The selector in which an idle loop waits is no code of the user's."""
    loop.post(lambda: None)
    loop.await_beat()
    assert place_of(sys._current_frames()[loop.ident]) == "unknown code"
