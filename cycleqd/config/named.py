"""Sections of a configuration that choose a class by name and hold its settings."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Final, Self

from pydantic import (
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, core_schema

from cycleqd.config.section import Section
from cycleqd.seams import SeamTable
from cycleqd.seams.table import Setting

_NOT_ONE: Final = "expected one finite number, one text, true or false"


def _is_setting(value: Any) -> bool:
    return isinstance(value, Setting) and not (isinstance(value, float) and not math.isfinite(value))


class Named:
    """Marks a text as a name in a table: others are refused, and forms offer the names.

    Args:
        table: The table.
        without: Names of it that cannot be chosen here.
    """

    def __init__(self, table: SeamTable, without: tuple[str, ...] = ()) -> None:
        self._table = table
        self._without = without

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        names = {"type": "string", "enum": self._names()}
        if self._table.group is None:
            return names
        return {"anyOf": [names, {"type": "string", "pattern": r"^[\w.]+:\w+$", "title": "module:Class"}]}

    def _names(self) -> list[str]:
        return [name for name in self._table.names() if name not in self._without]

    def _checked(self, name: str) -> str:
        if name in self._without:
            raise ValueError(f"{name!r} cannot be chosen here; there are {', '.join(self._names())}")
        return self._table.check(name)


class NamedSection(Section):
    """A section that chooses a class by name and takes, beside its own fields, all settings of that class.

    Settings that are no fields are found in the class's constructor, so that a new class needs no new field. What the
    class says of their values is told like any other fault.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Setting]

    NAME: ClassVar[str] = "kind"
    """The field that holds the name."""
    TABLE: ClassVar[SeamTable]
    COMPLETE: ClassVar[bool] = True
    """Whether the settings suffice to make the object, so that it is made to see what it says of them."""
    ELSEWHERE: ClassVar[tuple[str, ...]] = ()
    """What the constructor names and the section does not say."""

    @model_validator(mode="wrap")
    @classmethod
    def _has_such_settings(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        faults: list[InitErrorDetails] = []
        section = None
        try:
            section = handler(data)
        except ValidationError as error:
            faults += [
                InitErrorDetails(type=fault["type"], loc=fault["loc"], input=fault["input"], ctx=fault.get("ctx", {}))
                for fault in error.errors()
                # Of what is no field, pydantic tells one fault for each type that it might have.
                if not fault["loc"] or fault["loc"][0] in cls.model_fields
            ]
        if isinstance(data, dict) and (more := {key: data[key] for key in data if key not in cls.model_fields}):
            faults += cls._faults(data.get(cls.NAME, cls.model_fields[cls.NAME].default), more, section)
        if faults or section is None:
            raise ValidationError.from_exception_data(cls.__name__, faults)
        return section

    @classmethod
    def table_of(cls, name: str) -> SeamTable:
        """The table that knows the settings of a name."""
        return cls.TABLE

    @classmethod
    def _faults(cls, name: Any, more: dict[str, Any], section: Self | None) -> list[InitErrorDetails]:
        try:
            table = cls.table_of(name)
            known = set(table.settings(name)) - set(cls.ELSEWHERE)
        except (ValueError, TypeError):
            return []  # the name is at fault, which is told already
        faults = [
            InitErrorDetails(type="extra_forbidden", loc=(key,), input=value)
            if key not in known
            else InitErrorDetails(type="value_error", loc=(key,), input=value, ctx={"error": _NOT_ONE})
            for key, value in more.items()
            if key not in known or not _is_setting(value)
        ]
        if faults or section is None or not cls.COMPLETE:
            return faults
        try:
            table.make(name, **section.settings)
        except (ValueError, TypeError) as error:
            return [InitErrorDetails(type="value_error", loc=(), input=more, ctx={"error": str(error)})]
        return []

    @property
    def settings(self) -> dict[str, Any]:
        """All settings by name: fields, then those that only the class knows."""
        fields = {name: getattr(self, name) for name in type(self).model_fields if name != self.NAME}
        return {**fields, **(self.__pydantic_extra__ or {})}
