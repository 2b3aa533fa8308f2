"""The coding skill: write the function that a docstring asks for; hidden calls judge it.

A problem is shown as in MBPP (Austin 2021, https://arxiv.org/abs/2108.07732): a docstring of one sentence and one
assertion. The reply is a Python code block. It runs in a sandbox, which returns the text of each call's value;
values are compared here with those of our own reference, so that nothing the program does can forge a pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from cycleqd.sandbox import ProgramRunner, Sandboxes
from cycleqd.skills.parsing import END_OF_BLOCK, MAX_REPLY_CHARS, LiteralError, fenced_block, read_literal
from cycleqd.skills.protocol import GENERATED, NOTHING_BESIDE, Message, Sample, SkillSession, Split, Verdict
from cycleqd.skills.suites.coding_templates import CODING_TEMPLATES
from cycleqd.skills.suites.generation import SPLITS, draw_split

SYSTEM_PROMPT: Final = "Write the Python function that the docstring asks for. Reply with one ```python code block."
RELATIVE_TOLERANCE: Final = 1e-6
"""Of floats, as usual for problems of this kind."""


def program_of(reply: str) -> str | None:
    """The program in a reply: its first Python code block, or the whole reply where it is bare code."""
    block = fenced_block(reply, ("python", "py", "python3"), cut=True)
    if block is not None:
        return block or None
    bare = reply[:MAX_REPLY_CHARS].strip()
    if not bare.startswith(("def ", "import ", "from ")):
        return None
    return bare.split("\n```", 1)[0].rstrip()  # models forget the opening fence, not the closing one


def same_value(actual: Any, expected: Any) -> bool:
    """Equality of two literals: floats within a relative 1e-6, containers of the same type, no bool for an int."""
    if isinstance(actual, bool) or isinstance(expected, bool):
        return actual is expected
    if isinstance(actual, float) or isinstance(expected, float):
        if not isinstance(actual, int | float) or not isinstance(expected, int | float):
            return False
        try:
            return actual == expected or math.isclose(actual, expected, rel_tol=RELATIVE_TOLERANCE, abs_tol=1e-9)
        except OverflowError:  # an int beyond the floats' range is no float
            return False
    if type(actual) is not type(expected):
        return False
    if isinstance(expected, list | tuple):
        return len(actual) == len(expected) and all(map(same_value, actual, expected))
    if isinstance(expected, dict):
        return actual.keys() == expected.keys() and all(same_value(actual[k], expected[k]) for k in expected)
    return bool(actual == expected)


def same_literal(actual: str | None, expected: str) -> bool:
    """Whether a call's value, as text that a hostile program may have chosen, is the literal `expected`."""
    if actual is None:
        return False
    try:
        return same_value(read_literal(actual), read_literal(expected))
    except (LiteralError, RecursionError):
        return False


class CodingEpisode:
    """One reply, one program, one verdict."""

    def __init__(self, sample: Sample, messages: list[Message], runner: ProgramRunner) -> None:
        self.sample = sample
        self.messages = messages
        self.failed = NOTHING_BESIDE
        self._runner = runner
        self._program: str | None = None

    def act(self, reply: str) -> bool:
        """Takes the program out of the reply; the episode is over."""
        self.messages.append({"role": "assistant", "content": reply})
        self._program = program_of(reply)
        return True

    def judge(self) -> Verdict:
        """Runs the hidden calls; every one must give the expected value."""
        if self._program is None:
            return Verdict(0.0, "no Python code block in the reply")
        data = self.sample.data
        calls: Sequence[str] = data["calls"]
        outcomes = self._runner.run(self._program, entry_point=data["entry_point"], calls=calls)
        for call, outcome, expected in zip(calls, outcomes, data["expected"], strict=True):
            if outcome.error is not None:
                return Verdict(0.0, f"{data['entry_point']}{call[:80]} failed: {outcome.error[:160]}")
            if not same_literal(outcome.value, expected):
                got = (outcome.value or "")[:80]
                return Verdict(0.0, f"{data['entry_point']}{call[:80]} gave {got}, expected {expected[:80]}")
        return Verdict(1.0, f"all {len(calls)} calls gave the expected values")

    def close(self) -> None:
        """The runner belongs to the session."""


class CodingSession:
    """Episodes that share one program runner."""

    def __init__(self, skill: CodingSkill, runner: ProgramRunner) -> None:
        self._skill = skill
        self._runner = runner

    def start(self, sample: Sample) -> CodingEpisode:
        """Opens an episode; never blocks."""
        return CodingEpisode(sample, self._skill.initial_messages(sample), self._runner)


class CodingSkill:
    """The demo suite of the coding skill.

    Args:
        seed: Seed of the suite, at least 0.
        counts: Samples per split; a split that is left out is empty.
    """

    name = "coding"
    images: tuple[str, ...] = ("python",)
    max_turns = 1
    max_new_tokens = 40
    stop: tuple[str, ...] = END_OF_BLOCK
    origin = GENERATED

    def __init__(self, *, seed: int, counts: Mapping[Split, int]) -> None:
        self._samples = {
            split: draw_split(self.name, CODING_TEMPLATES, split, seed=seed, count=counts.get(split, 0))
            for split in SPLITS
        }

    def samples(self, split: Split) -> Sequence[Sample]:
        """The samples of a split."""
        return self._samples[split]

    def initial_messages(self, sample: Sample) -> list[Message]:
        """The docstring with its assertion."""
        problem = f'"""\n{sample.data["task"]}\n{sample.data["assertion"]}\n"""'
        return [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": problem}]

    def gold_replies(self, sample: Sample) -> list[str]:
        """The gold function in a code block."""
        return [f"```python\n{sample.data['gold']}\n```"]

    @contextmanager
    def session(self, sandboxes: Sandboxes) -> Iterator[SkillSession]:
        """Opens one program runner for all episodes."""
        with sandboxes.runner() as runner:
            yield CodingSession(self, runner)
