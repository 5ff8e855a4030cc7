"""Memcached's client, such that an answer that does not come holds up nobody.

Loop only. The only module that touches aiomcache, some of whose privates it has to know (0.8.2).
"""

import contextlib
from collections.abc import Iterator
from typing import Any


def is_too_large(error: Exception) -> bool:
    """Does Memcached say that it takes no value of this size?"""
    return "too large" in str(error)


def client_like(client: Any) -> Any:
    """A client of the same Memcached with connections of our own; another's is left as it is.

    aiomcache 0.8.2 asks for ever, and holds the loop by it, where a connection ends before the
    answer (aiomcache issue 502), and keeps a connection whose question was cancelled. One that
    owes an answer is closed here.
    """
    if not type(client).__module__.startswith("aiomcache"):
        return client
    import aiomcache

    class Client(aiomcache.FlagClient[bytes]):
        async def _execute_simple_command(self, conn: Any, raw_command: bytes) -> bytes:
            with _owing(conn):
                conn.writer.write(raw_command)
                await conn.writer.drain()
                line: bytes = await conn.reader.readline()
                if not line.endswith(b"\r\n"):
                    raise ConnectionError("the connection ended before the answer")
                return line[:-2]

        async def _multi_get(self, conn: Any, *keys: bytes, with_cas: bool = True) -> Any:
            with _owing(conn):
                return await super()._multi_get(conn, *keys, with_cas=with_cas)  # type: ignore[call-overload]

    async def foreign(value: bytes, flags: int) -> bytes:
        return b""

    pool = client._pool
    return Client(
        pool._host, pool._port, pool_size=pool._maxsize, pool_minsize=pool._minsize,
        conn_args=pool.conn_args, get_flag_handler=foreign,
    )  # fmt: skip


@contextlib.contextmanager
def _owing(conn: Any) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        conn.reader.set_exception(ConnectionError(f"given up: {error!r}"))
        raise
