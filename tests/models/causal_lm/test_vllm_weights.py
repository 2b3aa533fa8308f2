"""What an engine of vLLM leaves in its process."""

import gc
import weakref

import pytest

from cycleqd.models.causal_lm import open_engine
from tests.tiny_models import random_vector

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def test_a_closed_engine_leaves_no_weights_behind(tiny_tied):
    weights = []
    engine = open_engine("vllm", tiny_tied, dtype="float32", max_model_len=512, kv_cache_gb=0.1)
    engine.load("one", random_vector(tiny_tied, seed=1))
    engine._llm.apply_model(lambda model: weights.extend(map(weakref.ref, model.parameters())))
    assert weights
    engine.close()
    gc.collect()
    assert [weight for weight in weights if weight() is not None] == []
