"""Recipes: how a row of a published data set becomes a conversation.

The table that names these functions is `cycleqd.seams.RECIPES`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from cycleqd.experts.conversations import TrainingMessage
from cycleqd.messages import whole_text
from cycleqd.seams.training_data import Recipe

Row = Mapping[str, Any]

_ROLES: Final = {"system": "system", "user": "user", "assistant": "assistant", "human": "user", "gpt": "assistant"}
_COLUMNS: Final = ("conversation", "conversations", "messages")
_PART_BY_ID: Final = re.compile(r"(os|db|alfworld|webshop|kg|mind2web)(?![a-z])", re.IGNORECASE)
# AgentInstruct's instructions name what the agent operates; none of its other environments says these words.
_PART_BY_TEXT: Final = {
    "db": re.compile(r"mysql|sql database", re.IGNORECASE),
    "os": re.compile(r"linux|ubuntu|operating system", re.IGNORECASE),
}


class UnreadableRow(dict[str, Any]):
    """A row of which nothing could be read: without fields, and with the reason.

    Args:
        reason: Why.
    """

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class MalformedRow(ValueError):
    """A row is not what the recipe expects; it is left out and counted."""


def conversation_of(recipe: Recipe, row: Row) -> list[TrainingMessage]:
    """A row's conversation, all of it whole text.

    Raises:
        MalformedRow: The row is not what the recipe expects, or holds half of a surrogate pair, which no tokenizer
            takes: an emoji that was cut, so the rest of the row is likely cut as well.
    """
    if isinstance(row, UnreadableRow):
        raise MalformedRow(row.reason)
    messages: list[TrainingMessage] = recipe.conversation(row)
    for number, message in enumerate(messages, start=1):
        if whole_text(message["content"]) != message["content"]:
            raise MalformedRow(f"message {number} holds half of a surrogate pair")
    return messages


def chat(row: Row) -> list[TrainingMessage]:
    """Messages under ``conversation``, ``conversations`` or ``messages``, each with ``role`` and ``content``.

    A system's message may come first; then a user and an assistant take turns, as chat templates want it. An
    assistant's turn with ``loss: false`` (or ``weight: 0``) is shown but not trained.

    Raises:
        MalformedRow: There are no messages, one is no text or of an unknown role or out of turn, a ``loss`` is neither
            true nor false, or nothing is to be trained.
    """
    found = next((row[key] for key in _COLUMNS if row.get(key)), None)
    if not isinstance(found, list):
        raise MalformedRow("no list of messages under conversation, conversations or messages")
    messages: list[TrainingMessage] = []
    for number, item in enumerate(found, start=1):
        if not isinstance(item, Mapping):
            raise MalformedRow(f"message {number} is {type(item).__name__}, not a mapping")
        role, content = _either(item, "role", "from"), _either(item, "content", "value")
        if not isinstance(role, str) or role not in _ROLES or not isinstance(content, str):
            raise MalformedRow(f"message {number} has role {role!r:.40} and content of type {type(content).__name__}")
        message: TrainingMessage = {"role": _ROLES[role], "content": content}  # type: ignore[typeddict-item]
        if message["role"] == "assistant" and not _has_loss(item, number):
            message["trained"] = False
        _check_turn(messages, message["role"], number)
        messages.append(message)
    if not any(_is_trained(message) for message in messages):
        raise MalformedRow("no assistant turn to train on")
    return messages


def _either(item: Row, name: str, other: str) -> Any:
    """A message's field, by either name: rows of one schema have both, one of them null."""
    value = item.get(name)
    return item.get(other) if value is None else value


def _has_loss(item: Row, number: int) -> bool:
    """Whether a message is to be trained; saying nothing means yes."""
    flag = _either(item, "loss", "weight")
    said = flag.strip().lower() if isinstance(flag, str) else flag
    if said is None or said in (True, "true", "1"):  # True is 1 and 1.0, too
        return True
    if said in (False, "false", "0"):
        return False
    raise MalformedRow(f"message {number} has loss {flag!r:.40}, which is neither true nor false")


def _check_turn(before: Sequence[TrainingMessage], role: str, number: int) -> None:
    """Makes sure that it is this speaker's turn.

    Raises:
        MalformedRow: It is not.
    """
    last = before[-1]["role"] if before else None
    if (
        role
        not in {None: ("system", "user"), "system": ("user",), "user": ("assistant",), "assistant": ("user",)}[last]
    ):
        place = f"after the {last}'s" if last else "the first"
        raise MalformedRow(f"message {number} is the {role}'s, {place}: a user and an assistant take turns")


def _is_trained(message: TrainingMessage) -> bool:
    return message["role"] == "assistant" and message.get("trained", True) and bool(message["content"].strip())


def agent_flan_part(row: Row) -> str:
    """The environment that an Agent-FLAN row comes from: by its id, else by what its instructions say."""
    if named := _PART_BY_ID.match(str(row.get("id", ""))):
        return named[1].lower()
    # Read as it comes: a malformed row belongs to its part, too, and is to be counted there.
    found = next((row[key] for key in _COLUMNS if row.get(key)), None)
    messages = [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []
    texts = [_either(item, "content", "value") for item in messages[:2]]
    opening = "\n".join(text for text in texts if isinstance(text, str))
    return next((part for part, words in _PART_BY_TEXT.items() if words.search(opening)), "other")


def _question_and_answer(question: str, answer: str) -> Callable[[Row], list[TrainingMessage]]:
    def conversation(row: Row) -> list[TrainingMessage]:
        asked, answered = row.get(question), row.get(answer)
        if not (isinstance(asked, str) and asked.strip() and isinstance(answered, str) and answered.strip()):
            raise MalformedRow(f"{question} or {answer} is missing or empty")
        return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]

    return conversation


instruction_and_response: Final = _question_and_answer("instruction", "response")
problem_and_solution: Final = _question_and_answer("problem", "solution")
