"""Tables of pairs over synthetic runs, whose seeds share their test samples or not."""

import math

import pytest

from cycleqd.experiment.pairs import collect_pairs, pair_runs
from cycleqd.run.names import SIMILARITY_KEY
from tests.report.synthetic import configuration, synthetic_run

SKILLS = ("coding", "os")
SEEDS = (0, 1, 2)


def played(storage, *, own):
    """Pairs on three seeds with the same scores; with `own`, of samples whose content differs."""
    config = configuration(storage, SKILLS, run_id="pairs", generations=2)
    for seed in SEEDS:
        for pair in pair_runs(config, seed):
            store = synthetic_run(storage, run_id=pair.config.run_id, skills=SKILLS, generations=2)
            store.write_json(SIMILARITY_KEY, {"coding, os": 0.9})
            for name in ("base", "expert-coding", "expert-os", "aggregate") if own else ():
                genome = "base" if name == "base" else store.individual(name).genome
                for skill in SKILLS:
                    record = store.evaluation(genome, skill, "test")
                    store.remove(f"evaluations/{genome}/{skill}-test.json")
                    store.write_evaluation(record.model_copy(update={"data_hash": f"{skill} of seed {seed}"}), [])
    return config


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return played(str(tmp_path_factory.mktemp("shared")), own=False)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return played(str(tmp_path_factory.mktemp("own")), own=True)


def width(table):
    low, high = table.intervals["coding, os"]
    return high - low


def test_further_seeds_on_the_same_samples_make_nothing_surer(shared):
    one, three = collect_pairs(shared, SEEDS[:1]), collect_pairs(shared, SEEDS)
    assert three.unfinished == []
    assert width(three) == pytest.approx(width(one), rel=0.1)
    assert three.experts == one.experts
    assert {gain.n for gain in three.experts.values()} == {30}


def test_further_seeds_on_samples_of_their_own_do(own):
    one, three = collect_pairs(own, SEEDS[:1]), collect_pairs(own, SEEDS)
    assert width(three) == pytest.approx(width(one) / math.sqrt(3), rel=0.15)
    for skill in SKILLS:
        assert three.experts[skill].se == pytest.approx(one.experts[skill].se / math.sqrt(3))
        assert three.experts[skill].n == 90
