"""The pages, made on the server: they can be read, and their buttons work, without JavaScript.

Owns the templates, in an environment of their own, so that an app's filters, delimiters and
context processors have no part in them. Whoever asks was let in already.
"""

import base64
import binascii
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlencode

from flask import Blueprint, Response, g, redirect, request, url_for
from jinja2 import Environment, PackageLoader, StrictUndefined
from werkzeug.exceptions import BadRequest, HTTPException, NotFound
from werkzeug.wrappers import Response as AnyResponse

from .. import words
from ..desk import Desk
from ..survey import SORTS, STATES
from . import shown
from .api import answered
from .guard import FIELD, as_bytes, failure_text, form_token, in_words
from .history import KEPT, STEP

PAGES: Final = (
    ("overview", "Overview"),
    ("entries", "Entries"),
    ("jobs", "Jobs"),
    ("workers", "Workers"),
    ("why", "Why"),
    ("doctor", "Doctor"),
)
STATIC: Final = {
    "admin.css": "text/css",
    "admin.js": "text/javascript",
    "charts.js": "text/javascript",
}
SAID = "aswr_admin_said"  # a cookie: what a form has done, for the page that comes next
MOST_SAID = 1600  # bytes: it travels in a cookie
FIRST_ROWS, MORE_ROWS = 100, 500
MOST_TAGS = 200
LATEST, LOOKED_AT, OF_ONE = 12, 200, 30
SUMS: Final = (
    "hits", "stale_hits", "misses", "passes", "loads", "load_failures", "load_seconds",
    "seconds_saved", "waits", "seconds_waited", "entries", "bytes", "evictions", "flights",
)  # fmt: skip

_jinja = Environment(
    loader=PackageLoader("aswr.admin"), autoescape=True, undefined=StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip
for _filter in (
    shown.duration, shown.count, shown.size, shown.percent, shown.clock_time, shown.moment,
    shown.says, words.ratio, words.loaded_by,
):  # fmt: skip
    _jinja.filters[_filter.__name__] = _filter
_jinja.globals.update(
    bar=shown.bar, mean=words.mean, pages=PAGES, states=STATES[:-1], kinds=words.KINDS,
    minutes=round(KEPT * STEP / 60), field=FIELD,
)  # fmt: skip


def add_pages(blueprint: Blueprint, desk: Callable[[], Desk]) -> None:
    """Give a blueprint the pages, the buttons and the static files."""

    def page(path: str, name: str, facts: Callable[..., Mapping[str, Any]]) -> None:
        def view(**kwargs: Any) -> Response:
            began = time.monotonic()
            return render(name, desk(), began, **answered(lambda: facts(desk(), **kwargs)))

        blueprint.add_url_rule(path, name, view, methods=["GET"])

    page("/", "overview", _overview)
    page("/entries", "entries", _entries)
    page("/entry/<id>", "entry", _entry)
    page("/jobs", "jobs", lambda desk: {"jobs": desk.jobs()})
    page("/workers", "workers", _workers)
    page("/doctor", "doctor", lambda desk: {"lines": desk.doctor()})

    def why() -> Response:
        began = time.monotonic()
        return render("why", desk(), began, **answered(lambda: _why(desk())))

    def act(what: str) -> Response:
        if what not in ACTS:
            raise NotFound(f"there is no button {what!r}")
        return _back(answered(lambda: ACTS[what](desk())))

    blueprint.add_url_rule("/why", "why", why, methods=["GET", "POST"])
    blueprint.add_url_rule("/act/<what>", "act", act, methods=["POST"])
    blueprint.add_url_rule("/static/<name>", "static", _static, methods=["GET"])


def render(name: str, desk: Desk, began: float, **facts: Any) -> Response:
    """A page; ``said`` is what a button before it did, ``took`` what the page cost until there.

    A page with ``still`` does not fetch itself anew: it asks much of others.
    """
    page = next((page for page, _ in PAGES if page == name), "entries")
    about, stats = desk.about(), desk.stats()
    html = _jinja.get_template(f"{name}.html").render(
        page=page, about=about, stats=stats, now=stats["at"], said=_said(),
        token=form_token(), url=_url, asset=_asset, here=_here(),
        took=lambda: time.monotonic() - began, **{"still": False, **facts},
    )  # fmt: skip
    response = Response(as_bytes(html), content_type="text/html; charset=utf-8")
    if SAID in request.cookies:
        response.delete_cookie(SAID, path=_root())
    return response


def refused(error: HTTPException) -> AnyResponse:
    """An error as a page, without anything of the cache on it."""
    html = _jinja.get_template("error.html").render(
        code=error.code, name=error.name, text=failure_text(error), url=_url, asset=_asset
    )
    return in_words(error, html, "text/html; charset=utf-8")


# Where things are.


def _url(endpoint: str, **values: Any) -> str:
    fit: dict[str, Any] = {
        name: as_bytes(value).decode() if isinstance(value, str) else value
        for name, value in values.items()
    }
    return url_for(f"{request.blueprint}.{endpoint}", **fit)


def _root() -> str:
    return _url("overview").rstrip("/") or "/"


def _here() -> str:
    query = request.query_string.decode("ascii", "replace")
    return f"{request.path}?{query}" if query else request.path


def _asset(name: str) -> str:
    return _url("static", name=name, v=_digests[name])


def _static(name: str) -> Response:
    if name not in STATIC:
        raise NotFound(f"there is no file {name!r}")
    response = Response(_contents[name], content_type=f"{STATIC[name]}; charset=utf-8")
    if request.args.get("v") == _digests[name]:
        g.aswr_lasting = True  # its URL changes with it
    return response


_contents: Final = {name: (files("aswr.admin") / "static" / name).read_bytes() for name in STATIC}
_digests: Final = {name: hashlib.sha256(b).hexdigest()[:12] for name, b in _contents.items()}


# What is shown.


def _overview(desk: Desk) -> dict[str, Any]:
    stats = desk.stats()
    flights = desk.flights()
    loading = Counter(one["view"] for one in flights if not one["elsewhere"])
    reasons = sorted(stats["stats"]["passes_by_reason"].items(), key=lambda one: -one[1])
    views = sorted(stats["views"].items(), key=lambda one: -_asked(one[1]))
    for view, counts in views:
        counts["ended"] = max(0, counts["loads"] - loading[view])
    return {
        "flights": flights,
        "views": views,
        "reasons": reasons,
        "latest": words.told(desk.latest(LOOKED_AT))[:LATEST],
        "jobs": desk.jobs(),
    }


def _asked(counts: Mapping[str, Any]) -> int:
    return int(counts["hits"] + counts["misses"] + counts["passes"])


def _entries(desk: Desk) -> dict[str, Any]:
    args = request.args
    asked = {name: args.get(name, "") for name in ("search", "state", "tag", "view", "sort")}
    asked["sort"] = asked["sort"] or "url"
    source = "store" if desk.in_fleet and args.get("source") == "store" else "memory"
    more = args.get("rows") == "more"
    limit = MORE_ROWS if more else FIRST_ROWS
    found = desk.entries(**asked, shared=source == "store", limit=limit)
    return {
        "asked": {**asked, "source": source},
        "found": found,
        **_tags(desk.tags(), asked["tag"]),
        "views": sorted(desk.stats()["views"]),
        "more": not more and found["count"] > limit,
        "sorted_by": _sorter({**asked, "source": source}),
        "with_more": _query({**asked, "source": source, "rows": "more"}),
        "filtered": any(asked[name] for name in ("search", "state", "tag", "view")),
        "target": target,
        "still": source == "store",
    }


def _tags(tags: list[str], asked: str) -> dict[str, Any]:
    """The tags to choose among, not more than fit a page, and how many others there are."""
    shown = tags[:MOST_TAGS]
    shown += [asked] if asked in tags and asked not in shown else []
    return {"tags": shown, "more_tags": len(tags) - len(shown)}


def _query(asked: Mapping[str, str]) -> str:
    default = {"sort": "url", "source": "memory"}
    kept = {name: value for name, value in asked.items() if value != default.get(name, "")}
    return _url("entries") + (f"?{urlencode(kept)}" if kept else "")


def _sorter(asked: Mapping[str, str]) -> Callable[[str], tuple[str, str]]:
    """For a column: where its head leads, and the ``aria-sort`` that it has now."""

    def column(name: str) -> tuple[str, str]:
        falls = SORTS[name][1]
        turned = asked["sort"] == name
        now = asked["sort"].removeprefix("-") == name
        falling = falls != asked["sort"].startswith("-")
        direction = ("descending" if falling else "ascending") if now else ""
        return _query({**asked, "sort": f"-{name}" if turned else name}), direction

    return column


def target(row: Mapping[str, Any]) -> str:
    """What a URL's row is purged by: path and query; a memoized call's has neither."""
    query = row["url"].partition("?")[2]
    path: str = row["path"]
    return f"{path}?{query}" if path and query else path


def _entry(desk: Desk, id: str) -> dict[str, Any]:
    found = desk.entry(id)
    now = desk.stats()["at"]
    entry, life = found["entry"], found["life"]
    named = [one for one in life if one["id"] == id] or life
    title = entry["url"] if entry else named[0]["url"]
    return {
        "entry": entry,
        "id": id,
        "title": title,
        "beside": found["beside"],
        "life": words.told(life)[:OF_ONE],
        "line": shown.line(entry, life, now),
        "target": target,
        "still": found["source"] == "store",
        "partial": found["partial"],
    }


def _workers(desk: Desk) -> dict[str, Any]:
    workers = desk.workers()
    sums = words.added([dict.fromkeys(SUMS, 0), *(one["stats"] for one in workers)])
    loads = [(one, flight) for one in workers for flight in one.get("flights", ())]
    loads.sort(key=lambda one: -one[1]["age"])
    return {"workers": workers, "sums": sums, "loads": loads}


def _why(desk: Desk) -> dict[str, Any]:
    form = request.form
    url, lines = form.get("url", "").strip(), form.get("headers", "")
    url = url or request.args.get("url", "")
    if request.method == "GET":
        return {"asked": {"url": url, "headers": ""}, "why": None, "wrong": ""}
    asked = {"url": url, "headers": lines}
    try:
        return {"asked": asked, "why": desk.why(url, _headers(lines)), "wrong": ""}
    except ValueError as error:
        return {"asked": asked, "why": None, "wrong": str(error)}


def _headers(lines: str) -> dict[str, str]:
    return words.headers(line for line in map(str.strip, lines.splitlines()) if line)


# What buttons do.


def _refresh(desk: Desk) -> dict[str, str]:
    id = request.form.get("entry", "")  # not "id", which in a browser hides that of the form
    done = desk.refresh(id=id) if id else desk.refresh(_field("url"))
    url, took = done["url"], shown.duration(done["seconds"])
    if done["outcome"] in ("stored", "fresh"):  # fresh: another process has done it meanwhile
        text = f"Refreshed {url} in {took}."
        if done["reason"]:
            return {"state": "warning", "text": f"{text} {_sentence(done['reason'])}"}
        return {"state": "ok", "text": text + _where(done)}
    if done["outcome"] == "failed":
        return {"state": "error", "text": f"{url} could not be loaded: {done['reason']}"}
    if done["outcome"] in ("kept", "unknown"):
        return {"state": "warning", "text": f"{url} was not refreshed: {done['reason']}."}
    why = f": {done['reason']}" if done["reason"] else ""
    return {"state": "warning", "text": f"{url} was loaded in {took} and is not stored{why}"}


def _purge(desk: Desk) -> dict[str, str]:
    form = request.form
    stale = form.get("stale") == "yes"
    if form.get("everything") == "yes":
        done = desk.purge(everything=True, stale=stale)
    elif tag := form.get("tag", ""):
        done = desk.purge(tags=[tag], stale=stale)
    elif id := form.get("entry", ""):
        done = desk.purge(ids=[id], stale=stale)
    else:
        done = desk.purge(urls=[_field("url")], stale=stale)
    if why := done.get("reason"):
        return {"state": "warning", "text": f"Nothing was purged: {why}."}
    if done["unknown"]:  # a button purges one thing
        why = f"{done['unknown'][0]} is no cached view's, and nothing is stored of it"
        why = f"entry {id} is not stored any more" if id else why
        return {"state": "warning", "text": f"Nothing was purged: {why}."}
    text = f"Purged {', '.join(done['purged'])}" + (
        ": served as it is until it is renewed." if stale else "."
    )
    if not done["everybody"] and not done["alone"]:
        more = " The shared store does not have it yet, and other workers may serve the old one."
        return {"state": "warning", "text": text + more}
    return {"state": "ok", "text": text + _where(done)}


def _where(done: Mapping[str, Any]) -> str:
    """Where it is done, unless everybody goes by it."""
    if not done["alone"]:
        return ""
    worker = done["worker"]
    return f" In process {worker['pid']} on {worker['host']} alone; other workers keep their own."


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


ACTS: Final[Mapping[str, Callable[[Desk], dict[str, str]]]] = {
    "refresh": _refresh, "purge": _purge,
}  # fmt: skip


def _field(name: str) -> str:
    value = request.form.get(name, "")
    if not value:
        raise BadRequest(f"the form has no {name}")
    return value


def _back(said: dict[str, str]) -> Response:
    """To the page whose button it was: loading that anew does nothing twice."""
    there = request.form.get("back", "")
    root = _root()
    ours = there.startswith(f"{root.rstrip('/')}/") and not there.startswith("//")
    if not ours or "\\" in there or not there.isprintable():
        there = _url("overview")
    response = redirect(there, 303)
    text = as_bytes(said["text"])[:MOST_SAID].decode(errors="ignore")
    short = json.dumps({**said, "text": text}, ensure_ascii=False)
    value = base64.urlsafe_b64encode(short.encode()).decode()
    response.set_cookie(
        SAID, value, max_age=60, path=root, httponly=True, samesite="Strict",
        secure=request.is_secure,
    )  # fmt: skip
    return response  # type: ignore[return-value]


def _said() -> dict[str, str] | None:
    try:
        said = json.loads(base64.urlsafe_b64decode(request.cookies.get(SAID, "")))
        return {"state": str(said["state"]), "text": str(said["text"])}
    except (ValueError, KeyError, TypeError, binascii.Error):
        return None
