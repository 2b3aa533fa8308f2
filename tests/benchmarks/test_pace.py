"""Children an hour beside an older checkout's, at equal episodes, and how busy the engines are during them.

Two evaluators score them now, on a core each as in the demo; the older checkout has one engine.

Set ``CYCLEQD_BENCH_BEFORE`` to a checkout of another commit (``git worktree add DIR COMMIT``) that this environment
can run, and ``CYCLEQD_BENCH_OUT`` for a JSON file that takes the ratios. Docker must have both checkouts' images:
``python infra/build_images.py`` in each makes them, but removes the other's unless these have a second tag. Both
checkouts train three small experts of the demo's base first. Wants an idle machine and a quarter of an hour.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cycleqd.run.store import RunStore
from tests.benchmarks.kept import keep

pytestmark = pytest.mark.slow

ROUNDS, GENERATIONS = 2, 7
"""Starts of each checkout, in turns, and children a start; the first two of each wait for the engines."""
HERE = Path(__file__).resolve().parents[2]
SKILLS = [{"name": name, "train": 60, "optimization": 16, "test": 2} for name in ("coding", "os", "db")]
COMMON = {
    "run_id": "pace",
    "seed": 0,
    "skills": SKILLS,
    "experts": {"global_batch": 4, "learning_rate": 1.0e-3},
    "aggregation": {"elites": "balanced"},
}
NOW = {
    "search": {"kind": "cycleqd", "merge": "linear", "in_flight": 2},
    "evaluators": {"kind": "process", "count": 2},
    "engine": {"kv_cache_gb": 1},
    "refinement": {"epochs": 0},
    "baselines": [],
}
"""The older checkout's search, which knew no other, and the demo's evaluators."""


def test_children_an_hour_beside_an_older_checkout(tmp_path):
    if not (before := os.environ.get("CYCLEQD_BENCH_BEFORE")):
        pytest.skip("CYCLEQD_BENCH_BEFORE names no checkout to compare with")
    seconds = {"before": [], "now": []}
    for number in range(1, ROUNDS + 1):
        for name, checkout, settings in (("before", Path(before), {}), ("now", HERE, NOW)):
            seconds[name].append(pace(tmp_path / name, checkout, settings, GENERATIONS * number))
    means = {name: statistics.fmean(each) for name, each in seconds.items()}
    splits = [record.split for record in RunStore(str(tmp_path / "now" / "runs"), "pace").generations()]
    busy = sum(split.prefill + split.decode for split in splits) / sum(split.total for split in splits)
    ratio = means["before"] / means["now"]
    print("\n", json.dumps({"seconds a child": means, "children an hour, ratio": ratio, "engines busy": busy}))
    keep("children_per_hour_ratio", round(ratio, 2))
    keep("engine_busy", round(busy, 3))
    assert ratio > 0.5  # much slower is a fault; how much faster is for the reader


def pace(folder, checkout, settings, generations):
    """Continues a run up to a number of generations; seconds a child of this start took, after its first two."""
    folder.mkdir(exist_ok=True)
    file = folder / "pace.yaml"
    file.write_text(yaml.safe_dump(COMMON | settings | {"generations": generations, "storage": str(folder / "runs")}))
    command = [sys.executable, "-c", "from cycleqd.cli import app; app()", "run", str(file), "--quiet"]
    environment = os.environ | {
        "PYTHONPATH": str(checkout),
        "HF_HUB_OFFLINE": "1",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "3600",  # a beat while vLLM starts locks older commits up
    }
    played = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    assert played.returncode == 0, played.stderr[-3000:]
    commits = sorted((folder / "runs" / "pace" / "generations").glob("[0-9]*.json"))[-GENERATIONS + 1 :]
    return (commits[-1].stat().st_mtime - commits[0].stat().st_mtime) / (len(commits) - 1)
