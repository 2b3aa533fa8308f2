"""Experts that a run trained, exported by the command and given to other runs: the same individuals and scores."""

import pytest
import torch
from typer.testing import CliRunner

from cycleqd import steps
from cycleqd.cli import app
from cycleqd.config import RunConfig
from cycleqd.run.genomes import task_vector
from cycleqd.run.names import AVERAGE, RunRef, expert_id
from cycleqd.run.store import RunStore
from cycleqd.skills.benchmarks.jsonl.skill import JsonlSkill
from cycleqd.steps.workspace import opened
from tests.live_prefect import small_configuration
from tests.steps.small_run import (
    NONSENSE as SKILLS,
)
from tests.steps.small_run import (
    make_experts,
    next_generation,
    nonsense_data,
    nonsense_problems,
    nonsense_skills,
    score,
)

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("round-trip")
    nonsense_problems(folder)
    return folder


def played(folder, name, **experts):
    """A run of one generation: who was scored, and the scores sample by sample."""
    given = small_configuration(
        folder,
        name,
        skills=nonsense_skills(folder),
    )
    given["experts"] = {"rank": 2, "global_batch": 2, "micro_batch": 2, "learning_rate": 0.02, "epochs": 3, **experts}
    config = RunConfig.model_validate(given)
    RunStore(config.storage, name).open(config)
    with opened(RunRef(run_id=name, storage=config.storage)) as ws:
        if "source" in experts:
            for skill in SKILLS:
                steps.take_expert(ws, skill)
            steps.derive_experts(ws)
            everybody = ["base", AVERAGE, *map(expert_id, SKILLS)]
        else:
            everybody = make_experts(ws)
        for individual in everybody:
            score(ws.evaluator, individual, "optimization")
        steps.seed_archives(ws)
        everybody.append(next_generation(ws).individual)
        found = {
            individual: [
                [sample.score for sample in ws.store.evaluation(genome, skill, "optimization").samples]
                for skill in SKILLS
            ]
            for individual in everybody
            for genome in ["base" if individual == "base" else ws.store.individual(individual).genome]
        }
    return RunStore(config.storage, name), found


@pytest.fixture(scope="module")
def trained(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JsonlSkill, "max_new_tokens", 12)
        yield played(folder, "trained", data=nonsense_data(folder))


@pytest.mark.parametrize("form", ["adapter", "checkpoint"])
def test_trained_experts_that_go_out_and_come_back_are_the_same_individuals(form, folder, trained):
    store, scores = trained
    assert 0 < sum(map(sum, scores[expert_id(SKILLS[0])])) < 12
    assert len({str(found) for found in scores.values()}) > 2
    source = {}
    for skill in SKILLS:
        out = folder / f"{form}-{skill}"
        command = ["export", "trained", str(out), "--individual", expert_id(skill), "--format", form]
        done = CliRunner().invoke(app, [*command, "--storage", str(folder / "runs")])
        assert done.exit_code == 0, done.output
        source[f"jsonl:{skill}"] = str(out)
    again, found = played(folder, form, source=source)
    assert found == scores
    for individual in scores.keys() - {"base"}:
        was, is_now = task_vector(store, individual), task_vector(again, individual)
        for name in {*was.names(), *is_now.names()}:
            deltas = [vector.delta(name) if name in vector.names() else torch.zeros(()) for vector in (was, is_now)]
            torch.testing.assert_close(*torch.broadcast_tensors(*deltas), rtol=0, atol=1e-5)
