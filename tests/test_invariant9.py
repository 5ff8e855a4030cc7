"""Invariant 9: nobody gets an answer whose render read an input on which his request differs.

A generated view reads inputs in an order that depends on what it has read, and answers with exactly
that. Whatever is asked, together or in turn, each answer must be the one that the same view gives
undecorated, in an app that is otherwise the same.
"""

import asyncio
import enum
import functools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

import pytest
from flask import Flask, abort, g, make_response, request, session, url_for
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict

from aswr import CacheManager

SECRET = "secret"
PATIENCE = 20.0  # seconds after which a request that does not end is a failure
LANGUAGES, TYPES = ["en", "de"], ["text/html", "application/json"]


# What is asked.


@dataclass(frozen=True)
class Ask:
    """A request, in the form to which the cache brings what HTTP lets mean the same."""

    path: str = "/a"
    query: tuple[tuple[str, str], ...] = ()
    host: str = "localhost"
    scheme: str = "http"
    headers: tuple[tuple[str, str], ...] = ()
    cookies: tuple[tuple[str, str], ...] = ()
    session: tuple[tuple[str, str], ...] = ()
    address: str = "127.0.0.1"
    odd: bool = False  # spelt in another way that means the same

    def spelt(self) -> "Ask":
        """The same in another spelling, if it is `odd`."""
        if not self.odd:
            return self
        respelt = {
            "Accept-Language": lambda text: text.upper().replace(",", " ,\t").replace(";", " ; "),
            "Accept": lambda text: text.replace(",", ", , ").replace("text", "TEXT"),
        }
        headers = [(name, respelt.get(name, str)(text)) for name, text in self.headers]
        return replace(
            self,
            query=tuple(sorted(self.query, key=lambda pair: pair[0], reverse=True)),
            host=self.host.upper() if ":" in self.host else f"{self.host.title()}:{self.port}",
            headers=tuple(
                (name, text if name.startswith("X-Leave") else f" {text}  ")
                for name, text in headers
            ),
        )

    @property
    def port(self) -> int:
        return 443 if self.scheme == "https" else 80


# What the view reads. Each reader gives something that JSON has; none changes what another finds.


class Colour(enum.Enum):
    RED = "red"


class Account:
    """An object that a hook leaves behind."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<Account {self.name}>"


def _header_by_key(name: str) -> Any:
    try:
        return request.headers[name]
    except KeyError:
        return "none"


def _environ_by_key(key: str) -> Any:
    try:
        return request.environ[key]
    except KeyError:
        return "none"


def _all_headers() -> Any:
    """All but what only hooks read, which a list in ``vary`` hides from the view alone."""
    return sorted(pair for pair in request.headers if not pair[0].startswith("X-Leave"))


def _listed(mapping: Any) -> Any:
    return sorted(mapping.to_dict(flat=False).items())


def _own_name() -> Any:
    g.own = "mine"
    return g.pop("own")


def _member(what: Callable[[], Any]) -> Any:
    return f"{what()}"


LEARNED: dict[str, Callable[[], Any]] = {
    "X-A": lambda: request.headers.get("X-A"),
    "X-A []": lambda: _header_by_key("X-A"),
    "X-A in": lambda: "X-A" in request.headers,
    "X-A environ": lambda: request.environ.get("HTTP_X_A", "-"),
    "X-A environ []": lambda: _environ_by_key("HTTP_X_A"),
    "X-A list": lambda: request.headers.getlist("X-A"),
    "X-B": lambda: request.headers.get("X-B", "nothing"),
    "X-B int": lambda: request.headers.get("X-B", -1, type=int),
    "agent": lambda: request.user_agent.string,
    "referrer": lambda: request.referrer,
    "language": lambda: request.accept_languages.best_match(LANGUAGES),
    "language else": lambda: request.accept_languages.best_match(LANGUAGES, "fr"),
    "languages": lambda: list(request.accept_languages),
    "language best": lambda: request.accept_languages.best,
    "language in": lambda: "de" in request.accept_languages,
    "language find": lambda: request.accept_languages.find("de"),
    "languages text": lambda: request.headers.get("Accept-Language"),
    "type": lambda: request.accept_mimetypes.best_match(TYPES),
    "type html": lambda: request.accept_mimetypes.accept_html,
    "types": lambda: str(request.accept_mimetypes),
    "all headers": _all_headers,
    "count of headers": lambda: len(_all_headers()),
    "length of headers": lambda: len(request.headers) > 0,
    "host": lambda: request.host,
    "host header": lambda: request.headers.get("Host"),
    "scheme": lambda: request.scheme,
    "secure": lambda: request.is_secure,
    "root": lambda: request.host_url,
    "base": lambda: request.base_url,
    "external": lambda: url_for("view", path="z", _external=True),
    "internal": lambda: url_for("view", path="z"),
    "a": lambda: request.args.get("a"),
    "a list": lambda: request.args.getlist("a"),
    "a in": lambda: "a" in request.args,
    "b int": lambda: request.args.get("b", -1, type=int),
    "args": lambda: _listed(request.args),
    "args bool": lambda: bool(request.args),
    "args names": lambda: sorted(request.args),
    "values": lambda: request.values.get("a"),
    "query": lambda: request.query_string.decode(),
    "full path": lambda: request.full_path,
    "url": lambda: request.url,
    "path": lambda: request.path,
    "g.level": lambda: g.get("level", "unset"),
    "g.level in": lambda: "level" in g,
    "g.colour": lambda: str(getattr(g, "colour", None)),
    "g.nothing": lambda: getattr(g, "nothing", "unset"),
    "g own": _own_name,
    "method": lambda: request.method,
    "agree": lambda: None,
}
PERSONAL: dict[str, Callable[[], Any]] = {
    "cookie a": lambda: request.cookies.get("a"),
    "cookie a in": lambda: "a" in request.cookies,
    "cookie theme": lambda: request.cookies.get("theme", "light"),
    "cookies": lambda: _listed(request.cookies),
    "cookies bool": lambda: bool(request.cookies),
    "cookie header": lambda: request.headers.get("Cookie"),
    "session": lambda: session.get("name"),
    "session in": lambda: "name" in session,
    "session all": lambda: sorted(session.items()),
    "session len": lambda: len(session),
    "authorization": lambda: str(request.authorization),
    "authorization header": lambda: request.headers.get("Authorization"),
    "api key": lambda: request.headers.get("X-Api-Key"),
    "forwarded": lambda: request.headers.get("X-Forwarded-For"),
    "route": lambda: list(request.access_route[:-1]),
    "address": lambda: request.remote_addr,
    "tenant": lambda: getattr(request, "tenant", "none"),
    "g.account": lambda: repr(g.get("account", "unset")),
    "g.account name": lambda: _member(lambda: g.account.name),  # fails where it is None
    "g": lambda: sorted((name, repr(g.get(name))) for name in g if name != "looked_up"),
    "form": lambda: sorted(request.form.items()),
    "length": lambda: request.content_length,
    "foreign": lambda: request.environ.get("REMOTE_USER"),
}
READERS = LEARNED | PERSONAL


# The app: a hook, a view that walks the readers, another view that it may ask.


@dataclass(frozen=True)
class Program:
    """Which readers there are, how many steps are taken, what the hook and the view do besides."""

    readers: tuple[str, ...]
    steps: int
    asynchronous: bool = False
    nested: int | None = None  # at this step the view asks another cached view
    refuses: bool = False  # some traces end in 404
    public: bool = False
    hook: str = ""  # one that works with the session
    after: bool = False  # an after_request hook reads a header
    above: bool = False  # a decorator above the cacher reads one

    def trace(self) -> list[Any]:
        trace: list[Any] = []
        for _ in range(self.steps):
            trace.append(self.step(trace))
        return trace

    def step(self, trace: list[Any]) -> list[Any]:
        name = self.readers[_number(trace) % len(self.readers)]
        return [name, READERS[name]()]


def _number(trace: list[Any]) -> int:
    return crc32(json.dumps(trace).encode())


@dataclass
class Gate:
    """Holds views at a step until all of a batch wait, are held, or are over."""

    step: int | None = None
    opened: threading.Event = field(default_factory=threading.Event)
    held: int = 0

    def hold(self, step: int) -> bool:
        if step != self.step or self.opened.is_set():
            return False
        self.held += 1
        return True

    def wait(self) -> None:
        assert self.opened.wait(PATIENCE), "the batch was never complete"


def leave(name: str, value: str) -> None:
    """What a hook leaves in ``g``, by a header that only it reads."""
    values = {"int": 1, "none": None, "float": 0.5, "bytes": b"1", "colour": Colour.RED}
    setattr(g, name, values.get(value, value))


def hooks(app: Flask, program: Program) -> None:
    @app.before_request
    def before() -> None:
        for name in ("level", "colour", "nothing"):
            if (value := request.headers.get(f"X-Leave-{name}")) is not None:
                leave(name, value)
        if (value := request.headers.get("X-Leave-Account")) is not None:
            g.account = Account(value) if value else None
        if (value := request.headers.get("X-Leave-Tenant")) is not None:
            request.tenant = value  # type: ignore[attr-defined]
        if (value := request.headers.get("X-Leave-Name")) is not None:
            if program.hook == "writes":
                session["name"] = value
            elif program.hook == "forgets":
                session.clear()

    if program.after:

        @app.after_request
        def after(response: Any) -> Any:
            response.headers["X-Seen"] = request.headers.get("X-A", "none").strip()
            return response


def build(app: Flask, program: Program, gate: Gate, cached: Callable[..., Any] | None) -> None:
    """The app, its views decorated or not."""
    app.secret_key = SECRET
    decorate = cached or (lambda view: view)
    hooks(app, program)

    def inner() -> Any:
        return json.dumps(["inner", program.step(["inner"])])

    async def inner_async() -> Any:
        return inner()

    ask = decorate(inner_async if program.asynchronous else inner)

    def finish(trace: list[Any]) -> Any:
        if program.refuses and _number(trace) % 3 == 0:
            abort(404, description=json.dumps(trace))
        return json.dumps(trace)

    def view(path: str) -> Any:
        trace: list[Any] = []
        for step in range(program.steps):
            if gate.hold(step):
                gate.wait()
            if step == program.nested:
                trace.append(make_response(ask()).get_data(as_text=True))
            trace.append(program.step(trace))
        return finish(trace)

    async def view_async(path: str) -> Any:
        trace: list[Any] = []
        for step in range(program.steps):
            if gate.hold(step):
                await asyncio.to_thread(gate.wait)
            if step == program.nested:
                trace.append(make_response(await ask()).get_data(as_text=True))
            trace.append(program.step(trace))
        return finish(trace)

    shown = decorate(view_async if program.asynchronous else view)

    @functools.wraps(shown)
    def above(path: str) -> Any:
        response = make_response(app.ensure_sync(shown)(path=path))
        response.headers["X-Above"] = request.headers.get("X-B", "none").strip()
        return response

    app.add_url_rule("/<path>", "view", above if program.above else shown)


@dataclass(frozen=True)
class Reply:
    """What of an answer must be right."""

    status: int
    text: str
    seen: str | None
    above: str | None

    @classmethod
    def of(cls, response: Any) -> "Reply":
        headers = response.headers
        status = response.status_code
        text = response.text if status < 500 else ""
        above = headers.get("X-Above") if status == 200 else None  # an exception goes past it
        return cls(status, text, headers.get("X-Seen"), above)


@functools.cache
def session_cookie(session: tuple[tuple[str, str], ...]) -> str:
    """One text for each, since the signature depends on the time."""
    app = Flask("signs")
    app.secret_key = SECRET
    serializer: Any = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
    return f"session={serializer.dumps(dict(session))}"


def send(app: Flask, ask: Ask) -> Any:
    """The response to a request, sent by a client of its own."""
    cookies = [f"{name}={value}" for name, value in ask.cookies]
    if ask.session:
        cookies.append(session_cookie(ask.session))
    headers = list(ask.headers)
    if cookies:
        headers.append(("Cookie", "; ".join(cookies)))
    client = app.test_client(use_cookies=False)
    client.environ_base = {"REMOTE_ADDR": ask.address} if ask.address else {}
    return client.get(
        ask.path,
        query_string=MultiDict(ask.query),
        base_url=f"{ask.scheme}://{ask.host}",
        headers=headers,
    )


class World:
    """The app with the cache and its twin without."""

    def __init__(self, program: Program, options: dict[str, Any]) -> None:
        self.program = program
        self.options = options
        self.gate = Gate()
        self.now = 1_000_000.0
        self.cached, self.plain = Flask("cached"), Flask("plain")
        self.manager = CacheManager(self.cached, clock=lambda: self.now)
        build(self.cached, program, self.gate, self._decorator)
        build(self.plain, program, Gate(), None)
        self.seen: Counter[str] = Counter()
        self._replies: dict[Ask, Reply] = {}  # nothing changes the plain app

    def _decorator(self, view: Callable[..., Any]) -> Any:
        options = {"statuses": {404: 60}, "refresh_margin": 10, **self.options}
        if self.program.public:
            options["public"] = True
        return self.manager.cacher(60, **options)(view)

    def right(self, ask: Ask) -> tuple[Reply, Reply]:
        """The answers that are right: of the request itself, and of what a render may see of it."""
        own, shown = self._plain(ask.spelt()), self._plain(self._shown(ask))
        headers = dict(ask.headers)
        if not self.program.public:  # what is around the cacher sees all of them
            above, seen = headers.get("X-B", "none"), headers.get("X-A", "none")
            if self.program.above and shown.status == 200:
                shown = replace(shown, above=above)
            if self.program.after:
                shown = replace(shown, seen=seen)
        return own, shown

    def _plain(self, ask: Ask) -> Reply:
        if ask not in self._replies:
            self._replies[ask] = Reply.of(send(self.plain, ask))
        return self._replies[ask]

    def _shown(self, ask: Ask) -> Ask:
        """What the options leave of a request, normalised; what is personal stays."""
        query, vary = self.options.get("query", True), self.options.get("vary", "read")
        ignore = self.options.get("ignore", ())
        if isinstance(query, list):
            ask = replace(ask, query=tuple(pair for pair in ask.query if pair[0] in query))
        ask = replace(ask, query=tuple(sorted(ask.query, key=lambda pair: pair[0])))
        kept = tuple(pair for pair in ask.headers if pair[0] not in ignore)
        cookies = tuple(pair for pair in ask.cookies if f"cookie:{pair[0]}" not in ignore)
        if "Cookie" in ignore:
            cookies, ask = (), replace(ask, session=())
        if "remote_addr" in ignore:
            ask = replace(ask, address="")
        if isinstance(vary, list):
            kept = tuple(pair for pair in kept if pair[0] in vary or pair[0] in UNHIDDEN)
            ask = replace(ask, host="localhost", scheme="http")
        return replace(ask, headers=kept, cookies=cookies)

    def fitting(self, ask: Ask) -> Ask:
        """The request, less what this view and another part of the app would see differently."""
        if self.program.nested is not None:  # one of two views may pass and the other not
            ask = replace(ask, odd=False)
        if self.program.public and isinstance(self.options.get("vary"), list):  # so with hooks
            headers = (pair for pair in ask.headers if not pair[0].startswith("X-Leave"))
            ask = replace(ask, headers=tuple(headers))
        if "Cookie" in self.options.get("ignore", ()):  # a session that a hook writes is ignored
            headers = (pair for pair in ask.headers if pair[0] != "X-Leave-Name")
            ask = replace(ask, headers=tuple(headers))
        return ask

    def check(self, ask: Ask, response: Any) -> None:
        """An answer of the cache is one that is right; which one, its Cache-Status tells."""
        status = response.headers.get("Cache-Status", "")
        (own, shown), reply = self.right(ask), Reply.of(response)
        passed = "fwd=bypass" in status
        allowed = [own] if passed else [shown]
        if not status or reply.status >= 500:  # it has a cookie of its own; or it failed
            allowed = [own, shown]
        self.seen["passed" if passed else "hit" if "; hit" in status else "other"] += 1
        assert reply in allowed, f"{ask} got {status!r}"
        assert "Set-Cookie" not in response.headers or not status, f"{ask} got a cookie: {status!r}"

    # Steps.

    def ask_all(self, asks: list[Ask]) -> None:
        """One after the other."""
        for ask in map(self.fitting, asks):
            self.check(ask, send(self.cached, ask.spelt()))

    def ask_at_once(self, asks: list[Ask], hold: int) -> None:
        """Together, the first views held at a step until everybody is there."""
        asks = [self.fitting(ask) for ask in asks]
        self.gate.step, self.gate.held = hold, 0
        self.gate.opened.clear()
        together = threading.Barrier(len(asks))
        answers: dict[int, Any] = {}

        def run(number: int) -> None:
            together.wait(PATIENCE)
            try:
                answers[number] = send(self.cached, asks[number].spelt())
            except BaseException as error:
                answers[number] = error

        threads = [threading.Thread(target=run, args=(number,)) for number in range(len(asks))]
        for thread in threads:
            thread.start()
        while len(answers) + self.manager.stats()["waiting"] + self.gate.held < len(asks):
            threads[0].join(0.0005)
        self.gate.opened.set()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a request did not end"
        self.gate.step = None
        for number, ask in enumerate(asks):
            if isinstance(answers[number], BaseException):
                raise answers[number]
            self.check(ask, answers[number])

    def close(self) -> None:
        self.gate.opened.set()
        self.manager.close(timeout=1)


@contextmanager
def world(program: Program, options: dict[str, Any]) -> Iterator[World]:
    made = World(program, options)
    try:
        yield made
    finally:
        made.close()


# Strategies: few values, so that requests often agree.

HEADERS = {
    "X-A": ["1", "2", "", "1;2"],
    "X-B": ["1", "x"],
    "User-Agent": ["a/1", "b/2"],
    "Referer": ["http://localhost/r"],
    "Accept-Language": ["de", "en,de;q=0.8", "fr", "de-at,en;q=0.5", "*", "de;q=0,en", ""],
    "Accept": ["text/html", "application/json;q=0.9,text/html;q=0.5", "*/*"],
    "Authorization": ["Basic YTpi", "Bearer x"],
    "X-Api-Key": ["k"],
    "X-Forwarded-For": ["10.0.0.9"],
    "X-Leave-level": ["int", "none", "float", "text", "bytes", "1"],
    "X-Leave-colour": ["colour", "Colour.RED"],
    "X-Leave-nothing": ["none"],
    "X-Leave-Account": ["ann", "bob", ""],
    "X-Leave-Tenant": ["t"],
    "X-Leave-Name": ["eve", "ann"],
}
# Those that `vary=[...]` does not hide: what is personal, and what hooks alone read.
UNHIDDEN = {name for name in HEADERS if name.startswith("X-Leave")} | {
    "Authorization", "X-Api-Key", "X-Forwarded-For",
}  # fmt: skip
LEARNED_HEADERS = [name for name in HEADERS if name not in UNHIDDEN]


def _some(values: dict[str, list[str]], most: int) -> st.SearchStrategy[Any]:
    if not values:
        return st.just(())
    names = st.lists(st.sampled_from(sorted(values)), max_size=most, unique=True)
    return names.flatmap(
        lambda chosen: st.tuples(
            *(st.tuples(st.just(name), st.sampled_from(values[name])) for name in chosen)
        )
    )


QUERY = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(["1", "2", "", "é &+%"])),
    max_size=3,
).map(lambda pairs: tuple(sorted(pairs, key=lambda pair: pair[0])))
COOKIES = {"a": ["1", "2"], "theme": ["dark", "light", "a b"], "ads": ["1"]}
SESSIONS = [(), (), (("name", "ann"),), (("name", "bob"), ("more", "1"))]
HOSTS = ["localhost"] * 3 + ["a.test", "a.test:8080", "b.test"]


def asks(headers: list[str] | None = None) -> st.SearchStrategy[Ask]:
    """Requests that have some of these headers; of all, if not told."""
    values = HEADERS if headers is None else {name: HEADERS[name] for name in headers}
    return st.builds(
        Ask,
        path=st.sampled_from(["/a", "/a", "/a", "/b"]),
        query=QUERY,
        host=st.sampled_from(HOSTS),
        scheme=st.sampled_from(["http", "http", "https"]),
        headers=_some(values, 3),
        cookies=_some(COOKIES, 2),
        session=st.sampled_from(SESSIONS),
        address=st.sampled_from(["127.0.0.1", "10.0.0.1"]),
        odd=st.booleans(),
    )


# What is read by what: a topic is some readers, and the headers and the other parts of a request
# that they read. Few topics at a time, so that requests differ in what is read.
TOPICS: dict[str, tuple[list[str], list[str]]] = {
    "X-A": (["X-A"], ["headers"]),
    "X-B": (["X-B"], ["headers"]),
    "agent": (["User-Agent"], ["headers"]),
    "referrer": (["Referer"], ["headers"]),
    "language": (["Accept-Language"], ["headers", "odd"]),
    "type": (["Accept"], ["headers", "odd"]),
    "all headers": (["X-A", "X-B", "Authorization"], ["headers", "cookies"]),
    "length of": (["X-A"], ["headers"]),
    "host": ([], ["host"]),
    "scheme": ([], ["scheme"]),
    "root": ([], ["host", "scheme"]),
    "external": ([], ["host", "scheme"]),
    "a": ([], ["query", "odd"]),
    "args": ([], ["query", "odd"]),
    "query": ([], ["query", "odd"]),
    "url": ([], ["query", "host", "path"]),
    "g.level": (["X-Leave-level"], ["headers"]),
    "g.colour": (["X-Leave-colour"], ["headers"]),
    "g.nothing": (["X-Leave-nothing"], ["headers"]),
    "g.account": (["X-Leave-Account"], ["headers"]),
    "g": (["X-Leave-level", "X-Leave-Account"], ["headers"]),
    "tenant": (["X-Leave-Tenant"], ["headers"]),
    "cookie": ([], ["cookies"]),
    "session": (["X-Leave-Name"], ["headers", "session"]),
    "authorization": (["Authorization"], ["headers"]),
    "api key": (["X-Api-Key"], ["headers"]),
    "forwarded": (["X-Forwarded-For"], ["headers"]),
    "address": ([], ["address"]),
}


def readers_of(topic: str) -> list[str]:
    """The readers whose names begin with the topic's."""
    return [name for name in READERS if name.startswith(topic)]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Program, list[Ask]]:
    """A program, and requests that have much in common and differ in what it reads."""
    topics = draw(st.lists(st.sampled_from(sorted(TOPICS)), min_size=1, max_size=3, unique=True))
    near = [reader for topic in topics for reader in readers_of(topic)]
    readers = draw(st.lists(st.sampled_from(near), min_size=1, max_size=5))
    readers += draw(st.lists(st.sampled_from(sorted(READERS)), max_size=1))
    headers = sorted({name for topic in topics for name in TOPICS[topic][0]})
    parts = sorted({part for topic in topics for part in TOPICS[topic][1]})
    made = [Ask(headers=draw(_some({name: HEADERS[name] for name in headers}, 2)))]
    if draw(st.booleans()):
        made[0] = replace(draw(asks()), headers=made[0].headers)
    for other in draw(st.lists(asks(headers), min_size=1, max_size=4)):
        differing = draw(st.lists(st.sampled_from(parts), min_size=1, max_size=2, unique=True))
        made.append(replace(made[0], **{part: getattr(other, part) for part in differing}))
    return draw(programs(tuple(readers))), made


def programs(readers: tuple[str, ...]) -> st.SearchStrategy[Program]:
    return st.builds(
        Program,
        readers=st.just(readers),
        steps=st.integers(1, 5),
        asynchronous=st.booleans(),
        nested=st.sampled_from([None, None, None, 0, 1]),
        refuses=st.sampled_from([False, False, True]),
        public=st.booleans(),
        hook=st.sampled_from(["", "", "writes", "forgets"]),
        after=st.booleans(),
        above=st.booleans(),
    )


VARY = st.lists(
    st.sampled_from([*LEARNED_HEADERS, "cookie:a", "cookie:theme"]), max_size=4, unique=True
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "query": st.sampled_from([True, "read", "read", ["a"], ["a", "b"], []]),
        "vary": st.one_of(st.just("read"), VARY),
        "run_before_request": st.booleans(),
        "ignore": st.sampled_from([["cookie:ads", "remote_addr"], ["X-B", "cookie:a"], ["Cookie"]]),
    },
)


def differing() -> list[Ask]:
    """A plain request, and all that differ from it in one thing."""
    plain = Ask()
    found = [plain, replace(plain, path="/b"), replace(plain, scheme="https")]
    found += [replace(plain, headers=((name, text),)) for name in HEADERS for text in HEADERS[name]]
    found += [replace(plain, cookies=((name, text),)) for name in COOKIES for text in COOKIES[name]]
    found += [replace(plain, session=session) for session in SESSIONS[2:]]
    found += [replace(plain, host=host) for host in HOSTS[3:]]
    found += [replace(plain, query=(("a", text),)) for text in ("1", "2", "")]
    found += [replace(plain, query=(("a", "1"), ("a", "2"))), replace(plain, query=(("b", "1"),))]
    return [*found, replace(plain, address="10.0.0.1")]


@pytest.mark.parametrize("public", [False, True], ids=["in-app", "public"])
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_alone(reader, public):
    """Whatever is read, requests that differ in one thing get the answers that are theirs."""
    program = Program((reader,), 1, asynchronous=public, hook="writes", public=public)
    asks = differing()
    with world(program, {"query": "read"}) as here:
        here.ask_all(asks)
        usual = here.right(asks[0])
        others = [ask for ask in asks if here.right(ask) != usual] + asks[:2]
        here.ask_all(others[::-1])
        for order in (others, others[::-1]):
            here.manager.clear()
            here.ask_at_once(order[:12], 0)


CHOSEN = st.lists(st.integers(0, 11), min_size=1, max_size=6)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), CHOSEN),
        st.tuples(st.just("at once"), CHOSEN, st.integers(0, 3)),
        st.tuples(st.just("tick"), st.sampled_from([5.0, 52.0, 70.0])),
        st.tuples(st.just("refresh"), st.sampled_from(["/a", "/b"])),
        st.tuples(st.just("purge"), st.sampled_from(["/a", ""])),
    ),
    min_size=1,
    max_size=8,
)


def play(here: World, asks: list[Ask], steps: list[tuple[Any, ...]]) -> None:
    for what, how, *more in steps:
        if what == "ask":
            here.ask_all([asks[number % len(asks)] for number in how])
        elif what == "at once":
            here.ask_at_once([asks[number % len(asks)] for number in how], *more)
        elif what == "tick":
            here.now += how
        elif what == "refresh":
            refresh(here.manager, how)
        elif how:
            here.manager.invalidate(how)
        else:
            here.manager.clear()
    assert here.manager.join(PATIENCE)


def refresh(manager: CacheManager, path: str) -> None:
    """A load that no caller stands behind; that it may fail is not the matter here."""
    with suppress(AttributeError):  # the view wanted an account
        manager.refresh(path)


# To explain a failure Hypothesis would trace every line of every thread.
PHASES = [phase for phase in Phase if phase is not Phase.explain]
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@settings(max_examples=150, deadline=None, phases=PHASES, suppress_health_check=SLOW)
@given(cases(), OPTIONS, STEPS)
def test_every_answer_is_the_one_that_the_view_gives(case, options, steps):
    """Whatever the view reads and whoever asks, with each option, together and in turn."""
    program, asks = case
    if program.public:
        options = {name: how for name, how in options.items() if name != "run_before_request"}
    if program.nested is not None:  # as `World.fitting`
        options = {name: how for name, how in options.items() if not isinstance(how, list)}
    if isinstance(vary := options.get("vary"), list):
        options["vary"] = [name for name in vary if name not in options.get("ignore", ())]
    with world(program, options) as here:
        here.ask_all(asks)
        play(here, asks, steps)
        for what in here.seen:
            event(what)


# Who asks, where a scope stands for him: all that is personal comes of the name in the scope.
PERSONS: list[dict[str, Any]] = [
    {},
    {"headers": (("X-Api-Key", "ann"), ("Authorization", "Basic YTpi"))},
    {"headers": (("X-Api-Key", "bob"),), "session": (("name", "bob"),), "address": "10.0.0.2"},
    {"headers": (("X-Api-Key", "eve"), ("X-Forwarded-For", "10.0.0.9")), "cookies": (("a", "1"),)},
]


def in_person(ask: Ask, person: dict[str, Any]) -> Ask:
    """The request, all that is personal of it this person's."""
    headers = tuple(pair for pair in ask.headers if pair[0] in LEARNED_HEADERS)
    left = tuple(pair for pair in ask.headers if pair[0] in ("X-Leave-level", "X-Leave-Account"))
    nobody = {"session": (), "cookies": (), "address": "127.0.0.1", "odd": False}
    named = replace(ask, **(nobody | person))
    return replace(named, headers=(*headers, *left, *person.get("headers", ())))


def scope() -> str | None:
    """The name; leaves something in ``g``, as looking for a user does."""
    g.looked_up = Account("whoever")
    return request.headers.get("X-Api-Key")


@settings(max_examples=100, deadline=None, phases=PHASES, suppress_health_check=SLOW)
@given(
    cases(),
    st.sampled_from([True, "read"]),
    st.lists(st.sampled_from(PERSONS), min_size=1, max_size=4),
    STEPS,
)
def test_every_answer_to_a_person_is_the_one_that_the_view_gives(case, query, persons, steps):
    """With ``scope`` each name has answers of its own, and who has none shares as ever."""
    program, asks = replace(case[0], public=False, hook=""), case[1]
    asks = [in_person(ask, person) for ask in asks for person in persons]
    with world(program, {"query": query, "scope": scope}) as here:
        here.ask_all(asks)
        play(here, asks, steps)
        for what in here.seen:
            event(what)
