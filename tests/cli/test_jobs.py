"""Runs side by side; a job is a small program here. Real ones: tests/flows/test_experiment.py."""

import json
import os
import signal
import sys
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from cycleqd.cli import app, jobs
from cycleqd.experiment.plan import ExperimentConfig
from tests.live_prefect import ROOT, wait_for
from tests.processes import processes_with, started_apart

JOB = """
import json, os, sys, time
from pathlib import Path

arguments = sys.argv[1:]
method = arguments[arguments.index("--methods") + 1]
seed = arguments[arguments.index("--seeds") + 1]
print("played", method, flush=True)
began = time.monotonic()
time.sleep(0.3)
seen = {"arguments": arguments, "began": began, "ended": time.monotonic()}
seen |= {name: os.environ[name] for name in ("PYTHONPATH", "PREFECT_SERVER_DATABASE_CONNECTION_URL")}
Path(f"{method}-{seed}.json").write_text(json.dumps(seen))
sys.exit(3 if method == "fails" else 0)
"""


@pytest.fixture
def entry(monkeypatch, tmp_path):
    monkeypatch.setattr(jobs, "ENTRY", (sys.executable, "-c", JOB))
    monkeypatch.delenv(jobs.DATABASE, raising=False)
    monkeypatch.chdir(tmp_path)


def experiment(tmp_path, *methods):
    return ExperimentConfig(
        name="mine", storage=str(tmp_path / "runs"), seeds=(1,), children=1, methods={name: {} for name in methods}
    )


def seen(tmp_path, name):
    return json.loads((tmp_path / f"{name}.json").read_text())


def test_a_run_that_fails_is_named_and_the_others_have_their_turn(entry, tmp_path):
    unfinished = jobs.play_side_by_side(experiment(tmp_path, "fails", "a", "b", "c"), 2, ["plan.yaml"], None)
    log = tmp_path / "runs" / "mine-fails-1.log"
    assert unfinished == [f"mine-fails-1 (exit code 3, {log})"]
    assert log.read_text() == "played fails\n"
    fails, a, b, c = (seen(tmp_path, f"{name}-1") for name in ("fails", "a", "b", "c"))
    assert fails["ended"] < a["began"]
    assert a["ended"] < min(b["began"], c["began"])
    assert b["began"] < c["ended"]
    assert c["began"] < b["ended"]


def test_a_job_is_the_command_for_one_method_and_seed_with_a_database_of_its_own(entry, tmp_path):
    restricted = ["plan.yaml", "--children", "1"]
    assert jobs.play_side_by_side(experiment(tmp_path, "a", "b"), 2, restricted, tmp_path / "out") == []
    one, two = (seen(tmp_path, f"{name}-1") for name in "ab")
    assert one["arguments"] == ["experiment", *restricted, "--methods", "a", "--seeds", "1", "--as-job"]
    assert one[jobs.DATABASE] != two[jobs.DATABASE]
    assert not os.path.exists(os.path.dirname(one[jobs.DATABASE].removeprefix("sqlite+aiosqlite:///")))
    assert one["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)
    assert (tmp_path / "out" / "mine-a-1.log").exists()


def test_logs_of_runs_that_lie_elsewhere_go_into_a_folder_of_this_machine(entry, tmp_path):
    remote = experiment(tmp_path, "a").model_copy(update={"storage": "memory://bucket/runs"})
    assert jobs.play_side_by_side(remote, 2, ["plan.yaml"], None) == []
    assert (tmp_path / "runs" / "mine-a-1.log").exists()


def test_help_tells_what_is_for_people():
    told = CliRunner().invoke(app, ["experiment", "--help"], env={"COLUMNS": "200"}).output
    assert "--jobs" in told
    assert "--as-job" not in told
    assert CliRunner().invoke(app, ["experiment", "table2", "--dry-run", "--jobs", "0"]).exit_code == 2


PLAN = """
name: mine
storage: runs
seeds: [1, 2]
children: 1
methods: {a: {}, b: {}}
"""

PROGRAM = """
import sys
import cycleqd.cli.experiment
from cycleqd.cli import app, jobs

cycleqd.cli.experiment.preflight = lambda config: True
jobs.ENTRY = (sys.executable, "-c", sys.argv.pop())
app()
"""

SLOW_JOB = """
import signal, sys, time
from pathlib import Path
from cycleqd.cli.jobs import end_with_starter

seed = sys.argv[sys.argv.index("--seeds") + 1]

def end(*_):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one would break this off
    Path(f"asked-{seed}").touch()
    time.sleep(1)
    Path(f"orderly-{seed}").touch()
    sys.exit(143)

signal.signal(signal.SIGTERM, end)
end_with_starter()
Path(f"up-{seed}").touch()
while True:
    time.sleep(0.1)
"""


@contextmanager
def started(folder, job):
    (folder / "plan.yaml").write_text(PLAN)
    mark = str(folder)
    command = [sys.executable, "-c", PROGRAM, "experiment", "plan.yaml", "--jobs", "4", job]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MARK": mark}
    process = started_apart(command, folder / "log", cwd=folder, env=environment)
    try:
        yield process
    finally:
        for left in [process, *processes_with("MARK", mark)]:
            left.kill()
        process.wait()


def all_there(folder, name):
    return all((folder / f"{name}-{seed}").exists() for seed in (1, 2))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_all_jobs_end_in_order_when_the_command_is_asked_to_end_also_twice(tmp_path, number, code):
    with started(tmp_path, SLOW_JOB) as process:
        wait_for(lambda: process.poll() is not None or all_there(tmp_path, "up"), seconds=300)
        assert process.poll() is None, (tmp_path / "log").read_text()
        os.killpg(process.pid, number)  # as a terminal does: to all processes of the command
        wait_for(lambda: all_there(tmp_path, "asked"), seconds=60, every=0.05)
        os.killpg(process.pid, number)
        assert process.wait(timeout=60) == code
        assert all_there(tmp_path, "orderly")
        assert processes_with("MARK", str(tmp_path)) == []
    said = (tmp_path / "log").read_text()
    assert "ending mine-a-1, mine-a-2" in said
    assert "What was finished is kept; continue with:" in said
    assert "FAILED" not in said


def test_jobs_of_a_command_that_was_killed_end_by_themselves(tmp_path):
    with started(tmp_path, SLOW_JOB) as process:
        wait_for(lambda: process.poll() is not None or all_there(tmp_path, "up"), seconds=300)
        assert process.poll() is None, (tmp_path / "log").read_text()
        process.kill()
        wait_for(lambda: all_there(tmp_path, "orderly"), seconds=60)
        wait_for(lambda: not processes_with("MARK", str(tmp_path)), seconds=60)


def test_the_command_tells_what_is_not_finished_and_makes_the_table(tmp_path):
    with started(tmp_path, "import sys; sys.exit(5)") as process:
        assert process.wait(timeout=300) == 1
    said = " ".join((tmp_path / "log").read_text().split())
    assert "No seed is finished for all methods yet" in said
    assert (
        "not finished; start the experiment again to continue them: mine-a-1 (exit code 5, runs/mine-a-1.log)" in said
    )
    assert said.count("FAILED") == 4
