"""Matrices brought to a low rank, against plain decompositions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cycleqd.task_vector.truncation import truncated

shapes = st.tuples(st.integers(1, 24), st.integers(1, 24))


def drawn(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def product(made):
    return made.factors.scale * made.factors.b @ made.factors.a


def lost(matrix, made):
    return float(torch.linalg.norm(matrix - product(made)) / torch.linalg.norm(matrix))


@settings(max_examples=40)
@given(shapes, st.integers(0, 99), st.integers(1, 30))
def test_what_is_kept_is_the_best_of_its_rank_and_the_error_is_what_is_lost(shape, seed, rank):
    matrix = drawn(shape, seed)
    made = truncated(matrix, rank=rank)
    sigma = torch.linalg.svdvals(matrix.double())
    best = math.sqrt(float(sigma[rank:].square().sum() / sigma.square().sum()))
    assert made.rank == min(rank, *shape)
    assert lost(matrix, made) == pytest.approx(best, abs=1e-5)
    assert made.error == pytest.approx(best, abs=1e-3)  # a root: near 0 rounding is larger


@settings(max_examples=40)
@given(shapes, st.integers(0, 99), st.floats(0.01, 1.0))
def test_as_few_singular_values_as_have_the_energy(shape, seed, energy):
    sigma = torch.linalg.svdvals(drawn(shape, seed)).double().square()
    made = truncated(drawn(shape, seed), energy=energy)
    shares = sigma.cumsum(0) / sigma.sum()
    assert shares[made.rank - 1] >= energy - 1e-6
    assert made.rank == 1 or shares[made.rank - 2] < energy + 1e-6


def test_of_rank_and_energy_the_first_that_is_reached_counts():
    matrix = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5]))
    assert truncated(matrix, rank=3, energy=0.9).rank == 2
    assert truncated(matrix, rank=1, energy=0.9).rank == 1


def test_few_of_many_are_found_without_decomposing_all_and_nearly_as_well():
    u, v = (torch.linalg.qr(drawn((n, 300), seed))[0] for n, seed in ((400, 1), (300, 2)))
    matrix = u @ torch.diag(0.9 ** torch.arange(300.0)) @ v.T
    state = torch.get_rng_state()
    made = truncated(matrix, rank=8)
    sigma = torch.linalg.svdvals(matrix)
    best = math.sqrt(float(sigma[8:].square().sum() / sigma.square().sum()))
    assert made.rank == 8
    assert 0.999 * best < made.error < 1.001 * best
    assert lost(matrix, made) == pytest.approx(made.error, rel=1e-4)
    assert torch.equal(product(truncated(matrix, rank=8)), product(made))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_matrix_of_zeros_loses_nothing():
    made = truncated(torch.zeros(3, 5), rank=2)
    assert made.error == 0.0
    assert not product(made).any()


@pytest.mark.parametrize(
    ("matrix", "kept", "words"),
    [
        (torch.ones(2, 2), {}, "by rank or by energy"),
        (torch.ones(3), {"rank": 1}, "expected a matrix"),
        (torch.tensor([[1.0, math.inf]]), {"rank": 1}, "not finite"),
        (torch.tensor([[1.0, math.nan]]), {"rank": 1}, "not finite"),
    ],
)
def test_what_cannot_be_truncated_is_refused(matrix, kept, words):
    with pytest.raises(ValueError, match=words):
        truncated(matrix, **kept)
