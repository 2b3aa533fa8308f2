"""The small SAM, its engine, and experts of it as task vectors."""

import threading

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, SamModel

from cycleqd.base_model import BaseWeights
from cycleqd.checkpoint import BaseModelInvalid
from cycleqd.experts.segmentation import train_segmenter
from cycleqd.experts.sources import task_vectors
from cycleqd.experts.sources.trained import Trained
from cycleqd.experts.summary import TrainingStopped
from cycleqd.models.causal_lm.protocol import ChatRequest
from cycleqd.models.segmentation import Segmenter, check_sam, resolve_sam
from cycleqd.models.segmentation.base import tiny_sam
from cycleqd.models.segmentation.learning import mask_loss
from cycleqd.models.segmentation.shape import load_sam, mask_logits, prompt_arguments, to_pixels
from cycleqd.search import Recipe, make
from cycleqd.search.operators import SvdMutation
from cycleqd.search.similarity import similarity
from cycleqd.skills.building import build_skill
from cycleqd.skills.segmentation.pictures import text_to_map
from cycleqd.skills.segmentation.prompts import Prompt, prompt_of
from tests.state_file import StateFile

DOMAINS = ("polyp", "leaf")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_sam(tmp_path_factory.mktemp("cache"), steps=3, batch=2)


@pytest.fixture(scope="module")
def skills():
    counts = {"train": 4, "optimization": 3, "test": 2}
    return {name: build_skill(f"segmentation:{name}", counts=counts) for name in DOMAINS}


@pytest.fixture(scope="module")
def folders(base, skills, tmp_path_factory):
    made = {}
    for name, skill in skills.items():
        made[name] = tmp_path_factory.mktemp(name)
        pictures = [skill.picture(sample) for sample in skill.samples("train")]
        train_segmenter(base, pictures, made[name], rank=2, epochs=2, global_batch=2, progress=lambda _: None)
    return made


@pytest.fixture(scope="module")
def experts(base, folders):
    weights = BaseWeights(base)
    return task_vectors({name: Trained(folder).update(weights) for name, folder in folders.items()}).vectors


@pytest.fixture
def segmenter(base, skills):
    engine = Segmenter(base, lambda name: skills[name.partition("/")[0]].image(name), max_batch=2)
    yield engine
    engine.close()


def test_the_small_base_is_made_once_and_is_a_sam(base):
    assert check_sam(base) == 64
    assert tiny_sam(base.parent, steps=3, batch=2) == base
    assert BaseWeights(tiny_sam(base.parent / "again", steps=3, batch=2)).hash() == BaseWeights(base).hash()


def test_a_model_that_is_no_sam_is_refused_before_it_is_loaded(tmp_path):
    config = LlamaConfig(vocab_size=32, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    for refuses in (check_sam, lambda folder: resolve_sam(str(folder), tmp_path)):
        with pytest.raises(BaseModelInvalid, match="of type 'llama', and segmentation needs a SAM"):
            refuses(tmp_path)


def test_a_sam_with_other_files_than_its_configuration_is_refused(base, tmp_path):
    model = SamModel.from_pretrained(base)
    model.config.vision_config.num_hidden_layers = 5
    model.save_pretrained(tmp_path)
    with pytest.raises(BaseModelInvalid, match="is missing from the files"):
        check_sam(tmp_path)


def test_an_expert_changes_the_encoder_by_low_rank_and_the_decoder_whole(base, folders, experts):
    for name, folder in folders.items():
        update = Trained(folder).update(BaseWeights(base))
        assert all(key.startswith("vision_encoder.layers.") for key in update.factors)
        assert len(update.factors) == 4 * 4  # qkv, proj, lin1 and lin2 of four layers
        assert update.dense.names()
        assert all(key.startswith("mask_decoder.") for key in update.dense.names())
        assert not any(key.startswith("prompt_encoder.") for key in experts[name].names())


@pytest.mark.parametrize("name", DOMAINS)
def test_an_expert_as_a_task_vector_segments_as_the_model_that_was_trained(
    name, base, folders, experts, skills, segmenter
):
    from peft import PeftModel

    trained = PeftModel.from_pretrained(load_sam(base), folders[name]).eval()
    picture = skills[name].picture(skills[name].samples("test")[0])
    prompt = prompt_of(picture.mask, "box")
    with torch.no_grad():
        logits = mask_logits(trained, to_pixels([picture.image], 64), prompt_arguments([prompt], [(64, 64)], 64), 64)
    segmenter.load(experts[name].hash(), experts[name])
    found = segmenter.segment([picture.image], [prompt])[0]
    assert np.abs(found - logits[0].sigmoid().numpy()).max() < 1e-4


def test_children_of_experts_are_made_by_the_operators_of_every_search(experts, segmenter):
    recipe = Recipe(DOMAINS, (0.5, 0.5), "polyp", mutation={"kind": "svd", "seed": 3})
    mutation = SvdMutation(w_max=0.3)
    child = make(recipe, experts.__getitem__, mutation=mutation, expert_of=lambda skill: skill).task_vector
    again = make(recipe, experts.__getitem__, mutation=mutation, expert_of=lambda skill: skill).task_vector
    assert child.hash() == again.hash()
    tsv = Recipe(DOMAINS, (1.0, 1.0), merge={"method": "tsv"})
    merged = make(tsv, experts.__getitem__, mutation=mutation, expert_of=lambda skill: skill).task_vector
    for one in (child, merged):
        segmenter.load(one.hash(), one)
        assert segmenter.loaded == one.hash()
    assert 0.0 < similarity(experts["polyp"], experts["leaf"]) < 1.0
    assert similarity(experts["polyp"], experts["polyp"]) == pytest.approx(1.0)


def test_requests_are_answered_in_their_order_whatever_shares_their_batch(skills, segmenter):
    messages = [
        (skill.samples("optimization")[index], skill.initial_messages(skill.samples("optimization")[index]))
        for index in range(3)
        for skill in skills.values()
    ]
    requests = [ChatRequest(message, 1) for _, message in messages]
    together = segmenter.chat(requests)
    assert [reply.text for reply in segmenter.chat(requests)] == [reply.text for reply in together]
    for request, reply in zip(requests, together, strict=True):
        alone = text_to_map(segmenter.chat([request])[0].text)
        assert np.abs(alone - text_to_map(reply.text)).max() <= 1.001 / 255
    assert segmenter.busy_seconds() > 0


def test_boxes_and_points_may_be_asked_together_and_images_have_any_size(segmenter):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((64, 64, 3), (40, 90, 3), (50, 20, 3))]
    prompts = [Prompt(box=(0, 0, 64, 64)), Prompt(point=(80.5, 3.5)), Prompt(box=(2, 2, 9, 30))]
    maps = segmenter.segment(images, prompts)
    assert [one.shape for one in maps] == [(64, 64), (40, 90), (50, 20)]
    assert all(0 <= one.min() <= one.max() <= 1 for one in maps)


def test_loading_base_and_expert_in_turn_gives_each_its_own_maps(experts, skills, segmenter):
    request = [ChatRequest(skills["leaf"].initial_messages(skills["leaf"].samples("test")[0]), 1)]
    plain = segmenter.chat(request)[0].text
    segmenter.load(experts["leaf"].hash(), experts["leaf"])
    assert segmenter.chat(request)[0].text != plain
    segmenter.load("base", None)
    assert (segmenter.loaded, segmenter.chat(request)[0].text) == ("base", plain)


def test_a_request_of_another_skill_is_refused(segmenter):
    with pytest.raises(ValueError, match="asked with an image and a prompt"):
        segmenter.chat([ChatRequest([{"role": "user", "content": "Write a program."}], 8)])


def test_training_is_the_same_twice_and_learns(base, skills, tmp_path):
    pictures = [skills["leaf"].picture(sample) for sample in skills["leaf"].samples("train")]
    settings = {"rank": 2, "epochs": 6, "global_batch": 4, "learning_rate": 3e-3, "progress": lambda _: None}
    first = train_segmenter(base, pictures, tmp_path / "one", micro_batch=2, **settings)
    second = train_segmenter(base, pictures, tmp_path / "two", micro_batch=2, **settings)
    assert (first.steps, first.conversations) == (6, 24)
    assert first.loss_last < first.loss_first
    assert first.data_hash == second.data_hash
    one, two = (
        task_vectors({"x": Trained(tmp_path / name).update(BaseWeights(base))}).vectors["x"].hash()
        for name in ("one", "two")
    )
    assert one == two


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_training_that_was_killed_goes_on_and_gives_the_same_expert(base, skills, tmp_path, monkeypatch, method):
    monkeypatch.setattr("cycleqd.experts.resuming.SECONDS", 0.0)
    monkeypatch.setattr("cycleqd.experts.resuming.SHARE", 0.0)
    pictures = [skills["leaf"].picture(sample) for sample in skills["leaf"].samples("train")]
    settings = {"method": method, "rank": 2, "epochs": 3, "global_batch": 2, "learning_rate": 3e-3}
    whole = train_segmenter(base, pictures, tmp_path / "whole", progress=lambda _: None, **settings)
    place, seen, stop = StateFile(tmp_path), [], threading.Event()

    def killed(state):
        seen.append(state.step)
        if len(seen) == 3:
            raise KeyboardInterrupt
        if len(seen) == 5:
            stop.set()

    for fault in (KeyboardInterrupt, TrainingStopped):
        with pytest.raises(fault):
            train_segmenter(base, pictures, tmp_path / "killed", progress=killed, place=place, stop=stop, **settings)
    stop.clear()
    summary = train_segmenter(base, pictures, tmp_path / "killed", progress=killed, place=place, **settings)
    assert seen == [1, 2, 3, 3, 4, *range(5, whole.steps + 1)]
    assert (summary.loss_first, summary.loss_last) == (whole.loss_first, whole.loss_last)
    one, two = (
        task_vectors({"x": Trained(tmp_path / name).update(BaseWeights(base))}).vectors["x"].hash()
        for name in ("whole", "killed")
    )
    assert one == two
    # Another training's state is not taken up.
    again = train_segmenter(base, pictures[1:], tmp_path / "other", progress=lambda _: None, place=place, **settings)
    assert again.data_hash != whole.data_hash
    assert again.loss_first != whole.loss_first


def test_training_of_all_weights_leaves_the_prompt_encoder(base, skills, tmp_path):
    pictures = [skills["polyp"].picture(sample) for sample in skills["polyp"].samples("train")]
    train_segmenter(base, pictures, tmp_path, method="full", global_batch=4, progress=lambda _: None)
    update = Trained(tmp_path).update(BaseWeights(base))
    changed = {name for name in update.dense.names() if update.dense.delta(name).any()}
    assert any(name.startswith("vision_encoder.") for name in changed)
    assert not any(name.startswith("prompt_encoder.") for name in changed)


def test_training_stops_when_it_is_told_to_and_needs_pictures(base, skills, tmp_path):
    picture = skills["polyp"].picture(skills["polyp"].samples("train")[0])
    stop = threading.Event()
    stop.set()
    with pytest.raises(TrainingStopped):
        train_segmenter(base, [picture], tmp_path / "out", stop=stop, progress=lambda _: None)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="needs pictures"):
        train_segmenter(base, [], tmp_path / "out")


def test_the_loss_is_least_for_the_truth():
    truth = torch.zeros(2, 8, 8)
    truth[:, 2:5, 3:6] = 1
    right, wrong = (mask_loss(sign * (truth * 20 - 10), truth) for sign in (1.0, -1.0))
    assert right < 0.02 < mask_loss(torch.zeros(2, 8, 8), truth) < wrong
