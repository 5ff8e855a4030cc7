"""Where Redis is more, or elsewhere, than one server at a port: clusters, sentinels, sockets."""

import gc
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiocache
import pytest
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.sentinel import Sentinel

from aswr.desk import desk_of

from .harness import wait_until
from .redises import Cluster, Redis, SentinelPair
from .workers import LIMIT, SILENCE, Workers, at_once

LONGEST = 2.0  # seconds for a request while a master is lost, of which Redis has its time-out
PASSWORD = "open:sesame@/?#%"


@pytest.fixture(autouse=True)
def _nothing_left_open() -> Iterator[None]:
    """What a test leaves open is its own failure, not the next one's."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(params=[2, 3])
def protocol(request: pytest.FixtureRequest) -> int:
    protocol: int = request.param
    return protocol


def on(cluster: Cluster, protocol: int = 2) -> Callable[[], Any]:
    def factory() -> Any:
        nodes = [ClusterNode(host, port) for host, port in cluster.startup_nodes]
        cache = aiocache.RedisCache()
        cache.client = RedisCluster(startup_nodes=nodes, protocol=protocol)
        return cache

    return factory


def behind(pair: SentinelPair, password: str | None = None) -> Callable[[], Any]:
    def factory() -> Any:
        sentinel = Sentinel(pair.sentinels, socket_timeout=0.25, protocol=2)
        cache = aiocache.RedisCache()
        cache.client = sentinel.master_for(pair.service_name, password=password)
        return cache

    return factory


def work_as_one(workers: Workers) -> None:
    """Two workers load once, and see each other's purges and refreshes."""
    one, other = workers
    workers.connect()
    del workers.loads[:]
    errors = [worker.stats["store_errors"] for worker in workers]  # of a slow first connection
    for page in ("page", "tongue", "large"):
        for index in range(5):
            body = one.get(f"/{page}/{page}-{index}", Accept_Language="de")
            one.settle()
            assert other.get(f"/{page}/{page}-{index}", Accept_Language="de") == body
    assert len(workers.loads) == 15
    assert set(at_once([lambda w=w: w.get("/slow/x") for w in workers] * 10)) == {"x 1"}
    workers.warm("/page/y", "/page/z")
    assert one.manager.invalidate("/page/y")
    other.wait_for("/page/y", lambda body: body == "y 2", 1.5)
    assert other.manager.invalidate_tags("tag-z")
    one.wait_for("/page/z", lambda body: body == "z 2", 1.5)
    one.settle()
    other.get("/page/z")
    other.settle()
    other.get("/page/z")
    one.manager.refresh("/page/z")
    other.wait_for("/page/z", lambda body: body == "z 3", 1.5)
    assert one.manager.clear()
    other.wait_for("/page/page-1", lambda body: body == "page-1 2", 1.5)
    assert [worker.stats["store_errors"] for worker in workers] == errors
    assert all(worker.stats["messages"] > 0 for worker in workers)


def test_a_cluster(cluster: Cluster, protocol: int) -> None:
    """Workers over a Redis Cluster are one fleet."""
    with Workers(on(cluster, protocol), on(cluster, protocol)) as workers:
        work_as_one(workers)
        keys = [list(node.client().scan_iter("aswr:*")) for node in cluster.nodes]
        assert all(keys), "entries are not spread over the nodes"


def test_a_list_of_a_cluster(cluster: Cluster, protocol: int) -> None:
    """Entries, one URL's, and workers are listed on whichever node they lie."""
    with Workers(*[on(cluster, protocol)] * 2) as workers:
        one, other = workers
        workers.connect()
        paths = {f"/page/{index}" for index in range(12)}
        for path in paths:
            one.get(path)
        workers.settle()
        asked = desk_of(other.manager, other.app)
        said = asked.entries(shared=True)
        assert {row["url"] for row in said["entries"]} >= paths
        assert (said["partial"], said["silent"]) == ("", False)
        assert [row["url"] for row in asked.show("/page/7")["entries"]] == ["/page/7"]
        wait_until(lambda: len(asked.workers()) == 2, LIMIT, lambda: str(asked.workers()))


def test_a_cluster_that_loses_a_node(tmp_path: Path) -> None:
    """While a node of a cluster is gone no request fails, and afterwards they are a fleet again."""
    config = {"cluster-require-full-coverage": "no"}
    with (
        Cluster(tmp_path, config=config) as cluster,
        Workers(*[on(cluster)] * 2, **SILENCE) as workers,
    ):
        one, other = workers
        workers.warm("/page/x")
        cluster.nodes[1].kill()
        for index in range(20):
            began = time.monotonic()
            assert one.get(f"/page/{index}") == f"{index} 1"
            assert time.monotonic() - began < LONGEST
        cluster.nodes[1].start(empty=False)
        cluster.wait_ready()
        one.wait_reachable()
        other.wait_reachable()
        wait_until(lambda: one.manager.invalidate("/page/x"), LIMIT, lambda: str(one.stats))
        other.wait_for("/page/x", lambda body: body != "x 1")


@pytest.mark.parametrize("password", [None, PASSWORD])
def test_a_sentinel(tmp_path: Path, password: str | None) -> None:
    """Workers that ask sentinels where the master is are one fleet."""
    with SentinelPair(tmp_path, password=password) as pair:
        factory = behind(pair, password)
        with Workers(factory, factory) as workers:
            work_as_one(workers)


def test_a_failover(tmp_path: Path) -> None:
    """While the master is lost under load no request fails; with the new one they are a fleet."""
    with SentinelPair(tmp_path) as pair, Workers(behind(pair), behind(pair)) as workers:
        one, other = workers
        workers.warm("/page/x", "/page/y")
        assert one.manager.invalidate("/page/y")
        other.wait_for("/page/y", lambda body: body == "y 2")
        workers.settle()
        pair.wait_in_step()
        over = threading.Event()
        longest: list[float] = []

        def ask(worker: Any, number: int) -> None:
            for index in range(1_000_000):
                if over.is_set():
                    return
                began = time.monotonic()
                worker.get(f"/page/{number}-{index % 50}")
                worker.get("/page/x")
                longest.append(time.monotonic() - began)
                time.sleep(0.005)

        def fail_over() -> None:
            try:
                time.sleep(0.3)
                pair.failover()
                time.sleep(0.3)
                for worker in workers:
                    worker.wait_reachable()
            finally:
                over.set()

        calls: list[Callable[[], Any]] = [fail_over]
        calls += [lambda w=w, n=n: ask(w, n) for n in range(2) for w in workers]
        at_once(calls)
        assert len(longest) > 50
        assert max(longest) < LONGEST
        workers.settle()
        assert one.manager.invalidate("/page/x")
        other.wait_for("/page/x", lambda body: body == "x 2")
        one.get("/page/new")
        one.settle()
        assert other.get("/page/new") == "new 1"


def test_a_purge_during_a_failover(tmp_path: Path) -> None:
    """A purge that nobody could be told of is delivered to the new master."""
    with SentinelPair(tmp_path) as pair, Workers(*[behind(pair)] * 2, **SILENCE) as workers:
        one, other = workers
        workers.warm("/page/x")
        pair.wait_in_step()
        pair.master.pause()
        assert one.manager.invalidate("/page/x") is False
        pair.failover()
        other.wait_for("/page/x", lambda body: body != "x 1", 2 * LIMIT)


def test_a_socket(tmp_path: Path) -> None:
    """Workers over a socket in the file system are one fleet."""
    with (
        Redis(tmp_path, unix_socket=True) as server,
        Workers(server.unix_url, server.unix_url) as workers,
    ):
        work_as_one(workers)


def test_valkey(tmp_path: Path) -> None:
    """Workers whose addresses name Valkey are one fleet, also with those that name Redis."""
    with Redis(tmp_path) as server:
        address = server.url.replace("redis://", "valkey://")
        assert address != server.url
        with Workers(address, server.url) as workers:
            work_as_one(workers)


def test_a_password(tmp_path: Path) -> None:
    """Workers that have the password are one fleet, whichever way they give it."""
    with Redis(tmp_path, password="open-sesame", unix_socket=True) as server:
        given = aiocache.RedisCache(port=server.port, password="open-sesame")
        with Workers(server.url, given) as workers:
            work_as_one(workers)
        with Workers(server.url, server.unix_url) as workers:
            work_as_one(workers)
    with Redis(tmp_path, password=PASSWORD) as server:
        url = f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{server.port}/0"
        with Workers(url, url) as workers:
            work_as_one(workers)
