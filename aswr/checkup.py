"""Is the cache of an app well? One line a check, with a cure where one is needed.

Any thread but aswr's loop; asks the store and the loop, and changes nothing.
"""

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

from flask import Flask

from .manager import CacheManager
from .options import CONFIG, MIB
from .runtime import refuse_where_threads_do_not_run
from .site import Site, find_view, server_kind
from .wsgi import wrapper_of

Ask = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]

VERSIONS: Final = ("aswr", "flask", "werkzeug", "asgiref", "aiocache", "apscheduler", "msgspec")
SLOW_STORE = 0.05  # seconds of a round trip
SKEWED = 1.0  # seconds between this host's clock and the store's
MANY_WAIT = 32  # callers
SLOW_LOOP = 0.1  # seconds for one turn of the loop
# Redis may evict what aswr needs for its purges to be right.
_ALLKEYS = "allkeys-"


def _line(name: str, state: str, found: str, cure: str = "") -> dict[str, str]:
    return {"name": name, "state": state, "found": found, "cure": cure}


def checkup(manager: CacheManager, app: Flask, site: Site, ask: Ask) -> list[dict[str, str]]:
    """The lines of `Desk.doctor`."""
    lines: list[dict[str, str]] = []
    for check in (_versions, _configuration, _views, _server, _loop, _store, _jobs, _memory):
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
        wait = config["ASWR_WAIT_TIMEOUT"] or CONFIG["ASWR_WAIT_TIMEOUT"]
        yield _line(
            "configuration", "ok",
            f"callers wait at most {wait:g} s: keep your server's own timeout above that; "
            f"a stop takes up to {wait + config['ASWR_DRAIN_TIMEOUT']:g} s",
        )  # fmt: skip


def _views(manager: CacheManager, app: Flask, site: Site, ask: Ask) -> Iterator[dict[str, str]]:
    views = {}
    for endpoint, function in app.view_functions.items():
        if (view := find_view(function)) is not None:
            views[endpoint] = view
    if not views:
        yield _line(
            "views", "warning", "no route of this app leads to a cached view",
            "put @manager.cacher(...) under @app.route(...)",
        )  # fmt: skip
    else:
        yield _line("views", "ok", f"{len(views)} of {len(app.view_functions)} are cached")
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
    yield _line("server", "ok", f"{kind}, process {os.getpid()} on {platform.node()}")
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
    began = time.monotonic()

    async def turn() -> None:
        return

    blocked = (
        "a view or hook blocks it; the log of aswr.runtime names the line; "
        "cacher(..., blocking=True) moves the view to a thread"
    )
    try:
        ask(turn)
    except TimeoutError:
        seconds = time.monotonic() - began
        yield _line("loop", "error", f"aswr's event loop did not turn in {seconds:.0f} s", blocked)
        return
    seconds = time.monotonic() - began
    if seconds > SLOW_LOOP:
        found = f"aswr's event loop took {seconds:.2f} s for one turn"
        yield _line("loop", "warning", found, blocked)
    else:
        yield _line("loop", "ok", f"answers in {seconds * 1000:.1f} ms")
    engine = site.engine
    if engine.waiting > MANY_WAIT:
        yield _line(
            "loop", "note", f"{engine.waiting} callers wait for loads",
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
        limit = site.config["ASWR_STORE_TIMEOUT"]
        yield _line(
            "store", "error", f"{health['name']} does not answer within {limit:g} s",
            "is it up, and is the address right? far away or behind TLS: ASWR_STORE_TIMEOUT = 1.0",
        )  # fmt: skip
        return
    took = health["seconds"]
    state = "warning" if took > SLOW_STORE else "ok"
    cure = "nearer would be better; raise ASWR_STORE_TIMEOUT" if state == "warning" else ""
    version = f", version {health['version']}" if health.get("version") else ""
    found = f"{health['name']}{version}, answers in {took * 1000:.1f} ms"
    yield _line("store", state, found, cure)
    policy = health.get("policy", "")
    if policy.startswith(_ALLKEYS):
        yield _line(
            "store", "warning", f"maxmemory-policy is {policy}: Redis may evict aswr's purges",
            "use volatile-lru (or noeviction); all of aswr's keys expire",
        )  # fmt: skip
    yield from _clocks(health)
    workers = health["workers"]
    yield _line("lease", "ok", f"{workers} workers share loads; this one holds {health['leases']}")


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
        f"{len(memory)} entries, {memory.bytes / MIB:.1f} of {memory.max_bytes / MIB:.0f} MiB "
        f"({share:.0%}), {memory.evictions} evictions"
    )
    if memory.evictions > len(memory):
        yield _line("memory", "note", found, "raise ASWR_MAX_BYTES if hits are too few")
    else:
        yield _line("memory", "ok", found)
