"""A run that another process works on; Prefect is real."""

import logging

import pytest

from cycleqd.config import parse_config
from cycleqd.preflight.search import SearchUnfit
from cycleqd.run.lease import RunLocked
from cycleqd.run.store import list_runs
from flows.main import cycleqd_run
from flows.resume import resume_unfinished
from tests.report.synthetic import synthetic_run
from tests.run.test_lease import stranger


@pytest.fixture
def busy(tmp_path):
    store = synthetic_run(str(tmp_path), run_id="busy")
    stranger(store)
    return store


def test_a_start_of_a_run_that_another_process_works_on_is_refused_in_one_line(prefect_harness, caplog, busy):
    with caplog.at_level(logging.INFO):
        state = cycleqd_run(busy.config(), return_state=True)
    assert state.is_failed()
    assert "being written to by process 7 on far" in state.message
    assert isinstance(state.result(raise_on_failure=False), RunLocked)
    (told,) = [record for record in caplog.records if record.getMessage().startswith("run 'busy' is being written to")]
    assert told.levelno == logging.ERROR
    assert not any(record.exc_info for record in caplog.records)
    assert "Traceback" not in caplog.text


def test_a_search_of_an_individual_that_the_run_does_not_make_is_refused_before_the_run_begins(
    prefect_harness, caplog, tmp_path
):
    values = {"run_id": "again", "storage": str(tmp_path), "baselines": []}
    config = parse_config(values | {"search": {"kind": "rescoring", "individual": "tsv-0.85"}})
    with caplog.at_level(logging.INFO):
        state = cycleqd_run(config, return_state=True)
    fault = state.result(raise_on_failure=False)
    assert isinstance(fault, SearchUnfit)
    assert str(fault) == (
        "run 'again': search.individual is 'tsv-0.85', and no such individual is made: set it to one of "
        "expert-coding, expert-os, expert-db, average"
    )
    assert [record.levelno for record in caplog.records if record.getMessage() == str(fault)] == [logging.ERROR]
    assert "Traceback" not in caplog.text
    assert list_runs(str(tmp_path)) == []


def test_a_run_that_somebody_took_up_meanwhile_is_no_failure_of_resuming(prefect_harness, monkeypatch, busy):
    monkeypatch.setattr("flows.resume.unfinished_runs", lambda storage: iter([busy.config()]))
    assert resume_unfinished(busy.storage) == []
