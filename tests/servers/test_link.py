"""The way to Redis by itself: batches, deadlines, errors, and the subscription."""

import asyncio
import contextlib
import contextvars
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from aswr.backend import client_of, open_cache
from aswr.breaker import Breaker
from aswr.link import GONE, MORE, MOST_COMMANDS, Link, Refused, Unreachable
from aswr.scripts import DROP, LOOK, RELEASE, RENEW, Script

from .proxy import Proxy
from .redises import LOOPBACK, Redis

TIMEOUT = 0.25
KEYS = ("key", "key:lease", "key:awaited", "key:read")
TAKEN = 1000  # bytes of a look
SOON = 5 * TIMEOUT  # a busy machine's time for what takes one time-out


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


@dataclass
class Linked:
    """A link, its breaker, and what it has begun."""

    link: Link
    breaker: Breaker
    batches: int = 0
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def get(self, key: str) -> Coroutine[Any, Any, Any]:
        return self.link.run(LOOK, (key,), TAKEN, parse=lambda reply: reply)

    async def outcome(self, asked: Coroutine[Any, Any, Any]) -> Any:
        """What was answered, or the class of the error."""
        try:
            return await asked
        except (Unreachable, Refused) as error:
            return type(error)


@contextlib.asynccontextmanager
async def linked(url: str, timeout: float = TIMEOUT) -> AsyncIterator[Linked]:
    loop = asyncio.get_running_loop()

    def task(work: Coroutine[Any, Any, None], name: str, context: contextvars.Context) -> Any:
        made.batches += 1
        begun = loop.create_task(work, name=name, context=context)
        made.tasks.add(begun)
        begun.add_done_callback(made.tasks.discard)
        return begun

    breaker = Breaker("the store", lambda: None)
    link = Link(client_of(open_cache(url, timeout)), timeout, breaker, task)
    made = Linked(link, breaker)
    try:
        yield made
    finally:
        await link.close()
        for left in made.tasks:
            left.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)


def url_of(proxy: Proxy) -> str:
    return f"redis://{LOOPBACK}:{proxy.port}/0"


def reads_of(client: redis.Redis) -> int:
    """How often the server has read from any client, less what it read of this question."""
    return int(client.info("stats")["total_reads_processed"])


class TestBatches:
    def test_what_is_asked_together_goes_together(self, server: Redis, client: redis.Redis) -> None:
        """Commands of one turn of the loop are one round trip, each with its own answer."""

        async def run() -> None:
            async with linked(server.url) as made:
                assert await made.get("key-0") == b"0"
                before, made.batches = reads_of(client), 0
                names = [f"key-{index}" for index in range(MOST_COMMANDS)]
                replies = await asyncio.gather(*map(made.get, names))
                assert replies == [b"%d" % index for index in range(MOST_COMMANDS)]
                assert made.batches == 1
                assert reads_of(client) - before <= 3  # 4 KiB may come in two; one is the question

        client.mset({f"key-{index}": index for index in range(MOST_COMMANDS)})
        asyncio.run(run())

    def test_few_batches_are_under_way(self, server: Redis, client: redis.Redis) -> None:
        """Many commands share a few connections, and all are answered."""

        async def run() -> None:
            async with linked(server.url, timeout=5.0) as made:
                count = 20 * MOST_COMMANDS
                replies = await asyncio.gather(*(made.get("key") for _ in range(count)))
                assert replies == [b"value"] * count
                assert made.batches == 20
                assert made.link.commands == count
                assert len(client.client_list()) <= 1 + 8

        client.set("key", "value")
        asyncio.run(run())

    def test_an_upload_holds_up_no_look(
        self, server: Redis, client: redis.Redis, proxy: Proxy
    ) -> None:
        """While bodies are uploaded slowly, short commands are answered."""

        async def run() -> None:
            async with linked(url_of(proxy), timeout=1.0) as made:
                await made.get("key")
                proxy.trickle(500_000)
                body = b"x" * 1_000_000
                upload = asyncio.create_task(
                    made.link.run(ECHO, ("key",), body, parse=bytes, bulk=True)
                )
                await asyncio.sleep(0.1)
                for _ in range(5):
                    assert await made.get("key") is None
                assert not upload.done()
                proxy.passing()
                assert await upload == b"%d" % len(body)
                assert made.breaker.closed

        asyncio.run(run())


ECHO = Script("return tostring(string.len(ARGV[1]))")


class TestScripts:
    def test_the_server_learns_them(self, server: Redis, client: redis.Redis) -> None:
        """Scripts run on a server that does not know them, or no longer: nobody notices."""

        async def run() -> None:
            async with linked(server.url) as made:
                for _ in range(2):
                    client.script_flush()
                    for _ in range(2):
                        asked = [
                            made.link.run(ECHO, ("key",), b"abc", parse=int),
                            made.get("key"),
                            made.link.run(DROP, ("key",), 1, parse=int),
                            made.link.run(RENEW, KEYS, "me", 5, parse=int),
                        ]
                        assert await asyncio.gather(*asked) == [3, None, 0, 0]
                assert made.breaker.errors == 0

        asyncio.run(run())

    def test_a_reply_that_makes_no_sense(self, server: Redis) -> None:
        """What answers in a way that no Redis would is not asked any more."""

        def refuse(reply: Any) -> None:
            raise ValueError(reply)

        async def run() -> None:
            async with linked(server.url) as made:
                asked = made.link.run(ECHO, ("key",), b"abc", parse=refuse)
                assert await made.outcome(asked) is Unreachable
                assert not made.breaker.closed

        asyncio.run(run())


class TestOutages:
    def test_silence_is_waited_for_once(self, server: Redis, proxy: Proxy) -> None:
        """Whoever waits when the time is up is told so together; then asking costs nothing."""

        async def run() -> None:
            async with linked(url_of(proxy), timeout=2 * TIMEOUT) as made:
                await made.get("key")
                proxy.hang()
                began = time.monotonic()
                asked = [made.get("key") for _ in range(10 * MOST_COMMANDS)]
                asked += [
                    made.link.run(RELEASE, KEYS, "me", "news", b"", parse=int, bulk=True)
                    for _ in range(10)
                ]
                outcomes = await asyncio.gather(*map(made.outcome, asked))
                assert 2 * TIMEOUT * 0.9 <= time.monotonic() - began < SOON, "uploads take longer"
                assert set(outcomes) == {Unreachable}
                assert made.batches <= 1 + 8 + 2, "some were sent after the time was up"
                assert not made.breaker.closed
                made.batches = 0
                assert await made.outcome(made.get("key")) is Unreachable
                assert made.batches == 0

        asyncio.run(run())

    @pytest.mark.parametrize("how", ["cut", "refuse"])
    def test_a_broken_connection(self, server: Redis, proxy: Proxy, how: str) -> None:
        """A connection that breaks, and cannot be made again, is no time-out: it is told soon."""

        async def run() -> None:
            async with linked(url_of(proxy), timeout=5.0) as made:
                await made.get("key")
                getattr(proxy, how)()
                began = time.monotonic()
                assert await made.outcome(made.get("key")) is Unreachable
                assert time.monotonic() - began < 2.5
                assert not made.breaker.closed

        asyncio.run(run())

    def test_a_connection_is_made_anew(self, server: Redis, client: redis.Redis) -> None:
        """Connections that the server has closed meanwhile are no outage."""

        async def run() -> None:
            async with linked(server.url) as made:
                await asyncio.gather(*(made.get("key") for _ in range(3 * MOST_COMMANDS)))
                client.execute_command("CLIENT", "KILL", "TYPE", "normal")
                assert await made.get("key") is None
                assert made.breaker.closed

        asyncio.run(run())

    def test_garbage(self, server: Redis, proxy: Proxy) -> None:
        """Noise in place of answers raises nothing else, and hangs nobody."""

        async def run(seed: int) -> None:
            async with linked(url_of(proxy)) as made:
                await made.get("key")
                proxy.garbage(seed)
                began = time.monotonic()
                asked = [
                    made.link.run(DROP, ("key",), 1, parse=int),
                    made.get("key"),
                    made.link.run(RENEW, KEYS, "me", 5, parse=int),
                ]
                outcomes = await asyncio.gather(*map(made.outcome, asked))
                assert {type(one) if isinstance(one, int) else one for one in outcomes} <= {
                    Unreachable, Refused, int, None,
                } | {one for one in outcomes if isinstance(one, bytes)}  # fmt: skip
                assert time.monotonic() - began < SOON
            proxy.passing()

        for seed in range(20):
            asyncio.run(run(seed))

    def test_a_probe_asks_all_the_same(self, server: Redis, proxy: Proxy) -> None:
        """While nobody else asks, a probe finds out whether the server is back."""

        async def run() -> None:
            async with linked(url_of(proxy)) as made:
                proxy.refuse()
                assert await made.outcome(made.get("key")) is Unreachable
                probe = made.link.run(DROP, ("key",), 1, parse=int, probe=True)
                assert await made.outcome(probe) is Unreachable
                proxy.passing()
                await made.link.renew()
                assert await made.link.run(DROP, ("key",), 1, parse=int, probe=True) == 0
                made.breaker.mend()
                assert await made.get("key") is None

        asyncio.run(run())

    def test_a_batch_that_never_begins(self, server: Redis) -> None:
        """Who asked is told, too, where his batch is cancelled before its first step."""

        async def run() -> None:
            async with linked(server.url) as made:
                asked = asyncio.create_task(made.outcome(made.get("key")))
                while not made.tasks:  # noqa: ASYNC110
                    await asyncio.sleep(0)
                for batch in made.tasks:
                    batch.cancel()
                assert await asyncio.wait_for(asked, SOON) is Unreachable
                assert made.link.commands == 0, "it had begun"
                assert await made.get("key") is None

        asyncio.run(run())

    def test_closing_leaves_no_connection(self, server: Redis, client: redis.Redis) -> None:
        """A batch that is under way when all is closed does not connect anew."""

        async def run() -> None:
            async with linked(server.url, 2.0) as made:
                await made.get("key")
                client.client_pause(300)
                asked = asyncio.create_task(made.outcome(made.get("key")))
                while not made.tasks:  # noqa: ASYNC110
                    await asyncio.sleep(0)
                await asyncio.sleep(0.05)  # it is with the server, which does not answer
                await made.link.close()
                assert await asked is Unreachable
                if made.tasks:
                    await asyncio.wait(made.tasks)
                assert await made.outcome(made.get("key")) is Unreachable
                there = await asyncio.to_thread(client.client_list)
                assert len(there) == 1, there

        asyncio.run(run())

    def test_who_left_is_not_told(self, server: Redis, proxy: Proxy) -> None:
        """Who waits no longer holds up nobody of his batch."""

        async def run() -> None:
            async with linked(url_of(proxy)) as made:
                gone = asyncio.create_task(made.get("key"))
                asked = asyncio.create_task(made.get("key"))
                await asyncio.sleep(0)
                gone.cancel()
                assert await asked is None
                assert made.breaker.closed

        asyncio.run(run())


class TestLookingOn:
    def test_nothing_follows_from_a_failure(
        self, server: Redis, client: redis.Redis, proxy: Proxy
    ) -> None:
        """Who looks on waits longer than a request would, and what he runs into is his alone."""
        client.set("key", "x")

        async def ask() -> None:
            async with linked(url_of(proxy)) as made:
                made.link._aside.limit = 2 * TIMEOUT

                def look() -> Coroutine[Any, Any, Any]:
                    return made.link.run(
                        LOOK, ("key",), TAKEN, parse=lambda reply: reply, aside=True
                    )

                assert await look() == b"x"
                client.delete("key")
                client.lpush("key", "a list")
                text = "return redis.call('GET', KEYS[1])"
                bad = made.link.run(Script(text), ("key",), parse=str, aside=True)
                assert await made.outcome(bad) is Refused
                odd = made.link.run(LOOK, ("key",), TAKEN, parse=_senseless, aside=True)
                assert await made.outcome(odd) is Unreachable
                proxy.hang()
                began = time.monotonic()
                assert await made.outcome(look()) is Unreachable
                assert time.monotonic() - began >= 2 * TIMEOUT
                assert (made.breaker.closed, made.breaker.errors) == (True, 0)
                proxy.passing()
                assert await made.outcome(made.get("key")) == b""

        asyncio.run(ask())

    def test_he_does_not_wait_where_all_others_do_not(self, server: Redis, proxy: Proxy) -> None:
        """Once a request has found the store silent, who looks on is told so, too."""

        async def ask() -> None:
            async with linked(url_of(proxy)) as made:
                proxy.hang()
                began = time.monotonic()
                look = made.link.run(LOOK, ("key",), TAKEN, parse=str, aside=True)
                said = await asyncio.gather(made.outcome(look), made.outcome(made.get("key")))
                assert said == [Unreachable, Unreachable]
                assert time.monotonic() - began < SOON < made.link._aside.limit
                assert not made.breaker.closed

        asyncio.run(ask())


def _senseless(reply: Any) -> Any:
    raise ValueError(reply)


class TestErrors:
    @pytest.fixture(autouse=True)
    def _restored(self, client: redis.Redis) -> Iterator[None]:
        yield
        client.config_set("maxmemory", 0)
        client.replicaof("NO", "ONE")
        client.acl_deluser("meek")

    def trips(self, url: str, spoil: Callable[[], object] = lambda: None) -> bool:
        """Does a write open the breaker, once the server is spoilt?"""

        async def run() -> bool:
            async with linked(url) as made:
                spoil()
                write = Script("return redis.call('SET', KEYS[1], 'x')")
                assert await made.outcome(made.link.run(write, ("key",), parse=str)) in (
                    Unreachable, Refused,
                )  # fmt: skip
                return not made.breaker.closed

        return asyncio.run(run())

    def test_out_of_memory(self, server: Redis, client: redis.Redis) -> None:
        """A server that is out of memory is not asked any more."""
        assert self.trips(server.url, lambda: client.config_set("maxmemory", 1))

    def test_a_replica(self, server: Redis, client: redis.Redis) -> None:
        """A server that only reads is not asked any more."""
        assert self.trips(server.url, lambda: client.replicaof(LOOPBACK, 1))

    def test_a_wrong_password(self, tmp_path: Path) -> None:
        """A server that lets us not in is not asked any more."""
        with Redis(tmp_path, password="open-sesame") as server:
            assert self.trips(f"redis://:wrong@{LOOPBACK}:{server.port}/0")
            assert self.trips(f"redis://{LOOPBACK}:{server.port}/0")
            assert not self.trips_reading(server.url)

    def trips_reading(self, url: str) -> bool:
        async def run() -> bool:
            async with linked(url) as made:
                await made.outcome(made.get("key"))
                return not made.breaker.closed

        return asyncio.run(run())

    def test_no_permission(self, server: Redis, client: redis.Redis) -> None:
        """A user who may not run scripts is told so once, not at every key."""
        client.acl_setuser(
            "meek", enabled=True, nopass=True, keys=["*"], commands=["+get", "+ping", "+client"]
        )
        assert self.trips(f"redis://meek:any@{LOOPBACK}:{server.port}/0")

    @pytest.mark.parametrize(
        "said",
        [
            "OOM command not allowed when used memory > 'maxmemory'.",
            "READONLY You can't write against a read only replica.",
            "LOADING Redis is loading the dataset in memory",
            "NOAUTH Authentication required.",
            "WRONGPASS invalid username-password pair or user is disabled.",
            "NOPERM this user has no permissions to run the 'get' command",
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "CLUSTERDOWN The cluster is down",
            "NOREPLICAS Not enough good replicas to write.",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "BUSY Redis is busy running a script.",
            "ERR unknown command `EVALSHA`, with args beginning with: ",
            "ERR max number of clients reached",
        ],
    )
    def test_whatever_a_server_says_of_itself(self, said: str) -> None:
        """As it comes: newer servers do not wrap what a script failed of in an error of its own."""

        async def run() -> bool:
            async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                with contextlib.suppress(ConnectionError):
                    while data := await reader.read(65536):
                        asked = data.count(b"CLIENT\r\n")
                        reply = b"+OK\r\n" * asked if asked else f"-{said}\r\n".encode()
                        writer.write(reply)
                writer.close()

            async with await asyncio.start_server(answer, LOOPBACK, 0) as fake:
                port = fake.sockets[0].getsockname()[1]
                async with linked(f"redis://{LOOPBACK}:{port}/0") as made:
                    assert await made.outcome(made.get("key")) in (Unreachable, Refused)
                    return not made.breaker.closed

        assert asyncio.run(run())

    def test_one_key_of_another_type(self, server: Redis, client: redis.Redis) -> None:
        """What is wrong with one key is told to who asked for it, and to nobody else."""

        async def run() -> None:
            async with linked(server.url) as made:
                read = Script("return redis.call('GET', KEYS[1])")
                asked = [
                    made.link.run(read, (name,), parse=bytes) for name in ("good", "list", "good")
                ]
                outcomes = await asyncio.gather(*map(made.outcome, asked))
                assert outcomes == [b"good", Refused, b"good"]
                assert made.breaker.closed
                assert made.breaker.errors == 1

        client.set("good", "good")
        client.rpush("list", "x")
        asyncio.run(run())


class TestNews:
    HEARTBEAT = 0.2

    async def collect(self, made: Linked, heard: list[bytes], begun: asyncio.Event) -> None:
        news = made.link.listen("news", self.HEARTBEAT, begun.set)
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError, TimeoutError):
            async for message in news:
                heard.append(message)

    def test_messages_come_in_order(self, server: Redis, client: redis.Redis) -> None:
        """From when the subscription has begun every message comes, as it is."""

        async def run() -> list[bytes]:
            heard: list[bytes] = []
            async with linked(server.url) as made:
                begun = asyncio.Event()
                task = asyncio.create_task(self.collect(made, heard, begun))
                await asyncio.wait_for(begun.wait(), 5)
                for index in range(100):
                    client.publish("news", b"\xff%d" % index)
                until = time.monotonic() + 5
                while len(heard) < 100 and time.monotonic() < until:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            return heard

        assert asyncio.run(run()) == [b"\xff%d" % index for index in range(100)]

    def test_quiet_is_no_silence(self, server: Redis) -> None:
        """As long as the server gives signs of life the subscription stays, without messages."""

        async def run() -> None:
            async with linked(server.url) as made:
                task = asyncio.create_task(self.collect(made, [], asyncio.Event()))
                await asyncio.sleep(6 * self.HEARTBEAT)
                assert not task.done()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        asyncio.run(run())

    @pytest.mark.parametrize("how", ["hang", "drop_replies", "cut", "refuse"])
    def test_a_gap_is_noticed(self, server: Redis, proxy: Proxy, how: str) -> None:
        """Where nothing comes any more, not even signs of life, the subscription ends soon."""

        async def run() -> float:
            async with linked(url_of(proxy)) as made:
                begun = asyncio.Event()
                task = asyncio.create_task(self.collect(made, [], begun))
                await asyncio.wait_for(begun.wait(), 5)
                getattr(proxy, how)()
                began = time.monotonic()
                await asyncio.wait_for(task, 10)
                return time.monotonic() - began

        assert asyncio.run(run()) < 2 * self.HEARTBEAT + SOON

    def test_a_new_subscription_is_told(self, server: Redis, client: redis.Redis) -> None:
        """Who is cut off and comes back is told that messages may be missing, or that it ended."""

        async def run() -> None:
            async with linked(server.url) as made:
                begun: list[int] = []
                news = made.link.listen("news", self.HEARTBEAT, lambda: begun.append(1))
                heard: list[bytes] = []

                async def collect() -> None:
                    with contextlib.suppress(redis.ConnectionError):
                        async for message in news:
                            heard.append(message)

                task = asyncio.create_task(collect())
                for _ in range(100):
                    await asyncio.sleep(0.02)
                    if begun:
                        break
                client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
                client.publish("news", "lost")
                for _ in range(100):
                    await asyncio.sleep(0.02)
                    if task.done() or len(begun) > 1:
                        break
                assert task.done() or len(begun) > 1
                assert heard == []
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        asyncio.run(run())


class TestScans:
    BEGINS = "aswr:a*b?[c]\\^-d:{"

    async def scanned(self, url: str, most: int = 100) -> tuple[list[str], str]:
        async with linked(url) as made:
            return await made.link.scan(self.BEGINS, "}", most)

    def test_names_are_taken_as_they_are(self, server: Redis, client: redis.Redis) -> None:
        """What Redis takes for a pattern is none here: names begin and end so, to the letter."""
        mine = [f"{self.BEGINS}{n}}}" for n in range(20)]
        others = [
            f"{self.BEGINS}1}}:lease", "aswr:aXb?[c]\\^-d:{1}", "aswr:a*bX[c]\\^-d:{1}",
            "aswr:a*b?c\\^-d:{1}", "aswr:ab?[c]\\^-d:{1}", "x" + mine[0], self.BEGINS,
        ]  # fmt: skip
        for name in (*mine, *others):
            client.set(name, "x")
        assert asyncio.run(self.scanned(server.url)) == (sorted(mine), "")

    def test_no_more_than_asked_for(self, server: Redis, client: redis.Redis) -> None:
        """Of many keys so many are told of, and that there are more."""
        for index in range(5000):
            client.set(f"{self.BEGINS}{index}}}", "x")
        for most, count, why in ((7, 7, MORE), (5000, 5000, ""), (10_000, 5000, "")):
            names, said = asyncio.run(self.scanned(server.url, most=most))
            assert (len(names), said) == (count, why)

    def test_names_that_are_no_text(self, server: Redis, client: redis.Redis) -> None:
        """Bytes that are no text are shown as well as can be, and raise nothing."""
        client.set(self.BEGINS.encode() + b"\xff}", "x")
        assert len(asyncio.run(self.scanned(server.url))[0]) == 1

    @pytest.mark.parametrize("how", ["hang", "refuse", "cut"])
    def test_an_outage(self, server: Redis, proxy: Proxy, how: str) -> None:
        """Each step is waited for as long as for an upload, and no longer."""
        if how == "cut":
            proxy.refuse()
            proxy.cut()
        else:
            getattr(proxy, how)()

        async def scan() -> float:
            async with linked(url_of(proxy)) as made:
                began = time.monotonic()
                with pytest.raises(Unreachable):
                    await made.link.scan(self.BEGINS, "}", 10)
                assert await made.link.info() == {}
                return time.monotonic() - began

        assert asyncio.run(scan()) < 2 * 4 * TIMEOUT + SOON

    def test_an_outage_in_the_midst(self, server: Redis, client: redis.Redis, proxy: Proxy) -> None:
        """What was found until then is told, and that it is not all."""
        for index in range(3000):
            client.set(f"{self.BEGINS}{index}}}", "x")

        async def scan() -> tuple[list[str], str]:
            async with linked(url_of(proxy)) as made:
                whole, steps = made.link._client.scan_iter, 0

                async def cut_short(**asked: Any) -> AsyncIterator[bytes]:
                    nonlocal steps
                    async for name in whole(**asked):
                        steps += 1
                        if steps == 10:
                            proxy.refuse()
                            proxy.cut()
                        yield name

                made.link._client.scan_iter = cut_short
                return await made.link.scan(self.BEGINS, "}", 10_000)

        names, why = asyncio.run(scan())
        assert 10 <= len(names) < 3000
        assert why == GONE

    def test_while_it_is_not_asked(self, server: Redis) -> None:
        """With an open breaker, or closed, nothing is asked."""

        async def scan() -> None:
            async with linked(server.url) as made:
                made.breaker.trip("a test")
                with pytest.raises(Unreachable):
                    await made.link.scan(self.BEGINS, "}", 10)
                made.breaker.mend()
                await made.link.close()
                with pytest.raises(Unreachable):
                    await made.link.scan(self.BEGINS, "}", 10)

        asyncio.run(scan())


class TestInfo:
    def test_what_it_says_of_itself(self, server: Redis, client: redis.Redis) -> None:
        """Version and policy are told."""

        async def ask() -> dict[str, Any]:
            async with linked(server.url) as made:
                return await made.link.info()

        said = asyncio.run(ask())
        assert said["redis_version"] == client.info()["redis_version"]
        assert said["maxmemory_policy"] == "noeviction"

    def test_who_may_not_ask(self, server: Redis, client: redis.Redis) -> None:
        """Without the right to ask there is nothing, and no outage."""
        client.execute_command(
            "ACL", "SETUSER", "dumb", "on", ">dumb", "~*", "&*", "+@all", "-info"
        )

        async def ask() -> tuple[dict[str, Any], bool]:
            url = f"redis://dumb:dumb@{LOOPBACK}:{server.port}/0"
            async with linked(url) as made:
                return await made.link.info(), made.breaker.closed

        try:
            assert asyncio.run(ask()) == ({}, True)
        finally:
            client.execute_command("ACL", "DELUSER", "dumb")
