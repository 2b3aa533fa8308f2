"""A whole run of a segmentation model, step by step and without Docker: pairs, resuming, report, table."""

import json
import threading

import pytest
from transformers import AutoModel

from cycleqd import steps
from cycleqd.config import ConfigError, load_config, parse_config
from cycleqd.evaluation.resources import find_base
from cycleqd.experiment.masks import to_figure
from cycleqd.experiment.pairs import collect_pairs, correlation, experts_run, pair_runs, to_markdown
from cycleqd.models.segmentation.base import tiny_sam
from cycleqd.preflight import checks as preflight
from cycleqd.report.write import write_report
from cycleqd.run.names import AGGREGATE, BASE, RunRef
from cycleqd.run.store import RunStore
from cycleqd.skills.segmentation.metrics import METRICS
from cycleqd.steps.admission import admit
from cycleqd.steps.export import export_individual
from cycleqd.steps.workspace import opened

SKILL = {"train": 3, "optimization": 2, "test": 3}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_sam(tmp_path_factory.mktemp("cache"), steps=2, batch=2)


@pytest.fixture
def config(base, tmp_path):
    return parse_config(
        {
            "run_id": "seg",
            "storage": str(tmp_path / "runs"),
            "generations": 2,
            "model": {"kind": "segmentation", "name": str(base), "dtype": "float32"},
            "skills": [{"name": f"segmentation:{name}", **SKILL} for name in ("polyp", "leaf")],
            "segmentation": {"image_size": 32, "prompt": "box"},
            "search": {"kind": "cycleqd", "merge": "linear"},
            "experts": {"rank": 2, "epochs": 1, "global_batch": 3},
            "baselines": [{"method": "tsv", "scales": [1.0]}],
            "comparison": {"elites": False},
            "sandbox": {"max_containers": 8},
        },
        source="the test",
    )


def begin(config):
    run = RunRef(run_id=config.run_id, storage=config.storage)
    RunStore.of(run).open(config)
    return run


def scored(ws, individual, part):
    """Evaluates as the flow does: all skills at once, a thread for each."""
    with ws.evaluator.evaluating(individual, part) as scope:
        if scope.missing:
            scope.load()
        threads = [threading.Thread(target=scope.evaluate, args=(skill,)) for skill in scope.missing]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {skill: record.score for skill, record in scope.records().items()}


def train(ws):
    for skill in ws.config.skill_names:
        if skill in ws.config.trained:
            steps.gather_training_data(ws, skill)
            steps.train(ws, skill)
        else:
            steps.take_expert(ws, skill)
    steps.derive_experts(ws)


def play(run, until):
    """Plays a run up to a generation, in a workspace of its own as a new process would."""
    with opened(run) as ws:
        admit(ws)
        train(ws)
        part = steps.first_part(ws)
        steps.derive_baselines(ws)
        for individual in (BASE, "average", *(f"expert-{skill}" for skill in ws.config.skill_names), "tsv-1"):
            scored(ws, individual, part)
        steps.seed_archives(ws)
        for generation in range(len(ws.store.generations()), until):
            child = steps.breed(ws, generation)
            steps.commit(ws, generation, scored(ws, child.id, part), ws.phases())
        if until == ws.config.generations:
            scored(ws, steps.aggregate(ws).id, part)
            for individual in steps.compared(ws):
                scored(ws, individual, "test")
        ws.save_session()
    return RunStore(run.storage, run.run_id)


def test_a_stopped_run_ends_as_an_undisturbed_one_and_reports(config, tmp_path, no_figures):
    whole = play(begin(config), 2)
    other = config.model_copy(update={"storage": str(tmp_path / "others")})
    run = begin(other)
    play(run, 1)
    resumed = play(run, 2)
    for one, two in zip(whole.generations(), resumed.generations(), strict=True):
        assert (one.genome, one.scores, one.parents, one.cells) == (two.genome, two.scores, two.parents, two.cells)
    assert whole.individual(AGGREGATE).genome == resumed.individual(AGGREGATE).genome

    # Every measure stands beside the score.
    record = whole.evaluation(whole.individual(AGGREGATE).genome, "polyp", "test")
    assert record.engine == "segmenter"
    assert set(record.samples[0].extra) == set(METRICS) - {"dice"}
    assert whole.read_json("experts/similarity.json").keys() == {"polyp, leaf"}
    write_report(whole)
    assert "polyp" in whole.read_bytes("report/report.md").decode()

    export_individual(whole, AGGREGATE, tmp_path / "model")
    assert type(AutoModel.from_pretrained(tmp_path / "model")).__name__ == "SamModel"
    assert "mask-generation" in (tmp_path / "model" / "README.md").read_text()


def test_pairs_take_their_experts_from_one_run_and_make_a_table(config):
    config = config.model_copy(update={"generations": 1, "baselines": ()})
    four = load_config("sam-demo")
    assert len(list(pair_runs(four, 0))) == len({pair.config.run_id for pair in pair_runs(four, 0)}) == 6
    with opened(begin(experts_run(config, 0))) as ws:
        admit(ws)
        train(ws)
    pairs = list(pair_runs(config, 0))
    assert [(pair.a, pair.b) for pair in pairs] == [("polyp", "leaf")]
    assert collect_pairs(config, [0]).unfinished == [pair.config.run_id for pair in pairs]
    for pair in pairs:
        with opened(begin(pair.config)) as ws:
            admit(ws)
            train(ws)
            part = steps.first_part(ws)
            for individual in (BASE, f"expert-{pair.a}", f"expert-{pair.b}"):
                scored(ws, individual, part)
            steps.seed_archives(ws)
            child = steps.breed(ws, 0)
            steps.commit(ws, 0, scored(ws, child.id, part), ws.phases())
            steps.aggregate(ws)
            for individual in steps.compared(ws):
                scored(ws, individual, "test")
    table = collect_pairs(config, [0])
    assert table.unfinished == []
    assert set(json.loads(table.model_dump_json())["pairs"][0]) == {
        "a", "b", "score_a", "score_b", "mean", "similarity"
    }  # fmt: skip
    for row in table.pairs:
        low, high = table.intervals[f"{row.a}, {row.b}"]
        assert low <= row.mean <= high
        assert 0 < row.similarity <= 1
    assert set(table.experts) == {"polyp", "leaf"}
    assert "| polyp and leaf |" in to_markdown(table)
    assert to_figure(pairs[0].config, samples=1).startswith(b"\x89PNG")


def test_correlation_needs_three_points_that_differ():
    assert correlation([1, 2, 3], [2, 4, 6]) == pytest.approx(1.0)
    assert correlation([1, 2], [2, 4]) is None
    assert correlation([1, 1, 1], [2, 4, 6]) is None


def test_preflight_of_a_segmentation_run_asks_no_docker_and_no_tokenizer(config, monkeypatch):
    monkeypatch.setattr(preflight, "probe", None)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    found = {one.name: one for one in preflight.check(config)}
    assert [one for one in found.values() if not one.ok] == []
    assert "no skill acts in a container" in found["docker"].detail


def test_preflight_refuses_a_base_that_is_no_sam(config, tiny_tied):
    model = config.model.model_copy(update={"name": str(tiny_tied)})
    wrong = config.model_copy(update={"model": model})
    found = preflight._guarded("model", wrong, preflight._model)
    assert not found.ok
    assert "segmentation needs a SAM" in found.detail


def test_preflight_names_a_data_set_that_is_not_there(config, tmp_path, monkeypatch):
    monkeypatch.setenv("CYCLEQD_DATA_DIR", str(tmp_path))
    found = preflight._guarded("skills", load_config("paper-sam"), preflight._skills)
    assert not found.ok
    assert "COD10K" in found.detail


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"skills": [{"name": "coding"}]}, "coding is a skill of chat models, and model.kind is segmentation"),
        ({"model": {}}, "polyp is a skill of segmentation models, and model.kind is chat"),
        ({"baselines": [{"method": "regmean", "scales": [1.0]}]}, "regmean reads conversations"),
        (
            {"experts": {"data": {"segmentation:leaf": {"sources": [{"recipe": "chat", "path": "x"}]}}}},
            "remove experts.data.leaf",
        ),
        ({"engine": {"kind": "vllm"}}, "a model that segments computes in transformers"),
        ({"segmentation": {"prompt": "text"}}, "segmentation.prompt"),
        ({"skills": [{"name": "segmentation:polyp", "data": "here"}]}, "is generated and takes no data"),
        ({"skills": [{"name": "segmentation:dogs"}]}, "there are segmentation:camouflage"),
    ],
)
def test_a_configuration_that_mixes_kinds_is_refused(config, change, said):
    with pytest.raises(ConfigError) as refused:
        parse_config({**config.model_dump(mode="json"), **change}, source="the test")
    assert said in str(refused.value)


def test_the_small_base_is_found_by_its_name(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("cycleqd.models.segmentation.base.tiny_sam", lambda cache: asked.append(cache) or tmp_path)
    monkeypatch.setattr("cycleqd.models.segmentation.base.check_sam", lambda folder: asked.append(folder))
    assert find_base(load_config("sam-demo")) == tmp_path
    assert asked[1] == tmp_path
