"""A language model with a vision tower: what it is shown, how it is asked, and how its expert learns."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cycleqd.base_model import BaseWeights
from cycleqd.checkpoint import BaseModelInvalid
from cycleqd.experts import TrainingSettings, encode, train_expert, with_room
from cycleqd.messages import Message
from cycleqd.models.causal_lm.protocol import ChatRequest
from cycleqd.models.causal_lm.rendering import IMAGE, end_tokens, render
from cycleqd.models.causal_lm.transformers import TransformersEngine
from cycleqd.models.vision_language import SeeingEngine, SharedEngine, Sight, Vision, resolve_vision
from cycleqd.models.vision_language.base import tiny_vision
from cycleqd.seams import EXPERT_SOURCES
from cycleqd.skills.vision_questions.captions import captions
from tests.tiny_models import random_vector, tokenizer

IMAGES = {
    f"vqa/{number}": np.random.default_rng(number).integers(0, 256, (40 + number, 64, 3), dtype=np.uint8)
    for number in range(3)
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_tied):
    """A vision tower with random weights, in the layout of a LLaVA checkpoint."""
    from cycleqd.models.vision_language import base

    words = base._embedding(tiny_tied)
    out = tmp_path_factory.mktemp("vision")
    shown = [base.Captioned(IMAGES["vqa/0"], "red circle")]
    base._train(out, words, tokenizer(), shown, 1, 2)
    return out


@pytest.fixture(scope="module")
def sight(folder):
    return Sight(Vision(folder), IMAGES.__getitem__)


@pytest.fixture(scope="module")
def engine(tiny_tied, sight):
    engine = SeeingEngine(tiny_tied, sight, dtype="float32", max_model_len=256)
    yield engine
    engine.close()


def _ask(text: str, image: str | None = None, tokens: int = 8) -> ChatRequest:
    message: Message = {"role": "user", "content": text}
    if image:
        message["image"] = image
    return ChatRequest([message], tokens)


def test_an_image_stands_ahead_of_its_question_and_takes_the_places_it_needs(sight):
    plain = render(tokenizer(), _ask("what?").messages, reply_follows=True)
    shown = render(tokenizer(), _ask("what?", "vqa/1").messages, reply_follows=True, images=True)
    assert [token for token in shown if token != IMAGE][:-1] != plain
    assert shown.count(IMAGE) == 1
    wide = sight.with_room(shown)
    assert (wide.count(IMAGE), len(wide)) == (16, len(shown) + 15)


def test_a_text_cannot_pretend_to_be_an_image(tiny_tied):
    assert IMAGE not in render(tokenizer(), _ask("\ufdd0 what?").messages, reply_follows=True)


def test_an_engine_for_text_refuses_images(tiny_tied):
    engine = TransformersEngine(tiny_tied, dtype="float32", max_model_len=256)
    with pytest.raises(ValueError, match=r"this engine takes text only, .*vqa/1"):
        engine.chat([_ask("what?", "vqa/1")])
    engine.close()


def test_a_batch_replies_as_each_of_its_conversations_alone_does(engine):
    requests = [
        _ask("what is it?", "vqa/0"),
        _ask("say a word"),
        _ask("a longer question about the same image?", "vqa/0", 12),
        _ask("what is it?", "vqa/1", 5),
    ]
    together = engine.chat(requests)
    assert together == [engine.chat([request])[0] for request in requests]
    assert together[0].prompt_tokens > len("what is it?") + 16


def test_text_alone_is_answered_as_by_the_engine_for_text(engine, tiny_tied):
    plain = TransformersEngine(tiny_tied, dtype="float32", max_model_len=256)
    requests = [_ask("say a word"), _ask("another one, please")]
    assert engine.chat(requests) == plain.chat(requests)
    plain.close()


def test_what_is_seen_decides_the_reply_and_so_do_the_weights(engine, tiny_tied):
    asked = [_ask("what is it?", f"vqa/{number}", 24) for number in range(3)]
    replies = [reply.text for reply in engine.chat(asked)]
    assert len(set(replies)) > 1
    engine.load("child", random_vector(tiny_tied, seed=3))
    assert [reply.text for reply in engine.chat(asked)] != replies
    engine.load("base", None)
    assert [reply.text for reply in engine.chat(asked)] == replies


def test_logits_are_those_of_transformers_own_llava(folder, tiny_tied, sight):
    from transformers import AutoModelForCausalLM, LlavaConfig, LlavaForConditionalGeneration

    language: torch.nn.Module = AutoModelForCausalLM.from_pretrained(tiny_tied, dtype=torch.float32)
    config = LlavaConfig.from_pretrained(folder)
    config.text_config, config.image_token_index = language.config, 5
    whole = LlavaForConditionalGeneration(config).eval()
    whole.model.language_model.load_state_dict(language.model.state_dict())
    whole.lm_head.load_state_dict(language.lm_head.state_dict())
    tensors = load_file(folder / "model.safetensors")
    for name, part in (("vision_tower.", whole.model.vision_tower), ("multi_modal_projector.", None)):
        module = part or whole.model.multi_modal_projector
        module.load_state_dict({key.removeprefix(name): value for key, value in tensors.items() if name in key})
    ids = torch.tensor([sight.with_room([7, IMAGE, 9, 11])])
    pixels = sight._vision._processor([IMAGES["vqa/2"]], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        ours = language(inputs_embeds=sight.embedded(language, ids, ["vqa/2"])).logits
        theirs = whole(input_ids=ids.masked_fill(ids == IMAGE, 5), pixel_values=pixels).logits
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_as_many_places_as_images_take_are_wanted(sight, engine):
    with pytest.raises(ValueError, match="1 images take 16 places, there are 3"):
        sight.embedded(engine._model, torch.tensor([[1, IMAGE, IMAGE, IMAGE]]), ["vqa/0"])


def test_each_of_two_engines_gets_its_part_and_both_load(tiny_tied, sight, engine):
    shared = SharedEngine(TransformersEngine(tiny_tied, dtype="float32", max_model_len=256), engine)
    requests = [_ask("say a word"), _ask("what is it?", "vqa/0"), _ask("another")]
    assert shared.chat(requests) == engine.chat(requests)
    shared.load("another", random_vector(tiny_tied, seed=4))
    assert shared.loaded == engine.loaded == "another"
    with shared.exclusive():
        assert len(shared.chat(requests)) == 3
    shared.load("base", None)
    assert shared.busy_seconds() > 0


def test_only_the_answer_is_learned_and_images_have_room(tiny_tied):
    talk: list[Message] = [
        {"role": "user", "content": "what?", "image": "vqa/0"},
        {"role": "assistant", "content": "red"},
    ]
    (row,) = encode(tokenizer(), talk, end_tokens(tokenizer(), tiny_tied))
    wide = with_room(row, 16)
    assert wide.images == ("vqa/0",)
    assert wide.input_ids.count(IMAGE) == 16
    assert IMAGE not in wide.labels
    assert [label for label in wide.labels if label != -100] == [label for label in row.labels if label != -100]


@pytest.mark.parametrize("packing", [False, True])
def test_an_expert_learns_what_only_the_image_tells_and_is_an_ordinary_adapter(
    tmp_path: Path, tiny_tied, sight, packing
):
    talks = [
        [
            {"role": "user", "content": "what?", "image": f"vqa/{number % 3}"},
            {"role": "assistant", "content": "abc"[number % 3]},
        ]
        for number in range(12)
    ] + [[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]] * 2
    with pytest.raises(ValueError, match="training without a vision tower"):
        train_expert(tiny_tied, talks, tmp_path / "x", TrainingSettings(dtype="float32", max_length=128))
    settings = TrainingSettings(rank=4, epochs=6, learning_rate=1e-2, max_length=128, dtype="float32", packing=packing)
    summary = train_expert(tiny_tied, talks, tmp_path / "expert", settings, sight=sight, progress=lambda _: None)
    assert summary.loss_last < 0.8 * summary.loss_first
    stored = load_file(tmp_path / "expert" / "adapter_model.safetensors")
    assert all("vision" not in name and "projector" not in name for name in stored)
    update = EXPERT_SOURCES.make("trained", tmp_path / "expert").update(BaseWeights(tiny_tied))
    assert update.dense is None


def test_tensors_of_a_whole_llava_are_found_whatever_stands_ahead_of_their_names(tmp_path: Path, folder, sight):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "preprocessor_config.json").write_bytes((folder / "preprocessor_config.json").read_bytes())
    renamed = {
        f"model.{name.replace('vision_tower.', 'vision_tower.vision_model.')}": tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    save_file(renamed | {"model.language_model.norm.weight": torch.ones(4)}, tmp_path / "model.safetensors")
    image = IMAGES["vqa/0"]
    assert torch.equal(Vision(tmp_path).features([image])[0], sight.look("vqa/0"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "llava_next"}, "expected a LLaVA checkpoint"),
        ({"text_config": {"hidden_size": 32}}, "width 32"),
    ],
)
def test_what_is_no_llava_or_does_not_fit_is_refused(tmp_path: Path, folder, tiny_tied, change, said):
    config = json.loads((folder / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(BaseModelInvalid, match=said):
        resolve_vision(str(tmp_path), tmp_path / "cache", tiny_tied)


def test_a_checkpoint_without_vision_is_refused(tiny_tied, tmp_path: Path):
    with pytest.raises(BaseModelInvalid, match="expected a LLaVA checkpoint"):
        resolve_vision(str(tiny_tied), tmp_path, tiny_tied)


def test_the_small_vision_tower_is_trained_once_and_kept(easy_vqa, tmp_path: Path, tiny_tied, caplog):
    caplog.set_level(logging.INFO)
    shown = captions()
    assert {one.text.split()[1] for one in shown} == {"circle"}
    first = tiny_vision(tmp_path, tiny_tied, steps=2, batch=2)
    assert "once" in caplog.text
    caplog.clear()
    assert tiny_vision(tmp_path, tiny_tied, steps=2, batch=2) == first
    assert "once" not in caplog.text
    assert Vision(first).tokens == 16


def test_towers_of_other_split_seeds_have_names_of_their_own(tmp_path: Path, tiny_tied, monkeypatch):
    from cycleqd.models.vision_language import base

    monkeypatch.setattr(base, "_embedding", lambda folder: torch.zeros(2, 3))
    monkeypatch.setattr(base, "captions", lambda seed: [])
    monkeypatch.setattr(base, "_train", lambda *_: None)
    folders = [tiny_vision(tmp_path, tiny_tied, split_seed=seed) for seed in (0, 5, 6)]
    assert tiny_vision(tmp_path, tiny_tied) == folders[0]
    assert len(set(folders)) == 3
    # Pinned: as before split seeds counted, so that nobody trains a tower again that is in the cache.
    assert folders[0].name == "tiny-vision-3fea429d"
