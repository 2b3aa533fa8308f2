"""The pages with episodes of whoever is in an archive."""

import pytest

from cycleqd.report import replay, summarise
from cycleqd.report.episode_pages import write_episode_pages
from tests.report.synthetic import synthetic_run


@pytest.mark.parametrize(("bounds", "written"), [({"most": 1}, 1), ({"room": 100}, 0), ({}, None)])
def test_pages_of_individuals_are_bounded_and_those_without_one_are_counted(
    storage: str, bounds: dict[str, int], written: int | None
) -> None:
    store = synthetic_run(storage, generations=12)
    summary, history = summarise(store), replay(store)
    pages = write_episode_pages(store, summary, history, {}, **bounds)
    everyone = write_episode_pages(store, summary, history, {}).held
    assert pages.held == everyone[:written]
    assert pages.left_out == len(everyone) - len(pages.held)
    assert set(everyone) == {one.id for cells in history.now.cells.values() for one in cells.values()}
    means = [sum(member.values()) for name in everyone for member in [_scores_of(history, name)]]
    assert means == sorted(means, reverse=True)


def _scores_of(history, name):
    return next(one.scores for cells in history.now.cells.values() for one in cells.values() if one.id == name)
