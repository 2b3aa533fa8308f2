import json
from pathlib import Path

import pytest

from cycleqd.randomness import rng
from cycleqd.seams import MUTATIONS, SAMPLERS
from cycleqd.search import ConventionalQD, CycleQD, Start, final_elites
from cycleqd.search.archive import Archives, Grid
from cycleqd.search.operators import LinearCrossover, SoftmaxAggregation
from tests.toy_experts import SKILLS

PUBLISHED = json.loads((Path(__file__).parent / "published.json").read_text())
"""24 children by the code of commit 904c689, before searches had a protocol: what `cycleqd` has to go on doing."""


def begun(kind=CycleQD, *, seed=3, budget=24, sampler="elite", mutation="svd", elites="quality"):
    archives = Archives(SKILLS, {skill: Grid(0.1, 0.95, 5) for skill in SKILLS})
    for i, skill in enumerate(SKILLS):
        scores = {other: 0.2 + 0.15 * i + 0.4 * (other == skill) for other in SKILLS}
        archives.insert(f"expert-{skill}", scores, -1)
    return kind(
        Start(seed, budget, archives, tuple(f"expert-{skill}" for skill in SKILLS), (16, 16, 16)),
        sampler=SAMPLERS.make(sampler),
        crossover=LinearCrossover(),
        mutation=MUTATIONS.make(mutation),
        aggregation=SoftmaxAggregation(),
        elites=elites,
    )


def scores_of(t):
    return dict(zip(SKILLS, (round(float(x), 6) for x in rng(7, t, "toy scores").uniform(0.2, 0.9, 3)), strict=True))


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_search_of_the_paper_is_what_it_always_was(name):
    sampler, mutation = name.split("-")
    search = begun(sampler=sampler, mutation=mutation)
    for t, expected in enumerate(PUBLISHED[name]["children"]):
        recipe = search.ask(t)
        assert recipe.archive == expected["archive"]
        assert list(recipe.parents) == expected["parents"]
        assert list(recipe.coefficients) == expected["coefficients"]
        assert recipe.mutation.get("seed") == expected["seed"]
        won = search.tell(t, f"g{t:04d}", scores_of(t))
        assert {skill: list(win.cell) for skill, win in won.items() if win} == expected["won"]
    for rule, elites in PUBLISHED[name]["answer"].items():
        assert {skill: one.id for skill, one in final_elites(search.archives, rule).items()} == elites


def test_a_recipe_depends_on_archives_index_and_seed_alone():
    search = begun()
    before = search.archives.to_json()
    first = search.ask(4)
    search.ask(5)
    assert search.ask(4) == first
    assert search.archives.to_json() == before
    assert first.archive == "os"
    assert first.parents[0] != first.parents[1]
    assert len({begun(seed=seed).ask(4).parents for seed in range(30)}) > 3


def test_the_answer_weighs_the_archives_elites_by_their_scores():
    search = begun()
    answer = search.answer()
    elites = final_elites(search.archives, "quality")
    assert answer.parents == tuple(elite.id for elite in elites.values())
    assert sum(answer.coefficients) == pytest.approx(1)
    best = max(elites, key=lambda skill: elites[skill].scores[skill])
    assert max(answer.coefficients) == answer.coefficients[list(SKILLS).index(best)]


def test_an_empty_archive_is_refused():
    archives = Archives(["os"], {"os": Grid(0.0, 1.0, 5)})
    search = begun()
    search.archives = archives
    with pytest.raises(ValueError, match="is empty"):
        search.ask(0)


def test_conventional_qd_gives_every_skill_an_equal_run_of_its_own():
    search = begun(ConventionalQD, budget=12)
    for t in range(12):
        recipe = search.ask(t)
        assert recipe.archive == SKILLS[t // 4]
        won = search.tell(t, f"g{t:04d}", scores_of(t))
        assert {skill for skill, win in won.items() if win} <= {recipe.archive}
    for k, skill in enumerate(SKILLS):
        children = {one.id for one in search.archives[skill].occupants() if one.generation >= 0}
        assert children <= {f"g{t:04d}" for t in range(4 * k, 4 * k + 4)}
    # Prolonged, the runs take turns.
    assert sorted(search.ask(t).archive for t in range(12, 15)) == sorted(SKILLS)


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
