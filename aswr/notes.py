"""What the log is told of a view: why requests for it pass, and what would help; each thing once.

Any thread. Must not know renders, engines or Flask.
"""

import logging
from collections.abc import Callable, Iterable

from .names import PERSONS, Kind

log = logging.getLogger("aswr.render")

MOST_TOPICS = 32  # log lines of one view: what it reads may be for the visitor to choose
MOST_PLACES = 256


class Notes:
    """What the log has been told of one view: each thing once. Any thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._told: set[str] = set()
        self._places: dict[str, str] = {}
        self._never: dict[str, str] = {}  # what keeps everybody from sharing, and why

    def place(self, name: str) -> str:
        """Where an input is read, as far as renders have shown; empty where that is not known."""
        return self._places.get(name, "")

    def first(self, topic: str) -> bool:
        """Is this the first time that the topic comes up?"""
        if topic in self._told or len(self._told) >= MOST_TOPICS:
            return False
        self._told.add(topic)
        return True

    def read_at(self, name: str, place: str) -> None:
        """A render reads an input, there."""
        if len(self._places) < MOST_PLACES:
            self._places.setdefault(name, place)

    def passes(self, names: Iterable[str], kind: Callable[[str], Kind]) -> None:
        """Requests pass because of these inputs."""
        for name in names:
            if name.removeprefix("g.") in PERSONS:
                continue  # the cookie that he is made of tells
            # Apart from the log, which is told of so many things only.
            never = kind(name) is Kind.NEVER
            if never and name not in self._never and len(self._never) < MOST_PLACES:
                self._never[name] = self.cause(name, Kind.NEVER)
            if self.first(name):
                extra = {"aswr_view": self._name, "aswr_input": name}
                log.warning("%s", self.cause(name, kind(name)), extra=extra)

    def cause(self, name: str, kind: Kind) -> str:
        """Why an input keeps requests from sharing an answer, where it is read, and the cures."""
        place = self._places.get(name, "an unknown place")
        name = _printable(name)
        if name.startswith("writes "):
            return (
                f"aswr does not cache {self._name}: it {name} at {place}, which is done for each "
                "caller anew. Take the write out, or the decorator off"
            )
        if kind is Kind.NEVER:
            return (
                f"aswr does not cache {self._name}: it reads {name} at {place}, which every "
                "request has. If the answer does not depend on it, write "
                f"ignore=[{_spec(name)!r}]; if it does, let scope= or key= stand for it, or take "
                "the decorator off"
            )
        if name.startswith("g."):
            return (
                f"aswr does not cache {self._name} for requests with {name}: it reads it at "
                f"{place}, and a before_request hook leaves an object there. If the hook may run "
                "in renders, write run_before_request=True; else let scope= or key= stand for it, "
                "or take the decorator off"
            )
        return (
            f"aswr does not cache {self._name} for requests with {name}: it reads it at {place}, "
            "and it is one caller's own; requests without it share an answer. If the answer does "
            f"not depend on it, write ignore=[{_spec(name)!r}]; if few values of it matter, name "
            "it in vary= or let key= stand for them; for an answer per person there is scope=; or "
            "take the decorator off"
        )

    def never(self, detail: str) -> str:
        """The text for a pass that is not the caller's own doing; empty where it is."""
        names = detail.removeprefix("reads ").replace("; ", ", ").split(", ")
        return next((self._never[name] for name in names if name in self._never), "")

    def answers(self, reason: str) -> None:
        """The view's answer says that it must not be stored."""
        if self.first(reason):
            extra = {"aswr_view": self._name, "aswr_input": reason}
            log.warning(
                "aswr does not cache %s: its answer says so (%s)", self._name, reason, extra=extra
            )


def _printable(name: str) -> str:
    """A name that a visitor may have chosen, as one line of a log."""
    return name if name.isprintable() else ascii(name)[1:-1]


def _spec(name: str) -> str:
    """How an option names an input."""
    if name == "remote address":
        return "remote_addr"
    kind, _, rest = name.partition(" ")
    return {"header": rest, "cookie": f"cookie:{rest}", "cookies": "Cookie"}.get(kind, name)
