"""The options of decorators and the config, validated early, with the cure in the error's text.

Pure: no async, no threads, no clock. What a decorator leaves open is ``UNSET`` until an app's
config decides.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal

from .checks import CHECKS, is_function
from .codec import Coding
from .inputs import Rules
from .names import PRESET_FUNCTIONS, input_name
from .policy import Times


class Unset(Enum):
    """Not given: the app's config decides."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
UnsetType = Literal[Unset.UNSET]

MIB = 1024 * 1024

# Every config key, with the default that holds where the app's config says nothing. The manual's
# table of keys is made of this: the comment above a key says what it is for.
CONFIG: Final[Mapping[str, Any]] = {
    # False: every decorator passes, jobs are silent, verbs do nothing. For tests.
    "ASWR_ENABLED": True,
    # What other processes share: an address of Redis or Valkey, an aiocache cache object, or a
    # factory of one. None: every process keeps its own entries.
    "ASWR_CACHE": None,
    # The bound of the memory cache, in each process.
    "ASWR_MAX_BYTES": 64 * MIB,
    # What keys in the shared store begin with. None: the app's name.
    "ASWR_NAMESPACE": None,
    # Joins the namespace: a new version starts empty.
    "ASWR_VERSION": "",
    # For how long a load whose process died holds up the others; 0.5 or more.
    "ASWR_LEASE": 5.0,
    # For how long the shared store may take, connecting included; at most half of
    # ASWR_PROPAGATION.
    "ASWR_STORE_TIMEOUT": 0.25,
    # What is larger is compressed in the shared store. None: nothing is.
    "ASWR_STORE_COMPRESS": 16 * 1024,
    # After this time every process that reaches the shared store knows of a purge.
    "ASWR_PROPAGATION": 1.0,
    # What a process that does not reach the shared store does with its memory: "serve" it until
    # it ends, or "refuse" to, and load for every request.
    "ASWR_PARTITION": "serve",
    # True: entries in the shared store are signed by the app's secret_key.
    "ASWR_SIGN": False,
    # Where renders pretend to be. None: SERVER_NAME, else localhost.
    "ASWR_BASE_URL": None,
    # For how long loads may go on when the process ends.
    "ASWR_DRAIN_TIMEOUT": 5.0,
    # Loads at a time for which nobody waits, of stale answers and of jobs; the others queue, the
    # most used first.
    "ASWR_MAX_LOADS": 32,
    # Threads that may wait for loads; the next caller gets 503.
    "ASWR_MAX_WAITERS": 256,
    # Executor threads for synchronous loads. None: five for each core, at most 32.
    "ASWR_WORKERS": None,
    # Threads for Flask under ASGI.
    "ASWR_THREADS": 64,
    # True: every async function that Flask calls, cached or not, runs on aswr's loop.
    "ASWR_RUN_ASYNC_VIEWS": False,
    # True: a view that reads what can never be shared raises UnkeyedInput.
    "ASWR_STRICT": False,
    # Inputs and functions that no view's answer depends on, beside those of each view's ignore=.
    "ASWR_IGNORE": (),
    # More headers that are one caller's own, as patterns: "X-Customer-*".
    "ASWR_PERSONAL": (),
    # What opens the admin page's API to who sends it as a bearer, 16 characters or more; else the
    # environment's variable of that name. None: the API asks `authorize`, as the pages do.
    "ASWR_ADMIN_TOKEN": None,
    # Variants of one URL; past them a new one is stored when it is asked for twice.
    "ASWR_MAX_VARIANTS": 64,
    # What a decorator's option of the same name is where it is left out.
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
    "ASWR_COMPRESS": (),
}


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
    compress: tuple[Coding, ...] = ()  # if any, the close phase has work for the executor


TIME_OPTIONS = (
    "refresh_margin", "stale_if_error", "jitter", "soft_timeout", "load_timeout", "wait_timeout",
)  # fmt: skip
VIEW_OPTIONS = (
    "statuses", "max_body", "blocking", "run_before_request", "emit_cache_control",
    "request_directives", "cdn_timeout", "compress",
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
        name: CHECKS[name](name, value) for name, value in given.items() if value is not UNSET
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
            if not is_function(text) and input_name(text) in vary:
                raise ValueError(f"{text!r} is in vary and in ignore; leave it out of one of them")


def _rules(given: Mapping[str, Any], config: Mapping[str, Any]) -> Rules:
    """What a view's renders see: the decorator's word, the app's additions, the presets."""
    vary = given.get("vary", "read")
    texts: Iterable[str] = {*given.get("ignore", ()), *config["ASWR_IGNORE"]}
    functions = {text for text in texts if is_function(text)}
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
        check = CHECKS.get(name.removeprefix("ASWR_").lower())
        config[name] = check(name, value) if check else value
    return config
