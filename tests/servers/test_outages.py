"""Redis fails under load: no request fails or waits for it, and afterwards the newest holds.

One fleet of two gunicorn workers and two of uvicorn, behind a proxy. Visitors at the WSGI door, at
the ASGI door and in the app ask on while Redis is away, for pages of which there are hits, stale
hits and misses all the time.
"""

import re
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from .fleets import Fleet, Line, gthread, uvicorn, versions
from .harness import Answer, free_port, wait_until
from .proxy import Proxy
from .redises import LOOPBACK, Redis

SHORT = 0.1  # seconds that a load takes
STORE_TIMEOUT = 0.25
PROPAGATION = 1.0
LEASE = 5.0
SLACK = 0.75  # seconds that a busy machine may add
BOUND = SHORT + STORE_TIMEOUT + SLACK
PACE = 0.03  # seconds between the requests of a visitor
BEFORE, DURING, AFTER = 1.5, 3.5, 1.2  # seconds of traffic
RECOVERY = 8.0  # seconds in which all must have noticed that Redis answers again
WORKERS = 2  # of each server
PAIR = ["fails", "answers again"]


@dataclass
class Place:
    """Redis, and the way to it."""

    redis: Redis
    proxy: Proxy


@dataclass(frozen=True)
class Fault:
    """What happens to Redis, and how it ends."""

    name: str
    begin: Callable[[Place], None]
    end: Callable[[Place], None]

    def __str__(self) -> str:
        return self.name


def _restart(empty: bool) -> Callable[[Place], None]:
    return lambda at: at.redis.start(empty=empty)


def _save_and_kill(at: Place) -> None:
    at.redis.client().save()
    at.redis.kill()


def _fill(at: Place) -> None:
    client = at.redis.client()
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1kb")


def _follow(at: Place) -> None:
    at.redis.client().replicaof(LOOPBACK, free_port())


def _pass(at: Place) -> None:
    at.proxy.passing()


FAULTS = [
    Fault("killed", lambda at: at.redis.kill(), _restart(empty=True)),
    Fault("killed-with-data", _save_and_kill, _restart(empty=False)),
    Fault("paused", lambda at: at.redis.pause(), lambda at: at.redis.resume()),
    Fault("cut", lambda at: at.proxy.cut(), _pass),
    Fault("hanging", lambda at: at.proxy.hang(), _pass),
    Fault("delayed", lambda at: at.proxy.delay(2 * STORE_TIMEOUT), _pass),
    Fault("trickling", lambda at: at.proxy.trickle(20), _pass),
    Fault("garbage", lambda at: at.proxy.garbage(7), _pass),
    Fault("replies-dropped", lambda at: at.proxy.drop_replies(), _pass),
    Fault("out-of-memory", _fill, lambda at: at.redis.client().config_set("maxmemory", "0")),
    Fault("read-only", _follow, lambda at: at.redis.client().replicaof("NO", "ONE")),
]


@dataclass(frozen=True)
class Visit:
    """One request: who asked for what, when, and what he got."""

    way: str
    pid: int
    path: str
    began: float
    answer: Answer

    def __str__(self) -> str:
        answer = self.answer
        return (
            f"{self.way} {self.path} at {self.began:.2f}: {answer.status} "
            f"in {answer.seconds:.3f} s, {answer.cache_status}"
        )


class Traffic:
    """Visitors, one for each kept connection, who ask for page after page until it ends."""

    def __init__(self, lines: dict[str, list[Line]]) -> None:
        self.visits: list[Visit] = []
        self._errors: list[Exception] = []
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._visit, args=(way, line, number), daemon=True)
            for way, each in lines.items()
            for number, line in enumerate(each)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "a visitor waits for ever"
        assert not self._errors, self._errors

    def _visit(self, way: str, line: Line, number: int) -> None:
        pages = [f"/{way}/{page}" for page in ("often/a", "brief/a", "often/b", "brief/b")]
        try:
            while not self._over.wait(PACE):
                number += 1
                path = pages[number % len(pages)]
                began = time.monotonic()
                self.visits.append(Visit(way, line.pid, path, began, line.get(path)))
        except Exception as error:  # a connection that was broken, say: no worker may do that
            self._errors.append(error)


def lasts(seconds: float) -> None:
    """Let the traffic go on for so long."""
    time.sleep(seconds)


@dataclass
class Town:
    """The two servers of the fleet, and connections to their workers, to each."""

    place: Place
    servers: list[Fleet]
    lines: list[Line]  # one to each worker, for the test's own questions
    traffic: dict[str, list[Line]]

    @property
    def pids(self) -> set[int]:
        return {line.pid for line in self.lines}

    def changes(self) -> dict[int, list[str]]:
        """What each process has said of the store's state: in order, "fails" or "answers again"."""
        said: dict[int, list[str]] = defaultdict(list)
        for server in self.servers:
            found = re.finditer(
                r"^(\d+) WARNING aswr\.store .* (fails|answers again)", server.aswr_log, re.M
            )
            for match in found:
                said[int(match[1])].append(match[2])
        return said

    def await_state(self, state: str, limit: float) -> None:
        """Wait until that is what every worker has said last."""

        def said_by_all() -> bool:
            said = self.changes()
            return said.keys() == self.pids and {each[-1] for each in said.values()} == {state}

        wait_until(said_by_all, limit, lambda: f"{dict(self.changes())}\n{self.log}")

    @property
    def log(self) -> str:
        return "\n".join(server.aswr_log for server in self.servers)

    def loads(self, path: str) -> int:
        return sum(len(server.loads(path)) for server in self.servers)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with Redis(tmp_path / "redis") as redis, Proxy(LOOPBACK, redis.port) as proxy:
        yield Place(redis, proxy)


@pytest.fixture
def town(place: Place, tmp_path: Path) -> Iterator[Town]:
    url = f"redis://{LOOPBACK}:{place.proxy.port}/0"
    with (
        Fleet(gthread(WORKERS), tmp_path / "wsgi", url, short=SHORT, lease=LEASE) as wsgi,
        Fleet(uvicorn(WORKERS), tmp_path / "asgi", url, short=SHORT, lease=LEASE) as asgi,
    ):
        yield Town(
            place,
            [wsgi, asgi],
            wsgi.lines(WORKERS) + asgi.lines(WORKERS),
            {
                "public": wsgi.lines(WORKERS, each=2) + asgi.lines(WORKERS, each=2),
                "inside": wsgi.lines(WORKERS) + asgi.lines(WORKERS),
            },
        )


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_an_outage_costs_no_request(fault: Fault, town: Town) -> None:
    """While Redis is away nobody gets an error or waits for it, and after it the newest holds."""
    purged, renewed, shared = "/public/long/purged", "/public/long/renewed", "/public/long/shared"
    anew, loaded = "/public/long/anew", "/public/long/loaded"
    for path in (purged, renewed, anew):
        assert len(versions(line.get(path) for line in town.lines)) == 1
    with Traffic(town.traffic) as traffic:
        lasts(BEFORE)
        began = time.monotonic()
        fault.begin(town.place)
        town.await_state("fails", 3.0)
        noticed = time.monotonic()
        purge = town.lines[0].post(f"/purge{purged}")
        assert not purge["told"]
        # What it loads itself would be news to the others: so that is another page.
        again = town.lines[0].post(f"/purge{anew}")
        assert town.lines[0].get(anew).json["began"] > again["since"]
        town.lines[0].get(loaded)
        # First a worker of the one server, then one of the other.
        town.lines[1].post(f"/refresh{renewed}")
        newest = town.lines[-1].post(f"/refresh{renewed}")
        lasts(max(0.0, began + DURING - time.monotonic()))
        assert set(map(tuple, town.changes().values())) == {("fails",)}, town.log
        ended = time.monotonic()
        fault.end(town.place)
        town.await_state("answers again", RECOVERY)
        healed = time.monotonic()
        lasts(AFTER)
    check_requests(traffic.visits, noticed, ended)
    check_versions(traffic.visits)

    # What was purged is purged everywhere.
    lasts(max(0.0, healed + PROPAGATION - time.monotonic()))
    assert min(versions(line.get(purged) for line in town.lines)) > purge["since"]
    assert min(versions(line.get(anew) for line in town.lines)) > again["since"]

    # Of what two had loaded, all have the newer.
    def all_have_the_newest() -> bool:
        found = versions(line.get(renewed) for line in town.lines)
        return len(found) == 1 and min(found) > newest["since"]

    wait_until(all_have_the_newest, PROPAGATION, lambda: "not the newest")

    # What one has loaded meanwhile the others need not load.
    assert len(versions(line.get(loaded) for line in reversed(town.lines))) == 1
    assert town.loads(loaded) == 1

    # They share again, and said each change of state once.
    assert len(versions(line.get(shared) for line in town.lines)) == 1
    assert town.loads(shared) == 1
    for said in town.changes().values():
        # On a busy machine a healthy Redis may once be late, too.
        assert said in (PAIR, PAIR * 2), town.log
    assert "ERROR" not in town.log


def check_requests(visits: list[Visit], noticed: float, ended: float) -> None:
    """No error, nobody who waited too long, and of those who came later nobody for Redis."""
    assert not [str(visit) for visit in visits if visit.answer.status != 200]
    assert not [str(visit) for visit in visits if visit.answer.seconds > BOUND]
    during = [visit for visit in visits if noticed < visit.began < ended - BOUND]
    for way in ("public", "inside"):
        kinds = {kind(visit.answer) for visit in during if visit.way == way}
        assert kinds == {"hit", "stale", "miss"}
    waited = [visit.answer.seconds for visit in during if kind(visit.answer) == "miss"]
    assert statistics.median(waited) < SHORT + STORE_TIMEOUT / 2
    slow = [visit for visit in during if visit.answer.seconds > SHORT + STORE_TIMEOUT]
    assert len(slow) < len(during) / 100, [str(visit) for visit in slow]


def kind(answer: Answer) -> str:
    status = answer.cache_status
    if "; hit" not in status:
        return "miss"
    return "stale" if "ttl=-" in status else "hit"


def check_versions(visits: list[Visit]) -> None:
    """No worker gives what was loaded before that which it had given already."""
    of: dict[tuple[int, str], list[Visit]] = defaultdict(list)
    for visit in visits:
        of[visit.pid, visit.path].append(visit)
    for same in of.values():
        for visit in same:
            earlier = [one for one in same if one.began + one.answer.seconds < visit.began]
            newest = max(versions(one.answer for one in earlier), default=0.0)
            # Loads that overlap have no order that can be told from here.
            assert visit.answer.json["ended"] > newest, (str(visit), newest)
