"""Questions to one table: filters, counts, extremes, sums, groups."""

# ruff: noqa: S608 - gold statements are text that only the database of an episode executes
from __future__ import annotations

import numpy as np

from cycleqd.skills.suites.db_templates.tables import (
    AMOUNT,
    CATEGORY,
    KEY,
    PLACE,
    YEAR,
    Row,
    Scene,
    middle,
    question,
    scene,
)
from cycleqd.skills.suites.generation import Draft, Template, between, pick, pick_some, templates_of

_NUMBERS = (AMOUNT, YEAR)
_LABELS = (CATEGORY, PLACE)


def _values(table: Scene, column: int) -> list[str]:
    return sorted({row[column] for row in table.rows})


def _keys(rows: list[Row]) -> list[str]:
    return [row[KEY] for row in rows]


def cell(rng: np.random.Generator) -> Draft:
    """One cell by key."""
    t = scene(rng)
    row, column = pick(rng, t.rows), between(rng, CATEGORY, YEAR)
    name = t.columns[column]
    return question(
        t,
        pick(rng, ("What is the {} of {}?", "Which {} does {} have?")).format(name, row[KEY]),
        f"SELECT {name} FROM {t.theme.table} WHERE {t.columns[KEY]} = '{row[KEY]}';",
        [row[column]],
    )


def count_label(rng: np.random.Generator) -> Draft:
    """Count rows by a label."""
    t, column = scene(rng), pick(rng, _LABELS)
    value = pick(rng, _values(t, column))
    name = t.columns[column]
    return question(
        t,
        f"How many {t.theme.table} have the {name} '{value}'?",
        f"SELECT COUNT(*) FROM {t.theme.table} WHERE {name} = '{value}';",
        [sum(row[column] == value for row in t.rows)],
    )


def list_label(rng: np.random.Generator) -> Draft:
    """Keys by a label."""
    t, column = scene(rng), pick(rng, _LABELS)
    value = pick(rng, _values(t, column))
    key, name = t.columns[KEY], t.columns[column]
    return question(
        t,
        f"List the {key} of all {t.theme.table} with {name} '{value}'.",
        f"SELECT {key} FROM {t.theme.table} WHERE {name} = '{value}';",
        _keys([row for row in t.rows if row[column] == value]),
    )


def list_above(rng: np.random.Generator) -> Draft:
    """Keys by a lower bound."""
    t, column = scene(rng, rows=6), pick(rng, _NUMBERS)
    k = middle(rng, t, column)
    key, name = t.columns[KEY], t.columns[column]
    return question(
        t,
        f"List the {key} of all {t.theme.table} with {name} greater than {k}.",
        f"SELECT {key} FROM {t.theme.table} WHERE {name} > {k};",
        _keys([row for row in t.rows if int(row[column]) > k]),
    )


def count_below(rng: np.random.Generator) -> Draft:
    """Count rows by an upper bound."""
    t, column = scene(rng), pick(rng, _NUMBERS)
    k = middle(rng, t, column)
    name = t.columns[column]
    return question(
        t,
        f"How many {t.theme.table} have a {name} below {k}?",
        f"SELECT COUNT(*) FROM {t.theme.table} WHERE {name} < {k};",
        [sum(int(row[column]) < k for row in t.rows)],
    )


def maximum_where(rng: np.random.Generator) -> Draft:
    """The maximum under a condition."""
    t, column, label = scene(rng), pick(rng, _NUMBERS), pick(rng, _LABELS)
    value = pick(rng, _values(t, label))
    name = t.columns[column]
    return question(
        t,
        f"What is the highest {name} of the {t.theme.table} with {t.columns[label]} '{value}'?",
        f"SELECT MAX({name}) FROM {t.theme.table} WHERE {t.columns[label]} = '{value}';",
        [max(row[column] for row in t.rows if row[label] == value)],
    )


def key_of_highest(rng: np.random.Generator) -> Draft:
    """The key of the row with the maximum."""
    t, column, wanted = scene(rng), pick(rng, _NUMBERS), pick(rng, (KEY, CATEGORY, PLACE))
    key, name = t.columns[wanted], t.columns[column]
    ask = pick(rng, ("Which {} has the highest {} in {}?", "Give the {} with the highest {} in {}."))
    return question(
        t,
        ask.format(key, name, t.theme.table),
        f"SELECT {key} FROM {t.theme.table} ORDER BY {name} DESC LIMIT 1;",
        [max(t.rows, key=lambda row: int(row[column]))[wanted]],
    )


def sum_where(rng: np.random.Generator) -> Draft:
    """A sum under a condition."""
    t, label = scene(rng), pick(rng, _LABELS)
    value = pick(rng, _values(t, label))
    name = t.columns[AMOUNT]
    return question(
        t,
        f"What is the total {name} of the {t.theme.table} with {t.columns[label]} '{value}'?",
        f"SELECT SUM({name}) FROM {t.theme.table} WHERE {t.columns[label]} = '{value}';",
        [float(sum(int(row[AMOUNT]) for row in t.rows if row[label] == value))],
    )


def average_where(rng: np.random.Generator) -> Draft:
    """An average under a condition."""
    t, label = scene(rng), pick(rng, _LABELS)
    value = pick(rng, _values(t, label))
    found = [int(row[AMOUNT]) for row in t.rows if row[label] == value]
    name = t.columns[AMOUNT]
    return question(
        t,
        f"What is the average {name} of the {t.theme.table} with {t.columns[label]} '{value}'?",
        f"SELECT AVG({name}) FROM {t.theme.table} WHERE {t.columns[label]} = '{value}';",
        [sum(found) / len(found)],
    )


def distinct_labels(rng: np.random.Generator) -> Draft:
    """The different values under a condition."""
    t, column, number = scene(rng), pick(rng, _LABELS), pick(rng, _NUMBERS)
    name, k = t.columns[column], middle(rng, t, number)
    return question(
        t,
        f"List the different values of {name} among the {t.theme.table} with {t.columns[number]} of at least {k}.",
        f"SELECT DISTINCT {name} FROM {t.theme.table} WHERE {t.columns[number]} >= {k};",
        sorted({row[column] for row in t.rows if int(row[number]) >= k}),
    )


def count_distinct(rng: np.random.Generator) -> Draft:
    """The number of different values under a condition."""
    t, column, number = scene(rng), pick(rng, _LABELS), pick(rng, _NUMBERS)
    name, k = t.columns[column], middle(rng, t, number)
    return question(
        t,
        f"How many different values of {name} do the {t.theme.table} with {t.columns[number]} below {k} have?",
        f"SELECT COUNT(DISTINCT {name}) FROM {t.theme.table} WHERE {t.columns[number]} < {k};",
        [len({row[column] for row in t.rows if int(row[number]) < k})],
    )


def list_both(rng: np.random.Generator) -> Draft:
    """Keys by a label and a bound."""
    t, label, column = scene(rng), pick(rng, _LABELS), pick(rng, _NUMBERS)
    row = max(pick_some(rng, t.rows, 3), key=lambda r: int(r[column]))
    k = int(row[column]) - 1
    key, name = t.columns[KEY], t.columns[column]
    return question(
        t,
        f"List the {key} of the {t.theme.table} with {t.columns[label]} '{row[label]}' and {name} greater than {k}.",
        f"SELECT {key} FROM {t.theme.table} WHERE {t.columns[label]} = '{row[label]}' AND {name} > {k};",
        _keys([r for r in t.rows if r[label] == row[label] and int(r[column]) > k]),
    )


def list_not(rng: np.random.Generator) -> Draft:
    """Keys by a label that must be absent."""
    t, column = scene(rng, rows=6), pick(rng, _LABELS)
    value = max(_values(t, column), key=lambda v: sum(row[column] == v for row in t.rows))
    key, name = t.columns[KEY], t.columns[column]
    return question(
        t,
        f"List the {key} of the {t.theme.table} whose {name} is not '{value}'.",
        f"SELECT {key} FROM {t.theme.table} WHERE {name} != '{value}';",
        _keys([row for row in t.rows if row[column] != value]),
    )


def best_of_label(rng: np.random.Generator) -> Draft:
    """The key of the maximum under a condition."""
    t, label, column = scene(rng), pick(rng, _LABELS), pick(rng, _NUMBERS)
    value = pick(rng, _values(t, label))
    key, name = t.columns[KEY], t.columns[column]
    return question(
        t,
        f"Which {key} has the highest {name} among the {t.theme.table} with {t.columns[label]} '{value}'?",
        f"SELECT {key} FROM {t.theme.table} WHERE {t.columns[label]} = '{value}' ORDER BY {name} DESC LIMIT 1;",
        [max((row for row in t.rows if row[label] == value), key=lambda row: int(row[column]))[KEY]],
    )


def two_cells(rng: np.random.Generator) -> Draft:
    """Two cells of one row."""
    t = scene(rng)
    row = pick(rng, t.rows)
    a, b = pick_some(rng, (CATEGORY, PLACE, AMOUNT, YEAR), 2)
    return question(
        t,
        f"What are the {t.columns[a]} and the {t.columns[b]} of {row[KEY]}?",
        f"SELECT {t.columns[a]}, {t.columns[b]} FROM {t.theme.table} WHERE {t.columns[KEY]} = '{row[KEY]}';",
        [row[a], row[b]],
    )


def lowest_where(rng: np.random.Generator) -> Draft:
    """The minimum under a condition."""
    t, column, label = scene(rng), pick(rng, _NUMBERS), pick(rng, _LABELS)
    value = pick(rng, _values(t, label))
    name = t.columns[column]
    return question(
        t,
        f"What is the lowest {name} of the {t.theme.table} with {t.columns[label]} '{value}'?",
        f"SELECT MIN({name}) FROM {t.theme.table} WHERE {t.columns[label]} = '{value}';",
        [min(row[column] for row in t.rows if row[label] == value)],
    )


def key_of_lowest(rng: np.random.Generator) -> Draft:
    """The key of the row with the minimum."""
    t, column = scene(rng), pick(rng, _NUMBERS)
    key, name = t.columns[KEY], t.columns[column]
    return question(
        t,
        f"Which {key} has the lowest {name} in {t.theme.table}?",
        f"SELECT {key} FROM {t.theme.table} ORDER BY {name} LIMIT 1;",
        [min(t.rows, key=lambda row: int(row[column]))[KEY]],
    )


def count_both(rng: np.random.Generator) -> Draft:
    """Count rows by two labels."""
    t = scene(rng)
    row = pick(rng, t.rows)
    a, b = t.columns[CATEGORY], t.columns[PLACE]
    return question(
        t,
        f"How many {t.theme.table} have the {a} '{row[CATEGORY]}' and the {b} '{row[PLACE]}'?",
        f"SELECT COUNT(*) FROM {t.theme.table} WHERE {a} = '{row[CATEGORY]}' AND {b} = '{row[PLACE]}';",
        [sum(r[CATEGORY] == row[CATEGORY] and r[PLACE] == row[PLACE] for r in t.rows)],
    )


def sum_above(rng: np.random.Generator) -> Draft:
    """A sum under a bound."""
    t = scene(rng)
    k = middle(rng, t, YEAR)
    name, year = t.columns[AMOUNT], t.columns[YEAR]
    return question(
        t,
        f"What is the total {name} of the {t.theme.table} with {year} greater than {k}?",
        f"SELECT SUM({name}) FROM {t.theme.table} WHERE {year} > {k};",
        [float(sum(int(row[AMOUNT]) for row in t.rows if int(row[YEAR]) > k))],
    )


QUESTION_TEMPLATES: tuple[Template, ...] = (
    *templates_of(
        (
            cell,
            count_label,
            list_label,
            list_above,
            count_below,
            maximum_where,
            key_of_highest,
            sum_where,
            average_where,
            distinct_labels,
            count_distinct,
            list_both,
            list_not,
            best_of_label,
            two_cells,
        )
    ),
    *templates_of((lowest_where, key_of_lowest, count_both, sum_above), held_out=True),
)
