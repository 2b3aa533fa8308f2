import pytest

from cycleqd.config import parse_config
from cycleqd.preflight.search import check_search
from cycleqd.run.records import IndividualRecord
from cycleqd.run.store import RunStore


def checked(individual, **sections):
    search = {"kind": "rescoring", "individual": individual}
    return check_search(parse_config({"search": search, "storage": "memory://no-runs", **sections}))


def test_an_individual_that_no_run_makes_is_found_with_those_that_there_will_be():
    found = checked("foo")
    assert not found.ok
    assert "search.individual is 'foo'" in found.detail
    assert found.remedy == (
        "set it to one of expert-coding, expert-os, expert-db, average, task-arithmetic-0.4, task-arithmetic-0.6, "
        "task-arithmetic-0.8, tsv-0.7, tsv-0.85, tsv-1, iso-c-0.6, iso-c-0.8, iso-c-1"
    )


@pytest.mark.parametrize("individual", ["expert-os", "average", "tsv-0.85", "all-data"])
def test_whoever_is_made_before_the_search_may_be_scored(individual):
    assert checked(individual, comparison={"all_data": True}).ok


def test_shares_of_regmean_are_there_where_they_are_made():
    assert not checked("regmean-os").ok
    assert checked("regmean-os", baselines=[{"method": "regmean"}]).ok


def test_whoever_the_run_has_already_may_be_scored(tmp_path):
    where = {"storage": str(tmp_path), "run_id": "run", "baselines": []}
    assert not checked("tsv-0.85", **where).ok
    RunStore(str(tmp_path), "run").write_individual(IndividualRecord(id="tsv-0.85", genome="0"))
    assert checked("tsv-0.85", **where).ok


def test_a_search_whose_package_cannot_be_imported_is_found():
    config = parse_config({})
    gone = config.model_copy(update={"search": config.search.model_copy(update={"kind": "gone:Search"})})
    assert "can't be imported" in check_search(gone).detail
