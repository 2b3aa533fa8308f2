"""Settings of the merges that the final model is compared with."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from cycleqd.config.named import Named, NamedSection
from cycleqd.config.section import Section
from cycleqd.seams import BASELINES, SeamTable


class BaselineConfig(NamedSection):
    """One merge of the experts without a search, which the report compares the final model with."""

    NAME: ClassVar[str] = "method"
    TABLE: ClassVar[SeamTable] = BASELINES
    ELSEWHERE: ClassVar[tuple[str, ...]] = ("scale",)  # one of `scales` after the other

    method: Annotated[str, Named(BASELINES)]
    """Which merge; the table is `cycleqd.seams.BASELINES`. The plain average is always compared."""
    scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (0.6, 0.8, 1.0)
    """Factors on the merge that are tried, each an evaluation; the best on the optimization split is compared."""
    flattening: Annotated[float, Field(ge=0, le=1)] | None = None
    """``iso_c``: how far singular values move to their mean, 1 all the way. Unless given: 0.5."""
    density: Annotated[float, Field(gt=0, le=1)] | None = None
    """``ties``, ``knots``: share of each expert's entries that stays. Unless given: 0.2."""
    drop: Annotated[float, Field(ge=0, lt=1)] | None = None
    """``dare``: share of each expert's entries that is dropped. Unless given: 0.5."""

    @field_validator("scales")
    @classmethod
    def _differ(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        if len({f"{scale:g}" for scale in scales}) != len(scales):
            raise ValueError(f"scales must differ in their first six digits, got {', '.join(map(str, scales))}")
        return scales

    @field_validator("flattening", "density", "drop")
    @classmethod
    def _belongs_to_the_method(cls, value: float | None, info: ValidationInfo) -> float | None:
        method = info.data.get("method", "")
        if value is not None and method in BASELINES and info.field_name not in BASELINES[method].usual:
            raise ValueError(f"{method} has no {info.field_name}")
        return value

    @property
    def settings(self) -> dict[str, Any]:
        """The method's settings but its scale."""
        given = {name: (getattr(self, name, None), usual) for name, usual in BASELINES[self.method].usual.items()}
        chosen = {name: usual if value is None else value for name, (value, usual) in given.items()}
        return {**chosen, **(self.__pydantic_extra__ or {})}

    @property
    def label(self) -> str:
        """Its name in ids and in the report: the method, and the settings that are not the usual ones."""
        usual = BASELINES[self.method].usual
        unusual = (
            f"-{name}-{value:g}" if isinstance(value, int | float) else f"-{name}-{value}"
            for name, value in self.settings.items()
            if value != usual.get(name)
        )
        return self.method.replace("_", "-") + "".join(unusual)


class RegMeanConfig(Section):
    """How RegMean's shares of the experts are made: for a baseline ``regmean``, or for ``search.merge: regmean``."""

    conversations: Annotated[int, Field(ge=1)] = 50
    """Training conversations of a skill that are played through its expert to measure what its layers read."""
    shrinkage: Annotated[float, Field(ge=0, le=1)] = 0.01
    """How much smaller moments off the diagonal are made; more where the conversations are few."""


class ComparisonConfig(Section):
    """Whom the report compares the final model with on the test split, beside base, experts, average and baselines."""

    elites: bool = True
    """The best individual of each archive."""
    all_data: bool = False
    """One model that is fine-tuned on all skills' data together, as in the paper's Table 1; costs as much training as
    all experts."""
