"""The recorder: every way to read an input is noted, and nothing else is."""

import copy
import io
import json
import operator
import pickle
import sys
import threading
from contextlib import contextmanager, suppress

import pytest
from flask import (
    Flask,
    Request,
    copy_current_request_context,
    current_app,
    flash,
    g,
    get_flashed_messages,
    jsonify,
    render_template_string,
    request,
    session,
    url_for,
)
from flask.ctx import _AppCtxGlobals
from flask.globals import _cv_app, _cv_request, request_ctx
from flask.sessions import SecureCookieSessionInterface
from werkzeug.datastructures import (
    Accept,
    ImmutableDict,
    ImmutableMultiDict,
    LanguageAccept,
    MIMEAccept,
    MultiDict,
)
from werkzeug.utils import cached_property
from werkzeug.wrappers import Request as PlainRequest
from werkzeug.wrappers import Response as PlainResponse

from aswr.inputs import Inputs, Rules
from aswr.names import Kind
from aswr.recorded import ONE, WHOLE, WRITERS, RecordedEnviron
from aswr.recorder import (
    Recorder,
    inputs_of,
    record_g,
    recorded_context,
    recorder_of,
    writes_session,
)

READ = Rules(query="read")


def environ_of(query="", **more):
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/x",
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        **more,
    }


def shop(request_class=Request, **config) -> Flask:
    app = Flask("shop")
    app.secret_key = "key"
    app.config.update(config)
    app.request_class = request_class
    app.add_url_rule("/x", "x", lambda: "x")
    return app


@contextmanager
def render(app=None, rules=None, query="", shown=None, scoped=False, **environ):
    """A render of /x whose recorder is armed."""
    recorder = Recorder(rules or Rules(), lambda name, kind, place: None, scoped=scoped)
    context = recorded_context(app or shop(), environ_of(query, **environ), recorder)
    recorder.arm()
    context.push()
    record_g(_cv_app.get(), recorder, shown or {})
    try:
        yield recorder
    finally:
        recorder.disarm()
        context.pop()


def names_read(view, **kwargs) -> list[str]:
    """The inputs that a view reads, in order."""
    with render(**kwargs) as recorder:
        view()
        return list(recorder.reads)


# The recorder itself.


def test_disarmed_nothing_is_noted():
    """In teardown, reads do not count."""
    with render() as recorder:
        recorder.disarm()
        request.headers.get("Origin")
    assert recorder.reads == {}


def test_a_new_context_is_not_armed_yet():
    """Until the render says so, nothing that is read of its context counts."""
    recorder = Recorder(Rules(), lambda name, kind, place: None)
    context = recorded_context(shop(), environ_of(), recorder)
    context.request.headers.get("Origin")
    assert recorder.reads == {}


def test_who_asked_is_told_once_of_each_input_and_what_it_means():
    """The callback hears each input when it is first read, with its kind, while the view runs."""
    told = []
    recorder = Recorder(Rules(), lambda name, kind, place: told.append((name, kind)))
    context = recorded_context(shop(), environ_of(), recorder)
    recorder.arm()
    with context:
        for _ in range(2):
            request.headers.get("Origin")
            assert told == [("header Origin", Kind.LEARNED)]
        request.cookies.get("a")
        assert told[1:] == [("cookie a", Kind.PERSONAL)]
        assert request.remote_addr is None
        assert told[2:] == [("remote address", Kind.NEVER)]
    assert recorder.names == ("cookie a", "header Origin", "remote address")
    assert recorder.detail == "reads header Origin, cookie a, remote address"


def test_the_place_of_a_read_is_the_users_own_line():
    """The log names the line that read, not Werkzeug's, and in a template the template's line."""
    with render() as recorder:
        request.headers.get("Origin")
        request.accept_languages.best_match(["de"])
        render_template_string("one\ntwo\n{{ request.cookies.theme }}")
    places = recorder.reads
    line = sys._getframe().f_lineno - 4
    assert places["header Origin"] == f"{__file__}:{line}"
    assert places['best Accept-Language of ["de"] else null'] == f"{__file__}:{line + 1}"
    assert places["cookie theme"] == "<template>:3"


def identifier():
    return request.headers.get("User-Agent"), request.remote_addr


def test_reads_below_an_ignored_function_do_not_count():
    """What a function that the rules name reads is no input, and elsewhere it is one as ever."""
    rules = Rules(functions=frozenset({f"{__name__}:identifier"}))
    assert names_read(lambda: [identifier() for _ in "ab"], rules=rules) == []
    later = names_read(lambda: (identifier(), request.user_agent), rules=rules)
    assert later == ["header User-Agent"]


def test_ignored_inputs_are_not_noted():
    """An input that ``ignore=`` names is no input, however it is read."""
    rules = Rules(ignore=frozenset({"header Origin", "cookie a", "remote address"}))

    def view():
        return request.origin, request.headers.get("origin"), request.cookies.get("a")

    assert names_read(lambda: (view(), request.remote_addr), rules=rules) == []
    assert names_read(lambda: request.cookies.get("b"), rules=rules) == ["cookie b"]


def test_where_only_chosen_headers_are_visible_the_others_are_no_inputs():
    """With a list of headers the rest are absent and not noted; what is personal still is."""
    rules = Rules(vary=frozenset({"header Accept-Language", "cookie theme"}))

    def view():
        request.headers.get("Origin")
        request.accept_mimetypes.best_match(["text/html"])
        request.accept_languages.best_match(["de"])
        assert request.host == "localhost"
        assert request.scheme == "http"
        assert request.authorization is None
        assert (request.cookies.get("theme"), request.cookies.get("a")) == ("dark", None)

    assert names_read(view, rules=rules, HTTP_COOKIE="theme=dark") == [
        'best Accept-Language of ["de"] else null',
        "header Authorization",
        "cookie theme",
        "cookie a",
    ]


def test_where_the_response_says_what_varies_headers_are_not_noted():
    """With ``vary="response"`` no read of headers or cookies counts, others do."""
    rules = Rules(vary="response")

    def view():
        request.headers.get("Origin")
        list(request.headers)
        request.accept_languages.best_match(["de"])
        request.cookies.get("a")
        assert request.host == "localhost"
        request.get_data()

    assert names_read(view, rules=rules) == ["host", "body"]


def test_a_read_of_everything_covers_what_follows():
    """After all headers, all cookies, all names were read, single ones say nothing new."""

    def view():
        list(request.headers)
        request.headers.get("Origin")
        request.cookies.get("a")
        list(request.cookies)
        request.accept_languages.best_match(["de"])

    assert names_read(view) == ["all headers"]
    assert names_read(lambda: (list(request.cookies), request.cookies.get("a"))) == ["cookies"]
    whole = names_read(lambda: (request.full_path, request.args.get("a")), rules=READ)
    assert whole == ["query"]
    assert names_read(lambda: (list(g), g.get("a"))) == ["g.*"]
    languages = names_read(
        lambda: (str(request.accept_languages), request.accept_languages.best_match(["de"]))
    )
    assert languages == ["header Accept-Language"]


# The environ.

READERS = {
    "[]": lambda e: e["HTTP_COOKIE"],
    "in": lambda e: "HTTP_COOKIE" in e,
    "get": lambda e: e.get("HTTP_COOKIE"),
    "pop": lambda e: e.pop("HTTP_COOKIE"),
    "setdefault": lambda e: e.setdefault("HTTP_COOKIE", ""),
    "del": lambda e: e.__delitem__("HTTP_COOKIE"),
    "format": lambda e: "{HTTP_COOKIE}".format_map(e),
}


def match_key(environ):
    match environ:
        case {"HTTP_COOKIE": value}:
            return value
    return None


def keywords(**environ):
    return environ


WALKS = {
    "iter": list,
    "len": len,
    "keys": lambda e: e.keys(),
    "values": lambda e: e.values(),
    "items": lambda e: e.items(),
    "copy": lambda e: e.copy(),
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "pickle": pickle.dumps,
    "dict": dict,
    "set": set,
    "**": lambda e: {**e},
    "call **": lambda e: keywords(**e),
    "update": lambda e: {}.update(e),
    "|": lambda e: e | {},
    "r|": lambda e: {} | e,
    "|=": lambda e: {}.__ior__(e),
    "==": lambda e: e == {},
    "r==": lambda e: e == {},
    "!=": lambda e: e != {},
    "bool": bool,
    "repr": repr,
    "str": str,
    "json": json.dumps,
    "popitem": lambda e: e.popitem(),
    "reversed": lambda e: list(reversed(e)),
    "match": match_key,  # which asks for the length first
}


def environ() -> RecordedEnviron:
    recorder = Recorder(Rules(), lambda name, kind, place: None)
    recorder.arm()
    return RecordedEnviron({"HTTP_COOKIE": "a=b", "PATH_INFO": "/"}, recorder)


@pytest.mark.parametrize("how", READERS)
def test_reading_one_key_is_noted(how):
    """Each reader of one key notes that key's input."""
    e = environ()
    READERS[how](e)
    assert list(e.recorder.reads) == ["cookies"]


@pytest.mark.parametrize("how", WALKS)
def test_walking_the_environ_is_reading_all_of_it(how):
    """Whatever walks, copies or compares the environ reads what everybody has of his own."""
    e = environ()
    WALKS[how](e)
    assert list(e.recorder.reads) == ["environ"]


def test_a_copy_of_the_environ_is_plain_and_whole():
    """A copy has every key, as a plain dict."""
    for made in (copy.copy(environ()), {**environ()}, environ().copy(), dict(environ())):
        assert type(made) is dict
        assert made == {"HTTP_COOKIE": "a=b", "PATH_INFO": "/"}


def test_what_the_render_put_into_the_environ_is_no_input():
    """A key that the view itself set is free to read, also when it is gone again."""

    def view():
        request.environ["my.key"] = 1
        request.environ.update({"my.other": 2})
        request.environ |= {"my.third": 3}
        del request.environ["my.key"]
        return [request.environ.get(f"my.{name}") for name in ("key", "other", "third")]

    assert names_read(view) == []
    assert names_read(lambda: request.environ.get("my.key")) == ["environ my.key"]


def test_every_reader_of_a_dict_is_overridden():
    """A method that dict gains one day must not open an unseen way to read."""
    plumbing = set(dir(object)) - {"__eq__", "__ne__", "__repr__"}
    writers = {"clear", "fromkeys", "__class_getitem__"}
    overridden = {name for cls in RecordedEnviron.__mro__[:-2] for name in vars(cls)}
    assert set(dir(dict)) - plumbing - writers - overridden == set()


def test_a_wsgi_application_in_the_view_gets_what_is_recorded():
    """An app that is handed the environ works, and what its request takes of it is noted."""
    other = PlainRequest.application(lambda request: PlainResponse(request.path))
    with render() as recorder:
        assert PlainResponse.from_app(other, request.environ).get_data() == b"/x"
    assert list(recorder.reads) == ["environ"]
    taken = names_read(lambda: PlainRequest(request.environ))
    assert taken == ["scheme", "host", "remote address"]


# The request's attributes.


def test_what_the_key_says_is_free_to_read():
    """Method, path, query, arguments and endpoint are in the key: reading them is no input."""
    with render(query="a=1") as recorder:
        assert (request.method, request.path, request.args["a"]) == ("GET", "/x", "1")
        assert (request.full_path, request.query_string) == ("/x?a=1", b"a=1")
        assert type(request.args) is ImmutableMultiDict
        assert (request.endpoint, request.values["a"], request.environ["QUERY_STRING"]) == (
            "x",
            "1",
            "a=1",
        )
        assert (request.view_args, request.root_path, request.blueprint) == ({}, "", None)
        assert (url_for("x"), request.is_multithread, list(request.args)) == ("/x", True, ["a"])
        assert current_app.full_dispatch_request().get_data() == b"x"
    assert recorder.reads == {}


@pytest.mark.parametrize(
    ("attribute", "names"),
    [
        ("remote_addr", ["remote address"]),
        ("access_route", ["header X-Forwarded-For", "remote address"]),
        ("remote_user", ["environ REMOTE_USER"]),
        ("host", ["host"]),
        ("server", ["host"]),
        ("scheme", ["scheme"]),
        ("is_secure", ["scheme"]),
        ("url", ["scheme", "host"]),
        ("base_url", ["scheme", "host"]),
        ("url_root", ["scheme", "host"]),
        ("host_url", ["scheme", "host"]),
        ("authorization", ["header Authorization"]),
        ("referrer", ["header Referer"]),
        ("origin", ["header Origin"]),
        ("user_agent", ["header User-Agent"]),
        ("cache_control", ["header Cache-Control"]),
        ("data", ["body"]),
        ("form", ["body"]),
        ("files", ["body"]),
        ("is_json", ["body"]),
        ("mimetype", ["body"]),
        ("content_type", ["body"]),
        ("content_length", ["body"]),
        ("stream", ["body"]),
        ("input_stream", ["body"]),
        ("tenant", ["request.tenant"]),
        ("__tenant", ["request.__tenant"]),
    ],
)
def test_what_an_attribute_reads(attribute, names):
    """Request attributes, copied at construction, derived or set by hooks, count when read."""
    assert names_read(lambda: getattr(request, attribute, None)) == names


def test_a_body_is_looked_for_by_its_kind():
    """Asking for JSON reads the body, whether or not the answer is silent."""
    assert names_read(lambda: request.get_json(silent=True)) == ["body"]
    assert names_read(lambda: request.get_data()) == ["body"]


def test_conditions_and_tracing_are_blank():
    """Conditional, range and tracing headers are absent and no inputs."""
    with render() as recorder:
        assert request.headers.get("X-Request-Id") is None
        assert not request.if_none_match
        assert (request.range, request.if_modified_since) == (None, None)
    assert recorder.reads == {}


def test_what_the_view_set_on_the_request_is_no_input():
    """An attribute that the render itself set is free to read."""

    def view():
        request.tenant = 1
        request.host = "own"
        return request.tenant

    assert names_read(view) == []


@pytest.mark.parametrize(
    ("look", "name"),
    [
        (lambda headers: headers["Accept-Language"], "header Accept-Language"),
        (lambda headers: headers.get("accept-language"), "header Accept-Language"),
        (lambda headers: headers.get("accept_language"), "header Accept-Language"),
        (lambda headers: headers.getlist("ACCEPT-LANGUAGE"), "header Accept-Language"),
        (lambda headers: headers.get_all("Accept-Language"), "header Accept-Language"),
        (lambda headers: "Accept-Language" in headers, "header Accept-Language"),
        (lambda headers: headers.get("X-Number", type=int), "header X-Number"),
        (lambda headers: headers.get("cookie"), "cookies"),
        (lambda headers: headers.get("Host"), "host"),
        (lambda headers: headers.get("Content-Type"), "body"),
        (list, "all headers"),
        (len, "all headers"),
        (bool, "all headers"),
        (str, "all headers"),
        (repr, "all headers"),
        (dict, "all headers"),
        (lambda headers: list(headers.keys()), "all headers"),
        (lambda headers: list(headers.values()), "all headers"),
        (lambda headers: list(headers.items(lower=True)), "all headers"),
        (lambda headers: headers.to_wsgi_list(), "all headers"),
    ],
)
def test_headers(look, name):
    """A look-up of a header, in whatever spelling, reads that one; a walk reads all headers."""
    read = names_read(lambda: look(request.headers), HTTP_ACCEPT_LANGUAGE="de")
    assert read == [name]


def test_all_headers_are_those_that_are_visible():
    """A walk of the headers yields what the environ has."""
    with render(HTTP_ACCEPT="text/html"):
        assert list(request.headers) == [("Host", "localhost"), ("Accept", "text/html")]
        assert request.headers.getlist("accept") == ["text/html"]
        assert request.headers.getlist("X-None", type=int) == []


def test_external_urls_read_host_and_scheme():
    """A URL with a host in it depends on where the request went, a redirect on the query too."""
    assert names_read(lambda: url_for("x", _external=True)) == ["host", "scheme"]

    def redirected():
        _cv_request.get().url_adapter.make_redirect_url("/y")

    assert names_read(redirected, rules=READ) == ["host", "scheme", "query"]


def test_a_copy_of_the_context_is_recorded_too():
    """Copying the context is no read; its URLs are recorded as the original's are."""
    path = names_read(lambda: copy_current_request_context(lambda: request.path)())
    assert path == []
    url = names_read(lambda: copy_current_request_context(lambda: url_for("x", _external=True))())
    assert url == ["host", "scheme"]


# Cookies and parameters.

ONE_OF = {
    "[]": lambda m: "a" in m and m["a"],
    "in": lambda m: "a" in m,
    "get": lambda m: m.get("a"),
    "get(key=)": lambda m: m.get(key="a"),
    "get(type=)": lambda m: m.get("a", type=int),
    "getlist": lambda m: m.getlist("a"),
}
ALL_OF = {
    "iter": list,
    "len": len,
    "bool": bool,
    "repr": repr,
    "str": str,
    "hash": hash,
    "dict": dict,
    "**": lambda m: {**m},
    "call **": lambda m: keywords(**m),
    "update": lambda m: {}.update(m),
    "|": lambda m: {} | m,
    "MultiDict": MultiDict,
    "keys": lambda m: m.keys(),
    "values": lambda m: list(m.values()),
    "items": lambda m: list(m.items(multi=True)),
    "lists": lambda m: list(m.lists()),
    "listvalues": lambda m: list(m.listvalues()),
    "to_dict": lambda m: m.to_dict(flat=False),
    "copy": lambda m: m.copy(),
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "pickle": pickle.dumps,
    "==": lambda m: m == {},
    "r==": lambda m: m == {},
    "==multi": lambda m: MultiDict() == m,
    "json": json.dumps,
    "json indent": lambda m: json.dumps(m, indent=1),
    "jsonify": jsonify,
    "template": lambda m: render_template_string("{{ m|tojson }}", m=m),
}


@pytest.mark.parametrize("cookie", ["", "a=1; b=2"])
@pytest.mark.parametrize("how", ONE_OF)
def test_one_cookie_is_one_input(how, cookie):
    """Looking for a cookie by its name reads that cookie alone."""
    more = {"HTTP_COOKIE": cookie} if cookie else {}
    assert names_read(lambda: ONE_OF[how](request.cookies), **more) == ["cookie a"]


@pytest.mark.parametrize("cookie", ["", "a=1; b=2"])
@pytest.mark.parametrize("how", ALL_OF)
def test_a_walk_of_the_cookies_is_all_of_them(how, cookie):
    """Whatever walks, copies, compares or prints the cookies reads all, also where none came."""
    more = {"HTTP_COOKIE": cookie} if cookie else {}
    assert names_read(lambda: ALL_OF[how](request.cookies), **more) == ["cookies"]


@pytest.mark.parametrize("query", ["", "a=1&b=2&a=3"])
@pytest.mark.parametrize("how", ONE_OF)
def test_one_parameter_is_one_input(how, query):
    """With ``query="read"`` a parameter by its name is an input, as cookies are."""
    assert names_read(lambda: ONE_OF[how](request.args), rules=READ, query=query) == ["query a"]


@pytest.mark.parametrize("query", ["", "a=1&b=2&a=3"])
@pytest.mark.parametrize("how", ALL_OF)
def test_a_walk_of_the_parameters_is_the_query(how, query):
    """With ``query="read"`` whatever walks the parameters reads the query, also an empty one."""
    assert names_read(lambda: ALL_OF[how](request.args), rules=READ, query=query) == ["query"]


@pytest.mark.parametrize(
    ("view", "names"),
    [
        (lambda: request.values.get("a"), ["query a"]),
        (lambda: list(request.values), ["query"]),
        (lambda: request.query_string, ["query"]),
        (lambda: request.full_path, ["query"]),
        (lambda: request.url, ["scheme", "host", "query"]),
        (lambda: request.base_url, ["scheme", "host"]),
        (lambda: request.environ["QUERY_STRING"], ["query"]),
        (lambda: request.environ.get("RAW_URI"), ["query"]),
        (lambda: request.path, []),
    ],
)
def test_the_query_where_it_is_learned(view, names):
    """With ``query="read"`` every form of the query string is an input."""
    assert names_read(view, rules=READ, query="a=1") == names


def test_recorded_mappings_say_what_plain_ones_say():
    """Every reader of the recorded cookies and parameters answers as the plain one's does."""
    plain = ImmutableMultiDict([("a", "1"), ("b", "2"), ("a", "3")])
    with render(rules=READ, query="a=1&b=2&a=3", HTTP_COOKIE="a=1; b=2; a=3"):
        for recorded in (request.args, request.cookies):
            assert isinstance(recorded, ImmutableMultiDict)
            assert recorded == plain
            assert plain == recorded
            assert recorded == copy.copy(recorded)
            assert operator.eq(recorded, recorded)
            assert (recorded | {"c": "4"}).getlist("c") == ["4"]
            for how in ONE_OF:
                assert ONE_OF[how](recorded) == ONE_OF[how](plain), how
            for how in ("iter", "len", "repr", "hash", "dict", "to_dict", "items", "lists", "json"):
                assert ALL_OF[how](recorded) == ALL_OF[how](plain), how
            with pytest.raises(TypeError):
                recorded["a"] = "5"
            with pytest.raises(KeyError):
                _ = recorded["z"]


def test_comparing_two_reads_both():
    """An operator between recorded mappings reads each of them."""
    read = names_read(lambda: request.args == request.cookies, rules=READ)
    assert read == ["query", "cookies"]


def test_an_encoder_that_walks_a_mappings_own_storage_finds_no_text():
    """What C code reads without asking is neither the caller's nor an empty mapping."""
    with render(HTTP_COOKIE="a=1"):
        assert [type(key) for key in dict.keys(request.cookies)] != [str]
        assert len(dict.keys(request.cookies)) == 1


@pytest.mark.parametrize("cls", [ImmutableMultiDict, MultiDict, ImmutableDict, dict, Accept])
def test_every_reader_of_werkzeugs_classes_is_known(cls):
    """A method that one of these gains one day must not open an unseen way to read."""
    bases = [base for base in cls.__mro__ if base.__module__ != "typing"]
    names = {name for base in bases for name in vars(base)} - set(dir(object))
    names -= {"__module__", "__dict__", "__weakref__", "__annotations__"}
    names -= {"__firstlineno__", "__static_attributes__"}  # of every class, from Python 3.13 on
    names -= {"__orig_bases__", "__parameters__"}
    names -= {"fromkeys", "__class_getitem__", "__setstate__", "_hash_cache", "_iter_hashitems"}
    if issubclass(cls, list):
        names -= {"_specificity", "_value_matches", "_best_single_match"}  # work on the object
        names -= {"append", "extend", "insert", "remove", "reverse", "sort"}
        names -= {"__setitem__", "__delitem__", "__iadd__", "__imul__", "pop", "clear"}
    assert names - ONE - WHOLE - WRITERS == {"best"} & names


# Accept headers.


@pytest.mark.parametrize(
    ("attribute", "header", "text", "choices"),
    [
        ("accept_languages", "Accept-Language", "de-at,en;q=0.5", ["en", "de"]),
        ("accept_mimetypes", "Accept", "text/*;q=0.5,application/json", ["text/html"]),
        ("accept_charsets", "Accept-Charset", "utf-8", ["latin-1", "utf-8"]),
        ("accept_encodings", "Accept-Encoding", "br,gzip;q=0.2", ["gzip", "zstd"]),
    ],
)
def test_best_match_reads_its_result(attribute, header, text, choices):
    """The best of some choices is an input of its own, with the value that the view got."""
    key = f"HTTP_{header.upper().replace('-', '_')}"
    with render(**{key: text}) as recorder:
        found = getattr(request, attribute).best_match(iter(choices))
        other = getattr(request, attribute).best_match(choices, default=choices[0])
    wanted = json.dumps(choices, separators=(",", ":"))
    names = [
        f"best {header} of {wanted} else null",
        f"best {header} of {wanted} else {json.dumps(choices[0])}",
    ]
    assert list(recorder.reads) == names
    assert Inputs({key: text}, {}, {}, Rules()).under(names)[0] == (found, other)
    assert found is not None


@pytest.mark.parametrize(
    "use",
    [
        lambda accept: accept.best_match([1]),
        lambda accept: accept.best_match(["de"], default=0),
        lambda accept: accept.best_match([f"de-{n}" for n in range(200)]),
        lambda accept: accept.best,
        lambda accept: accept.provided,
        lambda accept: accept.quality("de"),
        lambda accept: accept["de"],
        lambda accept: accept[0],
        lambda accept: accept[:1],
        lambda accept: "de" in accept,
        lambda accept: accept.index("de"),
        lambda accept: accept.find("fr"),
        lambda accept: accept.count(("de", 1)),
        lambda accept: accept.to_header(),
        lambda accept: list(accept.values()),
        lambda accept: accept == [],
        lambda accept: operator.eq([], accept),
        lambda accept: accept != [],
        lambda accept: accept < [("a", 1)],
        lambda accept: operator.add(accept, []),
        lambda accept: operator.add([], accept),
        lambda accept: accept * 2,
        lambda accept: 2 * accept,
        lambda accept: list(reversed(accept)),
        lambda accept: [*accept],
        lambda accept: [].extend(accept),
        lambda accept: LanguageAccept(accept),
        list,
        tuple,
        len,
        bool,
        str,
        repr,
        hash,
        sorted,
        copy.copy,
        pickle.dumps,
        json.dumps,
    ],
)
def test_any_other_use_of_an_accept_header_reads_it(use):
    """Whatever is not a best match of text reads the header; making the object reads nothing."""

    def view():
        accept = request.accept_languages
        assert isinstance(accept, LanguageAccept)
        assert recorder_of(_cv_app.get().g).reads == {}
        with suppress(AttributeError, ValueError):  # no choice of a language is a number
            use(accept)

    assert names_read(view, HTTP_ACCEPT_LANGUAGE="de") == ["header Accept-Language"]


def test_recorded_accept_headers_say_what_plain_ones_say():
    """A recorded Accept header answers as the plain one does."""
    plain = PlainRequest({"HTTP_ACCEPT": "text/html;q=0.5,*/*;q=0.1"}).accept_mimetypes
    with render(HTTP_ACCEPT="text/html;q=0.5,*/*;q=0.1"):
        recorded = request.accept_mimetypes
        assert isinstance(recorded, MIMEAccept)
        assert recorded == plain
        assert operator.add([], recorded) == list(plain)
        assert (recorded.accept_html, recorded.accept_json, recorded.best, recorded.provided) == (
            True,
            True,
            "text/html",
            True,
        )
        assert (str(recorded), repr(recorded), recorded["a/b"]) == (str(plain), repr(plain), 0.1)
        with pytest.raises(ValueError, match="invalid mimetype"):
            recorded.best_match(["html"])
    assert names_read(lambda: request.accept_mimetypes.accept_json) == ["header Accept"]


def test_a_best_match_that_raises_reads_the_header():
    """Whether a choice is refused depends on what was sent."""

    def view():
        with suppress(ValueError):
            request.accept_mimetypes.best_match(["html"])

    assert names_read(view, HTTP_ACCEPT="text/html") == ["header Accept"]


# An app's own classes.


def of(**body) -> Flask:
    return shop(type("Own", (Request,), body))


def test_an_apps_own_properties_work_and_are_recorded_by_what_they_read():
    """A request class's own cookies, parameters and Accept headers are left as they are."""

    class Own(Request):
        @property
        def cookies(self):
            return {"a": self.headers.get("X-A")}

        @cached_property
        def args(self):
            return self.query_string.decode()

        @property
        def accept_languages(self):
            return self.environ.get("HTTP_ACCEPT_LANGUAGE", "none")

    with render(shop(Own), READ, "a=1") as recorder:
        assert (request.cookies, request.args) == ({"a": None}, "a=1")
        assert request.accept_languages == "none"
    assert list(recorder.reads) == ["header X-A", "query", "header Accept-Language"]


def test_an_apps_own_address_counts_with_what_it_reads():
    """A property over what Werkzeug's constructor sets keeps its getter and its setter."""

    class Own(Request):
        @property
        def remote_addr(self):
            return self.headers.get("X-Real-Ip", self.address)

        @remote_addr.setter
        def remote_addr(self, value):
            self.address = f"from {value}"

    with render(shop(Own)) as recorder:
        assert request.remote_addr == "from None"
    assert list(recorder.reads) == ["remote address", "header X-Real-Ip"]


def test_what_an_apps_constructor_reads_counts():
    """Reads of a request class's own constructor are inputs, those of Werkzeug's own are none."""

    def construct(self, environ, *args, **kwargs):
        Request.__init__(self, environ, *args, **kwargs)
        self.tenant = environ.get("HTTP_X_TENANT")
        self.many = self.headers.getlist("X-Many")
        self.address = self.remote_addr

    read = names_read(lambda: request.tenant, app=of(__init__=construct))
    assert read == ["header X-Tenant", "header X-Many", "remote address"]


def test_a_default_of_an_apps_request_class_is_read_as_what_a_hook_sets():
    """A class attribute that a hook may set for the caller counts, until the view sets it."""
    app = of(tenant=None)
    with render(app) as recorder:
        assert request.tenant is None
    assert list(recorder.reads) == ["request.tenant"]

    def view():
        request.tenant = 3
        assert request.tenant == 3

    assert names_read(view, app=app) == []


def test_an_apps_own_getattr_is_asked_too():
    """Attributes that a request class makes up are still there."""
    app = of(__getattr__=lambda self, name: f"made {name}")
    with render(app) as recorder:
        assert request.colour == "made colour"
    assert list(recorder.reads) == ["request.colour"]


@pytest.mark.parametrize("storage", [MultiDict, ImmutableDict, dict])
def test_an_apps_own_storage_class_is_recorded(storage):
    """Cookies keep the class that the app chose, and are noted by name."""
    with render(of(dict_storage_class=storage), HTTP_COOKIE="a=1") as recorder:
        assert isinstance(request.cookies, storage)
        assert (request.cookies["a"], request.cookies.get("b")) == ("1", None)
    assert list(recorder.reads) == ["cookie a", "cookie b"]


def test_an_untrusted_host_raises_as_ever():
    """Where Flask refuses the host, asking for it raises what it raises outside a render."""
    with render(shop(TRUSTED_HOSTS=["good.example"])) as recorder:
        assert _cv_request.get().url_adapter is None
        with pytest.raises(Exception, match="not trusted"):
            _ = request.host
    assert "host" in recorder.reads


# The session.


def test_the_session_is_its_cookie():
    """Resolving the session reads its cookie; looking whether it was accessed does not."""
    with render(shop(SESSION_COOKIE_NAME="id")) as recorder:
        context = _cv_request.get()
        assert (context._session.accessed, context._session.modified) == (False, False)
        assert recorder.reads == {}
        assert (session.get("a"), session.permanent, session.new) == (None, False, False)
        assert list(recorder.reads) == ["cookie id"]
        assert context._session.accessed is True
        assert not writes_session(context)


def test_the_sessions_cookie_is_the_interfaces_to_name():
    """A session interface of the app's own may call its cookie something else."""

    class Own(SecureCookieSessionInterface):
        def get_cookie_name(self, app):
            return "own"

    app = shop()
    app.session_interface = Own()
    assert names_read(lambda: session.get("a"), app=app) == ["cookie own"]


def set_attribute(name):
    return lambda: setattr(session, name, True)


@pytest.mark.parametrize(
    "write",
    [
        lambda: session.update(a=1),
        lambda: session.__setitem__("a", 1),
        lambda: session.setdefault("a", 1),
        lambda: session.clear(),
        lambda: session.__ior__({"a": 1}),
        lambda: flash("hello"),
        set_attribute("permanent"),
        set_attribute("modified"),
    ],
)
def test_changing_the_session_is_for_one_person(write):
    """Whatever changes the session is noted as that."""
    with render() as recorder:
        write()
        assert writes_session(_cv_request.get())
    assert list(recorder.reads) == ["cookie session", "writes session"]
    assert recorder.detail == "reads cookie session; writes session"


@pytest.mark.parametrize(
    "read",
    [
        lambda: session.pop("a", None),
        lambda: session.get("a"),
        lambda: list(session),
        lambda: session.permanent,
        get_flashed_messages,
        lambda: render_template_string("{{ session.a }}"),
    ],
)
def test_reading_the_session_changes_nothing(read):
    """Reading the session, messages too, is no change of it."""
    assert names_read(read) == ["cookie session"]


def test_a_changed_session_can_be_taken_back():
    """The session works as one: what was put in is there, and what is taken out is a change."""
    with render() as recorder:
        session["a"] = 1
        assert session.pop("a") == 1
        session["b"] = 2
        del session["b"]
        assert dict(session) == {}
    assert recorder.names == ("cookie session", "writes session")


def test_a_copy_of_the_session_leaves_the_recorder_alone():
    """What is copied deeply is the session, not the render behind it."""

    class Listener:
        def __init__(self):
            self.own = threading.Lock()

        def hear(self, name, kind, place):
            pass

    recorder = Recorder(Rules(), Listener().hear)
    with recorded_context(shop(), environ_of(), recorder) as context:
        assert copy.deepcopy(context.session) == {}


def test_a_render_saves_no_session():
    """Whatever the session interface does at the end of a request, a render leaves it out."""

    class Own(SecureCookieSessionInterface):
        def save_session(self, app, session, response):
            raise AssertionError("saved")

    app = shop()
    app.session_interface = Own()
    with render(app):
        session["a"] = 1
        response = current_app.full_dispatch_request()
    assert "Set-Cookie" not in response.headers


def test_a_scope_stands_for_the_person():
    """In a scoped render only learned inputs count, and the session is the caller's own."""
    app = shop()
    with app.test_request_context():
        cookie = app.session_interface.get_signing_serializer(app).dumps({"a": 1})
    caller = {"HTTP_COOKIE": f"session={cookie}", "REMOTE_ADDR": "10.0.0.1"}

    def view():
        assert (session["a"], request.remote_addr) == (1, "10.0.0.1")
        assert request.headers.get("Authorization") is None
        assert request.headers.get("Origin") is None
        assert not writes_session(_cv_request.get())
        session["a"] = 2
        assert writes_session(_cv_request.get())

    assert names_read(view, app=app, scoped=True, **caller) == ["header Origin"]


def test_in_a_scope_a_walk_of_the_environ_reads_what_is_learned_of_it():
    """What a scope does not stand for is still read by reading everything."""
    rules = Rules(query="read", vary=frozenset({"header Origin", "cookie theme", "host", "scheme"}))
    walked = names_read(lambda: dict(request.environ), scoped=True, rules=rules)
    assert walked == ["all headers", "scheme", "query"]
    assert names_read(lambda: list(request.cookies), scoped=True, rules=rules) == ["cookie theme"]


# ``g``.


def test_g_notes_names_that_nobody_set():
    """Looking for a name in g notes it unless the render set it itself."""
    with render() as recorder:
        g.own = 1
        found = (g.own, g.get("a"), "b" in g, g.pop("c", None), g.setdefault("d", 4))
        assert found == (1, None, False, None, 4)
        assert not hasattr(g, "e")
        assert getattr(g, "__f", 5) == 5
        with pytest.raises(AttributeError):
            del g.h
        with pytest.raises(KeyError):
            g.pop("i")
        names = ("a", "b", "c", "d", "e", "__f", "h", "i")
        assert list(recorder.reads) == [f"g.{name}" for name in names]
        assert recorder_of(_cv_app.get().g) is recorder
        assert set(g) == {"own", "d"}


def test_g_shows_what_the_caller_may_share():
    """A shown name is as if it were set from when it is read, and reading it is an input."""
    with render(shown={"lang": "de", "zone": None, "other": 1}) as recorder:
        assert (g.lang, "zone" in g, g.get("zone", 7)) == ("de", True, None)
        assert (g.pop("lang"), g.get("lang")) == ("de", None)
        assert list(recorder.reads) == ["g.lang", "g.zone"]
        assert sorted(g) == ["other", "zone"]
        assert list(recorder.reads) == ["g.lang", "g.zone", "g.*"]


def test_what_the_render_sets_in_g_hides_the_callers():
    """A name that the render set, and maybe took away again, is its own."""
    with render(shown={"lang": "de", "zone": "z"}) as recorder:
        g.lang = "en"
        assert (g.lang, g.pop("lang"), g.get("lang")) == ("en", "en", None)
        vars(g).update(zone="y")
        del g.zone
        assert not hasattr(g, "zone")
        g.zone = "y"
        assert recorder.reads == {}
        assert dict(vars(g)) == {"zone": "y"}
    with render(shown={"lang": "de"}):
        vars(g).clear()
        assert list(g) == []


@pytest.mark.parametrize(
    "walk",
    [list, dir, lambda g: dict(vars(g)), lambda g: list(vars(g).items()), lambda g: {**vars(g)}],
)
def test_listing_g_reads_all_of_it(walk):
    """Whatever lists the names in g reads all of them, and finds the shown ones."""
    with render(shown={"lang": "de"}) as recorder:
        assert "lang" in str(walk(_cv_app.get().g))
    assert list(recorder.reads) == ["g.*"]


def test_an_apps_own_class_of_g():
    """Defaults, properties and methods of the app's class work; hooks may have set a default."""

    class G(_AppCtxGlobals):
        user = None

        @property
        def shout(self):
            return self.lang.upper()

        def greet(self):
            return f"hello {self.user}"

        def __getattr__(self, name):
            if name == "lazy":
                self.lazy = "made"
                return self.lazy
            return super().__getattr__(name)

    app = shop()
    app.app_ctx_globals_class = G
    with render(app, shown={"lang": "de", "user": "u"}) as recorder:
        assert isinstance(_cv_app.get().g, G)
        assert (g.shout, g.greet(), g.lazy, g.lazy) == ("DE", "hello u", "made", "made")
    assert list(recorder.reads) == ["g.lang", "g.user", "g.lazy"]
    with render(app) as recorder:
        assert g.user is None
    assert list(recorder.reads) == ["g.user"]


def test_a_class_of_g_that_knows_nothing_of_flasks():
    """Any class will do for g."""
    app = shop()
    app.app_ctx_globals_class = type("G", (), {})
    with render(app, shown={"lang": "de", "zone": 1, "other": 3}) as recorder:
        g.zone = 2
        del g.other
        assert (g.lang, g.zone, hasattr(g, "user")) == ("de", 2, False)
        del g.lang
        assert not hasattr(g, "lang")
    assert list(recorder.reads) == ["g.other", "g.lang", "g.user"]


def test_what_is_in_g_before_the_view_is_the_renders_own():
    """Names that were set while the context was pushed are no inputs."""
    recorder = Recorder(Rules(), lambda name, kind, place: None)
    context = recorded_context(shop(), environ_of(), recorder)
    with context:
        g.connection = 1
        record_g(_cv_app.get(), recorder, {"connection": 2})
        recorder.arm()
        assert g.connection == 1
        assert recorder.reads == {}


def test_an_ordinary_request_has_no_recorder():
    """Outside a render g belongs to nobody's recorder."""
    with shop().test_request_context("/x"):
        assert recorder_of(_cv_app.get().g) is None


# What a request brings.

BROUGHT = ("header Origin", "g.lang", "g.user", "request.tenant", "query a", "cookie c")


def test_what_an_ordinary_request_brings():
    """The environ, g, the request's attributes and the query are the inputs of a request."""
    app = shop()
    headers = {"Origin": "o", "Cookie": "c=1"}
    with app.test_request_context("/x?b=2&a=1", headers=headers):
        g.lang, g.user, request.tenant = "de", object(), 1
        inputs = inputs_of(_cv_request.get(), READ)
        values, passes = inputs.under(BROUGHT)
    assert values == ("o", ("g", "de"), None, None, ("1",), None)
    assert passes == "reads g.user, request.tenant, cookie c"


def test_what_a_render_brings_is_no_read():
    """A cached view inside a render gets the render's inputs, shown names too, unnoted."""
    with render(rules=READ, query="a=1", shown={"lang": "de"}, HTTP_ORIGIN="o") as recorder:
        g.user = "u"
        inputs = inputs_of(_cv_request.get(), READ)
        values, passes = inputs.under(BROUGHT)
        assert values == ("o", ("g", "de"), ("g", "u"), None, ("1",), None)
        assert passes == ""
        inputs.snapshot()
        inputs.visible()
        assert recorder.reads == {}


@pytest.mark.parametrize(
    ("read", "names"),
    [
        (lambda adapter: adapter.server_name, ["host"]),
        (lambda adapter: adapter.subdomain, ["host"]),
        (lambda adapter: adapter.get_host(None), ["host"]),
        (lambda adapter: adapter.url_scheme, ["scheme"]),
        (lambda adapter: adapter.query_args, []),
        (lambda adapter: adapter.build("x"), []),
    ],
)
def test_what_the_url_adapter_has_copied_is_read_there(read, names):
    """Host and scheme are inputs also where routing keeps them."""
    with render() as recorder:
        read(request_ctx.url_adapter)
    assert list(recorder.reads) == names
