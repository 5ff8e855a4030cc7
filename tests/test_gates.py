"""Gates and faults: what a test puts in the way of loads."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from aswr.gates import Fault, Gate, Valve


def test_who_waits_goes_on_when_it_is_opened():
    """Coroutines of several loops wait at one valve, and any thread lets them through."""
    valve = Valve()
    with ThreadPoolExecutor() as pool:
        waits = [pool.submit(asyncio.run, valve.wait()) for _ in range(3)]
        assert valve.await_arrivals(3, 5)
        assert valve.waiting == 3
        valve.open()
        for wait in waits:
            wait.result(5)
    assert valve.waiting == 0


def test_an_open_valve_holds_nobody():
    """Who comes later goes through, and is not counted as one who came to wait."""
    valve = Valve()
    valve.open()
    asyncio.run(valve.wait())
    assert not valve.await_arrivals(1, 0)


def test_who_is_cancelled_no_longer_waits():
    """A load that is cut short leaves the gate."""

    async def main(valve):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(valve.wait(), 0.01)

    valve = Valve()
    asyncio.run(main(valve))
    assert valve.waiting == 0
    assert valve.await_arrivals(1, 0)


def test_a_loop_that_has_ended_is_no_obstacle():
    """Opening reaches the others."""
    valve = Valve()
    loop = asyncio.new_event_loop()
    task = loop.create_task(valve.wait())
    loop.run_until_complete(asyncio.sleep(0))
    coroutine = task.get_coro()
    task.cancel()
    loop.close()
    valve.open()
    coroutine.close()
    assert valve.waiting == 0


def test_waiting_for_loads_counts_them_all():
    """wait_for_load waits for so many since the gate was made, also if they have gone on."""
    gate = Gate("loads of x")
    with ThreadPoolExecutor() as pool, gate:
        pool.submit(asyncio.run, gate.go_through())
        gate.wait_for_load()
        gate.wait_for_load()
        pool.submit(asyncio.run, gate.go_through())
        gate.wait_for_load(2)
        assert repr(gate) == "<Gate for loads of x, held: 2>"
        with pytest.raises(TimeoutError, match="for loads of x within 0.01 s, or fewer than 3"):
            gate.wait_for_load(3, timeout=0.01)
    assert gate.held == 0


def test_who_waits_for_a_load_is_told_when_it_comes():
    """Also one who was there before the load, and at once."""
    valve = Valve()
    with ThreadPoolExecutor() as pool:
        told = pool.submit(valve.await_arrivals, 1, 5)
        with pytest.raises(TimeoutError):
            told.result(0.05)
        wait = pool.submit(asyncio.run, valve.wait())
        assert told.result(3)
        valve.open()
        wait.result(5)


def test_a_block_that_raises_releases_too():
    """Leaving the with block by an error lets the loads go on."""
    with pytest.raises(KeyError), Gate("loads") as gate:
        raise KeyError
    asyncio.run(asyncio.wait_for(gate.go_through(), 1))


def test_a_fault_strikes_until_it_is_mended():
    """It raises what it was given, and nothing once it is mended or its block has ended."""
    fault = Fault(KeyError("a"))
    with fault:
        for _ in range(2):
            with pytest.raises(KeyError, match="a"):
                fault.strike()
    fault.strike()


def test_an_error_that_cannot_be_copied_is_raised_itself():
    """Which changes it, but that is what its author wanted."""

    class Odd(Exception):
        def __init__(self, a, b):
            super().__init__(f"{a} {b}")

    error = Odd(1, 2)
    with pytest.raises(Odd) as caught:
        Fault(error).strike()
    assert caught.value is error
