"""What only vLLM has: prefix caching, and a process that it must leave as it was."""

import logging
import os

import pytest
import torch

from cycleqd.models.causal_lm import ChatRequest, open_engine

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


@pytest.fixture(scope="module")
def engine(tiny_tied):
    opened = open_engine("vllm", tiny_tied, dtype="float32", max_model_len=512, kv_cache_gb=0.1)
    yield opened
    opened.close()


@pytest.fixture
def cached_tokens(engine, monkeypatch):
    """Prompt tokens that were found in the prefix cache, one entry a finished request."""
    found = []
    step = engine._llm.llm_engine.step

    def spy():
        outputs = step()
        found.extend(output.num_cached_tokens for output in outputs if output.finished)
        return outputs

    monkeypatch.setattr(engine._llm.llm_engine, "step", spy)
    return found


def ask(engine, scope):
    engine.chat([ChatRequest([{"role": "user", "content": "z" * 200}], 2, (), scope)])


def test_prefixes_are_cached_within_a_scope_and_never_across(engine, cached_tokens):
    for scope in ("one", "one", "two", "", ""):
        ask(engine, scope)
    assert [bool(tokens) for tokens in cached_tokens] == [False, True, False, False, True]


def test_load_empties_the_prefix_cache(engine, cached_tokens, tiny_tied):
    from tests.tiny_models import random_vector

    ask(engine, "mine")
    engine.load("one", random_vector(tiny_tied, seed=1))
    ask(engine, "mine")
    engine.load("base", None)
    assert not any(cached_tokens)


def test_failing_step_reaches_the_callers_and_not_the_engines_thread(engine, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(engine._llm.llm_engine, "step", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ask(engine, "broken")
    engine._llm.llm_engine.abort_request([str(engine._submitted - 1)])
    ask(engine, "mended")


def test_process_keeps_its_environment_and_threads(engine):
    assert "libtcmalloc" not in os.environ.get("LD_PRELOAD", "")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert torch.get_num_threads() == 1
    torch.set_num_threads(threads)


def test_the_start_takes_no_log_handler_of_the_process_down(tiny_biased, monkeypatch):
    """Prefect's flushes through a thread that logs, and that waited for ever for whoever held the lock of logging."""
    monkeypatch.setattr("vllm.logger._last_configured_logging_config", None)  # as in a new process
    handler = Ended()
    known = set(logging._handlerList)
    open_engine("vllm", tiny_biased, dtype="float32", max_model_len=128, kv_cache_gb=0.1).close()
    assert handler.told == []
    assert known <= set(logging._handlerList)


class Ended(logging.Handler):
    """Notes what it is told to do."""

    def __init__(self):
        super().__init__()
        self.told = []

    def flush(self):
        self.told.append("flush")

    def close(self):
        self.told.append("close")
        super().close()


def test_closed_engine_refuses_work(tiny_biased):
    engine = open_engine("vllm", tiny_biased, dtype="float32", max_model_len=128, kv_cache_gb=0.1)
    engine.close()
    engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        engine.chat([])
