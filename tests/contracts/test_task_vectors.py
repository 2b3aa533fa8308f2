"""What every form of task vector keeps to (`cycleqd.task_vector.TaskVector`), held against plain dense arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cycleqd.task_vector import (
    FactoredTaskVector,
    SpectralTaskVector,
    TaskVector,
    load_task_vector,
    weighted_sum,
)
from tests.toy_experts import (
    SHAPES,
    SKILLS,
    Dense,
    assert_close,
    deltas,
    dense_experts,
    dense_vector,
    drawn_weights,
    factored_experts,
    linear,
    spectral_experts,
    stretch,
    with_vector,
)

NOISE = (11, 0.05)


class Experts(NamedTuple):
    """The same experts in a form and as plain tensors."""

    vectors: dict[str, TaskVector]
    plain: dict[str, Dense]


def factored(seed: int) -> Experts:
    return Experts(dict(factored_experts(seed)), dense_experts(seed))


def factored_with_noise(seed: int) -> Experts:
    """As Gaussian mutation leaves them: outside every span, but a seed and a coefficient."""
    plain = {skill: deltas(dense_vector(tensors).add_noise(*NOISE)) for skill, tensors in dense_experts(seed).items()}
    return Experts({skill: one.add_noise(*NOISE) for skill, one in factored_experts(seed).items()}, plain)


def dense(seed: int) -> Experts:
    """Fully fine-tuned: norms and biases have changed, too."""
    plain = {skill: with_vector(tensors, i) for i, (skill, tensors) in enumerate(dense_experts(seed).items())}
    return Experts({skill: dense_vector(tensors) for skill, tensors in plain.items()}, plain)


def spectral(seed: int) -> Experts:
    """The same, on the experts' own singular vectors."""
    plain = dense(seed).plain
    return Experts(dict(spectral_experts(plain)), plain)


def spectral_child(seed: int) -> Experts:
    """As linear merges and mutations in the basis of an expert leave them."""
    experts, plain = spectral(seed)
    weights = drawn_weights(seed, 0.3)
    vectors, expected = {}, {}
    for skill, other in zip(SKILLS, (*SKILLS[1:], SKILLS[0]), strict=True):
        merged = experts[skill].combine(0.7, [(0.4, experts[other])])
        vectors[skill] = merged.stretch(
            experts[other], lambda name, count: torch.from_numpy(weights[name][:count].astype("float32"))
        ).add_noise(*NOISE)
        added = {name: plain[other][name] for name in SHAPES}
        stretched = stretch({name: torch.zeros_like(one) for name, one in added.items()}, added, weights)
        sums = linear((0.7, plain[skill]), (0.4, plain[other]))
        mutated = {name: sums[name] + stretched.get(name, 0.0) for name in sums}
        expected[skill] = deltas(dense_vector(mutated).add_noise(*NOISE))
    return Experts(vectors, expected)


FORMS: dict[str, Callable[[int], Experts]] = {
    "factored": factored, "factored with noise": factored_with_noise, "dense": dense,
    "spectral": spectral, "spectral child": spectral_child,
}  # fmt: skip
DECOMPOSED = ["factored", "dense", "spectral", "spectral child"]
by_form = pytest.mark.parametrize("form", FORMS)
coefficients = st.floats(-3, 3)


@by_form
def test_names_are_sorted_and_deltas_are_fp32_of_their_shapes(form):
    vectors, plain = FORMS[form](0)
    vector = vectors["os"]
    assert vector.names() == tuple(sorted(plain["os"]))
    for name in vector.names():
        assert vector.shape(name) == tuple(plain["os"][name].shape) == tuple(vector.delta(name).shape)
        assert vector.delta(name).dtype == torch.float32
    assert_close(deltas(vector), plain["os"])


@by_form
def test_a_parameter_that_is_not_covered_is_a_key_error(form):
    vector = FORMS[form](0).vectors["os"]
    with pytest.raises(KeyError):
        vector.delta("no.such.weight")
    with pytest.raises(KeyError):
        vector.shape("no.such.weight")


@by_form
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), coefficients, coefficients, coefficients)
def test_sums_equal_dense_arithmetic(form, seed, one, two, three):
    vectors, plain = FORMS[form](seed)
    merged = weighted_sum([one, two, three], [vectors[skill] for skill in SKILLS])
    assert_close(deltas(merged), linear((one, plain["coding"]), (two, plain["os"]), (three, plain["db"])))


@by_form
def test_sums_of_sums_are_one_sum(form):
    vectors, _ = FORMS[form](1)
    a, b, c = (vectors[skill] for skill in SKILLS)
    nested = a.combine(0.5, [(0.5, b)]).combine(0.4, [(0.6, c)])
    assert_close(deltas(nested), deltas(a.combine(0.2, [(0.2, b), (0.6, c)])))
    assert not any(delta.any() for delta in deltas(a.combine(1.0, [(-1.0, a)])).values())


@pytest.mark.parametrize("form", DECOMPOSED)
@pytest.mark.parametrize("basis", ["os", "db"])
def test_a_stretch_equals_dense_arithmetic(form, basis):
    vectors, plain = FORMS[form](2)
    weights = drawn_weights(5, 0.3)
    stretched = vectors["os"].stretch(
        vectors[basis], lambda name, count: torch.from_numpy(weights[name][:count].astype("float32"))
    )
    matrices = [{name: plain[skill][name] for name in SHAPES} for skill in ("os", basis)]
    expected = plain["os"] | stretch(*matrices, weights)
    assert_close(deltas(stretched), expected)


@pytest.mark.parametrize("form", DECOMPOSED)
def test_singular_values_are_those_of_the_matrix(form):
    vectors, plain = FORMS[form](3)
    for name in SHAPES:
        expected = torch.linalg.svdvals(plain["os"][name].double()).float()
        found = vectors["os"].singular_values(name)
        torch.testing.assert_close(found, expected[: len(found)], rtol=1e-4, atol=1e-5)
        assert not (expected[len(found) :] > 1e-5).any()


@by_form
def test_noise_is_fixed_by_its_seed_and_adds_up(form):
    vector = FORMS[form](0).vectors["os"]
    noisy = vector.add_noise(7, 0.5)
    assert noisy.hash() == FORMS[form](0).vectors["os"].add_noise(7, 0.5).hash() != vector.add_noise(8, 0.5).hash()
    assert_close(deltas(noisy.add_noise(7, -0.5)), deltas(vector))
    twice = deltas(vector.add_noise(7, 1.0))
    half = {name: delta - deltas(vector)[name] for name, delta in deltas(noisy).items()}
    assert_close({name: deltas(vector)[name] + 2 * half[name] for name in twice}, twice)


@by_form
def test_nothing_changes_the_vector_itself(form):
    vectors, plain = FORMS[form](0)
    before = vectors["os"].hash()
    vectors["os"].combine(0.3, [(0.7, vectors["db"])]).add_noise(1, 0.1)
    if form in DECOMPOSED:
        vectors["os"].stretch(vectors["db"], lambda _, count: torch.ones(count))
    assert vectors["os"].hash() == before
    assert_close(deltas(vectors["os"]), plain["os"])


@by_form
def test_the_hash_is_the_contents(form):
    again, other = FORMS[form](0).vectors, FORMS[form](1).vectors
    vectors = FORMS[form](0).vectors
    assert vectors["os"].hash() == again["os"].hash()
    different = [*vectors.values(), other["os"], vectors["os"].add_noise(1, 0.1), vectors["os"].combine(0.5, [])]
    assert len({vector.hash() for vector in different}) == len(different)
    assert vectors["os"].combine(1.0, [(0.0, vectors["db"])]).hash() == vectors["os"].hash()


@by_form
def test_a_child_that_was_saved_is_loaded_bit_for_bit(form, tmp_path: Path):
    vectors = FORMS[form](0).vectors
    child = vectors["os"].combine(0.4, [(0.6, vectors["db"])])
    expected, name = deltas(child), child.hash()
    bases = child.bases if isinstance(child, FactoredTaskVector | SpectralTaskVector) else None
    for file in ("one.safetensors", "two.safetensors"):
        child.save(tmp_path / file)
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    loaded = load_task_vector(tmp_path / "one.safetensors", bases)
    assert type(loaded) is type(child)
    assert loaded.hash() == child.hash() == name
    assert_close(deltas(loaded), expected, tolerance=0)
    assert_close(deltas(child), expected, tolerance=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.safetensors", "two.safetensors"]


@by_form
def test_vectors_of_other_parameters_are_refused(form):
    vector = FORMS[form](0).vectors["os"]
    stranger = dense_vector({"other.weight": torch.ones(2, 2)})
    with pytest.raises(ValueError, match=r"differ|expected"):
        vector.combine(1.0, [(1.0, stranger)])
