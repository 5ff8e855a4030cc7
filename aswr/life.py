"""What happened of late in one process, remembered for who looks: the life of each entry.

Owns a bounded list of events, less those that every request brings. Any thread. Nobody pays for it
who does not `begin` it.
"""

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from .events import Event, Events, Kind
from .keys import base_of, digest
from .survey import url_of

MOST = 5000  # happenings; a few hundred bytes each
LIVES: Final[tuple[Kind, ...]] = (
    "load_started", "load_finished", "load_failed", "published", "evicted", "purged", "breaker",
    "lease", "learned", "job",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Happening:
    """One event, in plain values; ``id`` is that of its entry, ``url_id`` that of its URL.

    ``by`` is the process that caused it, where it is another one; ``purged`` what a purge names,
    and of a URL its path as well.
    """

    at: float
    kind: str
    view: str
    url: str
    id: str
    url_id: str
    seconds: float | None
    reason: str
    cause: str
    by: str
    purged: tuple[str, ...]

    def shown(self) -> dict[str, Any]:
        """As plain values."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "purged"}


class Life:
    """What happened in the cache of one app since `begin`."""

    def __init__(self) -> None:
        self._happened: deque[Happening] = deque(maxlen=MOST)
        self._begun = False

    def begin(self, events: Events) -> None:
        """Remember from now on; idempotent."""
        if not self._begun:
            self._begun = True
            events.subscribe(self._note, *LIVES)

    def _note(self, event: Event) -> None:
        key, cause = event.key, event.cause
        purged = event.token if event.kind == "purged" and isinstance(event.token, tuple) else ()
        self._happened.append(
            Happening(
                event.at, event.kind, event.view, "" if key is None else url_of(key),
                "" if key is None else digest(key), "" if key is None else digest(base_of(key)),
                event.seconds, event.reason, "" if cause is None else cause.what,
                "" if cause is None else cause.process, purged,
            )
        )  # fmt: skip

    def of(
        self, ids: Collection[str], paths: Collection[str] = (), tags: Iterable[str] = ()
    ) -> list[Happening]:
        """What happened to these entries or to their URLs, the latest last.

        Among ``ids`` may be those of URLs: then what happened to all their variants. Among it are
        purges that name one of the ``paths`` or ``tags`` or everything, and what befell the shared
        store.
        """
        happened, ids = list(self._happened), set(ids)
        urls = {one.url_id for one in happened if one.id in ids} | ids
        purges = {"everything", *filter(None, paths), *(f"tag {tag}" for tag in tags)}
        return [
            one
            for one in happened
            if one.kind == "breaker"
            or (one.kind == "purged" and not one.id and not purges.isdisjoint(one.purged))
            or (one.id and (one.id in urls or one.url_id in ids))
        ]

    def latest(self, count: int) -> list[Happening]:
        """The last things that happened; the latest last."""
        return list(self._happened)[-count:]
