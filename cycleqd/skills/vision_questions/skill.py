"""The skills of questions about images: one image, one question, one short answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cycleqd.sandbox import Sandboxes
from cycleqd.skills.benchmarks.benchmark import DataUnavailable, Source, prompt_text
from cycleqd.skills.benchmarks.prompting import conversation
from cycleqd.skills.protocol import (
    NOTHING_BESIDE,
    Episode,
    Message,
    Origin,
    Sample,
    SkillSession,
    Skipped,
    Split,
    Verdict,
)
from cycleqd.skills.vision_questions.accuracy import accuracy, best_answer
from cycleqd.skills.vision_questions.questions import (
    Questions,
    digest,
    read_easy_vqa,
    read_textvqa,
    refuse_unfit_images,
)

PROMPT: Final = Path(__file__).with_name("prompt.txt")
_LONGEST: Final = 400
"""Characters of a reply that are looked at; no answer is as long."""
_SPLITS: Final[tuple[Split, ...]] = ("train", "optimization", "test")


class QuestionEpisode:
    """One reply, one verdict."""

    failed = NOTHING_BESIDE

    def __init__(self, sample: Sample, messages: list[Message]) -> None:
        self.sample = sample
        self.messages = messages
        self._reply = ""

    def act(self, reply: str) -> bool:
        """Takes the reply; the episode is over."""
        self.messages.append({"role": "assistant", "content": reply})
        self._reply = reply
        return True

    def judge(self) -> Verdict:
        """The accuracy of the reply; one that says nothing, or far too much, is wrong."""
        answers: Sequence[str] = self.sample.data["answers"]
        said = self._reply.strip()
        if not said or len(said) > _LONGEST:
            return Verdict(0.0, "no answer" if not said else "more than an answer")
        score = accuracy(said, answers)
        return Verdict(score, "right" if score == 1 else f"{said[:60]!r}, people say {best_answer(answers)!r}")

    def close(self) -> None:
        """Nothing is held."""


class _Session:
    """Episodes share nothing."""

    def __init__(self, messages_of: Callable[[Sample], list[Message]]) -> None:
        self._messages_of = messages_of

    def start(self, sample: Sample) -> Episode:
        """Opens an episode; never blocks."""
        return QuestionEpisode(sample, self._messages_of(sample))


class _VisionQuestions:
    """What both skills share."""

    name: str
    images: tuple[str, ...] = ()
    max_turns = 1
    max_new_tokens = 16
    stop: tuple[str, ...] = ("\n",)
    origin: Origin

    def _build(self, counts: Mapping[Split, int | None], source: Source, found: Questions) -> None:
        self._template, prompt_name = prompt_text(source.prompt_file, PROMPT)
        ids = {f"{self.name}/{question.id}" for question in found.all}
        if unknown := sorted(source.excluded - ids):
            raise DataUnavailable(f"{self.name}: excluded ids that the data does not have: {', '.join(unknown[:3])}")
        skipped = tuple(Skipped(name, "excluded by the configuration") for name in sorted(source.excluded))
        self.origin = Origin(found.version, found.sha256, prompt_name, skipped)
        self._folder = found.folder
        kept = [question for question in found.all if f"{self.name}/{question.id}" not in source.excluded]
        drawn = sorted(kept, key=lambda question: digest(source.split_seed, question.id))
        self._samples: dict[Split, tuple[Sample, ...]] = {}
        used = []
        for split in _SPLITS:
            members = [question for question in drawn if question.split == split]
            count = counts.get(split)
            if count is not None and count > len(members):
                raise DataUnavailable(
                    f"{self.name}: {count} {split} samples were asked for, this data has {len(members)}"
                )
            used += members[:count]
            self._samples[split] = tuple(
                Sample(
                    f"{self.name}/{question.id}",
                    self.name,
                    split,
                    question.kind,
                    {"question": question.text, "image": question.image, "answers": list(question.answers)},
                )
                for question in members[:count]
            )
        refuse_unfit_images(self.name, found.folder, used)
        self._known = frozenset(question.image for question in used)

    def samples(self, split: Split) -> Sequence[Sample]:
        """The samples of a split, in an order that a hash of their ids draws."""
        return self._samples[split]

    def image(self, identifier: str) -> NDArray[np.uint8]:
        """The image that a message names: RGB, shape (height, width, 3).

        Raises:
            KeyError: No sample has such an image.
            DataUnavailable: Its file cannot be decoded.
        """
        name, _, image = identifier.partition("/")
        if name != self.name or image not in self._known:
            raise KeyError(identifier)
        try:
            with Image.open(self._folder / image) as opened:
                return np.asarray(opened.convert("RGB"), dtype=np.uint8)
        except OSError as error:
            raise DataUnavailable(f"{self.name}: {self._folder / image} cannot be decoded: {error}") from None

    def initial_messages(self, sample: Sample) -> list[Message]:
        """The image and the question."""
        messages = conversation(self._template, sample.data["question"])
        messages[-1]["image"] = f"{self.name}/{sample.data['image']}"
        return messages

    def gold_replies(self, sample: Sample) -> list[str]:
        """The answer that most people gave."""
        return [best_answer(sample.data["answers"])]

    def best_score(self, sample: Sample) -> float:
        """What that answer scores: less than 1 where people disagree."""
        return accuracy(best_answer(sample.data["answers"]), sample.data["answers"])

    @contextmanager
    def session(self, sandboxes: Sandboxes) -> Iterator[SkillSession]:
        """Opens nothing: answers are compared in this process."""
        yield _Session(self.initial_messages)


class EasyVqaSkill(_VisionQuestions):
    """Questions about drawn shapes, from the package `easy-vqa`.

    Args:
        counts: Samples per split; None or absent is all of it.
        source: Its `split_seed` draws the optimization split.

    Raises:
        DataUnavailable: The package is missing, or a folder is given.
    """

    name = "vqa"

    def __init__(self, *, counts: Mapping[Split, int | None], source: Source) -> None:
        if source.data is not None:
            raise DataUnavailable("vqa: its data come with the package easy-vqa; for a folder choose textvqa")
        self._build(counts, source, read_easy_vqa(source.split_seed))


class TextVqaSkill(_VisionQuestions):
    """TextVQA: questions about photographs with text in them.

    Args:
        counts: Samples per split; None or absent is all of it.
        source: Where the folder lies; its `split_seed` draws the optimization split.

    Raises:
        DataUnavailable: Files are missing or not as published.
    """

    name = "textvqa"

    def __init__(self, *, counts: Mapping[Split, int | None], source: Source) -> None:
        self._build(counts, source, read_textvqa(source.data, source.split_seed))


CHEATS: Final[Mapping[str, Callable[[Sample], str]]] = {
    "lists many answers": lambda _: "yes no red green blue circle rectangle triangle 0 1 2 3",
    "names no answer": lambda _: "the answer",
}
