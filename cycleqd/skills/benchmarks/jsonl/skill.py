"""The jsonl skill: a user's own problems, one JSON object a line with prompt, answer and scorer.

One reply is one attempt. Programs run in the sandbox; other replies are compared here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

from cycleqd.sandbox import ProgramRunner, Sandboxes
from cycleqd.skills.benchmarks.benchmark import Source, halves, prompt_text
from cycleqd.skills.benchmarks.jsonl.data import read_records
from cycleqd.skills.benchmarks.jsonl.scorers import SCORERS
from cycleqd.skills.benchmarks.prompting import conversation
from cycleqd.skills.parsing import LONG_REPLY_CHARS
from cycleqd.skills.protocol import NOTHING_BESIDE, Message, Origin, Sample, SkillSession, Split, Verdict
from cycleqd.skills.suites.coding import program_of, same_literal

PROMPT: Final = Path(__file__).with_name("prompt.txt")


def _program_verdict(reply: str, sample: Sample, runner: ProgramRunner) -> Verdict:
    """Runs the tests' calls; every one must give the expected value."""
    data, program = sample.data, program_of(reply)
    if program is None:
        return Verdict(0.0, "no Python code block in the reply")
    outcomes = runner.run(program, entry_point=data["entry_point"], calls=data["calls"])
    for call, outcome, expected in zip(data["calls"], outcomes, data["expected"], strict=True):
        said = f"{data['entry_point']}{call[:80]}"
        if outcome.error is not None:
            return Verdict(0.0, f"{said} failed: {outcome.error[:160]}")
        if not same_literal(outcome.value, expected):
            return Verdict(0.0, f"{said} gave {(outcome.value or '')[:80]}, expected {expected[:80]}")
    return Verdict(1.0, f"all {len(outcomes)} tests passed")


class JsonlEpisode:
    """One reply, one verdict."""

    def __init__(self, sample: Sample, messages: list[Message], runner: ProgramRunner | None) -> None:
        self.sample = sample
        self.messages = messages
        self.failed = NOTHING_BESIDE
        self._runner = runner
        self._reply = ""

    def act(self, reply: str) -> bool:
        """Takes the reply; the episode is over."""
        self.messages.append({"role": "assistant", "content": reply})
        self._reply = reply[:LONG_REPLY_CHARS]
        return True

    def judge(self) -> Verdict:
        """What the row's scorer says."""
        judge = SCORERS[self.sample.data["scorer"]].judge
        if judge is not None:
            return judge(self._reply, self.sample.data)
        if self._runner is None:
            raise RuntimeError("a row with tests needs a program runner")
        return _program_verdict(self._reply, self.sample, self._runner)

    def close(self) -> None:
        """The runner belongs to the session."""


class JsonlSession:
    """Episodes that share a program runner, where any row has tests."""

    def __init__(self, skill: JsonlSkill, runner: ProgramRunner | None) -> None:
        self._skill = skill
        self._runner = runner

    def start(self, sample: Sample) -> JsonlEpisode:
        """Opens an episode; never blocks."""
        return JsonlEpisode(sample, self._skill.initial_messages(sample), self._runner)


class JsonlSkill:
    """Problems of a user's file.

    Args:
        counts: Samples per split; None or absent is the whole half.
        source: Where the file lies.
        name: What the skill is called, where a run has several such files.

    Raises:
        DataUnavailable: There is no such file, or rows of it cannot be used.
        ValueError: The file has fewer problems than asked for.
    """

    name = "jsonl"
    images: tuple[str, ...] = ("python",)
    max_turns = 1
    max_new_tokens = 512
    stop: tuple[str, ...] = ()

    def __init__(self, *, counts: Mapping[Split, int | None], source: Source, name: str = "jsonl") -> None:
        self.name = name
        records = read_records(source, name)
        self._template, prompt_name = prompt_text(source.prompt_file, PROMPT)
        self.origin = Origin(records.version, records.sha256, prompt_name, records.skipped)
        self._samples = halves(name, records.problems, counts=counts, seed=source.split_seed)
        self._runs_programs = any(problem.data["scorer"] == "python" for problem in records.problems)

    def samples(self, split: Split) -> Sequence[Sample]:
        """The samples of a split."""
        return self._samples[split]

    def initial_messages(self, sample: Sample) -> list[Message]:
        """The row's system text where it has one, and its prompt."""
        shown = conversation(self._template, sample.data["prompt"])
        system = sample.data.get("system")
        return [{"role": "system", "content": system}, *shown] if system else shown

    def gold_replies(self, sample: Sample) -> list[str]:
        """The row's answer.

        Raises:
            NoReference: The row has none that is a reply.
        """
        return [SCORERS[sample.data["scorer"]].gold(sample.data)]

    @contextmanager
    def session(self, sandboxes: Sandboxes) -> Iterator[SkillSession]:
        """Opens a program runner where a row has tests."""
        with sandboxes.runner() if self._runs_programs else nullcontext() as runner:
            yield JsonlSession(self, runner)


CHEATS: Final[Mapping[str, Callable[[Sample], str]]] = {
    "lists letters and numbers": lambda _: " ".join([*"ABCDEFGHIJKLMNOPQRSTUVWXYZ", *map(str, range(100))]),
    "says that it is right": lambda _: "```python\nassert True\n```\nThe answer is correct.",
}
