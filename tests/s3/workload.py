"""A random workload over an `ObjectStore`, with a memory of what the store must hold."""

import random
from typing import NamedTuple

from cycleqd.storage import ObjectExists, StoreError


class Step(NamedTuple):
    """One operation and what came of it: `ok`, or what was wrong."""

    operation: str
    key: str
    outcome: str


def run(store, *, operations, seed, prefix="w", large=300_000):
    """Does random operations; every answer is compared with the memory."""
    rng = random.Random(seed)  # noqa: S311 (repeatable work)
    held, folders, steps = {}, {}, []
    for number in range(operations):
        kind = rng.choices(
            ["write", "again", "other", "replace", "mutable", "folder", "read", "local", "exists", "keys", "remove"],
            [20, 5, 4, 7, 8, 6, 25, 10, 8, 4, 3],
        )[0]
        old = [key for key in sorted(held) if key.startswith(prefix)]
        if not old and kind in {"again", "other", "replace", "read", "exists", "remove"}:
            kind = "write"
        if not folders and kind == "local":
            kind = "folder"
        content = rng.randbytes(rng.choice([0, 1, 100, 5_000, large]))
        key = f"{prefix}/{number:04d}.bin" if kind == "write" else rng.choice(old or [""])
        if kind in {"folder", "local"}:
            key = f"{prefix}-folders/{number:04d}" if kind == "folder" else rng.choice(sorted(folders))
        if kind == "mutable":
            key = f"report/{prefix}-{rng.randrange(3)}"
        steps.append(Step(kind, key, _do(store, kind, key, content, held, folders, prefix)))
    return steps, held, folders


def _do(store, kind, key, content, held, folders, prefix):
    match kind:
        case "write" | "replace" | "mutable":
            store.write_bytes(key, content, replace=kind == "replace")
            held[key] = content
        case "again":
            store.write_bytes(key, held[key])
        case "other":
            try:
                store.write_bytes(key, held[key] + b"!")
            except ObjectExists:
                return "ok"
            return "another content was accepted"
        case "folder":
            files = {"a.bin": content, "b/c.bin": content[::-1], "empty": b""}
            with store.writing(key) as path:
                for name, data in files.items():
                    (path / name).parent.mkdir(parents=True, exist_ok=True)
                    (path / name).write_bytes(data)
            folders[key] = files
        case "read":
            return "ok" if store.read_bytes(key) == held[key] else "other content came back"
        case "local":
            return "ok" if contents(store.local(key)) == folders[key] else "other files came back"
        case "exists":
            return "ok" if store.exists(key) and not store.exists(f"{key}.never") else "existence is wrong"
        case "keys":
            expected = sorted(key for key in held if key.startswith(f"{prefix}/"))
            return "ok" if store.keys(prefix) == expected else "listing is wrong"
        case "remove":
            store.remove(key)
            del held[key]
    return "ok"


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def lost(store, held, folders):
    """Keys of objects that are gone or altered, seen without faults."""
    gone = []
    for key, content in held.items():
        try:
            if store.read_bytes(key) != content:
                gone.append(key)
        except StoreError:
            gone.append(key)
    for key, files in folders.items():
        try:
            store.verify(key)
            if contents(store.local(key)) != files:
                gone.append(key)
        except StoreError:
            gone.append(key)
    return gone
