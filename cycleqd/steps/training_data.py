"""What experts learn from: data sets, or gold episodes that are played once and kept."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from cycleqd.experts import Conversation
from cycleqd.experts.data import TrainingDataUnavailable, prepare_skill
from cycleqd.run.names import expert_key
from cycleqd.skills.oracle import demonstrations
from cycleqd.skills.protocol import Message
from cycleqd.skills.segmentation.pictures import Picture
from cycleqd.steps.workspace import Workspace

log = logging.getLogger(__name__)


def gold_episodes(ws: Workspace, skill: str) -> list[list[Message]]:
    """The expert's training conversations: gold episodes played through the real sandboxes."""
    key = expert_key(skill, "demonstrations.json")
    if not ws.store.exists(key):
        with ws.clock.measuring("train"):
            samples = ws.evaluator.skills[skill].samples("train")
            log.info("recording %d gold episodes of %s", len(samples), skill)
            ws.store.write_json(key, demonstrations(ws.evaluator.skills[skill], samples, ws.evaluator.sandboxes))
    conversations: list[list[Message]] = ws.store.read_json(key)
    return conversations


def training_data(ws: Workspace, skill: str) -> Sequence[Conversation]:
    """What the expert of a skill learns from: the data sets that the configuration names, else gold episodes.

    Raises:
        TrainingDataUnavailable: A data set cannot be had, or has changed since this run read it.
    """
    data = ws.config.experts.data_of(skill)
    if data is None:
        return gold_episodes(ws, skill)
    key = expert_key(skill, "data.json")
    with ws.clock.measuring("train"):
        prepared = prepare_skill(ws.config, skill, ws.evaluator.skills.values())
    if ws.store.exists(key) and (before := ws.store.read_json(key)["hash"]) != prepared.report.hash:
        raise TrainingDataUnavailable(
            f"the training data of {skill} has changed since this run read it (was {before[:12]}, now "
            f"{prepared.report.hash[:12]}): restore it, or start a run of another name"
        )
    if not ws.store.exists(key):
        ws.store.write_json(key, prepared.report.model_dump(mode="json"))
    return prepared.conversations


def pictures(ws: Workspace, skill: str) -> list[Picture]:
    """What a segmentation expert learns from: the images and masks of its skill's train split."""
    made: Any = ws.evaluator.skills[skill]
    return [made.picture(sample) for sample in made.samples("train")]


def gather_training_data(ws: Workspace, skill: str) -> int:
    """Makes sure that the expert's training data is there; returns the number of conversations, or of pictures."""
    if ws.config.model.kind == "segmentation":
        return len(ws.evaluator.skills[skill].samples("train"))
    key = expert_key(skill, "data.json")
    if ws.store.exists(key):
        return int(ws.store.read_json(key)["conversations"])
    return len(training_data(ws, skill))
