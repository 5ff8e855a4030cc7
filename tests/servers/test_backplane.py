"""What workers of one fleet tell each other: purges, refreshes, and what comes of gaps."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis

from .harness import wait_until
from .proxy import Proxy
from .redises import LOOPBACK, Redis
from .workers import LIMIT, Worker, Workers, entries_of, keys_of, soonest

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
            before = client.hgetall(numbers)
            assert len(before) == 4
            server.restart(empty=True)
            wait_until(lambda: len(client.hgetall(numbers)) == 4, LIMIT, lambda: str(client.keys()))
            after = client.hgetall(numbers)
            names = before.keys() - {b"!", b"#"}
            assert {name: before[name] for name in names} == {name: after[name] for name in names}
            assert after[b"!"] > before[b"!"]

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
            workers = stack.enter_context(Workers(server.url, server.url, url_of(proxy)))
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

    @pytest.mark.parametrize("gap", ["news", "answers"])
    def test_lost_writes_that_no_number_tells_of(
        self, server: Redis, client: redis.Redis, gap: str
    ) -> None:
        """After every gap who knows a purge looks whether the store has it, and tells it again."""
        with Workers(server.url) as workers:
            (one,) = workers
            workers.warm("/page/x")
            numbers = f"aswr:{{{workers.name}:}}:numbers"
            assert one.manager.invalidate("/page/y")
            time.sleep(1.0)  # beats, the first of which looks at everything
            snapshot = snapshot_of(client)
            assert one.manager.invalidate("/page/x")
            names = set(client.hkeys(numbers))
            assert len(names) == 4
            fields = {numbers: {"#": time.time_ns() // 1000 + 1_000_000}}
            if gap == "answers":
                client.execute_command("ACL", "SETUSER", "default", "-eval", "-evalsha")
                try:
                    one.wait_reachable(False)
                    restore(client, snapshot, fields)
                    assert len(client.hkeys(numbers)) == 3
                finally:
                    client.execute_command("ACL", "SETUSER", "default", "+@all")
            else:
                restore(client, snapshot, fields)
                time.sleep(0.5)  # a beat notices nothing
                assert len(client.hkeys(numbers)) == 3
                client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            wait_until(
                lambda: set(client.hkeys(numbers)) == names, 5.0, lambda: "it is not told again"
            )

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
        with Workers(url_of(proxy), server.url, ASWR_PARTITION=partition) as workers:
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
