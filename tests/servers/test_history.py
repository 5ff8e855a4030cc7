"""Fleets under faults: what their processes did and saw is held against what aswr promises.

Three processes load, read, purge and refresh at random while their connections, Redis and they
themselves are tormented; `history` says what is noted and which rules it must obey. All that is
random comes from a seed, which a failure names: ``ASWR_HISTORY_SEED=...`` runs that schedule alone,
``ASWR_HISTORY_RUNS=n`` runs so many more, ``ASWR_HISTORY_KEEP=folder`` keeps the files of one.
"""

import contextlib
import heapq
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from .harness import HERE, environment
from .history import Bounds, Checker, Fault, Recorder, Task, now, read_history
from .proxy import Proxy
from .redises import LOOPBACK, Redis

WORKERS = 3
SECONDS = float(os.environ.get("ASWR_HISTORY_SECONDS", "8"))
CALM = 3.0  # seconds at the end without faults: what was missed must be made good
STOP_LIMIT = 45.0
SEEDS = ["1", "2", "3"]
MORE = int(os.environ.get("ASWR_HISTORY_RUNS", "0"))


def runs() -> list[tuple[str, str]]:
    """Seeds, each with what is to be done about partitions."""
    if only := os.environ.get("ASWR_HISTORY_SEED"):
        seed, _, partition = only.partition("/")
        return [(seed, partition)] if partition else [(seed, "serve"), (seed, "refuse")]
    seeds = [*SEEDS, *(secrets.token_hex(4) for _ in range(MORE))]
    return [(seed, partition) for seed in seeds for partition in ("serve", "refuse")]


class Fleet:
    """Redis, a proxy before it for each worker, and the workers, in a folder."""

    def __init__(self, folder: Path, seed: str, partition: str) -> None:
        self._folder = folder
        self._seed = seed
        self._partition = partition
        self._generations: Counter[int] = Counter()
        self.notes = Recorder(folder, "faults")
        self.redis = Redis(folder / "redis")
        self.proxies: list[Proxy] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        self.killed: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Fleet":
        (self._folder / "database").mkdir()
        with contextlib.ExitStack() as stack:
            stack.callback(self.notes.close)
            stack.enter_context(self.redis)
            self.proxies = [
                stack.enter_context(Proxy(LOOPBACK, self.redis.port)) for _ in range(WORKERS)
            ]
            stack.callback(self._end)
            self.until = now() + 1.0 + SECONDS
            for number in range(WORKERS):
                self.workers.append(self._start(number))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.__exit__(None, None, None)

    def _start(self, number: int) -> "subprocess.Popen[bytes]":
        name = f"{number}.{self._generations[number]}"
        self._generations[number] += 1
        url = f"redis://{LOOPBACK}:{self.proxies[number].port}/0"
        seed = f"{self._seed}/{name}"
        task = Task(name, seed, url, self._partition, str(self._folder), self.until)
        with (self._folder / f"{name}.output").open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "history_worker.py", json.dumps(asdict(task)),
                 str(self._folder / f"{name}.log")],
                cwd=HERE, env=environment(self._folder), stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def replace(self, number: int) -> None:
        """Kill a worker, and start another in its place."""
        self.workers[number].kill()
        self.workers[number].wait()
        self.workers[number] = self._start(number)

    def wait(self) -> None:
        """Wait until all workers have ended, as they do by themselves; fail if one does not."""
        for number, worker in enumerate(self.workers):
            code = worker.wait(max(0.0, self.until - now()) + STOP_LIMIT)
            assert code == 0, f"worker {number} ended with {code}\n{self.output}"
        assert "Traceback" not in self.output, self.output

    @property
    def output(self) -> str:
        return "".join(
            f"{path.name}: {text}"
            for path in sorted(self._folder.glob("*.output"))
            if (text := path.read_text(errors="replace"))
        )

    def _end(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()


@dataclass(order=True)
class Torment:
    """What is done at a time, and how it is undone later."""

    at: float
    until: float
    name: str
    worker: int | None = None
    amount: float = 0.0

    @property
    def lane(self) -> str:
        """Of what are under way at once, no two have the same."""
        if self.name in ("stop", "replace"):
            return f"process {self.worker}"
        return "redis" if self.worker is None else f"way {self.worker}"

    @property
    def fault(self) -> Fault:
        """As it is noted, but for the times."""
        hard = ("cut", "refuse", "hang", "drop", "empty", "rewind", "restart", "pause")
        return Fault(
            "" if self.worker is None else str(self.worker), 0.0, 0.0,
            f"{self.name} {self.amount:.3g}" if self.amount else self.name,
            cuts=self.name in hard and self.name != "rewind",
            loses=self.name in ("empty", "rewind", "restart"),
            hurts=self.name not in ("forget scripts", "kill news", "late", "replace"),
            stops=self.name == "stop",
        )  # fmt: skip


WAYS = ("cut", "refuse", "hang", "drop", "delay", "late", "trickle")
STORE = ("empty", "rewind", "restart", "pause", "forget scripts", "kill news")
PROCESS = ("stop", "replace")


def schedule(seed: str) -> list[Torment]:
    """What happens when, in seconds since the beginning; the seed alone decides."""
    dice = random.Random(seed)
    free: dict[str, float] = {}
    found: list[Torment] = []
    at = dice.uniform(0.5, 1.5)
    while at < SECONDS - CALM:
        kinds = dice.choices((WAYS, STORE, PROCESS), (5, 3, 2))[0]
        name = dice.choice(kinds)
        worker = None if kinds is STORE else dice.randrange(WORKERS)
        lasts = dice.choice((dice.uniform(0.05, 0.5), dice.uniform(0.5, 3.0)))
        amount = {
            "delay": dice.uniform(0.05, 0.3), "late": dice.uniform(0.005, 0.02),
            "trickle": dice.choice((500.0, 2_000.0, 10_000.0)),
        }.get(name, 0.0)  # fmt: skip
        one = Torment(at, min(at + lasts, SECONDS - CALM), name, worker, amount)
        also = Torment(
            max(0.0, at - 0.8), min(one.until + 0.5, SECONDS - CALM),
            dice.choice(("refuse", "hang")), dice.randrange(WORKERS),
        )  # fmt: skip
        for torment in (one, also) if one.fault.loses else (one,):  # who has not heard it all
            if free.get(torment.lane, 0.0) <= torment.at:
                found.append(torment)
                free[torment.lane] = torment.until + 0.05
        at += dice.uniform(0.1, 1.2)
    return sorted(found)


@dataclass
class Tormentor:
    """Does to a fleet what is scheduled, and notes when it began and when it was over."""

    fleet: Fleet
    _under_way: list[tuple[float, int, Torment, float]] = field(default_factory=list)

    def run(self, torments: list[Torment]) -> None:
        start = now()
        for number, one in enumerate(torments):
            self._lift(start + one.at)
            _sleep_until(start + one.at)
            begin = now()
            self._begin(one)
            heapq.heappush(self._under_way, (start + one.until, number, one, begin))
        self._lift(float("inf"))

    def _lift(self, until: float) -> None:
        while self._under_way and self._under_way[0][0] <= until:
            due, _, one, begin = heapq.heappop(self._under_way)
            _sleep_until(due)
            self._undo(one)
            note = asdict(one.fault) | {"begin": begin, "end": now()}
            self.fleet.notes.note(Fault(**note))

    def _begin(self, one: Torment) -> None:
        fleet, redis = self.fleet, self.fleet.redis
        if one.worker is not None and one.name not in PROCESS:
            proxy = fleet.proxies[one.worker]
            begin: dict[str, Callable[[], None]] = {
                "cut": proxy.cut, "refuse": proxy.refuse, "hang": proxy.hang,
                "drop": proxy.drop_replies, "delay": lambda: proxy.delay(one.amount),
                "late": lambda: proxy.delay(one.amount),
                "trickle": lambda: proxy.trickle(one.amount),
            }  # fmt: skip
            begin[one.name]()
        elif one.name == "stop":
            fleet.workers[one.worker or 0].send_signal(signal.SIGSTOP)
        elif one.name == "replace":
            fleet.replace(one.worker or 0)
        elif one.name == "pause":
            redis.pause()
        elif one.name == "forget scripts":
            redis.client().script_flush()
        elif one.name == "kill news":
            redis.client().client_kill_filter(_type="pubsub")
        elif one.name == "rewind":
            redis.client().save()
        elif one.name == "restart":
            redis.client().save()
            redis.kill()
        else:
            redis.kill()

    def _undo(self, one: Torment) -> None:
        fleet, redis = self.fleet, self.fleet.redis
        if one.worker is not None and one.name not in PROCESS:
            fleet.proxies[one.worker].passing()
        elif one.name == "stop":
            fleet.workers[one.worker or 0].send_signal(signal.SIGCONT)
        elif one.name == "pause":
            redis.resume()
        elif one.name == "rewind":
            redis.kill()
            redis.start(empty=False)
        elif one.name in ("restart", "empty"):
            redis.start(empty=one.name == "empty")


def _sleep_until(at: float) -> None:
    time.sleep(max(0.0, at - now()))


@contextlib.contextmanager
def kept(folder: Path) -> Iterator[None]:
    """Keep the files where the environment asks for it."""
    try:
        yield
    finally:
        if where := os.environ.get("ASWR_HISTORY_KEEP"):
            shutil.rmtree(where, ignore_errors=True)
            shutil.copytree(folder, where, ignore=shutil.ignore_patterns("*.sock"))


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("seed", "partition"), runs())
def test_what_a_fleet_promises_holds_under_faults(
    tmp_path: Path, seed: str, partition: str
) -> None:
    """Whatever happens to Redis, connections and processes, no read or purge breaks a rule."""
    torments = schedule(seed)
    with kept(tmp_path):
        with Fleet(tmp_path, seed, partition) as fleet:
            _sleep_until(fleet.until - SECONDS)
            Tormentor(fleet).run(torments)
            fleet.wait()
        checker = Checker(read_history(tmp_path), Bounds(refuse=partition == "refuse"))
        violations = checker.violations()
    print(f"ASWR_HISTORY_SEED={seed}/{partition}", dict(checker.checked))
    assert not violations, (
        f"{len(violations)} violations; again: ASWR_HISTORY_SEED={seed}/{partition}\n"
        + "\n".join(str(torment) for torment in torments)
        + "\n".join(f"\n{one}" for one in violations[:10])
    )
    rules = ["answers", "hits", "deadlines", "loads", "own purges"]
    for rule in rules + ["purges elsewhere"] * (seed in SEEDS):
        assert checker.checked[rule], f"nothing was checked: {dict(checker.checked)}"
