"""Timing in one process: contestants in turn, so that all of them see the same machine.

A turn is short, a few calls to a few thousand, and what counts is the first decile of many turns:
on a machine that is shared, most of a contestant's short turns are its own, and a long one never
is. That is also why pyperf, which takes means, and runs one contestant after the other, keeps the
values here but does not measure them. Garbage is collected as in a server, since that is part of
what a call costs, but what was there before is not walked.
"""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from .rows import Result

TURN = 0.002  # seconds
Run = Callable[[int], object]  # does something so many times
Samples = Mapping[str, Sequence[float]]


def in_turn(runs: Mapping[str, Run], rounds: int = 400) -> dict[str, list[float]]:
    """Microseconds per call of each contestant, a value per round."""
    calls = {name: _calls(run) for name, run in runs.items()}
    found: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for name in order:
            found[name].append(_timed(runs[name], calls[name]) / calls[name] * 1e6)
        order.reverse()  # nobody always comes after the same one
    gc.unfreeze()
    return found


def _calls(run: Run) -> int:
    """How many calls take a `TURN`; what is made at the first ones is made by then."""
    calls = 1
    while (taken := min(_timed(run, calls) for _ in range(5))) < TURN / 4:
        calls *= 4
    return max(1, round(calls * TURN / taken))


def _timed(run: Run, calls: int) -> float:
    begun = time.perf_counter()
    run(calls)
    return time.perf_counter() - begun


def decile(values: Sequence[float], number: int) -> float:
    """That decile, one of the values."""
    ordered = sorted(values)
    return ordered[round((len(ordered) - 1) * number / 10)]


def times(found: Samples, one: str, other: str, unit: str = "µs") -> Result:
    """How many times the other's the one's time is, by their first deciles."""
    samples = {name: found[name] for name in (one, other)}
    firsts = {name: decile(values, 1) for name, values in samples.items()}
    return Result(firsts[one] / firsts[other], firsts, unit, samples)


def paired(found: Samples, one: str, other: str, unit: str) -> Result:
    """How many times the other's the one is: the median of the rounds' own ratios.

    For rounds that are long, of which each is disturbed as much as the other.
    """
    samples = {name: found[name] for name in (one, other)}
    value = median(a / b for a, b in zip(found[one], found[other], strict=True))
    return Result(value, {name: median(of) for name, of in samples.items()}, unit, samples)
