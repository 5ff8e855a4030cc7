"""Sealed bytes: what was sealed under a name opens under it, and nothing else does."""

import hashlib
import os
import re
import struct
import sys
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aswr import scripts
from aswr.envelope import (
    MAGIC,
    VERSION,
    Checksum,
    Envelopes,
    Seal,
    Signature,
    Unreadable,
)

LIMIT = 2**16
HEAD = 24
NAME = b"aswr:shop:1:{digest}"
KEYS: list[str | bytes] = ["old", b"older than new", "new"]
NOISE = bytes(range(256)) * 4  # which zstd makes smaller
ZSTD = 1

quick = settings(deadline=None)
numbers = st.integers(0, 2**53)
names = st.binary(max_size=30)
seals: list[Callable[[], Seal]] = [Checksum, lambda: Signature(KEYS)]
either = pytest.mark.parametrize("seal", [make() for make in seals], ids=["checksum", "signature"])


def envelopes(
    seal: Seal | None = None, limit: int = LIMIT, compress_above: int | None = 100
) -> Envelopes:
    return Envelopes(Checksum() if seal is None else seal, limit, compress_above)


def forged(payload: bytes, flags: int = 0, number: int = 7, seal: Seal | None = None) -> bytes:
    """Bytes that bear a good seal, whatever they are."""
    data = struct.pack(">4sBBHQQ", b"aswr", VERSION, flags, 0, number, 0) + payload
    return data + (seal or Checksum()).of(NAME + b"\0" + data)


def refuses(sealed: Envelopes, data: object, name: bytes = NAME) -> bool:
    """Are they unreadable? What else is raised fails the test."""
    try:
        sealed.open(name, data)
    except Unreadable:
        return True
    return False


# What is sealed opens.


@given(
    names, numbers, st.integers(-(2**70), 2**70), st.binary(max_size=300),
    st.sampled_from(seals), st.none() | st.integers(0, 200),
)  # fmt: skip
@example(b"", 2**53, 2**53, b"", Checksum, 0)
@example(NAME, 0, 0, b"x" * LIMIT, Checksum, 0)
@example(NAME, 0, 0, b"x" * LIMIT, Checksum, None)
@quick
def test_what_is_sealed_opens(
    name: bytes,
    number: int,
    fresh_until: int,
    payload: bytes,
    make: Callable[[], Seal],
    above: int | None,
) -> None:
    """Number and payload come back, compressed or not, signed or not."""
    sealed = envelopes(make(), compress_above=above)
    data = sealed.seal(name, number, fresh_until, payload)
    assert sealed.open(name, data) == (number, payload)
    others = envelopes(make(), compress_above=None)
    assert others.open(name, data) == (number, payload)


@given(numbers, st.integers(-(2**70), 2**70), st.binary(max_size=300))
@quick
def test_the_head_is_what_the_scripts_read(number: int, fresh_until: int, payload: bytes) -> None:
    """Number and end of freshness are big-endian at 8 and 16, as far as Lua can count."""
    data = envelopes().seal(NAME, number, fresh_until, payload)
    assert data[:5] == MAGIC
    assert struct.unpack_from(">Q", data, 8) == (number,)
    (fresh,) = struct.unpack_from(">Q", data, 16)
    assert fresh == min(max(fresh_until, 0), 2**53)
    assert len(data) >= HEAD + Checksum.size


@pytest.mark.parametrize("script", [scripts.CLAIM, scripts.STORE, scripts.DROP])
def test_the_scripts_know_the_same_head(script: scripts.Script) -> None:
    """The Lua looks for the same first bytes, length and places, which it counts from one."""
    told = re.search(r"string\.sub\(data, 1, 5\) ~= '([^']*)'", script.text)
    assert told is not None
    assert bytes(int(byte) for byte in told[1].split("\\")[1:]) == MAGIC
    assert f"string.len(data) < {HEAD}" in script.text
    assert re.findall(r"unpack\('>I8', data, (\d+)\)", script.text) == ["9", "17"]


# What was not sealed so does not.


@either
@pytest.mark.parametrize("payload", [b"", b"payload", NOISE], ids=["empty", "plain", "zstd"])
def test_every_flipped_bit(seal: Seal, payload: bytes) -> None:
    """Of what was sealed no bit can be another."""
    sealed = envelopes(seal)
    data = sealed.seal(NAME, 7, 9, payload)
    assert (data[5] == ZSTD) == (payload == NOISE)
    for place in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            assert refuses(sealed, bytes(flipped)), (place, bit)


@either
def test_every_truncation_and_extension(seal: Seal) -> None:
    """Nothing may be missing at either end, and nothing may be added."""
    sealed = envelopes(seal)
    data = sealed.seal(NAME, 7, 9, b"payload" * 10)
    for end in range(len(data)):
        assert refuses(sealed, data[:end])
        assert refuses(sealed, data[len(data) - end :])
    for byte in range(256):
        assert refuses(sealed, data + bytes([byte]))
        assert refuses(sealed, bytes([byte]) + data)
    assert refuses(sealed, data + data)


@given(st.binary(max_size=120), st.sampled_from(seals), st.none() | st.just(MAGIC))
@settings(deadline=None, max_examples=300)
def test_foreign_bytes(data: bytes, make: Callable[[], Seal], start: bytes | None) -> None:
    """Bytes of others are unreadable, and nothing else is raised."""
    assert refuses(envelopes(make()), (start or b"") + data)


@given(st.data(), st.sampled_from(seals), st.binary(max_size=200))
@settings(deadline=None, max_examples=300)
def test_random_changes(data: st.DataObject, make: Callable[[], Seal], payload: bytes) -> None:
    """Bytes changed, removed or put in anywhere are unreadable, and nothing else is raised."""
    sealed = envelopes(make())
    good = sealed.seal(NAME, 7, 9, payload)
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(changed)))
        changed[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    assert bytes(changed) == good or refuses(sealed, bytes(changed))


@pytest.mark.parametrize(
    "data", [None, "aswr", 0, 1.5, [], {}, bytearray(40), memoryview(bytes(40))], ids=repr
)
def test_what_is_no_bytes(data: object) -> None:
    """A store that gives text, numbers or buffers gives nothing of ours."""
    assert refuses(envelopes(), data)


@given(names, names, st.sampled_from(seals))
@quick
def test_bytes_of_another_name(one: bytes, other: bytes, make: Callable[[], Seal]) -> None:
    """What is good under one name is unreadable under every other: entries cannot be swapped."""
    sealed = envelopes(make())
    data = sealed.seal(one, 7, 9, b"payload")
    assert refuses(sealed, data, other) == (one != other)


def test_a_name_and_its_bytes_are_kept_apart() -> None:
    """A name that ends in what begins an envelope opens nothing that was sealed under less."""
    sealed = envelopes()
    data = sealed.seal(NAME, 7, 9, b"payload")
    assert refuses(sealed, data[4:], NAME + data[:4])
    assert refuses(sealed, data[1:], NAME + b"\0" + data[:1])


@pytest.mark.parametrize("version", [0, VERSION - 1, VERSION + 1, 255])
def test_another_version(version: int) -> None:
    """What an older or a newer aswr has sealed is unreadable, however good its seal."""
    data = struct.pack(">4sBBHQQ", b"aswr", version, 0, 0, 7, 0) + b"payload"
    data += Checksum().of(NAME + b"\0" + data)
    assert refuses(envelopes(), data)


@pytest.mark.parametrize("flags", [2, 3, 128, 255])
def test_flags_of_the_future(flags: int) -> None:
    """A way of packing that this version does not know is unreadable."""
    assert not refuses(envelopes(), forged(b"payload"))
    assert refuses(envelopes(), forged(b"payload", flags))


@pytest.mark.parametrize("number", [2**53 + 1, 2**63, 2**64 - 1])
def test_numbers_beyond_what_scripts_can_count(number: int) -> None:
    """A number that no script could have compared was given out by nobody."""
    assert envelopes().open(NAME, forged(b"payload", number=2**53)) == (2**53, b"payload")
    assert refuses(envelopes(), forged(b"payload", number=number))


# Size.


@pytest.mark.parametrize("compress_above", [None, 0])
def test_too_large(compress_above: int | None) -> None:
    """A payload of the limit is read, one byte more is not."""
    writer = envelopes(compress_above=compress_above)
    reader = envelopes(limit=1000)
    assert reader.open(NAME, writer.seal(NAME, 7, 9, b"x" * 1000)) == (7, b"x" * 1000)
    assert refuses(reader, writer.seal(NAME, 7, 9, b"x" * 1001))


def test_too_large_though_it_does_not_get_smaller() -> None:
    """The limit holds for what is compressed and grows by that, too."""
    noise = os.urandom(1000)
    frame = zstandard.ZstdCompressor().compress(noise)
    assert len(frame) > 1000
    assert refuses(envelopes(limit=1000), forged(frame, ZSTD))


def test_a_bomb() -> None:
    """Few bytes that would become many are refused by what they say of themselves."""
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(2**26))
    assert len(bomb) < LIMIT
    assert refuses(envelopes(), forged(bomb, ZSTD))


def test_a_bomb_that_does_not_say_so() -> None:
    """A frame that does not say how large it is, is refused, even where it is small."""
    packer = zstandard.ZstdCompressor(write_content_size=False)
    for size in (10, 2**26):
        frame = packer.compress(bytes(size))
        assert zstandard.frame_content_size(frame) == -1
        assert refuses(envelopes(), forged(frame, ZSTD))


def test_a_bomb_that_lies() -> None:
    """A frame that holds more than it says is refused, and so is one that holds less."""
    frame = bytearray(zstandard.ZstdCompressor().compress(bytes(200)))
    assert zstandard.frame_content_size(frame) == frame[5] == 200
    assert envelopes().open(NAME, forged(bytes(frame), ZSTD)) == (7, bytes(200))
    for lie in (10, 199, 201, 255):
        frame[5] = lie
        assert refuses(envelopes(), forged(bytes(frame), ZSTD))


@given(st.binary(max_size=60), st.booleans())
@settings(deadline=None, max_examples=300)
def test_frames_of_any_bytes(frame: bytes, start: bool) -> None:
    """Under a good seal, too, what is no frame is unreadable, and nothing else is raised."""
    data = forged((b"\x28\xb5\x2f\xfd" if start else b"") + frame, ZSTD)
    if not refuses(envelopes(), data):
        _, payload = envelopes().open(NAME, data)
        assert len(payload) <= LIMIT


# Compression.


def flags_of(data: bytes) -> int:
    return data[5]


def test_only_what_is_large_is_compressed() -> None:
    """Up to the size that is given a payload stays as it is."""
    sealed = envelopes(compress_above=500)
    assert flags_of(sealed.seal(NAME, 7, 9, b"x" * 500)) == 0
    assert flags_of(sealed.seal(NAME, 7, 9, b"x" * 501)) == ZSTD
    assert len(sealed.seal(NAME, 7, 9, b"x" * 501)) < 100


def test_only_where_it_pays() -> None:
    """What does not get smaller by a tenth stays as it is."""
    sealed = envelopes()
    noise = os.urandom(1000)
    assert flags_of(sealed.seal(NAME, 7, 9, noise)) == 0
    assert flags_of(sealed.seal(NAME, 7, 9, noise[:950] + bytes(50))) == 0
    assert flags_of(sealed.seal(NAME, 7, 9, noise[:500] + bytes(500))) == ZSTD


def test_never_where_that_is_wished() -> None:
    """With None nothing is compressed, and what others have compressed is read."""
    never = envelopes(compress_above=None)
    data = never.seal(NAME, 7, 9, b"x" * 10_000)
    assert flags_of(data) == 0
    assert len(data) == HEAD + 10_000 + Checksum.size
    assert never.open(NAME, envelopes().seal(NAME, 7, 9, b"x" * 10_000)) == (7, b"x" * 10_000)


@pytest.mark.parametrize(
    ("compress_above", "large"), [(None, 2**16), (100, 100), (2**20, 2**16), (0, 0)]
)
def test_what_takes_long(compress_above: int | None, large: int) -> None:
    """What would be compressed takes long to seal, and what is over 64 KiB in any case."""
    sealed = envelopes(compress_above=compress_above)
    assert not sealed.is_large(large)
    assert sealed.is_large(large + 1)


def test_without_zstandard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed nothing is compressed; what is, is unreadable, the rest is not."""
    packed = envelopes().seal(NAME, 7, 9, b"x" * 10_000)
    plain = envelopes().seal(NAME, 7, 9, b"payload")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    without = envelopes()
    assert refuses(without, packed)
    assert without.open(NAME, plain) == (7, b"payload")
    data = without.seal(NAME, 7, 9, b"x" * 10_000)
    assert flags_of(data) == 0
    assert without.open(NAME, data) == (7, b"x" * 10_000)
    assert not without.is_large(2**16)
    assert without.is_large(2**16 + 1)


# Signing.


def signed(*keys: str | bytes) -> Envelopes:
    return envelopes(Signature(list(keys)))


def test_what_is_not_signed() -> None:
    """Where entries are signed, a checksum is not enough; nor the other way round."""
    data = envelopes().seal(NAME, 7, 9, b"payload")
    assert refuses(signed("key"), data)
    assert refuses(envelopes(), signed("key").seal(NAME, 7, 9, b"payload"))


@pytest.mark.parametrize("key", ["", "Key", "key ", b"\0key", "kez"])
def test_signed_with_another_key(key: str | bytes) -> None:
    """What somebody has signed whose key is not known is unreadable."""
    assert refuses(signed("key"), signed(key).seal(NAME, 7, 9, b"payload"))


def test_text_and_bytes_are_the_same_key() -> None:
    """A key may be given as text, which is its UTF-8."""
    data = signed("schlüssel").seal(NAME, 7, 9, b"payload")
    assert signed("schlüssel".encode()).open(NAME, data) == (7, b"payload")


def test_the_last_key_signs_and_all_are_accepted() -> None:
    """Keys rotate: old entries open with the new list, new ones with whoever has the new key."""
    before, during, after = signed("one"), signed("one", "two"), signed("two")
    old, new = (each.seal(NAME, 7, 9, b"payload") for each in (before, during))
    assert during.open(NAME, old) == (7, b"payload")
    assert during.open(NAME, new) == (7, b"payload")
    assert after.open(NAME, new) == (7, b"payload")
    assert refuses(after, old)  # its key is withdrawn
    assert refuses(before, new)
    assert new == after.seal(NAME, 7, 9, b"payload")


def test_a_signature_is_for_this_use_alone() -> None:
    """What the app signs with the same key elsewhere, in its cookies, opens nothing here."""
    from itsdangerous import Signer

    head = struct.pack(">4sBBHQQ", b"aswr", VERSION, 0, 0, 7, 0) + b"payload"
    for salt in (b"itsdangerous.Signer", b"cookie-session"):
        signer = Signer("key", salt, key_derivation="hmac", digest_method=hashlib.sha256)
        assert refuses(signed("key"), head + signer.get_signature(NAME + b"\0" + head))
