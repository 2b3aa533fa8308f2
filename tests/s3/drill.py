"""Measures what faults do to objects: a random workload on S3 through a proxy that breaks 20 % of the exchanges.

Usage: ``python -m tests.s3.drill [--out docs/results/s3_faults.json]``. Settings are those of production but for the
read timeout, which would only make it take longer.
"""

import argparse
import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cycleqd.storage import ObjectStore, filesystem
from tests.s3.faulty_proxy import FaultyProxy
from tests.s3.server import create_bucket, environment, moto_server
from tests.s3.workload import lost, run

PATIENCE = 2.0


def measure(*, workers, operations, share, seed):
    filesystem.READ_SECONDS = PATIENCE
    started = time.monotonic()
    with moto_server() as server, tempfile.TemporaryDirectory() as cache:
        create_bucket(server, "drill")
        with FaultyProxy(server, share=share, seed=seed, patience=PATIENCE) as proxy:
            os.environ.update(environment(proxy.port))
            store = ObjectStore("s3://drill/runs", "faults", cache=Path(cache) / "faulty")

            def work(worker):
                # 20 MB are uploaded in three parts.
                large = 20_000_000 if worker == 0 else 300_000
                return run(store, operations=operations, seed=f"{seed}-{worker}", prefix=f"w{worker}", large=large)

            with ThreadPoolExecutor(workers) as pool:
                results = list(pool.map(work, range(workers)))
        os.environ.update(environment(server))
        calm = ObjectStore("s3://drill/runs", "faults", cache=Path(cache) / "calm")
        gone = [key for _, held, folders in results for key in lost(calm, held, folders)]
    steps = [step for steps, _, _ in results for step in steps]
    wrong = [step for step in steps if step.outcome != "ok"]
    kinds = sorted({step.operation for step in steps})
    return {
        "operations": len(steps),
        "faults": sum(proxy.injected.values()),
        "lost": len(set(gone)) + len(wrong),
        "requests": proxy.requests,
        "fault_share": round(sum(proxy.injected.values()) / proxy.requests, 4),
        "objects_checked": sum(len(held) + len(folders) for _, held, folders in results),
        "seconds": round(time.monotonic() - started, 1),
        "seed": seed,
        "rows": [
            *({"fault": name, "injected": count} for name, count in sorted(proxy.injected.items())),
            *(
                {
                    "operation": kind,
                    "count": sum(step.operation == kind for step in steps),
                    "wrong": sum(step.operation == kind for step in wrong),
                }
                for kind in kinds
            ),
        ],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/results/s3_faults.json"))
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--operations", type=int, default=50, help="of each worker")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    result = measure(workers=arguments.workers, operations=arguments.operations, share=0.22, seed=arguments.seed)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: value for key, value in result.items() if key != "rows"}))


if __name__ == "__main__":
    main()
