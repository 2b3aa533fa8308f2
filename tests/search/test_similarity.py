import numpy as np
import pytest
import torch

from cycleqd.search.similarity import similarity, similarity_matrix, spectra
from tests.toy_experts import SKILLS, dense_experts, dense_vector, factored_experts, with_vector


def oracle(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    cosines = []
    for name in one:
        s, t = (np.linalg.svd(tensors[name].double().numpy(), compute_uv=False) for tensors in (one, two))
        cosines.append(s @ t / (np.linalg.norm(s) * np.linalg.norm(t)))
    return float(np.mean(cosines))


def test_factored_and_dense_equal_the_definition() -> None:
    factored, dense = factored_experts(0), dense_experts(0)
    expected = oracle(dense["os"], dense["db"])
    assert 0 < expected < 1
    assert similarity(factored["os"], factored["db"]) == pytest.approx(expected, abs=1e-6)
    vectors = [dense_vector(with_vector(dense[skill], 0)) for skill in ("os", "db")]
    assert similarity(*vectors) == pytest.approx(expected, abs=1e-6)
    assert similarity(factored["os"], dense_vector(dense["db"])) == pytest.approx(expected, abs=1e-6)
    assert similarity(spectra(factored["os"]), factored["db"]) == pytest.approx(expected, abs=1e-6)


def test_noise_counts_in_the_spectrum() -> None:
    noisy = factored_experts(0)["os"].add_noise(1, 0.3)
    dense = {name: noisy.delta(name) for name in noisy.names()}
    assert similarity(noisy, factored_experts(0)["db"]) == pytest.approx(
        oracle(dense, dense_experts(0)["db"]), abs=1e-6
    )


def test_a_model_and_its_multiples_are_alike() -> None:
    expert = factored_experts(0)["os"]
    assert similarity(expert, expert) == pytest.approx(1)
    assert similarity(expert, expert.combine(-3.0, [])) == pytest.approx(1)


def test_zero_is_like_zero_and_like_nothing_else() -> None:
    expert = factored_experts(0)["os"]
    zero = expert.combine(0.0, [])
    assert similarity(zero, zero) == 1
    assert similarity(expert, zero) == 0


def test_the_matrix_holds_all_pairs() -> None:
    experts = factored_experts(0)
    matrix = similarity_matrix([experts[s] for s in SKILLS])
    assert np.array_equal(matrix, matrix.T)
    assert np.array_equal(np.diag(matrix), np.ones(3))
    assert matrix[0, 2] == similarity(experts[SKILLS[0]], experts[SKILLS[2]])


def test_different_matrices_are_refused() -> None:
    dense = dense_experts(0)["os"]
    with pytest.raises(ValueError, match="different matrices"):
        similarity(dense_vector(dense), dense_vector(dense | {"other": torch.ones(2, 2)}))
    with pytest.raises(ValueError, match="no matrices"):
        similarity(dense_vector({"v": torch.ones(2)}), dense_vector({"v": torch.ones(2)}))


def test_each_slice_of_a_stack_is_a_matrix() -> None:
    generator = torch.Generator().manual_seed(0)
    stacks = [torch.randn(3, 4, 5, generator=generator) for _ in range(2)]
    together = [dense_vector({"w": stack, "v": torch.ones(2)}) for stack in stacks]
    apart = [dense_vector({f"w[{i}]": matrix for i, matrix in enumerate(stack)}) for stack in stacks]
    assert similarity(*together) == pytest.approx(similarity(*apart))
