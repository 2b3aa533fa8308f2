"""The segmentation skills: one prompt, one map, scored by the measure that the domain is published with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from cycleqd.sandbox import Sandboxes
from cycleqd.skills.benchmarks.benchmark import Source
from cycleqd.skills.protocol import GENERATED, Episode, Message, Origin, Sample, SkillSession, Split, Verdict
from cycleqd.skills.segmentation.datasets import DATASETS, Entry, read_dataset
from cycleqd.skills.segmentation.domains import VARIATIONS, draw, variation_of
from cycleqd.skills.segmentation.metrics import METRICS
from cycleqd.skills.segmentation.pictures import Picture, map_to_text, read_picture, text_to_map
from cycleqd.skills.segmentation.prompts import Kind, prompt_of, to_message

SCORES: Final[Mapping[str, str]] = {"camouflage": "structure", "polyp": "dice", "skin": "iou", "leaf": "iou"}
"""What a search sees of each domain: one measure in [0, 1]. The others stand beside it."""
_WORST: Final[Mapping[str, float]] = {name: float(name == "mae") for name in METRICS}


class _Maker(Protocol):
    """What an episode needs of its skill."""

    measure: str

    def picture(self, sample: Sample) -> Picture:
        """The sample's image and truth."""
        ...

    def initial_messages(self, sample: Sample) -> list[Message]:
        """What the model is shown."""
        ...


class SegmentationEpisode:
    """One reply, one verdict."""

    def __init__(self, skill: _Maker, sample: Sample) -> None:
        self.sample = sample
        self.messages: list[Message] = skill.initial_messages(sample)
        self.failed: Mapping[str, float] = {name: worst for name, worst in _WORST.items() if name != skill.measure}
        self._skill = skill
        self._reply = ""

    def act(self, reply: str) -> bool:
        """Takes the reply; the episode is over."""
        self.messages.append({"role": "assistant", "content": reply})
        self._reply = reply
        return True

    def judge(self) -> Verdict:
        """Measures the map; a reply that is none, or of another size than the image, scores 0."""
        truth, found = self._skill.picture(self.sample).mask, text_to_map(self._reply)
        if found is None:
            return Verdict(0.0, "the reply is no map", self.failed)
        if found.shape != truth.shape:
            return Verdict(0.0, f"the map is {found.shape[1]} x {found.shape[0]}, the image is not", self.failed)
        measured = {name: float(measure(found, truth)) for name, measure in METRICS.items()}
        score = measured.pop(self._skill.measure)
        return Verdict(score, f"{self._skill.measure} {score:.3f}", measured)

    def close(self) -> None:
        """Nothing is held."""


class _Session:
    """Episodes share nothing."""

    def __init__(self, skill: _Maker) -> None:
        self._skill = skill

    def start(self, sample: Sample) -> Episode:
        """Opens an episode; never blocks."""
        return SegmentationEpisode(self._skill, sample)


class _Segmentation:
    """What generated and published domains share."""

    images: tuple[str, ...] = ()
    max_turns = 1
    max_new_tokens = 1
    stop: tuple[str, ...] = ()
    name: str
    measure: str
    origin: Origin = GENERATED
    _prompt: Kind
    _samples: Mapping[Split, tuple[Sample, ...]]

    def samples(self, split: Split) -> Sequence[Sample]:
        """The samples of a split."""
        return self._samples[split]

    def picture(self, sample: Sample) -> Picture:
        """The sample's image and truth."""
        raise NotImplementedError

    def image(self, identifier: str) -> NDArray[np.uint8]:
        """The image of a sample, by its id.

        Raises:
            KeyError: The skill has no such sample.
        """
        return self.picture(self._by_id[identifier]).image

    @property
    def _by_id(self) -> dict[str, Sample]:
        if not hasattr(self, "_known"):
            self._known = {sample.id: sample for samples in self._samples.values() for sample in samples}
        return self._known

    def initial_messages(self, sample: Sample) -> list[Message]:
        """The sample's id and its prompt."""
        content = to_message(sample.id, prompt_of(self.picture(sample).mask, self._prompt))
        return [{"role": "user", "content": content}]

    def gold_replies(self, sample: Sample) -> list[str]:
        """The truth as a map."""
        return [map_to_text(self.picture(sample).mask.astype(float))]

    @contextmanager
    def session(self, sandboxes: Sandboxes) -> Iterator[SkillSession]:
        """Opens nothing: maps are measured in this process."""
        yield _Session(self)


class GeneratedSegmentation(_Segmentation):
    """Drawn pictures of one domain.

    Args:
        name: One of `cycleqd.skills.segmentation.domains.DOMAINS`.
        seed: Decides what is drawn, at least 0.
        counts: Samples per split; one that is left out is empty.
        size: Width and height in pixels.
        prompt: What the model is told.
    """

    def __init__(
        self, *, name: str, seed: int, counts: Mapping[Split, int], size: int = 64, prompt: Kind = "whole"
    ) -> None:
        self.name = name
        self.measure = SCORES[name]
        self._prompt = prompt
        self._samples = {
            split: tuple(self._sample(split, index, seed, size) for index in range(counts.get(split, 0)))
            for split in ("train", "optimization", "test")
        }

    def _sample(self, split: Split, index: int, seed: int, size: int) -> Sample:
        variation = variation_of(split, index)
        data: dict[str, Any] = {"seed": seed, "index": index, "size": size}
        return Sample(
            f"{self.name}/{split}/{index:04d}", self.name, split, f"{self.name}-{variation + 1}-of-{VARIATIONS}", data
        )

    def picture(self, sample: Sample) -> Picture:
        """The sample's image and truth, drawn."""
        return draw(self.name, sample.data["seed"], sample.split, sample.data["index"], sample.data["size"])


class PublishedSegmentation(_Segmentation):
    """Pictures of a published data set, or of a folder of one's own.

    Args:
        name: One of `cycleqd.skills.segmentation.datasets.DATASETS`.
        counts: Samples per split; None or absent is all of it.
        source: Where the folder lies; its `split_seed` draws what is not divided as published.
        prompt: What the model is told.

    Raises:
        DataUnavailable: The folder is missing, not whole, or holds files that cannot be used.
    """

    def __init__(
        self, *, name: str, counts: Mapping[Split, int | None], source: Source, prompt: Kind = "whole"
    ) -> None:
        row = DATASETS[name]
        self.name = name
        self.measure = row.measure
        self._prompt = prompt
        self._row = row
        found = read_dataset(name, source, counts=counts)
        self.origin = Origin(found.version, found.sha256, "ours", found.skipped)
        self._folder = found.folder
        self._samples = {
            split: tuple(self._sample(split, entry) for entry in entries) for split, entries in found.entries.items()
        }

    def _sample(self, split: Split, entry: Entry) -> Sample:
        data = {"image": entry.image, "mask": entry.mask}
        return Sample(f"{self.name}/{entry.id}", self.name, split, self.name, data)

    def picture(self, sample: Sample) -> Picture:
        """The sample's image and truth, read from their files."""
        image, mask = (self._folder / sample.data[what] for what in ("image", "mask"))
        return read_picture(image, mask, self._row.foreground)
