"""A whole small run as a plain loop over the steps: real sandboxes, and a random model that trains at once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from cycleqd import steps
from cycleqd.config import RunConfig
from cycleqd.evaluation.evaluator import Evaluator
from cycleqd.run.names import AVERAGE, BASE, RunRef, expert_id
from cycleqd.run.records import GenerationRecord, Phases, Score
from cycleqd.run.store import RunStore
from cycleqd.steps.workspace import Workspace
from tests.live_prefect import small_configuration

NONSENSE = ("letters", "numbers")
"""Skills that a random model has some of."""


def begin(folder, run_id, **changes) -> RunRef:
    config = RunConfig.model_validate(small_configuration(folder, run_id, **changes))
    RunStore(config.storage, run_id).open(config)
    return RunRef(run_id=run_id, storage=config.storage)


def make_experts(ws: Workspace) -> list[str]:
    """Everybody who is scored before the search."""
    for skill in ws.config.skill_names:
        steps.gather_training_data(ws, skill)
        steps.train(ws, skill)
    steps.derive_experts(ws)
    return [BASE, AVERAGE, *map(expert_id, ws.config.skill_names)]


def score(evaluator: Evaluator, individual: str, part: str) -> dict[str, Score]:
    """All skills at the same time, as strict batches want it."""
    with evaluator.evaluating(individual, part) as scope:
        if scope.missing:
            scope.load()
        with ThreadPoolExecutor() as pool:
            list(pool.map(scope.evaluate, evaluator.config.skill_names))
        return {skill: record.score for skill, record in scope.records().items()}


def next_generation(ws: Workspace) -> GenerationRecord:
    generation = len(ws.store.generations())
    steps.breed(ws, generation)
    scores = score(ws.evaluator, *steps.asked(ws, generation))
    return steps.commit(ws, generation, scores, Phases())


def nonsense_problems(folder) -> None:
    """Problems that a model of nonsense solves some of, and what its experts learn from."""
    answers = {"letters": "aeiouxyz", "numbers": "01234567"}
    wanted = {"letters": ["[a-h]", "[i-p]", "[q-z]", "[A-M]"], "numbers": ["[0-9]", "[!-/]", "[N-Z]", "[:-@]"]}
    for skill in NONSENSE:
        rows = [
            {"prompt": f"Write {n}.", "answer": wanted[skill][n % 4], "example": wanted[skill][n % 4][1]}
            | {"scorer": "regex"}
            for n in range(24)
        ]
        (folder / f"{skill}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        talks = [
            {"messages": [{"role": "user", "content": f"Say it {n}."}, {"role": "assistant", "content": answer * 9}]}
            for n, answer in enumerate(answers[skill])
        ]
        (folder / f"{skill}-chats.jsonl").write_text("".join(json.dumps(talk) + "\n" for talk in talks))


def nonsense_skills(folder) -> list[dict]:
    return [
        {"name": f"jsonl:{skill}", "data": str(folder / f"{skill}.jsonl"), "optimization": 6, "test": 2}
        for skill in NONSENSE
    ]


def nonsense_data(folder) -> dict:
    return {
        f"jsonl:{skill}": {"sources": [{"recipe": "chat", "path": str(folder / f"{skill}-chats.jsonl")}]}
        for skill in NONSENSE
    }
