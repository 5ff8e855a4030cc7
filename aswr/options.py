"""The options of decorators and the config, validated early, with the cure in the error's text.

Pure: no async, no threads, no clock. What a decorator leaves open is ``UNSET`` until an app's
config decides.
"""

import difflib
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Any, Final, Literal

from .inputs import Rules
from .names import PRESET_FUNCTIONS, Kind, input_name
from .policy import Times

Seconds = float | timedelta


class Unset(Enum):
    """Not given: the app's config decides."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
UnsetType = Literal[Unset.UNSET]

MIB = 1024 * 1024

# Every config key, with the default that holds where the app's config says nothing.
CONFIG: Final[Mapping[str, Any]] = {
    "ASWR_ENABLED": True,
    "ASWR_CACHE": None,
    "ASWR_MAX_BYTES": 64 * MIB,
    "ASWR_NAMESPACE": None,
    "ASWR_BASE_URL": None,
    "ASWR_DRAIN_TIMEOUT": 5.0,
    "ASWR_MAX_WAITERS": 256,
    "ASWR_WORKERS": None,
    "ASWR_THREADS": 64,
    "ASWR_REFRESH_MARGIN": None,
    "ASWR_STALE_IF_ERROR": 0.0,
    "ASWR_JITTER": 0.0,
    "ASWR_SOFT_TIMEOUT": None,
    "ASWR_LOAD_TIMEOUT": None,
    "ASWR_WAIT_TIMEOUT": 25.0,
    "ASWR_STATUSES": {},
    "ASWR_MAX_BODY": 4 * MIB,
    "ASWR_BLOCKING": False,
    "ASWR_RUN_BEFORE_REQUEST": False,
    "ASWR_EMIT_CACHE_CONTROL": False,
    "ASWR_REQUEST_DIRECTIVES": False,
    "ASWR_CDN_TIMEOUT": None,
    "ASWR_STRICT": False,
    "ASWR_IGNORE": (),
    "ASWR_PERSONAL": (),
    "ASWR_MAX_VARIANTS": 64,
}


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


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return value


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value <= 0:
        raise ValueError(f"{name} must be more than zero, got {value!r}")
    return value


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
    if rules.blank(found) or found == "body":
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


def _is_function(text: str) -> bool:
    return ":" in text and text.partition(":")[0].strip().lower() != "cookie"


def _ignore(name: str, value: Any) -> tuple[str, ...]:
    texts = _names(name, value)
    for text in texts:
        dotted = "." in text.partition(":")[0]
        if (_is_function(text) or dotted) and not _FUNCTION.fullmatch(text):
            raise ValueError(
                f"{name}: {text!r} is no function; write 'module:function', as in "
                "'flask_login.utils:_create_identifier'. What else can be ignored: a header, "
                "'cookie:NAME', 'remote_addr'"
            )
        if not _is_function(text):
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


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "refresh_margin": _margin,
    "stale_if_error": lambda name, value: seconds(name, value, zero=True),
    "jitter": _jitter,
    "soft_timeout": _optional_seconds,
    "load_timeout": _optional_seconds,
    "wait_timeout": _optional_seconds,
    "statuses": _statuses,
    "max_body": _count,
    "blocking": _flag,
    "run_before_request": _flag,
    "public": _flag,
    "query": _query,
    "vary": _vary,
    "ignore": _ignore,
    "emit_cache_control": _flag,
    "request_directives": _flag,
    "cdn_timeout": _optional_seconds,
    "strict": _flag,
    "personal": _personal,
    "max_variants": _count,
    "enabled": _flag,
    "max_bytes": _count,
    "drain_timeout": lambda name, value: seconds(name, value, zero=True),
    "max_waiters": _count,
    "threads": _count,
    "workers": lambda name, value: None if value is None else _count(name, value),
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


@dataclass(frozen=True, slots=True)
class Plan:
    """The options of one decorator as they hold in one app."""

    times: Times
    statuses: Mapping[int, float] = field(default_factory=dict)
    max_body: int = 4 * MIB
    blocking: bool = False
    run_before_request: bool = False
    rules: Rules = field(default_factory=Rules)
    public: bool = False
    emit_cache_control: bool = False
    request_directives: bool = False
    cdn_timeout: float | None = None


TIME_OPTIONS = (
    "refresh_margin", "stale_if_error", "jitter", "soft_timeout", "load_timeout", "wait_timeout",
)  # fmt: skip
VIEW_OPTIONS = (
    "statuses", "max_body", "blocking", "run_before_request", "emit_cache_control",
    "request_directives", "cdn_timeout",
)  # fmt: skip

_ASKED_IN_THE_REQUEST = (
    "a public answer is given before anything of the app runs, and {} is called in the request; "
    "leave out one of them"
)
_LIFETIME = (
    "without timeout the response's own Cache-Control alone decides how long it lives; "
    "write timeout=60 beside it, or let the view say it"
)
# What makes no sense beside what, and why; names alone mean that anything was given.
_SENSELESS = (
    ("public=True", "scope", _ASKED_IN_THE_REQUEST.format("scope")),
    ("public=True", "key", _ASKED_IN_THE_REQUEST.format("key")),
    ("public=True", "unless", _ASKED_IN_THE_REQUEST.format("unless")),
    (
        "public=True",
        "emit_cache_control",
        "public answers always say how long they live; leave out emit_cache_control",
    ),
    (
        "public=True",
        "run_before_request=False",
        "a public view is rendered with all the hooks of its app, since none run when its answer "
        "is given; leave out run_before_request",
    ),
    (
        "public=False",
        "cdn_timeout",
        "a CDN must not keep what the app's hooks may guard; write public=True if they guard "
        "nothing, or leave out cdn_timeout",
    ),
    (
        "vary='response'",
        "scope",
        "where the response's Vary decides, what is personal is passed on; leave out one of them",
    ),
    (
        "vary='response'",
        "query='read'",
        "where the response's Vary decides, nobody notes what the view reads, and Vary knows no "
        "parameters; name them, as in query=['page'], or leave out query",
    ),
    ("timeout=None", "refresh_margin", _LIFETIME),
    ("timeout=None", "jitter", _LIFETIME),
    ("timeout=None", "statuses", _LIFETIME),
)


def check_given(
    timeout: float | None, given: Mapping[str, Any], calls: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The options that a decorator was given, checked; UNSET ones are left out.

    ``calls`` are its other options, checked already. Raises `ValueError` also for options that
    make no sense together.
    """
    checked = {
        name: _CHECKS[name](name, value) for name, value in given.items() if value is not UNSET
    }
    margin = checked.get("refresh_margin")
    if margin is not None and timeout is not None and margin >= timeout:
        raise ValueError(
            f"refresh_margin={margin:g} must be below timeout={timeout:g}: an answer is fresh for "
            "timeout - refresh_margin; leave it out to have it chosen by the measured load time"
        )
    _refuse_senseless({**checked, **(calls or {}), "timeout": timeout})
    return checked


def _refuse_senseless(options: Mapping[str, Any]) -> None:
    facts = {name for name, value in options.items() if value is not None}
    facts |= {
        f"{name}={value!r}"
        for name, value in options.items()
        if value is None or isinstance(value, (bool, str))
    }
    for one, other, why in _SENSELESS:
        if one in facts and other in facts:
            raise ValueError(f"{one} and {other} make no sense together: {why}")
    vary = options.get("vary")
    if isinstance(vary, frozenset):
        for text in options.get("ignore", ()):
            if not _is_function(text) and input_name(text) in vary:
                raise ValueError(f"{text!r} is in vary and in ignore; leave it out of one of them")


def _rules(given: Mapping[str, Any], config: Mapping[str, Any]) -> Rules:
    """What a view's renders see: the decorator's word, the app's additions, the presets."""
    vary = given.get("vary", "read")
    texts: Iterable[str] = {*given.get("ignore", ()), *config["ASWR_IGNORE"]}
    functions = {text for text in texts if _is_function(text)}
    ignore = frozenset(input_name(text) for text in texts if text not in functions)
    if isinstance(vary, frozenset):
        ignore -= vary  # the decorator knows its view better than the config
    return Rules(
        given.get("query", True), vary, ignore, PRESET_FUNCTIONS | functions,
        config["ASWR_PERSONAL"],
    )  # fmt: skip


def plan(timeout: float | None, given: Mapping[str, Any], config: Mapping[str, Any]) -> Plan:
    """The options as they hold: what was given, else the app's config."""

    def value(name: str) -> Any:
        return given[name] if name in given else config[f"ASWR_{name.upper()}"]

    times = {name: value(name) for name in TIME_OPTIONS}
    options = {name: value(name) for name in VIEW_OPTIONS}
    if times["wait_timeout"] is None:
        times["wait_timeout"] = config["ASWR_WAIT_TIMEOUT"] or CONFIG["ASWR_WAIT_TIMEOUT"]
    margin = times["refresh_margin"]
    if margin is not None and (timeout is None or margin >= timeout):
        times["refresh_margin"] = None  # a default for longer timeouts than this one
    if timeout is None:  # defaults for views that have a timeout
        times["jitter"], options["statuses"] = 0.0, {}
    public = given.get("public", False)
    if public:
        options["run_before_request"] = True
    else:
        options["cdn_timeout"] = None
    rules = _rules(given, config)
    return Plan(Times(timeout, **times), **options, rules=rules, public=public)


def read_config(app_config: Mapping[str, Any]) -> dict[str, Any]:
    """Every ``ASWR_`` key of an app's config, checked, with defaults for the rest.

    Raises `ValueError` for an unknown key, naming the nearest known one.
    """
    config = dict(CONFIG)
    for name, value in app_config.items():
        if not name.startswith("ASWR_"):
            continue
        if name not in CONFIG:
            near = difflib.get_close_matches(name, CONFIG, n=1, cutoff=0.85)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(CONFIG)}"
            raise ValueError(f"unknown config key {name}{hint}")
        check = _CHECKS.get(name.removeprefix("ASWR_").lower())
        config[name] = check(name, value) if check else value
    return config
