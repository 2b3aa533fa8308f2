"""Scores on any task of lm-evaluation-harness, beside those of its own `hf` model."""

import math

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'cycleqd[generalise]'")

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from cycleqd.generalisation.catalogue import chosen
from cycleqd.generalisation.harness_tasks import prepare_tasks
from cycleqd.generalisation.measures import measure
from cycleqd.generalisation.scoring import model_of
from cycleqd.statistics import wilson
from tests.generalisation.own_tasks import (
    CORPUS,
    EXACT,
    GENERATION,
    LAST_WORD,
    ROLLING,
    TWO_RULES,
    UTILS,
    write_group,
    write_task,
)

JUDGED = {
    **GENERATION,
    "process_docs": "!function utils.only_long",
    "process_results": "!function utils.judge",
    "metric_list": [
        {"metric": "length", "aggregation": "mean", "higher_is_better": False},
        {"metric": "pair", "aggregation": "!function utils.longest", "higher_is_better": True},
        {"metric": "right", "aggregation": "mean", "higher_is_better": True},
    ],
}
TASKS = {
    "choose": {},
    "says": GENERATION | EXACT | TWO_RULES,
    "rolls": ROLLING,
    "last": LAST_WORD,
    "corpus": GENERATION | CORPUS,
    "judged": JUDGED,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tasks")
    (path / "utils.py").write_text(UTILS)
    for name, settings in TASKS.items():
        write_task(path, name, **settings)
    write_task(path, "other", num_fewshot=0)
    write_group(path, "pooled", ["choose", "other", "last"])
    metric = {"metric": "acc", "aggregation": "mean", "weight_by_size": False}
    write_group(path, "apart", ["choose", "last"], aggregate_metric_list=[metric])
    return path


def measured(folder, name, model, **options):
    (task,) = chosen([name], [folder])
    (prepared,) = prepare_tasks(task, **options)
    return measure(prepared, model)


def said_by_the_harness(folder, name, model, **options):
    manager = TaskManager(include_defaults=False, include_path=str(folder))
    found = simple_evaluate(
        model=model, tasks=[name], task_manager=manager, bootstrap_iters=0, random_seed=None, **options
    )
    row = found["results"].get(name) or found["groups"][name]
    return {key.removesuffix(",none"): value for key, value in row.items() if "," in key and "_stderr," not in key}


@pytest.mark.parametrize("name", [*TASKS, "pooled", "apart"])
def test_every_metric_is_what_the_harness_own_model_gets(name, engine, theirs, folder):
    ours = measured(folder, name, model_of(engine))
    expected = said_by_the_harness(folder, name, theirs)
    found = {metric.name.replace(" (", ",").rstrip(")"): metric.value for metric in ours.metrics}
    assert found == pytest.approx(expected, rel=1e-4)
    for metric in ours.metrics:
        assert metric.low <= metric.value <= metric.high


def test_examples_are_as_many_as_told(engine, theirs, folder):
    ours = measured(folder, "last", model_of(engine), shots=4)
    assert ours.metrics[0].value == pytest.approx(
        said_by_the_harness(folder, "last", theirs, num_fewshot=4)["perplexity"], rel=1e-4
    )
    assert ours.metrics[0].value != pytest.approx(
        measured(folder, "last", model_of(engine)).metrics[0].value, rel=1e-4
    )


@pytest.mark.parametrize(
    ("name", "headline", "all_of_them"),
    [
        ("choose", "acc_norm", ["acc_norm", "acc"]),
        ("says", "exact_match (strict)", ["exact_match (strict)", "exact_match (word)"]),
        ("judged", "length", ["length", "pair", "right"]),
        ("apart", "acc", ["acc"]),
    ],
)
def test_the_headline_is_the_first_metric_of_the_tasks_own_list(name, headline, all_of_them, engine, folder):
    metrics = measured(folder, name, model_of(engine), limit=4).metrics
    assert (metrics[0].name, [metric.name for metric in metrics]) == (headline, all_of_them)


def test_shares_have_the_interval_of_the_table_and_others_one_of_resamples(engine, folder):
    acc = measured(folder, "choose", model_of(engine)).metrics[0]
    assert (acc.share, (acc.low, acc.high)) == (True, wilson(acc.value, 24))
    length, pair, _ = measured(folder, "judged", model_of(engine)).metrics
    assert (length.share, length.higher_is_better, pair.share) == (False, False, False)
    again = measured(folder, "judged", model_of(engine)).metrics
    assert again[0] == length  # drawn with a seed


def test_a_group_has_its_tasks_beside_its_own_score(engine, folder):
    pooled = measured(folder, "pooled", model_of(engine), limit=9)
    assert {name: metric.n for name, metric in pooled.tasks.items()} == {"choose": 3, "other": 3, "last": 3}
    assert pooled.metrics[0].n == len(pooled.problems) == 9
    assert pooled.metrics[0].value == pytest.approx(sum(metric.value for metric in pooled.tasks.values()) / 3)
    assert math.isclose(pooled.metrics[0].value, sum(pooled.problems.values()) / 9)
