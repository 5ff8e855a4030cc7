"""The loop thread: one per process, owner of all asyncio state.

Owns the event loop, the executor for synchronous code and the watchdog. Starts lazily, at first
use and after fork, with a handshake; nothing starts at import. Any thread may call `current`,
`post`, `submit` and `on_loop`; everything else runs on the loop. Must not know Flask, entries or
keys.

A fork copies the record of a thread but not the thread: the child *forgets* the runtime and makes
its own. It must not close the inherited loop, whose epoll it shares with its parent.
"""

import asyncio
import atexit
import contextvars
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, Protocol, TypeVar

from asgiref.sync import ThreadSensitiveContext

from .executor import DaemonExecutor, Rank
from .watchdog import Watchdog

log = logging.getLogger("aswr.runtime")
T = TypeVar("T")

START_LIMIT = 5.0  # seconds that the new thread has to answer
STOP_LIMIT = 1.5  # seconds that it has to end; a loop that somebody holds never does
DEFAULT_WORKERS = min(32, (os.cpu_count() or 1) * 5)


class Drained(Protocol):
    """Who uses the runtime and wants to be drained before the process ends."""

    def close(self, timeout: float | None = None) -> None: ...
    def forget(self) -> None: ...  # in a forked child: drop what belongs to the parent's thread


class Runtime:
    """The loop thread of this process. Made by `current`, never directly."""

    def __init__(self, workers: int) -> None:
        refuse_where_threads_do_not_run()
        self.loop = asyncio.new_event_loop()
        # One more than may be at long work: the phases of async loads must not wait for sync ones.
        self.executor = DaemonExecutor(workers, spare=1)
        self.loop.set_default_executor(self.executor)
        self.waiting = 0  # threads that wait for loads; a plain += as for the engine's counters
        self.tasks: set[asyncio.Task[Any]] = set()  # every task of ours; changed on the loop only
        self._stopping = False
        self._ready: Future[int] = Future()
        self._thread = threading.Thread(target=self._main, name="aswr-loop", daemon=True)
        self._thread.start()
        try:
            self.ident = self._ready.result(START_LIMIT)
        except TimeoutError:
            self._stopping = True
            _forgotten.append(self)  # the thread may still come, and finds its loop
            raise RuntimeError(
                f"aswr's loop thread did not answer within {START_LIMIT:.0f} s: threads do not run "
                "in this process. Under uWSGI set 'enable-threads = true' (and 'lazy-apps = true')."
            ) from None
        self._watchdog = Watchdog(self.ident, self.post, lambda: bool(self.tasks))
        self._watchdog.start()

    @property
    def alive(self) -> bool:
        """Does the loop thread run?"""
        return self._thread.is_alive() and not self._stopping

    def on_loop(self) -> bool:
        """Is the calling thread the loop's own?"""
        return threading.get_ident() == self.ident

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Call ``callback`` on the loop, soon, in an empty context. Any thread; never waits."""
        self.loop.call_soon_threadsafe(callback, *args, context=contextvars.Context())

    def task(
        self, coroutine: Coroutine[Any, Any, T], name: str, context: contextvars.Context
    ) -> asyncio.Task[T]:
        """A tracked task; on the loop only."""
        task = self.loop.create_task(coroutine, name=name, context=context)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def submit(
        self,
        make: Callable[[], Coroutine[Any, Any, T]],
        name: str,
        context: contextvars.Context | None = None,
    ) -> Future[T]:
        """Run a coroutine as a tracked task; the Future ends with it. Any thread.

        Cancelling the Future does not cancel the task: who leaves takes nothing with him.
        """
        result: Future[T] = Future()

        def begin() -> None:
            try:
                coroutine = make()
            except Exception as error:
                result.set_exception(error)
                return
            task = self.task(coroutine, name, contextvars.Context() if context is None else context)
            task.add_done_callback(lambda done: _hand_over(done, result))

        self.post(begin)
        return result

    def call(
        self, make: Callable[[], Coroutine[Any, Any, T]], name: str, twin: str, timeout: float
    ) -> T:
        """Run a coroutine on the loop and wait for it, from synchronous code.

        Raises `RuntimeError` on the loop's own thread, which would wait for itself; ``twin`` is
        what to write there instead.
        """
        self.refuse_on_loop(twin)
        with self.executor.blocking():
            return self.submit(make, name).result(timeout)

    def refuse_on_loop(self, twin: str) -> None:
        """Raise `RuntimeError` where waiting would make the loop wait for itself."""
        if self.on_loop():
            raise RuntimeError(
                "this call blocks, and on aswr's own event loop it would wait for itself; "
                f"in async code write {twin}"
            )

    def begin(self, call: Callable[[], T], rank: Rank = Rank.BRIEF) -> Future[T]:
        """Run synchronous code on an executor thread, in an empty context. Any thread."""
        context = contextvars.Context()
        return self.executor.enqueue(rank, partial(context.run, without_stop_iteration, call))

    def finish(self, call: Callable[[], object]) -> None:
        """Run what ends a cancelled load: on a thread, or here if no thread can be made any more.

        So it is from Python 3.12 on when the interpreter shuts down.
        """
        try:
            self.begin(call)
        except RuntimeError:
            call()

    async def work(self, call: Callable[[], T]) -> T:
        """`begin` something brief, and wait for it.

        A cancelled caller leaves; the call goes on, since a thread cannot be stopped.
        """
        return await asyncio.shield(asyncio.wrap_future(self.begin(call)))

    async def phase(self, context: contextvars.Context, call: Callable[[], T], quiet: bool) -> T:
        """Run one phase of a load in the load's own context: here and now where it is ``quiet``."""
        return context.run(call) if quiet else await self.work(lambda: context.run(call))

    def end(self) -> None:
        """Cancel what is left and end the loop thread, without waiting for it; idempotent."""
        if not self._stopping:
            self._stopping = True
            self._watchdog.stop()
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.executor.shutdown(wait=False)

    def stop(self) -> None:
        """`end`, and wait for the thread. Not on the loop."""
        self.end()
        self._thread.join(STOP_LIMIT)

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.call_soon(self._ready.set_result, threading.get_ident())
        while not self._stopping:
            try:
                self.loop.run_forever()
            except BaseException as error:  # SystemExit out of a task of the user's own
                log.error("%r ended in aswr's event loop; the loop goes on", error, exc_info=error)
        try:
            self.loop.run_until_complete(self._leave())
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        except BaseException as error:
            log.debug("while closing the loop: %r", error)
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()

    async def _leave(self) -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest, timeout=1.0)


def without_stop_iteration(call: Callable[[], T]) -> T:
    """The call's result; a ``StopIteration``, which no Future takes, becomes a `RuntimeError`.

    As PEP 479 has it for generators and coroutines.
    """
    try:
        return call()
    except StopIteration as error:
        raise RuntimeError(f"the function raised {error!r}") from error


def _hand_over(done: "asyncio.Task[T]", result: "Future[T]") -> None:
    if result.done() or not result.set_running_or_notify_cancel():
        if not done.cancelled():
            done.exception()
    elif done.cancelled():
        result.set_exception(RuntimeError("the work was cancelled: aswr is closing"))
    elif (error := done.exception()) is not None:
        result.set_exception(error)
    else:
        result.set_result(done.result())


class thread_sensitive:
    """``async with thread_sensitive():`` gives asgiref's ``sync_to_async`` a thread of its own.

    Each load has one, a daemon, made when it is first needed: asgiref's default is one non-daemon
    thread for the whole process, or a deadlock.
    """

    async def __aenter__(self) -> None:
        self._executor = _OneThread()
        self._context = ThreadSensitiveContext(executor=self._executor)
        await self._context.__aenter__()  # type: ignore[no-untyped-call]

    async def __aexit__(self, *exc_info: Any) -> None:
        await self._context.__aexit__(*exc_info)  # type: ignore[no-untyped-call]
        self._executor.shutdown()


class _OneThread(Executor):
    """A pool of one daemon thread, which hardly any load needs: made when one does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: DaemonExecutor | None = None

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        with self._lock:
            self._pool = self._pool or DaemonExecutor(1, "aswr-sensitive")
        return self._pool.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=cancel_futures)


def refuse_where_threads_do_not_run() -> None:
    """Raise `RuntimeError`, with the cure, under gevent or eventlet patching and bare uWSGI."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        _refuse("gevent")
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        _refuse("eventlet")
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is not None and not uwsgi.opt.get("enable-threads"):
        raise RuntimeError(
            "aswr needs threads, and this uWSGI runs without them: set 'enable-threads = true'."
        )


def _refuse(patched_by: str) -> None:
    raise RuntimeError(
        f"aswr needs real threads, but {patched_by} has replaced them in this process (its loop "
        "thread would be a greenlet, and every request would hang). Run the app with threads "
        "instead: gunicorn --worker-class gthread --threads 8"
    )


# State of the process: the runtime and who uses it. Guarded by _lock; a fork replaces them.
# Reentrant: the collector may come by, in the midst of a change, with a manager to `abandon`.
_lock = threading.RLock()
_current: Runtime | None = None
_users: "weakref.WeakSet[Drained]" = weakref.WeakSet()
_known: "weakref.WeakSet[Drained]" = weakref.WeakSet()  # also those that never started
_registered = False
_forgotten: list[Runtime] = []  # kept: to collect an inherited loop would touch its parent's


def make_known(user: Drained) -> None:
    """A forked child tells ``user`` to `forget`, whether it had started here or not."""
    _known.add(user)


def current(user: Drained, workers: int = DEFAULT_WORKERS) -> Runtime:
    """The runtime of this process, started if need be, with ``user`` among its users.

    Raises `RuntimeError`, with the cure, where threads do not run.
    """
    global _current, _registered
    with _lock:
        _users.add(user)
        if _current is None or not _current.alive:
            try:
                _current = Runtime(workers)
            except BaseException:
                _users.discard(user)
                raise
        if not _registered:
            atexit.register(_drain)
            _registered = True
        return _current


def release(user: Drained) -> None:
    """``user`` is closed; the last one ends the loop thread."""
    if (last := _without(user)) is not None:
        last.stop()


def abandon(user: Drained) -> None:
    """``user`` was forgotten without `release`; as `release`, but waits for nothing."""
    if (last := _without(user)) is not None:
        last.end()


def _without(user: Drained) -> Runtime | None:
    """The runtime, for the caller to end, where ``user`` was its last."""
    global _current
    with _lock:
        _users.discard(user)
        if _users:
            return None
        last, _current = _current, None
        return last


def when(ready: Callable[[], bool], action: Callable[[], None], limit: float) -> None:
    """Call ``action``, on a thread, once ``ready()``, if that is within ``limit`` seconds."""

    def watch() -> None:
        until = time.monotonic() + limit
        while not ready():
            if time.monotonic() > until:
                return
            time.sleep(0.05)
        action()

    threading.Thread(target=watch, name="aswr-start", daemon=True).start()


def _drain() -> None:
    for user in list(_users):
        try:
            user.close()
        except Exception as error:
            log.error("%r could not be drained: %r", user, error, exc_info=error)


def _forget() -> None:
    global _lock, _current, _users
    known = list(_known)
    if _current is not None:
        _forgotten.append(_current)
    _lock, _current, _users = threading.RLock(), None, weakref.WeakSet()
    for user in known:
        user.forget()


os.register_at_fork(after_in_child=_forget)
