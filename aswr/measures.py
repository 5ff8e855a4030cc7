"""What is measured, by one table: its names in Prometheus, in OpenTelemetry and in the manual.

Reads the counters that every process keeps anyway, on any thread, and changes nothing. Labels are
names of apps, views and functions, and classes: their number is bounded by the code, never by
visitors. Knows engines; must not know who collects.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from .engine import Engine

Labels = tuple[str, ...]  # values, in the order of a metric's labels

VIEW: Final = ("app", "view")
APP: Final = ("app",)


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that is measured: a counter only grows, a gauge is as of now.

    ``sums``: what many processes have adds up; else the smallest value is that of all.
    """

    name: str  # in OpenTelemetry, after "aswr."
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = VIEW
    unit: Literal["", "seconds", "bytes"] = ""
    sums: bool = True

    @property
    def family(self) -> str:
        """The name of its family in Prometheus; a counter's samples end in ``_total``."""
        base = "aswr_" + self.name.replace(".", "_")
        return f"{base}_{self.unit}" if self.unit else base

    @property
    def series(self) -> str:
        """How a query names it, a histogram by what it begins with."""
        return f"{self.family}_total" if self.kind == "counter" else self.family


LOAD: Final = Metric("load", "histogram", "How long loads took that ended.", VIEW, "seconds")
METRICS: Final = (
    Metric("hits", "counter", "Answers from the cache, fresh and stale ones.", (*VIEW, "kind")),
    Metric("misses", "counter", "Callers for whom nothing usable was stored."),
    Metric(
        "passes", "counter", "Views run in their caller's own request, by why.", (*VIEW, "reason")
    ),
    Metric("loads", "counter", "Loads that began: renders and computations."),
    Metric("load.failures", "counter", "Loads that failed."),
    LOAD,
    Metric("saved", "counter", "What the loads took whose answers were hits.", unit="seconds"),
    Metric("waits", "counter", "Callers who waited for a load."),
    Metric("waited", "counter", "How long callers waited for loads.", unit="seconds"),
    Metric("entries", "gauge", "Entries in memory.", APP),
    Metric("memory", "gauge", "What the entries in memory take.", APP, "bytes"),
    Metric("memory.limit", "gauge", "What they may take: ASWR_MAX_BYTES.", APP, "bytes"),
    Metric("flights", "gauge", "Loads in progress.", APP),
    Metric("queued", "gauge", "Loads that nobody waits for, beyond ASWR_MAX_LOADS.", APP),
    Metric("waiting", "gauge", "Callers who wait for a load.", APP),
    Metric("leases", "gauge", "Keys that this process loads for the fleet.", APP),
    Metric("store.reachable", "gauge", "Does the shared store answer?", APP, sums=False),
    Metric("evictions", "counter", "Entries that had to make room in memory.", APP),
    Metric("purges", "counter", "Purges made by this process.", APP),
    Metric("store.errors", "counter", "What the shared store did not do or garbled.", APP),
    Metric("breaker.openings", "counter", "How often the shared store was given up.", APP),
)
BY_NAME: Final = {metric.name: metric for metric in METRICS}

# Of the stats of an app's engine; what is not there is not measured.
_STATS: Final = {
    "entries": "entries",
    "memory": "bytes",
    "memory.limit": "max_bytes",
    "flights": "flights",
    "queued": "queued",
    "waiting": "waiting",
    "leases": "leases",
    "store.reachable": "store_reachable",
    "evictions": "evictions",
    "store.errors": "store_errors",
}

# What passes are classed by: the first of these that their reason begins with. A reason itself
# may name any header or cookie. Entries carry it as text, to other processes too, so its class is
# read off it; a test walks over all that the code can say.
REASONS: Final = {
    "reads over": "answer",
    "reads ": "reads",  # the request brings what the view reads and nobody shares
    "sends credentials": "reads",
    "writes ": "writes",  # the view writes the session, or another thing anew for each caller
    "method": "method",  # not GET or HEAD
    "unless": "asked",
    "no-store": "asked",  # by the request
    "closed": "off",
    "bypass": "off",
    "sets a cookie": "answer",  # what the view said is one caller's, too long, or a stream
    "Cache-Control ": "answer",
    "Vary ": "answer",
    "streams ": "answer",
    "answers one": "answer",
    "its error": "answer",
    "body ": "answer",
    "status ": "answer",  # what by RFC 9111 alone answers one caller, and is not stored
    "says no": "answer",
    "is stale at once": "answer",
    "store_if": "answer",
    "an argument": "argument",  # that no key can stand for
}
CLASSES: Final = (*dict.fromkeys(REASONS.values()), "other")


def reason_class(reason: str) -> str:
    """The class that a pass is counted in."""
    return next((kind for begin, kind in REASONS.items() if reason.startswith(begin)), "other")


class Reading(dict[tuple[str, Labels], float]):
    """The values of all counters and gauges, by the metric's name and its labels' values."""

    def add(self, name: str, labels: Labels, value: float) -> None:
        """Of two apps of one name it is the sum, or the smaller value."""
        known = self.get((name, labels))
        if known is not None:
            value = value + known if BY_NAME[name].sums else min(value, known)
        self[name, labels] = value


def read(engines: Iterable[Engine]) -> Reading:
    """All counters and gauges, as of now."""
    reading = Reading()
    for engine in engines:
        _read_views(engine, reading)
        stats, app = engine.stats(), (engine.name,)
        for name, key in _STATS.items():
            if key in stats:
                reading.add(name, app, stats[key])
        reading.add("purges", app, engine.purges)
        if engine.shares:
            reading.add("breaker.openings", app, engine.openings)
    return reading


def _read_views(engine: Engine, reading: Reading) -> None:
    for tally in list(engine.tallies.values()):
        labels = (engine.name, tally.view)
        reading.add("hits", (*labels, "fresh"), tally.fresh_hits)
        reading.add("hits", (*labels, "stale"), tally.stale_hits)
        for reason, count in list(tally.reasons.items()):
            reading.add("passes", (*labels, reason_class(reason)), count)
        for name, value in (
            ("misses", tally.misses),
            ("loads", tally.loads),
            ("load.failures", tally.load_failures),
            ("saved", tally.saved),
            ("waits", tally.waits),
            ("waited", tally.waited),
        ):
            reading.add(name, labels, value)


def load_times(engines: Iterable[Engine]) -> Iterator[tuple[Labels, list[int], float]]:
    """Of each view how many loads ended within which of `tally.BOUNDS`, and their sum in seconds.

    What is beyond the last bound stands at the end.
    """
    sums: dict[Labels, tuple[list[int], float]] = {}
    for engine in engines:
        for tally in list(engine.tallies.values()):
            labels: Labels = (engine.name, tally.view)
            classes, total = list(tally.classes), tally.load_seconds
            if labels in sums:
                others, other = sums[labels]
                classes = [one + two for one, two in zip(classes, others, strict=True)]
                total += other
            sums[labels] = classes, total
    for labels, (classes, total) in sums.items():
        yield labels, classes, total
