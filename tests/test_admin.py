"""The admin page: who is let in, what its API and pages say, what its buttons do, its stream."""

import base64
import html
import json
import logging
import os
import platform
import re
import threading
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

import pytest
from flask import Flask, abort, redirect, request
from flask.testing import FlaskClient
from flask_login import LoginManager, UserMixin, current_user, login_user
from flask_talisman import Talisman
from flask_wtf.csrf import CSRFProtect
from hypothesis import given
from hypothesis import strategies as st

from aswr import CacheManager
from aswr.admin import blueprint, guard, live, pages, shown
from aswr.admin.history import COLUMNS, KEPT, STEP, History
from aswr.desk import desk_of
from aswr.flight import Flight, How, Result
from aswr.here import process

from .servers.harness import free_port

TOKEN = "correct horse battery staple"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
REPORT, IP = (f"{__name__}:views.<locals>.{name}" for name in ("report", "ip"))
PAGES = ("", "entries", "jobs", "workers", "why", "doctor")


def open_to(answer: Any) -> Callable[[], Any]:
    return lambda: answer


@pytest.fixture
def views(app: Flask, manager: CacheManager) -> list[str]:
    """What the app serves; its list names the loads."""
    loads: list[str] = []

    @app.get("/report/<int:year>")
    @manager.cacher(timeout=20, refresh_margin=5, stale_if_error=30, tags=("reports",))
    def report(year: int) -> str:
        loads.append(f"report {year}")
        if request.args.get("fails"):
            raise RuntimeError("the warehouse is down")
        return "r" * 2000

    @app.get("/hello")
    @manager.cacher(timeout=60)
    def hello() -> str:
        loads.append("hello")
        return request.accept_languages.best_match(["en", "de"], "en")

    @app.post("/form")
    @manager.cacher(timeout=60)
    def form() -> str:
        return "done"

    @app.get("/ip")
    @manager.cacher(timeout=60)
    def ip() -> str:
        return request.remote_addr or ""

    return loads


def mount(app: Flask, manager: CacheManager, authorize: Any = None, **more: Any) -> None:
    app.register_blueprint(
        blueprint(manager, authorize or open_to(True), **more), url_prefix="/aswr"
    )


@pytest.fixture
def client(app: Flask, manager: CacheManager, views: list[str]) -> FlaskClient:
    """Somebody whom authorize lets in."""
    mount(app, manager)
    return app.test_client()


def send(client: FlaskClient, path: str, **form: str) -> Any:
    """Press a button, as a browser without JavaScript does."""
    page = client.get("/aswr/entries").text
    token = re.search(r'name="aswr_token" value="(\w+)"', page)
    assert token is not None
    return client.post(f"/aswr/{path}", data={"aswr_token": token[1], **form})


# Who is let in.


@pytest.mark.parametrize("wrong", [None, "yes", True])
def test_authorize_must_be_given(manager: CacheManager, wrong: Any) -> None:
    """Without something to ask whether a request may see the cache, there is no admin page."""
    with pytest.raises(TypeError, match=r"authorize=lambda: current_user\.is_authenticated"):
        blueprint(manager, wrong)
    with pytest.raises(TypeError, match="authorize="):
        blueprint(manager)


def test_authorize_must_not_be_async(manager: CacheManager) -> None:
    """A coroutine is true whatever it would say, so async functions are refused at once."""

    async def authorize() -> bool:
        return False

    class Authorize:
        async def __call__(self) -> bool:
            return False

    for wrong in (authorize, Authorize()):
        with pytest.raises(TypeError, match="async"):
            blueprint(manager, wrong)


def test_the_manager_must_know_the_app(manager: CacheManager) -> None:
    """Mounting on an app that the manager was not given says what to call first."""
    with pytest.raises(RuntimeError, match=r"manager\.init_app\(app\)"):
        mount(Flask("other"), manager)


def endpoints(app: Flask) -> list[tuple[str, str]]:
    """Every method and path of the blueprint."""
    found = []
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith("aswr_admin."):
            path = re.sub(r"<[^>]+>", "refresh", rule.rule)
            found += [(method, path) for method in sorted((rule.methods or set()) - {"OPTIONS"})]
    return found


async def _coroutine() -> bool:
    return True


@pytest.mark.parametrize(
    "answer", [False, None, 0, 1, "yes", object(), _coroutine], ids=lambda one: type(one).__name__
)
def test_closed_unless_true(app: Flask, manager: CacheManager, answer: Any) -> None:
    """Every URL of the page, whatever its method, is 403 unless authorize returns True itself."""
    mount(app, manager, (lambda: answer()) if answer is _coroutine else open_to(answer))
    asked = endpoints(app)
    assert len(asked) > 30
    for method, path in asked:
        response = app.test_client().open(path, method=method)
        assert response.status_code == 403, (method, path)
        assert "shop" not in response.text


def test_what_is_neither_yes_nor_no_is_logged(
    app: Flask, manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """A truthy object, such as Flask-Login's anonymous user, is a no that the log tells once."""
    mount(app, manager, open_to("somebody"))
    for _ in range(3):
        assert app.test_client().get("/aswr/").status_code == 403
    (record,) = caplog.records
    assert "returned a str" in record.getMessage()
    assert "bool(...)" in record.getMessage()


def test_an_error_in_authorize_closes(
    app: Flask, manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """An authorize that raises lets nobody in, and its error is in the log and not in the page."""

    def authorize() -> bool:
        raise KeyError("secret")

    mount(app, manager, authorize)
    response = app.test_client().get("/aswr/")
    assert response.status_code == 403
    assert "secret" not in response.text
    assert "KeyError" in caplog.text


def test_authorize_may_answer_itself(app: Flask, manager: CacheManager) -> None:
    """A response of authorize, returned or by abort, is what others get: to the login, say."""
    answers = iter([redirect("/login"), None])

    def authorize() -> Any:
        return next(answers) or abort(404)

    mount(app, manager, authorize)
    client = app.test_client()
    response = client.get("/aswr/")
    assert (response.status_code, response.location) == (302, "/login")
    assert client.get("/aswr/api/stats").status_code == 404


def test_authorize_is_asked_in_the_request(app: Flask, manager: CacheManager) -> None:
    """Authorize sees the request that it is asked about."""
    mount(app, manager, lambda: request.headers.get("X-Admin") == "yes")
    client = app.test_client()
    assert client.get("/aswr/").status_code == 403
    assert client.get("/aswr/", headers={"X-Admin": "yes"}).status_code == 200


def test_the_token_opens_the_api(app: Flask, manager: CacheManager, views: list[str]) -> None:
    """Who has the token may ask and act without authorize, a cookie or a form's token."""
    mount(app, manager, open_to(False), token=TOKEN)
    client = app.test_client()
    assert client.get("/aswr/api/stats", headers=BEARER).json["app"] == "shop"
    done = client.post("/aswr/api/purge", headers=BEARER, json={"everything": True})
    assert done.json["purged"] == ["everything"]


def fails() -> bool:
    raise AttributeError("is_admin")


@pytest.mark.parametrize("wrong", ["", "x", TOKEN + "x", TOKEN[:-1], "correct", "ä" * 20])
@pytest.mark.parametrize("no", [open_to(False), open_to("yes"), open_to(redirect("/in")), fails])
def test_a_wrong_token_opens_nothing(
    app: Flask, manager: CacheManager, wrong: str, no: Any
) -> None:
    """Whoever brings a wrong token, and is not let in without it, is told that it is wrong."""
    mount(app, manager, no, token=TOKEN)
    headers = {"Authorization": f"Bearer {wrong}".encode().decode("latin-1")}
    response = app.test_client().get("/aswr/api/stats", headers=headers)
    assert response.status_code == 401
    assert "ASWR_ADMIN_TOKEN" in response.json["error"]
    assert response.headers["WWW-Authenticate"].lower().startswith("bearer")


def test_without_a_token_none_is_right(app: Flask, manager: CacheManager) -> None:
    """Where no token is set, whoever brings one, and is not let in, is told what to set."""
    mount(app, manager, open_to(False))
    response = app.test_client().get("/aswr/api/stats", headers=BEARER)
    assert response.status_code == 401
    assert "set ASWR_ADMIN_TOKEN" in response.json["error"]


@pytest.mark.parametrize("token", [None, TOKEN])
def test_bearers_of_the_app_are_its_own(
    app: Flask, manager: CacheManager, views: list[str], token: str | None
) -> None:
    """An app, or a proxy before it, may log people in by a bearer of its own: authorize decides."""
    mount(
        app, manager, lambda: request.headers["Authorization"] == "Bearer of.the.app", token=token
    )
    client = app.test_client()
    own = {"Authorization": "Bearer of.the.app"}
    assert client.get("/aswr/api/stats", headers=own).status_code == 200
    assert client.get("/aswr/api/stats", headers={"Authorization": "Bearer x"}).status_code == 401
    # A proxy adds it to what other sites make a browser send, too.
    everything = {"everything": True}
    assert client.post("/aswr/api/purge", headers=own, json=everything).status_code == 403


def test_a_bearer_is_answered_in_authorize_s_words(app: Flask, manager: CacheManager) -> None:
    """A response that leads to no login is the answer to a wrong bearer, too."""
    mount(app, manager, lambda: abort(404), token=TOKEN)
    response = app.test_client().get("/aswr/", headers={"Authorization": "Bearer x"})
    assert response.status_code == 404


def test_where_the_token_comes_from(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument goes before the app's config, and that before the environment."""
    names = {"argument": "a" * 16, "config": "c" * 16, "environment": "e" * 16}

    def opens(**given: Any) -> list[str]:
        app = Flask("shop")
        if "config" in given:
            app.config["ASWR_ADMIN_TOKEN"] = given["config"]
        manager = CacheManager(app, clock=clock)
        mount(app, manager, open_to(False), token=given.get("argument"))
        client = app.test_client()
        return [
            name
            for name, token in names.items()
            if client.get("/aswr/api/tags", headers={"Authorization": f"Bearer {token}"}).json == []
        ]

    assert opens() == []
    monkeypatch.setenv("ASWR_ADMIN_TOKEN", names["environment"])
    assert opens() == ["environment"]
    assert opens(config=names["config"]) == ["config"]
    assert opens(config=names["config"], argument=names["argument"]) == ["argument"]


def test_a_short_token_is_an_error(
    app: Flask, manager: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that could be guessed is refused, wherever it comes from, and the cure makes one."""
    for make in (
        lambda: blueprint(manager, open_to(True), token="x" * 15),
        lambda: CacheManager(Flask("other")).init_app(_configured("x" * 15)),
    ):
        with pytest.raises(ValueError, match=r"16 or more: python -c .*token_urlsafe"):
            make()
    with pytest.raises(ValueError, match="16 or more"):
        blueprint(manager, open_to(True), token=" " * 20)
    with pytest.raises(TypeError, match="must be a text"):
        blueprint(manager, open_to(True), token=b"x" * 16)  # type: ignore[arg-type]
    monkeypatch.setenv("ASWR_ADMIN_TOKEN", "short")
    with pytest.raises(ValueError, match="16 or more"):
        mount(app, manager)


def test_the_line_end_of_a_token_does_not_count(app: Flask, manager: CacheManager) -> None:
    """A token that was read from a file, line end and all, opens as it is."""
    mount(app, manager, open_to(False), token=f"{TOKEN}\n")
    assert app.test_client().get("/aswr/api/tags", headers=BEARER).status_code == 200


def _configured(token: str) -> Flask:
    app = Flask("configured")
    app.config["ASWR_ADMIN_TOKEN"] = token
    return app


# What everything leaves with.


@pytest.mark.parametrize(
    "path",
    ["", "entries", "doctor", "api/stats", "api/nothing", "api/entries?state=x", "entry/none",
     "static/none", "live"],
)  # fmt: skip
def test_nobody_keeps_or_frames_an_answer(client: FlaskClient, path: str) -> None:
    """Pages, JSON, the stream and errors say no-store, a strict policy, and nothing of a cache."""
    with client.get(f"/aswr/{path}") as response:
        for name, value in guard.FIELDS.items():
            assert response.headers.getlist(name) == [value]
        assert "Cache-Status" not in response.headers
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_only_a_static_file_by_its_digest_is_kept(client: FlaskClient) -> None:
    """A browser keeps a script whose URL changes with it, for itself, and no other."""
    url = re.search(r'src="([^"]+admin\.js[^"]+)"', client.get("/aswr/").text)
    assert url is not None
    kept = client.get(url[1])
    assert kept.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert kept.content_type == "text/javascript; charset=utf-8"
    assert client.get("/aswr/static/admin.js?v=0").headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", PAGES)
def test_pages_obey_their_policy(client: FlaskClient, path: str) -> None:
    """No page has a script or a style in its HTML, nor names another host."""
    client.get("/report/2026")
    client.get("/hello")
    page = client.get(f"/aswr/{path}").text
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|javascript:", page)
    for url in re.findall(r'\s(?:src|href|action|data-live|data-pulse)="([^"]*)"', page):
        assert re.match(r"/aswr/|#main$|data:image/svg", url), url


def test_every_file_is_shipped() -> None:
    """Templates, styles and scripts lie in the installed package."""
    package = files("aswr.admin")
    static = {one.name for one in (package / "static").iterdir()}
    assert static == set(pages.STATIC)
    templates = {one.name for one in (package / "templates").iterdir()}
    assert templates >= {f"{name}.html" for name, _ in pages.PAGES} | {"base.html", "entry.html"}


# Whose doing a request is.


def test_a_button_needs_its_token(client: FlaskClient, views: list[str]) -> None:
    """What a page did not send is refused, and nothing is done."""
    client.get("/report/2026")
    for path, sent in (
        ("act/purge", {"data": {"url": "/report/2026"}}),
        ("act/purge", {"data": {"url": "/report/2026", "aswr_token": "0" * 64}}),
        ("api/purge", {"json": {"everything": True}}),
        ("why", {"data": {"url": "/report/2026"}}),
    ):
        assert client.post(f"/aswr/{path}", **sent).status_code == 403
    assert "hit" in client.get("/report/2026").headers["Cache-Status"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://localhost"}, 303),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[::1"}, 403),
        # A proxy that the app knows nothing of; the browser's own word counts.
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://shop.example"}, 303),
    ],
)
def test_other_sites_press_no_buttons(
    client: FlaskClient, fields: dict[str, str], status: int
) -> None:
    """A POST that a browser says comes from elsewhere is refused, whatever it brings."""
    token = re.search(r'name="aswr_token" value="(\w+)"', client.get("/aswr/entries").text)
    assert token is not None
    data = {"aswr_token": token[1], "everything": "yes"}
    response = client.post("/aswr/act/purge", data=data, headers=fields)
    assert response.status_code == status


def test_a_planted_cookie_is_no_token(app: Flask, client: FlaskClient) -> None:
    """Who can set a cookie here cannot sign it, if the app has a key."""
    client.set_cookie(guard.COOKIE, "planted", path="/aswr")
    app.secret_key = None
    with app.test_request_context():
        forged = guard._signed("planted")
    app.secret_key = "secret"
    response = client.post("/aswr/act/purge", data={"aswr_token": forged, "everything": "yes"})
    assert response.status_code == 403


def test_buttons_work_without_a_secret_key(app: Flask, client: FlaskClient) -> None:
    """An app without sessions needs no key for its admin page."""
    app.secret_key = None
    assert send(client, "act/purge", everything="yes").status_code == 303


def test_the_cookie_is_for_this_page_alone(client: FlaskClient) -> None:
    """The cookie beside the forms is seen by no script and no other page."""
    (cookie,) = client.get("/aswr/entries").headers.getlist("Set-Cookie")
    assert re.fullmatch(r"aswr_admin=[\w-]{32}; HttpOnly; Path=/aswr; SameSite=Strict", cookie)
    again = client.get("/aswr/entries")
    assert "Set-Cookie" not in again.headers
    secure = client.get("/aswr/entries", base_url="https://shop.example")
    assert "; Secure;" in secure.headers["Set-Cookie"]


@pytest.mark.parametrize("first", [True, False])
def test_flask_wtf_leaves_the_forms_to_us(
    app: Flask, manager: CacheManager, views: list[str], first: bool
) -> None:
    """CSRFProtect may come before or after the blueprint, and guards the app's own forms still."""
    app.config["WTF_CSRF_ENABLED"] = True
    app.post("/own")(lambda: "done")
    if first:
        CSRFProtect(app)
    mount(app, manager, token=TOKEN)
    if not first:
        CSRFProtect(app)
    client = app.test_client()
    purged = client.post("/aswr/api/purge", headers=BEARER, json={"everything": True})
    assert purged.status_code == 200
    assert send(client, "act/purge", everything="yes").status_code == 303
    assert client.post("/own").status_code == 400


def test_with_flask_login(app: Flask, manager: CacheManager, views: list[str]) -> None:
    """As the manual has it: strangers are sent to the login, others refused, admins let in."""
    login = LoginManager(app)
    login.login_view = "login"
    app.add_url_rule("/login", "login", lambda: "who are you?")

    class User(UserMixin):
        def __init__(self, id: str) -> None:
            self.id = id

    login.user_loader(User)

    @app.get("/login/<name>")
    def log_in(name: str) -> str:
        login_user(User(name))
        return "welcome"

    def is_admin() -> Any:
        if not current_user.is_authenticated:
            return login.unauthorized()
        return current_user.id == "admin"

    mount(app, manager, is_admin)
    for name, status in (("", 302), ("ann", 403), ("admin", 200)):
        client = app.test_client()
        if name:
            client.get(f"/login/{name}")
        assert client.get("/aswr/").status_code == status
        assert client.get("/aswr/api/stats").status_code == status
    send(client, "act/refresh", url="/report/2026")
    assert views == ["report 2026"]


def test_with_flask_talisman(app: Flask, manager: CacheManager, views: list[str]) -> None:
    """A policy that an extension puts on everything still lets the page's own files in."""
    Talisman(app, force_https=False)
    mount(app, manager)
    response = app.test_client().get("/aswr/")
    assert response.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert response.headers["Cache-Control"] == "no-store"


# The API.


def api(client: FlaskClient, path: str, **json: Any) -> Any:
    """What the API says to who came by the page."""
    if not json:
        return client.get(f"/aswr/api/{path}")
    if client.get_cookie(guard.COOKIE, path="/aswr") is None:
        client.get("/aswr/why")
    cookie = client.get_cookie(guard.COOKIE, path="/aswr")
    assert cookie is not None
    with client.application.app_context():
        token = guard._signed(cookie.value)
    return client.post(f"/aswr/api/{path}", json=json, headers={guard.HEADER: token})


def test_the_api_says_what_the_desk_says(
    app: Flask, manager: CacheManager, client: FlaskClient
) -> None:
    """Each GET is the desk's answer of that name, as JSON."""
    client.get("/report/2026")
    client.get("/hello")
    desk = desk_of(manager, app)
    for name in ("about", "stats", "jobs", "flights", "routes", "tags"):
        said = json.loads(json.dumps(getattr(desk, name)()))
        assert api(client, name).json == said, name
    entries = desk.entries(search="report", sort="-size", limit=5)
    assert api(client, "entries?search=report&sort=-size&limit=5").json == entries
    assert api(client, "show?url=/report/2026").json == desk.show("/report/2026")
    everything = desk.show("/report/2026", everything=True)
    assert api(client, "show?url=/report/2026&everything=1").json == everything
    asked = {"url": f"/report/2026?{'x' * 9000}", "everything": True}
    assert api(client, "show", **asked).json == desk.show(**asked)
    (row,) = entries["entries"]
    assert api(client, f"entry/{row['id']}").json == desk.entry(row["id"])
    assert api(client, "latest?count=2").json == desk.latest(2)
    assert len(desk.latest(2)) == 2
    assert [one["here"] for one in api(client, "workers").json] == [True]
    assert {line["state"] for line in api(client, "doctor").json} <= {"ok", "note", "warning"}


def test_the_api_acts(client: FlaskClient, views: list[str]) -> None:
    """Refresh, load, why and purge do what the desk does, and say what came of it."""
    (done,) = api(client, "refresh", urls=["/report/2026"]).json
    assert (done["outcome"], views) == ("stored", ["report 2026"])
    (row,) = api(client, "entries").json["entries"]
    (done, other) = api(client, "refresh", ids=[row["id"], "f" * 32]).json
    assert (done["url"], done["outcome"], other["outcome"]) == (row["url"], "stored", "unknown")
    assert api(client, "load", url="/report/2026").json["outcome"] == "fresh"
    assert (
        api(client, "load", url="/report/2026", force=True, why="warm").json["outcome"] == "stored"
    )
    assert api(client, "why", url="/report/2026").json["verdict"] == "hit"
    said = api(client, "why", url="/hello", headers={"Accept-Language": "de"}).json
    assert said["rendered"]
    assert api(client, "purge", tags=["reports"], stale=True).json["purged"] == ["tag reports"]
    assert api(client, "purge", urls=["/report/2026"]).json["purged"] == ["/report/2026"]
    assert api(client, "entries").json["count"] == 0


def test_urls_are_refreshed_together(
    app: Flask, manager: CacheManager, gate: Any, background: Any
) -> None:
    """A list of URLs takes as long as its longest load, not as long as all of them."""

    @app.get("/slow/<name>")
    @manager.cacher(timeout=60)
    def slow(name: str) -> str:
        gate.hold()
        return name

    mount(app, manager, token=TOKEN)
    urls = ["/slow/a", "/slow/b", "/nothing"]
    ask = app.test_client().post
    asked = background(lambda: ask("/aswr/api/refresh", headers=BEARER, json={"urls": urls}))
    gate.await_arrival()
    gate.await_arrival()
    gate.open()
    done = asked.result().json
    assert [one["url"] for one in done] == urls
    assert [one["outcome"] for one in done] == ["stored", "stored", "uncached"]


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("entries?state=ripe", None, 400, "there are fresh, stale"),
        ("entries?sort=colour", None, 400, "cannot sort"),
        ("entries?limit=0", None, 400, "from 1 to"),
        ("entries?limit=many", None, 400, "from 1 to"),
        ("latest?count=-1", None, 400, "from 1 to"),
        ("show", None, 400, "which url?"),
        ("show?url=report", None, 400, "/report"),
        ("entry/none", None, 404, "no entry 'none'"),
        ("nothing", None, 404, "no api/nothing"),
        ("stats", {"a": 1}, 405, "asked with GET"),
        ("purge", None, 405, "asked with POST"),
        ("purge", {"a": 1}, 400, "purge what?"),
        ("purge", {"urls": "/a"}, 400, "list of texts"),
        ("purge", {"urls": ["a"]}, 400, "/report"),
        ("purge", {"everything": "yes"}, 400, "true or false"),
        ("refresh", {"urls": []}, 400, "refresh what?"),
        ("refresh", {"urls": ["/a"] * 101}, 413, "at most 100"),
        ("refresh", {"ids": ["a"] * 101}, 413, "at most 100"),
        ("load", {"url": 1}, 400, "which url?"),
        ("load", {"url": "/hello", "why": "fun"}, 400, "why is one of"),
        ("why", {"url": "/hello", "headers": ["a"]}, 400, "texts by name"),
    ],
)  # fmt: skip
def test_errors_have_a_cure(
    client: FlaskClient, path: str, body: Any, status: int, says: str
) -> None:
    """A wrong question is answered with JSON that says what is right."""
    response = api(client, path, **body or {})
    assert response.status_code == status
    assert says in response.json["error"]


def test_bodies_are_bounded_json(app: Flask, manager: CacheManager) -> None:
    """A body that is no JSON object, or too large, is refused."""
    mount(app, manager, token=TOKEN)
    client = app.test_client()
    deep = b"[" * 100_000
    for body, status in ((b"{", 400), (b"[]", 400), (deep, 400), (b" " * ((1 << 20) + 1), 413)):
        response = client.post("/aswr/api/purge", data=body, headers=BEARER)
        assert response.status_code == status
        assert response.json["error"]


def test_what_the_desk_cannot_answer_is_json_too(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """An error that nobody foresaw is in the log, and its kind in the answer."""
    del app.extensions["aswr.site"], app.extensions["aswr.desk"]
    monkeypatch.setattr("aswr.admin.desk_of", lambda *known: None)
    response = client.get("/aswr/api/stats")
    assert response.status_code == 500
    assert response.json["error"].startswith("AttributeError")
    assert "could not answer /aswr/api/stats" in caplog.text


# The pages.


def test_pages_when_nothing_has_happened(client: FlaskClient) -> None:
    """Every page says what is not there yet."""
    said = {
        "": "Nobody has asked for a cached view yet",
        "entries": "Nothing is stored",
        "jobs": "No job is scheduled",
        "workers": "this process knows of no other",
        "why": "Why is it answered so?",
        "doctor": "memory alone",
    }
    for path, text in said.items():
        response = client.get(f"/aswr/{path}")
        assert response.status_code == 200
        assert text in response.text


def test_the_overview_sums_up(client: FlaskClient, clock: Any) -> None:
    """Ratio, loads and passes are those of the process, in all and by view."""
    for _ in range(3):
        client.get("/report/2026")
    client.get("/ip")
    page = text_of(client.get("/aswr/").text)
    assert "Hit ratio 50.0\u202f%" in page
    assert "2 hits, 0 of them stale" in page
    assert f"{REPORT} 66.6\u202f% 2 0 1 0 1 0" in page
    assert "Why requests pass" in page
    assert "reads remote address" in page


def text_of(page: str) -> str:
    return re.sub(r"[ \n]+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


def test_the_overview_shows_flights(
    app: Flask, manager: CacheManager, gate: Any, background: Any, clock: Any
) -> None:
    """A load in progress is there with its age, and does not count as one that took no time."""

    @app.get("/slow")
    @manager.cacher(timeout=60)
    def slow() -> str:
        gate.hold()
        return "done"

    mount(app, manager)
    waiting = background(lambda: app.test_client().get("/slow"))
    gate.await_arrival()
    clock.tick(12)
    page = text_of(app.test_client().get("/aswr/").text)
    assert re.search(r"Loads in progress /slow \S+ · 1 waiting 12\u202fs", page)
    assert re.search(r"\.slow \u2013 0 0 0 0 1 0 \u2013 \u2013", page)
    page = text_of(app.test_client().get("/aswr/workers").text)
    here = f"{os.getpid()} on {platform.node()}"
    assert re.search(rf"Loads in progress /slow \S+ · 1 waiting · {here} 12\u202fs", page)
    gate.open()
    waiting.result()


def test_the_oldest_load_is_shown_first(
    app: Flask, manager: CacheManager, gate: Any, background: Any, clock: Any
) -> None:
    """Of the loads in progress the one that takes longest is the one that is looked for."""

    @app.get("/slow/<int:number>")
    @manager.cacher(timeout=60)
    def slow(number: int) -> str:
        gate.hold()
        return "done"

    mount(app, manager)
    visits = []
    for number in (1, 2):
        visits.append(background(lambda n=number: app.test_client().get(f"/slow/{n}")))
        gate.await_arrival()
        clock.tick(5)
    page = text_of(app.test_client().get("/aswr/workers").text).partition("Loads in progress")[2]
    assert re.findall(r"/slow/\d", page) == ["/slow/1", "/slow/2"]
    gate.open()
    for visit in visits:
        visit.result()


def test_which_process_is_shown(client: FlaskClient) -> None:
    """Every page says whose numbers these are, and that others have theirs."""
    for path in PAGES:
        page = text_of(client.get(f"/aswr/{path}").text)
        assert f"Shown is process {os.getpid()} on {platform.node()}" in page
        assert "every other worker has entries, counters and a page of its own" in page


def test_entries_are_found_and_sorted(client: FlaskClient, clock: Any) -> None:
    """Search, state, tag and view choose rows, and a column's head turns the order round."""
    client.get("/report/2025")
    clock.tick(16)
    client.get("/report/2026")
    client.get("/hello")

    def shown_urls(query: str) -> list[str]:
        page = client.get(f"/aswr/entries{query}").text
        return re.findall(r'class="entry"><a href="[^"]+">([^<]+)</a>', page)

    assert shown_urls("") == ["/hello", "/report/2025", "/report/2026"]
    assert shown_urls("?search=2025") == ["/report/2025"]
    assert shown_urls("?state=stale") == ["/report/2025"]
    assert shown_urls("?tag=reports&sort=-url") == ["/report/2026", "/report/2025"]
    assert shown_urls("?view=hello") == ["/hello"]
    page = client.get("/aswr/entries?sort=age&tag=reports").text
    assert 'aria-sort="descending"><a href="/aswr/entries?tag=reports&amp;sort=-age">' in page
    assert client.get("/aswr/entries?sort=colour").status_code == 400


def test_bytes_that_are_no_text(client: FlaskClient, app: Flask, manager: CacheManager) -> None:
    """What somebody made of them is shown as what it is, and hides nothing else."""

    @app.get("/file")
    @manager.cacher(timeout=60, tags=("caf\udce9",))
    def file() -> str:
        return "file"

    @app.get("/search")
    @manager.cacher(timeout=60)
    def search() -> str:
        raise ValueError("no \ud800")

    client.get("/file")
    client.get("/search")
    for path in ("", "entries", "jobs"):
        page = client.get(f"/aswr/{path}")
        assert page.status_code == 200, path
        page.data.decode()
    assert "caf\\udce9" in client.get("/aswr/entries").text
    assert "no \\ud800" in client.get("/aswr/").text


def test_a_button_goes_back_to_a_page(client: FlaskClient) -> None:
    """What no page's address has in it, such as a line break, leads to the overview."""
    answer = send(client, "act/purge", everything="yes", back="/aswr/\r\nX: 1")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/aswr/")


def test_an_entry_s_life(client: FlaskClient, clock: Any) -> None:
    """The page of an entry has its windows, loads and purges, and stays when the entry is gone."""
    client.get("/report/2026")
    clock.tick(3)
    row = api(client, "entries").json["entries"][0]
    page = client.get(f"/aswr/entry/{row['id']}").text
    assert re.findall(r'<rect class="w-(\w+)"', page) == ["fresh", "stale", "error"]
    assert 'class="l-loaded"' in page
    assert "a visitor waited for it" in page
    assert f"<dd>{process()}; a visitor waited for it</dd>" in page
    send(client, "act/purge", url="/report/2026")
    page = client.get(f"/aswr/entry/{row['id']}").text
    assert "It is not stored any more" in page
    assert 'class="mark m-purged"' in page
    assert client.get("/aswr/entry/none").status_code == 404


def test_hostile_text_is_text(app: Flask, manager: CacheManager, client: FlaskClient) -> None:
    """What visitors put into URLs and headers, and filters into forms, is never HTML here."""
    attack = "<script>alert(1)</script>"

    @app.get("/files/<path:name>")
    @manager.cacher(timeout=60, stale_if_error=60, tags=(attack,))
    def files(name: str) -> str:
        if name == "none":
            raise RuntimeError(attack)
        return request.headers.get("X-Theme", "")

    client.get(f"/files/{attack}", query_string={attack: attack}, headers={"X-Theme": attack})
    client.get("/files/none")
    for path in ("", "entries", f"entries?search={attack}&tag={attack}", f"why?url={attack}"):
        page = client.get(f"/aswr/{path}").text
        assert attack not in page
    assert f"RuntimeError: {html.escape(attack)}" in client.get("/aswr/").text
    page = client.get("/aswr/entries").text
    assert f"<b>{html.escape(attack)}</b>" in page  # the variant
    assert f">{html.escape(attack)}</a>" in page  # the tag
    (row,) = (one for one in api(client, "entries").json["entries"] if one["variant"])
    page = client.get(f"/aswr/entry/{row['id']}").text
    assert attack not in page
    refused = client.get("/aswr/entry/" + attack)
    assert refused.status_code == 404
    assert attack not in refused.text


def test_buttons_go_back_and_say_what_they_did(client: FlaskClient, views: list[str]) -> None:
    """A button's page redirects to where it was, and says once what was done."""
    response = send(client, "act/refresh", url="/report/2026", back="/aswr/entries?tag=reports")
    assert (response.status_code, response.location) == (303, "/aswr/entries?tag=reports")
    assert views == ["report 2026"]
    assert "Refreshed /report/2026 in" in client.get(response.location).text
    assert "Refreshed" not in client.get(response.location).text
    for form, said in (
        ({"url": "/report/2026", "stale": "yes"}, "served as it is until it is renewed"),
        ({"tag": "reports"}, "Purged tag reports."),
        ({"everything": "yes"}, "Purged everything."),
        ({"url": "/nothing"}, "Nothing was purged: /nothing is no cached view&#39;s"),
        ({"entry": "none"}, "Nothing was purged: entry none is not stored any more."),
    ):
        location = send(client, "act/purge", **form).location
        assert location == "/aswr/"
        assert said in client.get(location).text
    location = send(client, "act/refresh", url="/report/2026?fails=1").location
    assert "could not be loaded: RuntimeError" in client.get(location).text
    location = send(client, "act/refresh", url="/ip").location
    assert "is not stored: reads remote address" in client.get(location).text


def refresh_buttons(page: str) -> list[tuple[str, str]]:
    """What the buttons to refresh on a page name: the field, and its value."""
    forms = re.findall(r'action="/aswr/act/refresh".*?</form>', page, re.DOTALL)
    return [re.findall(r'name="(url|entry)" value="([^"]+)"', form)[0] for form in forms]


def test_a_row_s_button_refreshes_that_row(
    app: Flask, client: FlaskClient, clock: Any, views: list[str]
) -> None:
    """A variant that nobody read since is renewed by its row's button, and it alone."""
    for language in ("de", "en"):
        client.get("/hello", headers={"Accept-Language": language})
    rows = api(client, "entries").json["entries"]
    (row,) = (one for one in rows if "de" in one["variant"].values())
    clock.tick(40)
    assert ("entry", row["id"]) in refresh_buttons(client.get("/aswr/entries").text)
    assert refresh_buttons(client.get(f"/aswr/entry/{row['id']}").text) == [("entry", row["id"])]
    location = send(client, "act/refresh", entry=row["id"]).location
    assert "Refreshed /hello in" in client.get(location).text
    ages = {one["id"]: one["age"] for one in api(client, "entries").json["entries"]}
    assert sorted(ages.values()) == [0, 40]
    assert ages[row["id"]] == 0


def test_what_needs_its_caller_has_no_button(app: Flask, manager: CacheManager) -> None:
    """One person's entry is not for others to renew: no button, and an answer that says so."""

    @app.get("/s")
    @manager.cacher(timeout=60, scope=lambda: request.headers.get("X-User"))
    def mine() -> str:
        return "mine"

    mount(app, manager)
    client = app.test_client()
    client.get("/s", headers={"X-User": "ann"})
    (row,) = api(client, "entries").json["entries"]
    assert refresh_buttons(client.get("/aswr/entries").text) == []
    page = client.get(f"/aswr/entry/{row['id']}").text
    assert refresh_buttons(page) == []
    assert "Renewed by its own caller alone" in text_of(page)
    location = send(client, "act/refresh", entry=row["id"]).location
    said = "/s was not refreshed: only its own caller can renew it; purge it."
    assert said in client.get(location).text
    assert api(client, "entries").json["count"] == 1
    location = send(client, "act/refresh", entry="f" * 32).location
    assert f"{'f' * 32} was not refreshed: no such entry is stored." in client.get(location).text


def test_a_call_is_purged_by_its_entry(app: Flask, manager: CacheManager) -> None:
    """A memoized call has no URL, though its arguments may look like a query."""

    @manager.memoize(timeout=60)
    def price(name: str) -> int:
        return 1

    mount(app, manager)
    with app.app_context():
        price.sync("a?b")
    client = app.test_client()
    (row,) = api(client, "entries").json["entries"]
    for page in ("/aswr/entries", f"/aswr/entry/{row['id']}"):
        text = client.get(page).text
        forms = "".join(re.findall(r'action="/aswr/act/purge".*?</form>', text, re.DOTALL))
        assert re.findall(r'name="(url|entry)" value="([^"]*)"', forms) == [("entry", row["id"])]


def test_what_another_process_refreshed_is_refreshed(
    app: Flask, manager: CacheManager, client: FlaskClient, views: list[str]
) -> None:
    """Where one has loaded the same meanwhile, the button has done what it is for."""
    client.get("/report/2026")
    engine = manager.site_of(app).engine

    async def consult(flight: Flight) -> bool:
        engine._settle(flight, Result(How.HIT, engine.store.glance(flight.key)))
        return True

    engine._consult = consult  # type: ignore[method-assign]
    response = send(client, "act/refresh", url="/report/2026")
    assert "Refreshed /report/2026 in" in client.get(response.location).text
    assert views == ["report 2026"]


def test_an_error_that_is_no_text_is_said(app: Flask, manager: CacheManager) -> None:
    """What was made of bytes that are no text is told as what it is, after a redirect, too."""

    @app.get("/fails")
    @manager.cacher(timeout=60)
    def fails() -> str:
        raise ValueError("no file \udce9")

    mount(app, manager)
    client = app.test_client()
    response = send(client, "act/refresh", url="/fails")
    assert response.status_code == 303
    assert "ValueError: no file \\udce9" in client.get(response.location).text


def test_what_is_not_stored_any_more_is_loaded_by_its_url(client: FlaskClient) -> None:
    """The page of an entry that is gone has a button for its URL, which says so."""
    client.get("/report/2026")
    (row,) = api(client, "entries").json["entries"]
    api(client, "purge", urls=["/report/2026"])
    page = client.get(f"/aswr/entry/{row['id']}").text
    assert refresh_buttons(page) == [("url", "/report/2026")]
    assert "Load the URL" in page


def test_buttons_say_where(client: FlaskClient) -> None:
    """With memory alone, what is done is done in one process, and its page says in which."""
    where = f"In process {os.getpid()} on {platform.node()} alone; other workers keep their own."
    for what in ("refresh", "purge"):
        location = send(client, f"act/{what}", url="/report/2026").location
        assert where in client.get(location).text


def test_buttons_of_a_cache_that_is_off(clock: Any) -> None:
    """Where the cache is switched off nothing is purged, and it is said so."""
    app = Flask("shop")
    app.config["ASWR_ENABLED"] = False
    mount(app, CacheManager(app, clock=clock))
    client = app.test_client()
    page = client.get(send(client, "act/purge", everything="yes").location).text
    assert '<p class="note warning"><span>Nothing was purged: the cache is switched off' in page


def test_calls_are_purged_by_their_entry(
    app: Flask, manager: CacheManager, client: FlaskClient
) -> None:
    """A row of a memoized call has a button, too: it purges that call, and no other."""

    @manager.memoize(timeout=60)
    def price(number: int) -> int:
        return number

    with app.app_context():
        price.sync(1)
        price.sync(2)
    rows = {one["url"]: one for one in api(client, "entries?search=price").json["entries"]}
    name = next(url for url in rows if url.endswith("(1)"))
    page = client.get("/aswr/entries").text
    form = re.search(rf'name="entry" value="({rows[name]["id"]})"', page)
    assert form is not None
    assert f'name="entry" value="{form[1]}"' in client.get(f"/aswr/entry/{form[1]}").text
    said = client.get(send(client, "act/purge", entry=form[1]).location).text
    assert f"Purged {name}." in html.unescape(said)
    (left,) = api(client, "entries?search=price").json["entries"]
    assert left["url"].endswith("(2)")
    assert api(client, "purge", ids=[left["id"]]).json["purged"] == [left["url"]]


def test_what_is_learned_is_named(client: FlaskClient) -> None:
    """What a URL is seen to read is told as people call it."""
    client.get("/hello")
    page = text_of(client.get("/aswr/").text)
    assert "reads more /hello best Accept-Language of en, de " in page


@pytest.mark.parametrize(
    "back", ["", "//evil.example", "https://evil.example/aswr/", "/aswr", "/aswr/\\evil", "/other"]
)
def test_buttons_lead_nowhere_else(client: FlaskClient, back: str) -> None:
    """A form cannot send its user to another site, nor out of the page."""
    assert send(client, "act/purge", everything="yes", back=back).location == "/aswr/"


def test_mounted_at_the_root(app: Flask, manager: CacheManager) -> None:
    """Where the page is all of a site, a form still leads to no other one."""
    app.register_blueprint(blueprint(manager, open_to(True)))
    client = app.test_client()
    token = re.search(r'name="aswr_token" value="(\w+)"', client.get("/entries").text)
    assert token is not None
    for back, location in (("//evil.example", "/"), ("/jobs", "/jobs")):
        data = {"aswr_token": token[1], "everything": "yes", "back": back}
        assert client.post("/act/purge", data=data).location == location


def test_bad_forms_are_errors(client: FlaskClient) -> None:
    """A form without what it needs, or an unknown button, is told so."""
    assert send(client, "act/purge").status_code == 400
    assert send(client, "act/purge", url="report").status_code == 400
    assert send(client, "act/explode").status_code == 404


def test_a_long_message_fits_into_its_cookie(
    app: Flask, manager: CacheManager, views: list[str]
) -> None:
    """What a button has done is told however long it is: browsers drop cookies over 4 KiB."""

    @app.get("/broken")
    @manager.cacher(timeout=60)
    def broken() -> str:
        raise RuntimeError("\u4e2d" * 3000)

    mount(app, manager)
    client = app.test_client()
    done = send(client, "act/refresh", url="/broken")
    cookies = [one for one in done.headers.getlist("Set-Cookie") if one.startswith(pages.SAID)]
    assert len(cookies[0]) < 4000
    assert "\u4e2d" * 100 in client.get("/aswr/").text


def test_a_silent_store_hides_no_process(clock: Any) -> None:
    """While Redis does not answer, the page of a worker still tells of that worker, and says so."""
    app = Flask("shop")
    app.secret_key = "secret"
    manager = CacheManager(app, cache=f"redis://127.0.0.1:{free_port()}", clock=clock)
    mount(app, manager)
    client = app.test_client()
    assert [one["silent"] for one in api(client, "workers").json] == [True]
    page = client.get("/aswr/workers").text
    assert "The shared store does not answer" in page
    assert str(os.getpid()) in page
    assert "the store did not answer" in text_of(client.get("/aswr/entry/" + "0" * 32).text)
    manager.close(timeout=0.5)


def test_no_page_of_thousands_of_tags(app: Flask, manager: CacheManager) -> None:
    """So many tags can be chosen, and the one that is asked for; the page says how many are not."""

    @app.get("/item/<int:number>")
    @manager.cacher(timeout=60, tags=lambda response: (f"item-{request.path.rpartition('/')[2]}",))
    def item(number: int) -> str:
        return str(number)

    mount(app, manager)
    client = app.test_client()
    for number in range(pages.MOST_TAGS + 5):
        client.get(f"/item/{number}")
    page = client.get("/aswr/entries").text
    assert page.count("<option>item-") == 2 * pages.MOST_TAGS
    assert page.count("<option disabled>and 5 more</option>") == 2
    last = sorted(desk_of(manager, app).tags())[-1]
    page = client.get(f"/aswr/entries?tag={last}").text
    assert page.count(f"<option selected>{last}</option>") == 2
    assert page.count("<option disabled>and 4 more</option>") == 2


def test_odd_cookies_say_nothing(client: FlaskClient) -> None:
    """A cookie that is no message of ours is not shown."""
    for value in ("x", base64.b64encode(b"[1]").decode(), base64.b64encode(b"\xff").decode()):
        client.set_cookie(pages.SAID, value, path="/aswr")
        assert 'class="note' not in client.get("/aswr/").text


def test_why_is_explained(client: FlaskClient, views: list[str]) -> None:
    """The form shows the desk's steps, with the request's headers, and what is wrong with it."""
    page = send(client, "why", url="/hello", headers="Accept-Language: de\n").text
    assert "rendered once to find out" in page
    assert "would be stored" in page
    assert api(client, "entries").json["count"] == 0
    page = send(client, "why", url="/ip").text
    assert "What would help" in page
    client.get("/hello", headers={"Accept-Language": "de"})
    both = "Accept-Language: de\naccept-language: fr"
    page = send(client, "why", url="/hello", headers=both).text
    assert "v-hit" in page, "both of them count"
    assert "a header is written" in send(client, "why", url="/hello", headers="nonsense").text
    assert "name the path" in text_of(send(client, "why", url="hello").text)


def test_jobs_say_when(app: Flask, manager: CacheManager, views: list[str]) -> None:
    """The jobs have a page, and a place on the overview, that say when they are due."""
    mount(app, manager)
    manager.schedule_periodic_refresh("/report/2026", 3600)
    client = app.test_client()
    page = text_of(client.get("/aswr/jobs").text)
    assert re.search(r"/report/2026 next in .* Every 1\u202fh Was due \d times", page)
    assert "Next by schedule /report/2026 every 1\u202fh" in text_of(client.get("/aswr/").text)


def test_templates_are_our_own(app: Flask, manager: CacheManager) -> None:
    """An app's delimiters, filters and context processors have no part in the pages."""
    app.jinja_options = {"variable_start_string": "[[", "variable_end_string": "]]"}
    app.context_processor(lambda: {"stats": None, "now": None})
    mount(app, manager)
    assert app.test_client().get("/aswr/").status_code == 200


def test_mounted_twice(app: Flask, manager: CacheManager, views: list[str]) -> None:
    """Two blueprints, for two kinds of people, lead each to its own pages."""
    mount(app, manager)
    second = blueprint(manager, open_to(True), name="operators")
    app.register_blueprint(second, url_prefix="/ops")
    page = app.test_client().get("/ops/entries").text
    assert 'action="/ops/act/purge"' in page
    assert "/aswr/" not in page


def test_below_a_path(app: Flask, manager: CacheManager, views: list[str]) -> None:
    """Where the app lies below a path, so do links, cookies and redirects."""
    mount(app, manager)
    client = app.test_client()
    page = client.get("/shop/aswr/entries", environ_overrides={"SCRIPT_NAME": "/shop"})
    page = client.get("/aswr/entries", base_url="http://localhost/shop")
    assert "Path=/shop/aswr;" in page.headers["Set-Cookie"]
    assert 'href="/shop/aswr/jobs"' in page.text
    token = re.search(r'name="aswr_token" value="(\w+)"', page.text)
    assert token is not None
    response = client.post(
        "/aswr/act/purge", base_url="http://localhost/shop",
        data={"aswr_token": token[1], "everything": "yes", "back": "/shop/aswr/entries"},
    )  # fmt: skip
    assert response.location == "/shop/aswr/entries"


# What happens, as it happens.


def messages(body: bytes) -> list[Any]:
    return [json.loads(line[6:]) for line in body.decode().splitlines() if line[:6] == "data: "]


class Pauses:
    """Time for a stream, which passes while it pauses."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def streams(app: Flask, client: FlaskClient) -> Iterator[tuple[live.Streams, Pauses]]:
    """The streams of the app, whose time is ours."""
    time = Pauses()
    history, _ = app.extensions["aswr.admin"]
    made = live.Streams(time.pause, time)
    made.limit = live.MOST_STREAMS
    app.extensions["aswr.admin"] = (history, made)
    yield made, time
    assert made.open == 0


THREADED = {"wsgi.multithread": True}


def test_a_stream_tells_every_second_and_ends(client: FlaskClient, streams: Any) -> None:
    """A stream is a message a second, names when to come again, and ends by itself."""
    client.get("/report/2026")
    response = client.get("/aswr/live", environ_overrides=THREADED)
    assert response.content_type == "text/event-stream"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.data.startswith(b"retry: 1000\n\n")
    said = messages(response.data)
    assert len(said) == live.LASTS + 1
    assert streams[1].now == live.LASTS
    assert said[0]["stats"]["loads"] == 1
    assert said[0]["views"].keys() == {REPORT}
    assert said[0]["flights"] == []
    response.close()


def test_without_threads_a_stream_is_one_message(client: FlaskClient, streams: Any) -> None:
    """A server that answers one request at a time is not held."""
    with client.get("/aswr/live", environ_overrides={"wsgi.multithread": False}) as response:
        assert len(messages(response.data)) == 1
        assert response.data.startswith(b"retry: 3000\n\n")
    assert streams[1].now == 0


def test_streams_tell_what_is_new(client: FlaskClient, clock: Any, streams: Any) -> None:
    """What happened is told once, also to a browser that comes again with the last id."""
    client.get("/report/2026")
    clock.tick(1)
    single = {"environ_overrides": {"wsgi.multithread": False}}
    with client.get("/aswr/live", **single) as response:
        (first,) = messages(response.data)
        id = re.search(rb"^id: (\S+)$", response.data, re.M)
    assert id is not None
    kinds = [one["kind"] for one in first["happened"]]
    assert kinds[0] == "load_started"
    assert "published" in kinds
    client.get("/report/2025")
    clock.tick(1)
    with client.get("/aswr/live", headers={"Last-Event-ID": id[1].decode()}, **single) as response:
        (second,) = messages(response.data)
    assert {one["url"] for one in second["happened"]} == {"/report/2025"}
    assert api(client, f"pulse?since={second['since']}").json["happened"] == []
    assert api(client, "pulse?since=nonsense").json["happened"] != []


def test_streams_are_few(client: FlaskClient, streams: Any) -> None:
    """Past their number the next one is 503, and who leaves makes room, read or not."""
    made, _ = streams
    opened = [
        client.get("/aswr/live", environ_overrides=THREADED) for _ in range(live.MOST_STREAMS)
    ]
    assert made.open == live.MOST_STREAMS
    refused = client.get("/aswr/live", environ_overrides=THREADED)
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "3"
    next(opened[0].response)
    for response in opened:
        response.close()
        response.close()
    client.head("/aswr/live", environ_overrides=THREADED).close()


@pytest.mark.parametrize(("threads", "most"), [(None, 1), (64, 8), (8, 4), (2, 1), (1, 1)])
def test_streams_leave_threads_to_others(app: Flask, threads: int | None, most: int) -> None:
    """Of the bridge's threads at most half are held by those who look; of a WSGI server's, one."""
    made = live.Streams()
    bridged = {} if threads is None else {"aswr.threads": threads}
    with app.test_request_context(environ_overrides={**THREADED, **bridged}):
        answers = [made.answer(lambda since: {"since": since}, 0.0) for _ in range(9)]
    assert [one.status_code for one in answers].count(200) == most
    for one in answers:
        one.close()


@pytest.mark.parametrize("given", [0, 1, 3])
def test_streams_as_many_as_one_says(app: Flask, manager: CacheManager, given: int) -> None:
    """Who knows the server's threads says how many of them streams may hold, or that none may."""
    mount(app, manager, streams=given)
    client = app.test_client()
    answers = [client.get("/aswr/live", environ_overrides=THREADED) for _ in range(4)]
    assert [one.status_code for one in answers].count(200) == given
    for one in answers:
        one.close()


@pytest.mark.parametrize(
    ("wrong", "error"), [(-1, ValueError), (True, TypeError), ("2", TypeError)]
)
def test_streams_are_a_number(manager: CacheManager, wrong: Any, error: type[Exception]) -> None:
    """What is no number of streams is refused where it is written."""
    with pytest.raises(error, match="streams"):
        blueprint(manager, open_to(True), streams=wrong)


# What charts are drawn from.


def counts(sample: dict[str, Any], view: str) -> dict[str, float]:
    return dict(zip(COLUMNS, sample["views"][view], strict=True))


def test_samples_count_what_came_since(
    app: Flask, manager: CacheManager, client: FlaskClient, clock: Any
) -> None:
    """A sample has what each view did since the last one, if it did anything."""
    history = History(manager.site_of(app).engine)
    client.get("/report/2026")
    client.get("/report/2026")
    history.sample()
    clock.tick(16)
    client.get("/report/2026")
    client.get("/ip")
    manager.join()
    history.sample()
    history.sample()
    first, second, third = history.since(0)
    assert first["views"].keys() == {REPORT}
    report = counts(first, REPORT)
    assert (report["fresh"], report["misses"], report["loads"], report["waits"]) == (1, 1, 1, 1)
    report = counts(second, REPORT)
    assert (report["fresh"], report["stale"], report["misses"], report["loads"]) == (0, 1, 0, 1)
    assert counts(second, IP)["passes"] == 1
    assert third["views"] == {}
    assert history.since(second["at"]) == [] == history.since(third["at"])
    assert len(history.since(first["at"])) == 2


def test_samples_are_bounded(app: Flask, manager: CacheManager, client: FlaskClient) -> None:
    """Old samples make room."""
    history = History(manager.site_of(app).engine)
    for _ in range(KEPT + 5):
        history.sample()
    assert len(history.since(0)) == KEPT


def test_sampling_begins_with_the_first_load(app: Flask, client: FlaskClient) -> None:
    """Where the blueprint is mounted the loop samples from its start on, without being asked."""
    history, _ = app.extensions["aswr.admin"]
    assert history.since(0) == []
    client.get("/report/2026")
    client.get("/hello")
    assert len(history.since(0)) == 1
    assert STEP == 2.0


def test_sampling_begins_where_everything_passes(app: Flask, client: FlaskClient) -> None:
    """A process that loads nothing, since everything passes, has charts of its passes."""
    history, _ = app.extensions["aswr.admin"]
    client.post("/form")
    wait_for(lambda: history.since(0) != [])


def wait_for(true: Callable[[], bool], limit: float = 10.0) -> None:
    """What another thread does at once, on a machine that is busy."""
    over = threading.Event()
    until = time.monotonic() + limit
    while not true():
        assert time.monotonic() < until
        over.wait(0.01)


# How values are shown.


def test_quantities_do_not_break() -> None:
    """Between a number and its unit, and between thousands, a page breaks no line."""
    texts = [shown.duration(61), shown.size(1536), shown.count(1234567), shown.percent(0.5)]
    assert texts == [
        f"1{shown.NARROW}min 1{shown.NARROW}s", f"1.5{shown.NARROW}KiB",
        f"1{shown.NARROW}234{shown.NARROW}567", f"50.0{shown.NARROW}%",
    ]  # fmt: skip


def an_entry(stored: float, fresh: float, stale: float, error: float) -> dict[str, Any]:
    ends = {"fresh_until": stored + fresh, "stale_until": stored + fresh + stale}
    ends["error_until"] = ends["stale_until"] + error
    return {"state": "fresh", "stored": stored, "cost": 0.5, **ends}


@given(
    st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0, 1e5), st.floats(-1e3, 2e5),
    st.lists(st.tuples(st.sampled_from(["load_finished", "purged"]), st.floats(-1e5, 1e5))),
)  # fmt: skip
def test_lines_are_to_scale(
    fresh: float, stale: float, error: float, after: float, things: list[tuple[str, float]]
) -> None:
    """Windows follow one another in proportion, and nothing lies outside of the line."""
    entry = an_entry(1e9, fresh, stale, error)
    life = [
        {"kind": kind, "at": 1e9 + at, "seconds": 1.0, "reason": "", "cause": "", "id": "",
         "url_id": ""}
        for kind, at in things
    ]  # fmt: skip
    drawn = shown.line(entry, life, 1e9 + after)
    spans = [*drawn.windows, *drawn.loads]
    places = [span.at for span in spans] + [span.at + span.width for span in spans]
    places += [mark.at for mark in drawn.marks] + [tick.at for tick in drawn.ticks] + [drawn.now]
    assert all(-1e-6 <= place <= 100 + 1e-6 for place in places)
    assert len(drawn.ticks) <= shown.MOST_TICKS + 1
    scale = (drawn.end - drawn.begin) / 100
    for span, (name, begin, end) in zip(drawn.windows, shown.windows(entry), strict=True):
        assert span.kind == name
        assert span.at == pytest.approx(max(0.0, (begin - drawn.begin) / scale), abs=1e-3)
        assert span.at + span.width == pytest.approx(
            max(0.0, (end - drawn.begin) / scale), abs=1e-3
        )


def happened(kind: str, at: float, **more: Any) -> dict[str, Any]:
    plain = {"seconds": None, "reason": "", "cause": "", "id": "e", "url_id": "u", "view": ""}
    return {"kind": kind, "at": at, **plain, **more}


def test_a_load_under_way_reaches_to_now() -> None:
    """A load that has no end yet is drawn until now."""
    drawn = shown.line(None, [happened("load_started", 100.0)], 110.0)
    (span,) = drawn.loads
    assert span.kind == "loading"
    assert span.at + span.width == pytest.approx(drawn.now)


def test_nothing_is_loaded_with_the_root() -> None:
    """Who does not mount the page does not load it."""
    import subprocess
    import sys

    code = "import aswr, sys; assert not [m for m in sys.modules if m.startswith('aswr.admin')]"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_log_is_quiet(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    """In good weather the page says nothing to the log."""
    caplog.set_level(logging.INFO, "aswr.admin")
    for path in PAGES:
        client.get(f"/aswr/{path}")
    assert [one for one in caplog.records if one.name == "aswr.admin"] == []
