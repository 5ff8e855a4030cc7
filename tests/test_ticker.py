"""The ticker: jobs on the loop, in nobody's context."""

import asyncio
import contextvars
import time

from aswr.ticker import Ticker

who = contextvars.ContextVar("who", default="nobody")


def run(main) -> None:
    asyncio.run(asyncio.wait_for(main(), 10))


def test_the_first_tick_is_at_once_and_others_follow():
    """A job ticks when it is added, then every interval."""

    async def main():
        ticker, ticks, done = Ticker(), [], asyncio.Event()

        def tick():
            ticks.append(1)
            if len(ticks) == 3:
                done.set()

        ticker.add("a", 0.02, tick)
        await done.wait()
        assert ticker.next_run("a") > time.time() - 10
        ticker.remove("a")
        ticker.remove("a")
        assert ticker.next_run("a") is None
        ticker.stop()

    run(main)


def test_adding_again_replaces():
    """One name is one job."""

    async def main():
        ticker, first, second = Ticker(), [], asyncio.Event()
        ticker.add("a", 100, lambda: first.append(1))
        ticker.add("a", 100, second.set)
        await second.wait()
        assert first == []
        ticker.stop()

    run(main)


def test_a_job_does_not_inherit_the_context_it_was_added_in():
    """A job added in somebody's request runs as nobody."""

    async def main():
        ticker, seen, done = Ticker(), [], asyncio.Event()
        who.set("ann")

        def tick():
            seen.append(who.get())
            done.set()

        ticker.add("a", 100, tick)
        await done.wait()
        assert seen == ["nobody"]
        ticker.stop()

    run(main)


def test_a_tick_that_is_due_while_it_stops_is_no_error(caplog):
    """Between being told to stop and stopping nothing begins that would be cut off."""

    async def main():
        ticker, ticks = Ticker(), []
        await asyncio.sleep(0)  # the scheduler has looked for jobs, and found none
        asyncio.get_running_loop().call_soon(ticker.stop)
        ticker.add("a", 100, lambda: ticks.append(1))  # looked at in the same turn, after that
        for _ in range(5):
            await asyncio.sleep(0)
        assert ticks == []

    run(main)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
