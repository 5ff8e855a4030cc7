"""What a request costs in one process, through ``app.wsgi_app``: hits and misses.

Each contestant has an app of its own, so that nobody pays for another's hooks.
"""

import io
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import Any

from flask import Flask

from aswr import CacheManager

from .pace import Run, in_turn, times
from .rows import Missing, Outcome, Row, benchmark

BODY = "x" * 1024
HOUR = 3600


def environ(path: str) -> dict[str, Any]:
    """The environ of a browser's GET, as gunicorn makes it."""
    return {
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": "",
        "RAW_URI": path, "SERVER_NAME": "localhost", "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "50000",
        "HTTP_HOST": "localhost", "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64)",
        "HTTP_ACCEPT": "text/html,*/*;q=0.8", "HTTP_ACCEPT_LANGUAGE": "en-US,en;q=0.5",
        "HTTP_ACCEPT_ENCODING": "gzip, deflate, br", "HTTP_COOKIE": "_ga=GA1.1.1; theme=dark",
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr, "wsgi.multithread": True, "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }  # fmt: skip


def answer(app: Flask, path: str) -> tuple[dict[str, str], bytes]:
    """The header fields and the body of a 200."""
    seen: list[Any] = []
    response = app.wsgi_app(environ(path), lambda *said: seen.extend(said))  # type: ignore
    body = b"".join(response)
    getattr(response, "close", lambda: None)()
    assert seen[0].startswith("200"), seen
    return dict(seen[1]), body


def gets(app: Flask, paths: Callable[[], str]) -> Run:
    """GET through the app so many times; the environ is copied, as each request has its own."""
    template = environ("")
    wsgi_app = app.wsgi_app

    def start_response(status: str, fields: Any, *more: Any) -> Any:
        return None

    def run(calls: int) -> None:
        for _ in range(calls):
            own = template.copy()
            own["PATH_INFO"] = paths()
            response = wsgi_app(own, start_response)
            for _part in response:
                pass
            if hasattr(response, "close"):
                response.close()

    return run


def hits(app: Flask) -> Run:
    """GET / so many times; every answer comes from the cache, if there is one."""
    answer(app, "/")
    fields, body = answer(app, "/")
    assert body == BODY.encode()
    assert "hit" in fields.get("Cache-Status", "hit"), fields
    return gets(app, lambda: "/")


def plain() -> Flask:
    """The contestant without a cache."""
    app = Flask("plain")
    app.add_url_rule("/", "page", lambda: BODY)
    return app


def flask_caching() -> Flask:
    """The same view under Flask-Caching, the query in its key."""
    try:
        from flask_caching import Cache
    except ImportError:
        raise Missing("no flask-caching here") from None
    app = Flask("flask-caching")
    cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    app.add_url_rule("/", "page", cache.cached(HOUR, query_string=True)(lambda: BODY))
    return app


def cached(asynchronous: bool = False, public: bool = False) -> Flask:
    """The same view under aswr."""
    app = Flask("aswr")
    manager = CacheManager(app)

    def page() -> str:
        return BODY

    async def async_page() -> str:
        return BODY

    view = async_page if asynchronous else page
    app.add_url_rule("/", "page", manager.cacher(HOUR, public=public)(view))
    return app


@benchmark(
    "in-app",
    Row("in-app fresh hit, 1 KiB, through `app.wsgi_app`", "the same body, a plain view", 1.10),
    Row("the same", "Flask-Caching `cached(query_string=True)`", 0.80),
    Row("in-app fresh hit of an async view", "the same body, a plain view", 1.10),
)
def in_app() -> Sequence[Outcome]:
    """In-app hits; all of Flask's own work is in them."""
    runs = {
        "aswr": hits(cached()), "aswr async": hits(cached(asynchronous=True)),
        "plain view": hits(plain()), "Flask-Caching": hits(flask_caching()),
    }  # fmt: skip
    found = in_turn(runs)
    pairs = [("aswr", "plain view"), ("aswr", "Flask-Caching"), ("aswr async", "plain view")]
    return [times(found, one, other) for one, other in pairs]


@benchmark(
    "miss",
    Row("in-app miss of a trivial async view", "the same view, undecorated, plain Flask", 0.60),
)
def miss() -> Sequence[Outcome]:
    """A new URL each time; plain Flask makes a thread and a loop for each."""
    apps = {"aswr": Flask("aswr"), "undecorated": Flask("plain")}
    manager = CacheManager(apps["aswr"])

    async def item(number: int) -> str:
        return BODY

    apps["undecorated"].add_url_rule("/item/<int:number>", "item", item)
    apps["aswr"].add_url_rule("/item/<int:number>", "item", manager.cacher(HOUR)(item))
    numbers = itertools.count()
    runs = {name: gets(app, lambda: f"/item/{next(numbers)}") for name, app in apps.items()}
    for app in apps.values():
        answer(app, "/item/0")
    found = in_turn(runs)
    manager.close()
    return [times(found, "aswr", "undecorated")]


@benchmark(
    "wsgi-door",
    Row("WSGI door hit, 1 KiB, through `app.wsgi_app`", "the same body, a plain view", 0.10),
)
def wsgi_door() -> Sequence[Outcome]:
    """Hits of a public view, before Flask."""
    runs = {"aswr": hits(cached(public=True)), "plain view": hits(plain())}
    found = in_turn(runs)
    return [times(found, "aswr", "plain view")]
