"""What is stored, in plain values for people: one row an entry.

Any thread; reads, and changes nothing. Knows keys, entries and the store; must not know Flask.
"""

import operator
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final

from .codec import Answer, Entry
from .fieldtext import best_of
from .keys import CallKey, VariantKey, ViewKey, base_of, digest, view_of
from .policy import Window, window
from .store import Store

LONGEST = 200  # characters of a call, or of a value that a variant has

_KINDS: Final = {
    "int", "bytes", "NoneType", "bool", "float", "complex", "Decimal", "Fraction", "UUID", "date",
    "datetime", "time", "timedelta", "range",
}  # fmt: skip
STATES: Final = ("fresh", "stale", "error", "gone", "pass", "note")
_STATE: Final = {
    Window.NONE: "gone", Window.FRESH: "fresh", Window.MARGIN: "stale", Window.ERROR: "error",
    Window.GONE: "gone", Window.PASSING: "pass",
}  # fmt: skip
SORTS: Final[dict[str, tuple[Callable[[dict[str, Any]], Any], bool]]] = {
    "url": (lambda row: (row["url"], str(row["variant"])), False),
    "view": (operator.itemgetter("view"), False),
    "state": (lambda row: STATES.index(row["state"]), False),
    "age": (operator.itemgetter("age"), True),
    "left": (operator.itemgetter("left"), False),
    "size": (operator.itemgetter("size"), True),
    "cost": (operator.itemgetter("cost"), True),
    "uses": (operator.itemgetter("uses"), True),
}


def url_of(key: Hashable) -> str:
    """What a key is of, as people write it: a URL, or a call."""
    base = base_of(key)
    if isinstance(base, ViewKey):
        return f"//{base.host}{base.url}" if base.host else base.url
    if isinstance(base, CallKey):
        return _short(f"{base.function}{_arguments(base.args)}")
    return _short(repr(base))


def _arguments(args: Hashable) -> str:
    if args == ():
        return "()"
    return repr(args) if isinstance(args, tuple) else f"({args!r})"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def named(name: str) -> str:
    """An input, as people call it."""
    if name.startswith("best ") and (found := best_of(name)) is not None:
        header, offers, _ = found
        return f"best {header} of {', '.join(map(str, offers))}"
    return name


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


def row(key: Hashable, entry: Entry, now: float, uses: int = 0) -> dict[str, Any]:
    """An entry, for people. Times are in seconds since the epoch, ``age``, ``left`` and ``cost``
    in seconds; ``left`` is what is left of the state that it is in; ``size`` in bytes.
    """
    state = "note" if entry.names else _STATE[window(entry, now)]
    ends = {
        "fresh": entry.fresh_until, "stale": entry.stale_until, "pass": entry.stale_until,
        "error": entry.error_until, "note": entry.error_until,
    }  # fmt: skip
    answer = entry.value if isinstance(entry.value, Answer) else None
    return {
        "id": digest(key),
        "url_id": digest(base_of(key)),
        "view": view_of(key),
        "url": url_of(key),
        "path": base.path if isinstance(base := base_of(key), ViewKey) else "",
        "query": base.query if isinstance(base, ViewKey) else "",
        "variant": variant_of(key),
        "state": state,
        "stored": entry.stored,
        "fresh_until": entry.fresh_until,
        "stale_until": entry.stale_until,
        "error_until": entry.error_until,
        "age": max(0.0, now - entry.stored),
        "left": max(0.0, ends.get(state, now) - now),
        "size": entry.size,
        "cost": entry.cost,
        "uses": uses,
        "tags": list(entry.tags),
        "status": None if answer is None else answer.status,
        "reads": list(entry.names),
        "reason": entry.passing,
    }


def rows_in(store: Store, now: float) -> list[dict[str, Any]]:
    """Every entry of this process's memory that no purge concerns."""
    found = []
    for key in store.memory.keys():  # noqa: SIM118
        entry = store.glance(key)
        if entry is not None:
            found.append(row(key, entry, now, store.uses(key)))
    return found


def select(
    rows: Iterable[dict[str, Any]], *, view: str = "", tag: str = "", state: str = "",
    search: str = "", sort: str = "url", notes: bool = False,
) -> list[dict[str, Any]]:  # fmt: skip
    """Those rows that are asked for, in that order; a "-" in front turns it round.

    Notes, which say what a URL is known to read, come only if ``notes``, or by their state.
    ``view`` is a part of a name, ``search`` one of a URL or a view's name. Raises `ValueError` for
    a state or an order that there is not.
    """
    if state and state not in STATES:
        raise ValueError(f"no state {state!r}: there are {', '.join(STATES)}")
    by = sort.removeprefix("-")
    if by not in SORTS:
        raise ValueError(f"cannot sort by {sort!r}: there are {', '.join(SORTS)}, each with a -")
    order, falling = SORTS[by]
    sought = search.lower()
    found = [
        one
        for one in rows
        if view in one["view"]
        and (not tag or tag in one["tags"])
        and (one["state"] == state if state else notes or one["state"] != "note")
        and (not sought or sought in one["url"].lower() or sought in one["view"].lower())
    ]
    return sorted(found, key=order, reverse=falling != sort.startswith("-"))
