"""Taking the program out of a reply as evalplus does; nothing is executed.

evalplus' ``sanitize.py`` 0.3.1 takes the longest run of lines that is valid Python, tries every pair of a first and a
last line for it, and keeps what the entry point needs: imports, and functions with ``return``, classes and
assignments that it refers to. Here the same run is found in about linear time, so that long replies need not be cut.
"""

from __future__ import annotations

import ast
import types
from enum import Enum, auto
from typing import Final, TypeGuard

from cycleqd.skills.benchmarks.mbpp_plus.data import evalplus_module
from cycleqd.skills.parsing import LONG_REPLY_CHARS, alone

ALLOW_INCOMPLETE: Final = 0x4000
"""PyCF_ALLOW_INCOMPLETE_INPUT (`codeop`): tells texts that more lines may complete from those that none can."""
WORK: Final = 4_000_000
"""Characters that are parsed for one reply, a second or two; after that, the best run so far stands."""

LEAST_WORK: Final = 50
"""What a text costs beside its characters."""

_FAULTS: Final = (SyntaxError, ValueError, RecursionError, MemoryError)


class _Kind(Enum):
    """What lines are: a whole, the beginning of one, or neither, whatever follows."""

    VALID = auto()
    INCOMPLETE = auto()
    HOPELESS = auto()


def solution_of(reply: str, entry_point: str) -> str:
    """The program in a reply, as evalplus extracts it; nothing is executed.

    evalplus drops every function that has no ``return``, generators included, even where the entry point calls it
    (the canonical solution of Mbpp/630 is lost that way); such functions are put back.

    Raises:
        DataUnavailable: evalplus is not installed.
    """
    run = longest_run(reply[:LONG_REPLY_CHARS])
    try:
        return _with_helpers(_sanitized(run, entry_point), run)
    except (*_FAULTS, IndexError):  # texts that the parsers can't take
        return ""


def longest_run(text: str) -> str:
    """The lines, at least two, that are valid Python together and the most that are not blank; the first of several.

    The first line alone where no lines are.
    """
    return _Runs(text.split("\n")).longest()


class _Runs:
    """Valid runs of lines, found from the last line to the first.

    A run is statements one after another, and what follows a statement is valid or not whatever stands before it. So
    for each line it is enough to know where its own statement ends, and which run is the best after that.
    """

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.work = WORK
        self.filled = [0]
        for line in lines:
            self.filled.append(self.filled[-1] + bool(line.strip()))

    def longest(self) -> str:
        """See `longest_run`."""
        most, best = 0, (0, 0)
        ends: list[int | None] = [None] * (len(self.lines) + 1)
        """The last line of the best run from each line on."""
        for first in range(len(self.lines) - 1, -1, -1):
            end = self._statement_end(first)
            if end is None:
                continue
            further = ends[end + 1]
            ends[first] = end = end if further is None else further
            if self._count(first, end) >= max(1, most):
                most, best = self._count(first, end), (first, end)
        if most >= 2:
            return "\n".join(self.lines[best[0] : best[1] + 1])
        for first in range(len(self.lines) - 1):  # one filled line beside a blank one is a pair, too
            if self._count(first, first + 1) == 1 and self._kind(first, first + 1) is _Kind.VALID:
                return "\n".join(self.lines[first : first + 2])
        return self.lines[0]

    def _count(self, first: int, end: int) -> int:
        return self.filled[end + 1] - self.filled[first]

    def _statement_end(self, first: int) -> int | None:
        """The last line of the longest valid statement that begins at a line; lines of its kind are its own, too."""
        kind = self._kind(first, first)
        if kind is _Kind.HOPELESS:
            return None
        if not self._begins_statement(first):
            return first
        valid, tried = (first if kind is _Kind.VALID else None), first
        while tried + 1 < len(self.lines):
            if valid == tried and self._begins_statement(tried + 1) and not self._continues(tried + 1):
                return valid
            end = self._before_margin(tried + 1)
            kind = self._kind(first, end)
            if kind is _Kind.HOPELESS:
                return self._last_valid(first, self._first_hopeless(first, tried + 1, end) - 1, valid)
            valid, tried = (end if kind is _Kind.VALID else valid), end
        return valid if valid == tried else self._last_valid(first, tried - 1, valid)

    def _begins_statement(self, number: int) -> bool:
        """Whether a line is neither blank nor indented nor a comment."""
        line = self.lines[number]
        return bool(line.strip()) and line[0] not in " \t\f#"

    def _continues(self, number: int) -> bool:
        """Whether a line at the margin may be a further part of the statement before it."""
        return self.lines[number].startswith(("else", "elif", "except", "finally"))

    def _before_margin(self, start: int) -> int:
        """The first line from `start` on that stands before a statement at the margin, or the last line."""
        for end in range(start, len(self.lines) - 1):
            if self._begins_statement(end + 1):
                return end
        return len(self.lines) - 1

    def _first_hopeless(self, first: int, low: int, high: int) -> int:
        """The first line that makes a text hopeless; up to `high` it is."""
        while low < high:
            middle = (low + high) // 2
            if self._kind(first, middle) is _Kind.HOPELESS:
                high = middle
            else:
                low = middle + 1
        return low

    def _last_valid(self, first: int, high: int, known: int | None) -> int | None:
        """The last line up to `high` that makes a valid text, looked for behind one that is known to."""
        for end in range(high, first if known is None else known, -1):
            if self._kind(first, end) is _Kind.VALID:
                return end
        return known

    def _kind(self, first: int, end: int) -> _Kind:
        text = "\n".join(self.lines[first : end + 1])
        self.work -= len(text) + LEAST_WORK
        if self.work < 0:
            return _Kind.HOPELESS
        try:
            alone(lambda: compile(text, "<reply>", "exec", ast.PyCF_ONLY_AST | ALLOW_INCOMPLETE, dont_inherit=True))
        except SyntaxError as error:
            return _Kind.INCOMPLETE if "incomplete input" in str(error) else _Kind.HOPELESS
        except _FAULTS:
            return _Kind.HOPELESS
        return _Kind.VALID


def _sanitized(run: str, entry_point: str) -> str:
    """What evalplus keeps of a valid run of lines.

    evalplus' own functions, but for the search of the run, which is done.
    """
    surroundings = {**vars(evalplus_module("sanitize")), "code_extract": lambda text: text}
    for name in ("extract_target_code_or_empty", "sanitize"):
        function = surroundings[name]
        surroundings[name] = types.FunctionType(function.__code__, surroundings, name, function.__defaults__)
    return str(surroundings["sanitize"](run, entry_point))


def _with_helpers(kept: str, run: str) -> str:
    """Puts functions without ``return`` back that what was kept refers to.

    Functions with decorators stay away, with ``return`` or without, as in evalplus.
    """
    try:
        functions = {node.name: node for node in _parsed(run).body if _is_dropped(node)}
        tree = _parsed(kept)
    except _FAULTS:
        return kept
    present = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    wanted, referring = [], list(tree.body)
    for node in referring:  # grows while it is read: what was put back may refer to more
        names = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
        for name in [name for name in functions if name in names and name not in present]:
            present.add(name)
            referring.append(functions[name])
            wanted.append(ast.get_source_segment(run, functions[name]) or "")
    return "\n".join([kept, *wanted])


def _is_dropped(node: ast.stmt) -> TypeGuard[ast.FunctionDef]:
    """Whether evalplus drops a function for want of a ``return`` in it."""
    return (
        isinstance(node, ast.FunctionDef)
        and not node.decorator_list
        and not any(isinstance(inner, ast.Return) for inner in ast.walk(node))
    )


def _parsed(text: str) -> ast.Module:
    return alone(lambda: ast.parse(text))
