"""Shared by all tests: a clock that tests move, gates that hold loads, an app and its manager."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest
from flask import Flask

import aswr
from aswr import CacheManager
from aswr.keys import VariantKey, ViewKey

PATIENCE = 10.0  # seconds after which a gate or a thread that does not move is a failure


def pytest_report_header() -> str:
    """Say which aswr is tested; nox asks for the installed wheel, not the tree."""
    where = os.path.dirname(os.path.abspath(aswr.__file__))
    if os.environ.get("ASWR_TEST_INSTALLED"):
        assert "site-packages" in where, f"the tests import {where}, not the installed wheel"
    return f"aswr: {where}"


class Clock:
    """Seconds since the epoch, as tests say."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def tick(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class Counter:
    """Counts renders; each answer tells the number of its render."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        return str(self.count)


class Gate:
    """Holds synchronous or asynchronous loads until it is opened; counts who arrived."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._arrived = threading.Semaphore(0)

    def hold(self) -> None:
        """Called by a synchronous load."""
        self._arrived.release()
        assert self._open.wait(PATIENCE), "the gate was never opened"

    async def ahold(self) -> None:
        """Called by an asynchronous load."""
        import asyncio

        self._arrived.release()
        opened = await asyncio.to_thread(self._open.wait, PATIENCE)
        assert opened, "the gate was never opened"

    def await_arrival(self) -> None:
        """Wait until one more load has come to the gate."""
        assert self._arrived.acquire(timeout=PATIENCE), "no load came to the gate"

    def open(self) -> None:
        """Let everybody through, from now on."""
        self._open.set()

    def close(self) -> None:
        """Hold whoever comes from now on."""
        self._open.clear()


class Background:
    """A call on a thread of its own, whose result or error can be asked for."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._result: object = None
        self._error: BaseException | None = None

        def run() -> None:
            try:
                self._result = call()
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def done(self) -> bool:
        """Is it over?"""
        return not self._thread.is_alive()

    def ends_within(self, seconds: float) -> bool:
        """Is it over after so long?"""
        self._thread.join(seconds)
        return self.done()

    def result(self) -> object:
        """What it returned; raises what it raised."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the call did not end"
        if self._error is not None:
            raise self._error
        return self._result


@dataclass(frozen=True)
class Brings:
    """What one caller brings, by name; a name that begins with "cookie" is personal.

    Called as a load's ``under``.
    """

    key: ViewKey
    inputs: Mapping[str, str]

    def __call__(self, names: tuple[str, ...]) -> tuple[VariantKey, str]:
        personal = {name for name in names if name.startswith("cookie")}
        values = tuple(None if name in personal else self.inputs.get(name) for name in names)
        carried = ", ".join(name for name in names if name in personal and name in self.inputs)
        return VariantKey(self.key, names, values), f"reads {carried}" if carried else ""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def background() -> Callable[[Callable[[], object]], Background]:
    return Background


@pytest.fixture
def app() -> Flask:
    app = Flask("shop")
    app.secret_key = "secret"
    return app


@pytest.fixture
def manager(app: Flask, clock: Clock) -> Iterator[CacheManager]:
    manager = CacheManager(app, clock=clock)
    yield manager
    manager.close(timeout=0.5)
