"""The audit of a skill's samples, for deployments; `cycleqd audit` does the same without Prefect."""

from __future__ import annotations

from typing import Any

from prefect import flow

from cycleqd.config import SkillName
from cycleqd.evaluation.audit import WORKERS
from tasks.auditing import audit_skill
from tasks.server import machine_slots
from tasks.tags import tag_flow


@flow(name="audit", flow_run_name="audit {skill}")
def audit(skill: SkillName = "mbpp_plus", data: str | None = None, exclude: tuple[str, ...] = ()) -> dict[str, Any]:
    """Plays gold solutions, silence and cheats over every sample of a skill.

    Args:
        skill: Which skill.
        data: A benchmark's file or folder; unless given, what `CYCLEQD_DATA_DIR` names, else a download.
        exclude: Ids of a benchmark's samples to leave out.

    Returns:
        What was found, as `cycleqd audit --json` writes it.
    """
    tag_flow(f"skill:{skill}")
    with machine_slots(WORKERS, engine=False):
        return audit_skill(skill, data, exclude).model_dump()
