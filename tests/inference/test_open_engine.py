import logging

import pytest

import cycleqd.inference as inference
from cycleqd.inference import ChatRequest, open_engine


def without_vllm(monkeypatch):
    monkeypatch.setattr(inference, "find_spec", lambda name: None)


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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["transformers", pytest.param("auto", marks=pytest.mark.vllm)])
def test_real_model_knows_the_capital_of_france(kind, smollm2):
    engine = open_engine(kind, smollm2, max_model_len=256, kv_cache_gb=0.5)
    try:
        (reply,) = engine.chat([ChatRequest([{"role": "user", "content": "What is the capital of France?"}], 16)])
    finally:
        engine.close()
    assert engine.name == ("transformers" if kind == "transformers" else "vllm")
    assert reply.text == "The capital of France is Paris."
    assert reply.finish_reason == "stop"
