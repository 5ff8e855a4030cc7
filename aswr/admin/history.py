"""What was counted in the last minutes, for charts: a few numbers every other second.

Owns a bounded list, filled by a timer on aswr's loop from the first load on, where the blueprint is
mounted. Any thread reads.
"""

import weakref
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..engine import Engine
from ..runtime import Runtime
from ..tally import Tally

STEP = 2.0  # seconds between samples
KEPT = 150  # samples: five minutes
MOST_VIEWS = 50  # in one sample; those with the most to tell
COLUMNS: Final = (
    "fresh", "stale", "misses", "passes", "loads", "failures", "load_seconds", "waits",
    "seconds_waited",
)  # fmt: skip

Row = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """What was counted in the ``STEP`` before ``at``, by view, as `COLUMNS` say; most have little.

    ``loads`` are those that ended, and took ``load_seconds``.
    """

    at: float
    views: Mapping[str, Row]

    def shown(self) -> dict[str, Any]:
        """As plain values."""
        return {"at": self.at, "views": {view: list(row) for view, row in self.views.items()}}


class History:
    """The last minutes of one app's cache."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._samples: deque[Sample] = deque(maxlen=KEPT)
        self._before: dict[str, Row] = {}
        self._on: Runtime | None = None

    def begin(self, runtime: Runtime) -> None:
        """Sample on this loop from now on; idempotent. Any thread."""
        runtime.post(self._begin, runtime)

    def _begin(self, runtime: Runtime) -> None:
        if self._on is not runtime:
            self._on = runtime
            _tick(weakref.ref(self), runtime)

    def sample(self) -> None:
        """Count what came since the last sample."""
        rows, now = {}, self._engine.clock()
        for view, tally in list(self._engine.tallies.items()):
            count = _row(tally)
            before = self._before.get(view, _ZERO)
            row = tuple(max(0.0, new - old) for new, old in zip(count, before, strict=True))
            self._before[view] = count
            if any(row):
                rows[view] = row
        most = sorted(rows.items(), key=lambda one: -sum(one[1]))[:MOST_VIEWS]
        self._samples.append(Sample(now, dict(most)))

    def since(self, at: float) -> list[dict[str, Any]]:
        """The samples made after that time."""
        return [sample.shown() for sample in list(self._samples) if sample.at > at]


_ZERO: Final[Row] = (0.0,) * len(COLUMNS)


def _row(tally: Tally) -> Row:
    return (
        tally.fresh_hits, tally.stale_hits, tally.misses, tally.passes, sum(tally.classes),
        tally.load_failures, tally.load_seconds, tally.waits, tally.waited,
    )  # fmt: skip


def _tick(where: "weakref.ref[History]", runtime: Runtime) -> None:
    history = where()
    if history is not None and history._on is runtime:
        history.sample()
        runtime.loop.call_later(STEP, _tick, where, runtime)  # a timer: no task to be cancelled
