import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.search.archive import Archive, Archives, Grid, Win, grids_from_experts

SKILLS = ("coding", "os", "db")
GRIDS = {skill: Grid(0.0, 1.0, 4) for skill in SKILLS}

unit = st.floats(0, 1)
score_sets = st.fixed_dictionaries(dict.fromkeys(SKILLS, unit))


def scores(coding: float, os: float, db: float) -> dict[str, float]:
    return {"coding": coding, "os": os, "db": db}


@given(unit, unit, st.integers(1, 100), st.floats(-1, 2), st.floats(-1, 2))
def test_bins_are_in_range_and_monotone(a: float, b: float, bins: int, x: float, y: float) -> None:
    if a == b:
        return
    grid = Grid(min(a, b), max(a, b), bins)
    low, high = grid.bin(min(x, y)), grid.bin(max(x, y))
    assert 0 <= low <= high < bins
    assert grid.bin(grid.lower) == 0
    assert grid.bin(grid.upper) == bins - 1


def test_bins_cut_the_range_evenly_and_clamp_outside() -> None:
    grid = Grid(0.2, 0.8, 3)
    assert [grid.bin(value) for value in (0.0, 0.2, 0.39, 0.41, 0.59, 0.61, 0.8, 1.0)] == [0, 0, 0, 1, 1, 2, 2, 2]
    assert grid.edges == pytest.approx((0.2, 0.4, 0.6, 0.8))


@pytest.mark.parametrize(
    "arguments", [(0.5, 0.5, 3), (0.6, 0.5, 3), (0.0, math.inf, 3), (math.nan, 1.0, 3), (0, 1, 0)]
)
def test_grids_without_a_range_or_bins_are_refused(arguments: tuple[float, float, int]) -> None:
    with pytest.raises(ValueError, match="a grid needs"):
        Grid(*arguments)


def test_grids_reach_from_85_to_115_percent_of_the_experts_scores() -> None:
    grids = grids_from_experts([scores(0.2, 0.1, 0.5), scores(0.4, 0.3, 0.5), scores(0.3, 0.2, 0.5)], bins=15)
    assert list(grids) == list(SKILLS)
    for skill, low, high in (("coding", 0.17, 0.46), ("os", 0.085, 0.345), ("db", 0.425, 0.575)):
        assert (grids[skill].lower, grids[skill].upper, grids[skill].bins) == (
            pytest.approx(low),
            pytest.approx(high),
            15,
        )


@given(
    st.lists(score_sets, min_size=1, max_size=4), score_sets, st.sampled_from([(0.85, 1.15), (1.0, 1.0), (1.2, 0.9)])
)
def test_degenerate_ranges_give_valid_grids(
    experts: list[dict[str, float]], child: dict[str, float], factors: tuple[float, float]
) -> None:
    grids = grids_from_experts(experts, bins=15, lower=factors[0], upper=factors[1])
    archives = Archives(SKILLS, grids)
    assert any(archives.insert("child", child, 0).values())


def test_all_zero_scores_give_the_unit_range() -> None:
    grids = grids_from_experts([scores(0, 0, 0)] * 3, bins=15)
    assert set(grids.values()) == {Grid(0.0, 1.0, 15)}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -0.01, 1.01])
def test_scores_that_are_not_fractions_are_refused_and_change_nothing(bad: float) -> None:
    archives = Archives(SKILLS, GRIDS)
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        archives.insert("child", scores(0.5, 0.5, bad), 0)
    assert not any(archives[skill].cells for skill in SKILLS)
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        grids_from_experts([scores(0.5, 0.5, bad)], bins=3)


def test_missing_and_unknown_skills_are_refused() -> None:
    archives = Archives(SKILLS, GRIDS)
    with pytest.raises(ValueError, match="expected scores of"):
        archives.insert("child", {"coding": 0.5, "os": 0.5}, 0)
    with pytest.raises(ValueError, match="expected scores of"):
        archives.insert("child", scores(0.5, 0.5, 0.5) | {"vqa": 0.5}, 0)
    with pytest.raises(ValueError, match="distinct skills"):
        Archives(["os", "os"], GRIDS)
    with pytest.raises(ValueError, match="expected grids"):
        Archives(["os"], GRIDS)
    with pytest.raises(ValueError, match="its own score"):
        Archive("os", GRIDS)


def test_an_individual_is_placed_by_its_other_scores_and_kept_by_its_own() -> None:
    archives = Archives(SKILLS, GRIDS)
    assert archives.insert("first", scores(0.5, 0.3, 0.9), -1) == {
        "coding": Win((1, 3), None),
        "os": Win((2, 3), None),
        "db": Win((2, 1), None),
    }
    won = archives.insert("second", scores(0.6, 0.3, 0.8), 0)
    assert won == {"coding": Win((1, 3), "first"), "os": None, "db": None}
    assert archives["coding"].elite().id == "second"
    assert archives["os"].elite().id == "first"


def test_tie_keeps_the_incumbent() -> None:
    archive = Archives(SKILLS, GRIDS)["os"]
    assert archive.insert("first", scores(0.1, 0.5, 0.1), 0)
    assert archive.insert("second", scores(0.2, 0.5, 0.2), 1) is None
    assert archive.elite().id == "first"


def test_offering_the_same_individual_again_changes_nothing() -> None:
    archives = Archives(SKILLS, GRIDS)
    archives.insert("child", scores(0.1, 0.2, 0.3), 0)
    before = archives.to_json()
    assert set(archives.insert("child", scores(0.1, 0.2, 0.3), 0).values()) == {None}
    assert archives.to_json() == before


def test_elites_tied_across_cells_resolve_to_the_most_recent() -> None:
    archive = Archives(SKILLS, GRIDS)["os"]
    archive.insert("old", scores(0.9, 0.5, 0.1), 3)
    archive.insert("new", scores(0.1, 0.5, 0.1), 7)
    archive.insert("weak", scores(0.1, 0.4, 0.9), 9)
    assert archive.elite().id == "new"


@given(st.lists(score_sets, min_size=1, max_size=20, unique_by=lambda s: tuple(s.values())), st.randoms())
def test_the_order_of_offers_matters_only_in_ties(offers: list[dict[str, float]], random) -> None:  # type: ignore[no-untyped-def]
    numbered = list(enumerate(offers))
    for skill in SKILLS:
        if len({offer[skill] for offer in offers}) < len(offers):
            return
    one, two = Archives(SKILLS, GRIDS), Archives(SKILLS, GRIDS)
    for i, offer in numbered:
        one.insert(f"g{i}", offer, i)
    random.shuffle(numbered)
    for i, offer in numbered:
        two.insert(f"g{i}", offer, i)
    assert one.to_json() == two.to_json()


@given(st.lists(score_sets, max_size=20))
def test_a_cell_holds_the_best_that_was_offered_to_it(offers: list[dict[str, float]]) -> None:
    archives = Archives(SKILLS, GRIDS)
    for i, offer in enumerate(offers):
        archives.insert(f"g{i}", offer, i)
    for skill in SKILLS:
        archive = archives[skill]
        for cell, occupant in archive.cells.items():
            rivals = [offer[skill] for offer in offers if archive.cell_of(offer) == cell]
            assert occupant.scores[skill] == max(rivals)
            assert int(occupant.id[1:]) == next(
                i for i, o in enumerate(offers) if archive.cell_of(o) == cell and o[skill] == max(rivals)
            )


@given(st.lists(score_sets, max_size=20))
def test_json_round_trips_and_is_deterministic(offers: list[dict[str, float]]) -> None:
    archives = Archives(SKILLS, GRIDS)
    for i, offer in enumerate(offers):
        archives.insert(f"g{i}", dict(reversed(offer.items())), i)
    text = archives.to_json()
    again = Archives.from_json(text)
    assert again.to_json() == text
    assert again.skills == SKILLS
    assert again.grids == archives.grids
    for skill in SKILLS:
        assert again[skill].cells == archives[skill].cells


def test_json_of_something_else_is_refused() -> None:
    archives = Archives(SKILLS, GRIDS)
    archives.insert("child", scores(0.1, 0.2, 0.3), 0)
    with pytest.raises(ValueError, match="not the JSON of archives"):
        Archives.from_json("{}")
    tampered = json.loads(archives.to_json())
    tampered["archives"]["os"][0]["cell"] = [3, 3]
    with pytest.raises(ValueError, match="does not belong"):
        Archives.from_json(json.dumps(tampered))


def test_figures_of_an_archive() -> None:
    archive = Archives(SKILLS, GRIDS)["os"]
    assert (archive.capacity, archive.coverage, archive.best, archive.mean, archive.qd_score) == (16, 0, 0, 0, 0)
    with pytest.raises(ValueError, match="is empty"):
        archive.elite()
    archive.insert("one", scores(0.9, 0.5, 0.1), 0)
    archive.insert("two", scores(0.1, 0.3, 0.1), 1)
    assert archive.coverage == 2 / 16
    assert archive.best == 0.5
    assert archive.mean == pytest.approx(0.4)
    assert archive.qd_score == pytest.approx(0.8)
    assert [occupant.id for occupant in archive.occupants()] == ["two", "one"]


def test_a_single_skill_has_a_single_cell() -> None:
    archives = Archives(["os"], {"os": Grid(0.0, 1.0, 15)})
    assert archives.insert("one", {"os": 0.5}, 0) == {"os": Win((), None)}
    assert archives.insert("two", {"os": 0.7}, 1) == {"os": Win((), "one")}
    assert (archives["os"].capacity, archives["os"].coverage) == (1, 1.0)
    assert Archives.from_json(archives.to_json()).to_json() == archives.to_json()


def test_archives_take_turns() -> None:
    archives = Archives(SKILLS, GRIDS)
    assert [archives.active(t) for t in range(5)] == ["coding", "os", "db", "coding", "os"]
