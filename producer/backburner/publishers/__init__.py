"""Onto the queue: the publisher port, and one file for each queue that it is implemented on."""

from backburner.publishers.base import Publisher
from backburner.settings import QueueKind, Settings
from backburner_schemas.errors import SettingsError


def open_publisher(settings: Settings) -> Publisher:
    """A publisher onto the queue that the settings name, not connected yet.

    Raises `SettingsError` if the queue's client library is not installed, or nothing here speaks to that queue.
    """
    kind = settings.queue.kind
    if kind is not QueueKind.KAFKA:
        raise SettingsError(f"{kind}:// queues cannot be used by this version; set BACKBURNER_QUEUE_URL to kafka://…")
    try:
        from backburner.publishers.kafka import KafkaPublisher
    except ImportError as error:
        raise SettingsError("Kafka's client is not installed; run `pip install 'backburner[kafka]'`") from error
    return KafkaPublisher(settings)
