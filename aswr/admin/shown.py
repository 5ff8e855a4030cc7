"""How values are shown on a page: the words of all, unbroken, and where things lie in time.

Pure: values in, text and percentages out.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import gmtime, strftime
from typing import Any, Final

from .. import words
from ..words import told

MINUS = "\u2212"
NARROW = "\u202f"  # between thousands, and before a unit: does not break
STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
MOST_TICKS = 6
BEHIND = 1.2  # lives of an entry that are shown of its past


def duration(seconds: float | None) -> str:
    """As `words.duration`; does not break."""
    return words.duration(seconds, NARROW)


def count(number: float) -> str:
    """As `words.count`; does not break."""
    return words.count(number, NARROW)


def size(number: float) -> str:
    """As `words.size`; does not break."""
    return words.size(number, NARROW)


def percent(share: float | None) -> str:
    """As `words.percent`; does not break."""
    return words.percent(share, NARROW)


def says(one: Mapping[str, Any]) -> str:
    """As `words.says`; does not break."""
    return words.says(one, NARROW)


def clock_time(at: float) -> str:
    """A time of day, in UTC, as servers' logs have it."""
    return strftime("%H:%M:%S", gmtime(at))


def moment(at: float) -> str:
    """Date and time, as the ``datetime`` of a ``<time>``."""
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(at))


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
