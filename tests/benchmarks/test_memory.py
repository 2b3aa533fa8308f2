"""Weights of large models are derived, merged, mutated, aggregated and exported within a hard limit of memory.

Checkpoints of noise have the true shapes of the layers and of the embedding, and fewer layers than the model, for the
disk's sake (``CYCLEQD_BENCH_LAYERS``, 2 unless given; a layer of Llama-3-8B takes 5 GB while its vectors lie there).
That the number of layers does not matter is shown by `tests/task_vector/test_blocks.py`. The folder is
``CYCLEQD_BENCH_FOLDER``, or pytest's. Needs Linux, root and control groups.
"""

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

LAYERS = int(os.environ.get("CYCLEQD_BENCH_LAYERS", "2"))
PROGRAM = [sys.executable, "-m", "tests.benchmarks.large_models"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    place = Path(os.environ.get("CYCLEQD_BENCH_FOLDER", tmp_path)) / f"large-{uuid.uuid4().hex[:8]}"
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.mark.parametrize(
    ("shapes", "experts", "dtype", "what", "mutation", "gib"),
    [
        ("llama", 2, "bfloat16", "dense", "gaussian", 4),
        ("llama", 0, "bfloat16", "lora", "svd", 4),
        ("sam", 2, "float32", "dense", "svd", 8),
    ],
    ids=["Llama-3-8B, dense", "Llama-3-8B, LoRA", "SAM ViT-H, dense"],
)
def test_weights_are_made_within_a_hard_limit_of_memory(folder, shapes, experts, dtype, what, mutation, gib) -> None:
    made = [*PROGRAM, "make", str(folder), "--shapes", shapes, "--layers", str(LAYERS), "--dtype", dtype]
    subprocess.run([*made, "--experts", str(experts)], check=True)
    command = [*PROGRAM, what, str(folder), "--dtype", dtype, "--mutation", mutation]
    ended = run_limited(command, gib * 2**30)
    print(f"\n{shapes} with {LAYERS} layers, {what}, limit {gib} GiB")
    for step, peak in ended.peaks.items():
        print(f"  {step}: {peak / 2**30:.2f} GiB")
    assert ended.code == 0, "\n".join(ended.output)
