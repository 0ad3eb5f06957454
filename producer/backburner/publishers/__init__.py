"""Onto the queue: the publisher port, and one file for each queue that it is implemented on."""

from importlib.util import find_spec

from backburner.publishers.base import Publisher
from backburner.settings import QueueKind, Settings
from backburner_schemas.errors import SettingsError


def open_publisher(settings: Settings) -> Publisher:
    """A publisher onto the queue that the settings name, not connected yet.

    Raises `SettingsError` if the queue's client library is not installed, or the settings cannot lead to the queue.
    """
    if _kind(settings) is QueueKind.SQS:
        from backburner.publishers.sqs.publisher import SqsPublisher

        return SqsPublisher(settings)
    from backburner.publishers.kafka.publisher import KafkaPublisher

    return KafkaPublisher(settings)


async def ensure_topics(settings: Settings, pool: str) -> list[str]:
    """Create the topics, or on SQS the queues, of a pool where they are missing. Returns the names of all.

    Raises `QueueError` if the broker does not create them, and `SettingsError` as `open_publisher` does.
    """
    if _kind(settings) is QueueKind.SQS:
        from backburner.publishers.sqs import queues

        return await queues.ensure_queues(settings, pool)
    from backburner.publishers.kafka import topics

    return await topics.ensure_topics(settings, pool)


def check_queue(settings: Settings) -> None:
    """Raise `SettingsError` if the settings cannot lead to the queue, as far as that is known without connecting."""
    if _kind(settings) is QueueKind.SQS:
        from backburner.publishers.sqs.connection import sqs_session

        sqs_session(settings)


def _kind(settings: Settings) -> QueueKind:
    """The queue's kind, whose client library is installed."""
    kind = settings.queue.kind
    module, name = {QueueKind.KAFKA: ("aiokafka", "Kafka"), QueueKind.SQS: ("boto3", "SQS")}[kind]
    if find_spec(module) is None:
        raise SettingsError(f"{name}'s client is not installed; run `pip install 'backburner[{kind}]'`")
    return kind
