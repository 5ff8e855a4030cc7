"""The options of decorators and the config, validated early, with the cure in the error's text.

Pure: no async, no threads, no clock. What a decorator leaves open is ``UNSET`` until an app's
config decides.
"""

import difflib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Any, Final, Literal

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
            f"@manager.{decorator} needs parentheses and a timeout: "
            f"write @manager.{decorator}(timeout=60)"
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


TIME_OPTIONS = (
    "refresh_margin", "stale_if_error", "jitter", "soft_timeout", "load_timeout", "wait_timeout",
)  # fmt: skip
VIEW_OPTIONS = ("statuses", "max_body", "blocking", "run_before_request")


def check_given(timeout: float, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a decorator was given, checked; UNSET ones are left out."""
    checked = {
        name: _CHECKS[name](name, value) for name, value in given.items() if value is not UNSET
    }
    margin = checked.get("refresh_margin")
    if margin is not None and margin >= timeout:
        raise ValueError(
            f"refresh_margin={margin:g} must be below timeout={timeout:g}: an answer is fresh for "
            "timeout - refresh_margin; leave it out to have it chosen by the measured load time"
        )
    return checked


def plan(timeout: float, given: Mapping[str, Any], config: Mapping[str, Any]) -> Plan:
    """The options as they hold: what was given, else the app's config."""

    def value(name: str) -> Any:
        return given[name] if name in given else config[f"ASWR_{name.upper()}"]

    times = {name: value(name) for name in TIME_OPTIONS}
    if times["wait_timeout"] is None:
        times["wait_timeout"] = config["ASWR_WAIT_TIMEOUT"] or CONFIG["ASWR_WAIT_TIMEOUT"]
    margin = times["refresh_margin"]
    if margin is not None and margin >= timeout:
        times["refresh_margin"] = None  # a default for longer timeouts than this one
    return Plan(Times(timeout, **times), **{name: value(name) for name in VIEW_OPTIONS})


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
