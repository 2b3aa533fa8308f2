"""Phase 1: one expert per skill, and their task vectors."""

from __future__ import annotations

from prefect import flow

from cycleqd.run.names import RunRef
from tasks import experts
from tasks.options import THREADS
from tasks.work import at_work


@flow(name="train-experts", flow_run_name="train-experts {run.run_id}", task_runner=THREADS)
def train_experts(run: RunRef) -> list[str]:
    """Gathers training data, fine-tunes the experts, derives their task vectors.

    Args:
        run: A run that was begun (its ``config.json`` exists).

    Returns:
        Ids of the experts and of their average.
    """
    with at_work(run) as ws:
        # Sources first: one that does not fit must not be found out after hours of training.
        for skill in ws.config.skill_names:
            if skill not in ws.config.trained:
                experts.take_expert(run, skill)
        experts.train_experts(run, ws.config.trained)
        made = experts.derive_experts(run)
        return [*made, experts.train_on_all_data(run)] if ws.config.comparison.all_data else made
