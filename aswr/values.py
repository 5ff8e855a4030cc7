"""Results of memoized functions as bytes for a shared store: what comes back equals what went in.

Pure: no async, no threads, no clock, no Flask; any thread may enter. Nothing is ever unpickled. A
result is MessagePack, read back as the return annotation says. What would come back changed is
refused and never altered: `Carrier.pack` reads what it wrote and compares, types at every depth.
"""

import datetime
import enum
import functools
import hashlib
import inspect
import operator
import struct
import typing
from collections.abc import Awaitable, Callable, Sequence, Set
from decimal import Decimal
from types import BuiltinFunctionType, MemberDescriptorType, NoneType
from typing import Any, Protocol

import msgspec
from msgspec.inspect import Field, Type, type_info

from .codec import Uncarriable

_MARK = 8  # bytes in front that say for which return type, and how, the rest was written
_PLAIN = (NoneType, bool, int, float, str, bytes)
_Decoder = msgspec.msgpack.Decoder[Any]
_Clock = datetime.datetime | datetime.time
_SINGLE = (enum.Enum, msgspec.UnsetType, type(msgspec.NODEFAULT))
_encoder = msgspec.msgpack.Encoder(decimal_format="string", uuid_format="bytes")


class Codec(Protocol):
    """What ``memoize(..., codec=...)`` takes: a function's results as bytes, your own way.

    Called on any thread. That ``decode`` gives back what ``encode`` was given is trusted, not
    verified, and it gets bytes as the store has them: with pickle, the store's writers run code.
    """

    def encode(self, value: Any) -> bytes:
        """The bytes of a result; whatever it raises means that the result cannot be carried."""

    def decode(self, data: bytes) -> Any:
        """The result in these bytes; whatever it raises means that there is none."""


def check_codec(value: object) -> None:
    """Raise `TypeError` for what is neither None nor a `Codec`."""
    for name in ("encode", "decode") if value is not None else ():
        method = getattr(value, name, None)
        unbound = isinstance(value, type) and inspect.isfunction(vars(value).get(name))
        if unbound or not callable(method) or inspect.iscoroutinefunction(method):
            raise TypeError(
                "codec must be an object with the methods encode(value) -> bytes and decode(data), "
                f"no coroutines, got {value!r}, whose {name} is {method!r}; write such a class and "
                "pass an instance: memoize(..., codec=MyCodec())"
            )


class Carrier:
    """The results of one memoized function as bytes.

    ``name`` is the function's in errors; ``codec`` takes the place of its return annotation, which
    is looked at when it is first needed. Reading makes instances of the annotated types, as
    msgspec does: without ``__init__``, but with ``__post_init__``.
    """

    def __init__(self, name: str, function: Callable[..., Any], codec: Codec | None = None) -> None:
        self._name = name
        self._function = function
        self._codec = codec

    @functools.cached_property
    def _way(self) -> "_Annotated | _Given":
        return _Annotated(self._function) if self._codec is None else _Given(self._codec)

    def pack(self, value: Any) -> bytes:
        """The bytes of a result; raises `Uncarriable`, with the cure, where it would change.

        A result that the annotation does not describe is carried where it needs none: None, bool,
        int (64 bits), float, str, bytes, lists and dicts of these.
        """
        cause: Exception | None = None
        try:
            data, why = self._way.encode(value)
        except Exception as error:  # msgspec's, or out of the user's types
            data, why, cause = b"", f" cannot be written: {_text(error)}", error
        if not why:
            return data
        raise Uncarriable(
            f"{self._name} returned a {type(value).__qualname__} that a shared store cannot carry: "
            f"the result{why}. {self._way.cure}, or keep the results in this process: "
            "memoize(..., shared=False)"
        ) from cause

    def unpack(self, data: bytes) -> Any:
        """The result in these bytes; raises `ValueError` for anything that `pack` did not write.

        That is also what was packed for another return type, as before a deployment.
        """
        try:
            return self._way.decode(data)
        except Exception as error:
            raise ValueError(f"{self._name}: no result in these bytes: {_text(error)}") from error


class _Given:
    """The bytes are the user's codec's."""

    def __init__(self, codec: Codec) -> None:
        self.decode = codec.decode
        self._encode: Callable[[Any], object] = codec.encode
        self._name = type(codec).__qualname__
        self.cure = f"Mend {self._name}"

    def encode(self, value: Any) -> tuple[bytes, str]:
        data = self._encode(value)
        if isinstance(data, bytes):
            return data, ""
        return b"", f" was made a {type(data).__qualname__}, not bytes, by {self._name}.encode"


class _Annotated:
    """The bytes are read as annotated, else as plain values.

    A mark in front says which, and by which annotation. A process that runs other code, where a
    field is missing or of another type, does not take them for its own.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        try:
            hint = _returned(function)
            decoder, shape = _Decoder(hint), _shape(type_info(hint), {})
            cure = "Annotate the return type" if hint is Any else "Annotate what it returns"
        except Exception as error:  # a name for type checkers only, a type that msgspec refuses
            hint, decoder, shape = Any, _Decoder(Any), ""
            cure = f"Mend the return annotation, which is of no use here ({_text(error)})"
        self.cure = f"{cure}, say how it becomes bytes: memoize(..., codec=...)"
        self._ways = [(_mark("annotated", shape), decoder)]
        if hint is not Any:
            self._ways.append((_mark("plain", shape), _Decoder(Any)))

    def encode(self, value: Any) -> tuple[bytes, str]:
        """The bytes of a value, or why there are none; raises what msgspec raises."""
        data = _encoder.encode(value)
        whys = []
        for mark, decoder in self._ways:
            if not (why := _lost(value, data, decoder)):
                return mark + data, ""
            whys.append(why)
        return b"", whys[0]

    def decode(self, data: bytes) -> Any:
        """The value in these bytes; raises what msgspec and the user's types raise."""
        for mark, decoder in self._ways:
            if data[:_MARK] == mark:
                return decoder.decode(memoryview(data)[_MARK:])
        raise ValueError("of another return type, or foreign")


def _mark(way: str, shape: str) -> bytes:
    return hashlib.blake2b(f"{way} {shape}".encode(), digest_size=_MARK).digest()


def _text(error: Exception) -> str:
    try:
        return f"{type(error).__qualname__}: {error}"
    except Exception:  # the user's own
        return type(error).__qualname__


# What a function says it returns


def _returned(function: Any) -> Any:
    """The return annotation, resolved, Any without one; parameters need not resolve."""
    while isinstance(function, functools.partial):
        function = function.func
    if not hasattr(function, "__qualname__"):  # an object with __call__
        function = type(function).__call__

    def alone() -> None: ...

    alone.__annotations__ = {"return": getattr(function, "__annotations__", {}).get("return", Any)}
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    hint = typing.get_type_hints(alone, scope, include_extras=True)["return"]
    kind = typing.get_origin(hint) or hint
    if isinstance(kind, type) and issubclass(kind, Awaitable):  # a def that returns a coroutine
        return (Any, *typing.get_args(hint))[-1]
    return hint


def _shape(info: Any, seen: dict[int, int]) -> str:
    """A type and all in it as text, the same in every process that runs the same code."""
    if isinstance(info, Type | Field):
        if id(info) in seen:  # types may be recursive
            return f"#{seen[id(info)]}"
        seen[id(info)] = len(seen)
        info = (type(info), *(getattr(info, name) for name in info.__struct_fields__))
    if isinstance(info, tuple):
        return f"({','.join(_shape(part, seen) for part in info)})"
    if type(info) in _PLAIN:
        return repr(info)
    named = info if hasattr(info, "__qualname__") else type(info)
    return f"{named.__module__}.{named.__qualname__}"


# What came back beside what went in: "" where all is the same, else where and how it differs


def _lost(value: Any, data: bytes, decoder: _Decoder) -> str:
    try:
        return _changed(value, decoder.decode(data))
    except Exception as error:  # msgspec's, or out of the user's types
        return f" would not come back: {_text(error)}"


def _changed(value: Any, back: Any) -> str:
    kind = type(value)
    if kind is not type(back):
        return f" is a {kind.__qualname__} and would come back as a {type(back).__qualname__}"
    if same := _SAME.get(kind):
        return "" if same(value, back) else f" is a {kind.__qualname__} that would change"
    if inside := _INSIDE.get(kind):
        return inside(value, back)
    if issubclass(kind, _SINGLE):
        return "" if value is back else f" is a {kind.__qualname__} that would change"
    return _object(value, back, kind)


def _same_float(value: float, back: float) -> bool:
    return value == back != 0.0 or struct.pack("d", value) == struct.pack("d", back)


def _same_memory(value: memoryview, back: memoryview) -> bool:
    kinds = [(view.format, view.shape, view.readonly) for view in (value, back)]
    return kinds[0] == kinds[1] and value.tobytes() == back.tobytes()


def _clock(value: _Clock, back: _Clock) -> str:
    kind, zone, other = type(value).__qualname__, value.tzinfo, back.tzinfo
    fixed = type(zone) is type(other) is datetime.timezone and repr(zone) == repr(other)
    if zone is not other and not fixed:
        return f" is a {kind} with a {type(zone).__qualname__}, which would come back as {other}"
    if value.fold != back.fold:
        return f" is a {kind} with fold={value.fold}, which would be lost"
    same = value.replace(tzinfo=None) == back.replace(tzinfo=None)
    return "" if same else f" is a {kind} that would change"


def _items(value: Sequence[Any], back: Sequence[Any]) -> str:
    if len(value) != len(back):
        return f" has {len(value)} items, of which {len(back)} would come back"
    for index, item in enumerate(value):
        if why := _changed(item, back[index]):
            return f"[{index}]{why}"
    return ""


def _pairs(value: dict[Any, Any], back: dict[Any, Any]) -> str:
    if len(value) != len(back):
        return f" has {len(value)} keys, of which {len(back)} would come back"
    for (key, item), (other, twin) in zip(value.items(), back.items(), strict=True):
        if why := _changed(key, other):
            return f"'s key{why}"
        if why := _changed(item, twin):
            return f"[{repr(key)[:40] if type(key) in _PLAIN else type(key).__qualname__}]{why}"
    return ""


def _members(value: Set[Any], back: Set[Any]) -> str:
    twins = {item: item for item in back}
    for item in value:
        if item not in twins:
            return f" has a member, a {type(item).__qualname__}, that would not be found again"
        if why := _changed(item, twins.pop(item)):  # equal, which may not mean the same
            return f"'s member{why}"
    return "" if not twins else " has members of which there would be more"


def _object(value: Any, back: Any, kind: type) -> str:
    """All that both hold, fields or not; what ``__eq__`` says of them is not asked."""
    slots = _slots(kind)
    if slots is None:
        return f" is a {kind.__qualname__}, which may hold more than would come back"
    if issubclass(kind, tuple) and (
        why := _items([*tuple.__iter__(value)], [*tuple.__iter__(back)])
    ):
        return why
    for slot in slots:
        if why := _changed(_held(slot, value), _held(slot, back)):
            return f".{slot.__name__}{why}"
    if not kind.__dictoffset__:
        return ""
    before, after = (object.__getattribute__(each, "__dict__") for each in (value, back))
    if beyond := before.keys() ^ after.keys():
        return f" is a {kind.__qualname__} with {beyond.pop()!r} beyond its fields"
    for name, item in before.items():
        if why := _changed(item, after[name]):
            return f".{name}{why}"
    return ""


def _held(slot: MemberDescriptorType, value: object) -> Any:
    try:
        return slot.__get__(value)
    except AttributeError:  # never set
        return msgspec.NODEFAULT


@functools.lru_cache(maxsize=512)
def _slots(kind: type) -> tuple[MemberDescriptorType, ...] | None:
    """Where instances hold what is not in ``__dict__``; None where some of it cannot be seen."""
    named = issubclass(kind, tuple) and hasattr(kind, "_fields")
    bases = [base for base in kind.__mro__ if base is not object and not (named and base is tuple)]
    if any(isinstance(vars(base).get("__new__"), BuiltinFunctionType) for base in bases):
        return None  # a dict, say, or an exception
    members = [member for base in bases for member in vars(base).values()]
    return tuple(member for member in members if isinstance(member, MemberDescriptorType))


_SAME: dict[type, Callable[[Any, Any], bool]] = {
    **dict.fromkeys((NoneType, bool, int, str, bytes, bytearray), operator.eq),
    **dict.fromkeys((datetime.date, datetime.timedelta), operator.eq),
    float: _same_float,
    Decimal: lambda value, back: str(value) == str(back),
    memoryview: _same_memory,
}
_INSIDE: dict[type, Callable[[Any, Any], str]] = {
    **dict.fromkeys((list, tuple), _items),
    **dict.fromkeys((set, frozenset), _members),
    **dict.fromkeys((datetime.datetime, datetime.time), _clock),
    dict: _pairs,
}
