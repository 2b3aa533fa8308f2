"""Several methods on several seeds at an equal budget, as one flow: a run of its own for each pair."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow
from prefect.logging import get_run_logger

from cycleqd.config import RunConfig
from cycleqd.experiment.plan import ExperimentConfig, planned_runs
from cycleqd.experiment.results import Results, collect
from cycleqd.experiment.siblings import givers
from cycleqd.experiment.tables import to_markdown
from cycleqd.run.names import RunRef
from cycleqd.run.store import RunStore
from flows.main import cycleqd_run
from tasks.artifacts import show_table
from tasks.sharing import share_experts
from tasks.work import at_work


@flow(name="experiment", flow_run_name="experiment {experiment.name}")
def run_experiment(experiment: ExperimentConfig) -> Results:
    """Plays all runs of an experiment; what an earlier start has finished is not repeated.

    The runs of a seed share their experts, the baselines and all scores of these. A run that fails does not keep the
    others from their turn.

    Args:
        experiment: Methods, seeds, budget.

    Returns:
        What was found, over the seeds for which every method is finished.

    Raises:
        RuntimeError: Some run failed; its own flow run says why.
    """
    log = get_run_logger()
    failed = []
    planned = list(planned_runs(experiment))
    for number, (method, seed, config) in enumerate(planned, start=1):
        log.info("run %d of %d: %s, seed %d", number, len(planned), method, seed)
        sources = givers(experiment, seed, config.run_id)
        # Without the experts of its seed, a run would train others.
        shared = not sources or take_experts(config, _refs(sources), return_state=True).is_completed()
        if not shared or not cycleqd_run(config, return_state=True).is_completed():
            failed.append(config.run_id)
    if failed:
        raise RuntimeError(f"not finished: {', '.join(failed)}; start the experiment again to continue them")
    results = collect(experiment)
    show_table(experiment.name, to_markdown(results))
    return results


@flow(name="take-experts", flow_run_name="take experts of {config.run_id}")
def take_experts(config: RunConfig, sources: list[RunRef]) -> int:
    """Gives a run that has not trained its experts those of another run of its seed.

    Args:
        config: The run, begun or not.
        sources: Runs that may give them; the first one that can does.

    Returns:
        The number of objects that were copied.
    """
    run = RunRef(run_id=config.run_id, storage=config.storage)
    RunStore.of(run).open(config)
    with at_work(run, config):
        return share_experts(sources, run)


def _refs(runs: Sequence[RunStore]) -> list[RunRef]:
    return [RunRef(run_id=run.run_id, storage=run.storage) for run in runs]
