"""The shop of ``before.py``, moved from Flask-Caching to aswr.

    flask --app examples/moving/after run

The first answer of each page takes a moment, every other one none.
"""

import time
from typing import Any

from flask import Flask, abort, request

from aswr import CacheManager

app = Flask(__name__)
manager = CacheManager(app)

PRICES = {"tea": 4, "coffee": 7}
computed: list[str] = []  # what has been computed so far, for who wants to look


def slow(what: str) -> None:
    """What takes its time."""
    time.sleep(0.05)
    computed.append(what)


@manager.memoize(timeout=300, tags=["rates"])
def rate(currency: str) -> float:
    slow(f"rate {currency}")
    return {"EUR": 1.0, "USD": 1.25}[currency]


@app.route("/prices")
@manager.cacher(timeout=60, tags=["prices"])
def prices() -> dict[str, Any]:
    slow("prices")
    factor = rate.sync(request.args.get("currency", "EUR"))
    return {name: price * factor for name, price in PRICES.items()}


@app.route("/prices/<name>")
@manager.cacher(timeout=60, unless=lambda: "preview" in request.args)
def price(name: str) -> dict[str, Any]:
    slow(f"price {name}")
    if name not in PRICES:
        abort(404)
    return {"name": name, "price": PRICES[name]}


@app.route("/hello")
@manager.cacher(timeout=60)
def hello() -> str:
    slow("hello")
    return f"Hello, {request.cookies.get('name', 'visitor')}\n"


@app.route("/prices/<name>", methods=["POST"])
def change(name: str) -> str:
    PRICES[name] = int(request.form["price"])
    manager.invalidate_tags("prices")  # its own URL a POST purges by itself
    return "changed\n"


@app.route("/rates", methods=["POST"])
def new_rates() -> str:
    manager.invalidate_tags("rates", "prices")
    return "changed\n"


if __name__ == "__main__":
    app.run()
