"""A whole run whose skills show images, step by step, without Docker; and what its configuration refuses."""

import threading
from pathlib import Path

import pytest
from PIL import Image

from cycleqd import steps
from cycleqd.base_model import BaseWeights
from cycleqd.config import ConfigError, load_config, parse_config
from cycleqd.evaluation.resources import find_vision, start_engine
from cycleqd.messages import images_of
from cycleqd.models.vision_language import SeeingEngine
from cycleqd.models.vision_language import base as small
from cycleqd.preflight import checks as preflight
from cycleqd.run.base_identity import BaseDiffers, identify, refuse_other_base
from cycleqd.run.names import AGGREGATE, BASE, RunRef
from cycleqd.run.store import RunStore
from cycleqd.skills.vision_questions.questions import read_easy_vqa
from cycleqd.skills.vision_questions.skill import TextVqaSkill
from cycleqd.steps.admission import admit
from cycleqd.steps.export import export_individual
from cycleqd.steps.refinement import conversations_of, solved_episodes
from cycleqd.steps.workspace import opened
from tests.vqa_data import easy_vqa, textvqa

__all__ = ["easy_vqa", "textvqa"]

SAMPLES = {"train": 6, "optimization": 2, "test": 3}


@pytest.fixture
def config(tiny_tied, tmp_path: Path, easy_vqa, textvqa, monkeypatch):
    monkeypatch.setattr(small, "STEPS", 2)
    vision = small.tiny_vision(tmp_path / "cache", tiny_tied, steps=2, batch=2)
    return parse_config(
        {
            "run_id": "seeing",
            "storage": str(tmp_path / "runs"),
            "generations": 2,
            "model": {"name": str(tiny_tied), "vision": str(vision), "dtype": "float32"},
            "skills": [{"name": "vqa", **SAMPLES}, {"name": "textvqa", "data": str(textvqa), **SAMPLES}],
            "search": {"kind": "cycleqd", "merge": "linear"},
            "experts": {"rank": 2, "epochs": 1, "global_batch": 3},
            "baselines": [{"method": "regmean", "scales": [1.0]}],
            "comparison": {"elites": False},
            "engine": {"kind": "transformers", "max_model_len": 256},
            "sandbox": {"max_containers": 8},
        },
        source="the test",
    )


def _scored(ws, individual, part):
    with ws.evaluator.evaluating(individual, part) as scope:
        if scope.missing:
            scope.load()
        threads = [threading.Thread(target=scope.evaluate, args=(skill,)) for skill in scope.missing]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {skill: record.score for skill, record in scope.records().items()}


def test_a_run_evolves_the_language_model_alone(config, tiny_tied, tmp_path: Path):
    run = RunRef(run_id=config.run_id, storage=config.storage)
    RunStore.of(run).open(config)
    with opened(run) as ws:
        admit(ws)
        for skill in config.skill_names:
            steps.gather_training_data(ws, skill)
            steps.train(ws, skill)
        steps.derive_experts(ws)
        part = steps.first_part(ws)
        steps.derive_baselines(ws)
        for individual in (BASE, "average", "expert-vqa", "expert-textvqa", "regmean-1"):
            _scored(ws, individual, part)
        steps.seed_archives(ws)
        for generation in range(config.generations):
            child = steps.breed(ws, generation)
            steps.commit(ws, generation, _scored(ws, child.id, part), ws.phases())
        steps.aggregate(ws)
        assert set(_scored(ws, AGGREGATE, "test")) == {"vqa", "textvqa"}
        assert isinstance(ws.evaluator.engine, SeeingEngine)
        assert ws.evaluator.base_identity.vision
        assert ws.evaluator.fingerprint("vqa", "test")["vision"] == ws.evaluator.base_identity.vision
        export_individual(ws.store, AGGREGATE, tmp_path / "final")
    store = RunStore(run.storage, run.run_id)
    (first, *_) = store.episodes(store.individual(AGGREGATE).genome, "vqa", "test")
    assert images_of(first.messages) == [first.messages[0]["image"]]
    assert set(BaseWeights(tmp_path / "final").names()) == set(BaseWeights(tiny_tied).names())


def test_the_final_model_learns_from_solved_questions_with_their_images(config, monkeypatch):
    monkeypatch.setattr(TextVqaSkill, "max_new_tokens", 4)
    values = config.model_dump(mode="json")
    values |= {
        "skills": values["skills"][1:],
        "baselines": [],
        "experts": {"rank": 8, "epochs": 10, "global_batch": 2, "learning_rate": 0.02},
        "refinement": {"epochs": 1},
    }
    run = RunRef(run_id=config.run_id, storage=config.storage)
    RunStore.of(run).open(parse_config(values, source="the test"))
    with opened(run) as ws:
        admit(ws)
        steps.gather_training_data(ws, "textvqa")
        steps.train(ws, "textvqa")
        steps.derive_experts(ws)
        for individual in (BASE, "expert-textvqa"):
            _scored(ws, individual, steps.first_part(ws))
        steps.seed_archives(ws)
        steps.aggregate(ws)
        solved = solved_episodes(ws.store)
        assert all(images_of(conversation) for one in solved for conversation in conversations_of(one.episode))
        shown = []
        look = ws.evaluator.sight.look
        monkeypatch.setattr(ws.evaluator.sight, "look", lambda image: shown.append(image) or look(image))
        steps.refine(ws)
        assert set(shown) == {image for one in solved for image in images_of(one.episode.messages)} != set()


def test_preflight_looks_at_the_vision_tower(config, monkeypatch):
    found = preflight._guarded("vision", config, preflight._vision)
    assert found.ok
    assert "an image takes 16 tokens" in found.detail
    text = config.model_copy(update={"model": config.model.model_copy(update={"vision": config.model.name})})
    wrong = preflight._guarded("vision", text, preflight._vision)
    assert not wrong.ok
    assert "expected a LLaVA checkpoint" in wrong.detail
    monkeypatch.setattr("cycleqd.skills.vision_questions.questions.find_spec", lambda name: None)
    lacking = preflight._guarded("skills", config, preflight._skills)
    assert not lacking.ok
    assert "pip install 'cycleqd[vqa]'" in lacking.detail


def test_another_vision_tower_than_the_run_began_with_is_refused(config, tiny_tied):
    now = identify("x", tiny_tied, vision=find_vision(config, tiny_tied))
    with pytest.raises(BaseDiffers, match="the vision tower is not the one"):
        refuse_other_base("seeing", now.model_copy(update={"vision": "0" * 64}), now)


@pytest.mark.parametrize("split_seed", [0, 5])
def test_the_small_vision_tower_learns_no_image_that_scores_children(
    config, tiny_tied, easy_vqa, tmp_path: Path, monkeypatch, split_seed
):
    for number in range(40):  # one pixel says which image it is
        path = easy_vqa / f"data/train/images/{number}.png"
        with Image.open(path) as opened:
            opened.putpixel((0, 0), (number, 0, 0))
            opened.save(path)
    learned = set()
    train = small._train

    def watched(out, words, tokenizer, shown, steps, batch):
        learned.update(int(one.image[0, 0, 0]) for one in shown)
        train(out, words, tokenizer, shown, 1, 2)

    monkeypatch.setattr(small, "_train", watched)
    monkeypatch.setattr("cycleqd.evaluation.resources.cache_dir", lambda: tmp_path / "towers")
    values = config.model_dump(mode="json")
    values["model"]["vision"] = "tiny-vision"
    values["skills"][0]["split_seed"] = split_seed
    seeing = parse_config(values, source="the test")
    assert find_vision(seeing, tiny_tied)
    samples = read_easy_vqa(split_seed).all
    scoring = {int(Path(one.image).stem) for one in samples if one.split == "optimization"}
    assert scoring
    assert learned == set(range(40)) - scoring


def test_without_skills_that_show_images_a_vision_tower_is_not_even_looked_for(config, tiny_tied, monkeypatch):
    values = config.model_dump(mode="json") | {"skills": [{"name": "jsonl", "data": "x"}], "baselines": []}
    values["experts"]["source"] = {"jsonl": "somewhere"}
    text = parse_config(values, source="the test")
    assert find_vision(text, tiny_tied) is None
    engine = start_engine(text, tiny_tied)
    assert not isinstance(engine, SeeingEngine)
    engine.close()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": {}}, "vqa shows images: set model.vision, e.g. to tiny-vision"),
        (
            {
                "engine": {"kind": "server", "urls": ["http://localhost:1"], "batching": "throughput"},
                "baselines": [],
            },
            "servers are shown no images",
        ),
        ({"model": {"kind": "segmentation", "name": "tiny-sam"}}, "vqa is a skill of chat models"),
    ],
)
def test_what_cannot_be_shown_images_is_refused(config, change, said):
    with pytest.raises(ConfigError) as refused:
        parse_config({**config.model_dump(mode="json"), **change}, source="the test")
    assert said in str(refused.value)


def test_the_shipped_profiles_of_four_skills_are_whole():
    assert load_config("vlm-demo").skill_names == ("coding", "os", "db", "vqa")
    assert load_config("paper-vqa").skill_names == ("mbpp_plus", "agentbench_os", "agentbench_db", "textvqa")
