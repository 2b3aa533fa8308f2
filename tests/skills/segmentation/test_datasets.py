"""Published data sets: the layouts in which they are handed out, written here, and what is wrong with a folder."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cycleqd.skills.benchmarks.benchmark import DATA_VARIABLE, DataUnavailable, Source
from cycleqd.skills.building import build_skill
from cycleqd.skills.segmentation.datasets import DATASETS, read_dataset

SMALL = {"train": 10, "optimization": 3, "test": 4}
FILES = {
    # file of an image, file of its mask, by data set and layout; the names are those of the real files
    ("cod10k", 0): ("COD10K-CAM-1-Aquatic-1-BatFish-{}.jpg", "COD10K-CAM-1-Aquatic-1-BatFish-{}.png"),
    ("cod10k", 1): ("COD10K-CAM-1-Aquatic-1-BatFish-{}.jpg", "COD10K-CAM-1-Aquatic-1-BatFish-{}.png"),
    ("camo", 0): ("camourflage_{}.jpg", "camourflage_{}.png"),
    ("camo", 1): ("camourflage_{}.jpg", "camourflage_{}.png"),
    ("chameleon", 0): ("animal-{}.jpg", "animal-{}.png"),
    ("chameleon", 1): ("animal-{}.jpg", "animal-{}.png"),
    ("kvasir_seg", 0): ("cju0qkwl35piu0993l0dewei{}.png", "cju0qkwl35piu0993l0dewei{}.png"),
    ("kvasir_seg", 1): ("cju0qkwl35piu0993l0dewei{}.jpg", "cju0qkwl35piu0993l0dewei{}.jpg"),
    ("cvc_clinicdb", 0): ("{}.png", "{}.png"),
    ("cvc_clinicdb", 1): ("{}.tif", "{}.tif"),
    ("isic2017", 0): ("ISIC_{}.jpg", "ISIC_{}_segmentation.png"),
    ("leaf_disease", 0): ("{}.jpg", "{}.png"),
    ("leaf_disease", 1): ("{}.jpg", "{}.png"),
    ("leaf_disease", 2): ("{}.jpg", "{}.png"),
}
STRAYS = {
    ("cod10k", 0): "COD10K-NonCAM-2-Land-1-Cat-1.jpg",
    ("isic2017", 0): "ISIC_1_superpixels.png",
    ("kvasir_seg", 0): "12.png",
}


def save(path: Path, size=(9, 7), value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((size[1], size[0]), dtype=np.uint8)
    pixels[2:5, 2:6] = value
    image = Image.fromarray(pixels)
    (image.convert("RGB") if not value else image).save(path)


def write(folder, name, number=0):
    """A small folder in a published layout, and the data set's row with the numbers of that folder."""
    row = DATASETS[name]
    layout = row.layouts[number]
    image, mask = FILES[name, number]
    places = {}
    for offset, (split, place) in enumerate(layout.places.items()):
        for index in range(SMALL[split]):
            key = f"{1000 * (offset + 1) + index}"
            save(folder / place.images / image.format(key))
            save(folder / place.masks / mask.format(key), value=255)
        places[split] = place._replace(published=SMALL[split])
        if (name, number) in STRAYS and split == "train":
            save(folder / place.images / STRAYS[name, number])
    small = layout._replace(places=places, divide=2 if layout.divide else 0)
    return row._replace(layouts=(small,))


@pytest.mark.parametrize(("name", "number"), FILES)
def test_every_published_layout_is_read(name, number, tmp_path):
    row = write(tmp_path, name, number)
    found = read_dataset(name, Source(data=str(tmp_path)), counts={}, row=row)
    sizes = {split: len(entries) for split, entries in found.entries.items()}
    places, divide = row.layouts[0].places, row.layouts[0].divide
    if "train" not in places:
        assert sizes == {"train": 0, "optimization": 0, "test": 4}
    elif "optimization" in places:
        assert sizes == SMALL
    else:
        assert sizes == {"train": 7 if divide else 9, "optimization": 1, "test": 2 if divide else 4}
    files = [entry.image for entries in found.entries.values() for entry in entries]
    assert len(set(files)) == len(files)
    assert all((tmp_path / entry.mask).is_file() for entries in found.entries.values() for entry in entries)


@pytest.mark.parametrize("name", sorted({name for name, _ in FILES}))
def test_a_folder_with_another_number_of_images_than_published_is_refused(name, tmp_path):
    write(tmp_path, name)
    with pytest.raises(DataUnavailable, match=r"has \d+ images of .*, the published split has \d+: the folder is not"):
        read_dataset(name, Source(data=str(tmp_path)), counts={})


def test_the_published_numbers_are_those_of_the_papers():
    counts = {
        name: [(place.published, layout.divide) for layout in row.layouts for place in layout.places.values()]
        for name, row in DATASETS.items()
        if not name.startswith("photos")
    }
    assert counts == {
        "cod10k": [(3040, 0), (2026, 0), (3040, 0), (2026, 0)],
        "camo": [(1000, 0), (250, 0), (1000, 0), (250, 0)],
        "chameleon": [(76, 0), (76, 0)],
        "kvasir_seg": [(900, 0), (100, 0), (1000, 100)],
        "cvc_clinicdb": [(550, 0), (62, 0), (612, 62)],
        "isic2017": [(2000, 0), (150, 0), (600, 0)],
        "leaf_disease": [(498, 0), (90, 0), (588, 90), (588, 90)],
    }


def break_one(folder, how):
    image = sorted((folder / "images").iterdir())[3]
    mask = folder / "masks" / image.name
    if how == "missing":
        mask.unlink()
    elif how == "size":
        save(mask, size=(8, 7), value=255)
    elif how == "cut":
        image.write_bytes(image.read_bytes()[:-40])
    else:
        mask.write_text("no image at all")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", r"its mask masks/.* is missing"),
        ("size", r"the image has 9 x 7 pixels, its mask 8 x 7"),
        ("cut", r"the image cannot be read"),
        ("text", r"the mask cannot be read"),
    ],
)
def test_one_error_names_the_file_that_cannot_be_used(how, said, tmp_path):
    row = write(tmp_path, "kvasir_seg", 1)
    break_one(tmp_path, how)
    with pytest.raises(DataUnavailable, match=f"kvasir_seg: .* has files that cannot be used: .*{said}"):
        read_dataset("kvasir_seg", Source(data=str(tmp_path)), counts={}, row=row)


def test_many_faults_are_one_error_that_counts_them(tmp_path):
    row = write(tmp_path, "kvasir_seg", 1)
    for mask in (tmp_path / "masks").iterdir():
        mask.write_text("")
    with pytest.raises(DataUnavailable, match=r"\(and 7 more\)$"):
        read_dataset("kvasir_seg", Source(data=str(tmp_path)), counts={}, row=row)


def test_a_folder_without_masks_or_of_another_set_is_refused(tmp_path):
    row = write(tmp_path, "kvasir_seg", 1)
    with pytest.raises(DataUnavailable, match="no folder of ISIC 2017"):
        read_dataset("isic2017", Source(data=str(tmp_path)), counts={})
    (tmp_path / "masks").rename(tmp_path / "elsewhere")
    with pytest.raises(DataUnavailable, match="no folder of masks masks"):
        read_dataset("kvasir_seg", Source(data=str(tmp_path)), counts={}, row=row)


def test_a_missing_set_says_where_it_may_lie(monkeypatch, tmp_path):
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    with pytest.raises(DataUnavailable, match=f"{DATA_VARIABLE} to a folder that has it as ISIC-2017"):
        read_dataset("isic2017", Source(), counts={})


def test_a_split_seed_draws_another_division_and_exclusions_are_kept_out(tmp_path):
    row = write(tmp_path, "kvasir_seg", 1)

    def test_split(**settings):
        found = read_dataset("kvasir_seg", Source(data=str(tmp_path), **settings), counts={}, row=row)
        return [entry.id for entry in found.entries["test"]]

    assert test_split() == test_split()
    assert any(test_split() != test_split(split_seed=seed) for seed in (1, 2, 3))
    out = test_split()[0]
    assert out not in test_split(excluded=frozenset({f"kvasir_seg/{out}"}))


REAL = Path(os.environ.get(DATA_VARIABLE, "")) / "vision"


@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the real images ({DATA_VARIABLE})")
@pytest.mark.parametrize("domain", ["polyp", "skin", "leaf"])
def test_real_images_are_read_with_their_objects(domain):
    skill = build_skill(
        f"segmentation:photos_{domain}", counts={"train": 6, "optimization": 3, "test": 5}, source=Source()
    )
    for split, count in {"train": 6, "optimization": 3, "test": 5}.items():
        samples = skill.samples(split)
        assert len(samples) == count
        for sample in samples:
            picture = skill.picture(sample)
            assert picture.image.shape == (128, 128, 3)
            assert 0 < picture.mask.sum() < 0.95 * 128 * 128
