"""The harness itself: real Redis servers that die and return, and a proxy that misbehaves."""

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import redis
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    InvalidResponse,
    RedisClusterException,
    ResponseError,
    TimeoutError,
)

from .harness import wait_until
from .proxy import Proxy
from .redises import LOOPBACK, Cluster, Redis, SentinelPair

SHORT = 0.3  # seconds for an answer that is not expected
LIMIT = 5.0
SWAP = "redis.call('SET', KEYS[2], redis.call('GET', KEYS[1])) return redis.call('DEL', KEYS[1])"


def gone(pid: int) -> bool:
    """Is there no such process?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def refused(port: int) -> bool:
    """Does nobody listen there?"""
    try:
        socket.create_connection((LOOPBACK, port), LIMIT).close()
    except ConnectionRefusedError:
        return True
    return False


class TestRedis:
    def test_it_answers_and_leaves_nothing(self, tmp_path: Path) -> None:
        """A server answers on its URL, and after the with there is no process and no listener."""
        with Redis(tmp_path) as server:
            client = server.client()
            assert client.set("key", "value")
            assert redis.Redis.from_url(server.url).get("key") == b"value"
            pid = server.pid
        assert gone(pid)
        assert refused(server.port)

    def test_a_failing_test_leaves_nothing(self, tmp_path: Path) -> None:
        """A server ends with the with that fails, even when it is paused."""
        server = Redis(tmp_path)
        pids: list[int] = []

        def fail() -> None:
            with server:
                pids.append(server.pid)
                server.pause()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert gone(*pids)

    def test_a_server_that_cannot_start_says_why(self, tmp_path: Path) -> None:
        """A wrong configuration fails with the server's own words."""
        with pytest.raises(AssertionError, match="no-such-option"):
            Redis(tmp_path, config={"no-such-option": "1"}).start()

    def test_it_is_configured(self, tmp_path: Path) -> None:
        """The test's configuration is added to the harness's."""
        with Redis(tmp_path, config={"maxmemory": "3mb"}) as server:
            assert server.client().config_get("maxmemory") == {"maxmemory": str(3 << 20)}
            assert server.client().config_get("save") == {"save": ""}

    def test_a_killed_server_returns_empty(self, tmp_path: Path) -> None:
        """A server that was killed refuses, and starts again on its port without its data."""
        with Redis(tmp_path) as server:
            client = server.client()
            client.set("key", "value")
            client.save()
            server.kill()
            assert refused(server.port)
            with pytest.raises(ConnectionError):
                client.get("key")
            server.start()
            assert client.get("key") is None
            client.set("key", "value")
            before = server.pid
            server.restart()
            assert server.pid != before
            assert client.get("key") is None

    @pytest.mark.parametrize("appendonly", ["no", "yes"])
    def test_a_restarted_server_keeps_its_data(self, tmp_path: Path, appendonly: str) -> None:
        """A restart that is not to lose data loses none."""
        with Redis(tmp_path, config={"appendonly": appendonly}) as server:
            client = server.client()
            client.set("key", "value", ex=1000)
            server.restart(empty=False)
            assert client.get("key") == b"value"
            assert 0 < client.ttl("key") <= 1000
            server.restart(empty=True)
            assert client.get("key") is None

    def test_a_paused_server_takes_and_does_not_answer(self, tmp_path: Path) -> None:
        """While a server is paused calls time out; once resumed it has them all and answers."""
        with Redis(tmp_path) as server:
            client = server.client(socket_timeout=SHORT)
            client.set("key", 0)
            server.pause()
            with pytest.raises(TimeoutError):
                client.incr("key")
            server.resume()
            server.wait_ready()
            assert client.get("key") == b"1"

    def test_a_paused_server_can_be_stopped(self, tmp_path: Path) -> None:
        """A stop reaches a server that is paused."""
        with Redis(tmp_path) as server:
            pid = server.pid
            server.pause()
            server.stop()
            assert gone(pid)

    def test_a_password_is_asked_for(self, tmp_path: Path) -> None:
        """With a password, the URL has it, and nobody else gets in."""
        with Redis(tmp_path, password="open-sesame") as server:
            assert server.client().ping()
            with pytest.raises(AuthenticationError):
                server.client(password=None).ping()
            with pytest.raises(AuthenticationError):
                server.client(password="guess").ping()

    def test_a_socket_in_the_file_system(self, tmp_path: Path) -> None:
        """A server may answer on a Unix socket, too, with the same password."""
        with Redis(tmp_path, password="open-sesame", unix_socket=True) as server:
            server.client().set("key", "value")
            with redis.Redis.from_url(server.unix_url) as client:
                assert client.get("key") == b"value"


class TestCluster:
    def test_it_takes_keys_over_all_slots(self, tmp_path: Path) -> None:
        """Three nodes share the keys, and each answers for its own."""
        with Cluster(tmp_path) as cluster:
            client = cluster.client()
            keys = [f"key-{number}" for number in range(600)]
            for key in keys:
                client.set(key, key)
            owners = {key: cluster.node_of(key) for key in keys}
            counts = [list(owners.values()).count(node) for node in cluster.nodes]
            assert [node.client().dbsize() for node in cluster.nodes] == counts
            assert min(counts) > 100
            assert client.get("key-7") == owners["key-7"].client().get("key-7") == b"key-7"
            other = next(node for node in cluster.nodes if node is not owners["key-7"])
            with pytest.raises(ResponseError, match=r"MOVED|127\.0\.0\.1"):
                other.client().get("key-7")

            swap = client.register_script(SWAP)
            client.set("{tag}from", "value")
            assert swap(keys=["{tag}from", "{tag}to"]) == 1
            assert client.get("{tag}to") == b"value"
            with pytest.raises(RedisClusterException):
                swap(keys=["key-1", "key-2"])

    def test_it_heals(self, tmp_path: Path) -> None:
        """A node that was killed and started is, with its slots, in the cluster again."""
        with Cluster(tmp_path, password="open-sesame") as cluster:
            node = cluster.nodes[1]
            node.restart()
            cluster.wait_ready()
            key = next(f"key-{n}" for n in range(100) if cluster.node_of(f"key-{n}") is node)
            assert cluster.client().set(key, "value")
            pids = [node.pid for node in cluster.nodes]
        assert all(map(gone, pids))

    def test_a_cluster_that_cannot_start_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When the nodes do not find each other, all of them end."""
        pids: list[int] = []

        def fail(cluster: Cluster) -> None:
            pids.extend(node.pid for node in cluster.nodes)
            raise AssertionError("no cluster")

        monkeypatch.setattr(Cluster, "wait_ready", fail)
        with pytest.raises(AssertionError, match="no cluster"), Cluster(tmp_path):
            pass
        assert len(pids) == 3
        assert all(map(gone, pids))


class TestSentinelPair:
    @pytest.mark.parametrize("password", [None, "open-sesame"])
    def test_it_fails_over(self, tmp_path: Path, password: str | None) -> None:
        """When the master is killed, the sentinel has the replica take its place and its data."""
        with SentinelPair(tmp_path, password=password) as pair:
            client = pair.client()
            first, second = pair.master, pair.replica
            assert pair.master_port == first.port
            client.set("key", "value")
            with pytest.raises(redis.exceptions.ReadOnlyError):
                second.client().set("key", "other")
            pair.wait_in_step()
            pair.failover()
            assert (pair.master, pair.replica) == (second, first)
            assert pair.master_port == second.port
            assert client.get("key") == b"value"
            assert client.set("key", "new")
            pids = [second.pid, pair.sentinel.pid]
        assert all(map(gone, pids))


class Echo:
    """A server that answers one client with what it gets, and remembers all of it."""

    def __init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, 0))
        self._listener.settimeout(LIMIT)
        self.port = self._listener.getsockname()[1]
        self.got = b""

    def __enter__(self) -> "Echo":
        self._pool = ThreadPoolExecutor(1)
        self._served = self._pool.submit(self._serve)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._pool.shutdown()
        self._listener.close()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        with client, suppress(OSError):
            client.settimeout(LIMIT)
            while data := client.recv(65_536):
                self.got += data
                client.sendall(data)


def connected(port: int) -> socket.socket:
    return socket.create_connection((LOOPBACK, port), LIMIT)


def received(client: socket.socket, count: int) -> bytes:
    """So many bytes, or all there are until the end."""
    data = b""
    while len(data) < count and (chunk := client.recv(count - len(data))):
        data += chunk
    return data


def is_silent(client: socket.socket) -> bool:
    """Does nothing come, not even the end, for a while?"""
    return not select.select([client], [], [], SHORT)[0]


def is_reset(client: socket.socket) -> bool:
    """Has the other end broken it off?"""
    try:
        client.recv(1)
    except ConnectionResetError:
        return True
    return False


def resets(port: int) -> bool:
    """Does whoever listens there break off a new connection, be it before we know we have it?"""
    try:
        with connected(port) as end:
            return is_reset(end)
    except ConnectionResetError:
        return True


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def proxy(server: Redis) -> Iterator[Proxy]:
    with Proxy(LOOPBACK, server.port) as proxy:
        yield proxy


@pytest.fixture
def client(server: Redis, proxy: Proxy) -> Iterator[redis.Redis]:
    """A client of the proxy whose connection is open; its first command has passed."""
    server.client().flushall()
    client = server.client(port=proxy.port, socket_timeout=SHORT)
    client.set("key", "value")
    yield client
    client.connection_pool.disconnect()


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as echo:
        yield echo


@pytest.fixture
def echoing(echo: Echo) -> Iterator[Proxy]:
    """A proxy before a server that answers with what it gets."""
    with Proxy(LOOPBACK, echo.port) as proxy:
        yield proxy


@pytest.fixture
def end(echoing: Proxy) -> Iterator[socket.socket]:
    """A connection through that proxy."""
    with connected(echoing.port) as end:
        yield end


class TestProxy:
    def test_it_passes(self, proxy: Proxy, client: redis.Redis) -> None:
        """Answers come through unchanged, long ones too, and bytes and connections are counted."""
        value = os.urandom(300_000)
        assert client.set("long", value)
        assert client.get("long") == value
        assert 300_000 < proxy.bytes_up < 301_000
        assert 300_000 < proxy.bytes_down < 301_000
        assert proxy.connections == 1
        client.connection_pool.disconnect()
        wait_until(lambda: proxy.connections == 0, LIMIT, lambda: "still open")

    def test_an_end_passes(self, echoing: Proxy, end: socket.socket) -> None:
        """Each side learns that the other has ended, after all bytes before."""
        end.sendall(b"last words")
        end.shutdown(socket.SHUT_WR)
        assert received(end, 100) == b"last words"
        wait_until(lambda: echoing.connections == 0, LIMIT, lambda: "still open")

    def test_a_server_that_is_down_resets(self, tmp_path: Path) -> None:
        """Where the server refuses or dies, the proxy resets; when it is back, it passes."""
        with Redis(tmp_path) as server, Proxy(LOOPBACK, server.port) as proxy:
            client = server.client(port=proxy.port)
            assert client.ping()
            server.kill()
            with pytest.raises(ConnectionError):
                client.ping()
            assert resets(proxy.port)
            server.start()
            assert client.ping()

    def test_cut(self, proxy: Proxy, client: redis.Redis) -> None:
        """Open connections are reset, new ones accepted and reset, until bytes pass again."""
        with connected(proxy.port) as old:
            wait_until(lambda: proxy.connections == 2, LIMIT, lambda: "not accepted")
            proxy.cut()
            assert is_reset(old)
        assert resets(proxy.port)
        assert proxy.connections == 0
        with pytest.raises(ConnectionError):
            client.get("key")
        proxy.passing()
        assert client.get("key") == b"value"

    def test_refuse(self, proxy: Proxy, client: redis.Redis) -> None:
        """Open connections are reset, new ones refused, until the proxy listens again."""
        with connected(proxy.port) as old:
            wait_until(lambda: proxy.connections == 2, LIMIT, lambda: "not accepted")
            proxy.refuse()
            assert is_reset(old)
        assert refused(proxy.port)
        with pytest.raises(ConnectionError, match="refused"):
            client.get("key")
        proxy.passing()
        assert client.get("key") == b"value"

    def test_hang(self, proxy: Proxy, client: redis.Redis, server: Redis) -> None:
        """Old and new connections are open and silent; what was sent comes through afterwards."""
        direct = server.client()
        with connected(proxy.port) as old:
            wait_until(lambda: proxy.connections == 2, LIMIT, lambda: "not accepted")
            proxy.hang()
            up, down = proxy.bytes_up, proxy.bytes_down
            with pytest.raises(TimeoutError):
                client.get("key")
            with connected(proxy.port) as new:
                old.sendall(b"INCR old\r\n")
                new.sendall(b"INCR new\r\n")
                assert is_silent(old)
                assert is_silent(new)
                assert direct.mget("old", "new") == [None, None]
                assert (proxy.bytes_up, proxy.bytes_down) == (up, down)
                proxy.passing()
                assert received(old, 4) == received(new, 4) == b":1\r\n"

    def test_hang_hides_an_end(self, proxy: Proxy, client: redis.Redis, server: Redis) -> None:
        """What the server ends stays open for the client; what the client ends is not counted."""
        direct = server.client()
        with connected(proxy.port) as old:
            old.sendall(b"CLIENT ID\r\n")
            number = int(old.recv(100)[1:-2])
            proxy.hang()
            assert direct.client_kill_filter(_id=number) == 1
            assert is_silent(old)
            assert proxy.connections == 2
            client.connection_pool.disconnect()
            wait_until(lambda: proxy.connections == 1, LIMIT, lambda: "still counted")
            proxy.passing()
            assert received(old, 1) == b""

    @pytest.mark.parametrize("end", [Proxy.cut, Proxy.close], ids=["cut", "close"])
    def test_hang_can_be_cut(self, end: Callable[[Proxy], None], proxy: Proxy) -> None:
        """What hangs is reset at once when it is cut."""
        proxy.hang()
        with connected(proxy.port) as new:
            wait_until(lambda: proxy.connections == 1, LIMIT, lambda: "not accepted")
            end(proxy)
            assert is_reset(new)

    def test_delay(self, echoing: Proxy, end: socket.socket) -> None:
        """Chunks come late, in order, and many at a time."""
        echoing.delay(0.4)
        began = time.monotonic()
        sent = [f"{number:06}".encode() for number in range(40)]
        for piece in sent:
            end.sendall(piece)
            time.sleep(0.01)  # chunks of their own
        assert received(end, 240) == b"".join(sent)
        assert 0.8 <= time.monotonic() - began < 4.0, "40 chunks one after the other take 32 s"

    def test_a_delay_ends_at_once(self, echoing: Proxy, end: socket.socket) -> None:
        """What is delayed comes when the mode is over, and goes on hanging if it is to hang."""
        echoing.delay(100.0)
        end.sendall(b"first")
        assert is_silent(end)
        echoing.hang()
        assert is_silent(end)
        echoing.passing()
        assert received(end, 5) == b"first"

    def test_trickle(self, echoing: Proxy, end: socket.socket) -> None:
        """Bytes come at the rate that is asked for, in each direction, and all the same."""
        echoing.trickle(1000)
        sent = os.urandom(600)
        began = time.monotonic()
        end.sendall(sent)
        assert len(received(end, 10)) == 10
        assert time.monotonic() - began < 0.5, "the first bytes waited for the last"
        assert len(received(end, 590)) == 590
        assert time.monotonic() - began >= 0.6
        end.sendall(bytes(10**6))
        assert len(received(end, 1)) == 1
        echoing.passing()
        assert len(received(end, 10**6 - 1)) == 10**6 - 1

    def test_a_trickle_outlasts_a_timeout(self, proxy: Proxy, client: redis.Redis) -> None:
        """A client with a time limit for each read waits for much longer when bytes trickle."""
        client.set("long", "v" * 100)
        proxy.trickle(100)
        began = time.monotonic()
        assert client.get("long") == b"v" * 100
        assert time.monotonic() - began > 3 * SHORT

    def test_garbage(self, echo: Echo, echoing: Proxy, end: socket.socket) -> None:
        """Requests arrive as they are; replies are noise, the same for the same seed."""
        noises = []
        for seed, cuts in ((1, (1000,)), (1, (1, 7, 992)), (2, (1000,))):
            echoing.garbage(seed)
            noise = b""
            for cut in cuts:
                end.sendall(b"r" * cut)
                noise += received(end, cut)
            noises.append(noise)
        assert noises[0] == noises[1] != noises[2]
        assert echo.got == b"r" * 3000
        assert len(set(noises[0])) > 100
        echoing.passing()
        end.sendall(b"plain")
        assert received(end, 5) == b"plain"

    def test_garbage_differs_by_connection(self, proxy: Proxy) -> None:
        """Connections get noise of their own, which the seed and their order decide."""

        def noises() -> list[bytes]:
            proxy.garbage(7)
            found = []
            for _ in range(3):
                with connected(proxy.port) as end:
                    end.sendall(b"PING\r\n")
                    found.append(received(end, 7))
            return found

        first = noises()
        assert len(set(first)) == 3
        assert noises() == first

    def test_garbage_breaks_a_client(self, proxy: Proxy, client: redis.Redis) -> None:
        """A client of Redis fails of noise, and is well on a new connection."""
        failures = set()
        for seed in range(30):
            proxy.garbage(seed)
            try:
                assert client.get("key") != b"value"
            except Exception as error:  # redis-py raises what its parser stumbles over
                failures.add(type(error))
        assert InvalidResponse in failures
        proxy.passing()
        client.connection_pool.disconnect()  # with what it has left unread
        assert client.get("key") == b"value"

    def test_drop_replies(self, proxy: Proxy, client: redis.Redis, server: Redis) -> None:
        """Requests have their effect; nothing comes back, not even later."""
        direct = server.client()
        down = proxy.bytes_down
        proxy.drop_replies()
        with pytest.raises(TimeoutError):
            client.incr("count")
        with connected(proxy.port) as end:
            end.sendall(b"INCR count\r\n")
            assert is_silent(end)
            wait_until(lambda: direct.get("count") >= b"2", LIMIT, lambda: "it did not arrive")
            assert proxy.bytes_down == down
            proxy.passing()
            end.sendall(b"ECHO later\r\n")
            assert received(end, 11) == b"$5\r\nlater\r\n"

    def test_many_switches_under_load(self, proxy: Proxy, server: Redis) -> None:
        """Modes may change as fast as one likes while clients come and go; the proxy survives."""
        stop = threading.Event()

        def hammer() -> int:
            answers = 0
            client = server.client(port=proxy.port, socket_timeout=0.05)
            while not stop.is_set():
                with suppress(Exception):  # noise makes redis-py raise anything
                    answers += client.set("key", "value") is True
            client.connection_pool.disconnect()
            return answers

        modes: list[Callable[[], None]] = [
            proxy.cut, proxy.hang, proxy.refuse, proxy.drop_replies, lambda: proxy.garbage(1),
            lambda: proxy.delay(0.01), lambda: proxy.trickle(50),
        ]  # fmt: skip
        with ThreadPoolExecutor(4) as pool:
            work = [pool.submit(hammer) for _ in range(4)]
            try:
                for mode in modes * 4:
                    mode()
                    time.sleep(0.01)
                    proxy.passing()
                    time.sleep(0.01)
            finally:
                stop.set()
        assert sum(one.result() for one in work) > 0
        wait_until(lambda: proxy.connections == 0, LIMIT, lambda: "still open")
        assert server.client(port=proxy.port).ping()

    def test_close(self, server: Redis) -> None:
        """At the end the thread has ended, connections are reset, and nobody listens."""
        threads = threading.active_count()
        with Proxy(LOOPBACK, server.port) as proxy:
            old = connected(proxy.port)
            wait_until(lambda: proxy.connections == 1, LIMIT, lambda: "not accepted")
            proxy.trickle(1)
            old.sendall(b"PING\r\n")
        with old:
            assert is_reset(old)
        assert refused(proxy.port)
        assert threading.active_count() == threads
