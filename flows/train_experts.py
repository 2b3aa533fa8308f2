"""Phase 1: one expert per skill, and their task vectors."""

from __future__ import annotations

from prefect import flow

from tasks import experts
from tasks.work import at_work


@flow(name="train-experts", flow_run_name="train-experts {run_id}")
def train_experts(run_id: str, storage: str = "runs") -> list[str]:
    """Records demonstrations, fine-tunes the experts, derives their task vectors.

    Args:
        run_id: A run that was begun (its ``config.json`` exists).
        storage: Folder or URL that holds it.

    Returns:
        Ids of the experts and of their average.
    """
    with at_work(storage, run_id) as ws:
        for skill in ws.config.skill_names:
            experts.record_demonstrations(storage, run_id, skill)
            experts.train_expert(storage, run_id, skill)
        return experts.derive_experts(storage, run_id)
