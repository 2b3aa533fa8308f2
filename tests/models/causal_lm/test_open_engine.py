import logging

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cycleqd.models import hardware
from cycleqd.models.causal_lm import ChatRequest, open_engine
from cycleqd.models.causal_lm.rendering import render


def without_vllm(monkeypatch):
    monkeypatch.setattr(hardware, "find_spec", lambda name: None)


def test_auto_without_vllm_takes_transformers_and_says_how_to_get_vllm(tiny_tied, monkeypatch, caplog):
    without_vllm(monkeypatch)
    with caplog.at_level(logging.WARNING):
        engine = open_engine("auto", tiny_tied)
    assert engine.name == "transformers"
    assert "pip install 'cycleqd[cpu]'" in caplog.text
    engine.close()


def test_missing_vllm_is_refused_when_asked_for(tiny_tied, monkeypatch):
    without_vllm(monkeypatch)
    with pytest.raises(ValueError, match="pip install"):
        open_engine("vllm", tiny_tied)


def test_closed_transformers_engine_refuses_work(tiny_tied):
    engine = open_engine("transformers", tiny_tied)
    engine.close()
    engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        engine.chat([ChatRequest([{"role": "user", "content": "hello"}], 4)])


# Two examples ahead of the question: bf16 rounds differently from one kind of processor to the next, so every token of
# the reply must be far ahead of the second best.
CAPITALS = [
    {"role": "user", "content": "What is the capital of Italy?"},
    {"role": "assistant", "content": "The capital of Italy is Rome."},
    {"role": "user", "content": "What is the capital of Spain?"},
    {"role": "assistant", "content": "The capital of Spain is Madrid."},
    {"role": "user", "content": "What is the capital of France?"},
]
MARGIN = 3.0
"""Nats between the best and the second best token, in fp32; rounding to bf16 shifts a token by up to 0.2."""


@pytest.fixture(scope="module")
def obvious_reply(smollm2):
    """The greedy reply to `CAPITALS` in fp32, once it is made sure that no token of it is a close call."""
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32).eval()
    ids, reply = render(tokenizer, CAPITALS, reply_follows=True), []
    while tokenizer.eos_token_id not in reply:
        with torch.inference_mode():
            top = model(torch.tensor([ids + reply])).logits[0, -1].topk(2)
        assert float(top.values[0] - top.values[1]) > MARGIN
        reply.append(int(top.indices[0]))
    return tokenizer.decode(reply, skip_special_tokens=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["transformers", pytest.param("auto", marks=pytest.mark.vllm)])
def test_real_model_gives_the_obvious_reply_and_ends_it(kind, smollm2, obvious_reply):
    engine = open_engine(kind, smollm2, max_model_len=256, kv_cache_gb=0.5)
    try:
        (reply,) = engine.chat([ChatRequest(CAPITALS, 16)])
    finally:
        engine.close()
    assert engine.name == ("transformers" if kind == "transformers" else "vllm")
    assert reply.text == obvious_reply == "The capital of France is Paris."
    assert reply.finish_reason == "stop"
