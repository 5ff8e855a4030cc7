"""A TCP proxy on loopback that does to a connection what networks do.

`Proxy` runs its own event loop on its own thread. The test says, from its thread, which mode holds;
a mode holds for all connections, old and new, from when the call returns until the next call. What
is under way then fares as the new mode has it: bytes that were held are let go by `Proxy.passing`.

The listening socket, the connections and the mode belong to the loop; others may read the counters.
"""

import asyncio
import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Self

from .harness import free_port

LOOPBACK = "127.0.0.1"
LIMIT = 5.0  # seconds in which a mode must hold, and the end be reached
CHUNK = 16_384  # bytes that are read at once
CHUNKS = 4_096  # that one direction of one connection may have under way
STEP = 0.02  # seconds between pieces of a trickle, where a piece is more than a byte
CLIENT_IS_GONE = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)


@dataclass(eq=False)
class Mode:
    """What is done to connections; ``over`` is set when the next mode has begun."""

    listens: bool = True
    cuts: bool = False
    hangs: bool = False
    drops: bool = False
    late: float = 0.0
    rate: float | None = None
    seed: int | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)
    _noises: dict["Pipe", "Noise"] = field(default_factory=dict)

    async def lasts(self, seconds: float) -> bool:
        """Wait so long, or until the mode is over; is it still on?"""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.over.wait()
        return not self.over.is_set()

    def noise(self, pipe: "Pipe", count: int) -> bytes:
        """The next bytes of the pipe's own noise."""
        if pipe not in self._noises:
            self._noises[pipe] = Noise(f"{self.seed}/{len(self._noises)}")
        return self._noises[pipe].take(count)


class Noise:
    """Bytes that a seed decides, the same however they are cut into chunks.

    Any byte occurs, but what RESP is made of does more often: of noise without line ends a parser
    makes nothing, it waits for the rest.
    """

    _PIECES = [bytes([byte]) for byte in range(256)]
    _PIECES += [bytes([byte]) for byte in b"+-:$*_#,(!=%~>|0123456789"] * 8
    _PIECES += [b"\r\n"] * 64

    def __init__(self, seed: str) -> None:
        self._random = Random(seed)
        self._ready = b""

    def take(self, count: int) -> bytes:
        """The next bytes, so many."""
        while len(self._ready) < count:
            self._ready += b"".join(self._random.choices(self._PIECES, k=1024))
        taken, self._ready = self._ready[:count], self._ready[count:]
        return taken


class Pipe:
    """One direction of one connection; it reads ahead, and all that a mode does it does late."""

    def __init__(
        self, proxy: "Proxy", source: socket.socket, sink: socket.socket, *, down: bool
    ) -> None:
        self._proxy = proxy
        self._source = source
        self._sink = sink
        self._down = down
        # When it came, and what: no bytes are the end, none at all is a reset.
        self._chunks: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue(CHUNKS)

    async def read(self) -> None:
        """Take from the source until it ends."""
        data: bytes | None = b" "
        while data:
            while (mode := self._proxy._mode).hangs:
                await mode.over.wait()
            try:
                data = await asyncio.get_running_loop().sock_recv(self._source, CHUNK)
            except OSError:
                data = None
            await self._chunks.put((time.monotonic(), data))

    async def write(self) -> None:
        """Give to the sink until the end; raises OSError for a reset of either."""
        while True:
            came, data = await self._chunks.get()
            await self._due(came)
            if data is None:
                raise ConnectionResetError
            if not data:
                self._sink.shutdown(socket.SHUT_WR)
                return
            while data := await self._deliver(data):
                await self._due(came)

    async def _due(self, came: float) -> None:
        """Wait until a mode holds in which what came then goes on."""
        while True:
            mode = self._proxy._mode
            left = came + mode.late - time.monotonic()
            if mode.hangs:
                await mode.over.wait()
            elif left > 0:
                await mode.lasts(left)
            else:
                return

    async def _deliver(self, data: bytes) -> bytes:
        """Send as much as the mode allows at once; returns the rest."""
        mode = self._proxy._mode
        if mode.drops and self._down:
            return b""
        piece = data
        if mode.rate is not None:
            piece = data[: max(1, int(mode.rate * STEP))]
            if not await mode.lasts(len(piece) / mode.rate):
                return data
        rest = data[len(piece) :]
        if mode.seed is not None and self._down:
            piece = mode.noise(self, len(piece))
        if self._down:  # before they are sent: whoever has got them may look
            self._proxy.bytes_down += len(piece)
        else:
            self._proxy.bytes_up += len(piece)
        await asyncio.get_running_loop().sock_sendall(self._sink, piece)
        return rest


class Proxy:
    """A proxy before the server at ``host`` and ``port``; it passes all until told otherwise."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self.port = free_port()
        self.bytes_up = 0  # sent to the server
        self.bytes_down = 0  # sent to clients, noise included
        self._mode = Mode()
        self._listener: socket.socket | None = None
        self._connections: dict[asyncio.Task[bool], socket.socket] = {}
        self._errors: list[BaseException] = []  # of our own making
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.passing()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Reset all connections, listen no more, end the thread; fails if the proxy had failed."""
        if self._loop.is_closed():
            return
        try:
            self.refuse()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(LIMIT)
            assert not self._thread.is_alive(), "the proxy did not end"
            self._loop.close()
        assert not self._errors, f"the proxy failed: {self._errors}"

    # Modes.

    def passing(self) -> None:
        """All bytes pass, at once."""
        self._become(Mode())

    def cut(self) -> None:
        """Connections are reset, now; later ones are accepted and reset at once."""
        self._become(Mode(cuts=True))

    def refuse(self) -> None:
        """Connections are reset, now; later ones are refused, as if the server had ended."""
        self._become(Mode(cuts=True, listens=False))

    def hang(self) -> None:
        """Connections are accepted and stay open; nothing comes through, not even their end."""
        self._become(Mode(hangs=True))

    def delay(self, seconds: float) -> None:
        """Each chunk comes so much later, in both directions; any number may be under way."""
        self._become(Mode(late=seconds))

    def trickle(self, bytes_per_second: float) -> None:
        """Bytes pass at this rate, in each direction of each connection."""
        self._become(Mode(rate=bytes_per_second))

    def garbage(self, seed: int) -> None:
        """Replies become as much `Noise`; the same seed gives the n-th connection the same."""
        self._become(Mode(seed=seed))

    def drop_replies(self) -> None:
        """The server gets all that is sent to it; what it answers is thrown away."""
        self._become(Mode(drops=True))

    @property
    def connections(self) -> int:
        """The connections that clients have not ended, whatever the proxy has read of them."""

        async def count() -> int:
            poll = select.poll()
            for client in self._connections.values():
                poll.register(client, CLIENT_IS_GONE)
            return len(self._connections) - len(poll.poll(0))

        return self._on_loop(count)

    # On the loop.

    def _on_loop(self, call: Callable[[], Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(LIMIT)

    def _become(self, mode: Mode) -> None:
        async def become() -> None:
            before, self._mode = self._mode, mode
            before.over.set()
            if not mode.listens:
                self._close_listener()
            elif self._listener is None:
                self._listen()
            if mode.cuts:
                for task in self._connections:
                    task.cancel()
                await asyncio.gather(*self._connections, return_exceptions=True)

        self._on_loop(become)

    def _listen(self) -> None:
        listener = socket.create_server((LOOPBACK, self.port), backlog=512)
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept, listener)
        self._listener = listener

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError:  # the client has thought better of it
            return
        if self._mode.cuts:
            _reset(client)
            return
        task = self._loop.create_task(self._serve(client))
        self._connections[task] = client
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[bool]") -> None:
        client = self._connections.pop(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._errors.append(error)
        if task.cancelled() or error or not task.result():
            _reset(client)
        else:
            client.close()

    async def _serve(self, client: socket.socket) -> bool:
        """Carry bytes between a client and the server; did both of them end it in peace?"""
        while (mode := self._mode).hangs:
            await mode.over.wait()
        peace = False
        server = socket.socket()
        try:
            for end in (client, server):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.sock_connect(server, self._upstream)
            async with asyncio.TaskGroup() as group:
                for pipe in (
                    Pipe(self, client, server, down=False),
                    Pipe(self, server, client, down=True),
                ):
                    group.create_task(pipe.read())
                    group.create_task(pipe.write())
            peace = True
        except* OSError:
            pass
        finally:
            if peace:
                server.close()
            else:
                _reset(server)
        return peace


def _reset(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()
