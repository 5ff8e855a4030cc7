"""The inputs of a load that no caller stands behind: what a key's values say.

Pure: no async, no threads, no clock; must not import Flask.
"""

import enum
import sys
from collections.abc import Hashable, Sequence
from typing import Any
from urllib.parse import quote_plus

from .fieldtext import best_of, cookie_header
from .inputs import Inputs, Rules
from .keys import canonical_query
from .names import key_of


def nobody(
    names: Sequence[str], values: Sequence[Hashable], rules: Rules, query: str = ""
) -> Inputs | None:
    """The inputs of a load that no caller stands behind: what a key says, all else absent.

    None where no request has these values. They may come from a shared store: nothing raises.
    """
    try:
        inputs = _request_of(names, values, rules, query)
        return inputs if inputs.under(names)[0] == tuple(values) else None
    except Exception:
        return None


def _request_of(names: Sequence[str], values: Sequence[Any], rules: Rules, query: str) -> Inputs:
    environ: dict[str, Any] = {}
    g: dict[str, Any] = {}
    cookies: dict[str, str] = {}
    parameters: list[tuple[str, str]] = []
    for name, value in zip(names, values, strict=True):
        word, _, rest = name.partition(" ")
        if value is None or word == "best":
            continue
        if name == "g.*":
            g.update((each, _untagged(tagged)) for each, tagged in value)
        elif name.startswith("g."):
            g[name[2:]] = _untagged(value[1])
        elif name == "all headers":
            environ.update((key_of(header), text) for header, text in value)
        elif word == "cookie":
            cookies[rest] = value
        elif name == "query":
            query = value
        elif word == "query":
            parameters += [(rest, each) for each in value]
        else:
            environ[_KEYS.get(name) or key_of(rest)] = value
    if cookies:
        environ.setdefault("HTTP_COOKIE", cookie_header(cookies))
    if str(environ.get("HTTP_HOST")).endswith(":80"):  # which is no part of http's hosts
        environ.setdefault("wsgi.url_scheme", "https")
    for key, texts in _accepting(names, values).items():
        environ.setdefault(key, ",".join(texts))
    written = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in parameters)
    return Inputs(environ, g, {}, rules, query or canonical_query(written.encode()))


_KEYS = {"host": "HTTP_HOST", "scheme": "wsgi.url_scheme", "cookies": "HTTP_COOKIE"}


def _accepting(names: Sequence[str], values: Sequence[Any]) -> dict[str, dict[str, None]]:
    """Accept headers that may well have led to the results of ``best_match``."""
    found: dict[str, dict[str, None]] = {}
    for name, value in zip(names, values, strict=True):
        best = best_of(name) if name.startswith("best ") else None
        if best is not None and value != best[2]:
            text = value[1] if type(value) is tuple else value
            found.setdefault(key_of(best[0]), {})[text] = None
    return found


def _untagged(tagged: Any) -> Any:
    """The simple value that a canonical one stands for."""
    if type(tagged) is str:
        return tagged
    kind, value = tagged
    if kind == "int":
        return int(value, 16) if type(value) is str else value
    if kind in ("float", "complex"):
        return float(value) if kind == "float" else complex(value)
    return value if kind in ("NoneType", "bool", "bytes") else _member(kind, value)


def _member(path: str, value: Any) -> Any:
    """A member of an enum of a module that is loaded already; nothing is imported or called."""
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:end]))
        if found is None:
            continue
        for part in parts[end:]:
            found = vars(found)[part]
        if issubclass(found, enum.Enum):
            return found(value) if issubclass(found, enum.Flag) else found.__members__[value]
    raise LookupError(path)
