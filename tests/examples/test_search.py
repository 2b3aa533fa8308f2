"""The example search, installed as a user would and run by its name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cycleqd.config import SearchConfig

ROOT = Path(__file__).parents[2]
RUN = """
import json, sys
from cycleqd import steps
from cycleqd.config import SearchConfig
from cycleqd.run.upkeep import verify
from tests.run.upkeep.toy_run import begin, evolve

[storage] = sys.argv[1:]
kind = SearchConfig.model_validate({"kind": "hill_climbing", "step": 0.2})
for run, pauses in (("whole", [4]), ("resumed", [1, 3, 4])):
    store = begin(storage, run, search=kind)
    for until in pauses:
        workspace = evolve(store, until)
    final = steps.aggregate(workspace)
    print(json.dumps({"genomes": [one.genome for one in store.generations()], "final": final.parents,
                      "kind": type(workspace.search).__name__, "faults": len(verify(store).faults)}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Where the example is installed; its sources are copied, for building writes beside them."""
    folder = tmp_path_factory.mktemp("example")
    source = folder / "source"
    source.mkdir()
    for file in (ROOT / "examples" / "search").iterdir():
        if file.is_file():
            (source / file.name).write_bytes(file.read_bytes())
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
               "--disable-pip-version-check", "--target", str(folder / "site"), str(source)]  # fmt: skip
    subprocess.run(command, check=True, timeout=300)
    return folder / "site"


def run(installed, storage):
    path = os.pathsep.join([str(installed), str(ROOT)])
    result = subprocess.run(
        [sys.executable, "-c", RUN, str(storage)],
        env={**os.environ, "PYTHONPATH": path}, cwd=storage, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.slow
def test_the_example_search_runs_and_is_resumed_without_a_change_here(installed, tmp_path):
    whole, resumed = run(installed, tmp_path)
    assert whole == resumed
    assert whole["kind"] == "HillClimbing"
    assert len(set(whole["genomes"])) == 4
    assert len(whole["final"]) == 1
    assert whole["faults"] == 0


def test_where_it_is_not_installed_its_name_is_refused():
    with pytest.raises(ValueError, match="no search is called 'hill_climbing'"):
        SearchConfig(kind="hill_climbing")
