"""Settings of a worker: those of every producer, and what runs beside the GPU. Read once, by the composition root.

A group of settings is a class in a file of its own; `WorkerSettings` is all of them. The names stay flat, and where
several belong together, a property of the group returns them as the object that the part takes.
"""

from typing import Any, Self

from pydantic import model_validator

from backburner.settings import load_settings
from backburner.settings.process import ProcessSettings
from backburner_worker.reclaim.settings import ReclaimSettings
from backburner_worker.settings.engine import EngineSettings
from backburner_worker.settings.feeding import FeedingSettings
from backburner_worker.settings.model_source import ModelSourceSettings
from backburner_worker.settings.result_cache import ResultCacheSettings
from backburner_worker.settings.retries import RetrySettings
from backburner_worker.settings.segments import SegmentSettings
from backburner_worker.settings.sources import SourceSettings
from backburner_worker.settings.sweep import SweepSettings

__all__ = ["WorkerSettings"]


class WorkerSettings(
    ProcessSettings,
    EngineSettings,
    FeedingSettings,
    RetrySettings,
    SegmentSettings,
    SweepSettings,
    ResultCacheSettings,
    ModelSourceSettings,
    ReclaimSettings,
    SourceSettings,
):
    """What a worker reads from BACKBURNER_… variables, beside what every part reads."""

    @classmethod
    def load(cls, **arguments: Any) -> Self:
        """The settings from arguments, then the environment. Raises `SettingsError`."""
        return load_settings(cls, **arguments)

    @model_validator(mode="after")
    def _grace_covers_late_segments(self) -> Self:
        needed = self.cancel_poll_seconds + self.segment_max_age_seconds + self.drain_seconds
        if self.freeze_grace_seconds <= needed:
            raise ValueError(
                f"BACKBURNER_FREEZE_GRACE_SECONDS ({self.freeze_grace_seconds:g} s) must be longer than the time "
                "between looks for cancels, the longest segment age and the drain together "
                f"({needed:g} s), or finished work could miss the freeze"
            )
        return self
