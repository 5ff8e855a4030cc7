"""An entry's time line as SVG: its windows by `Times.deadlines`, what is done in them by `decide`.

Nothing here knows the table; it asks. Pure: numbers in, text out. Text takes the page's own colour,
and areas are half-transparent, so that it reads on light and dark pages.
"""

from dataclasses import dataclass
from html import escape

from aswr.policy import Decision, Times, Window, covers, decide, window

LEFT, RIGHT, WIDTH = 140.0, 16.0, 800.0
LANE, GAP, TOP = 46.0, 8.0, 66.0
# Of a good last load, of a failed one whose retry is held back, of one whose retry is due.
LANES = (
    ("the last load succeeded", None),
    ("it failed, no retry yet", 1e9),
    ("it failed, a retry is due", 0.0),
)
COLOURS = {
    Window.FRESH: "#2f9e5b",
    Window.MARGIN: "#d9902f",
    Window.ERROR: "#c2504f",
    Window.GONE: "#808080",
}
NAMES = {
    Window.FRESH: "fresh",
    Window.MARGIN: "stale-while-revalidate",
    Window.ERROR: "stale-if-error",
    Window.GONE: "gone",
}
STYLE = (
    "<style>svg { color: #1f2328 } "
    "@media (prefers-color-scheme: dark) { svg { color: #e6edf3 } }</style>"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as the verdict table sees it, stored at 0."""

    fresh_until: float
    stale_until: float
    error_until: float
    passing: str = ""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the time line in which nothing changes, in seconds since the answer was stored."""

    begin: float
    end: float
    window: Window
    covers: bool  # may the entry stand in for a load that fails?
    decisions: tuple[Decision, ...]


def stretches(times: Times, cost: float) -> list[Stretch]:
    """The windows of an answer whose load took ``cost`` seconds, and the verdicts in each."""
    found = times.deadlines(0.0, cost, 0.0)
    entry = Entry(found.fresh_until, found.stale_until, found.error_until)
    ends = sorted({entry.fresh_until, entry.stale_until, entry.error_until})
    begins = [0.0, *ends]
    ends.append(ends[-1] * 1.2)  # and some of what comes after
    result = []
    for begin, end in zip(begins, ends, strict=True):
        if end > begin:
            decisions = tuple(decide(entry, begin, retry) for _, retry in LANES)
            part = Stretch(begin, end, window(entry, begin), covers(entry, begin), decisions)
            result.append(part)
    return result


def words(decision: Decision, covers: bool) -> tuple[str, str]:
    """A verdict in two lines: what the visitor gets, and what becomes of the entry."""
    if decision.wait:
        instead = "the stored answer" if covers else "the error"
        return "waits for a load;", f"if it fails: {instead}"
    return "stored answer, at once;", "a load renews it" if decision.load else "nothing is loaded"


def caption(
    timeout: float, refresh_margin: float | None = None, stale_if_error: float = 0.0,
    cost: float = 1.0,
) -> str:  # fmt: skip
    """Which options a drawing is of."""
    said = [f"timeout={timeout:g}"]
    if refresh_margin is not None:
        said.append(f"refresh_margin={refresh_margin:g}")
    if stale_if_error:
        said.append(f"stale_if_error={stale_if_error:g}")
    return f"cacher({', '.join(said)})"


def told(
    timeout: float, refresh_margin: float | None = None, stale_if_error: float = 0.0,
    cost: float = 1.0,
) -> str:  # fmt: skip
    """A drawing in words."""
    parts = stretches(Times(timeout, refresh_margin, stale_if_error), cost)
    options = caption(timeout, refresh_margin, stale_if_error)
    return f"The time line of an answer under {options}: " + "; ".join(
        f"from {part.begin:g} s {NAMES[part.window]}" for part in parts
    )


def drawing(
    timeout: float, refresh_margin: float | None = None, stale_if_error: float = 0.0,
    cost: float = 1.0,
) -> str:  # fmt: skip
    """The drawing, as a file; its style is for where a picture has no page's colour."""
    parts = stretches(Times(timeout, refresh_margin, stale_if_error), cost)
    scale = (WIDTH - LEFT - RIGHT) / len(parts)
    height = TOP + len(LANES) * (LANE + GAP) + 10
    title = escape(told(timeout, refresh_margin, stale_if_error, cost))
    lines = [
        f'<svg viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="{title}" '
        'xmlns="http://www.w3.org/2000/svg" font-family="system-ui, sans-serif" '
        'fill="currentColor">',
        STYLE,
        f"<title>{title}</title>",
    ]
    for lane, (name, _) in enumerate(LANES):
        y = TOP + lane * (LANE + GAP) + LANE / 2 + 4
        lines.append(text(LEFT - 8, y, name, 11, anchor="end"))
    for index, part in enumerate(parts):
        x = LEFT + index * scale
        lines.append(
            text(x + scale / 2, 18, NAMES[part.window], 12, weight="bold", anchor="middle")
        )
        lines.append(rect(x, 26, scale, 10, COLOURS[part.window], 0.9))
        lines.append(
            text(x, 52, f"{part.begin:g} s", 11, anchor="start" if not index else "middle")
        )
        for lane, decision in enumerate(part.decisions):
            y = TOP + lane * (LANE + GAP)
            colour = COLOURS[part.window if decision.serve else Window.GONE]
            lines.append(rect(x + 2, y, scale - 4, LANE, colour, 0.22))
            for row, line in enumerate(words(decision, part.covers)):
                lines.append(text(x + scale / 2, y + 19 + 16 * row, line, 11, anchor="middle"))
    lines.append("</svg>\n")
    return "\n".join(lines)


def rect(x: float, y: float, width: float, height: float, colour: str, opacity: float) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="3" '
        f'fill="{colour}" fill-opacity="{opacity:g}"/>'
    )


def text(x: float, y: float, what: str, size: float, *, anchor: str, weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(what)}</text>'
    )
