"""Where the answer to a request lies, and what may be done with it now: one look for all ways in.

Any thread; dictionary reads, no I/O, no waiting. Knows the engine, the inputs and the policy; must
not know Flask, so that the doors can ask before Flask exists for a request.
"""

import math
import time
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import NamedTuple, TypeVar

from . import http
from .codec import Answer, Entry
from .emission import Emission
from .engine import Engine
from .flight import How, Load, Result
from .freshness import Asks, said
from .inputs import Inputs, Rules
from .keys import VariantKey, ViewKey
from .policy import PASS, Decision, Verdict, heed
from .replies import Given
from .tally import Tally

T = TypeVar("T")

AWAITED = "aswr.awaited"  # in the environ of a request that a door passes on to Flask
_LONGEST = 10**15  # RFC 8941 §3.3.1: an integer has 15 digits at most


class Found(NamedTuple):
    """What lies where a request's answer would.

    ``why`` says why the request passes, "" where it need not; then nothing else counts but
    ``names``, the inputs that the URL is known to read.
    """

    key: Hashable
    entry: Entry | None
    now: float
    decision: Decision
    names: tuple[str, ...] = ()
    inputs: Inputs | None = None
    why: str = ""


def look(
    engine: Engine, rules: Rules, url: ViewKey, wants: Asks | None,
    inputs_of: Callable[[T], Inputs], request: T, uses: bool = True,
) -> Found:  # fmt: skip
    """What is stored for a request: one look-up where its URL reads nothing, else two.

    ``wants`` is what its directives say, where the view obeys them; ``inputs_of(request)`` is
    called where something must be known of it beyond its URL. ``uses``: is it a use of the entry?
    """
    peek = engine.store.peek if uses else engine.store.glance
    entry, inputs = peek(url), None
    key: Hashable = url
    names: tuple[str, ...] = ()
    if entry is not None and entry.names:
        note, names, inputs = entry, entry.names, inputs_of(request)
        values, why = inputs.under(names)
        if why:
            return Found(url, None, 0.0, PASS, names, inputs, why)
        key = VariantKey(url, names, values)
        entry = peek(key)
        if entry is None and note.fewer:
            entry = engine.urls.under_fewer(note, partial(_variant, url, inputs), peek)
    now, decision = engine.judge(key, entry)
    if entry is not None and decision.verdict is Verdict.PASS:
        return Found(key, None, now, decision, names, inputs, entry.passing)
    if wants is not None:
        decision = heed(decision, entry, now, wants)
    if rules.vary == "response":
        inputs = inputs or inputs_of(request)
        if not _may_share(inputs, entry, decision):
            return Found(key, None, now, decision, names, inputs, "sends credentials")
    return Found(key, entry, now, decision, names, inputs)


def _variant(url: ViewKey, inputs: Inputs, names: tuple[str, ...]) -> tuple[Hashable, str]:
    values, why = inputs.under(names)
    return VariantKey(url, names, values), why


def _may_share(inputs: Inputs, entry: Entry | None, decision: Decision) -> bool:
    """May a request with credentials be given a stored answer (RFC 9111 §3.5)?

    Also with cookies: what a proxy-like view passes on may depend on them and not say so.
    """
    if not any(map(inputs.rules.is_credential, inputs.environ)):
        return True
    if entry is None or not decision.serve:
        return False
    return said(entry.value.status, Emission.own(entry.value), entry.stored).credentials


class Missed(NamedTuple):
    """Why a request was not answered from the cache, in RFC 9211's words.

    ``force``: it is the request that does not take what is stored. ``at``: when he began to wait.
    """

    fwd: str
    force: bool = False
    at: float = 0.0

    @property
    def seconds(self) -> float:
        """For how long he has waited."""
        return time.monotonic() - self.at


class Awaited(NamedTuple):
    """A load that a door has waited for, whose result is for Flask to deal with; None: too late."""

    load: Load
    missed: Missed
    result: Result | None


def missed(engine: Engine, url: ViewKey, found: Found) -> Missed:
    """Why nothing that was found will do."""
    entry = found.entry
    if entry is None or entry.passing:
        others = found.names and engine.store.keys_of(url)[1:]
        return Missed("vary-miss" if others else "uri-miss", at=time.monotonic())
    force = engine.clock() < entry.fresh_until
    return Missed("request" if force else "stale", force, time.monotonic())


def serve(
    engine: Engine, tally: Tally, found: Found, load: Callable[[], Load], more: Mapping[str, str]
) -> Given | None:
    """What is given of what was found, and its load begun where it is stale; None: a miss.

    ``tally`` counts it; ``more`` are parameters of ``Cache-Status``.
    """
    entry, decision = found.entry, found.decision
    if entry is None or not decision.serve:
        return None
    if decision.load and engine.wants(found.key):
        engine.start(load())
    loads = decision.load and not engine.closed
    return hit(engine, tally, found.key, entry, found.now, revalidating=loads, **more)


def hit(
    engine: Engine, tally: Tally, where: Hashable, entry: Entry, now: float, *, revalidating: bool,
    **more: str,
) -> Given:  # fmt: skip
    """What is given from the cache, and counted as a hit; ``where`` is its key."""
    rest = entry.fresh_until - now
    if rest > 0:
        tally.fresh_hits += 1
        tally.saved += entry.cost
        if "hit" in engine.events.wanted:
            engine.events.tell("hit", tally.view, where, seconds=now - entry.stored)
        if rest < _LONGEST and not more:
            return Given(entry.value, entry, f"aswr; hit; ttl={int(rest)}")
        return _given_stored(entry, now, "", **more)
    detail = "revalidating" if revalidating else "held-back"
    engine.ledger.note_hit(tally.view, where, entry, now, detail)
    return _given_stored(entry, now, detail, **more)


def stand_in(
    engine: Engine, tally: Tally, where: Hashable, entry: Entry, now: float, detail: str,
    **more: str,
) -> Given:  # fmt: skip
    """What is given in place of a load that failed or takes too long (RFC 5861 §4)."""
    engine.ledger.note_hit(tally.view, where, entry, now, detail)
    return _given_stored(entry, now, detail, **more)


def _given_stored(entry: Entry, now: float, detail: str, **more: str) -> Given:
    ttl = math.floor(entry.fresh_until - now)
    status = http.cache_status(hit=True, ttl=ttl, detail=detail, **more)
    return Given(entry.value, entry, status)


def loaded(
    engine: Engine, tally: Tally, where: Hashable, result: Result, now: float, why: Missed,
    **more: str,
) -> Given:  # fmt: skip
    """What is given of a load that brought an answer; counted as a miss, or as the hit it is."""
    if result.how is How.HIT and result.entry is not None:
        return hit(engine, tally, where, result.entry, now, revalidating=True, **more)
    engine.ledger.note_miss(tally.view, where, why.seconds)
    stored = result.how in (How.STORED, How.COLLAPSED)
    status = http.cache_status(
        fwd=why.fwd, fwd_status=result.status or False, stored=result.how is How.STORED,
        collapsed=result.how is How.COLLAPSED, detail=result.detail, **more,
    )  # fmt: skip
    return Given(result.value, result.entry if stored else None, status)


def failed(answer: Answer, why: Missed, **more: str) -> Given:
    """What is given of a load that failed with an answer of its own, a 5xx."""
    return Given(answer, None, http.cache_status(fwd=why.fwd, fwd_status=answer.status, **more))
