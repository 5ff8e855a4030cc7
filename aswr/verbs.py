"""The verbs of a manager: refresh, invalidate, peek, and their twins for async code.

They act on ``current_app``, else on the only live app of the manager. Any thread; the blocking ones
raise on aswr's own loop, where waiting would make it wait for itself.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flask import Flask
from flask.globals import _cv_app

from .codec import Entry
from .engine import Cleaning, Engine
from .events import Hook, Kind, check_hook
from .flight import How, Load, Result
from .keys import split_path
from .runtime import Runtime
from .site import Site


def which_app(count: int, call: str) -> str:
    """Why it is not clear which app is meant, of so many, and what to write."""
    if not count:
        return "this manager has no app: call manager.init_app(app) first"
    return (
        f"this acts on current_app or on the only app of its manager, and there are {count} apps "
        f"and no app context here: use {call}"
    )


class Verbs(ABC):
    """What can be asked of a manager. ``_sites`` holds its live apps."""

    _sites: Mapping[Flask, Site]
    _watchers: list[Callable[[Engine], None]]
    _starters: list[Callable[[Runtime], None]]

    @abstractmethod
    def _loop(self) -> Runtime:
        """The loop thread, started if need be."""

    @property
    @abstractmethod
    def _running(self) -> Runtime | None:
        """The loop thread, if it runs."""

    def refresh(self, path: str) -> Entry | None:
        """Load ``path`` anew, and its variants in use, and wait; the entry that is stored then.

        None where nothing is stored: the view passes, or answered what is not to be stored. Joins
        a load under way. Raises what the load raises, `WaitTimeout` when it takes longer than
        ``wait_timeout``, `ValueError` where no cached view answers the path.
        """
        site = self._for_verb()
        if site is None:
            return None
        engine, twin = site.engine, f"await manager.arefresh({path!r})"
        if self._running is not None:
            self._running.refuse_on_loop(twin)
        plain, *variants = loads_of(site, path)
        waiters = [
            engine.enlist(load, force=True, sync=load is plain, why="refresh")
            for load in (plain, *variants)
        ]
        results = [engine.wait(waiter, engine.patience(waiter), twin) for waiter in waiters]
        return _refreshed(site, plain, results[0])

    async def arefresh(self, path: str) -> Entry | None:
        """As `refresh`, for async code."""
        site = self._for_verb()
        if site is None:
            return None
        plain, *variants = loads_of(site, path)
        fetches = [
            site.engine.afetch(load, force=True, why="refresh") for load in (plain, *variants)
        ]
        return _refreshed(site, plain, (await asyncio.gather(*fetches))[0])

    def invalidate(self, path: str, *, stale: bool = False) -> bool:
        """Purge ``path`` with every query of it, or with a ``?query`` that URL alone.

        Takes effect at once, for loads in flight too: nothing older is served here after it has
        returned, and soon by no other process (``ASWR_PROPAGATION``). ``stale=True`` lets what it
        concerns be served while it is renewed. False where a shared store does not have it: Redis
        is told as soon as it answers, another store never.
        """
        return self._purge(self._purge_of(path, stale), "ainvalidate(...)")

    async def ainvalidate(self, path: str, *, stale: bool = False) -> bool:
        """As `invalidate`, for async code."""
        return await self._apurge(self._purge_of(path, stale))

    def _purge_of(self, path: str, soft: bool) -> Callable[[Engine], Cleaning]:
        split_path(path)  # a bad path is an error where the cache is switched off, too
        site = self._for_verb()
        bare, query = split_path(path) if site is None else site.purge_names(path)
        return lambda engine: engine.purge_path(bare, query, soft)

    def invalidate_tags(self, *tags: str, stale: bool = False) -> bool:
        """Purge every entry that bears one of the tags; as `invalidate`."""
        names = _names(tags)
        return self._purge(lambda engine: engine.purge_tags(names, stale), "ainvalidate_tags(...)")

    async def ainvalidate_tags(self, *tags: str, stale: bool = False) -> bool:
        """As `invalidate_tags`, for async code."""
        names = _names(tags)
        return await self._apurge(lambda engine: engine.purge_tags(names, stale))

    def clear(self, *, stale: bool = False) -> bool:
        """Purge everything of the app; as `invalidate`."""
        return self._purge(partial(self._clear, stale), "aclear()")

    async def aclear(self, *, stale: bool = False) -> bool:
        """As `clear`, for async code."""
        return await self._apurge(partial(self._clear, stale))

    def _clear(self, soft: bool, engine: Engine) -> Cleaning:
        site = self._for_verb()
        if site is not None:
            site.sharing.forget()
        return engine.purge_all(soft)

    def _purge(self, purge: Callable[[Engine], Cleaning], twin: str) -> bool:
        site = self._for_verb()
        return True if site is None else site.purge(purge, f"await manager.{twin}")

    async def _apurge(self, purge: Callable[[Engine], Cleaning]) -> bool:
        site = self._for_verb()
        return True if site is None else await site.apurge(purge)

    def peek(self, path: str) -> Entry | None:
        """What is stored for a plain request for ``path``, whatever its age; loads nothing."""
        site = self._for_verb()
        if site is None:
            return None
        entry = site.store.glance(site.plain_key(path))
        return None if entry is None or entry.passing else entry

    def stats(self) -> dict[str, Any]:
        """Counters and sizes of the app's cache in this process, as of now.

        Times are in seconds. ``seconds_saved``: what the loads took of which hits were the answers.
        """
        site = self._for_verb()
        return {} if site is None else site.engine.stats()

    def view_stats(self) -> dict[str, dict[str, Any]]:
        """The counters among `stats`, by the names of views and memoized functions."""
        site = self._for_verb()
        tallies = {} if site is None else dict(site.engine.tallies)
        return {view: tally.counts() for view, tally in sorted(tallies.items())}

    def subscribe(self, hook: Hook, *kinds: Kind) -> Callable[[], None]:
        """Call ``hook(event)`` with each `aswr.Event` of these kinds, or of all, in every app.

        Also in apps that come later. It is called where the thing happens: on a caller's thread or
        on aswr's loop; it must be quick and must not wait; what it raises is logged, once. Calling
        what is returned ends it. `aswr.signals` has the same as signals. Raises `ValueError` for
        an unknown kind, `TypeError` for what is no plain function.
        """
        check_hook(hook, kinds)
        ends: list[Callable[[], None]] = []

        def begin(engine: Engine) -> None:
            ends.append(engine.events.subscribe(hook, *kinds))

        self.for_each_engine(begin)

        def end() -> None:
            if begin in self._watchers:
                self._watchers.remove(begin)
            while ends:
                ends.pop()()

        return end

    # For leaves that look on: metrics and tracing.

    def engines(self) -> list[Engine]:
        """The engines of the live apps whose cache is switched on."""
        return [site.engine for site in self._live() if site.enabled]

    def for_each_engine(self, call: Callable[[Engine], None]) -> Callable[[], None]:
        """Call it with the engine of each app, of those that come later too, until it is ended."""
        self._watchers.append(call)
        for site in self._live():
            call(site.engine)
        return partial(self._watchers.remove, call)

    def for_each_loop(self, call: Callable[[Runtime], None]) -> Callable[[], None]:
        """Call it with each loop thread that this manager comes to use, until it is ended.

        Any thread calls it, perhaps more than once for one loop thread.
        """
        self._starters.append(call)
        if self._running is not None:
            call(self._running)
        return partial(self._starters.remove, call)

    def _live(self) -> list[Site]:
        return [site for site in list(self._sites.values()) if site.live]

    def _for_verb(self) -> Site | None:
        """The site a verb acts on; None where the cache is switched off."""
        context = _cv_app.get(None)
        site = None if context is None else self._sites.get(context.app)
        if site is None:
            sites = self._live()
            if sites and not any(site.enabled for site in sites):
                return None
            if len(sites) != 1:
                call = "with app.app_context(): ..."
                raise RuntimeError(which_app(len(sites), call))
            site = sites[0]
        return site if site.enabled else None


def _names(tags: tuple[str, ...]) -> tuple[str, ...]:
    for tag in tags:
        if not isinstance(tag, str):
            raise TypeError(f"tags are names (str), got {tag!r}; write invalidate_tags('a', 'b')")
    return tags


def loads_of(site: Site, path: str) -> list[Load]:
    """The load of a plain request for ``path``, and those of its variants in use."""
    plain = site.load_of(path)
    return [plain, *site.used_variants(path, plain)]


def _refreshed(site: Site, load: Load, result: Result | None) -> Entry | None:
    if result is None:
        raise site.engine.waited_out(load)
    if result.how is How.FAILED and isinstance(result.value, BaseException):
        raise result.value
    return result.entry if result.how in (How.STORED, How.COLLAPSED, How.HIT) else None
