"""What a commit record says of itself: whether it is possible at all, and whether its scores win what it claims."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from cycleqd.config import RunConfig
from cycleqd.run.records import GenerationRecord, Score, SeedRecord, means
from cycleqd.search import Search
from cycleqd.search.in_flight import known_of


def impossible_in_seed(config: RunConfig, seed: SeedRecord) -> Iterator[str]:
    """What cannot be so in the seeding's record of a run with this configuration."""
    if not seed.experts:
        yield "it has no experts"
    for name, found in (("genomes", seed.genomes.keys()), ("scores", seed.scores.keys())):
        if set(found) != set(seed.scored):
            yield f"its {name} are not those of whom it names"
    for one in seed.scored:
        for text in _impossible_in_scores(config, seed.scores.get(one, {})):
            yield f"{one}: {text}"


def impossible_in_generation(config: RunConfig, record: GenerationRecord, number: int) -> Iterator[str]:
    """What cannot be so in the commit record of generation `number` of a run with this configuration."""
    skills = config.skill_names
    if record.generation != number:
        yield f"it is the record of generation {record.generation}"
    if record.archive not in ("", *skills):  # none where the search breeds from no archive
        yield f"it names the archive {record.archive!r}; there are {', '.join(skills)}"
    in_flight = config.search.in_flight
    asynchronous = config.search.commit == "completion" and in_flight > 1
    if (record.child is None) == asynchronous:
        yield f"it names {record.child} as its child, and search.commit is {config.search.commit}"
    elif not 0 <= record.index < number + in_flight:
        yield f"it names child {record.child}, and {in_flight} were in flight at most"
    if record.known != (known_of(record.index, in_flight) if asynchronous else None):
        yield f"{record.known} results are said to be known when child {record.index} was proposed"
    yield from _impossible_in_scores(config, record.scores)
    for skill, cell in record.cells.items():
        if skill not in skills:
            yield f"it names the archive {skill!r}; there are {', '.join(skills)}"
        elif len(cell.bins) != len(skills) - 1 or not all(0 <= one < config.grid.bins for one in cell.bins):
            yield f"cell {cell.bins} of {skill} is outside the grid of {config.grid.bins} bins"


def claims_that_differ(search: Search, record: GenerationRecord) -> Iterator[str]:
    """Tells `search`, which learns from it, of the child and compares what comes of it with what its record claims."""
    recipe = search.ask(record.index)
    asked = recipe.archive or ""
    if record.archive != asked:
        place = f"works on {asked}" if asked else "works on none"
        yield f"it names the archive {record.archive or 'of nothing'}, and generation {record.generation} {place}"
    if recipe.again not in (None, record.individual):
        yield f"it is of {record.individual}, and generation {record.generation} scores {recipe.again} again"
    wins = search.tell(record.index, record.individual, means(record.scores))
    won = {skill: (list(win.cell), win.displaced) for skill, win in wins.items() if win}
    claimed = {skill: (cell.bins, cell.displaced) for skill, cell in record.cells.items()}
    for skill in sorted(won.keys() | claimed.keys()):
        if won.get(skill) != claimed.get(skill):
            yield f"in {skill} it claims {_cell(claimed.get(skill))}, its scores win {_cell(won.get(skill))}"


def _impossible_in_scores(config: RunConfig, scores: Mapping[str, Score]) -> Iterator[str]:
    if set(scores) != set(config.skill_names):
        yield f"it has scores of {', '.join(sorted(scores)) or 'nothing'}, not of {', '.join(config.skill_names)}"
    for skill, score in scores.items():
        # Comparisons are false for NaN.
        if not (0.0 <= score.score <= 1.0 and score.n >= 1 and 0.0 <= score.se < math.inf):
            yield f"the score of {skill} is {score.score} ± {score.se} of {score.n} samples"


def _cell(cell: tuple[list[int], str | None] | None) -> str:
    if cell is None:
        return "no cell"
    return f"{cell[0]}" + (f" from {cell[1]}" if cell[1] else "")
