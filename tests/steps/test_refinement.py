"""The search's answer, fine-tuned on what the search solved: a random model, real training, real judges."""

import pytest
import torch

from cycleqd import steps
from cycleqd.config import ConfigError, parse_config
from cycleqd.report.losses import trainings
from cycleqd.run.genomes import task_vector
from cycleqd.run.names import AGGREGATE, ALL_DATA, MERGED, REFINED, RunRef
from cycleqd.run.records import EpisodeRecord
from cycleqd.run.upkeep import verify
from cycleqd.skills.benchmarks.jsonl.skill import JsonlSkill
from cycleqd.skills.parts import block
from cycleqd.steps.refinement import conversations_of, solved_episodes
from cycleqd.steps.workspace import opened
from cycleqd.task_vector import FactoredTaskVector
from tests.live_prefect import small_configuration
from tests.steps.small_run import (
    begin,
    make_experts,
    next_generation,
    nonsense_data,
    nonsense_problems,
    nonsense_skills,
    score,
)

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A run after one generation; its settings are free to change the rest."""
    folder = tmp_path_factory.mktemp("refinement")
    nonsense_problems(folder)
    experts = {"rank": 2, "global_batch": 2, "micro_batch": 2, "learning_rate": 0.02, "epochs": 3}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JsonlSkill, "max_new_tokens", 12)
        run = begin(
            folder,
            "refined",
            skills=nonsense_skills(folder),
            experts={**experts, "data": nonsense_data(folder)},
            refinement={"epochs": 2, "learning_rate": 0.01},
        )
        with opened(run) as ws:
            for individual in make_experts(ws):
                score(ws.evaluator, individual, "optimization")
            steps.seed_archives(ws)
            next_generation(ws)
        yield run


def settings(ws, **refinement):
    ws.adopt(ws.config.model_copy(update={"refinement": ws.config.refinement.model_copy(update=refinement)}))


def test_one_solved_episode_of_every_sample_that_anybody_solved(searched: RunRef):
    with opened(searched) as ws:
        solved = solved_episodes(ws.store)
        everybody = [*ws.store.seed().genomes.values(), *(record.genome for record in ws.store.generations())]
        right = {
            (skill, episode.sample)
            for genome in everybody
            for skill in ws.config.skill_names
            for episode in ws.store.episodes(genome, skill, "optimization")
            if episode.score >= 1
        }
    assert [(one.skill, one.episode.sample) for one in solved] == sorted(right)
    assert right


def test_the_final_model_is_the_answer_and_what_it_learned_and_its_numbers_are_kept(searched):
    with opened(searched) as ws:
        settings(ws, epochs=2)
        answer = steps.aggregate(ws)
        score(ws.evaluator, MERGED, "optimization")
        engines = []  # whether there was one, step by step
        final = steps.refine(ws, lambda _: engines.append(ws.evaluator.holds_engine))
        assert engines
        assert not any(engines)
        assert score(ws.evaluator, final.id, "optimization").keys() == set(ws.config.skill_names)
        assert (answer.id, final.id, final.parents) == (MERGED, AGGREGATE, [MERGED])
        assert final.mutation["episodes"] == len(solved_episodes(ws.store))
        assert steps.compared(ws)[-2:] == [MERGED, AGGREGATE]
        assert steps.refine(ws) == final
        merged, refined = task_vector(ws.store, MERGED), task_vector(ws.store, AGGREGATE)
        # A LoRA adapter still, of the rank of the merge and that of the training.
        assert isinstance(refined, FactoredTaskVector)
        moved = [torch.linalg.matrix_rank(refined.delta(name) - merged.delta(name)) for name in merged.names()]
        assert 1 <= max(moved) <= ws.config.experts.rank
        assert verify(ws.store).faults == []


def test_turned_off_again_the_final_model_is_the_answer_itself_and_nothing_else_is_left(searched):
    with opened(searched) as ws:
        settings(ws, epochs=1)
        answer = steps.aggregate(ws).genome
        first = steps.refine(ws)
        assert REFINED in trainings(ws.store)
        settings(ws, epochs=0)
        final = steps.aggregate(ws)
        assert final.id == AGGREGATE
        assert final.genome == answer
        assert MERGED not in [record.id for record in ws.store.individuals()]
        assert REFINED not in trainings(ws.store)
        assert verify(ws.store).faults == []
        assert steps.aggregate(ws) == final
        assert final.genome != first.genome
        assert MERGED not in steps.compared(ws)
        settings(ws, epochs=1)
        steps.aggregate(ws)
        assert steps.refine(ws).genome == first.genome
        assert task_vector(ws.store, AGGREGATE).hash() == first.genome


def test_without_a_search_a_model_learns_from_what_it_solved_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(JsonlSkill, "max_new_tokens", 12)
    nonsense_problems(tmp_path)
    run = begin(
        tmp_path,
        "alone",
        skills=nonsense_skills(tmp_path),
        experts={"rank": 2, "global_batch": 2, "micro_batch": 2, "data": nonsense_data(tmp_path)},
        refinement={"epochs": 1},
        comparison={"all_data": True},
        search={"kind": "rescoring", "individual": ALL_DATA, "block": 3},
    )
    with opened(run) as ws:
        steps.train_on_all_data(ws)
        for individual in make_experts(ws):
            score(ws.evaluator, individual, steps.first_part(ws))
        steps.seed_archives(ws)
        with pytest.raises(RuntimeError, match="all-data needs"):
            steps.breed(ws, 0)
        alone = steps.derive_all_data(ws)
        committed = [next_generation(ws) for _ in range(2)]
        answer, final = steps.aggregate(ws), steps.refine(ws)
        assert [record.individual for record in committed] == [ALL_DATA] * 2
        assert [record.part for record in committed] == [block(0, 3), block(1, 3)]
        assert answer.genome == alone.genome == task_vector(ws.store, MERGED).hash()
        assert final.parents == [MERGED]
        assert score(ws.evaluator, MERGED, "test") == score(ws.evaluator, ALL_DATA, "test")
        assert verify(ws.store).faults == []


def test_a_turn_that_was_asked_in_a_conversation_of_its_own_is_learned_as_that():
    said = [{"role": role, "content": text} for role, text in (("user", "a"), ("assistant", "b"), ("assistant", "c"))]
    asked = [[{"role": "user", "content": "first"}], [{"role": "user", "content": "second"}]]
    episode = EpisodeRecord(sample="s", template="t", score=1.0, reason="", messages=said)
    assert conversations_of(episode) == [said]
    turns = conversations_of(episode.model_copy(update={"asked": asked}))
    assert turns == [[asked[0][0], said[1]], [asked[1][0], said[2]]]


def test_models_without_conversations_cannot_be_refined(tmp_path):
    values = small_configuration(tmp_path, "x", refinement={"epochs": 1})
    values["model"] = {"kind": "segmentation", "name": "tiny-sam", "dtype": "float32"}
    values["skills"] = [{"name": "segmentation:leaf", "train": 2, "optimization": 2, "test": 2}]
    with pytest.raises(ConfigError, match=r"refinement\.epochs to 0"):
        parse_config(values)
