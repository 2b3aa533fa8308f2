"""The drill: kills parts of a run at random moments, starts it again, and compares it with an undisturbed run.

``make drill``, or ``python -m tests.drill --help``. Needs root (for a small disk and the Docker engine) and kills this
machine's Docker engine; runs of others are safe only where nobody else uses Docker.
"""

import argparse
import json
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import docker
import fsspec

from cycleqd.machine.owner import RUN_LABEL
from tests.drill import faults, judge
from tests.drill.scene import PATIENCE, RUN, Gate, Scene, ServedScene, small_disk
from tests.live_prefect import small_configuration
from tests.s3.server import create_bucket, environment, moto_server

SKILLS = ("coding", "os", "db")
SEARCH = {
    "run_id": RUN,
    "generations": 4,
    # Starts in seconds, which counts when a run is started forty times.
    "engine": {"kind": "transformers", "max_model_len": 1024},
    "skills": [
        {"name": "coding", "train": 32, "optimization": 4, "test": 1},
        {"name": "os", "train": 40, "optimization": 4, "test": 1},
        {"name": "db", "train": 32, "optimization": 4, "test": 1},
    ],
    "experts": {"global_batch": 4, "learning_rate": 1e-3},
    "baselines": [{"method": "tsv", "scales": [0.85]}],
}
"""The real model with real experts. Trials take over the experts and their scores, and search, aggregate, report."""


def whole(work):
    """A random model that trains in seconds: trials do everything, training included."""
    skills = [{"name": name, "train": 2, "optimization": 2, "test": 1} for name in SKILLS]
    settings = small_configuration(work, f"{RUN}-whole", generations=2, skills=skills)
    return {name: value for name, value in settings.items() if name != "storage"}


TRIALS = (
    # name, what is struck, how often, seconds between strikes
    ("Docker engine", ["dockerd"], 4, (10, 22)),
    ("flow", ["flow"], 8, (8, 40)),
    ("whole run", ["flow"], 6, (6, 40)),
    ("container", ["container"], 6, (2, 9)),
    ("object store", ["store"], 4, (8, 22)),
    ("disk", ["disk"], 4, (8, 22)),
    ("server", ["worker", "server", "flow"], 6, (8, 28)),
)


ENOUGH = 30
"""Kills of the whole drill, at least."""
VERDICTS = ("differences", "repeated", "unmeasured", "leftovers")
"""What can be wrong with a trial; an evaluation is unmeasured when nobody told whether it was repeated."""


@dataclass
class Trial:
    """The outcome of one run that was struck again and again."""

    name: str
    kills: list = field(default_factory=list)
    lives: int = 0
    differences: list = field(default_factory=list)
    repeated: list = field(default_factory=list)
    unmeasured: list = field(default_factory=list)
    leftovers: list = field(default_factory=list)
    seconds: float = 0.0


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.drill", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", action="append", choices=[name for name, *_ in TRIALS], help="repeatable")
    parser.add_argument("--out", type=Path, help="JSON file for the rows, e.g. docs/results/drill.json")
    parser.add_argument("--work", type=Path, help="folder that keeps the undisturbed runs and all logs")
    options = parser.parse_args()
    refuse_to_disturb_others()
    work = options.work or Path(tempfile.mkdtemp(prefix="drill-"))
    work.mkdir(parents=True, exist_ok=True)
    work.chmod(0o711)  # PostgreSQL runs as a user of its own
    os.environ["CYCLEQD_CACHE"] = str(work / "cache")
    outcomes = []
    for number, (name, kinds, kills, window) in enumerate(TRIALS):
        if options.only and name not in options.only:
            continue
        rng = random.Random(f"{options.seed} {number}")  # noqa: S311 (repeatable moments)
        outcome = play(work, name, kinds, kills, window, rng)
        outcomes.append(outcome)
        found = ", ".join(f"{len(getattr(outcome, verdict))} {verdict}" for verdict in VERDICTS)
        say(f"{name}: {len(outcome.kills)} kills in {outcome.lives} lives, {found}, {outcome.seconds:.0f} s")
        for verdict in VERDICTS:
            for what in getattr(outcome, verdict):
                say(f"  {verdict}: {what}")
        result = gathered(options.out, options.seed, outcomes)
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(result, indent=1) + "\n")
    say(f"in all: {result['kills']} kills, " + ", ".join(f"{result[verdict]} {verdict}" for verdict in VERDICTS))
    bad = sum(result[verdict] for verdict in VERDICTS)
    if len(result["trials"]) == len(TRIALS) and result["kills"] < ENOUGH:
        say(f"fewer than {ENOUGH} kills")
        bad += 1
    if not bad and not options.work:
        shutil.rmtree(work)
    else:
        say(f"everything is kept in {work}")
    sys.exit(1 if bad else 0)


def play(work, name, kinds, kills, window, rng):
    settings = whole(work) if name == "whole run" else SEARCH
    undisturbed = reference(work, settings)
    folder = work / name.replace(" ", "-")
    shutil.rmtree(folder, ignore_errors=True)
    outcome = Trial(name)
    began = time.monotonic()
    with stage(folder, settings, kinds) as scene:
        if settings is SEARCH:
            take_over_experts(undisturbed, scene)
        suffer(scene, outcome, kinds, kills, window, rng)
        outcome.differences += judge.differences(judge.content(scene.store), judge.content(undisturbed.store))
        outcome.differences += judge.faults(scene.store)
        if isinstance(scene, ServedScene):
            outcome.leftovers += [f"flow run shown as {state}" for state in unfinished_flow_runs(scene)]
            scene.down()
        time.sleep(1.0)  # containers whose owner has just closed them are removed by the engine
        outcome.leftovers += judge.remains(scene)
    outcome.seconds = time.monotonic() - began
    return outcome


def suffer(scene, outcome, kinds, kills, window, rng):
    """Starts the run until it is finished, and strikes meanwhile."""
    done = judge.finished_evaluations(scene.store)
    failed = position = 0
    while True:
        life = scene.start()
        began, before = time.monotonic(), len(outcome.kills)
        while len(outcome.kills) < kills and not life.wait(rng.uniform(*window)):
            kind = kinds[len(outcome.kills) % len(kinds)]
            generation = len(scene.store.generations())
            at = time.monotonic() - began
            if struck := faults.KINDS[kind](scene, life, rng):
                ended = life.wait(3)
                row = {
                    "trial": outcome.name, "kind": kind, "what": struck, "life": scene.lives, "second": round(at, 1),
                    "generations": generation, "run": "ended" if ended else "went on",
                }  # fmt: skip
                outcome.kills.append(row)
                say(f"{outcome.name}: {row}")
        if not life.wait(PATIENCE):
            outcome.differences.append(f"life {scene.lives} does not end")
            scene.end_survivors()
        text, position = scene.told(position)
        told, before_it, done = (
            judge.evaluations_told(text, scene.store),
            done,
            judge.finished_evaluations(scene.store),
        )
        outcome.repeated += [f"{one} in life {scene.lives}" for one in judge.repeated(told, before_it)]
        outcome.unmeasured += [f"{one} in life {scene.lives}" for one in judge.untold(told, done - before_it)]
        outcome.lives = scene.lives
        if life.finished:
            return
        # A run that fails without being struck would do so for ever.
        failed = failed + 1 if len(outcome.kills) == before else 0
        if failed == 3:
            outcome.differences.append(f"the run does not get to its end: {life.text()[-500:]}")
            return


@contextmanager
def stage(folder, settings, kinds):
    """The place of a trial that is struck in these ways."""
    storage, extra = str(folder / "runs"), {}
    gate = disk = None
    with ExitStack() as stack:
        if "disk" in kinds:
            disk = stack.enter_context(small_disk(folder / "disk", 2500))
            storage = str(disk / "runs")
        if "store" in kinds:
            port = stack.enter_context(moto_server())
            create_bucket(port, "drill")
            os.environ.update(environment(port))
            gate = Gate(port)
            stack.callback(gate.kill)
            storage, extra = "s3://drill/runs", environment(gate.port)
        kind = ServedScene if "server" in kinds else Scene
        scene = kind(folder, storage, settings, extra, gate=gate, disk=disk)
        if isinstance(scene, ServedScene):
            scene.up()
            stack.callback(scene.down)
        stack.callback(scene.end_survivors)
        yield scene


def reference(work, settings):
    """The undisturbed run, made when it is first asked for."""
    folder = work / f"undisturbed-{settings['run_id']}"
    scene = Scene(folder, str(folder / "runs"), settings)
    if not scene.store.exists("report/summary.json"):
        say(f"the undisturbed run {settings['run_id']}")
        life = scene.start()
        if not life.wait(4 * PATIENCE) or not life.finished:
            raise SystemExit(f"the undisturbed run failed: {life.log}\n{life.text()[-3000:]}")
        # Otherwise nobody would notice a repeated one.
        told = judge.evaluations_told(scene.told()[0], scene.store)
        if judge.untold(told, judge.finished_evaluations(scene.store)):
            raise SystemExit(f"not every evaluation is told: {scene.events}")
    return scene


def take_over_experts(undisturbed, scene):
    """Copies what the search starts from: experts, their task vectors, and all scores of what is no child."""
    store = undisturbed.store
    starters = ["average", *(f"expert-{skill}" for skill in SKILLS)]
    genomes = ["base", *(store.individual(name).genome for name in starters)]
    wanted = ["config.json", "bases.safetensors", "experts"]
    wanted += [f"individuals/{name}" for name in starters] + [f"evaluations/{genome}" for genome in genomes]
    fs, root = fsspec.core.url_to_fs(f"{scene.storage}/{scene.run_id}")
    for path in store.walk():
        if any(path == name or path.startswith((f"{name}/", f"{name}.sha256")) for name in wanted):
            if path.startswith("evaluations/") and "-test." in path:
                continue
            fs.makedirs(f"{root}/{path}".rpartition("/")[0], exist_ok=True)
            fs.put_file(str(Path(store.url(path))), f"{root}/{path}")


def unfinished_flow_runs(scene):
    """States of the flow runs that the server still shows as going on."""
    with scene.live.client() as client:
        runs = client.read_flow_runs(limit=200)
    return [f"{run.name}: {run.state_name}" for run in runs if not run.state.is_final()]


def refuse_to_disturb_others():
    faults.bring_back_docker()
    client = docker.from_env()
    try:
        others = [one.name for one in client.containers.list() if RUN_LABEL not in one.labels]
    finally:
        client.close()
    if others:
        raise SystemExit(f"the drill kills the Docker engine, and these containers with it: {', '.join(others)}")
    if os.geteuid() != 0:
        raise SystemExit("the drill mounts a small disk and kills the Docker engine: run it as root")


def gathered(path, seed, outcomes):
    """The drill as it is written to `path`; trials of an earlier one there that were not played again stay."""
    trials = {name: None for name, *_ in TRIALS}
    if path and path.exists():
        earlier = {trial["name"]: trial for trial in json.loads(path.read_text())["trials"]}
        trials |= {name: earlier.get(name) for name in trials}
    trials |= {one.name: asdict(one) | {"seconds": round(one.seconds, 1), "seed": seed} for one in outcomes}
    trials = [trial for trial in trials.values() if trial]
    rows = [
        row | {verdict: len(trial.get(verdict, ())) for verdict in VERDICTS}
        for trial in trials
        for row in trial["kills"]
    ]
    totals = {verdict: sum(len(trial.get(verdict, ())) for trial in trials) for verdict in VERDICTS}
    return {"kills": len(rows)} | totals | {"machine": machine(), "trials": trials, "rows": rows}


def machine():
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"


def say(text):
    print(time.strftime("%H:%M:%S"), text, flush=True)


if __name__ == "__main__":
    main()
