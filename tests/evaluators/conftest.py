"""A seeded run of a tiny SAM: a real engine, no container, seconds."""

import shutil
from collections import deque

import pytest

from cycleqd import steps
from cycleqd.config import parse_config
from cycleqd.models.segmentation.base import tiny_sam
from cycleqd.run.names import AVERAGE, BASE, RunRef, expert_id
from cycleqd.run.records import Phases
from cycleqd.run.store import RunStore
from cycleqd.steps.workspace import opened
from tests.steps.small_run import score

IN_FLIGHT = 2
GENERATIONS = 5


def settings(base, storage, **changes):
    return parse_config(
        {
            "run_id": "seg",
            "storage": str(storage),
            "generations": GENERATIONS,
            "model": {"kind": "segmentation", "name": str(base), "dtype": "float32"},
            "skills": [
                {"name": f"segmentation:{name}", "train": 3, "optimization": 2, "test": 2}
                for name in ("polyp", "leaf")
            ],
            "segmentation": {"image_size": 32, "prompt": "box"},
            "search": {"kind": "cycleqd", "merge": "linear", "in_flight": IN_FLIGHT},
            "evaluators": {"kind": "process", "count": 2, "threads": 1},
            "experts": {"rank": 2, "epochs": 1, "global_batch": 3},
            "baselines": [],
            "comparison": {"elites": False},
            "sandbox": {"max_containers": 8},
        }
        | changes,
        source="the test",
    )


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    return tiny_sam(tmp_path_factory.mktemp("cache"), steps=2, batch=2)


@pytest.fixture(scope="session")
def seeded(base, tmp_path_factory):
    """The storage of a run whose archives are seeded."""
    config = settings(base, tmp_path_factory.mktemp("seeded"))
    run = RunRef(run_id=config.run_id, storage=config.storage)
    RunStore.of(run).open(config)
    with opened(run) as ws:
        for skill in config.skill_names:
            steps.gather_training_data(ws, skill)
            steps.train(ws, skill)
        steps.derive_experts(ws)
        for individual in (BASE, AVERAGE, *map(expert_id, config.skill_names)):
            score(ws.evaluator, individual, "optimization")
        steps.seed_archives(ws)
    return config.storage


@pytest.fixture
def run(seeded, tmp_path):
    """A copy of the seeded run."""
    shutil.copytree(seeded, tmp_path / "runs")
    return RunRef(run_id="seg", storage=str(tmp_path / "runs"))


def evolve(run, submit):
    """The search with children in flight, as the flow does it; `submit` scores one and returns how to wait for it."""
    under_way = deque()

    def commit():
        generation, individual, part, wait = under_way.popleft()
        wait()
        steps.commit(ws, generation, steps.scores_of(ws, individual, part), Phases())

    with opened(run) as ws:
        for generation in range(GENERATIONS):
            steps.breed(ws, generation)
            individual, part = steps.asked(ws, generation)
            under_way.append((generation, individual, part, submit(ws, individual, part)))
            if len(under_way) == IN_FLIGHT:
                commit()
        while under_way:
            commit()
    return outcome(run)


def outcome(run):
    """What must not depend on who scored."""
    store = RunStore.of(run)
    records = store.generations()
    assert len(records) == GENERATIONS
    archives = [store.read_json(f"archives/{record.generation:05d}.json") for record in records]
    return [(record.individual, record.genome, record.scores, record.cells) for record in records], archives


@pytest.fixture(scope="session")
def alone(seeded, tmp_path_factory):
    """What comes out when the run's own process scores, one child at a time."""
    folder = tmp_path_factory.mktemp("alone") / "runs"
    shutil.copytree(seeded, folder)

    def submit(ws, individual, part):
        score(ws.evaluator, individual, part)
        return lambda: None

    return evolve(RunRef(run_id="seg", storage=str(folder)), submit)
