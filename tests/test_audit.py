import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cycleqd.audit import Audit, audit
from cycleqd.cli import app
from cycleqd.skills.benchmark import Source, read_exclusions
from tests.skills.test_mbpp_plus_data import record, written

pytestmark = pytest.mark.docker

KEYS = {"skill", "data_sha256", "n", "oracle_passed", "empty_passed", "broken", "skipped", "seconds"}


def odd_file(path: Path) -> Source:
    """Four sound tasks, one whose solution fails, one without a solution."""
    sound = [record(number) for number in range(1001, 1005)]
    broken = record(1005, canonical_solution="\ndef add(n):\n  return n + one\n")
    unusable = record(1006)
    del unusable["canonical_solution"]
    return written(path, *sound, broken, unusable)


def test_an_audit_finds_what_is_broken_and_what_is_skipped(tmp_path: Path) -> None:
    episodes: list[int] = []
    found = audit(
        "mbpp_plus",
        source=odd_file(tmp_path / "x.jsonl"),
        counts={},
        started=episodes.append,
        advanced=lambda: episodes.append(1),
    )
    assert (found.n, found.oracle_passed, found.empty_passed, found.cheated) == (5, 4, 0, [])
    assert [(finding.id, finding.reason) for finding in found.broken] == [
        (
            "Mbpp/1005",
            "the gold solution fails: base fail: the sample is broken: its reference fails call 1 of base: "
            "NameError: name 'one' is not defined (line 7)",
        )
    ]
    assert [finding.id for finding in found.skipped] == ["Mbpp/1006"]
    assert sum(sum(row.values()) for row in found.splits.values()) == 5
    assert episodes == [25] + [1] * 25


@pytest.mark.parametrize("name", ["coding", "os", "db"])
def test_generated_suites_are_sound(name: str) -> None:
    found = audit(name, counts={"train": 2, "optimization": 2, "test": 4})
    assert (found.n, found.oracle_passed, found.empty_passed) == (8, 8, 0)
    assert found.broken == found.skipped == found.cheated == []


def test_the_command_writes_the_table_and_takes_it_back_as_exclusions(tmp_path: Path) -> None:
    source, file = odd_file(tmp_path / "x.jsonl"), tmp_path / "found" / "audit.json"
    arguments = ["audit", "mbpp_plus", "--data", str(source.data), "--json", str(file)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "Mbpp/1005" in done.output
    written_audit = json.loads(file.read_text())
    assert written_audit.keys() >= KEYS
    assert Audit.model_validate(written_audit).oracle_passed == 4
    assert read_exclusions(file) == ("Mbpp/1005",)
    assert CliRunner().invoke(app, [*arguments, "--strict"]).exit_code == 1
    again = CliRunner().invoke(app, [*arguments, "--strict", "--exclude-file", str(file)])
    assert again.exit_code == 0, again.output
    assert [entry["id"] for entry in json.loads(file.read_text())["skipped"]] == ["Mbpp/1006", "Mbpp/1005"]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["agentbench"], "did you mean"),
        (["os", "--data", "x"], "os is generated"),
        (["mbpp_plus", "--data", "nowhere"], "neither a file nor a folder"),
    ],
)
def test_faults_are_one_line_and_exit_code_2(arguments: list[str], fault: str) -> None:
    done = CliRunner().invoke(app, ["audit", *arguments])
    assert done.exit_code == 2
    assert fault in done.stderr
    assert "Traceback" not in done.stderr
