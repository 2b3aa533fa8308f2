"""Between the experts and the search: what merging the experts without a search gives."""

from __future__ import annotations

from prefect import flow
from prefect.logging import get_run_logger

from cycleqd import steps
from cycleqd.baselines import choices
from cycleqd.run.names import RunRef
from tasks.baselines import derive_baselines
from tasks.options import THREADS
from tasks.scoring import evaluate_each
from tasks.work import at_work


@flow(name="score-baselines", flow_run_name="score-baselines {run.run_id}", task_runner=THREADS)
def score_baselines(run: RunRef) -> list[str]:
    """Merges the experts in the ways that the configuration lists and scores every scale on the optimization split.

    Args:
        run: A run whose experts are trained.

    Returns:
        Ids of the baselines that the final model will be compared with, one of each way.
    """
    log = get_run_logger()
    with at_work(run) as ws:
        baselines = derive_baselines(run)
        scored = evaluate_each(run, baselines, steps.first_part(ws), ws.config.tasks)
        for number, individual in enumerate(scored, start=1):
            log.info("baseline %d of %d scored: %s", number, len(baselines), individual)
        chosen = choices(ws.store)
        for candidate, mean, evaluations in chosen:
            log.info(
                "baseline %s: scale %g of %d tried, mean %.3f on the optimization split",
                candidate.label, candidate.settings["scale"], evaluations, mean,
            )  # fmt: skip
        return [choice.candidate.id for choice in chosen]
