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


ONE, TWO = (Benchmark(name, (Row(f"of {name}", "", 1), ROW), list) for name in ("one", "two"))
BOTH = {"one": ONE, "two": TWO}


def of(value):
    return [Result(value), Result(value)]


def test_a_part_replaces_its_own_rows():
    """Other rows keep their figures; under the table is said of when and with what each part is."""
    text = table.markdown(BOTH, {"one": of(1.0), "two": of(2.0)}, "yesterday; Flask 3.")
    text = table.merged(text, BOTH, {"two": of(3.0)}, "today; Flask 4.")
    assert re.findall(r"x \| (\S+) x", text) == ["1.00", "1.00", "3.00", "3.00"]
    assert text.endswith("|\n\nyesterday; Flask 3.\n\n`two`: today; Flask 4.\n")
    text = table.merged(text, BOTH, {"two": of(4.0)}, "tomorrow; Flask 5.")
    assert text.endswith("|\n\nyesterday; Flask 3.\n\n`two`: tomorrow; Flask 5.\n")
    assert text.count("| of two |") == 1


def test_parts_that_were_measured_together_part():
    """A line for several parts goes on to hold for those that are not measured again."""
    three = {**BOTH, "three": Benchmark("three", (RATE,), list)}
    text = table.markdown(three, {**{name: of(1.0) for name in BOTH}, "three": [Result(1.0)]}, "a")
    text = table.merged(text, three, {"one": of(2.0), "two": of(2.0)}, "b")
    assert text.endswith("\n\na\n\n`one`, `two`: b\n")
    text = table.merged(text, three, {"one": of(3.0)}, "c")
    assert text.endswith("\n\na\n\n`two`: b\n\n`one`: c\n")


def test_a_full_run_is_told_of_in_one_line():
    """Where all parts were measured, nothing is left of the last table."""
    outcomes = {"one": of(1.0), "two": of(2.0)}
    old = table.merged(table.markdown(BOTH, outcomes, "a"), BOTH, {"one": of(3.0)}, "b")
    assert table.merged(old, BOTH, outcomes, "c") == table.markdown(BOTH, outcomes, "c")


def test_rows_that_are_not_as_they_were_must_be_measured():
    """No figure is shown for a row that another one has taken the place of."""
    old = table.markdown(BOTH, {"one": of(1.0), "two": of(2.0)}, "yesterday")
    changed = {**BOTH, "one": Benchmark("one", (Row("of one", "", 2), ROW), list)}
    with pytest.raises(ValueError, match="lacks rows of one"):
        table.merged(old, changed, {"two": of(3.0)}, "today")


def test_the_readme_shows_the_rows_of_today():
    """What the README's table says was measured is what the benchmarks measure, row by row."""
    shown = README[README.index(table.BEGIN) : README.index(table.END)]
    found = re.findall(r"^\| (.+?) \| (.*?) \| ([<>]= .+?) \|", shown, re.MULTILINE)
    benchmarks = rows.load().values()
    assert found == [(row.what, row.against, row.reach) for one in benchmarks for row in one.rows]
