"""The state of a training in processes of its own, as one file."""

import json
import tarfile
from contextlib import contextmanager

import pytest

from cycleqd.experts.trainers.keeping import Archive, Told

TOLD = Told([3.0, 2.5], [(2, 2.25)], 2, 2.2512345678901234, 1.5)


class Place:
    def __init__(self, file):
        self.file = file

    def read(self):
        return self.file if self.file.exists() else None

    @contextmanager
    def write(self):
        yield self.file


@pytest.fixture
def place(tmp_path):
    """A place that has the state of a training after two steps."""
    folder = tmp_path / "first"
    (folder / "checkpoints" / "checkpoint-2").mkdir(parents=True)
    (folder / "checkpoints" / "checkpoint-2" / "weights").write_text("two")
    (folder / "best-2").mkdir()
    (folder / "best-2" / "adapter").write_text("best")
    made = Place(tmp_path / "state")
    Archive(made, {"seed": 1}, folder).keep(2, TOLD)
    assert not (folder / "checkpoints" / "checkpoint-2").exists()
    assert (folder / "best-2" / "adapter").exists()  # it may be the expert yet
    return made


def test_what_was_kept_is_taken_up_in_another_folder(place, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    told, checkpoint = Archive(place, {"seed": 1}, again).restore()
    assert told == TOLD
    assert (checkpoint / "weights").read_text() == "two"
    assert (again / "best-2" / "adapter").read_text() == "best"


def test_the_state_of_another_training_is_not_taken(place, tmp_path):
    assert Archive(place, {"seed": 2}, tmp_path).restore() == (Told([], []), None)
    assert Archive(None, {"seed": 1}, tmp_path).restore() == (Told([], []), None)
    assert Archive(Place(tmp_path / "none"), {"seed": 1}, tmp_path).restore() == (Told([], []), None)


def test_where_nothing_is_kept_a_checkpoint_is_only_removed(tmp_path):
    (tmp_path / "checkpoints" / "checkpoint-2").mkdir(parents=True)
    Archive(None, {}, tmp_path).keep(2, TOLD)
    assert not (tmp_path / "checkpoints" / "checkpoint-2").exists()


def test_a_state_that_is_no_archive_or_reaches_out_of_its_folder_is_refused(place, tmp_path):
    whole = place.file.read_bytes()
    place.file.write_bytes(whole[:100])
    with pytest.raises(ValueError, match=f"remove {place.file}"):
        Archive(place, {"seed": 1}, tmp_path).restore()
    place.file.write_bytes(whole)
    with tarfile.open(place.file) as archive:
        key = json.load(archive.extractfile("state.json"))["key"]
    (tmp_path / "state.json").write_text(json.dumps({"key": key, "told": TOLD._asdict()}))
    with tarfile.open(place.file, "w") as archive:
        archive.add(tmp_path / "state.json", "state.json")
        archive.add(tmp_path / "state.json", "../outside")
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(ValueError, match="cannot be read"):
        Archive(place, {"seed": 1}, inside).restore()
    assert not (tmp_path / "outside").exists()
