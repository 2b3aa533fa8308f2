"""The search that makes no child."""

import pytest

from cycleqd.search import Known, Recipe, Start
from cycleqd.search.archive import Archives, Grid
from cycleqd.search.rescoring import Rescoring
from tests.toy_experts import SKILLS

EXPERTS = tuple(f"expert-{skill}" for skill in SKILLS)
KNOWN = tuple(
    Known(f"regmean-{scale:g}", Recipe(EXPERTS, (scale,) * 3), dict(zip(SKILLS, scores, strict=True)))
    for scale, scores in ((1.0, (0.9, 0.1, 0.1)), (1.2, (0.5, 0.4, 0.4)), (1.4, (0.4, 0.4, 0.4)))
)


def start(**changes):
    archives = Archives(SKILLS, {skill: Grid(0.0, 1.0, 6) for skill in SKILLS})
    return Start(0, 20, archives, EXPERTS, (16,) * 3, **{"blocks": 4, "known": KNOWN} | changes)


def test_the_baseline_of_the_best_mean_score_meets_one_block_after_the_other():
    search = Rescoring(start())
    recipes = [search.ask(index) for index in range(6)]
    assert [recipe.again for recipe in recipes] == ["regmean-1.2"] * 6
    assert [recipe.block for recipe in recipes] == [0, 1, 2, 3, 0, 1]
    assert {(recipe.parents, recipe.coefficients) for recipe in recipes} == {(EXPERTS, (1.2,) * 3)}


def test_its_answer_is_that_baseline_whatever_was_told():
    search = Rescoring(start())
    search.ask(0)
    search.tell(0, "regmean-1.2", dict.fromkeys(SKILLS, 0.0))
    assert search.answer() == Recipe(("regmean-1.2",), (1.0,))


def test_a_model_can_be_named():
    search = Rescoring(start(), individual="all-data")
    assert search.ask(1).again == "all-data"
    assert search.answer() == Recipe(("all-data",), (1.0,))


@pytest.mark.parametrize("known", [(), KNOWN])
def test_what_it_scores_exists_before_the_search(known):
    assert Rescoring(start(known=known)).ask(0).again in {*EXPERTS, *(one.individual for one in known)}
