"""Is the cache of an app well? One line a check, with a cure where one is needed.

Any thread but aswr's loop; asks the store and the loop, and changes nothing.
"""

import importlib.metadata
import math
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Final

from flask import Flask

from .here import host
from .manager import CacheManager
from .options import CONFIG
from .runtime import refuse_where_threads_do_not_run
from .site import Decorated, Site, find_view, server_kind, versions
from .tally import BOUNDS
from .words import count, duration, percent, size
from .wsgi import wrapper_of

Ask = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]

VERSIONS: Final = ("aswr", "flask", "werkzeug", "asgiref", "aiocache", "apscheduler", "msgspec")
SLOW_STORE = 0.05  # seconds of a round trip
NEARLY_FULL = 0.95  # of what Redis may use
ROOM = 4.0  # round trips that must fit into ASWR_STORE_TIMEOUT: connecting takes some
SKEWED = 1.0  # seconds between this host's clock and the store's
MANY_WAIT = 32  # callers
SLOW_LOOP = 0.1  # seconds for one turn of the loop,
TURNS = 3  # the quickest of so many: a machine that is busy for once is no loop that is held
MUCH_LONGER = 10.0  # times
# What Redis says where it answers, and what helps.
_REFUSALS: Final = {
    "'maxmemory'": "raise its maxmemory, or have it evict what expires (maxmemory-policy "
    "volatile-lru)",
    "WRONGTYPE": "something else has written at aswr's own keys: delete those, or choose another "
    "ASWR_NAMESPACE",
    "NoPermission": "let its user do what the manual lists, on the page about fleets",
    "Authentication": "put the right user and password into the address",
    "ReadOnly": "it is a replica: give the master's address, or a factory that asks Sentinel",
    "Loading": "it reads its data from disk: wait",
}
# Redis may evict what aswr needs for its purges to be right.
_ALLKEYS = "allkeys-"


def _line(name: str, state: str, found: str, cure: str = "") -> dict[str, str]:
    return {"name": name, "state": state, "found": found, "cure": cure}


def checkup(manager: CacheManager, app: Flask, site: Site, ask: Ask) -> list[dict[str, str]]:
    """The lines of `Desk.doctor`."""
    lines: list[dict[str, str]] = []
    checks = (
        _versions, _configuration, _views, _server, _loop, _store, _fleet, _lease, _jobs, _memory
    )  # fmt: skip
    for check in checks:
        try:
            lines += check(manager, app, site, ask)
        except Exception as error:  # one that fails must not hide the others
            name = check.__name__.strip("_")
            lines.append(_line(name, "error", f"the check failed: {error!r}", "report this"))
    return lines


def _versions(manager: CacheManager, app: Flask, site: Site, ask: Ask) -> Iterator[dict[str, str]]:
    found = [f"Python {platform.python_version()}"]
    for package in (*VERSIONS, "redis"):
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    yield _line("versions", "ok", ", ".join(found))


def _configuration(
    manager: CacheManager, app: Flask, site: Site, ask: Ask
) -> Iterator[dict[str, str]]:
    config = site.config
    if not site.enabled:
        cure = "remove ASWR_ENABLED = False"
        yield _line("configuration", "warning", "the cache is switched off", cure)
        return
    if config["ASWR_STRICT"] and not (app.debug or app.testing):
        yield _line(
            "configuration", "warning",
            "ASWR_STRICT outside of tests: a view that reads what cannot be shared is an error",
            "set ASWR_STRICT = False in production",
        )  # fmt: skip
    else:
        usual = config["ASWR_WAIT_TIMEOUT"] or CONFIG["ASWR_WAIT_TIMEOUT"]
        waits = {v.name: site.plan_of(v).times.wait_timeout for v in _cached(app).values()}
        wait, name = max(((wait, name) for name, wait in waits.items()), default=(usual, ""))
        whose = "" if wait == usual else f" ({name})"
        yield _line(
            "configuration", "ok",
            f"callers wait at most {wait:g} s{whose}: keep your server's own timeout above that; "
            f"a stop takes up to {wait + config['ASWR_DRAIN_TIMEOUT']:g} s",
        )  # fmt: skip


def _cached(app: Flask) -> dict[str, Decorated]:
    """The cached views, by endpoint."""
    found = {endpoint: find_view(function) for endpoint, function in app.view_functions.items()}
    return {endpoint: view for endpoint, view in found.items() if view is not None}


def _is_own(endpoint: str, function: Callable[..., Any]) -> bool:
    """Is it a page of the app's own: no static files, and not the admin page's?"""
    package = (getattr(function, "__module__", "") or "").partition(".")[0]
    return endpoint.rpartition(".")[2] != "static" and package != __package__


def _views(manager: CacheManager, app: Flask, site: Site, ask: Ask) -> Iterator[dict[str, str]]:
    views = _cached(app)
    if not views:
        yield _line(
            "views", "warning", "no route of this app leads to a cached view",
            "put @manager.cacher(...) under @app.route(...)",
        )  # fmt: skip
    else:
        own = [name for name, view in app.view_functions.items() if _is_own(name, view)]
        yield _line("views", "ok", f"{len(views)} of {len({*own, *views})} are cached")
    try:
        manager.refuse_upside_down(app)
    except RuntimeError as error:
        found, _, cure = str(error).partition("; ")
        yield _line("views", "error", found, cure)
    public = [view.name for view in views.values() if site.plan_of(view).public]
    if public and (wrapper := wrapper_of(app)):
        yield _line(
            "views", "warning", f"public pages are answered by the app: {wrapper} lies around it",
            "call manager.init_app(app) before app.wsgi_app is wrapped, or put the wrapper into "
            "your server's configuration",
        )  # fmt: skip
    for name, why in sorted(site.sharing.passing().items()):
        yield _line(
            "views", "warning", f"{name} passes everywhere: {why}",
            "flask aswr why URL tells which line reads what, and the cures",
        )  # fmt: skip


def _server(manager: CacheManager, app: Flask, site: Site, ask: Ask) -> Iterator[dict[str, str]]:
    try:
        refuse_where_threads_do_not_run()
    except RuntimeError as error:
        yield _line("server", "error", str(error), "run the app with threads")
        return
    if manager.looks_on:
        found = "this process is a command line, and serves nobody"
        yield _line("server", "note", found, "flask aswr doctor --server URL asks one that serves")
        return
    kind = server_kind() or ("flask run" if os.environ.get("FLASK_RUN_FROM_CLI") else "unknown")
    yield _line("server", "ok", f"{kind}, process {os.getpid()} on {host()}")
    if kind == "gunicorn" and manager.has_jobs() and not manager.ticking:
        yield _line(
            "server", "warning", "there are jobs, and they have not begun in this process",
            "call manager.start() in gunicorn's post_worker_init hook",
        )  # fmt: skip


def _loop(manager: CacheManager, app: Flask, site: Site, ask: Ask) -> Iterator[dict[str, str]]:
    if site.engine.closed:
        found = "the cache is closed: what is stored is served, everything else passes"
        yield _line("loop", "warning", found, "manager.start() begins anew")
        return

    async def turn() -> None:
        return

    blocked = (
        "a view or hook blocks it; the log of aswr.runtime names the line; "
        "cacher(..., blocking=True) moves the view to a thread"
    )
    seconds = math.inf
    for _ in range(TURNS):
        began = time.monotonic()
        try:
            ask(turn)
        except TimeoutError:
            took = duration(time.monotonic() - began)
            yield _line("loop", "error", f"aswr's event loop did not turn in {took}", blocked)
            return
        seconds = min(seconds, time.monotonic() - began)
        if seconds <= SLOW_LOOP:
            break
    if seconds > SLOW_LOOP:
        found = f"aswr's event loop took {duration(seconds)} for one turn"
        yield _line("loop", "warning", found, blocked)
    else:
        yield _line("loop", "ok", f"answers in {seconds * 1000:.1f} ms")
    engine = site.engine
    if engine.waiting > MANY_WAIT:
        yield _line(
            "loop", "note", f"{count(engine.waiting)} callers wait for loads",
            "see flask aswr jobs and the flights of the admin page for what takes long",
        )  # fmt: skip


def _store(manager: CacheManager, app: Flask, site: Site, ask: Ask) -> Iterator[dict[str, str]]:
    if not site.engine.shares:
        yield _line(
            "store", "note", "memory alone: every process keeps its own entries and runs its jobs",
            "with several workers: CacheManager(app, cache='redis://...'), pip install "
            "'aswr[redis]'",
        )  # fmt: skip
        return
    if site.engine.closed:
        return  # nor is the store asked any more
    try:
        health = ask(lambda: _health(site))
    except TimeoutError:
        yield _line("store", "error", "nothing was heard of it in time", "see the loop's line")
        return
    if health is None:
        yield _line("store", "error", "the factory of the shared store fails", "see the log")
        return
    if not health:
        yield _line(
            "store", "warning", "shares entries and nothing else: purges reach no other process",
            "Redis or Valkey has leases, purges and news: cache='redis://...'",
        )  # fmt: skip
        return
    if not health["reachable"]:
        yield _line("store", "error", *_trouble(site, health["name"], health["why"]))
        return
    took = health["seconds"]
    state, cure = "ok", ""
    if took > SLOW_STORE:
        state, cure = "warning", "nearer would be better"
        if site.config["ASWR_STORE_TIMEOUT"] < ROOM * took:
            cure += f"; or else {_more_time(site)}"
    version = f", version {health['version']}" if health.get("version") else ""
    found = f"{health['name']}{version}, answers in {took * 1000:.1f} ms"
    yield _line("store", state, found, cure)
    yield from _room(health)
    yield from _clocks(health)
    workers, held = health["workers"], health["leases"]
    share = "1 worker shares" if workers == 1 else f"{workers} workers share"
    yield _line("lease", "ok", f"{share} loads; this one holds {held}")


def _room(health: dict[str, Any]) -> Iterator[dict[str, str]]:
    """What Redis does where its memory ends, and how near that is."""
    policy = health.get("policy", "")
    if policy.startswith(_ALLKEYS):
        yield _line(
            "store", "warning", f"maxmemory-policy is {policy}: Redis may evict aswr's purges",
            "use volatile-lru (or noeviction); all of aswr's keys expire",
        )  # fmt: skip
    full = health.get("full", 0.0)
    if full >= NEARLY_FULL and policy == "noeviction":
        yield _line(
            "store", "error" if full >= 1 else "warning",
            f"{percent(full)} of its maxmemory is used, and maxmemory-policy is noeviction: Redis "
            "refuses to store more", _REFUSALS["'maxmemory'"],
        )  # fmt: skip


def _trouble(site: Site, name: str, why: str) -> tuple[str, str]:
    """What is wrong with a store, and what would help."""
    for word, cure in _REFUSALS.items():
        if word in why:
            return f"{name} answers, but: {why}", cure
    limit = site.config["ASWR_STORE_TIMEOUT"]
    found = f"{name} does not answer within {limit:g} s" + (f" ({why})" if why else "")
    return found, f"is it up, and is the address right? far away or behind TLS: {_more_time(site)}"


def _more_time(site: Site) -> str:
    """Configuration that gives the store twice the time, and is taken: see `tiers`."""
    timeout, propagation = site.config["ASWR_STORE_TIMEOUT"], site.config["ASWR_PROPAGATION"]
    longer = float(f"{2 * timeout:.2g}")
    cure = f"ASWR_STORE_TIMEOUT = {longer:g}"
    return cure if longer <= propagation / 2 else f"{cure}, ASWR_PROPAGATION = {2 * longer:g}"


def _clocks(health: dict[str, Any]) -> Iterator[dict[str, str]]:
    offset = health["offset"]
    if abs(offset) > SKEWED:
        yield _line(
            "clock", "warning", f"this host's clock and the store's differ by {offset:+.2f} s",
            "aswr corrects for it; set the clock all the same (NTP): jobs go by it",
        )  # fmt: skip
    else:
        yield _line("clock", "ok", f"{offset * 1000:+.0f} ms from the store's")


async def _health(site: Site) -> dict[str, Any] | None:
    tier = site.engine.tier
    return None if tier is None else await tier.health()


def _fleet(manager: CacheManager, app: Flask, site: Site, ask: Ask) -> Iterator[dict[str, str]]:
    """Do all workers run the same versions? A roll-out that stopped half-way is seen by that."""
    if not site.engine.shares or site.engine.closed:
        return
    try:
        workers = ask(lambda: _workers(site))
    except TimeoutError:
        return  # the store's line says so
    told = [worker["versions"] for worker in workers if worker.get("versions")]
    for name in versions():
        found = Counter(str(each.get(name)) for each in told)
        if len(found) > 1:
            shown = ", ".join(f"{version} in {many}" for version, many in found.most_common())
            yield _line(
                "versions", "warning",
                f"workers of this fleet run different versions: {name} {shown}",
                "let the roll-out end, or take it back; a new ASWR_VERSION with each release gives "
                "each its own entries meanwhile",
            )  # fmt: skip


async def _workers(site: Site) -> list[dict[str, Any]]:
    tier = site.engine.tier
    return [] if tier is None else await tier.workers()


def _lease(manager: CacheManager, app: Flask, site: Site, ask: Ask) -> Iterator[dict[str, str]]:
    """Others wait for who holds a lease: is that for much longer than loads take?"""
    if not site.engine.shares:
        return
    longest = {tally.view: _longest(tally.classes) for tally in list(site.engine.tallies.values())}
    lease, now = site.config["ASWR_LEASE"], site.engine.clock()
    for flight in list(site.engine.flights.values()):
        name, held = flight.load.name, now - flight.began
        most = longest.get(name, 0.0)
        if flight.lease is not None and most and held > max(lease, MUCH_LONGER * most):
            yield _line(
                "lease", "warning",
                f"{name} is loading for {duration(held)}, and the fleet waits for it; none of its "
                f"loads took more than {duration(most)} so far",
                "see the flights of the admin page; load_timeout= ends what hangs",
            )  # fmt: skip
    most = max(longest.values(), default=0.0)
    if most and lease > max(CONFIG["ASWR_LEASE"], MUCH_LONGER * most):
        yield _line(
            "lease", "warning",
            f"where a process dies, the others wait {lease:g} s for its loads; none took more than "
            f"{duration(most)} here so far",
            f"ASWR_LEASE = {CONFIG['ASWR_LEASE']:g}: who lives renews his lease",
        )  # fmt: skip


def _longest(classes: Sequence[int]) -> float:
    """What no load took longer than, by how many ended within which bound; 0: none ended."""
    bounds = (*BOUNDS, math.inf)
    return max((bound for bound, many in zip(bounds, classes, strict=True) if many), default=0.0)


def _jobs(manager: CacheManager, app: Flask, site: Site, ask: Ask) -> Iterator[dict[str, str]]:
    infos = [info for info in manager.jobs() if info.app == site.name]
    wrong = [info for info in infos if info.error]
    for info in wrong:
        yield _line("jobs", "error", f"{info.path}: {info.error}", f"flask aswr why {info.path}")
    if infos and not wrong:
        when = "ticking" if manager.ticking else "not begun in this process"
        yield _line("jobs", "ok", f"{len(infos)} scheduled, {when}")


def _memory(manager: CacheManager, app: Flask, site: Site, ask: Ask) -> Iterator[dict[str, str]]:
    memory = site.store.memory
    share = memory.bytes / max(1, memory.max_bytes)
    found = (
        f"{count(len(memory))} entries, {size(memory.bytes)} of {size(memory.max_bytes)} "
        f"({percent(share)}), {count(memory.evictions)} evictions"
    )
    if memory.evictions > len(memory):
        yield _line("memory", "note", found, "raise ASWR_MAX_BYTES if hits are too few")
    else:
        yield _line("memory", "ok", found)
