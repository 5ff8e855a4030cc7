"""Which shared store a config means: made when it is first needed, once, on the loop."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from aiocache import RedisCache, SimpleMemoryCache

from aswr import breaker as breaker_module
from aswr.codec import Answer, Entry
from aswr.engine import Engine
from aswr.fleet import Fleet
from aswr.keys import ViewKey
from aswr.options import CONFIG
from aswr.plain import Plain
from aswr.runtime import Runtime
from aswr.store import Store
from aswr.tier import Tier
from aswr.tiers import Shared

LIMIT = 10.0  # seconds after which anything here is a failure
KEY = ViewKey("shop:view", "", "/", "", "", ())


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    runtime = Runtime(2)
    yield runtime
    runtime.stop()


class Process:
    """A store that is meant, and who needs it."""

    def __init__(self, runtime: Runtime, source: Any, name: str = "shop", **config: Any) -> None:
        self.runtime = runtime
        self.store = Store(lambda: 1000.0, 1_000_000)
        self.keys: list[str | bytes] = ["secret"]
        self.shared = Shared(
            source, name, {**CONFIG, **config}, lambda: self.keys, self.store.stamps,
            lambda: 1000.0,
        )  # fmt: skip
        self.engine = Engine(
            name, self.store, lambda: runtime, clock=lambda: 1000.0, random=lambda: 0.0,
            max_waiters=9, max_loads=9,
        )  # fmt: skip

    def run(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return self.runtime.submit(make, "test").result(LIMIT)

    def tier(self) -> Tier | None:
        async def made() -> Tier | None:
            return self.shared.tier(lambda: self.runtime, self.engine)

        found: Tier | None = self.run(made)
        return found

    def save(self) -> None:
        tier, entry = self.tier(), self.entry()
        assert tier is not None
        self.run(lambda: tier.save(KEY, KEY, entry, None))

    def read(self) -> Entry | None:
        tier = self.tier()
        assert tier is not None
        found: Entry | None = self.run(lambda: tier.read(KEY))
        return found

    def entry(self) -> Entry:
        return Entry(
            value=Answer(200, (), b"x" * 50_000), stored=1000.0, fresh_until=1060.0,
            stale_until=1060.0, error_until=1060.0, born=self.store.stamps.tick(),
        )  # fmt: skip


class MemcachedBackend(SimpleMemoryCache):  # type: ignore[misc]
    """Named like aiocache's."""


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (SimpleMemoryCache(), Plain),
        (SimpleMemoryCache, Plain),
        (MemcachedBackend(), Plain),
        ("redis://localhost:1", Fleet),
        ("unix:///nowhere", Fleet),
        (RedisCache, Fleet),
        (lambda: "redis://localhost:1", Fleet),
    ],
    ids=["object", "class", "memcached", "redis", "unix", "redis object", "factory"],
)
def test_which_store_is_meant(runtime: Runtime, source: Any, kind: type[Tier]) -> None:
    """Redis is a fleet's; any other aiocache cache is shared as far as bytes go."""
    process = Process(runtime, source)
    assert process.shared
    assert process.shared.made is None
    tier = process.tier()
    assert type(tier) is kind
    assert process.tier() is tier is process.shared.made
    process.run(process.shared.close)
    assert process.shared.made is None


def test_none_is_meant(runtime: Runtime) -> None:
    """Without a source there is no store, and nothing to close."""
    process = Process(runtime, None)
    assert not process.shared
    assert process.tier() is None
    process.run(process.shared.close)


def test_an_empty_cache_is_one(runtime: Runtime) -> None:
    """A cache object that counts as false, since nothing is in it yet, is meant all the same."""

    class Sized(SimpleMemoryCache):  # type: ignore[misc]
        def __len__(self) -> int:
            return 0

    assert Process(runtime, Sized()).tier() is not None


def test_a_factory_is_called_once_and_on_the_loop(runtime: Runtime) -> None:
    """Not before it is needed; and again only after it was closed."""
    loops: list[Any] = []

    def factory() -> SimpleMemoryCache:
        loops.append(asyncio.get_running_loop())
        return SimpleMemoryCache()

    process = Process(runtime, factory)
    assert loops == []
    process.save()
    assert process.read() is not None
    assert loops == [runtime.loop]
    process.run(process.shared.close)
    process.run(process.shared.close)
    assert len(loops) == 1
    process.save()
    assert len(loops) == 2


@pytest.mark.parametrize("made", [5, "http://localhost"], ids=repr)
def test_a_factory_of_something_else(
    runtime: Runtime, caplog: pytest.LogCaptureFixture, made: Any
) -> None:
    """What is no store is none: loads carry on without, and the log says what it was."""
    process = Process(runtime, lambda: made)
    assert process.tier() is None
    assert len(caplog.records) == 1
    assert "the factory of the shared store of 'shop' fails" in caplog.records[0].getMessage()


def test_a_factory_that_fails_is_tried_again(
    runtime: Runtime, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no store until it works; one line says that it fails, one that it works."""
    monkeypatch.setattr(breaker_module, "TRY_FIRST", 0.0)
    tries: list[None] = []

    def factory() -> SimpleMemoryCache:
        tries.append(None)
        if len(tries) < 3:
            raise OSError("no route")
        return SimpleMemoryCache()

    process = Process(runtime, factory)
    with caplog.at_level(logging.WARNING, "aswr.store"):
        assert process.tier() is process.tier() is None
        assert process.tier() is not None
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert "OSError" in lines[0]
    assert "no route" not in lines[0], "it may tell a password"
    assert lines[1].endswith("answers again")


def test_a_factory_that_fails_is_left_alone_a_while(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between tries a load does not wait for it."""
    monkeypatch.setattr(breaker_module, "TRY_FIRST", 3600.0)
    monkeypatch.setattr(breaker_module, "TRY_MOST", 3600.0)
    tries: list[None] = []

    def factory() -> SimpleMemoryCache:
        tries.append(None)
        raise OSError("no route")

    process = Process(runtime, factory)
    for _ in range(3):
        assert process.tier() is None
    assert len(tries) == 1


def test_a_forked_child_makes_its_own(runtime: Runtime) -> None:
    """What the parent is connected by is neither used nor closed in the child."""
    closed: list[None] = []

    class Closing(SimpleMemoryCache):  # type: ignore[misc]
        async def _close(self, *_: Any, **__: Any) -> None:
            closed.append(None)

    process = Process(runtime, Closing())
    process.save()
    parents = process.tier()
    process.shared.forget()
    assert process.shared.made is None
    assert process.tier() is not parents
    assert closed == []


@pytest.mark.parametrize(
    ("one", "other", "shares"),
    [
        ({}, {}, True),
        ({}, {"name": "blog"}, False),
        ({"ASWR_NAMESPACE": "blog"}, {"name": "blog"}, True),
        ({"ASWR_VERSION": "1"}, {"ASWR_VERSION": "2"}, False),
        ({"ASWR_VERSION": "1"}, {"ASWR_VERSION": "1"}, True),
        ({"ASWR_SIGN": True}, {"ASWR_SIGN": True}, True),
        ({"ASWR_SIGN": True}, {}, False),
        ({}, {"ASWR_SIGN": True}, False),
        ({"ASWR_STORE_COMPRESS": None}, {}, True),
        ({}, {"ASWR_STORE_COMPRESS": None}, True),
        ({}, {"ASWR_MAX_BYTES": 10_000}, False),
    ],
    ids=repr,
)
def test_who_shares_with_whom(
    runtime: Runtime, one: dict[str, Any], other: dict[str, Any], shares: bool
) -> None:
    """Processes of one name and version share; what is not signed as asked, or too large, no."""
    cache = SimpleMemoryCache()
    first, second = Process(runtime, cache, **one), Process(runtime, cache, **other)
    first.save()
    assert (second.read() is not None) is shares
    assert first.read() is not None


def test_secret_keys_rotate(runtime: Runtime) -> None:
    """The last key signs, the ones before it are accepted, and one that is gone is not."""
    cache = SimpleMemoryCache()
    old, new, newest = (Process(runtime, cache, ASWR_SIGN=True) for _ in range(3))
    new.keys, newest.keys = ["secret", b"newer"], ["newest"]
    old.save()
    assert new.read() is not None
    assert newest.read() is None
    new.save()
    assert old.read() is None


@pytest.mark.parametrize(
    ("source", "before", "after"),
    [
        (MemcachedBackend(), 1, 1),
        (MemcachedBackend, 0, 1),
        (lambda: MemcachedBackend(), 0, 1),
        (SimpleMemoryCache(), 0, 0),
        (SimpleMemoryCache, 0, 0),
    ],
    ids=["object", "class", "factory", "another", "another class"],
)
def test_memcached_is_warned_of(
    runtime: Runtime, caplog: pytest.LogCaptureFixture, source: Any, before: int, after: int
) -> None:
    """That it shares entries and nothing else is said once, as soon as it is known."""
    with caplog.at_level(logging.WARNING, "aswr.store"):
        process = Process(runtime, source)
        assert len(caplog.records) == before
        process.tier()
        process.tier()
        process.save()
    assert len(caplog.records) == after
    assert all("every process loads for itself" in line.getMessage() for line in caplog.records)
