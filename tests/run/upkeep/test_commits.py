import json
import shutil

import pytest

from cycleqd.run.upkeep import DamagedRun, check_commits, recover
from tests.run.upkeep.toy_run import evolve, forge, remove


def test_whole_run_passes_and_nothing_is_written(store, root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    recover(store)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_run_that_is_not_seeded_passes(store, root):
    shutil.rmtree(root / "generations")
    check_commits(store)


@pytest.mark.parametrize("name", ["individual.json", "genome.safetensors"])
def test_missing_object_of_an_individual_names_the_generation_and_the_way_on(store, root, name):
    remove(root / "individuals" / "g0003" / name)
    with pytest.raises(DamagedRun, match=rf"generation 3 is damaged: individuals/g0003/{name} is missing.*Restore"):
        check_commits(store)


def test_missing_evaluation_is_named(store, root):
    genome = store.generations()[5].genome
    remove(root / "evaluations" / genome / "os-optimization.json")
    with pytest.raises(DamagedRun, match=rf"generation 5 .*{genome}/os-optimization.json is missing"):
        check_commits(store)


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("individuals/g0004/individual.json", {"genome": "00"}, "generation 4 .*genome 00, the commit record says"),
        ("generations/00004.json", {"genome": "00"}, "generation 4 .*the commit record says 00"),
        ("individuals/expert-os/individual.json", {"genome": "00"}, "the seeding is damaged.*another run_id"),
    ],
)
def test_record_that_disagrees_is_named(store, root, key, change, message):
    path = root / key
    forge(path, json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DamagedRun, match=message):
        check_commits(store)


def test_score_that_is_not_the_mean_of_its_samples_is_named(store, root):
    path = root / "evaluations" / store.generations()[2].genome / "db-optimization.json"
    record = json.loads(path.read_text())
    record["samples"][0]["score"] = 1.0 - record["samples"][0]["score"]
    forge(path, json.dumps(record))
    with pytest.raises(DamagedRun, match=r"generation 2 .*not the mean of its samples"):
        check_commits(store)


def test_gap_is_named_and_going_on_from_it_works(store, root):
    finished = {path.name: path.read_bytes() for path in (root / "archives").iterdir()}
    remove(root / "generations" / "00007.json")
    with pytest.raises(DamagedRun, match=r"generation 7 is missing.*00008\.json"):
        check_commits(store)
    for later in range(8, 12):
        remove(root / "generations" / f"{later:05d}.json")
    recover(store)
    assert not (root / "archives" / "00007.json").exists()
    evolve(store, 12)
    assert {path.name: path.read_bytes() for path in (root / "archives").iterdir()} == finished


def test_archives_that_are_missing_or_others_are_written_again_with_a_warning(store, root, caplog):
    finished = {path.name: path.read_bytes() for path in (root / "archives").iterdir()}
    remove(root / "archives" / "00011.json")  # killed between the commit and the archives
    forge(root / "archives" / "00002.json", (root / "archives" / "00001.json").read_bytes())
    forge(root / "archives" / "00004.json", b"{")
    check_commits(store)
    assert {path.name: path.read_bytes() for path in (root / "archives").iterdir()} == finished
    for generation in ("00002", "00004", "00011"):
        assert f"archives/{generation}.json" in caplog.text


def test_nothing_is_removed_from_a_run_that_is_damaged(store, root):
    record = root / "generations" / "00003.json"
    content = record.read_bytes()
    record.unlink()
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with pytest.raises(DamagedRun):
        recover(store)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    record.write_bytes(content)  # restored from a copy, as the refusal says
    recover(store)
