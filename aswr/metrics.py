"""Metrics for Prometheus: ``pip install 'aswr[prometheus]'``.

    from aswr.metrics import prometheus
    prometheus(manager)

A hit stays a dictionary read: nothing is counted here that is not counted anyway. In one process
the counters are read when they are scraped. Where several serve (``PROMETHEUS_MULTIPROC_DIR``, as
under gunicorn), each writes what has changed to its files there once a second, on aswr's loop, and
at its end; the files of all together are the truth, also about those that have ended.

Owns one collector a registry and one writer a process. Imported by nobody but the app.
"""

import asyncio
import atexit
import contextvars
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from .engine import Engine
from .events import Event
from .manager import CacheManager
from .measures import BY_NAME, LOAD, METRICS, Labels, Metric, load_times, read
from .runtime import Runtime
from .tally import BOUNDS

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric as Family

log = logging.getLogger("aswr.metrics")

EVERY = 1.0  # seconds between two writes
FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"


def prometheus(
    manager: CacheManager, registry: "CollectorRegistry | None" = None
) -> Callable[[], None]:
    """Export what the manager's apps count, until what is returned is called.

    ``registry`` is where a scrape of this process looks, by default prometheus_client's own; where
    several processes serve it is not used, since a `MultiProcessCollector` reads their files. May
    be called before `init_app` and before a server forks. Raises `ImportError` without
    prometheus-client, `ValueError` where the folder of the processes' files does not exist, or the
    manager is exported there already.
    """
    try:
        import prometheus_client
    except ImportError:
        raise ImportError(
            "aswr.metrics needs prometheus-client: pip install 'aswr[prometheus]'"
        ) from None
    if FOLDER not in os.environ:
        return _collect(manager, prometheus_client.REGISTRY if registry is None else registry)
    folder = os.environ[FOLDER]
    if not os.path.isdir(folder):
        raise ValueError(
            f"{FOLDER}={folder!r} is no directory: make it, empty, before the server starts"
        )
    return _writer().add(manager)


def _refuse_twice(manager: CacheManager, managers: "weakref.WeakSet[CacheManager]") -> None:
    if manager in managers:
        raise ValueError(f"{manager!r} is exported there already: call prometheus(manager) once")


def _engines(managers: Iterable[CacheManager]) -> list[Engine]:
    return [engine for manager in list(managers) for engine in manager.engines()]


# One process: its registry asks.


class Collector:
    """What one registry asks, of all managers that are exported there. Any thread."""

    def __init__(self) -> None:
        self.managers: weakref.WeakSet[CacheManager] = weakref.WeakSet()

    def describe(self) -> "list[Family]":
        """The families, without samples: by them a registry knows what is taken."""
        return [_family(metric) for metric in METRICS]

    def collect(self) -> "Iterator[Family]":
        """The families, with the counters as of now."""
        engines = _engines(self.managers)
        families = {metric.name: _family(metric) for metric in METRICS}
        for (name, labels), value in read(engines).items():
            families[name].add_metric(labels, value)
        for labels, classes, total in load_times(engines):
            families[LOAD.name].add_metric(labels, _buckets(classes), total)
        yield from families.values()


def _buckets(classes: list[int]) -> list[tuple[str, float]]:
    counts, count = [], 0
    for bound, more in zip((*map(str, BOUNDS), "+Inf"), classes, strict=True):
        count += more
        counts.append((bound, float(count)))
    return counts


def _family(metric: Metric) -> Any:
    from prometheus_client import metrics_core

    kinds = {
        "counter": metrics_core.CounterMetricFamily,
        "gauge": metrics_core.GaugeMetricFamily,
        "histogram": metrics_core.HistogramMetricFamily,
    }
    return kinds[metric.kind](metric.family, metric.help, labels=metric.labels)


_collectors: "weakref.WeakKeyDictionary[Any, Collector]" = weakref.WeakKeyDictionary()


def _collect(manager: CacheManager, registry: "CollectorRegistry") -> Callable[[], None]:
    collector = _collectors.get(registry)
    if collector is None:
        collector = Collector()
        registry.register(collector)
        _collectors[registry] = collector
    _refuse_twice(manager, collector.managers)
    collector.managers.add(manager)
    myself = weakref.ref(manager)

    def end() -> None:
        found = myself()
        if found is None or found not in collector.managers:
            return
        collector.managers.discard(found)
        if not collector.managers:
            registry.unregister(collector)
            del _collectors[registry]

    return end


# Several processes: each writes to files of its own.

# Whoever forks waits until nobody writes: prometheus_client holds a lock while it does, which a
# child would inherit as held for ever.
_writing = threading.Lock()
os.register_at_fork(
    before=_writing.acquire, after_in_parent=_writing.release, after_in_child=_writing.release
)


class Writer:
    """Writes the counters of this process to its files, of all managers that are exported.

    What was written is remembered, and what has been added since is written: a counter that begins
    anew, as in a forked child, begins at nothing. Load times are written when a load ends. A
    command line, which serves nobody, writes nothing: nobody would see to its files when it ends.
    """

    def __init__(self) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        self.managers: weakref.WeakSet[CacheManager] = weakref.WeakSet()
        self._task: asyncio.Task[None] | None = None  # on the loop only
        self._loop: Runtime | None = None  # whose task that is
        self._pid = os.getpid()
        self._written: dict[tuple[str, Labels], float] = {}  # under `_writing`
        self._failing: set[str] = set()  # kinds of writes
        self._metrics: dict[str, Counter | Gauge] = {}
        for metric in METRICS:
            # In no registry: a scrape reads the files.
            place = metric.family, metric.help, metric.labels
            if metric.kind == "counter":
                self._metrics[metric.name] = Counter(*place, registry=None)
            elif metric.kind == "gauge":
                mode: Any = "livesum" if metric.sums else "livemin"
                self._metrics[metric.name] = Gauge(*place, registry=None, multiprocess_mode=mode)
        self._times = Histogram(LOAD.family, LOAD.help, LOAD.labels, buckets=BOUNDS, registry=None)
        atexit.register(self.write)  # also where no loop runs, or somebody holds it

    def add(self, manager: CacheManager) -> Callable[[], None]:
        """Write what this manager's apps count, too; what is returned ends that."""
        _refuse_twice(manager, self.managers)
        self.managers.add(manager)
        myself = weakref.ref(manager)
        ends = [
            manager.subscribe(
                lambda e: self._note_load(myself(), e), "load_finished", "load_failed"
            ),
            manager.subscribe(lambda e: self._see_to_loop(myself()), "pass"),
            manager.for_each_loop(self._begin),
        ]

        def end() -> None:
            found = myself()
            if found is None or found not in self.managers:
                return
            self.write()
            self.managers.discard(found)
            for each in ends:
                each()

        return end

    def _note_load(self, manager: CacheManager | None, event: Event) -> None:
        if manager is not None and not manager.looks_on:
            extra = {"aswr_app": event.app, "aswr_view": event.view}
            self._guarded("load times", lambda: self._write_load(event), extra)

    def _write_load(self, event: Event) -> None:
        self._times.labels(event.app, event.view).observe(event.seconds or 0.0)

    def _see_to_loop(self, manager: CacheManager | None) -> None:
        """A process in which everything passes has no loop yet, and is to be heard of all the same.

        On a caller's thread.
        """
        if manager is None or manager.looks_on:
            return
        if any(not engine.closed for engine in manager.engines()):
            manager.loop()

    def _begin(self, loop: Runtime) -> None:
        loop.post(self._begin_there, loop)

    def _begin_there(self, loop: Runtime) -> None:
        if self._loop is loop and self._task is not None and not self._task.done():
            return
        self._loop = loop
        self._task = loop.task(self._go_on(loop), "aswr metrics", contextvars.Context())

    async def _go_on(self, loop: Runtime) -> None:
        """Write until the loop ends, or none of the managers uses it any more."""
        try:
            while any(manager.uses(loop) for manager in list(self.managers)):
                self.write()
                await asyncio.sleep(EVERY)
        finally:
            self.write()

    def write(self) -> None:
        """Write what has changed; any thread."""
        apps = sorted({engine.name for engine in _engines(self.managers)})
        self._guarded("counters", self._write, {"aswr_app": ", ".join(apps)})

    def _guarded(self, what: str, write: Callable[[], None], extra: dict[str, str]) -> None:
        """Let nobody fork meanwhile; what prevents it is logged, once of each kind of write."""
        try:
            with _writing:
                write()
        except Exception as error:
            if what not in self._failing:
                self._failing.add(what)
                log.exception("metrics cannot be written: %s (%r)", what, error, extra=extra)
        else:
            self._failing.discard(what)

    def _write(self) -> None:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._written.clear()
        reading = read(_engines(manager for manager in self.managers if not manager.looks_on))
        for name, labels in self._written.keys() - reading.keys():
            if BY_NAME[name].kind == "gauge" and BY_NAME[name].sums:
                reading.add(name, labels, 0.0)  # its app is gone, or its store closed
        for (name, labels), value in reading.items():
            known = self._written.get((name, labels))
            if value == known:
                continue
            metric = self._metrics[name].labels(*labels)
            if BY_NAME[name].kind == "gauge":
                metric.set(value)  # type: ignore[union-attr]
            else:
                metric.inc(value - known if known is not None and known <= value else value)
            self._written[name, labels] = value


_writers: list[Writer] = []  # at most one


def _writer() -> Writer:
    if not _writers:
        _writers.append(Writer())
    return _writers[0]
