"""Phase 4: make the search's answer the final model, and report on the split that the search never saw."""

from __future__ import annotations

from prefect import flow
from prefect.logging import get_run_logger

from cycleqd import steps
from cycleqd.run.names import CHECKPOINT_KEY, RunRef
from cycleqd.steps.export import export_final
from tasks import evolution, lineage
from tasks.options import THREADS
from tasks.scoring import evaluate_each, evaluate_everywhere
from tasks.work import at_work


@flow(name="aggregate", flow_run_name="aggregate {run.run_id}", task_runner=THREADS)
def aggregate(run: RunRef) -> str:
    """Aggregates, refines, exports the final model, scores everything on the test split.

    Args:
        run: A run with seeded archives; any number of generations.

    Returns:
        Id of the final model.
    """
    with at_work(run) as ws:
        identifier = evolution.aggregate(run)
        if ws.config.refinement.epochs:
            identifier = evolution.refine(run)
        evaluate_everywhere(run, identifier, steps.first_part(ws), ws.config.tasks)
        list(evaluate_each(run, steps.compared(ws), "test", ws.config.tasks))
        with lineage.final_model(ws.store, identifier):
            export_final(ws.store, identifier)
        get_run_logger().info("the final model lies in %s", ws.store.url(CHECKPOINT_KEY))
        return identifier


@flow(name="aggregate-and-report", flow_run_name="aggregate and report {run.run_id}")
def aggregate_and_report(run: RunRef) -> str:
    """Aggregates as `aggregate` does and draws the report anew.

    Args:
        run: A run with seeded archives; any number of generations.

    Returns:
        The report's address.
    """
    with at_work(run) as ws:
        aggregate(run)
        ws.save_session()  # which the report reads
        return evolution.report(run)
