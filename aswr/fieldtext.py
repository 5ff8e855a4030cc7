"""Header text as renders see it, and the results of asking it: pure and cached.

What no reader of a field may tell apart is made equal (RFC 9111 §4.1). Malformed text never raises.
"""

import json
import re
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from werkzeug.datastructures import Accept, CharsetAccept, LanguageAccept, MIMEAccept
from werkzeug.http import parse_accept_header
from werkzeug.sansio.http import parse_cookie  # the one that requests use; decodes nothing

_ACCEPT: dict[str, type[Accept]] = {
    "Accept": MIMEAccept,
    "Accept-Charset": CharsetAccept,
    "Accept-Encoding": Accept,
    "Accept-Language": LanguageAccept,
}
SPACE = " \t"
_SHORT = 500  # longer texts are not kept
_COOKIE_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]*")
_T = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_WEIGHT = r"(?:[ \t]*;[ \t]*[qQ]=(0(?:\.[0-9]{1,3})?|1(?:\.0{1,3})?))?"
_MEMBER = re.compile(rf"({_T})(){_WEIGHT}")
_MEDIA = re.compile(rf"({_T}/{_T})((?:[ \t]*;[ \t]*(?![qQ]=){_T}={_T})*){_WEIGHT}")
_SEMICOLON = re.compile(r"[ \t]*;[ \t]*")


def normal(header: str, text: str) -> str:
    """A header's text as renders see it; what is malformed is trimmed and no more.

    Only what no reader of the field may tell apart is made equal (RFC 9111 §4.1).
    """
    text = text.strip(SPACE)
    if header not in _ACCEPT:
        return text
    result: str = kept(_normal, header, text)
    return result


def kept(function: Any, name: str, text: str) -> Any:
    """What a cached function makes of a text; it keeps no long ones."""
    return (function if len(text) <= _SHORT else function.__wrapped__)(name, text)


@lru_cache(1024)
def _normal(header: str, text: str) -> str:
    pattern = _MEDIA if header == "Accept" else _MEMBER
    members: dict[str, None] = {}
    for member in filter(None, (part.strip(SPACE) for part in text.split(","))):
        match = pattern.fullmatch(member)
        if match is None:
            return text
        value, parameters, weight = match.groups()
        weight = "" if weight is None or weight[0] == "1" else f";q={_shortest(weight)}"
        members[value.lower() + _SEMICOLON.sub(";", parameters) + weight] = None
    return ",".join(sorted(members) if header == "Accept-Encoding" else members)


def _shortest(weight: str) -> str:
    return weight.rstrip("0").rstrip(".") if "." in weight else weight


def parse_cookies(text: str) -> tuple[dict[str, str], bool]:
    found: dict[str, str] = {}
    try:
        pairs = list(parse_cookie(text).items(multi=True))
    except ValueError:  # no server makes such text
        return found, False
    for name, value in pairs:
        found.setdefault(name, value)
    return found, len(pairs) == sum(1 for part in text.split(";") if part.strip())


def cookie_header(cookies: Mapping[str, str]) -> str | None:
    return "; ".join(f"{name}={_quoted(value)}" for name, value in cookies.items()) or None


def _quoted(value: str) -> str:
    if _COOKIE_VALUE.fullmatch(value):
        return value
    return '"' + "".join(map("\\{:03o}".format, value.encode(errors="replace"))) + '"'


@lru_cache(128)
def parameters(query: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors="werkzeug.url_quote"):
        found[name] = (*found.get(name, ()), value)
    return found


def best_name(header: str, choices: Sequence[str], default: str | None) -> str:
    """The input that ``best_match(choices, default)`` of an Accept header reads: its result."""
    wanted = json.dumps(list(choices), separators=(",", ":"))
    return f"best {header} of {wanted} else {json.dumps(default)}"


@lru_cache(256)
def best_of(name: str) -> tuple[str, tuple[str, ...], str | None] | None:
    """The header, choices and default of such a name; None if it is no such name."""
    _, header, rest = (*name.split(" ", 2), "", "")[:3]
    try:
        choices, end = json.JSONDecoder().raw_decode(rest, len("of "))
        default = json.loads(rest[end:].removeprefix(" else "))
    except (ValueError, RecursionError):
        return None
    texts = (*choices, "" if default is None else default) if type(choices) is list else (None,)
    if header not in _ACCEPT or not all(type(text) is str for text in texts):
        return None
    return header, tuple(choices), default


def named(name: str) -> str:
    """An input, as people call it."""
    if name.startswith("best ") and (found := best_of(name)) is not None:
        header, offers, _ = found
        return f"best {header} of {', '.join(offers)}"
    return name


@lru_cache(1024)
def best(name: str, text: str | None) -> Hashable:
    found = best_of(name)
    if found is None:
        return None
    header, choices, default = found
    try:
        return parse_accept_header(text, _ACCEPT[header]).best_match(choices, default)  # type: ignore[arg-type]
    except Exception:  # a name that no codec can have, or a choice that is no media type
        return ("header", text)
