"""A site with an admin page: the example's pattern in seconds, and what else there is to see."""

import asyncio
import logging
import os
import time

from flask import Flask, request, session

from aswr import CacheManager
from aswr.admin import blueprint

SCALE = float(os.environ.get("ADMIN_SCALE", "1"))  # of all times below
app = Flask("desk")
app.logger.disabled = True  # a view that fails is part of the picture
logging.getLogger("aswr").addHandler(logging.NullHandler())
logging.getLogger("aswr").propagate = False
app.secret_key = "only for tests"
app.config["ASWR_ADMIN_TOKEN"] = "only-for-tests-too"
app.config["ASWR_DRAIN_TIMEOUT"] = 1.0
app.config["ASWR_CACHE"] = os.environ.get("ADMIN_CACHE") or None
manager = CacheManager(app)


def compute_delta_positions() -> dict[str, object]:
    time.sleep(0.8 * SCALE)
    return {"computed_at": time.strftime("%H:%M:%S"), "delta_positions": [0.25, -0.5, 1.0]}


@app.route("/delta_positions")
@manager.cacher(timeout=8 * SCALE, refresh_margin=4 * SCALE)
async def delta_positions() -> dict[str, object]:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, compute_delta_positions)


@app.route("/prices")
@manager.cacher(timeout=20 * SCALE, tags=("prices", "market"))
def prices() -> str:
    time.sleep(0.3 * SCALE)
    return f"the prices of {request.args.get('desk', 'all desks')}\n" * 100


@app.route("/news")
@manager.cacher(timeout=60 * SCALE, stale_if_error=120 * SCALE, tags=("news",))
def news() -> str:
    language = request.accept_languages.best_match(["en", "de", "fr"], "en")
    time.sleep(0.05 * SCALE)
    return f"news in {language}\n" * 400


@app.route("/risk/<int:year>")
@manager.cacher(timeout=6 * SCALE, refresh_margin=2 * SCALE, stale_if_error=15 * SCALE)
def risk(year: int) -> str:
    time.sleep(0.4 * SCALE)
    if year == 2008 and int(time.time() / (7 * SCALE)) % 2:
        raise RuntimeError("the warehouse is down")
    return f"the risk of {year}\n" * 1000


@app.route("/account")
@manager.cacher(timeout=60 * SCALE)
def account() -> str:
    return f"hello, {session.get('user', 'stranger')}"


@app.route("/whoami")
@manager.cacher(timeout=60 * SCALE)
def whoami() -> str:
    return request.remote_addr or ""


manager.schedule_periodic_refresh(
    "/delta_positions", interval=4 * SCALE, compute_func=compute_delta_positions
)
manager.schedule_periodic_refresh("/prices", interval=10 * SCALE)
if not os.environ.get("ADMIN_QUIET"):
    manager.schedule_periodic_refresh("/whoami", interval=30 * SCALE)
streams = os.environ.get("ADMIN_STREAMS")
admin = blueprint(
    manager, authorize=lambda: True, streams=None if streams is None else int(streams)
)
app.register_blueprint(admin, url_prefix="/aswr")
asgi_app = manager.asgi()
