"""An app to look into from the command line: every command of ``flask aswr`` has something to show.

The cache is in the server's memory, and the server answers who has its token:

    python -c 'import secrets; print("export ASWR_ADMIN_TOKEN=" + secrets.token_hex())' >aswr.env
    . ./aswr.env; flask --app examples/operated run

and in another terminal, in the same folder:

    . ./aswr.env; export ASWR_ADMIN_URL=http://127.0.0.1:5000/aswr
    flask aswr warm --routes
    flask aswr ls
    flask aswr purge /

Or all share a Redis, and commands ask that; then each needs the address, and the app:

    pip install 'aswr[redis]'
    export REDIS_URL=redis://localhost:6379 FLASK_APP=examples/operated
"""

import os
import time

from flask import Flask, Response, request

from aswr import CacheManager
from aswr.admin import blueprint

app = Flask(__name__)
app.config["ASWR_NAMESPACE"] = "operated"
manager = CacheManager(app, cache=os.environ.get("REDIS_URL"))

# The page is closed to browsers; ASWR_ADMIN_TOKEN, if it is set, opens the API to commands.
app.register_blueprint(blueprint(manager, authorize=lambda: False), url_prefix="/aswr")

ARTICLES: dict[int, str] = {1: "Bread dearer again", 2: "Rain, then sun"}


@app.route("/")
@manager.cacher(timeout=3600, tags=("articles",))
def front() -> str:
    time.sleep(0.2)
    return "".join(f"<h2>{title}</h2>" for title in ARTICLES.values())


@app.route("/articles/<int:number>")
@manager.cacher(timeout=3600, tags=("articles",))
def article(number: int) -> str | tuple[str, int]:
    time.sleep(0.1)
    return ARTICLES.get(number, ("no such article", 404))


@app.route("/weather")
@manager.cacher(timeout=600, refresh_margin=300)
def weather() -> str:
    language = request.accept_languages.best_match(["en", "de"]) or "en"
    return {"en": "Rain, then sun", "de": "Erst Regen, dann Sonne"}[language]


@app.route("/basket")
@manager.cacher(timeout=60)
def basket() -> str:
    return f"{request.cookies.get('items', '0')} things in your basket"


@app.route("/visits")
@manager.cacher(timeout=60)
def visits() -> str:
    return f"hello, {request.remote_addr}"


@app.route("/sitemap.xml")
def sitemap() -> Response:
    pages = ("/", "/weather", *(f"/articles/{number}" for number in ARTICLES))
    urls = "".join(f"<url><loc>http://localhost{page}</loc></url>" for page in pages)
    text = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{urls}</urlset>'
    return Response(text, mimetype="application/xml")


manager.schedule_periodic_refresh("/", interval=900)

if __name__ == "__main__":
    app.run()
