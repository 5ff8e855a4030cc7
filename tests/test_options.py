"""Options and config: bad ones are refused early, with what to write instead."""

import functools
import math
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st

from aswr import CacheManager
from aswr.options import (
    CONFIG,
    MIB,
    UNSET,
    VIEW_OPTIONS,
    check_callable,
    check_given,
    check_tags,
    plan,
    read_config,
    refuse_undecoratable,
    seconds,
    tag_tuple,
    timeout_of,
)


def refused(call: Callable[[], object], error: type[Exception], *words: str) -> None:
    """The call raises this error, and its text has these words."""
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


# Durations


@pytest.mark.parametrize(
    ("value", "expected"),
    [(5, 5.0), (0.25, 0.25), (timedelta(minutes=1), 60.0), (timedelta(microseconds=1), 1e-6)],
)
def test_durations(value: Any, expected: float) -> None:
    """Seconds are an int, a float or a timedelta, and a float inside."""
    assert seconds("timeout", value) == expected
    assert type(seconds("timeout", value)) is float


@pytest.mark.parametrize(
    "value", [-1, -0.1, 0, 0.0, timedelta(0), timedelta(-1), math.inf, -math.inf, math.nan]
)
def test_durations_out_of_range(value: Any) -> None:
    """A duration is more than zero and finite; the error names the option and the value."""
    refused(lambda: seconds("timeout", value), ValueError, "timeout must be more than zero")
    shown = value.total_seconds() if isinstance(value, timedelta) else value
    refused(lambda: seconds("timeout", value), ValueError, "finite", repr(shown))


@pytest.mark.parametrize("value", ["60", "1m", b"60", True, False, None, [60], 1j, object()])
def test_durations_of_another_type(value: Any) -> None:
    """A str, a bool or anything else is a `TypeError` that shows both ways to write it."""
    words = ("timeout must be seconds", repr(value), "timeout=60", "timedelta(minutes=1)")
    refused(lambda: seconds("timeout", value), TypeError, *words)


def test_zero_where_it_means_never() -> None:
    """Zero is a duration where the option says so, and nothing less is."""
    assert seconds("stale_if_error", 0, zero=True) == 0.0
    refused(lambda: seconds("stale_if_error", -1, zero=True), ValueError, "zero or more")


@pytest.mark.parametrize("decorator", ["cacher", "memoize"])
@pytest.mark.parametrize("kind", ["def", "async def", "class", "staticmethod", "partial"])
def test_a_bare_decorator(decorator: str, kind: str) -> None:
    """A decorator without parentheses says how it is written."""

    def view() -> str:
        return ""

    async def later() -> str:
        return ""

    given_instead: Any = {
        "def": view,
        "async def": later,
        "class": type("Page", (), {}),
        "staticmethod": staticmethod(view),
        "partial": functools.partial(view),
    }[kind]
    text = f"write @manager.{decorator}(timeout=60)"
    refused(lambda: timeout_of(decorator, given_instead), TypeError, "parentheses", text)
    bare = getattr(CacheManager(), decorator)
    refused(lambda: bare(given_instead), TypeError, "parentheses", text)


# What is decorated


def numbers() -> Iterator[int]:
    yield 1


async def later_numbers() -> AsyncIterator[int]:
    yield 1


class Page:
    pass


@pytest.mark.parametrize("decorator", ["cacher", "memoize"])
@pytest.mark.parametrize(
    ("function", "words"),
    [
        (numbers, ("generator function numbers", "return the finished value")),
        (later_numbers, ("generator function later_numbers", "Response(generator())")),
        (functools.partial(numbers), ("generator function",)),
        (Page, ("the class Page", "decorators = [manager.")),
        ("view", ("decorates functions", "'view'")),
        (None, ("decorates functions", "None")),
    ],
    ids=repr,
)
def test_what_cannot_be_decorated(decorator: str, function: Any, words: tuple[str, ...]) -> None:
    """A class, a generator or no function at all is refused at decoration, with the cure."""
    refused(lambda: refuse_undecoratable(decorator, function), TypeError, decorator, *words)
    decorate = getattr(CacheManager(), decorator)(timeout=60)
    refused(lambda: decorate(function), TypeError, decorator, *words)


# Decorators' options


@pytest.mark.parametrize("margin", [20, 20.0, 21, timedelta(seconds=20)])
def test_a_margin_is_below_its_timeout(margin: Any) -> None:
    """A margin not below the timeout would leave no time to be fresh in."""
    words = ("refresh_margin=2", "must be below timeout=20", "leave it out")
    manager = CacheManager()
    refused(lambda: manager.cacher(20, margin), ValueError, *words)
    refused(lambda: manager.memoize(20, margin), ValueError, *words)


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [
        ("refresh_margin", "5", TypeError, ("refresh_margin must be seconds", "'5'")),
        ("stale_if_error", -1, ValueError, ("zero or more",)),
        ("stale_if_error", None, TypeError, ("None",)),
        ("jitter", 0.51, ValueError, ("share of the timeout", "0 to 0.5", "0.51")),
        ("jitter", -0.1, ValueError, ("jitter", "-0.1")),
        ("jitter", True, TypeError, ("jitter", "True")),
        ("jitter", math.nan, ValueError, ("jitter", "nan")),
        ("soft_timeout", 0, ValueError, ("soft_timeout must be more than zero",)),
        ("load_timeout", math.inf, ValueError, ("load_timeout", "finite")),
        ("wait_timeout", "25", TypeError, ("wait_timeout", "'25'")),
        ("statuses", {500: 5}, ValueError, ("500", "failed load", "stale_if_error")),
        ("statuses", {503: 5}, ValueError, ("503",)),
        ("statuses", {206: 5}, ValueError, ("206", "whole answers")),
        ("statuses", {304: 5}, ValueError, ("304",)),
        ("statuses", {199: 5}, ValueError, ("199", "200 to 499")),
        ("statuses", {"404": 5}, ValueError, ("'404'",)),
        ("statuses", {True: 5}, ValueError, ("True",)),
        ("statuses", {404: 0}, ValueError, ("statuses[404]", "more than zero")),
        ("statuses", {404: "5"}, TypeError, ("statuses[404]", "'5'")),
        ("statuses", [404], TypeError, ("[404]", "statuses={404: 30}")),
        ("max_body", 0, ValueError, ("max_body", "more than zero")),
        ("max_body", 1.5, TypeError, ("max_body", "an int", "1.5")),
        ("max_body", True, TypeError, ("max_body", "an int")),
        ("blocking", 1, TypeError, ("blocking must be True or False", "1")),
        ("run_before_request", "no", TypeError, ("run_before_request", "'no'")),
    ],
)
def test_bad_options(name: str, value: Any, error: type[Exception], words: tuple[str, ...]) -> None:
    """A bad option is refused when decorating, and its name and value are in the text."""
    refused(lambda: CacheManager().cacher(60, **{name: value}), error, name, *words)
    if name not in VIEW_OPTIONS:
        refused(lambda: CacheManager().memoize(60, **{name: value}), error, name, *words)


@pytest.mark.parametrize("timeout", [0, -5, "60", None, True, math.inf])
def test_bad_timeouts(timeout: Any) -> None:
    """A timeout that is no duration is refused by both decorators."""
    error = ValueError if type(timeout) in (int, float) else TypeError
    refused(lambda: CacheManager().cacher(timeout), error, "timeout must be", repr(timeout))
    refused(lambda: CacheManager().memoize(timeout), error, "timeout must be", repr(timeout))


@pytest.mark.parametrize("name", ["unless", "store_if", "compute_func"])
def test_callables(name: str) -> None:
    """What is called later is refused now where it cannot be called."""
    refused(lambda: check_callable(name, 5), TypeError, f"{name} must be callable", "5")
    bad: dict[str, Any] = {name: "x"}
    refused(lambda: CacheManager().cacher(60, **bad), TypeError, f"{name} must be callable", "'x'")
    assert check_callable(name, None) is None
    assert check_callable(name, len) is len


def test_none_and_unset() -> None:
    """An option left out stays open for the config, None is an answer of its own."""
    assert check_given(20.0, {"refresh_margin": UNSET, "load_timeout": None}) == {
        "load_timeout": None
    }


@given(st.floats(min_value=0.001, max_value=1e9), st.floats(min_value=0.001, max_value=1e9))
@settings(deadline=None)
def test_a_margin_fits_or_is_refused(timeout: float, margin: float) -> None:
    """Every margin below the timeout is taken as it is, every other refused."""
    if margin < timeout:
        assert check_given(timeout, {"refresh_margin": margin}) == {"refresh_margin": margin}
    else:
        refused(lambda: check_given(timeout, {"refresh_margin": margin}), ValueError, "below")


# Tags


@pytest.mark.parametrize(
    ("tags", "expected"), [((), ()), (("a", "b"), ("a", "b")), (["a"], ("a",)), ({"a"}, ("a",))]
)
def test_tags(tags: Any, expected: tuple[str, ...]) -> None:
    """Tags are any collection of names, a tuple inside; a callable is asked later."""
    assert check_tags(tags) == tag_tuple(tags) == expected
    assert check_tags(len) is len


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ("news", ("a tuple of names", "write ('news',)")),
        (("a", 1), ("names (str)", "('a', 1)")),
        (5, ("names (str)", "5")),
        (None, ("names (str)", "None")),
        (b"ab", ("names (str)", "b'ab'")),
    ],
)
def test_bad_tags(tags: Any, words: tuple[str, ...]) -> None:
    """A lone str would be taken for its letters, so it is refused, as is what is no name."""
    refused(lambda: tag_tuple(tags), TypeError, *words)
    refused(lambda: CacheManager().cacher(60, tags=tags), TypeError, *words)
    refused(lambda: CacheManager().memoize(60, tags=tags), TypeError, *words)


# Config


def test_every_key_has_a_default() -> None:
    """An app that says nothing gets the defaults, other extensions' keys aside."""
    assert read_config({"DEBUG": True, "CACHE_TYPE": "x"}) == dict(CONFIG)
    assert read_config({"ASWR_MAX_BODY": MIB})["ASWR_MAX_BODY"] == MIB
    assert read_config({"ASWR_JITTER": 0.1})["ASWR_JITTER"] == 0.1
    assert read_config({"ASWR_WAIT_TIMEOUT": timedelta(seconds=9)})["ASWR_WAIT_TIMEOUT"] == 9.0


def test_the_defaults_pass_their_own_checks() -> None:
    """Writing a default into the config changes nothing."""
    assert read_config(CONFIG) == dict(CONFIG)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("ASWR_WAIT_TIMOUT", "did you mean ASWR_WAIT_TIMEOUT?"),
        ("ASWR_MAXBYTES", "did you mean ASWR_MAX_BYTES?"),
        ("ASWR_ENABLE", "did you mean ASWR_ENABLED?"),
        ("ASWR_XYZZY_QUUX", "known are ASWR_ENABLED, ASWR_CACHE"),
    ],
)
def test_unknown_keys(name: str, near: str) -> None:
    """An unknown key is an error in `init_app` that names the nearest known one."""
    refused(lambda: read_config({name: 1}), ValueError, f"unknown config key {name}", near)
    app = Flask("shop")
    app.config[name] = 1
    refused(lambda: CacheManager(app), ValueError, name, near)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("ASWR_ENABLED", "false", TypeError),
        ("ASWR_MAX_BYTES", -1, ValueError),
        ("ASWR_MAX_BYTES", "64MB", TypeError),
        ("ASWR_DRAIN_TIMEOUT", -1, ValueError),
        ("ASWR_MAX_WAITERS", 0, ValueError),
        ("ASWR_WORKERS", 0, ValueError),
        ("ASWR_WORKERS", "4", TypeError),
        ("ASWR_THREADS", -1, ValueError),
        ("ASWR_REFRESH_MARGIN", "10", TypeError),
        ("ASWR_JITTER", 0.6, ValueError),
        ("ASWR_WAIT_TIMEOUT", 0, ValueError),
        ("ASWR_STATUSES", {500: 1}, ValueError),
        ("ASWR_BLOCKING", None, TypeError),
    ],
)
def test_bad_config(name: str, value: Any, error: type[Exception]) -> None:
    """A bad value is an error in `init_app` that names key and value."""
    shown = "500" if name == "ASWR_STATUSES" else repr(value)
    refused(lambda: read_config({name: value}), error, name, shown)
    app = Flask("shop")
    app.config[name] = value
    refused(lambda: CacheManager(app), error, name, shown)


# Who decides


def test_given_goes_before_config_before_default() -> None:
    """What the decorator was given holds, else the app's config, else the default."""
    default = read_config({})
    configured = read_config(
        {"ASWR_JITTER": 0.2, "ASWR_LOAD_TIMEOUT": 9, "ASWR_MAX_BODY": 5, "ASWR_STATUSES": {404: 1}}
    )
    given_options = check_given(60.0, {"jitter": 0.1, "load_timeout": None, "statuses": {}})

    plain = plan(60.0, {}, default)
    assert (plain.times.timeout, plain.times.jitter, plain.times.load_timeout) == (60.0, 0.0, None)
    assert (plain.times.wait_timeout, plain.max_body, plain.statuses) == (25.0, 4 * MIB, {})

    from_config = plan(60.0, {}, configured)
    assert (from_config.times.jitter, from_config.times.load_timeout) == (0.2, 9.0)
    assert (from_config.max_body, from_config.statuses) == (5, {404: 1.0})

    decided = plan(60.0, given_options, configured)
    assert (decided.times.jitter, decided.times.load_timeout) == (0.1, None)
    assert (decided.max_body, decided.statuses) == (5, {})


def test_a_wait_always_ends() -> None:
    """``wait_timeout=None`` is the config's limit, and without one the default."""
    unlimited = check_given(60.0, {"wait_timeout": None})
    assert plan(60.0, unlimited, read_config({})).times.wait_timeout == 25.0
    assert plan(60.0, unlimited, read_config({"ASWR_WAIT_TIMEOUT": 3})).times.wait_timeout == 3.0
    assert plan(60.0, {}, read_config({"ASWR_WAIT_TIMEOUT": None})).times.wait_timeout == 25.0


def test_a_configured_margin_is_for_timeouts_that_it_fits() -> None:
    """A margin from the config goes only for longer timeouts; shorter ones choose their own."""
    config = read_config({"ASWR_REFRESH_MARGIN": 30})
    assert plan(60.0, {}, config).times.refresh_margin == 30.0
    assert plan(30.0, {}, config).times.refresh_margin is None
    assert plan(60.0, check_given(60.0, {"refresh_margin": None}), config).times.margin(0) == 15.0
