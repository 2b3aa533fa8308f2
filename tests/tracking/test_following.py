"""What trackers get of a run: all that its records say, once, whatever fails in between."""

import logging
import shutil

import pytest

from cycleqd.config import TrackerConfig
from cycleqd.experts import TrainingSummary
from cycleqd.report import replay, summarise
from cycleqd.run.names import SUMMARY_KEY, TRACKING_KEY
from cycleqd.run.replay import search_after_each
from cycleqd.run.store import RunStore
from cycleqd.run.upkeep.inventory import Inventory
from cycleqd.run.upkeep.rescoring import set_aside
from cycleqd.tracking import TrackerMissing
from cycleqd.tracking.following import PATIENCE_SECONDS, Following, everything, following, identity, made_of
from cycleqd.tracking.measures import flat, metric
from cycleqd.tracking.protocol import Steps
from tests.report.synthetic import synthetic_run, trained


class Book:
    """A tracker that keeps everything in memory, over any number of starts, and fails when it is told to."""

    def __init__(self):
        self.values, self.links, self.settings, self.ends, self.opened, self.broken = {}, {}, {}, [], 0, False
        self.address = "memory"

    def open(self, run):
        self._answer()
        self.opened += 1
        self.steps = Steps({name: entries[-1][0] for name, entries in self.values.items()})
        return self

    def _answer(self):
        if self.broken:
            raise ConnectionError("no answer from https://me:secret@host")

    def describe(self, settings):
        self.settings |= settings

    def add(self, rows):
        self._answer()
        for step, values in self.steps.news(rows):
            for name, value in values.items():
                self.values.setdefault(name, []).append((step, value))

    def link(self, addresses):
        self.links |= addresses

    def close(self, *, failed):
        self.ends.append(failed)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return synthetic_run(str(tmp_path_factory.mktemp("runs")), generations=6)


@pytest.fixture
def store(made, tmp_path):
    """A finished run of six generations, without its report."""
    shutil.copytree(made.url(), tmp_path / made.run_id)
    return RunStore(str(tmp_path), made.run_id)


def states(store):
    """Each generation's record with the archives after it, which are the same object, as in a run."""
    seed, children = store.seed(), store.generations()
    archives = (search.archives for _, search in search_after_each(store, seed, children))
    yield from zip(children, archives, strict=True)


def test_a_tracker_gets_every_generation_every_loss_and_the_final_scores_once(store):
    book, summary = Book(), summarise(store)
    store.write_json(SUMMARY_KEY, summary.model_dump(mode="json"))
    for _ in range(2):
        followed = Following(store, [("book", book)])
        followed.begin()
        for skill in summary.skills:
            followed.trained(skill, store.fields(TrainingSummary, f"experts/{skill}/summary.json"))
        for record, archives in states(store):
            followed.committed(record, archives)
        followed.reported(summary)
        followed.end(failed=False)
    records, history = store.generations(), replay(store)
    assert book.values["child/os"] == [(record.generation, record.scores["os"].score) for record in records]
    assert book.values["best/mean"] == [(i, progress.best_overall) for i, progress in enumerate(history.progress[1:])]
    assert book.values["archive/db/cells"] == [(i, one.filled["db"]) for i, one in enumerate(history.progress[1:])]
    assert book.values["expert/os/loss"] == [(step, pytest.approx(1 / step, rel=1e-5)) for step in range(1, 21)]
    assert book.values["expert/os/validation_loss"] == [(10, 0.4), (20, 0.3)]
    assert book.values["test/cycleqd/mean"] == [(6, summary.splits["test"]["cycleqd"]["mean"])]
    assert book.values["test/expert-os/os"] == [(6, summary.splits["test"]["expert:os"]["os"].score)]
    low, high = book.values["test/cycleqd/mean_low"][0][1], book.values["test/cycleqd/mean_high"][0][1]
    assert low < summary.splits["test"]["cycleqd"]["mean"] < high
    assert book.settings["skills.0.name"] == "coding"
    assert book.links["report"] == store.url("report/index.html")
    assert (book.opened, book.ends) == (2, [False, False])


def test_what_is_told_generation_by_generation_is_what_a_late_start_tells(store):
    late, live = Book(), Book()
    begun = RunStore(store.storage, "begun")
    begun.open(store.config().model_copy(update={"run_id": "begun"}))
    followed = Following(begun, [("book", live)])
    followed.begin()
    assert everything(begun) == []
    for skill in store.config().skill_names:
        followed.trained(skill, trained())
    for record, archives in states(store):
        followed.committed(record, archives)
    Following(store, [("book", late)]).begin()
    assert live.values == late.values


def test_a_tracker_that_fails_costs_the_run_nothing_and_gets_later_what_it_missed(store, caplog):
    book, clock = Book(), Clock()
    followed = Following(store, [("book", book)], clock=clock)
    book.broken = True
    with caplog.at_level(logging.WARNING):
        followed.begin()
        for record, archives in states(store):
            followed.committed(record, archives)
    (told,) = caplog.messages  # it was not asked again at once
    assert "the tracker book failed (ConnectionError: no answer from https://***@host); the run goes on" in told
    book.broken = False
    *_, last = states(store)
    followed.committed(*last)
    assert not book.values
    clock.now = PATIENCE_SECONDS
    followed.committed(*last)
    assert [step for step, _ in book.values["child/os"]] == list(range(6))
    book.broken = True
    followed.committed(*last)
    book.broken = False
    followed.end(failed=True)  # which asks a last time
    assert [step for step, _ in book.values["child/os"]] == list(range(6))
    assert (book.opened, book.ends) == (2, [True])


def test_a_run_stays_the_same_run_for_trackers_until_it_is_removed_or_its_search_begins_again(store):
    first = identity(store)
    assert identity(store) == first
    assert first.run_id == "synthetic"
    stale = [key for key in Inventory(store).under("evaluations") if key.endswith("optimization.json")]
    set_aside(store, stale, {})
    assert not store.exists(TRACKING_KEY)
    assert identity(store).key != first.key


def test_a_missing_package_is_refused_before_anything_else(store, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    trackers = [TrackerConfig(kind="mlflow"), TrackerConfig(kind="wandb")]
    with pytest.raises(TrackerMissing, match=r"pip install 'cycleqd\[mlflow\]'; .*pip install 'cycleqd\[wandb\]'"):
        made_of(trackers)
    with pytest.raises(TrackerMissing), following(store, trackers):
        raise AssertionError("it was begun")
    assert not store.exists(TRACKING_KEY)


def test_a_run_without_trackers_is_as_it_was(store):
    with following(store, ()) as followed:
        assert followed is None
    assert not store.exists(TRACKING_KEY)


def test_a_start_that_ends_by_a_fault_is_told_as_failed(store, monkeypatch):
    book = Book()
    monkeypatch.setattr("cycleqd.tracking.following.made_of", lambda trackers: [("book", book)])
    with pytest.raises(KeyboardInterrupt), following(store, ()):
        raise KeyboardInterrupt
    assert book.ends == [True]


def test_names_are_such_as_all_trackers_take():
    assert metric("test", "baseline:iso-c-flattening-0.5", "os") == "test/baseline-iso-c-flattening-0.5/os"
    assert metric("child", "my skill/α") == "child/my-skill-"


def test_settings_are_told_by_path():
    assert flat({"a": {"b": 1, "c": None}, "d": [{"e": True}, ""]}) == {"a.b": "1", "d.0.e": "True"}
