"""Real benchmark files, where this machine has them: `CYCLEQD_DATA_DIR`, or `shared/data` beside the checkout."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("CYCLEQD_DATA_DIR") or Path(__file__).resolve().parents[4] / "shared" / "data")
MBPP = FOLDER / "mbpp" / "MbppPlus-half.jsonl.gz"

needs_mbpp = pytest.mark.skipif(not MBPP.is_file(), reason=f"no MBPP+ file in {FOLDER}; set CYCLEQD_DATA_DIR")
