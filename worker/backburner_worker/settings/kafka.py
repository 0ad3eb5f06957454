"""Settings of a worker's membership in its pool's consumer group."""

from typing import Annotated

from pydantic import Field

from backburner_worker.settings.identity import IdentitySettings
from backburner_worker.sources.kafka.membership import Membership


class KafkaMemberSettings(IdentitySettings):
    """Kafka membership: how long the broker waits for a worker."""

    kafka_session_seconds: Annotated[float, Field(gt=0)] = 30.0
    """Seconds after which Kafka gives a silent worker's partitions to others."""
    kafka_leave_group: bool = True
    """Whether a worker that ends leaves its consumer group; otherwise its partitions move when its session is over."""
    kafka_rebalance_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Seconds that a rebalance of the consumer group may take, including the storing of finished requests."""

    @property
    def kafka_membership(self) -> Membership:
        """The worker as a member of its pool's consumer group."""
        return Membership(
            session_seconds=self.kafka_session_seconds,
            rebalance_seconds=self.kafka_rebalance_seconds,
            leave_group=self.kafka_leave_group,
            instance_id=self.worker_id,
        )
