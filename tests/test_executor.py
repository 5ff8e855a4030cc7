"""The pool of daemon threads: bounded where they work, never in the way where they wait."""

import asyncio
import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from aswr.executor import DaemonExecutor, Rank

LIMIT = 10.0  # seconds after which anything here is a failure


@pytest.fixture
def pools() -> Iterator[Callable[..., DaemonExecutor]]:
    made: list[DaemonExecutor] = []

    def make(max_workers: int, **options: int) -> DaemonExecutor:
        made.append(DaemonExecutor(max_workers, "test-pool", **options))
        return made[-1]

    yield make
    for pool in made:
        pool.shutdown(cancel_futures=True)


class Work:
    """Calls that stay at work until they are let go, and how many are at it at once."""

    def __init__(self) -> None:
        self._counted = threading.Condition()
        self.go = threading.Event()
        self.now = self.most = 0

    def __call__(self) -> None:
        with self._counted:
            self.now += 1
            self.most = max(self.most, self.now)
            self._counted.notify_all()
        assert self.go.wait(LIMIT)
        with self._counted:
            self.now -= 1

    def await_count(self, count: int) -> None:
        with self._counted:
            assert self._counted.wait_for(lambda: self.now >= count, LIMIT)


def together(pool: DaemonExecutor, count: int) -> None:
    """So many calls are at work at the same time, which takes as many threads."""
    meet = threading.Barrier(count + 1)
    done = [pool.submit(meet.wait, LIMIT) for _ in range(count)]
    meet.wait(LIMIT)
    for future in done:
        future.result(LIMIT)


def await_state(pool: DaemonExecutor, words: str) -> None:
    end = time.monotonic() + LIMIT
    while words not in repr(pool):
        assert time.monotonic() < end


def test_threads_are_daemons(pools: Callable[[int], DaemonExecutor]) -> None:
    """Work is done on named daemon threads, made when needed and used again."""
    pool = pools(4)
    assert "threads=0" in repr(pool)
    thread = pool.submit(threading.current_thread).result(LIMIT)
    assert thread.daemon
    assert thread.name == "test-pool-1"
    assert thread is not threading.current_thread()


def test_arguments_and_results(pools: Callable[[int], DaemonExecutor]) -> None:
    """A call gets its arguments, named ones of any name too, and its result comes back."""
    pool = pools(1)

    def call(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    assert pool.submit(call, 1, self=2, fn=3).result(LIMIT) == ((1,), {"self": 2, "fn": 3})
    assert list(pool.map(abs, [-1, -2])) == [1, 2]


@pytest.mark.parametrize(
    "error", [ValueError("bad"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr
)
def test_errors_are_delivered(error: BaseException, pools: Callable[[int], DaemonExecutor]) -> None:
    """Whatever a call raises is its result, and the thread works on."""
    pool = pools(1)

    def fail() -> None:
        raise error

    assert pool.submit(fail).exception(LIMIT) is error
    assert pool.submit(abs, -1).result(LIMIT) == 1
    assert "threads=1" in repr(pool)


def test_an_error_holds_nothing(pools: Callable[[int], DaemonExecutor]) -> None:
    """What a failed call was given is free as soon as its error is, without a collection."""

    class Big:
        pass

    def fail(argument: Big) -> None:
        raise ValueError

    gc.disable()
    try:
        big = Big()
        gone = weakref.ref(big)
        failed: Future[None] | None = pools(1).submit(fail, big)
        assert failed is not None
        with pytest.raises(ValueError) as caught:
            failed.result(LIMIT)
        freed = threading.Event()
        weakref.finalize(failed, freed.set)
        del failed, big, caught
        assert freed.wait(LIMIT)
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("bound", [1, 3])
def test_the_bound(bound: int, pools: Callable[[int], DaemonExecutor]) -> None:
    """So many calls work at once and no more; the others wait their turn and all are done."""
    pool, work = pools(bound), Work()
    done = [pool.submit(work) for _ in range(bound * 3)]
    work.await_count(bound)
    assert f"threads={bound} idle=0 blocked=0 queued={bound * 2}" in repr(pool)
    work.go.set()
    for future in done:
        future.result(LIMIT)
    assert work.most == bound


def test_idle_threads_are_used_before_new_ones(pools: Callable[[int], DaemonExecutor]) -> None:
    """A call after another is done on the thread that is there."""
    pool = pools(8)
    threads = set()
    for _ in range(20):
        together(pool, 2)
        threads |= {pool.submit(threading.get_ident).result(LIMIT)}
    assert len(threads) <= 2
    assert "threads=2" in repr(pool)


def test_order(pools: Callable[[int], DaemonExecutor]) -> None:
    """Calls begin in the order in which they came."""
    pool, began = pools(1), list[int]()
    for future in [pool.submit(began.append, number) for number in range(50)]:
        future.result(LIMIT)
    assert began == list(range(50))


def test_ranks(pools: Callable[..., DaemonExecutor]) -> None:
    """What is brief begins first, then what somebody waits for, which may come to be so later."""
    pool, work, began = pools(1), Work(), list[str]()
    held = pool.submit(work)
    work.await_count(1)
    first, *others = [
        pool.enqueue(rank, lambda name=f"{rank.name} {number}": began.append(name))  # type: ignore[misc]
        for rank in (Rank.BACKGROUND, Rank.AWAITED, Rank.BRIEF)
        for number in (1, 2)
    ]
    pool.promote(first)
    pool.promote(held)  # it has begun
    work.go.set()
    for future in (first, *others):
        future.result(LIMIT)
    assert began == ["BRIEF 1", "BRIEF 2", "AWAITED 1", "AWAITED 2", "BACKGROUND 1", "BACKGROUND 2"]


@pytest.mark.parametrize("bound", [1, 2])
def test_what_is_brief_does_not_wait_for_what_is_long(
    bound: int, pools: Callable[..., DaemonExecutor]
) -> None:
    """However many long calls there are, one thread more is there for brief ones alone."""
    pool, work = pools(bound, spare=1), Work()
    done = [pool.submit(work) for _ in range(bound * 2)]
    work.await_count(bound)
    for _ in range(3):
        assert pool.enqueue(Rank.BRIEF, lambda: 1).result(LIMIT) == 1
    await_state(pool, f"threads={bound + 1} idle=1 blocked=0 queued={bound}")
    work.go.set()
    for future in done:
        future.result(LIMIT)
    assert work.most == bound


def test_who_has_waited_counts_again(pools: Callable[..., DaemonExecutor]) -> None:
    """After its wait a long call is one of those that the bound is for, and at its end none."""
    pool, back = pools(1, spare=1), Work()

    def waits_then_works() -> None:
        with pool.blocking():
            pass
        back()

    first = pool.submit(waits_then_works)
    back.await_count(1)
    work = Work()
    done = [pool.submit(work) for _ in range(2)]
    assert pool.enqueue(Rank.BRIEF, lambda: work.now).result(LIMIT) == 0
    assert "queued=2" in repr(pool)
    back.go.set()
    first.result(LIMIT)
    work.await_count(1)
    assert pool.enqueue(Rank.BRIEF, lambda: 1).result(LIMIT) == 1
    work.go.set()
    for future in done:
        future.result(LIMIT)
    assert work.most == 1


def test_a_long_call_that_waits_makes_room_for_a_long_one(
    pools: Callable[..., DaemonExecutor],
) -> None:
    """Also where an idle thread is there that only brief calls could use before."""
    pool, leave = pools(1, spare=1), threading.Event()
    inside, may_block = threading.Event(), threading.Event()

    def waits() -> None:
        inside.set()
        assert may_block.wait(LIMIT)
        with pool.blocking():
            assert leave.wait(LIMIT)

    waiting = pool.submit(waits)
    assert inside.wait(LIMIT)
    pool.enqueue(Rank.BRIEF, lambda: 1).result(LIMIT)
    await_state(pool, "threads=2 idle=1")
    following = pool.submit(abs, -1)
    await_state(pool, "queued=1")
    may_block.set()
    assert following.result(LIMIT) == 1
    leave.set()
    waiting.result(LIMIT)


# Waiting inside


@pytest.mark.parametrize("bound", [1, 2])
@pytest.mark.parametrize("first", ["submit", "block"])
def test_a_chain_of_waits(bound: int, first: str, pools: Callable[[int], DaemonExecutor]) -> None:
    """Calls that wait for each other's calls, deeper than the bound, all end."""
    pool = pools(bound)

    def nested(depth: int) -> int:
        if depth == 0:
            return 0
        if first == "submit":
            inner = pool.submit(nested, depth - 1)
            with pool.blocking():
                return inner.result(LIMIT) + 1
        with pool.blocking():
            return pool.submit(nested, depth - 1).result(LIMIT) + 1

    assert pool.submit(nested, 20).result(LIMIT) == 20
    together(pool, bound)


def test_a_wait_makes_room_for_one(pools: Callable[[int], DaemonExecutor]) -> None:
    """While one waits another works in its place, and still no more than the bound work."""
    pool, work, inside, leave = pools(2), Work(), threading.Event(), threading.Event()

    def waits() -> None:
        with pool.blocking():
            inside.set()
            assert leave.wait(LIMIT)

    waiting = pool.submit(waits)
    assert inside.wait(LIMIT)
    done = [pool.submit(work) for _ in range(6)]
    work.await_count(2)
    assert "threads=3 idle=0 blocked=1 queued=4" in repr(pool)
    work.go.set()
    for future in done:
        future.result(LIMIT)
    leave.set()
    waiting.result(LIMIT)
    assert work.most == 2


def test_the_bound_holds_again_after_waits(pools: Callable[[int], DaemonExecutor]) -> None:
    """When those who waited work again, the threads that stood in for them leave, queue or not."""
    pool, leave, work = pools(1), threading.Event(), Work()
    inside = threading.Semaphore(0)
    count = 4

    def waits() -> None:
        with pool.blocking():
            inside.release()
            assert leave.wait(LIMIT)

    waiting = [pool.submit(waits) for _ in range(count)]
    for _ in range(count):
        assert inside.acquire(timeout=LIMIT)
    stands_in = pool.submit(work)
    work.await_count(1)
    # A queue that does not run dry, before anybody is back.
    later = Work()
    done = [pool.submit(later) for _ in range(count)]
    assert f"blocked={count} queued={count}" in repr(pool)
    leave.set()
    for future in waiting:
        future.result(LIMIT)
    work.go.set()
    stands_in.result(LIMIT)
    later.await_count(1)
    later.go.set()
    for future in done:
        future.result(LIMIT)
    assert later.most == 1
    together(pool, 1)


def test_a_thread_that_leaves_wakes_another(pools: Callable[[int], DaemonExecutor]) -> None:
    """A call is not lost on a thread that is told of it and leaves because it is one too many."""
    pool, work = pools(2), Work()
    inside, back = threading.Event(), threading.Event()

    def waits_then_works() -> None:
        with pool.blocking():
            inside.set()
            assert back.wait(LIMIT)
        work()

    waiting = pool.submit(waits_then_works)
    assert inside.wait(LIMIT)
    together(pool, 2)
    await_state(pool, "threads=3 idle=2 blocked=1")
    back.set()
    work.await_count(1)
    assert pool.submit(abs, -1).result(LIMIT) == 1
    work.go.set()
    waiting.result(LIMIT)
    assert "threads=2" in repr(pool)


def test_blocking_elsewhere_changes_nothing(pools: Callable[[int], DaemonExecutor]) -> None:
    """On a thread that is not the pool's own, not even another pool's, a wait is just a wait."""
    pool, other = pools(1), pools(1)

    def inside() -> str:
        assert other.on_worker()
        assert not pool.on_worker()
        with pool.blocking():
            return repr(pool)

    assert "blocked=0" in other.submit(inside).result(LIMIT)
    assert not pool.on_worker()
    with pool.blocking():
        assert "blocked=0" in repr(pool)


def test_blocking_ends_with_an_error(pools: Callable[[int], DaemonExecutor]) -> None:
    """A wait that fails gives back the room that it made."""
    pool = pools(1)

    def fail() -> None:
        with pool.blocking():
            raise ValueError

    assert isinstance(pool.submit(fail).exception(LIMIT), ValueError)
    assert "blocked=0" in pool.submit(repr, pool).result(LIMIT)


def test_nobody_starves(pools: Callable[[int], DaemonExecutor]) -> None:
    """Every call is begun, however submitters, waits and idle threads meet."""
    pool = pools(3)
    count, rounds = 4, 60
    start = threading.Barrier(count)

    def waits(number: int) -> int:
        if number % 3:
            return number
        inner: Future[int] = pool.submit(abs, -number)
        with pool.blocking():
            return inner.result(LIMIT)

    def submits(into: list[int]) -> None:
        start.wait(LIMIT)
        for number in range(rounds):
            into.append(pool.submit(waits, number).result(LIMIT))

    results: list[list[int]] = [[] for _ in range(count)]
    threads = [threading.Thread(target=submits, args=(into,), daemon=True) for into in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT * 2)
    assert results == [list(range(rounds))] * count


def test_a_call_is_begun_although_the_thread_told_of_it_is_busy(
    pools: Callable[[int], DaemonExecutor],
) -> None:
    """Two calls at once need two threads, even where one idle thread was told of the first."""
    pool = pools(2)
    for _ in range(50):
        together(pool, 1)
        together(pool, 2)


# The end


def test_shutdown_does_what_is_queued(pools: Callable[[int], DaemonExecutor]) -> None:
    """After a shutdown what was taken is still done, nothing more is taken, nobody waits."""
    pool, work = pools(1), Work()
    done = [pool.submit(work) for _ in range(3)]
    work.await_count(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(abs, 1)
    work.go.set()
    for future in done:
        future.result(LIMIT)
    pool.shutdown()


def test_shutdown_ends_idle_threads(pools: Callable[[int], DaemonExecutor]) -> None:
    """Threads that wait for work end at a shutdown."""
    pool, meet, threads = pools(3), threading.Barrier(3), list[threading.Thread]()

    def remember() -> None:
        threads.append(threading.current_thread())
        meet.wait(LIMIT)

    for future in [pool.submit(remember) for _ in range(3)]:
        future.result(LIMIT)
    await_state(pool, "idle=3")
    pool.shutdown()
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive()
    assert "threads=0 idle=0" in repr(pool)


def test_shutdown_ends_busy_threads(pools: Callable[[int], DaemonExecutor]) -> None:
    """Threads at work at a shutdown end when the queue is empty."""
    pool, work = pools(2), Work()
    busy: list[threading.Thread] = []

    def remember() -> None:
        busy.append(threading.current_thread())
        work()

    first = pool.submit(threading.current_thread).result(LIMIT)
    done = [pool.submit(remember) for _ in range(2)]
    work.await_count(2)
    pool.shutdown()
    work.go.set()
    for future in done:
        future.result(LIMIT)
    for thread in {first, *busy}:
        thread.join(LIMIT)
        assert not thread.is_alive()
    assert "threads=0" in repr(pool)


def test_shutdown_can_cancel_what_is_queued(pools: Callable[[int], DaemonExecutor]) -> None:
    """With ``cancel_futures`` what has not begun never does; what has goes on to its end."""
    pool, work, ran = pools(1), Work(), list[int]()
    began = pool.submit(work)
    work.await_count(1)
    waiting = [pool.submit(ran.append, number) for number in range(3)]
    pool.shutdown(cancel_futures=True)
    for future in waiting:
        with pytest.raises(CancelledError):
            future.result(LIMIT)
    work.go.set()
    began.result(LIMIT)
    assert ran == []


def test_a_cancelled_call_never_begins(pools: Callable[[int], DaemonExecutor]) -> None:
    """A call that is cancelled while it waits is passed over; one at work cannot be."""
    pool, work, ran = pools(1), Work(), list[int]()
    began = pool.submit(work)
    work.await_count(1)
    second, third = pool.submit(ran.append, 2), pool.submit(ran.append, 3)
    assert second.cancel()
    assert not began.cancel()
    work.go.set()
    third.result(LIMIT)
    assert ran == [3]


# Under asyncio


def test_as_the_loop_s_own(pools: Callable[[int], DaemonExecutor]) -> None:
    """A loop takes it for its default executor, and for one call."""
    pool = pools(1)

    async def main() -> tuple[str, bool]:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(pool)
        thread = await asyncio.to_thread(threading.current_thread)
        return thread.name, await loop.run_in_executor(pool, pool.on_worker)

    assert asyncio.run(main()) == ("test-pool-1", True)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(abs, 1)  # asyncio.run shut it down, without waiting


EXIT = """
import threading, time
from aswr.executor import DaemonExecutor
pool = DaemonExecutor(1)
began = threading.Event()
pool.submit(lambda: (began.set(), time.sleep(60)))
pool.submit(time.sleep, 60)
assert began.wait(10)
print("began", flush=True)
"""


def test_exit_does_not_wait() -> None:
    """The process ends at once although a call sleeps and another is queued."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", EXIT], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "began\n", "")
