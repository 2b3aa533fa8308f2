"""One individual scored on one part of the samples: its weights, the rounds that its skills share, its scores."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Protocol

from cycleqd.config import RunConfig
from cycleqd.evaluation.agreement import refuse_other_data, refuse_other_scores
from cycleqd.evaluation.play import evaluate, requests_of
from cycleqd.evaluation.rounds import Rounds
from cycleqd.models.causal_lm.protocol import ChatRequest, Engine
from cycleqd.run.clock import Clock
from cycleqd.run.genomes import task_vector
from cycleqd.run.ledger import Ledger
from cycleqd.run.names import BASE, log_key
from cycleqd.run.records import EvaluationRecord, IndividualRecord
from cycleqd.run.store import RunStore
from cycleqd.sandbox import Sandboxes
from cycleqd.skills.parts import Part
from cycleqd.skills.protocol import Skill
from cycleqd.telemetry.events import about, event


class Resources(Protocol):
    """What a scope takes of its evaluator (`cycleqd.evaluation.evaluator.Evaluator`)."""

    store: RunStore
    config: RunConfig
    clock: Clock
    ledger: Ledger
    stop: threading.Event

    @property
    def skills(self) -> dict[str, Skill]: ...  # noqa: D102 -- as in `Evaluator`, like all that follow
    @property
    def sandboxes(self) -> Sandboxes: ...  # noqa: D102
    @property
    def live_episodes(self) -> int: ...  # noqa: D102
    def engine_at(self, place: int) -> Engine: ...  # noqa: D102
    def fingerprint(self, skill: str, part: Part) -> Mapping[str, str]: ...  # noqa: D102
    def count(self, record: EvaluationRecord) -> None: ...  # noqa: D102


class Scope:
    """An individual's evaluation, from loading its weights to its scores.

    What is in the run's store already is not measured again. Skills that are missing are evaluated one by one or, with
    strict batches, all at the same time, each in a thread of its own: they wait for each other.

    Attributes:
        individual: The individual's id, or ``base``.
        part: The split, or the part of one.
        genome: Content hash of its weights, or ``base``.
        generation: The generation that made it; None for what is no child.
        place: Which of the evaluator's engines holds it.

    Args:
        resources: Engine, sandboxes and store.
        individual: The individual's id, or ``base``.
        part: The split, or the part of one.
        place: Which of the evaluator's engines is to hold it.
    """

    def __init__(self, resources: Resources, individual: str, part: Part, place: int = 0) -> None:
        self.place = place
        self.individual = individual
        self.part = part
        recipe: IndividualRecord | None = None if individual == BASE else resources.store.individual(individual)
        self.genome = recipe.genome if recipe else BASE
        self.generation = recipe.generation if recipe else None
        self._resources = resources
        self._beginning = threading.Lock()
        self._rounds: Rounds | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """Skills without a finished evaluation, in the order of the cycle."""
        skills = self._resources.config.skill_names
        return tuple(skill for skill in skills if self._finished(skill) is None)

    def load(self) -> str:
        """Makes the engine hold the individual's weights, if it does not yet; returns the genome."""
        resources = self._resources
        engine = resources.engine_at(self.place)
        with resources.clock.measuring("merge"), resources.ledger.doing("transfer"):
            if self.individual == BASE:
                engine.load(BASE, None)
            elif engine.loaded != self.genome:
                engine.load(self.genome, task_vector(resources.store, self.individual))
        return self.genome

    def evaluate(self, skill: str) -> EvaluationRecord:
        """Scores the individual on one skill, and writes down what came out.

        Raises:
            SandboxUnavailable: Infrastructure failed; nothing was scored.
            RoundBroken: An evaluation that shared the batches failed.
            RuntimeError: The engine holds other weights, or the run's scores were measured on other data.
            OtherScores: This individual was scored with another fingerprint (see `cycleqd.evaluation.agreement`).
        """
        resources = self._resources
        finished = self._finished(skill)
        if finished is not None:
            refuse_other_data(finished, resources.skills[skill], self.part)
            refuse_other_scores(resources.store.run_id, finished, resources.skills, resources.fingerprint)
            with self._beginning:
                if self._rounds is not None:  # another process was faster, and the other skills wait for this one
                    self._rounds.replay(skill, self._asked(skill))
            return finished
        fingerprint = dict(resources.fingerprint(skill, self.part))
        engine = resources.engine_at(self.place)
        if engine.loaded != self.genome:
            raise RuntimeError(f"the engine holds {engine.loaded[:12]}, not {self.individual}: call `load` first")
        run, settings = resources.store.run_id, resources.config
        with about(run=run, generation=self.generation, individual=self.individual, skill=skill, split=self.part):
            event("evaluation_started")
            with resources.clock.measuring("evaluate"):
                result = evaluate(
                    resources.skills[skill],
                    self.part,
                    engine,
                    resources.sandboxes,
                    batching=settings.engine.batching,
                    live_episodes=resources.live_episodes,
                    workers=settings.sandbox.workers,
                    rounds=self._shared_rounds(),
                    stop=resources.stop,
                    ledger=resources.ledger,
                )
            record = result.record.model_copy(update={"fingerprint": fingerprint})
            with resources.ledger.doing("store"):
                for name, content in result.files.items():
                    key = log_key(self.individual, skill, self.part, name)
                    resources.store.write_bytes(key, content, replace=True)
                record = resources.store.write_evaluation(record, result.episodes)
            resources.count(record)
            _tell(record)
        return record

    def records(self) -> dict[str, EvaluationRecord]:
        """The finished evaluations on all skills, in the order of the cycle.

        Raises:
            RuntimeError: One is missing.
        """
        skills = self._resources.config.skill_names
        found = {skill: record for skill in skills if (record := self._finished(skill)) is not None}
        if missing := [skill for skill in skills if skill not in found]:
            raise RuntimeError(f"{self.individual} has no {self.part} evaluation of {', '.join(missing)}")
        return found

    def _finished(self, skill: str) -> EvaluationRecord | None:
        return self._resources.store.evaluation(self.genome, skill, self.part)

    def _shared_rounds(self) -> Rounds | None:
        """Where the skills' strict batches meet; None where every episode goes its own way.

        Skills that have finished replay their recorded requests, so that the others' batches are what they would have
        been.
        """
        resources = self._resources
        if resources.config.engine.batching == "throughput":
            return None
        with self._beginning:
            if self._rounds is None:
                names = resources.config.skill_names
                finished = {skill: self._asked(skill) for skill in names if self._finished(skill)}
                patience = resources.config.tasks.timeout_seconds
                engine = resources.engine_at(self.place)
                self._rounds = Rounds(engine, names, finished, patience=patience, ledger=resources.ledger)
            return self._rounds

    def _asked(self, skill: str) -> list[list[ChatRequest]]:
        """What a finished skill asked, round by round."""
        resources = self._resources
        episodes = resources.store.episodes(self.genome, skill, self.part)
        return requests_of(resources.skills[skill], self.part, episodes, live_episodes=resources.live_episodes)


def _tell(record: EvaluationRecord) -> None:
    # Dozens a generation: whoever wants them as lines sets the level; the task's log names all episodes in one line.
    for sample in record.samples:
        event(
            "episode_finished",
            level=logging.DEBUG,
            episode=sample.id,
            score=sample.score,
            turns=sample.turns,
            tokens=sample.tokens,
            reason=sample.reason,
        )
    event(
        "evaluation_finished",
        score=record.score.score,
        se=record.score.se,
        n=record.score.n,
        tokens=record.tokens,
        seconds=record.seconds,
    )
