"""Header text: what a response's fields say about storing it, and what we say about it.

Pure: strings in, values and strings out. No async, no threads, no clock; knows no framework.
Malformed input never raises: a cache reads what strangers write.
"""

import re
from collections.abc import Iterable, Mapping

Fields = Iterable[tuple[str, str]]

# RFC 9110 §15.1, less the ones that need more than the decorator's word to be stored.
STORABLE = frozenset({200, 203, 204, 300, 301, 308})

# token [ "=" ( token / quoted-string ) ], RFC 9110 §5.6 and RFC 9111 §5.2
_DIRECTIVE = re.compile(
    r'\s*([^\s=,;"]+)\s*(?:=\s*("(?:[^"\\]|\\.)*"|[^,]*))?\s*(?:,|$)', re.DOTALL
)
_TOKEN = re.compile(r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*\Z")
_MOST = 999_999_999_999_999  # RFC 8941 §3.3.1
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


def directives(values: Iterable[str]) -> dict[str, str]:
    """The directives of one field given over several lines, names in lower case.

    A quoted value is unquoted; of repeated names the first counts (RFC 9111 §4.2.1).
    """
    found: dict[str, str] = {}
    for match in _DIRECTIVE.finditer(",".join(values)):
        name, value = match.group(1).lower(), (match.group(2) or "").strip()
        if value[:1] == '"' and value[-1:] == '"' and len(value) > 1:
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        found.setdefault(name, value)
    return found


def lines(fields: Fields, name: str) -> list[str]:
    """Every value of a field, in order; names compare without case."""
    return [value for field, value in fields if field.lower() == name]


def forbids_storing(fields: Fields) -> str:
    """Why these response fields forbid to store the answer or to give it to a second person.

    The text is empty where they do not. RFC 9111 §3, §5.2.2.5, §5.2.2.7; RFC 9110 §12.5.5.
    """
    fields = list(fields)
    if lines(fields, "set-cookie"):
        return "sets a cookie"
    said = directives(lines(fields, "cache-control"))
    for name in ("no-store", "private"):
        if name in said:
            return f"Cache-Control {name}"
    if "*" in directives(lines(fields, "vary")):
        return "Vary *"
    return ""


def cache_status(**parameters: str | int | bool) -> str:
    """Our member of ``Cache-Status`` (RFC 9211), parameters in the order given.

    True is a bare parameter, False is left out; `fwd_status` is written ``fwd-status``.
    """
    parts = ["aswr"]
    for name, value in parameters.items():
        if value is True:
            parts.append(name)
        elif value is not False and value != "":
            parts.append(f"{name.replace('_', '-')}={_item(value)}")
    return "; ".join(parts)


def _item(value: str | int) -> str:
    """An sf-integer, sf-token or sf-string (RFC 8941 §3.3)."""
    if isinstance(value, int):
        return str(max(-_MOST, min(_MOST, value)))
    if _TOKEN.match(value):
        return value
    plain = _UNPRINTABLE.sub("?", value)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def without_ours(fields: Fields) -> list[tuple[str, str]]:
    """The fields less what aswr adds when it answers: ``Age`` and its ``Cache-Status`` member."""
    return [
        (name, value)
        for name, value in fields
        if name.lower() != "age"
        and not (name.lower() == "cache-status" and value.split(";")[0].strip() == "aswr")
    ]


def media_type(fields: Fields) -> str:
    """The media type in lower case, without parameters; empty where there is none."""
    found = lines(fields, "content-type")
    return found[0].split(";")[0].strip().lower() if found else ""


def storable(status: int, statuses: Mapping[int, float]) -> bool:
    """Is an answer of this status stored without the response saying so?"""
    return status in STORABLE or status in statuses
