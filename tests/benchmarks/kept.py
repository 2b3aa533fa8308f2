"""Where benches write their ratios: the JSON file that ``CYCLEQD_BENCH_OUT`` names, if it does."""

import json
import os
from pathlib import Path


def keep(name, value):
    """Sets one entry of the file and leaves the others."""
    if path := os.environ.get("CYCLEQD_BENCH_OUT"):
        file = Path(path)
        known = json.loads(file.read_text()) if file.is_file() else {}
        file.write_text(json.dumps(known | {name: value}, indent=1) + "\n")
