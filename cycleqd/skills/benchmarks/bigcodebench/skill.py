"""BigCodeBench: write a program that calls libraries; unit tests judge it, in an image that has the libraries.

Zhuo 2024, https://arxiv.org/abs/2406.15877. Calibrated, as published: before a solution stands the problem's own
head with its imports. It is played for reports only, and has one split.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from cycleqd.sandbox import Sandboxes, ShellSession
from cycleqd.skills.benchmarks.benchmark import files_sha256
from cycleqd.skills.benchmarks.bigcodebench import inside
from cycleqd.skills.benchmarks.bigcodebench.data import read
from cycleqd.skills.benchmarks.bigcodebench.extract import solution_of
from cycleqd.skills.protocol import NOTHING_BESIDE, Message, Origin, Sample, SkillSession, Split, Verdict

PLACE: Final = "{problem}"
SECONDS: Final = 241.0
"""For a program with its tests: the package's 240 and one."""
GRACE_SECONDS: Final = 20.0
"""For the script around them."""
MEMORY_MB: Final = 4_096
"""Of a container, in which libraries such as TensorFlow are loaded."""
PIDS: Final = 256

Variant = Literal["complete", "instruct"]


class BigCodeBenchEpisode:
    """One reply, one program, in a container of its own.

    Args:
        sample: The problem.
        messages: What the model is shown.
        shell: The container.
    """

    failed: Mapping[str, float] = NOTHING_BESIDE

    def __init__(self, sample: Sample, messages: list[Message], shell: ShellSession) -> None:
        self.sample = sample
        self.messages = messages
        self._shell = shell
        self._solution = ""

    def act(self, reply: str) -> bool:
        """Takes the program out of the reply; the episode is over."""
        self.messages.append({"role": "assistant", "content": reply})
        self._solution = solution_of(reply, self.sample.data["entry_point"])
        return True

    def judge(self) -> Verdict:
        """Runs the tests with the program."""
        problem = self.sample.data
        if problem["entry_point"] not in self._solution:
            return Verdict(0.0, f"no function {problem['entry_point']} in the reply")
        solution = f"{problem['code_prompt']}\n    pass\n{self._solution}"
        source = Path(inside.__file__).read_text(encoding="utf-8")
        script = f"{source}\nmain({source!r}, {solution!r}, {problem['test']!r}, {SECONDS})\n"
        done = self._shell.script(script, language="python", timeout=SECONDS + GRACE_SECONDS)
        try:
            said = json.loads(done.output.strip().rpartition("\n")[2])
            return Verdict(1.0 if said["passed"] is True else 0.0, str(said["reason"]))
        except (ValueError, LookupError, TypeError):
            return Verdict(0.0, f"no verdict: {done.output.strip()[-160:]!r} (status {done.exit_code})")

    def close(self) -> None:
        """Removes the container."""
        self._shell.close()


class BigCodeBenchSession:
    """Episodes share nothing."""

    def __init__(self, skill: BigCodeBenchSkill, sandboxes: Sandboxes) -> None:
        self._skill = skill
        self._sandboxes = sandboxes

    def start(self, sample: Sample) -> BigCodeBenchEpisode:
        """Opens an episode with its container."""
        shell = self._sandboxes.shell(image=self._skill.image)
        return BigCodeBenchEpisode(sample, self._skill.initial_messages(sample), shell)


class BigCodeBenchSkill:
    """BigCodeBench, complete or instruct.

    Args:
        variant: ``complete`` shows the function's head with its documentation, ``instruct`` the task in words.
        path: The file of problems.
        image: The image that programs run in, as Docker has it.

    Raises:
        DataUnavailable: The file cannot be read.
    """

    max_turns = 1
    max_new_tokens = 1280
    stop: tuple[str, ...] = ()

    def __init__(self, variant: Variant, path: Path, *, image: str) -> None:
        self.name = f"bigcodebench_{variant}"
        self.image = image
        self.images: tuple[str, ...] = (image,)
        self._prompt = Path(__file__).with_name(f"{variant}.txt").read_text(encoding="utf-8").strip()
        self._shown = f"{variant}_prompt"
        self.origin = Origin("BigCodeBench", files_sha256([path]))
        self._samples = tuple(Sample(row["task_id"], self.name, "test", self.name, row) for row in read(path))

    def samples(self, split: Split) -> tuple[Sample, ...]:
        """The problems, all in ``test``."""
        return self._samples if split == "test" else ()

    def initial_messages(self, sample: Sample) -> list[Message]:
        """The problem in its prompt."""
        return [{"role": "user", "content": self._prompt.replace(PLACE, sample.data[self._shown].strip())}]

    def gold_replies(self, sample: Sample) -> list[str]:
        """The reference in a code block."""
        problem = sample.data
        return [f"```python\n{problem['complete_prompt']}\n{problem['canonical_solution']}\n```"]

    @contextmanager
    def session(self, sandboxes: Sandboxes) -> Iterator[SkillSession]:
        """Every episode has a container of its own."""
        yield BigCodeBenchSession(self, sandboxes)
