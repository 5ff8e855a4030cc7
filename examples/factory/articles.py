"""A blueprint: cached views, tags, and a write that purges."""

import time

from flask import Blueprint, abort, request

from .extensions import manager

articles = Blueprint("articles", __name__, url_prefix="/articles")

TITLES = {1: "On waiting", 2: "On not waiting"}  # the database


def query() -> dict[int, str]:
    """All articles, after a second."""
    time.sleep(1)
    return dict(TITLES)


@articles.get("/")
@manager.cacher(timeout=60, tags=("articles",))
def index() -> dict[str, list[str]]:
    return {"titles": list(query().values())}


@articles.get("/count")
@manager.cacher(timeout=60, tags=("articles",))
def count() -> dict[str, int]:
    return {"articles": len(query())}


@articles.get("/<int:number>")
@manager.cacher(timeout=60, statuses={404: 10})  # that there is no such article is known, too
def article(number: int) -> dict[str, object]:
    return {"number": number, "title": query().get(number) or abort(404)}


@articles.put("/<int:number>")
def change(number: int) -> dict[str, object]:
    TITLES[number] = request.form["title"]
    # A PUT that succeeds has purged its own URL; this is for all that shows it elsewhere.
    manager.invalidate_tags("articles")
    return {"number": number, "title": TITLES[number]}
