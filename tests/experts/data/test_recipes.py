import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.experts.data.recipes import MalformedRow, agent_flan_part, chat, conversation_of
from cycleqd.seams import RECIPES
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


def said(*turns):
    return {"messages": [{"role": role, "content": "text"} for role in turns]}


@pytest.mark.parametrize(
    ("turns", "number"),
    [
        (["assistant"], 1),
        (["assistant", "user", "assistant"], 1),
        (["system", "assistant"], 2),
        (["system", "system", "user", "assistant"], 2),
        (["user", "user", "assistant"], 2),
        (["user", "assistant", "assistant"], 3),
        (["user", "system", "assistant"], 2),
        (["user", "assistant", "system", "user", "assistant"], 3),
        (["human", "user", "gpt"], 2),
    ],
)
def test_speaker_out_of_turn_makes_a_row_malformed_and_the_message_is_named(turns, number):
    with pytest.raises(MalformedRow, match=f"message {number} is the .*take turns"):
        chat(said(*turns))


@pytest.mark.parametrize(
    "turns", [["user", "assistant"], ["system", "user", "assistant"], ["user", "assistant", "user"]]
)
def test_speakers_who_take_turns_are_read(turns):
    assert [message["role"] for message in chat(said(*turns))] == turns


def replies(**fields):
    asked = {"role": "user", "content": "?"}
    last = {"role": "assistant", "content": "!"}
    return {"messages": [asked, {"role": "assistant", "content": "shown", **fields}, asked, last]}


@pytest.mark.parametrize("loss", [False, 0, 0.0, "False", "false", "0", " FALSE "])
@pytest.mark.parametrize("name", ["loss", "weight"])
def test_every_way_to_say_no_loss_leaves_the_turn_untrained(name, loss):
    assert chat(replies(**{name: loss}))[1] == {"role": "assistant", "content": "shown", "trained": False}


@pytest.mark.parametrize("loss", [True, 1, 1.0, "True", "true", "1", None])
@pytest.mark.parametrize("name", ["loss", "weight"])
def test_every_way_to_say_loss_trains_the_turn(name, loss):
    assert chat(replies(**{name: loss}))[1] == {"role": "assistant", "content": "shown"}


@pytest.mark.parametrize("loss", ["maybe", "", 0.5, 2, -1, [], [False], {}, float("nan")])
def test_loss_that_is_neither_makes_a_row_malformed(loss):
    with pytest.raises(MalformedRow, match="message 2 has loss"):
        chat(replies(loss=loss))


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["user", "assistant"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "loss", "messages", "from", "value"]) | st.text(max_size=3), inner
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["messages", "conversation", "id", "instruction", "response", "problem"]), anything
    )
)
def test_any_row_is_a_conversation_or_malformed_and_belongs_to_a_part(row):
    assert agent_flan_part(row)
    for recipe in RECIPES.values():
        try:
            conversation = conversation_of(recipe, row)
        except MalformedRow as error:
            assert 0 < len(str(error)) < 300  # noqa: PT017 -- most rows raise nothing
        else:
            assert any(message["role"] == "assistant" for message in conversation)


@pytest.mark.parametrize("recipe", ["chat", "agent_flan", "magicoder_evol", "magicoder_oss"])
def test_half_of_a_surrogate_pair_makes_a_row_malformed(recipe):
    cut = json.loads('"a cut emoji \\ud83d"')
    rows = {
        "chat": {"messages": [{"role": "user", "content": cut}, {"role": "assistant", "content": "!"}]},
        "agent_flan": agent_flan_row("os_1", answer=cut),
        "magicoder_evol": evol_row(1, cut),
        "magicoder_oss": {**oss_row(1), "solution": cut},
    }
    with pytest.raises(MalformedRow, match="surrogate"):
        conversation_of(RECIPES[recipe], rows[recipe])


def test_malformed_row_belongs_to_the_part_that_its_text_names():
    row = {"messages": [{"role": "assistant", "content": DB_PROMPT}]}
    assert agent_flan_part(row) == "db"
