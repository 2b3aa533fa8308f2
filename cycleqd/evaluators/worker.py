"""The process behind `cycleqd.evaluators.processes`: ``python -m cycleqd.evaluators.worker NAME``.

It reads one JSON line per child from its standard input, and answers each with one on what was its standard output. It
ends when its input ends, also when the coordinator was killed.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from queue import SimpleQueue
from typing import Any

from cycleqd.evaluators.answers import answer
from cycleqd.evaluators.job import Warm

GRACE_SECONDS = 12.0
"""For a turn that is played, or an engine that starts, when the evaluator is to end; a cancelled run has 30 s."""


def main() -> None:
    """Scores until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not come between
    name = sys.argv[1]
    logging.basicConfig(level=logging.WARNING, format=f"{name}: %(message)s")
    warm = Warm(name)
    children: SimpleQueue[dict[str, Any] | None] = SimpleQueue()

    def work() -> None:
        while (asked := children.get()) is not None:
            answers.write(json.dumps(answer(warm, asked)) + "\n")

    worker = threading.Thread(target=work, name="evaluator", daemon=True)
    worker.start()
    for line in sys.stdin:
        children.put(json.loads(line))
    warm.stop()
    children.put(None)
    worker.join(GRACE_SECONDS)
    if not worker.is_alive():
        warm.close()
    os._exit(0)  # an engine's threads must not keep it


if __name__ == "__main__":
    main()
