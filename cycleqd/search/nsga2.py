"""Coefficients from NSGA-II, by the library `optuna`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import optuna

from cycleqd.search.coefficients import CoefficientSearch, Combination, Told
from cycleqd.search.protocol import Start


class Nsga2Proposer:
    """Non-dominated sorting (Deb et al. 2002) with each skill's score as an objective.

    The final model is the front's member of the highest mean score, which is also the best of all children by mean.

    Args:
        space: What it proposes.
        seed: The run's seed, at least 0.
        objectives: Number of skills, at least 1.
        population: Parents that a generation keeps, at least 2.
    """

    def __init__(self, space: Combination, *, seed: int, objectives: int, population: int) -> None:
        self._space = space
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.NSGAIISampler(population_size=population, seed=seed % 2**32)
            self._study = optuna.create_study(directions=["maximize"] * objectives, sampler=sampler)
        self._trials: dict[int, optuna.Trial] = {}

    def ask(self, index: int) -> Sequence[float]:
        """See `Proposer.ask`."""
        trial = self._trials[index] = self._study.ask()
        space = self._space
        return [trial.suggest_float(f"c{k}", space.low, space.high) for k in range(space.coefficients)]

    def tell(self, child: Told) -> None:
        """See `Proposer.tell`."""
        self._study.tell(self._trials.pop(child.number), list(child.scores))

    def centre(self) -> Sequence[float] | None:
        """There is none: the answer is one of the front."""
        return None


class Nsga2(CoefficientSearch):
    """A search by NSGA-II; see `Nsga2Proposer`.

    Args:
        start: What it begins with; each skill is an objective.
        combination: What is made of coefficients.
        population: Parents that a generation keeps, at least 2.
    """

    def __init__(self, start: Start, combination: Combination, *, population: int) -> None:
        objectives = len(start.archives.skills)
        proposer = Nsga2Proposer(combination, seed=start.seed, objectives=objectives, population=population)
        super().__init__(start, combination, proposer)
