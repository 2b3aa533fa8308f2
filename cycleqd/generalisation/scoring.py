"""Puts a benchmark's problems to a model through lm-evaluation-harness."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from cycleqd.generalisation.harness import harness_module, quiet
from cycleqd.generalisation.tasks import SEED, Prepared
from cycleqd.models.causal_lm.protocol import Engine, TextEngine


class Problem(NamedTuple):
    """One problem's score.

    Attributes:
        id: Task and number, e.g. ``mmlu_abstract_algebra/3``.
        score: In [0, 1].
    """

    id: str
    score: float


def model_of(engine: Engine, progress: Any = lambda done, total: None) -> Any:
    """An engine as a model of the harness: with log-likelihoods where it has them."""
    harness_module()
    from cycleqd.generalisation.engine_model import ChatModel, EngineModel

    if hasattr(engine, "log_likelihoods"):
        return EngineModel(cast("TextEngine", engine), progress)
    return ChatModel(engine, progress)


def score(prepared: Prepared, model: Any) -> list[Problem]:
    """Scores the chosen problems, in the order of tasks and problems.

    Args:
        prepared: The benchmark and its data.
        model: A model of the harness (`model_of`).
    """
    benchmark = prepared.benchmark
    evaluate = harness_module("evaluator").evaluate
    with quiet():
        for name, task in prepared.tasks.items():
            if name in prepared.chosen:
                # It may have answered another model, or drawn examples for it.
                task._instances = None
                task.set_fewshot_seed(seed=SEED)
        found = evaluate(
            lm=model,
            task_dict={"tasks": {name: prepared.tasks[name] for name in prepared.chosen}, "groups": {}},
            samples={name: list(numbers) for name, numbers in prepared.chosen.items()},
            bootstrap_iters=0,
            log_samples=True,
        )
    problems = []
    for name in prepared.chosen:
        samples = [one for one in found["samples"][name] if one["filter"] == (benchmark.filter or one["filter"])]
        problems += [Problem(f"{name}/{one['doc_id']}", float(one[benchmark.metric])) for one in samples]
    return sorted(problems, key=lambda problem: (problem.id.rpartition("/")[0], int(problem.id.rpartition("/")[2])))
