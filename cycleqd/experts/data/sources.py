"""Where a data set's rows come from: local JSON, JSONL or Parquet files, or the Hugging Face hub."""

from __future__ import annotations

import gzip
import json
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cycleqd.experts.data.recipes import UnreadableRow
from cycleqd.seams.training_data import RECIPES, Recipe

_SUFFIXES: Final = (".jsonl", ".jsonl.gz", ".json", ".parquet")
_HUB_SECONDS: Final = 10.0
"""How long the hub may take to say that it has a data set."""


class TrainingDataUnavailable(OSError):
    """Training data cannot be had here: no such file, nothing readable in it, no connection to the hub."""


@dataclass(frozen=True, slots=True)
class DataSource:
    """One data set that an expert learns from.

    Attributes:
        recipe: A name of `cycleqd.seams.RECIPES`.
        path: File, folder or hub id; None is the recipe's hub id.
        split: Split of a hub data set; None is the recipe's.
        subset: Only rows of this part.
        max_samples: At most so many conversations.
    """

    recipe: str
    path: str | None = None
    split: str | None = None
    subset: str | None = None
    max_samples: int | None = None

    @property
    def rule(self) -> Recipe:
        """The recipe itself."""
        return RECIPES[self.recipe]

    @property
    def place(self) -> str:
        """The path or hub id that is read."""
        return self.path or self.rule.hub_id or ""


def local_files(source: DataSource) -> list[Path]:
    """The files of a local source, sorted; empty for one on the hub.

    Raises:
        TrainingDataUnavailable: The path looks like a file or folder but holds no data.
    """
    path = Path(source.place).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.name.endswith(_SUFFIXES))
        if not found:
            raise TrainingDataUnavailable(f"{source.place}: the folder holds no file of {', '.join(_SUFFIXES)}")
        return found
    if source.place.endswith(_SUFFIXES) or source.place.startswith((".", "~", "/")) or source.place.count("/") != 1:
        raise TrainingDataUnavailable(f"{source.place}: no such file or folder (a hub id has the form owner/name)")
    return []


def check_source(source: DataSource) -> str:
    """Makes sure, without reading the data, that it can be had.

    Returns:
        What was found, in a few words.

    Raises:
        TrainingDataUnavailable: It cannot; the text says what to set.
    """
    if files := local_files(source):
        if empty := [file for file in files if not file.stat().st_size]:
            raise TrainingDataUnavailable(f"{empty[0]}: the file is empty")
        return f"{len(files)} file(s) at {source.place}"
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:  # the user's word that everything is in the cache
        return f"{source.place} in the local cache, not checked (HF_HUB_OFFLINE)"
    try:
        HfApi().dataset_info(source.place, timeout=_HUB_SECONDS)
    except Exception as error:  # which transport's faults the hub's client lets through depends on its version
        raise TrainingDataUnavailable(_unreachable(source, error)) from None
    return f"{source.place} on the hub"


def rows(source: DataSource) -> Iterator[dict[str, Any]]:
    """The rows of a source, in its order.

    Raises:
        TrainingDataUnavailable: The data cannot be had or read.
    """
    files = local_files(source)
    try:
        yield from _local(files) if files else _hub(source)
    except TrainingDataUnavailable:
        raise
    except Exception as error:  # pyarrow, datasets and the hub's client have no fault in common
        if files:
            raise TrainingDataUnavailable(f"{source.place}: cannot be read: {error}") from None
        raise TrainingDataUnavailable(_unreachable(source, error)) from None


def _local(files: list[Path]) -> Iterator[dict[str, Any]]:
    for file in files:
        if file.suffix == ".parquet":
            yield from _dataset("parquet", data_files=str(file), split="train")
        elif file.suffix == ".json" and _is_array(file):
            yield from _array(file)
        else:
            yield from _lines(file)


def _hub(source: DataSource) -> Iterator[dict[str, Any]]:
    split = source.split or source.rule.split
    if source.rule.hub_file:
        yield from _remote_lines(f"hf://datasets/{source.place}/{source.rule.hub_file.format(split=split)}")
    else:
        yield from _dataset(source.place, split=split)


def _dataset(path: str, **options: str) -> Iterable[dict[str, Any]]:
    """What `datasets.load_dataset` gives; a run whose data are generated never loads that library."""
    import datasets

    rows: Iterable[dict[str, Any]] = datasets.load_dataset(path, **options)
    return rows


def _is_array(file: Path) -> bool:
    """Whether a file is one JSON list; many that end in ``.json`` are JSON lines."""
    with file.open("rb") as stream:
        return stream.read(1024).removeprefix(BOM_UTF8).lstrip().startswith(b"[")


def _array(file: Path) -> Iterator[dict[str, Any]]:
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise TrainingDataUnavailable(f"{file}: not JSON: {error}") from None
    yield from map(_object, found)


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    """A local file's JSON lines. A line that is no UTF-8 costs its row, not the file."""
    with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                text = line.removeprefix(BOM_UTF8 if number == 1 else b"").decode()
            except UnicodeDecodeError as error:
                yield UnreadableRow(f"no UTF-8 text (byte {error.start} of line {number})")
            else:
                if text.strip():
                    yield _parsed(text, str(file), number)


def _remote_lines(file: str) -> Iterator[dict[str, Any]]:
    """JSON lines read as text: rows that lack a field, or have one more, would not fit one Arrow schema."""
    for number, line in enumerate(_dataset("text", data_files=file, split="train"), start=1):
        text = line["text"].removeprefix("\ufeff") if number == 1 else line["text"]
        if text.strip():
            yield _parsed(text, file, number)


def _parsed(text: str, file: str, number: int) -> dict[str, Any]:
    try:
        return _object(json.loads(text))
    except json.JSONDecodeError as error:
        raise TrainingDataUnavailable(f"{file}, line {number}: not JSON: {error}") from None
    except (ValueError, RecursionError) as error:  # JSON, but of a number or a depth beyond all reading
        return UnreadableRow(f"JSON beyond reading in line {number} ({type(error).__name__})")


def _object(row: Any) -> dict[str, Any]:
    return row if isinstance(row, dict) else UnreadableRow(f"{type(row).__name__} in place of an object")


def _unreachable(source: DataSource, error: Exception) -> str:
    return (
        f"{source.place}: the hub does not give this data set ({type(error).__name__}). "
        "Check the id and the network, or download it elsewhere and set the source's path to the file"
    )
