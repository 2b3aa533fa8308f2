"""What vLLM is told of a GPU; the last test wants one."""

import pytest
import torch

from cycleqd.models.causal_lm import ChatRequest, open_engine
from cycleqd.models.causal_lm.protocol import put_to_sleep
from cycleqd.models.causal_lm.vllm_start import memory

ASKED = [ChatRequest([{"role": "user", "content": "Write 1."}], 8)]


@pytest.mark.parametrize("given", [None, 0.5])
def test_a_gpu_has_the_share_and_the_cache_that_are_given_or_measures_the_rest(monkeypatch, given):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    told = {} if given is None else {"kv_cache_memory_bytes": 2**29}
    assert memory(given, 0.4) == {"gpu_memory_utilization": 0.4, **told}


def test_a_cpu_has_a_cache_of_two_gigabytes_unless_told(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert memory(None, 0.4)["kv_cache_memory_bytes"] == 2**31
    assert memory(0.5, 0.4)["kv_cache_memory_bytes"] == 2**29


@pytest.mark.parametrize("slept", [True, False])
def test_only_an_engine_that_can_is_put_to_sleep(slept):
    class Sleeper:
        def sleep(self):
            return slept

    assert put_to_sleep(Sleeper()) is slept
    assert put_to_sleep(object()) is False


@pytest.mark.vllm
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_an_asleep_engine_leaves_a_gpu_and_says_the_same_when_it_wakes(tiny_tied):
    engine = open_engine("vllm", tiny_tied, max_model_len=256, kv_cache_gb=2, gpu_memory_fraction=0.2)
    said, before = engine.chat(ASKED), torch.cuda.mem_get_info()[0]
    assert put_to_sleep(engine)
    assert torch.cuda.mem_get_info()[0] - before > 2**31 * 0.9
    engine.load("base", None)
    assert engine.chat(ASKED) == said
    engine.close()
