import json

import pytest

from cycleqd.config import parse_config
from cycleqd.experts.conversations import content_hash
from cycleqd.experts.data import DataSource, EvaluationNgrams, TrainingDataUnavailable, prepare, prepare_skill
from cycleqd.preflight.checks import _training_data
from cycleqd.skills.building import build_skill
from tests.experts.data.files import (
    DB_PROMPT,
    OS_PROMPT,
    agent_flan_row,
    evol_row,
    oss_row,
    write_lines,
    write_parquet,
)


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def agent_flan(tmp_path):
    rows = [agent_flan_row(f"os_{n}") for n in range(6)] + [agent_flan_row(f"db_{n}", DB_PROMPT) for n in range(4)]
    return write_lines(tmp_path / "flan.jsonl", [*rows, {"id": "os_9", "conversation": []}])


def prepared(*sources, evaluated=None, seed=0):
    return prepare(sources, evaluated=evaluated, decontamination=8, seed=seed)


def counts(report):
    return report.rows, report.elsewhere, report.malformed, report.contaminated, report.capped, report.kept


def test_every_row_is_counted_once(tmp_path):
    evaluated = EvaluationNgrams([["Act: bash os_3 and then some more words of the evaluation"]], 5)
    path = agent_flan(tmp_path)
    rows = [*(agent_flan_row(f"os_{n}", answer="Act: bash os_3 and then") for n in range(2))]
    contaminated = write_lines(tmp_path / "bad.jsonl", rows)
    whole = prepared(DataSource("agent_flan", path, subset="os", max_samples=5))
    assert counts(whole.report.sources[0]) == (11, 4, 1, 0, 1, 5)
    assert whole.report.sources[0].first_fault
    with pytest.raises(TrainingDataUnavailable, match="2 contaminated"):
        prepared(DataSource("agent_flan", contaminated), evaluated=evaluated)


def test_contaminated_rows_are_left_out_and_the_words_are_shown(tmp_path):
    question = "Write a function that returns the second largest of all numbers"
    path = write_lines(tmp_path / "evol.jsonl", [evol_row(1), evol_row(2, f"Hello. {question}, please.")])
    found = prepared(DataSource("magicoder_evol", path), evaluated=EvaluationNgrams([[question]], 8))
    assert counts(found.report.sources[0]) == (2, 0, 0, 1, 0, 1)
    assert found.report.sources[0].first_shared == "write a function that returns the second largest"
    assert found.report.decontamination == 8
    assert prepared(DataSource("magicoder_evol", path)).report.decontamination == 0


def test_sources_follow_each_other_whatever_their_form(tmp_path):
    evol = write_parquet(tmp_path / "evol.parquet", [evol_row(n) for n in range(3)])
    oss = write_lines(tmp_path / "oss.jsonl", [oss_row(n) for n in range(2)])
    found = prepared(DataSource("magicoder_evol", evol), DataSource("magicoder_oss", oss))
    assert [c[0]["content"] for c in found.conversations] == [
        *(f"Write program {n}." for n in range(3)),
        *(f"Write function {n}." for n in range(2)),
    ]
    assert found.report.conversations == 5


def test_hash_is_of_the_content_and_the_order(tmp_path):
    source = DataSource("agent_flan", agent_flan(tmp_path), subset="os")
    first, again = prepared(source), prepared(source)
    assert first.report == again.report
    assert first.report.hash == content_hash(first.conversations) != content_hash(first.conversations[::-1])
    capped = [prepared(DataSource("agent_flan", source.path, max_samples=3), seed=seed) for seed in (0, 0, 1, 2)]
    hashes = [found.report.hash for found in capped]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) > 1
    assert all(found.report.conversations == 3 for found in capped)


def test_wrong_recipe_is_told_by_the_columns_that_it_expects(tmp_path):
    path = write_lines(tmp_path / "oss.jsonl", [oss_row(1)])
    with pytest.raises(TrainingDataUnavailable, match=r"none of 1 rows.*instruction.*expects instruction, response"):
        prepared(DataSource("magicoder_evol", path))


def test_unknown_subset_is_told_by_what_lies_elsewhere(tmp_path):
    with pytest.raises(TrainingDataUnavailable, match="11 of other subsets than 'sql'"):
        prepared(DataSource("agent_flan", agent_flan(tmp_path), subset="sql"))


def test_a_run_keeps_the_samples_of_all_its_skills_out_of_every_experts_data(tmp_path):
    skills = [build_skill(name, seed=0, counts={"optimization": 3, "test": 3}) for name in ("os", "db")]
    leaks = [skill.initial_messages(skill.samples("test")[0])[-1]["content"] for skill in skills]
    rows = [agent_flan_row("os_0", OS_PROMPT), *(agent_flan_row(f"os_{n}", leak) for n, leak in enumerate(leaks, 1))]
    source = {"recipe": "agent_flan", "path": write_lines(tmp_path / "flan.jsonl", rows), "subset": "os"}
    data = {"os": {"sources": [source], "decontamination": 8}}
    config = parse_config({"skills": [{"name": "os"}, {"name": "db"}], "experts": {"data": data}})
    assert counts(prepare_skill(config, "os", skills).report.sources[0]) == (3, 0, 0, 2, 0, 1)


def test_preflight_finds_the_data_or_names_the_setting(tmp_path):
    def check(path):
        data = {"os": {"sources": [{"recipe": "agent_flan", "path": path}]}}
        return _training_data(parse_config({"experts": {"data": data}}))

    assert check(agent_flan(tmp_path)).ok
    missing = check(str(tmp_path / "missing.jsonl"))
    assert not missing.ok
    assert "experts.data.os.sources.0.path" in missing.remedy
    assert _training_data(parse_config({})).ok


def test_first_malformed_row_is_named_by_its_number(tmp_path):
    def row(*roles):
        return {"messages": [{"role": role, "content": "text"} for role in roles]}

    odd = [row(["user"], "assistant"), row("assistant", "user", "assistant"), row("user", "user", "assistant"), [1], 7]
    path = write_lines(tmp_path / "odd.jsonl", [row("user", "assistant"), row("user", "assistant"), *odd])
    (report,) = prepared(DataSource("chat", path)).report.sources
    assert (report.rows, report.malformed, report.kept) == (7, 5, 2)
    assert report.first_fault.startswith("row 3: message 1 has role ['user']")
    assert report.model_dump_json()


def test_line_that_is_no_utf8_costs_its_row_and_not_the_file(tmp_path):
    path = tmp_path / "cut.jsonl"
    good = [json.dumps(agent_flan_row(f"os_{n}")).encode() for n in range(3)]
    cut = b'{"conversation": "half an emoji, as other languages write it: \xed\xa0\xbd"}'
    path.write_bytes(b"\n".join([good[0], cut, b"[1]", b"[" * 50_000 + b"]" * 50_000, good[1], b"", good[2]]))
    (report,) = prepared(DataSource("agent_flan", str(path), subset="os")).report.sources
    assert (report.rows, report.elsewhere, report.malformed, report.kept) == (6, 0, 3, 3)
    assert report.first_fault == "row 2: no UTF-8 text (byte 62 of line 2)"
