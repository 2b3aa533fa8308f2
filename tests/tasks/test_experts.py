import time
from types import SimpleNamespace

import pytest
from prefect import flow

from cycleqd.config import RunConfig
from cycleqd.experts.summary import TrainingStopped
from cycleqd.run.names import RunRef
from cycleqd.run.store import RunStore
from tasks import experts
from tasks.options import THREADS
from tests.live_prefect import small_configuration

pytestmark = pytest.mark.usefixtures("prefect_harness")

SKILLS = ("coding", "os", "db")


class Trained:
    """Stands in for trainings, whose order and number at a time count here; they do nothing."""

    def __init__(self, monkeypatch, *, fails=""):
        self.said, self.most, self._at_once, self._fails = [], 0, set(), fails
        monkeypatch.setattr(experts.steps, "gather_training_data", self.gather)
        monkeypatch.setattr(experts.steps, "train", self.train)
        monkeypatch.setattr(experts, "announcing", SimpleNamespace(trained=lambda *_: None))
        monkeypatch.setattr(experts, "_facts", lambda _: {})
        monkeypatch.setattr(experts, "_tell", lambda *_: None)

    def gather(self, ws, skill):
        self.said.append(f"gather {skill}")
        return 1

    def train(self, ws, skill):
        self._at_once.add(skill)
        self.most = max(self.most, len(self._at_once))
        try:
            if skill == self._fails:
                time.sleep(0.2)
                raise ValueError(f"{skill} diverged")
            if self._fails and not ws.evaluator.stop.wait(60):
                raise AssertionError("nobody told the other trainings to stop")
            if self._fails:
                raise TrainingStopped("the run is being stopped")
            time.sleep(0.3)
            self.said.append(f"train {skill}")
        finally:
            self._at_once.discard(skill)


def run_of(tmp_path, at_a_time):
    values = small_configuration(tmp_path, "small")
    config = RunConfig.model_validate(values | {"experts": values["experts"] | {"at_a_time": at_a_time}})
    RunStore(config.storage, config.run_id).open(config)
    return RunRef(run_id=config.run_id, storage=config.storage)


@flow(task_runner=THREADS)
def train_all(run: RunRef) -> None:
    experts.train_experts(run, SKILLS)


@pytest.mark.parametrize("at_a_time", [1, 2])
def test_so_many_train_at_a_time_and_the_next_ones_data_are_gathered_meanwhile(tmp_path, monkeypatch, at_a_time):
    trained = Trained(monkeypatch)
    train_all(run_of(tmp_path, at_a_time))
    assert trained.most == at_a_time
    assert sorted(trained.said) == sorted(f"{what} {skill}" for what in ("gather", "train") for skill in SKILLS)
    assert trained.said.index("gather os") < trained.said.index("train coding")


def test_a_training_that_fails_ends_the_others_and_is_what_is_told(tmp_path, monkeypatch):
    trained = Trained(monkeypatch, fails="os")
    with pytest.raises(ValueError, match="os diverged"):
        train_all(run_of(tmp_path, 2))
    assert "gather db" in trained.said
    assert not any(line.startswith("train") for line in trained.said)
