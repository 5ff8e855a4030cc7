"""Workers of one fleet over one Redis: loads, hits, results, and what Redis has of them."""

import asyncio
import contextlib
import datetime
import enum
import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import aiocache
import msgspec
import pytest
import redis
from flask import Response, request
from redis.asyncio import Redis as AsyncRedis

from aswr import LoadCycle
from aswr.admin import blueprint
from aswr.cli.source import Source
from aswr.cli.top import Top
from aswr.desk import ONE_VARIANT, Desk, desk_of
from aswr.events import Cause, Event
from aswr.fleet import Fleet
from aswr.here import process
from aswr.tier import SILENT, Lease

from ..conftest import Gate
from .harness import wait_until
from .proxy import Proxy
from .redises import LOOPBACK, Redis
from .workers import LIMIT, SILENCE, Worker, Workers, at_once, entries_of, keys_of

LOAD = 0.4  # seconds that a slow load takes
HOUR = 3600.0
DAY = 24 * 3600
STORE_TIMEOUT = 0.25  # seconds, the default


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def client(server: Redis) -> redis.Redis:
    client = server.client()
    client.flushall()
    return client


@pytest.fixture
def proxy(server: Redis) -> Iterator[Proxy]:
    with Proxy(LOOPBACK, server.port) as proxy:
        yield proxy


def url_of(proxy: Proxy) -> str:
    return f"redis://{LOOPBACK}:{proxy.port}/0"


def reads_of(client: redis.Redis) -> int:
    """How often the server has read from a client, this question included."""
    return int(client.info("stats")["total_reads_processed"])


class TestLoads:
    @pytest.mark.parametrize("page", ["slow", "tongue", "large"])
    def test_who_comes_later_loads_nothing(
        self, server: Redis, client: redis.Redis, page: str
    ) -> None:
        """What one worker has loaded is everybody's."""
        with Workers(server.url, server.url) as workers:
            one, other = workers
            body = one.get(f"/{page}/x", Accept_Language="de")
            one.settle()
            assert other.get(f"/{page}/x", Accept_Language="de") == body
            assert workers.loads == ["x"]

    def test_a_hit_in_redis_is_one_round_trip(self, server: Redis, client: redis.Redis) -> None:
        """What Redis has and memory has not costs one command, in one read of the server's."""
        with Workers(server.url, server.url) as workers:
            one, other = workers
            workers.warm("/page/first")
            commands, reads = [], []
            for index in range(10):
                one.get(f"/page/{index}")
                one.settle()
                before, read = other.stats["store_commands"], reads_of(client)
                assert other.get(f"/page/{index}") == f"{index} 1"
                reads.append(reads_of(client) - read - 1)  # the beats' come now and then
                commands.append(other.stats["store_commands"] - before)
            assert min(reads) == min(commands) == 1
            assert len(workers.loads) == 12

    def test_a_variant_in_redis_is_one_round_trip(self, server: Redis, client: redis.Redis) -> None:
        """A variant costs no more, once it is known what its URL reads."""
        with Workers(server.url, server.url) as workers:
            one, other = workers
            workers.warm("/tongue/x")
            reads = []
            for index in range(10):
                one.get("/tongue/x", Accept_Language=f"de-{index}")
                one.settle()
                read, loads = reads_of(client), len(workers.loads)
                other.get("/tongue/x", Accept_Language=f"de-{index}")
                reads.append(reads_of(client) - read - 1)
                assert len(workers.loads) == loads
            assert min(reads) == 1

    def test_a_hit_in_memory_costs_nothing(self, server: Redis, client: redis.Redis) -> None:
        """What is fresh in memory is served without a command."""
        with Workers(server.url, server.url) as workers:
            one, _ = workers
            workers.warm("/page/x")
            costs = []
            for _ in range(5):
                before = one.stats["store_commands"]
                for _ in range(20):
                    assert one.get("/page/x") == "x 1"
                costs.append(one.stats["store_commands"] - before)
            assert min(costs) <= 1  # a beat

    def test_one_load_for_all(self, server: Redis, client: redis.Redis) -> None:
        """Of three workers with twenty requests each for what is nowhere, one loads."""
        with Workers(server.url, server.url, server.url) as workers:
            bodies = at_once([lambda w=w: w.get("/slow/x") for w in workers] * 20)
            assert bodies == ["x 1"] * 60
            workers.settle()
            assert workers.loads == ["x"]

    def test_one_load_for_each_variant(self, server: Redis, client: redis.Redis) -> None:
        """Requests that differ in what is read end with one load for each that differs."""
        with Workers(server.url, server.url, server.url) as workers:
            tongues = ("de", "fr", "it")
            bodies = at_once(
                [
                    lambda w=w, t=t: (t, w.get("/tongue/x", Accept_Language=t))
                    for w in workers
                    for t in tongues
                ]
                * 5
            )
            assert all(body.startswith(tongue) for tongue, body in bodies)
            workers.settle()
            again = [w.get("/tongue/x", Accept_Language=t) for t in tongues for w in workers]
            assert len(set(again)) == 3

    def test_one_refresh_for_all(self, server: Redis, client: redis.Redis) -> None:
        """Of three workers that find the same page stale, one loads."""
        clock = Shifted()
        with Workers(server.url, server.url, server.url, clock=clock) as workers:
            workers.warm("/slow/x")
            clock.ahead = 35.0
            time.sleep(0.6)  # a beat tells each how far its clock is from the server's
            client.delete(*entries_of(client, workers.name))
            for worker in workers:
                assert worker.get("/slow/x") == "x 1"
            for worker in workers:
                worker.wait_for("/slow/x", lambda body: body == "x 2")
            workers.settle()
            assert workers.loads.count("x") == 2

    @pytest.mark.parametrize(("page", "own"), [("early", LOAD), ("late", LOAD + 0.3)])
    def test_the_leader_reads_something_personal(
        self, server: Redis, client: redis.Redis, page: str, own: float
    ) -> None:
        """Who carries what a load in another worker has read waits for it no longer."""
        with Workers(server.url, server.url) as workers:
            one, other = workers
            workers.warm("/page/x")
            took = {}

            def ask(worker: Worker, late: float, **headers: str) -> str:
                time.sleep(late)
                began = time.monotonic()
                body = worker.get(f"/corner/{page}", **headers)
                took[worker] = time.monotonic() - began
                return body

            bodies = at_once([lambda: ask(one, 0), lambda: ask(other, 0.1, Cookie="who=me")])
            assert [body.split()[0] for body in bodies] == ["nobody", "me"]
            until_read = 0.2 if page == "late" else 0.0
            assert took[other] < until_read + own + 0.2, "it waited for the other's load, too"

    def test_what_is_not_stored_is_not_queued_for(self, server: Redis, client: redis.Redis) -> None:
        """Workers with an answer that is not stored do not load it one after the other."""
        with Workers(*[server.url] * 6) as workers:
            workers.warm("/page/x")
            began = time.monotonic()
            at_once([lambda w=w: w.get("/unstored/x") for w in workers])
            assert time.monotonic() - began < 4 * LOAD

    def test_failures_are_not_queued_for(self, server: Redis, client: redis.Redis) -> None:
        """Workers whose loads fail do not fail one after the other."""
        with Workers(*[server.url] * 6) as workers:
            workers.warm("/page/x")
            began = time.monotonic()
            answers = at_once([lambda w=w: w.ask("/failing/x") for w in workers])
            assert {answer.status_code for answer in answers} == {503}
            assert time.monotonic() - began < 4 * LOAD

    def test_what_passes_is_not_queued_for(self, server: Redis, client: redis.Redis) -> None:
        """Workers with a page that nobody can share run it side by side, all of them."""

        def define(worker: Worker) -> None:
            @worker.app.get("/whence/<name>")
            @worker.manager.cacher(timeout=60)
            async def whence(name: str) -> str:
                where = request.remote_addr
                await asyncio.sleep(LOAD)
                return f"{where} {worker.count(name)}"

        with Workers(*[server.url] * 6, define=define) as workers:
            workers.warm("/page/x")
            began = time.monotonic()
            bodies = at_once([lambda w=w: w.get("/whence/x") for w in workers])
            assert {body.split()[0] for body in bodies} == {LOOPBACK}
            assert time.monotonic() - began < 4 * LOAD

    def test_a_leader_that_closes_makes_way(self, server: Redis, client: redis.Redis) -> None:
        """When who loads is closed the next one takes over, long before the lease has ended."""
        with Workers(server.url, server.url, ASWR_LEASE=20.0) as workers:
            one, other = workers
            workers.warm("/page/x")
            results: list[Any] = []

            def lead() -> None:
                results.append(one.ask("/slow/later").status_code)

            def follow() -> str:
                wait_until(lambda: "later" in workers.loads, LIMIT, lambda: str(workers.loads))
                time.sleep(0.05)
                one.manager.close(timeout=0.0)
                return other.get("/slow/later")

            began = time.monotonic()
            at_once([lead, follow])
            assert time.monotonic() - began < 3.0


class Held:
    """A load that waits until it is let go; ``begun`` is set when it waits."""

    def __init__(self) -> None:
        self.begun, self.over = threading.Event(), threading.Event()

    def hold(self) -> None:
        self.begun.set()
        assert self.over.wait(LIMIT), "nobody let it go"

    async def ahold(self) -> None:
        await asyncio.to_thread(self.hold)


class TestLeases:
    @pytest.mark.parametrize("joins", ["before", "after"])
    def test_who_differs_in_what_is_read_passes_at_once(
        self, server: Redis, client: redis.Redis, joins: str
    ) -> None:
        """Who carries what the leader reads passes while that load goes on, whenever he came."""
        before, after = Held(), Held()

        def define(worker: Worker) -> None:
            @worker.app.get("/held/<name>")
            @worker.manager.cacher(timeout=60)
            async def held(name: str) -> str:
                if "who" in request.cookies and worker.count("passed"):
                    return "me"
                await before.ahold()
                who = request.cookies.get("who", "nobody")
                await after.ahold()
                return who

        def follow() -> str:
            if joins == "after":
                wait_until(lambda: bool(keys_of(client, "*:read")), LIMIT, lambda: "nothing read")
            try:
                return other.get("/held/x", Cookie="who=me")
            finally:
                after.over.set()

        def let_read() -> None:
            assert before.begun.wait(LIMIT)
            if joins == "before":
                waits = "*:awaited"
                wait_until(lambda: bool(keys_of(client, waits)), LIMIT, lambda: "nobody waits")
            before.over.set()
            assert after.begun.wait(LIMIT)

        with Workers(server.url, server.url, define=define, ASWR_LEASE=60.0) as workers:
            one, other = workers
            workers.connect()
            began = time.monotonic()
            bodies = at_once([lambda: one.get("/held/x"), let_read, follow])
            assert bodies == ["nobody", None, "me"]
            assert time.monotonic() - began < 5.0, "it came by asking again"
            workers.settle()
            assert not keys_of(client, "*:read")

    @pytest.mark.parametrize("kind", ["async", "def"])
    def test_a_load_that_takes_too_long_makes_way(
        self, server: Redis, client: redis.Redis, kind: str
    ) -> None:
        """When the time of a load is up its lease goes back, whether or not it can be stopped."""
        held = Held()

        def define(worker: Worker) -> None:
            def load(name: str) -> str:
                answer = worker.count(name)
                if answer == "x 1":
                    held.hold()
                return answer

            async def aload(name: str) -> str:
                answer = worker.count(name)
                if answer == "x 1":
                    await held.ahold()
                return answer

            view = load if kind == "def" else aload
            cached = worker.manager.cacher(timeout=60, load_timeout=0.3)(view)
            worker.app.get("/timed/<name>", endpoint="timed")(cached)

        with Workers(server.url, server.url, define=define, ASWR_LEASE=60.0) as workers:
            one, other = workers
            workers.connect()
            try:
                assert one.ask("/timed/x").status_code >= 500
                began = time.monotonic()
                assert other.get("/timed/x") == "x 2"
                assert time.monotonic() - began < 3.0
            finally:
                held.over.set()
            one.wait_for("/timed/x", lambda body: body == "x 2")
            workers.settle()
            assert not keys_of(client, "*:lease")

    def test_a_long_load_keeps_its_lease(self, server: Redis, client: redis.Redis) -> None:
        """As long as who loads lives nobody else does, however short leases are."""

        def define(worker: Worker) -> None:
            @worker.app.get("/long/<name>")
            @worker.manager.cacher(timeout=60)
            async def long(name: str) -> str:
                answer = worker.count(name)
                await asyncio.sleep(2.5)
                return answer

        with Workers(server.url, server.url, define=define, ASWR_LEASE=1.2) as workers:
            workers.connect()
            assert at_once([lambda w=w: w.get("/long/x") for w in workers]) == ["x 1"] * 2

    def test_leases_have_a_time_of_their_own(self, server: Redis, client: redis.Redis) -> None:
        """A lease that is shorter than the pauses between beats is kept all the same."""

        def define(worker: Worker) -> None:
            @worker.app.get("/long/<name>")
            @worker.manager.cacher(timeout=60)
            async def long(name: str) -> str:
                answer = worker.count(name)
                await asyncio.sleep(3.0)
                return answer

        config = {"ASWR_LEASE": 0.5, "ASWR_PROPAGATION": 10.0}
        with Workers(*[server.url] * 3, define=define, **config) as workers:
            workers.connect()
            assert at_once([lambda w=w: w.get("/long/x") for w in workers]) == ["x 1"] * 3
            workers.settle()
            assert workers.loads.count("x") == 1
            assert not keys_of(client, "*:lease")

    def test_what_is_stale_at_once(self, server: Redis, client: redis.Redis) -> None:
        """An answer that is never fresh is loaded once for all who wait for it."""

        def define(worker: Worker) -> None:
            @worker.app.get("/stale/<name>")
            @worker.manager.cacher(timeout=60)
            async def stale(name: str) -> Response:
                answer = Response(worker.count(name))
                await asyncio.sleep(LOAD)
                answer.headers["Cache-Control"] = "s-maxage=0, stale-while-revalidate=60"
                return answer

        with Workers(*[server.url] * 4, define=define, ASWR_LEASE=60.0) as workers:
            workers.connect()
            began = time.monotonic()
            assert at_once([lambda w=w: w.get("/stale/x") for w in workers] * 3) == ["x 1"] * 12
            assert time.monotonic() - began < 4 * LOAD
            workers.settle()
            assert workers.loads.count("x") == 1

    def test_what_ends_before_it_is_saved(self, server: Redis, client: redis.Redis) -> None:
        """A load whose answer is over by the time it is there gives its lease back, too."""

        def define(worker: Worker) -> None:
            @worker.app.get("/short/<name>")
            @worker.manager.cacher(timeout=0.0001)
            async def short(name: str) -> str:
                return worker.count(name)

        with Workers(server.url, server.url, define=define, ASWR_LEASE=60.0) as workers:
            workers.connect()
            one, other = workers
            assert one.get("/short/x") == "x 1"
            one.settle()
            assert not keys_of(client, "*:lease")
            began = time.monotonic()
            assert other.get("/short/x") == "x 2"
            assert time.monotonic() - began < 3.0

    def test_loads_that_wait_for_each_other(self, server: Redis, client: redis.Redis) -> None:
        """A cycle of loads over two workers ends with the lease time, in an error or an answer."""
        both = threading.Barrier(2)

        def define(worker: Worker) -> None:
            @worker.manager.memoize(60)
            async def one(number: int) -> str:
                return await step("one", other, number)

            @worker.manager.memoize(60)
            async def other(number: int) -> str:
                return await step("other", one, number)

            async def step(name: str, following: Any, number: int) -> str:
                if worker.count(name).endswith(" 1"):
                    await asyncio.to_thread(both.wait, LIMIT)
                return f"{name} {await following(number)}"

            worker.functions.update(one=one, other=other)

        def call(worker: Worker, name: str) -> Any:
            try:
                return worker.functions[name].sync(1)
            except LoadCycle as error:
                return type(error)

        with Workers(server.url, server.url, define=define, ASWR_LEASE=2.0) as workers:
            workers.connect()
            first, second = workers
            began = time.monotonic()
            ends = at_once([lambda: call(first, "one"), lambda: call(second, "other")])
            assert time.monotonic() - began < 2.0 + 2.0
            assert LoadCycle in ends
            workers.settle()
            assert not keys_of(client, "*:lease")


class TestLargeFleets:
    """Above a number of workers they are told of what they must know, and no more."""

    @pytest.fixture(params=[1, 100], ids=["some", "all"])
    def told(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
        """Is everything told?"""
        monkeypatch.setattr("aswr.shelf.MOST_TOLD", request.param)
        return bool(request.param == 100)

    @pytest.fixture
    def workers(self, told: bool, server: Redis, client: redis.Redis) -> Iterator[Workers]:
        def define(worker: Worker) -> None:
            @worker.app.get("/brief/<name>")
            @worker.manager.cacher(timeout=30, refresh_margin=28)
            async def brief(name: str) -> str:
                return worker.count(name)

        with Workers(server.url, server.url, define=define, ASWR_LEASE=60.0) as workers:
            workers.connect()
            for worker in workers:
                wait_until(lambda w=worker: w.stats["workers"] == 2, LIMIT, lambda: "not listed")
            yield workers

    def test_who_follows_is_told(self, workers: Workers) -> None:
        """Who waits for another's load has its answer when it is there."""
        bodies = at_once([lambda w=w: w.get("/slow/x") for w in workers] * 2)
        began = time.monotonic()
        assert bodies == ["x 1"] * 4
        assert time.monotonic() - began < 5.0, "they asked again"
        workers.settle()
        assert workers.loads.count("x") == 1

    def test_what_is_fresh_elsewhere_is_told(self, workers: Workers) -> None:
        """A refresh of what others serve as fresh reaches them."""
        one, other = workers
        workers.warm("/page/x")
        before = other.stats["messages"]
        assert one.manager.refresh("/page/x") is not None
        assert other.wait_for("/page/x", lambda body: body == "x 2") < 5.0
        assert other.stats["messages"] > before
        workers.settle()
        assert workers.loads.count("x") == 2

    def test_what_is_stale_elsewhere_is_not(self, workers: Workers, told: bool) -> None:
        """A load of what is stale is told to few; in a large fleet each finds it when he asks."""
        one, other = workers
        workers.warm("/brief/x")
        before = other.stats["messages"]
        deadline = one.manager.peek("/brief/x")
        assert deadline is not None
        time.sleep(max(0.0, deadline.fresh_until - time.time()) + 0.05)
        assert one.get("/brief/x") == "x 1"
        one.settle()
        assert one.get("/brief/x") == "x 2"
        if told:
            other.wait_for("/brief/x", lambda body: body == "x 2")
        else:
            time.sleep(0.2)
            assert other.stats["messages"] == before
            assert other.get("/brief/x") == "x 1"
            other.settle()
            assert other.get("/brief/x") == "x 2"
        assert (other.stats["messages"] > before) is told
        assert workers.loads.count("x") == 2


class Shifted:
    """A clock that is off by so much."""

    def __init__(self, ahead: float = 0.0) -> None:
        self.ahead = ahead

    def __call__(self) -> float:
        return time.time() + self.ahead


class TestClocks:
    """Hosts whose clocks are wrong by an hour: everything is as without."""

    @pytest.fixture(params=[(HOUR, 0.0, -HOUR), (0.0, HOUR, -HOUR), (-HOUR, 0.0, HOUR)])
    def workers(
        self, request: pytest.FixtureRequest, server: Redis, client: redis.Redis
    ) -> Iterator[Workers]:
        with Workers() as workers:
            for ahead in request.param:
                workers.join(server.url, clock=Shifted(ahead))
            yield workers

    def test_hits(self, workers: Workers) -> None:
        """Each has what any other has loaded, and as fresh as it is."""
        for index, worker in enumerate(workers):
            assert worker.get(f"/page/{index}") == f"{index} 1"
            worker.settle()
            for other in workers:
                assert other.get(f"/page/{index}") == f"{index} 1"
        workers.settle()
        assert len(workers.loads) == 3

    def test_ages(self, workers: Workers) -> None:
        """An entry is as old in one worker as in another."""
        ages = []
        for worker in workers:
            worker.get("/page/x")
            worker.settle()
            entry = worker.manager.peek("/page/x")
            assert entry is not None
            ages.append(worker.manager._clock() - entry.stored)
            assert abs(entry.fresh_until - entry.stored - 30) < 1
        assert max(ages) - min(ages) < 1.0

    def test_staleness(self, workers: Workers) -> None:
        """What has come to be stale is renewed, by one load, in all of them."""
        workers.warm("/slow/x")
        for worker in workers:
            worker.manager._clock.ahead += 35.0  # type: ignore[attr-defined]
        for worker in workers:
            worker.wait_for("/slow/x", lambda body: body == "x 2")
        workers.settle()
        assert workers.loads.count("x") == 2

    def test_purges(self, workers: Workers) -> None:
        """Whoever purges, and whatever his clock says, everybody loads anew, once."""
        for count, purger in enumerate(workers, 2):
            workers.warm("/page/x")
            assert purger.manager.invalidate("/page/x")
            for other in workers:
                other.wait_for("/page/x", lambda body, count=count: body == f"x {count}")
            workers.settle()
        assert workers.loads.count("x") == 4

    def test_periodic_refreshes(self, workers: Workers) -> None:
        """Every tick has its one load, whosever clock is wrong."""
        for worker in workers:
            worker.manager.schedule_periodic_refresh("/page/x", 0.5)
            worker.manager.start()
        began = time.monotonic()
        wait_until(lambda: len(workers.loads) >= 6, LIMIT, lambda: str(workers.loads))
        assert time.monotonic() - began > 2.0

    def test_before_the_first_contact(
        self, server: Redis, client: redis.Redis, proxy: Proxy
    ) -> None:
        """What a clock ahead numbered while nobody could be asked spoils nothing afterwards."""
        with Workers(server.url, ASWR_LEASE=2.0) as workers:
            (right,) = workers
            wrong = workers.join(url_of(proxy), clock=Shifted(HOUR))
            workers.warm_one(right, "/page/x", "/page/y")
            proxy.refuse()
            assert wrong.manager.invalidate("/page/x") is False
            assert [wrong.get("/page/x"), wrong.get("/page/z")] == ["x 2", "z 1"]
            wrong.wait_reachable(False)
            proxy.passing()
            wrong.wait_reachable()
            right.wait_for("/page/x", lambda body: body != "x 1", 1.5)
            assert right.get("/page/y") == wrong.get("/page/y") == "y 1"
            workers.settle()
            for index, (one, other) in enumerate(((right, wrong), (wrong, right), (right, wrong))):
                workers.warm("/page/x", f"/page/new-{index}")
                old, loads = one.get("/page/x"), workers.loads.count("x")
                assert workers.loads.count(f"new-{index}") == 1
                assert one.manager.invalidate("/page/x")
                other.wait_for("/page/x", old.__ne__, 1.5)
                one.wait_for("/page/x", other.get("/page/x").__eq__, 1.5)
                workers.settle()
                assert workers.loads.count("x") == loads + 1
            for worker in workers:
                worker.manager.schedule_periodic_refresh("/page/tick", 0.5)
                worker.manager.start()
            began = time.monotonic()
            wait_until(lambda: workers.loads.count("tick") > 4, LIMIT, lambda: str(workers.loads))
            assert time.monotonic() - began > 1.4, "each has ticks of his own"


class TestClosing:
    @pytest.mark.timeout(20)
    def test_what_is_still_to_be_caught_up_is_left(
        self, server: Redis, client: redis.Redis
    ) -> None:
        """A store that is closed while leases and entries are owed tries no more, for ever."""
        with Workers(server.url) as workers:
            (worker,) = workers
            workers.warm("/page/x")
            site = worker.manager.site_of(worker.app)
            tier = site.shared.made
            assert isinstance(tier, Fleet)
            key = site.plain_key("/page/x")
        tier._doubtful["token"] = Lease(key, "token")
        tier._unsaved[key] = None
        asyncio.run(tier._catch_up())


async def stop_jobs(worker: Worker) -> None:
    worker.manager._jobs.stop()
    await worker.manager._jobs.begun()


class TestTicks:
    def test_once_per_tick(self, server: Redis, client: redis.Redis) -> None:
        """A periodic refresh of three workers is one load per tick, and goes on without one."""
        with Workers(server.url, server.url, server.url) as workers:
            for worker in workers:
                worker.manager.schedule_periodic_refresh("/page/x", 1.0)
                worker.manager.start()
            began = time.monotonic()
            wait_until(lambda: len(workers.loads) >= 4, LIMIT, lambda: str(workers.loads))
            took = time.monotonic() - began
            assert len(workers.loads) <= took + 2
            for index, worker in enumerate(list(workers)[:2], 1):
                worker.close()
                goal = len(workers.loads) + 2
                wait_until(
                    lambda goal=goal: len(workers.loads) >= goal,
                    2 + 1.5,
                    lambda index=index: f"no ticks without {index}",
                )

    def test_who_loaded_counts_it(self, server: Redis, client: redis.Redis) -> None:
        """Of all workers' counts each load is one, and the others say to whom they left it."""
        with Workers(server.url, server.url) as workers:
            for worker in workers:
                worker.manager.schedule_periodic_refresh("/page/x", 0.5)
                worker.manager.start()
            wait_until(lambda: len(workers.loads) >= 6, LIMIT, lambda: str(workers.loads))
            for worker in workers:
                worker.manager.loop().call(partial(stop_jobs, worker), "test", "", LIMIT)
            workers.settle()
            jobs = [job for worker in workers for job in worker.manager.jobs()]
            assert sum(job.loads for job in jobs) == len(workers.loads), jobs
            said = [what for job in jobs for _, what in job.history]
            assert set(said) <= {"began 1 load", "left 1 load to other processes", "no need"}, jobs
            assert said.count("began 1 load") == len(workers.loads)
            assert "left 1 load to other processes" in said

    def test_numbers_ahead_of_time(self, server: Redis, client: redis.Redis) -> None:
        """Ticks go on where numbers are ahead of the clock, as where a server's was put back."""
        with Workers(server.url, server.url) as workers:
            workers.connect()
            numbers = f"aswr:{{{workers.name}:}}:numbers"
            client.hset(numbers, "#", time.time_ns() // 1000 + 3600 * 1_000_000)
            time.sleep(0.5)  # a beat
            for worker in workers:
                worker.manager.schedule_periodic_refresh("/page/x", 0.3)
                worker.manager.start()
            wait_until(lambda: workers.loads.count("x") > 4, LIMIT, lambda: str(workers.loads))


class Color(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: float


@dataclass
class Item:
    name: str
    price: Decimal
    when: datetime.datetime
    tags: set[str] = field(default_factory=set)
    parts: "list[Item]" = field(default_factory=list)


class Record(msgspec.Struct):
    number: int
    key: uuid.UUID
    color: Color = Color.RED


WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.UTC)
RESULTS: dict[str, tuple[Any, Any]] = {
    "none": (None, None),
    "plain": (dict[str, Any], {"a": [1, 2.5, None, True, "ä", b"\xff"], "b": {"c": -(2**63)}}),
    "unannotated": (Any, [1, {"a": "b"}]),
    "dataclass": (Item, Item("a", Decimal("1.10"), WHEN, {"x"}, [Item("b", Decimal(2), WHEN)])),
    "struct": (list[Record], [Record(1, uuid.UUID(int=5))]),
    "times": (
        tuple[datetime.date, datetime.time, datetime.timedelta],
        (WHEN.date(), datetime.time(1, 2, 3), datetime.timedelta(days=1, microseconds=5)),
    ),
    "enum": (dict[str, Color], {"a": Color.RED}),
    "sets": (frozenset[tuple[int, str]], frozenset({(1, "a"), (2, "b")})),
    "numbers": (dict[int, Decimal], {1: Decimal("1.00"), -5: Decimal("1E+3")}),
    "point": (Point, Point(1, -0.0)),
    "union": (int | str | None, "five"),
    "uuid": (uuid.UUID, uuid.UUID(int=7)),
    "large": (list[str], [f"number {index}" for index in range(5000)]),
}


class Shouting:
    """A codec of a user's own."""

    def encode(self, value: Any) -> bytes:
        return value.text.upper().encode()  # type: ignore[no-any-return]

    def decode(self, data: bytes) -> Any:
        return Opaque(data.decode().lower())


class Opaque:
    def __init__(self, text: str) -> None:
        self.text = text


def memoized(make: Callable[[], Any], annotation: Any = Any, **options: Any) -> Any:
    """A way to define a memoized function ``function(number)`` in a worker."""

    def define(worker: Worker) -> None:
        async def function(number: int) -> Any:
            worker.count("function")
            return make()

        function.__annotations__["return"] = annotation
        worker.functions["it"] = worker.manager.memoize(60, **options)(function)

    return define


class TestResults:
    @pytest.mark.parametrize("name", RESULTS)
    def test_what_is_annotated_comes_back(
        self, server: Redis, client: redis.Redis, name: str
    ) -> None:
        """A result of a memoized function is the same in another worker, and of the same type."""
        annotation, value = RESULTS[name]
        with Workers(server.url, server.url, define=memoized(lambda: value, annotation)) as workers:
            one, other = workers
            assert one.functions["it"].sync(1) == value
            one.settle()
            back = other.functions["it"].sync(1)
            assert workers.loads == ["function"]
            assert back == value
            assert type(back) is type(value)
            assert repr(back) == repr(value) or isinstance(value, (set, frozenset))

    @pytest.mark.parametrize(
        "argument",
        [None, True, 1, 2**70, 1.5, -0.0, "ä", "\ud800", b"\xff", WHEN, WHEN.date(), Decimal("1.0"),
         uuid.UUID(int=3), Color.RED, (1, "a"), [1, [2]], {"a": {"b": 1}}, {1, 2}, range(3),
         Point(1, 2.0), Item("a", Decimal(1), WHEN)],
        ids=repr,
    )  # fmt: skip
    def test_any_argument_is_a_key(self, server: Redis, client: redis.Redis, argument: Any) -> None:
        """Whatever a call may be keyed by, its result is shared, renewed and purged by it."""
        count = iter(range(10))
        define = memoized(lambda: next(count), int)
        with Workers(server.url, server.url, define=define) as workers:
            workers.connect()  # who connects too slowly loads for himself
            one, other = (worker.functions["it"] for worker in workers)
            assert one.sync(argument) == 0
            workers.settle()
            assert other.sync(argument) == 0
            assert one.refresh(argument) == 1
            wait_until(lambda: other.sync(argument) == 1, LIMIT, lambda: "not renewed")
            assert other.invalidate(argument)
            wait_until(lambda: one.sync(argument) == 2, LIMIT, lambda: "not purged")

    def test_what_cannot_be_carried_stays(
        self, server: Redis, client: redis.Redis, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Such a result is as it was for who called, in this worker alone, and logged once."""
        with Workers(server.url, server.url, define=memoized(lambda: Opaque("a"))) as workers:
            one, other = workers
            first = one.functions["it"].sync(1)
            assert isinstance(first, Opaque)
            assert one.functions["it"].sync(1) is first
            for number in range(2, 5):
                one.functions["it"].sync(number)
            one.settle()
            assert other.functions["it"].sync(1) is not first
            other.settle()
            assert len(workers.loads) == 5
            assert not entries_of(client, workers.name)
            lines = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
            own = [line for line in lines if "Opaque" in line and "function" in line]
            assert len(own) == 2  # one for each worker

    def test_strict_makes_it_an_error(self, server: Redis, client: redis.Redis) -> None:
        """Under ASWR_STRICT a result that cannot be carried is an error that says what to do."""
        define = memoized(lambda: Opaque("a"))
        with Workers(server.url, define=define, ASWR_STRICT=True) as workers:
            (one,) = workers
            with pytest.raises(TypeError, match=r"Opaque.*shared=False"):
                one.functions["it"].sync(1)

    @pytest.mark.parametrize("strict", [True, False])
    def test_shared_false(
        self,
        server: Redis,
        client: redis.Redis,
        caplog: pytest.LogCaptureFixture,
        strict: bool,
    ) -> None:
        """What is not to be shared costs no command and no word, and is nobody else's."""
        define = memoized(lambda: Opaque("a"), shared=False)
        with Workers(server.url, server.url, define=define, ASWR_STRICT=strict) as workers:
            one, other = workers
            workers.warm("/page/x")
            costs = []
            for number in range(5):
                before = one.stats["store_commands"]
                first = one.functions["it"].sync(number)
                assert one.functions["it"].sync(number) is first
                one.settle()
                costs.append(one.stats["store_commands"] - before)
            assert min(costs) == 0
            assert other.functions["it"].sync(1) is not first
            assert len(entries_of(client, workers.name)) == 2  # to connect, and the page
            assert not [r for r in caplog.records if r.levelno >= logging.WARNING]

    def test_a_codec(self, server: Redis, client: redis.Redis) -> None:
        """A codec of the user's own carries what nothing else does."""
        define = memoized(lambda: Opaque("abc"), codec=Shouting())
        with Workers(server.url, server.url, define=define) as workers:
            one, other = workers
            one.functions["it"].sync(1)
            one.settle()
            assert other.functions["it"].sync(1).text == "abc"
            assert workers.loads == ["function"]
            (key,) = entries_of(client, workers.name)
            assert b"ABC" in client.get(key)


class TestWhatRedisHas:
    def test_everything_ends(self, server: Redis, client: redis.Redis) -> None:
        """Entries, notes and leases end by themselves; what counts ends a day after the last."""
        with Workers(server.url, server.url) as workers:
            one, _ = workers
            one.get("/page/x")
            one.get("/tongue/x", Accept_Language="de")
            one.settle()
            assert len(entries_of(client, workers.name)) == 3
            for key in entries_of(client, workers.name):
                assert 0 < client.ttl(key) <= 120
            space = f"aswr:{{{workers.name}:}}:"
            counting = [f"{space}numbers", f"{space}log"]

            def kept() -> bool:
                """An hour and a day: what lives is taken to live for an hour at least."""
                return all(DAY + 3540 < client.ttl(key) <= DAY + 3600 for key in counting)

            wait_until(kept, LIMIT, lambda: str([client.ttl(key) for key in counting]))
            assert not [key for key in keys_of(client) if client.ttl(key) == -1]

    def test_a_lease_ends(self, server: Redis, client: redis.Redis) -> None:
        """A lease lasts no longer than it is told to, and is gone with its load."""
        with Workers(server.url, ASWR_LEASE=3.0) as workers:
            (one,) = workers
            one.get("/page/x")
            leases: list[int] = []

            def watch() -> None:
                def seen() -> bool:
                    left = [client.pttl(key) for key in keys_of(client, "*:lease")]
                    leases.extend(ms for ms in left if ms != -2)  # gone since it was listed
                    return bool(leases)

                wait_until(seen, LIMIT, lambda: "no lease")

            at_once([lambda: one.get("/slow/x"), watch])
            one.settle()
            assert all(0 < ms <= 3000 for ms in leases)
            assert not keys_of(client, "*:lease")

    def test_foreign_keys_survive(self, server: Redis, client: redis.Redis) -> None:
        """Clearing an app's cache leaves what else is in the database, and other apps', alone."""
        foreign = {"session:1": "a", "aswr:else": "b", "shop": "c"}
        client.mset(foreign)
        with Workers(server.url) as workers, Workers(server.url) as others:
            (one,), (other,) = workers, others
            one.get("/page/x")
            other.get("/page/x")
            one.settle()
            other.settle()
            before = set(keys_of(client)) - set(keys_of(client, f"*{workers.name}*"))
            assert one.manager.clear()
            assert before <= set(keys_of(client))
            assert client.mget(foreign) == [value.encode() for value in foreign.values()]

    @pytest.mark.parametrize("made", ["object", "factory", "client"])
    def test_a_namespace_of_aiocaches(self, server: Redis, client: redis.Redis, made: str) -> None:
        """The namespace of a cache object that is given is in front of every key."""

        def factory() -> aiocache.RedisCache:
            cache = aiocache.RedisCache(endpoint=LOOPBACK, port=server.port, namespace="mine")
            if made == "client":
                cache.client = AsyncRedis(host=LOOPBACK, port=server.port)
            return cache

        caches = [factory() if made == "object" else factory for _ in range(2)]
        with Workers(*caches) as workers:
            one, other = workers
            assert [worker.get("/page/x") for worker in workers] == ["x 1", "x 1"]
            assert keys_of(client)
            assert all(key.startswith(b"mine:aswr:") for key in keys_of(client))
            assert one.manager.invalidate("/page/x")
            other.wait_for("/page/x", lambda body: body == "x 2")

    def test_large_bodies_are_compressed(self, server: Redis, client: redis.Redis) -> None:
        """A large body takes little room in Redis, unless that is not wanted."""
        sizes = []
        for above in (None, 1024):
            with Workers(server.url, server.url, ASWR_STORE_COMPRESS=above) as workers:
                one, other = workers
                body = one.get("/large/x")
                one.settle()
                assert other.get("/large/x") == body
                assert workers.loads == ["x"]
                (key,) = entries_of(client, workers.name)
                sizes.append(client.strlen(key))
        assert sizes[0] > len(body) > 20 * sizes[1]

    def test_signatures(self, server: Redis, client: redis.Redis) -> None:
        """Signed entries are read by who has the key, the one of before too, and by nobody else."""
        with Workers(ASWR_SIGN=True) as workers:
            old = workers.join(server.url, SECRET_KEY="old")
            twin = workers.join(server.url, SECRET_KEY="old")
            rotated = workers.join(server.url, SECRET_KEY="new", SECRET_KEY_FALLBACKS=["old"])
            assert [w.get("/page/x") for w in (old, twin, rotated)] == ["x 1"] * 3
            assert rotated.get("/page/y") == "y 1"
            rotated.settle()
            assert old.get("/page/y") == "y 2"
            forger = workers.join(server.url, ASWR_SIGN=False)
            assert forger.get("/page/z") == "z 1"
            forger.settle()
            assert twin.get("/page/z") == "z 2"
            assert twin.stats["store_errors"] >= 1


class TestWhenRedisFails:
    def test_the_password_is_told_nobody(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Where Redis refuses a password no log has it, at any level, nor any page or number."""
        caplog.set_level(logging.DEBUG)
        secret = "s3cret-Passw0rd"
        with Redis(tmp_path, password="another") as server:
            where = f"{LOOPBACK}:{server.port}/0"

            def factory() -> aiocache.RedisCache:
                return aiocache.RedisCache(endpoint=LOOPBACK, port=server.port, password=secret)

            urls = [f"redis://:{secret}@{where}", f"redis://someone:{secret}@{where}"]
            with Workers(*urls, f"redis://{where}?password={secret}", factory) as workers:
                for worker in workers:
                    assert worker.get("/page/x")
                    assert worker.manager.invalidate("/page/x") is False
                    worker.wait_reachable(False)
                    shown = [repr(worker.manager), str(worker.stats)]
                    assert secret not in "".join(shown)
        assert [r for r in caplog.records if r.name == "aswr.store"]
        for record in caplog.records:
            assert secret not in f"{record.getMessage()} {record.exc_text} {record.args}", record

    @pytest.mark.parametrize("how", ["cut", "refuse", "hang", "drop_replies", "garbage"])
    def test_nobody_waits_for_it(
        self,
        server: Redis,
        client: redis.Redis,
        proxy: Proxy,
        caplog: pytest.LogCaptureFixture,
        how: str,
    ) -> None:
        """No request fails, one time-out is all that any waits, and the log has two lines."""
        config = {"ASWR_STORE_TIMEOUT": STORE_TIMEOUT}
        with Workers(url_of(proxy), server.url, **config) as workers:
            one, other = workers
            workers.warm("/page/hot")
            getattr(proxy, how)(*([7] if how == "garbage" else []))
            times = []
            for index in range(20):
                began = time.monotonic()
                assert one.get(f"/page/cold-{index}") == f"cold-{index} 1"
                times.append(time.monotonic() - began)
                assert one.get("/page/hot") == "hot 1"
            assert max(times) < 4 * STORE_TIMEOUT
            assert sorted(times)[-3] < STORE_TIMEOUT, "it is waited for more than once"
            one.wait_reachable(False)
            proxy.passing()
            one.wait_reachable()
            one.settle()
            wait_until(lambda: one.stats["unsaved"] == 0, LIMIT, lambda: str(one.stats))
            assert other.get("/page/cold-7") == "cold-7 1", "it was stored when that was possible"
            lines = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
            assert len(lines) == 2, lines

    def test_it_starts_without(self, server: Redis, client: redis.Redis, proxy: Proxy) -> None:
        """Workers that begin while Redis is away serve, and are a fleet once it is there."""
        proxy.refuse()
        with Workers(url_of(proxy), url_of(proxy)) as workers:
            one, other = workers
            assert [one.get("/page/x"), other.get("/page/x")] == ["x 1", "x 2"]
            proxy.passing()
            one.wait_reachable()
            other.wait_reachable()
            with contextlib.suppress(AssertionError):
                workers.settle()
            one.wait_for("/page/x", lambda body: body == "x 2")
            assert one.get("/page/y") == other.get("/page/y") == "y 1"


def desk(worker: Worker) -> Desk:
    return desk_of(worker.manager, worker.app)


def listed(worker: Worker) -> list[dict[str, Any]]:
    """What a worker lists of the shared store."""
    rows: list[dict[str, Any]] = desk(worker).entries(shared=True)["entries"]
    return rows


def with_prices(worker: Worker) -> None:
    @worker.manager.memoize(60, tags=("all",))
    async def price(article: str, count: int = 1) -> dict[str, Any]:
        return {"article": article, "text": "x" * 5000}

    worker.functions["price"] = price


def with_reports(worker: Worker) -> None:
    @worker.app.get("/report/<name>")
    @worker.manager.cacher(timeout=600)
    async def report(name: str) -> str:
        return random.Random(name).randbytes(300_000).hex()


class TestListing:
    OPTIONS = [
        {}, {"ASWR_SIGN": True}, {"ASWR_STORE_COMPRESS": 100},
        {"ASWR_SIGN": True, "ASWR_STORE_COMPRESS": 100, "ASWR_VERSION": "1"},
        {"ASWR_NAMESPACE": "a*b?[c]^-\\:{}"},
    ]  # fmt: skip

    @pytest.mark.parametrize("options", OPTIONS, ids=repr)
    def test_each_lists_what_the_others_stored(
        self, server: Redis, client: redis.Redis, options: dict[str, Any]
    ) -> None:
        """Views, variants and results are listed with their keys, wherever they were loaded."""
        with Workers(server.url, server.url, define=with_prices, **options) as workers:
            one, other = workers
            workers.connect()
            one.get("/page/x?q=1")
            one.get("/large/x")
            one.get("/tongue/x", Accept_Language="de")
            with one.app.app_context():
                asyncio.run(one.functions["price"]("tea", count=2))
            workers.settle()
            rows = {row["url"]: row for row in listed(other) if "to-connect" not in row["url"]}
            call = next(url for url in rows if "price" in url)
            assert set(rows) == {"/page/x?q=1", "/large/x", "/tongue/x", call}
            assert call.endswith("price('tea', 2)")
            assert rows["/tongue/x"]["variant"] == {"header Accept-Language": "de"}
            assert rows["/page/x?q=1"]["tags"] == ["all", "tag-x"]
            assert {row["state"] for row in rows.values()} == {"fresh"}
            assert rows["/large/x"]["size"] > 100_000
            assert rows[call]["size"] > 5000
            assert [row["id"] for row in listed(one)] == [row["id"] for row in listed(other)]
            assert desk(other).entries()["count"] == 1, "memory has what was asked for here"
            assert other.stats["store_errors"] == 0
            said = desk(other).show("/tongue/x", everything=True)
            shown = {row["state"]: row for row in said["entries"]}
            assert shown["fresh"]["id"] == rows["/tongue/x"]["id"]

    def test_who_loaded_it(self, server: Redis, client: redis.Redis) -> None:
        """With each entry stands who loaded it and why, for whoever finds it in the store."""
        with Workers(server.url, server.url, define=with_prices) as workers:
            one, other = workers
            workers.connect()
            one.get("/page/x")
            with one.app.app_context():
                asyncio.run(one.functions["price"]("tea"))
            one.settle()
            by = [(row["by"], row["cause"]) for row in desk(other).show("/page/x")["entries"]]
            assert by == [(process(), "miss")]
            assert one.manager.refresh("/page/x")
            workers.settle()
            causes = {row["url"]: row["cause"] for row in listed(other)}
            assert causes["/page/x"] == "refresh"
            one.get("/slow/y")
            one.settle()
            assert one.manager.invalidate("/slow/y", stale=True)
            assert other.get("/slow/y") == "y 1", "which lies in the store, stale"
            workers.settle()
            causes = {row["url"]: row["cause"] for row in listed(other)}
            assert causes["/slow/y"] == "stale", "nobody has waited"
            assert next(causes[url] for url in causes if "price" in url) == "miss"

    def test_it_changes_nothing(self, server: Redis, client: redis.Redis) -> None:
        """Who lists takes nothing into memory and drops nothing, of functions unknown here too."""
        with Workers(server.url, server.url) as workers:
            one, other = workers
            with_prices(one)
            workers.connect()
            with one.app.app_context():
                asyncio.run(one.functions["price"]("tea"))
            workers.settle()
            before = {key: client.dump(key) for key in entries_of(client, workers.name)}
            assert len([row for row in listed(other) if "price" in row["url"]]) == 1
            assert {key: client.dump(key) for key in entries_of(client, workers.name)} == before
            assert desk(other).entries()["count"] == 1

    def test_what_is_purged_or_foreign_is_not_listed(
        self, server: Redis, client: redis.Redis
    ) -> None:
        """Neither what a purge killed, nor what lies under a name that is not its own."""
        with Workers(server.url, server.url) as workers:
            one, other = workers
            workers.warm("/page/a", "/page/b")
            (old,) = [row for row in listed(one) if row["url"] == "/page/a"]
            prefix = f"aswr:{workers.name}::"
            client.copy(f"{prefix}{{{old['id']}}}", f"{prefix}{{{'0' * 32}}}")
            client.set(f"{prefix}{{{'1' * 32}}}", b"noise")
            client.lpush(f"{prefix}{{{'2' * 32}}}", "a list")
            client.set(f"{prefix}{{{'3' * 32}}}", b"")
            urls = [row["url"] for row in listed(other)]
            assert urls == ["/page/a", "/page/b", "/page/to-connect"]
            assert one.manager.invalidate_tags("tag-a")
            other.wait_for("/page/a", "a 1".__ne__)
            workers.settle()
            client.delete(f"{prefix}{{{'0' * 32}}}")
            assert other.manager.clear()
            assert listed(other) == []
            wait_until(lambda: listed(one) == [], LIMIT, lambda: str(listed(one)))
            assert one.reachable
            assert other.reachable

    def test_what_ends_meanwhile(self, server: Redis, client: redis.Redis) -> None:
        """What expires while the list is made is left out, and that is all."""
        with Workers(server.url) as workers:
            (one,) = workers
            workers.warm("/page/a")
            tier = one.manager.site_of(one.app).shared.made
            assert tier is not None
            link = tier._shelf.link
            scan = link.scan

            async def scan_and_expire(*args: Any) -> tuple[list[str], str]:
                names, why = await scan(*args)
                return [*names, f"aswr:{workers.name}::{{{'f' * 32}}}"], why

            link.scan = scan_and_expire
            assert [row["url"] for row in listed(one)] == ["/page/a", "/page/to-connect"]

    def test_an_outage(self, server: Redis, proxy: Proxy) -> None:
        """Where the store does not answer that is said, in a time that is bounded."""
        with Workers(url_of(proxy), **SILENCE) as workers:
            (one,) = workers
            workers.warm("/page/a")
            proxy.hang()
            began = time.monotonic()
            said = desk(one).entries(shared=True)
            assert (said["entries"], said["partial"]) == ([], SILENT)
            assert said["silent"]
            assert [each["silent"] for each in desk(one).workers()] == [True]
            said = desk(one).show("/page/a")
            assert [row["url"] for row in said["entries"]] == ["/page/a"], "memory has it"
            assert (said["partial"], said["silent"]) == (SILENT, True)
            told = desk(one).purge(ids=["0" * 32])
            assert (told["unknown"], told["partial"]) == (["0" * 32], SILENT), "nobody knows it"
            (line,) = [line for line in desk(one).doctor() if line["name"] == "store"]
            assert line["state"] == "error"
            assert desk(one).why("/page/a")["verdict"] == "hit"
            assert desk(one).why("/page/new")["verdict"] == "miss"
            assert time.monotonic() - began < 15
            proxy.passing()
            one.wait_reachable()
            wait_until(lambda: len(listed(one)) == 2, LIMIT, lambda: str(listed(one)))

    def test_large_entries(self, server: Redis, client: redis.Redis) -> None:
        """However much there is to read, who lists it is not cut off, and keeps none of it."""
        with Workers(server.url, define=with_reports, ASWR_STORE_TIMEOUT=0.25) as workers:
            (one,) = workers
            workers.warm("/report/first")
            tier, store = (
                one.manager.site_of(one.app).shared.made,
                one.manager.site_of(one.app).store,
            )
            assert tier is not None
            shelf = tier._shelf
            (key,) = store.variants("/report/first")
            entry = store.original(key)
            assert entry is not None

            async def store_many() -> None:
                for index in range(300):
                    await shelf.store(key._replace(path=f"/report/{index}"), entry, None, "", True)

            one.manager.loop().submit(store_many, "test").result(60)
            assert client.memory_usage(shelf.names(key)[0]) > 300_000
            said = desk(one).entries(shared=True, search="/report/", limit=10)
            assert (said["count"], said["partial"]) == (301, "")
            assert {row["size"] for row in said["entries"]} == {600_000}
            said = desk(one).show("/report/7")
            assert [row["url"] for row in said["entries"]] == ["/report/7"]
            assert (one.stats["store_reachable"], one.stats["store_errors"]) == (1, 0)

    def test_no_more_than_may_be_looked_at(
        self, server: Redis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is more is said to be there; a URL is found all the same, where it would lie."""
        with Workers(server.url, server.url) as workers:
            one, other = workers
            workers.warm(*(f"/page/{index}" for index in range(20)))
            monkeypatch.setattr("aswr.questions.MOST_LISTED", 5)
            said = desk(one).entries(shared=True)
            assert (said["count"], said["silent"]) == (5, False)
            assert "first 5 entries" in said["partial"]
            assert "there are more" in said["partial"]
            for index in range(20):
                other.manager.site_of(other.app).store.discard(
                    desk(other)._key_of(desk(one).show(f"/page/{index}")["entries"][0]["id"])
                )
                said = desk(other).show(f"/page/{index}")
                assert [row["url"] for row in said["entries"]] == [f"/page/{index}"]
                assert said["partial"] == ""
                assert desk(other).show(f"/page/{index}", everything=True)["partial"]
            monkeypatch.setattr("aswr.questions.MOST_LISTED", 10_000)
            monkeypatch.setattr("aswr.shelf.LISTED_BYTES", 2000)
            said = desk(one).entries(shared=True)
            assert 0 < said["count"] < 20
            assert "MiB" in said["partial"]

    def test_a_variant_is_found_where_it_would_lie(
        self, server: Redis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who has nothing in memory finds the plain variant by what the URL is known to read."""
        with Workers(server.url, server.url) as workers:
            one, other = workers
            workers.connect()
            one.get("/tongue/x")
            workers.settle()
            monkeypatch.setattr("aswr.questions.MOST_LISTED", 0)
            rows = desk(other).show("/tongue/x")["entries"]
            assert {row["state"] for row in rows} == {"fresh", "note"}

    def test_a_variant_is_found_by_what_memory_knows(
        self, server: Redis, client: redis.Redis
    ) -> None:
        """Where the store has lost its note of what a URL reads, this process's own will do."""
        with Workers(server.url, server.url) as workers:
            one, other = workers
            workers.connect()
            one.get("/tongue/x")
            other.get("/tongue/x", Accept_Language="de")
            workers.settle()
            rows = desk(other).show("/tongue/x")["entries"]
            (note,) = (row for row in rows if row["state"] == "note")
            assert client.delete(*client.keys(f"*{note['id']}*"))
            rows = desk(other).show("/tongue/x")["entries"]
            assert sorted(row["state"] for row in rows) == ["fresh", "fresh", "note"]

    def test_all_of_the_store_is_looked_through_where_it_must_be(
        self, server: Redis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A URL is looked up; other queries and variants are looked for if somebody wants that."""

        def shown(url: str, **options: bool) -> tuple[set[str], str, bool]:
            said = desk(other).show(url, **options)
            rows = {f"{row['state']} {row['url']}" for row in said["entries"]}
            return rows, said["partial"], said["more"]

        with Workers(server.url, server.url) as workers:
            one, other = workers
            workers.connect()
            for path in ("/page/x", "/page/x?q=1", "/page/y?q=1"):
                one.get(path)
            one.get("/tongue/x", Accept_Language="de")
            workers.settle()
            every = {"fresh /page/x", "fresh /page/x?q=1"}
            assert shown("/page/x", everything=True) == (every, "", False)
            assert shown("/page/x?q=1", everything=True) == ({"fresh /page/x?q=1"}, "", False)
            assert shown("/page/y") == ({"fresh /page/y?q=1"}, "", False), "nothing lies there"
            variants = {"note /tongue/x", "fresh /tongue/x"}
            assert shown("/tongue/x", everything=True) == (variants, "", False)
            monkeypatch.setattr("aswr.questions.MOST_LISTED", 0)
            assert shown("/page/x") == ({"fresh /page/x"}, "", False)
            assert shown("/tongue/x") == ({"note /tongue/x"}, "", True)
            for url, options in (("/page/x", {"everything": True}), ("/page/nothing", {})):
                _, partial, more = shown(url, **options)
                assert (partial.startswith("only the first 0 entries"), more) == (True, False)

    def test_the_api_looks_through_all_of_it_on_demand(
        self, server: Redis, client: redis.Redis
    ) -> None:
        """Asked by GET or POST, it finds other queries if somebody wants that."""

        def define(worker: Worker) -> None:
            page = blueprint(worker.manager, lambda: False, token="t" * 32)
            worker.app.register_blueprint(page, url_prefix="/aswr")

        with Workers(server.url, server.url, define=define) as workers:
            one, other = workers
            workers.connect()
            for path in ("/page/x", "/page/x?q=1"):
                one.get(path)
            workers.settle()
            browser, who = other.app.test_client(), {"Authorization": f"Bearer {'t' * 32}"}
            for everything in (False, True):
                asked = {"url": "/page/x", "everything": everything}
                for said in (
                    browser.get("/aswr/api/show", query_string=asked, headers=who),
                    browser.post("/aswr/api/show", json=asked, headers=who),
                ):
                    assert len(said.json["entries"]) == 1 + everything

    def test_an_entry_is_found_by_its_id(
        self, server: Redis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Desk, API and page know an entry of another worker's, however many the store has."""

        def define(worker: Worker) -> None:
            with_prices(worker)
            page = blueprint(worker.manager, authorize=lambda: True)
            worker.app.register_blueprint(page, url_prefix="/aswr")

        with Workers(server.url, server.url, define=define) as workers:
            one, other = workers
            workers.connect()
            one.get("/page/x")
            one.get("/tongue/x", Accept_Language="de")
            with one.app.app_context():
                asyncio.run(one.functions["price"]("tea"))
            workers.settle()
            monkeypatch.setattr("aswr.questions.MOST_LISTED", 0)
            rows = desk(one).entries()["entries"]
            ids = {row["url"]: row["id"] for row in rows if "to-connect" not in row["url"]}
            assert len(ids) == 3
            for url, id in ids.items():
                assert desk(one).entry(id)["source"] == "memory"
                said = desk(other).entry(id)
                assert (said["source"], said["partial"], said["silent"]) == ("store", "", False)
                assert (said["entry"]["url"], said["entry"]["id"]) == (url, id)
                beside = [row["state"] for row in said["beside"]]
                assert beside == (["note"] if url == "/tongue/x" else [])
                assert other.ask(f"/aswr/api/entry/{id}").json["entry"]["id"] == id
                page = other.ask(f"/aswr/entry/{id}")
                assert (page.status_code, "in the shared store" in page.text) == (200, True)
            assert desk(other).entries()["count"] == 1, "nothing was taken into memory"
            nothing = "0" * 32
            with pytest.raises(LookupError, match="memory or in the shared store, or was of late$"):
                desk(other).entry(nothing)
            assert other.ask(f"/aswr/api/entry/{nothing}").status_code == 404
            assert other.ask(f"/aswr/entry/{nothing}").status_code == 404

    def test_a_url_of_which_more_may_lie_there_in_an_outage(
        self, server: Redis, proxy: Proxy
    ) -> None:
        """Where the store does not answer that is said, and not that it could be looked through."""
        with Workers(url_of(proxy), **SILENCE) as workers:
            (one,) = workers
            one.get("/tongue/x")
            proxy.refuse()
            proxy.cut()
            one.wait_reachable(False)
            said = desk(one).show("/tongue/x")
            assert {row["state"] for row in said["entries"]} == {"fresh", "note"}
            assert (said["partial"], said["silent"], said["more"]) == (SILENT, True, False)

    def test_an_entry_of_which_nothing_is_known_in_an_outage(
        self, server: Redis, proxy: Proxy
    ) -> None:
        """Where the store does not answer an entry that left memory is not said to be gone."""

        def define(worker: Worker) -> None:
            page = blueprint(worker.manager, authorize=lambda: True)
            worker.app.register_blueprint(page, url_prefix="/aswr")

        with Workers(url_of(proxy), define=define, **SILENCE) as workers:
            (one,) = workers
            workers.warm("/page/a")
            site = one.manager.site_of(one.app)
            (key,) = site.store.variants("/page/a")
            id = desk(one).show("/page/a")["entries"][0]["id"]
            site.store.discard(key)
            proxy.refuse()
            proxy.cut()
            one.wait_reachable(False)
            said = desk(one).entry(id)
            assert (said["entry"], said["partial"], said["silent"]) == (None, SILENT, True)
            page = one.ask(f"/aswr/entry/{id}").text
            assert SILENT in page
            assert "not stored any more" not in page
            with pytest.raises(LookupError, match=f"or was of late, and {SILENT}$"):
                desk(one).entry("0" * 32)
            done = desk(one).refresh(id="0" * 32)
            reason = f"no such entry is stored; but {SILENT}"
            assert (done["outcome"], done["reason"]) == ("unknown", reason)

    def test_a_check_up_changes_nothing(self, server: Redis, client: redis.Redis) -> None:
        """The doctor measures a round trip, and draws no number by that."""
        with Workers(server.url) as workers:
            (one,) = workers
            workers.warm("/page/a")
            numbers = f"aswr:{{{workers.name}:}}:numbers"
            before = client.hgetall(numbers)
            lines = {line["name"]: line for line in desk(one).doctor()}
            assert "answers in" in lines["store"]["found"]
            assert lines["lease"]["found"] == "1 worker shares loads; this one holds 0"
            assert before
            assert client.hgetall(numbers) == before

    def test_who_looks_on_leaves_nothing_for_good(self, server: Redis, client: redis.Redis) -> None:
        """Where no server ever was, all that is left of a look at it expires."""
        with Workers(server.url) as workers:
            (looks,) = workers
            looks.manager.site_of(looks.app).shared.counts = False
            assert not [line for line in desk(looks).doctor() if line["state"] == "error"]
            assert listed(looks) == []
        lives = [client.pttl(key) for key in client.scan_iter("aswr:*")]
        assert all(life > 0 for life in lives), lives

    def test_a_silence_in_the_midst(
        self, server: Redis, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was read until then is listed, and that it is not all is said."""
        monkeypatch.setattr("aswr.shelf.BATCH_BYTES", 1)
        with Workers(url_of(proxy)) as workers:
            (one,) = workers
            workers.warm(*(f"/page/{index}" for index in range(9)))
            tier = one.manager.site_of(one.app).shared.made
            assert tier is not None
            shelf, reads = tier._shelf, 0
            read = shelf._listed

            async def read_and_break(name: str) -> Any:
                nonlocal reads
                reads += 1
                if reads == 4:
                    proxy.refuse()
                    proxy.cut()
                return await read(name)

            monkeypatch.setattr(shelf, "_listed", read_and_break)
            said = desk(one).entries(shared=True)
            assert (said["count"], said["silent"]) == (3, True)
            assert said["partial"] == (
                "only 3 of 10 entries were looked at: the store did not answer any more"
            )
            proxy.passing()

    def test_entries_of_others_are_purged_by_id(self, server: Redis, client: redis.Redis) -> None:
        """Pages and calls that are in no memory here are purged by id or name, everywhere."""
        with Workers(server.url, server.url, define=with_prices) as workers:
            one, other = workers
            workers.connect()
            one.get("/page/x")
            with one.app.app_context():
                for article in ("tea", "salt"):
                    asyncio.run(one.functions["price"](article))
            workers.settle()
            rows = {row["url"].rpartition(".")[2]: row for row in listed(other)}
            call = next(url for url in rows if "'tea'" in url)
            names = [rows["/page/x"]["id"], rows[call]["url"]]
            store = other.manager.site_of(other.app).store
            assert not store.variants("/page/x"), "it is to be found in the shared store"
            told = desk(other).purge(ids=[*names, "0" * 32])
            assert (told["unknown"], told["partial"]) == (["0" * 32], "")
            assert told["purged"] == ["/page/x", rows[call]["url"]]
            assert (told["everybody"], told["alone"]) == (True, False)
            left = [row["url"] for row in listed(other)]
            assert len([url for url in left if "price" in url]) == 1
            assert "/page/x" not in left
            one.wait_for("/page/x", lambda body: body == "x 2")

    def test_entries_of_others_are_renewed_by_id(self, server: Redis, client: redis.Redis) -> None:
        """An entry that is in no memory here, a variant too, is loaded as what it is, for all."""
        with Workers(server.url, server.url) as workers:
            one, other = workers
            workers.connect()
            one.get("/tongue/x", Accept_Language="de")
            workers.settle()
            (row,) = (row for row in listed(other) if row["url"] == "/tongue/x")
            done = desk(other).refresh(id=row["id"])
            assert (done["url"], done["outcome"], done["reason"]) == ("/tongue/x", "stored", "")
            workers.settle()
            (after,) = (row for row in listed(one) if row["url"] == "/tongue/x")
            assert (after["id"], after["stored"] > row["stored"]) == (row["id"], True)
            assert other.get("/tongue/x", Accept_Language="de") == "de x 2"
            assert desk(other).refresh(id="f" * 32)["outcome"] == "unknown"

    def test_what_is_being_loaded_is_known_to_all(
        self, server: Redis, client: redis.Redis, gate: Gate, background: Any
    ) -> None:
        """Each worker tells the others its loads in progress, with their age: `top` needs no
        server."""

        def define(worker: Worker) -> None:
            @worker.app.get("/held")
            @worker.manager.cacher(timeout=60, wait_timeout=60)
            async def held() -> str:
                await gate.ahold()
                return "done"

        with Workers(server.url, server.url, define=define) as workers:
            one, other = workers
            workers.connect()
            asked = background(lambda: one.get("/held"))
            gate.await_arrival()
            desk(one).workers()  # who is asked says how it is
            (told,) = (said for said in desk(other).workers() if not said["here"])
            (flight,) = told["flights"]
            assert (flight["url"], flight["waiters"], flight["leads"]) == ("/held", 1, True)
            looks = workers.join(server.url)
            looks.manager.site_of(looks.app).shared.counts = False
            top = Top(Source(desk(looks), "store", "the shared store", "localhost"))
            top.look()
            (load,) = top.flights
            assert (load["url"], load["process"]) == ("/held", f"{told['host']}:{told['pid']}")
            assert 0 <= load["said"] <= LIMIT
            gate.open()
            assert asked.result() == "done"

    def test_who_looks_on_says_what_it_does_not_know(
        self, server: Redis, client: redis.Redis
    ) -> None:
        """A process that only looks on renews the plain variant, and says that it is one."""
        with Workers(server.url) as workers:
            (one,) = workers
            workers.connect()
            one.get("/tongue/x", Accept_Language="de")
            workers.settle()
            looks = workers.join(server.url)
            looks.manager.site_of(looks.app).shared.counts = False
            done = desk(looks).refresh("/tongue/x")
            assert (done["outcome"], done["reason"]) == ("stored", ONE_VARIANT)
            done = desk(looks).refresh("/page/x")
            assert (done["outcome"], done["reason"]) == ("stored", "")

    def test_a_password_is_nowhere(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Whatever is asked, and however it fails, the store's password is told to nobody."""
        caplog.set_level(logging.DEBUG)
        told: list[Any] = []
        with Redis(tmp_path, password="SECRET") as locked:
            wrong = locked.url.replace("SECRET", "WRONGSECRET")
            with Workers(locked.url, wrong) as workers:
                for worker in workers:
                    worker.manager.subscribe(told.append)
                    worker.get("/page/a")
                    worker.settle()
                    asked = desk(worker)
                    told += [
                        asked.doctor(), asked.workers(), asked.stats(), asked.about(),
                        asked.why("/page/b"), asked.show("/page/a"), asked.entries(shared=True),
                    ]  # fmt: skip
                locked.stop()
                for worker in workers:
                    worker.get("/page/c")
                    told += [desk(worker).doctor(), desk(worker).workers()]
            locked.start()
        assert "SECRET" not in f"{told} {caplog.text}"
        assert any(isinstance(said, Event) and said.kind == "breaker" for said in told)


class TestHealth:
    @pytest.mark.parametrize(
        ("case", "word", "cure"),
        [("memory", "'maxmemory'", "raise its maxmemory"), ("type", "WRONGTYPE", "ASWR_NAMESPACE"),
         ("rights", "NoPermission", "its user"), ("password", "Authentication", "password")],
        ids=lambda word: word,
    )  # fmt: skip
    def test_a_store_that_refuses(
        self, server: Redis, client: redis.Redis, case: str, word: str, cure: str
    ) -> None:
        """A Redis that answers, but with a no, is no silent one: its reason is told, and a cure."""
        name, url = f"refused-{case}", server.url
        if case == "memory":
            client.config_set("maxmemory", 1)
        elif case == "type":
            client.set(f"aswr:{{{name}:}}:numbers", "no hash")
        else:
            rights = "~other:*" if case == "rights" else "~*"
            client.execute_command("ACL", "SETUSER", "ann", "on", ">pw", rights, "&*", "+@all")
            password = "pw" if case == "rights" else "SECRET"
            url = url.replace("redis://", f"redis://ann:{password}@")
        try:
            with Workers(url, name=name) as workers:
                (one,) = workers

                def line() -> dict[str, str]:
                    one.get("/page/x")
                    (found,) = [each for each in desk(one).doctor() if each["name"] == "store"]
                    return found

                wait_until(lambda: word in line()["found"], LIMIT, lambda: str(line()))
                said = line()
                assert (said["state"], cure in said["cure"]) == ("error", True), said
                assert "does not answer" not in said["found"]
                assert "SECRET" not in str(said)
        finally:
            client.config_set("maxmemory", 0)
            client.execute_command("ACL", "DELUSER", "ann")
            client.delete(f"aswr:{{{name}:}}:numbers")

    def test_a_store_that_is_well(self, server: Redis, client: redis.Redis) -> None:
        """The doctor says what Redis it is, how far away, and how many share it."""
        with Workers(server.url, server.url) as workers:
            workers.connect()
            one, _ = workers
            wait_until(lambda: one.stats["workers"] == 2, LIMIT, lambda: str(one.stats))
            lines = {line["name"]: line for line in desk(one).doctor()}
            assert client.info()["redis_version"] in lines["store"]["found"]
            assert (lines["clock"]["state"], lines["lease"]["state"]) == ("ok", "ok")
            assert lines["lease"]["found"].startswith("2 workers share loads")
            client.config_set("maxmemory-policy", "allkeys-lru")
            try:
                policies = [line["found"] for line in desk(one).doctor() if line["cure"]]
            finally:
                client.config_set("maxmemory-policy", "noeviction")
            assert any("allkeys-lru" in found for found in policies)

    @pytest.mark.parametrize(
        ("used", "policy", "state"),
        [(90, "noeviction", ""), (99, "noeviction", "warning"), (101, "noeviction", "error"),
         (101, "volatile-lru", "")],
    )  # fmt: skip
    def test_a_store_that_is_full(
        self, server: Redis, client: redis.Redis, used: int, policy: str, state: str
    ) -> None:
        """That Redis will refuse to store is told to who only looks."""
        with Workers(server.url) as workers:
            workers.connect()
            (one,) = workers
            tier = one.manager.site_of(one.app).engine.tier

            async def info() -> dict[str, Any]:
                return {"used_memory": used, "maxmemory": 100, "maxmemory_policy": policy}

            tier._shelf.link.info = info
            told = [each for each in desk(one).doctor() if "maxmemory is used" in each["found"]]
            assert [each["state"] for each in told] == [state] * bool(state)


class TestEvents:
    def test_leases(self, server: Redis, client: redis.Redis) -> None:
        """Who loads for the fleet says so, and when it does no longer; who follows says nothing."""
        with Workers(server.url, server.url) as workers:
            one, other = workers
            workers.connect()
            told: dict[str, list[Any]] = {"one": [], "other": []}
            one.manager.subscribe(told["one"].append, "lease", "load_started", "published")
            other.manager.subscribe(told["other"].append, "lease", "load_started", "published")
            bodies = at_once([lambda: one.get("/slow/x"), lambda: other.get("/slow/x")])
            workers.settle()
            assert bodies == ["x 1"] * 2
            leader, follower = sorted(told.values(), key=len, reverse=True)
            assert [(e.kind, e.reason) for e in leader] == [
                ("lease", "held"), ("load_started", ""), ("published", ""), ("lease", "released"),
            ]  # fmt: skip
            assert len({e.key for e in leader}) == len({id(e.token) for e in leader}) == 1
            assert {e.view.rpartition(".")[2] for e in leader} == {"slow"}
            (came,) = follower
            assert (came.kind, came.reason) == ("published", f"loaded by {process()}")
            assert came.key == leader[0].key

    def test_a_lease_that_is_lost(self, server: Redis, client: redis.Redis) -> None:
        """One that another took is lost, and is not given back as well."""
        with Workers(server.url, ASWR_LEASE=1.0) as workers:
            (one,) = workers
            workers.connect()
            told: list[Any] = []
            one.manager.subscribe(told.append, "lease")
            loading = threading.Thread(target=lambda: one.get("/lost/x"))
            gate = threading.Event()

            async def lost(name: str) -> str:
                await asyncio.to_thread(gate.wait, LIMIT)
                return name

            cached = one.manager.cacher(timeout=60)(lost)
            one.app._got_first_request = False
            one.app.add_url_rule("/lost/<name>", "lost", cached)
            loading.start()
            wait_until(lambda: bool(told), LIMIT, lambda: "no lease")
            (lease,) = keys_of(client, f"*{workers.name}*:lease")
            client.set(lease, "somebody else's", px=60_000)
            wait_until(lambda: len(told) == 2, LIMIT, lambda: str(told))
            gate.set()
            loading.join(LIMIT)
            one.settle()
            assert [event.reason for event in told] == ["held", "lost"]
            assert client.get(lease) == b"somebody else's"

    def test_what_stands_is_given_back(self, server: Redis, client: redis.Redis) -> None:
        """A lease that turns out to be needless is released, like any other."""
        with Workers(server.url) as workers:
            (one,) = workers
            workers.warm("/page/x")
            told: list[Any] = []
            one.manager.subscribe(told.append, "lease", "load_started")
            client.delete(*entries_of(client, workers.name))
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

            def doubted() -> bool:
                one.get("/page/x")
                one.settle()
                return bool(told)

            wait_until(doubted, LIMIT, lambda: "nothing was compared")
            assert [(e.kind, e.reason) for e in told] == [("lease", "held"), ("lease", "released")]

    def test_purges_here_and_elsewhere(self, server: Redis, client: redis.Redis) -> None:
        """Who purges tells of it once; the others once, who did that, and in which process."""
        with Workers(server.url, server.url) as workers:
            one, other = workers
            workers.warm("/page/x")
            here: list[Any] = []
            there: list[Any] = []
            one.manager.subscribe(here.append, "purged")
            other.manager.subscribe(there.append, "purged")
            one.manager.invalidate("/page/x?a=1")
            one.manager.invalidate_tags("tag-x", "more", stale=True)
            desk(one).purge(everything=True)
            wait_until(lambda: len(there) >= 4, LIMIT, lambda: str(there))
            time.sleep(2 * STORE_TIMEOUT + 1.0)  # in which both have asked for purges again
            assert [event.reason for event in here] == [
                "/page/x?a=1", "tag tag-x (stale)", "tag more (stale)", "everything",
            ]  # fmt: skip
            assert [event.cause for event in here] == [Cause("code")] * 3 + [Cause("desk")]
            assert {event.reason for event in there} == {event.reason for event in here}
            assert len(there) == 4
            for event in there:
                who = "desk" if event.reason == "everything" else "code"
                told, asked = Cause(who, process=process()), Cause("elsewhere")
                assert event.cause in (told, asked), "by its message, or by the log before that"

    def test_the_breaker(self, server: Redis, proxy: Proxy) -> None:
        """That the store fails is told once, and once that it answers again."""
        with Workers(url_of(proxy), **SILENCE) as workers:
            (one,) = workers
            workers.warm("/page/x")
            told: list[Any] = []
            one.manager.subscribe(told.append, "breaker")
            proxy.hang()
            for index in range(5):
                one.get(f"/page/{index}")
            one.wait_reachable(False)
            proxy.passing()
            one.wait_reachable()
            opened, closed = told
            assert opened.reason.startswith("open: ")
            assert closed.reason == "closed"
            assert one.stats["store_errors"] >= 1

    def test_why_looks_where_a_load_would(self, server: Redis, client: redis.Redis) -> None:
        """What another worker has stored is a hit here, and it is said where it came from; what
        is fresh in memory is not exchanged for asking."""
        with Workers(server.url, server.url) as workers:
            one, other = workers
            workers.connect()
            one.get("/tongue/x", Accept_Language="de")
            one.get("/page/x")
            workers.settle()
            for url, headers in (("/tongue/x", {"Accept-Language": "de"}), ("/page/x", {})):
                said = desk(other).why(url, headers)
                assert (said["verdict"], said["rendered"]) == ("hit", False)
                assert "store" in [step["step"] for step in said["steps"]]
                again = desk(other).why(url, headers)
                assert "store" not in [step["step"] for step in again["steps"]]
            said = desk(other).why("/tongue/x", {"Accept-Language": "en"})
            assert (said["verdict"], said["rendered"]) == ("miss", True)
            assert other.get("/tongue/x", Accept_Language="de") == "de x 1"
            rows = {
                row["url"]: row
                for row in listed(one)
                if row["variant"].get("header Accept-Language") == "en"
            }
            assert rows == {}, "to ask why stores nothing"
