"""Plans against what can be computed by hand."""

import sys

import pytest

from cycleqd.config import RunConfig
from cycleqd.config.refinement import RefinementConfig
from cycleqd.planning import Trace, plan, traces_of
from cycleqd.planning.simulation import SimulatorMissing, simulate
from cycleqd.planning.traces import refinement_seconds, trainings
from cycleqd.planning.whole import besides
from cycleqd.run.names import ALL_DATA, REFINED, commit_key, expert_key
from cycleqd.run.store import RunStore
from tests.report.synthetic import synthetic_run
from tests.run.upkeep.toy_run import forge


def test_without_its_package_the_install_command_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "simpy", None)
    with pytest.raises(SimulatorMissing, match=r"pip install 'cycleqd\[plan\]'"):
        simulate([Trace(0, 1, 0, 1)], evaluators=1, in_flight=1)


@pytest.fixture(autouse=True)
def _simulator(request):
    if "install_command" not in request.node.name:
        pytest.importorskip("simpy", reason="pip install 'cycleqd[plan]'")


CHILDREN = [Trace(coordinator=1.0, engine=6.0, rest=3.0, tokens=100)] * 12


def test_one_evaluator_takes_what_its_children_take():
    found = simulate(CHILDREN, evaluators=1, in_flight=1)
    assert found.seconds == pytest.approx(12 * 10)
    assert found.busy == pytest.approx(0.6)
    assert found.tokens == 1200


def test_with_more_in_flight_breeding_hides_behind_scoring():
    assert simulate(CHILDREN, evaluators=1, in_flight=2).seconds == pytest.approx(1 + 12 * 9)


def test_a_search_is_never_faster_than_its_coordinator():
    assert simulate(CHILDREN, evaluators=12, in_flight=64).seconds >= 12 * 1.0


@pytest.mark.parametrize("evaluators", [1, 2, 3, 6])
def test_more_evaluators_are_faster_and_none_is_busy_for_more_than_all_the_time(evaluators):
    fewer = simulate(CHILDREN, evaluators=evaluators, in_flight=12)
    more = simulate(CHILDREN, evaluators=2 * evaluators, in_flight=12)
    assert more.seconds < fewer.seconds
    assert fewer.seconds * evaluators >= 12 * 9
    assert 0 < more.busy <= fewer.busy <= 1


def test_who_waits_for_a_slow_child_is_committed_after_it():
    slow, fast = Trace(0.0, 10.0, 0.0, 1), Trace(0.0, 1.0, 0.0, 1)
    # Child 2 may begin only when child 0 is committed, although an evaluator is free long before.
    assert simulate([slow, fast, fast], evaluators=2, in_flight=2).seconds == pytest.approx(11.0)


def test_as_they_complete_nobody_waits_for_a_slow_one():
    slow, fast = Trace(0.0, 10.0, 0.0, 1), Trace(0.0, 1.0, 0.0, 1)
    found = simulate([slow, *[fast] * 8], evaluators=2, in_flight=2, ordered=False)
    assert found.seconds == pytest.approx(10.0)
    assert simulate([slow, *[fast] * 8], evaluators=2, in_flight=2).seconds == pytest.approx(14.0)
    assert simulate(CHILDREN, evaluators=1, in_flight=1, ordered=False) == simulate(
        CHILDREN, evaluators=1, in_flight=1
    )


def test_plans_repeat_themselves_and_say_what_they_assume():
    traces = [Trace(1.0, 4.0, 2.0, 100), Trace(1.0, 8.0, 2.0, 300)]
    settings = {"source": "run x", "generations": 40, "in_flight": 1, "seed": 3, "price": 2.0, "bytes_each": 10.0}
    one, two = (plan(traces, evaluators=number, **settings) for number in (1, 2))
    assert plan(traces, evaluators=1, **settings) == one
    assert one.seconds_low <= one.seconds <= one.seconds_high
    assert one.seconds == pytest.approx(40 * 9, rel=0.2)
    assert one.cost == pytest.approx(2.0 * one.seconds / 3600)
    assert one.bytes == 400.0
    assert two.in_flight == 2
    assert any("2 children are in flight instead of 1" in line for line in two.assumptions)


def test_refinement_is_planned_as_the_run_trained_and_is_at_most_all_samples(tmp_path):
    skills = [{"name": name, "train": 2, "optimization": count, "test": 2} for name, count in (("os", 10), ("db", 30))]
    config = RunConfig.model_validate({"skills": skills, "refinement": {"epochs": 2}})
    store = RunStore(str(tmp_path), "run")
    store.open(config)
    assert refinement_seconds(store, config) is None
    for name, seconds in (("os", 6.0), ("db", 2.0)):
        store.write_json(expert_key(name, "summary.json"), {"seconds": seconds, "conversations": 8})
    assert refinement_seconds(store, config) == pytest.approx(2 * 40 * 0.5)
    store.write_json(expert_key(REFINED, "summary.json"), {"seconds": 3.0, "conversations": 1})
    assert refinement_seconds(store, config) == pytest.approx(2 * 40 * 3.0)
    assert refinement_seconds(store, config.model_copy(update={"refinement": RefinementConfig()})) == 0


@pytest.mark.parametrize(("seconds", "told"), [(None, "nothing is known"), (30.0, "comes on top"), (0.0, "")])
def test_a_plan_says_what_it_knows_of_refinement(seconds, told):
    found = plan([Trace(0.0, 1.0, 0.0, 1)], source="x", generations=1, evaluators=1, in_flight=1, refinement=seconds)
    assert found.refinement == seconds
    assert [told in line for line in found.assumptions if "last step" in line or "learns" in line] == [True] * bool(
        told
    )


def test_another_engine_takes_the_tokens_it_has_to_generate():
    traces = [Trace(0.0, 99.0, 1.0, 500)]
    found = plan(traces, source="x", generations=10, evaluators=1, in_flight=1, tokens_per_second=100.0)
    assert found.seconds == pytest.approx(10 * 6.0)


@pytest.mark.parametrize(
    ("evaluators", "shared", "seconds"),
    [(1, True, 40 * 10), (2, True, 40 * 6), (2, False, 40 * 5), (8, True, 40 * 6), (8, False, 40 * 10 / 8)],
)
def test_evaluators_of_one_machine_are_never_faster_than_its_processors(evaluators, shared, seconds):
    # Six of ten seconds' worth of all cores: two evaluators would want twelve.
    traces = [Trace(0.0, 8.0, 2.0, 100, machine=6.0)]
    found = plan(traces, source="x", generations=40, evaluators=evaluators, in_flight=8, shared=shared)
    assert found.seconds == pytest.approx(seconds)
    assert any("share the processors" in line for line in found.assumptions) == shared
    assert found.seconds_low <= found.seconds <= found.seconds_high


@pytest.mark.parametrize("evaluators", [1, 2, 4])
def test_engines_that_wait_for_processors_are_not_busy(evaluators):
    traces = [Trace(0.0, 8.0, 2.0, 100, machine=9.0)]
    settings = {"source": "x", "generations": 40, "evaluators": evaluators, "in_flight": 4}
    for shared in (True, False):
        found = plan(traces, shared=shared, **settings)
        assert found.busy == pytest.approx(40 * 8 / (evaluators * found.seconds))


def test_cores_that_were_not_measured_limit_nothing_and_the_plan_says_so():
    known, unknown = Trace(0.0, 10.0, 0.0, 1, machine=10.0), Trace(0.0, 10.0, 0.0, 1)
    settings = {"source": "x", "generations": 10, "evaluators": 2, "in_flight": 2, "shared": True}
    assert plan([known], **settings).seconds == pytest.approx(100)
    other = plan([known], tokens_per_second=1.0, **settings)
    for found in (plan([known, unknown], **settings), other):
        assert any("was not measured" in line for line in found.assumptions)
    assert plan([known, unknown], **settings).seconds == pytest.approx(50)
    assert other.seconds == pytest.approx(5)


def test_a_runs_children_say_what_they_took_of_the_machine(tmp_path):
    store = synthetic_run(str(tmp_path))
    assert {trace.machine for trace in traces_of(store)} == {None}
    (record, *_) = store.generations()
    busy = record.model_copy(update={"load": 0.25})
    forge(store.local(commit_key(record.generation)), busy.model_dump_json())
    assert RunStore(store.storage, store.run_id).generations()[0] == busy
    assert traces_of(store)[0].machine == pytest.approx(0.25 * record.seconds.total)


@pytest.mark.parametrize("trained", [True, False], ids=["experts_and_all_data", "all_data"])
def test_data_of_unknown_size_are_as_large_as_one_experts_whatever_all_data_took(tmp_path, trained):
    store = synthetic_run(str(tmp_path))
    summaries = trainings(store, store.config().skill_names)
    (size,) = {one["conversations"] for one in summaries}
    (seconds,) = {one["seconds"] for one in summaries}
    store.write_json(expert_key(ALL_DATA, "summary.json"), {"seconds": 3 * seconds, "conversations": 3 * size})
    if not trained:
        for skill in store.config().skill_names:
            store.local(expert_key(skill, "summary.json")).unlink()
    values = store.config().model_dump(mode="json")
    values |= {"skills": [{"name": "vqa", "optimization": 2, "test": 2}], "model": {"vision": "tiny-vision"}}
    values |= {"baselines": [], "comparison": {"all_data": True}}
    found = besides(store, RunConfig.model_validate(values), traces_of(store))
    assert found.training == pytest.approx(2 * seconds)


@pytest.mark.parametrize(
    ("experts", "conversations"),
    [
        ({"source": {"os": "/adapter"}}, 3 * (2 * 4 + 3 * 4)),
        ({"epochs_by_skill": {"os": 10}}, 4 * (3 + 3 + 10) + 3 * 3 * 4),
    ],
    ids=["one_has_a_source", "one_has_epochs_of_its_own"],
)
def test_all_data_are_those_of_every_skill_in_the_epochs_of_all(tmp_path, experts, conversations):
    store = synthetic_run(str(tmp_path))
    values = store.config().model_dump(mode="json")
    for skill in values["skills"]:
        skill["train"] = 4
    values["experts"] |= {"epochs": 3, **experts}
    values |= {"baselines": [], "comparison": {"all_data": True}}
    found = besides(store, RunConfig.model_validate(values), traces_of(store))
    (seconds,) = {one["seconds"] / one["conversations"] for one in trainings(store, store.config().skill_names)}
    assert found.training == pytest.approx(conversations * seconds)


def test_nothing_is_planned_from_nothing():
    with pytest.raises(ValueError, match="no children to learn from"):
        plan([], source="x", generations=1, evaluators=1, in_flight=1)


def test_a_run_that_is_not_finished_says_nothing_of_whole_runs(tmp_path):
    store = synthetic_run(str(tmp_path), finished=False)
    assert besides(store, store.config(), traces_of(store)) is None


def test_the_rest_of_a_run_is_trained_tested_and_awaited_as_a_finished_one_was(tmp_path):
    store = synthetic_run(str(tmp_path))
    traces, config = traces_of(store), store.config()
    found = besides(store, config, traces)
    summary = trainings(store, config.skill_names)
    each = sum(one["seconds"] for one in summary) / sum(one["conversations"] for one in summary)
    assert found.training == pytest.approx(each * sum(config.counts(skill)["train"] for skill in config.skill_names))
    child = sum(one.engine + one.rest for one in traces) / len(traces)
    assert found.scored == pytest.approx(child * (3 + 3 + 9))  # nine scales of three baselines
    assert found.tested == pytest.approx(1.5 * (3 + 3 + 3 + 3))
    assert found.other == pytest.approx(sum(session.seconds.other for session in store.sessions()))
    assert found.seconds(1) - found.seconds(3) == pytest.approx(2 / 3 * (found.scored + found.tested))
    more = config.model_dump(mode="json")
    for skill in more["skills"]:
        skill["test"] *= 2
    more |= {"comparison": {"elites": False, "all_data": True}, "baselines": []}
    other = besides(store, RunConfig.model_validate(more), traces)
    assert other.tested == pytest.approx(2 * 1.5 * (3 + 3 + 1))
    assert other.training == pytest.approx(2 * found.training)
    whole, plain = (
        plan(traces, source="x", generations=6, evaluators=1, in_flight=1, refinement=seconds, rest=found)
        for seconds in (5.0, 0.0)
    )
    assert [any("is refined" in line for line in one.assumptions) for one in (whole, plain)] == [True, False]
    assert whole.whole == pytest.approx(whole.seconds + 5.0 + found.seconds(1))
