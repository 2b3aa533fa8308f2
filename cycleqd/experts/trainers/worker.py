"""A process of a training: ``python -m cycleqd.experts.trainers.worker FOLDER``, started alone or by a launcher.

It reads its `Assignment` from the folder, and trains with transformers' Trainer. It ends when its standard input ends,
that is when whoever started it is gone, however that came about.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

GONE = 77
"""Exit status when whoever started the training is gone."""


def main() -> None:
    """Trains what the folder says."""
    threading.Thread(target=_end_with_the_starter, name="starter", daemon=True).start()
    from cycleqd.experts.trainers.course import take  # transformers takes seconds to load

    take(Path(sys.argv[1]))


def _end_with_the_starter() -> None:
    while os.read(0, 4096):
        pass
    os._exit(GONE)  # at once: a training that nobody waits for has nothing to keep


if __name__ == "__main__":
    main()
