"""Fully fine-tuned experts on their own singular vectors: the same search as with dense ones, in less room."""

import pytest
import torch

from cycleqd import steps
from cycleqd.config import ConfigError, parse_config
from cycleqd.run.genomes import task_vector
from cycleqd.run.names import AVERAGE, SPECTRAL_KEY, expert_id, genome_key, spectral_key
from cycleqd.run.upkeep import verify
from cycleqd.steps import spectral
from cycleqd.steps.workspace import opened
from cycleqd.task_vector import DenseTaskVector, SpectralTaskVector
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
from tests.toy_experts import assert_close, deltas

pytestmark = [pytest.mark.docker, pytest.mark.slow]

SETTINGS = {"mutation": {"kind": "svd", "w_max": 0.3, "basis": "expert"}, "engine": {"batching": "strict"}}
EXPERTS = {"method": "full", "global_batch": 2, "micro_batch": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("spectral")
    nonsense_problems(made)
    return made


def begun(folder, name, **experts):
    data = {"data": nonsense_data(folder)}
    return begin(folder, name, skills=nonsense_skills(folder), experts={**EXPERTS, **data, **experts}, **SETTINGS)


@pytest.fixture(scope="module")
def small(folder):
    """A run on spectral experts, after one generation and its answer."""
    return searched(folder, "small", spectral=True)


def searched(folder, name, *, spectral):
    run = begun(folder, name, spectral=spectral)
    with opened(run) as ws:
        for individual in make_experts(ws):
            score(ws.evaluator, individual, "optimization")
        steps.seed_archives(ws)
        next_generation(ws)
        steps.aggregate(ws)
    return run


def test_children_are_those_of_dense_experts_and_much_smaller(small, folder):
    whole = searched(folder, "whole", spectral=False)
    with opened(small) as ws, opened(whole) as other:
        child = ws.store.individual("g0000")
        assert child.parents == other.store.individual("g0000").parents
        for individual in (*map(expert_id, ws.config.skill_names), AVERAGE, "g0000", "aggregate"):
            vector, dense = task_vector(ws.store, individual), task_vector(other.store, individual)
            assert isinstance(vector, SpectralTaskVector)
            assert isinstance(dense, DenseTaskVector)
            assert_close(deltas(vector), deltas(dense))
        sizes = [one.store.local(genome_key("g0000")).stat().st_size for one in (ws, other)]
        assert sizes[0] < sizes[1] / 4
        assert ws.store.exists("experts/similarity.json")
        assert verify(ws.store).faults == []


def test_a_killed_decomposition_goes_on_with_the_next_parameter(folder, monkeypatch):
    made = []

    def counted(path, changes, device):
        if len(made) == 3:
            made.append("killed")
            raise KeyboardInterrupt
        made.append(path)
        write(path, changes, device)

    write = spectral.write_decomposition
    monkeypatch.setattr(spectral, "write_decomposition", counted)
    run = begun(folder, "killed", spectral=True)
    with opened(run) as ws:
        with pytest.raises(KeyboardInterrupt):
            make_experts(ws)
        assert not ws.store.exists(SPECTRAL_KEY)
        steps.derive_experts(ws)
        parameters = ws.store.read_json(SPECTRAL_KEY)["parameters"]
        assert len(made) == len(parameters) + 1
        assert all(ws.store.exists(spectral_key(name)) for name in parameters)
        assert isinstance(task_vector(ws.store, AVERAGE), SpectralTaskVector)


def test_noise_and_other_forms_are_served_too(small):
    with opened(small) as ws:
        expert = task_vector(ws.store, expert_id(ws.config.skill_names[0]))
        dense = DenseTaskVector.of(expert)
        mixed = expert.combine(0.5, [(0.5, dense)])
        assert isinstance(mixed, DenseTaskVector)
        for name in expert.names():
            torch.testing.assert_close(mixed.delta(name), expert.delta(name), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mutation": {"kind": "svd", "basis": "child"}}, "set basis to expert"),
        ({"crossover": {"kind": "ties"}, "mutation": {"kind": "none"}}, "wants linear merges"),
        ({"experts": {**EXPERTS, "spectral": True, "truncation": {"rank": 2}}}, "unset spectral or truncation"),
    ],
)
def test_what_would_make_children_dense_is_refused(tmp_path, changes, words):
    with pytest.raises(ConfigError, match=words):
        parse_config(small_configuration(tmp_path, "wrong", **{"experts": {**EXPERTS, "spectral": True}} | changes))
