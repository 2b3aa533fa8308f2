"""Which run may begin when; runs are names here, and nothing is played."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.experiment.plan import PlannedRun
from cycleqd.experiment.schedule import Schedule


def plan(seeds=(1,), methods=("a", "b", "c")):
    return [PlannedRun(method, seed, None) for seed in seeds for method in methods]


def begin_all(schedule):
    begun = []
    while (run := schedule.begin()) is not None:
        begun.append(run)
    return begun


def test_a_seeds_first_run_goes_ahead_and_the_others_follow_when_it_is_finished():
    a, b, c = plan()
    schedule = Schedule([a, b, c], jobs=8)
    assert begin_all(schedule) == [a]
    schedule.end(a, well=True)
    assert begin_all(schedule) == [b, c]
    assert not schedule.is_over
    schedule.end(c, well=True)
    schedule.end(b, well=False)
    assert schedule.is_over


def test_if_the_first_run_fails_the_next_one_goes_ahead():
    a, b, c = plan()
    schedule = Schedule([a, b, c], jobs=8)
    begin_all(schedule)
    schedule.end(a, well=False)
    assert begin_all(schedule) == [b]
    schedule.end(b, well=True)
    assert begin_all(schedule) == [c]


def test_seeds_do_not_wait_for_each_other():
    runs = plan(seeds=(1, 2), methods=("a", "b"))
    schedule = Schedule(runs, jobs=3)
    assert begin_all(schedule) == [runs[0], runs[2]]
    schedule.end(runs[2], well=True)
    assert begin_all(schedule) == [runs[3]]


def test_nobody_goes_ahead_where_a_run_of_the_seed_is_finished():
    runs = plan()
    assert begin_all(Schedule(runs, jobs=2, finished={1})) == runs[:2]


def test_no_job_at_all_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        Schedule(plan(), jobs=0)


@given(st.data(), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.sets(st.integers(0, 3)))
def test_every_run_has_one_turn_and_no_two_runs_train_experts_of_one_seed(data, seeds, methods, jobs, finished):
    runs = plan(range(seeds), [f"m{number}" for number in range(methods)])
    schedule, playing, done, ready = Schedule(runs, jobs, finished), [], [], set(finished)
    while not schedule.is_over:
        playing += begin_all(schedule)
        assert 0 < len(playing) <= jobs  # else nothing would ever end
        alone = [run.seed for run in playing if run.seed not in ready]
        assert len(alone) == len(set(alone))
        if len(playing) < jobs:  # whoever waits, waits for the experts of the seed
            assert all(run.seed in alone for run in runs if run not in playing and run not in done)
        run = data.draw(st.sampled_from(playing))
        well = data.draw(st.booleans())
        playing.remove(run)
        done.append(run)
        schedule.end(run, well=well)
        if well:
            ready.add(run.seed)
    assert sorted(done) == sorted(runs)
