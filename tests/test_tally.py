"""The counters: what they count, their sums, and that none is lost."""

import contextlib
import dis
import functools
import itertools
import logging
import threading
from collections import Counter as Counts
from typing import Any

import pytest
from flask import Flask, request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aswr import CacheManager, tally
from aswr.desk import desk_of
from aswr.lookup import hit, stand_in
from aswr.tally import BOUNDS, MOST_REASONS, Tallies, Tally

from .conftest import Clock, Gate

MEASURED = ("load_seconds", "seconds_waited")  # by the machine's clock, not the test's


def test_sums_are_of_all_views() -> None:
    """What is counted in all is the sum of what is counted by view."""
    tallies = Tallies()
    for index, view in enumerate(("a", "b", "c"), 1):
        one = tallies[view]
        one.fresh_hits, one.stale_hits, one.misses, one.loads = index, 2 * index, 3, 4
        one.saved = 0.5 * index
        one.note_pass("method")
        one.note_pass(f"reads cookie {view}")
        one.note_wait(2.0)
    total = tallies.total()
    assert (total["hits"], total["stale_hits"], total["misses"], total["loads"]) == (18, 12, 9, 12)
    assert (total["seconds_saved"], total["waits"], total["seconds_waited"]) == (3.0, 3, 6.0)
    assert total["passes"] == 6
    assert total["passes_by_reason"] == {
        "method": 3, "reads cookie a": 1, "reads cookie b": 1, "reads cookie c": 1,
    }  # fmt: skip
    assert tallies["a"].counts()["passes_by_reason"] == {"method": 1, "reads cookie a": 1}


def test_nothing_is_counted_yet() -> None:
    """The sums of no views have the same names as those of some."""
    assert set(Tallies().total()) == set(Tally("x").counts())


def test_reasons_are_bounded() -> None:
    """Reasons beyond so many count as others, and no pass is lost."""
    one = Tally("x")
    for index in range(3 * MOST_REASONS):
        one.note_pass(f"reads header {index}")
        one.note_pass("reads header 0")
    assert len(one.reasons) == MOST_REASONS + 1
    assert one.reasons["reads header 0"] == 3 * MOST_REASONS + 1
    assert sum(one.reasons.values()) == one.passes == 6 * MOST_REASONS


@pytest.mark.parametrize(
    ("seconds", "index"),
    [(0.0, 0), (0.01, 0), (0.011, 1), (60.0, len(BOUNDS) - 1), (61.0, len(BOUNDS))],
)
def test_classes(seconds: float, index: int) -> None:
    """A load time counts in the first class whose bound it does not exceed."""
    one = Tally("x")
    one.note_load(seconds)
    assert one.classes[index] == sum(one.classes) == 1
    assert len(one.classes) == len(BOUNDS) + 1
    assert one.load_seconds == seconds


def test_a_view_has_one_tally() -> None:
    """Threads that ask for a new view's counters at the same time get the same ones."""
    for _ in range(20):
        tallies, barrier = Tallies(), threading.Barrier(8)
        found: list[Tally] = []

        def ask(tallies: Tallies, barrier: threading.Barrier, found: list[Tally]) -> None:
            barrier.wait(10)
            found.append(tallies["x"])

        each = (tallies, barrier, found)
        threads = [threading.Thread(target=ask, args=each) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(one) for one in found}) == 1


def test_reading_while_others_count() -> None:
    """The sums may be asked for while views and reasons come up."""
    tallies, done = Tallies(), threading.Event()

    def count() -> None:
        for index in itertools.count():
            if done.is_set():
                return
            tallies[f"view {index % 5000}"].note_pass(f"reason {index % 7}")

    thread = threading.Thread(target=count)
    thread.start()
    try:
        for _ in range(300):
            total = tallies.total()
            assert total["passes"] >= 0
    finally:
        done.set()
        thread.join()


def increments_with_calls(function: Any) -> list[str]:
    """The attributes that a function counts up with a call, or a jump back, in between."""
    bad, loaded = [], {}
    for at, step in enumerate(dis.get_instructions(function)):
        if step.opname == "LOAD_ATTR":
            loaded[step.argval] = at
        elif step.opname == "STORE_ATTR" and step.argval in loaded:
            between = list(dis.get_instructions(function))[loaded[step.argval] : at]
            if any(s.opname.startswith(("CALL", "JUMP_BACKWARD", "PRECALL")) for s in between):
                bad.append(step.argval)
    return bad


@pytest.mark.parametrize(
    "function", [Tally.note_wait, Tally.note_load, hit, stand_in], ids=lambda f: f.__name__
)
def test_no_increment_is_interrupted(function: Any) -> None:
    """Between reading a counter and writing it there is nothing at which threads are switched."""
    assert increments_with_calls(function) == []


def test_the_check_of_increments_can_fail() -> None:
    """It finds the call on the right side of an increment."""

    def counts(one: Any) -> None:
        one.waited += len("x")

    assert increments_with_calls(counts) == ["waited"]


def test_none_is_lost() -> None:
    """What many threads count at once is all there."""
    one = Tally("x")

    def count() -> None:
        for _ in range(20_000):
            one.fresh_hits += 1
            one.note_wait(1.0)
            one.note_pass("method")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (one.fresh_hits, one.waits, one.waited, one.passes) == (80_000,) * 4


def test_closing_loses_nothing(app: Flask, clock: Clock, gate: Gate) -> None:
    """Counters never go down, not even where the loop is held and its flights are given up."""
    manager = CacheManager(app, clock=clock, drain_timeout=0)

    @app.get("/")
    @manager.cacher(timeout=60)
    def home() -> str:
        return "x"

    @app.get("/held")
    @manager.cacher(timeout=60)
    async def held() -> str:
        gate.hold()
        return "x"

    client = app.test_client()
    for _ in range(3):
        client.get("/")
    view = manager.site_of(app).engine.tallies["x"]
    thread = threading.Thread(target=lambda: client.get("/held"))
    thread.start()
    gate.await_arrival()
    manager.close(timeout=0)  # the loop is held by the view
    thread.join()
    with app.app_context():
        assert manager.stats()["hits"] == 2
    assert manager.site_of(app).engine.tallies["x"] is view
    gate.open()


VIEWS = ("/def", "/async", "/public", "/public-async")
REQUESTS = st.one_of(
    st.tuples(st.just("get"), st.sampled_from(VIEWS), st.sampled_from(["", "who=me"])),
    st.tuples(st.just("post"), st.sampled_from(VIEWS), st.just("")),
    st.tuples(st.just("call"), st.sampled_from(["tea", "milk"]), st.just("")),
    st.tuples(st.just("tick"), st.sampled_from([1, 20, 31, 70, 1000]), st.just("")),
    st.tuples(st.just("fail"), st.booleans(), st.just("")),
    st.tuples(st.just("purge"), st.sampled_from([*VIEWS, ""]), st.just("")),
    st.tuples(st.just("why"), st.sampled_from(VIEWS), st.just("")),
)


class Walk:
    """A shop, what its answers said of themselves, and what is to be counted by that."""

    def __init__(self) -> None:
        self.clock, self.failing = Clock(), False
        self.app = Flask("shop")
        self.manager = CacheManager(self.app, clock=self.clock)
        self.costs = itertools.count(1)
        self.said: Counts[str] = Counts()
        self.told: Counts[str] = Counts()
        self.saved = 0.0
        self.define()
        self.manager.subscribe(lambda event: self.told.update([event.kind]))

    def define(self) -> None:
        manager, options = self.manager, {"timeout": 60, "refresh_margin": 30, "stale_if_error": 99}

        def load() -> str:
            self.clock.tick(next(self.costs))
            if self.failing:
                raise RuntimeError("no database")
            return str(request.cookies.get("who"))

        async def aload() -> str:
            return load()

        for path, view in zip(VIEWS, (load, aload, load, aload), strict=True):
            cached = manager.cacher(**options, public="public" in path)(_named(view, path))
            self.app.add_url_rule(path, path, cached, methods=["GET", "POST"])

        @manager.memoize(**options)
        def price(article: str) -> int:
            self.clock.tick(next(self.costs))
            if self.failing:
                raise RuntimeError("no database")
            return 5

        self.price = price

    def ask(self, what: str, where: Any, cookie: str) -> None:
        if what == "tick":
            self.clock.tick(where)
        elif what == "fail":
            self.failing = where
        elif what == "purge":
            self.manager.invalidate(where) if where else self.manager.clear()
        elif what == "why":
            desk_of(self.manager, self.app).why(where)
        elif what == "call":
            self.call(where)
        else:
            self.request(what, where, {"Cookie": cookie} if cookie else {})
        assert self.manager.join(10)

    def call(self, article: str) -> None:
        """A call's entry says what a hit is worth; whether it was one is told by the events."""
        told: list[Any] = []
        end = self.manager.subscribe(told.append, "hit", "stale", "miss")
        with self.app.app_context():
            before = self.price.peek(article)
            with contextlib.suppress(RuntimeError):
                self.price.sync(article)
        end()
        kinds = Counts(event.kind for event in told)
        assert kinds["miss"] + kinds["hit"] <= 1
        self.said["misses"] += kinds["miss"]
        self.said["stale"] += kinds["stale"]
        if kinds["hit"] or kinds["stale"]:
            self.said["hits"] += 1
            assert before is not None
            self.saved += before.cost

    def request(self, method: str, path: str, headers: dict[str, str]) -> None:
        entry, passes = self.manager.peek(path), self.told["pass"]
        client = self.app.test_client(use_cookies=False)
        response = client.open(path, method=method.upper(), headers=headers)
        said = response.headers.get("Cache-Status", "")
        if "; hit" in said:
            self.said["hits"] += 1
            assert entry is not None
            self.saved += entry.cost
            if "; ttl=-" in said or "; detail=" in said:
                self.said["stale"] += 1
        elif "fwd=method" in said or "fwd=bypass" in said:
            self.said["passes"] += 1
        elif not said:  # an error of the view's, which says nothing of where it was run
            self.said["passes" if self.told["pass"] > passes else "misses"] += 1
        else:
            self.said["misses"] += 1


def _named(view: Any, path: str) -> Any:
    @functools.wraps(view)
    def sync() -> str:
        return view()  # type: ignore[no-any-return]

    async def coroutine() -> str:
        return await view()  # type: ignore[no-any-return]

    named = coroutine if "async" in path else sync
    named.__qualname__ = f"view{path.replace('/', '_')}"
    return named


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(REQUESTS, min_size=5, max_size=40))
def test_a_walk(steps: list[tuple[str, Any, str]]) -> None:
    """Whatever is asked, what is counted is what the answers said, in all and by view."""
    walk = Walk()
    logging.getLogger("aswr").setLevel(logging.CRITICAL)
    try:
        for step in steps:
            walk.ask(*step)
        with walk.app.app_context():
            stats, views = walk.manager.stats(), walk.manager.view_stats()
        assert stats["hits"] == walk.said["hits"]
        assert stats["stale_hits"] == walk.said["stale"]
        assert stats["misses"] == walk.said["misses"]  # each request counts as one thing
        assert stats["passes"] == walk.said["passes"]
        told = [walk.told[kind] for kind in ("hit", "stale", "miss", "pass", "load_started")]
        assert stats["hits"] - stats["stale_hits"] == told[0]
        assert [stats[n] for n in ("stale_hits", "misses", "passes", "loads")] == told[1:]
        assert walk.told["load_started"] == walk.told["load_finished"] + walk.told["load_failed"]
        assert stats["load_failures"] == walk.told["load_failed"]
        assert stats["seconds_saved"] == walk.saved
        for name in Tally("").counts():
            parts = [counts[name] for counts in views.values()]
            if name == "passes_by_reason":
                assert stats[name] == dict(sum(map(Counts, parts), Counts()))
            elif name in MEASURED:
                assert stats[name] == pytest.approx(sum(parts))
            else:
                assert stats[name] == sum(parts)
        assert sum(stats["passes_by_reason"].values()) == stats["passes"]
        tallies = walk.manager.site_of(walk.app).engine.tallies.values()
        assert sum(sum(one.classes) for one in tallies) == stats["loads"]
    finally:
        logging.getLogger("aswr").setLevel(logging.NOTSET)
        walk.manager.close(timeout=0.5)


def test_the_lock_is_renewed_in_a_child() -> None:
    """In a forked child no thread holds the lock that one of the parent's held."""
    old = tally._lock
    tally._forget()
    assert tally._lock is not old
    assert not tally._lock.locked()
