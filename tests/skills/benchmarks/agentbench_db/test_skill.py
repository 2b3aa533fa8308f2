import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import docker
import pytest

from cycleqd.evaluation.audit import audit
from cycleqd.sandbox import DatabaseServer, DatabaseServers, Sandboxes, SandboxUnavailable, StatementResult, Table
from cycleqd.skills.benchmarks.agentbench_db.judge import published_form
from cycleqd.skills.benchmarks.agentbench_db.skill import (
    TABLE_STATE,
    Action,
    AgentBenchDbSession,
    AgentBenchDbSkill,
    final_answer,
    observation,
    operation,
    parse_action,
)
from cycleqd.skills.benchmarks.benchmark import DataUnavailable, Source
from cycleqd.skills.oracle import OracleAgent, Played, play
from cycleqd.skills.parsing import LONG_REPLY_CHARS
from cycleqd.skills.protocol import NoReference, Sample
from tests.skills.benchmarks.benchmark_data import FOLDER

DEV = FOLDER / "agentbench" / "dbbench" / "dev.jsonl"
needs_dev = pytest.mark.skipif(not DEV.is_file(), reason=f"no AgentBench file in {FOLDER}; set CYCLEQD_DATA_DIR")


def record(**changes: Any) -> dict[str, Any]:
    columns = [{"name": "name", "type": "TEXT"}, {"name": "born in", "type": "INT"}]
    rows = [["Ada", "1815"], ["Alan", 1912], ["Grace", None]]
    return {
        "description": "When was Alan born?",
        "add_description": "The table is people.",
        "type": ["other"],
        "label": ["1912"],
        "table": {"table_name": "people", "table_info": {"columns": columns, "rows": rows}},
    } | changes


def table(columns: list[str], rows: list[list[Any]], name: str = "people") -> dict[str, Any]:
    return {"table_name": name, "table_info": {"columns": [{"name": c} for c in columns], "rows": rows}}


def skill_of(path: Path, *records: Any, excluded: frozenset[str] = frozenset()) -> AgentBenchDbSkill:
    file = path / "dev.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in records))
    return AgentBenchDbSkill(counts={}, source=Source(data=str(file), excluded=excluded))


def only(skill: AgentBenchDbSkill) -> Sample:
    (sample,) = (*skill.samples("optimization"), *skill.samples("test"))
    return sample


@pytest.mark.parametrize(
    ("reply", "action"),
    [
        ("I look.\nAction: Operation\n```sql\nSELECT 1;\n```", Action("operation", "SELECT 1;")),
        ("Action: Operation\n```sql\nSELECT a\nFROM t\n```", Action("operation", "SELECT a FROM t")),
        ("Action: Operation\n```sql\nSELECT 1\n```\n```sql\nSELECT 2\n```", Action("operation", "SELECT 1")),
        ("Action: Operation\n```sql\nSELECT 1\n```\nFinal Answer: [1]", Action("operation", "SELECT 1")),
        ('Action: Answer\nFinal Answer: ["a"]', Action("answer", ' ["a"]')),
        ("So be it.\nFinal Answer: 7", Action("answer", " 7")),
        ("Action: operation\nFinal Answer:", Action("answer", "")),
        ("Action: Answer\nAction: Operation\n```sql\nSELECT 1\n```\nFinal Answer: 1", Action("answer", " 1")),
    ],
)
def test_the_first_named_action_decides_and_an_answer_needs_no_name(reply: str, action: Action) -> None:
    assert parse_action(reply) == action


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "SELECT 1;",
        "```sql\nSELECT 1;\n```",
        "Final Answer: [1]",
        "Action: Operation",
        "Action: Operation\n```\nSELECT 1;\n```",
        "Action: Operation\n```sql\nSELECT 1;",
        "Action: Operation \n```sql\nSELECT 1;\n```",
        "Action: Operation\nFinal Answer: [1]",
        "Action: Answer Final Answer: [1]",
    ],
)
def test_everything_else_is_no_action(reply: str) -> None:
    assert parse_action(reply) is None


@pytest.mark.parametrize("part", ["Action: ", "```sql\nx", "\nFinal Answer:", "Action: Operation\n```sql\n"])
def test_a_long_reply_is_read_in_linear_time(part: str) -> None:
    began = time.monotonic()
    parse_action(part * (LONG_REPLY_CHARS // len(part)))
    parse_action("Action: Operation\n" + part * (LONG_REPLY_CHARS // len(part)))
    assert time.monotonic() - began < 2


def test_results_are_shown_as_tuples_and_cut_at_800_characters() -> None:
    assert observation(StatementResult((("a", None),), 0, None, False)) == "[('a', None)]"
    assert observation(StatementResult((), 1, None, False)) == "[]"
    assert observation(StatementResult((), 0, "ERROR 1054: Unknown column", False)) == "ERROR 1054: Unknown column"
    long = observation(StatementResult((("x" * 5000,),), 0, None, False))
    assert long.endswith("x[TRUNCATED]")
    assert len(long) == 811


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"table": table(["", "b"], [])}, "a name .* is empty"),
        ({"table": table(["a", "A"], [])}, "share a name"),
        ({"table": table(["resume", "Résumé"], [])}, "share a name"),
        ({"table": table(["a"], [[["x"]]])}, "neither text nor number nor null"),
        ({"table": table(["a" * 65], [])}, "longer than 64"),
        ({"table": table(["a "], [])}, "ends in a space"),
        ({"table": table(["a", "b"], [["1"]])}, "more or fewer values"),
        ({"table": None}, "malformed record"),
        ({"label": [["1912"]]}, "no list of values"),
        ({"type": ["UPDATE"], "label": ["UPDATE people SET name = 'x'"]}, "without answer_md5"),
        ({"type": []}, "malformed record"),
    ],
)
def test_what_no_server_loads_or_nobody_can_judge_is_skipped_with_a_reason(
    tmp_path: Path, broken: dict[str, Any], reason: str
) -> None:
    skill = skill_of(tmp_path, record(), record(**broken))
    (skipped,) = skill.origin.skipped
    assert skipped.id.startswith("dbbench/")
    assert re.search(reason, skipped.reason)
    assert only(skill).data["label"] == ["1912"]


def test_values_are_texts_and_null_stays_null(tmp_path: Path) -> None:
    assert only(skill_of(tmp_path, record())).data["rows"] == [["Ada", "1815"], ["Alan", "1912"], ["Grace", None]]
    values = record(table=table(["a", "b", "c", "d"], [[1, 2.5, None, True]]))
    assert only(skill_of(tmp_path, values)).data["rows"] == [["1", "2.5", None, "1"]]


def test_ids_stay_when_the_file_grows_and_tell_twins_apart(tmp_path: Path) -> None:
    alone = only(skill_of(tmp_path, record())).id
    more = skill_of(tmp_path, record(description="Who?"), record(), record())
    ids = {sample.id for split in ("optimization", "test") for sample in more.samples(split)}
    assert {alone, f"{alone}-2"} < ids
    assert len(ids) == 3
    assert skill_of(tmp_path, record(), excluded=frozenset({alone})).origin.skipped[0].id == alone


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dev.jsonl").write_text("no json")
    with pytest.raises(DataUnavailable, match="one JSON object a line"):
        AgentBenchDbSkill(counts={}, source=Source(data=str(tmp_path)))


def test_a_checkout_gives_its_standard_set_and_a_prompt_file_its_text(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "dbbench"
    folder.mkdir(parents=True)
    (folder / "dev.jsonl").write_text(json.dumps(record(description="dev")))
    (folder / "standard.jsonl").write_text(json.dumps(record()))
    (tmp_path / "prompt.txt").write_text("Original text.")
    skill = AgentBenchDbSkill(counts={}, source=Source(data=str(tmp_path), prompt_file=str(tmp_path / "prompt.txt")))
    assert skill.origin.version == "standard"
    assert skill.origin.prompt.startswith("sha256:")
    (message,) = skill.initial_messages(only(skill))
    assert message["content"] == "Original text.\n\nWhen was Alan born?\nThe table is people."


def test_more_gold_statements_than_turns_are_no_reference(tmp_path: Path) -> None:
    many = record(type=["UPDATE"], label=["UPDATE people SET name = 'x'"] * 5, answer_md5="[('0',)]")
    skill = skill_of(tmp_path, many)
    with pytest.raises(NoReference, match="5 gold statements"):
        skill.gold_replies(only(skill))


def test_a_type_or_a_label_may_stand_alone(tmp_path: Path) -> None:
    plain = only(skill_of(tmp_path, record(type="counting", label=5)))
    assert (plain.data["kind"], plain.data["label"]) == ("counting", [5])
    assert only(skill_of(tmp_path, change(type="UPDATE"))).data["kind"] == "UPDATE"


def test_a_label_too_long_for_a_reply_is_no_reference(tmp_path: Path) -> None:
    skill = skill_of(tmp_path, record(label=["x" * LONG_REPLY_CHARS]))
    with pytest.raises(NoReference, match="does not fit a reply"):
        skill.gold_replies(only(skill))


class Plays:
    """Plays replies on one record, on one server for all."""

    def __init__(self, server: DatabaseServer, path: Path) -> None:
        self._server = server
        self._path = path

    def __call__(self, one: dict[str, Any], *replies: str) -> Played:
        skill = skill_of(self._path, one)
        session = AgentBenchDbSession(skill, cast(DatabaseServers, self._server))
        return play(session, only(skill), OracleAgent(replies))


@pytest.fixture(scope="module")
def mysql(sandboxes: Sandboxes) -> Iterator[DatabaseServer]:
    with sandboxes.database(image="mysql") as server:
        yield server


@pytest.fixture
def plays(mysql: DatabaseServer, tmp_path: Path) -> Plays:
    return Plays(mysql, tmp_path)


def change(**changes: Any) -> dict[str, Any]:
    after = [("Ada", "1815"), ("Alan", "1913"), ("Grace", None)]
    statement = "UPDATE people SET `born in` = '1913' WHERE name = 'Alan'"
    return record(type=["UPDATE"], label=[statement], answer_md5=published_form(after)) | changes


@pytest.mark.docker
def test_a_question_is_judged_by_its_answer(plays: Plays) -> None:
    played = plays(record(), operation("SELECT `born in` FROM people WHERE name = 'Alan'"), final_answer("['1912']"))
    assert played.messages[4]["content"] == "[('1912',)]"
    assert played.verdict.score == 1.0
    assert plays(record(), final_answer("['1815']")).verdict.score == 0.0
    assert plays(record(), "I don't know").verdict.score == 0.0
    assert plays(record(), *[operation("SELECT 1")] * 6).verdict.reason == "ended without a final answer"


@pytest.mark.docker
def test_the_episode_has_five_turns(plays: Plays) -> None:
    played = plays(record(), *[operation("SELECT 1")] * 6)
    assert sum(message["role"] == "assistant" for message in played.messages) == 1 + 5  # one is the prompt's


@pytest.mark.docker
def test_a_change_is_judged_by_the_state_however_the_episode_ends(plays: Plays) -> None:
    gold = operation(change()["label"][0])
    for replies in ((gold, final_answer("[]")), (gold, "nonsense"), (gold, *[operation("SELECT 1")] * 4)):
        verdict = plays(change(), *replies).verdict
        assert (verdict.score, verdict.extra[TABLE_STATE]) == (1.0, 1.0)
    assert plays(change(), final_answer("[]")).verdict.score == 0.0
    spoilt = plays(change(), gold, operation("DELETE FROM people WHERE name = 'Ada'"), final_answer("[]")).verdict
    assert (spoilt.score, spoilt.extra[TABLE_STATE]) == (0.0, 0.0)


@pytest.mark.docker
def test_an_episode_that_is_played_again_shows_the_same(plays: Plays) -> None:
    replies = [operation("SELECT * FROM nope"), operation("SELECT DATABASE(), USER()"), operation("CREATE USER x")]
    broken = change(label=["UPDATE nowhere SET a = 1"])
    first, second = plays(broken, *replies, final_answer("[]")), plays(broken, *replies, final_answer("[]"))
    assert first.messages == second.messages
    assert first.verdict == second.verdict
    assert "the gold statement fails" in first.verdict.reason


@pytest.mark.docker
def test_every_statement_is_committed_as_in_agentbench(plays: Plays) -> None:
    replies = [operation("BEGIN"), operation(change()["label"][0]), operation("ROLLBACK"), final_answer("[]")]
    assert plays(change(), *replies).verdict.score == 1.0


@pytest.mark.docker
def test_both_verdicts_are_given_where_the_hash_and_the_state_differ(plays: Plays) -> None:
    wrong_hash = change(answer_md5="[('" + "0" * 32 + "',)]")
    verdict = plays(wrong_hash, operation(wrong_hash["label"][0]), final_answer("[]")).verdict
    assert (verdict.score, verdict.extra[TABLE_STATE]) == (0.0, 1.0)
    no_gold = change(label=["UPDATE nowhere SET a = 1"])
    verdict = plays(no_gold, operation(change()["label"][0]), final_answer("[]")).verdict
    assert (verdict.score, verdict.extra) == (1.0, {"overall/UPDATE": 1.0})
    assert "the gold statement fails: ERROR 1146" in verdict.reason or "1142" in verdict.reason


@pytest.mark.docker
def test_long_labels_are_right_answers(plays: Plays) -> None:
    label = [f"value number {number} of the many" for number in range(600)]
    assert plays(record(label=label), final_answer(str(label))).verdict.score == 1.0
    assert plays(record(label=label), final_answer(str(label[:-1]))).verdict.score == 0.0


@pytest.mark.docker
def test_a_long_gold_statement_runs_and_a_models_own_does_not(plays: Plays) -> None:
    rows = [(f"a person with the name {number}", str(number)) for number in range(2000)]
    statement = f"INSERT INTO people VALUES {', '.join(map(str, rows))}"
    before = [("Ada", "1815"), ("Alan", "1912"), ("Grace", None)]
    md5 = published_form([*before, *rows])
    one = record(type=["INSERT"], label=[statement], answer_md5=md5)
    verdict = plays(one, operation(statement), final_answer("[]")).verdict
    assert (verdict.score, verdict.extra[TABLE_STATE]) == (1.0, 1.0)
    played = plays(one, operation(statement.replace("person", "animal")), final_answer("[]"))
    assert played.messages[-2]["content"] == "ERROR 1153: statement longer than 16384 characters"


@pytest.mark.docker
def test_texts_compare_as_in_mysql_8(plays: Plays) -> None:
    names = table(["name"], [["Straße"], ["x"], ["😀"], ["ÉMILE"]])
    for condition, found in (
        ("name = 'STRASSE'", "[('Straße',)]"),
        ("name = 'x '", "[]"),
        ("name = '😁'", "[]"),
        ("name = 'emile'", "[('ÉMILE',)]"),
        ("name = CAST('emile' AS CHAR)", "[('ÉMILE',)]"),
        ("name = (SELECT n FROM (SELECT 'emile' AS n) AS t)", "[('ÉMILE',)]"),
    ):
        played = plays(record(table=names), operation(f"SELECT name FROM people WHERE {condition}"), "end")
        assert played.messages[-2]["content"] == found, condition


@pytest.mark.docker
def test_silence_is_wrong_even_where_the_gold_statement_changes_nothing(plays: Plays) -> None:
    before = [("Ada", "1815"), ("Alan", "1912"), ("Grace", None)]
    idle = change(label=["DELETE FROM people WHERE name = 'x'"], answer_md5=published_form(before))
    assert plays(idle, "").verdict.score == 0.0
    assert plays(idle, operation(idle["label"][0]), final_answer("[]")).verdict.score == 1.0


@pytest.mark.docker
def test_a_table_that_the_server_refuses_fails_its_sample_alone(plays: Plays) -> None:
    wide = table([f"column {i}" for i in range(3000)], [])
    played = plays(record(table=wide), operation("SELECT 1"), final_answer("['1912']"))
    assert played.verdict.score == 0.0
    assert "can't be loaded" in played.verdict.reason
    assert "can't be loaded" in played.messages[4]["content"]


@pytest.mark.docker
def test_episodes_of_tables_with_the_same_name_do_not_meet(sandboxes: Sandboxes, tmp_path: Path) -> None:
    skill = skill_of(tmp_path, record())
    with skill.session(sandboxes) as session:
        first, second = session.start(only(skill)), session.start(only(skill))
        first.act(operation("DELETE FROM people"))
        second.act(operation("SELECT COUNT(*) FROM people"))
        assert second.messages[-1]["content"] == "[(3,)]"
        first.close()
        second.close()


@pytest.mark.docker
def test_the_hash_is_the_servers_own(mysql: DatabaseServer) -> None:
    rows = tuple((f"ligne {i} é", None if i % 3 else str(i)) for i in range(400))
    query = (
        "SELECT md5(group_concat(part ORDER BY part)) FROM "
        "(SELECT substring(md5(concat_ws(',', a, `b c`)), 1, 5) AS part FROM t) AS parts"
    )
    for some in (rows[:0], rows[:1], rows[:100], rows):
        with mysql.open([Table("t", ("a", "b c"), some)]) as database:
            assert str(list(database.execute(query).rows)) == published_form(some)


@pytest.mark.docker
def test_a_statement_finds_nothing_of_the_session_before_it_as_in_agentbench(plays: Plays) -> None:
    for sql in ("SET @x = 5", "SET sql_mode = ''", "SET PASSWORD = 'mine'", "LOCK TABLES people WRITE", "BEGIN"):
        replies = (sql, "SELECT @x, @@sql_mode LIKE '%ONLY_FULL%', COUNT(*) FROM people")
        assert plays(record(), *map(operation, replies), "end").messages[-2]["content"] == "[(None, 1, 3)]", sql
    spare = ("CREATE TEMPORARY TABLE spare (a INT)", "SELECT * FROM spare")
    assert "1146" in plays(record(), *map(operation, spare), "end").messages[-2]["content"]


@pytest.mark.docker
@pytest.mark.parametrize(
    ("sql", "seen"),
    [
        ("SELECT name FROM people WHERE `born in` = 1912", "[('Alan',)]"),  # a text compares with a number
        ("SELECT COUNT(*) FROM people WHERE name = 0", "[(3,)]"),
        ("SELECT ANY_VALUE(name) FROM people WHERE name = 'Ada'", "[('Ada',)]"),
        ("SELECT name, COUNT(*) FROM people", "ERROR 1140"),
        ("SELECT name, MAX(`born in`) FROM people GROUP BY `born in`", "ERROR 1055"),
        ("ALTER TABLE people ADD COLUMN age TEXT", "[]"),
        ("ALTER TABLE people RENAME COLUMN name TO title", "[]"),
        ("CREATE TABLE other AS SELECT * FROM people", "[]"),
        ("CREATE VIEW seen AS SELECT 1", "[]"),
        ("TRUNCATE TABLE people", "[]"),
        ("DROP TABLE people", "[]"),
        ("CREATE DATABASE other", "ERROR 1044"),
        ("DROP DATABASE mysql", "ERROR 1044"),
        ("CREATE USER x", "ERROR 1227"),
        ("SET GLOBAL max_connections = 1", "ERROR 1227"),
        ("SHUTDOWN", "ERROR 1227"),
        ("SELECT * FROM mysql.user", "ERROR 1142"),
        ("SELECT LOAD_FILE('/etc/passwd')", "[(None,)]"),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", "ERROR 1227"),
    ],
)
def test_statements_do_what_mysql_does_inside_the_episodes_own_database(plays: Plays, sql: str, seen: str) -> None:
    assert plays(record(), operation(sql), "end").messages[-2]["content"].startswith(seen)


@pytest.mark.docker
@pytest.mark.parametrize(
    "statements",
    [
        ("DROP TABLE people",),
        ("ALTER TABLE people DROP COLUMN name",),
        ("ALTER TABLE people RENAME TO others",),
        ("DROP TABLE people", "CREATE VIEW people AS SELECT SLEEP(60) AS name, 1 AS `born in`"),
        ("DROP TABLE people", "CREATE VIEW people AS SELECT a.* FROM nowhere.a"),
    ],
)
def test_a_table_that_is_gone_or_no_table_any_more_is_a_wrong_state(plays: Plays, statements: tuple[str, ...]) -> None:
    verdict = plays(change(), *map(operation, statements), final_answer("[]")).verdict
    assert verdict.score == 0.0
    assert verdict.extra == {TABLE_STATE: 0.0, "overall/UPDATE": 0.0}


@pytest.mark.docker
def test_a_column_more_does_not_change_the_verdict(plays: Plays) -> None:
    replies = [operation("ALTER TABLE people ADD COLUMN age INT"), operation(change()["label"][0])]
    verdict = plays(change(), *replies, final_answer("[]")).verdict
    assert (verdict.score, verdict.extra[TABLE_STATE]) == (1.0, 1.0)


@pytest.mark.docker
def test_an_episode_whose_server_died_is_played_again_on_a_server_of_its_own(
    sandboxes: Sandboxes, tmp_path: Path
) -> None:
    skill = skill_of(tmp_path, record(), record(description="Who?"))
    samples = [*skill.samples("optimization"), *skill.samples("test")]
    with skill.session(sandboxes) as session:
        first, beside = session.start(samples[0]), session.start(samples[1])
        first.act(operation("SELECT 1"))
        kill(first)
        for episode in (first, beside):
            with pytest.raises(SandboxUnavailable):
                episode.act(operation("SELECT 1"))
            episode.close()
        again, other = session.start(samples[0]), session.start(samples[1])
        again.act(operation("SELECT COUNT(*) FROM people"))
        assert again.messages[-1]["content"] == "[(3,)]"
        kill(again)
        with pytest.raises(SandboxUnavailable):
            again.act(operation("SELECT 1"))
        other.act(operation("SELECT COUNT(*) FROM people"))
        assert other.messages[-1]["content"] == "[(3,)]"
        again.close()
        other.close()


def kill(episode: Any) -> None:
    """Has the server of an episode die."""
    docker.from_env().containers.get(episode._database.server._channel._name).kill()


@needs_dev
@pytest.mark.docker
def test_every_development_task_that_loads_is_solved_by_its_reference() -> None:
    found = audit("agentbench_db", source=Source(data=str(DEV)), counts={})
    assert (found.n, found.oracle_passed, found.empty_passed) == (59, 59, 0)
    assert [entry.reason for entry in found.skipped] == [
        "the table can't be loaded: a name (of a column) is empty, which the server refuses"
    ]
    assert found.broken == found.cheated == []
