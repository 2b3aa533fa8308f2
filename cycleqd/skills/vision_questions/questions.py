"""Reading questions: TextVQA's files as published, and those of the package `easy-vqa`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

from PIL import Image, UnidentifiedImageError

from cycleqd.skills.benchmarks.benchmark import DataUnavailable, files_sha256, locate
from cycleqd.skills.protocol import Split

INSTALL_EASY_VQA: Final = "pip install 'cycleqd[vqa]'"
TEXTVQA_VERSION: Final = "0.5.1"
PUBLISHED: Final[Mapping[str, int]] = {"train": 34602, "val": 5000}
"""Questions of TextVQA 0.5.1. Nobody outside knows the answers of its test split, so that is not read."""
_ANSWERS: Final = 10
_HELD_OUT: Final = 10
"""One in so many training images scores children, and no expert learns from it."""
_SHOWN: Final = 3
SHAPES: Final = ("circle", "rectangle", "triangle")
_KINDS: Final = {"yes-no": ("yes", "no"), "shape": SHAPES}


class Question(NamedTuple):
    """A question about an image.

    Attributes:
        id: Unique in its data set.
        split: Where it is used.
        text: The question.
        image: The image's file, relative to the data set's folder.
        answers: What people said; one where it is known.
        kind: What sort of question it is.
    """

    id: str
    split: Split
    text: str
    image: str
    answers: tuple[str, ...]
    kind: str


class Questions(NamedTuple):
    """A data set.

    Attributes:
        all: Its questions in the order of the files.
        folder: What images are relative to.
        version: Of the data.
        sha256: Of the files with questions.
    """

    all: Sequence[Question]
    folder: Path
    version: str
    sha256: str


def is_held_out(seed: int, image: str) -> bool:
    """Whether a training image scores children instead of teaching an expert."""
    return digest(seed, image)[0] * 256 + digest(seed, image)[1] < 65536 // _HELD_OUT


def digest(seed: int, text: str) -> bytes:
    """A hash that draws: the same for the same seed and text."""
    return hashlib.sha256(json.dumps([seed, text]).encode()).digest()


def read_easy_vqa(seed: int) -> Questions:
    """The questions of `easy-vqa` (Zhou 2019, https://github.com/vzhou842/easy-VQA): drawn shapes, 13 answers.

    Its test images are the test split. A tenth of its training images is the optimization split.

    Args:
        seed: Draws that tenth.

    Raises:
        DataUnavailable: The package is not installed, or not whole.
    """
    folder = _easy_vqa_folder()
    files = [folder / part / "questions.json" for part in ("train", "test")]
    try:
        parts = [json.loads(file.read_text()) for file in files]
        found = [
            _easy(part, number, row, seed)
            for part, rows in zip(("train", "test"), parts, strict=True)
            for number, row in enumerate(rows)
        ]
    except (OSError, ValueError, TypeError) as error:
        raise DataUnavailable(f"vqa: the package easy-vqa is not whole ({error}): {INSTALL_EASY_VQA}") from None
    return Questions(found, folder, "1.0", files_sha256(files))


def _easy_vqa_folder() -> Path:
    spec = find_spec("easy_vqa")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        return Path(place) / "data"
    raise DataUnavailable(f"vqa: the package easy-vqa, which has images and questions, is missing: {INSTALL_EASY_VQA}")


def _easy(part: str, number: int, row: Sequence[Any], seed: int) -> Question:
    text, answer, image = row
    split: Split = "test" if part == "test" else "train"
    if part == "train" and is_held_out(seed, str(image)):
        split = "optimization"
    kind = next((kind for kind, answers in _KINDS.items() if answer in answers), "colour")
    return Question(f"{part}/{number}", split, str(text), f"{part}/images/{image}.png", (str(answer),), kind)


def read_textvqa(data: str | None, seed: int) -> Questions:
    """TextVQA as published: ``TextVQA_0.5.1_train.json``, ``..._val.json``, and the folder ``train_images``.

    The published validation questions are the test split. A tenth of the training images is the optimization split.

    Args:
        data: The folder; None looks under ``$CYCLEQD_DATA_DIR``.
        seed: Draws that tenth.

    Raises:
        DataUnavailable: A file is missing, has another number of questions than published, or rows that are none.
    """
    name = f"TextVQA_{TEXTVQA_VERSION}"
    if data is not None and not Path(data).expanduser().is_dir():
        raise DataUnavailable(f"textvqa: data is {data}, which is no folder with {name}_train.json")
    (train,) = locate(data, [f"{name}_train.json", f"*/{name}_train.json"], skill="textvqa")[:1]
    files = {"train": train, "val": train.with_name(f"{name}_val.json")}
    found = [question for part, file in files.items() for question in _textvqa(part, file, seed)]
    return Questions(found, train.parent, TEXTVQA_VERSION, files_sha256(list(files.values())))


def _textvqa(part: str, file: Path, seed: int) -> Iterator[Question]:
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))["data"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataUnavailable(f"textvqa: {file} cannot be read ({type(error).__name__}: {error})") from None
    if len(rows) != PUBLISHED[part]:
        raise DataUnavailable(
            f"textvqa: {file.name} has {len(rows)} questions, published are {PUBLISHED[part]}: results could not be "
            "compared; get the file anew"
        )
    for number, row in enumerate(rows):
        try:
            image, answers = str(row["image_id"]), [str(answer) for answer in row["answers"]]
            identifier, text = f"{part}/{row['question_id']}", str(row["question"])
        except (KeyError, TypeError) as error:
            raise DataUnavailable(f"textvqa: {file.name}, question {number}: no {error}") from None
        if len(answers) != _ANSWERS or "/" in image or ".." in image:
            raise DataUnavailable(
                f"textvqa: {file.name}, question {identifier}: expected {_ANSWERS} answers and the name of an image, "
                f"got {len(answers)} and {image!r:.80}"
            )
        split: Split = "test" if part == "val" else "optimization" if is_held_out(seed, image) else "train"
        yield Question(identifier, split, text, f"train_images/{image}.jpg", tuple(answers), part)


def refuse_unfit_images(skill: str, folder: Path, questions: Sequence[Question]) -> None:
    """Looks at the images of questions, without decoding them.

    Raises:
        DataUnavailable: Some are missing or no images; the text names the first few.
    """
    faults = []
    images = dict.fromkeys(question.image for question in questions)
    for image in images:
        try:
            with Image.open(folder / image) as opened:
                opened.size  # noqa: B018 -- reading the header is the test
        except FileNotFoundError:
            faults.append(f"{image} is missing")
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
            faults.append(f"{image} is no image that can be read")
    if faults:
        shown = "; ".join(faults[:_SHOWN]) + ("; ..." if len(faults) > _SHOWN else "")
        raise DataUnavailable(f"{skill}: {len(faults)} of {len(images)} images in {folder} cannot be used: {shown}")
