"""What `memory_limit` refuses before a run, and what it lets through."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from cycleqd.config import RunConfig
from cycleqd.preflight.memory import lacking, needs

LAYER = {"q": (4096, 4096), "k": (1024, 4096), "gate": (14_336, 4096), "down": (4096, 14_336), "norm": (4096,)}
LLAMA = {"model.embed_tokens.weight": (128_256, 4096), "lm_head.weight": (128_256, 4096)} | {
    f"model.layers.{layer}.{name}.weight": shape for layer in range(32) for name, shape in LAYER.items()
}


def config(**settings: object) -> RunConfig:
    return RunConfig.model_validate({"memory_limit": 4, "baselines": []} | settings)


def test_lora_experts_of_an_8b_model_are_merged_within_4_gib() -> None:
    assert lacking(config(), LLAMA, dense=False) == ""


@pytest.mark.parametrize("kind", ["linear", "task_arithmetic", "ties", "dare"])
def test_merges_that_go_through_in_rows_fit_whatever_the_embedding(kind: str) -> None:
    asked = config(crossover={"kind": kind}, mutation={"kind": "none"})
    assert lacking(asked, LLAMA, dense=True) == ""
    larger = LLAMA | {"model.embed_tokens.weight": (1_000_000, 4096)}
    assert lacking(asked, larger, dense=True) == ""


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({}, "mutation.kind"),
        ({"mutation": {"kind": "none"}, "crossover": {"kind": "tsv"}}, "crossover.kind"),
        ({"mutation": {"kind": "none"}, "baselines": [{"method": "iso_c"}]}, "baselines"),
        ({"mutation": {"kind": "none"}, "search": {"kind": "random", "merge": "tsv"}}, "search.merge"),
    ],
)
def test_what_must_see_the_embedding_whole_is_refused_with_what_it_takes(settings, setting: str) -> None:
    refusal = lacking(config(**settings), LLAMA, dense=True)
    assert refusal.startswith("memory_limit is 4 GiB: ")
    assert setting in refusal
    assert "GiB (" in refusal
    wanted = needs(config(**settings), LLAMA, dense=True)[0].bytes / 2**30
    assert lacking(config(**settings, memory_limit=wanted + 0.1), LLAMA, dense=True) == ""


def test_of_a_stack_counts_one_matrix() -> None:
    asked = config(crossover={"kind": "ties"}, mutation={"kind": "none"})
    stacks = [{"experts.down": (count, 4096, 14_336)} for count in (8, 64)]
    few, many = (needs(asked, shapes, dense=True)[0] for shapes in stacks)
    assert few.bytes == many.bytes
    assert few.step == "ties on a matrix of a stack"
    assert lacking(asked, stacks[0], dense=True)


def test_without_a_limit_nothing_is_refused() -> None:
    assert lacking(config(memory_limit=None), LLAMA, dense=True) == ""


def test_a_smaller_model_needs_less() -> None:
    small = {name: tuple(size // 8 for size in shape) for name, shape in LLAMA.items()}
    assert needs(config(), small, dense=True)[0].bytes < needs(config(), LLAMA, dense=True)[0].bytes
    # Of LoRA experts of rank 16, the bases of this model take less than a few blocks.
    wide = {"rank": 64}
    smaller, larger = (needs(config(experts=wide), one, dense=False)[0].bytes for one in (small, LLAMA))
    assert smaller < larger


def test_a_limit_is_above_zero() -> None:
    with pytest.raises(ValidationError, match="memory_limit"):
        config(memory_limit=0)
