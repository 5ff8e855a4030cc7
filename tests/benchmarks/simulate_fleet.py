"""A fleet that no machine here could hold: what 1,000 workers ask of Redis, and what they load.

``python tests/benchmarks/simulate_fleet.py``: the same requests to three fleets: memory and Redis
with leases and news (`aswr.fleet`), memory and a shared store alone (`aswr.plain`), memory alone.
How, is said in `simulated`; the same ``--seed`` gives the same figures. A worker gets some tens of
requests a second, not hundreds: what is asked of Redis follows from misses and loads, and more
requests to each worker are above all more hits in its memory.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.simulated import FLEETS, Alone
from benchmarks.wire import QUICK, Setup, sizes

COMMANDS = ("CLAIM", "NUMBER", "STORE", "RENEW", "LOOK", "GET", "SET", "SYNC", "PING")
ENTRIES = ("CLAIM+", "LOOK+", "GET+")  # that replies have


def figures(fleet: Alone) -> dict[str, Any]:
    """Per second, but for what says otherwise."""
    setup, counted = fleet.setup, fleet.counted
    per_second = {name: times / setup.seconds for name, times in sorted(counted.items())}
    wire = sizes(setup)
    taken = sum(wire[name][0] * per_second.get(name, 0.0) for name in wire)
    given = sum(wire[name][1] * per_second.get(name, 0.0) for name in wire)
    asked, missed = counted["requests"], counted["memory misses"]
    return {
        "requests": per_second["requests"],
        "memory misses": per_second.get("memory misses", 0.0),
        "hit ratio": 1 - missed / asked,
        "loads": per_second.get("loads", 0.0),
        "loads per key and refresh": ratio(sum(fleet.loads), sum(fleet.refreshes)),
        "loads of the hottest key per refresh": ratio(fleet.loads[0], fleet.refreshes[0]),
        "commands": sum(per_second.get(name, 0.0) for name in COMMANDS),
        "by command": {name: per_second[name] for name in COMMANDS if name in per_second},
        "replies with an entry": sum(per_second.get(name, 0.0) for name in ENTRIES),
        "polls": per_second.get("polls", 0.0),
        "discarded": per_second.get("discarded", 0.0),
        "messages delivered": per_second.get("message", 0.0),
        "bytes into Redis": taken,
        "bytes out of Redis": given,
        "bytes out of Redis in messages": wire["message"][1] * per_second.get("message", 0.0),
        "bytes into a worker": given / setup.workers,
        "bytes out of a worker": taken / setup.workers,
    }


def ratio(loads: int, refreshes: int) -> float:
    return loads / refreshes if refreshes else 0.0


def simulate(setup: Setup) -> dict[str, Any]:
    """The figures of each fleet, by its name."""
    found = {}
    for make in FLEETS:
        fleet = make(setup)
        fleet.run()
        found[fleet.name] = figures(fleet)
    return found


def table(found: dict[str, Any]) -> str:
    """A line per figure, a column per fleet."""
    lines = [f"{'':38}" + "".join(f"{name:>14}" for name in found)]
    (first, *_) = found.values()
    for what in first:
        if what == "by command":
            for name in COMMANDS:
                values = [of[what].get(name, 0.0) for of in found.values()]
                lines.append(f"  {name:36}" + "".join(f"{value:>14,.0f}" for value in values))
            continue
        values = [of[what] for of in found.values()]
        digits = 2 if "ratio" in what or "refresh" in what else 0
        lines.append(f"{what:38}" + "".join(f"{value:>14,.{digits}f}" for value in values))
    return "\n".join(lines)


def asked_for() -> tuple[Setup, argparse.Namespace]:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small fleet, in seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    for name, default in asdict(Setup()).items():
        kind = int if isinstance(default, int) else float
        parser.add_argument(f"--{name}", type=kind, help=f"default: {default}")
    asked = parser.parse_args()
    given = {name: value for name in asdict(Setup()) if (value := getattr(asked, name)) is not None}
    return Setup(**{**asdict(QUICK if asked.quick else Setup()), **given}), asked


def main() -> None:
    """Simulate, and print."""
    setup, asked = asked_for()
    print(", ".join(f"{name} {value}" for name, value in asdict(setup).items()), flush=True)
    began = time.perf_counter()
    found = simulate(setup)
    print("per second, all workers together:")
    print(table(found))
    print(f"simulated in {time.perf_counter() - began:.0f} s")
    if asked.json:
        wire = {name: {"in": size[0], "out": size[1]} for name, size in sizes(setup).items()}
        told = {"setup": asdict(setup), "bytes on the wire": wire, "fleets": found}
        asked.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
