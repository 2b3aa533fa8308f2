"""This machine's copies of remote objects, without any remote store."""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cycleqd.storage import ObjectCache, cache, checksums


class Source:
    """Objects that count how often they are downloaded."""

    def __init__(self):
        self.downloads = []

    def fetch(self, store, name, content):
        def download(path):
            self.downloads.append(name)
            time.sleep(0.01)
            path.write_bytes(content)

        return store.fetch(name, {name: checksums.of_bytes(content)}, download)


@pytest.fixture
def source():
    return Source()


def age(path, seconds):
    moment = time.time() - seconds
    os.utime(path.parent, (moment, moment))


def test_many_askers_share_one_download(tmp_path, source):
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: source.fetch(ObjectCache(tmp_path), "a", b"abc"), range(16)))
    assert {path.read_bytes() for path in paths} == {b"abc"}
    assert source.downloads == ["a"]


def test_two_versions_of_one_name_live_side_by_side(tmp_path, source):
    store = ObjectCache(tmp_path)
    assert source.fetch(store, "a", b"1").read_bytes() == b"1"
    assert source.fetch(store, "a", b"2").read_bytes() == b"2"


def test_least_recently_used_copies_go_first(tmp_path, source):
    store = ObjectCache(tmp_path, limit=350)
    paths = [source.fetch(store, name, name.encode() * 100) for name in "abc"]
    for path, seconds in zip(paths, (3000, 4000, 2000), strict=True):
        age(path, seconds)
    source.fetch(store, "d", b"d" * 100)
    assert [path.exists() for path in paths] == [True, False, True] or [p.exists() for p in paths] == [
        False,
        False,
        True,
    ]
    assert not paths[1].exists()
    assert list((tmp_path / "staging").iterdir()) == []


def test_copy_that_another_process_evicts_meanwhile_does_no_harm(tmp_path, source, monkeypatch):
    store = ObjectCache(tmp_path, limit=1)
    first = source.fetch(store, "a", b"a" * 100)
    entries = list(store._objects.iterdir())
    shutil.rmtree(first.parent)
    monkeypatch.setattr(Path, "iterdir", lambda folder: iter(entries))
    store._evict()


def test_copies_in_use_are_kept_beyond_the_limit(tmp_path, source):
    store = ObjectCache(tmp_path, limit=1)
    paths = [source.fetch(store, name, b"x" * 100) for name in "ab"]
    assert all(path.exists() for path in paths)


def test_copy_that_was_altered_is_downloaded_anew_by_the_next_process(tmp_path, source):
    path = source.fetch(ObjectCache(tmp_path), "a", b"abc")
    path.write_bytes(b"abd")
    cache._intact.clear()
    assert source.fetch(ObjectCache(tmp_path), "a", b"abc").read_bytes() == b"abc"
    assert source.downloads == ["a", "a"]


def test_what_a_killed_process_was_staging_is_swept(tmp_path):
    (tmp_path / "staging" / "dead").mkdir(parents=True)
    (tmp_path / "staging" / "dead.lock").touch()
    for name in ("dead", "dead.lock"):
        os.utime(tmp_path / "staging" / name, (0, 0))
    with ObjectCache(tmp_path).staging() as folder:
        assert [entry for entry in (tmp_path / "staging").iterdir() if entry.is_dir()] == [folder]
    assert list((tmp_path / "staging").iterdir()) == []


def test_staging_of_a_living_process_is_left_alone(tmp_path):
    with ObjectCache(tmp_path).staging() as first:
        os.utime(first, (0, 0))
        os.utime(f"{first}.lock", (0, 0))
        with ObjectCache(tmp_path).staging():
            assert first.exists()


@pytest.mark.parametrize("text", ["0", "-1", "much"])
def test_limit_that_is_no_positive_number_is_refused(monkeypatch, text):
    monkeypatch.setenv("CYCLEQD_CACHE_GB", text)
    with pytest.raises(ValueError, match="CYCLEQD_CACHE_GB must be a positive number"):
        cache.cache_limit()
