import pytest

from cycleqd import steps
from cycleqd.config import AggregationConfig
from cycleqd.report import summarise
from cycleqd.workspace import BASE
from tests.toy_experts import SKILLS
from tests.upkeep.toy_run import begin, evolve


@pytest.mark.parametrize("elites", ["quality", "balanced"])
def test_report_and_test_split_have_the_same_models(tmp_path, elites):
    store = begin(str(tmp_path), aggregation=AggregationConfig(elites=elites))
    ws = evolve(store, 18)  # so many that the two rules choose differently
    aggregate = steps.aggregate(ws)
    names = steps.compared(ws)
    rows = summarise(store).individuals
    assert {f"elite:{skill}" for skill in SKILLS} <= rows.keys()
    best = {rows[f"elite:{skill}"] for skill in SKILLS}
    assert (best == set(aggregate.parents)) is (elites == "quality")
    assert set(names) == {BASE, steps.AVERAGE, *rows.values()}
    assert len(names) == len(set(names))
    assert names[-1] == steps.AGGREGATE
    assert names == steps.compared(ws)
