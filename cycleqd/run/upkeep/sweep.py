"""Removes what a process left behind that was killed while it wrote.

Readers never take such leftovers for finished work: each kind lacks the object that is written last. Only the holder
of the run's lease may sweep, as another writer's unfinished objects look the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from cycleqd.run.names import ALL_DATA, TRAINING, expert_id, expert_key, final_key, individual_key
from cycleqd.run.store import RunStore
from cycleqd.run.upkeep.inventory import Inventory
from cycleqd.storage import SUFFIX, open_filesystem
from cycleqd.storage.filesystem import is_s3

log = logging.getLogger(__name__)


def leftovers(keys: Iterable[str]) -> dict[str, str]:
    """Which of a run's objects are leftovers.

    Args:
        keys: All keys of the run.

    Returns:
        The leftovers' keys, each with the reason.
    """
    files = set(keys)
    # A folder is an object, too, with one checksum file beside it.
    present = files | {key[:end] for key in files for end in range(len(key)) if key[end] == "/"}
    return {key: why for key in sorted(files) if (why := _why(key, present))}


def sweep(store: RunStore, inventory: Inventory | None = None) -> dict[str, str]:
    """Removes the leftovers; returns their keys, each with the reason.

    Args:
        store: A run whose lease this process holds.
        inventory: The run's objects as of now, which lose the leftovers; listed here unless given.
    """
    inventory = inventory or Inventory(store)
    found = leftovers(inventory.sizes)
    for key, why in found.items():
        log.warning("run %s: removing %s (%s)", store.run_id, key, why)
    inventory.remove(found)
    _abort_uploads(store)
    return found


def _abort_uploads(store: RunStore) -> None:
    """Frees the parts of uploads that were never completed; S3 keeps, and bills, them out of sight."""
    fs, root = open_filesystem(store.storage)
    if not is_s3(fs):
        return
    bucket, prefix, _ = fs.split_path(f"{root}/{store.run_id}/")
    for upload in _unfinished_uploads(fs, bucket, prefix):
        log.warning("run %s: aborting the upload of %s, which was not completed", store.run_id, upload["Key"])
        fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])


def _unfinished_uploads(fs: Any, bucket: str, prefix: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    where: dict[str, str] = {}
    while True:
        page = fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix, **where)
        found += page.get("Uploads", [])
        if not page.get("IsTruncated"):
            return found
        where = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


def _individual_of(expert: str) -> str:
    return expert if expert == ALL_DATA else expert_id(expert)


def _why(key: str, present: set[str]) -> str | None:
    if any(part.endswith(".partial") for part in key.split("/")):
        return "half-written"
    if key.endswith(SUFFIX) and key.removesuffix(SUFFIX) not in present:
        return "checksum of an object that is not there"
    folder, *rest = key.removesuffix(SUFFIX).split("/")
    if folder == "individuals" and len(rest) > 1 and individual_key(rest[0]) not in present:
        return "individual without its recipe"
    if folder == "evaluations" and rest[-1].endswith(".jsonl.gz"):
        record = f"{'/'.join((folder, *rest)).removesuffix('.jsonl.gz')}.json"
        return None if record in present else "episodes without their evaluation's record"
    # A whole model without export.json stays: it is the last one until its successor is written.
    if folder == "aggregate" and len(rest) > 1 and f"{final_key(rest[0])}{SUFFIX}" not in present:
        return "model that was not written in full"
    if folder == "experts" and len(rest) > 1 and rest[1] == "model":
        return None if expert_key(rest[0], "summary.json") in present else "expert whose training was not finished"
    if (
        folder == "experts"
        and len(rest) == 2
        and rest[1] in TRAINING
        and expert_key(rest[0], "summary.json") in present
    ):
        return "state of a training that was finished"
    if folder == "experts" and rest[1:2] == ["truncated"] and individual_key(_individual_of(rest[0])) in present:
        return "truncated matrix of an expert that is there"
    if folder == "archives" and f"generations/{rest[0]}" not in present:
        return "archives of a generation that was not committed"
    return None
