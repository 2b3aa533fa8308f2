import gzip
import json
import shutil

import pytest

from cycleqd import steps
from cycleqd.run.store import StoreError
from cycleqd.run.upkeep import check_commits, verify
from tests.report.synthetic import export
from tests.run.upkeep.toy_run import evolve, forge, remove


def found(store):
    return {(fault.key, fault.kind) for fault in verify(store).faults}


def test_whole_run_has_no_faults_and_everything_was_counted(store):
    result = verify(store)
    assert result.faults == []
    assert result.leftovers == {}
    assert (result.individuals, result.generations, result.pruned) == (3 + 12, 12, 0)
    assert result.evaluations == 3 * (3 + 12)


def test_leftovers_are_told_and_are_no_faults(store, root):
    (root / "individuals" / "g0099").mkdir()
    (root / "individuals" / "g0099" / "genome.safetensors.partial").write_bytes(b"half")
    result = verify(store)
    assert result.faults == []
    assert list(result.leftovers.values()) == ["half-written"]


def test_flipped_byte_in_a_genome_is_found(store, root):
    path = root / "individuals" / "g0003" / "genome.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    forge(path, bytes(content))
    assert found(store) == {("individuals/g0003/genome.safetensors", "damaged")}


@pytest.mark.parametrize("keep", [0, 20, 200])
def test_truncated_genome_is_found(store, root, keep):
    path = root / "individuals" / "g0003" / "genome.safetensors"
    forge(path, path.read_bytes()[:keep])
    assert found(store) == {("individuals/g0003/genome.safetensors", "damaged")}


def test_object_that_is_not_what_its_checksum_says_is_found(store, root):
    path = root / "base.json"
    path.write_text("{}")
    path.with_name("base.json.sha256").write_text(f"{'0' * 64}  base.json\n")
    assert ("base.json", "damaged") in found(store)


def test_missing_parent_is_found(store, root):
    remove(root / "individuals" / "g0000" / "individual.json")
    assert ("individuals/g0000/individual.json", "missing") in found(store)


def test_recipe_of_another_individual_is_found(store, root):
    path = root / "individuals" / "g0001" / "individual.json"
    forge(path, path.read_text().replace('"g0001"', '"g0002"'))
    assert ("individuals/g0001/individual.json", "damaged") in found(store)


def test_missing_genome_is_found(store, root):
    remove(root / "individuals" / "g0003" / "genome.safetensors")
    assert found(store) == {("individuals/g0003/genome.safetensors", "missing")}


def test_unreadable_tombstone_hides_no_other_fault(store, root):
    remove(root / "individuals" / "g0003" / "genome.safetensors")
    store.write_json("individuals/g0004/pruned.json", {"id": 4})
    assert {
        ("individuals/g0003/genome.safetensors", "missing"),
        ("individuals/g0004/pruned.json", "damaged"),
    } <= found(store)


def test_missing_and_changed_episodes_are_found(store, root):
    first, second = (root / "evaluations" / store.generations()[number].genome for number in (1, 2))
    remove(first / "os-optimization.jsonl.gz")
    lines = gzip.decompress((second / "db-optimization.jsonl.gz").read_bytes()).splitlines(keepends=True)
    forge(second / "db-optimization.jsonl.gz", gzip.compress(b"".join(lines[:-1]), mtime=0))
    assert found(store) == {
        (f"evaluations/{first.name}/os-optimization.jsonl.gz", "missing"),
        (f"evaluations/{second.name}/db-optimization.jsonl.gz", "damaged"),
    }


def test_gap_is_found(store, root):
    remove(root / "generations" / "00007.json")
    assert ("generations/00007.json", "missing") in found(store)


def test_archives_that_the_records_do_not_give_are_found(store, root):
    path = root / "archives" / "00005.json"
    content = json.loads(path.read_text())
    content["archives"]["os"][0]["individual"] = "g9999"
    forge(path, json.dumps(content))
    remove(root / "archives" / "00006.json")
    assert found(store) == {("archives/00005.json", "damaged"), ("archives/00006.json", "missing")}


def test_unreadable_records_are_found_one_by_one(store, root):
    genome = store.generations()[0].genome
    forge(root / "individuals" / "g0001" / "individual.json", "{")
    forge(root / "evaluations" / genome / "os-optimization.json", "{}")
    assert {
        ("individuals/g0001/individual.json", "damaged"),
        (f"evaluations/{genome}/os-optimization.json", "damaged"),
    } <= found(store)


def exported(store):
    steps.aggregate(evolve(store, 12))
    export(store, ("checkpoint", "adapter"))
    assert found(store) == set()


def test_exported_model_that_is_gone_is_found(store, root):
    exported(store)
    shutil.rmtree(root / "aggregate" / "checkpoint")  # its checksum alone would be a leftover
    store.remove("aggregate/adapter")
    assert found(store) == {("aggregate/checkpoint", "missing"), ("aggregate/adapter", "missing")}


def test_exported_model_that_lacks_a_file_is_damaged(store, root):
    exported(store)
    (root / "aggregate" / "checkpoint" / "model.safetensors").unlink()
    assert found(store) == {("aggregate/checkpoint", "damaged")}


def test_exported_model_of_an_earlier_aggregate_is_no_fault(store, root):
    exported(store)
    steps.aggregate(evolve(store, 13))
    assert found(store) == set()


def test_unreadable_record_of_the_export_is_found(store, root):
    exported(store)
    forge(root / "aggregate" / "export.json", "{}")
    assert found(store) == {("aggregate/export.json", "damaged")}


def test_folder_without_a_readable_configuration_is_refused(store, root):
    forge(root / "config.json", '{"nonsense": 1}')
    with pytest.raises(StoreError, match="nonsense"):
        verify(store)


IMPOSSIBLE = {
    "a score that is no number": (("scores", "os", "score"), float("nan")),
    "an error that is no number": (("scores", "db", "se"), float("nan")),
    "an infinite time": (("seconds", "merge"), float("inf")),
    "a score above one": (("scores", "os", "score"), 1.5),
    "a score below zero": (("scores", "os", "score"), -0.1),
    "no samples": (("scores", "os", "n"), 0),
    "no scores": (("scores",), {}),
    "an unknown archive": (("archive",), "chess"),
    "the archive of another turn": (("archive",), "db"),
    "another generation": (("generation",), 5),
    "a cell in an unknown archive": (("cells",), {"chess": {"bins": [1, 2], "displaced": None}}),
    "a cell above the grid": (("cells",), {"os": {"bins": [1, 15], "displaced": None}}),
    "a cell below the grid": (("cells",), {"os": {"bins": [-1, 2], "displaced": None}}),
    "a cell with a bin too few": (("cells",), {"os": {"bins": [1], "displaced": None}}),
    "a cell with a bin too many": (("cells",), {"os": {"bins": [1, 2, 3], "displaced": None}}),
    "a cell that it did not win": (("cells",), {"os": {"bins": [0, 0], "displaced": "g0000"}}),
    "a key of a newer version": (("novelty",), 1),
}


def change(content, path, value):
    for key in path[:-1]:
        content = content[key]
    content[path[-1]] = value


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_commit_record_that_cannot_be_so_is_found_and_no_start_goes_on_from_it(store, root, what):
    path = root / "generations" / "00004.json"
    content = json.loads(path.read_text())
    change(content, *IMPOSSIBLE[what])
    forge(path, json.dumps(content))
    assert ("generations/00004.json", "damaged") in found(store)
    with pytest.raises(StoreError, match=r"generation 4 is damaged|00004\.json cannot be read"):
        check_commits(store)


@pytest.mark.parametrize(
    "where",
    [
        (("scores", "expert-os", "db", "score"), float("nan")),
        (("scores", "expert-os"), {}),
        (("scores",), {}),
        (("genomes",), {}),
        (("experts",), []),
    ],
)
def test_seeding_that_cannot_be_so_is_found(store, root, where):
    path = root / "generations" / "seed.json"
    content = json.loads(path.read_text())
    change(content, *where)
    forge(path, json.dumps(content))
    assert ("generations/seed.json", "damaged") in found(store)
    with pytest.raises(StoreError, match=r"the seeding is damaged|seed\.json cannot be read"):
        check_commits(store)


def test_every_unreadable_commit_record_is_named(store, root):
    for number in (3, 8):
        forge(root / "generations" / f"{number:05d}.json", "{}")
    forge(root / "generations" / "seed.json", "[]")
    damaged = {key for key, kind in found(store) if kind == "damaged" and key.startswith("generations/")}
    assert damaged == {"generations/00003.json", "generations/00008.json", "generations/seed.json"}


def test_evaluation_without_samples_is_found(store, root):
    path = root / "evaluations" / store.generations()[2].genome / "db-optimization.json"
    forge(path, json.dumps(json.loads(path.read_text()) | {"samples": []}))
    assert (f"evaluations/{path.parent.name}/db-optimization.json", "damaged") in found(store)


@pytest.mark.parametrize("content", [b"[1]", b"{"])
def test_a_session_that_cannot_be_read_is_found(store, root, content):
    (root / "sessions").mkdir(exist_ok=True)
    (root / "sessions" / "x.json").write_bytes(content)
    assert ("sessions/x.json", "damaged") in found(store)
