"""What an operator may ask of the cache of one app: one set of questions, for CLI and admin page.

Answers are plain values, which JSON can carry. Any thread but aswr's loop; what waits does so for a
limited time. Knows the manager's sites and jobs; must not know how it is asked, or who may ask.
"""

import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from flask import Flask
from msgspec.structs import replace

from .checkup import checkup
from .engine import Engine
from .events import Because
from .flight import How, Result
from .keys import ViewKey, base_of
from .life import MOST, Life
from .manager import CacheManager
from .site import Site, find_view
from .survey import row, rows_in, select, url_of
from .verbs import loads_of
from .why import Why

T = TypeVar("T")

LIMIT = 60.0  # seconds that any question may take, beyond a load's own patience
CHECK_LIMIT = 10.0  # seconds for each question of a check-up
MOST_LISTED = 10_000  # entries of a shared store that are looked at
MOST_SHOWN = 1000  # rows in one answer
OFF = "the cache is switched off (ASWR_ENABLED = False)"


class Desk:
    """The questions about one app. Made by `desk_of`, which remembers it."""

    def __init__(self, manager: CacheManager, app: Flask, site: Site) -> None:
        self._manager = manager
        self._app = app
        self._site = site
        self.life = Life()

    # Looking.

    def stats(self) -> dict[str, Any]:
        """Counters and sizes of this process, in all and by view, as of now.

        `workers` has those of every process of a fleet, a few seconds old.
        """
        site = self._site
        tallies = sorted(site.engine.tallies.items())
        return {
            "app": site.name,
            "worker": {"host": platform.node(), "pid": os.getpid()},
            "at": site.engine.clock(),
            "stats": site.engine.stats(),
            "views": {view: tally.counts() for view, tally in tallies},
            "fleet": self.in_fleet,
        }

    @property
    def in_fleet(self) -> bool:
        """Is there a store that other processes share, and that can be listed?"""
        return self._site.engine.shares and self._site.shared.in_fleet

    @property
    def shares(self) -> bool:
        """Is there a store from which other processes read what this one loads?"""
        return self._site.engine.shares

    def store_answers(self, seconds: float = 5.0) -> bool:
        """Does the shared store answer, at the latest after so long? True where there is none."""
        until = time.monotonic() + seconds
        while self.shares and not self._ask(self._healthy, False):
            if time.monotonic() > until:
                return False
            time.sleep(0.1)
        return True

    async def _healthy(self) -> bool:
        tier = self._site.engine.tier
        health = {} if tier is None else await tier.health()
        return bool(health.get("reachable", tier is not None))

    def entries(
        self, *, view: str = "", tag: str = "", state: str = "", search: str = "",
        sort: str = "url", shared: bool = False, limit: int = MOST_SHOWN,
    ) -> dict[str, Any]:  # fmt: skip
        """What is stored: ``entries`` are rows as of `survey.row`, ``count`` how many there are.

        ``shared`` lists the shared store, at most 10,000 entries of it, in place of this process's
        memory. Raises `ValueError` for a state or an order that there is not.
        """
        site, now = self._site, self._site.engine.clock()
        if shared:
            listed: list[Any] = self._ask(self._listed, [])
            rows = [row(key, entry, now) for key, entry in listed]
        else:
            rows = rows_in(site.store, now)
        found = select(rows, view=view, tag=tag, state=state, search=search, sort=sort)
        source = "store" if shared else "memory"
        return {"entries": found[:limit], "count": len(found), "source": source, "at": now}

    async def _listed(self) -> list[Any]:
        tier, soft = self._site.engine.tier, self._site.store.stamps.soft
        listed = [] if tier is None else await tier.keys(MOST_LISTED)
        return [
            (key, replace(entry, fresh_until=min(entry.stored, entry.fresh_until)))
            if soft.latest(key, entry.tags) > entry.born
            else (key, entry)
            for key, entry in listed
        ]

    def show(self, url: str) -> dict[str, Any]:
        """What is stored of a URL or path: its own rows, its variants', and what it reads."""
        site = self._site
        path, query = site.purge_names(self._local(url))
        rows = rows_in(site.store, site.engine.clock())
        if self.in_fleet:
            self._refuse_on_loop("show")
            shared = self.entries(shared=True, limit=MOST_LISTED)["entries"]
            rows += [one for one in shared if one["id"] not in {known["id"] for known in rows}]
        found = [one for one in rows if one["path"] == path]
        if query is not None:
            found = [one for one in found if one["query"] == query]
        return {"url": url, "entries": select(found, notes=True), "life": self._life_of(found)}

    def entry(self, id: str) -> dict[str, Any]:
        """One entry by its id, with its variants and its life; raises `LookupError`."""
        rows = rows_in(self._site.store, self._site.engine.clock())
        found = next((one for one in rows if one["id"] == id), None)
        path, tags = ("", ()) if found is None else (found["path"], found["tags"])
        if found is None:  # what purged it names its path, which is known by what else happened
            urls = [one.url for one in self.life.of(id) if one.id == id]
            path = urls[-1].partition("?")[0] if urls else ""
        lives = [one.shown() for one in self.life.of(id, path, tags)]
        if found is None and not any(one["id"] == id for one in lives):
            raise LookupError(f"no entry {id!r} is in this process's memory, or was of late")
        url_id = found["url_id"] if found else next(o["url_id"] for o in lives if o["id"] == id)
        beside = [one for one in rows if one["url_id"] == url_id and one["id"] != id]
        return {"id": id, "entry": found, "beside": beside, "life": lives}

    def _life_of(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        lives = {
            id(happening): happening
            for one in rows
            for happening in self.life.of(one["id"], one["path"], one["tags"])
        }
        return [one.shown() for one in self.life.latest(MOST) if id(one) in lives]

    def latest(self, count: int = 50) -> list[dict[str, Any]]:
        """What happened of late, the last thing last, if anybody began to remember it."""
        return [one.shown() for one in self.life.latest(count)]

    def why(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Why a URL is answered as it is; see `Why.answer`. Renders where nothing is stored."""
        self._refuse_on_loop("why")
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        fields = {"Host": host, **(headers or {})} if host else headers or {}
        return Why(self._site, self._local(url), fields, self._ask, parts.scheme).answer()

    def jobs(self) -> list[dict[str, Any]]:
        """The periodic refreshes, as this process runs them; see `JobInfo`."""
        return [asdict(info) for info in self._manager.jobs() if info.app == self._site.name]

    def flights(self) -> list[dict[str, Any]]:
        """The loads in progress in this process, the oldest first. ``age`` in seconds."""
        engine = self._site.engine
        now = engine.clock()
        shown = [
            {
                "view": flight.load.name,
                "url": url_of(flight.key),
                "age": max(0.0, now - flight.began),
                "waiters": len(flight.waiters),
                "cause": flight.load.cause.what,
                "elsewhere": flight.follows is not None,
                "leads": flight.lease is not None,
            }
            for flight in list(engine.flights.values())
        ]
        return sorted(shown, key=lambda one: -one["age"])

    def workers(self) -> list[dict[str, Any]]:
        """The processes that share the store, this one among them, as each describes itself.

        With memory alone it is this one only: of others nothing can be known.
        """
        if not self.in_fleet:
            return [{**self._site.describe(), "worker": "", "here": True}]
        workers: list[dict[str, Any]] = self._ask(self._others, [])
        return workers

    async def _others(self) -> list[dict[str, Any]]:
        tier = self._site.engine.tier
        return [] if tier is None else await tier.workers()

    def routes(self) -> list[str]:
        """The paths of all cached views that take GET and have no arguments."""
        app = self._app
        paths = {
            rule.rule
            for rule in app.url_map.iter_rules()
            if "GET" in (rule.methods or ()) and not rule.arguments
            if find_view(app.view_functions.get(rule.endpoint)) is not None
        }
        return sorted(paths)

    def tags(self) -> list[str]:
        """The tags of what is in this process's memory, sorted."""
        rows = rows_in(self._site.store, self._site.engine.clock())
        return sorted({tag for one in rows for tag in one["tags"]})

    # Acting.

    def refresh(self, url: str) -> dict[str, Any]:
        """Load a URL anew, and its variants in use, and wait; see `load`."""
        return self.load(url, force=True, why="refresh")

    def load(self, url: str, *, force: bool, why: Because) -> dict[str, Any]:
        """Load a URL, unless it is fresh and not ``force``; what came of it, and in how long.

        ``outcome`` is "stored", "fresh" (nothing was to be done), "pass" (it is not stored, and
        ``reason`` says why), "uncached" (no cached view answers it) or "failed". Never raises for
        the load's sake.
        """
        self._refuse_on_loop("load")
        began = time.monotonic()
        try:
            outcome, reason = self._loaded(url, force, why)
        except Exception as error:
            outcome, reason = "failed", f"{type(error).__name__}: {error}"
        seconds = time.monotonic() - began
        return {"url": url, "outcome": outcome, "reason": reason, "seconds": seconds}

    def _loaded(self, url: str, force: bool, why: Because) -> tuple[str, str]:
        engine = self._site.engine
        if not self._site.enabled:
            return "pass", OFF
        try:
            plain, *variants = loads_of(self._site, self._local(url))
        except ValueError as error:
            return "uncached", str(error)
        loads = [plain, *(variants if force else ())]
        waiters = [engine.enlist(load, force=force, why=why) for load in loads]
        results = [engine.wait(waiter, engine.patience(waiter), "desk") for waiter in waiters]
        return _outcome(results[0])

    def purge(
        self, *, urls: Iterable[str] = (), tags: Iterable[str] = (), everything: bool = False,
        stale: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """Purge URLs (a path alone means every query of it), tags or everything.

        ``stale`` lets what it concerns be served while it is renewed. ``everybody`` says whether
        the shared store has it, if there is one. Raises `ValueError` for a bad URL. Where the cache
        is switched off nothing is purged, and ``reason`` says so.
        """
        self._refuse_on_loop("purge")
        site, done, everybody = self._site, [], True
        names = [(url, site.purge_names(self._local(url))) for url in urls]
        if not site.enabled:
            return {"purged": [], "everybody": True, "stale": stale, "reason": OFF}
        for url, (path, query) in names:
            everybody &= self._purge(lambda e, p=path, q=query: e.purge_path(p, q, stale))  # type: ignore[misc]
            done.append(url)
        if tags := tuple(tags):
            everybody &= self._purge(lambda engine: engine.purge_tags(tags, stale))
            done += [f"tag {tag}" for tag in tags]
        if everything:
            site.sharing.forget()
            everybody &= self._purge(lambda engine: engine.purge_all(stale))
            done.append("everything")
        return {"purged": done, "everybody": everybody, "stale": stale}

    def _purge(self, purge: Callable[[Engine], Any]) -> bool:
        return self._site.purge(purge, _twin("purge"))

    def settle(self, seconds: float = LIMIT) -> bool:
        """Wait until what was loaded is over and saved; False when the time came first."""
        return self._manager.join(seconds)

    # Health.

    def doctor(self) -> list[dict[str, str]]:
        """What is well and what is not: ``name``, ``state`` ("ok", "note", "warning", "error"),
        ``found``, and the ``cure`` where one is needed.
        """
        self._refuse_on_loop("doctor")
        ask = partial(self._ask, limit=CHECK_LIMIT)
        return checkup(self._manager, self._app, self._site, ask)

    def about(self) -> dict[str, Any]:
        """What runs here."""
        return {
            "app": self._site.name,
            "aswr": importlib.metadata.version("aswr"),
            "flask": importlib.metadata.version("flask"),
            "python": platform.python_version(),
            "host": platform.node(),
            "pid": os.getpid(),
            "argv": sys.argv[:1],
            "fleet": self.in_fleet,
        }

    def _ask(
        self, question: Callable[[], Coroutine[Any, Any, T]], closed: T | None = None,
        limit: float | None = None,
    ) -> T:  # fmt: skip
        """What the loop answers, which begins if need be; ``closed`` where the cache is."""
        engine = self._site.engine
        if engine.closed and closed is not None:
            return closed
        return engine.runtime.call(question, "aswr desk", _twin("..."), limit or LIMIT)

    def _refuse_on_loop(self, call: str) -> None:
        if (running := self._site.running) is not None:
            running.refuse_on_loop(_twin(call))

    def _local(self, url: str) -> str:
        """Path and query of a URL, as the app knows them: without where it is mounted."""
        path = local(url)
        keys = map(base_of, self._site.store.memory.keys())
        mounts = {key.script_name for key in keys if isinstance(key, ViewKey)}
        for mount in sorted({self._site.base.script_name, *mounts}, key=len, reverse=True):
            shown = quote(mount)
            if mount and (path == shown or path.startswith((f"{shown}/", f"{shown}?"))):
                rest = path.removeprefix(shown)
                return rest if rest.startswith("/") else f"/{rest}"
        return path


def _twin(call: str) -> str:
    return f"await asyncio.to_thread(desk.{call}, ...)"


def _outcome(result: Result | None) -> tuple[str, str]:
    if result is None:
        return "failed", "it takes longer than wait_timeout; the load goes on"
    if result.how is How.FAILED:
        value = result.value
        if isinstance(value, BaseException):
            return "failed", f"{type(value).__name__}: {value}"
        return "failed", f"status {getattr(value, 'status', '5xx')}"
    if result.how is How.HIT:
        return "fresh", ""
    if result.how in (How.STORED, How.COLLAPSED):
        return "stored", ""
    return "pass", result.detail or "its answer is not to be stored"


def local(url: str) -> str:
    """Path and query of a URL, as the app knows them; raises `ValueError` for none."""
    parts = urlsplit(url)
    path = parts.path or "/"
    if not path.startswith("/"):
        raise ValueError(f"name the path as the browser shows it, '/report', got {url!r}")
    return f"{path}?{parts.query}" if parts.query else path


def desk_of(manager: CacheManager, app: Flask) -> Desk:
    """The desk of a manager's app; raises `RuntimeError` where it is not this manager's."""
    site = manager.site_of(app)
    found: Desk | None = app.extensions.get("aswr.desk")
    if found is None or found._site is not site:
        found = app.extensions["aswr.desk"] = Desk(manager, app, site)
    return found
