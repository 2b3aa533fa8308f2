"""What *as usual* means in the form of a run: the values of a shipped profile, or the bare defaults.

A deployment starts with the name of a profile and the few settings that people change. So all other sections of its
form are folded, and the form stays short. The name is one of the values of the parameter ``config``, not a parameter
beside it: Prefect takes a deployment's own value for each parameter that a schedule or a person leaves out. Schedules
of older versions say all in ``config``, and would get a profile that they never asked for.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, ValidationError, core_schema

from cycleqd.config.files import PROFILES, read_settings
from cycleqd.config.prefect_values import plain
from cycleqd.config.run import FOLDED, RunConfig

PROFILE: Final = "profile"
"""The key that names the profile; no setting is called like this."""
_DESCRIPTION: Final = (
    "Whose values stand for 'as usual' below, and for what is left out: a shipped profile's, or the bare defaults. A "
    "section that is opened counts as it is shown."
)


def with_usual(data: Any) -> Any:
    """A configuration's settings, those of the profile that it names included.

    Args:
        data: Settings as plain data. Sections that are null or left out are taken from the profile. All others count
            as they are: nothing of the profile's goes into a section that is given. If the search is given, no more
            of the profile's evaluators are left than it has children in flight. Whatever is no mapping is returned as
            it is, and so is one that names no profile.

    Returns:
        The settings without the profile's name; not validated.

    Raises:
        ValidationError: There is no such profile.
    """
    if not isinstance(data, dict):
        return data
    found, faults = plain(data)
    if faults or not isinstance(found, dict) or PROFILE not in found:
        return data  # of faults the validation tells
    given = {name: value for name, value in found.items() if name != PROFILE}
    profile = found[PROFILE]
    if profile is None:
        return given
    if profile not in PROFILES:
        fault = f"there is no profile {profile!r}; there are {', '.join(PROFILES)}"
        detail = InitErrorDetails(type="value_error", loc=(PROFILE,), input=profile, ctx={"error": fault})
        raise ValidationError.from_exception_data(RunConfig.__name__, [detail])
    chosen = {name: value for name, value in given.items() if value is not None or name not in FOLDED}
    usual = read_settings(profile)
    if "search" in chosen and "evaluators" not in chosen and "evaluators" in usual:
        # The profile's evaluators are as many as its own search has children in flight.
        search = chosen["search"]
        most = search.get("in_flight") if isinstance(search, dict) else None
        most = most if isinstance(most, int) and most >= 1 else 1
        usual["evaluators"] = usual["evaluators"] | {"count": min(usual["evaluators"].get("count", 1), most)}
    return usual | chosen


class _Usual:
    """Reads the name of a profile before a configuration is validated, and shows it in the form."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(with_usual, handler(source))

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        whole = handler.resolve_ref_schema(handler(schema))
        profile = {
            "title": PROFILE.title(),
            "description": _DESCRIPTION,
            # The form chooses the first alternative where there is no value.
            "anyOf": [
                {"type": "null", "title": "the defaults"},
                {"type": "string", "title": "a profile", "enum": [*PROFILES]},
            ],
            "position": 0,
        }
        rest = {name: field | {"position": field["position"] + 1} for name, field in whole["properties"].items()}
        return whole | {"properties": {PROFILE: profile, **rest}}


FormConfig = Annotated[RunConfig, _Usual]
"""A run's configuration as flows take it: it may name a profile that says what is usual."""
