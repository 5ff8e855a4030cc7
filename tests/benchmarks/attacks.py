"""Mount the table of attacks on other caches: ``python tests/benchmarks/attacks.py [--all]``.

Prints a Markdown table, a row per kind of attack: of how many attacks aswr and Flask-Caching are
safe, and what harm the others do; with ``--all`` a row per attack. Flask-Caching is what its
documentation shows, ``@cache.cached(timeout)``, and with ``query_string=True``; both on its
SimpleCache, which is what a memory cache is there. Takes about a minute. Needs flask-caching,
which the tests do not.

The harms: "poisoned", another answer than without the attack; "leaks", what is the first person's
own; "denied", an error in place of an answer; "slow", what was stored is not served any more;
"unbounded", more memory than there should be; "splits" and "runs code", by stored bytes. "never
stored" is no harm, but no cache either.
"""

import argparse
import logging
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from aiocache import SimpleMemoryCache
from flask import Flask
from flask_caching import Cache

from tests.attacked import Aswr, Send, Subject, Wire, directly, tidy, verbatim
from tests.attacks import ATTACKS, mount
from tests.drills import DRILLS

SAFE = "safe"


class FlaskCaching(Subject):
    """Flask-Caching with its SimpleCache, whose bound is 500 entries."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._stored: dict[str, tuple[float, bytes]] = {}

    def install(self, app: Flask) -> None:
        """Register with the app; an heir finds what is stored."""
        self._cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})
        backend = app.extensions["cache"][self._cache]
        backend._cache = self._stored

    def cached(self, query: list[str] | None = None) -> Callable[..., Any]:
        """`cached` has no list of parameters."""
        return self._cache.cached(timeout=60, **self._options)

    def bytes(self) -> int:
        """The stored values alone."""
        return sum(len(value) for _, value in self._stored.values())

    def corrupt(self, change: Callable[[bytes], bytes]) -> None:
        """Change what is stored."""
        for key, (until, value) in self._stored.items():
            self._stored[key] = until, change(value)


class Own(SimpleMemoryCache):
    """A backend for aswr with bytes of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._cache: dict[str, bytes] = {}
        self._handlers: dict[str, Any] = {}


CACHES: dict[str, Callable[[], Subject]] = {
    "aswr": lambda: Aswr(False, Own()),
    "aswr, public": lambda: Aswr(True, Own()),
    "Flask-Caching": FlaskCaching,
    "Flask-Caching, query_string=True": lambda: FlaskCaching(query_string=True),
}


def outcomes(make: Callable[[], Subject], wires: list[Send]) -> dict[tuple[str, str], str]:
    """What each attack does: the worst of what it does behind several servers."""
    found = {}
    for attack in ATTACKS:
        harms = [mount(attack, make, send) for send in (wires if attack.wire else [directly])]
        found[attack.group, attack.name] = next(filter(None, harms), SAFE)
    for drill in DRILLS:
        found[drill.group, drill.name] = drill.run(make) or SAFE
    return found


def summary(harms: list[str]) -> str:
    """``safe`` or what the attacks did, each with their number."""
    counted = Counter(harms)
    safe = counted.pop(SAFE, 0)
    if not counted:
        return SAFE
    bad = ", ".join(f"{count} {harm}" for harm, count in counted.most_common())
    return f"{bad}; {safe} safe" if safe else bad


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="a row per attack")
    every = parser.parse_args().all
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    wires = [Wire(tidy), Wire(verbatim)]
    found = {name: outcomes(make, list(wires)) for name, make in CACHES.items()}
    for wire in wires:
        wire.close()
    rows = list(dict.fromkeys(key if every else (key[0], "") for key in found["aswr"]))
    print(f"| attack | number | {' | '.join(CACHES)} |")
    print("|---" * (len(CACHES) + 2) + "|")
    for group, name in rows:
        of_row = [key for key in found["aswr"] if key[0] == group and name in ("", key[1])]
        cells = [summary([of[key] for key in of_row]) for of in found.values()]
        title = f"{group}: {name}".replace("|", "\\|") if name else group
        print(f"| {title} | {len(of_row)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
