"""The verbs of a manager: refresh, invalidate, peek, and their twins for async code.

They act on ``current_app``, else on the only live app of the manager. Any thread; the blocking ones
raise on aswr's own loop, where waiting would make it wait for itself.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask
from flask.globals import _cv_app

from .codec import Entry
from .flight import How, Result, Waiter
from .keys import split_path
from .runtime import Runtime
from .site import Site

VERB_LIMIT = 30.0  # seconds that a verb waits for the loop thread to see to it


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

    @abstractmethod
    def _loop(self) -> Runtime:
        """The loop thread, started if need be."""

    @property
    @abstractmethod
    def _running(self) -> Runtime | None:
        """The loop thread, if it runs."""

    def refresh(self, path: str) -> Entry | None:
        """Load ``path`` anew, and its variants in use, and wait; returns what is stored then.

        Joins a load under way. Raises what the load raises, `WaitTimeout` when it takes longer than
        ``wait_timeout``, `ValueError` where no cached view answers the path.
        """
        site = self._for_verb()
        if site is None:
            return None
        waiter = self._enlist(site, path, sync=True)
        patience = waiter.load.times.wait_timeout
        result = site.engine.wait(waiter, patience, f"await manager.arefresh({path!r})")
        return _refreshed(site, waiter, result)

    async def arefresh(self, path: str) -> Entry | None:
        """As `refresh`, for async code."""
        site = self._for_verb()
        if site is None:
            return None
        waiter = self._enlist(site, path)
        result = await site.engine.await_(waiter, waiter.load.times.wait_timeout)
        return _refreshed(site, waiter, result)

    def _enlist(self, site: Site, path: str, sync: bool = False) -> Waiter:
        load = site.load_of(path)
        for variant in site.used_variants(path, load):
            site.engine.enlist(variant, force=True)
        return site.engine.enlist(load, force=True, sync=sync)

    def invalidate(self, path: str) -> None:
        """Purge ``path`` with every query of it, or with a ``?query`` that URL alone.

        Takes effect at once, for loads in flight too: nothing older is served after it returned.
        """
        bare, query = split_path(path)
        self._purge(lambda site: site.engine.purge_path(bare, query), "ainvalidate(...)")

    async def ainvalidate(self, path: str) -> None:
        """As `invalidate`, for async code."""
        bare, query = split_path(path)
        await self._apurge(lambda site: site.engine.purge_path(bare, query))

    def invalidate_tags(self, *tags: str) -> None:
        """Purge every entry that bears one of the tags; at once, for loads in flight too."""
        names = _names(tags)
        self._purge(lambda site: site.engine.purge_tags(names), "ainvalidate_tags(...)")

    async def ainvalidate_tags(self, *tags: str) -> None:
        """As `invalidate_tags`, for async code."""
        names = _names(tags)
        await self._apurge(lambda site: site.engine.purge_tags(names))

    def clear(self) -> None:
        """Purge everything of the app; at once, for loads in flight too."""
        self._purge(lambda site: site.engine.purge_all(), "aclear()")

    async def aclear(self) -> None:
        """As `clear`, for async code."""
        await self._apurge(lambda site: site.engine.purge_all())

    def _purge(self, purge: Callable[[Site], Callable[[], Any]], twin: str) -> None:
        site = self._for_verb()
        if site is None:
            return
        if self._running is not None:
            self._running.refuse_on_loop(f"await manager.{twin}")
        clean = purge(site)
        if self._needs_cleaning(site):
            self._loop().call(clean, "aswr purge", twin, VERB_LIMIT)

    async def _apurge(self, purge: Callable[[Site], Callable[[], Any]]) -> None:
        site = self._for_verb()
        if site is None:
            return
        clean = purge(site)
        if self._needs_cleaning(site):
            await asyncio.wrap_future(self._loop().submit(clean, "aswr purge"))

    def _needs_cleaning(self, site: Site) -> bool:
        """Is there a loop that owns entries, or a backend that holds some? The stamp is set."""
        return self._running is not None or (site.store.shared and not site.engine.closed)

    def peek(self, path: str) -> Entry | None:
        """What is stored for a plain request for ``path``, whatever its age; loads nothing."""
        site = self._for_verb()
        if site is None:
            return None
        entry = site.store.glance(site.plain_key(path))
        return None if entry is None or entry.passing else entry

    def stats(self) -> dict[str, int]:
        """Counters and sizes of the app's cache, as of now."""
        site = self._for_verb()
        return {} if site is None else site.engine.stats()

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


def _refreshed(site: Site, waiter: Waiter, result: Result | None) -> Entry | None:
    """What a refresh comes to: the entry stored, None where nothing was; raises what went wrong."""
    if result is None:
        limit = waiter.load.times.wait_timeout
        raise site.engine.impatient(waiter.load, f"this took longer than {limit:g} s")
    if result.how is How.FAILED and isinstance(result.value, BaseException):
        raise result.value
    return result.entry if result.how in (How.STORED, How.COLLAPSED, How.HIT) else None
