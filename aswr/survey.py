"""What is stored, and what is being loaded, in plain values for people: one row each.

Any thread; reads, and changes nothing. Knows keys, entries, flights and the store; must not know
Flask.
"""

import heapq
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple

from .codec import Answer, Entry
from .fieldtext import named
from .flight import Flight
from .keys import CallKey, VariantKey, ViewKey, base_of, digest, view_of
from .policy import Window, window
from .store import Store

LONGEST = 200  # characters of a call, or of a value that a variant has
AT_ONCE = 200  # entries that are looked at before others have a turn

_KINDS: Final = {
    "int", "bytes", "NoneType", "bool", "float", "complex", "Decimal", "Fraction", "UUID", "date",
    "datetime", "time", "timedelta", "range",
}  # fmt: skip
STATES: Final = ("fresh", "stale", "error", "gone", "pass", "note")
_STATE: Final = {
    Window.NONE: "gone", Window.FRESH: "fresh", Window.MARGIN: "stale", Window.ERROR: "error",
    Window.GONE: "gone", Window.PASSING: "pass",
}  # fmt: skip


class Found(NamedTuple):
    """What lies at a key, and how often it was read."""

    key: Hashable
    entry: Entry
    uses: int = 0


# In which order, and whether the greatest come first.
SORTS: Final[dict[str, tuple[Callable[[Found, float], Any], bool]]] = {
    "url": (lambda one, now: (url_of(one.key), str(variant_of(one.key))), False),
    "view": (lambda one, now: view_of(one.key), False),
    "state": (lambda one, now: STATES.index(state_of(one.entry, now)), False),
    "age": (lambda one, now: now - one.entry.stored, True),
    "left": (lambda one, now: left_of(one.entry, now), False),
    "size": (lambda one, now: one.entry.size, True),
    "cost": (lambda one, now: one.entry.cost, True),
    "uses": (lambda one, now: one.uses, True),
}


def url_of(key: Hashable) -> str:
    """What a key is of, as people write it: a URL, or a call."""
    base = base_of(key)
    if isinstance(base, ViewKey):
        return f"//{base.host}{base.url}" if base.host else base.url
    if isinstance(base, CallKey):
        return _short(f"{base.function}{_arguments(base.args)}")
    return _short(repr(base))


def _arguments(args: Any) -> str:
    each = (args,) if _stands_for_all(args) else args
    return f"({', '.join(repr(one) if isinstance(one, str) else plain(one) for one in each)})"


def _stands_for_all(args: Any) -> bool:
    """Is it what ``key=`` said of a call, and not its arguments, each in its canonical form?"""
    if not isinstance(args, tuple):
        return True
    first = args[0] if args else ()
    return any(not isinstance(one, str | tuple) for one in args) or (
        isinstance(first, str) and first.startswith("builtins.")
    )


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def variant_of(key: Hashable) -> dict[str, str]:
    """What the requests of a variant have in common, by the names of inputs; absent ones too."""
    shown = {}
    if isinstance(key, VariantKey):
        for name, value in zip(key.names, key.values, strict=True):
            shown[named(name)] = _short(plain(value))
    base = base_of(key)
    if isinstance(base, ViewKey) and isinstance(base.extra, tuple):
        shown.update({str(name): _short(plain(value)) for name, value in base.extra})
    return shown


def renews(key: Hashable) -> bool:
    """May what lies there be loaded anew without its caller? Then its key says all that it needs.

    Not what is one person's, by ``scope=``; nor a call, or a view that was called otherwise than
    by routing, of whose arguments the key has no more than what stands for them.
    """
    url = base_of(key)
    if not isinstance(url, ViewKey) or url.args:
        return False
    return not (isinstance(url.extra, tuple) and any(part[0] == "scope" for part in url.extra))


def plain(value: Any) -> str:
    """A canonical value as text: most are text, or their type beside their value."""
    if value is None:
        return "absent"
    if isinstance(value, tuple) and len(value) == 2 and _is_kind(value[0]):
        inner = value[1]
        if isinstance(inner, tuple):
            return f"({', '.join(map(plain, inner))})"
        value = inner
    return value if isinstance(value, str) else repr(value)


def _is_kind(word: object) -> bool:
    """Is it what `keys.canonical` writes beside a value?"""
    return isinstance(word, str) and ("." in word or word in _KINDS)


def state_of(entry: Entry, now: float) -> str:
    """In which of the `STATES` is it?"""
    return "note" if entry.names else _STATE[window(entry, now)]


def left_of(entry: Entry, now: float) -> float:
    """Seconds that are left of the state that it is in."""
    state = state_of(entry, now)
    if state == "gone":
        return 0.0
    ends = entry.fresh_until if state == "fresh" else entry.stale_until
    return max(0.0, (entry.error_until if state in ("error", "note") else ends) - now)


def row(key: Hashable, entry: Entry, now: float, uses: int = 0) -> dict[str, Any]:
    """An entry, for people. Times are in seconds since the epoch, ``age``, ``left`` and ``cost``
    in seconds; ``left`` is what is left of the state that it is in; ``size`` in bytes; ``by`` the
    process that loaded it, and ``cause`` why, one of `events.Because`; empty where unknown;
    ``renews`` as of that function.
    """
    answer = entry.value if isinstance(entry.value, Answer) else None
    return {
        "id": digest(key),
        "url_id": digest(base_of(key)),
        "view": view_of(key),
        "url": url_of(key),
        "path": base.path if isinstance(base := base_of(key), ViewKey) else "",
        "query": base.query if isinstance(base, ViewKey) else "",
        "variant": variant_of(key),
        "state": state_of(entry, now),
        "stored": entry.stored,
        "fresh_until": entry.fresh_until,
        "stale_until": entry.stale_until,
        "error_until": entry.error_until,
        "age": max(0.0, now - entry.stored),
        "left": left_of(entry, now),
        "size": entry.size,
        "cost": entry.cost,
        "by": entry.by.process,
        "cause": entry.by.cause,
        "uses": uses,
        "renews": renews(key),
        "tags": list(entry.tags),
        "status": None if answer is None else answer.status,
        "reads": list(entry.names),
        "reason": entry.passing,
    }


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries somebody wants to see.

    Notes, which say what a URL is known to read, only if ``notes``, or by their state. ``view`` is
    a part of a name, ``search`` one of a URL or a view's name. Raises `ValueError` for a state that
    there is not.
    """

    view: str = ""
    tag: str = ""
    state: str = ""
    search: str = ""
    notes: bool = False

    def __post_init__(self) -> None:
        if self.state and self.state not in STATES:
            raise ValueError(f"no state {self.state!r}: there are {', '.join(STATES)}")

    def by_key(self, key: Hashable) -> bool:
        """May what lies at a key be wanted?"""
        sought = self.search.lower()
        if not self.view and not sought:
            return True
        view = view_of(key)
        if self.view not in view:
            return False
        return not sought or sought in view.lower() or sought in url_of(key).lower()

    def by_entry(self, entry: Entry, now: float) -> bool:
        """Is it wanted, if its key is?"""
        if self.tag and self.tag not in entry.tags:
            return False
        return state_of(entry, now) == self.state if self.state else self.notes or not entry.names


def found_in(
    store: Store, now: float, wanted: Wanted | None = None, keys: Iterable[Hashable] | None = None
) -> Iterator[Found]:
    """What is in this process's memory and no purge concerns: all, or what lies at some keys.

    Requests are served in between: it may be a long way through memory.
    """
    for index, key in enumerate(store.memory.keys() if keys is None else keys):
        if index % AT_ONCE == AT_ONCE - 1:
            time.sleep(0)
        if wanted is not None and not wanted.by_key(key):
            continue
        entry = store.glance(key)
        if entry is not None and (wanted is None or wanted.by_entry(entry, now)):
            yield Found(key, entry, store.uses(key))


def check_sort(sort: str) -> None:
    """Raise `ValueError` for an order that there is not."""
    if sort.removeprefix("-") not in SORTS:
        raise ValueError(f"cannot sort by {sort!r}: there are {', '.join(SORTS)}, each with a -")


def rows_of(
    found: Iterable[Found], now: float, sort: str = "url", limit: int | None = None
) -> tuple[list[dict[str, Any]], int]:
    """The first so many rows of these in an order, and how many there are of all.

    A "-" in front turns the order round; raises as `check_sort`.
    """
    check_sort(sort)
    order, falling = SORTS[sort.removeprefix("-")]
    count = 0

    def counted() -> Iterator[Found]:
        nonlocal count
        for one in found:
            count += 1
            yield one

    most, every = sys.maxsize if limit is None else limit, counted()
    pick = heapq.nlargest if falling != sort.startswith("-") else heapq.nsmallest
    picked = pick(most, every, key=lambda one: order(one, now))
    for _ in every:
        pass  # of no rows at all none is looked at
    return [row(one.key, one.entry, now, one.uses) for one in picked], count


def flights_of(flights: Iterable[Flight], now: float) -> list[dict[str, Any]]:
    """Loads in progress, the oldest first. ``age`` in seconds.

    ``elsewhere``: another process loads, and this one waits for that; ``leads``: this one loads for
    all of them.
    """
    rows = [
        {
            "view": flight.load.name,
            "url": url_of(flight.key),
            "age": max(0.0, now - flight.began),
            "waiters": len(flight.waiters),
            "cause": flight.load.cause.what,
            "elsewhere": flight.follows is not None,
            "leads": flight.lease is not None,
        }
        for flight in flights
    ]
    return sorted(rows, key=lambda one: -one["age"])


def in_short(flights: Iterable[Mapping[str, Any]], most: int) -> list[dict[str, Any]]:
    """The first of such rows, as they are told to other processes: long URLs are cut."""
    return [{**one, "url": _short(one["url"])} for one in islice(flights, most)]
