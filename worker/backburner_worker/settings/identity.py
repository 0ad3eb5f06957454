"""Settings of who a worker is."""

from backburner.settings.connection import ConnectionSettings
from backburner_schemas import routing


class IdentitySettings(ConnectionSettings):
    """Name: what a worker is called."""

    worker_id: str | None = None
    """Name that the worker keeps over restarts; on Kafka it makes the membership static. A new one at each start if not
    set."""
    worker_group: str | None = None
    """Name of the group of workers that this one was started in, for records and metrics; the pool's if not set."""

    def pool_for(self, model: str) -> str:
        """The pool to work for, given the model's served name."""
        return self.pool or routing.pool_name(model)
