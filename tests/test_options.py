"""Options and config: bad ones are refused early, with what to write instead."""

import functools
import math
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from aiocache import SimpleMemoryCache
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st

from aswr import CacheManager
from aswr.checks import (
    check_callable,
    check_tags,
    refuse_undecoratable,
    seconds,
    tag_tuple,
    timeout_of,
)
from aswr.names import PRESET_FUNCTIONS, Kind
from aswr.options import CONFIG, MIB, TIME_OPTIONS, UNSET, check_given, plan, read_config


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
        ("public", 1, TypeError, ("public must be True or False", "1")),
        ("emit_cache_control", None, TypeError, ("emit_cache_control", "None")),
        ("request_directives", "yes", TypeError, ("request_directives", "'yes'")),
        ("cdn_timeout", 0, ValueError, ("cdn_timeout must be more than zero",)),
        ("cdn_timeout", "1h", TypeError, ("cdn_timeout", "'1h'")),
        ("compress", "gzip", TypeError, ("write compress=['gzip']",)),
        ("compress", None, TypeError, ("compress", "None")),
        ("compress", 1, TypeError, ("compress", "1")),
        ("compress", ["gzip", "zip"], ValueError, ("'zip'", "br, zstd, gzip", "or True")),
        ("compress", ["br", "br"], ValueError, ("'br' occurs twice",)),
        ("query", "page", TypeError, ("write query=['page']",)),
        ("query", b"page", TypeError, ("write query=[b'page']",)),
        ("query", False, TypeError, ("True (all parameters)", "'read'", "write query=[]")),
        ("query", None, TypeError, ("None", "write query=[]")),
        ("query", 5, TypeError, ("a list of names (str)", "5")),
        ("query", ["page", 1], TypeError, ("a list of names (str)", "got 1 in")),
        ("query", ["page", ""], ValueError, ("an empty name",)),
        ("query", ["page", " "], ValueError, ("an empty name",)),
        ("query", ["page", "sort", "page"], ValueError, ("'page' occurs twice",)),
        ("vary", "Accept-Language", TypeError, ("write vary=['Accept-Language']",)),
        ("vary", True, TypeError, ("a list of names (str)", "True")),
        ("vary", ["Accept", "Accept"], ValueError, ("'Accept' occurs twice",)),
        ("vary", [None], TypeError, ("got None in",)),
        ("vary", ["Authorization"], ValueError, ("who is asking", "scope=")),
        ("vary", ["x-api-key"], ValueError, ("who is asking", "scope=")),
        ("vary", ["Accept", "Cookie"], ValueError, ("who is asking", "'cookie:theme'")),
        ("vary", ["X-Forwarded-For"], ValueError, ("who is asking", "scope=")),
        ("vary", ["remote_addr"], ValueError, ("'remote_addr'", "scope=")),
        ("vary", ["If-None-Match"], ValueError, ("no cached view is shown", "leave it out")),
        ("vary", ["Content-Type"], ValueError, ("no cached view is shown", "leave it out")),
        ("vary", ["Accept Language"], ValueError, ("'Accept Language'",)),
        ("vary", ["accept_language"], ValueError, ("'Accept-Language'",)),
        ("vary", ["*"], ValueError, ("'*'",)),
        ("vary", ["cookie:"], ValueError, ("'cookie:'",)),
        ("ignore", "X-Foo", TypeError, ("write ignore=['X-Foo']",)),
        ("ignore", ["X Foo"], ValueError, ("'X Foo'",)),
        ("ignore", ["shop.auth.agent"], ValueError, ("is no function", "'module:function'")),
        ("ignore", ["shop.auth:"], ValueError, ("is no function", "'module:function'")),
        ("ignore", [":agent"], ValueError, ("is no function",)),
        ("ignore", ["shop.auth:agent()"], ValueError, ("is no function",)),
        ("ignore", ["shop..auth:agent"], ValueError, ("is no function",)),
    ],
)
def test_bad_options(name: str, value: Any, error: type[Exception], words: tuple[str, ...]) -> None:
    """A bad option is refused when decorating, and its name and value are in the text."""
    refused(lambda: CacheManager().cacher(60, **{name: value}), error, name, *words)
    if name in TIME_OPTIONS:
        refused(lambda: CacheManager().memoize(60, **{name: value}), error, name, *words)


@pytest.mark.parametrize("timeout", [0, -5, "60", True, math.inf])
def test_bad_timeouts(timeout: Any) -> None:
    """A timeout that is no duration is refused by both decorators."""
    error = ValueError if type(timeout) in (int, float) else TypeError
    refused(lambda: CacheManager().cacher(timeout), error, "timeout must be", repr(timeout))
    refused(lambda: CacheManager().memoize(timeout), error, "timeout must be", repr(timeout))


def test_only_views_go_without_a_timeout() -> None:
    """A view's response can say how long it lives, a function's result cannot."""
    CacheManager().cacher()(lambda: "x")
    CacheManager().cacher(None)(lambda: "x")
    bad: Any = None
    refused(lambda: CacheManager().memoize(bad), TypeError, "timeout must be", "None")


@pytest.mark.parametrize("name", ["unless", "store_if", "compute_func", "key", "scope"])
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


# What a view sees


def rules_of(config: dict[str, Any] | None = None, **given_options: Any) -> Any:
    """The rules of a view with these options, in an app with this config."""
    return plan(60.0, check_given(60.0, given_options), read_config(config or {})).rules


def test_parameters() -> None:
    """The order of parameters' names does not count, nor which collection holds them."""
    assert rules_of().query is True
    assert rules_of(query=True).query is True
    assert rules_of(query="read").query == "read"
    assert rules_of(query=["sort", "page"]).query == ("page", "sort")
    assert rules_of(query={"page", "sort"}).query == ("page", "sort")
    assert rules_of(query=()).query == ()


def test_what_a_view_may_vary_by() -> None:
    """Headers, single cookies and the host are named as people write them."""
    assert rules_of().vary == rules_of(vary="read").vary == "read"
    assert rules_of(vary="response").vary == "response"
    assert rules_of(vary=[]).vary == frozenset()
    chosen = rules_of(vary=["accept-LANGUAGE", "cookie:theme", "Host", "X-Forwarded-Proto"])
    assert chosen.vary == {
        "header Accept-Language", "cookie theme", "host", "header X-Forwarded-Proto",
    }  # fmt: skip
    assert {chosen.kind(name) for name in chosen.vary} == {Kind.LEARNED}


def test_what_a_view_never_sees() -> None:
    """Inputs and functions are told apart, and added to the presets."""
    texts = ["user-agent", "cookie:bar", "remote_addr", "Cookie", "a.b:C.<locals>.d", "app:agent"]
    rules = rules_of(ignore=texts)
    assert rules.ignore == {"header User-Agent", "cookie bar", "remote address", "cookies"}
    assert rules.functions == {*PRESET_FUNCTIONS, "a.b:C.<locals>.d", "app:agent"}
    assert rules_of().ignore == frozenset()
    assert rules_of().functions == PRESET_FUNCTIONS


def test_the_config_adds_to_what_is_ignored() -> None:
    """ASWR_IGNORE adds to every view's own, but not what the view varies by."""
    config = {"ASWR_IGNORE": ["User-Agent", "cookie:bar", "shop.auth:agent"]}
    assert rules_of(config, ignore=["X-Foo", "User-Agent"]).ignore == {
        "header User-Agent", "cookie bar", "header X-Foo",
    }  # fmt: skip
    assert rules_of(config).functions == {*PRESET_FUNCTIONS, "shop.auth:agent"}
    chosen = rules_of(config, vary=["User-Agent"])
    assert chosen.ignore == {"cookie bar"}
    assert not chosen.blank("header User-Agent")


def test_the_config_adds_personal_headers() -> None:
    """ASWR_PERSONAL makes more headers personal, in any spelling, and takes none from the list."""
    rules = rules_of({"ASWR_PERSONAL": ["X-Customer-*", "x_tenant"]})
    assert rules.personal == ("x-customer-*", "x-tenant")
    for name in ("X-Customer-Id", "X-Tenant", "Authorization"):
        assert rules.kind(f"header {name}") is Kind.PERSONAL
    assert rules_of().kind("header X-Tenant") is Kind.LEARNED


# What makes no sense together


def call() -> str:
    return ""


@pytest.mark.parametrize(
    ("given_options", "words"),
    [
        ({"public": True, "scope": call}, ("public=True and scope", "before anything of the app")),
        ({"public": True, "key": call}, ("public=True and key", "key is called in the request")),
        ({"public": True, "unless": call}, ("public=True and unless", "leave out one of them")),
        (
            {"public": True, "emit_cache_control": True},
            ("emit_cache_control", "always say how long they live"),
        ),
        ({"public": True, "emit_cache_control": False}, ("leave out emit_cache_control",)),
        ({"public": True, "run_before_request": False}, ("leave out run_before_request",)),
        ({"cdn_timeout": 60}, ("public=False and cdn_timeout", "write public=True")),
        ({"vary": "response", "scope": call}, ("vary='response' and scope", "leave out one")),
        ({"vary": "response", "query": "read"}, ("query='read'", "query=['page']")),
        ({"vary": ["Accept"], "ignore": ["accept"]}, ("'accept' is in vary and in ignore",)),
        ({"timeout": None, "refresh_margin": 5}, ("timeout=None and refresh_margin", "timeout=60")),
        ({"timeout": None, "refresh_margin": 0}, ("timeout=None and refresh_margin",)),
        ({"timeout": None, "jitter": 0.1}, ("timeout=None and jitter", "Cache-Control")),
        ({"timeout": None, "statuses": {404: 5}}, ("timeout=None and statuses", "timeout=60")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_senseless_together(given_options: dict[str, Any], words: tuple[str, ...]) -> None:
    """Options that contradict each other are refused at decoration, with the reason."""
    refused(lambda: CacheManager().cacher(**{"timeout": 60, **given_options}), ValueError, *words)


@pytest.mark.parametrize(
    "given_options",
    [
        {"public": True, "run_before_request": True, "cdn_timeout": 60, "vary": "response"},
        {"public": False, "emit_cache_control": True, "scope": call, "key": call, "unless": call},
        {"public": False, "cdn_timeout": None},
        {"scope": call, "query": "read", "vary": ["Accept"]},
        {"vary": "response", "query": ["page"], "key": call},
        {"vary": ["Accept"], "ignore": ["Host", "cookie:theme", "shop:agent"]},
        {"vary": ["cookie:theme"], "ignore": ["cookie:bar"]},
        {"timeout": None, "refresh_margin": None, "stale_if_error": 60, "soft_timeout": 1},
    ],
)
def test_sensible_together(given_options: dict[str, Any]) -> None:
    """What can be had together is not refused."""
    CacheManager().cacher(**{"timeout": 60, **given_options})(lambda: "x")


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
        ("ASWR_MAX_LOADS", 0, ValueError),
        ("ASWR_MAX_WAITERS", 0, ValueError),
        ("ASWR_WORKERS", 0, ValueError),
        ("ASWR_WORKERS", "4", TypeError),
        ("ASWR_THREADS", -1, ValueError),
        ("ASWR_REFRESH_MARGIN", "10", TypeError),
        ("ASWR_JITTER", 0.6, ValueError),
        ("ASWR_WAIT_TIMEOUT", 0, ValueError),
        ("ASWR_STATUSES", {500: 1}, ValueError),
        ("ASWR_BLOCKING", None, TypeError),
        ("ASWR_STRICT", "on", TypeError),
        ("ASWR_EMIT_CACHE_CONTROL", 1, TypeError),
        ("ASWR_REQUEST_DIRECTIVES", None, TypeError),
        ("ASWR_CDN_TIMEOUT", "5", TypeError),
        ("ASWR_COMPRESS", "gzip", TypeError),
        ("ASWR_COMPRESS", ["deflate"], ValueError),
        ("ASWR_MAX_VARIANTS", 0, ValueError),
        ("ASWR_MAX_VARIANTS", 1.5, TypeError),
        ("ASWR_IGNORE", "X-Foo", TypeError),
        ("ASWR_IGNORE", ["X Foo"], ValueError),
        ("ASWR_IGNORE", ["shop.agent"], ValueError),
        ("ASWR_PERSONAL", "X-Tenant", TypeError),
        ("ASWR_PERSONAL", ["X-Tenant[ab]+"], ValueError),
        ("ASWR_PERSONAL", ["X-Tenant?"], ValueError),
        ("ASWR_NAMESPACE", "", ValueError),
        ("ASWR_NAMESPACE", "x" * 101, ValueError),
        ("ASWR_NAMESPACE", b"shop", TypeError),
        ("ASWR_VERSION", "1\n", ValueError),
        ("ASWR_VERSION", "1" * 101, ValueError),
        ("ASWR_VERSION", None, TypeError),
        ("ASWR_VERSION", 1.5, TypeError),
        ("ASWR_VERSION", True, TypeError),
        ("ASWR_LEASE", 0.4, ValueError),
        ("ASWR_LEASE", 0, ValueError),
        ("ASWR_LEASE", "5", TypeError),
        ("ASWR_STORE_TIMEOUT", 0, ValueError),
        ("ASWR_STORE_TIMEOUT", None, TypeError),
        ("ASWR_STORE_COMPRESS", 0, ValueError),
        ("ASWR_STORE_COMPRESS", True, TypeError),
        ("ASWR_STORE_COMPRESS", "16k", TypeError),
        ("ASWR_PROPAGATION", -1, ValueError),
        ("ASWR_PROPAGATION", math.inf, ValueError),
        ("ASWR_PARTITION", "maybe", ValueError),
        ("ASWR_PARTITION", None, ValueError),
        ("ASWR_SIGN", "secret", TypeError),
        ("ASWR_SIGN", 1, TypeError),
    ],
)
def test_bad_config(name: str, value: Any, error: type[Exception]) -> None:
    """A bad value is an error in `init_app` that names key and value."""
    shown = "500" if name == "ASWR_STATUSES" else repr(value).strip("[]")
    refused(lambda: read_config({name: value}), error, name, shown)
    app = Flask("shop")
    app.config[name] = value
    refused(lambda: CacheManager(app), error, name, shown)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("ASWR_NAMESPACE", None, None),
        ("ASWR_NAMESPACE", "Laden: {ä}", "Laden: {ä}"),
        ("ASWR_VERSION", 7, "7"),
        ("ASWR_VERSION", "", ""),
        ("ASWR_VERSION", "x" * 100, "x" * 100),
        ("ASWR_LEASE", 0.5, 0.5),
        ("ASWR_LEASE", timedelta(seconds=9), 9.0),
        ("ASWR_STORE_TIMEOUT", timedelta(milliseconds=50), 0.05),
        ("ASWR_STORE_COMPRESS", None, None),
        ("ASWR_STORE_COMPRESS", 1, 1),
        ("ASWR_PROPAGATION", timedelta(seconds=2), 2.0),
        ("ASWR_PARTITION", "refuse", "refuse"),
        ("ASWR_SIGN", True, True),
    ],
)
def test_config_of_a_shared_store(name: str, value: Any, expected: Any) -> None:
    """Durations are seconds inside, a version may be a number, and None means none."""
    found = read_config({name: value})[name]
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"ASWR_STORE_TIMEOUT": 0.6}, ("ASWR_STORE_TIMEOUT=0.6", "ASWR_PROPAGATION=1")),
        ({"ASWR_PROPAGATION": 0.4}, ("ASWR_STORE_TIMEOUT=0.25", "ASWR_PROPAGATION=0.4")),
        ({"ASWR_SIGN": True}, ("ASWR_SIGN", "set app.secret_key")),
    ],
    ids=["timeout", "propagation", "sign"],
)
def test_what_a_shared_store_cannot_keep(config: dict[str, Any], words: tuple[str, ...]) -> None:
    """What contradicts itself, or lacks a key, is an error in `init_app`, if a store is shared."""
    app = Flask("shop")
    app.config.update(config)
    refused(lambda: CacheManager(app, cache=SimpleMemoryCache()), ValueError, *words)
    CacheManager(app)


@pytest.mark.parametrize(
    "config",
    [
        {"ASWR_STORE_TIMEOUT": 0.5},
        {"ASWR_STORE_TIMEOUT": 1, "ASWR_PROPAGATION": 2},
        {"ASWR_SIGN": True, "SECRET_KEY": "secret"},
    ],
    ids=["half", "both", "sign"],
)
def test_what_a_shared_store_can_keep(config: dict[str, Any]) -> None:
    """A question for the store may take half of the time in which purges are heard of."""
    app = Flask("shop")
    app.config.update(config)
    CacheManager(app, cache=SimpleMemoryCache())


@pytest.mark.parametrize("shared", [None, 1, "no"])
def test_shared_is_a_flag(shared: Any) -> None:
    """Whether results leave the process is said by True or False."""
    refused(lambda: CacheManager().memoize(60, shared=shared), TypeError, "shared", repr(shared))


class Halves:
    """No codec: it does not decode."""

    def encode(self, value: Any) -> bytes:
        return b""


@pytest.mark.parametrize("codec", [Halves(), Halves, "pickle", 5], ids=repr)
def test_a_codec_is_checked_at_decoration(codec: Any) -> None:
    """What is no codec is refused, with what one looks like."""
    words = ("codec", repr(codec), "encode(value) -> bytes", "MyCodec()")
    refused(lambda: CacheManager().memoize(60, codec=codec), TypeError, *words)


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


def test_without_a_timeout_the_config_s_lifetimes_do_not_hold() -> None:
    """Margin, jitter and statuses of the config are for views that have a timeout."""
    config = read_config(
        {"ASWR_REFRESH_MARGIN": 3, "ASWR_JITTER": 0.2, "ASWR_STATUSES": {404: 1},
         "ASWR_STALE_IF_ERROR": 60}
    )  # fmt: skip
    bare = plan(None, check_given(None, {}), config)
    assert bare.times.timeout is None
    assert (bare.times.refresh_margin, bare.times.jitter, bare.statuses) == (None, 0.0, {})
    assert bare.times.stale_if_error == 60.0


def test_what_public_implies() -> None:
    """A public view runs the app's hooks; a CDN's time from the config is for public views."""
    config = read_config({"ASWR_CDN_TIMEOUT": 600, "ASWR_EMIT_CACHE_CONTROL": True})
    public = plan(60.0, check_given(60.0, {"public": True}), config)
    assert (public.public, public.run_before_request, public.cdn_timeout) == (True, True, 600.0)
    assert public.rules.query is True
    cut = plan(60.0, check_given(60.0, {"public": True, "cdn_timeout": None}), config)
    assert cut.cdn_timeout is None
    plain = plan(60.0, check_given(60.0, {"public": False}), config)
    assert (plain.public, plain.run_before_request, plain.cdn_timeout) == (False, False, None)
    assert plain.emit_cache_control is True


def test_emission_and_directives_follow_the_config() -> None:
    """Both are off by default; the config switches them on, a decorator either way."""
    on = read_config({"ASWR_EMIT_CACHE_CONTROL": True, "ASWR_REQUEST_DIRECTIVES": True})
    for config, expected in ((read_config({}), False), (on, True)):
        made = plan(60.0, {}, config)
        assert (made.emit_cache_control, made.request_directives) == (expected, expected)
        decided = check_given(
            60.0, {"emit_cache_control": not expected, "request_directives": not expected}
        )
        made = plan(60.0, decided, config)
        assert (made.emit_cache_control, made.request_directives) == (not expected, not expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (False, ()),
        (True, ("br", "zstd", "gzip")),
        ([], ()),
        (["gzip"], ("gzip",)),
        ({"gzip", "br"}, ("br", "gzip")),
        (iter(["zstd", "br"]), ("br", "zstd")),
    ],
)
def test_codings(value: Any, expected: tuple[str, ...]) -> None:
    """True is all codings, False none; the config decides where a decorator does not."""
    config = read_config({"ASWR_COMPRESS": value})
    assert plan(60.0, {}, config).compress == expected
    for other in (True, False):
        assert plan(60.0, check_given(60.0, {"compress": other}), config).compress == (
            ("br", "zstd", "gzip") if other else ()
        )
    assert plan(60.0, {}, read_config({})).compress == ()


def test_a_coding_whose_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error where it is asked for, at decoration or in `init_app`, not at a request."""
    monkeypatch.setitem(sys.modules, "brotli", None)
    cure = ("brotli", "pip install 'aswr[compress]'")
    refused(lambda: CacheManager().cacher(60, compress=True), ImportError, "compress=(", *cure)
    app = Flask("shop")
    app.config["ASWR_COMPRESS"] = True
    refused(lambda: CacheManager(app), ImportError, "ASWR_COMPRESS=('gzip',)", *cure)
    CacheManager().cacher(60, compress=["gzip"])
