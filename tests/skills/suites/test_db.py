import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.sandbox import Sandboxes, StatementResult
from cycleqd.skills.oracle import OracleAgent, play
from cycleqd.skills.protocol import Sample
from cycleqd.skills.suites.db import Action, DbSkill, answer_values, observation, parse_action, same_answer


@pytest.mark.parametrize(
    ("reply", "action"),
    [
        ("Action: Operation\n```sql\nSELECT 1;\n```", Action("operation", "SELECT 1;")),
        ("I look.\nAction: Operation\n\n```SQL\nSELECT a\nFROM t;\n```", Action("operation", "SELECT a\nFROM t;")),
        ("action: operation\n```mysql\nSELECT 1\n```", Action("operation", "SELECT 1")),
        ("Action: Answer\nFinal Answer: ['a', 2]", Action("answer", "['a', 2]")),
        ("Action: Answer\n\nFinal Answer: a, b\nmore", Action("answer", "a, b")),
        (
            "Action: Operation\n```sql\nSELECT 1;\n```\nAction: Answer\nFinal Answer: [1]",
            Action("operation", "SELECT 1;"),
        ),
    ],
)
def test_reads_actions(reply: str, action: Action) -> None:
    assert parse_action(reply) == action


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "SELECT 1;",
        "Action: Operation\nSELECT 1;",
        "Action: Operation\n```python\n1\n```",
        "Action: Answer",
        "Action: Answer [1]",
        "Action: Answer\nFinal Answer: " + "1, " * 3000,
        "Action: Operations",
    ],
)
def test_refuses_replies_without_an_action(reply: str) -> None:
    assert parse_action(reply) is None


@pytest.mark.parametrize(
    ("reply", "action"),
    [
        ("```sql\nSELECT 1;\n```", ("operation", "SELECT 1;")),
        ("Action: Operation\n```sql\nSELECT 1;", ("operation", "SELECT 1;")),  # ended by a stop string
        ("The answer is\nFinal Answer: [1]", ("answer", "[1]")),
    ],
)
def test_takes_a_block_or_an_answer_for_the_action_that_it_is(reply: str, action: tuple[str, str]) -> None:
    assert parse_action(reply) == action


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        ("['b', 'a']", ["a", "b"]),
        ("[('a',), ('b',)]", ["a", "b"]),
        ("a, b", ["a", "b"]),
        ("[a, b]", ["a", "b"]),
        ("['a', 'a', 'b']", ["a", "b"]),
        ('["a"]', ["a"]),
        ("a", ["a"]),
        ("[7]", [7]),
        ("7", [7]),
        ("['7']", [7]),
        ("[7.0]", [7]),
        ("[45.67]", [45.666666666]),
        ("['12', 'x']", ["12", "x"]),
        ("[]Oslo", ["]Oslo"]),
    ],
)
def test_accepts_the_same_values_in_any_form(actual: str, expected: list[str | int | float]) -> None:
    assert same_answer(actual, expected)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        ("[]", ["a"]),
        ("", ["a"]),
        ("['a']", ["a", "b"]),
        ("['a', 'b', 'c']", ["a", "b"]),
        ("['A']", ["a"]),
        ("[8]", [7]),
        ("[6, 7]", [7]),
        ("[45.6]", [45.666666]),
        ("['7 pets']", [7]),
        ("[None]", ["None"]),
        ("[nan]", [7]),
        ("[inf]", [7]),
        ("[1e999]", [7]),
        ("__import__('os').system('true')", ["a"]),
        ("[" * 900 + "]" * 900, ["a"]),
        (str(list(range(1000))), list(range(1000))),
    ],
)
def test_near_misses_and_nonsense_are_refused(actual: str, expected: list[str | int | float]) -> None:
    assert not same_answer(actual, expected)


@given(
    st.lists(
        st.text(alphabet="abcXYZ -.", min_size=1, max_size=6).filter(lambda t: t == t.strip()), min_size=1, max_size=6
    )
)
def test_the_text_of_a_list_is_the_list(values: list[str]) -> None:
    assert same_answer(str(values), values)
    assert same_answer(str(values[::-1]), values)


@given(st.text(max_size=200))
def test_any_answer_is_split_into_values(text: str) -> None:
    assert all(isinstance(value, str | float) for value in answer_values(text))


def test_observations_are_rows_or_the_error_and_cut() -> None:
    assert observation(StatementResult((("a", 1),), 0, None, False)) == "[('a', 1)]"
    assert observation(StatementResult((), 1, None, False)) == "[]"
    assert observation(StatementResult((), 0, "ERROR 1054: Unknown column", False)) == "ERROR 1054: Unknown column"
    assert observation(StatementResult((("x" * 5000,),), 0, None, False)).endswith("[truncated]")


def _one(template: str) -> Sample:
    samples = DbSkill(seed=0, counts={"train": 80}).samples("train")
    return next(sample for sample in samples if sample.template == template)


def _sql(statement: str) -> str:
    return f"Action: Operation\n```sql\n{statement}\n```"


ANSWER = "Action: Answer\nFinal Answer: "


@pytest.mark.docker
def test_wrong_answers_and_half_done_changes_fail(sandboxes: Sandboxes) -> None:
    skill = DbSkill(seed=0, counts={})
    count, insert, delete = _one("count-label"), _one("insert-row"), _one("delete-key")
    right = count.data["answer"][0]
    cases = [
        (count, [f"{ANSWER}[{right}]"], 1.0),
        (count, [f"{ANSWER}[{right + 1}]"], 0.0),
        (count, [f"{ANSWER}[]"], 0.0),
        (count, [_sql(count.data["gold"])], 0.0),
        (insert, [_sql(insert.data["gold"]), f"{ANSWER}[]"], 1.0),
        (insert, [_sql(insert.data["gold"])], 1.0),
        (insert, [_sql(insert.data["gold"]), "done"], 1.0),
        (insert, ["done"], 0.0),
        (insert, [f"{ANSWER}[]"], 0.0),
        (insert, [_sql(insert.data["gold"]), _sql(insert.data["gold"]), f"{ANSWER}[]"], 0.0),
        (delete, [_sql(f"DELETE FROM {delete.data['table']};"), f"{ANSWER}[]"], 0.0),
        (delete, [_sql(f"DROP TABLE {delete.data['table']};"), f"{ANSWER}[]"], 0.0),
    ]
    with skill.session(sandboxes) as session:
        for sample, replies, score in cases:
            assert play(session, sample, OracleAgent(replies)).verdict.score == score, replies


@pytest.mark.docker
def test_reply_that_is_no_action_ends_the_episode(sandboxes: Sandboxes) -> None:
    skill = DbSkill(seed=0, counts={})
    with skill.session(sandboxes) as session:
        episode = session.start(_one("count-label"))
        try:
            assert episode.act("hello")
            assert episode.judge().reason == "neither a ```sql block nor `Final Answer: [...]`"
        finally:
            episode.close()


@pytest.mark.docker
def test_an_episode_that_is_played_again_shows_the_same(sandboxes: Sandboxes) -> None:
    skill = DbSkill(seed=0, counts={})
    skill.max_turns = 5
    statements = ("SELECT * FROM nowhere;", "SELECT DATABASE(), USER();", "SHOW GRANTS;", "DROP TABLE x;")
    shown = []
    for _ in range(2):
        with skill.session(sandboxes) as session:
            shown.append(play(session, _one("count-label"), OracleAgent([*map(_sql, statements), ANSWER])).messages)
    assert shown[0] == shown[1]


@pytest.mark.docker
def test_errors_cost_turns(sandboxes: Sandboxes) -> None:
    skill = DbSkill(seed=0, counts={})
    skill.max_turns = 3
    with skill.session(sandboxes) as session:
        episode = session.start(_one("count-label"))
        try:
            assert not episode.act(_sql("SELECT nothing FROM nowhere;"))
            assert "nowhere" in episode.messages[-1]["content"]
            assert not episode.act(_sql("SELECT 1;"))
            assert episode.messages[-1]["content"] == "[(1,)]"
            assert episode.act(_sql("SELECT 2;"))
            assert episode.judge().reason == "no answer was given"
        finally:
            episode.close()
            episode.close()
