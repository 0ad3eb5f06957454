"""Settings of a dispatcher: those of every producer, and how it sends. Read once, by the composition root."""

from typing import Annotated, Any, Self

from pydantic import Field

from backburner.settings import Settings, load_settings
from backburner.settings.group import SettingGroup
from backburner.settings.process import ProcessSettings
from backburner.settings.quotas import QuotaSettings


class DispatchSettings(SettingGroup):
    """Dispatching: how stored jobs get onto the queue."""

    dispatch_backlog: Annotated[int, Field(ge=1)] = 20_000
    """Requests of stored jobs that may lie unanswered in one lane of a pool. What is on the queue can be neither
    reordered nor shared out any more; it has to last the workers for some seconds."""
    dispatch_jobs: Annotated[int, Field(ge=1, le=10_000)] = 32
    """Stored jobs that one dispatcher has under way at once. Each has its unsent lines on the disk, in the folder for
    temporary files. Shares are fair among the tenants of these."""
    dispatch_spool_bytes: Annotated[int, Field(ge=1)] = 8 * 1024**3
    """Bytes that those lines, and what is known of them, may take on the disk together. A job that finds no room waits,
    and says so; one that is larger than this by itself is not sent."""
    dispatch_claim_seconds: Annotated[float, Field(ge=1)] = 30.0
    """Seconds without a sign of life after which another dispatcher takes over a job. One sends nothing more once it
    could not renew its claim for half of that."""
    dispatch_look_seconds: Annotated[float, Field(gt=0)] = 1.0
    """Seconds between two looks at which jobs wait, are paused or cancelled, between two at how much is unanswered
    while a lane is at its bound, and between two writes of how far a job was sent."""


class DispatcherSettings(ProcessSettings, DispatchSettings, QuotaSettings, Settings):
    """What a dispatcher reads from BACKBURNER_… variables, beside what every part reads."""

    @classmethod
    def load(cls, **arguments: Any) -> Self:
        """The settings from arguments, then the environment. Raises `SettingsError`."""
        return load_settings(cls, **arguments)
