import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.records import Score


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
