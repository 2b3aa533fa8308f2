"""The search: seeding the archives, breeding a child, committing its scores."""

from __future__ import annotations

import json
from collections.abc import Mapping

from cycleqd.baselines import candidates, choices
from cycleqd.evaluation.scope import Scope
from cycleqd.run.names import archives_key, child_id, commit_key, expert_id, regmean_id
from cycleqd.run.records import GenerationRecord, IndividualRecord, Phases, Score, SeedRecord, Split, WonCell, means
from cycleqd.run.replay import recipe_of, search_after_all
from cycleqd.run.upkeep.prune import PRUNE_INTERVAL, plan_pruning, prune
from cycleqd.search import Recipe, Search, build_combination
from cycleqd.search.in_flight import known_of
from cycleqd.skills.parts import Part, block
from cycleqd.steps.making import add_made
from cycleqd.steps.workspace import Workspace
from cycleqd.telemetry import metrics
from cycleqd.telemetry.events import event


def seed_archives(ws: Workspace) -> SeedRecord:
    """Commits the experts' scores, which fix the grids, and whom the search begins with besides.

    Offered to all archives are the experts, or baselines too. Where baselines are points of the search's coefficients,
    it is told their scores.
    """
    record = ws.store.seed()
    if record is None:
        experts = [expert_id(skill) for skill in ws.config.skill_names]
        merged = choices(ws.store) if ws.config.archive.seeds == "experts+baselines" else []
        baselines = [choice.candidate.id for choice in merged]
        known, part = _points_of_the_search(ws, experts), first_part(ws)
        scored = dict.fromkeys([*experts, *baselines, *known])
        record = SeedRecord(
            experts=experts,
            genomes={one: ws.store.individual(one).genome for one in scored},
            scores={one: scores_of(ws, one, part) for one in scored},
            part=part,
            baselines=baselines,
            known=known,
        )
        ws.store.write_seed(record)
        event("archives_seeded", run=ws.config.run_id, experts=len(experts))
    return record


def _points_of_the_search(ws: Workspace, experts: list[str]) -> list[str]:
    """Ids of the scored baselines that the search could have made of its coefficients."""
    tried = {choice.candidate.label for choice in choices(ws.store)}
    shares = tuple(map(regmean_id, ws.config.skill_names)) if ws.config.uses_regmean else ()
    space = build_combination(ws.config, tuple(experts), shares)
    baselines = [one.id for one in candidates(ws.config.baselines) if one.label in tried]
    return [one for one in baselines if space.point_of(recipe_of(ws.store.individual(one))) is not None]


def rebuild_search(ws: Workspace) -> Search:
    """The search after the last finished generation, from the commit records alone.

    Raises:
        RuntimeError: The run was not seeded.
    """
    seed = ws.store.seed()
    if seed is None:
        raise RuntimeError(f"run {ws.config.run_id} has no seeded archives: start the run itself first")
    ws.search = search_after_all(ws.store, seed)
    return ws.search


def first_part(ws: Workspace) -> Part:
    """What the experts, the base and the baselines are scored on before the search: its first block."""
    return block(0, ws.config.search.block)


def asked(ws: Workspace, child: int) -> tuple[str, Part]:
    """Whom the search wants to be scored as its child of that number, and on what."""
    recipe = current_search(ws).ask(child)
    return _individual_of(recipe, child), block(recipe.block, ws.config.search.block)


def _individual_of(recipe: Recipe, child: int) -> str:
    return recipe.again or child_id(child)


def breed(ws: Workspace, generation: int) -> IndividualRecord:
    """Makes the child of that number, which the search asks for, unless it is there already."""
    ledger = ws.evaluator.ledger
    with ledger.doing("propose"):
        recipe = current_search(ws).ask(generation)
    identifier = _individual_of(recipe, generation)
    if ws.store.has_individual(identifier):
        return ws.store.individual(identifier)
    if recipe.again is not None:
        raise RuntimeError(
            f"run {ws.config.run_id}: the search scores {identifier} again, which the run does not have "
            f"(search.individual; all-data needs comparison.all_data)"
        )
    config = ws.config
    with ws.clock.measuring("merge"), metrics.merging(config.run_id), ledger.doing("merge"):
        record = IndividualRecord(
            id=identifier,
            genome="",
            generation=generation,
            archive=recipe.archive,
            parents=list(recipe.parents),
            coefficients=list(recipe.coefficients),
            mutation=dict(recipe.mutation),
        )
        record = add_made(ws, recipe, record)
    event(
        "child_bred",
        run=config.run_id,
        generation=generation,
        individual=identifier,
        archive=recipe.archive or "",
        parents=",".join(recipe.parents),
    )
    return record


def commit(
    ws: Workspace,
    generation: int,
    scores: Mapping[str, Score],
    seconds: Phases,
    split: Split | None = None,
    child: int | None = None,
    load: float | None = None,
) -> GenerationRecord:
    """Tells the search the scores of a child and commits them as a generation; may be tried again.

    Args:
        ws: The run.
        generation: The generation: how many were committed before.
        scores: The child's, by skill, on the part of the samples that `asked` named.
        seconds: Where the generation's time went.
        split: The same, activity by activity, where it was measured.
        child: Which child, that `breed` made; the one of the generation's number unless given.
        load: How busy this machine was meanwhile, in [0, 1], where it was measured.
    """
    if ws.store.exists(commit_key(generation)):  # by an attempt that failed after its record was written
        search = rebuild_search(ws)
        committed = ws.store.generations()
        if generation == len(committed) - 1:
            ws.store.write_json(archives_key(generation), json.loads(search.archives.to_json()))
            if ws.tracking:
                ws.tracking.committed(committed[generation], search.archives)
        return committed[generation]
    search, settings = current_search(ws), ws.config.search
    index = generation if child is None else child
    asynchronous = settings.commit == "completion" and settings.in_flight > 1
    # As whoever bred the child asked, maybe another process.
    identifier, part = asked(ws, index)
    individual = ws.store.individual(identifier)
    ws.search = None  # an attempt that fails to write must not count: the search is then rebuilt from the records
    with ws.evaluator.ledger.doing("propose"):
        wins = search.tell(index, individual.id, means(scores))
    cells = {skill: WonCell(bins=list(win.cell), displaced=win.displaced) for skill, win in wins.items() if win}
    record = GenerationRecord(
        generation=generation,
        archive=individual.archive or "",
        individual=individual.id,
        genome=individual.genome,
        parents=individual.parents,
        scores=dict(scores),
        cells=cells,
        seconds=seconds,
        part=part,
        split=split,
        child=index if asynchronous else None,
        known=known_of(index, settings.in_flight) if asynchronous else None,
        load=None if load is None else round(load, 4),
    )
    with ws.evaluator.ledger.doing("store"):
        ws.store.write_generation(record)
        ws.store.write_json(archives_key(generation), json.loads(search.archives.to_json()))
    ws.search = search
    generate, sandbox = seconds.generate, seconds.sandbox
    if split is not None and split.evaluator:  # the engine and the sandboxes are another process'
        generate, sandbox = split.prefill + split.decode, split.sandbox + split.judge
    metrics.count_generation(ws.config.run_id, generation, seconds=seconds.total, sandbox=sandbox, generate=generate)
    if split is not None:
        metrics.count_split(ws.config.run_id, split.seconds)
    ws.export_metrics()
    event(
        "generation_committed",
        run=ws.config.run_id,
        generation=generation,
        individual=individual.id,
        cells=",".join(cells),
        seconds=seconds.total,
    )
    if ws.tracking:
        ws.tracking.committed(record, search.archives)
    return record


def retain(ws: Workspace, generation: int) -> None:
    """Prunes as the configuration's retention says, every `PRUNE_INTERVAL` generations and after the last.

    Args:
        ws: The run.
        generation: The generation that was committed last.
    """
    settings = ws.config.retention
    if settings.policy == "keep-all" or ((generation + 1) % PRUNE_INTERVAL and generation + 1 < ws.config.generations):
        return
    plan = plan_pruning(ws.store, settings.policy, every=settings.every, episodes=settings.episodes)
    freed = prune(ws.store, plan, settings.policy)
    event("pruned", run=ws.config.run_id, generation=generation, individuals=len(plan), bytes=freed)


def current_search(ws: Workspace) -> Search:
    """The search after the last finished generation; rebuilt where this process does not have it."""
    return ws.search if ws.search is not None else rebuild_search(ws)


def scores_of(ws: Workspace, identifier: str, part: Part) -> dict[str, Score]:
    """The finished scores of an individual, by skill.

    Raises:
        RuntimeError: An evaluation is missing.
    """
    records = Scope(ws.evaluator, identifier, part).records()
    return {skill: record.score for skill, record in records.items()}
