"""What a report's page knows of each individual."""

from dataclasses import replace

from cycleqd.report.members import members
from cycleqd.run.records import IndividualRecord, Score
from tests.report.synthetic import genome, records, synthetic_run


def test_every_parent_that_is_named_is_known_down_to_what_has_none(storage: str) -> None:
    store = synthetic_run(storage)
    for skill in ("os", "db"):
        store.write_individual(IndividualRecord(id=f"regmean-{skill}", genome=genome(f"regmean-{skill}")))
    share = IndividualRecord(
        id="merged", genome=genome("merged"), parents=["regmean-os", "regmean-db"], coefficients=[1, 1]
    )
    store.write_individual(share)
    aggregate = store.individual("aggregate").model_copy(update={"parents": ["merged"], "coefficients": [1.0]})
    store.write_individual(aggregate, replace=True)
    known = members(records(store))
    assert {parent for member in known.values() for parent in member.parents} <= known.keys()
    assert known["aggregate"].parents == ["merged"]
    assert known["merged"].parents == ["regmean-os", "regmean-db"]
    assert (known["regmean-os"].kind, known["regmean-os"].origin) == ("other", "share of RegMean of os")
    assert known["average"].parents == ["expert-coding", "expert-os", "expert-db"]
    assert known["average"].kind == "merge"


def test_merge_that_an_archive_was_seeded_with_is_known_with_its_scores(storage: str) -> None:
    store = synthetic_run(storage)
    of = [f"expert-{skill}" for skill in ("coding", "os", "db")]
    store.write_individual(IndividualRecord(id="tsv-1", genome="g", parents=of, coefficients=[1, 1, 1]))
    child = store.generations()[0].model_copy(update={"parents": ["tsv-1"]})
    found, score = records(store), Score.of([1.0, 1.0, 1.0, 0.0])
    scores = {**found.seed.scores, "tsv-1": dict.fromkeys(("coding", "os", "db"), score)}
    known = members(
        found._replace(
            seed=found.seed.model_copy(update={"scores": scores}), history=replace(found.history, children=(child,))
        )
    )
    low, high = score.interval
    assert known["tsv-1"].scores["optimization"]["os"] == f"75.0 ({100 * low:.0f}–{100 * high:.0f})"
    assert known["tsv-1"].parents == of
