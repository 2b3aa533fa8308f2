"""Large parameters go through every step in blocks of rows: bit for bit as they are whole, and few at a time."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode

from cycleqd.base_model import BaseWeights
from cycleqd.models.causal_lm.merging import MergedWeights
from cycleqd.search.operators.merging import merge_method
from cycleqd.search.operators.merging.ties import largest
from cycleqd.steps.export import save_checkpoint
from cycleqd.task_vector import DenseTaskVector, TaskVector, load_task_vector, project, rows, weighted_sum
from cycleqd.task_vector.files import write_shard
from tests.toy_experts import factored_experts

WIDTH, HEIGHT, BLOCK_ROWS = 8, 70, 16
BLOCK_BYTES = 4 * WIDTH * BLOCK_ROWS


class Stored:
    """A checkpoint in memory."""

    def __init__(self, layers: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.shapes: dict[str, tuple[int, ...]] = {"bias": (HEIGHT,), "filter": (HEIGHT, 2, 2, 2), "scale": ()}
        self.shapes["experts.stack"] = (5, 4, WIDTH)
        self.shapes |= {f"{layer}.weight": (HEIGHT, WIDTH) for layer in range(layers)}
        self.held = {name: torch.randn(shape, generator=generator).bfloat16() for name, shape in self.shapes.items()}

    def names(self) -> list[str]:
        return sorted(self.held)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def tensor(self, name: str) -> torch.Tensor:
        return self.held[name]

    def blocks(self, name: str, rows: int) -> Iterator[torch.Tensor]:
        return iter(self.held[name].split(rows) if self.shapes[name] else (self.held[name],))


def experts(layers: int = 2) -> list[TaskVector]:
    base = Stored(layers, 0)
    return [DenseTaskVector.between(base, Stored(layers, seed)) for seed in (1, 2, 3)]


STEPS: dict[str, Callable[[list[TaskVector]], TaskVector]] = {
    "derive": lambda vectors: vectors[0],
    "linear": lambda vectors: weighted_sum([0.3, 0.3, 0.4], vectors),
    "chain": lambda vectors: weighted_sum([0.5, 0.5], [weighted_sum([0.7, 0.3], vectors[:2]), vectors[2]]),
    "noise": lambda vectors: weighted_sum([0.5, 0.5], vectors[:2]).add_noise(7, 0.1),
    "svd": lambda vectors: vectors[0].stretch(vectors[0], lambda _, count: torch.full((count,), 0.1)),
    "ties": lambda vectors: merge_method("ties", density=0.3).merge(vectors, [1.0, 2.0, 0.5]),
    "all of ties": lambda vectors: merge_method("ties", density=1.0).merge(vectors),
    "dare": lambda vectors: merge_method("dare", seed=3).merge(vectors),
    "tsv": lambda vectors: merge_method("tsv").merge(vectors),
    "slerp": lambda vectors: merge_method("slerp").merge(vectors),
}


@pytest.mark.parametrize("step", STEPS)
@given(height=st.integers(1, HEIGHT + 1))
@settings(max_examples=8, deadline=None)
def test_blocks_of_any_height_are_the_whole_bit_for_bit(step: str, height: int) -> None:
    vector = STEPS[step](experts())
    for name in vector.names():
        blocks = list(vector.blocks(name, height))
        assert all(block.shape[:1] <= torch.Size([height]) for block in blocks)
        joined = torch.cat(blocks) if vector.shape(name) else blocks[0]
        assert torch.equal(joined, vector.delta(name)), name


@pytest.mark.parametrize("step", STEPS)
def test_what_is_saved_in_blocks_has_the_bytes_and_the_hash_of_what_is_saved_whole(
    step, tmp_path, monkeypatch
) -> None:
    whole = STEPS[step](experts())
    whole.save(tmp_path / "whole")
    monkeypatch.setattr(rows, "BLOCK_BYTES", BLOCK_BYTES)
    vector = STEPS[step](experts())
    assert vector.hash() == whole.hash()
    vector.save(tmp_path / "blocks")
    assert (tmp_path / "blocks").read_bytes() == (tmp_path / "whole").read_bytes()
    assert vector.hash() == whole.hash() == load_task_vector(tmp_path / "blocks").hash()


def test_merges_of_factored_vectors_come_back_to_their_bases_the_same_way_in_blocks(monkeypatch) -> None:
    vectors = list(factored_experts(0).values())
    merged = [merge_method(name).merge(vectors) for name in ("ties", "dare")]
    whole = [project(one, vectors[0].bases) for one in merged]
    monkeypatch.setattr(rows, "BLOCK_BYTES", 160)
    for one, other in zip(whole, (project(one, vectors[0].bases) for one in merged), strict=True):
        assert other.residual == one.residual
        assert other.task_vector.hash() == one.task_vector.hash()


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=60), st.data())
@settings(deadline=None)
def test_the_kth_largest_magnitude_is_that_of_a_sorted_list(values: list[float], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(values)))
    numbers = torch.tensor(values, dtype=torch.float32)
    assert largest(lambda: numbers.split(7), count) == float(numbers.abs().sort(descending=True).values[count - 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_shard_has_the_bytes_that_safetensors_writes(dtype, tmp_path: Path) -> None:
    stored = {name: tensor.to(dtype) for name, tensor in Stored(2, 0).held.items()} | {
        "näme": torch.zeros(0, 3, dtype=dtype)
    }
    save_file(stored, tmp_path / "theirs", metadata={"format": "pt"})
    shapes = {name: tuple(tensor.shape) for name, tensor in stored.items()}
    write_shard(tmp_path / "ours", shapes, dtype, lambda name: rows.split(stored[name], 9))
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_blocks_that_do_not_fill_a_shape_are_refused(tmp_path: Path) -> None:
    for wrong in ([torch.zeros(2, 3)], [torch.zeros(5, 3)], [torch.zeros(4, 4)], [torch.zeros(4, 3).double()]):
        with pytest.raises(ValueError, match="w: "):
            write_shard(tmp_path / "shard", {"w": (4, 3)}, torch.float32, lambda _, wrong=wrong: wrong)


class Held(TorchDispatchMode):
    """Counts the bytes of tensors that are computed, or mapped from files, and still held; views are not counted."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        given = {one.untyped_storage().data_ptr() for one in torch.utils._pytree.tree_leaves(args) if _is_tensor(one)}
        for one in torch.utils._pytree.tree_leaves(result):
            if _is_tensor(one) and one.untyped_storage().data_ptr() not in given:
                self.now += one.nbytes
                self.most = max(self.most, self.now)
                weakref.finalize(one, self._free, one.nbytes)
        return result

    def _free(self, size: int) -> None:
        self.now -= size


def _is_tensor(value: object) -> bool:
    return isinstance(value, torch.Tensor)


def _saved(
    folder: Path, name: str, step: Callable[[list[TaskVector]], TaskVector], of: list[TaskVector]
) -> TaskVector:
    step(of).save(folder / name)
    return load_task_vector(folder / name)


def _most_held(folder: Path, layers: int, dtype: str) -> int:
    """Bytes held at most while experts become children, a final model and a checkpoint."""
    base = folder / "base"
    base.mkdir(parents=True)
    save_file(Stored(layers, 0).held, base / "model.safetensors")
    (base / "config.json").write_text("{}")
    stored = experts(layers)
    with Held() as held:
        vectors = [_saved(folder, f"expert {number}", STEPS["derive"], [one]) for number, one in enumerate(stored)]
        children = [_saved(folder, step, STEPS[step], vectors) for step in ("linear", "noise", "dare")]
        final = _saved(folder, "final", STEPS["linear"], children)
        save_checkpoint(base, final, dtype, folder)
    return held.most


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_no_step_holds_more_than_a_few_blocks_however_many_layers_there_are(dtype, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rows, "BLOCK_BYTES", BLOCK_BYTES)
    few, many = (_most_held(tmp_path / str(layers), layers, dtype) for layers in (2, 12))
    assert many == few
    assert many <= 8 * BLOCK_BYTES


def test_ties_holds_as_much_for_many_layers_as_for_few(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rows, "BLOCK_BYTES", BLOCK_BYTES)
    most = []
    for layers in (2, 8):  # a first layer finds no last block of a layer before it
        merged = STEPS["ties"](experts(layers))
        with Held() as held:
            merged.save(tmp_path / str(layers))
        most.append(held.most)
    assert most[0] == most[1]


def test_a_loaded_model_gets_whole_parameters_that_were_made_in_blocks(tmp_path, monkeypatch) -> None:
    save_file(Stored(2, 0).held, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    base, vector = BaseWeights(tmp_path), experts()[0]
    whole = MergedWeights(base, vector, torch.bfloat16)
    expected = dict(whole)
    monkeypatch.setattr(rows, "BLOCK_BYTES", BLOCK_BYTES)
    merged = MergedWeights(base, vector, torch.bfloat16)
    for name, tensor in merged:
        assert torch.equal(tensor, expected[name])
    assert torch.equal(merged.sketch, whole.sketch)
    assert merged.changed
    assert math.prod(merged.shapes()["0.weight"]) == HEIGHT * WIDTH
