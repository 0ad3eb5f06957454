"""Settings of receiving from SQS."""

from typing import Annotated

from pydantic import Field

from backburner.settings.group import SettingGroup
from backburner_worker.sources.sqs.times import SqsTimes


class SqsSettings(SettingGroup):
    """SQS: how long messages are held, and waited for."""

    sqs_visibility_seconds: Annotated[int, Field(ge=10, le=43_200)] = 30
    """Seconds after which SQS gives a silent worker's messages to others; renewed while they are held."""
    sqs_wait_seconds: Annotated[int, Field(ge=1, le=20)] = 5
    """Seconds that a receive call waits while an SQS queue is empty; a stopping worker waits for it too."""

    @property
    def sqs_times(self) -> SqsTimes:
        """How long a message is held, and waited for."""
        return SqsTimes(self.sqs_visibility_seconds, self.sqs_wait_seconds)
