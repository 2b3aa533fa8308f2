import json
import os

import pytest
from typer.testing import CliRunner

from cycleqd import cli
from cycleqd.cli import common
from cycleqd.run.lease import Lease
from tests.run.upkeep.toy_run import begin, evolve, remove


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setattr(common.out, "width", 200)
    monkeypatch.setattr(common.err, "width", 200)


@pytest.fixture
def storage(tmp_path):
    evolve(begin(str(tmp_path)), 12)
    return str(tmp_path)


def call(*arguments):
    result = CliRunner().invoke(cli.app, list(arguments))
    return result, " ".join((result.stdout + result.stderr).split())


@pytest.mark.parametrize("command", ["verify", "prune", "metrics"])
def test_every_command_explains_itself(command):
    result, _ = call(command, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout


def test_verify_tells_that_all_is_well(storage):
    result, text = call("verify", "toy", "--storage", storage)
    assert result.exit_code == 0
    assert "nothing is missing or damaged" in text
    assert "12 generations, 15 individuals (0 pruned), 45 evaluations" in text


def test_verify_lists_what_is_missing_and_fails(storage, tmp_path):
    remove(tmp_path / "toy" / "individuals" / "g0002" / "genome.safetensors")
    result, text = call("verify", "toy", "--storage", storage)
    assert result.exit_code == 1
    assert "individuals/g0002/genome.safetensors missing" in text
    result, _ = call("verify", "toy", "--storage", storage, "--json")
    assert result.exit_code == 1
    (fault,) = json.loads(result.stdout)["faults"]
    assert (fault["key"], fault["kind"]) == ("individuals/g0002/genome.safetensors", "missing")


def test_prune_shows_first_and_then_does_the_same(storage, tmp_path):
    genomes = tmp_path.glob("toy/individuals/*/genome.safetensors")
    before = len(list(genomes))
    result, dry = call("prune", "toy", "--storage", storage, "--dry-run")
    assert result.exit_code == 0
    assert len(list(tmp_path.glob("toy/individuals/*/genome.safetensors"))) == before
    result, wet = call("prune", "toy", "--storage", storage)
    assert result.exit_code == 0, wet
    assert wet == dry.replace("would be freed", "freed")
    removed = before - len(list(tmp_path.glob("toy/individuals/*/genome.safetensors")))
    assert removed > 0
    assert f"{removed} individuals" in wet
    assert call("verify", "toy", "--storage", storage)[0].exit_code == 0


def test_prune_is_refused_while_the_run_is_being_written_to(storage, tmp_path):
    from cycleqd.run.store import RunStore

    lease = Lease.acquire(RunStore(storage, "toy"))
    result, text = call("prune", "toy", "--storage", storage)
    lease.release()
    assert result.exit_code == 2
    assert f"being written to by process {os.getpid()}" in text


def test_metrics_are_printed_as_they_were_written(storage):
    result, _ = call("metrics", "toy", "--storage", storage)
    assert result.exit_code == 0
    assert result.stdout.endswith("# EOF\n")
    assert 'cycleqd_children_total{run="toy"}' in result.stdout


def test_run_without_metrics_says_when_they_come(tmp_path):
    begin(str(tmp_path), run_id="new")
    result, text = call("metrics", "new", "--storage", str(tmp_path))
    assert result.exit_code == 2
    assert "after each generation" in text
