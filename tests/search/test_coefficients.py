"""Where an individual lies among the coefficients that a search is over."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cycleqd.search import Known, Recipe, Start, build_search
from cycleqd.search.archive import Archives, Grid
from cycleqd.search.coefficients import Combination
from cycleqd.search.operators import NoMutation
from cycleqd.search.operators.merging.protocol import MIN_WEIGHT_SUM
from cycleqd.search.recipes import make
from tests.search.test_searches import BUDGET, EXPERTS, OPTIMUM, configuration, place, run, synthetic
from tests.toy_experts import SKILLS, assert_close, deltas, factored_experts

SCALES = st.floats(0.1, 2.0)


@given(
    point=st.lists(st.floats(0.0, 2.0), min_size=3, max_size=3), merge=st.sampled_from(["linear", "tsv", "regmean"])
)
def test_a_child_lies_where_it_was_made(point, merge):
    space = Combination(EXPERTS, 0.0, 2.0, merge)
    found = space.point_of(space.recipe(point))
    if merge == "tsv" and sum(point) < MIN_WEIGHT_SUM:
        assert found is None  # no TSV-Merge: its weights would say nothing
    else:
        np.testing.assert_allclose(found, point, atol=1e-12)


@settings(max_examples=10, deadline=None)
@given(scale=SCALES, weights=st.lists(st.floats(0.1, 2.0), min_size=3, max_size=3))
@pytest.mark.parametrize(("merge", "method"), [("linear", "task_arithmetic"), ("tsv", "tsv")])
def test_a_merge_at_a_scale_lies_where_the_same_task_vector_is_made(merge, method, scale, weights):
    experts = factored_experts(3)
    vectors = {expert: experts[skill] for expert, skill in zip(EXPERTS, SKILLS, strict=True)}
    space = Combination(EXPERTS, 0.0, 2.0, merge)
    baseline = Recipe(EXPERTS, tuple(weights), merge={"method": method, "scale": scale})
    child = space.recipe(space.point_of(baseline))
    theirs, ours = (
        make(recipe, vectors.__getitem__, mutation=NoMutation(), expert_of=str)[0] for recipe in (baseline, child)
    )
    assert_close(deltas(ours), deltas(theirs), 1e-4)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(EXPERTS[:2], (1.0, 1.0)),
        Recipe(EXPERTS, (1.0, 1.0, 1.0), merge={"method": "ties", "scale": 1.0}),
        Recipe(EXPERTS, (1.0, 1.0, 1.0), merge={"method": "task_arithmetic", "scale": 1.0, "residual": 0.1}),
        Recipe(EXPERTS, (1.0, 1.0, 1.0), mutation={"kind": "svd", "seed": 1}),
    ],
)
def test_what_coefficients_alone_do_not_make_lies_nowhere(recipe):
    assert Combination(EXPERTS, 0.0, 1.0, "linear").point_of(recipe) is None
    assert Combination(EXPERTS, 0.0, 1.0, "tsv").point_of(recipe) is None


def begun(known, seed=0):
    archives = Archives(SKILLS, {skill: Grid(0.0, 1.0, 6) for skill in SKILLS})
    return build_search(
        configuration("surrogate"), Start(seed, BUDGET, archives, EXPERTS, (100,) * len(SKILLS), known=tuple(known))
    )


def test_what_is_known_of_baselines_leads_a_short_surrogate_search():
    near = OPTIMUM + 0.05
    known = [
        Known("regmean-1", Recipe(EXPERTS, tuple(map(float, point))), synthetic(np.array(point)))
        for point in ([0.2, 0.2, 0.2], near, [0.9, 0.9, 0.9])
    ]
    found = {"told": [], "untold": []}
    for seed in range(6):
        for name, told in (("told", known), ("untold", [])):
            search = begun(told, seed)
            _, places = run(search, 4)
            found[name].append(np.mean(list(synthetic(place(search.answer(), places)).values())))
            assert all(one.id not in EXPERTS for skill in SKILLS for one in search.archives[skill].occupants())
    best = np.mean(list(synthetic(near).values()))
    assert np.mean(found["told"]) > best - 0.02
    assert np.mean(found["told"]) > np.mean(found["untold"])


def test_what_lies_elsewhere_is_not_told():
    elsewhere = Known("tsv-1", Recipe(("others",) * 3, (1.0, 1.0, 1.0)), dict.fromkeys(SKILLS, 1.0))
    plain, told = begun([]), begun([elsewhere])
    assert run(plain, 12)[0] == run(told, 12)[0]
    assert plain.answer() == told.answer()
