from types import SimpleNamespace

import pytest

from cycleqd.evaluation.audit import Audit, Finding
from cycleqd.report.auditing import LISTED
from cycleqd.run.records import EpisodeRecord, EvaluationRecord, SampleScore, Score
from cycleqd.search.archive import Archives, grids_from_experts
from tasks import artifacts
from tests.report.synthetic import synthetic_run

IMAGE = "![x](http://evil.example/x.png) [y](javascript:alert(1)) | <img src=x>\n```\n<img src=x>"


def test_artifact_of_an_audit_names_each_sample_with_its_reason_as_text(made):
    broken = [Finding(id=f"os/{number}", reason=IMAGE) for number in range(LISTED + 3)]
    skipped = [Finding(id="os/x|y", reason="excluded")]
    artifacts.show_audit(
        Audit(
            skill="os", data_sha256="", data_version="", n=9, oracle_passed=4, empty_passed=0, cheated=[],
            broken=broken, skipped=skipped, splits={}, seconds=1.0,
        )
    )  # fmt: skip
    ((markdown, more),) = made
    assert more["key"] == "cycleqd-audit-os"
    assert f"## Broken ({LISTED + 3})" in markdown
    assert f"| os/{LISTED - 1} |" in markdown
    assert f"| os/{LISTED} |" not in markdown
    assert "And 3 more" in markdown
    assert "| os/x\\|y | excluded |" in markdown
    assert "## Solved by a cheat (0)\n\nNone." in markdown
    for live in ("](http", "](javascript", " <img"):
        assert live not in markdown
    assert len(markdown) < 200_000


@pytest.fixture
def made(monkeypatch):
    """What would be shown in the UI."""
    found = []
    monkeypatch.setattr(artifacts, "has_server", lambda: True)
    monkeypatch.setattr(artifacts, "create_markdown_artifact", lambda markdown, **more: found.append((markdown, more)))
    return found


def test_artifact_of_an_evaluation_shows_what_a_model_wrote_as_text(made):
    record = EvaluationRecord(
        genome="i", skill="os", split="test", score=Score.of([0.0]), data_hash="d", engine="e", batching="strict",
        tokens=1, seconds=1.0, samples=[SampleScore(id="os/0", score=0.0, reason=IMAGE, turns=1, tokens=1)],
    )  # fmt: skip
    messages = [{"role": "assistant", "content": IMAGE}]
    episode = EpisodeRecord(sample="os/0", template="t", score=0.0, reason=IMAGE, messages=messages)
    ws = SimpleNamespace(config=SimpleNamespace(run_id="r"), store=SimpleNamespace(episodes=lambda *_: [episode]))
    artifacts.show_evaluation(ws, "g0001", record, "s3://bucket/x")
    ((markdown, more),) = made
    assert more["key"] == "cycleqd-r-episodes-os"
    assert f"````text\n{IMAGE}\n````" in markdown
    outside = markdown.replace(IMAGE, "")
    for live in ("](http", "](javascript", " <img", "http://evil"):
        assert live not in outside


def test_artifacts_of_a_generation_say_where_the_runs_report_is(made, monkeypatch, tmp_path):
    monkeypatch.setattr(artifacts, "create_progress_artifact", lambda *_, **__: None)
    store = synthetic_run(str(tmp_path), generations=1)
    alike = {f"expert-{skill}": dict.fromkeys(("os", "db"), 0.0) for skill in ("os", "db")}
    archives = Archives.seeded(("os", "db"), grids_from_experts(list(alike.values()), bins=15), alike)
    ws = SimpleNamespace(config=store.config(), store=store, search=SimpleNamespace(archives=archives))
    artifacts.show_generation(ws, 0, 1, "g0000")
    assert [more["key"] for _, more in made] == ["cycleqd-synthetic-archives", "cycleqd-synthetic-scores"]
    for markdown, _ in made:
        assert f"`{tmp_path}/synthetic/report/index.html`" in markdown


def test_the_table_of_several_runs_has_a_key_that_prefect_takes(made):
    artifacts.show_table("My Table_1", "| a |\n| --- |")
    assert made == [("| a |\n| --- |", {"key": "cycleqd-my-table-1-table", "description": "The table of My Table_1"})]
