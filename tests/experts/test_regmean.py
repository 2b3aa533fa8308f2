"""RegMean's shares against least squares."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.experts.regmean import regmean_parts
from cycleqd.task_vector import LoraFactors

NAME = "layer.weight"


def expert(generator, outputs, width, rank):
    a, b = torch.randn(rank, width, generator=generator), torch.randn(outputs, rank, generator=generator)
    return {NAME: LoraFactors(a, b, 0.5)}


def delta(factors):
    a, b, scale = factors[NAME]
    return scale * b.double() @ a.double()


def merged(parts):
    return sum(delta(part) for part in parts.values())


def moments_of(inputs):
    return {NAME: (inputs.T @ inputs / len(inputs)).float()}


@given(seed=st.integers(0, 10_000), skills=st.integers(1, 4), outputs=st.integers(1, 9), width=st.integers(1, 9))
def test_their_sum_is_the_least_squares_fit_of_all_experts_outputs(seed, skills, outputs, width):
    generator = torch.Generator().manual_seed(seed)
    experts = {f"s{k}": expert(generator, outputs, width, 1 + k % 2) for k in range(skills)}
    inputs = {skill: torch.randn(60, width, generator=generator).double() for skill in experts}
    # As many tokens each, and of one variance: what is divided by it cancels.
    inputs = {skill: x / x.square().mean().sqrt() for skill, x in inputs.items()}
    parts = regmean_parts(experts, {skill: moments_of(x) for skill, x in inputs.items()}, shrinkage=0.0)
    wanted = torch.cat([inputs[skill] @ delta(experts[skill]).T for skill in experts])
    fit = torch.linalg.lstsq(torch.cat(list(inputs.values())), wanted).solution.T
    torch.testing.assert_close(merged(parts), fit, rtol=1e-3, atol=1e-3)


@given(seed=st.integers(0, 10_000), shrinkage=st.floats(0, 1))
def test_experts_that_read_the_same_are_averaged(seed, shrinkage):
    generator = torch.Generator().manual_seed(seed)
    experts = {skill: expert(generator, 5, 7, 2) for skill in "abc"}
    same = moments_of(torch.randn(50, 7, generator=generator).double())
    parts = regmean_parts(experts, dict.fromkeys(experts, same), shrinkage=shrinkage)
    mean = sum(delta(factors) for factors in experts.values()) / 3
    torch.testing.assert_close(merged(parts), mean, rtol=1e-3, atol=1e-4)


def test_experts_that_read_different_directions_are_kept_whole():
    generator = torch.Generator().manual_seed(0)
    experts = {skill: expert(generator, 4, 6, 2) for skill in "ab"}
    inputs = {"a": torch.randn(40, 6, generator=generator), "b": torch.randn(40, 6, generator=generator)}
    inputs["a"][:, 3:] = 0
    inputs["b"][:, :3] = 0
    parts = regmean_parts(experts, {skill: moments_of(x.double()) for skill, x in inputs.items()})
    for skill, x in inputs.items():
        kept = x.double() @ merged(parts).T
        torch.testing.assert_close(kept, x.double() @ delta(experts[skill]).T, rtol=1e-3, atol=1e-3)


def test_a_matrix_that_an_expert_leaves_alone_still_counts_its_inputs():
    generator = torch.Generator().manual_seed(1)
    experts = {"a": expert(generator, 3, 3, 1), "b": {}}
    same = moments_of(torch.randn(30, 3, generator=generator).double())
    parts = regmean_parts(experts, {"a": same, "b": same})
    assert parts["b"] == {}
    torch.testing.assert_close(delta(parts["a"]), delta(experts["a"]) / 2, rtol=1e-3, atol=1e-4)


def test_inputs_that_are_always_zero_do_not_end_it():
    generator = torch.Generator().manual_seed(2)
    experts = {"a": expert(generator, 3, 4, 1)}
    parts = regmean_parts(experts, {"a": {NAME: torch.zeros(4, 4)}})
    assert delta(parts["a"]).isfinite().all()
    with pytest.raises(ValueError, match="shrinkage"):
        regmean_parts(experts, {"a": {NAME: torch.eye(4)}}, shrinkage=1.5)


def test_matrices_without_moments_are_averaged():
    generator = torch.Generator().manual_seed(0)
    experts = {skill: expert(generator, 4, 6, 2) for skill in "ab"} | {"c": {}}
    parts = regmean_parts(experts, {skill: {} for skill in experts})
    total = sum(delta(part) for part in parts.values() if part)
    torch.testing.assert_close(total, (delta(experts["a"]) + delta(experts["b"])) / 3)
