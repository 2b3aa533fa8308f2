"""Two evaluators in processes of their own beside one: how busy, how much faster, and whether a plan foretold it.

Wants two idle cores. Set ``CYCLEQD_BENCH_OUT`` for a JSON file that takes the ratios.
"""

import json
import shutil
import time
from collections import defaultdict
from importlib.util import find_spec

import pytest

from cycleqd.evaluators.protocol import PACKAGES
from cycleqd.planning import plan, traces_of
from cycleqd.run.names import RunRef
from cycleqd.run.store import RunStore
from cycleqd.steps.workspace import opened
from flows.evolve import evolve
from flows.seed_archives import seed_archives
from flows.train_experts import train_experts
from tests.benchmarks.kept import keep
from tests.evaluators.conftest import base, settings
from tests.figures import without_figures
from tests.run.upkeep.toy_run import forge

__all__ = ["base"]  # a fixture

pytestmark = [pytest.mark.slow]

WARMING, MEASURED, IN_FLIGHT = 4, 32, 4
KINDS = ("process", "dask", "ray")
FOUND: dict[str, dict[str, float]] = {}
"""What was measured so far, by kind."""
SCORED = {"train": 3, "optimization": 80, "test": 2}
"""Samples by which a child takes about a second, mostly the engine's."""


@pytest.fixture(scope="module")
def seeded(base, tmp_path_factory, prefect_harness):
    """The storage of a run whose archives are seeded."""
    config = settings(
        base,
        tmp_path_factory.mktemp("seeded"),
        generations=WARMING + MEASURED,
        skills=[{"name": f"segmentation:{name}"} | SCORED for name in ("polyp", "leaf")],
        search={"kind": "cycleqd", "merge": "linear", "in_flight": IN_FLIGHT},
        evaluators={"kind": "process", "count": 1, "threads": 1},
    )
    run = RunRef(run_id=config.run_id, storage=config.storage)
    RunStore.of(run).open(config)
    with opened(run):
        train_experts(run)
        seed_archives(run)
    return config.storage


@pytest.fixture(scope="module")
def searched(seeded, tmp_path_factory):
    """Plays the search with evaluators of a kind: its store, and the seconds of all but the first children."""

    def search(kind, count):
        storage = tmp_path_factory.mktemp(f"{kind}-{count}") / "runs"
        shutil.copytree(seeded, storage)
        run = RunRef(run_id="seg", storage=str(storage))
        file = storage / "seg" / "config.json"
        config = json.loads(file.read_text())
        config["evaluators"] |= {"kind": kind, "count": count, "threads": 1}
        forge(file, json.dumps(config))
        with without_figures(), opened(run):
            evolve(run, WARMING)  # every evaluator has started its engine
            started = time.perf_counter()
            evolve(run, WARMING + MEASURED)
            return RunStore.of(run), time.perf_counter() - started

    return search


@pytest.fixture(scope="module")
def one(searched):
    return searched("process", 1)


@pytest.mark.parametrize("kind", KINDS)
def test_two_are_busy_are_faster_than_one_and_make_the_same_archives(kind, searched, one):
    if find_spec(PACKAGES.get(kind, "json")) is None:
        pytest.skip(f"pip install 'cycleqd[{kind}]'")
    (alone, seconds_of_one), (store, seconds) = one, searched(kind, 2)
    assert archives(store) == archives(alone)
    busy, idle = defaultdict(float), defaultdict(float)
    for record in store.generations()[WARMING:]:
        split = record.split
        busy[split.evaluator] += split.total - split.propose - split.merge - split.idle
        idle[split.evaluator] += split.idle
    shares = {name: busy[name] / (busy[name] + idle[name]) for name in busy}
    found = {
        "busy": round(min(shares.values()), 3),
        "children_ratio": round(seconds_of_one / seconds, 2),
    }
    if kind == "process":
        traces = traces_of(alone)[WARMING:]
        told = plan(
            traces, source="one evaluator", generations=MEASURED, evaluators=2, in_flight=IN_FLIGHT, shared=True
        )
        keep("plan_error", round(told.seconds / seconds - 1, 3))
    print("\n", json.dumps({kind: found, "seconds of one": seconds_of_one, "of two": seconds, "shares": shares}))
    FOUND[kind] = found
    keep("two_evaluators", FOUND)
    keep("two_evaluators_busy", min(each["busy"] for each in FOUND.values()))
    assert len(shares) == 2
    assert found["children_ratio"] > 1


def archives(store):
    return [store.read_json(f"archives/{record.generation:05d}.json") for record in store.generations()]
