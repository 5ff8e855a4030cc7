"""What an operator may ask of the cache of one app: one set of questions, for CLI and admin page.

Answers are plain values, which JSON can carry. Any thread but aswr's loop; what waits does so for a
limited time. Knows the manager's sites and jobs; must not know how it is asked, or who may ask.
"""

import importlib.metadata
import os
import platform
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from flask import Flask
from msgspec.structs import replace

from .checkup import checkup
from .engine import Engine
from .events import Because
from .flight import How, Load, Result, Waiter
from .here import host
from .keys import CallKey, VariantKey, ViewKey, base_of, digest
from .life import Life
from .manager import CacheManager
from .site import Site, find_view
from .survey import AT_ONCE, Found, Wanted, check_sort, found_in, rows_of, url_of
from .tier import UNLISTED, Listing
from .verbs import loads_of
from .why import Why

T = TypeVar("T")

LIMIT = 60.0  # seconds that any question may take, beyond a load's own patience
CHECK_LIMIT = 10.0  # seconds for each question of a check-up
MOST_LISTED = 10_000  # entries of a shared store that are looked at
MOST_SHOWN = 1000  # rows in one answer
TOGETHER = 8  # URLs of one list that are loaded at a time
OFF = "the cache is switched off (ASWR_ENABLED = False)"
CLOSED = Listing([], "the cache is closed here, and asks the shared store nothing")
ONE_VARIANT = "which of its variants are in use is known to the servers alone: ask one, or purge it"


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
            "worker": self._where()["worker"],
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
        memory. ``partial`` says why these are not all, and is empty where they are; ``silent``
        whether that is because the store did not answer. Raises `ValueError` for a state or an
        order that there is not.
        """
        wanted = Wanted(view, tag, state, search)
        check_sort(sort)
        store, now, listing = self._site.store, self._site.engine.clock(), Listing([])
        if shared:
            listing = self._ask(partial(self._listed, MOST_LISTED), CLOSED)
            found = (
                Found(key, entry)
                for key, entry in listing.entries
                if wanted.by_key(key) and wanted.by_entry(entry, now)
            )
            rows, count = rows_of(found, now, sort, limit)
        else:
            rows, count = rows_of(found_in(store, now, wanted), now, sort, limit)
        return {
            "entries": rows, "count": count, "source": "store" if shared else "memory", "at": now,
            "partial": listing.partial, "silent": listing.silent,
        }  # fmt: skip

    async def _listed(self, most: int) -> Listing:
        tier = self._site.engine.tier
        return UNLISTED if tier is None else self._softened(await tier.listing(most))

    async def _under(self, keys: Iterable[Hashable]) -> Listing:
        tier = self._site.engine.tier
        return UNLISTED if tier is None else self._softened(await tier.under(map(digest, keys)))

    def _softened(self, listing: Listing) -> Listing:
        """As it would be served: stale, where a soft purge concerns it."""
        soft = self._site.store.stamps.soft
        entries = [
            (key, replace(entry, fresh_until=min(entry.stored, entry.fresh_until)))
            if soft.latest(key, entry.tags) > entry.born
            else (key, entry)
            for key, entry in listing.entries
        ]
        return Listing(entries, listing.partial, listing.silent)

    def show(self, url: str) -> dict[str, Any]:
        """What is stored of a URL or path: its own rows, its variants', and what it reads.

        With ``partial`` and ``silent`` as of `entries`: in a shared store it is looked up where it
        would lie, and then other queries and variants of it are looked for.
        """
        site, now, listing = self._site, self._site.engine.clock(), Listing([])
        path, query = site.purge_names(self._local(url))
        found = {one.key: one for one in found_in(site.store, now, keys=self._stored(path, query))}
        if self.in_fleet:
            self._refuse_on_loop("show")
            try:
                plain = site.load_of(self._local(url))
            except ValueError:
                plain = None
            listing = self._ask(partial(self._of_url, path, query, plain), CLOSED)
            found = {**{key: Found(key, entry) for key, entry in listing.entries}, **found}
        rows, count = rows_of(found.values(), now, limit=MOST_SHOWN)
        left_out = f"of {count:,} entries these are the first {len(rows):,}"
        return {
            "url": url,
            "entries": rows,
            "life": self._life_of(rows),
            "partial": listing.partial or (left_out if count > len(rows) else ""),
            "silent": listing.silent,
        }

    def _stored(self, path: str, query: str | None) -> list[Hashable]:
        """The keys under a path in memory, and those of its URLs, each once."""
        keys = self._site.store.variants(path, query)
        return list(dict.fromkeys([*map(base_of, keys), *keys]))

    async def _of_url(self, path: str, query: str | None, plain: Load | None) -> Listing:
        """What the store has of a path: at keys that are known, then wherever it may be."""
        known = [*self._stored(path, query), *([] if plain is None else [plain.base])]
        entries = dict((await self._under(known)).entries)
        note = None if plain is None else entries.get(plain.base)
        if plain is not None and plain.under is not None and note is not None and note.names:
            entries.update((await self._under([plain.under(note.names)[0]])).entries)
        listing = await self._listed(MOST_LISTED)
        entries = {**dict(listing.entries), **entries}
        of_it = [
            (key, entry)
            for key, entry in entries.items()
            if isinstance(url := base_of(key), ViewKey)
            and url.path == path
            and query in (None, url.query)
        ]
        return Listing(of_it, listing.partial, listing.silent)

    def entry(self, id: str) -> dict[str, Any]:
        """One entry by its id, with its variants and its life; raises `LookupError`."""
        store, now = self._site.store, self._site.engine.clock()
        key = self._key_of(id)
        url_of_it = base_of(key)
        keys = [] if key is None else dict.fromkeys([key, *store.keys_of(url_of_it)])
        rows, _ = rows_of(found_in(store, now, keys=keys), now)
        found = next((one for one in rows if one["id"] == id), None)
        path, tags = ("", ()) if found is None else (found["path"], found["tags"])
        if found is None:  # what purged it names its path, which is known by what else happened
            urls = [one.url for one in self.life.of({id}) if one.id == id]
            path = urls[-1].partition("?")[0] if urls else ""
        lives = [one.shown() for one in self.life.of({id}, {path}, tags)]
        if found is None and not any(one["id"] == id for one in lives):
            raise LookupError(f"no entry {id!r} is in this process's memory, or was of late")
        if found is None:
            url_id = next(one["url_id"] for one in lives if one["id"] == id)
            keys = store.keys_of(self._key_of(url_id))
            rows, _ = rows_of(found_in(store, now, keys=keys), now)
        beside = [one for one in rows if one["id"] != id]
        return {"id": id, "entry": found, "beside": beside, "life": lives}

    def _key_of(self, id: str) -> Hashable:
        """The key in memory of which that is the digest, its variants' URLs too, else None."""
        for index, key in enumerate(self._site.store.memory.keys()):
            if index % AT_ONCE == AT_ONCE - 1:
                time.sleep(0)
            if digest(key) == id:
                return key
            if type(key) is VariantKey and digest(key.base) == id:
                return key.base
        return None

    def _life_of(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        ids, paths = ({one[name] for one in rows} for name in ("id", "path"))
        tags = {tag for one in rows for tag in one["tags"]}
        return [one.shown() for one in self.life.of(ids, paths, tags)]

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

        With memory alone it is this one only, and so it is, ``silent``, while the store does not
        answer: of others nothing can be known then.
        """
        if not self.in_fleet:
            return [{**self._site.describe(), "worker": "", "here": True}]
        workers: list[dict[str, Any]] = self._ask(self._others, [])
        if not workers and not self._manager.looks_on:
            return [{**self._site.describe(), "worker": "", "here": True, "silent": True}]
        return workers

    async def _others(self) -> list[dict[str, Any]]:
        tier = self._site.engine.tier
        return [] if tier is None else await tier.workers()

    def routes(self) -> list[str]:
        """The paths of all cached views that take GET and need no arguments."""
        app, paths = self._app, set()
        for rule in app.url_map.iter_rules():
            given = rule.defaults or {}
            if "GET" not in (rule.methods or ()) or not rule.arguments <= given.keys():
                continue
            if find_view(app.view_functions.get(rule.endpoint)) is None:
                continue
            if (built := rule.build(given, append_unknown=False)) is not None:
                paths.add(built[1])
        return sorted(paths)

    def tags(self) -> list[str]:
        """The tags of what is in this process's memory, sorted."""
        found = found_in(self._site.store, self._site.engine.clock())
        return sorted({tag for one in found for tag in one.entry.tags})

    # Acting.

    def refresh(self, url: str) -> dict[str, Any]:
        """Load a URL anew, and its variants in use, and wait; see `load`."""
        return self.load(url, force=True, why="refresh")

    def load(self, url: str, *, force: bool, why: Because) -> dict[str, Any]:
        """Load a URL, unless it is fresh and not ``force``; what came of it, and in how long.

        ``outcome`` is "stored", "fresh" (nothing was to be done), "pass" (it is not stored, and
        ``reason`` says why), "uncached" (no cached view answers it) or "failed", be it one of its
        variants alone. Never raises for the load's sake. ``worker`` and ``alone`` as of `purge`.
        """
        self._refuse_on_loop("load")
        return self._begin(url, force, why)()

    def refresh_all(self, urls: Iterable[str]) -> list[dict[str, Any]]:
        """Load URLs anew, a few at a time, and wait for all; see `load`."""
        self._refuse_on_loop("refresh_all")
        begun: deque[Callable[[], dict[str, Any]]] = deque()
        done = []
        for url in urls:
            if len(begun) == TOGETHER:
                done.append(begun.popleft()())
            begun.append(self._begin(url, True, "refresh"))
        return done + [end() for end in begun]

    def _begin(self, url: str, force: bool, why: Because) -> Callable[[], dict[str, Any]]:
        """Begin to load a URL; what is returned waits, and says what came of it."""
        began, ended = time.monotonic(), list[float]()

        def outcome_of(error: Exception) -> tuple[str, str]:
            return "failed", f"{type(error).__name__}: {error}"

        try:
            begun = self._begun(url, force, why)
        except Exception as error:
            begun = outcome_of(error)
        for waiter in begun if isinstance(begun, list) else ():
            waiter.future.add_done_callback(lambda _: ended.append(time.monotonic()))

        def end() -> dict[str, Any]:
            try:
                outcome, reason = self._ended(begun, force) if isinstance(begun, list) else begun
            except Exception as error:
                outcome, reason = outcome_of(error)
            whole = isinstance(begun, list) and len(ended) == len(begun)
            seconds = (max(ended) if whole else time.monotonic()) - began
            done = {"url": url, "outcome": outcome, "reason": reason, "seconds": seconds}
            return {**done, **self._where()}

        return end

    def _where(self) -> dict[str, Any]:
        """Which process this is, and whether others hear of what it does."""
        worker = {"host": host(), "pid": os.getpid()}
        return {"worker": worker, "alone": not self.in_fleet}

    def _begun(self, url: str, force: bool, why: Because) -> list[Waiter] | tuple[str, str]:
        """Who waits for the URL and its variants; an outcome where there is nothing to load."""
        if not self._site.enabled:
            return "pass", OFF
        try:
            plain, *variants = loads_of(self._site, self._local(url))
        except ValueError as error:
            return "uncached", str(error)
        loads = [plain, *(variants if force else ())]
        return [self._site.engine.enlist(load, force=force, why=why) for load in loads]

    def _ended(self, waiters: list[Waiter], force: bool) -> tuple[str, str]:
        engine = self._site.engine
        results = [engine.wait(waiter, engine.patience(waiter), "desk") for waiter in waiters]
        outcome, reason = _together([_outcome(result) for result in results])
        if force and outcome == "stored" and len(waiters) == 1 and self._looks_on():
            note = self._site.store.glance(waiters[0].load.base)
            reason = ONE_VARIANT if note is not None and note.names else reason
        return outcome, reason

    def _looks_on(self) -> bool:
        """Do others serve, and this process only asks and steers?"""
        return self.shares and not self._site.shared.counts

    def purge(
        self, *, urls: Iterable[str] = (), tags: Iterable[str] = (), ids: Iterable[str] = (),
        everything: bool = False, stale: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """Purge URLs (a path alone means every query of it), tags, single entries or everything.

        ``ids`` are those of rows, or calls as rows write them, ``shop:price(3)``; an entry of a
        URL goes with all the URL's variants. ``stale`` lets what it concerns be served while it is
        renewed. ``purged`` names what was, ``unknown`` what of it no cached view answers and
        nothing was stored of, and the ids of no entry; ``partial`` why these may be of one all the
        same: not all of the store was looked at. ``everybody`` says whether all processes go
        by it: the shared store has it. Where ``alone``, ``worker`` only has been purged: of the
        others, if there are any, nothing is known. Raises `ValueError` for a bad URL. Where the
        cache is switched off nothing is purged, and ``reason`` says so.
        """
        self._refuse_on_loop("purge")
        site, done, told = self._site, [], True
        names = [(url, site.purge_names(self._local(url))) for url in urls]
        answer = {"stale": stale, **self._where()}
        if not site.enabled:
            nothing: dict[str, Any] = {"purged": [], "unknown": [], "partial": ""}
            return {**nothing, "everybody": True, **answer, "reason": OFF}
        unknown = [url for url, (path, query) in names if self._is_unknown(url, path, query)]
        for url, (path, query) in names:
            told &= self._purge(lambda e, p=path, q=query: e.purge_path(p, q, stale))  # type: ignore[misc]
            done.append(url)
        keys, strangers, partly = self._keys_called(ids)
        for key in keys:
            told &= self._purge(partial(_purge_key, key, stale))
            done.append(url_of(key))
        if tags := tuple(tags):
            told &= self._purge(lambda engine: engine.purge_tags(tags, stale))
            done += [f"tag {tag}" for tag in tags]
        if everything:
            site.sharing.forget()
            told &= self._purge(lambda engine: engine.purge_all(stale))
            done.append("everything")
        everybody = told and not answer["alone"]
        return {
            "purged": done, "unknown": unknown + strangers, "partial": partly,
            "everybody": everybody, **answer,
        }  # fmt: skip

    def _is_unknown(self, url: str, path: str, query: str | None) -> bool:
        if self._site.store.variants(path, query):
            return False
        try:
            self._site.route(self._local(url))
        except ValueError:
            return True
        return False

    def _keys_called(self, ids: Iterable[str]) -> tuple[list[Hashable], list[str], str]:
        """The URLs and calls of which these are ids or names, each once; what is of none; and why
        that is not certain.
        """
        sought, listing = list(dict.fromkeys(ids)), Listing([])
        if not sought:
            return [], [], ""
        by_name: dict[str, list[Hashable]] = {name: [] for name in sought}
        with_calls = any("(" in name for name in sought)
        with_ids = any("(" not in name for name in sought)

        def note(keys: Iterable[Hashable]) -> None:
            for index, key in enumerate(keys):
                if index % AT_ONCE == AT_ONCE - 1:
                    time.sleep(0)
                name = digest(key) if with_ids else ""
                if name not in by_name and with_calls and isinstance(key, CallKey):
                    name = url_of(key)
                if name in by_name:
                    by_name[name].append(base_of(key))

        note(self._site.store.memory.keys())
        left = [name for name, keys in by_name.items() if not keys]
        if self.in_fleet and left:
            listing = self._ask(partial(self._called, left), CLOSED)
            note(key for key, _ in listing.entries)
        found = dict.fromkeys(key for keys in by_name.values() for key in keys)
        strangers = [name for name, keys in by_name.items() if not keys]
        return list(found), strangers, listing.partial if strangers else ""

    async def _called(self, names: list[str]) -> Listing:
        """What lies in the store under these ids; all there is, where calls are among them."""
        tier = self._site.engine.tier
        if tier is None:
            return UNLISTED
        by_id = await tier.under(name for name in names if "(" not in name)
        if by_id.partial or not any("(" in name for name in names):
            return by_id
        listing = await tier.listing(MOST_LISTED)
        return Listing(by_id.entries + listing.entries, listing.partial, listing.silent)

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
            "host": host(),
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
        mounts = {self._site.base.script_name, *tuple(self._site.store.mounts)}
        for mount in sorted(mounts, key=len, reverse=True):
            shown = quote(mount)
            if mount and (path == shown or path.startswith((f"{shown}/", f"{shown}?"))):
                rest = path.removeprefix(shown)
                return rest if rest.startswith("/") else f"/{rest}"
        return path


def _twin(call: str) -> str:
    return f"await asyncio.to_thread(desk.{call}, ...)"


def _purge_key(key: Hashable, stale: bool, engine: Engine) -> Any:
    if isinstance(key, ViewKey):
        return engine.purge_path(key.path, key.query, stale)
    assert isinstance(key, CallKey)
    return engine.purge_call(key, stale)


def _together(outcomes: list[tuple[str, str]]) -> tuple[str, str]:
    """What came of a URL whose variants came to this, the plain one first."""
    failed = [reason for outcome, reason in outcomes if outcome == "failed"]
    if not failed or len(outcomes) == 1:
        return outcomes[0]
    return "failed", f"{len(failed)} of {len(outcomes)} variants failed: {failed[0]}"


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
