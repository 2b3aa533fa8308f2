"""Racing, re-evaluation and pooled evidence on synthetic skills: scores are means of coin throws."""

import numpy as np
import pytest

from cycleqd.randomness import rng
from cycleqd.search import Start
from cycleqd.search.adaptive_sampling import AdaptiveSampling, SamplingRules
from cycleqd.search.archive import Archives, Grid
from cycleqd.search.cycleqd import ConventionalQD, CycleQD
from cycleqd.search.operators import EliteSampling, LinearCrossover, SoftmaxAggregation, SvdMutation
from tests.toy_experts import SKILLS

EXPERTS = tuple(f"expert-{skill}" for skill in SKILLS)
SAMPLES = 4
BLOCKS = 8
BUDGET = 120


def begun(rules, *, kind=CycleQD, seed=1, budget=BUDGET):
    archives = Archives(SKILLS, {skill: Grid(0.0, 1.0, 6) for skill in SKILLS})
    for expert, skill in zip(EXPERTS, SKILLS, strict=True):
        archives.insert(expert, {other: 0.25 + 0.25 * (other == skill) for other in SKILLS}, -1)
    start = Start(seed, budget, archives, EXPERTS, (SAMPLES,) * len(SKILLS), BLOCKS)
    search = kind(
        start,
        sampler=EliteSampling(alpha_low=0.5, alpha_high=0.8),
        crossover=LinearCrossover(mu=1.0, sigma=0.03),
        mutation=SvdMutation(w_max=0.3, basis="child"),
        aggregation=SoftmaxAggregation(temperature=1.0),
    )
    return AdaptiveSampling(start, search, rules)


def ability(individual, skill):
    """What an individual really can, from its name."""
    return float(rng(3, sum(map(ord, individual)), f"ability {skill}").uniform(0.1, 0.7))


def scores(individual, block):
    return {
        skill: float((rng(7, block, f"{individual} {skill}").random(SAMPLES) < ability(individual, skill)).mean())
        for skill in SKILLS
    }


def run(search, children, start=0):
    """Plays children; returns (recipe, individual) of each."""
    played = []
    for index in range(start, start + children):
        recipe = search.ask(index)
        individual = recipe.again or f"g{index:04d}"
        search.tell(index, individual, scores(individual, recipe.block))
        played.append((recipe, individual))
    return played


RACING = SamplingRules(racing=0.8, most=4, offspring=None, final=1)
CAREFUL = SamplingRules(racing=0.8, most=4, offspring=2, final=6)
ALL = SamplingRules(racing=None, most=4, offspring=None, final=1)
by_rules = pytest.mark.parametrize("rules", [RACING, CAREFUL, ALL])


def blocks_met(played):
    met = {}
    for recipe, individual in played:
        met.setdefault(individual, []).append(recipe.block)
    return met


@by_rules
def test_nobody_meets_a_block_twice_or_out_of_order(rules):
    for individual, blocks in blocks_met(run(begun(rules), BUDGET)).items():
        first = 1 if individual in EXPERTS else 0  # the archives begin with what they scored on block 0
        assert blocks == list(range(first, first + len(blocks)))
        assert blocks[-1] < BLOCKS


@by_rules
@pytest.mark.parametrize("known", [1, 17, 90])
def test_a_search_that_is_told_again_goes_on_as_the_undisturbed_one(rules, known):
    whole, again = begun(rules), begun(rules)
    played = run(whole, BUDGET)
    run(again, known)
    assert run(again, BUDGET - known, start=known) == played[known:]
    assert again.archives.to_json() == whole.archives.to_json()
    assert again.answer() == whole.answer()


@pytest.mark.parametrize("kind", [CycleQD, ConventionalQD])
def test_archives_hold_means_over_all_blocks_that_were_met(kind):
    search = begun(CAREFUL, kind=kind)
    met = blocks_met(run(search, BUDGET))
    seen = 0
    for skill in SKILLS:
        for one in search.archives[skill].occupants():
            if one.id not in EXPERTS:
                means = [scores(one.id, block) for block in met[one.id]]
                expected = {name: np.mean([each[name] for each in means]) for name in SKILLS}
                assert one.scores == pytest.approx(expected)
                seen += 1
    assert seen > 3


def test_racing_gives_fewer_blocks_to_those_who_lose():
    everyone, racing = blocks_met(run(begun(ALL), BUDGET)), blocks_met(run(begun(RACING), BUDGET))
    assert all(len(blocks) == 4 for blocks in list(everyone.values())[:-1])
    stopped = [name for name, blocks in list(racing.items())[:-1] if len(blocks) < 4]
    assert len(racing) > len(everyone)
    assert stopped
    goes_on = [name for name, blocks in racing.items() if len(blocks) == 4]

    def real(names):
        return np.mean([ability(name, skill) for name in names for skill in SKILLS])

    assert real(goes_on) > real(stopped)


def test_parents_meet_fresh_blocks_before_they_have_more_offspring():
    rules = SamplingRules(racing=None, most=1, offspring=2, final=1)
    offspring, blocks = dict.fromkeys(EXPERTS, 0), dict.fromkeys(EXPERTS, 1)
    for recipe, individual in run(begun(rules), BUDGET):
        if recipe.again:
            blocks[individual] += 1
            continue
        blocks[individual], offspring[individual] = 1, 0
        for parent in recipe.parents:
            assert offspring[parent] < 2 * blocks[parent] or blocks[parent] == BLOCKS
            offspring[parent] += 1
    assert max(blocks.values()) > 2


def test_whoever_makes_the_final_model_has_met_enough_blocks():
    search = begun(CAREFUL)
    met = blocks_met(run(search, BUDGET))
    for member in search.answer().parents:
        assert len(met[member]) + (member in EXPERTS) >= CAREFUL.final


def test_pooled_evidence_forgets_luck():
    """The optimism of the final model's members: what the archive holds of them minus what they can."""

    def optimism(rules, seed):
        search = begun(rules, seed=seed)
        run(search, BUDGET)
        members = [search.archives[skill].elite() for skill in SKILLS]
        return np.mean([one.scores[skill] - ability(one.id, skill) for one in members for skill in SKILLS])

    once = SamplingRules(racing=None, most=1, offspring=None, final=1)
    assert np.mean([optimism(CAREFUL, seed) for seed in range(8)]) < (
        np.mean([optimism(once, seed) for seed in range(8)]) - 0.05
    )


def test_nobody_is_told_who_was_not_asked_for():
    with pytest.raises(ValueError, match="before it was asked for"):
        begun(RACING).tell(0, "g0000", dict.fromkeys(SKILLS, 0.5))
