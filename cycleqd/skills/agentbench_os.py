"""The skill `agentbench_os`: AgentBench's shell tasks (Liu 2023, https://arxiv.org/abs/2308.03688).

A turn runs commands, gives an answer or finishes, in AgentBench's grammar to the letter: of the lines ``Act: ...``
the last that names an act counts, and ``bash`` runs all ```bash blocks of the turn. Every episode has a container of
its own with one long-lived bash in ``/``. The task's `init` scripts run before it, its `start` in the background.

Judged are episodes that end with an answer or ``finish``: by `match` on the answer, or by the steps of `check`,
which run one after the other in a fresh bash of the same container, each with the answer and the outputs of the steps
before it as arguments; each must end with status 0. After ``finish`` the answer is the text ``None``, as AgentBench
has it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cycleqd.sandbox import CommandResult, Sandboxes, ShellSession
from cycleqd.skills.agentbench_os_checks import COMPARATORS, MAX_ANSWER_CHARS, answer_of, matches
from cycleqd.skills.agentbench_os_data import FILES, Script, read_problems
from cycleqd.skills.benchmark import Source, files_sha256, halves, locate, prompt_text, without_excluded
from cycleqd.skills.oracle import Agent
from cycleqd.skills.os_shell import Act, bash_act
from cycleqd.skills.parsing import MAX_REPLY_CHARS
from cycleqd.skills.prompting import conversation
from cycleqd.skills.protocol import Message, NoReference, Origin, Sample, SkillSession, Split, Verdict
from cycleqd.skills.turns import TurnEpisode

PROMPT: Final = Path(__file__).parent / "prompts" / "agentbench_os.md"
MAX_OUTPUT_CHARS: Final = 800
"""Of a command's output that the model sees, as in AgentBench."""
KEPT_CHARS: Final = 780
"""What is left of a longer one."""
SETUP_SECONDS: Final = 60.0
"""For all scripts of `init` together."""
OUTPUT: Final = "{output}"
"""In a gold reply: what the command before it printed."""
_HEADER: Final = "The output of the OS:\n\n"
_GUEST: Final = re.compile(r"^[^\n]*/proc/1/[^\n]*: Permission denied\n", re.M)
_INTERPRETERS: Final = {"bash": ("bash", "-c"), "python": ("python3", "-c")}


def parse_act(reply: str) -> Act | None:
    """The act of a reply by AgentBench's grammar; None when there is none."""
    text = reply[:MAX_REPLY_CHARS]
    for line in reversed(re.findall(r"Act:\s*(.+)", text)):
        word = line.lower()
        if word.startswith("bash"):
            return Act("bash", "\n\n".join(re.findall(r"```bash\n(.*?)\n```", text, re.DOTALL)))
        if word.startswith("finish"):
            return Act("finish", "")
        inside = re.search(r"\((.*)\)", line) if word.startswith("answer") else None
        if inside is not None:
            return Act("answer", inside[1])
    return None


def output_of(result: CommandResult) -> str:
    """What a command printed, without complaints about the container's first process.

    That process is the sandbox's own and can't be looked into. In AgentBench's containers ``find /`` has nothing to
    complain about, and examples that search everything would print something else here.
    """
    return _GUEST.sub("", result.output)


def observation(result: CommandResult) -> str:
    """What the model is told of a command."""
    output = output_of(result) + ("\n[the command timed out]" if result.timed_out else "")
    if len(output) > MAX_OUTPUT_CHARS:
        output = output[:KEPT_CHARS] + "\n[truncated: the output is too long]"
    return _HEADER + output if output else "The output of the OS is empty."


def command_of(script: Script, arguments: Sequence[str] = ()) -> str:
    """A command that runs a script in a process of its own, in ``/``, without input."""
    # bash -c takes its own name first.
    name = ("--",) if script["language"] == "bash" and arguments else ()
    words = (*_INTERPRETERS[script["language"]], script["code"], *name, *arguments)
    return f"(cd /; exec {shlex.join(word.replace(chr(0), '') for word in words)}) </dev/null"


class AgentBenchOsEpisode(TurnEpisode[Act]):
    """One container, one bash, up to five replies."""

    def __init__(self, sample: Sample, messages: list[Message], shell: ShellSession, turns: int) -> None:
        super().__init__(
            sample,
            messages,
            turns,
            parse=parse_act,
            performed="bash",
            perform=lambda script: observation(shell.run(script)),
        )
        self._shell = shell

    def judge(self) -> Verdict:
        """Matches the answer, or runs the check."""
        if self._last is None:
            return Verdict(0.0, "no `Act: bash`, `Act: answer(...)` or `Act: finish`")
        if self._last.kind == "bash":
            return Verdict(0.0, "out of turns without answer or finish")
        answer = self._last.text if self._last.kind == "answer" else None
        match = self.sample.data["match"]
        if match is None:
            return self._check(str(answer)[:MAX_ANSWER_CHARS])
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
                    wanted = arguments[1].strip()[:80]
                    return Verdict(0.0, f"{step['compare']}: answered {answer[:80]!r}, the example gives {wanted!r}")
                arguments.append("")
                continue
            script = step["script"] if "script" in step else self.sample.data["example"]
            # A fresh bash: nothing that the episode defined in its own stands in for a command.
            result = self._shell.run(command_of(script, arguments), fresh=True)
            if result.exit_code != 0:
                return Verdict(
                    0.0, f"step {number} of the check ends with {result.exit_code}: {result.output[:160]!r}"
                )
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
            # How `init` ends does not matter to AgentBench either: some of its scripts end in error and still work.
            commands = [command_of(script) for script in data["init"]]
            commands.append("cd /")
            if data["start"] is not None:
                commands.append(f"{command_of(data['start'])} >/dev/null 2>&1 & disown")
            shell.run("\n".join(commands), timeout=SETUP_SECONDS)
        except BaseException:
            shell.close()
            raise
        return AgentBenchOsEpisode(sample, self._skill.initial_messages(sample), shell, self._skill.max_turns)


class ExampleAgent:
    """Replays gold replies; what a command printed takes the place of `OUTPUT` in the reply after it."""

    def __init__(self, replies: Sequence[str]) -> None:
        self._replies = replies

    def reply(self, turn: int, messages: Sequence[Message]) -> str:
        """The gold reply; nothing once they are used up."""
        if turn >= len(self._replies):
            return ""
        seen = messages[-1]["content"].removeprefix(_HEADER)
        return self._replies[turn].replace(OUTPUT, " ".join(seen.split("\n")).strip())


class AgentBenchOsSkill:
    """AgentBench's shell tasks.

    Args:
        counts: Samples per split; None or absent is the whole half.
        source: The data, the prompt, what to leave out.

    Raises:
        DataUnavailable: The data or the prompt can't be read, or a half has fewer samples than asked for.
    """

    name = "agentbench_os"
    max_turns = 5
    max_new_tokens = 512
    stop: tuple[str, ...] = ()

    def __init__(self, *, counts: Mapping[Split, int | None], source: Source) -> None:
        paths = locate(source.data, FILES, skill=self.name)
        problems, skipped = read_problems(paths)
        kept, excluded = without_excluded(problems, source.excluded)
        self._prompt, prompt = prompt_text(source.prompt_file, PROMPT)
        conversation(self._prompt, "")
        self._samples = halves(self.name, kept, counts=counts, seed=source.split_seed)
        version = paths[0].stem if len(paths) == 1 else "standard"
        self.origin = Origin(version, files_sha256(paths), prompt, (*skipped, *excluded))

    def samples(self, split: Split) -> Sequence[Sample]:
        """The samples of a half; `train` has none."""
        return self._samples[split]

    def initial_messages(self, sample: Sample) -> list[Message]:
        """The instructions, one example and the problem."""
        return conversation(self._prompt, sample.data["problem"])

    def gold_replies(self, sample: Sample) -> list[str]:
        """The matching answer; or the example's commands, then what they print (`OUTPUT`) or `finish`.

        Raises:
            NoReference: The data has neither.
        """
        data = sample.data
        if data["match"] is not None:
            answer = answer_of(data["match"])
            if answer is None:
                raise NoReference("no reference answer: the data has only a pattern")
            return [f"Act: answer({answer})"]
        if data["example"] is None:
            raise NoReference("no reference solution: the data has a check and no example")
        answers = any("example" in step for step in data["check"])
        return [bash_act(command_of(data["example"])), f"Act: answer({OUTPUT})" if answers else "Act: finish"]

    def gold_agent(self, sample: Sample) -> Agent:
        """The agent of `gold_replies`.

        Raises:
            NoReference: The data has no solution.
        """
        return ExampleAgent(self.gold_replies(sample))

    @contextmanager
    def session(self, sandboxes: Sandboxes) -> Iterator[SkillSession]:
        """Episodes share nothing but the pool of containers."""
        yield AgentBenchOsSession(self, sandboxes)
