"""The skills of questions about images: reading, splitting, showing, judging, and what is refused."""

import json

import numpy as np
import pytest

from cycleqd.messages import images_of
from cycleqd.sandbox import NoSandboxes
from cycleqd.skills.benchmarks.benchmark import DataUnavailable, Source
from cycleqd.skills.building import build_skill
from cycleqd.skills.oracle import best_score, demonstrations
from cycleqd.skills.registry import find

SPLITS = ("train", "optimization", "test")


def _textvqa(folder, **source):
    return build_skill("textvqa", counts={}, source=Source(data=str(folder), **source))


def test_both_rows_say_that_they_show_images():
    assert all(find(name).sees and find(name).model == "chat" and not find(name).images for name in ("vqa", "textvqa"))
    assert not find("coding").sees


def test_textvqa_is_read_as_published(textvqa):
    skill = _textvqa(textvqa)
    sizes = {split: len(skill.samples(split)) for split in SPLITS}
    assert sizes["test"] == 8
    assert sizes["train"] + sizes["optimization"] == 60
    assert sizes["optimization"] > 0
    assert skill.origin.version == "0.5.1"
    sample = skill.samples("test")[0]
    (message,) = skill.initial_messages(sample)
    assert message["content"].startswith("what does sign")
    assert images_of([message]) == [f"textvqa/train_images/{sample.data['image'].split('/')[1]}"]
    assert skill.image(message["image"]).shape == (48, 48, 3)


def test_no_image_is_in_two_splits_and_samples_stay_where_they_are(textvqa):
    skill, again = _textvqa(textvqa), _textvqa(textvqa)
    images = [{sample.data["image"] for sample in skill.samples(split)} for split in SPLITS]
    assert not images[0] & images[1]
    assert not (images[0] | images[1]) & images[2]
    assert [skill.samples(split) for split in SPLITS] == [again.samples(split) for split in SPLITS]
    fewer = build_skill("textvqa", counts={"train": 5}, source=Source(data=str(textvqa)))
    assert list(fewer.samples("train")) == list(skill.samples("train"))[:5]
    assert _textvqa(textvqa, split_seed=1).samples("optimization") != skill.samples("optimization")


def test_people_who_disagree_do_not_keep_an_expert_from_learning(textvqa):
    content = json.loads((textvqa / "TextVQA_0.5.1_train.json").read_text())
    for row in content["data"]:
        row["answers"] = [f"answer {number}" for number in range(9)] + ["Answer 0"]
    (textvqa / "TextVQA_0.5.1_train.json").write_text(json.dumps(content))
    skill = _textvqa(textvqa)
    samples = skill.samples("train")[:3]
    assert {round(best_score(skill, sample), 9) for sample in samples} == {0.6}
    for conversation in demonstrations(skill, samples, NoSandboxes()):
        assert conversation[-1] == {"role": "assistant", "content": "answer 0"}
        assert len(images_of(conversation)) == 1


def test_easy_vqa_comes_from_its_package(easy_vqa):
    skill = build_skill("vqa", counts={"train": 8, "optimization": 2, "test": 6})
    assert [len(skill.samples(split)) for split in SPLITS] == [8, 2, 6]
    assert {sample.template for sample in skill.samples("test")} == {"colour", "yes-no"}
    image = skill.image(skill.initial_messages(skill.samples("train")[0])[0]["image"])
    assert (image.shape, image.dtype) == ((64, 64, 3), np.uint8)
    with pytest.raises(KeyError):
        skill.image("vqa/../../../etc/passwd")


@pytest.mark.parametrize(("reply", "score"), [("STOP!", 1.0), ("go", 0.3), ("", 0.0), ("stop " * 200, 0.0)])
def test_a_reply_is_judged_as_textvqa_does(textvqa, reply, score):
    skill = _textvqa(textvqa)
    with skill.session(NoSandboxes()) as session:
        episode = session.start(skill.samples("test")[0])
        assert episode.act(reply)
        assert episode.judge().score == pytest.approx(score)


def test_the_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr("cycleqd.skills.vision_questions.questions.find_spec", lambda name: None)
    with pytest.raises(DataUnavailable, match=r"pip install 'cycleqd\[vqa\]'"):
        build_skill("vqa", counts={})


def test_unfit_data_is_one_error_that_names_what_is_wrong(textvqa):
    images = sorted((textvqa / "train_images").iterdir())
    images[0].unlink()
    images[1].write_bytes(b"no image")
    with pytest.raises(DataUnavailable, match=r"2 of 34 images .*0\.jpg is missing"):
        _textvqa(textvqa)


def test_another_number_of_questions_than_published_is_refused(textvqa, monkeypatch):
    monkeypatch.setattr("cycleqd.skills.vision_questions.questions.PUBLISHED", {"train": 61, "val": 8})
    with pytest.raises(DataUnavailable, match="60 questions, published are 61"):
        _textvqa(textvqa)


@pytest.mark.parametrize(
    "change", [{"answers": ["stop"]}, {"image_id": "../../secret"}, {"question": None, "image_id": None, "answers": 3}]
)
def test_a_row_that_is_no_question_is_refused(textvqa, change):
    file = textvqa / "TextVQA_0.5.1_val.json"
    content = json.loads(file.read_text())
    content["data"][3] |= change
    file.write_text(json.dumps(content))
    with pytest.raises(DataUnavailable, match=r"TextVQA_0\.5\.1_val\.json"):
        _textvqa(textvqa)


def test_a_folder_without_the_files_and_unknown_exclusions_are_refused(textvqa, tmp_path):
    with pytest.raises(DataUnavailable, match="no folder with"):
        _textvqa(tmp_path / "nowhere")
    with pytest.raises(DataUnavailable, match="does not have"):
        _textvqa(textvqa, excluded=frozenset({"textvqa/val/9999"}))
    assert len(_textvqa(textvqa, excluded=frozenset({"textvqa/val/100"})).samples("test")) == 7
