"""What both contract suites of skills want to know of the table, which also holds the skills of installed packages."""

import json
from collections.abc import Callable, Sequence

from cycleqd.sandbox import Sandboxes
from cycleqd.skills.cheats import Cheats
from cycleqd.skills.oracle import Agent, OracleAgent, play_all
from cycleqd.skills.protocol import Sample, Skill
from cycleqd.skills.registry import SkillRow, find, load, names


def rows(kind: str) -> list[str]:
    """The names of the table's rows of a kind."""
    return [name for name in names() if find(name).kind == kind]


def check_row(row: SkillRow, skill: Skill) -> None:
    """The row says what the class says."""
    assert row.source
    assert skill.name == row.name
    assert set(skill.images) == set(row.images)
    assert f"{type(skill).__module__}:{type(skill).__qualname__}" == row.target


def shown(skill: Skill, samples: Sequence[Sample]) -> list[str]:
    """What a model is shown of samples."""
    return [json.dumps(skill.initial_messages(sample)) for sample in samples]


def scores(
    skill: Skill, samples: Sequence[Sample], sandboxes: Sandboxes, agent_of: Callable[[Sample], Agent]
) -> dict[str, tuple[float, str]]:
    """Score and reason by sample."""
    played = play_all(skill, samples, sandboxes, agent_of)
    return {one.sample.id: (one.verdict.score, one.verdict.reason) for one in played}


def solved_by_cheats(row: SkillRow, skill: Skill, samples: Sequence[Sample], sandboxes: Sandboxes) -> list[str]:
    """The samples that a cheat of the row solves."""
    cheats: Cheats = load(row.cheats) if row.cheats else {}
    return [
        f"{sample}: {name}"
        for name, reply in cheats.items()
        for sample, (score, _) in scores(
            skill, samples, sandboxes, lambda sample, reply=reply: OracleAgent([reply(sample)])
        ).items()
        if score > 0
    ]
