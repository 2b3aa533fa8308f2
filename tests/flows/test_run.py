"""Whole runs in real sandboxes, under Prefect without a server: of a random model, and one of the real one."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cycleqd.config import RunConfig
from cycleqd.experts import TrainingSummary
from cycleqd.report import summarise
from cycleqd.run.names import RunRef
from cycleqd.run.store import RunStore, StoreError
from cycleqd.steps.workspace import opened
from flows.evolve import evolve
from flows.main import cycleqd_run
from flows.seed_archives import seed_archives
from flows.train_experts import train_experts
from tests.live_prefect import small_configuration
from tests.models.causal_lm.played_server import Played
from tests.tracking.event_files import numbers_of

pytestmark = [pytest.mark.docker, pytest.mark.slow]

GENERATIONS = 4
OPTIMIZATION = 2


def configuration(folder):
    values = {"generations": GENERATIONS, "comparison": {"elites": False}}
    values |= {"baselines": [{"method": "tsv", "scales": [0.7, 1.0]}]}
    values |= {"trackers": [{"kind": "tensorboard", "place": str(folder / "tracked")}]}
    return RunConfig.model_validate(small_configuration(folder, "small", **values))


def tracked(store):
    """What a run told its tracker, by name."""
    (folder,) = Path(store.config().trackers[0].place).iterdir()
    return {
        name: ([step for step, _ in found], [value for _, value in found])
        for name, found in numbers_of(folder).items()
    }


@pytest.fixture(scope="session")
def finished(tmp_path_factory, prefect_harness):
    """One finished run, shared by the tests that only look at it."""
    config = configuration(tmp_path_factory.mktemp("runs"))
    cycleqd_run(config)
    return RunStore(config.storage, config.run_id)


def test_every_generation_has_a_record_with_scores_of_all_skills(finished):
    records = finished.generations()
    assert [record.generation for record in records] == list(range(GENERATIONS))
    assert [record.archive for record in records] == ["coding", "os", "db", "coding"]
    for record in records:
        assert set(record.scores) == {"coding", "os", "db"}
        assert all(score.n == OPTIMIZATION for score in record.scores.values())
        assert len(record.parents) == 2


def test_children_are_mutated_merges_of_the_active_archives_individuals(finished):
    known = {"expert-coding", "expert-os", "expert-db"}
    for record in finished.generations():
        child = finished.individual(record.individual)
        assert set(child.parents) <= known
        known.add(child.id)
        assert sum(child.coefficients) == pytest.approx(1)
        assert child.mutation["kind"] == "svd"


def test_every_evaluation_left_readable_episodes(finished):
    record = finished.generations()[0]
    for skill in ("coding", "os", "db"):
        episodes = finished.episodes(record.genome, skill, "optimization")
        assert len(episodes) == OPTIMIZATION
        samples = {sample.id: sample for sample in finished.evaluation(record.genome, skill, "optimization").samples}
        for episode in episodes:
            replies = [message for message in episode.messages if message["role"] == "assistant"]
            assert len(replies) == samples[episode.sample].turns
            assert episode.reason == samples[episode.sample].reason


def test_summary_scores_every_row_on_the_test_split(finished):
    summary = json.loads(finished.read_bytes("report/summary.json"))
    rows = summary["splits"]["test"]
    assert {"base", "average", "cycleqd", "expert:coding", "expert:os", "expert:db"} <= set(rows)
    for row in rows.values():
        assert row["mean"] == pytest.approx(sum(row[skill]["score"] for skill in ("coding", "os", "db")) / 3)
    assert summary["generations"] == GENERATIONS
    seconds = summary["wall_seconds"]
    parts = sum(seconds[phase] for phase in ("train", "generate", "sandbox", "merge", "other"))
    assert seconds["total"] == pytest.approx(parts)
    assert min(seconds.values()) > 0


def test_the_final_model_is_compared_with_merges_without_a_search(finished):
    summary = summarise(finished)
    assert summary.evaluations["baseline:tsv"] == 2
    assert summary.individuals["baseline:tsv"] in {"tsv-0.7", "tsv-1"}
    assert {row for rows in summary.splits.values() for row in rows} >= {"average", "baseline:tsv"}
    assert summary.final_against_best_baseline[0].skill == "mean"
    loser = ({"tsv-0.7", "tsv-1"} - {summary.individuals["baseline:tsv"]}).pop()
    genome = finished.individual(loser).genome
    if genome != summary.genomes["baseline:tsv"]:
        assert finished.evaluation(genome, "os", "test") is None


def test_tracker_has_every_generation_every_loss_and_the_final_scores_once(finished):
    numbers, summary = tracked(finished), summarise(finished)
    scores = [record.scores["os"].score for record in finished.generations()]
    assert numbers["child/os"] == (list(range(GENERATIONS)), pytest.approx(scores))
    for skill in ("coding", "os", "db"):
        losses = finished.fields(TrainingSummary, f"experts/{skill}/summary.json").losses
        assert losses
        assert numbers[f"expert/{skill}/loss"] == (list(range(1, len(losses) + 1)), pytest.approx(losses))
    final = summary.splits["test"]["cycleqd"]["mean"]
    assert numbers["test/cycleqd/mean"] == ([GENERATIONS], [pytest.approx(final)])


def test_summary_of_the_records_is_the_one_on_disk(finished):
    assert json.loads(summarise(finished).model_dump_json()) == finished.read_json("report/summary.json")


def test_exported_checkpoint_and_adapter_are_the_same_model(finished):
    from peft import PeftModel

    from cycleqd.base_model import resolve_base
    from cycleqd.storage import cache_dir

    folder = finished.local("aggregate/checkpoint")
    assert AutoTokenizer.from_pretrained(folder).chat_template
    exported = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    base = AutoModelForCausalLM.from_pretrained(
        resolve_base(finished.config().model.name, cache_dir()), dtype=torch.float32
    )
    layers = base.config.num_hidden_layers
    untouched = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    adapted = PeftModel.from_pretrained(base, finished.local("aggregate/adapter")).merge_and_unload().state_dict()
    changed = [name for name in untouched if not torch.equal(untouched[name], exported[name])]
    assert len(changed) == 7 * layers  # the linear layers of each block
    for name, tensor in exported.items():
        torch.testing.assert_close(tensor, adapted[name], rtol=1e-5, atol=1e-6)


def test_starting_a_finished_run_again_repeats_nothing_and_needs_no_engine(finished, monkeypatch, no_figures):
    def objects():
        folders = ("experts", "individuals", "evaluations", "generations", "archives", "aggregate")
        root = finished.local("config.json").parent
        return {path: path.stat().st_mtime_ns for f in folders for path in (root / f).rglob("*") if path.is_file()}

    before = objects()
    monkeypatch.setattr("cycleqd.evaluation.evaluator.start_engine", lambda *_: pytest.fail("an engine was started"))
    monkeypatch.setattr("tasks.scoring._begin_here", lambda *_: pytest.fail("somebody is scored in tasks again"))
    cycleqd_run(finished.config())
    assert objects() == before


def test_other_settings_under_the_same_name_are_refused_before_anything_starts(finished):
    config = finished.config().model_copy(update={"seed": 99})
    with pytest.raises(StoreError, match="seed: was 0, now 99"):
        cycleqd_run(config)


def take_experts(source, target):
    """Copies them, with the base model that they are differences to."""
    there, here = (store.local("config.json").parent for store in (source, target))
    shutil.copytree(there / "experts", here / "experts")
    for name in ("base.json", "base.json.sha256"):
        shutil.copy(there / name, here / name)


def test_same_seed_gives_the_same_archives_even_when_interrupted(finished, tmp_path):
    # The experts are taken over: that their training repeats itself is tested elsewhere, and it takes the most time.
    config = configuration(tmp_path)
    store = RunStore(config.storage, config.run_id)
    store.open(config)
    root = store.local("config.json").parent
    take_experts(finished, store)
    run = RunRef(run_id=config.run_id, storage=config.storage)
    with opened(run):
        train_experts(run)
        seed_archives(run)
        evolve(run, 3)
        # As if it had been killed while generation 2 was being committed, one of its evaluations not yet written.
        interrupted = store.generations()[2]
        (root / "generations" / "00002.json").unlink()
        (root / "archives" / "00002.json").unlink()
        (root / "evaluations" / interrupted.genome / "os-optimization.json").unlink()
        evolve(run, GENERATIONS)
    for generation in range(GENERATIONS):
        key = f"archives/{generation:05d}.json"
        assert store.read_bytes(key) == finished.read_bytes(key)
    numbers = tracked(store)
    assert numbers["child/mean"][0] == list(range(GENERATIONS))
    assert numbers["best/mean"] == tracked(finished)["best/mean"]
    for record in finished.generations():
        assert store.individual(record.individual) == finished.individual(record.individual)


def test_children_in_flight_are_committed_in_their_order_and_a_run_of_them_can_be_continued(finished, tmp_path):
    recipes, most = [], 3
    for folder, ends in (("undisturbed", (most,)), ("continued", (2, most))):
        with Played(Path(finished.config().model.name)).running() as (played, url):
            engine = {"kind": "server", "urls": [url], "batching": "throughput", "max_model_len": 2048}
            values = configuration(tmp_path / folder).model_dump(mode="json")
            values |= {"model": finished.config().model.model_dump(mode="json"), "engine": engine}
            values["search"]["in_flight"] = 2
            config = RunConfig.model_validate(values)
            store = RunStore(config.storage, config.run_id)
            store.open(config)
            take_experts(finished, store)
            run = RunRef(run_id=config.run_id, storage=config.storage)
            with opened(run):
                train_experts(run)
                seed_archives(run)
                for generations in ends:
                    evolve(run, generations)
            assert [record.generation for record in store.generations()] == list(range(most))
            assert played.most_adapters > 1
            assert played.adapters == []
            recipes.append([store.individual(f"g{number:04d}") for number in range(most)])
    assert recipes[0] == recipes[1]


@pytest.mark.vllm
def test_the_real_model_is_taught_merged_and_scored(tmp_path, prefect_harness, no_figures):
    # Two steps of training, of one conversation each: nothing here asks how much an expert has learned.
    names = ("coding", "db")
    skills = [{"name": name, "train": 2, "optimization": 1, "test": 1} for name in names]
    values = {"run_id": "real", "storage": str(tmp_path), "generations": 1, "skills": skills, "baselines": []}
    values |= {"experts": {"global_batch": 1}, "comparison": {"elites": False}}
    config = RunConfig.model_validate(values)
    cycleqd_run(config)
    store = RunStore(config.storage, config.run_id)
    (record,) = store.generations()
    for skill in names:
        (episode,) = store.episodes(record.genome, skill, "optimization")
        assert any(message["content"].strip() for message in episode.messages if message["role"] == "assistant")
    summary = summarise(store)
    assert summary.splits["test"].keys() >= {
        "base",
        "average",
        "cycleqd",
        *(f"expert:{name}" for name in names),
    }
    folder = store.local("aggregate/checkpoint")
    assert len(AutoTokenizer.from_pretrained(folder)) == AutoModelForCausalLM.from_pretrained(folder).config.vocab_size
