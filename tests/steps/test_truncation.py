"""Experts of which all weights were trained, brought to a low rank."""

import logging

import pytest
import torch

from cycleqd import steps
from cycleqd.config import ConfigError, parse_config
from cycleqd.run.genomes import task_vector
from cycleqd.run.names import TRUNCATED, expert_id, expert_key, truncated_key
from cycleqd.run.upkeep import verify
from cycleqd.run.upkeep.sweep import sweep
from cycleqd.steps import truncation
from cycleqd.steps.sources import update_of
from cycleqd.steps.workspace import opened
from cycleqd.task_vector import DenseTaskVector, FactoredTaskVector
from cycleqd.task_vector.truncation import truncated
from tests.live_prefect import small_configuration
from tests.steps.small_run import begin, next_generation, score

pytestmark = [pytest.mark.docker, pytest.mark.slow]

RANK = 3


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run whose experts are trained, all their weights, and not derived yet."""
    folder = tmp_path_factory.mktemp("truncation")
    experts = {"method": "full", "global_batch": 2, "micro_batch": 2, "truncation": {"rank": RANK}}
    run = begin(folder, "truncated", experts=experts, search={"kind": "random", "merge": "regmean"})
    with opened(run) as ws:
        for skill in ws.config.skill_names:
            steps.gather_training_data(ws, skill)
            steps.train(ws, skill)
    return run


def test_a_killed_truncation_goes_on_with_the_next_matrix(trained, monkeypatch):
    made = []

    def counted(*arguments, until=None, **settings):
        if until is not None and len(made) == until:
            raise KeyboardInterrupt
        made.append(arguments)
        return truncated(*arguments, **settings)

    with opened(trained) as ws:
        skill = ws.config.skill_names[0]
        update = update_of(ws, skill)
        matrices = ws.evaluator.base_weights.matrices()
        monkeypatch.setattr(truncation, "truncated", lambda *a, **s: counted(*a, until=2, **s))
        with pytest.raises(KeyboardInterrupt):
            truncation.low_rank(ws, skill, update)
        monkeypatch.setattr(truncation, "truncated", counted)
        assert sorted(truncation.low_rank(ws, skill, update).factors) == list(matrices)
        assert len(made) == len(matrices)
        truncation.low_rank(ws, skill, update)
        assert len(made) == len(matrices)


def test_truncated_experts_are_factored_and_the_loss_is_written_down(trained, caplog):
    with opened(trained) as ws, caplog.at_level(logging.INFO):
        updates = {skill: update_of(ws, skill) for skill in ws.config.skill_names}
        steps.derive_experts(ws)
        for skill, update in updates.items():
            vector, record = task_vector(ws.store, expert_id(skill)), ws.store.read_json(expert_key(skill, TRUNCATED))
            assert isinstance(update.dense, DenseTaskVector)
            assert isinstance(vector, FactoredTaskVector)
            assert vector.names() == ws.evaluator.base_weights.matrices()
            assert set(record["ranks"].values()) == {RANK}
            for name in vector.names():
                change = update.dense.delta(name)
                error = torch.linalg.norm(vector.delta(name) - change) / torch.linalg.norm(change)
                assert float(error) == pytest.approx(record["errors"][name], rel=1e-2, abs=1e-4)
            others = set(update.dense.names()) - set(vector.names())
            assert others
            assert {record["errors"][name] for name in others} <= {0.0, 1.0}
            assert 0 < record["matrices_lost"] < 1
            assert 0 < record["lost"] < 1
            assert f"the {skill} expert is truncated" in caplog.text
            assert not any(ws.store.exists(truncated_key(skill, name)) for name in vector.names())
        assert verify(ws.store).faults == []


def test_what_only_low_rank_experts_have_can_be_had(trained):
    with opened(trained) as ws:
        steps.derive_experts(ws)
        for skill in ws.config.skill_names:
            score(ws.evaluator, expert_id(skill), "optimization")
        steps.seed_archives(ws)
        child = ws.store.individual(next_generation(ws).individual)
        assert child.parents == [f"regmean-{skill}" for skill in ws.config.skill_names]
        assert isinstance(task_vector(ws.store, child.id), FactoredTaskVector)


def test_matrices_that_a_killed_start_left_are_swept_once_the_expert_is_there(trained):
    with opened(trained) as ws:
        steps.derive_experts(ws)
        skill = ws.config.skill_names[0]
        truncation.low_rank(ws, skill, update_of(ws, skill))
        left = truncated_key(skill, ws.evaluator.base_weights.matrices()[0])
        assert ws.store.exists(left)
        sweep(ws.store)
        assert not ws.store.exists(left)


@pytest.mark.parametrize(
    ("experts", "words"),
    [
        ({"truncation": {}}, "by rank or energy"),
        ({"truncation": {"rank": 0}}, "greater than or equal to 1"),
        ({"truncation": {"energy": 1.5}}, "less than or equal to 1"),
    ],
)
def test_a_truncation_that_says_nothing_is_refused(tmp_path, experts, words):
    with pytest.raises(ConfigError, match=words):
        parse_config(small_configuration(tmp_path, "wrong", experts=experts))


def test_without_truncation_full_experts_have_no_regmean(tmp_path):
    values = small_configuration(tmp_path, "dense", experts={"method": "full"}, search={"merge": "regmean"})
    with pytest.raises(ConfigError, match=r"experts\.truncation"):
        parse_config(values)
