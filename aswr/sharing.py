"""Which views nobody can share, as a whole. Any thread; one small dictionary, no locks.

A view of which three URLs (or variants) passed for everybody is not rendered in vain at every
other URL. What is stored all the same is served, and now and then a load is tried: what some URLs
read, which a visitor may choose, must not switch the cache off for the others.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field

ENOUGH = 3  # URLs
TRIAL = 1.0  # seconds between the first loads that are tried; twice as many each time,
TRIAL_MOST = 60.0  # and no more than these


@dataclass(slots=True)
class _Passing:
    detail: str
    urls: set[Hashable] = field(default_factory=set)
    trial: float = 0.0
    wait: float = TRIAL


class Sharing:
    """What the loads of an app's views came to, by view."""

    def __init__(self) -> None:
        self._passing: dict[str, _Passing] = {}

    def forget(self) -> None:
        """Try every view again."""
        self._passing = {}

    def note_passed(self, view: str, url: Hashable, detail: str) -> None:
        """Everybody passes at this URL, because of what the view reads."""
        passing = self._passing.setdefault(view, _Passing(detail))
        if len(passing.urls) < ENOUGH:
            passing.urls.add(url)

    def note_shared(self, view: str) -> None:
        """An answer of the view was stored."""
        self._passing.pop(view, None)

    def passing(self) -> dict[str, str]:
        """The views that pass as a whole, and why."""
        known = list(self._passing.items())
        return {view: passing.detail for view, passing in known if len(passing.urls) >= ENOUGH}

    def passes(self, view: str, now: float) -> str:
        """Why a view passes as a whole; empty where it does not, or a load is to be tried."""
        passing = self._passing.get(view) if self._passing else None
        if passing is None or len(passing.urls) < ENOUGH:
            return ""
        if now >= passing.trial:
            passing.trial = now + passing.wait
            passing.wait = min(2 * passing.wait, TRIAL_MOST)
            return ""
        return passing.detail
