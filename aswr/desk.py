"""The desk of one app's cache: what an operator may have done, beside all that he may ask.

One set of both, for CLI and admin page. Answers are plain values, which JSON can carry. Any thread
but aswr's loop; what waits does so for a limited time. Must not know how it is asked, or who may.
"""

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from typing import Any, TypeAlias

from flask import Flask

from .engine import Engine
from .events import Because
from .flight import How, Load, Result, Waiter
from .keys import CallKey, ViewKey, base_of, digest
from .manager import CacheManager
from .questions import CLOSED, LIMIT, Questions, twin
from .survey import AT_ONCE, url_of
from .tier import UNLISTED, Listing
from .verbs import loads_of

Outcome: TypeAlias = tuple[str, str]  # and the reason
Loads: TypeAlias = "Callable[[], list[Load] | Outcome]"
Begin: TypeAlias = "Callable[[], Callable[[], dict[str, Any]]]"  # and then wait for the end

TOGETHER = 8  # URLs of one list that are loaded at a time
OFF = "the cache is switched off (ASWR_ENABLED = False)"
ITS_CALLERS = "only its own caller can renew it; purge it"
NO_ENTRY = "no such entry is stored"
ELSEWHERE = (
    "by what its URL is known to read, what was loaded lies at another variant, and this entry is "
    "as it was"
)
ONE_VARIANT = "which of its variants are in use is known to the servers alone: ask one, or purge it"


class Desk(Questions):
    """What may be asked about one app, and done. Made by `desk_of`, which remembers it."""

    def refresh(self, url: str = "", *, id: str = "") -> dict[str, Any]:
        """Load a URL anew, and its variants in use, and wait; or a single entry: `refresh_all`."""
        return self.refresh_all([] if id else [url], [id] if id else [])[0]

    def load(self, url: str, *, force: bool, why: Because) -> dict[str, Any]:
        """Load a URL, unless it is fresh and not ``force``; what came of it, and in how long.

        ``outcome`` is "stored", "fresh" (nothing was to be done), "pass" (it is not stored, and
        ``reason`` says why), "uncached" (no cached view answers it) or "failed", be it one of its
        variants alone. Never raises for the load's sake. ``worker`` and ``alone`` as of `purge`.
        """
        self._refuse_on_loop("load")
        return self._begin(url, partial(self._loads_of, url, force), force, why)()

    def refresh_all(self, urls: Iterable[str], ids: Iterable[str] = ()) -> list[dict[str, Any]]:
        """Load URLs anew, and single entries, a few at a time, and wait for all; see `load`.

        ``ids`` as of `purge`. An entry is loaded with what its key says, in use or not, and nothing
        else of its URL is. Where that does not do its ``outcome`` is "kept": only its own caller
        can renew it. It is "unknown" where there is no such entry.
        """
        self._refuse_on_loop("refresh_all")
        begun: deque[Callable[[], dict[str, Any]]] = deque()
        done = []
        for begin in [*(self._refreshing(url) for url in urls), *self._renewing(ids)]:
            if len(begun) == TOGETHER:
                done.append(begun.popleft()())
            begun.append(begin())
        return done + [end() for end in begun]

    def _refreshing(self, url: str) -> Begin:
        return partial(self._begin, url, partial(self._loads_of, url, True), True, "refresh")

    def _renewing(self, ids: Iterable[str]) -> Iterator[Begin]:
        on = self._site.enabled
        keys, partly = self._keys_called(ids) if on else ({id: [] for id in ids}, "")
        for id, found in keys.items():
            key = found[0] if found else None
            loads = partial(self._load_at, key, partly)
            name = id if key is None else url_of(key)
            yield partial(self._begin, name, loads, True, "refresh", key)

    def _begin(
        self, name: str, loads: Loads, force: bool, why: Because, key: Hashable = None
    ) -> Callable[[], dict[str, Any]]:
        """Begin these loads; what is returned waits, and says what came of them.

        With ``key`` it is that of the one entry that is to be renewed.
        """
        began, ended = time.monotonic(), list[float]()

        def outcome_of(error: Exception) -> Outcome:
            return "failed", f"{type(error).__name__}: {error}"

        try:
            begun = self._begun(loads, force, why)
        except Exception as error:
            begun = outcome_of(error)
        for waiter in begun if isinstance(begun, list) else ():
            waiter.future.add_done_callback(lambda _: ended.append(time.monotonic()))

        def end() -> dict[str, Any]:
            try:
                outcome, reason = (
                    self._ended(begun, force, key) if isinstance(begun, list) else begun
                )
            except Exception as error:
                outcome, reason = outcome_of(error)
            whole = isinstance(begun, list) and len(ended) == len(begun)
            seconds = (max(ended) if whole else time.monotonic()) - began
            done = {"url": name, "outcome": outcome, "reason": reason, "seconds": seconds}
            return {**done, **self._where()}

        return end

    def _begun(self, loads: Loads, force: bool, why: Because) -> list[Waiter] | Outcome:
        """Who waits for the loads; an outcome where there is nothing to load."""
        if not self._site.enabled:
            return "pass", OFF
        try:
            found = loads()
        except ValueError as error:
            return "uncached", str(error)
        if isinstance(found, tuple):
            return found
        return [self._site.engine.enlist(load, force=force, why=why) for load in found]

    def _loads_of(self, url: str, force: bool) -> list[Load]:
        plain, *variants = loads_of(self._site, self._local(url))
        return [plain, *(variants if force else ())]

    def _load_at(self, key: Hashable, partly: str) -> list[Load] | Outcome:
        if key is None:
            return "unknown", NO_ENTRY + (f"; but {partly}" if partly else "")
        load = self._site.load_at(key)
        return ("kept", ITS_CALLERS) if load is None else [load]

    def _ended(self, waiters: list[Waiter], force: bool, key: Hashable) -> Outcome:
        engine = self._site.engine
        results = [engine.wait(waiter, engine.patience(waiter), "desk") for waiter in waiters]
        outcome, reason = _together([_outcome(result) for result in results])
        if outcome != "stored":
            return outcome, reason
        first = waiters[0]
        if key is not None:
            moved = first.flight is not None and first.flight.key != key
            return outcome, ELSEWHERE if moved else reason
        if force and len(waiters) == 1 and self._looks_on():
            note = self._site.store.glance(first.load.base)
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
            told &= self._purge(lambda e, p=path, q=query: e.purge_path(p, q, stale, "desk"))  # type: ignore[misc]
            done.append(url)
        called, partly = self._keys_called(ids)
        strangers = [name for name, keys in called.items() if not keys]
        for key in dict.fromkeys(base_of(key) for keys in called.values() for key in keys):
            told &= self._purge(partial(_purge_key, key, stale))
            done.append(url_of(key))
        if tags := tuple(tags):
            told &= self._purge(lambda engine: engine.purge_tags(tags, stale, "desk"))
            done += [f"tag {tag}" for tag in tags]
        if everything:
            site.sharing.forget()
            told &= self._purge(lambda engine: engine.purge_all(stale, "desk"))
            done.append("everything")
        everybody = told and not answer["alone"]
        return {
            "purged": done, "unknown": unknown + strangers,
            "partial": partly if strangers else "", "everybody": everybody, **answer,
        }  # fmt: skip

    def _is_unknown(self, url: str, path: str, query: str | None) -> bool:
        if self._site.store.variants(path, query):
            return False
        try:
            self._site.route(self._local(url))
        except ValueError:
            return True
        return False

    def _keys_called(self, ids: Iterable[str]) -> tuple[dict[str, list[Hashable]], str]:
        """The keys of which these are ids, or names of calls, and why there may be more."""
        sought, listing = list(dict.fromkeys(ids)), Listing([])
        if not sought:
            return {}, ""
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
                    by_name[name].append(key)

        note(self._site.store.memory.keys())
        left = [name for name, keys in by_name.items() if not keys]
        if self.in_fleet and left:
            listing = self._ask(partial(self._called, left), CLOSED)
            note(key for key, _ in listing.entries)
        return by_name, listing.partial

    async def _called(self, names: list[str]) -> Listing:
        """What lies in the store under these ids; all there is, where calls are among them."""
        tier = self._site.engine.tier
        if tier is None:
            return UNLISTED
        by_id = await tier.under(name for name in names if "(" not in name)
        if by_id.partial or not any("(" in name for name in names):
            return by_id
        listing = await self._listed()
        return Listing(by_id.entries + listing.entries, listing.partial, listing.silent)

    def _purge(self, purge: Callable[[Engine], Any]) -> bool:
        return self._site.purge(purge, twin("purge"))

    def settle(self, seconds: float = LIMIT) -> bool:
        """Wait until what was loaded is over and saved; False when the time came first."""
        return self._manager.join(seconds)


def _purge_key(key: Hashable, stale: bool, engine: Engine) -> Any:
    if isinstance(key, ViewKey):
        return engine.purge_path(key.path, key.query, stale, "desk")
    assert isinstance(key, CallKey)
    return engine.purge_call(key, stale, "desk")


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


def desk_of(manager: CacheManager, app: Flask) -> Desk:
    """The desk of a manager's app; raises `RuntimeError` where it is not this manager's."""
    site = manager.site_of(app)
    found: Desk | None = app.extensions.get("aswr.desk")
    if found is None or found._site is not site:
        found = app.extensions["aswr.desk"] = Desk(manager, app, site)
    return found
