import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.run.records import EvaluationRecord, SampleScore, Score


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=200))
def test_standard_error_of_binary_scores_is_the_binomial_one(values):
    score = Score.of(values)
    p = sum(values) / len(values)
    assert score.score == pytest.approx(p)
    assert score.n == len(values)
    assert score.se == pytest.approx(math.sqrt(p * (1 - p) / len(values)))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_fractional_scores_agree_with_numpy(values):
    score = Score.of(values)
    assert score.score == pytest.approx(np.mean(values))
    assert score.se == pytest.approx(np.std(values) / math.sqrt(len(values)), abs=1e-9)


@pytest.mark.parametrize("values", [[], [math.nan], [0.5, 1.5], [-0.1], [math.inf]])
def test_scores_that_are_none_are_refused(values):
    with pytest.raises(ValueError, match="score"):
        Score.of(values)


def test_a_whole_is_the_mean_of_its_parts_however_many_samples_each_has() -> None:
    extras = [{"overall/SELECT": 1.0}, {"overall/SELECT": 0.0}, {"overall/SELECT": 1.0}, {"overall/INSERT": 1.0}, {}]
    samples = [
        SampleScore(id=str(number), score=1.0, reason="", turns=1, tokens=1, extra=extra)
        for number, extra in enumerate(extras)
    ]
    record = EvaluationRecord(
        genome="base",
        skill="agentbench_db",
        split="test",
        score=Score.of([1.0] * len(samples)),
        samples=samples,
        data_hash="",
        engine="",
        batching="strict",
        tokens=5,
        seconds=1.0,
    )
    found = record.beside
    assert set(found) == {"overall", "overall/INSERT", "overall/SELECT"}
    assert found["overall"].score == pytest.approx((2 / 3 + 1) / 2)
    assert found["overall"].n == 4
    assert found["overall"].se == pytest.approx(found["overall/SELECT"].se / 2)


def test_the_key_of_an_evaluations_genome_on_disk_is_the_one_that_old_runs_have() -> None:
    record = EvaluationRecord(
        genome="ab", skill="os", split="test", score=Score.of([1.0]), samples=[], data_hash="", engine="",
        batching="strict", tokens=5, seconds=1.0,
    )  # fmt: skip
    written = record.model_dump(mode="json")
    assert written["identity"] == "ab"
    assert "genome" not in written
    assert EvaluationRecord.model_validate(written) == record
