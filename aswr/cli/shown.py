"""How answers look: for people as tables and sentences, in a pipe as lines with tabs.

Values in, lines out; asks nobody. The columns in a pipe are a promise: new ones come last.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ..words import (
    KINDS,
    VERDICTS,
    added,
    count,
    duration,
    loaded_by,
    percent,
    says,
    size,
    told,
)
from .screen import Cell, Column, Screen, clean

COLOURS: Final[dict[str, str]] = {
    "fresh": "green", "stale": "yellow", "error": "red", "gone": "bright_black",
    "pass": "magenta", "note": "bright_black",
    "hit": "green", "miss": "yellow", "unstored": "magenta", "none": "red", "unknown": "yellow",
    "ok": "green", "warning": "yellow",
    "stored": "green", "failed": "red", "uncached": "magenta",
}  # fmt: skip
MOST_TOLD = 30  # things that happened to an entry
MARKS: Final = {"ok": "✓", "note": "·", "warning": "!", "error": "✗"}
OUTCOMES: Final = {
    "stored": "stored", "fresh": "fresh", "pass": "not stored", "failed": "failed",
    "uncached": "not cached",
}  # fmt: skip


def coloured(word: str) -> Cell:
    return Cell(word, COLOURS.get(word, ""))


# Counters.


def totals(stats: Mapping[str, Any], workers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The counters of one process, or the sums over all workers that describe themselves."""
    if not workers:
        return {"processes": 1, "stats": stats["stats"], "views": stats["views"]}
    sums = added(worker.get("stats", {}) for worker in workers)
    views = added(worker.get("views", {}) for worker in workers)
    if "store_reachable" in sums:
        sums["store_reachable"] = int(sums["store_reachable"] == len(workers))
    if "workers" in sums:
        sums["workers"] = len(workers)
    return {"processes": len(workers), "stats": sums, "views": dict(sorted(views.items()))}


def stats(screen: Screen, name: str, found: Mapping[str, Any]) -> None:
    """Of `totals`."""
    counts, views = found["stats"], found["views"]
    if not screen.terminal:
        for scope, values in (("all", counts), *views.items()):
            for each, value in values.items():
                pairs = value.items() if isinstance(value, Mapping) else [("", value)]
                for reason, many in pairs:
                    screen.fields(scope, f"{each}: {reason}" if reason else each, many)
        return
    screen.line(screen.styled(name, bold=True))
    screen.line()
    for title, text in _figures(counts):
        screen.wrapped(clean(text), 10, first=f"{title:<10}")
    if not views:
        return
    screen.line()
    columns = [
        Column("VIEW", gives=True, worth=9, tail=True), Column("HITS", True, worth=8),
        Column("OF THEM STALE", True, worth=4), Column("MISSES", True, worth=7),
        Column("PASSES", True, worth=6), Column("LOADS", True, worth=5),
        Column("FAILED", True, worth=5), Column("A LOAD", True, worth=3),
        Column("SAVED", True, worth=2),
    ]  # fmt: skip
    screen.table(columns, [_view_row(view, values) for view, values in views.items()])


def _view_row(view: str, counts: Mapping[str, Any]) -> list[object]:
    loads, failed = counts.get("loads", 0), counts.get("load_failures", 0)
    return [
        view, count(counts.get("hits", 0)), count(counts.get("stale_hits", 0)),
        count(counts.get("misses", 0)), count(counts.get("passes", 0)), count(loads),
        Cell(count(failed), "red" if failed else ""),
        duration(counts.get("load_seconds", 0) / loads) if loads else "",
        duration(counts.get("seconds_saved", 0)),
    ]  # fmt: skip


def _figures(counts: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    asked = sum(counts.get(name, 0) for name in ("hits", "misses", "passes"))
    hits, stale = counts.get("hits", 0), counts.get("stale_hits", 0)
    yield "hits", _joined(count(hits), _share(hits, asked), f"{count(stale)} of them stale")
    misses = counts.get("misses", 0)
    yield "misses", _joined(count(misses), _share(misses, asked))
    passes = counts.get("passes", 0)
    reasons = sorted(counts.get("passes_by_reason", {}).items(), key=lambda pair: -pair[1])
    why = "; ".join(f"{reason}: {count(many)}" for reason, many in reasons[:3])
    yield "passes", _joined(count(passes), _share(passes, asked), why)
    loads, failed = counts.get("loads", 0), counts.get("load_failures", 0)
    mean = f"{duration(counts.get('load_seconds', 0) / loads)} each" if loads else ""
    yield "loads", _joined(count(loads), mean, f"{count(failed)} failed")
    saved, waited = counts.get("seconds_saved", 0), counts.get("seconds_waited", 0)
    waits = f"{count(counts.get('waits', 0))} callers waited {duration(waited)}"
    yield "saved", f"{duration(saved)} of loading; {waits}"
    held, most = counts.get("bytes", 0), counts.get("max_bytes", 0)
    memory = f"{size(held)} of {size(most)}" if most else size(held)
    yield "memory", _joined(
        f"{count(counts.get('entries', 0))} entries", memory,
        f"{count(counts.get('evictions', 0))} evicted",
    )  # fmt: skip
    yield "now", _joined(
        f"{count(counts.get('flights', 0))} loads under way",
        f"{count(counts.get('queued', 0))} queued", f"{count(counts.get('waiting', 0))} wait",
    )  # fmt: skip
    if "store_reachable" in counts:
        state = "answers" if counts["store_reachable"] else "does not answer"
        errors = counts.get("store_errors", 0)
        yield "store", _joined(state, f"{count(errors)} errors")


def _share(part: float, whole: float) -> str:
    return percent(part / whole) if whole else ""


def _joined(*parts: str) -> str:
    return ", ".join(filter(None, parts))


# Entries.

_ROW: Final = (
    "state", "left", "age", "size", "cost", "uses", "view", "url", "variant", "tags", "id", "by",
    "cause",
)  # fmt: skip


def variant(row: Mapping[str, Any], *, brief: bool = False) -> str:
    """What tells an entry from the others of its URL."""
    return ", ".join(
        f"{name.partition(' of ')[0].removeprefix('best ') if brief else name}: {value}"
        for name, value in row["variant"].items()
    )


def entries(screen: Screen, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of `Desk.entries`."""
    if not screen.terminal:
        for row in rows:
            tags = ",".join(row["tags"])
            shown = {"by": "", "cause": "", **row, "variant": variant(row), "tags": tags}
            screen.fields(*(_plain(shown[name]) for name in _ROW))
        return
    columns = [
        Column("STATE", worth=8), Column("LEFT", True, worth=7), Column("AGE", True, worth=6),
        Column("SIZE", True, worth=5), Column("LOAD", True, worth=4),
        Column("USES", True, worth=1), Column("URL", gives=True, worth=9),
        Column("VARIANT", gives=True, worth=3), Column("TAGS", gives=True, worth=2),
        Column("VIEW", gives=True, worth=2, tail=True),
    ]  # fmt: skip
    table = [
        [
            coloured(row["state"]), duration(row["left"]), duration(row["age"]), size(row["size"]),
            duration(row["cost"]), count(row["uses"]) if row["uses"] else "", row["url"],
            variant(row, brief=True),            ", ".join(row["tags"]), row["view"],
        ]
        for row in rows
    ]  # fmt: skip
    empty = {at for at, column in enumerate(columns) if not any(row[at] for row in table)}
    kept = [at for at in range(len(columns)) if at not in empty]
    screen.table([columns[at] for at in kept], [[row[at] for at in kept] for row in table])


def _plain(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def show(screen: Screen, found: Mapping[str, Any]) -> None:
    """`Desk.show`."""
    if not screen.terminal:
        for row in found["entries"]:
            tags = ",".join(row["tags"])
            shown = {**row, "variant": variant(row), "tags": tags, "reads": ",".join(row["reads"])}
            for name, value in shown.items():
                screen.fields(row["id"], name, "" if value is None else _plain(value))
        return
    for at, row in enumerate(found["entries"]):
        if at:
            screen.line()
        _entry(screen, row)
    if found["life"]:
        screen.line()
        screen.line(screen.styled("What happened to it, the latest first", bold=True))
        life(screen, found["life"])


def _entry(screen: Screen, row: Mapping[str, Any]) -> None:
    state = screen.styled(row["state"], COLOURS.get(row["state"], ""), bold=True)
    screen.line(f"{state}  {screen.styled(clean(row['url']), bold=True)}")
    pairs = [("view", row["view"])]
    if row["variant"]:
        pairs.append(("variant", variant(row)))
    if row["reads"]:
        pairs.append(("reads", ", ".join(row["reads"])))
    if row["reason"]:
        pairs.append(("passes", row["reason"]))
    if row["state"] not in ("note", "gone"):
        pairs.append(("left", f"{row['state']} for {duration(row['left'])} more"))
    now = row["stored"] + row["age"]
    pairs.append(("stored", f"{duration(row['age'])} ago, {_clock(row['stored'])}"))
    for name, key in (("fresh", "fresh_until"), ("stale", "stale_until"), ("error", "error_until")):
        if row["state"] != "note" and (name != "error" or row[key] > row["stale_until"]):
            pairs.append((f"{name} until", f"{_clock(row[key])}, {_from_now(row[key] - now)}"))
    status = "" if row["status"] is None else f"status {row['status']}"
    cost = "" if row["state"] == "note" else f"its load took {duration(row['cost'])}"
    pairs.append(("answer", _joined(status, size(row["size"]), cost)))
    if by := loaded_by(row):
        pairs.append(("loaded by", by))
    if row["tags"]:
        pairs.append(("tags", ", ".join(row["tags"])))
    pairs.append(("id", row["id"]))
    for name, text in pairs:
        screen.wrapped(clean(text), 15, first=f"  {name:<13}")


def _from_now(seconds: float) -> str:
    return f"in {duration(seconds)}" if seconds > 0 else f"{duration(-seconds)} ago"


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def life(screen: Screen, happened: Sequence[Mapping[str, Any]]) -> None:
    """What happened, as the admin page has it: the latest first, a load in one line."""
    worth = told(happened)
    for one in worth[:MOST_TOLD]:
        kind = KINDS.get(one["kind"], clean(one["kind"]))
        screen.wrapped(clean(says(one)), 37, first=f"  {_clock(one['at'])}  {kind:<14}")
    if len(worth) > MOST_TOLD:
        screen.line(f"  and {count(len(worth) - MOST_TOLD)} things before")


# Why.


def why(screen: Screen, found: Mapping[str, Any]) -> None:
    """`Desk.why`: the verdict, the steps to it, and what would help."""
    verdict = found["verdict"]
    if not screen.terminal:
        screen.fields("verdict", verdict, found["url"])
        for step in found["steps"]:
            for says in step["says"]:
                screen.fields(step["step"], says)
        for cure in found["cures"]:
            screen.fields("cure", cure)
        screen.fields("rendered", "yes" if found["rendered"] else "no")
        return
    word = screen.styled(verdict, COLOURS.get(verdict, ""), bold=True)
    screen.line(f"{word}  {screen.styled(clean(found['url']), bold=True)}")
    screen.wrapped(VERDICTS.get(verdict, ""), 0)
    screen.line()
    for at, step in enumerate(found["steps"], 1):
        first = f"{at:>2}. {step['step']:<9}"
        for says in step["says"] or [""]:
            screen.wrapped(clean(says), 13, first=first)
            first = " " * 13
    if found["cures"]:
        screen.line()
        screen.line(screen.styled("What would help", bold=True))
        for cure in found["cures"]:
            screen.wrapped(clean(cure), 2, first="• ")
    if found["rendered"]:
        screen.line()
        screen.wrapped("The view was run once, to find out; nothing was stored.", 0, "bright_black")


# What commands did.


def outcome(screen: Screen, result: Mapping[str, Any]) -> None:
    """What came of one load."""
    if not screen.terminal:
        screen.fields(
            result["outcome"], f"{result['seconds']:.3f}", result["url"], result["reason"]
        )
        return
    word = OUTCOMES.get(result["outcome"], clean(result["outcome"]))
    coloured = screen.styled(word, COLOURS.get(result["outcome"], ""))
    first = f"{coloured}{' ' * (12 - len(word))}{duration(result['seconds']):>9}  "
    screen.wrapped(clean(result["url"]), 23, first=first)
    if result["reason"]:
        screen.wrapped(clean(result["reason"]), 23, first=" " * 23)


def jobs(screen: Screen, rows: Sequence[Mapping[str, Any]], now: float) -> None:
    """Of `merged`."""
    if not screen.terminal:
        for row in rows:
            screen.fields(
                row["path"], f"{row['interval']:g}", row["ticks"], row["loads"],
                "" if row["next_run"] is None else f"{row['next_run']:.3f}", row["error"],
            )  # fmt: skip
        return
    columns = [
        Column("PATH", gives=True, worth=9), Column("EVERY", True, worth=8),
        Column("NEXT", True, worth=7), Column("DUE SO FAR", True, worth=4),
        Column("LOADS", True, worth=5), Column("LATEST", gives=True, worth=6),
    ]  # fmt: skip
    table = []
    for row in rows:
        due = row["next_run"]
        when = "" if due is None else f"in {duration(due - now)}" if due > now else "now"
        table.append([
            row["path"], duration(row["interval"]), when, count(row["ticks"]), count(row["loads"]),
            Cell(row["error"], "red") if row["error"] else _latest(row, now),
        ])  # fmt: skip
    screen.table(columns, table)


def _latest(row: Mapping[str, Any], now: float) -> str:
    if not row["history"]:
        return ""
    at, what = row["history"][-1]
    return f"{what}, {duration(max(0.0, now - at))} ago"


def merged(of_each: Iterable[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The jobs of several processes as one list: each is due in all of them, and loads in one."""
    found: dict[str, dict[str, Any]] = {}
    for jobs in of_each:
        for job in jobs:
            known = found.get(job["path"])
            if known is None:
                found[job["path"]] = {**job, "history": [*job["history"]]}
                continue
            known["ticks"] = max(known["ticks"], job["ticks"])
            known["loads"] += job["loads"]
            runs = [at for at in (known["next_run"], job["next_run"]) if at is not None]
            known["next_run"] = min(runs, default=None)
            known["error"] = known["error"] or job["error"]
            known["history"] = sorted([*known["history"], *job["history"]], key=lambda one: one[0])
    return [found[path] for path in sorted(found)]


def doctor(screen: Screen, lines: Sequence[Mapping[str, str]]) -> None:
    """`Desk.doctor`."""
    if not screen.terminal:
        for line in lines:
            screen.fields(line["state"], line["name"], line["found"], line["cure"])
        return
    width = max((len(line["name"]) for line in lines), default=0)
    for line in lines:
        state = line["state"]
        mark = screen.styled(MARKS.get(state, "?"), COLOURS.get(state, ""), bold=True)
        screen.wrapped(clean(line["found"]), width + 4, first=f"{mark} {line['name']:<{width}}  ")
        if line["cure"]:
            screen.wrapped(clean(line["cure"]), width + 6, first=" " * (width + 4) + "→ ")
