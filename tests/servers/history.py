"""The history of a fleet: what its processes write down, and whether that is what aswr promises.

Every process appends its events to a file of its own, each in one write, with the seconds of the
one clock that all of them share (`time.monotonic`, since the start of the machine). `read_history`
reads the files; `Checker` is a pure function over what was read: no I/O, no clock, nothing of aswr.

A *version* of a key is how often its true value was changed. A write changes it first and purges
then, so a load that begins later than the purge must see it. An answer names the load that made it.
"""

import bisect
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

FOREVER = float("inf")

# Seconds that answers last, and the margin at their end, by the first letter of the key.
LASTS = {"a": 60.0, "b": 2.0, "m": 60.0, "n": 3.0}
MARGIN = {"a": 10.0, "b": 1.0, "m": 10.0, "n": 1.5}

Span: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Read:
    """A caller asked and was answered; ``error`` says that he was not, or not as he should."""

    what: ClassVar = "read"
    process: str
    begin: float
    end: float
    key: str
    version: int = -1
    load: str = ""
    verdict: str = ""
    error: str = ""


@dataclass(frozen=True)
class Begin:
    """A load began, by reading this version."""

    what: ClassVar = "begin"
    process: str
    at: float
    key: str
    version: int
    load: str


@dataclass(frozen=True)
class End:
    """A load ended; those of a process that is killed do not."""

    what: ClassVar = "end"
    process: str
    at: float
    load: str


@dataclass(frozen=True)
class Purged:
    """A purge of these keys, which had these versions before it began; ``told``: it returned that.

    ``error`` is what it raised instead.
    """

    what: ClassVar = "purge"
    process: str
    begin: float
    end: float
    how: str
    versions: dict[str, int]
    soft: bool = False
    told: bool = True
    error: str = ""


@dataclass(frozen=True)
class Refreshed:
    """A refresh by name."""

    what: ClassVar = "refresh"
    process: str
    begin: float
    end: float
    key: str
    error: str = ""


@dataclass(frozen=True)
class Reach:
    """The process notices that it can, or can no longer, reach the store."""

    what: ClassVar = "reach"
    process: str
    at: float
    up: bool


@dataclass(frozen=True)
class Stall:
    """The machine did not let the process run, or not all of its threads."""

    what: ClassVar = "stall"
    process: str
    begin: float
    end: float


@dataclass(frozen=True)
class Alive:
    """The process began to work, or ended by itself."""

    what: ClassVar = "alive"
    process: str
    at: float
    ends: bool = False


@dataclass(frozen=True)
class Fault:
    """What was done to a process, to its way to the store, or, with ``process`` "", to the store.

    ``process`` is a worker's number: what it was replaced by has the same way to the store.
    ``cuts``: nothing was answered. ``loses``: so the store lost what it had been told.
    ``hurts``: the bounds of a connected process do not hold. ``stops``: the process itself.
    """

    what: ClassVar = "fault"
    process: str
    begin: float
    end: float
    name: str
    cuts: bool = False
    loses: bool = False
    hurts: bool = True
    stops: bool = False


Event: TypeAlias = Read | Begin | End | Purged | Refreshed | Reach | Stall | Alive | Fault
KINDS: dict[str, Any] = {
    kind.what: kind
    for kind in (Read, Begin, End, Purged, Refreshed, Reach, Stall, Alive, Fault)
}  # fmt: skip


class Recorder:
    """One process's file of events; any thread. What is written stays, however the process ends."""

    def __init__(self, folder: Path, process: str) -> None:
        self.process = process
        path = folder / f"{process}.events"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, event: Event) -> None:
        """Append an event."""
        values = {one.name: getattr(event, one.name) for one in fields(event)}
        os.write(self._file, json.dumps({"what": event.what, **values}).encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)


def read_history(folder: Path) -> list[Event]:
    """All events of all files; of a process that was killed in the midst of a line, without it."""
    events: list[Event] = []
    for path in sorted(folder.glob("*.events")):
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                values = json.loads(line)
                events.append(KINDS[values.pop("what")](**values))
    return events


def now() -> float:
    """The time that events have, of one clock for all processes of the machine."""
    return time.monotonic()


@dataclass(frozen=True)
class Task:
    """What a worker is started with; ``until`` is of the clock that all processes share."""

    name: str
    seed: str
    url: str
    partition: str
    folder: str
    until: float


@dataclass(frozen=True)
class Bounds:
    """How the fleet was set up, and what is generous to a machine that has other things to do.

    ``lasts``: the seconds for which an answer may be served at all, and ``margin`` those of them
    in which it is stale, by the first letter of the key.
    """

    refuse: bool = False
    lasts: dict[str, float] = field(default_factory=lambda: LASTS)
    margin: dict[str, float] = field(default_factory=lambda: MARGIN)
    propagation: float = 1.0
    store_timeout: float = 0.25
    lease: float = 2.0
    load: float = 0.2  # seconds that a load sleeps, at the most
    notice: float = 2.0  # in which a cut must be noticed
    recover: float = 3.0  # in which its end must be
    slack: float = 0.5
    hit: float = 0.2  # for what waits for nothing
    hiccup: float = 0.25  # a stall that is longer counts as being cut off


@dataclass(frozen=True)
class Violation:
    """A rule that was broken, and the events that prove it."""

    rule: str
    text: str
    events: tuple[Event, ...]

    def __str__(self) -> str:
        proof = "".join(f"\n    {event}" for event in self.events)
        return f"{self.rule}: {self.text}{proof}"


@dataclass
class Life:
    """One process, from its first event to its last."""

    name: str
    begin: float
    end: float
    down: list[Span] = field(default_factory=list)  # as it noticed
    stalls: list[Span] = field(default_factory=list)
    stops: list[Span] = field(default_factory=list)
    disturbed: list[Span] = field(default_factory=list)
    quiet: list[Span] = field(default_factory=list)  # the rest

    @property
    def worker(self) -> str:
        """Its number: who takes its place has the same."""
        return self.name.split(".")[0]


class Checker:
    """A history against the invariants. `violations` is what was broken; empty is good.

    ``checked`` counts, by rule, what was looked at: a rule that never had anything to look at has
    proved nothing.
    """

    def __init__(self, events: Iterable[Event], bounds: Bounds) -> None:
        self.bounds = bounds
        self.checked: dict[str, int] = defaultdict(int)
        self._found: list[Violation] = []
        self._by_kind: dict[type, list[Any]] = defaultdict(list)
        for event in events:
            self._by_kind[type(event)].append(event)
        self._faults: list[Fault] = self._by_kind[Fault]
        self._purges: list[Purged] = self._by_kind[Purged]
        self._begins: dict[str, Begin] = {one.load: one for one in self._by_kind[Begin]}
        self._ends: dict[str, End] = {one.load: one for one in self._by_kind[End]}
        self._lives = self._read_lives()
        self._reads: dict[tuple[str, str], list[Read]] = defaultdict(list)
        for read in sorted(self._by_kind[Read], key=lambda one: one.begin):
            self._reads[read.process, read.key].append(read)

    def violations(self) -> list[Violation]:
        """What was broken, in the order of the rules."""
        self._found = []
        for check in (
            self._answers, self._hits, self._deadlines, self._one_load_per_process,
            self._one_load_per_fleet, self._loads_per_window, self._purged, self._softly_purged,
            self._never_back, self._refused, self._told, self._noticed,
        ):  # fmt: skip
            check()
        return self._found

    def _violated(self, rule: str, text: str, *events: Event) -> None:
        self._found.append(Violation(rule, text, events))

    # Who lived when, and when nothing was in his way.

    def _read_lives(self) -> dict[str, Life]:
        seen: dict[str, list[float]] = defaultdict(list)
        for kind in (Alive, Begin, End, Reach):
            for event in self._by_kind[kind]:
                seen[event.process].append(event.at)
        for kind in (Read, Purged, Refreshed, Stall):
            for event in self._by_kind[kind]:
                seen[event.process] += (event.begin, event.end)
        lives = {name: Life(name, min(at), max(at)) for name, at in seen.items()}
        for life in lives.values():
            self._read_life(life)
        return lives

    def _read_life(self, life: Life) -> None:
        notes = [one for one in self._by_kind[Reach] if one.process == life.name]
        up, since = False, life.begin  # until it says otherwise: it has not even asked
        for note in sorted(notes, key=lambda one: one.at):
            if note.up and not up:
                life.down.append((since, note.at))
            elif up and not note.up:
                since = note.at
            up = note.up
        if not up:
            life.down.append((since, FOREVER))
        life.stalls = [
            (one.begin, one.end) for one in self._by_kind[Stall] if one.process == life.name
        ]
        mine = [one for one in self._faults if one.process in ("", life.worker)]
        life.stops = [(one.begin, one.end) for one in mine if one.stops]
        long = [span for span in life.stalls if span[1] - span[0] > self.bounds.hiccup]
        hurt = [(one.begin, one.end) for one in mine if one.hurts]
        life.disturbed = sorted(life.down + long + hurt)
        life.quiet = list(_between(life.disturbed, life.begin, life.end))

    def _disturbed(self, process: str, begin: float, end: float) -> bool:
        """Was the process cut off, paused or short of time at any moment between?"""
        return _touches(self._lives[process].disturbed, begin, end)

    def _anybody_disturbed(self, begin: float, end: float) -> bool:
        return any(
            _touches(life.disturbed, begin, end)
            for life in self._lives.values()
            if life.begin < end and begin < life.end
        )

    def _net(self, process: str, begin: float, end: float) -> float:
        """Seconds between in which the machine let the process run."""
        life = self._lives[process]
        return end - begin - _covered(life.stalls + life.stops, begin, end)

    def _concerning(self, key: str, begin: float, end: float) -> list[Purged]:
        """Purges of a key that were under way, or had just returned, between."""
        late = self.bounds.propagation
        return [
            one for one in self._purges
            if key in one.versions and one.begin < end and begin < one.end + late
        ]  # fmt: skip

    # Invariants 8 and 12: everybody is answered, in time.

    def _answers(self) -> None:
        bounds = self.bounds
        for reads in self._reads.values():
            for read in reads:
                self.checked["answers"] += 1
                if read.error:
                    self._violated("every read succeeds", read.error, read)
                elif read.load not in self._begins:
                    self._violated("every answer was loaded", "nobody loaded this", read)
                else:
                    self._answered_in_time(read)
                    self._outage_is_free(read)
        for refresh in self._by_kind[Refreshed]:
            if refresh.error:
                self._violated("every refresh succeeds", refresh.error, refresh)
        for purge in self._purges:
            self.checked["purges"] += 1
            limit = bounds.store_timeout + bounds.slack
            took = self._net(purge.process, purge.begin, purge.end)
            if purge.error:
                self._violated("every purge succeeds", purge.error, purge)
            elif took > limit:
                self._violated("no purge waits", f"{took:.2f} s, not {limit:.2f} s", purge)

    def _answered_in_time(self, read: Read) -> None:
        """A load, and one more for each purge meanwhile that it did not see; one store timeout.

        Where somebody was cut off or paused, he may have had the lease.
        """
        bounds = self.bounds
        loads = 2 + 2 * len(self._concerning(read.key, read.begin, read.end))
        limit = loads * bounds.load + bounds.store_timeout + bounds.slack
        if self._anybody_disturbed(read.begin - bounds.lease, read.end):
            limit += bounds.lease + bounds.store_timeout
        took = self._net(read.process, read.begin, read.end)
        if took > limit:
            self._violated("no read waits", f"{took:.2f} s, not {limit:.2f} s", read)

    def _outage_is_free(self, read: Read) -> None:
        """Who knows that the store does not answer does not ask: he waits for his load alone."""
        begin, end = self._begins[read.load], self._ends.get(read.load)
        down = self._lives[read.process].down
        noticed = any(s + 0.05 < read.begin and read.end < e for s, e in down)
        own = end is not None and begin.process == read.process and begin.at > read.begin
        if end is None or not noticed or not own:
            return
        if self._concerning(read.key, read.begin - self.bounds.load, read.end):
            return  # it may have waited for a load that was purged
        self.checked["outages"] += 1
        asked = self._net(read.process, read.begin, begin.at)
        asked += self._net(read.process, end.at, read.end)
        if asked > self.bounds.hit:
            self._violated("an outage costs nothing", f"{asked:.3f} s", begin, end, read)

    # Invariant 2: what is in memory waits for nothing.

    def _hits(self) -> None:
        bounds = self.bounds
        for reads in self._reads.values():
            had: dict[str, Read] = {}
            ended: list[Read] = sorted(reads, key=lambda one: one.end)
            index = 0
            for read in reads:
                while index < len(ended) and ended[index].end < read.begin:
                    had.setdefault(ended[index].load, ended[index])
                    index += 1
                end = self._ends.get(read.load)
                if read.error or end is None or end.at > read.begin:
                    continue
                here = had.get(read.load)
                if here is None:  # it came from the store, or another process was still saving it
                    continue
                self.checked["hits"] += 1
                took = self._net(read.process, read.begin, read.end)
                if took > bounds.hit:
                    self._violated("hits never wait", f"{took:.3f} s", end, here, read)

    # Invariant 3: nothing is served past its deadline.

    def _deadlines(self) -> None:
        for reads in self._reads.values():
            for read in reads:
                end = self._ends.get(read.load)
                if end is None:
                    continue
                self.checked["deadlines"] += 1
                lasts = self.bounds.lasts[read.key[0]] + self.bounds.slack
                # A loader that was stopped stored it later.
                last = end.at + lasts
                last += _covered(self._lives[end.process].stops, end.at, last)
                if read.begin > last:
                    self._violated("nothing is served past its deadline",
                                   f"{read.begin - end.at:.2f} s old", read, end)  # fmt: skip

    # Invariant 1: one load per key.

    def _loads(self, key: str = "") -> dict[str, list[tuple[Begin, float]]]:
        """By key, in order of their beginning, with when they ended."""
        found: dict[str, list[tuple[Begin, float]]] = defaultdict(list)
        for begin in sorted(self._begins.values(), key=lambda one: one.at):
            end = self._ends.get(begin.load)
            ended = self._lives[begin.process].end if end is None else end.at
            found[begin.key].append((begin, ended))
        return found

    def _overlaps(self) -> Iterator[tuple[Begin, Begin]]:
        for loads in self._loads().values():
            under_way: list[tuple[Begin, float]] = []
            for load, ended in loads:
                under_way = [other for other in under_way if other[1] > load.at]
                yield from ((other, load) for other, _ in under_way)
                under_way.append((load, ended))

    def _one_load_per_process(self) -> None:
        self.checked["loads"] = len(self._begins)
        for first, second in self._overlaps():
            if first.process == second.process:
                self._violated("one load per key and process", "two at once", first, second)

    def _one_load_per_fleet(self) -> None:
        """At most one, except where one of the two could not have the lease, or lost it.

        That is where either process, or the store, was disturbed between the first's claim (not
        long before its beginning) and the second's beginning.
        """
        slack = self.bounds.slack
        for first, second in self._overlaps():
            if first.process == second.process:
                continue
            begin, end = first.at - slack, second.at
            processes = (first.process, second.process)
            if not any(self._disturbed(process, begin, end) for process in processes):
                self._violated("one load per key and fleet", "two at once", first, second)

    def _loads_per_window(self) -> None:
        """Between faults, a key is loaded as often as something makes that necessary.

        Each purge may kill what is stored and what is under way, each refresh wants one load, and
        what is fresh lasts a while. Two more: the one at the beginning, and the one that was under
        way when the window began.
        """
        bounds = self.bounds
        lives = self._lives.values()
        begin, end = min(one.begin for one in lives), max(one.end for one in lives)
        troubled = sorted(span for life in lives for span in life.disturbed if span[0] < life.end)
        for since, until in _between([_within(span, end) for span in troubled], begin, end):
            since += bounds.propagation + bounds.slack  # doubts are compared, each once
            if until - since < bounds.propagation:
                continue
            for key, loads in self._loads().items():
                began = [load for load, _ in loads if since <= load.at < until]
                purges = self._concerning(key, since, until)
                refreshes = [
                    one for one in self._by_kind[Refreshed]
                    if one.key == key and one.begin < until and since < one.end
                ]  # fmt: skip
                most = 2 + 2 * len(purges) + len(refreshes)
                most += int((until - since) / (bounds.lasts[key[0]] - bounds.margin[key[0]]))
                self.checked["windows"] += 1
                if len(began) > most:
                    self._violated(
                        "loads per key and window",
                        f"{len(began)} of {key} in {until - since:.1f} s, at most {most}: "
                        f"{len(purges)} purges, {len(refreshes)} refreshes", *began,
                    )  # fmt: skip

    # Section 7: who must know of a purge, and since when.

    def known(self, purge: Purged) -> dict[str, float]:
        """By process: since when it must know of a purge.

        The one that made it knows it since it returned. The store has it at once, if it returned
        True; else since its maker is in touch again. A store that lost what it was
        told has it ``propagation`` after anybody who knows it is in touch with it. Another process
        knows it when it was in touch with such a store for ``propagation``. Whoever is cut off for
        good, or begins anew, may never hear of it: whatever it then has came from such a store.
        """
        knows = {purge.process: purge.end}
        within = self.bounds.propagation + self.bounds.slack
        for begin, end in self._stores():
            has = FOREVER
            if purge.told and begin <= purge.begin and purge.end <= end:
                has = purge.end
            for process in list(knows):
                for since, until in self._in_touch(process, begin, end):
                    # What its maker could not tell he tells before he counts as back.
                    untold = process == purge.process and not purge.told
                    tells = since if untold else since + self.bounds.propagation
                    if knows[process] <= since and tells <= until:
                        has = min(has, tells)
            for process in self._lives:
                for since, until in self._in_touch(process, begin, end):
                    heard = max(since, has) + within
                    if heard <= until:
                        knows[process] = min(knows.get(process, FOREVER), heard)
        return knows

    def _stores(self) -> Iterator[Span]:
        """When there was a store that remembers what it was told."""
        losses = sorted((one.begin, one.end) for one in self._faults if one.loses)
        return _between(losses, 0.0, FOREVER)

    def _in_touch(self, process: str, begin: float, end: float) -> Iterator[Span]:
        for since, until in self._lives[process].quiet:
            if since < end and begin < until:
                yield max(since, begin), min(until, end)

    def _obligations(self, soft: bool) -> dict[tuple[str, str], list[tuple[float, int, Purged]]]:
        """By process and key: from when on which version is the least, in order of time."""
        found: dict[tuple[str, str], list[tuple[float, int, Purged]]] = defaultdict(list)
        for purge in self._purges:
            if purge.soft != soft or purge.error:
                continue
            for process, since in self.known(purge).items():
                for key, version in purge.versions.items():
                    found[process, key].append((since, version, purge))
        for known in found.values():
            known.sort(key=lambda one: one[0])
        return found

    def _purged(self) -> None:
        for where, known in self._obligations(soft=False).items():
            for read in self._reads[where]:
                if read.error:
                    continue
                due = [one for one in known if one[0] < read.begin]
                self.checked["own purges"] += any(one[2].process == where[0] for one in due)
                self.checked["purges elsewhere"] += any(one[2].process != where[0] for one in due)
                least = max(due, key=lambda one: one[1], default=None)
                if least is not None and read.version < least[1]:
                    since, version, purge = least
                    age = read.begin - since
                    self._violated(
                        "nothing purged is served",
                        f"version {read.version} of {read.key}, not {version}, "
                        f"{age:.3f} s after it had to be known",
                        purge, *self._load_of(read), read,
                    )  # fmt: skip

    def _softly_purged(self) -> None:
        """What was purged softly is served until its refresh has landed, which a read starts."""
        bounds = self.bounds
        takes = bounds.load * 2 + bounds.store_timeout + 2 * bounds.slack
        for where, known in self._obligations(soft=True).items():
            reads = [one for one in self._reads[where] if not one.error]
            begins = [one.begin for one in reads]
            for since, version, purge in known:
                first = bisect.bisect_right(begins, since)
                if first == len(reads):
                    continue
                landed = reads[first].end + takes
                if self._anybody_disturbed(reads[first].begin - bounds.lease, landed):
                    landed += bounds.lease  # the refresh may have been that of one who was cut off
                life = self._lives[where[0]]
                landed += _covered(life.stops + life.stalls, since, landed)
                later = reads[bisect.bisect_right(begins, landed) :]
                self.checked["soft purges"] += len(later)
                older = next((one for one in later if one.version < version), None)
                if older is not None:
                    self._violated(
                        "a soft purge is a refresh",
                        f"version {older.version} of {older.key}, not {version}",
                        purge, reads[first], *self._load_of(older), older,
                    )  # fmt: skip

    def _load_of(self, read: Read) -> tuple[Event, ...]:
        begin, end = self._begins.get(read.load), self._ends.get(read.load)
        return tuple(one for one in (begin, end) if one is not None)

    def _never_back(self) -> None:
        """In one process versions do not go back.

        Loads whose beginnings lie so near to each other that numbers and versions may have been
        drawn in another order are let off; the number is drawn first.
        """
        for (process, _), reads in self._reads.items():
            ended = sorted((one for one in reads if not one.error), key=lambda one: one.end)
            newest: Read | None = None
            index = 0
            for read in reads:
                while index < len(ended) and ended[index].end < read.begin:
                    if newest is None or ended[index].version > newest.version:
                        newest = ended[index]
                    index += 1
                if newest is None or read.error:
                    continue
                self.checked["order"] += 1
                if read.version >= newest.version:
                    continue
                new, old = self._begins.get(newest.load), self._begins.get(read.load)
                end = self._ends.get(newest.load)
                gone = end is not None and end.at + self.bounds.lasts[read.key[0]] < read.begin
                if gone or new is None or old is None:
                    continue  # there was no newer one any more
                if not self._at_once(old, new):
                    self._violated(
                        "versions never go back",
                        f"{read.version} of {read.key} after {newest.version} in {process}",
                        new, newest, old, read,
                    )  # fmt: skip

    def _at_once(self, old: Begin, new: Begin) -> bool:
        return self._net(new.process, old.at, new.at) < self.bounds.slack

    def _refused(self) -> None:
        """Where a partition is refused: who has noticed that he is cut off serves nothing older.

        Only what was loaded since then; a load that was under way then may still be joined.
        """
        if not self.bounds.refuse:
            return
        hard = [one for one in self._purges if not one.soft and not one.error]
        late = 0.1  # the end of the cut is noted that much later than it is known
        for (process, key), reads in self._reads.items():
            down = self._lives[process].down
            concerned = [one for one in hard if key in one.versions]
            for read in reads:
                begin, end = self._begins.get(read.load), self._ends.get(read.load)
                cut = next(
                    (s for s in down if s[0] <= read.begin and read.end <= s[1] - late), None
                )
                if cut is None or begin is None:
                    continue
                self.checked["refused"] += 1
                for purge in concerned:
                    older = read.version < purge.versions[key]
                    under_way = begin.at >= cut[0] or end is None or end.at > cut[0]
                    if older and purge.end < read.begin and not under_way:
                        self._violated(
                            "a process that is cut off refuses",
                            f"version {read.version} of {key}, {read.begin - cut[0]:.2f} s after "
                            "it noticed", purge, begin, read,
                        )  # fmt: skip
                        break

    # What is said of the store.

    def _told(self) -> None:
        """A purge says that the store has it when nothing is in its way, and not when all is.

        One that was late on a busy machine ends what is quiet: its process counts as cut off.
        """
        slack = self.bounds.slack
        for purge in self._purges:
            life = self._lives[purge.process]
            calm = any(s + slack <= purge.begin and purge.end + 0.1 <= e for s, e in life.quiet)
            if calm and not purge.error:
                self.checked["told"] += 1
                if not purge.told:
                    self._violated("a purge is told", "the store was there", purge)
            for fault in self._faults:
                hit = fault.cuts and fault.process in ("", life.worker)
                inside = fault.begin + 0.05 <= purge.begin and purge.end <= fault.end
                if hit and inside:
                    self.checked["not told"] += 1
                    if purge.told and not purge.error:
                        self._violated("a purge is not told", "nobody was there", fault, purge)

    def _noticed(self) -> None:
        """Who is cut off notices, and so does he when that is over."""
        bounds = self.bounds
        for life in self._lives.values():
            for fault in self._faults:
                if not fault.cuts or fault.process not in ("", life.worker):
                    continue
                begin = max(fault.begin, life.begin)
                if life.end > fault.end and fault.begin >= life.begin:
                    self._noticed_cut(life, fault, begin)
            for begin, end in life.down:
                quiet_since = max([e for _, e in self._hurting(life) if e < end], default=begin)
                until = min(end, life.end)
                if any(s < until and quiet_since < e for s, e in self._hurting(life)):
                    continue
                since = max(begin, quiet_since)
                self.checked["recovered"] += 1
                if self._net(life.name, since, until) > bounds.recover + bounds.slack:
                    self._violated("the end of a cut is noticed",
                                   f"{life.name}: {until - since:.2f} s after all was well",
                                   Reach(life.name, begin, False))  # fmt: skip

    def _hurting(self, life: Life) -> list[Span]:
        return [
            (one.begin, one.end) for one in self._faults
            if one.process in ("", life.worker) and one.hurts
        ]  # fmt: skip

    def _noticed_cut(self, life: Life, fault: Fault, begin: float) -> None:
        bounds = self.bounds
        due = begin + bounds.notice + bounds.slack
        due += _covered(life.stops + life.stalls, begin, due)
        if fault.end < due:
            return
        self.checked["noticed"] += 1
        if not _touches(life.down, begin, due):
            self._violated("a cut is noticed", f"{life.name} did not in {due - begin:.2f} s", fault)


def _between(spans: list[Span], begin: float, end: float) -> Iterator[Span]:
    """What of a time is in none of the spans, which are in order of their beginning."""
    for since, until in spans:
        if since > begin:
            yield begin, min(since, end)
        begin = max(begin, until)
        if begin >= end:
            return
    if begin < end:
        yield begin, end


def _within(span: Span, end: float) -> Span:
    return min(span[0], end), min(span[1], end)


def _touches(spans: list[Span], begin: float, end: float) -> bool:
    return any(since <= end and begin <= until for since, until in spans)


def _covered(spans: list[Span], begin: float, end: float) -> float:
    """Seconds of a time that are in one of the spans or more."""
    rest = sum(until - since for since, until in _between(sorted(spans), begin, end))
    return end - begin - rest
