"""The command that compares methods; nothing is played here."""

import pytest
from typer.testing import CliRunner

from cycleqd.cli import app
from cycleqd.experiment import masks, pairs


def planned(*arguments):
    return CliRunner().invoke(app, ["experiment", "table2", "--dry-run", *arguments])


def test_a_dry_run_lists_the_runs_of_the_seeds_that_are_asked_for():
    result = planned("--seeds", "20,21", "--children", "6")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 10
    assert lines[0] == "table2-qd-20: qd, seed 20, 6 generations"
    assert lines[-1] == "table2-cycleqd-21: cycleqd, seed 21, 6 generations"


def test_methods_that_are_named_are_the_only_ones_in_the_plans_order():
    result = planned("--seeds", "20", "--methods", "cycleqd, qd")
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == ["table2-qd-20", "table2-cycleqd-20"]
    result = planned("--methods", "qd", "--methods", "cycleq")
    assert result.exit_code == 2
    assert "table2 has no method 'cycleq'; there are" in " ".join(result.stderr.split())


@pytest.mark.parametrize("seeds", ["ten", "010", "1_0", "1,", "-1", "1 2"])
def test_seeds_that_are_no_numbers_are_refused(seeds):
    result = planned(f"--seeds={seeds}")
    assert result.exit_code == 2
    assert "whole numbers" in result.output


@pytest.mark.parametrize(("config", "figures"), [("demo", 0), ("sam-demo", 6)])
def test_pairs_are_drawn_where_models_segment(config, figures, tmp_path, monkeypatch):
    table = pairs.Table(pairs=[], correlation=None, seeds=[0], intervals={}, experts={}, unfinished=[])
    monkeypatch.setattr(pairs, "collect_pairs", lambda settings, seeds: table)
    monkeypatch.setattr(masks, "to_figure", lambda config: b"figure")
    result = CliRunner().invoke(app, ["pairs", config, "--only-report", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert len(list(tmp_path.glob("*.png"))) == figures
    assert (tmp_path / "table4.md").exists()
