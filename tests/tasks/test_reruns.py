from datetime import UTC, datetime

import pytest

from cycleqd.config import parse_config
from tasks.reruns import rerun_id

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
