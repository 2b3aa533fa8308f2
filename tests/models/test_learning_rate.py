import pytest

from cycleqd.models.learning_rate import warmup_then_cosine


def test_learning_rate_rises_linearly_then_falls_as_a_cosine():
    factor = warmup_then_cosine(100, 0.1)
    assert [factor(step) for step in range(10)] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factor(10) == 1.0
    assert factor(55) == pytest.approx(0.5)
    assert 0 < factor(99) < 0.001
    assert factor(100) == 0.0


def test_learning_rate_of_the_only_step_is_the_peak():
    assert warmup_then_cosine(1, 0.1)(0) == 1.0
