"""Periodic refreshes: the ticker that another one may stand in for, and knowing that loads began.

What jobs do is tested in `test_manager`, in the way that users see it.
"""

import pytest


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
