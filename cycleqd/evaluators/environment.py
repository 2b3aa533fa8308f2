"""Environment variables of an evaluator's process."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def of_threads(count: int) -> dict[str, str]:
    """With how many threads its engine computes on a CPU.

    Args:
        count: At least 1.
    """
    return {name: str(count) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def of_imports() -> dict[str, str]:
    """What it imports, as here: the package may lie in a checkout, and skills in files beside it."""
    return {"PYTHONPATH": os.pathsep.join(str(Path(entry or ".").absolute()) for entry in sys.path)}
