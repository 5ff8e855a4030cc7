"""The ticker: APScheduler's `AsyncIOScheduler` on the loop, whose jobs only start our own flights.

Owns the scheduler; runs on the loop only. Must not know what a tick does. Every timer is made in an
empty context: a job added in somebody's request would otherwise run as that person ever after.
"""

import asyncio
import contextvars
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger


class Ticker:
    """Calls each job's function every ``interval`` seconds, the first time at once."""

    def __init__(self) -> None:
        self._context = contextvars.Context()
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._context.run(self._scheduler.start)

    def add(
        self, name: str, interval: float, tick: Callable[[], None], aligned: bool = False
    ) -> None:
        """Add or replace a job. ``tick`` runs on the loop and must return at once.

        ``aligned``: after the first time it is due at whole multiples of ``interval`` since the
        epoch, so at the same time in every process.
        """
        start = datetime.fromtimestamp(0, UTC) if aligned else None

        async def run() -> None:
            tick()

        def add() -> None:
            # APScheduler goes on from the first time, whatever `start_date` says.
            first = {} if aligned else {"next_run_time": datetime.now(UTC)}
            if aligned:
                asyncio.get_running_loop().call_soon(tick, context=contextvars.Context())
            self._scheduler.add_job(
                run, IntervalTrigger(seconds=interval, timezone=UTC, start_date=start),
                id=name, name=name, replace_existing=True, **first,
                # A tick that a blocked loop missed is made up once, however late.
                misfire_grace_time=None, coalesce=True, max_instances=1,
            )  # fmt: skip

        self._context.run(add)

    def next_run(self, name: str) -> float | None:
        """When the job runs next, in seconds since the epoch."""
        job: Any = self._scheduler.get_job(name)
        due = job.next_run_time if job is not None else None
        return due.timestamp() if due is not None else None

    def remove(self, name: str) -> None:
        """Remove a job, if it is there."""
        if self._scheduler.get_job(name) is not None:
            self._context.run(self._scheduler.remove_job, name)

    def stop(self) -> None:
        """No more ticks."""
        # Shutting down waits for the loop's next turn: a tick that was due meanwhile would be
        # cancelled before it begins, and APScheduler logs that as an error.
        self._scheduler.pause()
        self._context.run(self._scheduler.shutdown, False)
