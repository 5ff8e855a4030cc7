"""The app of the command line's tests: pages that take their time, over Redis or in memory.

``/slow/N`` takes CLI_SECONDS, ``/bad/N`` fails, ``/weird/...`` is stored under whatever is asked
for. Every load appends a line with its path to the file CLI_LOADS. A job is due each second.
"""

import os
import time

from flask import Flask

from aswr import CacheManager
from aswr.admin import blueprint

app = Flask(__name__)
app.config["ASWR_NAMESPACE"] = "cli"
app.config["ASWR_DRAIN_TIMEOUT"] = 1
manager = CacheManager(app, cache=os.environ.get("CLI_REDIS"))
app.register_blueprint(blueprint(manager, authorize=lambda: False), url_prefix="/aswr")


def note(name: str) -> None:
    with open(os.environ["CLI_LOADS"], "a") as log:
        log.write(f"{name}\n")


@app.route("/slow/<int:number>")
@manager.cacher(timeout=600)
def slow(number: int) -> str:
    note(f"/slow/{number}")
    time.sleep(float(os.environ.get("CLI_SECONDS", "0")))
    return f"slow {number}"


@app.route("/bad/<int:number>")
@manager.cacher(timeout=600)
def bad(number: int) -> str:
    note(f"/bad/{number}")
    raise RuntimeError("no luck")


@app.route("/weird/<path:name>")
@manager.cacher(timeout=600)
def weird(name: str) -> str:
    return "weird"


@app.route("/periodic")
@manager.cacher(timeout=600)
def periodic() -> str:
    note("/periodic")
    return "periodic"


manager.schedule_periodic_refresh("/periodic", 1)
