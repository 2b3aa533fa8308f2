from __future__ import annotations

from cycleqd.config import RunConfig
from cycleqd.report import replay
from cycleqd.run.store import RunStore
from tests.report.synthetic import synthetic_run


def test_progress_starts_with_the_experts_and_has_a_point_per_generation(finished: RunStore) -> None:
    history = replay(finished)
    assert len(history.progress) == 7
    first = history.progress[0]
    for skill in history.skills:
        scores = [expert[skill] for expert in history.experts.values()]
        assert first.best[skill] == max(scores)


def test_the_best_of_an_archive_never_falls(finished: RunStore) -> None:
    history = replay(finished)
    for skill in history.skills:
        best = [point.best[skill] for point in history.progress]
        assert best == sorted(best)


def test_the_cells_are_those_that_the_generations_recorded(finished: RunStore) -> None:
    history = replay(finished)
    assert history.now is not None
    for record in finished.generations():
        for skill, cell in record.cells.items():
            assert tuple(cell.bins) in history.now.cells[skill]
    for skill in history.skills:
        holders = {one.id for one in history.now.cells[skill].values()}
        winners = {record.individual for record in finished.generations() if skill in record.cells}
        assert holders <= winners | set(history.experts)


def test_snapshots_run_from_the_experts_to_now(storage: str) -> None:
    history = replay(synthetic_run(storage, generations=9, finished=False))
    assert [shot.generations for shot in history.snapshots] == [0, 3, 6, 9]
    assert {one.id for one in history.snapshots[0].cells["os"].values()} <= set(history.experts)


def test_axes_are_the_other_skills_bin_edges(finished: RunStore) -> None:
    history = replay(finished)
    axes = history.axes["os"]
    assert [axis.skill for axis in axes] == ["coding", "db"]
    worst = min(scores["db"] for scores in history.experts.values())
    assert axes[1].edges[0] == 0.85 * worst
    assert len(axes[1].edges) == 16


def test_before_the_seeding_there_is_no_history(storage: str) -> None:
    store = RunStore(storage, "empty")
    store.open(RunConfig(run_id="empty"))
    history = replay(store)
    assert history.now is None
    assert history.elites == {}
