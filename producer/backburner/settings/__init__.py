"""Settings of everything that produces: where the queue and the store are, and how to reach them. Read once.

A group of settings is a class in a file of its own; `Settings` is all of them. The names stay flat: a field is an
argument and a variable, and where several belong together, a property of the group returns them as one object.
"""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import PrivateAttr
from pydantic_settings import BaseSettings, SettingsConfigDict

from backburner.settings.aws_variables import AwsVariables
from backburner.settings.connection import ConnectionSettings
from backburner.settings.jobs import JobSettings
from backburner.settings.kafka import KafkaSettings
from backburner.settings.loading import load_settings
from backburner.settings.logs import LogSettings
from backburner.settings.queue_url import Queue, QueueKind
from backburner.settings.topics import TopicSettings
from backburner_schemas.setting_names import PREFIX, check_environment

__all__ = ["AwsVariables", "Queue", "QueueKind", "Settings", "load_settings"]


class Settings(ConnectionSettings, JobSettings, LogSettings, KafkaSettings, TopicSettings, BaseSettings):
    """What a client and every part beside it reads from arguments and BACKBURNER_… variables, in this order."""

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
        """The settings from arguments, then the environment, then defaults.

        Raises `SettingsError` for an unknown name, one of before, or a value that cannot be used.
        """
        return load_settings(cls, **arguments)
