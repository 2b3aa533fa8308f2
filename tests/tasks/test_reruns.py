from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from cycleqd.config import load_config, parse_config
from flows import rerun as flow
from tasks.reruns import rerun_id, rerun_seed

MOMENT = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)


def test_rerun_is_named_after_its_run_and_the_time():
    assert rerun_id("nightly", MOMENT) == "nightly-20260304-0506"


@pytest.mark.parametrize("length", [1, 48, 49, 50, 62, 63])
def test_every_name_that_a_run_may_have_leaves_room_for_the_time(length):
    for run_id in ("r" * length, ("a.-_" * 16)[:length]):
        name = rerun_id(parse_config({"run_id": run_id}).run_id, MOMENT)
        assert parse_config({"run_id": name}).run_id == name
        assert name.endswith("-20260304-0506")
        assert rerun_id(run_id, MOMENT) == name


def test_long_names_that_begin_alike_stay_apart():
    assert rerun_id("r" * 62 + "a", MOMENT) != rerun_id("r" * 62 + "b", MOMENT)


def test_seed_of_a_rerun_says_the_minute_that_it_was_scheduled_for():
    assert rerun_seed(0, MOMENT) == 202603040506
    assert rerun_seed(7, MOMENT) == 202603040513
    assert rerun_seed(0, MOMENT.replace(day=5)) != rerun_seed(0, MOMENT)


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_seed_of_every_rerun_is_one_that_a_run_may_have(seed):
    assert parse_config({"seed": rerun_seed(seed, MOMENT.replace(year=9999))}).seed >= 0


@pytest.fixture
def started(monkeypatch):
    """What the flow starts when it is scheduled for the moment."""
    monkeypatch.setattr(flow, "flow_run", SimpleNamespace(scheduled_start_time=MOMENT.replace(second=59)))
    runs = []
    monkeypatch.setattr(flow, "cycleqd_run", runs.append)
    return runs


def test_rerun_of_a_profile_repeats_all_that_the_profile_says(started):
    given = {"config": {"profile": "demo", "run_id": "nightly", "search": None}}
    flow.rerun.fn(**flow.rerun.validate_parameters(given))
    expected = load_config("demo").model_copy(update={"run_id": "nightly-20260304-0506", "seed": 202603040506})
    assert started == [expected]


def test_rerun_tries_another_seed_each_time_unless_told_to_keep_it(started):
    config = parse_config({"run_id": "nightly", "seed": 3})
    flow.rerun.fn(config)
    flow.rerun.fn(config)  # the same flow run, tried again
    flow.rerun.fn(config, keep_seed=True)
    assert [run.run_id for run in started] == ["nightly-20260304-0506"] * 3
    assert [run.seed for run in started] == [202603040509, 202603040509, 3]
