"""What `cycleqd doctor` finds, and that a fault names what to change."""

import shutil
import tempfile
from math import prod
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file, save_file

from cycleqd.base_model import BaseWeights
from cycleqd.checkpoint import BaseModelInvalid
from cycleqd.config import RunConfig, load_config
from cycleqd.evaluation.resources import find_base
from cycleqd.preflight import checks as preflight
from cycleqd.preflight.checks import check
from cycleqd.preflight.probe import Facts, TokenizerInvalid
from cycleqd.preflight.refinement import room_for_refinement
from tests.tiny_models import save_tied


def found(config, name):
    return next(item for item in check(config) if item.name == name)


@pytest.fixture
def config(tmp_path):
    return load_config("demo", (f"storage={tmp_path}", "skills.0.train=1", "skills.1.train=1", "skills.2.train=1"))


@pytest.mark.docker
def test_a_fit_machine_passes_every_check(config):
    assert [item for item in check(config) if not item.ok] == []


def test_samples_that_are_in_no_block_are_told(config):
    def told(*counts, block=8):
        values = config.model_dump()
        for skill, count in zip(values["skills"], counts, strict=True):
            skill["optimization"] = count
        values["search"]["block"] = block
        return preflight._blocks(RunConfig.model_validate(values))

    assert told(48, 11, 28) == ["1 block(s) of 8, and in none of them 40 of coding, 20 of db"]
    assert told(17, 16, 23) == ["2 block(s) of 8"]
    assert told(48, 11, 28, block=None) == []
    assert preflight._skills(config).detail.endswith("block(s) of 16")


def test_an_engine_that_is_not_installed_names_the_setting_and_the_command(config, monkeypatch):
    monkeypatch.setattr(preflight.importlib.util, "find_spec", lambda name: None)
    engine = preflight._engine(config.model_copy(update={"engine": config.engine.model_copy(update={"kind": "vllm"})}))
    assert not engine.ok
    assert "cycleqd[cpu]" in engine.remedy
    assert "engine.kind" in engine.remedy
    assert preflight._engine(config).ok  # auto falls back


def test_a_tracker_whose_package_is_missing_is_found_with_the_command(config, monkeypatch):
    assert preflight._trackers(config).detail == "none"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    tracked = RunConfig.model_validate(config.model_dump() | {"trackers": [{"kind": "mlflow"}]})
    found = preflight._trackers(tracked)
    assert not found.ok
    assert "pip install 'cycleqd[mlflow]'" in found.detail


def test_a_context_beyond_the_models_names_the_setting(tmp_path, config, monkeypatch):
    base = tmp_path / "model"
    save_tied(base)
    monkeypatch.setattr(preflight, "probe", lambda base, **options: Facts(99, 99, 512, 100))
    wide = with_base(config, base).model_copy(
        update={"engine": config.engine.model_copy(update={"max_model_len": 10**6})}
    )
    tokenizer = preflight._tokenizer(wide)
    assert not tokenizer.ok
    assert "engine.max_model_len" in tokenizer.remedy


def with_base(config, base):
    return config.model_copy(update={"model": config.model.model_copy(update={"name": str(base)})})


@pytest.mark.parametrize(("longest", "fit"), [(100, True), (1024, False)])
def test_an_episode_that_begins_beyond_the_context_used_is_found(config, monkeypatch, tiny_tied, longest, fit):
    seen = []

    def probe(base, **options):
        seen.append(options)
        return Facts(99, 99, None, longest)

    monkeypatch.setattr(preflight, "probe", probe)
    tokenizer = preflight._tokenizer(with_base(config, tiny_tied))
    assert tokenizer.ok is fit
    assert fit or "leaves no room" in tokenizer.detail
    assert [opening[-1]["role"] for opening in seen[0]["samples"]] == ["user"] * 3  # one of each skill
    assert (seen[0]["method"], seen[0]["date"]) == ("lora", config.model.date)


@pytest.mark.parametrize(("kind", "name", "other"), [
    (BaseModelInvalid, "model", "tokenizer"),
    (TokenizerInvalid, "tokenizer", "model"),
])  # fmt: skip
def test_what_is_wrong_with_a_folder_stands_where_it_belongs(config, monkeypatch, tiny_tied, kind, name, other):
    def probe(base, **options):
        raise kind("what is wrong")

    monkeypatch.setattr(preflight, "probe", probe)
    checks = {"model": preflight._model, "tokenizer": preflight._tokenizer}
    found = checks[name](with_base(config, tiny_tied))
    assert (found.ok, found.detail) == (False, "what is wrong")
    assert "model.name" in found.remedy
    assert "what is wrong" not in checks[other](with_base(config, tiny_tied)).detail


def test_weights_that_are_no_numbers_are_found(config, monkeypatch, tiny_tied, tmp_path):
    copy = shutil.copytree(tiny_tied, tmp_path / "copy")
    tensors = load_file(copy / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, copy / "model.safetensors")
    monkeypatch.setattr(preflight, "probe", lambda base, **options: Facts(99, 99, 512, 100))
    model = preflight._model(with_base(config, copy))
    assert not model.ok
    assert "model.norm.weight holds NaN" in model.detail


def test_a_folder_that_is_not_what_it_says_is_a_finding_of_one_line(config, tiny_tied, tmp_path):
    copy = shutil.copytree(tiny_tied, tmp_path / "copy")
    (copy / "config.json").write_text("{")
    model = preflight._guarded("model", with_base(config, copy), preflight._model)
    assert not model.ok
    assert "config.json is no JSON" in model.detail
    assert "\n" not in model.detail
    for look in (preflight._tokenizer, preflight._disk):  # which tell it once more to nobody
        check = look(with_base(config, copy))
        assert not check.ok
        assert check.detail == "not looked at: the model is not fit"


def test_a_model_that_is_not_there_is_a_finding_not_a_traceback(config):
    missing = config.model_copy(update={"model": config.model.model_copy(update={"name": "/nowhere/at/all"})})
    model = preflight._guarded("model", missing, preflight._model)
    assert not model.ok
    assert "/nowhere/at/all" in model.detail


def test_storage_that_cannot_be_written_names_the_setting(config, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (str(tmp_path / "file" / "runs"), "foo://bucket/runs"):
        storage = preflight._storage(config.model_copy(update={"storage": place}))
        assert not storage.ok
        assert "set storage" in storage.remedy


def test_a_disk_that_is_too_small_says_how_much_is_needed(config, monkeypatch):
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda place: SimpleNamespace(free=1))
    disk = preflight._disk(config)
    assert not disk.ok
    assert "GiB needed" in disk.detail


def test_too_little_memory_for_regmean_is_said_before_anything_is_trained(config, monkeypatch):
    regmean = {"baselines": [{"method": "regmean", "scales": [1.0]}]}
    asked = RunConfig.model_validate(config.model_dump(mode="json") | regmean)
    assert preflight._memory(asked).ok
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=1000))
    memory = preflight._memory(asked)
    assert not memory.ok
    assert "GiB of memory" in memory.detail
    assert "search.merge" in memory.remedy


def test_a_refinement_that_cannot_fit_is_said_before_anything_is_trained(config, monkeypatch):
    assert preflight._refinement(config).ok
    weights = BaseWeights(find_base(config))
    room = room_for_refinement(config, weights)
    numbers = sum(prod(shape) for shape in weights.shapes().values())
    assert room.memory > numbers * 2
    assert room.disk in (numbers * 2, numbers * 4)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=room.memory - 1))
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda place: SimpleNamespace(free=room.disk - 1))
    lacking = preflight._refinement(config)
    assert not lacking.ok
    assert "for weights, adapters and their optimizer" in lacking.detail
    assert f"a copy of the model in {tempfile.gettempdir()}" in lacking.detail
    assert "refinement.epochs" in lacking.remedy


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
