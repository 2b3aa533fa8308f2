import pytest

from cycleqd.archive import Archives, Grid
from cycleqd.operators import CROSSOVERS, MUTATIONS, SAMPLERS
from cycleqd.search import breed, final_elites, propose, tell
from tests.toy_experts import SKILLS, factored_experts


def seeded() -> Archives:
    archives = Archives(SKILLS, {skill: Grid(0.0, 1.0, 5) for skill in SKILLS})
    for i, skill in enumerate(SKILLS):
        tell(archives, f"expert-{skill}", {other: 0.2 + 0.15 * i + 0.4 * (other == skill) for other in SKILLS}, -1)
    return archives


def run(seed: int, generations: int = 12) -> tuple[str, list[str]]:
    archives, experts = seeded(), factored_experts(0)
    individuals = {f"expert-{skill}": expert for skill, expert in experts.items()}
    hashes = []
    for t in range(generations):
        skill, (p, q) = propose(archives, t, seed, SAMPLERS["elite"]())
        assert skill == SKILLS[t % 3]
        child = breed(
            (individuals[p], individuals[q]), experts[skill], t, seed, CROSSOVERS["linear"](), MUTATIONS["svd"]()
        )
        hashes.append(child.task_vector.hash())
        individuals[f"g{t:04}"] = child.task_vector
        # Any fixed function of the content will do for a score.
        digits = [int(hashes[-1][i : i + 4], 16) / 0xFFFF for i in (0, 4, 8)]
        tell(archives, f"g{t:04}", dict(zip(SKILLS, digits, strict=True)), t)
    return archives.to_json(), hashes


def test_the_same_seed_gives_the_same_search_and_another_another() -> None:
    assert run(0) == run(0)
    assert run(0) != run(1)


def test_a_proposal_depends_on_archives_generation_and_seed_alone() -> None:
    archives, sampler = seeded(), SAMPLERS["elite"]()
    before = archives.to_json()
    first = propose(archives, 4, 0, sampler)
    propose(archives, 5, 0, sampler)
    assert propose(archives, 4, 0, sampler) == first
    assert propose(Archives.from_json(before), 4, 0, sampler) == first
    assert archives.to_json() == before
    assert first.skill == "os"
    assert first.parents[0] != first.parents[1]
    assert len({propose(archives, 4, seed, sampler).parents for seed in range(30)}) > 3


def test_a_singleton_archive_proposes_its_individual_twice_and_it_breeds() -> None:
    archives = Archives(["os"], {"os": Grid(0.0, 1.0, 5)})
    archives.insert("only", {"os": 0.5}, -1)
    assert propose(archives, 3, 0, SAMPLERS["elite"]()) == ("os", ("only", "only"))
    expert = factored_experts(0)["os"]
    child = breed((expert, expert), expert, 3, 0, CROSSOVERS["linear"](), MUTATIONS["none"]())
    assert child.mutation_seed is None
    assert sum(child.coefficients) == pytest.approx(1)


def test_an_empty_archive_is_refused() -> None:
    archives = Archives(["os"], {"os": Grid(0.0, 1.0, 5)})
    with pytest.raises(ValueError, match="is empty"):
        propose(archives, 0, 0, SAMPLERS["elite"]())


def test_the_final_models_elites_are_specialists_by_quality_and_all_rounders_when_balanced() -> None:
    archives = Archives(SKILLS, {skill: Grid(0.0, 1.0, 5) for skill in SKILLS})
    for skill in SKILLS:
        archives.insert(f"expert-{skill}", {other: 0.9 * (other == skill) for other in SKILLS}, -1)
    archives.insert("all-rounder", dict.fromkeys(SKILLS, 0.4), 0)
    archives.insert("lost-one", {skill: 0.9 * (skill != SKILLS[0]) for skill in SKILLS}, 1)
    specialists = {skill: archives[skill].elite().id for skill in SKILLS}
    assert "all-rounder" not in specialists.values()
    assert {skill: one.id for skill, one in final_elites(archives, "quality").items()} == specialists
    assert final_elites(archives, "balanced")[SKILLS[0]].id == "all-rounder"


def test_balanced_elites_differ_while_there_are_others() -> None:
    archives = Archives(SKILLS, {skill: Grid(0.0, 1.0, 5) for skill in SKILLS})
    archives.insert("only", dict.fromkeys(SKILLS, 0.3), 0)
    assert [one.id for one in final_elites(archives, "balanced").values()] == ["only"] * 3
    archives.insert("better", dict.fromkeys(SKILLS, 0.5), 1)
    assert [one.id for one in final_elites(archives, "balanced").values()] == ["better", "only", "better"]
    archives.insert("best", dict.fromkeys(SKILLS, 0.7), 2)
    assert [one.id for one in final_elites(archives, "balanced").values()] == ["best", "better", "only"]


def test_of_equally_balanced_individuals_the_most_recent_is_taken_and_where_all_lost_a_skill_the_best_sum() -> None:
    archives = Archives(["coding", "os"], {"coding": Grid(0.0, 1.0, 5), "os": Grid(0.0, 1.0, 5)})
    archives.insert("lost-os", {"coding": 0.5, "os": 0.0}, 0)
    archives.insert("lost-coding", {"coding": 0.0, "os": 0.7}, 1)
    assert final_elites(archives, "balanced")["coding"].id == "lost-coding"
    archives.insert("first", {"coding": 0.25, "os": 0.75}, 2)
    archives.insert("second", {"coding": 0.75, "os": 0.25}, 3)
    assert final_elites(archives, "balanced")["coding"].id == "second"
