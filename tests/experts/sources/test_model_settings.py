"""Settings of two configurations: refused is what makes the same weights compute something else, and nothing more."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from cycleqd.experts.sources import SourceInvalid
from cycleqd.experts.sources.model_settings import difference

TOKENS = torch.arange(24)[None] % 90
SHAPE = {
    "vocab_size": 99, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.3, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GEMMA = SHAPE | {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 16}
MODELS = {
    "llama": SHAPE,
    "qwen2": SHAPE,
    "qwen3": SHAPE | {"head_dim": 16},
    "mistral": SHAPE | {"sliding_window": None},
    "mixtral": SHAPE | {"num_local_experts": 3, "num_experts_per_tok": 2},
    "qwen3_moe": SHAPE | {"head_dim": 16, "moe_intermediate_size": 24, "num_experts": 3, "num_experts_per_tok": 2},
    "gemma2": GEMMA,
    "gemma3_text": GEMMA,
    "phi3": SHAPE,
    "gpt_neox": {key: value for key, value in SHAPE.items() if key != "num_key_value_heads"},
    "opt": {
        "vocab_size": 99, "hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": 64, "init_std": 0.3,
    },
    "gpt2": {
        "vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "initializer_range": 0.3,
        "layer_norm_epsilon": 1e-5,
    },
}  # fmt: skip
LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
DECISIVE = [
    ("gpt_neox", {"use_parallel_residual": False}),
    ("gpt_neox", {"rotary_pct": 1.0}),
    ("mistral", {"sliding_window": 8}),
    ("gemma2", {"query_pre_attn_scalar": 256}),
    ("gemma2", {"final_logit_softcapping": 5.0}),
    ("gemma3_text", {"sliding_window": 8}),
    ("gemma3_text", {"layer_types": ["full_attention", "full_attention"]}),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}),
    ("qwen3_moe", {"norm_topk_prob": True}),
    ("qwen3_moe", {"num_experts_per_tok": 1}),
    ("gpt2", {"layer_norm_epsilon": 0.5}),
    ("gpt2", {"n_head": 4}),
    ("gpt2", {"num_attention_heads": 4, "n_head": None}),
    ("gpt2", {"scale_attn_weights": False}),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
    ("llama", {"rope_scaling": LINEAR}),
    ("llama", {"rope_theta": 500.0}),
    ("llama", {"hidden_act": "relu"}),
    ("phi3", {"partial_rotary_factor": 0.5}),
    ("opt", {"activation_function": "gelu"}),
    ("opt", {"do_layer_norm_before": False}),
]
HARMLESS = [
    ("llama", {"torch_dtype": "bfloat16", "transformers_version": "4.40.0", "_name_or_path": "/elsewhere"}),
    ("llama", {"architectures": ["LlamaModel"], "use_cache": False, "auto_map": {"AutoModel": "modeling.Model"}}),
    ("llama", {"bos_token_id": 5, "eos_token_id": [2, 7], "pad_token_id": None}),
    ("llama", {"max_position_embeddings": 4096}),
    ("llama", {"rope_scaling": None, "head_dim": 16, "attention_bias": False, "mlp_bias": None}),
    ("llama", {"rope_scaling": {"type": "linear", "factor": 1.0}}),
    ("llama", {"rope_theta": 10000, "rope_parameters": None}),
    ("llama", {"hidden_act": "swish", "attention_dropout": 0.1, "pretraining_tp": 2}),
    ("llama", {"unsloth_version": "2026.1", "temperature": 0.5, "max_length": 12, "initializer_range": 1.0}),
    ("qwen2", {"head_dim": 16, "max_window_layers": 1, "use_sliding_window": False, "sliding_window": 8}),
    ("mixtral", {"head_dim": 16, "router_aux_loss_coef": 0.5, "router_jitter_noise": 0.1, "num_experts": 3}),
    ("qwen3_moe", {"num_local_experts": 3, "mlp_only_layers": None, "norm_topk_prob": None}),
    ("gemma2", {"use_bidirectional_attention": False, "layer_types": ["sliding_attention", "full_attention"]}),
    ("gpt2", {"n_inner": 128, "summary_type": "last", "resid_pdrop": 0.5, "reorder_and_upcast_attn": True}),
    ("gpt2", {"num_attention_heads": 2, "hidden_size": 32}),
    ("opt", {"dropout": 0.5, "layerdrop": 0.1, "init_std": 1.0}),
    ("gpt_neox", {"rotary_pct": 0.25, "rotary_emb_base": 10000, "classifier_dropout": 0.5}),
    ("phi3", {"original_max_position_embeddings": 64, "rope_scaling": None}),
]


def written(folder, settings):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({key: one for key, one in settings.items() if one is not None}))
    return folder


def pair(tmp_path, kind, settings):
    plain = {"model_type": kind, **MODELS[kind]}
    return written(tmp_path / "base", plain), written(tmp_path / "expert", plain | settings)


def logits(folder, weights=None):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32).eval()
    if weights is not None:
        model.load_state_dict(weights, strict=False)  # OPT has one norm less
    with torch.no_grad():
        return model(TOKENS).logits, model.state_dict()


@pytest.mark.parametrize(("kind", "settings"), DECISIVE, ids=str)
def test_a_setting_that_changes_what_weights_compute_is_found(tmp_path, kind, settings):
    base, expert = pair(tmp_path, kind, settings)
    own, weights = logits(base)
    assert not torch.allclose(logits(expert, weights)[0], own, atol=1e-4)  # so the case is what it is meant to be
    assert difference(base, expert) is not None
    assert difference(expert, base) is not None


@pytest.mark.parametrize(("kind", "settings"), HARMLESS, ids=str)
def test_a_setting_that_changes_nothing_is_none(tmp_path, kind, settings):
    base, expert = pair(tmp_path, kind, settings)
    own, weights = logits(base)
    torch.testing.assert_close(logits(expert, weights)[0], own, rtol=0, atol=1e-4)
    assert difference(base, expert) is None
    assert difference(expert, base) is None


@pytest.mark.parametrize("kind", MODELS)
def test_defaults_that_one_file_spells_out_make_no_difference(tmp_path, kind):
    base = written(tmp_path / "base", {"model_type": kind, **MODELS[kind]})
    AutoConfig.from_pretrained(base).save_pretrained(tmp_path / "expert")
    assert difference(base, tmp_path / "expert") is None


def test_the_longest_text_counts_where_positions_depend_on_it(tmp_path):
    base, expert = pair(tmp_path, "llama", {"max_position_embeddings": 128})
    for folder in (base, expert):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"rope_scaling": LINEAR | {"rope_type": "dynamic"}}))
    assert difference(base, expert).key == "max_position_embeddings"


@pytest.mark.parametrize(("settings", "named"), [
    ({"num_attention_heads": 4}, "num_attention_heads"), ({"num_hidden_layers": 1}, "num_hidden_layers"),
    ({"model_type": "mistral"}, "model_type"), ({"rope_theta": 5.0}, "rope_parameters"),
])  # fmt: skip
def test_the_setting_that_others_follow_from_is_named(tmp_path, settings, named):
    assert difference(*pair(tmp_path, "qwen2", settings)).key == named


def test_the_kinds_of_layers_are_named_before_the_window_that_none_of_them_has(tmp_path):
    base, expert = pair(tmp_path, "gemma3_text", {"layer_types": ["full_attention", "full_attention"]})
    assert difference(base, expert).key == "layer_types"


def test_a_setting_of_another_program_counts_where_the_models_source_reads_it(tmp_path):
    assert difference(*pair(tmp_path, "qwen2", {"head_dim": 8})).key == "head_dim"


def test_a_configuration_that_cannot_be_loaded_is_refused_in_one_line(tmp_path):
    base, expert = pair(tmp_path, "llama", {"hidden_size": "wide"})
    with pytest.raises(SourceInvalid, match=r"config\.json cannot be used") as refusal:
        difference(base, expert)
    assert "\n" not in str(refusal.value)
