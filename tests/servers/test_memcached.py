"""Workers over Memcached: what they share, what does not fit, and what happens when it fails."""

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import aiocache
import pytest

from .harness import wait_until
from .memcached import LONGEST_KEY, LOOPBACK, MONTH, Memcached, Peek, RealMemcached
from .workers import LIMIT, Worker, Workers, at_once

pytest.importorskip("aiomcache")

LOAD = 0.4  # seconds that a slow load takes
DAY = 24 * 3600.0
STORE_TIMEOUT = 0.25  # seconds, the default
SLACK = 1.0  # seconds that a busy machine may add to an answer
FAILURES = ["down", "hold", "lose", "hang_up", "reset", "garble"]
GARBAGE = [b"\r\n", b"\0\xff\r\n", b"VALUE\r\n", b"VALUE a b c\r\n", b"VALUE a 0 -7\r\n",
           b"VALUE a 0 3\r\nabcde\r\nEND\r\n", b"x" * 200_000, b"END\r\nEND\r\n"]  # fmt: skip

pytestmark = pytest.mark.filterwarnings("error")

Server = Memcached | RealMemcached


@pytest.fixture
def small() -> Iterator[Memcached]:
    with Memcached() as server:
        yield server


@pytest.fixture(params=[Memcached, RealMemcached], ids=["small", "real"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with request.param() as server:
        yield server


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the store's logger has said."""
    caplog.set_level(logging.INFO, "aswr")
    return lambda: [one.getMessage() for one in caplog.records if one.name == "aswr.store"]


@pytest.fixture(autouse=True)
def _nothing_is_left_open() -> Iterator[None]:
    """A connection that nobody has closed is an error when it is collected."""
    yield
    gc.collect()


def cache_of(server: Server, **options: Any) -> aiocache.MemcachedCache:
    return aiocache.MemcachedCache(endpoint=LOOPBACK, port=server.port, **options)


def define(worker: Worker) -> None:
    """Pages of other ages and sizes than a worker has."""

    def page(rule: str, timeout: float, size: int = 10, margin: float = 0.0) -> None:
        @worker.app.get(rule, endpoint=rule)
        @worker.manager.cacher(timeout=timeout, refresh_margin=margin)
        async def view() -> str:
            return worker.count(rule) + "." * size

    page("/brief", 0.5)
    page("/odd", 90.9)
    page("/long", 90 * DAY)
    page("/huge", 60, size=1_100_000)


def workers_of(*caches: Any, **options: Any) -> Workers:
    return Workers(*caches, define=define, ASWR_STORE_COMPRESS=None, **options)


@pytest.fixture
def two(server: Server) -> Iterator[Workers]:
    with workers_of(cache_of(server), cache_of(server)) as workers:
        yield workers


def entries_of(server: Server, workers: Workers) -> list[str]:
    return [key for key in Peek(server).ends() if key.startswith(f"aswr:{workers.name}:")]


class TestSharing:
    @pytest.mark.parametrize("page", ["page", "slow", "tongue", "large"])
    def test_who_comes_later_loads_nothing(self, two: Workers, page: str) -> None:
        """What one worker has loaded is the other's, variants by header, too."""
        one, other = two
        body = one.get(f"/{page}/x", Accept_Language="de")
        one.settle()
        assert other.get(f"/{page}/x", Accept_Language="de") == body
        assert two.loads == ["x"]
        assert one.reachable
        assert other.reachable

    def test_a_memoized_result(self, server: Server) -> None:
        """What a function returned comes back from Memcached as it went in."""
        loads: list[str] = []

        def define(worker: Worker) -> None:
            @worker.manager.memoize(timeout=60)
            async def price(name: str) -> dict[str, list[float | str | None]]:
                loads.append(name)
                return {name: [1.5, "ä", None]}

            worker.functions["price"] = price

        with Workers(cache_of(server), cache_of(server), define=define) as workers:
            results = []
            for worker in workers:
                results.append(asyncio.run(worker.functions["price"]("a")))
                worker.settle()
        assert results == [{"a": [1.5, "ä", None]}] * 2
        assert loads == ["a"]

    def test_one_object_for_two_apps(self, server: Server) -> None:
        """A cache object that several apps of a process are given serves them all."""
        cache = cache_of(server)
        with Workers(cache, cache) as workers:
            bodies = at_once([partial(one.get, f"/page/{i}") for i in range(8) for one in workers])
            workers.settle()
            assert len(bodies) == 16
            assert all(worker.reachable for worker in workers)
            assert all(worker.stats["store_errors"] == 0 for worker in workers)

    def test_many_at_once(self, server: Server, two: Workers) -> None:
        """More questions at once than there are connections are all answered."""
        one, other = two
        paths = [f"/page/{number}" for number in range(40)]
        bodies = at_once([partial(one.get, path) for path in paths])
        one.settle()
        assert at_once([partial(other.get, path) for path in paths]) == bodies
        assert sorted(two.loads) == sorted(path.rpartition("/")[2] for path in paths)
        assert [worker.stats["store_errors"] for worker in two] == [0, 0]

    def test_two_apps_do_not_mix(self, server: Server) -> None:
        """Apps of other names, and versions of one, have entries of their own."""
        with Workers(cache_of(server), cache_of(server, namespace="other")) as workers:
            workers.join(cache_of(server), ASWR_VERSION="2")
            for worker in workers:
                worker.get("/page/x")
                worker.settle()
            assert workers.loads == ["x"] * 3

    @pytest.mark.parametrize("path", ["/page/x", "/tongue/x"])
    def test_invalidate_takes_it_out(self, server: Server, two: Workers, path: str) -> None:
        """A page that was purged is no longer in Memcached; others may have more of its path."""
        one, other = two
        one.get(path, Accept_Language="de")
        one.settle()
        before = entries_of(server, two)
        assert not one.manager.invalidate(path)
        gone = set(before) - set(entries_of(server, two))
        assert len(gone) == 1 if path.startswith("/page") else gone
        assert other.get(path, Accept_Language="de").endswith("x 2")

    def test_its_own_purges_hold(self, server: Server, two: Workers) -> None:
        """What this process has purged by tag it never reads again, though Memcached has it."""
        one, _ = two
        one.get("/page/x")
        one.settle()
        one.manager.invalidate_tags("all")
        assert entries_of(server, two)
        assert one.get("/page/x") == "x 2"

    def test_it_is_said_what_it_cannot(self, server: Server, log: Callable[[], list[str]]) -> None:
        """Each worker is told, once, that its purges reach nobody else: as soon as it is known."""
        with workers_of(cache_of(server), cache_of(server)) as workers:
            assert len(log()) == 2
            workers.join(partial(cache_of, server))
            assert len(log()) == 2, "a factory was not called yet"
            for worker in workers:
                worker.get("/page/x")
                worker.get("/page/y")
                worker.settle()
            assert len(log()) == 3
            assert all("purges reach no other" in line for line in log())

    @pytest.mark.parametrize("stale", [False, True], ids=["hard", "soft"])
    def test_purges_that_reach_nobody_say_so(
        self, server: Server, two: Workers, stale: bool
    ) -> None:
        """Of tags, of everything, of pages: the others may have more, and hear nothing."""
        one, other = two
        one.get("/page/x")
        one.settle()
        assert not other.manager.invalidate("/page/x", stale=stale), "it never had it"
        assert not one.manager.invalidate("/page/x?", stale=stale)
        assert not one.manager.invalidate_tags("all", stale=stale)
        assert not one.manager.clear(stale=stale)
        one.get("/page/x")
        one.settle()
        assert not one.manager.invalidate("/page/x", stale=stale)


class TestFitting:
    def test_times_to_live(self, small: Memcached) -> None:
        """They are whole seconds, one at least and a month at most, which is no date."""
        with workers_of(cache_of(small), cache_of(small)) as workers:
            one, other = workers
            for path in ("/brief", "/odd", "/long"):
                one.get(path)
                one.settle()
            assert [one.exptime for one in small.sets] == [1, 90, MONTH]
            assert other.get("/long").startswith("/long 1")
            assert other.get("/odd").startswith("/odd 1")

    def test_a_real_one_takes_them(self, server: Server, two: Workers) -> None:
        """Memcached itself ends each when it is told to."""
        one, _ = two
        now = time.time()
        for path in ("/odd", "/long"):
            one.get(path)
            one.settle()
        ends = sorted(end - now for end in Peek(server).ends().values())
        assert ends == pytest.approx([90, MONTH], abs=10)

    def test_nothing_is_served_past_its_end(self, small: Memcached) -> None:
        """The entry says when it ends, however long Memcached keeps it."""
        now = [time.time()]
        with workers_of(cache_of(small), cache_of(small), clock=lambda: now[0]) as workers:
            one, other = workers
            one.get("/brief")
            one.settle()
            assert len(entries_of(small, workers)) == 1
            now[0] += 0.6
            assert other.get("/brief").startswith("/brief 2")

    @pytest.mark.parametrize(
        "namespace", ["x" * 100, "schön & gut", "ü" * 100, "\N{FAMILY}" * 100],
        ids=["long", "words", "quoted", "wide"],
    )  # fmt: skip
    def test_keys_fit(self, server: Server, namespace: str) -> None:
        """Whatever app, version and page are called, Memcached takes the key."""
        with Workers(
            cache_of(server), cache_of(server), ASWR_NAMESPACE=namespace, ASWR_VERSION=namespace
        ) as workers:
            one, other = workers
            path = f"/page/{'long ' * 100}"
            body = one.get(path)
            one.settle()
            assert other.get(path) == body
            assert len(workers.loads) == 1
            assert [worker.stats["store_errors"] for worker in workers] == [0, 0]
            assert all(len(key) <= LONGEST_KEY for key in Peek(server).ends())

    def test_long_namespaces_do_not_mix(self, small: Memcached) -> None:
        """Names that differ only where no key has room for them are different names."""
        with Workers() as workers:
            for end in "ab":
                worker = workers.join(cache_of(small), ASWR_NAMESPACE="ü" * 99 + end)
                worker.get("/page/x")
                worker.settle()
            assert workers.loads == ["x", "x"]

    def test_what_is_too_large(
        self, server: Server, two: Workers, log: Callable[[], list[str]]
    ) -> None:
        """It stays in memory, which is no error and one line; the rest goes on."""
        one, other = two
        for number in range(3):
            assert one.get("/huge").startswith(f"/huge {number + 1}")
            one.settle()
            assert one.get("/huge").startswith(f"/huge {number + 1}"), "it is in memory"
            one.manager.invalidate("/huge")
        assert one.reachable
        assert one.stats["store_errors"] == 0
        assert [" does not take " in line for line in log()] == [True]
        body = one.get("/page/x")
        one.settle()
        assert other.get("/page/x") == body

    def test_what_another_program_has_written(self, server: Server, two: Workers) -> None:
        """A value of another program at a key of ours is a miss, and the load takes its place."""
        one, other = two
        one.get("/page/x")
        one.settle()
        (key,) = entries_of(server, two)
        Peek(server).put(key, b"\x80\x04\x95garbage", flags=1)
        assert other.get("/page/x") == "x 2"
        other.settle()
        assert two.join(cache_of(server)).get("/page/x") == "x 2"


class TestWhenItFails:
    @pytest.mark.parametrize("failure", FAILURES)
    @pytest.mark.parametrize("when", ["from the start", "later"])
    def test_no_request_fails_or_waits(
        self, small: Memcached, log: Callable[[], list[str]], failure: str, when: str
    ) -> None:
        """One wait within the limit, one line, answers all the same; then it is shared again."""
        with workers_of(
            cache_of(small), cache_of(small), ASWR_STORE_TIMEOUT=STORE_TIMEOUT
        ) as workers:
            one, other = workers
            if when == "later":
                for worker in workers:
                    worker.get("/page/before")
                    worker.settle()
            lines = len(log())
            fail(small, failure)
            spent = []
            for number in range(20):
                began = time.monotonic()
                assert one.get(f"/page/{number}") == f"{number} 1"
                spent.append(time.monotonic() - began)
            one.settle()
            assert max(spent) < STORE_TIMEOUT + SLACK
            assert sum(spent) < STORE_TIMEOUT + SLACK, "more than the first have waited"
            assert not one.reachable
            assert not one.manager.invalidate("/page/1"), "it cannot be told"
            assert [" fails (" in line for line in log()[lines:]] == [True]
            small.passing()
            tries = iter(range(10_000))
            wait_until(
                lambda: one.get(f"/page/again-{next(tries)}") != "" and one.reachable,
                LIMIT,
                lambda: str(one.stats),
            )
            one.settle()
            assert [line.endswith("answers again") for line in log()[lines:]] == [False, True]
            body = one.get("/page/after")
            one.settle()
            assert other.get("/page/after") == body

    @pytest.mark.parametrize("failure", ["hold", "lose"])
    def test_nobody_waits_for_a_try(self, small: Memcached, failure: str) -> None:
        """An outage costs the first request one wait, however often Memcached is tried again."""
        with workers_of(cache_of(small), ASWR_STORE_TIMEOUT=STORE_TIMEOUT) as workers:
            (one,) = workers
            fail(small, failure)
            spent = []

            def asked(until: Callable[[], bool]) -> bool:
                began = time.monotonic()
                one.get(f"/page/{len(spent)}")
                spent.append(time.monotonic() - began)
                return until()

            wait_until(
                lambda: asked(lambda: one.stats["store_errors"] >= 6), 3 * LIMIT,
                lambda: str(one.stats),
            )  # fmt: skip
            small.passing()
            wait_until(lambda: asked(lambda: one.reachable), LIMIT, lambda: str(one.stats))
            assert spent[0] >= STORE_TIMEOUT
            slow = [seconds for seconds in spent[1:] if seconds >= STORE_TIMEOUT]
            assert len(slow) <= 2, "of five more waits; a busy machine is granted two"

    @pytest.mark.parametrize("says", GARBAGE, ids=lambda says: repr(says)[:24])
    def test_nonsense(self, small: Memcached, says: bytes) -> None:
        """Whatever it is that answers, nobody gets it, and nobody waits for it to make sense."""
        with workers_of(cache_of(small), ASWR_STORE_TIMEOUT=STORE_TIMEOUT) as workers:
            (one,) = workers
            small.garble(says)
            for number in range(5):
                began = time.monotonic()
                assert one.get(f"/page/{number}") == f"{number} 1"
                assert time.monotonic() - began < STORE_TIMEOUT + SLACK
            one.settle()
            small.passing()
            tries = iter(range(10_000))
            wait_until(
                lambda: one.get(f"/page/again-{next(tries)}") != "" and one.reachable,
                LIMIT,
                lambda: str(one.stats),
            )

    @pytest.mark.parametrize("command", [b"get", b"set", b"delete"])
    @pytest.mark.parametrize("failure", ["hang_up", "reset", "lose", "garble"])
    def test_in_the_midst_of_a_command(
        self, small: Memcached, failure: str, command: bytes
    ) -> None:
        """The one command that comes to nothing holds up no other."""
        with workers_of(cache_of(small), ASWR_STORE_TIMEOUT=STORE_TIMEOUT) as workers:
            (one,) = workers
            one.get("/page/x")
            one.settle()
            fail(small, failure, lambda line: line.startswith(command))
            one.get("/page/y")
            one.settle()
            one.manager.invalidate("/page/x")
            began = time.monotonic()
            assert one.get("/page/z") == "z 1"
            assert time.monotonic() - began < STORE_TIMEOUT + SLACK
            small.passing()

    def test_a_late_answer_is_nobody_elses(self, small: Memcached) -> None:
        """Nothing is asked on a connection that owes an answer, so each has his own."""
        with workers_of(
            cache_of(small), cache_of(small), ASWR_STORE_TIMEOUT=STORE_TIMEOUT
        ) as workers:
            one, other = workers
            bodies = {name: one.get(f"/page/{name}") for name in "abcdef"}
            one.settle()
            held: list[bytes] = []

            def first(line: bytes) -> bool:
                held.append(line)
                return line == held[0]

            small.hold(first)
            assert other.get("/page/a") == "a 2", "its answer is late"
            wait_until(lambda: not other.reachable, LIMIT, lambda: str(other.stats))
            wait_until(
                lambda: other.get("/page/b") != "" and self._asks(other, small),
                LIMIT,
                lambda: str(other.stats),
            )
            small.passing()
            for name in "cdef":
                assert other.get(f"/page/{name}") == bodies[name]
            assert small.early == 0

    @staticmethod
    def _asks(worker: Worker, small: Memcached) -> bool:
        """Does it ask again, after a failure?"""
        before = small.lines
        worker.get(f"/page/other-{before}-{time.monotonic()}")
        worker.settle()
        return small.lines > before and worker.reachable

    def test_an_outage_is_longer_than_its_connections(self, small: Memcached) -> None:
        """Connections whose answers were lost, all there may be, are not waited for for ever."""
        with workers_of(
            cache_of(small), cache_of(small), ASWR_STORE_TIMEOUT=STORE_TIMEOUT
        ) as workers:
            one, other = workers
            one.get("/page/x")
            one.settle()
            small.lose()
            tries = iter(range(10_000))
            wait_until(
                lambda: one.get(f"/page/{next(tries)}") != "" and one.stats["store_errors"] > 10,
                60,
                lambda: str(one.stats),
            )
            small.passing()
            wait_until(
                lambda: one.get(f"/page/{next(tries)}") != "" and one.reachable,
                LIMIT,
                lambda: str(one.stats),
            )
            body = one.get("/page/after")
            one.settle()
            assert other.get("/page/after") == body

    def test_closing_while_it_is_silent(self, small: Memcached) -> None:
        """A process ends though Memcached owes it answers, and leaves no connection open."""
        with workers_of(cache_of(small), ASWR_STORE_TIMEOUT=STORE_TIMEOUT) as workers:
            (one,) = workers
            one.get("/page/x")
            one.settle()
            small.hold()
            one.get("/page/y")
            began = time.monotonic()
        assert time.monotonic() - began < 3.0

    def test_its_client_is_ours_alone(self, small: Memcached) -> None:
        """The connections that the app itself has made by the object are not used, nor closed."""
        cache = cache_of(small)

        async def use() -> Any:
            await cache.set("mine", "value")
            workers = workers_of(cache)
            with workers:
                (one,) = workers
                body = await asyncio.to_thread(one.get, "/page/x")
                await asyncio.to_thread(one.settle)
                assert body == "x 1"
                assert one.reachable
                assert one.stats["store_errors"] == 0
                mine = set(cache.client._pool._pool._queue)
                await asyncio.to_thread(one.close)
            assert all(not connection.writer.is_closing() for connection in mine)
            value = await cache.get("mine")
            await cache.close()
            await asyncio.sleep(0)
            return value

        assert asyncio.run(use()) == "value"


def fail(small: Memcached, failure: str, concerns: Callable[[bytes], bool] | None = None) -> None:
    """Let the server fail in one way, for some commands or for all."""
    if failure == "down":
        small.down()
        return
    options = {} if concerns is None else {"concerns": concerns}
    if failure == "garble":
        small.garble(b"no sense\r\n", **options)
        return
    getattr(small, failure)(**options)
