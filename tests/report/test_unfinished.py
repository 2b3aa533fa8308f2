import gzip
import json
import shutil
from pathlib import Path

import pytest

from cycleqd.experts import TrainingSummary
from cycleqd.report import summarise
from cycleqd.report.listings import run_entries, runs_table
from cycleqd.report.unfinished import unfinished_runs
from cycleqd.run.lease import Lease
from cycleqd.run.store import RecordUnreadable, RunStore
from tests.report.synthetic import evaluate, export, genome, synthetic_run
from tests.run.upkeep.toy_run import forge


@pytest.fixture
def storage(tmp_path):
    return str(tmp_path / "runs")


def report(store):
    """Of the report only the summary, which is written last."""
    store.write_json("report/summary.json", summarise(store).model_dump(mode="json"))


def reported(storage, run_id):
    store = synthetic_run(storage, run_id=run_id)
    export(store)
    report(store)
    return store


def aggregate_anew(store, name="another"):
    """Another final model after the generations that there are, scored, but neither exported nor reported."""
    record = store.individual("aggregate").model_copy(
        update={"genome": genome(name), "generation": len(store.generations()) - 1}
    )
    store.write_individual(record, replace=True)
    skills = store.config().skill_names
    for skill in skills:
        if store.evaluation(record.genome, skill, "test") is None:
            evaluate(store, record.genome, dict.fromkeys(skills, 0.5), skill, "test")


def evolve_on(store):
    """One more generation."""
    last = store.generations()[-1]
    store.write_generation(last.model_copy(update={"generation": last.generation + 1}))


def names(storage):
    return [config.run_id for config in unfinished_runs(storage)]


def test_a_reported_run_is_finished_and_one_without_a_report_is_not(storage):
    reported(storage, "done")
    synthetic_run(storage, run_id="halfway")
    assert names(storage) == ["halfway"]
    assert next(unfinished_runs(storage)).storage == storage


def test_a_report_that_was_drawn_halfway_does_not_count(storage):
    reported(storage, "early")
    shutil.rmtree(Path(storage, "early", "individuals", "aggregate"))
    assert names(storage) == ["early"]


def test_a_report_that_was_drawn_before_the_test_scores_does_not_count(storage):
    store = synthetic_run(storage, run_id="early")
    record = store.individual("aggregate")
    late = Path(storage, "early", "evaluations", record.genome, "db-test.json")
    content = late.read_bytes()
    late.unlink()
    report(store)
    late.write_bytes(content)
    export(store)
    assert names(storage) == ["early"]
    report(store)
    assert names(storage) == []


def test_a_run_that_was_killed_before_its_export_is_not_finished(storage):
    store = synthetic_run(storage, run_id="killed")
    report(store)  # somebody looked, when everything but the export was done
    assert names(storage) == ["killed"]
    export(store)
    assert names(storage) == []


def test_an_exported_model_that_is_gone_is_made_again(storage):
    store = reported(storage, "gone")
    store.remove("aggregate/checkpoint")
    assert names(storage) == ["gone"]


def test_a_run_that_goes_on_needs_export_and_report_of_the_new_final_model(storage):
    store = reported(storage, "longer")
    evolve_on(store)
    assert names(storage) == ["longer"]
    aggregate_anew(store)
    assert names(storage) == ["longer"]
    report(store)
    assert names(storage) == ["longer"]  # the export is the earlier model's
    export(store)
    assert names(storage) == []


def test_the_report_of_an_earlier_final_model_does_not_count(storage):
    store = reported(storage, "longer")
    evolve_on(store)
    aggregate_anew(store)
    export(store)
    assert names(storage) == ["longer"]
    report(store)
    assert names(storage) == []


def test_the_same_final_model_after_more_generations_is_reported_anew(storage):
    store = reported(storage, "longer")
    evolve_on(store)
    aggregate_anew(store, "aggregate")  # the elites are still the same
    assert names(storage) == ["longer"]
    report(store)
    assert names(storage) == []


@pytest.mark.parametrize("content", ["{", "{}", json.dumps({"another": "version"})])
def test_a_report_that_cannot_be_read_is_drawn_again(storage, content):
    reported(storage, "old")
    Path(storage, "old", "report", "summary.json").write_text(content)
    assert names(storage) == ["old"]


def test_a_run_that_somebody_works_on_is_left_alone(storage):
    store = synthetic_run(storage, run_id="busy")
    lease = Lease.acquire(RunStore(storage, "busy"))
    try:
        assert names(storage) == []
    finally:
        lease.release()
    assert names(storage) == [store.run_id]


def test_an_unreadable_configuration_does_not_hide_the_others(storage, caplog):
    synthetic_run(storage, run_id="broken")
    synthetic_run(storage, run_id="good")
    Path(storage, "broken", "config.json").write_text('{"run_id": 3}')
    assert names(storage) == ["good"]
    assert "broken" in caplog.text


NEWER = {
    "config.json": ("config.json", "novelty"),
    "generations/00002.json": ("00002.json", "novelty"),
    "generations/seed.json": ("seed.json", "novelty"),
    "lease.json": ("lease.json", "novelty"),
    "sessions/2030-01-01T000000Z.json": ("sessions", "novelty"),
}


@pytest.mark.parametrize("key", NEWER)
def test_a_run_of_a_newer_version_is_one_line_and_keeps_no_other_from_resuming(storage, caplog, key):
    store = synthetic_run(storage, run_id="a-newer")
    synthetic_run(storage, run_id="b-good")
    path = Path(storage, "a-newer", key)
    if key == "lease.json":
        content = {"host": "far", "pid": 1, "owner": "x", "token": "t", "acquired": "", "expires": 1.0}
    else:
        content = json.loads(path.read_text())
    forge(path, json.dumps(content | {"novelty": 1}))
    assert names(storage) == ["b-good"]
    (line,) = [record.getMessage() for record in caplog.records if "a-newer" in record.getMessage()]
    assert "\n" not in line
    for word in (*NEWER[key], "newer version"):
        assert word in line
    bad, good = runs_table(run_entries([store, RunStore(storage, "b-good")])).rows
    assert "b-good" in good
    assert "6 of 6" in good
    if key != "lease.json":  # who only reads needs no lease
        assert "newer version" in bad[-1]


@pytest.mark.parametrize("settings", [{}, {"finished": False, "planned": 9}, {"generations": 0, "finished": False}])
def test_a_list_of_runs_says_what_their_summaries_say(storage, settings):
    store = synthetic_run(storage, **settings)
    summary = summarise(store)
    (entry,) = run_entries([store])
    assert (entry.run_id, entry.skills, entry.seed) == (summary.run_id, summary.skills, summary.seed)
    planned = (summary.generations, summary.generations_planned)
    assert (entry.generations, entry.generations_planned) == planned
    assert entry.seconds == pytest.approx(summary.wall_seconds["total"])
    assert (entry.base, entry.cycleqd) == (summary.mean("test", "base"), summary.mean("test", "cycleqd"))
    assert (entry.fault, entry.report) == (None, False)


def test_an_episode_of_a_newer_version_says_so_in_one_line(storage):
    store = synthetic_run(storage, run_id="newer")
    stem = Path(storage, "newer", "evaluations", "base", "os-test.jsonl.gz")
    line = json.loads(gzip.decompress(stem.read_bytes()).splitlines()[0]) | {"novelty": 1}
    forge(stem, gzip.compress(json.dumps(line).encode()))
    with pytest.raises(
        RecordUnreadable, match=r"os-test\.jsonl\.gz cannot be read: .*novelty.*newer version"
    ) as fault:
        store.episodes("base", "os", "test")
    assert "\n" not in str(fault.value)


def test_a_training_summary_of_a_newer_version_says_so_in_one_line(storage):
    store = synthetic_run(storage, run_id="newer")
    fields = dict.fromkeys(TrainingSummary._fields, 1)
    store.write_json("experts/os/summary.json", fields | {"novelty": 1}, replace=True)
    with pytest.raises(RecordUnreadable, match=r"summary\.json cannot be read: .*novelty.*newer version"):
        store.fields(TrainingSummary, "experts/os/summary.json")
    store.write_json("experts/os/summary.json", fields, replace=True)
    assert store.fields(TrainingSummary, "experts/os/summary.json").steps == 1
