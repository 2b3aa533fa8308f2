"""Folders that are not what they say: one line, before anything is loaded."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from cycleqd.base_model import BaseWeights, compare_names, resolve_base
from cycleqd.checkpoint import BaseModelInvalid, read_config
from cycleqd.models.causal_lm import open_engine
from cycleqd.models.causal_lm.canary import finite

LAYER = "model.layers.0.self_attn."


@pytest.fixture
def folder(tiny_tied, tmp_path):
    return shutil.copytree(tiny_tied, tmp_path / "copy")


def configure(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def store(folder, **changes):
    """Replaces tensors, or takes them away (None)."""
    tensors = load_file(folder / "model.safetensors") | {name.replace("/", "."): v for name, v in changes.items()}
    save_file({name: v for name, v in tensors.items() if v is not None}, folder / "model.safetensors")


def refused(folder, tmp_path):
    with pytest.raises(BaseModelInvalid) as caught:
        resolve_base(str(folder), tmp_path / "cache")
    text = str(caught.value)
    assert "\n" not in text
    assert str(folder) in text
    return text


@pytest.mark.parametrize("value", ["64", 0, -1, 2.5, float("nan"), float("inf"), True, 10**12, [64, "x"], {"a": 1}])
@pytest.mark.parametrize("name", ["hidden_size", "num_hidden_layers", "vocab_size"])
def test_size_that_is_none_is_refused(folder, tmp_path, name, value):
    configure(folder, **{name: value})
    assert name in refused(folder, tmp_path)


def test_size_of_a_nested_configuration_is_looked_at(folder, tmp_path):
    configure(folder, text_config={"hidden_size": "wide"})
    assert "text_config.hidden_size is 'wide'" in refused(folder, tmp_path)


def test_more_layers_than_tensors_are_refused(folder, tmp_path):
    configure(folder, num_hidden_layers=10**9)
    assert "1000000000, but the files hold" in refused(folder, tmp_path)


@pytest.mark.parametrize("name", ["rms_norm_eps", "rope_theta", "initializer_range"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_number_that_is_none_is_refused(folder, tmp_path, name, value):
    configure(folder, **{name: value})
    assert name in refused(folder, tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\xff\xfe", "[" * 100_000])
@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json"])
def test_file_that_is_no_json_object_is_refused(folder, tmp_path, name, content):
    (folder / name).write_text(content, encoding="latin-1")
    assert name in refused(folder, tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 100, 20_000])
def test_weights_that_are_cut_short_are_refused(folder, tmp_path, keep):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    assert "model.safetensors is damaged or was not fetched whole" in refused(folder, tmp_path)


def test_pointer_in_place_of_weights_is_refused(folder, tmp_path):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (folder / "model.safetensors").write_text(pointer)
    assert "not fetched whole" in refused(folder, tmp_path)


@pytest.mark.parametrize("weight_map", [{"a": "../../secret.safetensors"}, {"a": "/etc/passwd"}, {"a": 1}, [], None])
def test_index_that_names_no_files_of_the_folder_is_refused(folder, tmp_path, weight_map):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert "model.safetensors.index.json" in refused(folder, tmp_path)


def test_weights_in_eight_bits_are_refused(folder, tmp_path):
    store(folder, **{f"{LAYER}q_proj.weight": torch.ones(64, 64).to(torch.float8_e4m3fn)})
    assert "stored as F8_E4M3" in refused(folder, tmp_path)


def test_quantised_weights_are_refused(folder, tmp_path):
    configure(folder, quantization_config={"quant_method": "fp8"})
    assert "quantised" in refused(folder, tmp_path)


# Names and values


def test_buffers_that_older_versions_stored_are_no_parameters(folder, tiny_tied):
    store(folder, **{
        f"{LAYER}rotary_emb.inv_freq": torch.ones(16),
        f"{LAYER}masked_bias": torch.tensor(-1e4).reshape(1),
        "transformer.h.0.attn.bias": torch.ones(1, 1, 8, 8),
    })  # fmt: skip
    assert BaseWeights(folder).names() == BaseWeights(tiny_tied).names()
    assert BaseWeights(folder).hash() == BaseWeights(tiny_tied).hash()
    open_engine("transformers", folder, dtype="float32").close()


def test_head_that_a_class_ties_by_default_is_no_parameter_of_its_own(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma"}))
    embedding = torch.randn(8, 4)
    tensors = {"model.embed_tokens.weight": embedding, "lm_head.weight": embedding.clone()}
    save_file(tensors, tmp_path / "model.safetensors")
    assert BaseWeights(tmp_path).names() == ("model.embed_tokens.weight",)


def test_head_of_its_own_is_served_whatever_the_configuration_says(folder, tmp_path):
    head = torch.randn(99, 64, generator=torch.Generator().manual_seed(5)) * 0.2
    store(folder, **{"lm_head.weight": head})
    base = resolve_base(str(folder), tmp_path / "cache")
    assert base == resolve_base(str(folder), tmp_path / "cache") == resolve_base(str(base), tmp_path / "cache")
    assert read_config(base)["tie_word_embeddings"] is False
    assert torch.equal(BaseWeights(base).tensor("lm_head.weight"), head)
    assert read_config(folder)["tie_word_embeddings"] is True  # the user's own files stay as they are
    engine = open_engine("transformers", base, dtype="float32")
    assert torch.equal(engine._model.lm_head.weight, head)
    assert not torch.equal(engine._model.model.embed_tokens.weight, head)
    engine.close()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_that_are_no_numbers_are_found(folder, dtype, value):
    BaseWeights(folder).check_values()
    weights = load_file(folder / "model.safetensors")["model.norm.weight"].to(dtype)
    weights[3] = value
    store(folder, **{"model.norm.weight": weights})
    with pytest.raises(BaseModelInvalid, match=r"model\.norm\.weight holds NaN or infinite"):
        BaseWeights(folder).check_values()
    if value != value:
        with pytest.raises(BaseModelInvalid, match="computes NaN"):
            open_engine("transformers", folder, dtype="float32")


def test_missing_weights_are_refused_by_the_engine(folder):
    store(folder, **{f"{LAYER}q_proj.weight": None})
    with pytest.raises(BaseModelInvalid, match=r"q_proj\.weight is missing from the files \(1 such\)"):
        open_engine("transformers", folder, dtype="float32")


def test_names_shapes_and_strangers_are_compared(folder):
    weights = BaseWeights(folder)
    right = {name: torch.empty(weights.shape(name), device="meta") for name in weights.names()}
    compare_names(folder, right | {"lm_head.weight": right["model.embed_tokens.weight"]}, weights)
    with pytest.raises(BaseModelInvalid, match=r"has shape \(64,\) in the files and \(3,\) by config"):
        compare_names(folder, right | {"model.norm.weight": torch.empty(3)}, weights)
    with pytest.raises(BaseModelInvalid, match=r"lm_head\.weight is missing"):
        compare_names(folder, right | {"lm_head.weight": torch.empty(3)}, weights)
    with pytest.raises(BaseModelInvalid, match=r"no parameter model\.norm\.weight"):
        compare_names(folder, {name: value for name, value in right.items() if name != "model.norm.weight"}, weights)


def test_a_canary_that_is_no_number_is_the_models_fault(folder):
    import numpy as np

    with pytest.raises(BaseModelInvalid, match="computes NaN"):
        finite(folder, np.array([0.0, np.nan], dtype=np.float32))
