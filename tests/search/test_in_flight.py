"""Several children under way at a time, over every row of the table of searches."""

import numpy as np
import pytest

from cycleqd.search import SEARCHES
from cycleqd.search.in_flight import InFlight
from tests.search.test_searches import EXPERTS, begun, place, run, synthetic
from tests.toy_experts import SKILLS

COUNT = 3
by_name = pytest.mark.parametrize("name", SEARCHES)


def in_flight(name, count=COUNT, **settings):
    return InFlight(begun(name, **settings), count)


def as_a_flow(search, children, *, count=COUNT, known=0, places=None):
    """Breeds `count` children at a time and tells their scores in order, as a flow does."""
    places = places if places is not None else dict(zip(EXPERTS, np.eye(3), strict=True))
    recipes = []

    def tell(index):
        search.tell(index, f"g{index:04d}", synthetic(places[f"g{index:04d}"]))

    for index in range(known, children):
        recipes.append(search.ask(index))
        places[f"g{index:04d}"] = place(recipes[-1], places)
        if index - known >= count - 1:
            tell(index - count + 1)
    for index in range(max(known, children - count + 1), children):
        tell(index)
    return recipes, places


@by_name
def test_one_at_a_time_is_the_search_itself(name):
    assert as_a_flow(in_flight(name, 1), 24, count=1)[0] == run(begun(name), 24)[0]


@by_name
@pytest.mark.parametrize("known", [0, 1, 5, 17])
def test_whoever_continues_proposes_what_the_undisturbed_search_does(name, known):
    recipes, _ = as_a_flow(in_flight(name), 24)
    again = in_flight(name)
    places = dict(zip(EXPERTS, np.eye(3), strict=True))
    for index in range(known):  # as replaying commit records asks and tells
        places[f"g{index:04d}"] = place(again.ask(index), places)
        again.tell(index, f"g{index:04d}", synthetic(places[f"g{index:04d}"]))
    assert as_a_flow(again, 24, known=known, places=places)[0] == recipes[known:]


@by_name
def test_parents_are_those_that_had_scores_when_the_child_was_bred(name):
    for index, recipe in enumerate(as_a_flow(in_flight(name), 24)[0]):
        known = {*EXPERTS, *(f"g{earlier:04d}" for earlier in range(index - COUNT + 1))}
        assert set(recipe.parents) <= known


def test_no_more_are_asked_for_than_are_in_flight_and_none_is_told_out_of_turn():
    search = in_flight("cycleqd")
    for index in range(COUNT):
        search.ask(index)
    with pytest.raises(ValueError, match="3 are in flight at most"):
        search.ask(COUNT)
    with pytest.raises(ValueError, match="child 0 is next"):
        search.tell(1, "g0001", dict.fromkeys(SKILLS, 0.5))
    search.tell(0, "g0000", dict.fromkeys(SKILLS, 0.5))
    assert search.ask(COUNT).parents
    with pytest.raises(ValueError, match="at least 1"):
        InFlight(search, 0)
