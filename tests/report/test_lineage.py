from __future__ import annotations

import pytest

from cycleqd.report.lineage import describe, expert_shares, family
from cycleqd.run.records import IndividualRecord
from cycleqd.run.store import RunStore

PEOPLE = {
    record.id: record
    for record in (
        IndividualRecord(id="expert-a", genome="a"),
        IndividualRecord(id="expert-b", genome="b"),
        IndividualRecord(
            id="g0", genome="0", generation=0, archive="a", parents=["expert-a", "expert-b"], coefficients=[1.5, 0.5]
        ),
        IndividualRecord(
            id="g1", genome="1", generation=1, archive="b", parents=["g0", "expert-b"], coefficients=[1.0, 1.0],
            mutation={"kind": "svd", "w_max": 0.3, "seed": 5},
        ),
        IndividualRecord(id="g2", genome="", generation=2, archive="a", parents=["g1", "g0"], coefficients=[1.0, 3.0]),
        IndividualRecord(id="g3", genome="", generation=3, archive="b", parents=["g0", "g0"], coefficients=[0.9, 1.1]),
        IndividualRecord(id="all-data", genome="d"),
        IndividualRecord(id="regmean-a", genome="s"),
        IndividualRecord(
            id="refined", genome="5", generation=3, parents=["merged"], coefficients=[1.0],
            mutation={"kind": "refinement", "epochs": 1.0, "learning_rate": 5e-4, "of": "4", "episodes": 330},
        ),
        IndividualRecord(id="aggregate", genome="4", generation=3, parents=["g2", "g2"], coefficients=[0.5, 0.5]),
    )
}  # fmt: skip


def test_shares_follow_the_crossovers() -> None:
    assert expert_shares("g0", PEOPLE.__getitem__) == pytest.approx({"expert-a": 0.75, "expert-b": 0.25})
    assert expert_shares("g1", PEOPLE.__getitem__) == pytest.approx({"expert-a": 0.375, "expert-b": 0.625})
    assert expert_shares("g2", PEOPLE.__getitem__) == pytest.approx({"expert-a": 0.65625, "expert-b": 0.34375})


def test_an_expert_is_all_itself() -> None:
    assert expert_shares("expert-a", PEOPLE.__getitem__) == {"expert-a": 1.0}


def test_a_parent_met_twice_is_followed_once() -> None:
    tree = family("g2", PEOPLE.__getitem__)
    first, second = tree.parents
    assert [node.record.id for node in first.parents] == ["g0", "expert-b"]
    assert (second.record.id, second.cut, second.parents) == ("g0", True, ())
    assert second.weight == pytest.approx(0.75)


def test_one_who_is_both_parents_appears_once_with_the_whole_weight() -> None:
    (parent,) = family("g3", PEOPLE.__getitem__).parents
    assert (parent.record.id, parent.weight) == ("g0", pytest.approx(1.0))


def test_depth_cuts_the_tree_and_says_so() -> None:
    tree = family("g1", PEOPLE.__getitem__, depth=1)
    assert [(node.record.id, node.cut) for node in tree.parents] == [("g0", True), ("expert-b", False)]
    assert family("g1", PEOPLE.__getitem__, depth=0).parents == ()


def test_a_lineage_of_a_thousand_generations_is_walked() -> None:
    chain = {"g0": PEOPLE["expert-a"].model_copy(update={"id": "g0"})}
    for number in range(1, 1500):
        parents = [f"g{number - 1}", f"g{max(0, number - 2)}"]
        chain[f"g{number}"] = IndividualRecord(
            id=f"g{number}", genome="", generation=number, archive="a", parents=parents, coefficients=[1.0, 1.0]
        )
    assert expert_shares("g1499", chain.__getitem__) == pytest.approx({"g0": 1.0})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("expert-a", "expert"),
        ("g1", "generation 1, archive b, svd (w_max 0.3, seed 5)"),
        ("aggregate", "merged after generation 3 from g2"),
        ("all-data", "fine-tuned on the data of all skills"),
        ("regmean-a", "share of RegMean of a"),
        ("refined", "refinement of merged after generation 3 (epochs 1, learning_rate 0.0005, episodes 330)"),
    ],
)
def test_origins_are_told_in_a_line(name: str, text: str) -> None:
    assert describe(PEOPLE[name]) == text


def test_shares_of_a_runs_final_model_add_up_to_one(finished: RunStore) -> None:
    assert sum(expert_shares("aggregate", finished.individual).values()) == pytest.approx(1.0)
