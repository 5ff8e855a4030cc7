"""The ASGI door under real servers: against a constant, Flask-Caching, nginx and Varnish.

wrk asks for the same page over 16 connections, enough to keep one worker busy; the contestants
take turns, and a ratio is the median of the rounds' own. All get the same headers.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from .pace import paired
from .processes import Server, free_port, granian, program, serving, uvicorn, wrk
from .rows import Missing, Outcome, Row, benchmark

ROUNDS = 8
PATH = "/page"

Serve = Callable[..., contextlib.AbstractContextManager[Server]]


def rates(ports: dict[str, int]) -> dict[str, list[float]]:
    """Requests per second of each contestant, a value per round; they take turns."""
    found: dict[str, list[float]] = {name: [] for name in ports}
    for port in ports.values():
        wrk(port, PATH, 1)  # warm, and stored
    for _ in range(ROUNDS):
        for name, port in ports.items():
            found[name].append(wrk(port, PATH, 1))
    return found


def door(serve: Serve, *peer_options: str) -> list[Outcome]:
    """The door, two constants and Flask-Caching, each in a server of its own.

    What a server takes for writing four more header fields is seen in the second constant.
    """
    program("wrk")
    apps = {"door": "asgi_app", "constant": "constant", "same fields": "constant_as_door"}
    with contextlib.ExitStack() as stack:
        ports = {name: stack.enter_context(serve(app)).port for name, app in apps.items()}
        missing = None if find_spec("flask_caching") else Missing("no flask-caching here")
        if missing is None:
            peer = stack.enter_context(serve("served_peer:asgi_app", *peer_options))
            ports["Flask-Caching"] = peer.port
        found = rates(ports)
    return [
        paired(found, "door", "constant", "/s"),
        paired(found, "door", "same fields", "/s"),
        missing or paired(found, "door", "Flask-Caching", "/s"),
    ]


@benchmark(
    "asgi-door",
    Row("ASGI door hit, uvicorn, one worker", "a constant raw ASGI app", 0.85, at_least=True),
    Row("the same", "a constant with the fields of the door's", 0.85, at_least=True),
    Row("the same", "Flask-Caching hit through `WsgiToAsgi`", 15, at_least=True),
    Row("ASGI door hit, granian, one worker", "a constant raw ASGI app", 0.85, at_least=True),
    Row("the same", "a constant with the fields of the door's", 0.85, at_least=True),
    Row("the same", "Flask-Caching hit through `WsgiToAsgi`", 15, at_least=True),
)
def asgi_door() -> Sequence[Outcome]:
    """Without ``--reset-contextvars`` half of what `WsgiToAsgi` answers under uvicorn is a 500."""
    return [*door(uvicorn, "--reset-contextvars"), *door(granian)]


NGINX = """
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr error;
{user}
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  proxy_cache_path {folder}/pages keys_zone=pages:10m;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://127.0.0.1:{origin}; proxy_cache pages; }}
  }}
}}
"""


def nginx(folder: str, origin: int) -> contextlib.AbstractContextManager[Server]:
    """nginx with a cache on disk, which the system keeps in memory."""
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    config = Path(folder) / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, origin=origin, user=user))
    return serving([program("nginx"), "-p", folder, "-e", "stderr", "-c", str(config)], port)


def varnish(folder: str, origin: int) -> contextlib.AbstractContextManager[Server]:
    """Varnish with its cache in memory and one pool of threads."""
    port = free_port()
    asked = ["-F", "-j", "none", "-n", f"{folder}/varnish", "-a", f"127.0.0.1:{port}"]
    asked += ["-b", f"127.0.0.1:{origin}", "-s", "malloc,64m", "-p", "thread_pools=1"]
    return serving([program("varnishd"), *asked], port)


@benchmark(
    "proxies",
    Row(
        "ASGI door hit, granian, one worker", "nginx `proxy_cache`, one worker", 0.5, at_least=True
    ),
    Row("the same", "Varnish, one pool", 0.5, at_least=True),
)
def proxies() -> Sequence[Outcome]:
    """Both stand in front of the same app and fetch the page once."""
    program("wrk")
    missing: dict[str, Missing] = {}
    with TemporaryDirectory(prefix="bench-") as folder, contextlib.ExitStack() as stack:
        origin = stack.enter_context(granian("asgi_app")).port
        ports = {"door": origin}
        for name, serve in (("nginx", nginx), ("Varnish", varnish)):
            try:
                ports[name] = stack.enter_context(serve(folder, origin)).port
            except Missing as why:
                missing[name] = why
        found = rates(ports)
    return [missing.get(name) or paired(found, "door", name, "/s") for name in ("nginx", "Varnish")]
