"""What a test puts in the way of loads: a gate that holds them, a fault that makes them fail.

Loads come by on aswr's loop; all else is for any thread, a test's as a rule. Must not know the kit
that makes them, nor apps and views.
"""

import asyncio
import contextlib
import contextvars
import threading
from typing import Self

from .flight import copy_of

PATIENCE = 5.0  # seconds that a test waits for what should happen at once


class Valve:
    """Where coroutines, of whichever loop, wait until some thread opens it for good."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._came = 0

    @property
    def waiting(self) -> int:
        """How many wait, as of now."""
        return len(self._waiting)

    async def wait(self) -> None:
        """Wait until it is open. On any loop."""
        me = asyncio.get_running_loop(), asyncio.Event()
        with self._changed:
            if self._open:
                return
            self._waiting.append(me)
            self._came += 1
            self._changed.notify_all()
        try:
            await me[1].wait()
        finally:
            with self._changed:
                self._waiting.remove(me)

    def open(self) -> None:
        """Let all through who wait, and who come later."""
        with self._changed:
            self._open = True
            waiting = list(self._waiting)
        for loop, opened in waiting:
            with contextlib.suppress(RuntimeError):  # that loop has ended
                loop.call_soon_threadsafe(opened.set, context=contextvars.Context())

    def await_arrivals(self, count: int, timeout: float) -> bool:
        """Wait until so many have come in all; False when ``timeout`` seconds came first."""
        with self._changed:
            return self._changed.wait_for(lambda: self._came >= count, timeout)


class Gate:
    """Holds loads, from when it is made until `release`; as a context manager, to the block's end.

    ``what`` says which loads, for errors. Whoever asks for a held load waits as for a slow one.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._valve = Valve()

    def __repr__(self) -> str:
        return f"<Gate for {self._what}, held: {self.held}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    @property
    def held(self) -> int:
        """How many loads it holds, as of now."""
        return self._valve.waiting

    def wait_for_load(self, loads: int = 1, timeout: float = PATIENCE) -> None:
        """Wait until so many loads have come to the gate, all in all.

        Blocks: in async code write ``await asyncio.to_thread(gate.wait_for_load)``. Raises
        `TimeoutError` after ``timeout`` seconds.
        """
        if not self._valve.await_arrivals(loads, timeout):
            raise TimeoutError(
                f"no load came to the gate for {self._what} within {timeout:g} s, or fewer than "
                f"{loads}: a fresh answer needs none (advance the time past its fresh_until), one "
                "that passes has none (look at its Cache-Status), and a visitor who has to wait "
                "must ask on a thread of his own"
            )

    def release(self) -> None:
        """Let the loads go on, and hold no more; idempotent."""
        self._valve.open()

    async def go_through(self) -> None:
        """A load comes by. On aswr's loop."""
        await self._valve.wait()


class Fault:
    """Makes loads fail, from when it is made until `mend`; as a context manager, to its end."""

    def __init__(self, error: BaseException) -> None:
        self._error = error
        self._mended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.mend()

    def mend(self) -> None:
        """Let loads succeed again; idempotent."""
        self._mended = True

    def strike(self) -> None:
        """A load comes by: raise, in each a copy where it can be copied."""
        if not self._mended:
            raise copy_of(self._error) or self._error
