import json
import shutil

import pytest
from typer.testing import CliRunner

from cycleqd.cli import app, common
from tests.experts.data.files import agent_flan_row, write_lines


@pytest.fixture(autouse=True)
def _surroundings(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(common.out, "width", 200)
    monkeypatch.setattr(common.err, "width", 200)


@pytest.fixture
def config(tmp_path, tiny_tied):
    rows = [agent_flan_row(f"os_{n}", answer="Act: bash \x1b[31m" + "x" * (450 if n == 0 else 9)) for n in range(5)]
    path = write_lines(tmp_path / "flan.jsonl", [*rows, agent_flan_row("db_0"), {"id": "os_5"}])
    text = {
        "model": {"name": str(tiny_tied)},
        "skills": [{"name": "os", "optimization": 2, "test": 2}, {"name": "db", "optimization": 2, "test": 2}],
        "experts": {
            "data": {"os": {"sources": [{"recipe": "agent_flan", "path": path, "subset": "os"}], "max_length": 500}}
        },
    }
    (tmp_path / "config.yaml").write_text(json.dumps(text))
    return str(tmp_path / "config.yaml")


def inspect(*arguments):
    return CliRunner().invoke(app, ["data", "inspect", *arguments])


def test_inspect_counts_rows_lengths_and_shows_examples(config):
    result = inspect(config, "--examples", "2")
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert "os: 5 conversations, 1 too long, decontamination by 10 words, hash" in text
    assert "flan.jsonl 7 1 1 0 0 5" in text
    assert "os, example 2" in text
    assert "os, example 3" not in text
    assert "assistant (not trained): Understood." in text
    assert "\x1b[31m" not in result.stdout
    assert "flan.jsonl: row 7: no list of messages" in text


def test_inspect_as_json_is_the_report_that_training_writes(config):
    found = json.loads(inspect(config, "--json").stdout)
    assert found["os"]["too_long"] == 1
    assert found["os"]["conversations"] == 5
    assert len(found["os"]["hash"]) == 64


def test_conversations_that_the_models_template_refuses_are_counted(config, tiny_tied, tmp_path):
    model = shutil.copytree(tiny_tied, tmp_path / "strict")
    (model / "chat_template.jinja").write_text("{{ raise_exception('no such talk here') }}")
    result = inspect(config, "--set", f"model.name={model}")
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert "5 refused by the chat template" in text
    assert "First refused by the chat template: conversation 1: no such talk here" in text


def test_missing_data_is_told_in_one_line(config):
    result = inspect(config, "--set", "experts.data.os.sources.0.path=missing.jsonl")
    assert result.exit_code == 2
    assert "missing.jsonl: no such file or folder" in " ".join(result.stderr.split())


def test_skills_that_learn_from_gold_episodes_have_nothing_to_inspect(config):
    result = inspect(config, "--skill", "db")
    assert result.exit_code == 2
    assert "gold episodes" in " ".join(result.stderr.split())


def test_recorded_gold_episodes_are_training_data_of_another_skill(tmp_path, tiny_tied):
    folder = tmp_path / "recorded"
    told = ["data", "record", "coding", "os", "--samples", "3", "--seed", "5", "--out", str(folder)]
    result = CliRunner().invoke(app, told)
    assert result.exit_code == 0, result.output
    assert "3 conversations written to" in result.stdout
    before = [(folder / f"{name}.jsonl").read_bytes() for name in ("coding", "os")]
    rows = [json.loads(line) for line in before[1].splitlines()]
    # What the shell printed is in there, so that the expert sees what it answers from.
    assert [message["role"] for message in rows[0]["messages"]] == ["system", "user", "assistant", "user", "assistant"]
    assert CliRunner().invoke(app, told).exit_code == 0
    assert [(folder / f"{name}.jsonl").read_bytes() for name in ("coding", "os")] == before
    text = {
        "model": {"name": str(tiny_tied)},
        "skills": [{"name": "os", "optimization": 2, "test": 2}, {"name": "db", "optimization": 2, "test": 2}],
        "experts": {"data": {"db": {"sources": [{"recipe": "chat", "path": str(folder / "os.jsonl")}]}}},
    }
    (tmp_path / "config.yaml").write_text(json.dumps(text))
    found = json.loads(inspect(str(tmp_path / "config.yaml"), "--json").stdout)
    assert found["db"]["conversations"] == 3


@pytest.mark.parametrize("name", ["mbpp_plus", "vqa", "segmentation:leaf", "nothing"])
def test_only_suites_have_gold_episodes_to_record(name, tmp_path):
    result = CliRunner().invoke(app, ["data", "record", name, "--out", str(tmp_path / "recorded")])
    assert result.exit_code == 2
    assert name in result.stderr
    assert not (tmp_path / "recorded").exists()
