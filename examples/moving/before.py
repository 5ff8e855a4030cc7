"""A shop on Flask-Caching, as its own documentation would have it. What it becomes: ``after.py``.

    flask --app examples/moving/before run

Needs ``pip install Flask-Caching``.
"""

import time
from typing import Any

from flask import Flask, abort, request
from flask_caching import Cache

app = Flask(__name__)
app.config.from_mapping(
    CACHE_TYPE="SimpleCache",
    CACHE_DEFAULT_TIMEOUT=60,
)
cache = Cache(app)

PRICES = {"tea": 4, "coffee": 7}
computed: list[str] = []  # what has been computed so far, for who wants to look


def slow(what: str) -> None:
    """What takes its time."""
    time.sleep(0.05)
    computed.append(what)


@cache.memoize(timeout=300)
def rate(currency: str) -> float:
    slow(f"rate {currency}")
    return {"EUR": 1.0, "USD": 1.25}[currency]


@app.route("/prices")
@cache.cached(query_string=True)
def prices() -> dict[str, Any]:
    slow("prices")
    factor = rate(request.args.get("currency", "EUR"))
    return {name: price * factor for name, price in PRICES.items()}


@app.route("/prices/<name>")
@cache.cached(unless=lambda: "preview" in request.args)
def price(name: str) -> dict[str, Any]:
    slow(f"price {name}")
    if name not in PRICES:
        abort(404)
    return {"name": name, "price": PRICES[name]}


@app.route("/hello")
@cache.cached()
def hello() -> str:
    slow("hello")
    return f"Hello, {request.cookies.get('name', 'visitor')}\n"


@app.route("/prices/<name>", methods=["POST"])
def change(name: str) -> str:
    PRICES[name] = int(request.form["price"])
    cache.delete(f"view//prices/{name}")
    cache.clear()  # of /prices the keys are hashes of its queries
    return "changed\n"


@app.route("/rates", methods=["POST"])
def new_rates() -> str:
    cache.delete_memoized(rate)
    cache.clear()
    return "changed\n"


if __name__ == "__main__":
    app.run()
