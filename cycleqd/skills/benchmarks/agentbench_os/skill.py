"""The skill `agentbench_os`: AgentBench's shell tasks (Liu 2023, https://arxiv.org/abs/2308.03688).

A turn runs commands, gives an answer or finishes, in AgentBench's grammar to the letter: of the lines ``Act: ...``
the last that names an act counts, and ``bash`` runs all ```bash blocks of the turn. Every episode has a container of
its own with one long-lived bash in ``/``. The task's `init` scripts run before it, its `start` in that bash
(`cycleqd.skills.benchmarks.agentbench_os.setup`).

Judged are episodes that end with an answer or ``finish``: by `match` on the answer, or by the steps of `check`,
which run one after the other as processes of the same container, each with the answer and the outputs of the steps
before it as arguments; each must end with status 0. After ``finish`` the answer is the text ``None``, as AgentBench
has it. Unlike there, what the example prints is taken before the agent acts, and a step that would run what the agent
has changed of the image's programs fails.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cycleqd.sandbox import CommandResult, Sandboxes, ShellSession
from cycleqd.skills.benchmarks.agentbench_os.checks import COMPARATORS, answer_of, matches
from cycleqd.skills.benchmarks.agentbench_os.data import IMAGES, Script, find_sets, read_problems
from cycleqd.skills.benchmarks.agentbench_os.setup import CHECK_SECONDS, Prepared, output_of, prepare, run_script
from cycleqd.skills.benchmarks.benchmark import Source, files_sha256, halves, prompt_text, without_excluded
from cycleqd.skills.benchmarks.prompting import conversation
from cycleqd.skills.oracle import Agent
from cycleqd.skills.parsing import LONG_REPLY_CHARS, blocks
from cycleqd.skills.protocol import Message, NoReference, Origin, Sample, SkillSession, Split, Verdict
from cycleqd.skills.suites.os_shell import Act, bash_act
from cycleqd.skills.turns import TurnEpisode

PROMPT: Final = Path(__file__).with_name("prompt.md")
MAX_TURNS: Final = 5
"""As in CycleQD's paper, unless the configuration says otherwise; AgentBench's own configuration allows 8."""
MAX_OUTPUT_CHARS: Final = 800
"""Of a command's output that the model sees, as in AgentBench."""
KEPT_CHARS: Final = 780
"""What is left of a longer one."""
OUTPUT: Final = "{output}"
"""In a gold reply: what the command before it printed."""
FINISH: Final = "Act: finish"
_HEADER: Final = "The output of the OS:\n\n"
_EMPTY: Final = "The output of the OS is empty."


def parse_act(reply: str) -> Act | None:
    """The act of a reply by AgentBench's grammar; None when there is none."""
    text = reply[:LONG_REPLY_CHARS]
    for line in reversed(re.findall(r"Act:\s*(.+)", text)):
        word = line.lower()
        if word.startswith("bash"):
            return Act("bash", "\n\n".join(blocks(text, "```bash\n")))
        if word.startswith("finish"):
            return Act("finish", "")
        first, last = line.find("("), line.rfind(")")
        if word.startswith("answer") and 0 <= first < last:
            return Act("answer", line[first + 1 : last])
    return None


def observation(result: CommandResult) -> str:
    """What the model is told of a command."""
    output = output_of(result) + ("\n[the command timed out]" if result.timed_out else "")
    if len(output) > MAX_OUTPUT_CHARS:
        output = output[:KEPT_CHARS] + "\n[truncated: the output is too long]"
    return _HEADER + output if output else _EMPTY


def command_of(script: Script) -> str:
    """A command that runs a script as an agent would: in bash itself, whose variables it sees, but can't end it."""
    code = shlex.quote(script["code"].replace("\0", ""))
    return f"python3 -c {code}" if script["language"] == "python" else f"(eval {code})"


class AgentBenchOsEpisode(TurnEpisode[Act]):
    """One container, one bash, up to `AgentBenchOsSkill.max_turns` replies.

    Args:
        sample: The sample.
        messages: The conversation so far.
        shell: The container, prepared.
        turns: Replies that the model may give.
        prepared: What came of it. A fault means that the sample is broken; the evaluation goes on.
    """

    def __init__(
        self, sample: Sample, messages: list[Message], shell: ShellSession, turns: int, prepared: Prepared
    ) -> None:
        super().__init__(
            sample,
            messages,
            turns,
            parse=parse_act,
            performed="bash",
            perform=lambda script: observation(shell.run(script)),
        )
        self._shell = shell
        self._prepared = prepared

    def judge(self) -> Verdict:
        """Matches the answer, or runs the check."""
        if self._prepared.fault:
            return Verdict(0.0, f"the sample is broken: {self._prepared.fault}")
        if self._last is None:
            return Verdict(0.0, "no `Act: bash`, `Act: answer(...)` or `Act: finish`")
        if self._last.kind == "bash":
            return Verdict(0.0, "out of turns without answer or finish")
        answer = self._last.text if self._last.kind == "answer" else None
        match = self.sample.data["match"]
        if match is None:
            return self._check(str(answer))
        if answer is None:
            return Verdict(0.0, "finished without an answer")
        (wanted,) = match.values()
        right = matches(answer, match)
        return Verdict(float(right), "the answer is right" if right else f"answered {answer[:80]!r}, not {wanted!r}")

    def close(self) -> None:
        """Removes the container."""
        self._shell.close()

    def _check(self, answer: str) -> Verdict:
        """Runs the steps of the check."""
        arguments = [answer]
        for number, step in enumerate(self.sample.data["check"], start=1):
            if "compare" in step:
                if not COMPARATORS[step["compare"]](arguments[0], arguments[1]):
                    wanted = arguments[1].strip()
                    reason = f"{step['compare']}: answered {answer[:80]!r}, the example gives {wanted[:80]!r}"
                    return Verdict(0.0, reason + _unspeakable(step["compare"], wanted))
                arguments.append("")
                continue
            if "script" in step:
                result = run_script(self._shell, step["script"], arguments, judge=True)
            else:
                early = self._prepared.example
                result = early or run_script(self._shell, self.sample.data["example"], arguments, judge=True)
            if fault := _failure(result):
                return Verdict(0.0, f"step {number} of the check {fault}")
            arguments.append(output_of(result))
        return Verdict(1.0, "every step of the check passes")


class AgentBenchOsSession:
    """Opens a fresh container for every episode."""

    def __init__(self, skill: AgentBenchOsSkill, sandboxes: Sandboxes) -> None:
        self._skill = skill
        self._sandboxes = sandboxes

    def start(self, sample: Sample) -> AgentBenchOsEpisode:
        """Starts a container and prepares it; blocks until the pool has a free one.

        Raises:
            SandboxUnavailable: The container could not be started.
        """
        data = sample.data
        shell = self._sandboxes.shell(image=f"agentbench-{data['image']}")
        try:
            prepared = prepare(shell, data)
        except BaseException:
            shell.close()
            raise
        messages = self._skill.initial_messages(sample)
        return AgentBenchOsEpisode(sample, messages, shell, self._skill.max_turns, prepared)


def _failure(result: CommandResult) -> str:
    """Why a step of a check failed; empty where it passed."""
    if result.changed:
        return f"can't be trusted: {result.changed}"
    if result.timed_out:
        return f"does not end within {CHECK_SECONDS:.0f} s"
    return f"ends with {result.exit_code}: {result.output[:160]!r}" if result.exit_code else ""


def _unspeakable(comparator: str, wanted: str) -> str:
    """Why no answer could have passed where it must hold all of what the example prints; empty if one could."""
    if comparator not in ("string-match", "containing"):
        return ""
    if "\n" in wanted:
        return "; the answer needs more than one line, which the grammar can't say"
    if len(wanted) > MAX_OUTPUT_CHARS:
        return f"; the answer needs more than the {MAX_OUTPUT_CHARS} characters that a model is shown"
    return ""


class ExampleAgent:
    """Replays gold replies; what a command printed takes the place of `OUTPUT` in the reply after it.

    Args:
        replies: The gold replies.
        first_line: Whether the first line of it is enough, as where the answer is looked for in what was printed.
        or_finish: Whether to finish without an answer where nothing was printed.
    """

    def __init__(self, replies: Sequence[str], *, first_line: bool = False, or_finish: bool = False) -> None:
        self._replies = replies
        self._lines = 1 if first_line else None
        self._or_finish = or_finish

    def reply(self, turn: int, messages: Sequence[Message]) -> str:
        """The gold reply; nothing once they are used up."""
        if turn >= len(self._replies):
            return ""
        seen = messages[-1]["content"]
        printed = "" if seen == _EMPTY else seen.removeprefix(_HEADER)
        if self._or_finish and OUTPUT in self._replies[turn] and not printed.strip():
            return FINISH
        return self._replies[turn].replace(OUTPUT, " ".join(printed.strip().split("\n")[: self._lines]))


class AgentBenchOsSkill:
    """AgentBench's shell tasks.

    Args:
        counts: Samples per split; None or absent is the whole half.
        source: The data, the prompt, what to leave out.

    Raises:
        DataUnavailable: The data or the prompt can't be read, or a half has fewer samples than asked for.
    """

    name = "agentbench_os"
    images: tuple[str, ...] = tuple(f"agentbench-{name}" for name in IMAGES)
    max_new_tokens = 512
    stop: tuple[str, ...] = ()

    def __init__(self, *, counts: Mapping[Split, int | None], source: Source) -> None:
        self.max_turns = MAX_TURNS if source.max_turns is None else source.max_turns
        paths = find_sets(source.data, skill=self.name)
        problems, skipped = read_problems(paths)
        kept, excluded = without_excluded(problems, source.excluded)
        self._prompt, prompt = prompt_text(source.prompt_file, PROMPT, turns=self.max_turns)
        conversation(self._prompt, "")
        self._samples = halves(self.name, kept, counts=counts, seed=source.split_seed)
        version = paths[0].stem if len(paths) == 1 else "+".join(sorted({problem.stratum for problem in problems}))
        self.origin = Origin(version, files_sha256(paths), prompt, (*skipped, *excluded))

    def samples(self, split: Split) -> Sequence[Sample]:
        """The samples of a half; `train` has none."""
        return self._samples[split]

    def initial_messages(self, sample: Sample) -> list[Message]:
        """The instructions, one example and the problem."""
        return conversation(self._prompt, sample.data["problem"])

    def gold_replies(self, sample: Sample) -> list[str]:
        """The matching answer; or the example's commands, then what they print (`OUTPUT`).

        Raises:
            NoReference: The data has neither, or the grammar can't say it.
        """
        data = sample.data
        answer = None if data["match"] is None else answer_of(data["match"])
        if answer is not None:
            if parse_act(f"Act: answer({answer})") != Act("answer", answer):
                raise NoReference(f"the grammar can't say the answer {answer[:80]!r}, e.g. more than one line")
            return [f"Act: answer({answer})"]
        if data["example"] is None:
            raise NoReference(
                "the data has only a pattern" if data["match"] else "the data has a check and no example"
            )
        # Two quotes between: the same to bash, but neither the end of the block nor an act.
        command = command_of(data["example"]).replace("`", "`''").replace("Act:", "Act'':")
        reply = bash_act(command)
        if parse_act(reply) != Act("bash", command):
            raise NoReference(f"the example does not fit a reply of {LONG_REPLY_CHARS} characters")
        return [reply, f"Act: answer({OUTPUT})"]

    def gold_agent(self, sample: Sample) -> Agent:
        """The agent of `gold_replies`.

        Raises:
            NoReference: The data has no solution.
        """
        steps = sample.data["check"] or ()
        compared = [step.get("compare") for step in steps]
        # Only a check by scripts alone may be content without an answer.
        or_finish = bool(steps) and all("script" in step for step in steps)
        return ExampleAgent(self.gold_replies(sample), first_line="in" in compared, or_finish=or_finish)

    @contextmanager
    def session(self, sandboxes: Sandboxes) -> Iterator[SkillSession]:
        """Episodes share nothing but the pool of containers."""
        yield AgentBenchOsSession(self, sandboxes)
