"""Families of models under vLLM: they say what they say under transformers, and merged weights reach all of theirs."""

import pytest

from cycleqd.models.causal_lm import ChatRequest, open_engine
from tests.families import FAMILIES, save_family
from tests.tiny_models import random_vector

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

OTHERS = ("Qwen3", "Gemma3Text", "Phi3", "GPTNeoX", "OPT")
"""Llama and Qwen2 are in other tests; Mistral has Llama's layers, and vLLM is refused for mixtures."""
REQUESTS = [ChatRequest([{"role": "user", "content": text}], 8) for text in ("hello", "abc def", "What is it?")]


def wide(family):
    """Heads of 32, the smallest that vLLM's build for CPUs computes."""
    settings = {"hidden_size": 64, "dtype": "float32", "pad_token_id": None}
    if family.startswith("Gemma"):  # it multiplies its embedding, which is its head: else it repeats the last token
        settings["initializer_range"] = 0.02
    settings |= {"word_embed_proj_dim": 64, "ffn_dim": 96} if family == "OPT" else {"intermediate_size": 96}
    return settings | {key: 32 for key in ("head_dim", "query_pre_attn_scalar") if key in FAMILIES[family]}


@pytest.mark.parametrize("family", OTHERS)
def test_a_family_gives_the_same_replies_in_both_engines_before_and_after_a_merge(family, tmp_path):
    base = save_family(family, tmp_path / "base", **wide(family))
    child = random_vector(base, seed=1, scale=0.1)
    replies = []
    for kind in ("transformers", "vllm", "transformers", "vllm"):  # vLLM changes some of transformers' classes
        engine = open_engine(kind, base, dtype="float32", max_model_len=128, kv_cache_gb=0.1)
        said = []
        for name, vector in (("base", None), ("child", child), ("base", None)):
            engine.load(name, vector)
            said.append([reply.text for reply in engine.chat(REQUESTS)])
        engine.close()
        replies.append(said)
    assert all(said == replies[0] for said in replies)
    assert replies[0][0] == replies[0][2] != replies[0][1]
