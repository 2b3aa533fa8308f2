"""The seam between the coordinator and the evaluators of a run."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Final, Protocol

from cycleqd.faults import MendableFault
from cycleqd.run.records import Record
from cycleqd.run.seconds import Split
from cycleqd.skills.parts import Part

PACKAGES: Final[Mapping[str, str]] = {"dask": "distributed", "ray": "ray"}
"""What a kind of evaluators imports; the extra has the kind's name."""
ATTEMPTS: Final = 3
"""Evaluators that may die over one child before it is given up."""


class EvaluatorLost(MendableFault, RuntimeError):
    """Several evaluators died over one child; the text says how."""


class EvaluatorsMissing(MendableFault):
    """The package behind a kind of evaluators is not installed; the text has the command that installs it."""


class Outcome(Record):
    """What an evaluator says of a child that it scored; the scores themselves are in the run's store.

    Attributes:
        evaluator: Who it was, in words.
        evaluated: The skills that it evaluated; those that had been evaluated before are absent.
        split: Where its time went since it scored its last child.
    """

    evaluator: str
    evaluated: list[str]
    split: Split


class Evaluators(Protocol):
    """Processes that score individuals of one run, each with one engine."""

    def submit(self, individual: str, part: Part) -> Future[Outcome]:
        """Has an individual scored on all skills by whoever is free first; thread-safe.

        The evaluations are in the run's store when the future has its result. A child whose evaluator died is scored
        again by another one. Where evaluations failed, the future raises what they raised: `SandboxUnavailable` for
        faults of the machine. `EvaluatorLost` says that `ATTEMPTS` evaluators died.

        Args:
            individual: Its id, or ``base``; its record and genome are in the store.
            part: The part of the samples that it is to meet.
        """
        ...

    def close(self) -> None:
        """Ends all evaluators and what they play; children that are not scored yet never will be. May be called twice.

        Futures without a result are cancelled, or raise.
        """
        ...


def missing(package: str, extra: str) -> EvaluatorsMissing:
    """The fault of a package that is not installed.

    Args:
        package: What cannot be imported.
        extra: The extra that has it.
    """
    return EvaluatorsMissing(
        f"evaluators.kind {extra} needs the package {package}: pip install 'cycleqd[{extra}]', in the environment of "
        "every evaluator, too"
    )
