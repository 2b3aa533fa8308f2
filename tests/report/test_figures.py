from __future__ import annotations

import io
from copy import deepcopy
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cycleqd.config import RunConfig
from cycleqd.report import replay, summarise
from cycleqd.report.figures import WORK_COLOURS, draw, progress_figure, seconds_per_generation
from cycleqd.report.heatmaps import archive_figure, growth_figure
from cycleqd.report.history import History, rebuild
from cycleqd.report.style import drawing, png
from cycleqd.run.records import GenerationRecord, Phases, Score, Split, means
from cycleqd.run.store import RunStore
from cycleqd.search.archive import Archives, Grid
from tests.report.synthetic import synthetic_run


def check_image(content: bytes) -> None:
    """An image that opens, of a printable size, with something on it."""
    image = Image.open(io.BytesIO(content))
    image.load()
    assert image.format == "PNG"
    assert min(image.size) >= 250
    pixels = np.asarray(image.convert("L"))
    assert 0.01 < (pixels < 245).mean() < 0.9


def search_of(skills: tuple[str, ...]) -> History:
    """A search of any number of skills, also of more than a configuration names today."""
    rng = np.random.default_rng(3)
    experts = {
        f"expert-{skill}": {other: 0.6 if other == skill else float(rng.uniform(0.1, 0.3)) for other in skills}
        for skill in skills
    }
    children = [
        GenerationRecord(
            generation=number,
            archive=skills[number % len(skills)],
            individual=f"g{number}",
            genome="",
            parents=[],
            scores={skill: Score(score=float(rng.uniform(0.2, 0.7)), n=24, se=0.1) for skill in skills},
            cells={},
            seconds=Phases(generate=1.0),
        )
        for number in range(12)
    ]
    archives = Archives.seeded(skills, {skill: Grid(0.1, 0.7, 5) for skill in skills}, experts)

    def states():
        for child in children:
            archives.insert(child.individual, means(child.scores), child.generation)
            yield archives

    return rebuild(deepcopy(archives), experts, children, states())


def test_a_finished_run_has_all_figures(finished: RunStore) -> None:
    images = {
        key.removeprefix("report/").removesuffix(".png"): finished.read_bytes(key)
        for key in finished.keys("report")
        if key.endswith(".png")
    }
    assert set(images) == {
        "scores-test", "scores-optimization", "archive-coding", "archive-os", "archive-db", "archives-over-time",
        "progress", "time",
    }  # fmt: skip
    for content in images.values():
        check_image(content)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_archives_of_any_number_of_skills_are_drawn(count: int) -> None:
    history = search_of(("coding", "os", "db", "vqa", "segmentation")[:count])
    with drawing():
        for figure in (archive_figure(history, "coding"), growth_figure(history), progress_figure(history)):
            check_image(png(figure))


@pytest.mark.parametrize(("count", "panels"), [(3, 1), (4, 3), (5, 6)])
def test_more_than_two_axes_are_shown_pair_by_pair(count: int, panels: int) -> None:
    history = search_of(("coding", "os", "db", "vqa", "segmentation")[:count])
    with drawing():
        figure = archive_figure(history, "coding")
    assert len([axes for axes in figure.axes if axes.get_xlabel()]) == panels


def test_a_heat_map_has_the_cells_qualities_at_their_bins(finished: RunStore) -> None:
    history = replay(finished)
    assert history.now is not None
    with drawing():
        axes = archive_figure(history, "os").axes[0]
    drawn = np.ma.filled(axes.collections[0].get_array().reshape(15, 15), np.nan)
    cells = history.now.cells["os"]
    for across, up in product(range(15), range(15)):
        if (across, up) in cells:
            assert drawn[up, across] == cells[across, up].scores["os"]
        else:
            assert np.isnan(drawn[up, across])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("coding score, %", "db score, %")


def test_every_expert_is_named_in_every_archive(finished: RunStore) -> None:
    history = replay(finished)
    with drawing():
        for skill in history.skills:
            names = " ".join(text.get_text() for text in archive_figure(history, skill).axes[0].texts)
            assert all(other in names for other in history.skills)


def test_seeded_archives_are_drawn_before_the_first_generation(storage: str) -> None:
    store = synthetic_run(storage, generations=0, planned=9, finished=False)
    images = draw(summarise(store), replay(store))
    assert {"archive-os", "progress", "scores-optimization"} <= set(images)


def test_a_run_that_has_only_begun_has_no_figures(storage: str) -> None:
    store = RunStore(storage, "empty")
    store.open(RunConfig(run_id="empty"))
    assert draw(summarise(store), replay(store)) == {}


def test_equal_records_give_equal_images(finished: RunStore) -> None:
    history = replay(finished)
    with drawing():
        assert png(archive_figure(history, "os")) == png(archive_figure(history, "os"))


@pytest.mark.parametrize("measured", ["all", "some", "none"])
def test_time_of_a_generation_is_drawn_by_activity_where_all_records_have_it_and_by_phase_otherwise(measured):
    history = search_of(("coding", "os"))
    split = Split(merge=1.0, decode=2.0, idle=1.0)
    children = [
        record.model_copy(update={"split": split if measured == "all" or (measured == "some" and number) else None})
        for number, record in enumerate(history.children)
    ]
    axes = Figure().subplots()
    seconds_per_generation(axes, replace(history, children=tuple(children)))
    names = [str(container.get_label()).split()[0] for container in axes.containers]
    assert names == (list(WORK_COLOURS) if measured == "all" else ["train", "generate", "sandbox", "merge", "other"])
    assert (axes.get_legend() is not None) == (measured == "all")


def test_every_activity_has_a_colour_of_its_own():
    assert set(WORK_COLOURS) == set(Split().seconds)
    assert len(set(WORK_COLOURS.values())) == len(WORK_COLOURS)
