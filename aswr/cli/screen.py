"""Where text goes: a terminal, with tables, colour and a width, or a pipe, with plain lines.

Whatever comes from outside (URLs, tags, values of headers) is escaped before it is printed, so that
no entry can move a cursor, turn a line round or ring a bell. Knows nothing of caches.
"""

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TextIO

import click

LEAST = 12  # columns that what gives is left with, before whole columns go
ENOUGH = 24  # and what is worth much
WORTHY = 5
ELLIPSIS = "…"
_ASCII = {
    "…": "~", "•": "*", "✓": "+", "✗": "x", "█": "#", "░": ".", "→": "->", "·": "-",
}  # fmt: skip


def clean(text: object) -> str:
    """Text on one line without control characters, marks of direction and the like: escaped."""
    return "".join(one if one.isprintable() else _escaped(one) for one in str(text))


def _escaped(one: str) -> str:
    return one.encode("unicode_escape", "surrogatepass").decode("ascii")


def width_of(text: str) -> int:
    """The columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    return sum(_columns(one) for one in text)


def _columns(one: str) -> int:
    if unicodedata.category(one) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(one) in "WF" else 1


def cut(text: str, width: int, *, tail: bool = False) -> str:
    """A text in at most so many columns; left out is what is at its end, or before its ``tail``."""
    if width_of(text) <= width:
        return text
    if width <= 0:
        return ""
    if tail:
        return ELLIPSIS + _head(text[::-1], width - 1)[::-1]
    return _head(text, width - 1) + ELLIPSIS


@dataclass(frozen=True, slots=True)
class Column:
    """One of a table's. ``gives`` up width where it is short; those of the least ``worth`` go.

    ``tail``: of what is cut the end is kept.
    """

    title: str
    right: bool = False
    gives: bool = False
    worth: int = 1
    tail: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """A text, and its colour."""

    text: str
    colour: str = ""


def cell(value: "Cell | object") -> Cell:
    """A cell that is fit to be printed."""
    if isinstance(value, Cell):
        return Cell(clean(value.text), value.colour)
    return Cell(clean(value))


class Screen:
    """One command's output. ``width`` in columns; None is endless."""

    def __init__(
        self, out: TextIO | None = None, *, terminal: bool | None = None,
        width: int | None = None, colour: bool | None = None,
    ) -> None:  # fmt: skip
        self._out = out
        if (stream := self.out) is None:
            raise click.ClickException("there is no standard output to write to")
        self.terminal = stream.isatty() if terminal is None else terminal
        self._width = width
        if colour is None:
            plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
            colour = self.terminal and not plain
        self.colour = colour

    @property
    def out(self) -> TextIO:
        return self._out or sys.stdout

    @property
    def width(self) -> int | None:
        """Columns of a terminal, as of now; None in a pipe."""
        if not self.terminal:
            return None
        return self._width or max(1, shutil.get_terminal_size().columns)

    @cached_property
    def _ascii(self) -> bool:
        try:
            "".join(_ASCII).encode(self.out.encoding or "utf-8")
        except (UnicodeEncodeError, LookupError):
            return True
        return False

    def line(self, text: str = "", *, new_line: bool = True) -> None:
        """Write a line, which is clean already."""
        out = self.out
        if self._ascii:
            text = "".join(_ASCII.get(one, one) for one in text)
        encoding = out.encoding or "utf-8"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
        try:
            click.echo(text, file=out, nl=new_line, color=True)  # what is coloured was asked for
        except BrokenPipeError:  # who reads has seen enough
            raise
        except OSError as error:
            raise click.ClickException(f"the answer cannot be written: {error.strerror}") from None

    def styled(self, text: str, colour: str = "", *, bold: bool = False) -> str:
        """The text in a colour, where there are colours."""
        if not self.colour or not (colour or bold):
            return text
        return click.style(text, fg=colour or None, bold=bold or None)

    def fields(self, *values: object) -> None:
        """A line of values with tabs between them."""
        self.line("\t".join(clean(value) for value in values))

    def json(self, value: Any) -> None:
        """A value as JSON, in ASCII: nothing in it moves a cursor."""
        self.line(as_json(value))

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence["Cell | object"]]) -> None:
        """Rows below their titles, aligned, in the terminal's width."""
        cells = [[cell(value) for value in row] for row in rows]
        titles = [column.title for column in columns]
        natural = [
            max([width_of(title), *(width_of(row[at].text) for row in cells)])
            for at, title in enumerate(titles)
        ]
        widths = fitted(columns, natural, self.width)
        self._row(columns, widths, [Cell(title, "bright_black") for title in titles])
        for row in cells:
            self._row(columns, widths, row)

    def _row(self, columns: Sequence[Column], widths: Sequence[int], row: Sequence[Cell]) -> None:
        shown = []
        last = max((at for at, width in enumerate(widths) if width), default=0)
        for at, (column, width, one) in enumerate(zip(columns, widths, row, strict=True)):
            if not width:
                continue
            text = cut(one.text, width, tail=column.tail)
            room = " " * (width - width_of(text))
            coloured = self.styled(text, one.colour)
            if column.right:
                shown.append(room + coloured)
            else:
                shown.append(coloured if at == last else coloured + room)
        self.line("  ".join(shown).rstrip())

    def wrapped(
        self, text: str, indent: int = 0, colour: str = "", first: str = "", *, bold: bool = False
    ) -> None:
        """A text, broken into the terminal's width, ``first`` before its first line."""
        room = None if self.width is None else max(8, self.width - indent)
        lines = [text] if room is None else wrap(text, room)
        for number, line in enumerate(lines):
            before = first if number == 0 and first else " " * indent
            self.line(before + self.styled(line, colour, bold=bold))


def fitted(columns: Sequence[Column], natural: Sequence[int], width: int | None) -> list[int]:
    """The widths of columns that go into a terminal's, two blanks between them; 0: it is left out.

    Those are left out that are worth the least, until the others fit when those give that can.
    """
    widths = list(natural)
    if width is None:
        return widths
    while True:
        shown = [at for at, taken in enumerate(widths) if taken]
        floors = [_floor(columns[at], widths[at]) for at in shown]
        if _total(floors) <= width:
            break
        if len(shown) == 1:
            return [width if taken else 0 for taken in widths]
        widths[min(shown, key=lambda at: (columns[at].worth, -at))] = 0
    while _total(widths) > width:
        giving = [at for at in shown if widths[at] > _floor(columns[at], natural[at])]
        widths[max(giving, key=lambda at: widths[at])] -= 1
    return widths


def _floor(column: Column, natural: int) -> int:
    """The columns that it must have."""
    if not column.gives:
        return natural
    return min(natural, LEAST if column.worth < WORTHY else ENOUGH)


def _total(widths: Sequence[int]) -> int:
    shown = [width for width in widths if width]
    return sum(shown) + 2 * (len(shown) - 1)


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most so many columns, broken at blanks where there are any."""
    lines, line = [], ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if width_of(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        line = word
        while width_of(line) > width:
            head = _head(line, width) or line[0]
            lines.append(head)
            line = line[len(head) :]
    return [*lines, line]


def _head(text: str, width: int) -> str:
    """As much of a text as goes into so many columns."""
    taken = 0
    for at, one in enumerate(text):
        taken += _columns(one)
        if taken > width:
            return text[:at]
    return text


def as_json(value: Any, *, indent: int | None = 2) -> str:
    """A value as JSON text in ASCII."""
    return json.dumps(value, indent=indent, default=str, ensure_ascii=True)
