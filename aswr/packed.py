"""Keys and purges as bytes, for other processes to read.

Pure: no async, no threads, no clock. A key is made of plain values and tuples; what comes back is
equal to what went in, with the same types, and so has the same hash.
"""

from collections.abc import Hashable
from typing import Any

import msgspec

from .keys import CallKey, VariantKey, ViewKey
from .stamps import Purge

_INTS = range(-(2**63), 2**64)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_MADE: dict[str, Any] = {
    "v": lambda parts: ViewKey(*parts),
    "n": lambda parts: VariantKey(*parts),
    "c": lambda parts: CallKey(*parts),
    "t": tuple,
    "i": lambda parts: int(parts[0], 16),
    "s": lambda parts: str(parts[0], "utf-8", "surrogatepass"),
}
_TAGS: dict[type, str] = {ViewKey: "v", VariantKey: "n", CallKey: "c", tuple: "t"}


def pack(key: Hashable) -> bytes:
    """The bytes of a key."""
    return _encode(_plain(key))


def unpack(data: bytes) -> Hashable:
    """The key in ``data``; raises `ValueError` for bytes that are none."""
    try:
        return _made(_decode(data))  # type: ignore[no-any-return]
    except (msgspec.MsgspecError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise ValueError(f"no key: {error!r}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_TAGS[type(value)], *map(_plain, value)]
    if type(value) is int and value not in _INTS:
        return ["i", hex(value)]
    if type(value) is str and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # a lone surrogate
            return ["s", value.encode("utf-8", "surrogatepass")]
    return value


def _made(value: Any) -> Any:
    if isinstance(value, list):
        return _MADE[value[0]](list(map(_made, value[1:])))
    hash(value)  # a map is no part of a key
    return value


def names_in(purge: Purge) -> list[bytes]:
    """The names of a purge: one for each tag and key; ``h`` or ``s`` in front says which kind."""
    kind = b"s" if purge.soft else b"h"
    names = [kind + b"*"] if purge.everything else []
    names += [kind + b"t" + tag.encode("utf-8", "surrogatepass") for tag in purge.tags]
    names += [kind + b"k" + pack(key) for key in purge.keys]
    return names


def purge_of(name: bytes) -> Purge:
    """The purge of one name; raises `ValueError` for bytes that are none."""
    if name[:1] not in (b"h", b"s") or name[1:2] not in (b"*", b"t", b"k"):
        raise ValueError(f"no purge: {name!r}")
    soft, rest = name[:1] == b"s", name[2:]
    if name[1:2] == b"*":
        return Purge(everything=True, soft=soft)
    if name[1:2] == b"t":
        return Purge(tags=(rest.decode("utf-8", "surrogatepass"),), soft=soft)
    key = unpack(rest)
    is_url = type(key) is tuple and [type(part) for part in key] == [str, str]
    if not (is_url or type(key) in (str, CallKey)):
        raise ValueError(f"nothing is purged by {key!r}")
    return Purge(keys=(key,), soft=soft)
