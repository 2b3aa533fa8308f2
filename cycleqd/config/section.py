"""What all sections of a configuration have in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails
from pydantic_core.core_schema import CoreSchema

from cycleqd.config.form import move_limits_beside
from cycleqd.config.prefect_values import plain


def _suit_the_form(schema: dict[str, Any]) -> None:
    """Makes a section's schema one that Prefect's form and server read best."""
    for position, field in enumerate(schema.get("properties", {}).values()):
        # A Prefect server on Postgres forgets the order of keys; its form goes by these numbers.
        field["position"] = position
        move_limits_beside(field)


def _take_no_other_type(schema: Any) -> None:
    """Makes a schema's numbers, truth values and texts strict: pydantic would take true for 1 and "010" for 10."""
    if isinstance(schema, list | tuple):
        for item in schema:
            _take_no_other_type(item)
    elif isinstance(schema, dict):
        if schema.get("type") in ("int", "float", "bool", "str"):
            schema["strict"] = True
        for name, item in schema.items():
            if name not in ("metadata", "default", "serialization"):
                _take_no_other_type(item)


class Section(BaseModel):
    """Base of all configuration sections: immutable, and an unknown key is an error.

    A check of fields against each other belongs to the last of them, as its validator: a model's validators run only
    where every field is right by itself, and would keep their faults to themselves until then.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        json_schema_extra=_suit_the_form,
    )

    @model_validator(mode="before")
    @classmethod
    def _is_plain(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        found, faults = plain(data)
        if faults:
            details = [
                InitErrorDetails(type="value_error", loc=fault.path, input=fault.value, ctx={"error": fault.why})
                for fault in faults
            ]
            raise ValidationError.from_exception_data(cls.__name__, details)
        return found

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler, /) -> CoreSchema:
        """What pydantic makes of the fields, strict in their types."""
        schema = handler(source)
        _take_no_other_type(schema)
        return schema
