"""What the benchmarks' servers serve: an app with its doors, and constants beside it."""

import asyncio
import itertools
import threading
import time
from typing import Any

from flask import Flask

from aswr import CacheManager

BODY = "x" * 1024
HOUR = 3600

app = Flask(__name__)
manager = CacheManager(app)
_loads = itertools.count(1)
_counted = 0
_lock = threading.Lock()


@app.get("/page")
@manager.cacher(HOUR, public=True)
def page() -> str:
    return BODY


# A second of waiting: for a crowd that asks for one of these, or for a thousand of them.


@app.get("/slow/<int:number>")
@manager.cacher(HOUR, public=True)
async def slow(number: int) -> str:
    count_load()
    await asyncio.sleep(1)
    return BODY


def count_load() -> None:
    global _counted
    with _lock:
        _counted = next(_loads)


@app.get("/loads")
def loads() -> str:
    return str(_counted)


# Fresh for good, and stale nearly always: a load of a second is always on its way. In two kinds,
# at the door and in-app.

LIVES = {"fresh": {"refresh_margin": 0}, "stale": {"refresh_margin": HOUR - 0.1}}


def page_async() -> Any:
    async def view() -> str:
        await asyncio.sleep(1)
        return BODY

    return view


def page_sync() -> Any:
    def view() -> str:
        time.sleep(1)
        return BODY

    return view


for _life, _options in LIVES.items():
    for _where, _public in (("door", True), ("in-app", False)):
        for _kind, _made in (("async", page_async), ("sync", page_sync)):
            _path = f"/{_where}/{_life}/{_kind}"
            _cached = manager.cacher(HOUR, public=_public, **_options)(_made())
            app.add_url_rule(_path, _path.replace("/", "_"), _cached)

asgi_app = manager.asgi()

# Constants: the floor of a server, with the fields that no answer can do without, and with as
# many as the door sends.

_LEAST = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"1024")]
_AS_DOOR = [
    *_LEAST,
    (b"cache-control", b"public, max-age=2700, stale-while-revalidate=900"),
    (b"etag", b'"c4b1a6d0e5f2431f9a7e6b5c4d3e2f1a"'),
    (b"age", b"12"),
    (b"cache-status", b"aswr; hit; ttl=2688"),
]


def _constant(fields: list[tuple[bytes, bytes]]) -> Any:
    body = BODY.encode()

    async def constant(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError("http only")
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    return constant


constant = _constant(_LEAST)
constant_as_door = _constant(_AS_DOOR)
