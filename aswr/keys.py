"""Canonical keys: equal requests and equal calls have equal keys, all others do not.

Pure: no async, no threads, no clock; knows no framework. A key is a tuple of plain values, so it
can be hashed, compared and printed; ``digest`` gives what stands for it in a shared store.
"""

import dataclasses
import datetime
import enum
import functools
import hashlib
import inspect
import uuid
from collections.abc import Callable, Container, Hashable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, quote_plus, unquote

MOST_KNOWN = 1024  # calls of one function whose keys are remembered
LARGEST_KNOWN = 512  # bytes of such a call's arguments
_WRITABLE = 4096  # bits of an int; beyond some 14,000, Python refuses to write it in decimal
_PLAIN = (str, int, bytes, type(None), bool)
_TEXT = (
    float,
    complex,
    Decimal,
    Fraction,
    uuid.UUID,
    datetime.date,
    datetime.datetime,
    datetime.time,
    datetime.timedelta,
    range,
)


class ViewKey(NamedTuple):
    """The keyed inputs of one view: what the request says that is always visible to a render."""

    view: str
    script_name: str
    path: str
    query: str
    host: str  # only where the app routes by host, else ""
    args: Hashable  # only what routing did not give, else ()
    extra: Hashable = ()  # what ``key=`` and ``scope=`` say of the request

    @property
    def url(self) -> str:
        """Path and query as one would write them in a browser."""
        path = quote(self.script_name + self.path, safe="/:@!$&'()*+,;=~")
        return f"{path}?{self.query}" if self.query else path


class VariantKey(NamedTuple):
    """One variant of a URL: what its renders were seen to read, and what they read there.

    Personal inputs are among the names; their value is always None, which is absent.
    """

    base: ViewKey
    names: tuple[str, ...]
    values: tuple[Hashable, ...]


def base_of(key: Hashable) -> Hashable:
    """The key of a variant's URL; any other key is its own."""
    return key.base if type(key) is VariantKey else key


def names_at(key: Hashable) -> tuple[str, ...]:
    """The inputs that a key has values of."""
    return key.names if type(key) is VariantKey else ()


class CallKey(NamedTuple):
    """One call of a memoized function."""

    function: str
    args: Hashable


def view_of(key: Hashable) -> str:
    """The view or function that a key is of."""
    base = base_of(key)
    if isinstance(base, CallKey):
        return base.function
    return base.view if isinstance(base, ViewKey) else ""


class Unkeyable(TypeError):
    """A value that no key can stand for; ``path`` says where in the argument it was."""

    def __init__(self, value: object, why: str = "") -> None:
        super().__init__(f"a {type(value).__qualname__}" + (f" that is {why}" if why else ""))
        self.value = value


def canonical_query(query_string: bytes, only: Container[str] | None = None) -> str:
    """All parameters, sorted by name, the order of equal names kept, encoded in one way.

    ``only`` names those that are kept. Bytes that are not UTF-8 stay percent-encoded, as Werkzeug
    shows them to the view.
    """
    if not query_string:
        return ""
    pairs = parse_qsl(
        query_string.decode("utf-8", "werkzeug.url_quote"),
        keep_blank_values=True,
        errors="werkzeug.url_quote",
    )
    if only is not None:
        pairs = [pair for pair in pairs if pair[0] in only]
    pairs.sort(key=lambda pair: pair[0])
    return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs)


def split_path(path: str) -> tuple[str, str | None]:
    """Path and canonical query of a verb's argument; the query is ``None`` where there is none.

    Of several slashes in front one counts, as Werkzeug has it of a request's path.
    """
    if not isinstance(path, str) or not path.startswith("/"):
        raise ValueError(
            f"path must be a str that starts with '/', got {path!r}; "
            "write the path as the browser shows it, without scheme and host: '/report?year=2026'"
        )
    bare, mark, query = path.partition("#")[0].partition("?")
    bare = "/" + unquote(bare).lstrip("/")
    return bare, canonical_query(query.encode()) if mark else None


def _ordered(items: list[Hashable]) -> tuple[Hashable, ...]:
    return tuple(sorted(items, key=repr))


def canonical(value: Any) -> Hashable:
    """A hashable stand-in that is equal for equal values of the same type only.

    Takes None, bool, numbers, str, bytes, dates and times, UUID, Decimal, Fraction, range, enums,
    dataclasses, named and plain tuples, lists, sets and dicts of these. Raises `Unkeyable`.
    """
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]  # the commonest kind goes untagged
    if kind in _PLAIN:
        if kind is int and value.bit_length() > _WRITABLE:
            return ("int", hex(value))
        return (kind.__name__, value)
    if kind in _TEXT:
        return (kind.__name__, repr(value))
    name = f"{kind.__module__}.{kind.__qualname__}"
    if "<locals>" in name:
        name += f"#{id(kind)}"  # a function makes such a class anew each time it is called
    if isinstance(value, enum.Flag):
        return (name, value.value)  # a combination may have no name
    if isinstance(value, enum.Enum):
        return (name, value.name)
    if kind in (tuple, list) or (isinstance(value, tuple) and hasattr(kind, "_fields")):
        return (name, tuple(map(canonical, value)))
    if kind in (set, frozenset):
        return (name, _ordered([canonical(item) for item in value]))
    if kind is dict:
        pairs = [(canonical(key), canonical(item)) for key, item in value.items()]
        return (name, _ordered(list(pairs)))
    if "__dataclass_fields__" in vars(kind):  # a plain subclass of one may hold more than fields
        fields = dataclasses.fields(kind)
        return (name, tuple((f.name, canonical(getattr(value, f.name))) for f in fields))
    raise Unkeyable(value)


def name_of(function: Callable[..., Any]) -> str:
    """``module:qualname`` of a function, of a partial's function, or of a callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


class Signature:
    """Turns every spelling of a call into one: positional, keyword, default, keyword order.

    The keys of short calls with plain arguments are remembered. Any thread: where two remember the
    same call, their keys are equal.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._signature = inspect.signature(function)
        self._name = name
        parameters = self._signature.parameters.values()
        simple = all(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
        self._simple_count = len(self._signature.parameters) if simple else -1
        self._parameters = tuple(self._signature.parameters)
        defaults = [p.default for p in parameters if p.default is not p.empty]
        # What the function's calls default to may change where it is, say, a list
        self._lasting = all(type(default) in (*_PLAIN, *_TEXT) for default in defaults)
        self._known: dict[tuple[Any, ...], CallKey] = {}  # by the arguments, as they were given

    def key(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> CallKey:
        """The key of a call: the function's name and the canonical arguments.

        Raises `TypeError` for a call that the function does not take, and, with the argument's
        name and the cure, for an argument that cannot be keyed.
        """
        if kwargs:
            return self._make(args, kwargs)
        for arg in args:
            # Of these alone, what is equal is the same: True == 1, a subclass may equal anything
            if type(arg) is not str and type(arg) is not int and arg is not None:
                return self._make(args, kwargs)
        return self._known.get(args) or self._make_known(args)

    def _make_known(self, args: tuple[Any, ...]) -> CallKey:
        key = self._make(args, {})
        if self._lasting and key_bytes(key.args) <= LARGEST_KNOWN:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[args] = key
        return key

    def _make(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> CallKey:
        if not kwargs and len(args) == self._simple_count:
            values = args
            names = self._parameters
        else:
            bound = self._signature.bind(*args, **kwargs)
            bound.apply_defaults()
            values = tuple(bound.arguments.values())
            names = tuple(bound.arguments)
        return CallKey(self._name, tuple(map(self._one, names, values)))

    def _one(self, name: str, value: Any) -> Hashable:
        try:
            return canonical(value)
        except (Unkeyable, RecursionError, ValueError) as error:
            if not isinstance(error, Unkeyable):
                error = Unkeyable(value, "too deep or too large")
            raise TypeError(
                f"{self._name}: argument {name!r} cannot be part of a cache key: it holds {error}. "
                "Pass plain values (numbers, text, dates, enums, dataclasses, collections of "
                "these), or say what stands for the call: "
                f"memoize(..., key=lambda {', '.join(self._parameters)}: ...)"
            ) from None


def digest(key: Hashable) -> str:
    """What stands for a key in a shared store: 128 bits of BLAKE2b over its repr, in hex.

    Every part of a key is a plain value, so its repr is injective.
    """
    return hashlib.blake2b(repr(key).encode(), digest_size=16).hexdigest()


_text_bytes = str.__sizeof__  # what sys.getsizeof asks, in an eighth of the time


def key_bytes(key: Hashable) -> int:
    """What a key takes, with everything in it but small things that are there anyway."""
    if isinstance(key, str):
        return _text_bytes(key)
    if not isinstance(key, tuple):
        return 40 + len(key) if isinstance(key, bytes) else 32
    total = 48 + 8 * len(key)
    for part in key:
        if part:  # not "", 0, () or None
            total += _text_bytes(part) if type(part) is str else key_bytes(part)
    return total
