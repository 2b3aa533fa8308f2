import gzip
import json
import shutil

import pytest

from cycleqd import steps
from cycleqd.store import StoreError
from cycleqd.upkeep import verify
from tests.report.synthetic import export
from tests.upkeep.toy_run import evolve, forge, remove


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
