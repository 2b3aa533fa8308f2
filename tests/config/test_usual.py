"""What is left out in the form of a run, and what is null there, is the profile's that the form names."""

import pytest
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate

from cycleqd.config import PROFILES, RunConfig, load_config, parse_config, with_usual
from cycleqd.config.run import FOLDED
from flows.main import cycleqd_run
from flows.pairs import run_pairs
from flows.rerun import rerun

FLOWS = pytest.mark.parametrize(
    ("flow", "more"),
    [(cycleqd_run, {}), (rerun, {}), (run_pairs, {"seeds": [0]})],
    ids=lambda each: getattr(each, "name", ""),
)
"""Flows that take a whole configuration, and what else they want."""
CLOSED = dict.fromkeys(FOLDED)
"""Sections that nobody opened, as the form sends them."""


def taken(flow, config, more):
    """The configuration that a flow gets when a server has these parameters for it."""
    return flow.validate_parameters({"config": config, **more})["config"]


@FLOWS
@pytest.mark.parametrize("profile", PROFILES)
def test_closed_sections_are_the_profiles(flow, more, profile):
    given = {"profile": profile, "run_id": "mine", "seed": 7}
    expected = load_config(profile).model_copy(update={"run_id": "mine", "seed": 7})
    assert taken(flow, given, more) == taken(flow, CLOSED | given, more) == expected


@FLOWS
def test_an_opened_section_counts_as_it_is_shown(flow, more):
    given = {"profile": "demo", "experts": {"rank": 4}, "baselines": []}
    demo = load_config("demo").model_dump()
    expected = parse_config(demo | {"experts": {"rank": 4}, "baselines": []})
    assert expected.experts.global_batch != load_config("demo").experts.global_batch
    assert taken(flow, CLOSED | given, more) == expected


@pytest.mark.parametrize(("search", "count"), [({}, 1), ({"in_flight": 2}, 2), ({"in_flight": 8}, 2), (None, 2)])
def test_a_given_search_has_no_more_evaluators_of_the_profile_than_children_in_flight(search, count):
    config = taken(cycleqd_run, {"profile": "demo", "search": search}, {})
    assert (config.evaluators.kind, config.evaluators.count) == ("process", count)


def test_evaluators_that_are_given_count_as_they_are():
    given = {"profile": "demo", "search": {}, "evaluators": {"kind": "process", "count": 2}}
    with pytest.raises(ParameterTypeError, match=r"set search\.in_flight to 2 or more"):
        taken(cycleqd_run, given, {})


@FLOWS
def test_a_schedule_of_an_older_form_means_what_it_meant(flow, more):
    stored = CLOSED | {"run_id": "old", "search": {"block": 8}, "experts": {"rank": 4}}
    for config in (stored, stored | {"profile": None}, {"__prefect_kind": "json", "value": '{"run_id": "old"}'}):
        rest = {} if "run_id" not in config else {"search": {"block": 8}, "experts": {"rank": 4}}
        assert taken(flow, config, more) == parse_config({"run_id": "old", **rest})


@FLOWS
def test_a_configuration_from_python_is_taken_as_it_is(flow, more):
    config = RunConfig(run_id="mine")
    assert taken(flow, config, more) is config


@FLOWS
def test_the_server_takes_profiles_that_there_are_and_no_others(flow, more):
    schema = parameter_schema(flow).model_dump()
    for profile in (*PROFILES, None):
        assert validate({"config": CLOSED | {"profile": profile}, **more}, schema) == []
    (fault,) = validate({"config": {"profile": "domo"}, **more}, schema)
    assert [*fault.absolute_path] == ["config", "profile"]
    with pytest.raises(ParameterTypeError, match=r"config\.profile.*no profile 'domo'; there are demo, smol"):
        flow.validate_parameters({"config": {"profile": "domo"}, **more})


def test_faults_beside_a_profile_are_told_where_they_are():
    with pytest.raises(ParameterTypeError, match=r"config\.grid\.bins"):
        cycleqd_run.validate_parameters({"config": {"profile": "demo", "grid": {"bins": 0}}})
    with pytest.raises(ParameterTypeError, match=r"config\.sed"):
        cycleqd_run.validate_parameters({"config": {"profile": "demo", "sed": None}})
    with pytest.raises(ParameterTypeError, match=r"config\.seed"):
        cycleqd_run.validate_parameters({"config": {"profile": "demo", "seed": None}})


def test_mappings_of_opened_sections_are_unwrapped():
    wrapped = {"__prefect_kind": "json", "value": '{"os": 2.5}'}
    given = with_usual({"profile": "demo", "experts": {"epochs_by_skill": wrapped}})
    assert parse_config(given).experts.epochs_by_skill == {"os": 2.5}
    template = {"__prefect_kind": "jinja", "template": "{{ x }}"}
    with pytest.raises(ParameterTypeError, match=r"config\.experts\.data: .*does not fill in 'jinja'"):
        cycleqd_run.validate_parameters({"config": {"profile": "demo", "experts": {"data": template}}})


def test_form_begins_with_the_profile():
    fields = parameter_schema(cycleqd_run).model_dump()["properties"]["config"]["properties"]
    assert sorted(fields, key=lambda name: fields[name]["position"])[:2] == ["profile", "run_id"]
    assert sorted(field["position"] for field in fields.values()) == list(range(len(RunConfig.model_fields) + 1))
