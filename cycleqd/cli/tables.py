"""Tables on the terminal and in pipes, in which no number and no id is ever cut."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from cycleqd.messages import visible

if TYPE_CHECKING:
    from cycleqd.report.tables import TextTable

Cell = str | Text

_GAP = "  "
"""Between the columns of a plain table."""
_PADDING = 3
"""Characters between two columns on a terminal."""
_PROSE = 24
"""Characters that a column of prose should have at least."""


def show_table(console: Console, table: TextTable) -> None:
    """As `print_table`, of a report's table."""
    print_table(
        console,
        table.header,
        table.rows,
        title=table.title,
        note=table.note,
        prose=table.prose,
        left=table.left,
        emphasis=table.emphasis,
    )


def print_table(
    console: Console,
    header: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    title: str = "",
    note: str = "",
    prose: Collection[int] = (),
    left: Collection[int] = (),
    emphasis: Collection[int] = (),
) -> None:
    """Prints a table.

    A pipe or a file gets one line a row, however wide, with the columns in line. A terminal that is too narrow gets
    the columns in several tables below each other, each with the first column; only prose is wrapped.

    Args:
        console: Where to.
        header: The columns' names. The first column is left-aligned, the others right-aligned.
        rows: Cells, all of them strings or rich texts; line breaks in them become spaces.
        title: Above the table.
        note: Below it.
        prose: Numbers of columns of text that may be wrapped; they are left-aligned.
        left: Numbers of further columns that are left-aligned.
        emphasis: Numbers of the rows that stand out.
    """
    lines = [[_one_line(cell) for cell in row] for row in rows]
    aligned = {0, *prose, *left}
    if not console.is_terminal:
        whole = plain_lines([[Text(name) for name in header], *lines], aligned)
        for line in (*([title] if title else []), *whole, *([note] if note else []), ""):
            console.print(Text(line), soft_wrap=True)
        return
    if title:
        console.print(Text(title, style="bold"))
    widths = [max(cell_len(name), *(cell.cell_len for cell in column)) for name, *column in _columns(header, lines)]
    for shown in _blocks(widths, set(prose), console.width):
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for column in shown:
            table.add_column(
                Text(header[column]),
                justify="left" if column in aligned else "right",
                no_wrap=column not in prose,
                overflow="fold",
            )
        for position, row in enumerate(lines):
            table.add_row(*(row[column] for column in shown), style="bold" if position in emphasis else "")
        # A single column that is wider than the terminal is printed in full all the same; the terminal breaks it.
        least = sum(_PADDING + (_PROSE if column in prose else widths[column]) for column in shown)
        for segments in console.render_lines(
            table, console.options.update_width(max(console.width, least)), pad=False
        ):
            console.print(Segments([*segments, Segment.line()]), crop=False, soft_wrap=True)
        console.print()
    if note:
        console.print(Text(note, style="dim"))


def plain_lines(lines: Sequence[Sequence[Text]], left: Collection[int] = (0,)) -> Iterator[str]:
    """Lines of a table without rules or colours, for pipes.

    Args:
        lines: The rows, the header first.
        left: Numbers of the columns that are left-aligned; the others are right-aligned.
    """
    columns = len(lines[0]) if lines else 0
    widths = [max((line[n].cell_len for line in lines if n < len(line)), default=0) for n in range(columns)]
    for line in lines:
        cells = []
        for number, cell in enumerate(line):
            space = " " * (widths[number] - cell.cell_len)
            cells.append(cell.plain + space if number in left else space + cell.plain)
        yield _GAP.join(cells).rstrip()


def _one_line(cell: Cell) -> Text:
    text = cell if isinstance(cell, Text) else Text(cell)
    shown = visible(text.plain)  # a cell may quote what a file or a server says; it must not drive the terminal
    return text if shown == text.plain and "\n" not in shown else Text(" ".join(shown.split()), style=text.style)


def _columns(header: Sequence[str], lines: Sequence[Sequence[Text]]) -> Iterator[tuple[str, *tuple[Text, ...]]]:
    for number, name in enumerate(header):
        yield (name, *(line[number] for line in lines))


def _blocks(widths: Sequence[int], prose: Collection[int], room: int) -> Iterator[list[int]]:
    """Columns that fit beside each other, the first column in each group."""
    wanted = [_PADDING + (min(width, _PROSE) if n in prose else width) for n, width in enumerate(widths)]
    shown, taken = [0], wanted[0] - _PADDING
    for number in range(1, len(wanted)):
        if len(shown) > 1 and taken + wanted[number] > room:
            yield shown
            shown, taken = [0], wanted[0] - _PADDING
        shown.append(number)
        taken += wanted[number]
    yield shown
