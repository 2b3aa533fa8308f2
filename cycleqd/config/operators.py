"""Settings of what makes a child and the final model: crossover, mutation, aggregation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from cycleqd.config.section import Section

MergeName = Literal["task_arithmetic", "slerp", "ties", "dare", "tsv", "iso_c", "knots"]

MERGE_SETTINGS: dict[MergeName, dict[str, float]] = {
    "task_arithmetic": {},
    "slerp": {},
    "ties": {"density": 0.2},
    "dare": {"drop": 0.5},
    "tsv": {},
    "iso_c": {"flattening": 0.5},
    "knots": {"density": 0.2},
}
"""Settings of the merge methods of `cycleqd.search.operators.merging.METHODS`, and what they are unless given."""


class CrossoverConfig(Section):
    """Mixing of two parents' task vectors with normalised random coefficients."""

    kind: Literal["linear"] | MergeName = "linear"
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

    @property
    def settings(self) -> dict[str, float]:
        """The merge method's settings; none for ``linear``."""
        return {} if self.kind == "linear" else {**MERGE_SETTINGS[self.kind], "scale": self.scale}


class MutationConfig(Section):
    """Perturbation of a child after crossover."""

    kind: Literal["svd", "gaussian", "none"] = "svd"
    """``svd`` scales singular components; ``gaussian`` and ``none`` are the paper's ablations."""
    basis: Literal["child", "expert"] = "child"
    """Whose singular vectors: the child's own task vector's (paper) or the active skill's expert's (released code)."""
    w_max: Annotated[float, Field(ge=0)] = 0.3
    """Upper bound of the uniform scaling of singular values."""
    std: Annotated[float, Field(ge=0)] = 0.0003
    """Standard deviation of Gaussian mutation."""


class AggregationConfig(Section):
    """Folding of the archives' elites into the final model."""

    elites: Literal["quality", "balanced"] = "quality"
    """Whom an archive contributes. ``quality``: the best in its own skill (the paper's rule). ``balanced``: the one
    with the largest product of all skills' scores that no archive before it contributes; for short searches, where
    the best in a skill is its expert."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Softmax temperature over the elites' scores (fractions in [0, 1])."""
