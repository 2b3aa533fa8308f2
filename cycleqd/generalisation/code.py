"""HumanEval+, as the skill `mbpp_plus` plays MBPP+: the solution runs in the sandbox, evalplus' rules judge it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from cycleqd.evaluation.fingerprint import fingerprint
from cycleqd.evaluation.play import evaluate
from cycleqd.evaluation.resources import limits_of, open_sandboxes
from cycleqd.generalisation import local_data
from cycleqd.generalisation.definitions import Benchmark, DataState
from cycleqd.generalisation.scoring import Problem
from cycleqd.generalisation.subjects import Group
from cycleqd.models.causal_lm.protocol import Engine
from cycleqd.run.base_identity import BaseRecord
from cycleqd.skills.benchmarks.benchmark import DataUnavailable, Source, Whole
from cycleqd.skills.parts import Part

PROMPT: Final = Path(__file__).with_name("benchmarks") / "humaneval_plus.txt"
"""What stands before each problem."""


class CodeBenchmark:
    """HumanEval+ with its data.

    Args:
        benchmark: Its definition.
        limit: Most problems to score; None is all.
        data: A folder with a local copy; None looks in ``CYCLEQD_DATA_DIR``, then downloads through evalplus.

    Raises:
        DataUnavailable: There is no copy and no download, or the evalplus package is missing.
    """

    def __init__(self, benchmark: Benchmark, *, limit: int | None = None, data: str | None = None) -> None:
        from cycleqd.skills.benchmarks.mbpp_plus.skill import MbppPlusSkill

        files = local_data.find(benchmark.name, benchmark.local, data)
        path = files[0] if files else _download(benchmark)
        self.benchmark = benchmark
        self._skill = Whole(MbppPlusSkill(counts={}, source=Source(data=str(path), prompt_file=str(PROMPT))))
        if self._skill.origin.version != "HumanEval+":
            raise DataUnavailable(f"{benchmark.name}: {path} holds {self._skill.origin.version}, not HumanEval+")
        self.problems = len(self._skill.samples("test"))
        self.n = min(limit or self.problems, self.problems)
        self.source = path.name if files else "evalplus"

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
        limits = limits_of(group.config.sandbox)
        nobody = BaseRecord(name="", base="", tokenizer="", files={})
        parts = fingerprint(
            self._skill,
            self._part,
            engine=group.config.engine,
            dtype=group.config.model.dtype,
            live_episodes=1,
            limits=limits,
            base=group.model or nobody,
        )
        return parts | group.identity | {"data": self._skill.origin.sha256, "problems": self._part}

    def score(self, group: Group, engine: Engine, progress: Callable[[int, int], None]) -> list[Problem]:
        """Plays the problems. A solution counts when it passes base and plus tests.

        Args:
            group: Whose settings the sandboxes have.
            engine: With the model's weights.
            progress: Is told how many problems are finished, and of how many.
        """
        settings = group.config.sandbox
        with open_sandboxes(group.config) as sandboxes:
            played = evaluate(
                self._skill,
                self._part,
                engine,
                sandboxes,
                batching="throughput",
                live_episodes=settings.max_containers,
                workers=settings.workers,
                progress=lambda done: progress(done, self.n),
            )
        return [
            Problem(sample.id, min(sample.score, sample.extra.get("plus", 0.0))) for sample in played.record.samples
        ]


def _download(benchmark: Benchmark) -> Path:
    from cycleqd.skills.benchmarks.mbpp_plus.data import evalplus_module

    module = evalplus_module("data.humaneval")
    try:
        return Path(module._ready_human_eval_plus_path())
    except Exception as error:  # whatever a download library raises
        raise DataUnavailable(
            f"{benchmark.name}: no local copy ({' or '.join(benchmark.local)} in a folder of data), and the download "
            f"failed ({error})"
        ) from error
