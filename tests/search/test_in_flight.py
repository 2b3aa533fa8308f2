"""Several children under way at a time, over every row of the table of searches."""

import numpy as np
import pytest

from cycleqd.search import SEARCHES
from cycleqd.search.in_flight import InFlight, known_of, under_way
from tests.search.test_searches import EXPERTS, begun, place, run, synthetic
from tests.toy_experts import SKILLS

COUNT = 3
by_name = pytest.mark.parametrize("name", SEARCHES)


def in_flight(name, count=COUNT, *, ordered=True, **settings):
    return InFlight(begun(name, **settings), count, ordered=ordered)


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


def completed(children, count, seed):
    """An order in which children may complete, `count` at a time."""
    generator, order = np.random.default_rng(seed), []
    while waiting := under_way(order, count, children):
        order.append(int(generator.choice(waiting)))
    return order


def as_they_complete(search, order, known=0, places=None):
    """Tells children in the given order, and asks for each when there is room, as a flow does."""
    places = places if places is not None else dict(zip(EXPERTS, np.eye(3), strict=True))
    recipes = {}
    for told in range(known, len(order)):
        for index in under_way(order[:told], COUNT, len(order)):
            recipes.setdefault(index, search.ask(index))
            places[f"g{index:04d}"] = place(recipes[index], places)
        individual = f"g{order[told]:04d}"
        search.tell(order[told], individual, synthetic(places[individual]))
    return recipes, places


@by_name
@pytest.mark.parametrize("known", [1, 5, 17])
def test_whoever_continues_a_search_told_as_children_complete_proposes_what_the_undisturbed_one_does(name, known):
    order = completed(24, COUNT, seed=3)
    assert order != sorted(order)
    undisturbed = in_flight(name, ordered=False)
    recipes, places = as_they_complete(undisturbed, order)
    again = in_flight(name, ordered=False)
    for index in order[:known]:  # as replaying commit records asks and tells
        assert again.ask(index) == recipes[index]
        again.tell(index, f"g{index:04d}", synthetic(places[f"g{index:04d}"]))
    rest, _ = as_they_complete(again, order, known, dict(places))
    assert rest == {index: recipe for index, recipe in recipes.items() if index not in order[:known]}
    assert again.archives.to_json() == undisturbed.archives.to_json()
    assert again.answer() == undisturbed.answer()


@by_name
def test_told_in_order_it_is_the_search_that_waits_for_the_order(name):
    order = list(range(24))
    recipes, _ = as_they_complete(in_flight(name, ordered=False), order)
    assert [recipes[index] for index in order] == as_a_flow(in_flight(name), 24)[0]


@by_name
def test_parents_are_those_that_were_told_when_the_child_was_asked_for(name):
    order = completed(24, COUNT, seed=4)
    recipes, _ = as_they_complete(in_flight(name, ordered=False), order)
    for index, recipe in recipes.items():
        told = {f"g{earlier:04d}" for earlier in order[: known_of(index, COUNT)]}
        assert set(recipe.parents) <= {*EXPERTS, *told}


def test_in_any_order_each_is_told_once_and_none_that_is_not_under_way():
    search = in_flight("cycleqd", ordered=False)
    scores = dict.fromkeys(SKILLS, 0.5)
    search.tell(2, "g0002", scores)
    with pytest.raises(ValueError, match="child 2 is told twice"):
        search.tell(2, "g0002", scores)
    with pytest.raises(ValueError, match="child 4 is asked for while 1 have scores: 3 are in flight at most"):
        search.tell(4, "g0004", scores)
    assert search.ask(3).parents
    assert [search.ask(index) for index in (0, 1, 3)] == search.pending


def test_under_way_are_so_many_until_the_last_ones():
    assert under_way([], 3, 10) == [0, 1, 2]
    assert under_way([1, 2, 4], 3, 10) == [0, 3, 5]
    assert under_way([1, 2, 4], 3, 5) == [0, 3]
    assert under_way(range(5), 3, 5) == []
    assert [known_of(index, 3) for index in range(6)] == [0, 0, 0, 1, 2, 3]
