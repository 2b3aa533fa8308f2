"""Where a source is, what it is, and which content it has."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from cycleqd.experts.sources.protocol import ExpertSource, SourceInvalid
from cycleqd.faults import MendableFault
from cycleqd.seams import EXPERT_SOURCES
from cycleqd.storage.file_hashes import file_hash

Kind = Literal["adapter", "checkpoint"]

_PATTERNS: Final = ("*.json", "*.safetensors", "*.bin", "*.model", "*.txt", "*.jinja")
_NOT_OURS: Final = ("optimizer", "scheduler", "rng_state", "training_args", "trainer_state")


class SourceUnavailable(MendableFault, RuntimeError):
    """An expert's source cannot be had here: no such folder, not downloaded, no connection."""


class Found(NamedTuple):
    """A source that is here.

    Attributes:
        given: As the configuration names it.
        folder: Where it lies.
        revision: The hub's commit; empty for a folder of one's own.
        kind: Its row in `cycleqd.seams.EXPERT_SOURCES`.
    """

    given: str
    folder: Path
    revision: str
    kind: Kind

    def open(self) -> ExpertSource:
        """The source itself.

        Raises:
            SourceInvalid: Its files are missing, damaged or packed.
        """
        opened: ExpertSource = EXPERT_SOURCES.make(self.kind, self.folder)
        return opened

    def files(self) -> dict[str, str]:
        """SHA-256 of the files that decide on the expert: weights, configuration, tokenizer."""
        names = {file for pattern in _PATTERNS for file in self.folder.glob(pattern) if file.is_file()}
        kept = sorted(file for file in names if not file.name.startswith(_NOT_OURS) and self._is_read(file))
        return {file.name: file_hash(file) for file in kept}

    def _is_read(self, file: Path) -> bool:
        """A folder may hold both forms of weights, and a checkpoint beside an adapter; one is read."""
        if file.suffix not in (".safetensors", ".bin"):
            return True
        if (file.name.startswith("adapter_")) != (self.kind == "adapter"):
            return False
        safe = any(
            one.name.startswith("adapter_") == (self.kind == "adapter") for one in self.folder.glob("*.safetensors")
        )
        return file.suffix == ".safetensors" or not safe


def hash_of(files: dict[str, str]) -> str:
    """One hash over a source's files, by name."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def find(given: str, cache: Path, *, revision: str | None = None) -> Found:
    """Finds a source, downloading it first where it is on the hub.

    Args:
        given: A folder, or a hub id, which ``@`` and a branch, tag or commit may follow.
        cache: Where downloads are kept.
        revision: The hub's commit that a run began with, in place of what `given` says.

    Raises:
        SourceInvalid: It is neither an adapter nor a checkpoint.
        SourceUnavailable: There is no such folder, or the hub does not give it.
    """
    folder, commit = _folder(given, cache, revision)
    if (folder / "adapter_config.json").is_file():
        return Found(given, folder, commit, "adapter")
    if (folder / "config.json").is_file():
        return Found(given, folder, commit, "checkpoint")
    raise SourceInvalid(
        f"expert source {given}: neither a LoRA adapter (no adapter_config.json) nor a checkpoint (no config.json)"
    )


def _folder(given: str, cache: Path, revision: str | None) -> tuple[Path, str]:
    own = Path(given).expanduser()
    if own.is_dir():
        return own.resolve(), ""
    name, _, asked = given.partition("@")
    if own.is_absolute() or given.startswith((".", "~")) or name.count("/") != 1:
        raise SourceUnavailable(
            f"expert source {given}: there is no such folder, and it is no hub id (owner/name, or owner/name@revision)"
        )
    folder = _download(given, name, revision or asked or None, cache)
    return folder, folder.name


def _download(given: str, name: str, revision: str | None, cache: Path) -> Path:
    from huggingface_hub import snapshot_download

    options: dict[str, Any] = {
        "revision": revision,
        "cache_dir": cache / "hub",
        "allow_patterns": list(_PATTERNS),
        "ignore_patterns": [f"{start}*" for start in _NOT_OURS],
    }
    try:
        return Path(snapshot_download(name, **options))
    except Exception as error:  # the hub client raises a dozen unrelated classes for "cannot be had"
        text = " ".join(str(error).split())
        raise SourceUnavailable(
            f"expert source {given}: it cannot be downloaded ({type(error).__name__}: {text:.200}): check the name "
            "and the connection, or give a folder"
        ) from error
