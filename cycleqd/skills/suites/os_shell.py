"""The os skill: answer a question about a Linux system, or change it, through bash.

The form of the conversation follows AgentBench's OS interaction (Liu 2023, https://arxiv.org/abs/2308.03688): each
reply names one act, `bash` with a script, `answer(...)` or `finish`. Every episode has a container of its own.
Questions compare the answer; changes are judged by what a probe, run after the episode, shows of the system.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Literal, NamedTuple

from cycleqd.sandbox import CommandResult, Sandboxes, SandboxUnavailable, ShellSession
from cycleqd.skills.parsing import END_OF_BLOCK, MAX_REPLY_CHARS, fenced_block
from cycleqd.skills.protocol import GENERATED, Message, Sample, SkillSession, Split, Verdict
from cycleqd.skills.suites.generation import SPLITS, draw_split
from cycleqd.skills.suites.os_templates import OS_TEMPLATES
from cycleqd.skills.turns import TurnEpisode

SYSTEM_PROMPT: Final = "Linux: first Act: bash with a ```bash block, then Act: answer(VALUE) or Act: finish."
"""Terse, because every training conversation pays for it; with it every prompt of the skill begins with the same 33
tokens (SmolLM2's), of which vLLM's CPU build shares 32, its smallest block."""
MAX_OUTPUT_CHARS: Final = 800
"""Of a command's output that the model sees, as in AgentBench."""
_MAX_ANSWER_CHARS: Final = 1_000
_SETTLE: Final = "touch -d 2024-01-01T00:00Z / && find /home /root /tmp -exec touch -h -r / {} +"
"""Gives what the set-up made one time: else `ls -l` would show a model when it is played, and no episode repeat."""
HOME: Final = "/root"
"""Where a probe runs."""
_SHELLS: Final = ("bash", "sh", "shell")


class Act(NamedTuple):
    """What a reply asks for.

    Attributes:
        kind: The act.
        text: The script of `bash`, the text of `answer`, else empty.
    """

    kind: Literal["bash", "answer", "finish"]
    text: str


def parse_act(reply: str) -> Act | None:
    """The first act of a reply; None when there is none.

    A block without a line that says `Act: bash` is taken for one: what counts is whether a model can act, and a
    merge loses such a line before it loses the command.
    """
    found = re.search(
        r"^[ \t]*Act(?:ion)?:[ \t]*(bash|finish|answer)\b[ \t]*([^\r\n]*)", reply[:MAX_REPLY_CHARS], re.M | re.I
    )
    if found is None:
        script = fenced_block(reply, _SHELLS, cut=True)
        return Act("bash", script) if script else None
    kind = found[1].lower()
    if kind == "finish":
        return Act("finish", "")
    if kind == "bash":
        script = fenced_block(reply[found.end() :], _SHELLS, cut=True)
        return Act("bash", script) if script else None
    inside = re.fullmatch(r"\((.*)\)[ \t.]*", found[2])
    if inside is None or len(inside[1]) > _MAX_ANSWER_CHARS:
        return None
    answer = inside[1].strip()
    if len(answer) >= 2 and answer[0] == answer[-1] and answer[0] in "\"'`":
        answer = answer[1:-1].strip()
    return Act("answer", answer)


def bash_act(script: str) -> str:
    """The reply that runs a script."""
    return f"Act: bash\n```bash\n{script}\n```"


def same_answer(actual: str, expected: str) -> bool:
    """Integers are compared as integers, everything else as stripped text."""
    if re.fullmatch(r"-?[0-9]+", expected):
        return re.fullmatch(r"[+-]?[0-9]{1,30}", actual.strip()) is not None and int(actual) == int(expected)
    return actual.strip() == expected.strip()


def same_output(actual: str, expected: str) -> bool:
    """Equality of texts but for the space at the ends of lines and of the text."""
    return [x.rstrip() for x in actual.strip().splitlines()] == [x.rstrip() for x in expected.strip().splitlines()]


def observation(result: CommandResult) -> str:
    """What the model is told of a command."""
    if result.timed_out:
        return "The command timed out."
    output = result.output.strip("\n")
    if not output.strip():
        return "Output of the OS: (empty)"
    if len(output) > MAX_OUTPUT_CHARS:
        output = output[:MAX_OUTPUT_CHARS] + "\n[truncated]"
    return f"Output of the OS:\n{output}"


class OsEpisode(TurnEpisode[Act]):
    """One container, one bash, up to `OsSkill.max_turns` replies."""

    def __init__(self, sample: Sample, messages: list[Message], shell: ShellSession, max_turns: int) -> None:
        super().__init__(
            sample,
            messages,
            max_turns,
            parse=parse_act,
            performed="bash",
            perform=lambda script: observation(shell.run(script)),
        )
        self._shell = shell

    def judge(self) -> Verdict:
        """Compares the answer; or what the probe shows, however the episode ended."""
        data = self.sample.data
        if data["kind"] == "question":
            if self._last is None:
                return Verdict(0.0, "neither a ```bash block nor `Act: answer(...)`")
            if self._last.kind != "answer":
                return Verdict(0.0, "no answer was given")
            if same_answer(self._last.text, data["answer"]):
                return Verdict(1.0, "the answer is right")
            return Verdict(0.0, f"answered {self._last.text[:80]!r}, expected {data['answer']!r}")
        shown = self._shell.judge(data["probe"], directory=HOME)
        if shown.changed:
            return Verdict(0.0, f"the judge can't use this system any more: {shown.changed}")
        if shown.timed_out or not same_output(shown.output, data["expected"]):
            wanted = data["expected"].strip()[:120]
            return Verdict(0.0, f"the system shows {shown.output.strip()[:120]!r}, expected {wanted!r}")
        return Verdict(1.0, "the system is in the wanted state")

    def close(self) -> None:
        """Removes the container."""
        self._shell.close()


class OsSession:
    """Opens a fresh container for every episode."""

    def __init__(self, skill: OsSkill, sandboxes: Sandboxes) -> None:
        self._skill = skill
        self._sandboxes = sandboxes

    def start(self, sample: Sample) -> OsEpisode:
        """Starts a container and lays out the sample's files; blocks until the pool has a free one.

        Raises:
            SandboxUnavailable: The container could not be started or prepared.
        """
        shell = self._sandboxes.shell()
        try:
            for script in (sample.data["setup"], _SETTLE):
                prepared = shell.run(script)
                if prepared.exit_code != 0 or prepared.timed_out:
                    raise SandboxUnavailable(f"set-up of {sample.id} failed: {prepared.output[:400]}")
            shell.seal()
        except BaseException:
            shell.close()
            raise
        return OsEpisode(sample, self._skill.initial_messages(sample), shell, self._skill.max_turns)


class OsSkill:
    """The demo suite of the os skill.

    Args:
        seed: Seed of the suite, at least 0.
        counts: Samples per split; a split that is left out is empty.
    """

    name = "os"
    images: tuple[str, ...] = ("shell",)
    max_turns = 2
    max_new_tokens = 40
    stop: tuple[str, ...] = END_OF_BLOCK
    origin = GENERATED

    def __init__(self, *, seed: int, counts: Mapping[Split, int]) -> None:
        self._samples = {
            split: draw_split(self.name, OS_TEMPLATES, split, seed=seed, count=counts.get(split, 0))
            for split in SPLITS
        }

    def samples(self, split: Split) -> Sequence[Sample]:
        """The samples of a split."""
        return self._samples[split]

    def initial_messages(self, sample: Sample) -> list[Message]:
        """The rules and the problem."""
        return [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": sample.data["task"]}]

    def gold_replies(self, sample: Sample) -> list[str]:
        """The gold command, then the answer or `finish`."""
        data = sample.data
        last = f"Act: answer({data['answer']})" if data["kind"] == "question" else "Act: finish"
        return [bash_act(data["gold"]), last]

    @contextmanager
    def session(self, sandboxes: Sandboxes) -> Iterator[SkillSession]:
        """Episodes share nothing but the pool of containers."""
        yield OsSession(self, sandboxes)
