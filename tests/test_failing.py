"""A store that fails on demand."""

import asyncio
import copy
from concurrent.futures import ThreadPoolExecutor

import pytest

from aswr import backend
from aswr.failing import FailingStore


@pytest.fixture
def store():
    return FailingStore()


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 5))


def test_it_keeps_what_it_is_given(store):
    """A value that is set is there until it is deleted or cleared."""
    assert run(store.get("a")) is None
    assert run(store.set("a", b"1", ttl=0.001))
    assert run(store.get("a")) == b"1"
    assert run(store.exists("a"))
    assert run(store.delete("a")) == 1
    assert run(store.delete("a")) == 0
    assert not run(store.exists("a"))
    run(store.set("xa", b"1"))
    run(store.set("b", b"1"))
    run(store.clear(namespace="x"))
    assert len(store) == 1
    run(store.clear())
    assert len(store) == 0


def test_it_counts_calls(store):
    """By command, failed ones too; what is handed out is a copy."""
    run(store.get("a"))
    run(store.set("a", b"1"))
    store.fail()
    with pytest.raises(ConnectionError):
        run(store.get("a"))
    assert store.calls == {"get": 2, "set": 1}
    store.calls["get"] = 9
    assert store.calls["get"] == 2


def test_it_fails_until_it_is_mended(store):
    """With an error of its own or the one it was given."""
    run(store.set("a", b"1"))
    store.fail()
    assert store.mood == "failing"
    with pytest.raises(ConnectionError, match="told to fail"):
        run(store.set("a", b"2"))
    store.fail(OSError("disk"))
    with pytest.raises(OSError, match="disk"):
        run(store.delete("a"))
    store.mend()
    assert store.mood == "well"
    assert run(store.get("a")) == b"1"


@pytest.mark.parametrize("end", ["mend", "fail", "reset"])
def test_it_hangs_until_told_otherwise(store, end):
    """A call that hangs goes on when the store is mended, and fails when it is to fail."""
    run(store.set("a", b"1"))
    store.hang()
    assert store.mood == "hanging"
    with ThreadPoolExecutor() as pool:
        call = pool.submit(run, store.get("a"))
        while store.calls["get"] < 1:
            pass
        with pytest.raises(TimeoutError):
            call.result(0.05)
        getattr(store, end)()
        if end == "fail":
            with pytest.raises(ConnectionError):
                call.result(5)
        else:
            assert call.result(5) == (b"1" if end == "mend" else None)


def test_hanging_twice_lets_nothing_through(store):
    """Who hangs when it is told to hang again goes on hanging."""
    store.hang()
    with ThreadPoolExecutor() as pool:
        call = pool.submit(run, store.get("a"))
        while store.calls["get"] < 1:
            pass
        store.hang()
        with pytest.raises(TimeoutError):
            call.result(0.05)
        store.mend()
        assert call.result(5) is None


def test_copies_are_one_store(store):
    """aswr asks a copy of it: entries, calls and failures are those of all."""
    asked = backend.open_cache(backend.check(store), 1.0)
    assert asked is not store
    run(asked.set("a", b"1"))
    assert run(copy.copy(store).get("a")) == b"1"
    assert store.calls == {"set": 1, "get": 1}
    store.fail()
    with pytest.raises(ConnectionError):
        run(asked.get("a"))
    store.reset()
    assert len(asked) == 0
    assert asked.calls == {}


def test_an_empty_one_is_a_store_all_the_same(store):
    """It is true, so that ``cache or default`` does not leave it out, and says how it is."""
    assert store
    assert repr(store) == "<FailingStore well, 0 entries>"
