"""What a response says to a shared cache, what a request asks of one, and what aswr says itself.

RFC 9111 §3, §4.2, §5; RFC 5861; RFC 6585; RFC 9213; RFC 9875. Pure: header fields, a status and a
``now`` in, values out. No async, no threads, no clock; knows no framework. Malformed input never
raises; a lifetime or a window that cannot be read is empty.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from . import http

# Statuses of which RFC 9110 §15 and RFC 7725 §3 ask no more of a cache than RFC 9111 does.
UNDERSTOOD = frozenset(
    {200, 203, 204, 300, 301, 302, 303, 307, 308, 400, 403, 404, 405, 410, 414, 451}
)
# 206 and 304 are parts of an answer (RFC 9111 §3); the others "MUST NOT be stored" (RFC 6585).
_NEVER_STORED = frozenset({206, 304, 428, 429, 431})
IN_APP = "private, no-cache"

# The fields by which a response says anything of this, by name.
_SAYING = frozenset(
    "age cache-control cache-groups date etag expires last-modified set-cookie vary".split()
)
_REMEMBERED_LENGTH = 256  # of a request's Cache-Control; longer ones are parsed every time

_Fields = Mapping[str, list[str]]  # by name
_Given = Mapping[str, list[str | None]]


@dataclass(frozen=True, slots=True)
class Said:
    """What a response says to a shared cache. ``None``: not said; seconds otherwise."""

    alone: str  # why it may not be stored for a second person; "" if it may
    lifetime: float | None  # explicit freshness lifetime; 0.0 where it is malformed
    shared_lifetime: float | None  # s-maxage alone
    no_cache: bool  # not served without validation
    no_stale: bool  # never served stale, whatever else is configured
    stale: float | None  # stale-while-revalidate
    error: float | None  # stale-if-error
    public: bool
    credentials: bool  # the answer to a request with Authorization may be shared
    age: float  # how old it already was at ``now``
    etag: str  # well-formed, as written; "" where there is none, or several that differ
    last_modified: str  # the same
    vary: tuple[str, ...]  # ("*",) or field names, Title-Case
    groups: tuple[str, ...]  # Cache-Groups


_NOTHING = Said(
    alone="", lifetime=None, shared_lifetime=None, no_cache=False, no_stale=False, stale=None,
    error=None, public=False, credentials=False, age=0.0, etag="", last_modified="", vary=(),
    groups=(),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asks:
    """What a request asks of a cache, in seconds (RFC 9111 §5.2.1)."""

    no_cache: bool = False
    no_store: bool = False
    only_if_cached: bool = False
    max_age: float | None = None
    min_fresh: float | None = None
    max_stale: float | None = None  # infinite where no limit is given


def storable_status(status: int) -> bool:
    """May an answer of this status be stored if it says how long it is fresh? RFC 9111 §3.

    An answer of 500 and above is a failed load, and never stored.
    """
    return 200 <= status < 500 and status not in _NEVER_STORED


def said(status: int, fields: http.Fields, now: float) -> Said:
    """What the response says, ``now`` being when its load ended, in seconds since the epoch."""
    fields = [field for field in fields if field[0].lower() in _SAYING]
    if not fields:
        return _NOTHING  # most views
    named = http.by_name(fields)
    control = http.all_directives(named.get("cache-control", ()))
    vary = http.vary_names(fields)
    stale = _least(control, "stale-while-revalidate")
    error = _least(control, "stale-if-error")
    shared = _least(control, "s-maxage")
    # RFC 9111 §5.2.2.10: s-maxage means proxy-revalidate too. Who names a window of RFC 5861
    # beside it wants just that; beside the others a window says nothing (§4.2.4).
    in_window = bool(stale or error)
    return Said(
        alone=_alone(status, named, control, vary),
        lifetime=_lifetime(named, control, now),
        shared_lifetime=shared,
        # RFC 9111 §5.2.2.4: with field names, a cache may take it as if it had none.
        no_cache="no-cache" in control,
        no_stale=not control.keys().isdisjoint({"must-revalidate", "proxy-revalidate", "no-cache"})
        or (shared is not None and not in_window),
        stale=stale,
        error=error,
        public="public" in control,
        # RFC 9111 §3.5
        credentials=not control.keys().isdisjoint({"public", "s-maxage", "must-revalidate"}),
        age=_age(named, now),
        etag=_validator(named, "etag", lambda text: http.etags(text) == (text,) != ("*",)),
        last_modified=_validator(named, "last-modified", lambda text: _is_date(text, now)),
        vary=vary,
        groups=http.string_list(named.get("cache-groups", ())) or (),
    )


def _alone(status: int, named: _Fields, control: _Given, vary: tuple[str, ...]) -> str:
    if "set-cookie" in named:
        return "sets a cookie"
    understands = "must-understand" in control
    if understands and status not in UNDERSTOOD:
        return "Cache-Control must-understand"  # RFC 9111 §3
    if "no-store" in control and not understands:  # RFC 9111 §5.2.2.3, §5.2.2.5
        return "Cache-Control no-store"
    if "private" in control:
        return "Cache-Control private"  # RFC 9111 §5.2.2.7; with field names as if without
    if vary == ("*",):
        return "Vary *"  # RFC 9111 §4.1
    return ""


def _lifetime(named: _Fields, control: _Given, now: float) -> float | None:
    """RFC 9111 §4.2.1: the first of s-maxage, max-age, and Expires minus Date."""
    for name in ("s-maxage", "max-age"):
        if (given := _least(control, name)) is not None:
            return given
    if "expires" not in named:
        return None
    sent = _sent(named, now)
    # RFC 9111 §5.3: an invalid date, "0" above all, is a time in the past.
    ends = [http.date(text, now) for text in named["expires"]]
    return min(max(0.0, (sent if end is None else end) - sent) for end in ends)


def _age(named: _Fields, now: float) -> float:
    """RFC 9111 §4.2.3, the corrected initial age, of a load that took no time."""
    # RFC 9111 §5.1: of a list the first member counts, and what is no number is ignored.
    first = http.members(named.get("age", ()))[:1]
    given = http.delta_seconds(first[0]) if first else None
    return max(0.0, now - _sent(named, now), given or 0.0)


def _sent(named: _Fields, now: float) -> float:
    """The Date; ``now`` where there is none that is valid. RFC 9110 §6.6.1."""
    dates = [http.date(text, now) for text in named.get("date", ())]
    return min((sent for sent in dates if sent is not None), default=now)


def _least(control: _Given, name: str) -> float | None:
    """The most restrictive value of a directive (RFC 9111 §4.2.1); a malformed one is 0."""
    if name not in control:
        return None
    return min(http.delta_seconds(value or "") or 0.0 for value in control[name])


def _validator(named: _Fields, name: str, well_formed: Callable[[str], bool]) -> str:
    given = {value.strip(" \t") for value in named.get(name, ())}
    text = given.pop() if len(given) == 1 else ""
    return text if text and well_formed(text) else ""


def _is_date(text: str, now: float) -> bool:
    return http.date(text, now) is not None


def asks(cache_control: str | None) -> Asks | None:
    """What a request's ``Cache-Control`` asks; ``None`` where it asks nothing of a cache.

    Of repeated directives the most restrictive counts. A malformed ``max-age`` is 0; a malformed
    ``min-fresh`` or ``max-stale`` is not there.
    """
    if not cache_control:
        return None
    if len(cache_control) > _REMEMBERED_LENGTH:
        return _asks.__wrapped__(cache_control)
    return _asks(cache_control)


@lru_cache(maxsize=256)
def _asks(cache_control: str) -> Asks | None:
    control = http.all_directives([cache_control])
    fresh = [http.delta_seconds(value or "") for value in control.get("min-fresh", ())]
    stale = [
        math.inf if value is None else http.delta_seconds(value)
        for value in control.get("max-stale", ())
    ]
    found = Asks(
        no_cache="no-cache" in control,
        no_store="no-store" in control,
        only_if_cached="only-if-cached" in control,
        max_age=_least(control, "max-age"),
        min_fresh=max((seconds for seconds in fresh if seconds is not None), default=None),
        max_stale=min((seconds for seconds in stale if seconds is not None), default=None),
    )
    return None if found == Asks() else found


def emitted(*, public: bool, fresh: float, stale: float = 0.0, error: float = 0.0) -> str:
    """The ``Cache-Control`` of our own for windows of these lengths, in whole seconds.

    They are rounded down; an empty window is left out, but for ``max-age``: without it, a cache
    may take a lifetime of its own devising (RFC 9111 §4.2.2).
    """
    windows = {"stale-while-revalidate": _whole(stale), "stale-if-error": _whole(error)}
    parts = ["public" if public else "private", f"max-age={_whole(fresh)}"]
    parts += [f"{name}={seconds}" for name, seconds in windows.items() if seconds]
    return ", ".join(parts)


def _whole(seconds: float) -> int:
    return int(max(0.0, min(seconds, http.MOST_SECONDS)))
