"""What `cycleqd doctor` says of the trainer before hours are spent."""

import pytest

from cycleqd.config import load_config, parse_config
from cycleqd.preflight import training as preflight
from cycleqd.preflight.training import check_trainer

FSDP = "{distributed_type: FSDP, fsdp_config: {fsdp_version: 2}, num_machines: 1}"


def by_transformers(*more):
    return load_config("demo", ("experts.trainer.kind=transformers", *more))


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "accelerate.yaml"
        path.write_text(content)
        return f"experts.trainer.accelerate_config={path}"

    return write


def test_the_loop_and_a_trainer_with_all_that_it_needs_are_fit(file, monkeypatch):
    monkeypatch.setattr(preflight, "gpu_count", lambda: 2)
    assert check_trainer(load_config("demo")).ok
    found = check_trainer(by_transformers("experts.trainer.processes=2", file(FSDP)))
    assert found.ok
    assert found.detail == "transformers, 2 process(es)"


@pytest.mark.parametrize(
    ("content", "fault", "remedy"),
    [
        ("[1, 2", "cannot be read", "accelerate config"),
        ("a: 1", "names no distributed_type", "accelerate config"),
        ("{distributed_type: MULTI_GPU, num_machines: 2}", "wants 2 machines", "accelerate_config"),
        ("{distributed_type: DEEPSPEED}", "DeepSpeed, which is not installed", "pip install deepspeed"),
        ("{distributed_type: 'NO'}", "experts.trainer.processes is 2", "set one of them"),
    ],
)
def test_a_file_that_accelerate_could_not_start_by_is_a_fault_with_a_remedy(file, content, fault, remedy, monkeypatch):
    find = preflight.importlib.util.find_spec
    monkeypatch.setattr(
        preflight.importlib.util, "find_spec", lambda name: None if name == "deepspeed" else find(name)
    )
    found = check_trainer(by_transformers("experts.trainer.processes=2", file(content)))
    assert not found.ok
    assert fault in found.detail
    assert remedy in found.remedy


def test_a_file_that_is_not_there_names_the_setting(tmp_path):
    found = check_trainer(by_transformers(f"experts.trainer.accelerate_config={tmp_path / 'no.yaml'}"))
    assert "no.yaml" in found.detail
    assert "experts.trainer.accelerate_config" in found.remedy


def test_more_processes_than_gpus_are_refused_and_a_cpu_has_none(monkeypatch):
    monkeypatch.setattr(preflight, "gpu_count", lambda: 1)
    found = check_trainer(by_transformers("experts.trainer.processes=2"))
    assert not found.ok
    assert "experts.trainer.processes to 1" in found.remedy
    monkeypatch.setattr(preflight, "gpu_count", lambda: 0)
    assert check_trainer(by_transformers("experts.trainer.processes=2")).ok


def test_a_missing_package_comes_with_the_command(monkeypatch):
    monkeypatch.setattr(preflight.importlib.util, "find_spec", lambda name: None)
    found = check_trainer(by_transformers())
    assert not found.ok
    assert "pip install accelerate" in found.remedy


@pytest.mark.parametrize("profile", ["vlm-demo", "sam-demo"])
def test_what_it_cannot_train_is_refused_only_where_something_is_trained(profile):
    config = load_config(profile, ("experts.trainer.kind=transformers",))
    found = check_trainer(config)
    assert not found.ok
    assert found.remedy == "set experts.trainer.kind to loop"
    sources = dict.fromkeys([skill.name for skill in config.skills], "somebody/model")
    values = config.model_dump(mode="json")
    values["experts"] |= {"source": sources}
    values["comparison"]["all_data"] = False
    assert check_trainer(parse_config(values)).ok
