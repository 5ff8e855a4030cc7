"""``flask aswr`` as a process of its own: over Redis, to a server, on a terminal, in the manual."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shlex
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .harness import HERE, Kind, Server, environment, wait_until
from .redises import Redis

ROOT = HERE.parent.parent
PAGE = ROOT / "docs" / "cli.md"
FLASK = (sys.executable, "-m", "flask", "--app")
TOKEN = "a-token-of-some-length"
LIMIT = 30.0  # seconds for whatever the machine is slow at


def flask_run(app: str) -> Kind:
    return Kind("flask-run", ("-m", "flask", "--app", app, "run", "--port", "{port}"))


class Shop:
    """An app, the environment of its servers and commands, and where it notes its loads."""

    def __init__(self, folder: Path, app: str = "cli_app", **env: str) -> None:
        self.folder = folder
        self.app = app
        self.env = {"CLI_LOADS": str(folder / "cli.log"), "ASWR_ADMIN_TOKEN": TOKEN, **env}

    def server(self) -> Server:
        return Server(flask_run(self.app), self.folder, **self.env)

    @property
    def loads(self) -> list[str]:
        log = Path(self.env["CLI_LOADS"])
        return log.read_text().splitlines() if log.exists() else []

    def begin(self, *args: str, **options: Any) -> "subprocess.Popen[str]":
        """A command that goes on by itself."""
        env = environment(self.folder, **{**self.env, **options.pop("env", {})})
        return subprocess.Popen(
            [*FLASK, self.app, "aswr", *args], cwd=HERE, env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )  # fmt: skip

    def run(self, *args: str, code: int = 0, **options: Any) -> tuple[str, str]:
        """What a command prints, on both streams; it ends with that exit code, and no traceback."""
        said = options.pop("said", "")
        process = self.begin(*args, **options)
        with ended(process):
            out, err = process.communicate(said, LIMIT)
        assert process.returncode == code, (out, err)
        assert not re.search("Traceback|Warning", err), err
        return out, err


@contextlib.contextmanager
def ended(process: "subprocess.Popen[Any]") -> Iterator[None]:
    """Whatever happens, the process is gone afterwards."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    with Redis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def shop(tmp_path: Path, redis: Redis) -> Shop:
    return Shop(tmp_path, CLI_REDIS=redis.url)


# Over the store


def test_from_nothing_to_a_purged_entry(shop: Shop) -> None:
    """What a command loads a server has, and what it purges a server has no more, at once."""
    with shop.server() as server:
        out, _ = shop.run("refresh", "/slow/1")
        assert out.startswith("stored\t")
        assert server.get("/slow/1").cache_status.startswith("aswr; hit")
        assert shop.loads.count("/slow/1") == 1
        out, _ = shop.run("ls", "--search", "slow")
        assert [line.split("\t")[7] for line in out.splitlines()] == ["/slow/1"]
        assert shop.run("purge", "/slow/1")[0] == "purged\t/slow/1\n"
        wait_until(
            lambda: not server.get("/slow/1").cache_status.startswith("aswr; hit"), 2.0,
            lambda: "the server serves what was purged",
        )  # fmt: skip
        assert shop.loads.count("/slow/1") == 2


def test_a_refresh_reaches_the_servers(shop: Shop) -> None:
    """What a command loads anew is what servers serve afterwards."""
    with shop.server() as server:
        first = server.get("/slow/1")
        shop.run("refresh", "/slow/1")
        assert shop.loads.count("/slow/1") == 2
        wait_until(
            lambda: server.get("/slow/1").headers["Age"] <= first.headers.get("Age", "9"), LIMIT,
            lambda: "older than before",
        )  # fmt: skip


def test_why_over_the_store(shop: Shop) -> None:
    """why judges what the servers have stored as they do, and does not render what is there."""
    shop.run("refresh", "/slow/1")
    out, _ = shop.run("why", "/slow/1")
    assert out.startswith("verdict\thit\t/slow/1\n")
    assert "rendered\tno" in out
    out, _ = shop.run("why", "/slow/2")
    assert out.startswith("verdict\tmiss\t/slow/2\n")
    assert "rendered\tyes" in out
    assert shop.loads == ["/slow/1", "/slow/2"]
    assert len(shop.run("ls")[0].splitlines()) == 1


def test_a_command_is_no_worker_and_runs_no_jobs(shop: Shop, redis: Redis) -> None:
    """Commands neither count among the workers nor run what is periodic, however long they take."""
    client = redis.client()
    process = shop.begin("top", "--interval", "0.5", "--count", "8")
    with ended(process):
        out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, err
    assert len(out.splitlines()) == 8
    assert shop.loads == []
    shop.run("doctor")
    names = [name.decode() for name in client.scan_iter("aswr:*")]
    assert all(client.pttl(name) > 0 for name in names), "of what is not used nothing stays"
    assert not [name for name in names if name.endswith(":workers") or ":status:" in name]
    assert "no server shares the store now" in shop.run("stats")[1]
    assert "nothing runs it" in shop.run("jobs")[1]


def test_what_workers_say(shop: Shop) -> None:
    """stats and jobs are those of the servers, not of the command."""
    with shop.server() as server:
        for _ in range(3):
            server.get("/slow/1")
        wait_until(
            lambda: json.loads(shop.run("stats", "--json")[0])["stats"].get("hits", 0) >= 2,
            LIMIT, lambda: shop.run("stats")[0],
        )  # fmt: skip
        found = json.loads(shop.run("stats", "--json")[0])
        assert (found["processes"], len(found["workers"])) == (1, 1)
        assert found["workers"][0]["pid"] == server.process.pid
        jobs = json.loads(shop.run("jobs", "--json")[0])["jobs"]
        assert [(job["path"], job["ticks"] > 0) for job in jobs] == [("/periodic", True)]


def test_what_workers_load(tmp_path: Path, redis: Redis) -> None:
    """top has the loads under way of the servers that share the store, and asks none of them."""
    shop = Shop(tmp_path, CLI_REDIS=redis.url, CLI_SECONDS="300")

    def loads() -> list[dict[str, Any]]:
        said = shop.run("top", "--json", "--count", "1", "--interval", "0.1")[0]
        return [one for one in json.loads(said)["loads"] if one["url"] == "/slow/1"]

    with shop.server() as server, socket.create_connection(("127.0.0.1", server.port)) as visitor:
        visitor.sendall(b"GET /slow/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: bool(loads()), LIMIT, lambda: shop.run("stats")[0])
        (load,) = loads()
        assert load["process"].endswith(f":{server.process.pid}")
        assert load["age"] > 0


def test_a_store_that_does_not_answer(shop: Shop, redis: Redis) -> None:
    """Where Redis is gone commands say so, and what would help, and fail in time; doctor, too."""
    redis.kill()
    began = time.monotonic()
    for args in (["ls"], ["purge", "--all", "--yes"], ["warm", "--routes"]):
        out, err = shop.run(*args, code=1)
        assert out == ""
        assert "does not answer" in err
        assert "ASWR_STORE_TIMEOUT" in err
    out, _ = shop.run("doctor", code=1)
    assert "error\tstore\t" in out
    out, _ = shop.run("why", "/slow/1")
    assert out.startswith("verdict\tmiss\t/slow/1\n")
    assert "store\tthe shared store does not answer" in out
    assert time.monotonic() - began < 4 * LIMIT


def test_a_server_s_memory_while_the_store_is_gone(shop: Shop, redis: Redis) -> None:
    """A server that lost its store lists its own memory, and says so; with --memory at any time."""
    with shop.server() as server:
        url = {"ASWR_ADMIN_URL": f"http://127.0.0.1:{server.port}/aswr"}
        server.get("/slow/1")
        memory = ("ls", "--memory", "--search", "slow")
        out, err = shop.run(*memory, env=url)
        assert (out.split("\t")[7], err) == ("/slow/1", "")
        redis.kill()
        out, err = shop.run("ls", "--search", "slow", env=url, code=1)
        assert out.split("\t")[7] == "/slow/1"
        assert err == "the store did not answer: this is what the server's own memory has\n"
        assert shop.run(*memory, env=url)[0].split("\t")[7] == "/slow/1"
    assert "--server URL" in shop.run("ls", "--memory", code=2)[1]


# Through a server


def test_a_server_with_memory_alone(tmp_path: Path) -> None:
    """With the memory cache everything goes through the server, with its token."""
    shop = Shop(tmp_path)
    with shop.server() as server:
        url = {"ASWR_ADMIN_URL": f"http://127.0.0.1:{server.port}/aswr"}
        server.get("/slow/1")
        server.get("/slow/1")
        out, _ = shop.run("ls", "--search", "slow", env=url)
        assert out.split("\t")[7] == "/slow/1"
        assert "\thits\t1\n" in shop.run("stats", env=url)[0]
        assert shop.run("show", "/slow/1", env=url)[0]
        assert shop.run("why", "/slow/1", env=url)[0].startswith("verdict\thit\t")
        assert "\tflask run, process" in shop.run("doctor", env=url)[0]
        assert shop.run("refresh", "/slow/1", env=url)[0].startswith("stored\t")
        assert shop.run("warm", "-", env=url, said="/slow/2\n")[0].startswith("stored\t")
        assert shop.loads.count("/slow/2") == 1
        assert shop.run("purge", "/slow/1", env=url)[0] == "purged\t/slow/1\n"
        assert server.get("/slow/1").cache_status == "aswr; fwd=uri-miss; stored"
        _, err = shop.run("ls", code=1, env={**url, "ASWR_ADMIN_TOKEN": "another-token-than-that"})
        assert "ASWR_ADMIN_TOKEN" in err
        _, err = shop.run("ls", "--server", f"http://127.0.0.1:{server.port}/", code=1)
        assert "blueprint mounted" in err
    _, err = shop.run("ls", code=1, env=url)
    assert "nobody listens" in err


# Ctrl-C


def names(folder: Path, count: int) -> str:
    listed = folder / "list"
    listed.write_text("".join(f"/slow/{number}\n" for number in range(count)))
    return str(listed)


def test_ctrl_c_while_it_warms(shop: Shop, tmp_path: Path) -> None:
    """The first ctrl-C lets what is under way end, tells what is left, and it can be continued."""
    rest = tmp_path / "rest"
    listed = names(tmp_path, 60)
    args = ["warm", listed, "--concurrency", "3", "--failed", str(rest), "--json"]
    process = shop.begin(*args, env={"CLI_SECONDS": "0.2"})
    with ended(process):
        wait_until(lambda: len(shop.loads) >= 6, LIMIT, lambda: str(shop.loads))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    found = json.loads(out)
    begun = set(shop.loads)
    assert found["interrupted"]
    assert {
        one["url"] for one in found["results"]
    } == begun  # what had begun has ended, and is saved
    assert set(rest.read_text().split()) == {f"/slow/{number}" for number in range(60)} - begun
    assert f"{len(found['left'])} left" in err
    shop.run("warm", str(rest), "--concurrency", "8")
    assert sorted(shop.loads, key=lambda path: int(path[6:])) == [f"/slow/{n}" for n in range(60)]
    assert len(shop.run("ls", "--search", "slow")[0].splitlines()) == 60


def test_ctrl_c_while_it_reads_its_list(shop: Shop, tmp_path: Path) -> None:
    """Ctrl-C ends it at once where nothing is begun, with the exit code of all ctrl-C."""
    listed = tmp_path / "list"
    os.mkfifo(listed)
    process = shop.begin("warm", str(listed))
    with ended(process):
        writes = os.open(listed, os.O_WRONLY)  # waits for who reads
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LIMIT)
        os.close(writes)
    assert (process.returncode, "Traceback" in err) == (130, False), err


def test_no_standard_input(shop: Shop) -> None:
    """Where it is closed there is no list to read."""
    command = shlex.join([*FLASK, shop.app, "aswr", "warm", "-"])
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {command} <&-"], cwd=HERE,
        env=environment(shop.folder, **shop.env), capture_output=True, text=True,
        timeout=LIMIT, check=False,
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert "standard input is closed" in done.stderr


def test_a_store_that_dies_while_it_warms(shop: Shop, redis: Redis, tmp_path: Path) -> None:
    """What may not be in the store is among the rest, and the rest is enough to go on."""
    rest = tmp_path / "rest"
    listed = names(tmp_path, 12)
    args = ["warm", listed, "--concurrency", "1", "--failed", str(rest)]
    process = shop.begin(*args, env={"CLI_SECONDS": "0.2"})
    with ended(process):
        wait_until(lambda: len(shop.loads) >= 2, LIMIT, lambda: str(shop.loads))
        redis.kill()
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 1, err
    assert "not everything could be saved" in err
    assert sorted(rest.read_text().split()) == sorted(Path(listed).read_text().split())


def test_a_list_in_any_locale(shop: Shop, tmp_path: Path) -> None:
    """What was not warmed is written as it was read, whatever the locale."""
    rest = tmp_path / "rest"
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    args = ["warm", "-", "--retries", "0", "--failed", str(rest)]
    process = shop.begin(*args, env=plain, encoding="utf-8")
    with ended(process):
        _, err = process.communicate("/bad/1?x=é\n", LIMIT)
    assert process.returncode == 1, err
    assert "Traceback" not in err
    assert rest.read_text("utf-8") == "/bad/1?x=é\n"


def test_ctrl_c_twice(shop: Shop, tmp_path: Path) -> None:
    """The second ctrl-C ends it at once, whatever the loads do; what was under way is left, too,
    and what was loaded, of which nobody knows whether it was saved.
    """
    rest = tmp_path / "rest"
    listed = names(tmp_path, 8)
    Path(listed).write_text("/weird/1\n" + Path(listed).read_text())
    process = shop.begin(
        "warm", listed, "--concurrency", "2", "--failed", str(rest), env={"CLI_SECONDS": "20"}
    )
    with ended(process):
        wait_until(lambda: sum("slow" in one for one in shop.loads) >= 2, LIMIT,
                   lambda: str(shop.loads))  # fmt: skip
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 130, err
    assert time.monotonic() - began < 10
    assert sorted(rest.read_text().split()) == sorted(Path(listed).read_text().split())


def test_failures_are_told(shop: Shop, tmp_path: Path) -> None:
    """Exit code 1, and what failed on stderr, with how often it was tried."""
    _, err = shop.run("warm", "-", "--retries", "1", code=1, said="/bad/1\n/slow/1\n")
    assert "failed: /bad/1: RuntimeError: no luck (2 tries)" in err
    assert shop.loads.count("/bad/1") == 2


# Pipes and terminals


def test_a_pipe_that_is_closed(shop: Shop) -> None:
    """``| head`` ends quietly."""
    shop.run("warm", "-", said="".join(f"/slow/{number}\n" for number in range(300)))
    process = shop.begin("ls")
    with ended(process):
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        process.wait(LIMIT)
    assert err == ""


class Terminal:
    """A command with a terminal of its own, so wide."""

    def __init__(self, command: list[str], env: dict[str, str], columns: int, cwd: Path) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        self.text = ""
        self.process = subprocess.Popen(
            command, env=env, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def await_text(self, text: str) -> None:
        wait_until(lambda: self._read() and text in self.text, LIMIT, lambda: self.text)

    def end(self) -> str:
        """All that it wrote, once it has ended."""
        wait_until(lambda: self._read() and self.process.poll() is not None, LIMIT,
                   lambda: self.text)  # fmt: skip
        self._read()
        return self.text

    @property
    def mode(self) -> list[Any]:
        return termios.tcgetattr(self._theirs)

    def _read(self) -> bool:
        while select.select([self._ours], [], [], 0.02)[0]:
            self.text += os.read(self._ours, 65536).decode(errors="replace")
        return True


def terminal(shop: Shop, *args: str, columns: int = 100, **env: str) -> Terminal:
    whole = {**environment(shop.folder, **shop.env), "TERM": "xterm", "NO_COLOR": "", **env}
    return Terminal([*FLASK, shop.app, "aswr", *args], whole, columns, HERE)


@pytest.mark.parametrize("key", [b"q", b"\x03"], ids=["q", "ctrl-C"])
def test_top_leaves_the_terminal_as_it_was(shop: Shop, key: bytes) -> None:
    """top ends by q and by ctrl-C, with the cursor, the page and the keyboard as before."""
    with terminal(shop, "top") as screen:
        screen.await_text("aswr top")
        assert screen.mode != screen.before
        screen.type(key)
        text = screen.end()
        assert screen.process.returncode == 0
        assert screen.mode == screen.before
    assert text.count("\x1b[?1049h") == text.count("\x1b[?1049l") == 1
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert "Traceback" not in text


def test_top_that_is_terminated(shop: Shop) -> None:
    """A top that is terminated gives the terminal back, too."""
    with terminal(shop, "top") as screen:
        screen.await_text("q ends")
        screen.process.terminate()
        text = screen.end()
        assert screen.mode == screen.before
    assert text.rindex("\x1b[?1049l") > text.rindex("\x1b[?1049h")


def test_tables_on_a_terminal(shop: Shop) -> None:
    """A terminal gets a table in its width, in colours unless NO_COLOR is set."""
    shop.run("warm", "-", said="/slow/1\n/weird/" + "long" * 30 + "\n")
    with terminal(shop, "ls", columns=60) as screen:
        text = screen.end()
    assert "\x1b[32mfresh\x1b[0m" in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert plain.startswith("STATE")
    assert all(len(line) <= 60 for line in plain.splitlines())
    assert "…" in plain
    with terminal(shop, "ls", columns=60, NO_COLOR="1") as screen:
        assert uncut(screen.end()) == uncut(plain)


def uncut(text: str) -> str:
    """A table, whatever the widths of its times left of a long URL."""
    return re.sub(r"/weird/\w+…", "/weird/…", alike(text))


def test_hostile_urls_move_no_cursor(shop: Shop) -> None:
    """URLs with escape sequences and marks of direction in them are printed escaped."""
    shop.run("warm", "-", said="/weird/%1b[2J%07X%e2%80%ae\n")
    for args in (["ls"], ["show", "/weird/%1b[2J%07X%e2%80%ae"]):
        with terminal(shop, *args, NO_COLOR="1", columns=200) as screen:
            text = screen.end()
        assert "/weird/" in text
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "\x07" not in text


def test_the_bar_on_a_terminal(shop: Shop) -> None:
    """On a terminal warm draws a bar, and leaves nothing of it."""
    with terminal(shop, "warm", "--routes", NO_COLOR="1") as screen:
        text = screen.end()
    assert "1 of 1" in text
    assert text.rindex("\r\x1b[K") > text.rindex("1 of 1  ")
    assert "1 loaded, 0 fresh already; of 1" in text


# The README


README, TUTORIAL = (ROOT / "README.md").read_text(), (ROOT / "docs" / "tutorial.md").read_text()


def test_the_way_from_the_readme_to_a_purged_entry(tmp_path: Path, port: int) -> None:
    """What README and tutorial say for two terminals works word for word, in a folder like it."""
    section = README.partition("## Operating it\n")[2].partition("\n## ")[0]
    first, second = [block[0] for block in blocks(section)][:2]
    for block in (first, second):
        assert block in TUTORIAL
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    env = {**environment(tmp_path), "FLASK_RUN_PORT": str(port), "PYTHONUNBUFFERED": "1"}
    begin = "\n".join(command for command, _ in commands(first))
    log = tmp_path / "printed"
    with log.open("wb") as printed:
        server = subprocess.Popen(
            ["/bin/sh", "-c", begin], cwd=tmp_path, env=env, stdout=printed,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        wait_until(lambda: "CTRL+C" in log.read_text(), LIMIT, log.read_text)
        assert (tmp_path / "aswr.env").stat().st_mode & 0o077 == 0
        lines = [command for command, _ in commands(second)]
        asked = "\n".join([*lines, ".venv/bin/flask aswr ls"])
        done = subprocess.run(
            ["/bin/sh", "-c", asked.replace("127.0.0.1:5000", f"127.0.0.1:{port}")], cwd=tmp_path,
            env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT,
        )  # fmt: skip
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(LIMIT)
    assert done.returncode == 0, done.stdout
    said = done.stdout
    before, after = said.split("purged\t/\n")
    assert "fresh already, 1 not stored; of 4" in before
    assert "\t/\t" in before
    assert "\t/weather\t" in after
    assert "\t/\t" not in after
    assert f"on {socket.gethostname()} alone" in after


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# The manual

_SPAN = re.compile(r"\b\d+(\.\d+)? (ms|s|min|h|d)\b( \d+ (s|min|h)\b)?")
_NUMBER = re.compile(r"\d+(\.\d+)*")
_ID = re.compile(r"\b[0-9a-f]{32}\b")
_WHEN = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d")


ASKS = re.compile(r"aswr (doctor|stats|ls|show|why|jobs|top)\b")


def alike(text: str) -> str:
    """A transcript without what differs from one run to the next: times, counts, blanks, and where
    a word is cut, which the width of times decides.
    """
    text = re.sub(r"\S*…\S*", "…", text)
    text = _ID.sub("ID", _WHEN.sub("WHEN", text))
    text = _NUMBER.sub("N", _SPAN.sub("TIME", re.sub(r"[+-](?=\d)", "", text)))
    return " ".join(text.split())


def blocks(text: str) -> list[re.Match[str]]:
    return list(re.finditer(r"(?<=^```console\n).*?(?=^```$)", text, re.DOTALL | re.M))


def commands(block: str) -> list[tuple[str, str]]:
    """The commands of a block, each with what it is said to print."""
    parts = re.split(r"^\$ (.*)\n", block, flags=re.M)
    assert parts[0] == "", "a block begins with a command"
    return list(zip(parts[1::2], parts[2::2], strict=True))


def transcript(line: str, env: dict[str, str], port: int) -> str:
    """What a command prints on a terminal of a hundred columns, as it looks in the end."""
    shell = line.replace("127.0.0.1:5000", f"127.0.0.1:{port}")
    with Terminal(["/bin/sh", "-c", shell], env, 92, ROOT) as screen:
        text = screen.end().replace("\r\n", "\n")
    lines = [each.rpartition("\r")[2].replace("\x1b[K", "") for each in text.split("\n")]
    text = "\n".join(lines).replace(f"127.0.0.1:{port}", "127.0.0.1:5000")
    text = re.sub(r"redis://127\.0\.0\.1:\d+", "redis://localhost:6379", text)
    text = text.replace(f"{ROOT}{os.sep}", "")
    return re.sub(rf"\b{re.escape(socket.gethostname())}\b", "web1", text)


def settled(server: Server) -> bool:
    """Has the job run, and was every page visited? Then the server knows what there is to tell."""
    said = server.send("GET", "/aswr/api/jobs", headers={"Authorization": f"Bearer {TOKEN}"})
    if not said.json[0]["history"] or not server.get("/").cache_status.startswith("aswr; hit"):
        return False
    return all(server.get(page).status == 200 for page in ("/basket", "/visits"))


@pytest.mark.timeout(300)  # two dozen commands
def test_the_transcripts_of_the_manual(redis: Redis, tmp_path: Path) -> None:
    """Every ``$ flask`` line of the manual's page prints what the page says, in order.

    With ASWR_REWRITE_DOCS=1 the page is written anew.
    """
    text = PAGE.read_text()
    app = str(ROOT / "examples" / "operated")
    shop = Shop(tmp_path, app, REDIS_URL=redis.url)
    env = {
        **environment(tmp_path, **shop.env), "FLASK_APP": app, "TERM": "xterm", "NO_COLOR": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    made, differing = [], []
    with shop.server() as server:
        wait_until(lambda: settled(server), LIMIT, lambda: server.output)
        for block in blocks(text):
            said = ""
            for line, expected in commands(block[0]):
                runs = re.search(r"\bflask aswr\b", line) is not None
                shown = transcript(line, env, server.port) if runs else expected
                if runs and alike(shown) != alike(expected) and ASKS.search(line):
                    shown = transcript(line, env, server.port)  # a machine may be slow for once
                said += f"$ {line}\n{shown.rstrip()}\n" if shown.strip() else f"$ {line}\n"
                if alike(shown) != alike(expected):
                    differing.append(f"$ {shlex.quote(line)}\n{shown}")
            made.append(said)
    if os.environ.get("ASWR_REWRITE_DOCS") == "1":
        for block, said in reversed(list(zip(blocks(text), made, strict=True))):
            text = text[: block.start()] + said + text[block.end() :]
        PAGE.write_text(text)
        return
    assert not differing, "ASWR_REWRITE_DOCS=1 writes the page anew\n" + "\n".join(differing)
    assert made
