"""What `Why` says, in lines: of a policy, what is read, what is stored, an answer, a slow load.

Pure: values in, text out. What would help is in `cures`, by reason.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from .codec import Entry
from .cures import slow
from .fieldtext import named
from .names import Kind
from .options import CONFIG, Plan
from .policy import Deadlines, Decision, Times, Verdict, covers
from .words import VERDICTS, count, duration, size

WORDS: Final = {
    Verdict.FRESH: "hit", Verdict.STALE: "stale", Verdict.MISS: "miss", Verdict.PASS: "pass",
}  # fmt: skip


def verdict(word: str) -> str:
    """One of the `VERDICTS`, and what it means."""
    return f"{word}: {VERDICTS[word]}"


def span(start: float, end: float) -> str:
    """From one time to another; no less than nothing."""
    return duration(max(0.0, end - start))


def listed(names: Sequence[str], last: str) -> str:
    """Names in a row; ``last`` is the word before the last one."""
    return f" {last} ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def clause(why: str) -> str:
    """A reason as what follows "because"."""
    return f"its answer says {why}" if why.startswith(("Cache-Control ", "Vary ")) else f"it {why}"


# Policies.


def policy(plan: Plan, calls: Sequence[str]) -> list[str]:
    """What a view's options come to; ``calls``: those of them that each request calls."""
    times, rules = plan.times, plan.rules
    if times.timeout is None:
        lines = ["no timeout: the response's own Cache-Control decides (RFC 9111)"]
    else:
        margin = times.refresh_margin
        shown = "chosen by the load time" if margin is None else f"{margin:.15g} s"
        lines = [f"timeout {times.timeout:.15g} s, refresh_margin {shown}"]
    if times.stale_if_error:
        lines.append(f"stale_if_error {times.stale_if_error:.15g} s")
    lines.append("public: answered before Flask, CDNs may keep it" if plan.public else "in-app")
    if rules.query is not True:
        lines.append(f"query={rules.query!r}: of the query only this counts")
    if rules.vary != "read":
        lines.append(f"vary={rules.vary!r}")
    if rules.ignore:
        lines.append(f"ignored: {', '.join(sorted(map(str, rules.ignore)))}")
    return [*lines, *_set(plan, calls)]


def _set(plan: Plan, calls: Sequence[str]) -> list[str]:
    """What else is set and counts for the verdict, beside the defaults."""
    lines, times = [], []
    for name in ("load_timeout", "soft_timeout", "wait_timeout", "jitter"):
        value = getattr(plan.times, name)
        if value != CONFIG[f"ASWR_{name.upper()}"]:
            times.append(f"{name} {value:.15g}{'' if name == 'jitter' else ' s'}")
    if times:
        lines.append(", ".join(times))
    if plan.statuses:
        each = (f"{status} for {value:.15g} s" for status, value in plan.statuses.items())
        lines.append(f"statuses {', '.join(each)}")
    if plan.max_body != CONFIG["ASWR_MAX_BODY"]:
        lines.append(f"max_body {count(plan.max_body)} bytes")
    if calls:
        lines.append(f"called in each request: {listed(calls, 'and')}")
    return lines


# What is read, and what is stored.


def read(name: str, kind: Kind, place: str, value: str | None, carried: bool) -> str:
    """An input that is read, or written. ``place``: the line of code that does; ``value``: this
    request's, where it is to be told; ``carried``: does this request have one?
    """
    where = f" at {place}" if place else ""
    if name.startswith("writes "):
        return f"{name}{where}: for each caller anew, so nobody shares"
    if kind is Kind.NEVER:
        return f"{name}{where}: every request has one of its own, so nobody shares"
    if kind is Kind.PERSONAL:
        who = "this request has one, and passes" if carried else "absent here: shared"
        return f"{name}{where}: one caller's own; {who}"
    here = "" if value is None else f" is {value} here;"
    return f"{named(name)}{where}:{here} requests that agree on it share"


def stored(row: Mapping[str, Any]) -> str:
    """What is stored, as of `survey.row`."""
    if row["state"] == "pass":
        return f"that it passes: {row['reason']}"
    kept = f", tags {', '.join(row['tags'])}" if row["tags"] else ""
    status = "" if row["status"] is None else f"status {row['status']}, "
    return (
        f"{row['state']}, {status}{size(row['size'])}, {duration(row['age'])} old, "
        f"its load took {duration(row['cost'])}{kept}"
    )


def deadlines(entry: Entry, now: float) -> list[str]:
    ends = [("fresh", entry.fresh_until), ("stale but served", entry.stale_until)]
    if entry.error_until > entry.stale_until:
        ends.append(("kept for failures", entry.error_until))
    return [
        f"{word} for {span(now, end)} more" if end > now else f"{word} until {span(end, now)} ago"
        for word, end in ends
    ]


def decided(decision: Decision, entry: Entry, now: float, retry_at: float | None) -> list[str]:
    """What becomes of a request for it; ``retry_at``: of its next load, if the last one failed."""
    lines = [verdict(WORDS[decision.verdict])]
    if retry_at is not None:
        when = "is due" if now >= retry_at else f"is due in {duration(retry_at - now)}"
        lines.append(f"its last load failed; the next try {when}")
    if decision.verdict is Verdict.STALE:
        lines.append("a load is started, nobody waits" if decision.load else "no load: held back")
    if decision.verdict is Verdict.MISS and covers(entry, now):
        lines.append("if the load fails, what is stored is served (stale_if_error)")
    return lines


def answer(plan: Plan) -> list[str]:
    """With what a stored answer leaves."""
    if plan.public:
        return ["leaves with public, max-age=… and a strong ETag; given before the app's hooks"]
    lines = ["leaves with private, no-cache and a weak ETag, where the view says nothing itself"]
    if plan.emit_cache_control:
        lines = ["leaves with private, max-age=…: the asker's browser may keep it"]
    return lines


# Loads.


def would_be_stored(now: float, ends: Deadlines, jitter: float) -> str:
    """What a load has just brought; ``jitter``: the share that it may take off."""
    fresh, stale = span(now, ends.fresh_until), span(now, ends.stale_until)
    if jitter:
        fresh += f" (by jitter up to {span(0.0, jitter * (ends.fresh_until - now))} less)"
    return f"it would be stored, fresh for {fresh}, gone after {stale}"


class Late(NamedTuple):
    """How long a load took; where that is too long what comes of it, and what would help.

    ``ended``: it would have been, before it brought anything.
    """

    took: str
    lines: Sequence[str] = ()
    cures: Sequence[str] = ()
    ended: bool = False


def late(times: Times, seconds: float, sync: bool, covered: bool) -> Late:
    """What comes of it that a load takes so long. ``sync``: a thread runs it; ``covered``: what is
    stored may stand in for it.
    """
    limits = dict[str, float]()
    if seconds > times.wait_timeout:
        limits["wait_timeout"] = times.wait_timeout
    if ends := times.load_timeout is not None and seconds > times.load_timeout:
        limits["load_timeout"] = times.load_timeout or 0.0
    took = duration(max(0.0, seconds))
    if not limits:
        return Late(took)
    first = min(limits, key=limits.__getitem__)
    given = "504" if first == "load_timeout" else "503"
    if covered:
        given = "what is stored (stale_if_error)"
    lines = [f"that is above {first} ({limits[first]:.15g} s): who waits gets {given}"]
    if not ends:
        lines.append("the load goes on, and what it brings is used")
    elif sync:
        lines.append("a thread cannot be cancelled: it goes on, and what it brings is used")
    else:
        lines.append("load_timeout cancels it: it would not be stored")
    return Late(took, lines, [slow(option, took) for option in limits], ends and not sync)
