"""Settings of what is taken from the queue."""

from backburner.settings.jobs import JobSettings
from backburner_schemas.codec import Rules
from backburner_worker.settings.comma_separated import CommaSeparated, split


class MessageSettings(JobSettings):
    """Messages: which ones are accepted from the queue."""

    allowed_tenants: CommaSeparated = ""
    """Tenants whose requests the worker takes from its queue, comma-separated; every tenant's if not set.
    A worker whose credentials for the store reach some tenants alone needs it: a store that denies access ends it."""

    @property
    def message_rules(self) -> Rules:
        """What a message must keep to."""
        return Rules(
            tenant=self.tenant,
            allowed_tenants=split(self.allowed_tenants),
            max_body_bytes=self.max_body_bytes,
        )
