"""No table of the command line cuts a number or an id, however narrow the terminal is."""

import io
import re

import pytest
from rich.console import Console

from cycleqd.cli.tables import print_table

HEADER = ("individual", "parents", "coding, %", "os, %", "db, %", "mean", "cells won in")
ROWS = [
    ("g0012", "expert-coding + expert-db", "41.7 (25–61)", "33.3 (18–53)", "8.3 (2–26)", "27.8", "coding, os, db"),
    ("tsv-0.85-of-an-unusually-long-name", "expert-coding", "100.0 (86–100)", "0.0 (0–14)", "–", "–", "–"),
]


def printed(rows, *, width=80, terminal, **options):
    stream = io.StringIO()
    print_table(Console(file=stream, width=width, force_terminal=terminal), HEADER[: len(rows[0])], rows, **options)
    return re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("terminal", [True, False])
def test_every_cell_stands_whole_on_a_line(width, terminal):
    lines = printed(ROWS, width=width, terminal=terminal).splitlines()
    for cell in (*HEADER, *ROWS[0], *ROWS[1]):
        assert any(cell in line for line in lines), cell
    assert not any("…" in line for line in lines)


def test_terminal_that_is_too_narrow_gets_tables_below_each_other_that_fit_and_say_whose_they_are():
    shown = printed(ROWS, terminal=True)
    assert all(len(line.rstrip()) <= 80 for line in shown.splitlines())
    assert shown.count("g0012") > 1
    assert printed(ROWS, width=200, terminal=True).count("g0012") == 1


def test_pipe_gets_columns_in_line_without_rules_or_colours():
    header, *lines = printed(ROWS, width=30, terminal=False, left=(1, 6)).rstrip().splitlines()
    assert len(lines) == 2
    assert header.index("parents") == lines[0].index("expert-coding + ") == lines[1].index("expert-coding")
    assert header.index("mean") + 4 == lines[0].index("27.8") + 4


def test_prose_is_wrapped_between_words_and_an_id_beside_it_is_not():
    why = "the genome of an individual that was not pruned, and that nobody has made again since"
    key = "individuals/g0012/genome.safetensors"
    shown = printed([(key, "missing", why)], width=80, terminal=True, prose=(2,))
    assert key in shown
    assert " ".join(shown.split()).count("genome") >= 2
    assert all(len(line.rstrip()) <= 80 for line in shown.splitlines())
    for word in why.split():
        assert word in shown


def test_what_a_server_says_neither_breaks_a_row_nor_drives_the_terminal():
    for terminal in (True, False):
        shown = printed([("a", "first\nsecond \x1b[31mred")], terminal=terminal)
        assert "first second" in shown
        assert "\x1b[31m" not in shown


def test_table_without_rows_is_its_header():
    stream = io.StringIO()
    print_table(Console(file=stream, width=80, force_terminal=False), HEADER, [])
    assert stream.getvalue().split("\n")[0].startswith("individual  parents")
