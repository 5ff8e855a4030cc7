"""A view that passes: run in its caller's own request, as Flask would have run it.

An async one runs on aswr's loop, as a task in a copy of the caller's context: a client object that
was made in one load would otherwise meet a second loop. Must not know entries or keys.
"""

import asyncio
import contextvars
import functools
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from asgiref.sync import async_to_sync

from .calls import is_async
from .coroutines import harmless, run
from .runtime import thread_sensitive
from .site import Site


@dataclass(frozen=True, slots=True)
class Passing:
    """One call of a view. ``site`` is None outside of a request: then nothing of aswr is needed.

    ``blocking``: an async view that blocks; it gets an event loop of its own.
    """

    name: str
    site: Site | None
    blocking: bool
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def run(self) -> Any:
        """What the view returns, for a caller on a thread without a running loop."""
        if not is_async(self.function):
            return self.function(*self.args, **self.kwargs)
        if self.site is None or not self.site.enabled or self.site.engine.closed:
            return async_to_sync(self.function)(*self.args, **self.kwargs)
        if self.blocking:
            with asyncio.Runner() as runner:
                return runner.run(self.function(*self.args, **self.kwargs))
        return run(self.site.engine, self.name, self._call)

    async def arun(self) -> Any:
        """As `run`, for a caller on an event loop, his own or aswr's."""
        if not is_async(self.function):
            context = contextvars.copy_context()
            call = functools.partial(context.run, self.function, *self.args, **self.kwargs)
            return await asyncio.get_running_loop().run_in_executor(None, call)
        site = self.site
        off = site is None or not site.enabled or site.engine.closed
        if site is None or off or site.engine.runtime.on_loop():
            return await self._call()
        return await asyncio.wrap_future(self._submit(site))

    @property
    def _call(self) -> "functools.partial[Any]":
        return functools.partial(self.function, *self.args, **self.kwargs)

    def _submit(self, site: Site) -> "Future[Any]":
        kept = functools.partial(site.engine.keep, self._alone)
        context = contextvars.copy_context()
        return site.engine.runtime.submit(kept, f"pass {self.name}", context)

    async def _alone(self) -> Any:
        async with thread_sensitive():
            return await harmless(self.name, self._call)
