"""What the processes of a fleet tell each other: purges, news, and signs of life.

Owns the place in the fleet's log of purges, its epoch, the offset to the server's clock, purges
that could not be told, and the two tasks that keep them right. Loop only; knows keys and purges, no
entries.

Purges are *pulled*: every ``interval`` each process asks for what was purged since its place in the
log, so that a message that is lost loses no purge; being told, by pub/sub, is only faster. Purges
merge by their numbers, so any process may tell any of them again, at any time: they do so when a
new epoch begins, in which the store does not know them.

What was *stored* elsewhere is told by pub/sub alone. Where messages may have been lost, what is in
memory is distrusted: it is served as stale until it is compared with the store, when it is used.
"""

import asyncio
import contextlib
import contextvars
import logging
import math
import random
import uuid
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, get_args

import msgspec

from .breaker import Breaker
from .events import Purger
from .here import process
from .link import MOST_COMMANDS, Link, Refused, Unreachable
from .packed import names_in, purge_of, unpack
from .runtime import Runtime
from .scripts import DESCRIBE, NUMBER, PURGE, STATUSES, SYNC, WORKERS, Script
from .stamps import MICRO, MOST, Purge, Stamps
from .tier import Ending, Listener

log = logging.getLogger("aswr.fleet")

HEARTBEAT = 0.8  # seconds between signs of life of the subscription; two of them missing is a gap
LIFE = 3.0  # seconds after which a worker says that it is there
DEAF_AFTER = 3  # failures in a row
DESCRIBED = 10.0  # seconds after which it says how it is
GONE_AFTER = 10  # seconds after which a worker that gave no sign of life is no longer listed
SKEW = 1.0  # seconds that clocks may run apart while they cannot be compared
LARGEST_DESCRIBED = 2**16  # bytes in which it does so
MOST_ASKED = 100  # workers whose descriptions are asked for at a time
LEAST_WANTED = ("jobs", "views", "stats")  # what it leaves out where that is too little, in turn
MOST_UNTOLD = 3 * MOST
MOST_AT_ONCE = 500  # names of one purge that Redis marks without a break: five milliseconds
PAGE = 1000  # names of purges that are read at a time
_DIGITS = 20  # of the number that ends every message


class Backplane:
    """One process's part in the talk of a fleet. ``prefix`` is that of its keys.

    Without ``describe`` it does not count as one of the workers: it only looks on.
    """

    def __init__(
        self,
        link: Link,
        breaker: Breaker,
        stamps: Stamps,
        clock: Callable[[], float],
        prefix: str,
        interval: float,
        listener: Listener,
        untold: dict[bytes, int],
        describe: Callable[[], dict[str, Any]] | None = dict,
    ) -> None:
        self._link = link
        self._breaker = breaker
        self._extra = {"aswr_store": breaker.name}  # of lines of the log
        self._stamps = stamps
        self._clock = clock
        self._interval = interval
        self._listener = listener
        self.worker = f"{process()}:{uuid.uuid4().hex[:8]}"
        self.channel = f"{prefix}news"
        self._control = (f"{prefix}numbers", f"{prefix}log")
        self._workers = f"{prefix}workers"
        self._statuses = f"{prefix}status:"
        self._describe = describe
        self._described_at = -DESCRIBED
        self._nondescript = False
        self.epoch = 0
        self.workers = 0  # how many there are
        self.messages = 0  # heard, for the counters
        self._deaf = 0  # times in a row that no news could be heard
        self._said_at = -LIFE  # that this one is there
        self._took = math.inf  # seconds, of the answer that the offset is from
        self._doubted = True  # may the server be another one, or another's copy?
        self._syncing = asyncio.Lock()
        self.told = 0  # the last number that the store has told
        self.caught_up = False  # is every purge known that was made before this process came?
        self._place = 0
        self._run = ""  # of the server: another one may not know what this one knew
        self._whole: dict[bytes, int] | None = None  # of a log that is read from its beginning
        self._untold = untold  # with the numbers that they are to have
        self._hearing = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, runtime: Runtime, recovered: Callable[[], Any]) -> None:
        """Start beating and listening; ``recovered()`` is called after an outage."""
        for work, name in (self._beat(recovered), "beat"), (self._listen(), "news"):
            task = runtime.task(work, f"aswr {name}", contextvars.Context())
            self._tasks.add(task)

    async def ready(self, limit: float) -> None:
        """Wait until this process is up to date and hears what is told, if that is soon."""
        with contextlib.suppress(Unreachable, Refused, TimeoutError):
            async with asyncio.timeout(limit):
                await self.sync()
                await self._hearing.wait()

    async def close(self) -> None:
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)

    # Numbers and purges.

    async def count(self, script: Script, *args: Any, probe: bool = False) -> tuple[int, int, Any]:
        """Run a script that counts, and note what it says of numbers and time.

        Returns the last number, the epoch, and what is the script's own in the reply. Raises
        `Unreachable` or `Refused`.
        """
        keys = (*self._control, self._workers) if script is SYNC else self._control
        began = self._clock()
        words = (
            self._stamps.last,
            self.told,
            *([] if script is NUMBER else [self._stamps.horizon]),
            *args,
        )
        reply = await self._link.run(script, keys, *words, parse=_counted, probe=probe)
        number, now, epoch, rest = reply
        self._measure(began, self._clock(), now)
        self.told = max(self.told, number)
        self._stamps.observe(self.told)
        most = max(now + int(SKEW * MICRO), self.told)  # the next number is greater
        if self._stamps.clamp(most):
            self._listener.clamped(most)
        return number, epoch, rest

    def _measure(self, began: float, ended: float, now: int) -> None:
        """How far the server's clock is from ours, to within half of what asking took.

        Of late answers only what cannot be their lateness counts.
        """
        took = max(0.0, ended - began)
        offset = now - int((began + ended) / 2 * MICRO)
        if self._took == math.inf:  # what was made before that is not told with too low a number
            for name in self._untold:
                self._untold[name] += max(0, offset - self._stamps.offset)
        unlike = abs(offset - self._stamps.offset) > took * MICRO
        if took <= self._took or unlike:
            self._stamps.offset, self._took = offset, max(took, 0.0005)
        else:
            self._took *= 1.5  # clocks drift: in a while it counts

    async def sync(self, probe: bool = False) -> None:
        """Take in what was purged elsewhere, tell what is still untold.

        Raises `Unreachable` or `Refused`.
        """
        async with self._syncing:
            await self._sync(probe)

    async def _sync(self, probe: bool) -> None:
        more = True
        while more:
            more = await self._read_on(probe)
        if self._whole is not None:
            self._owe_what_is_missing(self._whole)
            self._whole = None
        while batch := list(islice(self._untold.items(), MOST_COMMANDS)):
            await asyncio.gather(*(self._tell([name], number, probe) for name, number in batch))
            for name, number in batch:
                if self._untold.get(name) == number:
                    del self._untold[name]
        self.caught_up = True

    async def _read_on(self, probe: bool) -> bool:
        """Read a page of the log, from the place that was reached on; is there more?"""
        now = asyncio.get_running_loop().time()
        lives = self._describe is not None and (probe or now - self._said_at > LIFE)
        run = (self._run or "?") if self._doubted else ""
        _, epoch, found = await self.count(
            SYNC, self._place, self.worker if lives else "", GONE_AFTER * MICRO, run, PAGE,
            probe=probe,
        )  # fmt: skip
        workers, run_now, more, since, place, *names = found
        self.workers = int(workers)
        if lives:
            self._said_at = now
        if epoch != self.epoch:
            if self.epoch:
                log.info(
                    "the shared store begins anew, and is told what was purged", extra=self._extra
                )
            self.epoch, self._whole = epoch, {}
            if int(since):
                self._place = 0
                return True
        if self._doubted:
            self._doubted, self._run = False, run_now.decode()
            if not int(since):
                self._whole = {}
        self._place = int(float(place))
        page = dict(zip(names[::2], map(int, names[1::2]), strict=True))
        if self._whole is not None:
            self._whole.update(page)
        for name, number in page.items():
            self._take(name, number)
        return bool(int(more))

    def _owe_what_is_missing(self, there: dict[bytes, int]) -> None:
        """The store may have come back without its last writes: tell it again what it lacks."""
        for purge, number in self._stamps.all():
            (name,) = names_in(purge)
            if max(there.get(name, 0), there.get(name[:1] + b"*", 0)) < number:
                self._untold[name] = max(number, self._untold.get(name, 0))

    def _take(self, name: bytes, number: int, why: Purger = "elsewhere", process: str = "") -> None:
        try:
            purge = purge_of(name)._replace(why=why)
        except ValueError:
            return
        if self._stamps.learn(purge, number):
            self._listener.purged_elsewhere(purge, number, process)

    async def purge(self, purge: Purge, number: int) -> bool:
        """Tell the fleet; where that fails, later. Whether the store has it."""
        names = names_in(purge)
        if len(names) > MOST:  # more than are remembered one by one
            names = names_in(Purge(everything=True, soft=purge.soft))
        # Who tells what was purged before need not be who did that: then it is not said who.
        try:
            for first in range(0, len(names), MOST_AT_ONCE):
                await self._tell(names[first : first + MOST_AT_ONCE], 0, why=purge.why)
        except (Unreachable, Refused):
            owe(self._untold, purge, number)
            return False
        return True

    async def _tell(
        self, names: list[bytes], number: int, probe: bool = False, why: Purger = "elsewhere"
    ) -> None:
        if names:
            message = self.message("purged", names, why)
            args = (number, self.channel, message, MOST, *names)
            _, _, (made,) = await self.count(PURGE, *args, probe=probe)
            for name in names:
                self._stamps.purge(purge_of(name), int(made))

    # News.

    def message(self, kind: str, *parts: Any, number: int | None = None) -> bytes:
        """A message to the others; without a number, a script adds it."""
        end = b"" if number is None else f"{number:0{_DIGITS}d}".encode()
        return msgspec.msgpack.encode([self.worker, kind, *parts]) + end

    def _heard(self, message: bytes) -> None:
        try:
            sender, kind, *parts = msgspec.msgpack.decode(message[:-_DIGITS])
            if sender == self.worker:
                return
            self.messages += 1
            number = int(message[-_DIGITS:])
            if kind == "stored":
                self._listener.stored_elsewhere(unpack(parts[0]), number)
            elif kind == "ended":
                ending, seconds = Ending(parts[1]), float(parts[2])
                self._listener.ended_elsewhere(unpack(parts[0]), ending, seconds)
            elif kind == "read":
                self._listener.read_elsewhere(unpack(parts[0]), *reads_in(parts[1]))
            elif kind == "purged":
                names, why = parts
                known = why in get_args(Purger) and why != "elsewhere"
                process = str(sender).rpartition(":")[0] if known else ""
                for name in names:
                    self._take(name, number, why if known else "elsewhere", process)
        except (msgspec.MsgspecError, ValueError, TypeError, IndexError):
            log.debug("a message that is none of ours on %s", self.channel, extra=self._extra)

    # The two tasks.

    async def _beat(self, recovered: Callable[[], Any]) -> None:
        while True:
            broken = not self._breaker.closed
            if broken:
                await self._link.renew()
            pause = self._breaker.pause() if broken else self._interval
            await asyncio.sleep(pause * random.uniform(0.8, 1.0))
            try:
                self._doubted = self._doubted or broken
                await self.sync(probe=broken)
                if broken:
                    self._stamps.distrust()
                    self._stamps.close_down(False)
                    self._breaker.mend()
                    recovered()
                await self._say_how_it_is()
            except Unreachable:
                pass
            except Exception as error:  # it must beat on: a clock, say, or a key of another type
                self._breaker.trip(error)

    async def _say_how_it_is(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._describe is None or now - self._described_at < DESCRIBED:
            return
        self._described_at = now
        words = (self._description(self._describe), int(3000 * DESCRIBED))
        with contextlib.suppress(Refused):
            await self._link.run(DESCRIBE, (self._statuses + self.worker,), *words, parse=int)

    def _description(self, describe: Callable[[], dict[str, Any]]) -> bytes:
        """How this process is; of what is too much, or cannot be told, that it is there."""
        mine: dict[str, Any] = {"worker": self.worker}
        try:
            said = {**describe(), **mine}
            for part in ("", *LEAST_WANTED):
                said.pop(part, None)
                if len(data := _told(said)) <= LARGEST_DESCRIBED:
                    return data
        except Exception as error:
            if not self._nondescript:
                self._nondescript = True
                log.exception(
                    "this process cannot be described to the others (%r)", error, extra=self._extra
                )
        return msgspec.msgpack.encode(mine)

    async def described(self) -> list[dict[str, Any]]:
        """How each worker of the fleet described itself; ``here`` says whether it is this one.

        Raises `Unreachable` or `Refused`.
        """
        self._described_at = -DESCRIBED
        await self._say_how_it_is()
        listed = await self._link.run(WORKERS, (self._workers,), parse=_texts, aside=True)
        names = [self._statuses + worker for worker in listed]
        said: list[Any] = []
        for first in range(0, len(names), MOST_ASKED):
            batch = tuple(names[first : first + MOST_ASKED])
            said += await self._link.run(STATUSES, batch, parse=list, aside=True)
        found = []
        for text in filter(None, said):
            with contextlib.suppress(msgspec.MsgspecError, TypeError, ValueError, RecursionError):
                one = msgspec.msgpack.decode(text, type=dict[str, Any])
                found.append({**one, "here": one.get("worker") == self.worker})
        return found

    async def _listen(self) -> None:
        while True:
            if self._breaker.closed:
                try:
                    async for message in self._link.listen(self.channel, HEARTBEAT, self._begun):
                        self._heard(message)
                except Exception as error:
                    self._say_deaf(error)
                self._hearing.clear()
            await asyncio.sleep(random.uniform(0.1, 0.3))

    def _say_deaf(self, error: Exception) -> None:
        """It is said once that no news can be heard, where the store answers all the same."""
        self._deaf += 1
        if self._deaf == DEAF_AFTER and self._breaker.closed:
            log.warning(
                "no news of other processes can be heard (%s); purges are asked for every %.2g s, "
                "renewed entries come when those here are stale", type(error).__name__,
                self._interval, extra=self._extra,
            )  # fmt: skip

    def _begun(self) -> None:
        self._deaf = 0
        if self._breaker.closed:  # else there is nothing to compare with, and `_beat` sees to it
            self._stamps.distrust()  # of what was stored before, nobody may have told us
            self._doubted = True
        self._hearing.set()


def owe(untold: dict[bytes, int], purge: Purge, number: int) -> None:
    """A purge made here could not be told: it is to be, with a number that no clock undercuts."""
    for name in names_in(purge):
        untold[name] = max(number + int(SKEW * MICRO), untold.get(name, 0))
    while len(untold) > MOST_UNTOLD:
        del untold[next(iter(untold))]


def reads_in(data: bytes) -> tuple[tuple[str, ...], str]:
    """What a load has read, and why everybody passes, of `Fleet.tell_read`; raises `ValueError`."""
    names, passing = msgspec.msgpack.decode(data, type=tuple[tuple[str, ...], str])
    return names, passing


def _texts(reply: Any) -> list[str]:
    return [name.decode(errors="replace") for name in reply]


def _told(said: dict[str, Any]) -> bytes:
    """A description in bytes; what was made of bytes that are no text is written as what it is."""
    try:
        return msgspec.msgpack.encode(said)
    except UnicodeEncodeError:
        return msgspec.msgpack.encode(_readable(said))


def _readable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_readable(key): _readable(each) for key, each in value.items()}
    return list(map(_readable, value)) if isinstance(value, list | tuple) else value


def _counted(reply: Any) -> tuple[int, int, int, list[bytes]]:
    number, now, epoch, *rest = reply
    if not all(isinstance(part, bytes) for part in rest):
        raise TypeError(f"no bytes in {rest!r:.100}")
    return int(number), int(now), int(epoch), rest
