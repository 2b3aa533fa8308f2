import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cycleqd.config import PROFILES, ConfigError, RunConfig, SkillConfig, load_config, parse_config


@pytest.mark.parametrize("profile", PROFILES)
def test_every_shipped_profile_loads_and_names_its_run_after_itself(profile):
    assert load_config(profile).run_id == profile


@pytest.mark.parametrize("profile", PROFILES)
def test_yaml_round_trip_is_lossless(profile, tmp_path):
    config = load_config(profile)
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    assert load_config(str(path)) == config


@pytest.mark.parametrize("profile", ["paper", "paper-full"])
def test_paper_profile_has_the_papers_settings(profile):
    # arXiv 2410.14735, sections 3 and 4: alpha 0.5/0.8, mu 1, 15 bins, 85/115 %, 1200 generations, batch 64.
    config = load_config(profile)
    assert config.generations == 1200
    assert (config.sampling.alpha_low, config.sampling.alpha_high) == (0.5, 0.8)
    assert (config.grid.bins, config.grid.lower, config.grid.upper) == (15, 0.85, 1.15)
    assert config.crossover.mu == 1.0
    assert config.experts.global_batch == 64
    assert config.experts.warmup_fraction == 0.1
    assert config.experts.epochs_by_skill == {"mbpp_plus": 3}
    assert config.experts.epochs == 1


def test_the_papers_profiles_differ_in_how_experts_are_trained_and_stretched():
    lora, full = (load_config(name).model_dump(mode="json") for name in ("paper", "paper-full"))
    different = {section for section in lora if lora[section] != full[section]}
    assert different == {"run_id", "experts", "mutation"}
    settings = {name for name in lora["experts"] if lora["experts"][name] != full["experts"][name]}
    assert settings == {"method", "rank", "alpha", "learning_rate", "spectral"}


def test_paper_profile_trains_on_the_papers_data():
    config = load_config("paper")
    assert config.skill_names == ("mbpp_plus", "agentbench_os", "agentbench_db")
    assert all(set(skill.counts.values()) == {0, None} for skill in config.skills)
    sources = {skill: [(s.recipe, s.subset) for s in data.sources] for skill, data in config.experts.data.items()}
    assert sources == {
        "mbpp_plus": [("magicoder_evol", None), ("magicoder_oss", None)],
        "agentbench_os": [("agent_flan", "os")],
        "agentbench_db": [("agent_flan", "db")],
    }


@pytest.mark.parametrize(("name", "turns"), [("os", 3), ("mbpp_plus", 3), ("agentbench_os", 0)])
def test_turns_are_a_setting_of_benchmarks_that_have_several(name, turns):
    assert SkillConfig.model_validate({"name": "agentbench_os", "max_turns": 8}).max_turns == 8
    with pytest.raises(ConfigError, match=r"skills\.0\.max_turns"):
        parse_config({"skills": [{"name": name, "max_turns": turns}]})


@pytest.mark.parametrize("skill", ["mbpp_plus", "agentbench_os", "agentbench_db"])
def test_benchmark_without_training_data_is_refused_with_the_setting_to_change(skill):
    with pytest.raises(ConfigError, match=rf"set experts\.data\.{skill}"):
        parse_config({"skills": [{"name": skill}]})
    data = {skill: {"sources": [{"recipe": "chat", "path": "mine.jsonl"}]}}
    assert parse_config({"skills": [{"name": skill}], "experts": {"data": data}}).skill_names == (skill,)


def test_an_expert_with_a_source_needs_no_training_data_unless_a_model_of_all_data_does():
    values = {"skills": [{"name": "mbpp_plus"}, {"name": "os"}], "experts": {"source": {"mbpp_plus": "someone/it@v1"}}}
    config = parse_config(values)
    assert config.experts.source_of("mbpp_plus") == "someone/it@v1"
    assert config.trained == ("os",)
    with pytest.raises(ConfigError, match=r"comparison: .*set experts\.data\.mbpp_plus"):
        parse_config(values | {"comparison": {"all_data": True}})
    for regmean in ({"baselines": [{"method": "regmean"}]}, {"search": {"kind": "cma_es", "merge": "regmean"}}):
        with pytest.raises(ConfigError, match=r"set experts\.data\.mbpp_plus"):
            parse_config(values | regmean)
    with pytest.raises(ConfigError, match=r"experts\.source"):
        parse_config({"experts": {"source": {"no_such_skill": "someone/it"}}})


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ({"recipe": "chat"}, "set path"),
        ({"recipe": "magicoder_oss", "subset": "os"}, "no subset"),
        ({"recipe": "alpaca"}, "recipe"),
        ({"recipe": "chat", "path": "a.jsonl", "max_samples": 0}, "max_samples"),
    ],
)
def test_training_data_that_cannot_be_meant_is_refused(source, fault):
    with pytest.raises(ConfigError, match=fault):
        parse_config({"experts": {"data": {"os": {"sources": [source]}}}})


def test_a_skills_own_max_length_wins():
    data = {"os": {"sources": [{"recipe": "agent_flan"}], "max_length": 99}}
    experts = parse_config({"experts": {"max_length": 50, "data": data}}).experts
    assert (experts.max_length_of("os"), experts.max_length_of("db")) == (99, 50)


def test_all_faults_are_reported_at_once_with_their_paths():
    with pytest.raises(ConfigError) as caught:
        load_config("demo", ("seed=-1", "grid.bins=0", "crossover.sigma=-1", "colour=red"))
    text = str(caught.value)
    assert "4 fault(s)" in text
    for path in ("seed:", "grid.bins:", "crossover.sigma:", "colour:"):
        assert path in text


def test_faults_of_fields_that_contradict_each_other_are_reported_with_all_others():
    with pytest.raises(ConfigError) as caught:
        parse_config({
            "generations": -1,
            "skills": [{"name": "mbpp_plus"}, {"name": "mbpp_plus"}, {"name": "agentbench_db"}],
            "experts": {"data": {"agentbench_os": {"sources": [{"recipe": "magicoder_oss"}]}}},
            "grid": {"bins": 0, "lower": 2},
            "sampling": {"kind": "?", "alpha_low": 1},
            "crossover": {"mu": 0, "sigma": 0, "tau": 1},
        })  # fmt: skip
    lines = str(caught.value).splitlines()
    assert "11 fault(s)" in lines[0]
    assert {line.split(":")[0].strip() for line in lines[1:]} == {
        "generations", "skills", "skills.0", "skills.1", "skills.2", "grid.bins", "grid.upper", "sampling.kind",
        "sampling.alpha_high", "crossover.sigma", "crossover.tau",
    }  # fmt: skip


def test_faults_of_one_skill_and_one_data_set_are_reported_together():
    with pytest.raises(ConfigError) as caught:
        parse_config({
            "skills": [{"name": "os", "data": "file", "split_seed": 1, "test": 0}],
            "experts": {"data": {"os": {"sources": [{"recipe": "chat", "subset": "os"}]}}},
        })  # fmt: skip
    for path in ("skills.0.data:", "skills.0.split_seed:", "skills.0.test:", "sources.0.path:", "sources.0.subset:"):
        assert path in str(caught.value)


def test_a_list_whose_items_are_all_at_fault_is_not_called_too_short_beside_them():
    with pytest.raises(ConfigError) as caught:
        parse_config({"skills": [{"name": "oss"}, {"name": "dbb"}]})
    lines = str(caught.value).splitlines()
    assert "2 fault(s)" in lines[0]
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["skills.0.name", "skills.1.name"]
    with pytest.raises(ConfigError, match="skills: Tuple should have at least 1 item"):
        parse_config({"skills": []})


def test_refusal_of_several_children_names_settings_and_no_class():
    with pytest.raises(ConfigError, match=r"set search\.in_flight to 1, engine\.kind to server, or .* ray$"):
        parse_config({"search": {"in_flight": 2}, "engine": {"kind": "transformers"}})


def test_a_learning_rate_that_destroys_every_model_is_refused():
    for section in ("experts", "refinement"):
        with pytest.raises(ConfigError, match=rf"{section}\.learning_rate"):
            parse_config({section: {"learning_rate": 1e30}})


def test_a_search_that_scores_the_model_of_all_data_needs_that_model():
    search = {"kind": "rescoring", "individual": "all-data"}
    with pytest.raises(ConfigError, match=r"comparison: .*search\.individual is all-data"):
        parse_config({"search": search})
    config = parse_config({"search": search, "comparison": {"all_data": True}})
    assert config.search.named_individual == "all-data"


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
@pytest.mark.parametrize("path", ["aggregation.temperature", "crossover.mu", "experts.epochs_by_skill.os"])
def test_numbers_that_are_not_finite_are_refused(path, value):
    with pytest.raises(ConfigError, match=path.replace(".", r"\.")):
        load_config("smol", (f"{path}={value}",))


def test_overrides_reach_nested_fields_and_list_items(tmp_path):
    config = load_config("smol", ("mutation.kind=gaussian", "skills.1.test=7"))
    assert config.mutation.kind == "gaussian"
    assert config.counts("os")["test"] == 7


@pytest.mark.parametrize("override", ["seed", "seed.x=1", "skills.9.test=1", "a b=1", "skills.0=3"])
def test_override_that_leads_nowhere_is_refused(override):
    with pytest.raises(ConfigError):
        load_config("smol", (override,))


def test_missing_file_is_named_together_with_the_profiles():
    with pytest.raises(ConfigError, match=r"nowhere\.yaml.*demo"):
        load_config("nowhere.yaml")


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "3"])
def test_file_that_is_no_yaml_mapping_is_refused(text, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_config(str(path))


def test_configuration_is_immutable():
    with pytest.raises(ValidationError):
        RunConfig().seed = 3


def test_the_same_skill_twice_is_refused():
    with pytest.raises(ConfigError, match=r"  skills: .*skills must differ"):
        parse_config({"skills": [{"name": "os"}, {"name": "os"}]})


@pytest.mark.parametrize(
    "section",
    [
        {"grid": {"lower": 1.2, "upper": 1.1}},
        {"sampling": {"alpha_low": 0.9, "alpha_high": 0.8}},
        {"crossover": {"mu": 0.0, "sigma": 0.0}},
    ],
)
def test_settings_that_contradict_each_other_are_refused(section):
    with pytest.raises(ConfigError):
        parse_config(section)


@given(st.text(max_size=70))
def test_run_id_is_always_a_plain_folder_name(name):
    try:
        config = parse_config({"run_id": name})
    except ConfigError:
        return
    assert config.run_id == name
    assert name not in {".", ".."}
    assert "/" not in name
    assert yaml.safe_load(config.to_yaml())["run_id"] == name


def test_every_setting_has_a_description_for_the_form():
    def undescribed(schema, path):
        for name, field in schema.get("properties", {}).items():
            if "description" not in field and "$ref" not in field:
                yield f"{path}.{name}"
            yield from undescribed(field, f"{path}.{name}")

    schema = RunConfig.model_json_schema()
    found = list(undescribed(schema, "RunConfig"))
    for name, definition in schema["$defs"].items():
        found += undescribed(definition, name)
    assert found == []


TRAINING_DATA = {"mbpp_plus": {"sources": [{"recipe": "magicoder_evol"}]}}


def test_samples_of_a_generated_suite_have_defaults_and_those_of_a_benchmark_are_all_there_are():
    skills = [{"name": "os", "test": 7}, {"name": "mbpp_plus", "optimization": 20}]
    config = parse_config({"skills": skills, "experts": {"data": TRAINING_DATA}})
    assert config.counts("os") == {"train": 160, "optimization": 24, "test": 7}
    assert config.counts("mbpp_plus") == {"train": 0, "optimization": 20, "test": None}


@pytest.mark.parametrize(
    "skill",
    [
        {"name": "os", "data": "file"},
        {"name": "db", "prompt_file": "file"},
        {"name": "coding", "exclude": ["coding/1"]},
        {"name": "coding", "split_seed": 1},
        {"name": "mbpp_plus", "train": 100},
    ],
)
def test_settings_that_a_skill_cannot_follow_are_refused(skill):
    with pytest.raises(ConfigError, match=r"skills\.0"):
        parse_config({"skills": [skill], "experts": {"data": TRAINING_DATA}})


@pytest.mark.parametrize(
    ("skills", "fault"),
    [
        ([{"name": "mbpp_plus", "optimization_split": "test"}], "optimization_split: Extra inputs"),
        ([{"name": "mbpp_plus", "split": "test"}], "split: Extra inputs"),
        # The same samples, halved in another way.
        ([{"name": "mbpp_plus"}, {"name": "mbpp_plus", "split_seed": 1}], "skills must differ"),
    ],
)
def test_no_setting_lets_a_run_optimise_on_what_it_reports(skills, fault):
    with pytest.raises(ConfigError, match=fault):
        parse_config({"skills": skills, "experts": {"data": TRAINING_DATA}})


@pytest.mark.parametrize("profile", PROFILES)
def test_every_shipped_profile_compares_with_merges_without_a_search(profile):
    baselines = load_config(profile).baselines
    assert [baseline.method for baseline in baselines][:3] == ["task_arithmetic", "tsv", "iso_c"]
    assert all(len(baseline.scales) == 3 for baseline in baselines)
    assert load_config(profile).archive.seeds == "experts"
    assert load_config(profile, ("baselines=[]",)).baselines == ()


def test_gaussian_noise_and_a_merge_that_decomposes_exclude_each_other():
    settings = {"mutation": {"kind": "gaussian"}, "crossover": {"kind": "tsv"}}
    with pytest.raises(ConfigError, match=r"mutation: .*tsv can't decompose"):
        parse_config(settings)
    assert parse_config(settings | {"crossover": {"kind": "task_arithmetic"}}).crossover.merge == {"scale": 1.0}


SERVER = {"kind": "server", "urls": ["http://gpu:8000/v1"], "batching": "throughput"}


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"engine": SERVER | {"urls": []}}, r"engine\.urls: .*needs servers"),
        ({"engine": SERVER | {"urls": SERVER["urls"] * 2}}, r"engine\.urls: .*listed twice"),
        ({"engine": {"kind": "server", "urls": ["http://gpu:8000/v1"]}}, r"engine\.batching: .*throughput"),
        ({"engine": {"kind": "vllm", "urls": ["http://gpu:8000/v1"]}}, r"engine\.urls: .*kind server"),
        ({"engine": {"adapters": "/shared"}}, r"engine\.adapters: .*kind server"),
        ({"engine": {"extra": {"max_num_seqs": 4}}}, r"engine\.extra: .*max_num_seqs has a setting of its own"),
        ({"engine": SERVER | {"extra": {"quantization": "fp8"}}}, r"engine\.extra: .*its own arguments"),
        ({"engine": SERVER, "experts": {"method": "full"}}, r"engine: .*LoRA adapters alone"),
        ({"engine": SERVER, "mutation": {"kind": "gaussian"}}, r"engine: .*Gaussian noise"),
    ],
)
def test_an_engine_that_cannot_do_what_is_asked_is_refused(settings, fault):
    with pytest.raises(ConfigError, match=fault):
        parse_config(settings)


def test_arguments_for_vllm_pass_as_they_are():
    engine = parse_config({"engine": {"kind": "vllm", "compile": True, "extra": {"quantization": "fp8"}}}).engine
    assert (engine.compile, engine.extra) == (True, {"quantization": "fp8"})
    assert parse_config({"engine": SERVER}).engine.urls == ("http://gpu:8000/v1",)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"search": {"kind": "qd", "block": 4}, "noise": {"racing": 0.8}}, r"noise: .*evenly over the skills"),
        ({"search": {"kind": "rescoring", "in_flight": 2}}, r"search\.in_flight: .*set in_flight to 1"),
    ],
)
def test_a_search_that_cannot_do_what_is_asked_is_refused(settings, fault):
    with pytest.raises(ConfigError, match=fault):
        parse_config(settings)
