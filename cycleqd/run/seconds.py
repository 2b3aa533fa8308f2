"""Where time went, as records keep it: a run's by phase, a child's by activity."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Seconds(BaseModel):
    """As all records are."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Phases(_Seconds):
    """Wall-clock seconds, each counted once: they add up to the time that passed.

    Attributes:
        train: Fine-tuning of experts and recording of their demonstrations.
        generate: The engine was generating.
        sandbox: Episodes were acting or being judged while the engine had nothing to do.
        merge: Crossover, mutation and loading of weights into the engine.
        other: Everything else (start-up, storage, Prefect, reports).
    """

    train: float = 0.0
    generate: float = 0.0
    sandbox: float = 0.0
    merge: float = 0.0
    other: float = 0.0

    @property
    def total(self) -> float:
        """All of them, in seconds."""
        return self.train + self.generate + self.sandbox + self.merge + self.other

    def __sub__(self, earlier: Phases) -> Phases:
        return Phases(
            train=self.train - earlier.train,
            generate=self.generate - earlier.generate,
            sandbox=self.sandbox - earlier.sandbox,
            merge=self.merge - earlier.merge,
            other=self.other - earlier.other,
        )

    def __add__(self, other: Phases) -> Phases:
        return Phases(
            train=self.train + other.train,
            generate=self.generate + other.generate,
            sandbox=self.sandbox + other.sandbox,
            merge=self.merge + other.merge,
            other=self.other + other.other,
        )


class Split(_Seconds):
    """Where the time of one child went: wall-clock seconds, each counted once (`cycleqd.run.ledger`).

    Attributes:
        propose: The search decided whom to make, and took scores in.
        merge: Crossover and mutation.
        transfer: Weights went into the engine, the canary included.
        prefill: The engine generated, and some conversation had no token of its reply yet. Engines that cannot tell
            (servers) count this as `decode`.
        decode: The engine generated, and every conversation had its first token.
        sandbox: Episodes started, acted or ended while the engine had nothing to do.
        judge: Episodes were judged while the engine had nothing to do.
        store: Records, episodes and genomes were read or written.
        idle: Everything else: Prefect, waiting, a report.
        evaluator: Who scored the child, where that was another process; `propose` and `merge` are the coordinator's
            then, and `idle` is the evaluator's since it scored its last child.
    """

    propose: float = 0.0
    merge: float = 0.0
    transfer: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0
    sandbox: float = 0.0
    judge: float = 0.0
    store: float = 0.0
    idle: float = 0.0
    evaluator: str = ""

    @property
    def seconds(self) -> dict[str, float]:
        """By activity, in the order of a child's way."""
        return {name: value for name, value in self if isinstance(value, float)}

    @property
    def total(self) -> float:
        """All of them, in seconds."""
        return sum(self.seconds.values())

    def __sub__(self, earlier: Split) -> Split:
        """What came after `earlier` was read off the same ledger."""
        before = earlier.seconds
        return Split(**{name: max(0.0, value - before[name]) for name, value in self.seconds.items()})

    def __add__(self, other: Split) -> Split:
        """Both; of the evaluators' names, the one that there is."""
        more = other.seconds
        summed = {name: value + more[name] for name, value in self.seconds.items()}
        return Split(**summed, evaluator=self.evaluator or other.evaluator)
