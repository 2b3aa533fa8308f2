"""Sets scores aside that are to be measured anew, and with them the search that was built on them.

Everything goes to ``superseded/<n>/`` under its own key, beside a ``reason.json``; nothing reads it there, and nothing
of it is removed. If a score of the optimization split goes, the search goes, too: which children there are follows
from the scores that the archives had. The experts stay, so that the search begins anew from generation 0.

Killed half-way it is simply done again. The evaluations go last: by them the next start knows that something is left
to do. A commit record goes before anything that it promises.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from cycleqd.run.names import AVERAGE, TRACKING_KEY, evaluation_name, expert_id, regmean_id
from cycleqd.run.store import RunStore
from cycleqd.run.upkeep.inventory import Inventory
from cycleqd.skills.parts import split_of
from cycleqd.storage import SUFFIX

log = logging.getLogger(__name__)

FOLDER = "superseded"


def set_aside(store: RunStore, stale: Sequence[str], why: Mapping[str, Sequence[str]]) -> str:
    """Moves evaluations, and the search that was built on them, out of the way.

    Args:
        store: A run whose lease this process holds.
        stale: Keys of the evaluations' records.
        why: What changed, each with the skills that it concerns; written down with the time.

    Returns:
        The folder to which they went.
    """
    inventory = Inventory(store)
    earlier = {key.split("/")[1] for key in inventory.under(FOLDER)}
    folder = f"{FOLDER}/{1 + max((int(name) for name in earlier if name.isdigit()), default=0)}"
    searched = any(_is_of_search(key) for key in stale)
    reason = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "changed": {k: list(v) for k, v in why.items()}}
    store.write_json(f"{folder}/reason.json", reason | {"evaluations": len(stale), "search": searched})
    if searched:
        # The last generation first, so that those which are left always follow from each other.
        for key in sorted(_objects(inventory, "generations"), reverse=True):
            if not key.endswith("/seed.json"):
                _move(store, key, folder)
        for key in _objects(inventory, "generations"):
            if key.endswith("/seed.json"):
                _move(store, key, folder)
        inventory.remove(inventory.under("archives"))  # derived from the commits
        if TRACKING_KEY in inventory:  # another search is another run for trackers, which has these generations again
            _move(store, TRACKING_KEY, folder)
        skills = store.config().skill_names
        kept = {*map(expert_id, skills), *map(regmean_id, skills), AVERAGE}
        for key in _objects(inventory, "individuals"):
            # A recipe goes before its genome: without it the genome is nothing.
            if key.split("/")[1] not in kept and key.endswith("/individual.json"):
                _move(store, key, folder)
        for key in _objects(inventory, "individuals"):
            if key.split("/")[1] not in kept and not key.endswith("/individual.json"):
                _move(store, key, folder)
    for key in stale:
        episodes = f"{key.removesuffix('.json')}.jsonl.gz"
        if episodes in inventory:
            _copy(store, episodes, folder)
        _move(store, key, folder)
        store.remove(episodes)
    log.warning(
        "run %s: %d evaluations%s were set aside under %s, to be made anew",
        store.run_id,
        len(stale),
        " and the search that was built on them" if searched else "",
        store.url(folder),
    )
    return folder


def _is_of_search(key: str) -> bool:
    name = evaluation_name(key)
    return name is not None and split_of(name.part) == "optimization"


def _objects(inventory: Inventory, folder: str) -> list[str]:
    return [key for key in inventory.under(folder) if not key.endswith(SUFFIX)]


def _move(store: RunStore, key: str, folder: str) -> None:
    _copy(store, key, folder)
    store.remove(key)


def _copy(store: RunStore, key: str, folder: str) -> None:
    with store.writing(f"{folder}/{key}", replace=True) as path:
        source = store.local(key)
        with suppress(OSError):  # another file system, or one without links
            os.link(source, path)
        if not path.exists():
            shutil.copyfile(source, path)
