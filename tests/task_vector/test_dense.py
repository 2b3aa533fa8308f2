from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cycleqd.randomness import rng
from cycleqd.search.operators import GaussianMutation, SvdMutation
from cycleqd.task_vector import DenseTaskVector, load_task_vector, weighted_sum
from tests.toy_experts import (
    Dense,
    assert_close,
    deltas,
    dense_experts,
    dense_vector,
    factored_experts,
    linear,
    mutate,
    with_vector,
)


class Checkpoint:
    def __init__(self, tensors: Dense) -> None:
        self.tensors = tensors

    def names(self) -> list[str]:
        return list(self.tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.tensors[name].shape)

    def tensor(self, name: str) -> torch.Tensor:
        return self.tensors[name]

    def blocks(self, name: str, rows: int) -> Iterator[torch.Tensor]:
        return iter(self.tensors[name].split(rows))


def test_the_difference_of_two_checkpoints_is_exact_in_fp32() -> None:
    base = {name: tensor.bfloat16() for name, tensor in with_vector(dense_experts(0)["os"], 0).items()}
    tuned = {name: (tensor.float() + 0.01).bfloat16() for name, tensor in base.items()}
    vector = DenseTaskVector.between(Checkpoint(base), Checkpoint(tuned))
    assert vector.names() == tuple(sorted(base))
    for name in base:
        assert torch.equal(vector.delta(name), tuned[name].float() - base[name].float())


def test_checkpoints_that_differ_in_names_or_shapes_or_diverged_are_refused() -> None:
    base = dense_experts(0)["os"]
    with pytest.raises(ValueError, match="differ in 1 names"):
        DenseTaskVector.between(Checkpoint(base), Checkpoint(base | {"lm_head.weight": torch.ones(2)}))
    with pytest.raises(ValueError, match="the fine-tuned model"):
        DenseTaskVector.between(Checkpoint(base), Checkpoint(base | {"layers.0.q.weight": torch.ones(2)}))
    broken = DenseTaskVector.between(
        Checkpoint(base), Checkpoint(base | {"layers.0.q.weight": torch.full((12, 12), torch.inf)})
    )
    with pytest.raises(ValueError, match="not finite"):
        broken.delta("layers.0.q.weight")


def test_factored_and_dense_forms_give_the_same_children() -> None:
    factored, dense = factored_experts(0), {s: dense_vector(d) for s, d in dense_experts(0).items()}
    for mutation in (SvdMutation(), SvdMutation(basis="expert"), GaussianMutation(0.01)):
        children = [
            mutate(
                mutation, weighted_sum([0.4, 0.6], [form["os"], form["db"]]), form["os"], rng(0, 1, "mutation")
            ).child
            for form in (factored, dense)
        ]
        assert_close(deltas(children[0]), deltas(children[1]))
        assert_close(deltas(DenseTaskVector.of(children[0])), deltas(children[1]))


def test_a_saved_vector_reads_from_its_file_and_round_trips(tmp_path: Path) -> None:
    calls: list[str] = []
    tensors = with_vector(dense_experts(0)["os"], 0)

    def compute(name: str) -> torch.Tensor:
        calls.append(name)
        return tensors[name]

    vector = DenseTaskVector({name: tuple(tensor.shape) for name, tensor in tensors.items()}, compute)
    child = vector.stretch(vector, lambda name, count: torch.full((count,), 0.1))
    expected_hash, expected = child.hash(), deltas(child)
    calls.clear()
    path = tmp_path / "child.safetensors"
    child.save(path)
    assert calls == sorted(tensors)
    calls.clear()
    assert child.hash() == expected_hash
    assert_close(deltas(child), expected, tolerance=0)
    assert calls == []
    loaded = load_task_vector(path)
    assert isinstance(loaded, DenseTaskVector)
    assert loaded.hash() == expected_hash
    assert_close(load_file(path), expected, tolerance=0)
    assert [p.name for p in tmp_path.iterdir()] == ["child.safetensors"]


def test_a_saved_vector_survives_its_file_being_moved_or_removed(tmp_path: Path) -> None:
    vector = dense_vector(dense_experts(0)["os"])
    vector.save(tmp_path / "staged.safetensors")
    (tmp_path / "staged.safetensors").rename(tmp_path / "final.safetensors")
    assert_close(deltas(vector), dense_experts(0)["os"], tolerance=0)
    (tmp_path / "final.safetensors").unlink()
    assert_close(deltas(vector), dense_experts(0)["os"], tolerance=0)


def test_saving_holds_a_few_tensors_and_not_the_model(tmp_path: Path) -> None:
    alive = peak = 0

    class Counted:
        def __init__(self) -> None:
            nonlocal alive, peak
            alive += 1
            peak = max(peak, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def compute(name: str) -> torch.Tensor:
        tensor = torch.ones(8, 8)
        tensor.counted = Counted()  # type: ignore[attr-defined]
        return tensor

    shapes = {f"layer.{i}.weight": (8, 8) for i in range(50)}
    one, two = DenseTaskVector(shapes, compute), DenseTaskVector(shapes, compute)
    one.combine(0.5, [(0.5, two)]).save(tmp_path / "child.safetensors")
    assert peak <= 3
    assert alive == 0


def test_vectors_of_other_parameters_are_refused() -> None:
    os = dense_experts(0)["os"]
    with pytest.raises(ValueError, match="differ in 1 names"):
        dense_vector(os).combine(1.0, [(1.0, dense_vector(with_vector(os, 0)))])
    with pytest.raises(ValueError, match="have the shapes"):
        dense_vector(os).combine(1.0, [(1.0, dense_vector(os | {"layers.0.q.weight": torch.ones(2)}))])
    with pytest.raises(KeyError):
        dense_vector(os).delta("no.such.weight")
    with pytest.raises(ValueError, match="as many coefficients"):
        weighted_sum([1.0], [])


def test_a_sum_of_forms_takes_the_first_form() -> None:
    dense = dense_vector(dense_experts(0)["os"])
    mixed = dense.combine(0.5, [(0.5, factored_experts(0)["db"])])
    experts = dense_experts(0)
    assert_close(deltas(mixed), linear((0.5, experts["os"]), (0.5, experts["db"])))
