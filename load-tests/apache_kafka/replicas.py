"""Where a cluster's partitions are: who leads each, and which of its replicas are in sync."""

from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

_ANSWER_SECONDS = 60.0
_AGAIN_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Replicas:
    """One partition. Brokers are named by their numbers."""

    topic: str
    partition: int
    leader: int
    """-1 where there is none."""
    all: frozenset[int]
    in_sync: frozenset[int]

    @property
    def whole(self) -> bool:
        """Whether it has a leader, and every replica is in sync."""
        return self.leader >= 0 and self.in_sync == self.all


@retry(
    # The client asks any broker, also one that has just gone.
    retry=retry_if_exception_type(KafkaError),
    stop=stop_after_delay(_ANSWER_SECONDS),
    wait=wait_fixed(_AGAIN_SECONDS),
    reraise=True,
)
async def replicas(bootstrap: str) -> list[Replicas]:
    """All partitions of the cluster there, Kafka's own included, as one of its brokers tells them.

    Raises `KafkaError` where none answers for a minute.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        topics = await admin.describe_topics()
    finally:
        await admin.close()
    return [
        Replicas(
            topic=topic["topic"],
            partition=one["partition"],
            leader=one["leader"],
            all=frozenset(one["replicas"]),
            in_sync=frozenset(one["isr"]),
        )
        for topic in topics
        for one in topic["partitions"]
    ]


async def are_whole(bootstrap: str) -> bool:
    """Whether every partition there is whole, so that any one broker may go. Raises as `replicas` does."""
    return all(one.whole for one in await replicas(bootstrap))
