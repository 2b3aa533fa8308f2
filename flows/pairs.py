"""All pairs of a configuration's skills: their experts once, then a run for each pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from prefect import flow
from prefect.logging import get_run_logger
from pydantic import Field

from cycleqd.config import FormConfig
from cycleqd.experiment.pairs import Table, collect_pairs, experts_run, pair_runs, to_markdown
from cycleqd.run.names import RunRef
from cycleqd.run.store import RunStore
from flows.main import cycleqd_run
from flows.train_experts import train_experts
from tasks.artifacts import show_table
from tasks.work import at_work

_Seeds = Annotated[Sequence[Annotated[int, Field(ge=0, strict=True)]], Field(min_length=1)]


@flow(name="pairs", flow_run_name="pairs of {config.run_id}")
def run_pairs(config: FormConfig, seeds: _Seeds) -> Table:
    """Merges the experts of every two skills, seed by seed; what an earlier start has finished is not repeated.

    Args:
        config: A run of at least two skills. It may name a profile, whose values stand for all that is left out.
        seeds: Seeds.

    Returns:
        The table over the pairs that are finished for all seeds.

    Raises:
        RuntimeError: Some run failed; its own flow run says why.
    """
    log, failed = get_run_logger(), []
    for seed in seeds:
        trained = experts_run(config, seed)
        run = RunRef(run_id=trained.run_id, storage=trained.storage)
        RunStore.of(run).open(trained)
        with at_work(run, trained):
            train_experts(run)
        for pair in pair_runs(config, seed):
            log.info("pair %s and %s, seed %d", pair.a, pair.b, seed)
            if not cycleqd_run(pair.config, return_state=True).is_completed():
                failed.append(pair.config.run_id)
    if failed:
        raise RuntimeError(f"not finished: {', '.join(failed)}; start the pairs again to continue them")
    table = collect_pairs(config, seeds)
    show_table(f"{config.run_id}-pairs", to_markdown(table))
    return table
