"""Loads that nobody waits for and that there is no room for yet: the hottest first.

Changed on the loop only; any thread may ask whether a key is in it. Must not know what else is in
flight, nor when there is room.
"""

import heapq
from collections.abc import Hashable
from itertools import count

from .flight import Load

MOST = 10_000  # loads, of 3 to 10 KB each; beyond, a later hit has to ask again

# Minus the heat, a number that tells who came first, the load, and whether a tick asked for it.
_Item = tuple[int, int, Load, bool]


class Backlog:
    """A priority queue of loads, at most one per key."""

    def __init__(self) -> None:
        self._items: dict[Hashable, _Item] = {}
        self._heap: list[_Item] = []  # also of some that were dropped since
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._items

    def put(self, load: Load, heat: int, periodic: bool) -> bool:
        """Queue a load; False where there is one of its key already, or too many of others."""
        if load.key in self._items or len(self._items) >= MOST:
            return False
        item = self._items[load.key] = (-heat, next(self._numbers), load, periodic)
        if len(self._heap) >= 2 * MOST:
            self._heap = list(self._items.values())
            heapq.heapify(self._heap)
        else:
            heapq.heappush(self._heap, item)
        return True

    def drop(self, key: Hashable) -> None:
        """It is begun otherwise."""
        if (item := self._items.pop(key, None)) is not None:
            item[2].came("needless")

    def pop(self) -> tuple[Load, bool, int] | None:
        """The hottest load, of equals the oldest; whether a tick asked for it; and its heat."""
        while self._heap:
            item = heapq.heappop(self._heap)
            cold, _, load, periodic = item
            if self._items.get(load.key) is item:
                del self._items[load.key]
                return load, periodic, -cold
        return None

    def clear(self) -> None:
        """Drop everything."""
        self._items.clear()
        self._heap.clear()
