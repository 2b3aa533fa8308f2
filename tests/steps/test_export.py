import json
import logging
import shutil
import stat

import huggingface_hub
import pytest
import torch
from transformers import AutoModelForCausalLM

from cycleqd.cli.conversation import load_chat
from cycleqd.config import RunConfig
from cycleqd.models.causal_lm.transformers import TransformersEngine
from cycleqd.packed_models import EMBEDDED_MODEL, PACKED
from cycleqd.run.genomes import add_individual
from cycleqd.run.records import IndividualRecord
from cycleqd.run.store import RunStore, StoreError
from cycleqd.run.upkeep import verify
from cycleqd.steps import export
from cycleqd.steps.export import export_final, export_individual, formats_of
from cycleqd.task_vector import adapter_base, build_bases, save_lora_adapter
from tests.tiny_models import random_vector, tokenizer
from tests.toy_experts import dense_experts, dense_vector, factored_experts

MATRICES = ("model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.down_proj.weight")


@pytest.fixture(scope="module")
def base(tiny_biased, tmp_path_factory):
    """A base in bf16, as most are, whose configuration says so with the word that older files have."""
    path = tmp_path_factory.mktemp("base") / "bf16"
    AutoModelForCausalLM.from_pretrained(tiny_biased, dtype=torch.bfloat16).save_pretrained(path)
    tokenizer().save_pretrained(path)
    settings = json.loads((path / "config.json").read_text())
    settings["torch_dtype"] = settings.pop("dtype")
    (path / "config.json").write_text(json.dumps(settings))
    return path


def begin(storage, name, dtype="bfloat16"):
    store = RunStore(str(storage), "run")
    store.open(
        RunConfig.model_validate({"run_id": "run", "storage": str(storage), "model": {"name": name, "dtype": dtype}})
    )
    return store


def add(store, vector, identifier="aggregate"):
    return add_individual(store, vector, IndividualRecord(id=identifier, genome=""))


def lora(store, shapes, scale=0.05):
    """An expert as LoRA makes them; its bases go to the store."""
    generator = torch.Generator().manual_seed(3)
    factors = {
        name: (torch.randn(2, n, generator=generator), torch.randn(m, 2, generator=generator), scale)
        for name, (m, n) in shapes.items()
    }
    bases, experts = build_bases({"os": factors})
    with store.writing("bases.safetensors") as path:
        bases.save(path)
    return experts["os"]


@pytest.fixture
def run(base, tmp_path):
    """A run on the tiny base, and a LoRA task vector for it."""
    store = begin(tmp_path / "runs", str(base))
    model = AutoModelForCausalLM.from_pretrained(base)
    shapes = {name: tuple(model.get_parameter(name).shape) for name in MATRICES}
    return store, lora(store, shapes)


# The weights


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_exported_numbers_are_those_that_were_scored(base, tmp_path, dtype):
    store = begin(tmp_path / "runs", str(base), dtype)
    vector = random_vector(base, seed=1)
    add(store, vector)
    export_individual(store, "aggregate", tmp_path / "out")
    engine = TransformersEngine(base, dtype=dtype, max_model_len=64)
    engine.load("aggregate", vector)
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert exported.dtype == getattr(torch, dtype)
    for name, scored in engine._parameters.items():
        assert torch.equal(exported.get_parameter(name), scored)
    assert "torch_dtype" not in json.loads((tmp_path / "out" / "config.json").read_text())


# Which formats


def test_export_carries_what_belongs_to_a_model_and_nothing_else_of_its_base(base, tmp_path):
    untidy = shutil.copytree(base, tmp_path / "untidy")
    (untidy / "additional_chat_templates").mkdir()
    kept = {
        "LICENSE": "of the base", "NOTICE.txt": "", "USE_POLICY.md": "", "vocab.bpe": "",
        "chat_template.jinja": "{{ 1 }}", "additional_chat_templates/tool_use.jinja": "{{ 2 }}",
    }  # fmt: skip
    left = (
        "pytorch_model.bin", "consolidated.00.pth", "model.Q4_K_M.gguf", "optimizer.pt", "scheduler.pt",
        "training_args.bin", "rng_state.pth", "tf_model.h5", "model.onnx", "pytorch_model.bin.index.json",
        "trainer_state.json", "adapter_config.json", "events.out.tfevents.1", ".gitattributes", "README.md",
        "plot.png", "modeling_own.py", "original/params.json", "checkpoint-10/optimizer.pt",
        "additional_chat_templates/model.bin",
    )  # fmt: skip
    for name, text in kept.items() | {(name, "x") for name in left}:
        (untidy / name).parent.mkdir(exist_ok=True)
        (untidy / name).write_text(text)
        (untidy / name).chmod(0o600)
    model = AutoModelForCausalLM.from_pretrained(base)
    store = begin(tmp_path / "runs", str(untidy))
    shapes = {name: tuple(model.get_parameter(name).shape) for name in MATRICES}
    add(store, lora(store, shapes))
    export_individual(store, "aggregate", tmp_path / "out")
    export_individual(store, "aggregate", tmp_path / "adapter", format="adapter")
    found = {str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*") if file.is_file()}
    own = {file.name for file in base.iterdir()}  # which is tidy
    assert found == own | set(kept) | {"README.md"}
    assert (tmp_path / "out" / "README.md").read_text() != "x"  # the model's own card, not the base's
    assert (tmp_path / "out" / "additional_chat_templates" / "tool_use.jinja").read_text() == "{{ 2 }}"
    for folder in ("out", "adapter"):
        modes = {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / folder).rglob("*") if file.is_file()}
        assert modes == {0o644}


def test_only_what_has_low_rank_is_an_adapter():
    expert = factored_experts(0)["os"]
    assert formats_of(expert) == ("checkpoint", "adapter")
    assert formats_of(expert.add_noise(1, 0.1)) == ("checkpoint",)
    assert formats_of(dense_vector(dense_experts(0)["os"])) == ("checkpoint",)


def test_final_model_with_gaussian_noise_is_exported_without_an_adapter(run, caplog):
    store, expert = run
    add(store, expert)
    export_final(store, "aggregate")
    assert store.export().formats == ["checkpoint", "adapter"]
    noisy = add(store, expert.add_noise(1, 0.01))
    with caplog.at_level(logging.INFO):
        export_final(store, "aggregate")
    assert store.has_exported(noisy.genome)
    assert store.export().formats == ["checkpoint"]
    assert not store.exists("aggregate/adapter")  # the earlier model's
    assert "aggregate is no LoRA adapter" in caplog.text


# Once, and whole


def times(store):
    root = store.local("config.json").parent / "aggregate"
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")}


def test_exported_model_is_not_exported_again(run):
    store, expert = run
    record = add(store, expert)
    export_final(store, "aggregate")
    assert (store.export().individual, store.export().genome) == ("aggregate", record.genome)
    before = times(store)
    export_final(store, "aggregate")
    assert times(store) == before


def test_exported_model_in_a_bucket_is_not_uploaded_again(bucket, base, monkeypatch):
    store = begin(bucket, str(base))
    record = add(store, random_vector(base, seed=1))
    export_final(store, "aggregate")
    assert store.has_exported(record.genome)

    def never(*args, **kwargs):
        raise AssertionError("exported again")

    monkeypatch.setattr(export, "export_individual", never)
    export_final(store, "aggregate")
    assert verify(store).faults == []


@pytest.mark.parametrize("lost", ["aggregate/checkpoint", "aggregate/adapter", "aggregate/export.json"])
def test_what_was_lost_is_exported_again(run, lost):
    store, expert = run
    record = add(store, expert)
    export_final(store, "aggregate")
    store.remove(lost)
    assert not store.has_exported(record.genome)
    export_final(store, "aggregate")
    assert store.has_exported(record.genome)


def test_another_final_model_replaces_the_first(run, tmp_path):
    store, expert = run
    first = add(store, expert)
    export_final(store, "aggregate")
    second = add(store, expert.combine(2.0, []))
    assert not store.has_exported(second.genome)
    export_final(store, "aggregate")
    assert store.has_exported(second.genome)
    assert not store.has_exported(first.genome)
    export_individual(store, "aggregate", tmp_path / "out")
    for weights in (tmp_path / "out").glob("*.safetensors"):
        assert (store.local("aggregate/checkpoint") / weights.name).read_bytes() == weights.read_bytes()


def test_killed_export_is_none_and_leaves_the_earlier_model_until_its_turn(run, monkeypatch):
    store, expert = run
    add(store, expert)
    export_final(store, "aggregate")
    second = add(store, expert.combine(2.0, []))

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(export, "export_individual", killed)
        with pytest.raises(KeyboardInterrupt):
            export_final(store, "aggregate")
    assert store.export() is None
    assert store.exists("aggregate/checkpoint")
    export_final(store, "aggregate")
    assert store.has_exported(second.genome)


def test_missing_individual_is_refused(run):
    with pytest.raises(StoreError, match="does not exist"):
        export_final(run[0], "aggregate")


# Adapters and their base


def test_adapter_of_a_directory_names_its_absolute_path(run, base, tmp_path):
    store, expert = run
    add(store, expert)
    export_individual(store, "aggregate", tmp_path / "out", format="adapter")
    assert adapter_base(tmp_path / "out") == str(base)
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)


def test_adapter_is_talked_to_as_its_checkpoint_is(run, base, tmp_path):
    store, expert = run
    add(store, expert.combine(20.0, []))
    logits = []
    for form in ("checkpoint", "adapter"):
        export_individual(store, "aggregate", tmp_path / form, format=form)
        partner = load_chat(tmp_path / form, max_new_tokens=3)
        assert "".join(partner.reply("hello"))
        with torch.no_grad():
            logits.append(partner.model(torch.arange(3, 40)[None]).logits.float())
    with torch.no_grad():
        untouched = AutoModelForCausalLM.from_pretrained(base, dtype="auto")(torch.arange(3, 40)[None]).logits.float()
    differences = [float((other - logits[0]).abs().mean()) for other in (logits[1], untouched)]
    assert differences[0] < 0.05 * differences[1]  # bf16 rounds at other places


def test_adapter_of_full_fine_tuning_is_refused(base, tmp_path):
    store = begin(tmp_path / "runs", str(base))
    add(store, random_vector(base, seed=1))
    with pytest.raises(ValueError, match="is no adapter"):
        export_individual(store, "aggregate", tmp_path / "out", format="adapter")


def test_adapter_of_the_embedded_model_names_the_hubs_and_is_talked_to_without_a_hub(smollm2, tmp_path, monkeypatch):
    def no_hub(*args, **kwargs):
        raise AssertionError("asked the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", no_hub)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    store = begin(tmp_path / "runs", EMBEDDED_MODEL)
    expert = lora(store, {"model.layers.0.self_attn.q_proj.weight": (576, 576)}, scale=0.01)
    add(store, expert)
    export_individual(store, "aggregate", tmp_path / "out", format="adapter")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == PACKED[EMBEDDED_MODEL].hub_id
    assert adapter_base(tmp_path / "out") == EMBEDDED_MODEL
    partner = load_chat(tmp_path / "out", max_new_tokens=4)
    assert "".join(partner.reply("What is the capital of France?"))
    changed = {name for name, _ in partner.model.named_parameters() if "lora_" in name}
    assert changed == {f"model.layers.0.self_attn.q_proj.lora_{side}.default.weight" for side in "AB"}


def test_adapter_on_the_hubs_own_copy_is_not_taken_for_one_of_the_embedded_model(tmp_path):
    store = begin(tmp_path / "runs", PACKED[EMBEDDED_MODEL].hub_id)
    expert = lora(store, {"model.layers.0.self_attn.q_proj.weight": (6, 6)})
    save_lora_adapter(expert, PACKED[EMBEDDED_MODEL].hub_id, tmp_path / "out")
    assert adapter_base(tmp_path / "out") == PACKED[EMBEDDED_MODEL].hub_id


def test_adapter_whose_base_is_gone_is_refused(run, tmp_path):
    store, expert = run
    add(store, expert)
    export_individual(store, "aggregate", tmp_path / "out", format="adapter")
    path = tmp_path / "out" / "adapter_config.json"
    settings = json.loads(path.read_text()) | {"base_model_name_or_path": str(tmp_path / "gone")}
    path.write_text(json.dumps(settings))
    with pytest.raises(FileNotFoundError, match="whose base is gone"):
        load_chat(tmp_path / "out")
