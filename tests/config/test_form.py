"""The configuration's schema as Prefect's form and its server read it."""

import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import build_error_obj, validate

from cycleqd.config import ConfigError, RunConfig, load_config, parse_config
from cycleqd.config.files import PROFILES
from cycleqd.config.form import CHANGED, USUAL
from cycleqd.config.run import _FIRST, FOLDED


@pytest.fixture(scope="module")
def schema():
    def flow(config: RunConfig) -> None: ...

    return parameter_schema(flow).model_dump()


@pytest.fixture(scope="module")
def fields(schema):
    return schema["definitions"]["RunConfig"]["properties"]


def faults(schema, config):
    """What the server answers to the form: the paths of the faults with their texts."""

    def told(errors, path):
        for error in errors:
            if isinstance(error, str):
                yield path, error
            else:
                yield from told(error["errors"], (*path, error.get("property", error.get("index"))))

    return dict(told(build_error_obj(validate({"config": config}, schema))["errors"], ()))


def test_form_begins_with_what_people_change(fields):
    assert sorted(fields, key=lambda name: fields[name]["position"])[: len(_FIRST)] == list(_FIRST)
    assert sorted(field["position"] for field in fields.values()) == list(range(len(RunConfig.model_fields)))


def test_all_else_is_folded_and_described(fields):
    assert {name for name, field in fields.items() if field.get("anyOf", [{}])[0].get("type") == "null"} == set(FOLDED)
    for name in FOLDED:
        usual, changed = fields[name]["anyOf"]
        assert (usual["title"], changed["title"]) == (USUAL, CHANGED)
        assert fields[name]["description"]
        assert "default" not in fields[name]  # a section that nobody opens is sent as null


@pytest.mark.parametrize("name", FOLDED)
def test_folded_field_is_its_default_for_the_server_and_for_the_flow(schema, name):
    assert faults(schema, {name: None}) == {}
    assert parse_config({name: None}) == parse_config({})


def test_form_finds_the_alternative_of_a_given_section_by_its_fields(fields):
    # A section that is given must be open: the form would send null for it.
    for name in set(FOLDED) - {"skills", "baselines", "trackers"}:
        changed = fields[name]["anyOf"][1]
        assert changed["properties"].keys() == fields[name]["properties"].keys()


@pytest.mark.parametrize("profile", PROFILES)
def test_server_takes_every_profile(schema, profile):
    assert faults(schema, load_config(profile).model_dump(mode="json")) == {}


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"sandbox": {"workers": 0}}, ("sandbox", "workers")),
        ({"experts": {"rank": 0}}, ("experts", "rank")),
        ({"grid": {"bins": "3"}}, ("grid", "bins")),
        ({"skills": [{"name": "os", "optimization": 0}]}, ("skills", 0, "optimization")),
        ({"search": {"block": 0}}, ("search", "block")),
        ({"engine": {"kind": "x"}}, ("engine", "kind")),
        ({"engine": {"knid": "vllm"}}, ("engine",)),
        ({"baselines": [{"method": "tsv", "scales": ["a"]}]}, ("baselines", 0, "scales", 0)),
    ],
)
def test_fault_in_a_folded_section_is_told_where_it_is(schema, config, path):
    ((where, text),) = faults(schema, config).items()
    assert where == ("config", *path)
    assert "under any of the given schemas" not in text


@pytest.mark.parametrize("name", ["run_id", "storage", "seed"])
def test_other_fields_may_not_be_null(name):
    with pytest.raises(ConfigError, match=f"  {name}: "):
        parse_config({name: None})


def test_what_a_schedule_stores_of_the_form_is_the_configuration():
    # As a browser sent it: closed sections are null, mappings of open ones are wrapped, and nothing unwraps them.
    nothing = {"__prefect_kind": "json", "value": "{}"}
    opened = {"data": nothing, "source": nothing, "epochs_by_skill": nothing, "rank": 2, "alpha": 32}
    stored = {"run_id": "planned", "grid": {"bins": 9}, "experts": opened}
    config = parse_config(dict.fromkeys(FOLDED) | stored)
    assert config == parse_config({"run_id": "planned", "grid": {"bins": 9}, "experts": {"rank": 2, "alpha": 32}})
