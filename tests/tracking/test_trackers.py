"""What every tracker keeps to: each value once, however often a run is started.

All packages come with the extra `dev`; in an environment without it, what is not installed is skipped.
"""

import json
import re
import struct
import subprocess
import sys
import tomllib
from pathlib import Path
from time import sleep

import pytest

from cycleqd.config import RunConfig, parse_config
from cycleqd.seams import TRACKERS
from cycleqd.tracking import Identity, Row, missing
from cycleqd.tracking.protocol import Steps
from tests.tracking.event_files import numbers_of

ROOT = Path(__file__).parents[2]
RUN = Identity("demo", "demo-0a1b2c3d")


def rows(first, last):
    return [Row(step, {"child/os": step / 8, "child/mean": step / 16}) for step in range(first, last)]


def tracking_store(place, run):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{place}/mlflow.db")
    experiment = client.get_experiment_by_name("cycleqd")
    (known,) = client.search_runs([experiment.experiment_id], filter_string=f"tags.`cycleqd.key` = '{run.key}'")
    history = {name: client.get_metric_history(known.info.run_id, name) for name in known.data.metrics}
    return {name: [(entry.step, entry.value) for entry in entries] for name, entries in history.items()}


def offline_folders(place, run):
    """What `wandb sync` would upload: a log in LevelDB's format of blocks, with a protocol buffer a record."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = {}
    for file in sorted((place / "wandb").glob(f"offline-run-*-{run.key}/*.wandb")):
        content, at, record = file.read_bytes(), 7, b""
        while at + 7 <= len(content):
            if 32768 - at % 32768 < 7:  # too little room for a head
                at += 32768 - at % 32768
                continue
            length, kind = struct.unpack_from("<HB", content, at + 4)
            record += content[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in (1, 4):  # the whole of a record, or its last part
                parsed = Record.FromString(record)
                record = b""
                values = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in parsed.history.item}
                for name, value in values.items():
                    axis = "/".join([*name.split("/")[:2], "step"]) if name.startswith("expert/") else "generation"
                    if not name.startswith("_") and name != axis:
                        found.setdefault(name, []).append((values[axis], value))
    return found


READERS = {
    "tensorboard": lambda place, run: numbers_of(place / run.key),
    "mlflow": tracking_store,
    "wandb": offline_folders,
}


@pytest.fixture(params=TRACKERS)
def kind(request, monkeypatch):
    name = request.param
    if name != "tensorboard" and missing(name, TRACKERS.load(name)):
        pytest.skip(f"an optional extra: pip install 'cycleqd[{TRACKERS.load(name).EXTRA}]'")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    return name


@pytest.fixture
def tracker(kind, tmp_path):
    place = f"sqlite:///{tmp_path}/mlflow.db" if kind == "mlflow" else str(tmp_path)
    return TRACKERS.make(kind, place=place)


def values(kind, folder, run=RUN):
    """Of a run, by name; TensorBoard keeps numbers of 32 bits."""
    found = READERS[kind](folder, run)
    return {name: [(step, pytest.approx(value)) for step, value in entries] for name, entries in found.items()}


def expected(*entries):
    found = {}
    for step, named in entries:
        for name, value in named.items():
            found.setdefault(name, []).append((step, value))
    return found


def next_second(kind):
    """W&B names folders by the second."""
    if kind == "wandb":
        sleep(1.1)


def test_values_come_back_under_their_names_and_steps_and_nothing_comes_twice(kind, tracker, tmp_path):
    losses = [Row(step, {"expert/os/loss": 1 / step}) for step in (1, 2, 3)]
    log = tracker.open(RUN)
    assert log.address
    log.describe({"experts.rank": "16", "skills.0.name": "os"})
    log.add([*losses, *rows(0, 2)])
    log.add(rows(0, 3))  # an attempt that is tried again
    log.close(failed=True)

    next_second(kind)
    again = tracker.open(RUN)
    again.describe({"experts.rank": "16", "generations": "4"})
    again.add([*losses, *rows(0, 4)])
    again.add([Row(4, {"test/cycleqd/mean": 0.5})])
    again.link({"report": "/runs/demo/report/index.html"})
    again.link({"report": "/moved/demo/report/index.html"})
    again.close(failed=False)

    next_second(kind)
    once_more = tracker.open(RUN)
    once_more.add([*rows(0, 4), Row(4, {"test/cycleqd/mean": 0.75, "test/average/mean": 0.25})])
    once_more.close(failed=False)
    final = Row(4, {"test/cycleqd/mean": 0.5, "test/average/mean": 0.25})
    assert values(kind, tmp_path) == expected(*losses, *rows(0, 4), final)


def test_another_run_of_the_same_name_is_another_run(kind, tracker, tmp_path):
    other = Identity("demo", "demo-ffffffff")
    for run in (RUN, other):
        log = tracker.open(run)
        log.add(rows(0, 2))
        log.close(failed=False)
    assert values(kind, tmp_path) == values(kind, tmp_path, other) == expected(*rows(0, 2))


def test_what_a_killed_start_left_is_completed(kind, tracker, tmp_path):
    code = (
        # tensorboardX imports these where they are there, which takes ten seconds.
        "import os, sys; sys.modules |= {'torch': None, 'boto3': None}\n"
        "from cycleqd.seams import TRACKERS; from cycleqd.tracking import Identity, Row\n"
        f"log = TRACKERS.make({kind!r}, place={tracker.place!r}).open(Identity(*{tuple(RUN)!r}))\n"
        "log.add([Row(step, {'child/os': step / 8, 'child/mean': step / 16}) for step in range(3)])\n"
        "os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert killed.returncode == -9, killed.stderr
    log = tracker.open(RUN)
    log.add(rows(0, 5))
    log.close(failed=False)
    assert values(kind, tmp_path) == expected(*rows(0, 5))


@pytest.mark.parametrize("lost", [1, 4, 20])
def test_event_file_that_was_cut_off_is_read_up_to_there_and_completed(tmp_path, lost):
    tracker = TRACKERS.make("tensorboard", place=str(tmp_path))
    log = tracker.open(RUN)
    log.add(rows(0, 3))
    (file,) = (tmp_path / RUN.key).iterdir()
    file.write_bytes(file.read_bytes()[:-lost])
    log = tracker.open(RUN)
    log.add(rows(0, 4))
    log.close(failed=False)
    assert values("tensorboard", tmp_path) == expected(*rows(0, 4))


def test_steps_are_news_once_and_only_forwards():
    steps = Steps({"a": 2})
    assert steps.news([Row(2, {"a": 1.0}), Row(3, {"a": 1.0, "b": 2.0}), Row(1, {"b": 3.0})]) == [
        Row(3, {"a": 1.0, "b": 2.0})
    ]
    assert steps.news([Row(3, {"a": 9.0, "b": 9.0})]) == []


def test_package_that_is_missing_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in TRACKERS:
        kind = TRACKERS.load(name)
        assert missing(name, kind) == (
            f"the tracker {name} needs the package {kind.PACKAGE}: pip install 'cycleqd[{kind.EXTRA}]'"
        )


def test_every_tracker_has_an_extra_that_installs_its_package():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pinned = (ROOT / "constraints.txt").read_text().lower()
    for name, row in TRACKERS.items():
        kind = TRACKERS.load(name)
        assert row.source.startswith("https://")
        assert isinstance(TRACKERS.make(name), kind)
        assert any(need.lower().startswith(kind.PACKAGE.lower()) for need in extras[kind.EXTRA])
        names = [re.match(r"[\w-]+", need)[0].lower() for need in extras[kind.EXTRA]]
        assert [name for name in names if f"\n{name}==" not in pinned] == []


@pytest.mark.parametrize(
    ("tracker", "fault"),
    [
        ({"kind": "neptune"}, r"trackers\.0\.kind.*no tracker is called 'neptune'"),
        ({"kind": "tensorboard", "project": "mine"}, r"trackers\.0\.project.*tensorboard has no project"),
        ({"kind": "tensorboard", "place": "s3://bucket/logs"}, r"trackers\.0\.place.*local folder"),
        ({"kind": "mlflow", "place": "https://me:secret@host"}, r"trackers\.0\.place.*MLFLOW_TRACKING_USERNAME"),
        ({"kind": "mlflow", "offline": True}, r"trackers\.0\.offline.*mlflow has no offline"),
        ({"kind": "wandb", "team": "us"}, r"trackers\.0\.team.*Extra inputs are not permitted"),
    ],
)
def test_settings_that_a_tracker_lacks_or_refuses_are_told_where_they_are(tracker, fault):
    with pytest.raises(ValueError, match=fault) as refused:
        parse_config({"trackers": [tracker]}, source="mine.yaml")
    assert "secret" not in str(refused.value)


def test_settings_survive_being_written_down():
    trackers = [{"kind": "wandb", "offline": False, "entity": "us"}, {"kind": "mlflow", "place": "http://host:5000"}]
    config = RunConfig.model_validate({"trackers": trackers})
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config
    assert [one.settings for one in config.trackers] == [
        {"offline": False, "entity": "us"},
        {"place": "http://host:5000"},
    ]
    with pytest.raises(ValueError, match="listed twice"):
        RunConfig.model_validate({"trackers": [{"kind": "tensorboard"}] * 2})
