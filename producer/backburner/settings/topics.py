"""Settings of the topics that are created for a pool."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from backburner.settings.group import SettingGroup


@dataclass(frozen=True, slots=True)
class TopicLayout:
    """How the topic of a lane is created."""

    partitions: int
    replication: int
    """Replicas."""
    retention_seconds: float
    """Seconds that the broker keeps a request; an SQS queue keeps it as long."""


class TopicSettings(SettingGroup):
    """Topics: what `backburner topics ensure` creates, and how long a request is kept there."""

    topic_partitions: Annotated[int, Field(ge=1)] = 64
    """Partitions of each lane's Kafka topic; at most as many workers as this can share a lane."""
    topic_replication: Annotated[int, Field(ge=1)] = 3
    """Replicas of each Kafka topic."""
    topic_retention_seconds: Annotated[float, Field(gt=0)] = 7 * 24 * 3600.0
    """Seconds that Kafka or SQS keeps a request. It must be longer than the longest deadline, or accepted work could be
    lost."""

    @property
    def topic_layout(self) -> TopicLayout:
        """Partitions, replicas and retention of each topic."""
        return TopicLayout(self.topic_partitions, self.topic_replication, self.topic_retention_seconds)
