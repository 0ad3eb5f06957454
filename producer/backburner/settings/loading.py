"""Reads settings from arguments, a profile and the environment, and turns what cannot be used into an error."""

import os
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings
from pydantic_settings import SettingsError as PydanticSettingsError

from backburner.settings.profile import chosen_profile
from backburner_schemas.errors import SettingsError
from backburner_schemas.names import is_name
from backburner_schemas.setting_names import PREFIX, check_arguments, check_environment

SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load_settings(kind: type[SettingsT], **arguments: Any) -> SettingsT:
    """Settings of that kind from arguments that are not None, then from `profile.sources`. Raises `SettingsError`."""
    check_environment(os.environ)
    check_arguments(arguments, kind.model_fields)
    given = {name: value for name, value in arguments.items() if value is not None}
    try:
        settings = kind(**given)
    except (ValidationError, PydanticSettingsError) as error:
        raise SettingsError(_message(error, given)) from error
    tenant = getattr(settings, "tenant", "default")
    if not is_name(tenant):
        raise SettingsError(f"BACKBURNER_TENANT {tenant!r} must match [A-Za-z0-9][A-Za-z0-9._-]{{0,254}}")
    return settings


def _message(error: ValidationError | PydanticSettingsError, given: Mapping[str, Any]) -> str:
    if isinstance(error, PydanticSettingsError):
        return f"{error}; correct the variable's value"
    first = error.errors(include_url=False, include_input=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        # Of several settings together; the message names them.
        return message
    name = "_".join(str(part) for part in first["loc"])
    profile = chosen_profile(given.get("profile"))
    if profile is not None and name in profile.values and name not in given:
        where = f"{name} of the profile {profile.name} in {profile.file}"
        return f"{where} cannot be used: {message}; docs/settings.md says what {PREFIX}{name.upper()} takes"
    return f"{PREFIX}{name.upper()} cannot be used: {message}; docs/settings.md says what it takes"
