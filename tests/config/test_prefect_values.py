"""What a schedule's own parameters look like when they reach a flow, and that they mean what was filled in."""

import json

import pytest

from cycleqd.config import ConfigError, load_config, parse_config
from cycleqd.config.prefect_values import plain
from cycleqd.experiment.plan import ExperimentConfig, load_experiment


def wrapped(value):
    """As Prefect's form stores a mapping in the parameters of a schedule."""
    return {"__prefect_kind": "json", "value": json.dumps(value)}


def test_mapping_that_the_form_has_wrapped_is_the_mapping():
    demo = load_config("demo").model_dump(mode="json")
    given = demo | {"experts": demo["experts"] | {"epochs_by_skill": wrapped({"os": 1.5}), "data": wrapped({})}}
    assert parse_config(given) == parse_config(demo)


@pytest.mark.parametrize("field", ["experts", "skills", "baselines"])
def test_whole_section_or_list_may_be_wrapped(field):
    demo = load_config("demo").model_dump(mode="json")
    assert parse_config(demo | {field: wrapped(demo[field])}) == parse_config(demo)
    assert parse_config(wrapped(demo)) == parse_config(demo)


def test_mapping_within_a_wrapped_one_may_be_wrapped_again():
    experts = {"epochs_by_skill": wrapped({"os": 2.0})}
    assert parse_config({"experts": wrapped(experts)}).experts.epochs_of("os") == 2.0


@pytest.mark.parametrize("empty", [{"__prefect_kind": "json"}, {"__prefect_kind": "json", "value": " "}])
def test_field_that_nobody_filled_in_keeps_its_default(empty):
    assert parse_config({"experts": {"data": empty}, "seed": empty}) == parse_config({})


def test_value_that_is_only_marked_as_one_is_the_value():
    assert parse_config({"seed": {"__prefect_kind": "none", "value": 3}}).seed == 3


def test_what_is_wrapped_is_as_strict_as_what_is_not():
    with pytest.raises(ConfigError, match=r"experts\.epochs_by_skill\.os: .*valid number"):
        parse_config({"experts": {"epochs_by_skill": wrapped({"os": "1.5"})}})


def test_text_that_is_no_json_is_refused_with_the_path_of_its_field():
    with pytest.raises(ConfigError) as caught:
        parse_config({"experts": {"data": {"__prefect_kind": "json", "value": "{os: 1"}}, "seed": 1})
    assert "  experts.data: Value error, expected JSON" in str(caught.value)


@pytest.mark.parametrize("kind", ["jinja", "workspace_variable"])
def test_what_only_prefects_server_could_fill_in_is_refused_with_the_path_of_its_field(kind):
    with pytest.raises(ConfigError, match=rf"  seed: .*does not fill in '{kind}'"):
        parse_config({"seed": {"__prefect_kind": kind, "template": "{{ 1 }}"}})


def test_experiment_in_a_schedule_is_the_experiment():
    shipped = load_experiment("table2")
    values = shipped.model_dump(mode="json")
    given = values | {"settings": wrapped(values["settings"]), "methods": wrapped(values["methods"])}
    assert ExperimentConfig.model_validate(given) == shipped


def test_what_is_not_wrapped_stays_as_it_is():
    value = {"a": [1, {"b": None}], "c": {"value": "{}"}}
    assert plain(value) == (value, [])
