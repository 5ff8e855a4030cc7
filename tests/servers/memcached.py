"""Memcached for tests: a small server of our own, the real one where it is, and a look inside.

`Memcached` speaks the text protocol on a thread of its own: as much of it as a cache uses, with the
limits of the real one. The test says, from its thread, how it answers; that holds for all
connections, old and new, until the next call. `RealMemcached` is a ``memcached`` on PATH, ended by
its process id. `Peek` asks either of them what it has.
"""

import asyncio
import contextlib
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote, unquote

import pytest

from .harness import free_port, wait_until

LOOPBACK = "127.0.0.1"
LIMIT = 10.0  # seconds in which a mode must hold, a server start or end
LONGEST_KEY = 250  # bytes
LARGEST = 2**20  # bytes of an item, with all that the server adds to it
HEAD = 48  # bytes that it adds, and the key
MONTH = 30 * 24 * 3600  # seconds; more than that are a date

Concerns = Callable[[bytes], bool]  # given a command's line, of which modes may concern some


def everything(line: bytes) -> bool:
    return True


@dataclass(eq=False)
class Mode:
    """How lines are answered that it ``concerns``; ``over`` is set when the next mode has begun."""

    does: str = "pass"
    concerns: Concerns = everything
    says: bytes = b""
    over: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class Item:
    """What lies at a key; ``until`` None is for ever."""

    value: bytes
    flags: int
    until: float | None


@dataclass(frozen=True)
class Set:
    """A ``set`` that came, whatever became of it."""

    key: str
    exptime: int
    size: int


class Memcached:
    """The small server. It answers at once and truly until it is told otherwise."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.port = free_port()
        self.sets: list[Set] = []
        self.lines = 0  # commands that came
        self.early = 0  # commands that came before the answer to the one before
        self._clock = clock
        self._items: dict[bytes, Item] = {}
        self._mode = Mode()
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._errors: list[BaseException] = []  # of our own making
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="memcached", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        self.passing()
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            self.down()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(LIMIT)
            assert not self._thread.is_alive(), "the server did not end"
            self._loop.close()
        assert not self._errors, f"the server failed: {self._errors}"

    # Modes.

    def passing(self) -> None:
        """Every command is answered, also those that were held."""
        self._become(Mode())

    def hold(self, concerns: Concerns = everything) -> None:
        """Commands wait, and are carried out and answered once the mode is over."""
        self._become(Mode("hold", concerns))

    def lose(self, concerns: Concerns = everything) -> None:
        """Commands vanish, as in a network that forgot the connection, which stays open."""
        self._become(Mode("lose", concerns))

    def hang_up(self, concerns: Concerns = everything) -> None:
        """In place of an answer the connection ends in peace."""
        self._become(Mode("hang up", concerns))

    def reset(self, concerns: Concerns = everything) -> None:
        """In place of an answer the connection is reset."""
        self._become(Mode("reset", concerns))

    def garble(self, says: bytes, concerns: Concerns = everything) -> None:
        """Every command is answered so, and carried out."""
        self._become(Mode("garble", concerns, says))

    def down(self) -> None:
        """It has ended: connections are closed, later ones refused, and what it had is lost."""
        self._become(Mode("down"))

    def _become(self, mode: Mode) -> None:
        async def become() -> None:
            before, self._mode = self._mode, mode
            before.over.set()
            if mode.does == "down":
                await self._end()
            elif self._server is None:
                self._server = await asyncio.start_server(self._come, LOOPBACK, self.port)

        asyncio.run_coroutine_threadsafe(become(), self._loop).result(LIMIT)

    # On the loop.

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in (tasks := list(self._connections)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._items.clear()

    def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(self._gone)

    def _gone(self, task: "asyncio.Task[None]") -> None:
        self._connections.pop(task).close()
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, OSError | asyncio.IncompleteReadError):
            self._errors.append(error)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            self.lines += 1
            words = line.split()
            data = await self._data_of(words, reader)
            next_line = asyncio.ensure_future(reader.read(1))
            try:
                while (mode := self._mode).does == "hold" and mode.concerns(line):
                    over = asyncio.ensure_future(mode.over.wait())
                    await asyncio.wait({over, next_line}, return_when="FIRST_COMPLETED")
                    over.cancel()
                    if next_line.done():
                        self.early += bool(next_line.result())
                        return
            finally:
                next_line.cancel()
                await asyncio.gather(next_line, return_exceptions=True)
            does = mode.does if mode.concerns(line) else "pass"
            if words[:1] == [b"quit"] or does == "hang up":
                return
            if does == "reset":
                end: socket.socket = writer.get_extra_info("socket")
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                return
            if does == "lose":
                continue
            answer = self._answer(words, data)
            writer.write(mode.says if does == "garble" else answer)
            await writer.drain()

    async def _data_of(self, words: list[bytes], reader: asyncio.StreamReader) -> bytes:
        if words[:1] != [b"set"]:
            return b""
        return (await reader.readexactly(int(words[4]) + 2))[:-2]

    def _answer(self, words: list[bytes], data: bytes) -> bytes:
        match words:
            case [b"get" | b"gets" as command, *keys] if keys and _fit(*keys):
                found = [(key, item) for key in keys if (item := self._item(key)) is not None]
                cas = b" 1" if command == b"gets" else b""
                lines = [
                    b"VALUE %b %d %d%b\r\n%b\r\n" % (key, one.flags, len(one.value), cas, one.value)
                    for key, one in found
                ]
                return b"".join(lines) + b"END\r\n"
            case [b"set", key, flags, exptime, _] if _fit(key):
                return self._set(key, int(flags), int(exptime), data)
            case [b"delete", key] if _fit(key):
                there = self._item(key) is not None
                self._items.pop(key, None)
                return b"DELETED\r\n" if there else b"NOT_FOUND\r\n"
            case [b"flush_all"]:
                self._items.clear()
                return b"OK\r\n"
            case [b"version"]:
                return b"VERSION 1.6.0-small\r\n"
            case [b"lru_crawler", b"metadump", b"all"]:
                alive = ((key, item) for key in list(self._items) if (item := self._item(key)))
                lines = [
                    b"key=%b exp=%d\r\n"
                    % (quote(key).encode(), -1 if item.until is None else item.until)
                    for key, item in alive
                ]
                return b"".join(lines) + b"END\r\n"
        return b"CLIENT_ERROR bad command line format\r\n"

    def _set(self, key: bytes, flags: int, exptime: int, data: bytes) -> bytes:
        self.sets.append(Set(key.decode(), exptime, len(data)))
        self._items.pop(key, None)
        if HEAD + len(key) + len(data) > LARGEST:
            return b"SERVER_ERROR object too large for cache\r\n"
        until: float | None = None
        if exptime:
            until = exptime if exptime > MONTH else self._clock() + exptime
        self._items[key] = Item(data, flags, until)
        return b"STORED\r\n"

    def _item(self, key: bytes) -> Item | None:
        item = self._items.get(key)
        if item is not None and item.until is not None and item.until <= self._clock():
            del self._items[key]
            return None
        return item


def _fit(*keys: bytes) -> bool:
    return all(len(key) <= LONGEST_KEY for key in keys)


class RealMemcached:
    """A process of ``memcached``; without one on PATH the test is skipped."""

    def __init__(self) -> None:
        binary = shutil.which("memcached")
        if binary is None:
            pytest.skip("no memcached on PATH")
        self.port = free_port()
        self._command = [binary, "-l", LOOPBACK, "-p", str(self.port), "-U", "0", "-u", "nobody"]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            wait_until(self._accepts, LIMIT, lambda: "memcached does not start")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(LIMIT)
        finally:
            self._process.kill()
            self._process.wait()

    def _accepts(self) -> bool:
        assert self._process.poll() is None, "memcached ended at once"
        with contextlib.suppress(OSError):
            socket.create_connection((LOOPBACK, self.port), 1).close()
            return True
        return False


class Peek:
    """A client of either server, for the test alone."""

    def __init__(self, server: Memcached | RealMemcached) -> None:
        self._port = server.port

    def ends(self) -> dict[str, int]:
        """The keys that are there, and the second of the epoch at which each ends."""
        lines = self._ask(b"lru_crawler metadump all").decode().splitlines()
        fields = [
            dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines
        ]
        return {unquote(one["key"]): int(one["exp"]) for one in fields if "key" in one}

    def put(self, key: str, value: bytes, flags: int = 0) -> None:
        """Store it, as another program would."""
        head = b"set %b %d 60 %d\r\n" % (key.encode(), flags, len(value))
        assert self._ask(head + value, b"STORED\r\n") == b"STORED\r\n"

    def _ask(self, command: bytes, end: bytes = b"END\r\n") -> bytes:
        with socket.create_connection((LOOPBACK, self._port), LIMIT) as connection:
            connection.sendall(command + b"\r\n")
            answer = b""
            while not answer.endswith(end):
                piece: Any = connection.recv(65_536)
                assert piece, f"{command[:40]!r} got {answer!r}"
                answer += piece
        return answer
