"""A small run of version 904c689, before modules had rooms, records fingerprints and reports baselines.

Made by its flow with a random model (`tests.tiny_models.save_tied`), then packed without report, metrics,
trained and exported models.
"""

import tarfile
from pathlib import Path

import pytest
from safetensors.torch import load_file

from cycleqd import steps
from cycleqd.report import summarise, write_report
from cycleqd.report.write import read_summary
from cycleqd.run.names import AGGREGATE, RunRef
from cycleqd.run.store import RunStore
from cycleqd.run.upkeep import verify
from cycleqd.steps.admission import admit
from cycleqd.steps.export import export_individual
from cycleqd.steps.workspace import opened
from tests.steps.small_run import next_generation, score

RUN = RunRef(run_id="old", storage="runs")


@pytest.fixture
def store(tmp_path, monkeypatch):
    with tarfile.open(Path(__file__).with_name("old_run.tar.gz")) as packed:
        packed.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)  # its configuration names its model and its storage from here
    return RunStore(RUN.storage, RUN.run_id)


def test_an_old_run_is_whole(store):
    found = verify(store)
    assert found.faults == []
    assert (found.generations, found.evaluations) == (3, 45)


def test_an_old_run_is_reported(store):
    write_report(store)
    summary = read_summary(store)
    assert summary == summarise(store)
    assert {"base", "average", "expert:os", "cycleqd"} <= set(summary.splits["test"])
    assert summary.generations == 3


def test_a_model_of_an_old_run_is_exported(store, tmp_path):
    export_individual(store, AGGREGATE, tmp_path / "out")
    exported, base = load_file(tmp_path / "out" / "model.safetensors"), load_file("model/model.safetensors")
    assert exported.keys() == base.keys()
    assert any((exported[name] != base[name]).any() for name in base)


@pytest.mark.docker
def test_an_old_run_is_continued(store, caplog):
    with opened(RUN) as ws:
        admit(ws)
        assert "kept no fingerprints" in caplog.text
        ws.adopt(ws.config.model_copy(update={"generations": 4}))
        steps.rebuild_search(ws)
        record = next_generation(ws)
        assert record.generation == 3
        assert steps.aggregate(ws).generation == 3
        score(ws.evaluator, AGGREGATE, "test")
    assert verify(store).faults == []
    assert summarise(store).generations == 4
