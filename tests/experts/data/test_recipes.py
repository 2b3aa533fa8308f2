import pytest

from cycleqd.experts.data.recipes import RECIPES, MalformedRow, agent_flan_part, chat
from tests.experts.data.files import DB_PROMPT, agent_flan_row, evol_row, oss_row


def test_agent_flan_turns_without_loss_are_not_trained():
    messages = RECIPES["agent_flan"].conversation(agent_flan_row("os_1"))
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant"]
    assert [message.get("trained") for message in messages] == [None, False, None, None]


def test_missing_and_null_loss_mean_that_the_turn_is_trained():
    for flag in ({}, {"loss": None}, {"loss": True}, {"type": "text"}):
        reply = {"role": "assistant", "content": "yes", **flag}
        messages = chat({"messages": [{"role": "user", "content": "?"}, reply]})
        assert "trained" not in messages[1]


def test_names_of_speakers_and_columns_may_be_the_older_ones():
    row = {"conversations": [{"from": "human", "value": "?", "loss": None}, {"from": "gpt", "value": "!"}]}
    assert chat(row) == [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"messages": []},
        {"messages": "text"},
        {"messages": [{"role": "user", "content": "?"}]},
        {"messages": [{"role": "tool", "content": "?"}, {"role": "assistant", "content": "!"}]},
        {"messages": [{"role": "user", "content": None}, {"role": "assistant", "content": "!"}]},
        {"messages": ["?", "!"]},
        {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!", "loss": False}]},
        {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": " \n"}]},
    ],
)
def test_row_without_anything_to_train_on_is_malformed(row):
    with pytest.raises(MalformedRow):
        chat(row)


@pytest.mark.parametrize(
    ("identifier", "part"),
    [("os_12", "os"), ("db_3", "db"), ("OS-1", "os"), ("webshop_9", "webshop"), ("mind2web_1", "mind2web")],
)
def test_id_tells_the_part(identifier, part):
    assert agent_flan_part(agent_flan_row(identifier, DB_PROMPT)) == part


@pytest.mark.parametrize("identifier", ["17", "", "dbpedia_1", "oscar"])
def test_where_the_id_says_nothing_the_instructions_tell_the_part(identifier):
    assert agent_flan_part(agent_flan_row(identifier)) == "os"
    assert agent_flan_part(agent_flan_row(identifier, DB_PROMPT)) == "db"
    assert agent_flan_part(agent_flan_row(identifier, "Find the red mug in the kitchen.")) == "other"
    assert agent_flan_part({"id": identifier}) == "other"


@pytest.mark.parametrize(("recipe", "row"), [("magicoder_evol", evol_row(3)), ("magicoder_oss", oss_row(3))])
def test_question_and_answer_become_two_messages(recipe, row):
    assert [message["role"] for message in RECIPES[recipe].conversation(row)] == ["user", "assistant"]
    for column in RECIPES[recipe].columns.split(", "):
        for broken in ({**row, column: ""}, {**row, column: None}, {k: v for k, v in row.items() if k != column}):
            with pytest.raises(MalformedRow, match=column):
                RECIPES[recipe].conversation(broken)
