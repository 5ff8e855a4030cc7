"""How values are shown to people: durations, sizes, and where things lie on a line of time.

Pure: values in, text and percentages out. ``static/admin.js`` writes durations the same way.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import gmtime, strftime
from typing import Any, Final

NONE = "\u2013"
MINUS = "\u2212"
NARROW = "\u202f"  # between thousands, and before a unit: does not break
UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
MOST_TICKS = 6
BEHIND = 1.2  # lives of an entry that are shown of its past


def duration(seconds: float | None) -> str:
    """Seconds, in the two units that say most."""
    if seconds is None:
        return NONE
    if not seconds:
        return f"0{NARROW}s"
    if seconds < 0.9995:
        return f"{round(seconds * 1000)}{NARROW}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}{NARROW}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{NARROW}s"
    if whole < 3600:
        return _two(whole // 60, "min", whole % 60, "s")
    if whole < 86400:
        return _two(whole // 3600, "h", whole % 3600 // 60, "min")
    return _two(whole // 86400, "d", whole % 86400 // 3600, "h")


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    rest = f" {small}{NARROW}{small_unit}" if small else ""
    return f"{large}{NARROW}{large_unit}{rest}"


def count(number: float) -> str:
    """A number of things."""
    return f"{number:,.0f}".replace(",", NARROW)


def size(number: float) -> str:
    """Bytes."""
    unit = 0
    while number >= 1024 and unit < len(UNITS) - 1:
        number, unit = number / 1024, unit + 1
    digits = 1 if unit and number < 100 else 0
    return f"{number:.{digits}f}{NARROW}{UNITS[unit]}"


def percent(share: float | None) -> str:
    """A share; a hundred only where it is all."""
    if share is None:
        return NONE
    shown = math.floor(share * 1000) / 10
    digits = f"{shown:.1f}" if 0 < shown < 100 else f"{shown:.0f}"
    return f"{digits}{NARROW}%"


def clock_time(at: float) -> str:
    """A time of day, in UTC, as servers' logs have it."""
    return strftime("%H:%M:%S", gmtime(at))


def moment(at: float) -> str:
    """Date and time, as the ``datetime`` of a ``<time>``."""
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(at))


def ratio(counts: Mapping[str, Any]) -> float | None:
    """The share of answers that nobody waited for; None where there were none."""
    asked = counts["hits"] + counts["misses"] + counts["passes"]
    return counts["hits"] / asked if asked else None


def mean(total: float, number: float) -> float | None:
    """None of none."""
    return total / number if number else None


# Lines of time. Places are percentages of its width.


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a line of time."""

    kind: str
    at: float
    width: float
    says: str = ""

    @property
    def middle(self) -> float:
        """Where a label goes."""
        return self.at + self.width / 2


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment on a line of time."""

    kind: str
    at: float
    says: str


def windows(entry: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """The windows of an entry's life that it has: name, begin and end."""
    fresh = "pass" if entry["state"] == "pass" else "fresh"
    begin, found = entry["stored"], []
    for name, end in (
        (fresh, entry["fresh_until"]),
        ("pass" if fresh == "pass" else "stale", entry["stale_until"]),
        ("error", entry["error_until"]),
    ):
        if end > begin:
            found.append((name, begin, end))
            begin = end
    return found


def bar(entry: Mapping[str, Any], now: float) -> dict[str, Any]:
    """An entry's life from its storing to its end, and how much of it is over."""
    parts = windows(entry)
    begin = entry["stored"]
    length = (parts[-1][2] - begin if parts else 0.0) or 1.0
    spans = [
        Span(name, 100 * (start - begin) / length, 100 * (end - start) / length)
        for name, start, end in parts
    ]
    now_at = min(100.0, max(0.0, 100 * (now - begin) / length))
    return {"spans": spans, "now": now_at, "begin": begin, "end": begin + length}


@dataclass(frozen=True, slots=True)
class Line:
    """What happened to an entry, and what is to come, drawn to scale."""

    begin: float
    end: float
    now: float
    windows: list[Span]
    loads: list[Span]
    marks: list[Mark]
    ticks: list[Mark]


def line(entry: Mapping[str, Any] | None, life: Iterable[Mapping[str, Any]], now: float) -> Line:
    """The line of an entry that is stored or was, as of ``now``; old things fall off its left."""
    life = list(life)
    begin, end = _reach(entry, life, now)

    def place(at: float) -> float:
        return max(0.0, min(100.0, 100 * (at - begin) / (end - begin)))

    parts = [] if entry is None else windows(entry)
    shown = [
        Span(name, place(start), place(stop) - place(start), duration(stop - start))
        for name, start, stop in parts
    ]
    loads = _loads(life, now, begin, place)
    marks = [
        Mark(one["kind"], place(one["at"]), says(one))
        for one in told(life)
        if one["at"] >= begin and not one["kind"].startswith("load_")
    ]
    return Line(begin, end, place(now), shown, loads, marks, _ticks(begin, end, now, place))


def _reach(
    entry: Mapping[str, Any] | None, life: list[Mapping[str, Any]], now: float
) -> tuple[float, float]:
    begins = [one["at"] - (one["seconds"] or 0.0) for one in life]
    until = now
    if entry is not None:
        begins.append(entry["stored"] - entry["cost"])
        until = max(now, entry["stored"], entry["stale_until"], entry["error_until"])
    first = min(begins, default=now - 60)
    lives = until - (entry["stored"] if entry is not None else max(first, now - 60))
    begin = max(first, now - BEHIND * max(lives, 10.0))
    margin = 0.02 * max(until - begin, 1.0)
    return begin - margin, until + margin


def _loads(
    life: list[Mapping[str, Any]], now: float, begin: float, place: Callable[[float], float]
) -> list[Span]:
    """A load is known by its end; one that has none yet, by its begin."""
    found: list[Span] = []
    begun: dict[str, list[Mapping[str, Any]]] = {}  # and not ended, by URL
    for one in life:
        if one["kind"] == "load_started":
            begun.setdefault(one["url_id"], []).append(one)
        elif one["kind"] in ("load_finished", "load_failed"):
            if begun.get(one["url_id"]):
                begun[one["url_id"]].pop(0)
            start = one["at"] - (one["seconds"] or 0.0)
            if one["at"] >= begin:
                kind = "failed" if one["kind"] == "load_failed" else "loaded"
                found.append(Span(kind, place(start), place(one["at"]) - place(start), says(one)))
    for one in [one for ones in begun.values() for one in ones]:
        found.append(Span("loading", place(one["at"]), place(now) - place(one["at"]), says(one)))
    return found


def _ticks(begin: float, end: float, now: float, place: Callable[[float], float]) -> list[Mark]:
    step = next((s for s in STEPS if (end - begin) / s <= MOST_TICKS), STEPS[-1])
    first = math.ceil((begin - now) / step)
    last = math.floor((end - now) / step)
    shown = []
    for number in range(first, last + 1):
        at = place(now + number * step)
        if number and 3 < at < 97:
            sign = "+" if number > 0 else MINUS
            text = f"{sign}{duration(abs(number) * step)}".replace(".0", "")
            shown.append(Mark("odd" if number % 2 else "even", at, text))
    return shown


CAUSES: Final = {
    "miss": "a visitor waited for it",
    "stale": "a visitor was given the old answer",
    "refresh": "somebody pressed refresh",
    "job": "a periodic refresh",
    "warm": "a warm-up",
    "fleet": "another worker has something newer",
    "code": "other code asked",
}
KINDS: Final = {
    "load_started": "load began",
    "load_finished": "loaded",
    "load_failed": "load failed",
    "published": "stored",
    "evicted": "made room",
    "purged": "purged",
    "breaker": "shared store",
    "lease": "lease",
    "learned": "reads more",
    "job": "job",
}
_BEGAN: Final = (": began", ": no need")
_ENDS: Final = {"store": "", "pass": "it passes", "one": "for one caller only"}


def says(one: Mapping[str, Any]) -> str:
    """What happened, in words."""
    parts = []
    if one["kind"] in ("load_started", "load_failed", "load_finished") and one["cause"]:
        parts.append(CAUSES.get(one["cause"], one["cause"]))
    if one["seconds"] is not None:
        parts.append(f"took {duration(one['seconds'])}")
    if one["reason"]:
        parts.append(_ENDS.get(one["reason"], one["reason"]))
    return "; ".join(filter(None, parts))


def told(life: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What is worth a line, the latest first: a load is one line, not three."""
    found: list[Mapping[str, Any]] = []
    ended: Counter[str] = Counter()  # loads that ended after what is looked at, by URL
    for one in reversed(list(life)):
        kind, url = one["kind"], one["url_id"]
        if kind in ("load_finished", "load_failed"):
            ended[url] += 1
        elif kind == "load_started" and ended[url]:
            ended[url] -= 1
            continue
        elif _goes_without_saying(one):
            continue
        found.append(one)
    return found


def _goes_without_saying(one: Mapping[str, Any]) -> bool:
    """The load has a line: that its result was stored, and that it was a job which began it."""
    if one["kind"] == "job":
        return any(part in one["reason"] for part in _BEGAN)
    return one["kind"] == "published" and not one["reason"]
