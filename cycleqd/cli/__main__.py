"""`python -m cycleqd.cli` is `cycleqd`, by the interpreter that one names."""

from cycleqd.cli import app

app(prog_name="cycleqd")
