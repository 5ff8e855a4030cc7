"""Cache objects of aiocache: how one is named, opened, and asked for bytes.

With `memory`, the only module that touches aiocache. The loop thread opens and asks; `source` and
`check` are for any thread. What speaks Redis' own language is `link`, by the client that is here.

aiocache is pinned ``<1``. What its 1.0 line changes (main branch, May 2026): Redis is gone, in
favour of ``ValkeyCache`` over Valkey GLIDE, whose client is made in ``async with`` and has no
redis-py interface. `client_of` finds none there, so such a cache would be shared without lease and
backplane (`plain`) until `link` is written once more, for GLIDE's scripts and its pub/sub.
``BaseCache`` becomes abstract and generic over its keys, with ``build_key`` to be defined, which
`memory` must then do; ``from_url`` and the alias factory are gone, of which nothing is used here.
"""

import copy
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from . import memcached

if TYPE_CHECKING:
    from aiocache.base import BaseCache

Source: TypeAlias = "str | BaseCache | Callable[[], BaseCache] | None"

SCHEMES = ("redis", "rediss", "unix", "valkey", "valkeys")
_CONNECTIONS = 16  # of a client of ours; `link` uses fewer, the rest is room for reconnecting
_INSTALL = "install its client: pip install 'aswr[redis]'"


def check(source: Any) -> Any:
    """What a user gives as ``cache``; raises `TypeError`, `ValueError` or `ImportError`.

    None, an address (``redis://``, ``rediss://``, ``unix://``, ``valkey://``), an aiocache cache
    object, or a factory of one. An address may hold a password and is never shown.
    """
    if source is None:
        return None
    if isinstance(source, str):
        return _check_address(source)
    if callable(source) and not isinstance(source, type):
        return source
    from aiocache.base import BaseCache

    if isinstance(source, BaseCache):
        _refuse_unfit(source)
        return source
    if isinstance(source, type) and issubclass(source, BaseCache):
        return source  # a class is a factory of its instances
    raise TypeError(
        "cache must be None, an address, an aiocache cache object or a factory of one, got "
        f"a {type(source).__qualname__}; write CacheManager(app, cache='redis://localhost')"
    )


def _check_address(address: str) -> str:
    scheme, _, rest = address.partition("://")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme) or "://" not in address:
        scheme = ""  # it may be a password
    if scheme not in SCHEMES:
        known = ", ".join(f"{one}://" for one in SCHEMES)
        raise ValueError(
            f"cache: an address begins with one of {known}, this one with {scheme!r}; for another "
            "store give an aiocache cache object"
        )
    try:
        import redis.asyncio  # noqa: F401
    except ImportError as error:
        raise ImportError(f"cache: {scheme}:// needs redis-py; {_INSTALL}") from error
    try:
        if re.search(r"[/?#].*@", rest, re.DOTALL):  # a password that was not quoted
            raise ValueError
        _ = urlsplit(address).port
        _pool_of(address, 1.0).make_connection()  # of its options, it is the one that knows them
    except (ValueError, TypeError):
        raise ValueError(
            f"cache: this {scheme}:// address cannot be read; write "
            f"{scheme}://[[user]:[password]@]host[:port][/database], or unix:///path?db=0; "
            "quote special characters of a password (urllib.parse.quote)"
        ) from None
    return address


def shown(source: Any) -> str:
    """What may be told of a source: no password."""
    if not isinstance(source, str):
        return type(source).__qualname__
    parts = urlsplit(source)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


def _refuse_unfit(cache: "BaseCache") -> None:
    client = client_of(cache)
    if client is not None and not hasattr(client, "pubsub"):
        raise TypeError(
            f"cache: its {type(client).__name__} cannot subscribe to news; for a Redis Cluster "
            "install redis-py 8 or later: pip install 'redis>=8'"
        )
    pool = getattr(client, "connection_pool", client)  # a cluster's client has options itself
    if getattr(pool, "connection_kwargs", {}).get("decode_responses"):
        raise TypeError(
            "cache: its Redis client has decode_responses=True, and entries are bytes; leave it out"
        )


def client_of(cache: Any) -> Any:
    """The redis-py client of a cache object, or None."""
    client = getattr(cache, "client", None)
    modules = {kind.__module__ for kind in type(client).__mro__}
    return client if any(name.startswith("redis.asyncio") for name in modules) else None


def is_memcached(cache: Any) -> bool:
    """Is it an aiocache cache of Memcached?"""
    return any(base.__name__ == "MemcachedBackend" for base in type(cache).__mro__)


def open_cache(source: Any, timeout: float) -> "BaseCache":
    """The cache object of a source, with bytes in and bytes out, and connections of our own loop's.

    A copy, where it is the user's object: that may hold other data of other kinds, and its
    connections may belong to another loop, or to the process that this one was forked from.
    """
    from aiocache.base import BaseCache
    from aiocache.serializers import NullSerializer

    if isinstance(source, str):
        cache = _of_address(source, timeout)
    elif isinstance(source, BaseCache):
        cache = copy.copy(source)
        cache_client = client_of(cache)
        if cache_client is not None:
            cache.client = _own(cache_client)
    else:
        cache = copy.copy(source())
        _refuse_unfit(cache)
    if is_memcached(cache):
        cache.client = memcached.client_like(getattr(cache, "client", None))
    cache.serializer = NullSerializer(encoding=None)
    cache.timeout = None  # its limit would be one more; who asks has his own
    return cache


def _of_address(address: str, timeout: float) -> "BaseCache":
    from aiocache import RedisCache

    cache = RedisCache()
    cache.client = _client_on(_pool_of(address, timeout))
    return cache


def _pool_of(address: str, timeout: float) -> Any:
    from redis.asyncio import BlockingConnectionPool
    from redis.asyncio.connection import parse_url

    defaults = {
        "max_connections": _CONNECTIONS, "timeout": timeout, "socket_connect_timeout": timeout,
    }  # fmt: skip
    if address.startswith("valkey"):  # the same protocol, which redis-py has no name of its own for
        address = address.replace("valkey", "redis", 1)
    return BlockingConnectionPool(**{**defaults, **parse_url(address), **_ways()})


def _own(client: Any) -> Any:
    """A client of the same server with connections of its own, where that can be made."""
    from redis.asyncio import BlockingConnectionPool, ConnectionPool

    pool: Any = getattr(client, "connection_pool", None)
    if type(pool) not in (ConnectionPool, BlockingConnectionPool):
        return client  # of a cluster, or of a sentinel
    options = {k: v for k, v in pool.connection_kwargs.items() if "maint_" not in k} | _ways()
    return _client_on(ConnectionPool(connection_class=pool.connection_class, **options))


def _client_on(pool: Any) -> Any:
    from redis.asyncio import Redis

    client = Redis(connection_pool=pool)
    client.auto_close_connection_pool = True
    return client


def _ways() -> dict[str, Any]:
    """How a connection of ours behaves.

    RESP 2: with RESP 3 redis-py 8.1 leaves out its check whether an answer is left over from the
    question before. A connection that the server has closed is made anew once; `link` sees to the
    rest.
    """
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    return {"protocol": 2, "retry": Retry(NoBackoff(), 1), "decode_responses": False}
