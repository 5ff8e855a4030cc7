"""The cache, live: rates by view, loads under way with their age, and how the store is.

Owns the terminal while it runs, and gives it back as it was. Asks again each interval; rates are of
what each process counted between two of its own reports, so they are right however late those come.
"""

import contextlib
import io
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from ..words import count, duration, size
from .remote import RemoteError
from .screen import Cell, Column, Screen, clean, cut
from .source import Source

RATED: Final = ("fresh_hits", "stale_hits", "misses", "passes", "loads", "load_failures")
GONE = 35.0  # seconds without a report after which a process no longer counts


class Sample:
    """What one process counted, as of ``at``."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        self.at: float = said["at"]
        self.stats: Mapping[str, Any] = said["stats"]
        self.views = {view: _rated(counts) for view, counts in said["views"].items()}


def _rated(counts: Mapping[str, Any]) -> dict[str, float]:
    fresh = counts.get("hits", 0) - counts.get("stale_hits", 0)
    return {**{name: counts.get(name, 0) for name in RATED}, "fresh_hits": fresh}


class Rates:
    """The last two reports of each process."""

    def __init__(self) -> None:
        self._reports: dict[object, list[Sample]] = {}

    def take(self, who: object, said: Mapping[str, Any]) -> None:
        """A report; one that is known already changes nothing."""
        sample = Sample(said)
        known = self._reports.setdefault(who, [])
        if not known or sample.at > known[-1].at:
            self._reports[who] = [*known[-1:], sample]

    def forget(self, now: float) -> None:
        """Those that were not heard of for long are gone."""
        for who, known in list(self._reports.items()):
            if now - known[-1].at > GONE:
                del self._reports[who]

    @property
    def latest(self) -> list[Sample]:
        """The last report of each."""
        return [known[-1] for known in self._reports.values()]

    @property
    def known(self) -> bool:
        """Were there two reports of any?"""
        return any(len(known) > 1 for known in self._reports.values())

    def by_view(self) -> dict[str, dict[str, float]]:
        """How many a second, summed over the processes; 0 where there is but one report."""
        sums: dict[str, dict[str, float]] = {}
        for known in self._reports.values():
            for view, counts in known[-1].views.items():
                rates = sums.setdefault(view, dict.fromkeys(RATED, 0.0))
                if len(known) < 2:
                    continue
                before, seconds = known[0].views.get(view, {}), known[1].at - known[0].at
                for name in RATED:
                    rates[name] += max(0.0, counts[name] - before.get(name, 0)) / seconds
        return sums


def _told(said: Mapping[str, Any], now: float) -> list[dict[str, Any]]:
    """The loads in progress in another process when it described itself, and how long ago."""
    process = f"{said.get('host', '')}:{said.get('pid', '')}"
    ago = max(0.0, now - said["at"])
    return [{**one, "process": process, "said": ago} for one in said.get("flights", ())]


class Top:
    """What is drawn. ``source`` is asked anew by each `look`."""

    def __init__(self, source: Source, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._rates = Rates()
        self._answered: float | None = None  # when it last was, by the clock
        self._missed = ""  # why not since then
        self.flights: Sequence[Mapping[str, Any]] = []
        self.now = 0.0

    def look(self) -> None:
        """Ask. An answer that is missed is one to wait for; only before the first one it raises."""
        try:
            self._look()
        except RemoteError as error:
            if self._answered is None:
                raise
            self._missed = str(error)
        else:
            self._answered, self._missed = self._clock(), ""

    @property
    def missed(self) -> str:
        """Since when there was no answer, and why; empty where there was one."""
        if not self._missed or self._answered is None:
            return ""
        return f"no answer since {duration(self._clock() - self._answered)}: {self._missed}"

    def _look(self) -> None:
        asked = self._source.asked
        stats = asked.stats()
        self.now = stats["at"]
        workers = asked.workers() if stats["fleet"] else []
        if stats["fleet"]:
            for said in workers:
                self._rates.take(said["worker"], said)
        else:
            worker = stats["worker"]
            self._rates.take((worker["host"], worker["pid"]), stats)
        self._rates.forget(self.now)
        mine = [] if self._source.kind == "store" else asked.flights()
        rows = [{**one, "process": "", "said": 0.0} for one in mine]
        rows += [row for said in workers if not said.get("here") for row in _told(said, self.now)]
        self.flights = sorted(rows, key=lambda one: -one["age"])

    def found(self) -> dict[str, Any]:
        """All of it as plain values; rates in events a second."""
        latest = self._rates.latest
        sums = {
            name: sum(sample.stats.get(name, 0) for sample in latest)
            for name in ("flights", "queued", "waiting", "entries", "bytes", "max_bytes")
        }
        reachable = [sample.stats.get("store_reachable") for sample in latest]
        store = None if not latest or reachable[0] is None else all(reachable)
        return {
            "at": self.now, "processes": len(latest), **sums, "store_reachable": store,
            "oldest_report": max((self.now - sample.at for sample in latest), default=0.0),
            "rates": self._rates.by_view() if self._rates.known else None,
            "views": sorted({view for sample in latest for view in sample.views}),
            "loads": [*self.flights],
        }  # fmt: skip

    def draw(self, screen: Screen, rows: int) -> None:
        """All of it for a terminal with so many rows."""
        found = self.found()
        width = screen.width or 80
        screen.wrapped(clean(self._headline(found)), bold=True)
        screen.line(cut(clean(_state_line(found)), width))
        if self.missed:
            screen.line(screen.styled(cut(clean(self.missed), width), "red"))
        screen.line()
        room = max(3, rows - 6 - bool(self.missed))
        loads = found["loads"][: max(3, room // 3)]
        rates = found["rates"] or {}
        views = sorted(found["views"], key=lambda view: (-sum(rates.get(view, {}).values()), view))
        room -= len(loads) + 2 if loads else 0
        columns = [
            Column("VIEW", gives=True, worth=9, tail=True), *(
                Column(title, True, worth=worth) for title, worth in (
                    ("HITS/s", 8), ("STALE/s", 7), ("MISSES/s", 6), ("PASSES/s", 3),
                    ("LOADS/s", 5), ("FAILED/s", 4),
                )
            ),
        ]  # fmt: skip
        screen.table(columns, [_rates_row(view, rates.get(view)) for view in views[: max(1, room)]])
        if loads:
            screen.line()
            elsewhere = any(one["process"] for one in loads)
            told = [Column("IN", worth=6), Column("AS OF", True, worth=7)] if elsewhere else []
            columns = [
                Column("LOADS UNDER WAY", gives=True, worth=9), Column("SINCE", True, worth=8),
                Column("WAIT", True, worth=5), Column("FOR", worth=4), *told,
            ]  # fmt: skip
            screen.table(columns, [
                [
                    one["url"], duration(one["age"]), count(one["waiters"]), one["cause"],
                    *([one["process"], _ago(one["said"])] if told else []),
                ]
                for one in loads
            ])  # fmt: skip

    def _headline(self, found: Mapping[str, Any]) -> str:
        count = found["processes"]
        who = "1 process" if count == 1 else f"{count} processes"
        if not count:
            who = "no server at work"
        at = time.strftime("%H:%M:%S", time.localtime(found["at"]))
        late = found["oldest_report"]
        age = f", reports up to {duration(late)} old" if late >= 2 else ""
        return f"aswr top  {at}  {self._source.name}: {who}{age}"

    def line(self) -> list[object]:
        """All of it as fields of one line."""
        found = self.found()
        rates = (found["rates"] or {}).values()
        sums = [sum(each[name] for each in rates) for name in RATED]
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(found["at"]))
        oldest = max((one["age"] for one in self.flights), default=0.0)
        store = {None: "", True: "answers", False: "silent"}[found["store_reachable"]]
        rated = (
            [f"{rate:.2f}" for rate in sums] if found["rates"] is not None else ["-"] * len(sums)
        )
        return [at, *rated, found["flights"], found["waiting"], f"{oldest:.1f}", store]


def _ago(seconds: float) -> str:
    return f"{duration(seconds)} ago" if seconds else "now"


def _state_line(found: Mapping[str, Any]) -> str:
    most = f" of {size(found['max_bytes'])}" if found["max_bytes"] else ""
    store = {None: "memory alone", True: "store answers", False: "STORE DOES NOT ANSWER"}
    return (
        f"{count(found['entries'])} entries, {size(found['bytes'])}{most}; "
        f"{count(found['flights'])} loads, {count(found['queued'])} queued, "
        f"{count(found['waiting'])} wait; {store[found['store_reachable']]}"
    )


def _rates_row(view: str, rates: Mapping[str, float] | None) -> list[object]:
    if rates is None:
        return [view, *["-"] * len(RATED)]
    row: list[object] = [view]
    for name in RATED:
        text = f"{rates[name]:.1f}" if rates[name] else "0"
        row.append(Cell(text, "red" if name == "load_failures" and rates[name] else ""))
    return row


def live(top: Top, screen: Screen, interval: float, count: int) -> None:
    """Draw until q or ctrl-C, or ``count`` times if it is not 0."""
    with _terminal(screen) as pressed, contextlib.suppress(KeyboardInterrupt):
        drawn = 0
        while True:
            top.look()
            page = _drawn(top, screen)
            screen.line(page, new_line=False)
            drawn += 1
            if (count and drawn >= count) or pressed(interval) in ("q", "Q", "\x03", "\x04"):
                return


def _drawn(top: Top, screen: Screen) -> str:
    """One page, from the upper left on, in one write, so that nothing flickers."""
    width, rows = shutil.get_terminal_size()
    text = io.StringIO()
    top.draw(Screen(text, terminal=True, width=width, colour=screen.colour), rows)
    lines = text.getvalue().splitlines()[: rows - 1]
    lines.append(screen.styled("q ends", "bright_black"))
    return "\x1b[H" + "\x1b[K\r\n".join(lines) + "\x1b[K\x1b[J"


@contextmanager
def _terminal(screen: Screen) -> Iterator[Callable[[float], str]]:
    """The terminal's other page, without cursor; gives how to wait for a key."""

    def ended(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, ended)
    try:
        with _keys() as pressed:
            screen.line("\x1b[?1049h\x1b[?25l\x1b[2J", new_line=False)
            try:
                yield pressed
            finally:
                screen.line("\x1b[?25h\x1b[?1049l", new_line=False)
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """How to wait for a key, which then is not shown; without a keyboard, just to wait."""

    def nobody(seconds: float) -> str:
        time.sleep(seconds)
        return ""

    try:
        import termios
        import tty
    except ImportError:  # not on this system
        yield nobody
        return
    if not sys.stdin.isatty():
        yield nobody
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)

    def pressed(seconds: float) -> str:
        ready, _, _ = select.select([keyboard], [], [], seconds)
        return os.read(keyboard, 64)[:1].decode(errors="replace") if ready else ""

    try:
        tty.setcbreak(keyboard)
        yield pressed
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def lines(
    top: Top, show: Callable[[Top], None], say: Callable[[str], None], interval: float, count: int
) -> None:
    """Without a terminal: one line each interval, until ctrl-C or ``count`` of them.

    Where an answer is missed there is no line, and what is wrong is said beside.
    """
    shown = 0
    with contextlib.suppress(KeyboardInterrupt):
        top.look()
        while True:
            time.sleep(interval)
            top.look()
            say(top.missed) if top.missed else show(top)
            shown += 1
            if count and shown >= count:
                return
