"""What every source of an expert keeps to (`cycleqd.experts.sources.ExpertSource`)."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from cycleqd.base_model import BaseWeights
from cycleqd.experts.sources import SourceInvalid, task_vectors
from cycleqd.seams import EXPERT_SOURCES
from tests.adapters import assert_same_deltas, merged_deltas, save_adapter
from tests.tiny_models import save_tied


def adapter(base, out):
    return save_adapter(base, out), merged_deltas(base, out)


def checkpoint(base, out):
    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(out)
    tuned, weights = load_file(out / "model.safetensors"), BaseWeights(base)
    return out, {name: tuned[name] - weights.tensor(name) for name in weights.names()}


# Training writes either.
MADE = {"trained": (adapter, checkpoint), "adapter": (adapter,), "checkpoint": (checkpoint,)}
CASES = [(name, make) for name in EXPERT_SOURCES for make in MADE[name]]
by_case = pytest.mark.parametrize(("name", "make"), CASES)


@pytest.mark.parametrize("name", EXPERT_SOURCES)
def test_every_row_has_a_source_and_a_documented_class(name):
    assert EXPERT_SOURCES[name].source
    assert EXPERT_SOURCES.load(name).__doc__
    assert EXPERT_SOURCES.settings(name) == ("folder",)


@by_case
def test_the_update_is_the_expert_minus_the_base_and_the_same_each_time(tiny_biased, tmp_path, name, make):
    folder, wanted = make(tiny_biased, tmp_path / "expert")
    source, base = EXPERT_SOURCES.make(name, folder), BaseWeights(tiny_biased)
    vector = task_vectors({"os": source.update(base)}).vectors["os"]
    assert_same_deltas(vector, wanted)
    assert set(source.update(base).names()) == set(vector.names())
    again = task_vectors({"os": EXPERT_SOURCES.make(name, folder).update(base)}).vectors["os"]
    assert again.hash() == vector.hash()
    source.check_values()


@by_case
def test_an_expert_of_another_base_is_refused(tiny_biased, tmp_path, name, make):
    folder, _ = make(tiny_biased, tmp_path / "expert")
    save_tied(tmp_path / "other", hidden_size=32)
    if name == "trained" and make is adapter:
        pytest.skip("a run trains on its own base; `MergedWeights` refuses deltas of other shapes")
    with pytest.raises((SourceInvalid, ValueError)) as refusal:
        EXPERT_SOURCES.make(name, folder).update(BaseWeights(tmp_path / "other"))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["adapter", "checkpoint"])
def test_damaged_files_and_numbers_that_are_none_are_refused(tiny_biased, tmp_path, name):
    folder, _ = MADE[name][0](tiny_biased, tmp_path / "expert")
    file = next(folder.glob("*.safetensors"))
    broken = shutil.copytree(folder, tmp_path / "broken")
    tensors = load_file(file)
    key = sorted(tensors)[-1]
    save_file(tensors | {key: torch.full_like(tensors[key], float("inf"))}, broken / file.name)
    with pytest.raises(SourceInvalid, match="NaN or infinite"):
        EXPERT_SOURCES.make(name, broken).check_values()
    (broken / file.name).write_bytes(file.read_bytes()[:-100])
    with pytest.raises(SourceInvalid, match="damaged"):
        EXPERT_SOURCES.make(name, broken)
