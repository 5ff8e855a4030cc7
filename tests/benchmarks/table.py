"""The table of speed as text: aligned for a terminal, and as Markdown for the README."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from .rows import Benchmark, Missing, Outcome, Row, shown

BEGIN = "<!-- begin: written by nox -s bench -- --readme -->"
END = "<!-- end: written by nox -s bench -- --readme -->"

WIDTH = 92  # of the longest row, on a terminal
Outcomes = Mapping[str, Sequence[Outcome]]  # of a benchmark's rows, by its name


def verdict(row: Row, outcome: Outcome) -> tuple[str, str, str]:
    """The value, whether the row is reached, and what the value is made of."""
    if isinstance(outcome, Missing):
        return f"not measured: {outcome}", "", ""
    reached = "yes" if row.reached(outcome.value) else "no"
    return shown(outcome.value, row.unit), reached, outcome.words


def for_terminal(benchmark: Benchmark, outcomes: Sequence[Outcome]) -> str:
    """A benchmark's lines: a row each, and under it the figures."""
    lines = [benchmark.name]
    for row, outcome in zip(benchmark.rows, outcomes, strict=True):
        value, reached, figures = verdict(row, outcome)
        what = f"{row.what}, to {row.against}" if row.against else row.what
        lines.append(f"  {what:<{WIDTH}} {row.reach:>12}  {value:>12}  {reached}".rstrip())
        if figures:
            lines.append(f"      {figures}")
    return "\n".join(lines)


def markdown(benchmarks: Mapping[str, Benchmark], outcomes: Outcomes, about: str) -> str:
    """The whole table, and under it the machine and the releases."""
    lines = ["| what | against | reach | measured | reached | |", "|---" * 6 + "|"]
    for name, of_rows in outcomes.items():
        for row, outcome in zip(benchmarks[name].rows, of_rows, strict=True):
            cells = (row.what, row.against, row.reach, *verdict(row, outcome))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", about, ""])


def put_between_marks(path: Path, text: str) -> None:
    """Replace what is between the two marks of a file; raises `ValueError` where they are not."""
    old = path.read_text()
    begin, end = old.index(BEGIN) + len(BEGIN), old.index(END)
    path.write_text(f"{old[:begin]}\n\n{text}\n{old[end:]}")
