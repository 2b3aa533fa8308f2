"""Who trains holds no engine, whose memory the training may need: a random model, real trainings."""

import weakref

import pytest

from cycleqd import steps
from cycleqd.models.causal_lm import ChatRequest
from cycleqd.steps.workspace import opened
from tests.steps.small_run import NONSENSE, begin, nonsense_data, nonsense_problems, nonsense_skills

ENGINES = ["transformers", pytest.param("vllm", marks=[pytest.mark.vllm, pytest.mark.slow])]
ASKED = [ChatRequest([{"role": "user", "content": "Write 1."}], 8)]


@pytest.fixture(scope="module", params=ENGINES)
def ws(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("memory")
    nonsense_problems(folder)
    run = begin(
        folder,
        "memory",
        skills=nonsense_skills(folder),
        baselines=[{"method": "regmean", "scales": [1.0]}],
        engine={"kind": request.param, "max_model_len": 256, "kv_cache_gb": 0.1},
        experts={"rank": 2, "global_batch": 2, "micro_batch": 2, "data": nonsense_data(folder)},
    )
    with opened(run) as ws:
        yield ws


def serving(ws):
    """The engine's model, without keeping it, and what it says."""
    engine, models = ws.evaluator.engine, []
    if engine.name == "vllm":
        engine._llm.apply_model(lambda model: models.append(weakref.ref(model)))
    else:
        models.append(weakref.ref(engine._model))
    return models[0], engine.chat(ASKED)


def test_every_training_begins_after_the_engine_is_gone_and_it_comes_back_as_it_was(ws):
    said, seen, busy = [], [], []

    def released(*_):
        seen.append(not ws.evaluator.holds_engine and model() is None)

    for train in (
        lambda: [steps.train(ws, skill, released) for skill in NONSENSE if steps.gather_training_data(ws, skill)],
        lambda: steps.train_on_all_data(ws, released),
        lambda: steps.derive_experts(ws, released),  # RegMean's measuring
    ):
        model, reply = serving(ws)
        said.append(reply)
        busy.append(ws.phases().generate)
        seen.clear()
        train()
        assert seen
        assert all(seen)
    said.append(serving(ws)[-1])
    assert all(reply == said[0] for reply in said)
    busy.append(ws.phases().generate)
    # Time that a released engine took is not forgotten.
    assert busy == sorted(busy)
    assert busy[-1] > busy[0] > 0


def test_an_engine_that_somebody_is_scored_with_is_not_taken_away(ws):
    with ws.evaluator.evaluating("base", "optimization"):
        ws.evaluator.engine.chat(ASKED)
        with pytest.raises(RuntimeError, match="base is being evaluated"), ws.training():
            pass
        assert ws.evaluator.holds_engine
    with ws.training():
        assert not ws.evaluator.holds_engine
