"""Inputs by name: what of a request a render may see, what stands for it in a key, who must pass.

An input name is a string ("header Accept-Language", "cookie session", "g.locale"). A key holds
values of names; a value is what a render on a request's behalf sees, so what is normalised here is
shown normalised, and what is personal is None: absent.

Pure: no async, no threads, no clock; must not import Flask. Evaluating a name is on the path of a
hit: dictionary reads and cached functions. Malformed text and strange types never raise. An
environ may belong to a render that notes its readers, so it is read past its own methods.
"""

import enum
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from .environ import MAYBE_BODY
from .fieldtext import SPACE, best, best_of, cookie_header, kept, normal, parameters, parse_cookies
from .keys import canonical
from .names import (
    BLANK,
    BODY,
    PERSONS,
    PRESET_FUNCTIONS,
    Kind,
    describe,
    input_of,
    is_address,
    is_personal,
    key_of,
    name_of,
)

_SIMPLE = frozenset({type(None), bool, int, float, complex, str, bytes})
_PORTS = {"http": ":80", "ws": ":80", "https": ":443", "wss": ":443", None: ""}


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
            return Kind.PERSONAL if is_personal(rest, self.personal) else Kind.LEARNED
        if word == "best":
            return Kind.LEARNED if best_of(name) else Kind.NEVER
        if name in ("cookies", "body") or name.startswith(("environ ", "request.")):
            return Kind.PERSONAL
        if name in ("host", "scheme", "all headers") or word == "query" or name.startswith("g."):
            return Kind.LEARNED
        return Kind.NEVER

    def bars(self, name: str) -> bool:
        """May a request have to pass because this input is read?"""
        return bool(self._readers((name,))[1])

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
        if word == "header" and key_of(rest) in BLANK:
            return True
        if not isinstance(self.vary, frozenset) or name in self.vary:
            return False
        return name in ("host", "scheme") or (
            word == "header" and self.kind(name) is not Kind.PERSONAL
        )

    def records(self, name: str) -> bool:
        """Does a render of this view note that it reads this input?

        Where the response's ``Vary`` decides, it speaks for all headers but personal ones.
        """
        word, _, header = name.partition(" ")
        if self.vary == "response" and word in ("cookie", "cookies", "best", "all"):
            return False
        if self.vary == "response" and word == "header":
            return self.kind(name) is Kind.PERSONAL and header != "Authorization"
        return bool(name) and not self.blank(name)

    def is_credential(self, environ_key: str) -> bool:
        """Is this a header that says who is asking, and not only where from?"""
        return (
            environ_key.startswith("HTTP_")
            and self.place(environ_key) is Kind.PERSONAL
            and not is_address(environ_key)
        )

    def input_of(self, environ_key: str) -> str:
        """The input name of an environ key; empty if reading it is not recorded."""
        name = input_of(environ_key)
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
        name = input_of(environ_key)
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
    the whole canonical query; `session` is the name of the session's cookie where there is anything
    in the session, which a hook may have put there for who sent no cookie.
    """

    __slots__ = ("_jar", "attributes", "environ", "g", "query", "rules", "scoped", "session")

    def __init__(
        self,
        environ: dict[str, Any],
        g: Mapping[str, Any],
        attributes: Mapping[str, Any],
        rules: Rules,
        query: str = "",
        session: str = "",
    ) -> None:
        self.environ = environ
        self.g = g
        self.attributes = attributes
        self.rules = rules
        self.query = query
        self.session = session
        self.scoped = False  # a scope stands for the person: of what is personal only g counts
        self._jar: tuple[dict[str, str], bool] | None = None

    def under(self, names: Sequence[str]) -> tuple[tuple[Hashable, ...], str]:
        """The values of these names, and why this request itself must pass (empty: it need not).

        The values are as a render on this request's behalf would see them.
        """
        values, carriers = self.rules._readers(tuple(names))
        carried = self.carried(names) if carriers else ()
        return tuple([value(self) for value in values]), describe(carried) if carried else ""

    def carried(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of these names because of which the request must pass."""
        _, carriers = self.rules._readers(tuple(names))
        found = (name for name, carries in carriers if carries(self))
        return tuple(name for name in found if not self.scoped or self._is_beyond_scope(name))

    def _is_beyond_scope(self, name: str) -> bool:
        """Is this something of the request that not even a scoped render is given?"""
        if name.startswith("environ "):  # objects stay with their request
            return type(dict.get(self.environ, name[8:])) is not str
        return name == "body" or name.startswith("request.") or _is_hooks(name)

    def snapshot(self) -> "Inputs":
        """The same inputs in copies that outlive the request: of objects only that they exist."""
        environ = {
            key: value if value is None or type(value) is str else _OBJECT
            for key, value in dict.items(self.environ)
        }
        g = {name: value if _is_simple(value) else _OBJECT for name, value in self.g.items()}
        g.update({name: _NOBODY for name in PERSONS if name in g and _is_nobody(name, self)})
        attributes = dict.fromkeys(self.attributes)
        kept = Inputs(environ, g, attributes, self.rules, self.query, self.session)
        kept.scoped = self.scoped
        return kept

    def visible(self) -> dict[str, Any]:
        """The environ entries that a render on this request's behalf gets on top of its own."""
        rules = self.rules
        seen: dict[str, Any] = {}
        for key in _headers_in(self.environ):
            value = dict.__getitem__(self.environ, key)
            if type(value) is str and rules.place(key) is Kind.LEARNED:
                seen[key] = normal(name_of(key), value)
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
        seen = {name: value for name, value in self.g.items() if _is_simple(value)}
        return {name: value for name, value in seen.items() if not self.rules.blank(f"g.{name}")}

    def jar(self) -> tuple[dict[str, str], bool]:
        """The first cookie of each name, and whether the header says nothing besides cookies."""
        if self._jar is None:
            text = dict.get(self.environ, "HTTP_COOKIE")
            self._jar = parse_cookies(text) if type(text) is str else ({}, True)
        return self._jar


# The values of a tuple of names, in order, and what to ask whether the request must pass.
_Value = Callable[[Inputs], Hashable]
_Carries = Callable[[Inputs], bool]
_Readers = tuple[tuple[_Value, ...], tuple[tuple[str, _Carries], ...]]
_LONGEST = 64  # characters of an environ key whose kind is remembered
_OBJECT = object()  # stands for one of the request's in a snapshot
_NOBODY = object()  # for a person who has not logged in


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
        return (lambda inputs: parameters(inputs.query).get(rest)), None
    if word == "best":
        return _reader_of_best(name), None
    if word == "cookie":
        if kind is Kind.LEARNED:
            return (lambda inputs: inputs.jar()[0].get(rest)), None
        return _absent, _carrier_of_cookie(rest)
    key = key_of(rest) if word == "header" else rest
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
    key = key_of(header)

    def value(inputs: Inputs) -> Hashable:
        text = dict.get(inputs.environ, key)
        if type(text) is not str:
            return best(name, None)
        found: Hashable = kept(best, name, normal(header, text))
        return found

    return value


def _reader_of_g(name: str) -> tuple[_Value, _Carries]:
    def value(inputs: Inputs) -> Hashable:
        found = inputs.g.get(name, _OBJECT)
        return ("g", canonical(found)) if _is_simple(found) else None

    return value, lambda inputs: not _is_simple(inputs.g.get(name)) and not _is_nobody(name, inputs)


def _is_hooks(name: str) -> bool:
    """Did a hook make it, and not of the person that a scope stands for?"""
    return name.startswith("g.") and name[2:] not in PERSONS


def _is_nobody(name: str, inputs: Inputs) -> bool:
    """Is this a person of an extension's who has not logged in?"""
    return name in PERSONS and (
        inputs.g[name] is _NOBODY or getattr(inputs.g[name], "is_authenticated", None) is False
    )


def _carrier_of_cookie(name: str) -> _Carries:
    def carries(inputs: Inputs) -> bool:
        if inputs.session == name:
            return True
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
    return tuple(sorted((name_of(key), seen[key]) for key in _headers_in(seen)))


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
    host = host.strip(SPACE).lower()
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
    objects = (name for name, value in inputs.g.items() if not _is_simple(value))
    return any(not _is_nobody(name, inputs) for name in objects)


def _carries_body(inputs: Inputs) -> bool:
    environ = inputs.environ
    if dict.get(environ, "CONTENT_LENGTH") not in (None, "", "0"):
        return True
    if dict.__contains__(environ, MAYBE_BODY):
        return True
    # A view that asks for the body's type sees none.
    return dict.get(environ, "CONTENT_TYPE") not in (None, "") or any(
        dict.__contains__(environ, key) for key in BODY if key.startswith("HTTP_")
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


def _chosen_cookies(inputs: Inputs) -> str | None:
    """The ``Cookie`` header that a render sees."""
    found = {name: inputs.jar()[0].get(name) for name in sorted(inputs.rules.chosen_cookies)}
    return cookie_header({name: value for name, value in found.items() if value is not None})
