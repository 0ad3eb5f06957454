"""Reads settings from arguments and the environment, and turns what cannot be used into an error with a remedy."""

import os
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings
from pydantic_settings import SettingsError as PydanticSettingsError

from backburner_schemas.errors import SettingsError
from backburner_schemas.names import is_name
from backburner_schemas.setting_names import PREFIX, check_arguments, check_environment

SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load_settings(kind: type[SettingsT], **arguments: Any) -> SettingsT:
    """Settings of that kind from arguments that are not None, then the environment. Raises `SettingsError`."""
    check_environment(os.environ)
    check_arguments(arguments, kind.model_fields)
    try:
        settings = kind(**{name: value for name, value in arguments.items() if value is not None})
    except (ValidationError, PydanticSettingsError) as error:
        raise SettingsError(_message(error)) from error
    tenant = getattr(settings, "tenant", "default")
    if not is_name(tenant):
        raise SettingsError(f"BACKBURNER_TENANT {tenant!r} must match [A-Za-z0-9][A-Za-z0-9._-]{{0,254}}")
    return settings


def _message(error: ValidationError | PydanticSettingsError) -> str:
    if isinstance(error, PydanticSettingsError):
        return f"{error}; correct the variable's value"
    first = error.errors(include_url=False, include_input=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        # Of several settings together; the message names them.
        return message
    name = PREFIX + "_".join(str(part) for part in first["loc"]).upper()
    return f"{name} cannot be used: {message}; docs/settings.md says what it takes"
