"""Why a URL is answered as it is: every step of the way, in words, from the route to the verdict.

Asks what a request would ask, of the same code; where nothing is stored it renders once, and stores
nothing. What it says is worded by `phrases`; what would help is in `cures` and `Notes.cause`. Any
thread but aswr's loop; waits for that one render.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flask import g
from flask.ctx import RequestContext

from . import phrases
from .calls import instance_maker
from .cures import UNKNOWN, cure, failing
from .emission import Emission
from .flight import Fate, Flight, Load, Loaded
from .freshness import said
from .ledger import error_of
from .lookup import Found
from .names import PERSONS, describe, inputs_in, key_of
from .policy import Verdict, covers
from .site import NoView, Site, find_method
from .survey import plain, row, variant_of
from .urls import MOST_NAMES
from .views import Asked, CachedView, Pass
from .words import count

Ask = Callable[[Callable[[], Any]], Any]  # a coroutine function's result, from the loop


class Why:
    """One answer to "why", built step by step. ``scheme`` is the URL's, if it has one."""

    def __init__(
        self, site: Site, url: str, headers: Mapping[str, str], ask: Ask, scheme: str = ""
    ) -> None:
        self._site = site
        self._url = url
        self._environ = {key_of(name): value for name, value in headers.items()}
        if scheme:
            self._environ["wsgi.url_scheme"] = scheme
        self._ask = ask
        self._steps: list[dict[str, Any]] = []
        self._rendered = False
        self._before = ""  # what runs before the view in a request, and is not run here
        self._unseen = ""  # the same, where not even a render runs it
        self._cures: list[str] = []

    def answer(self) -> dict[str, Any]:
        """The verdict, the steps to it, and what would help.

        ``verdict`` is "hit", "stale", "miss", "unstored" (a miss whose answer is not to be stored),
        "pass", "none", where no cached view comes to answer, or "unknown", where that depends on
        what is not run here; ``steps`` are pairs of a name and what is to be said; ``rendered``
        whether the view was run.
        """
        verdict = self._walk()
        return {
            "url": self._url, "verdict": verdict, "steps": self._steps,
            "rendered": self._rendered, "cures": list(dict.fromkeys(filter(None, self._cures))),
        }  # fmt: skip

    def _say(self, step: str, *lines: str, **facts: Any) -> None:
        self._steps.append({"step": step, "says": [*lines], **facts})

    def _walk(self) -> str:
        try:
            context, _, view, function = self._site.route(self._url, self._environ)
        except NoView as error:
            self._say("route", error.found)
            self._cures.append(error.cure)
            return "none"
        except Exception as error:  # a converter's, say
            self._say("route", f"routing fails: {error!r}")
            return "none"
        assert isinstance(view, CachedView)
        request = context.request
        rule = "" if request.url_rule is None else f"{request.url_rule.rule} → "
        self._say("route", f"{rule}{request.endpoint}", f"cached view {view.name}", view=view.name)
        self._say("policy", *phrases.policy(self._site.plan_of(view), view.asks_in_requests))
        self._say_what_is_not_run(context, view, function)
        if not self._site.enabled:
            self._say("request", "passes: the cache is switched off (ASWR_ENABLED = False)")
            self._cures.append(cure("bypass", self._site.plan_of(view)))
            return "pass"
        try:
            context.push()
        except Exception as error:  # of a session that cannot be opened
            self._say("request", f"fails: {error!r}")
            return "none"
        try:
            return self._judge(context, view, function)
        finally:
            self._leave(context)

    def _leave(self, context: RequestContext) -> None:
        try:
            context.pop()
        except Exception as error:  # it may count on what a before_request hook did
            self._say("hooks", f"a teardown function failed: {error!r}")

    def _say_what_is_not_run(
        self, context: RequestContext, view: CachedView, function: Callable[..., Any]
    ) -> None:
        """What runs in a request before the view is reached, and does not here."""
        app, names = context.app, (None, *context.request.blueprints)
        plan, lines = self._site.plan_of(view), []
        if any(app.before_request_funcs.get(name) for name in names):
            lines.append(
                "before_request hooks are not run for this look: what they leave in g is missing, "
                "and what they answer themselves is not seen"
            )
            self._before = "a before_request hook"
            self._unseen = "" if plan.run_before_request else self._before
        if any(app.url_value_preprocessors.get(name) for name in names):
            lines.append("url_value_preprocessors are not run for this look")
            self._before = self._before or "a url_value_preprocessor"
        if function is not view.wrapper and not hasattr(function, "view_class"):
            lines.append(
                "decorators above @cacher are not run for this look: they may answer themselves, "
                "or call the view with more"
            )
            self._before = self._before or "a decorator above @cacher"
            self._unseen = self._unseen or ("" if plan.public else self._before)
        if lines:
            self._say("hooks", *lines)

    def _judge(
        self, context: RequestContext, view: CachedView, function: Callable[..., Any]
    ) -> str:
        try:
            _, cls = find_method(function)
            args = () if cls is None else (instance_maker(None, function)(),)
            asked = view.ask(self._site, context, args, dict(context.request.view_args or {}))
        except Exception as error:  # of the app's own code
            calls = phrases.listed(view.asks_in_requests, "or") or "the view's class"
            if self._before:
                self._say("request", f"{calls} fails: {error!r}", f"with {self._before} it may not")
                return self._unknown()
            self._say("request", f"{calls} fails, and the request with it: {error!r}")
            return "none"
        if isinstance(asked, Pass):
            why = asked.detail or asked.fwd
            self._say("request", f"passes: {why}")
            self._cures.append(cure(why, self._site.plan_of(view)))
            return "pass"
        return self._look(view, asked)

    def _look(self, view: CachedView, asked: Asked) -> str:
        key, found = asked.key, self._find(view, asked)
        shown = [f"{key.url} (the view, and path and query as they are)"]
        shown += [f"{name} says {value}" for name, value in variant_of(key).items()]
        self._say("key", *shown)
        self._say_reads(view, asked, found)
        if found.why:
            self._say_noted(found)
            carried = () if found.inputs is None else found.inputs.carried(found.names)
            because = f"because {phrases.clause(found.why)}"
            if not carried and (unsure := self._unsure(found.names)):
                without = f"without it: it passes, {because}"
                self._say("verdict", phrases.verdict("unknown"), unsure, without)
                return self._unknown()
            self._say("verdict", phrases.verdict("pass"), because)
            self._cure(view, asked, carried, found.why)
            return "pass"
        verdict = self._say_stored(found)
        self._say_flight(found)
        if _lacks(found):
            verdict = self._missing(view, asked, found)
        if verdict in ("hit", "stale", "miss", "unknown"):
            self._say("answer", *phrases.answer(asked.plan))
        return verdict

    def _find(self, view: CachedView, asked: Asked) -> Found:
        """What a request would find, in memory, or in the shared store that a load asks first."""
        engine = self._site.engine
        found = view.find(asked, uses=False)
        if not _lacks(found) or not engine.shares or engine.closed:
            return found
        self._ask(lambda: engine.adopt(asked.key))
        found = view.find(asked, uses=False)
        if found.names and _lacks(found):
            where = found.key
            self._ask(lambda: engine.adopt(where))
            found = view.find(asked, uses=False)
        if not _lacks(found):
            self._say("store", "it lay in the shared store, and is in this process's memory now")
        elif not self._ask(self._reachable):
            self._say("store", "the shared store does not answer: it could not be asked")
        return found

    async def _reachable(self) -> bool:
        tier = self._site.engine.tier
        return tier is None or await tier.answers()

    def _say_reads(self, view: CachedView, asked: Asked, found: Found) -> None:
        inputs = found.inputs
        more = [name for name in inputs_in(found.why) if name not in found.names]
        if not found.names and not more:
            self._say("reads", "nothing more is known to be read of a request here")
            return
        values = inputs.under(found.names)[0] if inputs is not None else [None] * len(found.names)
        carried = () if inputs is None else inputs.carried(found.names)
        lines = []
        for name, value in zip(found.names, values, strict=True):
            lines.append(_read(view, asked, name, value, name in carried))
        self._say("reads", *lines, *_reads(view, asked, more))

    def _say_noted(self, found: Found) -> None:
        """Of who passes: it may be stored that he does."""
        entry = self._site.store.glance(found.key)
        if entry is not None and entry.passing:
            shown = row(found.key, entry, found.now)
            left = phrases.span(found.now, entry.fresh_until)
            self._say("stored", phrases.stored(shown), f"no load is tried for {left}", entry=shown)

    def _say_stored(self, found: Found) -> str:
        entry, now = found.entry, found.now
        if entry is None:
            self._say("stored", "nothing")
            return "miss"
        shown = row(found.key, entry, now)
        self._say("stored", phrases.stored(shown), *phrases.deadlines(entry, now), entry=shown)
        retry_at = self._site.engine.failures.retry_at(found.key)
        lines = phrases.decided(found.decision, entry, now, retry_at)
        verdict = phrases.WORDS[found.decision.verdict]
        if verdict != "miss" and (unsure := self._unsure(found.names)):
            without = [f"without it: {line}" for line in lines]
            self._say("verdict", phrases.verdict("unknown"), unsure, *without)
            return self._unknown()
        self._say("verdict", *lines)
        return verdict

    def _say_flight(self, found: Found) -> None:
        flight = self._site.engine.flights.get(found.key)
        if flight is not None:
            age = phrases.span(flight.began, self._site.engine.clock())
            many = count(len(flight.waiters))
            self._say("flight", f"a load is under way for {age}; {many} wait")

    def _missing(self, view: CachedView, asked: Asked, found: Found) -> str:
        """Nothing that is stored will do: what a request would come to then."""
        engine, wants = self._site.engine, asked.wants
        if wants is not None and wants.only_if_cached:
            self._say("request", "says only-if-cached, and is answered 504")
            self._cures.append(cure("only-if-cached", asked.plan))
            return "none"
        if wants is not None and wants.no_store:
            self._say("request", "passes: it says no-store")
            self._cures.append(cure("no-store", asked.plan))
            return "pass"
        if engine.closed:
            self._say("request", "passes: the cache is closed")
            self._cures.append(cure("closed", asked.plan))
            return "pass"
        if passing := self._site.sharing.passing().get(asked.key.view):
            self._say(
                "request", f"passes: several URLs of the view do, since {phrases.clause(passing)}",
                *_reads(view, asked, inputs_in(passing)),
                "now and then a load is tried all the same",
            )  # fmt: skip
            self._cure(view, asked, (), passing)
            return "pass"
        if found.key in engine.flights:
            self._say("render", "not rendered: the load under way will tell")
            return "miss"
        return self._render(view, asked, found)

    def _render(self, view: CachedView, asked: Asked, found: Found) -> str:
        load, trial = view.load(asked, found), self._site.engine.trial
        began, self._rendered = self._site.engine.clock(), True
        try:
            loaded, flight = self._ask(lambda: trial(load))
        except TimeoutError:
            late = self._late(found, load, began)
            first = "rendered once to find out, and it took too long to wait for"
            self._say("render", first, *late.lines)
            self._cures += late.cures
            return "miss"
        late = self._late(found, load, began)
        verdict, lines = self._outcome(view, asked, load, loaded, flight, late)
        first = f"rendered once to find out, in {late.took}; nothing was stored"
        unsure = self._unsure((*loaded.names, *flight.names))
        if unsure or verdict == "unknown":
            lines += [phrases.verdict("unknown"), *filter(None, [unsure])]
            verdict = self._unknown()
        self._say("render", first, *lines)
        return verdict

    def _outcome(
        self, view: CachedView, asked: Asked, load: Load, loaded: Loaded, flight: Flight,
        late: phrases.Late,
    ) -> tuple[str, list[str]]:  # fmt: skip
        """What a render came to: the verdict that a request would get, and what is to be said."""
        names = tuple(sorted({*loaded.names, *flight.names}))
        lines = _reads(view, asked, names)
        carried, mine = view.carried(asked, names), load.seen_by(names)[1]
        nobody = flight.passing or (loaded.detail if loaded.fate is Fate.PASS else "")
        if len(names) > MOST_NAMES:
            nobody = f"reads over {MOST_NAMES} inputs"
        if nobody or loaded.fate is Fate.PASS:
            self._cure(view, asked, carried, nobody)
            lines += _reads(view, asked, [n for n in inputs_in(nobody) if n not in names])
            return "pass", [*lines, f"nobody shares it: {phrases.clause(nobody)}"]
        if mine:
            self._cure(view, asked, carried, mine)
            return "pass", [*lines, f"this request would pass: {phrases.clause(mine)}"]
        lines += late.lines
        self._cures += late.cures
        if late.ended:
            return "miss", lines
        if loaded.fate is Fate.FAILED or loaded.failed:
            lines.append(f"it failed: {error_of(loaded)}")
            if self._unseen:
                return "unknown", [*lines, f"with {self._unseen} it may not"]
            self._cures += [cure(loaded.detail, asked.plan) or failing(asked.plan)]
            return "miss", lines
        if loaded.fate is Fate.STORE:
            return "miss", [*lines, self._would_be_stored(asked, load, loaded)]
        why = loaded.detail or loaded.fate.value
        self._cures.append(cure(why, asked.plan))
        lines.append(f"it would not be stored: {why}")
        if loaded.fate is Fate.ONE or loaded.alone:
            lines.append("one caller gets it; whoever waits with him passes")
        return "unstored", lines

    def _late(self, found: Found, load: Load, began: float) -> phrases.Late:
        now = self._site.engine.clock()
        return phrases.late(load.times, now - began, load.sync, covers(found.entry, now))

    def _unsure(self, names: Iterable[str]) -> str:
        """What of these inputs might be another one in a request; empty if nothing."""
        may = (n for n in dict.fromkeys(names) if n.startswith("g.") and n[2:] not in PERSONS)
        absent = [name for name in may if not hasattr(g, name[2:])] if self._unseen else []
        return f"it {describe(absent)}, which {self._unseen} may set" if absent else ""

    def _unknown(self) -> str:
        self._cures.append(UNKNOWN)
        return "unknown"

    def _would_be_stored(self, asked: Asked, load: Load, loaded: Loaded) -> str:
        now = self._site.engine.clock()
        ends = loaded.ends or load.times.deadlines(now, 0.0, 0.0)
        jitter = load.times.jitter
        if jitter and _says_when(asked, loaded, now):
            jitter = 0.0
        return phrases.would_be_stored(now, ends, jitter)

    def _cure(self, view: CachedView, asked: Asked, carried: Iterable[str], why: str) -> None:
        """What helps against these inputs, and those that ``why`` names."""
        kind = asked.plan.rules.kind
        names = dict.fromkeys([*carried, *inputs_in(why)])
        self._cures += [view.notes.cause(name, kind(name)) for name in names]
        self._cures.append(cure(why, asked.plan))


def _says_when(asked: Asked, loaded: Loaded, now: float) -> bool:
    """Does an answer say itself, of both its windows, how long they are?"""
    answer = loaded.value
    says = said(answer.status, Emission.own(answer), now)
    lifetime = Emission(asked.plan, says, answer.status, scoped=asked.scoped).lifetime(0.0)
    return lifetime.total is not None and lifetime.stale is not None


def _lacks(found: Found) -> bool:
    """Is nothing stored that a request would be given?"""
    return not found.why and (found.entry is None or found.decision.verdict is Verdict.MISS)


def _reads(view: CachedView, asked: Asked, names: Iterable[str]) -> list[str]:
    return [_read(view, asked, name) for name in names]


def _read(view: CachedView, asked: Asked, name: str, value: Any = "", carried: bool = False) -> str:
    kind, place = asked.plan.rules.kind(name), view.notes.place(name)
    return phrases.read(name, kind, place, None if value == "" else plain(value), carried)
