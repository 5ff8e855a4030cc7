"""The table of speed is put together right; what it measures is measured elsewhere."""

import re
from pathlib import Path

import pytest

from tests.benchmarks import rows, table
from tests.benchmarks.rows import Benchmark, Missing, Result, Row

README = (Path(__file__).parent.parent / "README.md").read_text()
ROW = Row("a hit", "a view", 1.1)
RATE = Row("a door", "a constant", 0.85, at_least=True)


@pytest.mark.parametrize(
    ("row", "value", "reached"),
    [(ROW, 1.1, True), (ROW, 1.11, False), (RATE, 0.85, True), (RATE, 0.84, False)],
)
def test_a_limit_is_reached_from_its_own_side(row, value, reached):
    """Times stay below their limit, rates come up to theirs; the limit itself is reached."""
    assert row.reached(value) is reached


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.5, "x", "1.50 x"), (15, "x", "15 x"), (0.04, "x", "0.04 x"), (16.94, "x", "17 x"),
        (21_312.4, "/s", "21,312/s"), (7.25, "µs", "7.25 µs"), (1113.2, "µs", "1,113 µs"),
        (0, "modules", "0 modules"), (1000, "loads", "1,000 loads"), (-0.25, "%", "-0.25%"),
    ],
)  # fmt: skip
def test_values_are_written_for_readers(value, unit, text):
    """No more digits than tell something, thousands apart, the unit behind."""
    assert rows.shown(value, unit) == text


def test_what_is_not_measured_has_no_figure():
    """A row that could not be measured says why, and neither yes nor no."""

    def nothing():
        raise Missing("no nginx on this machine")

    benchmark = Benchmark("proxies", (RATE,), nothing)
    text = table.markdown({"proxies": benchmark}, {"proxies": benchmark.outcomes()}, "here")
    assert "| >= 0.85 x | not measured: no nginx on this machine |  |  |" in text


def test_the_table_replaces_the_last_one(tmp_path):
    """What is around the marks stays, what was between them goes."""
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    benchmark = Benchmark("in-app", (ROW,), lambda: [Result(1.0, {"aswr": 2.0}, "µs")])
    text = table.markdown({"in-app": benchmark}, {"in-app": benchmark.outcomes()}, "here")
    for _ in range(2):
        table.put_between_marks(readme, text)
    begin, end = readme.read_text().split(text)
    assert begin == f"before\n{table.BEGIN}\n\n"
    assert end == f"\n{table.END}\nafter\n"
    assert "| a hit | a view | <= 1.10 x | 1.00 x | yes | aswr 2 µs |" in text


def test_the_readme_shows_the_rows_of_today():
    """What the README's table says was measured is what the benchmarks measure, row by row."""
    shown = README[README.index(table.BEGIN) : README.index(table.END)]
    found = re.findall(r"^\| (.+?) \| (.*?) \| ([<>]= .+?) \|", shown, re.MULTILINE)
    benchmarks = rows.load().values()
    assert found == [(row.what, row.against, row.reach) for one in benchmarks for row in one.rows]
