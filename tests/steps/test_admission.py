"""A run that is continued with something else than it began with; the engine and the sandboxes are stand-ins."""

import json
import os
import shutil
from pathlib import Path

import pytest

import cycleqd.evaluation.fingerprint as fingerprint_module
from cycleqd import steps
from cycleqd.config import RunConfig
from cycleqd.evaluation.agreement import OtherScores
from cycleqd.evaluation.play import Evaluation, samples_hash
from cycleqd.evaluation.scope import Scope
from cycleqd.run.base_identity import BaseDiffers, BaseUnknown
from cycleqd.run.genomes import add_individual, save_bases
from cycleqd.run.lease import Lease
from cycleqd.run.names import BASE, expert_id
from cycleqd.run.records import EpisodeRecord, EvaluationRecord, IndividualRecord, SampleScore, Score
from cycleqd.run.store import RunStore, StoreError
from cycleqd.run.upkeep import recover, verify
from cycleqd.sandbox import Limits
from cycleqd.skills.suites.coding import CodingSkill
from cycleqd.skills.suites.os_shell import OsSkill
from cycleqd.steps.admission import admit
from cycleqd.steps.workspace import Workspace
from cycleqd.task_vector import build_bases
from tests.run.upkeep.toy_run import commit
from tests.toy_experts import SKILLS, lora_factors

GENERATIONS = 3


class StandIn:
    """Holds any weights that it is told to."""

    name = "stand-in"
    loaded = BASE

    def load(self, genome, task_vector):
        self.loaded = genome

    def busy_seconds(self):
        return 0.0

    def close(self):
        pass


@pytest.fixture
def base(tiny_tied, tmp_path):
    """A base model of the test's own, to be changed."""
    return Path(shutil.copytree(tiny_tied, tmp_path / "base"))


@pytest.fixture
def asked(base, tmp_path):
    """What every start of the run asks for."""
    return {
        "run_id": "toy",
        "storage": str(tmp_path / "runs"),
        "generations": GENERATIONS,
        "model": {"name": str(base), "dtype": "float32"},
        "engine": {"kind": "transformers"},
        "skills": [{"name": name, "train": 1, "optimization": 2, "test": 2} for name in SKILLS],
    }


@pytest.fixture(autouse=True)
def played(monkeypatch):
    """Names what was played; scores follow from weights, skill and sample."""
    names = []

    def evaluate(skill, split, engine, *_, **__):
        names.append((engine.loaded[:8], skill.name, split))
        samples = skill.samples(split)
        luck = [(int(engine.loaded.encode().hex(), 16) + i + len(skill.name)) % 5 / 4 for i in range(len(samples))]
        record = EvaluationRecord(
            genome=engine.loaded, skill=skill.name, split=split, score=Score.of(luck),
            samples=[
                SampleScore(id=sample.id, score=score, reason="r", turns=1, tokens=1)
                for sample, score in zip(samples, luck, strict=True)
            ],
            data_hash=samples_hash(samples), engine=engine.name, batching="strict", tokens=1, seconds=0.1,
        )  # fmt: skip
        episodes = [
            EpisodeRecord(sample=sample.id, template="t", score=score, reason="r", messages=[])
            for sample, score in zip(samples, luck, strict=True)
        ]
        return Evaluation(record, episodes)

    monkeypatch.setattr("cycleqd.evaluation.scope.evaluate", evaluate)
    monkeypatch.setattr("cycleqd.evaluation.judges._version", lambda *judges: "1" * 64)
    return names


def start(asked, *, rescore=False, generations=GENERATIONS):
    """What `cycleqd run` does with the run, without Prefect, containers and training."""
    config = RunConfig.model_validate(asked)
    store = RunStore(config.storage, config.run_id)
    store.open(config, rescore=rescore)
    lease = Lease.acquire(store)
    try:
        recover(store)
        ws = Workspace(store)
        if rescore:
            ws.adopt(config, rescore=True)
        admit(ws, rescore=rescore)
        ws.evaluator._engines[0], ws.evaluator._sandboxes = StandIn(), StandIn()
        if not store.exists("bases.safetensors"):
            bases, experts = build_bases(lora_factors(0))
            save_bases(store, bases)
            for skill, vector in experts.items():
                add_individual(store, vector, IndividualRecord(id=expert_id(skill), genome=""))
        for individual in (BASE, *map(expert_id, SKILLS)):
            score(ws, individual, "optimization")
        steps.seed_archives(ws)
        steps.rebuild_search(ws)
        for generation in range(len(store.generations()), generations):
            score(ws, steps.breed(ws, generation).id, "optimization")
            commit(ws, generation)
        if generations == GENERATIONS:
            score(ws, steps.aggregate(ws).id, "test")
    finally:
        lease.release()
    return store


def score(ws, individual, split):
    with ws.evaluator.evaluating(individual, split) as scope:
        scope.load()
        for skill in SKILLS:
            scope.evaluate(skill)


def prompt(monkeypatch, base):
    monkeypatch.setattr("cycleqd.skills.suites.coding.SYSTEM_PROMPT", "Write code.")


def limits(monkeypatch, base):
    monkeypatch.setattr("cycleqd.evaluation.evaluator.limits_of", lambda settings: Limits(sql_rows=7))


def stops(monkeypatch, base):
    monkeypatch.setattr(CodingSkill, "stop", ("\n\n",))


def tokens(monkeypatch, base):
    monkeypatch.setattr(CodingSkill, "max_new_tokens", 41)


def turns(monkeypatch, base):
    monkeypatch.setattr(OsSkill, "max_turns", 9)


def judge(monkeypatch, base):
    monkeypatch.setattr("cycleqd.evaluation.judges._version", lambda *judges: "2" * 64)


def image(monkeypatch, base):
    monkeypatch.setattr("cycleqd.evaluation.fingerprint.image_tag", lambda name: f"cycleqd-{name}:other")


def engine(monkeypatch, base):
    monkeypatch.setattr(
        "cycleqd.evaluation.evaluator.pinned",
        lambda config: config.model_copy(update={"engine": config.engine.model_copy(update={"kind": "vllm"})}),
    )


def engine_version(monkeypatch, base):
    known = fingerprint_module.installed_version
    monkeypatch.setattr(
        "cycleqd.evaluation.fingerprint.installed_version", lambda name: "9.9" if name == "torch" else known(name)
    )


CHANGES = {
    prompt: r"prompts was \w{12}, now \w{12} \(coding\)",
    limits: r"limits\.sql_rows was 1000, now 7 \(coding, db, os\)",
    stops: r"stops was .*, now \[\"\\n\\n\"\] \(coding\)",
    tokens: r"max_new_tokens was 40, now 41 \(coding\)",
    turns: r"turns was \d, now 9 \(os\)",
    judge: r"judge was 111111111111, now 222222222222 \(coding, db, os\)",
    image: r"image\.python was cycleqd-python:\w+, now cycleqd-python:other \(coding\)",
    engine: r"engine was transformers, now vllm",
    engine_version: r"engine_version was .*, now .*torch 9\.9",
}


def objects(store):
    ours = (key for key in store.walk() if not key.endswith(".sha256"))
    return {key for key in ours if not key.startswith(("sessions/", "metrics/", "lease.json", "."))}


@pytest.mark.parametrize("generations", [0, 2, GENERATIONS])
def test_a_run_that_is_continued_with_the_same_repeats_nothing(asked, played, generations):
    start(asked, generations=generations)
    played.clear()
    store = start(asked, generations=generations)
    assert played == []
    for key in store.walk("evaluations"):
        if key.endswith(".json"):
            record = store.record(EvaluationRecord, key)
            assert {"prompts", "judge", "engine", "base", "tokenizer"} <= record.fingerprint.keys()


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("generations", [0, GENERATIONS])
def test_a_change_of_what_scores_depend_on_is_refused_and_named(asked, base, monkeypatch, change, generations):
    store = start(asked, generations=generations)
    before = objects(store)
    with monkeypatch.context() as patch:
        change(patch, base)
        with pytest.raises(OtherScores, match=CHANGES[change]) as refusal:
            start(asked)
        assert "\n" not in str(refusal.value)
    assert objects(store) == before
    start(asked)  # what changed was restored


@pytest.mark.parametrize("change", [prompt, judge], ids=lambda change: change.__name__)
def test_whoever_asks_for_it_gets_new_scores_and_keeps_the_old_ones(asked, base, monkeypatch, played, change):
    store = start(asked)
    commits = {key: store.read_bytes(key) for key in store.keys("generations")}
    before = {
        key: store.read_bytes(key) for key in objects(store) if key.startswith(("evaluations/", "individuals/g"))
    }
    change(monkeypatch, base)
    played.clear()
    start(asked, rescore=True)
    skills = {"coding"} if change is prompt else set(SKILLS)
    assert {skill for _, skill, _ in played} == skills
    assert len(store.generations()) == GENERATIONS
    for key, content in commits.items():
        assert store.read_bytes(f"superseded/1/{key}") == content
    for key, content in before.items():
        kept = store.exists(key) and store.read_bytes(key) == content
        assert kept or store.read_bytes(f"superseded/1/{key}") == content, key
    reason = store.read_json("superseded/1/reason.json")
    assert reason["search"] is True
    assert any(part.startswith(("prompts", "judge")) for part in reason["changed"])
    assert verify(store).faults == []
    played.clear()
    start(asked)
    assert played == []


def test_new_scores_of_the_test_split_alone_leave_the_search_as_it_is(asked, played):
    store = start(asked)
    commits = {key: store.read_bytes(key) for key in store.keys("generations")}
    genome = store.individual("aggregate").genome
    key = f"evaluations/{genome}/os-test.json"
    record = store.record(EvaluationRecord, key)
    store._write(key, record.model_copy(update={"fingerprint": record.fingerprint | {"judge": "0"}}), replace=True)
    with pytest.raises(OtherScores, match=r"judge was 0, now 1{12} \(os\)"):
        start(asked)
    played.clear()
    start(asked, rescore=True)
    assert played == [(genome[:8], "os", "test")]
    assert {key: store.read_bytes(key) for key in store.keys("generations")} == commits
    assert store.exists(f"superseded/1/{key}")
    assert verify(store).faults == []


@pytest.mark.parametrize("steps_until_kill", range(1, 60, 7))
def test_setting_scores_aside_may_be_killed_anywhere_and_is_refused_or_finished_by_the_next(
    asked, base, monkeypatch, steps_until_kill
):
    reference = dict(asked, run_id="reference")
    start(asked)
    start(reference)
    judge(monkeypatch, base)
    left = [steps_until_kill]
    removing = RunStore.remove

    def remove(self, key):
        left[0] -= 1
        if left[0] == 0:
            raise SystemExit("killed")
        removing(self, key)

    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "remove", remove)
        with pytest.raises(SystemExit):
            start(asked, rescore=True)
    with pytest.raises(OtherScores):
        start(asked)
    store, expected = start(asked, rescore=True), start(reference, rescore=True)
    for generation in range(GENERATIONS):
        key = f"archives/{generation:05d}.json"
        assert store.read_bytes(key) == expected.read_bytes(key)
    assert verify(store).faults == []
    old = {key.partition("/")[2].partition("/")[2] for key in store.walk("superseded") if "/generations/" in key}
    assert {f"generations/{generation:05d}.json" for generation in range(GENERATIONS)} <= old


def weights(base):
    path = base / "model.safetensors"
    state = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # as cp -p leaves it


def settings(base):
    path = base / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rms_norm_eps": 0.5}))


def template(base):
    path = base / "chat_template.jinja"
    path.write_text(path.read_text() + " ")


def vocabulary(base):
    path = base / "tokenizer.json"
    path.write_text(path.read_text().replace('"~"', '"\\u00e4"'))


FILES = {
    weights: "model.safetensors was",
    settings: "config.json was",
    template: "chat_template.jinja was",
    vocabulary: "tokenizer.json was",
}


@pytest.mark.parametrize("change", FILES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("rescore", [False, True])
def test_another_base_or_tokenizer_under_the_same_path_is_refused_whatever_is_asked(asked, base, change, rescore):
    store = start(asked)
    before = objects(store)
    change(base)
    with pytest.raises(BaseDiffers, match=FILES[change]):
        start(asked, rescore=rescore)
    assert objects(store) == before


def test_who_saved_the_base_does_not_matter(asked, base):
    start(asked)
    path = base / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"transformers_version": "0.0", "_name_or_path": "x"}))
    (base / "README.md").write_text("new")
    start(asked)


def test_the_first_start_writes_down_the_base_model(asked, base):
    store = start(asked, generations=0)
    record = store.base()
    assert record.name == str(base)
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= record.files.keys()


def test_a_base_record_that_is_gone_is_written_again_where_the_scores_are_of_this_base(asked, played):
    store = start(asked)
    before = store.read_bytes("base.json")
    store.remove("base.json")
    played.clear()
    start(asked)
    assert played == []
    assert store.read_bytes("base.json") == before


@pytest.mark.parametrize(("change", "part"), [(weights, "base"), (template, "tokenizer")])
@pytest.mark.parametrize("rescore", [False, True])
def test_without_its_base_record_a_run_with_scores_of_another_base_is_refused(asked, base, change, part, rescore):
    store = start(asked)
    store.remove("base.json")
    before = objects(store)
    change(base)
    with pytest.raises(BaseDiffers, match=rf"base\.json is gone, .* \({part} was \w{{12}}, now \w{{12}}\)"):
        start(asked, rescore=rescore)
    assert objects(store) == before


def test_without_its_base_record_a_run_with_experts_and_no_scores_is_refused(asked):
    store = start(asked, generations=0)
    store.remove("base.json")
    for key in [*store.walk("evaluations"), *store.walk("generations")]:
        if not key.endswith(".sha256"):
            store.remove(key)
    before = objects(store)
    with pytest.raises(BaseUnknown, match=r"^run 'toy': base\.json is gone, and no score says .* Restore base\.json"):
        start(asked)
    assert objects(store) == before


def without_fingerprints(store):
    for key in store.walk("evaluations"):
        if key.endswith(".json"):
            content = store.read_json(key)
            del content["fingerprint"]
            store.write_json(key, content, replace=True)
    store.remove("base.json")


def test_a_run_of_a_version_without_fingerprints_goes_on_with_a_warning(asked, base, monkeypatch, played, caplog):
    store = start(asked, generations=2)
    without_fingerprints(store)
    played.clear()
    start(asked)
    assert "kept no fingerprints" in caplog.text
    assert len(store.generations()) == GENERATIONS
    assert len(played) == 6  # one child and the final model
    assert store.base() is not None
    assert verify(store).faults == []
    judge(monkeypatch, base)  # of the new records everything is known
    with pytest.raises(OtherScores, match="6 of its scores"):
        start(asked)


def test_scores_without_fingerprints_are_measured_anew_when_asked_for(asked, played):
    store = start(asked)
    without_fingerprints(store)
    count = len(played)
    played.clear()
    start(asked, rescore=True)
    assert len(played) == count
    assert len(store.generations()) == GENERATIONS


def test_one_evaluation_is_refused_also_by_a_task_that_runs_alone(asked, base, monkeypatch):
    store = start(asked)
    judge(monkeypatch, base)
    scope = Scope(Workspace(store).evaluator, "aggregate", "test")
    with pytest.raises(OtherScores, match="judge"):
        scope.evaluate("os")


def test_settings_that_only_scores_depend_on_may_change_when_scores_are_measured_anew(asked, played):
    store = start(asked)
    changed = asked | {"sandbox": {"memory_mb": 128}, "engine": {"kind": "transformers", "max_model_len": 512}}
    with pytest.raises(StoreError, match=r"sandbox\.memory_mb: was 256, now 128"):
        start(changed)
    played.clear()
    start(changed, rescore=True)
    assert len(played) == 3 * (1 + 3 + GENERATIONS + 1)
    assert store.config().sandbox.memory_mb == 128
    start(changed)
    with pytest.raises(StoreError, match=r"sandbox\.memory_mb: was 128, now 256"):
        start(asked)


def test_what_is_auto_stays_what_it_was_at_the_first_start(asked, monkeypatch):
    asked = asked | {"model": {"name": asked["model"]["name"]}, "engine": {"kind": "auto"}}
    monkeypatch.setattr("cycleqd.models.hardware.native_dtype", lambda: "float32")
    monkeypatch.setattr("cycleqd.models.hardware.find_spec", lambda name: None)
    store = start(asked)
    assert (store.config().engine.kind, store.config().model.dtype) == ("transformers", "float32")
    monkeypatch.setattr("cycleqd.models.hardware.native_dtype", lambda: "bfloat16")
    monkeypatch.setattr("cycleqd.models.hardware.find_spec", lambda name: object())
    start(asked)
    start(asked | {"generations": 9})  # what is kept of a later start does not undo it
    assert (store.config().engine.kind, store.config().model.dtype) == ("transformers", "float32")
