from hypothesis import given
from hypothesis import strategies as st

from cycleqd import steps
from cycleqd.run.store import RunStore
from cycleqd.run.upkeep import leftovers, plan_pruning, prune, recover, sweep, verify
from cycleqd.run.upkeep.sweep import _unfinished_uploads
from tests.report.synthetic import export
from tests.run.upkeep.toy_run import begin, evolve

COMPLETE = [
    "config.json", "base.json", "lease.json", ".lease.json.lock", "bases.safetensors",
    "experts/os/demonstrations.json",
    "experts/os/model/adapter.safetensors", "experts/os/model/deep/file", "experts/os/summary.json",
    "individuals/g0000/genome.safetensors", "individuals/g0000/individual.json", "individuals/g0000/pruned.json",
    "evaluations/ab/os-test.jsonl.gz", "evaluations/ab/os-test.json", "generations/seed.json",
    "generations/00000.json", "archives/00000.json", "sessions/x.json",
    "aggregate/checkpoint/model.safetensors", "aggregate/checkpoint.sha256", "aggregate/export.json",
    "report/index.html", "metrics/run.prom",
]  # fmt: skip
LAST = {
    "individuals/g0000/individual.json": {"individuals/g0000/genome.safetensors", "individuals/g0000/pruned.json"},
    "evaluations/ab/os-test.json": {"evaluations/ab/os-test.jsonl.gz"},
    "experts/os/summary.json": {"experts/os/model/adapter.safetensors", "experts/os/model/deep/file"},
    "generations/00000.json": {"archives/00000.json"},
    "aggregate/checkpoint.sha256": {"aggregate/checkpoint/model.safetensors"},
}
"""What is written last, and what is worth nothing without it."""


@given(st.sets(st.sampled_from(COMPLETE)), st.sets(st.sampled_from(sorted(LAST))), st.booleans())
def test_exactly_what_lacks_its_last_object_is_a_leftover(without, unfinished, checksums):
    keys = set(COMPLETE) - {key for key in without if key not in LAST and "checkpoint" not in key} - unfinished
    expected = {key for last in unfinished for key in LAST[last]} & keys
    if checksums:
        keys |= {f"{key}.sha256" for key in keys if not key.endswith(".sha256")}
        expected |= {f"{key}.sha256" for key in expected}
    assert set(leftovers(keys)) == expected


@given(st.sampled_from(COMPLETE))
def test_half_written_objects_and_lonely_checksums_are_leftovers(key):
    partial = f"{key}.0123.partial"
    assert set(leftovers([*COMPLETE, partial, f"{partial}/inside"])) == {partial, f"{partial}/inside"}
    assert set(leftovers([*(set(COMPLETE) - {"config.json"}), "config.json.sha256"])) == {"config.json.sha256"}


def test_sweep_leaves_a_whole_run_as_it_is(store, root):
    before = sorted(root.rglob("*"))
    assert sweep(store) == {}
    assert sorted(root.rglob("*")) == before


def test_exported_model_whose_record_was_taken_back_stays_until_its_successor_is_written(store, root):
    steps.aggregate(evolve(store, 12))
    export(store)
    store.remove("aggregate/export.json")
    assert sweep(store) == {}
    assert store.exists("aggregate/checkpoint")


def test_sweep_removes_leftovers_with_their_folders_and_says_so(store, root, caplog):
    before = sorted(root.rglob("*"))
    (root / "individuals" / "g0099").mkdir()
    (root / "individuals" / "g0099" / "genome.safetensors").write_bytes(b"half")
    (root / "experts" / "os" / "model.77.partial").mkdir(parents=True)
    (root / "experts" / "os" / "model.77.partial" / "weights").write_bytes(b"half")
    (root / "evaluations" / "cd").mkdir()
    (root / "evaluations" / "cd" / "os-test.jsonl.gz").write_bytes(b"half")
    assert len(sweep(store)) == 3
    assert sorted(root.rglob("*")) == before
    assert "g0099/genome.safetensors (individual without its recipe)" in caplog.text


def test_upload_that_was_never_completed_is_aborted(bucket, caplog):
    store, other = (RunStore(bucket, name) for name in ("run", "run2"))
    name, prefix = bucket.removeprefix("s3://").split("/")
    for run in (store, other):
        run._fs.call_s3("create_multipart_upload", Bucket=name, Key=f"{prefix}/{run.run_id}/aggregate/model")
    sweep(store)
    uploads = store._fs.call_s3("list_multipart_uploads", Bucket=name)["Uploads"]
    assert [upload["Key"] for upload in uploads] == [f"{prefix}/run2/aggregate/model"]
    assert "aborting the upload" in caplog.text


def test_uploads_are_listed_page_by_page():
    class Pages:
        """What S3 answers that lists two uploads at a time."""

        def call_s3(self, method, *, Bucket, Prefix, KeyMarker="", UploadIdMarker=""):  # noqa: N803 (S3's names)
            rest = [name for name in "abcde" if (name, f"id-{name}") > (KeyMarker, UploadIdMarker)]
            page = {"Uploads": [{"Key": name, "UploadId": f"id-{name}"} for name in rest[:2]]}
            if len(rest) <= 2:
                return page | {"IsTruncated": False}
            return page | {"IsTruncated": True, "NextKeyMarker": rest[1], "NextUploadIdMarker": f"id-{rest[1]}"}

    assert [each["Key"] for each in _unfinished_uploads(Pages(), "bucket", "run/")] == list("abcde")


def test_run_in_a_bucket_is_swept_checked_pruned_and_verified(bucket):
    store = begin(bucket)
    evolve(store, 3)
    store._fs.pipe_file(f"{store._root}/individuals/g0099/genome.safetensors", b"half")
    store._fs.rm_file(f"{store._root}/archives/00002.json")
    recover(store)
    assert store.exists("archives/00002.json")
    assert not store._fs.exists(f"{store._root}/individuals/g0099/genome.safetensors")
    plan = plan_pruning(store, "keep-elites", episodes=True)
    assert prune(store, plan, "keep-elites") == sum(item.size for item in plan)
    assert verify(store).faults == []
