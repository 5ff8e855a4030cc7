"""Which loads failed of late, and when each may be tried again in the background.

Read from any thread; changed on the loop only. Knows the clock it is given; no Flask, no asyncio.
"""

from collections.abc import Callable, Hashable

from .policy import backoff

MOST = 10_000


class Failures:
    """Failed loads in a row by key, bounded: the oldest are forgotten."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: dict[Hashable, tuple[int, float]] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._known

    def __len__(self) -> int:
        return len(self._known)

    def retry_at(self, key: Hashable) -> float | None:
        """When the next try is due after a failed load of this key; None after a good one."""
        failed = self._known.get(key)
        return None if failed is None else failed[1]

    def count(self, key: Hashable, most: float) -> int:
        """One more; puts off the next try, by ``most`` seconds at the most. How many in a row."""
        count = self._known.pop(key, (0, 0.0))[0] + 1
        while len(self._known) >= MOST:
            del self._known[next(iter(self._known))]
        self._known[key] = (count, self._clock() + backoff(count, most))
        return count

    def forget(self, key: Hashable) -> bool:
        """A load succeeded, or what it was of is purged; was there anything to forget?"""
        return self._known.pop(key, None) is not None

    def clear(self) -> None:
        self._known.clear()
