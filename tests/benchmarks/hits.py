"""What a hit costs, in one process: ``python tests/benchmarks/hits.py [rounds]``.

Microseconds through ``app.wsgi_app`` and the ratio to a plain view with the same body of 1 KiB; the
best of many rounds in turn, since the machine is shared.
"""

import io
import sys
import time
from typing import Any

from flask import Flask, request

from aswr import CacheManager

CALLS = 2000
BODY = "x" * 1024

app = Flask(__name__)
manager = CacheManager(app)


@app.route("/plain")
def plain() -> str:
    return BODY


@app.route("/hit")
@manager.cacher(3600)
def hit() -> str:
    return BODY


@app.route("/async-hit")
@manager.cacher(3600)
async def async_hit() -> str:
    return BODY


@app.route("/hit-that-learned-a-header")
@manager.cacher(3600)
def learned() -> str:
    return BODY + request.headers.get("Accept-Language", "")[:0]


@app.route("/hit-that-learned-the-session")
@manager.cacher(3600)
def personal() -> str:
    return BODY + request.cookies.get("session", "")


@app.route("/public-hit")
@manager.cacher(3600, public=True)
def public() -> str:
    return BODY


def environ(path: str) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": "",
        "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost", "HTTP_USER_AGENT": "Mozilla/5.0",
        "HTTP_ACCEPT_LANGUAGE": "en-US,en;q=0.5", "HTTP_COOKIE": "_ga=GA1.1.1; theme=dark",
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr, "wsgi.multithread": True, "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }  # fmt: skip


def answer(path: str) -> bytes:
    response = app.wsgi_app(environ(path), lambda *arguments: lambda data: None)
    body = b"".join(response)
    if hasattr(response, "close"):  # not where a door answers
        response.close()
    return body


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    paths = [str(rule) for rule in app.url_map.iter_rules() if rule.endpoint != "static"]
    best = dict.fromkeys(paths, float("inf"))
    for path in paths:
        assert len(answer(path)) == len(BODY)
    for _ in range(rounds):
        for path in paths:
            begun = time.perf_counter()
            for _ in range(CALLS):
                answer(path)
            best[path] = min(best[path], (time.perf_counter() - begun) / CALLS)
    for path in paths:
        print(f"{path:32} {best[path] * 1e6:6.1f} µs  {best[path] / best['/plain']:.2f} x")
    manager.close()


if __name__ == "__main__":
    main()
