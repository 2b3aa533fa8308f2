"""What a run does besides its search, as long as another run took for it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal, NamedTuple

from cycleqd.baselines.naming import candidates
from cycleqd.config import RunConfig
from cycleqd.planning.traces import Trace, trainings
from cycleqd.run.names import ALL_DATA, REFINED
from cycleqd.run.store import RunStore


class Besides(NamedTuple):
    """Seconds of a run besides its search and its refinement.

    Attributes:
        training: Experts, all data, what RegMean measures.
        scored: By one evaluator: base, experts, average, baselines and the final model on the optimization split.
        tested: By one evaluator: the models of the report on the test split.
        other: Starting, recording, deriving, drawing the report.
    """

    training: float
    scored: float
    tested: float
    other: float

    def seconds(self, evaluators: int) -> float:
        """All together; evaluators share what is scored."""
        return self.training + self.other + (self.scored + self.tested) / evaluators


def besides(store: RunStore, config: RunConfig, traces: Sequence[Trace]) -> Besides | None:
    """What the run of a configuration takes besides its search, as a finished run took it.

    Args:
        store: The run that is the model.
        config: What is planned.
        traces: The children of that run, at least one.

    Returns:
        None where the run was not finished, or has trained nothing.
    """
    known = store.config()
    sessions = store.sessions()
    tested = _tested(store, known)
    experts, together = trainings(store, known.trained), trainings(store, [ALL_DATA])
    trained = [*experts, *together]
    if not sessions or not tested or not trained:
        return None
    spent = sum(session.seconds.train for session in sessions)
    refined = sum(one["seconds"] for one in trainings(store, [REFINED]))
    passed, learned = (
        sum(one[what] for one in experts) / _side_by_side(known) + sum(one[what] for one in together)
        for what in ("seconds", "conversations")
    )
    # All data are those of every skill.
    sizes = [one["conversations"] for one in experts] or [one["conversations"] / len(known.skills) for one in together]
    rest = max(0.0, spent - refined - passed)
    child = statistics.fmean(one.engine + one.rest for one in traces)
    samples = _count(config, "test") / max(1, _count(known, "test"))
    return Besides(
        training=passed / learned * _conversations(config, statistics.fmean(sizes))
        + (rest if config.uses_regmean else 0.0),
        scored=child * (3 + len(config.skills) + len(candidates(config.baselines))),
        tested=statistics.fmean(tested) * samples * _models(config),
        other=sum(session.seconds.other for session in sessions),
    )


def _tested(store: RunStore, known: RunConfig) -> list[float]:
    """Seconds that each model took on the test split; its skills are played side by side."""
    found = []
    for record in store.individuals():
        evaluations = [store.evaluation(record.genome, skill, "test") for skill in known.skill_names]
        seconds = [one.seconds for one in evaluations if one is not None]
        if record.genome and len(seconds) == len(evaluations):
            found.append(max(seconds))
    return found


def _models(config: RunConfig) -> int:
    """The report's rows: base, average, final model, experts, baselines at their best scale, and what is asked for."""
    elites = len(config.skills) if config.comparison.elites else 0
    merged = 1 if config.refinement.epochs else 0
    return 3 + len(config.skills) + len(config.baselines) + int(config.comparison.all_data) + elites + merged


def _conversations(config: RunConfig, mean: float) -> float:
    """Conversations of all trainings, those side by side counted once; `mean` is an expert's, where none is known."""

    def shown(skill: str, epochs: float) -> float:
        count = config.counts(skill)["train"]
        return count * epochs if count else mean

    settings = config.experts
    found = sum(shown(skill, settings.epochs_of(skill)) for skill in config.trained) / _side_by_side(config)
    if config.comparison.all_data:  # which learns from the data of every skill, also where its expert has a source
        found += sum(shown(skill, settings.epochs) for skill in config.skill_names)
    return found


def _side_by_side(config: RunConfig) -> int:
    return max(1, min(config.experts.side_by_side, len(config.trained)))


def _count(config: RunConfig, split: Literal["optimization", "test"]) -> int:
    return sum(config.counts(skill)[split] or 0 for skill in config.skill_names)
