"""What URLs are known to read, and where the answer to a request lies by that.

At a URL's own key lies its answer, where no render of it was ever seen to read anything; else a
note of the inputs that were, and the answers lie under the variants. Any thread may ask; `learn`
is the loop's. Must not know what is in flight.
"""

from collections.abc import Callable, Hashable
from dataclasses import replace

from .codec import Entry
from .flight import Load
from .policy import covers
from .store import Store

MOST_NAMES = 64  # inputs of one URL; what reads more is not stored
MOST_FEWER = 8  # sets of inputs under which a URL's older answers are looked for


class Urls:
    """The notes of one app's store."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    def find(self, load: Load) -> tuple[Load, Entry | None, str]:
        """The load under the key that its URL has by now, what lies there, and why to pass.

        Any thread. One look-up for a URL that was never seen to read anything, else two.
        """
        if load.under is None:
            return load, self._store.peek(load.key), ""
        base = load.base
        entry = self._store.peek(base)
        key, why = base, ""
        if entry is not None and entry.names:
            note, (key, why) = entry, load.under(entry.names)
            entry = self._store.peek(key) or self.under_fewer(note, load.under)
        return (load if key == load.key else replace(load, key=key)), entry, why

    def under_fewer(
        self,
        note: Entry,
        under: Callable[[tuple[str, ...]], tuple[Hashable, str]],
        peek: Callable[[Hashable], Entry | None] | None = None,
    ) -> Entry | None:
        """An answer from before its URL was seen to read more, for who agrees on what it read.

        Any thread. So nobody, by making a render read what none has read, costs others their hits.
        ``peek`` is the store's, or another way to look.
        """
        now, peek = self._clock(), peek or self._store.peek
        for names in note.fewer:
            entry = peek(under(names)[0])
            if entry is not None and not entry.passing and covers(entry, now):
                return entry
        return None

    def known(self, base: Hashable, names: tuple[str, ...]) -> tuple[str, ...]:
        """These inputs and those that the URL is known to read, if they are not too many."""
        note = self._store.glance(base)
        known = () if note is None else note.names
        found = known if set(names) <= set(known) else tuple(sorted({*known, *names}))
        # A visitor may choose what is read. So that he does not fill the key, begin anew.
        return found if len(found) <= MOST_NAMES else tuple(sorted(set(names)))

    def is_good(self, key: Hashable) -> bool:
        """Is there an answer at a key that may still be served?"""
        entry = self._store.glance(key)
        return entry is not None and not entry.names and covers(entry, self._clock())

    def learn(self, base: Hashable, names: tuple[str, ...], born: int) -> None:
        """Leave a note that these are the inputs of a URL; ``born`` numbers the load that tells."""
        old = self._store.glance(base)
        if old is not None and old.names == names:
            return
        now, fewer = self._clock(), _fewer(old)
        note = Entry(
            value=None, stored=now, fresh_until=now, stale_until=now, error_until=now,
            born=born if old is None else max(old.born, born), names=names, fewer=fewer,
            size=64 + sum(64 + len(name) for known in (names, *fewer) for name in known),
        )  # fmt: skip
        self._store.publish(base, note)


def _fewer(note: Entry | None) -> tuple[tuple[str, ...], ...]:
    """The sets of inputs under which answers may still lie when a note gives way to another."""
    return () if note is None or not note.names else (note.names, *note.fewer)[:MOST_FEWER]
