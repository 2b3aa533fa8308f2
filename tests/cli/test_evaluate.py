import gzip
import json

import pytest
from typer.testing import CliRunner

from cycleqd.cli import app, common
from cycleqd.cli.evaluate import _with_skills
from cycleqd.config import parse_config
from cycleqd.evaluation.resources import build_skills
from cycleqd.report.models import ModelSummary
from cycleqd.run.records import EpisodeRecord, EvaluationRecord
from tests.models.causal_lm.chat_server import ChatServer, completion

SKILLS = [{"name": name, "optimization": 1, "test": 4} for name in ("coding", "os", "db")]


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch):
    monkeypatch.setattr(common.out, "width", 200)
    monkeypatch.setattr(common.err, "width", 200)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-never-to-be-seen")


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({"skills": SKILLS, "sandbox": {"max_containers": 4}, "engine": {"max_model_len": 512}}))
    return str(path)


def call(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def gold(solves):
    """Answers as an agent that solves the samples of some skills, and says nothing to the others."""
    replies = {}
    for name, skill in build_skills(parse_config({"skills": SKILLS})).items():
        for sample in (*skill.samples("optimization"), *skill.samples("test")):
            start = skill.initial_messages(sample)
            replies[start[-1]["content"]] = len(start), skill.gold_replies(sample) if name in solves else []

    def answer(body):
        messages = body["messages"]
        length, said = next(replies[m["content"]] for m in reversed(messages) if m["content"] in replies)
        turn = (len(messages) - length) // 2
        return 200, completion(said[turn] if turn < len(said) else "")

    return answer


@pytest.mark.docker
def test_endpoint_is_measured_on_the_configurations_skills(config, tmp_path):
    with ChatServer(gold({"coding", "db"})).running() as server:
        result = call(config, "--endpoint", server.url, "--model", "tiny", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert "Scores on the test split" in text
    assert "model coding (n 4) os (n 4) db (n 4) mean" in text
    assert "tiny 100.0 (51–100) 0.0 (0–49) 100.0 (51–100) 66.7 (44–83)" in text
    summary = ModelSummary.model_validate_json((tmp_path / "out/summary.json").read_text())
    assert summary.skills == ["coding", "os", "db"]
    assert summary.tokens > 0
    for skill in summary.skills:
        record = EvaluationRecord.model_validate_json((tmp_path / f"out/{skill}-test.json").read_text())
        lines = gzip.decompress((tmp_path / f"out/{skill}-test.jsonl.gz").read_bytes()).splitlines()
        episodes = [EpisodeRecord.model_validate_json(line) for line in lines]
        assert [episode.sample for episode in episodes] == [sample.id for sample in record.samples]
        assert record.genome == summary.genomes["tiny"]
        assert record.score == summary.splits["test"]["tiny"][skill]
    assert not any(b"never-to-be-seen" in file.read_bytes() for file in (tmp_path / "out").iterdir())


@pytest.mark.docker
def test_half_an_emoji_in_every_reply_costs_no_results(config, tmp_path):
    solve = gold({"coding", "os", "db"})

    def answer(body):
        status, said = solve(body)
        text = said["choices"][0]["message"]["content"]
        cut = [text + "\ud83d", text.replace("```", "``` \ude00", 1), text.replace("=", "= '\\ud83d' or \udfff", 1)]
        return status, completion(cut[len(text) % 3] or "\ud83d")

    with ChatServer(answer).running() as server:
        result = call(config, "--endpoint", server.url, "--model", "tiny", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    for skill in ("coding", "os", "db"):
        record = EvaluationRecord.model_validate_json((tmp_path / f"out/{skill}-test.json").read_text())
        assert record.score.n == 4
        episodes = gzip.decompress((tmp_path / f"out/{skill}-test.jsonl.gz").read_bytes()).decode()
        assert "\ufffd" in episodes


def test_all_plays_both_splits_as_one(config, tmp_path):
    with ChatServer(gold({"coding"})).running() as server:
        arguments = ["--endpoint", server.url, "--model", "tiny", "--out", tmp_path / "out"]
        result = call(config, *arguments, "--skill", "coding", "--all")
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert "Scores on both splits" in text
    assert "coding (n 5)" in text
    record = EvaluationRecord.model_validate_json((tmp_path / "out/coding-all.json").read_text())
    assert (record.split, record.score.score, record.max_turns) == ("all", 1.0, 1)


def test_all_takes_the_whole_of_a_benchmark_whatever_the_counts():
    counts = {"optimization": 2, "test": 3}
    skills = [{"name": name} | counts for name in ("os", "agentbench_os")]
    data = {"agentbench_os": {"sources": [{"recipe": "chat", "path": "mine.jsonl"}]}}
    config = parse_config({"skills": skills, "experts": {"data": data}})
    generated, benchmark = _with_skills(config, (), whole=True).skills
    assert (generated.optimization, generated.test) == (2, 3)
    assert (benchmark.optimization, benchmark.test) == (None, None)
    assert _with_skills(config, (), whole=False).skills == config.skills


@pytest.mark.docker
def test_checkpoint_is_measured_by_the_ordinary_engine(config, tmp_path, tiny_tied):
    settings = ["--set", "engine.kind=transformers", "--set", "model.dtype=float32", "--skill", "coding"]
    result = call(config, "--path", tiny_tied, "--out", tmp_path / "out", *settings)
    assert result.exit_code == 0, result.output
    assert "tiny-tied 0.0 (0–49)" in " ".join(result.stdout.split())
    record = EvaluationRecord.model_validate_json((tmp_path / "out/coding-test.json").read_text())
    assert len(record.genome) == 64


def test_dead_endpoint_is_told_at_once(config):
    with ChatServer(lambda body: (200, completion(""))).running() as server:
        url = server.url
    result = call(config, "--endpoint", url, "--model", "tiny")
    assert result.exit_code == 2
    assert "nothing answers" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--endpoint", "http://localhost:1"],
        ["--model", "tiny"],
        ["--endpoint", "http://localhost:1", "--model", "tiny", "--path", "."],
        ["--endpoint", "localhost", "--model", "tiny"],
        ["--path", "nowhere"],
        ["--path", ".", "--all", "--split", "optimization"],
        ["--path", "nowhere", "--skill", "cooking"],
    ],
)
def test_wrong_usage_is_refused(config, arguments):
    assert call(config, *arguments).exit_code == 2


def test_folder_with_something_in_it_is_not_written_over(config, tmp_path):
    assert call(config, "--path", "nowhere", "--out", tmp_path).exit_code == 2
