"""What is taken out of a reply. Nothing is executed."""

import pytest

from cycleqd.skills.benchmarks.bigcodebench.extract import solution_of

WRITES = """import sqlite3

TABLE = "a"

class Column:
    name = "b"

def helper(table):
    return f"create table {table}({Column.name})"

def closing(connection):
    connection.close()

def task_func(db):
    connection = sqlite3.connect(db)
    connection.execute(helper(TABLE))
    closing(connection)"""


def test_an_entry_point_without_return_is_kept_with_all_that_it_needs():
    reply = f"Here is the program:\n```python\n{WRITES}\n\ndef unused(x):\n    return x\n\ntask_func('x')\n```"
    kept = solution_of(reply, "task_func")
    assert kept.split() == WRITES.split()


def test_an_entry_point_with_return_is_kept_with_helpers_that_have_none():
    program = "def numbers():\n    yield 1\ndef task_func():\n    return list(numbers())"
    assert solution_of(f"```\n{program}\n```", "task_func") == program


@pytest.mark.parametrize("reply", ["", "I cannot.", "import os", "\ud800"])
def test_a_reply_without_the_function_holds_no_program(reply):
    assert "task_func" not in solution_of(reply, "task_func")
