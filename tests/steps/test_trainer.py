"""A run whose experts are trained by processes of their own: stopped, continued, refined from the same seam."""

import pytest

from cycleqd import steps
from cycleqd.experts import TrainingSummary
from cycleqd.experts.summary import TrainingStopped
from cycleqd.run.upkeep import verify
from cycleqd.steps.workspace import opened
from tests.steps.small_run import NONSENSE, begin, nonsense_data, nonsense_problems, nonsense_skills


@pytest.mark.slow
def test_a_run_is_stopped_in_a_training_in_another_process_and_goes_on_where_it_was(tmp_path):
    nonsense_problems(tmp_path)
    experts = {"rank": 2, "global_batch": 2, "micro_batch": 2, "epochs": 20, "data": nonsense_data(tmp_path)}
    trainer = {"kind": "transformers"}
    run = begin(tmp_path, "elsewhere", skills=nonsense_skills(tmp_path), experts={**experts, "trainer": trainer})
    skill, seen = NONSENSE[0], []
    state = f"experts/{skill}/training.tar"

    def stopping(progress):
        seen.append(progress.step)
        if progress.step == 2:
            ws.evaluator.stop.set()

    with opened(run) as ws:
        steps.gather_training_data(ws, skill)
        with pytest.raises(TrainingStopped):
            steps.train(ws, skill, stopping)
        assert ws.store.exists(state)
        assert not ws.store.exists(f"experts/{skill}/summary.json")
        assert verify(ws.store).faults == []
    before = len(seen)
    assert before < 80
    with opened(run) as ws:
        summary = steps.train(ws, skill, lambda progress: seen.append(progress.step))
        assert seen == list(range(1, 81))
        assert len(summary.losses) == summary.steps == 80
        assert ws.store.fields(TrainingSummary, f"experts/{skill}/summary.json").losses == summary.losses
        assert not ws.store.exists(state)
        assert steps.train(ws, skill).losses == summary.losses  # not again
        assert verify(ws.store).faults == []
