"""An evaluator: a process' engine and sandboxes, which score individuals into a run's store.

It needs no lease. Its records are keyed by content and written once, so any number of evaluators, in any processes,
may score for one run. Breeding and committing is for the holder of the lease alone (`cycleqd.steps`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cycleqd.base_model import BaseWeights
from cycleqd.config import RunConfig
from cycleqd.evaluation.fingerprint import fingerprint
from cycleqd.evaluation.resources import (
    build_skills,
    find_base,
    find_vision,
    limits_of,
    open_sandboxes,
    open_sight,
    start_engine,
)
from cycleqd.evaluation.scope import Scope
from cycleqd.models.causal_lm.protocol import Engine, prefill_seconds, put_to_sleep
from cycleqd.models.hardware import free_unused_memory, pinned
from cycleqd.run.base_identity import BaseRecord, identify
from cycleqd.run.clock import Clock
from cycleqd.run.ledger import Ledger
from cycleqd.run.names import RunRef
from cycleqd.run.records import EvaluationRecord, Phases, Split
from cycleqd.run.store import RunStore
from cycleqd.sandbox import Sandboxes
from cycleqd.skills.parts import Part
from cycleqd.skills.protocol import Skill
from cycleqd.telemetry import metrics

if TYPE_CHECKING:
    from cycleqd.models.vision_language import Sight


class Evaluator:
    """The opened resources that scoring takes; expensive ones appear when first used.

    Example:
        with evaluator.evaluating("g0012", "optimization") as scope:
            for skill in scope.missing:  # in strict batches all at the same time, each in a thread of its own
                scope.evaluate(skill)
            records = scope.records()

    Args:
        store: The run's directory, which has its configuration.
        clock: Counts where the time goes.
    """

    def __init__(self, store: RunStore, clock: Clock | None = None) -> None:
        self.store = store
        self.config: RunConfig = store.config()
        self.clock = clock or Clock()
        self.ledger = Ledger()
        """Where the time goes, activity by activity."""
        self.stop = threading.Event()
        """Set when the run is to end: evaluations stop at their next turn."""
        self.tokens = 0
        """Generated since this evaluator was opened."""
        self._fingerprints: dict[tuple[str, Part], dict[str, str]] = {}
        self._scopes: dict[tuple[str, Part], Scope] = {}
        self._opening = threading.RLock()
        self._engines: dict[int, Engine] = {}
        self._busy = self._prefill = 0.0  # of engines that were released
        self._sandboxes: Sandboxes | None = None

    @cached_property
    def base(self) -> Path:
        """The base model's local checkpoint directory."""
        known = self.store.base()
        return find_base(self.config, revision=known.revision if known else None)

    @cached_property
    def base_identity(self) -> BaseRecord:
        """Which base model this process has, by the content of its files."""
        return identify(self.config.model.name, self.base, vision=find_vision(self.config, self.base))

    @cached_property
    def sight(self) -> Sight | None:
        """Sees the images that the run's skills show; None where no skill shows any."""
        return open_sight(self.config, self.base)

    @cached_property
    def base_weights(self) -> BaseWeights:
        """The base model's weights, memory-mapped."""
        return BaseWeights(self.base)

    @cached_property
    def skills(self) -> dict[str, Skill]:
        """The run's skills by name, in the order of the cycle."""
        return build_skills(self.config)

    @property
    def engine(self) -> Engine:
        """The engine, started on first use; the first one where there are several."""
        return self.engine_at(0)

    def engine_at(self, place: int) -> Engine:
        """An engine, started on first use: each holds one individual, and `search.in_flight` are scored at a time."""
        with self._opening:
            if place not in self._engines:
                self._engines[place] = start_engine(self.config, self.base)
            return self._engines[place]

    @property
    def sandboxes(self) -> Sandboxes:
        """The pool of containers, opened on first use."""
        with self._opening:
            if self._sandboxes is None:
                self._sandboxes = open_sandboxes(self.config)
            return self._sandboxes

    @property
    def live_episodes(self) -> int:
        """Of one skill: the skills that play together share the containers, and may all need some to go on."""
        at_a_time = len(self.config.skill_names) * self.config.search.in_flight
        return max(1, self.config.sandbox.max_containers // at_a_time)

    def phases(self) -> Phases:
        """Where this process' time on the run went so far."""
        return self.clock.phases(self._busy + self._busy_now())

    def split(self) -> Split:
        """Where this process' time went so far, activity by activity."""
        return self.ledger.split(self._prefill + self._prefill_now())

    def _busy_now(self) -> float:
        return max((engine.busy_seconds() for engine in self._engines.values()), default=0.0)

    def _prefill_now(self) -> float:
        return max((prefill_seconds(engine) for engine in self._engines.values()), default=0.0)

    def fingerprint(self, skill: str, part: Part) -> dict[str, str]:
        """What this process' scores on a skill depend on besides weights and samples; thread-safe."""
        with self._opening:
            if (skill, part) not in self._fingerprints:
                config = pinned(self.config)
                self._fingerprints[skill, part] = fingerprint(
                    self.skills[skill],
                    part,
                    engine=config.engine,
                    dtype=config.model.dtype,
                    live_episodes=self.live_episodes,
                    limits=limits_of(config.sandbox),
                    base=self.base_identity,
                )
            return self._fingerprints[skill, part]

    def configure(self, config: RunConfig) -> None:
        """Takes another configuration of the same run; to be called while nothing is evaluated."""
        self.config = config
        self._fingerprints.clear()

    @contextmanager
    def evaluating(self, individual: str, part: Part) -> Iterator[Scope]:
        """The scope in which an individual is scored on a part of the samples, on one skill or on all.

        Weights, and the rounds that the skills' strict batches share, last as long as the scope.

        Args:
            individual: Its id, or ``base``.
            part: A split or a part of one.
        """
        key = (individual, part)
        with self._opening:
            if key in self._scopes:
                raise RuntimeError(f"{individual} is being evaluated on {part} already")
            taken = {scope.place for scope in self._scopes.values()}
            free = next(place for place in range(len(taken) + 1) if place not in taken)
            self._scopes[key] = Scope(self, individual, part, free)
        try:
            yield self._scopes[key]
        finally:
            del self._scopes[key]

    def scope(self, individual: str, part: Part) -> Scope:
        """The scope that was opened for an individual, for threads that know it by name only.

        Raises:
            RuntimeError: None is open.
        """
        try:
            return self._scopes[individual, part]
        except KeyError:
            raise RuntimeError(
                f"no scope of {individual} on {part} is open: open `evaluating` around this call"
            ) from None

    def count(self, record: EvaluationRecord) -> None:
        """Takes in a finished evaluation, of this process or of another evaluator; thread-safe."""
        with self._opening:
            self.tokens += record.tokens
        metrics.count_evaluation(
            self.store.run_id,
            record.skill,
            scores=[sample.score for sample in record.samples],
            tokens=record.tokens,
            seconds=record.seconds,
        )

    @property
    def holds_engine(self) -> bool:
        """Whether an engine of this evaluator has anything loaded."""
        return any(engine.loaded for engine in self._engines.values())

    def release_engines(self) -> None:
        """Frees the memory of the engines; they wake or start again when they are wanted. Containers stay.

        Raises:
            RuntimeError: An individual is being evaluated.
        """
        with self._opening:
            if self._scopes:
                whom = ", ".join(individual for individual, _ in self._scopes)
                raise RuntimeError(f"{whom} is being evaluated: engines are released when nobody is")
            # Where one cannot, all are closed: the process starts them one after the other, as at first.
            if self._engines and not all(put_to_sleep(engine) for engine in self._engines.values()):
                self._close_engines()
            else:
                free_unused_memory()

    def _close_engines(self) -> None:
        self._busy, self._prefill = self._busy + self._busy_now(), self._prefill + self._prefill_now()
        engines = list(self._engines.values())
        self._engines.clear()
        for engine in engines:
            engine.close()
        del engine, engines  # whose memory is to go
        free_unused_memory()

    def close(self) -> None:
        """Stops evaluations, removes all containers, frees the engine."""
        self.stop.set()
        with self._opening:
            if self._sandboxes is not None:
                self._sandboxes.close()
                self._sandboxes = None
            if self._engines:
                self._close_engines()


@contextmanager
def evaluator(run: RunRef) -> Iterator[Evaluator]:
    """An evaluator for a run that another process may hold the lease of.

    It writes nothing but evaluations, and removes nothing.

    Raises:
        StoreError: There is no such run.
    """
    opened = Evaluator(RunStore.of(run))
    try:
        yield opened
    finally:
        opened.close()
