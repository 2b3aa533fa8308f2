from __future__ import annotations

import json
import math

import pytest

from cycleqd.config import RunConfig
from cycleqd.report import summarise, write_report
from cycleqd.report.write import read_summary
from cycleqd.run.records import EvaluationRecord, IndividualRecord, SampleScore, Score
from cycleqd.run.store import RunStore, StoreError
from cycleqd.search.archive import Archives, grids_from_experts
from tests.report.synthetic import genome, synthetic_run

SKILLS = ("coding", "os", "db")


def write(store: RunStore, whose: str, skill: str, scores: list[float]) -> None:
    samples = [SampleScore(id=str(n), score=s, reason="", turns=1, tokens=1) for n, s in enumerate(scores)]
    record = EvaluationRecord(
        genome=whose, skill=skill, split="test", score=Score.of(scores), samples=samples, data_hash="d",
        engine="e", batching="strict", tokens=1, seconds=1.0,
    )  # fmt: skip
    store.write_evaluation(record, [])


def test_the_summary_has_the_documented_form(finished: RunStore) -> None:
    summary = json.loads(finished.read_bytes("report/summary.json"))
    rows = {"base", "average", "cycleqd", *(f"expert:{s}" for s in SKILLS), *(f"elite:{s}" for s in SKILLS)}
    assert set(summary["splits"]) == {"test", "optimization"}
    for split in summary["splits"].values():
        assert set(split) == rows
        for row in split.values():
            assert set(row) == {*SKILLS, "mean"}
            assert all(set(row[skill]) == {"score", "n", "se"} for skill in SKILLS)
            assert row["mean"] == pytest.approx(sum(row[skill]["score"] for skill in SKILLS) / 3)
    assert set(summary["wall_seconds"]) == {"train", "generate", "sandbox", "merge", "other", "total"}
    assert summary["generations"] == 6
    assert summary["seed"] == 7
    assert summary["versions"] == {"torch": "2.13.0", "vllm": "0.30, 0.31"}


def test_scores_and_differences_are_those_of_hand_computation(storage: str) -> None:
    store = RunStore(storage, "hand")
    store.open(RunConfig.model_validate({"run_id": "hand", "skills": [{"name": "os"}, {"name": "db"}]}))
    store.write_individual(IndividualRecord(id="aggregate", genome="a", parents=["x"]))
    write(store, "base", "os", [0, 0, 0, 0])
    write(store, "base", "db", [1, 0])
    write(store, "a", "os", [1, 1, 0, 0])
    write(store, "a", "db", [1, 0])
    summary = summarise(store)
    assert summary.splits["test"]["cycleqd"]["os"] == Score(score=0.5, n=4, se=0.25)
    assert summary.mean("test", "cycleqd") == pytest.approx(0.5)
    assert summary.mean_se["test"]["cycleqd"] == pytest.approx(math.hypot(0.25, math.sqrt(0.125)) / 2)
    found = {(item.against, item.skill): item for item in summary.comparisons}
    assert (found["base", "os"].difference, found["base", "os"].se, found["base", "os"].n) == (0.5, 0.25, 4)
    assert (found["base", "db"].difference, found["base", "db"].se) == (0.0, 0.0)
    assert (found["base", "mean"].difference, found["base", "mean"].se, found["base", "mean"].n) == (0.25, 0.125, 6)
    assert not found["base", "mean"].clear
    assert summary.beats == {"base": True}


def test_a_mean_needs_all_skills(storage: str) -> None:
    store = RunStore(storage, "half")
    store.open(RunConfig.model_validate({"run_id": "half", "skills": [{"name": "os"}, {"name": "db"}]}))
    write(store, "base", "os", [0, 1])
    summary = summarise(store)
    assert set(summary.splits["test"]["base"]) == {"os"}
    assert summary.mean("test", "base") is None
    assert summary.mean_se["test"] == {}


def test_time_and_tokens_add_up_over_sessions(finished: RunStore) -> None:
    summary = summarise(finished)
    assert summary.wall_seconds == pytest.approx(
        {"train": 60.0, "generate": 80.0, "sandbox": 24.0, "merge": 6.0, "other": 10.0, "total": 180.0}
    )
    assert summary.tokens == 2000
    # 6 generations of 5, 6, 7, 5, 6, 7 seconds in the engine and 2.2 elsewhere
    assert summary.children_per_hour == pytest.approx(6 * 3600 / (36 + 6 * 2.2))


def test_the_elites_are_those_of_the_archives(finished: RunStore) -> None:
    seed = finished.seed()
    assert seed is not None
    plain = {name: {skill: score.score for skill, score in seed.scores[name].items()} for name in seed.experts}
    archives = Archives(SKILLS, grids_from_experts(list(plain.values()), bins=15))
    for name, scores in plain.items():
        archives.insert(name, scores, -1)
    for record in finished.generations():
        scores = {skill: score.score for skill, score in record.scores.items()}
        archives.insert(record.individual, scores, record.generation)
    summary = summarise(finished)
    assert {skill: summary.individuals[f"elite:{skill}"] for skill in SKILLS} == {
        skill: archives[skill].elite().id for skill in SKILLS
    }
    assert summary.genomes["cycleqd"] == genome("aggregate")


def test_beats_compares_means_on_the_test_split(finished: RunStore) -> None:
    summary = summarise(finished)
    mine = summary.mean("test", "cycleqd")
    assert mine is not None
    assert set(summary.beats) == set(summary.rows) - {"cycleqd"}
    for row, better in summary.beats.items():
        theirs = summary.mean("test", row)
        assert theirs is not None
        assert better is (mine > theirs)


def test_each_expert_is_compared_with_the_base_in_its_own_skill(finished: RunStore) -> None:
    found = {
        (item.row, item.skill): item for item in summarise(finished).comparisons
        if item.against == "base" and item.row.startswith("expert:") and item.split == "test"
    }  # fmt: skip
    assert set(found) == {(f"expert:{skill}", skill) for skill in SKILLS}
    assert all(item.clear and item.difference > 0 for item in found.values())


def test_a_run_under_way_leaves_out_what_is_missing(storage: str) -> None:
    store = synthetic_run(storage, generations=3, planned=40, finished=False)
    summary = summarise(store)
    assert (summary.generations, summary.generations_planned) == (3, 40)
    assert summary.splits["test"] == {}
    assert "cycleqd" not in summary.splits["optimization"]
    assert {"base", "expert:os", "elite:os"} <= set(summary.splits["optimization"])
    assert summary.beats == {}


def test_a_run_that_has_only_begun_has_an_empty_summary(storage: str) -> None:
    store = RunStore(storage, "empty")
    store.open(RunConfig(run_id="empty"))
    summary = summarise(store)
    assert summary.splits == {"test": {}, "optimization": {}}
    assert summary.wall_seconds["total"] == 0
    assert summary.children_per_hour is None


def test_what_was_written_is_read_back(finished: RunStore) -> None:
    assert read_summary(finished) == summarise(finished)


def test_a_missing_report_says_how_to_draw_it(storage: str) -> None:
    store = RunStore(storage, "empty")
    store.open(RunConfig(run_id="empty"))
    with pytest.raises(StoreError, match="cycleqd report empty"):
        read_summary(store)


def test_a_missing_run_is_refused(storage: str) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        write_report(RunStore(storage, "none"))


def test_a_final_model_older_than_the_search_is_told(storage: str) -> None:
    store = synthetic_run(storage, generations=4)
    store.write_individual(store.individual("aggregate").model_copy(update={"generation": 1}), replace=True)
    assert summarise(store).aggregated_after == 2
