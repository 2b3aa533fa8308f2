"""Counters and durations of this process, in the OpenMetrics format.

They begin at zero with the process, as Prometheus expects of counters. After each generation and at the end the run's
owner writes them to ``metrics/run.prom`` in the run's folder; where ``CYCLEQD_METRICS_PORT`` is set they are
also served over HTTP, on ``CYCLEQD_METRICS_ADDRESS`` (this machine only unless given).

This module knows names and numbers, and neither runs nor stores: every other room may use it.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.openmetrics.exposition import generate_latest

log = logging.getLogger(__name__)

REGISTRY = CollectorRegistry()

_SECONDS = (0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600, 1800, 3600)
"""Buckets that hold a merge of small cores (0.1 s) as well as an evaluation of a large suite (an hour)."""

CHILDREN = Counter("cycleqd_children", "Committed children.", ["run"], registry=REGISTRY)
EVALUATIONS = Counter("cycleqd_evaluations", "Finished evaluations.", ["run", "skill"], registry=REGISTRY)
EPISODES = Counter("cycleqd_episodes", "Finished episodes.", ["run", "skill"], registry=REGISTRY)
SOLVED = Counter("cycleqd_episodes_solved", "Episodes with the full score.", ["run", "skill"], registry=REGISTRY)
TOKENS = Counter("cycleqd_tokens", "Tokens generated in finished episodes.", ["run", "skill"], registry=REGISTRY)
RETRIES = Counter("cycleqd_retries", "Attempts that failed and were repeated.", ["run", "skill"], registry=REGISTRY)
STORAGE_RETRIES = Counter(
    "cycleqd_storage_retries", "Accesses to the store that failed and were repeated.", registry=REGISTRY
)
SANDBOX_SECONDS = Counter(
    "cycleqd_sandbox_seconds", "Seconds in which the engine waited for sandboxes.", ["run"], registry=REGISTRY
)
GENERATE_SECONDS = Counter(
    "cycleqd_generate_seconds", "Seconds in which the engine generated.", ["run"], registry=REGISTRY
)
WORK_SECONDS = Counter(
    "cycleqd_work_seconds", "Seconds of committed children, each counted once, by activity.", ["run", "activity"],
    registry=REGISTRY,
)  # fmt: skip
GENERATION = Histogram("cycleqd_generation_seconds", "One generation.", ["run"], buckets=_SECONDS, registry=REGISTRY)
MERGE = Histogram(
    "cycleqd_merge_seconds", "Crossover and mutation of one child.", ["run"], buckets=_SECONDS, registry=REGISTRY
)
EVALUATION = Histogram(
    "cycleqd_evaluation_seconds", "One evaluation.", ["run", "skill"], buckets=_SECONDS, registry=REGISTRY
)
CHILDREN_PER_HOUR = Gauge("cycleqd_children_per_hour", "Pace of the last generation.", ["run"], registry=REGISTRY)
TOKENS_PER_SECOND = Gauge(
    "cycleqd_tokens_per_second", "Pace of the engine while it generated.", ["run"], registry=REGISTRY
)
LAST_GENERATION = Gauge(
    "cycleqd_last_generation", "Number of the last committed generation.", ["run"], registry=REGISTRY
)

_RUN = re.compile(r'^[^#{]*{(?:[^}]*,)?run="([^"]*)"')
"""Which run a line is about; lines about the process, and comments, name none."""

_serving = threading.Lock()
_served = False


def count_evaluation(run: str, skill: str, *, scores: Sequence[float], tokens: int, seconds: float) -> None:
    """Takes in a finished evaluation.

    Args:
        run: The run's id.
        skill: What was evaluated.
        scores: One an episode, in [0, 1].
        tokens: Generated in all episodes.
        seconds: Wall-clock time of the evaluation.
    """
    EVALUATIONS.labels(run, skill).inc()
    EPISODES.labels(run, skill).inc(len(scores))
    SOLVED.labels(run, skill).inc(sum(score == 1.0 for score in scores))
    TOKENS.labels(run, skill).inc(tokens)
    EVALUATION.labels(run, skill).observe(seconds)


def count_generation(run: str, generation: int, *, seconds: float, sandbox: float, generate: float) -> None:
    """Takes in a committed generation.

    Args:
        run: The run's id.
        generation: Its number.
        seconds: Wall-clock time of the generation.
        sandbox: Of these, how long the engine waited for sandboxes.
        generate: Of these, how long the engine generated.
    """
    CHILDREN.labels(run).inc()
    LAST_GENERATION.labels(run).set(generation)
    GENERATION.labels(run).observe(seconds)
    SANDBOX_SECONDS.labels(run).inc(max(0.0, sandbox))
    GENERATE_SECONDS.labels(run).inc(max(0.0, generate))
    if seconds > 0:
        CHILDREN_PER_HOUR.labels(run).set(3600 / seconds)


def count_split(run: str, seconds: Mapping[str, float]) -> None:
    """Takes in where the time of a committed child went.

    Args:
        run: The run's id.
        seconds: By activity, none below 0 (`cycleqd.run.seconds.Split`).
    """
    for activity, spent in seconds.items():
        WORK_SECONDS.labels(run, activity).inc(spent)


def set_pace(run: str, tokens: int, seconds: float) -> None:
    """Takes in how many tokens this process has generated in how much time of the engine."""
    if seconds > 0:
        TOKENS_PER_SECOND.labels(run).set(tokens / seconds)


def count_retry(run: str, skill: str) -> None:
    """Takes in an attempt that failed and will be repeated."""
    RETRIES.labels(run, skill).inc()


@contextmanager
def merging(run: str) -> Iterator[None]:
    """Measures one child's crossover and mutation."""
    began = time.monotonic()
    yield
    MERGE.labels(run).observe(time.monotonic() - began)


def exposition() -> str:
    """All metrics of this process as OpenMetrics text."""
    text: bytes = generate_latest(REGISTRY)  # type: ignore[no-untyped-call]  # its stubs are half typed
    return text.decode()


def of_run(text: str, run: str) -> str:
    """Metrics without the series of other runs, which the same process may have played before.

    Args:
        text: What `exposition` gave.
        run: The run's id.
    """
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if (told := _RUN.search(line)) is None or told[1] == run)


def serve() -> None:
    """Serves the metrics over HTTP if ``CYCLEQD_METRICS_PORT`` says so; once per process."""
    global _served
    port = os.environ.get("CYCLEQD_METRICS_PORT")
    with _serving:
        if not port or _served:
            return
        address = os.environ.get("CYCLEQD_METRICS_ADDRESS", "127.0.0.1")
        try:
            start_http_server(int(port), addr=address, registry=REGISTRY)
        except (OSError, ValueError, OverflowError) as error:  # e.g. another run's process has the port
            log.warning("metrics are not served on CYCLEQD_METRICS_PORT=%s: %s", port, error)
            return
        _served = True
        log.info("metrics are served on http://%s:%s/metrics", address, port)
