"""What a run takes on disk, against runs that were measured."""

import pytest

from cycleqd.config import load_config
from cycleqd.preflight.disk import at_the_end, parts

SMOLLM = {"model.embed_tokens.weight": (49152, 576), "model.norm.weight": (576,)} | {
    f"model.layers.{layer}.{name}.weight": shape
    for layer in range(30)
    for name, shape in {
        "self_attn.q_proj": (576, 576),
        "self_attn.k_proj": (192, 576),
        "self_attn.v_proj": (192, 576),
        "self_attn.o_proj": (576, 576),
        "mlp.gate_proj": (1536, 576),
        "mlp.up_proj": (1536, 576),
        "mlp.down_proj": (576, 1536),
        "input_layernorm": (576,),
        "post_attention_layernorm": (576,),
    }.items()
}
STORED = 269_060_552
"""Bytes of the checkpoint, bf16."""

MEASURED = {
    # `du -sb` of finished runs, 2026-11-26.
    ("generations=24",): 1_114_778_000,
    (
        "generations=40",
        "search={kind: cycleqd, block: 16}",
        "evaluators.count=1",
        "refinement.epochs=0",
        "baselines=[]",
    ): 547_236_453,
}


def total(config):
    return sum(part.bytes for part in parts(config, SMOLLM, STORED))


@pytest.mark.parametrize("changes", MEASURED, ids=["demo", "papers-search"])
def test_the_estimate_is_what_finished_runs_took(changes):
    assert total(load_config("demo", changes)) == pytest.approx(MEASURED[changes], rel=0.05)


def test_the_largest_part_comes_first_and_names_a_setting_that_there_is():
    config = load_config("demo")
    found = parts(config, SMOLLM, STORED)
    assert [part.bytes for part in found] == sorted((part.bytes for part in found), reverse=True)
    for part in found:
        node = config
        for key in part.setting.split("."):
            node = getattr(node, key)


def test_pruning_bounds_what_a_long_run_takes():
    every = total(load_config("demo", ("generations=100000",)))
    elites = total(load_config("demo", ("generations=100000", "retention.policy=keep-elites")))
    sparse = total(load_config("demo", ("generations=100000", "retention.policy=keep-every-n", "retention.every=100")))
    assert elites < sparse < every
    short = total(load_config("demo", ("generations=1000", "retention.policy=keep-elites")))
    # Records stay, whoever is pruned.
    assert elites - short < 99_000 * 40_000


@pytest.mark.parametrize("more", ["experts.rank=32", "comparison.all_data=true", "generations=25"])
def test_more_takes_more(more):
    assert total(load_config("demo", (more,))) > total(load_config("demo"))


def test_fully_fine_tuned_experts_take_whole_models_and_truncated_ones_much_less():
    changes = ("experts.method=full", "search.merge=linear", "baselines=[]")
    whole = total(load_config("demo", changes))
    assert whole > 25 * 2 * STORED  # twenty children, three experts and others, in fp32
    truncated = total(load_config("demo", (*changes, "experts.truncation.rank=16")))
    assert truncated < whole / 5  # mostly the three checkpoints that were trained


def test_children_of_spectral_experts_are_small_and_merges_that_are_not_linear_are_not():
    changes = ("experts.method=full", "search.merge=linear", "experts.spectral=true", "mutation.basis=expert")
    spectral = {
        part.name: part.bytes for part in parts(load_config("demo", (*changes, "baselines=[]")), SMOLLM, STORED)
    }
    assert spectral["individuals"] < 40 * 2_000_000
    assert 3 * 2 * STORED < spectral["decompositions"] < 3 * 4 * STORED
    assert spectral["baselines that are not linear"] == 0
    tsv = (*changes, "baselines=[{method: tsv, scales: [1.0, 1.2]}, {method: task_arithmetic, scales: [1.0]}]")
    more = {part.name: part.bytes for part in parts(load_config("demo", tsv), SMOLLM, STORED)}
    assert more["baselines that are not linear"] == pytest.approx(2 * 2 * STORED, rel=0.01)


def test_while_the_final_model_is_written_there_is_a_copy_of_it():
    assert at_the_end(load_config("demo", ("refinement.epochs=0",)), STORED) == STORED
