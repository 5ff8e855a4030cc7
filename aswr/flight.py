"""The values that the engine deals in: loads, flights, waiters and what they get.

A *load* says how to produce the value of a key. A *flight* is the one load in progress of a key.
A *waiter* is a caller at the end of a flight; what he gets is a *result*. Only the engine changes a
flight or a waiter, on the loop; `Flight.attended` and `Flight.release` may be used anywhere.
"""

import asyncio
import contextlib
import contextvars
import copy
from collections.abc import Callable, Coroutine, Hashable, Iterable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from typing import Any, Literal

from werkzeug.datastructures import Headers
from werkzeug.wrappers import Response

from .codec import Entry
from .errors import LoadCycle, LoadError, LoadTimeout
from .events import MISS, Cause
from .keys import base_of
from .policy import Deadlines, Times
from .runtime import Runtime, without_stop_iteration
from .tier import Ending, Lease

# The flight whose code is running here; set in a load's own context, inherited by nobody else.
current_flight: "contextvars.ContextVar[Flight | None]" = contextvars.ContextVar(
    "aswr.flight", default=None
)


# What the wish for a load came to: this process loads, another one saw to it, or there was no need.
Came = Literal["here", "elsewhere", "needless"]


class Fate(Enum):
    """What becomes of what a load brought."""

    STORE = "store"
    DROP = "drop"  # every waiter gets it; not stored, and what was stored is outdated
    KEEP = "keep"  # every waiter gets it; not stored, and what was stored stays
    ONE = "one"  # may not be given to a second person: one waiter gets it, the URL passes
    PASS = "pass"  # nobody gets it, the URL passes
    FAILED = "failed"  # an exception, or an answer that tells of a failure: every waiter gets it


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load brought.

    ``size`` in bytes; ``ends``: None leaves the deadlines to the decorator; ``stored``: when it was
    new, None is now; ``names``: the inputs that it read.
    """

    value: Any
    fate: Fate = Fate.STORE
    size: int = 0
    tags: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    ends: Deadlines | None = None
    stored: float | None = None
    strict: bool = False
    detail: str = ""
    alone: bool = False  # may not be given to a second person
    failed: bool = False  # of a PASS: it raised, too
    status: int = 0  # the view's own, where the answer has another: it renewed a stored one


@dataclass(frozen=True, slots=True)
class Load:
    """How to produce the value of a key.

    ``run`` gets the flight and returns a `Loaded`; what it raises is a failed load. ``sync``: it
    is a plain function that holds an executor thread to its end; else a coroutine function.
    ``under`` gives the key under which the URL lies for this caller once it is known to read these
    inputs, and why the caller himself must pass ("": he need not); None where nothing is read.
    ``cause`` says who asked for it.
    """

    key: Hashable
    name: str
    times: Times
    run: Callable[["Flight"], Any]
    sync: bool
    under: Callable[[tuple[str, ...]], tuple[Hashable, str]] | None = None
    shared: bool = True
    newer_than: int = 0  # only what was loaded after this number will do: a refresh was due then
    cause: Cause = MISS
    on_came: Callable[[Came], None] | None = None  # told, on the loop, what the wish came to

    def came(self, what: Came) -> None:
        """Tell who asked for it, if he wants to know. On the loop."""
        if self.on_came is not None:
            self.on_came(what)

    def due_since(self, number: int) -> "Load":
        """The same, for a refresh that was due then: what was loaded later makes it needless."""
        return replace(self, newer_than=number)

    @property
    def base(self) -> Hashable:
        """The key of the URL itself."""
        return base_of(self.key)

    def seen_by(self, names: tuple[str, ...]) -> tuple[Hashable, str]:
        """Key, and why to pass, where these inputs are known to be read."""
        return (self.base, "") if self.under is None or not names else self.under(names)


class How(Enum):
    """How a waiter came by his result."""

    HIT = "hit"  # somebody stored it meanwhile
    STORED = "stored"
    COLLAPSED = "collapsed"  # stored, and another waiter of the flight counts as its cause
    ANSWERED = "answered"  # not stored
    FAILED = "failed"
    PASS = "pass"
    INLINE = "inline"  # run the load yourself: you are on a compute thread


@dataclass(frozen=True, slots=True)
class Result:
    """What a waiter gets: an entry, or a value that was not stored, or word that he must pass."""

    how: How
    entry: Entry | None = None
    value: Any = None
    detail: str = ""
    status: int = 0  # as in `Loaded`
    flight: "Flight | None" = None
    first: bool = False  # of a failure: the one among its waiters who tells the monitors


@dataclass(frozen=True, slots=True)
class Word:
    """What is told of a load in another process: it was stored, or how it ended."""

    ending: Ending | None = None
    seconds: float = 0.0
    number: int = 0  # of what was stored


@dataclass(slots=True, eq=False)
class Waiter:
    """A caller at the end of a flight."""

    load: Load
    future: "Future[Result]" = field(default_factory=Future)
    parent: "Flight | None" = None  # the flight whose code he is
    force: bool = False
    inline: bool = False
    after_inline: "Future[Result] | None" = None
    late: bool = False  # he took his seat after a purge that the flight began before
    flight: "Flight | None" = None  # where he sits
    gone: bool = False  # he has left `Engine.wait`, with a result or without

    def resolve(self, result: Result) -> None:
        """Give him his result, once; nothing where he has left."""
        with contextlib.suppress(InvalidStateError):
            (self.after_inline or self.future).set_result(result)

    def run_inline(self, flight: "Flight") -> bool:
        """Tell him to run the load himself, if he may; his result comes by ``after_inline``.

        False where he may not, or has left: then nobody runs it.
        """
        if self.gone or not self.inline:
            return False
        self.after_inline = Future()
        try:
            self.future.set_result(Result(How.INLINE, flight=flight))
        except InvalidStateError:
            return False
        return True


@dataclass(slots=True, eq=False)
class Flight:
    """The load in progress of one key."""

    load: Load
    key: Hashable  # changes when the URL is seen to read more
    born: int
    began: float
    draw: float  # in [0, 1): the random share of jitter
    clock: Callable[[], float]
    runtime: Runtime
    on_read: Callable[["Flight"], None]
    inline: "Future[Loaded] | None" = None  # ended by the waiter who runs the load
    inline_end: "asyncio.Future[Loaded] | None" = None  # the same, as the loop sees it
    work: "Future[Loaded] | None" = None  # of a sync load, once the executor has it
    waiters: list[Waiter] = field(default_factory=list)
    waits_for: list["Flight"] = field(default_factory=list)
    task: "asyncio.Task[None] | None" = None  # its own, to the end
    running: "asyncio.Task[Any] | None" = None  # the user's coroutine
    timer: asyncio.TimerHandle | None = None
    started: float | None = None  # when its load began, in the loop's time
    ended: bool = False  # that was told
    expired: bool = False
    failed: bool = False  # that was a failure; not where everybody has passed by then
    names: tuple[str, ...] = ()  # inputs that its render has read so far
    heard: int = 0  # so many of them the loop has told the waiters
    passing: str = ""  # why everybody passes
    on_pass: Callable[[str], None] | None = None  # told when everybody passes
    enter: Callable[[object], None] | None = None  # called in each context of user code, with this
    body: Any = None  # of a public view's render: the view, and what its wrapper is to run
    lease: Lease | None = None  # it loads for the whole fleet
    trial: bool = False  # to show what it would come to: nothing is to follow of it
    outer: "Flight | None" = None  # of a trial: the one whose code asked for it
    tried: dict[Hashable, Loaded] = field(default_factory=dict)  # what such loads brought
    follows: "asyncio.Future[Word] | None" = None  # another process loads: what is told of that

    def __repr__(self) -> str:
        return f"<Flight {self.load.name} born={self.born} waiters={len(self.waiters)}>"

    @property
    def attended(self) -> bool:
        """Does anybody wait for it, as somebody does for a trial? Any thread, as of now."""
        return bool(self.waiters) or self.trial

    def context(self) -> contextvars.Context:
        """A new context for user code: empty, but for whose flight it is, and a tracer's span."""
        context = contextvars.Context()
        context.run(current_flight.set, self)
        if self.enter is not None:
            context.run(self.enter, self)
        return context

    async def run(self, coroutine: Coroutine[Any, Any, Any], context: contextvars.Context) -> Any:
        """Run the user's coroutine as a task of its own, which a load timeout can cancel.

        Who cancels the caller, as the drain does, cancels that task, and waits as long as it does.
        """
        task = self.running = self.runtime.task(coroutine, f"aswr {self.load.name}", context)
        if self.expired:  # before it began
            task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is None or caller.cancelling():
                raise
        finally:
            self.running = None  # by its context it knows the flight: a cycle
        if self.expired:
            raise self.timeout_error()
        raise LoadError(f"{self.load.name} cancelled itself")

    def run_inline(self) -> None:
        """Run the load on the calling thread, a waiter's."""
        assert self.inline is not None
        try:
            loaded = without_stop_iteration(partial(self.load.run, self))
        except BaseException as error:
            self.inline.set_exception(error)
        else:
            self.inline.set_result(loaded)

    def forsaken_by(self, parent: "Flight") -> None:
        """``parent``'s load is over: where it ran this one inline, and not to its end, end it.

        So it is with a stack that is full: not even the error gets out by ``inline``.
        """
        left = any(w.inline and w.gone and w.parent is parent for w in self.waiters)
        if left and self.inline_end is not None and not self.inline_end.done():
            error = LoadError(f"{parent.load.name} did not run {self.load.name} to its end")
            self.inline_end.set_exception(error)

    def release(self, detail: str) -> None:
        """Tell the waiters, now, that they must pass; any thread."""
        if not self.passing:
            self.passing = detail
            if self.on_pass is not None:
                self.on_pass(detail)
            self.runtime.post(self.on_read, self)

    def note_read(self, name: str, bars: bool = True) -> None:
        """Its render reads an input: who cannot share that is told so now; any thread.

        ``bars``: there may be somebody who cannot.
        """
        self.names = (*self.names, name)
        if bars:
            self.runtime.post(self.on_read, self)

    def tell(self, word: Word) -> None:
        """Another process's load, which it follows, has ended. On the loop."""
        if self.follows is not None and not self.follows.done():
            self.follows.set_result(word)

    def refuses(self, load: Load) -> str:
        """Why who brings this load must pass, by what was read so far; empty if he need not."""
        return self.passing or load.seen_by(self.names)[1]

    def release_in(self, seconds: float, detail: str) -> Callable[[], None]:
        """`release` after so many seconds, unless what is returned is called first; any thread."""
        handles: list[asyncio.TimerHandle] = []

        def arm() -> None:
            handles.append(self.runtime.loop.call_later(seconds, self.release, detail))

        def disarm() -> None:
            for handle in handles:
                handle.cancel()

        def calm() -> None:
            self.runtime.post(disarm)

        self.runtime.post(arm)
        return calm

    def timeout_error(self) -> LoadTimeout:
        """The error of those who waited for a load that outlasted its limit."""
        limit = self.load.times.load_timeout
        error = LoadTimeout(f"The answer took longer than {limit:g} s to compute.")
        error.add_note(f"The load: {self.load.name}")
        return error

    def part(self, waiters: Iterable[Waiter]) -> None:
        """These wait no more: the flights whose code they are do not either."""
        for waiter in waiters:
            if waiter.parent is not None and self in waiter.parent.waits_for:
                waiter.parent.waits_for.remove(self)

    def dismiss(self) -> list[Waiter]:
        """All who wait, for the caller to answer; nobody waits afterwards."""
        waiters, self.waiters = self.waiters, []
        self.part(waiters)
        return waiters

    def refuse_cycle(self, waiter: Waiter) -> None:
        """Raise `LoadCycle` where this flight waits, at the end, for the waiter's own."""
        if waiter.parent is None:
            return
        path = _path(self, waiter.parent, set())
        if path:
            names = " -> ".join(flight.load.name for flight in [waiter.parent, *path])
            raise LoadCycle(_CYCLE.format(names))

    def trial_of(self, load: Load) -> "Flight":
        """A trial of a load that the code of this one, a trial itself, asks for.

        Raises `LoadCycle` where it is tried already, further out.
        """
        outer: Flight | None = self
        names = [load.name]
        while outer is not None:
            names.insert(0, outer.load.name)
            if outer.key == load.key:
                raise LoadCycle(_CYCLE.format(" -> ".join(names)))
            outer = outer.outer
        return Flight(
            load, load.key, self.born, self.clock(), 0.0, self.clock, self.runtime, self.on_read,
            trial=True, outer=self, tried=self.tried,
        )  # fmt: skip


_CYCLE = (
    "these loads would wait for each other for ever: {}. "
    "Break the cycle: let one of them call the undecorated function."
)


def trial_here() -> Flight | None:
    """The trial whose code is running here, if it is one's."""
    flight = current_flight.get()
    return flight if flight is not None and flight.trial else None


def _path(start: Flight, goal: Flight, seen: set[int]) -> list[Flight]:
    """The flights from ``start`` to ``goal`` along who waits for whom; empty if there is no way."""
    if start is goal:
        return [start]
    seen.add(id(start))
    for flight in start.waits_for:
        if id(flight) not in seen and (rest := _path(flight, goal, seen)):
            return [start, *rest]
    return []


def result_for(loaded: Loaded, entry: Entry, stored: bool, first: bool) -> Result:
    """What a waiter gets of what the load brought; ``first`` counts as the cause of it."""
    fate = loaded.fate
    alone = loaded.alone or fate is Fate.ONE
    if fate is Fate.PASS or (alone and not first):
        return Result(How.PASS, detail=loaded.detail or "answers one request alone")
    if fate is Fate.FAILED:
        value = loaded.value if first else copy_of(loaded.value)
        if value is None:
            return Result(How.PASS, detail="its error is one caller's own")
        return Result(How.FAILED, value=value, first=first)
    if fate is Fate.STORE:
        how = How.ANSWERED if not stored else How.STORED if first else How.COLLAPSED
        return Result(how, entry, value=loaded.value, status=loaded.status)
    return Result(How.ANSWERED, value=loaded.value, detail=loaded.detail, status=loaded.status)


def copy_of(value: Any) -> Any:
    """An exception of his own for each waiter, since raising one changes it; else the value.

    So with a response that it carries: cookies are written to it. One that cannot be copied
    faithfully is shared, and None where it carries a response.
    """
    if not isinstance(value, BaseException):
        return value
    responses = {k: v for k, v in vars(value).items() if isinstance(v, Response)}
    shared = None if responses else value
    try:
        twin = copy.copy(value)
        if type(twin) is not type(value) or twin.args != value.args:
            return shared
    except Exception:
        return shared
    for name, response in responses.items():
        own = vars(twin)[name] = copy.copy(response)
        own.headers = Headers(response.headers)
    if notes := getattr(value, "__notes__", None):
        twin.__notes__ = list(notes)
    twin.__cause__, twin.__context__ = value.__cause__, value.__context__
    twin.__suppress_context__ = value.__suppress_context__
    return twin.with_traceback(value.__traceback__)
