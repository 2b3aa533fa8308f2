"""Weights of large models are derived, merged, mutated, aggregated and exported within a hard limit of memory.

All layers of Llama-3-8B and of SAM ViT-H, but for the case whose task vectors are saved in fp32: it has one layer and
takes 20 GB of disk, and another layer would take 3 GB more. That the number of layers does not matter is shown by
`tests/task_vector/test_blocks.py`, too. The other cases take up to 22 GB.

Set ``CYCLEQD_BENCH_LAYERS`` for another number of layers in all cases, ``CYCLEQD_BENCH_FOLDER`` for another place than
pytest's, and ``CYCLEQD_BENCH_OUT`` for a JSON file that takes the peaks. Needs Linux, root and control groups.
"""

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks.limited import run_limited

pytestmark = pytest.mark.slow

GB = 10**9
PROGRAM = [sys.executable, "-m", "tests.benchmarks.large_models"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    place = Path(os.environ.get("CYCLEQD_BENCH_FOLDER", tmp_path)) / f"large-{uuid.uuid4().hex[:8]}"
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.mark.parametrize(
    ("shapes", "layers", "experts", "dtype", "what", "mutation", "limit"),
    [
        ("llama", 1, 2, "bfloat16", "dense", "gaussian", 4),
        ("llama", 32, 2, "bfloat16", "unsaved", "gaussian", 4),
        ("llama", 32, 0, "bfloat16", "lora", "svd", 4),
        ("sam", 32, 2, "float32", "dense", "svd", 8),
    ],
    ids=["Llama-3-8B, dense", "Llama-3-8B, dense, unsaved", "Llama-3-8B, LoRA", "SAM ViT-H, dense"],
)
def test_weights_are_made_within_a_hard_limit_of_memory(
    request, folder, shapes, layers, experts, dtype, what, mutation, limit
) -> None:
    layers = int(os.environ.get("CYCLEQD_BENCH_LAYERS", layers))
    made = [*PROGRAM, "make", str(folder), "--shapes", shapes, "--layers", str(layers), "--dtype", dtype]
    subprocess.run([*made, "--experts", str(experts)], check=True)
    command = [*PROGRAM, what, str(folder), "--dtype", dtype, "--mutation", mutation]
    ended = run_limited(command, limit * GB)
    peaks = {step: round(peak / GB, 2) for step, peak in ended.peaks.items()}
    print(f"\n{request.node.callspec.id}, {layers} layers, limit {limit} GB: {json.dumps(peaks, indent=1)}")
    assert ended.code == 0, "\n".join(ended.output)
    if "CYCLEQD_BENCH_OUT" in os.environ:
        record(Path(os.environ["CYCLEQD_BENCH_OUT"]), request.node.callspec.id, layers, limit, peaks)


def record(file: Path, case: str, layers: int, limit: int, peaks: dict[str, float]) -> None:
    """Puts a case beside what the file holds; GB are 10^9 bytes."""
    known = json.loads(file.read_text()) if file.is_file() else {}
    cases = known.setdefault("memory", {})
    cases[case] = {"layers": layers, "limit_gb": limit, "peak_gb": peaks}
    whole = [max(one["peak_gb"].values()) for name, one in cases.items() if "8B" in name and one["layers"] == 32]
    if whole:
        known["merge_8b_peak_gb"] = max(whole)
    file.write_text(json.dumps(known, indent=1) + "\n")
