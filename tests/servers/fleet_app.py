"""The app of the fleet tests: pages whose answers tell which load made them, over one Redis.

Each page is there twice, ``/public/...`` and ``/inside/...``. Every load appends a line ``begin
PAGE SECONDS PID`` and ``end PAGE SECONDS PID`` to the file ``SERVERS_LOG``, in seconds of the clock
that all processes of a host share; a request with a header ``X-Number`` that reaches Flask appends
``asked NUMBER SECONDS PID``. What aswr logs goes to ``SERVERS_ASWR_LOG``, with the process.
"""

import asyncio
import logging
import os
import time
from typing import Any

from flask import Flask, Response, request

from aswr import CacheManager

LOADS = os.environ["SERVERS_LOG"]
COMPUTE = float(os.environ.get("FLEET_COMPUTE", "1"))
SHORT = float(os.environ.get("FLEET_SHORT", "0.1"))
INTERVAL = float(os.environ.get("FLEET_INTERVAL", "0"))
JOB = float(os.environ.get("FLEET_JOB", "0.1"))
# Seconds that a load of the page takes, and what is said of its time.
PAGES: dict[str, tuple[float, dict[str, float]]] = {
    "slow": (COMPUTE, {"timeout": 600}),
    "stale": (COMPUTE, {"timeout": 60, "refresh_margin": 59}),
    "quick": (0, {"timeout": 600}),
    "often": (SHORT, {"timeout": 2, "refresh_margin": 1.5}),
    "brief": (SHORT, {"timeout": 0.5, "refresh_margin": 0}),
    "long": (SHORT, {"timeout": 600}),
}

handler = logging.FileHandler(os.environ["SERVERS_ASWR_LOG"])
handler.setFormatter(logging.Formatter("%(process)d %(levelname)s %(name)s %(message)s"))
logging.getLogger("aswr").addHandler(handler)
logging.getLogger("aswr").propagate = False

app = Flask(__name__)
app.config["ASWR_DRAIN_TIMEOUT"] = 1
app.config["ASWR_WAIT_TIMEOUT"] = 15
app.config["ASWR_THREADS"] = 256
app.config["ASWR_LEASE"] = float(os.environ.get("FLEET_LEASE", "5"))
app.config["ASWR_STORE_TIMEOUT"] = float(os.environ.get("FLEET_STORE_TIMEOUT", "0.25"))
manager = CacheManager(app, cache=os.environ["FLEET_REDIS"])


def note(what: str, name: str) -> None:
    """One line of the log, in one write: processes share the file."""
    line = f"{what} {name} {time.monotonic()} {os.getpid()}\n".encode()
    log = os.open(LOADS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, line)
    os.close(log)


async def load(name: str, seconds: float) -> dict[str, Any]:
    """An answer that tells when it began and ended, and where."""
    note("begin", name)
    began = time.monotonic()
    await asyncio.sleep(seconds)
    note("end", name)
    return {"name": name, "pid": os.getpid(), "began": began, "ended": time.monotonic()}


def page(way: str, name: str, seconds: float, times: dict[str, float]) -> None:
    """Add a page, before the app (``public``) or in it."""

    @manager.cacher(**times, public=way == "public")
    async def view(corner: str) -> dict[str, Any]:
        return await load(f"/{way}/{name}/{corner}", seconds)

    app.add_url_rule(f"/{way}/{name}/<corner>", f"{way} {name}", view)


for each, (takes, its_times) in PAGES.items():
    page("public", each, takes, its_times)
    page("inside", each, takes, its_times)


@app.get("/periodic")
@manager.cacher(timeout=600)
async def periodic() -> dict[str, Any]:
    return await load("/periodic", JOB)


if INTERVAL:
    manager.schedule_periodic_refresh("/periodic", INTERVAL)


@app.before_request
def note_who_asks() -> None:
    # Past the recorder, which would call it a read; a render has no address.
    number = dict.get(request.environ, "HTTP_X_NUMBER")
    if number is not None and dict.get(request.environ, "REMOTE_ADDR") is not None:
        note("asked", number)


@app.after_request
def name_the_worker(response: Response) -> Response:
    response.headers["X-Worker"] = str(os.getpid())
    return response


@app.get("/worker")
def worker() -> dict[str, Any]:
    return {"pid": os.getpid(), "stats": manager.stats()}


@app.post("/purge/<path:path>")
def purge(path: str) -> dict[str, Any]:
    since = time.monotonic()
    told = manager.invalidate(f"/{path}")
    return {"pid": os.getpid(), "told": told, "since": since, "at": time.monotonic()}


@app.post("/refresh/<path:path>")
def refresh(path: str) -> dict[str, Any]:
    since = time.monotonic()
    manager.refresh(f"/{path}")
    return {"pid": os.getpid(), "since": since, "at": time.monotonic()}


asgi_app = manager.asgi()
