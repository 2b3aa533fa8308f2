from pathlib import Path

import pytest
import torch

from cycleqd.randomness import rng
from cycleqd.search.operators import LinearCrossover, SvdMutation
from cycleqd.task_vector import (
    FactoredTaskVector,
    SharedBases,
    TaskVector,
    build_bases,
    load_task_vector,
)
from tests.toy_experts import (
    SHAPES,
    SKILLS,
    assert_close,
    cross,
    deltas,
    dense_experts,
    dense_vector,
    drawn_weights,
    factored_experts,
    linear,
    lora_factors,
    mutate,
    stretch,
)


@pytest.mark.parametrize("rank", [1, 3, 16])
def test_experts_on_shared_bases_equal_their_lora_products(rank: int) -> None:
    experts, dense = factored_experts(0, rank), dense_experts(0, rank)
    for skill in SKILLS:
        assert experts[skill].names() == tuple(sorted(SHAPES))
        assert_close(deltas(experts[skill]), dense[skill])


def test_bases_are_orthonormal_and_no_wider_than_the_matrix_or_the_stack() -> None:
    bases, _ = build_bases(lora_factors(0))
    for name, (m, n) in SHAPES.items():
        p, q = bases.left(name), bases.right(name)
        assert p.shape == (m, min(m, 9))
        assert q.shape == (n, min(n, 9))
        torch.testing.assert_close(p.T @ p, torch.eye(p.shape[1]), rtol=0, atol=1e-6)
        torch.testing.assert_close(q.T @ q, torch.eye(q.shape[1]), rtol=0, atol=1e-6)


def test_rank_deficient_stacks_are_exact() -> None:
    factors = lora_factors(0)
    factors["os"] = factors["coding"]
    a, b, scale = factors["db"]["layers.0.q.weight"]
    factors["db"]["layers.0.q.weight"] = (a, torch.zeros_like(b), scale)
    experts = build_bases(factors)[1]
    for skill, of_skill in factors.items():
        assert_close(deltas(experts[skill]), {name: s * (b @ a) for name, (a, b, s) in of_skill.items()})


def test_ranks_may_differ_and_an_untrained_matrix_is_zero() -> None:
    one, other = lora_factors(0, rank=2)["coding"], lora_factors(1, rank=5)["os"]
    del other["layers.0.q.weight"]
    _, experts = build_bases({"coding": one, "os": other})
    assert_close(deltas(experts["coding"]), {name: s * (b @ a) for name, (a, b, s) in one.items()})
    assert not experts["os"].delta("layers.0.q.weight").any()


def test_the_order_of_skills_and_names_does_not_matter() -> None:
    factors = lora_factors(0)
    shuffled = {skill: dict(reversed(factors[skill].items())) for skill in reversed(SKILLS)}
    bases, experts = build_bases(factors)
    bases_too, experts_too = build_bases(shuffled)
    assert bases.hash() == bases_too.hash()
    assert {s: e.hash() for s, e in experts.items()} == {s: e.hash() for s, e in experts_too.items()}


def test_factors_that_are_not_finite_are_refused() -> None:
    factors = lora_factors(0)
    factors["db"]["layers.0.q.weight"][0][1, 2] = torch.nan
    with pytest.raises(ValueError, match=r"db, layers\.0\.q\.weight.*not finite"):
        build_bases(factors)


def test_factors_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one expert"):
        build_bases({})
    with pytest.raises(ValueError, match="are not"):
        build_bases({"os": {"w": (torch.ones(2, 5), torch.ones(4, 3), 1.0)}})
    with pytest.raises(ValueError, match="disagree"):
        build_bases(
            {
                "os": {"w": (torch.ones(2, 5), torch.ones(4, 2), 1.0)},
                "db": {"w": (torch.ones(2, 6), torch.ones(4, 2), 1.0)},
            }
        )


def test_zero_is_the_identity_and_a_vector_stays_as_it_is() -> None:
    experts = factored_experts(0)
    before = experts["os"].hash()
    same = experts["os"].combine(1.0, [(0.0, experts["db"])])
    assert same.hash() == before
    nothing = experts["os"].combine(0.0, [])
    assert not any(delta.any() for delta in deltas(nothing).values())
    assert FactoredTaskVector(experts["os"].bases, {n: experts["os"].core(n) for n in SHAPES}).hash() == before


def test_noise_follows_the_same_linear_recursion() -> None:
    experts, dense = factored_experts(0), dense_experts(0)
    one = experts["os"].add_noise(7, 0.5)
    two = experts["db"].add_noise(8, 0.25).add_noise(7, 0.1)
    child = one.combine(0.3, [(0.7, two)])
    assert [seed for seed, _ in child.noise] == [7, 8]
    assert [c for _, c in child.noise] == pytest.approx([0.3 * 0.5 + 0.7 * 0.1, 0.7 * 0.25])
    noisy = [dense_vector(dense["os"]).add_noise(7, 0.5), dense_vector(dense["db"]).add_noise(8, 0.25)]
    noisy[1] = noisy[1].add_noise(7, 0.1)
    assert_close(deltas(child), linear((0.3, deltas(noisy[0])), (0.7, deltas(noisy[1]))))
    assert one.combine(1.0, [(-1.0, one)]).noise == ()


def test_a_lineage_of_200_generations_equals_dense_arithmetic() -> None:
    experts, dense = factored_experts(3), dense_experts(3)
    population: list[TaskVector] = [experts[s] for s in SKILLS]
    oracle = [dense[s] for s in SKILLS]
    crossover = LinearCrossover()
    for generation in range(200):
        draw = rng(0, generation, "sampling")
        i, j = draw.integers(len(population), size=2)
        basis = ("child", "expert")[generation % 2]
        mutation = SvdMutation(w_max=0.05, basis=basis)  # type: ignore[arg-type]
        crossed = cross(crossover, population[i], population[j], rng(0, generation, "crossover"))
        one, two = crossed.coefficients
        mixed = linear((one, oracle[i]), (two, oracle[j]))
        mutated = mutate(mutation, crossed.child, experts["os"], rng(0, generation, "mutation"))
        weights = drawn_weights(mutated.seed, 0.05)
        population = [*population[-9:], mutated.child]
        oracle = [*oracle[-9:], stretch(mixed, mixed if basis == "child" else dense["os"], weights)]
    assert_close(deltas(population[-1]), oracle[-1], tolerance=1e-4)


def test_other_bases_are_refused() -> None:
    with pytest.raises(ValueError, match="different bases"):
        factored_experts(0)["os"].combine(1.0, [(1.0, factored_experts(1)["os"])])
    with pytest.raises(ValueError, match="expected a factored task vector"):
        factored_experts(0)["os"].combine(1.0, [(1.0, dense_vector(dense_experts(0)["os"]))])


def test_cores_that_do_not_fit_are_refused() -> None:
    expert = factored_experts(0)["os"]
    cores = {name: expert.core(name) for name in SHAPES}
    with pytest.raises(ValueError, match="differ in their names"):
        FactoredTaskVector(expert.bases, {"other": torch.ones(2, 2)})
    with pytest.raises(ValueError, match="expected float32"):
        FactoredTaskVector(expert.bases, cores | {"layers.0.q.weight": torch.ones(2, 2)})
    with pytest.raises(ValueError, match="expected float32"):
        FactoredTaskVector(expert.bases, {name: core.double() for name, core in cores.items()})


def test_files_round_trip_bit_for_bit(tmp_path: Path) -> None:
    expert = factored_experts(0)["os"].add_noise(2**53 - 1, 0.1)
    expert.bases.save(tmp_path / "bases.safetensors")
    expert.save(tmp_path / "one.safetensors")
    expert.save(tmp_path / "two.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    bases = SharedBases.load(tmp_path / "bases.safetensors")
    loaded = load_task_vector(tmp_path / "one.safetensors", bases)
    assert loaded.hash() == expert.hash()
    assert isinstance(loaded, FactoredTaskVector)
    assert loaded.noise == expert.noise
    assert not list(tmp_path.glob("*.partial"))


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    expert, stranger = factored_experts(0)["os"], factored_experts(1)["os"]
    expert.save(tmp_path / "genome.safetensors")
    expert.bases.save(tmp_path / "bases.safetensors")
    with pytest.raises(ValueError, match="was made for bases"):
        load_task_vector(tmp_path / "genome.safetensors", stranger.bases)
    with pytest.raises(ValueError, match="needs the run's shared bases"):
        load_task_vector(tmp_path / "genome.safetensors")
    with pytest.raises(ValueError, match="not a task vector"):
        load_task_vector(tmp_path / "bases.safetensors")
    with pytest.raises(ValueError, match="expected 'bases'"):
        SharedBases.load(tmp_path / "genome.safetensors")
