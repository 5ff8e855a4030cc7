"""Periodic refreshes: which paths, how often, and how each last went.

Owns the ticker and the records of the jobs of one manager. `schedule` and `infos` may be called
from any thread; ticks arrive on the loop and start ordinary flights, which whoever asks may join.
"""

import asyncio
import contextvars
import logging
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from .checks import seconds
from .flight import Came, Load
from .keys import split_path
from .runtime import Runtime
from .site import Site

log = logging.getLogger("aswr.jobs")

REMEMBERED = 20  # times that a job was due


@dataclass(frozen=True, slots=True)
class Job:
    """What was scheduled: ``interval`` in seconds; no ``site`` means every app."""

    path: str
    interval: float
    compute_func: Callable[..., Any] | None
    site: "weakref.ref[Site] | None" = None


@dataclass(frozen=True, slots=True)
class JobInfo:
    """One job of one app, as of now. Times are in seconds since the epoch.

    ``ticks`` is how often it was due here, and ``loads`` how many loads this process has begun for
    that: in a fleet others begin the rest. ``error`` says why its path cannot be refreshed or is
    not stored, and is empty where it is well. ``history`` is when it was due of late, the last time
    last, and what came of it, as soon as that is known.
    """

    app: str
    path: str
    interval: float
    ticks: int
    loads: int
    next_run: float | None
    error: str
    history: tuple[tuple[float, str], ...] = ()


class Ticks(Protocol):
    """What a `Ticker` does, and what a test kit puts in its place, whose time is the test's."""

    def add(
        self, name: str, interval: float, tick: Callable[[], None], aligned: bool = False
    ) -> None: ...
    def next_run(self, name: str) -> float | None: ...
    def remove(self, name: str) -> None: ...
    def stop(self) -> None: ...


def _ticker() -> Ticks:
    from .ticker import Ticker  # not before there is a job: APScheduler takes its time

    return Ticker()


@dataclass(slots=True)
class _Due:
    """One time that a job was due: how many of its loads have come to nothing known yet."""

    at: float
    pending: int = 0
    came: Counter[Came] = field(default_factory=Counter)
    what: str = ""  # came of it; empty until that is known


@dataclass(slots=True)
class _Record:
    ticks: int = 0
    loads: int = 0
    error: str = ""
    load: Load | None = None
    looking: bool = False  # for its loads, off the loop: the next tick does not pile up
    history: deque[_Due] = field(default_factory=lambda: deque(maxlen=REMEMBERED))


class Jobs:
    """The jobs of one manager."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: list[Job] = []
        self.make_ticker: Callable[[], Ticks] = _ticker  # the test kit has another
        self.forget()

    def forget(self) -> None:
        """In a forked child: nothing ticks until the child starts it."""
        self._lock = threading.Lock()
        self._ticker: Ticks | None = None
        self._runtime: Runtime | None = None
        self._begun: weakref.WeakSet[Site] = weakref.WeakSet()
        self._added: dict[str, Job] = {}  # what the ticker has, by name
        self._warned: set[Job] = set()
        self._looking: set[asyncio.Task[None]] = set()  # for the loads of a tick; on the loop
        self._records: weakref.WeakKeyDictionary[Site, dict[str, _Record]] = (
            weakref.WeakKeyDictionary()
        )

    def __bool__(self) -> bool:
        return bool(self._jobs)

    @property
    def started(self) -> bool:
        """Are ticks under way?"""
        return self._ticker is not None

    def schedule(
        self,
        path: str,
        interval: Any,
        compute_func: Callable[..., Any] | None,
        site: Site | None,
    ) -> Job:
        """Record a job; scheduling a path again replaces it. Raises on bad arguments."""
        split_path(path)
        if compute_func is not None and not callable(compute_func):
            raise TypeError(f"compute_func must be callable, got {compute_func!r}")
        where = None if site is None else weakref.ref(site)
        job = Job(path, seconds("interval", interval), compute_func, where)
        with self._lock:
            live = [j for j in self._jobs if j.site is None or j.site() is not None]
            self._jobs = [j for j in live if (j.path, j.site) != (path, where)] + [job]
        return job

    def check(self, sites: Iterable[Site]) -> tuple[list[tuple[Site, Job]], list[ValueError]]:
        """The jobs that can run, and why the others cannot: no cached view answers their path."""
        good, errors = [], []
        for site, job in self._pairs(sites):
            try:
                load = site.load_of(job.path, job.compute_func)
            except Exception as error:  # also of the app's own: a converter, or key=
                refused = ValueError(f"no plain request for {job.path} can be made: {error!r}")
                errors.append(error if isinstance(error, ValueError) else refused)
                continue
            good.append((site, job))
            lives = load.times.timeout
            if lives is not None and job.interval >= lives and job not in self._warned:
                self._warned.add(job)
                log.warning(
                    "the job for %s runs every %g s, but its entry lives only %g s: visitors will "
                    "wait in between; make interval shorter than timeout",
                    job.path, job.interval, lives,
                    extra={"aswr_app": site.name, "aswr_path": job.path},
                )  # fmt: skip
        return good, errors

    def begin(
        self, runtime: Runtime, sites: Iterable[Site], pairs: Iterable[tuple[Site, Job]]
    ) -> None:
        """Start ticking for these sites, or take in what was scheduled since. On the loop."""
        if self._ticker is None:
            self._ticker, self._runtime = self.make_ticker(), runtime
        self._begun.update(sites)
        for site, job in pairs:
            self._add(site, job)

    def has_begun(self, site: Site) -> bool:
        """Do this site's jobs tick?"""
        return site in self._begun

    def _add(self, site: Site, job: Job) -> None:
        assert self._ticker is not None
        record = self._records.setdefault(site, {}).setdefault(job.path, _Record())
        name = _name(site, job)
        if self._added.get(name) is job:
            return  # it ticks already: starting twice is no reason to load twice
        self._added[name] = job
        tick = partial(self._tick, weakref.ref(site), job, record, name)
        self._ticker.add(name, job.interval, tick, aligned=site.shared.in_fleet)

    def stop(self) -> None:
        """No more ticks. On the loop."""
        if self._ticker is not None:
            self._ticker.stop()
            self._ticker = None
            self._begun.clear()
            self._added.clear()

    async def begun(self) -> None:
        """Wait until the loads of every tick so far have begun. On the loop."""
        if self._looking:
            await asyncio.wait(self._looking)

    def infos(self, sites: Iterable[Site]) -> list[JobInfo]:
        """What is scheduled for these sites."""
        return [self._info(site, job) for site, job in self._pairs(sites)]

    def _info(self, site: Site, job: Job) -> JobInfo:
        record = self._records.get(site, {}).get(job.path, _Record())
        next_run = self._ticker.next_run(_name(site, job)) if self._ticker is not None else None
        return JobInfo(
            site.name, job.path, job.interval, record.ticks, record.loads, next_run,
            record.error or _passes(site, record.load),
            tuple((due.at, due.what) for due in list(record.history) if due.what),
        )  # fmt: skip

    def _pairs(self, sites: Iterable[Site]) -> list[tuple[Site, Job]]:
        return [
            (site, job)
            for site in sites
            for job in self._jobs
            if job.site is None or job.site() is site
        ]

    def _tick(self, where: "weakref.ref[Site]", job: Job, record: _Record, name: str) -> None:
        site = where()
        if site is None or not site.live:
            if self._ticker is not None:
                self._ticker.remove(name)
            self._added.pop(name, None)
            return
        record.ticks += 1
        if self._runtime is not None and not record.looking:
            record.looking = True
            refresh = self._refresh(self._runtime, site, job, record)
            task = self._runtime.task(refresh, f"aswr job {job.path}", contextvars.Context())
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)

    async def _refresh(self, runtime: Runtime, site: Site, job: Job, record: _Record) -> None:
        due = _Due(site.engine.clock())
        record.history.append(due)
        # Routing may run an app's own converters, so it is looked up off the loop.
        try:
            loads = await runtime.work(partial(_loads_of, site, job))
        except Exception as error:
            if record.error != str(error):
                extra = {"aswr_app": site.name, "aswr_path": job.path}
                log.error("the job for %s cannot run: %s", job.path, error, extra=extra)
            record.error = str(error)
            _note(site, job, record, due, f"cannot run: {error}")
            return
        finally:
            record.looking = False
        record.error, record.load = "", loads[0]
        due.pending = len(loads)
        came = partial(_come, weakref.ref(site), job, record, due)
        for load in loads:
            if not site.engine.tick(replace(load, on_came=came), job.interval):
                came("needless")


def _come(where: "weakref.ref[Site]", job: Job, record: _Record, due: _Due, came: Came) -> None:
    """One of a job's loads has come to that: it may have been queued, or left to others."""
    due.came[came] += 1
    due.pending -= 1
    record.loads += came == "here"
    if not due.pending and (site := where()) is not None:
        _note(site, job, record, due, _said(due.came))


def _said(came: Counter[Came]) -> str:
    here, elsewhere = came["here"], came["elsewhere"]
    parts = [f"began {_loads(here)}"] if here else []
    parts += [f"left {_loads(elsewhere)} to other processes"] if elsewhere else []
    return ", ".join(parts) or "no need"


def _loads(count: int) -> str:
    return f"{count} load{'s' * (count != 1)}"


def _note(site: Site, job: Job, record: _Record, due: _Due, what: str) -> None:
    due.what = what
    load = record.load
    view, key = ("", None) if load is None else (load.name, load.key)
    site.engine.events.tell("job", view, key, reason=f"{job.path}: {what}")


def _loads_of(site: Site, job: Job) -> list[Load]:
    plain = site.load_of(job.path, job.compute_func)
    return [plain, *site.used_variants(job.path, plain, job.compute_func)]


def _passes(site: Site, load: Load | None) -> str:
    entry = None if load is None else site.engine.urls.find(load)[1]
    return f"not stored: {entry.passing}" if entry is not None and entry.passing else ""


def _name(site: Site, job: Job) -> str:
    return f"{site.name} {id(site)} {job.path}"
