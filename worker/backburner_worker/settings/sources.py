"""Settings that lead to a source of deliveries, and no more: all that `open_source` may know."""

from backburner.settings import Settings
from backburner_worker.settings.kafka import KafkaMemberSettings
from backburner_worker.settings.messages import MessageSettings
from backburner_worker.settings.sqs import SqsSettings


class SourceSettings(MessageSettings, KafkaMemberSettings, SqsSettings, Settings):
    """What the source of a worker's deliveries is opened from."""
