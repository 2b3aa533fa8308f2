"""Scores models on benchmarks, one model after the other, and keeps what is finished."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

from cycleqd.generalisation.catalogue import TaskName
from cycleqd.generalisation.code import CodeBenchmark
from cycleqd.generalisation.definitions import Benchmark
from cycleqd.generalisation.harness import harness_module
from cycleqd.generalisation.harness_tasks import HarnessTasks, prepare_tasks
from cycleqd.generalisation.measures import Measured, measure
from cycleqd.generalisation.results import BenchmarkScore, Scores
from cycleqd.generalisation.scoring import Problem, model_of, score
from cycleqd.generalisation.subjects import Group, Subject
from cycleqd.generalisation.tasks import Prepared, prepare
from cycleqd.models.causal_lm.protocol import Engine
from cycleqd.skills.benchmarks.benchmark import DataUnavailable

Watch = Callable[[str, str], AbstractContextManager[Callable[[int, int], None]]]
"""Opened for each model and benchmark by name; gives what is told how many requests are answered, and of how many."""


class _OfTheHarness:
    """What lm-evaluation-harness asks, with its data."""

    def __init__(self, prepared: Prepared | HarnessTasks, data: str) -> None:
        self.benchmark = prepared.benchmark
        self.state = prepared.state
        self.source = prepared.source
        self._data = data

    def fingerprint(self, group: Group) -> dict[str, str]:
        """What scores depend on besides the weights."""
        return group.identity | {
            "benchmark": self.benchmark.model_dump_json(),
            "harness": f"lm-eval {harness_module().__version__}",
            "data": self._data,
        }


class HarnessBenchmark(_OfTheHarness):
    """A benchmark of lm-evaluation-harness with its data.

    Args:
        prepared: Its problems.
    """

    def __init__(self, prepared: Prepared) -> None:
        super().__init__(prepared, prepared.data_hash)
        self._prepared = prepared

    def fingerprint(self, group: Group) -> dict[str, str]:
        """What scores depend on besides the weights."""
        parts = super().fingerprint(group)
        # Older versions asked these in a chat: those scores must not be found. All others are kept without this part.
        if self.benchmark.kind == "generation" and group.config.shows_images and group.config.engine.kind == "vllm":
            parts["prompts"] = "texts"
        return parts

    def score(self, group: Group, engine: Engine, progress: Callable[[int, int], None]) -> list[Problem]:
        """Puts the problems to the model that the engine holds."""
        return score(self._prepared, model_of(engine, progress))


class TaskBenchmark(_OfTheHarness):
    """A task of lm-evaluation-harness that the table does not have itself, or a group, with its data.

    Args:
        prepared: Its problems.
    """

    def __init__(self, prepared: HarnessTasks) -> None:
        super().__init__(prepared, prepared.identity)
        self._prepared = prepared

    def score(self, group: Group, engine: Engine, progress: Callable[[int, int], None]) -> Measured:
        """Puts the problems to the model that the engine holds."""
        return measure(self._prepared, model_of(engine, progress))


Ready = CodeBenchmark | HarnessBenchmark | TaskBenchmark
"""A benchmark whose problems are at hand."""


def load(
    wanted: Sequence[Benchmark | TaskName],
    *,
    limit: int | None,
    data: str | None,
    image: str | None = None,
    shots: int | None = None,
) -> tuple[list[Ready], dict[str, str]]:
    """The benchmarks whose data can be had, and why the others cannot be scored.

    Args:
        wanted: The benchmarks.
        limit: Most problems of each; None is all.
        data: A folder with local copies; see `cycleqd.generalisation.local_data.find`.
        image: In place of the published images that programs run in.
        shots: Solved examples in each prompt of the harness' tasks that the table does not have; None is as they say.

    Raises:
        HarnessMissing: One needs lm-evaluation-harness, which is not installed.
    """
    ready: list[Ready] = []
    reasons: dict[str, str] = {}
    for benchmark in wanted:
        try:
            if isinstance(benchmark, TaskName):
                known = {one.benchmark.name for one in ready}  # a tag may have what was named beside it
                found = prepare_tasks(benchmark, limit=limit, shots=shots)
                ready += [TaskBenchmark(one) for one in found if one.benchmark.name not in known]
            elif benchmark.kind == "code":
                ready.append(CodeBenchmark(benchmark, limit=limit, data=data, image=image))
            else:
                ready.append(HarnessBenchmark(prepare(benchmark, limit=limit, data=data)))
        except DataUnavailable as error:
            reasons[benchmark.name] = str(error).removeprefix(f"{benchmark.name}: ")
    return ready, reasons


def play(
    groups: Sequence[Group],
    ready: Sequence[Ready],
    scores: Scores,
    watch: Watch,
) -> dict[str, dict[str, BenchmarkScore]]:
    """Scores every model on every benchmark that it can be scored on.

    What is finished is kept at once; what was finished before is not repeated.

    Returns:
        Scores by model and benchmark.
    """
    rows: dict[str, dict[str, BenchmarkScore]] = {}
    for group in groups:
        fit = [one for one in ready if one.benchmark.kind in group.kinds]
        engine: Engine | None = None
        try:
            for subject in group.subjects:
                row = rows.setdefault(subject.name, {})
                for one in fit:
                    fingerprint = one.fingerprint(group) | {"weights": subject.genome}
                    known = scores.find(one.benchmark.name, fingerprint)
                    if known is None:
                        engine = engine or group.start()
                        known = _score(group, subject, one, engine, fingerprint, watch)
                        scores.keep(known)
                    row[one.benchmark.name] = known
        finally:
            if engine is not None:
                engine.close()
    return rows


def _score(
    group: Group,
    subject: Subject,
    one: Ready,
    engine: Engine,
    fingerprint: Mapping[str, str],
    watch: Watch,
) -> BenchmarkScore:
    if engine.loaded != subject.genome:
        engine.load(subject.genome, subject.vector())
    began = time.monotonic()
    with watch(subject.name, one.benchmark.title) as progress:
        found = one.score(group, engine, progress)
    if isinstance(found, Measured):
        score, metrics, tasks, problems = found.metrics[0].value, found.metrics, found.tasks, found.problems
    else:
        score, metrics, tasks = sum(problem.score for problem in found) / len(found), (), {}
        problems = {problem.id: problem.score for problem in found}
    return BenchmarkScore(
        model=subject.name,
        benchmark=one.benchmark.name,
        fingerprint=dict(fingerprint),
        score=score,
        problems=problems,
        data=one.state,
        source=one.source,
        seconds=round(time.monotonic() - began, 1),
        metrics=metrics,
        tasks=tasks,
    )
