"""Redis, spoken to by redis-py: scripts in pipelines, each with a deadline, and news by pub/sub.

Owns the commands that wait to be sent, the batches under way, and the subscription. Loop only. With
`backend`, the only module that speaks to Redis; must not know entries or keys.

Commands that are asked for in one turn of the loop go out together, in one pipeline. Short ones and
those that carry bodies have lanes of their own, so that no look waits for an upload. A batch that
is late, or broken off, opens the breaker, and everything that waits is told so at once: an outage
is waited for once per process. What a single key answers (it holds another type, say) is an error
of that key alone. Operators who look on have a lane in which answers may take longer, and from
whose failures nothing follows: no curiosity cuts a process off.
"""

import asyncio
import contextlib
import contextvars
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from .breaker import Breaker
from .scripts import Script

T = TypeVar("T")

MOST_COMMANDS = 128  # of a batch
MOST_BYTES = 2**20  # of a batch, but for its last command
SCAN_LIMIT = 30.0  # seconds for stepping over all keys
BULK_LIMIT = 4.0  # times as long as a look may an upload take: nobody waits for it
ASIDE_LIMIT = 5.0  # seconds for a batch of who looks on: he waits, and no request does
# Why a scan ended before it had seen all keys.
MORE = "there are more"
LATE = "it takes too long to find all of them"
GONE = "the store did not answer any more"
# What a server says of itself, not of a key: as redis-py's errors, or in the text of others.
_ERRORS_OF_THE_SERVER = {
    "OutOfMemoryError", "ReadOnlyError", "NoPermissionError", "MasterDownError", "ClusterDownError",
    "TryAgainError", "AuthenticationWrongNumberOfArgsError",
}  # fmt: skip
_OF_THE_SERVER = (
    "OOM ", "READONLY", "LOADING", "NOAUTH", "WRONGPASS", "NOPERM", "MISCONF", "MASTERDOWN",
    "CLUSTERDOWN", "NOREPLICAS", "TRYAGAIN", "BUSY ", "unknown command", "max number of clients",
)  # fmt: skip


class Unreachable(Exception):
    """The store is not asked, or did not answer."""


class Refused(Exception):
    """The store answers that this cannot be done with this key."""


@dataclass(slots=True)
class _Command:
    words: tuple[Any, ...]
    script: Script | None
    reply: "asyncio.Future[Any]"


@dataclass(slots=True)
class _Lane:
    """Commands that go out together, at most so many batches at a time, each in so many seconds.

    ``counts``: is a failure here one of the server?
    """

    most: int
    limit: float
    counts: bool = True
    waiting: deque[_Command] = field(default_factory=deque)
    batches: set["asyncio.Task[None]"] = field(default_factory=set)
    flushing: bool = False


class Link:
    """The way to one server, or one cluster; ``task`` makes a tracked task of the loop's."""

    def __init__(
        self,
        client: Any,
        timeout: float,
        breaker: Breaker,
        task: Callable[[Coroutine[Any, Any, None], str, contextvars.Context], Any],
    ) -> None:
        self._client = client
        self._cluster = hasattr(client, "nodes_manager")
        self._breaker = breaker
        self._task = task
        self._brief = _Lane(most=8, limit=timeout)
        self._bulk = _Lane(most=2, limit=timeout * BULK_LIMIT)
        self._aside = _Lane(most=2, limit=max(ASIDE_LIMIT, timeout), counts=False)
        self._lanes = (self._brief, self._bulk, self._aside)
        self._closed = False
        self.commands = 0  # sent, for the counters

    # Commands.

    async def run(
        self, script: Script, keys: tuple[str, ...], *args: Any, parse: Callable[[Any], T],
        bulk: bool = False, aside: bool = False, probe: bool = False,
    ) -> T:  # fmt: skip
        """A script's reply, parsed; raises `Unreachable` or `Refused`.

        ``bulk`` carries a body, ``aside`` is for who looks on. ``probe`` asks whatever is known of
        the server.
        """
        words = ("EVALSHA", script.sha, len(keys), *keys, *args)
        lane = self._bulk if bulk else self._aside if aside else self._brief
        return self._parsed(await self._ask(words, script, lane, probe), parse, lane)

    def _parsed(self, reply: Any, parse: Callable[[Any], T], lane: _Lane) -> T:
        # Whatever it is that answers, it is not Redis, or not to this question.
        try:
            return parse(reply)
        except (ValueError, TypeError, AttributeError, IndexError, ArithmeticError) as error:
            self._failed(lane, f"an answer that makes no sense: {error!r}")
            raise Unreachable from None

    async def _ask(
        self, words: tuple[Any, ...], script: Script | None, lane: _Lane, probe: bool
    ) -> Any:
        if self._closed or (not self._breaker.closed and not probe):
            raise Unreachable
        loop = asyncio.get_running_loop()
        command = _Command(words, script, loop.create_future())
        lane.waiting.append(command)
        if not lane.flushing:
            lane.flushing = True
            loop.call_soon(self._flush, lane, context=contextvars.Context())
        return await command.reply

    def _flush(self, lane: _Lane) -> None:
        lane.flushing = False
        while lane.waiting and len(lane.batches) < lane.most:
            batch: list[_Command] = []
            size = 0
            while lane.waiting and len(batch) < MOST_COMMANDS and size < MOST_BYTES:
                batch.append(lane.waiting.popleft())
                size += sum(len(word) for word in batch[-1].words if isinstance(word, bytes))
            task = self._task(self._send(lane, batch), "aswr store batch", contextvars.Context())
            lane.batches.add(task)
            task.add_done_callback(partial(self._sent, lane, batch))

    def _sent(self, lane: _Lane, batch: list[_Command], task: "asyncio.Task[None]") -> None:
        lane.batches.discard(task)
        _fail(batch, Unreachable())  # those of one that was cancelled before it began
        self._flush(lane)

    async def _send(self, lane: _Lane, batch: list[_Command]) -> None:
        try:
            async with asyncio.timeout(lane.limit):
                replies = await self._execute([command.words for command in batch])
                await self._teach(batch, replies)
        except Exception as error:
            late = isinstance(error, TimeoutError)
            self._failed(lane, f"no answer in {lane.limit:g} s" if late else _text(error))
            return
        for command, reply in zip(batch, replies, strict=True):
            self._hand_over(lane, command, reply)

    async def _execute(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        self.commands += len(commands)
        pipeline = (
            self._client.pipeline() if self._cluster else self._client.pipeline(transaction=False)
        )
        async with pipeline:
            for words in commands:
                pipeline.execute_command(*words)
            return await pipeline.execute(raise_on_error=False)  # type: ignore[no-any-return]

    async def _teach(self, batch: list[_Command], replies: list[Any]) -> None:
        """Send the scripts that the server does not know, as it is after its start."""
        unknown = [
            index
            for index, reply in enumerate(replies)
            if isinstance(reply, Exception) and type(reply).__name__ == "NoScriptError"
        ]
        if unknown:
            texts = [("EVAL", batch[i].script.text, *batch[i].words[2:]) for i in unknown]  # type: ignore[union-attr]
            for index, reply in zip(unknown, await self._execute(texts), strict=True):
                replies[index] = reply

    def _hand_over(self, lane: _Lane, command: _Command, reply: Any) -> None:
        if isinstance(reply, Exception):
            text = _text(reply)
            if _is_of_the_server(reply, text):
                self._failed(lane, text)
                reply = Unreachable()
            else:
                self._breaker.errors += lane.counts
                reply = Refused(text)
        if command.reply.done():
            return
        if isinstance(reply, Exception):
            command.reply.set_exception(reply)
        else:
            command.reply.set_result(reply)

    def _failed(self, lane: _Lane, why: str) -> None:
        if lane.counts:
            self._trip(why)

    def _trip(self, why: str) -> None:
        self._breaker.trip(why)
        current = asyncio.current_task()
        for lane in self._lanes:
            _fail(list(lane.waiting), Unreachable())
            lane.waiting.clear()
            for batch in lane.batches - {current}:
                batch.cancel()

    async def scan(self, begins: str, ends: str, most: int) -> tuple[list[str], str]:
        """Names of keys that begin and end so, at most ``most``, and why these are not all.

        Steps over all keys of the server, a thousand at a time: for operators, not for requests.
        No step may take longer than an upload, and all of them half a minute. Raises `Unreachable`
        where none was found before the server fell silent.
        """
        if self._closed or not self._breaker.closed:
            raise Unreachable
        pattern = re.sub(r"([*?\[\]\\^-])", r"\\\1", begins) + "*"
        found: set[str] = set()
        try:
            async with (
                asyncio.timeout(SCAN_LIMIT) as whole,
                asyncio.timeout(self._bulk.limit) as step,
            ):
                loop = asyncio.get_running_loop()
                async for name in self._client.scan_iter(match=pattern, count=1000):
                    step.reschedule(loop.time() + self._bulk.limit)
                    if not (text := name.decode(errors="replace")).endswith(ends):
                        continue
                    if len(found) >= most and text not in found:
                        return sorted(found), MORE
                    found.add(text)
        except Exception as error:
            if not found:
                raise Unreachable(_text(error)) from None
            return sorted(found), LATE if whole.expired() else GONE
        return sorted(found), ""

    async def info(self) -> dict[str, Any]:
        """What the server says of itself, of a cluster one of its nodes; empty if it may not."""
        try:
            async with asyncio.timeout(self._bulk.limit):
                said = await self._client.info()
        except Exception:
            return {}
        first = next(iter(said.values()), None)
        return first if isinstance(first, dict) and "redis_version" in first else dict(said)

    # News.

    async def listen(
        self, channel: str, heartbeat: float, on_begin: Callable[[], None]
    ) -> AsyncIterator[bytes]:
        """The messages of a channel, from when ``on_begin`` is called to the first doubt.

        It is called again where redis-py has connected anew by itself. The server is asked for a
        sign of life every ``heartbeat`` seconds. Ends, or raises, where none came in two of these:
        messages may have been lost.
        """
        async with contextlib.aclosing(self._client.pubsub()) as news:
            async with asyncio.timeout(2 * heartbeat):
                await news.subscribe(channel)
            loop = asyncio.get_running_loop()
            heard, asked = loop.time(), -heartbeat
            while loop.time() - heard < 2 * heartbeat:
                if loop.time() - asked >= heartbeat:
                    asked = loop.time()
                    async with asyncio.timeout(heartbeat):
                        await news.ping()
                message = await news.get_message(timeout=heartbeat / 2)
                if message is None:
                    continue
                heard = loop.time()
                if message["type"] == "subscribe":
                    on_begin()
                elif message["type"] == "message":
                    yield message["data"]

    async def renew(self) -> None:
        """Give up the connections there are: answers may be under way that nobody waits for."""
        pool = getattr(self._client, "connection_pool", None)
        with contextlib.suppress(Exception):
            async with asyncio.timeout(self._brief.limit):
                await (self._client.aclose() if pool is None else pool.disconnect())

    async def close(self) -> None:
        """Drop what waits, what is under way, and the connections. Nothing is asked afterwards.

        A batch that went on would connect anew, and nobody would close that connection.
        """
        self._closed = True
        under_way: set[asyncio.Task[None]] = set()
        for lane in self._lanes:
            _fail(list(lane.waiting), Unreachable())
            lane.waiting.clear()
            under_way |= lane.batches
        for batch in under_way:
            batch.cancel()
        if under_way:
            await asyncio.wait(under_way, timeout=self._brief.limit)
        pool = getattr(self._client, "connection_pool", None)
        closing = [self._client.aclose]
        if pool is not None:  # not the client's own, where the user has set it
            closing.append(pool.disconnect)
        manager = getattr(pool, "sentinel_manager", None)
        closing += [sentinel.aclose for sentinel in getattr(manager, "sentinels", ())]
        for close in closing:  # one that fails leaves none of the others open
            with contextlib.suppress(Exception):
                async with asyncio.timeout(self._brief.limit):
                    await close()


def _fail(commands: list[_Command], error: Exception) -> None:
    for command in commands:
        if not command.reply.done():
            command.reply.set_exception(error)


def _text(error: Exception) -> str:
    """What may be told of an error: its kind and its first line. No redis-py error has secrets."""
    line = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def _is_of_the_server(error: Exception, text: str) -> bool:
    from redis.exceptions import ResponseError

    if not isinstance(error, ResponseError) or type(error).__name__ in _ERRORS_OF_THE_SERVER:
        return True
    return any(word in text for word in _OF_THE_SERVER)
