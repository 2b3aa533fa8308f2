"""The toy search, started as a reader of the documentation starts it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "toy_search.py"


def played(*arguments):
    """What the script printed: whole, and the mean score of everybody it names."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^(expert-\w+|answer) .* mean (\d\.\d+)", done.stdout, flags=re.MULTILINE)
    return done.stdout, {name: float(mean) for name, mean in found}


@pytest.mark.parametrize("search", ["cycleqd", "cma_es"])
def test_the_answer_is_better_than_every_expert(search):
    text, means = played(search)
    assert list(means) == ["expert-coding", "expert-os", "expert-db", "answer"]
    assert means["answer"] > 1.5 * max(mean for name, mean in means.items() if name != "answer")
    assert text.count("archive of ") == 3


def test_it_stays_short_enough_to_be_read():
    assert len(SCRIPT.read_text().splitlines()) < 80
