"""MLflow: runs in a tracking server, or in a database file."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from cycleqd.tracking.protocol import Identity, Row, Steps
from cycleqd.urls import without_credentials

_MOST_METRICS, _MOST_PARAMS = 1000, 100
"""What MLflow takes in one request (its REST API, ``runs/log-batch``)."""
_LONGEST = 6000
"""Characters of a parameter's value that MLflow takes."""
_KEY = "cycleqd.key"
"""The tag by which a run is found again."""


@dataclass(frozen=True)
class MLflow:
    """Logs to MLflow.

    Args:
        place: The tracking URI. Empty: what ``MLFLOW_TRACKING_URI`` says, else a database file in the working folder.
        project: The experiment.
    """

    PACKAGE: ClassVar[str] = "mlflow"
    EXTRA: ClassVar[str] = "mlflow"

    place: str = ""
    project: str = "cycleqd"

    def __post_init__(self) -> None:
        if without_credentials(self.place) != self.place:
            raise ValueError(
                "place must not carry credentials; give MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the "
                "environment"
            )
        if not self.project:
            raise ValueError("project must not be empty")

    def open(self, run: Identity) -> MLflowRun:
        """The run of the experiment that has our key, made where there is none."""
        return MLflowRun(
            self.place or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db", self.project, run
        )


class MLflowRun:
    """A run in MLflow; what it has of each metric is asked of MLflow.

    Args:
        uri: Of the tracking server or store.
        project: The experiment's name; it is made where there is none.
        run: Which run.
    """

    def __init__(self, uri: str, project: str, run: Identity) -> None:
        from mlflow.tracking import MlflowClient

        self._client: Any = MlflowClient(tracking_uri=uri)
        known = self._client.get_experiment_by_name(project)
        experiment = known.experiment_id if known else self._client.create_experiment(project)
        found = self._client.search_runs([experiment], filter_string=f"tags.`{_KEY}` = '{run.key}'")
        if found:
            self._id = found[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
        else:
            self._id = self._client.create_run(experiment, run_name=run.run_id, tags={_KEY: run.key}).info.run_id
        self._address = f"{without_credentials(uri)} experiment {project}, run {run.run_id} ({self._id})"
        names = found[0].data.metrics if found else ()
        self._steps = Steps({name: self._last(name) for name in names})

    def _last(self, name: str) -> int:
        return max(int(entry.step) for entry in self._client.get_metric_history(self._id, name))

    @property
    def address(self) -> str:
        """Store, experiment and run."""
        return self._address

    def describe(self, settings: Mapping[str, str]) -> None:
        """Logs the settings as parameters. MLflow's never change: what a later start asks for is not shown."""
        from mlflow.entities import Param

        known = self._client.get_run(self._id).data.params
        new = [Param(path, text[:_LONGEST]) for path, text in settings.items() if path not in known]
        for some in _cut(new, _MOST_PARAMS):
            self._client.log_batch(self._id, params=some)

    def add(self, rows: Sequence[Row]) -> None:
        """Logs rows, many in a request."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(name, value, now, step) for step, values in self._steps.news(rows) for name, value in values.items()
        ]
        for some in _cut(metrics, _MOST_METRICS):
            self._client.log_batch(self._id, metrics=some)

    def link(self, addresses: Mapping[str, str]) -> None:
        """Sets a tag for each address, and the description, which the UI shows as Markdown."""
        for name, address in addresses.items():
            self._client.set_tag(self._id, f"cycleqd.{name}", address)
        lines = (f"* {name}: `{address}`" for name, address in addresses.items())
        self._client.set_tag(self._id, "mlflow.note.content", "\n".join(lines))

    def close(self, *, failed: bool) -> None:
        """Says how this start ended."""
        self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")


def _cut(entries: Sequence[Any], most: int) -> Iterator[list[Any]]:
    for first in range(0, len(entries), most):
        yield list(entries[first : first + most])
