"""Settings of how failed requests are tried again."""

from typing import Annotated

from pydantic import Field

from backburner.settings.group import SettingGroup
from backburner_schemas.codec import MAX_RETRY_DELAY_SECONDS
from backburner_schemas.envelope import MAX_ATTEMPTS
from backburner_worker.policy import RetryRules


class RetrySettings(SettingGroup):
    """Retries: how often a failed request is tried, and how far apart."""

    max_attempts: Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)] = 5
    """Attempts that a failing request gets before it ends as a dead letter."""
    retry_base_seconds: Annotated[float, Field(gt=0)] = 1.0
    """Seconds before a request's first retry at most, twice as many before each further one; the wait is random."""
    retry_max_seconds: Annotated[float, Field(gt=0, le=MAX_RETRY_DELAY_SECONDS)] = 60.0
    """Seconds before any retry at most."""

    @property
    def retry_rules(self) -> RetryRules:
        """How often a request is tried, and how far apart."""
        return RetryRules(self.max_attempts, self.retry_base_seconds, self.retry_max_seconds)
