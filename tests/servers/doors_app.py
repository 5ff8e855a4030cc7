"""The app of the door tests: each page twice, ``/public/...`` and ``/inside/...``, by test corner.

Time is what the file ``DOORS_CLOCK`` says. Each request that reaches Flask, and no render, adds a
byte to the file ``DOORS_ASKED``: so a test knows which answers were given before Flask. A file in
the folder ``DOORS_FLAGS`` named ``fail-CORNER`` makes that corner's loads fail, one named
``hold-CORNER`` holds them. With ``DOORS_WRAPPED`` something lies around ``app.wsgi_app`` before
aswr gets to know the app, so that there is no door.
"""

import asyncio
import contextlib
import ctypes
import gc
import logging
import mmap
import os
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, redirect, request, session, url_for

from aswr import CacheManager

ASKED = os.environ["DOORS_ASKED"]
FLAGS = Path(os.environ["DOORS_FLAGS"])
METHODS = ["GET", "POST", "PUT", "DELETE"]
LONG = "<p>words and words and words</p>\n" * 100
BIG = bytes(range(256)) * 12_000  # 3 MB

handler = logging.FileHandler(os.environ["SERVERS_ASWR_LOG"])
handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
logging.getLogger("aswr").addHandler(handler)
logging.getLogger("aswr").propagate = False

with open(os.environ["DOORS_CLOCK"], "rb") as clock_file:
    clock_bytes = mmap.mmap(clock_file.fileno(), 8, access=mmap.ACCESS_READ)


def clock() -> float:
    now: float = struct.unpack("d", clock_bytes)[0]
    return now


app = Flask(__name__)
app.secret_key = "secret"
app.config["TRUSTED_HOSTS"] = ["shop.example", "127.0.0.1"]
app.config["ASWR_DRAIN_TIMEOUT"] = 1
app.config["ASWR_THREADS"] = 16
app.config["ASWR_MAX_BYTES"] = int(os.environ.get("DOORS_MAX_BYTES", 64 << 20))
if os.environ.get("DOORS_WRAPPED"):
    app.wsgi_app = partial(app.wsgi_app)  # type: ignore[method-assign]
manager = CacheManager(app, clock=clock)
loads: Counter[str] = Counter()


@app.before_request
def note_what_reaches_flask() -> None:
    # Past the recorder, which would call it a read; a render has no address.
    if dict.get(request.environ, "REMOTE_ADDR") is not None:
        log = os.open(ASKED, os.O_WRONLY | os.O_APPEND)
        os.write(log, b".")
        os.close(log)


@app.after_request
def stamp(response: Response) -> Response:
    response.headers.add("X-Hook", "1")
    return response


@app.errorhandler(ZeroDivisionError)
def own_error_page(error: ZeroDivisionError) -> tuple[str, int]:
    return "our own page", 500


@app.errorhandler(404)
def own_page_of_what_is_missing(error: Exception) -> tuple[str, int]:
    return "nothing here", 404


def number() -> str:
    """Which load of this path this is, from 1 on."""
    loads[request.path] += 1
    return str(loads[request.path])


def page(name: str, more: str = "", **options: Any) -> Callable[..., Any]:
    """Add ``/public/name/corner`` and ``/inside/name/corner``; by default fresh for a minute."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        asked = {"timeout": 60, "refresh_margin": 0, **options}
        if asked["timeout"] is None:
            del asked["refresh_margin"]
        for way in ("public", "inside"):
            view = manager.cacher(**asked, public=way == "public")(function)
            rule = f"/{way}/{name}/<corner>{more}"
            app.add_url_rule(rule, f"{way} {name}", view, methods=METHODS)
        return function

    return add


async def pause(corner: str) -> None:
    """Wait while the test holds the corner's loads; fail if it wants that."""
    while (FLAGS / f"hold-{corner}").exists():  # noqa: ASYNC110 - the event is in another process
        await asyncio.sleep(0.005)
    fail_if_told(corner)


def fail_if_told(corner: str) -> None:
    if (FLAGS / f"fail-{corner}").exists():
        number()
        raise ZeroDivisionError


@page("stale", refresh_margin=20)
@page("stale-if-error", stale_if_error=60)
@page("impatient", wait_timeout=0.2)
@page("heeding", request_directives=True)
@page("async")
async def numbered(corner: str) -> str:
    await pause(corner)
    return number()


@page("stale-def", refresh_margin=20)
@page("def")
def numbered_def(corner: str) -> str:
    while (FLAGS / f"hold-{corner}").exists():
        time.sleep(0.005)
    fail_if_told(corner)
    return number()


@page("odd")
async def reads_a_header(corner: str) -> str:
    return f"{request.headers.get('X-Odd')} {number()}"


@page("who")
async def reads_a_cookie(corner: str) -> str:
    return f"{request.cookies.get('who')} {number()}"


@page("authorization")
def reads_credentials(corner: str) -> str:
    return f"{request.headers.get('Authorization')} {number()}"


@page("session")
def reads_the_session(corner: str) -> str:
    return f"{session.get('who')} {number()}"


@page("login")
async def writes_the_session(corner: str) -> str:
    session["who"] = "me"
    return number()


@page("sets-cookie")
async def sets_a_cookie(corner: str) -> Response:
    response = Response(number())
    response.set_cookie("who", "me")
    return response


@page("host")
async def reads_the_host(corner: str) -> str:
    return f"{url_for('static', filename='x', _external=True)} {number()}"


@page("query")
@page("query-page", query=["page"])
@page("query-read", query="read")
async def reads_a_parameter(corner: str) -> str:
    return f"{request.args.getlist('page')} {number()}"


@page("raw-query")
def reads_the_query(corner: str) -> str:
    return f"{request.query_string.decode()} {number()}"


@page("body")
def reads_the_body(corner: str) -> str:
    return f"{request.get_data().decode()} {number()}"


@page("path", more="/<path:rest>")
async def tells_the_path(corner: str, rest: str) -> str:
    return f"{request.path!a} {number()}"


@page("status", more="/<int:status>", statuses={404: 60})
def has_a_status(corner: str, status: int) -> Any:
    return number(), status


@page("missing", statuses={404: 60})
def is_missing(corner: str) -> None:
    number()
    abort(404)


@page("redirect")
async def leads_elsewhere(corner: str) -> Any:
    number()
    return redirect(url_for("public async", corner="elsewhere"), 301)


@page("nothing")
async def has_no_content(corner: str) -> Any:
    return "", 204, {"X-Number": number()}


@page("empty")
async def is_empty(corner: str) -> Any:
    return "", {"X-Number": number()}


@page("big")
async def is_big(corner: str) -> Response:
    return Response(BIG, headers={"X-Number": number()}, mimetype="image/png")


@page("long", compress=True)
async def is_worth_compressing(corner: str) -> str:
    return LONG + number()


@page("stream")
def streams(corner: str) -> Response:
    def parts() -> Iterator[str]:
        yield "one "
        yield "two "
        yield number()

    return Response(parts())


@page("validated")
async def has_validators(corner: str) -> Response:
    response = Response(number())
    response.set_etag("mine", weak=True)
    response.headers["Last-Modified"] = "Mon, 13 Nov 2023 00:00:00 GMT"
    return response


@page("says")
@page("rfc", timeout=None, vary="response")
def says(corner: str) -> Response:
    """What the parameters say, as header fields."""
    return Response(number(), headers=list(request.args.items(multi=True)))


@page("soak", timeout=4, refresh_margin=2)
@page("soak-long", timeout=4, refresh_margin=2, compress=True)
async def tells_its_name(corner: str) -> str:
    """Some bytes that nobody else has; each is counted by nobody, since they are many."""
    await asyncio.sleep(0.005)
    fail_if_odd(corner)
    return f"{request.full_path} {request.headers.get('X-Odd')}\n" * 20


@page("soak-def", timeout=4, refresh_margin=2)
def tells_its_name_def(corner: str) -> str:
    time.sleep(0.005)
    fail_if_odd(corner)
    return f"{request.full_path} {request.cookies.get('who')}\n" * 20


@page("soak-slow", timeout=4, refresh_margin=0)
async def takes_long(corner: str) -> str:
    await asyncio.sleep(0.2)
    return corner


def fail_if_odd(corner: str) -> None:
    if corner.startswith("bad"):
        raise ZeroDivisionError


@app.get("/weight")
def weight() -> dict[str, int]:
    """What the process holds: kilobytes, threads, file descriptors, tasks that are not done."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # of glibc: give back what is free
        ctypes.CDLL(None).malloc_trim(0)
    tasks = [thing for thing in gc.get_objects() if isinstance(thing, asyncio.Task)]
    return {
        "kilobytes": int(Path("/proc/self/statm").read_text().split()[1]) * 4,
        "threads": threading.active_count(),
        "files": len(os.listdir("/proc/self/fd")),
        "tasks": sum(not task.done() for task in tasks),
    }


@app.get("/join")
def join() -> dict[str, bool]:
    return {"over": manager.join(5)}


@app.get("/stats")
def stats() -> dict[str, int]:
    return manager.stats()


asgi_app = manager.asgi()
