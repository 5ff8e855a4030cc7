"""What a response says of the cache in ``Cache-Status``, as a value, and assertions on it.

Pure: responses in, values or `AssertionError` out. Responses of Flask's test client, of httpx and
of requests will do: whatever has ``headers``. Sources: RFC 9211, and RFC 8941 for its syntax.
"""

import re
from dataclasses import dataclass
from typing import Any, Final, NoReturn

_OURS: Final = "aswr"
_PASSES: Final = ("bypass", "method")  # and a request that says no-store, see `CacheStatus.passes`

# RFC 8941 §3.3, an item's value; a decimal comes before the integer that it begins with.
_VALUE = re.compile(
    r"(?P<decimal>-?[0-9]{1,12}\.[0-9]{1,3})|(?P<integer>-?[0-9]{1,15})"
    r'|"(?P<string>(?:[ !#-\[\]-~]|\\["\\])*)"'
    r"|(?P<token>[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*)"
    r"|:(?P<binary>[A-Za-z0-9+/=]*):|\?(?P<boolean>[01])"
)
_PARAMETER = re.compile(r"; *(?P<name>[a-z*][a-z0-9_.*-]*)(?P<equals>=)?")
_COMMA = re.compile(r"[ \t]*,[ \t]*")

Bare = str | int | float | bool


@dataclass(frozen=True, slots=True)
class CacheStatus:
    """What aswr says of a response (RFC 9211 §2); None or empty where it does not say it.

    ``hit``: it was stored. ``ttl``: seconds to the end of its freshness, negative once it is stale.
    ``fwd``: why it was not answered from the cache. ``fwd_status``: the status that the view
    answered, where the response has another. ``stored``: it was computed for this request, and is
    stored now. ``collapsed``: this request waited for somebody else's load. ``detail``: the reason.
    ``key``: view and URL, in debug mode.
    """

    hit: bool = False
    ttl: int | None = None
    fwd: str = ""
    fwd_status: int | None = None
    stored: bool = False
    collapsed: bool = False
    detail: str = ""
    key: str = ""

    @property
    def fresh(self) -> bool:
        """Was it stored, and fresh?"""
        # At 0 it is in its last second, or at its end: what is stale says why it is given.
        rest = self.ttl or 0
        return self.hit and (rest > 0 or (rest == 0 and not self.detail))

    @property
    def stale(self) -> bool:
        """Was it stored, and stale?"""
        return self.hit and not self.fresh

    @property
    def passes(self) -> bool:
        """Was the view run in the request itself, with nothing stored or looked for?"""
        no_store = self.fwd == "request" and self.detail == "no-store"
        return self.fwd in _PASSES or no_store

    @property
    def miss(self) -> bool:
        """Was it computed, since nothing that was stored would do?"""
        return not self.hit and not self.passes

    def __str__(self) -> str:
        """What it comes to, in words."""
        because = f" ({self.detail})" if self.detail else ""
        if self.fresh:
            return f"a fresh hit, for {self.ttl} more s"
        if self.stale:
            return f"a stale hit, since {-(self.ttl or 0)} s{because}"
        if self.passes:
            return f"a pass{because or f' ({self.fwd})'}"
        how = "stored" if self.stored else "not stored"
        how = "collapsed into another's load" if self.collapsed else how
        return f"a miss ({self.fwd}), {how}{because}"


def cache_status(response: Any) -> CacheStatus:
    """What aswr says of a response; of several caches of that name, the one that answered last.

    Raises `AssertionError` where it says nothing, or the field is malformed.
    """
    __tracebackhide__ = True
    text = ", ".join(_lines(response))
    if not text:
        _fail(
            "the response has no Cache-Status: its view is not cached, or the cache is switched "
            "off, or it sets a cookie"
        )
    members = _parse(text)
    if members is None:
        _fail(f"this Cache-Status is no list of items (RFC 8941): {text}")
    ours = [parameters for name, parameters in members if name == _OURS]
    if not ours:
        _fail(f"no aswr says anything in this Cache-Status: {text}")
    return _status_of(ours[-1])


def assert_hit(response: Any, fresh: bool | None = None) -> CacheStatus:
    """The response was stored; ``fresh`` says which it must be, fresh or stale, None either."""
    __tracebackhide__ = True
    status = cache_status(response)
    if not status.hit or fresh not in (None, status.fresh):
        kind = {None: "a hit", True: "a fresh hit", False: "a stale hit"}[fresh]
        _differs(kind, response, status)
    return status


def assert_fresh(response: Any) -> CacheStatus:
    """The response was stored, and fresh."""
    __tracebackhide__ = True
    return assert_hit(response, fresh=True)


def assert_stale(response: Any) -> CacheStatus:
    """The response was stored, and stale: it is being renewed, or a load failed."""
    __tracebackhide__ = True
    return assert_hit(response, fresh=False)


def assert_miss(response: Any) -> CacheStatus:
    """The response was computed since nothing stored would do, here or by a load it waited for."""
    __tracebackhide__ = True
    status = cache_status(response)
    if not status.miss:
        _differs("a miss", response, status)
    return status


def assert_passes(response: Any, reason: str | None = None) -> CacheStatus:
    """The view was run in the request itself; ``reason`` must be in what is said of why."""
    __tracebackhide__ = True
    status = cache_status(response)
    if not status.passes or (reason is not None and reason not in (status.detail or status.fwd)):
        because = "" if reason is None else f" because of {reason!r}"
        _differs(f"a pass{because}", response, status)
    return status


def _differs(wanted: str, response: Any, status: CacheStatus) -> NoReturn:
    __tracebackhide__ = True
    _fail(f"expected {wanted}, got {status}: Cache-Status: {', '.join(_lines(response))}")


def _fail(text: str) -> NoReturn:
    __tracebackhide__ = True
    raise AssertionError(text)


def _lines(response: Any) -> list[str]:
    headers = response.headers
    if hasattr(headers, "getlist"):  # Werkzeug's; others join the lines
        return list(headers.getlist("Cache-Status"))
    one = headers.get("Cache-Status")
    return [] if one is None else [one]


def _status_of(said: dict[str, Bare]) -> CacheStatus:
    def text(name: str) -> str:
        return str(said.get(name, ""))

    def number(name: str) -> int | None:
        value = said.get(name)
        return value if type(value) is int else None

    return CacheStatus(
        hit=said.get("hit") is True, ttl=number("ttl"), fwd=text("fwd"),
        fwd_status=number("fwd-status"), stored=said.get("stored") is True,
        collapsed=said.get("collapsed") is True, detail=text("detail"), key=text("key"),
    )  # fmt: skip


def _parse(text: str) -> list[tuple[Bare, dict[str, Bare]]] | None:
    """The items of a list, each with its parameters; None where it is malformed (§4.2)."""
    members: list[tuple[Bare, dict[str, Bare]]] = []
    text, position = text.strip(" "), 0
    while True:
        value = _VALUE.match(text, position)
        if value is None:
            return None
        position = value.end()
        parameters: dict[str, Bare] = {}
        while (name := _PARAMETER.match(text, position)) is not None:
            position, given = name.end(), None
            if name["equals"]:
                given = _VALUE.match(text, position)
                if given is None:
                    return None
                position = given.end()
            parameters[name["name"]] = True if given is None else _bare(given)
        members.append((_bare(value), parameters))
        if position == len(text):
            return members
        comma = _COMMA.match(text, position)
        if comma is None:
            return None
        position = comma.end()


def _bare(match: "re.Match[str]") -> Bare:
    kind, text = match.lastgroup, match[match.lastgroup or 0]
    if kind == "integer":
        return int(text)
    if kind == "decimal":
        return float(text)
    if kind == "boolean":
        return text == "1"
    return re.sub(r"\\(.)", r"\1", text) if kind == "string" else text
