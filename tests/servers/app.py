"""The app that the server tests serve: the seed's example with its times shrunk, and more pages.

Every load appends ``begin NAME PID`` and ``end NAME PID`` to the file ``SERVERS_LOG``, so a test
can count loads without asking the server. While the file ``SERVERS_FAIL`` exists, the loads of
``/failing`` fail. What aswr logs goes to ``SERVERS_ASWR_LOG``, so that stderr shows only what
nobody logged.
"""

import asyncio
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

from flask import Flask, Response, request

from aswr import CacheManager

COMPUTE = float(os.environ.get("SERVERS_COMPUTE", "0.5"))
TIMEOUT = float(os.environ.get("SERVERS_TIMEOUT", "20"))
MARGIN = float(os.environ.get("SERVERS_MARGIN", "19"))
INTERVAL = float(os.environ.get("SERVERS_INTERVAL", "1"))
LOADS = os.environ["SERVERS_LOG"]
FAILING = Path(os.environ["SERVERS_FAIL"])

handler = logging.FileHandler(os.environ["SERVERS_ASWR_LOG"])
handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
logging.getLogger("aswr").addHandler(handler)
logging.getLogger("aswr").propagate = False

app = Flask(__name__)
app.config["ASWR_DRAIN_TIMEOUT"] = float(os.environ.get("SERVERS_DRAIN", "1"))
app.config["ASWR_WAIT_TIMEOUT"] = float(os.environ.get("SERVERS_WAIT", "25"))
manager = CacheManager(app)


def note(event: str, name: str) -> None:
    """One line of the load log, in one write: processes may share the file."""
    line = f"{event} {name} {os.getpid()}\n".encode()
    log = os.open(LOADS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, line)
    os.close(log)


def compute(name: str, seconds: float = COMPUTE) -> dict[str, Any]:
    """Work that does not know about asyncio."""
    note("begin", name)
    time.sleep(seconds)
    note("end", name)
    return {"name": name, "pid": os.getpid(), "computed": time.time()}


async def off_loop(name: str, seconds: float = COMPUTE) -> dict[str, Any]:
    return await asyncio.get_running_loop().run_in_executor(None, compute, name, seconds)


@app.get("/margin/async/<name>")
@manager.cacher(timeout=TIMEOUT, refresh_margin=MARGIN)
async def margin_async(name: str) -> dict[str, Any]:
    return await off_loop(f"margin/async/{name}")


@app.get("/margin/sync/<name>")
@manager.cacher(timeout=TIMEOUT, refresh_margin=MARGIN)
def margin_sync(name: str) -> dict[str, Any]:
    return compute(f"margin/sync/{name}")


@app.get("/cold/async/<name>")
@manager.cacher(timeout=600)
async def cold_async(name: str) -> dict[str, Any]:
    return await off_loop(f"cold/async/{name}")


@app.get("/cold/sync/<name>")
@manager.cacher(timeout=600)
def cold_sync(name: str) -> dict[str, Any]:
    return compute(f"cold/sync/{name}")


@app.get("/failing")
@manager.cacher(timeout=TIMEOUT, refresh_margin=MARGIN)
async def failing() -> dict[str, Any]:
    fail_if_told()
    return await off_loop("failing")


def fail_if_told() -> None:
    if FAILING.exists():
        note("fail", "failing")
        raise RuntimeError("this load was told to fail")


@app.get("/periodic")
@manager.cacher(timeout=TIMEOUT, refresh_margin=MARGIN)
async def periodic() -> dict[str, Any]:
    return await off_loop("periodic by a request")


def compute_periodic() -> dict[str, Any]:
    return compute("periodic", 0.1)


if INTERVAL:
    manager.schedule_periodic_refresh("/periodic", INTERVAL, compute_periodic)


@app.get("/long/async")
@manager.cacher(timeout=600, wait_timeout=1)
async def long_async() -> dict[str, Any]:
    note("begin", "long/async")
    await asyncio.sleep(60)
    return {}


@app.get("/long/sync")
@manager.cacher(timeout=600, wait_timeout=1)
def long_sync() -> dict[str, Any]:
    return compute("long/sync", 60)


@app.get("/impatient")
@manager.cacher(timeout=600, wait_timeout=0.1)
async def impatient() -> dict[str, Any]:
    return await off_loop("impatient")


@app.get("/second/cached-async/<name>")
@manager.cacher(timeout=600)
async def second_cached_async(name: str) -> str:
    await asyncio.sleep(1)
    return name


@app.get("/second/cached-sync/<name>")
@manager.cacher(timeout=600)
def second_cached_sync(name: str) -> str:
    time.sleep(1)
    return name


@app.get("/second/async/<name>")
async def second_async(name: str) -> str:
    await asyncio.sleep(1)
    return name


@app.get("/second/sync/<name>")
def second_sync(name: str) -> str:
    time.sleep(1)
    return name


@app.get("/holds-the-loop")
@manager.cacher(timeout=600)
async def holds_the_loop() -> dict[str, Any]:
    note("begin", "holds-the-loop")
    time.sleep(1)  # noqa: ASYNC251 - the mistake that the watchdog names
    note("end", "holds-the-loop")
    return {}


@app.get("/number/<int:number>")
def number(number: int) -> dict[str, Any]:
    return {"number": number}


@app.get("/number/async/<int:number>")
async def number_async(number: int) -> dict[str, Any]:
    await asyncio.sleep(0)
    return {"number": number}


@app.post("/echo")
def echo() -> Response:
    return Response(request.get_data(), mimetype="application/octet-stream")


asgi_app = manager.asgi()

if os.environ.get("SERVERS_WARM") == "1":  # a load under way when gunicorn's master forks
    threading.Thread(target=manager.refresh, args=("/cold/async/warm",), daemon=True).start()
    while not Path(LOADS).exists():
        time.sleep(0.01)

if __name__ == "__main__":
    reload = os.environ.get("SERVERS_RELOAD") == "1"
    app.run(port=int(os.environ["SERVERS_PORT"]), use_reloader=reload, exclude_patterns=["*"])
