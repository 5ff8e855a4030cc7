"""A thread pool whose threads never hold up the end of the process.

The standard pool joins its workers at interpreter exit, however long they take, and before any
``atexit`` callback runs. These are daemon threads. Owns its threads and its queues; any thread may
submit. Knows nothing of aswr.

The bound counts threads that *work*: one that waits inside `blocking` makes room for another, so
computes that wait for each other's loads cannot starve the pool of the thread they wait for. What
is brief has threads to ``spare`` above the bound, so that it never waits for what is long.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, TypeVar

T = TypeVar("T")

_here = threading.local()


class Rank(IntEnum):
    """What is taken up first; within a rank, what was submitted first."""

    BRIEF = 0
    AWAITED = 1
    BACKGROUND = 2


class DaemonExecutor(ThreadPoolExecutor):
    """An executor of at most ``max_workers`` working daemon threads, started as needed.

    ``spare`` more may be at what is brief. A `ThreadPoolExecutor` by type only, because
    `loop.set_default_executor` asks for one; every method is replaced.
    """

    def __init__(self, max_workers: int, name: str = "aswr-worker", *, spare: int = 0) -> None:
        self._max_workers = max_workers
        self._spare = spare
        self._thread_name_prefix = name
        # State, all guarded by _wake: what is queued, by rank, and counts of threads: of all, of
        # idle (or just started) and blocked ones, and of those at long work that are not blocked.
        self._wake = threading.Condition()
        self._queues: tuple[OrderedDict[Future[Any], Callable[[], Any]], ...] = tuple(
            OrderedDict() for _ in Rank
        )
        self._alive = 0
        self._idle = 0
        self._blocked = 0
        self._long = 0
        self._started = 0
        self._closed = False

    def __repr__(self) -> str:
        return (
            f"<DaemonExecutor {self._thread_name_prefix} threads={self._alive} idle={self._idle} "
            f"blocked={self._blocked} queued={sum(map(len, self._queues))}>"
        )

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run ``fn`` on a worker; raises `RuntimeError` after `shutdown`."""
        return self.enqueue(Rank.AWAITED, lambda: fn(*args, **kwargs))

    def enqueue(self, rank: Rank, call: Callable[[], T]) -> Future[T]:
        """As `submit`, with a rank."""
        future: Future[T] = Future()
        with self._wake:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._queues[rank][future] = call
            try:
                self._call_worker()
            except RuntimeError:  # no thread can be made: the interpreter is shutting down
                del self._queues[rank][future]
                raise
        return future

    def promote(self, future: Future[Any]) -> None:
        """Somebody waits for it now; nothing happens where it has begun."""
        with self._wake:
            call = self._queues[Rank.BACKGROUND].pop(future, None)
            if call is not None:
                self._queues[Rank.AWAITED][future] = call

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work; workers end when nothing is queued. Never joins a thread."""
        dropped: list[Future[Any]] = []
        with self._wake:
            self._closed = True
            if cancel_futures:
                for queue in self._queues:
                    dropped += queue
                    queue.clear()
            self._wake.notify_all()
        for future in dropped:
            future.cancel()

    @contextmanager
    def blocking(self) -> Iterator[None]:
        """While inside, this worker only waits: another may work in its place.

        Any other thread passes through unchanged.
        """
        if not self.on_worker():
            yield
            return
        long: bool = _here.long
        with self._wake:
            self._blocked += 1
            self._long -= long
            self._call_worker()
        try:
            yield
        finally:
            with self._wake:
                self._blocked -= 1
                self._long += long

    def on_worker(self) -> bool:
        """Is the calling thread one of this pool's?"""
        return getattr(_here, "pool", None) is self

    def _ready(self) -> int:
        """How much of what is queued may begin now."""
        brief, *others = map(len, self._queues)
        return brief + max(0, min(sum(others), self._max_workers - self._long))

    def _call_worker(self) -> None:
        """Have a thread look for work, where there is some: an idle one, else a new one."""
        ready = self._ready()
        if ready > self._idle and self._alive - self._blocked < self._max_workers + self._spare:
            self._started += 1
            name = f"{self._thread_name_prefix}-{self._started}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
            self._alive += 1
            self._idle += 1
        if ready:
            self._wake.notify()

    def _work(self) -> None:
        _here.pool, _here.long = self, False
        with self._wake:
            self._idle -= 1
        while (item := self._next()) is not None:
            _run(*item)
            del item

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._wake:
            self._long -= _here.long
            _here.long = False
            while True:
                surplus = self._alive - self._blocked > self._max_workers + self._spare
                if surplus or (self._closed and not any(self._queues)):
                    self._alive -= 1
                    self._wake.notify()  # it may have been this one that was told of an item
                    return None
                if self._ready():
                    return self._take()
                self._idle += 1
                self._wake.wait()
                self._idle -= 1

    def _take(self) -> tuple[Future[Any], Callable[[], Any]]:
        rank = next(rank for rank in Rank if self._queues[rank])
        item = self._queues[rank].popitem(last=False)
        _here.long = rank is not Rank.BRIEF
        self._long += _here.long
        return item


def _run(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except BaseException as error:
        future.set_exception(error)
        del future, call  # the error's traceback holds this frame, and with it what is left here
