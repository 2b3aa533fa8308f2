"""The steps of a run whose experts learn from data sets: a real base model, a tiny one, and real training."""

import json

import pytest

from cycleqd import steps
from cycleqd.config import parse_config
from cycleqd.experts.data import DataReport, TrainingDataUnavailable
from cycleqd.run.store import RunStore
from cycleqd.steps.workspace import Workspace
from tests.experts.data.files import agent_flan_row, write_lines


@pytest.fixture
def workspace(tmp_path, tiny_tied, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [agent_flan_row(f"os_{n}") for n in range(8)] + [agent_flan_row("os_8", answer="x" * 600)]
    source = {"recipe": "agent_flan", "path": write_lines(tmp_path / "flan.jsonl", rows), "subset": "os"}
    config = parse_config(
        {
            "run_id": "data",
            "storage": str(tmp_path / "runs"),
            "model": {"name": str(tiny_tied), "dtype": "float32"},
            "skills": [{"name": "os", "optimization": 2, "test": 2}],
            "experts": {"rank": 2, "packing": True, "data": {"os": {"sources": [source], "max_length": 450}}},
        }
    )
    store = RunStore(config.storage, config.run_id)
    store.open(config)
    opened = Workspace(store)
    yield opened
    opened.close()


def test_expert_is_trained_on_the_data_set_and_its_summary_has_the_hash(workspace):
    assert steps.gather_training_data(workspace, "os") == 9
    summary = steps.train(workspace, "os")
    report = DataReport.model_validate(workspace.store.read_json("experts/os/data.json"))
    assert (summary.conversations, summary.left_out, summary.steps) == (8, 1, 1)
    assert summary.data_hash == report.hash
    assert report.sources[0].kept == 9
    assert not workspace.store.exists("experts/os/demonstrations.json")
    assert steps.gather_training_data(workspace, "os") == 9
    assert steps.train(workspace, "os") == summary


def test_data_that_changed_under_a_run_is_refused(workspace, tmp_path):
    steps.gather_training_data(workspace, "os")
    lines = (tmp_path / "flan.jsonl").read_text().splitlines()
    write_lines(tmp_path / "flan.jsonl", map(json.loads, lines[1:]))
    with pytest.raises(TrainingDataUnavailable, match="has changed since this run read it"):
        steps.train(workspace, "os")
