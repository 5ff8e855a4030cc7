"""The rows of the table of speed: what is measured, what it is to reach, what it came to.

A benchmark is a function with a name, ``nox -s bench -- NAME``, and one row or several. It returns
a `Result` for each of its rows, in their order. What cannot be measured on this machine is said,
never guessed: it raises `Missing`, or has one in place of a result.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module

# Where the benchmarks are, in the order of the table.
MODULES = ("inprocess", "doors", "functions", "crowds", "stored", "renewals", "fleet", "imports")


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: ``what`` is to stay below ``limit``, or ``at_least`` to come up to it.

    ``unit`` is that of the limit and of the value: "x" for a ratio to ``against``.
    """

    what: str
    against: str
    limit: float
    unit: str = "x"
    at_least: bool = False

    @property
    def reach(self) -> str:
        """The limit, in words."""
        return f"{'>=' if self.at_least else '<='} {shown(self.limit, self.unit)}"

    def reached(self, value: float) -> bool:
        """Does the value come up to the row?"""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True, slots=True)
class Result:
    """The value of a row, the ``figures`` that it is made of, and the samples of those.

    Both are by contestant, in ``unit``.
    """

    value: float
    figures: Mapping[str, float] = field(default_factory=dict)
    unit: str = ""
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """The figures for readers."""
        return ", ".join(f"{name} {shown(of, self.unit)}" for name, of in self.figures.items())


class Missing(Exception):
    """Why something is not measured here."""


Outcome = Result | Missing


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A function that measures, and its rows."""

    name: str
    rows: tuple[Row, ...]
    function: Callable[[], Sequence[Outcome]]

    def outcomes(self) -> list[Outcome]:
        """Measure: an outcome per row."""
        try:
            found = list(self.function())
        except Missing as missing:
            found = [missing] * len(self.rows)
        assert len(found) == len(self.rows), f"{self.name}: {found}"
        return found


BENCHMARKS: dict[str, Benchmark] = {}


def load() -> dict[str, Benchmark]:
    """Every benchmark by its name, in the order of the table."""
    for module in MODULES:
        import_module(f".{module}", __package__)
    return BENCHMARKS


_Function = Callable[[], Sequence[Outcome]]


def benchmark(name: str, *rows: Row) -> Callable[[_Function], _Function]:
    """Enter a function into the table."""

    def enter(function: _Function) -> _Function:
        assert name not in BENCHMARKS, name
        BENCHMARKS[name] = Benchmark(name, rows, function)
        return function

    return enter


def shown(value: float, unit: str) -> str:
    """A value as people read it: ``0.98 x``, ``21,300/s``, ``5.20 µs``, ``3 loads``."""
    if unit == "%":
        return f"{value:.3g}%"
    counted = value == int(value) and unit not in ("x", "s")
    number = f"{value:,.{0 if counted or abs(value) >= 10 else 2}f}"
    return f"{number}{unit}" if unit.startswith("/") else f"{number} {unit}".strip()
