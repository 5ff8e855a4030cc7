"""What the loads of one process ask of a store that others share: the words, and the interface.

Loop only, unless a method says otherwise. Knows entries and keys, no store in particular: `fleet`
is Redis, with lease and backplane, `plain` any other aiocache cache, without. A store that is down,
slow or full of garbage reads as empty; nothing here raises for its sake.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Protocol

from .breaker import Breaker
from .codec import Entry, Uncarriable
from .runtime import Runtime
from .stamps import Purge, Stamps
from .values import Carrier

log = logging.getLogger("aswr.store")

SMALL = 2**14  # bytes of a result that are packed on the loop
MOST_UNCARRIED = 10_000


class Say(Enum):
    """What a claim comes to."""

    FRESH = "fresh"  # what is asked for lies there: no load is needed
    LEAD = "lead"  # you load, for the whole fleet
    BUSY = "busy"  # another process loads
    ALONE = "alone"  # you load for yourself: there is no lease to be had


class Ending(Enum):
    """How a load ended of which nothing was stored."""

    UNSTORED = "unstored"  # its answer is not to be stored: who waits elsewhere loads for himself
    FAILED = "failed"
    GONE = "gone"  # purged, cut short, or stored under another key: look again


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to load a key for the fleet."""

    key: Hashable
    token: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What the store says of a key. ``number`` is of what lies there, 0 for nothing.

    ``entry`` is that where it lives and is newer than what the caller has. ``names`` are the inputs
    that the URL is known to read.
    """

    say: Say
    number: int = 0
    entry: Entry | None = None
    names: tuple[str, ...] = ()
    lease: Lease | None = None
    reads: tuple[str, ...] = ()  # of a load under way elsewhere: what it has read so far
    passing: str = ""  # and why everybody passes


ALONE = Claim(Say.ALONE)


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in a store, in no order: keys, and entries without what they carry.

    ``partial`` says why that is not all, and ``silent`` whether the store did not answer.
    """

    entries: "list[tuple[Hashable, Entry]]"
    partial: str = ""
    silent: bool = False


SILENT = "the store did not answer"
UNLISTED = Listing([], "there is no shared store that can be listed")


class Listener(Protocol):
    """Who is told what happens elsewhere."""

    def stored_elsewhere(self, key: Hashable, number: int) -> None: ...
    def ended_elsewhere(self, key: Hashable, ending: Ending, seconds: float) -> None: ...
    def purged_elsewhere(self, purge: Purge, number: int, process: str = "") -> None: ...
    def read_elsewhere(self, base: Hashable, names: tuple[str, ...], passing: str) -> None: ...
    def cut_off(self) -> None: ...
    def clamped(self, most: int) -> None: ...
    def breaker_changed(self, what: str) -> None: ...
    def lease_lost(self, key: Hashable) -> None: ...
    def held(self, key: Hashable) -> Entry | None: ...
    def known(self, base: Hashable, names: tuple[str, ...]) -> tuple[str, ...]: ...


class Tier(ABC):
    """The shared store behind one app's memory."""

    fleet = False  # has it leases and a backplane?
    timeout = 0.25  # seconds that the store may take to answer what a caller waits for
    poll = 1.0  # seconds after which who follows another process's load asks again
    lease = 0.0  # seconds after which the load of a process that died is another's
    breaker: Breaker
    describe: Callable[[], dict[str, Any]] = dict  # this process, for who looks at the fleet
    counts = True  # as one of its workers, or does it only look on?

    def __init__(
        self, stamps: Stamps, clock: Callable[[], float], carriers: dict[str, Carrier]
    ) -> None:
        self.stamps = stamps
        self.clock = clock
        self.carriers = carriers  # of memoized functions, by name
        self._uncarried: set[str] = set()  # those of which the log was told

    def attach(self, runtime: Callable[[], Runtime], listener: Listener) -> None:
        """Whose loop it lives on, and who is told; before anything else."""
        self.runtime = runtime
        self.listener = listener
        self.breaker.on_change = listener.breaker_changed

    def unpacker(self, key: Hashable) -> Callable[[bytes], object] | None:
        """How the result at a key is made of bytes; None at a view's key."""
        function = getattr(key, "function", None)
        if function is None:
            return None
        carrier = self.carriers.get(function)
        return _refuse if carrier is None else carrier.unpack

    async def packed(self, key: Hashable, entry: Entry) -> bytes | None:
        """A memoized result as bytes; None for what is none. Raises `Uncarriable`."""
        function = getattr(key, "function", None)
        if function is None or entry.passing:
            return None
        carrier = self.carriers.get(function)
        if carrier is None:
            raise Uncarriable("nobody here knows the function of this result")
        try:
            pack = partial(carrier.pack, entry.value)
            plain = pack() if entry.size <= SMALL else await self.runtime().work(pack)
        except Uncarriable as error:
            if function not in self._uncarried and len(self._uncarried) < MOST_UNCARRIED:
                self._uncarried.add(function)
                extra = {"aswr_view": function, "aswr_key": key}
                log.warning("a result stays in this process's memory: %s", error, extra=extra)
            raise
        return plain

    @property
    @abstractmethod
    def reachable(self) -> bool:
        """Did it answer, the last time?"""

    async def open(self) -> None:
        """Begin to hear of others, where they can be heard of; idempotent."""
        return  # where they cannot

    @abstractmethod
    async def claim(
        self, key: Hashable, base: Hashable, seen: int, floor: int, token: str
    ) -> Claim:
        """What lies at a key, and who is to load it.

        The caller has what has the number ``seen``; only what is newer than ``floor``, and fresh,
        makes his load needless. ``token`` names his load.
        """

    @abstractmethod
    async def number(self, until: float) -> int:
        """The number of a load that begins now, or at that time of the loop's at the latest."""

    @abstractmethod
    async def read(self, key: Hashable) -> Entry | None:
        """What lies at a key, if it lives."""

    @abstractmethod
    async def save(self, key: Hashable, base: Hashable, entry: Entry, lease: Lease | None) -> None:
        """Store an entry, unless a newer one is there; the lease goes back."""

    @abstractmethod
    async def remove(self, key: Hashable, number: int) -> None:
        """Drop what lies at a key, unless it is newer than that."""

    async def release(self, lease: Lease, ending: Ending, seconds: float = 0.0) -> None:
        """Give a lease back; ``seconds`` others should wait before they try what failed."""
        return  # where there are none

    def tell_read(self, lease: Lease, base: Hashable, names: tuple[str, ...], passing: str) -> None:
        """A load that this process leads has read these inputs so far; or why everybody passes."""
        return  # where nobody follows

    @abstractmethod
    async def purge(self, purge: Purge, number: int, keys: list[Hashable]) -> bool:
        """Purge for all who share the store; whether it has it. ``keys`` are those known here."""

    def owe(self, purge: Purge, number: int) -> None:
        """A purge was made before there was this store: tell it with the next."""
        return  # where nobody hears of purges

    async def workers(self) -> list[dict[str, Any]]:
        """The processes that share the store, as each describes itself."""
        return []  # where they cannot be heard of

    async def health(self) -> dict[str, Any]:
        """How the store is, for a person: see `Fleet.health`."""
        return {}  # where nothing can be said

    async def answers(self) -> bool:
        """Does the store answer, as far as that can be said?"""
        return bool((await self.health()).get("reachable", True))

    async def listing(self, most: int) -> Listing:
        """What lies in the store, of at most so many entries."""
        return UNLISTED

    async def under(self, ids: Iterable[str]) -> Listing:
        """Those of the entries with these digests that lie in the store."""
        return UNLISTED

    @abstractmethod
    def stats(self) -> dict[str, int]:
        """Counters. Any thread."""

    @abstractmethod
    async def close(self) -> None:
        """Give back what is held, end what runs, and close the connections."""


def _refuse(data: bytes) -> object:
    raise ValueError("nobody here knows the function of this result")
