"""What a child costs beside the way of the released code, and beside mergekit where its command is at hand.

Set ``CYCLEQD_BENCH_MERGEKIT`` to the Python of an environment with mergekit (it wants other versions than ours:
``python -m venv DIR && DIR/bin/pip install mergekit``), and ``CYCLEQD_BENCH_OUT`` for a JSON file that takes ratios.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.child_ways import WAYS
from tests.benchmarks.kept import keep

pytestmark = pytest.mark.slow

PROGRAM = [sys.executable, "-m", "tests.benchmarks.child_ways"]
ROUNDS = 5
MERGEKIT = """
import json, sys, time
from pathlib import Path
from mergekit.config import MergeConfiguration
from mergekit.merge import MergeOptions, run_merge
folder, method = Path(sys.argv[1]), sys.argv[2]
weights = {"expert-0": 0.51, "expert-1": 0.49}
config = {
    "merge_method": method, "dtype": "bfloat16",
    "models": [{"model": str(folder / name), "parameters": {"weight": w}} for name, w in weights.items()],
}
if method == "ties":
    config |= {"base_model": str(folder / "base"), "parameters": {"density": 0.2}}
started = time.perf_counter()
run_merge(MergeConfiguration.model_validate(config), str(folder / "mergekit"), MergeOptions(copy_tokenizer=False))
print(json.dumps({"seconds": time.perf_counter() - started}))
"""
"""A linear or TIES merge of the same parents by mergekit's own function, without its start."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("child") / "made"
    subprocess.run([*PROGRAM, "prepare", str(place)], check=True)
    return place


def measured(command: list[str]) -> dict[str, float]:
    made = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(made.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def ways(folder) -> dict[str, dict[str, float]]:
    """Medians by way, measured in turns."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    for _ in range(ROUNDS):
        for name, rounds in found.items():
            rounds.append(measured([*PROGRAM, name, str(folder)]))
    return {
        name: {fact: statistics.median(one[fact] for one in rounds) for fact in rounds[0]}
        for name, rounds in found.items()
    }


def test_a_child_costs_a_fraction_of_the_released_codes_way(ways):
    ratios = {
        "time_ratio": ways["reference"]["seconds"] / ways["ours"]["seconds"],
        "bytes_ratio": ways["reference"]["bytes"] / ways["ours"]["bytes"],
        "memory_ratio": ways["reference"]["memory"] / ways["ours"]["memory"],
        "adapter_time_ratio": ways["reference"]["seconds"] / ways["adapter"]["seconds"],
    }
    print("\n", json.dumps({"ways": ways, "child": ratios}, indent=1))
    keep("child", {name: round(value, 2) for name, value in ratios.items()})
    assert ratios["bytes_ratio"] > 100
    assert ratios["memory_ratio"] > 4
    assert ratios["time_ratio"] > 1
    assert ratios["adapter_time_ratio"] > 1


@pytest.mark.parametrize("method", ["linear", "ties"])
def test_a_child_costs_less_than_mergekits_merge_of_the_same_parents(folder, ways, method):
    python = os.environ.get("CYCLEQD_BENCH_MERGEKIT")
    if python is None:
        pytest.skip("CYCLEQD_BENCH_MERGEKIT names no Python with mergekit")
    seconds = [measured([python, "-c", MERGEKIT, str(folder), method])["seconds"] for _ in range(ROUNDS)]
    ratio = statistics.median(seconds) / ways["ours"]["seconds"]
    print(f"\nmergekit, {method}: {statistics.median(seconds):.2f} s, ours with a mutation {1 / ratio:.2f} of it")
    keep(f"mergekit_{method}_time_ratio", round(ratio, 2))
    assert ratio > 1
