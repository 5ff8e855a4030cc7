"""The table of speed as text: aligned for a terminal, and as Markdown for the README."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from .rows import Benchmark, Missing, Outcome, Row, shown

BEGIN = "<!-- begin: written by nox -s bench -- --readme -->"
END = "<!-- end: written by nox -s bench -- --readme -->"

HEAD = ("| what | against | reach | measured | reached | |", "|---" * 6 + "|")
_PARTS = re.compile(r"(`[^`]+`(?:, `[^`]+`)*): (.*)")  # of a line that tells of some parts only
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
    lines = [line for name in outcomes for line in _lines(benchmarks[name], outcomes[name])]
    return "\n".join([*HEAD, *lines, "", about, ""])


def merged(old: str, benchmarks: Mapping[str, Benchmark], outcomes: Outcomes, about: str) -> str:
    """A table with the rows of these parts anew; the other rows keep their figures.

    Under it a line for the parts that were measured together; one without names is for all others.
    Raises `ValueError` where another part's rows are not there as they are today.
    """
    if outcomes.keys() == benchmarks.keys():
        return markdown(benchmarks, outcomes, about)
    old_lines = [line for line in old.splitlines() if line]
    lines = []
    for name, one in benchmarks.items():
        lines += _lines(one, outcomes[name]) if name in outcomes else _kept(old_lines, one)
    told = [_without(line, outcomes) for line in old_lines if not line.startswith("|")]
    abouts = [*filter(None, told), f"{', '.join(f'`{name}`' for name in outcomes)}: {about}"]
    return "\n".join([*HEAD, *lines, "", "\n\n".join(abouts), ""])


def _lines(benchmark: Benchmark, outcomes: Sequence[Outcome]) -> list[str]:
    lines = []
    for row, outcome in zip(benchmark.rows, outcomes, strict=True):
        cells = (row.what, row.against, row.reach, *verdict(row, outcome))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _kept(lines: Sequence[str], benchmark: Benchmark) -> list[str]:
    """The lines of a part in a table that has it as it is today."""
    begins = [f"| {row.what} | {row.against} | {row.reach} | " for row in benchmark.rows]
    for at in range(len(lines) - len(begins) + 1):
        found = list(lines[at : at + len(begins)])
        if all(map(str.startswith, found, begins)):
            return found
    raise ValueError(f"the table lacks rows of {benchmark.name}: measure it, too")


def _without(about: str, names: Collection[str]) -> str:
    """A line under the table, without what it says of these parts."""
    if (found := _PARTS.fullmatch(about)) is None:
        return about
    left = [name for name in found[1].split(", ") if name.strip("`") not in names]
    return f"{', '.join(left)}: {found[2]}" if left else ""


def between_marks(path: Path) -> str:
    """The table in a file; raises `ValueError` where the marks are not."""
    text = path.read_text()
    return text[text.index(BEGIN) + len(BEGIN) : text.index(END)]


def put_between_marks(path: Path, text: str) -> None:
    """Replace what is between the two marks of a file; raises `ValueError` where they are not."""
    old = path.read_text()
    begin, end = old.index(BEGIN) + len(BEGIN), old.index(END)
    path.write_text(f"{old[:begin]}\n\n{text}\n{old[end:]}")
