"""Settings that say how many evaluators score a run's children, and where."""

from __future__ import annotations

import os
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from cycleqd.config.section import Section

_TAKEN_BY: Final = {"address": ("dask", "ray"), "resources": ("dask", "ray"), "devices": ("process",)}


class EvaluatorsConfig(Section):
    """How many evaluators score children, and where. May differ when a run is continued."""

    kind: Literal["threads", "process", "dask", "ray"] = "threads"
    """``threads`` is the run's own process with its one engine. The others start an engine each: ``process`` in
    processes of this machine, ``dask`` and ``ray`` in workers of a cluster, which see the same storage and the same
    paths."""
    count: Annotated[int, Field(ge=1, le=64, validate_default=True)] = 1
    """Evaluators, each with an engine; at most `search.in_flight`."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads that each engine computes with on a CPU. Unless given: the machine's cores, divided by
    `search.in_flight`. It does not follow `count`, so that no score depends on how many evaluators there are."""
    devices: Annotated[tuple[Annotated[str, Field(pattern=r"^[\w,:/-]+$")], ...], Field(validate_default=True)] = ()
    """What each process sees of the GPUs, e.g. ``["0", "1", "2,3"]``. Unless given: all of them."""
    address: Annotated[str, Field(min_length=1)] | None = None
    """Of the cluster: of Dask's scheduler, e.g. ``tcp://scheduler:8786``; of Ray's head, ``ray://head:10001`` or, on a
    machine of the cluster, ``head:6379``. Unless given: a local cluster that ends with the run."""
    resources: dict[str, Annotated[float, Field(gt=0)]] = {}  # noqa: RUF012 -- pydantic copies it
    """What the scheduler keeps for each evaluator, e.g. ``{GPU: 1}``. Workers of Dask say what they have
    (``dask worker --resources GPU=1``); Ray finds GPUs by itself."""

    @field_validator("count")
    @classmethod
    def _are_other_processes(cls, count: int, info: ValidationInfo) -> int:
        if count > 1 and info.data.get("kind", "") == "threads":
            raise ValueError("the run's own process has one engine: set evaluators.kind to process, dask or ray")
        return count

    @field_validator("devices")
    @classmethod
    def _are_one_each(cls, devices: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        count = info.data.get("count")
        if devices and count is not None and len(devices) != count:
            raise ValueError(f"evaluators.count is {count}: name as many devices, got {len(devices)}")
        return devices

    @field_validator("devices", "address", "resources")
    @classmethod
    def _belong_to_the_kind(cls, value: Any, info: ValidationInfo) -> Any:
        kinds, kind = _TAKEN_BY[str(info.field_name)], info.data.get("kind")
        if value and kind is not None and kind not in kinds:
            raise ValueError(f"it is for evaluators.kind {' or '.join(kinds)}")
        return value

    def threads_each(self, in_flight: int) -> int:
        """Threads that each engine computes with.

        Args:
            in_flight: Children that are under way at a time.
        """
        return self.threads or max(1, (os.cpu_count() or 1) // in_flight)
