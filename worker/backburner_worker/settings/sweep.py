"""Settings of how often a worker looks after jobs."""

from typing import Annotated

from pydantic import Field

from backburner.settings.jobs import JobSettings
from backburner.settings.topics import TopicSettings
from backburner_worker.intervals import SweepIntervals


class SweepSettings(JobSettings, TopicSettings):
    """Looking after jobs: how often cancels and ends are looked for."""

    cancel_poll_seconds: Annotated[float, Field(gt=0)] = 10.0
    """Seconds between a worker's looks for cancelled jobs."""
    sweep_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Seconds between a worker's looks at open jobs, to end those that are over; with jitter."""

    @property
    def sweep_intervals(self) -> SweepIntervals:
        """How often open jobs are looked at, and how long they and their markers are left."""
        # A marker has to outlive every request that it is about.
        return SweepIntervals(self.sweep_seconds, self.freeze_grace_seconds, self.topic_retention_seconds)
