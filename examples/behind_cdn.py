"""An API behind a CDN: one answer for all, and for each cache on its way how long it may keep it.

    flask --app examples/behind_cdn run

    curl -i 127.0.0.1:5000/products?page=1      note ETag, Cache-Control, CDN-Cache-Control
    curl -i 127.0.0.1:5000/products?page=1 -H 'If-None-Match: "…"'             304, without a body
    curl -i 127.0.0.1:5000/products?page=1\\&utm_source=mail                   the same answer
    curl -i -X PUT 127.0.0.1:5000/products/2 -d price=9                        purges all pages
    curl -i -X PUT 127.0.0.1:5000/outage        the database is gone: wait three seconds, and
    curl -i 127.0.0.1:5000/products?page=1      the last answer stands in, for an hour

The times are short, for you to watch; say ``timeout=60, cdn_timeout=3600`` in earnest.
"""

import time

from flask import Flask, Response, jsonify, request

from aswr import CacheManager

app = Flask(__name__)
manager = CacheManager(app)

PRICES = {1: 3, 2: 5, 3: 8, 4: 13}
SIZE = 2  # products of a page
outage = False


@app.get("/products")
@manager.cacher(
    timeout=3,  # of these at most half, chosen by the load time, stale-while-revalidate
    public=True,  # answered before Flask, and any cache between may keep it
    cdn_timeout=60,  # the CDN longer than a browser: it is told of purges
    stale_if_error=3600,
    query=["page"],  # no other parameter exists
)
def products() -> Response:
    time.sleep(0.5)
    if outage:
        raise ConnectionError("the database is gone")
    page = request.args.get("page", 1, type=int)
    numbers = list(PRICES)[SIZE * (page - 1) : SIZE * page]
    response = jsonify({number: PRICES[number] for number in numbers})
    response.headers["Cache-Groups"] = '"products"'  # RFC 9875: the cache's tags, and the CDN's
    return response


@app.put("/products/<int:number>")
def change(number: int) -> Response:
    PRICES[number] = request.form.get("price", type=int) or 0
    response = jsonify({number: PRICES[number]})
    # Purges here what has the tag, and in each CDN on the way that knows RFC 9875. Where yours
    # has an API instead (Cache-Tag, Surrogate-Key), call that here, after
    # manager.invalidate_tags("products"): else it fetches the old answer once more.
    response.headers["Cache-Group-Invalidation"] = '"products"'
    return response


@app.put("/outage")
def begin_outage() -> dict[str, bool]:
    global outage
    outage = True
    return {"outage": outage}


if __name__ == "__main__":
    app.run()
