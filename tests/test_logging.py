"""What the log is told: by which names, with what beside the text, and nothing in good weather."""

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

import aswr
from aswr import CacheManager

ROOT = Path(aswr.__file__).parent
MODULES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(), str(path))
    for path in sorted(ROOT.rglob("*.py"))
}
MANUAL = Path(__file__).parent.parent / "docs" / "monitoring.md"

# What a line may say beside its text.
EXTRAS = {
    "aswr_app",
    "aswr_view",
    "aswr_key",
    "aswr_path",
    "aswr_store",
    "aswr_input",
    "aswr_where",
    "aswr_seconds",
}
# Lines that no app, view or store is the subject of, by how they begin, and why.
BARE = {
    ("runtime.py", "%r ended in aswr's event loop"): "the loop is all apps' of the process",
    ("runtime.py", "%r could not be drained"): "the text names who; the runtime knows no apps",
    ("runtime.py", "while closing the loop"): "the loop is all apps' of the process",
    ("bridge.py", "lifespan %s failed"): "the server's own event; the bridge knows a WSGI callable",
}
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def table(heading: str) -> list[str]:
    """What the first column of a table of the manual names; by its heading."""
    text = MANUAL.read_text().partition(f"| {heading} |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `([\w.]+)` \|", text, re.M)


def calls(name: str) -> Iterator[ast.Call]:
    """The calls of a module's logger."""
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("log."):
            yield node


def loggers() -> dict[str, str]:
    """The logger of each module that has one."""
    found = {}
    for name, tree in MODULES.items():
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "log":
                found[name] = ast.unparse(node.value)
    return {name: call.split("'")[1] for name, call in found.items()}


def test_loggers_have_names_below_aswr() -> None:
    """Every logger is ``aswr.…``, and nothing is logged by the root logger."""
    assert len(loggers()) > 10
    for name, logger in loggers().items():
        assert re.fullmatch(r"aswr\.[a-z]+", logger), f"{name} logs as {logger}"
    for name, tree in MODULES.items():
        called = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
        for call in called:
            assert not re.match(rf"logging\.({'|'.join(LEVELS)})\(", call), name
            assert not call.startswith("logging.getLogger(") or "'aswr" in call, name


def test_the_manual_names_every_logger() -> None:
    """The manual's table has the loggers that there are, and no others."""
    assert table("logger") == sorted(set(loggers().values()))


@pytest.mark.parametrize("name", sorted(MODULES))
def test_lines_have_extras(name: str) -> None:
    """Every line says beside its text, always by the same names, what it is about."""
    bare = []
    for call in calls(name):
        level = ast.unparse(call.func).removeprefix("log.")
        if level in LEVELS and not any(keyword.arg == "extra" for keyword in call.keywords):
            text = ast.literal_eval(call.args[0])
            known = [begin for where, begin in BARE if where == name and text.startswith(begin)]
            bare.append(known[0] if known else f"{text!r} lacks extra=")
    assert sorted(bare) == sorted(begin for where, begin in BARE if where == name)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_extras_have_known_names(name: str) -> None:
    """No line says something by a name that the manual does not explain."""
    words = {
        node.value
        for node in ast.walk(MODULES[name])
        if isinstance(node, ast.Dict)
        for node in node.keys
        if isinstance(node, ast.Constant) and str(node.value).startswith("aswr_")
    }
    assert words <= EXTRAS


def test_the_manual_explains_every_extra() -> None:
    """The manual's table of extras has those that there are."""
    assert set(table("attribute")) == EXTRAS


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "aswr")
    return caplog


def loud(lines: pytest.LogCaptureFixture) -> list[str]:
    records = [record for record in lines.records if record.name.startswith("aswr")]
    return [record.getMessage() for record in records if record.levelno >= logging.WARNING]


def test_good_weather_is_quiet(app: Flask, manager: CacheManager, lines, clock, gate) -> None:
    """Loads, hits, stale hits, passes that were asked for, purges, jobs and the end: no warning."""

    @manager.memoize(timeout=20, tags=("prices",))
    def price(name: str) -> int:
        return len(name)

    @app.get("/page/<name>")
    @manager.cacher(timeout=20, refresh_margin=10, tags=("pages",))
    async def page(name: str) -> str:
        return f"{name} costs {await price(name)}"

    @app.get("/open/<name>")
    @manager.cacher(timeout=20, refresh_margin=10, public=True)
    def public(name: str) -> str:
        return name

    @app.route("/form", methods=["GET", "POST"])
    @manager.cacher(timeout=20)
    def form() -> str:
        return "form"

    @app.get("/job")
    @manager.cacher(timeout=7200)
    def job() -> str:
        gate.hold()
        return "done"

    gate.open()
    manager.schedule_periodic_refresh("/job", 3600)
    manager.start()
    gate.await_arrival()
    client = app.test_client()
    for path in ("/page/a", "/open/a", "/job", "/form", "/page/b?x=1"):
        for seconds in (0, 0, 12, 0, 30, 0):
            clock.tick(seconds)
            assert client.get(path).status_code == 200
            client.head(path)
            client.post(path)
            manager.join()
    manager.refresh("/page/a")
    for stale in (True, False):
        manager.invalidate("/page/a", stale=stale)
        manager.invalidate_tags("pages", "prices", stale=stale)
        client.get("/page/a")
    manager.clear()
    client.get("/page/a")
    client.get("/page/missing/route")
    manager.close()
    client.get("/page/a")
    stats = manager.stats()
    assert min(stats[each] for each in ("hits", "stale_hits", "misses", "passes", "loads")) > 0
    assert loud(lines) == []


def test_a_change_of_state_is_one_line(app: Flask, manager: CacheManager, lines, clock) -> None:
    """A page whose loads begin to fail is one warning, with view and key; so is its recovery."""
    fails = [False]

    @app.get("/page")
    @manager.cacher(timeout=20, refresh_margin=10, stale_if_error=1000)
    def page() -> str:
        if fails[0]:
            raise LookupError("no answer")
        return "page"

    client = app.test_client()
    client.get("/page")
    name = f"{page.__module__}:{page.__qualname__}"
    (key,) = manager.site_of(app).store.memory.keys()
    fails[0] = True
    for _ in range(5):
        clock.tick(15)
        client.get("/page")
        manager.join()
    assert manager.stats()["load_failures"] > 1
    (record,) = [record for record in lines.records if record.levelno >= logging.WARNING]
    assert (record.name, record.aswr_view, record.aswr_key) == ("aswr.engine", name, key)
    assert record.exc_info is not None
    assert "\n" not in record.getMessage()
    lines.clear()
    fails[0] = False
    clock.tick(100)
    client.get("/page")
    manager.join()
    (record,) = [record for record in lines.records if record.levelno >= logging.INFO]
    assert record.getMessage() == f"{name}: loads succeed again"
    assert (record.levelno, record.aswr_view, record.aswr_key) == (logging.INFO, name, key)
