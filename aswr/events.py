"""What happens in a cache, told to whoever listens: one frozen value per thing that happened.

Owns who listens to one app's cache. Any thread tells, any thread may listen: a hook is called where
the thing happens, on a caller's thread or on aswr's loop, in nobody's context that it could rely
on; it must be quick, must not wait, and what it raises is logged once and goes no further. What it
reads of a request is no read of the render that it is called in. Nobody listening costs a look into
a set.

Imports nothing of aswr; must not know what listens.
"""

import asyncio
import inspect
import logging
import os
import threading
import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from blinker import Signal

log = logging.getLogger("aswr.events")

MOST_BROKEN = 1000  # hooks of which the log is told

Kind = Literal[
    "hit",  # answered from memory, fresh; `seconds` is its age
    "stale",  # answered from memory, stale, `seconds` old; `reason`: "revalidating", "held-back",
    # or what it stands in for: "stale-if-error", "soft-timeout"
    "miss",  # nothing usable was stored: the caller has waited for a load, `seconds` long, whatever
    # came of it
    "pass",  # the view was run in the caller's own request; `reason` says why
    "load_started",  # `cause` says who asked for it
    "load_finished",  # `seconds` it took; `reason` is what became of it, "store" if it was stored
    "load_failed",  # `seconds` it took, `reason` is the error; where its time was up, at that time
    "published",  # an entry was stored in this process; `seconds` is its load's time, and `reason`
    # says by which it was loaded, if by another one, or that its load's time was up before
    "evicted",  # an entry had to make room
    "purged",  # `reason` is what was purged: a path, "tag NAME", "everything"; soft ones say so;
    # `cause` says who did that
    "breaker",  # the shared store fails, or answers again; `reason` says which
    "lease",  # this process loads for the fleet ("held"), or does no longer ("released", "lost")
    "learned",  # a URL is seen to read more; `reason` names the inputs
    "job",  # a periodic refresh was due; `reason` says what came of it
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

Because = Literal["miss", "stale", "refresh", "job", "warm"]  # of loads
Purger = Literal["code", "unsafe", "desk", "elsewhere"]  # who purged


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a load began: ``what``, and ``origin``, what a tracer knows of the request it began for.

    "miss": somebody waits; "stale": somebody was given an old answer; "refresh", "job", "warm": a
    verb, a periodic refresh, a warm-up. Or who purged: "code": the app's own, by a verb; "unsafe":
    a request by POST and the like (RFC 9111 section 4.4); "desk": the admin page, its API or the
    command line. ``process`` is which one did that, ``web1:4711``, where it was another; of what
    the shared store's log alone tells it is not known, and ``what`` is "elsewhere".
    """

    what: Because | Purger
    origin: Any = None
    process: str = ""


MISS: Final = Cause("miss")


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, at ``at`` (seconds since the epoch, by the cache's clock).

    ``view`` names the view or memoized function, ``key`` is the key of the entry, of a pass that of
    the URL or call, None where no single one is meant; ``seconds`` and ``reason`` mean what `Kind`
    says; ``cause`` is there for loads and purges; ``token`` is the same object for all events of
    one load, and of a purge what it names; ``error`` is what a failed load raised, which holds its
    frames: not to be kept.
    """

    kind: Kind
    app: str
    at: float
    view: str = ""
    key: Hashable = None
    seconds: float | None = None
    reason: str = ""
    cause: Cause | None = None
    token: object = None
    error: BaseException | None = None


Hook = Callable[[Event], None]


class Events:
    """Who listens to the cache of one app; ``sender()`` is the app, for signals."""

    def __init__(self, app: str, clock: Callable[[], float], sender: Callable[[], Any]) -> None:
        self._app = app
        self._clock = clock
        self._sender = sender
        self._hooks: tuple[tuple[Hook, frozenset[Kind]], ...] = ()  # replaced, never changed
        self._broken: set[tuple[int, int]] = set()
        # Called on the thread of who asks for a load: what a tracer wants to know of his request.
        self.origin: Callable[[], Any] | None = None
        # Called with a load's ``token`` in each new context that its code is to run in: there a
        # tracer's span becomes the current one.
        self.enter: Callable[[object], None] | None = None
        self.wanted: frozenset[str] = frozenset()  # kinds that somebody listens to
        with _lock:
            _all.add(self)
        self.look_again()

    def subscribe(self, hook: Hook, *kinds: Kind) -> Callable[[], None]:
        """Call ``hook`` with each event of these kinds, or of all; what is returned ends it.

        Raises as `check_hook`.
        """
        check_hook(hook, kinds)
        listens = (hook, frozenset(kinds or KINDS))
        with _lock:
            self._hooks = (*self._hooks, listens)
        self.look_again()

        def end() -> None:
            with _lock:
                self._hooks = tuple(each for each in self._hooks if each is not listens)
            self.look_again()

        return end

    def look_again(self) -> None:
        """Find out which kinds anybody listens to."""
        with _lock:
            of_signals = (kind for kind in KINDS if self._receivers(kind))
            self.wanted = frozenset().union(*(kinds for _, kinds in self._hooks), of_signals)

    def _tidy(self) -> None:
        """A receiver that was held weakly is gone: look again, unless one would have to wait."""
        lock = _lock
        if lock.acquire(blocking=False):
            try:
                self.look_again()
            finally:
                lock.release()

    def _receivers(self, kind: Kind) -> list[Callable[..., Any]]:
        """Who listens by signal to this app."""
        signal = SIGNALS[kind]
        app = self._sender() if signal.receivers else None
        return [] if app is None else list(signal.receivers_for(app))

    def tell(self, kind: Kind, view: str = "", key: Hashable = None, **more: Any) -> None:
        """Tell of something; whoever tells often looks first whether the kind is `wanted`."""
        if kind not in self.wanted:
            return
        hooks = [hook for hook, kinds in self._hooks if kind in kinds]
        receivers = self._receivers(kind)
        if not hooks and not receivers:
            self._tidy()
            return
        event = Event(kind, self._app, self._clock(), view, key, **more)
        for hook in hooks:
            self._call(hook, event)
        if receivers and not SIGNALS[kind].is_muted and (app := self._sender()) is not None:
            for receiver in receivers:  # each for itself: one that fails must not hide the others
                self._call(receiver, event, app)

    def _call(self, hook: Callable[..., Any], event: Event, app: Any = None) -> None:
        outer, _here.telling = telling(), True
        try:
            hook(event) if app is None else hook(app, event=event)
        except (Exception, asyncio.CancelledError, SystemExit) as error:  # he ends no load of ours
            of = id(getattr(hook, "__func__", hook)), id(getattr(hook, "__self__", None))
            if of not in self._broken and len(self._broken) < MOST_BROKEN:
                self._broken.add(of)
                extra = {"aswr_app": event.app, "aswr_view": event.view, "aswr_key": event.key}
                log.exception("the hook %r failed on %s (%r)", hook, event.kind, error, extra=extra)
        finally:
            _here.telling = outer

    def cause(self, what: Because) -> Cause:
        """Why a load is asked for here and now, by whoever's thread this is."""
        if self.origin is None:
            return _CAUSES[what]
        return Cause(what, self.origin())


def check_hook(hook: Hook, kinds: tuple[Kind, ...]) -> None:
    """Raise `ValueError` for kinds that there are not, `TypeError` for what is no hook."""
    unknown = set(kinds) - set(KINDS)
    if unknown:
        raise ValueError(f"no such events: {', '.join(sorted(unknown))}; there are {KINDS}")
    if not callable(hook):
        raise TypeError(f"a hook is called with each event, got {hook!r}")
    if inspect.iscoroutinefunction(hook):
        raise TypeError(f"nobody would await {hook!r}: a hook is a plain function")


def telling() -> bool:
    """Is a hook being called, further up on this thread?"""
    return getattr(_here, "telling", False)


_here = threading.local()
_CAUSES: Final[dict[Because, Cause]] = {what: Cause(what) for what in get_args(Because)}
_all: "weakref.WeakSet[Events]" = weakref.WeakSet()
_lock = threading.RLock()  # for who comes and goes; nobody who tells waits for it


def _forget() -> None:
    """In a forked child: a thread that is not there may have held it."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_forget)


class _Signal(Signal):
    """Says so when somebody comes or goes: until then nothing is sent."""

    def connect(self, receiver: Any, *args: Any, **kwargs: Any) -> Any:
        if inspect.iscoroutinefunction(receiver):
            raise TypeError(f"nobody would await {receiver!r}: a receiver is a plain function")
        connected = super().connect(receiver, *args, **kwargs)
        _look_again()
        return connected

    def disconnect(self, *args: Any, **kwargs: Any) -> None:
        super().disconnect(*args, **kwargs)
        _look_again()


def _look_again() -> None:
    with _lock:
        everybody = list(_all)
    for events in everybody:
        events.look_again()


# As Flask has it: ``receiver(app, event)``; `aswr.signals` has them by name.
SIGNALS: Final[dict[Kind, Signal]] = {
    kind: _Signal(f"{kind}: an Event of the app that sends it") for kind in KINDS
}
