"""Phase 4: fold the elites into one model, and report on the split that the search never saw."""

from __future__ import annotations

from prefect import flow
from prefect.logging import get_run_logger

from cycleqd import steps
from cycleqd.steps.export import export_final
from tasks import evolution
from tasks.options import THREADS
from tasks.scoring import evaluate_everywhere
from tasks.work import at_work


@flow(name="aggregate", flow_run_name="aggregate {run_id}", task_runner=THREADS)
def aggregate(run_id: str, storage: str = "runs") -> str:
    """Aggregates, exports the final model, scores everything on the test split.

    Args:
        run_id: A run with seeded archives; any number of generations.
        storage: Folder or URL that holds it.

    Returns:
        Id of the aggregate.
    """
    with at_work(storage, run_id) as ws:
        skills = ws.config.skill_names
        identifier = evolution.aggregate(storage, run_id)
        evaluate_everywhere(
            storage, run_id, identifier, steps.first_part(ws), skills=skills, options=ws.config.tasks, label=identifier
        )
        for individual in steps.compared(ws):
            evaluate_everywhere(
                storage, run_id, individual, "test", skills=skills, options=ws.config.tasks, label=individual
            )
        export_final(ws.store, identifier)
        get_run_logger().info("the final model lies in %s", ws.store.url("aggregate/checkpoint"))
        return identifier


@flow(name="aggregate-and-report", flow_run_name="aggregate and report {run_id}")
def aggregate_and_report(run_id: str, storage: str = "runs") -> str:
    """Aggregates as `aggregate` does and draws the report anew.

    Args:
        run_id: A run with seeded archives; any number of generations.
        storage: Folder or URL that holds it.

    Returns:
        The report's address.
    """
    with at_work(storage, run_id) as ws:
        aggregate(run_id, storage)
        ws.save_session()  # which the report reads
        return evolution.report(storage, run_id)
