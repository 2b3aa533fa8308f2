"""What every benchmark promises, whoever gives it, on its data where this machine has them."""

import json
from itertools import islice
from pathlib import Path

import pytest

from cycleqd.sandbox import Sandboxes
from cycleqd.skills.benchmarks.benchmark import DATA_VARIABLE, DataUnavailable, Source
from cycleqd.skills.building import build_skill
from cycleqd.skills.oracle import EmptyAgent, oracle_of
from cycleqd.skills.protocol import NoReference, Sample, Skill, Split
from cycleqd.skills.registry import find
from tests.contracts.skills import check_row, rows, scores, shown, solved_by_cheats
from tests.skills.benchmarks.benchmark_data import FOLDER

HALVES: tuple[Split, ...] = ("optimization", "test")
PLAYED = 3
"""Samples of each half that are played."""


def built(name: str, split_seed: int = 0, **counts: int) -> Skill:
    """A benchmark on the data of this machine; nothing is downloaded."""
    if name == "jsonl":  # whose data is anybody's file
        file = Path(__file__).resolve().parents[2] / "examples" / "jsonl" / "problems.jsonl"
        return build_skill(name, counts=counts, source=Source(data=str(file), split_seed=split_seed))
    if not FOLDER.is_dir():
        pytest.skip(f"no data of benchmarks at {FOLDER}; set {DATA_VARIABLE}")
    try:
        return build_skill(name, counts=counts, source=Source(data=str(FOLDER), split_seed=split_seed))
    except DataUnavailable as error:
        pytest.skip(f"{error}; {DATA_VARIABLE} names a folder with all benchmarks' data")


@pytest.fixture(scope="module", params=rows("benchmark"))
def skill(request: pytest.FixtureRequest) -> Skill:
    return built(request.param)


@pytest.fixture(scope="module")
def solvable(skill: Skill) -> list[Sample]:
    """A few samples of each half that the data has solutions of."""
    oracle = oracle_of(skill)

    def has_reference(sample: Sample) -> bool:
        try:
            oracle(sample)
        except NoReference:
            return False
        return True

    return [one for half in HALVES for one in islice(filter(has_reference, skill.samples(half)), PLAYED)]


def test_the_row_says_what_the_class_says(skill: Skill) -> None:
    check_row(find(skill.name), skill)


def test_the_origin_is_stated(skill: Skill) -> None:
    assert skill.origin.version
    assert len(bytes.fromhex(skill.origin.sha256)) == 32
    assert skill.origin.prompt == "ours"
    assert all(entry.id and entry.reason for entry in skill.origin.skipped)


def test_there_is_nothing_to_train_on(skill: Skill) -> None:
    assert len(skill.samples("train")) == 0
    with pytest.raises(ValueError, match="no train split"):
        built(skill.name, train=1)


@pytest.mark.parametrize("split_seed", [0, 1])
def test_the_halves_share_no_problem(skill: Skill, split_seed: int) -> None:
    divided = built(skill.name, split_seed)
    samples = {half: divided.samples(half) for half in HALVES}
    ids = [sample.id for half in HALVES for sample in samples[half]]
    assert len(set(ids)) == len(ids)
    assert set(ids) == {sample.id for half in HALVES for sample in skill.samples(half)}
    one, other = (
        {
            (text, json.dumps(sample.data, sort_keys=True))
            for text, sample in zip(shown(divided, samples[half]), samples[half], strict=True)
        }
        for half in HALVES
    )
    assert not one & other


def test_the_same_data_give_the_same_samples_and_fewer_are_the_first_of_them(skill: Skill) -> None:
    again, fewer = built(skill.name), built(skill.name, optimization=PLAYED, test=PLAYED)
    for half in HALVES:
        assert again.samples(half) == skill.samples(half)
        assert fewer.samples(half) == skill.samples(half)[:PLAYED]


def test_samples_say_whose_they_are_and_survive_json(skill: Skill) -> None:
    for half in HALVES:
        for sample in skill.samples(half):
            assert (sample.skill, sample.split) == (skill.name, half)
            assert json.loads(json.dumps(sample.data)) == sample.data


@pytest.mark.docker
def test_the_oracle_passes(skill: Skill, solvable: list[Sample], sandboxes: Sandboxes) -> None:
    assert len(solvable) >= PLAYED
    found = scores(skill, solvable, sandboxes, oracle_of(skill))
    assert {sample: reason for sample, (score, reason) in found.items() if score != 1.0} == {}


@pytest.mark.docker
def test_silence_fails(skill: Skill, solvable: list[Sample], sandboxes: Sandboxes) -> None:
    found = scores(skill, solvable, sandboxes, lambda _: EmptyAgent())
    assert {score for score, _ in found.values()} == {0.0}


@pytest.mark.docker
def test_no_cheat_scores_a_point(skill: Skill, solvable: list[Sample], sandboxes: Sandboxes) -> None:
    assert find(skill.name).cheats
    assert solved_by_cheats(find(skill.name), skill, solvable, sandboxes) == []
