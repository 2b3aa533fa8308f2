"""Events of our own on the Prefect server, for automations: ``cycleqd.generation.committed`` and the like.

Every event is about the run, the resource ``cycleqd.run.<run_id>``; Prefect adds flow run, flow, deployment and tags
as related resources. Without a server nothing is sent, and a server that does not take an event costs the run nothing:
events are sent from a thread of Prefect's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prefect.events import emit_event

from cycleqd.run.names import CHECKPOINT_KEY, REPORT_KEY, expert_id
from cycleqd.run.records import GenerationRecord, means
from cycleqd.run.store import RunStore
from cycleqd.urls import without_credentials
from tasks.server import has_server

if TYPE_CHECKING:
    from cycleqd.experts import TrainingSummary
    from cycleqd.report.summary import Summary

STARTED = "cycleqd.run.started"
TRAINED = "cycleqd.expert.trained"
COMMITTED = "cycleqd.generation.committed"
FINISHED = "cycleqd.run.finished"
FAILED = "cycleqd.run.failed"
STOPPED = "cycleqd.run.stopped"

_LONGEST = 2000
"""Characters of a fault's text that an event carries: a notification is no log."""

log = logging.getLogger("cycleqd.events")


@contextmanager
def announced(store: RunStore) -> Iterator[None]:
    """Says that work on a run began, and how it ended where that is no success: by a fault, or because it was stopped.

    That a run is finished says `finished`, once there is a report.

    Raises:
        BaseException: What the block raises.
    """
    _announce(STARTED, store, {"generations": _committed(store), "of": store.config().generations})
    try:
        yield
    except Exception as error:
        text = without_credentials(str(error))[:_LONGEST]
        _announce(FAILED, store, {"fault": type(error).__name__, "text": text, "generations": _committed(store)})
        raise
    except BaseException as error:  # Ctrl-C, or Prefect's cancelling
        _announce(STOPPED, store, {"by": type(error).__name__, "generations": _committed(store)})
        raise


def trained(store: RunStore, name: str, summary: TrainingSummary) -> None:
    """An expert is trained."""
    payload = {"steps": summary.steps, "loss": summary.loss_last, "seconds": summary.seconds}
    _announce(TRAINED, store, payload, {"expert": expert_id(name)})


def committed(store: RunStore, record: GenerationRecord, total: int) -> None:
    """A generation is committed.

    Args:
        store: The run.
        record: The commit record.
        total: Generations that the run is to have.
    """
    scores = means(record.scores)
    payload = {
        "generation": record.generation,
        "of": total,
        "individual": record.individual,
        "scores": scores,
        "mean": sum(scores.values()) / len(scores),
        "cells": list(record.cells),
        "seconds": record.seconds.total,
    }
    _announce(COMMITTED, store, payload, {"individual": record.individual})


def finished(store: RunStore, summary: Summary) -> None:
    """The run has its final model and its report."""
    from cycleqd.report.tables import headline  # not above: whoever registers the flows draws no figures

    test = summary.splits.get("test", {})
    payload = {
        "headline": headline(summary),
        "test_means": {row: scores["mean"] for row, scores in test.items() if "mean" in scores},
        "generations": summary.generations,
        "report": store.url(REPORT_KEY),
        "model": store.url(CHECKPOINT_KEY),
    }
    _announce(FINISHED, store, payload)


def _committed(store: RunStore) -> int | None:
    """Generations that the run has; None where its storage is what failed."""
    try:
        return len(store.generations())
    except Exception:
        return None


def _announce(
    name: str, store: RunStore, payload: Mapping[str, object], about: Mapping[str, str] | None = None
) -> None:
    """Sends an event.

    Args:
        name: What happened.
        store: The run.
        payload: What is known of it.
        about: Ids of what in the run it is about, by role.
    """
    if not has_server():
        return
    run = f"cycleqd.run.{store.run_id}"
    related = [
        {
            "prefect.resource.id": f"{run}.{identifier}",
            "prefect.resource.role": f"cycleqd-{role}",
            "prefect.resource.name": identifier,
        }
        for role, identifier in (about or {}).items()
    ]
    resource = {"prefect.resource.id": run, "prefect.resource.name": store.run_id, "cycleqd.storage": store.storage}
    try:
        emit_event(name, resource, related=related, payload={"run": store.run_id, **payload})
    except Exception as error:
        log.warning("the event %s was not sent: %s", name, error)
