"""Inputs by name: what of a request a render may see, what stands for it in a key, who must pass.

An input name is a string ("header Accept-Language", "cookie session", "g.locale"). A key holds
values of names; a value is what a render on a request's behalf sees, so what is normalised here is
shown normalised, and what is personal is None: absent.

Pure: no async, no threads, no clock; must not import Flask. Evaluating a name is on the path of a
hit: dictionary reads and cached functions. Malformed text and strange types never raise. An
environ may belong to a render that notes its readers, so it is read past its own methods.
"""

import enum
import fnmatch
import json
import re
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import parse_qsl, quote_plus

from werkzeug.datastructures import Accept, CharsetAccept, LanguageAccept, MIMEAccept
from werkzeug.http import parse_accept_header
from werkzeug.sansio.http import parse_cookie  # the one that requests use; decodes nothing

from .keys import canonical, canonical_query

PRESET_FUNCTIONS = frozenset({"flask_login.utils:_create_identifier"})

# Always in the key, or the same for everybody.
KEYED = frozenset(
    "REQUEST_METHOD SCRIPT_NAME PATH_INFO QUERY_STRING REQUEST_URI RAW_URI SERVER_PROTOCOL".split()
)
_QUERY = frozenset({"QUERY_STRING", "REQUEST_URI", "RAW_URI"})
# Absent in every render and not recorded: they change what is sent, not what the answer is
# (conditions, ranges), or only label the request (tracing).
BLANK = frozenset(
    f"HTTP_{name.upper().replace('-', '_')}"
    for name in """
        If-Match If-None-Match If-Modified-Since If-Unmodified-Since If-Range Range
        Traceparent Tracestate Baggage B3 X-B3-TraceId X-B3-SpanId X-B3-ParentSpanId X-B3-Sampled
        X-B3-Flags X-Request-Id X-Correlation-Id X-Amzn-Trace-Id X-Cloud-Trace-Context
        Sentry-Trace Uber-Trace-Id
    """.split()
)
# Who is asking, where he asks from, and what he may do; patterns of header names.
PERSONAL = tuple(
    """
    cookie authorization proxy-authorization x-api-key api-key x-auth* *-jwt-* *-jwt x-token
    x-access-token x-amz-security-token x-csrf-token x-csrftoken x-xsrf-token x-session x-session-*
    dpop remote-user x-remote-user x-webauth-* x-user x-user-* x-consumer-*
    x-forwarded-user x-forwarded-email x-forwarded-groups x-forwarded-preferred-username
    x-forwarded-access-token x-goog-authenticated-* x-goog-iap-* x-ms-client-principal* x-ms-token-*
    cf-access-* tailscale-user-*
    client-cert client-cert-chain x-client-cert* x-ssl-client-* ssl-client-* x-forwarded-client-cert
    x-forwarded-tls-client-* x-arr-clientcert
    x-forwarded-for forwarded x-real-ip x-client-ip client-ip true-client-ip cf-connecting-ip*
    fastly-client-ip x-cluster-client-ip x-appengine-user-ip x-original-forwarded-for
    x-envoy-external-address fly-client-ip x-azure-clientip x-azure-socketip x-remote-ip
    x-remote-addr x-proxyuser-ip
    """.split()
)
_BODY = frozenset(
    """
    CONTENT_TYPE CONTENT_LENGTH HTTP_CONTENT_TYPE HTTP_CONTENT_LENGTH HTTP_TRANSFER_ENCODING
    wsgi.input wsgi.input_terminated
    """.split()
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
_MACHINERY = frozenset(
    """
    wsgi.version wsgi.errors wsgi.multithread wsgi.multiprocess wsgi.run_once wsgi.file_wrapper
    werkzeug.request werkzeug.debug.preserve_context
    """.split()
)
_ACCEPT: dict[str, type[Accept]] = {
    "Accept": MIMEAccept,
    "Accept-Charset": CharsetAccept,
    "Accept-Encoding": Accept,
    "Accept-Language": LanguageAccept,
}
_SIMPLE = frozenset({type(None), bool, int, float, complex, str, bytes})


class Kind(enum.Enum):
    """What reading an input means for sharing."""

    LEARNED = "learned"  # requests that agree on it share
    PERSONAL = "personal"  # requests without it share
    NEVER = "never"  # everybody has one of his own


@dataclass(frozen=True, slots=True)
class Rules:
    """What of a request the renders of one view see, and what of it counts.

    `vary` as a set, and `ignore`, hold input names. `functions` are ``module:qualname``: reads made
    below them are not recorded. `personal` are more patterns of header names, in lower case.
    """

    query: Literal[True, "read"] | tuple[str, ...] = True
    vary: Literal["read", "response"] | frozenset[str] = "read"
    ignore: frozenset[str] = frozenset()
    functions: frozenset[str] = PRESET_FUNCTIONS
    personal: tuple[str, ...] = ()
    _readers: Callable[[tuple[str, ...]], "_Readers"] = field(init=False, repr=False, compare=False)
    _places: Callable[[str], Kind | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Bounded: what views read may be for their clients to choose.
        object.__setattr__(self, "_readers", lru_cache(256)(self._make_readers))
        object.__setattr__(self, "_places", lru_cache(256)(self._make_place))

    def kind(self, name: str) -> Kind:
        """What reading an input means; a name that nobody knows is nobody's to share."""
        word, _, rest = name.partition(" ")
        if word == "cookie":
            return Kind.LEARNED if self._chosen(name) else Kind.PERSONAL
        if word == "header":
            return Kind.PERSONAL if _is_personal(rest, self.personal) else Kind.LEARNED
        if word == "best":
            return Kind.LEARNED if _best_of(name) else Kind.NEVER
        if name in ("cookies", "body") or name.startswith(("environ ", "request.")):
            return Kind.PERSONAL
        if name in ("host", "scheme", "all headers") or word == "query" or name.startswith("g."):
            return Kind.LEARNED
        return Kind.NEVER

    def blank(self, name: str) -> bool:
        """Is this input absent in every render, and no part of any key?"""
        if name in self.ignore:
            return True
        word, _, rest = name.partition(" ")
        if word == "cookie":
            return "cookies" in self.ignore
        if word == "query":
            return self.query != "read"
        if word == "best":
            return self.blank(f"header {rest.partition(' ')[0]}")
        if word == "header" and _key_of(rest) in BLANK:
            return True
        if not isinstance(self.vary, frozenset) or name in self.vary:
            return False
        return name in ("host", "scheme") or (
            word == "header" and self.kind(name) is not Kind.PERSONAL
        )

    def records(self, name: str) -> bool:
        """Does a render of this view note that it reads this input?

        Where the response's ``Vary`` decides, it speaks for all headers.
        """
        word = name.partition(" ")[0]
        if self.vary == "response" and word in ("header", "cookie", "cookies", "best", "all"):
            return False
        return bool(name) and not self.blank(name)

    def input_of(self, environ_key: str) -> str:
        """The input name of an environ key; empty if reading it is not recorded."""
        name = _input_of(environ_key)
        return name if self.records(name) else ""

    def _chosen(self, name: str) -> bool:
        return isinstance(self.vary, frozenset) and name in self.vary

    def _cookies(self, names: frozenset[str]) -> frozenset[str]:
        return frozenset(name[7:] for name in names if name.startswith("cookie "))

    @property
    def chosen_cookies(self) -> frozenset[str]:
        """The cookies, by name, that renders of this view see."""
        if not isinstance(self.vary, frozenset) or "cookies" in self.ignore:
            return frozenset()
        return self._cookies(self.vary - self.ignore)

    @property
    def known_cookies(self) -> frozenset[str]:
        """The cookies that a request may bring along without being anybody for it."""
        return self.chosen_cookies | self._cookies(self.ignore)

    def place(self, environ_key: str) -> Kind | None:
        """The kind of an environ key; None for what is keyed or blank, and for the body."""
        return (self._places if len(environ_key) <= _LONGEST else self._make_place)(environ_key)

    def _make_place(self, environ_key: str) -> Kind | None:
        name = _input_of(environ_key)
        return None if name in ("", "body") or self.blank(name) else self.kind(name)

    def _make_readers(self, names: tuple[str, ...]) -> "_Readers":
        readers = [(name, *_reader(self, name)) for name in names]
        return (
            tuple(value for _, value, _ in readers),
            tuple((name, carried) for name, _, carried in readers if carried is not None),
        )


class Inputs:
    """What one request brings besides what is always in its key; evaluates names on demand.

    `g` and `attributes` are the dictionaries of what is set in ``g`` and on the request; `query` is
    the whole canonical query.
    """

    __slots__ = ("_jar", "attributes", "environ", "g", "query", "rules")

    def __init__(
        self,
        environ: dict[str, Any],
        g: Mapping[str, Any],
        attributes: Mapping[str, Any],
        rules: Rules,
        query: str = "",
    ) -> None:
        self.environ = environ
        self.g = g
        self.attributes = attributes
        self.rules = rules
        self.query = query
        self._jar: tuple[dict[str, str], bool] | None = None

    def under(self, names: Sequence[str]) -> tuple[tuple[Hashable, ...], str]:
        """The values of these names, and why this request itself must pass (empty: it need not).

        The values are as a render on this request's behalf would see them.
        """
        values, carriers = self.rules._readers(tuple(names))
        carried = [name for name, carries in carriers if carries(self)] if carriers else ()
        return tuple([value(self) for value in values]), describe(carried) if carried else ""

    def carried(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of these names because of which the request must pass."""
        _, carriers = self.rules._readers(tuple(names))
        return tuple(name for name, carries in carriers if carries(self))

    def snapshot(self) -> "Inputs":
        """The same inputs in copies that outlive the request: of objects only that they exist."""
        environ = {
            key: value if value is None or type(value) is str else _OBJECT
            for key, value in dict.items(self.environ)
        }
        g = {name: value if _is_simple(value) else _OBJECT for name, value in self.g.items()}
        return Inputs(environ, g, dict.fromkeys(self.attributes), self.rules, self.query)

    def visible(self) -> dict[str, Any]:
        """The environ entries that a render on this request's behalf gets on top of its own."""
        rules = self.rules
        seen: dict[str, Any] = {}
        for key in _headers_in(self.environ):
            value = dict.__getitem__(self.environ, key)
            if type(value) is str and rules.place(key) is Kind.LEARNED:
                seen[key] = normal(_name_of(key), value)
        if not rules.blank("host") and (host := _host(self)) is not None:
            seen.update(_of_host(host))
        if not rules.blank("scheme") and (scheme := _scheme(self)) is not None:
            seen["wsgi.url_scheme"] = scheme
        if (cookies := _chosen_cookies(self)) is not None:
            seen["HTTP_COOKIE"] = cookies
        return seen

    def person(self) -> dict[str, str]:
        """The environ entries, as they were sent, that say who asks; text, nothing of the body."""
        return {
            key: value
            for key, value in dict.items(self.environ)
            if type(value) is str and self.rules.place(key) in (Kind.PERSONAL, Kind.NEVER)
        }

    def simple_g(self) -> dict[str, Any]:
        """The names in ``g`` that have simple values, which renders may see."""
        return {name: value for name, value in self.g.items() if _is_simple(value)}

    def jar(self) -> tuple[dict[str, str], bool]:
        """The first cookie of each name, and whether the header says nothing besides cookies."""
        if self._jar is None:
            text = dict.get(self.environ, "HTTP_COOKIE")
            self._jar = _parse_cookies(text) if type(text) is str else ({}, True)
        return self._jar


# The values of a tuple of names, in order, and what to ask whether the request must pass.
_Value = Callable[[Inputs], Hashable]
_Carries = Callable[[Inputs], bool]
_Readers = tuple[tuple[_Value, ...], tuple[tuple[str, _Carries], ...]]
_LONGEST = 64  # characters of an environ key whose kind is remembered
_OBJECT = object()  # stands for one of the request's in a snapshot


def _reader(rules: Rules, name: str) -> tuple[_Value, _Carries | None]:
    if rules.blank(name):
        return _absent, None
    kind = rules.kind(name)
    if kind is Kind.NEVER:
        return _absent, _always
    if name == "all headers":
        return _all_headers, _carrier_of_headers(rules)
    if name == "cookies":
        value = _chosen_cookies if rules.chosen_cookies else _absent
        return value, _carrier_of_cookies(rules.known_cookies)
    if name in _FIXED:
        return _FIXED[name]
    if name.startswith("g."):
        return _reader_of_g(name[2:])
    if name.startswith("request."):
        return _absent, lambda inputs: name[8:] in inputs.attributes
    word, _, rest = name.partition(" ")
    if word == "query":
        return (lambda inputs: _parameters(inputs.query).get(rest)), None
    if word == "best":
        return _reader_of_best(name), None
    if word == "cookie":
        if kind is Kind.LEARNED:
            return (lambda inputs: inputs.jar()[0].get(rest)), None
        return _absent, _carrier_of_cookie(rest)
    key = _key_of(rest) if word == "header" else rest
    if kind is Kind.PERSONAL:
        return _absent, lambda inputs: dict.__contains__(inputs.environ, key)
    return _reader_of_header(rest, key), None


def _absent(inputs: Inputs) -> Hashable:
    return None


def _always(inputs: Inputs) -> bool:
    return True


def _reader_of_header(name: str, key: str) -> _Value:
    def value(inputs: Inputs) -> Hashable:
        text = dict.get(inputs.environ, key)
        return normal(name, text) if type(text) is str else None

    return value


def _reader_of_best(name: str) -> _Value:
    header = name.split(" ", 2)[1]
    key = _key_of(header)

    def value(inputs: Inputs) -> Hashable:
        text = dict.get(inputs.environ, key)
        if type(text) is not str:
            return _best(name, None)
        found: Hashable = _kept(_best, name, normal(header, text))
        return found

    return value


def _reader_of_g(name: str) -> tuple[_Value, _Carries]:
    def value(inputs: Inputs) -> Hashable:
        found = inputs.g.get(name, _OBJECT)
        return ("g", canonical(found)) if _is_simple(found) else None

    return value, lambda inputs: not _is_simple(inputs.g.get(name))


def _carrier_of_cookie(name: str) -> _Carries:
    def carries(inputs: Inputs) -> bool:
        text = dict.get(inputs.environ, "HTTP_COOKIE")
        if type(text) is not str or name not in text:
            return False
        found, exact = inputs.jar()
        return name in found or not exact

    return carries


def _carrier_of_cookies(known: frozenset[str]) -> _Carries:
    def carries(inputs: Inputs) -> bool:
        if type(dict.get(inputs.environ, "HTTP_COOKIE")) is not str:
            return False
        found, exact = inputs.jar()
        return not known or not exact or not known.issuperset(found)

    return carries


def _carrier_of_headers(rules: Rules) -> _Carries:
    """Whether any header is sent that a list of all of them has, and that renders do not see."""
    others = [_reader(rules, name)[1] for name in ("cookies", "body")]

    def carries(inputs: Inputs) -> bool:
        if any(other is not None and other(inputs) for other in others):
            return True
        keys = (key for key in _headers_in(inputs.environ) if key != "HTTP_COOKIE")
        return any(rules.place(key) is Kind.PERSONAL for key in keys)

    return carries


def _headers_in(environ: dict[str, Any]) -> Iterator[str]:
    for key in dict.keys(environ):  # iterating the environ itself may be a read
        if type(key) is str and key.startswith("HTTP_"):
            yield key


def _all_headers(inputs: Inputs) -> Hashable:
    seen = inputs.visible()
    return tuple(sorted((_name_of(key), seen[key]) for key in _headers_in(seen)))


def _host(inputs: Inputs) -> str | None:
    """The host in lower case, without the scheme's own port (RFC 9110 §4.2.3)."""
    host = dict.get(inputs.environ, "HTTP_HOST")
    if type(host) is not str:
        host = dict.get(inputs.environ, "SERVER_NAME")
        if type(host) is not str:
            return None
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        port = dict.get(inputs.environ, "SERVER_PORT")
        if type(port) is str and port.isdecimal():  # else it is a socket's path
            host = f"{host}:{port}"
    host = host.strip(_SPACE).lower()
    if ":" in host:
        return host.removesuffix(_PORTS.get(_scheme(inputs), ""))
    return host


def _of_host(host: str) -> dict[str, str]:
    """What a render sees of the host, all of it from the one value; a missing port is 80."""
    name, _, port = host.rpartition(":")
    if not port.isdecimal():
        name, port = host, "80"
    return {"HTTP_HOST": host, "SERVER_NAME": name, "SERVER_PORT": port}


def _scheme(inputs: Inputs) -> str | None:
    scheme = dict.get(inputs.environ, "wsgi.url_scheme")
    return scheme.lower() if type(scheme) is str else None


def _simple_names(inputs: Inputs) -> Hashable:
    return tuple(sorted((name, canonical(value)) for name, value in inputs.simple_g().items()))


def _any_object(inputs: Inputs) -> bool:
    return not all(map(_is_simple, inputs.g.values()))


def _carries_body(inputs: Inputs) -> bool:
    environ = inputs.environ
    if dict.get(environ, "CONTENT_LENGTH") not in (None, "", "0"):
        return True
    # A view that asks for the body's type sees none.
    return dict.get(environ, "CONTENT_TYPE") not in (None, "") or any(
        dict.__contains__(environ, key) for key in _BODY if key.startswith("HTTP_")
    )


_FIXED: dict[str, tuple[_Value, _Carries | None]] = {
    "host": (_host, None),
    "scheme": (_scheme, None),
    "query": (lambda inputs: inputs.query, None),
    "body": (_absent, _carries_body),
    "g.*": (_simple_names, _any_object),
}


def _is_simple(value: object) -> bool:
    kind = type(value)  # not isinstance: that would resolve a proxy
    return kind in _SIMPLE or issubclass(kind, enum.Enum)


# Names.


def _input_of(environ_key: str) -> str:
    """What an environ key says, for any view; empty for the key's own and what is blank."""
    if environ_key in _QUERY:
        return "query"
    if environ_key in KEYED or environ_key in BLANK or environ_key in _MACHINERY:
        return ""
    if environ_key in _NAMED:
        return _NAMED[environ_key]
    if environ_key in _BODY:
        return "body"
    if environ_key.startswith("HTTP_"):
        return f"header {_name_of(environ_key)}"
    return f"environ {environ_key}"


def _name_of(environ_key: str) -> str:
    return environ_key.removeprefix("HTTP_").replace("_", "-").title()


def _key_of(header: str) -> str:
    key = header.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


@lru_cache(64)
def _pattern(more: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(fnmatch.translate, PERSONAL + more)))


@lru_cache(256)
def _is_personal(header: str, more: tuple[str, ...]) -> bool:
    return _pattern(more).match(header.lower()) is not None


def best_name(header: str, choices: Sequence[str], default: str | None) -> str:
    """The input that ``best_match(choices, default)`` of an Accept header reads: its result."""
    wanted = json.dumps(list(choices), separators=(",", ":"))
    return f"best {header} of {wanted} else {json.dumps(default)}"


@lru_cache(256)
def _best_of(name: str) -> tuple[str, tuple[str, ...], str | None] | None:
    """The header, choices and default of such a name; None if it is no such name."""
    _, header, rest = (*name.split(" ", 2), "", "")[:3]
    try:
        choices, end = json.JSONDecoder().raw_decode(rest, len("of "))
        default = json.loads(rest[end:].removeprefix(" else "))
    except (ValueError, RecursionError):
        return None
    texts = (*choices, "" if default is None else default) if type(choices) is list else (None,)
    if header not in _ACCEPT or not all(type(text) is str for text in texts):
        return None
    return header, tuple(choices), default


@lru_cache(1024)
def _best(name: str, text: str | None) -> Hashable:
    found = _best_of(name)
    if found is None:
        return None
    header, choices, default = found
    try:
        return parse_accept_header(text, _ACCEPT[header]).best_match(choices, default)  # type: ignore[arg-type]
    except Exception:  # a name that no codec can have, or a choice that is no media type
        return ("header", text)


def input_name(spec: str) -> str:
    """The input name of an option's text: a header's name, ``cookie:NAME`` or ``remote_addr``.

    Raises `ValueError` with the cure for anything else.
    """
    if not isinstance(spec, str) or not spec.isascii():
        raise ValueError(f"{spec!r} names no input; {_SPELLINGS}")
    kind, colon, cookie = spec.partition(":")
    if colon and kind.lower() == "cookie" and _COOKIE_NAME.fullmatch(cookie):
        return f"cookie {cookie}"
    if spec.lower() in ("remote_addr", "scheme"):
        return {"remote_addr": "remote address"}.get(spec.lower(), "scheme")
    if "_" in spec and not colon:
        name = _name_of(spec.upper())
        raise ValueError(f"{spec!r} is no header's name; write it as HTTP does: {name!r}")
    if not _TOKEN.fullmatch(spec) or spec == "*":
        raise ValueError(f"{spec!r} names no input; {_SPELLINGS}")
    return _input_of(_key_of(spec)) or f"header {_name_of(_key_of(spec))}"


def names_of_vary(fields: Iterable[str]) -> tuple[str, ...]:
    """The input names for the field names of a response's ``Vary``; blank ones have none."""
    names = ("all headers" if name == "*" else _input_of(_key_of(name)) for name in fields)
    return tuple(dict.fromkeys(filter(None, names)))


def vary_fields(names: Iterable[str], rules: Rules) -> tuple[str, ...]:
    """The header names that ``Vary`` must have for these inputs, sorted; ``*`` stands alone."""
    found = set()
    for name in names:
        word, _, rest = name.partition(" ")
        if rules.blank(name):
            continue
        if name == "all headers":
            return ("*",)
        if word in ("cookie", "cookies"):
            found.add("Cookie")
        elif word in ("header", "best"):
            found.add(rest.partition(" ")[0])
    return tuple(sorted(found))


def explained(field: str, names: Iterable[str]) -> bool:
    """Do these inputs cover a field name of a response's ``Vary`` already?"""
    names = tuple(names)
    if field == "*":
        return False
    wanted = names_of_vary((field,))
    if not wanted or wanted[0] in names or "all headers" in names:
        return True
    if wanted[0] == "cookies":
        return any(name.startswith("cookie ") for name in names)
    best = wanted[0].replace("header ", "best ", 1) + " of "
    return any(name.startswith(best) for name in names)


def describe(names: Iterable[str]) -> str:
    """Names for the log and for ``Cache-Status``: ``reads cookie session, g.user``."""
    names = tuple(names)
    reads = ", ".join(name for name in names if name != "writes session")
    texts = [f"reads {reads}"] if reads else []
    return "; ".join(texts + ["writes session"] * ("writes session" in names))


# Text.

_SPACE = " \t"
_SHORT = 500  # longer texts are not kept
_PORTS = {"http": ":80", "ws": ":80", "https": ":443", "wss": ":443", None: ""}
_SPELLINGS = "write a header's name ('Accept-Language'), 'cookie:NAME' or 'remote_addr'"
_COOKIE_NAME = re.compile(r'[^\x00-\x20\x7f=,;"]+')
_COOKIE_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]*")
_T = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_TOKEN = re.compile(_T)
_WEIGHT = r"(?:[ \t]*;[ \t]*[qQ]=(0(?:\.[0-9]{1,3})?|1(?:\.0{1,3})?))?"
_MEMBER = re.compile(rf"({_T})(){_WEIGHT}")
_MEDIA = re.compile(rf"({_T}/{_T})((?:[ \t]*;[ \t]*(?![qQ]=){_T}={_T})*){_WEIGHT}")
_SEMICOLON = re.compile(r"[ \t]*;[ \t]*")


def normal(header: str, text: str) -> str:
    """A header's text as renders see it; what is malformed is trimmed and no more.

    Only what no reader of the field may tell apart is made equal (RFC 9111 §4.1).
    """
    text = text.strip(_SPACE)
    if header not in _ACCEPT:
        return text
    kept: str = _kept(_normal, header, text)
    return kept


def _kept(function: Any, name: str, text: str) -> Any:
    """What a cached function makes of a text; it keeps no long ones."""
    return (function if len(text) <= _SHORT else function.__wrapped__)(name, text)


@lru_cache(1024)
def _normal(header: str, text: str) -> str:
    pattern = _MEDIA if header == "Accept" else _MEMBER
    members: dict[str, None] = {}
    for member in filter(None, (part.strip(_SPACE) for part in text.split(","))):
        match = pattern.fullmatch(member)
        if match is None:
            return text
        value, parameters, weight = match.groups()
        weight = "" if weight is None or weight[0] == "1" else f";q={_shortest(weight)}"
        members[value.lower() + _SEMICOLON.sub(";", parameters) + weight] = None
    return ",".join(sorted(members) if header == "Accept-Encoding" else members)


def _shortest(weight: str) -> str:
    return weight.rstrip("0").rstrip(".") if "." in weight else weight


def _parse_cookies(text: str) -> tuple[dict[str, str], bool]:
    found: dict[str, str] = {}
    try:
        pairs = list(parse_cookie(text).items(multi=True))
    except ValueError:  # no server makes such text
        return found, False
    for name, value in pairs:
        found.setdefault(name, value)
    return found, len(pairs) == sum(1 for part in text.split(";") if part.strip())


def _chosen_cookies(inputs: Inputs) -> str | None:
    """The ``Cookie`` header that a render sees."""
    found = {name: inputs.jar()[0].get(name) for name in sorted(inputs.rules.chosen_cookies)}
    return _cookie_header({name: value for name, value in found.items() if value is not None})


def _cookie_header(cookies: Mapping[str, str]) -> str | None:
    return "; ".join(f"{name}={_quoted(value)}" for name, value in cookies.items()) or None


def _quoted(value: str) -> str:
    if _COOKIE_VALUE.fullmatch(value):
        return value
    return '"' + "".join(map("\\{:03o}".format, value.encode(errors="replace"))) + '"'


@lru_cache(128)
def _parameters(query: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors="werkzeug.url_quote"):
        found[name] = (*found.get(name, ()), value)
    return found


# A request made of a key.


def nobody(
    names: Sequence[str], values: Sequence[Hashable], rules: Rules, query: str = ""
) -> Inputs | None:
    """The inputs of a load that no caller stands behind: what a key says, all else absent.

    None where no request has these values. They may come from a shared store: nothing raises.
    """
    try:
        inputs = _request_of(names, values, rules, query)
        return inputs if inputs.under(names)[0] == tuple(values) else None
    except Exception:
        return None


def _request_of(names: Sequence[str], values: Sequence[Any], rules: Rules, query: str) -> Inputs:
    environ: dict[str, Any] = {}
    g: dict[str, Any] = {}
    cookies: dict[str, str] = {}
    parameters: list[tuple[str, str]] = []
    for name, value in zip(names, values, strict=True):
        word, _, rest = name.partition(" ")
        if value is None or word == "best":
            continue
        if name == "g.*":
            g.update((each, _untagged(tagged)) for each, tagged in value)
        elif name.startswith("g."):
            g[name[2:]] = _untagged(value[1])
        elif name == "all headers":
            environ.update((_key_of(header), text) for header, text in value)
        elif word == "cookie":
            cookies[rest] = value
        elif name == "query":
            query = value
        elif word == "query":
            parameters += [(rest, each) for each in value]
        else:
            environ[_KEYS.get(name) or _key_of(rest)] = value
    if cookies:
        environ.setdefault("HTTP_COOKIE", _cookie_header(cookies))
    if str(environ.get("HTTP_HOST")).endswith(":80"):  # which is no part of http's hosts
        environ.setdefault("wsgi.url_scheme", "https")
    for key, texts in _accepting(names, values).items():
        environ.setdefault(key, ",".join(texts))
    written = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in parameters)
    return Inputs(environ, g, {}, rules, query or canonical_query(written.encode()))


_KEYS = {"host": "HTTP_HOST", "scheme": "wsgi.url_scheme", "cookies": "HTTP_COOKIE"}


def _accepting(names: Sequence[str], values: Sequence[Any]) -> dict[str, dict[str, None]]:
    """Accept headers that may well have led to the results of ``best_match``."""
    found: dict[str, dict[str, None]] = {}
    for name, value in zip(names, values, strict=True):
        best = _best_of(name) if name.startswith("best ") else None
        if best is not None and value != best[2]:
            text = value[1] if type(value) is tuple else value
            found.setdefault(_key_of(best[0]), {})[text] = None
    return found


def _untagged(tagged: Any) -> Any:
    """The simple value that a canonical one stands for."""
    if type(tagged) is str:
        return tagged
    kind, value = tagged
    if kind == "int":
        return int(value, 16) if type(value) is str else value
    if kind in ("float", "complex"):
        return float(value) if kind == "float" else complex(value)
    return value if kind in ("NoneType", "bool", "bytes") else _member(kind, value)


def _member(path: str, value: Any) -> Any:
    """A member of an enum of a module that is loaded already; nothing is imported or called."""
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:end]))
        if found is None:
            continue
        for part in parts[end:]:
            found = vars(found)[part]
        if issubclass(found, enum.Enum):
            return found(value) if issubclass(found, enum.Flag) else found.__members__[value]
    raise LookupError(path)
