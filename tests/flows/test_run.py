"""The whole run on the real small model, in real sandboxes, under Prefect without a server."""

import json
import logging
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cycleqd.config import RunConfig
from cycleqd.report import summarise
from cycleqd.store import RunStore, StoreError
from flows.main import cycleqd_run

pytestmark = [pytest.mark.docker, pytest.mark.vllm, pytest.mark.slow]

GENERATIONS = 6
OPTIMIZATION = 6


def configuration(storage, **changes):
    skills = [{"name": name, "train": 24, "optimization": OPTIMIZATION, "test": 4} for name in ("coding", "os", "db")]
    values = {"run_id": "small", "storage": str(storage), "generations": GENERATIONS, "skills": skills}
    return RunConfig.model_validate(values | changes)


@pytest.fixture(scope="session")
def finished(tmp_path_factory, prefect_harness):
    """One finished run, shared by the tests that only look at it."""
    config = configuration(tmp_path_factory.mktemp("runs"))
    cycleqd_run(config)
    return RunStore(config.storage, config.run_id)


def test_every_generation_has_a_record_with_scores_of_all_skills(finished):
    records = finished.generations()
    assert [record.generation for record in records] == list(range(GENERATIONS))
    assert [record.archive for record in records] == ["coding", "os", "db"] * 2
    for record in records:
        assert set(record.scores) == {"coding", "os", "db"}
        assert all(score.n == OPTIMIZATION for score in record.scores.values())
        assert len(record.parents) == 2


def test_children_are_merges_of_two_different_individuals_whose_coefficients_sum_to_one(finished):
    for record in finished.generations():
        child = finished.individual(record.individual)
        assert child.parents[0] != child.parents[1]
        assert sum(child.coefficients) == pytest.approx(1)
        assert child.mutation["kind"] == "svd"


def test_every_evaluation_left_readable_episodes(finished):
    record = finished.generations()[0]
    for skill in ("coding", "os", "db"):
        episodes = finished.episodes(record.genome, skill, "optimization")
        assert len(episodes) == OPTIMIZATION
        assert all(episode.messages[-1]["role"] in {"assistant", "user"} for episode in episodes)


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


def test_summary_of_the_records_is_the_one_on_disk(finished):
    assert json.loads(summarise(finished).model_dump_json()) == finished.read_json("report/summary.json")


def test_exported_checkpoint_and_adapter_are_the_same_model(finished):
    from peft import PeftModel

    from cycleqd.base_model import resolve_base
    from cycleqd.workspace import cache_dir

    folder = finished.local("aggregate/checkpoint")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer("The shell prints a list of files.", return_tensors="pt")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(
        resolve_base(finished.config().model.name, cache_dir()), dtype=torch.float32
    )
    with torch.no_grad():
        untouched = base(**tokens).logits
        adapted = PeftModel.from_pretrained(base, finished.local("aggregate/adapter"))(**tokens).logits
        merged = model(**tokens).logits
    # The checkpoint's weights are rounded to bf16, the adapter's are not.
    assert (merged - adapted).abs().mean() < 0.1 * (merged - untouched).abs().mean()


def test_starting_a_finished_run_again_repeats_nothing(finished, caplog):
    def objects():
        folders = ("experts", "individuals", "evaluations", "generations", "archives")
        root = finished.local("config.json").parent
        return {path: path.stat().st_mtime_ns for f in folders for path in (root / f).rglob("*") if path.is_file()}

    before = objects()
    with caplog.at_level(logging.INFO):
        cycleqd_run(finished.config())
    assert objects() == before


def test_other_settings_under_the_same_name_are_refused_before_anything_starts(finished):
    config = finished.config().model_copy(update={"seed": 99})
    with pytest.raises(StoreError, match="seed: was 0, now 99"):
        cycleqd_run(config)


def test_same_seed_gives_the_same_archives(finished, tmp_path):
    # The experts are taken over: their training is tested to repeat itself elsewhere, and takes most of the time.
    config = configuration(tmp_path)
    store = RunStore(config.storage, config.run_id)
    store.open(config)
    source = finished.local("config.json").parent
    shutil.copytree(source / "experts", tmp_path / "small" / "experts")
    cycleqd_run(config)
    for generation in range(GENERATIONS):
        key = f"archives/{generation:05d}.json"
        assert store.read_bytes(key) == finished.read_bytes(key)
    for record in finished.generations():
        assert store.individual(record.individual) == finished.individual(record.individual)


def test_interrupted_run_continues_to_the_same_end(finished, tmp_path):
    config = configuration(tmp_path)
    store = RunStore(config.storage, config.run_id)
    source = finished.local("config.json").parent
    shutil.copytree(source, tmp_path / "small")
    store.write_json("config.json", config.model_dump(mode="json"))
    root = tmp_path / "small"
    # As if it had been killed while generation 4 was being committed: its child and evaluations may be there.
    for generation in (4, 5):
        (root / "generations" / f"{generation:05d}.json").unlink()
        (root / "archives" / f"{generation:05d}.json").unlink()
    last = finished.generations()[5]
    shutil.rmtree(root / "individuals" / last.individual)
    shutil.rmtree(root / "evaluations" / last.genome)
    cycleqd_run(config)
    assert store.read_bytes("archives/00005.json") == finished.read_bytes("archives/00005.json")
