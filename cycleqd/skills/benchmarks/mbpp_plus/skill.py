"""The mbpp_plus skill: write the function that MBPP asks for; MBPP's tests and evalplus' further ones judge it.

MBPP: Austin 2021, https://arxiv.org/abs/2108.07732. MBPP+: Liu 2023, https://arxiv.org/abs/2305.01210. The score is
pass@1 on the base tests, the CycleQD paper's metric; whether the solution passes the plus tests, too, is recorded
beside it. Every result carries the data's version and hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cycleqd.sandbox import ProgramRunner, Sandboxes
from cycleqd.skills.benchmarks.benchmark import Source, halves, prompt_text
from cycleqd.skills.benchmarks.mbpp_plus.check import INSIDE, Outcome, References, check
from cycleqd.skills.benchmarks.mbpp_plus.data import Task, read_records
from cycleqd.skills.benchmarks.mbpp_plus.extract import solution_of
from cycleqd.skills.protocol import NOTHING_BESIDE, Message, Origin, Sample, SkillSession, Split, Verdict

PROMPT: Final = Path(__file__).with_name("prompt.txt")
PLACE: Final = "{problem}"
"""Where a prompt wants the problem's text; without it the problem follows the prompt."""
IMAGE: Final = "evalplus"
MEMORY_MB: Final = 4_096
"""Of a solution, as in evalplus: some references build lists of millions of tuples. Next to none comes near it."""


class MbppPlusEpisode:
    """One reply, one program, two verdicts."""

    def __init__(self, sample: Sample, messages: list[Message], session: MbppPlusSession) -> None:
        self.sample = sample
        self.messages = messages
        self.failed = {"plus": 0.0} if session.has_plus(sample) else NOTHING_BESIDE
        self._session = session
        self._solution = ""

    def act(self, reply: str) -> bool:
        """Takes the program out of the reply; the episode is over."""
        self.messages.append({"role": "assistant", "content": reply})
        self._solution = solution_of(reply, self.sample.data["entry_point"])
        return True

    def judge(self) -> Verdict:
        """Runs the base tests, and the plus tests of what passes them."""
        if self.sample.data["entry_point"] not in self._solution:
            # Else any text that happens to be valid Python would cost a process.
            return Verdict(0.0, f"no function {self.sample.data['entry_point']} in the reply", self.failed)
        base = self._session.check(self.sample, "base", self._solution)
        if not base.passed:
            return Verdict(0.0, f"base fail: {base.reason}", self.failed)
        if not self.failed:
            return Verdict(1.0, f"pass ({base.reason})")
        plus = self._session.check(self.sample, "plus", self._solution)
        if not plus.passed:
            return Verdict(1.0, f"base pass ({base.reason}), plus fail: {plus.reason}", {"plus": 0.0})
        return Verdict(1.0, f"base pass ({base.reason}), plus pass ({plus.reason})", {"plus": 1.0})

    def close(self) -> None:
        """The runner belongs to the session."""


class MbppPlusSession:
    """Episodes that share one program runner."""

    def __init__(self, skill: MbppPlusSkill, runner: ProgramRunner) -> None:
        self._skill = skill
        self._runner = runner

    def start(self, sample: Sample) -> MbppPlusEpisode:
        """Opens an episode; never blocks."""
        return MbppPlusEpisode(sample, self._skill.initial_messages(sample), self)

    def has_plus(self, sample: Sample) -> bool:
        """Whether there are plus tests."""
        return "plus" in self._skill.tasks[sample.id].inputs

    def check(self, sample: Sample, suite: str, solution: str) -> Outcome:
        """See `cycleqd.skills.benchmarks.mbpp_plus.check.check`."""
        return check(self._skill.tasks[sample.id], suite, solution, self._skill.references, self._runner)


class MbppPlusSkill:
    """MBPP+.

    Args:
        counts: Samples per split; None or absent is the whole half.
        source: Where the data lies.

    Raises:
        DataUnavailable: There is no data, or the evalplus package is missing.
        ValueError: The data has fewer samples than asked for.
    """

    name = "mbpp_plus"
    images: tuple[str, ...] = (IMAGE,)
    max_turns = 1
    max_new_tokens = 512
    stop: tuple[str, ...] = ()

    def __init__(self, *, counts: Mapping[Split, int | None], source: Source) -> None:
        records = read_records(source)
        self._prompt, prompt_name = prompt_text(source.prompt_file, PROMPT)
        self.tasks: dict[str, Task] = records.tasks
        self.references = References()
        self.origin = Origin(records.version, records.sha256, prompt_name, records.skipped)
        self._samples = halves(self.name, records.problems, counts=counts, seed=source.split_seed)

    def samples(self, split: Split) -> Sequence[Sample]:
        """The samples of a split."""
        return self._samples[split]

    def initial_messages(self, sample: Sample) -> list[Message]:
        """The problem in its prompt."""
        problem = sample.data["prompt"].strip()
        text = self._prompt.strip()
        shown = text.replace(PLACE, problem) if PLACE in text else f"{text}\n\n{problem}"
        return [{"role": "user", "content": shown}]

    def gold_replies(self, sample: Sample) -> list[str]:
        """The canonical solution in a code block."""
        return [f"```python\n{self.tasks[sample.id].reference.strip()}\n```"]

    @contextmanager
    def session(self, sandboxes: Sandboxes) -> Iterator[SkillSession]:
        """Opens one program runner for all episodes."""
        with sandboxes.runner(image=IMAGE, memory_mb=MEMORY_MB, modules=INSIDE) as runner:
            yield MbppPlusSession(self, runner)
