"""What an operator may ask of the cache of one app; nothing is loaded, renewed or purged by it.

Answers are plain values, which JSON can carry. Any thread but aswr's loop; what waits does so for a
limited time. Knows the manager's sites and jobs; must not know how it is asked, or who may ask.
"""

import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from flask import Flask
from msgspec.structs import replace

from .checkup import checkup
from .flight import Load
from .here import host
from .keys import VariantKey, ViewKey, base_of, digest
from .life import Life
from .manager import CacheManager
from .site import Site, find_view
from .survey import AT_ONCE, Found, Wanted, check_sort, flights_of, found_in, rows_of
from .tier import UNLISTED, Listing
from .why import Why

T = TypeVar("T")

LIMIT = 60.0  # seconds that any question may take, beyond a load's own patience
CHECK_LIMIT = 10.0  # seconds for each question of a check-up
MOST_LISTED = 10_000  # entries of a shared store that are looked at
MOST_SHOWN = 1000  # rows in one answer
CLOSED = Listing([], "the cache is closed here, and asks the shared store nothing")


class Questions:
    """What may be asked about one app."""

    def __init__(self, manager: CacheManager, app: Flask, site: Site) -> None:
        self._manager = manager
        self._app = app
        self._site = site
        self.life = Life()

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
        return tier is not None and await tier.answers()

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
            listing = self._ask(self._listed, CLOSED)
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

    async def _listed(self) -> Listing:
        tier = self._site.engine.tier
        return UNLISTED if tier is None else self._softened(await tier.listing(MOST_LISTED))

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

    def show(self, url: str, *, everything: bool = False) -> dict[str, Any]:
        """What is stored of a URL or path: its own rows, its variants', and what it reads.

        In a shared store it is looked up where it would lie, it and its plain variant. All of the
        store is looked through for other queries and variants only if ``everything``, or where
        nothing else is found; ``more`` says whether there may be variants that were not looked for.
        ``partial`` and ``silent`` as of `entries`.
        """
        site, now, listing = self._site, self._site.engine.clock(), Listing([])
        path, query = site.purge_names(self._local(url))
        stored, more = self._stored(path, query), False
        found = {one.key: one for one in found_in(site.store, now, keys=stored)}
        if self.in_fleet:
            self._refuse_on_loop("show")
            try:
                plain = site.load_of(self._local(url))
            except ValueError:
                plain = None
            unseen = [key for key in stored if key not in found]
            listing = self._ask(partial(self._where_it_lies, plain, unseen, found), CLOSED)
            found = {**_found(listing), **found}
            if not listing.partial:
                if everything or not found:
                    listing = self._ask(partial(self._anywhere, path, query), CLOSED)
                    found = {**_found(listing), **found}
                else:
                    more = any(one.entry.names for one in found.values())
        rows, count = rows_of(found.values(), now, limit=MOST_SHOWN)
        left_out = f"of {count:,} entries these are the first {len(rows):,}"
        return {
            "url": url,
            "entries": rows,
            "life": self._life_of(rows),
            "partial": listing.partial or (left_out if count > len(rows) else ""),
            "silent": listing.silent,
            "more": more,
        }

    def _stored(self, path: str, query: str | None) -> list[Hashable]:
        """The keys under a path in memory, and those of its URLs, each once."""
        keys = self._site.store.variants(path, query)
        return list(dict.fromkeys([*map(base_of, keys), *keys]))

    async def _where_it_lies(
        self, plain: Load | None, keys: Sequence[Hashable], found: Mapping[Hashable, Found]
    ) -> Listing:
        """What the store has at these keys, of a plain request's URL, and of what its note says."""
        known = dict.fromkeys(keys if plain is None else [*keys, plain.base])
        listing = await self._under(known)
        if plain is None or plain.under is None or listing.partial:
            return listing
        note = dict(listing.entries).get(plain.base)
        if note is None and plain.base in found:
            note = found[plain.base].entry
        if note is None or not note.names:
            return listing
        variant = await self._under([plain.under(note.names)[0]])
        return Listing(listing.entries + variant.entries, variant.partial, variant.silent)

    async def _anywhere(self, path: str, query: str | None) -> Listing:
        """What the store has of a path, wherever that may lie."""
        listing = await self._listed()
        of_it = [
            (key, entry)
            for key, entry in listing.entries
            if isinstance(url := base_of(key), ViewKey)
            and url.path == path
            and query in (None, url.query)
        ]
        return Listing(of_it, listing.partial, listing.silent)

    def entry(self, id: str) -> dict[str, Any]:
        """One entry by its id, with its variants and its life; raises `LookupError`.

        ``source`` says whether it lies in "memory" or only in the shared "store", of which are told
        this entry and its URL's own. ``partial`` and ``silent`` as of `entries`.
        """
        now, listing = self._site.engine.clock(), Listing([])
        key = self._key_of(id)
        ones = self._in_memory([] if key is None else [key], now)
        if self.in_fleet and key not in ones:
            self._refuse_on_loop("entry")
            listing = self._ask(partial(self._with_its_url, id), CLOSED)
            there = _found(listing)
            ones = {**there, **self._in_memory(there, now)}
        rows, _ = rows_of(ones.values(), now)
        found = next((one for one in rows if one["id"] == id), None)
        path, tags = ("", ()) if found is None else (found["path"], found["tags"])
        if found is None:  # what purged it names its path, which is known by what else happened
            urls = [one.url for one in self.life.of({id}) if one.id == id]
            path = urls[-1].partition("?")[0] if urls else ""
        lives = [one.shown() for one in self.life.of({id}, {path}, tags)]
        if found is None and not any(one["id"] == id for one in lives):
            nor = " or in the shared store" if self.in_fleet and not listing.partial else ""
            but = f", and {listing.partial}" if listing.partial else ""
            text = f"no entry {id!r} is in this process's memory{nor}, or was of late{but}"
            raise LookupError(text)
        if found is None:
            url_id = next(one["url_id"] for one in lives if one["id"] == id)
            rows, _ = rows_of(self._in_memory([self._key_of(url_id)], now).values(), now)
        beside = [one for one in rows if one["id"] != id]
        return {
            "id": id, "entry": found, "beside": beside, "life": lives,
            "source": "store" if listing.entries else "memory",
            "partial": listing.partial, "silent": listing.silent,
        }  # fmt: skip

    def _in_memory(self, keys: Iterable[Hashable], now: float) -> dict[Hashable, Found]:
        """What memory has at some keys, and at all those of their URLs."""
        store = self._site.store
        every = dict.fromkeys(one for key in keys for one in (key, *store.keys_of(base_of(key))))
        return {one.key: one for one in found_in(store, now, keys=every)}

    async def _with_its_url(self, id: str) -> Listing:
        """What lies in the store under an id, and at its URL's own key."""
        tier = self._site.engine.tier
        listing = UNLISTED if tier is None else self._softened(await tier.under([id]))
        urls = {base_of(key) for key, _ in listing.entries if base_of(key) != key}
        if not urls:
            return listing
        own = await self._under(urls)
        return Listing(listing.entries + own.entries, own.partial, own.silent)

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
        return flights_of(list(engine.flights.values()), engine.clock())

    def workers(self) -> list[dict[str, Any]]:
        """The processes that share the store, this one among them, as each describes itself.

        What another one says is as of its ``at``; it says so every ten seconds. With memory alone
        it is this one only, and so it is, ``silent``, while the store does not answer: of others
        nothing can be known then.
        """
        if not self.in_fleet:
            return [{**self._site.describe(), "worker": "", "here": True}]
        said: list[dict[str, Any]] = self._ask(self._others, [])
        workers = [self._whole(one) for one in said]
        if not workers and not self._manager.looks_on:
            return [{**self._site.describe(), "worker": "", "here": True, "silent": True}]
        return workers

    def _whole(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """What a worker said, with zeros for what it could not."""
        host, pid, *_ = f"{said.get('worker', '')}::".split(":")
        counted = self._site.engine.stats().items()
        return {
            "host": host, "pid": int(pid) if pid.isdecimal() else 0, "server": "",
            "began": self._site.engine.clock(), "at": self._site.engine.clock(),
            "stats": {name: {} if isinstance(value, Mapping) else 0 for name, value in counted},
            "views": {}, **said,
        }  # fmt: skip

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

    # How it is asked.

    def _where(self) -> dict[str, Any]:
        """Which process this is, and whether others hear of what it does."""
        worker = {"host": host(), "pid": os.getpid()}
        return {"worker": worker, "alone": not self.in_fleet}

    def _ask(
        self, question: Callable[[], Coroutine[Any, Any, T]], closed: T | None = None,
        limit: float | None = None,
    ) -> T:  # fmt: skip
        """What the loop answers, which begins if need be; ``closed`` where the cache is."""
        engine = self._site.engine
        if engine.closed and closed is not None:
            return closed
        return engine.runtime.call(question, "aswr desk", twin("..."), limit or LIMIT)

    def _refuse_on_loop(self, call: str) -> None:
        if (running := self._site.running) is not None:
            running.refuse_on_loop(twin(call))

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


def _found(listing: Listing) -> dict[Hashable, Found]:
    """What was found in a store, by its keys."""
    return {key: Found(key, entry) for key, entry in listing.entries}


def twin(call: str) -> str:
    """What to write in place of a call that would wait on the loop."""
    return f"await asyncio.to_thread(desk.{call}, ...)"


def local(url: str) -> str:
    """Path and query of a URL, as the app knows them; raises `ValueError` for none."""
    parts = urlsplit(url)
    path = parts.path or "/"
    if not path.startswith("/"):
        raise ValueError(f"name the path as the browser shows it, '/report', got {url!r}")
    return f"{path}?{parts.query}" if parts.query else path
