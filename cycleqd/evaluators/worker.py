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
import traceback
from queue import SimpleQueue
from typing import Any

from cycleqd.evaluators.job import Warm
from cycleqd.run.names import RunRef

GRACE_SECONDS = 30.0
"""For a turn that is being played when the evaluator is to end."""


def main() -> None:
    """Scores until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not come between
    name = sys.argv[1]
    logging.basicConfig(level=logging.WARNING, format=f"{name}: %(message)s")
    warm = Warm(name)
    asked: SimpleQueue[dict[str, Any] | None] = SimpleQueue()

    def work() -> None:
        while (request := asked.get()) is not None:
            answers.write(json.dumps(_answer(warm, request)) + "\n")

    worker = threading.Thread(target=work, name="evaluator", daemon=True)
    worker.start()
    for line in sys.stdin:
        asked.put(json.loads(line))
    warm.stop()
    asked.put(None)
    worker.join(GRACE_SECONDS)
    if not worker.is_alive():
        warm.close()
    os._exit(0)  # an engine's threads must not keep it


def _answer(warm: Warm, request: dict[str, Any]) -> dict[str, Any]:
    try:
        run = RunRef.model_validate(request["run"])
        outcome = warm.score(run, request["individual"], request["part"])
    except Exception as error:
        cause = error.__cause__ or error  # of a round that another skill broke
        kind = type(cause)
        return {
            "fault": {
                "kind": f"{kind.__module__}:{kind.__qualname__}",
                "text": str(cause),
                "trace": "".join(traceback.format_exception(error)),
            }
        }
    return {"outcome": outcome.model_dump(mode="json")}


if __name__ == "__main__":
    main()
