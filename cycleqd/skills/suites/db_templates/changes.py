"""Changes of one table: rows added, cells changed, rows deleted."""

# ruff: noqa: S608 - gold statements are text that only the database of an episode executes
from __future__ import annotations

import numpy as np

from cycleqd.skills.suites.db_templates.tables import AMOUNT, CATEGORY, KEY, PLACE, YEAR, Row, change, middle, scene
from cycleqd.skills.suites.generation import Draft, Template, between, pick, templates_of

_NUMBERS = (AMOUNT, YEAR)


def _with(row: Row, column: int, value: str) -> Row:
    return (*row[:column], value, *row[column + 1 :])


def insert_row(rng: np.random.Generator) -> Draft:
    """Add a row."""
    t = scene(rng)
    used = {row[KEY] for row in t.rows}
    new = (
        pick(rng, [name for name in t.theme.names if name not in used]),
        pick(rng, t.theme.category[1]),
        pick(rng, t.theme.place[1]),
        str(between(rng, *t.theme.amount[1:])),
        str(between(rng, *t.theme.year[1:])),
    )
    described = ", ".join(f"{column} {value}" for column, value in zip(t.columns, new, strict=True))
    values = ", ".join(f"'{value}'" for value in new)
    return change(
        t,
        pick(rng, ("Add a row to {}: {}.", "Insert into {} a row with {}.")).format(t.theme.table, described),
        f"INSERT INTO {t.theme.table} VALUES ({values});",
        [*t.rows, new],
    )


def set_number(rng: np.random.Generator) -> Draft:
    """Set one number by key."""
    t, column = scene(rng), pick(rng, _NUMBERS)
    row = pick(rng, t.rows)
    _, low, high = (t.theme.amount, t.theme.year)[column - AMOUNT]
    new = pick(rng, [v for v in range(low, high + 1) if str(v) != row[column]])
    name = t.columns[column]
    ask = pick(rng, ("Set the {} of {} to {}.", "Change the {} of {} to {}."))
    return change(
        t,
        ask.format(name, row[KEY], new),
        f"UPDATE {t.theme.table} SET {name} = '{new}' WHERE {t.columns[KEY]} = '{row[KEY]}';",
        [_with(r, column, str(new)) if r is row else r for r in t.rows],
    )


def set_label(rng: np.random.Generator) -> Draft:
    """Set one label by key."""
    t = scene(rng)
    row = pick(rng, t.rows)
    new = pick(rng, [v for v in t.theme.place[1] if v != row[PLACE]])
    name = t.columns[PLACE]
    ask = pick(rng, ("Set the {} of {} to '{}'.", "Change the {} of {} to '{}'."))
    return change(
        t,
        ask.format(name, row[KEY], new),
        f"UPDATE {t.theme.table} SET {name} = '{new}' WHERE {t.columns[KEY]} = '{row[KEY]}';",
        [_with(r, PLACE, new) if r is row else r for r in t.rows],
    )


def set_number_by_label(rng: np.random.Generator) -> Draft:
    """Set a number by a label."""
    t = scene(rng)
    label = pick(rng, t.rows)[CATEGORY]
    new = str(between(rng, *t.theme.year[1:]))
    if all(row[YEAR] == new for row in t.rows if row[CATEGORY] == label):
        new = str(int(new) + 1)
    name, category = t.columns[YEAR], t.columns[CATEGORY]
    return change(
        t,
        f"Set the {name} of all {t.theme.table} with {category} '{label}' to {new}.",
        f"UPDATE {t.theme.table} SET {name} = '{new}' WHERE {category} = '{label}';",
        [_with(r, YEAR, new) if r[CATEGORY] == label else r for r in t.rows],
    )


def delete_key(rng: np.random.Generator) -> Draft:
    """Delete one row by key."""
    t = scene(rng)
    row = pick(rng, t.rows)
    ask = pick(rng, ("Delete {} from {}.", "Remove the row of {} from {}.", "Take {} out of {}."))
    return change(
        t,
        ask.format(row[KEY], t.theme.table),
        f"DELETE FROM {t.theme.table} WHERE {t.columns[KEY]} = '{row[KEY]}';",
        [r for r in t.rows if r is not row],
    )


def delete_below(rng: np.random.Generator) -> Draft:
    """Delete rows by an upper bound."""
    t, column = scene(rng), pick(rng, _NUMBERS)
    k = middle(rng, t, column)
    name = t.columns[column]
    return change(
        t,
        f"Delete all {t.theme.table} with {name} below {k}.",
        f"DELETE FROM {t.theme.table} WHERE {name} < {k};",
        [r for r in t.rows if int(r[column]) >= k],
    )


def raise_number(rng: np.random.Generator) -> Draft:
    """Add to a number by key."""
    t = scene(rng)
    row, k = pick(rng, t.rows), between(rng, 2, 90)
    name = t.columns[AMOUNT]
    return change(
        t,
        f"Increase the {name} of {row[KEY]} by {k}.",
        f"UPDATE {t.theme.table} SET {name} = {name} + {k} WHERE {t.columns[KEY]} = '{row[KEY]}';",
        [_with(r, AMOUNT, str(int(r[AMOUNT]) + k)) if r is row else r for r in t.rows],
    )


def delete_label(rng: np.random.Generator) -> Draft:
    """Delete rows by a label."""
    t, column = scene(rng), pick(rng, (CATEGORY, PLACE))
    label = pick(rng, t.rows)[column]
    name = t.columns[column]
    ask = pick(rng, ("Delete all {} with {} '{}'.", "Remove every row of {} with {} '{}'."))
    return change(
        t,
        ask.format(t.theme.table, name, label),
        f"DELETE FROM {t.theme.table} WHERE {name} = '{label}';",
        [r for r in t.rows if r[column] != label],
    )


def rename_label(rng: np.random.Generator) -> Draft:
    """Replace a label everywhere."""
    t, column = scene(rng), pick(rng, (CATEGORY, PLACE))
    old = pick(rng, t.rows)[column]
    pool = (t.theme.category, t.theme.place)[column - CATEGORY][1]
    new = pick(rng, [v for v in pool if v != old])
    name = t.columns[column]
    return change(
        t,
        f"Replace the {name} '{old}' by '{new}' in all {t.theme.table}.",
        f"UPDATE {t.theme.table} SET {name} = '{new}' WHERE {name} = '{old}';",
        [_with(r, column, new) if r[column] == old else r for r in t.rows],
    )


def delete_above(rng: np.random.Generator) -> Draft:
    """Delete rows by a lower bound."""
    t, column = scene(rng), pick(rng, _NUMBERS)
    k = middle(rng, t, column)
    name = t.columns[column]
    return change(
        t,
        f"Delete all {t.theme.table} with {name} greater than {k}.",
        f"DELETE FROM {t.theme.table} WHERE {name} > {k};",
        [r for r in t.rows if int(r[column]) <= k],
    )


def set_label_above(rng: np.random.Generator) -> Draft:
    """Set a label by a bound."""
    t, column = scene(rng), pick(rng, _NUMBERS)
    k = middle(rng, t, column)
    highest = max(t.rows, key=lambda row: int(row[column]))
    new = pick(rng, [v for v in t.theme.category[1] if v != highest[CATEGORY]])
    a, b = t.columns[CATEGORY], t.columns[column]
    return change(
        t,
        f"Set the {a} of all {t.theme.table} with {b} greater than {k} to '{new}'.",
        f"UPDATE {t.theme.table} SET {a} = '{new}' WHERE {b} > {k};",
        [_with(r, CATEGORY, new) if int(r[column]) > k else r for r in t.rows],
    )


def lower_number(rng: np.random.Generator) -> Draft:
    """Subtract from a number by key."""
    t = scene(rng)
    row, k = pick(rng, t.rows), between(rng, 2, 9)
    name = t.columns[AMOUNT]
    return change(
        t,
        f"Reduce the {name} of {row[KEY]} by {k}.",
        f"UPDATE {t.theme.table} SET {name} = {name} - {k} WHERE {t.columns[KEY]} = '{row[KEY]}';",
        [_with(r, AMOUNT, str(int(r[AMOUNT]) - k)) if r is row else r for r in t.rows],
    )


CHANGE_TEMPLATES: tuple[Template, ...] = (
    *templates_of(
        (
            insert_row,
            set_number,
            set_label,
            set_number_by_label,
            delete_key,
            delete_below,
            raise_number,
            delete_label,
            rename_label,
        )
    ),
    *templates_of((delete_above, set_label_above, lower_number), held_out=True),
)
