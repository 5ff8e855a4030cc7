"""The peer behind the same servers: Flask-Caching, reached as asgiref reaches a WSGI app."""

from asgiref.wsgi import WsgiToAsgi
from flask import Flask
from flask_caching import Cache

app = Flask(__name__)
cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})


@app.get("/page")
@cache.cached(3600, query_string=True)
def page() -> str:
    return "x" * 1024


asgi_app = WsgiToAsgi(app)
