"""Small tables of everyday themes, and the drafts of problems about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cycleqd.skills.suites.generation import Draft, between, pick, pick_some

Row = tuple[str, ...]
_FIRST_NAMES = (
    "Ada", "Ben", "Carla", "Dmitri", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kira", "Liam", "Mona", "Nils",
    "Olga", "Pavel", "Rosa", "Samir", "Tara", "Viktor",
)  # fmt: skip
_PLACES = ("Oslo", "Porto", "Lyon", "Graz", "Turin", "Bergen", "Malmo", "Gent", "Split", "Cork", "Basel", "Leeds")
_TITLES = (
    "Blue Hour", "Cold Harbor", "Dust", "Echo Park", "Far North", "Glass", "High Tide", "Iron Gate", "Late Snow",
    "Moonrise", "Nocturne", "Old Roads", "Paper Moon", "Red Kite", "Silence", "Two Rivers", "Undertow", "White Pine",
)  # fmt: skip
_GOODS = (
    "apron", "basket", "candle", "drill", "easel", "flask", "globe", "hammer", "jug", "kettle", "lamp", "mirror",
    "notebook", "pan", "quilt", "rope", "scale", "teapot", "vase", "whistle",
)  # fmt: skip
_ANIMALS = (
    "Bella", "Coco", "Daisy", "Felix", "Ginger", "Hazel", "Jasper", "Luna", "Milo", "Nala", "Oscar", "Pepper", "Rocky",
    "Simba", "Toby", "Willow",
)  # fmt: skip
_FLIGHTS = (
    "QF12", "LH40", "BA77", "AZ31", "KL88", "SK05", "TP64", "OS19", "LX52", "EI93", "IB28", "AY46",
)  # fmt: skip
_HOTELS = (
    "Astoria", "Bellevue", "Crown", "Dolphin", "Elite", "Forum", "Grand", "Harbour", "Imperial", "Jolly",
    "Kings", "Lido",
)  # fmt: skip
_CODES = (
    "K101", "K118", "K127", "K134", "K142", "K159", "K163", "K176", "K180", "K195", "K208", "K211",
)  # fmt: skip
_LAKES = (
    "Anner", "Bolm", "Corra", "Drell", "Esker", "Fjora", "Garda", "Hovel", "Iseo", "Korpi", "Lomond", "Mjosa",
)  # fmt: skip
_COURSES = (
    "Algebra", "Botany", "Ceramics", "Drawing", "Ethics", "French", "Geology", "Harmony", "Logic", "Mechanics",
    "Optics", "Rhetoric",
)  # fmt: skip


class Theme(NamedTuple):
    """What a table is about.

    Attributes:
        table: The table's name.
        key: Column of unique names.
        names: Values of the key column.
        category: A column of few values, with those values.
        place: A second such column.
        amount: A column of whole numbers, with the lowest and highest value (same number of digits).
        year: A second such column.
    """

    table: str
    key: str
    names: Sequence[str]
    category: tuple[str, Sequence[str]]
    place: tuple[str, Sequence[str]]
    amount: tuple[str, int, int]
    year: tuple[str, int, int]


THEMES: tuple[Theme, ...] = (
    Theme(
        "employees",
        "name",
        _FIRST_NAMES,
        ("team", ("sales", "legal", "design", "support")),
        ("city", _PLACES),
        ("salary", 2100, 9800),
        ("hired", 1998, 2023),
    ),
    Theme(
        "films",
        "title",
        _TITLES,
        ("genre", ("drama", "comedy", "horror", "western")),
        ("country", ("Italy", "Peru", "Japan", "Kenya", "Spain")),
        ("minutes", 72, 99),
        ("year", 1951, 2022),
    ),
    Theme(
        "products",
        "item",
        _GOODS,
        ("material", ("wood", "steel", "glass", "cotton")),
        ("shelf", ("A1", "B2", "C3", "D4", "E5")),
        ("price", 11, 98),
        ("stock", 100, 950),
    ),
    Theme(
        "pets",
        "pet",
        _ANIMALS,
        ("species", ("cat", "dog", "rabbit", "parrot")),
        ("owner", _FIRST_NAMES),
        ("weight", 10, 60),
        ("born", 2005, 2023),
    ),
    Theme(
        "players",
        "player",
        _FIRST_NAMES,
        ("position", ("goalkeeper", "defender", "forward", "winger")),
        ("club", ("Rovers", "United", "Athletic", "Wanderers", "City")),
        ("goals", 10, 95),
        ("caps", 100, 340),
    ),
    Theme(
        "songs",
        "song",
        _TITLES,
        ("style", ("jazz", "folk", "rock", "soul")),
        ("artist", ("The Larks", "Nova", "Grey Owls", "Marta Lind", "Kite")),
        ("plays", 1200, 9900),
        ("year", 1962, 2023),
    ),
    Theme(
        "flights",
        "flight",
        _FLIGHTS,
        ("status", ("landed", "delayed", "boarding", "cancelled")),
        ("destination", _PLACES),
        ("seats", 110, 390),
        ("gate", 10, 59),
    ),
    Theme(
        "books",
        "title",
        _TITLES,
        ("subject", ("history", "poetry", "travel", "science")),
        ("author", ("Kaur", "Novak", "Silva", "Brandt", "Moreau", "Tanaka")),
        ("pages", 120, 890),
        ("year", 1948, 2023),
    ),
    Theme(
        "hotels",
        "hotel",
        _HOTELS,
        ("rating", ("basic", "standard", "superior", "deluxe")),
        ("city", _PLACES),
        ("rooms", 12, 99),
        ("price", 110, 480),
    ),
    Theme(
        "orders",
        "code",
        _CODES,
        ("state", ("open", "paid", "shipped", "returned")),
        ("customer", _FIRST_NAMES),
        ("total", 120, 990),
        ("week", 10, 52),
    ),
    Theme(
        "lakes",
        "lake",
        _LAKES,
        ("water", ("clear", "muddy", "salty", "brackish")),
        ("region", ("north", "south", "east", "west", "centre")),
        ("depth", 12, 97),
        ("area", 110, 980),
    ),
    Theme(
        "courses",
        "course",
        _COURSES,
        ("level", ("beginner", "middle", "advanced", "expert")),
        ("teacher", _FIRST_NAMES),
        ("fee", 100, 890),
        ("places", 11, 48),
    ),
)


@dataclass(frozen=True, slots=True)
class Scene:
    """A theme with rows; the rows' columns are key, category, place, amount, year.

    Attributes:
        theme: What the table is about.
        rows: The rows, with distinct keys and distinct amounts and years.
    """

    theme: Theme
    rows: tuple[Row, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns' names in the order of the table."""
        theme = self.theme
        return (theme.key, theme.category[0], theme.place[0], theme.amount[0], theme.year[0])


KEY, CATEGORY, PLACE, AMOUNT, YEAR = range(5)
"""Positions of a row's columns."""


def scene(rng: np.random.Generator, *, rows: int | None = None) -> Scene:
    """Draws a table; two categories and two places come up more than once."""
    theme = pick(rng, THEMES)
    count = between(rng, 6, 10) if rows is None else rows
    names = pick_some(rng, theme.names, count)
    categories = pick_some(rng, theme.category[1], 3)
    places = pick_some(rng, theme.place[1], 4)
    amounts = _distinct(rng, count, *theme.amount[1:])
    years = _distinct(rng, count, *theme.year[1:])
    found = []
    for i in range(count):
        # The first rows make sure that each category and place exists, twice for the first two.
        category = categories[i % 3] if i < 5 else pick(rng, categories)
        place = places[(i // 2) % 4] if i < 6 else pick(rng, places)
        found.append((names[i], category, place, str(amounts[i]), str(years[i])))
    return Scene(theme, tuple(found[int(i)] for i in rng.permutation(count)))


def _distinct(rng: np.random.Generator, count: int, low: int, high: int) -> list[int]:
    return [low + int(i) for i in rng.permutation(high - low + 1)[:count]]


def middle(rng: np.random.Generator, table: Scene, column: int) -> int:
    """A value of a number column with at least one row above and one below it."""
    values = sorted(int(row[column]) for row in table.rows)
    return values[between(rng, 1, len(values) - 2)]


def _draft(table: Scene, task: str, gold: str, facts: dict[str, Any]) -> Draft:
    return Draft(
        task,
        {
            "table": table.theme.table,
            "columns": list(table.columns),
            "rows": [list(row) for row in table.rows],
            "gold": gold,
            **facts,
        },
    )


def question(table: Scene, task: str, gold: str, answer: Iterable[str | int | float]) -> Draft:
    """A problem whose answer is a list of values.

    Args:
        table: The table.
        task: The question.
        gold: A SELECT statement that gives the answer.
        answer: The values, at least one.

    Raises:
        ValueError: There is no value, so that saying nothing would be right.
    """
    values = list(answer)
    if not values:
        raise ValueError(f"the answer of {task!r} is empty")
    return _draft(table, task, gold, {"kind": "question", "answer": values})


def change(table: Scene, task: str, gold: str, rows: Iterable[Sequence[str]]) -> Draft:
    """A problem that asks for a change of the table.

    Args:
        table: The table before the change.
        task: What to do.
        gold: The statement that does it.
        rows: The table's rows afterwards, in any order, different from before.

    Raises:
        ValueError: Nothing changes, so that doing nothing would be right.
    """
    after = sorted(list(row) for row in rows)
    if after == sorted(list(row) for row in table.rows):
        raise ValueError(f"{task!r} changes nothing")
    return _draft(table, task, gold, {"kind": "change", "after": after})
