"""A coroutine on aswr's loop, run for synchronous code whose thread waits for it.

To the caller it is as with asgiref's ``async_to_sync``: the coroutine sees his context and leaves
its changes there, ``sync_to_async`` runs on his thread, ``sys.exc_info()`` in an error handler is
his. But the loop is not made for him, and goes on when he is done. Any thread but the loop's own.

Must not know entries, keys or Flask.
"""

import asyncio
import contextvars
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias, TypeVar

from asgiref.sync import SyncToAsync, ThreadSensitiveContext

from .engine import Engine
from .errors import LoadError
from .runtime import Runtime, without_stop_iteration

T = TypeVar("T")
Make: TypeAlias = Callable[[], Coroutine[Any, Any, Any]]

_ABSENT = object()


def on_aswrs_loop(
    engine: Engine,
    otherwise: Callable[[Callable[..., Any]], Callable[..., Any]],
    function: Callable[..., Any],
) -> Callable[..., Any]:
    """How to call a coroutine function of the app's from synchronous code; for Flask's hook.

    ``otherwise`` makes the call where the cache is closed. Raises `TypeError`, with the cure, for
    a response whose body is an async iterator, which no WSGI server can send.
    """
    name = getattr(function, "__qualname__", repr(function))

    def call(*args: Any, **kwargs: Any) -> Any:
        if engine.closed:
            return otherwise(function)(*args, **kwargs)
        value = run(engine, name, partial(function, *args, **kwargs))
        body = getattr(value[0] if type(value) is tuple and value else value, "response", None)
        if hasattr(body, "__aiter__") and not hasattr(body, "__iter__"):
            raise TypeError(
                f"{name} returned a response whose body is an async iterator, {body!r}, and Flask "
                "sends bodies from a thread; give the response a plain generator, or the finished "
                "body, as in Response([chunk async for chunk in chunks])"
            )
        return value

    return call


def run(engine: Engine, name: str, make: Make) -> Any:
    """The coroutine's result, as long as it takes, for a thread without a running loop.

    Raises what the coroutine raises, `LoadError` for what would end the loop, and `RuntimeError`
    on aswr's own loop, or where that ends first.
    """
    runtime = engine.runtime
    runtime.refuse_on_loop(f"await {name}(...)")
    here, context = _Here(), contextvars.copy_context()
    work = partial(_beside, here, sys.exc_info()[1], name, make)
    done = runtime.submit(partial(engine.keep, work), name, context)
    here.work_until(done, runtime)
    _copy_back(context)
    return done.result()


async def _beside(here: Executor, handled: BaseException | None, name: str, make: Make) -> Any:
    async with ThreadSensitiveContext(executor=here):
        return await harmless(name, partial(_while_handling, handled, make))


async def harmless(name: str, make: Make) -> Any:
    """Await it; what would end the loop, or look like its end, is a `LoadError` of the caller's."""
    try:
        return await make()
    except (Exception, GeneratorExit):
        raise
    except BaseException as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        raise LoadError.of(name, error) from error


async def _while_handling(error: BaseException | None, make: Make) -> Any:
    """Await it where ``sys.exc_info()`` gives ``error``, with the traceback that it has."""
    if error is None:
        return await make()
    traceback = error.__traceback__
    try:
        raise error
    except BaseException:
        error.__traceback__ = traceback
        return await make()


def _copy_back(context: contextvars.Context) -> None:
    """What the coroutine set in its copy of the context is set in the caller's own."""
    for variable, value in context.items():
        # asgiref's Local is bound to a thread: the loop's must not hide the caller's.
        if variable.name != "asgiref.local" and variable.get(_ABSENT) is not value:
            variable.set(value)


class _Here(Executor):
    """The calling thread, at the service of a coroutine while it waits for it.

    What was opened on that thread, such as an SQLite connection, can be used on no other.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run ``fn`` on the waiting thread, before it goes on."""
        future: Future[T] = Future()
        self._calls.put((future, partial(fn, *args, **kwargs)))
        return future

    def work_until(self, done: "Future[Any]", runtime: Runtime) -> None:
        """Do the coroutine's synchronous work until ``done``, but not for a loop that died."""
        done.add_done_callback(lambda _: self._calls.put(None))
        while True:
            try:
                with runtime.executor.blocking():
                    item = self._calls.get(timeout=1.0)
            except Empty:
                if not runtime.alive:
                    raise RuntimeError("aswr's event loop ended while a view ran on it") from None
                continue
            if item is None:
                return
            _work(*item)
            del item


def _work(future: "Future[Any]", call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    # asgiref notes here, and leaves it, that this thread's coroutines belong on aswr's loop.
    noted = vars(SyncToAsync.threadlocal)
    before = dict(noted)
    try:
        future.set_result(without_stop_iteration(call))
    except BaseException as error:
        future.set_exception(error)
    finally:
        noted.clear()
        noted.update(before)
