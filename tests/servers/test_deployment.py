"""docs/deployment.md, taken at its word: its commands, units and configurations are started.

A block of the page is found by the comment before it, ``<!-- recipe: NAME -->`` or
``<!-- file: NAME -->``, and run in a copy of ``examples/container``. Only ports, paths and the
patience of visitors are other than there.
"""

import configparser
import contextlib
import grp
import http.client
import json
import os
import pwd
import re
import runpy
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from packaging.requirements import Requirement

from aswr.options import CONFIG

from .harness import Answer, environment, free_port, wait_until
from .redises import binary

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "deployment.md").read_text()
CONTAINER = ROOT / "examples" / "container"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

GUNICORN = runpy.run_path(str(CONTAINER / "gunicorn.conf.py"))
COMPOSE: dict[str, Any] = yaml.safe_load((CONTAINER / "compose.yaml").read_text())["services"]

PORT, REDIS, NGINX = "8000", "6379", "8080"  # as the page has them
PATIENCE, DRAIN = 1.5, 1.0  # seconds that a visitor waits, and that loads get when it ends
SLACK = 4.0  # seconds for a server's own stopping, on a busy machine
SERVERS = (
    "gunicorn-gthread", "gunicorn-sync", "gunicorn-preload", "uvicorn", "granian", "hypercorn",
)  # fmt: skip

pytestmark = pytest.mark.timeout(120)


def block(kind: str, name: str) -> str:
    """The code block of the page that has this comment before it."""
    marked = rf"<!-- {kind}: {re.escape(name)} -->\n```\w*\n(.*?)```"
    (found,) = re.findall(marked, PAGE, re.DOTALL)
    return str(found).replace("\\\n", " ")


def recipe(name: str) -> list[str]:
    """The commands of a recipe, one a line."""
    return block("recipe", name).strip().splitlines()


class Command:
    """A shell's command in a folder, with other ports; ended by its process id."""

    def __init__(self, command: str, folder: Path, ports: Mapping[str, int], **env: str) -> None:
        for theirs, ours in ports.items():
            command = re.sub(rf"\b{theirs}\b", str(ours), command)
        # In the place of the shell, so that a signal to the process is one to the server.
        command = re.sub(r"^((?:\w+=\S+\s+)*)", r"\1exec ", command)
        self.command = command
        self._output = folder.parent / f"{free_port()}.log"
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        clean = environment(folder.parent, PYTHONWARNINGS="", PATH=path)
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                ["bash", "-c", command], cwd=folder, env={**clean, **env},
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    @property
    def output(self) -> str:
        return f"{self.command}\n{self._output.read_text(errors='replace')}"

    def await_port(self, port: int) -> None:
        """Wait until it accepts connections there."""

        def accepts() -> bool:
            assert self.process.poll() is None, f"it ended at once\n{self.output}"
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                return True
            return False

        wait_until(accepts, 20, lambda: f"no server\n{self.output}")

    def await_jobs(self, workers: int) -> None:
        """Wait until the job has run in so many processes; sends nothing."""

        def computed() -> set[str]:
            return set(re.findall(r"report computed in process (\d+)", self.output))

        wait_until(lambda: len(computed()) == workers, 20, lambda: f"no job\n{self.output}")
        time.sleep(0.2)  # from the line to the stored answer

    def stop(self, sign: signal.Signals = signal.SIGTERM, within: float = DRAIN + SLACK) -> None:
        """Signal it; it ends with 0, in time and without a traceback."""
        self.process.send_signal(sign)
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not ended after {within:g} s\n{self.output}") from None
        assert code == 0, self.output
        assert "Traceback" not in self.output, self.output

    def kill(self) -> None:
        """Leave nothing of it behind."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def started(
    command: str, folder: Path, port: int, ports: Mapping[str, int] = {}, **env: str
) -> Iterator[Command]:
    """The command, from accepting connections at its port to the end, when nothing is left of it.

    gunicorn's port is in its configuration; the environment goes before that.
    """
    env = {"GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{port}", **env}
    running = Command(command, folder, {PORT: port, **ports}, **env)
    try:
        running.await_port(port)
        yield running
    finally:
        running.kill()


VISITOR = "127.0.0.2"  # where visitors come from: another loopback address than the proxy's


def send(port: int, path: str, method: str = "GET", **headers: str) -> Answer:
    """One answer, over a connection of its own."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, 30, (VISITOR, 0))
    with contextlib.closing(connection) as client:
        client.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        response = client.getresponse()
        body = response.read()
    return Answer(response.status, response.headers, body, time.monotonic() - began)


IMPATIENT = {"FLASK_ASWR_WAIT_TIMEOUT": str(PATIENCE), "FLASK_ASWR_DRAIN_TIMEOUT": str(DRAIN)}


def stop_in_the_middle(
    server: Command, port: int, within: float = PATIENCE + DRAIN + SLACK
) -> None:
    """Stop it while somebody waits for a load that will not end."""
    with ThreadPoolExecutor(1) as pool:
        visitor = pool.submit(send, port, "/report?seconds=60")
        time.sleep(0.5)  # for his request to arrive
        server.stop(within=within)
        assert visitor.result().status == 503


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the folder in which the page runs its commands."""
    return Path(shutil.copytree(CONTAINER, tmp_path / "container"))


def test_every_recipe_is_started() -> None:
    """No command or file of the page is marked but run by nobody."""
    marked = set(re.findall(r"<!-- (?:recipe|file): ([\w.-]+) -->", PAGE))
    others = {"nginx", "nginx-renew", "redis", "fleet", "users.acl", "shop.service"}
    assert marked == {*SERVERS, *others}


@pytest.mark.parametrize("name", SERVERS)
def test_server(name: str, folder: Path) -> None:
    """Its jobs start in every worker, the first visitor gets a hit, and it stops in time."""
    pytest.importorskip(name.partition("-")[0])
    (command,) = recipe(name)
    port = free_port()
    workers = re.search(r"--workers (\d+)", command)
    assert workers is not None
    with started(command, folder, port, **IMPATIENT) as server:
        server.await_jobs(int(workers[1]))
        answer = send(port, "/report")
        assert answer.cache_status.startswith("aswr; hit"), server.output
        stop_in_the_middle(server, port)


def test_grace_is_longer_than_patience() -> None:
    """Whoever may kill a server waits longer than a visitor and the drain together."""
    patience = CONFIG["ASWR_WAIT_TIMEOUT"] + CONFIG["ASWR_DRAIN_TIMEOUT"]
    assert GUNICORN["graceful_timeout"] > patience
    for name, option in (
        ("uvicorn", "timeout-graceful-shutdown"),
        ("granian", "workers-kill-timeout"),
        ("hypercorn", "graceful-timeout"),
    ):
        (command,) = recipe(name)
        grace = re.search(rf"--{option} (\d+)", command)
        assert grace is not None
        assert int(grace[1]) > patience
    assert int(service()["TimeoutStopSec"]) > GUNICORN["graceful_timeout"]
    shop = COMPOSE["shop"]
    assert int(shop["stop_grace_period"].removesuffix("s")) > GUNICORN["graceful_timeout"]
    told = [shop["environment"][f"FLASK_ASWR_{which}_TIMEOUT"] for which in ("WAIT", "DRAIN")]
    assert sum(map(float, told)) <= patience


# nginx.


def nginx_conf(folder: Path, **ports: int) -> None:
    """The page's nginx.conf where the page's command looks for it, with paths of its own."""
    conf = (ROOT / "examples" / "nginx.conf").read_text()
    for theirs, ours in ((PORT, ports["app"]), (NGINX, ports["nginx"])):
        conf, times = re.subn(rf"\b{theirs};", f"{ours};", conf)
        assert times == 1
    ours = folder.parent / "nginx"
    ours.mkdir()
    conf, times = re.subn(r"/var/cache/shop", str(ours / "cache"), conf)
    assert times == 1
    temporary = " ".join(
        f"{what}_temp_path {ours / what};"
        for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    conf = conf.replace("http {", f"http {{ access_log off; {temporary}", 1)
    # Its workers are who we are: nobody else may enter the test's folder.
    user = f"{pwd.getpwuid(os.geteuid()).pw_name} {grp.getgrgid(os.getegid()).gr_name}"
    conf = f"daemon off; user {user}; pid {ours / 'pid'}; error_log stderr;\n{conf}"
    (folder.parent / "nginx.conf").write_text(conf)


def await_hit(port: int, body: bytes) -> None:
    """Wait until nginx answers by itself, with this body: it stores after it has answered."""

    def hits() -> bool:
        answer = send(port, "/report")
        return bool(answer.headers["X-Nginx"] == "HIT" and answer.body == body)

    wait_until(hits, 3, lambda: "nginx keeps nothing, or something else")


def test_nginx(folder: Path) -> None:
    """nginx keeps public answers alone, is believed by ProxyFix, and renews what it is told to."""
    pytest.importorskip("gunicorn")
    if shutil.which("nginx") is None:
        pytest.skip("no nginx on PATH")
    app_command, nginx_command = recipe("nginx")
    app, nginx = free_port(), free_port()
    nginx_conf(folder, app=app, nginx=nginx)
    one = f"--bind 127.0.0.1:{app} --workers 1"  # without Redis a purge reaches one worker
    with (
        started(app_command, folder, app, GUNICORN_CMD_ARGS=one) as server,
        started(nginx_command, folder, nginx) as proxy,
    ):
        server.await_jobs(1)
        first = send(nginx, "/report")
        assert first.headers["X-Nginx"] == "MISS"
        assert first.cache_status.startswith("aswr; hit")
        await_hit(nginx, first.body)
        for path in ("/stock", "/health"):
            assert [send(nginx, path).headers["X-Nginx"] for _ in range(4)] == ["MISS"] * 4, path

        spoofed = {"X_Forwarded_For": "192.0.2.1", "X_Forwarded_Host": "evil.example"}
        caller = send(nginx, "/caller", **spoofed).json
        assert caller == {"address": VISITOR, "url": f"http://127.0.0.1:{nginx}/caller"}
        assert "lay around" not in server.output

        assert send(nginx, "/publish", "POST").status == 200
        (renew,) = recipe("nginx-renew")
        done = subprocess.run(
            ["bash", "-c", renew.replace(NGINX, str(nginx))],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        assert json.loads(done.stdout)["computed"] > first.json["computed"]
        await_hit(nginx, done.stdout.encode())

        proxy.stop(signal.SIGQUIT)  # what `nginx -s quit` sends
        server.stop()


# Redis.


def test_fleet(folder: Path) -> None:
    """On the page's Redis, as its user, two hosts load once, and a purge at one reaches both."""
    pytest.importorskip("gunicorn")
    (folder / "users.acl").write_text(block("file", "users.acl"))
    (store_command,) = recipe("redis")
    (command,) = recipe("fleet")
    store, one, other = free_port(), free_port(), free_port()
    store_command = store_command.replace("redis-server", shlex.quote(binary()), 1)
    with contextlib.ExitStack() as stack:
        shared = stack.enter_context(started(store_command, folder, store, {REDIS: store}))
        hosts = [
            stack.enter_context(started(command, folder, port, {REDIS: store}))
            for port in (one, other)
        ]

        def computed() -> int:
            return sum(host.output.count("report computed") for host in hosts)

        wait_until(lambda: computed() > 0, 20, lambda: hosts[0].output)
        first, second = send(one, "/report"), send(other, "/report")
        assert first.json == second.json
        assert computed() == 1

        assert send(one, "/publish", "POST").json == {"everybody_knows": True}

        def is_newer(port: int) -> bool:
            return bool(send(port, "/report").json["computed"] > first.json["computed"])

        for port in (one, other):
            wait_until(partial(is_newer, port), 5, lambda: hosts[0].output)
        for host in hosts:
            assert "shared store" not in host.output, "it complained"
            host.stop()
        refused = pytest.raises(redis.exceptions.NoPermissionError)
        with redis.Redis(port=store, username="shop", password="change-me") as client, refused:
            client.set("elsewhere", 1)
        shared.stop()


# The container, without Docker.


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, in order."""
    text = (CONTAINER / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines]


def only(name: str) -> str:
    (value,) = [value for found, value in instructions() if found == name]
    return value


def exec_form(text: str) -> str:
    """A command in the JSON form, for a shell to run without a change."""
    words = json.loads(text[text.index("[") :])
    assert all(isinstance(word, str) for word in words)
    return shlex.join(words)


def test_dockerfile_is_of_this_project() -> None:
    """Its Python is one that is tested, it installs extras that exist, and it is nobody's root."""
    python = re.fullmatch(r"python:(3\.\d+)-slim", only("FROM"))
    assert python is not None
    assert f"Programming Language :: Python :: {python[1]}" in PROJECT["classifiers"]
    lines = (CONTAINER / "requirements.txt").read_text().split()
    ours, server = map(Requirement, lines)
    assert (ours.name, server.name) == (PROJECT["name"], "gunicorn")
    assert ours.extras <= set(PROJECT["optional-dependencies"])
    assert all(int(number) > 0 for number in only("USER").split(":"))


def test_compose_leaves_nothing_writable() -> None:
    """Both services have a root that cannot be written to, and no rights of root."""
    for service in COMPOSE.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert "/tmp" in COMPOSE["shop"]["tmpfs"]
    names = [name.removeprefix("FLASK_") for name in COMPOSE["shop"]["environment"]]
    assert set(names) <= set(CONFIG)


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_container(tmp_path: Path) -> None:
    """What the image would run serves on compose's store, is healthy, writes nothing, and stops."""
    pytest.importorskip("gunicorn")
    work, spool = tmp_path / "srv", tmp_path / "spool"
    work.mkdir()
    spool.mkdir()
    for name, value in instructions():
        if name == "COPY":
            *sources, target = value.split()
            assert target == "./"
            for source in sources:
                shutil.copy(CONTAINER / source, work)
    before = files(work)

    port, store = free_port(), free_port()
    arguments = shlex.join(COMPOSE["redis"]["command"][1:])
    store_command = f"{shlex.quote(binary())} {arguments} --port {store}"
    env = dict(pair.split("=", 1) for pair in only("ENV").split())
    env |= COMPOSE["shop"]["environment"] | IMPATIENT
    assert env["FLASK_ASWR_CACHE"] == f"redis://redis:{REDIS}/0"
    env |= {
        "FLASK_ASWR_CACHE": f"redis://127.0.0.1:{store}/0",
        "HOME": str(work), "TMPDIR": str(spool),
    }  # fmt: skip
    command, check = exec_form(only("CMD")), exec_form(only("HEALTHCHECK"))
    with (
        started(store_command, spool, store) as shared,
        started(command, work, port, **env) as server,
    ):
        healthy = Command(check, work, {PORT: port}, **env)
        assert healthy.process.wait(20) == 0, healthy.output
        wait_until(lambda: "report computed" in server.output, 20, lambda: server.output)
        send(port, "/stock")
        with redis.Redis(port=store) as client:
            wait_until(lambda: client.dbsize() > 0, 5, lambda: "nothing is shared")
        assert files(work) == before, "it writes to what is read-only"
        stop_in_the_middle(server, port)
        assert files(work) == before, "it writes to what is read-only"
        ill = Command(check, work, {PORT: port}, **env)
        assert ill.process.wait(20) == 1, ill.output
        shared.stop()


# systemd.


def service() -> dict[str, str]:
    """The [Service] part of the page's unit."""
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block("file", "shop.service"))
    return dict(unit["Service"])


def test_systemd(folder: Path) -> None:
    """The unit's command says to who listens in systemd's place that it is ready, and stops."""
    pytest.importorskip("gunicorn")
    unit, port = service(), free_port()
    assert (unit["Type"], unit["KillMode"]) == ("notify", "mixed")
    command = unit["ExecStart"].replace(f"{unit['WorkingDirectory']}/.venv/bin/", "")
    assert not command.startswith("/")
    assert unit["ExecReload"] == "/bin/kill -HUP $MAINPID"
    env = dict(pair.split("=", 1) for pair in unit["Environment"].split())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(folder / "s"))
        systemd.settimeout(20)
        env |= {**IMPATIENT, "NOTIFY_SOCKET": str(folder / "s")}
        with started(command, folder, port, **env) as server:
            assert b"READY=1" in systemd.recv(4096)
            server.await_jobs(GUNICORN["workers"])
            server.process.send_signal(signal.SIGHUP)
            server.await_jobs(2 * GUNICORN["workers"])
            server.stop()


def test_systemd_knows_every_word_of_the_unit(tmp_path: Path) -> None:
    """systemd itself finds nothing to complain about."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on PATH")
    unit = tmp_path / "shop.service"
    program = shutil.which("true")
    text, times = re.subn(
        r"(?m)^ExecStart=\S+", f"ExecStart={program}", block("file", "shop.service")
    )
    assert times == 1
    unit.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, str(unit) in done.stderr) == (0, False), done.stderr
