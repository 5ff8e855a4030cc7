"""Why a URL is answered as it is: every step of the way, in words, from the route to the verdict.

Asks what a request would ask, of the same code; where nothing is stored it renders once, and stores
nothing. Any thread but aswr's loop; waits for that one render.
"""

from collections.abc import Callable, Mapping
from typing import Any

from .codec import Entry
from .flight import Fate, Flight, Load, Loaded
from .lookup import Found
from .names import Kind, key_of
from .policy import Verdict, covers
from .site import Site
from .survey import named, plain, row, variant_of
from .views import Asked, CachedView, Pass

Ask = Callable[[Callable[[], Any]], Any]  # a coroutine function's result, from the loop

_SAYS = {
    Verdict.FRESH: "hit: served from memory",
    Verdict.STALE: "stale: served at once",
    Verdict.MISS: "miss: the caller waits for a load",
    Verdict.PASS: "pass: the view runs in the caller's own request",
}


def environ_in(headers: Mapping[str, str]) -> dict[str, str]:
    """Header fields as environ entries."""
    return {key_of(name): value for name, value in headers.items()}


class Why:
    """One answer to "why", built step by step."""

    def __init__(self, site: Site, url: str, headers: Mapping[str, str], ask: Ask) -> None:
        self._site = site
        self._url = url
        self._headers = headers
        self._ask = ask
        self._steps: list[dict[str, Any]] = []
        self._rendered = False
        self._cures: list[str] = []

    def answer(self) -> dict[str, Any]:
        """The verdict, the steps to it, and what would help.

        ``verdict`` is "hit", "stale", "miss", "pass" or "none", where no cached view answers;
        ``steps`` are pairs of a name and what is to be said; ``rendered`` whether the view was run.
        """
        verdict = self._walk()
        return {
            "url": self._url, "verdict": verdict, "steps": self._steps,
            "rendered": self._rendered, "cures": self._cures,
        }  # fmt: skip

    def _say(self, step: str, *lines: str, **facts: Any) -> None:
        self._steps.append({"step": step, "says": [*lines], **facts})

    def _walk(self) -> str:
        try:
            context, _, view, _ = self._site.route(self._url, environ_in(self._headers))
        except ValueError as error:
            self._say("route", str(error))
            return "none"
        assert isinstance(view, CachedView)
        request = context.request
        rule = "" if request.url_rule is None else f"{request.url_rule.rule} → "
        self._say("route", f"{rule}{request.endpoint}", f"cached view {view.name}", view=view.name)
        self._say("policy", *_policy(self._site, view))
        with context:
            asked = view.ask(self._site, context, (), dict(request.view_args or {}))
            if isinstance(asked, Pass):
                self._say("request", f"passes: {asked.detail or asked.fwd}")
                return "pass"
            return self._look(view, asked)

    def _look(self, view: CachedView, asked: Asked) -> str:
        engine, key = self._site.engine, asked.key
        self._ask(lambda: engine.adopt(key))
        found = view.find(asked)
        if found.names and not found.why:
            self._ask(lambda: engine.adopt(found.key))
            found = view.find(asked)
        shown = [f"{key.url} (the view, and path and query as they are)"]
        extra = variant_of(key)
        shown += [f"{name} says {value}" for name, value in extra.items()]
        self._say("key", *shown)
        self._say_reads(view, asked, found)
        if found.why:
            self._say("verdict", _SAYS[Verdict.PASS], f"because it {found.why}")
            kind = asked.plan.rules.kind
            carried = () if found.inputs is None else found.inputs.carried(found.names)
            self._cures += [view.notes.cause(name, kind(name)) for name in carried]
            self._cures += filter(None, [view.notes.never(found.why)])
            return "pass"
        verdict = self._say_stored(found)
        self._say_flight(found)
        if found.entry is None or found.decision.verdict is Verdict.MISS:
            verdict = self._render(view, asked, found)
        self._say("answer", *_answer(asked))
        return verdict

    def _say_reads(self, view: CachedView, asked: Asked, found: Found) -> None:
        if not found.names:
            self._say("reads", "nothing more is known to be read of a request here")
            return
        inputs = found.inputs
        values = inputs.under(found.names)[0] if inputs is not None else [None] * len(found.names)
        carried = () if inputs is None else inputs.carried(found.names)
        lines = []
        for name, value in zip(found.names, values, strict=True):
            lines.append(_read(name, value, asked, name in carried, view.notes.place(name)))
        self._say("reads", *lines)

    def _say_stored(self, found: Found) -> str:
        entry, now = found.entry, found.now
        if entry is None:
            self._say("stored", "nothing")
            return "miss"
        shown = row(found.key, entry, now)
        self._say("stored", _stored(shown), *_deadlines(entry, now), entry=shown)
        verdict = found.decision.verdict
        lines = [_SAYS[verdict]]
        retry_at = self._site.engine.failures.retry_at(found.key)
        if retry_at is not None:
            when = "is due" if now >= retry_at else f"is due in {retry_at - now:.0f} s"
            lines.append(f"its last load failed; the next try {when}")
        if verdict is Verdict.STALE:
            loads = found.decision.load
            lines.append("a load is started, nobody waits" if loads else "no load: held back")
        if verdict is Verdict.MISS and covers(entry, now):
            lines.append("if the load fails, what is stored is served (stale_if_error)")
        self._say("verdict", *lines)
        return {Verdict.FRESH: "hit", Verdict.STALE: "stale", Verdict.PASS: "pass"}.get(
            verdict, "miss"
        )

    def _say_flight(self, found: Found) -> None:
        flight = self._site.engine.flights.get(found.key)
        if flight is not None:
            age = self._site.engine.clock() - flight.began
            self._say("flight", f"a load is under way for {age:.1f} s; {len(flight.waiters)} wait")

    def _render(self, view: CachedView, asked: Asked, found: Found) -> str:
        load = view.load(asked, found)
        self._rendered = True
        loaded, flight = self._ask(lambda: self._site.engine.trial(load))
        took = self._site.engine.clock() - flight.began
        lines = [f"rendered once to find out, in {took:.2f} s; nothing was stored"]
        lines += self._outcome(view, asked, load, loaded, flight)
        self._say("render", *lines)
        if loaded.fate is Fate.STORE and not load.seen_by(loaded.names)[1]:
            return "miss"
        return "pass" if loaded.fate in (Fate.PASS, Fate.ONE, Fate.STORE) else "miss"

    def _outcome(
        self, view: CachedView, asked: Asked, load: Load, loaded: Loaded, flight: Flight
    ) -> list[str]:
        rules = asked.plan.rules
        names = tuple(sorted({*loaded.names, *flight.names}))
        lines = [_read(name, "", asked, False, view.notes.place(name)) for name in names]
        mine = load.seen_by(names)[1]
        for name in names:
            never = rules.kind(name) is Kind.NEVER
            if never or (mine and name in mine):
                self._cures.append(view.notes.cause(name, rules.kind(name)))
        if loaded.fate is Fate.FAILED or loaded.failed:
            return [*lines, f"it failed: {loaded.value!r}"]
        if mine:
            return [*lines, f"this request would pass: it {mine}"]
        if loaded.fate is Fate.STORE:
            times = load.times
            ends = loaded.ends or times.deadlines(0.0, 0.0, 0.0)
            begin = 0.0 if loaded.ends is None else self._site.engine.clock()
            fresh, stale = ends.fresh_until - begin, ends.stale_until - begin
            return [
                *lines,
                f"it would be stored, fresh for {fresh:.0f} s, gone after {stale:.0f} s",
            ]
        return [*lines, f"it would not be stored: {loaded.detail or loaded.fate.value}"]


def _policy(site: Site, view: CachedView) -> list[str]:
    plan = site.plan_of(view)
    times, rules = plan.times, plan.rules
    if times.timeout is None:
        lines = ["no timeout: the response's own Cache-Control decides (RFC 9111)"]
    else:
        margin = times.refresh_margin
        shown = "chosen by the load time" if margin is None else f"{margin:g} s"
        lines = [f"timeout {times.timeout:g} s, refresh_margin {shown}"]
    if times.stale_if_error:
        lines.append(f"stale_if_error {times.stale_if_error:g} s")
    lines.append("public: answered before Flask, CDNs may keep it" if plan.public else "in-app")
    if rules.query is not True:
        lines.append(f"query={rules.query!r}: of the query only this counts")
    if rules.vary != "read":
        lines.append(f"vary={rules.vary!r}")
    if rules.ignore:
        lines.append(f"ignored: {', '.join(sorted(map(str, rules.ignore)))}")
    return lines


def _read(name: str, value: Any, asked: Asked, carried: bool, place: str) -> str:
    kind = asked.plan.rules.kind(name)
    where = f" at {place}" if place else ""
    if kind is Kind.NEVER:
        return f"{name}{where}: every request has one of its own, so nobody shares"
    if kind is Kind.PERSONAL:
        who = "this request has one, and passes" if carried else "absent here: shared"
        return f"{name}{where}: one caller's own; {who}"
    said = "" if value == "" else f" is {plain(value)} here;"
    return f"{named(name)}{where}:{said} requests that agree on it share"


def _stored(shown: Mapping[str, Any]) -> str:
    if shown["state"] == "pass":
        return f"that it passes: {shown['reason']}"
    kept = f", tags {', '.join(shown['tags'])}" if shown["tags"] else ""
    status = "" if shown["status"] is None else f"status {shown['status']}, "
    return (
        f"{shown['state']}, {status}{shown['size']} bytes, {shown['age']:.0f} s old, "
        f"its load took {shown['cost']:.2f} s{kept}"
    )


def _deadlines(entry: Entry, now: float) -> list[str]:
    ends = [("fresh", entry.fresh_until), ("stale but served", entry.stale_until)]
    if entry.error_until > entry.stale_until:
        ends.append(("kept for failures", entry.error_until))
    return [
        f"{word} for {end - now:.0f} s more" if end > now else f"{word} until {now - end:.0f} s ago"
        for word, end in ends
    ]


def _answer(asked: Asked) -> list[str]:
    if asked.plan.public:
        return ["leaves with public, max-age=… and a strong ETag; given before the app's hooks"]
    lines = ["leaves with private, no-cache and a weak ETag, where the view says nothing itself"]
    if asked.plan.emit_cache_control:
        lines = ["leaves with private, max-age=…: the asker's browser may keep it"]
    return lines
