"""A shared store that fails on demand: an aiocache cache object in memory, for tests.

What is asked of it runs on aswr's loop; whoever tells it to fail may be on any thread. Copies share
their state, since aswr asks a copy of the object that it is given. Imports aiocache, so nobody
imports this who does not need it.
"""

import threading
from collections import Counter
from typing import Any, Literal

from aiocache.base import BaseCache
from aiocache.serializers import NullSerializer

from .gates import Valve


class _State:
    """Of a store and of all its copies; changed under ``lock``."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.entries: dict[str, Any] = {}
        self.calls: Counter[str] = Counter()
        self.error: Exception | None = None
        self.hanging: Valve | None = None


class FailingStore(BaseCache):  # type: ignore[misc]  # aiocache is not typed
    """An aiocache cache in memory that fails or hangs when it is told to; for ``cache=``.

    It understands what aswr asks of a cache: get, set, delete, and for tests exists and clear.
    Nothing expires in it: entries carry their own deadlines, by the clock of the cache.
    """

    NAME = "failing"

    def __init__(self) -> None:
        super().__init__(serializer=NullSerializer(), timeout=None)
        self._state = _State()

    def __len__(self) -> int:
        return len(self._state.entries)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<FailingStore {self.mood}, {len(self)} entries>"

    @property
    def mood(self) -> Literal["well", "failing", "hanging"]:
        """What becomes of a call, as of now."""
        if self._state.error is not None:
            return "failing"
        return "well" if self._state.hanging is None else "hanging"

    @property
    def calls(self) -> Counter[str]:
        """How often each of "get", "set", "delete", ... was asked for, failed calls included."""
        return Counter(self._state.calls)

    def fail(self, error: Exception | None = None) -> None:
        """Raise ``error`` in every call from now on, also in those that hang; until `mend`."""
        self._turn(error or ConnectionError("this FailingStore was told to fail"), None)

    def hang(self) -> None:
        """Answer no call from now on, until `mend` or `fail`."""
        self._turn(None, Valve())

    def mend(self) -> None:
        """Answer again, also the calls that hang."""
        self._turn(None, None)

    def reset(self) -> None:
        """Forget all entries and calls, and `mend`: what hangs finds nothing any more."""
        with self._state.lock:
            self._state.entries.clear()
            self._state.calls.clear()
        self.mend()

    def _turn(self, error: Exception | None, hanging: Valve | None) -> None:
        with self._state.lock:
            before = self._state.hanging
            self._state.error, self._state.hanging = error, hanging
        if before is not None:
            before.open()

    async def _called(self, command: str) -> dict[str, Any]:
        """Count a call, and do to it what was told; the entries."""
        state = self._state
        with state.lock:
            state.calls[command] += 1
        while (hanging := state.hanging) is not None:
            await hanging.wait()
        if state.error is not None:
            raise state.error
        return state.entries

    # What aiocache.base.BaseCache asks of a backend.

    async def _get(self, key: str, encoding: str | None = None, _conn: Any = None) -> Any:
        return (await self._called("get")).get(key)

    async def _set(
        self, key: str, value: Any, ttl: float | None = None, _cas_token: Any = None,
        _conn: Any = None,
    ) -> bool:  # fmt: skip
        (await self._called("set"))[key] = value
        return True

    async def _delete(self, key: str, _conn: Any = None) -> int:
        return int((await self._called("delete")).pop(key, None) is not None)

    async def _exists(self, key: str, _conn: Any = None) -> bool:
        return key in await self._called("exists")

    async def _clear(self, namespace: str | None = None, _conn: Any = None) -> bool:
        entries = await self._called("clear")
        for key in [key for key in entries if key.startswith(namespace or "")]:
            del entries[key]
        return True
