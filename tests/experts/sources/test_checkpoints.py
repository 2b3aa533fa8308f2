"""Checkpoints as experts: plain subtraction, names and vocabularies reconciled, packed weights never read raw."""

import json
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from cycleqd.base_model import BaseWeights
from cycleqd.checkpoint import open_tensors
from cycleqd.experts.sources import SourceInvalid, find, task_vectors
from cycleqd.experts.sources.vocabulary import Vocabulary
from cycleqd.task_vector import FactoredTaskVector
from tests.adapters import assert_same_deltas, merged_deltas, save_adapter
from tests.tiny_models import tokenizer

FP8 = torch.float8_e4m3fn


def opened(folder):
    return find(str(folder), folder).open()


def update_of(folder, base):
    return opened(folder).update(BaseWeights(base))


@pytest.fixture
def expert(tiny_biased, tmp_path):
    """The base with every parameter moved, in one file."""
    folder = tmp_path / "expert"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_pretrained(tiny_biased)
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def deltas(folder, base):
    weights, tuned = BaseWeights(base), load_file(folder / "model.safetensors")
    return {name: tuned[name].float() - weights.tensor(name, torch.float32) for name in weights.names()}


def rewrite(folder, change, **settings):
    file = folder / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in change(load_file(file)).items()}, file)
    if settings:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | settings))


def test_the_task_vector_is_the_difference(expert, tiny_biased):
    update = update_of(expert, tiny_biased)
    assert_same_deltas(update.dense, deltas(expert, tiny_biased), atol=0)
    assert update.as_others_read
    opened(expert).check_values()


def test_shards_and_pickles_give_the_same(expert, tiny_biased, tmp_path):
    wanted, tensors = deltas(expert, tiny_biased), load_file(expert / "model.safetensors")
    AutoModelForCausalLM.from_pretrained(expert).save_pretrained(tmp_path / "shards", max_shard_size="200KB")
    assert (tmp_path / "shards" / "model.safetensors.index.json").is_file()
    assert_same_deltas(update_of(tmp_path / "shards", tiny_biased).dense, wanted, atol=0)
    (expert / "model.safetensors").unlink()
    half = sorted(tensors)[::2]
    torch.save({name: tensors[name] for name in half}, expert / "pytorch_model-1.bin")
    torch.save({name: tensors[name] for name in tensors if name not in half}, expert / "pytorch_model-2.bin")
    places = {name: f"pytorch_model-{1 if name in half else 2}.bin" for name in tensors}
    (expert / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    assert_same_deltas(update_of(expert, tiny_biased).dense, wanted, atol=0)


def test_names_without_or_with_more_prefix_are_found(expert, tiny_biased):
    wanted = deltas(expert, tiny_biased)
    rewrite(expert, lambda tensors: {name.removeprefix("model."): tensor for name, tensor in tensors.items()})
    assert_same_deltas(update_of(expert, tiny_biased).dense, wanted, atol=0)
    rewrite(expert, lambda tensors: {
        f"language_model.{name if name == 'lm_head.weight' else f'model.{name}'}": tensor
        for name, tensor in tensors.items()
    })  # fmt: skip
    assert_same_deltas(update_of(expert, tiny_biased).dense, wanted, atol=0)


def test_a_buffer_and_a_repeated_head_are_no_parameters(tiny_tied, tmp_path):
    expert = shutil.copytree(tiny_tied, tmp_path / "expert")
    rewrite(expert, lambda tensors: tensors | {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
        "lm_head.weight": tensors["model.embed_tokens.weight"].clone(),
    })  # fmt: skip
    update = update_of(expert, tiny_tied)
    assert not any(update.dense.delta(name).any() for name in update.names())
    rewrite(expert, lambda tensors: tensors | {"lm_head.weight": tensors["lm_head.weight"] + 1})
    with pytest.raises(SourceInvalid, match="output head of its own"):
        update_of(expert, tiny_tied)


@pytest.mark.parametrize(("change", "why"), [
    (lambda tensors: {name: tensor for name, tensor in tensors.items() if "norm.weight" not in name}, "lacks model"),
    (lambda tensors: tensors | {"model.extra.weight": torch.ones(2)}, "has model.extra.weight"),
    (lambda tensors: tensors | {"model.norm.weight": torch.ones(3)}, "model.norm.weight has shape"),
    (lambda tensors: tensors | {"model.norm.weight": tensors["model.norm.weight"].to(torch.int8)}, "stored as int8"),
    (lambda tensors: tensors | {"model.layers.0.mlp.up_proj.qweight": torch.ones(2, dtype=torch.int32)}, "packed"),
])  # fmt: skip
def test_another_model_is_refused_by_the_name_that_does_not_fit(expert, tiny_biased, change, why):
    rewrite(expert, change)
    with pytest.raises(SourceInvalid, match=why) as refusal:
        update_of(expert, tiny_biased)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("settings", [{"num_attention_heads": 4}, {"rope_theta": 5.0, "rope_parameters": None},
                                      {"rms_norm_eps": 0.1}, {"model_type": "llama"}], ids=str)  # fmt: skip
def test_settings_that_change_what_weights_mean_must_agree(expert, tiny_biased, settings):
    rewrite(expert, dict, **settings)
    with pytest.raises(SourceInvalid, match=f"config.json: {next(iter(settings))[:4]}"):
        update_of(expert, tiny_biased)


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "awq", "a_method_of_next_year"])
def test_packed_models_are_refused_by_their_method(expert, tiny_biased, method):
    rewrite(expert, dict, quantization_config={"quant_method": method})
    with pytest.raises(SourceInvalid, match=rf"quantised \({method}\)"):
        opened(expert)


@pytest.mark.parametrize("scales", ["tensor", "row", "block"])
def test_numbers_in_8_bits_are_multiplied_by_their_scales(expert, tiny_biased, scales):
    name, block = "model.layers.0.mlp.up_proj.weight", (32, 48)
    plain = load_file(expert / "model.safetensors")[name]
    shape = {"tensor": (), "row": (len(plain), 1), "block": (3, 2)}[scales]
    scale = torch.rand(shape, generator=torch.Generator().manual_seed(0)) + 0.5
    spread = scale
    if scales == "block":
        spread = scale.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)[:, : plain.shape[1]]
    packed = (plain / spread).to(FP8)
    key = f"{name}_scale_inv" if scales == "block" else f"{name}_scale"
    rewrite(
        expert,
        lambda tensors: tensors | {name: packed, key: scale, name.replace("weight", "input_scale"): torch.ones(1)},
        quantization_config={"quant_method": "fp8", "weight_block_size": list(block)},
    )
    update = update_of(expert, tiny_biased)
    wanted = packed.float() * spread - BaseWeights(tiny_biased).tensor(name, torch.float32)
    torch.testing.assert_close(update.dense.delta(name), wanted, rtol=0, atol=1e-6)
    assert "8 bits" in update.notes[0]
    assert not update.as_others_read


def test_numbers_in_8_bits_without_scales_are_refused(expert, tiny_biased):
    rewrite(expert, lambda tensors: tensors | {"model.norm.weight": tensors["model.norm.weight"].to(FP8)})
    with pytest.raises(SourceInvalid, match=r"model\.norm\.weight is stored in 8 bits and has no scale"):
        update_of(expert, tiny_biased)
    rewrite(expert, lambda tensors: tensors | {"model.norm.scale": torch.ones(1)})
    with pytest.raises(SourceInvalid, match=r"only model\.norm\.scale, which may multiply or divide"):
        update_of(expert, tiny_biased)


def padded(expert, rows):
    def change(tensors):
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            tensors[name] = torch.cat([tensors[name], torch.full((rows, tensors[name].shape[1]), 7.0)])
        return tensors

    rewrite(expert, change, vocab_size=99 + rows)


def test_a_padded_vocabulary_loses_its_padding(expert, tiny_biased):
    wanted = deltas(expert, tiny_biased)
    padded(expert, 29)
    update = update_of(expert, tiny_biased)
    assert_same_deltas(update.dense, wanted, atol=0)
    assert update.notes == ()


def test_rows_are_found_by_token_when_they_have_moved(expert, tiny_biased):
    wanted = deltas(expert, tiny_biased)
    known = tokenizer().get_vocab()
    # A tokenizer that counts from the other end, and knows one token more.
    moved = {token: len(known) - place for token, place in known.items()} | {"<|tool|>": 0}
    file = expert / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["vocab"] = moved
    for token in content["added_tokens"]:
        token["id"] = moved[token["content"]]
    file.write_text(json.dumps(content))

    def change(tensors):
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            old, new = tensors[name], torch.zeros(len(known) + 1, tensors[name].shape[1])
            for token, place in known.items():
                new[moved[token]] = old[place]
            tensors[name] = new
        return tensors

    rewrite(expert, change, vocab_size=len(known) + 1)
    update = update_of(expert, tiny_biased)
    assert_same_deltas(update.dense, wanted, atol=0)
    assert "<|tool|>" in update.notes[0]
    assert not update.as_others_read


def test_another_vocabulary_and_one_without_a_tokenizer_are_refused(expert, tiny_biased, monkeypatch):
    padded(expert, 1)
    monkeypatch.setattr("cycleqd.experts.sources.vocabulary._vocabulary", lambda folder: (
        {f"{'other' if folder == expert else 'own'}{index}": index for index in range(99)}
    ))  # fmt: skip
    with pytest.raises(SourceInvalid, match="another vocabulary"):
        update_of(expert, tiny_biased)
    for file in expert.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(SourceInvalid, match="no tokenizer"):
        update_of(expert, tiny_biased)


def test_tokens_that_only_the_base_knows_keep_its_rows(tmp_path, monkeypatch):
    vocabularies = {"base": {"a": 0, "b": 1, "<|new|>": 2}, "source": {"b": 0, "a": 1}}
    monkeypatch.setattr("cycleqd.experts.sources.vocabulary._vocabulary", lambda folder: vocabularies[folder.name])
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "tokenizer.json").write_text("")
    vocabulary = Vocabulary(tmp_path / "base", tmp_path / "source")
    taken = vocabulary.take("embed_tokens.weight", torch.tensor([[1.0], [2.0]]), torch.tensor([[7.0], [8.0], [9.0]]))
    assert taken.tolist() == [[2.0], [1.0], [9.0]]
    assert "<|new|>" in vocabulary.notes()[0]


def reserved(folder, change):
    """Writes a tokenizer's tokens anew."""
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"] = change(content["model"]["vocab"])
    (folder / "tokenizer.json").write_text(json.dumps(content))


def test_a_renamed_token_keeps_the_bases_row_although_the_vocabularies_are_of_one_size(expert, tiny_biased):
    wanted = deltas(expert, tiny_biased)
    token, place = next((token, place) for token, place in tokenizer().get_vocab().items() if place == 50)
    reserved(expert, lambda vocab: {name: at for name, at in vocab.items() if at != place} | {"<|tool_call|>": place})
    update = update_of(expert, tiny_biased)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert not update.dense.delta(name)[place].any()
        assert wanted[name][place].any()
        wanted[name][place] = 0
    assert_same_deltas(update.dense, wanted, atol=0)
    notes = " ".join(update.notes)
    assert token in notes
    assert "<|tool_call|>" in notes


def test_few_shared_tokens_are_refused_although_the_vocabularies_are_of_one_size(expert, tiny_biased):
    reserved(expert, lambda vocab: {token if at < 10 else f"<other{at}>": at for token, at in vocab.items()})
    with pytest.raises(SourceInvalid, match=r"knows \d+ of the base's 99 tokens .*another vocabulary"):
        update_of(expert, tiny_biased)


@given(
    st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=2), st.permutations("abcdefghxy"), st.integers(0, 3)
)
def test_every_row_is_its_tokens_or_the_bases(base, source, padding):
    """Tokens of both move; those of one leave the base's row; rows without a token on either side keep their place."""
    source = source[: len(base)]
    ours, theirs = ({token: place for place, token in enumerate(one)} for one in (base, source))
    size = len(base) + padding
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        folders = {name: Path(root, name) for name in ("base", "source")}
        folders["source"].mkdir()
        (folders["source"] / "tokenizer.json").write_text("")
        patch.setattr(
            "cycleqd.experts.sources.vocabulary._vocabulary", lambda folder: ours if folder.name == "base" else theirs
        )
        vocabulary = Vocabulary(folders["base"], folders["source"])
        own, stored = torch.zeros(size, 1), torch.arange(1.0, size + 1).unsqueeze(1)
        if 2 * len(set(base) & set(source)) < len(base):
            with pytest.raises(SourceInvalid, match="another vocabulary"):
                vocabulary.take("embed_tokens.weight", stored, own)
            return
        taken = vocabulary.take("embed_tokens.weight", stored, own).flatten().tolist()
    assert taken[: len(base)] == [theirs.get(token, -1) + 1 for token in base]
    assert taken[len(base) :] == [place + 1 for place in range(len(base), size)]


def test_a_token_that_only_the_expert_has_leaves_the_padding_of_the_base(expert, tiny_biased, tmp_path):
    base = tmp_path / "base"
    AutoModelForCausalLM.from_pretrained(tiny_biased).save_pretrained(base)
    tokenizer().save_pretrained(base)
    by_token = {"model.embed_tokens.weight", "lm_head.weight"}

    def more(tensors):
        return {
            name: torch.cat([tensor, torch.ones(2, tensor.shape[1], dtype=tensor.dtype)])
            if name in by_token else tensor
            for name, tensor in tensors.items()
        }  # fmt: skip

    for folder in (base, expert):
        rewrite(folder, more, vocab_size=101)
    rewrite(expert, lambda tensors: {
        name: tensor + 1 if name in by_token else tensor for name, tensor in tensors.items()
    })  # fmt: skip
    larger = tokenizer()
    larger.add_tokens(["<|tool|>"])
    larger.save_pretrained(expert)
    update = update_of(expert, base)
    for name in by_token:
        delta = update.dense.delta(name)
        assert not delta[99].any()  # which the note says
        assert (delta[100] == 1).all()  # nobody's row: plain subtraction
    assert "<|tool|>" in update.notes[0]


@pytest.mark.parametrize("settings", [
    {"torch_dtype": "bfloat16", "use_cache": False, "eos_token_id": 5, "max_position_embeddings": 4096},
    {"unsloth_version": "2026.1", "rope_scaling": None, "max_window_layers": 1},
], ids=str)  # fmt: skip
def test_settings_that_change_nothing_may_differ(expert, tiny_biased, settings):
    wanted = deltas(expert, tiny_biased)
    rewrite(expert, dict, **settings)
    assert_same_deltas(update_of(expert, tiny_biased).dense, wanted, atol=0)


def test_forms_are_mixed_by_making_all_dense_over_what_anyone_changes(expert, tiny_biased, tmp_path):
    adapter = save_adapter(tiny_biased, tmp_path / "adapter", modules_to_save=["norm"])
    plain = save_adapter(tiny_biased, tmp_path / "plain", seed=3, target_modules=["q_proj"])
    made = task_vectors({"os": update_of(adapter, tiny_biased), "db": update_of(plain, tiny_biased)})
    assert made.bases is None
    assert made.vectors["os"].names() == made.vectors["db"].names()
    assert len(made.vectors["os"].names()) == 14 + 5  # not the whole model
    for skill, folder in (("os", adapter), ("db", plain)):
        assert_same_deltas(made.vectors[skill], merged_deltas(tiny_biased, folder))
    whole = task_vectors({"os": update_of(expert, tiny_biased), "db": update_of(plain, tiny_biased)})
    assert whole.vectors["db"].names() == tuple(sorted(open_tensors(tiny_biased)))
    assert_same_deltas(whole.vectors["db"], merged_deltas(tiny_biased, plain))
    factored = task_vectors({"db": update_of(plain, tiny_biased)})
    assert isinstance(factored.vectors["db"], FactoredTaskVector)
