"""The benchmarks of Table 3: one YAML file each under ``benchmarks/``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

_FOLDER: Final = Path(__file__).with_name("benchmarks")
_ORDER: Final = (
    *("humaneval_plus", "bigcodebench_complete", "bigcodebench_instruct", "mmlu", "bbh", "gsm8k", "squad2"),
    *("triviaqa", "hellaswag", "openbookqa", "xwinograd"),
)
FIXTURE: Final = 20
"""Fewer problems than these are an example of the data's form, and no measurement."""

DataState = Literal["full", "part", "fixture"]
"""Whether a benchmark's problems are all at hand, some of them, or so few that they only show the form."""


class Benchmark(BaseModel):
    """One benchmark and how it is scored.

    Attributes:
        name: As users give it; the file's name.
        title: As tables show it.
        kind: What a model has to give: ``likelihood`` (log-likelihoods), ``generation`` (text), ``code`` (programs,
            which a sandbox grades).
        shots: Solved examples in each prompt.
        size: Problems in the full benchmark.
        metric: The harness' metric, or words where no harness is used.
        filter: The harness' name of the rule that takes the answer out of the text; empty for the only one.
        tasks: Names of the harness' tasks or groups.
        folder: Where the harness has them, below its ``tasks``; empty for a task that it does not know.
        define: Settings of the harness' task in place of its own; for a name that it does not know, the whole task.
        scorer: Row of `cycleqd.generalisation.scorers.SCORERS`; empty for the harness' metric.
        local: Globs of local copies, below a folder of data.
        image: The published Docker image that programs run in; empty for one of ours.
        hub: The data set on the hub that is taken where there is no local copy; empty where a package knows it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    kind: Literal["likelihood", "generation", "code"]
    shots: int = Field(ge=0)
    size: int = Field(ge=1)
    metric: str
    filter: str = ""
    tasks: tuple[str, ...] = ()
    folder: str = ""
    define: dict[str, Any] = {}
    scorer: str = ""
    local: tuple[str, ...] = ()
    image: str = ""
    hub: str = ""

    def state(self, problems: int) -> DataState:
        """What a number of problems is of the benchmark."""
        if problems >= self.size:
            return "full"
        return "part" if problems >= FIXTURE else "fixture"


@cache
def benchmarks() -> dict[str, Benchmark]:
    """All benchmarks by name, in the order of the paper's table."""
    return {name: _read(_FOLDER / f"{name}.yaml") for name in _ORDER}


def in_order(names: Sequence[str]) -> list[Benchmark]:
    """The benchmarks of these names, in the table's order; without names, all."""
    return [benchmark for name, benchmark in benchmarks().items() if not names or name in names]


def _read(path: Path) -> Benchmark:
    return Benchmark.model_validate({"name": path.stem} | yaml.safe_load(path.read_text(encoding="utf-8")))
