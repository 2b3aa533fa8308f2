"""Which base model a run began with: ``base.json``, written at the first start and compared with the files at each.

Where it is gone from a run that has begun, it is written again only if the run's scores say that the base is the same.

The identity is the content of the checkpoint's files. Weights are hashed once a machine
(`cycleqd.storage.file_hashes`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

from cycleqd.run.records import Record
from cycleqd.storage import StoreError
from cycleqd.storage.file_hashes import file_hash

CONFIGURATION = ("config.json", "generation_config.json")
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
TOKENIZER = (
    *("tokenizer*", "vocab*", "merges.txt", "added_tokens.json", "special_tokens_map.json"),
    *("*.model", "*.tiktoken", "*.jinja"),
)
_WRITERS = ("transformers_version", "_name_or_path")
"""Keys of a configuration that say who saved the checkpoint; the model is the same without them."""


class BaseDiffers(StoreError):
    """The base model's files are not those that the run began with; the text names them."""


class BaseUnknown(StoreError):
    """``base.json`` is gone, and nothing else in the run says which base model it began with."""


class BaseRecord(Record):
    """What ``base.json`` says.

    Attributes:
        name: As the configuration names the model.
        revision: The commit that was downloaded from the hub; empty for a local folder.
        base: Hash over weights and configuration.
        tokenizer: Hash over the tokenizer's files, chat templates among them.
        files: SHA-256 by file, relative to the checkpoint's folder.
        vision: Hash over the vision tower's folder, where the run's skills show images; else empty.
    """

    name: str
    revision: str = ""
    base: str
    tokenizer: str
    files: dict[str, str]
    vision: str = ""


def identify(name: str, folder: Path, *, vision: Path | None = None) -> BaseRecord:
    """Reads the identity of a checkpoint.

    Args:
        name: As the configuration names it.
        folder: Where it lies.
        vision: Where the vision tower lies that stands in front of it.
    """
    seen = dict(_files(vision, (*CONFIGURATION, *WEIGHTS, "preprocessor_config.json"))) if vision else {}
    model = {key: _content_hash(path) for key, path in _files(folder, (*CONFIGURATION, *WEIGHTS))}
    tokenizer = {key: file_hash(path) for key, path in _files(folder, TOKENIZER)}
    return BaseRecord(
        name=name,
        revision=revision_of(folder),
        base=_over(model),
        tokenizer=_over(tokenizer),
        files=dict(sorted((model | tokenizer).items())),
        vision=_over({key: _content_hash(path) for key, path in seen.items()}) if seen else "",
    )


def revision_of(folder: Path) -> str:
    """The hub's commit of a downloaded checkpoint, whose folder is named after it; empty for any other folder."""
    return folder.name if folder.parent.name == "snapshots" else ""


def refuse_other_base(run_id: str, then: BaseRecord, now: BaseRecord) -> None:
    """Refuses a base whose files differ.

    Raises:
        BaseDiffers: They do.
    """
    if then.vision and now.vision and then.vision != now.vision:
        raise BaseDiffers(
            f"run {run_id!r}: the vision tower is not the one that the run began with (was {then.vision[:12]}, now "
            f"{now.vision[:12]}), so new scores would not mean the same. Restore it, or start a run of another name"
        )
    if (then.base, then.tokenizer) == (now.base, now.tokenizer):
        return
    names = sorted(then.files.keys() | now.files.keys())
    texts = [
        f"{name} {_how(name, then.files, now.files)}" for name in names if then.files.get(name) != now.files.get(name)
    ]
    raise BaseDiffers(
        f"run {run_id!r}: the base model {now.name} is not the one that the run began with: {'; '.join(texts)}. The "
        "experts are differences to that model, so new scores would not mean the same. Restore the files, or start a "
        "run of another name"
    )


def refuse_unknown_base(run_id: str, fingerprints: Iterable[Mapping[str, str]], now: BaseRecord) -> None:
    """For a run that has begun and whose ``base.json`` is gone: holds the base against what its scores say of it.

    A run whose scores all lack fingerprints is of a version that wrote no ``base.json`` either, and may go on.

    Args:
        run_id: The run's name.
        fingerprints: Of all scores of the run; empty for those without one.
        now: The base that this process has.

    Raises:
        BaseDiffers: There are scores of another base.
        BaseUnknown: There are no scores.
    """
    found = list(fingerprints)
    remedy = "Restore base.json from a copy of the run, or start a run of another name"
    if not found:
        raise BaseUnknown(
            f"run {run_id!r}: base.json is gone, and no score says which base model the run began with. The experts "
            f"are differences to that model. {remedy}"
        )
    for fingerprint in found:
        for part, hash_now in (("base", now.base), ("tokenizer", now.tokenizer), ("vision", now.vision)):
            then = fingerprint.get(part, "")
            if then and hash_now and then != hash_now:
                raise BaseDiffers(
                    f"run {run_id!r}: base.json is gone, and the run's scores are of another base model than "
                    f"{now.name} is now ({part} was {then[:12]}, now {hash_now[:12]}). {remedy}"
                )


def _how(name: str, then: Mapping[str, str], now: Mapping[str, str]) -> str:
    if name not in now:
        return "is gone"
    return f"is new ({now[name][:12]})" if name not in then else f"was {then[name][:12]}, now {now[name][:12]}"


def _files(folder: Path, patterns: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    # Some checkpoints keep further chat templates in a folder.
    for path in sorted([*folder.glob("*"), *folder.glob("additional_chat_templates/*")]):
        if path.is_file() and any(fnmatch(path.name, pattern) for pattern in patterns):
            yield path.relative_to(folder).as_posix(), path


def _content_hash(path: Path) -> str:
    if path.name != "config.json":
        return file_hash(path)
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return file_hash(path)
    if isinstance(content, dict):
        content = {key: value for key, value in content.items() if key not in _WRITERS}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _over(hashes: Mapping[str, str]) -> str:
    return hashlib.sha256("".join(f"{name} {value}\n" for name, value in sorted(hashes.items())).encode()).hexdigest()
