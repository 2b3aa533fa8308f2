"""How a configuration looks as a form in the Prefect UI: which fields come first, and which are folded.

Prefect's form (3.7) draws every property of an object, one after the other, and has no sections that open. It does
draw a choice (``anyOf``) as a row of buttons with the chosen alternative below. So a folded field is the choice
between null, which means the default, and the field itself. Where a value is given, the form opens the field.

Of a value that fits no alternative the server says no more than that, with the path of the choice. So the alternatives
are told apart by their type alone. All limits stand beside them, where each fault has a path of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

Schema = dict[str, Any]

USUAL: Final = "as usual"
CHANGED: Final = "change"
"""The buttons of a folded field."""

_LIMITS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern", "minLength", "maxLength")


def arrange(
    fields: dict[str, Schema],
    resolve: Callable[[Schema], Schema],
    *,
    first: Sequence[str],
    folded: Collection[str],
) -> None:
    """Puts fields in their order and folds some, in place.

    Args:
        fields: The properties of a JSON schema, by name.
        resolve: Gives the schema that a ``$ref`` names.
        first: Names of the fields that come first, in their order; the others follow as they are.
        folded: Names of the fields that are folded: objects and lists.
    """
    for position, name in enumerate([*first, *(name for name in fields if name not in first)]):
        field = fields[name]
        if name in folded:
            field = _folded(name, {**(resolve(field) if "$ref" in field else {}), **field})
        fields[name] = field | {"position": position}


def move_limits_beside(field: Schema) -> None:
    """Moves the limits of a value that may be null beside the alternatives, in place; null has none.

    Of a value that fits no alternative the server says no more than that. Limits beside the alternatives are told.
    """
    alternatives = field.get("anyOf", [])
    if len(alternatives) == 2 and alternatives[1] == {"type": "null"}:
        field |= {limit: alternatives[0].pop(limit) for limit in _LIMITS if limit in alternatives[0]}


class LimitsBeside:
    """Marks a flow's own parameter, which is in no section, as one whose limits stand beside the alternatives."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema as the server reads it best."""
        made = handler(schema)
        move_limits_beside(made)
        return made


def _folded(name: str, field: Schema) -> Schema:
    beside = {key: value for key, value in field.items() if key not in ("$ref", "default", "type", "title")}
    changed: Schema = {"type": field["type"], "title": CHANGED}
    if "properties" in field:  # by their names the form finds the alternative that a value belongs to
        changed["properties"] = {key: {} for key in field["properties"]}
    return {
        "title": name.replace("_", " ").title(),
        "anyOf": [{"type": "null", "title": USUAL}, changed],
        **beside,
    }
