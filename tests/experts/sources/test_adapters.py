"""Adapters of peft's as experts: their task vectors are what peft's own merge adds to the base, or there is none."""

import json
import shutil

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, OPTConfig

from cycleqd.base_model import BaseWeights
from cycleqd.experts.sources import SourceInvalid, find, task_vectors
from cycleqd.models.causal_lm.merging import MergedWeights
from cycleqd.task_vector import DenseTaskVector, FactoredTaskVector
from tests.adapters import assert_same_deltas, merged_deltas, save_adapter
from tests.tiny_models import tokenizer


def update_of(folder, base):
    return find(str(folder), folder).open().update(BaseWeights(base))


def vector_of(folder, base):
    return task_vectors({"os": update_of(folder, base)}).vectors["os"]


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """A model that stores its layers the other way round."""
    path = tmp_path_factory.mktemp("gpt2")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        GPT2LMHeadModel(GPT2Config(vocab_size=97, n_embd=16, n_layer=2, n_head=2, n_positions=32)).save_pretrained(
            path
        )
    return path


@pytest.mark.parametrize("options", [
    {},
    {"use_rslora": True},
    {"rank_pattern": {"q_proj": 2, r"layers\.1\..*up_proj": 3}, "alpha_pattern": {"v_proj": 5}},
    {"target_modules": r".*\.(q|v)_proj$"},
    {"target_modules": ["q_proj"], "layers_to_transform": [1]},
    {"target_modules": ["q_proj", "lm_head"]},
    {"target_modules": ["q_proj"], "target_parameters": ["mlp.gate_proj.weight"]},
    {"target_parameters": ["mlp.up_proj.weight"], "target_modules": ["q_proj"],
     "rank_pattern": {"up_proj.weight": 3}, "alpha_pattern": {"up_proj.weight": 5}},
    {"init_lora_weights": "gaussian"},
    {"init_lora_weights": "orthogonal"},
    {"init_lora_weights": "pissa"},
    {"init_lora_weights": "olora", "use_rslora": True},
    {"init_lora_weights": "OLoRA"},
    {"init_lora_weights": "Gaussian"},
    {"init_lora_weights": "mica"},
], ids=str)  # fmt: skip
def test_changes_of_low_rank_stay_factored(tiny_biased, tmp_path, options):
    adapter = save_adapter(tiny_biased, tmp_path / "a", **options)
    vector = vector_of(adapter, tiny_biased)
    assert isinstance(vector, FactoredTaskVector)
    assert_same_deltas(vector, merged_deltas(tiny_biased, adapter))


@pytest.mark.parametrize("options", [
    {"use_dora": True},
    {"use_dora": True, "init_lora_weights": "pissa"},
    {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
    {"bias": "all"},
    {"bias": "lora_only", "target_modules": ["q_proj"]},
    {"lora_bias": True, "target_modules": ["q_proj", "v_proj"]},
    {"modules_to_save": ["lm_head", "embed_tokens"]},
    {"modules_to_save": ["norm", "input_layernorm"]},
    {"trainable_token_indices": [3, 1]},
    {"trainable_token_indices": {"embed_tokens": [3], "lm_head": [5]}},
], ids=str)  # fmt: skip
def test_other_changes_are_dense_and_exact(tiny_biased, tmp_path, options):
    adapter = save_adapter(tiny_biased, tmp_path / "a", **options)
    vector = vector_of(adapter, tiny_biased)
    assert isinstance(vector, DenseTaskVector)
    assert_same_deltas(vector, merged_deltas(tiny_biased, adapter))


@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"init_lora_weights": "pissa"}], ids=str)
def test_layers_that_are_stored_the_other_way_round_are_turned(gpt2, tmp_path, options):
    adapter = save_adapter(gpt2, tmp_path / "a", **options)
    assert_same_deltas(vector_of(adapter, gpt2), merged_deltas(gpt2, adapter))


def test_an_embedding_that_is_tied_to_the_head_changes_both_as_it_was_trained(tiny_tied, tmp_path):
    targets = ["q_proj", "embed_tokens"]
    adapter = save_adapter(tiny_tied, tmp_path / "a", target_modules=targets, ensure_weight_tying=True)
    assert not update_of(adapter, tiny_tied).as_others_read  # peft's merge adds the change twice
    name = "model.embed_tokens.weight"
    torch.testing.assert_close(
        merged_deltas(tiny_tied, adapter)[name], 2 * vector_of(adapter, tiny_tied).delta(name), rtol=0, atol=1e-5
    )
    merged = dict(MergedWeights(BaseWeights(tiny_tied), vector_of(adapter, tiny_tied), torch.float32))
    model, tokens = AutoModelForCausalLM.from_pretrained(tiny_tied), torch.arange(5)[None]
    trained = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_tied), adapter)
    model.load_state_dict(merged, strict=False)
    model.tie_weights()
    with torch.no_grad():
        torch.testing.assert_close(model(tokens).logits, trained(tokens).logits, rtol=0, atol=1e-4)
    whole = save_adapter(
        tiny_tied,
        tmp_path / "b",
        target_modules=["q_proj"],
        modules_to_save=["embed_tokens"],
        ensure_weight_tying=True,
    )
    assert_same_deltas(vector_of(whole, tiny_tied), {
        name: delta for name, delta in merged_deltas(tiny_tied, whole).items() if name != "lm_head.weight"
    })  # fmt: skip


@pytest.mark.parametrize("options", [
    {"target_modules": ["q_proj", "embed_tokens"]},
    {"target_modules": ["q_proj", "lm_head"]},
    {"modules_to_save": ["lm_head"]},
    {"modules_to_save": ["embed_tokens"]},
], ids=str)  # fmt: skip
def test_one_of_two_tied_parameters_cannot_change_alone(tiny_tied, tmp_path, options):
    with pytest.raises(SourceInvalid, match="ties its output head"):
        update_of(save_adapter(tiny_tied, tmp_path / "a", **options), tiny_tied)


@pytest.mark.parametrize(("options", "why"), [
    ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication.* repeats layers"),
    ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4.* randomised"),
    ({"lora_bias": True}, "bias of model.layers.0.mlp.down_proj"),
])  # fmt: skip
def test_what_has_no_exact_reading_is_refused_with_its_reason(tiny_biased, tmp_path, options, why):
    with pytest.raises(SourceInvalid, match=why) as refusal:
        update_of(save_adapter(tiny_biased, tmp_path / "a", **options), tiny_biased)
    assert "\n" not in str(refusal.value)


@pytest.fixture(scope="module")
def positions(tmp_path_factory):
    """Models with learned positions, by name: tied ones, and one whose head is untied."""
    shape = {"vocab_size": 99, "tie_word_embeddings": True}
    gpt2 = shape | {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 99}
    opt = shape | {
        "hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
        "max_position_embeddings": 97,
    }  # fmt: skip
    configs = {
        "gpt2": GPT2Config(**gpt2),
        "untied": GPT2Config(**gpt2 | {"tie_word_embeddings": False}),
        "opt": OPTConfig(**opt),
    }
    root = tmp_path_factory.mktemp("positions")
    for name, config in configs.items():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            AutoModelForCausalLM.from_config(config).save_pretrained(root / name)
        tokenizer().save_pretrained(root / name)
    return root


@pytest.mark.parametrize(("name", "options"), [
    ("gpt2", {"target_modules": ["wpe", "c_attn"]}),
    ("gpt2", {"target_modules": ["c_attn"], "modules_to_save": ["wpe"]}),
    ("gpt2", {"target_modules": ["c_attn"], "trainable_token_indices": {"wpe": [3, 5]}}),
    ("opt", {"target_modules": ["embed_positions", "q_proj"]}),
    ("untied", {"target_modules": ["wpe"]}),
], ids=str)  # fmt: skip
def test_learned_positions_are_no_tokens(positions, tmp_path, name, options):
    base = positions / name
    adapter = save_adapter(base, tmp_path / "a", **options)
    wanted = merged_deltas(base, adapter)
    assert_same_deltas(vector_of(adapter, base), wanted)
    tokenizer().save_pretrained(adapter)
    content = json.loads((adapter / "tokenizer.json").read_text())
    swapped = {10: 20, 20: 10}
    vocabulary = {token: swapped.get(place, place) for token, place in content["model"]["vocab"].items()}
    (adapter / "tokenizer.json").write_text(json.dumps(content | {"model": content["model"] | {"vocab": vocabulary}}))
    assert_same_deltas(vector_of(adapter, base), wanted)


def without(adapter, *parts):
    file = adapter / "adapter_model.safetensors"
    kept = {name: one for name, one in load_file(file).items() if not any(part in name for part in parts)}
    assert len(kept) < len(load_file(file))
    save_file(kept, file)
    return adapter


Q = {"target_modules": ["q_proj"]}


@pytest.mark.parametrize(("options", "part", "why"), [
    ({"use_dora": True}, "lora_magnitude_vector", "use_dora is set, and model.* lacks magnitudes"),
    ({"use_dora": True}, "layers.1.mlp.up_proj.lora_magnitude_vector", r"use_dora is set, .*layers\.1\.mlp\.up_proj"),
    (Q | {"lora_bias": True}, "layers.0.self_attn.q_proj.lora_B.bias", "lora_bias is set"),
    (Q | {"modules_to_save": ["lm_head"]}, "lm_head", r"modules_to_save=.*lm_head\.weight is missing"),
    (Q | {"modules_to_save": ["norm"]}, "layers.1.input_layernorm", "modules_to_save=.*layers.1.input_layernorm"),
    (Q | {"modules_to_save": ["mlp"]}, "layers.1.mlp.up_proj", r"modules_to_save=.*layers\.1\.mlp\.up_proj"),
    (Q | {"trainable_token_indices": [3]}, "trainable_tokens_delta", "trainable_token_indices is set"),
    (Q | {"trainable_token_indices": {"embed_tokens": [3], "lm_head": [5]}}, "lm_head", "no rows of lm_head"),
    ({"bias": "all"}, "layers.1.self_attn.q_proj.base_layer.bias", "bias='all' is set, and .*q_proj.bias"),
    (Q | {"bias": "lora_only"}, "layers.1.self_attn.q_proj.base_layer.bias", "bias='lora_only' is set"),
    ({}, "layers.1.mlp.up_proj.lora_B", "has lora_A and lacks lora_B"),
    (Q | {"target_modules": ["embed_tokens"]}, "lora_embedding_A", "has lora_embedding_B and lacks lora_embedding_A"),
], ids=str)  # fmt: skip
def test_a_file_that_lacks_what_was_trained_is_refused_by_name(tiny_biased, tmp_path, options, part, why):
    adapter = without(save_adapter(tiny_biased, tmp_path / "a", **options), part)
    with pytest.raises(SourceInvalid, match=why) as refusal:
        update_of(adapter, tiny_biased)
    assert "\n" not in str(refusal.value)


def test_tensors_that_the_configuration_does_not_ask_for_are_refused(tiny_biased, tmp_path):
    for option, role in (("use_dora", "lora_magnitude_vector"), ("lora_bias", r"lora_B\.bias")):
        adapter = save_adapter(tiny_biased, tmp_path / option, target_modules=["q_proj"], **{option: True})
        with pytest.raises(SourceInvalid, match=rf"{role}.* and {option} is not set"):
            update_of(rewritten(adapter, **{option: False}), tiny_biased)


@pytest.mark.parametrize(("options", "why"), [
    ({"use_dora": True, "target_modules": ["embed_tokens"]}, "DoRA of an embedding is not read"),
    ({"init_lora_weights": "pissa", "r": 200, "target_modules": ["q_proj"]}, "pissa with r=200 .* 64 directions"),
    ({"init_lora_weights": "olora", "r": 80, "target_modules": ["q_proj"]}, "olora with r=80 .* 64 directions"),
], ids=str)  # fmt: skip
def test_a_refusal_tells_the_reason(tiny_biased, tmp_path, options, why):
    with pytest.raises(SourceInvalid, match=why):
        update_of(save_adapter(tiny_biased, tmp_path / "a", **options), tiny_biased)


@pytest.fixture
def adapter(tiny_biased, tmp_path):
    return save_adapter(tiny_biased, tmp_path / "adapter")


def rewritten(adapter, rename=lambda name: name, **settings):
    file = adapter / "adapter_model.safetensors"
    save_file({rename(name): tensor for name, tensor in load_file(file).items()}, file)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | settings))
    return adapter


@pytest.mark.parametrize("rename", [
    lambda name: name.removeprefix("base_model.model."),
    lambda name: name.removeprefix("base_model.model.model."),
    lambda name: f"base_model.model.{name.removeprefix('base_model.model.model.')}",
    lambda name: name.replace(".weight", ".default.weight"),
])  # fmt: skip
def test_names_are_found_under_other_prefixes(adapter, tiny_biased, rename):
    wanted = merged_deltas(tiny_biased, adapter)
    assert_same_deltas(vector_of(rewritten(adapter, rename), tiny_biased), wanted)


@pytest.mark.parametrize(("settings", "why"), [
    ({"peft_type": "LOHA"}, "peft_type='LOHA'"),
    ({"an_option_of_next_year": True}, "an_option_of_next_year"),
    ({"init_lora_weights": "loftq"}, "quantised base"),
    ({"r": 3}, "factors of rank 4"),
    ({"rank_pattern": {"(": 4}}, "adapter"),
    ({"rank_pattern": 4}, "adapter"),
    *(({"lora_alpha": alpha}, "lora_alpha=.* gives no scale") for alpha in (
        None, float("nan"), float("inf"), -float("inf"), 1e38, 10**400, "much", [8],
    )),
    ({"alpha_pattern": {"up_proj": float("nan")}}, "up_proj: lora_alpha=nan gives no scale"),
    ({"init_lora_weights": "lora_ga"}, "lora_ga.* gradients"),
    ({"lora_ga_config": {"direction": "ArB2r"}}, "lora_ga_config.* gradients"),
])  # fmt: skip
def test_a_configuration_that_is_not_understood_is_refused_in_one_line(adapter, tiny_biased, settings, why):
    with pytest.raises(SourceInvalid, match=why) as refusal:
        update_of(rewritten(adapter, **settings), tiny_biased)
    assert "\n" not in str(refusal.value)


def test_an_adapter_of_another_base_is_refused_by_the_name_that_does_not_fit(adapter, gpt2, tiny_tied):
    with pytest.raises(SourceInvalid, match=r"changes model\.layers.*another base"):
        update_of(adapter, gpt2)
    other = rewritten(adapter, lambda name: name.replace("q_proj", "extra_proj"))
    with pytest.raises(SourceInvalid, match="extra_proj"):
        update_of(other, tiny_tied)


def test_a_pickle_is_read_as_numbers_and_never_run(adapter, tiny_biased, tmp_path):
    wanted = merged_deltas(tiny_biased, adapter)
    tensors = load_file(adapter / "adapter_model.safetensors")
    (adapter / "adapter_model.safetensors").unlink()
    torch.save(tensors, adapter / "adapter_model.bin")
    assert_same_deltas(vector_of(adapter, tiny_biased), wanted)

    class Hostile:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"a": Hostile()}, adapter / "adapter_model.bin")
    with pytest.raises(SourceInvalid, match="may hold code"):
        update_of(adapter, tiny_biased)


def test_values_that_are_no_numbers_and_packed_ones_are_refused(adapter, tiny_biased):
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    name = sorted(tensors)[0]
    save_file(tensors | {name: torch.full_like(tensors[name], float("nan"))}, file)
    with pytest.raises(SourceInvalid, match=f"{name} holds NaN"):
        find(str(adapter), adapter).open().check_values()
    save_file(tensors | {name: tensors[name].to(torch.int8)}, file)
    with pytest.raises(SourceInvalid, match=f"{name} is stored as int8"):
        update_of(adapter, tiny_biased)


def test_an_embedding_that_was_resized_is_found_by_token(tiny_biased, tmp_path):
    adapter = save_adapter(tiny_biased, tmp_path / "a", target_modules=["q_proj"], modules_to_save=["embed_tokens"])
    wanted = merged_deltas(tiny_biased, adapter)["model.embed_tokens.weight"]
    file, key = adapter / "adapter_model.safetensors", "base_model.model.model.embed_tokens.weight"
    tensors = load_file(file)
    save_file(tensors | {key: torch.cat([tensors[key], torch.ones(3, tensors[key].shape[1])])}, file)
    with pytest.raises(SourceInvalid, match=r"102 rows.* no tokenizer"):
        update_of(adapter, tiny_biased)
    larger = tokenizer()
    larger.add_tokens(["<|tool|>"])
    larger.save_pretrained(adapter)
    update = update_of(adapter, tiny_biased)
    torch.testing.assert_close(update.dense.delta("model.embed_tokens.weight"), wanted, rtol=0, atol=1e-6)
    assert "<|tool|>" in update.notes[0]


def test_a_folder_that_holds_neither_is_refused(tmp_path, adapter):
    with pytest.raises(SourceInvalid, match="neither a LoRA adapter"):
        find(str(tmp_path), tmp_path)
    shutil.copy(adapter / "adapter_config.json", tmp_path)
    with pytest.raises(SourceInvalid, match=r"none of adapter_model\.safetensors"):
        find(str(tmp_path), tmp_path).open()
