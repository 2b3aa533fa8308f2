"""Tasks of the first phase: one expert per skill."""

from __future__ import annotations

from collections.abc import Sequence
from queue import SimpleQueue

from prefect import task
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger

from cycleqd import steps
from cycleqd.experts import TrainingSummary
from cycleqd.run.names import ALL_DATA, RunRef
from cycleqd.steps.workspace import opened
from tasks import announcing, lineage
from tasks.options import RETRIED
from tasks.tags import tag_task


@task(task_run_name="take {skill} expert", **RETRIED)
def take_expert(run: RunRef, skill: str) -> None:
    """Reads the expert of a skill from its source: an adapter or a checkpoint that was made elsewhere."""
    tag_task(run, "experts", skill=skill)
    with opened(run) as ws, lineage.expert(ws.store, skill) as facts:
        record = steps.take_expert(ws, skill)
        facts |= {"kind": record.kind, "parameters": record.parameters, "form": record.form, "hash": record.hash}
    logger = get_run_logger()
    logger.info("%s: %s %s, %d parameters, %s", skill, record.kind, record.given, record.parameters, record.form)
    for note in record.notes:
        logger.warning("%s: %s", skill, note)


@task(task_run_name="gather {skill} training data", **RETRIED)
def gather_training_data(run: RunRef, skill: str) -> int:
    """Plays the gold episodes of a skill's train split, or reads its data sets; returns how many conversations."""
    tag_task(run, "experts", skill=skill)
    with opened(run) as ws:
        conversations = steps.gather_training_data(ws, skill)
    get_run_logger().info("%s: %d training conversations", skill, conversations)
    return conversations


@task(task_run_name="train {skill} expert", **RETRIED)
def train_expert(run: RunRef, skill: str) -> None:
    """Fine-tunes the expert of a skill."""
    tag_task(run, "experts", skill=skill)
    with opened(run) as ws, lineage.expert(ws.store, skill) as facts:
        summary = steps.train(ws, skill)
        facts |= _facts(summary)
        announcing.trained(ws.store, skill, summary)
    _tell(f"{skill} expert", summary)


def train_experts(run: RunRef, skills: Sequence[str]) -> None:
    """Gathers each skill's training data and fine-tunes its expert, `experts.at_a_time` of them at once.

    While some train, the next one's data are gathered.

    Args:
        run: The run.
        skills: In the order in which they begin.
    """
    under_way: set[PrefectFuture[None]] = set()
    ended: SimpleQueue[PrefectFuture[None]] = SimpleQueue()

    def finish_one() -> None:
        first = ended.get()
        under_way.remove(first)
        first.result()

    with opened(run) as ws:
        try:
            for skill in skills:
                gather_training_data(run, skill)
                while len(under_way) >= ws.config.experts.side_by_side:
                    finish_one()
                future = train_expert.submit(run, skill)
                under_way.add(future)
                future.add_done_callback(ended.put)
            while under_way:
                finish_one()
        except BaseException:  # a failure, Ctrl-C or a cancellation: the others keep where they are, and end
            ws.evaluator.stop.set()
            raise


@task(task_run_name="train on all data", **RETRIED)
def train_on_all_data(run: RunRef) -> str:
    """Fine-tunes one model on all skills' data, for comparison; returns its id."""
    tag_task(run, "experts")
    with opened(run) as ws:
        with lineage.expert(ws.store, ALL_DATA) as facts:
            summary = steps.train_on_all_data(ws)
            facts |= _facts(summary)
        announcing.trained(ws.store, ALL_DATA, summary)
        _tell("model of all data", summary)
        return steps.derive_all_data(ws).id


@task(task_run_name="derive task vectors", **RETRIED)
def derive_experts(run: RunRef) -> list[str]:
    """Turns the experts into task vectors over shared bases; returns the individuals' ids."""
    tag_task(run, "experts")
    log = get_run_logger()

    def told(skill: str, done: int, of: int) -> None:
        log.info("RegMean: %d of %d conversations of %s read", done, of, skill)

    with opened(run) as ws:
        return [record.id for record in steps.derive_experts(ws, told)]


def _facts(summary: TrainingSummary) -> lineage.Facts:
    return {"steps": summary.steps, "conversations": summary.conversations, "loss": summary.loss_last}


def _tell(whom: str, summary: TrainingSummary) -> None:
    get_run_logger().info(
        "%s: %d steps, loss %.3f -> %.3f, %d tokens in %.0f s (%.0f tokens/s)",
        whom, summary.steps, summary.loss_first, summary.loss_last, summary.tokens, summary.seconds,
        summary.tokens_per_second,
    )  # fmt: skip
