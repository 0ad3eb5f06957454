"""Settings of everything that produces: where the queue and the store are, and how to reach them. Read once.

A group of settings is a class in a file of its own; `Settings` is all of them. The names stay flat: a field is an
argument and a variable, and where several belong together, a property of the group returns them as one object.
"""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import PrivateAttr
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from backburner.settings.aws_variables import AwsVariables
from backburner.settings.connection import ConnectionSettings
from backburner.settings.jobs import JobSettings
from backburner.settings.kafka import KafkaSettings
from backburner.settings.loading import load_settings
from backburner.settings.logs import LogSettings
from backburner.settings.profile import ProfileSettings, sources
from backburner.settings.queue_url import Queue, QueueKind
from backburner.settings.topics import TopicSettings
from backburner_schemas.setting_names import PREFIX, check_environment

__all__ = ["AwsVariables", "Queue", "QueueKind", "Settings", "load_settings"]


class Settings(
    ConnectionSettings, JobSettings, LogSettings, KafkaSettings, TopicSettings, ProfileSettings, BaseSettings
):
    """What a client and every part beside it reads from arguments, BACKBURNER_… variables and a profile."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, env_ignore_empty=True)

    _aws: AwsVariables | None = PrivateAttr(default=None)

    @property
    def aws(self) -> AwsVariables | None:
        """Keys and region that hold for these settings alone; None where the process's own environment says them."""
        return self._aws

    @classmethod
    def from_variables(cls, variables: Mapping[str, str], **arguments: Any) -> Self:
        """The settings from arguments, then these variables, then the environment, then defaults.

        Names of other parts, such as a worker's, are passed over. AWS's variables among them hold for these settings,
        and the process's environment stays as it is. Raises what `load` raises.
        """
        check_environment(variables)
        named = {name.removeprefix(PREFIX).lower(): value for name, value in variables.items() if value}
        known = {name: value for name, value in named.items() if name in cls.model_fields}
        settings = load_settings(cls, **{**known, **arguments})
        settings._aws = AwsVariables.among(variables)  # noqa: SLF001 - its own
        return settings

    @classmethod
    def load(cls, **arguments: Any) -> "Settings":
        """The settings from arguments, then the environment, then the profile that it names, then defaults.

        With the argument `profile`, that profile stands in the environment's place.

        Raises `SettingsError` for an unknown name, one of before, or a value that cannot be used.
        """
        return load_settings(cls, **arguments)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - files of the working folder are not read
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - secrets have settings of their own
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Where the settings come from, in their order."""
        assert isinstance(init_settings, InitSettingsSource)
        return sources(settings_cls, init_settings, env_settings)
