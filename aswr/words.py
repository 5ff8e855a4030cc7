"""How people are told of a cache: durations, sizes, sums, verdicts, and what happened to an entry.

Pure: values in, text out. The command line and the admin page both speak by it, so a thing reads
the same in both; ``gap`` is what stands between a number and its unit, which a page does not break.
``admin/static/admin.js`` writes durations the same way.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

NONE = "\u2013"
UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.1


def duration(seconds: float | None, gap: str = " ") -> str:
    """Seconds, in the two units that say most."""
    if seconds is None:
        return NONE
    if not seconds:
        return f"0{gap}s"
    if seconds < 0.9995:
        return f"{round(seconds * 1000)}{gap}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}{gap}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{gap}s"
    if whole < 3600:
        return _two(whole // 60, "min", whole % 60, "s", gap)
    if whole < 86400:
        return _two(whole // 3600, "h", whole % 3600 // 60, "min", gap)
    return _two(whole // 86400, "d", whole % 86400 // 3600, "h", gap)


def _two(large: int, large_unit: str, small: int, small_unit: str, gap: str) -> str:
    rest = f" {small}{gap}{small_unit}" if small else ""
    return f"{large}{gap}{large_unit}{rest}"


def size(number: float, gap: str = " ") -> str:
    """Bytes."""
    unit = 0
    while number >= 1024 and unit < len(UNITS) - 1:
        number, unit = number / 1024, unit + 1
    digits = 1 if unit and number < 100 else 0
    return f"{number:.{digits}f}{gap}{UNITS[unit]}"


def count(number: float, thousands: str = ",") -> str:
    """A number of things; ``thousands`` is what stands between three digits each."""
    return f"{number:,.0f}".replace(",", thousands)


def percent(share: float | None, gap: str = " ") -> str:
    """A share; a hundred only where it is all."""
    if share is None:
        return NONE
    shown = math.floor(share * 1000) / 10
    digits = f"{shown:.1f}" if 0 < shown < 100 else f"{shown:.0f}"
    return f"{digits}{gap}%"


# Counters.


def ratio(counts: Mapping[str, Any]) -> float | None:
    """The share of answers that nobody waited for; None where there were none."""
    asked = counts["hits"] + counts["misses"] + counts["passes"]
    return counts["hits"] / asked if asked else None


def mean(total: float, number: float) -> float | None:
    """None of none."""
    return total / number if number else None


def added(each: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sums of counters, by their names; counters by reason are summed by reason."""
    sums: dict[str, Any] = {}
    for counts in each:
        for name, value in counts.items():
            if isinstance(value, Mapping):
                sums[name] = added([sums.get(name, {}), value])
            elif isinstance(value, int | float):
                sums[name] = sums.get(name, 0) + value
    return sums


# Header fields, as people write them.


def header(line: str) -> tuple[str, str]:
    """Name and value of 'Name: value'; raises `ValueError` for what is no header field."""
    name, colon, value = line.partition(":")
    if not colon or not _NAME.fullmatch(name.strip()) or any(one in value for one in "\r\n\0"):
        raise ValueError(f"a header is written 'Name: value', got {line!r}")
    return name.strip(), value.strip()


def headers(lines: Iterable[str]) -> dict[str, str]:
    """Fields as of `header`; several of one name as a server joins them (RFC 9110 section 5.3)."""
    found: dict[str, tuple[str, str]] = {}
    for name, value in map(header, lines):
        known, before = found.get(name.lower(), (name, None))
        if before is not None:
            value = f"{before}{'; ' if name.lower() == 'cookie' else ','}{value}"
        found[name.lower()] = known, value
    return dict(found.values())


# Verdicts of `Why`.

VERDICTS: Final[Mapping[str, str]] = {
    "hit": "served from memory",
    "stale": "served at once",
    "miss": "the caller waits for a load",
    "unstored": "computed for each caller who waits: its answer is not to be stored",
    "pass": "the view runs in the caller's own request",
    "none": "no cached view answers this",
    "unknown": "it depends on what is not run for this look",
}

# What happened: values as of `life.Happening.shown`.

CAUSES: Final[Mapping[str, str]] = {
    "miss": "a visitor waited for it",
    "stale": "a visitor was given the old answer",
    "refresh": "somebody asked for a refresh",
    "job": "a periodic refresh",
    "warm": "a warm-up",
}


KINDS: Final[Mapping[str, str]] = {
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
PURGERS: Final[Mapping[str, str]] = {
    "code": "by the app's own code",
    "unsafe": "by an unsafe request",
    "desk": "by an operator",
    "elsewhere": "by another process",
}
_BEGAN: Final = (": began", ": left", ": no need")
_ENDS: Final = {"store": "", "pass": "it passes", "one": "for one caller only"}


def says(one: Mapping[str, Any], gap: str = " ") -> str:
    """What happened, beside its kind."""
    parts = []
    if one["kind"] in ("load_started", "load_failed", "load_finished") and one["cause"]:
        parts.append(CAUSES.get(one["cause"], one["cause"]))
    if one["seconds"] is not None:
        parts.append(f"took {duration(one['seconds'], gap)}")
    if one["reason"]:
        parts.append(_ENDS.get(one["reason"], one["reason"]))
    if one["kind"] == "purged" and one["cause"]:
        who = PURGERS.get(one["cause"], one["cause"])
        parts.append(f"{who} at {one['by']}" if one["by"] else who)
    return "; ".join(filter(None, parts))


def loaded_by(row: Mapping[str, Any]) -> str:
    """Who loaded what a row of `survey` is of, and why; "" where that is not known."""
    by, cause = row.get("by", ""), row.get("cause", "")
    return "; ".join(filter(None, (by, CAUSES.get(cause, cause))))


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
