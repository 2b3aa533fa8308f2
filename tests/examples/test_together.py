"""Both example packages in one search of two generations; the model is random, everything else is real."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.docker, pytest.mark.slow]

RUN = """
import json, sys
from pathlib import Path
from cycleqd import steps
from cycleqd.report import summarise, write_report
from cycleqd.run.names import AGGREGATE
from cycleqd.run.store import RunStore
from cycleqd.run.upkeep import verify
from cycleqd.steps.workspace import opened
from tests.steps.small_run import begin, make_experts, next_generation, score

run = begin(
    Path(sys.argv[1]), "together", generations=2, search={"kind": "hill_climbing"},
    skills=[{"name": name, "train": 4, "optimization": 2, "test": 1} for name in ("arithmetic", "coding")],
)
with opened(run) as ws:
    for individual in make_experts(ws):
        score(ws.evaluator, individual, "optimization")
    steps.seed_archives(ws)
    for _ in range(2):
        next_generation(ws)
    steps.aggregate(ws)
    score(ws.evaluator, AGGREGATE, "test")
    search = type(ws.search).__module__
store = RunStore(run.storage, run.run_id)
write_report(store)
found = summarise(store)
print(json.dumps({"search": search, "generations": found.generations, "faults": len(verify(store).faults),
                  "skills": sorted(set(found.splits["test"]["cycleqd"]) - {"mean"})}))
"""


def test_a_skill_and_a_search_of_other_packages_run_without_a_change_here(memory_path):
    site = memory_path / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps", "--no-index"]
    # Copies: building leaves files beside the sources.
    sources = [shutil.copytree(ROOT / "examples" / name, memory_path / name) for name in ("skill", "search")]
    subprocess.run([*pip, "--no-build-isolation", "--target", site, *sources], check=True, timeout=300)
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(memory_path)],
        env={**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"},
        cwd=memory_path,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {"search": "hill_climbing", "generations": 2, "faults": 0, "skills": ["arithmetic", "coding"]}
