"""A whole CycleQD search in a few seconds, without a language model, Docker or Prefect.

    python examples/toy_search.py [SEARCH]

The "models" are two small matrices each, and a made-up score says how close a model is to what a skill wants. All
the rest is real: archives, recipes, task vectors, merges, mutations. SEARCH is any name of `cycleqd.seams.SEARCHES`.
"""

import math
import sys

import torch

from cycleqd.config import RunConfig, SearchConfig, SkillConfig
from cycleqd.randomness import rng
from cycleqd.run.names import child_id, expert_id
from cycleqd.search import Recipe, Start, build_mutation, build_search, make
from cycleqd.search.archive import Archives, grids_from_experts
from cycleqd.task_vector import DenseTaskVector, TaskVector

SKILLS, GENERATIONS = ("coding", "os", "db"), 60
SHAPES = {"up": (4, 3), "down": (3, 4)}


def drawn(purpose: str) -> DenseTaskVector:
    """A task vector of random numbers, always the same for the same purpose."""
    tensors = {name: torch.from_numpy(rng(0, 0, f"{purpose} {name}").normal(size=SHAPES[name])) for name in SHAPES}
    return DenseTaskVector(SHAPES, lambda name: tensors[name].float())


SHARED, OWN = drawn("shared"), {skill: drawn(skill) for skill in SKILLS}
# What each skill wants: half of it is the same for all skills. An expert learns its own half too well.
WANTED = {skill: SHARED.combine(1.0, [(0.5, OWN[skill])]) for skill in SKILLS}
EXPERTS = {expert_id(skill): SHARED.combine(0.8, [(1.0, OWN[skill])]) for skill in SKILLS}


def score(vector: TaskVector) -> dict[str, float]:
    """How good a model is at each skill, in [0, 1]; a real run lets it act in sandboxes instead."""
    far = {skill: vector.combine(1.0, [(-1.0, wanted)]) for skill, wanted in WANTED.items()}
    squares = {skill: sum(float(gap.delta(name).square().sum()) for name in SHAPES) for skill, gap in far.items()}
    return {skill: math.exp(-square / 8) for skill, square in squares.items()}


def shown(name: str, scores: dict[str, float]) -> str:
    """A model's scores as a line of text."""
    listed = "  ".join(f"{skill} {value:.2f}" for skill, value in scores.items())
    return f"{name:14} {listed}  mean {sum(scores.values()) / len(scores):.3f}"


kind = sys.argv[1] if len(sys.argv) > 1 else "cycleqd"
skills = tuple(SkillConfig(name=skill) for skill in SKILLS)
config = RunConfig(generations=GENERATIONS, skills=skills, search=SearchConfig(kind=kind))
vectors: dict[str, TaskVector] = dict(EXPERTS)
known = {expert: score(vector) for expert, vector in vectors.items()}
archives = Archives.seeded(SKILLS, grids_from_experts(list(known.values()), bins=6), known)
search = build_search(config, Start(0, GENERATIONS, archives, tuple(EXPERTS), samples=(100,) * len(SKILLS)))
mutation = build_mutation(config.mutation)


def made(recipe: Recipe) -> TaskVector:
    """The task vector of a recipe."""
    return make(recipe, vectors.__getitem__, mutation=mutation, expert_of=expert_id).task_vector


for index in range(GENERATIONS):
    recipe, child = search.ask(index), child_id(index)
    vectors[child] = DenseTaskVector.of(made(recipe))
    search.tell(index, child, score(vectors[child]))

for skill in SKILLS:
    archive = search.archives[skill]
    rows, columns = archive.grids
    print(f"archive of {skill}: its best score in each cell; down the score in {rows}, to the right in {columns}")
    for row in range(archive.grids[rows].bins):
        cells = [archive.cells.get((row, column)) for column in range(archive.grids[columns].bins)]
        print("  " + " ".join(f"{one.scores[skill]:.2f}" if one else "   ." for one in cells))
for expert in EXPERTS:
    print(shown(expert, known[expert]))
print(shown("answer", score(made(search.answer()))), " made of", ", ".join(search.answer().parents))
