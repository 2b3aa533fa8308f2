"""What a Prefect server with its worker and database costs a generation, beside `cycleqd run`'s temporary server.

    python -m tests.benchmarks.server_overhead runs/demo --out docs/results/server_overhead.json

Continues two copies of a finished run by the same generations, first as `cycleqd run` does, then as the deployment
`evolve` on what `make up` starts. Both evolve the same children, so each generation is compared with itself. It takes
some minutes and wants an idle machine, which is why it is no test.
"""

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from cycleqd.cli.start import PREFECT_SETTINGS
from tests.live_prefect import ROOT, everything_up, wait_for

WAIT_SECONDS = 1800


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument(
        "--generations", type=int, default=7, help="children that each way evolves; the first is not measured"
    )
    parser.add_argument("--out", type=Path, help="JSON to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cycleqd-overhead-") as folder:
        seconds = {}
        for way, evolve in (("alone", evolve_alone), ("served", evolve_served)):
            storage = Path(folder, way)
            shutil.copytree(options.run, storage / options.run.name)
            records = storage / options.run.name / "generations"
            done = len(numbered(records))
            evolve(options.run.name, storage, done + options.generations)
            committed = [path.stat().st_mtime for path in numbered(records)[done:]]
            seconds[way] = [after - before for before, after in itertools.pairwise(committed)]
    alone, served = (statistics.mean(seconds[way]) for way in ("alone", "served"))
    result = {
        "overhead": served / alone - 1,
        "seconds_per_generation": {"alone": alone, "served": served},
        "rows": [{"alone": a, "served": s} for a, s in zip(seconds["alone"], seconds["served"], strict=True)],
    }
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


def numbered(records):
    """The commit records of generations, in their order."""
    return sorted(path for path in records.glob("*.json") if path.stem.isdigit())


def evolve_alone(run_id, storage, generations):
    code = "import sys; from flows.evolve import evolve; evolve(sys.argv[1], sys.argv[2], int(sys.argv[3]))"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    with tempfile.TemporaryDirectory(prefix="cycleqd-overhead-") as home:
        subprocess.run(
            [sys.executable, "-c", code, run_id, str(storage), str(generations)],
            cwd=ROOT,
            env=inherited | PREFECT_SETTINGS | {"PREFECT_HOME": home},
            check=True,
        )


def evolve_served(run_id, storage, generations):
    with everything_up() as live:
        run = live.start("evolve/evolve", {"run_id": run_id, "storage": str(storage), "generations": generations})
        state = wait_for(lambda: (state := live.state(run)).is_final() and state, seconds=WAIT_SECONDS, every=2)
        if not state.is_completed():
            raise RuntimeError(f"{state.message}\n{live.logs(run)}")


if __name__ == "__main__":
    main()
