import pytest
import torch

from cycleqd.task_vector import merged_weights
from tests.toy_experts import SHAPES, dense_experts, dense_vector, factored_experts


class Base:
    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.tensors = {
            name: torch.randn(shape, generator=generator).bfloat16()
            for name, shape in {"embed.weight": (5, 12), **SHAPES}.items()
        }

    def names(self) -> list[str]:
        return list(self.tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.tensors[name].shape)

    def tensor(self, name: str) -> torch.Tensor:
        return self.tensors[name]


def test_the_sum_is_rounded_once_to_the_base_dtype() -> None:
    base, vector = Base(), factored_experts(0)["os"]
    merged = dict(merged_weights(base, vector))
    assert list(merged) == base.names()
    for name in SHAPES:
        assert merged[name].dtype == torch.bfloat16
        assert torch.equal(merged[name], (base.tensors[name].float() + vector.delta(name)).bfloat16())


def test_parameters_without_a_delta_and_the_base_itself_pass_as_they_are() -> None:
    base = Base()
    assert dict(merged_weights(base, factored_experts(0)["os"]))["embed.weight"] is base.tensors["embed.weight"]
    assert all(tensor is base.tensors[name] for name, tensor in merged_weights(base, None))


def test_the_base_is_bit_identical_after_many_children() -> None:
    base = Base()
    before = {name: tensor.clone() for name, tensor in base.tensors.items()}
    vector = factored_experts(0)["os"]
    for i in range(20):
        for _ in merged_weights(base, vector.combine(1.0 + i, [])):
            pass
    assert all(torch.equal(base.tensors[name], before[name]) for name in before)


def test_a_zero_task_vector_gives_the_base() -> None:
    base = Base()
    merged = merged_weights(base, factored_experts(0)["os"].combine(0.0, []))
    assert all(torch.equal(tensor, base.tensors[name]) for name, tensor in merged)


def test_a_task_vector_of_another_model_is_refused_at_the_call() -> None:
    dense = dense_experts(0)["os"]
    with pytest.raises(ValueError, match="that the base lacks"):
        merged_weights(Base(), dense_vector(dense | {"lm_head.weight": torch.ones(2, 2)}))
    with pytest.raises(ValueError, match="the task vector"):
        merged_weights(Base(), dense_vector(dense | {"layers.0.q.weight": torch.ones(2, 2)}))
