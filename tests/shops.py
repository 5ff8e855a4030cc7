"""The shops that are attacked: small apps that trust what they are sent, as apps do."""

import copy
import hashlib
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask import (
    Flask,
    Response,
    abort,
    after_this_request,
    copy_current_request_context,
    flash,
    g,
    get_flashed_messages,
    jsonify,
    make_response,
    redirect,
    render_template_string,
    request,
    session,
    stream_with_context,
    url_for,
)
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Request as PlainRequest
from werkzeug.wsgi import get_current_url, get_host

from .attacked import EVIL, HOST, Decorator

PAGE = 8 * 1024  # bytes of a page
MARK = b"MARKMARKMARKMARKMARKMARK"  # the room


def storefront(app: Flask, cached: Decorator) -> None:
    """A page that believes what proxies say, and what browsers say of themselves."""

    @app.route("/", methods=["GET", "POST"])
    @cached()
    def front() -> Any:
        read = request.headers.get
        host = read("X-Forwarded-Host") or read("X-Host") or read("X-Forwarded-Server")
        scheme = read("X-Forwarded-Proto") or read("X-Forwarded-Scheme") or request.scheme
        path = read("X-Original-Url") or read("X-Rewrite-Url") or request.path
        return render_template_string(
            "<script src='{{ scheme }}://{{ host }}{{ prefix }}/a.js'></script>"
            "{{ path }} {{ method }} {{ origin }} {{ agent }} {{ rest }}",
            host=host or request.host, scheme=scheme, path=path,
            prefix=f":{read('X-Forwarded-Port', '')}{read('X-Forwarded-Prefix', '')}",
            method=read("X-HTTP-Method-Override", request.method), origin=read("Origin"),
            agent=read("User-Agent"),
            rest=[read("Referer"), read("Accept-Language"), read("Forwarded"), read("Accept")],
        )  # fmt: skip

    @app.route("/cors")
    @cached()
    def cors() -> Any:
        response = make_response("data")
        response.headers["Access-Control-Allow-Origin"] = request.headers.get("Origin", "null")
        return response

    @app.route("/cloned")
    @cached()
    def cloned() -> str:
        return " ".join(request.headers.getlist("X-Forwarded-Host")) or request.host

    @app.route("/all")
    @cached()
    def everything() -> str:
        return repr(sorted((k, v) for k, v in request.headers.items() if k != "Connection"))


def behind_proxy(app: Flask, cached: Decorator) -> None:
    """The same trust, put into middleware."""

    @app.route("/")
    @cached()
    def front() -> str:
        return f"{url_for('front', _external=True)} {request.url} {request.root_path}"

    @app.route("/old")
    @cached()
    def old() -> Any:
        return redirect(url_for("front", _external=True), 301)

    app.wsgi_app = ProxyFix(app.wsgi_app, 1, 1, 1, 1, 1)  # type: ignore[method-assign]


def rewriting(app: Flask, cached: Decorator) -> None:
    """Middleware that takes path and method from headers, as some frameworks do."""

    @app.route("/")
    @cached()
    def front() -> str:
        return "front"

    @app.route("/admin")
    @cached()
    def admin() -> str:
        return EVIL

    inner = app.wsgi_app

    def rewritten(environ: dict[str, Any], start_response: Any) -> Any:
        for key in ("HTTP_X_ORIGINAL_URL", "HTTP_X_REWRITE_URL"):
            environ["PATH_INFO"] = environ.get(key, environ["PATH_INFO"])
        for key in ("HTTP_X_HTTP_METHOD_OVERRIDE", "HTTP_X_HTTP_METHOD", "HTTP_X_METHOD_OVERRIDE"):
            environ["REQUEST_METHOD"] = environ.get(key, environ["REQUEST_METHOD"])
        return inner(environ, start_response)

    app.wsgi_app = rewritten  # type: ignore[method-assign]


def search(app: Flask, cached: Decorator) -> None:
    """A page that shows its parameters, and one that takes one of them."""

    @app.route("/search", methods=["GET", "POST"])
    @cached()
    def all_of_them() -> str:
        pairs = list(request.args.items(multi=True))
        return f"{pairs} {request.args.get('q')} {request.form.get('q')}"

    @app.route("/one")
    @cached(query=["q"])
    def one_of_them() -> str:
        return f"{request.args.getlist('q')} {request.query_string!r} {request.full_path}"

    @app.route("/form")
    @cached()
    def form() -> str:
        return f"{request.form.get('q')} {request.values.get('q')}"

    @app.route("/json")
    @cached()
    def document() -> Any:
        return jsonify(request.get_json(silent=True))

    @app.route("/data")
    @cached()
    def data() -> Any:
        return request.get_data() or b"none"


def files(app: Flask, cached: Decorator) -> None:
    """Any path is a page, which shows how it was asked for."""

    @app.route("/", defaults={"name": ""})
    @app.route("/<path:name>")
    @cached()
    def page(name: str) -> str:
        environ = request.environ
        raw = [environ.get("RAW_URI"), environ.get("REQUEST_URI"), environ.get("PATH_INFO")]
        args = list(request.args.items())
        return f"{name!r} {request.path} {request.url} {request.full_path} {raw} {args}"


def cases(app: Flask, cached: Decorator) -> None:
    """Pages that fall over what they are sent."""

    @app.route("/", methods=["GET", "PUT"])
    @cached()
    def front() -> Any:
        read = request.headers.get
        if any(len(value) > 8000 for _, value in request.headers) or len(request.headers) > 80:
            abort(431)
        if any(ord(char) < 32 or ord(char) > 126 for char in read("X-Metadata", "")):
            abort(400)
        if request.method == "PUT" or read("X-HTTP-Method-Override", "GET") != "GET":
            abort(405)
        if read("Expect") or read("Max-Forwards") or read("Upgrade"):
            abort(417)
        if read("Accept", "*/*") == "application/nothing":
            abort(406)
        if read("Authorization"):
            abort(401)
        if read("X-Forwarded-Proto", "https") == "http":
            return redirect(f"https://{HOST}/")
        if read("X-Crash"):
            raise RuntimeError(EVIL)
        if read("X-Down"):
            abort(503)
        response = make_response("front")
        response.headers["X-Echo"] = read("X-Trace", "")
        return response

    @app.route("/big")
    @cached()
    def big() -> Any:
        response = make_response("0123456789" * 100)
        response.set_etag("v1")
        response.last_modified = datetime(2020, 1, 1, tzinfo=UTC)
        response.headers["Accept-Ranges"] = "bytes"
        return response.make_conditional(request, accept_ranges=True, complete_length=1000)


def links(app: Flask, cached: Decorator) -> None:
    """Pages with absolute links, from the host that was asked for."""

    @app.route("/")
    @cached()
    def front() -> str:
        return f"<a href='{url_for('front', _external=True)}'>"

    @app.route("/url")
    @cached()
    def url() -> str:
        return f"{request.url} {request.host_url} {request.url_root} {request.base_url}"

    @app.route("/go")
    @cached()
    def go() -> Any:
        return redirect(f"{request.scheme}://{request.host}/login", 308)

    @app.route("/reset")
    @cached()
    def reset() -> Any:
        return jsonify(link=url_for("front", token="t", _external=True), host=request.host)

    @app.route("/slash/")
    @cached()
    def slash() -> str:
        return request.host


def trusting(app: Flask, cached: Decorator) -> None:
    """A shop that knows its own name."""
    app.config["TRUSTED_HOSTS"] = [HOST]
    links(app, cached)


def accounts(app: Flask, cached: Decorator) -> None:
    """Pages with a corner for whoever is logged in."""
    app.secret_key = "secret"
    tokens = iter(range(1000, 10000))

    @app.route("/login/<name>", methods=["GET", "POST"])
    def login(name: str) -> str:
        session["user"] = name
        flash(f"secret-{name}-welcome")
        return "ok"

    @cached()
    def account(rest: str = "") -> str:
        user = session.get("user")
        return f"account of secret-{user}" if user else "nobody"

    for number, rule in enumerate(("/", "/account", "/<path:rest>")):
        app.add_url_rule(rule, f"account{number}", account)

    @app.route("/flashed")
    @cached()
    def flashed() -> str:
        return repr(get_flashed_messages())

    @app.route("/form")
    @cached()
    def form() -> str:
        token = session.setdefault("token", f"secret-token-{next(tokens)}")
        return f"<input name=csrf value={token}>"

    @app.route("/cookie")
    @cached()
    def cookie() -> Any:
        response = make_response("seen")
        response.set_cookie("visitor", f"secret-visitor-{next(tokens)}")
        return response

    @app.route("/late-cookie")
    @cached()
    def late_cookie() -> Any:
        @after_this_request
        def add(response: Response) -> Response:
            response.set_cookie("visitor", f"secret-visitor-{next(tokens)}")
            return response

        return "seen"

    @app.route("/theme")
    @cached()
    def theme() -> str:
        return f"theme {request.cookies.get('theme', 'plain')}"

    @app.route("/cookies")
    @cached()
    def cookies() -> str:
        return repr(sorted(request.cookies.items()))

    @app.route("/basic")
    @cached()
    def basic() -> str:
        who = request.authorization
        return f"secret-{who.username}" if who is not None else "nobody"

    @app.route("/key")
    @cached()
    def key() -> str:
        read = request.headers.get
        return "|".join(
            read(name, "-") for name in ("X-Api-Key", "X-User-Id", "X-Amzn-Oidc-Jwt-Data")
        )

    @app.route("/certificate")
    @cached()
    def certificate() -> str:
        environ = request.environ
        return f"{environ.get('SSL_CLIENT_S_DN')} {environ.get('REMOTE_USER')}"

    @app.route("/address")
    @cached()
    def address() -> str:
        return str(request.headers.get("X-Forwarded-For"))

    @app.route("/route")
    @cached()
    def route() -> str:
        return str(request.access_route[0])

    @app.route("/tagged")
    @cached()
    def tagged() -> Any:
        user = session.get("user")
        response = make_response(f"secret-{user}" if user else "nobody")
        response.add_etag()
        return response.make_conditional(request)

    @app.route("/gone")
    @cached()
    def gone() -> Any:
        if "user" in session:
            return redirect(f"/home/secret-{session['user']}")
        return abort(404)

    @app.route("/varies")
    @cached()
    def varies() -> Any:
        response = make_response(app.ensure_sync(lambda: "same for all")())
        response.vary.add("Cookie")
        return response


def hooked(app: Flask, cached: Decorator) -> None:
    """The same, where hooks look who it is."""
    tokens = iter(range(1000, 10000))

    class User:
        def __init__(self, name: str) -> None:
            self.name = name

    @app.before_request
    def load_user() -> None:
        name = request.cookies.get("who")
        g.user = User(name) if name else None
        request.who = name  # type: ignore[attr-defined]

    @app.after_request
    def visitor(response: Response) -> Response:
        if request.path == "/tracked" and "visitor" not in request.cookies:
            response.set_cookie("visitor", f"secret-visitor-{next(tokens)}")
        return response

    @app.route("/")
    @cached()
    def front() -> str:
        return f"secret-{g.user.name}" if g.user is not None else "nobody"

    @app.route("/attribute")
    @cached()
    def attribute() -> str:
        who = getattr(request, "who", None)
        return f"secret-{who}" if who else "nobody"

    @app.route("/template")
    @cached()
    def template() -> str:
        return render_template_string(
            "{% if g.user %}secret-{{ g.user.name }}{% else %}nobody{% endif %}"
        )

    @app.route("/tracked")
    @cached()
    def tracked() -> str:
        return "tracked"


def _session_as_sent() -> Any:
    """The session, opened once more."""
    from flask import current_app

    return current_app.session_interface.open_session(current_app, request)


def _members(mapping: Any) -> list[Any]:
    return sorted((str(key), str(mapping[key])) for key in mapping)


# Ways to get at a request, and whether people who send nothing share the answer.
READERS: dict[str, tuple[Callable[[], Any], bool]] = {
    "header": (lambda: request.headers.get("X-Sent"), True),
    "header-item": (lambda: "X-Sent" in request.headers and request.headers["X-Sent"], True),
    "header-list": (lambda: request.headers.getlist("X-Sent"), True),
    "headers": (lambda: list(request.headers), True),
    "headers-dict": (lambda: dict(request.headers), True),
    "headers-text": (lambda: str(request.headers), True),
    "headers-repr": (lambda: repr(request.headers), True),
    "headers-wsgi": (lambda: request.headers.to_wsgi_list(), True),
    "headers-environ": (lambda: request.headers.environ.get("HTTP_X_SENT"), True),
    "environ-get": (lambda: request.environ.get("HTTP_X_SENT"), True),
    "environ-cookie": (lambda: request.environ.get("HTTP_COOKIE"), True),
    "environ-user": (lambda: request.environ.get("REMOTE_USER"), True),
    "environ-input": (lambda: request.environ["wsgi.input"].read(13), True),
    "environ-copy": (lambda: request.environ.copy(), False),
    "environ-dict": (lambda: dict(request.environ), False),
    "environ-keywords": (lambda: dict(**request.environ), False),
    "environ-merged": (lambda: {} | request.environ, False),
    "environ-unpacked": (lambda: {**request.environ}, False),
    "environ-members": (lambda: _members(request.environ), False),
    "environ-json": (lambda: json.dumps(request.environ, default=str), False),
    "environ-copied": (lambda: copy.copy(request.environ), False),
    "cookie": (lambda: request.cookies.get("who"), True),
    "cookies": (lambda: dict(request.cookies), True),
    "cookies-multi": (lambda: request.cookies.to_dict(flat=False), True),
    "cookies-json": (lambda: json.dumps(request.cookies), True),
    "cookies-unpacked": (lambda: {**request.cookies}, True),
    "cookies-sorted": (lambda: sorted(request.cookies.items(multi=True)), True),
    "cookies-copied": (lambda: copy.deepcopy(request.cookies), True),
    "session": (lambda: dict(session), True),
    "session-opened": (_session_as_sent, True),
    "authorization": (lambda: request.authorization, True),
    "agent": (lambda: request.user_agent.string, True),
    "languages": (lambda: request.accept_languages.best, True),
    "languages-text": (lambda: request.accept_languages.to_header(), True),
    "languages-list": (lambda: list(request.accept_languages), True),
    "languages-values": (lambda: list(request.accept_languages.values()), True),
    "host": (lambda: request.host, True),
    "url": (lambda: request.url, True),
    "root": (lambda: request.url_root, True),
    "host-header": (lambda: request.headers["Host"], True),
    "environ-host": (lambda: request.environ["HTTP_HOST"], True),
    "host-of-environ": (lambda: get_host(request.environ), True),
    "url-of-environ": (lambda: get_current_url(request.environ), True),
    "url-of-route": (lambda: url_for("named", name="x", _external=True), True),
    "form": (lambda: request.form.get("who"), True),
    "data": (lambda: request.get_data(), True),
    "stream": (lambda: request.stream.read(), True),
    "route": (lambda: request.access_route, False),
    "address": (lambda: request.remote_addr, False),
    "attributes": (lambda: [str(value) for value in list(vars(request).values())], False),
    "repr": (lambda: repr(request), True),
    "another": (lambda: PlainRequest(request.environ).cookies.get("who"), False),
    "conditions": (lambda: request.if_none_match.to_header(), True),
    "trace": (lambda: request.headers.get("Traceparent"), True),
}


def reading(app: Flask, cached: Decorator) -> None:
    """Every way to get at a request."""

    @app.route("/login/<name>")
    def login(name: str) -> str:
        session["who"] = f"evil-{name}"
        return "ok"

    @app.route("/<name>")
    @cached()
    def named(name: str) -> str:
        return repr(READERS[name][0]())


def late(app: Flask, cached: Decorator) -> None:
    """Pages that look who asks when the view has returned, or elsewhere."""

    def who() -> str:
        name = request.cookies.get("who")
        return f"secret-{name}" if name else request.headers.get("X-Sent", "nobody")

    @app.route("/streamed")
    @cached()
    def streamed() -> Any:
        def parts() -> Any:
            yield "hello "
            yield who()

        return Response(stream_with_context(parts()))

    @app.route("/threaded")
    @cached()
    def threaded() -> str:
        found: list[str] = []
        thread = threading.Thread(target=copy_current_request_context(lambda: found.append(who())))
        thread.start()
        thread.join()
        return found[0]

    @app.route("/lazy")
    @cached()
    def lazy() -> Any:
        @after_this_request
        def sign(response: Response) -> Response:
            response.set_data(who())
            return response

        return "hello"

    @app.route("/handled")
    @cached()
    def handled() -> Any:
        abort(410)

    @app.errorhandler(410)
    def gone(error: Exception) -> tuple[str, int]:
        return who(), 410


def separators(app: Flask, cached: Decorator) -> None:
    """Pages that depend on several things, which a key must not run together."""

    @app.route("/two")
    @cached()
    def two() -> str:
        return f"{request.headers.get('X-A')!r} {request.headers.get('X-B')!r}"

    @app.route("/<first>/<second>")
    @cached()
    def parts(first: str, second: str) -> str:
        return f"{first!r} {second!r} {list(request.args.items(multi=True))}"

    @app.route("/languages")
    @cached()
    def languages() -> str:
        found = request.accept_languages.best_match(["en", "de"], "en")
        return f"{found} {request.headers.get('X-A')}"


def chosen(app: Flask, cached: Decorator) -> None:
    """A page whose visitors say what it shall read."""

    @app.route("/")
    @cached()
    def front() -> str:
        name = request.args.get("name", "X-Plain")
        return f"{name!r} {name in request.cookies} {name in request.headers}"


def catalogue(app: Flask, cached: Decorator) -> None:
    """Pages without end, each of some size; the front page has one variant per language."""

    @app.route("/", defaults={"name": ""})
    @app.route("/<path:name>")
    @cached()
    def page(name: str) -> Any:
        read = request.headers.get
        text = f"{name} {request.args.get('q')} {read('User-Agent')} {read('Accept-Language')}"
        seed = hashlib.sha256(text.encode()).hexdigest()
        return f"{text}\n{seed * (PAGE // len(seed))}"


def moody(app: Flask, cached: Decorator) -> None:
    """Pages that look at who asks, when something is odd."""

    @app.route("/", defaults={"name": ""})
    @app.route("/<name>")
    @cached()
    def page(name: str) -> Any:
        if request.headers.get("X-Debug"):
            return f"you are {request.remote_addr}"
        if name.startswith("missing"):
            app.logger.info("no %s for %s", name, request.remote_addr)
            abort(404)
        if name.startswith("form"):
            session["token"] = "token"
        return f"page {name}"

    @app.route("/named")
    @cached()
    def named() -> str:
        return str(request.headers.get(request.headers.get("X-Name", "X-Plain")))

    @app.route("/query")
    @cached()
    def query() -> str:
        return str(request.cookies.get(request.headers.get("X-Name", "plain")))


def choosy(app: Flask, cached: Decorator) -> None:
    """A page that reads one header, and for some people another one."""

    @app.route("/")
    @cached()
    def page() -> str:
        language = request.headers.get("Accept-Language")
        more = request.headers.get("X-More") if language == "evil" else ""
        return f"{language} {more}"


def marked(app: Flask, cached: Decorator) -> None:
    """A page with room for a line feed in its fields."""

    @app.route("/")
    @cached()
    def front() -> Any:
        response = make_response("BODYBODYBODYBODYBODY")
        response.headers["X-Mark"] = MARK.decode()
        return response
