"""Settings that lead to a source of deliveries."""

from backburner.settings import Settings
from backburner_worker.settings.kafka import KafkaMemberSettings
from backburner_worker.settings.messages import MessageSettings
from backburner_worker.settings.sqs import SqsSettings
from backburner_worker.sources.options import SourceOptions


class SourceSettings(MessageSettings, KafkaMemberSettings, SqsSettings, Settings):
    """What the source of a worker's deliveries is opened from."""

    @property
    def source_options(self) -> SourceOptions:
        """What the source is opened with."""
        return SourceOptions(rules=self.message_rules, membership=self.kafka_membership, sqs_times=self.sqs_times)
