"""Published segmentation data sets: how their folders are laid out, how they are divided, and whether they are whole.

Counts are those of the published splits, after Zhong et al. 2024 (Conv-LoRA, https://arxiv.org/abs/2401.17868): the
paper's own pairs were trained on the same sets. A folder with another number of images is refused, because results on
it could not be compared.

The search needs samples of its own, which no table reports on. They are the published validation images, or a tenth of
the training images, which the experts then do not see.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from cycleqd.skills.benchmarks.benchmark import DATA_VARIABLE, DataUnavailable, Source
from cycleqd.skills.protocol import Skipped, Split
from cycleqd.skills.segmentation.pictures import Foreground, fault_of, read_picture

_SHOWN: Final = 3
_IMAGES: Final = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
_BESIDE: Final = "_superpixels"
"""Ends the names of what ISIC 2017 has beside its images."""
_PARTS: Final[tuple[Split, ...]] = ("train", "optimization", "test")


class Place(NamedTuple):
    """Where the images of one split lie.

    Attributes:
        images: Folder of the images, relative to the data set's.
        masks: Folder of their masks.
        prefix: Only images whose names begin so.
        ending: What a mask's name has after the image's stem, without its suffix.
        published: How many there are; None where any number is right.
    """

    images: str
    masks: str
    published: int | None
    prefix: str = ""
    ending: str = ""


class Layout(NamedTuple):
    """One way in which a data set is handed out.

    Attributes:
        places: By published split.
        divide: Where all images lie together: how many of ``train``'s are drawn for the test split; 0 where they are
            divided as published.
    """

    places: Mapping[Split, Place]
    divide: int = 0


class Row(NamedTuple):
    """A published data set.

    Attributes:
        title: Its name.
        domain: Which of the paper's four domains it belongs to.
        measure: What a search sees of it.
        folders: Where it may lie below the folder that ``CYCLEQD_DATA_DIR`` names.
        layouts: The first whose folders are there is taken.
        foreground: Which pixels of a mask are the object.
        may_be_empty: Whether images without an object are left out instead of played.
    """

    title: str
    domain: str
    measure: str
    folders: tuple[str, ...]
    layouts: tuple[Layout, ...]
    foreground: Foreground = "bright"
    may_be_empty: bool = False


class Entry(NamedTuple):
    """One image with its mask, relative to the data set's folder.

    Attributes:
        id: Split and stem.
        image: The image's file.
        mask: The mask's.
    """

    id: str
    image: str
    mask: str


class Found(NamedTuple):
    """A data set that was read.

    Attributes:
        folder: Where it lies.
        version: Its name and numbers.
        sha256: Over the names and bytes of the files that are used.
        entries: By split.
        skipped: Images that are not played.
    """

    folder: Path
    version: str
    sha256: str
    entries: Mapping[Split, tuple[Entry, ...]]
    skipped: tuple[Skipped, ...]


def _plain(test: str, validation: str = "validation") -> Layout:
    return Layout(
        {
            "train": Place("train/images", "train/masks", None),
            "optimization": Place(f"{validation}/images", f"{validation}/masks", None),
            "test": Place(f"{test}/images", f"{test}/masks", None),
        }
    )


DATASETS: Final[Mapping[str, Row]] = {
    "cod10k": Row(
        "COD10K (Fan 2020)",
        "camouflage",
        "structure",
        ("COD10K-v3", "COD10K"),
        (
            Layout(
                {
                    "train": Place("Train/Image", "Train/GT_Object", 3040, "COD10K-CAM-"),
                    "test": Place("Test/Image", "Test/GT_Object", 2026, "COD10K-CAM-"),
                }
            ),
            Layout(
                {
                    "train": Place("TrainDataset/Imgs", "TrainDataset/GT", 3040, "COD10K-CAM-"),
                    "test": Place("TestDataset/COD10K/Imgs", "TestDataset/COD10K/GT", 2026),
                }
            ),
        ),
    ),
    "camo": Row(
        "CAMO (Le 2019)",
        "camouflage",
        "structure",
        ("CAMO-V.1.0-CVIU2019", "CAMO"),
        (
            Layout({"train": Place("Images/Train", "GT", 1000), "test": Place("Images/Test", "GT", 250)}),
            Layout(
                {
                    "train": Place("TrainDataset/Imgs", "TrainDataset/GT", 1000, "camourflage_"),
                    "test": Place("TestDataset/CAMO/Imgs", "TestDataset/CAMO/GT", 250),
                }
            ),
        ),
    ),
    "chameleon": Row(
        "CHAMELEON (Skurowski 2018)",
        "camouflage",
        "structure",
        ("CHAMELEON",),
        (
            Layout({"test": Place("TestDataset/CHAMELEON/Imgs", "TestDataset/CHAMELEON/GT", 76)}),
            Layout({"test": Place("Imgs", "GT", 76)}),
        ),
    ),
    "kvasir_seg": Row(
        "Kvasir-SEG (Jha 2020)",
        "polyp",
        "dice",
        ("Kvasir-SEG", "kvasir-seg"),
        (
            Layout(
                {
                    "train": Place("TrainDataset/image", "TrainDataset/mask", 900, "c"),
                    "test": Place("TestDataset/Kvasir/images", "TestDataset/Kvasir/masks", 100),
                }
            ),
            Layout({"train": Place("images", "masks", 1000)}, divide=100),
        ),
    ),
    "cvc_clinicdb": Row(
        "CVC-ClinicDB (Bernal 2015)",
        "polyp",
        "dice",
        ("CVC-ClinicDB",),
        (
            Layout(
                {
                    "train": Place("TrainDataset/image", "TrainDataset/mask", 550, "0123456789"),
                    "test": Place("TestDataset/CVC-ClinicDB/images", "TestDataset/CVC-ClinicDB/masks", 62),
                }
            ),
            Layout({"train": Place("Original", "Ground Truth", 612)}, divide=62),
        ),
    ),
    "isic2017": Row(
        "ISIC 2017 (Codella 2018)",
        "skin",
        "iou",
        ("ISIC-2017", "ISIC2017"),
        (
            Layout(
                {
                    "train": Place(
                        "ISIC-2017_Training_Data",
                        "ISIC-2017_Training_Part1_GroundTruth",
                        2000,
                        "ISIC_",
                        "_segmentation",
                    ),
                    "optimization": Place(
                        "ISIC-2017_Validation_Data",
                        "ISIC-2017_Validation_Part1_GroundTruth",
                        150,
                        "ISIC_",
                        "_segmentation",
                    ),
                    "test": Place(
                        "ISIC-2017_Test_v2_Data",
                        "ISIC-2017_Test_v2_Part1_GroundTruth",
                        600,
                        "ISIC_",
                        "_segmentation",
                    ),
                }
            ),
        ),
    ),
    "leaf_disease": Row(
        "Leaf Disease Segmentation (Rath 2023)",
        "leaf",
        "iou",
        ("leaf_disease_segmentation", "leaf-disease-segmentation"),
        (
            Layout(
                {
                    "train": Place("train_images", "train_masks", 498),
                    "test": Place("valid_images", "valid_masks", 90),
                }
            ),
            Layout({"train": Place("data/images", "data/masks", 588)}, divide=90),
            Layout({"train": Place("images", "masks", 588)}, divide=90),
        ),
        "coloured",
    ),
    "photos_polyp": Row("photographs of polyps", "polyp", "dice", ("vision/polyp",), (_plain("test"),)),
    "photos_skin": Row("photographs of skin lesions", "skin", "iou", ("vision/skin",), (_plain("test"),)),
    "photos_leaf": Row(
        "photographs of sick leaves", "leaf", "iou", ("vision/leaf",), (_plain("test"),), "red", may_be_empty=True
    ),
}
"""The published data sets by name; ``photos_*`` are folders of one's own, with any number of images."""


def read_dataset(name: str, source: Source, *, counts: Mapping[Split, int | None], row: Row | None = None) -> Found:
    """Finds a data set's files, and makes sure that they can be used.

    Args:
        name: One of `DATASETS`.
        source: Where its folder lies; its `split_seed` draws what is not divided as published.
        counts: Samples per split; None or absent is all of it. Only files that are used are opened.
        row: In place of the table's.

    Raises:
        DataUnavailable: There is no such folder, the number of its images is not the published one, a split has fewer
            than asked for, or files cannot be used: a mask is missing or has another size than its image, or a file is
            no image. One error names the first few.
    """
    row = row or DATASETS[name]
    if source.prompt_file is not None or source.max_turns is not None:
        raise DataUnavailable(f"{name}: a segmentation skill takes no prompt file and no number of turns")
    folder, layout = _place(name, row, source.data)
    listed = {split: _entries(name, row, folder, split, place) for split, place in layout.places.items()}
    divided = _divided(layout, listed, source.split_seed)
    skipped: list[Skipped] = []
    faults: list[str] = []
    entries: dict[Split, tuple[Entry, ...]] = {}
    for split in _PARTS:
        wanted = [entry for entry in divided.get(split, ()) if f"{name}/{entry.id}" not in source.excluded]
        entries[split] = tuple(_used(name, row, folder, split, wanted, counts.get(split), faults, skipped))
    if faults:
        more = f" (and {len(faults) - _SHOWN} more)" if len(faults) > _SHOWN else ""
        raise DataUnavailable(f"{name}: {folder} has files that cannot be used: {'; '.join(faults[:_SHOWN])}{more}")
    numbers = "/".join(str(len(entries[split])) for split in _PARTS)
    return Found(folder, f"{row.title}, {numbers}", _sha256(folder, entries), entries, tuple(skipped))


def _place(name: str, row: Row, data: str | None) -> tuple[Path, Layout]:
    """The data set's folder, and how it is laid out."""
    if data is not None:
        candidates = [Path(data).expanduser()]
    else:
        known = os.environ.get(DATA_VARIABLE)
        candidates = [Path(known).expanduser() / one for one in row.folders] if known else []
    for folder in candidates:
        for layout in row.layouts:
            if all((folder / place.images).is_dir() for place in layout.places.values()):
                return folder, layout
    first = " + ".join(place.images for place in row.layouts[0].places.values())
    if data is not None:
        raise DataUnavailable(f"{name}: data is {data}, which is no folder of {row.title}: expected {first}")
    raise DataUnavailable(
        f"{name}: set the skill's `data` to the folder of {row.title} (with {first}), or {DATA_VARIABLE} to a folder "
        f"that has it as {' or '.join(row.folders)}; it is not downloaded"
    )


def _entries(name: str, row: Row, folder: Path, split: Split, place: Place) -> list[Entry]:
    if not (folder / place.masks).is_dir():
        raise DataUnavailable(f"{name}: {folder} has images in {place.images}, but no folder of masks {place.masks}")
    masks = {path.stem: path for path in sorted((folder / place.masks).iterdir()) if path.suffix.lower() in _IMAGES}
    found = []
    for path in sorted((folder / place.images).iterdir()):
        if path.suffix.lower() not in _IMAGES or not _begins(path.name, place.prefix):
            continue
        if path.stem.endswith(_BESIDE):
            continue
        stem = f"{path.stem}{place.ending}"
        mask = masks.get(stem, folder / place.masks / f"{stem}.png")
        ends = (path.relative_to(folder).as_posix(), mask.relative_to(folder).as_posix())
        found.append(Entry(f"{split}/{path.stem}", *ends))
    if place.published is not None and len(found) != place.published:
        raise DataUnavailable(
            f"{name}: {folder / place.images} has {len(found)} images of {row.title}, the published split has "
            f"{place.published}: the folder is not whole, or is another release"
        )
    return found


def _begins(file: str, prefix: str) -> bool:
    """Digits stand for any one of them: some sets number their images, and others beside them do not."""
    return file[:1].isdigit() if prefix.isdigit() else file.startswith(prefix)


def _divided(layout: Layout, listed: Mapping[Split, Sequence[Entry]], seed: int) -> dict[Split, list[Entry]]:
    """The three splits, with what no publication divides drawn by a hash of the names."""
    parts = {split: sorted(entries, key=lambda entry: _digest(seed, entry.id)) for split, entries in listed.items()}
    if layout.divide:
        whole = parts["train"]
        parts["test"], parts["train"] = whole[: layout.divide], whole[layout.divide :]
    if "optimization" not in parts and "train" in parts:
        tenth = max(1, len(parts["train"]) // 10)
        parts["optimization"], parts["train"] = parts["train"][:tenth], parts["train"][tenth:]
    return parts


def _used(
    name: str,
    row: Row,
    folder: Path,
    split: Split,
    entries: Sequence[Entry],
    count: int | None,
    faults: list[str],
    skipped: list[Skipped],
) -> list[Entry]:
    """The first `count` entries that have an object; notes what is wrong with files on the way."""
    used: list[Entry] = []
    for entry in entries:
        if count is not None and len(used) == count:
            break
        image, mask = folder / entry.image, folder / entry.mask
        if fault := fault_of(image, mask):
            faults.append(fault)
        elif row.may_be_empty and not read_picture(image, mask, row.foreground).mask.any():
            skipped.append(Skipped(f"{name}/{entry.id}", "the mask is empty"))
            continue
        used.append(entry)
    if count is not None and len(used) < count:
        raise DataUnavailable(f"{name}: {count} {split} samples were asked for, this data has {len(used)}")
    return used


def _sha256(folder: Path, entries: Mapping[Split, Sequence[Entry]]) -> str:
    digest = hashlib.sha256()
    for entry in sorted(entry for part in entries.values() for entry in part):
        for file in (entry.image, entry.mask):
            digest.update(f"{file} {hashlib.sha256((folder / file).read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _digest(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed} {text}".encode()).digest()
