"""The recipes of training data by name: how a row of a published data set becomes a conversation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

_RECIPES: Final = "cycleqd.experts.data.recipes"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One kind of data set.

    Attributes:
        source: Where it is described.
        hub_id: Where it is published; None for a form that anyone may write.
        split: The split that is taken unless another is named.
        columns: The columns that a row has, for messages.
        target: The function that turns a row into messages, as ``module:function``.
        part_target: The function that names the part of the data set that a row belongs to; None where there are no
            parts.
        hub_file: File in the hub's repository that holds a split, for data whose rows do not fit one schema.
    """

    source: str
    hub_id: str | None
    split: str
    columns: str
    target: str
    part_target: str | None = None
    hub_file: str | None = None

    @property
    def conversation(self) -> Callable[[Mapping[str, Any]], list[Any]]:
        """Turns a row into messages (`cycleqd.experts.conversations.TrainingMessage`)."""
        return _function(self.target)

    @property
    def part(self) -> Callable[[Mapping[str, Any]], str] | None:
        """Names the part that a row belongs to; None where there are no parts."""
        return _function(self.part_target) if self.part_target else None


def _function(target: str) -> Callable[[Mapping[str, Any]], Any]:
    module, _, name = target.partition(":")
    found: Callable[[Mapping[str, Any]], Any] = getattr(import_module(module), name)
    return found


RECIPES: Final[Mapping[str, Recipe]] = {
    "agent_flan": Recipe(
        "Chen et al. 2024, Agent-FLAN, https://huggingface.co/datasets/internlm/Agent-FLAN",
        "internlm/Agent-FLAN",
        "agent_instruct_react",
        "id, conversation [role, content, loss]",
        f"{_RECIPES}:chat",
        f"{_RECIPES}:agent_flan_part",
        # Some messages lack `loss` or carry a `type`: the rows are read as text, not by the card's schema.
        "data/{split}.jsonl",
    ),
    "magicoder_evol": Recipe(
        "Wei et al. 2023, Magicoder, https://huggingface.co/datasets/ise-uiuc/Magicoder-Evol-Instruct-110K",
        "ise-uiuc/Magicoder-Evol-Instruct-110K",
        "train",
        "instruction, response",
        f"{_RECIPES}:instruction_and_response",
    ),
    "magicoder_oss": Recipe(
        "Wei et al. 2023, Magicoder, https://huggingface.co/datasets/ise-uiuc/Magicoder-OSS-Instruct-75K",
        "ise-uiuc/Magicoder-OSS-Instruct-75K",
        "train",
        "problem, solution",
        f"{_RECIPES}:problem_and_solution",
    ),
    "chat": Recipe(
        "messages as chat templates take them", None, "train", "messages [role, content, loss]", f"{_RECIPES}:chat"
    ),
}
"""Every recipe by the name that a configuration gives it."""
