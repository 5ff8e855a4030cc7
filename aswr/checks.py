"""The checks of single options: what came in, or an error with the cure in its text.

Pure: no async, no threads, no clock.
"""

import inspect
import math
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from .coding import CODINGS, require
from .inputs import Rules
from .names import Kind, input_name

Seconds = float | timedelta
SHORTEST_TOKEN = 16  # characters


def seconds(name: str, value: Any, *, zero: bool = False) -> float:
    """A duration in seconds; raises `TypeError` or `ValueError` with the cure."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(
            f"{name} must be seconds (int or float) or a timedelta, got {value!r}; "
            f"write {name}=60 or {name}=timedelta(minutes=1)"
        )
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        least = "zero or more" if zero else "more than zero"
        raise ValueError(f"{name} must be {least} and finite, in seconds, got {value!r}")
    return float(value)


def timeout_of(decorator: str, value: Any) -> float:
    """The first argument of a decorator, which people forget together with its parentheses."""
    if callable(value) or isinstance(value, (staticmethod, classmethod)):
        raise TypeError(
            f"@manager.{decorator} needs parentheses: write @manager.{decorator}(timeout=60)"
        )
    return seconds("timeout", value)


def refuse_undecoratable(decorator: str, function: Any) -> None:
    """Raise `TypeError` for what is not a function that returns one value."""
    if inspect.isclass(function):
        raise TypeError(
            f"{decorator} decorates functions, got the class {function.__qualname__}; for a "
            f"class-based view set decorators = [manager.{decorator}(...)] or decorate its method"
        )
    if not callable(function):
        raise TypeError(f"{decorator} decorates functions, got {function!r}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(
            f"{decorator} cannot decorate the generator function {name}: it "
            "returns before it has a value; return the finished value, or from a view "
            "Response(generator())"
        )


def _optional_seconds(name: str, value: Any) -> float | None:
    return None if value is None else seconds(name, value)


def _margin(name: str, value: Any) -> float | None:
    return None if value is None else seconds(name, value, zero=True)


def check_flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return value


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value <= 0:
        raise ValueError(f"{name} must be more than zero, got {value!r}")
    return value


def check_limit(name: str, value: Any) -> int | None:
    """None, or how many there may be; none at all is zero."""
    zero = value == 0 and isinstance(value, int) and not isinstance(value, bool)
    return value if value is None or zero else _count(name, value)


def _text(name: str, value: Any, *, empty: bool = False) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, got {value!r}")
    if (not value and not empty) or len(value) > 100 or not value.isprintable():
        raise ValueError(f"{name} must be printable and have 1 to 100 characters, got {value!r}")
    return value


def _lease(name: str, value: Any) -> float:
    lease = seconds(name, value)
    if lease < 0.5:
        raise ValueError(
            f"{name} must be 0.5 s or more, got {value!r}: a leader renews it four times, and one "
            "that pauses for longer loses it"
        )
    return lease


def _partition(name: str, value: Any) -> str:
    if value not in ("serve", "refuse"):
        raise ValueError(
            f"{name} is 'serve' (what is in memory until it ends) or 'refuse' (nothing that may "
            f"have been purged), got {value!r}"
        )
    return str(value)


def _jitter(name: str, value: Any) -> float:
    share = seconds(name, value, zero=True)
    if share > 0.5:
        raise ValueError(f"{name} is a share of the timeout, from 0 to 0.5, got {value!r}")
    return share


def _statuses(name: str, value: Any) -> dict[int, float]:
    if not isinstance(value, Mapping):
        raise TypeError(
            f"{name} maps statuses to seconds, got {value!r}; write statuses={{404: 30}}"
        )
    for status in value:
        if not isinstance(status, int) or not 200 <= status < 500 or status in (206, 304):
            raise ValueError(
                f"{name}: {status!r} cannot be stored; take whole answers from 200 to 499. "
                "A 5xx is a failed load: see stale_if_error="
            )
    return {status: seconds(f"{name}[{status}]", life) for status, life in value.items()}


def _names(name: str, value: Any) -> tuple[str, ...]:
    """A collection of names as a tuple, sorted; a lone str would be taken for its letters."""
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{name} takes a list of names, got {value!r}; write {name}=[{value!r}]")
    try:
        names = tuple(value)
    except TypeError:
        raise TypeError(f"{name} takes a list of names (str), got {value!r}") from None
    for one in names:
        if not isinstance(one, str):
            raise TypeError(f"{name} takes a list of names (str), got {one!r} in {value!r}")
        if not one.strip():
            raise ValueError(f"{name}: an empty name in {value!r}; leave it out")
        if names.count(one) > 1:
            raise ValueError(f"{name}: {one!r} occurs twice in {value!r}; leave one out")
    return tuple(sorted(names))


def _input(name: str, text: str) -> str:
    try:
        return input_name(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _query(name: str, value: Any) -> Any:
    if value is True or value == "read":
        return value
    if value is False or value is None:
        raise TypeError(
            f"{name} is True (all parameters), 'read' (those that the view reads) or a list of "
            f"parameters, got {value!r}; for a view that takes none write {name}=[]"
        )
    return _names(name, value)


def _vary(name: str, value: Any) -> Any:
    if value in ("read", "response"):
        return value
    return frozenset(_varying(name, text) for text in _names(name, value))


def _varying(name: str, text: str) -> str:
    """The input of a header, a cookie or the host, which requests may share by value."""
    found, rules = _input(name, text), Rules()
    if rules.blank(found) or found == "body" or found.startswith("g."):
        raise ValueError(f"{name}: no cached view is shown {text!r}, so leave it out")
    if not found.startswith("cookie ") and rules.kind(found) is not Kind.LEARNED:
        raise ValueError(
            f"{name}: {text!r} says who is asking, and every person's answer would be stored for "
            "all who send the same; leave it out, and requests that bring it run the view; or "
            "name the person by scope=; of Cookie, one by name: 'cookie:theme'"
        )
    return found


# A dotted module, a colon, a qualified name: `flask_login.utils:_create_identifier`.
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.([^\W\d]\w*|<locals>))*")


def is_function(text: str) -> bool:
    return ":" in text and text.partition(":")[0].strip().lower() != "cookie"


def _ignore(name: str, value: Any) -> tuple[str, ...]:
    texts = _names(name, value)
    for text in texts:
        dotted = "." in text.partition(":")[0] and not text.startswith("g.")
        if (is_function(text) or dotted) and not _FUNCTION.fullmatch(text):
            raise ValueError(
                f"{name}: {text!r} is no function; write 'module:function', as in "
                "'flask_login.utils:_create_identifier'. What else can be ignored: a header, "
                "'cookie:NAME', 'remote_addr', 'g.NAME'"
            )
        if not is_function(text):
            _input(name, text)
    return texts


_PATTERN = re.compile(r"[A-Za-z0-9*_-]+")


def _personal(name: str, value: Any) -> tuple[str, ...]:
    patterns = _names(name, value)
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            raise ValueError(
                f"{name}: {pattern!r} is no pattern of header names; write 'X-Customer-*'"
            )
    return tuple(sorted({pattern.lower().replace("_", "-") for pattern in patterns}))


def _compress(name: str, value: Any) -> tuple[str, ...]:
    """The codings to keep, whose libraries are there."""
    if isinstance(value, bool):
        codings = CODINGS if value else ()
    else:
        names = _names(name, value)
        unknown = sorted(set(names) - set(CODINGS))
        if unknown:
            raise ValueError(
                f"{name}: {unknown[0]!r} is no coding that answers are kept in; "
                f"take of {', '.join(CODINGS)}, or True for all of them"
            )
        codings = tuple(coding for coding in CODINGS if coding in names)
    require(name, codings)
    return codings


def check_token(name: str, value: Any) -> str | None:
    """None, or a secret that nobody guesses, less the line end of the file that it is from."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text, got {type(value).__name__}")
    token = value.strip()
    if len(token) < SHORTEST_TOKEN:
        raise ValueError(
            f"{name} has {len(token)} characters, and needs {SHORTEST_TOKEN} or more: "
            "python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one"
        )
    return token


CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "refresh_margin": _margin,
    "stale_if_error": lambda name, value: seconds(name, value, zero=True),
    "jitter": _jitter,
    "soft_timeout": _optional_seconds,
    "load_timeout": _optional_seconds,
    "wait_timeout": _optional_seconds,
    "statuses": _statuses,
    "max_body": _count,
    "blocking": check_flag,
    "run_before_request": check_flag,
    "run_async_views": check_flag,
    "public": check_flag,
    "query": _query,
    "vary": _vary,
    "ignore": _ignore,
    "emit_cache_control": check_flag,
    "request_directives": check_flag,
    "cdn_timeout": _optional_seconds,
    "compress": _compress,
    "strict": check_flag,
    "personal": _personal,
    "max_variants": _count,
    "enabled": check_flag,
    "max_bytes": _count,
    "drain_timeout": lambda name, value: seconds(name, value, zero=True),
    "max_loads": _count,
    "max_waiters": _count,
    "threads": _count,
    "namespace": lambda name, value: None if value is None else _text(name, value),
    "version": lambda name, value: _text(name, value, empty=True),
    "lease": _lease,
    "store_timeout": seconds,
    "store_compress": lambda name, value: None if value is None else _count(name, value),
    "propagation": seconds,
    "partition": _partition,
    "sign": check_flag,
    "workers": lambda name, value: None if value is None else _count(name, value),
    "admin_token": check_token,
}

Tags = tuple[str, ...] | Callable[[Any], Any]


def check_tags(tags: Any) -> Tags:
    """A tuple of names, or a callable of the result that gives one."""
    if callable(tags):
        return tags  # type: ignore[no-any-return]
    return tag_tuple(tags)


def tag_tuple(tags: Any) -> tuple[str, ...]:
    """The names as a tuple; raises `TypeError` where they are not names."""
    if isinstance(tags, str):
        raise TypeError(f"tags must be a tuple of names, got the str {tags!r}; write ({tags!r},)")
    try:
        names = tuple(tags)
    except TypeError:
        names = (tags,)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"tags must be names (str), got {tags!r}")
    return names


def check_callable(name: str, value: Any) -> Any:
    """None, or something to call."""
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be callable, got {value!r}")
    return value
