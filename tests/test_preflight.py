"""What `cycleqd doctor` finds, and that a fault names what to change."""

from types import SimpleNamespace

import pytest

from cycleqd import preflight
from cycleqd.config import RunConfig, load_config
from cycleqd.preflight import check
from cycleqd.sandbox import SandboxUnavailable
from tests.tiny_models import save_tied


def found(config, name):
    return next(item for item in check(config) if item.name == name)


@pytest.fixture
def config(tmp_path):
    return load_config("demo", (f"storage={tmp_path}", "skills.0.train=1", "skills.1.train=1", "skills.2.train=1"))


@pytest.mark.docker
def test_a_fit_machine_passes_every_check(config):
    assert [item for item in check(config) if not item.ok] == []


@pytest.mark.docker
def test_limits_that_the_engine_refuses_name_the_settings(config):
    # More bytes than Docker's 64 bits hold.
    greedy = config.model_copy(update={"sandbox": config.sandbox.model_copy(update={"memory_mb": 2**45})})
    docker = preflight._guarded("docker", greedy, preflight._docker)
    assert not docker.ok
    assert "sandbox.memory_mb" in docker.remedy


def test_an_engine_that_is_not_installed_names_the_setting_and_the_command(config, monkeypatch):
    monkeypatch.setattr(preflight.importlib.util, "find_spec", lambda name: None)
    engine = preflight._engine(config.model_copy(update={"engine": config.engine.model_copy(update={"kind": "vllm"})}))
    assert not engine.ok
    assert "cycleqd[cpu]" in engine.remedy
    assert "engine.kind" in engine.remedy
    assert preflight._engine(config).ok  # auto falls back


def test_a_context_beyond_the_models_names_the_setting(tmp_path, config):
    base = tmp_path / "model"
    save_tied(base)
    wide = config.model_copy(update={
        "model": config.model.model_copy(update={"name": str(base)}),
        "engine": config.engine.model_copy(update={"max_model_len": 10**6}),
    })  # fmt: skip
    tokenizer = preflight._tokenizer(wide)
    assert not tokenizer.ok
    assert "engine.max_model_len" in tokenizer.remedy


def test_a_model_that_is_not_there_is_a_finding_not_a_traceback(config):
    missing = config.model_copy(update={"model": config.model.model_copy(update={"name": "/nowhere/at/all"})})
    model = preflight._guarded("model", missing, preflight._model)
    assert not model.ok
    assert "/nowhere/at/all" in model.detail


def test_storage_that_cannot_be_written_names_the_setting(config, tmp_path):
    (tmp_path / "file").write_text("")
    storage = preflight._storage(config.model_copy(update={"storage": str(tmp_path / "file" / "runs")}))
    assert not storage.ok
    assert "storage" in storage.remedy


def test_a_disk_that_is_too_small_says_how_much_is_needed(config, monkeypatch):
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda place: SimpleNamespace(free=1))
    disk = preflight._disk(config)
    assert not disk.ok
    assert "GiB needed" in disk.detail


def test_a_benchmark_without_its_data_names_the_setting(tmp_path, monkeypatch):
    monkeypatch.delenv("CYCLEQD_DATA_DIR", raising=False)
    values = {
        "skills": [{"name": "agentbench_db", "data": str(tmp_path / "none.jsonl")}],
        "experts": {
            "data": {"agentbench_db": {"sources": [{"recipe": "chat", "path": str(tmp_path / "chat.jsonl")}]}}
        },
    }
    skills = preflight._skills(RunConfig.model_validate(values))
    assert not skills.ok
    assert "none.jsonl" in skills.detail
    assert "data" in skills.remedy


def test_missing_images_name_the_command(config, monkeypatch):
    monkeypatch.setattr("cycleqd.sandbox.missing_images", lambda *skills: ("cycleqd-shell:123",))
    docker = preflight._docker(config)
    assert not docker.ok
    assert docker.remedy == "build them with make images"


def test_an_engine_of_docker_that_does_not_answer_is_a_finding(config, monkeypatch):
    def dead(*skills):
        raise SandboxUnavailable("no Docker engine answers")

    monkeypatch.setattr("cycleqd.sandbox.missing_images", dead)
    docker = preflight._guarded("docker", config, preflight._docker)
    assert not docker.ok
    assert "no Docker engine answers" in docker.detail
