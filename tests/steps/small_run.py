"""A whole small run as a plain loop over the steps: real sandboxes, and a random model that trains at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from cycleqd import steps
from cycleqd.config import RunConfig
from cycleqd.evaluation.evaluator import Evaluator
from cycleqd.run.names import AVERAGE, BASE, RunRef, expert_id
from cycleqd.run.records import GenerationRecord, Phases, Score
from cycleqd.run.store import RunStore
from cycleqd.steps.workspace import Workspace
from tests.live_prefect import small_configuration


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
