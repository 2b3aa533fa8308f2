"""The audit of a skill: which of its samples can be solved, which are broken, which give points away.

The oracle plays the gold solution of every sample; the empty agent says nothing; cheats are replies that deserve no
point on any sample. A sample is broken when its own gold solution fails or the data holds none (nobody then knows
whether it can be solved), or when silence solves it. So where silence solves nothing, every sample played is passed by
the oracle or broken. Broken samples are reported, and left out only when the configuration names them (`exclude_file`
takes an audit as it was written).
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from cycleqd.config import GENERATED_COUNTS
from cycleqd.run.records import Record
from cycleqd.sandbox import Sandboxes, SandboxUnavailable
from cycleqd.skills.benchmarks.benchmark import Source, strata
from cycleqd.skills.building import build_skill
from cycleqd.skills.cheats import Cheats
from cycleqd.skills.oracle import Agent, EmptyAgent, OracleAgent, best_score, oracle_of, play
from cycleqd.skills.protocol import NoReference, Sample, Skill, SkillSession, Split, Verdict
from cycleqd.skills.registry import find, load
from cycleqd.skills.replaying import replaying_session

log = logging.getLogger(__name__)

WORKERS: Final = 4
"""Episodes at a time."""
INFRASTRUCTURE: Final = "infrastructure failure, twice: "
"""Begins the reason of a sample whose sandbox failed: either the machine is at fault, or the sample ends sandboxes."""


class Finding(Record):
    """Something about one sample.

    Attributes:
        id: The sample's id.
        reason: One short line.
    """

    id: str
    reason: str


class Audit(Record):
    """What an audit found.

    Attributes:
        data_sha256: Of the benchmark's file; empty for a generated suite.
        data_version: The benchmark's release; empty for a generated suite.
        n: Samples that were played.
        oracle_passed: Of which the gold solution passes, by every verdict that the skill gives.
        empty_passed: Of which the empty agent passes.
        cheated: Samples on which a cheat passes, with the cheat's name.
        broken: Samples whose gold solution fails or is missing, or which the empty agent solves.
        skipped: Samples of the data that can't be played, or that were excluded.
        splits: Samples per stratum and split.
        seconds: Wall-clock time.
    """

    skill: str
    data_sha256: str
    data_version: str
    n: int
    oracle_passed: int
    empty_passed: int
    cheated: list[Finding]
    broken: list[Finding]
    skipped: list[Finding]
    splits: dict[str, dict[str, int]]
    seconds: float


def audit(
    name: str,
    *,
    source: Source = Source(),  # noqa: B008 -- frozen
    counts: Mapping[Split, int | None],
    seed: int = 0,
    started: Callable[[int], None] | None = None,
    advanced: Callable[[], None] | None = None,
) -> Audit:
    """Plays oracle, empty agent and cheats over every sample of a skill.

    Args:
        name: The skill: a name of `cycleqd.skills.registry.names`, or ``module:Class``.
        source: Where a benchmark's data lies.
        counts: Samples per split.
        seed: Of a generated suite.
        started: Called once with the number of episodes.
        advanced: Called after each.

    Raises:
        SkillUnavailable: There is no such skill.
        DataUnavailable: There is no data.
        SandboxUnavailable: No sandbox works.
    """
    began = time.monotonic()
    row = find(name)
    cheats: Cheats = load(row.cheats) if row.cheats else {}
    skill = build_skill(name, seed=seed, counts=counts, source=source)
    samples = [sample for split in ("train", "optimization", "test") for sample in skill.samples(split)]
    oracle = oracle_of(skill)
    unsolved = _without_reference(samples, oracle)
    agents: dict[str, Callable[[Sample], Agent]] = {
        "oracle": lambda sample: EmptyAgent() if sample.id in unsolved else oracle(sample),
        "empty": lambda _: EmptyAgent(),
    }
    for cheat, reply in cheats.items():
        agents[cheat] = _cheating(reply)
    if started:
        started(len(samples) * len(agents))
    verdicts: dict[str, list[Verdict]] = {}
    with (
        Sandboxes(run_id=f"audit-{row.name.replace('_', '-')}", max_containers=WORKERS) as sandboxes,
        replaying_session(skill, sandboxes) as session,
    ):
        for label, agent_of in agents.items():
            verdicts[label] = _played(session, samples, agent_of, advanced)
    return _found(skill, samples, verdicts, unsolved, time.monotonic() - began)


def default_counts(name: str) -> Mapping[Split, int | None]:
    """All of a benchmark; of a generated suite, the sizes that a configuration has by default."""
    return {} if find(name).kind == "benchmark" else GENERATED_COUNTS


def _without_reference(samples: Sequence[Sample], oracle: Callable[[Sample], Agent]) -> dict[str, str]:
    """The samples that the oracle can't play, by id, with the reason."""
    reasons: dict[str, str] = {}
    for sample in samples:
        try:
            oracle(sample)
        except NoReference as fault:
            reasons[sample.id] = str(fault)
    return reasons


def _cheating(reply: Callable[[Sample], str]) -> Callable[[Sample], Agent]:
    return lambda sample: OracleAgent([reply(sample)])


def _played(
    session: SkillSession,
    samples: Sequence[Sample],
    agent_of: Callable[[Sample], Agent],
    advanced: Callable[[], None] | None,
) -> list[Verdict]:
    faults: list[SandboxUnavailable] = []

    def one(sample: Sample) -> Verdict:
        try:
            with contextlib.suppress(SandboxUnavailable):
                return play(session, sample, agent_of(sample)).verdict
            return play(session, sample, agent_of(sample)).verdict
        except SandboxUnavailable as fault:
            faults.append(fault)
            return Verdict(0.0, f"{INFRASTRUCTURE}{fault}")
        finally:
            if advanced:
                advanced()

    with ThreadPoolExecutor(WORKERS) as pool:
        verdicts = list(pool.map(one, samples))
    if faults and len(faults) == len(samples):
        raise faults[0]  # not the samples' fault
    for fault in faults:
        log.warning("%s%s", INFRASTRUCTURE, fault)
    return verdicts


def _passed(verdict: Verdict, best: float) -> bool:
    return verdict.score == best and all(value == 1.0 for value in verdict.extra.values())


def _found(
    skill: Skill,
    samples: Sequence[Sample],
    verdicts: Mapping[str, Sequence[Verdict]],
    unsolved: Mapping[str, str],
    seconds: float,
) -> Audit:
    broken, cheated = [], []
    for number, sample in enumerate(samples):
        gold, silence = verdicts["oracle"][number], verdicts["empty"][number]
        if silence.score > 0:
            broken.append(Finding(id=sample.id, reason=f"the empty agent solves it: {silence.reason}"))
        elif sample.id in unsolved:
            broken.append(Finding(id=sample.id, reason=f"no reference: {unsolved[sample.id]}"))
        elif not _passed(gold, best_score(skill, sample)):
            fault = gold.reason.startswith(INFRASTRUCTURE)
            broken.append(
                Finding(id=sample.id, reason=gold.reason if fault else f"the gold solution fails: {gold.reason}")
            )
        for label, found in verdicts.items():
            if label not in ("oracle", "empty") and found[number].score > 0:
                cheated.append(Finding(id=sample.id, reason=label))
    return Audit(
        skill=skill.name,
        data_sha256=skill.origin.sha256,
        data_version=skill.origin.version,
        n=len(samples),
        oracle_passed=sum(
            _passed(verdict, best_score(skill, sample))
            for verdict, sample in zip(verdicts["oracle"], samples, strict=True)
        ),
        empty_passed=sum(verdict.score > 0 for verdict in verdicts["empty"]),
        cheated=cheated,
        broken=broken,
        skipped=[Finding(id=entry.id, reason=entry.reason) for entry in skill.origin.skipped],
        splits={
            stratum: {str(split): count for split, count in row.items()} for stratum, row in strata(skill).items()
        },
        seconds=round(seconds, 2),
    )
