"""Small data in the layouts that are published: of TextVQA's files, and of the package `easy-vqa`."""

import importlib
import json
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

import cycleqd.skills.vision_questions.questions as reading

COLOURS = ("red", "blue", "green", "gray")


def draw(path: Path, colour: str = "red", size: int = 64) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (size, size), "white")
    ImageDraw.Draw(image).ellipse((16, 16, 48, 48), fill=colour)
    image.save(path)


@pytest.fixture
def textvqa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 60 training questions about 30 images and 8 validation questions about 4."""
    folder = tmp_path / "textvqa"
    for part, count, first in (("train", 60, 0), ("val", 8, 100)):
        rows = []
        for number in range(count):
            image = f"{first + number // 2:016x}"
            draw(folder / "train_images" / f"{image}.jpg", COLOURS[number // 2 % 4], 48)
            rows.append(
                {
                    "question": f"what does sign {number} say?",
                    "image_id": image,
                    "image_classes": ["Sign"],
                    "answers": ["stop"] * 5 + ["Stop!"] * 2 + ["go", "halt", "unanswerable"],
                    "question_id": first + number,
                    "set_name": part,
                }
            )
        content = {"dataset_type": part, "dataset_name": "textvqa", "dataset_version": "0.5.1", "data": rows}
        (folder / f"TextVQA_0.5.1_{part}.json").write_text(json.dumps(content))
    monkeypatch.setattr(reading, "PUBLISHED", {"train": 60, "val": 8})
    return folder


@pytest.fixture
def easy_vqa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package `easy-vqa` with 40 and 10 images, two questions each."""
    package = tmp_path / "site" / "easy_vqa"
    for part, count in (("train", 40), ("test", 10)):
        rows = []
        for number in range(count):
            colour = COLOURS[number % 4]
            draw(package / "data" / part / "images" / f"{number}.png", colour)
            rows += [["what color is the shape?", colour, number], ["is there a circle?", "yes", number]]
        (package / "data" / part / "questions.json").write_text(json.dumps(rows))
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.delitem(sys.modules, "easy_vqa", raising=False)
    importlib.invalidate_caches()
    return package
