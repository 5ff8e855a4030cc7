"""The manual tells the truth of today: tables, pictures, examples, commands, names, links."""

import ast
import importlib
import importlib.util
import inspect
import json
import os
import re
import socket
import subprocess
import sys
import time
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask import Flask, request, session
from hypothesis import given, settings
from hypothesis import strategies as st

import aswr
from aswr import CacheManager
from aswr.names import Kind
from aswr.notes import Notes
from aswr.options import CONFIG
from aswr.policy import Times, covers, decide

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TEXTS = {page.name: page.read_text() for page in PAGES}
README = (ROOT / "README.md").read_text()


def module_at(path: Path) -> ModuleType:
    """The module in a file that is no part of a package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look themselves up there, and others find it
    spec.loader.exec_module(module)
    return module


reference = module_at(DOCS / "_ext" / "reference.py")
timeline = module_at(DOCS / "_ext" / "timeline.py")
written = module_at(DOCS / "_ext" / "written.py")


# Code


def python_blocks() -> Iterator[Any]:
    """Every block of Python, and whether it says that it runs as it stands."""
    for page, text in TEXTS.items():
        found = re.finditer(r"(<!-- runnable -->\n)?```python\n(.*?)^```", text, re.DOTALL | re.M)
        for number, match in enumerate(found, 1):
            yield pytest.param(match[2], bool(match[1]), id=f"{page}-{number}")


@pytest.mark.parametrize(("code", "runs"), list(python_blocks()))
def test_blocks_of_python(code: str, runs: bool) -> None:
    """Every block parses, with await allowed as in an async function; those marked so run."""
    ast.parse("async def block():\n" + re.sub("^", "    ", code, flags=re.M))
    if not runs:
        return
    names: dict[str, Any] = {"__name__": "manual"}
    try:
        exec(compile(code, "a block of the manual", "exec"), names)
    finally:
        if "manager" in names:
            names["manager"].close(timeout=0)


def test_the_shortest_example_caches() -> None:
    """The app on the first page answers, and the second time from memory."""
    code = next(block.values[0] for block in python_blocks() if block.id == "index.md-1")
    names: dict[str, Any] = {"__name__": "manual"}
    exec(code, names)
    client = names["app"].test_client()
    first, second = client.get("/report/2026"), client.get("/report/2026")
    names["manager"].close()
    assert first.text == second.text
    assert second.headers["Cache-Status"].startswith("aswr; hit")


# Tables that are made of the code


@pytest.mark.parametrize("name", ["cacher", "memoize"])
def test_every_option_is_described(name: str) -> None:
    """Every option of a decorator has a line that says what it is, and what it takes."""
    table = reference.options_table(name)
    for option, parameter in inspect.signature(getattr(CacheManager, name)).parameters.items():
        if option == "self":
            continue
        assert len(reference.described(name, option)) > 10
        assert reference.unit(option, parameter.default)
        assert f'<a id="{name}-{option.replace("_", "-")}"></a>`{option}`' in table


@pytest.mark.parametrize("name", ["cacher", "memoize"])
def test_only_options_are_described(name: str) -> None:
    """The docstring explains no option that is not there."""
    known = inspect.signature(getattr(CacheManager, name)).parameters
    assert set(reference.descriptions(name)) <= set(known)


@pytest.mark.parametrize("key", CONFIG)
def test_every_key_is_described(key: str) -> None:
    """Every config key has a line that says what it is for, or the option that it goes with."""
    option = reference.option_of(key)
    text = reference.meaning(key)
    assert (f"`{option}=`" in text) if option else len(text) > 10
    assert f"</a>`{key}` |" in reference.keys_table()


def test_undescribed_keys_and_options_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the code does not describe stops the manual from being made."""
    monkeypatch.setitem(CONFIG, "ASWR_NOBODY_KNOWS", 1)  # type: ignore[arg-type]
    with pytest.raises(LookupError, match="ASWR_NOBODY_KNOWS"):
        reference.meaning("ASWR_NOBODY_KNOWS")
    with pytest.raises(LookupError, match="nobody_knows"):
        reference.described("cacher", "nobody_knows")


@pytest.mark.parametrize(
    ("option", "takes", "default", "key"),
    [
        ("timeout", "seconds", "`None`", ""),
        ("refresh_margin", "seconds", "`None`", "ASWR_REFRESH_MARGIN"),
        ("jitter", "share", "`0`", "ASWR_JITTER"),
        ("wait_timeout", "seconds", "`25`", "ASWR_WAIT_TIMEOUT"),
        ("statuses", "statuses: seconds", "`{}`", "ASWR_STATUSES"),
        ("max_body", "bytes", "4 MiB", "ASWR_MAX_BODY"),
        ("blocking", "True or False", "`False`", "ASWR_BLOCKING"),
        ("query", "True, names", "`True`", ""),
        ("ignore", "names", "`()`", "ASWR_IGNORE"),
        ("compress", "True or False, names", "`()`", "ASWR_COMPRESS"),
        ("key", "function", "`None`", ""),
    ],
)
def test_a_row_of_the_table(option: str, takes: str, default: str, key: str) -> None:
    """What an option takes, its default and its key are those of the code."""
    row = next(
        line for line in reference.options_table("cacher").splitlines() if f"</a>`{option}`" in line
    )
    cells = [cell.strip() for cell in row.strip("|").split(" | ")]
    assert (cells[1], cells[2]) == (default, takes)
    assert re.findall(r"<br>\[`(\w+)`\]", cells[0]) == [key] * bool(key)


def made_files() -> Iterator[Any]:
    for file, text in written.files():
        yield pytest.param(file, text, id=file.name)


@pytest.mark.parametrize(("file", "text"), list(made_files()))
def test_what_is_made_of_the_code_is_of_today(file: Path, text: str) -> None:
    """Tables and pictures stand in the files as the code makes them."""
    assert file.read_text() == text, "python docs/_ext/written.py writes it anew"


def test_everything_made_is_somewhere() -> None:
    """Every table and picture that there is has its markers, each of them closed."""
    whole = "".join(TEXTS.values())
    asked = re.findall(r"<!-- made: ([\w -]+) -->", whole)
    pictures = [f"picture {name}" for name in written.PICTURES]
    assert sorted(asked) == sorted(["keys", "options cacher", "options memoize", *pictures])
    assert len(written.MADE.findall(whole)) == len(asked)


# Pictures


@given(
    st.floats(min_value=1, max_value=1e5),
    st.floats(min_value=0, max_value=0.99),
    st.floats(min_value=0, max_value=1e5),
    st.floats(min_value=0, max_value=0.99),
)
@settings(deadline=None)
def test_the_time_line_is_what_the_code_decides(
    timeout: float, share: float, error: float, where: float
) -> None:
    """Anywhere in a stretch of the picture the verdicts are those that are drawn."""
    times = Times(timeout, share * timeout, error)
    found = times.deadlines(0.0, 1.0, 0.0)
    entry = timeline.Entry(found.fresh_until, found.stale_until, found.error_until)
    parts = timeline.stretches(times, 1.0)
    assert [part.begin for part in parts] == [0.0, *[part.end for part in parts[:-1]]]
    for part in parts:
        now = min(part.begin + where * (part.end - part.begin), part.end * (1 - 1e-12))
        if part.begin <= now < part.end:
            drawn = tuple(decide(entry, now, retry) for _, retry in timeline.LANES)
            assert part.decisions == drawn
            assert part.covers == covers(entry, now)


def test_the_drawing() -> None:
    """The picture is well-formed, names its windows and deadlines, and its text has no colour."""
    drawn = timeline.drawing(60, 20, 3600)
    root = ElementTree.fromstring(drawn)
    texts = [node for node in root.iter() if node.tag.endswith("}text")]
    words = [node.text for node in texts]
    for word in ("fresh", "stale-while-revalidate", "stale-if-error", "gone"):
        assert word in words
    for deadline in ("0 s", "40 s", "60 s", "3660 s"):
        assert deadline in words
    assert not any("fill" in node.attrib for node in texts)
    assert "stale-if-error" not in timeline.drawing(60, 20)


# Names


@pytest.mark.parametrize("page", TEXTS)
def test_keys_that_are_named_exist(page: str) -> None:
    """Every ``ASWR_…`` word is a config key, or stands in the code as it is."""
    code = "".join(path.read_text() for path in Path(aswr.__file__).parent.glob("**/*.py"))
    for word in set(re.findall(r"\bASWR_[A-Z_]*[A-Z]\b", TEXTS[page])):
        assert word in CONFIG or f'"{word}"' in code, word


@pytest.mark.parametrize("page", TEXTS)
def test_methods_that_are_named_exist(page: str) -> None:
    """Every ``manager.…`` is an attribute of a manager."""
    for word in set(re.findall(r"(?<![\w.])manager\.([a-z_]+)\b", TEXTS[page])):
        assert hasattr(CacheManager, word), f"manager.{word}"


def commands() -> set[str]:
    """The names of the commands of ``flask aswr``, as the package registers them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    entry = project.get("entry-points", {}).get("flask.commands", {}).get("aswr")
    if entry is None:
        return set()
    module, _, attribute = entry.partition(":")
    return set(getattr(importlib.import_module(module), attribute).commands)


@pytest.mark.parametrize("page", TEXTS)
def test_commands_that_are_named_exist(page: str) -> None:
    """Every ``flask aswr WORD`` is a command."""
    assert set(re.findall(r"\bflask aswr ([a-z]+)", TEXTS[page])) <= commands()


# Links


def slug(heading: str) -> str:
    """The anchor of a heading, as Markdown renderers make it."""
    bare = re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", bare).replace(" ", "-")


def anchors(page: str) -> set[str]:
    text = re.sub(r"^```.*?^```", "", TEXTS[page], flags=re.DOTALL | re.M)
    found = {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.M)}
    return found | set(re.findall(r'<a id="([\w-]+)"></a>', text))


def internal_links() -> Iterator[Any]:
    for page, text in TEXTS.items():
        for target in sorted(set(re.findall(r"\]\((?!https?://)([^)\s]+)\)", text))):
            yield pytest.param(page, target, id=f"{page}-{target}")


@pytest.mark.parametrize(("page", "target"), list(internal_links()))
def test_links_lead_somewhere(page: str, target: str) -> None:
    """Every internal link names a file that is there, and a heading or an option in it."""
    name, _, anchor = target.partition("#")
    path = (DOCS / name).resolve() if name else DOCS / page
    assert path.is_file()
    if anchor:
        assert anchor in anchors(path.name)


@pytest.mark.parametrize("page", TEXTS)
def test_files_that_are_shown_are_linked(page: str) -> None:
    """Where a page shows a file, which only the built manual does, a link leads there."""
    for path in re.findall(r"^```\{literalinclude\} (\S+)", TEXTS[page], re.M):
        assert f"]({path})" in TEXTS[page], path


def test_no_page_needs_what_only_the_built_manual_has() -> None:
    """Beside files that are shown pages ask Sphinx for contents, the changelog and captions."""
    asked = {
        name for text in TEXTS.values() for name in re.findall(r"^```\{([\w-]+)\}", text, re.M)
    }
    assert asked <= {"literalinclude", "toctree", "include", "code-block"}


def test_links_that_the_tables_make_lead_somewhere() -> None:
    """Every link of a generated table leads to a row of one."""
    made = "".join(map(reference.options_table, reference.DECORATORS)) + reference.keys_table()
    assert set(re.findall(r"\]\(#([\w-]+)\)", made)) <= anchors("options.md")


def test_every_page_can_be_found() -> None:
    """Every page is in the table of contents, and every name there is a page."""
    trees = re.findall(r"```\{toctree\}\n(.*?)```", TEXTS["index.md"], re.DOTALL)
    listed = {
        line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")
    }
    assert listed == {page.stem for page in PAGES} - {"index"}


# What is cached


CAUSES = {
    "cookie session": Kind.PERSONAL,
    "remote address": Kind.NEVER,
    "g.user": Kind.PERSONAL,
    "writes session": Kind.NEVER,
}


def test_lines_of_the_log() -> None:
    """What the manual says that the log says is what it says."""
    notes = Notes("app:greeting")
    told = set()
    for name, kind in CAUSES.items():
        notes.read_at(name, "app.py:17")
        told.add(notes.cause(name, kind))
    shown = re.findall(r"<!-- log -->\n```text\n(.*?)\n```", TEXTS["cacheable.md"], re.DOTALL)
    assert set(shown) == told


def test_what_passes_and_why(app: Flask, manager: CacheManager) -> None:
    """Every ``Cache-Status`` in the table of what passes is one that a view can get."""

    def view(path: str, function: Any, **options: Any) -> None:
        function.__name__ = path.strip("/")
        app.route(path)(manager.cacher(timeout=60, **options)(function))

    def write() -> str:
        session["seen"] = True
        return ""

    view("/cookie", lambda: str(session.get("user")))
    view("/address", lambda: str(request.remote_addr))
    view("/write", write)
    view("/unless", lambda: "", unless=lambda: True)
    view("/status", lambda: ("", 404))
    view("/no-store", lambda: ("", 200, {"Cache-Control": "no-store"}))
    view("/sets", lambda: ("", 200, {"Set-Cookie": "a=b"}))
    said = []
    for path in ("cookie", "address", "unless", "status", "no-store"):
        client = app.test_client()
        with client.session_transaction() as stored:
            stored["user"] = "ann"
        said.append(client.get(f"/{path}").headers["Cache-Status"].removeprefix("aswr; "))
    for path in ("write", "sets"):
        assert "Cache-Status" not in app.test_client().get(f"/{path}").headers
    shown = re.findall(r"^\| `(fwd=[^`]*)` \|", TEXTS["cacheable.md"], re.M)
    assert shown == said


# Timeouts


def recommendations() -> list[str]:
    table = TEXTS["timeouts.md"].partition("## Recommendations")[2]
    return re.findall(r"`([a-z_]+=[^`]*[^=`])`", table)


@pytest.mark.parametrize("options", recommendations())
def test_recommended_options(options: str) -> None:
    """What is recommended is taken by the decorator."""
    names = {"timedelta": timedelta, "manager": CacheManager()}
    text = options.replace("[...]", "['page']")
    beside = "" if text.startswith("timeout") else "timeout=60, "
    eval(f"manager.cacher({beside}{text})", names)


# Moving from Flask-Caching


@pytest.fixture
def shops(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ModuleType, ModuleType]]:
    """The example before and after the move."""
    before = module_at(ROOT / "examples" / "moving" / "before.py")
    after = module_at(ROOT / "examples" / "moving" / "after.py")
    yield before, after
    after.manager.close(timeout=0)


VISITS = [
    ("GET", "/prices", {}),
    ("GET", "/prices", {}),
    ("GET", "/prices?currency=USD", {}),
    ("GET", "/prices/tea", {}),
    ("GET", "/prices/tea", {}),
    ("GET", "/prices/tea?preview=1", {}),
    ("GET", "/prices/milk", {}),
    ("GET", "/hello", {}),
    ("POST", "/prices/tea", {"price": "5"}),
    ("GET", "/prices/tea", {}),
    ("GET", "/prices", {}),
    ("GET", "/prices?currency=USD", {}),
    ("POST", "/rates", {}),
    ("GET", "/prices", {}),
]


def test_the_same_answers_after_the_move(shops: tuple[ModuleType, ModuleType]) -> None:
    """Both apps answer the same, the moved one from memory what it was asked for before."""
    answers = []
    for shop in shops:
        client = shop.app.test_client()
        visits = [client.open(url, method=method, data=data) for method, url, data in VISITS]
        answers.append([(answer.status_code, answer.text) for answer in visits])
    assert answers[0] == answers[1]
    said = [answer.headers.get("Cache-Status", "") for answer in visits]
    assert [number for number, status in enumerate(said) if "; hit" in status] == [1, 4]
    assert shops[1].computed.count("rate EUR") == shops[0].computed.count("rate EUR") - 1


def greetings(shop: ModuleType) -> list[str]:
    """What Ann gets, who has a cookie, and then somebody without one."""
    ann = shop.app.test_client()
    ann.set_cookie("name", "Ann")
    return [ann.get("/hello").text, shop.app.test_client().get("/hello").text]


def test_what_is_safer_after_the_move(shops: tuple[ModuleType, ModuleType]) -> None:
    """Before, everybody is greeted as the first visitor; after, everybody as himself."""
    before, after = shops
    assert greetings(before) == ["Hello, Ann\n", "Hello, Ann\n"]
    assert greetings(after) == ["Hello, Ann\n", "Hello, visitor\n"]


def test_what_is_not_kept_after_the_move(shops: tuple[ModuleType, ModuleType]) -> None:
    """Before, an error is stored; after, it is not."""
    for shop, times in zip(shops, (1, 2), strict=True):
        client = shop.app.test_client()
        assert [client.get("/prices/milk").status_code for _ in range(2)] == [404, 404]
        assert shop.computed.count("price milk") == times


def test_the_move_is_complete() -> None:
    """Every argument, method and key of Flask-Caching has its row, and every row is of one."""
    import flask_caching

    page = TEXTS["flask-caching.md"]
    source = "".join(
        path.read_text() for path in Path(flask_caching.__file__).parent.glob("**/*.py")
    )
    for decorator in ("cached", "memoize"):
        for name in inspect.signature(getattr(flask_caching.Cache, decorator)).parameters:
            assert name == "self" or f"`{name}" in page, name
    for name in dir(flask_caching.Cache):
        assert name.startswith("_") or name == "init_app" or f"cache.{name}" in page, name
    configured = set(re.findall(r'"(CACHE_[A-Z_]+)"', source))
    named = set(re.findall(r"CACHE_[A-Z_]*[A-Z]", page))
    not_ours = {"CACHE_ATTR_NAME", "CACHE_GCS_BUCKET", "CACHE_UWSGI_NAME"}
    assert configured - named <= not_ours
    assert named <= configured


# The tutorial, as it stands


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Terminal:
    """Runs what the tutorial says, in a folder of its own; port 5000 is another one here."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.server: subprocess.Popen[bytes] | None = None
        self.env = {**os.environ, "PYTHONUNBUFFERED": "1"}

    def start(self) -> list[str]:
        """What the server prints until it answers."""
        self.stop()
        log = self.folder / "printed"
        with log.open("wb") as printed:
            self.server = subprocess.Popen(
                [sys.executable, "-m", "flask", "--app", "app", "run", "--port", str(self.port)],
                cwd=self.folder, env=self.env, stdout=printed, stderr=subprocess.STDOUT,
            )  # fmt: skip
        until = time.monotonic() + 20
        while True:
            text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text())
            if "CTRL+C" in text:
                return text.splitlines()
            assert self.server.poll() is None, text
            assert time.monotonic() < until, text
            time.sleep(0.05)

    def run(self, command: str) -> list[str]:
        """What a command prints."""
        if command == "flask --app app run":
            return self.start()
        asked = command.replace("127.0.0.1:5000", f"127.0.0.1:{self.port}")
        done = subprocess.run(
            asked, shell=True, cwd=self.folder, env=self.env, capture_output=True, text=True,
            timeout=40, check=True,
        )  # fmt: skip
        return done.stdout.splitlines()

    def stop(self) -> None:
        if self.server is not None:
            self.server.terminate()
            self.server.wait(10)


@pytest.fixture
def terminal(tmp_path: Path, port: int) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path, port)
    yield terminal
    terminal.stop()


MEASURED = re.compile(r"(?<=ttl=)-?\d+|(?<=^Age: )\d+|\d+\.\d+(?= s$)")
# Seconds by which this machine may be slower than the one of the manual: an age, and an answer,
# which is told from one that takes the load's two seconds.
SLACK, SLACK_OF_ANSWERS = 4.0, 1.5


def normal(line: str, port: int) -> str:
    line = re.sub(r"\d\d:\d\d:\d\d", "HH:MM:SS", line.rstrip())
    return line.replace(f"127.0.0.1:{port}", "127.0.0.1:5000")


def same(shown: str, printed: str) -> bool:
    """Are two lines equal, but for measured numbers, which are near and of one sign?"""
    if MEASURED.sub("N", shown) != MEASURED.sub("N", printed):
        return False
    pairs = zip(MEASURED.findall(shown), MEASURED.findall(printed), strict=True)
    return all(
        one.startswith("-") == other.startswith("-")
        and abs(float(one) - float(other)) <= (SLACK_OF_ANSWERS if "." in one else SLACK)
        for one, other in pairs
    )


def matches(shown: list[str], printed: list[str]) -> bool:
    """Is this what was printed? ``...`` stands for any lines."""
    if not shown:
        return not printed
    if shown[0] == "...":
        return any(matches(shown[1:], printed[skip:]) for skip in range(len(printed) + 1))
    return bool(printed) and same(shown[0], printed[0]) and matches(shown[1:], printed[1:])


STEPS = re.compile(r"^```(\{code-block\} python|console)\n(.*?)^```", re.DOTALL | re.M)
INSTALL = ["python3.11 -m venv .venv && .venv/bin/pip install .", ". .venv/bin/activate"]


@pytest.mark.timeout(120)
def test_the_tutorial(terminal: Terminal) -> None:
    """Every file written, every command run, every line printed as the tutorial says."""
    files = run = 0
    # What comes after is of another app, and is tried as the README's, where it stands, too.
    own = TEXTS["tutorial.md"].partition("## Look inside")[0]
    for kind, text in STEPS.findall(own):
        if kind != "console":
            head, _, code = text.partition("\n\n")
            assert ":caption: app.py" in head
            (terminal.folder / "app.py").write_text(code)
            files += 1
            continue
        for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.M):
            if command in INSTALL:
                assert command != INSTALL[0] or command in README, "as in the README"
                continue
            expected = [normal(line, terminal.port) for line in shown.splitlines()]
            printed = [normal(line, terminal.port) for line in terminal.run(command)]
            assert matches(expected, printed), "\n".join([command, *printed])
            run += 1
    assert (files, run) == (3, 13)


def test_the_tutorial_is_the_example() -> None:
    """The tutorial's view, numbers and job are those of the example that it is about."""
    example = (ROOT / "examples" / "delta_positions.py").read_text()
    for line in ("timeout=20, refresh_margin=10", "interval=10", '"delta_positions": [0.25'):
        assert line in example
        assert line in TEXTS["tutorial.md"]


def test_what_is_compared() -> None:
    """A wrong verdict, a wrong body, a missing line or a number that is far off is no match."""
    shown = ["Cache-Status: aswr; hit; ttl=9", "Age: 0", "...", json.dumps({"a": 1}), "0.003 s"]
    good = ["Cache-Status: aswr; hit; ttl=8", "Age: 1", "Server: x", json.dumps({"a": 1}), "0.2 s"]
    assert matches(shown, good)
    for index, line in enumerate(
        ["Cache-Status: aswr; hit; ttl=-1", "Age: 9", "", json.dumps({"a": 2}), "9.0 s"]
    ):
        bad = [*good]
        bad[index] = line
        assert matches(shown, bad) == (index == 2)
        assert matches(shown, [*good[:index], *good[index + 1 :]]) == (index == 2)
