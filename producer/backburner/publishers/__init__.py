"""Onto the queue: the publisher port, and one file for each queue that it is implemented on."""

from importlib.util import find_spec

from backburner.publishers.base import Publisher
from backburner.settings import QueueKind, Settings
from backburner_schemas.errors import SettingsError


def open_publisher(settings: Settings) -> Publisher:
    """A publisher onto the queue that the settings name, not connected yet.

    Raises `SettingsError` if the queue's client library is not installed, or nothing here speaks to that queue.
    """
    _require_kafka(settings)
    from backburner.publishers.kafka import KafkaPublisher

    return KafkaPublisher(settings)


async def ensure_topics(settings: Settings, pool: str) -> list[str]:
    """Make the topics of a pool where they are missing; the names of all of them.

    Raises `QueueError` if the broker does not make them, and `SettingsError` as `open_publisher` does.
    """
    _require_kafka(settings)
    from backburner.publishers import kafka

    return await kafka.ensure_topics(settings, pool)


def _require_kafka(settings: Settings) -> None:
    kind = settings.queue.kind
    if kind is not QueueKind.KAFKA:
        raise SettingsError(f"{kind}:// queues cannot be used by this version; set BACKBURNER_QUEUE_URL to kafka://…")
    if find_spec("aiokafka") is None:
        raise SettingsError("Kafka's client is not installed; run `pip install 'backburner[kafka]'`")
