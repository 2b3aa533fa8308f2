"""Prompts as data: a text file holds the conversation that an episode begins with.

A line ``=== user ===`` or ``=== assistant ===`` begins a message; a file without such lines is one message of the
user. ``{problem}`` stands for the sample's problem; where it is missing, the problem is the last message's end.
"""

from __future__ import annotations

import re
from typing import Final

from cycleqd.messages import Message
from cycleqd.skills.benchmarks.benchmark import DataUnavailable

PLACE: Final = "{problem}"
_HEADING: Final = re.compile(r"^=== (user|assistant) ===[ \t]*\r?\n", re.M)


def conversation(template: str, problem: str) -> list[Message]:
    """The messages of a template with its problem filled in.

    Raises:
        DataUnavailable: Roles don't alternate from user to user, or there is text before the first heading.
    """
    before, *parts = _HEADING.split(template)
    if not parts:
        before, parts = "", ["user", before]
    roles, texts = parts[::2], [text.strip() for text in parts[1::2]]
    wanted = ["user", "assistant"] * (len(roles) // 2) + ["user"]
    if before.strip() or roles != wanted:
        raise DataUnavailable(
            "a prompt begins with '=== user ===', alternates with '=== assistant ===' and ends with the user, "
            f"got {roles} after {len(before.strip())} characters without a heading"
        )
    if not any(PLACE in text for text in texts):
        texts[-1] = f"{texts[-1]}\n\n{PLACE}".lstrip()
    # One pass, so that a problem that itself holds the placeholder stays as it is.
    return [{"role": role, "content": text.replace(PLACE, problem)} for role, text in zip(roles, texts, strict=True)]
