"""What every trainer keeps to: the loop is the measure, in one process and in two."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from itertools import count
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

from cycleqd.base_model import BaseWeights
from cycleqd.experts import TrainingSettings
from cycleqd.experts.conversations import Encoded
from cycleqd.experts.summary import TrainingStopped
from cycleqd.experts.trainers import TrainingFailed
from cycleqd.experts.trainers.assignment import Assignment
from cycleqd.run.names import TRAINING
from cycleqd.seams import EXPERT_SOURCES, TRAINERS
from tests.state_file import StateFile

USUAL = {"rank": 4, "alpha": 8.0, "dtype": "float32", "learning_rate": 1e-2, "max_length": 128, "seed": 3, "epochs": 3}
FULL = {"method": "full", "learning_rate": 3e-3}
VALIDATED = {"validation_fraction": 0.25, "packing": True, "micro_batch": 2, "epochs": 49 / 18}
"""Of the last batch, of one conversation, the second process gets none."""
TWO = {"processes": 2}
slow = pytest.mark.slow  # a process takes seconds to load its libraries


def conversations():
    return [
        [
            {"role": "user", "content": f"say {'ab'[index % 2] * (1 + index % 7)}"},
            {"role": "assistant", "content": "aye" if index % 2 else "no"},
        ]
        for index in range(24)
    ]


def train(kind, given, base, out, *, talks=None, progress=None, stop=None, place=None, **settings):
    trainer = TRAINERS.make(kind, **given)
    return trainer.train(
        base, talks or conversations(), out, TrainingSettings(**USUAL | settings),
        progress=progress or (lambda _: None), stop=stop, place=place,
    )  # fmt: skip


def often(kind, given, monkeypatch):
    """Settings by which the state is kept after each step or every second."""
    if kind == "loop":
        monkeypatch.setattr("cycleqd.experts.resuming.SECONDS", 0.0)
        monkeypatch.setattr("cycleqd.experts.resuming.SHARE", 0.0)
        return given
    return given | {"save_steps": 2}


def weights_of(folder):
    return load_file(next(folder.glob("*.safetensors")))


def children():
    return [child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]


def names_in(folder):
    return sorted(file.name for file in folder.iterdir())


def timeless(summary):
    return summary._replace(seconds=0.0, tokens_per_second=0.0)


@pytest.mark.parametrize("kind", TRAINERS)
def test_a_row_names_the_file_of_its_state_which_is_removed_with_the_others(kind):
    assert TRAINERS.load(kind).STATE in TRAINING
    assert TRAINERS[kind].source


@pytest.fixture(scope="module")
def whole(tiny_tied, tmp_path_factory):
    """What a trainer makes undisturbed, once for all tests: its folder, its summary, and how it went."""
    made = {}

    def make(kind, given, settings):
        key = json.dumps([kind, given, settings])
        if key not in made:
            out, seen = tmp_path_factory.mktemp("whole") / "expert", []
            made[key] = out, train(kind, given, tiny_tied, out, progress=seen.append, **settings), seen
        return made[key]

    return make


@pytest.mark.parametrize(
    ("kind", "given", "settings"),
    [
        pytest.param("loop", {}, VALIDATED, id="loop"),
        pytest.param("transformers", {}, VALIDATED, id="transformers", marks=slow),
        pytest.param("transformers", {}, FULL, id="transformers-full", marks=slow),
        pytest.param("transformers", TWO, VALIDATED, id="two-processes", marks=slow),
    ],
)
def test_the_expert_is_the_loops_up_to_rounding_and_in_one_process_bit_for_bit(
    kind, given, settings, whole, tiny_tied, tmp_path
):
    folder, expected, _ = whole("loop", {}, settings)
    if given:
        other, summary, seen = whole(kind, given, settings)
    else:  # anew, the loop too
        other, seen = tmp_path / "expert", []
        summary = train(kind, given, tiny_tied, other, progress=seen.append, **settings)
    one, two = weights_of(folder), weights_of(other)
    assert one.keys() == two.keys()
    exactly = given.get("processes", 1) == 1
    tolerance = {"rtol": 0, "atol": 0} if exactly else {"rtol": 1e-3, "atol": 1e-4}
    for name, tensor in one.items():
        assert_close(two[name], tensor, **tolerance)
    assert summary.losses == pytest.approx(expected.losses, rel=1e-4)
    assert list(summary.validation_losses) == [
        (step, pytest.approx(loss, rel=1e-4)) for step, loss in expected.validation_losses
    ]
    for field in ("steps", "conversations", "tokens", "left_out", "data_hash"):
        assert getattr(summary, field) == getattr(expected, field)
    if exactly:
        assert timeless(summary) == timeless(expected)
    assert [state.step for state in seen] == list(range(1, expected.steps + 1))
    assert all(state.tokens_per_second > 0 for state in seen)
    assert names_in(other) == names_in(folder)
    EXPERT_SOURCES.make("trained", other).update(BaseWeights(tiny_tied))


@pytest.mark.parametrize(("kind", "given"), [("loop", {}), pytest.param("transformers", TWO, marks=slow)])
def test_a_training_that_was_killed_goes_on_and_gives_the_same_expert_bit_for_bit(
    kind, given, whole, tiny_tied, tmp_path, monkeypatch
):
    folder, expected, _ = whole(kind, given, VALIDATED)
    place, seen, number = StateFile(tmp_path), [], count(1)

    def killed(state):
        seen.append(state.step)
        if next(number) == 5:
            raise KeyboardInterrupt

    kept = often(kind, given, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(kind, kept, tiny_tied, tmp_path / "killed", place=place, progress=killed, **VALIDATED)
    assert not (tmp_path / "killed").exists()
    assert children() == []
    summary = train(kind, kept, tiny_tied, tmp_path / "killed", place=place, progress=killed, **VALIDATED)
    assert seen == [1, 2, 3, 4, 5, *range(5, expected.steps + 1)]
    assert timeless(summary) == timeless(expected)
    for name, tensor in weights_of(folder).items():
        assert_close(weights_of(tmp_path / "killed")[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["loop", pytest.param("transformers", marks=slow)])
def test_a_training_that_is_told_to_stop_keeps_where_it_was_and_goes_on_from_there(kind, tiny_tied, tmp_path):
    given = TWO if kind == "transformers" else {}
    place, stop, seen = StateFile(tmp_path), threading.Event(), []

    def stopping(state):
        seen.append(state.step)
        if state.step == 2:
            stop.set()

    with pytest.raises(TrainingStopped):
        train(kind, given, tiny_tied, tmp_path / "expert", stop=stop, progress=stopping, place=place, epochs=400)
    assert place.written == 1
    assert not (tmp_path / "expert").exists()
    assert children() == []
    done = len(seen)
    stop.clear()

    def again(state):
        seen.append(state.step)
        stop.set()

    with pytest.raises(TrainingStopped):  # with one process: a state belongs to no number of them
        train(kind, {}, tiny_tied, tmp_path / "expert", stop=stop, progress=again, place=place, epochs=400)
    assert seen[done] == done + 1
    with pytest.raises(TrainingStopped):  # before anything is started
        train(kind, given, tiny_tied, tmp_path / "expert", stop=stop, place=place)


@pytest.mark.parametrize("kind", ["loop", pytest.param("transformers", marks=slow)])
def test_a_training_that_diverges_ends_with_a_remedy(kind, tiny_tied, tmp_path):
    with pytest.raises(RuntimeError, match="lower the learning rate"):
        train(kind, {}, tiny_tied, tmp_path / "expert", epochs=20, learning_rate=1e30)
    assert not (tmp_path / "expert").exists()
    assert children() == []


@pytest.mark.parametrize("kind", TRAINERS)
def test_a_damaged_state_is_refused_before_anything_starts(kind, tiny_tied, tmp_path):
    place = StateFile(tmp_path)
    (tmp_path / "state").write_bytes(b"{}")
    with pytest.raises(ValueError, match=f"cannot be read.*remove {tmp_path / 'state'}"):
        train(kind, {}, tiny_tied, tmp_path / "damaged", place=place)


@pytest.mark.parametrize("kind", TRAINERS)
def test_what_cannot_be_trained_on_is_refused_before_anything_starts(kind, tiny_tied, tmp_path):
    with pytest.raises(ValueError, match="max_length=16"):
        train(kind, {}, tiny_tied, tmp_path / "expert", max_length=16)
    shown = [[{"role": "user", "content": "what?", "image": "vqa/1"}, {"role": "assistant", "content": "a"}]]
    with pytest.raises(ValueError, match="training without a vision tower"):
        train(kind, {}, tiny_tied, tmp_path / "expert", talks=shown)


@slow
def test_processes_that_die_are_a_fault_that_says_what_they_said(tiny_tied, tmp_path):
    def kill_one(state):
        if state.step == 2:
            next(child for child in children() if "trainers.worker" in " ".join(child.cmdline()[-2:])).kill()

    with pytest.raises(TrainingFailed, match="training ended with status"):
        train("transformers", TWO, tiny_tied, tmp_path / "expert", progress=kill_one, epochs=4000)
    assert children() == []


@slow
def test_no_process_outlives_whoever_started_it(tiny_tied, tmp_path):
    program = f"""
        from pathlib import Path
        from tests.contracts.test_trainers import train
        def told(state):
            if state.step == 2:
                print("begun", flush=True)
        train("transformers", {{"processes": 2}}, Path({str(tiny_tied)!r}), Path("out"), progress=told, epochs=4000)
    """
    starter = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(str(Path(entry or ".").absolute()) for entry in sys.path)},
    )
    assert starter.stdout.readline() == b"begun\n"
    started = psutil.Process(starter.pid).children(recursive=True)
    assert len(started) >= 3  # the launcher and two
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    assert psutil.wait_procs(started, 60)[1] == []


@slow
def test_accelerates_launcher_starts_them_and_activations_computed_again_change_nothing(whole, tiny_tied, tmp_path):
    """On a CPU accelerate's launcher starts one process."""
    file = tmp_path / "accelerate.yaml"
    settings = {
        "compute_environment": "LOCAL_MACHINE", "distributed_type": "NO", "use_cpu": True, "num_processes": 1,
        "num_machines": 1, "machine_rank": 0, "mixed_precision": "no",
    }  # fmt: skip
    file.write_text(json.dumps(settings))
    given = {"accelerate_config": str(file), "gradient_checkpointing": True}
    summary = train("transformers", given, tiny_tied, tmp_path / "expert", **VALIDATED)
    assert timeless(summary)._replace(losses=()) == timeless(whole("loop", {}, VALIDATED)[1])._replace(losses=())


def test_as_many_processes_as_were_asked_for_or_none(tmp_path):
    """What a file starts may be another number than the configuration says."""
    from cycleqd.experts.trainers.course import take

    Assignment(
        base="", settings=TrainingSettings(), padding=2, epoch_steps=1, processes=2, passes=1,
        gradient_checkpointing=False, save_steps=None,
    ).write(tmp_path, [Encoded([1, 2], [-100, 2])], [], [[0]])  # fmt: skip
    with pytest.raises(RuntimeError, match=r"2 processes were asked for and 1 started.*experts\.trainer\.processes"):
        take(tmp_path)
