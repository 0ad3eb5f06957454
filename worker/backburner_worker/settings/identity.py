"""Settings of who a worker is."""

from typing import Annotated

from pydantic import Field, field_validator

from backburner.settings.connection import ConnectionSettings
from backburner_schemas import routing


class IdentitySettings(ConnectionSettings):
    """Name: what a worker is called."""

    worker_id: str | None = None
    """Name that the worker keeps over restarts, which no other worker of its pool may have; on Kafka it makes the
    membership static. A new one at each start if not set."""
    worker_group: str | None = None
    """Name of the group of workers that this one was started in, for records and metrics; the pool's if not set."""
    pool_wait_seconds: Annotated[float, Field(ge=0, le=86400)] = 0.0
    """Seconds that a worker waits at its start for its pool to be registered, and then ends: for a worker that is
    installed together with what registers the pool. 0 ends it at once, so that a wrong name is learnt soonest."""
    worker_release: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")] = None
    """Name of the rollout that this worker is of, for records and metrics: two releases of a group can be compared
    while one replaces the other. At most 63 letters, digits, `.`, `_` and `-`."""

    @field_validator("pool")
    @classmethod
    def _has_a_pools_name(cls, pool: str | None) -> str | None:
        # Topics and queues are named by it; a client may give the model's name, for it looks the pool up.
        if pool is not None and not routing.is_pool_name(pool):
            raise ValueError(
                f"{pool!r} cannot be a pool's name; give a worker the slug that `backburner pools` lists, or leave it "
                "unset for the pool of its model"
            )
        return pool

    def pool_for(self, model: str) -> str:
        """The pool to work for, given the model's served name."""
        return self.pool or routing.pool_name(model)
