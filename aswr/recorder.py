"""The recorder: what a render reads beyond its key, where, and what it is shown instead.

A render gets a request of its own in which nothing of anybody's is present. Reading something that
is absent is an input all the same ("absent is a value"), so every way to read one is noted: the
environ, the request's attributes that Werkzeug copies from it, the session, ``g``, external URLs.

One recorder belongs to one render; whichever thread runs the render's code may enter. Must not
know entries, engines or loops.
"""

import sys
from collections.abc import Callable, Iterator
from functools import cache
from types import FrameType
from typing import Any

from flask import Flask, Request
from flask.ctx import AppContext, RequestContext, _AppCtxGlobals
from flask.sessions import SessionMixin
from werkzeug.datastructures import EnvironHeaders
from werkzeug.routing import MapAdapter

# Always in the key, or the same for everybody.
KEYED = frozenset(
    {
        "REQUEST_METHOD",
        "SCRIPT_NAME",
        "PATH_INFO",
        "QUERY_STRING",
        "REQUEST_URI",
        "RAW_URI",
        "SERVER_PROTOCOL",
    }
)
# Absent in every render and not recorded: they change what is sent, not what the answer is
# (conditions, ranges), or only label the request (tracing).
BLANK = frozenset(
    f"HTTP_{name.upper().replace('-', '_')}"
    for name in (
        "If-Match",
        "If-None-Match",
        "If-Modified-Since",
        "If-Unmodified-Since",
        "If-Range",
        "Range",
        "Traceparent",
        "Tracestate",
        "Baggage",
        "B3",
        "X-B3-TraceId",
        "X-B3-SpanId",
        "X-B3-ParentSpanId",
        "X-B3-Sampled",
        "X-B3-Flags",
        "X-Request-Id",
        "X-Correlation-Id",
        "X-Amzn-Trace-Id",
        "X-Cloud-Trace-Context",
        "Sentry-Trace",
        "Uber-Trace-Id",
    )
)
_BODY = frozenset(
    {
        "CONTENT_TYPE",
        "CONTENT_LENGTH",
        "HTTP_CONTENT_TYPE",
        "HTTP_CONTENT_LENGTH",
        "HTTP_TRANSFER_ENCODING",
        "wsgi.input",
        "wsgi.input_terminated",
    }
)
_NAMED = {
    "HTTP_HOST": "host",
    "SERVER_NAME": "host",
    "SERVER_PORT": "host",
    "wsgi.url_scheme": "scheme",
    "HTTP_COOKIE": "cookies",
    "REMOTE_ADDR": "remote address",
    "REMOTE_PORT": "remote address",
}
ALL = "all headers"  # reading all of them is every other read too
EVERY_NAME = "*"  # of g: who lists it has looked for every name
_MACHINERY = frozenset(
    {
        "wsgi.version",
        "wsgi.errors",
        "wsgi.multithread",
        "wsgi.multiprocess",
        "wsgi.run_once",
        "wsgi.file_wrapper",
        "werkzeug.request",
        "werkzeug.debug.preserve_context",
    }
)
# What Werkzeug's own constructor and Flask's binding of the URL map look at.
_OF_CONSTRUCTION = frozenset({"scheme", "host", "remote address"})
_LIBRARIES = frozenset(
    {"aswr", "werkzeug", "flask", "jinja2", "asgiref", "contextlib", "functools", "copy"}
)


def _per_class(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return cache(make)


def input_of(name: str) -> str:
    """What reading an environ key means, in the words of the log; empty for the key's own."""
    if name in KEYED or name in BLANK:
        return ""
    if name in _NAMED:
        return _NAMED[name]
    if name in _BODY:
        return "body"
    if name.startswith("HTTP_"):
        return f"header {name[5:].replace('_', '-').title()}"
    return "" if name in _MACHINERY else f"environ {name}"


class Recorder:
    """What one render read, each with its place: inputs, and names that it found absent in ``g``.

    ``on_read`` is called, while the render goes on, for each input that nobody can share.
    """

    def __init__(self, on_read: Callable[[str], None]) -> None:
        self.reads: dict[str, str] = {}
        self.absent_g: dict[str, str] = {}
        self._on_read = on_read
        self._armed = False
        self._ignored: frozenset[str] = frozenset()

    def arm_for_construction(self) -> None:
        """Reads count but for those that making any request takes."""
        self._armed, self._ignored = True, _OF_CONSTRUCTION

    def arm(self) -> None:
        """From now on reads count."""
        self._armed, self._ignored = True, frozenset()

    def disarm(self) -> None:
        """Reads no longer count: teardown is not the view."""
        self._armed = False

    def note(self, what: str) -> None:
        """The render reads an input."""
        known = what in self.reads or ALL in self.reads or what in self._ignored
        if self._armed and what and not known:
            self.reads[what] = place_of(sys._getframe(1))
            self._on_read(what)

    def note_g(self, name: str) -> None:
        """The render looks for a name in ``g`` that nobody has set in it."""
        if self._armed and not name.startswith("__"):
            self.absent_g.setdefault(name, place_of(sys._getframe(1)))

    @property
    def detail(self) -> str:
        """What was read, for the log and for ``Cache-Status``."""
        return f"reads {', '.join(self.reads)}" if self.reads else ""


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


class RecordedEnviron(dict[str, Any]):
    """A WSGI environ every reader of which is noted; iterating reads everything."""

    recorder: Recorder

    def __getitem__(self, key: str) -> Any:
        self.recorder.note(input_of(key))
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.recorder.note(input_of(str(key)))
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.recorder.note(input_of(key))
        return super().get(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        self.recorder.note(input_of(key))
        return super().pop(key, *default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        self.recorder.note(input_of(key))
        return super().setdefault(key, default)

    def _all(self) -> None:
        self.recorder.note(ALL)

    def __iter__(self) -> Iterator[str]:
        self._all()
        return super().__iter__()

    def __len__(self) -> int:
        self._all()
        return super().__len__()

    def __eq__(self, other: object) -> bool:
        self._all()
        return bool(super().__eq__(other))

    def __ne__(self, other: object) -> bool:
        self._all()
        return bool(super().__ne__(other))

    __hash__ = None

    def __or__(self, other: Any) -> Any:
        self._all()
        return super().__or__(other)

    def __ror__(self, other: Any) -> Any:
        self._all()
        return super().__ror__(other)

    def __reversed__(self) -> Iterator[str]:
        self._all()
        return super().__reversed__()

    def __repr__(self) -> str:
        self._all()
        return super().__repr__()

    def keys(self) -> Any:
        self._all()
        return super().keys()

    def values(self) -> Any:
        self._all()
        return super().values()

    def items(self) -> Any:
        self._all()
        return super().items()

    def copy(self) -> dict[str, Any]:
        self._all()
        return super().copy()

    def popitem(self) -> tuple[str, Any]:
        self._all()
        return super().popitem()


class RecordedHeaders(EnvironHeaders):
    """Request headers whose look-up of one name, as a list, reads only that one."""

    def getlist(self, key: str, type: Any = None, as_bytes: bool = False) -> list[Any]:
        """The values of one header; none or one, as WSGI joins them."""
        value = self.get(key, None, type=type) if type else self.get(key)
        return [] if value is None else [value]

    def get_all(self, name: str) -> list[Any]:
        return self.getlist(name)


def _recorded_attribute(name: str, what: str) -> property:
    slot = f"_aswr_{name}"

    def read(self: Any) -> Any:
        if recorder := self.__dict__.get("_aswr_recorder"):
            recorder.note(what)
        return self.__dict__[slot]

    def write(self: Any, value: Any) -> None:
        self.__dict__[slot] = value

    return property(read, write)


# Attributes that Werkzeug itself looks for before it sets them.
_PROBED = frozenset({"_parsed_content_type", "_cached_data"})


def _absent_attribute(self: Any, name: str) -> Any:
    """An attribute that nobody set in the render: a hook may have set it for the caller."""
    recorder = self.__dict__.get("_aswr_recorder")
    if recorder is not None and name not in _PROBED and not name.startswith("__"):
        recorder.note(f"request.{name}")
    raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


@_per_class
def recorded_request_class(base: type[Request]) -> type[Request]:
    """The app's request class, with what Werkzeug copies at construction turned into reads."""
    return type(
        base.__name__,
        (base,),
        {
            "__module__": base.__module__,
            "__qualname__": base.__qualname__,
            "remote_addr": _recorded_attribute("remote_addr", "remote address"),
            "scheme": _recorded_attribute("scheme", "scheme"),
            "server": _recorded_attribute("server", "host"),
            "host": _recorded_attribute("host", "host"),
            "__getattr__": _absent_attribute,
        },
    )


@_per_class
def _recorded_adapter_class(base: type[MapAdapter]) -> type[MapAdapter]:
    def build(self: Any, *args: Any, **kwargs: Any) -> str:
        url: str = base.build(self, *args, **kwargs)
        if not url.startswith("/") or url.startswith("//"):
            self._aswr_recorder.note("host")
            self._aswr_recorder.note("scheme")
        return url

    return type(base.__name__, (base,), {"build": build})


# The names in g, without the recorded ``__dict__`` of a render's.
_names_of_g: Callable[[Any], dict[str, Any]] = _AppCtxGlobals.__dict__["__dict__"].__get__


@_per_class
def _recorded_g_class(base: type[_AppCtxGlobals]) -> type[_AppCtxGlobals]:
    class RecordedG(base):  # type: ignore[misc, valid-type]
        """``g`` in a render: looking for a name that nobody set is noted."""

        # A slot, so that a view that lists g does not see it.
        __slots__ = ("_aswr_recorder",)

        @property
        def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
            self._aswr_recorder.note_g(EVERY_NAME)
            return _names_of_g(self)

        def _look(self, name: str) -> dict[str, Any]:
            names = _names_of_g(self)
            if name not in names and not hasattr(base, name):
                self._aswr_recorder.note_g(name)
            return names

        def __getattr__(self, name: str) -> Any:
            try:
                return self._look(name)[name]
            except KeyError:
                raise AttributeError(name) from None

        def __setattr__(self, name: str, value: Any) -> None:
            _names_of_g(self)[name] = value

        def __delattr__(self, name: str) -> None:
            try:
                del self._look(name)[name]
            except KeyError:
                raise AttributeError(name) from None

        def get(self, name: str, default: Any = None) -> Any:
            return self._look(name).get(name, default)

        def pop(self, name: str, *default: Any) -> Any:
            return self._look(name).pop(name, *default)

        def setdefault(self, name: str, default: Any = None) -> Any:
            return self._look(name).setdefault(name, default)

        def __contains__(self, item: str) -> bool:
            return item in self._look(item)

        def __iter__(self) -> Iterator[str]:
            return iter(self.__dict__)

    return RecordedG


class RecordedSession(dict[str, Any], SessionMixin):
    """An empty session; Flask marks it accessed when anything resolves ``flask.session``."""

    modified = False

    def __init__(self, recorder: Recorder, cookie: str) -> None:
        super().__init__()
        self._recorder = recorder
        self._what = f"cookie {cookie}"

    @property
    def accessed(self) -> bool:
        return self._what in self._recorder.reads

    @accessed.setter
    def accessed(self, value: bool) -> None:
        if value:
            self._recorder.note(self._what)


def recorded_context(app: Flask, environ: dict[str, Any], recorder: Recorder) -> RequestContext:
    """A request context for a render; its push runs no ``open_session``."""
    recorded = RecordedEnviron(environ)
    recorded.recorder = recorder
    recorder.arm_for_construction()  # a request class of the app's own may look at headers
    request = recorded_request_class(app.request_class)(recorded)
    recorder.disarm()
    request.json_module = app.json
    request.headers = RecordedHeaders(recorded)
    request.__dict__["_aswr_recorder"] = recorder
    session = RecordedSession(recorder, app.config["SESSION_COOKIE_NAME"])
    context = RequestContext(app, recorded, request=request, session=session)
    adapter = context.url_adapter
    if adapter is not None:
        adapter.__class__ = _recorded_adapter_class(type(adapter))
        adapter._aswr_recorder = recorder  # type: ignore[attr-defined]
    return context


def record_g(app_context: AppContext, recorder: Recorder) -> None:
    """Put a recorded ``g`` in place of a pushed app context's, with what is in it already."""
    plain = app_context.g
    recorded = _recorded_g_class(type(plain))()
    object.__setattr__(recorded, "_aswr_recorder", recorder)
    _names_of_g(recorded).update(_names_of_g(plain))
    app_context.g = recorded


def recorder_of(g: Any) -> Recorder | None:
    """The recorder of the render whose ``g`` this is; None in an ordinary request."""
    return g._aswr_recorder if hasattr(type(g), "_aswr_recorder") else None


def set_in(g: object, names: Any) -> bool:
    """Has anybody set one of these names in ``g``? Not a read."""
    found = _names_of_g(g)
    return any(name in found or (name == EVERY_NAME and found) for name in names)
