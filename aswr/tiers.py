"""Which shared store a config means, and the one that there is.

Any thread asks what is meant; the loop makes it, when it is first needed, and connects to nothing
before. Knows options, no app.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from . import backend
from .breaker import Breaker
from .envelope import Checksum, Envelopes, Seal, Signature
from .fleet import Fleet
from .plain import Plain
from .runtime import Runtime
from .stamps import MOST, Purge, Stamps
from .tier import Listener, Tier
from .values import Carrier

log = logging.getLogger("aswr.store")

COMMON_NAMES = {"__main__", "app", "application", "main", "server", "wsgi"}

# Of forked children: to collect what the parent is connected by would touch its loop.
_forgotten: list[Tier] = []


class Shared:
    """The shared store of the app ``name``, if it has one.

    ``secret_keys`` sign, the last of them, and are accepted, all of them. Raises `ValueError` where
    options contradict each other.
    """

    def __init__(
        self,
        source: Any,
        name: str,
        config: Mapping[str, Any],
        secret_keys: Callable[[], list[str | bytes]],
        stamps: Stamps,
        clock: Callable[[], float],
    ) -> None:
        if source is not None:
            _check(config)
            if config["ASWR_NAMESPACE"] is None and name in COMMON_NAMES:
                log.warning(
                    "the entries of this app lie in the shared store under its name, %r, as those "
                    "of many apps would: set ASWR_NAMESPACE, unless nobody else uses it", name,
                    extra={"aswr_app": name},
                )  # fmt: skip
            _say_what_is_not_shared(name, source)
        self._source = source
        self._name = name
        self._config = config
        self._secret_keys = secret_keys
        self._stamps = stamps
        self._clock = clock
        self.carriers: dict[str, Carrier] = {}  # of memoized functions, by name
        self.describe: Callable[[], dict[str, Any]] = dict  # this process, for the others
        self.counts = True  # is this process one of those that share it, or does it look on?
        self._made: Tier | None = None
        self._untold: list[tuple[Purge, int]] = []  # made while the factory failed
        self._breaker = Breaker(f"the factory of the shared store of {name!r}", lambda: None)
        self._retry_at = 0.0

    def __bool__(self) -> bool:
        return self._source is not None

    @property
    def in_fleet(self) -> bool:
        """May it have leases? Of a factory's that is not known before it is called."""
        source = self._source
        return callable(source) or isinstance(source, str) or backend.client_of(source) is not None

    @property
    def made(self) -> Tier | None:
        """The store, if it was needed already. Any thread."""
        return self._made

    def tier(self, runtime: Callable[[], Runtime], listener: Listener) -> Tier | None:
        """The store, made if need be; None where none is meant, or its factory fails."""
        if self._made is None and self._source is not None:
            self._made = self._make(runtime().loop.time())
            self._breaker.on_change = listener.breaker_changed
            if self._made is not None:
                self._made.attach(runtime, listener)
                self._made.describe = self.describe
                self._made.counts = self.counts
                for purge, number in self._untold:
                    self._made.owe(purge, number)
                self._untold.clear()
        return self._made

    def owe(self, purge: Purge, number: int) -> None:
        """A purge is made while there is no store: it is told once there is."""
        self._untold.append((purge, number))
        del self._untold[:-MOST]

    def stats(self) -> dict[str, int]:
        """The store's counters, of its factory's troubles before there is one. Any thread."""
        if self._made is not None:
            return self._made.stats()
        errors, reachable = self._breaker.errors, int(self._breaker.closed)
        return {"store_errors": errors, "store_reachable": reachable} if self else {}

    def forget(self) -> None:
        """In a forked child: make another."""
        if self._made is not None:
            _forgotten.append(self._made)
        self._made = None

    async def close(self) -> None:
        """Close it, if it was made; it is made anew when it is needed again."""
        made, self._made = self._made, None
        if made is not None:
            await made.close()

    def _make(self, now: float) -> Tier | None:
        source = self._source
        if callable(source):
            if now < self._retry_at:
                return None
            try:
                source = backend.check(source())
                if source is None or callable(source):
                    raise TypeError(f"cache: the factory made {source!r}, and no cache or address")
            except Exception as error:  # its text may tell a password
                self._breaker.trip(type(error).__name__)
                self._retry_at = now + self._breaker.pause()
                return None
            _say_what_is_not_shared(self._name, source)
            self._breaker.mend()
        return self._of(source)

    def _of(self, source: Any) -> Tier:
        config = self._config
        seal: Seal = Signature(self._secret_keys()) if config["ASWR_SIGN"] else Checksum()
        options = {
            "namespace": config["ASWR_NAMESPACE"] or self._name,
            "version": config["ASWR_VERSION"],
            "envelopes": Envelopes(seal, config["ASWR_MAX_BYTES"], config["ASWR_STORE_COMPRESS"]),
            "timeout": config["ASWR_STORE_TIMEOUT"],
            "carriers": self.carriers,
        }
        if not isinstance(source, str) and backend.client_of(source) is None:
            return Plain(self._stamps, self._clock, source, **options)
        return Fleet(
            self._stamps, self._clock, source, **options, lease=config["ASWR_LEASE"],
            propagation=config["ASWR_PROPAGATION"], refuse=config["ASWR_PARTITION"] == "refuse",
        )  # fmt: skip


def _check(config: Mapping[str, Any]) -> None:
    timeout, propagation = config["ASWR_STORE_TIMEOUT"], config["ASWR_PROPAGATION"]
    if timeout > propagation / 2:
        raise ValueError(
            f"ASWR_STORE_TIMEOUT={timeout:g} must be at most half of "
            f"ASWR_PROPAGATION={propagation:g}: a purge is heard of within the latter even if one "
            "question for it gets no answer"
        )


def _say_what_is_not_shared(name: str, source: Any) -> None:
    if backend.is_memcached(source):
        log.warning(
            "%s: Memcached shares entries, and nothing else: every process loads for itself, and "
            "purges reach no other; with Redis they do", name, extra={"aswr_app": name},
        )  # fmt: skip
