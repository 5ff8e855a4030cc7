"""Memoized functions: one entry per call, computed in a fresh app context, never in a request.

Runs on the caller's thread or loop; a hit reads a dictionary. What waits or loads is the engine's.
"""

import asyncio
import copy
import functools
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from asgiref.sync import async_to_sync
from flask import Flask
from flask.ctx import AppContext
from werkzeug.wrappers import Response

from . import quiet
from .checks import Tags, tag_tuple
from .codec import Entry, Uncarriable, size_of
from .errors import LoadError, as_exception
from .events import Because
from .flight import Fate, Flight, How, Load, Loaded, Result
from .keys import CallKey, Signature, Unkeyable, canonical
from .policy import Verdict
from .render import refuse_awaitable, tell_monitors
from .runtime import thread_sensitive
from .site import Site
from .values import Carrier, Codec

log = logging.getLogger("aswr.memo")

MARK = "__aswr_call__"


class Memoized:
    """What `CacheManager.memoize` makes of a function."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str,
        is_async: bool,
        timeout: float,
        given: Mapping[str, Any],
        key: Callable[..., Any] | None,
        tags: Tags,
        store_if: Callable[[Any], bool] | None,
        copies: bool,
        sizeof: Callable[[Any], int] | None,
        shared: bool = True,
        codec: Codec | None = None,
    ) -> None:
        self.function = function
        self.name = name
        self.timeout = timeout
        self.given = given
        self.is_async = is_async
        self._tags = tags
        self._store_if = store_if
        self.copies = copies
        self._sizeof = sizeof
        self.shared = shared
        self._carrier = Carrier(name, function, codec)
        self.key: Callable[[tuple[Any, ...], Mapping[str, Any]], CallKey]
        if key is None:
            self.key = Signature(function, name).key
        else:
            self.key = functools.partial(_given_key, name, key)

    def begin(
        self, site: Site, key: CallKey, entry: Entry | None, args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> tuple[Any, Load | None]:  # fmt: skip
        """The result of what was peeked, or the load to wait for. No I/O, no waiting."""
        engine = site.engine
        now, decision = engine.judge(key, entry)
        if entry is None or not decision.serve:
            return None, self.load(site, key, args, kwargs)
        loads = decision.load and not engine.closed
        engine.ledger.note_hit(self.name, key, entry, now, _stale(decision.verdict, loads))
        if decision.load:
            engine.start(self.load(site, key, args, kwargs))
        return self._out(entry.value), None

    def finish(
        self, site: Site, load: Load, result: Result | None, refresh: bool, began: float
    ) -> Any:
        """The result that the wait came to, which began then; raises what the load raised.

        Counted as a miss, or where it is given out of the cache all the same as a hit; not for who
        asked for a ``refresh``.
        """
        engine, failed = site.engine, result is not None and result.how is How.FAILED
        if result is None or failed:
            entry, why = engine.fallback(load), "stale-if-error" if failed else "soft-timeout"
        else:
            entry = result.entry if result.how is How.HIT else None
            why = _stale(engine.judge(load.key, entry)[1].verdict, True)
        if entry is not None:
            if failed and result is not None and result.first:
                tell_monitors(site.app, result.value)
            if not refresh:
                engine.ledger.note_hit(self.name, load.key, entry, engine.clock(), why)
            return self._out(entry.value)
        if not refresh:
            engine.ledger.note_miss(self.name, load.key, time.monotonic() - began)
        if result is None:
            raise engine.waited_out(load)
        if failed:
            raise result.value
        return self._out(result.value)

    def _out(self, value: Any) -> Any:
        return copy.deepcopy(value) if self.copies else value

    def load(
        self, site: Site, key: CallKey, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Load:
        """How to compute one call on behalf of nobody."""
        app, plan = site.app, site.plan_of(self)
        call = functools.partial(self.function, *args, **kwargs)
        strict = self.shared and bool(site.shared) and site.config["ASWR_STRICT"]
        site.shared.carriers.setdefault(self.name, self._carrier)

        def run(flight: Flight) -> Any:
            computing = Computing(app, self, call, flight, strict)
            return computing.on_loop() if self.is_async else computing.on_thread()

        return Load(key, self.name, plan.times, run, not self.is_async, shared=self.shared)

    def loaded(self, value: Any, strict: bool) -> Loaded:
        """What becomes of a result; ``strict``: one that cannot be shared is an error."""
        self._refuse_used_up(value)
        if strict:
            self._carrier.pack(value)
        if self._store_if is not None and not self._store_if(value):
            return Loaded(value, Fate.KEEP, detail="store_if")
        tags = tag_tuple(self._tags(value)) if callable(self._tags) else self._tags
        return Loaded(value, Fate.STORE, self._size(value), tags)

    @property
    def judges_nothing(self) -> bool:
        """Does none of the decorator's functions look at a result?"""
        return self._sizeof is None and quiet.decides_nothing(self._tags, self._store_if)

    def _refuse_used_up(self, value: Any) -> None:
        """Raise `TypeError` for what is not the same for the next caller."""
        head = value[0] if isinstance(value, tuple) and value else value
        if isinstance(head, Response):
            raise TypeError(
                f"{self.name} returned a Response, to which every request writes its own cookies "
                "and headers; return the data, or cache the view: @manager.cacher(...)"
            )
        if isinstance(value, (Iterator, AsyncIterator)):
            raise TypeError(
                f"{self.name} returned a {type(value).__qualname__}, which the first caller uses "
                "up; return a list"
            )

    def _size(self, value: Any) -> int:
        if self._sizeof is not None:
            return max(0, int(self._sizeof(value)))
        try:
            return size_of(value)
        except (Uncarriable, RecursionError):
            return sys.getsizeof(value)


def _stale(verdict: Verdict, loads: bool) -> str:
    """Why what is given is stale; empty for what is not."""
    if verdict is Verdict.FRESH:
        return ""
    return "revalidating" if loads else "held-back"


def _given_key(
    name: str, key: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> CallKey:
    """The key of a call as ``key=`` says; raises `TypeError` where that is none."""
    value = key(*args, **kwargs)
    try:
        return CallKey(name, canonical(value))
    except (Unkeyable, RecursionError, ValueError):
        raise TypeError(
            f"{name}: key= returned a {type(value).__qualname__}, which cannot be a key; "
            "return plain values: numbers, text, dates, or a tuple of these"
        ) from None


class Computing:
    """One computation, in an app context of its own."""

    def __init__(
        self, app: Flask, memoized: Memoized, call: Callable[[], Any], flight: Flight, strict: bool
    ) -> None:
        self._app = app
        self._memoized = memoized
        self._call = call
        self._flight = flight
        self._strict = strict
        self._context: AppContext | None = None

    def on_thread(self) -> Loaded:
        """Everything on the calling executor thread."""
        return self._flight.context().run(self._on_thread)

    def _on_thread(self) -> Loaded:
        self._open()
        try:
            value = self._call()
            refuse_awaitable(self._memoized.name, value)
        except BaseException as error:
            return self._close(None, as_exception(self._memoized.name, error))
        return self._close(value, None)

    async def on_loop(self) -> Loaded:
        """The coroutine on the loop; hooks, and measuring what may be large, off it."""
        runtime, context = self._flight.runtime, self._flight.context()
        value, failed = None, None
        await runtime.phase(context, self._open, quiet.opens_app_context(self._app))
        try:
            value = await self._flight.run(self._run(), context)
        except asyncio.CancelledError as error:  # draining
            runtime.finish(functools.partial(context.run, self._tear_down, error))
            raise
        except Exception as error:
            failed = error
        close = functools.partial(self._close, value, failed)
        return await runtime.phase(context, close, failed is None and self._closes_quietly(value))

    def _closes_quietly(self, value: Any) -> bool:
        """Will `_close` run nothing of the user's, and nothing that takes long?"""
        return (
            quiet.is_small(value)
            and self._memoized.judges_nothing
            and quiet.closes_app_context(self._app)
        )

    def _open(self) -> None:
        self._context = self._app.app_context()
        self._context.push()

    async def _run(self) -> Any:
        try:
            async with thread_sensitive():
                return await self._call()
        except (Exception, asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            raise LoadError.of(self._memoized.name, error) from error

    def _close(self, value: Any, failed: BaseException | None) -> Loaded:
        loaded = Loaded(failed, Fate.FAILED)
        try:
            if failed is None:
                loaded = self._memoized.loaded(value, self._strict)
        except BaseException as error:
            failed = as_exception(self._memoized.name, error)
            loaded = Loaded(failed, Fate.FAILED)
        if failed is not None and not self._flight.attended:
            tell_monitors(self._app, failed)
        self._tear_down(failed)
        return loaded

    def _tear_down(self, failed: BaseException | None) -> None:
        assert self._context is not None
        try:
            self._context.pop(failed)
        except Exception as error:
            name = self._memoized.name
            extra = {"aswr_view": name, "aswr_key": self._flight.key}
            log.exception("%s: a teardown function failed (%r)", name, error, extra=extra)


def wrap(memoized: Memoized, site_of: Callable[[], Site | None]) -> Any:
    """The function that users get: awaited, with ``sync``, the verbs and their a-twins.

    ``site_of`` gives the site of a call, None where the cache is switched off.

    A fresh hit ends in the call itself, as it would in `Memoized.begin`; all else goes on to there.
    """
    name, key_of, by_reference = memoized.name, memoized.key, not memoized.copies

    @functools.wraps(memoized.function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        site = site_of()
        if site is None:
            return await _arun(memoized, args, kwargs)
        key = key_of(args, kwargs)
        entry = site.store.peek(key)
        if entry is not None and by_reference and (now := site.engine.clock()) < entry.fresh_until:
            site.engine.ledger.note_hit(name, key, entry, now)
            return entry.value
        value, load = memoized.begin(site, key, entry, args, kwargs)
        return value if load is None else await _await(memoized, site, load, args, kwargs)

    def sync(*args: Any, **kwargs: Any) -> Any:
        site = site_of()
        if site is None:
            return _run(memoized, args, kwargs)
        key = key_of(args, kwargs)
        entry = site.store.peek(key)
        if entry is not None and by_reference and (now := site.engine.clock()) < entry.fresh_until:
            site.engine.ledger.note_hit(name, key, entry, now)
            return entry.value
        value, load = memoized.begin(site, key, entry, args, kwargs)
        return value if load is None else _wait(memoized, site, load, args, kwargs)

    def peek(*args: Any, **kwargs: Any) -> Entry | None:
        site = site_of()
        return None if site is None else site.store.glance(memoized.key(args, kwargs))

    def refresh(*args: Any, **kwargs: Any) -> Any:
        site = site_of()
        if site is not None:
            load = memoized.load(site, memoized.key(args, kwargs), args, kwargs)
            return _wait(memoized, site, load, args, kwargs, refresh=True)
        return None

    async def arefresh(*args: Any, **kwargs: Any) -> Any:
        site = site_of()
        if site is not None:
            load = memoized.load(site, memoized.key(args, kwargs), args, kwargs)
            return await _await(memoized, site, load, args, kwargs, refresh=True)
        return None

    def invalidate(*args: Any, **kwargs: Any) -> bool:
        site, key = site_of(), memoized.key(args, kwargs)
        twin = f"await {memoized.name}.ainvalidate(...)"
        return site is None or site.purge(lambda engine: engine.purge_call(key), twin)

    async def ainvalidate(*args: Any, **kwargs: Any) -> bool:
        site, key = site_of(), memoized.key(args, kwargs)
        return site is None or await site.apurge(lambda engine: engine.purge_call(key))

    for verb in (sync, peek, refresh, arefresh, invalidate, ainvalidate):
        setattr(call, verb.__name__, verb)
    setattr(call, MARK, memoized)
    return call


def _wait(
    memoized: Memoized,
    site: Site,
    load: Load,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    refresh: bool = False,
) -> Any:
    why: Because = "refresh" if refresh else "miss"
    began = time.monotonic()
    result = site.engine.fetch(load, f"await {memoized.name}(...)", force=refresh, why=why)
    if result is not None and result.how is How.PASS:
        site.engine.ledger.note_pass(memoized.name, load.key, result.detail)
        return _run(memoized, args, kwargs)
    return memoized.finish(site, load, result, refresh, began)


async def _await(
    memoized: Memoized,
    site: Site,
    load: Load,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    refresh: bool = False,
) -> Any:
    began = time.monotonic()
    result = await site.engine.afetch(load, force=refresh, why="refresh" if refresh else "miss")
    if result is not None and result.how is How.PASS:
        site.engine.ledger.note_pass(memoized.name, load.key, result.detail)
        return await _arun(memoized, args, kwargs)
    return memoized.finish(site, load, result, refresh, began)


def _run(memoized: Memoized, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The function itself: the cache is off or closed (`How.PASS`)."""
    function = memoized.function
    return (async_to_sync(function) if memoized.is_async else function)(*args, **kwargs)


async def _arun(memoized: Memoized, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if memoized.is_async:
        return await memoized.function(*args, **kwargs)
    return await asyncio.to_thread(memoized.function, *args, **kwargs)
