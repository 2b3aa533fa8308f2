"""Pairs of experts: one run for each, and the table that compares how well they merge with how alike they are.

CycleQD's Table 4 (https://arxiv.org/abs/2410.14735, section 4.4): experts of four image domains are merged two by two.
A merged model's score in a domain is divided by that of the domain's own expert, so that 1 means nothing was lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from cycleqd.bootstrap import RESAMPLES, SEED
from cycleqd.config import ConfigError, RunConfig, parse_config
from cycleqd.run.names import AGGREGATE, BASE, SIMILARITY_KEY, expert_id, expert_key
from cycleqd.run.store import RunStore
from cycleqd.statistics import CONFIDENCE, Interval
from cycleqd.storage import StoreError

SPLIT = "test"
Scores = NDArray[np.float64]
"""Of samples, in [0, 1]."""


class PairRun(NamedTuple):
    """One pair on one seed.

    Attributes:
        a: The first skill, as in records.
        b: The second.
        seed: The seed.
        config: Its run, which takes the experts from the run that trains them.
    """

    a: str
    b: str
    seed: int
    config: RunConfig


class Row(BaseModel):
    """A pair over all seeds.

    Attributes:
        a: The first skill.
        b: The second.
        score_a: The merged model's test score over the expert's in skill a; 1 where nothing was lost.
        score_b: The same in skill b.
        mean: Of the two.
        similarity: Of the two experts, in [0, 1] (`cycleqd.search.similarity`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    a: str
    b: str
    score_a: float
    score_b: float
    mean: float
    similarity: float


class Gain(BaseModel):
    """An expert in its own domain, over all seeds.

    Attributes:
        base: The base's test score.
        expert: The expert's.
        se: Standard error of their difference, over the samples of all seeds. Where all seeds met the same samples,
            over the means of each sample.
        n: Different samples.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: float
    expert: float
    se: float
    n: int


class Table(BaseModel):
    """The table of all pairs.

    Attributes:
        pairs: The rows, those whose runs are finished for every seed.
        correlation: Pearson's, of similarity and mean; None with fewer than three rows, or where one never varies.
        seeds: Of which every number is the mean.
        intervals: 95 %, of each row's mean, by ``a, b``: seeds and samples are drawn anew.
        experts: What each expert gained in its own domain.
        unfinished: Runs that are missing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: list[Row]
    correlation: float | None
    seeds: list[int]
    intervals: dict[str, Interval]
    experts: dict[str, Gain]
    unfinished: list[str]


class _Measured(NamedTuple):
    """The test scores of one pair on one seed, by sample: each of both skills.

    Attributes:
        data: Content hashes of both skills' samples.
    """

    merged: tuple[Scores, Scores]
    experts: tuple[Scores, Scores]
    bases: tuple[Scores, Scores]
    similarity: float
    data: tuple[str, str]


def experts_run(config: RunConfig, seed: int) -> RunConfig:
    """The run that trains all experts of a seed.

    Raises:
        ConfigError: There are no two skills, or no run can have that seed.
    """
    if len(config.skills) < 2:
        raise ConfigError(f"{config.run_id}: pairs need at least two skills")
    changes = {"run_id": f"{config.run_id}-experts-{seed}", "seed": seed}
    return parse_config(config.model_dump(mode="json") | changes, source=f"{config.run_id}, experts of seed {seed}")


def pair_runs(config: RunConfig, seed: int) -> Iterator[PairRun]:
    """The runs of all pairs of a configuration's skills; the experts come from `experts_run`.

    Raises:
        ConfigError: A run's configuration has faults.
    """
    store = RunStore(config.storage, experts_run(config, seed).run_id)
    for one, two in combinations(config.skills, 2):
        names = one.row.name, two.row.name
        values = config.model_dump(mode="json")
        values |= {"run_id": f"{config.run_id}-{names[0]}-{names[1]}-{seed}", "seed": seed}
        values["skills"] = [skill.model_dump(mode="json") for skill in (one, two)]
        values["experts"]["source"] = {
            skill.name: _place(store, expert_key(name, "model")) for skill, name in zip((one, two), names, strict=True)
        }
        yield PairRun(*names, seed, parse_config(values, source=f"{config.run_id}, {names[0]} and {names[1]}"))


def _place(store: RunStore, key: str) -> str:
    """Where an expert lies; before it is trained, where it will."""
    try:
        return str(store.local(key).absolute())
    except StoreError:
        return store.url(key)


def collect_pairs(config: RunConfig, seeds: Sequence[int]) -> Table:
    """Reads the runs of all pairs, finished or not.

    Raises:
        StoreError: A run's records cannot be read.
    """
    found: dict[tuple[str, str], list[_Measured]] = {}
    unfinished: list[str] = []
    for seed in seeds:
        for pair in pair_runs(config, seed):
            measured = _measured(pair)
            if measured is None:
                unfinished.append(pair.config.run_id)
            else:
                found.setdefault((pair.a, pair.b), []).append(measured)
    whole = {names: runs for names, runs in found.items() if len(runs) == len(seeds)}
    rows = [_row(names, runs) for names, runs in whole.items()]
    return Table(
        pairs=rows,
        correlation=correlation([row.similarity for row in rows], [row.mean for row in rows]),
        seeds=list(seeds),
        intervals={", ".join(names): _interval(runs) for names, runs in whole.items()},
        experts=_gains(whole),
        unfinished=unfinished,
    )


def correlation(one: Sequence[float], two: Sequence[float]) -> float | None:
    """Pearson's correlation; None with fewer than three points, or where one side never varies."""
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(two) == 0:
        return None
    return float(np.corrcoef(one, two)[0, 1])


def to_markdown(table: Table) -> str:
    """The rows, best first, with their intervals; the experts beside the base; what is missing."""
    lines = [
        f"Seeds {', '.join(map(str, table.seeds))}. Scores on the test split, divided by the expert's; 1 means that "
        "nothing was lost. Intervals: 95 %, bootstrap over seeds and samples.",
        "",
        "| pair | first | second | mean | 95 % | similarity |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in sorted(table.pairs, key=lambda row: -row.mean):
        low, high = table.intervals[f"{row.a}, {row.b}"]
        lines.append(
            f"| {row.a} and {row.b} | {row.score_a:.3f} | {row.score_b:.3f} | {row.mean:.3f} | {low:.3f} to "
            f"{high:.3f} | {row.similarity:.3f} |"
        )
    if table.correlation is not None:
        lines += ["", f"Correlation of similarity and mean: {table.correlation:+.2f}, over {len(table.pairs)} pairs."]
    if table.experts:
        lines += ["", "| domain | base | expert | gain | standard error |", "| --- | --- | --- | --- | --- |"]
        for name, gain in table.experts.items():
            lines.append(
                f"| {name} | {gain.base:.3f} | {gain.expert:.3f} | {gain.expert - gain.base:+.3f} | {gain.se:.3f} |"
            )
    if table.unfinished:
        lines += ["", f"Unfinished runs: {', '.join(table.unfinished)}."]
    return "\n".join(lines) + "\n"


def _measured(pair: PairRun) -> _Measured | None:
    store = RunStore(pair.config.storage, pair.config.run_id)
    if not store.has_individual(AGGREGATE) or not store.exists(SIMILARITY_KEY):
        return None
    if len(store.generations()) < pair.config.generations:
        return None
    merged: list[Scores] = []
    experts: list[Scores] = []
    bases: list[Scores] = []
    data: dict[str, str] = {}
    for skill in (pair.a, pair.b):
        for found, individual in ((merged, AGGREGATE), (experts, expert_id(skill)), (bases, BASE)):
            genome = BASE if individual == BASE else store.individual(individual).genome
            record = store.evaluation(genome, skill, SPLIT)
            if record is None:
                return None
            found.append(np.asarray([sample.score for sample in record.samples]))
            data[skill] = record.data_hash
    similarities: Mapping[str, float] = store.read_json(SIMILARITY_KEY)
    (alike,) = similarities.values()
    return _Measured(
        merged=(merged[0], merged[1]),
        experts=(experts[0], experts[1]),
        bases=(bases[0], bases[1]),
        similarity=alike,
        data=(data[pair.a], data[pair.b]),
    )


def _row(names: tuple[str, str], runs: Sequence[_Measured]) -> Row:
    first, second = (math.fsum(_ratio(run, skill) for run in runs) / len(runs) for skill in (0, 1))
    alike = math.fsum(run.similarity for run in runs) / len(runs)
    return Row(a=names[0], b=names[1], score_a=first, score_b=second, mean=(first + second) / 2, similarity=alike)


def _ratio(run: _Measured, skill: int, chosen: Any = slice(None)) -> float:
    expert = float(run.experts[skill][chosen].mean())
    return float(run.merged[skill][chosen].mean()) / expert if expert > 0 else 0.0


def _interval(runs: Sequence[_Measured]) -> Interval:
    """Percentiles of a bootstrap: seeds are drawn anew, and samples with them, for both models alike.

    Where all seeds met the same samples of a skill, one draw of them holds for all seeds.
    """
    rng = np.random.default_rng(SEED)
    common = [_common(runs, skill) for skill in (0, 1)]
    means = np.empty(RESAMPLES)
    for draw in range(RESAMPLES):
        drawn = [runs[index] for index in rng.integers(0, len(runs), len(runs))]
        ratios = []
        for skill in (0, 1):
            sizes = [_size(run, skill) for run in drawn]
            chosen = [rng.integers(0, n, n) for n in (sizes[:1] if common[skill] else sizes)]
            chosen *= len(drawn) // len(chosen)
            ratios += [_ratio(run, skill, samples) for run, samples in zip(drawn, chosen, strict=True) if len(samples)]
        means[draw] = np.mean(ratios)
    rest = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(means, [rest, 100 - rest])
    return Interval(float(low), float(high))


def _common(runs: Sequence[_Measured], skill: int) -> bool:
    """Whether all seeds met the same samples of a skill."""
    return len({run.data[skill] for run in runs}) == 1


def _size(run: _Measured, skill: int) -> int:
    return len(run.experts[skill])


def _gains(whole: Mapping[tuple[str, str], Sequence[_Measured]]) -> dict[str, Gain]:
    """Every expert beside the base; whichever pair is asked, a seed's experts are the same."""
    gains: dict[str, Gain] = {}
    for names, runs in whole.items():
        for skill, name in enumerate(names):
            if name in gains:
                continue
            common = _common(runs, skill)
            expert = _pooled([run.experts[skill] for run in runs], common)
            base = _pooled([run.bases[skill] for run in runs], common)
            gains[name] = Gain(
                base=float(base.mean()),
                expert=float(expert.mean()),
                se=float((expert - base).std() / math.sqrt(len(expert))),
                n=len(expert),
            )
    return gains


def _pooled(seeds: Sequence[Scores], common: bool) -> Scores:
    """Scores of different samples. One that all seeds met counts once, with its mean."""
    return np.asarray(np.mean(seeds, axis=0) if common else np.concatenate(seeds), dtype=np.float64)
