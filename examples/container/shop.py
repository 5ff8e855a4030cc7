"""The app of docs/deployment.md: a page that takes a second, with a job that renews it.

    flask --app examples/container/shop run

Options of aswr come from the environment, as ``FLASK_ASWR_CACHE=redis://localhost:6379``; behind a
proxy, under WSGI, say ``BEHIND_PROXY=1``.
"""

import logging
import os
import time

from flask import Flask, request
from werkzeug.middleware.proxy_fix import ProxyFix

from aswr import CacheManager

app = Flask(__name__)
app.logger.setLevel(logging.INFO)
app.config.from_prefixed_env()
manager = CacheManager(app)

if os.environ.get("BEHIND_PROXY"):  # after init_app, so that it runs before the door
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)  # type: ignore[method-assign]


@app.get("/report")
@manager.cacher(timeout=20, refresh_margin=15, public=True)
def report() -> dict[str, object]:
    # Ask for a longer one, /report?seconds=60, to see what a stop does while it is computed.
    time.sleep(min(60.0, request.args.get("seconds", 1.0, type=float)))
    app.logger.info("report computed in process %d", os.getpid())
    return {"computed": time.time(), "process": os.getpid()}


manager.schedule_periodic_refresh("/report", interval=5)


@app.get("/stock")
@manager.cacher(timeout=60)
def stock() -> dict[str, object]:
    return {"computed": time.time()}


@app.post("/publish")
def publish() -> dict[str, bool]:
    return {"everybody_knows": manager.invalidate("/report")}


@app.get("/caller")
def caller() -> dict[str, object]:
    return {"address": request.remote_addr, "url": request.url}


@app.get("/health")
def health() -> dict[str, bool]:
    return {"up": True}


asgi_app = manager.asgi()
