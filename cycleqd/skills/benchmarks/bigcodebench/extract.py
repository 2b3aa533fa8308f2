"""Taking the program out of a reply as BigCodeBench does; nothing is executed.

BigCodeBench's ``sanitize.py`` was made from evalplus': it keeps the imports, and of functions, classes and assignments
those that the entry point needs. Unlike evalplus, it also keeps functions without ``return``: many of its entry points
draw a plot or write a file, and give nothing back.
"""

from __future__ import annotations

import types
from typing import Final

from cycleqd.skills.benchmarks.mbpp_plus.data import evalplus_module
from cycleqd.skills.benchmarks.mbpp_plus.extract import longest_run
from cycleqd.skills.parsing import LONG_REPLY_CHARS

_FAULTS: Final = (ValueError, RecursionError, IndexError)
"""Of evalplus' function, at texts that it can't take."""


def solution_of(reply: str, entry_point: str) -> str:
    """The program in a reply; empty where there is none.

    Raises:
        DataUnavailable: evalplus is not installed.
    """
    sanitize = evalplus_module("sanitize")
    surroundings = {
        **vars(sanitize),
        "code_extract": lambda text: text,  # the run of lines is found already
        "has_return_statement": lambda node: True,
    }
    function = sanitize.extract_target_code_or_empty
    kept = types.FunctionType(function.__code__, surroundings, function.__name__, function.__defaults__)
    try:
        return str(kept(longest_run(reply[:LONG_REPLY_CHARS]), entry_point)).strip()
    except _FAULTS:
        return ""
