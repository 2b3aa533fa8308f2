"""Captions of drawn shapes, from what the questions of `easy-vqa` say of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cycleqd.skills.benchmarks.benchmark import DataUnavailable
from cycleqd.skills.vision_questions.questions import SHAPES, Question, read_easy_vqa, refuse_unfit_images


class Captioned(NamedTuple):
    """An image with what is on it.

    Attributes:
        image: RGB, shape (height, width, 3).
        text: Colour and shape, e.g. ``blue circle``.
    """

    image: NDArray[np.uint8]
    text: str


def captions(seed: int = 0) -> list[Captioned]:
    """Images of the train split of which colour and shape are known, in the order of the files.

    Args:
        seed: As for the skill: images of the optimization split are not among them.

    Raises:
        DataUnavailable: The package is missing, or no image's colour is known.
    """
    found = read_easy_vqa(seed)
    colours = {question.answers[0] for question in found.all if question.kind == "colour"}
    words = {"colour": sorted(colours), "shape": SHAPES}
    known: dict[str, dict[str, str]] = {}
    for question in found.all:
        if question.split == "train":
            for kind, word in said_of(question, words):
                known.setdefault(question.image, {})[kind] = word
    whole = {image: facts for image, facts in known.items() if len(facts) == len(words)}
    if not whole:
        raise DataUnavailable("vqa: no training image's colour and shape are known: is the package easy-vqa whole?")
    refuse_unfit_images("vqa", found.folder, [question for question in found.all if question.image in whole])
    shown = []
    for image, facts in whole.items():
        with Image.open(found.folder / image) as opened:
            pixels = np.asarray(opened.convert("RGB"), dtype=np.uint8)
        shown.append(Captioned(pixels, f"{facts['colour']} {facts['shape']}"))
    return shown


def said_of(question: Question, words: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, str]]:
    """What a question and its answer say of an image.

    A question names what it asks about ("is there a red shape?"), and an answer what was asked for. Where the answer
    is yes, or the question has a "not" and the answer is no, what the question names is there.

    Args:
        question: The question.
        words: Colours and shapes.

    Yields:
        ``colour`` or ``shape``, with the word.
    """
    answer, asked = question.answers[0], question.text.replace("?", " ").split()
    holds = question.kind != "yes-no" or (answer == "yes") != ("not" in asked)
    for kind, known in words.items():
        if question.kind == kind:
            yield kind, answer
        elif holds and (named := [word for word in known if word in asked]):
            yield kind, named[0]
