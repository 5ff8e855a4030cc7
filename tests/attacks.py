"""The known attacks on web caches: as data, and as drills; to be mounted on any cache for Flask.

An `Attack` is about two people and one shop. What the first sends must make no difference to what
the second gets: not another answer (poisoned), not the first one's own (leaks), not an error in its
place (denied), and it must not take a stored answer away (slow). What the second should get is what
the app says without any cache and without the first.

A `Drill` measures something else: bytes, renders, what stored bytes can do.

Sources: Kettle, "Practical Web Cache Poisoning" (2018), "Web Cache Entanglement" (2020), "Gotta
cache 'em all" (2024); Gil, "Web Cache Deception" (2017); Nguyen, Lo Iacono, Federrath, "Your Cache
Has Fallen" (CPDoS, 2019); Mirheidari et al., "Cached and Confused" (2020).
"""

import hashlib
import pickle
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import (
    Flask,
    Response,
    abort,
    after_this_request,
    flash,
    g,
    get_flashed_messages,
    jsonify,
    make_response,
    redirect,
    render_template_string,
    request,
    session,
    url_for,
)
from werkzeug.middleware.proxy_fix import ProxyFix

from .attacked import HOST, LIMIT, Ask, Build, Decorator, Got, Send, Subject, opened

EVIL = "evil.example"

# What may differ between two answers that say the same; the fields of caching are each cache's own.
VOLATILE = frozenset(
    """
    age cache-control cache-status cdn-cache-control connection date etag expires server
    transfer-encoding vary
    """.split()
)


@dataclass(frozen=True)
class Attack:
    """What the first person sends, and what the second, who must not notice.

    ``secret`` is a pattern of what is the first one's own. ``shared``: the second's answer is one
    that people share, so it is stored and stays so. ``wire``: bytes that only a server reads.
    ``normalised``: the second writes something in a way that no key keeps, and may be shown the
    usual one. ``relearns``: the first makes the view read something more, and it is stored anew.
    """

    group: str
    name: str
    build: Build
    first: tuple[Ask, ...]
    second: tuple[Ask, ...] = (Ask("/"),)
    harm: str = "poisoned"
    secret: str = ""
    shared: bool = True
    wire: bool = False
    normalised: bool = False
    relearns: bool = False

    def __str__(self) -> str:
        return f"{self.group}: {self.name}"


@dataclass(frozen=True)
class Drill:
    """An attack by number; ``run`` gives its harm, or nothing. Not all of them hurt `Naive`."""

    group: str
    name: str
    run: Callable[[Callable[[], Subject]], str]
    hurts_naive: bool = True

    def __str__(self) -> str:
        return f"{self.group}: {self.name}"


# Mounting.


def mount(attack: Attack, make: Callable[[], Subject], send: Send) -> str:
    """The harm that an attack does; empty if none."""
    with opened(make() if attack.normalised else Subject(), attack.build, send) as shop:
        expected = shop.person().ask_all(attack.second)
    return _cold(attack, make, send, expected) or _warm(attack, make, send, expected)


def _cold(
    attack: Attack, make: Callable[[], Subject], send: Send, expected: list[Got]
) -> str:
    """Nothing is stored when the first comes."""
    with opened(make(), attack.build, send) as shop:
        theirs = shop.person().ask_all(attack.first)
        shop.subject.settle()
        for _ in range(2):
            if harm := judge(attack, theirs, shop.person().ask_all(attack.second), expected):
                return harm
    return ""


def _warm(
    attack: Attack, make: Callable[[], Subject], send: Send, expected: list[Got]
) -> str:
    """The second was there already, and comes again."""
    with opened(make(), attack.build, send) as shop:
        for _ in range(2):
            shop.person().ask_all(attack.second)
        renders = shop.renders
        shop.person().ask_all(attack.second)
        if attack.shared and shop.renders != renders:
            return "never stored"
        theirs = shop.person().ask_all(attack.first)
        shop.subject.settle()
        ours = shop.person().ask_all(attack.second) if attack.relearns else []
        renders = shop.renders
        ours = ours or shop.person().ask_all(attack.second)
        if harm := judge(attack, theirs, ours, expected):
            return harm
        return "slow" if attack.shared and shop.renders != renders else ""


def judge(attack: Attack, theirs: list[Got], ours: list[Got], expected: list[Got]) -> str:
    """What is wrong with the second person's answers."""
    if attack.secret:
        own = {found for got in theirs for found in re.findall(attack.secret, got.text)}
        if any(secret in got.text for secret in own for got in ours):
            return "leaks"
    for got, wanted in zip(ours, expected, strict=True):
        if got.status >= 400 > wanted.status:
            return "denied"
        if essence(got, attack.secret) != essence(wanted, attack.secret):
            return attack.harm
    return ""


def essence(got: Got, secret: str = "") -> tuple[Any, ...]:
    """What an answer says, less what differs from run to run."""
    body = got.body.decode("utf-8", "replace")
    fields = [(name.lower(), value) for name, value in got.headers if name.lower() not in VOLATILE]
    told = sorted(
        (name, value.partition("=")[0] if name == "set-cookie" else value)
        for name, value in fields
    )
    return got.status, told, re.sub(secret, "…", body) if secret else body


# What is attacked.


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


# The table.


def header(name: str, value: str, target: str = "/", **more: Any) -> Ask:
    """A request with one header."""
    return Ask(target, headers=((name, value),), **more)


def logged_in(*targets: str, name: str = "alice", **more: Any) -> tuple[Ask, ...]:
    """Log in, and ask for something."""
    return (Ask(f"/login/{name}"), *(Ask(target, **more) for target in targets))


FORM = ("Content-Type", "application/x-www-form-urlencoded")


def _headers() -> Iterator[Attack]:
    for name, value in (
        ("X-Forwarded-Host", EVIL), ("X-Forwarded-Proto", "evil"), ("X-Forwarded-Prefix", "/evil"),
        ("X-Forwarded-Port", "666"), ("X-Forwarded-Scheme", "evil"), ("X-Host", EVIL),
        ("X-Forwarded-Server", EVIL), ("X-Original-URL", "/evil"), ("X-Rewrite-URL", "/evil"),
        ("X-HTTP-Method-Override", "POST"), ("Forwarded", f"host={EVIL}"), ("Referer", EVIL),
        ("User-Agent", "<script>evil</script>"), ("Origin", f"https://{EVIL}"),
        ("Accept-Language", "evil"), ("Accept", "evil/evil"),
    ):  # fmt: skip
        yield Attack("unkeyed header", name, storefront, (header(name, value),))
    yield Attack(
        "unkeyed header", "two of them", storefront,
        (Ask(headers=(("X-Forwarded-Host", EVIL), ("X-Forwarded-Proto", "evil"))),),
    )  # fmt: skip
    for name, value in (("Origin", f"https://{EVIL}"), ("Origin", "null, null")):
        ask = header(name, value, "/cors")
        yield Attack("unkeyed header", f"CORS, {value}", storefront, (ask,), (Ask("/cors"),))
    yield Attack(
        "unkeyed header", "any, of a page that lists them", storefront,
        (header("X-Anything", "evil", "/all"),), (Ask("/all"),),
    )  # fmt: skip
    proxied = (
        ("X-Forwarded-Host", EVIL), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Prefix", "/evil"),
        ("X-Forwarded-Port", "666"),
    )  # fmt: skip
    for name, value in proxied:
        for target in ("/", "/old"):
            ask = header(name, value, target)
            title = f"{name} by ProxyFix, {target}"
            yield Attack("unkeyed header", title, behind_proxy, (ask,), (Ask(target),))
    for name in ("X-Original-URL", "X-Rewrite-URL"):
        ask = header(name, "/admin")
        yield Attack("unkeyed header", f"{name} by middleware", rewriting, (ask,))
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        ask = header(name, "DELETE")
        yield Attack("unkeyed header", f"{name} by middleware", rewriting, (ask,), harm="denied")
    twice = (("X-Forwarded-Host", HOST), ("X-Forwarded-Host", EVIL))
    for title, headers in (
        ("sent twice", twice),
        ("sent twice, other case", (("x-forwarded-host", HOST), ("X-FORWARDED-HOST", EVIL))),
        ("with an underscore", (("X_Forwarded_Host", EVIL),)),
        ("folded", (("X-Forwarded-Host", f"{HOST}\r\n {EVIL}"),)),
        ("with a line feed", (("X-Forwarded-Host", f"{HOST}\n{EVIL}"),)),
    ):
        yield Attack(
            "unkeyed header", f"X-Forwarded-Host {title}", storefront,
            (Ask("/cloned", headers=headers),), (header("X-Forwarded-Host", HOST, "/cloned"),),
            wire=True, relearns="underscore" in title,
        )  # fmt: skip


def _parameters() -> Iterator[Attack]:
    for first, second in (
        ("q=evil&q=a", "q=a&q=evil"), ("q=a;q=evil", "q=a&q=evil"), ("q=a;q=evil", "q=a"),
        ("q=1%26x=2", "q=1&x=2"), ("q=1%3Dx", "q%3D1=x"), ("q=%2527", "q=%27"), ("q=%ff", "q=%fe"),
        ("q=%ff", "q=%EF%BF%BD"), ("q=%ff", "q=%25ff"), ("q=%C0%AF", "q=/"), ("q=%ED%A0%80", "q="),
        ("q=a%00evil", "q=a"), ("q=a%0d%0aevil", "q=a"), ("q=+", "q=%2B"), ("q=%u0061", "q=a"),
        ("q[]=evil", "q=a"), ("Q=evil", "q=a"), ("q=", "x="), ("q=a#evil", "q=a"), ("q=a%23", "q=a"),
        ("q=evil&", "q=evil&x"), ("?q=evil", "q=evil"), ("q=é", "q=%E9"), ("q=evil", ""),
        ("utm_source=evil", ""), ("q=a&q[]=evil", "q=a"), ("&&q=evil", "q=a"), ("=evil", "q=a"),
        ("q=%28%27a%27%2C%27b%27%29", "b&q=a"), ("q=a%1fevil", "evil=&q=a"), ("q=%E2%84%AA", "q=K"),
    ):  # fmt: skip
        asks = [Ask(f"/search?{query}" if query else "/search") for query in (first, second)]
        odd = not first.isascii() or "#" in first or " " in first
        title = f"{first} for {second or 'none'}"
        yield Attack("parameter", title, search, (asks[0],), (asks[1],), wire=odd)
    for first in ("q=a&utm=x;q=evil", "q=a;q=evil", "utm=x%26q=evil&q=a", "q=a&q=evil", "Q=evil&q=a"):
        yield Attack(
            "parameter", f"cloaked, {first}", search, (Ask(f"/one?{first}"),), (Ask("/one?q=a"),),
        )  # fmt: skip
    fat = (
        ("/search?q=a", b"q=evil", (FORM,)), ("/form", b"q=evil", (FORM,)), ("/data", b"evil", ()),
        ("/json", b'["evil"]', (("Content-Type", "application/json"),)),
        ("/search?q=a", b"q=evil", (FORM, ("X-HTTP-Method-Override", "POST"))),
        ("/form", b'--x\r\nContent-Disposition: form-data; name="q"\r\n\r\nevil\r\n--x--\r\n',
         (("Content-Type", "multipart/form-data; boundary=x"),)),
    )  # fmt: skip
    for target, body, headers in fat:
        title = f"{target}, {headers[-1][1] if headers else 'no type'}"
        ask = Ask(target, headers=headers, body=body)
        yield Attack("fat GET", title, search, (ask,), (Ask(target),))
    chunked = Ask("/form", headers=(FORM, ("Transfer-Encoding", "chunked")), body=b"6\r\nq=evil\r\n0\r\n\r\n")
    yield Attack("fat GET", "chunked", search, (chunked,), (Ask("/form"),), wire=True)
    head = Ask("/search?q=a", method="HEAD", headers=(FORM,), body=b"q=evil")
    yield Attack("fat GET", "HEAD", search, (head,), (Ask("/search?q=a"),))


PATHS = (
    ("/a%2fb", "/a/b"), ("/a%2Fb", "/a/b"), ("/a/./b", "/a/b"), ("/a/../b", "/b"), ("/a%2e%2e/b", "/a../b"),
    ("/a/%2e%2e/b", "/b"), ("/a/..%2fb", "/b"), ("/x%3Fq=evil", "/x?q=evil"), ("/x%23evil", "/x"),
    ("/x%00evil", "/x"), ("/x%0aevil", "/x"), ("/x%0d%0aevil", "/x"), ("/x;evil", "/x"), ("/X", "/x"),
    ("/%78", "/x"), ("/x%20", "/x"), ("/x/", "/x"), ("/x%5cevil", "/x/evil"), ("/%E2%84%AA", "/K"),
    ("/%ff", "/%fe"), ("/%C0%AE", "/."), ("/a%252fb", "/a%2fb"), ("/x%3f", "/x"), ("/x?", "/x"),
    ("/e%CC%81", "/%C3%A9"),
)  # fmt: skip
RAW_PATHS = (
    ("//x", "/x"), ("///x", "/x"), (f"//{EVIL}/x", f"/{EVIL}/x"), ("/a//b", "/a/b"), (f"http://{EVIL}/x", "/x"),
    (f"http://{HOST}@{EVIL}/x", "/x"), (f"https://{HOST}/x", "/x"), ("/x#evil", "/x"), ("/é", "/%C3%A9"),
    ("/\x01", "/"), ("http://[::1]/x", "/x"), (f"http://{EVIL}", "/"), ("/x\\evil", "/x/evil"),
    ("*", "/"), ("x", "/x"),
)  # fmt: skip


def _paths() -> Iterator[Attack]:
    for wire, pairs in ((False, PATHS), (True, RAW_PATHS)):
        for first, second in pairs:
            title = f"{first!r} for {second}"[:60]
            yield Attack(
                "path confusion", title, files, (Ask(first),), (Ask(second),), wire=wire,
                normalised=second in ("/%fe", "/a%2fb"),
            )
    yield Attack(
        "path confusion", "target and Host of two minds", links,
        (Ask(f"http://{EVIL}/url", headers=(("Host", HOST),)),), (Ask("/url"),), wire=True,
    )  # fmt: skip


def _deception() -> Iterator[Attack]:
    for target in (
        "/account", "/account/x.css", "/account/x.css?v=1", "/account;x.css", "/account%3Bx.css",
        "/account%2fx.css", "/account/%2e%2e/x.css", "/account%00.css", "/account%09.css",
        "/account%3fx.css", "/account%23x.css", "/account?x.css", "/styles/..%2faccount",
        "/account/..%2fx.css", "/account/favicon.ico", "/robots.txt/../account", "/account/x.CSS",
        "/account/", "/ACCOUNT/x.js",
    ):  # fmt: skip
        yield Attack(
            "deception", target, accounts, logged_in(target), (Ask(target),), "leaks",
            secret=r"secret-\w+",
        )  # fmt: skip
    for target in ("//account/x.css", "/account//x.css", f"http://{HOST}/account/x.css", "/account#x"):
        yield Attack(
            "deception", target, accounts, logged_in(target), (Ask(target),), "leaks",
            secret=r"secret-\w+", wire=True,
        )  # fmt: skip
    for title, headers in (
        ("odd host", (("Host", "x.css.shop.example"),)), ("host with a port", (("Host", f"{HOST}:81"),)),
    ):  # fmt: skip
        yield Attack(
            "deception", title, accounts, logged_in("/account/x.css", headers=headers),
            (Ask("/account/x.css"),), "leaks", secret=r"secret-\w+",
        )  # fmt: skip


def _denial() -> Iterator[Attack]:
    for title, ask in (
        ("oversized header", header("X-Oversized", "x" * 9000)),
        ("control character", header("X-Metadata", "a\x01b")),
        ("bell", header("X-Metadata", "\x07")),
        ("bytes over 126", header("X-Metadata", "\xff\xfe")),
        ("method override", header("X-HTTP-Method-Override", "POST")),
        ("Expect", header("Expect", "evil")),
        ("Max-Forwards", header("Max-Forwards", "0")),
        ("Upgrade", header("Upgrade", "evil")),
        ("Accept nothing", header("Accept", "application/nothing")),
        ("Authorization", header("Authorization", "evil")),
        ("redirect to itself", header("X-Forwarded-Proto", "http")),
        ("an exception", header("X-Crash", "1")),
        ("503", header("X-Down", "1")),
        ("a method of the view", Ask(method="PUT")),
        ("an unsupported method", Ask(method="DELETE")),
        ("an unknown method", Ask(method="EVIL")),
        ("PURGE", Ask(method="PURGE")),
        ("HEAD", Ask(method="HEAD")),
        ("OPTIONS", Ask(method="OPTIONS")),
        ("many headers", Ask(headers=tuple((f"X-{n}", "evil") for n in range(99)))),
    ):
        yield Attack("cached error", title, cases, (ask,), harm="denied")
    for title, ask in (
        ("header with a line feed", header("X-Trace", "a\nSet-Cookie: evil=1")),
        ("header with NUL", header("X-Metadata", "a\0b")),
        ("very long header", header("X-Oversized", "x" * 40_000)),
        ("HTTP/1.0", Ask(version="HTTP/1.0", method="HEAD")),
    ):
        yield Attack("cached error", f"{title}, on the wire", cases, (ask,), harm="denied", wire=True)
    for title, name, value in (
        ("Range", "Range", "bytes=0-9"), ("Range from the end", "Range", "bytes=-5"),
        ("unsatisfiable Range", "Range", "bytes=5000-"), ("malformed Range", "Range", "bytes=9-0"),
        ("many ranges", "Range", "bytes=0-1," + ",".join(f"{n}-{n + 1}" for n in range(2, 90, 3))),
        ("another unit", "Range", "lines=1-2"), ("If-None-Match", "If-None-Match", '"v1"'),
        ("If-None-Match *", "If-None-Match", "*"), ("If-Match", "If-Match", '"other"'),
        ("If-Modified-Since", "If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"),
    ):  # fmt: skip
        ask = header(name, value, "/big")
        yield Attack("Range and conditions", title, cases, (ask,), (Ask("/big"),), harm="denied")
    both = Ask("/big", headers=(("Range", "bytes=0-0"), ("If-Range", '"v1"')))
    yield Attack("Range and conditions", "If-Range", cases, (both,), (Ask("/big"),))
    bare = Ask("/big", method="HEAD", headers=(("Range", "bytes=0-9"),))
    yield Attack("Range and conditions", "HEAD with Range", cases, (bare,), (Ask("/big"),))


HOSTS = (
    EVIL, f"{HOST}:1337", f"{HOST}.{EVIL}", f"{HOST}.", "SHOP.EXAMPLE:81", f"evil@{HOST}", "[::1]",
    "127.0.0.1", "evil_host", "", f"{HOST}:evil", f"{HOST}:", f"{HOST},{EVIL}", f"{HOST}/evil",
    f"{HOST}?evil", f"{HOST}#evil", "xn--evil-", "évil.example", f"{HOST} {EVIL}", "'><script>",
)  # fmt: skip


def _hosts() -> Iterator[Attack]:
    for host in HOSTS:
        for target in ("/", "/go") if host != EVIL else ("/", "/url", "/go", "/reset", "/slash"):
            yield Attack(
                "Host and port", f"{host!r} at {target}", links, (header("Host", host, target),),
                (Ask(target),), shared=target != "/slash",
            )  # fmt: skip
    for host in (EVIL, f"{HOST}:1337", "", f"{HOST}/evil"):
        yield Attack(
            "Host and port", f"{host!r}, hosts are checked", trusting, (header("Host", host),),
            harm="denied",
        )  # fmt: skip
    for title, ask in (
        ("sent twice", Ask(headers=(("Host", HOST), ("Host", EVIL)))),
        ("sent twice, the other way", Ask(headers=(("Host", EVIL), ("Host", HOST)))),
        ("none", Ask(version="HTTP/1.0")),
        ("in the target", Ask(f"http://{EVIL}/")),
        ("in the target, with a port", Ask(f"http://{HOST}:1337/")),
        ("with a tab", header("Host", f"{HOST}\t{EVIL}")),
        ("folded", header("Host", f"{HOST}\r\n {EVIL}")),
        ("with a space before the colon", Ask(headers=(("Host ", EVIL), ("Host", HOST)))),
        ("with a line feed", header("Host", f"{HOST}\nX-Forwarded-Host: {EVIL}")),
    ):
        yield Attack("Host and port", f"{title}, on the wire", links, (ask,), wire=True)


def _leaks() -> Iterator[Attack]:
    secret = r"secret-[\w-]+"
    alone = frozenset({"/form", "/cookie", "/late-cookie", "/flashed"})
    for target in ("/", "/flashed", "/form", "/cookie", "/late-cookie", "/tagged", "/gone"):
        yield Attack(
            "cookies and sessions", f"logged in, {target}", accounts, logged_in(target),
            (Ask(target),), "leaks", secret, shared=target not in alone | {"/gone"},
        )  # fmt: skip
    for target in ("/form", "/cookie", "/late-cookie"):
        yield Attack(
            "cookies and sessions", f"anonymous, {target}", accounts, (Ask(target),) * 3,
            (Ask(target),), "leaks", secret, shared=False,
        )  # fmt: skip
    other = logged_in("/", name="bob")
    yield Attack(
        "cookies and sessions", "two who are logged in", accounts, logged_in("/"), other, "leaks",
        secret, shared=False,
    )  # fmt: skip
    yield Attack(
        "cookies and sessions", "logged in, for one whose session is garbage", accounts,
        logged_in("/"), (header("Cookie", "session=evil"),), "leaks", secret, shared=False,
    )  # fmt: skip
    for title, ask, second in (
        ("a preference", header("Cookie", "theme=evil", "/theme"), Ask("/theme")),
        ("escaped", header("Cookie", 'theme="ev\\151l"', "/theme"), Ask("/theme")),
        ("sent twice", header("Cookie", "theme=evil; theme=plain", "/theme"), Ask("/theme")),
        ("listed", header("Cookie", "theme=evil", "/cookies"), Ask("/cookies")),
    ):
        yield Attack("cookies and sessions", f"cookie, {title}", accounts, (ask,), (second,))
    for title, headers, target in (
        ("Basic", (("Authorization", "Basic c2VjcmV0LWFsaWNlOng="),), "/basic"),
        ("X-Api-Key", (("X-Api-Key", "secret-key"),), "/key"),
        ("X-User-Id", (("X-User-Id", "secret-7"),), "/key"),
        ("a token of the load balancer's", (("X-Amzn-Oidc-Jwt-Data", "secret-jwt"),), "/key"),
        ("X-Forwarded-For", (("X-Forwarded-For", "198.51.100.7"),), "/address"),
        ("the address", (("X-Forwarded-For", "198.51.100.7"),), "/route"),
    ):
        ask = Ask(target, headers=headers)
        yield Attack(
            "credentials", title, accounts, (ask,), (Ask(target),), "leaks",
            secret + r"|198\.51\.100\.7", shared=target != "/route",
        )  # fmt: skip
    for name in ("SSL_CLIENT_S_DN", "REMOTE_USER"):
        ask = Ask("/certificate", server=((name, "secret-alice"),))
        yield Attack(
            "credentials", f"{name} of the server's", accounts, (ask,), (Ask("/certificate"),),
            "leaks", secret,
        )  # fmt: skip
    for target in ("/", "/attribute", "/template"):
        ask = header("Cookie", "who=alice", target)
        yield Attack(
            "cookies and sessions", f"by a hook, {target}", hooked, (ask,), (Ask(target),), "leaks",
            secret, shared=target != "/attribute",
        )  # fmt: skip
    yield Attack(
        "cookies and sessions", "cookie by after_request", hooked, (Ask("/tracked"),) * 2,
        (Ask("/tracked"),), "leaks", secret, shared=False,
    )  # fmt: skip


def _collisions() -> Iterator[Attack]:
    def two(first: str | None, second: str | None) -> Ask:
        pairs = (("X-A", first), ("X-B", second))
        return Ask("/two", headers=tuple((name, v) for name, v in pairs if v is not None))

    for first, second in (
        (two("1, X-B=2", None), two("1", "2")), (two("1,2", None), two("1", "2")),
        (two("1\x1f2", ""), two("1", "2")), (two("None", None), two(None, None)),
        (two("", None), two(None, "")), (two("1", "2"), two("2", "1")), (two("", ""), two(None, None)),
        (two("('a',)", None), two("a", None)), (two("1'", "'2"), two("1", "'2")),
    ):  # fmt: skip
        title = f"headers {first.headers} for {second.headers}"
        yield Attack("key collision", title, separators, (first,), (second,))
    for first, second in (
        ("/a%26b/c", "/a/b%26c"), ("/a%7Cb/c", "/a/b%7Cc"), ("/a%3Ab/c", "/a/b%3Ac"),
        ("/a/b%3Fx=1", "/a/b?x=1"), ("/a/b?x=1%26y=2", "/a/b?x=1&y=2"), ("/a/b%00", "/a/b"),
        ("/a/b%27%2C%27", "/a/b"), ("/a%20/b", "/a/%20b"),
    ):  # fmt: skip
        yield Attack("key collision", f"{first} for {second}", separators, (Ask(first),), (Ask(second),))
    pairs = (
        (header("Accept-Language", "de", "/languages"), Ask("/languages")),
        (header("Accept-Language", "DE;q=0", "/languages"), header("Accept-Language", "de", "/languages")),
    )  # fmt: skip
    for one, other in pairs:
        yield Attack("key collision", f"languages {one.headers}", separators, (one,), (other,))
    for name in ("X-Evil\r\nSet-Cookie: evil=1", 'X"; hit', "X, *", "*", "", "\x00", "é", "x" * 900):
        from urllib.parse import quote

        ask = Ask(f"/?name={quote(name)}", headers=(("X-Evil", "1"), ("Cookie", "evil=1")))
        yield Attack("key collision", f"a name of the visitor's, {name[:20]!r}", chosen, (ask,))


ATTACKS: tuple[Attack, ...] = tuple(
    attack
    for table in (
        _headers, _parameters, _paths, _deception, _denial, _hosts, _leaks, _collisions,
    )
    for attack in table()
)  # fmt: skip


# What is measured.

PAGE = 8 * 1024  # bytes of a page
WALK = 400  # requests that walk through all there is: three times the room


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


def marked(app: Flask, cached: Decorator) -> None:
    """A page with room for a line feed in its fields."""

    @app.route("/")
    @cached()
    def front() -> Any:
        response = make_response("BODYBODYBODYBODYBODY")
        response.headers["X-Mark"] = MARK.decode()
        return response


MARK = b"MARKMARKMARKMARKMARKMARK"
SPLIT = b"M\r\nSet-Cookie: evil=1; A="


def many_urls(make: Callable[[], Subject]) -> str:
    """URLs without end; those that are asked for all the time must stay, and memory be bounded."""
    return _walk(make, lambda n: Ask(f"/{n}"))


def many_queries(make: Callable[[], Subject]) -> str:
    """As `many_urls`, by parameters."""
    return _walk(make, lambda n: Ask(f"/?q={n}"))


def many_agents(make: Callable[[], Subject]) -> str:
    """Values of a header without end, for one URL that has known ones."""
    return _walk(make, lambda n: header("User-Agent", f"evil/{n}"))


def many_pairs(make: Callable[[], Subject]) -> str:
    """Values of two headers without end, each sent twice."""
    return _walk(
        make,
        lambda n: Ask(headers=(("User-Agent", f"evil/{n // 2}"), ("Accept-Language", f"x-{n // 2}"))),
    )  # fmt: skip


def _walk(make: Callable[[], Subject], ask: Callable[[int], Ask]) -> str:
    """Ask for all of these, and now and then for what many people ask for."""
    known = [Ask("/"), header("Accept-Language", "de"), header("User-Agent", "known")]
    with opened(Subject(), catalogue) as shop:
        expected = [essence(got) for got in shop.person().ask_all(known)]
    with opened(make(), catalogue) as shop:
        person = shop.person()
        for _ in range(3):
            answers = [essence(got) for got in person.ask_all(known)]
        lost = 0
        for n in range(WALK):
            person.ask(ask(n))
            if n % 20 == 0:
                shop.subject.settle()
                renders = shop.renders
                answers = [essence(got) for got in person.ask_all(known)]
                lost += shop.renders - renders
        if answers != expected:
            return "poisoned"
        if shop.subject.bytes() > LIMIT:
            return "unbounded"
        return "slow" if lost else ""


def _stays_shared(
    make: Callable[[], Subject], odd: Iterable[Ask], plain: tuple[Ask, ...] = (Ask("/"), Ask("/a"))
) -> str:
    """After what is odd, what is plain must be shared as before, and be stored if it was not."""
    for warm in (True, False):
        with opened(make(), moody) as shop:
            for _ in range(3 * warm):
                shop.person().ask_all(plain)
            shop.person().ask_all(odd)
            shop.subject.settle()
            for _ in range(2):
                shop.person().ask_all(plain)
            renders = shop.renders
            shop.person().ask_all(plain)
            if shop.renders != renders:
                return "slow"
    return ""


def odd_urls(make: Callable[[], Subject]) -> str:
    """URLs that only odd visitors ask for look at the visitor's address; the others do not."""
    return _stays_shared(make, [Ask(f"/missing{n}") for n in range(5)])


def odd_forms(make: Callable[[], Subject]) -> str:
    """Some URLs of a view write a session; the others do not."""
    return _stays_shared(make, [Ask(f"/form{n}") for n in range(5)])


def odd_header(make: Callable[[], Subject]) -> str:
    """With a header that nobody sends, the page looks at the visitor's address."""
    return _stays_shared(make, [header("X-Debug", "1")] * 3)


def odd_names(make: Callable[[], Subject]) -> str:
    """A visitor says which header is read: he can make the URL depend on any number of them."""
    odd = [header("X-Name", f"X-Name-{n}", "/named") for n in range(200)]
    return _stays_shared(make, odd, (Ask("/named"),))


def odd_cookies(make: Callable[[], Subject]) -> str:
    """As `odd_names`, with cookies."""
    odd = [header("X-Name", f"name-{n}", "/query") for n in range(200)]
    return _stays_shared(make, odd, (Ask("/query"),))


def many_ranges(make: Callable[[], Subject]) -> str:
    """A thousand overlapping ranges, and a thousand requests of one: no more bytes, no renders."""
    with opened(make(), catalogue) as shop:
        person = shop.person()
        whole = person.ask_all([Ask("/")] * 2)[0]
        renders, held = shop.renders, shop.subject.bytes()
        ranges = ",".join("0-" for _ in range(1000))
        got = person.ask(header("Range", f"bytes={ranges}"))
        if len(got.body) > 2 * len(whole.body):
            return "amplified"
        for n in range(200):
            person.ask(header("Range", f"bytes={n}-{n}"))
        if shop.subject.bytes() > held + PAGE:
            return "unbounded"
        return "slow" if shop.renders != renders else ""


def header_in_store(make: Callable[[], Subject]) -> str:
    """Who can write to the store writes a line feed into a field."""
    subject = make()
    with opened(subject, marked) as shop:
        shop.person().ask(Ask("/"))
        shop.subject.settle()
        subject.corrupt(lambda data: data.replace(MARK, SPLIT))
        heir = subject.heir()
    with opened(heir, marked) as shop:
        got = shop.person().ask(Ask("/"))
    if any("\r" in value or "\n" in value for _, value in got.headers) or got.lines("Set-Cookie"):
        return "splits"
    return "denied" if got.status >= 400 else ""


class Bomb:
    """What runs code where it is unpickled."""

    went_off = False

    def __reduce__(self) -> Any:
        return detonate, ()


def detonate() -> str:
    """What the bomb runs."""
    Bomb.went_off = True
    return "boom"


def code_in_store(make: Callable[[], Subject]) -> str:
    """Who can write to the store puts a pickle there."""
    Bomb.went_off = False
    subject = make()
    with opened(subject, marked) as shop:
        shop.person().ask(Ask("/"))
        shop.subject.settle()
        subject.corrupt(lambda data: pickle.dumps(Bomb()))
        heir = subject.heir()
    with opened(heir, marked) as shop:
        try:
            got = shop.person().ask(Ask("/"))
        except Exception:
            got = Got(500, (), b"")
    if Bomb.went_off:
        return "runs code"
    return "denied" if got.status >= 400 else ""


def garbage_in_store(make: Callable[[], Subject]) -> str:
    """Who can write to the store cuts what is there."""
    subject = make()
    with opened(subject, marked) as shop:
        shop.person().ask(Ask("/"))
        shop.subject.settle()
        subject.corrupt(lambda data: data[: len(data) // 2])
        heir = subject.heir()
    with opened(heir, marked) as shop:
        try:
            got = shop.person().ask(Ask("/"))
        except Exception:
            return "denied"
    return "denied" if got.status >= 400 else ""


DRILLS = (
    Drill("memory exhaustion", "URLs", many_urls),
    Drill("memory exhaustion", "parameters", many_queries),
    Drill("memory exhaustion", "values of a header", many_agents),
    Drill("memory exhaustion", "values of two headers, each twice", many_pairs),
    Drill("cache switched off", "some URLs look at the address", odd_urls, False),
    Drill("cache switched off", "some URLs write a session", odd_forms, False),
    Drill("cache switched off", "a header makes the page look at the address", odd_header, False),
    Drill("cache switched off", "names of headers", odd_names, False),
    Drill("cache switched off", "names of cookies", odd_cookies, False),
    Drill("Range and conditions", "a thousand ranges", many_ranges, False),
    Drill("stored bytes", "a field with a line feed", header_in_store),
    Drill("stored bytes", "a pickle", code_in_store),
    Drill("stored bytes", "half an answer", garbage_in_store),
)
