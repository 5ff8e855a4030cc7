"""What may be done with an entry now: the verdict table, deadlines, back-off.

Pure: values and a ``now`` in, values out. No async, no threads, no clock, no randomness, no I/O;
imports nothing of aswr.

    stored ────────── fresh ──────────┬─ stale-while-revalidate ─┬─ stale-if-error ─┬─ gone
                              fresh_until                  stale_until         error_until

``timeout`` and ``refresh_margin`` in RFC 5861's words: max-age is ``timeout - refresh_margin``,
stale-while-revalidate is ``refresh_margin``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

RETRY_FIRST = 1.0
RETRY_MOST = 60.0
AUTOMATIC_ROOM = 2.0  # an automatic margin fits this many load times
AUTOMATIC_SHARE = 0.25  # and is at least this share of the timeout, so that a request falls in it


class Verdict(Enum):
    """What an entry is worth to a request (RFC 9111 §4.2, RFC 5861)."""

    FRESH = "fresh"
    STALE = "stale"
    MISS = "miss"
    PASS = "pass"


class Window(Enum):
    """Where ``now`` lies on an entry's time line."""

    NONE = "none"
    FRESH = "fresh"
    MARGIN = "margin"
    ERROR = "error"
    GONE = "gone"
    PASSING = "passing"


class Trouble(Enum):
    """What the last load of the key came to."""

    NONE = "none"
    HELD = "held"  # failed, and the next try is not due yet
    DUE = "due"  # failed, and the next try is due


@dataclass(frozen=True, slots=True)
class Decision:
    """Serve the stored answer? Start a load? Must the caller wait for it?"""

    verdict: Verdict
    serve: bool
    load: bool
    wait: bool


FRESH = Decision(Verdict.FRESH, serve=True, load=False, wait=False)
_STALE = Decision(Verdict.STALE, serve=True, load=True, wait=False)
_HELD = Decision(Verdict.STALE, serve=True, load=False, wait=False)
_MISS = Decision(Verdict.MISS, serve=False, load=True, wait=True)
PASS = Decision(Verdict.PASS, serve=False, load=False, wait=False)

TABLE: Mapping[tuple[Window, Trouble], Decision] = {
    (Window.NONE, Trouble.NONE): _MISS,
    (Window.NONE, Trouble.HELD): _MISS,
    (Window.NONE, Trouble.DUE): _MISS,
    (Window.FRESH, Trouble.NONE): FRESH,
    (Window.FRESH, Trouble.HELD): FRESH,
    (Window.FRESH, Trouble.DUE): FRESH,
    (Window.MARGIN, Trouble.NONE): _STALE,
    (Window.MARGIN, Trouble.HELD): _HELD,
    (Window.MARGIN, Trouble.DUE): _STALE,
    (Window.ERROR, Trouble.NONE): _MISS,
    (Window.ERROR, Trouble.HELD): _HELD,
    (Window.ERROR, Trouble.DUE): _STALE,
    (Window.GONE, Trouble.NONE): _MISS,
    (Window.GONE, Trouble.HELD): _MISS,
    (Window.GONE, Trouble.DUE): _MISS,
    (Window.PASSING, Trouble.NONE): PASS,
    (Window.PASSING, Trouble.HELD): PASS,
    (Window.PASSING, Trouble.DUE): PASS,
}


class Dated(Protocol):
    """What the table needs to know of an entry: absolute deadlines, in the clock's seconds."""

    @property
    def fresh_until(self) -> float: ...
    @property
    def stale_until(self) -> float: ...
    @property
    def error_until(self) -> float: ...
    @property
    def passing(self) -> str: ...


class Asking(Protocol):
    """What a request's directives say (RFC 9111 §5.2.1); seconds, None where nothing is said."""

    @property
    def no_cache(self) -> bool: ...
    @property
    def max_age(self) -> float | None: ...
    @property
    def min_fresh(self) -> float | None: ...
    @property
    def max_stale(self) -> float | None: ...


class Stored(Dated, Protocol):
    """What a request's directives are weighed against."""

    @property
    def stored(self) -> float: ...
    @property
    def strict(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The ends of an entry's three windows, in the clock's seconds."""

    fresh_until: float
    stale_until: float
    error_until: float


@dataclass(frozen=True, slots=True)
class Lifetime:
    """What is said of one answer's lifetime, in seconds. ``None``: the decorator decides.

    ``total`` replaces ``timeout``, ``stale`` and ``error`` are the windows after it (RFC 5861).
    ``age`` is spent already (RFC 9111 §4.2.3).
    """

    total: float | None = None
    stale: float | None = None
    error: float | None = None
    age: float = 0.0


UNSAID = Lifetime()


@dataclass(frozen=True, slots=True)
class Times:
    """The time options of one decorator, validated, in seconds. ``None`` means: no limit.

    Without ``timeout`` answers alone decide (RFC 9111), and what says nothing is not fresh.
    """

    timeout: float | None
    refresh_margin: float | None = None
    stale_if_error: float = 0.0
    jitter: float = 0.0
    soft_timeout: float | None = None
    load_timeout: float | None = None
    wait_timeout: float = 25.0

    @property
    def retry_most(self) -> float:
        """Seconds after which a failing load or a passing URL is tried again at the latest."""
        return RETRY_MOST if self.timeout is None else self.timeout

    def margin(self, cost: float) -> float:
        """The length of the stale window, in seconds, for a load that took ``cost`` seconds."""
        if self.timeout is None:
            return 0.0
        if self.refresh_margin is not None:
            return self.refresh_margin
        wanted = max(AUTOMATIC_ROOM * cost, AUTOMATIC_SHARE * self.timeout)
        return min(wanted, self.timeout / 2)

    def deadlines(self, now: float, cost: float, draw: float, said: Lifetime = UNSAID) -> Deadlines:
        """When an entry that arrived at ``now`` ends its windows.

        ``draw`` in [0, 1) is the random share of ``jitter`` to take off. Where the answer says how
        long it lives and not for how long it may be stale, the margin lies within its lifetime and
        shrinks in proportion: while loads succeed, nothing is served past such an ``s-maxage``.
        """
        total = self.timeout if said.total is None else max(0.0, said.total - said.age)
        if total is None:
            total = 0.0
        if self.timeout is None or (said.total is not None and said.stale is not None):
            fresh_until = now + total
            stale_until = fresh_until + (said.stale or 0.0)
        else:
            scale = (1.0 - self.jitter * draw) * total / self.timeout
            stale_until = now + self.timeout * scale
            fresh_until = stale_until - self.margin(cost) * scale
            if said.stale is not None:
                stale_until = fresh_until + said.stale
        if said.error is None:
            return Deadlines(fresh_until, stale_until, stale_until + self.stale_if_error)
        # RFC 5861 §4: the response's own word limits the staleness.
        return Deadlines(fresh_until, stale_until, max(stale_until, fresh_until + said.error))


def window(entry: Dated | None, now: float) -> Window:
    """Where ``now`` lies on the entry's time line; a deadline itself is already past."""
    if entry is None:
        return Window.NONE
    if entry.passing:
        return Window.PASSING if now < entry.stale_until else Window.NONE
    if now < entry.fresh_until:
        return Window.FRESH
    if now < entry.stale_until:
        return Window.MARGIN
    return Window.ERROR if now < entry.error_until else Window.GONE


def decide(entry: Dated | None, now: float, retry_at: float | None = None) -> Decision:
    """The verdict on ``entry`` at ``now``.

    ``retry_at`` is when the next try is due after a failed load, ``None`` after a good one.
    """
    if entry is not None and now < entry.fresh_until and not entry.passing:
        return FRESH  # as in the table; most are
    if retry_at is None:
        trouble = Trouble.NONE
    else:
        trouble = Trouble.DUE if now >= retry_at else Trouble.HELD
    return TABLE[window(entry, now), trouble]


def heed(decision: Decision, entry: Stored | None, now: float, asks: Asking) -> Decision:
    """The verdict where the request says what it takes (RFC 9111 §5.2.1)."""
    if entry is None or decision.verdict is Verdict.PASS:
        return decision
    too_old = asks.max_age is not None and now - entry.stored > asks.max_age
    if asks.max_age is not None and asks.max_stale is None:  # §5.2.1.1
        too_old = too_old or now >= entry.fresh_until
    too_soon = asks.min_fresh is not None and entry.fresh_until - now < asks.min_fresh
    if asks.no_cache or too_old or too_soon:
        return _MISS
    if not decision.serve and not entry.strict and asks.max_stale is not None:
        return _STALE if now - entry.fresh_until <= asks.max_stale else decision
    return decision


def covers(entry: Dated | None, now: float) -> bool:
    """May ``entry`` stand in for a load that failed or outlasts the caller's patience?

    RFC 5861 §4: until ``stale_if_error`` has passed.
    """
    return window(entry, now) in (Window.FRESH, Window.MARGIN, Window.ERROR)


def backoff(failures: int, most: float) -> float:
    """Seconds to hold back the next try after the ``failures``-th failed load in a row."""
    most = max(RETRY_FIRST, min(RETRY_MOST, most))
    return min(most, RETRY_FIRST * 2.0 ** min(failures - 1, 30))
