"""What the drill asks of a run that is finished at last."""

import gzip
import json

import docker

from cycleqd.machine.owner import RUN_LABEL
from cycleqd.run.lease import current_lease
from cycleqd.run.upkeep import verify
from cycleqd.run.upkeep.sweep import leftovers
from cycleqd.telemetry.events import parse

_TIMES = {"seconds", "started"}
"""What may differ between two runs: how long things took."""


def content(store):
    """What a run found, by key: archives and records without their times, and every message of every episode."""
    found = {}
    for key in store.walk():
        folder = key.partition("/")[0]
        if folder == "archives" and key.endswith(".json"):
            found[key] = store.read_bytes(key)
        elif folder in {"generations", "individuals", "evaluations"} and key.endswith(".json"):
            found[key] = json.dumps(_timeless(store.read_json(key)), sort_keys=True)
        elif folder == "evaluations" and key.endswith(".jsonl.gz"):
            found[key] = gzip.decompress(store.read_bytes(key))
    return found


def differences(found, expected):
    """Keys that one of them lacks or that differ."""
    return sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))


def finished_evaluations(store):
    """(genome, skill, split) of the evaluations whose record is written."""
    keys = (key.removesuffix(".json").split("/") for key in store.walk("evaluations") if key.endswith(".json"))
    return {(genome, *name.rsplit("-", 1)) for _, genome, name in keys}


def evaluations_told(text, store):
    """("started" or "finished", (genome, skill, split)) of what a log tells about evaluations, in order."""
    told = []
    for line in text.splitlines():
        _, _, rest = line.partition("event=evaluation_")
        what, *_ = rest.split(maxsplit=1) or [""]
        fields = parse(rest)
        # Of a line that a kill cut off nothing is believed.
        if what not in {"started", "finished"} or not {"individual", "skill", "split"} <= fields.keys():
            continue
        individual = fields["individual"]
        genome = individual if individual == "base" else store.individual(individual).genome
        told.append((what, (genome, fields["skill"], fields["split"])))
    return told


def repeated(told, done):
    """Evaluations that were begun although their record was written.

    That a finished skill's requests take part in the rounds of the others begins no evaluation.

    Args:
        told: As `evaluations_told` has it.
        done: What had a record before.
    """
    done, found = set(done), []
    for what, evaluation in told:
        if what == "finished":
            done.add(evaluation)
        elif evaluation in done:
            found.append(evaluation)
    return found


def untold(told, new):
    """Evaluations among `new` whose beginning nobody told: had they been repeated, nobody would know."""
    return sorted(new - {evaluation for what, evaluation in told if what == "started"})


def remains(scene):
    """What should not be there any more."""
    client = docker.from_env()
    try:
        containers = client.containers.list(
            all=True, filters={"label": f"{RUN_LABEL}={scene.run_id}"}, ignore_removed=True
        )
        found = [f"container {one.short_id}" for one in containers]
    finally:
        client.close()
    found += [f"process {one.pid} {' '.join(one.cmdline())[:120]}" for one in scene.survivors()]
    found += [f"temporary file {path.name}" for path in scene.temporary.iterdir()]
    store = scene.store
    found += [f"object {key} ({why})" for key, why in leftovers(store.sizes()).items()]
    if current_lease(store):
        found.append("the lease")
    return found


def faults(store):
    """What `cycleqd verify` finds missing or damaged."""
    return [fault.key for fault in verify(store).faults]


def _timeless(value):
    if isinstance(value, dict):
        return {name: _timeless(item) for name, item in value.items() if name not in _TIMES}
    return [_timeless(item) for item in value] if isinstance(value, list) else value
