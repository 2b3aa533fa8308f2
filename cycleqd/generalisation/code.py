"""Benchmarks whose answers are programs: HumanEval+ in our own image, BigCodeBench in its own.

A program runs in a sandbox. HumanEval+ is played as the skill `mbpp_plus` plays MBPP+.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from cycleqd.config import RunConfig
from cycleqd.evaluation.fingerprint import fingerprint
from cycleqd.evaluation.play import evaluate
from cycleqd.evaluation.resources import limits_of, open_sandboxes
from cycleqd.generalisation import local_data
from cycleqd.generalisation.definitions import Benchmark, DataState
from cycleqd.generalisation.scoring import Problem
from cycleqd.generalisation.subjects import Group
from cycleqd.models.causal_lm.protocol import Engine
from cycleqd.run.base_identity import BaseRecord
from cycleqd.run.records import SampleScore
from cycleqd.sandbox import SandboxUnavailable
from cycleqd.sandbox.own_images import OwnImage
from cycleqd.skills.benchmarks.benchmark import DataUnavailable, Source, Whole
from cycleqd.skills.parts import Part
from cycleqd.skills.protocol import Skill

PROMPT: Final = Path(__file__).with_name("benchmarks") / "humaneval_plus.txt"
"""What stands before each problem of HumanEval+."""
AT_A_TIME: Final = 4
"""Containers of BigCodeBench, which may use gigabytes each."""


class _Played(NamedTuple):
    """How a benchmark is played.

    Attributes:
        skill: With all problems in ``test``.
        solved: What a sample's record says in the table, in [0, 1].
        sandbox: Settings of the containers that are raised to these.
        containers: How many may be there at a time, at most; None leaves it to the settings.
    """

    skill: Skill
    solved: Callable[[SampleScore], float]
    sandbox: Mapping[str, int] = {}
    containers: int | None = None


class CodeBenchmark:
    """A benchmark of programs with its data.

    Args:
        benchmark: Its definition.
        limit: Most problems to score; None is all.
        data: A folder with a local copy; None looks in ``CYCLEQD_DATA_DIR``, then downloads.
        image: Of BigCodeBench: the Docker image that programs run in, in place of the published one.

    Raises:
        DataUnavailable: There is no copy and no download, no image, or the evalplus package is missing.
    """

    def __init__(
        self, benchmark: Benchmark, *, limit: int | None = None, data: str | None = None, image: str | None = None
    ) -> None:
        files = local_data.find(benchmark.name, benchmark.local, data)
        if len(files) > 1:
            names = ", ".join(file.name for file in files)
            raise DataUnavailable(f"{files[0].parent} has several files ({names}): leave one of them there")
        local = files[0] if files else None
        self.benchmark = benchmark
        self._played = _bigcodebench(benchmark, local, image) if benchmark.image else _humaneval_plus(benchmark, local)
        self.problems = len(self._played.skill.samples("test"))
        self.n = min(limit or self.problems, self.problems)
        self.source = local.name if local else benchmark.hub or "evalplus"

    @property
    def state(self) -> DataState:
        """Whether all of the benchmark's problems are scored, a part, or a fixture."""
        state = self.benchmark.state(self.problems)
        return "part" if state == "full" and self.n < self.problems else state

    @property
    def _part(self) -> Part:
        return "test" if self.n == self.problems else f"test.0-{self.n}"

    def fingerprint(self, group: Group) -> dict[str, str]:
        """What scores depend on besides the weights."""
        nobody = BaseRecord(name="", base="", tokenizer="", files={})
        parts = fingerprint(
            self._played.skill,
            self._part,
            engine=group.config.engine,
            dtype=group.config.model.dtype,
            live_episodes=1,
            limits=limits_of(self._config(group).sandbox),
            base=group.model or nobody,
        )
        return parts | group.identity | {"data": self._played.skill.origin.sha256, "problems": self._part}

    def score(self, group: Group, engine: Engine, progress: Callable[[int, int], None]) -> list[Problem]:
        """Plays the problems.

        Args:
            group: Whose settings the sandboxes have.
            engine: With the model's weights.
            progress: Is told how many problems are finished, and of how many.
        """
        config = self._config(group)
        with open_sandboxes(config) as sandboxes:
            played = evaluate(
                self._played.skill,
                self._part,
                engine,
                sandboxes,
                batching="throughput",
                live_episodes=config.sandbox.max_containers,
                workers=config.sandbox.workers,
                progress=lambda done: progress(done, self.n),
            )
        return [Problem(sample.id, self._played.solved(sample)) for sample in played.record.samples]

    def _config(self, group: Group) -> RunConfig:
        sandbox = group.config.sandbox
        changed: dict[str, Any] = {
            name: max(value, getattr(sandbox, name)) for name, value in self._played.sandbox.items()
        }
        if self._played.containers is not None:
            changed["max_containers"] = min(self._played.containers, sandbox.max_containers)
        return group.config.model_copy(update={"sandbox": sandbox.model_copy(update=changed)})


def _humaneval_plus(benchmark: Benchmark, local: Path | None) -> _Played:
    """A solution counts when it passes base and plus tests."""
    from cycleqd.skills.benchmarks.mbpp_plus.skill import MbppPlusSkill

    path = local or _from_evalplus(benchmark)
    skill = Whole(MbppPlusSkill(counts={}, source=Source(data=str(path), prompt_file=str(PROMPT))))
    if skill.origin.version != "HumanEval+":
        raise DataUnavailable(f"{path} holds {skill.origin.version}, not HumanEval+")
    return _Played(skill, lambda sample: min(sample.score, sample.extra.get("plus", 0.0)))


def _bigcodebench(benchmark: Benchmark, local: Path | None, image: str | None) -> _Played:
    from cycleqd.skills.benchmarks.bigcodebench import data, skill
    from cycleqd.skills.benchmarks.mbpp_plus.data import evalplus_module

    evalplus_module("sanitize")  # which takes the programs out of the replies
    variant: Literal["complete", "instruct"] = "instruct" if benchmark.name.endswith("instruct") else "complete"
    path = local or data.download()
    own = OwnImage(name=image or benchmark.image)
    try:
        own.ensure()
    except SandboxUnavailable as error:
        raise DataUnavailable(f"its programs want their image (--image names another): {error}") from error
    return _Played(
        skill.BigCodeBenchSkill(variant, path, image=own.tag),
        lambda sample: sample.score,
        {"memory_mb": skill.MEMORY_MB, "pids": skill.PIDS},
        AT_A_TIME,
    )


def _from_evalplus(benchmark: Benchmark) -> Path:
    from cycleqd.skills.benchmarks.mbpp_plus.data import evalplus_module

    module = evalplus_module("data.humaneval")
    try:
        return Path(module._ready_human_eval_plus_path())
    except Exception as error:  # whatever a download library raises
        raise DataUnavailable(
            f"no local copy ({' or '.join(benchmark.local)} in a folder of data), and the download failed ({error})"
        ) from error
