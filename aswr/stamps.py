"""Purges as numbers on one time line, compared when an entry is read.

Owns the numbers of this process and the newest purge of every name. Any thread; readers take no
lock. Must not know entries, memory or a shared store.

A load's number (``born``) is drawn when it begins, a purge's when it is made: what was born before
a hard purge that concerns it is dead, wherever it is, and so is the result of a load still in
flight; what was born before a soft one may be served once more while it is renewed. Purging is one
dictionary write, however many entries it hits.

Numbers are microseconds since the epoch, moved on by one where the clock stands still or goes back
(a hybrid logical clock: Kulkarni, Demirbas et al., "Logical Physical Clocks", OPODIS 2014). So the
numbers of processes compare: with a shared store that counts, all of them come from there, and
without one to within what their clocks differ.
"""

import threading
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

from .events import Purger
from .keys import ViewKey, base_of

MOST = 10_000  # names; beyond, the oldest purges become one that concerns everything before them
NEVER = 2**64  # greater than every number, and than what is none
MICRO = 1_000_000


class Purge(NamedTuple):
    """What one purge concerns: tags, and keys as `names_of` gives them; or everything.

    ``why`` says who made it; in a log of purges that is not kept.
    """

    tags: tuple[str, ...] = ()
    keys: tuple[Hashable, ...] = ()
    everything: bool = False
    soft: bool = False  # served once more while it is renewed
    why: Purger = "elsewhere"


class Marks:
    """The number of the newest purge of each name, of one kind."""

    def __init__(self) -> None:
        self.floor = 0  # concerns everything
        self.tags: dict[str, int] = {}
        self.latest_tag = 0  # the newest of any tag
        self.keys: dict[Hashable, int] = {}  # of paths, URLs and calls
        self.newest = 0  # of all there ever were

    def latest(self, key: Hashable, tags: tuple[str, ...]) -> int:
        """The newest purge that concerns an entry of ``key`` with ``tags``."""
        found = 0
        for name in names_of(key) if self.keys else ():
            found = max(found, self.keys.get(name, 0))
        for tag in tags if self.tags else ():
            found = max(found, self.tags.get(tag, 0))
        return max(found, self.floor)  # read last: it is raised before names are dropped

    def add(self, purge: Purge, number: int) -> None:
        """Take in a purge; an older one of the same name changes nothing."""
        self.newest = max(self.newest, number)
        if purge.everything:
            self.floor = max(self.floor, number)
            self._drop_below(self.tags, number)
            self._drop_below(self.keys, number)
        for tag in purge.tags:
            self.tags[tag] = max(number, self.tags.get(tag, 0))
            self.latest_tag = max(self.latest_tag, number)
        for key in purge.keys:
            self.keys[key] = max(number, self.keys.get(key, 0))
        self._bound(self.tags)
        self._bound(self.keys)

    def clamp(self, most: int) -> None:
        """No number is above this."""
        self.floor, self.newest = min(self.floor, most), min(self.newest, most)
        self.latest_tag = min(self.latest_tag, most)
        self.tags.update({tag: most for tag, number in self.tags.items() if number > most})
        self.keys.update({key: most for key, number in self.keys.items() if number > most})

    def _bound(self, marks: dict[Any, int]) -> None:
        # Costs loads, never a stale answer.
        if len(marks) > MOST:
            limit = sorted(marks.values())[len(marks) - MOST * 3 // 4]
            self.floor = max(self.floor, limit)
            self._drop_below(marks, limit + 1)

    @staticmethod
    def _drop_below(marks: dict[Any, int], number: int) -> None:
        for name in [name for name, made in list(marks.items()) if made < number]:
            del marks[name]


class Stamps:
    """The numbers of one store: of its loads, and of what was purged when."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.clear()

    def clear(self) -> None:
        """Start anew, with no number drawn and nothing purged: what bears a number must be gone."""
        self._last = 0
        self.offset = 0  # microseconds from this clock to that of the shared store's server
        self.hard = Marks()
        self.soft = Marks()
        self.newest = 0  # what was born later is not concerned by any of this
        self.suspect = 0  # what was born until then is to be checked against the shared store
        self.horizon = 3600 * MICRO  # that entries live at the most, as far as is known here
        self.shut = False  # nothing may be served: what is purged elsewhere is not heard of
        self.cut = 0  # what was born before may be purged, since then nothing was heard
        self._lock = threading.Lock()

    def forget(self) -> None:
        """In a forked child: at the fork another thread may have held the lock."""
        self._lock = threading.Lock()
        if self.shut:
            self.close_down(False)

    def tick(self) -> int:
        """The next number; unique in this process, and increasing over all threads."""
        with self._lock:
            return self._next()

    @property
    def last(self) -> int:
        """The last number that was drawn or seen here."""
        return self._last

    def _next(self) -> int:
        self._last = max(self._last + 1, self.now())
        return self._last

    def now(self) -> int:
        """The time, as numbers count it where no clock was ever ahead."""
        return int(self._clock() * MICRO) + self.offset

    def observe(self, number: int) -> None:
        """A number of another process's is known here: ours come after it."""
        with self._lock:
            self._last = max(self._last, number)

    def purge(self, purge: Purge, number: int = 0) -> int:
        """Take in a purge, made here or, with its ``number``, elsewhere; returns the number."""
        with self._lock:
            number = number or self._next()
            self._last = max(self._last, number)
            if purge.tags or purge.keys or purge.everything:
                self._raise_newest(number)
                (self.soft if purge.soft else self.hard).add(purge, number)
            return number

    def learn(self, purge: Purge, number: int) -> bool:
        """Take in one name's purge from elsewhere; was it news?"""
        if self._known(purge) >= number:
            return False
        self.purge(purge, number)
        return True

    def _known(self, purge: Purge) -> int:
        marks = self.soft if purge.soft else self.hard
        found = [marks.tags.get(tag, 0) for tag in purge.tags]
        found += [marks.keys.get(key, 0) for key in purge.keys]
        return max(marks.floor, min(found)) if found else marks.floor

    def prune(self, name: Hashable, number: int) -> None:
        """Forget a purge whose entries are swept, unless it was made again since."""
        with self._lock:
            if self.hard.keys.get(name) == number:
                del self.hard.keys[name]

    def latest(self, key: Hashable, tags: tuple[str, ...]) -> int:
        """The newest hard purge that concerns an entry; nothing is newer while all is shut."""
        return NEVER if self.shut else self.hard.latest(key, tags)

    def clamp(self, most: int) -> bool:
        """Numbers above this are of a clock that was ahead: they become this one; were there any?

        A purge then concerns more than it did, never less.
        """
        with self._lock:
            if self._last <= most:
                return False
            self._last = most
            self.suspect, self.cut = min(self.suspect, most), min(self.cut, most)
            for marks in (self.hard, self.soft):
                marks.clamp(most)
            self.newest = NEVER if self.shut else min(self.newest, most)
            return True

    def distrust(self) -> None:
        """Word may have been lost: what was born until now is to be checked when it is used."""
        with self._lock:
            self.suspect = self._next()
            self._raise_newest(self.suspect)

    def close_down(self, shut: bool) -> None:
        """Serve nothing more, or, with False, again what was not purged meanwhile."""
        with self._lock:
            self.shut = shut
            if shut:
                self.newest, self.cut = NEVER, self._next()
            else:
                self.newest = max(self.suspect, *(n for _, n in self._all()), 0)

    def _raise_newest(self, number: int) -> None:
        self.newest = max(self.newest, number)

    def all(self) -> list[tuple[Purge, int]]:
        """Every purge that is known, one name each, with its number."""
        with self._lock:
            return list(self._all())

    def _all(self) -> Iterator[tuple[Purge, int]]:
        for marks, soft in (self.hard, False), (self.soft, True):
            if marks.floor:
                yield Purge(everything=True, soft=soft), marks.floor
            for tag, number in marks.tags.items():
                yield Purge(tags=(tag,), soft=soft), number
            for key, number in marks.keys.items():
                yield Purge(keys=(key,), soft=soft), number


def names_of(key: Hashable) -> tuple[Hashable, ...]:
    """The names under which a key can be purged: its path, its URL; a call's own key."""
    url = base_of(key)
    if isinstance(url, ViewKey):
        return (url.path, (url.path, url.query))
    return (url,)
