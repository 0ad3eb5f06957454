"""What a source is opened with, beside where its queue is."""

from dataclasses import dataclass

from backburner_schemas.codec import Rules
from backburner_worker.sources.kafka.membership import Membership
from backburner_worker.sources.sqs.times import SqsTimes


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Options of a source, whichever queue it is on."""

    rules: Rules
    """Which messages are accepted."""
    membership: Membership
    """Of Kafka's consumer group."""
    sqs_times: SqsTimes
