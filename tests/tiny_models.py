"""Real models too small to say anything sensible: random weights, one token a character, ChatML template."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from cycleqd.base_model import BaseWeights
from cycleqd.task_vector import DenseTaskVector

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# ASCII only, in ByteLevel's spelling of space and line break: half a UTF-8 character is no text to compare.
CHARACTERS = ("Ġ", "Ċ", *map(chr, range(ord("!"), ord("~") + 1)))
# Heads of 32: the smallest that vLLM's CPU attention takes.
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,  # large, so that every token and weight tells
}


def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {token: index for index, token in enumerate([*SPECIAL_TOKENS, *CHARACTERS])}
    bytes_only = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=bytes_only,
        chat_template=CHAT_TEMPLATE,
        **dict(zip(("unk_token", "bos_token", "eos_token"), SPECIAL_TOKENS, strict=True)),
    )


def save_tied(path: Path, **changes: int) -> None:
    """A Llama whose output head is its embedding; `changes` of its configuration."""
    _save(LlamaForCausalLM, LlamaConfig(tie_word_embeddings=True, **_common() | changes), path, "1GB")


def save_biased(path: Path) -> None:
    """A Qwen2, whose query, key and value projections have biases; in several files."""
    _save(Qwen2ForCausalLM, Qwen2Config(tie_word_embeddings=False, **_common()), path, "200KB")


def random_vector(base: Path, *, seed: int, scale: float = 0.05) -> DenseTaskVector:
    """A task vector that changes every parameter, biases, norms and embeddings included."""
    weights = BaseWeights(base)

    def delta(name: str) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed * 1000 + weights.names().index(name))
        return torch.randn(weights.shape(name), generator=generator) * scale

    return DenseTaskVector({name: weights.shape(name) for name in weights.names()}, delta)


def _common() -> dict:
    # No padding token: its embedding would start at zero, and a tied head could never say it.
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
    return SHAPE | special | {"vocab_size": len(SPECIAL_TOKENS) + len(CHARACTERS), "dtype": "float32"}


def _save(kind, config, path: Path, max_shard_size: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = kind(config)
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):  # transformers starts them at zero, which would hide them
                torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(path, max_shard_size=max_shard_size)
    tokenizer().save_pretrained(path)


def save_mixture(path: Path, family: str, *, fused: bool = False, seed: int = 7) -> None:
    """A mixture of experts: ``Qwen3Moe`` or ``Mixtral``, its experts stored one by one or as stacks of matrices."""
    import transformers

    own = {
        "Qwen3Moe": {"moe_intermediate_size": 40, "num_experts": 4, "num_experts_per_tok": 2},
        "Mixtral": {"intermediate_size": 40, "num_local_experts": 4, "num_experts_per_tok": 2},
    }[family]
    config = getattr(transformers, f"{family}Config")(**_common() | {"head_dim": 32} | own)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, f"{family}ForCausalLM")(config)
    model.save_pretrained(path, save_original_format=not fused)
    tokenizer().save_pretrained(path)
