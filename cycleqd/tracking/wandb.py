"""Weights & Biases: offline into a folder that `wandb sync` uploads, or online."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from cycleqd.tracking.protocol import Identity, Row, Steps

_MARK = "cycleqd-steps.json"
"""Lies in an offline folder that was closed in order, and says what it and those before it have."""


@dataclass(frozen=True)
class WandB:
    """Logs to Weights & Biases.

    Args:
        place: A local folder; what is not uploaded yet lies under ``wandb/`` there.
        project: The project.
        entity: The user or team; empty: the one that W&B's client is logged in as.
        offline: Whether nothing leaves this machine until somebody runs ``wandb sync``.
    """

    PACKAGE: ClassVar[str] = "wandb"
    EXTRA: ClassVar[str] = "wandb"

    place: str = "."
    project: str = "cycleqd"
    entity: str = ""
    offline: bool = True

    def __post_init__(self) -> None:
        if "://" in self.place:
            raise ValueError(f"place must be a local folder, got {self.place}")
        if not self.project:
            raise ValueError("project must not be empty")

    def open(self, run: Identity) -> WandBRun:
        """The run with our key as its id, begun or resumed."""
        place = Path(self.place).absolute()
        place.mkdir(parents=True, exist_ok=True)
        return WandBRun(place, self.project, self.entity or None, run, offline=self.offline)


class WandBRun:
    """A run in W&B.

    Online, W&B says what it has. Offline, every start has a folder of its own, which `wandb sync` uploads in their
    order. What a killed start left there is not known to be whole: it is removed and logged again.

    Args:
        place: Where W&B's folder lies.
        project: The project.
        entity: The user or team.
        run: Which run.
        offline: Whether nothing is uploaded.
    """

    def __init__(self, place: Path, project: str, entity: str | None, run: Identity, *, offline: bool) -> None:
        import wandb

        self._steps = Steps(_offline_steps(place, run.key) if offline else None)
        self._offline = offline
        self._run: Any = wandb.init(
            dir=str(place),
            project=project,
            entity=entity,
            id=run.key,
            name=run.run_id,
            resume="allow",
            reinit="create_new",  # a process may lead several runs
            settings=wandb.Settings(
                mode="offline" if offline else "online",
                console="off",  # Prefect has the log
                disable_git=True,
                save_code=False,
                silent=True,
            ),
        )
        self._run.define_metric("generation", hidden=True)
        self._run.define_metric("*", step_metric="generation")
        self._axes = {"generation"}
        if not offline:
            self._steps.last = {
                name: int(self._run.summary[axis])
                for name in self._run.summary.keys()  # noqa: SIM118 - W&B's summary is no mapping
                if (axis := _axis(name)) in self._run.summary.keys()  # noqa: SIM118
            }

    @property
    def address(self) -> str:
        """The run's page, or the folder to upload."""
        return self._folder().as_posix() if self._offline else str(self._run.url)

    def _folder(self) -> Path:
        return Path(self._run.dir).parent

    def describe(self, settings: Mapping[str, str]) -> None:
        """Sets the settings as the run's configuration."""
        self._run.config.update(dict(settings), allow_val_change=True)

    def add(self, rows: Sequence[Row]) -> None:
        """Logs rows, an expert's losses along its optimizer steps and all others along the generations."""
        for step, values in self._steps.news(rows):
            by_axis: dict[str, dict[str, float]] = {}
            for name, value in values.items():
                by_axis.setdefault(_axis(name), {})[name] = value
            for axis, some in by_axis.items():
                if axis not in self._axes:
                    self._axes.add(axis)
                    self._run.define_metric(axis, hidden=True)
                for name in some:
                    if axis != "generation" and name not in self._axes:
                        self._axes.add(name)
                        self._run.define_metric(name, step_metric=axis)
                self._run.log({**some, axis: step})

    def link(self, addresses: Mapping[str, str]) -> None:
        """Sets the addresses in the configuration and in the notes."""
        self._run.config.update({f"links.{name}": text for name, text in addresses.items()}, allow_val_change=True)
        self._run.notes = "\n".join(f"{name}: {text}" for name, text in addresses.items())

    def close(self, *, failed: bool) -> None:
        """Ends this start."""
        import wandb

        folder = self._folder()
        self._run.finish(exit_code=int(failed))
        if self._offline:
            wandb.teardown()  # `finish` returns before W&B's process has written the file; this waits for it
            (folder / _MARK).write_text(json.dumps(self._steps.last))


def _axis(name: str) -> str:
    """The metric along which a metric is drawn."""
    kind, _, rest = name.partition("/")
    return f"expert/{rest.partition('/')[0]}/step" if kind == "expert" else "generation"


def _offline_steps(place: Path, key: str) -> dict[str, int]:
    """What the folders of earlier starts have; those of killed ones are removed."""
    last: dict[str, int] = {}
    for folder in sorted((place / "wandb").glob(f"offline-run-*-{key}")):
        if (folder / _MARK).exists():
            last |= json.loads((folder / _MARK).read_text())
        else:
            shutil.rmtree(folder)
    return last
