"""A thread pool whose threads never hold up the end of the process.

The standard pool joins its workers at interpreter exit, however long they take, and before any
``atexit`` callback runs. These are daemon threads. Owns its threads and its queue; any thread may
submit. Knows nothing of aswr.

The bound counts threads that *work*: one that waits inside `blocking` makes room for another, so
computes that wait for each other's loads cannot starve the pool of the thread they wait for.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_here = threading.local()


class DaemonExecutor(ThreadPoolExecutor):
    """An executor of at most ``max_workers`` working daemon threads, started as needed.

    A `ThreadPoolExecutor` by type only, because `loop.set_default_executor` asks for one; every
    method is replaced.
    """

    def __init__(self, max_workers: int, name: str = "aswr-worker") -> None:
        self._max_workers = max_workers
        self._thread_name_prefix = name
        # State, all guarded by _wake: the queue, and counts of threads, of idle and blocked ones.
        self._wake = threading.Condition()
        self._items: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._alive = 0
        self._idle = 0
        self._blocked = 0
        self._started = 0
        self._closed = False

    def __repr__(self) -> str:
        return (
            f"<DaemonExecutor {self._thread_name_prefix} threads={self._alive} idle={self._idle} "
            f"blocked={self._blocked} queued={len(self._items)}>"
        )

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run ``fn`` on a worker; raises `RuntimeError` after `shutdown`."""
        future: Future[T] = Future()
        with self._wake:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._items.append((future, lambda: fn(*args, **kwargs)))
            self._fill()
            self._wake.notify()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work; workers end when the queue is empty. Never joins a thread."""
        with self._wake:
            self._closed = True
            dropped = list(self._items) if cancel_futures else []
            if cancel_futures:
                self._items.clear()
            self._wake.notify_all()
        for future, _ in dropped:
            future.cancel()

    @contextmanager
    def blocking(self) -> Iterator[None]:
        """While inside, this worker only waits: another may work in its place.

        Any other thread passes through unchanged.
        """
        if not self.on_worker():
            yield
            return
        with self._wake:
            self._blocked += 1
            self._fill()
        try:
            yield
        finally:
            with self._wake:
                self._blocked -= 1

    def on_worker(self) -> bool:
        """Is the calling thread one of this pool's?"""
        return getattr(_here, "pool", None) is self

    def _fill(self) -> None:
        working = self._alive - self._blocked
        if len(self._items) > self._idle and working < self._max_workers:
            self._started += 1
            name = f"{self._thread_name_prefix}-{self._started}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
            self._alive += 1

    def _work(self) -> None:
        _here.pool = self
        while (item := self._next()) is not None:
            _run(*item)
            del item

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._wake:
            while True:
                surplus = self._alive - self._blocked > self._max_workers
                if surplus or (self._closed and not self._items):
                    self._alive -= 1
                    self._wake.notify()  # it may have been this one that was told of an item
                    return None
                if self._items:
                    return self._items.popleft()
                self._idle += 1
                self._wake.wait()
                self._idle -= 1


def _run(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except BaseException as error:
        future.set_exception(error)
        del future, call  # the error's traceback holds this frame, and with it what is left here
