"""The recorder: what a render reads beyond its key, where, and what it is shown instead.

A render gets a request of its own in which nothing personal of anybody's is present. Reading
something that is absent is an input all the same ("absent is a value"), so every way to read one is
noted: the environ, the request's attributes that Werkzeug copies from it, cookies, Accept headers,
the session, ``g``, external URLs.

One recorder belongs to one render; whichever thread runs the render's code may enter. Must not
know entries, engines or loops.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from flask import Flask, Request
from flask.ctx import AppContext, RequestContext
from flask.globals import _cv_app
from flask.sessions import NullSession, SecureCookieSession
from werkzeug.datastructures import EnvironHeaders
from werkzeug.routing import Map
from werkzeug.sansio.request import Request as SansRequest
from werkzeug.utils import cached_property
from werkzeug.wrappers import Request as PlainRequest

from .events import telling
from .inputs import Inputs, Rules
from .keys import canonical_query
from .names import Kind, describe
from .recorded import (
    RecordedEnviron,
    RecordedHeaders,
    RecordedNames,
    is_dunder,
    named_like,
    names_of,
    per_class,
    raw,
    recorded_accept,
    recorded_dict,
    recorded_g_class,
)

# What Werkzeug's own constructor and Flask's binding of the URL map look at, for any request.
_OF_CONSTRUCTION = frozenset(
    {"scheme", "host", "remote address", "query", "header Connection", "header Upgrade"}
)
_CONSTRUCTORS = frozenset(
    {"werkzeug.wrappers.request:Request.__init__", "flask.app:Flask.create_url_adapter"}
)
# What a read of everything reads, by the first word.
_WHOLE = {
    "all": ("environ",),
    "header": ("all headers", "environ"),
    "best": ("all headers", "environ"),
    "cookie": ("cookies", "all headers", "environ"),
    "cookies": ("all headers", "environ"),
    "query": ("query", "environ"),
    **dict.fromkeys(("host", "body"), ("all headers", "environ")),
    **dict.fromkeys(("scheme", "remote", "environ"), ("environ",)),
}
_LIBRARIES = frozenset(
    """
    aswr werkzeug flask jinja2 markupsafe itsdangerous blinker asgiref
    collections contextlib copy functools inspect json
    """.split()
)


class Recorder:
    """What one render read, each input with its place (``file:line``).

    ``on_read`` is called, while the render goes on, for each input when it is first read, with its
    kind and place. Where a scope stands for the person, `scoped`, only learned inputs count.
    ``makes_g``: what the render finds in ``g``, or misses there, is its own doing and no input.
    """

    def __init__(
        self,
        rules: Rules,
        on_read: Callable[[str, Kind, str], None],
        *,
        scoped: bool = False,
        makes_g: bool = False,
    ) -> None:
        self.rules = rules
        self.makes_g = makes_g
        self.scoped = scoped
        self.reads: dict[str, str] = {}
        self._on_read = on_read
        self.armed = False
        self._constructing = False
        self.given: Mapping[str, Any] = {}  # the render's environ

    def arm(self) -> None:
        """From now on reads count."""
        self.armed = True

    def disarm(self) -> None:
        """Reads no longer count: teardown is not the view."""
        self.armed = False

    @contextmanager
    def constructing(self) -> Iterator[None]:
        """Within, what making any request takes does not count."""
        self._constructing = True
        try:
            yield
        finally:
            self._constructing = False

    def __deepcopy__(self, memo: Any) -> "Recorder":
        return self  # a copy of what it records is read in the same render

    def note(self, name: str) -> None:
        """The render reads an input."""
        if not self.armed or not name or self._known(name) or telling():
            return
        if self.makes_g and name.startswith("g."):
            return
        kind = self.rules.kind(name)
        if self.scoped and kind is not Kind.LEARNED and not self._lacks(name):
            for part in self._learned_parts(name):
                self.note(part)
            return
        frame = sys._getframe(1)
        if self._constructing and name in _OF_CONSTRUCTION and is_below(frame, _CONSTRUCTORS):
            return
        if not self.rules.records(name) or is_below(frame, self.rules.functions):
            return
        self.reads[name] = place = place_of(frame)
        self._on_read(name, kind, place)

    def _lacks(self, name: str) -> bool:
        """Of what is the caller's own: is it absent even from a render in his name?"""
        if name.startswith("environ "):
            return name[8:] not in self.given
        return name == "body" or name.startswith("request.")

    def _known(self, name: str) -> bool:
        if name in self.reads:
            return True
        word, _, rest = name.partition(" ")
        if word == "best" and f"header {rest.partition(' ')[0]}" in self.reads:
            return True
        if word.startswith("g."):
            return "g.*" in self.reads
        return any(whole in self.reads for whole in _WHOLE.get(word, ()))

    def _learned_parts(self, name: str) -> tuple[str, ...]:
        """What is learned of an input that is for the scope as a whole."""
        if name == "environ":
            return "all headers", "host", "scheme", "query"
        if name == "cookies":
            return tuple(f"cookie {cookie}" for cookie in sorted(self.rules.chosen_cookies))
        return ()

    @property
    def names(self) -> tuple[str, ...]:
        """The inputs that were read, sorted."""
        return tuple(sorted(self.reads))

    @property
    def detail(self) -> str:
        """What was read, for the log and for ``Cache-Status``."""
        return describe(self.reads)


def is_below(frame: FrameType | None, functions: frozenset[str]) -> bool:
    """Is one of these functions, each ``module:qualname``, running around a frame?"""
    while frame is not None:
        if f"{frame.f_globals.get('__name__')}:{frame.f_code.co_qualname}" in functions:
            return True
        frame = frame.f_back
    return False


def place_of(frame: FrameType | None) -> str:
    """``file:line`` of the innermost frame that is not a library's of ours or Flask's."""
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in _LIBRARIES:
            return f"{frame.f_code.co_filename}:{_line_of(frame)}"
        frame = frame.f_back
    return "an unknown place"


def _line_of(frame: FrameType) -> int:
    """The line in the source; a template's compiled code has other lines than its text."""
    template = frame.f_globals.get("__jinja_template__")
    return template.get_corresponding_lineno(frame.f_lineno) if template else frame.f_lineno


# The request.

# Attributes that Werkzeug's constructor and Flask copy from the environ.
_COPIED = {
    "remote_addr": "remote address",
    "scheme": "scheme",
    "server": "host",
    "host": "host",
    "query_string": "query",
}
_ACCEPTS = {
    "accept_mimetypes": "Accept",
    "accept_charsets": "Accept-Charset",
    "accept_encodings": "Accept-Encoding",
    "accept_languages": "Accept-Language",
}
# Attributes that Werkzeug itself looks for before it sets them.
_PROBED = frozenset({"_parsed_content_type", "_cached_data"})


def _static(cls: type[Any], name: str) -> Any:
    """What a class has by a name, unbound; None if nothing."""
    return inspect.getattr_static(cls, name, None)


def _copied(base: type[Request], name: str, what: str) -> property:
    """An attribute whose reading is noted, kept as the app's class keeps it."""
    inner = _static(base, name)

    def read(self: Any) -> Any:
        self._aswr_recorder.note(what)
        if hasattr(type(inner), "__get__"):
            return inner.__get__(self, type(self))
        if name in self.__dict__:
            return self.__dict__[name]
        raise AttributeError(name)

    def write(self: Any, value: Any) -> None:
        if hasattr(type(inner), "__set__"):
            inner.__set__(self, value)
        else:
            self.__dict__[name] = value

    return property(read, write)


def _defaulted(name: str, default: Any) -> property:
    """An attribute of the app's class: a hook may have set the caller's another."""

    def read(self: Any) -> Any:
        if name not in self.__dict__:
            self._aswr_recorder.note(f"request.{name}")
        return self.__dict__.get(name, default)

    return property(read, lambda self, value: self.__dict__.update({name: value}))


def _defaults(base: type[Request]) -> dict[str, Any]:
    """The plain attributes that an app's request class has and Flask's has not."""
    own = [cls for cls in base.__mro__ if cls not in Request.__mro__]
    found = {name: value for cls in reversed(own) for name, value in vars(cls).items()}
    return {
        name: value
        for name, value in found.items()
        if not is_dunder(name)
        and not hasattr(Request, name)
        and not hasattr(type(value), "__get__")
    }


def _write_headers(self: Any, value: Any) -> None:
    if type(value) is EnvironHeaders and isinstance(value.environ, RecordedEnviron):
        value = RecordedHeaders(value.environ)
    self.__dict__["headers"] = value


def _plain_twin(request: Any) -> PlainRequest:
    """A plain request that says the same; what is read of it is not noted."""
    plain = PlainRequest(raw(request.environ), populate_request=False)
    plain.query_string = request.__dict__.get("query_string", plain.query_string)
    plain.dict_storage_class = request.dict_storage_class
    plain.parameter_storage_class = request.parameter_storage_class
    return plain


def _parsed(name: str) -> cached_property[Any]:
    """What Werkzeug parses of one header or of the query, in its recorded form."""
    werkzeugs = vars(SansRequest)[name].fget

    def read(self: Any) -> Any:
        recorder = self._aswr_recorder
        if name == "args":
            if recorder.rules.query != "read":
                return werkzeugs(self)
            return recorded_dict(_plain_twin(self).args, recorder, "query", "query")
        if type(self.headers) is not RecordedHeaders:  # the app's own
            return werkzeugs(self)
        plain = getattr(_plain_twin(self), name)
        if name == "cookies":
            return recorded_dict(plain, recorder, "cookie", "cookies")
        return recorded_accept(plain, recorder, _ACCEPTS[name])

    return cached_property(read, name)


@per_class
def recorded_request_class(base: Any) -> Any:
    """The app's request class, with what does not read the environ each time turned into reads."""

    def construct(self: Any, environ: RecordedEnviron, *args: Any, **kwargs: Any) -> None:
        self.__dict__["_aswr_recorder"] = environ.recorder
        base.__init__(self, environ, *args, **kwargs)

    def absent(self: Any, name: str) -> Any:
        # Nobody set it in the render: a hook may have set it for the caller.
        recorder = self.__dict__.get("_aswr_recorder")
        if recorder is not None and name not in _PROBED and not is_dunder(name):
            recorder.note(f"request.{name}")
        if hasattr(base, "__getattr__"):
            return base.__getattr__(self, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    body: dict[str, Any] = {"__init__": construct, "__getattr__": absent}
    body |= {name: _defaulted(name, default) for name, default in _defaults(base).items()}
    body |= {name: _copied(base, name, what) for name, what in _COPIED.items()}
    if _static(base, "headers") is None:
        body["headers"] = property(lambda self: self.__dict__["headers"], _write_headers)
    for name in ("args", "cookies", *_ACCEPTS):
        source = "query_string" if name == "args" else "headers"
        if _static(base, name) is vars(SansRequest)[name] and _static(base, source) is None:
            body[name] = _parsed(name)
    return named_like(base, body)


@per_class
def _recorded_adapter_class(base: Any) -> Any:
    def build(self: Any, *args: Any, **kwargs: Any) -> str:
        url: str = base.build(self, *args, **kwargs)
        if not url.startswith("/") or url.startswith("//"):
            self._aswr_recorder.note("host")
            self._aswr_recorder.note("scheme")
        return url

    def make_redirect_url(self: Any, *args: Any, **kwargs: Any) -> str:
        for name in ("host", "scheme", "query"):
            self._aswr_recorder.note(name)
        url: str = base.make_redirect_url(self, *args, **kwargs)
        return url

    def get_host(self: Any, *args: Any, **kwargs: Any) -> str:
        if not _is_routing(sys._getframe(1)):
            self._aswr_recorder.note("host")
        host: str = base.get_host(self, *args, **kwargs)
        return host

    body = {"build": build, "make_redirect_url": make_redirect_url, "get_host": get_host}
    copied = {"server_name": "host", "subdomain": "host", "url_scheme": "scheme"}
    copied["query_args"] = "query"
    return named_like(base, body | {name: _noted(name, copied[name]) for name in copied})


def _is_routing(frame: FrameType) -> bool:
    """Werkzeug's own look: what it gives away of it, `build` notes."""
    return frame.f_globals.get("__name__") == "werkzeug.routing.map"


def _noted(name: str, what: str) -> property:
    """An attribute of the adapter's, which Werkzeug itself may read."""

    def read(self: Any) -> Any:
        if not _is_routing(sys._getframe(1)):
            self._aswr_recorder.note(what)
        return self.__dict__[name]

    return property(read, lambda self, value: self.__dict__.update({name: value}))


# The session.


class RecordedSession(NullSession):
    """An empty session: reading it reads its cookie, changing it is for one person alone.

    Flask marks it accessed when anything resolves ``flask.session``, and saves no null session.
    """

    __setitem__: Any = SecureCookieSession.__setitem__
    __delitem__: Any = SecureCookieSession.__delitem__
    clear: Any = SecureCookieSession.clear
    pop: Any = SecureCookieSession.pop
    popitem: Any = SecureCookieSession.popitem
    setdefault: Any = SecureCookieSession.setdefault
    update: Any = SecureCookieSession.update

    def __init__(self, recorder: Recorder, cookie: str) -> None:
        self._recorder = recorder
        self._name = f"cookie {cookie}"
        self._accessed = self._modified = False
        super().__init__()

    @property
    def accessed(self) -> bool:
        return self._accessed

    @accessed.setter
    def accessed(self, value: bool) -> None:
        self._accessed = value
        if value:
            self._recorder.note(self._name)

    @property
    def modified(self) -> bool:
        return self._modified

    @modified.setter
    def modified(self, value: bool) -> None:
        self._modified = value
        if value:
            self._recorder.note("writes session")

    def __getattr__(self, name: str) -> Any:
        """What only the app's own session has, as the ``sid`` of one that is kept on a server."""
        # A template looks for an attribute before it looks for a key.
        by_template = sys._getframe(1).f_globals.get("__name__", "").startswith("jinja2.")
        if not name.startswith("_") and not by_template:
            self._recorder.note(f"session.{name}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


_BINDS = Flask.create_url_adapter


class RecordedContext(RequestContext):
    """A request context on a recorded environ; copies of it are recorded too."""

    def __init__(self, app: Flask, environ: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        recorder = environ.recorder  # type: ignore[attr-defined]
        with recorder.constructing():
            super().__init__(app, environ, *args, **kwargs)
        adapter = self.url_adapter
        if adapter is not None:
            adapter.__class__ = _recorded_adapter_class(type(adapter))
            adapter._aswr_recorder = recorder  # type: ignore[attr-defined]


def recorded_context(app: Flask, environ: dict[str, Any], recorder: Recorder) -> RequestContext:
    """A request context for a render; its recorder is not armed when it is returned.

    Where a scope stands for the person, Flask opens the real session on push; else there is an
    empty one, and no ``open_session`` runs.
    """
    recorded = RecordedEnviron(environ, recorder)
    recorder.given = environ
    session = None
    if not recorder.scoped:
        session = RecordedSession(recorder, app.session_interface.get_cookie_name(app))
    if not _constructs_as_flask(app):  # what is the app's own may look at headers
        recorder.arm()
    try:
        with recorder.constructing():
            request = recorded_request_class(app.request_class)(recorded)
        request.json_module = app.json
        return RecordedContext(app, recorded, request=request, session=session)
    finally:
        recorder.disarm()


def _constructs_as_flask(app: Flask) -> bool:
    """Is all that making a request context reads what it takes to make any?"""
    binds = app.create_url_adapter
    plain = app.request_class is Request and getattr(binds, "__func__", None) is _BINDS
    return plain and type(app.url_map) is Map


def writes_session(context: RequestContext) -> bool:
    """Has the session of a context been changed? Not a read."""
    return bool(getattr(context._session, "modified", False))


def differs_from_cookie(context: RequestContext) -> bool:
    """Has a hook left something in the session that is not in what the request sent?

    A render in the caller's name opens it as it was sent. That it is permanent is no content.
    """
    session, app = context._session, context.app
    if session is None or not session.modified:
        return False
    sent = app.session_interface.open_session(app, context.request)
    before, now = dict(sent or {}), dict(session)
    before.pop("_permanent", None)
    now.pop("_permanent", None)
    return before != now


# ``g``.


def record_g(
    app_context: AppContext, recorder: Recorder, shown: Mapping[str, Any]
) -> RecordedNames:
    """Record the ``g`` of a pushed app context; what is in it already is the render's own.

    `shown` are names of the caller's that the render may see; reading one is an input.
    """
    g: Any = app_context.g
    names = RecordedNames(names_of(g), recorder, shown)
    object.__setattr__(g, "__class__", recorded_g_class(type(g)))  # setting any other way names it
    object.__setattr__(g, "__dict__", names)
    return names


def recorder_of(g: Any) -> Recorder | None:
    """The recorder of the render whose ``g`` this is; None in an ordinary request."""
    names = names_of(g)
    recorder = names.recorder if isinstance(names, RecordedNames) else None
    return recorder if isinstance(recorder, Recorder) else None


def inputs_of(context: RequestContext, rules: Rules) -> Inputs:
    """What the request of a context brings, a render's too; not a read of anything."""
    request = context.request
    environ = request.environ
    names = names_of(_cv_app.get().g)
    if isinstance(names, RecordedNames):
        names = names.plain()
    query = ""
    if rules.query == "read":
        query = canonical_query(dict.get(environ, "QUERY_STRING", "").encode("latin-1"))
    session = context._session  # not `session`, which would mark it accessed
    cookie = context.app.session_interface.get_cookie_name(context.app) if session else ""
    return Inputs(environ, names, vars(request), rules, query, cookie)
