import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cycleqd.randomness import rng
from cycleqd.seams import MUTATIONS
from cycleqd.search.operators import GaussianMutation, NoMutation, SvdMutation
from cycleqd.search.operators.mutation import UniformWeights
from cycleqd.task_vector import build_bases
from tests.toy_experts import (
    SHAPES,
    assert_close,
    deltas,
    dense_experts,
    dense_vector,
    drawn_weights,
    factored_experts,
    linear,
    mutate,
    stretch,
    with_vector,
)


@settings(max_examples=25)
@given(st.integers(0, 1000), st.floats(0, 1), st.sampled_from(["child", "expert"]), st.sampled_from([1, 2, 3, 5]))
def test_svd_mutation_equals_dense_arithmetic(seed: int, w_max: float, basis: str, rank: int) -> None:
    experts, dense = factored_experts(seed, rank), dense_experts(seed, rank)
    child = experts["os"].combine(0.4, [(0.6, experts["db"])])
    mixed = linear((0.4, dense["os"]), (0.6, dense["db"]))
    result = mutate(SvdMutation(w_max, basis), child, experts["os"], rng(seed, 0, "mutation"))  # type: ignore[arg-type]
    expected = stretch(mixed, mixed if basis == "child" else dense["os"], drawn_weights(result.seed, w_max))
    assert_close(deltas(result.child), expected)


def test_the_child_basis_stretches_singular_values_and_keeps_directions() -> None:
    child = factored_experts(0)["os"]
    result = mutate(SvdMutation(0.3), child, child, rng(0, 0, "mutation"))
    for name in SHAPES:
        before, after = child.singular_values(name), result.child.singular_values(name)
        rank = min(3, *SHAPES[name])
        if rank == 1:
            assert torch.equal(child.delta(name), result.child.delta(name))
            continue
        w = torch.from_numpy(drawn_weights(result.seed, 0.3)[name][:rank])
        expected = (before[:rank] * (1 + w)).sort(descending=True).values
        torch.testing.assert_close(after[:rank], expected, rtol=1e-5, atol=1e-6)


def test_matrices_of_rank_one_and_zero_pass_through() -> None:
    generator = torch.Generator().manual_seed(0)
    factors = {
        "rank.one": (torch.randn(1, 9, generator=generator), torch.randn(8, 1, generator=generator), 1.0),
        "rank.two": (torch.randn(2, 9, generator=generator), torch.randn(8, 2, generator=generator), 1.0),
        "zero": (torch.randn(2, 9, generator=generator), torch.zeros(8, 2), 1.0),
    }
    other = {name: (torch.randn_like(a), torch.randn_like(b), 1.0) for name, (a, b, _) in factors.items()}
    _, experts = build_bases({"os": factors, "db": other})
    result = mutate(SvdMutation(), experts["os"], experts["db"], rng(0, 0, "mutation")).child
    for name, changed in (("rank.one", False), ("rank.two", True), ("zero", False)):
        assert torch.equal(result.delta(name), experts["os"].delta(name)) != changed


def test_vectors_pass_through_every_mutation() -> None:
    child = dense_vector(with_vector(dense_experts(0)["os"], 0))
    for name in MUTATIONS:
        mutated = mutate(MUTATIONS.make(name), child, child, rng(0, 0, "mutation")).child
        assert torch.equal(mutated.delta("norm.weight"), child.delta("norm.weight"))


@pytest.mark.parametrize(
    "mutation", [SvdMutation(0.0), SvdMutation(0.0, "expert"), GaussianMutation(0.0), NoMutation()]
)
def test_strength_zero_is_the_identity(mutation: SvdMutation | GaussianMutation | NoMutation) -> None:
    experts = factored_experts(0)
    mutated = mutate(mutation, experts["os"], experts["db"], rng(0, 0, "mutation")).child
    assert_close(deltas(mutated), deltas(experts["os"]), tolerance=0)


def test_the_draws_are_uniform_and_independent_between_matrices() -> None:
    one, two = UniformWeights(1, 0.3)("a", 5000).numpy(), UniformWeights(1, 0.3)("b", 5000).numpy()
    for w in (one, two):
        assert w.min() >= 0
        assert w.max() <= 0.3
        assert w.mean() == pytest.approx(0.15, abs=0.005)
        assert w.std() == pytest.approx(0.3 / 12**0.5, rel=0.05)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.06
    assert np.array_equal(UniformWeights(1, 0.3)("a", 7).numpy(), one[:7])


def test_gaussian_noise_has_the_spread_asked_for_and_is_fixed_by_its_seed() -> None:
    child = dense_vector({"w": torch.zeros(100, 100), "v": torch.zeros(100, 100)})
    result = mutate(GaussianMutation(0.01), child, child, rng(0, 0, "mutation"))
    noise = deltas(result.child)
    for name in ("w", "v"):
        assert float(noise[name].std()) == pytest.approx(0.01, rel=0.05)
        assert abs(float(noise[name].mean())) < 0.0005
    assert not torch.equal(noise["w"], noise["v"])
    again = mutate(GaussianMutation(0.01), child, child, rng(0, 0, "mutation"))
    assert again.seed == result.seed
    assert_close(deltas(again.child), noise, tolerance=0)


def test_the_same_generator_gives_the_same_child_and_another_another() -> None:
    experts = factored_experts(0)
    for name in ("svd", "gaussian"):
        hashes = [
            mutate(MUTATIONS.make(name), experts["os"], experts["db"], rng(0, t, "mutation")).child.hash()
            for t in (1, 1, 2)
        ]
        assert hashes[0] == hashes[1] != hashes[2]


def test_the_child_and_the_expert_stay_as_they_are() -> None:
    experts = factored_experts(0)
    before = {skill: deltas(expert) for skill, expert in experts.items()}
    for name in MUTATIONS:
        mutate(MUTATIONS.make(name), experts["os"], experts["db"], rng(0, 0, "mutation"))
    for skill, expert in experts.items():
        assert_close(deltas(expert), before[skill], tolerance=0)


def test_a_child_with_noise_is_stretched_on_the_expert_basis_but_not_on_its_own() -> None:
    experts = factored_experts(0)
    noisy = experts["os"].add_noise(1, 0.1)
    mutated = mutate(SvdMutation(basis="expert"), noisy, experts["db"], rng(0, 0, "mutation")).child
    expected = mutate(SvdMutation(basis="expert"), experts["os"], experts["db"], rng(0, 0, "mutation")).child
    assert_close(deltas(mutated), deltas(expected.add_noise(1, 0.1)))
    with pytest.raises(ValueError, match="can't be decomposed"):
        mutate(SvdMutation(), noisy, experts["db"], rng(0, 0, "mutation"))


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="w_max"):
        SvdMutation(-0.1)
    with pytest.raises(ValueError, match="basis"):
        SvdMutation(0.1, "parent")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="std"):
        GaussianMutation(float("nan"))


@pytest.mark.parametrize("basis", ["child", "expert"])
def test_a_stack_of_matrices_is_mutated_as_if_they_were_apart(basis: str) -> None:
    generator = torch.Generator().manual_seed(3)
    child, expert = (torch.randn(3, 5, 7, generator=generator) for _ in range(2))
    mutation = SvdMutation(basis=basis)
    together = mutation.apply(dense_vector({"w": child}), dense_vector({"w": expert}), 11).delta("w")
    apart = mutation.apply(
        dense_vector({f"w[{i}]": matrix for i, matrix in enumerate(child)}),
        dense_vector({f"w[{i}]": matrix for i, matrix in enumerate(expert)}),
        11,
    )
    assert torch.equal(together, torch.stack([apart.delta(f"w[{i}]") for i in range(3)]))
    assert (
        GaussianMutation(0.1).apply(dense_vector({"w": child}), dense_vector({"w": child}), 5).delta("w") != child
    ).all()
