"""A plot per benchmark, as SVG."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .pace import decile
from .rows import Benchmark, Outcome, Result


def plot(folder: Path, benchmark: Benchmark, outcomes: Sequence[Outcome]) -> None:
    """``NAME.svg``: a bar per contestant to its figure, a line from first to last decile."""
    drawn = [
        (row, outcome)
        for row, outcome in zip(benchmark.rows, outcomes, strict=True)
        if isinstance(outcome, Result) and outcome.figures
    ]
    if not drawn:
        return
    heights = [0.8 + 0.4 * len(result.figures) for _, result in drawn]
    figure = Figure(figsize=(8, sum(heights)), layout="constrained")
    axes = figure.subplots(len(drawn), squeeze=False, height_ratios=heights)
    for (row, result), (axis,) in zip(drawn, axes, strict=True):
        title = f"{row.what}, to {row.against}" if row.against else row.what
        axis.set_title(title.replace("`", ""), fontsize=8, loc="left")
        _bars(axis, result)
    figure.savefig(folder / f"{benchmark.name}.svg", metadata={"Date": None})


def _bars(axis: Axes, result: Result) -> None:
    names = list(result.figures)
    axis.barh(names, list(result.figures.values()), color="#4477aa")
    for name, values in result.samples.items():
        if name in names:
            axis.plot([decile(values, 1), decile(values, 9)], [name, name], color="#222222")
    axis.invert_yaxis()
    axis.set_xlabel(result.unit)
