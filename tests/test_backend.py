"""Which caches may be given, what is said of them, and how they are opened."""

import sys
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from aiocache import RedisCache, SimpleMemoryCache
from aiocache.base import BaseCache
from aiocache.serializers import NullSerializer, PickleSerializer
from flask import Flask
from redis.asyncio import (
    BlockingConnectionPool,
    ConnectionPool,
    Redis,
    RedisCluster,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool

from aswr import CacheManager
from aswr.backend import check, client_of, is_memcached, open_cache, shown

TIMEOUT = 0.25


class MemcachedBackend(SimpleMemoryCache):
    """Called as the base of aiocache's `MemcachedCache` is, which needs a client of its own."""


class MemcachedCache(MemcachedBackend):
    pass


def redis_cache(client: Any = None, **options: Any) -> RedisCache:
    """An aiocache cache, of this client if one is given."""
    cache = RedisCache(**options)
    if client is not None:
        cache.client = client
    return cache


def cluster(**options: Any) -> RedisCluster:
    return RedisCluster(host="localhost", port=1, **options)


def sentinel_master(**options: Any) -> Redis:
    return Sentinel([("localhost", 1)]).master_for("shop", **options)


def pool_of(cache: Any) -> Any:
    return cache.client.connection_pool


# What may be given.


@pytest.mark.parametrize(
    "address",
    [
        "redis://localhost",
        "redis://localhost/",
        "redis://localhost:6379/3",
        "redis://:secret@localhost:6379/0",
        "redis://user:se%2Fcret@localhost",
        "redis://[::1]:6379/0",
        "redis://127.0.0.1?db=2&health_check_interval=10",
        "redis://localhost?max_connections=5&timeout=3&socket_timeout=1&protocol=3",
        "rediss://user:secret@redis.example:6380/0?ssl_cert_reqs=none",
        "unix:///run/redis.sock?db=0",
        "unix://user:secret@/run/redis.sock",
        "valkey://user:secret@localhost:6379/3",
        "valkeys://:secret@valkey.example:6380",
    ],
)
def test_addresses(address: str) -> None:
    """Addresses of Redis, plain, by TLS or by a socket, are what is given, and can be opened."""
    assert check(address) == address
    cache = open_cache(address, TIMEOUT)
    assert isinstance(cache, RedisCache)
    assert isinstance(client_of(cache), Redis)


@pytest.mark.parametrize(
    "source",
    [
        None,
        SimpleMemoryCache(),
        redis_cache(),
        redis_cache(cluster()),
        redis_cache(sentinel_master()),
        MemcachedCache(),
        SimpleMemoryCache,
        RedisCache,
        lambda: SimpleMemoryCache(),
    ],
    ids=[
        "none", "memory", "redis", "cluster", "sentinel", "memcached", "class", "redis class",
        "function",
    ],
)  # fmt: skip
def test_sources(source: Any) -> None:
    """Nothing, cache objects, their classes, and factories are taken as they are."""
    assert check(source) is source


def test_a_factory_is_not_called_to_be_checked() -> None:
    """A factory makes connections: nobody calls it before they are needed."""

    def factory() -> BaseCache:
        raise AssertionError("called")

    assert check(factory) is factory


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (5, "int"), (True, "bool"), (b"redis://localhost", "bytes"), (["redis://"], "list"),
        ({}, "dict"), (object(), "object"), (dict, "type"), (Flask, "type"), ((), "tuple"),
    ],
)  # fmt: skip
def test_what_is_no_source(source: Any, kind: str) -> None:
    """Anything else is a `TypeError` that says what it is and what to write."""
    with pytest.raises(TypeError) as caught:
        check(source)
    assert str(caught.value) == (
        "cache must be None, an address, an aiocache cache object or a factory of one, got "
        f"a {kind}; write CacheManager(app, cache='redis://localhost')"
    )


@pytest.mark.parametrize(
    ("address", "scheme"),
    [
        ("localhost:6379", ""),
        ("", ""),
        ("redis:localhost", ""),
        ("memcached://localhost", "memcached"),
        ("http://localhost", "http"),
        ("Redis://localhost", "Redis"),
        ("redis+cluster://localhost", "redis+cluster"),
    ],
)
def test_other_addresses(address: str, scheme: str) -> None:
    """An address of something else is a `ValueError` that names the ones that are known."""
    with pytest.raises(ValueError) as caught:
        check(address)
    assert str(caught.value) == (
        "cache: an address begins with one of redis://, rediss://, unix://, "
        "valkey://, valkeys://, this one with "
        f"{scheme!r}; for another store give an aiocache cache object"
    )


@pytest.mark.parametrize(
    "address",
    [
        "redis://localhost:port",
        "redis://localhost:99999",
        "redis://localhost?db=first",
        "redis://[::1",
        "rediss://localhost:port",
        "valkey://localhost:port",
        "redis://:pass/word@localhost:6379",
    ],
)
def test_addresses_that_cannot_be_read(address: str) -> None:
    """An address that redis-py cannot read is a `ValueError` that says how one is written."""
    with pytest.raises(ValueError) as caught:
        check(address)
    scheme = address.partition(":")[0]
    assert str(caught.value) == (
        f"cache: this {scheme}:// address cannot be read; write "
        f"{scheme}://[[user]:[password]@]host[:port][/database], or unix:///path?db=0; "
        "quote special characters of a password (urllib.parse.quote)"
    )


@pytest.mark.parametrize(
    "client", [Redis(decode_responses=True), sentinel_master(decode_responses=True)]
)
def test_a_client_that_makes_text_of_bytes(client: Any) -> None:
    """A client with ``decode_responses`` is refused, with what to leave out: entries are bytes."""
    cache = redis_cache(client)
    for refused in (check, lambda cache: open_cache(lambda: cache, TIMEOUT)):
        with pytest.raises(TypeError, match="decode_responses=True.*; leave it out"):
            refused(cache)


def test_a_cluster_that_makes_text_of_bytes() -> None:
    """So is a cluster's client."""
    with pytest.raises(TypeError, match="decode_responses=True.*; leave it out"):
        check(redis_cache(cluster(decode_responses=True)))


def test_an_address_that_makes_text_of_bytes() -> None:
    """An address that asks for text is opened all the same, for bytes."""
    opened = open_cache(check("redis://localhost?decode_responses=True"), TIMEOUT)
    assert pool_of(opened).connection_kwargs["decode_responses"] is False


@pytest.fixture
def no_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("redis", "redis.asyncio", "redis.asyncio.connection"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("no_redis")
@pytest.mark.parametrize("scheme", ["redis", "rediss", "unix", "valkey", "valkeys"])
def test_without_redis_py(scheme: str) -> None:
    """Where redis-py is not installed an address is an `ImportError` that says what to install."""
    with pytest.raises(ImportError) as caught:
        check(f"{scheme}://:sesame@localhost")
    assert str(caught.value) == (
        f"cache: {scheme}:// needs redis-py; install its client: pip install 'aswr[redis]'"
    )


@pytest.mark.usefixtures("no_redis")
def test_without_redis_py_the_rest_works() -> None:
    """What needs no redis-py does without it."""
    assert check(None) is None
    cache = SimpleMemoryCache()
    assert check(cache) is cache
    assert open_cache(cache, TIMEOUT) is not cache
    assert client_of(cache) is None
    with pytest.raises(ValueError, match="an address begins with one of"):
        check("http://localhost")


# Passwords.

BEFORE, AFTER = "sesame", "hunter"
FORMS = [
    "redis://:{}@localhost:6379/0",
    "redis://user:{}@localhost",
    "rediss://user:{}@redis.example:6380/1",
    "redis://user:{}@localhost:port/0",
    "redis://user:{}@[::1/0",
    "redis://user:{}@",
    "redis://localhost/0?password={}",
    "redis://localhost:port/0?password={}",
    "unix://user:{}@/run/redis.sock",
    "valkey://:{}@localhost:6379/0",
    "unix://:{}@/run/redis.sock?db=first",
    "unix:///run/redis.sock?password={}",
    "user:{}@localhost:6379",
    ":{}@localhost",
    "redis:{}@localhost",
    "redis:user:{}@localhost:6379",
    "http://user:{}@localhost",
    "memcached://user:{}@localhost",
    "REDIS://user:{}@localhost",
    " redis://user:{}@localhost",
    "'redis://user:{}@localhost'",
]
BETWEEN = [*"/#?@:[]%&=+ \\\"'\n\t\0ä|", "", "%2F", "://", "//", "/6379/", "@h:1/", "\u2100"]


def told(error: BaseException) -> str:
    """All that a log would show of an error."""
    trace = "".join(traceback.format_exception(error))
    return "\n".join([str(error), repr(error), repr(error.args), trace])


def told_of(address: str) -> str:
    """What is said of an address, be it good or bad, when it is checked, shown, and used."""
    texts = []
    try:
        source = check(address)
    except (TypeError, ValueError) as error:
        texts.append(told(error))
    else:
        texts.append(shown(source))
    app = Flask("shop")
    try:
        manager = CacheManager(app, cache=address)
    except (TypeError, ValueError) as error:
        texts.append(told(error))
    else:
        texts += [repr(manager), repr(app.extensions["aswr"])]
        manager.close()
    try:
        CacheManager().init_app(Flask("shop"), cache=address)
    except (TypeError, ValueError) as error:
        texts.append(told(error))
    return "\n".join(texts)


@pytest.mark.parametrize("form", FORMS)
def test_no_password_is_told(form: str) -> None:
    """No part of a password is in what is said of an address, whatever else is wrong with it."""
    texts = {between: told_of(form.format(BEFORE + between + AFTER)) for between in BETWEEN}
    assert [b for b, text in texts.items() if BEFORE in text or AFTER in text] == []


@pytest.mark.parametrize(
    "address",
    [
        "redis://user:12/hunter@localhost:6379/0",
        "redis://:6379/hunter@localhost",
        "rediss://user:1/hunter@redis.example",
        "unix://user:12/hunter@/run/redis.sock",
    ],
)
def test_no_password_is_taken_for_a_path(address: str) -> None:
    """What redis-py reads as a port and a database, because of a slash, may be a password."""
    assert AFTER not in told_of(address)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("redis://user:sesame@localhost:6379/0?password=sesame#sesame", "redis://localhost:6379/0"),
        ("redis://localhost", "redis://localhost"),
        ("rediss://:sesame@[::1]:6380/2", "rediss://::1:6380/2"),
        ("unix://user:sesame@/run/redis.sock?db=1", "unix:///run/redis.sock"),
        ("valkey://user:sesame@localhost:6379/1", "valkey://localhost:6379/1"),
        (RedisCache(password="sesame"), "RedisCache"),
        (SimpleMemoryCache(), "SimpleMemoryCache"),
        (lambda: None, "function"),
    ],
    ids=["redis", "short", "ipv6", "unix", "valkey", "cache", "memory", "factory"],
)
def test_what_is_shown(source: Any, text: str) -> None:
    """Of an address host, port and path are shown, of anything else its kind."""
    assert shown(source) == text


def test_no_password_of_a_cache_object_is_told() -> None:
    """A cache object is called by its kind, in errors and of a manager."""
    cache = redis_cache(password=BEFORE)
    cache.client = Redis(password=AFTER, decode_responses=True)
    with pytest.raises(TypeError) as caught:
        CacheManager(cache=cache)
    assert BEFORE not in told(caught.value)
    assert AFTER not in told(caught.value)
    manager = CacheManager(Flask("shop"), cache=redis_cache(password=BEFORE))
    assert BEFORE not in repr(manager)


# Clients.


@pytest.mark.parametrize(
    "client",
    [Redis(), Redis(connection_pool=BlockingConnectionPool()), cluster(), sentinel_master()],
    ids=["redis", "pool", "cluster", "sentinel"],
)
def test_the_client_of_a_cache(client: Any) -> None:
    """redis-py's clients are found in a cache: of a server, a cluster, a sentinel's master."""
    assert client_of(redis_cache(client)) is client


def test_the_client_of_a_class_of_ones_own() -> None:
    """A client whose class derives from redis-py's is one: those that trace are such."""

    class Traced(Redis):
        pass

    client = Traced()
    assert client_of(redis_cache(client)) is client


@pytest.mark.parametrize("cache", [SimpleMemoryCache(), MemcachedCache(), None, 5, "text"])
def test_no_client(cache: Any) -> None:
    """What is no cache over redis-py has no such client."""
    assert client_of(cache) is None


def test_a_client_of_something_else() -> None:
    """A cache that calls something else its client, as Memcached's does, has none of redis-py's."""
    cache = SimpleMemoryCache()
    cache.client = object()
    assert client_of(cache) is None


@pytest.mark.parametrize(
    ("cache", "expected"),
    [
        (MemcachedCache(), True), (MemcachedBackend(), True), (SimpleMemoryCache(), False),
        (redis_cache(), False), (None, False),
    ],
)  # fmt: skip
def test_memcached(cache: Any, expected: bool) -> None:
    """Memcached's caches are known by their base, whose module needs a client to be imported."""
    assert is_memcached(cache) is expected


# Opening.


def check_bytes(cache: Any) -> None:
    """Does it take and give bytes as they are, without a limit of its own?"""
    assert isinstance(cache.serializer, NullSerializer)
    assert cache.serializer.encoding is None
    assert cache.serializer.dumps(b"\xff") == b"\xff"
    assert cache.serializer.loads(b"\xff") == b"\xff"
    assert cache.timeout is None


@pytest.mark.parametrize(
    "make", [redis_cache, SimpleMemoryCache, MemcachedCache], ids=["redis", "memory", "memcached"]
)
def test_the_users_cache_stays_as_it_is(make: Callable[..., Any]) -> None:
    """An opened cache takes bytes; the user's own object keeps its serializer and its limit."""
    serializer = PickleSerializer()
    cache = make(serializer=serializer, timeout=3, namespace="mine")
    client = client_of(cache)
    opened: Any = open_cache(check(cache), TIMEOUT)
    assert opened is not cache
    assert type(opened) is type(cache)
    assert opened.namespace == "mine"
    check_bytes(opened)
    assert cache.serializer is serializer
    assert cache.timeout == 3
    assert client_of(cache) is client


def test_a_memory_cache_is_shared_with_the_user() -> None:
    """The copy of a memory cache holds what the user's holds."""
    cache = SimpleMemoryCache()
    opened: Any = open_cache(cache, TIMEOUT)
    assert opened._cache is cache._cache


@pytest.mark.parametrize("pool_class", [ConnectionPool, BlockingConnectionPool])
@pytest.mark.parametrize(
    ("connection_class", "options"),
    [
        (None, {"host": "redis.example", "port": 6380, "db": 3, "password": "sesame"}),
        (SSLConnection, {"host": "redis.example", "username": "user", "ssl_cert_reqs": "none"}),
        (UnixDomainSocketConnection, {"path": "/run/redis.sock", "db": 1}),
    ],
    ids=["tcp", "tls", "unix"],
)
def test_connections_of_our_own(
    pool_class: type[ConnectionPool], connection_class: Any, options: dict[str, Any]
) -> None:
    """An opened cache asks the same server in the same way, over connections of its own."""
    more = {} if connection_class is None else {"connection_class": connection_class}
    users = pool_class(**options, **more)
    cache = redis_cache(Redis(connection_pool=users))
    opened = open_cache(cache, TIMEOUT)
    own = pool_of(opened)
    assert pool_of(cache) is users
    assert own is not users
    assert own.connection_class is users.connection_class
    assert {name: own.connection_kwargs[name] for name in options} == options
    assert not own.connection_kwargs.get("decode_responses")
    assert pool_of(open_cache(cache, TIMEOUT)) is not own
    assert opened.client.auto_close_connection_pool


@pytest.mark.parametrize("client", [cluster(), sentinel_master()], ids=["cluster", "sentinel"])
def test_what_finds_its_server_itself(client: Any) -> None:
    """A cluster's or a sentinel's client cannot be made again from outside, and is used."""
    assert client_of(open_cache(redis_cache(client), TIMEOUT)) is client


def test_a_sentinels_pool() -> None:
    """The pool of a sentinel's master stays the one that asks the sentinel."""
    opened = open_cache(redis_cache(sentinel_master()), TIMEOUT)
    assert isinstance(pool_of(opened), SentinelConnectionPool)


def test_the_pool_of_an_address() -> None:
    """Who waits for one of an address's connections waits no longer than the store's time limit."""
    pool = pool_of(open_cache("redis://user:sesame@localhost:6380/2", 0.125))
    assert isinstance(pool, BlockingConnectionPool)
    assert pool.timeout == 0.125
    wanted = {
        "host": "localhost", "port": 6380, "db": 2, "username": "user", "password": "sesame",
        "socket_connect_timeout": 0.125, "decode_responses": False,
    }  # fmt: skip
    assert {name: pool.connection_kwargs[name] for name in wanted} == wanted
    check_bytes(open_cache("redis://localhost", TIMEOUT))


@pytest.mark.parametrize(("scheme", "as_of"), [("valkey", "redis"), ("valkeys", "rediss")])
def test_valkey(scheme: str, as_of: str) -> None:
    """An address of Valkey is opened as the same one of Redis is, with TLS where it says so."""
    rest = "://valkey:valkey@valkey.example:6380/2?client_name=valkey"
    pools = [pool_of(open_cache(check(one + rest), TIMEOUT)) for one in (scheme, as_of)]
    assert pools[0].connection_class is pools[1].connection_class
    wanted = {
        "host": "valkey.example", "port": 6380, "db": 2, "username": "valkey",
        "password": "valkey", "client_name": "valkey",
    }  # fmt: skip
    for pool in pools:
        assert {name: pool.connection_kwargs[name] for name in wanted} == wanted


@pytest.mark.parametrize("source", [SimpleMemoryCache, lambda: SimpleMemoryCache(timeout=3)])
def test_a_factory_makes_each(source: Any) -> None:
    """A factory is called each time a cache is opened."""
    one, other = open_cache(source, TIMEOUT), open_cache(source, TIMEOUT)
    assert isinstance(one, SimpleMemoryCache)
    assert one is not other
    check_bytes(one)


def test_what_a_factory_keeps() -> None:
    """A factory that gives the same object each time finds that as it was."""
    cache = SimpleMemoryCache(serializer=PickleSerializer(), timeout=3)
    opened = open_cache(lambda: cache, TIMEOUT)
    check_bytes(opened)
    assert isinstance(cache.serializer, PickleSerializer)
    assert cache.timeout == 3


def test_a_factory_that_fails() -> None:
    """What a factory raises is for who opens to deal with."""

    def factory() -> BaseCache:
        raise OSError("no such host")

    with pytest.raises(OSError, match="no such host"):
        open_cache(factory, TIMEOUT)
