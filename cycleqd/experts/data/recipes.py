"""Recipes: how a row of a published data set becomes a conversation."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cycleqd.experts.conversations import TrainingMessage

Row = Mapping[str, Any]

_ROLES: Final = {"system": "system", "user": "user", "assistant": "assistant", "human": "user", "gpt": "assistant"}
_PART_BY_ID: Final = re.compile(r"(os|db|alfworld|webshop|kg|mind2web)(?![a-z])", re.IGNORECASE)
# AgentInstruct's instructions name what the agent operates; none of its other environments says these words.
_PART_BY_TEXT: Final = {
    "db": re.compile(r"mysql|sql database", re.IGNORECASE),
    "os": re.compile(r"linux|ubuntu|operating system", re.IGNORECASE),
}


class MalformedRow(ValueError):
    """A row is not what the recipe expects; it is left out and counted."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One kind of data set.

    Attributes:
        hub_id: Where it is published; None for a form that anyone may write.
        split: The split that is taken unless another is named.
        columns: The columns that a row has, for messages.
        conversation: Turns a row into messages.
        part: Names the part of the data set that a row belongs to; None where there are no parts.
        hub_file: File in the hub's repository that holds a split, for data whose rows do not fit one schema.
    """

    hub_id: str | None
    split: str
    columns: str
    conversation: Callable[[Row], list[TrainingMessage]]
    part: Callable[[Row], str] | None = None
    hub_file: str | None = None


def chat(row: Row) -> list[TrainingMessage]:
    """Messages under ``conversation``, ``conversations`` or ``messages``, each with ``role`` and ``content``.

    An assistant's turn with ``loss: false`` is shown but not trained.

    Raises:
        MalformedRow: There are no messages, one is no text or of an unknown role, or nothing is to be trained.
    """
    found = next((row[key] for key in ("conversation", "conversations", "messages") if row.get(key)), None)
    if not isinstance(found, list):
        raise MalformedRow("no list of messages under conversation, conversations or messages")
    messages: list[TrainingMessage] = []
    for item in found:
        if not isinstance(item, Mapping):
            raise MalformedRow(f"a message is {type(item).__name__}, not a mapping")
        role, content = item.get("role", item.get("from")), item.get("content", item.get("value"))
        if role not in _ROLES or not isinstance(content, str):
            raise MalformedRow(f"a message has role {role!r} and content of type {type(content).__name__}")
        message: TrainingMessage = {"role": _ROLES[role], "content": content}  # type: ignore[typeddict-item]
        if item.get("loss") is False and message["role"] == "assistant":
            message["trained"] = False
        messages.append(message)
    if not any(_is_trained(message) for message in messages):
        raise MalformedRow("no assistant turn to train on")
    return messages


def _is_trained(message: TrainingMessage) -> bool:
    return message["role"] == "assistant" and message.get("trained", True) and bool(message["content"].strip())


def agent_flan_part(row: Row) -> str:
    """The environment that an Agent-FLAN row comes from: by its id, else by what its instructions say."""
    if named := _PART_BY_ID.match(str(row.get("id", ""))):
        return named[1].lower()
    try:
        opening = "\n".join(message["content"] for message in chat(row)[:2])
    except MalformedRow:
        return "other"
    return next((part for part, words in _PART_BY_TEXT.items() if words.search(opening)), "other")


def _question_and_answer(question: str, answer: str) -> Callable[[Row], list[TrainingMessage]]:
    def conversation(row: Row) -> list[TrainingMessage]:
        asked, answered = row.get(question), row.get(answer)
        if not (isinstance(asked, str) and asked.strip() and isinstance(answered, str) and answered.strip()):
            raise MalformedRow(f"{question} or {answer} is missing or empty")
        return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]

    return conversation


RECIPES: Final[Mapping[str, Recipe]] = {
    # Chen et al. 2024, Agent-FLAN, https://huggingface.co/datasets/internlm/Agent-FLAN
    "agent_flan": Recipe(
        "internlm/Agent-FLAN",
        "agent_instruct_react",
        "id, conversation [role, content, loss]",
        chat,
        agent_flan_part,
        # Some messages lack `loss` or carry a `type`: the rows are read as text, not by the card's schema.
        "data/{split}.jsonl",
    ),
    # Wei et al. 2023, Magicoder, https://huggingface.co/datasets/ise-uiuc/Magicoder-Evol-Instruct-110K
    "magicoder_evol": Recipe(
        "ise-uiuc/Magicoder-Evol-Instruct-110K",
        "train",
        "instruction, response",
        _question_and_answer("instruction", "response"),
    ),
    # Wei et al. 2023, Magicoder, https://huggingface.co/datasets/ise-uiuc/Magicoder-OSS-Instruct-75K
    "magicoder_oss": Recipe(
        "ise-uiuc/Magicoder-OSS-Instruct-75K",
        "train",
        "problem, solution",
        _question_and_answer("problem", "solution"),
    ),
    "chat": Recipe(None, "train", "messages [role, content, loss]", chat),
}
"""Every recipe by the name that a configuration gives it."""
