"""Four workers, or two, over one real Redis: one load in all, whatever becomes of who loads."""

import os
import signal
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from .fleets import LIMIT, Fleet, Line, Outcome, gthread, outcome, uvicorn, versions
from .harness import Answer, Kind, wait_until
from .redises import Redis

WORKERS = 4
CROWD = 400
COMPUTE = 1.0  # seconds that a slow load takes
LEASE = 1.5
LATE = 0.5  # seconds after which Redis counts as out of reach: on a busy machine, not at once
SLACK = 0.75  # seconds that a busy machine may add
PROPAGATION = 1.0
FRESH = 1.0  # seconds before a stale page is stale
STALE_FOR = 6.0
INTERVAL = 2.0

GTHREAD = gthread(WORKERS)
PRELOAD = gthread(WORKERS, "--preload")
UVICORN = uvicorn(1)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    with Redis(tmp_path / "redis") as redis:
        yield redis


@pytest.fixture
def fleet(redis: Redis, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(GTHREAD, tmp_path / "fleet", redis.url, lease=LEASE, store_timeout=LATE) as fleet:
        yield fleet


@contextmanager
def crowd(path: str, *fleets: Fleet, count: int = CROWD) -> Iterator[list[Future[Outcome]]]:
    """So many requests at the same time, numbered from 0, at one server after the other."""
    with ThreadPoolExecutor(count) as pool:
        yield [
            pool.submit(outcome, fleets[number % len(fleets)], path, number)
            for number in range(count)
        ]


def answers_of(outcomes: list[Outcome]) -> list[Answer]:
    """The answers, which all of them must be."""
    assert {type(one) for one in outcomes} == {Answer}, outcomes
    return [one for one in outcomes if isinstance(one, Answer)]


@pytest.mark.parametrize(
    ("kind", "way"),
    [(GTHREAD, "inside"), (GTHREAD, "public"), (PRELOAD, "inside")],
    ids=["gthread-inside", "gthread-public", "preload-inside"],
)
def test_a_crowd_costs_one_load_in_all(kind: Kind, way: str, redis: Redis, tmp_path: Path) -> None:
    """Four hundred cold requests at once cost one load in all workers, and get its answer."""
    path = f"/{way}/slow/cold"
    with Fleet(kind, tmp_path / "fleet", redis.url, lease=LEASE, store_timeout=LATE) as fleet:
        with crowd(path, fleet) as asked:
            answers = answers_of([one.result(LIMIT) for one in asked])
        assert len({one.pid for one in fleet.told("asked")}) == WORKERS
        all_have_the_same(answers)
        assert len(fleet.loads(path)) == 1
        assert "WARNING" not in fleet.aswr_log
        assert "ERROR" not in fleet.aswr_log


@pytest.mark.parametrize("way", ["inside", "public"])
def test_a_crowd_at_two_asgi_servers_costs_one_load(way: str, redis: Redis, tmp_path: Path) -> None:
    """A crowd that comes to two processes of uvicorn costs one load, and gets its answer."""
    path = f"/{way}/slow/cold"
    with (
        Fleet(UVICORN, tmp_path / "one", redis.url, lease=LEASE, store_timeout=LATE) as one,
        Fleet(UVICORN, tmp_path / "two", redis.url, lease=LEASE, store_timeout=LATE) as two,
    ):
        with crowd(path, one, two) as asked:
            answers = answers_of([one.result(LIMIT) for one in asked])
        all_have_the_same(answers)
        assert len(one.loads(path)) + len(two.loads(path)) == 1


def all_have_the_same(answers: list[Answer]) -> None:
    """One body, and many have waited for it; who comes late finds it stored."""
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    waited = [answer for answer in answers if answer.seconds > COMPUTE / 2]
    assert len(waited) > CROWD / 10, "they came too late to be a crowd"


def test_uvicorn_workers_are_one_fleet(redis: Redis, tmp_path: Path) -> None:
    """What one worker of ``uvicorn --workers 2`` has loaded, the other answers without a load."""
    with Fleet(uvicorn(2), tmp_path / "fleet", redis.url, lease=LEASE, store_timeout=LATE) as fleet:
        lines = fleet.lines(2)
        answers = [line.get("/public/slow/shared") for line in lines]
        all_pids = {line.pid for line in lines}
        assert len(all_pids) == 2
        assert len(versions(answers)) == 1
        assert len(fleet.loads("/public/slow/shared")) == 1


def test_the_next_takes_over_when_the_leader_is_killed(fleet: Fleet) -> None:
    """A leader that is killed costs one more load, within the lease; only his clients lose."""
    path = "/inside/slow/killed"
    fleet.lines(WORKERS)
    with crowd(path, fleet, count=CROWD // 2) as asked:
        (first,) = fleet.await_told("begin", path, 1)
        wait_until(lambda: len(fleet.told("asked")) > CROWD / 4, LIMIT, lambda: "no crowd")
        os.kill(first.pid, signal.SIGKILL)
        killed = time.monotonic()
        outcomes = [one.result(LIMIT) for one in asked]
    at = {int(one.name): one.pid for one in fleet.told("asked")}
    answers = [one for one in outcomes if isinstance(one, Answer)]
    lost = [number for number, one in enumerate(outcomes) if not isinstance(one, Answer)]
    assert {answer.status for answer in answers} == {200}
    assert {at.get(number, first.pid) for number in lost} <= {first.pid}
    assert len(answers) > CROWD / 4
    _, second = fleet.loads(path)
    assert second.pid != first.pid
    assert {one.pid for one in fleet.told("end", path)} == {second.pid}
    assert second.at - killed < LEASE + SLACK
    assert len(versions(answers)) == 1


@pytest.mark.parametrize(
    ("lease", "compute"), [(1.5, 1.0), (0.5, 0.4)], ids=["beyond-a-heartbeat", "briefly"]
)
def test_a_leader_that_was_paused_changes_nothing(
    lease: float, compute: float, redis: Redis, tmp_path: Path
) -> None:
    """A leader paused past his lease costs one load more, and what he brings late is not kept."""
    path = "/inside/slow/paused"
    with Fleet(
        GTHREAD, tmp_path / "fleet", redis.url, lease=lease, compute=compute, store_timeout=LATE
    ) as fleet:
        lines = fleet.lines(WORKERS)
        with (
            ThreadPoolExecutor(WORKERS) as elsewhere,
            crowd(path, fleet, count=20 * WORKERS) as asked,
        ):
            (first,) = fleet.await_told("begin", path, 1)
            os.kill(first.pid, signal.SIGSTOP)
            # He may have taken the whole crowd; at each of the others, too, somebody waits.
            asked += [elsewhere.submit(line.get, path) for line in lines if line.pid != first.pid]
            try:
                _, second = fleet.await_told("begin", path, 2)
                fleet.await_told("end", path, 1)
            finally:
                os.kill(first.pid, signal.SIGCONT)
            fleet.await_told("end", path, 2)
            answers = answers_of([one.result(LIMIT) for one in asked])
        assert {answer.status for answer in answers} == {200}
        assert second.pid != first.pid
        seen: dict[int, list[float]] = {line.pid: [] for line in lines}

        def all_are_the_newest() -> bool:
            for line in lines:
                seen[line.pid].append(line.get(path).json["began"])
            return {each[-1] for each in seen.values()} == {max(map(max, seen.values()))}

        wait_until(all_are_the_newest, PROPAGATION, lambda: f"{first.pid} paused, {seen}")
        assert all(each == sorted(each) for each in seen.values()), seen
        assert seen[second.pid][-1] >= second.at
        assert len(fleet.loads(path)) == 2


@pytest.mark.parametrize("way", ["inside", "public"])
def test_a_stale_entry_is_renewed_once_for_all_while_nobody_waits(fleet: Fleet, way: str) -> None:
    """Under traffic a staleness costs one load in all workers, and nobody waits for it."""
    path = f"/{way}/stale/page"
    lines = fleet.lines(WORKERS, each=2)
    for line in lines:
        assert line.get(path).status == 200
    until = time.monotonic() + STALE_FOR

    def visit(line: Line) -> list[Answer]:
        answers = []
        while time.monotonic() < until:
            answers.append(line.get(path))
            time.sleep(0.01)
        return answers

    with ThreadPoolExecutor(len(lines)) as pool:
        answers = [answer for each in pool.map(visit, lines) for answer in each]
    begun = fleet.loads(path)
    ended = fleet.await_told("end", path, len(begun))
    # Each load began when the one before was over, and what it brought no longer fresh.
    pauses = [late.at - early.at for early, late in zip(ended, begun[1:], strict=False)]
    assert len(pauses) >= 2
    assert min(pauses) > FRESH - 0.05, (begun, ended)
    assert {answer.status for answer in answers} == {200}
    assert all("; hit" in answer.cache_status for answer in answers)
    assert statistics.median(answer.seconds for answer in answers) < 0.1
    assert sum(answer.seconds > COMPUTE / 2 for answer in answers) < len(answers) / 100
    assert len(versions(answers)) >= 3


@contextmanager
def ticking(redis: Redis, folder: Path, job: float) -> Iterator[Fleet]:
    """A fleet whose job takes so long, after the first load of it."""
    env = {"lease": LEASE, "store_timeout": LATE, "interval": INTERVAL, "job": job}
    with Fleet(GTHREAD, folder, redis.url, **env) as fleet:
        fleet.await_told("end", "/periodic", 1)
        yield fleet


def test_a_job_runs_once_per_tick_in_the_fleet(redis: Redis, tmp_path: Path) -> None:
    """Four workers with a periodic refresh load once at each tick, all of them together."""
    with ticking(redis, tmp_path / "fleet", job=0.1) as fleet:
        fleet.lines(WORKERS)
        first = fleet.loads("/periodic")[-1].at
        wait_until(
            lambda: time.monotonic() > first + 4.5 * INTERVAL, 6 * INTERVAL, lambda: "no time"
        )
        begun = [one.at for one in fleet.loads("/periodic") if one.at > first]
    gaps = [late - early for early, late in zip([first, *begun], begun, strict=False)]
    assert 3 <= len(begun) <= 5, gaps
    assert min(gaps) > INTERVAL / 2, gaps


@pytest.mark.parametrize(("job", "at"), [(0.1, "end"), (0.7, "begin")], ids=["idle", "loading"])
def test_another_runs_the_job_when_its_worker_is_killed(
    job: float, at: str, redis: Redis, tmp_path: Path
) -> None:
    """When the worker that ran a job is killed, another runs it, within an interval."""
    with ticking(redis, tmp_path / "fleet", job) as fleet:
        fleet.lines(WORKERS)
        before = len(fleet.told(at, "/periodic"))
        last = fleet.await_told(at, "/periodic", before + 1)[-1]
        os.kill(last.pid, signal.SIGKILL)
        killed, known = time.monotonic(), len(fleet.loads("/periodic"))
        following = fleet.await_told("begin", "/periodic", known + 1)[known]
    assert following.pid != last.pid
    assert following.at - killed < INTERVAL + SLACK


@pytest.mark.parametrize("way", ["inside", "public"])
def test_a_purge_by_one_worker_is_seen_by_all(fleet: Fleet, way: str) -> None:
    """After a purge its worker serves nothing older, and the others do not, a moment later."""
    path = f"/{way}/quick/purged"
    lines = fleet.lines(WORKERS)
    seconds = []
    for number in range(12):
        for line in lines:
            assert line.get(path).status == 200
        purging, *others = lines[number % WORKERS :] + lines[: number % WORKERS]
        said = purging.post(f"/purge{path}")
        assert said["told"]
        if number % 2:  # else what it loads would be news to the others
            assert purging.get(path).json["began"] > said["since"]

        def seen(line: Line, said: dict[str, float] = said) -> float:
            while line.get(path).json["began"] < said["since"]:
                assert time.monotonic() < said["at"] + PROPAGATION, "never seen"
            return time.monotonic() - said["at"]

        with ThreadPoolExecutor(len(others)) as pool:
            seconds += pool.map(seen, others)
        assert purging.get(path).json["began"] > said["since"]
    assert statistics.median(seconds) < 0.1
