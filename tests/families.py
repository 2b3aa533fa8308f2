"""Tiny random models of every family that can be a base."""

from pathlib import Path

import torch
import transformers

from tests.tiny_models import CHARACTERS, SPECIAL_TOKENS, tokenizer

TOKENS = len(SPECIAL_TOKENS) + len(CHARACTERS)
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "vocab_size": TOKENS, "initializer_range": 0.2}
SHAPE = SPECIAL | {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 256,
}  # fmt: skip
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}<|im_start|>"
    "{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)
FAMILIES = {
    "Llama": SHAPE,
    "Qwen2": SHAPE,
    "Qwen3": SHAPE | {"head_dim": 16, "tie_word_embeddings": True},
    "Gemma2": SHAPE | {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 64},
    "Gemma3Text": SHAPE | {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 64},
    "Phi3": SHAPE,
    "Mistral": SHAPE | {"sliding_window": 64},
    "GPTNeoX": {key: value for key, value in SHAPE.items() if key != "num_key_value_heads"},
    "OPT": SPECIAL | {
        "hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
        "max_position_embeddings": 256,
    },
    "Mixtral": SHAPE | {"num_local_experts": 3, "num_experts_per_tok": 2},
    "Qwen3Moe": SHAPE | {"head_dim": 16, "moe_intermediate_size": 24, "num_experts": 3, "num_experts_per_tok": 2},
}  # fmt: skip


def save_family(family: str, folder: Path, **settings: object) -> Path:
    """The family's model with its tokenizer."""
    kind = f"{family.removesuffix('Text')}ForCausalLM"
    with torch.random.fork_rng():
        torch.manual_seed(7)
        config = getattr(transformers, f"{family}Config")(**FAMILIES[family] | settings)
        model = getattr(transformers, kind)(config)
    model.save_pretrained(folder)
    tokens = tokenizer()
    if family.startswith("Gemma"):
        tokens.chat_template = NO_SYSTEM
    tokens.save_pretrained(folder)
    return folder
