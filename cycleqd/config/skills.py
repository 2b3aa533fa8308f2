"""The skills' settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    GetJsonSchemaHandler,
    ValidationInfo,
    field_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core.core_schema import CoreSchema

from cycleqd.config.section import Section
from cycleqd.skills import registry
from cycleqd.skills.registry import BUILT_IN, SkillRow


def _known(name: str) -> str:
    registry.find(name)
    return name


class _Listed:
    """Lists the known names in a schema, so that the Prefect UI offers them."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema of the text, with the names that are known where it is made."""
        return handler(schema) | {"enum": [*registry.names(), *registry.SEGMENTATION]}


SkillName = Annotated[str, AfterValidator(_known), _Listed]
"""A name of `cycleqd.skills.registry.names`, or a class of skills as ``module:Class``."""

GENERATED_COUNTS: dict[Literal["train", "optimization", "test"], int] = {"train": 160, "optimization": 24, "test": 60}
"""Samples per split of a generated suite whose configuration leaves them out."""
GENERATED_SKILLS = tuple(name for name, row in BUILT_IN.items() if row.kind == "suite")
"""Built-in skills whose samples are generated here."""


def _row_of(info: ValidationInfo) -> SkillRow | None:
    """The skill whose fields are validated; None where its name is at fault."""
    name = info.data.get("name")
    return registry.find(name) if name else None


class SkillConfig(Section):
    """One skill, how many samples each split has, and where a benchmark's samples come from."""

    name: SkillName
    """Which skill. ``coding``, ``os`` and ``db`` are generated suites; the others are published benchmarks or come
    from installed packages; ``segmentation:NAME`` segments images. A file may also name the class of any other skill,
    as ``module:Class``."""
    train: Annotated[int, Field(ge=1)] | None = None
    """Samples whose gold episodes the expert is fine-tuned on: 160 unless given. A benchmark has none."""
    optimization: Annotated[int, Field(ge=1)] | None = None
    """Samples that score every child during the search. Unless given: 24, or all of a benchmark's half."""
    test: Annotated[int, Field(ge=1)] | None = None
    """Samples of the final report, which the search never sees. Unless given: 60, or all of a benchmark's half."""
    data: str | None = None
    """A benchmark's file or folder. Unless given: ``$CYCLEQD_DATA_DIR``, else a download."""
    prompt_file: str | None = None
    """A text to show in place of our instructions, for exact comparison; results say that it was used."""
    exclude: tuple[str, ...] = ()
    """Ids of a benchmark's samples to leave out; results list them as skipped."""
    exclude_file: str | None = None
    """A file with more ids to leave out: a text with one id a line, or the JSON that ``cycleqd audit`` wrote (its
    broken and cheated samples)."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Draws a benchmark's halves. Not the run's seed, so that runs with different seeds report on the same samples."""
    max_turns: Annotated[int, Field(ge=1, le=100)] | None = None
    """Replies that a model may give to an AgentBench problem, the final answer included. Unless given: 5, as in the
    paper; AgentBench's own configurations allow 8 (``agentbench_os``) and 15 (``agentbench_db``)."""

    @field_validator("train")
    @classmethod
    def _is_trained_on(cls, train: int | None, info: ValidationInfo) -> int | None:
        row = _row_of(info)
        if train is not None and row and row.kind == "benchmark":
            raise ValueError(f"{row.name} has no train split: its samples only score models and are never trained on")
        return train

    @field_validator("data", "prompt_file", "exclude", "exclude_file", "split_seed")
    @classmethod
    def _is_a_benchmark(cls, value: Any, info: ValidationInfo) -> Any:
        row = _row_of(info)
        if value and row and row.kind == "suite":
            raise ValueError(f"{row.name} is generated and takes no {info.field_name}; benchmarks do")
        return value

    @field_validator("max_turns")
    @classmethod
    def _has_turns(cls, turns: int | None, info: ValidationInfo) -> int | None:
        row = _row_of(info)
        if turns is not None and row and not row.takes_turns:
            others = " and ".join(name for name, known in BUILT_IN.items() if known.takes_turns)
            raise ValueError(f"the number of turns of {row.name} is fixed; it can be set for {others}")
        return turns

    @property
    def row(self) -> SkillRow:
        """What the table of skills says of it; `row.name` is its name in records and keys, however it is written."""
        return registry.find(self.name)

    @property
    def counts(self) -> dict[Literal["train", "optimization", "test"], int | None]:
        """Samples per split; None is all that a benchmark has."""
        if self.row.kind == "benchmark":
            return {"train": 0, "optimization": self.optimization, "test": self.test}
        given: dict[Literal["train", "optimization", "test"], int | None] = {
            "train": self.train,
            "optimization": self.optimization,
            "test": self.test,
        }
        if self.row.kind == "dataset":
            return given
        return {split: given[split] or count for split, count in GENERATED_COUNTS.items()}
