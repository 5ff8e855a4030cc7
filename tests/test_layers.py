"""Imports only point down, and only the modules whose business it is start threads or loops."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import aswr

ROOT = Path(aswr.__file__).parent

# From the bottom up. A module may import what stands below its own line, nothing else of aswr.
LAYERS = """
    errors  policy  http  codec  keys  environ  names  fieldtext  envelope  breaker  memcached
    events  tally  clocks  words  here
    inputs  freshness  conditions  coding  values  scripts  stamps  backend
    nobody  checks  failures  sharing  packed
    options
    cures  emission  replies
    phrases
    executor  watchdog  memory  typing  link
    kept
    runtime  ticker  store
    tier
    backplane  plain
    shelf
    fleet
    tiers
    recorded  notes  quiet
    stored
    signals
    flight  recorder
    urls  bodies  backlog  ledger  survey
    landing
    board
    concert  render
    engine  calls
    lookup  site  coroutines
    places
    door
    answers  passing  unsafe  loading
    views  memo  jobs  verbs
    decorators
    bridge  serving
    wsgi
    asgi
    manager
    measures
    metrics  tracing
    life  why
    checkup
    questions
    desk
    admin
    cli
    gates  standstill
    assertions  failing
    testing
    pytest_plugin
    __init__
"""
LEVEL = {name: level for level, line in enumerate(LAYERS.split("\n")) for name in line.split()}

# Pure: values in, values out.
PURE = {
    "errors",
    "policy",
    "http",
    "keys",
    "codec",
    "options",
    "environ",
    "inputs",
    "names",
    "fieldtext",
    "nobody",
    "freshness",
    "conditions",
    "coding",
    "values",
    "checks",
    "failures",
    "sharing",
    "emission",
    "replies",
    "packed",
    "envelope",
    "scripts",
    "assertions",
    "words",
    "cures",
    "phrases",
}
# What pure modules take of one that is not: a value, and how it is spelled.
VALUES_OF = {("packed", "stamps"): {"Purge"}}
IMPURE = {"asyncio", "threading", "time", "concurrent", "subprocess", "socket", "random", "logging"}

STARTS_THREADS = {"runtime", "executor", "watchdog"}
# `cacher(..., blocking=True)`: such a view runs on an executor thread with a loop of its own.
RUNS_LOOPS = {"runtime", "render", "passing"}
# Where the loop is somebody else's, there is no `Runtime.task`: the server's, and a caller's own
# on which a memoized `def` function runs because the cache is switched off.
MAKES_TASKS = {"bridge"}
USES_DEFAULT_EXECUTOR = {"memo"}
KNOWS_AIOCACHE = {"backend", "memory", "failing"}
# They take a cache object and hand it on, and look only at its type.
NAMES_AIOCACHE = {"manager", "plain"}
# `backend` makes its clients, `link` asks them.
KNOWS_REDIS = {"backend", "link"}
KNOWS_FLASK = {
    "places",
    "stored",
    "door",
    "wsgi",
    "asgi",
    "quiet",
    "recorded",
    "recorder",
    "bodies",
    "loading",
    "passing",
    "calls",
    "render",
    "site",
    "answers",
    "unsafe",
    "views",
    "memo",
    "serving",
    "verbs",
    "decorators",
    "manager",
    "why",
    "checkup",
    "questions",
    "desk",
    "admin",
    "cli",
    "testing",
    "pytest_plugin",
}
KNOWS_APSCHEDULER = {"ticker"}

# Extras, imported by the functions that need them.
OPTIONAL = {
    "coding": {"brotli", "zstandard"},
    "envelope": {"zstandard"},
    "backend": {"redis"},
    "memcached": {"aiomcache"},
    "link": {"redis"},
    "metrics": {"prometheus_client"},
    "tracing": {"opentelemetry"},
}
# A plugin is loaded by the library that it is for, and by nobody else.
LOADED_BY = {"pytest_plugin": {"pytest"}}
CORE = {
    "flask", "werkzeug", "jinja2", "blinker", "click", "itsdangerous", "asgiref", "aiocache",
    "apscheduler", "msgspec",
}  # fmt: skip

PACKAGES: set[str] = set()
# A package of leaves counts as one module: all its files, one after the other.
MODULES = {path.stem: ast.parse(path.read_text(), str(path)) for path in ROOT.glob("*.py")}
for package in (path.parent for path in ROOT.glob("*/__init__.py")):
    files = sorted(package.rglob("*.py"), key=lambda path: path.name != "__init__.py")
    trees = [ast.parse(path.read_text(), str(path)) for path in files]
    PACKAGES.add(package.name)
    MODULES[package.name] = ast.Module([node for tree in trees for node in tree.body], [])
names = pytest.mark.parametrize("name", sorted(MODULES))


def ours(name: str) -> Iterator[str]:
    """The modules of aswr that a module imports, anywhere in it."""
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.ImportFrom) and node.level:
            if node.level == 1 and name in PACKAGES:
                continue  # within the package
            assert node.level == 1 + (name in PACKAGES)
            yield from [node.module] if node.module else [alias.name for alias in node.names]
        else:
            for module in foreign_of(node):
                assert module.partition(".")[0] != "aswr", f"{module}: write it relative"


def foreign_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [node.module or ""]
    return []


def foreign(name: str) -> set[str]:
    """The top-level packages that a module imports, anywhere in it."""
    nodes = ast.walk(MODULES[name])
    return {module.partition(".")[0] for node in nodes for module in foreign_of(node)}


def taken(name: str, other: str) -> set[str]:
    """What a module imports from another one of aswr."""
    return {
        alias.name
        for node in ast.walk(MODULES[name])
        if isinstance(node, ast.ImportFrom) and node.level and node.module == other
        for alias in node.names
    }


def calls(name: str) -> set[str]:
    """What a module calls, as it is written."""
    nodes = ast.walk(MODULES[name])
    return {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}


def test_every_module_has_a_layer() -> None:
    """Every module has one place in the order."""
    assert set(MODULES) == set(LEVEL)
    assert len(LEVEL) == len(LAYERS.split())


@names
def test_imports_point_down(name: str) -> None:
    """A module imports only from lines below its own, so there are no cycles."""
    upward = {other for other in ours(name) if LEVEL[other] >= LEVEL[name]}
    assert upward == set()


@pytest.mark.parametrize("name", sorted(PURE))
def test_the_bottom_is_pure(name: str) -> None:
    """Verdicts, header text, keys, codec and options have no clock, no threads, no async."""
    assert foreign(name) & IMPURE == set()
    assert not any(isinstance(node, ast.AsyncFunctionDef) for node in ast.walk(MODULES[name]))
    impure = set(ours(name)) - PURE
    assert impure == {other for one, other in VALUES_OF if one == name}
    for other in impure:
        assert taken(name, other) == VALUES_OF[name, other]


@names
def test_who_starts_threads(name: str) -> None:
    """Only the runtime, its executor and its watchdog start threads, and few make a loop."""
    called = calls(name)
    if name not in STARTS_THREADS:
        for maker in ("Thread", "Timer", "start_new_thread", "ThreadPoolExecutor"):
            assert not any(call.rpartition(".")[2] == maker for call in called)
    if name not in RUNS_LOOPS:
        for maker in ("new_event_loop", "Runner", "run", "run_until_complete"):
            assert f"asyncio.{maker}" not in called


@names
def test_who_makes_tasks(name: str) -> None:
    """A task is made by the runtime, which keeps it, and calls run on our executor."""
    called = calls(name)
    if name not in MAKES_TASKS:
        assert not {"asyncio.create_task", "asyncio.ensure_future", "asyncio.TaskGroup"} & called
    assert "asyncio.to_thread" not in called or name in USES_DEFAULT_EXECUTOR
    assert "asyncio.run_coroutine_threadsafe" not in called  # copies the caller's context


@names
def test_who_knows_which_library(name: str) -> None:
    """Flask, aiocache, Redis' client and APScheduler are each known to few modules."""
    imported = foreign(name)
    assert "flask" not in imported or name in KNOWS_FLASK
    assert "apscheduler" not in imported or name in KNOWS_APSCHEDULER
    assert "redis" not in imported or name in KNOWS_REDIS
    assert "aiocache" not in imported or name in KNOWS_AIOCACHE | NAMES_AIOCACHE


@pytest.mark.parametrize("name", sorted(NAMES_AIOCACHE))
def test_who_only_names_the_cache_s_type(name: str) -> None:
    """The modules that pass a cache on import its base class alone, and call none of it."""
    imported = [
        alias.name
        for node in ast.walk(MODULES[name])
        if "aiocache.base" in foreign_of(node) and isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert set(imported) == {"BaseCache"}
    assert not any(call.startswith("BaseCache") for call in calls(name))


@names
def test_only_core_dependencies(name: str) -> None:
    """No module imports what a plain installation has not, but further in what was asked for."""
    optional = OPTIONAL.get(name, set())
    loader = LOADED_BY.get(name, set())
    assert foreign(name) - optional - loader <= CORE | sys.stdlib_module_names
    at_the_top = {module for node in MODULES[name].body for module in foreign_of(node)}
    assert not at_the_top & optional


@names
def test_every_module_says_what_it_is(name: str) -> None:
    """A module begins by saying what it owns."""
    assert (ast.get_docstring(MODULES[name]) or "").strip()


def test_the_root_only_exports() -> None:
    """The package itself holds a docstring, imports and ``__all__``, sorted and complete."""
    body = MODULES["__init__"].body[1:]
    assert all(isinstance(node, ast.ImportFrom | ast.Assign) for node in body)
    imported = [
        alias.name for node in body if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    assert sorted(imported) == sorted(aswr.__all__)
    assert len([node for node in body if isinstance(node, ast.Assign)]) == 1


IMPORT = """
import json, sys, threading
import asgiref.sync, flask, msgspec
before = set(sys.modules)
import aswr
print(json.dumps([
    threading.active_count(),
    sorted({name.partition(".")[0] for name in set(sys.modules) - before}),
]))
"""


def test_import_starts_nothing() -> None:
    """Importing aswr starts no thread, loads nothing that only some need, and warns of nothing."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT],
        capture_output=True, text=True, timeout=50, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    threads, loaded = json.loads(done.stdout)
    assert threads == 1
    loaded = {package for package in loaded if not package.startswith("_")}
    always = CORE - {"aiocache", "apscheduler"}
    assert loaded - {"aswr"} - always - sys.stdlib_module_names == set()
