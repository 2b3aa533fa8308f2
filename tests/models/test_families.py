"""Families of models as bases: two steps of training, a merge, an engine, an export, and the export loaded again.

Every model is tiny and random. What cannot be used is refused by the preflight with its reason.
"""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from cycleqd.base_model import BaseWeights, resolve_base
from cycleqd.checkpoint import BaseModelInvalid
from cycleqd.config import RunConfig
from cycleqd.experts import TrainingSettings, train_expert
from cycleqd.experts.sources import task_vectors
from cycleqd.models.causal_lm.protocol import ChatRequest
from cycleqd.models.causal_lm.transformers import TransformersEngine
from cycleqd.preflight import probe
from cycleqd.run.genomes import add_individual, save_bases
from cycleqd.run.records import IndividualRecord
from cycleqd.run.store import RunStore
from cycleqd.seams import EXPERT_SOURCES
from cycleqd.search.operators import SvdMutation
from cycleqd.search.operators.merging import merge_method
from cycleqd.steps.export import export_individual
from tests.families import FAMILIES, save_family

TALKS = [
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": f"Add {n}."},
        {"role": "assistant", "content": f"It is {2 * n}."},
    ]
    for n in range(4)
]


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    return tmp_path_factory.mktemp("families")


def base_of(family, bases):
    """The family's model, made once."""
    folder = bases / family
    return folder if folder.is_dir() else save_family(family, folder)


def preflight(folder, method):
    """What the preflight's child does with the model, in this process."""
    probe._model(folder, probe._Request(str(folder), str(folder), method, 2, (), "2026-01-01"))


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_trained_merged_served_exported_and_loaded_again(family, method, bases, tmp_path):
    base = resolve_base(str(base_of(family, bases)), tmp_path)
    preflight(base, method)
    settings = TrainingSettings(
        method=method, rank=2, alpha=4.0, epochs=1, learning_rate=1e-2, global_batch=2, micro_batch=2, dtype="float32"
    )
    train_expert(base, TALKS, tmp_path / "expert", settings, progress=lambda *_: None)
    update = EXPERT_SOURCES.make("trained", tmp_path / "expert").update(BaseWeights(base))
    made = task_vectors({"os": update, "db": update})
    merged = merge_method("tsv", scale=1.0).merge(list(made.vectors.values()), [1.0, 1.0])
    child = SvdMutation().apply(merged, merged, 3)

    values = {"run_id": "run", "storage": str(tmp_path / "runs"), "model": {"name": str(base), "dtype": "float32"}}
    store = RunStore(values["storage"], "run")
    store.open(RunConfig.model_validate(values))
    if made.bases is not None:
        save_bases(store, made.bases)
    add_individual(store, child, IndividualRecord(id="aggregate", genome=""))

    engine = TransformersEngine(base, dtype="float32", max_model_len=200)
    engine.load(child.hash(), child)
    assert engine.chat([ChatRequest(TALKS[1][:2], 4)])[0].tokens > 0
    export_individual(store, "aggregate", tmp_path / "out")
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    with torch.no_grad():
        logits = exported(engine._canary_prompt).logits
        torch.testing.assert_close(logits, engine._model(engine._canary_prompt).logits, rtol=0, atol=1e-5)
        plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)(engine._canary_prompt).logits
    assert (logits - plain).abs().max() > 1e-3
    engine.close()


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("family", ["Mixtral", "Qwen3Moe"])
def test_a_mixture_whose_files_lack_an_expert_is_refused_before_it_is_trained(family, method, bases, tmp_path):
    folder = shutil.copytree(base_of(family, bases), tmp_path / "base")
    file = folder / "model.safetensors"
    save_file({name: t for name, t in load_file(file).items() if ".experts.2." not in name}, file)
    with pytest.raises(BaseModelInvalid, match=r"experts.* where the files hold .*experts\.0") as refusal:
        preflight(folder, method)
    assert "\n" not in str(refusal.value)
