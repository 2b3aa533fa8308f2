"""Ours: a quality-diversity search over merge coefficients that knows how noisy its scores are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from cycleqd.randomness import rng
from cycleqd.search.archive import Archives, Win
from cycleqd.search.coefficients import Combination, without_children
from cycleqd.search.gaussian_process import Array, GaussianProcess, noise_of
from cycleqd.search.protocol import Recipe, Start

CANDIDATES = 400
"""Points among which a child is chosen: half of them anywhere, half near the best that are known."""
NEAR = 0.1
"""Standard deviation around the best, as a share of the coefficients' range."""
BEST = 4
"""How many of the best."""
FOCUS = 0.5
"""How much more than its share the active skill counts when its archive has its turn."""
ROUNDS, SHRINK = 4, 0.5
"""The final model is sought near the best candidate, in ever smaller surroundings."""


class SurrogateSearch:
    """Surrogate-assisted illumination over the coefficients of a merge of the experts.

    After Gaier, Asteroth and Mouret 2018 (SAIL, https://arxiv.org/abs/1702.03713): a Gaussian process for each skill's
    score as a function of the coefficients, fitted to all children with the noise that their numbers of samples imply.
    Archives take turns as in CycleQD, and the mean of all skills has a turn, too. A child is the point that a draw of
    the processes holds for the best (Thompson 1933), the active skill counting more than the others. Every child meets
    the next block of samples, so that no few samples decide the search.

    With a few dozen children the published operators stay near the experts' average and keep whom luck favoured. Here
    the coefficients' scale is free, the experts can be those of TSV-Merge, which don't overwrite each other, and what
    the archives hold are estimates from all scores. They are filled anew after each child. The processes are told of
    baselines too that are points of the same coefficients: the search goes on from where the best of them ends.

    Args:
        start: What it begins with.
        combination: What coefficients are and what is made of them.
        initial: Children that are spread evenly before the processes are asked, at least 2.
    """

    takes_back: ClassVar[bool] = True

    def __init__(self, start: Start, combination: Combination, *, initial: int) -> None:
        self.archives = start.archives
        self._start, self._combination = start, combination
        self._begun = start.archives.to_json()
        self._design = self._spread(initial)
        self._asked: dict[int, Recipe] = {}
        self._told: list[tuple[int, str]] = []
        known = [(combination.point_of(one.recipe), one.scores) for one in start.known]
        self._points: list[Array] = [point for point, _ in known if point is not None]
        self._scores = [self._row(scores) for point, scores in known if point is not None]
        self._processes: list[GaussianProcess] = []

    def ask(self, index: int) -> Recipe:
        """A point of the even spread, then the one that a draw of the processes favours; see `Search.ask`."""
        if index not in self._asked:
            if index < len(self._design):
                point = self._design[index]
            else:  # with many in flight, nothing may have been told by then
                point = self._drawn(index) if self._processes else self._anywhere(index)
            block = (index + 1) % self._start.blocks
            self._asked[index] = self._combination.recipe(point, block=block, archive=self._active(index))
        return self._asked[index]

    def tell(self, index: int, individual: str, scores: Mapping[str, float]) -> dict[str, Win | None]:
        """Fits the processes anew and fills the archives with what they say; see `Search.tell`.

        Raises:
            ValueError: As `Search.tell`, or the child was not asked for, or was told before.
        """
        if index not in self._asked:
            raise ValueError(f"child {index} is told before it was asked for, or twice")
        self.archives.check(scores)
        self._points.append(np.array(self._asked.pop(index).coefficients))
        self._told.append((index, individual))
        self._scores.append(self._row(scores))
        points, observed = np.stack(self._points), np.array(self._scores)
        self._processes = [
            GaussianProcess(self._scaled(points), observed[:, k], noise_of(observed[:, k].tolist(), samples))
            for k, samples in enumerate(self._start.samples)
        ]
        children = self._means(points[len(points) - len(self._told) :])
        before, self.archives = self.archives, self._filled(children)
        won: dict[str, Win | None] = {}
        for skill in before.skills:
            cell = next((c for c, one in self.archives[skill].cells.items() if one.id == individual), None)
            held = before[skill].cells.get(cell) if cell is not None else None
            won[skill] = Win(cell, held.id if held else None) if cell is not None else None
        return won

    def answer(self) -> Recipe:
        """The coefficients of the highest expected mean score; see `without_children`, too."""
        if not self._processes:
            return without_children(self._start, self._combination)
        generator = rng(self._start.seed, len(self._told), "surrogate answer")
        best, width = self._best_of(self._candidates(generator)), NEAR
        for _ in range(ROUNDS):
            around = self._combination.clipped(best + self._noise(generator, width, CANDIDATES))
            best = self._best_of(np.concatenate([best[None, :], around]))
            width *= SHRINK
        return self._combination.recipe(best)

    def _row(self, scores: Mapping[str, float]) -> list[float]:
        return [scores[skill] for skill in self.archives.skills]

    def _active(self, index: int) -> str | None:
        """Whose archive has its turn; nobody's when the mean of all has."""
        skills = self.archives.skills
        turn = index % (len(skills) + 1)
        return skills[turn] if turn < len(skills) else None

    def _spread(self, count: int) -> Array:
        """A Latin hypercube (McKay et al. 1979), its first point put in the middle."""
        space = self._combination
        generator = rng(self._start.seed, 0, "surrogate design")
        columns = [generator.permutation(count) + generator.random(count) for _ in range(space.coefficients)]
        unit = np.stack(columns, axis=1) / count
        unit[0] = 0.5
        return np.asarray(space.low + (space.high - space.low) * unit)

    def _drawn(self, index: int) -> Array:
        generator = rng(self._start.seed, index, "surrogate")
        candidates = self._candidates(generator)
        skills, active = self.archives.skills, self._active(index)
        weights = np.full(len(skills), (1.0 - FOCUS * (active is not None)) / len(skills))
        if active is not None:
            weights[skills.index(active)] += FOCUS
        draws = [process.sample(self._scaled(candidates), generator) for process in self._processes]
        chosen: Array = candidates[int(np.argmax(weights @ np.stack(draws)))]
        return chosen

    def _anywhere(self, index: int) -> Array:
        space, generator = self._combination, rng(self._start.seed, index, "surrogate")
        return generator.uniform(space.low, space.high, space.coefficients)

    def _candidates(self, generator: np.random.Generator) -> Array:
        space = self._combination
        anywhere = generator.uniform(space.low, space.high, (CANDIDATES // 2, space.coefficients))
        points = np.stack(self._points)
        best = points[np.argsort(-self._means(points).mean(axis=1), kind="stable")[:BEST]]
        near = best[generator.integers(len(best), size=CANDIDATES // 2)]
        near = space.clipped(near + self._noise(generator, NEAR, len(near)))
        return np.concatenate([anywhere, near])

    def _noise(self, generator: np.random.Generator, width: float, count: int) -> Array:
        space = self._combination
        return generator.normal(0.0, width * (space.high - space.low), (count, space.coefficients))

    def _scaled(self, points: Array) -> Array:
        """Points in [0, 1], in which the processes' length scales are meant."""
        return (points - self._combination.low) / (self._combination.high - self._combination.low)

    def _means(self, points: Array) -> Array:
        """Expected scores, shape (points, skills), in [0, 1]."""
        means = [process.predict(self._scaled(points))[0] for process in self._processes]
        return np.clip(np.stack(means, axis=1), 0.0, 1.0)

    def _best_of(self, points: Array) -> Array:
        best: Array = points[int(np.argmax(self._means(points).mean(axis=1)))]
        return best

    def _filled(self, means: Array) -> Archives:
        archives = Archives.from_json(self._begun)
        for (index, individual), row in zip(self._told, means, strict=True):
            archives.insert(individual, dict(zip(archives.skills, row.tolist(), strict=True)), index)
        return archives
