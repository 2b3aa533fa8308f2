import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from cycleqd.skills.benchmarks.benchmark import DATA_VARIABLE, DataUnavailable, Source
from cycleqd.skills.benchmarks.mbpp_plus.data import REMOVED, read_records, version_of
from cycleqd.skills.benchmarks.mbpp_plus.skill import MbppPlusSkill, solution_of
from cycleqd.skills.building import build_skill
from tests.skills.benchmarks.benchmark_data import FOLDER, MBPP, needs_mbpp


def record(number: int, **fields: Any) -> dict[str, Any]:
    """A task in the file's form: add one. Real numbers below 1000 have inputs of their own types."""
    plain = {
        "task_id": f"Mbpp/{number}",
        "prompt": f'"""\nWrite a function to add one, number {number}.\nassert add(1) == 2\n"""\n',
        "entry_point": "add",
        "canonical_solution": "\ndef add(n):\n  return n + 1\n",
        "base_input": [[1], [2]],
        "plus_input": [[10**6]],
        "atol": 0,
    }
    return plain | fields


def written(path: Path, *records: dict[str, Any]) -> Source:
    text = "".join(json.dumps(row) + "\n" for row in records)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return Source(data=str(path))


@needs_mbpp
def test_the_given_half_is_known_and_whole() -> None:
    records = read_records(Source(data=str(MBPP)))
    assert (len(records.tasks), records.version, records.skipped) == (189, "v0.2.0", ())
    # Of the file as it is released; another file must not go unnoticed.
    assert records.sha256 == "00aaf7def9abf27d6314836992c26362771876e430c35d623bdc9acf9309812d"


@needs_mbpp
def test_the_data_folder_of_the_environment_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(FOLDER))
    skill = build_skill("mbpp_plus", counts={"optimization": 20})
    assert len(skill.samples("optimization")) == 20
    assert len(skill.samples("test")) > 60
    assert skill.origin.prompt == "ours"
    ids = [{sample.id for sample in skill.samples(split)} for split in ("optimization", "test")]
    assert ids[0] & ids[1] == set()


def test_evalplus_own_override_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import evalplus.data.mbpp

    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    path = written(tmp_path / "mine.jsonl", record(1001)).data
    monkeypatch.setattr(evalplus.data.mbpp, "MBPP_OVERRIDE_PATH", path)  # read from the environment at import
    assert read_records(Source()).tasks.keys() == {"Mbpp/1001"}


def test_releases_are_told_apart_by_their_content() -> None:
    assert len(REMOVED) == 399 - 378
    assert version_of([record(2)], "x.jsonl") == "v0.2.0"
    assert version_of([record(2), record(83)], "x.jsonl") == "v0.1.0"
    assert version_of([record(734, prompt="see https://example.org")], "x.jsonl") == "v0.1.0"
    assert version_of([record(2)], "MbppPlus-v0.1.0.jsonl") == "v0.1.0"
    assert version_of([record(0, task_id="HumanEval/0")], "x.jsonl") == "HumanEval+"


@pytest.mark.parametrize(
    ("rows", "name", "fault"),
    [
        ([record(2), record(83)], "MbppPlus-v0.2.0.jsonl.gz", "two mixed releases"),
        ([record(2), record(0, task_id="HumanEval/0")], "x.jsonl", "HumanEval, Mbpp"),
        ([], "x.jsonl", "holds tasks of nothing"),
    ],
)
def test_mixed_data_is_refused(rows: list[dict[str, Any]], name: str, fault: str) -> None:
    with pytest.raises(DataUnavailable, match=fault):
        version_of(rows, name)


def test_a_task_is_in_the_same_half_in_both_releases(tmp_path: Path) -> None:
    address = "https://example.org/add/"
    old = [record(number) for number in range(1001, 1040)]
    old = [{**row, "prompt": row["prompt"].replace("add one", f"add one {address}")} for row in old]
    new = [{**row, "prompt": row["prompt"].replace(address, "")} for row in old]
    skills = [
        MbppPlusSkill(counts={}, source=written(tmp_path / f"{name}.jsonl", *rows))
        for name, rows in (("new", new), ("old", old))
    ]
    assert [skill.origin.version for skill in skills] == ["v0.2.0", "v0.1.0"]
    assert skills[0].origin.sha256 != skills[1].origin.sha256
    first, second = ([sample.id for sample in skill.samples("test")] for skill in skills)
    assert first == second


def test_unusable_and_excluded_records_are_reported_not_dropped(tmp_path: Path) -> None:
    broken = record(1003)
    del broken["canonical_solution"]
    source = written(tmp_path / "x.jsonl.gz", record(1002), broken, record(124), record(1005))
    skill = MbppPlusSkill(counts={}, source=Source(data=source.data, excluded=frozenset({"Mbpp/1005"})))
    reasons = {entry.id: entry.reason for entry in skill.origin.skipped}
    assert reasons.keys() == {"Mbpp/1003", "Mbpp/124", "Mbpp/1005"}
    assert reasons["Mbpp/1003"] == "the record has no canonical_solution"
    assert reasons["Mbpp/1005"] == "excluded by the configuration"


def test_a_file_of_another_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("no json\n")
    with pytest.raises(DataUnavailable, match="no file of JSON lines"):
        read_records(Source(data=str(path)))


def test_without_evalplus_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "evalplus.data.mbpp", None)
    with pytest.raises(DataUnavailable, match=r"pip install 'cycleqd\[benchmarks\]'"):
        read_records(Source(data="x"))


def test_the_prompt_can_be_the_users_own(tmp_path: Path) -> None:
    source = written(tmp_path / "x.jsonl", record(1002))
    ours = MbppPlusSkill(counts={}, source=source)
    (sample,) = (*ours.samples("optimization"), *ours.samples("test"))
    (message,) = ours.initial_messages(sample)
    assert sample.data["prompt"].strip() in message["content"]
    assert "{problem}" not in message["content"]
    for text, expected in [("A {problem} Z", 'A """\nWrite'), ("Solve it.", 'Solve it.\n\n"""\nWrite')]:
        (tmp_path / "prompt.txt").write_text(text)
        theirs = MbppPlusSkill(counts={}, source=Source(data=source.data, prompt_file=str(tmp_path / "prompt.txt")))
        assert theirs.initial_messages(sample)[0]["content"].startswith(expected)
        assert theirs.origin.prompt.startswith("sha256:")


def test_programs_are_found_in_replies_as_evalplus_finds_them() -> None:
    program = "import math\n\ndef add(n):\n    return n + 1"
    kept = "import math\ndef add(n):\n    return n + 1"
    for reply in (
        program,
        f"Sure:\n```python\n{program}\n```\nThat's it.",
        f"```\n{program}\nassert add(1) == 2\n```",
    ):
        assert solution_of(reply, "add") == kept
    assert "def add" not in solution_of("I can't do that.", "add")
    prose = "I think about it.\n" * 150
    assert solution_of(f"{prose}```python\n{program}\n```", "add") == kept
    assert solution_of("", "add") == ""


def test_helpers_without_return_are_kept() -> None:
    program = "def steps(n):\n    yield n\n\ndef add(n):\n    return list(steps(n))"
    assert "def steps" in solution_of(f"```python\n{program}\n```", "add")
    assert "def steps" not in solution_of(f"```python\n{program.replace('steps(n))', 'range(n))')}\n```", "add")


@pytest.mark.parametrize(
    "reply", ["(" * 8000, "x = " + "-" * 8000 + "1", "\n" * 8000, "é\0\ud800" * 100, "a" * 100_000]
)
def test_hostile_replies_are_read_in_bounded_time(reply: str) -> None:
    import time

    started = time.process_time()
    solution_of(reply, "add")
    assert time.process_time() - started < 10
