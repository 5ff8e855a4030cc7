"""Periodic refreshes: the ticker that another one may stand in for, and what came of each tick.

What jobs do is tested in `test_manager`, in the way that users see it.
"""

from collections import Counter

import pytest
from flask import request

from aswr.jobs import _said

from .conftest import Background


class Ticks:
    """Stands in for the ticker."""

    def __init__(self) -> None:
        self.jobs = {}
        self.stopped = False

    def add(self, name, interval, tick, aligned=False):
        self.jobs[name] = interval, tick

    def next_run(self, name):
        return 7.0 if name in self.jobs else None

    def remove(self, name):
        del self.jobs[name]

    def stop(self):
        self.stopped = True


@pytest.fixture
def ticks(manager):
    ticks = Ticks()
    manager._jobs.make_ticker = lambda: ticks
    return ticks


def test_another_ticker_can_stand_in(app, manager, ticks):
    """It gets the jobs, tells when they are due, and is stopped with the manager."""
    app.add_url_rule("/x", view_func=manager.cacher(timeout=20)(lambda: "x"))
    manager.schedule_periodic_refresh("/x", 10)
    manager.start()
    assert [interval for interval, _ in ticks.jobs.values()] == [10]
    assert manager.jobs()[0].next_run == 7.0
    assert manager.peek("/x") is None
    manager.close()
    assert ticks.stopped


def test_loads_of_a_tick_have_begun(app, manager, ticks, gate):
    """`begun` ends when what was due has begun its loads, however long those take."""
    view = manager.cacher(timeout=20)(lambda: gate.hold() or "x")
    app.add_url_rule("/x", view_func=view)
    manager.schedule_periodic_refresh("/x", 10)
    manager.start()
    ((_, tick),) = ticks.jobs.values()

    async def run():
        tick()
        await manager._jobs.begun()
        return manager.jobs()[0].loads

    assert manager.loop().call(run, "test", "", 5) == 1
    gate.await_arrival()
    gate.open()
    assert manager.join(5)
    assert manager.loop().call(manager._jobs.begun, "test", "", 5) is None


def came(manager):
    """Of the only job: how many loads it began, and what came of each time that it was due."""
    (job,) = manager.jobs()
    return job.loads, [what for _, what in job.history]


def test_a_load_that_another_process_saw_to_is_none(app, manager, ticks, clock):
    """What is known only when its flight has asked the others is told then: they had loaded."""
    app.add_url_rule("/x", view_func=manager.cacher(timeout=20)(lambda: "x"))
    manager.schedule_periodic_refresh("/x", 10)
    told = []
    manager.subscribe(told.append, "job", "load_started")
    engine = manager.site_of(app).engine
    answer = manager.loop().loop.create_future()

    async def consult(flight):
        elsewhere = await answer
        if elsewhere:
            engine._settle(flight, None)
        return elsewhere

    engine._consult = consult
    manager.start()
    ((_, tick),) = ticks.jobs.values()
    due = clock()

    async def run():
        tick()
        await manager._jobs.begun()

    manager.loop().call(run, "test", "", 5)
    assert came(manager) == (0, []), "nobody knows yet"
    clock.tick(3)
    manager.loop().post(answer.set_result, True)
    assert manager.join(5)
    assert came(manager) == (0, ["left 1 load to other processes"])
    assert manager.jobs()[0].history[0][0] == due
    assert [(event.kind, event.reason) for event in told] == [
        ("job", "/x: left 1 load to other processes")
    ]


def test_a_load_that_is_queued_counts_when_it_begins(app, manager, ticks, gate):
    """Where there is no room, a job's load is one when it begins, or none if a visitor's did."""
    held = manager.cacher(timeout=20)(lambda: gate.hold() or "x")
    app.add_url_rule("/held", "held", held)
    app.add_url_rule("/x", "x", manager.cacher(timeout=20)(lambda: "x"))
    app.add_url_rule("/y", "y", manager.cacher(timeout=20)(lambda: "y"))
    for path in ("/held", "/x", "/y"):
        manager.schedule_periodic_refresh(path, 10)
    engine = manager.site_of(app).engine
    engine._max_loads = 1
    manager.start()

    async def run():
        for _, tick in list(ticks.jobs.values()):
            tick()
            await manager._jobs.begun()

    manager.loop().call(run, "test", "", 5)
    gate.await_arrival()
    assert {job.path: job.loads for job in manager.jobs()} == {"/held": 1, "/x": 0, "/y": 0}
    app.test_client().get("/x")
    gate.open()
    assert manager.join(5)
    assert {job.path: [what for _, what in job.history] for job in manager.jobs()} == {
        "/held": ["began 1 load"], "/x": ["no need"], "/y": ["began 1 load"],
    }  # fmt: skip
    assert [job.loads for job in manager.jobs()] == [1, 0, 1]


def test_a_path_and_its_variants_are_told_at_once(app, manager, ticks):
    """What came of a job is told when all of its loads have come to something, and once."""
    view = manager.cacher(timeout=20)(lambda: request.headers.get("X-One", "none"))
    app.add_url_rule("/x", view_func=view)
    manager.schedule_periodic_refresh("/x", 10)
    manager.start()
    for one in ("a", "b"):
        for _ in range(2):
            app.test_client().get("/x", headers={"X-One": one})
    assert manager.join(5)
    told = []
    manager.subscribe(told.append, "job")
    ((_, tick),) = ticks.jobs.values()

    async def run():
        tick()
        await manager._jobs.begun()

    manager.loop().call(run, "test", "", 5)
    assert manager.join(5)
    assert [event.reason for event in told] == ["/x: began 3 loads"]
    assert came(manager) == (3, ["began 3 loads"])


def test_a_load_that_is_under_way_already(app, manager, ticks, gate):
    """Where a visitor waits for the same load there was no need of the job's, and that is told."""
    app.add_url_rule("/x", view_func=manager.cacher(timeout=20)(lambda: gate.hold() or "x"))
    manager.schedule_periodic_refresh("/x", 10)
    manager.start()
    visitor = Background(lambda: app.test_client().get("/x"))
    gate.await_arrival()
    ((_, tick),) = ticks.jobs.values()

    async def run():
        tick()
        await manager._jobs.begun()

    manager.loop().call(run, "test", "", 5)
    assert came(manager) == (0, ["no need"])
    gate.open()
    assert visitor.result().text == "x"
    assert manager.join(5)


def test_what_comes_of_several_loads_is_one_line():
    """A path and its variants are one time that a job was due."""
    assert _said(Counter(here=2, elsewhere=1)) == "began 2 loads, left 1 load to other processes"
    assert _said(Counter(here=1, needless=1)) == "began 1 load"
    assert _said(Counter(elsewhere=2)) == "left 2 loads to other processes"
    assert _said(Counter(needless=2)) == "no need"
