"""Object storage against a real S3 API over HTTP: alone, and through a proxy that breaks exchanges."""

import http.client
import logging
import os
import subprocess
import traceback

import pytest

from cycleqd.config import RunConfig
from cycleqd.models.hardware import pinned
from cycleqd.preflight.checks import _storage
from cycleqd.run.records import EvaluationRecord, GenerationRecord, IndividualRecord, Phases, SampleScore, Score
from cycleqd.run.store import RunStore, list_runs
from cycleqd.storage import (
    ObjectCorrupt,
    ObjectExists,
    ObjectStore,
    StorageRefused,
    StorageUnavailable,
    StoreError,
    filesystem,
    retrying,
)
from tests.s3.faulty_proxy import FaultyProxy
from tests.s3.server import SECRET_KEY, create_bucket, environment, moto_server
from tests.s3.workload import contents, lost, run

PATIENCE = 1.0


@pytest.fixture(scope="module")
def server():
    with moto_server() as port:
        create_bucket(port, "bucket")
        yield port


@pytest.fixture
def use(monkeypatch):
    """Points the standard AWS variables to a port."""

    def use(port):
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in environment(port).items():
            monkeypatch.setenv(name, value)

    return use


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(filesystem, "READ_SECONDS", PATIENCE)
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.02)


@pytest.fixture(params=["file", "memory", "s3"])
def store(request, tmp_path):
    """The same contract on a disk, on a store that has only whole-object writes, and on S3."""
    if request.param == "s3":
        port = request.getfixturevalue("server")
        request.getfixturevalue("use")(port)
    roots = {"file": str(tmp_path), "memory": f"memory://{tmp_path.name}", "s3": f"s3://bucket/{tmp_path.name}"}
    return ObjectStore(roots[request.param], "run", cache=tmp_path / "cache")


def tamper(store, key, content):
    store._raw.put(store._path(key), content, create=False)


def test_file_comes_back_and_has_a_checksum_beside_it(store):
    store.write_bytes("a/b.bin", b"abc")
    assert store.read_bytes("a/b.bin") == b"abc"
    assert store.local("a/b.bin").read_bytes() == b"abc"
    assert store.walk() == ["a/b.bin", "a/b.bin.sha256"]
    assert store.keys("a") == ["a/b.bin"]


def test_folder_comes_back_with_all_its_files(store):
    with store.writing("experts/model") as path:
        (path / "deep").mkdir(parents=True)
        (path / "deep" / "x").write_bytes(b"x")
        (path / "y").write_bytes(b"")
    assert store.exists("experts/model")
    assert contents(store.local("experts/model")) == {"deep/x": b"x", "y": b""}
    store.verify("experts/model")


def test_same_content_may_be_written_twice_and_other_content_may_not(store):
    store.write_bytes("a", b"1")
    store.write_bytes("a", b"1")
    with pytest.raises(ObjectExists, match="written before with other content"):
        store.write_bytes("a", b"2")
    assert store.read_bytes("a") == b"1"
    store.write_bytes("a", b"2", replace=True)
    assert store.read_bytes("a") == b"2"


def test_folder_is_written_once_and_can_be_replaced(store):
    def write(text, **options):
        with store.writing("f", **options) as path:
            path.mkdir()
            (path / text).write_text(text)

    write("one")
    write("one")
    with pytest.raises(ObjectExists):
        write("two")
    write("two", replace=True)
    assert contents(store.local("f")) == {"two": b"two"}
    assert store.walk() == ["f.sha256", "f/two"]


def test_mutable_objects_are_overwritten_and_have_no_checksum(store):
    for content in (b"1", b"22"):
        store.write_bytes("report/index.html", content)
        assert store.read_bytes("report/index.html") == content
        assert store.local("report/index.html").read_bytes() == content
    assert store.walk() == ["report/index.html"]


def test_altered_object_is_refused(store, impatient):
    store.write_bytes("a", b"abc")
    tamper(store, "a", b"abd")
    with pytest.raises(ObjectCorrupt, match="differs from its checksum"):
        store.read_bytes("a")
    with pytest.raises(ObjectCorrupt, match="restore it from a copy"):
        store.local("a")


def test_object_without_checksum_is_refused(store):
    store.write_bytes("a", b"abc")
    store._raw.delete(store._path("a.sha256"))
    with pytest.raises(ObjectCorrupt, match="has no checksum"):
        store.read_bytes("a")


def test_folder_with_an_altered_file_is_refused(store, impatient):
    with store.writing("f") as path:
        path.mkdir()
        (path / "x").write_bytes(b"x")
    tamper(store, "f/x", b"y")
    with pytest.raises(ObjectCorrupt):
        store.local("f")


def test_nothing_is_there_before_the_last_write(store):
    """A kill leaves a checksum without its file, or a folder's files without their list."""
    store._raw.put(store._path("a.sha256"), b"0" * 64 + b"  a\n", create=True)
    store._raw.put(store._path("f/x"), b"half", create=True)
    assert not store.exists("a")
    assert not store.exists("f")
    for key in ("a", "f"):
        with pytest.raises(StoreError, match="does not exist"):
            store.local(key)
    store.write_bytes("a", b"whole")
    with store.writing("f") as path:
        path.mkdir()
        (path / "z").write_bytes(b"z")
    assert store.read_bytes("a") == b"whole"
    assert contents(store.local("f")) == {"z": b"z"}
    assert "f/x" not in store.walk()


def test_loser_of_a_race_leaves_the_winners_checksum(store, monkeypatch):
    put = store._raw.put

    def interfere(path, content, *, create):
        if path.endswith("/a") and content == b"slow":
            put(path, b"fast", create=True)
        put(path, content, create=create)

    # The winner has announced its content, is overtaken by the loser's announcement, and then writes first.
    store._raw.put(store._path("a.sha256"), _sidecar("a", b"fast"), create=True)
    monkeypatch.setattr(store._raw, "put", interfere)
    with pytest.raises(ObjectExists):
        store.write_bytes("a", b"slow")
    assert store.read_bytes("a") == b"fast"


def _sidecar(name, content):
    from cycleqd.storage import checksums

    return checksums.to_text(name, {name: checksums.of_bytes(content)})


def test_removed_objects_are_gone_with_their_checksums(store):
    store.write_bytes("a", b"1")
    with store.writing("f") as path:
        path.mkdir()
        (path / "x").write_bytes(b"x")
    store.remove("a")
    store.remove("f")
    store.remove("never")
    assert store.walk() == []


def test_guard_is_asked_before_anything_changes(store):
    def refuse():
        raise PermissionError

    store.write_bytes("a", b"1")
    store.guard = refuse
    for key in ("a", "b", "lease.json"):
        with pytest.raises(PermissionError):
            store.write_bytes(key, b"2", replace=True)
    with pytest.raises(PermissionError), store.writing("folder") as path:
        path.mkdir()
    with pytest.raises(PermissionError):
        store.remove("a")
    assert store.walk() == ["a", "a.sha256"]
    assert store.read_bytes("a") == b"1"


def test_checksums_are_what_sha256sum_reads(tmp_path):
    store = ObjectStore(str(tmp_path), "run")
    store.write_bytes("d/a", b"1")
    with store.writing("d/f") as path:
        path.mkdir()
        (path / "x y").write_bytes(b"x")
    for name in ("a.sha256", "f.sha256"):
        subprocess.run(["sha256sum", "--check", "--strict", name], cwd=tmp_path / "run" / "d", check=True)


def test_random_work_through_faults_loses_nothing(server, use, impatient, tmp_path):
    with FaultyProxy(server, share=0.2, seed=1, patience=PATIENCE) as proxy:
        use(proxy.port)
        store = ObjectStore(f"s3://bucket/{tmp_path.name}", "run", cache=tmp_path / "cache")
        steps, held, folders = run(store, operations=60, seed=1, large=100_000)
    assert [step for step in steps if step.outcome != "ok"] == []
    assert sum(proxy.injected.values()) >= 30
    use(server)
    assert lost(ObjectStore(store.storage, "run", cache=tmp_path / "fresh"), held, folders) == []
    assert list((tmp_path / "cache" / "staging").iterdir()) == []


def test_large_file_goes_in_parts_that_are_repeated_one_by_one(server, use, impatient, tmp_path):
    content = os.urandom(20_000_000)
    with FaultyProxy(server, share=0.3, seed=3, patience=PATIENCE) as proxy:
        use(proxy.port)
        store = ObjectStore(f"s3://bucket/{tmp_path.name}", "run", cache=tmp_path / "cache")
        with store.writing("genome") as path:
            path.write_bytes(content)
        assert store.local("genome").read_bytes() == content
    assert proxy.injected


def test_listing_has_more_than_one_page(server, use, tmp_path):
    use(server)
    store = ObjectStore(f"s3://bucket/{tmp_path.name}", "run", cache=tmp_path / "cache")
    connection = http.client.HTTPConnection("127.0.0.1", server, timeout=60)
    for number in range(1005):  # a page has 1000
        connection.request("PUT", f"/bucket/{tmp_path.name}/run/report/{number:04d}", body=b"")
        connection.getresponse().read()
    connection.close()
    assert store.keys("report") == [f"report/{number:04d}" for number in range(1005)]
    store.write_bytes("report/late", b"")
    assert len(store.keys("report")) == 1006  # nothing remembers the earlier listing


def test_outage_ends_in_a_connection_error_that_names_the_object(server, use, impatient, monkeypatch, tmp_path):
    monkeypatch.setattr(filesystem, "REQUEST_ATTEMPTS", 1)
    with FaultyProxy(server, share=1.0, faults=("slow-down", "reset-before")) as proxy:
        use(proxy.port)
        store = ObjectStore("s3://bucket/runs", "run", cache=tmp_path)
        with pytest.raises(StorageUnavailable, match=r"s3://bucket/runs/run/a.*AWS_ENDPOINT_URL_S3") as raised:
            store.write_bytes("a", b"")
    assert isinstance(raised.value, ConnectionError)


def test_missing_bucket_is_refused_at_once(server, use, tmp_path):
    use(server)
    with pytest.raises(StorageRefused, match="check that the bucket exists"):
        ObjectStore("s3://nowhere/runs", "run", cache=tmp_path).write_bytes("a", b"")


def test_remote_object_is_downloaded_once(server, use, tmp_path):
    with FaultyProxy(server, share=0.0) as proxy:
        use(proxy.port)
        for _ in range(3):
            store = ObjectStore(f"s3://bucket/{tmp_path.name}", "run", cache=tmp_path / "cache")
            if not store.exists("a"):
                store.write_bytes("a", b"x" * 1000)
            store.local("a")
        downloads = proxy.requests
        store.local("a")
        assert proxy.requests - downloads <= 2  # whether it is there, and its checksum


def test_whole_run_lies_on_s3(server, use, tmp_path):
    use(server)
    storage = f"s3://bucket/{tmp_path.name}"
    store = RunStore(storage, "tiny", cache=tmp_path / "cache")
    config = RunConfig(run_id="tiny", storage=storage)
    store.open(config)
    with store.writing("individuals/g0000/genome.safetensors", replace=True) as path:
        path.write_bytes(b"tensors")
    store.write_individual(IndividualRecord(id="g0000", genome="ab"))
    sample = SampleScore(id="os/x/1", score=1.0, reason="right", turns=2, tokens=9)
    evaluation = EvaluationRecord(
        genome="ab", skill="os", split="test", score=Score.of([1.0]), samples=[sample], data_hash="d",
        engine="e", batching="strict", tokens=9, seconds=0.1,
    )  # fmt: skip
    store.write_evaluation(evaluation, [])
    generation = GenerationRecord(
        generation=0, archive="os", individual="g0000", genome="ab", parents=["x", "y"],
        scores={"os": Score.of([1.0])}, cells={}, seconds=Phases(),
    )  # fmt: skip
    store.write_generation(generation)
    again = RunStore(storage, "tiny", cache=tmp_path / "elsewhere")
    assert again.config() == pinned(config)
    assert again.individuals() == [IndividualRecord(id="g0000", genome="ab")]
    assert again.local("individuals/g0000/genome.safetensors").read_bytes() == b"tensors"
    assert again.evaluation("ab", "os", "test") == evaluation
    assert again.generations() == [generation]
    assert list_runs(storage) == ["tiny"]
    assert _storage(config).ok


def test_preflight_names_the_setting_when_s3_refuses(server, use):
    use(server)
    found = _storage(RunConfig(storage="s3://nowhere/runs"))
    assert not found.ok
    assert "s3://nowhere/runs" in found.detail
    assert "storage" in found.remedy
    assert "AWS_" in found.remedy


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "profile"])
def test_endpoint_comes_from_the_standard_places(server, use, monkeypatch, tmp_path, variable):
    use(server)
    url = os.environ["AWS_ENDPOINT_URL_S3"]
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    if variable == "profile":
        (tmp_path / "config").write_text(f"[profile mine]\nendpoint_url = {url}\nregion = eu-west-1\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_PROFILE", "mine")
    else:
        monkeypatch.setenv(variable, url)
    store = ObjectStore(f"s3://bucket/{tmp_path.name}", "run", cache=tmp_path / "cache")
    store.write_bytes("a", b"1")
    assert store.read_bytes("a") == b"1"


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_region_comes_from_the_standard_places(server, use, monkeypatch, variable):
    use(server)
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.setenv(variable, "eu-central-1")
    fs = filesystem.open_filesystem("s3://bucket").fs
    assert fs.s3.meta.region_name == "eu-central-1"


def test_credentials_are_in_no_log_and_no_error(server, use, impatient, monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(filesystem, "REQUEST_ATTEMPTS", 1)
    caplog.set_level(logging.DEBUG)
    errors = []
    with FaultyProxy(server, share=1.0, faults=("500", "reset-before")) as proxy:
        use(proxy.port)
        monkeypatch.setenv("AWS_SESSION_TOKEN", "exampletokenexampletoken")
        store = ObjectStore("s3://bucket/runs", "run", cache=tmp_path)
        for action in (lambda: store.read_bytes("a"), lambda: store.write_bytes("a", b""), lambda: store.keys("a")):
            try:
                action()
            except StorageUnavailable as error:
                errors.append("".join(traceback.format_exception(error)))
    assert len(errors) == 3
    for text in (*errors, caplog.text):
        assert SECRET_KEY not in text
        assert "exampletoken" not in text
        assert "Signature=" not in text
