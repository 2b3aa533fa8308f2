import pytest
import torch

from cycleqd.base_model import BaseWeights
from cycleqd.models.causal_lm.merging import MergedWeights
from cycleqd.task_vector import DenseTaskVector
from tests.tiny_models import random_vector

NAME = "model.layers.1.self_attn.q_proj.weight"


def single(delta):
    return DenseTaskVector({NAME: tuple(delta.shape)}, lambda name: delta)


def test_every_parameter_comes_once_rounded_once_from_the_fp32_sum(tiny_biased):
    base, vector = BaseWeights(tiny_biased), random_vector(tiny_biased, seed=1)
    merged = list(MergedWeights(base, vector, torch.bfloat16))
    assert [name for name, _ in merged] == list(base.names())
    for name, tensor in merged:
        assert torch.equal(tensor, (base.tensor(name).double() + vector.delta(name).double()).float().bfloat16())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_another_device_gets_the_same_parameters(tiny_biased, dtype):
    base, vector = BaseWeights(tiny_biased), random_vector(tiny_biased, seed=1)
    # To torch, the first CPU is another device than the CPU.
    here, there = MergedWeights(base, vector, dtype), MergedWeights(base, vector, dtype, torch.device("cpu:0"))
    for (name, mine), (other, theirs) in zip(here, there, strict=True):
        assert name == other
        assert torch.equal(mine, theirs)
    assert here.changed is there.changed is True
    assert torch.equal(here.sketch, there.sketch)
    assert base.hash() == BaseWeights(tiny_biased).hash()


def test_parameters_outside_the_task_vector_are_the_bases(tiny_tied):
    base = BaseWeights(tiny_tied)
    delta = torch.ones(base.shape(NAME))
    merged = dict(MergedWeights(base, single(delta), torch.float32))
    assert torch.equal(merged.pop(NAME), base.tensor(NAME) + 1)
    assert all(torch.equal(tensor, base.tensor(name)) for name, tensor in merged.items())


def test_base_is_bit_identical_after_many_children(tiny_tied):
    base, untouched = BaseWeights(tiny_tied), BaseWeights(tiny_tied).hash()
    for seed in range(5):
        list(MergedWeights(base, random_vector(tiny_tied, seed=seed), torch.float32))
    assert base.hash() == untouched


def test_whether_anything_changed_is_known_after_rounding(tiny_tied):
    base = BaseWeights(tiny_tied)
    for delta, changed in ((0.0, False), (1.0, True)):
        merged = MergedWeights(base, single(torch.full(base.shape(NAME), delta)), torch.bfloat16)
        list(merged)
        assert merged.changed is changed
    merged = MergedWeights(base, None, torch.bfloat16)
    list(merged)
    assert merged.changed is False


def test_delta_that_rounding_swallows_changes_nothing(tiny_tied):
    base = BaseWeights(tiny_tied)
    representable = base.tensor(NAME).bfloat16().float()
    towards = representable - base.tensor(NAME)  # leads to the value that rounding gives anyway
    merged = MergedWeights(base, single(towards), torch.bfloat16)
    list(merged)
    assert merged.changed is False


def test_sketch_tells_two_children_apart(tiny_tied):
    base = BaseWeights(tiny_tied)
    sketches = []
    for seed in (1, 2, 1):
        merged = MergedWeights(base, random_vector(tiny_tied, seed=seed), torch.bfloat16)
        list(merged)
        sketches.append(merged.sketch)
    assert torch.equal(sketches[0], sketches[2])
    assert (sketches[0] != sketches[1]).float().mean() > 0.9


def test_unknown_parameter_is_refused_before_anything_is_merged(tiny_tied):
    vector = DenseTaskVector({"nothing.weight": (2, 2)}, lambda name: torch.zeros(2, 2))
    with pytest.raises(ValueError, match="another base model"):
        MergedWeights(BaseWeights(tiny_tied), vector, torch.float32)


def test_wrong_shape_is_refused(tiny_tied):
    with pytest.raises(ValueError, match="has shape"):
        list(MergedWeights(BaseWeights(tiny_tied), single(torch.zeros(2, 2)), torch.float32))
