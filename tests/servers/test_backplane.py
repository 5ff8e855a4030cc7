"""What workers of one fleet tell each other: purges, refreshes, and what comes of gaps."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from aswr import backplane
from aswr.backplane import LARGEST_DESCRIBED
from aswr.desk import desk_of
from aswr.events import Cause, Event
from aswr.fleet import Fleet
from aswr.here import process
from aswr.packed import names_in
from aswr.stamps import Purge

from .harness import wait_until
from .proxy import Proxy
from .redises import LOOPBACK, Redis
from .workers import LIMIT, SILENCE, Worker, Workers, at_once, entries_of, keys_of, soonest

PROPAGATION = 1.0  # the bound that is stated
CUT_OFF = 2.0  # the bound for who is cut off
SLACK = 0.5  # that a busy machine may take


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


def define(worker: Worker) -> None:
    @worker.manager.memoize(60, tags=("all",))
    async def price(number: int) -> str:
        return worker.count(f"price-{number}")

    @worker.manager.memoize(60, shared=False, tags=("all",))
    async def local(number: int) -> str:
        return worker.count(f"local-{number}")

    worker.functions.update(price=price, local=local)


Snapshot = list[tuple[bytes, int, Any]]


def snapshot_of(client: redis.Redis) -> Snapshot:
    """All keys, with how long they last and what they hold."""
    return [(key, max(0, client.pttl(key)), client.dump(key)) for key in keys_of(client)]


def restore(
    client: redis.Redis, snapshot: Snapshot, fields: Mapping[str, dict[str, Any]] = {}
) -> None:
    """Have everything as it was, but for fields of hashes, in one step, over the same lines."""
    with client.pipeline(transaction=True) as step:
        step.flushall()
        for key, milliseconds, data in snapshot:
            step.restore(key, milliseconds, data)
        for key, mapping in fields.items():
            step.hset(key, mapping=mapping)
        step.execute()


def names_of(client: redis.Redis, numbers: str) -> dict[bytes, bytes]:
    """The purges that the store knows, with their numbers."""
    return {name: made for name, made in client.hgetall(numbers).items() if name not in b"!#~"}


PURGES: dict[str, Callable[[Worker], bool]] = {
    "path": lambda worker: worker.manager.invalidate("/page/x"),
    "url": lambda worker: worker.manager.invalidate("/page/x?"),
    "tag": lambda worker: worker.manager.invalidate_tags("tag-x"),
    "all": lambda worker: worker.manager.clear(),
}


@contextlib.contextmanager
def deaf(server: Redis) -> Iterator[None]:
    """Meanwhile every message is lost: there is no subscription, and nobody gets a new one."""
    client = server.client()
    client.execute_command("ACL", "SETUSER", "default", "-subscribe")
    try:
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        yield
    finally:
        client.execute_command("ACL", "SETUSER", "default", "+subscribe")


def does_not_ask(worker: Worker) -> None:
    """From now on it is told of purges by messages alone."""

    async def idle(probe: bool = False) -> None:
        pass

    made = worker.manager.site_of(worker.app).shared.made
    assert isinstance(made, Fleet)
    assert made._shelf is not None
    made._shelf.back.sync = idle  # type: ignore[method-assign]


class TestPurges:
    @pytest.mark.parametrize("name", PURGES)
    def test_it_is_seen_elsewhere(self, server: Redis, client: redis.Redis, name: str) -> None:
        """What is purged in one worker is served by no other soon after, mostly at once.

        So it is told: to ask for it is these workers' business only every few seconds.
        """
        with Workers(*[server.url] * 3, ASWR_PROPAGATION=20.0) as workers:
            one, *others = workers
            times = []
            for _ in range(5):
                workers.warm("/page/x")
                old = one.get("/page/x")
                assert PURGES[name](one)
                times += [
                    other.wait_for("/page/x", lambda body, old=old: body != old) for other in others
                ]
                assert one.get("/page/x") != old
                workers.settle()
            assert max(times) < PROPAGATION + SLACK
            assert soonest(times) < 0.05

    @pytest.mark.parametrize("name", PURGES)
    def test_it_is_seen_without_messages(
        self, server: Redis, client: redis.Redis, name: str
    ) -> None:
        """Where every message is lost a purge is seen within the bound all the same."""
        with Workers(server.url, server.url) as workers:
            one, other = workers
            workers.warm("/page/x")
            old = one.get("/page/x")
            with deaf(server):
                assert PURGES[name](one)
                took = other.wait_for("/page/x", lambda body: body != old)
            assert took < PROPAGATION + SLACK

    @pytest.mark.parametrize("heard", [True, False], ids=["heard", "deaf"])
    def test_it_is_known_who_made_it(self, server: Redis, client: redis.Redis, heard: bool) -> None:
        """A message says who purged, and in which process; the log alone that it was another's."""
        with Workers(server.url, server.url) as workers:
            one, other = workers
            workers.warm("/page/x")
            told: list[Event] = []
            other.manager.subscribe(told.append, "purged")
            if heard:
                does_not_ask(other)
            with contextlib.nullcontext() if heard else deaf(server):
                desk_of(one.manager, one.app).purge(urls=["/page/x"])
                one.manager.invalidate_tags("more")
                wait_until(lambda: len(told) >= 2, LIMIT, lambda: str(told))
            here = process()
            assert {(event.reason, event.cause) for event in told} == {
                ("/page/x", Cause("desk", process=here) if heard else Cause("elsewhere")),
                ("tag more", Cause("code", process=here) if heard else Cause("elsewhere")),
            }

    @pytest.mark.parametrize("why", ["elsewhere", "later", None, 7])
    def test_who_tells_of_a_purge_need_not_have_made_it(
        self, server: Redis, client: redis.Redis, why: object
    ) -> None:
        """Where a message says not why, or what is not known here, nobody is named."""
        with Workers(server.url) as workers:
            (one,) = workers
            workers.warm("/page/x")
            told: list[Event] = []
            one.manager.subscribe(told.append, "purged")
            channel = client.pubsub_channels(f"*{workers.name}*")[0]
            number = one.manager.site_of(one.app).store.stamps.tick()
            names = names_in(Purge(keys=("/page/x",)))
            message = msgspec.msgpack.encode(["web9:7:abc", "purged", names, why])
            client.publish(channel, message + f"{number:020d}".encode())
            wait_until(lambda: told, LIMIT, lambda: "no purge")
            (event,) = told
            assert (event.reason, event.cause) == ("/page/x", Cause("elsewhere"))

    @pytest.mark.parametrize("heard", [True, False], ids=["heard", "deaf"])
    def test_a_call_is_purged(self, server: Redis, client: redis.Redis, heard: bool) -> None:
        """A purge of a memoized call is seen by the others, and concerns no other call."""
        with Workers(server.url, server.url, define=define) as workers:
            one, other = (worker.functions["price"] for worker in workers)
            assert {function.sync(n) for function in (one, other) for n in (1, 2)} == {
                "price-1 1", "price-2 1",
            }  # fmt: skip
            with contextlib.nullcontext() if heard else deaf(server):
                assert one.invalidate(1)
                wait_until(
                    lambda: other.sync(1) == "price-1 2",
                    PROPAGATION + SLACK,
                    lambda: other.sync(1),
                )
            assert other.sync(2) == one.sync(2) == "price-2 1"

    def test_what_stays_in_memory_is_purged_too(self, server: Redis, client: redis.Redis) -> None:
        """Results that are not shared are purged by the others' purges, in whoever has them."""
        with Workers(server.url, server.url, define=define) as workers:
            one, other = workers
            assert other.functions["local"].sync(1) == "local-1 1"
            assert one.manager.invalidate_tags("all")
            wait_until(
                lambda: other.functions["local"].sync(1) == "local-1 2",
                PROPAGATION + SLACK,
                lambda: "the purge was not seen",
            )

    def test_who_comes_later_knows(self, server: Redis, client: redis.Redis) -> None:
        """A worker that was not there when it was purged does not serve it."""
        with Workers(server.url) as workers:
            (one,) = workers
            old = one.get("/page/x")
            one.settle()
            assert one.manager.invalidate_tags("tag-x")
            assert workers.join(server.url).get("/page/x") != old

    def test_a_soft_purge(self, server: Redis, client: redis.Redis) -> None:
        """What is softly purged is served once more, elsewhere too, and renewed by one load."""
        with Workers(server.url, server.url) as workers:
            one, other = workers
            workers.warm("/slow/x")
            assert one.manager.invalidate("/slow/x", stale=True)
            wait_until(lambda: other.stats["messages"] > 0, LIMIT, lambda: str(other.stats))
            assert other.get("/slow/x") == "x 1"
            other.wait_for("/slow/x", lambda body: body == "x 2")
            one.wait_for("/slow/x", lambda body: body == "x 2")
            workers.settle()
            assert workers.loads.count("x") == 2

    def test_a_soft_purge_is_known_to_who_comes_later(
        self, server: Redis, client: redis.Redis
    ) -> None:
        """A worker without the page in memory serves what was softly purged, and renews it."""
        with Workers(server.url) as workers:
            (one,) = workers
            one.get("/slow/x")
            one.settle()
            assert one.manager.clear(stale=True)
            later = workers.join(server.url)
            assert later.get("/slow/x") == "x 1"
            later.wait_for("/slow/x", lambda body: body == "x 2")

    def test_a_purge_outranks_the_load_before_it(self, server: Redis, client: redis.Redis) -> None:
        """A load that began before a purge made elsewhere is stored nowhere as fresh."""
        with Workers(server.url, server.url) as workers:
            one, other = workers
            other.get("/page/connected")
            asked = threading.Thread(target=one.get, args=("/slow/x",))
            asked.start()
            wait_until(lambda: workers.loads.count("x") == 1, LIMIT, lambda: str(workers.loads))
            assert other.manager.invalidate("/slow/x")
            asked.join()
            workers.settle()
            assert other.get("/slow/x") != "x 1"
            one.wait_for("/slow/x", lambda body: body != "x 1", PROPAGATION + SLACK)


class TestRefreshes:
    def test_who_uses_a_page_has_the_new_one(self, server: Redis, client: redis.Redis) -> None:
        """A refresh elsewhere renews what is used in memory, without a load."""
        with Workers(server.url, server.url) as workers:
            one, other = workers
            times = []
            for _ in range(5):
                workers.warm("/page/x")
                count = len(workers.loads)
                assert one.manager.refresh("/page/x") is not None
                new = one.get("/page/x")
                times.append(other.wait_for("/page/x", new.__eq__))
                assert len(workers.loads) == count + 1
                workers.settle()
            assert soonest(times) < 0.05

    def test_who_does_not_use_it_drops_it(self, server: Redis, client: redis.Redis) -> None:
        """A refresh elsewhere drops what is not used, and asks the store for nothing."""
        with Workers(server.url, server.url) as workers:
            one, other = workers
            one.get("/page/x")
            one.settle()
            other.get("/page/x")  # adopted, and not read since
            other.settle()
            one.manager.refresh("/page/x")
            one.settle()
            wait_until(
                lambda: other.manager.peek("/page/x") is None, LIMIT, lambda: str(other.stats)
            )


class TestOutages:
    def test_a_purge_meanwhile_is_delivered(
        self, server: Redis, client: redis.Redis, proxy: Proxy
    ) -> None:
        """A purge that the store could not be told of says so, holds here, and is told later."""
        with Workers(url_of(proxy), server.url) as workers:
            one, other = workers
            workers.warm("/page/x", "/page/y")
            proxy.refuse()
            assert one.manager.invalidate("/page/x") is False
            assert one.get("/page/x") != "x 1"
            assert other.get("/page/x") == "x 1"
            proxy.passing()
            other.wait_for("/page/x", lambda body: body != "x 1")
            assert other.get("/page/y") == "y 1"

    def test_variants_meanwhile_are_stored(
        self, server: Redis, client: redis.Redis, proxy: Proxy
    ) -> None:
        """Variants that were loaded in an outage are everybody's after it, with what they read."""
        with Workers(url_of(proxy), server.url) as workers:
            one, other = workers
            workers.connect()
            proxy.refuse()
            one.wait_reachable(False)
            tongues = ("de", "fr")
            bodies = [one.get("/tongue/x", Accept_Language=tongue) for tongue in tongues]
            one.settle()
            proxy.passing()
            one.wait_reachable()
            wait_until(lambda: one.stats["unsaved"] == 0, LIMIT, lambda: str(one.stats))
            wait_until(
                lambda: len(entries_of(client, workers.name)) == 4, LIMIT, lambda: "not stored"
            )
            del workers.loads[:]
            for tongue, body in zip(tongues, bodies, strict=True):
                assert other.get("/tongue/x", Accept_Language=tongue) == body
            assert workers.loads == []

    @pytest.mark.parametrize("behind", [0.0, 0.7])
    def test_a_purge_before_the_first_connection(
        self, server: Redis, client: redis.Redis, proxy: Proxy, behind: float
    ) -> None:
        """A purge by a worker that never reached the store is delivered when it does.

        His clock may be behind by less than a second.
        """
        with Workers(url_of(proxy), clock=lambda: time.time() - behind) as workers:
            (one,) = workers
            other = workers.join(server.url, clock=time.time)
            other.get("/page/x")
            proxy.refuse()
            assert one.manager.invalidate("/page/x") is False
            proxy.passing()
            other.wait_for("/page/x", lambda body: body == "x 2")

    def test_a_purge_before_there_is_a_store(self, server: Redis, client: redis.Redis) -> None:
        """A purge while the factory of the store fails is delivered once it does not."""
        works: list[bool] = []

        def factory() -> Any:
            if not works:
                raise ConnectionError("not yet")
            return server.url

        with Workers(factory, server.url) as workers:
            one, other = workers
            other.get("/page/x")
            assert one.manager.invalidate("/page/x") is False
            works.append(True)

            def asked_again() -> bool:
                one.get(f"/page/{time.monotonic()}")
                return one.reachable

            wait_until(asked_again, LIMIT, lambda: str(one.stats))
            other.wait_for("/page/x", lambda body: body == "x 2")

    def test_purges_outlive_the_store(self, tmp_path: Path) -> None:
        """A store that has lost all is told again what was purged, by who knows it."""
        with Redis(tmp_path) as server, Workers(server.url, server.url) as workers:
            one, other = workers
            workers.warm("/page/x")
            assert one.manager.invalidate("/page/x")
            assert one.manager.invalidate_tags("some", stale=True)
            other.wait_for("/page/x", lambda body: body != "x 1")
            one.close()
            client, numbers = server.client(), f"aswr:{{{workers.name}:}}:numbers"
            before, epoch = names_of(client, numbers), client.hget(numbers, "!")
            assert len(before) == 2
            server.restart(empty=True)
            wait_until(
                lambda: names_of(client, numbers) == before, LIMIT, lambda: str(client.keys())
            )
            assert client.hget(numbers, "!") > epoch

    def test_purges_outlive_lost_writes(self, tmp_path: Path) -> None:
        """A purge that the store has forgotten, as it came back from before, is told again."""
        with Redis(tmp_path) as server, Workers(server.url, server.url) as workers:
            one, _ = workers
            workers.warm("/page/x", "/page/y")
            server.client().save()
            assert one.manager.invalidate("/page/x")
            server.kill()
            for worker in workers:
                worker.wait_reachable(False)
            server.start(empty=False)
            # Who was told a number that is lost is not the first to count.
            late = workers.join(server.url)
            late.get("/page/z")
            for worker in workers:
                worker.wait_reachable()
            late.wait_for("/page/x", lambda body: body != "x 1", PROPAGATION + SLACK)
            workers.join(server.url).wait_for("/page/x", lambda body: body != "x 1", 0.0)

    @pytest.mark.parametrize("noticed", [True, False])
    def test_an_older_snapshot(self, tmp_path: Path, noticed: bool) -> None:
        """A purge holds for all, new ones and who was cut off, where Redis is as before it.

        Whether or not who purged has noticed that it was away.
        """
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(Redis(tmp_path))
            proxy = stack.enter_context(Proxy(LOOPBACK, server.port))
            caches = (server.url, server.url, url_of(proxy))
            workers = stack.enter_context(Workers(*caches, **SILENCE))
            one, other, cut_off = workers
            workers.warm("/page/x", "/page/y")
            client = server.client()
            snapshot = snapshot_of(client)
            client.save()
            proxy.hang()
            assert one.manager.invalidate("/page/x")
            other.wait_for("/page/x", lambda body: body != "x 1")
            cut_off.wait_reachable(False)
            assert cut_off.get("/page/x") == "x 1"
            workers.settle()
            if noticed:
                server.kill()
                server.start(empty=False)
                # Who knows of nothing is the first to count.
                workers.join(server.url).get("/page/z")
            else:
                restore(client, snapshot)
            proxy.passing()
            for worker in workers:
                worker.wait_reachable()
            until = time.monotonic() + 1.5
            # Before anybody has stored something newer, who was cut off can only be told.
            for worker in (cut_off, workers.join(server.url), one, other):
                worker.wait_for("/page/x", lambda body: body != "x 1", until - time.monotonic())
            workers.settle()
            assert "x 1" not in {worker.get("/page/x") for worker in workers}
            assert entries_of(client, workers.name)

    def test_lost_writes_that_no_number_tells_of(self, tmp_path: Path) -> None:
        """Who knows a purge looks whether another run of the store has it, and tells it again."""
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(Redis(tmp_path))
            proxy = stack.enter_context(Proxy(LOOPBACK, server.port))
            workers = stack.enter_context(Workers(url_of(proxy)))
            (one,) = workers
            workers.warm("/page/x")
            client, numbers = server.client(), f"aswr:{{{workers.name}:}}:numbers"
            assert one.manager.invalidate("/page/y")
            time.sleep(1.0)  # beats, the first of which looks at everything
            client.save()
            assert one.manager.invalidate("/page/x")
            names = names_of(client, numbers)
            assert len(names) == 2
            proxy.refuse()
            one.wait_reachable(False)
            server.kill()
            server.start(empty=False)
            client.hset(numbers, "#", time.time_ns() // 1000 + 1_000_000)
            assert len(names_of(client, numbers)) == 1
            epoch = client.hget(numbers, "!")
            proxy.passing()
            wait_until(
                lambda: names_of(client, numbers) == names, 5.0, lambda: "it is not told again"
            )
            assert client.hget(numbers, "!") == epoch, "it was told for another reason"

    def test_numbers_that_are_lost_alone(self, server: Redis, client: redis.Redis) -> None:
        """Where the store has lost its numbers and keeps its entries, purges hold all the same."""
        with Workers(server.url, server.url) as workers:
            one, _ = workers
            assert {worker.get("/page/x") for worker in workers} == {"x 1"}
            workers.settle()
            (name,) = entries_of(client, workers.name)
            backup = client.dump(name)
            assert one.manager.invalidate("/page/x")
            client.delete(*client.keys("aswr:{*"))
            client.restore(name, 60_000, backup, replace=True)
            assert workers.join(server.url).get("/page/x") != "x 1"

    @pytest.mark.parametrize("partition", ["refuse", "serve"])
    def test_who_is_cut_off(
        self, server: Redis, client: redis.Redis, proxy: Proxy, partition: str
    ) -> None:
        """Who is cut off serves nothing that may be purged, or goes on, as he was told."""
        with Workers(url_of(proxy), server.url, ASWR_PARTITION=partition, **SILENCE) as workers:
            cut_off, other = workers
            workers.warm("/page/x")
            proxy.hang()
            assert other.manager.invalidate("/page/x")
            if partition == "refuse":
                took = cut_off.wait_for("/page/x", lambda body: body != "x 1")
                assert took < CUT_OFF + SLACK
            else:
                cut_off.wait_reachable(False)
                until = time.monotonic() + CUT_OFF
                while time.monotonic() < until:
                    assert cut_off.get("/page/x") == "x 1"
                    time.sleep(0.05)
            proxy.passing()
            cut_off.wait_reachable()
            new = other.get("/page/x")
            cut_off.wait_for("/page/x", new.__eq__)
            cut_off.settle()
            assert cut_off.get("/page/x") == new, "it is stored and served again"

    def test_who_refused_serves_after_a_new_start(
        self, server: Redis, client: redis.Redis, proxy: Proxy
    ) -> None:
        """A manager that was closed while it was cut off serves from memory when it is back."""
        with Workers(url_of(proxy), ASWR_PARTITION="refuse") as workers:
            (one,) = workers
            one.get("/page/x")
            proxy.refuse()
            one.wait_reachable(False)
            one.manager.close(timeout=0.2)
            proxy.passing()
            one.manager.start()
            one.get("/page/x")
            one.settle()
            assert one.get("/page/x") == one.get("/page/x")

    def test_a_gap_is_made_good(self, server: Redis, client: redis.Redis, proxy: Proxy) -> None:
        """What was stored elsewhere while messages were lost is found when it is next used."""
        with Workers(url_of(proxy), server.url) as workers:
            deaf_one, other = workers
            workers.warm("/page/x")
            with deaf(server):
                other.manager.refresh("/page/x")
                other.settle()
            deaf_one.wait_for("/page/x", lambda body: body == "x 2")
            assert workers.loads.count("x") == 2


MANY = 2500  # names, which are three pages
SPREAD = (0, 998, 999, 1000, 1001, 1998, 1999, 2000, MANY - 1)  # in all of them


class TestPages:
    """What was purged is read a page at a time."""

    @pytest.fixture(params=[1000, 7])
    def page(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
        monkeypatch.setattr("aswr.backplane.PAGE", request.param)
        size: int = request.param
        return size

    @staticmethod
    def purge_many(worker: Worker) -> None:
        """Purge so many tags, in order."""
        for start in range(0, MANY, 100):
            tags = [f"tag-{index}" for index in range(start, min(MANY, start + 100))]
            assert worker.manager.invalidate_tags(*tags)

    def test_who_comes_later_knows_all(self, server: Redis, client: redis.Redis, page: int) -> None:
        """A worker that joins knows every purge, of whichever page, before it serves anything."""
        with Workers(server.url) as workers:
            (one,) = workers
            workers.warm_one(one, *[f"/page/{index}" for index in (*SPREAD, MANY)])
            self.purge_many(one)
            later = workers.join(server.url, ASWR_STORE_TIMEOUT=5.0, ASWR_PROPAGATION=10.0)
            assert later.get(f"/page/{MANY}") == f"{MANY} 1", "that was not purged"
            for index in SPREAD:
                assert later.get(f"/page/{index}") == f"{index} 2"

    def test_who_was_cut_off_knows_all(
        self, server: Redis, client: redis.Redis, proxy: Proxy, page: int
    ) -> None:
        """What was purged while a worker was cut off is known to it soon after."""
        with Workers(server.url, url_of(proxy)) as workers:
            one, cut_off = workers
            paths = [f"/page/{index}" for index in SPREAD]
            workers.warm(*paths)
            proxy.refuse()
            cut_off.wait_reachable(False)
            self.purge_many(one)
            proxy.passing()
            cut_off.wait_reachable()
            for index in SPREAD:
                cut_off.wait_for(f"/page/{index}", f"{index} 1".__ne__, PROPAGATION + SLACK)

    def test_a_name_that_is_purged_between_pages(
        self, server: Redis, client: redis.Redis, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What moves in the log while it is read is not missed, whichever way it moves."""
        monkeypatch.setattr("aswr.backplane.PAGE", 50)
        with Workers(server.url, url_of(proxy)) as workers:
            one, behind = workers
            paths = [f"/page/{index}" for index in SPREAD]
            workers.warm(*paths)
            proxy.refuse()
            behind.wait_reachable(False)
            self.purge_many(one)
            proxy.delay(0.02)
            begun = behind.stats["store_commands"]
            wait_until(
                lambda: behind.stats["store_commands"] > begun + 5, LIMIT, lambda: "no page is read"
            )
            assert not behind.reachable, "all is read already"
            for index in SPREAD:
                one.get(f"/page/{index}")
            one.settle()
            again = [f"tag-{index}" for index in SPREAD]
            assert one.manager.invalidate_tags(*again)
            proxy.passing()
            behind.wait_reachable()
            for index in SPREAD:
                old = {f"{index} 1", f"{index} 2"}
                behind.wait_for(f"/page/{index}", lambda body, old=old: body not in old, 1.5)

    def test_it_is_read_on_after_a_failure(
        self, server: Redis, client: redis.Redis, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who is cut off while he reads goes on where he was, and misses nothing."""
        monkeypatch.setattr("aswr.backplane.PAGE", 10)
        pages = MANY // 10
        with Workers(server.url) as workers:
            (one,) = workers
            workers.warm_one(one, *[f"/page/{index}" for index in SPREAD])
            self.purge_many(one)
            proxy.delay(0.02)
            later = workers.join(url_of(proxy))
            asked = threading.Thread(target=later.get, args=("/page/to-connect",))
            asked.start()

            def a_third() -> bool:
                return later.stats.get("store_commands", 0) > pages / 3

            wait_until(a_third, LIMIT, lambda: str(later.stats))
            proxy.refuse()
            later.wait_reachable(False)
            asked.join()
            before = later.stats["store_commands"]  # of this worker alone: others ask, too
            assert before < pages * 0.9, "all was read already"
            proxy.passing()
            later.wait_reachable()
            after = later.stats["store_commands"]
            for index in SPREAD:
                later.wait_for(f"/page/{index}", f"{index} 1".__ne__, PROPAGATION + SLACK)
            # A page is one command; then there are some that read none.
            assert after < pages + before / 2, f"it began anew: {before}, then {after - before}"


class TestManyWorkers:
    @pytest.mark.parametrize("how", ["pause", "restart"])
    def test_they_recover_together(self, tmp_path: Path, how: str) -> None:
        """After an outage twenty workers are up to date with the work of twenty, and no more.

        Whatever was purged before it. By what they ask and compute, not by the time that it takes:
        the machine may be busy with something else.
        """
        pages = 10_000 / backplane.PAGE
        with Redis(tmp_path) as server, Workers(server.url, **SILENCE) as workers:
            (one,) = workers
            workers.connect()
            for start in range(0, 10_000, 500):  # alone: no thread of another one's holds it up
                assert one.manager.invalidate_tags(*[f"t{start + index}" for index in range(500)])
            others = [workers.join(server.url)]
            began = time.process_time()
            workers.connect()
            alone = time.process_time() - began  # what it takes one of them to read it all
            others += [workers.join(server.url) for _ in range(18)]

            def asked() -> list[int]:
                return [worker.stats["store_commands"] for worker in workers]

            workers.connect()
            workers.warm_one(one, "/page/x")
            for worker in others:
                workers.warm_one(worker, "/page/x")
            if how == "pause":
                server.pause()
            else:
                server.client().save()
                server.kill()
            for worker in workers:
                worker.wait_reachable(False)
            if how == "pause":
                server.resume()
            else:
                server.start(empty=False)
            began, computed, before = time.monotonic(), time.process_time(), asked()
            for worker in workers:
                worker.wait_reachable()
            took, computed = time.monotonic() - began, time.process_time() - computed
            more = [after - count for after, count in zip(asked(), before, strict=True)]
            # A page is one command; beside them each asks, about once a second, how things are.
            assert max(more) < 2 * pages + 3 * took, (more, took)
            assert computed < len(workers) * 4 * alone, (computed, alone)
            assert one.manager.invalidate("/page/x")
            for worker in others:
                worker.wait_for("/page/x", lambda body: body != "x 1", PROPAGATION + SLACK)


class TestWithoutChannels:
    """A user of Redis who may use no channel: all works by asking."""

    @pytest.fixture
    def url(self, server: Redis, client: redis.Redis) -> Iterator[str]:
        rights = ("on", ">mute", "~*", "+@all", "resetchannels")
        client.execute_command("ACL", "SETUSER", "mute", *rights)
        yield f"redis://mute:mute@{LOOPBACK}:{server.port}/0"
        client.execute_command("ACL", "DELUSER", "mute")

    def test_it_works(self, url: str, caplog: pytest.LogCaptureFixture) -> None:
        """Loads are shared, purges hold within the bound, and each worker says so once."""
        with Workers(url, url, ASWR_LEASE=2.0) as workers:
            one, other = workers
            workers.connect()
            assert set(at_once([lambda w=w: w.get("/slow/s") for w in workers] * 5)) == {"s 1"}
            for name in PURGES:
                workers.settle()
                old = one.get("/page/x")
                one.settle()
                other.wait_for("/page/x", old.__eq__)
                assert PURGES[name](one)
                assert one.get("/page/x") != old
                other.wait_for("/page/x", old.__ne__, PROPAGATION + SLACK)
            lines = warnings_of(caplog)
            wait_until(lambda: len(warnings_of(caplog)) >= 2, LIMIT, lambda: str(lines))
            time.sleep(1.5)  # in which it is tried again and again
            lines = warnings_of(caplog)
            assert len(lines) == 2, lines
            assert all("no news of other processes can be heard" in line for line in lines)
            assert all(worker.stats["store_errors"] == 0 for worker in workers)
            assert one.stats["messages"] == 0


class TestUnsafeMethods:
    def test_what_is_not_cached_is_not_purged(self, server: Redis, client: redis.Redis) -> None:
        """A POST to where no cached view answers purges nothing; to another, for all."""

        def define(worker: Worker) -> None:
            @worker.app.route("/form", methods=["GET", "POST"])
            def form() -> str:
                return "done"

            @worker.app.post("/page/<name>", endpoint="write")
            def write(name: str) -> str:
                return "done"

        with Workers(server.url, server.url, define=define) as workers:
            one, other = workers
            workers.connect()
            workers.warm_one(other, "/page/x")
            numbers = f"aswr:{{{workers.name}:}}:numbers"
            for path in ("/form", "/form?a=1", "/nowhere"):
                one.app.test_client().post(path)
            one.settle()
            assert names_of(client, numbers) == {}
            assert one.app.test_client().post("/page/x").status_code == 200
            wait_until(lambda: len(names_of(client, numbers)) == 1, LIMIT, lambda: "no purge")
            other.wait_for("/page/x", "x 1".__ne__, PROPAGATION + SLACK)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


class TestOthers:
    def test_noise_on_the_channel_is_nothing(self, server: Redis, client: redis.Redis) -> None:
        """Messages that are none of ours change nothing."""
        with Workers(server.url, server.url) as workers:
            one, other = workers
            workers.warm("/page/x")
            channel = client.pubsub_channels(f"*{workers.name}*")[0]
            for noise in (b"", b"x", b"\x93\xa1a\xa6stored" + b"0" * 20, b"\xff" * 1000, b"9" * 20):
                client.publish(channel, noise)
            assert one.manager.invalidate("/page/x")
            other.wait_for("/page/x", lambda body: body != "x 1", PROPAGATION + SLACK)

    @pytest.mark.parametrize(
        ("these", "those"),
        [
            ({"ASWR_NAMESPACE": "users"}, {"ASWR_NAMESPACE": "users_admin"}),
            ({"ASWR_NAMESPACE": "users"}, {"ASWR_NAMESPACE": "users:admin"}),
            ({"ASWR_NAMESPACE": "a:b"}, {"ASWR_NAMESPACE": "a", "ASWR_VERSION": "b"}),
            ({"ASWR_NAMESPACE": "a}"}, {"ASWR_NAMESPACE": "a"}),
            ({"ASWR_VERSION": "1"}, {"ASWR_VERSION": "2"}),
            ({"ASWR_VERSION": "1"}, {"ASWR_VERSION": ""}),
            ({"ASWR_NAMESPACE": "ä"}, {"ASWR_NAMESPACE": "a"}),
        ],
    )
    def test_spaces_do_not_mix(
        self, server: Redis, client: redis.Redis, these: dict[str, str], those: dict[str, str]
    ) -> None:
        """Apps with another namespace or another version share neither entries nor purges."""
        with Workers() as workers:
            one = workers.join(server.url, **these)
            twin = workers.join(server.url, **these)
            other = workers.join(server.url, **those)
            assert [w.get("/page/x") for w in (one, twin, other)] == ["x 1", "x 1", "x 2"]
            workers.settle()
            assert one.manager.clear()
            twin.wait_for("/page/x", lambda body: body != "x 1")
            time.sleep(0.1)
            assert other.get("/page/x") == "x 2"


def said_to(worker: Worker) -> list[dict[str, Any]]:
    return desk_of(worker.manager, worker.app).workers()


class TestDescriptions:
    def test_each_is_known_to_all(self, server: Redis, client: redis.Redis) -> None:
        """Every worker knows how the others are; which of them it is itself is said."""
        with Workers(server.url, server.url, server.url) as workers:
            workers.connect()
            one, *_ = workers
            one.get("/page/x")
            one.get("/page/x")

            def described() -> list[list[dict[str, Any]]]:
                return [said_to(worker) for worker in workers]

            wait_until(
                lambda: all(len(said) == 3 for said in described()), LIMIT, lambda: str(described())
            )
            for said in described():
                assert len({each["worker"] for each in said}) == 3
                assert [each["here"] for each in said].count(True) == 1
                assert all(each["pid"] == os.getpid() and each["stats"] for each in said)
            (mine,) = [each for each in said_to(one) if each["here"]]
            assert mine["stats"]["hits"] == one.stats["hits"]
            assert any(view.endswith("page") for view in mine["views"])

    def test_who_is_gone_is_told_of_no_more(self, server: Redis, client: redis.Redis) -> None:
        """A worker that closes, or dies, is soon not listed, and its description expires."""
        with Workers(server.url, server.url) as workers:
            one, other = workers
            workers.connect()
            wait_until(lambda: len(said_to(one)) == 2, LIMIT, lambda: str(said_to(one)))
            (theirs,) = [each["worker"] for each in said_to(other) if each["here"]]
            status = f"aswr:{{{workers.name}:}}:status:{theirs}"
            assert 0 < client.pttl(status) <= 30_000
            other.close()
            wait_until(lambda: len(said_to(one)) == 1, 20.0, lambda: str(said_to(one)))

    def test_it_is_bounded(self, server: Redis, client: redis.Redis) -> None:
        """However much there is to tell, a description stays small, and tells what is most
        wanted."""
        with Workers(server.url, server.url) as workers:
            one, other = workers
            workers.connect()
            for index in range(400):
                one.manager.schedule_periodic_refresh(f"/page/{'x' * 500}-{index}", 1000)
            wait_until(lambda: len(said_to(other)) == 2, LIMIT, lambda: str(said_to(other)))
            assert said_to(one)
            (mine,) = [each for each in said_to(one) if each["here"]]
            assert mine["stats"]["entries"] >= 1
            assert "jobs" not in mine
            status = f"aswr:{{{workers.name}:}}:status:{mine['worker']}"
            assert client.strlen(status) <= LARGEST_DESCRIBED

    def test_what_cannot_be_told(
        self, server: Redis, client: redis.Redis, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is logged once; the worker is listed, and its store is asked as before."""
        with Workers(server.url) as workers:
            (one,) = workers

            def broken() -> list[dict[str, Any]]:
                raise RuntimeError("no jobs today")

            one.manager.site_of(one.app).jobs = broken
            workers.connect()
            for _ in range(2):
                (mine,) = said_to(one)
                assert (mine["here"], mine["pid"]) == (True, os.getpid())
                assert (mine["stats"]["hits"], mine["views"]) == (0, {}), "nothing is known"
            assert one.reachable
            assert one.stats["store_errors"] == 0
        assert len([r for r in caplog.records if "cannot be described" in r.getMessage()]) == 1

    def test_bytes_that_are_no_text(self, server: Redis, client: redis.Redis) -> None:
        """What somebody made of them is told as what it is, and hides nothing else."""
        with Workers(server.url) as workers:
            (one,) = workers
            one.manager.site_of(one.app).jobs = lambda: [{"caf\udce9": "no caf\udce9"}]
            workers.connect()
            (mine,) = said_to(one)
            assert mine["jobs"] == [{r"caf\udce9": r"no caf\udce9"}]
            assert mine["stats"]["loads"] >= 1

    @pytest.mark.parametrize("said", [b"", b"x", b"\x93\x01\x02\x03", b"\x81\x01\x02", b"\xff" * 9])
    def test_noise_is_nothing(self, server: Redis, client: redis.Redis, said: bytes) -> None:
        """A description that is none of ours is left out."""
        with Workers(server.url) as workers:
            (one,) = workers
            workers.connect()
            space = f"aswr:{{{workers.name}:}}:"
            client.zadd(f"{space}workers", {"noise": 2**52})
            client.set(f"{space}status:noise", said)
            assert [each["here"] for each in said_to(one)] == [True]

    def test_another_cannot_claim_to_be_this_one(self, server: Redis, client: redis.Redis) -> None:
        """Which worker is this one is known here, whatever a description says."""
        with Workers(server.url) as workers:
            (one,) = workers
            workers.connect()
            space = f"aswr:{{{workers.name}:}}:"
            client.zadd(f"{space}workers", {"liar": 2**52})
            client.set(
                f"{space}status:liar", msgspec.msgpack.encode({"worker": "liar", "here": True})
            )
            said = {each["worker"]: each["here"] for each in said_to(one)}
            assert said.pop("liar") is False
            assert list(said.values()) == [True]
