"""Moments of what layers read against a plain forward pass, conversation by conversation."""

import threading

import pytest
import torch
from transformers import AutoModelForCausalLM

from cycleqd.experts.conversations import Encoded
from cycleqd.experts.input_moments import input_moments
from cycleqd.experts.summary import TrainingStopped
from cycleqd.task_vector import LoraFactors

ROWS = [Encoded(list(range(3, 3 + length)), []) for length in (5, 17, 9, 2, 11, 6, 8, 14, 10, 3)]
LAYER = "model.layers.1"
NAMES = [f"{LAYER}.self_attn.{part}_proj.weight" for part in "qkvo"] + [f"{LAYER}.mlp.down_proj.weight"]


@pytest.fixture(scope="module")
def base(tiny_tied):
    return tiny_tied


@pytest.fixture(scope="module")
def factors(base):
    name = "model.layers.0.mlp.up_proj.weight"
    shape = dict(AutoModelForCausalLM.from_pretrained(base).named_parameters())[name].shape
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, shape[1], generator=generator), torch.randn(shape[0], 2, generator=generator)
    return {name: LoraFactors(a, b, 0.3)}


def plainly(base, factors, name):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    read = []
    with torch.no_grad():
        for changed, (a, b, scale) in factors.items():
            dict(model.named_parameters())[changed].add_(scale * b @ a)
        module = dict(model.named_modules())[name.removesuffix(".weight")]
        module.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0][0]))
        for row in ROWS:
            model(input_ids=torch.tensor([row.input_ids]))
    x = torch.cat(read).double()
    return x.T @ x / len(x)


def test_they_are_those_of_the_expert_over_all_tokens_without_padding(base, factors):
    moments = input_moments(base, factors, ROWS, NAMES)
    assert list(moments) == NAMES
    for name in NAMES:
        expected = plainly(base, factors, name)
        # Entries that cancel out are as wrong as what they are sums of, and by how much depends on the processor.
        sizes = expected.diagonal().sqrt()
        error = (moments[name].double() - expected) / torch.outer(sizes, sizes)
        assert error.abs().max() < 1e-5
    assert not torch.allclose(moments[NAMES[0]], input_moments(base, {}, ROWS, NAMES)[NAMES[0]])


def test_layers_that_read_the_same_tensor_share_their_moments(base):
    q, k, v, o, _ = input_moments(base, {}, ROWS, NAMES).values()
    assert q is k is v
    assert o is not q


def test_what_cannot_be_measured_is_named(base):
    with pytest.raises(ValueError, match=r"model\.norm\.weight is no weight of a linear layer"):
        input_moments(base, {}, ROWS, ["model.norm.weight"])
    with pytest.raises(ValueError, match="at least one conversation"):
        input_moments(base, {}, [], NAMES)
    stop = threading.Event()
    stop.set()
    with pytest.raises(TrainingStopped):
        input_moments(base, {}, ROWS, NAMES, stop=stop)
