import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from cycleqd.base_model import BaseWeights
from cycleqd.cli import app, common
from cycleqd.experts.inspection import inspect_models
from tests.adapters import merged_deltas, save_adapter


@pytest.fixture
def models(tiny_biased, tmp_path):
    """An adapter, one that points the other way, and a checkpoint that differs in one parameter."""
    first = save_adapter(tiny_biased, tmp_path / "first", target_modules=["q_proj"])
    second = save_adapter(tiny_biased, tmp_path / "second", target_modules=["q_proj"])
    file = second / "adapter_model.safetensors"
    save_file({name: -tensor if "lora_B" in name else tensor for name, tensor in load_file(file).items()}, file)
    weights = BaseWeights(tiny_biased)
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "config.json").write_bytes((tiny_biased / "config.json").read_bytes())
    tensors = {name: weights.tensor(name) for name in weights.names()}
    tensors["model.norm.weight"] += 1.0
    save_file(tensors, whole / "model.safetensors")
    return [str(first), str(second), str(whole)]


def test_norms_are_those_of_the_deltas_and_likeness_is_their_cosine(models, tiny_biased, tmp_path):
    found = inspect_models(models, tmp_path)
    adapter, _, whole = found.models
    deltas = merged_deltas(tiny_biased, models[0])
    assert adapter.base == str(tiny_biased)
    assert (adapter.kind, adapter.form, adapter.parameters) == ("adapter", "factored", 2)
    assert adapter.norm == pytest.approx(float(torch.cat([one.flatten() for one in deltas.values()]).norm()), rel=1e-4)
    assert [layer.name for layer in adapter.layers] == ["0", "1"]
    of_first = deltas["model.layers.0.self_attn.q_proj.weight"].norm()
    own = BaseWeights(tiny_biased).tensor("model.layers.0.self_attn.q_proj.weight").norm()
    assert adapter.layers[0].norm == pytest.approx(float(of_first), rel=1e-4)
    assert adapter.layers[0].of_base == pytest.approx(float(of_first / own), rel=1e-4)
    assert "--base" in whole.fault  # nobody says what it was made from
    assert [(one.first, one.second) for one in found.likenesses] == [(models[0], models[1])]
    assert found.likenesses[0].cosine == pytest.approx(-1, abs=1e-5)


def test_with_a_base_every_model_is_compared_with_it(models, tiny_biased, tmp_path):
    found = inspect_models(models, tmp_path, base=str(tiny_biased))
    whole = found.models[2]
    assert (whole.kind, whole.form, whole.fault) == ("checkpoint", "dense", "")
    assert whole.norm == pytest.approx(8.0)  # 64 ones
    assert {layer.name: layer.norm for layer in whole.layers if layer.norm} == {
        "model.norm.weight": pytest.approx(8.0)
    }
    assert len(found.likenesses) == 3
    assert found.likenesses[-1].cosine == 0  # they change different parameters


def test_the_command_prints_facts_and_json_and_its_code_says_whether_all_are_fit(models, tiny_biased, monkeypatch):
    monkeypatch.setattr(common.out, "width", 200)
    shown = CliRunner().invoke(app, ["inspect", *models[:2]])
    assert shown.exit_code == 0, shown.output
    for text in ("lora alpha", "q_proj", "factored, 2 parameters", "cosine", "-1.000"):
        assert text in shown.stdout
    result = CliRunner().invoke(app, ["inspect", models[0], models[2], "--json"])
    assert result.exit_code == 1
    data = json.loads(result.stdout)
    assert [model["kind"] for model in data["models"]] == ["adapter", "checkpoint"]
    assert data["models"][0]["layers"][0]["name"] == "0"
    assert "no base is known" in data["models"][1]["fault"]


def test_what_cannot_be_read_is_told_after_the_others(models, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    file = tmp_path / "second" / "adapter_model.safetensors"
    save_file({name: tensor * float("nan") for name, tensor in load_file(file).items()}, file)
    given = ["./nowhere", models[0], str(tmp_path / "empty"), models[1], str(tmp_path / "broken")]
    shown = CliRunner().invoke(app, ["inspect", *given])
    assert shown.exit_code == 1
    assert isinstance(shown.exception, SystemExit)  # no traceback
    assert "factored, 2 parameters" in " ".join(shown.stdout.split())
    assert "holds NaN" in " ".join(shown.stdout.split())
    told = " ".join(shown.stderr.split())
    for text in ("./nowhere: there is no such folder", "neither a LoRA adapter", "config.json cannot be read"):
        assert text in told
    result = CliRunner().invoke(app, ["inspect", models[0], "--base", "./nowhere"])
    assert result.exit_code == 1
    assert "lora alpha" in result.stdout
    assert "./nowhere" in result.stdout
    result = CliRunner().invoke(app, ["inspect", *given, "--json"])
    assert result.exit_code == 1
    listed = json.loads(result.stdout)["models"]
    assert [one["kind"] for one in listed] == ["", "adapter", "", "adapter", ""]
    assert [bool(one["fault"]) for one in listed] == [True, False, True, True, True]
