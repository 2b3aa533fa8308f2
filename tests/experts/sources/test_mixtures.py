"""Mixtures of experts: however files store the experts, deltas are what peft merges and subtraction gives."""

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from cycleqd.base_model import BaseWeights
from cycleqd.experts.conversations import Encoded
from cycleqd.experts.input_moments import input_moments
from cycleqd.experts.sources import SourceInvalid, find, task_vectors
from cycleqd.model_layout import as_stored
from cycleqd.task_vector import DenseTaskVector, FactoredTaskVector, read_lora_adapter, save_lora_adapter
from tests.adapters import assert_same_deltas, merged_deltas, save_adapter
from tests.tiny_models import save_mixture

FAMILIES = ("Qwen3Moe", "Mixtral")


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory):
    root = tmp_path_factory.mktemp("mixtures")

    def made(family, stored="apart", seed=7):
        folder = root / f"{family}-{stored}-{seed}"
        if not folder.is_dir():
            save_mixture(folder, family, fused=stored == "fused", seed=seed)
        return folder

    return made


def vector_of(folder, base):
    return task_vectors({"os": find(str(folder), folder).open().update(BaseWeights(base))}).vectors["os"]


def parameters(folder, weights):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return as_stored(model, weights.shapes())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("base_stored", ["apart", "fused"])
@pytest.mark.parametrize("expert_stored", ["apart", "fused"])
def test_a_checkpoint_is_the_difference_however_either_stores_its_experts(
    mixtures, family, base_stored, expert_stored
):
    base, expert = mixtures(family, base_stored), mixtures(family, expert_stored, seed=8)
    weights = BaseWeights(base)
    vector = vector_of(expert, base)
    before, after = parameters(base, weights), parameters(expert, weights)
    assert set(vector.names()) == set(weights.names())
    assert any(len(weights.shape(name)) == 3 for name in weights.names()) == (base_stored == "fused")
    assert_same_deltas(vector, {name: (after[name] - before[name]).detach() for name in weights.names()}, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_that_lacks_an_expert_is_refused(mixtures, tmp_path, family):
    base = mixtures(family)
    save_mixture(tmp_path, family, seed=8)
    file = tmp_path / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(file).items() if ".experts.3." not in name}
    save_file(kept, file)
    with pytest.raises(SourceInvalid, match=r"it lacks .*experts\.3"):
        vector_of(tmp_path, base)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", [
    {},
    {"use_rslora": True},
    {"target_modules": ["q_proj"], "target_parameters": ["experts.down_proj"]},
    {"target_modules": [], "target_parameters": ["experts.gate_up_proj"], "rank_pattern": {"gate_up_proj": 3}},
], ids=str)  # fmt: skip
def test_an_adapter_of_stacks_is_what_peft_merges(mixtures, tmp_path, family, options):
    for stored, form in (("apart", FactoredTaskVector), ("fused", DenseTaskVector)):
        base = mixtures(family, stored)
        adapter = save_adapter(base, tmp_path / stored, **options)
        vector = vector_of(adapter, base)
        assert isinstance(vector, form)
        assert any(".experts." in name for name in vector.names())
        assert_same_deltas(vector, merged_deltas(base, adapter))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("modules", [["gate"], ["experts"], ["mlp"]], ids=str)
def test_modules_of_a_mixture_that_were_trained_whole_are_found_by_the_models_names(
    mixtures, tmp_path, family, modules
):
    for stored in ("apart", "fused"):
        base = mixtures(family, stored)
        adapter = save_adapter(base, tmp_path / stored, target_modules=["q_proj"], modules_to_save=modules)
        wanted = merged_deltas(base, adapter)
        assert any("q_proj" not in name and delta.any() for name, delta in wanted.items())
        assert_same_deltas(vector_of(adapter, base), wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_of_each_experts_layers_is_read_and_what_is_written_is_one_that_peft_loads(
    mixtures, tmp_path, family
):
    base = mixtures(family)
    vector = vector_of(save_adapter(base, tmp_path / "a"), base)
    save_lora_adapter(vector, str(base), tmp_path / "out")
    assert f"{'block_sparse_moe' if family == 'Mixtral' else 'mlp'}.experts.0." in str(
        sorted(read_lora_adapter(tmp_path / "out"))
    )
    again = vector_of(tmp_path / "out", base)
    assert_same_deltas(again, {name: vector.delta(name) for name in vector.names()})
    assert_same_deltas(vector, merged_deltas(base, tmp_path / "out"))
    loaded = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), tmp_path / "out"
    )
    assert any("experts" in name and "lora_" in name for name, _ in loaded.named_parameters())


def test_factors_that_fit_no_stack_of_the_base_are_refused(mixtures, tmp_path):
    adapter = save_adapter(mixtures("Qwen3Moe"), tmp_path / "a")
    file = adapter / "adapter_model.safetensors"
    cut = {name: t[:, :-1].contiguous() if "experts.lora_A" in name else t for name, t in load_file(file).items()}
    save_file(cut, file)
    with pytest.raises(SourceInvalid, match=r"mlp\.experts: factors of shapes .* are of no one stack"):
        vector_of(adapter, mixtures("Qwen3Moe"))


def test_what_experts_of_a_mixture_read_is_not_measured(mixtures):
    base = mixtures("Qwen3Moe")
    names = BaseWeights(base).names()
    matrices = [name for name in names if "layers.0" in name and name.endswith(("q_proj.weight", "gate.weight"))]
    matrices.append(next(name for name in names if ".experts." in name))
    found = input_moments(base, {}, [Encoded(list(range(3, 20)), [])], matrices)
    assert [name.rsplit(".", 2)[1] for name in found] == ["q_proj"]
