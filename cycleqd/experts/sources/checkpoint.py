"""An expert that is a whole model: its weights minus the base's, names and vocabularies reconciled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch

from cycleqd.base_model import BaseWeights
from cycleqd.checkpoint import CONFIG_FILE, EMBEDDINGS, HEADS, is_buffer
from cycleqd.experts.sources.model_settings import difference, text_settings
from cycleqd.experts.sources.protocol import SourceInvalid, Update
from cycleqd.experts.sources.tensors import StoredTensors, read_json
from cycleqd.experts.sources.vocabulary import Vocabulary, is_by_token
from cycleqd.model_layout import arranged, empty_model
from cycleqd.task_vector import DenseTaskVector, TensorSource
from cycleqd.task_vector.rows import split

_STEMS: Final = ("model", "pytorch_model")


class Checkpoint:
    """A Hugging Face checkpoint in a folder.

    Args:
        folder: Holds ``config.json`` and safetensors (or ``pytorch_model.bin``, read without running it).

    Raises:
        SourceInvalid: It does not, the files are damaged, or the weights are packed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = read_json(folder / CONFIG_FILE)
        self._tensors = StoredTensors(folder, _STEMS, self.config)

    def update(self, base: BaseWeights) -> Update:
        """The expert minus the base; see `ExpertSource`."""
        self._tensors.check_types()
        self._compare_settings(base.path)
        tensors = arranged(self._tensors, base, base.layout, lambda: empty_model(base.path))
        stored = self._names(base, tensors)
        vocabulary = Vocabulary(base.path, self.folder)
        shapes = {name: base.shape(name) for name in base.names()}
        for name, shape in shapes.items():
            theirs = tuple(tensors.shape(stored[name]))
            if is_by_token(name):
                vocabulary.rows(name, theirs[0], shape[0])
                theirs = (shape[0], *theirs[1:])
            if theirs != shape:
                raise self._refusal(f"{name} has shape {theirs}, the base's {shape}: it is of another model")

        def subtracted(name: str, tuned: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
            found = tuned - own
            if not found.isfinite().all():
                raise self._refusal(f"{name} holds NaN or infinite values")
            return found

        def delta(name: str) -> torch.Tensor:
            own, tuned = base.tensor(name, torch.float32), tensors.tensor(stored[name])
            return subtracted(name, vocabulary.take(name, tuned, own) if is_by_token(name) else tuned, own)

        def blocks(name: str, rows: int) -> Iterator[torch.Tensor]:
            theirs = tensors.shape(stored[name])
            if is_by_token(name) and vocabulary.rows(name, theirs[0], shapes[name][0]) is not None:
                return split(delta(name), rows)  # rows are where their tokens are
            pairs = zip(tensors.blocks(stored[name], rows), base.blocks(name, rows, torch.float32), strict=True)
            return (subtracted(name, tuned, own) for tuned, own in pairs)

        notes = list(vocabulary.notes())
        if self._tensors.scaled:
            notes.append(
                f"{self._tensors.scaled} weights were stored in 8 bits and are multiplied by their scales; what "
                "rounding to 8 bits did to them is part of the task vector"
            )
        plain = not (vocabulary.moved or self._tensors.scaled)
        return Update({}, DenseTaskVector(shapes, delta, blocks), tuple(notes), plain)

    def check_values(self) -> None:
        """Reads all stored numbers once; see `ExpertSource`."""
        self._tensors.check_values()

    def _refusal(self, text: str) -> SourceInvalid:
        return SourceInvalid(f"expert source {self.folder}: {text}")

    def _names(self, base: BaseWeights, tensors: TensorSource) -> dict[str, str]:
        """For each of the base's parameters the name of the source's tensor."""
        ours = base.names()
        theirs = [name for name in tensors.names() if not is_buffer(name, tuple(tensors.shape(name)))]
        found = max((_prefixed(ours, theirs, prefix) for prefix in _prefixes(ours, theirs)), key=len)
        left = sorted(set(theirs) - set(found.values()))
        embedding = next((found[name] for name in ours if name.endswith(EMBEDDINGS) and name in found), None)
        for head in [name for name in left if name.endswith(HEADS)]:
            # The base ties its head; the source may repeat the embedding under the head's name, as some tools do.
            if embedding is None or not torch.equal(self._tensors.tensor(head), self._tensors.tensor(embedding)):
                raise self._refusal(
                    f"{head} is an output head of its own, and the base ties its head to its embedding: there is no "
                    "parameter to add the difference to; use a base whose head is untied"
                )
            left.remove(head)
        for name in [one for one in ours if one not in found and one.endswith(HEADS)]:
            if embedding is not None and self._ties():
                found[name] = embedding
        if missing := [name for name in ours if name not in found]:
            more = f" (it has {left[0]} instead)" if left else ""
            raise self._refusal(f"it lacks {missing[0]}{more}, {len(missing)} such: it is of another model")
        if left:
            raise self._refusal(f"it has {left[0]}, which the base has not, {len(left)} such: it is of another model")
        return found

    def _ties(self) -> bool:
        return bool(text_settings(self.folder).get("tie_word_embeddings", False))

    def _compare_settings(self, base: Path) -> None:
        if (found := difference(base, self.folder)) is not None:
            raise self._refusal(
                f"config.json: {found.key} is {found.theirs!r:.80}, the base's {found.ours!r:.80}: the same weights "
                "would mean something else, so they cannot be merged"
            )


def _prefixes(ours: tuple[str, ...], theirs: list[str]) -> list[tuple[str, str]]:
    """What might have to be put in front of, or taken from, the source's names."""
    pairs = [("", "")]
    for one in ours[:50]:
        for other in theirs:
            if one != other and one.endswith(f".{other}"):
                pairs.append((one.removesuffix(other), ""))
            elif one != other and other.endswith(f".{one}"):
                pairs.append(("", other.removesuffix(one)))
    return list(dict.fromkeys(pairs))


def _prefixed(ours: tuple[str, ...], theirs: list[str], prefix: tuple[str, str]) -> dict[str, str]:
    added, removed = prefix
    known = set(theirs)
    found = {}
    for name in ours:
        other = f"{removed}{name.removeprefix(added)}"
        if (not added or name.startswith(added)) and other in known:
            found[name] = other
        elif name in known:
            found[name] = name
    return found
