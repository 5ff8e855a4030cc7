"""The checker of histories: on histories made by hand it finds what is broken, and nothing else.

A `Story` is a fleet of two processes that were in touch with their store from second 0 to 100; a
test adds what happened. Each broken rule is shown beside a history that only just keeps it.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from .servers.history import (
    Alive,
    Begin,
    Bounds,
    Checker,
    End,
    Event,
    Fault,
    Purged,
    Reach,
    Read,
    Recorder,
    Refreshed,
    Stall,
    read_history,
)

KEY = "a0"  # it lasts for a minute
BRIEF = "b0"  # it lasts for two seconds
P, Q = "0.0", "1.0"
BOUNDS = Bounds()
KNOWN = BOUNDS.propagation + BOUNDS.slack  # seconds in which a purge is known in touch


class Story:
    """A history in the making."""

    def __init__(self, refuse: bool = False) -> None:
        self.bounds = replace(BOUNDS, refuse=refuse)
        self.events: list[Event] = []
        for process in (P, Q):
            self.lives(process)
        self._loads = 0

    def lives(self, process: str, begin: float = 0.0, end: float = 100.0) -> None:
        self.add(Alive(process, begin), Reach(process, begin, True), Alive(process, end, True))

    def add(self, *events: Event) -> None:
        self.events += events

    def load(
        self, process: str, at: float, version: int, key: str = KEY, seconds: float = 0.1
    ) -> str:
        """A load, and its name."""
        self._loads += 1
        name = f"load-{self._loads}"
        self.add(Begin(process, at, key, version, name), End(process, at + seconds, name))
        return name

    def read(
        self, process: str, at: float, version: int, load: str, key: str = KEY, took: float = 0.001
    ) -> None:
        self.add(Read(process, at, at + took, key, version, load))

    def purge(
        self, process: str, at: float, version: int, *, took: float = 0.01, told: bool = True,
        soft: bool = False,
    ) -> None:  # fmt: skip
        self.add(Purged(process, at, at + took, "change", {KEY: version}, soft, told))

    def down(self, process: str, begin: float, end: float) -> None:
        """The process was cut off, and noticed at once."""
        self.add(Fault(process[0], begin, end, "refuse", cuts=True))
        self.add(Reach(process, begin, False), Reach(process, end, True))

    def broken(self) -> list[str]:
        """The rules that the history breaks."""
        return [one.rule for one in Checker(self.events, self.bounds).violations()]


@pytest.fixture
def story() -> Story:
    return Story()


def test_a_good_history_is_good(story: Story) -> None:
    """Loads, hits, purges and what is loaded after them break no rule, and are all looked at."""
    old = story.load(P, 1.0, 0)
    story.read(P, 1.0, 0, old, took=0.12)
    story.read(Q, 2.0, 0, old)
    story.read(Q, 2.5, 0, old)
    story.purge(P, 3.0, 1)
    new = story.load(P, 3.2, 1)
    story.read(P, 3.2, 1, new, took=0.12)
    story.read(Q, 3.1, 0, old)
    story.read(Q, 5.0, 1, new)
    checker = Checker(story.events, story.bounds)
    assert not checker.violations()
    rules = {"answers", "hits", "deadlines", "loads", "own purges", "purges elsewhere", "order"}
    assert rules <= set(checker.checked)


class TestPurges:
    @pytest.mark.parametrize(("process", "told"), [(P, True), (P, False), (Q, True)])
    def test_what_is_purged_is_not_served(self, story: Story, process: str, told: bool) -> None:
        """Older data after a purge is found: at once where it was made, soon elsewhere."""
        old = story.load(P, 1.0, 0)
        story.purge(P, 3.0, 1, told=told)
        story.read(process, 3.02 if process == P else 3.02 + KNOWN, 0, old)
        assert "nothing purged is served" in story.broken()

    def test_another_process_has_a_while(self, story: Story) -> None:
        """Elsewhere older data may be served until the purge must have got there."""
        old = story.load(P, 1.0, 0)
        story.purge(P, 3.0, 1)
        story.read(Q, 3.0 + KNOWN, 0, old)
        assert not story.broken()

    def test_what_began_before_may_be_old(self, story: Story) -> None:
        """A read that began before the purge had returned may get either."""
        old = story.load(P, 2.9, 0)
        story.purge(P, 3.0, 1, took=0.2)
        story.read(P, 3.1, 0, old)
        assert not story.broken()

    def test_who_is_cut_off_need_not_know(self, story: Story) -> None:
        """Older data is let off where a process was cut off, and found after its return."""
        old = story.load(P, 1.0, 0)
        story.down(Q, 2.0, 20.0)
        story.purge(P, 3.0, 1)
        story.read(Q, 15.0, 0, old)
        story.read(Q, 20.5, 0, old)
        assert not story.broken()
        story.read(Q, 20.1 + KNOWN, 0, old)
        assert "nothing purged is served" in story.broken()

    def test_what_was_not_told_is_told_later(self, story: Story) -> None:
        """A purge of one who was cut off counts elsewhere when he is back for long enough."""
        old = story.load(Q, 1.0, 0)
        story.down(P, 2.0, 20.0)
        story.purge(P, 10.0, 1, told=False)
        story.read(Q, 19.9 + KNOWN, 0, old)
        assert not story.broken()
        story.read(Q, 20.1 + KNOWN, 0, old)
        assert "nothing purged is served" in story.broken()

    def test_what_was_not_told_dies_with_its_process(self, story: Story) -> None:
        """A purge of one who never comes back is lost for the others."""
        story.lives("2.0", end=11.0)
        old = story.load(Q, 1.0, 0)
        story.add(Fault("2", 2.0, 30.0, "refuse", cuts=True), Reach("2.0", 2.0, False))
        story.purge("2.0", 10.0, 1, told=False)
        story.read(Q, 60.0, 0, old)
        assert not story.broken()

    def test_a_store_that_forgets_is_told_again(self, story: Story) -> None:
        """What a store lost is known again once somebody who knows it was in touch with it."""
        old = story.load(Q, 1.0, 0)
        story.down(Q, 2.0, 30.0)
        story.purge(P, 3.0, 1)
        story.add(Fault("", 10.0, 12.0, "empty", cuts=True, loses=True))
        story.add(Reach(P, 10.0, False), Reach(P, 12.0, True))
        story.read(Q, 29.0, 0, old)
        assert not story.broken()
        story.read(Q, 30.1 + KNOWN, 0, old)
        assert "nothing purged is served" in story.broken()

    def test_a_store_that_forgets_what_nobody_else_knows(self, story: Story) -> None:
        """What a store lost, and its maker, too, nobody need know."""
        story.lives("2.0", end=9.0)
        old = story.load(Q, 1.0, 0)
        story.down(Q, 2.0, 30.0)
        story.down(P, 2.0, 30.0)
        story.purge("2.0", 3.0, 1)
        story.add(Fault("", 10.0, 12.0, "empty", cuts=True, loses=True))
        story.read(Q, 50.0, 0, old)
        assert not story.broken()

    def test_a_soft_purge_is_served_once_more(self, story: Story) -> None:
        """After a soft purge old data is served until a read's refresh must have landed."""
        old = story.load(P, 1.0, 0)
        story.purge(P, 3.0, 1, soft=True)
        story.read(P, 10.0, 0, old)
        story.read(P, 10.5, 0, old)
        assert not story.broken()
        story.read(P, 13.0, 0, old)
        assert "a soft purge is a refresh" in story.broken()

    def test_who_notices_a_partition_refuses(self) -> None:
        """Where partitions are refused, what was loaded before one is not served in it."""
        story = Story(refuse=True)
        old = story.load(Q, 1.0, 0)
        story.down(Q, 2.0, 20.0)
        story.purge(P, 3.0, 1)
        story.read(Q, 10.0, 0, old)
        assert story.broken() == ["a process that is cut off refuses"]

    def test_a_load_under_way_is_no_refusal(self) -> None:
        """Where partitions are refused, a load under way in one may be older than a purge."""
        story = Story(refuse=True)
        story.down(Q, 2.0, 20.0)
        for begin in (1.95, 2.99):
            load = story.load(Q, begin, 0)
            story.purge(P, begin + 0.01, 1, took=0.001)
            story.read(Q, begin + 0.06, 0, load, took=0.05)
        assert not story.broken()

    def test_a_purge_tells_the_truth(self, story: Story) -> None:
        """A purge says False while nobody answers, and True while all is well."""
        story.down(P, 10.0, 20.0)
        story.purge(P, 15.0, 1, told=False)
        story.purge(P, 30.0, 2)
        assert not story.broken()
        story.purge(P, 16.0, 3)
        story.purge(P, 31.0, 4, told=False)
        assert sorted(story.broken()) == ["a purge is not told", "a purge is told"]

    def test_a_purge_that_was_late_opens_the_breaker(self, story: Story) -> None:
        """A purge may say False where its process notices right then that it is cut off."""
        story.purge(P, 30.0, 1, took=0.25, told=False)
        story.add(Reach(P, 30.26, False), Reach(P, 30.6, True))
        assert not story.broken()

    def test_a_refresh_of_one_who_is_cut_off_is_anothers(self, story: Story) -> None:
        """After a soft purge old data may be served for a lease longer where somebody was lost."""
        old = story.load(P, 1.0, 0)
        story.down(Q, 9.0, 9.5)
        story.purge(P, 3.0, 1, soft=True)
        story.read(P, 10.0, 0, old)
        story.read(P, 13.0, 0, old)
        assert not story.broken()
        story.read(P, 15.0, 0, old)
        assert "a soft purge is a refresh" in story.broken()

    def test_a_load_under_way_is_refused_after_its_end(self) -> None:
        """Where partitions are refused, what a purge outlived counts, not what came before."""
        story = Story(refuse=True)
        story.purge(P, 1.0, 1)
        old = story.load(Q, 1.5, 1)
        story.down(Q, 2.0, 20.0)
        story.purge(P, 12.0, 2)
        story.read(Q, 10.0, 1, old)
        assert not story.broken()


class TestOrder:
    def test_versions_do_not_go_back(self, story: Story) -> None:
        """An older answer after a newer one is found, in one process."""
        old, new = story.load(P, 1.0, 0), story.load(Q, 5.0, 1)
        story.read(P, 6.0, 1, new)
        story.read(Q, 6.5, 0, old)
        assert not story.broken()
        story.read(P, 7.0, 0, old)
        assert story.broken() == ["versions never go back"]

    def test_what_is_gone_does_not_come_first(self, story: Story) -> None:
        """An older answer is let off once the newer one's deadline has passed."""
        new, old = story.load(P, 5.0, 1, BRIEF), story.load(Q, 1.0, 0, BRIEF, seconds=7.0)
        story.add(Fault("1", 1.05, 7.9, "stop", stops=True))
        story.read(P, 5.5, 1, new, BRIEF)
        story.read(P, 8.1, 0, old, BRIEF)
        assert not story.broken()

    def test_who_is_stopped_between_number_and_version(self, story: Story) -> None:
        """A process that was stopped as its load began has an early number and a late version."""
        old, new = story.load(Q, 5.0, 0), story.load(P, 8.0, 1)
        story.add(Fault("0", 4.9, 7.9, "stop", stops=True))
        story.read(P, 8.2, 1, new)
        story.read(P, 8.3, 0, old)
        assert "versions never go back" not in story.broken()

    def test_numbers_are_drawn_before_versions(self, story: Story) -> None:
        """Two loads that began almost at once may have drawn their numbers the other way round."""
        story.down(P, 4.0, 4.2)
        old, new = story.load(Q, 5.0, 0), story.load(P, 5.1, 1)
        story.read(P, 6.0, 1, new)
        story.read(P, 7.0, 0, old)
        assert "versions never go back" not in story.broken()


class TestLoads:
    def test_one_load_per_process(self, story: Story) -> None:
        """Two loads of a key at once in a process are found, even where it is cut off."""
        story.down(P, 0.5, 20.0)
        story.load(P, 1.0, 0)
        story.load(P, 1.05, 0)
        assert story.broken() == ["one load per key and process"]

    def test_one_load_per_fleet(self, story: Story) -> None:
        """Two loads of a key at once in two processes are found."""
        story.load(P, 1.0, 0)
        story.load(Q, 1.05, 0)
        assert story.broken() == ["one load per key and fleet"]

    @pytest.mark.parametrize("process", [P, Q])
    def test_who_is_cut_off_loads_for_himself(self, story: Story, process: str) -> None:
        """Two loads of a key at once are let off where one of the two had no lease."""
        story.down(process, 0.5, 20.0)
        story.load(P, 1.0, 0)
        story.load(Q, 1.05, 0)
        assert not story.broken()

    def test_a_stopped_leader_is_replaced(self, story: Story) -> None:
        """A load of a process that was stopped may be overtaken."""
        story.load(P, 1.0, 0, seconds=6.0)
        story.add(Fault("0", 1.05, 6.5, "stop", stops=True))
        story.load(Q, 3.5, 0)
        assert not story.broken()

    def test_as_many_loads_as_needed(self, story: Story) -> None:
        """Loads that nothing made necessary are found; purges and refreshes do."""
        for second in range(10, 20):
            story.load(P, second, 0)
        assert story.broken() == ["loads per key and window"]
        for second in range(10, 20, 2):
            story.purge(P, second, 0)
            story.add(Refreshed(P, second, second + 0.1, KEY))
        assert not story.broken()


class TestTime:
    def test_hits_do_not_wait(self, story: Story) -> None:
        """What a process has answered with before it answers with at once."""
        load = story.load(P, 1.0, 0)
        story.read(P, 2.0, 0, load, took=0.5)  # it came from the store
        story.read(P, 3.0, 0, load)
        assert not story.broken()
        story.read(P, 4.0, 0, load, took=0.5)
        assert story.broken() == ["hits never wait"]

    def test_a_stall_of_the_machine_is_no_wait(self, story: Story) -> None:
        """What the machine did not let a process do does not count."""
        load = story.load(P, 1.0, 0)
        story.read(P, 2.0, 0, load)
        story.read(P, 4.0, 0, load, took=0.5)
        story.add(Stall(P, 4.05, 4.45))
        assert not story.broken()

    def test_nothing_is_served_for_ever(self, story: Story) -> None:
        """An answer past its deadline is found, and one before it is not."""
        load = story.load(P, 1.0, 0, BRIEF)
        story.read(P, 2.9, 0, load, BRIEF)
        assert not story.broken()
        story.read(P, 4.0, 0, load, BRIEF)
        assert story.broken() == ["nothing is served past its deadline"]

    def test_nobody_waits_for_long(self, story: Story) -> None:
        """A read that takes longer than loads and one store timeout is found."""
        load = story.load(P, 1.2, 0)
        story.read(P, 1.0, 0, load, took=1.0)
        assert not story.broken()
        load = story.load(P, 5.0, 0, seconds=3.0)
        story.read(P, 5.0, 0, load, took=3.1)
        assert story.broken() == ["no read waits"]

    def test_who_was_just_purged_loads_again(self, story: Story) -> None:
        """A read may wait for one more load for a purge that is only now heard of."""
        story.purge(P, 4.5, 1)
        load = story.load(P, 5.2, 1)
        story.read(P, 5.0, 1, load, took=1.3)
        assert not story.broken()

    def test_a_lost_lease_takes_its_time(self, story: Story) -> None:
        """A read may wait for the lease of one who was cut off to expire."""
        story.down(Q, 4.0, 4.5)
        load = story.load(P, 7.0, 0)
        story.read(P, 5.0, 0, load, took=2.5)
        assert not story.broken()

    def test_an_outage_costs_nothing(self, story: Story) -> None:
        """Who has noticed that the store is gone does not wait for it before a load."""
        story.down(P, 4.0, 10.0)
        load = story.load(P, 5.1, 0)
        story.read(P, 5.0, 0, load, took=0.21)
        assert not story.broken()
        load = story.load(P, 6.25, 0)
        story.read(P, 6.0, 0, load, took=0.36)
        assert story.broken() == ["an outage costs nothing"]

    def test_a_purge_does_not_wait(self, story: Story) -> None:
        """A purge that takes longer than the store's timeout is found."""
        story.down(P, 4.0, 10.0)
        story.purge(P, 5.0, 1, took=1.0, told=False)
        assert story.broken() == ["no purge waits"]

    def test_a_cut_is_noticed(self, story: Story) -> None:
        """A process that does not notice that it is cut off is found."""
        story.add(Fault("0", 10.0, 20.0, "hang", cuts=True))
        assert story.broken() == ["a cut is noticed"]

    def test_the_end_of_a_cut_is_noticed(self, story: Story) -> None:
        """A process that stays away from a store that is there is found."""
        story.add(Fault("0", 10.0, 20.0, "hang", cuts=True))
        story.add(Reach(P, 11.0, False), Reach(P, 30.0, True))
        assert story.broken() == ["the end of a cut is noticed"]


@pytest.mark.parametrize(
    ("event", "rule"),
    [
        (Read(P, 1.0, 1.1, KEY, error="503 SERVICE UNAVAILABLE"), "every read succeeds"),
        (Read(P, 1.0, 1.1, KEY, 7, "made-up"), "every answer was loaded"),
        (Purged(P, 1.0, 1.1, "all", {KEY: 1}, error="RuntimeError()"), "every purge succeeds"),
        (Refreshed(P, 1.0, 1.1, KEY, error="WaitTimeout()"), "every refresh succeeds"),
    ],
)
def test_errors_are_found(story: Story, event: Event, rule: str) -> None:
    """What failed, or was answered by nobody, is found."""
    story.add(event)
    assert story.broken() == [rule]


def test_a_violation_names_its_proof(story: Story) -> None:
    """The text of a violation has the events that prove it."""
    story.load(P, 1.0, 0)
    story.load(Q, 1.05, 0)
    (found,) = Checker(story.events, story.bounds).violations()
    assert "load-1" in str(found)
    assert "load-2" in str(found)


def test_events_are_read_as_they_were_noted(tmp_path: Path) -> None:
    """Every kind of event comes back from its file; a line that was cut off is none."""
    events: list[Event] = [
        Read(P, 1.0, 1.1, KEY, 3, "load", "aswr; hit", "no"), Begin(P, 1.0, KEY, 3, "load"),
        End(P, 1.1, "load"), Purged(P, 1.0, 1.1, "all", {KEY: 3}, True, False, "no"),
        Refreshed(P, 1.0, 1.1, KEY), Reach(P, 1.0, True), Stall(P, 1.0, 1.1), Alive(P, 1.0),
        Fault("", 1.0, 1.1, "empty", cuts=True, loses=True),
    ]  # fmt: skip
    recorder = Recorder(tmp_path, P)
    for event in events:
        recorder.note(event)
    recorder.close()
    path: Path = next(tmp_path.glob("*.events"))
    with path.open("a") as file:
        file.write(json.dumps({"what": "read", "process": P})[:-1])
    assert read_history(tmp_path) == events
