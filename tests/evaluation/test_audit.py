import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cycleqd.cli import app
from cycleqd.evaluation import audit as audit_module
from cycleqd.evaluation.audit import Audit, audit
from cycleqd.sandbox import SandboxUnavailable
from cycleqd.skills.benchmarks.benchmark import Source, read_exclusions
from cycleqd.skills.oracle import Agent, Played
from cycleqd.skills.protocol import Sample, SkillSession
from tests.skills.benchmarks.mbpp_plus.test_data import record, written

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


def test_every_sample_played_is_passed_or_broken(tmp_path: Path) -> None:
    def task(**evaluation: object) -> dict[str, object]:
        return {"description": str(evaluation), "evaluation": evaluation}

    tasks = [
        task(match="a"),
        task(match={"regex": "^[a-c]{3}$"}),
        task(check="false"),
        task(check="false", example="true"),
    ]
    (tmp_path / "dev.json").write_text(json.dumps(tasks))
    found = audit("agentbench_os", source=Source(data=str(tmp_path)), counts={})
    assert (found.n, found.oracle_passed, found.empty_passed, found.skipped) == (4, 1, 0, [])
    assert sorted(finding.reason for finding in found.broken) == [
        "no reference: the data has a check and no example",
        "no reference: the data has only a pattern",
        "the gold solution fails: step 1 of the check ends with 1: ''",
    ]


def test_a_failed_sandbox_is_tried_again_and_never_the_gold_solutions_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = written(tmp_path / "x.jsonl", *(record(number) for number in range(1001, 1004)))
    times: Counter[str] = Counter()
    plays = audit_module.play

    def play(session: SkillSession, sample: Sample, agent: Agent) -> Played:
        times[sample.id] += 1
        if times[sample.id] == 1 or sample.id == "Mbpp/1001":
            raise SandboxUnavailable("the engine is busy")
        return plays(session, sample, agent)

    monkeypatch.setattr(audit_module, "play", play)
    found = audit("mbpp_plus", source=source, counts={})
    assert (found.n, found.oracle_passed) == (3, 2)
    assert [(finding.id, finding.reason) for finding in found.broken] == [
        ("Mbpp/1001", "infrastructure failure, twice: the engine is busy")
    ]


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
