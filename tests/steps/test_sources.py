"""Experts that a run does not train: taken once, kept by hash, and never mixed up."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from cycleqd import steps
from cycleqd.config import BaselineConfig, RunConfig
from cycleqd.experts.sources import SourceInvalid, SourceUnavailable
from cycleqd.preflight import checks as preflight
from cycleqd.run.genomes import task_vector
from cycleqd.run.names import AVERAGE, expert_id
from cycleqd.run.source_record import SourceRecord
from cycleqd.run.store import RunStore
from cycleqd.steps.sources import SourceDiffers, refuse_other_sources
from cycleqd.steps.workspace import Workspace
from cycleqd.storage import StoreError
from cycleqd.task_vector import DenseTaskVector, FactoredTaskVector
from tests.adapters import assert_same_deltas, merged_deltas, save_adapter

SKILLS = ("coding", "os")


def configuration(folder, base, **sources):
    return RunConfig.model_validate({
        "run_id": "borrowed", "storage": str(folder / "runs"),
        "model": {"name": str(base), "dtype": "float32"},
        "engine": {"kind": "transformers"},
        "skills": [{"name": name} for name in SKILLS],
        "experts": {"source": sources},
    })  # fmt: skip


def begun(config):
    store = RunStore(config.storage, config.run_id)
    store.open(config)
    return Workspace(store)


@pytest.fixture
def adapters(tiny_biased, tmp_path):
    return {
        "coding": str(save_adapter(tiny_biased, tmp_path / "a", r=2)),
        "os": str(save_adapter(tiny_biased, tmp_path / "b", seed=1, r=3, target_modules=["q_proj"])),
    }


def test_experts_are_taken_as_they_are_and_written_down(tiny_biased, tmp_path, adapters):
    ws = begun(configuration(tmp_path, tiny_biased, **adapters))
    assert ws.config.trained == ()
    for skill in SKILLS:
        record = steps.take_expert(ws, skill)
        assert (record.kind, record.form, record.given) == ("adapter", "factored", adapters[skill])
        assert set(record.files) >= {"adapter_config.json", "adapter_model.safetensors"}
        assert ws.store.record(SourceRecord, f"experts/{skill}/source.json") == record
    made = steps.derive_experts(ws)
    assert [record.id for record in made] == [*map(expert_id, SKILLS), AVERAGE]
    for skill in SKILLS:
        vector = task_vector(ws.store, expert_id(skill))
        assert isinstance(vector, FactoredTaskVector)
        assert_same_deltas(vector, merged_deltas(tiny_biased, adapters[skill]))


def test_one_dense_expert_makes_all_vectors_dense(tiny_biased, tmp_path, adapters):
    dense = save_adapter(tiny_biased, tmp_path / "c", use_dora=True)
    ws = begun(configuration(tmp_path, tiny_biased, coding=str(dense), os=adapters["os"]))
    assert steps.take_expert(ws, "coding").form == "dense"
    steps.derive_experts(ws)
    for identifier in (*map(expert_id, SKILLS), AVERAGE):
        assert isinstance(task_vector(ws.store, identifier), DenseTaskVector)
    assert_same_deltas(task_vector(ws.store, expert_id("os")), merged_deltas(tiny_biased, adapters["os"]))


def test_a_source_that_changed_is_refused_and_one_that_is_gone_only_before_it_was_taken(
    tiny_biased, tmp_path, adapters, caplog
):
    ws = begun(configuration(tmp_path, tiny_biased, **adapters))
    steps.take_expert(ws, "coding")
    refuse_other_sources(ws.store, ws.config)
    folder = tmp_path / "a"
    kept = shutil.copytree(folder, tmp_path / "kept")
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, folder / "adapter_model.safetensors")
    (folder / "README.md").write_text("a model card decides nothing")
    for look in (lambda ws: refuse_other_sources(ws.store, ws.config), lambda ws: steps.take_expert(ws, "coding")):
        with pytest.raises(SourceDiffers, match=r"coding expert.*: adapter_model\.safetensors changed"):
            look(ws)
    shutil.rmtree(folder)
    with pytest.raises(SourceUnavailable, match="no such folder"):
        refuse_other_sources(ws.store, ws.config)
    kept.rename(folder)
    steps.derive_experts(ws)
    shutil.rmtree(folder)
    refuse_other_sources(ws.store, ws.config)
    assert "its expert is in the run" in caplog.text
    with pytest.raises(StoreError, match=r"experts\.source\.coding"):
        ws.store.open(configuration(tmp_path, tiny_biased, **adapters | {"coding": str(tmp_path / "b")}))


def test_the_preflight_looks_at_sources_and_says_what_form_the_vectors_take(tiny_biased, tmp_path, adapters):
    found = preflight._experts(configuration(tmp_path, tiny_biased, coding=adapters["coding"]))
    assert found.ok
    assert "adapter" in found.detail
    assert "trained here: os; task vectors are factored" in found.detail
    dense = save_adapter(tiny_biased, tmp_path / "c", modules_to_save=["norm"])
    assert "all task vectors are dense" in preflight._experts(
        configuration(tmp_path, tiny_biased, **adapters | {"os": str(dense)})
    ).detail  # fmt: skip
    regmean = configuration(tmp_path, tiny_biased, os=str(dense)).model_copy(
        update={"baselines": (BaselineConfig(method="regmean"),)}
    )
    assert "which regmean needs" in preflight._experts(regmean).detail
    config = json.loads((dense / "adapter_config.json").read_text())
    (dense / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "IA3"}))
    refused = preflight._experts(configuration(tmp_path, tiny_biased, os=str(dense)))
    assert not refused.ok
    assert "peft_type='IA3'" in refused.detail
    assert "experts.source.os" in refused.remedy
    gone = preflight._experts(configuration(tmp_path, tiny_biased, os="./nowhere"))
    assert "no such folder" in gone.detail


def test_a_source_that_does_not_fit_is_refused_before_it_is_written_down(tiny_tied, tmp_path, adapters):
    ws = begun(configuration(tmp_path, tiny_tied, **adapters))
    save_adapter(tiny_tied, tmp_path / "a", target_modules=["lm_head"])
    with pytest.raises(SourceInvalid, match="ties its output head"):
        steps.take_expert(ws, "coding")
    assert not ws.store.exists("experts/coding/source.json")


def test_a_hub_id_may_name_a_revision_and_the_run_stays_with_its_commit(tmp_path, monkeypatch, tiny_biased):
    adapter = save_adapter(tiny_biased, tmp_path / "snapshots" / "c0ffee")
    asked = []

    def download(name, **options):
        asked.append((name, options["revision"]))
        return str(adapter)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    ws = begun(configuration(tmp_path, tiny_biased, coding="someone/an-adapter@v2", os="someone/an-adapter"))
    assert steps.take_expert(ws, "coding").revision == "c0ffee"
    steps.take_expert(ws, "os")
    refuse_other_sources(ws.store, ws.config)
    assert asked == [
        ("someone/an-adapter", "v2"), ("someone/an-adapter", None), *[("someone/an-adapter", "c0ffee")] * 2,
    ]  # fmt: skip
