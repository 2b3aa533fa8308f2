"""Which engines the models of a run are given."""

import pytest

from cycleqd.evaluation import resources
from cycleqd.generalisation import subjects
from cycleqd.generalisation.scoring import model_of


class TextEngine:
    """What vLLM has, as far as the choice of the harness' model goes."""

    name, loaded, tokenizer, max_model_len = "vllm", "base", None, 512

    def log_likelihoods(self, requests):
        raise NotImplementedError

    def complete(self, requests):
        raise NotImplementedError


def test_a_run_with_images_is_scored_on_texts_by_the_text_engine_itself(seeing_run, monkeypatch):
    pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'cycleqd[generalise]'")
    from cycleqd.generalisation.engine_model import EngineModel

    engine = TextEngine()
    monkeypatch.setattr(resources, "open_engine", lambda *_, **__: engine)
    monkeypatch.setattr("cycleqd.models.vision_language.resolve_vision", lambda *_, **__: pytest.fail("images"))
    (group,) = subjects.of_run(seeing_run, engine="vllm", max_model_len=None)
    assert group.start() is engine
    assert isinstance(model_of(engine), EngineModel)
