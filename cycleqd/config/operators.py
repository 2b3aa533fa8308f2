"""Settings of what makes a child and the final model: crossover, mutation, aggregation."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from cycleqd.config.named import Named, NamedSection
from cycleqd.seams import AGGREGATIONS, CROSSOVERS, MERGE_METHODS, MUTATIONS, SeamTable
from cycleqd.seams.operators import SCALED_MERGES


class CrossoverConfig(NamedSection):
    """Mixing of two parents' task vectors with normalised random coefficients."""

    TABLE: ClassVar[SeamTable] = CROSSOVERS
    ELSEWHERE: ClassVar[tuple[str, ...]] = ("seed",)  # drawn for each child

    kind: Annotated[str, Named(CROSSOVERS)] = "linear"
    """``linear`` is the paper's weighted mean; the others are merge methods with the same coefficients as weights."""
    scale: Annotated[float, Field(gt=0)] = 1.0
    """Factor on a merge method's result; ``linear`` has none."""
    mu: float = 1.0
    """Mean of the mixing coefficients."""
    sigma: Annotated[float, Field(ge=0, validate_default=True)] = 0.03
    """Standard deviation of the mixing coefficients."""

    @field_validator("sigma")
    @classmethod
    def _leaves_a_divisor(cls, sigma: float, info: ValidationInfo) -> float:
        if sigma == 0 and abs(2 * info.data.get("mu", 1.0)) < 1e-3:
            raise ValueError("mu 0 with sigma 0 leaves coefficients that sum to zero; raise mu or sigma")
        return sigma

    @classmethod
    def table_of(cls, name: str) -> SeamTable:
        """A merge method's settings are those of the method."""
        return MERGE_METHODS if name in SCALED_MERGES else CROSSOVERS

    @property
    def merge(self) -> dict[str, Any]:
        """The merge method's settings; none for a crossover that is no merge method."""
        if self.kind not in SCALED_MERGES:
            return {}
        return {**MERGE_METHODS[self.kind].usual, **(self.__pydantic_extra__ or {}), "scale": self.scale}


class MutationConfig(NamedSection):
    """Perturbation of a child after crossover."""

    TABLE: ClassVar[SeamTable] = MUTATIONS

    kind: Annotated[str, Named(MUTATIONS)] = "svd"
    """``svd`` scales singular components; ``gaussian`` and ``none`` are the paper's ablations."""
    basis: Literal["child", "expert"] = "child"
    """Whose singular vectors: the child's own task vector's (paper) or the active skill's expert's (released code)."""
    w_max: Annotated[float, Field(ge=0)] = 0.3
    """Upper bound of the uniform scaling of singular values."""
    std: Annotated[float, Field(ge=0)] = 0.0003
    """Standard deviation of Gaussian mutation."""


class AggregationConfig(NamedSection):
    """Folding of the archives' elites into the final model."""

    TABLE: ClassVar[SeamTable] = AGGREGATIONS

    kind: Annotated[str, Named(AGGREGATIONS)] = "softmax"
    """How the elites are weighed: ``softmax`` of their scores is the paper's."""
    elites: Literal["quality", "balanced"] = "quality"
    """Whom an archive contributes. ``quality``: the best in its own skill (the paper's rule). ``balanced``: the one
    with the largest product of all skills' scores that no archive before it contributes; for short searches, where
    the best in a skill is its expert."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Softmax temperature over the elites' scores (fractions in [0, 1])."""
