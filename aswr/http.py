"""Header text: the primitives of reading and writing it.

Pure: strings in, values and strings out. No async, no threads, no clock; knows no framework.
Malformed input never raises, and takes time in proportion to its length: a cache reads what
strangers write. What a response or a request means by its fields: ``freshness``, ``conditions``.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

Fields = Iterable[tuple[str, str]]

# RFC 9110 §15.1, less the ones that need more than the decorator's word to be stored.
STORABLE = frozenset({200, 203, 204, 300, 301, 308})
MOST_SECONDS = 2.0**31  # RFC 9111 §1.2.2: what is greater counts as this

# token [ "=" ( token / quoted-string ) ], RFC 9110 §5.6 and RFC 9111 §5.2. A semicolon or a space
# written where a comma belongs separates too: `max-age=60; private` must not hide its private.
_DIRECTIVE = re.compile(
    r'([^\s=,;"]+)\s*'
    r'(?:(=)\s*("(?:[^"\\]|\\.)*"(?=\s*(?:[,;]|\Z))|[^\s,;]*)(?=\s*([^\s,;]?)))?',
    re.DOTALL,
)
_MEMBER = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.?)*(?:"|\Z))+', re.DOTALL)
_ETAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'  # RFC 9110 §8.8.3
_ETAGS = re.compile(rf"[ \t]*({_ETAG})[ \t]*(?:,|\Z)|[^,]*(?:,|\Z)")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_TOKEN = re.compile(r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*\Z")
_MOST = 999_999_999_999_999  # RFC 8941 §3.3.1
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")

# One member of a structured list (RFC 8941 §4.2.1), when it is a string. Its parameters may be
# of any type, also of those of RFC 9651 (dates, display strings).
_STRING = r'"((?:[ !#-\[\]-~]|\\["\\])*)"'
_BARE = (
    r"(?:-?[0-9]{1,12}\.[0-9]{1,3}|@?-?[0-9]{1,15}|\?[01]|:[A-Za-z0-9+/=]*:"
    r'|%?"(?:[ !#-\[\]-~]|\\["\\])*"|[A-Za-z*][A-Za-z0-9!#$%&\'*+.^_`|~:/-]*)'
)
_LISTED = re.compile(rf"{_STRING}(?:; *[a-z*][a-z0-9_.*-]*(?:={_BARE})?)*[ \t]*(,[ \t]*|\Z)")

_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_DATES = tuple(
    # In any case: RFC 9111 §4.2.
    re.compile(pattern, re.ASCII | re.IGNORECASE)
    for pattern in (
        rf"{_DAY}, (?P<day>\d\d) {_MONTH} (?P<year>\d{{4}}) {_TIME} GMT",
        rf"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, "
        rf"(?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_TIME} GMT",
        rf"{_DAY} {_MONTH} (?P<day>\d\d| \d) {_TIME} (?P<year>\d{{4}})",
    )
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()
_LAST = (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH).total_seconds()


def directives(values: Iterable[str]) -> dict[str, str]:
    """The directives of one field given over several lines, names in lower case.

    A quoted value is unquoted; of repeated names the first counts (RFC 9111 §4.2.1).
    """
    return {name: given[0] or "" for name, given in all_directives(values).items()}


def all_directives(values: Iterable[str]) -> dict[str, list[str | None]]:
    """As ``directives``, with every value of each name, ``None`` where one has no ``=``.

    A value that something but a separator follows is malformed, and empty.
    """
    found: dict[str, list[str | None]] = {}
    for match in _DIRECTIVE.finditer(",".join(values)):
        name, equals, value, junk = match.groups("")
        if value[:1] == '"' and value[-1:] == '"' and len(value) > 1:
            value = re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL)
        given = found.setdefault(name.lower(), [])
        given.append(("" if junk else value) if equals else None)
    return found


def by_name(fields: Fields) -> dict[str, list[str]]:
    """Every value of each field, in order, under its name in lower case."""
    found: dict[str, list[str]] = {}
    for name, value in fields:
        found.setdefault(name.lower(), []).append(value)
    return found


def lines(fields: Fields, name: str) -> list[str]:
    """Every value of a field, in order; names compare without case."""
    return [value for field, value in fields if field.lower() == name]


def members(values: Iterable[str]) -> list[str]:
    """The members of a comma-separated list over several lines, trimmed, empty ones left out.

    A comma in a quoted string separates nothing; a quote that is not closed runs to the end of
    the last line. RFC 9110 §5.6.1.
    """
    found = (match.group().strip() for match in _MEMBER.finditer(",".join(values)))
    return [member for member in found if member]


def etags(text: str) -> tuple[str, ...]:
    """The entity tags of an ``If-None-Match``, as they are written, malformed ones left out.

    ``("*",)`` where that is the whole text. Backslashes escape nothing. RFC 9110 §8.8.3, §13.1.2.
    """
    if text.strip(" \t") == "*":
        return ("*",)
    return tuple(match.group(1) for match in _ETAGS.finditer(text) if match.group(1))


def string_list(values: Iterable[str]) -> tuple[str, ...] | None:
    """The strings of a structured list, their parameters ignored.

    ``None`` where the field is anything else: it then counts as absent. RFC 8941 §3.1, §4.2.
    """
    text, position, more = ",".join(values).strip(" "), 0, False
    found: list[str] = []
    while position < len(text) or more:
        match = _LISTED.match(text, position)
        if match is None:
            return None
        found.append(re.sub(r"\\(.)", r"\1", match.group(1)))
        position, more = match.end(), bool(match.group(2))
    return tuple(found)


def delta_seconds(text: str) -> float | None:
    """A number of seconds, digits alone; ``None`` if it is anything else. RFC 9111 §1.2.2."""
    return min(float(text), MOST_SECONDS) if text.isascii() and text.isdigit() else None


def date(text: str, now: float | None = None) -> float | None:
    """An HTTP-date in seconds since the epoch; ``None`` if it is not one of the three formats.

    The name of the day has to be one, but not the right one. Two digits of a year mean the latest
    such year that is not more than 50 years after ``now``; without ``now``, 1970 to 2069.
    RFC 9110 §5.6.7.
    """
    text = text.strip(" \t")
    match = next((found for pattern in _DATES if (found := pattern.fullmatch(text))), None)
    if match is None:
        return None
    year, month = int(match["year"]), _MONTHS.index(match["month"].lower()) + 1
    day, hour, minute, second = (int(match[part]) for part in ("day", "hour", "minute", "second"))
    if second == 60 and (hour, minute) == (23, 59):
        second = 59  # a leap second counts as the one before it: RFC 9111 §4.2, "or earlier"
    if len(match["year"]) == 2:
        year = _century(year, (month, day, hour, minute, second), now)
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return (moment - _EPOCH).total_seconds()


def _century(year: int, rest: tuple[int, ...], now: float | None) -> int:
    """The whole year that two digits mean."""
    if now is None:
        return year + (1900 if year >= 70 else 2000)
    today = _moment(now)
    year = today.year + 50 - (today.year + 50 - year) % 100
    limit = (today.month, today.day, today.hour, today.minute, today.second)
    return year - 100 if year == today.year + 50 and rest > limit else year


def format_date(seconds: float) -> str:
    """The HTTP-date of a moment, in whole seconds, rounded down. RFC 9110 §5.6.7."""
    return format_datetime(_moment(seconds), usegmt=True)


def _moment(seconds: float) -> datetime:
    """The moment in whole seconds; what no date can be is the nearest one that can."""
    return _EPOCH + timedelta(seconds=max(_FIRST, min(seconds, _LAST)) // 1)


def vary_names(fields: Fields) -> tuple[str, ...]:
    """The field names of every ``Vary`` line, Title-Case, in order; ``("*",)`` if it has a ``*``.

    What separates names other than a comma is malformed, and the names count. RFC 9110 §12.5.5.
    """
    found = [name.title() for text in lines(fields, "vary") for name in _NAME.findall(text)]
    return ("*",) if "*" in found else tuple(dict.fromkeys(found))


def with_vary(fields: Fields, names: Iterable[str]) -> list[tuple[str, str]]:
    """The fields with one ``Vary`` line that has their own names and these; none for no names."""
    fields = list(fields)
    wanted = vary_names([*fields, ("Vary", ", ".join(names))])
    kept = [(name, value) for name, value in fields if name.lower() != "vary"]
    return [*kept, ("Vary", ", ".join(wanted))] if wanted else kept


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
