"""Starts that are refused, by the server, by the flow or before it has done anything; Prefect is real."""

import logging

import pytest
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate

from cycleqd.config import parse_config
from cycleqd.preflight.search import SearchUnfit
from cycleqd.run.finding import RunUnknown
from cycleqd.run.lease import RunLocked
from cycleqd.run.names import RunRef
from cycleqd.run.store import list_runs
from flows.aggregate import aggregate_and_report
from flows.evolve import evolve
from flows.main import cycleqd_run
from flows.pairs import run_pairs
from flows.rerun import rerun
from flows.resume import resume_unfinished
from flows.train_experts import train_experts
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


@pytest.mark.parametrize("flow", [evolve, train_experts, aggregate_and_report])
@pytest.mark.parametrize(("name", "said"), [("buzy", "did you mean busy?"), ("x", "there are busy")])
def test_an_unknown_run_is_refused_in_one_line_with_the_names_that_there_are(
    prefect_harness, caplog, tmp_path, flow, name, said
):
    storage = synthetic_run(str(tmp_path), run_id="busy").storage
    with caplog.at_level(logging.INFO):
        state = flow(RunRef(run_id=name, storage=storage), return_state=True)
    fault = state.result(raise_on_failure=False)
    assert isinstance(fault, RunUnknown)
    assert str(fault) == f"no run '{name}' under {storage}; {said}"
    assert [record.levelno for record in caplog.records if record.getMessage() == str(fault)] == [logging.ERROR]
    assert "Traceback" not in caplog.text
    assert [each.name for each in tmp_path.iterdir()] == ["busy"]  # no lease of a run that there is not


@pytest.mark.parametrize("run_id", ["../x", "", "x" * 80, "Demo"])
def test_a_name_that_no_run_can_have_is_refused_by_the_server_and_by_the_flow(run_id):
    given = {"run": {"run_id": run_id}}
    (fault,) = validate(given, parameter_schema(evolve).model_dump())
    assert [*fault.absolute_path] == ["run", "run_id"]
    with pytest.raises(ParameterTypeError, match=r"run\.run_id"):
        evolve.validate_parameters(given)


@pytest.mark.parametrize("generations", [-3, True, "5", 2.5])
def test_generations_that_no_run_can_have_are_refused_where_they_are(generations):
    given = {"run": {"run_id": "busy"}, "generations": generations}
    schema = parameter_schema(evolve).model_dump()
    (fault,) = validate(given, schema)
    assert [*fault.absolute_path] == ["generations"]
    with pytest.raises(ParameterTypeError, match=r"generations"):
        evolve.validate_parameters(given)
    (told,) = validate(given | {"generations": -3}, schema)
    assert told.message == "-3 is less than the minimum of 0"
    for fit in (None, 0, 5):
        assert validate(given | {"generations": fit}, schema) == []
        assert evolve.validate_parameters(given | {"generations": fit})["generations"] == fit


@pytest.mark.parametrize(
    ("flow", "given"),
    [
        (rerun, {"config": {}, "keep_seed": 1}),
        (rerun, {"config": {}, "keep_seed": "no"}),
        (cycleqd_run, {"config": {}, "rescore": "yes"}),
        (run_pairs, {"config": {}, "seeds": [-1]}),
        (run_pairs, {"config": {}, "seeds": ["1"]}),
        (run_pairs, {"config": {}, "seeds": []}),
    ],
)
def test_values_of_another_type_are_refused_and_not_guessed_at(flow, given):
    assert validate(given, parameter_schema(flow).model_dump()) != []
    with pytest.raises(ParameterTypeError):
        flow.validate_parameters(given)


def test_a_run_that_somebody_took_up_meanwhile_is_no_failure_of_resuming(prefect_harness, monkeypatch, busy):
    monkeypatch.setattr("flows.resume.unfinished_runs", lambda storage: iter([busy.config()]))
    assert resume_unfinished(busy.storage) == []
