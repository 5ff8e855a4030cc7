"""What an answer says of its own lifetime, and what we say in its place (RFC 9111 §3, §5.2).

Pure: values in, values out; no async, no threads, no clock. Knows the options and header text;
knows no framework.
"""

from collections.abc import Mapping, Sequence

from . import conditions, http
from .codec import Answer
from .freshness import IN_APP, Said, emitted, storable_status
from .inputs import vary_fields
from .options import Plan
from .policy import Deadlines, Lifetime

Fields = list[tuple[str, str]]


class Emission:
    """One answer's way out: may it be kept, for how long, and under which fields.

    ``alone`` says why it may not be given to a second person, ``unfit`` why it is not stored; both
    are empty where nothing stands against it.
    """

    def __init__(self, plan: Plan, says: Said, status: int, *, scoped: bool = False) -> None:
        self._plan = plan
        self._says = says
        self._status = status
        self._scoped = scoped
        self.alone = "" if scoped and says.alone == PRIVATE else says.alone
        self.unfit = self._unfit()
        # By RFC 9111 alone, what needs a validation of its own answers one request (§4).
        self.lone = plan.times.timeout is None and not self._lives()
        # Where the decorator gives no timeout, RFC 9111 alone decides (§4.2.4).
        self.strict = plan.times.timeout is None and says.no_stale

    @staticmethod
    def length(fields: http.Fields) -> float | None:
        """How many bytes the view says that its body has, if it says so."""
        said = http.lines(fields, "content-length")
        return http.delta_seconds(said[0].strip()) if said else None

    def _unfit(self) -> str:
        plan, says = self._plan, self._says
        if not storable_status(self._status):
            return f"status {self._status}"
        if plan.times.timeout is not None:
            if says.shared_lifetime is None:
                usual = http.storable(self._status, plan.statuses)
                return "" if usual else f"status {self._status}"
            lives = says.shared_lifetime > says.age or bool(says.stale or says.error)
            return "" if lives else "is stale at once"
        validates = bool(says.etag or says.last_modified)
        explicit = says.lifetime is not None or says.no_cache
        error = not says.no_stale and bool(says.error)
        if self._lives() or (explicit and (error or validates)):
            return ""
        return "says no freshness" if not explicit else "is stale at once"

    def _lives(self) -> bool:
        """By what the answer says: may it be given to anybody without asking the view again?"""
        says = self._says
        if says.lifetime is None or says.no_cache:
            return False
        return says.lifetime > says.age or (not says.no_stale and bool(says.stale))

    def lifetime(self, age: float) -> Lifetime:
        """What the answer says of its windows, in so far as it may say so here."""
        plan, says = self._plan, self._says
        if plan.times.timeout is None:
            total = 0.0 if says.no_cache else says.lifetime or 0.0
            if self.strict:
                return Lifetime(total, 0.0, 0.0, age)
            error = says.error if says.shared_lifetime is None else says.error or 0.0
            return Lifetime(total, says.stale or 0.0, error, age)
        if says.shared_lifetime is not None:
            return Lifetime(says.shared_lifetime, says.stale, says.error, age)
        return Lifetime(plan.statuses.get(self._status), says.stale, says.error)

    def dress(
        self, fields: Fields, body: bytes, stored: float, ends: Deadlines, names: Sequence[str]
    ) -> tuple[Fields, tuple[str, ...]]:
        """The fields with which the answer leaves, and the names of those that are ours.

        What the view said itself is left alone, but that a scoped answer is private.
        """
        plan, dressed = self._plan, list(fields)
        ours: Fields = []
        named = http.by_name(fields)
        said_so = "cache-control" in named or "expires" in named
        if self._scoped and said_so and not _is_private(named):
            dressed = [(n, v) for n, v in fields if n.lower() not in ("cache-control", "expires")]
            said_so = False
        if not said_so:
            ours.append(("Cache-Control", self._cache_control(stored, ends)))
        if self._status == 200 and "etag" not in named:
            coding = [*named.get("content-type", ()), *named.get("content-encoding", ())]
            etag = conditions.strong_etag(body, "".join(coding).encode("latin-1", "replace"))
            ours.append(("ETag", etag if plan.public else conditions.weak(etag)))
        if plan.public and plan.cdn_timeout and "cdn-cache-control" not in named:
            ours.append(("CDN-Cache-Control", f"max-age={int(plan.cdn_timeout)}"))
        dressed = http.with_vary(dressed, vary_fields(names, plan.rules))
        return [*dressed, *ours], tuple(name for name, _ in ours)

    def _cache_control(self, stored: float, ends: Deadlines) -> str:
        public = self._plan.public
        if not public and not self._plan.emit_cache_control:
            return IN_APP
        covers = ends.error_until > ends.stale_until
        return emitted(
            public=public,
            fresh=ends.fresh_until - stored,
            stale=ends.stale_until - ends.fresh_until,
            error=ends.error_until - ends.fresh_until if covers else 0.0,  # RFC 5861 §4
        )

    @staticmethod
    def own(answer: Answer) -> Fields:
        """What the view itself said."""
        ours = {"vary", *(name.lower() for name in answer.ours)}
        fields = [(name, value) for name, value in answer.headers if name.lower() not in ours]
        return [*fields, ("Vary", answer.vary)] if answer.vary else fields

    @staticmethod
    def validators(answer: Answer) -> dict[str, str]:
        """The conditions that ask the view whether its own answer still holds (RFC 9111 §4.3.1)."""
        own = ((n.lower(), value) for n, value in answer.headers if n not in answer.ours)
        return {_CONDITIONS[name]: value for name, value in own if name in _CONDITIONS and value}

    @staticmethod
    def renewed(answer: Answer, fields: Fields) -> Fields:
        """The view's fields of a stored answer, renewed by those of a 304 (RFC 9111 §3.2)."""
        return conditions.renewed(Emission.own(answer), fields)


PRIVATE = "Cache-Control private"
_CONDITIONS = {"etag": "HTTP_IF_NONE_MATCH", "last-modified": "HTTP_IF_MODIFIED_SINCE"}


def _is_private(named: Mapping[str, list[str]]) -> bool:
    said = http.directives(named.get("cache-control", ()))
    return "private" in said or "no-store" in said
