"""What a Prefect server with its worker and database costs a generation, beside `cycleqd run`'s temporary server.

    python -m tests.benchmarks.server_overhead runs/demo --out docs/results/server_overhead.json

Continues two copies of a finished run by the same generations, one as `cycleqd run` does and one as the deployment
`evolve` on what `make up` starts, in the order alone, served, served, alone: a machine that gets slower slows
both. Both evolve the same children, so each generation is compared with itself. It takes some eight minutes and wants
an idle machine, which is why it is no test.
"""

import argparse
import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cycleqd.cli.playing import PREFECT_SETTINGS
from cycleqd.run.store import RunStore
from tests.live_prefect import ROOT, everything_up, wait_for

WAIT_SECONDS = 1800
POLL_SECONDS = 20
"""Seldom: who looks at a run does not take its time."""
ENOUGH = 12
"""Generations that are compared, at least."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument(
        "--generations", type=int, default=ENOUGH // 2 + 1, help="per quarter; the first, a warm-up, does not count"
    )
    parser.add_argument("--out", type=Path, help="JSON to write")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cycleqd-overhead-") as folder:
        stores = {way: copied(options.run, Path(folder, way)) for way in ("alone", "served")}
        done = len(stores["alone"].generations())
        half, whole = done + options.generations, done + 2 * options.generations
        evolve_alone(stores["alone"], half)
        evolve_served(stores["served"], whole)  # two quarters in one
        evolve_alone(stores["alone"], whole)
        rows = compared(stores, [number for number in range(done, whole) if number not in (done, half)])
    seconds = {way: statistics.median(row[way] for row in rows) for way in stores}
    result = {
        "overhead": statistics.median(row["served"] / row["alone"] for row in rows) - 1,
        "enough": len(rows) >= ENOUGH,
        "run": options.run.name,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "seconds_per_generation": seconds,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "rows": rows,
    }
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


def copied(run, storage):
    """A run's copy in a storage of its own."""
    shutil.copytree(run, storage / run.name)
    return RunStore(str(storage), run.name)


def compared(stores, numbers):
    """Seconds from one commit to the next, for the generations that are not the first of their process."""
    records = {way: store.generations() for way, store in stores.items()}
    for alone, served in zip(records["alone"], records["served"], strict=True):
        if (alone.genome, alone.scores) != (served.genome, served.scores):
            raise SystemExit(f"generation {alone.generation}: the children differ, so their times cannot be compared")
    seconds = {way: _seconds(store) for way, store in stores.items()}
    return [{"generation": number} | {way: round(seconds[way][number], 3) for way in stores} for number in numbers]


def _seconds(store):
    folder = Path(store.url("generations"))
    committed = {int(path.stem): path.stat().st_mtime for path in folder.glob("*.json") if path.stem.isdigit()}
    return {number: committed[number] - committed[before] for before, number in itertools.pairwise(sorted(committed))}


def evolve_alone(store, generations):
    code = "import sys; from flows.evolve import evolve; evolve(sys.argv[1], sys.argv[2], int(sys.argv[3]))"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    with tempfile.TemporaryDirectory(prefix="cycleqd-overhead-") as home:
        subprocess.run(
            [sys.executable, "-c", code, store.run_id, store.storage, str(generations)],
            cwd=ROOT,
            env=inherited | PREFECT_SETTINGS | {"PREFECT_HOME": home},
            check=True,
        )


def evolve_served(store, generations):
    with everything_up() as live:
        parameters = {"run_id": store.run_id, "storage": store.storage, "generations": generations}
        run = live.start("evolve/evolve", parameters)
        state = wait_for(
            lambda: (state := live.state(run)).is_final() and state, seconds=WAIT_SECONDS, every=POLL_SECONDS
        )
        if not state.is_completed():
            raise RuntimeError(f"{state.message}\n{live.logs(run)}")


if __name__ == "__main__":
    main()
