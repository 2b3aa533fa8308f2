"""What a task of lm-evaluation-harness says of a model: each metric of its own list, with an interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from cycleqd.generalisation.harness import harness_module, quiet
from cycleqd.generalisation.harness_tasks import HarnessTasks, metrics_of
from cycleqd.generalisation.metric import Metric
from cycleqd.generalisation.tasks import SEED
from cycleqd.statistics import CONFIDENCE, wilson

DRAWS: Final = 1000
"""Resamples of a mean that is no proportion."""
FEW_DRAWS: Final = 100
"""Resamples where each is a whole corpus' score, such as BLEU: as many as the harness takes."""
_SAME: Final = 1e-9


class Measured(NamedTuple):
    """What a model scores.

    Attributes:
        metrics: The headline first.
        tasks: Of a group, the headline of each of its tasks by name.
        problems: Score of each problem on the headline, where a problem has one.
    """

    metrics: tuple[Metric, ...]
    tasks: dict[str, Metric]
    problems: dict[str, float]


class _Part(NamedTuple):
    """One task's values of one metric.

    Attributes:
        values: By problem.
        aggregate: Makes the task's number of them.
        value: That number.
        higher: Whether more is better.
    """

    values: dict[str, Any]
    aggregate: Callable[[list[Any]], Any]
    value: float
    higher: bool


def measure(prepared: HarnessTasks, model: Any) -> Measured:
    """Puts the chosen problems to a model.

    The headline is the first metric of a task's own list with its first filter; of a group, the first that the group
    puts together.

    Args:
        prepared: The task, or the group.
        model: A model of the harness (`cycleqd.generalisation.scoring.model_of`).
    """
    with quiet():
        for name in prepared.chosen:
            # It may have answered another model, or drawn examples for it.
            prepared.tasks[name]._instances = None
            prepared.tasks[name].set_fewshot_seed(seed=SEED)
        found = harness_module("evaluator").evaluate(
            lm=model,
            task_dict={"tasks": {name: prepared.tasks[name] for name in prepared.chosen}, "groups": {}},
            samples={name: list(numbers) for name, numbers in prepared.chosen.items()},
            bootstrap_iters=0,
            log_samples=True,
        )
        parts = {name: _parts(name, prepared.tasks[name], found) for name in prepared.chosen}
        if prepared.groups:
            return _of_group(prepared, parts)
        ((name, ours),) = parts.items()
        metrics = tuple(_metric(key, [part], [1.0]) for key, part in ours.items())
        return Measured(metrics, {}, _by_problem(next(iter(ours.values()))))


def _parts(name: str, task: Any, found: Mapping[str, Any]) -> dict[str, _Part]:
    """A task's metrics by name, in its order."""
    said, samples = found["results"][name], found["samples"][name]
    keys = [key for key, value in said.items() if "," in key and _is_number(value) and "_stderr," not in key]
    order = metrics_of(task)
    keys.sort(key=lambda key: order.index(metric) if (metric := key.partition(",")[0]) in order else len(order))
    filters = list(dict.fromkeys(key.partition(",")[2] for key in keys))
    higher = task.higher_is_better()
    parts: dict[str, _Part] = {}
    for key in keys:
        metric, _, rule = key.partition(",")
        values = {f"{name}/{one['doc_id']}": one[metric] for one in samples if one["filter"] == rule and metric in one}
        if values:
            shown = metric if len(filters) == 1 else f"{metric} ({rule})"
            up = higher.get(metric)
            parts[shown] = _Part(
                values, task.aggregation()[metric], float(said[key]), True if up is None else bool(up)
            )
    if not parts:
        raise ValueError(f"the task {name} gives no number")
    return parts


def _of_group(prepared: HarnessTasks, parts: Mapping[str, Mapping[str, _Part]]) -> Measured:
    group = next(iter(prepared.groups.values()))
    metrics: list[Metric] = []
    headline = ""
    for wanted in group.aggregate_metric_list or ():
        keys = dict.fromkeys(key for ours in parts.values() for key in ours if key.partition(" (")[0] == wanted.metric)
        rules = wanted.filter_list
        for key in keys:
            rule = key.partition(" (")[2].removesuffix(")")
            if rules is not None and rule and rule not in rules:
                continue
            those = [ours[key] for ours in parts.values() if key in ours]
            sizes = [float(len(part.values)) if wanted.weight_by_size else 1.0 for part in those]
            metrics.append(_metric(key, those, sizes))
            headline = headline or key
    if not metrics:  # the group puts a metric together that its tasks do not have
        headline = next(iter(next(iter(parts.values()))))
        those = [ours[headline] for ours in parts.values() if headline in ours]
        metrics.append(_metric(headline, those, [float(len(part.values)) for part in those]))
    having = {name: ours[headline] for name, ours in parts.items() if headline in ours}
    return Measured(
        tuple(metrics),
        {name: _metric(headline, [part], [1.0]) for name, part in having.items()} if len(having) > 1 else {},
        {problem: score for part in having.values() for problem, score in _by_problem(part).items()},
    )


def _metric(name: str, parts: Sequence[_Part], weights: Sequence[float]) -> Metric:
    """One number of the tasks' numbers, with its interval."""
    n = sum(len(part.values) for part in parts)
    total = sum(weights)
    value = sum(part.value * weight for part, weight in zip(parts, weights, strict=True)) / total
    pooled = [one for part in parts for one in part.values.values()]
    share = all(_is_number(one) and 0 <= one <= 1 for one in pooled) and 0 <= value <= 1
    if share and abs(sum(map(float, pooled)) / n - value) < _SAME:
        low, high = wilson(min(1.0, max(0.0, value)), n)
        return _made(name, value, low, high, n, share, parts)
    draws = [_drawn(part, np.random.default_rng([SEED, place])) for place, part in enumerate(parts)]
    drawn = [
        sum(one * weight for one, weight in zip(row, weights, strict=True)) / total
        for row in zip(*draws, strict=False)
    ]
    drawn = [one for one in drawn if math.isfinite(one)]
    if not drawn or not math.isfinite(value):
        return _made(name, value, None, None, n, share, parts)
    tail = 50 * (1 - CONFIDENCE)
    low, high = (float(end) for end in np.percentile(drawn, [tail, 100 - tail]))
    return _made(name, value, min(low, value), max(high, value), n, share, parts)


def _made(
    name: str, value: float, low: float | None, high: float | None, n: int, share: bool, parts: Sequence[_Part]
) -> Metric:
    up = all(part.higher for part in parts)
    return Metric(name=name, value=value, low=low, high=high, n=n, share=share, higher_is_better=up)


def _drawn(part: _Part, rng: np.random.Generator) -> list[float]:
    """A task's number on problems that are drawn from its own, with replacement."""
    values = list(part.values.values())
    if all(map(_is_number, values)) and abs(float(np.mean(values)) - part.value) < _SAME:
        array = np.asarray(values, dtype=float)
        return [float(array[rng.integers(0, len(array), len(array))].mean()) for _ in range(DRAWS)]
    drawn = []
    for _ in range(FEW_DRAWS):
        picked = rng.integers(0, len(values), len(values))
        try:
            drawn.append(float(part.aggregate([values[place] for place in picked])))
        except (ArithmeticError, ValueError, TypeError, LookupError):  # such as a correlation of what is all alike
            drawn.append(math.nan)
    return drawn


def _by_problem(part: _Part) -> dict[str, float]:
    return {problem: float(value) for problem, value in part.values.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float, np.integer, np.floating))
