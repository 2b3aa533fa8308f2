import shutil
from pathlib import Path

import pytest

from cycleqd.lease import Lease
from cycleqd.store import RunStore
from cycleqd.unfinished import unfinished_runs
from tests.report.synthetic import synthetic_run


@pytest.fixture
def storage(tmp_path):
    return str(tmp_path / "runs")


def reported(storage, run_id):
    store = synthetic_run(storage, run_id=run_id)
    store.write_json("report/summary.json", {})  # only that it is there counts: the records tell the rest


def names(storage):
    return [config.run_id for config in unfinished_runs(storage)]


def test_a_reported_run_is_finished_and_one_without_a_report_is_not(storage):
    reported(storage, "done")
    synthetic_run(storage, run_id="halfway")
    assert names(storage) == ["halfway"]
    assert next(unfinished_runs(storage)).storage == storage


def test_a_report_that_was_drawn_halfway_does_not_count(storage):
    reported(storage, "early")
    shutil.rmtree(Path(storage, "early", "individuals", "aggregate"))
    assert names(storage) == ["early"]


def test_a_run_that_somebody_works_on_is_left_alone(storage):
    store = synthetic_run(storage, run_id="busy")
    lease = Lease.acquire(RunStore(storage, "busy"))
    try:
        assert names(storage) == []
    finally:
        lease.release()
    assert names(storage) == [store.run_id]


def test_an_unreadable_configuration_does_not_hide_the_others(storage, caplog):
    synthetic_run(storage, run_id="broken")
    synthetic_run(storage, run_id="good")
    Path(storage, "broken", "config.json").write_text('{"run_id": 3}')
    assert names(storage) == ["good"]
    assert "broken" in caplog.text
