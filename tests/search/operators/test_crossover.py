import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cycleqd.randomness import rng
from cycleqd.seams import MERGE_METHODS
from cycleqd.search.operators import LinearCrossover, MergeCrossover
from cycleqd.search.operators.crossover import MIN_SUM
from cycleqd.task_vector import DenseTaskVector, FactoredTaskVector
from tests.toy_experts import assert_close, cross, deltas, dense_experts, factored_experts, linear


@settings(max_examples=25)
@given(st.integers(0, 1000), st.floats(-2, 2), st.floats(0.01, 1))
def test_a_child_is_the_normalised_mix_of_its_parents(seed: int, mu: float, sigma: float) -> None:
    experts, dense = factored_experts(seed), dense_experts(seed)
    result = cross(LinearCrossover(mu, sigma), experts["os"], experts["db"], rng(seed, 0, "crossover"))
    one, two = result.draws
    assert abs(one + two) >= MIN_SUM
    assert sum(result.coefficients) == pytest.approx(1, abs=1e-9)
    expected = linear((one / (one + two), dense["os"]), (two / (one + two), dense["db"]))
    assert_close(deltas(result.child), expected)


def test_the_draws_have_the_mean_and_spread_asked_for() -> None:
    expert = factored_experts(0)["os"]
    draws = np.array([cross(LinearCrossover(), expert, expert, rng(0, t, "crossover")).draws for t in range(500)])
    assert draws.mean() == pytest.approx(1.0, abs=0.004)
    assert draws.std() == pytest.approx(0.03, rel=0.1)
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.15


def test_a_parent_crossed_with_itself_is_itself() -> None:
    expert = factored_experts(0)["os"]
    assert_close(deltas(cross(LinearCrossover(), expert, expert, rng(0, 0, "crossover")).child), deltas(expert))


def test_coefficients_that_sum_to_almost_zero_are_drawn_anew() -> None:
    class Scripted:
        def __init__(self) -> None:
            self.pairs = [[1.0, -1.0], [0.0004, 0.0005], [3.0, -1.0]]

        def normal(self, mu: float, sigma: float, size: int) -> np.ndarray:
            return np.array(self.pairs.pop(0))

    expert = factored_experts(0)["os"]
    result = cross(LinearCrossover(0.0, 1.0), expert, expert, Scripted())  # type: ignore[arg-type]
    assert result.draws == (3.0, -1.0)
    assert result.coefficients == (1.5, -0.5)


def test_settings_that_cannot_be_divided_by_are_refused() -> None:
    with pytest.raises(ValueError, match="sum to zero"):
        LinearCrossover(0.0, 0.0)
    with pytest.raises(ValueError, match="sigma >= 0"):
        LinearCrossover(1.0, -1.0)
    expert = factored_experts(0)["os"]
    with pytest.raises(ValueError, match="almost zero"):
        cross(LinearCrossover(0.0, 1e-9), expert, expert, rng(0, 0, "crossover"))


def test_the_same_generator_gives_the_same_child() -> None:
    experts = factored_experts(0)
    children = [
        cross(LinearCrossover(mu=1.0, sigma=0.03), experts["os"], experts["db"], rng(5, 6, "crossover")).child
        for _ in range(2)
    ]
    assert children[0].hash() == children[1].hash()


@pytest.mark.parametrize("name", sorted(MERGE_METHODS))
def test_any_merge_method_crosses_two_parents_on_their_bases(name):
    experts = factored_experts(1)
    first, second = experts["os"], experts["db"]
    crossover = MergeCrossover(name, {}, LinearCrossover(mu=1.0, sigma=0.1))
    found, again = (cross(crossover, first, second, np.random.default_rng(5)) for _ in range(2))
    assert isinstance(found.child, FactoredTaskVector)
    assert found.child.hash() == again.child.hash()
    assert sum(found.coefficients) == pytest.approx(1)
    assert found.draws == LinearCrossover(sigma=0.1).draw(np.random.default_rng(5)).draws
    assert (found.residual > 0) is (name in ("ties", "dare"))
    assert ("seed" in found.merge) is (name == "dare")


def test_linear_merging_crosses_as_the_paper_does():
    experts = factored_experts(1)
    expected = cross(LinearCrossover(), experts["os"], experts["db"], np.random.default_rng(5))
    found = cross(MergeCrossover("linear"), experts["os"], experts["db"], np.random.default_rng(5))
    assert found.coefficients == expected.coefficients
    assert_close(deltas(found.child), deltas(expected.child))


def test_dense_parents_have_a_dense_child_that_loses_nothing():
    parents = [DenseTaskVector.of(expert) for expert in list(factored_experts(1).values())[:2]]
    found = cross(MergeCrossover("ties"), parents[0], parents[1], np.random.default_rng(5))
    assert isinstance(found.child, DenseTaskVector)
    assert found.residual == 0


def test_a_method_that_there_is_not_and_settings_that_it_lacks_are_refused_at_once():
    with pytest.raises(ValueError, match="no merge method"):
        MergeCrossover("soup")
    with pytest.raises(TypeError):
        MergeCrossover("tsv", {"sharpness": 1.0})
