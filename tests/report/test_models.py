from pathlib import Path

from cycleqd.evaluation.play import Evaluation
from cycleqd.report.models import ModelSummary, model_table, summarise_model, write_model
from cycleqd.run.records import EvaluationRecord, SampleScore, Score


def evaluation(skill, scores, extra=()):
    samples = [
        SampleScore(id=f"{skill}/{n}", score=score, reason="", turns=1, tokens=2, extra=dict(extra))
        for n, score in enumerate(scores)
    ]
    record = EvaluationRecord(
        genome="tiny@host",
        skill=skill,
        split="test",
        score=Score.of(scores),
        samples=samples,
        data_hash="d" * 64,
        engine="endpoint",
        batching="throughput",
        tokens=8,
        seconds=1.5,
        data_version="v0.2.0",
        skipped=3,
        max_turns=8,
    )
    return Evaluation(record, [])


def summary():
    found = [evaluation("coding", [1.0, 0.0, 1.0, 0.0], {"plus": 0.0}), evaluation("os", [1.0, 1.0])]
    return summarise_model("tiny", "http://host/v1", found, {"cycleqd": "1"})


def test_mean_and_its_error_are_over_the_skills():
    scores = summary().splits["test"]["tiny"]
    assert scores["mean"] == 0.75
    assert summary().mean_se["test"]["tiny"] == 0.125


def test_other_verdicts_stand_beside_the_score_and_outside_the_mean():
    grid = model_table(summary())
    assert grid.header == ("model", "coding (n 4)", "coding plus (n 4)", "os (n 2)", "mean")
    assert grid.rows == (("tiny", "50.0 (15–85)", "0.0 (0–49)", "100.0 (34–100)", "75.0 (38–92)"),)


def test_summary_says_which_samples_were_played():
    assert summary().data["coding"].model_dump() == {
        "data_hash": "d" * 64,
        "data_version": "v0.2.0",
        "data_sha256": "",
        "prompt": "ours",
        "skipped": 3,
        "max_turns": 8,
    }


def test_written_folder_holds_summary_records_and_episodes(tmp_path: Path):
    write_model(tmp_path / "a/b", summary(), [evaluation("coding", [1.0])])
    assert sorted(file.name for file in (tmp_path / "a/b").iterdir()) == [
        "coding-test.json",
        "coding-test.jsonl.gz",
        "summary.json",
    ]
    assert ModelSummary.model_validate_json((tmp_path / "a/b/summary.json").read_text()) == summary()
