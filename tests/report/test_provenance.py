from cycleqd.report.provenance import provenance
from cycleqd.run.records import EvaluationRecord, SampleScore, Score
from cycleqd.run.store import RunStore


def record(**fields: object) -> EvaluationRecord:
    samples = [
        SampleScore(id=f"Mbpp/{n}", score=1.0, reason="", turns=1, tokens=9, extra={"plus": float(n % 2)})
        for n in range(4)
    ]
    values = {
        "identity": "base",
        "skill": "mbpp_plus",
        "split": "test",
        "score": Score.of([1.0] * 4),
        "samples": samples,
        "data_hash": "ab" * 32,
        "engine": "synthetic",
        "batching": "strict",
        "tokens": 36,
        "seconds": 1.0,
        "data_version": "v0.2.0",
        "data_sha256": "cd" * 32,
        "skipped": 3,
        "max_turns": 1,
    }
    return EvaluationRecord.model_validate(values | fields)


def tables(finished: RunStore, *records: EvaluationRecord) -> dict[str, tuple[tuple[str, ...], ...]]:
    found = {(entry.split, "base", entry.skill): entry for entry in records}
    return {grid.title: grid.rows for grid in provenance(finished, found).facts}


def test_a_benchmarks_version_hash_and_prompt_are_told(finished: RunStore) -> None:
    assert tables(finished, record())["Benchmarks"] == (("mbpp_plus", "v0.2.0", "cd" * 32, "ours", "1", "3"),)


def test_verdicts_beside_the_score_have_means(finished: RunStore) -> None:
    rows = tables(finished, record())["Verdicts beside the score"]
    assert rows == (("base, test", "mbpp_plus", "100.0", "plus", "50.0 (15–85)", "4"),)


def test_generated_suites_have_neither(finished: RunStore) -> None:
    plain = record(skill="os", data_version="", data_sha256="", samples=[], skipped=0)
    assert tables(finished, plain).keys().isdisjoint({"Benchmarks", "Verdicts beside the score"})
