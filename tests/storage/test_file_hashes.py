import os

import pytest

import cycleqd.storage.file_hashes as file_hashes
from cycleqd.storage.file_hashes import REMEMBERED_BYTES, file_hash


@pytest.fixture(autouse=True)
def read(tmp_path, monkeypatch):
    """A cache of the test's own; what was really read."""
    monkeypatch.setenv("CYCLEQD_CACHE", str(tmp_path / "cache"))
    files = []
    reading = file_hashes.of_file

    def of_file(path):
        files.append(path.name)
        return reading(path)

    monkeypatch.setattr(file_hashes, "of_file", of_file)
    return files


@pytest.fixture
def large(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(REMEMBERED_BYTES))
    return path


def test_a_large_file_is_read_once(large, read):
    assert file_hash(large) == file_hash(large)
    assert read == ["model.safetensors"]


@pytest.mark.parametrize("keep_times", [False, True])
def test_a_file_that_was_swapped_is_read_again_even_with_the_size_and_time_of_the_old_one(large, tmp_path, keep_times):
    before, state = file_hash(large), large.stat()
    other = tmp_path / "other"
    other.write_bytes(b"1" + bytes(REMEMBERED_BYTES - 1))
    if keep_times:
        os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    other.replace(large)
    assert file_hash(large) != before


def test_a_damaged_memory_is_made_anew(large, tmp_path):
    before = file_hash(large)
    (memory,) = (tmp_path / "cache" / "hashes").iterdir()
    for content in (b"", b"[]", b"{}", b"\xff"):
        memory.write_bytes(content)
        assert file_hash(large) == before


def test_a_link_is_what_it_points_to(large, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(large)
    assert file_hash(link) == file_hash(large)


def test_a_cache_that_cannot_be_written_only_costs_time(large, tmp_path, read):
    (tmp_path / "cache").write_text("no folder")
    assert file_hash(large) == file_hash(large)
    assert len(read) == 2
