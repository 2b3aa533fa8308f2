"""Settings of the search: its kind, its archives and their grids, how parents are drawn."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from cycleqd.config.named import Named, NamedSection
from cycleqd.config.section import Section
from cycleqd.seams import SAMPLERS, SEARCHES, SeamTable


class SearchConfig(NamedSection):
    """What decides which child comes next."""

    TABLE: ClassVar[SeamTable] = SEARCHES
    COMPLETE: ClassVar[bool] = False
    ELSEWHERE: ClassVar[tuple[str, ...]] = (
        "start", "combination", "sampler", "crossover", "mutation", "aggregation", "elites",
    )  # fmt: skip

    kind: Annotated[str, Named(SEARCHES)] = "cycleqd"
    """``cycleqd`` is the paper's search and ``qd`` its ablation with one fixed quality at a time. The others search
    for the coefficients of a combination of the experts and use no operators: ``surrogate`` is ours, with archives and
    a model of the noise, the rest are the paper's baselines without archives. Installed packages may add names, and
    ``module:Class`` names a class that can be imported."""
    merge: Literal["linear", "tsv", "regmean"] = "linear"
    """What coefficients combine: the experts as they are, as TSV-Merge makes them orthogonal to each other, or their
    shares of RegMean, which sum to a merge that each expert's own inputs hardly notice."""
    block: Annotated[int, Field(ge=1)] | None = None
    """Optimization samples of a skill that a child meets, for searches that spend samples where they decide. Unless
    given: all of the split, as in the paper."""
    in_flight: Annotated[int, Field(ge=1, le=64)] = 1
    """Children that are evaluated at a time, which takes servers (`engine.kind: server`) or evaluators
    (`evaluators`). A child is bred from what was known so many children before."""
    commit: Literal["order", "completion"] = "order"
    """In which order the results of several children in flight are committed. ``order`` is that of the children, so
    that who is faster changes nothing. With ``completion`` nobody waits for a slower one: the same seed gives another
    search each time, and the run's records say which it was."""
    low: float = 0.0
    """Lower end of a coefficient's range, for searches over coefficients."""
    high: Annotated[float, Field(validate_default=True)] = 1.0
    """Upper end of a coefficient's range."""
    initial: Annotated[int, Field(ge=2)] = 8
    """Children that ``surrogate`` spreads evenly before its model has a say."""
    population: Annotated[int, Field(ge=2)] = 6
    """Children between two updates of ``cma_es`` and ``policy_gradient``; parents that ``nsga2`` keeps."""
    sigma: Annotated[float, Field(gt=0)] = 0.2
    """Standard deviation of the coefficients, of ``cma_es`` at its start and of ``policy_gradient`` throughout."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.5
    """Step of ``policy_gradient``, in units of `sigma`."""

    @field_validator("in_flight")
    @classmethod
    def _are_different_children(cls, in_flight: int, info: ValidationInfo) -> int:
        if in_flight > 1 and info.data.get("kind") == "rescoring":
            raise ValueError("rescoring scores one individual, which can't be under way twice: set in_flight to 1")
        return in_flight

    @field_validator("high")
    @classmethod
    def _is_above_low(cls, high: float, info: ValidationInfo) -> float:
        low = info.data.get("low", 0.0)
        if low >= high:
            raise ValueError(f"low must be below high, got {low} and {high}")
        return high

    @property
    def named_individual(self) -> str | None:
        """Id of the individual that ``rescoring`` is to score; None where it chooses itself, and for all others."""
        named = self.settings.get("individual")
        return str(named) if self.kind == "rescoring" and named is not None else None


class NoiseConfig(Section):
    """How samples are spent where they decide. Nothing of it is in the paper, and all is off unless given.

    One generation is then one block of samples of one individual (`search.block`), of a new child or of one that is
    scored again.
    """

    racing: Annotated[float, Field(gt=0.5, lt=1)] | None = None
    """A child that is out of every archive at this confidence, e.g. 0.8, meets no further block. Unless given, nobody
    stops early."""
    most: Annotated[int, Field(ge=1)] = 1
    """Blocks that a new child meets at most before the next child."""
    offspring: Annotated[int, Field(ge=1)] | None = None
    """Offspring that an individual may have for each block that it met. Before it has more, it meets a fresh block."""
    final: Annotated[int, Field(ge=1)] = 1
    """Blocks that the members of the final model have met; the end of the budget is kept for them."""

    @property
    def is_off(self) -> bool:
        """Whether every child meets one block, once."""
        return self == NoiseConfig()


class ArchiveConfig(Section):
    """What the archives begin with."""

    seeds: Literal["experts", "experts+baselines"] = "experts"
    """``experts`` is the paper's. ``experts+baselines`` also offers each of `baselines` at its best scale, so that the
    search starts where merging without a search ends. The grids' ranges are the experts' either way."""


class SamplingConfig(NamedSection):
    """How the two parents are drawn from the active archive."""

    TABLE: ClassVar[SeamTable] = SAMPLERS

    kind: Annotated[str, Named(SAMPLERS)] = "elite"
    """``elite`` prefers high scores in all skills; ``random`` is the paper's ablation."""
    alpha_low: Annotated[float, Field(gt=0)] = 0.5
    """Weight of the worst score in the archive."""
    alpha_high: Annotated[float, Field(gt=0, validate_default=True)] = 0.8
    """Weight of the best score in the archive."""

    @field_validator("alpha_high")
    @classmethod
    def _is_above_alpha_low(cls, alpha_high: float, info: ValidationInfo) -> float:
        alpha_low = info.data.get("alpha_low", 0.0)
        if alpha_low > alpha_high:
            raise ValueError(f"alpha_low must not exceed alpha_high, got {alpha_low} and {alpha_high}")
        return alpha_high


class GridConfig(Section):
    """The archives' grids: each skill's score range, stretched and cut into bins."""

    bins: Annotated[int, Field(ge=1, le=100)] = 15
    """Bins per behaviour characteristic."""
    lower: Annotated[float, Field(ge=0)] = 0.85
    """Lower end of the range: this times the lowest score of any expert."""
    upper: Annotated[float, Field(gt=0, validate_default=True)] = 1.15
    """Upper end of the range: this times the highest score of any expert."""

    @field_validator("upper")
    @classmethod
    def _is_above_lower(cls, upper: float, info: ValidationInfo) -> float:
        lower = info.data.get("lower", 0.0)
        if lower >= upper:
            raise ValueError(f"lower must be below upper, got {lower} and {upper}")
        return upper
