"""Pictures of what models segmented: input, truth, both experts, and the merged model (CycleQD's Figures 7 and 8)."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

from matplotlib.figure import Figure

from cycleqd.config import RunConfig
from cycleqd.evaluation.resources import build_skills
from cycleqd.run.names import AGGREGATE, expert_id
from cycleqd.run.store import RunStore
from cycleqd.skills.segmentation.pictures import text_to_map

SPLIT = "test"


def to_figure(config: RunConfig, *, samples: int = 3) -> bytes:
    """Rows of test samples of every skill, as PNG: input, truth, each expert's map, the final model's.

    Args:
        config: A finished run of segmentation skills.
        samples: Rows of each skill: its first samples.

    Raises:
        RuntimeError: A model was not scored on the test split.
    """
    store, skills = RunStore(config.storage, config.run_id), build_skills(config)
    models = {f"{name} expert": expert_id(name) for name in config.skill_names} | {"ours": AGGREGATE}
    titles = ("input", "truth", *models)
    rows = [(name, row) for name in config.skill_names for row in _rows(store, skills[name], models, samples)]
    figure = Figure(figsize=(1.5 * len(titles), 1.5 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(titles), squeeze=False)
    for line, (name, pictures) in zip(grid, rows, strict=True):
        for axes, title, picture in zip(line, titles, pictures, strict=True):
            axes.imshow(picture, cmap="gray", vmin=0, vmax=255 if title == "input" else 1)
            axes.set_xticks([])
            axes.set_yticks([])
        line[0].set_ylabel(name)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=9)
    content = BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()


def _rows(store: RunStore, skill: Any, models: dict[str, str], samples: int) -> Iterator[list[Any]]:
    replies = []
    for individual in models.values():
        genome = store.individual(individual).genome
        if store.evaluation(genome, skill.name, SPLIT) is None:
            raise RuntimeError(f"run {store.run_id}: {individual} was not scored on the {SPLIT} split of {skill.name}")
        replies.append({one.sample: one.messages[-1]["content"] for one in store.episodes(genome, skill.name, SPLIT)})
    for sample in skill.samples(SPLIT)[:samples]:
        image, truth = skill.picture(sample)
        yield [image, truth.astype(float), *(text_to_map(reply[sample.id]) for reply in replies)]
