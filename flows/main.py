"""The whole run: experts, baselines, archives, evolution, aggregate, report."""

from __future__ import annotations

from prefect import flow
from pydantic import StrictBool

from cycleqd.config import FormConfig
from cycleqd.preflight.search import refuse_unfit_search
from cycleqd.run.names import RunRef
from cycleqd.run.store import RunStore
from flows.aggregate import aggregate
from flows.evolve import evolve
from flows.score_baselines import score_baselines
from flows.seed_archives import seed_archives
from flows.train_experts import train_experts
from tasks import evolution
from tasks.work import at_work


@flow(name="cycleqd", flow_run_name="cycleqd {config.run_id}")
def cycleqd_run(config: FormConfig, rescore: StrictBool = False) -> str:
    """Runs CycleQD from the base model to the report; what a run of the same id has finished is not repeated.

    Args:
        config: Everything that determines the run. It may name a profile, whose values stand for all that is left out.
        rescore: Measure scores anew that depend on something which has changed since (a judge, an image, an engine),
            instead of refusing to go on. If the search was built on them, it begins again with the same experts;
            nothing is removed.

    Returns:
        The report's address.

    Raises:
        SearchUnfit: There is no such search, or it names an individual that the run does not make.
    """
    refuse_unfit_search(config)  # before the run is begun, whose search may not change any more
    run = RunRef(run_id=config.run_id, storage=config.storage)
    RunStore.of(run).open(config, rescore=rescore)
    with at_work(run, config, rescore=rescore) as ws:
        train_experts(run)
        if config.baselines:
            score_baselines(run)
        seed_archives(run)
        evolve(run)
        aggregate(run)
        ws.save_session()  # which the report reads
        return evolution.report(run)
