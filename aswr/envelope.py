"""What a shared store keeps of an entry: a head that its scripts can read, and sealed bytes.

Pure: no async, no threads, no clock. Bytes in, bytes out; whatever is not exactly what was sealed
under the same name is refused: truncated, flipped, swapped, of another version, too large.

    "aswr" version flags 00 | number | fresh until | payload ...              | seal
    4      1       1     2    8        8             MessagePack, or zstd of it  8, or 43 if signed

Number and time are unsigned, big-endian, in microseconds.
"""

import hashlib
import struct
from typing import Any, Protocol

from itsdangerous import Signer

VERSION = 4
MAGIC = b"aswr" + bytes([VERSION])
_HEAD = struct.Struct(">4sBBHQQ")
_ZSTD = 1
LARGEST = 16 * 2**20  # bytes; more takes too long to fetch while somebody waits
_LEAST_SAVED = 0.9  # what does not get smaller than that stays as it is
_LARGEST_NUMBER = 2**53  # what a script's numbers carry exactly


class Seal(Protocol):
    """What makes sure that bytes are the ones that were sealed."""

    size: int

    def of(self, data: bytes) -> bytes: ...
    def holds(self, data: bytes, seal: bytes) -> bool: ...


class Checksum:
    """Against accidents: 64 bits of BLAKE2b."""

    size = 8

    def of(self, data: bytes) -> bytes:
        return hashlib.blake2b(data, digest_size=self.size).digest()

    def holds(self, data: bytes, seal: bytes) -> bool:
        return self.of(data) == seal


class Signature:
    """Against who can write to the store: HMAC-SHA256 by itsdangerous, compared in constant time.

    ``keys`` from the oldest to the one that signs; all of them are accepted.
    """

    size = 43

    def __init__(self, keys: list[str | bytes]) -> None:
        secrets = [key.encode() if isinstance(key, str) else key for key in keys]
        self._signer = Signer(
            secrets, salt=b"aswr.entry", key_derivation="hmac", digest_method=hashlib.sha256
        )

    def of(self, data: bytes) -> bytes:
        return self._signer.get_signature(data)

    def holds(self, data: bytes, seal: bytes) -> bool:
        # Two bits of the last character say nothing; they are as `of` writes them.
        return seal[-1] in b"AEIMQUYcgkosw048" and self._signer.verify_signature(data, seal)


class Unreadable(ValueError):
    """Bytes that were not sealed here under this name."""


class TooLarge(ValueError):
    """A payload that no other process would take."""


class Envelopes:
    """How one app's entries are sealed.

    ``limit``: bytes that a payload may have; ``compress_above``: bytes from which it is compressed
    where ``zstandard`` is installed, None: never.
    """

    def __init__(self, seal: Seal, limit: int, compress_above: int | None) -> None:
        self._seal = seal
        self._limit = min(limit, LARGEST - 1024)
        self._zstd = _zstandard()
        self._compress_above = compress_above if self._zstd is not None else None

    def is_large(self, size: int) -> bool:
        """Does sealing or opening so many bytes take long?"""
        return size > (2**16 if self._compress_above is None else min(2**16, self._compress_above))

    def seal(self, name: bytes, number: int, fresh_until: int, payload: bytes) -> bytes:
        """The bytes to store under ``name``; raises `TooLarge`."""
        if len(payload) > self._limit:
            raise TooLarge(f"{len(payload)} bytes")
        flags = 0
        if self._compress_above is not None and len(payload) > self._compress_above:
            packed = self._zstd.ZstdCompressor(level=3).compress(payload)
            if len(packed) < _LEAST_SAVED * len(payload):
                flags, payload = _ZSTD, packed
        head = _HEAD.pack(b"aswr", VERSION, flags, 0, number, min(max(fresh_until, 0), 2**53))
        data = head + payload
        return data + self._seal.of(name + b"\0" + data)

    def open(self, name: bytes, data: object) -> tuple[int, bytes]:
        """Number and payload of what was stored under ``name``; raises `Unreadable`."""
        if not isinstance(data, bytes) or not _HEAD.size + self._seal.size <= len(data):
            raise Unreadable("no bytes of ours")
        if len(data) > self._limit + _HEAD.size + self._seal.size:
            raise Unreadable("too large")
        sealed, seal = data[: -self._seal.size], data[-self._seal.size :]
        magic, version, flags, _, number, _ = _HEAD.unpack_from(sealed)
        if magic != b"aswr" or version != VERSION or flags > _ZSTD or number > _LARGEST_NUMBER:
            raise Unreadable("of another kind")
        if not self._seal.holds(name + b"\0" + sealed, seal):
            raise Unreadable("the seal is broken")
        payload = sealed[_HEAD.size :]
        return number, self._inflated(payload) if flags & _ZSTD else payload

    def _inflated(self, packed: bytes) -> bytes:
        if self._zstd is None:
            raise Unreadable("compressed, and zstandard is not installed")
        try:
            if not 0 <= self._zstd.frame_content_size(packed) <= self._limit:
                raise Unreadable("too large")
            return self._zstd.ZstdDecompressor().decompress(packed)  # type: ignore[no-any-return]
        except self._zstd.ZstdError as error:
            raise Unreadable(str(error)) from None


def number_in(data: bytes) -> int:
    """The number that a script reads in the head of these bytes, whatever they are."""
    if len(data) < _HEAD.size or not data.startswith(MAGIC):
        return 0
    number: int = _HEAD.unpack_from(data)[4]
    return number


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        return None
    return zstandard
