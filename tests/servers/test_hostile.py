"""Whoever can write to Redis writes anything there: no request notices, and nothing is executed."""

import pickle
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from aswr.envelope import LARGEST

from .redises import Redis
from .workers import Worker, Workers, entries_of, keys_of

PHASES = (Phase.explicit, Phase.reuse, Phase.generate)  # each example takes the time of a load
few = settings(
    max_examples=40, deadline=None, phases=PHASES,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
_names = count()

Spoil = Callable[[redis.Redis, bytes], None]


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Redis) -> redis.Redis:
    return server.client()


@pytest.fixture(scope="module")
def workers(server: Redis) -> Iterator[Workers]:
    with Workers(*[server.url] * 4) as workers:
        workers.warm("/page/x", "/tongue/x")
        yield workers


def spoilt(workers: Workers, client: redis.Redis, spoil: Spoil, page: str = "page") -> None:
    """Have a page in Redis alone, spoil all that is stored of it, and ask for it.

    The answers are right; what was spoilt is counted, and mended by the next load of what lies
    there: of a variant that may be one more than of the note that leads to it.
    """
    name = f"n{next(_names)}"
    first, second, third, last = workers
    front = "de " if page == "tongue" else ""
    spare = 1 if page == "tongue" else 0

    def ask(worker: Worker) -> int:
        """The number of the load that answered."""
        body = worker.get(f"/{page}/{name}", Accept_Language="de")
        worker.settle()
        assert body.startswith(f"{front}{name} "), body
        return int(body.rpartition(" ")[2])

    before = set(entries_of(client, workers.name))
    assert ask(first) == 1
    own = set(entries_of(client, workers.name)) - before
    assert own
    for key in own:
        spoil(client, key)
    errors = second.stats["store_errors"]
    assert ask(second) == workers.loads.count(name) <= 2
    loads = workers.loads.count(name)
    assert loads == 1 or second.stats["store_errors"] > errors
    assert ask(third) <= loads + spare
    loads = workers.loads.count(name)
    assert ask(last) == loads
    assert workers.loads.count(name) == loads, "it is not mended"
    assert all(worker.reachable for worker in workers)


def with_data(change: Callable[[bytes], bytes]) -> Spoil:
    """Put something else in place of what is there, for as long as that would last."""

    def spoil(client: redis.Redis, key: bytes) -> None:
        data = client.get(key)
        assert data is not None
        client.set(key, change(data), keepttl=True)

    return spoil


@pytest.mark.parametrize("page", ["page", "tongue"])
class TestPages:
    @few
    @given(st.binary(max_size=200))
    def test_random_bytes(
        self, workers: Workers, client: redis.Redis, page: str, noise: bytes
    ) -> None:
        """Any bytes in place of an entry are no entry."""
        spoilt(workers, client, with_data(lambda data: noise), page)

    @few
    @given(st.integers(0, 2000), st.binary(max_size=20))
    def test_cut_short(
        self, workers: Workers, client: redis.Redis, page: str, where: int, end: bytes
    ) -> None:
        """An entry that is cut short, whatever follows, is no entry."""
        spoilt(workers, client, with_data(lambda data: data[: where % len(data)] + end), page)

    @few
    @given(st.integers(0, 2**20))
    def test_a_bit_flipped(
        self, workers: Workers, client: redis.Redis, page: str, where: int
    ) -> None:
        """An entry of which one bit is another is no entry."""

        def flip(data: bytes) -> bytes:
            byte, bit = divmod(where % (8 * len(data)), 8)
            return data[:byte] + bytes([data[byte] ^ 1 << bit]) + data[byte + 1 :]

        spoilt(workers, client, with_data(flip), page)

    @pytest.mark.parametrize("bit", [*range(0, 192, 11), *range(64, 72), *range(128, 136)])
    def test_a_bit_of_the_head(
        self, workers: Workers, client: redis.Redis, page: str, bit: int
    ) -> None:
        """Whichever bit of the head is another, of number and time too, it is no entry."""

        def flip(data: bytes) -> bytes:
            byte = bytes([data[bit // 8] ^ 1 << bit % 8])
            return data[: bit // 8] + byte + data[bit // 8 + 1 :]

        spoilt(workers, client, with_data(flip), page)

    @few
    @given(st.binary(max_size=60))
    def test_a_head_and_noise(
        self, workers: Workers, client: redis.Redis, page: str, noise: bytes
    ) -> None:
        """A head that promises an entry promises nothing of what follows."""
        spoilt(workers, client, with_data(lambda data: data[:24] + noise), page)

    def test_another_pages_bytes(self, workers: Workers, client: redis.Redis, page: str) -> None:
        """An entry under another's key is no entry there."""
        first, *_ = workers
        first.get("/page/another")
        first.settle()
        for other in entries_of(client, workers.name)[:20]:
            data = client.get(other)
            if data is not None:
                spoilt(workers, client, with_data(lambda own, data=data: data), page)

    def test_another_apps_bytes(
        self, server: Redis, workers: Workers, client: redis.Redis, page: str
    ) -> None:
        """An entry of the same page of another app is no entry here."""
        with Workers(server.url) as others:
            (other,) = others

            def swap(client: redis.Redis, key: bytes) -> None:
                other.get(f"/page/{workers.loads[-1]}")
                other.settle()
                data = client.get(entries_of(client, others.name)[0])
                client.set(key, data or b"", keepttl=True)

            spoilt(workers, client, swap, page)

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_pickles(
        self, workers: Workers, client: redis.Redis, page: str, protocol: int, tmp_path: Path
    ) -> None:
        """A pickle is not unpickled, with or without a head, or a seal."""
        evil = pickle.dumps(Evil(tmp_path / "made"), protocol)
        spoilt(workers, client, with_data(lambda data: evil), page)
        spoilt(workers, client, with_data(lambda data: data[:24] + evil), page)
        spoilt(workers, client, with_data(lambda data: data[:24] + evil + data[-8:]), page)
        assert not (tmp_path / "made").exists()
        pickle.loads(evil)
        assert (tmp_path / "made").exists(), "it would not have shown"

    @pytest.mark.parametrize("kind", ["list", "hash", "set", "zset", "stream"])
    def test_another_type(
        self, workers: Workers, client: redis.Redis, page: str, kind: str
    ) -> None:
        """Another type in place of an entry is no entry."""

        def spoil(client: redis.Redis, key: bytes) -> None:
            client.delete(key)
            make(client, key, kind)

        spoilt(workers, client, spoil, page)

    def test_nothing(self, workers: Workers, client: redis.Redis, page: str) -> None:
        """An empty value is no entry."""
        spoilt(workers, client, with_data(lambda data: b""), page)


def test_too_large(server: Redis, client: redis.Redis) -> None:
    """What is larger than any entry can be is no entry."""
    with Workers(*[server.url] * 4, ASWR_MAX_BYTES=2**20) as workers:
        workers.warm("/page/x")
        spoilt(workers, client, with_data(lambda data: data + b"x" * 2**21))


@pytest.mark.parametrize("page", ["page", "tongue"])
def test_what_nobody_should_be_sent(workers: Workers, client: redis.Redis, page: str) -> None:
    """What is larger than anything that is ever stored is dropped without being looked at."""

    def sent() -> int:
        return int(client.info("stats")["total_net_output_bytes"])

    before = sent()
    spoilt(workers, client, with_data(lambda data: data + bytes(LARGEST)), page)
    assert sent() - before < LARGEST / 2


def make(client: redis.Redis, key: bytes, kind: str) -> None:
    if kind == "list":
        client.rpush(key, "x")
    elif kind == "hash":
        client.hset(key, "x", "y")
    elif kind == "set":
        client.sadd(key, "x")
    elif kind == "zset":
        client.zadd(key, {"x": 1})
    else:
        client.xadd(key, {"x": "y"})


class TestLeases:
    @pytest.mark.parametrize("kind", ["garbage", "list", "hash"])
    def test_what_lies_for_ever(self, workers: Workers, client: redis.Redis, kind: str) -> None:
        """What lies for ever where a lease should be keeps nobody waiting."""
        first, second, *_ = workers
        workers.settle()
        before = set(entries_of(client, workers.name))
        first.get(f"/page/{kind}")
        first.settle()
        (key,) = set(entries_of(client, workers.name)) - before
        client.delete(key)
        if kind == "garbage":
            client.set(key + b":lease", "garbage")
        else:
            make(client, key + b":lease", kind)
        assert second.ask(f"/page/{kind}").status_code == 200
        client.delete(key + b":lease")


class TestControl:
    @pytest.mark.parametrize("which", ["numbers", "log", "workers"])
    @pytest.mark.parametrize("kind", ["garbage", "list", "noise"])
    def test_what_the_fleet_counts_by(self, server: Redis, which: str, kind: str) -> None:
        """Whatever lies where the fleet counts, requests are answered and purges hold here."""
        with Workers(server.url, server.url) as workers:
            one, _ = workers
            workers.warm("/page/x")
            client = server.client()
            (key,) = keys_of(client, f"aswr:{{{workers.name}:}}:{which}")
            if kind == "garbage":
                client.set(key, "garbage")
            elif kind == "list":
                client.delete(key)
                client.rpush(key, "x")
            elif which == "numbers":
                client.hset(key, mapping={"#": "many", "!": "some", "hkx": "none", "": ""})
            else:
                client.zadd(key, {b"\xff": 5, b"": 2.0**60, b"hk\xc1": 7, b"hq": 1e300})
            one.manager.invalidate("/page/x")
            assert one.get("/page/x") != "x 1"
            for index in range(3):
                for worker in workers:
                    assert worker.get(f"/page/{index}").startswith(f"{index} ")
