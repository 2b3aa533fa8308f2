"""The segmentation skills: generated domains, prompts, maps as text, verdicts."""

import json

import numpy as np
import pytest
from PIL import Image

from cycleqd.sandbox import NoSandboxes
from cycleqd.skills.benchmarks.benchmark import DataUnavailable, Source
from cycleqd.skills.building import build_skill
from cycleqd.skills.registry import SEGMENTATION, SkillUnavailable, find
from cycleqd.skills.segmentation.domains import DOMAINS
from cycleqd.skills.segmentation.metrics import METRICS
from cycleqd.skills.segmentation.pictures import map_to_text, read_picture, text_to_map
from cycleqd.skills.segmentation.prompts import Prompt, from_message, prompt_of, to_message
from cycleqd.skills.segmentation.skill import SCORES

COUNTS = {"train": 9, "optimization": 5, "test": 13}


def skill_of(domain, **images):
    return build_skill(f"segmentation:{domain}", seed=3, counts=COUNTS, images={"size": 32, **images})


@pytest.fixture(params=DOMAINS)
def skill(request):
    return skill_of(request.param)


def verdict(skill, sample, reply):
    with skill.session(NoSandboxes()) as session:
        episode = session.start(sample)
        assert episode.act(reply)
        return episode.judge()


def test_splits_have_their_sizes_and_no_picture_twice(skill):
    pictures = [skill.picture(sample) for split in COUNTS for sample in skill.samples(split)]
    assert [len(skill.samples(split)) for split in COUNTS] == list(COUNTS.values())
    assert len({picture.image.tobytes() for picture in pictures}) == sum(COUNTS.values())


def test_the_same_seed_draws_the_same_and_another_seed_another(skill):
    again, other = (
        build_skill(f"segmentation:{skill.name}", seed=seed, counts=COUNTS, images={"size": 32}) for seed in (3, 4)
    )
    for split in COUNTS:
        assert skill.samples(split) == again.samples(split)
        assert skill.samples(split) != other.samples(split)
    first = [one.picture(one.samples("test")[0]).image for one in (skill, again, other)]
    assert np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], first[2])


def test_a_third_of_the_test_split_is_of_kinds_that_nobody_trained_on(skill):
    seen = {sample.template for split in ("train", "optimization") for sample in skill.samples(split)}
    tested = [sample.template for sample in skill.samples("test")]
    assert len(seen) == 4
    assert len(set(tested)) == 6
    assert seen < set(tested)


def test_every_picture_has_an_object_and_a_ground(skill):
    for split in COUNTS:
        for sample in skill.samples(split):
            picture = skill.picture(sample)
            assert picture.image.shape == (32, 32, 3)
            assert 0 < picture.mask.mean() < 0.9


def test_the_truth_scores_1_and_silence_and_text_score_0(skill):
    for sample in skill.samples("optimization"):
        found = verdict(skill, sample, skill.gold_replies(sample)[0])
        assert found.score == pytest.approx(1.0)
        assert found.extra.keys() == METRICS.keys() - {skill.measure}
        assert all(0.0 <= value <= 1.0 for value in found.extra.values())
        for reply in ("", "I see a polyp.", "aGVsbG8="):
            assert verdict(skill, sample, reply)[:2] == (0.0, "the reply is no map")


def test_the_score_is_the_measure_of_the_domain(skill):
    sample = skill.samples("test")[0]
    guess = np.round(np.random.default_rng(0).random((32, 32)) * 255) / 255
    found = verdict(skill, sample, map_to_text(guess))
    truth = skill.picture(sample).mask
    assert skill.measure == SCORES[skill.name]
    assert found.score == pytest.approx(METRICS[skill.measure](guess, truth))
    assert found.extra == pytest.approx(
        {name: measure(guess, truth) for name, measure in METRICS.items() if name != skill.measure}
    )


def test_a_map_of_another_size_scores_0(skill):
    score, reason, _ = verdict(skill, skill.samples("test")[0], map_to_text(np.ones((16, 32))))
    assert (score, reason) == (0.0, "the map is 32 x 16, the image is not")


def test_a_map_comes_back_to_one_of_256_levels():
    levels = np.arange(256).reshape(8, 32) / 255
    assert np.array_equal(text_to_map(map_to_text(levels)), levels)
    assert np.abs(text_to_map(map_to_text(levels * 0.999)) - levels * 0.999).max() <= 0.5 / 255 + 1e-12


def test_prompts_are_the_whole_image_the_box_or_the_middle():
    mask = np.zeros((20, 30), dtype=bool)
    mask[5:12, 8:19] = True
    assert prompt_of(mask, "whole") == Prompt(box=(0, 0, 30, 20))
    assert prompt_of(mask, "box") == Prompt(box=(8, 5, 19, 12))
    x, y = prompt_of(mask, "point").point
    assert (8 + 3 <= x <= 19 - 3, y) == (True, 8.5)
    for kind in ("whole", "box", "point"):
        assert prompt_of(np.zeros((20, 30), dtype=bool), kind) == Prompt(box=(0, 0, 30, 20))


@pytest.mark.parametrize("kind", ["whole", "box", "point"])
def test_a_message_says_which_image_and_where(kind):
    skill = skill_of("skin", prompt=kind)
    sample = skill.samples("test")[2]
    (message,) = skill.initial_messages(sample)
    assert from_message(message["content"]) == (sample.id, prompt_of(skill.picture(sample).mask, kind))
    assert np.array_equal(skill.image(sample.id), skill.picture(sample).image)


@pytest.mark.parametrize(
    "text", ["", "Write is_prime(n).", "[1]", json.dumps({"image": "a"}), '{"image": 1, "box": [1]}']
)
def test_another_skills_message_is_refused(text):
    with pytest.raises(ValueError, match="asked with an image and a prompt"):
        from_message(text)


def test_a_message_survives_being_read():
    for prompt in (Prompt(box=(1.0, 2.0, 3.5, 4.0)), Prompt(point=(0.5, 7.0))):
        assert from_message(to_message("skin/test/0001", prompt)) == ("skin/test/0001", prompt)


@pytest.mark.parametrize(
    ("foreground", "colours"),
    [("bright", [0, 0, 1, 1, 0]), ("coloured", [0, 1, 1, 1, 1]), ("red", [0, 0, 0, 1, 0])],
)
def test_masks_are_read_as_their_sets_colour_them(foreground, colours, tmp_path):
    # black, the dark red of VOC's palette, white, bright red, green
    pixels = np.array([[[0, 0, 0], [128, 0, 0], [255, 255, 255], [255, 0, 0], [0, 176, 0]]], dtype=np.uint8)
    if foreground == "bright":  # such masks are grey
        pixels = np.array([[0, 100, 255, 130, 20]], dtype=np.uint8)
    elif foreground == "red":
        pixels[0, 1] = (100, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    Image.new("RGB", (5, 1)).save(tmp_path / "image.png")
    picture = read_picture(tmp_path / "image.png", tmp_path / "mask.png", foreground)
    assert picture.mask.astype(int).tolist() == [colours]


def test_names_of_segmentation_skills_have_a_prefix_and_keys_have_none():
    assert {find(name).name for name in SEGMENTATION} >= DOMAINS.keys()
    assert all(row.model == "segmentation" and not row.images for row in SEGMENTATION.values())
    with pytest.raises(SkillUnavailable, match="there are segmentation:camouflage"):
        find("segmentation:cats")


def test_a_generated_domain_takes_no_data():
    with pytest.raises(DataUnavailable, match="polyp is generated and takes no data"):
        build_skill("segmentation:polyp", counts=COUNTS, source=Source(data="somewhere"))


def test_without_sandboxes_nothing_can_be_opened():
    with NoSandboxes() as none, pytest.raises(RuntimeError, match="opened no sandboxes"):
        none.shell()
