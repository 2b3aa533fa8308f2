"""The drill's judge sees what differs, what was repeated and what was left, and nothing else."""

import pytest

from cycleqd.config import RunConfig
from cycleqd.run.records import EvaluationRecord, GenerationRecord, IndividualRecord, Phases, SampleScore, Score
from cycleqd.run.store import RunStore
from cycleqd.telemetry.events import line
from tests.drill import judge


def _store(folder, *, score=1.0, seconds=1.0):
    store = RunStore(str(folder), "run")
    store.open(RunConfig(run_id="run"))
    with store.writing("individuals/g0000/genome.safetensors") as path:
        path.write_bytes(b"tensors")
    store.write_individual(IndividualRecord(id="g0000", genome="ab"))
    sample = SampleScore(id="os/x/1", score=score, reason="right", turns=1, tokens=9)
    evaluation = EvaluationRecord(
        genome="ab", skill="os", split="test", score=Score.of([score]), samples=[sample], data_hash="d",
        engine="e", batching="strict", tokens=9, seconds=seconds,
    )  # fmt: skip
    store.write_evaluation(evaluation, [])
    generation = GenerationRecord(
        generation=0, archive="os", individual="g0000", genome="ab", parents=["x", "y"],
        scores={"os": Score.of([score])}, cells={}, seconds=Phases(generate=seconds),
    )  # fmt: skip
    store.write_generation(generation)
    return store


def test_times_make_no_difference_and_scores_do(tmp_path):
    first, slower, other = (
        judge.content(_store(tmp_path / name, **given))
        for name, given in (("a", {}), ("b", {"seconds": 2.0}), ("c", {"score": 0.0}))
    )
    assert judge.differences(first, slower) == []
    assert judge.differences(first, other) == ["evaluations/ab/os-test.json", "generations/00000.json"]


def test_an_object_that_one_run_lacks_is_a_difference(tmp_path):
    found = judge.content(_store(tmp_path))
    assert set(judge.differences(found, {})) == set(found) != set()


def _line(what, individual="g0000"):
    fields = {"event": f"evaluation_{what}", "run": "run", "individual": individual, "skill": "os", "split": "test"}
    return line(fields)


@pytest.mark.parametrize("what", ["started", "finished"])
@pytest.mark.parametrize(("individual", "genome"), [("g0000", "ab"), ("base", "base")])
def test_told_evaluations_are_read_from_a_log_with_other_lines(tmp_path, what, individual, genome):
    log = (
        f"12:00:00 | INFO | cycleqd.telemetry.events - {_line(what, individual)}\n{_line('retried')}\nsomething else\n"
    )
    assert judge.evaluations_told(log, _store(tmp_path)) == [(what, (genome, "os", "test"))]


def test_lines_that_a_kill_cut_off_tell_nothing(tmp_path):
    whole = _line("finished")
    log = "\n".join(whole[:end] for end in range(whole.index(" split=") + 1))
    assert judge.evaluations_told(log, _store(tmp_path)) == []


def test_an_evaluation_that_was_begun_again_is_repeated_whether_it_ended_or_not():
    one, other = ("ab", "os", "test"), ("ab", "db", "test")
    started, finished = ("started", one), ("finished", one)
    assert judge.repeated([started, started, finished, ("started", other)], set()) == []
    assert judge.repeated([started, finished, started], set()) == [one]
    assert judge.repeated([started], {one}) == [one]


def test_a_record_whose_beginning_nobody_told_is_not_measured():
    one, other = ("ab", "os", "test"), ("ab", "db", "test")
    assert judge.untold([("started", one), ("finished", other)], {one, other}) == [other]


def test_finished_evaluations_are_those_with_a_record(tmp_path):
    assert judge.finished_evaluations(_store(tmp_path)) == {("ab", "os", "test")}
